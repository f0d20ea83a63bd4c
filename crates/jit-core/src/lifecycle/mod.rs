//! The heart: what may happen to a request, as pure functions from a record, a command and an
//! instant to the changes that must be committed, or to a refusal. No I/O, no clock, no `async`.
//!
//! [`open`] makes a request, [`decide`] judges every later command, [`owed`] says what a record
//! owes and [`wake`] when. The commands of people are judged in `opening` and `decision`; what
//! follows at the provider in `lease`, `minted`, `grant` and `revoking`.

mod decision;
mod drift;
mod duty;
mod grant;
mod lease;
mod minted;
mod opening;
mod refusal;
mod revoking;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use decision::revokes_by_manager;
pub use decision::{DECISIONS_LIMIT, Unfit, authority, eligibility};
pub use drift::DRIFT_OURS_FOR;
pub use duty::{Duty, STUCK_AFTER, owed, wake};
pub use lease::sends_after_lease;
pub(crate) use minted::ends_at;
pub use opening::{Automatic, OPENED_LIMIT, OpenFacts, Opening, may_ask_about, open};
pub(crate) use opening::{OPENED, opened_limit};
pub use refusal::Refusal;

use crate::audit::{self, Actor, Fact};
use crate::catalog::Catalog;
use crate::change::{Change, Counter, SlotChange};
use crate::policy::Policy;
use crate::principal::{Principal, PrincipalId, Profile};
use crate::provider::{Answer, Effect, ErrorKind, Handle, Presence, Resolved};
use crate::request::{AccessRequest, Reason, RequestId, Slot};
use crate::time::{Timestamp, Ttl};

/// The longest parameters, as JSON, in bytes.
pub const PARAMETERS_LIMIT: usize = 4 * 1024;
/// How deep parameters may be nested.
pub const PARAMETERS_DEPTH: usize = 16;
/// A grant call may be sent this long after its lease, at the most.
pub const SEND_WITHIN: Duration = Duration::from_secs(30);
/// A worker that took a record to revoke or to look is given this long before another may.
pub const TAKEN_FOR: Duration = Duration::from_secs(5);
/// A record that waits for its slot is looked at again after this long.
pub const WAIT_AGAIN: Duration = Duration::from_secs(5);
/// An Active grant's person is looked up again after this long.
pub const CHECK_EVERY: Duration = Duration::from_secs(300);
/// The clocks of processes and providers may differ by this. What a provider's own clock ends is
/// believed to be over only so much later.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(5);
/// The longest pause between two tries of a revoke.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What is allowed at present.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Tiers and rules.
    pub policy: &'a Policy,
    /// What can be asked for.
    pub catalog: &'a Catalog,
}

/// Whether this service may give anything new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It may.
    Ready,
    /// An operator paused it.
    Paused,
    /// Its clock cannot be trusted.
    ClockOff {
        /// By how much.
        off_by: Duration,
    },
}

impl Readiness {
    fn check(self) -> Result<(), Refusal> {
        match self {
            Self::Ready => Ok(()),
            Self::Paused => Err(Refusal::Paused),
            Self::ClockOff { off_by } => Err(Refusal::ClockOff { off_by }),
        }
    }
}

/// An authenticated caller with what the directory says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Who they are.
    pub profile: Profile,
    /// As whom they were authenticated.
    pub via: Principal,
}

impl By {
    /// The same as the audit writes it.
    pub fn actor(&self) -> Actor {
        Actor::Principal {
            id: self.profile.id.clone(),
            via: self.via.clone(),
        }
    }
}

/// What the world is like, looked up for one command.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Requester, beneficiary and every earlier approver, as far as the directory knows them.
    pub people: BTreeMap<PrincipalId, Profile>,
    /// When the running grant on the same slot ends, if one is Active.
    pub running_until: Option<Timestamp>,
    /// Whether anything new may be given.
    pub readiness: Readiness,
}

