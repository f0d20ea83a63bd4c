//! Socket Mode: tickets, at most ten WebSockets, `hello` first, `disconnect` with its reasons, and
//! connections that break. Envelopes are chosen a connection in `deliver.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::api::{Answer, Refused};
use crate::deliver::{Cut, acknowledge, cut};
use crate::faults::Switch;
use crate::state::Inner;

/// The most WebSockets of one app.
pub const MOST_SOCKETS: usize = 10;

/// Why Slack says goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnect {
    /// The connection ends in ten seconds.
    Warning,
    /// The connection is to be replaced.
    RefreshRequested,
    /// Socket Mode was switched off; no new connection is given.
    LinkDisabled,
    /// There are more connections than allowed.
    TooManyWebsockets,
}

impl Disconnect {
    fn reason(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::RefreshRequested => "refresh_requested",
            Self::LinkDisabled => "link_disabled",
            Self::TooManyWebsockets => "too_many_websockets",
        }
    }

    /// How long the connection stays after the goodbye.
    fn grace(self) -> Duration {
        match self {
            Self::Warning => Duration::from_secs(10),
            Self::RefreshRequested => Duration::from_secs(3),
            Self::LinkDisabled | Self::TooManyWebsockets => Duration::ZERO,
        }
    }
}

/// What a connection is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    Send(String),
    Goodbye(Disconnect),
    Cut,
    /// Cut in the middle of a frame.
    Tear,
    /// Stay open and neither hear nor say anything any more.
    Freeze,
}

/// Whether new envelopes go to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taking {
    Envelopes,
    OnlyIfAlone,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) taking: Taking,
    orders: mpsc::UnboundedSender<Order>,
}

/// Whether Socket Mode is switched on for the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Link {
    #[default]
    Enabled,
    Disabled,
}

/// The connections of the app.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) opens: Vec<Instant>,
    pub(crate) live: BTreeMap<u64, Socket>,
    pub(crate) refuse: Switch,
    pub(crate) drop: Switch,
    pub(crate) silent: Switch,
    pub(crate) link: Link,
    /// Where tickets say that connections are opened, if not at the simulator itself.
    pub(crate) address: Option<String>,
    tickets: BTreeSet<String>,
    count: u64,
}

impl Sockets {
    /// Gives a ticket for one connection.
    pub(crate) fn open(&mut self, base: &str) -> Answer {
        if self.link == Link::Disabled {
            return Err(Refused::new("link_disabled"));
        }
        self.count += 1;
        let ticket = format!(
            "{:08x}-{}",
            getrandom::u32().unwrap_or_default(),
            self.count
        );
        self.tickets.insert(ticket.clone());
        let base = self.address.as_deref().unwrap_or(base);
        Ok(json!({"url": format!("{base}/link/?ticket={ticket}&app_id=A0JITAPP1")}))
    }

    /// A connection chosen by this number, among those that take envelopes if there are any.
    pub(crate) fn chosen(&self, random: u64) -> Option<u64> {
        let taking: Vec<u64> = self
            .live
            .iter()
            .filter(|(_, it)| it.taking == Taking::Envelopes)
            .map(|(id, _)| *id)
            .collect();
        let any: Vec<u64> = self.live.keys().copied().collect();
        let among = if taking.is_empty() { any } else { taking };
        let count = u64::try_from(among.len()).ok().filter(|it| *it > 0)?;
        among.get(usize::try_from(random % count).ok()?).copied()
    }

    pub(crate) fn tell(&self, id: u64, order: Order) {
        if let Some(socket) = self.live.get(&id) {
            // A connection that just went away hears nothing.
            let _ = socket.orders.send(order);
        }
    }

    pub(crate) fn tell_all(&self, order: impl Fn() -> Order) {
        for id in self.live.keys() {
            self.tell(*id, order());
        }
    }

    pub(crate) fn goodbye(&mut self, id: u64, why: Disconnect) {
        if why == Disconnect::LinkDisabled {
            self.link = Link::Disabled;
        }
        if let Some(socket) = self
            .live
            .get_mut(&id)
            .filter(|_| why != Disconnect::Warning)
        {
            socket.taking = Taking::OnlyIfAlone;
        }
        self.tell(id, Order::Goodbye(why));
    }
}

