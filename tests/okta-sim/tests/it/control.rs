//! The binary and its control API, as other processes use them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::client::{PATIENCE, Reply, Stage, Wire};

/// The simulator's process.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_okta-sim"))
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
    let head = format!("{method} /sim/{path} HTTP/1.1\r\ncontent-type: application/json\r\n");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    Wire::open(address, PATIENCE).send(&head, &body).unwrap()
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
fn the_binary_says_where_it_is_and_has_a_big_group() {
    let process = Process::start(&["--seed", "7", "--fill", "30", "--latency-ms", "1"]);
    let state = get(&process.address, "state");
    assert_eq!(state["users"].as_array().unwrap().len(), 30);
    assert_eq!(state["groups"][0]["profile"]["name"], "filled");
    let group = state["groups"][0]["id"].as_str().unwrap();
    assert_eq!(state["members"][group].as_array().unwrap().len(), 30);
    assert_eq!(state["url"], format!("http://{}", process.address));
    let secret = state["tokens"][0]["secret"].as_str().unwrap();
    let head = format!(
        "GET /api/v1/groups/{group}/users?limit=20 HTTP/1.1\r\nauthorization: SSWS {secret}\r\n"
    );
    let reply = Wire::open(&process.address, PATIENCE)
        .send(&head, "")
        .unwrap();
    assert_eq!(reply.ids().len(), 20);
}

#[test]
fn a_world_is_made_changed_and_seen_from_outside() {
    let stage = Stage::new();
    let at = stage.address();
    let eve = post(
        &at,
        "users",
        json!({"login": "eve@example.org", "email": "eve@example.org"}),
    );
    let group = post(
        &at,
        "groups",
        json!({"name": "theirs", "type": "APP_GROUP"}),
    );
    let (eve, group) = (&eve["id"], &group["id"]);
    for deed in [
        json!({"do": "join", "group": group, "user": eve}),
        json!({"do": "set_profile", "user": eve, "attribute": "slackId", "value": "U07"}),
        json!({"do": "set_status", "user": eve, "status": "SUSPENDED"}),
        json!({"do": "rename", "user": eve, "login": "eva@example.org"}),
    ] {
        post(&at, "deeds", deed);
    }
    let shown = stage.get("/api/v1/users/eva@example.org").body;
    assert_eq!(shown["status"], "SUSPENDED");
    assert_eq!(shown["profile"]["slackId"], "U07");
    let ledger = get(&at, "ledger");
    assert_eq!(
        (&ledger[0]["what"], &ledger[0]["by"]),
        (&json!("joined"), &json!("control"))
    );
    let leave = json!({"do": "leave", "group": group, "user": eve});
    post(&at, "later", json!({"after_ms": 1500, "deed": leave}));
    let now = post(&at, "pass", json!({"ms": 1499}))["now_micros"].clone();
    assert_eq!(get(&at, "ledger").as_array().unwrap().len(), 1);
    post(&at, "pass", json!({"ms": 1}));
    let left = &get(&at, "ledger")[1];
    assert_eq!(left["at_micros"].as_i64(), now.as_i64().map(|it| it + 1000));
    for deed in [
        json!({"do": "delete_group", "group": group}),
        json!({"do": "delete_user", "user": eve}),
        json!({"do": "revoke_token", "token": "00Tsimulated0000001"}),
    ] {
        post(&at, "deeds", deed);
    }
    assert_eq!(stage.get("/api/v1/users").status, 401);
    let fresh = json!({"id": "00Tfresh", "secret": "fresh", "scopes": ["okta.groups.read"]});
    post(&at, "tokens", fresh);
    let filled = post(&at, "fill", json!({"name": "many", "members": 3}));
    let state = get(&at, "state");
    let many = filled["id"].as_str().unwrap();
    assert_eq!(state["members"][many].as_array().unwrap().len(), 3);
    assert_eq!(state["groups"].as_array().unwrap().len(), 2);
}

