//! Inline policies of roles and users, and the ground truth of what they allow.

use std::time::Duration;

use aws_sim::{AccessKey, Deed, Hostility, Role, Setup};
use serde_json::{Value, json};

use crate::client::{Reply, START, Stage, form};

const LOGS: &str = "arn:aws:s3:::logs/x";

fn document(more: Value) -> String {
    let mut statement = json!({
        "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::logs/*",
    });
    for (key, value) in more.as_object().unwrap() {
        statement[key] = value.clone();
    }
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

/// A policy of exactly so many characters, none of them white space.
fn of_size(characters: usize) -> String {
    let empty = document(json!({"Sid": ""}));
    document(json!({"Sid": "A".repeat(characters - empty.len())}))
}

fn stage() -> Stage {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.add_role(&Role::new("developers"));
    world.add_iam_user("ana");
    stage
}

fn put(stage: &Stage, role: &str, name: &str, document: &str) -> Reply {
    let fields = [
        ("RoleName", role),
        ("PolicyName", name),
        ("PolicyDocument", document),
    ];
    stage.query("iam", "PutRolePolicy", &fields)
}

fn put_user(stage: &Stage, document: &str) -> Reply {
    let fields = [
        ("UserName", "ana"),
        ("PolicyName", "p"),
        ("PolicyDocument", document),
    ];
    stage.query("iam", "PutUserPolicy", &fields)
}

fn of_role<'a>(role: &'a str, name: &'a str) -> [(&'a str, &'a str); 2] {
    [("RoleName", role), ("PolicyName", name)]
}

fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!(
        (reply.status, reply.element("Code").as_deref()),
        (status, Some(code)),
        "{}",
        reply.text
    );
    assert!(reply.element("RequestId").is_some());
}

#[test]
fn a_policy_is_put_read_listed_and_deleted() {
    let stage = stage();
    let text = document(json!({}));
    let put = put(&stage, "developers", "jit-1", &text);
    assert_eq!(put.status, 200, "{}", put.text);
    assert!(put.head.contains("x-amzn-requestid"));
    let read = stage.query("iam", "GetRolePolicy", &of_role("developers", "jit-1"));
    let encoded = read.element("PolicyDocument").unwrap();
    assert!(
        encoded.starts_with("%7B%22Statement%22%3A%5B%7B"),
        "{encoded}"
    );
    let listed = stage.query("iam", "ListRolePolicies", &[("RoleName", "developers")]);
    assert_eq!(listed.element("member").as_deref(), Some("jit-1"));
    assert_eq!(listed.element("IsTruncated").as_deref(), Some("false"));
    let gone = stage.query("iam", "DeleteRolePolicy", &of_role("developers", "jit-1"));
    assert_eq!(gone.status, 200);
    for operation in ["GetRolePolicy", "DeleteRolePolicy"] {
        let reply = stage.query("iam", operation, &of_role("developers", "jit-1"));
        refused(&reply, 404, "NoSuchEntity");
    }
    let history = stage.sim.world().policy_history("role/developers", "jit-1");
    assert_eq!(history, [(START, Some(text)), (START, None)]);
}

#[test]
fn a_user_has_policies_too() {
    let stage = stage();
    assert_eq!(put_user(&stage, &document(json!({}))).status, 200);
    let fields = [("UserName", "ana"), ("PolicyName", "p")];
    assert_eq!(stage.query("iam", "GetUserPolicy", &fields).status, 200);
    let listed = stage.query("iam", "ListUserPolicies", &[("UserName", "ana")]);
    assert_eq!(listed.element("member").as_deref(), Some("p"));
    assert_eq!(stage.query("iam", "DeleteUserPolicy", &fields).status, 200);
    let reply = stage.query("iam", "DeleteUserPolicy", &fields);
    refused(&reply, 404, "NoSuchEntity");
}

#[test]
fn who_is_asked_for_is_shown_with_a_unique_id() {
    let stage = stage();
    let id = stage.sim.world().add_role(&Role::new("developers"));
    let role = stage.query("iam", "GetRole", &[("RoleName", "developers")]);
    assert_eq!(role.element("RoleId"), Some(id.clone()));
    assert!(id.starts_with("AROA") && id.len() == 21);
    let arn = "arn:aws:iam::111111111111:role/developers";
    assert_eq!(role.element("Arn").as_deref(), Some(arn));
    let user = stage.query("iam", "GetUser", &[("UserName", "ana")]);
    assert!(user.element("UserId").unwrap().starts_with("AIDA"));
    let reply = stage.query("iam", "GetRole", &[("RoleName", "nobody")]);
    refused(&reply, 404, "NoSuchEntity");
    let reply = stage.query("iam", "GetRole", &[("RoleName", "a b")]);
    refused(&reply, 400, "ValidationError");
}

