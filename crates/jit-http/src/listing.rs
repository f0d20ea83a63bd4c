//! What the API lists: pages of requests, what can be asked for, verdicts, and the audit of a
//! request. Views like those of [`crate::view`].

use std::collections::BTreeMap;

use jit_core::audit::{Actor, AuditEvent, Fact};
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::engine::{Background, Drifted, Use};
use jit_core::policy::{Policy, Verdict};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::view::{RequestView, StatusView};

/// Requests, from the newest to the oldest.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RequestList {
    /// The requests.
    pub(crate) requests: Vec<RequestView>,
    /// The value of `after` that gives the next page; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    /// Whether the caller is in a group cannot be found out now, and so they may have a right to
    /// read more than this. Left out where this is all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) perhaps_more: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What can be asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntitlementList {
    /// Those whose ids begin with what is searched for before those that have it inside; by id
    /// within.
    pub(crate) entitlements: Vec<EntitlementView>,
    /// How many more there are, counted up to 1000.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) more: usize,
    /// When the oldest listing of a provider that is shown was made; absent where all of them are
    /// written in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) as_of: Option<String>,
}

/// One thing that can be asked for, with the terms of its tier.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntitlementView {
    /// Its id.
    #[schema(example = "groupfile/admins")]
    pub(crate) id: String,
    /// One line for people.
    pub(crate) title: String,
    /// Its risk class.
    pub(crate) tier: String,
    /// Whether a request may carry parameters.
    pub(crate) takes_parameters: bool,
    /// The JSON Schema that they must fit, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) parameters: Option<serde_json::Value>,
    /// What whoever has it can do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) allows: String,
    /// The duration of a request that names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_default: Option<String>,
    /// The longest duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_max: Option<String>,
    /// How many people must approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approvals: Option<u8>,
    /// How many requests are approved without a person, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) automatic: Option<QuotaView>,
}

/// A number of automatic approvals per interval.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuotaView {
    /// How many.
    pub(crate) ceiling: u32,
    /// In which interval.
    #[schema(example = "1d")]
    pub(crate) per: String,
}

impl EntitlementView {
    /// The entry with the terms that a request for it would have.
    pub(crate) fn of(entry: &Entitlement, policy: &Policy) -> Self {
        let tier = policy.tier(&entry.tier);
        Self {
            id: entry.id.to_string(),
            title: entry.title.clone(),
            tier: entry.tier.to_string(),
            takes_parameters: entry.parameters != ParameterRule::Refused,
            parameters: entry.parameters.schema().map(|it| it.as_json().clone()),
            allows: entry.allows.clone(),
            ttl_default: tier.map(|tier| tier.ttl_default.to_string()),
            ttl_max: tier.map(|tier| tier.ttl_max.to_string()),
            approvals: tier.map(|tier| tier.approvals),
            automatic: tier.and_then(|tier| tier.automatic).map(|quota| QuotaView {
                ceiling: quota.ceiling,
                per: quota.per.to_string(),
            }),
        }
    }
}

/// The answer to "may they?", with its reasons.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerdictView {
    /// The answer.
    pub(crate) allowed: bool,
    /// Every rule that was looked at, as one sentence each, in the order of the policy.
    #[schema(example = json!(["rule \"engineers\" allows it"]))]
    pub(crate) trace: Vec<String>,
}

impl VerdictView {
    /// The verdict in sentences.
    pub(crate) fn of(verdict: &Verdict) -> Self {
        Self {
            allowed: verdict.allowed,
            trace: verdict.trace.iter().map(ToString::to_string).collect(),
        }
    }
}

// ------------------------------------------------------------------------------------ background

/// What whoever decides may want to know beside the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BackgroundView {
    /// The latest uses of the same by the same person, at most 5.
    pub(crate) by_person: Vec<UseView>,
    /// The latest uses of the same by anybody, at most 5.
    pub(crate) of_entitlement: Vec<UseView>,
    /// Who has it now, at most 10.
    pub(crate) holders: Vec<UseView>,
    /// How many more have it.
    pub(crate) more_holders: usize,
    /// Who has it without a grant, by their id at the provider, at most 10.
    pub(crate) strangers: Vec<String>,
    /// How many more of those there are.
    pub(crate) more_strangers: usize,
    /// What whoever has it can do; empty where nobody wrote it down.
    pub(crate) allows: String,
}

