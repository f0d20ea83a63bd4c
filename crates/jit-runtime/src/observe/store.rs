//! Counts what is committed, and tells the loops of this process that there is something. The
//! counters come from the audit events of commits that the store took, so they count what happened
//! and not what was tried, whichever door it came in by.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, Fact, Sealed};
use jit_core::ports::{
    Change, Commit, CommitError, Delivery, Due, Idempotency, Inbox, InboxItem, PortError, Query,
    RequestStore, Row,
};
use jit_core::provider::SlotKey;
use jit_core::request::{AccessRequest, Approver, End, Ending, Grant, Phase, RequestId, Slot};

use crate::nudge::{News, Nudge};

use super::{DECISIONS, EXPOSURE_SECONDS, INBOX_AGE_SECONDS, REQUESTS, REVOKE_LATENESS_SECONDS};

/// Counts the commits of a store and tells of them; changes none.
///
/// `jit_requests_total{outcome}` is `pending`, or `approved` where no person was needed;
/// `jit_decisions_total{outcome}` is `approved`, `automatic`, `denied`, `withdrawn`, `lapsed` or
/// `invalidated`, one for each request. What never becomes a commit, `refused` and `failed`, is
/// counted by the door that it came in by. A process counts its own commits only, so the sums over
/// all processes are right.
pub struct MeteredStore {
    inner: Arc<dyn RequestStore>,
    nudge: Nudge,
    /// Exposure that is less than the whole seconds a counter can hold.
    rest: Mutex<Duration>,
}

impl std::fmt::Debug for MeteredStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeteredStore").finish_non_exhaustive()
    }
}

/// How long it is looked for how the access of a grant stood.
const LOOK_BACK: Duration = Duration::from_millis(500);

impl MeteredStore {
    /// Counts the commits of this store, and tells of them.
    pub fn new(inner: Arc<dyn RequestStore>, nudge: Nudge) -> Self {
        Self {
            inner,
            nudge,
            rest: Mutex::default(),
        }
    }

    /// Counts a commit that was written.
    fn count(&self, counted: &[Counted]) {
        for one in counted {
            match *one {
                Counted::Request(outcome) => {
                    metrics::counter!(REQUESTS, "outcome" => outcome).increment(1);
                }
                Counted::Decision(outcome) => {
                    metrics::counter!(DECISIONS, "outcome" => outcome).increment(1);
                }
                Counted::Lateness(late) => {
                    metrics::histogram!(REVOKE_LATENESS_SECONDS).record(late.as_secs_f64());
                }
                Counted::Exposure(stood) => self.expose(stood),
            }
        }
    }

    fn expose(&self, stood: Duration) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = *rest + stood;
        *rest = Duration::from_nanos(sum.subsec_nanos().into());
        metrics::counter!(EXPOSURE_SECONDS).increment(sum.as_secs());
    }

    /// What the end of a grant adds that a commit hands over, or closes with its read-back. Only its
    /// record before that commit says how it stood.
    async fn ended_at_once(&self, change: &Change) -> Vec<Counted> {
        let Some(grant) = change.record.grant() else {
            return vec![];
        };
        let settled = |sealed: &Sealed| {
            let event = sealed.event();
            event.is_ok_and(|it| matches!(it.event.what, Fact::Settling { .. }))
        };
        let is_over = match &grant.phase {
            Phase::Closed {
                end: End::Superseded { .. },
            } => !change.events.is_empty(),
            Phase::Closed { .. } => change.events.iter().any(settled),
            _ => false,
        };
        if !is_over {
            return vec![];
        }
        // A count that is missed costs less than a commit that is delayed.
        let before = tokio::time::timeout(LOOK_BACK, self.inner.load(change.record.id)).await;
        let Ok(Ok(Some(before))) = before else {
            return vec![];
        };
        let at = change.record.updated_at;
        match before.grant().map(|grant| (grant, &grant.phase)) {
            Some((grant, Phase::Active)) => stood(grant.active_at, at),
            Some((grant, Phase::Revoking { ending })) => exposed(grant, ending, at),
            _ => vec![],
        }
    }
}

