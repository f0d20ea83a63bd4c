//! API tokens, what nobody may, and what every call is remembered by.

use okta_sim::{ApiToken, Deed, Hostility, Operation, Scope, Setup};

use crate::client::{PATIENCE, START, Stage, Wire};

#[test]
fn anybody_may_ask_whose_organization_it_is() {
    let mut stage = Stage::new();
    stage.authorization = String::new();
    let reply = stage.get("/.well-known/okta-organization");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body["id"], stage.sim.world().organization_id());
    assert_eq!(reply.body["pipeline"], "idx");
    assert_eq!(
        reply.body["_links"]["organization"]["href"],
        stage.sim.url()
    );
    assert!(reply.all("x-rate-limit-limit").is_empty());
    assert!(!reply.header("x-okta-request-id").is_empty());
}

#[test]
fn without_a_token_nothing_is_done() {
    let mut stage = Stage::new();
    for (authorization, status, error) in [
        ("", 403, "E0000005"),
        ("SSWS nonsense", 401, "E0000011"),
        ("Bearer nonsense", 401, "E0000011"),
        ("Basic nonsense", 401, "E0000011"),
    ] {
        stage.authorization = authorization.to_owned();
        let reply = stage.join();
        assert_eq!((reply.status, reply.error()), (status, error));
        assert_eq!(reply.body["errorLink"], error);
        assert!(reply.body["errorId"].as_str().unwrap().starts_with("oae"));
        assert!(reply.body["errorCauses"].as_array().unwrap().is_empty());
    }
    assert!(!stage.is_member());
}

#[test]
fn a_revoked_token_is_a_wrong_one() {
    let stage = Stage::new();
    assert_eq!(stage.join().status, 204);
    stage.sim.world().revoke_token(&ApiToken::default().id);
    let reply = stage.leave();
    assert_eq!((reply.status, reply.error()), (401, "E0000011"));
    assert!(stage.is_member());
}

#[test]
fn a_token_may_be_revoked_between_two_calls() {
    let stage = Stage::new();
    let token = ApiToken::default().id;
    stage.sim.world().hostile(
        Operation::RemoveUserFromGroup,
        Hostility::Before(Deed::RevokeToken { token }),
    );
    assert_eq!(stage.join().status, 204);
    assert_eq!(stage.leave().status, 401);
}

#[test]
fn a_token_may_what_it_may_and_no_more() {
    let mut stage = Stage::new();
    let world = stage.sim.world().clone();
    let paths = |stage: &Stage| {
        let group = format!("/api/v1/groups/{}", stage.admins);
        [
            ("GET", "/api/v1/users".to_owned()),
            ("GET", format!("/api/v1/users/{}", stage.ana)),
            ("GET", format!("/api/v1/users/{}/groups", stage.ana)),
            ("GET", "/api/v1/groups".to_owned()),
            ("GET", group.clone()),
            ("GET", format!("{group}/users")),
            ("PUT", format!("{group}/users/{}", stage.ana)),
            ("DELETE", format!("{group}/users/{}", stage.ana)),
        ]
    };
    stage.authorization = "SSWS limited".to_owned();
    for (scopes, allowed) in [
        (vec![], [false; 8]),
        (
            vec![Scope::UsersRead],
            [true, true, true, false, false, false, false, false],
        ),
        (
            vec![Scope::GroupsRead],
            [false, false, false, true, true, true, false, false],
        ),
        (
            vec![Scope::GroupsManage],
            [false, false, false, true, true, true, true, true],
        ),
        (vec![Scope::UsersRead, Scope::GroupsManage], [true; 8]),
    ] {
        world.set_token(ApiToken::new("00Tlimited", "limited").allowing(&scopes));
        for ((method, path), is_allowed) in paths(&stage).into_iter().zip(allowed) {
            let reply = stage.call(method, &path);
            if is_allowed {
                assert!(matches!(reply.status, 200 | 204), "{method} {path}");
            } else {
                assert_eq!(
                    (reply.status, reply.error()),
                    (403, "E0000006"),
                    "{scopes:?} {method} {path}"
                );
                assert!(reply.all("www-authenticate").is_empty());
            }
        }
    }
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() {
    let stage = Stage::new();
    for (method, path, status, error) in [
        ("GET", "/api/v1/apps", 404, "E0000008"),
        ("GET", "/", 404, "E0000008"),
        ("GET", "/pagerdutyx", 404, "E0000008"),
        ("PATCH", "/api/v1/users", 405, "E0000022"),
        ("DELETE", "/api/v1/groups/00g1", 405, "E0000022"),
        ("POST", "/.well-known/okta-organization", 405, "E0000022"),
        ("GET", "/oauth2/v1/token", 405, "E0000022"),
    ] {
        let reply = stage.call(method, path);
        assert_eq!((reply.status, reply.error()), (status, error), "{path}");
        let is_counted = path.starts_with("/api/v1/");
        assert_eq!(
            !reply.all("x-rate-limit-limit").is_empty(),
            is_counted,
            "{path}"
        );
    }
}

#[test]
fn calls_are_remembered_with_token_time_and_connection() {
    let stage = Stage::new();
    let mut wire = stage.wire();
    let path = stage.membership();
    for method in ["PUT", "DELETE"] {
        wire.send(&stage.head(method, &path), "").unwrap();
    }
    stage.pass(5);
    stage.get("/api/v1/groups?limit=1");
    let mut stranger = Stage::with(Setup::default().manual(START));
    stranger.authorization = "SSWS nonsense".to_owned();
    stranger.get("/api/v1/groups");

    let calls = stage.sim.world().take_calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].connection, calls[1].connection);
    assert_eq!(calls[0].connected_at_micros, START);
    assert_eq!(calls[2].connected_at_micros, START + 5_000_000);
    assert_ne!(calls[1].connection, calls[2].connection);
    assert_eq!(calls[0].operation, Some(Operation::AddUserToGroup));
    assert_eq!((calls[0].method.as_str(), &calls[0].path), ("PUT", &path));
    assert_eq!(calls[0].status, Some(204));
    assert_eq!(calls[0].token, Some(ApiToken::default().id));
    assert_eq!(calls[2].path, "/api/v1/groups?limit=1");
    assert_eq!(calls[2].at_micros, START + 5_000_000);
    assert!(stage.sim.world().calls().is_empty());

    let refused = &stranger.sim.world().calls()[0];
    assert_eq!((refused.token.as_ref(), refused.status), (None, Some(401)));
    assert_eq!(refused.outcome, "E0000011");
}

#[test]
fn an_answer_takes_as_long_as_it_is_told_to() {
    let setup = Setup {
        latency: std::time::Duration::from_millis(50),
        ..Setup::default().manual(START)
    };
    let stage = Stage::with(setup);
    let begun = std::time::Instant::now();
    let mut wire = Wire::open(&stage.address(), PATIENCE);
    let path = stage.membership();
    wire.send(&stage.head("PUT", &path), "").unwrap();
    assert!(begun.elapsed() >= std::time::Duration::from_millis(50));
    assert!(stage.is_member());
}