/// Access that somebody had, or has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UseView {
    /// By which request.
    pub(crate) request: String,
    /// Who.
    #[schema(example = "ana@example.com")]
    pub(crate) who: String,
    /// Since when.
    pub(crate) from: String,
    /// Until when.
    pub(crate) until: String,
}

impl BackgroundView {
    /// What was found out.
    pub(crate) fn of(known: &Background) -> Self {
        let uses = |uses: &[Use]| uses.iter().map(UseView::of).collect();
        Self {
            by_person: uses(&known.by_person),
            of_entitlement: uses(&known.of_entitlement),
            holders: uses(&known.holders),
            more_holders: known.more_holders,
            strangers: known.strangers.iter().map(ToString::to_string).collect(),
            more_strangers: known.more_strangers,
            allows: known.allows.clone(),
        }
    }
}

impl UseView {
    fn of(used: &Use) -> Self {
        Self {
            request: used.request.to_string(),
            who: used.who.to_string(),
            from: used.from.to_string(),
            until: used.until.to_string(),
        }
    }
}

// --------------------------------------------------------------------------------------- events

/// The audit of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventList {
    /// In order.
    pub(crate) events: Vec<EventView>,
}

/// One event of the audit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Its number in the chain of the request, from 1.
    pub(crate) seq: u64,
    /// When.
    pub(crate) at: String,
    /// Who: a principal, `service` or `operator`.
    pub(crate) by: String,
    /// What, in one word.
    #[schema(example = "approved")]
    pub(crate) fact: String,
    /// What belongs to that fact.
    #[schema(value_type = Object)]
    pub(crate) details: BTreeMap<String, Value>,
    /// How the request stood afterwards.
    pub(crate) status: StatusView,
    /// When the access ends, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
}

impl EventView {
    /// The event as its readers see it.
    pub(crate) fn of(event: &AuditEvent) -> Self {
        let (fact, details) = fact_view(&event.event.what);
        Self {
            seq: event.seq,
            at: event.at.to_string(),
            by: match &event.actor {
                Actor::Principal { id, .. } => id.to_string(),
                Actor::System => "service".to_owned(),
                Actor::Operator => "operator".to_owned(),
            },
            fact,
            details,
            status: StatusView::of(event.event.status),
            expires_at: event.event.expires_at.map(|at| at.to_string()),
        }
    }
}

/// The audit's own words for a fact: its name, and its fields that say something.
fn fact_view(fact: &Fact) -> (String, BTreeMap<String, Value>) {
    let value = serde_json::to_value(fact)
        .expect("a fact has string keys and finite numbers, so it serialises");
    let Value::Object(mut fields) = value else {
        return (String::new(), BTreeMap::new());
    };
    let name = match fields.remove("fact") {
        Some(Value::String(name)) => name,
        _ => String::new(),
    };
    let said = fields.into_iter().filter(|(_, value)| !value.is_null());
    (name, said.collect())
}

/// What the providers and the records do not agree on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DriftList {
    /// Access that stands and that no grant explains, the longest known first.
    unexplained: Vec<DriftView>,
    /// Requests that are active, and whose access is missing.
    missing: Vec<MissingView>,
}

/// Access that no grant explains.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DriftView {
    /// The configured provider.
    #[schema(example = "okta")]
    provider: String,
    /// Whose, by the provider's own id.
    subject: String,
    /// What, by the provider's own id.
    resource: String,
    /// When it was first seen.
    found_at: String,
    /// When somebody was paged for it; null where that has not succeeded yet.
    told_at: Option<String>,
}

/// A grant whose access was taken by other hands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MissingView {
    /// Of which request.
    request: String,
    /// Who should have it.
    beneficiary: String,
    /// What.
    entitlement: String,
    /// Since when that is known.
    missing_since: Option<String>,
}

impl DriftList {
    pub(crate) fn of(drifted: &Drifted) -> Self {
        let unexplained = drifted.unexplained.iter().map(|drift| DriftView {
            provider: drift.provider.to_string(),
            subject: drift.target.subject.to_string(),
            resource: drift.target.resource.clone(),
            found_at: drift.found_at.to_string(),
            told_at: drift.told_at.map(|at| at.to_string()),
        });
        let missing = drifted.missing.iter().map(|request| MissingView {
            request: request.id.to_string(),
            beneficiary: request.beneficiary.to_string(),
            entitlement: request.parts.first().entitlement.to_string(),
            missing_since: request
                .grant()
                .and_then(|grant| grant.missing_since)
                .map(|at| at.to_string()),
        });
        Self {
            unexplained: unexplained.collect(),
            missing: missing.collect(),
        }
    }
}
