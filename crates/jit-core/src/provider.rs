//! What a provider declares about itself and what its calls answer: plain values that the
//! lifecycle reasons with. The trait behind them is [`crate::ports::Provisioner`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::sha256_json;
use crate::principal::Subject;
use crate::time::Timestamp;

/// The two kinds of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Membership or assignment. It can be listed and taken away; one slot per (realm, subject,
    /// resource).
    Standing,
    /// A credential made for the asker. Making it is not idempotent; the slot is the request
    /// itself.
    Minted,
}

/// Whether the provider ends access by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "expires", content = "life")]
pub enum NativeExpiry {
    /// It does not.
    None,
    /// At exactly `expires_at`.
    Exact,
    /// At the latest this long after the grant call took effect.
    AtMost(Duration),
    /// No earlier than this long after the grant call took effect: it ends nothing for us.
    AtLeast(Duration),
}

/// What a provider declares about itself. Stored with each request, so that revoking needs no
/// configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Standing or Minted.
    pub kind: Kind,
    /// Whether the provider ends access by itself.
    pub native_expiry: NativeExpiry,
    /// Whether one access can be taken away alone.
    pub revocable: bool,
    /// Whether `inspect` sees calls that were accepted and are still being applied.
    pub pending_visible: bool,
    /// Whether `inspect` can find access, or a credential by its marker, without a handle.
    pub listable: bool,
    /// V: how long a call may still be accepted, counted from its signature, or from its connect
    /// where it carries no time.
    pub accepted_within: Duration,
    /// A: the longest that an accepted call takes to apply.
    pub applied_within: Duration,
    /// The longest that issued sessions or credentials may outlive the end of a grant.
    pub residual: Duration,
}

/// The longest V or A that a provider may declare.
pub const WINDOW_LIMIT: Duration = Duration::from_secs(86_400);

/// A provider that cannot be used safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDescription {
    /// A lost reply could leave a credential that nothing ends.
    #[error(
        "a minted credential that can neither be found by its marker nor expires by itself cannot \
         be used: a lost reply would leave it valid for ever"
    )]
    NothingEndsIt,
    /// Records would settle for longer than a day.
    #[error("a call may be accepted, or applied, for at most a day")]
    WindowTooLong,
    /// There would be no way to take the access away.
    #[error("standing access that can neither be revoked and listed cannot be used")]
    StandingForEver,
}

impl Description {
    /// A system whose answers are final: standing access that can be listed and revoked, where a
    /// call is in effect when it returns and cannot arrive late. The simplest to embed.
    pub fn immediate() -> Self {
        Self {
            kind: Kind::Standing,
            native_expiry: NativeExpiry::None,
            revocable: true,
            pending_visible: true,
            listable: true,
            accepted_within: Duration::ZERO,
            applied_within: Duration::ZERO,
            residual: Duration::ZERO,
        }
    }

    /// W: how long a record settles after the read-back, V where pending operations are visible
    /// and V + A where they are not.
    pub fn settles_for(&self) -> Duration {
        if self.pending_visible {
            self.accepted_within
        } else {
            self.accepted_within.saturating_add(self.applied_within)
        }
    }

    /// When access of a call sent before `send_before` is gone by the provider's own clock, where
    /// that is bounded: the answer of an `inspect` that cannot list.
    pub fn gone_by(&self, send_before: Timestamp, expires_at: Timestamp) -> Option<Timestamp> {
        let applied = send_before + self.accepted_within + self.applied_within;
        match self.native_expiry {
            NativeExpiry::Exact => Some(expires_at),
            NativeExpiry::AtMost(life) => Some(applied + life),
            NativeExpiry::None | NativeExpiry::AtLeast(_) => None,
        }
    }

    /// For how long access that is asked for so long may go on past its end: what the provider
    /// declares, or all of a credential's own life where nothing takes it back.
    pub fn lives_on(&self, asked: Duration) -> Duration {
        match self.native_expiry {
            NativeExpiry::AtMost(life) if !self.revocable => {
                self.residual.max(life.saturating_sub(asked))
            }
            NativeExpiry::AtMost(_)
            | NativeExpiry::AtLeast(_)
            | NativeExpiry::Exact
            | NativeExpiry::None => self.residual,
        }
    }

