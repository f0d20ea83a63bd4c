//! What holds for every call: who is let in, sizes, shapes, headers, deadlines, logs, metrics.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, Sealed};
use jit_core::ports::{
    Commit, CommitError, Delivery, Due, ErrorKind, Idempotency, Inbox, InboxItem, PortError, Query,
    RequestStore, Row,
};
use jit_core::provider::SlotKey;
use jit_core::request::{AccessRequest, RequestId, Slot};
use jit_http::{observe, serve, token};
use jit_testkit::store::MemoryStore;
use metrics_exporter_prometheus::PrometheusBuilder;
use proptest::prelude::*;
use serde_json::json;
use tower::ServiceExt;

use crate::calls::{Reply, approve, ask, get, id, open, post, send, verb};
use crate::world::{ADMINS, CORE, SECRET, World};

const ANA: &str = "ana@example.com";

async fn bare(world: &World, request: axum::http::request::Builder) -> Reply {
    send(world, request.body(Body::empty()).unwrap()).await
}

// ------------------------------------------------------------------------------------- letting in

#[tokio::test]
async fn without_a_valid_token_nobody_is_let_in_and_all_are_answered_alike() {
    let world = World::new();
    let ana = world.token(ANA).await;
    let revoked = world.token(ANA).await;
    let revoked_id = &revoked[4..20];
    let store = world.store.as_ref();
    token::revoke(store, Timestamp::MIN, revoked_id)
        .await
        .unwrap();
    let wrong_secret = format!(
        "{}{}",
        &ana[..ana.len() - 1],
        if ana.ends_with('0') { '1' } else { '0' }
    );
    let headers: Vec<Option<String>> = vec![
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(ana.clone()),
        Some(format!("Basic {ana}")),
        Some(format!("Bearer {wrong_secret}")),
        Some(format!("Bearer {revoked}")),
        Some(format!("Bearer {ana}x")),
        Some(format!("Bearer jit_{}_{}", "0".repeat(16), "0".repeat(64))),
        Some(format!("Bearer {}", "jit_".repeat(1_000))),
    ];
    let mut told = vec![];
    for header in headers {
        let mut request = Request::get("/v1/me");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let reply = bare(&world, request).await;
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        told.push((reply.refusal(), reply.message()));
    }
    assert_eq!(told[0].0, (401, "not_authenticated".to_owned()));
    assert!(told.iter().all(|answer| *answer == told[0]), "{told:?}");
    let twice = Request::get("/v1/me")
        .header("authorization", format!("Bearer {ana}"))
        .header("authorization", format!("Bearer {ana}"));
    assert_eq!(bare(&world, twice).await.status, 401);
    let lower = Request::get("/v1/me").header("authorization", format!("bearer {ana}"));
    assert_eq!(bare(&world, lower).await.status, 200);
}

/// Everything that is stored, and how often anybody was called.
fn everything(world: &World) -> String {
    let store = &world.store;
    let lookups = world.people.lookups.load(Ordering::Relaxed);
    let calls = world.groups.calls.load(Ordering::Relaxed);
    format!(
        "{:?} {:?} {:?} {:?} {lookups} {calls}",
        store.stored(),
        store.all_chains(),
        store.slots(),
        store.deliveries(),
    )
}

