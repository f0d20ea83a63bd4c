//! What goes wrong with PagerDuty, and what a caller may make of it. No error holds a token, a key, a
//! body or anybody's address.

use jit_core::ports::{Effect, ErrorKind, PortError};
use reqwest::StatusCode;

const ADAPTER: &str = "pagerduty";

/// What was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Changes nothing, whatever becomes of it.
    WhoIsOnCall,
    Page,
}

/// Why it was not, or may not have been.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("no HTTPS client can be made")]
    Client(#[source] reqwest::Error),
    #[error("the API key cannot stand in a header")]
    BadToken,
    #[error("PagerDuty cannot be reached")]
    Connect(#[source] reqwest::Error),
    #[error("PagerDuty did not answer in time")]
    Timeout,
    #[error("the call to PagerDuty broke")]
    Broken(#[source] reqwest::Error),
    #[error("PagerDuty answered {0}")]
    Status(StatusCode),
    #[error("PagerDuty was called too often")]
    TooFast { retry_after_ms: Option<u64> },
    #[error("the answer of PagerDuty is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer of PagerDuty makes no sense: {0}")]
    Garbage(&'static str),
    #[error("somebody is on call, and none of them has an e-mail address that can be a name here")]
    Nameless,
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::Connect(error)
        } else {
            Self::Broken(error)
        }
    }
}

impl Trouble {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Client(_) | Self::BadToken | Self::Nameless => ErrorKind::Misconfigured,
            Self::Connect(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::TooLong(_)
            | Self::Garbage(_) => ErrorKind::Unavailable,
            Self::TooFast { retry_after_ms } => ErrorKind::RateLimited {
                retry_after_ms: *retry_after_ms,
            },
            Self::Status(status) => match *status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Forbidden,
                StatusCode::REQUEST_TIMEOUT => ErrorKind::Unavailable,
                other if other.is_server_error() => ErrorKind::Unavailable,
                _ => ErrorKind::Misconfigured,
            },
        }
    }

    /// Whether an alarm may have been taken all the same. What is refused, or told to come later, was
    /// not: <https://developer.pagerduty.com/docs/events-api-v2/overview/>.
    fn effect(&self) -> Effect {
        match self {
            Self::Client(_)
            | Self::BadToken
            | Self::Connect(_)
            | Self::TooFast { .. }
            | Self::Nameless => Effect::None,
            Self::Status(status) if status.is_client_error() => Effect::None,
            Self::Status(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::TooLong(_)
            | Self::Garbage(_) => Effect::Unknown,
        }
    }

    /// The one way in which it becomes an error of a port.
    pub(crate) fn during(self, operation: Operation) -> PortError {
        let (verb, effect) = match operation {
            Operation::WhoIsOnCall => ("find out who is on call", Effect::None),
            Operation::Page => ("page", self.effect()),
        };
        let made = match effect {
            Effect::None => PortError::nothing_done(ADAPTER, verb, self.kind()),
            Effect::Unknown => PortError::maybe_done(ADAPTER, verb, self.kind()),
        };
        made.because(self)
    }
}
