//! Why a call failed, and the one place where that becomes a `PortError`. No token, login, e-mail
//! address or address of a call stands in any of it.

use std::error::Error as StdError;
use std::time::Duration;

use jit_core::ports::{Effect, ErrorKind, PortError};
use jit_wire::Passage;
use reqwest::StatusCode;

use crate::answer::{Answer, Refusal};

const ADAPTER: &str = "okta";

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{0}")]
    BadSettings(&'static str),
    #[error("the way to Okta cannot be set up")]
    Wire(#[source] jit_wire::BadWire),
    #[error("the record is of another realm, which is not this Okta organization")]
    ForeignRealm,
    #[error("the resource is not the id of an Okta group, which begins with `00g`")]
    BadResource,
    #[error("the page is none of this listing")]
    BadPage,
    #[error("a group membership takes no parameters")]
    Parameters,
    #[error("group memberships have nothing to mint")]
    NothingToMint,
    #[error("a user cannot be looked up under this name; write the user's id")]
    BadSubject,
    #[error("Okta has no such user")]
    NoSuchUser,
    #[error("Okta answered with a user that bears another login than was asked for")]
    OtherUser,
    #[error(
        "more accounts than one person has share one value of the attribute {0:?} in Okta; take the \
         value from those that are of several people, or name another attribute"
    )]
    SharedByTooMany(String),
    #[error("the attribute {0:?} in Okta is no text, so it cannot say whose an account is")]
    NoText(String),
    #[error("the user is suspended in Okta")]
    Suspended,
    #[error("the user is deactivated in Okta")]
    Deprovisioned,
    #[error("the user is not active in Okta")]
    NotActive,
    #[error("Okta has no group {0}")]
    NoSuchGroup(String),
    #[error("the group {0} is not of the type OKTA_GROUP, so Okta lets nobody change its members")]
    NotOurs(String),
    #[error("the time in which this call may be sent is over")]
    TooLate,
    #[error("Okta did not answer in time")]
    NoAnswer(Effect),
    #[error("the organization's quota of calls is used up")]
    Busy(Duration),
    #[error("an answer of Okta cannot be read (line {line}, column {column})")]
    Unreadable { line: usize, column: usize },
    #[error("an answer of Okta is longer than is taken")]
    TooLong,
    #[error("Okta goes on with a list elsewhere than where it began")]
    ForeignLink,
    #[error("Okta goes on with one list for ever")]
    EndlessList,
    #[error("the address of the organization leads to another organization than it did before")]
    OtherOrganization,
    #[error(
        "Okta binds access tokens of this service app to a key (DPoP); switch \"Require Demonstrating \
         Proof of Possession (DPoP) header in token requests\" off for it"
    )]
    Bound,
    #[error("no access token could be had")]
    Token(#[source] Box<Trouble>),
    #[error(transparent)]
    Okta(#[from] Box<NotDone>),
}

/// A call that Okta did not do, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.sentence())]
pub(crate) struct NotDone {
    action: &'static str,
    reason: Reason,
    kind: ErrorKind,
    /// Whether it may have happened all the same.
    effect: Effect,
    status: Option<StatusCode>,
    refusal: Refusal,
    #[source]
    cause: Option<reqwest::Error>,
}

/// What is to be learnt from a failed call, beyond its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The user or the group is not there, in Okta's own words.
    NotFound,
    /// The token is not accepted.
    Token,
    /// We may not.
    Denied,
    /// Too fast.
    Throttled(Duration),
    /// What was asked for makes no sense to Okta.
    Malformed,
    /// Okta, or somebody before it, sends us elsewhere.
    Redirected,
    /// No connection came about.
    NotConnected,
    /// No answer, or none that makes sense.
    NoAnswer,
    /// Okta answered with anything else.
    Other,
}

impl NotDone {
    /// What an answer other than the wanted one means. `wait` is how long Okta wants to be left
    /// alone, where it is too fast.
    pub(crate) fn answered(action: &'static str, answer: &Answer, wait: Duration) -> Box<Self> {
        let refusal = answer.refusal();
        let (reason, kind, effect) = judge(answer.status, &refusal, wait);
        Box::new(Self {
            action,
            reason,
            kind,
            effect,
            status: Some(answer.status),
            refusal,
            cause: None,
        })
    }

