//! What may go wrong with a call, how often, and the dice that say when.

use std::time::Duration;

use jit_core::ports::{Effect, ErrorKind, Random};

use super::Access;
#[cfg(doc)]
use super::{HostileProvider, SLOWEST_CALL};

/// How often each fault happens, in calls per mille, and how bad it is. All zero is friendly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hostility {
    /// Turned away as too fast, with a time to wait of up to `retry_after_max`.
    pub throttled: u16,
    /// Fails before it does anything, and says so.
    pub error_before: u16,
    /// Fails before it does anything, and cannot say so.
    pub error_before_unknown: u16,
    /// Is carried out, and its reply is lost.
    pub lost_reply: u16,
    /// Gets lost in the network and is accepted at any time within V, when nobody waits any more.
    pub late: u16,
    /// Is accepted, and then nothing comes of it. Only where effects come later.
    pub failed: u16,
    /// Begins a time of up to `forbidden_max` in which every call is refused.
    pub forbidden: u16,
    /// Begins an outage of up to `outage_max`: every connection is refused.
    pub outage: u16,
    /// Is followed within two minutes by other hands that turn its slot over.
    pub foreign: u16,
    /// Takes up to [`SLOWEST_CALL`] instead of `latency_max`.
    pub slow: u16,
    /// The process stands still between the signing of a grant or mint and its last check, until
    /// the last instant at which the call may be sent, or just past it.
    pub brink: u16,
    /// The same for a delete.
    pub brink_of_deletes: u16,
    /// A time that is drawn is the longest possible one, beside the one in eight that always are.
    pub longest: u16,
    /// The most that an ordinary call takes; zero: no call ever waits.
    pub latency_max: Duration,
    /// The most that a throttled caller is told to wait.
    pub retry_after_max: Duration,
    /// The longest refusal.
    pub forbidden_max: Duration,
    /// The longest outage.
    pub outage_max: Duration,
}

/// One fault, by the name that [`HostileProvider::fault_counts`] counts it under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// See [`Hostility::throttled`].
    Throttled,
    /// See [`Hostility::error_before`].
    ErrorBefore,
    /// See [`Hostility::error_before_unknown`].
    ErrorBeforeUnknown,
    /// See [`Hostility::lost_reply`].
    LostReply,
    /// See [`Hostility::late`].
    Late,
    /// See [`Hostility::failed`].
    Failed,
    /// See [`Hostility::forbidden`].
    Forbidden,
    /// See [`Hostility::outage`].
    Outage,
}

impl Fault {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::ErrorBefore => "error_before",
            Self::ErrorBeforeUnknown => "error_before_unknown",
            Self::LostReply => "lost_reply",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Forbidden => "forbidden",
            Self::Outage => "outage",
        }
    }

    /// Whether it can happen to a call that only reads.
    pub(super) fn hits_reads(self) -> bool {
        !matches!(self, Self::Late | Self::Failed)
    }
}

/// What is wrong with one slot, at every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// Changes are refused in a way that trying again does not mend.
    Refuses,
    /// Every call takes [`SLOWEST_CALL`] and fails, and nobody can say whether it did anything.
    Hangs,
    /// Changes are taken, and nothing can be read.
    Unreadable,
}

impl Poison {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refuses => "poison_refuses",
            Self::Hangs => "poison_hangs",
            Self::Unreadable => "poison_unreadable",
        }
    }

    pub(super) fn spoils(self, access: Access) -> Option<(Effect, ErrorKind)> {
        match (self, access) {
            (Self::Refuses, Access::Write) => Some((Effect::None, ErrorKind::Forbidden)),
            (Self::Hangs, _) => Some((Effect::Unknown, ErrorKind::Unavailable)),
            (Self::Unreadable, Access::Read) => Some((Effect::None, ErrorKind::Unavailable)),
            (Self::Refuses, Access::Read) | (Self::Unreadable, Access::Write) => None,
        }
    }
}

impl Hostility {
    pub(super) fn draw(&self, dice: &Dice<'_>) -> Option<Fault> {
        [
            (self.outage, Fault::Outage),
            (self.forbidden, Fault::Forbidden),
            (self.throttled, Fault::Throttled),
            (self.error_before, Fault::ErrorBefore),
            (self.error_before_unknown, Fault::ErrorBeforeUnknown),
            (self.late, Fault::Late),
            (self.lost_reply, Fault::LostReply),
            (self.failed, Fault::Failed),
        ]
        .into_iter()
        .find_map(|(odds, fault)| dice.hits(odds).then_some(fault))
    }
}

/// Draws from the [`Random`] port.
pub(super) struct Dice<'a> {
    pub(super) random: &'a dyn Random,
    /// See [`Hostility::longest`].
    pub(super) longest: u16,
}

impl Dice<'_> {
    fn below(&self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit.max(1)
    }

    pub(super) fn per_mille(&self) -> u16 {
        u16::try_from(self.below(1_000)).unwrap_or_default()
    }

    pub(super) fn hits(&self, odds: u16) -> bool {
        odds > 0 && self.per_mille() < odds
    }

    /// A time in whole milliseconds up to this one; the longest itself once in eight times,
    /// because that is where the mistakes are.
    pub(super) fn up_to(&self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX - 1);
        if millis == 0 {
            return Duration::ZERO;
        }
        if self.below(8) == 0 || self.hits(self.longest) {
            return Duration::from_millis(millis);
        }
        Duration::from_millis(self.below(millis + 1))
    }
}
