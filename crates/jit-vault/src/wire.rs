//! How bytes go to Vault and come back, within a deadline and a limit: one pooled client for what
//! only reads, and a client of its own, with a gate, for each call that changes something. What is
//! asked is decided elsewhere.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode, Url, redirect, retry};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::fence::{Gate, Passage};
use crate::shapes::{Envelope, Refusal};
use crate::trouble::{NotDone, Trouble};

/// The longest that a connection takes to be made.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest that one call takes, its connection and its answer included.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// The longest that looking at the server's health takes.
const HEALTH_LIMIT: Duration = Duration::from_secs(3);
/// For how long the kernel keeps sending what the other side does not acknowledge. Without a limit
/// it is a quarter of an hour on Linux, in which an old call could still arrive.
const UNHEARD_LIMIT: Duration = Duration::from_secs(15);
/// The longest body that is read. An entry of the integrated storage has a megabyte at most.
/// Source: <https://developer.hashicorp.com/vault/docs/internals/limits>
const BODY_LIMIT: usize = 2 * 1024 * 1024;
/// The longest that Vault is left alone because it says so.
const PAUSE_LIMIT_SECS: u64 = 60;
/// For how long an idle connection is kept: whoever stands before a server closes what is idle for
/// about a minute, and a call that meets the close is lost.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const WRAP_TTL: HeaderName = HeaderName::from_static("x-vault-wrap-ttl");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Agents and proxies want it, so that no page of a browser can ask them.
/// Source: <https://developer.hashicorp.com/vault/docs/agent-and-proxy/agent/apiproxy>
const MARK: HeaderName = HeaderName::from_static("x-vault-request");

/// One call, but for how it is sent.
#[derive(Debug)]
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
    pub(crate) fn done(&self) -> Result<(), Trouble> {
        match self.status {
            StatusCode::NO_CONTENT => Ok(()),
            _ => self.json::<Envelope>().map(drop),
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
    reads: Client,
    /// For connections of one call: HTTP/1.1 only.
    single: ClientConfig,
    proxy: Proxy,
    namespace: Option<HeaderValue>,
}

/// Whether the machine's proxy stands between us and Vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proxy {
    AsTheMachineHasIt,
    /// What goes to loopback in the clear stays on this machine.
    Never,
}

impl Wire {
    pub(crate) fn new(address: &Address, namespace: Option<&str>) -> Result<Self, Trouble> {
        let provider = Arc::new(ring::default_provider());
        // An error says that a provider is installed already, which is just as well.
        let _ = ring::default_provider().install_default();
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(BuilderVerifierExt::with_platform_verifier)
            .map_err(|error| Trouble::Tls(error.to_string()))?;
        // Nothing is sent in early data, which anybody could send once more.
        let mut single = tls.with_no_client_auth();
        single.enable_early_data = false;
        let mut pooled = single.clone();
        single.alpn_protocols = vec![b"http/1.1".to_vec()];
        pooled.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let proxy = match address.is_on_this_machine() {
            true => Proxy::Never,
            false => Proxy::AsTheMachineHasIt,
        };
        let reads = base(&pooled, proxy).pool_idle_timeout(IDLE_LIMIT);
        let namespace = namespace.map(HeaderValue::from_str).transpose();
        Ok(Self {
            reads: reads.build().map_err(Trouble::Client)?,
            namespace: namespace.map_err(|_| Trouble::BadSettings("the namespace is no header"))?,
            single,
            proxy,
        })
    }

    /// Sends what changes no access.
    pub(crate) async fn send(&self, ask: Ask<'_>) -> Result<Answer, Trouble> {
        self.sent(&self.reads, ask, || Passage::Through).await
    }

    /// Sends a call once, over a connection that is made for it and closed behind it, if its gate
    /// lets it through.
    pub(crate) async fn send_once(&self, ask: Ask<'_>, gate: &Gate) -> Result<Answer, Trouble> {
        let client = base(&self.single, self.proxy)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connector_layer(gate.clone())
            .build()
            .map_err(Trouble::Client)?;
        self.sent(&client, ask, || gate.passage()).await
    }

    /// What the server says of its health, to whoever asks: no token, no namespace.
    pub(crate) async fn health(&self, url: Url) -> Result<Answer, Trouble> {
        const ACTION: &str = "say how it is";
        let sent = self.reads.get(url).timeout(HEALTH_LIMIT).send().await;
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

fn base(tls: &ClientConfig, proxy: Proxy) -> ClientBuilder {
    let client = Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .connect_timeout(CONNECT_LIMIT)
        .timeout(CALL_LIMIT)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .user_agent(concat!("jit-access/", env!("CARGO_PKG_VERSION")));
    #[cfg(target_os = "linux")]
    let client = client.tcp_user_timeout(UNHEARD_LIMIT);
    match proxy {
        Proxy::AsTheMachineHasIt => client,
        Proxy::Never => client.no_proxy(),
    }
}

/// Reads the answer to its end, and no further than its limit.
async fn answered(
    action: &'static str,
    sent: Result<Response, reqwest::Error>,
    passage: impl Fn() -> Passage,
) -> Result<Answer, Trouble> {
    let failed = |error| NotDone::unanswered(action, error, passage());
    let mut response = sent.map_err(failed)?;
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(Trouble::TooLong(action));
        }
        body.extend_from_slice(&chunk);
    }
    let pause = response.headers().get(RETRY_AFTER);
    let pause = pause.and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
    Ok(Answer {
        action,
        status: response.status(),
        retry_after_ms: pause.map(|secs| secs.min(PAUSE_LIMIT_SECS) * 1_000),
        body,
    })
}
