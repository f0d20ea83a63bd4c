//! What happens to an approved request at its provider: leased, granted, verified, revoked,
//! settled, closed. Every function answers an outcome with what must be committed; an outcome that
//! no longer counts changes nothing.

use std::time::Duration;

use super::decision::{eligibility, has_authority};
use super::duty::{Duty, owed};
use super::{
    By, CHECK_EVERY, Failure, GrantAnswer, LeaseFacts, MintedAs, Owned, Readiness, Refusal, Rules,
    SEND_WITHIN, Secret, TAKEN_FOR, Transition, WAIT_AGAIN, change,
};
use crate::audit::{Actor, CallResult, Fact};
use crate::change::{Change, SlotChange};
use crate::principal::Profile;
use crate::provider::{Answer, Effect, ErrorKind, Kind, NativeExpiry, Presence};
use crate::request::{
    AccessRequest, Approver, CancelReason, Cause, End, Ending, Grant, Mismatch, Phase, Sent, Slot,
    Stage, Watch,
};
use crate::time::Timestamp;

/// The grant of a record that has one, ready to be changed, beside the record as it was.
struct Work<'a> {
    before: &'a AccessRequest,
    after: AccessRequest,
    said: Vec<Fact>,
    now: Timestamp,
}

impl<'a> Work<'a> {
    fn on(before: &'a AccessRequest, now: Timestamp) -> Self {
        Self {
            before,
            after: before.clone(),
            said: vec![],
            now,
        }
    }

    /// Changes the grant and says what happened. A record without a grant stays as it is.
    fn with(mut self, act: impl FnOnce(&mut Grant, &mut Vec<Fact>)) -> Self {
        if let Stage::Granted(grant) = &mut self.after.stage {
            act(grant, &mut self.said);
        }
        self
    }

    fn say(mut self, fact: Fact) -> Self {
        self.said.push(fact);
        self
    }

    fn change(self) -> Change {
        change(self.before, self.after, &Actor::System, self.said, self.now)
    }

    fn done(self) -> Transition {
        Transition::of(self.change())
    }
}

/// Turns a grant to Revoking. The cause that was given first stays; the end only moves earlier.
pub(super) fn enter_revoking(grant: &mut Grant, cause: Cause, now: Timestamp) {
    let (cause, since, refused) = match &grant.phase {
        // Going back to Revoking from Revoking makes nothing less late.
        Phase::Revoking { ending } => (ending.cause, ending.since, ending.refused),
        Phase::Settling { ending, .. } => (ending.cause, now, 0),
        Phase::Closed {
            end: End::Gone { cause },
        } => (*cause, now, 0),
        Phase::Approved
        | Phase::Provisioning { .. }
        | Phase::Active
        | Phase::Closed {
            end: End::Superseded { .. },
        }
        | Phase::Cancelled { .. } => (cause, grant.expires_at.min(now), 0),
    };
    let call_outstanding = !matches!(grant.phase, Phase::Active);
    grant.expires_at = grant.expires_at.min(now);
    grant.epoch += 1;
    grant.rechecks.clear();
    grant.failures = 0;
    grant.next_at = now;
    let ending = Ending {
        cause,
        since,
        call_outstanding,
        attempts: 0,
        refused,
        accepted_at: None,
    };
    grant.phase = Phase::Revoking { ending };
}

/// Takes a record to revoke it. Where a delete is about to be sent it counts one more try, and says
/// so at tries 1, 2, 4, 8 … A delete that was accepted is looked after, not repeated.
fn take_to_revoke(
    request: &AccessRequest,
    grant: &mut Grant,
    said: &mut Vec<Fact>,
    now: Timestamp,
) {
    grant.next_at = now + TAKEN_FOR;
    let revocable = request.parts.first().provider.revocable;
    if let Phase::Revoking { ending } = &mut grant.phase
        && revocable
        && ending.accepted_at.is_none()
    {
        ending.attempts = ending.attempts.saturating_add(1);
        if ending.attempts.is_power_of_two() {
            said.push(Fact::RevokeIntended {
                attempt: ending.attempts,
            });
        }
    }
}

