//! Socket Mode: slack-morphism connects and pings, and every frame is ours. Its own listener loses
//! acknowledgements when a connection is renewed, stops reading after a panic, and hides what it
//! cannot parse.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use jit_core::Timestamp;
use jit_core::ports::{Clock, Random};
use serde_json::{Value, json};
use slack_morphism::clients_manager::{
    SlackSocketModeClientsManager, SlackSocketModeClientsManagerFactory,
};
use slack_morphism::hyper_tokio::SlackHyperClient;
use slack_morphism::listener::SlackClientEventsListenerEnvironment;
use slack_morphism::{
    SlackApiToken, SlackClientSocketModeConfig, SlackSocketModeClientListener,
    SlackSocketModeWssClientId,
};

use crate::desk::{Ack, Desk};
use crate::input::{Read, command, event, interaction};

type Manager = dyn SlackSocketModeClientsManager + Send + Sync;

/// Connections at once; Slack sends each envelope to one of them.
const CONNECTIONS: u32 = 3;
/// An envelope that is not acknowledged by then is not acknowledged; Slack waits three seconds.
const ACK_WITHIN: Duration = Duration::from_millis(900);
/// Without any connection for this long, everything is begun anew.
const ALONE_TOO_LONG: Duration = Duration::from_secs(60);
/// How often that is looked at.
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// The shortest and the longest pause between two connections that are renewed. Slack allows few.
const GAP: Duration = Duration::from_secs(1);
const GAP_MAX: Duration = Duration::from_secs(30);
/// How long Slack may take to close a connection after its goodbye; ten seconds by its own words.
const GOODBYE: Duration = Duration::from_secs(15);
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
    live: BTreeSet<String>,
    /// When the last of them went, or when it was begun.
    alone_since: Timestamp,
}

