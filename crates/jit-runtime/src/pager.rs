//! Waking somebody up: a line in the log at ERROR, a metric, and whoever else takes alarms, such as a
//! webhook. None of them depends on a chat.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jit_core::ports::{Alarm, ErrorKind, Pager, PortError};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::observe;

/// How long a webhook may take to answer.
pub const WEBHOOK_DEADLINE: Duration = Duration::from_secs(10);

/// The address of a webhook. It may hold a secret, so it cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// A text that is not the address of a webhook. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhookUrl {
    /// Not a URL with a host.
    #[error("write the address of the webhook as https://host/path")]
    Form,
    /// Alarms would cross the network in the clear.
    #[error("write https:// instead of http://, which is for loopback addresses only")]
    Clear,
    /// A name or a password stands before the host.
    #[error(
        "write it without a name or a password before the host; a bearer token goes into \
         JIT_PAGER_TOKEN"
    )]
    Password,
}

impl FromStr for WebhookUrl {
    type Err = BadWebhookUrl;
    fn from_str(text: &str) -> Result<Self, BadWebhookUrl> {
        let url: Url = text.parse().map_err(|_| BadWebhookUrl::Form)?;
        let host = url.host_str().ok_or(BadWebhookUrl::Form)?;
        let loopback = host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(BadWebhookUrl::Clear),
            _ => return Err(BadWebhookUrl::Form),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadWebhookUrl::Password);
        }
        Ok(Self(url))
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl(hidden)")
    }
}

/// How many alarms that only some have taken are remembered.
const HALFWAY_LIMIT: usize = 1_000;

/// Every way to wake somebody up: the log line and the metric always, and each of these.
///
/// An alarm is handed over once each of them has taken it. One that has is not called again while
/// another is, unless this process dies meanwhile.
pub struct Pagers {
    outlets: Vec<Arc<dyn Pager>>,
    /// Alarms that some have taken, with their places.
    halfway: Mutex<VecDeque<(Alarm, BTreeSet<usize>)>>,
}

impl fmt::Debug for Pagers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pagers")
            .field("outlets", &self.outlets.len())
            .finish_non_exhaustive()
    }
}

impl Pagers {
    /// The log line, the metric, and these.
    pub fn new(outlets: Vec<Arc<dyn Pager>>) -> Self {
        Self {
            outlets,
            halfway: Mutex::default(),
        }
    }

    /// Takes out who has taken this alarm already.
    fn take_halfway(&self, alarm: &Alarm) -> BTreeSet<usize> {
        let mut halfway = self.halfway.lock().unwrap_or_else(PoisonError::into_inner);
        let place = halfway.iter().position(|(it, _)| it == alarm);
        let found = place.and_then(|place| halfway.remove(place));
        found.map(|(_, taken)| taken).unwrap_or_default()
    }

    fn remember(&self, alarm: &Alarm, taken: BTreeSet<usize>) {
        let mut halfway = self.halfway.lock().unwrap_or_else(PoisonError::into_inner);
        if halfway.len() >= HALFWAY_LIMIT {
            halfway.pop_front();
        }
        halfway.push_back((alarm.clone(), taken));
    }
}

#[async_trait]
impl Pager for Pagers {
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError> {
        tracing::error!(
            request.id = alarm.request.map(tracing::field::display),
            raised_at = %alarm.at,
            summary = %alarm.summary,
            "somebody must look at this now"
        );
        metrics::counter!(observe::PAGES).increment(1);
        let mut taken = self.take_halfway(alarm);
        let others = self.outlets.iter().enumerate();
        let others = others.filter(|(place, _)| !taken.contains(place));
        let calls = others.map(|(place, outlet)| async move { (place, outlet.page(alarm).await) });
        let mut failed = None;
        for (place, said) in join_all(calls).await {
            match (said, &failed) {
                (Ok(()), _) => drop(taken.insert(place)),
                (Err(error), None) => failed = Some(error),
                // Whoever called hears of one failure only.
                (Err(error), Some(_)) => {
                    tracing::warn!(error = %error.chain(), "an alarm was not taken here either");
                }
            }
        }
        match failed {
            None => Ok(()),
            Some(error) => {
                self.remember(alarm, taken);
                Err(error)
            }
        }
    }
}

