//! A request as an agent sees it. A pure function of the record; no rule is judged here, and nothing
//! secret is in a record.

use jit_core::catalog::Catalog;
use jit_core::provider::Kind;
use jit_core::request::{
    AccessRequest, Approver, CancelReason, Cause, End, Grant, Mismatch, Phase, Sent, Stage,
};
use serde_json::{Map, Value, json};

/// How long an agent is asked to wait before it looks again, in seconds.
const LOOK_AGAIN_SECS: u64 = 5;

/// Everything of a request that its readers may know.
pub(crate) fn request(request: &AccessRequest, catalog: &Catalog) -> Value {
    let part = request.parts.first();
    let mut shown = Map::new();
    let mut show = |key: &str, value: Value| {
        if !value.is_null() {
            shown.insert(key.to_owned(), value);
        }
    };
    show("request_id", json!(request.id.to_string()));
    show("status", json!(status(request)));
    show("message", json!(message(request)));
    show("tool_name", json!(part.entitlement.name()));
    show("entitlement", json!(part.entitlement.as_str()));
    show("label", json!(part.label));
    show("tool_params", Value::Object(part.parameters.clone()));
    show("user_email", json!(request.beneficiary.as_str()));
    show("requested_by", json!(request.requester.as_str()));
    show("reason", json!(request.reason.as_str()));
    show("ttl", json!(request.ttl.to_string()));
    show("tier", json!(request.terms.tier.as_str()));
    show("digest", json!(request.digest().to_string()));
    show("approvals_needed", json!(request.terms.approvals));
    let approved_by: Vec<_> = request.approvals.iter().map(|it| by(&it.by)).collect();
    show("approved_by", json!(approved_by));
    show("opened_at", json!(request.opened_at.to_string()));
    show("decide_by", json!(request.decide_by.to_string()));
    if let Stage::Denied { by, reason } = &request.stage {
        show("denied_by", json!(by.as_str()));
        show("denied_reason", json!(reason.as_str()));
    }
    if let Some(grant) = request.grant() {
        show("expires_at", json!(grant.expires_at.to_string()));
        let active_at = grant.active_at.map(|at| at.to_string());
        show("active_at", json!(active_at));
        if grant.phase == Phase::Active
            && let Some(entry) = catalog.get(&part.entitlement)
            && !entry.how_to_use.is_empty()
        {
            show("how_to_use", json!(entry.how_to_use));
        }
    }
    if is_waiting(request) {
        show("look_again_in_seconds", json!(LOOK_AGAIN_SECS));
    }
    Value::Object(shown)
}

/// The word for how far it is; the two that mean that access is verified gone are one.
pub(crate) fn status(request: &AccessRequest) -> &'static str {
    match request.grant().map(|grant| &grant.phase) {
        Some(Phase::Settling { .. } | Phase::Closed { .. }) => "ended",
        Some(_) | None => request.status().as_str(),
    }
}

/// Whether something is about to happen by itself or by somebody else.
fn is_waiting(request: &AccessRequest) -> bool {
    match request.grant().map(|grant| &grant.phase) {
        None => request.stage == Stage::Pending,
        Some(Phase::Approved | Phase::Provisioning { .. } | Phase::Revoking { .. }) => true,
        Some(
            Phase::Active | Phase::Settling { .. } | Phase::Closed { .. } | Phase::Cancelled { .. },
        ) => false,
    }
}

fn by(approver: &Approver) -> &str {
    match approver {
        Approver::Person(id) => id.as_str(),
        Approver::Automatic => "automatic",
    }
}

/// What it means for whoever asked, in a sentence.
fn message(request: &AccessRequest) -> String {
    match &request.stage {
        Stage::Pending => {
            let missing = usize::from(request.terms.approvals) - request.approvals.len();
            format!(
                "waiting for {missing} more to approve, until {}; call describe_access_request to \
                 see what they say",
                request.decide_by
            )
        }
        Stage::Denied { .. } => "denied; do not ask for the same again unless told to".to_owned(),
        Stage::Withdrawn { .. } => "taken back before anybody decided".to_owned(),
        Stage::Lapsed => "nobody decided in time; ask again if it is still needed".to_owned(),
        Stage::Invalidated { why } => match why {
            Mismatch::PolicyChanged => "what was asked for has changed; ask again".to_owned(),
            Mismatch::NoLongerEligible => "the person may no longer have it".to_owned(),
            Mismatch::Revoked => "it was taken away before anybody decided".to_owned(),
        },
        Stage::Granted(grant) => granted(request, grant),
    }
}

fn granted(request: &AccessRequest, grant: &Grant) -> String {
    let minted = request.parts.first().provider.kind == Kind::Minted;
    let nothing = Sent::Nothing;
    match &grant.phase {
        Phase::Provisioning { sent } if minted && *sent != nothing => {
            "the credential is being made".to_owned()
        }
        Phase::Approved | Phase::Provisioning { .. } if minted => format!(
            "approved; collect the credential once, by {}, with `jit collect {}` and the token that \
             asked: it is not given out here, where it would be written down",
            grant.provision_by, request.id
        ),
        Phase::Approved | Phase::Provisioning { .. } => {
            "approved; the access is being given".to_owned()
        }
        Phase::Active => format!("the access is active until {}", grant.expires_at),
        Phase::Revoking { ending } => {
            format!("the access is being taken away: {}", cause(ending.cause))
        }
        Phase::Settling { ending, .. } => over(ending.cause),
        Phase::Closed {
            end: End::Gone { cause },
        } => over(*cause),
        Phase::Closed {
            end: End::Superseded { by },
        } => format!("{by} took this over and goes on"),
        Phase::Cancelled { why } => format!("never given: {}", cancelled(*why)),
    }
}

fn over(why: Cause) -> String {
    format!("the access has ended: {}", cause(why))
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Expired => "its time was up",
        Cause::Ended => "it was given back",
        Cause::Revoked => "it was revoked",
        Cause::Failed => "it could not be given, or went missing",
    }
}

fn cancelled(why: CancelReason) -> &'static str {
    match why {
        CancelReason::PolicyChanged => "what was asked for has changed; ask again",
        CancelReason::NoLongerEligible => "the person may no longer have it",
        CancelReason::AlreadyStands => "the access stands already",
        CancelReason::NotProvisioned => "it could not be given in time; ask again",
        CancelReason::NotCollected => "the credential was not collected in time; ask again",
        CancelReason::Ended => "it was given back first",
        CancelReason::Revoked => "it was revoked first",
    }
}
