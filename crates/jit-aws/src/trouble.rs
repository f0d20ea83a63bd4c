//! What a failed call of the SDK means: what is to be learnt from it, what the caller may do, and
//! whether it may have happened all the same. No credential stands in any of it.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jit_core::ports::{Effect, ErrorKind};

use crate::fence::Passage;

/// How long to leave AWS alone where it does not say.
const PAUSE: Duration = Duration::from_secs(1);
/// The most that is kept of what AWS says.
const MESSAGE_LIMIT: usize = 500;

type Cause = Box<dyn StdError + Send + Sync>;

/// A call that AWS did not do, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct NotDone {
    action: &'static str,
    reason: Reason,
    /// Whether it may have happened all the same.
    effect: Effect,
    kind: ErrorKind,
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
    status: Option<u16>,
    #[source]
    cause: Option<Cause>,
}

/// What is to be learnt from a failed call, beyond its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The thing is not there.
    NotFound,
    /// We may not.
    Denied,
    /// The credentials are past their time; new ones may be had.
    CredentialsExpired,
    /// There are no credentials, or AWS does not know them.
    Credentials,
    /// AWS does not take the date of the signature.
    Clock,
    /// Too fast.
    Throttled,
    /// The gate before the wire was closed.
    TooLate,
    /// It did not come as far as that gate.
    NotSent,
    /// AWS cannot be reached: no connection was made.
    NotConnected,
    /// No answer, or none that makes sense.
    NoAnswer,
    /// AWS answered with anything else.
    Other,
}

