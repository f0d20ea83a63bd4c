//! One engine, `ana` and `bob` and two agents, and a client that speaks HTTP.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use jit_core::catalog::{Catalog, Entitlement, ParameterRule, ParameterSchema};
use jit_core::principal::{AgentCaps, Door, Principal, PrincipalKind, Profile};
use jit_mcp::Settings;
use jit_testkit::stage::{Stage, catalog, id};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The version that most clients speak.
pub(crate) const VERSION: &str = "2025-11-25";

/// A service that listens.
pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) url: String,
    client: reqwest::Client,
}

/// `stage/admins` for `{"region": "eu-west-1"}` and the like, and `stage/ops` without parameters.
fn tools() -> Catalog {
    let known = catalog("tier");
    let entry = |id: &str| known.get(&id.parse().unwrap()).unwrap().into_owned();
    let schema = json!({
        "type": "object",
        "properties": {"region": {"enum": ["eu-west-1", "eu-central-1"]}},
        "required": ["region"],
        "additionalProperties": false
    });
    let judge = |parameters: &Value| {
        let fits = parameters == &json!({"region": "eu-west-1"})
            || parameters == &json!({"region": "eu-central-1"});
        fits.then_some(())
            .ok_or("region: no such region".to_owned())
    };
    let admins = Entitlement {
        parameters: ParameterRule::Schema(ParameterSchema::new(schema, judge)),
        display: Some("Admins in {region}".parse().unwrap()),
        how_to_use: "Sign in again.".to_owned(),
        ..entry("stage/admins")
    };
    let ops = Entitlement {
        parameters: ParameterRule::Refused,
        ..entry("stage/ops")
    };
    [admins, ops].into_iter().collect()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let stage = Stage::new();
        let agent = |name: &str, person: &str| Profile {
            id: id(name),
            kind: PrincipalKind::Agent {
                acts_for: id(person),
                caps: AgentCaps::default(),
            },
            active: true,
            groups: Default::default(),
            groups_unknown: Default::default(),
            manager: None,
            subjects: Default::default(),
        };
        for (name, person) in [("agent:bot", "ana"), ("agent:other", "cleo")] {
            let mut profiles = stage.people.profiles.lock().unwrap();
            profiles.insert(id(name), agent(name, person));
        }
        let stage = stage.offering(tools());
        let routes = jit_mcp::routes(stage.engine.clone(), &settings).layer(from_fn(told));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            stage,
            url,
            client: reqwest::Client::new(),
        }
    }

    /// A call as a client of this version sends it, with whatever else is in the headers.
    pub(crate) async fn send(
        &self,
        who: Option<&str>,
        headers: &[(&str, &str)],
        body: String,
    ) -> (StatusCode, Value) {
        let mut call = self
            .client
            .post(format!("{}{}", self.url, jit_mcp::PATH))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        // Before a version was agreed on there is none to name.
        let agreed = !body.contains("\"initialize\"");
        let named = |name: &(&str, &str)| name.0 == "mcp-protocol-version";
        if agreed && !headers.iter().any(named) {
            call = call.header("mcp-protocol-version", VERSION);
        }
        if let Some(who) = who {
            call = call.header("x-test-caller", who);
        }
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        let answer = call.body(body).send().await.unwrap();
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub(crate) async fn rpc(&self, who: &str, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let (status, answer) = self.send(Some(who), &[], call.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["result"].clone()
    }

    /// What a tool answers: its object, and whether it is an error.
    pub(crate) async fn tool(&self, who: &str, tool: &str, arguments: Value) -> (Value, bool) {
        let params = json!({"name": tool, "arguments": arguments});
        let result = self.rpc(who, "tools/call", params).await;
        let text = result["content"][0]["text"].as_str().unwrap();
        let structured = result["structuredContent"].clone();
        // Clients of before structured content read the same as text.
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), structured);
        (structured, result["isError"] == true)
    }

    pub(crate) async fn done(&self, who: &str, tool: &str, arguments: Value) -> Value {
        let (answer, is_error) = self.tool(who, tool, arguments).await;
        assert!(!is_error, "{answer}");
        answer
    }

    /// The code and the sentence of a refusal.
    pub(crate) async fn refused(
        &self,
        who: &str,
        tool: &str,
        arguments: Value,
    ) -> (String, String) {
        let (answer, is_error) = self.tool(who, tool, arguments).await;
        assert!(is_error, "{answer}");
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        (text("error"), text("message"))
    }

    pub(crate) async fn asked(&self, who: &str, person: &str) -> String {
        let asked = self.done(who, "request_tool_access", ask(person)).await;
        asked["request_id"].as_str().unwrap().to_owned()
    }
}

/// What is asked for where nothing else is said.
pub(crate) fn ask(person: &str) -> Value {
    json!({
        "tool_name": "admins",
        "user_email": format!("{person}@example.com"),
        "tool_params": {"region": "eu-west-1"},
        "ttl": "30m"
    })
}

async fn told(mut request: Request, next: Next) -> axum::response::Response {
    let who = request.headers().get("x-test-caller");
    if let Some(who) = who.map(|who| who.to_str().unwrap().to_owned()) {
        request.extensions_mut().insert(Principal {
            id: id(&who),
            door: Door::Mcp,
        });
    }
    next.run(request).await
}
