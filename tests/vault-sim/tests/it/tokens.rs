//! Making tokens, what they may do, and how they end.

use serde_json::json;
use vault_sim::{End, Setup, TokenRole, Unknown};

use crate::client::{ROOT, START, Stage};

#[test]
fn what_was_asked_for_is_what_is_there() {
    let stage = Stage::new();
    let body = json!({
        "policies": ["reader"], "meta": {"k": "v"}, "ttl": "15m", "explicit_max_ttl": "900s",
        "num_uses": 3, "renewable": false, "display_name": "jit req_1", "no_default_policy": true,
    });
    let made = stage.post(ROOT, "auth/token/create-orphan", body);
    assert_eq!(made.body["auth"]["lease_duration"], 900);
    assert_eq!(made.body["auth"]["orphan"], true);
    assert_eq!(made.body["auth"]["token_policies"], json!(["reader"]));
    let looked = stage.looked_up(&made.accessor());
    let data = &looked.body["data"];
    assert_eq!(
        data["id"], "",
        "whoever knows the accessor does not learn the token"
    );
    assert_eq!(data["display_name"], "token-jit-req-1");
    assert_eq!(data["meta"], json!({"k": "v"}));
    assert_eq!(
        (&data["ttl"], &data["explicit_max_ttl"]),
        (&json!(900), &json!(900))
    );
    assert_eq!(
        (&data["num_uses"], &data["renewable"]),
        (&json!(3), &json!(false))
    );
}

#[test]
fn a_token_ends_when_it_says() {
    let stage = Stage::new();
    let made = stage.post(
        ROOT,
        "auth/token/create",
        json!({"ttl": 60, "policies": ["reader"]}),
    );
    stage.pass(59);
    assert!(stage.world().is_alive(&made.token()));
    stage.pass(1);
    assert!(!stage.world().is_alive(&made.token()));
    assert_eq!(
        stage.get(&made.token(), "auth/token/lookup-self").status,
        403
    );
    assert_eq!(stage.looked_up(&made.accessor()).status, 400);
    let death = stage.world().death(&made.accessor()).unwrap();
    assert_eq!(death, (START + 60_000_000, End::Expired));
}

#[test]
fn who_may_give_what() {
    let stage = Stage::new();
    let app = stage.app();
    let status = |token: &str, path: &str, policies: &[&str]| {
        let body = json!({ "policies": policies });
        stage
            .post(token, &format!("auth/token/{path}"), body)
            .status
    };
    assert_eq!(
        status(&app, "create", &["reader"]),
        200,
        "it has that itself"
    );
    assert_eq!(
        status(&app, "create", &["writer"]),
        400,
        "it does not have that"
    );
    assert_eq!(status(&app, "create-orphan", &["writer"]), 400);
    assert_eq!(status(&app, "create/agents", &["reader"]), 200);
    assert_eq!(
        status(&app, "create/agents", &["maker"]),
        400,
        "the role does not allow that"
    );
    assert_eq!(status(&app, "create/nobody", &["reader"]), 400);
    assert_eq!(status(&app, "create", &["root"]), 400);
    let body = json!({"policies": ["chief"]});
    let chief = stage.post(ROOT, "auth/token/create", body).token();
    assert_eq!(
        status(&chief, "create-orphan", &["writer"]),
        200,
        "with sudo"
    );
    assert_eq!(status(&chief, "create", &["root"]), 400, "and yet no root");
    let body = json!({"policies": ["maker"], "num_uses": 5});
    let few = stage.post(ROOT, "auth/token/create", body).token();
    assert_eq!(
        status(&few, "create", &["maker"]),
        400,
        "it would escape its count"
    );
    assert_eq!(status("hvs.nobody", "create", &["reader"]), 403);
}

#[test]
fn children_die_with_their_parent_and_orphans_do_not() {
    let stage = Stage::new();
    let app = stage.app();
    let make = |path: &str| stage.post(&app, path, json!({"policies": ["reader"]}));
    stage.world().put_token_role(TokenRole {
        orphan: false,
        ..TokenRole::new("children", &["reader"])
    });
    let child = make("auth/token/create");
    let of_role = make("auth/token/create/children");
    let orphan = make("auth/token/create-orphan");
    let of_agents = make("auth/token/create/agents");
    assert_eq!(child.body["auth"]["orphan"], false);
    assert_eq!(
        stage.post(&app, "auth/token/revoke-self", json!({})).status,
        204
    );
    assert!(!stage.world().is_alive(&child.token()));
    assert!(!stage.world().is_alive(&of_role.token()));
    assert!(stage.world().is_alive(&orphan.token()));
    assert!(stage.world().is_alive(&of_agents.token()));
    let (_, how) = stage.world().death(&child.accessor()).unwrap();
    assert_eq!(how, End::WithItsParent);
}

