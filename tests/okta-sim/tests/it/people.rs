//! Users: found by id and login, listed and searched.

use okta_sim::{Setup, UserStatus};
use serde_json::json;

use crate::client::{START, Stage};

#[test]
fn a_user_has_the_shape_of_okta() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.set_profile(&stage.ana, "managerId", "bob@example.com");
    let reply = stage.get(&format!("/api/v1/users/{}", stage.ana));
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("date"), "Thu, 26 Nov 2026 05:17:52 GMT");
    let url = format!("{}/api/v1/users/{}", stage.sim.url(), stage.ana);
    assert_eq!(
        reply.body,
        json!({
            "id": stage.ana, "status": "ACTIVE",
            "created": "2026-11-26T05:17:52.000Z", "activated": "2026-11-26T05:17:52.000Z",
            "statusChanged": "2026-11-26T05:17:52.000Z", "lastLogin": null,
            "lastUpdated": "2026-11-26T05:17:52.000Z", "passwordChanged": null,
            "type": {"id": "otyfnjfba4ye7pgjB0g4"},
            "profile": {
                "firstName": "ana", "lastName": "Example", "mobilePhone": null,
                "secondEmail": null, "login": "ana@example.com", "email": "ana@example.com",
                "managerId": "bob@example.com",
            },
            "credentials": {"provider": {"type": "OKTA", "name": "OKTA"}},
            "_links": {
                "self": {"href": url},
                "suspend": {"href": format!("{url}/lifecycle/suspend"), "method": "POST"},
                "deactivate": {"href": format!("{url}/lifecycle/deactivate"), "method": "POST"},
            },
        })
    );
    assert!(stage.ana.starts_with("00u") && stage.ana.len() == 20);
    // In a list it has no links but to itself.
    let listed = stage.get("/api/v1/users?search=id+pr").body[0]["_links"].clone();
    assert_eq!(listed.as_object().unwrap().len(), 1);
}

#[test]
fn a_login_is_matched_without_regard_to_case() {
    let stage = Stage::new();
    for key in ["ana@example.com", "ANA%40Example.COM", "ana", "Ana"] {
        let reply = stage.get(&format!("/api/v1/users/{key}"));
        assert_eq!(reply.body["id"], stage.ana, "{key}");
    }
    for key in ["an", "ana@example.org", "00u"] {
        let reply = stage.get(&format!("/api/v1/users/{key}"));
        assert_eq!((reply.status, reply.error()), (404, "E0000007"), "{key}");
    }
}

#[test]
fn a_short_name_that_two_have_is_nobodys() {
    let stage = Stage::new();
    stage
        .sim
        .world()
        .add_user("ana@example.org", "ana@example.org");
    assert_eq!(stage.get("/api/v1/users/ana").status, 404);
}

#[test]
fn a_login_with_a_slash_is_found_by_id_alone() {
    let stage = Stage::new();
    let odd = stage
        .sim
        .world()
        .add_user("a/b@example.com", "ab@example.com");
    for key in ["a%2Fb@example.com", "a%2Fb"] {
        assert_eq!(stage.get(&format!("/api/v1/users/{key}")).status, 404);
    }
    assert_eq!(stage.get(&format!("/api/v1/users/{odd}")).status, 200);
}

#[test]
fn a_plus_in_a_login_is_a_plus() {
    let stage = Stage::new();
    let odd = stage
        .sim
        .world()
        .add_user("ana+test@example.com", "a@example.com");
    for key in ["ana+test@example.com", "ana%2Btest%40example.com"] {
        assert_eq!(stage.get(&format!("/api/v1/users/{key}")).body["id"], odd);
    }
}

#[test]
fn a_login_is_taken_in_whatever_case() {
    let stage = Stage::new();
    let again = stage.sim.world().add_user("ANA@example.com", "");
    assert_eq!(again, stage.ana);
}

#[test]
fn every_status_is_shown_by_its_name() {
    let stage = Stage::new();
    for (status, word) in [
        (UserStatus::Staged, "STAGED"),
        (UserStatus::Provisioned, "PROVISIONED"),
        (UserStatus::Active, "ACTIVE"),
        (UserStatus::Recovery, "RECOVERY"),
        (UserStatus::PasswordExpired, "PASSWORD_EXPIRED"),
        (UserStatus::LockedOut, "LOCKED_OUT"),
        (UserStatus::Suspended, "SUSPENDED"),
        (UserStatus::Deprovisioned, "DEPROVISIONED"),
    ] {
        stage.sim.world().set_status(&stage.ana, status);
        let reply = stage.get(&format!("/api/v1/users/{}", stage.ana));
        assert_eq!(reply.body["status"], word);
        let is_new = status == UserStatus::Staged;
        assert_eq!(reply.body["activated"].is_null(), is_new);
        let search = format!("/api/v1/users?search=status%20eq%20%22{word}%22");
        assert!(stage.get(&search).ids().contains(&stage.ana), "{word}");
    }
}

