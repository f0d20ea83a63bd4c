//! Every way in which the domain says no, with its numbers. Each sentence is safe to show to the
//! person who asked.

use std::time::Duration;

use crate::catalog::EntitlementId;
use crate::policy::Right;
use crate::principal::PrincipalId;
use crate::request::{Approver, RequestId, Status};
use crate::time::{Timestamp, Ttl};

/// The domain said no; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each sentence says what its fields are")]
pub enum Refusal {
    // What was asked.
    #[error(
        "there is no entitlement {entitlement} that you may ask for; `jit list --entitlements` shows those"
    )]
    UnknownEntitlement { entitlement: EntitlementId },
    #[error("a request names 1 entitlement, not {asked}")]
    TooManyParts { asked: usize },
    #[error("{entitlement} takes no parameters")]
    ParametersNotTaken { entitlement: EntitlementId },
    #[error("the parameters do not fit {entitlement}: {why}")]
    ParametersDoNotFit {
        entitlement: EntitlementId,
        why: String,
    },
    #[error("the parameters are {bytes} bytes long; at most {ceiling} are taken")]
    ParametersTooLarge { bytes: usize, ceiling: usize },
    #[error("the parameters are nested too deep; at most {ceiling} levels are taken")]
    ParametersTooDeep { ceiling: usize },
    #[error("a credential reaches whoever asks for it, so it cannot be asked for somebody else")]
    CredentialForAnother,
    #[error("{asked} is longer than the ceiling of {ceiling}; ask for at most {ceiling}")]
    TtlAboveCeiling { asked: Ttl, ceiling: Ttl },
    #[error(
        "{chosen} is longer than the {asked} that were asked for; an approver may only shorten"
    )]
    TtlAboveAsked { chosen: Ttl, asked: Ttl },
    #[error("access to {entitlement} may live on for {} s after its end, and its tier allows {} s", .residual.as_secs(), .ceiling.as_secs())]
    ResidualAboveCeiling {
        entitlement: EntitlementId,
        residual: Duration,
        ceiling: Duration,
    },
    #[error("the access is already held until {until}; a new request must end later than that")]
    AlreadyHeldUntil { until: Timestamp },
    #[error(
        "the access already stands, and was not given through this service; ask whoever gave it to take it away first"
    )]
    AlreadyStands,
    #[error("you have opened {ceiling} requests in this hour; try again in the next one")]
    TooManyRequests { ceiling: u32 },
    #[error(
        "{ceiling} of your requests are open or granted, which is as many as you may have at once; wait for one to end, or end one"
    )]
    TooManyOpen { ceiling: u32 },
    #[error("{ceiling} automatic approvals per {per} are used up; try again later")]
    QuotaUsed { ceiling: u32, per: Ttl },
    #[error("this Idempotency-Key was used for another request body; take a new key")]
    IdempotencyMismatch,
    #[error("this was carried out already, by another process that took it over")]
    InputDone,
    #[error(
        "{entitlement} cannot be granted to {beneficiary}: {}",
        .why.unwrap_or("the provider does not know what is asked for, or for whom")
    )]
    NotGrantable {
        entitlement: EntitlementId,
        beneficiary: PrincipalId,
        why: Option<&'static str>,
    },
    #[error("{asked} is called otherwise; {}", ask_for(called.as_ref()))]
    OtherName {
        asked: EntitlementId,
        called: Option<EntitlementId>,
    },

    // Who asked.
    #[error("{id} is not known here; ask an operator to add the account")]
    UnknownPrincipal { id: PrincipalId },
    #[error("the account {id} is not active")]
    InactivePrincipal { id: PrincipalId },
    #[error(
        "you do not have the right to {right} for {entitlement}; `jit policy explain` shows why"
    )]
    NotAllowed {
        right: Right,
        entitlement: EntitlementId,
    },
    #[error(
        "{entitlement} needs {needed} to approve it, and {}; ask an operator who should decide", others(*found)
    )]
    NobodyEligible {
        entitlement: EntitlementId,
        needed: u8,
        found: usize,
    },
    #[error(
        "the rules give you the right to {right} for {entitlement} at other hours, or once a request has waited longer; `jit policy explain` shows when"
    )]
    NotNow {
        right: Right,
        entitlement: EntitlementId,
    },
    #[error("you do not have the right to {right}")]
    NotAllowedAnywhere { right: Right },
    #[error("{beneficiary} may not hold {entitlement}")]
    BeneficiaryNotAllowed {
        beneficiary: PrincipalId,
        entitlement: EntitlementId,
    },
    #[error("an agent asks for the person it acts for, {human}, and for nobody else")]
    AgentForAnother { human: PrincipalId },
    #[error(
        "access is given to people, and to services that ask for themselves; {id} is a program"
    )]
    BeneficiaryIsProgram { id: PrincipalId },
    #[error("you may not decide a request that you made or that is for you; somebody else must")]
    OwnRequest,
    #[error("only the requester and the person whom it is for may do this")]
    NotYours,
    #[error("only the requester may collect the credential")]
    NotTheAsker,
    #[error("there is no such request, or you may not see it")]
    UnknownRequest,

    // How far it is.
    #[error("already {status}{} at {at}", by_whom(.by))]
    AlreadyDecided {
        status: Status,
        by: Option<Approver>,
        at: Timestamp,
    },
    #[error("nobody decided by {at}, so the request has lapsed; ask again")]
    Lapsed { at: Timestamp },
    #[error("the request is not what you were shown; look at it again before you decide")]
    StaleDigest,
    #[error("you have approved this request already; it needs {missing} more")]
    AlreadyApproved { missing: u8 },
    #[error("this request was approved and taken back too often; ask again")]
    TooManyDecisions,
    #[error("you have no approval of this request to take back")]
    NothingToRetract,
    #[error("the request is {status}; only a pending one can be withdrawn, use `jit end`")]
    NotPending { status: Status },
    #[error("the access is already ending")]
    AlreadyEnding,
    #[error("this is over: the request is {status}")]
    AlreadyOver { status: Status },
    #[error("{by} took this access over; end that one")]
    Superseded { by: RequestId },
    #[error("nothing to collect: {entitlement} is given at the provider itself")]
    NothingToCollect { entitlement: EntitlementId },
    #[error("the request is {status}; a credential can be collected once it is approved")]
    NotCollectable { status: Status },
    #[error("the credential was collected or may have been; it is given once, ask again")]
    AlreadyCollected,
    #[error(
        "the credential would be valid until {ends_at}, and must end by {ceiling}; it was taken back"
    )]
    CredentialOutlives {
        ends_at: Timestamp,
        ceiling: Timestamp,
    },

    // The service itself.
    #[error("who is in a group that matters here cannot be found out now; try again in a minute")]
    CannotTell,
    #[error("new access is paused by an operator; access that was given still ends on time")]
    Paused,
    #[error("the clock of this service is off by {} s; it grants nothing until that is mended", .off_by.as_secs())]
    ClockOff { off_by: Duration },
    #[error(
        "the store of this service does not answer; it grants nothing until it does, and access that \
         was given still ends on time"
    )]
    StoreAway,
}

