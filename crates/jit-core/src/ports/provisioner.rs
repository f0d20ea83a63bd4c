//! The port to a system that gives access.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use super::{ErrorKind, PortError};
use crate::catalog::Entitlement;
use crate::principal::Profile;
use crate::provider::{
    Answer, Description, Handle, Parameters, Presence, Resolved, SlotKey, Target,
};
use crate::request::RequestId;
use crate::time::Timestamp;

/// A grant or mint call.
#[derive(Debug, Clone)]
pub struct GrantCall<'a> {
    /// For which request: the marker of a minted credential, the note of a standing one.
    pub request: RequestId,
    /// To whom and what.
    pub target: &'a Target,
    /// With which parameters.
    pub parameters: &'a Parameters,
    /// What the catalogue has the provider fill the parameters into, now.
    pub template: Option<&'a str>,
    /// When the access ends; set at the provider where it can expire by itself.
    pub expires_at: Timestamp,
    /// The call may be transmitted only while `now < send_before`.
    pub send_before: Timestamp,
}

/// A revoke call.
#[derive(Debug, Clone)]
pub struct RevokeCall<'a> {
    /// Of which request.
    pub request: RequestId,
    /// From whom and what.
    pub target: &'a Target,
    /// With which parameters it was granted.
    pub parameters: &'a Parameters,
    /// The name of the credential, where one is known.
    pub handle: Option<&'a Handle>,
    /// The call may be transmitted only while `now < send_before`.
    pub send_before: Timestamp,
}

/// What a look at the provider is for. Ends have three quarters of every quota for themselves, and
/// an absence that ends a grant must outlive a power failure of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It serves a grant.
    Give,
    /// It serves an end.
    TakeAway,
}

/// A look at the provider.
#[derive(Debug, Clone)]
pub struct InspectCall<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// Of which request: the marker of a minted credential.
    pub request: RequestId,
    /// Whom and what.
    pub target: &'a Target,
    /// With which parameters it was granted.
    pub parameters: &'a Parameters,
    /// The name of the credential, where one is known.
    pub handle: Option<&'a Handle>,
    /// Until when the access was given at the provider; a grant that is ended early is judged by
    /// this all the same.
    pub expires_at: Timestamp,
    /// The latest that any grant call may have been sent; none where none was.
    pub send_before: Option<Timestamp>,
}

/// A credential that was made.
pub struct Minted {
    /// The secret itself. It is returned to the asker in this very reply and kept nowhere.
    pub secret: Credential,
    /// The provider's name for it.
    pub handle: Option<Handle>,
    /// When the provider itself ends it, where it says so.
    pub ends_at: Option<Timestamp>,
    /// What else whoever collects it may want to know, by name: what it is, how to use it. Nothing of
    /// it is secret, and nothing of it is kept.
    pub notes: BTreeMap<&'static str, String>,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// A secret on its way to the asker. It cannot be printed, cloned, compared or serialised, and its
/// bytes are overwritten when it is dropped.
pub struct Credential(zeroize::Zeroizing<String>);

impl Credential {
    /// Wraps a secret.
    pub fn new(secret: String) -> Self {
        Self(zeroize::Zeroizing::new(secret))
    }

    /// The secret, for the reply to its asker and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(hidden)")
    }
}

/// One access that stands at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whom and what.
    pub target: Target,
    /// The slot that the thing itself names, where it does. What has parameters is known by nothing
    /// else; of a thing that names none, the engine thinks of every slot that the target may have.
    pub slot: Option<SlotKey>,
}

impl From<Target> for Standing {
    /// A thing that names no slot.
    fn from(target: Target) -> Self {
        Self { target, slot: None }
    }
}

/// One page of a listing.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; none at the end.
    pub next: Option<String>,
}

/// One thing that a provider can give, found by asking the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What stands behind the provider's name and a slash in the entitlement's id.
    pub name: String,
    /// The resource of the entitlement.
    pub resource: String,
    /// One line for people.
    pub title: String,
}

