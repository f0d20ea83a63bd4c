//! Minted access: the asker collects the credential, once.

use super::grant::{
    Work, begin_ending, cancel, due_elsewhere, enter_active, enter_revoking, said_of,
};
use super::lease::{NotGood, send, still_good};
use super::{By, Failure, LeaseFacts, MintedAs, Refusal, Rules, Secret, Transition};
use crate::audit::Fact;
use crate::provider::{Answer, Effect, Kind};
use crate::request::{AccessRequest, Cause, Grant, Phase, Sent};
use crate::time::Timestamp;

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
        return Ok(due_elsewhere(request, now));
    }
    facts.facts.readiness.check()?;
    let work = Work::on(request, now);
    match (still_good(rules, request, facts), &grant.phase) {
        (Ok(()), _) => Ok(fall_back(work)
            .with(|grant, said| send(grant, request.next_place(), None, said, now))
            .done()),
        (Err(NotGood::CannotTell), _) => Err(Refusal::CannotTell),
        (Err(NotGood::Cancel(why)), Phase::Approved) => Ok(cancel(work, why).done()),
        (Err(NotGood::Cancel(_)), _) => Ok(begin_ending(work, Cause::Failed).done()),
    }
}

/// Goes over to the fallback where the next call goes there: the provider said that it did nothing.
fn fall_back(work: Work<'_>) -> Work<'_> {
    let request = work.before;
    let (place, next) = (request.place(), request.next_place());
    if place.entitlement == next.entitlement {
        return work;
    }
    let to = next.entitlement.clone();
    work.say(Fact::FellBack { to })
        .with(|grant, _| grant.fell_back = true)
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
        // What did nothing may be tried again until it is too late to collect.
        Err(failure) if in_time && failure.effect == Effect::None => {
            let sent = Sent::Nothing;
            return work
                .with(|grant, _| grant.phase = Phase::Provisioning { sent })
                .done();
        }
        Err(_) => return work.done(),
        Ok(minted) => minted,
    };
    let work = work.with(|grant, _| {
        grant.handle = minted.handle.clone();
        grant.told_until = grant.told_until.max(minted.ends_at);
    });
    let ceiling = grant.expires_at + request.residual_max();
    let outlives = ends_at(request, grant, minted.ends_at).is_some_and(|at| at > ceiling);
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

/// When the credential ends by itself. A provider that did not say so, and cannot take it back, may
/// leave it for as long as it declares.
pub(crate) fn ends_at(
    request: &AccessRequest,
    grant: &Grant,
    told: Option<Timestamp>,
) -> Option<Timestamp> {
    let provider = request.place().provider;
    let declared = || {
        let sent = grant.send_before.unwrap_or(grant.approved_at);
        provider.gone_by(sent, grant.expires_at)
    };
    told.or_else(|| if provider.revocable { None } else { declared() })
}
