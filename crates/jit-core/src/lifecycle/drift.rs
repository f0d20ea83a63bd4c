//! What the provider has and the records do not say, or the other way round (S8): found by looking at
//! everything, now and then. Only what a call of ours may be the cause of is taken away.

use std::time::Duration;

use super::Transition;
use super::grant::{Work, enter_revoking};
use crate::audit::Fact;
use crate::change::SlotChange;
use crate::request::{AccessRequest, Cause, End, Phase, Slot};
use crate::time::Timestamp;

/// Access without a live grant is taken away by itself only so long after the last grant call of its
/// slot could have been sent: what appears later is not ours, and is only told.
pub const DRIFT_OURS_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Access stands although the last owner of its slot is closed.
pub(super) fn found_standing(
    request: &AccessRequest,
    slot: &Slot,
    seen_at: Timestamp,
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    let is_gone = matches!(
        grant.phase,
        Phase::Closed {
            end: End::Gone { .. }
        }
    );
    // What was seen before it closed says nothing about after.
    let since = slot.owner == request.id && seen_at >= request.updated_at;
    let sent = grant.slot_send_before;
    let is_ours = sent.is_some_and(|sent| now < sent + DRIFT_OURS_FOR);
    if !(is_gone && since && is_ours) {
        return Transition::default();
    }
    let again = Work::on(request, now)
        .say(Fact::Reappeared)
        .with(|grant, _| enter_revoking(grant, Cause::Failed, now));
    // Whoever takes the slot meanwhile makes this a conflict.
    Transition {
        slot: Some(SlotChange {
            slot: slot.clone(),
            expected: Some(slot.owner),
        }),
        ..again.done()
    }
}

/// The access of an Active grant is missing, by other hands: told, and never given again by itself.
/// The grant goes on until its end.
pub(super) fn found_missing(
    request: &AccessRequest,
    epoch: u32,
    seen_at: Timestamp,
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    let stands = grant.phase == Phase::Active && grant.epoch == epoch;
    let was_there = grant.active_at.is_some_and(|at| seen_at >= at);
    if !stands || !was_there || grant.missing_since.is_some() {
        return Transition::default();
    }
    Work::on(request, now)
        .say(Fact::Missing)
        .with(|grant, _| grant.missing_since = Some(now))
        .done()
}
