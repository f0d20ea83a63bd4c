//! The card as a pure function of the record.

use std::time::Duration;

use jit_core::engine::{Background, HOLDERS, USES, Use};
use jit_core::provider::Parameters;
use jit_core::request::{AccessRequest, Fallback, Parts, Stage, Status};
use jit_testkit::sample;
use jit_testkit::stage::catalog;
use proptest::prelude::*;

use crate::bot::Message;
use crate::card::{Shown, card};

fn drawn(request: &AccessRequest) -> (Message, Shown) {
    card(request, &catalog("tier"), None)
}

/// The pieces of a text that are drawn as code.
fn code(message: &Message) -> Vec<String> {
    let units: Vec<u16> = message.text.encode_utf16().collect();
    let number = |it: &serde_json::Value| usize::try_from(it.as_u64().unwrap()).unwrap();
    let piece = |entity: &serde_json::Value| {
        assert_eq!(entity["type"], "code");
        let from = number(&entity["offset"]);
        String::from_utf16(&units[from..from + number(&entity["length"])]).unwrap()
    };
    message.entities.iter().map(piece).collect()
}

#[test]
fn every_state_has_a_sentence_of_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for status in Status::ALL {
        let (message, shown) = drawn(&sample::request_in(1, status));
        assert_eq!(shown, Shown::Whole);
        assert!(message.text.contains("ana@example.com"), "{}", message.text);
        seen.insert(message.text);
    }
    // Approved and Provisioning read alike, and so do Settling and Closed.
    assert_eq!(seen.len(), Status::ALL.len() - 2);
}

#[test]
fn how_long_sessions_live_on_is_said_where_they_do() {
    let mut request = sample::request(1);
    assert!(!drawn(&request).0.text.contains("Lives on"));
    let mut part = request.parts.first().clone();
    part.provider.residual = Duration::from_secs(5_400);
    request.parts = Parts::try_from(vec![part]).unwrap();
    let (message, _) = drawn(&request);
    assert!(
        message.text.contains("at most 1 h 30 min"),
        "{}",
        message.text
    );
}

/// Asked for a credential with another way to it, which lets sessions live on for so long.
fn with_a_fallback(mut request: AccessRequest, residual: u64) -> AccessRequest {
    let mut part = request.parts.first().clone();
    let mut provider = part.provider;
    provider.residual = Duration::from_secs(residual);
    part.fallback = Some(Fallback {
        entitlement: "vault/reader".parse().unwrap(),
        target: part.target.clone(),
        provider,
    });
    request.parts = Parts::try_from(vec![part]).unwrap();
    request
}

#[test]
fn what_may_be_given_instead_is_said_before_it_is_decided_and_what_was_after() {
    const MAY: &str = "If it cannot be made: vault/reader instead";
    const WAS: &str = "It could not be made; given instead: vault/reader";
    let says = |request: &AccessRequest| {
        let (message, _) = drawn(request);
        if message.text.contains("vault/reader") {
            assert!(code(&message).contains(&"vault/reader".to_owned()));
        }
        [MAY, WAS].map(|words| message.text.contains(words))
    };
    let waits = with_a_fallback(sample::request_in(1, Status::Pending), 0);
    assert_eq!(says(&waits), [true, false]);
    let mut given = with_a_fallback(sample::request_in(1, Status::Active), 0);
    assert_eq!(says(&given), [false, false]);
    if let Stage::Granted(grant) = &mut given.stage {
        grant.fell_back = true;
    }
    assert_eq!(says(&given), [false, true]);
}

#[test]
fn how_long_sessions_live_on_is_said_of_what_may_be_given_instead() {
    let (message, _) = drawn(&with_a_fallback(sample::request(1), 5_400));
    assert!(
        message.text.contains("at most 1 h 30 min"),
        "{}",
        message.text
    );
}

#[test]
fn s13_nothing_invisible_is_drawn() {
    let mut request = sample::request(1);
    let mut part = request.parts.first().clone();
    let hidden = "\u{200c}\u{200d}\u{ad}\u{34f}\u{115f}\u{1160}\u{3164}\u{180e}\u{fe00}\u{fe0f}\u{fff9}\u{fffb}\
                  \u{200b}\u{202e}\u{2066}\u{feff}\u{e0041}";
    let value = serde_json::Value::from(hidden);
    part.parameters = Parameters::from_iter([("statement".to_owned(), value)]);
    request.parts = Parts::try_from(vec![part]).unwrap();
    let (message, _) = drawn(&request);
    for letter in hidden.chars() {
        assert!(!message.text.contains(letter), "{letter:?}");
    }
}

