//! A store with something between it and its caller. The delegation is written once, here; what
//! happens between is a [`Tap`]: the chaos of a replica, the lies of a saboteur.

use std::sync::Arc;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, Sealed};
use jit_core::ports::{
    Commit, CommitError, Delivery, Due, Idempotency, Inbox, InboxItem, PortError, Query,
    RequestStore, Row,
};
use jit_core::provider::SlotKey;
use jit_core::request::{AccessRequest, RequestId, Slot};

/// What a call of the store is and is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreCall {
    pub(crate) operation: &'static str,
    pub(crate) request: Option<RequestId>,
}

/// What happens between a store and its caller. By default nothing.
#[async_trait]
pub(crate) trait Tap: Send + Sync {
    /// Before a call; an error is the answer.
    async fn before(&self, _call: StoreCall) -> Result<(), PortError> {
        Ok(())
    }

    /// After a call.
    async fn after(&self, _call: StoreCall) {}

    /// In place of a commit.
    async fn commit(
        &self,
        inner: &dyn RequestStore,
        commit: Commit,
    ) -> Result<Vec<Delivery>, CommitError> {
        inner.commit(commit).await
    }

    /// What is shown of what is due.
    async fn shown(&self, _inner: &dyn RequestStore, due: Vec<Due>) -> Result<Vec<Due>, PortError> {
        Ok(due)
    }

    /// What is shown of a small row.
    fn row(&self, row: Option<Row>) -> Option<Row> {
        row
    }
}

/// A store behind a tap.
pub(crate) struct Tapped<T> {
    pub(crate) inner: Arc<dyn RequestStore>,
    pub(crate) tap: T,
}

impl<T: Tap> Tapped<T> {
    async fn through<A, E: From<PortError>>(
        &self,
        operation: &'static str,
        request: Option<RequestId>,
        act: impl Future<Output = Result<A, E>>,
    ) -> Result<A, E> {
        let call = StoreCall { operation, request };
        self.tap.before(call).await?;
        let answer = act.await;
        self.tap.after(call).await;
        answer
    }
}

#[async_trait]
impl<T: Tap> RequestStore for Tapped<T> {
    async fn story(
        &self,
        id: RequestId,
    ) -> Result<Option<(AccessRequest, Vec<Sealed>)>, PortError> {
        self.through("story", Some(id), self.inner.story(id)).await
    }

    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        self.through("load", Some(id), self.inner.load(id)).await
    }

    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError> {
        self.through("slot", None, self.inner.slot(key)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Vec<Delivery>, CommitError> {
        let about = commit.changes.first().map(|change| change.record.id);
        let act = self.tap.commit(self.inner.as_ref(), commit);
        self.through("commit", about, act).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        let inner = self.inner.as_ref();
        let due = self.through("due", None, inner.due(now, limit)).await?;
        self.tap.shown(inner, due).await
    }

    async fn newest_commit(&self) -> Result<Option<Timestamp>, PortError> {
        self.through("newest_commit", None, self.inner.newest_commit())
            .await
    }

    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        let act = self.inner.deliveries_due(notifiers, now, limit);
        self.through("deliveries_due", None, act).await
    }

    async fn deliveries_take(
        &self,
        notifier: &str,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        let act = self.inner.deliveries_take(notifier, now, until, limit);
        self.through("deliveries_take", None, act).await
    }

    async fn deliveries(&self, request: RequestId) -> Result<Vec<Delivery>, PortError> {
        let act = self.inner.deliveries(request);
        self.through("deliveries", None, act).await
    }

    async fn delivery_update(&self, delivery: Delivery) -> Result<(), CommitError> {
        let act = self.inner.delivery_update(delivery);
        self.through("delivery_update", None, act).await
    }

    async fn events(&self, id: RequestId) -> Result<Vec<Sealed>, PortError> {
        self.through("events", None, self.inner.events(id)).await
    }

    async fn system_events(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, PortError> {
        let act = self.inner.system_events(after, limit);
        self.through("system_events", None, act).await
    }

    async fn system_head(&self) -> Result<ChainHead, PortError> {
        self.through("system_head", None, self.inner.system_head())
            .await
    }

    async fn query(&self, query: &Query) -> Result<Vec<AccessRequest>, PortError> {
        self.through("query", None, self.inner.query(query)).await
    }

    async fn by_suffix(&self, suffix: &str) -> Result<Vec<RequestId>, PortError> {
        self.through("by_suffix", None, self.inner.by_suffix(suffix))
            .await
    }

    async fn chains(
        &self,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestId>, PortError> {
        self.through("chains", None, self.inner.chains(after, limit))
            .await
    }

    async fn idempotency(&self, key: &str) -> Result<Option<Idempotency>, PortError> {
        self.through("idempotency", None, self.inner.idempotency(key))
            .await
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, PortError> {
        let row = self.through("row", None, self.inner.row(table, key)).await;
        Ok(self.tap.row(row?))
    }

    async fn rows(&self, table: &'static str) -> Result<Vec<Row>, PortError> {
        self.through("rows", None, self.inner.rows(table)).await
    }

    async fn inbox_put(
        &self,
        key: &str,
        input: &str,
        received_at: Timestamp,
    ) -> Result<Inbox, PortError> {
        let act = self.inner.inbox_put(key, input, received_at);
        self.through("inbox_put", None, act).await
    }

    async fn inbox_take(&self, now: Timestamp, limit: usize) -> Result<Vec<InboxItem>, PortError> {
        self.through("inbox_take", None, self.inner.inbox_take(now, limit))
            .await
    }

    async fn inbox_done(&self, key: &str) -> Result<(), PortError> {
        self.through("inbox_done", None, self.inner.inbox_done(key))
            .await
    }
}
