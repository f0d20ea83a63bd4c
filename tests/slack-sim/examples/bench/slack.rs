//! A Slack that is as fast as can be, to measure with: it hands out envelopes, notes when they are
//! acknowledged and when cards are posted and changed, and enforces nothing. The simulated
//! workspace of this crate checks every call, which takes longer than what is measured here.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::serve::ListenerExt;
use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};

pub(crate) const TEAM: &str = "T0BENCH1";
pub(crate) const CHANNEL: &str = "C0ACCESS";
/// Begins the reason of every request; its number follows in seven digits.
pub(crate) const MARK: &str = "ask-";
const MARK_DIGITS: usize = 7;
/// What a card has while it can be approved.
pub(crate) const APPROVE: &str = "jit_approve";

/// A card as it was posted.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) ts: String,
    pub(crate) value: String,
    pub(crate) blocks: Value,
}

/// Which connections of the app get envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    One,
    All,
}

#[derive(Debug, Default)]
struct Inner {
    connections: Mutex<Vec<mpsc::UnboundedSender<Utf8Bytes>>>,
    hello_at: Mutex<Option<Instant>>,
    acks: Mutex<HashMap<String, oneshot::Sender<Instant>>>,
    posted: Mutex<HashMap<u32, oneshot::Sender<Card>>>,
    changed: Mutex<HashMap<String, oneshot::Sender<Instant>>>,
    last_call: Mutex<Option<Instant>>,
    latency_ms: AtomicU64,
    count: AtomicU64,
    turn: AtomicU64,
}

