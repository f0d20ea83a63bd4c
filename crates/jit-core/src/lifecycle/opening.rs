//! What it takes to ask: the ask checked against catalogue, policy and provider, and a request made
//! of it.

use std::borrow::Cow;
use std::time::Duration;

use super::{By, PARAMETERS_DEPTH, PARAMETERS_LIMIT, Readiness, Refusal, Rules, Transition, wake};
use crate::audit::{self, Actor, ChainHead, Fact};
use crate::catalog::{Entitlement, EntitlementId, ParameterRule};
use crate::change::{Change, Counter};
use crate::policy::{Authority, Case, Policy, Right, Tier, When};
use crate::principal::{PrincipalId, PrincipalKind, Profile};
use crate::provider::{Description, Kind, Parameters, Presence, Target};
use crate::request::{
    AccessRequest, Approval, Approver, Fallback, Grant, Part, Phase, REQUEST_SHAPE, Reason,
    RequestId, Rung, Stage, Terms,
};
use crate::time::{Timestamp, Ttl};

/// How many requests one principal may open in an hour: nobody uses up the providers' quotas, or
/// their approvers' patience, by asking.
pub const OPENED_LIMIT: u32 = 1_000;
/// The names of those counters begin with this.
pub(crate) const OPENED: &str = "opened/";

/// How many requests this principal may open in an hour.
pub(crate) fn opened_limit(requester: &Profile) -> u32 {
    match &requester.kind {
        PrincipalKind::Agent { caps, .. } => OPENED_LIMIT.min(caps.per_hour),
        PrincipalKind::Person | PrincipalKind::Service => OPENED_LIMIT,
    }
}

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
    /// The one id of what it resolves to, where the provider names its things.
    pub called: Option<EntitlementId>,
    /// What the provider says to whoever asked, where it does not resolve.
    pub why_not: Option<&'static str>,
    /// What the provider declares about itself.
    pub provider: Description,
    /// Where else the credential may come from.
    pub fallback: Option<Fallback>,
    /// What the provider shows, where no live grant owns the slot.
    pub presence: Option<Presence>,
    /// When the running grant on the same slot ends, if one is Active.
    pub running_until: Option<Timestamp>,
    /// How many people may decide it; none where that cannot be told, or there are enough.
    pub deciders: Option<usize>,
    /// Whether anything new may be given.
    pub readiness: Readiness,
    /// Whether the tier's automatic quota may be used.
    pub automatic: Automatic,
    /// How many requests of whoever asks are open or granted; counted for agents alone.
    pub open_now: usize,
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
            (None, PrincipalKind::Agent { acts_for, .. }) => acts_for,
            (None, PrincipalKind::Person | PrincipalKind::Service) => &requester.id,
        }
    }

    /// Everything about the ask that can be judged before a provider is called. The rights come
    /// first: whoever has none learns neither what can be asked for nor who exists.
    pub fn check<'a>(
        &self,
        rules: Rules<'a>,
        beneficiary: Option<&Profile>,
        readiness: Readiness,
        open_now: usize,
        now: Timestamp,
    ) -> Result<(Cow<'a, Entitlement>, &'a Tier, Ttl), Refusal> {
        readiness.check()?;
        let requester = &self.by.profile;
        if !requester.active {
            return Err(Refusal::InactivePrincipal {
                id: requester.id.clone(),
            });
        }
        check_open(requester, open_now)?;
        let (id, parameters) = self.part()?;
        let unknown = || Refusal::UnknownEntitlement {
            entitlement: id.clone(),
        };
        match asks_about(rules, requester, &Case::new(id, When::Ever).of(beneficiary)) {
            Authority::Yes => {}
            Authority::Unsure => return Err(Refusal::CannotTell),
            Authority::No => return Err(unknown()),
        }
        let entitlement = rules.catalog.get(id).ok_or_else(unknown)?;
        let tier = rules.policy.tier(&entitlement.tier).ok_or_else(unknown)?;
        let case = Case::new(id, When::at(now)).of(beneficiary);
        check_requester(rules, requester, beneficiary, &case)?;
        let nobody = || Refusal::UnknownPrincipal {
            id: self.beneficiary().clone(),
        };
        let known = beneficiary.ok_or_else(nobody)?;
        check_beneficiary(rules, requester, known, &case)?;
        // What may be given instead is no way around its own rules.
        if let Some(instead) = &entitlement.fallback {
            check_rights(rules, requester, known, instead, now)?;
        }
        check_parameters(&entitlement, parameters)?;
        let ceiling = ttl_max(tier, requester);
        let ttl = self.ttl.unwrap_or(tier.ttl_default.min(ceiling));
        if ttl > ceiling {
            return Err(Refusal::TtlAboveCeiling {
                asked: ttl,
                ceiling,
            });
        }
        Ok((entitlement, tier, ttl))
    }
}

