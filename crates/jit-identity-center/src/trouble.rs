//! Why a call failed, and the one place where that becomes a `PortError`. No credential, user name
//! or e-mail address stands in any of it.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jit_core::ports::{Effect, ErrorKind, PortError};

use crate::fence::Passage;

/// How long to leave AWS alone where it does not say.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// The most that is kept of what AWS says.
const MESSAGE_LIMIT: usize = 500;

type Cause = Box<dyn StdError + Send + Sync>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the record is of another realm, which is not this Identity Center instance")]
    ForeignRealm,
    #[error(
        "the resource is not `<account of twelve digits, or its name as it is offered>/<permission \
         set, by its name or ARN>`"
    )]
    BadResource,
    #[error("the permission set's ARN is of another Identity Center instance")]
    ForeignSet,
    #[error("an account assignment takes no parameters")]
    Parameters,
    #[error("account assignments have nothing to mint")]
    NothingToMint,
    #[error("{0}")]
    BadSettings(&'static str),
    #[error("the identity store has no such user")]
    NoSuchUser,
    #[error(
        "more than one user of the identity store fits, in different letter case; write the user \
         id into the person's subjects"
    )]
    SeveralUsers,
    #[error("AWS answered with a user that does not bear the name it was asked for")]
    OtherUser,
    #[error("the user is disabled in the identity store")]
    UserDisabled,
    #[error("the identity store {0} is not there, or not for this region")]
    NoSuchStore(String),
    #[error("the organization has no account {0}")]
    NoSuchAccount(String),
    #[error(
        "no active account is called {0:?}; names of accounts are in lower case, exactly as they are \
         offered, and the management account has none"
    )]
    NoSuchName(String),
    #[error("{name:?} is not the name under which it is offered; write {instead}")]
    NotItsName { name: String, instead: String },
    #[error(
        "an account can be written by its name only where accounts may be listed: allow \
         organizations:ListAccounts, or write the twelve digits of its id"
    )]
    AccountsUnlisted,
    #[error("the account {0} is not active")]
    AccountNotActive(String),
    #[error(
        "whether there is an account {0} cannot be told: allow organizations:DescribeAccount, or \
         give somebody the permission set there once by hand"
    )]
    AccountUnknown(String),
    #[error(
        "{0} is the organization's management account: assignments on it cannot be made from a \
         delegated administrator account, so it is never given"
    )]
    ManagementAccount(String),
    #[error("the instance has no permission set {0:?}")]
    NoSuchSet(String),
    #[error("the instance has several permission sets {0:?}; write the ARN instead")]
    SeveralSets(String),
    #[error("the Identity Center instance is not there, or not for this region")]
    NoSuchInstance,
    #[error(
        "AWS does not find the assignments of a permission set and an account that are both there"
    )]
    Contradiction,
    #[error("the time in which this call may be sent is over")]
    TooLate,
    #[error("AWS goes on with one list for ever")]
    EndlessList,
    #[error("AWS did not answer in time")]
    NoAnswer(Effect),
    #[error("this region's quota of calls or of operations is used up")]
    Busy(Duration),
    #[error(
        "AWS refuses the assignment; if {account} is the organization's management account, that \
         is because assignments on it cannot be made from a delegated administrator account"
    )]
    Refused {
        account: String,
        #[source]
        answer: Box<NotDone>,
    },
    #[error("AWS accepted the operation, and it failed: {reason} (operation {operation})")]
    Failed {
        kind: ErrorKind,
        effect: Effect,
        reason: String,
        operation: String,
    },
    #[error(transparent)]
    Aws(#[from] Box<NotDone>),
}

