//! What goes wrong on demand.

use std::io::ErrorKind;
use std::time::Duration;

use aws_sim::{Away, Hostility, Rule};
use serde_json::json;

use crate::client::{ACCOUNT, START, Stage};

const CREATE: &str = "CreateAccountAssignment";
const TARGET: &str = "SWBExternalService.CreateAccountAssignment";
const PATIENCE: Duration = Duration::from_secs(20);

/// A creation whose answer must not come.
fn lost(stage: &Stage) {
    let lost = stage.attempt(TARGET, &stage.wanted(), PATIENCE);
    let why = lost.unwrap_err().kind();
    assert!(
        matches!(why, ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
        "{why}"
    );
}

#[test]
fn calls_are_refused_by_name_and_nothing_is_done() {
    let stage = Stage::new();
    let world = stage.sim.world();
    for (hostility, status, error) in [
        (Hostility::Throttle, 400, "ThrottlingException"),
        (Hostility::Conflict, 400, "ConflictException"),
        (Hostility::InternalError, 500, "InternalServerException"),
        (Hostility::Unavailable, 503, "ServiceUnavailableException"),
    ] {
        world.hostile(CREATE, hostility);
        let reply = stage.sso(CREATE, stage.wanted());
        assert_eq!((reply.status, reply.error()), (status, error));
        world.calm();
    }
    assert_eq!(world.in_progress(), 0);
    world.hostile("*", Hostility::Throttle);
    let reply = stage.organizations("ListAccounts", json!({}));
    assert_eq!(reply.error(), "TooManyRequestsException");
    let reply = stage.store("ListUsers", json!({}));
    assert_eq!(reply.error(), "ThrottlingException");
}

#[test]
fn a_rule_spoils_so_many_calls_after_so_many_others() {
    let stage = Stage::new();
    let rule = Rule::new("ListInstances", Hostility::Throttle);
    stage.sim.world().rule(rule.skip(2).times(2));
    let statuses: Vec<u16> = (0..6)
        .map(|_| stage.sso("ListInstances", json!({})).status)
        .collect();
    assert_eq!(statuses, [200, 200, 400, 400, 200, 200]);
}

#[test]
fn a_rule_may_be_about_one_principal() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let bo = world.add_user("bo", "");
    world.rule(Rule::new(CREATE, Hostility::InternalError).having(&bo));
    assert_eq!(stage.sso(CREATE, stage.wanted_of(ACCOUNT, &bo)).status, 500);
    stage.create();
}

#[test]
fn an_error_may_come_although_it_was_done() {
    let stage = Stage::new();
    let after = Hostility::InternalErrorAfter;
    stage.sim.world().hostile_times(CREATE, after, 1);
    assert_eq!(stage.sso(CREATE, stage.wanted()).status, 500);
    stage.advance(10);
    assert!(stage.is_assigned());
}

#[test]
fn a_lost_call_is_not_done_and_a_lost_reply_is() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.hostile_times(CREATE, Hostility::LoseCall, 1);
    lost(&stage);
    stage.advance(10);
    assert!(!stage.is_assigned());
    world.hostile_times(CREATE, Hostility::LoseReply, 1);
    lost(&stage);
    stage.advance(10);
    assert!(stage.is_assigned());
    let outcomes: Vec<String> = world.calls().into_iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, ["lost call", "lost reply"]);
}

#[test]
fn a_lost_call_may_arrive_later() {
    let stage = Stage::new();
    let late = Hostility::LateEffect(Duration::from_secs(60));
    stage.sim.world().hostile_times(CREATE, late, 1);
    lost(&stage);
    stage.advance(59);
    assert_eq!(stage.sim.world().in_progress(), 0);
    stage.advance(600);
    let ledger = stage.sim.world().ledger();
    assert_eq!(ledger.len(), 1);
    assert_eq!(ledger[0].at_micros, START + 70_000_000);
}

#[test]
fn garbage_is_no_json_and_the_call_was_done() {
    let stage = Stage::new();
    let garbage = Hostility::Garbage;
    stage.sim.world().hostile_times(CREATE, garbage, 1);
    let reply = stage.sso(CREATE, stage.wanted());
    assert_eq!(reply.status, 200);
    assert!(reply.body.is_null(), "{}", reply.text);
    stage.advance(10);
    assert!(stage.is_assigned());
}

