//! Ten thousand mangled payloads through the readers: none panics, and whatever is kept is what
//! the inbox gives back.

use std::collections::BTreeSet;

use jit_core::request::Status;
use jit_testkit::sample;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::mangle::{Doer, Payload, accident, corpus, mangled};
use super::*;

/// What no store refuses as a key.
const KEY_LIMIT: usize = 1_024;

fn genuine() -> Vec<Payload> {
    let request = sample::request_in(1, Status::Pending);
    corpus(&Doer {
        user: "U0ANA",
        team: "T0EXAMPLE1",
        about: &crate::surface::reference(&request),
        entitlement: "memory/admins",
    })
}

fn read(kind: &str, payload: &Value) -> Read {
    match kind {
        "slash_commands" => command(payload, &Commands::default()),
        "interactive" => interaction(payload),
        _ => event(payload),
    }
}

#[test]
fn every_genuine_payload_is_understood() {
    for (kind, payload) in genuine() {
        let read = read(kind, &payload);
        assert!(
            !matches!(read, Read::Ignore | Read::Unreadable),
            "{payload:#} is {read:?}"
        );
        if let Read::Keep { input, .. } = read {
            assert_eq!(input.user.as_str(), "U0ANA");
        }
    }
}

#[test]
fn what_differs_has_another_key() {
    let all = genuine();
    let keys = all
        .iter()
        .filter_map(|(kind, payload)| match read(kind, payload) {
            Read::Keep { key, .. } => Some(key),
            _ => None,
        });
    for key in keys {
        assert!(
            key.starts_with(|letter: char| letter.is_ascii_lowercase()),
            "{key}"
        );
        assert!(is_ours(&key), "{key}");
    }
}

/// One of everything that somebody can say, with every field set.
fn said() -> Vec<Said> {
    let about = || About {
        id: sample::id(1),
        digest: "0123456789abcdef".to_owned(),
    };
    let asked = || Asked {
        entitlement: Some("memory/admins".to_owned()),
        secs: Some("3600".to_owned()),
        reason: Some("the disk is full".to_owned()),
        beneficiary: Some("bob@example.com".to_owned()),
    };
    let id = || "000001".to_owned();
    let typed = [
        Typed::List,
        Typed::Status { id: id() },
        Typed::Done { id: Some(id()) },
        Typed::Done { id: None },
        Typed::Help,
        Typed::NoReason,
        Typed::Unknown,
    ];
    let view = || "V0FORM".to_owned();
    let mut all = vec![
        Said::OpenForm { asked: asked() },
        Said::OpenForm {
            asked: Asked::default(),
        },
        Said::Chosen {
            view: view(),
            hash: "156772938.1827394".to_owned(),
            asked: asked(),
        },
        Said::Ask {
            view: view(),
            asked: asked(),
        },
        Said::Again { id: sample::id(1) },
        Said::Approve { about: about() },
        Said::Shorten {
            about: about(),
            secs: "900".to_owned(),
        },
        Said::OpenShorten { about: about() },
        Said::Deny {
            about: about(),
            reason: "not today".to_owned(),
        },
        Said::OpenDeny { about: about() },
        Said::Review { about: about() },
        Said::Withdraw { about: about() },
        Said::Done { about: about() },
        Said::Revoke { about: about() },
        Said::Home,
        Said::Reaction {
            channel: "C0SEC".parse().unwrap(),
            message: "1790000000.000100".to_owned(),
            author: Some("U0JITBOT".parse().unwrap()),
            name: "white_check_mark".to_owned(),
        },
        Said::Reaction {
            channel: "C0SEC".parse().unwrap(),
            message: "1790000000.000100".to_owned(),
            author: None,
            name: "white_check_mark".to_owned(),
        },
    ];
    all.extend(typed.map(|typed| Said::Typed { typed }));
    all
}

/// Whoever adds something to be said, or a field, adds it above, and a line to the golden file. A line
/// of it is never edited.
#[test]
fn every_input_ever_released_still_loads() {
    let released = include_str!("../../tests/golden-inputs/v1.jsonl");
    let bare = |said| Input {
        user: "U0ANA".parse().unwrap(),
        team: None,
        said,
        channel: None,
        response_url: None,
        trigger: None,
        at_home: false,
        window: None,
    };
    let whole = Input {
        team: Some("T0EXAMPLE1".parse().unwrap()),
        channel: Some("C0SEC".parse().unwrap()),
        response_url: Some("https://hooks.slack.com/actions/1".to_owned()),
        trigger: Some("13345224609.738474920".to_owned()),
        at_home: true,
        window: Some("V0WINDOW".to_owned()),
        ..bare(Said::Home)
    };
    let all: Vec<Input> = said().into_iter().map(bare).chain([whole]).collect();
    let written = all
        .iter()
        .map(|input| serde_json::to_string(input).unwrap());
    let written: Vec<String> = written.collect();
    assert_eq!(written, released.lines().collect::<Vec<_>>());
    for (input, line) in all.iter().zip(released.lines()) {
        assert_eq!(serde_json::from_str::<Input>(line).unwrap(), *input);
    }
}

/// By its key an input is known again that Slack sends to two releases.
#[test]
fn an_input_has_the_same_key_for_ever() {
    let mut keys = BTreeSet::new();
    for (kind, payload) in genuine() {
        if let Read::Keep { key, .. } = read(kind, &payload) {
            keys.insert(key);
        }
    }
    for key in [
        "click/U0ANA/1790000000.000100/1790000001.000300",
        "click/U0ANA/V0123456789/1790000001.000300",
        "command/13345224609.738474920.8088930838d88f008e0",
        "event/Ev00",
        "form/V0123456789/1790000000.abcdefgh",
        "shortcut/12466734323.1395872398.9f8e7d6c5b4a",
    ] {
        assert!(keys.contains(key), "{key} is not among {keys:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_mangled_payload_breaks_a_reader((which, wrong) in accident()) {
        // Made once per case would cost more than the rest.
        static GENUINE: std::sync::LazyLock<Vec<Payload>> = std::sync::LazyLock::new(genuine);
        let (kind, payload) = which.get(&GENUINE);
        let text = mangled(payload.clone(), &wrong).to_string();
        // What is nested too deep is refused before it gets to a reader.
        let Ok(payload) = serde_json::from_str::<Value>(&text) else {
            return Ok(());
        };
        // A payload of one door may come in at another.
        for door in [*kind, "slash_commands", "interactive", "events_api"] {
            if let Read::Keep { key, input } = read(door, &payload) {
                let text = serde_json::to_string(&input).unwrap();
                let again: Input = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&again, &*input);
                prop_assert!(key.len() <= KEY_LIMIT, "a key of {} bytes", key.len());
                prop_assert!(!key.chars().any(char::is_control), "{:?}", key);
            }
        }
    }
}

#[test]
fn scalars_and_lists_are_not_understood_anywhere() {
    for payload in [
        json!(null),
        json!([]),
        json!("x"),
        json!(1),
        json!([[[]]]),
        json!({}),
    ] {
        for door in ["slash_commands", "interactive", "events_api"] {
            assert_eq!(read(door, &payload), Read::Unreadable, "{door} {payload}");
        }
    }
}