/// A call that AWS did not do, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.sentence())]
pub(crate) struct NotDone {
    pub(crate) action: &'static str,
    pub(crate) reason: Reason,
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
pub(crate) enum Reason {
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
    /// What a failed call of the SDK means. `passage` says how far it came, where that is known.
    pub(crate) fn of<E>(
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
            "ResourceNotFoundException" | "AccountNotFoundException" => {
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
            "ConflictException" => (Reason::Other, ErrorKind::Conflict),
            "ValidationException"
            | "InvalidInputException"
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
    pub(crate) fn wants_a_pause(&self) -> Option<Duration> {
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

impl Trouble {
    /// Whether AWS said that something is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.reason() == Some(Reason::NotFound)
    }

    /// Whether AWS said that we may not ask.
    pub(crate) fn is_denied(&self) -> bool {
        self.reason() == Some(Reason::Denied)
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Aws(answer) => Some(answer.reason),
            _ => None,
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchUser
            | Self::NoSuchAccount(_)
            | Self::NoSuchName(_)
            | Self::NoSuchSet(_) => ErrorKind::NotFound,
            Self::ForeignRealm
            | Self::BadResource
            | Self::ForeignSet
            | Self::Parameters
            | Self::NothingToMint
            | Self::BadSettings(_)
            | Self::SeveralUsers
            | Self::OtherUser
            | Self::UserDisabled
            | Self::NoSuchStore(_)
            | Self::AccountNotActive(_)
            | Self::NotItsName { .. }
            | Self::AccountsUnlisted
            | Self::AccountUnknown(_)
            | Self::ManagementAccount(_)
            | Self::SeveralSets(_)
            | Self::NoSuchInstance => ErrorKind::Misconfigured,
            Self::TooLate | Self::NoAnswer(_) | Self::Contradiction | Self::EndlessList => {
                ErrorKind::Unavailable
            }
            Self::Busy(wait) => ErrorKind::RateLimited {
                retry_after_ms: Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            },
            Self::Refused { answer, .. } | Self::Aws(answer) => answer.kind,
            Self::Failed { kind, .. } => *kind,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::NoAnswer(effect) | Self::Failed { effect, .. } => *effect,
            Self::Aws(answer) | Self::Refused { answer, .. } => answer.effect,
            _ => Effect::None,
        }
    }

    /// What whoever asked may be told of it.
    fn told(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchUser => Some("they are not in the directory that AWS access is given from"),
            Self::UserDisabled => {
                Some("they are disabled in the directory that AWS access is given from")
            }
            Self::NoSuchName(_) | Self::NoSuchAccount(_) => Some("there is no such account"),
            Self::NotItsName { .. } => Some("several accounts are called so; look for it by name"),
            Self::NoSuchSet(_) => Some("there is no such permission set"),
            Self::AccountNotActive(_) => Some("the account is not active"),
            Self::ManagementAccount(_) => Some(
                "assignments on the management account cannot be made from a delegated \
                 administrator account",
            ),
            _ => None,
        }
    }

    /// What the port says of it.
    pub(crate) fn during(self, operation: &'static str) -> PortError {
        let error = match self.effect() {
            Effect::None => PortError::nothing_done,
            Effect::Unknown => PortError::maybe_done,
        };
        let error = error("identity-center", operation, self.kind());
        let error = match self.told() {
            Some(sentence) => error.telling(sentence),
            None => error,
        };
        error.because(self)
    }
}

/// What AWS's reason for a failed operation says, in its own free words. The forms are seen in
/// practice and documented nowhere, so whatever is not known is worth another try.
pub(crate) fn kind_of_reason(reason: &str) -> ErrorKind {
    let reason = reason.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["throttl", "too many", "429"]) {
        ErrorKind::RateLimited {
            retry_after_ms: None,
        }
    } else if says(&["conflict", "409"]) {
        ErrorKind::Conflict
    } else if says(&["404", "not found", "notfound", "does not exist"]) {
        ErrorKind::NotFound
    } else if says(&[
        "403",
        "access denied",
        "accessdenied",
        "not authorized",
        "suspended",
    ]) {
        ErrorKind::Forbidden
    } else {
        ErrorKind::Unavailable
    }
}
