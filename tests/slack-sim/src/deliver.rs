//! How something that happened reaches the app: one envelope to one random connection, or one
//! signed POST; three seconds to acknowledge; events again if not, anything else never again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::socket::Order;
use crate::state::{Inner, Mode, PayloadAllowed, Pending, State};
use crate::webhook::{Post, Signature, signed, unix_now};

/// How long the app may take to acknowledge.
pub(crate) const ACK: Duration = Duration::from_secs(3);

/// When an event comes again, after the attempt before it.
const AGAIN: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(60),
    Duration::from_secs(300),
];

/// What became of something a person did.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The app acknowledged it in time.
    Acked {
        /// What it answered with, if anything.
        payload: Option<Value>,
        /// How long it took.
        after: Duration,
    },
    /// The person saw Slack's own error; [`crate::SlackSim::seen_errors`] says why.
    SawError,
}

impl Outcome {
    /// Acknowledged without the app having been asked.
    pub(crate) fn quiet() -> Self {
        Self::Acked {
            payload: None,
            after: Duration::ZERO,
        }
    }

    /// Whether the app acknowledged it in time.
    pub fn acked(&self) -> bool {
        matches!(self, Self::Acked { .. })
    }

    /// What the app answered with, if anything.
    pub fn payload(&self) -> Option<&Value> {
        match self {
            Self::Acked { payload, .. } => payload.as_ref(),
            Self::SawError => None,
        }
    }
}

/// Something on its way to the app.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    /// `slash_commands`, `interactive`, `events_api` or anything else.
    pub(crate) kind: String,
    pub(crate) payload: Value,
    pub(crate) payload_allowed: PayloadAllowed,
    pub(crate) attempt: u32,
    pub(crate) retry_reason: String,
}

impl Parcel {
    pub(crate) fn new(kind: &str, payload: Value) -> Self {
        let asks = matches!(
            payload["type"].as_str(),
            Some("view_submission" | "block_suggestion" | "dialog_submission")
        );
        let payload_allowed = if kind == "slash_commands" || asks {
            PayloadAllowed::Yes
        } else {
            PayloadAllowed::No
        };
        Self {
            kind: kind.to_owned(),
            payload,
            payload_allowed,
            attempt: 0,
            retry_reason: String::new(),
        }
    }
}

/// Delivers what a person did; if it fails they see Slack's error.
pub(crate) async fn gesture(inner: &Inner, what: &str, parcel: Parcel) -> Outcome {
    match once(inner, &parcel).await {
        Ok(outcome) => outcome,
        Err(why) => {
            inner.saw_error(format!("{what}: {why}"));
            Outcome::SawError
        }
    }
}

/// Delivers an event: the first attempt now, the others in the background.
pub(crate) async fn event(inner: &Arc<Inner>, event: Value) -> Outcome {
    let payload = inner.with(|state| callback(state, event));
    let mut parcel = Parcel::new("events_api", payload);
    let why = match once(inner, &parcel).await {
        Ok(outcome) => return outcome,
        Err(why) => why,
    };
    let task = inner.clone();
    inner.spawn(async move {
        let mut why = why;
        for wait in AGAIN {
            tokio::time::sleep(task.look(|state| state.scaled(wait))).await;
            parcel.attempt += 1;
            parcel.retry_reason = match why.as_str() {
                LATE if task.look(|state| state.mode == Mode::Socket) => "timeout".to_owned(),
                LATE => "http_timeout".to_owned(),
                NOBODY => "connection_failed".to_owned(),
                _ => "http_error".to_owned(),
            };
            match once(&task, &parcel).await {
                Ok(_) => return,
                Err(it) => why = it,
            }
        }
    });
    Outcome::SawError
}

fn callback(state: &mut State, event: Value) -> Value {
    let id = state.fresh("Ev0");
    let it = &state.workspace;
    json!({
        "token": "deprecated-verification-token", "team_id": it.team,
        "context_team_id": it.team, "context_enterprise_id": null, "api_app_id": it.app,
        "event": event, "type": "event_callback", "event_id": id, "event_time": unix_now(),
        "authorizations": [{
            "enterprise_id": null, "team_id": it.team, "user_id": it.bot_user, "is_bot": true,
            "is_enterprise_install": false,
        }],
        "is_ext_shared_channel": false,
        "event_context": format!("4-{id}"),
    })
}

