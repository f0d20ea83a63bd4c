//! Where the Bot API answers. What is called there is decided elsewhere.

use std::fmt;
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
pub struct Address(jit_wire::Address);

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
        self.0.at([format!("bot{token}").as_str(), method])
    }

    /// The address itself.
    pub(crate) fn url(&self) -> &Url {
        self.0.url()
    }
}

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        text.parse().map(Self).map_err(|_| BadAddress)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
