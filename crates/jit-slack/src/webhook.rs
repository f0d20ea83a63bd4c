//! Slack over HTTP: the same inputs as through a socket, each signed. Nothing is parsed before its
//! signature was checked.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::FutureExt;
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
    gate: Gate,
}

/// Lets in what Slack signed, once.
struct Gate {
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
            gate: Gate::new(clock, secrets),
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

    async fn answer(&self, read: Read) -> Response {
        let taken = AssertUnwindSafe(self.desk.take(read)).catch_unwind();
        match tokio::time::timeout(ANSWER_WITHIN, taken).await {
            Ok(Ok(Ack::Bare)) => StatusCode::OK.into_response(),
            Ok(Ok(Ack::With(answer))) => axum::Json(answer).into_response(),
            Ok(Ok(Ack::None)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Ok(Err(_)) => {
                tracing::error!("taking an input panicked; others are served");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

impl Gate {
    fn new(clock: Arc<dyn Clock>, secrets: Vec<SecretString>) -> Self {
        Self {
            clock,
            secrets,
            seen: Mutex::default(),
        }
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
    if let Err(why) = door.gate.check(&headers, &body) {
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
    if let Err(why) = door.gate.check(&headers, &body) {
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
    if let Err(why) = door.gate.check(&headers, &body) {
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

#[cfg(test)]
mod tests {
    use jit_testkit::time::ManualClock;

    use super::*;

    const BODY: &[u8] = b"command=%2Fjit&text=help";
    const NOW_SECS: i64 = 1_790_000_000;

    fn gate(secrets: &[&str]) -> (Gate, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(at(NOW_SECS, 0)));
        let secrets = secrets.iter().map(|it| SecretString::from(*it)).collect();
        (Gate::new(clock.clone(), secrets), clock)
    }

    fn at(secs: i64, micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(secs * 1_000_000 + micros)
    }

    fn signed(secret: &str, secs: &str, body: &[u8]) -> HeaderMap {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        for part in [b"v0:", secs.as_bytes(), b":", body] {
            mac.update(part);
        }
        let bytes = mac.finalize().into_bytes();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        with(secs, &format!("v0={digits}"))
    }

    fn with(secs: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-slack-request-timestamp", secs.parse().unwrap());
        headers.insert("x-slack-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn a2_a_signature_is_good_for_300_seconds_on_both_sides() {
        for (away, judged) in [
            (0, Ok(())),
            (299, Ok(())),
            (300, Ok(())),
            (301, Err(NotSlack::Old)),
            (86_400, Err(NotSlack::Old)),
        ] {
            for away in [away, -away] {
                // Whatever the fraction of our second.
                for micros in [0, 1, 999_999] {
                    let (gate, clock) = gate(&["secret"]);
                    clock.set(at(NOW_SECS, micros));
                    let headers = signed("secret", &(NOW_SECS + away).to_string(), BODY);
                    assert_eq!(gate.check(&headers, BODY), judged, "{away} s, {micros} µs");
                }
            }
        }
    }

    #[test]
    fn a_signature_is_taken_once_for_as_long_as_it_is_good() {
        let (gate, clock) = gate(&["secret"]);
        // Signed by a clock that is ahead: it stays good for ten minutes of ours.
        let headers = signed("secret", &(NOW_SECS + 300).to_string(), BODY);
        assert_eq!(gate.check(&headers, BODY), Ok(()));
        for secs in [0, 1, 299, 300, 600] {
            clock.set(at(NOW_SECS + secs, 0));
            assert_eq!(
                gate.check(&headers, BODY),
                Err(NotSlack::Replayed),
                "{secs} s"
            );
        }
        clock.set(at(NOW_SECS + 601, 0));
        assert_eq!(gate.check(&headers, BODY), Err(NotSlack::Old));
    }

    #[test]
    fn while_a_secret_is_changed_both_are_good_and_no_other() {
        let (gate, _) = gate(&["new", "old"]);
        let now = NOW_SECS.to_string();
        for (secret, judged) in [
            ("new", Ok(())),
            ("old", Ok(())),
            ("", Err(NotSlack::Forged)),
            ("new ", Err(NotSlack::Forged)),
        ] {
            assert_eq!(
                gate.check(&signed(secret, &now, BODY), BODY),
                judged,
                "{secret:?}"
            );
        }
        let other = signed("new", &now, b"command=%2Fjit&text=request");
        assert_eq!(gate.check(&other, BODY), Err(NotSlack::Forged));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let (gate, _) = gate(&["secret"]);
        let now = NOW_SECS.to_string();
        let zeros = "0".repeat(64);
        for (secs, signature, judged) in [
            (now.as_str(), "", NotSlack::Unsigned),
            (&now, zeros.as_str(), NotSlack::Unsigned),
            (&now, &format!("v1={zeros}"), NotSlack::Unsigned),
            (&now, "v0=", NotSlack::Forged),
            (&now, &format!("v0={zeros}"), NotSlack::Forged),
            (&now, &format!("v0={}", &zeros[1..]), NotSlack::Forged),
            (&now, "v0=zz", NotSlack::Forged),
        ] {
            assert_eq!(
                gate.check(&with(secs, signature), BODY),
                Err(judged),
                "{signature}"
            );
        }
        assert_eq!(gate.check(&HeaderMap::new(), BODY), Err(NotSlack::Unsigned));
        // Signed, but at no time at all.
        for secs in ["", "now", "1e9", "99999999999999999999", " 1790000000"] {
            let headers = signed("secret", secs, BODY);
            assert_eq!(
                gate.check(&headers, BODY),
                Err(NotSlack::Forged),
                "{secs:?}"
            );
        }
        for secs in ["-1", "0", "9223372036854775807", "-9223372036854775808"] {
            let headers = signed("secret", secs, BODY);
            assert_eq!(gate.check(&headers, BODY), Err(NotSlack::Old), "{secs:?}");
        }
    }
}