const LATE: &str = "no acknowledgement within three seconds";
const NOBODY: &str = "no connection to the app";
/// Slack's side ended the connection before the app could acknowledge.
const CUT: &str = "its connection was cut";
const LEFT: &str = "the app left the connection";
/// What was sent this long before a connection ended had its time there.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

async fn once(inner: &Inner, parcel: &Parcel) -> Result<Outcome, String> {
    match inner.look(|state| state.mode.clone()) {
        Mode::Socket => by_socket(inner, parcel).await,
        Mode::Http { base_url } => by_post(inner, parcel, &base_url).await,
    }
}

async fn by_socket(inner: &Inner, parcel: &Parcel) -> Result<Outcome, String> {
    let (answer, mut answered) = oneshot::channel();
    let sent = inner.with(|state| {
        let random = state.draw();
        let socket = state.sockets.chosen(random)?;
        let id = state.fresh("env-");
        let mut envelope = json!({
            "envelope_id": id, "type": parcel.kind, "payload": parcel.payload,
            "accepts_response_payload": parcel.payload_allowed == PayloadAllowed::Yes,
        });
        if parcel.kind == "events_api" {
            envelope["retry_attempt"] = json!(parcel.attempt);
            envelope["retry_reason"] = json!(parcel.retry_reason);
        }
        let text = envelope.to_string();
        let mut sockets = vec![socket];
        state.sockets.tell(socket, Order::Send(text.clone()));
        if state.twice > 0 {
            state.twice -= 1;
            let random = state.draw();
            let again = state.sockets.chosen(random).unwrap_or(socket);
            state.sockets.tell(again, Order::Send(text));
            sockets.push(again);
        }
        let pending = Pending {
            at: Instant::now(),
            sockets,
            payload_allowed: parcel.payload_allowed,
            answer: Some(answer),
            astray: None,
        };
        state.pending.insert(id.clone(), pending);
        Some((id, state.scaled(ACK)))
    });
    let Some((id, limit)) = sent else {
        return Err(NOBODY.to_owned());
    };
    let start = Instant::now();
    match tokio::time::timeout(limit, &mut answered).await {
        Ok(Ok(payload)) => Ok(Outcome::Acked {
            payload,
            after: start.elapsed(),
        }),
        _ => {
            let astray = inner.with(|state| {
                let pending = state.pending.get_mut(&id)?;
                pending.answer = None;
                pending.astray
            });
            // It may have come in the instant between.
            match answered.try_recv() {
                Ok(payload) => Ok(Outcome::Acked {
                    payload,
                    after: start.elapsed(),
                }),
                Err(_) => Err(astray.unwrap_or(LATE).to_owned()),
            }
        }
    }
}

