//! The shortcuts that must be caught: broken variants of what stands around the lifecycle, or lies
//! that it is told. Nothing of them is in `jit-core`.

use jit_core::Timestamp;
use jit_core::provider::Description;
use jit_core::request::{AccessRequest, Cause, End, Phase, Stage};

use crate::promise::{CLEAN, NOTICED, OWNED, S1, S2, S3, S4, S5, S6, S15};
use crate::provider::Said;
use crate::setting::TICK;
use crate::verdict::Ask;

/// A shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shortcut {
    /// The grant call goes out before its intent is saved.
    GrantFirst,
    /// A grant call without a reply counts as failed.
    TimeoutMeansFailed,
    /// A delete that was taken counts as revoked.
    DeleteMeansRevoked,
    /// Nothing settles.
    NoSettling,
    /// Settles for one tick less than V + A.
    SettlesTooShort,
    /// The time is checked, then there is a pause, then the call is signed and sent.
    ChecksThenPauses,
    /// Sends while `now <= send_before`.
    SendsAtItsLimit,
    /// A call that carries no time goes out on a connection that others keep open: it may be taken
    /// long after V.
    PooledConnection,
    /// The slot changes hands when the newcomer is approved.
    HandsOverAtApproval,
    /// Two names of one thing have a slot each.
    TwoRecordsForOneSlot,
    /// A lease does not compare who owns the slot.
    SlotNotCompared,
    /// A lease does not compare whether the closed owner of the slot was re-opened meanwhile.
    ClosedOwnerNotCompared,
    /// Whatever is committed replaces what is there.
    LastWriteWins,
    /// A live row is gone for readers once its end has passed.
    TtlOnLiveRow,
    /// Only the process that saw a grant become Active ends it.
    TimerInMemory,
    /// Stops after a few deletes.
    GivesUp,
    /// Settles from the absence on, whatever was sent last.
    SettlesFromAbsence,
    /// Every look begins the settling anew.
    SettlesAnew,
    /// A newcomer forgets what earlier owners of the slot sent.
    ForgetsEarlierCalls,
    /// A newcomer forgets that deletes of earlier owners of the slot may still land.
    ForgetsEarlierDeletes,
    /// Does not look again after a take-over.
    ForgetsRecheck,
    /// What is being applied counts as absent.
    InFlightMeansAbsent,
    /// A look is stamped when its result is saved and not when it began.
    LooksStampedLate,
    /// Access that stands already is taken for ours.
    Adopts,
    /// Does not see that its clock may be behind when it says V.
    NoRoomForClocks,
    /// Knows people as they were when it first met them.
    StaleAuthority,
    /// Takes every name for a person.
    NamesArePeople,
    /// A mint call without a reply counts as one that did nothing.
    TimeoutMeansNothing,
    /// Hands the secret out before the record says so.
    HandsOutFirst,
    /// Hands the secret out although its record could not be saved.
    HandsOutUnsaved,
}

/// A shortcut, where it is taken, and the promise that it breaks.
#[derive(Debug, Clone, Copy)]
pub struct Broken {
    /// The shortcut.
    pub shortcut: Shortcut,
    /// In which scenario.
    pub scenario: &'static str,
    /// Which promise it breaks.
    pub promise: &'static str,
}

/// Every shortcut with the promise that it breaks.
pub const BROKEN: [Broken; 30] = {
    use Shortcut::*;
    const fn broken(shortcut: Shortcut, scenario: &'static str, promise: &'static str) -> Broken {
        Broken {
            shortcut,
            scenario,
            promise,
        }
    }
    [
        broken(GrantFirst, "standing", S1),
        broken(TimeoutMeansFailed, "standing", S3),
        broken(DeleteMeansRevoked, "standing", S2),
        broken(NoSettling, "standing", S3),
        broken(SettlesTooShort, "invisible", S3),
        broken(ChecksThenPauses, "standing", S3),
        broken(SendsAtItsLimit, "standing", S3),
        broken(PooledConnection, "standing", S3),
        broken(HandsOverAtApproval, "hand-over", OWNED),
        broken(TwoRecordsForOneSlot, "hand-over", S4),
        broken(SlotNotCompared, "hand-over", S4),
        broken(ClosedOwnerNotCompared, "late-answer", S4),
        broken(LastWriteWins, "standing", S6),
        broken(TtlOnLiveRow, "standing", CLEAN),
        broken(TimerInMemory, "standing", CLEAN),
        broken(GivesUp, "standing", CLEAN),
        broken(SettlesFromAbsence, "standing", S3),
        broken(SettlesAnew, "standing", CLEAN),
        broken(ForgetsEarlierCalls, "windows", S3),
        broken(ForgetsEarlierDeletes, "windows", NOTICED),
        broken(ForgetsRecheck, "hand-over", NOTICED),
        broken(InFlightMeansAbsent, "standing", S3),
        broken(LooksStampedLate, "standing", S2),
        broken(Adopts, "foreign", S4),
        broken(NoRoomForClocks, "clocks", S3),
        broken(StaleAuthority, "quorum", S5),
        broken(NamesArePeople, "quorum", S5),
        broken(TimeoutMeansNothing, "minted", S15),
        broken(HandsOutFirst, "minted", S15),
        broken(HandsOutUnsaved, "minted", S15),
    ]
};

/// What the provider is said to declare.
pub fn declared(shortcut: Option<Shortcut>, honest: Description) -> Description {
    let mut said = honest;
    match shortcut {
        Some(Shortcut::NoSettling) => {
            said.accepted_within = std::time::Duration::ZERO;
            said.applied_within = std::time::Duration::ZERO;
        }
        Some(Shortcut::SettlesTooShort | Shortcut::NoRoomForClocks) => {
            said.accepted_within = said.accepted_within.saturating_sub(TICK);
        }
        Some(_) | None => {}
    }
    said
}

/// What the shortcut writes instead.
pub fn forge(
    shortcut: Option<Shortcut>,
    record: &mut AccessRequest,
    ask: Option<&Ask>,
    now: Timestamp,
) {
    let settles_for = record.parts.first().provider.settles_for();
    let Stage::Granted(grant) = &mut record.stage else {
        return;
    };
    let unanswered = matches!(
        ask,
        Some(Ask::GrantAnswered {
            said: Said::NoReply,
            ..
        })
    );
    match (shortcut, &mut grant.phase) {
        (Some(Shortcut::TimeoutMeansFailed), Phase::Provisioning { .. }) if unanswered => {
            let cause = Cause::Failed;
            grant.phase = Phase::Closed {
                end: End::Gone { cause },
            };
        }
        (Some(Shortcut::SettlesFromAbsence), _) => {
            grant.slot_send_before = None;
            grant.slot_settles_until = None;
        }
        (Some(Shortcut::ForgetsEarlierCalls), Phase::Provisioning { .. }) => {
            grant.slot_send_before = grant.send_before;
            grant.slot_settles_until = None;
        }
        (Some(Shortcut::ForgetsEarlierDeletes), Phase::Provisioning { .. }) => {
            grant.slot_left_revoking_at = None;
            grant.rechecks.clear();
        }
        (Some(Shortcut::ForgetsRecheck), Phase::Active) => grant.rechecks.clear(),
        (Some(Shortcut::SettlesAnew), Phase::Settling { watch, .. }) => {
            watch.until = now + settles_for;
            grant.next_at = grant.next_at.max(now + TICK);
        }
        _ => {}
    }
}