#[test]
fn an_accessor_looks_renews_and_revokes() {
    let stage = Stage::new();
    let made = stage.post(
        ROOT,
        "auth/token/create",
        json!({"ttl": 60, "policies": ["reader"]}),
    );
    let by = |path: &str| {
        let body = json!({"accessor": made.accessor()});
        stage.post(ROOT, &format!("auth/token/{path}"), body)
    };
    stage.pass(30);
    let renewed = by("renew-accessor");
    assert_eq!(renewed.body["auth"]["lease_duration"], 60);
    assert_eq!(renewed.body["auth"]["client_token"], "");
    assert_eq!(by("revoke-accessor").status, 204);
    assert!(!stage.world().is_alive(&made.token()));
    let again = by("revoke-accessor");
    assert_eq!(
        (again.status, again.body["warnings"].is_array()),
        (200, true)
    );
    for path in ["lookup-accessor", "renew-accessor"] {
        let unknown = by(path);
        assert_eq!(unknown.status, 400);
        assert!(unknown.says("1 error occurred:\n\t* invalid accessor\n\n"));
    }
    let older = Stage::with(Setup {
        unknown_accessor_status: 403,
        revoking_the_unknown: Unknown::Fails,
        ..Setup::default()
    });
    let unknown = older.post(ROOT, "auth/token/revoke-accessor", json!({"accessor": "x"}));
    assert_eq!(unknown.status, 403);
}

#[test]
fn uses_are_counted_and_the_last_one_ends_it() {
    let stage = Stage::new();
    stage.world().put_secret("secret/data/a", json!({"b": "c"}));
    let body = json!({"policies": ["reader"], "num_uses": 2});
    let made = stage.post(ROOT, "auth/token/create", body);
    assert_eq!(stage.get(&made.token(), "secret/data/a").status, 200);
    assert_eq!(stage.get(&made.token(), "secret/data/a").status, 200);
    assert_eq!(stage.get(&made.token(), "secret/data/a").status, 403);
    assert_eq!(
        stage.world().death(&made.accessor()).unwrap().1,
        End::UsedUp
    );
}

#[test]
fn what_is_not_renewable_is_not_renewed_and_nothing_beyond_its_longest_life() {
    let stage = Stage::new();
    let make = |body| stage.post(ROOT, "auth/token/create", body).token();
    let fixed = make(json!({"ttl": 60, "renewable": false}));
    let renewed = stage.post(&fixed, "auth/token/renew-self", json!({}));
    assert!(renewed.status == 400 && renewed.says("lease is not renewable"));
    let bounded = make(json!({"ttl": 60, "explicit_max_ttl": 90, "policies": ["reader"]}));
    stage.pass(50);
    let renewed = stage.post(&bounded, "auth/token/renew-self", json!({}));
    assert_eq!(renewed.body["auth"]["lease_duration"], 40);
    stage.pass(40);
    assert!(!stage.world().is_alive(&bounded));
}

#[test]
fn policies_are_enforced() {
    let stage = Stage::new();
    stage.world().put_secret("secret/data/a", json!({"b": "c"}));
    let body = json!({"policies": ["reader"], "no_default_policy": true});
    let reader = stage.post(ROOT, "auth/token/create", body).token();
    assert_eq!(stage.get(&reader, "secret/data/a").status, 200);
    let denied = stage.post(&reader, "secret/data/a", json!({"data": {}}));
    assert_eq!(denied.status, 403);
    assert!(denied.says("1 error occurred:\n\t* permission denied\n\n"));
    assert_eq!(
        stage.get(&reader, "auth/token/lookup-self").status,
        403,
        "without default"
    );
    let listing = stage
        .attempt("LIST", "auth/token/accessors", "", &json!(null))
        .unwrap();
    assert_eq!(listing.status, 403, "without a token");
}

#[test]
fn a_wrapped_token_has_an_accessor_of_its_own() {
    let stage = Stage::new();
    let body = json!({"policies": ["reader"]});
    let wrapped = stage.wrapped(ROOT, "auth/token/create", body);
    let info = &wrapped.body["wrap_info"];
    assert!(wrapped.body["auth"].is_null());
    let accessor = info["wrapped_accessor"].as_str().unwrap();
    let wrapping = info["token"].as_str().unwrap();
    assert_eq!(stage.looked_up(accessor).status, 200);
    stage.world().revoke(accessor);
    let out = stage.post(wrapping, "sys/wrapping/unwrap", json!(null));
    assert_eq!(out.status, 200, "the wrapping itself is still there");
    assert_eq!(
        stage.get(&out.token(), "auth/token/lookup-self").status,
        403
    );
}
