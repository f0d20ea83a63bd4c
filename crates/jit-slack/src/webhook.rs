//! Slack over HTTP: the same inputs as through a socket, each signed. Nothing is parsed before its
//! signature was checked.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use jit_core::Timestamp;
use jit_core::ports::Clock;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::desk::{Ack, Desk};
use crate::input::{Read, command, event, interaction};

/// The longest body, in bytes.
const BODY_LIMIT: usize = 256 * 1024;
/// A signature is good for this long, before and after.
const WINDOW: Duration = Duration::from_secs(300);
/// An input that is not kept by then is answered with an error; Slack waits three seconds.
const ANSWER_WITHIN: Duration = Duration::from_millis(2_500);
/// Signatures remembered, so that none is taken twice.
const SIGNATURES: usize = 100_000;

/// What the doors need.
pub(crate) struct Webhook {
    desk: Arc<Desk>,
    clock: Arc<dyn Clock>,
    /// More than one while a secret is being changed.
    secrets: Vec<SecretString>,
    seen: Mutex<HashMap<Vec<u8>, Timestamp>>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

/// Why a call is not Slack's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotSlack {
    Unsigned,
    Forged,
    Old,
    Replayed,
}

impl Webhook {
    pub(crate) fn new(desk: Arc<Desk>, clock: Arc<dyn Clock>, secrets: Vec<SecretString>) -> Self {
        Self {
            desk,
            clock,
            secrets,
            seen: Mutex::default(),
        }
    }

    /// `POST /slack/command`, `/slack/interactivity` and `/slack/events`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/slack/command", post(take_command))
            .route("/slack/interactivity", post(take_interaction))
            .route("/slack/events", post(take_event))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(Arc::new(self))
    }

    /// Whether Slack signed this body a moment ago, and it is the first time that it comes.
    fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), NotSlack> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(at), Some(signature)) = (
            text("x-slack-request-timestamp"),
            text("x-slack-signature").and_then(|text| text.strip_prefix("v0=")),
        ) else {
            return Err(NotSlack::Unsigned);
        };
        let signature = hex(signature).ok_or(NotSlack::Forged)?;
        let signed = |secret: &SecretString| {
            let key = secret.expose_secret().as_bytes();
            Hmac::<Sha256>::new_from_slice(key).is_ok_and(|mut mac| {
                for part in [b"v0:", at.as_bytes(), b":", body] {
                    mac.update(part);
                }
                mac.verify_slice(&signature).is_ok()
            })
        };
        if !self.secrets.iter().any(signed) {
            return Err(NotSlack::Forged);
        }
        let secs: i64 = at.parse().map_err(|_| NotSlack::Forged)?;
        let now = self.clock.now();
        let age = (now.unix_micros().div_euclid(1_000_000)).abs_diff(secs);
        if age > WINDOW.as_secs() {
            return Err(NotSlack::Old);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SIGNATURES {
            seen.retain(|_, until| now < *until);
        }
        // Past this the signature is too old anyway.
        let until = now + WINDOW * 2 + Duration::from_secs(1);
        match seen.insert(signature, until) {
            Some(_) => Err(NotSlack::Replayed),
            None => Ok(()),
        }
    }

    async fn answer(&self, read: Read) -> Response {
        match tokio::time::timeout(ANSWER_WITHIN, self.desk.take(read)).await {
            Ok(Ack::Bare) => StatusCode::OK.into_response(),
            Ok(Ack::With(answer)) => axum::Json(answer).into_response(),
            Ok(Ack::None) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// The bytes of lower-case hexadecimal digits.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

fn refused(why: NotSlack) -> Response {
    tracing::warn!(why = ?why, "a call to a door of Slack's is not Slack's");
    metrics::counter!("jit_slack_refused_total").increment(1);
    StatusCode::UNAUTHORIZED.into_response()
}

/// The fields of a form, each once.
fn form(body: &[u8]) -> Value {
    let fields = form_urlencoded::parse(body);
    let fields: Map<String, Value> = fields
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect();
    Value::Object(fields)
}

async fn take_command(
    State(door): State<Arc<Webhook>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(why) = door.check(&headers, &body) {
        return refused(why);
    }
    let fields = form(&body);
    if fields.get("ssl_check").is_some() {
        return StatusCode::OK.into_response();
    }
    door.answer(command(&fields, door.desk.commands())).await
}

async fn take_interaction(
    State(door): State<Arc<Webhook>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(why) = door.check(&headers, &body) {
        return refused(why);
    }
    let fields = form(&body);
    if fields.get("ssl_check").is_some() {
        return StatusCode::OK.into_response();
    }
    let payload = fields.get("payload").and_then(Value::as_str);
    let payload: Option<Value> = payload.and_then(|text| serde_json::from_str(text).ok());
    let read = payload.map_or(Read::Unreadable, |payload| interaction(&payload));
    door.answer(read).await
}

async fn take_event(State(door): State<Arc<Webhook>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(why) = door.check(&headers, &body) {
        return refused(why);
    }
    let Ok(payload) = serde_json::from_slice::<Value>(&body) else {
        return door.answer(Read::Unreadable).await;
    };
    if payload.get("type").and_then(Value::as_str) == Some("url_verification") {
        let challenge = payload.get("challenge").and_then(Value::as_str);
        return axum::Json(json!({"challenge": challenge})).into_response();
    }
    door.answer(event(&payload)).await
}
