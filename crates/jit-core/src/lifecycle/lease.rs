//! The lease of an approved request: authority judged again, the slot taken, taken over or waited
//! for, and the intent of the grant call.

use super::decision::{Unfit, authority, eligibility};
use super::duty::{Duty, owed};
use super::grant::{Work, begin_ending, cancel, due_elsewhere, wait};
use super::{Failure, LeaseFacts, Readiness, Rules, SEND_WITHIN, Transition, WAIT_AGAIN};
use crate::audit::Fact;
use crate::change::SlotChange;
use crate::policy::Authority;
use crate::provider::{Description, Kind, NativeExpiry, Presence, Resolved};
use crate::request::{
    AccessRequest, Approval, Approver, CancelReason, Cause, End, Grant, Mismatch, Phase, Place,
    Sent, Slot,
};
use crate::time::Timestamp;

/// Why a request that was approved is not granted.
pub(super) enum NotGood {
    /// It may not be any more.
    Cancel(CancelReason),
    /// Whether it may be cannot be found out now.
    CannotTell,
}

/// Whether the request may still be granted, judged again right before the call (S11).
pub(super) fn still_good(
    rules: Rules<'_>,
    request: &AccessRequest,
    facts: &LeaseFacts,
) -> Result<(), NotGood> {
    let of_people = match eligibility(rules, &facts.facts.people, request) {
        Ok(()) => Authority::Yes,
        // Put off, unless something else is certain.
        Err(Unfit::CannotTell) => Authority::Unsure,
        Err(Unfit::Mismatch(Mismatch::PolicyChanged | Mismatch::Revoked)) => {
            return Err(NotGood::Cancel(CancelReason::PolicyChanged));
        }
        Err(Unfit::Mismatch(Mismatch::NoLongerEligible)) => {
            return Err(NotGood::Cancel(CancelReason::NoLongerEligible));
        }
    };
    let place = request.next_place();
    let as_asked = |now: &Resolved| {
        let longest = place.provider.residual;
        let name = place.entitlement.name();
        now.target == *place.target
            && now.residual.is_none_or(|residual| residual <= longest)
            && now.name.as_ref().is_none_or(|now| now == name)
    };
    if !facts.resolved.as_ref().is_some_and(as_asked) {
        return Err(NotGood::Cancel(CancelReason::PolicyChanged));
    }
    let people = &facts.facts.people;
    let counts = |approval: &Approval| match &approval.by {
        Approver::Automatic => Authority::Yes,
        Approver::Person(id) => authority(rules, people, id, request, approval.at),
    };
    let all = request.approvals.iter();
    match all.map(counts).fold(of_people, Authority::and) {
        Authority::Yes => Ok(()),
        Authority::Unsure => Err(NotGood::CannotTell),
        Authority::No => Err(NotGood::Cancel(CancelReason::PolicyChanged)),
    }
}

/// Leases a record for a grant call of standing access: the first, or a new attempt (S1, S4).
pub(super) fn lease(
    rules: Rules<'_>,
    request: &AccessRequest,
    facts: &LeaseFacts,
    now: Timestamp,
) -> Transition {
    let work = Work::on(request, now);
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    if now >= grant.provision_by {
        return Transition::default();
    }
    if facts.facts.readiness != Readiness::Ready {
        return wait(work);
    }
    let verdict = still_good(rules, request, facts);
    match (&grant.phase, verdict) {
        // It waits until that can be found out, at most until `provision_by`.
        (
            Phase::Approved
            | Phase::Provisioning {
                sent: Sent::Nothing | Sent::Absent,
            },
            Err(NotGood::CannotTell),
        ) => wait(work),
        (Phase::Approved, Err(NotGood::Cancel(why))) => cancel(work, why).done(),
        (Phase::Approved, Ok(())) => lease_first(work, facts),
        (
            Phase::Provisioning {
                sent: Sent::Nothing | Sent::Absent,
            },
            Err(NotGood::Cancel(why)),
        ) => {
            let cause = match why {
                CancelReason::NoLongerEligible => Cause::Revoked,
                CancelReason::PolicyChanged
                | CancelReason::AlreadyStands
                | CancelReason::NotProvisioned
                | CancelReason::NotCollected
                | CancelReason::Ended
                | CancelReason::Revoked => Cause::Failed,
            };
            begin_ending(work, cause).done()
        }
        (
            Phase::Provisioning {
                sent: Sent::Nothing | Sent::Absent,
            },
            Ok(()),
        ) => work
            .with(|grant, said| send(grant, request.next_place(), None, said, now))
            .done(),
        (
            Phase::Provisioning {
                sent: Sent::MaybeApplied | Sent::Accepted,
            }
            | Phase::Active
            | Phase::Revoking { .. }
            | Phase::Settling { .. }
            | Phase::Closed { .. }
            | Phase::Cancelled { .. },
            _,
        ) => Transition::default(),
    }
}