/// The workspace, on a loopback address of its own.
#[derive(Debug, Clone)]
pub(crate) struct FastSlack {
    inner: Arc<Inner>,
    address: SocketAddr,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FastSlack {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(|socket| {
            // Slack's own delays are not what is measured.
            let _ = socket.set_nodelay(true);
        });
        let slack = Self {
            inner: Arc::default(),
            address,
        };
        let router = Router::new()
            .route("/api/{method}", any(call))
            .route("/link/", get(link))
            .with_state(slack.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(slack)
    }

    /// Where an app finds the Web API.
    pub(crate) fn api(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Every call is answered after this.
    pub(crate) fn answer_after(&self, latency: Duration) {
        let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.inner.latency_ms.store(ms, Ordering::Relaxed);
    }

    /// When the first connection said hello.
    pub(crate) fn hello_at(&self) -> Option<Instant> {
        *locked(&self.inner.hello_at)
    }

    pub(crate) fn connections(&self) -> usize {
        locked(&self.inner.connections).len()
    }

    /// How long nothing was called.
    pub(crate) fn quiet_for(&self) -> Duration {
        locked(&self.inner.last_call).map_or(Duration::MAX, |at| at.elapsed())
    }

    /// The card of the request with this number, when it is posted.
    pub(crate) fn card_of(&self, number: u32) -> oneshot::Receiver<Card> {
        let (tell, told) = oneshot::channel();
        locked(&self.inner.posted).insert(number, tell);
        told
    }

    /// When this card is changed into one that cannot be approved any more.
    pub(crate) fn change_of(&self, card: &Card) -> oneshot::Receiver<Instant> {
        let (tell, told) = oneshot::channel();
        locked(&self.inner.changed).insert(card.ts.clone(), tell);
        told
    }

    /// Sends an envelope; what comes back is ready when it is acknowledged.
    pub(crate) fn send(
        &self,
        id: &str,
        payload: &Value,
        through: Through,
    ) -> (Instant, oneshot::Receiver<Instant>) {
        let envelope = json!({
            "envelope_id": id, "type": "interactive", "accepts_response_payload": true,
            "payload": payload,
        });
        let text = Utf8Bytes::from(envelope.to_string());
        let (tell, told) = oneshot::channel();
        locked(&self.inner.acks).insert(id.to_owned(), tell);
        let sent_at = Instant::now();
        let connections = locked(&self.inner.connections);
        let turn = match through {
            Through::One => 0,
            Through::All => self.inner.turn.fetch_add(1, Ordering::Relaxed),
        };
        let count = u64::try_from(connections.len()).unwrap_or(1).max(1);
        let chosen = usize::try_from(turn % count).unwrap_or_default();
        if let Some(connection) = connections.get(chosen) {
            let _gone = connection.send(text);
        }
        (sent_at, told)
    }

    fn stamp(&self) -> u64 {
        self.inner.count.fetch_add(1, Ordering::Relaxed)
    }

    fn answer(&self, method: &str, user: &str, body: &Value) -> Value {
        match method {
            "apps.connections.open" => {
                let ticket = self.stamp();
                let url = format!("ws://{}/link/?ticket={ticket}&app_id=A1", self.address);
                json!({"ok": true, "url": url})
            }
            "auth.test" => json!({
                "ok": true, "url": "https://bench.slack.com/", "team": "Bench", "user": "jit",
                "team_id": TEAM, "user_id": "U0JITBOT", "bot_id": "B0JITBOT",
            }),
            "users.info" => json!({"ok": true, "user": {
                "id": user, "team_id": TEAM, "name": user, "deleted": false, "is_bot": false,
                "tz": "Europe/Rome", "profile": {"real_name": user},
            }}),
            "conversations.open" => {
                let user = body["users"]
                    .as_str()
                    .unwrap_or("U0")
                    .get(1..)
                    .unwrap_or("0");
                json!({"ok": true, "channel": {"id": format!("D{user}")}})
            }
            "chat.update" => json!({
                "ok": true, "channel": body["channel"], "ts": body["ts"], "text": "",
            }),
            _ => json!({"ok": true}),
        }
    }

    fn posted(&self, body: &Value, number: Option<u32>) -> Value {
        let ts = format!("1700000000.{:06}", self.stamp());
        let blocks = match &body["blocks"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
            blocks => blocks.clone(),
        };
        let waits = number.and_then(|number| locked(&self.inner.posted).remove(&number));
        if let (Some(tell), Some(value)) = (waits, approve_value(&blocks)) {
            let _gone = tell.send(Card {
                ts: ts.clone(),
                value,
                blocks,
            });
        }
        json!({"ok": true, "channel": body["channel"], "ts": ts, "message": {"ts": ts}})
    }
}

fn approve_value(blocks: &Value) -> Option<String> {
    let elements = blocks.as_array()?.iter();
    let mut elements = elements
        .filter_map(|block| block["elements"].as_array())
        .flatten();
    let button = elements.find(|element| element["action_id"] == APPROVE)?;
    Some(button["value"].as_str()?.to_owned())
}

/// The number of the request that these bytes speak of.
fn number_in(body: &[u8]) -> Option<u32> {
    let at = find(body, MARK.as_bytes())? + MARK.len();
    let digits = body.get(at..at + MARK_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn find(body: &[u8], what: &[u8]) -> Option<usize> {
    body.windows(what.len()).position(|window| window == what)
}

async fn call(
    State(slack): State<FastSlack>,
    Path(method): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: axum::http::HeaderMap,
    raw: Bytes,
) -> Response {
    let now = Instant::now();
    *locked(&slack.inner.last_call) = Some(now);
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let body: Value = match is_json {
        true => serde_json::from_slice(&raw).unwrap_or_default(),
        false => {
            let fields: HashMap<String, String> =
                serde_urlencoded::from_bytes(&raw).unwrap_or_default();
            json!(fields)
        }
    };
    let answer = match method.as_str() {
        "chat.postMessage" if body["channel"] == CHANNEL => slack.posted(&body, number_in(&raw)),
        "chat.postMessage" => slack.posted(&body, None),
        method => {
            let ts = body["ts"].as_str().unwrap_or_default();
            if method == "chat.update" && find(&raw, APPROVE.as_bytes()).is_none() {
                let waits = locked(&slack.inner.changed).remove(ts);
                let _gone = waits.map(|tell| tell.send(now));
            }
            let user = query.get("user").map_or("U0", String::as_str);
            slack.answer(method, user, &body)
        }
    };
    let latency = slack.inner.latency_ms.load(Ordering::Relaxed);
    if latency > 0 {
        tokio::time::sleep(Duration::from_millis(latency)).await;
    }
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], answer.to_string()).into_response()
}

async fn link(State(slack): State<FastSlack>, mut request: Request) -> Response {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = accept.and_then(|accept| HeaderValue::from_str(&accept).ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            connected(slack, upgraded).await;
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

async fn connected(slack: FastSlack, upgraded: Upgraded) {
    let socket = TokioIo::new(upgraded);
    let stream = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
    let (mut sink, source) = stream.split();
    let hello = json!({
        "type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"},
        "debug_info": {"host": "bench", "build_number": 1, "approximate_connection_time": 18_060},
    });
    if sink.send(Frame::text(hello.to_string())).await.is_err() {
        return;
    }
    locked(&slack.inner.hello_at).get_or_insert_with(Instant::now);
    let (mailbox, mut letters) = mpsc::unbounded_channel::<Utf8Bytes>();
    locked(&slack.inner.connections).push(mailbox.clone());
    let reading = tokio::spawn(read(slack.clone(), source));
    while let Some(letter) = letters.recv().await {
        let mut sent = sink.feed(Frame::Text(letter)).await;
        while let (Ok(()), Ok(more)) = (&sent, letters.try_recv()) {
            sent = sink.feed(Frame::Text(more)).await;
        }
        if sent.is_err() || sink.flush().await.is_err() {
            break;
        }
    }
    let mut connections = locked(&slack.inner.connections);
    connections.retain(|connection| !connection.same_channel(&mailbox));
    reading.abort();
}

#[derive(Deserialize)]
struct Acknowledged {
    envelope_id: String,
}

async fn read(slack: FastSlack, mut source: SplitStream<WebSocketStream<TokioIo<Upgraded>>>) {
    while let Some(Ok(frame)) = source.next().await {
        let now = Instant::now();
        let Frame::Text(text) = frame else { continue };
        if let Ok(ack) = serde_json::from_str::<Acknowledged>(&text) {
            let waits = locked(&slack.inner.acks).remove(&ack.envelope_id);
            let _gone = waits.map(|tell| tell.send(now));
        }
    }
}
