//! Socket Mode: a few connections, each read by a task of its own that acknowledges as soon as an
//! input is kept. Inputs are kept side by side, so that many people share one wait for the disk.
//!
//! slack-morphism's client is not used here: it reads the next envelope after the last one was
//! acknowledged, loses acknowledgements when a connection is renewed, stops reading after a panic,
//! and lets small frames wait for one another (Nagle).

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, SinkExt, StreamExt};
use jit_core::Timestamp;
use jit_core::ports::{Clock, Random};
use serde_json::{Value, json};
use slack_morphism::SlackApiToken;
use slack_morphism::hyper_tokio::SlackHyperClient;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::desk::{Ack, Desk};
use crate::input::{Read, command, event, interaction};
use crate::web::WebError;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connections at once; Slack sends each envelope to one of them.
const CONNECTIONS: u32 = 3;
/// The pause between the first of them and the next.
const APART: Duration = Duration::from_secs(1);
/// The longest that opening one may take.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// The pause after one could not be opened.
const CLOSED_PAUSE: Duration = Duration::from_secs(20);
/// How often a connection is asked whether it lives, and how long it may say nothing.
const PING_EVERY: Duration = Duration::from_secs(15);
const SILENT_TOO_LONG: Duration = Duration::from_secs(75);
/// Envelopes of one connection that are being kept at once; further ones are not read yet.
const AT_ONCE: usize = 256;
/// An envelope that is not acknowledged by then is not acknowledged; Slack waits three seconds.
const ACK_WITHIN: Duration = Duration::from_millis(900);
/// Without any connection for this long, everything is begun anew.
const ALONE_TOO_LONG: Duration = Duration::from_secs(60);
/// How often that is looked at.
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// The shortest and the longest pause between two connections that are renewed. Slack allows few.
const GAP: Duration = Duration::from_secs(1);
const GAP_MAX: Duration = Duration::from_secs(30);
/// How long acknowledgements under way are waited for at the end.
const DRAIN: Duration = Duration::from_secs(3);
/// How long the last of them are given to leave the socket.
const FLUSH: Duration = Duration::from_millis(250);

/// Slack's codes that trying again does not mend.
const FATAL: [&str; 9] = [
    "invalid_auth",
    "not_authed",
    "token_revoked",
    "token_expired",
    "account_inactive",
    "missing_scope",
    "not_allowed_token_type",
    "team_access_not_granted",
    "link_disabled",
];

/// How the connections are.
#[derive(Debug, Default)]
struct Health {
    /// Connections that said hello and were not closed since.
    live: BTreeSet<u64>,
    /// When the last of them went, or when it was begun.
    alone_since: Timestamp,
    /// When the next connection may be renewed, and the pause after that.
    next_renewal: Timestamp,
    gap: Duration,
}

/// Reads frames and acknowledges envelopes.
pub(crate) struct Listener {
    desk: Arc<Desk>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    health: Mutex<Health>,
    /// Connections so far, to tell them apart.
    count: AtomicU64,
    /// Envelopes that are being acknowledged.
    busy: AtomicUsize,
    draining: OnceLock<()>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

impl Listener {
    fn new(desk: Arc<Desk>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let health = Health {
            alone_since: clock.now(),
            ..Health::default()
        };
        Self {
            desk,
            clock,
            random,
            health: Mutex::new(health),
            count: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            draining: OnceLock::new(),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self, id: u64) {
        let mut health = self.health();
        if health.live.remove(&id) && health.live.is_empty() {
            health.alone_since = self.clock.now();
        }
    }

    /// How long to wait before a connection is renewed: each time longer while it happens often,
    /// for all connections together.
    fn pause(&self) -> Duration {
        let mut byte = [0];
        self.random.fill(&mut byte);
        let jitter = Duration::from_millis(200 + u64::from(byte[0]) * 2);
        let now = self.clock.now();
        let mut health = self.health();
        let calm = now.since(health.next_renewal) > GAP_MAX * 2;
        let gap = if calm { GAP } else { health.gap.max(GAP) };
        let at = health.next_renewal.max(now + jitter);
        health.next_renewal = at + gap;
        health.gap = (gap * 2).min(GAP_MAX);
        at.since(now)
    }

    /// What a frame says that is not ours to answer; an envelope is given back.
    fn hear(&self, id: u64, text: &str) -> Heard {
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            tracing::warn!("Slack sent a frame that is not JSON");
            return Heard::Nothing;
        };
        match frame.get("type").and_then(Value::as_str) {
            Some("hello") => {
                self.health().live.insert(id);
                tracing::info!(connection = id, "connected to Slack");
                Heard::Nothing
            }
            Some("disconnect") => {
                let reason = frame.get("reason").and_then(Value::as_str);
                if reason == Some("link_disabled") {
                    tracing::error!(
                        "Slack says that Socket Mode is switched off for this app; switch it on \
                         in the app's settings"
                    );
                }
                Heard::Goodbye
            }
            _ => Heard::Envelope(frame),
        }
    }