/// Whether whoever asks has as many requests as they may have at once.
fn check_open(requester: &Profile, open_now: usize) -> Result<(), Refusal> {
    match &requester.kind {
        PrincipalKind::Agent { caps, .. }
            if usize::try_from(caps.open).is_ok_and(|ceiling| open_now >= ceiling) =>
        {
            Err(Refusal::TooManyOpen { ceiling: caps.open })
        }
        PrincipalKind::Agent { .. } | PrincipalKind::Person | PrincipalKind::Service => Ok(()),
    }
}

/// The longest that this requester may ask for.
fn ttl_max(tier: &Tier, requester: &Profile) -> Ttl {
    match &requester.kind {
        PrincipalKind::Agent { caps, .. } => tier.ttl_max.min(caps.ttl_max),
        PrincipalKind::Person | PrincipalKind::Service => tier.ttl_max,
    }
}

fn check_parameters(entitlement: &Entitlement, parameters: &Parameters) -> Result<(), Refusal> {
    if entitlement.parameters == ParameterRule::Refused && !parameters.is_empty() {
        return Err(Refusal::ParametersNotTaken {
            entitlement: entitlement.id.clone(),
        });
    }
    let written = serde_json::Value::from(parameters.clone());
    if depth(&written) > PARAMETERS_DEPTH {
        return Err(Refusal::ParametersTooDeep {
            ceiling: PARAMETERS_DEPTH,
        });
    }
    let bytes = written.to_string().len();
    if bytes > PARAMETERS_LIMIT {
        return Err(Refusal::ParametersTooLarge {
            bytes,
            ceiling: PARAMETERS_LIMIT,
        });
    }
    let do_not_fit = |why| Refusal::ParametersDoNotFit {
        entitlement: entitlement.id.clone(),
        why,
    };
    if is_misread(&written) {
        return Err(do_not_fit(format!("no name may begin with {NOT_A_NAME}")));
    }
    // What is as large as it may be is all that is held against a schema.
    let schema = entitlement.parameters.schema();
    let fits = schema.map_or(Ok(()), |schema| schema.check(parameters));
    fits.map_err(do_not_fit)
}

/// An object whose first name begins so is read back by serde_json as something else, or not at all,
/// where a program turned on its features `raw_value` or `arbitrary_precision`.
const NOT_A_NAME: &str = "$serde_json::";

