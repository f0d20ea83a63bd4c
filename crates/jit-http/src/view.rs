//! A request as the API shows it: a view type of its own, so that the stored form may change
//! without a client noticing. Pure functions from the domain's values; no rule is judged here.

use jit_core::catalog::Catalog;
use jit_core::ports::Credential;
use jit_core::provider::Kind;
use jit_core::request::{
    AccessRequest, Approval, Approver, CancelReason, Cause, End, Grant, Mismatch, Part, Phase,
    Sent, Stage, Status, Stuck,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A request and how far it is. Instants are RFC 3339 in UTC, durations as in `30m`. What does not
/// apply is left out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RequestView {
    /// Its id.
    #[schema(example = "req-01kdvd96m0b9jtb9db9db9db80")]
    pub(crate) id: String,
    /// Counts its changes; `?seen=` names the one that the caller knows.
    pub(crate) version: u64,
    /// How far it is.
    pub(crate) status: StatusView,
    /// More about `ended`: `settling` while it is watched for a late effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<&'static str>,
    /// How the access ended, or why it is ending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<EndView>,
    /// Why an invalidated or cancelled request came to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<&'static str>,
    /// Who asks.
    #[schema(example = "ana@example.com")]
    pub(crate) requester: String,
    /// Who gets the access.
    #[schema(example = "ana@example.com")]
    pub(crate) beneficiary: String,
    /// What is asked for.
    pub(crate) entitlements: Vec<PartView>,
    /// For how long.
    #[schema(example = "30m")]
    pub(crate) ttl: String,
    /// Why, in the requester's words.
    pub(crate) reason: String,
    /// The risk class that it was opened under.
    pub(crate) tier: String,
    /// How many people must approve in all.
    pub(crate) approvals_needed: u8,
    /// The approvals that count.
    pub(crate) approvals: Vec<ApprovalView>,
    /// What a decision is bound to: at least its first 16 digits go with it.
    pub(crate) digest: String,
    /// When it was opened.
    pub(crate) opened_at: String,
    /// It lapses then unless somebody decides.
    pub(crate) decide_by: String,
    /// The newest change.
    pub(crate) updated_at: String,
    /// Who denied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) denied_by: Option<String>,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) denied_reason: Option<String>,
    /// Who took it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) withdrawn_by: Option<String>,
    /// When the last needed approval came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approved_at: Option<String>,
    /// Standing access: it is given up unless it is there by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provision_by: Option<String>,
    /// A credential: it is given up unless it is collected by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) collect_by: Option<String>,
    /// Whether its requester can collect a credential now.
    pub(crate) collectable: bool,
    /// When the access became active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active_at: Option<String>,
    /// When the access ends. It only ever moves earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
    /// Whether the credential is made where the request falls back to.
    pub(crate) fell_back: bool,
    /// Issued sessions may live on for so many seconds after the end.
    pub(crate) residual_secs: u64,
    /// What to do with the access, while it is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) how_to_use: Option<String>,
    /// How the ending is late, while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stuck: Option<&'static str>,
    /// The request whose grant took this one over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) superseded_by: Option<String>,
}

/// How far a request is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StatusView {
    Pending,
    Denied,
    Withdrawn,
    Lapsed,
    Invalidated,
    Approved,
    Provisioning,
    Active,
    Revoking,
    Ended,
    Cancelled,
}

impl StatusView {
    pub(crate) fn of(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Denied => Self::Denied,
            Status::Withdrawn => Self::Withdrawn,
            Status::Lapsed => Self::Lapsed,
            Status::Invalidated => Self::Invalidated,
            Status::Approved => Self::Approved,
            Status::Provisioning => Self::Provisioning,
            Status::Active => Self::Active,
            Status::Revoking => Self::Revoking,
            Status::Settling | Status::Closed => Self::Ended,
            Status::Cancelled => Self::Cancelled,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
            Self::Invalidated => "invalidated",
            Self::Approved => "approved",
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Revoking => "revoking",
            Self::Ended => "ended",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How access ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndView {
    /// Its time was up.
    Expired,
    /// It was returned early.
    Ended,
    /// Somebody with the right to revoke took it.
    Revoked,
    /// It could not be given, or went missing.
    Failed,
    /// A later grant took it over.
    Superseded,
}

impl EndView {
    fn of(cause: Cause) -> Self {
        match cause {
            Cause::Expired => Self::Expired,
            Cause::Ended => Self::Ended,
            Cause::Revoked => Self::Revoked,
            Cause::Failed => Self::Failed,
        }
    }
}

/// One thing that is asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartView {
    /// What.
    #[schema(example = "groupfile/admins")]
    pub(crate) entitlement: String,
    /// With which parameters.
    #[schema(value_type = Object)]
    pub(crate) parameters: serde_json::Map<String, Value>,
    /// What it is called by its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    /// What is given instead where its provider cannot make the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<String>,
}

/// One approval that counts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalView {
    /// Who; none where the tier's quota approved automatically.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// Whether nobody looked.
    pub(crate) automatic: bool,
    /// The shorter time that they chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<String>,
    /// When.
    pub(crate) at: String,
}

