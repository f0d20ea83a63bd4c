//! What comes in at the edge: versions, sizes, hosts, origins, sessions, callers.

use axum::http::StatusCode;
use jit_mcp::{MESSAGE_LIMIT, Settings};
use serde_json::{Value, json};

use crate::world::{VERSION, World, ask};

fn call(params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
}

fn list() -> String {
    call(&json!({"name": "list_active_access_requests", "arguments": {}}))
}

#[tokio::test]
async fn the_four_tools_are_listed_with_what_can_be_asked_for() {
    let world = World::new().await;
    let initialize = json!({"protocolVersion": VERSION, "capabilities": {},
                            "clientInfo": {"name": "test", "version": "1"}});
    let info = world.rpc("agent:bot", "initialize", initialize).await;
    assert_eq!(info["protocolVersion"], VERSION);
    assert_eq!(info["serverInfo"]["name"], "jit");
    let listed = world.rpc("agent:bot", "tools/list", json!({})).await;
    let tools = listed["tools"].as_array().unwrap();
    let names: Vec<_> = tools
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "request_tool_access",
            "approve_tool_access_request",
            "describe_access_request",
            "list_active_access_requests"
        ]
    );
    let ask = tools[0]["description"].as_str().unwrap();
    assert!(
        ask.contains("- admins: ") && ask.contains("eu-central-1"),
        "{ask}"
    );
    // Whoever may ask for nothing is offered nothing.
    let listed = world.rpc("nobody", "tools/list", json!({})).await;
    let ask = listed["tools"][0]["description"].as_str().unwrap();
    assert!(!ask.contains("admins"), "{ask}");
}

#[tokio::test]
async fn a_version_that_nobody_knows_is_refused_and_nothing_is_done() {
    let world = World::new().await;
    let params = json!({"name": "request_tool_access", "arguments": ask("ana")});
    for version in ["2099-01-01", "1.0", ""] {
        let headers = [("mcp-protocol-version", version)];
        let (status, _) = world.send(Some("agent:bot"), &headers, call(&params)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{version:?}");
    }
    assert!(world.stage.store.records().is_empty());
    // Where it is negotiated, an unknown one is answered with one that is known.
    let initialize = json!({"protocolVersion": "2099-01-01", "capabilities": {},
                            "clientInfo": {"name": "test", "version": "1"}});
    let info = world.rpc("agent:bot", "initialize", initialize).await;
    assert_ne!(info["protocolVersion"], "2099-01-01");
}

#[tokio::test]
async fn a_message_is_as_long_as_it_may_be_and_no_longer() {
    let world = World::new().await;
    let fill = |length: usize| {
        let empty = call(
            &json!({"name": "list_active_access_requests", "arguments": {}, "_meta": {"x": ""}}),
        );
        let fill = "x".repeat(length - empty.len());
        call(&json!({"name": "list_active_access_requests", "arguments": {}, "_meta": {"x": fill}}))
    };
    let (status, _) = world.send(Some("ana"), &[], fill(MESSAGE_LIMIT)).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = world.send(Some("ana"), &[], fill(MESSAGE_LIMIT + 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_is_no_message_is_answered_in_the_words_of_the_protocol() {
    let world = World::new().await;
    let list = json!({"name": "list_active_access_requests"});
    for (body, code) in [
        (String::new(), -32_700),
        ("{".to_owned(), -32_700),
        ("\u{0}".to_owned(), -32_700),
        ("[]".to_owned(), -32_600),
        (format!("[{}]", call(&list)), -32_600),
        ("null".to_owned(), -32_600),
        (call(&list).replace("2.0", "1.0"), -32_600),
        (json!({"jsonrpc": "2.0", "id": 1}).to_string(), -32_600),
        (call(&list).replace("\"id\":1", "\"id\":null"), -32_600),
        (call(&list).replace("\"id\":1", "\"id\":1.5"), -32_600),
        (call(&json!({})), -32_602),
        (call(&json!({"name": 1})), -32_602),
        (call(&json!({"name": "x", "arguments": []})), -32_602),
    ] {
        let (status, answer) = world.send(Some("ana"), &[], body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body:?}");
        assert_eq!(answer["error"]["code"], code, "{body:?}: {answer}");
    }
    let (status, _) = world.send(Some("ana"), &[], call(&list)).await;
    assert_eq!(status, StatusCode::OK, "no arguments are none");
}

#[tokio::test]
async fn a_method_that_is_not_there_is_told_in_a_sentence() {
    let world = World::new().await;
    let long = "x".repeat(1_000);
    for (method, shown) in [("", ""), ("sudo", "sudo"), (&long, &long[..60])] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string();
        let (_, answer) = world.send(Some("ana"), &[], body).await;
        assert_eq!(answer["error"]["code"], -32_601, "{answer}");
        let told = format!("there is no method {shown:?} here; the tools are in tools/list");
        assert_eq!(answer["error"]["message"], told);
    }
}

#[tokio::test]
async fn a_page_of_a_browser_and_a_name_that_is_not_ours_are_refused() {
    let world = World::new().await;
    for headers in [
        [("host", "evil.example.com")],
        [("host", "127.0.0.1.evil.example.com")],
        [("origin", "https://evil.example.com")],
        [("origin", "http://localhost")],
        [("origin", "null")],
    ] {
        let (status, _) = world.send(Some("ana"), &headers, list()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let world = World::with(Settings {
        hosts: vec!["jit.example.com".to_owned()],
        origins: vec!["https://console.example.com:443".to_owned()],
        ..Settings::default()
    })
    .await;
    for (headers, expected) in [
        ([("host", "jit.example.com")], StatusCode::OK),
        ([("host", "other.example.com")], StatusCode::FORBIDDEN),
        ([("origin", "https://console.example.com")], StatusCode::OK),
        (
            [("origin", "http://console.example.com")],
            StatusCode::FORBIDDEN,
        ),
        (
            [("origin", "https://console.example.com:8443")],
            StatusCode::FORBIDDEN,
        ),
    ] {
        let (status, _) = world.send(Some("ana"), &headers, list()).await;
        assert_eq!(status, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn s14_a_session_of_somebody_else_gives_nothing() {
    let world = World::new().await;
    let request = world.asked("agent:bot", "ana").await;
    // There are no sessions: whoever says one is who their token says.
    let params = json!({"name": "describe_access_request", "arguments": {"request_id": request}});
    let session = [("mcp-session-id", "the-session-of-agent-bot")];
    let (status, seen) = world.send(Some("agent:bot"), &session, call(&params)).await;
    assert_eq!(
        (
            status,
            seen["result"]["structuredContent"]["status"].as_str()
        ),
        (StatusCode::OK, Some("pending"))
    );
    let (_, seen) = world
        .send(Some("agent:other"), &session, call(&params))
        .await;
    assert_eq!(
        seen["result"]["structuredContent"]["error"],
        "unknown_request"
    );
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let (_, answer) = world
        .send(Some("agent:bot"), &[], initialize.to_string())
        .await;
    assert_eq!(answer["result"]["serverInfo"]["name"], "jit");
}

#[tokio::test]
async fn s14_a_call_of_nobody_does_nothing() {
    let world = World::new().await;
    let params = json!({"name": "request_tool_access", "arguments": ask("ana")});
    let (_, answer) = world.send(None, &[], call(&params)).await;
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no token"),
        "{answer}"
    );
    assert!(world.stage.store.records().is_empty());
}
