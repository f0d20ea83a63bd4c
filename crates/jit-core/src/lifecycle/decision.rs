//! What people may do to a request: open it, decide it, take it back, end it.

use std::collections::BTreeMap;

use super::opening::{check_rights, enter_approved, lacking};
use super::{By, Facts, Failure, Refusal, Rules, Transition, change, grant};
use crate::audit::{Actor, Fact};
use crate::policy::{Authority, Case, Right, When};
use crate::principal::{PrincipalId, Profile};
use crate::request::{
    AccessRequest, Approval, Approver, CancelReason, Cause, End, Mismatch, Part, Phase, Reason,
    Stage,
};
use crate::time::{Timestamp, Ttl};

/// No approval is taken once a pending request has this many events: somebody goes back and forth.
pub const DECISIONS_LIMIT: u64 = 64;

/// Why what was asked for is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It may not be.
    Mismatch(Mismatch),
    /// Whether it may be cannot be found out now.
    CannotTell,
}

impl From<Mismatch> for Unfit {
    fn from(mismatch: Mismatch) -> Self {
        Self::Mismatch(mismatch)
    }
}

/// Whether what was asked for may still be given: the same terms, and people who may still have
/// it (S11).
pub fn eligibility(
    rules: Rules<'_>,
    people: &BTreeMap<PrincipalId, Profile>,
    request: &AccessRequest,
) -> Result<(), Unfit> {
    let mut unsure = false;
    for part in request.parts.iter() {
        let entitlement = rules
            .catalog
            .get(&part.entitlement)
            .ok_or(Mismatch::PolicyChanged)?;
        if rules.policy.terms_digest(&entitlement) != request.terms.policy {
            return Err(Mismatch::PolicyChanged.into());
        }
        let known = |id| people.get(id).filter(|profile| profile.active);
        let (Some(requester), Some(beneficiary)) =
            (known(&request.requester), known(&request.beneficiary))
        else {
            return Err(Mismatch::NoLongerEligible.into());
        };
        for on in part.entitlements() {
            match check_rights(rules, requester, beneficiary, on, request.opened_at) {
                Ok(()) => {}
                // Put off, unless something else is certain.
                Err(Refusal::CannotTell) => unsure = true,
                Err(_) => return Err(Mismatch::NoLongerEligible.into()),
            }
        }
    }
    match unsure {
        true => Err(Unfit::CannotTell),
        false => Ok(()),
    }
}

/// Whether the principal with this canonical id may decide this request: an active person with the
/// right, who neither made it nor gets it (S9). Requester, beneficiary and approvers are compared
/// by what the directory calls them now, not by what it called them then. Hours, and how long the
/// request must have waited, are judged by the instant of the decision.
pub fn authority(
    rules: Rules<'_>,
    people: &BTreeMap<PrincipalId, Profile>,
    id: &PrincipalId,
    request: &AccessRequest,
    decided_at: Timestamp,
) -> Authority {
    let known = people.get(id).filter(|profile| profile.id == *id);
    let Some(profile) = known.filter(|_| !is_own(people, id, request)) else {
        return Authority::No;
    };
    cases(people, request, decided_at)
        .map(|case| rules.policy.answer(Right::Approve, profile, &case))
        .fold(Authority::Yes, Authority::and)
}

/// What somebody needs the right to decide over.
fn cases<'a>(
    people: &'a BTreeMap<PrincipalId, Profile>,
    request: &'a AccessRequest,
    at: Timestamp,
) -> impl Iterator<Item = Case<'a>> {
    let beneficiary = people.get(&request.beneficiary);
    let waited = at.since(request.opened_at);
    let all = request.parts.iter().flat_map(Part::entitlements);
    all.map(move |on| Case::new(on, When::At { at, waited }).of(beneficiary))
}

/// Whether this person made the request or gets the access, under whichever name.
fn is_own(
    people: &BTreeMap<PrincipalId, Profile>,
    id: &PrincipalId,
    request: &AccessRequest,
) -> bool {
    let mut own = [&request.requester, &request.beneficiary].into_iter();
    own.any(|own| own == id || now_called(people, own) == id)
}

/// The canonical id that somebody has now.
fn now_called<'a>(
    people: &'a BTreeMap<PrincipalId, Profile>,
    id: &'a PrincipalId,
) -> &'a PrincipalId {
    people.get(id).map_or(id, |profile| &profile.id)
}