    /// Refuses a provider whose access could outlive every means of ending it, and windows longer
    /// than a day, which nobody would wait for.
    pub fn check(&self) -> Result<(), BadDescription> {
        let ends = matches!(
            self.native_expiry,
            NativeExpiry::Exact | NativeExpiry::AtMost(_)
        );
        let found_and_taken = self.listable && self.revocable;
        if self.accepted_within > WINDOW_LIMIT || self.applied_within > WINDOW_LIMIT {
            return Err(BadDescription::WindowTooLong);
        }
        match self.kind {
            Kind::Minted if !ends && !found_and_taken => Err(BadDescription::NothingEndsIt),
            Kind::Standing if !found_and_taken => Err(BadDescription::StandingForEver),
            Kind::Minted | Kind::Standing => Ok(()),
        }
    }
}

/// The provider's own ids for one access, resolved once and stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The system that the ids belong to, as its adapter names it. Two configured providers that
    /// lead to one system give the same realm, so they share its slots.
    pub realm: String,
    /// Who, in that system.
    pub subject: Subject,
    /// What, in that system. All that a revoke needs beside the credentials.
    pub resource: String,
}

impl Target {
    /// A target in this system.
    pub fn new(realm: impl Into<String>, subject: Subject, resource: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            subject,
            resource: resource.into(),
        }
    }

    /// The slot that this target occupies when it is asked for with these parameters.
    pub fn slot_key(&self, parameters: &Parameters) -> SlotKey {
        let parameters = (!parameters.is_empty()).then(|| sha256_json(parameters));
        let slot = (
            &self.realm,
            self.subject.as_str(),
            &self.resource,
            parameters,
        );
        SlotKey(sha256_json(&slot).to_string())
    }
}

/// What a person and an entitlement are at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The provider's own ids.
    pub target: Target,
    /// The longest that sessions of this very access may outlive its end, where it is not what
    /// [`Description::residual`] says of all.
    pub residual: Option<Duration>,
    /// The one name of an entitlement to this, behind the provider's own and a slash, where the
    /// provider names its things itself. Under another name it is not granted: rules and families
    /// are held against names, and a second one would be a way around them.
    pub name: Option<String>,
}

impl Resolved {
    /// What the provider declares, with what was found out about this very access.
    pub fn described(&self, provider: Description) -> Description {
        Description {
            residual: self.residual.unwrap_or(provider.residual),
            ..provider
        }
    }
}

impl From<Target> for Resolved {
    fn from(target: Target) -> Self {
        Self {
            target,
            residual: None,
            name: None,
        }
    }
}

/// What was asked for beside the entitlement, as a JSON object.
pub type Parameters = Map<String, Value>;

/// The identity of a slot: a digest of the resolved realm, subject and resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotKey(String);

impl SlotKey {
    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no slot's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a slot is 64 hexadecimal digits")]
pub struct NotASlot;

impl FromStr for SlotKey {
    type Err = NotASlot;

    /// Reads a slot where a provider tells it. Whose it is, if anybody's, is another question.
    fn from_str(text: &str) -> Result<Self, NotASlot> {
        let is_digit = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
        let is_slot = text.len() == 64 && text.bytes().all(is_digit);
        is_slot.then(|| Self(text.to_owned())).ok_or(NotASlot)
    }
}

impl fmt::Display for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The provider's name for one minted credential: an accessor, a token id. Never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handle(pub String);

/// What reading the provider shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "presence", content = "at")]
pub enum Presence {
    /// The access is there.
    Present,
    /// It is not there, and nothing that could change this is being applied.
    Absent,
    /// A call is still being applied.
    InFlight,
    /// It cannot be seen, and is gone by this instant at the latest by the provider's own clock.
    GoneBy(Timestamp),
}

impl Presence {
    /// Of access that is seen at once, and of which no call is under way.
    pub fn of(is_there: bool) -> Self {
        if is_there {
            Self::Present
        } else {
            Self::Absent
        }
    }
}

/// What a provider says to a call that was not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done: the change is in effect.
    Applied,
    /// Taken: the change will be in effect within A, or fail.
    Accepted,
}

// ----------------------------------------------------------------------------------- failures

/// What a caller may do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The thing is not there.
    NotFound,
    /// Another change stands in the way; again later.
    Conflict,
    /// The provider refuses us.
    Forbidden,
    /// Too fast; again after this long where the provider says so.
    RateLimited {
        /// How long to wait, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// It did not answer, or not sensibly.
    Unavailable,
    /// It will fail until somebody mends the configuration.
    Misconfigured,
}

impl ErrorKind {
    /// The only retry rule.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Conflict | Self::RateLimited { .. } | Self::Unavailable => true,
            Self::NotFound | Self::Forbidden | Self::Misconfigured => false,
        }
    }

    /// The name of the kind, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// Whether a failed call may have had an effect all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The other side said, or it is certain, that nothing was done.
    None,
    /// It may have happened.
    Unknown,
}
