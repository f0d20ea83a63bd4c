//! What can go wrong with the table and with a call, in sentences, and what a caller may do about
//! it. The decisions about DynamoDB's codes are here and nowhere else.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId;
use jit_core::ports::{CommitError, Effect, ErrorKind, PortError};
use jit_core::request::ShapeError;

/// Why a table cannot be used as a store. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none of this name.
    #[error(
        "there is no table {table:?} in {region}; make it with `jitd dynamodb create-table`, or \
         check the region and the account"
    )]
    Missing {
        /// Its name.
        table: String,
        /// Where it was looked for.
        region: String,
    },
    /// It has other keys than ours.
    #[error(
        "the table {table:?} has not the keys pk and sk, both strings: it is of another program; \
         name another table"
    )]
    OtherKeys {
        /// Its name.
        table: String,
    },
    /// It has our keys and rows of somebody else.
    #[error("the table {table:?} holds rows of another program; name another table")]
    Foreign {
        /// Its name.
        table: String,
    },
    /// A later release changed it.
    #[error(
        "the table {table:?} has schema {found} of a later release, this release knows up to \
         {known}; finish the upgrade"
    )]
    Newer {
        /// Its name.
        table: String,
        /// Its schema.
        found: u32,
        /// The newest schema of this release.
        known: u32,
    },
    /// It is being made, changed or deleted.
    #[error("the table {table:?} is {status}; try again when it is ACTIVE")]
    NotReady {
        /// Its name.
        table: String,
        /// What DynamoDB says of it.
        status: String,
    },
    /// No region is known.
    #[error("no AWS region is known; write `region` in [store], or set AWS_REGION")]
    NoRegion,
    /// DynamoDB does not answer, or refuses us.
    #[error("the table {table:?} cannot be reached")]
    Unreachable {
        /// Its name.
        table: String,
        /// Why not.
        source: PortError,
    },
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("a stored record cannot be read")]
    Shape(#[from] ShapeError),
    #[error("a stored {what} is damaged")]
    Damaged { what: &'static str },
    #[error("DynamoDB says {code}: {message} (request {request})")]
    Service {
        code: String,
        message: String,
        request: String,
    },
    #[error("DynamoDB did not answer, or nothing sensible")]
    Dispatch(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("DynamoDB left part of the work undone, and again when asked for the rest")]
    LeftUndone,
    #[error("DynamoDB did not answer before what the write was decided on grew old")]
    TooLate,
    #[error("it is larger than DynamoDB takes: {what}")]
    TooLarge { what: &'static str },
    #[error("others were at the same rows, again and again")]
    Contended,
}

/// A failed call with what a caller may do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) effect: Effect,
    pub(crate) cause: Cause,
}

impl Failure {
    pub(crate) fn during(self, operation: &'static str) -> PortError {
        let Self {
            kind,
            effect,
            cause,
        } = self;
        let error = match effect {
            Effect::None => PortError::nothing_done,
            Effect::Unknown => PortError::maybe_done,
        };
        error("dynamodb", operation, kind).because(cause)
    }

    /// What a call that DynamoDB refused, or did not answer, may have done.
    pub(crate) fn of<E>(error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let request = error.request_id().unwrap_or("unknown").to_owned();
        let SdkError::ServiceError(refused) = &error else {
            let effect = match &error {
                SdkError::ConstructionFailure(_) => Effect::None,
                // A broken connection says nothing of what went out before.
                _ => Effect::Unknown,
            };
            let kind = match &error {
                SdkError::ConstructionFailure(_) => ErrorKind::Misconfigured,
                _ => ErrorKind::Unavailable,
            };
            return Self {
                kind,
                effect,
                cause: Cause::Dispatch(error.into()),
            };
        };
        let code = refused.err().code().unwrap_or("nothing").to_owned();
        let (kind, effect) = judged(&code);
        let message = refused.err().message().unwrap_or("nothing more").to_owned();
        Self {
            kind,
            effect,
            cause: Cause::Service {
                code,
                message,
                request,
            },
        }
    }

    /// Whether DynamoDB's message has these words.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(&self.cause, Cause::Service { message, .. } if message.contains(words))
    }

    /// The same where something that went before it may have been done.
    pub(crate) fn unsure(self) -> Self {
        Self {
            effect: Effect::Unknown,
            ..self
        }
    }

    /// The code that DynamoDB gave.
    pub(crate) fn code(&self) -> Option<&str> {
        match &self.cause {
            Cause::Service { code, .. } => Some(code),
            Cause::Shape(_)
            | Cause::Damaged { .. }
            | Cause::Dispatch(_)
            | Cause::LeftUndone
            | Cause::TooLate
            | Cause::TooLarge { .. }
            | Cause::Contended => None,
        }
    }
}

