//! Socket Mode: a few connections, each read by a task of its own that acknowledges as soon as an
//! input is kept. Inputs are kept side by side, so that many people share one wait for the disk.
//!
//! slack-morphism's client is not used here: it reads the next envelope after the last one was
//! acknowledged, loses acknowledgements when a connection is renewed, stops reading after a panic,
//! and lets small frames wait for one another (Nagle).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, SinkExt, StreamExt};
use jit_core::Timestamp;
use jit_core::ports::{Clock, Random};
use serde_json::{Value, json};
use slack_morphism::SlackApiToken;
use slack_morphism::hyper_tokio::SlackHyperClient;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{Error as Broken, Message as Frame};
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
/// The longest that sending an acknowledgement may take.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// How long Slack may take to close a connection after its goodbye; ten seconds by its own words.
const GOODBYE: Duration = Duration::from_secs(15);
/// How long a connection may take to say hello, which says that envelopes come over it.
const HELLO_WITHIN: Duration = Duration::from_secs(30);
/// How often a connection is asked whether it lives, and how long it may say nothing.
const PING_EVERY: Duration = Duration::from_secs(15);
const SILENT_TOO_LONG: Duration = Duration::from_secs(75);
/// Envelopes of one connection that are being kept at once; further ones are not read yet.
const AT_ONCE: usize = 256;
/// An envelope that is not acknowledged by then is not acknowledged; Slack waits three seconds.
const ACK_WITHIN: Duration = Duration::from_millis(900);
/// The shortest and the longest pause between two connections that are opened after the first.
/// Slack allows ten tickets in a minute.
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

/// How far Slack is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// At least one connection is open.
    Connected,
    /// None is, and one is being opened.
    NotConnected,
    /// Slack refuses, until somebody mends the app or its token.
    Refused,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::NotConnected => "not connected",
            Self::Refused => "refused",
        })
    }
}

/// Whether Slack is connected to, for whoever watches the service.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Mutex<Reached>>);

impl Default for Connection {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Reached::NotConnected)))
    }
}

impl Connection {
    /// How far Slack is reached now.
    pub fn reached(&self) -> Reached {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, to: impl FnOnce(Reached) -> Reached) {
        let mut reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *reached = to(*reached);
    }

    /// So many connections are open.
    fn counted(&self, open: u32) {
        self.change(|before| match (open, before) {
            (1.., _) => Reached::Connected,
            (0, Reached::Connected | Reached::NotConnected) => Reached::NotConnected,
            (0, Reached::Refused) => Reached::Refused,
        });
    }

    /// Slack says that trying again is no use. What is open still counts.
    fn refused(&self) {
        self.change(|before| match before {
            Reached::Connected => Reached::Connected,
            Reached::NotConnected | Reached::Refused => Reached::Refused,
        });
    }
}

/// How fast connections are opened.
#[derive(Debug, Default)]
struct Pace {
    /// When the next one may be, and the pause after that.
    next: Timestamp,
    gap: Duration,
}

/// Reads frames and acknowledges envelopes.
pub(crate) struct Listener {
    desk: Arc<Desk>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    pace: Mutex<Pace>,
    /// Connections that said hello and did not end since.
    live: Mutex<BTreeSet<u64>>,
    connection: Connection,
    /// Connections so far, to tell them apart.
    count: AtomicU64,
    /// Envelopes that are being acknowledged.
    busy: AtomicUsize,
    draining: OnceLock<()>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl Listener {
    fn new(socket: &Socket) -> Self {
        Self {
            desk: Arc::clone(&socket.desk),
            clock: Arc::clone(&socket.clock),
            random: Arc::clone(&socket.random),
            connection: socket.connection.clone(),
            pace: Mutex::default(),
            live: Mutex::default(),
            count: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            draining: OnceLock::new(),
        }
    }

    fn note(&self, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut live);
        let count = u32::try_from(live.len()).unwrap_or(u32::MAX);
        metrics::gauge!("jit_slack_connections").set(f64::from(count));
        self.connection.counted(count);
    }

