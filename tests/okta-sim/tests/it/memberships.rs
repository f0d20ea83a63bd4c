//! Making and ending memberships, and the ledger of them.

use okta_sim::{ApiToken, By, GroupType, Period, What};

use crate::client::{START, Stage};

#[test]
fn a_membership_is_made_and_ended_and_written_down() {
    let stage = Stage::new();
    let reply = stage.join();
    assert_eq!((reply.status, reply.text.as_str()), (204, ""));
    assert!(stage.is_member());
    assert_eq!(stage.listed(), [stage.ana.as_str()]);
    stage.pass(60);
    assert_eq!(stage.leave().status, 204);
    assert!(!stage.is_member());
    assert!(stage.listed().is_empty());

    let world = stage.sim.world();
    let ledger = world.ledger();
    assert_eq!(ledger.len(), 2);
    assert_eq!(ledger[0].what, What::Joined);
    assert_eq!(ledger[0].by, By::Api(ApiToken::default().id));
    assert_eq!(
        ledger[0].request_id.as_deref(),
        Some(reply.header("x-okta-request-id"))
    );
    assert_eq!(
        world.periods(&stage.admins, &stage.ana),
        [Period {
            from_micros: START,
            until_micros: Some(START + 60_000_000)
        }]
    );
}

#[test]
fn what_is_so_already_is_done_again_without_a_word() {
    let stage = Stage::new();
    assert_eq!(stage.leave().status, 204);
    assert_eq!(stage.join().status, 204);
    assert_eq!(stage.join().status, 204);
    assert_eq!(stage.sim.world().ledger().len(), 1);
}

#[test]
fn hands_in_the_console_are_told_apart() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.join(&stage.admins, &stage.ana);
    assert_eq!(stage.leave().status, 204);
    let by: Vec<By> = world.ledger().into_iter().map(|it| it.by).collect();
    assert_eq!(by, [By::Control, By::Api(ApiToken::default().id)]);
}

#[test]
fn nobody_can_be_put_nowhere() {
    let stage = Stage::new();
    for method in ["PUT", "DELETE"] {
        let path = format!("/api/v1/groups/{}/users/00unobody", stage.admins);
        let reply = stage.call(method, &path);
        assert_eq!((reply.status, reply.error()), (404, "E0000007"));
        let path = format!("/api/v1/groups/00gnowhere/users/{}", stage.ana);
        let reply = stage.call(method, &path);
        assert_eq!((reply.status, reply.error()), (404, "E0000007"));
    }
    assert_eq!(stage.get("/api/v1/groups/00gnowhere/users").status, 404);
    assert!(stage.sim.world().ledger().is_empty());
}

#[test]
fn a_login_does_not_stand_for_a_member() {
    let stage = Stage::new();
    let path = format!("/api/v1/groups/{}/users/ana@example.com", stage.admins);
    assert_eq!(stage.call("PUT", &path).status, 404);
}

#[test]
fn groups_of_others_are_not_changed() {
    let stage = Stage::new();
    let world = stage.sim.world();
    for kind in [GroupType::AppGroup, GroupType::BuiltIn] {
        let group = world.add_group_of("theirs", kind);
        world.join(&group, &stage.bob);
        for (method, user) in [("PUT", &stage.ana), ("DELETE", &stage.bob)] {
            let reply = stage.call(method, &format!("/api/v1/groups/{group}/users/{user}"));
            assert_eq!((reply.status, reply.error()), (403, "E0000006"));
        }
        assert_eq!(world.members(&group), [stage.bob.as_str()]);
    }
}

#[test]
fn one_membership_cannot_be_asked_for() {
    let stage = Stage::new();
    let reply = stage.get(&stage.membership());
    assert_eq!((reply.status, reply.error()), (405, "E0000022"));
}

#[test]
fn the_group_says_when_its_members_changed() {
    let stage = Stage::new();
    let changed = |stage: &Stage| {
        let reply = stage.get(&format!("/api/v1/groups/{}", stage.admins));
        reply.body["lastMembershipUpdated"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(changed(&stage), "2026-11-26T05:17:52.000Z");
    stage.pass(8);
    stage.join();
    assert_eq!(changed(&stage), "2026-11-26T05:18:00.000Z");
    stage.pass(60);
    stage.join();
    assert_eq!(changed(&stage), "2026-11-26T05:18:00.000Z");
}

#[test]
fn memberships_go_with_whom_and_what_they_are_of() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let other = world.add_group("other");
    for group in [&stage.admins, &other] {
        world.join(group, &stage.ana);
    }
    world.join(&other, &stage.bob);
    world.delete_user(&stage.ana);
    assert!(world.members(&stage.admins).is_empty());
    assert_eq!(world.members(&other), [stage.bob.as_str()]);
    world.delete_group(&other);
    assert!(world.members(&other).is_empty());
    assert_eq!(stage.get(&format!("/api/v1/groups/{other}")).status, 404);
    assert_eq!(
        stage.get(&format!("/api/v1/users/{}", stage.ana)).status,
        404
    );
    assert_eq!(stage.join().status, 404);
}
