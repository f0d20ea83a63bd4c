//! Access in one AWS account by policies that end by themselves: a temporary inline policy on the
//! role or user that somebody has already ([`TemporaryPolicy`]), or a session of a role that is made
//! for them ([`AssumedRole`]). Both are filled from one [`Template`]. The README beside this says how
//! it is set up and what of AWS it rests on.
//!
//! A provider's own words (role, policy, statement, session) stay inside this crate. Nothing here
//! decides who may have what.
//!
//! # Why a temporary policy is right
//!
//! *It ends by itself.* Every statement carries `DateLessThan aws:CurrentTime`, the end of its grant
//! rounded down to a second, so access is over at the end whether or not anybody deletes it. Deleting
//! is for tidiness and for ends that come early.
//!
//! *One slot, one name.* The policy's name is that of the slot, so all owners of a slot write to one
//! place, and whoever looks for drift knows what it is whatever somebody made of the policy itself. A hand-over is one `PutRolePolicy`, which replaces the policy as a whole: there is no
//! moment in between with none, and none with two.
//!
//! *Whose it is* stands in it: each `Sid` names the request. What [`inspect`] says depends on what is
//! asked:
//! - *For an end* the access is there wherever a policy of that name is, whosever it is and whether or
//!   not its end has come: what a record leaves behind must be nothing. Settling looks the same way,
//!   so a late call of any earlier owner that lands within W is seen and taken away.
//! - *For a grant whose time has not come* it is there only where the policy is this request's and
//!   ends no later than the grant was told. After a hand-over whose answer was lost, the earlier
//!   owner's policy is still there: taken for ours, somebody would be told of an end that AWS does not
//!   know, so it is `Absent`, and the same call is made again. After a hand-over a late call of the
//!   earlier owner may put its policy back over ours: that one ends earlier than ours, so nobody has
//!   access longer than granted, and the look that the lifecycle owes after a hand-over finds ours
//!   gone, ends the grant, and tells its person. "No later", and not "exactly", because what a record
//!   was told until is the latest of all owners of its slot.
//! - *For a request of which no call was sent, and for one whose time is over* (opening, the lease,
//!   and the search for drift), any policy of that name that still gives something is there: it stands
//!   without an owner, is never adopted, and is found as drift. One whose end has come gives nothing.
//!
//! *IAM is eventually consistent*, so `grant` and `revoke` answer `Accepted`, nothing that is being
//! applied can be seen, and a record settles for V + A. An absence is believed only of credentials
//! that are of the configured account.
//!
//! [`inspect`]: jit_core::ports::Provisioner::inspect

#![warn(missing_docs)]

mod account;
mod owner;
mod permissions;
mod policy;
mod session;
mod template;
mod trouble;
mod trust;

use std::time::Duration;

use jit_aws::Place;
use jit_core::catalog::ProviderName;

use trouble::Trouble;

pub use jit_aws::{Budget, Limits};
pub use permissions::{LIST_ACTIONS, MINT_ACTIONS, POLICY_ACTIONS};
pub use policy::TemporaryPolicy;
pub use session::AssumedRole;
pub use template::{BadParameters, BadTemplate, Template};

/// Every call of the port ends by this; the contract allows 15 s.
const CALL_LIMIT: Duration = Duration::from_secs(14);
/// The longest session that there is ("AssumeRole", STS API Reference).
const SESSION_LIMIT: Duration = Duration::from_secs(12 * 3_600);
/// The shortest (the same page). The end of access is in the session's policy, and may come before.
const SESSION_LEAST: Duration = Duration::from_secs(900);
/// How long a session goes on that a session opened: "role chaining", which AWS holds to an hour ("Roles
/// terms and concepts", IAM User Guide). It was opened within the grant and knows nothing of its end.
const CHAINED: Duration = Duration::from_secs(3_600);

/// Whether people are known by what their sessions are called, on a role that many have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionNames {
    /// Where the role's trust policy leaves one name to each who may assume it. By any other nobody is
    /// given anything.
    #[default]
    Bound,
    /// By every role, because something else that cannot be seen there holds people to their names.
    Trusted,
}

/// Which account, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name that this provider is configured under.
    pub provider: ProviderName,
    /// Twelve digits: the account, which is the realm of every target. The credentials are of it.
    pub account_id: String,
    /// For [`TemporaryPolicy`]: the role that all have who have no subject, each in a session that is
    /// called by their id.
    pub role: Option<String>,
    /// For [`TemporaryPolicy`]: by which roles people are known by their sessions' names.
    pub session_names: SessionNames,
    /// For [`AssumedRole`]: the longest session that is asked for. Where the service itself runs as a
    /// session of a role, AWS gives one hour at most ("role chaining", IAM User Guide).
    pub longest_session: Duration,
    /// Where AWS is, for tests; AWS itself by default.
    pub endpoint_url: Option<String>,
    /// The region of STS. IAM is one for a partition, and is asked in its own.
    pub region: String,
}

impl Settings {
    /// This account, all else by default.
    pub fn new(provider: ProviderName, account_id: impl Into<String>) -> Self {
        Self {
            provider,
            account_id: account_id.into(),
            role: None,
            session_names: SessionNames::Bound,
            longest_session: SESSION_LIMIT,
            endpoint_url: None,
            region: "us-east-1".to_owned(),
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        let digits = self.account_id.bytes();
        if self.account_id.len() != 12 || !digits.into_iter().all(|it| it.is_ascii_digit()) {
            return Err(Trouble::BadSettings(
                "the account's id is not of twelve digits",
            ));
        }
        if self.role.as_ref().is_some_and(|role| !owner::is_name(role)) {
            return Err(Trouble::BadSettings("the role is not the name of a role"));
        }
        if self.region.is_empty() {
            return Err(Trouble::BadSettings("the region is empty"));
        }
        if !(SESSION_LEAST..=SESSION_LIMIT).contains(&self.longest_session) {
            return Err(Trouble::BadSettings(
                "a session lasts from 15 minutes to 12 hours",
            ));
        }
        Ok(())
    }

    fn place(&self) -> Place {
        Place {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
        }
    }

    /// The partition that a region is of, and the region that IAM is signed for there ("AWS Identity
    /// and Access Management endpoints and quotas", AWS General Reference).
    fn partition(&self) -> (&'static str, &'static str) {
        match self.region.as_str() {
            region if region.starts_with("us-gov-") => ("aws-us-gov", "us-gov-west-1"),
            region if region.starts_with("cn-") => ("aws-cn", "cn-north-1"),
            _ => ("aws", "us-east-1"),
        }
    }

    /// `arn:aws:iam::111122223333`.
    fn account_arn(&self, service: &str) -> String {
        let (partition, _) = self.partition();
        format!("arn:{partition}:{service}::{}", self.account_id)
    }
}

/// How much may be asked of IAM and STS. AWS says no rate for IAM's calls, so this is one that few
/// accounts would notice; make one [`Budget`] of it for an account and process.
pub fn limits() -> Limits {
    Limits {
        calls_per_second: 15,
        ..Limits::default()
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
