//! The request and its whole story as plain data: what was asked, what was decided, and where the
//! grant is. What may happen to it is in [`crate::lifecycle`].

mod grant;
mod id;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use grant::*;
pub use id::*;
use serde::{Deserialize, Serialize};

use crate::audit::ChainHead;
use crate::catalog::EntitlementId;
use crate::digest::{Digest, sha256_json};
use crate::policy::{TierName, Who};
use crate::principal::{BadName, PrincipalId};
use crate::provider::{Description, Parameters, SlotKey, Target};
use crate::time::{Timestamp, Ttl};

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What.
    pub entitlement: EntitlementId,
    /// With which parameters.
    pub parameters: Parameters,
    /// What it is called by its parameters, as the catalogue said when the request was opened. It is
    /// shown beside the parameters and never instead of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The provider's ids for it, resolved when the request was opened.
    pub target: Target,
    /// What the provider declared about itself at that time.
    pub provider: Description,
    /// Where else the credential may come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

/// Another way to the same thing, for a credential: taken only after the provider itself said that
/// it did nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// What is given instead.
    pub entitlement: EntitlementId,
    /// The provider's ids for it, resolved when the request was opened.
    pub target: Target,
    /// What that provider declared about itself at that time.
    pub provider: Description,
}

/// Where access is given: what at which provider.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// What is given there.
    pub entitlement: &'a EntitlementId,
    /// The provider's ids for it.
    pub target: &'a Target,
    /// With which parameters.
    pub parameters: &'a Parameters,
    /// What the provider declared about itself.
    pub provider: &'a Description,
}

impl Part {
    /// For how long access that is asked for so long may go on past its end, whichever way it is
    /// given.
    pub fn lives_on(&self, asked: Duration) -> Duration {
        let own = self.provider.lives_on(asked);
        let fallback = self.fallback.as_ref();
        fallback.map_or(own, |it| own.max(it.provider.lives_on(asked)))
    }

    /// What of the catalogue may be given: what was asked for, and what it falls back to. Whoever asks,
    /// has it or decides must have the right over each.
    pub fn entitlements(&self) -> impl Iterator<Item = &EntitlementId> {
        let fallback = self.fallback.as_ref();
        std::iter::once(&self.entitlement).chain(fallback.map(|it| &it.entitlement))
    }

    fn place(&self, fell_back: bool) -> Place<'_> {
        let parameters = &self.parameters;
        match self.fallback.as_ref().filter(|_| fell_back) {
            Some(fallback) => Place {
                entitlement: &fallback.entitlement,
                target: &fallback.target,
                parameters,
                provider: &fallback.provider,
            },
            None => Place {
                entitlement: &self.entitlement,
                target: &self.target,
                parameters,
                provider: &self.provider,
            },
        }
    }

    /// The slot that this part occupies while it is granted.
    pub fn slot_key(&self) -> SlotKey {
        self.target.slot_key(&self.parameters)
    }
}

/// The most parts that a request may ever have.
pub const PARTS_LIMIT: usize = 8;

/// One to eight parts that share a decision and a clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Part>", into = "Vec<Part>")]
pub struct Parts {
    first: Part,
    rest: Vec<Part>,
}

impl Parts {
    /// The first part; there always is one.
    pub fn first(&self) -> &Part {
        &self.first
    }

    /// Every part, in the order asked for.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

/// No part, or more than [`PARTS_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request has 1 to 8 parts, not {0}")]
pub struct BadParts(usize);

impl TryFrom<Vec<Part>> for Parts {
    type Error = BadParts;
    fn try_from(mut parts: Vec<Part>) -> Result<Self, BadParts> {
        if parts.is_empty() || parts.len() > PARTS_LIMIT {
            return Err(BadParts(parts.len()));
        }
        let rest = parts.split_off(1);
        let first = parts.pop().ok_or(BadParts(0))?;
        Ok(Self { first, rest })
    }
}

impl From<Parts> for Vec<Part> {
    fn from(parts: Parts) -> Self {
        std::iter::once(parts.first).chain(parts.rest).collect()
    }
}

/// The terms of the tier under which a request was opened; they stay with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The tier.
    pub tier: TierName,
    /// Its ceiling.
    pub ttl_max: Ttl,
    /// How many distinct people must approve.
    pub approvals: u8,
    /// The longest that access may linger after the end, in whole seconds.
    pub residual_max_secs: u64,
    /// The digest of the catalogue entry and the tier: the policy that was shown to whoever
    /// decides.
    pub policy: Digest,
}