impl RequestView {
    /// The request as its readers see it.
    pub(crate) fn of(request: &AccessRequest, catalog: &Catalog) -> Self {
        let part = request.parts.first();
        let grant = request.grant();
        let nothing_done = Phase::Provisioning {
            sent: Sent::Nothing,
        };
        let waits = |grant: &Grant| grant.phase == Phase::Approved || grant.phase == nothing_done;
        let waits = grant.is_some_and(waits);
        let active = grant.is_some_and(|grant| grant.phase == Phase::Active);
        let deadline = |kind| {
            let open = grant.filter(|grant| is_being_given(grant) && part.provider.kind == kind);
            open.map(|grant| grant.provision_by.to_string())
        };
        let how_to_use = || {
            catalog
                .get(&part.entitlement)
                .map(|entry| entry.how_to_use.clone())
        };
        let told = Told::of(&request.stage);
        Self {
            id: request.id.to_string(),
            version: request.version,
            status: StatusView::of(request.status()),
            detail: (request.status() == Status::Settling).then_some("settling"),
            end: grant.and_then(end_of),
            why: told.why,
            requester: request.requester.to_string(),
            beneficiary: request.beneficiary.to_string(),
            entitlements: request.parts.iter().map(part_view).collect(),
            ttl: request.ttl.to_string(),
            reason: request.reason.to_string(),
            tier: request.terms.tier.to_string(),
            approvals_needed: request.terms.approvals,
            approvals: request.approvals.iter().map(approval_view).collect(),
            digest: request.digest().to_string(),
            opened_at: request.opened_at.to_string(),
            decide_by: request.decide_by.to_string(),
            updated_at: request.updated_at.to_string(),
            denied_by: told.denied_by,
            denied_reason: told.denied_reason,
            withdrawn_by: told.withdrawn_by,
            approved_at: grant.map(|grant| grant.approved_at.to_string()),
            provision_by: deadline(Kind::Standing),
            collect_by: deadline(Kind::Minted),
            collectable: waits && part.provider.kind == Kind::Minted,
            active_at: grant.and_then(|grant| grant.active_at.map(|at| at.to_string())),
            expires_at: grant.map(|grant| grant.expires_at.to_string()),
            fell_back: grant.is_some_and(|grant| grant.fell_back),
            residual_secs: part.lives_on(request.ttl.duration()).as_secs(),
            how_to_use: active.then(how_to_use).flatten(),
            stuck: grant.and_then(|grant| grant.stuck).map(stuck_word),
            superseded_by: grant.and_then(successor),
        }
    }
}

/// What the stage itself has to tell.
#[derive(Default)]
struct Told {
    why: Option<&'static str>,
    denied_by: Option<String>,
    denied_reason: Option<String>,
    withdrawn_by: Option<String>,
}

impl Told {
    fn of(stage: &Stage) -> Self {
        match stage {
            Stage::Pending | Stage::Lapsed => Self::default(),
            Stage::Denied { by, reason } => Self {
                denied_by: Some(by.to_string()),
                denied_reason: Some(reason.to_string()),
                ..Self::default()
            },
            Stage::Withdrawn { by } => Self {
                withdrawn_by: Some(by.to_string()),
                ..Self::default()
            },
            Stage::Invalidated { why } => Self {
                why: Some(mismatch_word(*why)),
                ..Self::default()
            },
            Stage::Granted(grant) => Self {
                why: cancelled(grant).map(cancel_word),
                ..Self::default()
            },
        }
    }
}

