//! The ports: what the engine needs of the world, each with its contract. `jit-testkit` has one
//! suite per port that checks the contract of any adapter.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::{ChainHead, Sealed};
use crate::catalog::{Entitlement, EntitlementId, ProviderName};
pub use crate::change::{Change, Counter, SlotChange, Wake};
use crate::digest::Digest;
use crate::principal::{PrincipalId, Profile};
use crate::provider::{Answer, Description, Handle, Parameters, Presence, SlotKey, Target};
pub use crate::provider::{Effect, ErrorKind};
use crate::request::{AccessRequest, RequestId, Slot, Status};
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
/// Within a process `now` never runs backwards.
pub trait Clock: Send + Sync {
    /// The present instant in UTC.
    fn now(&self) -> Timestamp;
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
/// none, or to several, is `None`. The answer is live, at most 5 s old; a failure is an error and
/// never an empty answer. A call ends within 3 s, by its own deadline.
#[async_trait]
pub trait Directory: Send + Sync {
    /// What is known of this principal.
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError>;
}

// -------------------------------------------------------------------------------- provisioner

/// A grant or mint call.
#[derive(Debug, Clone)]
pub struct GrantCall<'a> {
    /// For which request: the marker of a minted credential, the note of a standing one.
    pub request: RequestId,
    /// To whom and what.
    pub target: &'a Target,
    /// With which parameters.
    pub parameters: &'a Parameters,
    /// When the access ends; set at the provider where it can expire by itself.
    pub expires_at: Timestamp,
    /// The call may be transmitted only while `now < send_before`.
    pub send_before: Timestamp,
}

/// A revoke call.
#[derive(Debug, Clone)]
pub struct RevokeCall<'a> {
    /// Of which request.
    pub request: RequestId,
    /// From whom and what.
    pub target: &'a Target,
    /// With which parameters it was granted.
    pub parameters: &'a Parameters,
    /// The name of the credential, where one is known.
    pub handle: Option<&'a Handle>,
    /// The call may be transmitted only while `now < send_before`.
    pub send_before: Timestamp,
}

/// A look at the provider.
#[derive(Debug, Clone)]
pub struct InspectCall<'a> {
    /// Of which request: the marker of a minted credential.
    pub request: RequestId,
    /// Whom and what.
    pub target: &'a Target,
    /// With which parameters it was granted.
    pub parameters: &'a Parameters,
    /// The name of the credential, where one is known.
    pub handle: Option<&'a Handle>,
    /// Until when the access was given at the provider; a grant that is ended early is judged by
    /// this all the same.
    pub expires_at: Timestamp,
    /// The latest that any grant call may have been sent.
    pub send_before: Option<Timestamp>,
}

/// A credential that was made.
pub struct Minted {
    /// The secret itself. It is returned to the asker in this very reply and kept nowhere.
    pub secret: Credential,
    /// The provider's name for it.
    pub handle: Option<Handle>,
    /// When the provider itself ends it, where it says so.
    pub ends_at: Option<Timestamp>,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// A secret on its way to the asker. It cannot be printed, cloned, compared or serialised, and its
/// bytes are overwritten when it is dropped.
pub struct Credential(zeroize::Zeroizing<String>);

impl Credential {
    /// Wraps a secret.
    pub fn new(secret: String) -> Self {
        Self(zeroize::Zeroizing::new(secret))
    }

    /// The secret, for the reply to its asker and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(hidden)")
    }
}

/// One access that stands at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whom and what.
    pub target: Target,
}

/// One page of a listing.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; none at the end.
    pub next: Option<String>,
}

/// Gives access and takes it away, in one system.
///
/// # Contract
/// - `resolve` gives the same target for the same facts; two names for one thing give equal
///   targets.
/// - `grant` and `revoke` are idempotent: granting what is there and revoking what is not succeed.
/// - `grant`, `mint` and `revoke` transmit at most once and only while `now < send_before`, checked
///   after the call is signed, or, where a call carries no time, after its own connection is made.
///   Past it they fail with [`ErrorKind::Unavailable`] and [`Effect::None`].
/// - An error says [`Effect::None`] only where the provider did nothing for certain.
/// - `inspect` sees every effect of a call that was answered [`Answer::Applied`]. It answers
///   `Absent` only where nothing visible is being applied.
/// - `revoke` is not called where `describe` says that nothing can be revoked. Of a minted
///   credential that has no handle and cannot be listed it answers [`ErrorKind::NotFound`].
/// - `inspect` without a `send_before` is of a request whose call was never sent.
/// - A target of another realm than `resolve` gives is a record of another system: `grant`, `mint`,
///   `revoke` and `inspect` refuse it with [`ErrorKind::Misconfigured`] and touch nothing.
/// - [`Effect`] has no meaning for `resolve`, `inspect` and `standing`, which only read.
/// - Every call ends within 15 s, by its own deadline.
/// - Dropping a call at any await is the same as a crash there: it may or may not have happened.
#[async_trait]
pub trait Provisioner: Send + Sync {
    /// What this provider is like. Constant while the process runs.
    fn describe(&self) -> Description;