/// Serves `/link`: a ticket is good for one WebSocket.
pub(crate) async fn link(
    Shared(inner): Shared<Arc<Inner>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    mut request: Request,
) -> Response {
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(|it| derive_accept_key(it.as_bytes()));
    let Some(accept) = key.and_then(|it| HeaderValue::from_str(&it).ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let ticket = query.get("ticket").cloned().unwrap_or_default();
    let (known, refused, dropped, silent) = inner.with(|state| {
        let sockets = &mut state.sockets;
        let known = sockets.tickets.remove(&ticket);
        let (refused, dropped) = (sockets.refuse.take(), sockets.drop.take());
        (known, refused, dropped, sockets.silent.take())
    });
    if !known {
        return StatusCode::FORBIDDEN.into_response();
    }
    if refused || inner.stopped() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let task = inner.clone();
    inner.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        match (dropped, silent) {
            (true, _) => {}
            (false, true) => say_nothing(upgraded).await,
            (false, false) => run(task, upgraded).await,
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

/// Takes the connection out of the list however its task ends.
struct Listed {
    inner: Arc<Inner>,
    id: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.inner.with(|state| state.sockets.live.remove(&self.id));
    }
}

type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// Answers pings, until the app goes.
async fn say_nothing(upgraded: Upgraded) {
    let mut stream =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    while let Some(Ok(_)) = stream.next().await {}
}

/// Answers nothing, until the app goes.
async fn hear_nothing(stream: &mut Stream) {
    let mut unheard = [0; 1024];
    while let Ok(1..) = stream.get_mut().read(&mut unheard).await {}
}

async fn run(inner: Arc<Inner>, upgraded: Upgraded) {
    let mut stream =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (orders, mut mailbox) = mpsc::unbounded_channel();
    let listed = inner.with(|state| {
        let sockets = &mut state.sockets;
        if sockets.live.len() >= MOST_SOCKETS {
            return None;
        }
        sockets.count += 1;
        // `hello` is in the mailbox before anybody can choose this connection.
        let hello = json!({
            "type": "hello", "num_connections": sockets.live.len() + 1,
            "connection_info": {"app_id": state.workspace.app},
            "debug_info": {"host": "applink-sim", "build_number": 1, "approximate_connection_time": 18_060},
        });
        let _ = orders.send(Order::Send(hello.to_string()));
        let id = sockets.count;
        sockets.live.insert(id, Socket { taking: Taking::Envelopes, orders });
        Some(id)
    });
    let Some(id) = listed else {
        let _ = stream
            .send(Frame::text(goodbye(Disconnect::TooManyWebsockets)))
            .await;
        return finish(&mut stream).await;
    };
    let listed = Listed {
        inner: inner.clone(),
        id,
    };
    let end = serve(&inner, id, &mut stream, &mut mailbox).await;
    // From here on nothing is sent to it, and nothing it says counts.
    inner.with(|state| {
        state.sockets.live.remove(&id);
        match end {
            End::Over => cut(state, id, Cut::Announced),
            End::Torn | End::Cut => cut(state, id, Cut::AtOnce),
            End::Polite | End::Abrupt => cut(state, id, Cut::ByApp),
        }
    });
    drop(listed);
    match end {
        End::Polite | End::Over => finish(&mut stream).await,
        End::Torn => tear(&mut stream).await,
        End::Abrupt | End::Cut => {}
    }
}

/// How a connection ends.
enum End {
    /// With close frames both ways, as the app wants it.
    Polite,
    /// The same, some time after the goodbye.
    Over,
    /// Within a frame.
    Torn,
    /// Without a word, by the app.
    Abrupt,
    /// Without a word, by Slack.
    Cut,
}

/// Exchanges close frames, for at most a second.
async fn finish(stream: &mut Stream) {
    let closing = async {
        let _ = stream.close(None).await;
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
}

async fn serve(
    inner: &Inner,
    id: u64,
    stream: &mut Stream,
    mailbox: &mut mpsc::UnboundedReceiver<Order>,
) -> End {
    let mut ping = tokio::time::interval(Duration::from_secs(5));
    let mut end: Option<Instant> = None;
    loop {
        let over = async {
            match end {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = mailbox.recv() => match order {
                Some(Order::Send(text)) => {
                    if stream.send(Frame::text(text)).await.is_err() {
                        return End::Abrupt;
                    }
                }
                Some(Order::Goodbye(why)) => {
                    let grace = inner.look(|state| state.scaled(why.grace()));
                    end = Some(Instant::now() + grace);
                    if stream.send(Frame::text(goodbye(why))).await.is_err() {
                        return End::Abrupt;
                    }
                }
                Some(Order::Tear) => return End::Torn,
                Some(Order::Freeze) => {
                    hear_nothing(stream).await;
                    return End::Abrupt;
                }
                Some(Order::Cut) | None => return End::Cut,
            },
            frame = stream.next() => match frame {
                Some(Ok(Frame::Text(text))) => heard(inner, id, text.as_str()),
                Some(Ok(Frame::Close(_))) => return End::Polite,
                Some(Err(_)) | None => return End::Abrupt,
                Some(Ok(_)) => {}
            },
            _ = ping.tick() => {
                if stream.send(Frame::Ping("Ping from applink-sim".into())).await.is_err() {
                    return End::Abrupt;
                }
            }
            () = over => return End::Over,
        }
    }
}

fn goodbye(why: Disconnect) -> String {
    json!({"type": "disconnect", "reason": why.reason(), "debug_info": {"host": "applink-sim"}})
        .to_string()
}

/// Sends the head of a frame of 256 bytes and a few of them, then nothing.
async fn tear(stream: &mut Stream) {
    let raw = stream.get_mut();
    let _ = raw.write_all(&[0x81, 0x7E, 0x01, 0x00]).await;
    let _ = raw.write_all(br#"{"envelope_id":"#).await;
    let _ = raw.flush().await;
}

fn heard(inner: &Inner, socket: u64, text: &str) {
    let Ok(ack) = serde_json::from_str::<Value>(text) else {
        return inner.violation(format!("a frame that is not JSON: {text}"));
    };
    match ack["envelope_id"].as_str() {
        Some(envelope) => acknowledge(inner, socket, envelope, ack.get("payload").cloned()),
        None => inner.violation(format!("a frame without envelope_id: {text}")),
    }
}