impl NotDone {
    /// What is to be learnt from it.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What the caller may do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether it may have happened all the same.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// AWS's own name for it, where it gave one.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// What a failed call of the SDK means. `passage` says how far it came, where that is known.
    pub fn of<E>(
        action: &'static str,
        error: SdkError<E, HttpResponse>,
        passage: Passage,
    ) -> Box<Self>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let response = error.raw_response();
        let header = |name| {
            let value = response.and_then(|response| response.headers().get(name));
            value.map(str::to_owned)
        };
        let status = response.map(|response| response.status().as_u16());
        let request_id = header("x-amzn-requestid");
        let retry_after_ms = header("retry-after")
            .and_then(|seconds| seconds.trim().parse::<u64>().ok())
            .map(|seconds| seconds.saturating_mul(1_000));
        let mut answer = Box::new(Self {
            action,
            reason: Reason::NoAnswer,
            effect: Effect::Unknown,
            kind: ErrorKind::Unavailable,
            code: None,
            message: None,
            request_id,
            status,
            cause: None,
        });
        match error {
            SdkError::ServiceError(error) => {
                let error = error.into_err();
                answer.code = error.code().map(shortened);
                answer.message = error.message().map(shortened);
                answer.judge(retry_after_ms);
                // What the service's own words do not hold: a typed error of it.
                if answer.code.is_none() {
                    answer.cause = Some(Box::new(error));
                }
            }
            SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_)
                if passage == Passage::TooLate =>
            {
                answer.reason = Reason::TooLate;
                answer.effect = Effect::None;
            }
            other => {
                answer.unanswered(&other, passage);
                answer.cause = other.into_source().ok();
            }
        }
        answer
    }

    /// What AWS's own words mean. All of them but the last two are said of a request of which
    /// nothing was done.
    fn judge(&mut self, retry_after_ms: Option<u64>) {
        let code = self.code.as_deref().unwrap_or_default();
        let (reason, kind) = match code {
            "ResourceNotFoundException" | "AccountNotFoundException" | "NoSuchEntity" => {
                (Reason::NotFound, ErrorKind::NotFound)
            }
            "AccessDeniedException"
            | "AccessDenied"
            | "AccessDeniedForDependencyException"
            | "AWSOrganizationsNotInUseException"
            | "OptInRequired" => (Reason::Denied, ErrorKind::Forbidden),
            // The next call has other credentials, so it is worth trying again.
            "ExpiredTokenException" | "ExpiredToken" => {
                (Reason::CredentialsExpired, ErrorKind::Unavailable)
            }
            "RequestExpired" | "RequestTimeTooSkewed" => (Reason::Clock, ErrorKind::Forbidden),
            "InvalidSignatureException" | "SignatureDoesNotMatch" if self.names_the_date() => {
                (Reason::Clock, ErrorKind::Forbidden)
            }
            "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException" => (Reason::Credentials, ErrorKind::Forbidden),
            // Of a limit on policies: another one has to go before this one fits.
            "ConflictException"
            | "ConcurrentModification"
            | "EntityTemporarilyUnmodifiable"
            | "LimitExceeded" => (Reason::Other, ErrorKind::Conflict),
            "ValidationException"
            | "ValidationError"
            | "InvalidInput"
            | "InvalidInputException"
            | "MalformedPolicyDocument"
            | "PackedPolicyTooLarge"
            | "RegionDisabledException"
            | "UnmodifiableEntity"
            | "SerializationException"
            | "UnknownOperationException" => (Reason::Other, ErrorKind::Misconfigured),
            // What there is too much of may go: it is worth another try while there is time.
            "ServiceQuotaExceededException" => (
                Reason::Other,
                ErrorKind::RateLimited {
                    retry_after_ms: None,
                },
            ),
            "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded" => {
                (Reason::Throttled, ErrorKind::RateLimited { retry_after_ms })
            }
            _ if self.status == Some(429) => {
                (Reason::Throttled, ErrorKind::RateLimited { retry_after_ms })
            }
            // A server that broke may have broken after it did what it was told.
            _ => {
                self.reason = Reason::Other;
                return;
            }
        };
        self.reason = reason;
        self.kind = kind;
        self.effect = Effect::None;
    }

    /// `Signature expired: … is now earlier than …` and `Signature not yet current: …`, as AWS says.
    fn names_the_date(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        message.contains("expired") || message.contains("not yet current")
    }

    /// A call that AWS did not answer: whether that is for certain because it never left.
    fn unanswered(&mut self, error: &(dyn StdError + 'static), passage: Passage) {
        let refused = chain(error).any(|cause| {
            let cause = cause.downcast_ref::<std::io::Error>();
            cause.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
        });
        let no_credentials = chain(error).any(|cause| cause.is::<CredentialsError>());
        if refused {
            // The other machine itself said that nobody listens there.
            self.reason = Reason::NotConnected;
            self.effect = Effect::None;
        } else if no_credentials {
            self.reason = Reason::Credentials;
            self.effect = Effect::None;
        } else if passage == Passage::NotReached {
            self.reason = Reason::NotSent;
            self.effect = Effect::None;
        }
    }

    fn sentence(&self) -> String {
        let action = self.action;
        let said = match (&self.code, &self.message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.clone(),
            (None, _) => String::new(),
        };
        let mut sentence = match self.reason {
            Reason::Clock => format!(
                "AWS refuses the date of {action}'s signature, so the clock of this machine is \
                 wrong: {said}"
            ),
            Reason::CredentialsExpired => {
                format!("the AWS credentials expired, the next call loads others: {said}")
            }
            Reason::Credentials if said.is_empty() => {
                format!("{action} was not sent, for want of AWS credentials")
            }
            Reason::NotSent => format!("{action} was not sent"),
            Reason::TooLate => format!("{action} was not sent: its time is over"),
            Reason::NotConnected => format!("{action} was not sent: AWS cannot be reached"),
            Reason::NoAnswer => format!("{action} got no answer that makes sense"),
            _ => format!("AWS answered {action} with {said}"),
        };
        if let Some(status) = self.status.filter(|_| self.code.is_none()) {
            sentence.push_str(&format!(" (HTTP {status})"));
        }
        if let Some(id) = &self.request_id {
            sentence.push_str(&format!(" (request {id})"));
        }
        sentence
    }

    /// How long AWS wants to be left alone.
    pub fn wants_a_pause(&self) -> Option<Duration> {
        match self.kind {
            ErrorKind::RateLimited { retry_after_ms } => {
                Some(retry_after_ms.map_or(PAUSE, Duration::from_millis))
            }
            _ => None,
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE_LIMIT).collect()
}

/// An error and its causes; an `io::Error` hides the one it wraps from `source`.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}