/// What a code means. Source: "Error handling with DynamoDB" and "Common errors".
pub(crate) fn judged(code: &str) -> (ErrorKind, Effect) {
    const SLOWER: ErrorKind = ErrorKind::RateLimited {
        retry_after_ms: None,
    };
    match code {
        "ProvisionedThroughputExceededException"
        | "ProvisionedThroughputExceeded"
        | "ThrottlingException"
        | "ThrottlingError"
        | "RequestLimitExceeded" => (SLOWER, Effect::None),
        "ConditionalCheckFailedException"
        | "ConditionalCheckFailed"
        | "TransactionConflictException"
        | "TransactionConflict" => (ErrorKind::Conflict, Effect::None),
        // The first try of this very transaction is still under way.
        "TransactionInProgressException" => (ErrorKind::Unavailable, Effect::Unknown),
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "OptInRequired"
        | "KMSAccessDeniedException" => (ErrorKind::Forbidden, Effect::None),
        // A table that is gone must never be taken for a record that is gone.
        "ResourceNotFoundException"
        | "ValidationException"
        | "ValidationError"
        | "ItemCollectionSizeLimitExceededException"
        | "ItemCollectionSizeLimitExceeded"
        | "IdempotentParameterMismatchException" => (ErrorKind::Misconfigured, Effect::None),
        _ => (ErrorKind::Unavailable, Effect::Unknown),
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        let kind = match &cause {
            Cause::Shape(_) | Cause::Damaged { .. } | Cause::TooLarge { .. } => {
                ErrorKind::Misconfigured
            }
            Cause::Contended => ErrorKind::Conflict,
            Cause::Service { .. } | Cause::Dispatch(_) | Cause::LeftUndone | Cause::TooLate => {
                ErrorKind::Unavailable
            }
        };
        Self {
            kind,
            effect: Effect::None,
            cause,
        }
    }
}

/// Why nothing was written, or why that is not known.
#[derive(Debug)]
pub(crate) enum Fault {
    Conflict,
    CounterFull { key: String },
    InputDone,
    TooLarge { what: &'static str },
    Failed(Failure),
}

impl<C: Into<Failure>> From<C> for Fault {
    fn from(failure: C) -> Self {
        Self::Failed(failure.into())
    }
}

impl Fault {
    pub(crate) fn during(self, operation: &'static str) -> CommitError {
        match self {
            Self::Conflict => CommitError::Conflict,
            Self::CounterFull { key } => CommitError::CounterFull { key },
            Self::InputDone => CommitError::InputDone,
            Self::TooLarge { what } => CommitError::TooLarge { what },
            Self::Failed(failure) => failure.during(operation).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code of a refused call or a cancelled transaction that DynamoDB documents.
    #[test]
    fn every_code_says_what_was_done_and_what_to_do() {
        for code in [
            "ThrottlingException",
            "ProvisionedThroughputExceeded",
            "ThrottlingError",
        ] {
            let (kind, effect) = judged(code);
            assert!(kind.is_retryable() && effect == Effect::None, "{code}");
        }
        for code in ["ConditionalCheckFailed", "TransactionConflict"] {
            assert_eq!(judged(code), (ErrorKind::Conflict, Effect::None));
        }
        for code in ["AccessDeniedException", "ExpiredTokenException"] {
            assert_eq!(judged(code), (ErrorKind::Forbidden, Effect::None));
        }
        for code in ["ResourceNotFoundException", "ValidationError"] {
            assert_eq!(judged(code), (ErrorKind::Misconfigured, Effect::None));
        }
        let unknown = (ErrorKind::Unavailable, Effect::Unknown);
        assert_eq!(judged("InternalServerError"), unknown);
        assert_eq!(judged("TransactionInProgressException"), unknown);
        assert_eq!(judged("SomethingNew"), unknown);
    }
}
