//! Every stored shape ever released still loads. A golden file is never edited; a release that
//! writes a new shape adds files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use jit_core::audit::{Actor, CallResult, Fact, SystemFact};
use jit_core::catalog::{Entitlement, ParameterRule, ParameterSchema};
use jit_core::digest::Digest;
use jit_core::policy::{Policy, Quota, Right, Tier, Who};
use jit_core::principal::{Door, Principal};
use jit_core::provider::{ErrorKind, Kind, NativeExpiry, Presence};
use jit_core::request::{
    AccessRequest, Approver, CancelReason, Cause, End, Mismatch, REQUEST_SHAPE, Sent, ShapeError,
    Status, Stuck,
};
use jit_core::{Timestamp, Ttl};
use jit_testkit::stage::id;
use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// Whoever adds a variant adds its word here.
#[test]
fn every_word_of_a_record_and_of_an_event_is_the_same_for_ever() {
    use {
        CallResult as Result, CancelReason as Cancel, ErrorKind as Error, NativeExpiry as Expiry,
    };
    fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(all: &[(T, &str)]) {
        for (value, released) in all {
            assert_eq!(serde_json::to_string(value).unwrap(), *released);
            assert_eq!(serde_json::from_str::<T>(released).unwrap(), *value);
        }
    }
    let later = Timestamp::from_unix_micros(1_767_225_600_000_001);
    let error = Error::NotFound;
    let caller = Actor::Principal {
        id: id("ana"),
        via: Principal {
            id: id("slack:u0ana"),
            door: Door::Slack,
        },
    };
    same(&[
        (
            caller,
            r#"{"actor":"principal","id":"ana@example.com","via":{"id":"slack:u0ana","door":"slack"}}"#,
        ),
        (Actor::System, r#"{"actor":"system"}"#),
        (Actor::Operator, r#"{"actor":"operator"}"#),
    ]);
    same(&[
        (Result::Applied, r#"{"result":"applied"}"#),
        (Result::Accepted, r#"{"result":"accepted"}"#),
        (
            Result::DidNothing { error },
            r#"{"result":"did_nothing","error":"not_found"}"#,
        ),
        (
            Result::Unknown { error },
            r#"{"result":"unknown","error":"not_found"}"#,
        ),
    ]);
    let retry_after_ms = Some(500);
    same(&[
        (Error::NotFound, r#""not_found""#),
        (Error::Conflict, r#""conflict""#),
        (Error::Forbidden, r#""forbidden""#),
        (
            Error::RateLimited { retry_after_ms },
            r#"{"rate_limited":{"retry_after_ms":500}}"#,
        ),
        (Error::Unavailable, r#""unavailable""#),
        (Error::Misconfigured, r#""misconfigured""#),
    ]);
    same(&[
        (Presence::Present, r#"{"presence":"present"}"#),
        (Presence::Absent, r#"{"presence":"absent"}"#),
        (Presence::InFlight, r#"{"presence":"in_flight"}"#),
        (
            Presence::GoneBy(later),
            r#"{"presence":"gone_by","at":"2026-01-01T00:00:00.000001Z"}"#,
        ),
    ]);
    let life = Duration::new(1, 2);
    same(&[
        (Expiry::None, r#"{"expires":"none"}"#),
        (Expiry::Exact, r#"{"expires":"exact"}"#),
        (
            Expiry::AtMost(life),
            r#"{"expires":"at_most","life":{"secs":1,"nanos":2}}"#,
        ),
        (
            Expiry::AtLeast(life),
            r#"{"expires":"at_least","life":{"secs":1,"nanos":2}}"#,
        ),
    ]);
    same(&[
        (Kind::Standing, r#""standing""#),
        (Kind::Minted, r#""minted""#),
    ]);
    same(&[
        (Right::Request, r#""request""#),
        (Right::OnBehalfOf, r#""on_behalf_of""#),
        (Right::Approve, r#""approve""#),
        (Right::Revoke, r#""revoke""#),
        (Right::Audit, r#""audit""#),
        (Right::Operate, r#""operate""#),
    ]);
    same(&[
        (Mismatch::PolicyChanged, r#""policy_changed""#),
        (Mismatch::NoLongerEligible, r#""no_longer_eligible""#),
        (Mismatch::Revoked, r#""revoked""#),
    ]);
    same(&[
        (Cancel::PolicyChanged, r#""policy_changed""#),
        (Cancel::NoLongerEligible, r#""no_longer_eligible""#),
        (Cancel::AlreadyStands, r#""already_stands""#),
        (Cancel::NotProvisioned, r#""not_provisioned""#),
        (Cancel::NotCollected, r#""not_collected""#),
        (Cancel::Ended, r#""ended""#),
        (Cancel::Revoked, r#""revoked""#),
    ]);
    same(&[
        (Cause::Expired, r#""expired""#),
        (Cause::Ended, r#""ended""#),
        (Cause::Revoked, r#""revoked""#),
        (Cause::Failed, r#""failed""#),
    ]);
    same(&[
        (Sent::MaybeApplied, r#""maybe_applied""#),
        (Sent::Accepted, r#""accepted""#),
        (Sent::Nothing, r#""nothing""#),
        (Sent::Absent, r#""absent""#),
    ]);
    same(&[
        (Stuck::NotAccepted, r#""not_accepted""#),
        (Stuck::NotVerified, r#""not_verified""#),
        (Stuck::Refused, r#""refused""#),
    ]);
    let statuses = Status::ALL.map(|status| format!("\"{status}\""));
    for (status, word) in Status::ALL.into_iter().zip(&statuses) {
        same(&[(status, word)]);
    }
}

/// A field that is left out where it is empty could be renamed unseen, if no golden had it.
#[test]
fn a_golden_has_every_field_of_a_request() {
    let all: String = goldens().into_iter().map(|(_, text)| text).collect();
    for field in [
        "fallback",
        "fell_back",
        "label",
        "ladder",
        "missing_since",
        "slot_settles_until",
        "told_until",
    ] {
        assert!(all.contains(&format!("\"{field}\":")), "{field}");
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

/// The same of everything that terms can have.
#[test]
fn terms_are_digested_as_they_always_were() {
    let ttl = |text: &str| text.parse::<Ttl>().unwrap();
    let entry = Entitlement {
        id: "vault/db".parse().unwrap(),
        resource: "db-readers".to_owned(),
        title: "Read the database".to_owned(),
        how_to_use: "psql".to_owned(),
        tier: "standard".parse().unwrap(),
        parameters: ParameterRule::Schema(ParameterSchema::new(
            serde_json::json!({"type": "object"}),
            |_| Ok(()),
        )),
        display: Some("{region}".parse().unwrap()),
        template: Some(r#"{"Action":"*"}"#.to_owned()),
        allows: "Reads all tables".to_owned(),
        fallback: Some("tokens/db".parse().unwrap()),
    };
    let tier = Tier {
        name: "standard".parse().unwrap(),
        ttl_default: ttl("30m"),
        ttl_max: ttl("1h"),
        approvals: 2,
        decision_window: ttl("4h"),
        automatic: Some(Quota {
            ceiling: 3,
            per: ttl("1d"),
        }),
        residual_max_secs: 60,
    };
    let (of_entry, of_tier) = (
        r#"{"id":"vault/db","resource":"db-readers","title":"Read the database","how_to_use":"psql","tier":"standard","parameters":{"schema":{"type":"object"}},"display":"{region}","template":"{\"Action\":\"*\"}","allows":"Reads all tables","fallback":"tokens/db"}"#,
        r#"{"name":"standard","ttl_default":"30m","ttl_max":"1h","approvals":2,"decision_window":"4h","automatic":{"ceiling":3,"per":"1d"},"residual_max_secs":60}"#,
    );
    assert_eq!(serde_json::to_string(&entry).unwrap(), of_entry);
    assert_eq!(serde_json::to_string(&tier).unwrap(), of_tier);
    let free = serde_json::to_string(&ParameterRule::Free).unwrap();
    assert_eq!(free, r#""free""#);
    let policy = Policy::new(vec![tier], vec![]).unwrap();
    assert_eq!(
        policy.terms_digest(&entry).to_string(),
        "786b7f8d16a9bdfda5ccf3bf657e22bae118a209915cf7103c7f42eb38876031"
    );
}

/// What approvals and buttons are held against: those that are under way count after an upgrade.
#[test]
fn what_is_decided_has_the_same_digest_for_ever() {
    for (name, released) in [
        (
            "request-v1-active-missing.json",
            "670e67dad8f27a9c237ab7a3d61ae46593139f9c4e67ea628e664af851e31e95",
        ),
        (
            "request-v1-settling-full.json",
            "ec37c15d0a2d4153ab31512c6fad0f0da110705476ea9eae8932e40493b0326d",
        ),
    ] {
        let (_, text) = goldens().into_iter().find(|it| it.0 == name).unwrap();
        let request = AccessRequest::from_stored(&text).unwrap();
        assert_eq!(request.digest().to_string(), released, "{name}");
    }
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
