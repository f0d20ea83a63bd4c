//! What goes wrong with a service, and what of it the caller may know: whether anything was done.

use std::time::Duration;

use jit_core::ports::{Effect, ErrorKind, PortError};
use jit_wire::{BadWire, NoAnswer, Passage};
use reqwest::StatusCode;

/// Why a call failed. Nothing of an answer is quoted: it may hold a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the way to the service cannot be set up")]
    Wire(#[source] BadWire),
    #[error("the record is of another realm, which is not this service")]
    ForeignRealm,
    #[error("a token takes no parameters")]
    Parameters,
    #[error("the resource is none of this service: {0}")]
    BadResource(&'static str),
    #[error("the time in which this call may be sent is over")]
    TooLate,
    #[error("so little of the time is left that no token could be made for it")]
    NothingLeft,
    #[error("what opens the service's door cannot be read")]
    Upstream(#[source] PortError),
    #[error("what opens the service's door lacks the field {0}")]
    Lacks(&'static str),
    #[error("what opens the service's door cannot be sent in a header")]
    BadSecret,
    #[error("there is no connection to the service")]
    NotConnected(#[source] NoAnswer),
    #[error("the service did not answer")]
    NoAnswer(#[source] NoAnswer),
    #[error("the service does not let us in ({0})")]
    Forbidden(StatusCode),
    #[error("the service knows nothing of that name")]
    NotFound,
    #[error("the service refuses this ({0})")]
    Refused(StatusCode),
    #[error("the service is asked too fast")]
    TooFast(Option<Duration>),
    #[error("the service failed ({0})")]
    Failed(StatusCode),
    #[error("the service's answer cannot be read")]
    Unreadable,
    #[error("nothing takes a token of this service back")]
    NotRevocable,
}

impl Trouble {
    /// A call without an answer, which came so far.
    pub(crate) fn unanswered(error: NoAnswer, passage: Passage) -> Self {
        match passage {
            Passage::TooLate => Self::TooLate,
            Passage::NotReached => Self::NotConnected(error),
            Passage::Through => Self::NoAnswer(error),
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Wire(_)
            | Self::ForeignRealm
            | Self::Parameters
            | Self::BadResource(_)
            | Self::Lacks(_)
            | Self::BadSecret
            | Self::NotRevocable
            | Self::Refused(_) => ErrorKind::Misconfigured,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::NotFound => ErrorKind::NotFound,
            // What opens the door is not there: no token of the service is missing.
            Self::Upstream(error) if error.kind == ErrorKind::NotFound => ErrorKind::Misconfigured,
            Self::Upstream(error) => error.kind,
            Self::TooFast(wait) => ErrorKind::RateLimited {
                retry_after_ms: wait.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
            },
            Self::TooLate
            | Self::NothingLeft
            | Self::NotConnected(_)
            | Self::NoAnswer(_)
            | Self::Failed(_)
            | Self::Unreadable => ErrorKind::Unavailable,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::NoAnswer(_) | Self::Failed(_) | Self::Unreadable => Effect::Unknown,
            Self::Wire(_)
            | Self::ForeignRealm
            | Self::Parameters
            | Self::BadResource(_)
            | Self::TooLate
            | Self::NothingLeft
            | Self::Upstream(_)
            | Self::Lacks(_)
            | Self::BadSecret
            | Self::NotConnected(_)
            | Self::Forbidden(_)
            | Self::NotFound
            | Self::Refused(_)
            | Self::TooFast(_)
            | Self::NotRevocable => Effect::None,
        }
    }

    /// The same for the port.
    pub(crate) fn of(self, adapter: &'static str, operation: &'static str) -> PortError {
        let told = match self {
            Self::BadResource(_) | Self::Parameters => Some("it is not written as it has to be"),
            _ => None,
        };
        let (kind, effect) = (self.kind(), self.effect());
        let mut error = match effect {
            Effect::None => PortError::nothing_done(adapter, operation, kind),
            Effect::Unknown => PortError::maybe_done(adapter, operation, kind),
        };
        error.told = told;
        error.because(self)
    }
}