/// Who owns a slot.
#[derive(Debug, Clone)]
pub struct Owned {
    /// The slot.
    pub slot: Slot,
    /// Its owner's record; none where retention removed it.
    pub owner: Option<AccessRequest>,
}

/// What is looked up before a grant call.
#[derive(Debug, Clone)]
pub struct LeaseFacts {
    /// People and readiness.
    pub facts: Facts,
    /// What the parts resolve to now; none where the provider no longer knows it.
    pub resolved: Option<Resolved>,
    /// Who owns the slot; none for a slot that was never owned, and for minted access.
    pub owned: Option<Owned>,
    /// What the provider shows, where no live grant owns the slot.
    pub presence: Option<Presence>,
}

/// What became of a provider call, with the owner of the slot where the record is Closed.
#[derive(Debug, Clone)]
pub struct GrantAnswer {
    /// The epoch under which the call was sent.
    pub epoch: u32,
    /// What the provider said.
    pub answer: Result<Answer, Failure>,
    /// Who owns the slot now; needed only where the record is Closed.
    pub owned: Option<Owned>,
}

/// What a process did while the store was away, because the time of a grant was up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentAway {
    /// When the first delete was sent.
    pub from: Timestamp,
    /// When the last one was.
    pub until: Timestamp,
    /// How many there were.
    pub deletes: u32,
    /// What the provider said to the last one.
    pub answer: Result<Answer, Failure>,
    /// What reading it back showed last; none where it could not be read.
    pub read_back: Option<SeenAway>,
}

/// What a look at the provider showed while the store was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenAway {
    /// What it showed.
    pub presence: Presence,
    /// When it began.
    pub seen_at: Timestamp,
    /// The epoch of the ending that it belongs to; none where the record had none to come.
    pub epoch: Option<u32>,
}

/// A failure as the lifecycle sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What may be done about it.
    pub kind: ErrorKind,
    /// Whether it may have happened.
    pub effect: Effect,
    /// How long to spread out the next try, on top of its pace.
    pub jitter: Duration,
}

impl Failure {
    /// When to try again after this many failures in a row: 1 s, 2 s, 4 s … capped at
    /// [`BACKOFF_MAX`], and no sooner than the provider asked for.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let paced = Duration::from_secs(1 << failures.min(6));
        let asked = match self.kind {
            ErrorKind::RateLimited {
                retry_after_ms: Some(millis),
            } => Duration::from_millis(millis),
            _ => Duration::ZERO,
        };
        let longest = paced.max(asked).min(BACKOFF_MAX);
        // Up to a quarter less, so that records that failed together do not come back together; and
        // never sooner than the provider asked for.
        let spread = longest / 4
            * u32::try_from(self.jitter.as_millis())
                .unwrap_or(255)
                .min(255)
            / 255;
        (longest - spread).max(asked.min(BACKOFF_MAX))
    }
}

