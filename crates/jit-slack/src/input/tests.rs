//! Ten thousand mangled payloads through the readers: none panics, and whatever is kept is what
//! the inbox gives back.

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
