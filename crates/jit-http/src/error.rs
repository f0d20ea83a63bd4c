//! What a caller is told when something is not done, always in one shape:
//! `{"error":{"code","message","reference"}}`. A refusal keeps its sentence; a failure says nothing
//! of its cause, which goes to the log with the same reference.

use std::error::Error as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jit_core::engine::EngineError;
use jit_core::lifecycle::Refusal;
use jit_core::ports::{ErrorKind, PortError};
use jit_core::principal::PrincipalId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::token::NotAuthenticated;

/// What stores call themselves in an error.
const STORES: [&str; 3] = ["store", "sqlite", "dynamodb"];

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What went wrong.
    pub(crate) error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// A short name for programs, in snake case.
    #[schema(example = "ttl_above_ceiling")]
    pub(crate) code: String,
    /// A sentence for people.
    pub(crate) message: String,
    /// The request id of this very call, which the log has too.
    pub(crate) reference: String,
}

/// An answer that is not a success. The outermost layer gives it its body and its reference.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    /// The sentence; none for a failure, whose sentence names its reference.
    pub(crate) message: Option<String>,
    /// What the log is told.
    pub(crate) cause: Option<String>,
}

impl ApiError {
    /// Something that the caller can mend.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: Some(message.into()),
            cause: None,
        }
    }

    /// A value that is not allowed where it stands.
    pub(crate) fn bad_value(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", message)
    }

    /// The domain said no to this caller.
    pub(crate) fn refused(refusal: &Refusal, caller: &PrincipalId) -> Self {
        let status = match refusal {
            // A caller whom the directory does not know has the wrong account, not a bad value.
            Refusal::UnknownPrincipal { id } if id == caller => StatusCode::FORBIDDEN,
            other => status_of(other),
        };
        Self::new(status, refusal.code(), refusal.to_string())
    }

    /// The engine did not do it.
    pub(crate) fn from_engine(error: EngineError, caller: &PrincipalId) -> Self {
        match error {
            EngineError::Refused(refusal) => Self::refused(&refusal, caller),
            EngineError::Failed(error) => Self::failed(&error),
        }
    }

    /// The world failed. That the store does not answer is told as the refusal that follows from it.
    pub(crate) fn failed(error: &PortError) -> Self {
        if STORES.contains(&error.adapter) && error.kind == ErrorKind::Unavailable {
            return Self::store_away(error);
        }
        let status = match error.kind {
            ErrorKind::Conflict | ErrorKind::RateLimited { .. } | ErrorKind::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ErrorKind::NotFound | ErrorKind::Forbidden | ErrorKind::Misconfigured => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self {
            status,
            code: "failed",
            message: None,
            cause: Some(chain(error)),
        }
    }

    fn store_away(error: &PortError) -> Self {
        let refusal = Refusal::StoreAway;
        Self {
            status: status_of(&refusal),
            code: refusal.code(),
            message: Some(refusal.to_string()),
            cause: Some(chain(error)),
        }
    }
}