/// A connection ended: what was just sent over it and over no other cannot be acknowledged any more.
/// Where Slack ended it that is not the app's fault.
pub(crate) fn cut(state: &mut State, socket: u64, how: Cut) {
    for pending in state.pending.values_mut() {
        let excused = match how {
            Cut::AtOnce => true,
            Cut::Announced => pending.at.elapsed() < LONG_ENOUGH,
            Cut::ByApp => {
                if pending.sockets.contains(&socket) {
                    pending.astray = Some(LEFT);
                }
                false
            }
        };
        if excused && pending.sockets.contains(&socket) {
            pending.sockets.retain(|it| *it != socket);
            if pending.sockets.is_empty() {
                pending.astray = Some(CUT);
            }
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// By Slack, without a word.
    AtOnce,
    /// By Slack, after its goodbye.
    Announced,
    /// By the app, which should have acknowledged before.
    ByApp,
}

/// An acknowledgement came in over a connection.
pub(crate) fn acknowledge(inner: &Inner, socket: u64, envelope: &str, payload: Option<Value>) {
    inner.with(|state| {
        if state.settled.contains(envelope) {
            return;
        }
        let Some(pending) = state.pending.get_mut(envelope) else {
            return state
                .violations
                .push(format!("acknowledged an unknown envelope {envelope}"));
        };
        if !pending.sockets.contains(&socket) {
            pending.astray = Some("it was acknowledged on another connection");
            let what = format!("{envelope} was acknowledged on another connection");
            return state.violations.push(what);
        }
        let Some(answer) = pending.answer.take() else {
            return state
                .violations
                .push(format!("{envelope} was acknowledged too late"));
        };
        // Slack's own Node client acknowledges everything with at least an empty object.
        let says = payload.as_ref().is_some_and(|it| *it != json!({}));
        let refused = pending.payload_allowed == PayloadAllowed::No && says;
        // The waiter may have given up in this instant; then it is late.
        let _ = answer.send(payload.filter(|_| !refused));
        state.settled.insert(envelope.to_owned());
        state.pending.remove(envelope);
        if refused {
            state
                .violations
                .push(format!("{envelope} takes no payload"));
        }
    });
}

/// The POST in which a parcel goes over HTTP.
pub(crate) fn post(parcel: &Parcel) -> Post {
    let form = "application/x-www-form-urlencoded";
    let flat = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (path, content_type, body) = match parcel.kind.as_str() {
        "slash_commands" => {
            let pairs = parcel.payload.as_object().into_iter().flatten();
            let pairs: Vec<(&String, String)> = pairs.map(|(key, it)| (key, flat(it))).collect();
            (
                "/slack/command",
                form,
                serde_urlencoded::to_string(pairs).unwrap_or_default(),
            )
        }
        "interactive" => {
            let pairs = [("payload", parcel.payload.to_string())];
            (
                "/slack/interactivity",
                form,
                serde_urlencoded::to_string(pairs).unwrap_or_default(),
            )
        }
        _ => (
            "/slack/events",
            "application/json",
            parcel.payload.to_string(),
        ),
    };
    let mut headers = vec![];
    if parcel.attempt > 0 {
        headers.push(("X-Slack-Retry-Num".to_owned(), parcel.attempt.to_string()));
        headers.push((
            "X-Slack-Retry-Reason".to_owned(),
            parcel.retry_reason.clone(),
        ));
    }
    Post {
        path: path.to_owned(),
        content_type: content_type.to_owned(),
        body,
        headers,
    }
}

async fn by_post(inner: &Inner, parcel: &Parcel, base_url: &str) -> Result<Outcome, String> {
    let post = post(parcel);
    let (limit, twice, secret) = inner.with(|state| {
        let twice = state.twice > 0;
        state.twice = state.twice.saturating_sub(1);
        (state.scaled(ACK), twice, state.signing_secret().to_owned())
    });
    let headers = signed(&post, &secret, Signature::Valid);
    inner.with(|state| state.last_post = Some((post.clone(), headers.clone())));
    let start = Instant::now();
    let first = tokio::time::timeout(limit, inner.client.send(base_url, &post, &headers));
    let reply = if twice {
        let second = tokio::time::timeout(limit, inner.client.send(base_url, &post, &headers));
        tokio::join!(first, second).0
    } else {
        first.await
    };
    let reply = reply
        .map_err(|_| LATE.to_owned())?
        .map_err(|_| NOBODY.to_owned())?;
    if !(200..300).contains(&reply.status) {
        return Err(format!("the app answered {}", reply.status));
    }
    let payload = match serde_json::from_str::<Value>(&reply.body) {
        _ if reply.body.trim().is_empty() => None,
        Ok(it) if it.is_object() => Some(it),
        _ if parcel.kind == "slash_commands" => Some(json!({"text": reply.body})),
        _ => None,
    };
    let refused = parcel.payload_allowed == PayloadAllowed::No;
    Ok(Outcome::Acked {
        payload: payload.filter(|_| !refused),
        after: start.elapsed(),
    })
}
