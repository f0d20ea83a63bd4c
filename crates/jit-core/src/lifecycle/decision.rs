//! What people may do to a request: open it, decide it, take it back, end it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    By, Facts, PARAMETERS_DEPTH, PARAMETERS_LIMIT, Readiness, Refusal, Rules, Transition, change,
    grant, wake,
};
use crate::audit::{self, Actor, ChainHead, Fact};
use crate::catalog::{Entitlement, EntitlementId};
use crate::change::{Change, Counter};
use crate::policy::{Right, Tier};
use crate::principal::{PrincipalId, PrincipalKind, Profile};
use crate::provider::{Description, Kind, Parameters, Presence, Target};
use crate::request::{
    AccessRequest, Approval, Approver, CancelReason, Cause, End, Grant, Mismatch, Part, Phase,
    REQUEST_SHAPE, Reason, RequestId, Stage, Terms,
};
use crate::time::{Timestamp, Ttl};

/// What somebody asks for, read but not judged.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Who asks.
    pub by: By,
    /// For whom, by any of their ids; the requester themselves, or an agent's person, where unset.
    pub beneficiary: Option<PrincipalId>,
    /// What, with which parameters.
    pub parts: Vec<(EntitlementId, Parameters)>,
    /// For how long; the tier's default where unset.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: Reason,
}

/// What is looked up before a request is opened.
#[derive(Debug, Clone)]
pub struct OpenFacts {
    /// The id that the request gets.
    pub id: RequestId,
    /// The person who gets the access, if the directory knows them.
    pub beneficiary: Option<Profile>,
    /// What the provider resolves the part to; none where it does not know it.
    pub target: Option<Target>,
    /// What the provider declares about itself.
    pub provider: Description,
    /// What the provider shows, where no live grant owns the slot.
    pub presence: Option<Presence>,
    /// When the running grant on the same slot ends, if one is Active.
    pub running_until: Option<Timestamp>,
    /// Whether anything new may be given.
    pub readiness: Readiness,
    /// Whether the tier's automatic quota may be used.
    pub automatic: Automatic,
}

/// Whether the automatic quota is to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Automatic {
    /// Use it if the tier has one.
    Try,
    /// It was tried and is used up.
    UsedUp,
}

impl Opening {
    /// The one part that is asked for.
    pub fn part(&self) -> Result<&(EntitlementId, Parameters), Refusal> {
        match self.parts.as_slice() {
            [part] => Ok(part),
            parts => Err(Refusal::TooManyParts { asked: parts.len() }),
        }
    }

    /// Whom it is for: the named one, else an agent's person, else the requester.
    pub fn beneficiary(&self) -> &PrincipalId {
        let requester = &self.by.profile;
        match (&self.beneficiary, &requester.kind) {
            (Some(named), _) => named,
            (None, PrincipalKind::Agent { acts_for }) => acts_for,
            (None, PrincipalKind::Person) => &requester.id,
        }
    }

    /// Everything about the ask that can be judged before a provider is called: the entitlement,
    /// the duration, the parameters and the rights.
    pub fn check<'a>(
        &self,
        rules: Rules<'a>,
        beneficiary: Option<&Profile>,
        readiness: Readiness,
    ) -> Result<(&'a Entitlement, &'a Tier, Ttl), Refusal> {
        readiness.check()?;
        let requester = &self.by.profile;
        if !requester.active {
            return Err(Refusal::InactivePrincipal {
                id: requester.id.clone(),
            });
        }
        let (id, parameters) = self.part()?;
        let unknown = || Refusal::UnknownEntitlement {
            entitlement: id.clone(),
        };
        let entitlement = rules.catalog.get(id).ok_or_else(unknown)?;
        let tier = rules.policy.tier(&entitlement.tier).ok_or_else(unknown)?;
        check_parameters(entitlement, parameters)?;
        let ttl = self.ttl.unwrap_or(tier.ttl_default);
        if ttl > tier.ttl_max {
            return Err(Refusal::TtlAboveCeiling {
                asked: ttl,
                ceiling: tier.ttl_max,
            });
        }
        let unknown = || Refusal::UnknownPrincipal {
            id: self.beneficiary().clone(),
        };
        let beneficiary = beneficiary.ok_or_else(unknown)?;
        check_rights(rules, requester, beneficiary, id)?;
        Ok((entitlement, tier, ttl))
    }
}

