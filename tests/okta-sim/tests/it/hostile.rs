//! What goes wrong on demand.

use std::io::ErrorKind;
use std::time::Duration;

use okta_sim::{Away, Deed, Hostility, Operation, Rule, UserStatus};

use crate::client::{START, Stage, Wire};

const ADD: Operation = Operation::AddUserToGroup;

/// A call whose answer must not come.
fn lost(stage: &Stage) {
    let why = stage.attempt("PUT", &stage.membership()).unwrap_err();
    assert!(
        matches!(
            why.kind(),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
        ),
        "{why}"
    );
}

#[test]
fn a_call_may_be_refused_before_and_after_it_is_done() {
    let stage = Stage::new();
    let world = stage.sim.world();
    for (hostility, status, error, is_done) in [
        (Hostility::InternalError, 500, "E0000009", false),
        (Hostility::Unavailable, 503, "E0000010", false),
        (Hostility::InternalErrorAfter, 500, "E0000009", true),
    ] {
        world.hostile(ADD, hostility);
        let reply = stage.join();
        assert_eq!((reply.status, reply.error()), (status, error));
        assert_eq!(stage.is_member(), is_done);
        world.calm();
    }
}

#[test]
fn a_rule_spoils_so_many_calls_after_so_many_others() {
    let stage = Stage::new();
    let rule = Rule::new(Operation::ListGroups, Hostility::Unavailable);
    stage.sim.world().rule(rule.skip(2).times(2));
    let statuses: Vec<u16> = (0..6).map(|_| stage.get("/api/v1/groups").status).collect();
    assert_eq!(statuses, [200, 200, 503, 503, 200, 200]);
}

#[test]
fn a_rule_may_be_about_one_user_or_about_everything() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.rule(Rule::new(ADD, Hostility::InternalError).having(&stage.bob));
    assert_eq!(stage.join().status, 204);
    let path = format!("/api/v1/groups/{}/users/{}", stage.admins, stage.bob);
    assert_eq!(stage.call("PUT", &path).status, 500);
    world.calm();
    world.rule(Rule::every(Hostility::Unavailable));
    assert_eq!(stage.get("/api/v1/users").status, 503);
    assert_eq!(stage.leave().status, 503);
}

#[test]
fn who_may_not_is_refused_whatever_goes_wrong() {
    let mut stage = Stage::new();
    stage
        .sim
        .world()
        .hostile(ADD, Hostility::InternalErrorAfter);
    stage.authorization = "SSWS nonsense".to_owned();
    assert_eq!(stage.join().status, 401);
    assert!(!stage.is_member());
}

#[test]
fn a_lost_call_is_not_done_and_a_lost_reply_is() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.hostile_times(ADD, Hostility::LoseCall, 1);
    lost(&stage);
    assert!(!stage.is_member());
    world.hostile_times(ADD, Hostility::LoseReply, 1);
    lost(&stage);
    assert!(stage.is_member());
    let calls = world.calls();
    let outcomes: Vec<&str> = calls.iter().map(|it| it.outcome.as_str()).collect();
    assert_eq!(outcomes, ["lost call", "lost reply"]);
    assert!(calls.iter().all(|it| it.status.is_none()));
}

#[test]
fn a_lost_call_may_take_effect_later() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let late = Hostility::LateEffect(Duration::from_secs(60));
    world.hostile_times(ADD, late, 1);
    lost(&stage);
    stage.pass(59);
    assert!(!stage.is_member());
    // It is on its way, and neither calm nor a revoked token stops it.
    world.calm();
    world.revoke_token("00Tsimulated0000001");
    stage.pass(600);
    assert!(stage.is_member());
    let ledger = world.ledger();
    assert_eq!(ledger.len(), 1);
    assert_eq!(ledger[0].at_micros, START + 60_000_000);
}

#[test]
fn a_late_effect_needs_its_group_still() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let late = Hostility::LateEffect(Duration::from_secs(60));
    world.hostile_times(ADD, late, 1);
    lost(&stage);
    world.delete_group(&stage.admins);
    stage.pass(60);
    assert!(world.ledger().is_empty());
}

#[test]
fn garbage_is_no_json_and_the_call_was_done() {
    let stage = Stage::new();
    stage.sim.world().hostile_times(ADD, Hostility::Garbage, 1);
    let reply = stage.join();
    assert_eq!(reply.status, 200);
    assert!(reply.body.is_null() && !reply.text.is_empty());
    assert!(stage.is_member());
}