    /// Turns a person and an entitlement into the provider's own ids. Refuses, with
    /// [`ErrorKind::Misconfigured`] or [`ErrorKind::NotFound`], what can never be granted.
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Target, PortError>;

    /// Gives standing access. A provider of the other kind leaves this out.
    async fn grant(&self, _call: GrantCall<'_>) -> Result<Answer, PortError> {
        Err(not_of_this_kind("grant"))
    }

    /// Makes a credential, marked with the request id. A provider of the other kind leaves this
    /// out.
    async fn mint(&self, _call: GrantCall<'_>) -> Result<Minted, PortError> {
        Err(not_of_this_kind("mint"))
    }

    /// Takes access away.
    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError>;

    /// Reads the provider back.
    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError>;

    /// Lists who has a resource, page by page. A provider of credentials leaves this out.
    async fn standing(
        &self,
        _resource: &str,
        _page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        Err(not_of_this_kind("list"))
    }
}

fn not_of_this_kind(operation: &'static str) -> PortError {
    PortError::nothing_done("provider", operation, ErrorKind::Misconfigured)
        .because("a provider of this kind does not do that")
}

// -------------------------------------------------------------------------------------- store

/// What kind of work a due record waits for. Revokes are listed before all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Access must be taken away or watched.
    Revoke,
    /// Anything else: a decision's deadline, a lease, a verification.
    Other,
}

/// A record that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub id: RequestId,
    /// Since when.
    pub wake_at: Timestamp,
    /// At which provider.
    pub provider: ProviderName,
    /// For what.
    pub urgency: Urgency,
}

/// Events for the system chain.
#[derive(Debug, Clone)]
pub struct SystemAppend {
    /// The head that must be stored now.
    pub expected: ChainHead,
    /// The events behind it.
    pub events: Vec<Sealed>,
}

/// A small row: a token hash, the pause flag, an identity mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which table: `token`, `flag`.
    pub table: &'static str,
    /// Its key in that table.
    pub key: String,
    /// Its text, as JSON.
    pub value: String,
}

/// A change of a small row.
#[derive(Debug, Clone)]
pub struct RowChange {
    /// The row as it is to be.
    pub row: Row,
    /// The value that must be stored now; `None` where the row must not exist.
    pub expected: Option<String>,
}

/// An `Idempotency-Key` that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The principal and the key.
    pub key: String,
    /// A digest of what was asked with it.
    pub fingerprint: Digest,
    /// The request that it made.
    pub request: RequestId,
    /// When it may be forgotten.
    pub forget_at: Timestamp,
}

/// The most records that one commit may change.
pub const COMMIT_RECORDS_LIMIT: usize = 8;

/// Everything that is written at once, or not at all.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Records with their events and due rows; at most [`COMMIT_RECORDS_LIMIT`].
    pub changes: Vec<Change>,
    /// Records that must still have this version, and are not changed.
    pub unchanged: Vec<(RequestId, u64)>,
    /// Slots.
    pub slots: Vec<SlotChange>,
    /// Events of no request.
    pub system: Option<SystemAppend>,
    /// An input of the inbox that is done with this.
    pub inbox_done: Option<String>,
    /// A key that must be unused.
    pub idempotency: Option<Idempotency>,
    /// Counts that go up by one each.
    pub counters: Vec<Counter>,
    /// Small rows.
    pub rows: Vec<RowChange>,
    /// Deliveries of the changed records that are due from now on; made where they do not exist.
    pub deliveries: Vec<DeliveryKey>,
    /// When this commit was decided.
    pub at: Option<Timestamp>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something was not as expected. Load again and decide again.
    #[error("another change came first")]
    Conflict,
    /// A count is at its ceiling.
    #[error("the count of {key} is at its ceiling")]
    CounterFull {
        /// Which.
        key: String,
    },
    /// The commit is larger than the store can take.
    #[error("the commit is larger than the store can take: {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
    },
    /// The store failed. Unless the error says [`Effect::None`] it may have been written.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Which message of a notifier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// About which request.
    pub request: RequestId,
    /// Through which notifier.
    pub notifier: String,
    /// To where, in the notifier's words.
    pub target: String,
}

/// How far a message is behind its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which message.
    pub key: DeliveryKey,
    /// Counts its writes; an update names the one that it was decided on.
    pub version: u64,
    /// Where the message is, in the notifier's words, once it was sent.
    pub message: Option<String>,
    /// The newest event that it shows.
    pub shown_seq: u64,
    /// Failures in a row.
    pub attempts: u32,
    /// When it is due; none when it shows everything.
    pub deliver_at: Option<Timestamp>,
}

/// Whether an input was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbox {
    /// It is stored now.
    New,
    /// It was stored before, within the last hour.
    Seen,
}

