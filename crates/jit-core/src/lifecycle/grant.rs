//! What happens to an approved request at its provider: leased, granted, verified, revoked,
//! settled, closed. Every function answers an outcome with what must be committed; an outcome that
//! no longer counts changes nothing.

use std::time::Duration;

use super::duty::{Duty, owed};
use super::{
    CHECK_EVERY, Failure, GrantAnswer, Owned, SEND_WITHIN, TAKEN_FOR, Transition, WAIT_AGAIN,
    change,
};
use crate::audit::{Actor, CallResult, Fact};
use crate::change::{Change, SlotChange};
use crate::principal::Profile;
use crate::provider::{Answer, Effect, Kind, Presence};
use crate::request::{
    AccessRequest, CancelReason, Cause, End, Ending, Grant, Phase, RequestId, Sent, Slot, Stage,
};
use crate::time::Timestamp;

/// The grant of a record that has one, ready to be changed, beside the record as it was.
#[derive(Clone)]
pub(super) struct Work<'a> {
    pub(super) before: &'a AccessRequest,
    pub(super) after: AccessRequest,
    said: Vec<Fact>,
    pub(super) now: Timestamp,
}

impl<'a> Work<'a> {
    pub(super) fn on(before: &'a AccessRequest, now: Timestamp) -> Self {
        Self {
            before,
            after: before.clone(),
            said: vec![],
            now,
        }
    }

    /// Changes the grant and says what happened. A record without a grant stays as it is.
    pub(super) fn with(mut self, act: impl FnOnce(&mut Grant, &mut Vec<Fact>)) -> Self {
        if let Stage::Granted(grant) = &mut self.after.stage {
            act(grant, &mut self.said);
        }
        self
    }

    pub(super) fn say(mut self, fact: Fact) -> Self {
        self.said.push(fact);
        self
    }

    pub(super) fn change(self) -> Change {
        change(self.before, self.after, &Actor::System, self.said, self.now)
    }

    pub(super) fn done(self) -> Transition {
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
pub(super) fn take_to_revoke(
    request: &AccessRequest,
    grant: &mut Grant,
    said: &mut Vec<Fact>,
    now: Timestamp,
) {
    grant.next_at = now + TAKEN_FOR;
    let revocable = request.place().provider.revocable;
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
        Some(Duty::Escalate) => escalate(work),
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

/// Every step of the ladder that is due is reached, each with its event.
fn escalate(mut work: Work<'_>) -> Transition {
    let now = work.now;
    for (step, rung) in (1..).zip(&mut work.after.ladder) {
        if rung.at <= now && rung.reached_at.is_none() {
            rung.reached_at = Some(now);
            let to = rung.to.clone();
            work.said.push(Fact::Escalated { step, to });
        }
    }
    work.done()
}

/// The same without taking the record: whoever saves this sends no delete.
pub(super) fn due_elsewhere(request: &AccessRequest, now: Timestamp) -> Transition {
    match owed(request, now) {
        Some(Duty::Finish(cause)) => begin_ending(Work::on(request, now), cause).done(),
        Some(
            Duty::Lapse
            | Duty::Escalate
            | Duty::Cancel(_)
            | Duty::Close
            | Duty::Stick(_)
            | Duty::Lease
            | Duty::Verify
            | Duty::Check
            | Duty::Revoke
            | Duty::Look,
        )
        | None => due(request, now),
    }
}

pub(super) fn cancel(work: Work<'_>, why: CancelReason) -> Work<'_> {
    work.with(|grant, said| {
        grant.phase = Phase::Cancelled { why };
        said.push(Fact::Cancelled { why, reason: None });
    })
}

pub(super) fn close(grant: &mut Grant, said: &mut Vec<Fact>) {
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
        Some(
            Duty::Lapse
            | Duty::Escalate
            | Duty::Cancel(_)
            | Duty::Finish(_)
            | Duty::Close
            | Duty::Stick(_),
        )
        | None => Transition::default(),
    }
}

pub(super) fn wait(work: Work<'_>) -> Transition {
    let next_at = work.now + WAIT_AGAIN;
    work.with(|grant, _| grant.next_at = next_at).done()
}

pub(super) fn begin_ending(work: Work<'_>, cause: Cause) -> Work<'_> {
    let now = work.now;
    work.with(|grant, said| {
        enter_revoking(grant, cause, now);
        said.push(Fact::Ending {
            cause,
            reason: None,
        });
    })
}

// --------------------------------------------------------------------------- answers of grants

pub(super) fn enter_active(grant: &mut Grant, said: &mut Vec<Fact>, now: Timestamp) {
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

pub(super) fn said_of(answer: &Result<Answer, Failure>) -> CallResult {
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

pub(super) fn look_now(grant: &mut Grant, now: Timestamp) {
    grant.rechecks.push(now);
    grant.next_at = now;
}

/// The slot in the hands of this owner. Whoever takes it meanwhile makes the commit a conflict, and
/// it is judged again.
pub(super) fn held(slot: &Slot, owner: RequestId) -> SlotChange {
    let key = slot.key.clone();
    SlotChange {
        slot: Slot { key, owner },
        expected: Some(slot.owner),
    }
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
    let held_by = |owner| Some(held(slot, owner));
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