    /// How long to wait before a connection is opened again: each time longer while it happens
    /// often, for all connections together.
    fn pause(&self) -> Duration {
        let mut byte = [0];
        self.random.fill(&mut byte);
        let jitter = Duration::from_millis(200 + u64::from(byte[0]) * 2);
        let now = self.clock.now();
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let calm = now.since(pace.next) > GAP_MAX * 2;
        let gap = if calm { GAP } else { pace.gap.max(GAP) };
        let at = pace.next.max(now + jitter);
        pace.next = at + gap;
        pace.gap = (gap * 2).min(GAP_MAX);
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
                self.note(|live| live.insert(id));
                tracing::info!(connection = id, "connected to Slack");
                Heard::Hello
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

    /// Reads a connection and acknowledges on it, until it ends. `parting` is dropped as soon as it
    /// is to be replaced.
    async fn serve(self: Arc<Self>, mut stream: Stream, parting: oneshot::Sender<Infallible>) {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        // However it ends.
        let _counted = Counted {
            listener: &self,
            id,
        };
        self.converse(id, &mut stream, parting).await;
    }

    async fn converse(&self, id: u64, stream: &mut Stream, parting: oneshot::Sender<Infallible>) {
        let mut parting = Some(parting);
        let mut acks = FuturesUnordered::new();
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard_at = Instant::now();
        let mut leave_at: Option<Instant> = None;
        let (hello_by, mut said_hello) = (heard_at + HELLO_WITHIN, false);
        loop {
            let leaving = tokio::time::sleep_until(leave_at.unwrap_or(heard_at));
            tokio::select! {
                frame = stream.next(), if acks.len() < AT_ONCE => {
                    heard_at = Instant::now();
                    let text = match frame {
                        Some(Ok(Frame::Text(text))) => text,
                        Some(Ok(Frame::Close(_))) | None => break,
                        Some(Ok(_)) => continue,
                        Some(Err(_)) => {
                            // The sentence may hold the address with its ticket.
                            tracing::warn!("a connection to Slack failed");
                            break;
                        }
                    };
                    match self.hear(id, &text) {
                        Heard::Envelope(envelope) => acks.push(self.acknowledge(envelope)),
                        Heard::Hello => said_hello = true,
                        // Until Slack closes it, it may still send envelopes on it, and who left
                        // first would not acknowledge them. The next one is opened meanwhile.
                        Heard::Goodbye => {
                            leave_at.get_or_insert(Instant::now() + GOODBYE);
                            drop(parting.take());
                        }
                        Heard::Nothing => {}
                    }
                }
                Some(ack) = acks.next(), if !acks.is_empty() => {
                    if answer(stream, ack, &mut acks).await.is_none() {
                        break;
                    }
                }
                _ = ping.tick() => {
                    let lives = heard_at.elapsed() < SILENT_TOO_LONG;
                    if !lives || sent(stream.send(Frame::Ping(Default::default()))).await.is_none() {
                        tracing::warn!("a connection to Slack says nothing any more");
                        break;
                    }
                }
                () = leaving, if leave_at.is_some() => break,
                () = tokio::time::sleep_until(hello_by), if !said_hello => {
                    tracing::warn!("a connection to Slack does not say hello");
                    break;
                }
            }
        }
        let rest = async {
            while let Some(ack) = acks.next().await {
                if answer(stream, ack, &mut acks).await.is_none() {
                    break;
                }
            }
            stream.close(None).await
        };
        // What was taken is in the store, whether this connection still hears of it or not.
        let _ = tokio::time::timeout(DRAIN, rest).await;
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

/// A connection, as long as it is served.
struct Counted<'a> {
    listener: &'a Listener,
    id: u64,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.listener.note(|live| live.remove(&self.id));
    }
}

/// What a frame is.
enum Heard {
    Envelope(Value),
    /// It is open.
    Hello,
    /// The connection is to be replaced.
    Goodbye,
    Nothing,
}

/// Sends this acknowledgement, and those that are ready with it; none where that fails.
async fn answer<F>(
    stream: &mut Stream,
    first: Option<String>,
    more: &mut FuturesUnordered<F>,
) -> Option<()>
where
    F: Future<Output = Option<String>>,
{
    if let Some(ack) = first {
        sent(stream.feed(Frame::text(ack))).await?;
    }
    while let Some(Some(ack)) = more.next().now_or_never() {
        if let Some(ack) = ack {
            sent(stream.feed(Frame::text(ack))).await?;
        }
    }
    sent(stream.flush()).await
}

/// Whether it left in time.
async fn sent(sending: impl Future<Output = Result<(), Broken>>) -> Option<()> {
    let sent = tokio::time::timeout(SEND_WITHIN, sending).await;
    sent.ok()?.ok()
}

/// What a socket needs.
pub(crate) struct Socket {
    pub(crate) client: Arc<SlackHyperClient>,
    pub(crate) token: SlackApiToken,
    pub(crate) desk: Arc<Desk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) connection: Connection,
}