#[tokio::test]
async fn s14_a_call_without_a_valid_token_changes_nothing_and_calls_nobody() {
    let world = World::new();
    // Bob may decide all of what follows and Otto may pause, were their tokens any good.
    let expired = [
        world.token("bob@example.com").await,
        world.token("otto@example.com").await,
    ];
    world.clock.advance(Duration::from_secs(90 * 86_400));
    let ana = world.token(ANA).await;
    let bob = world.token("bob@example.com").await;
    let revoked = world.token("bob@example.com").await;
    let store = world.store.as_ref();
    token::revoke(store, Timestamp::MIN, &revoked[4..20])
        .await
        .unwrap();
    let pending = open(&world, &ana, ADMINS).await;
    let approved = open(&world, &ana, CORE).await;
    let collectable = open(&world, &ana, SECRET).await;
    for request in [&approved, &collectable] {
        approve(&world, &bob, request).await;
    }
    world.tend().await;
    let digest = &pending["digest"];
    let calls = [
        ("/v1/requests".to_owned(), ask(ADMINS)),
        (
            verb(&pending, "decide"),
            json!({"decision": "approve", "digest": digest}),
        ),
        (
            verb(&pending, "decide"),
            json!({"decision": "deny", "reason": "no", "digest": digest}),
        ),
        (verb(&pending, "withdraw"), json!({})),
        (verb(&approved, "retract"), json!({})),
        (verb(&approved, "end"), json!({})),
        (verb(&approved, "revoke"), json!({})),
        (verb(&collectable, "collect"), json!({})),
        ("/v1/pause".to_owned(), json!({})),
        ("/v1/resume".to_owned(), json!({})),
    ];
    let mut bad = vec![
        String::new(),
        "nothing".to_owned(),
        format!("{bob}0"),
        bob.replace("jit_", "jit-"),
        revoked,
    ];
    bad.extend(expired);
    let before = everything(&world);
    for token in &bad {
        for (path, body) in &calls {
            let refused = post(&world, token, path, body.clone()).await;
            assert_eq!(refused.status, 401, "{path}: {}", refused.text);
        }
        let shown = format!("/v1/requests/{}?wait=30s", id(&pending));
        for path in ["/v1/requests", "/v1/me", "/v1/entitlements", &shown] {
            let refused = get(&world, token, path).await;
            assert_eq!(refused.status, 401, "{path}: {}", refused.text);
        }
    }
    assert_eq!(everything(&world), before);
    // Each of these calls would have done something.
    let denied = post(&world, &bob, &calls[2].0, calls[2].1.clone()).await;
    assert_eq!(denied.status, 200, "{}", denied.text);
    assert_ne!(everything(&world), before);
}

#[tokio::test]
async fn a_token_lets_in_until_it_expires() {
    let world = World::new();
    let ana = world.token(ANA).await;
    world
        .clock
        .advance(Duration::from_secs(90 * 86_400) - Duration::from_micros(1));
    assert_eq!(get(&world, &ana, "/v1/me").await.status, 200);
    world.clock.advance(Duration::from_micros(1));
    let expired = get(&world, &ana, "/v1/me").await;
    assert_eq!(expired.refusal(), (401, "token_expired".to_owned()));
}

#[tokio::test]
async fn a_body_is_not_read_before_the_caller_is_known() {
    let world = World::new();
    let request = Request::post("/v1/requests").body(Body::from("x".repeat(10 << 20)));
    assert_eq!(send(&world, request.unwrap()).await.status, 401);
}

// ----------------------------------------------------------------------------------------- shapes

