//! The binary and its control API, as other processes use them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{ACCOUNT, Reply, Stage, exchange};

/// The simulator's process.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aws-sim"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().trim_start_matches("http://").to_owned();
        Self { child, address }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn send(address: &str, method: &str, path: &str, body: &Value) -> Reply {
    let head = format!(
        "{method} /control/{path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n"
    );
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    exchange(address, &head, &body, Duration::from_secs(20)).unwrap()
}

fn post(address: &str, path: &str, body: Value) -> Value {
    let reply = send(address, "POST", path, &body);
    assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    reply.body
}

fn get(address: &str, path: &str) -> Value {
    send(address, "GET", path, &Value::Null).body
}

#[test]
fn the_binary_says_where_it_is_and_has_a_big_organization() {
    let process = Process::start(&["--port", "0", "--seed", "7", "--fill", "30x4"]);
    let state = get(&process.address, "state");
    assert_eq!(state["accounts"].as_object().unwrap().len(), 31);
    assert_eq!(state["sets"].as_array().unwrap().len(), 4);
    assert_eq!(state["keys"][0]["id"], "AKIASIMULATED0000001");
}

#[test]
fn a_world_is_made_and_seen_from_outside() {
    let stage = Stage::new();
    let at = stage.address();
    post(
        &at,
        "accounts",
        json!({"do": "add", "id": "444444444444", "name": "lab"}),
    );
    let user = post(
        &at,
        "users",
        json!({"do": "add", "user_name": "bo", "email": "bo@example.com"}),
    );
    let set = post(
        &at,
        "sets",
        json!({"do": "add", "name": "Admin", "session_s": 3600}),
    );
    let wanted = json!({
        "do": "assign", "account": "444444444444", "permission_set": set["arn"],
        "principal": user["user_id"],
    });
    assert_eq!(post(&at, "assignments", wanted.clone())["changed"], true);
    assert_eq!(post(&at, "assignments", wanted)["changed"], false);
    let ledger = get(&at, "ledger");
    assert_eq!(ledger[0]["what"], "given");
    assert_eq!(ledger[0]["by"], "hand");
    assert_eq!(ledger[0]["account"], "444444444444");
    let state = get(&at, "state");
    assert_eq!(state["assignments"][0]["principal"], user["user_id"]);
    post(
        &at,
        "users",
        json!({"do": "delete", "user_id": user["user_id"]}),
    );
    assert!(get(&at, "state")["users"][user["user_id"].as_str().unwrap()].is_null());
    stage.create();
    assert_eq!(
        get(&at, "calls")[0]["action"],
        "sso:CreateAccountAssignment"
    );
    post(&at, "advance", json!({"ms": 10_000}));
    assert_eq!(get(&at, "ledger").as_array().unwrap().len(), 2);
    post(&at, "reset", json!({"seed": 1}));
    assert_eq!(get(&at, "ledger"), json!([]));
}

#[test]
fn what_goes_wrong_is_said_from_outside() {
    let stage = Stage::new();
    let at = stage.address();
    let throttle = json!({"do": "throttle", "operation": "ListInstances", "times": 1});
    post(&at, "hostility", throttle);
    assert_eq!(stage.sso("ListInstances", json!({})).status, 400);
    assert_eq!(stage.sso("ListInstances", json!({})).status, 200);
    let third = json!({
        "do": "internal_error", "operation": "DescribePermissionSet", "skip": 1,
        "having": stage.set, "times": 1,
    });
    post(&at, "hostility", third);
    let other = stage
        .sim
        .world()
        .add_permission_set("Other", Duration::from_secs(3600));
    let sets = [&stage.set, &other, &stage.set, &stage.set];
    let statuses = sets.map(|set| {
        stage
            .sso("DescribePermissionSet", json!({"PermissionSetArn": set}))
            .status
    });
    assert_eq!(statuses, [200, 200, 500, 200]);
    let late =
        json!({"do": "apply_after", "operation": "CreateAccountAssignment", "after_ms": 500});
    post(&at, "hostility", late);
    stage.create();
    post(&at, "advance", json!({"ms": 500}));
    assert!(stage.is_assigned());
    post(&at, "hostility", json!({"do": "away_refused"}));
    assert!(
        stage
            .attempt(
                "SWBExternalService.ListInstances",
                &json!({}),
                Duration::from_secs(20)
            )
            .is_err()
    );
    post(&at, "hostility", json!({"do": "calm"}));
    assert_eq!(stage.listed().len(), 1);
}

#[test]
fn everything_that_goes_wrong_has_a_word() {
    let stage = Stage::new();
    let at = stage.address();
    for word in [
        "throttle",
        "conflict",
        "internal_error",
        "internal_error_after",
        "unavailable",
        "hang",
        "garbage",
        "lose_call",
        "lose_reply",
        "late_effect",
        "fail",
        "apply_after",
        "freeze",
        "status_after",
        "stale",
        "empty_page",
    ] {
        post(
            &at,
            "hostility",
            json!({"do": word, "after_ms": 1, "reason": "so"}),
        );
    }
    for wrong in [
        json!({"do": "vanish"}),
        json!({"do": "fail"}),
        json!({"do": "stale"}),
        json!({"do": "throttle", "operation": "ListEverything"}),
    ] {
        assert_eq!(send(&at, "POST", "hostility", &wrong).status, 400);
    }
}

#[test]
fn settings_change_while_it_runs() {
    let stage = Stage::new();
    let at = stage.address();
    post(
        &at,
        "settings",
        json!({"apply_min_ms": 0, "apply_max_ms": 0, "seat": "delegated"}),
    );
    stage.create();
    assert!(stage.is_assigned());
    let management = stage.sim.world().management_account();
    let wanted = stage.wanted_of(&management, &stage.user);
    assert_eq!(
        stage.sso("CreateAccountAssignment", wanted).error(),
        "AccessDeniedException"
    );
    let unlimited = json!({"calls_per_second": 0, "notices": "at_once", "orphans": "stuck"});
    post(&at, "settings", unlimited);
    let nobody = stage.wanted_of(ACCOUNT, "a1b2c3d4-1234-4abc-8def-0123456789ab");
    let reply = stage.sso("CreateAccountAssignment", nobody);
    assert_eq!(reply.error(), "ResourceNotFoundException");
    stage.sim.world().delete_user(&stage.user);
    let reply = stage.sso("DeleteAccountAssignment", stage.wanted());
    assert!(reply.message().contains("was not found in directory"));
    let reply = send(&at, "POST", "settings", &json!({"seat": "throne"}));
    assert_eq!(reply.status, 400);
    assert!(
        stage
            .sim
            .world()
            .is_assigned(ACCOUNT, &stage.set, &stage.user)
    );
}