/// An input that waits to be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxItem {
    /// What makes it the same input when it is sent again.
    pub key: String,
    /// The input.
    pub input: String,
    /// When it came.
    pub received_at: Timestamp,
}

/// Which requests.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Requester or beneficiary, by canonical id.
    pub principal: Option<PrincipalId>,
    /// The entitlement of any part.
    pub entitlement: Option<EntitlementId>,
    /// Any of these; all where empty.
    pub statuses: Vec<Status>,
    /// Whose story was not over before this instant.
    pub from: Option<Timestamp>,
    /// That were opened before this instant.
    pub until: Option<Timestamp>,
    /// Changed at or after this instant.
    pub updated_since: Option<Timestamp>,
    /// Begin after this one; the order is from the newest to the oldest.
    pub after: Option<RequestId>,
    /// At most so many, from 1 to 1 000.
    pub limit: usize,
}

/// Remembers.
///
/// # Contract
/// - `commit` writes everything or nothing, in one step that all readers see whole, and is durable
///   when it returns. There is no unconditional write.
/// - A read that begins after a commit returned sees it, from any process.
/// - `due` may list a record that is no longer due; it never misses one that is. Records whose
///   `revoke_at` has come are listed before all else; both kinds the longest due first.
/// - A record of a later release ([`crate::request::ShapeError::Newer`]) is an error of kind
///   [`ErrorKind::Misconfigured`] for `load`, and is left out of listings with a line in the log.
/// - Events are never changed or removed.
/// - `inbox_put` is durable when it returns; keys are kept for an hour. An item that was taken and
///   is not done is listed again 30 s after it was taken.
#[async_trait]
pub trait RequestStore: Send + Sync {
    /// The record with this id.
    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError>;

    /// The slot with this key.
    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError>;

    /// Writes everything, or nothing.
    async fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// Records whose `wake_at` is at or before `now`, at most `limit`.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError>;

    /// The newest `updated_at` of any record: what time it was, at the least, when somebody last
    /// committed.
    async fn newest_commit(&self) -> Result<Option<Timestamp>, PortError>;

    /// Deliveries of these notifiers that are due, the longest due first.
    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError>;

    /// Writes a delivery whose stored version is one less than the given.
    async fn delivery_update(&self, delivery: Delivery) -> Result<(), CommitError>;

    /// The chain of a request, in order.
    async fn events(&self, id: RequestId) -> Result<Vec<Sealed>, PortError>;

    /// The system chain behind this number, in order, at most `limit`.
    async fn system_events(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, PortError>;

    /// The head of the system chain.
    async fn system_head(&self) -> Result<ChainHead, PortError>;

    /// Requests, from the newest to the oldest.
    async fn query(&self, query: &Query) -> Result<Vec<AccessRequest>, PortError>;

    /// Ids that end in these characters (lower case, at least five), at most two.
    async fn by_suffix(&self, suffix: &str) -> Result<Vec<RequestId>, PortError>;

    /// Every id of which there are events, behind this one, in order, at most `limit`.
    async fn chains(
        &self,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestId>, PortError>;

    /// What this key was used for.
    async fn idempotency(&self, key: &str) -> Result<Option<Idempotency>, PortError>;

    /// One small row.
    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, PortError>;

    /// Every small row of a table, by key.
    async fn rows(&self, table: &'static str) -> Result<Vec<Row>, PortError>;

    /// Keeps an input before it is acknowledged.
    async fn inbox_put(
        &self,
        key: &str,
        input: &str,
        received_at: Timestamp,
    ) -> Result<Inbox, PortError>;

    /// Takes inputs that are not done and that nobody took in the last 30 s.
    async fn inbox_take(&self, now: Timestamp, limit: usize) -> Result<Vec<InboxItem>, PortError>;

    /// An input is done without a change.
    async fn inbox_done(&self, key: &str) -> Result<(), PortError>;
}

// ---------------------------------------------------------------------------------- notifiers

/// One thing to tell: the record, and its events past what was shown.
#[derive(Debug)]
pub struct Announcement<'a> {
    /// How far the message is.
    pub delivery: &'a Delivery,
    /// The record as it is.
    pub request: &'a AccessRequest,
    /// Its events past `delivery.shown_seq`, in order.
    pub news: &'a [crate::audit::AuditEvent],
}

/// Tells people or systems what happened.
///
/// # Contract
/// Announcing is at least once: after a crash the same announcement comes again, with the same
/// `delivery.message`. A notifier decides nothing and never fails a request. A call ends within
/// 15 s.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Its name in delivery rows; constant over releases.
    fn name(&self) -> &'static str;

    /// Where this request is to be told, in this notifier's own words; none for nowhere.
    fn targets(&self, request: &AccessRequest) -> Vec<String>;

    /// Tells it; returns where the message now is.
    async fn announce(&self, announcement: Announcement<'_>) -> Result<Option<String>, PortError>;
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