fn by_whom(by: &Option<Approver>) -> String {
    match by {
        Some(Approver::Person(id)) => format!(" by {id}"),
        Some(Approver::Automatic) => " automatically".to_owned(),
        None => String::new(),
    }
}

fn others(found: usize) -> String {
    match found {
        0 => "nobody may who is not you or the one whom it is for".to_owned(),
        1 => "only one person may who is not you or the one whom it is for".to_owned(),
        more => format!("only {more} people may who are not you or the one whom it is for"),
    }
}

fn ask_for(called: Option<&EntitlementId>) -> String {
    match called {
        Some(called) => format!("ask for {called}"),
        None => "ask an operator what for".to_owned(),
    }
}

impl Refusal {
    /// The right that was missing, where that is why: such a refusal goes to the audit.
    pub fn missing_right(&self) -> Option<Right> {
        match self {
            Self::NotAllowed { right, .. }
            | Self::NotNow { right, .. }
            | Self::NotAllowedAnywhere { right } => Some(*right),
            Self::OwnRequest => Some(Right::Approve),
            // Said alike of what does not exist, so that nobody learns which it is.
            Self::UnknownEntitlement { .. } => Some(Right::Request),
            _ => None,
        }
    }

    /// A short name for programs, in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownEntitlement { .. } => "unknown_entitlement",
            Self::TooManyParts { .. } => "too_many_parts",
            Self::ParametersNotTaken { .. } => "parameters_not_taken",
            Self::ParametersDoNotFit { .. } => "parameters_do_not_fit",
            Self::ParametersTooLarge { .. } => "parameters_too_large",
            Self::ParametersTooDeep { .. } => "parameters_too_deep",
            Self::CredentialForAnother => "credential_for_another",
            Self::TtlAboveCeiling { .. } => "ttl_above_ceiling",
            Self::TtlAboveAsked { .. } => "ttl_above_asked",
            Self::ResidualAboveCeiling { .. } => "residual_above_ceiling",
            Self::AlreadyHeldUntil { .. } => "already_held_until",
            Self::AlreadyStands => "already_stands",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::TooManyOpen { .. } => "too_many_open",
            Self::QuotaUsed { .. } => "quota_used",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::InputDone => "input_done",
            Self::NotGrantable { .. } => "not_grantable",
            Self::OtherName { .. } => "other_name",
            Self::UnknownPrincipal { .. } => "unknown_principal",
            Self::InactivePrincipal { .. } => "inactive_principal",
            Self::NotAllowed { .. } | Self::NotAllowedAnywhere { .. } => "not_allowed",
            Self::NobodyEligible { .. } => "nobody_eligible",
            Self::NotNow { .. } => "not_now",
            Self::BeneficiaryNotAllowed { .. } => "beneficiary_not_allowed",
            Self::AgentForAnother { .. } => "agent_for_another",
            Self::BeneficiaryIsProgram { .. } => "beneficiary_is_program",
            Self::OwnRequest => "own_request",
            Self::NotYours => "not_yours",
            Self::NotTheAsker => "not_the_asker",
            Self::UnknownRequest => "unknown_request",
            Self::AlreadyDecided { .. } => "already_decided",
            Self::Lapsed { .. } => "lapsed",
            Self::StaleDigest => "stale_digest",
            Self::AlreadyApproved { .. } => "already_approved",
            Self::TooManyDecisions => "too_many_decisions",
            Self::NothingToRetract => "nothing_to_retract",
            Self::NotPending { .. } => "not_pending",
            Self::AlreadyEnding => "already_ending",
            Self::AlreadyOver { .. } => "already_over",
            Self::Superseded { .. } => "superseded",
            Self::NothingToCollect { .. } => "nothing_to_collect",
            Self::NotCollectable { .. } => "not_collectable",
            Self::AlreadyCollected => "already_collected",
            Self::CredentialOutlives { .. } => "credential_outlives",
            Self::CannotTell => "cannot_tell",
            Self::Paused => "paused",
            Self::ClockOff { .. } => "clock_off",
            Self::StoreAway => "store_away",
        }
    }
}