/// Gives access and takes it away, in one system.
///
/// # Contract
/// - `resolve` gives the same target for the same facts; two names for one thing give equal
///   targets.
/// - `grant` and `revoke` are idempotent: granting what is there and revoking what is not succeed.
///   Where the provider ends access at exactly `expires_at`, granting what is there moves its end to
///   that of the call; what is over is given again.
/// - A revoke touches nobody else's access.
/// - `grant`, `mint` and `revoke` transmit at most once and only while `now < send_before`, checked
///   after the call is signed, or, where a call carries no time, after its own connection is made.
///   Past it they fail with [`ErrorKind::Unavailable`] and [`Effect::None`](super::Effect::None).
/// - An error says [`Effect::None`](super::Effect::None) only where the provider did nothing for certain.
/// - `inspect` sees every effect of a call that was answered [`Answer::Applied`]. It answers
///   `Absent` only where nothing visible is being applied.
/// - `revoke` is not called where `describe` says that nothing can be revoked. Of a minted
///   credential that has no handle and cannot be listed it answers [`ErrorKind::NotFound`].
/// - `inspect` without a `send_before` is of a request whose call was never sent.
/// - A target of another realm than `resolve` gives is a record of another system: `grant`, `mint`,
///   `revoke` and `inspect` refuse it with [`ErrorKind::Misconfigured`] and touch nothing.
/// - [`Effect`](super::Effect) has no meaning for `resolve`, `inspect` and `standing`, which only read.
/// - A slot that `standing` tells is the one under which the access was granted.
/// - Every call ends within 15 s, by its own deadline.
/// - Dropping a call at any await is the same as a crash there: it may or may not have happened.
#[async_trait]
pub trait Provisioner: Send + Sync {
    /// What this provider is like. Constant while the process runs.
    fn describe(&self) -> Description;

    /// Turns a person and an entitlement into the provider's own ids. Refuses, with
    /// [`ErrorKind::Misconfigured`] or [`ErrorKind::NotFound`], what can never be granted.
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError>;

    /// Gives standing access. A provider of the other kind leaves this out.
    async fn grant(&self, _call: GrantCall<'_>) -> Result<Answer, PortError> {
        Err(not_of_this_kind("grant"))
    }

    /// Makes a credential, marked with the request id. A provider of the other kind leaves this
    /// out.
    async fn mint(&self, _call: GrantCall<'_>) -> Result<Minted, PortError> {
        Err(not_of_this_kind("mint"))
    }

    /// Takes access away.
    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError>;

    /// Reads the provider back.
    ///
    /// Standing access that the provider ends by itself is better told apart. For a grant that may
    /// have been sent it is `Present` where it is of this very request and ends no later than
    /// `expires_at`: what an earlier request left is no answer to a call that was lost. For one that
    /// was never sent it is `Present` where anything is there that is not over. For an end it may be
    /// `Present` also where it is over, so that it is cleared away.
    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError>;

    /// The resource that an entitlement leads to, as targets name it; none where there is no such
    /// thing. A provider whose targets have the entitlement's own resource leaves this out.
    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        Ok(Some(entitlement.resource.clone()))
    }

    /// Lists who has a resource, page by page. A provider of credentials leaves this out.
    async fn standing(
        &self,
        _resource: &str,
        _page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        Err(not_of_this_kind("list"))
    }

    /// Everything that it can give, where it can tell; a provider whose entitlements are written
    /// down by people leaves this out. May take minutes; each call behind it has its own deadline.
    async fn offers(&self) -> Result<Vec<Offer>, PortError> {
        Err(not_of_this_kind("list what it offers"))
    }
}

fn not_of_this_kind(operation: &'static str) -> PortError {
    PortError::nothing_done("provider", operation, ErrorKind::Misconfigured)
        .because("a provider of this kind does not do that")
}
