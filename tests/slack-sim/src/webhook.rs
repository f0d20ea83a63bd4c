//! HTTP mode: signed POSTs to the app, and signatures that are wrong on purpose.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use hmac::{Hmac, KeyInit, Mac};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::Sha256;

/// The most bytes read of an answer.
const MOST_BYTES: usize = 1024 * 1024;

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// As Slack does it.
    Valid,
    /// With another secret.
    Forged,
    /// Rightly, ten minutes ago.
    Old,
    /// Not at all.
    Missing,
}

/// What is POSTed to the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Below the base URL, with its slash: `/slack/command`.
    pub path: String,
    /// `application/x-www-form-urlencoded` or `application/json`.
    pub content_type: String,
    /// The body as it goes over the wire.
    pub body: String,
    /// More headers, such as `X-Slack-Retry-Num`.
    pub headers: Vec<(String, String)>,
}

/// What the app answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

#[derive(Debug)]
pub(crate) struct Client(Pool<HttpConnector, Body>);

/// The signature of a body at a time, in Slack's `v0` scheme.
pub fn sign(secret: &str, timestamp: u64, body: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    format!("v0={}", hex::encode(mac.finalize().into_bytes()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a simulated Slack keeps its own time"
)]
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Signs a post: the headers it goes with.
pub(crate) fn signed(post: &Post, secret: &str, how: Signature) -> Vec<(String, String)> {
    let at = match how {
        Signature::Old => unix_now() - 600,
        _ => unix_now(),
    };
    let secret = match how {
        Signature::Forged => "a secret somebody guessed",
        _ => secret,
    };
    let mut headers = post.headers.clone();
    headers.push(("Content-Type".to_owned(), post.content_type.clone()));
    if how != Signature::Missing {
        headers.push(("X-Slack-Request-Timestamp".to_owned(), at.to_string()));
        headers.push(("X-Slack-Signature".to_owned(), sign(secret, at, &post.body)));
    }
    headers
}

impl Client {
    pub(crate) fn new() -> Self {
        Self(Pool::builder(TokioExecutor::new()).build_http())
    }

    /// Sends one post; the error says what went wrong on the way.
    pub(crate) async fn send(
        &self,
        base_url: &str,
        post: &Post,
        headers: &[(String, String)],
    ) -> Result<Reply, String> {
        let mut request = Request::post(format!("{base_url}{}", post.path)).header(
            header::USER_AGENT,
            "Slackbot 1.0 (+https://api.slack.com/robots)",
        );
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Body::from(post.body.clone()))
            .map_err(|it| it.to_string())?;
        let response = self.0.request(request).await.map_err(|it| it.to_string())?;
        let status = response.status().as_u16();
        let body = to_bytes(Body::new(response.into_body()), MOST_BYTES).await;
        let body = body.map_err(|it| it.to_string())?;
        Ok(Reply {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::sign;

    #[test]
    fn the_signature_is_slacks() {
        // The worked example of https://docs.slack.dev/authentication/verifying-requests-from-slack
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        assert_eq!(
            sign("8f742231b10e8888abcd99yyyzzz85a5", 1_531_420_618, body),
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        );
    }
}
