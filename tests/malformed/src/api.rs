//! Calls of the REST API and of the approval service, through the real router with a store in memory.
//!
//! Whatever is sent, the answer has a documented status below 500; an error has the one shape and
//! changes nothing but the trace that somebody without a right tried; and the cursor of a listing
//! leads through all of it once.

use std::cell::RefCell;
use std::collections::BTreeSet;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use jit_core::audit::{SYSTEM_CHAIN, Sealed, SystemFact};
use jit_core::catalog::{Catalog, Entitlement, ParameterRule};
use jit_core::ports::Clock;
use jit_core::request::RequestId;
use jit_http::token::{NewToken, new_token};
use jit_http::{ApiKey, ApiState, ApprovalService, api};
use jit_testkit::stage::{Stage, catalog, id, via};
use jit_testkit::time::SeededRandom;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::{After, assert_sentence, in_world, runtime};

/// What programs send along.
const KEY: &str = "a-key-of-the-programs";
/// The longest page and its longest answer, in bytes.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
/// A listing of the few requests that there are has no more pages than this.
const PAGES_LIMIT: usize = 20;

/// Where a body goes, by whom it is sent, and a body that is right there. `PENDING`, `ACTIVE` and
/// `DIGEST` stand for what there is.
pub const BODIES: [(&str, &str, &str); 12] = [
    (
        "/v1/requests",
        "ana",
        r#"{"entitlements":[{"entitlement":"stage/ops","parameters":{"region":"eu","size":[1,2.5]}}],"ttl":"30m","reason":"the disk is full","for":"ana@example.com"}"#,
    ),
    (
        "/v1/requests/PENDING/decide",
        "bob",
        r#"{"decision":"approve","digest":"DIGEST","ttl":"10m"}"#,
    ),
    (
        "/v1/requests/PENDING/decide",
        "bob",
        r#"{"decision":"deny","digest":"DIGEST","reason":"not now"}"#,
    ),
    (
        "/v1/requests/ACTIVE/revoke",
        "sven",
        r#"{"reason":"the laptop was stolen"}"#,
    ),
    (
        "/request",
        "",
        r#"{"requester":"cleo@example.com","resource":"ops","reason":"the nightly job"}"#,
    ),
    (
        "/request",
        "",
        r#"{"requester":"cleo@example.com","resource":"Ops ","tier":1,"reason":"x","ttl":7}"#,
    ),
    ("/v1/requests/PENDING/retract", "bob", "{}"),
    ("/v1/requests/PENDING/withdraw", "ana", "{}"),
    ("/v1/requests/ACTIVE/end", "ana", "{}"),
    ("/v1/requests/ACTIVE/collect", "ana", "{}"),
    ("/v1/pause", "sven", "{}"),
    ("/v1/resume", "sven", "{}"),
];

/// So many of [`BODIES`] are read; the others go where a body means nothing.
pub const READ: usize = 6;

/// What is read, and the names of its parameters.
pub const READS: [(&str, &[&str]); 10] = [
    (
        "/v1/requests",
        &[
            "principal",
            "entitlement",
            "status",
            "from",
            "until",
            "limit",
            "after",
        ],
    ),
    ("/v1/requests/PENDING", &["wait", "seen"]),
    ("/v1/requests/ACTIVE/events", &[]),
    ("/v1/requests/ACTIVE/background", &[]),
    ("/v1/entitlements", &["search", "limit"]),
    ("/v1/explain", &["principal", "right", "entitlement"]),
    ("/v1/me", &[]),
    ("/v1/drift", &[]),
    ("/v1/paused", &[]),
    ("/status/PENDING", &[]),
];

/// A call that carries a body.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// Which of [`BODIES`].
    pub to: usize,
    /// As what it is sent; none without the header.
    pub content_type: Option<&'a [u8]>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<&'a [u8]>,
    /// The body.
    pub body: &'a [u8],
}

/// A call that only reads.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Which of [`READS`].
    pub of: usize,
    /// In the place of the id in its path, where there is one.
    pub id: Option<&'a str>,
    /// The text behind the question mark, with `AFTER` for a cursor that is right.
    pub query: &'a str,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Sends a body.
pub fn send(sent: Sent<'_>) {
    changes(sent);
}

