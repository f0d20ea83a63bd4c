//! Telegram calls: `POST /telegram/webhook`, with a secret in a header. Whatever comes without it is
//! not even read.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use jit_core::digest::Digest;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use subtle::{Choice, ConstantTimeEq};

use crate::desk::{Ack, Desk};

/// The longest body, in bytes.
const BODY_LIMIT: usize = 256 * 1024;
/// The longest secret.
const SECRET_LIMIT: usize = 256;
/// An update that is not kept by then is answered with an error, and sent again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const HEADER: &str = "x-telegram-bot-api-secret-token";

/// What Telegram sends along: `secret_token` of <https://core.telegram.org/bots/api#setwebhook>.
#[derive(Debug, Clone)]
pub struct WebhookSecret(SecretString);

/// A text that Telegram would not take for a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is 16 to 256 letters, digits, _ and -")]
pub struct BadSecret;

impl FromStr for WebhookSecret {
    type Err = BadSecret;
    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        // Telegram would take a shorter one, and somebody would guess it.
        match (16..=SECRET_LIMIT).contains(&text.len()) && text.bytes().all(plain) {
            true => Ok(Self(SecretString::from(text))),
            false => Err(BadSecret),
        }
    }
}

impl WebhookSecret {
    /// Whether this is what was sent. Digests are compared, so that nothing depends on the length.
    fn is(&self, sent: &Digest) -> Choice {
        let ours = Digest::of(self.0.expose_secret().as_bytes());
        sent.as_bytes().ct_eq(ours.as_bytes())
    }
}

/// What the door needs.
pub(crate) struct Webhook {
    desk: Arc<Desk>,
    secrets: Vec<WebhookSecret>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

impl Webhook {
    pub(crate) fn new(desk: Arc<Desk>, secrets: Vec<WebhookSecret>) -> Self {
        Self { desk, secrets }
    }

    /// Whether the one header is one of ours. All are compared, whichever it is.
    fn is_telegram(&self, headers: &HeaderMap) -> bool {
        let mut sent = headers.get_all(HEADER).iter();
        let (Some(one), None) = (sent.next(), sent.next()) else {
            return false;
        };
        let sent = Digest::of(one.as_bytes());
        let secrets = self.secrets.iter();
        let found = secrets.fold(Choice::from(0), |found, ours| found | ours.is(&sent));
        found.into()
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/telegram/webhook", post(take))
            .with_state(Arc::new(self))
    }
}

async fn take(State(door): State<Arc<Webhook>>, request: Request) -> StatusCode {
    if !door.is_telegram(request.headers()) {
        tracing::warn!("a call to the door of Telegram's is not Telegram's");
        metrics::counter!("jit_telegram_refused_total").increment(1);
        return StatusCode::UNAUTHORIZED;
    }
    let kept = async {
        let Ok(body) = to_bytes(request.into_body(), BODY_LIMIT).await else {
            return StatusCode::PAYLOAD_TOO_LARGE;
        };
        // What is no JSON is unreadable, like any other update that is none.
        let update: Value = serde_json::from_slice(&body).unwrap_or_default();
        match door.desk.take(&update, None).await {
            Ack::Taken => StatusCode::OK,
            Ack::NotKept => StatusCode::SERVICE_UNAVAILABLE,
        }
    };
    let kept = tokio::time::timeout(ANSWER_WITHIN, kept).await;
    kept.unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}
