//! A policy in the engine's own types, and what the engine says in a case's words.

use jit_core::Refusal;
use jit_core::catalog::{Catalog, Entitlement, ParameterRule};
use jit_core::engine::EngineError;
use jit_core::policy::{
    Effect as Gives, Policy as Rules, Quota, Right as Has, Rule as Written, Tier as Class,
};
use jit_core::request::{AccessRequest, CancelReason, Cause, End, Mismatch, Phase, Stage};
use jit_testkit::stage::{id, ttl};

use crate::oracle::case::{Answer, Effect, Lost, Policy, Right, Rule, State, Way, Who, Why};

pub(super) fn right(right: Right) -> Has {
    match right {
        Right::Request => Has::Request,
        Right::OnBehalfOf => Has::OnBehalfOf,
        Right::Approve => Has::Approve,
        Right::Revoke => Has::Revoke,
        Right::Audit => Has::Audit,
    }
}

fn rule(rule: &Rule) -> Written {
    let who = match rule.who {
        Who::EveryPerson => "*".to_owned(),
        Who::EveryAgent => "agent:*".to_owned(),
        Who::Group(group) if group.starts_with("oncall:") => group.to_owned(),
        Who::Group(group) => format!("group:{group}"),
        Who::Manager => "manager".to_owned(),
        Who::One(name) => id(name).to_string(),
    };
    let hours = rule.hours.map(|hours| {
        let clock = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
        let (from, until) = (clock(hours.from), clock(hours.until));
        format!("mon-sun {from}-{until} UTC").parse().unwrap()
    });
    Written {
        name: rule.name.clone(),
        effect: match rule.effect {
            Effect::Allow => Gives::Allow,
            Effect::Deny => Gives::Deny,
        },
        rights: rule.rights.iter().copied().map(right).collect(),
        entitlements: vec![rule.over.unwrap_or("*").parse().unwrap()],
        principals: vec![who.parse().unwrap()],
        hours,
        after: rule.after.map(|minutes| ttl(&format!("{minutes}m"))),
    }
}

pub(super) fn rules(policy: &Policy) -> (Rules, Catalog) {
    let tiers = policy.tiers.iter().map(|(name, tier)| Class {
        name: name.parse().unwrap(),
        ttl_default: ttl("1h"),
        ttl_max: ttl(&format!("{}m", tier.longest)),
        approvals: tier.approvals,
        decision_window: ttl(&format!("{}m", tier.window)),
        automatic: (tier.way == Way::Automatic).then(|| Quota {
            ceiling: 5,
            per: ttl("1h"),
        }),
        residual_max_secs: 60,
    });
    let catalogue = policy.catalogue.iter().map(|(id, entry)| Entitlement {
        id: id.parse().unwrap(),
        resource: id.trim_start_matches("wiki/").to_owned(),
        title: entry.title.to_owned(),
        how_to_use: String::new(),
        tier: entry.tier.parse().unwrap(),
        parameters: ParameterRule::Refused,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    });
    let written = policy.rules.iter().map(rule).collect();
    (
        Rules::new(tiers.collect(), written).unwrap(),
        catalogue.collect(),
    )
}

// -------------------------------------------------------------------------------- in plain words

pub(super) fn answered<T>(answer: Result<T, EngineError>) -> Answer {
    match answer {
        Ok(_) => Answer::Done,
        Err(EngineError::Refused(refusal)) => Answer::Refused([why(&refusal)].into()),
        Err(EngineError::Failed(_)) => Answer::PutOff,
    }
}

fn why(refusal: &Refusal) -> Why {
    match refusal {
        Refusal::UnknownPrincipal { .. } => Why::UnknownPerson,
        Refusal::InactivePrincipal { .. } => Why::Inactive,
        Refusal::UnknownEntitlement { .. } => Why::NothingToAskFor,
        Refusal::NotAllowed { .. } => Why::NotAllowed,
        Refusal::NotNow { .. } => Why::NotNow,
        Refusal::AgentForAnother { .. } => Why::ForAnother,
        Refusal::BeneficiaryIsProgram { .. } => Why::ForAProgram,
        Refusal::BeneficiaryNotAllowed { .. } => Why::BeneficiaryNotAllowed,
        Refusal::NobodyEligible { .. } => Why::NobodyToDecide,
        Refusal::UnknownRequest => Why::NotSeen,
        Refusal::OwnRequest => Why::Own,
        Refusal::NotYours => Why::NotYours,
        Refusal::AlreadyDecided { .. } => Why::AlreadyDecided,
        Refusal::Lapsed { .. } => Why::Lapsed,
        Refusal::StaleDigest => Why::StaleDigest,
        Refusal::AlreadyApproved { .. } => Why::AlreadyApproved,
        Refusal::NothingToRetract => Why::NothingToRetract,
        Refusal::NotPending { .. } => Why::NotPending,
        Refusal::AlreadyEnding => Why::AlreadyEnding,
        Refusal::AlreadyOver { .. } => Why::AlreadyOver,
        Refusal::CannotTell => Why::CannotTell,
        _ => Why::Other,
    }
}

pub(super) fn state(request: &AccessRequest) -> State {
    let ending = |cause: Cause| match cause {
        Cause::Ended => State::Ending(Lost::Ended),
        Cause::Revoked => State::Ending(Lost::Revoked),
        Cause::Expired | Cause::Failed => State::Ending(Lost::Other),
    };
    match &request.stage {
        Stage::Pending => State::Pending,
        Stage::Denied { .. } => State::Denied,
        Stage::Withdrawn { .. } => State::Withdrawn,
        Stage::Lapsed => State::Lapsed,
        Stage::Invalidated { why } => State::Invalidated(
            [match why {
                Mismatch::PolicyChanged => Lost::PolicyChanged,
                Mismatch::NoLongerEligible => Lost::NoLongerEligible,
                Mismatch::Revoked => Lost::Revoked,
            }]
            .into(),
        ),
        Stage::Granted(grant) => match &grant.phase {
            Phase::Approved => State::Approved,
            Phase::Active => State::Active,
            Phase::Cancelled { why } => State::Cancelled(
                [match why {
                    CancelReason::PolicyChanged => Lost::PolicyChanged,
                    CancelReason::NoLongerEligible => Lost::NoLongerEligible,
                    CancelReason::NotProvisioned => Lost::TooLate,
                    CancelReason::Ended => Lost::Ended,
                    CancelReason::Revoked => Lost::Revoked,
                    CancelReason::AlreadyStands | CancelReason::NotCollected => Lost::Other,
                }]
                .into(),
            ),
            Phase::Revoking { ending: it } | Phase::Settling { ending: it, .. } => ending(it.cause),
            Phase::Closed {
                end: End::Gone { cause },
            } => ending(*cause),
            Phase::Provisioning { .. }
            | Phase::Closed {
                end: End::Superseded { .. },
            } => State::Other(request.status().to_string()),
        },
    }
}
