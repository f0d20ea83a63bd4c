//! What the hostile provider's ground truth can be asked: the judge of a simulation. It changes
//! nothing, and what it says is never told to an adapter.

use jit_core::Timestamp;
use jit_core::ports::ErrorKind;
use jit_core::provider::{Handle, Parameters, SlotKey, Target};
use jit_core::request::RequestId;

use super::HostileProvider;

/// Who caused a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// A call of ours, for this request.
    Ours(RequestId),
    /// Somebody else.
    Foreign,
    /// The provider's own clock.
    ProviderClock,
}

/// A time in which access was effective: from `from`, inclusive, to `until`, exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// Whose change made it effective. A grant of what stands already changes nothing.
    pub by: Hand,
    /// The credential's name, where it is one and has one.
    pub handle: Option<Handle>,
    /// Since when, by the provider's clock.
    pub from: Timestamp,
    /// Until when; none while it is effective.
    pub until: Option<Timestamp>,
    /// Whose change ended it.
    pub ended_by: Option<Hand>,
}

impl Interval {
    /// Whether it was effective at this instant.
    pub fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// What a call asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Give standing access.
    Grant,
    /// Make a credential.
    Mint,
    /// Take away.
    Revoke,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is somewhere in the network and may still be accepted.
    Travelling,
    /// It was turned away.
    Refused(ErrorKind),
    /// It was accepted and is being applied.
    Applying,
    /// It changed what stands.
    Changed,
    /// It was carried out and found nothing to change.
    Unchanged,
    /// It was accepted, and then nothing came of it.
    Failed,
}

/// A call that was transmitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it asked for.
    pub operation: Operation,
    /// For which request.
    pub request: RequestId,
    /// Whom and what.
    pub target: Target,
    /// With which parameters.
    pub parameters: Parameters,
    /// Which credential, where it was named.
    pub handle: Option<Handle>,
    /// When it was signed and sent, by the provider's clock.
    pub signed_at: Timestamp,
    /// Until when it was allowed to be, by its caller's clock.
    pub send_before: Timestamp,
    /// When the provider accepted it.
    pub accepted_at: Option<Timestamp>,
    /// When it was carried out.
    pub effective_at: Option<Timestamp>,
    /// What became of it.
    pub fate: Fate,
}

/// The ground truth, up to the present instant of the provider's clock at each question.
#[derive(Debug, Clone)]
pub struct Ledger {
    provider: HostileProvider,
}

impl Ledger {
    pub(super) fn of(provider: HostileProvider) -> Self {
        Self { provider }
    }

    /// When the access of this slot was effective, in order. Standing access only.
    pub fn effective_intervals(&self, slot: &SlotKey) -> Vec<Interval> {
        self.provider.settled().world.intervals(slot)
    }

    /// When each credential of this request was valid, in the order of their making.
    pub fn minted(&self, request: RequestId) -> Vec<Interval> {
        self.provider.settled().world.minted(request)
    }

    /// Whether this secret is accepted now.
    pub fn works(&self, secret: &str) -> bool {
        self.provider.settled().world.works(secret)
    }

    /// Every slot that was ever touched, with its target and parameters, in the order of the keys.
    pub fn slots(&self) -> Vec<(SlotKey, Target, Parameters)> {
        self.provider.settled().world.slots()
    }

    /// Whether standing access was effective at this instant, whoever gave it.
    pub fn present(&self, target: &Target, parameters: &Parameters, at: Timestamp) -> bool {
        self.effective_intervals(&target.slot_key(parameters))
            .iter()
            .any(|interval| interval.covers(at))
    }

    /// Every call that was transmitted, in the order of their signing.
    pub fn calls(&self) -> Vec<Call> {
        self.calls_since(0)
    }

    /// The calls behind the first `count`, for a judge that looks again and again.
    pub fn calls_since(&self, count: usize) -> Vec<Call> {
        self.provider.settled().world.calls_since(count)
    }
}