impl From<NotAuthenticated> for ApiError {
    fn from(error: NotAuthenticated) -> Self {
        let message = error.to_string();
        match error {
            NotAuthenticated::Invalid => {
                Self::new(StatusCode::UNAUTHORIZED, "not_authenticated", message)
            }
            NotAuthenticated::Expired => {
                Self::new(StatusCode::UNAUTHORIZED, "token_expired", message)
            }
            NotAuthenticated::Store(error)
                if matches!(
                    error.kind,
                    ErrorKind::Unavailable | ErrorKind::RateLimited { .. }
                ) =>
            {
                Self::store_away(&error)
            }
            NotAuthenticated::Store(error) => Self::failed(&error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The status of a refusal.
fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownRequest => StatusCode::NOT_FOUND,
        Refusal::InactivePrincipal { .. }
        | Refusal::NotAllowed { .. }
        | Refusal::NotNow { .. }
        | Refusal::NotAllowedAnywhere { .. }
        | Refusal::BeneficiaryNotAllowed { .. }
        | Refusal::AgentForAnother { .. }
        | Refusal::OwnRequest
        | Refusal::NotYours
        | Refusal::NotTheAsker => StatusCode::FORBIDDEN,
        Refusal::UnknownEntitlement { .. }
        | Refusal::NobodyEligible { .. }
        | Refusal::UnknownPrincipal { .. }
        | Refusal::TooManyParts { .. }
        | Refusal::ParametersNotTaken { .. }
        | Refusal::ParametersDoNotFit { .. }
        | Refusal::ParametersTooLarge { .. }
        | Refusal::ParametersTooDeep { .. }
        | Refusal::CredentialForAnother
        | Refusal::TtlAboveCeiling { .. }
        | Refusal::TtlAboveAsked { .. }
        | Refusal::ResidualAboveCeiling { .. }
        | Refusal::NotGrantable { .. }
        | Refusal::OtherName { .. }
        | Refusal::BeneficiaryIsProgram { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::AlreadyHeldUntil { .. }
        | Refusal::AlreadyStands
        | Refusal::IdempotencyMismatch
        | Refusal::InputDone
        | Refusal::TooManyDecisions
        | Refusal::AlreadyDecided { .. }
        | Refusal::Lapsed { .. }
        | Refusal::StaleDigest
        | Refusal::AlreadyApproved { .. }
        | Refusal::NothingToRetract
        | Refusal::NotPending { .. }
        | Refusal::AlreadyEnding
        | Refusal::AlreadyOver { .. }
        | Refusal::Superseded { .. }
        | Refusal::NothingToCollect { .. }
        | Refusal::NotCollectable { .. }
        | Refusal::AlreadyCollected
        | Refusal::CredentialOutlives { .. } => StatusCode::CONFLICT,
        Refusal::QuotaUsed { .. }
        | Refusal::TooManyOpen { .. }
        | Refusal::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::CannotTell | Refusal::Paused | Refusal::ClockOff { .. } | Refusal::StoreAway => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// An error and everything behind it, for the log.
fn chain(error: &PortError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_its_cause_to_the_log_and_to_nobody_else() {
        let kind = ErrorKind::Unavailable;
        let error = PortError::maybe_done("okta", "look up", kind).because("disk 7 is on fire");
        let told = ApiError::failed(&error);
        assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(told.message, None);
        let cause = told.cause.unwrap();
        assert_eq!(
            cause,
            "okta could not look up: unavailable: disk 7 is on fire"
        );
    }

    #[test]
    fn l4_a_store_that_does_not_answer_is_told_as_such_at_the_first_failure() {
        for store in STORES {
            let kind = ErrorKind::Unavailable;
            let error = PortError::nothing_done(store, "commit", kind).because("disk 7 is on fire");
            let told = ApiError::failed(&error);
            assert_eq!((told.status.as_u16(), told.code), (503, "store_away"));
            assert_eq!(told.message, Some(Refusal::StoreAway.to_string()));
            assert!(told.cause.unwrap().ends_with("disk 7 is on fire"));
        }
        let broken = PortError::nothing_done("sqlite", "commit", ErrorKind::Misconfigured);
        assert_eq!(ApiError::failed(&broken).code, "failed");
    }

    #[test]
    fn a_failure_that_trying_again_mends_is_answered_503_and_any_other_500() {
        for (kind, status) in [
            (ErrorKind::Conflict, 503),
            (ErrorKind::Unavailable, 503),
            (
                ErrorKind::RateLimited {
                    retry_after_ms: None,
                },
                503,
            ),
            (ErrorKind::NotFound, 500),
            (ErrorKind::Forbidden, 500),
            (ErrorKind::Misconfigured, 500),
        ] {
            let told = ApiError::failed(&PortError::nothing_done("x", "y", kind));
            assert_eq!(told.status.as_u16(), status, "{kind:?}");
        }
    }
}
