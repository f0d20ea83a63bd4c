//! The promise of access as data: where it is, what was sent for it, and how it ends.

use serde::{Deserialize, Serialize};

use super::RequestId;
use crate::provider::Handle;
use crate::time::Timestamp;

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
    /// Until when a call of an earlier owner may take effect, by the windows of the provider that
    /// it was made through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_settles_until: Option<Timestamp>,
    /// When an owner of the slot last left Revoking: an older delete of it may still land.
    pub slot_left_revoking_at: Option<Timestamp>,
    /// The grant that was taken over at the lease.
    pub took_over: Option<RequestId>,
    /// Until when the access was given at the provider, as far as it was told or said so: its own
    /// clock goes by that, also where the grant ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_until: Option<Timestamp>,
    /// Whether the credential is made where the request falls back to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fell_back: bool,
    /// The credential's name at the provider.
    pub handle: Option<Handle>,
    /// When the access became Active.
    pub active_at: Option<Timestamp>,
    /// Since when the access is known to be missing, by other hands, while the grant is Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
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

    /// The epoch of the ending that is under way, or that comes next.
    pub(crate) fn ends_under(&self) -> Option<u32> {
        match self.phase {
            Phase::Active => Some(self.epoch + 1),
            Phase::Revoking { .. } => Some(self.epoch),
            Phase::Approved
            | Phase::Provisioning { .. }
            | Phase::Settling { .. }
            | Phase::Closed { .. }
            | Phase::Cancelled { .. } => None,
        }
    }
}