/// Something that happens to a request.
#[derive(Debug, Clone)]
pub enum Command {
    /// An approver says yes, perhaps for less time.
    Approve {
        /// Who.
        by: By,
        /// The shorter time.
        ttl: Option<Ttl>,
        /// The first digits of the digest of what they were shown, at least 16.
        digest: String,
        /// The world.
        facts: Facts,
    },
    /// An approver says no.
    Deny {
        /// Who.
        by: By,
        /// Why.
        reason: Reason,
        /// The first digits of the digest of what they were shown, at least 16.
        digest: String,
        /// The world.
        facts: Facts,
    },
    /// An approver takes their own approval back while the request is pending.
    Retract {
        /// Who.
        by: By,
    },
    /// The requester takes a pending request back.
    Withdraw {
        /// Who.
        by: By,
    },
    /// The requester or the beneficiary ends it, however far it is.
    End {
        /// Who.
        by: By,
    },
    /// Somebody with the right ends it, however far it is.
    Revoke {
        /// Who.
        by: By,
        /// Why.
        reason: Option<Reason>,
        /// Whose access it is; none where they are gone or their manager does not matter, an error
        /// where it cannot be told.
        beneficiary: Result<Option<Profile>, Failure>,
    },
    /// The asker fetches a minted credential.
    Collect {
        /// Who.
        by: By,
        /// The world.
        facts: Box<LeaseFacts>,
    },
    /// Whatever is owed by the clock alone is saved: lapse, cancel, finish, close, stick.
    Due,
    /// The same at a process that does not serve the provider: the record stays free for whoever
    /// does.
    DueElsewhere,
    /// A worker takes the record for [`TAKEN_FOR`], to do what is owed.
    Take,
    /// A worker is about to send a grant call.
    Lease {
        /// The world.
        facts: Box<LeaseFacts>,
    },
    /// What could not be looked up for a lease, so that it is tried again.
    LeaseFailed {
        /// How.
        failure: Failure,
    },
    /// What the provider said to a grant call.
    GrantAnswered(Box<GrantAnswer>),
    /// What the provider said to a mint call.
    MintAnswered {
        /// The epoch under which it was sent.
        epoch: u32,
        /// The credential's name and end.
        answer: Result<MintedAs, Failure>,
        /// Whether the secret can still be given to the asker.
        secret: Secret,
    },
    /// What a look at a Provisioning record's access showed.
    Verified {
        /// Under which epoch.
        epoch: u32,
        /// When the look began.
        seen_at: Timestamp,
        /// What it showed.
        presence: Result<Presence, Failure>,
    },
    /// What a look after an Active grant showed.
    Checked {
        /// Under which epoch.
        epoch: u32,
        /// The beneficiary; none where they are gone, an error where it cannot be told.
        beneficiary: Result<Option<Profile>, Failure>,
        /// What the provider shows, where an inspection was owed.
        presence: Option<Result<Presence, Failure>>,
        /// When the look began.
        seen_at: Timestamp,
    },
    /// What became of a delete and its read-back.
    RevokeAnswered {
        /// Under which epoch.
        epoch: u32,
        /// The number of the try.
        attempt: u32,
        /// What the provider said; none where no delete was sent.
        answer: Option<Result<Answer, Failure>>,
        /// What reading it back showed.
        read_back: Result<Presence, Failure>,
        /// When that look began.
        seen_at: Timestamp,
    },
    /// Deletes were sent while the store was away.
    StoreAway {
        /// Which, and what became of them.
        sent: SentAway,
        /// Who owns the slot now; needed only where the record is Closed.
        owned: Option<Box<Owned>>,
    },
    /// Access stands that belongs to no live grant; this record was the last owner of its slot.
    FoundStanding {
        /// The slot as it is stored.
        slot: Slot,
        /// When it was seen.
        seen_at: Timestamp,
    },
    /// The access of an Active grant is missing, and nothing of it is being applied.
    FoundMissing {
        /// Under which epoch.
        epoch: u32,
        /// When that was seen.
        seen_at: Timestamp,
    },
    /// What a look for a late effect showed.
    Looked {
        /// Under which epoch.
        epoch: u32,
        /// When the look began.
        seen_at: Timestamp,
        /// What it showed.
        presence: Result<Presence, Failure>,
    },
}

/// The name and the end of a credential that was made.
#[derive(Debug, Clone)]
pub struct MintedAs {
    /// The provider's name for it.
    pub handle: Option<Handle>,
    /// When the provider itself ends it.
    pub ends_at: Option<Timestamp>,
}

/// Whether a secret can still be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// The asker is waiting for it.
    InHand,
    /// It was dropped; nobody has it.
    Dropped,
}

/// What must be committed. Empty where nothing changes.
#[derive(Debug, Clone, Default)]
pub struct Transition {
    /// Records with their events and due rows. The record of the command comes first.
    pub changes: Vec<Change>,
    /// Records that were looked at and must not have changed.
    pub unchanged: Vec<(RequestId, u64)>,
    /// The slot that changes hands.
    pub slot: Option<SlotChange>,
    /// A quota that is used.
    pub counters: Vec<Counter>,
    /// It must be stored within this time, by the engine's word: what it was judged on is too old
    /// after that.
    pub good_for: Option<Duration>,
}

