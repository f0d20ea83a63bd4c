//! The end of a grant at its provider: the delete, the read-back, and the watch for a late effect.

use std::time::Duration;

use super::duty::{Duty, owed, stuck_at};
use super::grant::{Work, begin_ending, close, enter_revoking, held, look_now, said_of};
use super::lease::lands_by;
use super::{CLOCKS_DIFFER, Failure, Owned, SeenAway, SentAway, Transition, WAIT_AGAIN};
use crate::audit::Fact;
use crate::provider::{Answer, ErrorKind, Presence};
use crate::request::{AccessRequest, Cause, Ending, Grant, Phase, Stage, Watch};
use crate::time::Timestamp;

/// Which delete was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) epoch: u32,
    pub(super) attempt: u32,
}

/// What became of a delete and its read-back, with when that began (S2).
pub(super) fn revoke_answered(
    request: &AccessRequest,
    Sent { epoch, attempt }: Sent,
    answer: Option<&Result<Answer, Failure>>,
    (read_back, seen_at): (&Result<Presence, Failure>, Timestamp),
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    let outcome = |answer| Fact::RevokeAnswered {
        attempt,
        answer: said_of(answer),
        read_back: read_back.ok(),
    };
    let ending = match &grant.phase {
        Phase::Revoking { ending } if grant.epoch == epoch => ending,
        Phase::Revoking { .. }
        | Phase::Settling { .. }
        | Phase::Closed { .. }
        | Phase::Approved
        | Phase::Provisioning { .. }
        | Phase::Active
        | Phase::Cancelled { .. } => {
            // Another worker took the record on meanwhile. The delete was sent all the same, so
            // what became of it is written down (S16).
            let work = Work::on(request, now);
            return match answer {
                Some(answer) => work.say(outcome(answer)).done(),
                None => Transition::default(),
            };
        }
    };
    let provider = request.place().provider;
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
        if ends || answer.is_ok() || attempt.is_power_of_two() {
            work = work.say(outcome(answer));
        }
    }
    match presence {
        Ok(Presence::Absent) => {
            if settled_by(&work, grant, seen_at) <= seen_at {
                return settled_at_once(work, seen_at);
            }
            let watch = Watch {
                absent_at: now,
                until: settled_by(&work, grant, now),
                looks: 0,
                by_provider_clock: false,
            };
            enter_settling(work, ending, watch).done()
        }
        Ok(Presence::GoneBy(until)) if nothing_to_try => {
            let watch = Watch {
                absent_at: now,
                // By our clock, which may be ahead of the provider's.
                until: until + CLOCKS_DIFFER,
                looks: 0,
                by_provider_clock: true,
            };
            enter_settling(work, ending, watch).done()
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

/// Until when a late effect may come of what is absent at this instant (S3).
fn settled_by(work: &Work<'_>, grant: &Grant, absent_at: Timestamp) -> Timestamp {
    let last_sent = grant.slot_send_before.unwrap_or(work.now);
    let own = absent_at.max(last_sent) + work.before.place().provider.settles_for();
    grant.slot_settles_until.map_or(own, |until| own.max(until))
}

fn enter_settling(work: Work<'_>, ending: Ending, watch: Watch) -> Work<'_> {
    let now = work.now;
    work.with(|grant, said| {
        leave_revoking(grant, said, now, watch.until);
        grant.next_at = next_look(&watch, now);
        grant.phase = Phase::Settling { ending, watch };
    })
}

/// The read-back was already a look at which nothing could take effect any more (S3).
fn settled_at_once(work: Work<'_>, seen_at: Timestamp) -> Transition {
    let now = work.now;
    work.with(|grant, said| {
        leave_revoking(grant, said, now, seen_at);
        close(grant, said);
    })
    .done()
}

fn leave_revoking(grant: &mut Grant, said: &mut Vec<Fact>, now: Timestamp, until: Timestamp) {
    said.push(Fact::Settling { until });
    grant.slot_left_revoking_at = Some(now);
    grant.failures = 0;
    if grant.stuck.take().is_some() {
        said.push(Fact::Unstuck);
    }
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

/// What was done while the store was away is written down and counts for the ending; and whoever may
/// have been hit by it is looked at: this record, or the grant that took its slot over unseen.
pub(super) fn store_away(
    request: &AccessRequest,
    sent: &SentAway,
    owned: Option<&Owned>,
    now: Timestamp,
) -> Transition {
    let Some(grant) = request.grant() else {
        return Transition::default();
    };
    let SentAway { until, deletes, .. } = *sent;
    let work = Work::on(request, now).say(Fact::StoreAway {
        from: sent.from,
        until,
        deletes,
        answer: said_of(&sent.answer),
        read_back: sent.read_back.map(|seen| seen.presence),
    });
    match &grant.phase {
        // No call of a request in these phases was ever sent.
        Phase::Approved | Phase::Cancelled { .. } => Transition::default(),
        Phase::Provisioning { .. }
        | Phase::Active
        | Phase::Revoking { .. }
        | Phase::Settling { .. } => taken_up(hit(work, until), sent).done(),
        Phase::Closed { .. } => {
            let mut transition = hit(work, until).done();
            let Some(Owned { slot, owner }) = owned else {
                return transition;
            };
            if let Some(owner) = owner.as_ref().filter(|owner| owner.id != request.id) {
                let hit = hit(Work::on(owner, now), until);
                transition.changes.push(hit.change());
            }
            transition.slot = Some(held(slot, slot.owner));
            transition
        }
    }
}

/// An absence that was seen in time without the store counts as if it had been read back (L5): the
/// watch for a late effect begins, with a look at once. It counts for the ending that it belongs to, as
/// every outcome does. What came too late, or was only accepted, is deleted and read back once more.
fn taken_up<'a>(work: Work<'a>, sent: &SentAway) -> Work<'a> {
    let Some(SeenAway {
        presence: Presence::Absent,
        seen_at,
        epoch: Some(epoch),
    }) = sent.read_back
    else {
        return work;
    };
    let (request, now) = (work.before, work.now);
    let mut ending = work.clone();
    if let Some(Duty::Finish(cause)) = owed(request, now) {
        ending = begin_ending(ending, cause);
    }
    let Stage::Granted(grant) = &ending.after.stage else {
        return work;
    };
    let Phase::Revoking { ending: so_far } = &grant.phase else {
        return work;
    };
    let so_far = so_far.clone();
    let accepted = Ending {
        accepted_at: Some(seen_at),
        ..so_far.clone()
    };
    if grant.epoch != epoch || seen_at >= stuck_at(request, &accepted).0 {
        return work;
    }
    let watch = Watch {
        absent_at: now,
        until: settled_by(&ending, grant, now),
        looks: 0,
        by_provider_clock: false,
    };
    enter_settling(ending, so_far, watch).with(|grant, _| grant.next_at = now)
}

/// A delete that was sent by this instant may have hit this grant, and may land later.
fn hit(work: Work<'_>, sent_by: Timestamp) -> Work<'_> {
    let now = work.now;
    let lands_by = lands_by(sent_by, work.before.place().provider);
    work.with(|grant, _| {
        grant.slot_left_revoking_at = grant.slot_left_revoking_at.max(Some(sent_by));
        match &grant.phase {
            Phase::Active => {
                look_now(grant, now);
                grant.rechecks.push(lands_by);
            }
            Phase::Provisioning { .. } => {
                grant.next_at = now;
                grant.rechecks.push(lands_by);
            }
            Phase::Revoking { .. } => grant.next_at = now,
            Phase::Settling { .. }
            | Phase::Closed { .. }
            | Phase::Approved
            | Phase::Cancelled { .. } => {}
        }
    })
}