#[test]
fn everything_that_goes_wrong_can_be_asked_for_from_outside() {
    let stage = Stage::new();
    let at = stage.address();
    let nothing = json!({"do": "leave", "group": "x", "user": "x"});
    for (wrong, status) in [
        (json!({"do": "throttle", "reset_in_ms": 3_600_000}), 429),
        (json!({"do": "throttle", "reset_in_ms": -5000}), 429),
        (json!({"do": "throttle"}), 429),
        (json!({"do": "throttle_garbage"}), 429),
        (json!({"do": "concurrent"}), 429),
        (json!({"do": "internal_error"}), 500),
        (json!({"do": "internal_error_after"}), 500),
        (json!({"do": "unavailable"}), 503),
        (json!({"do": "garbage"}), 200),
        (json!({"do": "redirect", "url": "http://127.0.0.1:1/"}), 302),
        (json!({"do": "stale", "lag_ms": 10}), 200),
        (json!({"do": "repeat_page"}), 200),
        (json!({"do": "endless_pages"}), 200),
        (json!({"do": "empty_page"}), 200),
        (json!({"do": "next_elsewhere", "url": "http://x"}), 200),
        (json!({"do": "before", "deed": nothing}), 200),
        (json!({"do": "then", "deed": nothing}), 200),
    ] {
        let mut rule = wrong.clone();
        rule["operation"] = json!("listGroups");
        rule["skip"] = json!(1);
        rule["times"] = json!(1);
        rule["having"] = json!("limit=2");
        post(&at, "hostility", rule);
        assert_eq!(stage.get("/api/v1/groups?limit=2").status, 200);
        assert_eq!(
            stage.get("/api/v1/groups?limit=2").status,
            status,
            "{wrong}"
        );
        assert_eq!(stage.get("/api/v1/groups?limit=2").status, 200);
    }
    for wrong in [
        json!({"do": "lose_call", "times": 1}),
        json!({"do": "lose_reply", "times": 1}),
        json!({"do": "late_effect", "after_ms": 5, "times": 1}),
    ] {
        post(&at, "hostility", wrong);
        stage.attempt("GET", "/api/v1/groups").unwrap_err();
    }
    for wrong in ["hang", "hang_after"] {
        post(&at, "hostility", json!({"do": wrong}));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| stage.attempt("GET", "/api/v1/groups").unwrap_err());
            while get(&at, "state")["in_flight"] == 0 {
                std::thread::yield_now();
            }
            post(&at, "calm", Value::Null);
            waits.join().unwrap();
        });
        while get(&at, "state")["in_flight"] != 0 {
            std::thread::yield_now();
        }
    }
    post(&at, "away", json!({"how": "unavailable"}));
    assert_eq!(stage.get("/api/v1/groups").status, 503);
    post(&at, "away", json!({"how": "refused"}));
    stage.attempt("GET", "/api/v1/groups").unwrap_err();
    post(&at, "calm", Value::Null);
    assert_eq!(stage.get("/api/v1/groups").status, 200);
}

#[test]
fn what_means_nothing_is_refused() {
    let stage = Stage::new();
    let at = stage.address();
    for (path, body) in [
        ("hostility", json!({"do": "explode"})),
        (
            "hostility",
            json!({"do": "hang", "operation": "addUsersToGroup"}),
        ),
        ("hostility", json!({"do": "late_effect"})),
        ("deeds", json!({"do": "join", "group": "x"})),
        ("users", json!({"login": "x"})),
        ("groups", json!({"name": "x", "type": "OTHER"})),
        (
            "tokens",
            json!({"id": "x", "secret": "x", "scopes": ["okta.everything"]}),
        ),
        ("settings", json!({"seed": 1})),
        ("away", json!({"how": "somehow"})),
        ("nothing", json!({})),
    ] {
        let reply = send(&at, "POST", path, &body);
        assert!((400..500).contains(&reply.status), "{path} {body}");
    }
}

#[test]
fn limits_and_pages_are_set_from_outside() {
    let stage = Stage::new();
    let at = stage.address();
    post(
        &at,
        "settings",
        json!({"calls_per_minute": 2, "users_page_max": 1, "members_page_max": 1,
               "user_groups_page_max": 1, "search_lag_ms": 1, "latency_ms": 0,
               "concurrent_max": 9, "access_token_life_ms": 1000}),
    );
    let reply = stage.get("/api/v1/users");
    assert_eq!(
        (reply.ids().len(), reply.number("x-rate-limit-limit")),
        (1, 2)
    );
    assert_eq!(stage.get("/api/v1/users").status, 200);
    assert_eq!(stage.get("/api/v1/users").status, 429);
    post(&at, "reset", json!({"seed": 3}));
    assert!(get(&at, "state")["users"].as_array().unwrap().is_empty());
    assert_eq!(stage.get("/api/v1/users").status, 200);
}

#[test]
fn somebody_is_put_on_call_from_outside() {
    let stage = Stage::new();
    let at = stage.address();
    let person = json!({"name": "Ana", "email": "ana@example.com"});
    let ana = post(&at, "responders", person)["id"].clone();
    let schedule = post(&at, "schedules", json!({"name": "Database"}))["id"].clone();
    let policy = post(&at, "policies", json!({"name": "First"}))["id"].clone();
    let entry = json!({"user": ana, "schedule": schedule, "escalation_policy": policy, "level": 1,
                       "from_micros": null, "until_micros": null});
    post(&at, "on-calls", entry.clone());
    let state = get(&at, "state");
    assert_eq!(state["pagerduty"]["on_calls"], json!([entry]));
    assert_eq!(get(&at, "events"), json!([]));
    let app = json!({"client_id": "0oa1", "keys": [{"kty": "EC"}], "scopes": null});
    post(&at, "apps", app);
    assert_eq!(get(&at, "state")["apps"], json!(["0oa1"]));
    stage.get("/api/v1/users");
    let calls = get(&at, "calls");
    assert_eq!(calls[0]["operation"], "listUsers");
    assert_eq!(calls[0]["status"], 200);
}
