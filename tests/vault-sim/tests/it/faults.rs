//! What goes wrong on demand.

use serde_json::json;
use vault_sim::{Fault, Rule};

use crate::client::{ROOT, Stage};

fn create(stage: &Stage) -> Option<u16> {
    let headers = format!("x-vault-token: {ROOT}\r\n");
    let made = stage.attempt("POST", "auth/token/create-orphan", &headers, &json!({}));
    made.ok().map(|it| it.status)
}

#[test]
fn each_fault_does_its_work_or_not_and_says_what_it_says() {
    for (fault, status, made) in [
        (Fault::Status(500), Some(500), 0),
        (Fault::StatusAfter(502), Some(502), 1),
        (Fault::TooMany(Some(7)), Some(429), 0),
        (Fault::Denied, Some(403), 0),
        (Fault::Garbage, Some(200), 1),
        (Fault::LoseCall, None, 0),
        (Fault::LoseReply, None, 1),
        (
            Fault::Redirect("http://127.0.0.1:9/".to_owned()),
            Some(302),
            0,
        ),
        (
            Fault::Slow(std::time::Duration::from_millis(1)),
            Some(200),
            1,
        ),
    ] {
        let stage = Stage::new();
        stage
            .world()
            .rule(Rule::at("auth/token/create", fault.clone()).times(1));
        assert_eq!(create(&stage), status, "{fault:?}");
        assert_eq!(stage.world().tokens().len(), made, "{fault:?}");
        assert_eq!(create(&stage), Some(200), "only once");
    }
}

#[test]
fn a_rule_is_for_its_path_and_may_begin_later() {
    let stage = Stage::new();
    stage
        .world()
        .rule(Rule::at("auth/token/create", Fault::TooMany(Some(7))).skip(1));
    assert_eq!(stage.get(ROOT, "auth/token/lookup-self").status, 200);
    assert_eq!(create(&stage), Some(200));
    let slow_down = stage.post(ROOT, "auth/token/create", json!({}));
    assert!(
        slow_down.head.contains("retry-after: 7"),
        "{}",
        slow_down.text
    );
    stage.world().calm();
    assert_eq!(create(&stage), Some(200));
}

#[test]
fn calls_are_remembered_without_what_opens_doors() {
    let stage = Stage::new();
    let secret_id = stage.world().secret_id("app", None);
    stage.login(&secret_id);
    let headers =
        format!("x-vault-token: {ROOT}\r\nx-vault-request: true\r\nx-vault-namespace: a\r\n");
    stage
        .attempt("GET", "auth/token/lookup-self", &headers, &json!(null))
        .unwrap();
    let calls = stage.world().calls();
    let printed = format!("{calls:?}");
    assert!(!printed.contains(&secret_id) && !printed.contains(ROOT));
    let last = calls.last().unwrap();
    assert!(last.marked && last.namespace.as_deref() == Some("a") && last.status == Some(200));
}

#[test]
fn the_control_api_does_the_same() {
    let stage = Stage::new();
    let raw = |path: &str, body: serde_json::Value| {
        use std::io::{Read, Write};
        let address = stage.sim.url().trim_start_matches("http://").to_owned();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let body = body.to_string();
        let head = format!(
            "POST /sim/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: \
             application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut seen = String::new();
        stream.read_to_string(&mut seen).unwrap();
        seen[9..12].parse::<u16>().unwrap()
    };
    assert_eq!(
        raw(
            "faults",
            json!({"do": "status", "status": 500, "path": "auth/"})
        ),
        200
    );
    assert_eq!(create(&stage), Some(500));
    assert_eq!(raw("calm", json!({})), 200);
    assert_eq!(create(&stage), Some(200));
    assert_eq!(raw("health", json!({"health": "sealed"})), 200);
    assert_eq!(create(&stage), Some(503));
    assert_eq!(raw("health", json!({"health": "active"})), 200);
    assert_eq!(raw("faults", json!({"do": "explode"})), 422);
}
