//! The request and its whole story as plain data: what was asked, what was decided, and where the
//! grant is. What may happen to it is in [`crate::lifecycle`].

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::audit::ChainHead;
use crate::catalog::EntitlementId;
use crate::digest::{Digest, sha256_json};
use crate::policy::TierName;
use crate::principal::{BadName, PrincipalId, checked_name};
use crate::provider::{Description, Handle, Parameters, SlotKey, Target};
use crate::time::{Timestamp, Ttl};

/// Crockford's base 32 in lower case: no i, l, o, u.
const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The id of a request: `req-` and 26 characters of Crockford base 32 over a UUID version 7, so
/// that ids sort by the time they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// An id made at this instant from ten random bytes.
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        let millis = at.unix_micros().unsigned_abs() / 1_000;
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("req-")?;
        let number = self.0.as_u128();
        (0..26_u32).rev().try_for_each(|place| {
            let digit = usize::try_from((number >> (place * 5)) & 31).unwrap_or_default();
            let letter = CROCKFORD.get(digit).copied().unwrap_or(b'0');
            write!(f, "{}", char::from(letter))
        })
    }
}

/// A text that is not a request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request id is req- and 26 letters and digits, as printed when the request was made")]
pub struct BadRequestId;

impl FromStr for RequestId {
    type Err = BadRequestId;
    fn from_str(text: &str) -> Result<Self, BadRequestId> {
        let digits = text.strip_prefix("req-").ok_or(BadRequestId)?;
        if digits.len() != 26 {
            return Err(BadRequestId);
        }
        let mut number: u128 = 0;
        for (place, letter) in digits.bytes().enumerate() {
            let letter = letter.to_ascii_lowercase();
            let digit = CROCKFORD
                .iter()
                .position(|known| *known == letter)
                .ok_or(BadRequestId)?;
            // 26 digits hold 130 bits: the first may only use its lower three.
            if place == 0 && digit > 7 {
                return Err(BadRequestId);
            }
            number = (number << 5) | digit as u128;
        }
        Ok(Self(Uuid::from_u128(number)))
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why somebody asks, denies or revokes, in their own words: 1 to 1 000 characters, none of them a
/// control character or an invisible one that reorders text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reason(String);
checked_name!(Reason);

impl Reason {
    fn check(text: &str) -> Result<String, BadName> {
        let text = text.trim();
        let bad = |rule| Err(BadName::new("a reason", text, rule));
        // Marks that reorder or hide text, line separators, and tags.
        let reorders = |c: char| {
            matches!(c,
                '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
        };
        if text.is_empty() {
            return bad("say in a few words why");
        }
        if text.chars().count() > 1_000 {
            return bad("at most 1000 characters");
        }
        if text.chars().any(|c| c.is_control() || reorders(c)) {
            return bad("no control characters, line breaks or text direction marks");
        }
        Ok(text.to_owned())
    }
}

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What.
    pub entitlement: EntitlementId,
    /// With which parameters.
    pub parameters: Parameters,
    /// The provider's ids for it, resolved when the request was opened.
    pub target: Target,
    /// What the provider declared about itself at that time.
    pub provider: Description,
}

impl Part {
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

/// Why an approved request never became a call to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The entitlement, its tier, its target or an approver's authority changed.
    PolicyChanged,
    /// The requester or the beneficiary may no longer have it.
    NoLongerEligible,
    /// The access stands already, by other hands or by a longer grant.
    AlreadyStands,
    /// It could not be provisioned in time.
    NotProvisioned,
    /// Nobody collected the credential in time.
    NotCollected,
    /// The requester or the beneficiary ended it.
    Ended,
    /// Somebody with the right to revoke ended it.
    Revoked,
}

/// Why a grant is ending. The first cause stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its time was up.
    Expired,
    /// The requester or the beneficiary returned it early.
    Ended,
    /// Somebody with the right to revoke took it, or the beneficiary was found inactive.
    Revoked,
    /// It could not be given, or went missing when it should have been there.
    Failed,
}

/// How a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum End {
    /// Verified absent, for this cause.
    Gone {
        /// Why it ended.
        cause: Cause,
    },
    /// A later grant on the same slot took over every duty.
    Superseded {
        /// That grant's request.
        by: RequestId,
    },
}

/// What is known of the latest grant call of this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// It may have happened. Also what an unsaved answer means.
    MaybeApplied,
    /// The provider took it.
    Accepted,
    /// The provider said that it did nothing, and that answer is saved here.
    Nothing,
    /// A look after its `send_before` showed neither the access nor anything being applied.
    Absent,
}

/// The work of ending a grant so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Why it is ending.
    pub cause: Cause,
    /// When the deadlines of the revoke began to count: the end of the grant, or the turn back to
    /// Revoking of one that had been verified absent.
    pub since: Timestamp,
    /// A grant call of ours may still have been in the making when the ending began.
    pub call_outstanding: bool,
    /// How many deletes were tried.
    pub attempts: u32,
    /// How many of them failed in a way that trying again does not mend.
    pub refused: u32,
    /// When the provider last accepted a delete.
    pub accepted_at: Option<Timestamp>,
}

/// The watch for a late effect after a verified absence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// When the read-back showed absence.
    pub absent_at: Timestamp,
    /// Until when a late effect is still possible.
    pub until: Timestamp,
    /// How many inspections there were since.
    pub looks: u32,
    /// The provider's own clock ends the access at `until`; there is nothing to read back.
    pub by_provider_clock: bool,
}

