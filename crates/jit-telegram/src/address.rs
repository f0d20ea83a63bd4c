//! Where the Bot API answers. What is called there is decided elsewhere.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// The address of the Bot API: over TLS, or on this machine, where a Bot API server of one's own may
/// run.
///
/// ```
/// use jit_telegram::Address;
/// assert!("https://api.telegram.org".parse::<Address>().is_ok());
/// assert!("http://127.0.0.1:8081".parse::<Address>().is_ok());
/// assert!("http://api.telegram.org".parse::<Address>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

/// A text that is not the address of a Bot API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Bot API is https:// and a host, or http:// on a loopback address, with nothing behind it"
)]
pub struct BadAddress;

impl Address {
    /// Telegram's own: <https://core.telegram.org/bots/api#making-requests>.
    pub fn of_telegram() -> Self {
        "https://api.telegram.org".parse().expect("it is one")
    }

    /// A method of the bot with this token. The token is in the address, which therefore is shown to
    /// nobody.
    pub(crate) fn method(&self, token: &str, method: &str) -> Url {
        let mut url = self.0.clone();
        let folder = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{folder}/bot{token}/{method}"));
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
