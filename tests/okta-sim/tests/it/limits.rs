//! Rate limits, with the headers that say how they stand.

use std::time::Duration;

use okta_sim::{Hostility, Limits, Operation, Reset, Setup};

use crate::client::{Reply, START, Stage};

const START_S: i64 = START / 1_000_000;

fn tight() -> Stage {
    let limits = Limits {
        groups: 1,
        group: 2,
        users: 3,
        user: 4,
        token: 5,
        other: 6,
    };
    Stage::with(Setup {
        limits,
        ..Setup::default().manual(START)
    })
}

fn standing(reply: &Reply) -> (i64, i64, i64) {
    (
        reply.number("x-rate-limit-limit"),
        reply.number("x-rate-limit-remaining"),
        reply.number("x-rate-limit-reset") - START_S,
    )
}

#[test]
fn every_answer_says_how_its_bucket_stands() {
    let stage = tight();
    let group = format!("/api/v1/groups/{}", stage.admins);
    for (path, limit) in [
        ("/api/v1/groups", 1),
        (&group, 2),
        ("/api/v1/users", 3),
        ("/api/v1/users/nobody", 4),
        (&format!("{group}/users"), 6),
    ] {
        let reply = stage.get(path);
        assert_eq!(standing(&reply), (limit, limit - 1, 60), "{path}");
        assert_eq!(reply.header("x-okta-request-id").len(), 24);
    }
    // Members, memberships and the groups of a user share one bucket.
    assert_eq!(standing(&stage.join()), (6, 4, 60));
    let groups = stage.get(&format!("/api/v1/users/{}/groups", stage.ana));
    assert_eq!(standing(&groups), (6, 3, 60));
}

#[test]
fn what_is_over_the_limit_is_refused_until_the_minute_is_over() {
    let stage = tight();
    for remaining in (0..6).rev() {
        assert_eq!(standing(&stage.join()), (6, remaining, 60));
    }
    stage.pass(59);
    let reply = stage.leave();
    assert_eq!((reply.status, reply.error()), (429, "E0000047"));
    assert_eq!(standing(&reply), (6, 0, 60));
    assert!(stage.is_member());
    stage.pass(1);
    assert_eq!(standing(&stage.leave()), (6, 5, 120));
    assert!(!stage.is_member());
}

#[test]
fn one_family_does_not_use_up_anothers() {
    let stage = tight();
    stage.get("/api/v1/groups");
    assert_eq!(stage.get("/api/v1/groups").status, 429);
    assert_eq!(stage.get("/api/v1/users").status, 200);
}

#[test]
fn a_reset_in_a_broken_second_is_rounded_up() {
    let stage = Stage::new();
    stage.sim.world().pass(Duration::from_millis(1));
    assert_eq!(standing(&stage.join()).2, 61);
}

#[test]
fn too_many_at_once_are_refused_with_two_zeroes() {
    let stage = Stage::with(Setup {
        concurrent_max: 2,
        ..Setup::default().manual(START)
    });
    let world = stage.sim.world();
    world.hostile(Operation::ListGroups, Hostility::Hang);
    std::thread::scope(|scope| {
        let hang = || scope.spawn(|| stage.attempt("GET", "/api/v1/groups").unwrap_err());
        let first = hang();
        while world.calls().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(stage.join().status, 204);
        let second = hang();
        while world.calls().len() < 3 {
            std::thread::yield_now();
        }
        let reply = stage.leave();
        assert_eq!((reply.status, reply.error()), (429, "E0000047"));
        assert_eq!(standing(&reply), (0, 0, 60));
        assert!(stage.is_member());
        world.calm();
        first.join().unwrap();
        second.join().unwrap();
    });
    // What was unanswered is no more, as soon as its connection is closed.
    while stage.leave().status == 429 {
        std::thread::yield_now();
    }
    assert!(!stage.is_member());
}

#[test]
fn a_throttled_call_may_be_told_anything() {
    let stage = Stage::new();
    let world = stage.sim.world();
    for (reset, said) in [
        (
            Reset::In(Duration::from_secs(3600)),
            (START_S + 3600).to_string(),
        ),
        (
            Reset::Ago(Duration::from_secs(5)),
            (START_S - 5).to_string(),
        ),
        (Reset::Missing, String::new()),
        (Reset::Garbage, "soon".to_owned()),
    ] {
        world.hostile(Operation::AddUserToGroup, Hostility::Throttle(reset));
        let reply = stage.join();
        assert_eq!((reply.status, reply.error()), (429, "E0000047"));
        assert_eq!(reply.header("x-rate-limit-remaining"), "0");
        assert_eq!(reply.header("x-rate-limit-reset"), said);
        assert!(!stage.is_member());
        world.calm();
    }
    world.hostile(Operation::AddUserToGroup, Hostility::Concurrent);
    assert_eq!(standing(&stage.join()), (0, 0, 60));
}
