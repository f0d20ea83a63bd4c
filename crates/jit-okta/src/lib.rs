//! Gives access by membership in groups of an Okta organization, and finds people, their groups and
//! their managers there. The README beside it says how it is set up and what of Okta it rests on.
//!
//! A provider's own words (user, login, SSWS) stay inside this crate. Nothing here decides who may
//! have what.

#![warn(missing_docs)]

mod answer;
mod budget;
mod client;
mod directory;
mod groups;
mod memory;
mod pages;
mod shapes;
mod token;
mod trouble;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use jit_core::catalog::ProviderName;
use jit_core::ports::{Clock, PortError, Random};
use jit_wire::{Wire, is_loopback};
use reqwest::Url;

use budget::Budget;
use token::Tokens;
use trouble::Trouble;

pub use budget::Limits;
pub use client::Okta;
pub use directory::{DirectorySettings, OktaDirectory};
pub use groups::OktaGroups;
pub use token::Auth;

/// How long sessions of an application live on where nobody says it.
const RESIDUAL: Duration = Duration::from_secs(12 * 3_600);

/// Which organization, and how it is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name that this provider is configured under.
    pub provider: ProviderName,
    /// `https://example.okta.com`, without a path; plain `http` only to this machine itself, for
    /// tests.
    pub org_url: String,
    /// How this service proves who it is.
    pub auth: Auth,
    /// The longest that what a group opens may stay open after somebody left it: the sessions of the
    /// applications behind it. 12 h where it is not set.
    pub residual: Duration,
    /// How much of the organization is used at once.
    pub limits: Limits,
}

impl Settings {
    /// The organization at this address, all else by default.
    pub fn new(provider: ProviderName, org_url: impl Into<String>, auth: Auth) -> Self {
        Self {
            provider,
            org_url: org_url.into(),
            auth,
            residual: RESIDUAL,
            limits: Limits::default(),
        }
    }

    /// The address as it was meant, if it can be one.
    fn origin(&self) -> Result<Url, Trouble> {
        let say = "the address of the organization is not like `https://example.okta.com`: https, a \
                   host, nothing behind it";
        let url = Url::parse(self.org_url.trim()).map_err(|_| Trouble::BadSettings(say))?;
        let is_safe = match url.scheme() {
            "https" => true,
            "http" => is_loopback(&url),
            _ => false,
        };
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && url.host_str().is_some();
        match is_safe && is_bare {
            true => Ok(url),
            false => Err(Trouble::BadSettings(say)),
        }
    }
}

impl Okta {
    /// A client of this organization. Nothing is sent yet. Make one for an organization and process,
    /// and everything that uses it from that one: they share its quota and its token.
    ///
    /// # Errors
    /// [`Misconfigured`](jit_core::ports::ErrorKind::Misconfigured) where the settings cannot be
    /// right, or where this machine has no certificates to know Okta by.
    pub fn connect(
        settings: Settings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Arc<Self>, PortError> {
        let made = Self::made(settings, clock, random);
        made.map(Arc::new)
            .map_err(|trouble| trouble.during("connect"))
    }

    fn made(
        settings: Settings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, Trouble> {
        let origin = settings.origin()?;
        let wire = Wire::new(&origin).map_err(Trouble::Wire)?;
        let mut token_url = origin.clone();
        token_url.set_path("/oauth2/v1/token");
        Ok(Self {
            tokens: Tokens::new(settings.auth, token_url, random)?,
            budget: Budget::new(settings.limits, Arc::clone(&clock)),
            provider: settings.provider,
            residual: settings.residual,
            organization: std::sync::OnceLock::new(),
            origin,
            wire,
            clock,
        })
    }
}

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