#[test]
fn limits_are_of_all_inline_policies_together_and_white_space_is_not_counted() {
    let stage = stage();
    assert_eq!(put(&stage, "developers", "a", &of_size(9_000)).status, 200);
    assert_eq!(put(&stage, "developers", "b", &of_size(1_240)).status, 200);
    let over = put(&stage, "developers", "b", &of_size(1_241));
    refused(&over, 409, "LimitExceeded");
    // What is replaced is not counted.
    assert_eq!(put(&stage, "developers", "a", &of_size(9_000)).status, 200);
    let airy = of_size(2_048).replace("\":", "\" :\n");
    assert_eq!(put_user(&stage, &airy).status, 200);
    refused(&put_user(&stage, &of_size(2_049)), 409, "LimitExceeded");
}

#[test]
fn what_is_malformed_or_reserved_is_refused() {
    let stage = stage();
    let malformed = put(&stage, "developers", "p", "{");
    refused(&malformed, 400, "MalformedPolicyDocument");
    let reply = put(&stage, "developers", "a b", &document(json!({})));
    refused(&reply, 400, "ValidationError");
    let reply = put(&stage, "developers", &"a".repeat(129), &document(json!({})));
    refused(&reply, 400, "ValidationError");
    for path in ["/aws-reserved/sso.amazonaws.com/", "/aws-service-role/x/"] {
        let role = Role::new(&format!("r{}", path.len())).at(path);
        stage.sim.world().add_role(&role);
        let reply = put(&stage, &role.name, "p", &document(json!({})));
        refused(&reply, 400, "UnmodifiableEntity");
    }
    assert!(stage.sim.world().policies("role/developers").is_empty());
}

#[test]
fn lists_come_in_pages() {
    let mut setup = Setup::default().manual(START);
    setup.page_max = 2;
    let stage = Stage::with(setup);
    let world = stage.sim.world();
    world.add_role(&Role::new("developers"));
    world.add_iam_user("ana");
    world.add_iam_user("bob");
    for name in ["a", "b", "c"] {
        world.put_policy("role/developers", name, &document(json!({})));
    }
    let first = stage.query("iam", "ListRolePolicies", &[("RoleName", "developers")]);
    assert_eq!(first.element("IsTruncated").as_deref(), Some("true"));
    let marker = first.element("Marker").unwrap();
    let fields = [("RoleName", "developers"), ("Marker", marker.as_str())];
    let second = stage.query("iam", "ListRolePolicies", &fields);
    assert_eq!(second.element("member").as_deref(), Some("c"));
    let all = stage.query("iam", "GetAccountAuthorizationDetails", &[]);
    assert_eq!(all.element("IsTruncated").as_deref(), Some("true"));
    let users = [("Filter.member.1", "User")];
    let users = stage.query("iam", "GetAccountAuthorizationDetails", &users);
    assert_eq!(users.element("IsTruncated").as_deref(), Some("false"));
    assert!(users.text.contains("<UserName>bob</UserName>") && !users.text.contains("RoleName"));
    let roles = [("Filter.member.1", "Role")];
    let roles = stage.query("iam", "GetAccountAuthorizationDetails", &roles);
    assert_eq!(roles.text.matches("<PolicyName>").count(), 3);
    let reply = stage.query(
        "iam",
        "GetAccountAuthorizationDetails",
        &[("Filter.member.1", "Everybody")],
    );
    refused(&reply, 400, "ValidationError");
}

#[test]
fn reads_may_be_stale_and_effects_late() {
    let mut setup = Setup::default().manual(START);
    setup.iam_reads_lag = Duration::from_secs(10);
    setup.iam_effects_lag = Duration::from_secs(20);
    let stage = Stage::with(setup);
    let world = stage.sim.world();
    world.add_role(&Role::new("developers"));
    assert_eq!(
        put(&stage, "developers", "p", &document(json!({}))).status,
        200
    );
    let reads = || {
        stage
            .query("iam", "GetRolePolicy", &of_role("developers", "p"))
            .status
    };
    let allowed = || {
        let deed = Deed::new("s3:GetObject", LOGS);
        world.is_allowed("role/developers", Some("ana"), deed, world.now())
    };
    assert_eq!((reads(), allowed()), (404, false));
    stage.advance(10);
    assert_eq!((reads(), allowed()), (200, false));
    stage.advance(10);
    assert_eq!((reads(), allowed()), (200, true));
    stage.query("iam", "DeleteRolePolicy", &of_role("developers", "p"));
    assert_eq!((reads(), allowed()), (200, true));
    stage.advance(20);
    assert_eq!((reads(), allowed()), (404, false));
}