#[tokio::test]
async fn a_body_of_more_than_64_kib_is_refused_announced_or_not() {
    let world = World::new();
    let ana = world.token(ANA).await;
    let sized = |bytes: usize| {
        let mut body = ask(ADMINS).to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        body
    };
    for (bytes, status) in [(64 << 10, 201), ((64 << 10) + 1, 413), (10 << 20, 413)] {
        let whole = Body::from(sized(bytes));
        let request = Request::post("/v1/requests")
            .header("authorization", format!("Bearer {ana}"))
            .header("content-type", "application/json");
        let reply = send(&world, request.body(whole).unwrap()).await;
        assert_eq!(reply.status, status, "{bytes}: {}", reply.text);
    }
    let announced = Request::post("/v1/requests")
        .header("authorization", format!("Bearer {ana}"))
        .header("content-type", "application/json")
        .header("content-length", "10485760");
    let reply = bare(&world, announced).await;
    assert_eq!(reply.refusal(), (413, "body_too_large".to_owned()));
    assert_eq!(world.store.records().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_not_sent_as_json_is_refused() {
    let world = World::new();
    let ana = world.token(ANA).await;
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("json"),
    ] {
        let mut request =
            Request::post("/v1/requests").header("authorization", format!("Bearer {ana}"));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let body = Body::from(ask(ADMINS).to_string());
        let reply = send(&world, request.body(body).unwrap()).await;
        assert_eq!(reply.refusal(), (415, "not_json".to_owned()), "{kind:?}");
    }
    let request = Request::post("/v1/requests")
        .header("authorization", format!("Bearer {ana}"))
        .header("content-type", "Application/JSON; charset=utf-8");
    let body = Body::from(ask(ADMINS).to_string());
    assert_eq!(send(&world, request.body(body).unwrap()).await.status, 201);
}

#[tokio::test]
async fn every_answer_has_its_id_and_its_security_headers() {
    let world = World::new();
    let ana = world.token(ANA).await;
    for (method, path, status) in [
        ("GET", "/health", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/v1/me", 200),
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("DELETE", "/v1/me", 405),
        ("GET", "/v1/requests/nothing", 404),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {ana}"));
        let reply = bare(&world, request).await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff");
        assert_eq!(reply.headers["cache-control"], "no-store");
        assert_eq!(reply.headers["date"], "Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(reply.headers["x-request-id"].len(), 16);
        if status >= 400 {
            reply.code();
        }
    }
}

#[tokio::test]
async fn the_id_of_a_call_is_the_callers_where_it_is_a_plain_one() {
    let world = World::new();
    for (given, kept) in [
        ("deploy-42.a_b", true),
        ("", false),
        ("with space", false),
        ("<script>", false),
        (&"x".repeat(65), false),
    ] {
        let reply = bare(
            &world,
            Request::get("/nothing").header("x-request-id", given),
        )
        .await;
        let id = reply.headers["x-request-id"].to_str().unwrap();
        assert_eq!(id == given, kept, "{given:?} became {id:?}");
        reply.code();
    }
}

#[tokio::test]
async fn every_path_answers_to_exactly_the_methods_in_the_document() {
    let world = World::new();
    let text = bare(&world, Request::get("/openapi.json")).await;
    let document = text.json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let request = Request::builder()
                .method(method)
                .uri(path.replace("{id}", "nothing"));
            let reply = bare(&world, request).await;
            let documented = methods.get(method.to_lowercase()).is_some();
            assert_eq!(
                reply.status != 405,
                documented,
                "{method} {path}: {}",
                reply.text
            );
            assert_ne!(reply.status, 500, "{method} {path}");
            if documented && path.starts_with("/v1/") {
                assert_eq!(reply.status, 401, "{method} {path} lets anybody in");
            }
        }
    }
}

// --------------------------------------------------------------------------------------- failures

/// A store that is not there: each call fails, or never ends.
#[derive(Debug, Clone, Copy)]
enum Away {
    Failing,
    Hanging,
}

impl Away {
    async fn away(&self) -> PortError {
        match self {
            Self::Failing => {
                let kind = ErrorKind::Unavailable;
                PortError::nothing_done("store", "answer", kind).because("/var/lib/jit is gone")
            }
            Self::Hanging => std::future::pending().await,
        }
    }
}

#[async_trait]
#[rustfmt::skip]
impl RequestStore for Away {
    async fn load(&self, _: RequestId) -> Result<Option<AccessRequest>, PortError> { Err(self.away().await) }
    async fn slot(&self, _: &SlotKey) -> Result<Option<Slot>, PortError> { Err(self.away().await) }
    async fn commit(&self, _: Commit) -> Result<Vec<Delivery>, CommitError> { Err(self.away().await.into()) }
    async fn due(&self, _: Timestamp, _: usize) -> Result<Vec<Due>, PortError> { Err(self.away().await) }
    async fn newest_commit(&self) -> Result<Option<Timestamp>, PortError> { Err(self.away().await) }
    async fn story(&self, _: RequestId) -> Result<Option<(AccessRequest, Vec<Sealed>)>, PortError> { Err(self.away().await) }
    async fn deliveries_take(&self, _: &str, _: Timestamp, _: Timestamp, _: usize) -> Result<Vec<Delivery>, PortError> { Err(self.away().await) }
    async fn deliveries_due(&self, _: &[String], _: Timestamp, _: usize) -> Result<Vec<Delivery>, PortError> { Err(self.away().await) }
    async fn deliveries(&self, _: RequestId) -> Result<Vec<Delivery>, PortError> { Err(self.away().await) }
    async fn delivery_update(&self, _: Delivery) -> Result<(), CommitError> { Err(self.away().await.into()) }
    async fn events(&self, _: RequestId) -> Result<Vec<Sealed>, PortError> { Err(self.away().await) }
    async fn system_events(&self, _: u64, _: usize) -> Result<Vec<Sealed>, PortError> { Err(self.away().await) }
    async fn system_head(&self) -> Result<ChainHead, PortError> { Err(self.away().await) }
    async fn query(&self, _: &Query) -> Result<Vec<AccessRequest>, PortError> { Err(self.away().await) }
    async fn by_suffix(&self, _: &str) -> Result<Vec<RequestId>, PortError> { Err(self.away().await) }
    async fn chains(&self, _: Option<RequestId>, _: usize) -> Result<Vec<RequestId>, PortError> { Err(self.away().await) }
    async fn idempotency(&self, _: &str) -> Result<Option<Idempotency>, PortError> { Err(self.away().await) }
    async fn row(&self, _: &'static str, _: &str) -> Result<Option<Row>, PortError> { Err(self.away().await) }
    async fn rows(&self, _: &'static str) -> Result<Vec<Row>, PortError> { Err(self.away().await) }
    async fn inbox_put(&self, _: &str, _: &str, _: Timestamp) -> Result<Inbox, PortError> { Err(self.away().await) }
    async fn inbox_take(&self, _: Timestamp, _: usize) -> Result<Vec<InboxItem>, PortError> { Err(self.away().await) }
    async fn inbox_done(&self, _: &str) -> Result<(), PortError> { Err(self.away().await) }
}

fn without_store(away: Away) -> World {
    World::on(Arc::new(MemoryStore::new()), Arc::new(away))
}

#[tokio::test]
async fn a_failure_is_answered_with_its_reference_and_never_with_its_cause() {
    let world = World::new();
    let ana = world.token(ANA).await;
    *world.groups.failing.lock().unwrap() = Some(ErrorKind::Misconfigured);
    let reply = post(&world, &ana, "/v1/requests", ask(ADMINS)).await;
    assert_eq!(reply.refusal(), (500, "failed".to_owned()));
    let id = reply.headers["x-request-id"].to_str().unwrap();
    assert_eq!(reply.message(), format!("something failed, reference {id}"));
    assert!(!reply.text.contains("srv") && !reply.text.contains("groupfile could"));
}

#[tokio::test]
async fn whoever_cannot_be_told_from_others_without_the_store_hears_that_it_is_away() {
    let world = without_store(Away::Failing);
    let ana = world.token(ANA).await;
    let reply = get(&world, &ana, "/v1/me").await;
    assert_eq!(reply.refusal(), (503, "store_away".to_owned()));
    assert_eq!(reply.headers["retry-after"], "2");
    let told = reply.message();
    assert!(
        told.contains("the store of this service does not answer"),
        "{told}"
    );
    assert!(!reply.text.contains("/var/lib/jit"), "{}", reply.text);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_given_up_at_its_deadline() {
    let world = without_store(Away::Hanging);
    let ana = world.token(ANA).await;
    let started = tokio::time::Instant::now();
    let reply = get(&world, &ana, "/v1/me").await;
    assert_eq!(reply.refusal(), (504, "too_slow".to_owned()));
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    let reply = get(&world, &ana, "/v1/requests/nothing?wait=20s").await;
    assert_eq!(reply.status, 504);
    assert_eq!(started.elapsed(), Duration::from_secs(80));
}

// --------------------------------------------------------------------------------------- watching

async fn observed(world: &World, path: &str) -> (u16, String) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let router = observe(world.state.clone(), recorder.handle());
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_service_without_its_store_is_alive_and_not_ready() {
    let world = World::new();
    assert_eq!(observed(&world, "/health").await.0, 200);
    assert_eq!(observed(&world, "/ready").await.0, 200);
    assert_eq!(observed(&world, "/v1/me").await.0, 404);
    for away in [Away::Failing, Away::Hanging] {
        let world = without_store(away);
        let started = tokio::time::Instant::now();
        assert_eq!(observed(&world, "/health").await.0, 200);
        let (status, text) = observed(&world, "/ready").await;
        assert_eq!(status, 503);
        assert!(!text.contains("/var/lib"), "{text}");
        assert!(started.elapsed() <= Duration::from_secs(2));
    }
}

#[tokio::test]
async fn who_watches_is_told_of_everything_else_which_makes_nothing_unready() {
    let mut world = World::new();
    world.state = world.state.watching("chat", || "not connected".to_owned());
    let (status, text) = observed(&world, "/ready").await;
    assert_eq!(status, 200);
    assert_eq!(text, r#"{"status":"ready","chat":"not connected"}"#);
}

#[tokio::test]
async fn requests_and_decisions_that_come_to_nothing_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token("bob@example.com").await);
    {
        let _counting = metrics::set_default_local_recorder(&recorder);
        let opened = open(&world, &ana, ADMINS).await;
        approve(&world, &ana, &opened).await;
        approve(&world, &bob, &opened).await;
        let other = open(&world, &ana, SECRET).await;
        let deny = json!({"decision": "deny", "reason": "no", "digest": other["digest"]});
        post(&world, &bob, &verb(&other, "decide"), deny).await;
        post(&world, &ana, "/v1/requests", ask("groupfile/nothing")).await;
    }
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let router = observe(world.state.clone(), handle);
    let response = router.oneshot(request).await.unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"));
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("jit_"))
        .collect();
    lines.sort_unstable();
    // Those that were done are commits, and the store counts them.
    let refused = [
        "jit_decisions_total{outcome=\"refused\"} 1",
        "jit_requests_total{outcome=\"refused\"} 1",
    ];
    assert_eq!(lines, refused);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_the_cause_of_a_failure_once_and_no_token_reason_or_address() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token("bob@example.com").await);
    let opened = open(&world, &ana, SECRET).await;
    approve(&world, &bob, &opened).await;
    post(&world, &ana, &verb(&opened, "collect"), json!({})).await;
    get(&world, &ana, "/v1/requests?principal=ana@example.com").await;
    get(&world, "wrong", "/v1/me").await;
    *world.groups.failing.lock().unwrap() = Some(ErrorKind::Unavailable);
    let failed = post(&world, &ana, "/v1/requests", ask(ADMINS)).await;

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let (_, secret) = ana.rsplit_once('_').unwrap();
    for hidden in [secret, "disk full", "example.com", "s3cret", &id(&opened)] {
        assert!(!text.contains(hidden), "{hidden} is in the log:\n{text}");
    }
    let causes = lines
        .iter()
        .filter(|line| line.contains("/srv/groups is on fire"));
    let causes: Vec<_> = causes.collect();
    let reference = failed.headers["x-request-id"].to_str().unwrap();
    assert_eq!(causes.len(), 1, "{text}");
    assert!(causes[0].contains(reference));
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("a call was answered"))
            .count(),
        6
    );
    assert!(text.contains("/v1/requests/{id}/collect"), "{text}");
}