#[test]
fn a_deactivated_user_stays_a_member_and_is_not_listed_unless_searched_for() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.join(&stage.admins, &stage.ana);
    world.set_status(&stage.ana, UserStatus::Deprovisioned);
    assert_eq!(stage.listed(), [stage.ana.as_str()]);
    assert_eq!(stage.get("/api/v1/users").ids(), [stage.bob.as_str()]);
    assert!(stage.get("/api/v1/users?q=ana").ids().is_empty());
    let found = stage.get("/api/v1/users?search=profile.login+eq+%22ana@example.com%22");
    assert_eq!(found.ids(), [stage.ana.as_str()]);
}

#[test]
fn a_user_may_get_another_login() {
    let stage = Stage::new();
    stage.sim.world().rename(&stage.ana, "anna@example.com");
    assert_eq!(stage.get("/api/v1/users/ana@example.com").status, 404);
    let reply = stage.get("/api/v1/users/anna@example.com");
    assert_eq!(reply.body["id"], stage.ana);
}

/// The logins that a search finds, in order.
fn search(stage: &Stage, kind: &str, expression: &str) -> Vec<String> {
    let query: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
    let reply = stage.get(&format!("/api/v1/users?{kind}={query}"));
    assert_eq!(reply.status, 200, "{expression}: {}", reply.text);
    let mut logins: Vec<String> = (reply.body.as_array().unwrap().iter())
        .map(|it| it["profile"]["login"].as_str().unwrap().to_owned())
        .collect();
    logins.sort();
    logins
}

#[test]
fn searches_are_read_as_they_are_written() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.set_profile(&stage.ana, "slackId", "U01ANA");
    world.set_profile(&stage.ana, "teams", json!(["red", "blue"]));
    world.set_profile(&stage.bob, "employeeNumber", "42");
    world.set_profile(&stage.bob, "motto", "say \"hello\" and (wave)");
    let ana = "ana@example.com";
    let bob = "bob@example.com";
    let by_id = format!("id eq \"{}\"", stage.bob);
    for (expression, found) in [
        ("profile.slackId eq \"U01ANA\"", vec![ana]),
        ("profile.slackId eq \"u01ana\"", vec![ana]),
        ("profile.slackId EQ \"U01ANA\"", vec![ana]),
        ("profile.slackid eq \"U01ANA\"", vec![]),
        ("profile.slackId eq \"U01\"", vec![]),
        ("profile.slackId sw \"U01\"", vec![ana]),
        ("profile.slackId pr", vec![ana]),
        ("profile.mobilePhone pr", vec![]),
        ("profile.teams eq \"blue\"", vec![ana]),
        ("profile.employeeNumber eq \"42\"", vec![bob]),
        (
            "profile.motto eq \"say \\\"hello\\\" and (wave)\"",
            vec![bob],
        ),
        (by_id.as_str(), vec![bob]),
        ("status eq \"ACTIVE\"", vec![ana, bob]),
        (
            "status eq \"ACTIVE\" and profile.login eq \"ana@example.com\"",
            vec![ana],
        ),
        (
            "profile.login eq \"ana@example.com\" or profile.login eq \"bob@example.com\"",
            vec![ana, bob],
        ),
        // `and` binds closer than `or`.
        (
            "profile.slackId pr or profile.employeeNumber pr and status eq \"STAGED\"",
            vec![ana],
        ),
        (
            "(profile.slackId pr or profile.employeeNumber pr) and status eq \"STAGED\"",
            vec![],
        ),
    ] {
        assert_eq!(search(&stage, "search", expression), found, "{expression}");
    }
    assert_eq!(
        search(&stage, "filter", "profile.email eq \"bob@example.com\""),
        [bob]
    );
    // In a filter the case of a value counts.
    let shouted = "profile.email eq \"BOB@example.com\"";
    assert!(search(&stage, "filter", shouted).is_empty());
    assert_eq!(search(&stage, "search", shouted), [bob]);
    assert_eq!(search(&stage, "q", "BO"), [bob]);
}

