//! Logging in, and what a login's token is.

use serde_json::json;
use vault_sim::End;

use crate::client::{ROOT, Stage};

#[test]
fn the_right_ids_log_in_and_wrong_ones_are_400() {
    let stage = Stage::new();
    let secret_id = stage.world().secret_id("app", None);
    let login = stage.login(&secret_id);
    assert_eq!(login.status, 200);
    assert_eq!(login.body["auth"]["lease_duration"], 3600);
    assert_eq!(login.body["auth"]["renewable"], true);
    assert_eq!(
        login.body["auth"]["policies"],
        json!(["default", "maker", "reader"])
    );
    let wrong = stage.login("wrong");
    assert_eq!(wrong.status, 400);
    assert!(wrong.says("invalid role or secret ID"));
    let nowhere = stage
        .attempt("POST", "auth/nowhere/login", "", &json!({}))
        .unwrap();
    assert_eq!(nowhere.status, 403);
}

#[test]
fn a_secret_id_is_good_as_often_as_it_says() {
    let stage = Stage::new();
    let secret_id = stage.world().secret_id("app", Some(2));
    assert_eq!(stage.login(&secret_id).status, 200);
    assert_eq!(stage.login(&secret_id).status, 200);
    assert_eq!(stage.login(&secret_id).status, 400);
}

#[test]
fn a_wrapped_secret_id_comes_out_once_and_in_time() {
    let stage = Stage::new();
    let path = "auth/approle/role/app/secret-id";
    let unwrap = |wrapping: &str| stage.post(wrapping, "sys/wrapping/unwrap", json!(null));
    let wrapped = stage.wrapped(ROOT, path, json!({}));
    let token = wrapped.body["wrap_info"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let out = unwrap(&token);
    let secret_id = out.body["data"]["secret_id"].as_str().unwrap();
    assert_eq!(stage.login(secret_id).status, 200);
    let again = unwrap(&token);
    assert_eq!(again.status, 400);
    assert!(again.says("wrapping token is not valid or does not exist"));

    let late = stage.world().wrapped_secret_id("app", 60);
    stage.pass(60);
    assert_eq!(unwrap(&late).status, 400);
    let in_time = stage.world().wrapped_secret_id("app", 60);
    stage.pass(59);
    assert_eq!(unwrap(&in_time).status, 200);
}

#[test]
fn a_login_ends_and_is_renewed_no_further_than_it_may() {
    let stage = Stage::new();
    let token = stage.app();
    stage.pass(3_599);
    assert_eq!(stage.get(&token, "auth/token/lookup-self").status, 200);
    for _ in 0..4 {
        assert_eq!(
            stage
                .post(&token, "auth/token/renew-self", json!({}))
                .status,
            200
        );
        stage.pass(3_000);
    }
    // Four hours after the login, whatever was renewed.
    let last = stage.post(&token, "auth/token/renew-self", json!({"increment": "1h"}));
    let left = 4 * 3_600 - (3_599 + 4 * 3_000);
    assert!(left < 0 && last.status == 403, "it is over");
    let dead = stage.get(&token, "auth/token/lookup-self");
    assert_eq!(dead.status, 403);
    assert!(dead.says("invalid token"));
    let ledger = stage.world().ledger();
    let accessor = &ledger.last().unwrap().accessor;
    let (_, how) = stage.world().death(accessor).unwrap();
    assert_eq!(how, End::Expired);
}
