//! Messages of agents, through the real routes of the tools with a store in memory.
//!
//! Whatever is sent, the answer is a message of JSON-RPC with a status below 500, and what is refused
//! changes nothing but the trace that somebody without a right tried.

use std::cell::RefCell;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use jit_core::audit::SYSTEM_CHAIN;
use jit_core::principal::{AgentCaps, Door, Principal, PrincipalKind, Profile};
use jit_core::request::RequestId;
use jit_mcp::{PATH, Settings};
use jit_testkit::stage::{Stage, id};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::{After, in_world, runtime};

/// The version that most clients speak.
const VERSION: &str = "2025-11-25";
const ANSWER_LIMIT: usize = 1024 * 1024;

/// Messages that are right, and whose. `PENDING` stands for what there is.
pub const MESSAGES: [(&str, &str); 8] = [
    (
        "agent:bot",
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#,
    ),
    (
        "agent:bot",
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{}}"#,
    ),
    (
        "agent:bot",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"request_tool_access","arguments":{"tool_name":"ops","user_email":"ana@example.com","tool_params":{"region":"eu-west-1"},"ttl":"30m"}}}"#,
    ),
    (
        "bob",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"approve_tool_access_request","arguments":{"request_id":"PENDING","decision":"approve"}}}"#,
    ),
    (
        "agent:bot",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"describe_access_request","arguments":{"request_id":"PENDING"}}}"#,
    ),
    (
        "ana",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_active_access_requests","arguments":{}}}"#,
    ),
    (
        "ana",
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    ),
    ("ana", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
];

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Sends this in the place of one of [`MESSAGES`], by whoever sends that.
pub fn send(to: usize, body: &[u8]) {
    in_world(&WORLD, World::new, |world| {
        let (who, _) = MESSAGES[to % MESSAGES.len()];
        world.call(who, body)
    });
}

struct World {
    runtime: Runtime,
    stage: Stage,
    router: Router,
    pending: String,
    kept: Vec<(RequestId, String)>,
    facts: usize,
}

impl World {
    fn new() -> Self {
        let stage = Stage::new();
        let bot = Profile {
            id: id("agent:bot"),
            kind: PrincipalKind::Agent {
                acts_for: id("ana"),
                caps: AgentCaps::default(),
            },
            active: true,
            groups: Default::default(),
            groups_unknown: Default::default(),
            manager: None,
            subjects: Default::default(),
        };
        stage
            .people
            .profiles
            .lock()
            .unwrap()
            .insert(bot.id.clone(), bot);
        let runtime = runtime();
        let pending = runtime.block_on(stage.open("agent:bot", "30m")).id;
        let router = jit_mcp::routes(stage.engine.clone(), &Settings::default());
        let kept = stage.store.stored();
        let facts = facts(&stage);
        Self {
            runtime,
            stage,
            router,
            pending: pending.to_string(),
            kept,
            facts,
        }
    }

    fn call(&self, who: &str, body: &[u8]) -> After {
        let body = match std::str::from_utf8(body) {
            Ok(text) => text.replace("PENDING", &self.pending).into_bytes(),
            Err(_) => body.to_vec(),
        };
        let mut request = Request::post(PATH)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .body(Body::from(body.clone()))
            .unwrap();
        request.extensions_mut().insert(Principal {
            id: id(who),
            door: Door::Mcp,
        });
        let (status, said) = self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.unwrap();
            let status = answer.status().as_u16();
            let said = to_bytes(answer.into_body(), ANSWER_LIMIT).await.unwrap();
            (status, String::from_utf8(said.to_vec()).unwrap())
        });
        let what = || format!("{status} {said} to {}", String::from_utf8_lossy(&body));
        assert!(status < 500, "{}", what());
        let changed = self.stage.store.stored() != self.kept;
        match is_done(status, &said) {
            Some(true) => {}
            Some(false) => assert!(!changed, "refused and done: {}", what()),
            None => panic!("no answer of the protocol: {}", what()),
        }
        match changed || facts(&self.stage) != self.facts {
            true => After::Drop,
            false => After::Keep,
        }
    }
}

fn facts(stage: &Stage) -> usize {
    stage
        .store
        .all_chains()
        .get(SYSTEM_CHAIN)
        .map_or(0, Vec::len)
}

/// Whether an answer says that something was done; none where it is no answer of the protocol.
fn is_done(status: u16, said: &str) -> Option<bool> {
    if said.is_empty() {
        // A notification or a response, which nobody answers.
        return (status == 202).then_some(false);
    }
    let Ok(answer) = serde_json::from_str::<Value>(said) else {
        // The server of the protocol says in plain words what is wrong with the headers of a call.
        return (400..500).contains(&status).then_some(false);
    };
    if answer["jsonrpc"] != "2.0" {
        return None;
    }
    let error = &answer["error"];
    if error.is_object() {
        // Most of these are told by the library of the protocol, which quotes whatever it was sent.
        let told =
            error["code"].is_i64() && error["message"].as_str().is_some_and(|it| !it.is_empty());
        return told.then_some(false);
    }
    answer.get("result").map(|result| result["isError"] != true)
}