#[test]
fn what_is_no_expression_is_refused() {
    let stage = Stage::new();
    for expression in [
        "profile.login",
        "profile.login eq",
        "profile.login eq ana",
        "profile.login eq \"ana",
        "profile.login is \"ana\"",
        "(profile.login pr",
        "profile.login pr)",
        "profile.login pr profile.email pr",
        "\"ana\" eq profile.login",
    ] {
        let query: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let reply = stage.get(&format!("/api/v1/users?search={query}"));
        assert_eq!(
            (reply.status, reply.error()),
            (400, "E0000031"),
            "{expression}"
        );
    }
    for (depth, status) in [(16, 200), (17, 400)] {
        let deep = format!("{}id%20pr{}", "(".repeat(depth), ")".repeat(depth));
        let reply = stage.get(&format!("/api/v1/users?search={deep}"));
        assert_eq!(reply.status, status, "{depth} deep");
    }
    for (length, status) in [(4096, 200), (4097, 400)] {
        let long = format!("id+eq+%22{}%22", "x".repeat(length - 8));
        let reply = stage.get(&format!("/api/v1/users?search={long}"));
        assert_eq!(reply.status, status, "{length} long");
    }
    for filter in [
        "profile.slackId+eq+%22U01%22",
        "profile.login+sw+%22ana%22",
        "profile.login+pr",
    ] {
        let reply = stage.get(&format!("/api/v1/users?filter={filter}"));
        assert_eq!((reply.status, reply.error()), (400, "E0000053"), "{filter}");
    }
}

#[test]
fn two_may_have_what_should_be_ones_own() {
    let stage = Stage::new();
    let world = stage.sim.world();
    for user in [&stage.ana, &stage.bob] {
        world.set_profile(user, "slackId", "U01");
    }
    assert_eq!(
        search(&stage, "search", "profile.slackId eq \"U01\"").len(),
        2
    );
}

#[test]
fn a_search_lags_behind_and_an_id_does_not() {
    let setup = Setup {
        search_lag: std::time::Duration::from_secs(2),
        ..Setup::default().manual(START)
    };
    let stage = Stage::with(setup);
    stage.pass(10);
    let world = stage.sim.world();
    world.set_profile(&stage.ana, "slackId", "U01");
    let expression = "profile.slackId eq \"U01\"";
    assert!(search(&stage, "search", expression).is_empty());
    let reply = stage.get(&format!("/api/v1/users/{}", stage.ana));
    assert_eq!(reply.body["profile"]["slackId"], "U01");
    stage.pass(1);
    assert!(search(&stage, "search", expression).is_empty());
    stage.pass(1);
    assert_eq!(search(&stage, "search", expression).len(), 1);
}

#[test]
fn groups_are_found_by_name_type_and_id() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let other = world.add_group_of("adjuncts", okta_sim::GroupType::AppGroup);
    for (query, found) in [
        ("q=ADM", vec![&stage.admins]),
        ("search=profile.name+eq+%22admins%22", vec![&stage.admins]),
        ("filter=type+eq+%22APP_GROUP%22", vec![&other]),
        ("search=type+eq+%22OKTA_GROUP%22", vec![&stage.admins]),
    ] {
        let reply = stage.get(&format!("/api/v1/groups?{query}"));
        assert_eq!(reply.ids().iter().collect::<Vec<_>>(), found, "{query}");
    }
    assert_eq!(stage.get("/api/v1/groups").ids().len(), 2);
    let by_name = stage.get("/api/v1/groups?filter=profile.name+eq+%22admins%22");
    assert_eq!(by_name.error(), "E0000053");
    let group = stage.get(&format!("/api/v1/groups/{}", stage.admins)).body;
    assert!(group["_links"].get("source").is_none());
    let theirs = stage.get(&format!("/api/v1/groups/{other}")).body;
    assert!(theirs["_links"]["source"]["href"].is_string());
    assert_eq!(group["type"], "OKTA_GROUP");
    assert_eq!(group["objectClass"], json!(["okta:user_group"]));
    assert_eq!(
        group["profile"],
        json!({"name": "admins", "description": null})
    );
}

#[test]
fn a_users_groups_are_listed() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.join(&stage.admins, &stage.ana);
    for key in [stage.ana.as_str(), "ana@example.com"] {
        let reply = stage.get(&format!("/api/v1/users/{key}/groups"));
        assert_eq!(reply.ids(), [stage.admins.as_str()]);
    }
    let none = stage.get(&format!("/api/v1/users/{}/groups", stage.bob));
    assert!(none.ids().is_empty());
    assert_eq!(stage.get("/api/v1/users/nobody/groups").status, 404);
}
