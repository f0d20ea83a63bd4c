//! Tokens that self-hosted services make themselves: Grafana, InfluxDB 2 and Home Assistant, a module
//! each. What opens a service's door is kept elsewhere and read through [`Upstream`] when it is
//! needed. The crate's README says what each of them rests on.

#![warn(missing_docs)]

mod grafana;
mod home_assistant;
mod influxdb;
mod service;
mod trouble;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jit_core::catalog::{Entitlement, ProviderName};
use jit_core::ports::{Clock, GrantCall, InspectCall, Minted, PortError, Provisioner, RevokeCall};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Resolved, Target};
use jit_wire::Address;
use secrecy::SecretString;

use grafana::Grafana;
use home_assistant::HomeAssistant;
use influxdb::InfluxDb;
use service::{Minter, Service};
use trouble::Trouble;

/// Where the services' own credentials are kept.
///
/// # Contract
/// The answer holds every field of text that lies at this path. A path where nothing lies is
/// [`ErrorKind::NotFound`](jit_core::ports::ErrorKind::NotFound). A call ends within 10 s.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// What lies at this path, by field.
    async fn fields(&self, path: &str) -> Result<BTreeMap<String, SecretString>, PortError>;
}

/// One service, and where what opens its door is kept.
#[derive(Clone)]
pub struct Settings {
    /// The provider's name in entitlement ids.
    pub provider: ProviderName,
    /// Where the service answers.
    pub address: Address,
    /// Where its credentials are kept, in the words of [`Upstream`].
    pub path: String,
    /// Who keeps them.
    pub upstream: Arc<dyn Upstream>,
    /// The time by which calls are sent or not.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("provider", &self.provider)
            .field("address", &self.address)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Makes tokens of one service. Nothing is sent before something is asked of it.
#[derive(Debug)]
pub struct Tokens(Box<dyn Minter>);

impl Tokens {
    /// Tokens of a Grafana service account. The resource of an entitlement is its number, or
    /// `service_account` for the one that `service_account_id` names beside `jit_admin_token`.
    ///
    /// # Errors
    /// Where the machine's certificates cannot be used.
    pub fn of_grafana(settings: Settings) -> Result<Self, PortError> {
        service("grafana", settings).map(|it| Self(Box::new(Grafana(it))))
    }

    /// Authorizations of InfluxDB 2 that only read, made with `admin_token` in the organization
    /// `org_id`. The resource of an entitlement is `buckets` for all of them, or the ids of some with
    /// commas between them.
    ///
    /// # Errors
    /// Where the machine's certificates cannot be used.
    pub fn of_influxdb(settings: Settings) -> Result<Self, PortError> {
        service("influxdb", settings).map(|it| Self(Box::new(InfluxDb(it))))
    }

    /// Access tokens of Home Assistant, made of `refresh_token` and `client_id`. The resource of an
    /// entitlement is `access_token`.
    ///
    /// # Errors
    /// Where the machine's certificates cannot be used.
    pub fn of_home_assistant(settings: Settings) -> Result<Self, PortError> {
        service("home_assistant", settings).map(|it| Self(Box::new(HomeAssistant(it))))
    }

    fn check(&self, target: &Target) -> Result<(), Trouble> {
        self.0.service().check(target)
    }

    fn told(&self, operation: &'static str) -> impl Fn(Trouble) -> PortError {
        let adapter = self.0.service().word;
        move |trouble| trouble.of(adapter, operation)
    }
}

fn service(word: &'static str, settings: Settings) -> Result<Service, PortError> {
    Service::new(word, settings).map_err(|trouble| trouble.of(word, "be set up"))
}

#[async_trait]
impl Provisioner for Tokens {
    fn describe(&self) -> Description {
        self.0.describe()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let told = self.told("resolve");
        if !parameters.is_empty() {
            return Err(told(Trouble::Parameters));
        }
        let resource = self.0.resource(&entitlement.resource).await.map_err(told)?;
        Ok(self.0.service().target(beneficiary, resource).into())
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        let told = self.told("mint");
        self.check(call.target).map_err(&told)?;
        self.0.make(call).await.map_err(told)
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let told = self.told("revoke");
        self.check(call.target).map_err(&told)?;
        self.0.take(call).await.map_err(told)?;
        Ok(Answer::Applied)
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let told = self.told("inspect");
        self.check(call.target).map_err(&told)?;
        self.0.look(call).await.map_err(told)
    }
}

#[cfg(test)]
mod tests;
