//! Where a service answers that is configured by its address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// The address of a service: over TLS, or on this machine. A path in it stands before every path
/// that is asked for.
///
/// ```
/// use jit_wire::Address;
/// assert!("https://vault.example.com:8200".parse::<Address>().is_ok());
/// assert!("http://127.0.0.1:8200/behind".parse::<Address>().is_ok());
/// assert!("http://vault.example.com".parse::<Address>().is_err());
/// assert!("https://ana:secret@vault.example.com".parse::<Address>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

/// A text that is not the address of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an address is https:// and a host, or http:// on a loopback address, without a user, a query \
     or a fragment"
)]
pub struct BadAddress;

impl Address {
    /// The same without TLS, wherever it leads: for networks that are somebody's own.
    pub fn plain(text: &str) -> Result<Self, BadAddress> {
        let url: Url = text.parse().map_err(|_| BadAddress)?;
        match url.scheme() == "http" && is_bare(&url) {
            true => Ok(Self(url)),
            false => Err(BadAddress),
        }
    }

    /// Whether what is sent there crosses a network as it is.
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http" && !is_loopback(&self.0)
    }

    /// The address itself.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// What lies there under these parts of a path. Whatever is in a part stays in it.
    pub fn at<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut()
            .expect("an http address has a path")
            .pop_if_empty()
            .extend(parts);
        url
    }
}

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let url: Url = text.parse().map_err(|_| BadAddress)?;
        let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
        match is_safe && is_bare(&url) {
            true => Ok(Self(url)),
            false => Err(BadAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Whether an address has nothing but a host and a path.
fn is_bare(url: &Url) -> bool {
    url.host_str().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}

/// Whether an address leads to the machine itself.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_part_of_a_path_stays_there() {
        let address: Address = "https://vault.example.com/behind/".parse().unwrap();
        let at = |parts: &[&str]| address.at(parts.iter().copied()).to_string();
        assert_eq!(
            at(&["v1", "a b"]),
            "https://vault.example.com/behind/v1/a%20b"
        );
        assert_eq!(
            at(&["../x?y"]),
            "https://vault.example.com/behind/..%2Fx%3Fy"
        );
        assert_eq!(address.to_string(), "https://vault.example.com/behind");
    }
}