#[test]
fn s13_words_of_others_are_code_and_nothing_else_is_said_for_them() {
    let mut request = sample::request(1);
    for words in [
        "@everyone look",
        "https://example.com",
        "<b>x</b> *y* `z`",
        "/start@bot",
        "🔥🔥 @a",
    ] {
        request.reason = words.parse().unwrap();
        let (message, _) = drawn(&request);
        assert!(code(&message).contains(&words.to_owned()), "{message:#?}");
    }
}

#[test]
fn what_does_not_fit_has_no_button_to_approve_it() {
    let mut request = sample::request(1);
    let mut part = request.parts.first().clone();
    let long = serde_json::Value::from("x".repeat(6_000));
    part.parameters = Parameters::from_iter([("statement".to_owned(), long)]);
    request.parts = Parts::try_from(vec![part]).unwrap();
    let (message, shown) = drawn(&request);
    assert_eq!(shown, Shown::Cut);
    assert!(message.text.contains("at a terminal"), "{}", message.text);
    assert!(message.text.ends_with(&request.id.to_string()));
    assert!(message.text.chars().count() <= 4_096);
}

proptest! {
    #[test]
    fn a_card_fits_and_its_code_is_in_it(
        reason in "\\PC{1,1000}", parameter in "\\PC{0,5000}", status in 0..12_usize
    ) {
        let mut request = sample::request_in(1, Status::ALL[status]);
        if let Ok(reason) = reason.parse() {
            request.reason = reason;
        }
        let mut part = request.parts.first().clone();
        part.parameters = Parameters::from_iter([("p".to_owned(), parameter.into())]);
        request.parts = Parts::try_from(vec![part]).unwrap();
        let (message, _) = drawn(&request);
        prop_assert!(message.text.chars().count() <= 4_096);
        let pieces = code(&message);
        prop_assert!(pieces.last().unwrap().as_str() == request.id.to_string());
    }
}

/// As much as is ever known, of people with names so long.
fn known(name: usize) -> Background {
    let used = Use {
        request: sample::request(7).id,
        who: format!("{}@example.com", "x".repeat(name)).parse().unwrap(),
        from: sample::start(),
        until: sample::start() + Duration::from_secs(3_600),
    };
    Background {
        by_person: vec![used.clone(); USES],
        of_entitlement: vec![used.clone(); USES],
        holders: vec![used; HOLDERS],
        more_holders: 3,
        strangers: vec!["svc-<b>@everyone".parse().unwrap()],
        more_strangers: 0,
        allows: "Stop instances".to_owned(),
    }
}

#[test]
fn what_is_known_is_on_the_card_and_its_words_are_inert() {
    let request = sample::request(1);
    let draw = |background: &Background| card(&request, &catalog("tier"), Some(background));
    let (message, shown) = draw(&known(3));
    assert_eq!(shown, Shown::Whole);
    for says in [
        "Can: Stop instances",
        "Has it now: xxx@example.com until ",
        " and 3 more",
    ] {
        assert!(message.text.contains(says), "{says}: {}", message.text);
    }
    assert!(code(&message).contains(&"svc-<b>@everyone".to_owned()));
    let (message, _) = draw(&Background::default());
    for says in [
        "Had it never before",
        "Nobody ever had it",
        "Nobody has it now",
    ] {
        assert!(message.text.contains(says), "{says}: {}", message.text);
    }
}

#[test]
fn what_there_is_no_room_for_is_left_out_and_hides_nothing_that_is_decided() {
    let request = sample::request(1);
    let (message, shown) = card(&request, &catalog("tier"), Some(&known(188)));
    assert_eq!(
        shown,
        Shown::Whole,
        "whoever decides saw all that is asked for"
    );
    assert!(message.text.chars().count() <= 4_096);
    assert!(message.text.ends_with(&request.id.to_string()));
    assert!(message.text.contains("Had it before: "));
    assert!(
        !message.text.contains("Has it now: "),
        "there is no room for ten long names"
    );
    // What is code is still where the text has it.
    assert!(code(&message).iter().all(|piece| !piece.contains('\n')));
}
