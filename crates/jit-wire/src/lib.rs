//! How bytes go to a service and come back. A call that only reads goes over a pooled connection; one
//! that changes something carries no time of its own in most services, and goes over a connection that
//! is made for it alone, through a [`Gate`] that is checked after connecting and before the first byte
//! (ADR 16). Every call has a deadline and every answer a limit; nothing is sent twice, redirected, or
//! sent in early data. What is asked, and what an answer means, is the adapter's.

#![warn(missing_docs)]

mod address;
mod gate;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use address::{Address, BadAddress, is_loopback};
pub use gate::{Gate, Gated, Passage};
use jit_core::Timestamp;
use reqwest::header::{DATE, HeaderMap};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url, redirect, retry};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use zeroize::Zeroizing;

/// The longest that a connection takes to be made.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest that one call takes, its connection and its answer included.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);
/// For how long the kernel keeps sending what the other side does not acknowledge. Without a limit
/// it is a quarter of an hour on Linux, in which an old call could still arrive.
const UNHEARD_LIMIT: Duration = Duration::from_secs(15);
/// Connections that are kept for reading.
const IDLE_CONNECTIONS: usize = 8;
/// For how long: whoever stands before a server closes what is idle for about a minute, and a call
/// that meets the close is lost.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// The ways to one service.
#[derive(Debug)]
pub struct Wire {
    pooled: Client,
    /// For connections of one call: HTTP/1.1 only.
    single: ClientConfig,
    proxy: Proxy,
}

/// Whether the machine's proxy stands between us and the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proxy {
    AsTheMachineHasIt,
    /// Nothing stands between us and a server on this very machine, and nobody else reads what goes
    /// out in the clear.
    Never,
}

impl Proxy {
    fn towards(origin: &Url) -> Self {
        match origin.scheme() == "http" || is_loopback(origin) {
            true => Self::Never,
            false => Self::AsTheMachineHasIt,
        }
    }
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BadWire {
    /// The machine's certificates cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The rest.
    #[error("an HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

impl Wire {
    /// To the service at this address, trusting whom the machine trusts.
    pub fn new(origin: &Url) -> Result<Self, BadWire> {
        let provider = Arc::new(ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(BuilderVerifierExt::with_platform_verifier)
            .map_err(BadWire::Tls)?;
        Self::over(tls.with_no_client_auth(), origin)
    }

    /// The same with the TLS of somebody who knows the other side better.
    pub fn over(tls: ClientConfig, origin: &Url) -> Result<Self, BadWire> {
        // Nothing is sent in early data, which anybody could send once more.
        let mut single = tls;
        single.enable_early_data = false;
        let mut pooled = single.clone();
        single.alpn_protocols = vec![b"http/1.1".to_vec()];
        pooled.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let proxy = Proxy::towards(origin);
        let pooled = base(&pooled, proxy)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_LIMIT)
            .build()
            .map_err(BadWire::Client)?;
        Ok(Self {
            pooled,
            single,
            proxy,
        })
    }

    /// For calls that change no access.
    pub fn pooled(&self) -> &Client {
        &self.pooled
    }

    /// For one call, over a connection that is made for it and closed behind it, if its gate lets it
    /// through.
    pub fn once(&self, gate: &Gate) -> Result<Client, BadWire> {
        base(&self.single, self.proxy)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connector_layer(gate.clone())
            .build()
            .map_err(BadWire::Client)
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

/// An answer that came in full. Its bytes are overwritten when it is dropped.
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// An answer that did not come in full.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The call broke off. The address is not part of it: it may hold a secret.
    #[error("there was no answer")]
    Broken(#[source] reqwest::Error),
    /// The answer is longer than anything that was asked for.
    #[error("the answer is too long")]
    TooLong,
}

/// Reads an answer to its end, and no further than so many bytes.
pub async fn whole(
    sent: Result<Response, reqwest::Error>,
    limit: usize,
) -> Result<Answer, NoAnswer> {
    let broken = |error: reqwest::Error| NoAnswer::Broken(error.without_url());
    let mut response = sent.map_err(broken)?;
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > limit {
            return Err(NoAnswer::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body,
    })
}

/// `Thu, 26 Nov 2026 05:17:52 GMT`, the form that everybody has to send (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'static>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// The second that the clock of the other side showed, where its answer says so.
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = PrimitiveDateTime::parse(text, HTTP_DATE).ok()?;
    Some(Timestamp::from(date.assume_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_and_what_is_none_is_left() {
        let of = |text: &'static str| {
            let text = reqwest::header::HeaderValue::from_static(text);
            date(&HeaderMap::from_iter([(DATE, text)]))
        };
        let at = Timestamp::from_unix_micros(1_800_000_000_000_000);
        assert_eq!(of("Fri, 15 Jan 2027 08:00:00 GMT"), Some(at));
        for text in [
            "yesterday",
            "",
            "Fri, 15 Jan 2027 08:00:00 CET",
            "15 Jan 2027",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(date(&HeaderMap::new()), None);
    }

    #[test]
    fn what_goes_out_in_the_clear_goes_through_no_proxy() {
        for (origin, proxy) in [
            ("https://vault.example.com", Proxy::AsTheMachineHasIt),
            ("https://127.0.0.1:8200", Proxy::Never),
            ("http://127.0.0.1:8200", Proxy::Never),
            ("http://grafana.home.lan:3000", Proxy::Never),
        ] {
            assert_eq!(Proxy::towards(&origin.parse().unwrap()), proxy, "{origin}");
        }
    }
}