/// Where a grant is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Waiting for its slot, or for its asker to collect. No call was ever sent.
    Approved,
    /// A grant call may have been sent.
    Provisioning {
        /// What is known of it.
        sent: Sent,
    },
    /// The access is there.
    Active,
    /// It is being taken away.
    Revoking {
        /// How far.
        ending: Ending,
    },
    /// It is verified absent, and watched for a late effect.
    Settling {
        /// How it got here.
        ending: Ending,
        /// How long it is watched.
        watch: Watch,
    },
    /// Over.
    Closed {
        /// How.
        end: End,
    },
    /// Over before any call was sent.
    Cancelled {
        /// Why.
        why: CancelReason,
    },
}

/// Why a grant is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stuck {
    /// No delete was accepted in time.
    NotAccepted,
    /// The access was not verified absent in time.
    NotVerified,
    /// Three deletes failed in a way that trying again does not mend.
    Refused,
}

/// The promise of access until `expires_at`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where it is.
    pub phase: Phase,
    /// The commit of the last needed approval.
    pub approved_at: Timestamp,
    /// When the access ends. It only ever moves earlier.
    pub expires_at: Timestamp,
    /// Standing: provisioned by then or given up. Minted: collected by then or given up.
    pub provision_by: Timestamp,
    /// Counts the leases and the turns to Revoking; an outcome counts only for the epoch that it
    /// answers.
    pub epoch: u32,
    /// The latest grant call of this record may be sent only before this.
    pub send_before: Option<Timestamp>,
    /// The latest `send_before` of any owner of the slot, this one included.
    pub slot_send_before: Option<Timestamp>,
    /// When an owner of the slot last left Revoking: an older delete of it may still land.
    pub slot_left_revoking_at: Option<Timestamp>,
    /// The grant that was taken over at the lease.
    pub took_over: Option<RequestId>,
    /// Until when the access was given at the provider, as far as it was told or said so: its own
    /// clock goes by that, also where the grant ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_until: Option<Timestamp>,
    /// The credential's name at the provider.
    pub handle: Option<Handle>,
    /// When the access became Active.
    pub active_at: Option<Timestamp>,
    /// Instants at which an Active grant must be inspected again.
    pub rechecks: Vec<Timestamp>,
    /// The next step is due then, unless a deadline comes first. Moving it is how a worker takes
    /// the record.
    pub next_at: Timestamp,
    /// Failures in a row of the present step; they set the pace of the next try.
    pub failures: u32,
    /// Set while the ending is late; people were paged.
    pub stuck: Option<Stuck>,
}

impl Grant {
    /// Whether the slot belongs to this grant: it may have access at the provider.
    pub fn is_live(&self) -> bool {
        match self.phase {
            Phase::Provisioning { .. }
            | Phase::Active
            | Phase::Revoking { .. }
            | Phase::Settling { .. } => true,
            Phase::Approved | Phase::Closed { .. } | Phase::Cancelled { .. } => false,
        }
    }
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
        reason: Option<Reason>,
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

    /// What an approval is bound to: SHA-256 over the canonical JSON of requester, beneficiary,
    /// entitlements, resolved targets, parameters, asked TTL, reason and policy digest. The
    /// approvals are not part of it, so a second approver sees the same digest as the first.
    pub fn digest(&self) -> Digest {
        let parts: Vec<_> = self
            .parts
            .iter()
            .map(|part| (&part.entitlement, &part.target, &part.parameters))
            .collect();
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
        #[derive(Deserialize)]
        struct Shape {
            shape: u32,
        }
        let Shape { shape: found } = serde_json::from_str(text).map_err(ShapeError::Damaged)?;
        if found > REQUEST_SHAPE {
            return Err(ShapeError::Newer { found });
        }
        serde_json::from_str(text).map_err(ShapeError::Damaged)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reasons_are_bounded_and_inert() {
        assert!("".parse::<Reason>().is_err());
        assert!("   ".parse::<Reason>().is_err());
        assert!("a".repeat(1_000).parse::<Reason>().is_ok());
        assert!("a".repeat(1_001).parse::<Reason>().is_err());
        assert!("é".repeat(1_000).parse::<Reason>().is_ok());
        for bad in [
            "a\u{0}b",
            "a\nb",
            "a\u{1b}[31m",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{85}b",
        ] {
            assert!(bad.parse::<Reason>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn malformed_ids_are_refused() {
        let good = RequestId::new(Timestamp::from_unix_micros(1_700_000_000_000_000), [7; 10]);
        assert_eq!(good.to_string().len(), 30);
        for bad in [
            "",
            "req-",
            "req-abc",
            "01hq",
            "req-zzzzzzzzzzzzzzzzzzzzzzzzzz",
        ] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad:?}");
        }
        assert!(format!("{good}x").parse::<RequestId>().is_err());
        assert!(
            good.to_string()
                .replace("req-", "REQ-")
                .parse::<RequestId>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn ids_survive_a_round_trip_and_sort_by_time(
            early in 0_i64..1 << 50, later in 0_i64..1 << 50, random: [u8; 10],
        ) {
            let at = |micros| RequestId::new(Timestamp::from_unix_micros(micros), random);
            let (one, two) = (at(early), at(later));
            prop_assert_eq!(one.to_string().parse::<RequestId>().unwrap(), one);
            if early / 1_000 < later / 1_000 {
                prop_assert!(one < two);
                prop_assert!(one.to_string() < two.to_string());
            }
        }

        #[test]
        fn no_text_makes_an_id_or_a_record_panic(text in ".{0,60}") {
            let _ = text.parse::<RequestId>();
            let _ = AccessRequest::from_stored(&text);
        }
    }
}