fn part_view(part: &Part) -> PartView {
    PartView {
        entitlement: part.entitlement.to_string(),
        parameters: part.parameters.clone(),
        label: part.label.clone(),
        fallback: part.fallback.as_ref().map(|it| it.entitlement.to_string()),
    }
}

fn approval_view(approval: &Approval) -> ApprovalView {
    ApprovalView {
        by: match &approval.by {
            Approver::Person(id) => Some(id.to_string()),
            Approver::Automatic => None,
        },
        automatic: approval.by == Approver::Automatic,
        ttl: approval.ttl.map(|ttl| ttl.to_string()),
        at: approval.at.to_string(),
    }
}

fn is_being_given(grant: &Grant) -> bool {
    matches!(grant.phase, Phase::Approved | Phase::Provisioning { .. })
}

fn end_of(grant: &Grant) -> Option<EndView> {
    match &grant.phase {
        Phase::Revoking { ending } | Phase::Settling { ending, .. } => {
            Some(EndView::of(ending.cause))
        }
        Phase::Closed {
            end: End::Gone { cause },
        } => Some(EndView::of(*cause)),
        Phase::Closed {
            end: End::Superseded { .. },
        } => Some(EndView::Superseded),
        Phase::Approved | Phase::Provisioning { .. } | Phase::Active | Phase::Cancelled { .. } => {
            None
        }
    }
}

fn successor(grant: &Grant) -> Option<String> {
    match &grant.phase {
        Phase::Closed {
            end: End::Superseded { by },
        } => Some(by.to_string()),
        _ => None,
    }
}

fn cancelled(grant: &Grant) -> Option<CancelReason> {
    match &grant.phase {
        Phase::Cancelled { why } => Some(*why),
        _ => None,
    }
}

fn mismatch_word(why: Mismatch) -> &'static str {
    match why {
        Mismatch::PolicyChanged => "policy_changed",
        Mismatch::NoLongerEligible => "no_longer_eligible",
        Mismatch::Revoked => "revoked",
    }
}

fn cancel_word(why: CancelReason) -> &'static str {
    match why {
        CancelReason::PolicyChanged => "policy_changed",
        CancelReason::NoLongerEligible => "no_longer_eligible",
        CancelReason::AlreadyStands => "already_stands",
        CancelReason::NotProvisioned => "not_provisioned",
        CancelReason::NotCollected => "not_collected",
        CancelReason::Ended => "ended",
        CancelReason::Revoked => "revoked",
    }
}

fn stuck_word(why: Stuck) -> &'static str {
    match why {
        Stuck::NotAccepted => "not_accepted",
        Stuck::NotVerified => "not_verified",
        Stuck::Refused => "refused",
    }
}

/// A secret on its way into the answer; its bytes are overwritten afterwards.
pub(crate) struct Secret(pub(crate) Credential);

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_testkit::sample;

    #[test]
    fn every_status_is_shown_by_the_word_of_the_api() {
        let shown = Status::ALL.map(|status| {
            let view = RequestView::of(&sample::request_in(1, status), &Catalog::default());
            assert_eq!(
                serde_json::to_value(view.status).unwrap(),
                view.status.as_str()
            );
            let end = view.end.map(|end| serde_json::to_value(end).unwrap());
            let end = end.map(|end| end.as_str().unwrap().to_owned());
            let words = [
                Some(view.status.as_str().to_owned()),
                view.detail.map(str::to_owned),
                end,
                view.why.map(str::to_owned),
            ];
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        });
        assert_eq!(
            shown,
            [
                "pending",
                "denied",
                "withdrawn",
                "lapsed",
                "invalidated policy_changed",
                "approved",
                "provisioning",
                "active",
                "revoking expired",
                "ended settling expired",
                "ended expired",
                "cancelled not_provisioned",
            ]
        );
    }

    #[test]
    fn a_superseded_grant_names_its_successor() {
        let mut request = sample::request_in(1, Status::Closed);
        let Stage::Granted(grant) = &mut request.stage else {
            panic!("a closed request was granted");
        };
        grant.phase = Phase::Closed {
            end: End::Superseded { by: sample::id(2) },
        };
        let view = RequestView::of(&request, &Catalog::default());
        assert_eq!(view.end, Some(EndView::Superseded));
        assert_eq!(view.superseded_by, Some(sample::id(2).to_string()));
    }
}