/// Whether a name in this would have it read back as something else.
fn is_misread(value: &serde_json::Value) -> bool {
    let mut items = value.as_array().into_iter().flatten();
    let mut fields = value.as_object().into_iter().flatten();
    items.any(is_misread)
        || fields.any(|(name, value)| name.starts_with(NOT_A_NAME) || is_misread(value))
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

/// Whether somebody has any right by which they may know of an entitlement that can be asked for.
pub fn may_ask_about(rules: Rules<'_>, asker: &Profile, id: &EntitlementId) -> bool {
    asks_about(rules, asker, &Case::new(id, When::Ever)) == Authority::Yes
}

fn asks_about(rules: Rules<'_>, asker: &Profile, case: &Case<'_>) -> Authority {
    [Right::Request, Right::OnBehalfOf, Right::Approve]
        .into_iter()
        .map(|right| rules.policy.answer(right, asker, case))
        .fold(Authority::No, Authority::or)
}

/// That somebody has not got a right; or that they have it at another time.
pub(super) fn lacking(
    policy: &Policy,
    right: Right,
    profile: &Profile,
    case: &Case<'_>,
) -> Refusal {
    let entitlement = case.on.clone();
    let ever = Case {
        when: When::Ever,
        ..*case
    };
    match policy.answer(right, profile, &ever) {
        Authority::Yes => Refusal::NotNow { right, entitlement },
        Authority::No | Authority::Unsure => Refusal::NotAllowed { right, entitlement },
    }
}

/// Whether this requester may have this for this person, who asked at this instant.
pub(super) fn check_rights(
    rules: Rules<'_>,
    requester: &Profile,
    beneficiary: &Profile,
    entitlement: &EntitlementId,
    asked_at: Timestamp,
) -> Result<(), Refusal> {
    let case = Case::new(entitlement, When::at(asked_at)).of(Some(beneficiary));
    let may_ask = check_requester(rules, requester, Some(beneficiary), &case);
    match may_ask {
        // What is certain of the other one is not put off.
        Ok(()) | Err(Refusal::CannotTell) => {
            check_beneficiary(rules, requester, beneficiary, &case)?;
            may_ask
        }
        Err(refusal) => Err(refusal),
    }
}

/// Whether this requester may ask, for a person who may be unknown.
fn check_requester(
    rules: Rules<'_>,
    requester: &Profile,
    beneficiary: Option<&Profile>,
    case: &Case<'_>,
) -> Result<(), Refusal> {
    let oneself = beneficiary.is_some_and(|known| known.id == requester.id);
    let right = match &requester.kind {
        PrincipalKind::Agent { acts_for, .. }
            if beneficiary.is_none_or(|it| it.id != *acts_for) =>
        {
            return Err(Refusal::AgentForAnother {
                human: acts_for.clone(),
            });
        }
        PrincipalKind::Person | PrincipalKind::Service if !oneself => Right::OnBehalfOf,
        PrincipalKind::Agent { .. } | PrincipalKind::Person | PrincipalKind::Service => {
            Right::Request
        }
    };
    match rules.policy.answer(right, requester, case) {
        Authority::Yes => Ok(()),
        Authority::Unsure => Err(Refusal::CannotTell),
        Authority::No => Err(lacking(rules.policy, right, requester, case)),
    }
}

/// Whether they may hold it: nobody gets through another what they could not ask for themselves, and
/// no program gets through another what it has to ask for itself.
fn check_beneficiary(
    rules: Rules<'_>,
    requester: &Profile,
    beneficiary: &Profile,
    case: &Case<'_>,
) -> Result<(), Refusal> {
    let id = || beneficiary.id.clone();
    let itself = beneficiary.kind == PrincipalKind::Service && beneficiary.id == requester.id;
    if beneficiary.is_program() && !itself {
        return Err(Refusal::BeneficiaryIsProgram { id: id() });
    }
    if !beneficiary.active {
        return Err(Refusal::InactivePrincipal { id: id() });
    }
    match rules.policy.answer(Right::Request, beneficiary, case) {
        Authority::Yes => Ok(()),
        Authority::Unsure => Err(Refusal::CannotTell),
        Authority::No => Err(Refusal::BeneficiaryNotAllowed {
            beneficiary: id(),
            entitlement: case.on.clone(),
        }),
    }
}

/// Makes a request: Pending, or Approved at once where the tier's quota allows it.
pub fn open(
    rules: Rules<'_>,
    opening: &Opening,
    facts: &OpenFacts,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    let beneficiary = facts.beneficiary.as_ref();
    let (readiness, open_now) = (facts.readiness, facts.open_now);
    let (entitlement, tier, ttl) = opening.check(rules, beneficiary, readiness, open_now, now)?;
    let (_, parameters) = opening.part()?;
    let unknown = || Refusal::UnknownPrincipal {
        id: opening.beneficiary().clone(),
    };
    let beneficiary = facts.beneficiary.as_ref().ok_or_else(unknown)?;
    if let Some(called) = facts.called.as_ref().filter(|it| **it != entitlement.id) {
        let may_know = may_ask_about(rules, &opening.by.profile, called);
        return Err(Refusal::OtherName {
            asked: entitlement.id.clone(),
            called: may_know.then(|| called.clone()),
        });
    }
    let target = facts.target.clone().ok_or_else(|| Refusal::NotGrantable {
        entitlement: entitlement.id.clone(),
        beneficiary: beneficiary.id.clone(),
        why: facts.why_not,
    })?;
    let part = Part {
        entitlement: entitlement.id.clone(),
        parameters: parameters.clone(),
        label: label(&entitlement, parameters),
        target,
        provider: facts.provider,
        fallback: facts.fallback.clone(),
    };
    let residual = part.lives_on(ttl.duration());
    if residual > tier.residual_max() {
        return Err(Refusal::ResidualAboveCeiling {
            entitlement: entitlement.id.clone(),
            residual,
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
    let by = &opening.by.profile;
    let for_another = !by.is_program() && by.id != beneficiary.id;
    if facts.provider.kind == Kind::Minted && for_another {
        return Err(Refusal::CredentialForAnother);
    }
    let decide_by = now + tier.decision_window.duration();
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
            ttl_max: ttl_max(tier, &opening.by.profile),
            approvals: tier.approvals,
            residual_max_secs: tier.residual_max_secs,
            policy: rules.policy.terms_digest(&entitlement),
        },
        opened_at: now,
        decide_by,
        ladder: rungs(rules.policy, &entitlement.id, now, decide_by),
        updated_at: now,
        approvals: vec![],
        stage: Stage::Pending,
    };
    let opened = opened(request, opening, tier, facts.automatic, now)?;
    let waits = opened
        .request()
        .is_some_and(|it| it.stage == Stage::Pending);
    match facts.deciders {
        Some(found) if waits && found < usize::from(tier.approvals) => {
            Err(Refusal::NobodyEligible {
                entitlement: entitlement.id.clone(),
                needed: tier.approvals,
                found,
            })
        }
        Some(_) | None => Ok(opened),
    }
}

/// What a request for this is called by its parameters.
fn label(entitlement: &Entitlement, parameters: &Parameters) -> Option<String> {
    let display = entitlement.display.as_ref();
    display.map(|display| display.line(parameters))
}

/// The later steps of the ladder of a request that is opened now, as far as it may wait.
fn rungs(policy: &Policy, on: &EntitlementId, now: Timestamp, decide_by: Timestamp) -> Vec<Rung> {
    let rungs = policy.rungs(on, now, decide_by).into_iter();
    let rung = |(at, to)| Rung {
        at,
        to,
        reached_at: None,
    };
    rungs.map(rung).collect()
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
    let parameters = request.parts.iter().map(|part| part.parameters.clone());
    let mut parameters: Vec<_> = parameters.collect();
    if parameters.iter().all(Parameters::is_empty) {
        parameters.clear();
    }
    let requested = Fact::Requested {
        digest: request.digest(),
        beneficiary: request.beneficiary.clone(),
        entitlements,
        parameters,
        ttl: request.ttl,
        reason: request.reason.clone(),
        approvals_needed: tier.approvals,
    };
    let mut events = audit::record(&mut request, now, &opening.by.actor(), vec![requested]);
    let hour = now.unix_micros().unsigned_abs() / 1_000_000 / 3_600;
    let mut counters = vec![Counter {
        key: format!("{OPENED}{}", request.requester),
        window: hour,
        ceiling: opened_limit(&opening.by.profile),
        forget_at: now + Duration::from_secs(7_200),
    }];
    match (tier.automatic, automatic) {
        (Some(quota), Automatic::Try) => {
            let window_secs = u64::from(quota.per.as_secs());
            let window = now.unix_micros().unsigned_abs() / 1_000_000 / window_secs;
            counters.push(Counter {
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
        counters,
        ..Transition::of(change)
    })
}

/// The clock of the grant starts: the expiry is fixed here and only ever moves earlier (S6).
pub(super) fn enter_approved(request: &mut AccessRequest, now: Timestamp) -> Fact {
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
        slot_settles_until: None,
        slot_left_revoking_at: None,
        took_over: None,
        told_until: None,
        fell_back: false,
        handle: None,
        active_at: None,
        missing_since: None,
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
