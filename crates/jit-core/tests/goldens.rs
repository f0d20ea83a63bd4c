//! Every stored shape ever released still loads. A golden file is never edited; a release that
//! writes a new shape adds files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeSet;
use std::path::Path;

use jit_core::Timestamp;
use jit_core::audit::{CallResult, Fact, SystemFact};
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::digest::Digest;
use jit_core::policy::{Right, Who};
use jit_core::principal::Door;
use jit_core::provider::{ErrorKind, Presence};
use jit_core::request::{
    AccessRequest, Approver, CancelReason, Cause, End, Mismatch, REQUEST_SHAPE, ShapeError, Status,
    Stuck,
};

fn goldens() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_stored_shape_loads_and_is_written_again_as_it_was() {
    let mut seen = BTreeSet::new();
    for (name, text) in goldens() {
        let request = AccessRequest::from_stored(&text)
            .unwrap_or_else(|error| panic!("{name} no longer loads: {error}: {error:?}"));
        assert_eq!(request.to_stored(), text.trim_end(), "{name}");
        let wanted = format!("request-v{}-{}", request.shape, request.status());
        assert!(name.starts_with(&wanted), "{name} holds {wanted}");
        if request.shape == REQUEST_SHAPE {
            seen.insert(request.status());
        }
    }
    assert_eq!(
        seen,
        BTreeSet::from(Status::ALL),
        "a golden for every status"
    );
}

#[test]
fn the_door_of_an_event_is_one_word_for_ever() {
    let doors = [
        (Door::Http, "http"),
        (Door::Slack, "slack"),
        (Door::Telegram, "telegram"),
        (Door::Mcp, "mcp"),
        (Door::Embedded, "embedded"),
    ];
    for (door, word) in doors {
        let written = serde_json::to_value(door).unwrap();
        assert_eq!(written, word);
        assert_eq!(serde_json::from_value::<Door>(written).unwrap(), door);
    }
}

/// What pending requests are held against: an upgrade that changed it would void them all.
#[test]
fn an_entitlement_without_anything_new_is_digested_as_it_always_was() {
    let entry = Entitlement {
        id: "groupfile/admins".parse().unwrap(),
        resource: "admins".to_owned(),
        title: "Administrators".to_owned(),
        how_to_use: String::new(),
        tier: "standard".parse().unwrap(),
        parameters: ParameterRule::Refused,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    };
    let written = serde_json::to_string(&entry).unwrap();
    let before = r#"{"id":"groupfile/admins","resource":"admins","title":"Administrators","how_to_use":"","tier":"standard","parameters":"refused"}"#;
    assert_eq!(written, before);
}

#[test]
fn a_later_shape_is_refused_with_both_numbers() {
    let (_, text) = goldens().swap_remove(0);
    let newer = text.replace(
        &format!("\"shape\":{REQUEST_SHAPE}"),
        &format!("\"shape\":{}", REQUEST_SHAPE + 1),
    );
    let error = AccessRequest::from_stored(&newer).unwrap_err();
    assert!(matches!(error, ShapeError::Newer { found } if found == REQUEST_SHAPE + 1));
    assert!(error.to_string().contains("finish the upgrade"));
    let damaged = AccessRequest::from_stored(text.get(..40).unwrap()).unwrap_err();
    assert!(matches!(damaged, ShapeError::Damaged(_)));
}

