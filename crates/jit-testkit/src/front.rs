//! A provisioner that stands in front of another one, for tests that meddle with one call.

use async_trait::async_trait;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    GrantCall, InspectCall, Minted, Offer, Page, PortError, Provisioner, RevokeCall, Standing,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Resolved};

/// What a test does at some calls. Each method's default hands the call to the one behind.
#[async_trait]
pub trait Meddle: Send + Sync {
    /// The one behind.
    fn behind(&self) -> &dyn Provisioner;

    /// As [`Provisioner::describe`].
    fn describe(&self) -> Description {
        self.behind().describe()
    }

    /// As [`Provisioner::resolve`].
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let behind = self.behind();
        behind.resolve(beneficiary, entitlement, parameters).await
    }

    /// As [`Provisioner::grant`].
    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.behind().grant(call).await
    }

    /// As [`Provisioner::mint`].
    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        self.behind().mint(call).await
    }

    /// As [`Provisioner::revoke`].
    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.behind().revoke(call).await
    }

    /// As [`Provisioner::inspect`].
    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.behind().inspect(call).await
    }

    /// As [`Provisioner::resource`].
    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        self.behind().resource(entitlement).await
    }

    /// As [`Provisioner::offers`].
    async fn offers(&self) -> Result<Vec<Offer>, PortError> {
        self.behind().offers().await
    }
}

/// A provisioner that meddles.
#[derive(Debug)]
pub struct Front<M>(pub M);

#[async_trait]
impl<M: Meddle> Provisioner for Front<M> {
    fn describe(&self) -> Description {
        self.0.describe()
    }
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        self.0.resolve(beneficiary, entitlement, parameters).await
    }
    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.0.grant(call).await
    }
    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        self.0.mint(call).await
    }
    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.0.revoke(call).await
    }
    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.0.inspect(call).await
    }
    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        self.0.resource(entitlement).await
    }
    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        self.0.behind().standing(resource, page).await
    }
    async fn offers(&self) -> Result<Vec<Offer>, PortError> {
        self.0.offers().await
    }
}