#[tokio::test]
async fn a_served_router_answers_until_it_is_told_to_stop() {
    let world = World::new();
    let ana = world.token(ANA).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { stopped.await.unwrap() };
    let serving = tokio::spawn(serve(listener, world.router(), shutdown));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let called = client
        .get(format!("http://{address}/v1/me"))
        .bearer_auth(&ana);
    let reply = called.send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers().get_all("date").iter().count(), 1);
    drop(client);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_says_what_it_wants_is_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, world.router(), std::future::pending()));
    let started = tokio::time::Instant::now();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        .await
        .unwrap();
    let mut said = vec![];
    let closed = tokio::time::timeout(Duration::from_secs(120), stream.read_to_end(&mut said));
    closed.await.expect("it is closed in time").unwrap();
    assert!(started.elapsed() >= Duration::from_secs(30));
    assert!(!String::from_utf8(said).unwrap().contains("200"));
}

// ------------------------------------------------------------------------------------- hostile input

/// These are answered before there is a call, so that no operation of the description has them.
#[tokio::test]
async fn a_head_that_cannot_be_read_is_answered_as_the_description_says() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, world.router(), std::future::pending()));
    let described = get(&world, "", "/openapi.json").await.json();
    let described = described["info"]["description"].as_str().unwrap();
    let path = "a".repeat(70_000);
    let headers = "X-A: b\r\n".repeat(150);
    for (head, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("GET /{path} HTTP/1.1\r\n\r\n"), "414"),
        (format!("GET /v1/me HTTP/1.1\r\n{headers}\r\n"), "431"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut said = vec![];
        stream.read_to_end(&mut said).await.unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
        assert!(said.ends_with("\r\n\r\n"), "{said}");
        assert!(described.contains(status), "{described}");
    }
}