/// Sends each alarm as JSON to one address.
///
/// The body is an [`Alarm`]: `request` (an id or null), `summary` (one sentence), `at` (RFC 3339).
/// Any 2xx answer means that it was taken; a redirect is not followed and means that it was not.
pub struct WebhookPager {
    client: reqwest::Client,
    url: WebhookUrl,
    token: Option<SecretString>,
}

/// Why a webhook did not take an alarm. Never names the address, which may hold a secret.
#[derive(Debug, thiserror::Error)]
enum WebhookError {
    #[error("the webhook answered {0}")]
    Status(StatusCode),
    #[error("the webhook did not answer in time")]
    Timeout,
    #[error("the webhook cannot be reached")]
    Connect(#[source] reqwest::Error),
    #[error("the call to the webhook broke")]
    Broken(#[source] reqwest::Error),
    #[error("no HTTPS client can be made")]
    Client(#[source] reqwest::Error),
}

impl WebhookPager {
    /// A pager for this address; the token travels as `Authorization: Bearer`.
    ///
    /// Fails where no HTTPS client can be made, for example for want of root certificates.
    pub fn new(url: WebhookUrl, token: Option<SecretString>) -> Result<Self, PortError> {
        Self::with_deadline(url, token, WEBHOOK_DEADLINE)
    }

    fn with_deadline(
        url: WebhookUrl,
        token: Option<SecretString>,
        deadline: Duration,
    ) -> Result<Self, PortError> {
        // An error says that a provider is installed already, which is just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(deadline)
            .redirect(reqwest::redirect::Policy::none());
        let client = match url.0.scheme() {
            // What goes to loopback in the clear stays on this machine.
            "http" => client.no_proxy(),
            _ => client,
        };
        let client = client
            .build()
            .map_err(|error| WebhookError::Client(error.without_url()))?;
        Ok(Self { client, url, token })
    }
}

impl WebhookPager {
    /// Whether somebody answers at the webhook's host. Neither its path nor the token is sent, and
    /// nobody is woken up.
    pub(crate) async fn is_there(&self) -> Result<(), PortError> {
        let mut host = self.url.0.clone();
        host.set_path("/");
        host.set_query(None);
        host.set_fragment(None);
        let answer = self.client.head(host).send().await;
        answer.map(drop).map_err(|error| {
            let error = WebhookError::from(error);
            PortError::nothing_done("webhook", "be reached", ErrorKind::Unavailable).because(error)
        })
    }
}

impl fmt::Debug for WebhookPager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookPager").finish_non_exhaustive()
    }
}

#[async_trait]
impl Pager for WebhookPager {
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError> {
        let mut call = self.client.post(self.url.0.clone()).json(alarm);
        if let Some(token) = &self.token {
            call = call.bearer_auth(token.expose_secret());
        }
        let answer = call.send().await.map_err(WebhookError::from)?;
        match answer.status() {
            taken if taken.is_success() => Ok(()),
            status => Err(WebhookError::Status(status).into()),
        }
    }
}

impl From<reqwest::Error> for WebhookError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::Connect(error)
        } else {
            Self::Broken(error)
        }
    }
}

impl From<WebhookError> for PortError {
    fn from(error: WebhookError) -> Self {
        let (adapter, operation) = ("webhook", "page");
        match &error {
            WebhookError::Connect(_) => {
                Self::nothing_done(adapter, operation, ErrorKind::Unavailable)
            }
            WebhookError::Client(_) => {
                Self::nothing_done(adapter, operation, ErrorKind::Misconfigured)
            }
            WebhookError::Timeout | WebhookError::Broken(_) => {
                Self::maybe_done(adapter, operation, ErrorKind::Unavailable)
            }
            WebhookError::Status(status) => {
                let kind = match *status {
                    StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited {
                        retry_after_ms: None,
                    },
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Forbidden,
                    StatusCode::REQUEST_TIMEOUT => ErrorKind::Unavailable,
                    other if other.is_server_error() => ErrorKind::Unavailable,
                    _ => ErrorKind::Misconfigured,
                };
                Self::maybe_done(adapter, operation, kind)
            }
        }
        .because(error)
    }
}

#[cfg(test)]
mod tests;
