//! What is sent to Vault, and how its answers are read. How bytes go there and back is `jit-wire`'s;
//! what is asked is decided elsewhere.

use std::fmt;
use std::time::Duration;

use jit_wire::{Address, Gate, NoAnswer, Passage, whole};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::shapes::{Envelope, Refusal};
use crate::trouble::{NotDone, Trouble};

/// The longest that looking at the server's health takes.
const HEALTH_LIMIT: Duration = Duration::from_secs(3);
/// The longest body that is read. An entry of the integrated storage has a megabyte at most.
/// Source: <https://developer.hashicorp.com/vault/docs/internals/limits>
const BODY_LIMIT: usize = 2 * 1024 * 1024;
/// The longest that Vault is left alone because it says so.
const PAUSE_LIMIT_SECS: u64 = 60;
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const WRAP_TTL: HeaderName = HeaderName::from_static("x-vault-wrap-ttl");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Agents and proxies want it, so that no page of a browser can ask them.
/// Source: <https://developer.hashicorp.com/vault/docs/agent-and-proxy/agent/apiproxy>
const MARK: HeaderName = HeaderName::from_static("x-vault-request");

/// What lies under `/v1` by these parts; whatever is in a part stays in it.
pub(crate) fn at<'a>(address: &Address, parts: impl IntoIterator<Item = &'a str>) -> Url {
    address.at(["v1"].into_iter().chain(parts))
}

/// One call, but for how it is sent.
pub(crate) struct Ask<'a> {
    /// What it is to do, as in "Vault failed to …".
    pub(crate) action: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) token: Option<&'a HeaderValue>,
    pub(crate) wrap_secs: Option<u64>,
    /// JSON. It may hold a secret.
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Ask<'_> {
    /// Without its token and its body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("action", &self.action)
            .field("method", &self.method)
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl<'a> Ask<'a> {
    pub(crate) fn get(action: &'static str, url: Url) -> Self {
        Self {
            action,
            method: Method::GET,
            url,
            token: None,
            wrap_secs: None,
            body: None,
        }
    }

    pub(crate) fn post(action: &'static str, url: Url, body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("what is sent is plain values");
        Self {
            method: Method::POST,
            body: Some(Zeroizing::new(body)),
            ..Self::get(action, url)
        }
    }

    pub(crate) fn bearing(self, token: &'a HeaderValue) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }
}

/// How something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Plainly,
    /// Such as that there was nothing to do it to.
    WithAWarning,
}

/// An answer that came in full. Its bytes are overwritten when it is dropped.
pub(crate) struct Answer {
    pub(crate) action: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) retry_after_ms: Option<u64>,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        // The error would quote what it could not read, which may be a secret.
        serde_json::from_slice(&self.body).map_err(|_| Trouble::Unreadable(self.action))
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        serde_json::from_slice(&self.body).ok()
    }

    /// That what was asked for is done, by Vault's own word: nothing at all, or its envelope with a
    /// warning in it. Somebody else's page with 200 is none.
    pub(crate) fn done(&self) -> Result<Done, Trouble> {
        match self.status {
            StatusCode::NO_CONTENT => Ok(Done::Plainly),
            _ => self.json::<Envelope>().map(|_| Done::WithAWarning),
        }
    }

    /// The answer, if it is a good one.
    pub(crate) fn good(self) -> Result<Self, Trouble> {
        match self.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(self),
            _ => Err(NotDone::answered(&self).into()),
        }
    }
}

/// The ways to Vault.
#[derive(Debug)]
pub(crate) struct Wire {
    wire: jit_wire::Wire,
    namespace: Option<HeaderValue>,
}

impl Wire {
    pub(crate) fn new(address: &Address, namespace: Option<&str>) -> Result<Self, Trouble> {
        let namespace = namespace.map(HeaderValue::from_str).transpose();
        Ok(Self {
            wire: jit_wire::Wire::new(address.url()).map_err(Trouble::Wire)?,
            namespace: namespace.map_err(|_| Trouble::BadSettings("the namespace is no header"))?,
        })
    }

    /// Sends what changes no access.
    pub(crate) async fn send(&self, ask: Ask<'_>) -> Result<Answer, Trouble> {
        self.sent(self.wire.pooled(), ask, || Passage::Through)
            .await
    }

    /// Sends a call once, over a connection that is made for it and closed behind it, if its gate
    /// lets it through.
    pub(crate) async fn send_once(&self, ask: Ask<'_>, gate: &Gate) -> Result<Answer, Trouble> {
        let client = self.wire.once(gate).map_err(Trouble::Wire)?;
        self.sent(&client, ask, || gate.passage()).await
    }

    /// What the server says of its health, to whoever asks: no token, no namespace.
    pub(crate) async fn health(&self, url: Url) -> Result<Answer, Trouble> {
        const ACTION: &str = "say how it is";
        let sent = self
            .wire
            .pooled()
            .get(url)
            .timeout(HEALTH_LIMIT)
            .send()
            .await;
        answered(ACTION, sent, || Passage::Through).await
    }

    async fn sent(
        &self,
        client: &Client,
        ask: Ask<'_>,
        passage: impl Fn() -> Passage,
    ) -> Result<Answer, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(MARK, HeaderValue::from_static("true"));
        let token = ask.token.cloned().map(|it| (TOKEN, it));
        let namespace = self.namespace.clone().map(|it| (NAMESPACE, it));
        let wrap = ask.wrap_secs.map(|it| (WRAP_TTL, it.into()));
        headers.extend([token, namespace, wrap].into_iter().flatten());
        let mut request = client.request(ask.method, ask.url).headers(headers);
        if let Some(body) = ask.body {
            let json = HeaderValue::from_static("application/json");
            request = request.header(CONTENT_TYPE, json).body(body.to_vec());
        }
        answered(ask.action, request.send().await, passage).await
    }
}

/// Reads the answer to its end, and no further than its limit.
async fn answered(
    action: &'static str,
    sent: Result<Response, reqwest::Error>,
    passage: impl Fn() -> Passage,
) -> Result<Answer, Trouble> {
    let answer = match whole(sent, BODY_LIMIT).await {
        Ok(answer) => answer,
        Err(NoAnswer::TooLong) => return Err(Trouble::TooLong(action)),
        Err(NoAnswer::Broken(error)) => {
            return Err(NotDone::unanswered(action, error, passage()));
        }
    };
    let pause = answer.headers.get(RETRY_AFTER);
    let pause = pause.and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
    Ok(Answer {
        action,
        status: answer.status,
        retry_after_ms: pause.map(|secs| secs.min(PAUSE_LIMIT_SECS) * 1_000),
        body: answer.body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s15_a_call_prints_neither_its_body_nor_its_token() {
        let url = "https://vault.example.com/v1/auth/approle/login"
            .parse()
            .unwrap();
        let token = HeaderValue::from_static("canary-token");
        let ask = Ask::post("log us in", url, &["canary-secret"]).bearing(&token);
        let bytes = format!("{:?}", b"canary-secret").replace(['[', ']'], "");
        let printed = format!("{ask:?} {ask:#?}");
        assert!(printed.contains("log us in"), "{printed}");
        assert!(
            !printed.contains("canary") && !printed.contains(&bytes),
            "{printed}"
        );
    }
}
