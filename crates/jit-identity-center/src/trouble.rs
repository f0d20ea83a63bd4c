//! Why a call failed, and the one place where that becomes a `PortError`. No credential, user name
//! or e-mail address stands in any of it.

use std::time::Duration;

use jit_aws::{Failed, NotDone, Reason};
use jit_core::ports::{Effect, ErrorKind, PortError};

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

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Busy(wait) => Self::Busy(wait),
            Failed::TooLate => Self::TooLate,
            Failed::Aws(answer) => Self::Aws(answer),
        }
    }
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
            Self::Aws(answer) => Some(answer.reason()),
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
            Self::Refused { answer, .. } | Self::Aws(answer) => answer.kind(),
            Self::Failed { kind, .. } => *kind,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::NoAnswer(effect) | Self::Failed { effect, .. } => *effect,
            Self::Aws(answer) | Self::Refused { answer, .. } => answer.effect(),
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
