//! Why a call failed, and the one place where that becomes a `PortError`. No credential and no value
//! of a parameter stands in any of it but a character that may not stand there.

use std::time::Duration;

use jit_aws::{Failed, NotDone, Reason};
use jit_core::ports::{Effect, ErrorKind, PortError};

use crate::template::{BadParameters, BadTemplate};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{0}")]
    BadSettings(&'static str),
    #[error("the record is of another realm, which is not this account")]
    ForeignRealm,
    #[error("the record names no role or user, or no template, as this adapter writes them")]
    BadRecord,
    #[error(
        "the subject is not `user/NAME`, `role/NAME` of a role of their own, or `role/NAME:SESSION`"
    )]
    BadSubject,
    #[error("nothing says which role or user they are: write a subject, or a role that all have")]
    NoSubject,
    #[error(
        "their id cannot be the name of a session, which has 2 to 64 letters, digits and any of \
         _+=,.@-; write `role/NAME:SESSION` into their subjects"
    )]
    NoSession,
    #[error("{0} is the role that all have; write `role/{0}:SESSION`")]
    EverybodysRole(String),
    #[error(
        "the trust policy of role {0} lets whoever assumes it choose the name of the session, so that \
         anybody could be anybody; hold sts:RoleSessionName there to what each of them is, such as \
         ${{aws:username}}"
    )]
    FreeNames(String),
    #[error("the account has no {0}")]
    NoSuchPrincipal(String),
    #[error("the role {0} is AWS's own and cannot be changed")]
    Reserved(String),
    #[error("the resource is neither the name nor the ARN of a role of this account")]
    BadRole,
    #[error("the credentials are of account {0}, and not of the configured one")]
    OtherAccount(String),
    #[error("what is asked for has no template of a policy")]
    NoTemplate,
    #[error("the template is not the one that was approved")]
    OtherTemplate,
    #[error(transparent)]
    Template(#[from] BadTemplate),
    #[error(transparent)]
    Parameters(#[from] BadParameters),
    #[error("the policy has {size} characters, and {of} takes {limit}")]
    TooLong {
        size: usize,
        of: &'static str,
        limit: usize,
    },
    #[error("a temporary policy is nothing to mint")]
    NothingToMint,
    #[error("a session is minted, not granted")]
    NothingToGrant,
    #[error("a session cannot be taken back; it ends by itself")]
    NotRevocable,
    #[error("the end is over")]
    Over,
    #[error("the time in which this call may be sent is over")]
    TooLate,
    #[error("AWS did not answer in time")]
    NoAnswer(Effect),
    #[error("AWS answered without what was asked for")]
    Unreadable,
    #[error("the quota of calls is used up")]
    Busy(Duration),
    #[error("nothing was asked, because it cannot be told of which account the credentials are")]
    Unknown(#[source] Box<NotDone>),
    #[error(transparent)]
    Aws(Box<NotDone>),
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
        matches!(self, Self::Aws(answer) if answer.reason() == Reason::NotFound)
    }

    fn code(&self) -> Option<&str> {
        match self {
            Self::Aws(answer) => answer.code(),
            _ => None,
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchPrincipal(_) => ErrorKind::NotFound,
            Self::BadSettings(_)
            | Self::ForeignRealm
            | Self::BadRecord
            | Self::BadSubject
            | Self::NoSubject
            | Self::NoSession
            | Self::EverybodysRole(_)
            | Self::FreeNames(_)
            | Self::Reserved(_)
            | Self::BadRole
            | Self::OtherAccount(_)
            | Self::NoTemplate
            | Self::OtherTemplate
            | Self::Template(_)
            | Self::Parameters(_)
            | Self::TooLong { .. }
            | Self::NothingToMint
            | Self::NothingToGrant
            | Self::NotRevocable => ErrorKind::Misconfigured,
            Self::Over | Self::TooLate | Self::NoAnswer(_) | Self::Unreadable => {
                ErrorKind::Unavailable
            }
            Self::Busy(wait) => ErrorKind::RateLimited {
                retry_after_ms: Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            },
            Self::Aws(answer) | Self::Unknown(answer) => answer.kind(),
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::NoAnswer(effect) => *effect,
            Self::Unreadable => Effect::Unknown,
            Self::Aws(answer) => answer.effect(),
            _ => Effect::None,
        }
    }

    /// What whoever asked may be told of it.
    fn told(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchPrincipal(_) => Some("the role or user of AWS is not there"),
            Self::NoSubject | Self::BadSubject => {
                Some("the configuration does not say which role or user of AWS they are")
            }
            Self::NoSession => Some("their name cannot be the name of a session of AWS"),
            Self::FreeNames(_) => Some(
                "the trust policy of their role lets whoever assumes it choose the name of the \
                 session; whoever runs this has to mend it",
            ),
            Self::Reserved(_) => Some("their role is one that AWS lets nobody change"),
            Self::NoTemplate | Self::Template(_) | Self::BadRole => {
                Some("the configuration of what is asked for is wrong")
            }
            Self::OtherTemplate => Some("what is asked for was changed since it was approved"),
            Self::Parameters(bad) => Some(match bad {
                BadParameters::Missing(_) => "a parameter is missing",
                BadParameters::Unused(_) => "there is a parameter that has no place in it",
                BadParameters::Sort(_) => {
                    "a parameter is not a text, a whole number, true or false, or a list of those"
                }
                BadParameters::Length { .. } => {
                    "a parameter is empty or longer than 256 characters"
                }
                BadParameters::Character { .. } => {
                    "a parameter has a character that may not stand there, such as a space, *, ? or $"
                }
                BadParameters::List(_) => {
                    "a parameter is a list where there is place for one value"
                }
                BadParameters::ListLength { .. } => "a parameter is a list of none or of too many",
                BadParameters::Lasting(_) => {
                    "with these parameters it would make access that nothing ends"
                }
                BadParameters::NotIam { .. } => {
                    "with these parameters it is no action or resource of AWS"
                }
            }),
            Self::TooLong { .. } => {
                Some("with these parameters the policy is longer than AWS takes")
            }
            Self::NotRevocable => Some("a session of AWS cannot be taken back; it ends by itself"),
            _ => match self.code() {
                Some("LimitExceeded") => {
                    Some("their role or user has as many policies as AWS takes")
                }
                Some("PackedPolicyTooLarge") => {
                    Some("with these parameters the policy is longer than AWS takes")
                }
                Some("MalformedPolicyDocument") => Some(
                    "AWS does not take the policy that this makes; whoever runs this has to mend its \
                     template",
                ),
                Some("NoSuchEntity") => Some("the role or user of AWS is not there any more"),
                Some("UnmodifiableEntity") => Some("their role is one that AWS lets nobody change"),
                Some("AccessDenied") => Some(
                    "AWS does not let this service give it; whoever runs this has to mend its \
                     permissions",
                ),
                Some("ValidationError" | "InvalidInput") => {
                    Some("AWS does not take this; whoever runs this has to mend the configuration")
                }
                _ => None,
            },
        }
    }

    /// What the port says of it.
    pub(crate) fn during(self, operation: &'static str) -> PortError {
        let error = match self.effect() {
            Effect::None => PortError::nothing_done,
            Effect::Unknown => PortError::maybe_done,
        };
        let error = error("iam", operation, self.kind());
        let error = match self.told() {
            Some(sentence) => error.telling(sentence),
            None => error,
        };
        error.because(self)
    }
}