/// How fast connections are renewed, also when everything is begun anew.
#[derive(Debug, Default)]
struct Pace {
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
    pace: Arc<Mutex<Pace>>,
    manager: OnceLock<Weak<Manager>>,
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
    fn new(
        desk: Arc<Desk>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        pace: Arc<Mutex<Pace>>,
    ) -> Self {
        let health = Health {
            live: BTreeSet::new(),
            alone_since: clock.now(),
        };
        Self {
            desk,
            clock,
            random,
            health: Mutex::new(health),
            pace,
            manager: OnceLock::new(),
            busy: AtomicUsize::new(0),
            draining: OnceLock::new(),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self, id: &SlackSocketModeWssClientId) {
        let mut health = self.health();
        if health.live.remove(&id.to_string()) && health.live.is_empty() {
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
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let calm = now.since(pace.next_renewal) > GAP_MAX * 2;
        let gap = if calm { GAP } else { pace.gap.max(GAP) };
        let at = pace.next_renewal.max(now + jitter);
        pace.next_renewal = at + gap;
        pace.gap = (gap * 2).min(GAP_MAX);
        at.since(now)
    }

    /// Slack said goodbye to this connection and will close it, which renews it. Until then it may
    /// still send envelopes on it, and who left first would not acknowledge them.
    async fn leave(&self, id: &SlackSocketModeWssClientId) {
        tokio::time::sleep(GOODBYE).await;
        let stays = self.health().live.contains(&id.to_string());
        if stays {
            self.renew(id).await;
        }
    }

    async fn renew(&self, id: &SlackSocketModeWssClientId) {
        self.gone(id);
        tokio::time::sleep(self.pause()).await;
        if self.draining.get().is_some() {
            return;
        }
        if let Some(manager) = self.manager.get().and_then(Weak::upgrade) {
            manager.restart_client(id).await;
        }
    }

    async fn acknowledge(&self, envelope: &Value) -> Option<String> {
        let id = envelope.get("envelope_id")?.as_str()?;
        self.busy.fetch_add(1, Ordering::SeqCst);
        let taken = AssertUnwindSafe(self.desk.take(self.read(envelope))).catch_unwind();
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

#[async_trait]
impl SlackSocketModeClientListener for Shared {
    async fn on_message(&self, id: &SlackSocketModeWssClientId, body: String) -> Option<String> {
        let Ok(frame) = serde_json::from_str::<Value>(&body) else {
            tracing::warn!("Slack sent a frame that is not JSON");
            return None;
        };
        match frame.get("type").and_then(Value::as_str) {
            Some("hello") => {
                self.0.health().live.insert(id.to_string());
                tracing::info!(connection = %id.to_string(), "connected to Slack");
                None
            }
            Some("disconnect") => {
                let reason = frame.get("reason").and_then(Value::as_str);
                if reason == Some("link_disabled") {
                    tracing::error!(
                        "Slack says that Socket Mode is switched off for this app; switch it on \
                         in the app's settings"
                    );
                }
                let (listener, id) = (Arc::clone(&self.0), id.clone());
                tokio::spawn(async move { listener.leave(&id).await });
                None
            }
            _ => self.0.acknowledge(&frame).await,
        }
    }

    async fn on_error(&self, _: Box<dyn std::error::Error + Send + Sync>) {
        // The sentence may hold the address with its ticket.
        tracing::warn!("a connection to Slack failed");
    }

    async fn on_disconnect(&self, id: &SlackSocketModeWssClientId) {
        self.0.renew(id).await;
    }
}

struct Shared(Arc<Listener>);

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
        tokio::pin!(stop);
        let pace = Arc::default();
        loop {
            let (manager, listener) = self.connect(Arc::clone(&pace)).await;
            let stopped = tokio::select! {
                () = &mut stop => true,
                () = self.alone_too_long(&listener) => false,
            };
            if stopped {
                drain(&listener).await;
                manager.shutdown().await;
                return;
            }
            tracing::error!("no connection to Slack for a minute; beginning anew");
            manager.shutdown().await;
            // Connections that are given up ask for one ticket more each.
            let paused = async {
                self.diagnose().await;
                tokio::time::sleep(GAP_MAX).await;
            };
            tokio::select! {
                () = &mut stop => return,
                () = paused => {}
            }
        }
    }

    async fn connect(&self, pace: Arc<Mutex<Pace>>) -> (Arc<Manager>, Arc<Listener>) {
        let environment = SlackClientEventsListenerEnvironment::new(Arc::clone(&self.client));
        let connector = &self.client.http_api.connector;
        let manager = connector.new_clients_manager(Arc::new(environment));
        let (desk, clock) = (Arc::clone(&self.desk), Arc::clone(&self.clock));
        let random = Arc::clone(&self.random);
        let listener = Arc::new(Listener::new(desk, clock, random, pace));
        // A second setting is impossible: the listener is new.
        let _ = listener.manager.set(Arc::downgrade(&manager));
        let settings = SlackClientSocketModeConfig::new()
            .with_max_connections_count(CONNECTIONS)
            .with_initial_backoff_in_seconds(1)
            .with_reconnect_timeout_in_seconds(GAP_MAX.as_secs());
        let shared = Arc::new(Shared(Arc::clone(&listener)));
        let token = self.token.clone();
        let registered = manager.register_new_token(&settings, token, shared).await;
        if registered.is_err() {
            tracing::error!("the connections to Slack could not be prepared");
        }
        manager.start().await;
        (manager, listener)
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
        let session = self.client.open_session(&self.token);
        let nothing = json!({});
        let api = &session.http_session_api;
        let asked = api.http_post::<Value, Value>("apps.connections.open", &nothing, None);
        let Ok(Err(error)) = tokio::time::timeout(ALONE_TOO_LONG, asked).await else {
            return;
        };
        let error = crate::web::WebError::from(error);
        if let Some(code) = error.code().filter(|code| FATAL.contains(code)) {
            tracing::error!(
                code,
                "Slack refuses the app-level token; make a new one with connections:write"
            );
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