/// Refuses a decision that cannot be made any more, or not by them, or not on what they saw.
fn check_decidable(
    rules: Rules<'_>,
    request: &AccessRequest,
    by: &By,
    digest: &str,
    people: &BTreeMap<PrincipalId, Profile>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let id = &by.profile.id;
    if is_own(people, id, request) {
        return Err(Refusal::OwnRequest);
    }
    let mut decider = BTreeMap::from([(id.clone(), by.profile.clone())]);
    decider.extend(people.clone());
    match authority(rules, &decider, id, request, now) {
        Authority::Yes => {}
        Authority::Unsure => return Err(Refusal::CannotTell),
        Authority::No => {
            let (right, of) = (Right::Approve, &by.profile);
            let lacks = |case: &Case<'_>| rules.policy.answer(right, of, case) == Authority::No;
            let mut lacked = cases(people, request, now).filter(lacks);
            let on = &request.parts.first().entitlement;
            let case = lacked.next().unwrap_or(Case::new(on, When::at(now)));
            return Err(lacking(rules.policy, right, of, &case));
        }
    }
    match &request.stage {
        Stage::Pending => {}
        Stage::Lapsed => {
            return Err(Refusal::Lapsed {
                at: request.decide_by,
            });
        }
        Stage::Denied { by, .. } | Stage::Withdrawn { by } => {
            return Err(already_decided(request, Some(Approver::Person(by.clone()))));
        }
        Stage::Invalidated { .. } => return Err(already_decided(request, None)),
        Stage::Granted(_) => {
            let last = request.approvals.last().map(|approval| approval.by.clone());
            return Err(already_decided(request, last));
        }
    }
    if now >= request.decide_by {
        return Err(Refusal::Lapsed {
            at: request.decide_by,
        });
    }
    if digest.len() < 16 || !request.digest().to_string().starts_with(digest) {
        return Err(Refusal::StaleDigest);
    }
    Ok(())
}

fn already_decided(request: &AccessRequest, by: Option<Approver>) -> Refusal {
    let at = request
        .grant()
        .map_or(request.updated_at, |grant| grant.approved_at);
    Refusal::AlreadyDecided {
        status: request.status(),
        by,
        at,
    }
}

pub(super) fn approve(
    rules: Rules<'_>,
    request: &AccessRequest,
    by: &By,
    ttl: Option<Ttl>,
    digest: &str,
    facts: &Facts,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    check_decidable(rules, request, by, digest, &facts.people, now)?;
    facts.readiness.check()?;
    match eligibility(rules, &facts.people, request) {
        Ok(()) => {}
        Err(Unfit::CannotTell) => return Err(Refusal::CannotTell),
        Err(Unfit::Mismatch(why)) => {
            return Ok(invalidate(request, &Actor::System, why, None, now));
        }
    }
    if let Some(chosen) = ttl.filter(|chosen| *chosen > request.ttl) {
        return Err(Refusal::TtlAboveAsked {
            chosen,
            asked: request.ttl,
        });
    }
    if request.chain.seq >= DECISIONS_LIMIT {
        return Err(Refusal::TooManyDecisions);
    }
    let needed = request.terms.approvals;
    let id = &by.profile.id;
    let mut after = request.clone();
    let mine = |approval: &Approval| match &approval.by {
        Approver::Person(author) => author == id || now_called(&facts.people, author) == id,
        Approver::Automatic => false,
    };
    if request.approvals.iter().any(mine) {
        let missing = usize::from(needed).saturating_sub(request.approvals.len());
        return Err(Refusal::AlreadyApproved {
            missing: u8::try_from(missing).unwrap_or(u8::MAX),
        });
    }
    after.approvals.push(Approval {
        by: Approver::Person(id.clone()),
        ttl,
        at: now,
    });

    let mut said = vec![];
    if after.approvals.len() >= usize::from(needed) {
        said = drop_without_authority(rules, &mut after, facts, id)?;
    }
    let count = u8::try_from(after.approvals.len()).unwrap_or(u8::MAX);
    said.push(Fact::Approved {
        by: Approver::Person(id.clone()),
        ttl,
        count,
        needed,
    });
    if count >= needed {
        let granted = enter_approved(&mut after, now);
        let ends = after.grant().map(|grant| grant.expires_at);
        if let (Some(until), Some(ends)) = (facts.running_until, ends)
            && ends <= until
        {
            return Err(Refusal::AlreadyHeldUntil { until });
        }
        said.push(granted);
    } else if let Some(until) = facts.running_until
        && now + ttl.unwrap_or(request.ttl).duration() <= until
    {
        return Err(Refusal::AlreadyHeldUntil { until });
    }
    Ok(Transition::of(change(
        request,
        after,
        &by.actor(),
        said,
        now,
    )))
}