impl Transition {
    fn of(change: Change) -> Self {
        Self {
            changes: vec![change],
            ..Self::default()
        }
    }

    /// The record of the command as it is to be.
    pub fn request(&self) -> Option<&AccessRequest> {
        self.changes.first().map(|change| &change.record)
    }
}

/// Judges a command on a stored request.
///
/// `now` is the engine's time. The events of a record never go back before its own newest commit,
/// whatever the time.
pub fn decide(
    rules: Rules<'_>,
    request: &AccessRequest,
    command: &Command,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    match command {
        Command::Approve {
            by,
            ttl,
            digest,
            facts,
        } => decision::approve(rules, request, by, *ttl, digest, facts, now),
        Command::Deny {
            by,
            reason,
            digest,
            facts,
        } => decision::deny(rules, request, by, reason, digest, facts, now),
        Command::Retract { by } => decision::retract(request, by, now),
        Command::Withdraw { by } => decision::withdraw(request, by, now),
        Command::End { by } => decision::end(request, by, now),
        Command::Revoke {
            by,
            reason,
            beneficiary,
        } => decision::revoke(rules, request, by, reason.as_ref(), beneficiary, now),
        Command::Collect { by, facts } => minted::collect(rules, request, by, facts, now),
        Command::Due => Ok(grant::due(request, now)),
        Command::DueElsewhere => Ok(grant::due_elsewhere(request, now)),
        Command::Take => Ok(grant::take(request, now)),
        Command::Lease { facts } => Ok(lease::lease(rules, request, facts, now)),
        Command::LeaseFailed { failure } => Ok(lease::lease_failed(request, failure, now)),
        Command::GrantAnswered(answer) => Ok(grant::grant_answered(request, answer, now)),
        Command::MintAnswered {
            epoch,
            answer,
            secret,
        } => Ok(minted::mint_answered(request, *epoch, answer, *secret, now)),
        Command::Verified {
            epoch,
            seen_at,
            presence,
        } => Ok(grant::verified(request, *epoch, *seen_at, presence, now)),
        Command::Checked {
            epoch,
            beneficiary,
            presence,
            seen_at,
        } => Ok(grant::checked(
            request,
            *epoch,
            beneficiary,
            presence.as_ref(),
            *seen_at,
            now,
        )),
        Command::RevokeAnswered {
            epoch,
            attempt,
            answer,
            read_back,
            seen_at,
        } => Ok(revoking::revoke_answered(
            request,
            revoking::Sent {
                epoch: *epoch,
                attempt: *attempt,
            },
            answer.as_ref(),
            (read_back, *seen_at),
            now,
        )),
        Command::StoreAway { sent, owned } => {
            Ok(revoking::store_away(request, sent, owned.as_deref(), now))
        }
        Command::FoundStanding { slot, seen_at } => {
            Ok(drift::found_standing(request, slot, *seen_at, now))
        }
        Command::FoundMissing { epoch, seen_at } => {
            Ok(drift::found_missing(request, *epoch, *seen_at, now))
        }
        Command::Looked {
            epoch,
            seen_at,
            presence,
        } => Ok(revoking::looked(request, *epoch, *seen_at, presence, now)),
    }
}

/// A record one version on, with its events sealed and its next duty computed.
fn change(
    before: &AccessRequest,
    mut after: AccessRequest,
    actor: &Actor,
    facts: Vec<Fact>,
    now: Timestamp,
) -> Change {
    after.version = before.version + 1;
    after.updated_at = now.max(before.updated_at);
    let at = after.updated_at;
    let events = audit::record(&mut after, at, actor, facts);
    let wake = wake(&after);
    Change {
        record: after,
        expected: Some(before.version),
        events,
        wake,
    }
}