#[test]
fn a_call_hangs_until_it_is_calm() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.hostile(ADD, Hostility::Hang);
    let mut wire = Wire::open(&stage.address(), Duration::from_millis(100));
    let head = stage.head("PUT", &stage.membership());
    let why = wire.send(&head, "").unwrap_err();
    assert!(matches!(
        why.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    let hangs = |calls: usize| {
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| lost(&stage));
            while world.calls().len() < calls {
                std::thread::yield_now();
            }
            world.calm();
            waits.join().unwrap();
        });
    };
    hangs(2);
    assert!(!stage.is_member());
    world.hostile(ADD, Hostility::HangAfter);
    hangs(3);
    assert!(stage.is_member());
}

#[test]
fn a_call_shows_how_old_its_connection_was() {
    let stage = Stage::new();
    let mut wire = stage.wire();
    let path = stage.membership();
    wire.send(&stage.head("PUT", &path), "").unwrap();
    stage.pass(7);
    wire.send(&stage.head("DELETE", &path), "").unwrap();
    let call = &stage.sim.world().calls()[1];
    assert_eq!(call.at_micros - call.connected_at_micros, 7_000_000);
}

#[test]
fn a_call_may_be_sent_elsewhere() {
    let stage = Stage::new();
    let to = "http://127.0.0.1:1/api/v1/users".to_owned();
    stage
        .sim
        .world()
        .hostile(ADD, Hostility::Redirect(to.clone()));
    let reply = stage.join();
    assert_eq!((reply.status, reply.header("location")), (302, to.as_str()));
    assert!(!stage.is_member());
}

#[test]
fn members_may_be_of_a_while_ago() {
    let stage = Stage::new();
    let world = stage.sim.world();
    stage.pass(10);
    let stale = Hostility::Stale(Duration::from_secs(5));
    world.rule(Rule::every(stale));
    world.join(&stage.admins, &stage.ana);
    stage.pass(4);
    assert!(stage.listed().is_empty());
    let groups = format!("/api/v1/users/{}/groups", stage.ana);
    assert!(stage.get(&groups).ids().is_empty());
    stage.pass(1);
    assert_eq!(stage.listed(), [stage.ana.as_str()]);
    assert_eq!(stage.get(&groups).ids(), [stage.admins.as_str()]);
    world.leave(&stage.admins, &stage.ana);
    assert_eq!(stage.listed(), [stage.ana.as_str()]);
    world.calm();
    assert!(stage.listed().is_empty());
}

#[test]
fn a_user_may_be_shown_as_of_a_while_ago() {
    let stage = Stage::new();
    let world = stage.sim.world();
    stage.pass(10);
    world.set_status(&stage.ana, UserStatus::Suspended);
    let path = format!("/api/v1/users/{}", stage.ana);
    let stale = Hostility::Stale(Duration::from_secs(1));
    world.hostile(Operation::GetUser, stale);
    assert_eq!(stage.get(&path).body["status"], "ACTIVE");
    stage.pass(1);
    assert_eq!(stage.get(&path).body["status"], "SUSPENDED");
    world.delete_user(&stage.ana);
    assert_eq!(stage.get(&path).status, 200);
    stage.pass(1);
    assert_eq!(stage.get(&path).status, 404);
}

#[test]
fn somebody_may_come_between() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let group = stage.admins.clone();
    world.hostile_times(ADD, Hostility::Before(Deed::DeleteGroup { group }), 1);
    assert_eq!(stage.join().status, 404);
    assert!(world.ledger().is_empty());
}

#[test]
fn somebody_may_do_something_at_a_time() {
    let stage = Stage::new();
    let world = stage.sim.world();
    stage.join();
    let leave = Deed::Leave {
        group: stage.admins.clone(),
        user: stage.ana.clone(),
    };
    world.later(Duration::from_secs(30), leave);
    stage.pass(29);
    assert!(stage.is_member());
    stage.pass(100);
    let periods = world.periods(&stage.admins, &stage.ana);
    assert_eq!(periods[0].until_micros, Some(START + 30_000_000));
}

#[test]
fn an_organization_may_be_away() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.away(Away::Unavailable);
    let reply = stage.join();
    assert_eq!((reply.status, reply.error()), (503, "E0000010"));
    world.away(Away::Refused);
    lost(&stage);
    // Nothing arrived, so nothing was recorded or done.
    assert!(world.calls().is_empty());
    world.calm();
    assert_eq!(stage.join().status, 204);
}

#[test]
fn what_was_there_is_forgotten_at_a_reset() {
    let stage = Stage::new();
    let world = stage.sim.world();
    stage.join();
    world.reset(okta_sim::Setup::default().manual(START));
    assert!(world.ledger().is_empty() && world.calls().is_empty());
    // The same seed gives the same ids.
    assert_eq!(world.add_user("ana@example.com", ""), stage.ana);
}