/// At the commit of the last needed approval every earlier one is checked again (S5). Nobody's is
/// dropped because it cannot be found out whether it counts.
fn drop_without_authority(
    rules: Rules<'_>,
    request: &mut AccessRequest,
    facts: &Facts,
    newest: &PrincipalId,
) -> Result<Vec<Fact>, Refusal> {
    let counts = |approval: &Approval| match &approval.by {
        Approver::Person(id) if id == newest => Authority::Yes,
        Approver::Person(id) => authority(rules, &facts.people, id, request, approval.at),
        Approver::Automatic => Authority::Yes,
    };
    let (mut kept, mut dropped) = (vec![], vec![]);
    for approval in &request.approvals {
        match counts(approval) {
            Authority::Yes => kept.push(approval.clone()),
            Authority::No => dropped.push(approval.clone()),
            Authority::Unsure => return Err(Refusal::CannotTell),
        }
    }
    request.approvals = kept;
    let said = dropped
        .into_iter()
        .filter_map(|approval| match approval.by {
            Approver::Person(by) => Some(Fact::ApprovalDropped { by }),
            Approver::Automatic => None,
        });
    Ok(said.collect())
}

pub(super) fn deny(
    rules: Rules<'_>,
    request: &AccessRequest,
    by: &By,
    reason: &Reason,
    digest: &str,
    facts: &Facts,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    check_decidable(rules, request, by, digest, &facts.people, now)?;
    // Whether the requester may still have it need not be found out to say no.
    if let Err(Unfit::Mismatch(why)) = eligibility(rules, &facts.people, request) {
        return Ok(invalidate(request, &Actor::System, why, None, now));
    }
    let mut after = request.clone();
    after.stage = Stage::Denied {
        by: by.profile.id.clone(),
        reason: reason.clone(),
    };
    let said = vec![Fact::Denied {
        reason: reason.clone(),
    }];
    Ok(Transition::of(change(
        request,
        after,
        &by.actor(),
        said,
        now,
    )))
}

fn invalidate(
    request: &AccessRequest,
    actor: &Actor,
    why: Mismatch,
    reason: Option<&Reason>,
    now: Timestamp,
) -> Transition {
    let mut after = request.clone();
    after.stage = Stage::Invalidated { why };
    let said = vec![Fact::Invalidated {
        why,
        reason: reason.cloned(),
    }];
    Transition::of(change(request, after, actor, said, now))
}

pub(super) fn retract(
    request: &AccessRequest,
    by: &By,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    let mine = Approver::Person(by.profile.id.clone());
    if !request.approvals.iter().any(|approval| approval.by == mine) {
        return Err(Refusal::NothingToRetract);
    }
    if request.stage != Stage::Pending {
        let last = request.approvals.last().map(|approval| approval.by.clone());
        return Err(already_decided(request, last));
    }
    if now >= request.decide_by {
        let at = request.decide_by;
        return Err(Refusal::Lapsed { at });
    }
    let mut after = request.clone();
    after.approvals.retain(|approval| approval.by != mine);
    let said = vec![Fact::ApprovalRetracted {
        by: by.profile.id.clone(),
    }];
    Ok(Transition::of(change(
        request,
        after,
        &by.actor(),
        said,
        now,
    )))
}

fn check_own(request: &AccessRequest, by: &By) -> Result<(), Refusal> {
    let id = &by.profile.id;
    if !by.profile.active {
        return Err(Refusal::InactivePrincipal { id: id.clone() });
    }
    if *id != request.requester && *id != request.beneficiary {
        return Err(Refusal::NotYours);
    }
    Ok(())
}

pub(super) fn withdraw(
    request: &AccessRequest,
    by: &By,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    check_own(request, by)?;
    match &request.stage {
        Stage::Pending if now >= request.decide_by => Err(Refusal::Lapsed {
            at: request.decide_by,
        }),
        Stage::Pending => {
            let mut after = request.clone();
            after.stage = Stage::Withdrawn {
                by: by.profile.id.clone(),
            };
            Ok(Transition::of(change(
                request,
                after,
                &by.actor(),
                vec![Fact::Withdrawn],
                now,
            )))
        }
        Stage::Denied { .. }
        | Stage::Withdrawn { .. }
        | Stage::Lapsed
        | Stage::Invalidated { .. } => Err(Refusal::AlreadyOver {
            status: request.status(),
        }),
        Stage::Granted(_) => Err(Refusal::NotPending {
            status: request.status(),
        }),
    }
}