#[test]
fn a_call_hangs_until_it_is_calm() {
    let stage = Stage::new();
    stage.sim.world().hostile(CREATE, Hostility::Hang);
    let impatient = Duration::from_millis(100);
    let why = stage
        .attempt(TARGET, &stage.wanted(), impatient)
        .unwrap_err();
    assert!(matches!(
        why.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| lost(&stage));
        while stage.sim.world().calls().len() < 2 {
            std::thread::yield_now();
        }
        stage.sim.world().calm();
        waits.join().unwrap();
    });
    assert_eq!(stage.sim.world().in_progress(), 0);
}

#[test]
fn an_operation_fails_for_the_reason_it_is_given() {
    let stage = Stage::new();
    let why = "Received a 403 status error: not today";
    let fail = Hostility::Fail(why.to_owned());
    stage.sim.world().hostile_times(CREATE, fail, 1);
    let request = stage.create();
    stage.advance(10);
    let status = stage.creation(&request);
    assert_eq!(status["Status"], "FAILED");
    assert_eq!(status["FailureReason"], why);
    assert!(!stage.is_assigned());
}

#[test]
fn how_long_one_takes_can_be_said() {
    let stage = Stage::new();
    let slow = Hostility::ApplyAfter(Duration::from_secs(90));
    stage.sim.world().hostile_times(CREATE, slow, 1);
    stage.create();
    stage.advance(89);
    assert!(!stage.is_assigned());
    stage.advance(1);
    assert!(stage.is_assigned());
}

#[test]
fn what_is_frozen_stays_in_progress_until_it_is_calm() {
    let stage = Stage::new();
    stage
        .sim
        .world()
        .hostile_times(CREATE, Hostility::Freeze, 1);
    let request = stage.create();
    stage.advance(86_400);
    assert_eq!(stage.creation(&request)["Status"], "IN_PROGRESS");
    let reply = stage.sso("DeleteAccountAssignment", stage.wanted());
    assert_eq!(reply.error(), "ConflictException");
    stage.sim.world().calm();
    assert_eq!(stage.creation(&request)["Status"], "SUCCEEDED");
    assert_eq!(
        stage.sim.world().ledger()[0].at_micros,
        START + 86_400_000_000
    );
}

#[test]
fn a_status_may_lag_behind_what_is_true() {
    let stage = Stage::new();
    let lag = Hostility::StatusAfter(Duration::from_secs(30));
    stage.sim.world().hostile_times(CREATE, lag, 1);
    let request = stage.create();
    stage.advance(39);
    assert_eq!(stage.creation(&request)["Status"], "IN_PROGRESS");
    assert_eq!(stage.listed().len(), 1);
    stage.advance(1);
    assert_eq!(stage.creation(&request)["Status"], "SUCCEEDED");
}

#[test]
fn a_list_may_be_of_a_while_ago() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let stale = Hostility::Stale(Duration::from_secs(5));
    world.hostile("ListAccountAssignments", stale);
    world.assign(ACCOUNT, &stage.set, &stage.user);
    stage.advance(4);
    assert!(stage.listed().is_empty());
    stage.advance(1);
    assert_eq!(stage.listed().len(), 1);
    world.unassign(ACCOUNT, &stage.set, &stage.user);
    assert_eq!(stage.listed().len(), 1);
    world.calm();
    assert!(stage.listed().is_empty());
}

#[test]
fn a_region_may_be_away() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.away(Away::Unavailable);
    assert_eq!(stage.sso("ListInstances", json!({})).status, 503);
    world.away(Away::Refused);
    lost(&stage);
    // Nothing arrived, so nothing was recorded or done.
    assert!(world.calls().is_empty());
    world.calm();
    assert_eq!(stage.sso("ListInstances", json!({})).status, 200);
}

#[test]
fn what_was_accepted_becomes_true_while_the_region_is_away() {
    let stage = Stage::new();
    stage.create();
    stage.sim.world().away(Away::Refused);
    stage.advance(10);
    assert!(stage.is_assigned());
}

#[test]
#[should_panic(expected = "there is no operation CreateAccountAssignments")]
fn what_is_misspelt_does_not_pass_for_calm() {
    let stage = Stage::new();
    stage
        .sim
        .world()
        .hostile("CreateAccountAssignments", Hostility::Throttle);
}