fn check_parameters(entitlement: &Entitlement, parameters: &Parameters) -> Result<(), Refusal> {
    if parameters.is_empty() {
        return Ok(());
    }
    if entitlement.parameters == crate::catalog::ParameterRule::Refused {
        return Err(Refusal::ParametersNotTaken {
            entitlement: entitlement.id.clone(),
        });
    }
    let parameters = serde_json::Value::from(parameters.clone());
    if depth(&parameters) > PARAMETERS_DEPTH {
        return Err(Refusal::ParametersTooDeep {
            ceiling: PARAMETERS_DEPTH,
        });
    }
    let bytes = parameters.to_string().len();
    if bytes > PARAMETERS_LIMIT {
        return Err(Refusal::ParametersTooLarge {
            bytes,
            ceiling: PARAMETERS_LIMIT,
        });
    }
    Ok(())
}

/// How deep a value is nested, not looking further than the ceiling.
fn depth(value: &serde_json::Value) -> usize {
    let mut deepest = 0;
    let mut waiting = vec![(value, 1)];
    while let Some((value, at)) = waiting.pop() {
        deepest = deepest.max(at);
        match value {
            _ if at > PARAMETERS_DEPTH => return at,
            serde_json::Value::Array(items) => waiting.extend(items.iter().map(|it| (it, at + 1))),
            serde_json::Value::Object(fields) => {
                waiting.extend(fields.values().map(|it| (it, at + 1)));
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }
    deepest
}

/// Whether this requester may have this for this person.
fn check_rights(
    rules: Rules<'_>,
    requester: &Profile,
    beneficiary: &Profile,
    entitlement: &EntitlementId,
) -> Result<(), Refusal> {
    if beneficiary.is_agent() {
        return Err(Refusal::BeneficiaryIsAgent {
            id: beneficiary.id.clone(),
        });
    }
    if !beneficiary.active {
        return Err(Refusal::InactivePrincipal {
            id: beneficiary.id.clone(),
        });
    }
    let missing = |right| Refusal::NotAllowed {
        right,
        entitlement: entitlement.clone(),
    };
    let right = match &requester.kind {
        PrincipalKind::Agent { acts_for } if *acts_for != beneficiary.id => {
            return Err(Refusal::AgentForAnother {
                human: acts_for.clone(),
            });
        }
        PrincipalKind::Person if requester.id != beneficiary.id => Right::OnBehalfOf,
        PrincipalKind::Agent { .. } | PrincipalKind::Person => Right::Request,
    };
    if !rules.policy.allows(right, requester, entitlement) {
        return Err(missing(right));
    }
    // Nobody holds through another what they could not ask for themselves.
    if !rules
        .policy
        .allows(Right::Request, beneficiary, entitlement)
    {
        return Err(Refusal::BeneficiaryNotAllowed {
            beneficiary: beneficiary.id.clone(),
            entitlement: entitlement.clone(),
        });
    }
    Ok(())
}

/// Makes a request: Pending, or Approved at once where the tier's quota allows it.
pub fn open(
    rules: Rules<'_>,
    opening: &Opening,
    facts: &OpenFacts,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    let (entitlement, tier, ttl) =
        opening.check(rules, facts.beneficiary.as_ref(), facts.readiness)?;
    let (_, parameters) = opening.part()?;
    let unknown = || Refusal::UnknownPrincipal {
        id: opening.beneficiary().clone(),
    };
    let beneficiary = facts.beneficiary.as_ref().ok_or_else(unknown)?;
    let target = facts.target.clone().ok_or_else(|| Refusal::NotGrantable {
        entitlement: entitlement.id.clone(),
        beneficiary: beneficiary.id.clone(),
    })?;
    if facts.provider.residual > tier.residual_max() {
        return Err(Refusal::ResidualAboveCeiling {
            entitlement: entitlement.id.clone(),
            residual: facts.provider.residual,
            ceiling: tier.residual_max(),
        });
    }
    if let Some(until) = facts.running_until
        && now + ttl.duration() <= until
    {
        return Err(Refusal::AlreadyHeldUntil { until });
    }
    if facts.presence == Some(Presence::Present) {
        return Err(Refusal::AlreadyStands);
    }
    // Whoever asks collects: a secret that is for somebody else would reach the wrong hands.
    let for_another = !opening.by.profile.is_agent() && opening.by.profile.id != beneficiary.id;
    if facts.provider.kind == Kind::Minted && for_another {
        return Err(Refusal::CredentialForAnother);
    }
    let part = Part {
        entitlement: entitlement.id.clone(),
        parameters: parameters.clone(),
        target,
        provider: facts.provider,
    };
    let parts = vec![part]
        .try_into()
        .map_err(|_| Refusal::TooManyParts { asked: 0 })?;
    let request = AccessRequest {
        shape: REQUEST_SHAPE,
        id: facts.id,
        version: 1,
        chain: ChainHead::start(&facts.id.to_string()),
        requester: opening.by.profile.id.clone(),
        beneficiary: beneficiary.id.clone(),
        parts,
        ttl,
        reason: opening.reason.clone(),
        terms: Terms {
            tier: tier.name.clone(),
            ttl_max: tier.ttl_max,
            approvals: tier.approvals,
            residual_max_secs: tier.residual_max_secs,
            policy: rules.policy.terms_digest(entitlement),
        },
        opened_at: now,
        decide_by: now + tier.decision_window.duration(),
        updated_at: now,
        approvals: vec![],
        stage: Stage::Pending,
    };
    opened(request, opening, tier, facts.automatic, now)
}

/// Seals the first events of a request, and approves it where the quota is to be used.
fn opened(
    mut request: AccessRequest,
    opening: &Opening,
    tier: &Tier,
    automatic: Automatic,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    let entitlements = request
        .parts
        .iter()
        .map(|part| part.entitlement.clone())
        .collect();
    let requested = Fact::Requested {
        digest: request.digest(),
        beneficiary: request.beneficiary.clone(),
        entitlements,
        ttl: request.ttl,
        reason: request.reason.clone(),
        approvals_needed: tier.approvals,
    };
    let mut events = audit::record(&mut request, now, &opening.by.actor(), vec![requested]);
    let mut counter = None;
    match (tier.automatic, automatic) {
        (Some(quota), Automatic::Try) => {
            let window_secs = u64::from(quota.per.as_secs());
            let window = now.unix_micros().unsigned_abs() / 1_000_000 / window_secs;
            counter = Some(Counter {
                key: format!("automatic/{}/{}", tier.name, request.beneficiary),
                window,
                ceiling: quota.ceiling,
                forget_at: now + quota.per.duration() * 2,
            });
            request.approvals.push(Approval {
                by: Approver::Automatic,
                ttl: None,
                at: now,
            });
            let approved = Fact::Approved {
                by: Approver::Automatic,
                ttl: None,
                count: 1,
                needed: 0,
            };
            let granted = enter_approved(&mut request, now);
            events.extend(audit::record(
                &mut request,
                now,
                &Actor::System,
                vec![approved, granted],
            ));
        }
        (Some(quota), Automatic::UsedUp) if tier.approvals == 0 => {
            return Err(Refusal::QuotaUsed {
                ceiling: quota.ceiling,
                per: quota.per,
            });
        }
        (Some(_), Automatic::UsedUp) | (None, Automatic::Try | Automatic::UsedUp) => {}
    }
    let wake = wake(&request);
    let change = Change {
        record: request,
        expected: None,
        events,
        wake,
    };
    Ok(Transition {
        counter,
        ..Transition::of(change)
    })
}

/// The clock of the grant starts: the expiry is fixed here and only ever moves earlier (S6).
fn enter_approved(request: &mut AccessRequest, now: Timestamp) -> Fact {
    let chosen = request.approvals.iter().filter_map(|approval| approval.ttl);
    let ttl = chosen
        .fold(request.ttl.min(request.terms.ttl_max), Ttl::min)
        .duration();
    let expires_at = now + ttl;
    let ten_minutes = Duration::from_secs(600);
    let provision_by = match request.parts.first().provider.kind {
        Kind::Standing => now + ten_minutes.min(ttl * 3 / 4),
        Kind::Minted => expires_at.min(now + ten_minutes),
    };
    request.stage = Stage::Granted(Box::new(Grant {
        phase: Phase::Approved,
        approved_at: now,
        expires_at,
        provision_by,
        epoch: 0,
        send_before: None,
        slot_send_before: None,
        slot_left_revoking_at: None,
        took_over: None,
        told_until: None,
        handle: None,
        active_at: None,
        rechecks: vec![],
        next_at: now,
        failures: 0,
        stuck: None,
    }));
    Fact::Granted {
        expires_at,
        provision_by,
    }
}

/// Whether what was asked for may still be given: the same terms, and people who may still have
/// it (S11).
pub fn eligibility(
    rules: Rules<'_>,
    people: &BTreeMap<PrincipalId, Profile>,
    request: &AccessRequest,
) -> Result<(), Mismatch> {
    for part in request.parts.iter() {
        let entitlement = rules
            .catalog
            .get(&part.entitlement)
            .ok_or(Mismatch::PolicyChanged)?;
        if rules.policy.terms_digest(entitlement) != request.terms.policy {
            return Err(Mismatch::PolicyChanged);
        }
        let known = |id| people.get(id).filter(|profile| profile.active);
        let (Some(requester), Some(beneficiary)) =
            (known(&request.requester), known(&request.beneficiary))
        else {
            return Err(Mismatch::NoLongerEligible);
        };
        check_rights(rules, requester, beneficiary, &part.entitlement)
            .map_err(|_| Mismatch::NoLongerEligible)?;
    }
    Ok(())
}

/// Whether the principal with this canonical id may decide this request: an active person with the
/// right, who neither made it nor gets it (S9). Requester, beneficiary and approvers are compared
/// by what the directory calls them now, not by what it called them then.
pub fn has_authority(
    rules: Rules<'_>,
    people: &BTreeMap<PrincipalId, Profile>,
    id: &PrincipalId,
    request: &AccessRequest,
) -> bool {
    let Some(profile) = people.get(id) else {
        return false;
    };
    profile.id == *id
        && !is_own(people, id, request)
        && request.parts.iter().all(|part| {
            rules
                .policy
                .allows(Right::Approve, profile, &part.entitlement)
        })
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
    if !has_authority(rules, &decider, id, request) {
        let entitlement = request.parts.first().entitlement.clone();
        return Err(Refusal::NotAllowed {
            right: Right::Approve,
            entitlement,
        });
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
    if let Err(why) = eligibility(rules, &facts.people, request) {
        return Ok(invalidate(request, &Actor::System, why, None, now));
    }
    if let Some(chosen) = ttl.filter(|chosen| *chosen > request.ttl) {
        return Err(Refusal::TtlAboveAsked {
            chosen,
            asked: request.ttl,
        });
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
        said = drop_without_authority(rules, &mut after, facts, id);
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

/// At the commit of the last needed approval every earlier one is checked again (S5).
fn drop_without_authority(
    rules: Rules<'_>,
    request: &mut AccessRequest,
    facts: &Facts,
    newest: &PrincipalId,
) -> Vec<Fact> {
    let counts = |approval: &Approval| match &approval.by {
        Approver::Person(id) if id == newest => true,
        Approver::Person(id) => has_authority(rules, &facts.people, id, request),
        Approver::Automatic => true,
    };
    let (kept, dropped): (Vec<_>, Vec<_>) = request.approvals.iter().cloned().partition(counts);
    request.approvals = kept;
    let said = dropped
        .into_iter()
        .filter_map(|approval| match approval.by {
            Approver::Person(by) => Some(Fact::ApprovalDropped { by }),
            Approver::Automatic => None,
        });
    said.collect()
}

pub(super) fn deny(
    rules: Rules<'_>,
    request: &AccessRequest,
    by: &By,
    reason: Option<&Reason>,
    digest: &str,
    facts: &Facts,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    check_decidable(rules, request, by, digest, &facts.people, now)?;
    if let Err(why) = eligibility(rules, &facts.people, request) {
        return Ok(invalidate(request, &Actor::System, why, None, now));
    }
    let mut after = request.clone();
    after.stage = Stage::Denied {
        by: by.profile.id.clone(),
        reason: reason.cloned(),
    };
    let said = vec![Fact::Denied {
        reason: reason.cloned(),
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
    now: Timestamp,
) -> Result<Transition, Refusal> {
    for part in request.parts.iter() {
        if !rules
            .policy
            .allows(Right::Revoke, &by.profile, &part.entitlement)
        {
            let entitlement = part.entitlement.clone();
            return Err(Refusal::NotAllowed {
                right: Right::Revoke,
                entitlement,
            });
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