pub(super) fn end(request: &AccessRequest, by: &By, now: Timestamp) -> Result<Transition, Refusal> {
    check_own(request, by)?;
    if request.stage == Stage::Pending {
        return withdraw(request, by, now);
    }
    end_grant(request, by, Cause::Ended, CancelReason::Ended, None, now)
}

pub(super) fn revoke(
    rules: Rules<'_>,
    request: &AccessRequest,
    by: &By,
    reason: Option<&Reason>,
    beneficiary: &Result<Option<Profile>, Failure>,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    for part in request.parts.iter() {
        let case = Case::new(&part.entitlement, When::at(now));
        let answer = |case: &Case<'_>| rules.policy.answer(Right::Revoke, &by.profile, case);
        let (case, answer) = match beneficiary {
            Ok(known) => {
                let case = case.of(known.as_ref());
                (case, answer(&case))
            }
            // Access is taken away by whoever may if they are not the manager; of others it cannot
            // be told.
            Err(_) => {
                let perhaps = Authority::Unsure.and(answer(&as_manager(case, &by.profile)));
                (case, answer(&case).or(perhaps))
            }
        };
        match answer {
            Authority::Yes => {}
            Authority::Unsure => return Err(Refusal::CannotTell),
            Authority::No => {
                return Err(lacking(rules.policy, Right::Revoke, &by.profile, &case));
            }
        }
    }
    if request.stage == Stage::Pending {
        if now >= request.decide_by {
            return Err(Refusal::Lapsed {
                at: request.decide_by,
            });
        }
        return Ok(invalidate(
            request,
            &by.actor(),
            Mismatch::Revoked,
            reason,
            now,
        ));
    }
    end_grant(
        request,
        by,
        Cause::Revoked,
        CancelReason::Revoked,
        reason,
        now,
    )
}

/// Whether it matters to their right to revoke this who the manager of whoever it is for is; or, where
/// they have none now, to whether they are told that they have it at other hours.
pub(crate) fn revokes_by_manager(
    rules: Rules<'_>,
    request: &AccessRequest,
    profile: &Profile,
    now: Timestamp,
) -> bool {
    let answer = |case: &Case<'_>| rules.policy.answer(Right::Revoke, profile, case);
    let differs = |case: Case<'_>| answer(&case) != answer(&as_manager(case, profile));
    let mut parts = request.parts.iter();
    parts.any(|part| {
        let case = Case::new(&part.entitlement, When::at(now));
        let ever = Case::new(&part.entitlement, When::Ever);
        differs(case) || (answer(&case) == Authority::No && differs(ever))
    })
}

/// The same, were this the manager of whoever it is for.
fn as_manager<'a>(case: Case<'a>, profile: &'a Profile) -> Case<'a> {
    Case {
        manager: Some(&profile.id),
        ..case
    }
}

/// Ends a request that was decided, by what its grant is doing.
fn end_grant(
    request: &AccessRequest,
    by: &By,
    cause: Cause,
    cancel: CancelReason,
    reason: Option<&Reason>,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    let Some(before) = request.grant() else {
        return Err(Refusal::AlreadyOver {
            status: request.status(),
        });
    };
    let mut after = request.clone();
    let Stage::Granted(grant) = &mut after.stage else {
        return Err(Refusal::AlreadyOver {
            status: request.status(),
        });
    };
    let said = match &before.phase {
        Phase::Approved => {
            grant.phase = Phase::Cancelled { why: cancel };
            Fact::Cancelled {
                why: cancel,
                reason: reason.cloned(),
            }
        }
        Phase::Provisioning { .. } | Phase::Active => {
            grant::enter_revoking(grant, cause, now);
            Fact::Ending {
                cause,
                reason: reason.cloned(),
            }
        }
        Phase::Revoking { .. } | Phase::Settling { .. } => return Err(Refusal::AlreadyEnding),
        Phase::Closed {
            end: End::Superseded { by },
        } => {
            return Err(Refusal::Superseded { by: *by });
        }
        Phase::Closed {
            end: End::Gone { .. },
        }
        | Phase::Cancelled { .. } => {
            return Err(Refusal::AlreadyOver {
                status: request.status(),
            });
        }
    };
    Ok(Transition::of(change(
        request,
        after,
        &by.actor(),
        vec![said],
        now,
    )))
}
