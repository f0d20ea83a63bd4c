//! How assignments come and go: asynchronous, idempotent, one operation at a time.

use std::time::Duration;

use aws_sim::{By, Notices, Orphans, Setup, What};
use serde_json::json;

use crate::client::{ACCOUNT, START, Stage};

#[test]
fn a_creation_is_in_progress_until_it_is_true() {
    let stage = Stage::new();
    let request = stage.create();
    stage.advance(9);
    assert_eq!(stage.creation(&request)["Status"], "IN_PROGRESS");
    assert!(!stage.is_assigned() && stage.listed().is_empty());
    stage.advance(1);
    let status = stage.creation(&request);
    assert_eq!(status["Status"], "SUCCEEDED");
    assert_eq!(status["TargetId"], ACCOUNT);
    assert_eq!(status["CreatedDate"], 1_795_670_272.0);
    assert!(stage.is_assigned());
    assert_eq!(stage.listed(), std::slice::from_ref(&stage.user));
}

#[test]
fn the_ledger_says_when_it_became_true_and_by_whom() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let given = stage.create();
    // Nobody looks in between: the effect is dated when it was due all the same.
    stage.advance(3600);
    assert!(world.unassign(ACCOUNT, &stage.set, &stage.user));
    assert!(!world.unassign(ACCOUNT, &stage.set, &stage.user));
    let ledger = world.ledger();
    assert_eq!(ledger.len(), 2);
    assert_eq!(ledger[0].at_micros, START + 10_000_000);
    assert_eq!((ledger[0].what, ledger[0].by), (What::Given, By::Ours));
    assert_eq!(ledger[0].request_id, Some(given));
    assert_eq!(ledger[1].at_micros, START + 3_600_000_000);
    assert_eq!((ledger[1].what, ledger[1].by), (What::Taken, By::Hand));
    assert_eq!(ledger[1].assignment.principal, stage.user);
}

#[test]
fn what_exists_is_created_again_without_a_second_one() {
    let stage = Stage::new();
    stage.create();
    stage.advance(10);
    let again = stage.create();
    stage.advance(10);
    assert_eq!(stage.creation(&again)["Status"], "SUCCEEDED");
    assert_eq!(stage.listed().len(), 1);
    assert_eq!(stage.sim.world().ledger().len(), 1);
    let gone = stage.delete();
    stage.advance(10);
    assert_eq!(stage.deletion(&gone)["Status"], "SUCCEEDED");
    assert!(stage.listed().is_empty());
}

#[test]
fn deleting_what_is_not_there_fails_later() {
    let stage = Stage::new();
    let request = stage.delete();
    assert_eq!(stage.deletion(&request)["Status"], "IN_PROGRESS");
    stage.advance(10);
    let status = stage.deletion(&request);
    assert_eq!(status["Status"], "FAILED");
    let why = status["FailureReason"].as_str().unwrap();
    assert!(
        why.contains("404") && why.contains("was not found"),
        "{why}"
    );
}

#[test]
fn one_operation_at_a_time_on_one_assignment() {
    let stage = Stage::new();
    stage.create();
    for operation in ["CreateAccountAssignment", "DeleteAccountAssignment"] {
        let reply = stage.sso(operation, stage.wanted());
        assert_eq!((reply.status, reply.error()), (400, "ConflictException"));
    }
    // Another principal is another assignment.
    let other = stage.sim.world().add_user("bo", "bo@example.com");
    let reply = stage.sso("CreateAccountAssignment", stage.wanted_of(ACCOUNT, &other));
    assert_eq!(reply.status, 200);
    stage.advance(10);
    stage.delete();
}

#[test]
fn who_does_not_exist_when_it_is_applied_gets_nothing() {
    let stage = Stage::new();
    let request = stage.create();
    stage.sim.world().delete_user(&stage.user);
    stage.advance(10);
    let status = stage.creation(&request);
    assert_eq!(status["Status"], "FAILED");
    assert!(
        status["FailureReason"]
            .as_str()
            .unwrap()
            .contains("was not found in directory")
    );
    assert!(stage.sim.world().ledger().is_empty());
}

#[test]
fn a_user_is_no_group() {
    let stage = Stage::new();
    let mut wanted = stage.wanted();
    wanted["PrincipalType"] = json!("GROUP");
    let reply = stage.sso("CreateAccountAssignment", wanted.clone());
    let request = reply.body["AccountAssignmentCreationStatus"]["RequestId"].clone();
    stage.advance(10);
    assert_eq!(
        stage.creation(request.as_str().unwrap())["Status"],
        "FAILED"
    );
    let group = stage.sim.world().add_group("admins");
    wanted["PrincipalId"] = json!(group);
    assert_eq!(stage.sso("CreateAccountAssignment", wanted).status, 200);
    stage.advance(10);
    assert!(stage.sim.world().is_assigned(ACCOUNT, &stage.set, &group));
}

#[test]
fn an_account_that_is_unknown_or_suspended_fails() {
    let stage = Stage::new();
    stage.sim.world().suspend_account(ACCOUNT);
    for (account, code) in [("999999999999", "404"), (ACCOUNT, "403")] {
        let wanted = stage.wanted_of(account, &stage.user);
        let reply = stage.sso("CreateAccountAssignment", wanted);
        let request = reply.body["AccountAssignmentCreationStatus"]["RequestId"].clone();
        stage.advance(10);
        let status = stage.creation(request.as_str().unwrap());
        assert_eq!(status["Status"], "FAILED");
        assert!(status["FailureReason"].as_str().unwrap().contains(code));
    }
}