/// Saves what the clock alone decides.
pub(super) fn due(request: &AccessRequest, now: Timestamp) -> Transition {
    let work = Work::on(request, now);
    match owed(request, now) {
        Some(Duty::Lapse) => {
            let mut work = work.say(Fact::Lapsed);
            work.after.stage = Stage::Lapsed;
            work.done()
        }
        Some(Duty::Cancel(why)) => cancel(work, why).done(),
        // The worker that saves the turn to Revoking has thereby taken the record.
        Some(Duty::Finish(cause)) => work
            .with(|grant, said| {
                enter_revoking(grant, cause, now);
                said.push(Fact::Ending {
                    cause,
                    reason: None,
                });
                take_to_revoke(request, grant, said, now);
            })
            .done(),
        Some(Duty::Close) => work.with(close).done(),
        Some(Duty::Stick(why)) => work
            .with(|grant, said| {
                grant.stuck = Some(why);
                said.push(Fact::Stuck { why });
            })
            .done(),
        Some(Duty::Lease | Duty::Verify | Duty::Check | Duty::Revoke | Duty::Look) | None => {
            Transition::default()
        }
    }
}

fn cancel(work: Work<'_>, why: CancelReason) -> Work<'_> {
    work.with(|grant, said| {
        grant.phase = Phase::Cancelled { why };
        said.push(Fact::Cancelled { why, reason: None });
    })
}

fn close(grant: &mut Grant, said: &mut Vec<Fact>) {
    let cause = match &grant.phase {
        Phase::Revoking { ending } | Phase::Settling { ending, .. } => ending.cause,
        Phase::Approved
        | Phase::Provisioning { .. }
        | Phase::Active
        | Phase::Closed { .. }
        | Phase::Cancelled { .. } => Cause::Failed,
    };
    let end = End::Gone { cause };
    grant.phase = Phase::Closed { end };
    said.push(Fact::Closed { end });
}

/// A worker takes the record; whoever commits first has it.
pub(super) fn take(request: &AccessRequest, now: Timestamp) -> Transition {
    let work = Work::on(request, now);
    match owed(request, now) {
        Some(Duty::Revoke) => work
            .with(|grant, said| take_to_revoke(request, grant, said, now))
            .done(),
        // What a lease needs is looked up slowly at times; a second worker would only undo it.
        Some(Duty::Lease) => work
            .with(|grant, _| grant.next_at = now + SEND_WITHIN)
            .done(),
        Some(Duty::Verify | Duty::Check | Duty::Look) => {
            work.with(|grant, _| grant.next_at = now + TAKEN_FOR).done()
        }
        Some(Duty::Lapse | Duty::Cancel(_) | Duty::Finish(_) | Duty::Close | Duty::Stick(_))
        | None => Transition::default(),
    }
}

// -------------------------------------------------------------------------------------- lease

/// Whether the request may still be granted, judged again right before the call (S11).
fn still_good(
    rules: Rules<'_>,
    request: &AccessRequest,
    facts: &LeaseFacts,
) -> Result<(), CancelReason> {
    eligibility(rules, &facts.facts.people, request).map_err(|mismatch| match mismatch {
        Mismatch::PolicyChanged | Mismatch::Revoked => CancelReason::PolicyChanged,
        Mismatch::NoLongerEligible => CancelReason::NoLongerEligible,
    })?;
    if facts.resolved.as_ref() != Some(&request.parts.first().target) {
        return Err(CancelReason::PolicyChanged);
    }
    let counts = |approver: &Approver| match approver {
        Approver::Automatic => true,
        Approver::Person(id) => has_authority(rules, &facts.facts.people, id, request),
    };
    if request
        .approvals
        .iter()
        .all(|approval| counts(&approval.by))
    {
        Ok(())
    } else {
        Err(CancelReason::PolicyChanged)
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
        (Phase::Approved, Err(why)) => cancel(work, why).done(),
        (Phase::Approved, Ok(())) => lease_first(work, facts),
        (
            Phase::Provisioning {
                sent: Sent::Nothing | Sent::Absent,
            },
            Err(why),
        ) => {
            let cause = match why {
                CancelReason::NoLongerEligible => Cause::Revoked,
                _ => Cause::Failed,
            };
            begin_ending(work, cause).done()
        }
        (
            Phase::Provisioning {
                sent: Sent::Nothing | Sent::Absent,
            },
            Ok(()),
        ) => work
            .with(|grant, said| send(grant, request, None, said, now))
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

fn wait(work: Work<'_>) -> Transition {
    let next_at = work.now + WAIT_AGAIN;
    work.with(|grant, _| grant.next_at = next_at).done()
}

fn begin_ending(work: Work<'_>, cause: Cause) -> Work<'_> {
    let now = work.now;
    work.with(|grant, said| {
        enter_revoking(grant, cause, now);
        said.push(Fact::Ending {
            cause,
            reason: None,
        });
    })
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
        if let Some(before) = owner_grant {
            grant.slot_send_before = before.slot_send_before;
            grant.slot_left_revoking_at = before.slot_left_revoking_at;
            grant.told_until = before.told_until;
        }
        send(grant, request, handed_over, said, now);
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

/// Enters Provisioning under a new epoch: the intent that is saved before the call.
fn send(
    grant: &mut Grant,
    request: &AccessRequest,
    handed_over: Option<&AccessRequest>,
    said: &mut Vec<Fact>,
    now: Timestamp,
) {
    let part = request.parts.first();
    let bound = match part.provider.kind {
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
        let provider = part.provider;
        let lands_by = left + SEND_WITHIN + provider.accepted_within + provider.applied_within;
        if now < lands_by {
            grant.rechecks = vec![lands_by];
        }
    }
    said.push(Fact::GrantIntended {
        epoch: grant.epoch,
        send_before,
        target: part.target.clone(),
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
        return due(request, now);
    }
    Work::on(request, now)
        .with(|grant, _| grant.next_at = now + failure.pause(0).min(WAIT_AGAIN))
        .done()
}

// --------------------------------------------------------------------------- answers of grants

fn enter_active(grant: &mut Grant, said: &mut Vec<Fact>, now: Timestamp) {
    grant.phase = Phase::Active;
    grant.active_at = Some(now);
    grant.failures = 0;
    // A delete of an earlier owner may still land.
    if grant.took_over.is_some() || !grant.rechecks.is_empty() {
        grant.rechecks.push(now + Duration::from_secs(60));
    }
    grant.next_at = next_check(grant, now);
    said.push(Fact::Activated {
        expires_at: grant.expires_at,
    });
}

fn next_check(grant: &Grant, now: Timestamp) -> Timestamp {
    grant
        .rechecks
        .iter()
        .copied()
        .fold(now + CHECK_EVERY, Timestamp::min)
}

fn said_of(answer: &Result<Answer, Failure>) -> CallResult {
    match answer {
        Ok(Answer::Applied) => CallResult::Applied,
        Ok(Answer::Accepted) => CallResult::Accepted,
        Err(Failure {
            kind,
            effect: Effect::None,
            ..
        }) => CallResult::DidNothing { error: *kind },
        Err(Failure {
            kind,
            effect: Effect::Unknown,
            ..
        }) => CallResult::Unknown { error: *kind },
    }
}

/// The provider's reply to a grant call, also one that comes late.
pub(super) fn grant_answered(
    request: &AccessRequest,
    answer: &GrantAnswer,
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    let answered = Fact::GrantAnswered {
        epoch: answer.epoch,
        answer: said_of(&answer.answer),
    };
    let work = Work::on(request, now).say(answered);
    let in_time = matches!(grant.phase, Phase::Provisioning { .. }) && grant.epoch == answer.epoch;
    if in_time {
        return work
            .with(|grant, said| answered_in_time(grant, &answer.answer, said, now))
            .done();
    }
    if answer.answer.is_err() {
        return work.done();
    }
    let late = Fact::LateEffect {
        epoch: answer.epoch,
    };
    match &grant.phase {
        Phase::Provisioning { .. } => work.say(late).with(|grant, _| grant.next_at = now).done(),
        Phase::Active => work.say(late).with(|grant, _| look_now(grant, now)).done(),
        Phase::Revoking { .. } | Phase::Settling { .. } => work
            .say(late)
            .with(|grant, _| enter_revoking(grant, Cause::Failed, now))
            .done(),
        Phase::Closed { .. } => late_on_closed(work.say(late), answer),
        // No call of a request in these phases was ever sent.
        Phase::Approved | Phase::Cancelled { .. } => work.done(),
    }
}

fn answered_in_time(
    grant: &mut Grant,
    answer: &Result<Answer, Failure>,
    said: &mut Vec<Fact>,
    now: Timestamp,
) {
    match answer {
        Ok(Answer::Applied) => enter_active(grant, said, now),
        Ok(Answer::Accepted) => {
            grant.phase = Phase::Provisioning {
                sent: Sent::Accepted,
            };
            grant.next_at = now + Duration::from_secs(1);
        }
        Err(failure) => match failure.effect {
            Effect::Unknown => {}
            Effect::None if failure.kind.is_retryable() => {
                grant.next_at = now + failure.pause(grant.failures);
                grant.failures = grant.failures.saturating_add(1);
                grant.phase = Phase::Provisioning {
                    sent: Sent::Nothing,
                };
            }
            Effect::None => {
                enter_revoking(grant, Cause::Failed, now);
                said.push(Fact::Ending {
                    cause: Cause::Failed,
                    reason: None,
                });
            }
        },
    }
}

fn look_now(grant: &mut Grant, now: Timestamp) {
    grant.rechecks.push(now);
    grant.next_at = now;
}

/// A late effect on a closed record: the live owner of its slot looks, or its last owner re-opens.
fn late_on_closed(work: Work<'_>, answer: &GrantAnswer) -> Transition {
    let (request, now) = (work.before, work.now);
    let reopen = |grant: &mut Grant, said: &mut Vec<Fact>| {
        enter_revoking(grant, Cause::Failed, now);
        let Phase::Revoking { ending } = &grant.phase else {
            return;
        };
        said.push(Fact::Ending {
            cause: ending.cause,
            reason: None,
        });
    };
    let Some(Owned { slot, owner }) = &answer.owned else {
        // Minted access has no slot: the request is its own.
        return work.with(reopen).done();
    };
    // Whoever takes the slot meanwhile makes this commit a conflict, and it is judged again.
    let held_by = |owner| {
        let slot = Slot {
            key: slot.key.clone(),
            owner,
        };
        let expected = Some(
            answer
                .owned
                .as_ref()
                .map_or(owner, |owned| owned.slot.owner),
        );
        Some(SlotChange { slot, expected })
    };
    let other = owner.as_ref().filter(|owner| owner.id != request.id);
    let Some(owner) = other else {
        // The last owner is this one, or its record is gone.
        return Transition {
            slot: held_by(request.id),
            ..work.with(reopen).done()
        };
    };
    let nudged = Work::on(owner, now).with(|grant, said| match &grant.phase {
        Phase::Active => look_now(grant, now),
        Phase::Provisioning { .. } | Phase::Revoking { .. } | Phase::Settling { .. } => {
            grant.next_at = now;
        }
        Phase::Closed { .. } => reopen(grant, said),
        Phase::Approved | Phase::Cancelled { .. } => {}
    });
    let mut transition = work.done();
    transition.slot = held_by(owner.id);
    transition.changes.push(nudged.change());
    transition
}

/// What a look at a Provisioning record's access showed.
pub(super) fn verified(
    request: &AccessRequest,
    epoch: u32,
    seen_at: Timestamp,
    presence: &Result<Presence, Failure>,
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    let waiting = matches!(grant.phase, Phase::Provisioning { .. }) && grant.epoch == epoch;
    if !waiting {
        return Transition::default();
    }
    let minted = request.parts.first().provider.kind == Kind::Minted;
    let past_sending = grant
        .send_before
        .is_none_or(|send_before| seen_at >= send_before);
    let work = Work::on(request, now);
    match presence {
        // Nobody holds the secret of a mint whose reply was lost.
        Ok(Presence::Present | Presence::GoneBy(_)) if minted => {
            begin_ending(work, Cause::Failed).done()
        }
        Ok(Presence::Present) => work
            .with(|grant, said| enter_active(grant, said, now))
            .done(),
        Ok(Presence::Absent) if past_sending => work
            .with(|grant, _| {
                grant.phase = Phase::Provisioning { sent: Sent::Absent };
                grant.next_at = now;
            })
            .done(),
        Ok(Presence::Absent | Presence::InFlight | Presence::GoneBy(_)) => work
            .with(|grant, _| grant.next_at = now + Duration::from_secs(2))
            .done(),
        Err(failure) => work
            .with(|grant, _| {
                grant.next_at = now + failure.pause(grant.failures).min(WAIT_AGAIN);
                grant.failures = grant.failures.saturating_add(1);
            })
            .done(),
    }
}

// ------------------------------------------------------------------------------------- minted

/// The asker fetches the credential: leases the record for a mint call.
pub(super) fn collect(
    rules: Rules<'_>,
    request: &AccessRequest,
    by: &By,
    facts: &LeaseFacts,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    if by.profile.id != request.requester {
        return Err(Refusal::NotTheAsker);
    }
    let part = request.parts.first();
    if part.provider.kind == Kind::Standing {
        let entitlement = part.entitlement.clone();
        return Err(Refusal::NothingToCollect { entitlement });
    }
    let not_collectable = Refusal::NotCollectable {
        status: request.status(),
    };
    let Some(grant) = request.grant() else {
        return Err(not_collectable);
    };
    match &grant.phase {
        Phase::Approved
        | Phase::Provisioning {
            sent: Sent::Nothing,
        } => {}
        Phase::Cancelled { .. } => return Err(not_collectable),
        Phase::Provisioning {
            sent: Sent::MaybeApplied | Sent::Accepted | Sent::Absent,
        }
        | Phase::Active
        | Phase::Revoking { .. }
        | Phase::Settling { .. }
        | Phase::Closed { .. } => return Err(Refusal::AlreadyCollected),
    }
    if now >= grant.provision_by {
        return Ok(due(request, now));
    }
    facts.facts.readiness.check()?;
    let work = Work::on(request, now);
    match (still_good(rules, request, facts), &grant.phase) {
        (Ok(()), _) => Ok(work
            .with(|grant, said| send(grant, request, None, said, now))
            .done()),
        (Err(why), Phase::Approved) => Ok(cancel(work, why).done()),
        (Err(_), _) => Ok(begin_ending(work, Cause::Failed).done()),
    }
}

/// The provider's reply to a mint call.
pub(super) fn mint_answered(
    request: &AccessRequest,
    epoch: u32,
    answer: &Result<MintedAs, Failure>,
    secret: Secret,
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    let result = match answer {
        Ok(_) => Ok(Answer::Applied),
        Err(failure) => Err(*failure),
    };
    let work = Work::on(request, now).say(Fact::GrantAnswered {
        epoch,
        answer: said_of(&result),
    });
    let in_time = matches!(grant.phase, Phase::Provisioning { .. }) && grant.epoch == epoch;
    let minted = match answer {
        Err(_) if !in_time => return work.done(),
        Err(_) => {
            return work
                .with(|grant, said| answered_in_time(grant, &result, said, now))
                .done();
        }
        Ok(minted) => minted,
    };
    let work = work.with(|grant, _| {
        grant.handle = minted.handle.clone();
        grant.told_until = grant.told_until.max(minted.ends_at);
    });
    let ceiling = grant.expires_at + request.residual_max();
    let outlives = minted.ends_at.is_some_and(|ends_at| ends_at > ceiling);
    let given = in_time && secret == Secret::InHand && !outlives && now < grant.expires_at;
    if given {
        return work
            .with(|grant, said| {
                enter_active(grant, said, now);
                said.push(Fact::Collected);
            })
            .done();
    }
    if in_time {
        return begin_ending(work, Cause::Failed).done();
    }
    let late = Fact::LateEffect { epoch };
    work.say(late)
        .with(|grant, _| enter_revoking(grant, Cause::Failed, now))
        .done()
}

// ------------------------------------------------------------------------------------- active

/// What a look after an Active grant showed.
pub(super) fn checked(
    request: &AccessRequest,
    epoch: u32,
    beneficiary: &Result<Option<Profile>, Failure>,
    presence: Option<&Result<Presence, Failure>>,
    seen_at: Timestamp,
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    if grant.phase != Phase::Active || grant.epoch != epoch {
        return Transition::default();
    }
    let work = Work::on(request, now);
    let gone = |profile: &Option<Profile>| profile.as_ref().is_none_or(|profile| !profile.active);
    if beneficiary.as_ref().is_ok_and(gone) {
        return begin_ending(work, Cause::Revoked).done();
    }
    match presence {
        Some(Ok(Presence::Absent)) => begin_ending(work.say(Fact::Missing), Cause::Failed).done(),
        Some(Ok(Presence::Present)) => work
            .with(|grant, _| {
                grant.failures = 0;
                grant.rechecks.retain(|at| *at > seen_at);
                grant.next_at = next_check(grant, now);
            })
            .done(),
        Some(Ok(Presence::InFlight | Presence::GoneBy(_)) | Err(_)) => work
            .with(|grant, _| grant.next_at = now + WAIT_AGAIN)
            .done(),
        None => work
            .with(|grant, _| grant.next_at = next_check(grant, now))
            .done(),
    }
}

// ----------------------------------------------------------------------------------- revoking

/// What became of a delete and its read-back (S2).
pub(super) fn revoke_answered(
    request: &AccessRequest,
    epoch: u32,
    answer: Option<&Result<Answer, Failure>>,
    read_back: &Result<Presence, Failure>,
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    let Phase::Revoking { ending } = &grant.phase else {
        return Transition::default();
    };
    if grant.epoch != epoch {
        return Transition::default();
    }
    let provider = request.parts.first().provider;
    let mut ending = ending.clone();
    let mut nothing_to_try = !provider.revocable;
    match answer {
        Some(Ok(_)) => ending.accepted_at = Some(now),
        Some(Err(failure)) if failure.kind == ErrorKind::NotFound => nothing_to_try = true,
        Some(Err(failure)) if !failure.kind.is_retryable() => {
            ending.refused = ending.refused.saturating_add(1);
        }
        Some(Err(_)) | None => {}
    }
    nothing_to_try = nothing_to_try || ending.accepted_at.is_some();
    if !provider.revocable {
        // There is nothing to accept; its own clock ends it.
        ending.accepted_at = Some(now);
    }
    let last_sent = grant.slot_send_before.unwrap_or(now);
    let told_until = grant.told_until.unwrap_or(grant.expires_at);
    let presence = match read_back {
        // What can be seen and not taken away ends by the provider's own clock.
        Ok(Presence::Present) if !provider.revocable => {
            let gone_by = provider.gone_by(last_sent, told_until);
            Ok(gone_by.map_or(Presence::Present, Presence::GoneBy))
        }
        other => *other,
    };
    let mut work = Work::on(request, now);
    if let Some(answer) = answer {
        let ends = matches!(presence, Ok(Presence::Absent | Presence::GoneBy(_)));
        if ends || answer.is_ok() || ending.attempts.is_power_of_two() {
            work = work.say(Fact::RevokeAnswered {
                attempt: ending.attempts,
                answer: said_of(answer),
                read_back: read_back.ok(),
            });
        }
    }
    match presence {
        Ok(Presence::Absent) => {
            let watch = Watch {
                absent_at: now,
                until: now.max(last_sent) + provider.settles_for(),
                looks: 0,
                by_provider_clock: false,
            };
            enter_settling(work, ending, watch)
        }
        Ok(Presence::GoneBy(until)) if nothing_to_try => {
            let watch = Watch {
                absent_at: now,
                until,
                looks: 0,
                by_provider_clock: true,
            };
            enter_settling(work, ending, watch)
        }
        Ok(Presence::InFlight) => still_revoking(work, ending, IN_FLIGHT_AGAIN),
        Ok(Presence::Present | Presence::GoneBy(_)) | Err(_) => {
            if answer.is_none() && presence == Ok(Presence::Present) {
                // What was accepted came to nothing: the next try is a delete again, at once.
                ending.accepted_at = None;
                return still_revoking(work, ending, Duration::ZERO);
            }
            let failure = match (answer, read_back) {
                (Some(Err(failure)), _) | (_, Err(failure)) => Some(*failure),
                (Some(Ok(_)) | None, Ok(_)) => None,
            };
            let pause = failure.map_or(Duration::from_secs(1 << grant.failures.min(6)), |it| {
                it.pause(grant.failures)
            });
            let work = work.with(|grant, _| grant.failures = grant.failures.saturating_add(1));
            still_revoking(work, ending, pause.min(super::BACKOFF_MAX))
        }
    }
}

/// How soon to look again at what is being applied.
const IN_FLIGHT_AGAIN: Duration = Duration::from_secs(3);

fn still_revoking(work: Work<'_>, ending: Ending, pause: Duration) -> Transition {
    let next_at = work.now + pause;
    work.with(|grant, _| {
        grant.next_at = next_at;
        grant.phase = Phase::Revoking { ending };
    })
    .done()
}

/// The pace of the looks for a late effect, in seconds after the absence; then every minute.
const LOOKS: [u64; 4] = [5, 15, 30, 60];

/// When to look next: by the pace, and at the end of the watch.
fn next_look(watch: &Watch, now: Timestamp) -> Timestamp {
    let paced = LOOKS
        .iter()
        .map(|secs| watch.absent_at + Duration::from_secs(*secs));
    let by_pace = paced.into_iter().find(|at| *at > now).unwrap_or_else(|| {
        let minutes = now.since(watch.absent_at).as_secs() / 60 + 1;
        watch.absent_at + Duration::from_secs(minutes * 60)
    });
    by_pace.min(watch.until.max(now))
}

fn enter_settling(work: Work<'_>, ending: Ending, watch: Watch) -> Transition {
    let now = work.now;
    work.with(|grant, said| {
        said.push(Fact::Settling { until: watch.until });
        grant.slot_left_revoking_at = Some(now);
        grant.failures = 0;
        grant.next_at = next_look(&watch, now);
        grant.phase = Phase::Settling { ending, watch };
        if grant.stuck.take().is_some() {
            said.push(Fact::Unstuck);
        }
    })
    .done()
}

/// What a look for a late effect showed (S3).
pub(super) fn looked(
    request: &AccessRequest,
    epoch: u32,
    seen_at: Timestamp,
    presence: &Result<Presence, Failure>,
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    let Phase::Settling { watch, .. } = &grant.phase else {
        return Transition::default();
    };
    if grant.epoch != epoch || watch.by_provider_clock {
        return Transition::default();
    }
    let work = Work::on(request, now);
    match presence {
        Ok(Presence::Absent) if seen_at >= watch.until => work.with(close).done(),
        Ok(Presence::Absent) => work
            .with(|grant, _| {
                grant.failures = 0;
                let Phase::Settling { watch, .. } = &mut grant.phase else {
                    return;
                };
                watch.looks = watch.looks.saturating_add(1);
                grant.next_at = next_look(watch, now);
            })
            .done(),
        Ok(Presence::Present) => work
            .say(Fact::Reappeared)
            .with(|grant, _| enter_revoking(grant, Cause::Failed, now))
            .done(),
        // Something is being applied: that closes nothing, look again.
        Ok(Presence::InFlight | Presence::GoneBy(_)) | Err(_) => work
            .with(|grant, _| {
                let pause = Duration::from_secs(1 << grant.failures.min(3)).min(WAIT_AGAIN);
                grant.next_at = now + pause;
                grant.failures = grant.failures.saturating_add(1);
            })
            .done(),
    }
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
