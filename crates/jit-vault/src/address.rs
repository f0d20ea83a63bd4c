//! Where Vault answers. What is asked there is decided elsewhere.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// The address of a Vault: over TLS, or on this machine.
///
/// ```
/// use jit_vault::Address;
/// assert!("https://vault.example.com:8200".parse::<Address>().is_ok());
/// assert!("http://127.0.0.1:8200".parse::<Address>().is_ok());
/// assert!("http://vault.example.com:8200".parse::<Address>().is_err());
/// assert!("https://vault.example.com/v1".parse::<Address>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

/// A text that is not the address of a Vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address of a Vault is https:// and a host, or http:// on a loopback address, with nothing \
     behind it; the API's /v1 is added here"
)]
pub struct BadAddress;

impl Address {
    /// What lies there under `/v1` by these parts; whatever is in a part stays in it.
    pub(crate) fn at<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut()
            .expect("an http address has a path")
            .clear()
            .push("v1")
            .extend(parts);
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
        let url: Url = text.trim().parse().map_err(|_| BadAddress)?;
        let host = url.host_str().ok_or(BadAddress)?;
        let loopback = host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        let is_safe = url.scheme() == "https" || url.scheme() == "http" && loopback;
        let is_bare = url.path() == "/"
            && url.username().is_empty()
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
    /// Without a slash at its end, so that one address is written in one way.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}
