//! Sessions of roles, and what they may do.

use std::time::Duration;

use aws_sim::{AccessKey, Deed, Role};
use serde_json::json;

use crate::client::{Reply, START, Stage};

const ROLE: &str = "arn:aws:iam::111111111111:role/deploy";
const HOUR: i64 = 3_600_000_000;

fn all(more: serde_json::Value) -> String {
    let mut statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    for (key, value) in more.as_object().unwrap() {
        statement[key] = value.clone();
    }
    json!({"Version": "2012-10-17", "Statement": statement}).to_string()
}

fn stage() -> Stage {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.add_role(&Role::new("deploy").lasting(Duration::from_secs(12 * 3_600)));
    let logs = json!({"Resource": "arn:aws:s3:::logs/*"});
    world.put_policy("role/deploy", "base", &all(logs));
    stage
}

fn assume(stage: &Stage, more: &[(&str, &str)]) -> Reply {
    let mut fields = vec![("RoleArn", ROLE), ("RoleSessionName", "req-1")];
    for (name, value) in more {
        fields.retain(|it| it.0 != *name);
        fields.push((name, value));
    }
    stage.query("sts", "AssumeRole", &fields)
}

fn code(reply: &Reply) -> String {
    reply.element("Code").unwrap_or_default()
}

#[test]
fn a_session_is_as_its_role_and_its_own_policy_allow() {
    let stage = stage();
    let until = json!({"Condition": {"DateLessThan": {"aws:CurrentTime": "2026-11-26T05:47:52Z"}}});
    let reply = assume(
        &stage,
        &[("Policy", &all(until)), ("DurationSeconds", "3600")],
    );
    assert_eq!(reply.status, 200, "{}", reply.text);
    let key = reply.element("AccessKeyId").unwrap();
    assert!(key.starts_with("ASIA") && key.len() == 20);
    assert_eq!(
        reply.element("Expiration").as_deref(),
        Some("2026-11-26T06:17:52Z")
    );
    let id = reply.element("AssumedRoleId").unwrap();
    assert!(id.starts_with("AROA") && id.ends_with(":req-1"));
    let world = stage.sim.world();
    let may = |resource: &str, at: i64| {
        world.session_allows(&key, Deed::new("s3:GetObject", resource), at)
    };
    assert!(may("arn:aws:s3:::logs/x", START));
    assert!(!may("arn:aws:s3:::other/x", START));
    assert!(may("arn:aws:s3:::logs/x", START + HOUR / 2 - 1));
    assert!(!may("arn:aws:s3:::logs/x", START + HOUR / 2));
    assert_eq!(world.sessions().len(), 1);
    let plain = assume(&stage, &[]).element("AccessKeyId").unwrap();
    let deed = Deed::new("s3:GetObject", "arn:aws:s3:::logs/x");
    assert!(world.session_allows(&plain, deed, START + HOUR - 1));
    assert!(!world.session_allows(&plain, deed, START + HOUR));
}

#[test]
fn a_session_calls_by_itself_until_it_ends() {
    let mut stage = stage();
    let reply = assume(&stage, &[("DurationSeconds", "900")]);
    let part = |name: &str| reply.element(name).unwrap();
    let mut key = AccessKey::new(&part("AccessKeyId"), &part("SecretAccessKey"));
    key.session_token = Some(part("SessionToken"));
    stage.signer.key = key;
    let who = stage.query("sts", "GetCallerIdentity", &[]);
    let arn = "arn:aws:sts::111111111111:assumed-role/deploy/req-1";
    assert_eq!(who.element("Arn").as_deref(), Some(arn), "{}", who.text);
    // Its role may nothing but the logs.
    let reply = stage.query("iam", "GetRole", &[("RoleName", "deploy")]);
    assert_eq!(code(&reply), "AccessDenied");
    stage.advance(900);
    let reply = stage.query("sts", "GetCallerIdentity", &[]);
    assert_eq!(
        (reply.status, code(&reply)),
        (403, "ExpiredToken".to_owned())
    );
}

#[test]
fn what_sts_does_not_take_is_refused() {
    let stage = stage();
    let long = all(json!({"Sid": "A".repeat(2_048)}));
    for (more, wanted) in [
        (("RoleSessionName", "a"), "ValidationError"),
        (("RoleSessionName", "a b"), "ValidationError"),
        (("RoleSessionName", "agent:x"), "ValidationError"),
        (("DurationSeconds", "899"), "ValidationError"),
        (("DurationSeconds", "43201"), "ValidationError"),
        (("Policy", "{}"), "MalformedPolicyDocument"),
        (("Policy", &long), "ValidationError"),
        (
            ("RoleArn", "arn:aws:iam::111111111111:role/none"),
            "AccessDenied",
        ),
    ] {
        let reply = assume(&stage, &[more]);
        assert_eq!(code(&reply), wanted, "{more:?}: {}", reply.text);
    }
    let world = stage.sim.world();
    world.configure(|setup| setup.packed_policy_max = 50);
    let reply = assume(&stage, &[("Policy", &all(json!({})))]);
    assert_eq!(code(&reply), "PackedPolicyTooLarge");
    world.add_role(&Role::new("short"));
    let short = ("RoleArn", "arn:aws:iam::111111111111:role/short");
    let reply = assume(&stage, &[short, ("DurationSeconds", "3601")]);
    assert_eq!(code(&reply), "ValidationError");
    assert!(world.sessions().is_empty());
}

#[test]
fn only_whom_a_role_trusts_may_assume_it() {
    let mut stage = stage();
    let world = stage.sim.world().clone();
    let jitd = "arn:aws:iam::111111111111:user/AKIAJITD";
    world.add_role(
        &Role::new("closed")
            .trusting(&[jitd])
            .lasting(Duration::from_secs(43_200)),
    );
    let closed = ("RoleArn", "arn:aws:iam::111111111111:role/closed");
    let reply = assume(&stage, &[closed]);
    assert_eq!(
        (reply.status, code(&reply)),
        (403, "AccessDenied".to_owned())
    );
    let mut key = AccessKey::new("AKIAJITD", "secret");
    world.set_key(key.clone());
    stage.signer.key = key.clone();
    let day = ("DurationSeconds", "43200");
    assert_eq!(assume(&stage, &[closed, day]).status, 200);
    // Who is a session already opens others for an hour.
    key.session_token = Some("token".to_owned());
    world.set_key(key.clone());
    stage.signer.key = key;
    assert_eq!(assume(&stage, &[closed]).status, 200);
    let reply = assume(&stage, &[closed, day]);
    assert_eq!(code(&reply), "ValidationError");
}

#[test]
fn a_role_that_binds_names_is_assumed_by_ones_own_name_only() {
    let mut stage = stage();
    let world = stage.sim.world().clone();
    world.add_role(&Role::new("named").naming("${aws:username}"));
    let key = AccessKey::new("AKIAJITD", "secret");
    world.set_key(key.clone());
    stage.signer.key = key.clone();
    let named = ("RoleArn", "arn:aws:iam::111111111111:role/named");
    let called = |stage: &Stage, name: &str| assume(stage, &[named, ("RoleSessionName", name)]);
    assert_eq!(called(&stage, "AKIAJITD").status, 200);
    assert_eq!(code(&called(&stage, "somebody-else")), "AccessDenied");
    // Who is a session has no name of a user.
    let mut session = key;
    session.session_token = Some("token".to_owned());
    world.set_key(session.clone());
    stage.signer.key = session;
    assert_eq!(code(&called(&stage, "AKIAJITD")), "AccessDenied");
}
