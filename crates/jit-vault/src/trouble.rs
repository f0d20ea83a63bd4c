//! Why a call failed, and the one place where that becomes a `PortError`. No token, secret, sentence
//! of Vault's or address of a person stands in any of it.

use std::error::Error as StdError;

use jit_core::ports::{Effect, ErrorKind, PortError};
use jit_wire::Passage;
use reqwest::StatusCode;

use crate::shapes::Refusal;
use crate::wire::Answer;

const ADAPTER: &str = "vault";

/// What was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Connect,
    Resolve,
    Grant,
    Mint,
    Revoke,
    Inspect,
    ReadSecret,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Resolve => "resolve",
            Self::Grant => "grant",
            Self::Mint => "mint",
            Self::Revoke => "revoke",
            Self::Inspect => "inspect",
            Self::ReadSecret => "read a secret",
        }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{0}")]
    BadSettings(&'static str),
    #[error("the way to Vault cannot be set up")]
    Wire(#[source] jit_wire::BadWire),
    #[error("the record is of another realm, which is not this Vault")]
    ForeignRealm,
    #[error("the resource does not say which token is meant: {0}")]
    BadResource(&'static str),
    #[error("a token takes no parameters")]
    Parameters,
    #[error("there is nothing to grant: Vault's tokens are minted")]
    NothingToGrant,
    #[error("the person cannot be named in a record")]
    BadSubject,
    #[error("the path does not lead to a secret, such as `secret/data/grafana`")]
    BadPath,
    #[error("Vault has no such secret, or its latest version was deleted")]
    NoSuchSecret,
    #[error(
        "Vault does not say which policies we have ourselves, so that a token role alone might give \
         them; name the policies before the @"
    )]
    OwnPoliciesUnknown,
    #[error(
        "Vault knows no such token, and is another cluster than the one that made it: the token may \
         be good there"
    )]
    OtherCluster,
    #[error("Vault knows no such token, and does not say which cluster it is")]
    ClusterUnknown(#[source] Option<Box<Trouble>>),
    #[error("the credential has no name by which it could be revoked")]
    NoHandle,
    #[error("the time in which this call may be sent is over")]
    TooLate,
    #[error("less than a second of the access is left")]
    NoTimeLeft,
    #[error("Vault did not answer in time")]
    NoAnswer(Effect),
    #[error("asked to {0}, Vault gave an answer that cannot be read")]
    Unreadable(&'static str),
    #[error("asked to {0}, Vault gave an answer that is longer than is taken")]
    TooLong(&'static str),
    #[error("Vault made a token that was not asked for, {0}; it was taken back")]
    OddToken(&'static str),
    #[error("Vault made a token that is not given out, {0}; and it could not be taken back")]
    OddTokenLeft(&'static str, #[source] Box<Trouble>),
    #[error("Vault took so long that the new token could outlive its end; it was taken back")]
    Slow,
    #[error(
        "the wrapped secret id cannot be unwrapped: its time is over, or somebody unwrapped it before, \
         who may know it now; make a new one, and destroy the old one"
    )]
    WrappingGone,
    #[error("a token was made, and what it is could not be found out")]
    Unchecked(#[source] Box<Trouble>),
    #[error("no token could be had to call Vault with")]
    Login(#[source] Box<Trouble>),
    #[error("Vault could not be asked which cluster it is, so no token was asked for")]
    NotAsked(#[source] Box<Trouble>),
    #[error(transparent)]
    Vault(#[from] Box<NotDone>),
}

/// A call that Vault did not do, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.sentence())]
pub(crate) struct NotDone {
    action: &'static str,
    reason: Reason,
    kind: ErrorKind,
    effect: Effect,
    status: Option<StatusCode>,
    #[source]
    cause: Option<reqwest::Error>,
}

/// What is to be learnt from a failed call, beyond its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It does nothing before somebody unseals it.
    Sealed,
    /// Our own token is not good any more.
    DeadToken,
    /// We may not.
    Denied,
    /// There is no token by this accessor.
    UnknownAccessor,
    /// Nothing is there.
    NotFound,
    /// Too fast.
    Throttled,
    /// It refuses what was asked for.
    Refused,
    /// It, or somebody before it, sends us elsewhere.
    Redirected,
    /// It has not heard yet of what was written a moment ago.
    Behind,
    /// No connection came about.
    NotConnected,
    /// No answer, or no whole one.
    NoAnswer,
    /// Anything else.
    Other,
}

impl NotDone {
    /// What an answer other than a good one means.
    pub(crate) fn answered(answer: &Answer) -> Box<Self> {
        let refusal = answer.refusal();
        let (reason, kind, effect) = judge(answer.status, refusal.as_ref(), answer.retry_after_ms);
        Box::new(Self {
            action: answer.action,
            reason,
            kind,
            effect,
            status: Some(answer.status),
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
            cause: Some(error.without_url()),
        };
        Box::new(not_done).into()
    }

    /// The same where the token was an older one: the next call has a new one, so it is worth
    /// another try.
    pub(crate) fn worth_another_token(mut self: Box<Self>) -> Box<Self> {
        self.kind = ErrorKind::Unavailable;
        self
    }

    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    fn sentence(&self) -> String {
        let action = self.action;
        let mut sentence = match self.reason {
            Reason::Sealed => format!("Vault is sealed, so it does not {action}"),
            Reason::DeadToken => {
                format!("asked to {action}, Vault does not know our token any more")
            }
            Reason::Denied => format!("Vault does not let us {action}: a policy is missing"),
            Reason::UnknownAccessor => format!("asked to {action}, Vault knows no such token"),
            Reason::NotFound => format!("asked to {action}, Vault found nothing there"),
            Reason::Throttled => format!("Vault is asked too fast to {action}"),
            Reason::Refused => format!("Vault refuses to {action}"),
            Reason::Redirected => {
                format!("Vault sends elsewhere whoever asks it to {action}; is the address right?")
            }
            Reason::Behind => format!("asked to {action}, this Vault is behind the others"),
            Reason::NotConnected => format!("to {action}, no connection to Vault came about"),
            Reason::NoAnswer => format!("Vault gave no whole answer when asked to {action}"),
            Reason::Other => format!("Vault failed to {action}"),
        };
        if let Some(status) = self.status {
            sentence.push_str(&format!(" (HTTP {})", status.as_u16()));
        }
        sentence
    }
}

/// What an answer means. That nothing was done is believed of 429 and 404, by which a server turns a
/// call away at its door, and else only where the body is Vault's own list of errors.
/// Source: <https://developer.hashicorp.com/vault/api-docs#http-status-codes>
fn judge(
    status: StatusCode,
    refusal: Option<&Refusal>,
    retry_after_ms: Option<u64>,
) -> (Reason, ErrorKind, Effect) {
    let says = |what: fn(&Refusal) -> bool| refusal.is_some_and(what);
    let nothing = |reason, kind| (reason, kind, Effect::None);
    match status {
        StatusCode::SERVICE_UNAVAILABLE if says(Refusal::is_sealed) => {
            nothing(Reason::Sealed, ErrorKind::Unavailable)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            nothing(Reason::Throttled, ErrorKind::RateLimited { retry_after_ms })
        }
        _ if status.is_client_error() && says(Refusal::is_of_an_unknown_accessor) => {
            nothing(Reason::UnknownAccessor, ErrorKind::NotFound)
        }
        StatusCode::FORBIDDEN if says(Refusal::is_of_a_dead_token) => {
            nothing(Reason::DeadToken, ErrorKind::Forbidden)
        }
        StatusCode::FORBIDDEN if refusal.is_some() => nothing(Reason::Denied, ErrorKind::Forbidden),
        // Whoever stands before Vault may forbid its answer as well as the call.
        StatusCode::FORBIDDEN => (Reason::Other, ErrorKind::Forbidden, Effect::Unknown),
        StatusCode::NOT_FOUND if says(Refusal::is_of_an_unknown_path) => {
            nothing(Reason::Refused, ErrorKind::Misconfigured)
        }
        StatusCode::NOT_FOUND => nothing(Reason::NotFound, ErrorKind::NotFound),
        // An Enterprise replica that has not heard of the token yet.
        StatusCode::PRECONDITION_FAILED if refusal.is_some() => {
            nothing(Reason::Behind, ErrorKind::Unavailable)
        }
        _ if status.is_client_error() && refusal.is_some() => {
            nothing(Reason::Refused, ErrorKind::Misconfigured)
        }
        _ if status.is_redirection() => (
            Reason::Redirected,
            ErrorKind::Misconfigured,
            Effect::Unknown,
        ),
        // A server that broke may have broken after it did what it was told, and what is not Vault's
        // says nothing about Vault.
        _ => (Reason::Other, ErrorKind::Unavailable, Effect::Unknown),
    }
}

impl Trouble {
    /// What Vault answered, where it did.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Vault(not_done) => Some(not_done.reason),
            _ => None,
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::BadSettings(_)
            | Self::Wire(_)
            | Self::ForeignRealm
            | Self::BadResource(_)
            | Self::Parameters
            | Self::NothingToGrant
            | Self::BadSubject
            | Self::BadPath
            | Self::OddToken(_)
            | Self::OddTokenLeft(..)
            | Self::OwnPoliciesUnknown
            | Self::WrappingGone => ErrorKind::Misconfigured,
            Self::NoSuchSecret | Self::NoHandle => ErrorKind::NotFound,
            Self::TooLate
            | Self::NoTimeLeft
            | Self::NoAnswer(_)
            | Self::Unreadable(_)
            | Self::TooLong(_)
            | Self::OtherCluster
            | Self::ClusterUnknown(_)
            | Self::Slow => ErrorKind::Unavailable,
            // Whoever asks again asks for another token.
            Self::Unchecked(_) => ErrorKind::Unavailable,
            Self::Login(trouble) | Self::NotAsked(trouble) => trouble.login_kind(),
            Self::Vault(not_done) => not_done.kind,
        }
    }

    /// What it means where a token had been asked for already: that one may be there, whatever became
    /// of the calls after it.
    pub(crate) fn after_it_was_sent(self) -> Self {
        match self.effect() {
            Effect::Unknown => self,
            Effect::None => Self::Unchecked(Box::new(self)),
        }
    }

    /// Why a token is not given out.
    pub(crate) fn fault(&self) -> &'static str {
        match self {
            Self::OddToken(fault) => fault,
            Self::Slow => "since it could outlive its end",
            _ => "since it could not be checked",
        }
    }

    /// What a failed login means. A secret id that is wrong is answered with 400, which is no matter of
    /// what was asked for: somebody must mend the configuration, as with all that is refused there.
    fn login_kind(&self) -> ErrorKind {
        match self.kind() {
            ErrorKind::NotFound | ErrorKind::Conflict => ErrorKind::Misconfigured,
            ErrorKind::Forbidden => ErrorKind::Forbidden,
            ErrorKind::RateLimited { retry_after_ms } => ErrorKind::RateLimited { retry_after_ms },
            ErrorKind::Unavailable => ErrorKind::Unavailable,
            ErrorKind::Misconfigured => ErrorKind::Misconfigured,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::NoAnswer(effect) => *effect,
            Self::Vault(not_done) => not_done.effect,
            // Something was made, or may have been.
            Self::Unreadable(_)
            | Self::TooLong(_)
            | Self::OddToken(_)
            | Self::OddTokenLeft(..)
            | Self::Unchecked(_)
            | Self::Slow => Effect::Unknown,
            // Whatever became of the login, the call that wanted it was not sent.
            Self::Login(_)
            | Self::NotAsked(_)
            | Self::BadSettings(_)
            | Self::Wire(_)
            | Self::ForeignRealm
            | Self::BadResource(_)
            | Self::Parameters
            | Self::NothingToGrant
            | Self::BadSubject
            | Self::BadPath
            | Self::NoSuchSecret
            | Self::NoHandle
            | Self::TooLate
            | Self::NoTimeLeft
            | Self::OtherCluster
            | Self::ClusterUnknown(_)
            | Self::OwnPoliciesUnknown
            | Self::WrappingGone => Effect::None,
        }
    }

    fn is_sealed(&self) -> bool {
        match self {
            Self::Login(trouble) | Self::NotAsked(trouble) => trouble.is_sealed(),
            other => other.reason() == Some(Reason::Sealed),
        }
    }

    /// What whoever asked may be told of it.
    fn told(&self) -> Option<&'static str> {
        match self {
            Self::BadResource(_) => Some("the configuration does not say which token is meant"),
            Self::Parameters => Some("a token of Vault takes no parameters"),
            Self::OddToken(_) | Self::OddTokenLeft(..) => Some(
                "Vault made another token than the configuration says, so it was not given out",
            ),
            _ if self.is_sealed() => Some("Vault is sealed"),
            _ => None,
        }
    }

    /// The one way in which it becomes an error of a port.
    pub(crate) fn during(self, operation: Operation) -> PortError {
        let effect = match operation {
            // What only reads has no effect.
            Operation::Connect
            | Operation::Resolve
            | Operation::Grant
            | Operation::Inspect
            | Operation::ReadSecret => Effect::None,
            Operation::Mint | Operation::Revoke => self.effect(),
        };
        let error = match effect {
            Effect::None => PortError::nothing_done,
            Effect::Unknown => PortError::maybe_done,
        };
        let error = error(ADAPTER, operation.verb(), self.kind());
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

    fn said(status: u16, errors: Option<&[&str]>) -> (Reason, ErrorKind, Effect) {
        let refusal = errors.map(|it| {
            let body = serde_json::json!({ "errors": it }).to_string();
            serde_json::from_str(&body).unwrap()
        });
        judge(
            StatusCode::from_u16(status).unwrap(),
            refusal.as_ref(),
            None,
        )
    }

    #[test]
    fn that_nothing_was_done_is_said_only_where_it_is_certain() {
        use ErrorKind::{Forbidden, Misconfigured, NotFound, Unavailable};
        let (none, unknown) = (Effect::None, Effect::Unknown);
        let denied = "1 error occurred:\n\t* permission denied\n\n";
        let dead = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
        let no_accessor = "1 error occurred:\n\t* invalid accessor\n\n";
        type Row<'a> = (u16, Option<&'a [&'a str]>, Reason, ErrorKind, Effect);
        let table: [Row<'_>; 17] = [
            (
                503,
                Some(&["Vault is sealed"]),
                Reason::Sealed,
                Unavailable,
                none,
            ),
            (
                503,
                Some(&["something"]),
                Reason::Other,
                Unavailable,
                unknown,
            ),
            (503, None, Reason::Other, Unavailable, unknown),
            (403, Some(&[denied]), Reason::Denied, Forbidden, none),
            (403, Some(&[dead]), Reason::DeadToken, Forbidden, none),
            (403, None, Reason::Other, Forbidden, unknown),
            (
                400,
                Some(&[no_accessor]),
                Reason::UnknownAccessor,
                NotFound,
                none,
            ),
            (
                403,
                Some(&["bad token"]),
                Reason::UnknownAccessor,
                NotFound,
                none,
            ),
            (
                400,
                Some(&["child policies"]),
                Reason::Refused,
                Misconfigured,
                none,
            ),
            (400, None, Reason::Other, Unavailable, unknown),
            (404, Some(&[]), Reason::NotFound, NotFound, none),
            (
                404,
                Some(&["unsupported path"]),
                Reason::Refused,
                Misconfigured,
                none,
            ),
            (412, Some(&["state"]), Reason::Behind, Unavailable, none),
            (307, None, Reason::Redirected, Misconfigured, unknown),
            (
                500,
                Some(&["internal error"]),
                Reason::Other,
                Unavailable,
                unknown,
            ),
            (502, None, Reason::Other, Unavailable, unknown),
            (200, None, Reason::Other, Unavailable, unknown),
        ];
        for (status, errors, reason, kind, effect) in table {
            assert_eq!(
                said(status, errors),
                (reason, kind, effect),
                "{status} {errors:?}"
            );
        }
        let throttled = ErrorKind::RateLimited {
            retry_after_ms: None,
        };
        assert_eq!(said(429, None), (Reason::Throttled, throttled, none));
    }
}
