//! The ports: what the engine needs of the world, each with its contract. `jit-testkit` has one
//! suite per port that checks the contract of any adapter.

mod provisioner;
mod store;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use provisioner::*;
pub use store::*;

pub use crate::change::{Change, Counter, SlotChange, Wake};
use crate::principal::{GroupName, PrincipalId, Profile};
pub use crate::provider::{Effect, ErrorKind};
use crate::request::{AccessRequest, RequestId};
use crate::time::Timestamp;

// ------------------------------------------------------------------------------------- errors

/// The world failed. `Display` names adapter, operation and kind; the cause is in `source`.
#[derive(Debug, thiserror::Error)]
#[error("{adapter} could not {operation}: {}", kind.as_str())]
pub struct PortError {
    /// What the caller may do.
    pub kind: ErrorKind,
    /// Whether it may have happened all the same.
    pub effect: Effect,
    /// Which adapter.
    pub adapter: &'static str,
    /// What it was doing: a verb.
    pub operation: &'static str,
    /// What whoever asked may be told of it: a sentence of ours that names nobody and nothing.
    pub told: Option<&'static str>,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// A failure of which the other side said, or it is certain, that nothing was done.
    pub fn nothing_done(adapter: &'static str, operation: &'static str, kind: ErrorKind) -> Self {
        Self {
            kind,
            effect: Effect::None,
            adapter,
            operation,
            told: None,
            source: None,
        }
    }

    /// A failure that may have had its effect: a timeout, a broken connection, an answer that
    /// makes no sense.
    pub fn maybe_done(adapter: &'static str, operation: &'static str, kind: ErrorKind) -> Self {
        Self {
            kind,
            effect: Effect::Unknown,
            adapter,
            operation,
            told: None,
            source: None,
        }
    }

    /// The whole chain of causes in one line, for the log.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }

    /// The same with a sentence for whoever asked.
    #[must_use]
    pub fn telling(mut self, sentence: &'static str) -> Self {
        self.told = Some(sentence);
        self
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }
}

// ---------------------------------------------------------------------------- time and chance

/// What time it is.
///
/// # Contract
/// Within a process neither `now` nor `steady` runs backwards.
pub trait Clock: Send + Sync {
    /// The present instant in UTC.
    fn now(&self) -> Timestamp;

    /// The time since some instant, by a clock that nobody sets: where `now` moves on by more than
    /// this, it was set forward by the difference. A clock that is never set need not say it.
    fn steady(&self) -> Duration {
        self.now().since(Timestamp::MIN)
    }
}

/// Unpredictable bytes, for ids and jitter.
///
/// # Contract
/// In a deployed process the bytes come from the operating system's generator.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

// ---------------------------------------------------------------------------------- directory

/// Who people are.
///
/// # Contract
/// `profile` answers for any alias of a principal with the same canonical id. An id that leads to
/// none, or to several, is `None`. The answer was true at most [`PROFILE_REMEMBERED_FOR`] before
/// the call, whatever it is put together from; a failure is an error and never an empty answer, and
/// a group of which it could not be found out whether they are in it is named as such. A call ends
/// within 3 s, by its own deadline; one for the members of a group within 10 s.
#[async_trait]
pub trait Directory: Send + Sync {
    /// What is known of this principal.
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError>;

    /// The same as it was known lately, an hour ago at most, without waiting for anybody where anything
    /// is known: for whoever only looks. Nothing is decided by it, and nothing given or taken.
    async fn profile_lately(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.profile(id).await
    }

    /// Every active person in this group, by canonical id; none where this directory cannot tell.
    /// Whoever is named here has the group in their profile as well.
    async fn members(
        &self,
        _group: &GroupName,
    ) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        Ok(None)
    }

    /// The same as it was known lately, without waiting for anybody where anything is known.
    async fn members_lately(
        &self,
        group: &GroupName,
    ) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        self.members(group).await
    }
}

/// Who is on call.
///
/// # Contract
/// The answer names people by any name that the directory knows them by. Nobody is an answer; what
/// could not be found out is an error and never nobody. Only whoever is to be called first is named,
/// not those who are called when that one does not answer. A call ends within 3 s, by its own
/// deadline.
#[async_trait]
pub trait Rota: Send + Sync {
    /// Whoever is on call at this instant.
    async fn on_call(&self, at: Timestamp) -> Result<BTreeSet<PrincipalId>, PortError>;
}

/// How long before a call of [`Directory::profile`] its answer may have been found out. Services
/// that know groups answer about twenty questions in a minute, one in three seconds.
pub const PROFILE_REMEMBERED_FOR: Duration = Duration::from_secs(3);

// -------------------------------------------------------------------------------- provisioner

/// One thing to tell: the record, and its events past what was shown.
#[derive(Debug)]
pub struct Announcement<'a> {
    /// How far the message is.
    pub delivery: &'a Delivery,
    /// The record as it is.
    pub request: &'a AccessRequest,
    /// Its events past `delivery.shown_seq`, in order.
    pub news: &'a [crate::audit::AuditEvent],
    /// What whoever decides may want to know, while it waits for a decision and where the notifier
    /// shows it; none where it could not be found out.
    pub background: Option<&'a crate::engine::Background>,
}

/// What became of an announcement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Where the message now is, in the notifier's own words; it comes back with the next
    /// announcement.
    pub message: Option<String>,
    /// When to announce again although nothing may have happened: a reminder, a warning.
    pub again_at: Option<Timestamp>,
}

/// Tells people or systems what happened.
///
/// # Contract
/// Announcing is at least once: after a crash the same announcement comes again, with the same
/// `delivery.message`. A notifier decides nothing and never fails a request. Announcements of
/// different deliveries run at once. A call ends within 15 s.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Its name in delivery rows; constant over releases.
    fn name(&self) -> &'static str;

    /// Where this request is to be told, in this notifier's own words; none for nowhere.
    fn targets(&self, request: &AccessRequest) -> Vec<String>;

    /// Whether it shows what is known about what is asked for, which then has to be found out.
    fn shows_background(&self) -> bool {
        false
    }

    /// Tells it.
    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError>;
}

/// Something a person must look at now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// The request it is about.
    pub request: Option<RequestId>,
    /// One sentence without secrets, reasons or e-mail addresses.
    pub summary: String,
    /// When it arose.
    pub at: Timestamp,
}

/// Wakes somebody up.
///
/// # Contract
/// A pager does not depend on a chat. It returns an error unless the alarm was handed over; it is
/// called again until it does. A call ends within 15 s.
#[async_trait]
pub trait Pager: Send + Sync {
    /// Hands the alarm over.
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError>;
}