/// The first lease: the slot is taken, taken over, or waited for.
fn lease_first(work: Work<'_>, facts: &LeaseFacts) -> Transition {
    let (now, request) = (work.now, work.before);
    let mine = request
        .grant()
        .map(|grant| grant.expires_at)
        .unwrap_or_default();
    let owner = facts.owned.as_ref().and_then(|owned| owned.owner.as_ref());
    let owner_grant = owner.and_then(AccessRequest::grant);
    match owner_grant.map(|grant| &grant.phase) {
        Some(Phase::Provisioning { .. } | Phase::Revoking { .. }) => return wait(work),
        Some(Phase::Active) if owner_grant.is_some_and(|grant| grant.expires_at >= mine) => {
            return cancel(work, CancelReason::AlreadyStands).done();
        }
        Some(Phase::Active | Phase::Settling { .. }) => {}
        Some(Phase::Approved | Phase::Closed { .. } | Phase::Cancelled { .. }) | None => {
            match facts.presence {
                Some(Presence::Absent) => {}
                // Access that stands while no live grant owns the slot is not ours.
                Some(Presence::Present) => {
                    return cancel(work, CancelReason::AlreadyStands).done();
                }
                Some(Presence::InFlight | Presence::GoneBy(_)) | None => return wait(work),
            }
        }
    }
    let handed_over = owner.filter(|owner| owner.status().is_live());
    let key = request.parts.first().slot_key();
    let slot = SlotChange {
        slot: Slot {
            key,
            owner: request.id,
        },
        expected: facts.owned.as_ref().map(|owned| owned.slot.owner),
    };
    let leased = work.with(|grant, said| {
        if let (Some(owner), Some(before)) = (owner, owner_grant) {
            let window = owner.parts.first().provider.settles_for();
            let last = before.slot_send_before.map(|sent| sent + window);
            grant.slot_settles_until = last.max(before.slot_settles_until);
            grant.slot_send_before = before.slot_send_before;
            grant.slot_left_revoking_at = before.slot_left_revoking_at;
            grant.told_until = before.told_until;
        }
        send(grant, request.next_place(), handed_over, said, now);
        // Deletes of the earlier owner land by the windows of its own provider.
        if let (Some(owner), Some(left)) = (owner, grant.slot_left_revoking_at) {
            recheck_at(grant, lands_by(left, &owner.parts.first().provider), now);
        }
    });
    let mut transition = Transition {
        slot: Some(slot),
        ..leased.done()
    };
    match (owner, handed_over) {
        (_, Some(owner)) => {
            let end = End::Superseded { by: request.id };
            let superseded = Work::on(owner, now).with(|grant, said| {
                grant.phase = Phase::Closed { end };
                grant.stuck = None;
                grant.rechecks.clear();
                said.push(Fact::Closed { end });
            });
            transition.changes.push(superseded.change());
        }
        // A Closed owner may be re-opened by a late effect; the lease holds only if it was not.
        (Some(owner), None) => transition.unchanged.push((owner.id, owner.version)),
        (None, None) => {}
    }
    transition
}

/// By when a delete that was sent before its record left Revoking has landed.
pub(super) fn lands_by(left: Timestamp, provider: &Description) -> Timestamp {
    left + SEND_WITHIN + provider.accepted_within + provider.applied_within
}

/// What is granted is looked at when the last delete of an earlier owner has landed. A new attempt does
/// not forget a later instant of the one before.
fn recheck_at(grant: &mut Grant, lands_by: Timestamp, now: Timestamp) {
    if now < lands_by && grant.rechecks.iter().all(|at| *at < lands_by) {
        grant.rechecks = vec![lands_by];
    }
}

/// Enters Provisioning under a new epoch: the intent that is saved before the call.
pub(super) fn send(
    grant: &mut Grant,
    place: Place<'_>,
    handed_over: Option<&AccessRequest>,
    said: &mut Vec<Fact>,
    now: Timestamp,
) {
    let bound = match place.provider.kind {
        Kind::Standing => grant.provision_by,
        Kind::Minted => grant.expires_at,
    };
    let send_before = bound.min(now + SEND_WITHIN);
    grant.epoch += 1;
    grant.phase = Phase::Provisioning {
        sent: Sent::MaybeApplied,
    };
    grant.send_before = Some(send_before);
    grant.slot_send_before = grant.slot_send_before.max(Some(send_before));
    grant.told_until = grant.told_until.max(Some(grant.expires_at));
    grant.next_at = send_before;
    if let Some(owner) = handed_over {
        grant.took_over = Some(owner.id);
    }
    if let Some(left) = grant.slot_left_revoking_at {
        recheck_at(grant, lands_by(left, place.provider), now);
    }
    said.push(Fact::GrantIntended {
        epoch: grant.epoch,
        send_before,
        target: place.target.clone(),
        took_over: grant.took_over,
    });
}

/// What a lease needs could not be looked up: try again soon.
pub(super) fn lease_failed(
    request: &AccessRequest,
    failure: &Failure,
    now: Timestamp,
) -> Transition {
    if owed(request, now).is_some_and(|duty| matches!(duty, Duty::Cancel(_) | Duty::Finish(_))) {
        return due_elsewhere(request, now);
    }
    Work::on(request, now)
        .with(|grant, _| grant.next_at = now + failure.pause(0).min(WAIT_AGAIN))
        .done()
}

/// Whether a grant call is to be sent at once after a lease, rather than the access verified: a
/// grant that took over access only replaces it where that moves the provider's own expiry.
pub fn sends_after_lease(request: &AccessRequest) -> bool {
    let taken_over = request
        .grant()
        .is_some_and(|grant| grant.took_over.is_some());
    let native = request.parts.first().provider.native_expiry != NativeExpiry::None;
    !taken_over || native
}
