//! KV version 2, and the server's own state.

use serde_json::{Value, json};
use vault_sim::Health;

use crate::client::{ROOT, Stage};

#[test]
fn secrets_have_versions_and_a_deleted_one_is_404_with_its_metadata() {
    let stage = Stage::new();
    let write = |data: Value| stage.post(ROOT, "secret/data/a/b", json!({ "data": data }));
    assert_eq!(write(json!({"x": "1"})).body["data"]["version"], 1);
    assert_eq!(write(json!({"x": "2"})).body["data"]["version"], 2);
    let read = |query: &str| stage.get(ROOT, &format!("secret/data/a/b{query}"));
    assert_eq!(read("").body["data"]["data"]["x"], "2");
    assert_eq!(read("?version=1").body["data"]["data"]["x"], "1");
    assert_eq!(read("?version=3").status, 404);
    let head = format!("x-vault-token: {ROOT}\r\n");
    let deleted = stage
        .attempt("DELETE", "secret/data/a/b", &head, &json!(null))
        .unwrap();
    assert_eq!(deleted.status, 204);
    let gone = read("");
    assert_eq!(gone.status, 404);
    assert!(gone.body["data"]["data"].is_null());
    assert_eq!(gone.body["data"]["metadata"]["version"], 2);
    assert_eq!(read("?version=1").status, 200);
    let none = stage.get(ROOT, "secret/data/none");
    assert_eq!((none.status, &none.body), (404, &json!({"errors": []})));
    let listed = stage.get(ROOT, "secret/metadata/?list=true");
    assert_eq!(listed.body["data"]["keys"], json!(["a/"]));
    let body = json!({"data": {}, "options": {"cas": 1}});
    assert_eq!(stage.post(ROOT, "secret/data/a/b", body).status, 400);
}

#[test]
fn health_has_a_status_for_each_state() {
    let stage = Stage::new();
    for (health, status) in [
        (Health::Active, 200),
        (Health::Standby, 429),
        (Health::RecoverySecondary, 472),
        (Health::PerformanceStandby, 473),
        (Health::Uninitialised, 501),
        (Health::Sealed, 503),
    ] {
        stage.world().set_health(health);
        let answer = stage
            .attempt("GET", "sys/health", "", &json!(null))
            .unwrap();
        assert_eq!(answer.status, status);
        let asked = "sys/health?standbyok=true&sealedcode=299";
        let answer = stage.attempt("GET", asked, "", &json!(null)).unwrap();
        match health {
            Health::Standby => assert_eq!(answer.status, 200),
            Health::Sealed => assert_eq!(answer.status, 299),
            _ => assert_eq!(answer.status, status),
        }
    }
}

#[test]
fn a_sealed_vault_does_nothing() {
    let stage = Stage::new();
    assert_eq!(stage.post(ROOT, "sys/seal", json!({})).status, 204);
    let sealed = stage.get(ROOT, "auth/token/lookup-self");
    assert!(sealed.status == 503 && sealed.says("Vault is sealed"));
    let status = stage
        .attempt("GET", "sys/seal-status", "", &json!(null))
        .unwrap();
    assert_eq!(status.body["sealed"], true);
    stage.world().calm();
    assert_eq!(stage.get(ROOT, "auth/token/lookup-self").status, 200);
}
