//! How bytes go to Okta and come back: one pooled client for what only reads, and a client of its
//! own, with a gate, for each call that changes something. What is asked is decided elsewhere.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, Response, Url, redirect, retry};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;

use crate::answer::Answer;
use crate::fence::{Gate, Passage};
use crate::token::Bearer;
use crate::trouble::{NotDone, Trouble};

/// The longest that a connection takes to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest that one call takes, its connection and its answer included.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// For how long the kernel keeps sending what the other side does not acknowledge. Without a limit
/// it is a quarter of an hour on Linux, in which an old call could still arrive.
const UNHEARD_LIMIT: Duration = Duration::from_secs(15);
/// The longest body that is read: a page of 200 users has about half a megabyte.
const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// Connections that are kept for reading.
const IDLE_CONNECTIONS: usize = 8;
/// For how long: whoever stands before a server closes what is idle for about a minute, and a call
/// that meets the close is lost.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// The ways to Okta.
#[derive(Debug)]
pub(crate) struct Wire {
    reads: Client,
    /// For connections of one call: HTTP/1.1 only.
    single: ClientConfig,
    proxy: Proxy,
}

/// Whether the machine's proxy stands between us and Okta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proxy {
    AsTheMachineHasIt,
    /// Nothing stands between us and a server on this very machine.
    Never,
}

impl Wire {
    pub(crate) fn new(origin: &Url) -> Result<Self, Trouble> {
        let provider = Arc::new(ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(BuilderVerifierExt::with_platform_verifier)
            .map_err(|error| Trouble::Tls(error.to_string()))?;
        Self::over(tls.with_no_client_auth(), origin)
    }

    /// The same with the TLS of somebody who knows the other side better.
    pub(crate) fn over(tls: ClientConfig, origin: &Url) -> Result<Self, Trouble> {
        // Nothing is sent in early data, which anybody could send once more.
        let mut single = tls;
        single.enable_early_data = false;
        let mut pooled = single.clone();
        single.alpn_protocols = vec![b"http/1.1".to_vec()];
        pooled.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let proxy = match is_loopback(origin) {
            true => Proxy::Never,
            false => Proxy::AsTheMachineHasIt,
        };
        let reads = base(&pooled, proxy)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_LIMIT)
            .build()
            .map_err(Trouble::Client)?;
        Ok(Self {
            reads,
            single,
            proxy,
        })
    }

    /// Reads.
    pub(crate) async fn get(
        &self,
        action: &'static str,
        url: Url,
        bearer: Option<&Bearer>,
    ) -> Result<Answer, Trouble> {
        let mut request = self.reads.get(url).header(ACCEPT, "application/json");
        if let Some(bearer) = bearer {
            request = request.header(AUTHORIZATION, bearer.header());
        }
        answered(action, request.send().await, Passage::Through).await
    }

    /// Posts a form; only for what changes no access.
    pub(crate) async fn post_form(
        &self,
        action: &'static str,
        url: Url,
        form: &[(&str, &str)],
    ) -> Result<Answer, Trouble> {
        let request = self.reads.post(url).header(ACCEPT, "application/json");
        let sent = request.form(form).send().await;
        answered(action, sent, Passage::Through).await
    }

    /// Sends a call without a body once, over a connection that is made for it and closed behind it,
    /// if its gate lets it through.
    pub(crate) async fn send_once(
        &self,
        action: &'static str,
        method: Method,
        url: Url,
        bearer: &Bearer,
        gate: &Gate,
    ) -> Result<Answer, Trouble> {
        let client = base(&self.single, self.proxy)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connector_layer(gate.clone())
            .build()
            .map_err(Trouble::Client)?;
        let request = client
            .request(method, url)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, bearer.header())
            // Some servers refuse a PUT that does not say that it has no body.
            .header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let sent = request.send().await;
        answered(action, sent, gate.passage()).await
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
    passage: Passage,
) -> Result<Answer, Trouble> {
    let failed = |error| NotDone::unanswered(action, error, passage);
    let mut response = sent.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(Trouble::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body,
    })
}

/// Whether this address leads to the machine itself.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