    /// A call without an answer. `passage` says how far it came, where that is known.
    pub(crate) fn unanswered(
        action: &'static str,
        error: reqwest::Error,
        passage: Passage,
    ) -> Trouble {
        let (reason, effect) = match passage {
            Passage::TooLate => return Trouble::TooLate,
            Passage::NotReached => (Reason::NotConnected, Effect::None),
            Passage::Through if error.is_connect() => (Reason::NotConnected, Effect::Unknown),
            Passage::Through => (Reason::NoAnswer, Effect::Unknown),
        };
        let not_done = Self {
            action,
            reason,
            kind: ErrorKind::Unavailable,
            effect,
            status: None,
            refusal: Refusal::default(),
            // Its address holds the login of whoever was asked about.
            cause: Some(error.without_url()),
        };
        Box::new(not_done).into()
    }

    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    /// The same where the token was an older one: the next call has a new one, so it is worth
    /// another try.
    pub(crate) fn worth_another_token(mut self: Box<Self>) -> Box<Self> {
        self.kind = ErrorKind::Unavailable;
        self
    }

    fn sentence(&self) -> String {
        let action = self.action;
        let mut sentence = match self.reason {
            Reason::NotConnected => format!("to {action}, no connection to Okta came about"),
            Reason::NoAnswer => format!("Okta gave no whole answer when asked to {action}"),
            Reason::Redirected => {
                format!("Okta sends elsewhere whoever asks it to {action}; is the address right?")
            }
            Reason::NotFound => format!("asked to {action}, Okta found none"),
            Reason::Token => format!("asked to {action}, Okta does not accept the token"),
            Reason::Denied => format!("Okta does not let us {action}"),
            Reason::Throttled(_) => format!("Okta is asked too fast to {action}"),
            Reason::Malformed => format!("Okta does not understand how it is asked to {action}"),
            Reason::Other => format!("Okta failed to {action}"),
        };
        if let Some(status) = self.status {
            sentence.push_str(&format!(" (HTTP {})", status.as_u16()));
        }
        let word = (self.refusal.code.as_ref()).or(self.refusal.token_error.as_ref());
        if let Some(word) = word {
            sentence.push_str(&format!(" ({word})"));
        }
        if let Some(id) = &self.refusal.id {
            sentence.push_str(&format!(" (error {id})"));
        }
        sentence
    }
}

/// What an answer means. That nothing was done is believed of the statuses by which a server turns a
/// call away at its door, and else only where the body is Okta's own.
fn judge(status: StatusCode, refusal: &Refusal, wait: Duration) -> (Reason, ErrorKind, Effect) {
    let is_oktas = refusal.code.is_some() || refusal.token_error.is_some();
    match status {
        StatusCode::UNAUTHORIZED => (Reason::Token, ErrorKind::Forbidden, Effect::None),
        StatusCode::FORBIDDEN => (Reason::Denied, ErrorKind::Forbidden, Effect::None),
        StatusCode::TOO_MANY_REQUESTS => {
            let retry_after_ms = u64::try_from(wait.as_millis()).ok();
            let kind = ErrorKind::RateLimited { retry_after_ms };
            (Reason::Throttled(wait), kind, Effect::None)
        }
        // "Not found" and "Entity not found exception"; other codes speak of the path.
        StatusCode::NOT_FOUND
            if matches!(refusal.code.as_deref(), Some("E0000007" | "E0000048")) =>
        {
            (Reason::NotFound, ErrorKind::NotFound, Effect::None)
        }
        StatusCode::CONFLICT if is_oktas => (Reason::Other, ErrorKind::Conflict, Effect::None),
        _ if status.is_client_error() && is_oktas => {
            (Reason::Malformed, ErrorKind::Misconfigured, Effect::None)
        }
        _ if status.is_redirection() => (
            Reason::Redirected,
            ErrorKind::Misconfigured,
            Effect::Unknown,
        ),
        // A server that broke may have broken after it did what it was told, and what is not Okta's
        // says nothing about Okta.
        _ => (Reason::Other, ErrorKind::Unavailable, Effect::Unknown),
    }
}