/// One thing that a commit adds to the metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Counted {
    Request(&'static str),
    Decision(&'static str),
    Lateness(Duration),
    Exposure(Duration),
}

fn counted_in(commit: &Commit) -> Vec<Counted> {
    let mut counted = vec![];
    for change in &commit.changes {
        for sealed in &change.events {
            if let Ok(event) = sealed.event() {
                count_fact(&change.record, &event.event.what, event.at, &mut counted);
            }
        }
    }
    counted
}

fn count_fact(record: &AccessRequest, fact: &Fact, at: Timestamp, counted: &mut Vec<Counted>) {
    match fact {
        Fact::Requested { .. } => counted.push(Counted::Request(match record.grant() {
            Some(_) => "approved",
            None => "pending",
        })),
        Fact::Granted { .. } => {
            let mut approvals = record.approvals.iter();
            let automatic = approvals.any(|approval| approval.by == Approver::Automatic);
            counted.push(Counted::Decision(match automatic {
                true => "automatic",
                false => "approved",
            }));
        }
        Fact::Denied { .. } => counted.push(Counted::Decision("denied")),
        Fact::Withdrawn => counted.push(Counted::Decision("withdrawn")),
        Fact::Lapsed => counted.push(Counted::Decision("lapsed")),
        Fact::Invalidated { .. } => counted.push(Counted::Decision("invalidated")),
        Fact::Settling { .. } => {
            let Some(grant) = record.grant() else { return };
            let late = Counted::Lateness(at.since(grant.expires_at));
            match &grant.phase {
                // One that the provider's own clock will bring about was not verified.
                Phase::Settling { watch, .. } if watch.by_provider_clock => {}
                Phase::Settling { ending, .. } => {
                    counted.push(late);
                    counted.extend(exposed(grant, ending, at));
                }
                _ => counted.push(late),
            }
        }
        Fact::Approved { .. }
        | Fact::Escalated { .. }
        | Fact::ApprovalDropped { .. }
        | Fact::ApprovalRetracted { .. }
        | Fact::Cancelled { .. }
        | Fact::GrantIntended { .. }
        | Fact::GrantAnswered { .. }
        | Fact::Activated { .. }
        | Fact::Collected
        | Fact::FellBack { .. }
        | Fact::Ending { .. }
        | Fact::RevokeIntended { .. }
        | Fact::RevokeAnswered { .. }
        | Fact::StoreAway { .. }
        | Fact::Reappeared
        | Fact::LateEffect { .. }
        | Fact::Missing
        | Fact::Stuck { .. }
        | Fact::Unstuck
        | Fact::Closed { .. } => {}
    }
}

fn stood(since: Option<Timestamp>, until: Timestamp) -> Vec<Counted> {
    let stood = since.map(|since| Counted::Exposure(until.since(since)));
    stood.into_iter().collect()
}

/// How long access stood that was verified absent at this instant. An ending that began after the end
/// is that of access which came back; what stood before it was counted then.
fn exposed(grant: &Grant, ending: &Ending, at: Timestamp) -> Vec<Counted> {
    match ending.since > grant.expires_at {
        true => stood(Some(ending.since), at),
        false => stood(grant.active_at, at),
    }
}

#[async_trait]
impl RequestStore for MeteredStore {
    async fn commit(&self, commit: Commit) -> Result<Vec<Delivery>, CommitError> {
        let began = tokio::time::Instant::now();
        let mut counted = counted_in(&commit);
        for change in &commit.changes {
            counted.extend(self.ended_at_once(change).await);
        }
        let good_for = commit.good_for;
        let good_for = good_for.map(|it| it.saturating_sub(began.elapsed()));
        let commit = Commit { good_for, ..commit };
        let news = News::of(&commit);
        let taken = self.inner.commit(commit).await?;
        self.nudge.tell(&news.without(&taken));
        self.count(&counted);
        Ok(taken)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        let due = self.inner.due(now, limit).await?;
        Ok(due)
    }

    async fn inbox_take(&self, now: Timestamp, limit: usize) -> Result<Vec<InboxItem>, PortError> {
        let items = self.inner.inbox_take(now, limit).await?;
        let ages = items.iter().map(|item| now.since(item.received_at));
        let oldest = ages.max().unwrap_or_default();
        metrics::gauge!(INBOX_AGE_SECONDS).set(oldest.as_secs_f64());
        Ok(items)
    }

    async fn story(
        &self,
        id: RequestId,
    ) -> Result<Option<(AccessRequest, Vec<Sealed>)>, PortError> {
        self.inner.story(id).await
    }

    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        self.inner.load(id).await
    }

    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError> {
        self.inner.slot(key).await
    }

    async fn newest_commit(&self) -> Result<Option<Timestamp>, PortError> {
        self.inner.newest_commit().await
    }

    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        self.inner.deliveries_due(notifiers, now, limit).await
    }

    async fn deliveries_take(
        &self,
        notifier: &str,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        self.inner
            .deliveries_take(notifier, now, until, limit)
            .await
    }

    async fn deliveries(&self, request: RequestId) -> Result<Vec<Delivery>, PortError> {
        self.inner.deliveries(request).await
    }

    async fn delivery_update(&self, delivery: Delivery) -> Result<(), CommitError> {
        self.inner.delivery_update(delivery).await
    }

    async fn events(&self, id: RequestId) -> Result<Vec<Sealed>, PortError> {
        self.inner.events(id).await
    }

    async fn system_events(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, PortError> {
        self.inner.system_events(after, limit).await
    }

    async fn system_head(&self) -> Result<ChainHead, PortError> {
        self.inner.system_head().await
    }

    async fn query(&self, query: &Query) -> Result<Vec<AccessRequest>, PortError> {
        self.inner.query(query).await
    }

    async fn by_suffix(&self, suffix: &str) -> Result<Vec<RequestId>, PortError> {
        self.inner.by_suffix(suffix).await
    }

    async fn chains(
        &self,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestId>, PortError> {
        self.inner.chains(after, limit).await
    }

    async fn idempotency(&self, key: &str) -> Result<Option<Idempotency>, PortError> {
        self.inner.idempotency(key).await
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, PortError> {
        self.inner.row(table, key).await
    }

    async fn rows(&self, table: &'static str) -> Result<Vec<Row>, PortError> {
        self.inner.rows(table).await
    }

    async fn inbox_put(
        &self,
        key: &str,
        input: &str,
        received_at: Timestamp,
    ) -> Result<Inbox, PortError> {
        self.inner.inbox_put(key, input, received_at).await
    }

    async fn inbox_done(&self, key: &str) -> Result<(), PortError> {
        self.inner.inbox_done(key).await
    }
}