#[test]
fn a_session_of_a_role_is_known_by_its_user_id() {
    let stage = stage();
    let world = stage.sim.world();
    let id = world.add_role(&Role::new("developers"));
    let condition = json!({"Condition": {"StringEquals": {"aws:userid": format!("{id}:ana")}}});
    world.put_policy("role/developers", "p", &document(condition));
    let deed = Deed::new("s3:GetObject", LOGS);
    assert!(world.is_allowed("role/developers", Some("ana"), deed, START));
    assert!(!world.is_allowed("role/developers", Some("bob"), deed, START));
    assert!(!world.is_allowed("role/developers", None, deed, START));
    assert!(!world.is_allowed("role/others", Some("ana"), deed, START));
    let regional = json!({"Condition": {"StringEquals": {"aws:RequestedRegion": "eu-central-1"}}});
    world.put_policy("user/ana", "p", &document(regional));
    assert!(!world.is_allowed("user/ana", None, deed, START));
    let here = Deed {
        context: &[("aws:RequestedRegion", "eu-central-1")],
        ..deed
    };
    assert!(world.is_allowed("user/ana", None, here, START));
}

#[test]
fn forms_go_wrong_like_everything_else() {
    let stage = stage();
    let world = stage.sim.world();
    for (hostility, status, code) in [
        (Hostility::Throttle, 400, "Throttling"),
        (Hostility::Conflict, 409, "ConcurrentModification"),
        (Hostility::InternalError, 500, "ServiceFailure"),
        (Hostility::Unavailable, 503, "ServiceUnavailable"),
    ] {
        world.hostile("PutRolePolicy", hostility);
        let reply = put(&stage, "developers", "p", &document(json!({})));
        refused(&reply, status, code);
        world.calm();
    }
    assert!(world.policies("role/developers").is_empty());
    let fields = [
        ("RoleName", "developers"),
        ("PolicyName", "p"),
        ("PolicyDocument", &document(json!({}))),
    ];
    let form = form("iam", "PutRolePolicy", &fields);
    let late = Hostility::LateEffect(Duration::from_secs(60));
    world.hostile_times("PutRolePolicy", late, 1);
    let patience = Duration::from_secs(20);
    assert!(stage.attempt_form("iam", &form, patience).is_err());
    assert!(world.policies("role/developers").is_empty());
    stage.advance(60);
    assert_eq!(world.policies("role/developers").len(), 1);
    world.hostile_times("DeleteRolePolicy", Hostility::LoseReply, 1);
    let form = crate::client::form("iam", "DeleteRolePolicy", &of_role("developers", "p"));
    assert!(stage.attempt_form("iam", &form, patience).is_err());
    assert!(world.policies("role/developers").is_empty());
}

#[test]
fn who_may_not_is_told_so_in_xml() {
    let mut stage = stage();
    let key = AccessKey::default().allowing(&["iam:GetRole"]);
    stage.sim.world().set_key(key);
    let reply = stage.query("iam", "GetRole", &[("RoleName", "developers")]);
    assert_eq!(reply.status, 200);
    let reply = put(&stage, "developers", "p", &document(json!({})));
    refused(&reply, 403, "AccessDenied");
    stage.signer.key.secret = "guessed".to_owned();
    let reply = stage.query("iam", "GetRole", &[("RoleName", "developers")]);
    refused(&reply, 403, "SignatureDoesNotMatch");
    stage.signer.key = AccessKey::new("AKIASTRANGER", "guessed");
    let reply = stage.query("iam", "GetRole", &[("RoleName", "developers")]);
    refused(&reply, 403, "InvalidClientTokenId");
    let reply = stage.query("iam", "DeleteEverything", &[]);
    assert_eq!(reply.error(), "UnknownOperationException");
}

#[test]
fn iam_is_signed_for_its_one_region() {
    let mut stage = stage();
    stage.signer.service = Some("iam".to_owned());
    let reply = stage.query("iam", "GetUser", &[("UserName", "ana")]);
    refused(&reply, 403, "SignatureDoesNotMatch");
    stage.signer.region = "us-east-1".to_owned();
    let reply = stage.query("iam", "GetUser", &[("UserName", "ana")]);
    assert_eq!(reply.status, 200);
}