    /// Reads a connection and acknowledges on it, until it ends or is to be renewed. The pause
    /// before the next one is over when this returns.
    async fn serve(&self, mut stream: Stream) {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let goodbye = self.converse(id, &mut stream).await;
        self.gone(id);
        if !goodbye {
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// Whether Slack said goodbye, and the pause after that is over.
    async fn converse(&self, id: u64, stream: &mut Stream) -> bool {
        let mut acks = FuturesUnordered::new();
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard_at = Instant::now();
        let mut renew_at: Option<Instant> = None;
        let ended = loop {
            let renewal = tokio::time::sleep_until(renew_at.unwrap_or(heard_at));
            tokio::select! {
                frame = stream.next(), if acks.len() < AT_ONCE => {
                    heard_at = Instant::now();
                    let text = match frame {
                        Some(Ok(Frame::Text(text))) => text,
                        Some(Ok(Frame::Close(_))) | None => break false,
                        Some(Ok(_)) => continue,
                        Some(Err(_)) => {
                            // The sentence may hold the address with its ticket.
                            tracing::warn!("a connection to Slack failed");
                            break false;
                        }
                    };
                    match self.hear(id, &text) {
                        Heard::Envelope(envelope) => acks.push(self.acknowledge(envelope)),
                        // Not at once: what was taken is still to be acknowledged here.
                        Heard::Goodbye if renew_at.is_none() => {
                            self.gone(id);
                            renew_at = Some(Instant::now() + self.pause());
                        }
                        Heard::Goodbye | Heard::Nothing => {}
                    }
                }
                Some(ack) = acks.next(), if !acks.is_empty() => {
                    if answer(stream, ack, &mut acks).await.is_err() {
                        break false;
                    }
                }
                _ = ping.tick() => {
                    let lives = heard_at.elapsed() < SILENT_TOO_LONG;
                    if !lives || stream.send(Frame::Ping(Default::default())).await.is_err() {
                        tracing::warn!("a connection to Slack says nothing any more");
                        break false;
                    }
                }
                () = renewal, if renew_at.is_some() => break true,
            }
        };
        let rest = async {
            while let Some(ack) = acks.next().await {
                if answer(stream, ack, &mut acks).await.is_err() {
                    break;
                }
            }
            stream.close(None).await
        };
        // What was taken is in the store, whether this connection still hears of it or not.
        let _ = tokio::time::timeout(DRAIN, rest).await;
        ended
    }

    async fn acknowledge(&self, envelope: Value) -> Option<String> {
        let id = envelope.get("envelope_id")?.as_str()?;
        self.busy.fetch_add(1, Ordering::SeqCst);
        let taken = AssertUnwindSafe(self.desk.take(self.read(&envelope))).catch_unwind();
        let taken = tokio::time::timeout(ACK_WITHIN, taken).await;
        self.busy.fetch_sub(1, Ordering::SeqCst);
        match taken {
            Ok(Ok(Ack::Bare)) => Some(json!({"envelope_id": id}).to_string()),
            Ok(Ok(Ack::With(payload))) => {
                Some(json!({"envelope_id": id, "payload": payload}).to_string())
            }
            Ok(Ok(Ack::None)) => None,
            Ok(Err(_)) => {
                tracing::error!("taking an input panicked; others are served");
                None
            }
            Err(_) => {
                tracing::error!("an input could not be kept in time and is not acknowledged");
                None
            }
        }
    }

    fn read(&self, envelope: &Value) -> Read {
        let payload = envelope.get("payload").unwrap_or(&Value::Null);
        match envelope.get("type").and_then(Value::as_str) {
            Some("slash_commands") => command(payload, self.desk.commands()),
            Some("interactive") => interaction(payload),
            Some("events_api") => event(payload),
            Some(_) | None => Read::Ignore,
        }
    }
}

/// What a frame is.
enum Heard {
    Envelope(Value),
    /// The connection is to be replaced.
    Goodbye,
    Nothing,
}

/// Sends this acknowledgement, and those that are ready with it.
async fn answer<F>(
    stream: &mut Stream,
    first: Option<String>,
    more: &mut FuturesUnordered<F>,
) -> Result<(), tokio_tungstenite::tungstenite::Error>
where
    F: Future<Output = Option<String>>,
{
    if let Some(ack) = first {
        stream.feed(Frame::text(ack)).await?;
    }
    while let Some(Some(ack)) = more.next().now_or_never() {
        if let Some(ack) = ack {
            stream.feed(Frame::text(ack)).await?;
        }
    }
    stream.flush().await
}

/// What a socket needs.
pub(crate) struct Socket {
    pub(crate) client: Arc<SlackHyperClient>,
    pub(crate) token: SlackApiToken,
    pub(crate) desk: Arc<Desk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

impl Socket {
    /// Keeps connected until `stop` is ready, then lets acknowledgements under way leave.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let socket = Arc::new(self);
        loop {
            let (desk, clock) = (Arc::clone(&socket.desk), Arc::clone(&socket.clock));
            let listener = Arc::new(Listener::new(desk, clock, Arc::clone(&socket.random)));
            let mut connections = JoinSet::new();
            for number in 0..CONNECTIONS {
                let (socket, listener) = (Arc::clone(&socket), Arc::clone(&listener));
                connections.spawn(async move {
                    tokio::time::sleep(APART * number).await;
                    socket.keep_connected(&listener).await;
                });
            }
            let stopped = tokio::select! {
                () = &mut stop => true,
                () = socket.alone_too_long(&listener) => false,
            };
            if stopped {
                drain(&listener).await;
                connections.shutdown().await;
                return;
            }
            tracing::error!("no connection to Slack for a minute; beginning anew");
            connections.shutdown().await;
            socket.diagnose().await;
        }
    }

    async fn keep_connected(&self, listener: &Listener) {
        while listener.draining.get().is_none() {
            match tokio::time::timeout(OPEN_WITHIN, self.open()).await {
                Ok(Some(stream)) => listener.serve(stream).await,
                Ok(None) | Err(_) => {
                    tracing::warn!("a connection to Slack could not be opened");
                    tokio::time::sleep(CLOSED_PAUSE).await;
                }
            }
        }
    }

    async fn open(&self) -> Option<Stream> {
        let opened = self.ask_for_address().await.ok()?;
        let address = opened.get("url")?.as_str()?;
        // Acknowledgements are small, and none is to wait until the last was confirmed.
        let connected = connect_async_with_config(address, None, true).await;
        connected.ok().map(|(stream, _)| stream)
    }

    async fn ask_for_address(&self) -> Result<Value, WebError> {
        let session = self.client.open_session(&self.token);
        let nothing = json!({});
        let api = &session.http_session_api;
        let asked = api.http_post::<Value, Value>("apps.connections.open", &nothing, None);
        Ok(asked.await?)
    }

    async fn alone_too_long(&self, listener: &Listener) {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            let health = listener.health();
            let live = u32::try_from(health.live.len()).unwrap_or(u32::MAX);
            metrics::gauge!("jit_slack_connections").set(f64::from(live));
            let alone = self.clock.now().since(health.alone_since);
            if health.live.is_empty() && alone > ALONE_TOO_LONG {
                return;
            }
        }
    }

    /// Says in a sentence why Slack does not let this app in, where it says so itself.
    async fn diagnose(&self) {
        let asked = tokio::time::timeout(ALONE_TOO_LONG, self.ask_for_address()).await;
        let Ok(Err(error)) = asked else {
            return;
        };
        if let Some(code) = error.code().filter(|code| FATAL.contains(code)) {
            tracing::error!(
                code,
                "Slack refuses the app-level token; make a new one with connections:write"
            );
            tokio::time::sleep(GAP_MAX).await;
        }
    }
}

/// Renews nothing more, and waits until what was taken is acknowledged. What still comes is taken:
/// it is in the store, and another process goes on with it.
async fn drain(listener: &Listener) {
    let _ = listener.draining.set(());
    let idle = async {
        while listener.busy.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(DRAIN, idle).await.is_err() {
        tracing::warn!("some inputs were not acknowledged at the end");
    }
    tokio::time::sleep(FLUSH).await;
}