/// A later step of the ladder of a request: who else may decide from then on, by the rules as they
/// were when it was opened. It says when they are told; whether they may is judged at the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// When it is due.
    pub at: Timestamp,
    /// Who.
    pub to: BTreeSet<Who>,
    /// When it was reached.
    pub reached_at: Option<Timestamp>,
}

/// Who approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approver {
    /// A person, by canonical id.
    Person(PrincipalId),
    /// The tier's automatic quota; nobody looked.
    Automatic,
}

/// One approval that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: Approver,
    /// The shorter time that they chose, if any.
    pub ttl: Option<Ttl>,
    /// When.
    pub at: Timestamp,
}

/// Why a request became invalid before its decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    /// The entitlement, its tier or its target are no longer what was asked for.
    PolicyChanged,
    /// The requester or the beneficiary may no longer have it.
    NoLongerEligible,
    /// Somebody with the right to revoke ended it.
    Revoked,
}

/// How far a request is: undecided, refused in some way, or granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum Stage {
    /// Waiting for its decision.
    Pending,
    /// An approver said no.
    Denied {
        /// Who.
        by: PrincipalId,
        /// Why, in their words.
        reason: Reason,
    },
    /// The requester took it back.
    Withdrawn {
        /// The requester or the beneficiary.
        by: PrincipalId,
    },
    /// Nobody decided in time.
    Lapsed,
    /// What it asked for is no longer what would be given.
    Invalidated {
        /// How so.
        why: Mismatch,
    },
    /// Approved; everything after is the grant's.
    Granted(Box<Grant>),
}

/// One word for how far a request is, for queries and for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "each is the state of lifecycle's diagram by that name"
)]
pub enum Status {
    Pending,
    Denied,
    Withdrawn,
    Lapsed,
    Invalidated,
    Approved,
    Provisioning,
    Active,
    Revoking,
    Settling,
    Closed,
    Cancelled,
}

impl Status {
    /// Every status, in the order of the lifecycle.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Denied,
        Self::Withdrawn,
        Self::Lapsed,
        Self::Invalidated,
        Self::Approved,
        Self::Provisioning,
        Self::Active,
        Self::Revoking,
        Self::Settling,
        Self::Closed,
        Self::Cancelled,
    ];

    /// The word, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
            Self::Invalidated => "invalidated",
            Self::Approved => "approved",
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Revoking => "revoking",
            Self::Settling => "settling",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a grant in this status owns its slot.
    pub fn is_live(self) -> bool {
        matches!(
            self,
            Self::Provisioning | Self::Active | Self::Revoking | Self::Settling
        )
    }

    /// Whether nothing further is owed. A Closed grant may still be re-opened by a late effect.
    pub fn is_over(self) -> bool {
        !self.is_live() && !matches!(self, Self::Pending | Self::Approved)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| {
            let rule = "write one of pending, denied, withdrawn, lapsed, invalidated, approved, \
                        provisioning, active, revoking, settling, closed, cancelled";
            BadName::new("a status", text, rule)
        })
    }
}

/// The newest shape of a stored request that this release reads and writes.
pub const REQUEST_SHAPE: u32 = 1;

/// The ask and its whole story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequest {
    /// The shape of this record as stored.
    pub shape: u32,
    /// Its id.
    pub id: RequestId,
    /// Counts the commits; a commit names the version that it was decided on.
    pub version: u64,
    /// The newest event of its audit chain.
    pub chain: ChainHead,
    /// Who asks, by canonical id.
    pub requester: PrincipalId,
    /// Who gets the access, by canonical id.
    pub beneficiary: PrincipalId,
    /// What is asked for.
    pub parts: Parts,
    /// For how long.
    pub ttl: Ttl,
    /// Why.
    pub reason: Reason,
    /// Under which terms.
    pub terms: Terms,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// It lapses then unless somebody decides.
    pub decide_by: Timestamp,
    /// The later steps of its ladder, from the first to the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<Rung>,
    /// The newest commit.
    pub updated_at: Timestamp,
    /// The approvals that count.
    pub approvals: Vec<Approval>,
    /// How far it is.
    pub stage: Stage,
}

/// A stored record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// A later release wrote it; this one leaves it alone.
    #[error(
        "request record has shape {found}, this release reads up to {REQUEST_SHAPE}; finish the upgrade of this replica"
    )]
    Newer {
        /// Its shape.
        found: u32,
    },
    /// It is damaged.
    #[error("request record is damaged")]
    Damaged(#[source] serde_json::Error),
}

/// The longest explanation of a damaged record, in characters.
const EXPLANATION_LIMIT: usize = 200;