impl Socket {
    /// Keeps connected until `stop` is ready, then lets acknowledgements under way leave.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let listener = Arc::new(Listener::new(&self));
        let socket = Arc::new(self);
        let mut connections = JoinSet::new();
        let keep = |connections: &mut JoinSet<()>, after: Duration| {
            let (socket, listener) = (Arc::clone(&socket), Arc::clone(&listener));
            connections.spawn(async move {
                tokio::time::sleep(after).await;
                socket.keep_connected(listener).await;
            });
        };
        for number in 0..CONNECTIONS {
            keep(&mut connections, APART * number);
        }
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {
                    tracing::error!("a connection to Slack panicked and is opened again");
                    keep(&mut connections, listener.pause());
                }
            }
        }
        drain(&listener).await;
        connections.shutdown().await;
    }

    /// Keeps one connection that stays; those to which Slack said goodbye are served beside it to
    /// their end, so that Slack finds one open at any time, also when it renews all at once.
    async fn keep_connected(&self, listener: Arc<Listener>) {
        let mut served = JoinSet::new();
        loop {
            match tokio::time::timeout(OPEN_WITHIN, self.open()).await {
                Ok(Some(stream)) => {
                    let (parting, parted) = oneshot::channel();
                    served.spawn(Arc::clone(&listener).serve(stream, parting));
                    let _ = parted.await;
                }
                Ok(None) => {}
                Err(_) => tracing::warn!("Slack does not open a connection in time"),
            }
            while let Some(ended) = served.try_join_next() {
                if ended.is_err() {
                    tracing::error!("a connection to Slack panicked and is opened again");
                }
            }
            if listener.draining.get().is_some() {
                // Whoever drains ends this.
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(listener.pause()).await;
        }
    }

    async fn open(&self) -> Option<Stream> {
        let address = match self.ask_for_address().await {
            Ok(said) => said.get("url")?.as_str()?.to_owned(),
            Err(error) => {
                match error.code() {
                    Some(code) if FATAL.contains(&code) => {
                        self.connection.refused();
                        tracing::error!(
                            code,
                            "Slack refuses to be connected to; it needs Socket Mode switched on and \
                             an app-level token with connections:write"
                        );
                    }
                    _ => tracing::warn!(%error, "Slack gives no address to connect to"),
                }
                return None;
            }
        };
        // Acknowledgements are small, and none is to wait until the last was confirmed.
        let connected = connect_async_with_config(address, None, true).await;
        if connected.is_err() {
            // The sentence may hold the address with its ticket.
            tracing::warn!("a connection to Slack could not be opened");
        }
        connected.ok().map(|(stream, _)| stream)
    }

    async fn ask_for_address(&self) -> Result<Value, WebError> {
        let session = self.client.open_session(&self.token);
        let nothing = json!({});
        let api = &session.http_session_api;
        let asked = api.http_post::<Value, Value>("apps.connections.open", &nothing, None);
        Ok(asked.await?)
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
