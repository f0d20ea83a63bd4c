//! A store with a place at each write that others can see.

use std::sync::Arc;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, Fact, Sealed};
use jit_core::ports::{
    Commit, CommitError, Delivery, Due, Idempotency, Inbox, InboxItem, PortError, Query,
    RequestStore, Row,
};
use jit_core::provider::SlotKey;
use jit_core::request::{AccessRequest, RequestId, Slot};

use super::around;

/// A store with a place at each write that others can see. The place of a commit is named after what
/// it writes into the audit.
pub struct Fatal(Arc<dyn RequestStore>);

impl Fatal {
    /// Around this store; the place is read now, and said.
    pub fn new(inner: Arc<dyn RequestStore>) -> Self {
        let _said = super::armed();
        Self(inner)
    }
}

impl std::fmt::Debug for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fatal").finish_non_exhaustive()
    }
}

/// The places of a commit.
fn points(commit: &Commit) -> Vec<&'static str> {
    let events = commit.changes.iter().flat_map(|change| &change.events);
    let facts = events.filter_map(|sealed| sealed.event().ok());
    let mut points: Vec<_> = facts.filter_map(|it| point(&it.event.what)).collect();
    points.dedup();
    // The last approval decides.
    if points.contains(&"commit.decision") {
        points.retain(|it| *it != "commit.approval");
    }
    if points.is_empty() && !commit.changes.is_empty() {
        points.push("commit.other");
    }
    if commit.system.is_some() {
        points.push("commit.system");
    }
    if commit.inbox_done.is_some() {
        points.push("commit.inbox_done");
    }
    points
}

/// The place of a commit that writes this.
fn point(fact: &Fact) -> Option<&'static str> {
    match fact {
        Fact::Requested { .. } => Some("commit.opened"),
        Fact::Granted { .. } | Fact::Denied { .. } | Fact::Withdrawn => Some("commit.decision"),
        Fact::GrantIntended { .. } => Some("commit.intent"),
        Fact::GrantAnswered { .. } | Fact::Activated { .. } | Fact::Collected => {
            Some("commit.grant_outcome")
        }
        Fact::Ending { .. } => Some("commit.revoking"),
        Fact::RevokeAnswered { .. } | Fact::Settling { .. } => Some("commit.revoke_outcome"),
        Fact::Closed { .. } => Some("commit.closed"),
        Fact::Stuck { .. } => Some("commit.stuck"),
        Fact::StoreAway { .. } => Some("commit.store_away"),
        Fact::Approved { .. } => Some("commit.approval"),
        Fact::Lapsed
        | Fact::Invalidated { .. }
        | Fact::Cancelled { .. }
        | Fact::Escalated { .. }
        | Fact::ApprovalDropped { .. }
        | Fact::ApprovalRetracted { .. }
        | Fact::RevokeIntended { .. }
        | Fact::FellBack { .. }
        | Fact::Reappeared
        | Fact::LateEffect { .. }
        | Fact::Missing
        | Fact::Unstuck => None,
    }
}

#[async_trait]
impl RequestStore for Fatal {
    async fn commit(&self, commit: Commit) -> Result<Vec<Delivery>, CommitError> {
        let points = points(&commit);
        around(&points, self.0.commit(commit)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        self.0.due(now, limit).await
    }

    async fn inbox_take(&self, now: Timestamp, limit: usize) -> Result<Vec<InboxItem>, PortError> {
        let act = self.0.inbox_take(now, limit);
        around(&["store.inbox_take"], act).await
    }

    async fn story(
        &self,
        id: RequestId,
    ) -> Result<Option<(AccessRequest, Vec<Sealed>)>, PortError> {
        self.0.story(id).await
    }

    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        self.0.load(id).await
    }

    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError> {
        self.0.slot(key).await
    }

    async fn newest_commit(&self) -> Result<Option<Timestamp>, PortError> {
        self.0.newest_commit().await
    }

    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        self.0.deliveries_due(notifiers, now, limit).await
    }

    async fn deliveries_take(
        &self,
        notifier: &str,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        let act = self.0.deliveries_take(notifier, now, until, limit);
        around(&["store.delivery_take"], act).await
    }

    async fn deliveries(&self, request: RequestId) -> Result<Vec<Delivery>, PortError> {
        self.0.deliveries(request).await
    }

    async fn delivery_update(&self, delivery: Delivery) -> Result<(), CommitError> {
        let act = self.0.delivery_update(delivery);
        around(&["store.delivery_update"], act).await
    }

    async fn events(&self, id: RequestId) -> Result<Vec<Sealed>, PortError> {
        self.0.events(id).await
    }

    async fn system_events(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, PortError> {
        self.0.system_events(after, limit).await
    }

    async fn system_head(&self) -> Result<ChainHead, PortError> {
        self.0.system_head().await
    }

    async fn query(&self, query: &Query) -> Result<Vec<AccessRequest>, PortError> {
        self.0.query(query).await
    }

    async fn by_suffix(&self, suffix: &str) -> Result<Vec<RequestId>, PortError> {
        self.0.by_suffix(suffix).await
    }

    async fn chains(
        &self,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestId>, PortError> {
        self.0.chains(after, limit).await
    }

    async fn idempotency(&self, key: &str) -> Result<Option<Idempotency>, PortError> {
        self.0.idempotency(key).await
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, PortError> {
        self.0.row(table, key).await
    }

    async fn rows(&self, table: &'static str) -> Result<Vec<Row>, PortError> {
        self.0.rows(table).await
    }

    async fn inbox_put(
        &self,
        key: &str,
        input: &str,
        received_at: Timestamp,
    ) -> Result<Inbox, PortError> {
        let act = self.0.inbox_put(key, input, received_at);
        around(&["store.inbox_put"], act).await
    }

    async fn inbox_done(&self, key: &str) -> Result<(), PortError> {
        around(&["store.inbox_done"], self.0.inbox_done(key)).await
    }
}