impl ShapeError {
    /// The explanation quotes what stands in the record, which goes to a log: not all of it, and
    /// nothing that moves a cursor.
    fn damaged(error: serde_json::Error) -> Self {
        let text = error.to_string();
        if text.chars().count() <= EXPLANATION_LIMIT && !text.contains(char::is_control) {
            return Self::Damaged(error);
        }
        let letters = text.chars().filter(|letter| !letter.is_control());
        let text: String = letters.take(EXPLANATION_LIMIT).collect();
        Self::Damaged(serde::de::Error::custom(text))
    }
}

impl AccessRequest {
    /// The one status word.
    pub fn status(&self) -> Status {
        match &self.stage {
            Stage::Pending => Status::Pending,
            Stage::Denied { .. } => Status::Denied,
            Stage::Withdrawn { .. } => Status::Withdrawn,
            Stage::Lapsed => Status::Lapsed,
            Stage::Invalidated { .. } => Status::Invalidated,
            Stage::Granted(grant) => match grant.phase {
                Phase::Approved => Status::Approved,
                Phase::Provisioning { .. } => Status::Provisioning,
                Phase::Active => Status::Active,
                Phase::Revoking { .. } => Status::Revoking,
                Phase::Settling { .. } => Status::Settling,
                Phase::Closed { .. } => Status::Closed,
                Phase::Cancelled { .. } => Status::Cancelled,
            },
        }
    }

    /// The grant, once approved.
    pub fn grant(&self) -> Option<&Grant> {
        match &self.stage {
            Stage::Granted(grant) => Some(grant),
            Stage::Pending
            | Stage::Denied { .. }
            | Stage::Withdrawn { .. }
            | Stage::Lapsed
            | Stage::Invalidated { .. } => None,
        }
    }

    /// Where its access is given: as it was asked for, or where it fell back to.
    pub fn place(&self) -> Place<'_> {
        let fell_back = self.grant().is_some_and(|grant| grant.fell_back);
        self.parts.first().place(fell_back)
    }

    /// Where its next call to give access goes. The provider must have said that it did nothing
    /// before that is its fallback, and from then on it stays there.
    pub fn next_place(&self) -> Place<'_> {
        let falls_back = self.grant().is_some_and(|grant| {
            let sent = Sent::Nothing;
            grant.fell_back || grant.phase == Phase::Provisioning { sent }
        });
        self.parts.first().place(falls_back)
    }

    /// What an approval is bound to: SHA-256 over the canonical JSON of requester, beneficiary,
    /// entitlements, resolved targets, parameters, asked TTL, reason and policy digest. The
    /// approvals are not part of it, so a second approver sees the same digest as the first.
    pub fn digest(&self) -> Digest {
        let part = |part: &Part| {
            let asked = (&part.entitlement, &part.target, &part.parameters);
            match &part.fallback {
                Some(fallback) => {
                    let instead = (&fallback.entitlement, &fallback.target);
                    serde_json::json!([asked.0, asked.1, asked.2, instead])
                }
                None => serde_json::json!(asked),
            }
        };
        let parts: Vec<_> = self.parts.iter().map(part).collect();
        sha256_json(&serde_json::json!({
            "requester": self.requester,
            "beneficiary": self.beneficiary,
            "parts": parts,
            "ttl_secs": self.ttl.as_secs(),
            "reason": self.reason,
            "policy": self.terms.policy,
        }))
    }

    /// The longest that access may linger after the end, as the tier allows it.
    pub fn residual_max(&self) -> Duration {
        Duration::from_secs(self.terms.residual_max_secs)
    }

    /// The record as a store keeps it.
    pub fn to_stored(&self) -> String {
        serde_json::to_string(self)
            .expect("a request has string keys and finite numbers, so it serialises")
    }

    /// Reads what a store kept. A record of a later release is refused, not guessed at.
    pub fn from_stored(text: &str) -> Result<Self, ShapeError> {
        // What it says of its shape counts first; looked for apart only where the rest is not as this
        // release writes it.
        #[derive(Deserialize)]
        struct Shape {
            shape: u32,
        }
        let read: Result<Self, _> = serde_json::from_str(text);
        let shape = match &read {
            Ok(request) => Ok(request.shape),
            Err(_) => serde_json::from_str(text).map(|Shape { shape }| shape),
        };
        match (shape, read) {
            (Ok(found), _) if found > REQUEST_SHAPE => Err(ShapeError::Newer { found }),
            (_, Ok(request)) => Ok(request),
            (_, Err(error)) => Err(ShapeError::damaged(error)),
        }
    }
}

/// The owner of a slot. The row is kept for ever; what the slot owes travels from owner to owner
/// inside their records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Which slot.
    pub key: SlotKey,
    /// The request that owns it, or was the last to.
    pub owner: RequestId,
}
