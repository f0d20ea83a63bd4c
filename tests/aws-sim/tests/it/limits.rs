//! What the services limit: how much at once, how often, from where, and by whom.

use std::time::Duration;

use aws_sim::{AccessKey, Seat, Setup};
use serde_json::json;

use crate::client::{ACCOUNT, START, Signer, Stage};

#[test]
fn only_so_many_operations_are_in_progress_at_once() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let begin = |number: u32| {
        let user = world.add_user(&format!("user-{number}"), "");
        stage.sso("CreateAccountAssignment", stage.wanted_of(ACCOUNT, &user))
    };
    for number in 0..10 {
        assert_eq!(begin(number).status, 200);
    }
    assert_eq!(world.in_progress(), 10);
    let reply = begin(10);
    assert_eq!((reply.status, reply.error()), (400, "ThrottlingException"));
    stage.advance(10);
    assert_eq!(begin(11).status, 200);
}

#[test]
fn sso_admin_answers_only_so_many_calls_a_second() {
    let setup = Setup {
        calls_per_second: Some(20),
        ..Setup::default()
    };
    let stage = Stage::with(setup.manual(START));
    let asked = || stage.sso("ListInstances", json!({}));
    for _ in 0..20 {
        assert_eq!(asked().status, 200);
    }
    assert_eq!(asked().error(), "ThrottlingException");
    // The other services have limits of their own.
    assert_eq!(stage.organizations("ListAccounts", json!({})).status, 200);
    stage.sim.world().advance(Duration::from_millis(100));
    assert_eq!(asked().status, 200);
    assert_eq!(asked().status, 200);
    assert_eq!(asked().error(), "ThrottlingException");
    // A second's worth is all that it ever holds.
    stage.advance(3600);
    for _ in 0..20 {
        assert_eq!(asked().status, 200);
    }
    assert_eq!(asked().error(), "ThrottlingException");
}

#[test]
fn a_delegated_administrator_may_not_touch_the_management_account() {
    for (seat, status) in [(Seat::Management, 200), (Seat::Delegated, 400)] {
        let stage = Stage::with(
            Setup {
                seat,
                ..Setup::default()
            }
            .manual(START),
        );
        let management = stage.sim.world().management_account();
        for operation in ["CreateAccountAssignment", "DeleteAccountAssignment"] {
            let reply = stage.sso(operation, stage.wanted_of(&management, &stage.user));
            assert_eq!(reply.status, status, "{seat:?}");
            if seat == Seat::Delegated {
                assert_eq!(reply.error(), "AccessDeniedException");
            }
            stage.advance(10);
        }
        assert_eq!(
            stage.sso("CreateAccountAssignment", stage.wanted()).status,
            200
        );
    }
}

#[test]
fn a_key_may_do_what_it_is_allowed() {
    let mut stage = Stage::new();
    let key = AccessKey::new("AKIALEAST", "secret").allowing(&["sso:ListAccountAssignments"]);
    stage.sim.world().set_key(key.clone());
    stage.signer = Signer::new(key);
    assert!(stage.listed().is_empty());
    let reply = stage.sso("CreateAccountAssignment", stage.wanted());
    assert_eq!(
        (reply.status, reply.error()),
        (400, "AccessDeniedException")
    );
    let why = reply.message();
    assert!(
        why.contains("not authorized to perform: sso:CreateAccountAssignment"),
        "{why}"
    );
    let actions = stage.sim.world().actions("AKIALEAST");
    let called: Vec<&str> = actions.iter().map(String::as_str).collect();
    assert_eq!(
        called,
        ["sso:CreateAccountAssignment", "sso:ListAccountAssignments"]
    );
    let calls = stage.sim.world().calls();
    assert_eq!(
        (calls[0].outcome.as_str(), calls[1].outcome.as_str()),
        ("ok", "AccessDeniedException")
    );
    assert_eq!(calls[1].body["TargetId"], ACCOUNT);
}

#[test]
fn members_that_are_missing_or_misshapen_are_named() {
    let stage = Stage::new();
    for name in [
        "InstanceArn",
        "TargetId",
        "TargetType",
        "PermissionSetArn",
        "PrincipalType",
        "PrincipalId",
    ] {
        let spoilt = [None, Some(json!("nonsense")), Some(json!(7))];
        for (value, error) in spoilt.into_iter().zip([
            "ValidationException",
            "ValidationException",
            "SerializationException",
        ]) {
            let mut wanted = stage.wanted();
            match value.clone() {
                Some(value) => wanted[name] = value,
                None => drop(wanted.as_object_mut().unwrap().remove(name)),
            }
            let reply = stage.raw("SWBExternalService.CreateAccountAssignment", &wanted);
            assert_eq!(
                (reply.status, reply.error()),
                (400, error),
                "{name} {value:?}"
            );
            if error == "ValidationException" {
                let named = format!("{}{}", name[..1].to_lowercase(), &name[1..]);
                assert!(reply.message().contains(&named), "{}", reply.message());
            }
        }
    }
    let reply = stage.organizations("DescribeAccount", json!({"AccountId": "12"}));
    assert_eq!(reply.error(), "InvalidInputException");
    assert_eq!(reply.body["Reason"], "MIN_LENGTH_EXCEEDED");
    assert_eq!(
        reply.body["__type"],
        "com.amazonaws.organizations#InvalidInputException"
    );
}

#[test]
fn an_operation_that_is_none_is_unknown() {
    let stage = Stage::new();
    for target in [
        "SWBExternalService.DeletePermissionSet",
        "Nobody.ListUsers",
        "ListUsers",
    ] {
        let reply = stage.raw(target, &json!({}));
        assert_eq!(
            (reply.status, reply.error()),
            (400, "UnknownOperationException")
        );
    }
}

#[test]
fn answers_look_like_aws() {
    let stage = Stage::new();
    let reply = stage.sso("ListInstances", json!({}));
    assert!(
        reply
            .head
            .contains("content-type: application/x-amz-json-1.1")
    );
    assert!(reply.head.contains("x-amzn-requestid: "));
    assert!(
        reply.head.contains("date: thu, 26 nov 2026 05:17:52 gmt"),
        "{}",
        reply.head
    );
    let reply = stage.sso(
        "DescribePermissionSet",
        json!({"PermissionSetArn": stage.set}),
    );
    let set = &reply.body["PermissionSet"];
    assert_eq!(
        (&set["Name"], &set["SessionDuration"]),
        (&json!("ReadOnly"), &json!("PT4H"))
    );
}
