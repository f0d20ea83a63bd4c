//! Gives access by tokens that HashiCorp Vault makes, each with its own policies and its own end, and
//! reads secrets there for others. The README beside it says how it is set up and what of Vault it
//! rests on.
//!
//! A provider's own words (policy, AppRole, accessor, wrapping) stay inside this crate. Nothing here
//! decides who may have what.

#![warn(missing_docs)]

mod client;
mod login;
mod resource;
mod shapes;
mod tokens;
mod trouble;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use jit_core::catalog::ProviderName;
use jit_core::ports::{Clock, PortError};
use secrecy::SecretString;

use login::Login;
use resource::is_path;
use trouble::{Operation, Trouble};
use wire::Wire;

pub use client::{Health, Vault};
pub use jit_wire::{Address, BadAddress};
pub use tokens::VaultTokens;

/// The longest namespace or mount.
const PATH_LIMIT: usize = 256;

/// Which Vault, and how it is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name that this provider is configured under.
    pub provider: ProviderName,
    /// Where it answers.
    pub address: Address,
    /// In which namespace, for an Enterprise or HCP Vault.
    /// Source: <https://developer.hashicorp.com/vault/docs/enterprise/namespaces>
    pub namespace: Option<String>,
    /// Where the AppRole auth method is mounted: `approle` unless somebody chose otherwise.
    /// Source: <https://developer.hashicorp.com/vault/api-docs/auth/approle>
    pub approle_mount: String,
    /// The application that this service is.
    pub role_id: SecretString,
    /// How it proves that.
    pub secret_id: SecretId,
    /// How often a token that is given out can be used; without, any number of times.
    pub num_uses: Option<u32>,
    /// Where it is set, whoever asked gets a wrapping token that is good once and so long, and finds
    /// their token in it. It is never good for longer than that token. Whole seconds count.
    /// Source: <https://developer.hashicorp.com/vault/docs/concepts/response-wrapping>
    pub wrap_ttl: Option<Duration>,
}

/// How this service proves which application it is.
#[derive(Debug, Clone)]
pub enum SecretId {
    /// The secret id itself.
    Plain(SecretString),
    /// A wrapping token with the secret id in it. It is unwrapped once, at the first login, and what
    /// was in it is kept in memory only.
    Wrapped(SecretString),
}

impl Settings {
    /// This Vault with this application, all else as usual.
    pub fn new(
        provider: ProviderName,
        address: Address,
        role_id: SecretString,
        secret_id: SecretId,
    ) -> Self {
        Self {
            provider,
            address,
            namespace: None,
            approle_mount: "approle".to_owned(),
            role_id,
            secret_id,
            num_uses: None,
            wrap_ttl: None,
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        if self.address.url().path() != "/" {
            return Err(Trouble::BadSettings(
                "the address of a Vault has nothing behind its host; the API's /v1 is added here",
            ));
        }
        let mount = self.approle_mount.as_str();
        if !is_path(mount) || mount.len() > PATH_LIMIT {
            return Err(Trouble::BadSettings(
                "the mount of AppRole is not a path such as `approle`",
            ));
        }
        let is_namespace = |it: &String| is_path(it) && it.len() <= PATH_LIMIT;
        if !self.namespace.as_ref().is_none_or(is_namespace) {
            let say = "the namespace is not a path such as `team-a`, without slashes at its ends";
            return Err(Trouble::BadSettings(say));
        }
        if self.num_uses == Some(0) {
            return Err(Trouble::BadSettings(
                "a token that can be used 0 times is of no use",
            ));
        }
        let is_second = |it: Duration| it >= Duration::from_secs(1);
        if !self.wrap_ttl.is_none_or(is_second) {
            return Err(Trouble::BadSettings("a wrapping lasts a second or more"));
        }
        Ok(())
    }
}

impl Vault {
    /// A client of this Vault. Nothing is sent yet. Make one for a Vault and process, and everything
    /// that uses it from that one: they share its login.
    ///
    /// # Errors
    /// [`Misconfigured`](jit_core::ports::ErrorKind::Misconfigured) where the settings cannot be
    /// right, or where this machine has no certificates to know Vault by.
    pub fn connect(settings: Settings, clock: Arc<dyn Clock>) -> Result<Arc<Self>, PortError> {
        let made = Self::made(settings, clock);
        made.map(Arc::new)
            .map_err(|trouble| trouble.during(Operation::Connect))
    }

    fn made(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, Trouble> {
        settings.check()?;
        let wire = Arc::new(Wire::new(&settings.address, settings.namespace.as_deref())?);
        let realm = match &settings.namespace {
            Some(namespace) => format!("vault:{}/{namespace}", settings.address),
            None => format!("vault:{}", settings.address),
        };
        Ok(Self {
            login: Login::new(settings.approle_mount, settings.role_id, settings.secret_id)?,
            provider: settings.provider,
            address: settings.address,
            num_uses: settings.num_uses,
            wrap_ttl: settings.wrap_ttl,
            realm,
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
