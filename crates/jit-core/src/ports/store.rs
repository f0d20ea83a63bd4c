//! The port to the store: one commit for everything that must be true together.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::PortError;
use crate::audit::{ChainHead, Sealed};
use crate::catalog::{EntitlementId, ProviderName};
use crate::change::{Change, Counter, SlotChange};
use crate::digest::Digest;
use crate::principal::PrincipalId;
use crate::provider::SlotKey;
use crate::request::{AccessRequest, RequestId, Slot, Status};
use crate::time::Timestamp;

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

/// A store may forget a record so long after its story was over. Its chain is kept for ever.
pub const RECORDS_KEPT: Duration = Duration::from_secs(400 * 86_400);

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
    /// An input of the inbox that is done with this, and was not before.
    pub inbox_done: Option<String>,
    /// A key that must be unused.
    pub idempotency: Option<Idempotency>,
    /// Counts that go up by one each.
    pub counters: Vec<Counter>,
    /// Small rows.
    pub rows: Vec<RowChange>,
    /// Deliveries of the changed records that are due from now on; made where they do not exist.
    pub deliveries: Vec<Touch>,
    /// When this commit was decided.
    pub at: Option<Timestamp>,
    /// Written within this time of the call or not at all: the facts that it was decided on are
    /// too old after that.
    pub good_for: Option<Duration>,
}

/// News for a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Which.
    pub key: DeliveryKey,
    /// Whoever commits takes it until then, unless somebody has it.
    pub take_until: Option<Timestamp>,
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
    /// The input was done before: somebody else worked on it too, and was first.
    #[error("the input is done already")]
    InputDone,
    /// The commit is larger than the store can take.
    #[error("the commit is larger than the store can take: {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
    },
    /// The store failed. Unless the error says [`Effect::None`](super::Effect::None) it may have been written.
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
    /// Until then it is left to whoever is sending it, news or not.
    pub taken_until: Option<Timestamp>,
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
/// - A commit that is `good_for` some time and had to wait longer than that before it could be
///   written is a `Conflict`.
/// - A read that begins after a commit returned sees it, from any process.
/// - `due` may list a record that is no longer due; it never misses one that is. Records whose
///   `revoke_at` has come are listed before all else; both kinds the longest due first.
/// - A delivery is taken by one caller alone, whoever asks at the same time. What a commit took is
///   given back by it, as it is stored now; a store may take less than it is asked to, and what it
///   did not take is due.
/// - A commit whose input is done already, or was never put, is `InputDone`.
/// - A record of a later release ([`crate::request::ShapeError::Newer`]) is an error of kind
///   [`super::ErrorKind::Misconfigured`] for `load` and `story`, and is left out of listings with a line in the log.
/// - Events are never changed or removed. A record whose story is over, and of which nothing is
///   owed, may be gone after [`RECORDS_KEPT`]; no other ever is.
/// - `inbox_put` is durable when it returns; keys are kept for an hour. A new item is whose who put
///   it, as if taken then; one that was taken and is not done is listed again 30 s later.
#[async_trait]
pub trait RequestStore: Send + Sync {
    /// The record with this id and its chain, in order, as they were at one instant.
    async fn story(&self, id: RequestId)
    -> Result<Option<(AccessRequest, Vec<Sealed>)>, PortError>;

    /// The record with this id.
    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError>;

    /// The slot with this key.
    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError>;

    /// Writes everything, or nothing; gives the deliveries that it took. Each counts one more attempt.
    async fn commit(&self, commit: Commit) -> Result<Vec<Delivery>, CommitError>;

    /// Records whose `wake_at` is at or before `now`, at most `limit`.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError>;

    /// The newest `updated_at` of any record: what time it was, at the least, when somebody last
    /// committed.
    async fn newest_commit(&self) -> Result<Option<Timestamp>, PortError>;

    /// Deliveries of these notifiers that are due and not taken, the longest due first.
    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError>;

    /// Takes deliveries of this notifier that are due and not taken, the longest due first, at most
    /// `limit`: until then they are left to the caller. Each counts one more attempt and one more
    /// version; they are given as they are stored now.
    async fn deliveries_take(
        &self,
        notifier: &str,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError>;

    /// Every delivery about a request, by notifier and target.
    async fn deliveries(&self, request: RequestId) -> Result<Vec<Delivery>, PortError>;

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