/// Sends a body; says whether it changed anything.
pub fn changes(sent: Sent<'_>) -> bool {
    let mut changes = false;
    in_world(&WORLD, World::new, |world| {
        let (path, who, _) = BODIES[sent.to % BODIES.len()];
        let mut request = Request::post(world.filled(path));
        if let Some(kind) = sent.content_type {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(key) = sent.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let after = world.call(path, who, request, world.filled_bytes(sent.body));
        changes = matches!(after, After::Drop);
        after
    });
    changes
}

/// Asks for something. Where it is the list, its cursor is followed.
pub fn ask(asked: Asked<'_>) {
    in_world(&WORLD, World::new, |world| {
        let (path, _) = READS[asked.of % READS.len()];
        let real = match asked.id {
            Some(id) => path.replace("PENDING", id).replace("ACTIVE", id),
            None => world.filled(path),
        };
        let query = asked.query.replace("AFTER", &world.pending.to_string());
        let who = if path.starts_with("/status") {
            ""
        } else {
            "sven"
        };
        let after = world.call(path, who, Request::get(format!("{real}?{query}")), vec![]);
        // Whoever polls for a credential that is ready is given it.
        assert!(
            path.starts_with("/status") || matches!(after, After::Keep),
            "{path}"
        );
        if path == "/v1/requests" {
            world.walk(&query);
        }
        After::Keep
    });
}

/// Asks for a page of the list behind this cursor, whatever that is. One that is taken leads to the rest
/// of the list and to nothing else.
pub fn page(cursor: &str, filter: &str) {
    // With the time of one that is there, and other letters behind it.
    let cursor = |world: &World| {
        let pending = world.pending.to_string();
        let cursor = cursor.replace("AFTER", &pending);
        let cursor = cursor.replace("NEAR", pending.get(..14).unwrap());
        cursor.replace("ACTIVE", &world.active.to_string())
    };
    in_world(&WORLD, World::new, |world| {
        let (path, after) = (READS[0].0, cursor(world));
        let query = format!("{filter}&after={after}");
        let get = Request::get(format!("{path}?{query}"));
        let unchanged = world.call(path, "sven", get, vec![]);
        assert!(matches!(unchanged, After::Keep));
        let Some(rest) = world.listed(filter, Some(after)) else {
            return After::Keep;
        };
        let all = world.listed(filter, None).unwrap();
        assert!(all.ends_with(&rest), "{query}: {rest:?} of {all:?}");
        After::Keep
    });
}

/// Everything that a refused call may not change.
#[derive(PartialEq)]
struct Kept {
    records: Vec<(RequestId, String)>,
    chains: Vec<(String, Vec<Sealed>)>,
    system: usize,
}

struct World {
    runtime: Runtime,
    stage: Stage,
    router: Router,
    document: Value,
    tokens: Vec<(&'static str, String)>,
    pending: RequestId,
    active: RequestId,
    digest: String,
    kept: Kept,
}

impl World {
    fn new() -> Self {
        let runtime = runtime();
        let (stage, pending, active, digest, tokens) = runtime.block_on(async {
            let stage = Stage::new().offering(things());
            let active = stage.active("30m").await;
            stage.open("cleo", "30m").await;
            stage.open("bob", "30m").await;
            let mut ask = stage.ask("10m");
            ask.parts[0].0 = "stage/ops".parse().unwrap();
            let of_cleo = stage.engine.open(&via("cleo"), ask.clone()).await;
            of_cleo.unwrap();
            let pending = stage.engine.open(&via("ana"), ask.clone()).await.unwrap();
            let of_bob = stage.engine.open(&via("bob"), ask).await;
            of_bob.unwrap();
            let mut tokens = vec![];
            let random = SeededRandom::new(11);
            for name in ["ana", "bob", "sven"] {
                let ask = NewToken {
                    principal: id(name),
                    label: String::new(),
                    lifetime: None,
                };
                let now = stage.clock.now();
                let made = new_token(stage.store.as_ref(), &random, now, ask).await;
                let text = made.unwrap().text.expose_secret().to_owned();
                tokens.push((name, format!("Bearer {text}")));
            }
            let digest = pending.digest().prefix();
            (stage, pending.id, active.id, digest, tokens)
        });
        let state = ApiState::new(
            stage.engine.clone(),
            std::sync::Arc::new(SeededRandom::new(3)),
        );
        let router = api(state.serving(programs()));
        let document = Request::get("/openapi.json").body(Body::empty()).unwrap();
        let (_, document) = runtime.block_on(answered(&router, document));
        let kept = kept(&stage);
        Self {
            runtime,
            stage,
            router,
            document: serde_json::from_slice(&document).unwrap(),
            tokens,
            pending,
            active,
            digest,
            kept,
        }
    }

    fn filled(&self, text: &str) -> String {
        text.replace("PENDING", &self.pending.to_string())
            .replace("ACTIVE", &self.active.to_string())
            .replace("DIGEST", &self.digest)
    }

    fn filled_bytes(&self, body: &[u8]) -> Vec<u8> {
        match std::str::from_utf8(body) {
            Ok(text) => self.filled(text).into_bytes(),
            Err(_) => body.to_vec(),
        }
    }

    /// One call of this person, or of a program where it is nobody.
    fn call(
        &self,
        path: &str,
        who: &str,
        request: axum::http::request::Builder,
        body: Vec<u8>,
    ) -> After {
        let token = self.tokens.iter().find(|(name, _)| *name == who);
        let request = match token {
            Some((_, token)) => request.header(header::AUTHORIZATION, token),
            None => request.header("x-jit-api-key", KEY),
        };
        // What is no address or no header does not get past the server's own reader.
        let Ok(request) = request.body(Body::from(body.clone())) else {
            return After::Keep;
        };
        let method = request.method().as_str().to_ascii_lowercase();
        let (status, said) = self.runtime.block_on(answered(&self.router, request));
        let what = || format!("{status} {path} {}", String::from_utf8_lossy(&said));
        assert!(status < 500, "{}", what());
        self.assert_documented(path, &method, status);
        let value: Value = serde_json::from_slice(&said).unwrap_or_else(|_| panic!("{}", what()));
        let now = kept(&self.stage);
        if status < 400 {
            return if now == self.kept {
                After::Keep
            } else {
                After::Drop
            };
        }
        assert_error(&value);
        assert!(now.records == self.kept.records, "{}", what());
        assert!(now.chains == self.kept.chains, "{}", what());
        self.assert_only_attempts(self.kept.system);
        if now == self.kept {
            After::Keep
        } else {
            After::Drop
        }
    }

    /// The status is one that the description knows of this call; the approval service has a
    /// description of its own, which a client that nobody here wrote holds it to.
    fn assert_documented(&self, path: &str, method: &str, status: u16) {
        if !path.starts_with("/v1/") {
            return;
        }
        let path = path.replace("PENDING", "{id}").replace("ACTIVE", "{id}");
        let operation = &self.document["paths"][&path][method];
        let known = operation["responses"].get(status.to_string());
        assert!(
            known.is_some(),
            "{method} {path} does not document {status}"
        );
    }

    /// Behind this many facts of the system there are only attempts without a right.
    fn assert_only_attempts(&self, before: usize) {
        let chains = self.stage.store.all_chains();
        let system = chains.get(SYSTEM_CHAIN).map_or(&[][..], Vec::as_slice);
        for sealed in &system[before..] {
            let fact = sealed.system_event().unwrap().event;
            assert!(
                matches!(fact, SystemFact::AuthorityRefused { .. }),
                "{fact:?}"
            );
        }
    }

    /// Follows `next` from the first page of this query to the last.
    fn walk(&self, query: &str) {
        let given = query.split('&').filter(|pair| !pair.starts_with("after="));
        let given: Vec<&str> = given.collect();
        self.listed(&given.join("&"), None);
    }

    /// What is listed from behind this cursor to the end, page by page; nothing where that is refused.
    fn listed(&self, filter: &str, mut after: Option<String>) -> Option<Vec<String>> {
        let (mut seen, mut listed) = (BTreeSet::new(), vec![]);
        for _ in 0..PAGES_LIMIT {
            let cursor = after.map(|after| format!("&after={after}"));
            let query = format!("{filter}{}", cursor.unwrap_or_default());
            let token = &self.tokens[2].1;
            let request = Request::get(format!("/v1/requests?{query}"));
            let request = request.header(header::AUTHORIZATION, token);
            let request = request.body(Body::empty()).ok()?;
            let (status, said) = self.runtime.block_on(answered(&self.router, request));
            if status != 200 {
                return None;
            }
            let page: Value = serde_json::from_slice(&said).unwrap();
            for request in page["requests"].as_array().unwrap() {
                let id = request["id"].as_str().unwrap().to_owned();
                assert!(
                    seen.insert(id.clone()),
                    "a request is listed twice: {filter}"
                );
                listed.push(id);
            }
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return Some(listed),
            }
        }
        panic!("a listing never ends: {filter}");
    }
}

/// What programs ask for by name; one of it takes parameters.
fn things() -> Catalog {
    let known = catalog("tier");
    let entry = |id: &str| known.get(&id.parse().unwrap()).unwrap().into_owned();
    let admins = Entitlement {
        parameters: ParameterRule::Refused,
        ..entry("stage/admins")
    };
    [admins, entry("stage/ops")].into_iter().collect()
}

fn programs() -> ApprovalService {
    ApprovalService {
        keys: vec![ApiKey::shared(&SecretString::from(KEY))],
        requesters: [id("ana"), id("cleo")].into(),
        resources: ["admins", "ops"]
            .map(|name| (name.to_owned(), format!("stage/{name}").parse().unwrap()))
            .into(),
        nobody_decides: None,
        vault: std::sync::Arc::new(|| Box::pin(async { "ok" })),
    }
}

fn kept(stage: &Stage) -> Kept {
    let mut chains = stage.store.all_chains();
    let system = chains.remove(SYSTEM_CHAIN).unwrap_or_default();
    Kept {
        records: stage.store.stored(),
        chains: chains.into_iter().collect(),
        system: system.len(),
    }
}

async fn answered(router: &Router, request: Request<Body>) -> (u16, Vec<u8>) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let said = to_bytes(answer.into_body(), ANSWER_LIMIT).await.unwrap();
    (status, said.to_vec())
}

/// `{"error":{"code","message","reference"}}` and nothing else.
fn assert_error(value: &Value) {
    let fields = |value: &Value| -> Vec<String> {
        let object = value.as_object().unwrap_or_else(|| panic!("{value}"));
        object.keys().cloned().collect()
    };
    assert_eq!(fields(value), ["error"], "{value}");
    let error = &value["error"];
    assert_eq!(fields(error), ["code", "message", "reference"], "{value}");
    let code = error["code"].as_str().unwrap();
    let is_snake = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    assert!(!code.is_empty() && code.bytes().all(is_snake), "{code}");
    assert_sentence(error["message"].as_str().unwrap());
    assert!(!error["reference"].as_str().unwrap().is_empty());
}