impl Trouble {
    /// Whether Okta said that a user or a group is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Okta(answer) if answer.reason == Reason::NotFound)
    }

    /// Whether Okta does not understand the id or the login that it was given.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(self, Self::Okta(answer) if answer.reason == Reason::Malformed)
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchUser | Self::NoSuchGroup(_) => ErrorKind::NotFound,
            Self::BadSettings(_)
            | Self::Wire(_)
            | Self::ForeignRealm
            | Self::BadResource
            | Self::BadPage
            | Self::Parameters
            | Self::NothingToMint
            | Self::BadSubject
            | Self::OtherUser
            | Self::SharedByTooMany(_)
            | Self::NoText(_)
            | Self::Suspended
            | Self::Deprovisioned
            | Self::NotActive
            | Self::NotOurs(_)
            | Self::OtherOrganization
            | Self::Bound => ErrorKind::Misconfigured,
            Self::TooLate
            | Self::NoAnswer(_)
            | Self::Unreadable { .. }
            | Self::TooLong
            | Self::ForeignLink
            | Self::EndlessList => ErrorKind::Unavailable,
            Self::Busy(wait) => ErrorKind::RateLimited {
                retry_after_ms: u64::try_from(wait.as_millis()).ok(),
            },
            Self::Token(trouble) => trouble.kind(),
            Self::Okta(answer) => answer.kind,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::NoAnswer(effect) => *effect,
            Self::Okta(answer) => answer.effect,
            // It was asked for, and what is said of it is not known.
            Self::TooLong | Self::Unreadable { .. } => Effect::Unknown,
            // Whatever became of the token, the call that wanted it was not sent. What is read has
            // no effect.
            _ => Effect::None,
        }
    }

    /// What whoever asked may be told of it.
    fn told(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchUser | Self::OtherUser => {
                Some("they are not in the Okta organization that this access is given in")
            }
            Self::Suspended => Some("their account in Okta is suspended"),
            Self::Deprovisioned => Some("their account in Okta is deactivated"),
            Self::NotActive => Some(
                "their account in Okta is not active: not activated yet, locked, or with a password \
                 that is to be changed",
            ),
            Self::NoSuchGroup(_) => Some("the group behind this access is not in Okta"),
            Self::NotOurs(_) => Some(
                "the members of the group behind this access come from a directory or are fixed by \
                 Okta, so membership cannot be given here",
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
        let error = error(ADAPTER, operation, self.kind());
        let error = match self.told() {
            Some(sentence) => error.telling(sentence),
            None => error,
        };
        error.because(Box::new(self) as Box<dyn StdError + Send + Sync>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nothing_was_done_is_said_only_where_it_is_certain() {
        let wait = Duration::from_secs(7);
        let said = |status: u16, code: Option<&str>| {
            let refusal = Refusal {
                code: code.map(str::to_owned),
                ..Refusal::default()
            };
            let (_, kind, effect) = judge(StatusCode::from_u16(status).unwrap(), &refusal, wait);
            (kind, effect)
        };
        let throttled = ErrorKind::RateLimited {
            retry_after_ms: Some(7_000),
        };
        let (none, unknown) = (Effect::None, Effect::Unknown);
        assert_eq!(
            said(400, Some("E0000001")),
            (ErrorKind::Misconfigured, none)
        );
        assert_eq!(said(400, None), (ErrorKind::Unavailable, unknown));
        assert_eq!(said(401, Some("E0000011")), (ErrorKind::Forbidden, none));
        assert_eq!(said(401, None), (ErrorKind::Forbidden, none));
        assert_eq!(said(403, Some("E0000006")), (ErrorKind::Forbidden, none));
        assert_eq!(said(404, Some("E0000007")), (ErrorKind::NotFound, none));
        assert_eq!(
            said(404, Some("E0000008")),
            (ErrorKind::Misconfigured, none)
        );
        assert_eq!(said(404, None), (ErrorKind::Unavailable, unknown));
        assert_eq!(said(409, Some("E0000055")), (ErrorKind::Conflict, none));
        assert_eq!(said(429, Some("E0000047")), (throttled, none));
        assert_eq!(said(429, None), (throttled, none));
        assert_eq!(said(302, None), (ErrorKind::Misconfigured, unknown));
        assert_eq!(said(200, None), (ErrorKind::Unavailable, unknown));
        for status in [500, 502, 503, 504] {
            let said = said(status, Some("E0000009"));
            assert_eq!(said, (ErrorKind::Unavailable, unknown));
        }
    }
}
