//! Where PagerDuty answers. What is asked there is decided elsewhere.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// The address of one of PagerDuty's APIs: over TLS, or on this machine.
///
/// ```
/// use jit_pagerduty::Address;
/// assert!("https://api.eu.pagerduty.com".parse::<Address>().is_ok());
/// assert!("http://127.0.0.1:8080/pagerduty".parse::<Address>().is_ok());
/// assert!("http://api.pagerduty.com".parse::<Address>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

/// A text that is not the address of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an API of PagerDuty is https:// and a host, or http:// on a loopback address, with nothing \
     behind it"
)]
pub struct BadAddress;

impl Address {
    /// The REST API of accounts in the United States.
    /// Source: <https://support.pagerduty.com/main/docs/service-regions>
    pub fn of_api() -> Self {
        "https://api.pagerduty.com".parse().expect("it is one")
    }

    /// The Events API of accounts in the United States.
    /// Source: <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>
    pub fn of_events() -> Self {
        "https://events.pagerduty.com".parse().expect("it is one")
    }

    /// What lies there under this path, which begins with a slash.
    pub(crate) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let folder = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{folder}{path}"));
        url
    }

    /// Whether it is plain HTTP, which never leaves this machine.
    pub(crate) fn is_on_this_machine(&self) -> bool {
        self.0.scheme() == "http"
    }
}

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let url: Url = text.parse().map_err(|_| BadAddress)?;
        let host = url.host_str().ok_or(BadAddress)?;
        let loopback = host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        let is_safe = url.scheme() == "https" || url.scheme() == "http" && loopback;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        match is_safe && is_bare {
            true => Ok(Self(url)),
            false => Err(BadAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
