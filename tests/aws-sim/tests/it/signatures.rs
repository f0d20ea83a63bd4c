//! Who is let in.

use std::time::Duration;

use aws_sim::{AccessKey, Setup, Signatures};
use serde_json::json;

use crate::client::{START, Stage, exchange};

/// A stage that checks everything, at a time that stands still.
fn strict() -> Stage {
    let mut setup = Setup::default().manual(START);
    setup.signatures = Signatures::Full;
    Stage::with(setup)
}

fn refusal(stage: &Stage) -> (String, String) {
    let reply = stage.sso("ListInstances", json!({}));
    assert_eq!(
        reply.status,
        if reply.error().is_empty() { 200 } else { 400 }
    );
    (reply.error().to_owned(), reply.message().to_owned())
}

#[test]
fn a_valid_signature_is_let_in_by_every_service() {
    let stage = strict();
    assert_eq!(refusal(&stage).0, "");
    assert_eq!(stage.store("ListUsers", json!({})).status, 200);
    assert_eq!(stage.organizations("ListAccounts", json!({})).status, 200);
}

#[test]
fn without_a_signature_nothing_is_said() {
    let stage = strict();
    let host = stage.address();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-target: SWBExternalService.ListInstances\r\n"
    );
    let patience = Duration::from_secs(20);
    let reply = exchange(&host, &head, "{}", patience).unwrap();
    assert_eq!(
        (reply.status, reply.error()),
        (400, "MissingAuthenticationTokenException")
    );
    let head = format!("{head}authorization: AWS4-HMAC-SHA256 Credential=me\r\n");
    let reply = exchange(&host, &head, "{}", patience).unwrap();
    assert_eq!(
        (reply.status, reply.error()),
        (400, "IncompleteSignatureException")
    );
}

#[test]
fn a_stranger_is_not_recognized() {
    let mut stage = strict();
    stage.signer.key = AccessKey::new("AKIASTRANGER", "secret");
    assert_eq!(refusal(&stage).0, "UnrecognizedClientException");
    assert_eq!(stage.sim.world().calls()[0].access_key, "AKIASTRANGER");
}

#[test]
fn another_secret_or_another_body_does_not_match() {
    let mut stage = strict();
    stage.signer.body = Some("{}".to_owned());
    let (error, why) = refusal(&stage);
    assert_eq!(error, "InvalidSignatureException");
    assert!(why.starts_with("The request signature we calculated does not match"));
    let mut stage = strict();
    stage.signer.key.secret = "guessed".to_owned();
    assert_eq!(refusal(&stage).0, "InvalidSignatureException");
}

#[test]
fn a_signature_is_for_one_service_and_region() {
    let mut stage = strict();
    stage.signer.service = Some("identitystore".to_owned());
    assert!(refusal(&stage).1.contains("correct service: 'sso'"));
    let mut stage = strict();
    stage.signer.region = "us-west-2".to_owned();
    assert!(refusal(&stage).1.contains("valid region"));
    assert_eq!(stage.organizations("ListAccounts", json!({})).status, 200);
}

#[test]
fn a_signature_is_good_for_five_minutes() {
    let mut stage = strict();
    for (skew, why) in [
        (-300, ""),
        (
            -301,
            "Signature expired: 20261126T051251Z is now earlier than 20261126T051252Z",
        ),
        (300, ""),
        (
            301,
            "Signature not yet current: 20261126T052253Z is still later than",
        ),
    ] {
        stage.signer.skew = skew * 1_000_000;
        let (error, said) = refusal(&stage);
        assert_eq!(error.is_empty(), why.is_empty(), "{skew}: {said}");
        assert!(said.starts_with(why), "{skew}: {said}");
    }
    // Where the clock is not the client's, dates are not compared.
    let mut stage = Stage::new();
    stage.signer.skew = -86_400 * 1_000_000;
    assert_eq!(refusal(&stage).0, "");
}

#[test]
fn a_session_token_must_be_there_and_expires() {
    let mut stage = strict();
    let mut key = AccessKey::new("ASIATEMPORARY", "secret");
    key.session_token = Some("token/+==".to_owned());
    key.expires_at_micros = Some(START + 60_000_000);
    stage.sim.world().set_key(key.clone());
    stage.signer.key = key;
    assert_eq!(refusal(&stage).0, "");
    stage.advance(59);
    assert_eq!(refusal(&stage).0, "");
    stage.advance(1);
    assert_eq!(refusal(&stage).0, "ExpiredTokenException");
    stage.signer.key.session_token = None;
    assert_eq!(refusal(&stage).0, "UnrecognizedClientException");
}

#[test]
fn nothing_of_a_signature_is_checked_where_that_is_asked_for() {
    let mut setup = Setup::default().manual(START);
    setup.signatures = Signatures::Unchecked;
    let mut stage = Stage::with(setup);
    stage.signer.key = AccessKey::new("AKIAANYONE", "any");
    assert_eq!(refusal(&stage).0, "");
}