#[tokio::test]
async fn what_quotes_a_call_moves_no_cursor() {
    let world = World::new();
    let ana = world.token(ANA).await;
    let reply = post(&world, &ana, "/v1/requests", json!({"\u{1b}[31m\n": 1})).await;
    assert_eq!(reply.refusal(), (422, "bad_value".to_owned()));
    assert!(
        !reply.message().contains(char::is_control),
        "{}",
        reply.text
    );
    let reply = get(&world, &ana, "/v1/requests?%1B%5B31m%0A=1").await;
    assert_eq!(reply.refusal(), (422, "bad_value".to_owned()));
    assert!(
        !reply.message().contains(char::is_control),
        "{}",
        reply.text
    );
}

const VERBS: [&str; 6] = ["decide", "retract", "withdraw", "end", "revoke", "collect"];

/// JSON that is nearly right: the fields of our bodies with values of any kind.
fn nearly() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|it| json!(it)),
        any::<i64>().prop_map(|it| json!(it)),
        any::<f64>().prop_map(|it| json!(it)),
        "\\PC{0,20}".prop_map(|it| json!(it)),
        "[0-9]{1,25}[smhdMy]?".prop_map(|it| json!(it)),
        Just(json!("groupfile/admins")),
        Just(json!("approve")),
        Just(json!([{"entitlement": "vault/billing", "parameters": {"a": {"b": [1e308]}}}])),
        Just(json!([{"entitlement": "groupfile/admins"}])),
        Just(json!({})),
    ];
    let field = prop_oneof![
        Just("entitlements"),
        Just("ttl"),
        Just("reason"),
        Just("for"),
        Just("decision"),
        Just("digest"),
        Just("other"),
    ];
    let body = proptest::collection::btree_map(field, value, 0..6);
    prop_oneof![
        4 => body.prop_map(|body| json!(body).to_string()),
        1 => "\\PC{0,80}",
        1 => (0_usize..3_000).prop_map(|depth| "[".repeat(depth)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn no_body_query_or_id_breaks_the_api(
        body in nearly(),
        named in "[!-~&&[^/?#%\\\\]]{1,40}|req-[0-9a-z]{26}|[0-9a-z]{5}",
        query in "[a-z]{1,9}=[!-~&&[^#]]{0,30}",
        key in "[ -~]{0,30}",
        verb in proptest::sample::select(&VERBS[..]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = World::new();
            let ana = world.token(ANA).await;
            let opened = open(&world, &ana, ADMINS).await;
            let bodied = |path: &str| {
                let request = Request::post(path)
                    .header("authorization", format!("Bearer {ana}"))
                    .header("content-type", "application/json")
                    .header("idempotency-key", &key);
                request.body(Body::from(body.clone())).ok()
            };
            let calls = [
                bodied("/v1/requests"),
                bodied(&format!("/v1/requests/{named}/{verb}")),
                bodied(&format!("/v1/requests/{}/decide", id(&opened))),
            ];
            let mut replies = vec![];
            for call in calls.into_iter().flatten() {
                replies.push(send(&world, call).await);
            }
            for path in ["requests", "explain", "requests/nothing", "entitlements"] {
                let path = format!("/v1/{path}?{query}");
                if path.parse::<axum::http::Uri>().is_ok() {
                    replies.push(get(&world, &ana, &path).await);
                }
            }
            for reply in replies {
                let status = reply.status.as_u16();
                assert!(status < 500, "{status} {}", reply.text);
                if status >= 400 {
                    reply.code();
                }
            }
        });
    }
}