#[test]
fn what_does_not_exist_is_not_found_at_once() {
    let stage = Stage::new();
    let mut wanted = stage.wanted();
    let (instance, _) = stage.set.rsplit_once('/').unwrap();
    wanted["PermissionSetArn"] = json!(format!("{instance}/ps-0000000000000000"));
    let reply = stage.sso("CreateAccountAssignment", wanted);
    assert_eq!(
        (reply.status, reply.error()),
        (400, "ResourceNotFoundException")
    );
    stage.sim.world().delete_permission_set(&stage.set);
    let reply = stage.sso("DeleteAccountAssignment", stage.wanted());
    assert_eq!(reply.error(), "ResourceNotFoundException");
    let mut elsewhere = stage.wanted();
    elsewhere["InstanceArn"] = json!("arn:aws:sso:::instance/ssoins-7223a4b5c6d7e8f9");
    let reply = stage.raw("SWBExternalService.CreateAccountAssignment", &elsewhere);
    assert_eq!(reply.error(), "ResourceNotFoundException");
    let status =
        json!({"AccountAssignmentCreationRequestId": "a1b2c3d4-1234-4abc-8def-0123456789ab"});
    let reply = stage.sso("DescribeAccountAssignmentCreationStatus", status);
    assert_eq!(reply.error(), "ResourceNotFoundException");
}

#[test]
fn a_creations_status_is_no_deletions() {
    let stage = Stage::new();
    let request = stage.create();
    assert_eq!(stage.deletion(&request), json!(null));
}

#[test]
fn a_permission_set_deleted_by_hand_takes_its_assignments_along() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.assign(ACCOUNT, &stage.set, &stage.user);
    world.delete_permission_set(&stage.set);
    assert!(!stage.is_assigned());
    assert_eq!(world.ledger().last().unwrap().what, What::Taken);
}

#[test]
fn what_a_deleted_user_had_is_cleared_left_or_stuck() {
    for (orphans, stays, then) in [
        (Orphans::Cleared, false, "FAILED"),
        (Orphans::Left, true, "SUCCEEDED"),
        (Orphans::Stuck, true, "FAILED"),
    ] {
        let setup = Setup {
            orphans,
            ..Setup::default()
        };
        let stage = Stage::with(setup.manual(START).applying_in(Duration::ZERO));
        stage.create();
        stage.sim.world().delete_user(&stage.user);
        assert_eq!(stage.listed().len(), usize::from(stays), "{orphans:?}");
        let request = stage.delete();
        assert_eq!(stage.deletion(&request)["Status"], then, "{orphans:?}");
    }
}

#[test]
fn what_does_not_exist_may_be_noticed_at_once() {
    let setup = Setup {
        notices: Notices::AtOnce,
        ..Setup::default()
    };
    let stage = Stage::with(setup.manual(START));
    let reply = stage.sso("DeleteAccountAssignment", stage.wanted());
    assert_eq!(reply.error(), "ResourceNotFoundException");
    let nobody = stage.wanted_of(ACCOUNT, "a1b2c3d4-1234-4abc-8def-0123456789ab");
    let reply = stage.sso("CreateAccountAssignment", nobody);
    assert_eq!(reply.error(), "ResourceNotFoundException");
    assert_eq!(stage.sim.world().in_progress(), 0);
    stage.create();
}

#[test]
fn at_no_time_at_all_it_is_true_before_the_answer_is_read() {
    let setup = Setup::default().manual(START);
    let stage = Stage::with(setup.applying_in(Duration::ZERO));
    let request = stage.create();
    assert!(stage.is_assigned());
    assert_eq!(stage.creation(&request)["Status"], "SUCCEEDED");
}

#[test]
fn the_machines_time_can_be_moved_on() {
    let stage = Stage::with(Setup::default().applying_in(Duration::from_secs(60)));
    let request = stage.create();
    assert_eq!(stage.creation(&request)["Status"], "IN_PROGRESS");
    stage.advance(60);
    assert_eq!(stage.creation(&request)["Status"], "SUCCEEDED");
    let world = stage.sim.world();
    let ledger = world.ledger();
    world.set_now_micros(START);
    assert!(world.now() - START < 60_000_000);
    assert_eq!(world.ledger(), ledger, "going back undoes nothing");
}

#[test]
fn how_long_it_takes_is_drawn_by_the_seed() {
    let took = |seed: u64, asks: u32| {
        let stage = Stage::with(
            Setup {
                seed,
                ..Setup::default()
            }
            .manual(START),
        );
        for _ in 0..asks {
            stage.listed();
        }
        stage.create();
        stage.advance(60);
        stage.sim.world().ledger()[0].at_micros - START
    };
    assert!((1_000_000..=10_000_000).contains(&took(1, 0)));
    assert_eq!(took(1, 0), took(1, 7), "asking changes nothing");
    assert_ne!(took(1, 0), took(2, 0));
}