/// One event of each kind, with every field set.
fn facts() -> Vec<Fact> {
    let request = AccessRequest::from_stored(&goldens()[0].1).unwrap();
    let bob = || "bob@example.com".parse().unwrap();
    let reason = || Some(request.reason.clone());
    let at = Timestamp::from_unix_micros(1_767_225_600_000_000);
    vec![
        Fact::Requested {
            digest: Digest::of(b"asked"),
            beneficiary: request.beneficiary.clone(),
            entitlements: vec![request.parts.first().entitlement.clone()],
            parameters: vec![],
            ttl: request.ttl,
            reason: request.reason.clone(),
            approvals_needed: 2,
        },
        Fact::Requested {
            digest: Digest::of(b"asked"),
            beneficiary: request.beneficiary.clone(),
            entitlements: vec![request.parts.first().entitlement.clone()],
            parameters: vec![
                serde_json::json!({"region": "eu-west-1"})
                    .as_object()
                    .unwrap()
                    .clone(),
            ],
            ttl: request.ttl,
            reason: request.reason.clone(),
            approvals_needed: 2,
        },
        Fact::Approved {
            by: Approver::Person(bob()),
            ttl: Some(request.ttl),
            count: 1,
            needed: 2,
        },
        Fact::Approved {
            by: Approver::Automatic,
            ttl: None,
            count: 1,
            needed: 0,
        },
        Fact::ApprovalDropped { by: bob() },
        Fact::ApprovalRetracted { by: bob() },
        Fact::Granted {
            expires_at: at,
            provision_by: at,
        },
        Fact::Denied {
            reason: reason().unwrap(),
        },
        Fact::Withdrawn,
        Fact::Escalated {
            step: 1,
            to: ["oncall:primary".parse().unwrap(), Who::Manager].into(),
        },
        Fact::Lapsed,
        Fact::Invalidated {
            why: Mismatch::PolicyChanged,
            reason: reason(),
        },
        Fact::Cancelled {
            why: CancelReason::NotCollected,
            reason: reason(),
        },
        Fact::GrantIntended {
            epoch: 1,
            send_before: at,
            target: request.parts.first().target.clone(),
            took_over: Some(request.id),
        },
        Fact::GrantAnswered {
            epoch: 1,
            answer: CallResult::Accepted,
        },
        Fact::Activated { expires_at: at },
        Fact::Collected,
        Fact::Ending {
            cause: Cause::Revoked,
            reason: reason(),
        },
        Fact::RevokeIntended { attempt: 4 },
        Fact::RevokeAnswered {
            attempt: 4,
            answer: CallResult::Unknown {
                error: ErrorKind::RateLimited {
                    retry_after_ms: Some(500),
                },
            },
            read_back: Some(Presence::GoneBy(at)),
        },
        Fact::Settling { until: at },
        Fact::Reappeared,
        Fact::LateEffect { epoch: 1 },
        Fact::Missing,
        Fact::Stuck {
            why: Stuck::NotAccepted,
        },
        Fact::Unstuck,
        Fact::Closed {
            end: End::Superseded { by: request.id },
        },
        Fact::FellBack {
            to: "vault/admins".parse().unwrap(),
        },
        Fact::StoreAway {
            from: at,
            until: at,
            deletes: 3,
            answer: CallResult::Applied,
            read_back: Some(Presence::Absent),
        },
    ]
}

fn system_facts() -> Vec<SystemFact> {
    let request = AccessRequest::from_stored(&goldens()[0].1).unwrap();
    let bob = || "bob@example.com".parse().unwrap();
    let at = Timestamp::from_unix_micros(1_767_225_600_000_000);
    vec![
        SystemFact::Configured {
            digest: Digest::of(b"configuration"),
        },
        SystemFact::TokenMade {
            token: "t1".to_owned(),
            principal: bob(),
            expires_at: at,
        },
        SystemFact::TokenRevoked {
            token: "t1".to_owned(),
            principal: bob(),
        },
        SystemFact::AuthorityRefused {
            right: Right::Approve,
            request: Some(request.id),
        },
        SystemFact::DriftFound {
            provider: "okta".parse().unwrap(),
            targets: vec![request.parts.first().target.clone()],
        },
        SystemFact::DriftGone {
            provider: "okta".parse().unwrap(),
            targets: vec![request.parts.first().target.clone()],
        },
        SystemFact::Paused,
        SystemFact::Resumed,
        SystemFact::Checkpoint {
            heads: vec![(request.id, request.chain)],
        },
    ]
}

/// Whoever adds a fact adds it to the lists above, and a line to the golden file.
#[test]
fn every_stored_event_loads_and_is_written_again_as_it_was() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-events/v1.jsonl");
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let mut written: Vec<String> = facts()
        .iter()
        .map(|fact| serde_json::to_string(fact).unwrap())
        .collect();
    written.extend(
        system_facts()
            .iter()
            .map(|fact| serde_json::to_string(fact).unwrap()),
    );
    let kept: Vec<&str> = kept.lines().collect();
    assert_eq!(written, kept);
    for line in kept {
        let again = serde_json::from_str::<Fact>(line)
            .map(|fact| serde_json::to_string(&fact).unwrap())
            .or_else(|_| {
                let fact = serde_json::from_str::<SystemFact>(line);
                fact.map(|fact| serde_json::to_string(&fact).unwrap())
            });
        assert_eq!(again.unwrap(), line);
    }
}
