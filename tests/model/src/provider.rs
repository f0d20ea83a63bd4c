//! The provider: what stands there, and the calls that are on their way to it or being applied. It
//! judges nothing and promises only V and A.

use std::time::Duration;

use jit_core::Timestamp;
use jit_core::lifecycle::Failure;
use jit_core::provider::{Answer, Description, Effect, ErrorKind, Kind, NativeExpiry, Presence};

use crate::setting::ticks;

/// What a provider really is like; what it declares is [`Nature::declared`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// Standing or minted.
    pub kind: Kind,
    /// V in ticks: how long after its signature a call may still be accepted.
    pub accepted_within: u8,
    /// A in ticks: how long an accepted call may take.
    pub applied_within: u8,
    /// Whether `inspect` sees what was accepted and is not applied.
    pub pending: Pending,
    /// After how many ticks a credential ends by itself; then nothing else ends it, and it cannot be
    /// looked for.
    pub life: Option<u8>,
    /// By how many ticks the clocks of senders may be behind.
    pub clocks_behind: u8,
}

/// Whether what is being applied is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// It is.
    Visible,
    /// It is not.
    Invisible,
}

impl Nature {
    /// What its adapter says of it: V has room for the clocks of senders.
    pub fn declared(&self) -> Description {
        let native_expiry = self
            .life
            .map_or(NativeExpiry::None, |life| NativeExpiry::AtMost(ticks(life)));
        Description {
            kind: self.kind,
            native_expiry,
            revocable: self.life.is_none(),
            pending_visible: self.pending == Pending::Visible,
            listable: self.life.is_none(),
            accepted_within: ticks(self.accepted_within + self.clocks_behind),
            applied_within: ticks(self.applied_within),
            residual: self.life.map_or(Duration::ZERO, ticks),
        }
    }
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effects {
    /// Gives standing access.
    Grant,
    /// Makes a credential.
    Mint,
    /// Takes the access away.
    Delete,
}

/// A call that has not taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    /// What it does.
    pub effects: Effects,
    /// Where it is.
    pub leg: Leg,
    /// The last tick at which it can leave that.
    pub until: u8,
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// Between the sender, who has given it up, and the provider, which may still take it.
    Travelling,
    /// Taken, and being applied.
    Accepted,
}

/// What is at the provider, in the one slot of the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Provider {
    /// Whether access stands because of a call of ours.
    pub stands: bool,
    /// Whether access stands that others gave.
    pub foreign: bool,
    /// How many credentials were ever made.
    pub minted: u8,
    /// At which tick the credential that was made last ends by itself.
    pub dies_at: Option<u8>,
    /// Calls without effect so far, sorted.
    pub calls: Vec<Call>,
}

impl Provider {
    /// What a look shows.
    pub fn look(&self, nature: &Nature) -> Seen {
        let applying = self.calls.iter().any(|call| call.leg == Leg::Accepted);
        if nature.pending == Pending::Visible && applying {
            return Seen::InFlight;
        }
        if self.stands || self.foreign {
            Seen::Present
        } else {
            Seen::Absent
        }
    }

    /// Adds a call.
    pub fn add(&mut self, call: Call) {
        self.calls.push(call);
        self.calls.sort_unstable();
    }
}

/// What a look showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Seen {
    /// The access.
    Present,
    /// No access, and nothing being applied.
    Absent,
    /// Something being applied.
    InFlight,
    /// Nothing can be seen; it is gone by then.
    GoneBy(Timestamp),
}

impl From<Seen> for Presence {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::Present => Self::Present,
            Seen::Absent => Self::Absent,
            Seen::InFlight => Self::InFlight,
            Seen::GoneBy(at) => Self::GoneBy(at),
        }
    }
}

/// What a sender hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    /// It is in effect.
    Applied,
    /// It was taken.
    Accepted,
    /// Nothing, in time.
    NoReply,
    /// That nothing was done, and to try again later.
    NothingDone,
}

impl Said {
    /// As the lifecycle takes it.
    pub fn answer(self) -> Result<Answer, Failure> {
        let failure = |effect| Failure {
            kind: ErrorKind::Unavailable,
            effect,
            jitter: Duration::ZERO,
        };
        match self {
            Self::Applied => Ok(Answer::Applied),
            Self::Accepted => Ok(Answer::Accepted),
            Self::NoReply => Err(failure(Effect::Unknown)),
            Self::NothingDone => Err(failure(Effect::None)),
        }
    }
}
