//! A `RequestStore` in memory, and the suite that any `RequestStore` must pass. Records are kept in
//! their stored form, so whatever a test does goes through the shapes that a real store keeps.

mod agreement;
mod contract;
mod everything;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, SYSTEM_CHAIN, Sealed};
use jit_core::catalog::EntitlementId;
use jit_core::ports::{
    COMMIT_RECORDS_LIMIT, Change, Commit, CommitError, Counter, Delivery, DeliveryKey, Due,
    ErrorKind, Idempotency, Inbox, InboxItem, PortError, Query, RequestStore, Row, RowChange,
    SlotChange, Touch, Urgency, Wake,
};
use jit_core::principal::PrincipalId;
use jit_core::provider::SlotKey;
use jit_core::request::{AccessRequest, REQUEST_SHAPE, RequestId, Slot};
use serde::Deserialize;

pub use agreement::agrees_with_memory;
pub use contract::{Handles, store_contract};
pub use everything::{all_that_is_read, one_of_everything};

/// How long the key of an input is kept.
const INBOX_KEPT: Duration = Duration::from_secs(3_600);
/// How long a taken input is left to whoever took it.
const INBOX_TAKEN: Duration = Duration::from_secs(30);
/// The most records that a query returns.
const QUERY_LIMIT: usize = 1_000;

/// A complete store in memory. One lock over everything, so each call is one step.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    faults: Mutex<VecDeque<CommitFault>>,
    /// So many inputs that come next are not kept.
    unkept: AtomicUsize,
}

/// How a commit goes wrong. Either way its caller is told that it may have been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// It never arrives.
    LostCall,
    /// It is written, and the reply is lost.
    LostReply,
    /// Another commit comes first, with something that this one stands on.
    Conflict,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<RequestId, Kept>,
    events: BTreeMap<String, BTreeMap<u64, Sealed>>,
    system_head: Option<ChainHead>,
    slots: BTreeMap<SlotKey, Slot>,
    deliveries: BTreeMap<DeliveryKey, Delivery>,
    inbox: BTreeMap<String, Input>,
    idempotency: BTreeMap<String, Idempotency>,
    counters: BTreeMap<(String, u64), Count>,
    rows: BTreeMap<(&'static str, String), String>,
    newest_commit: Option<Timestamp>,
}

/// A record as it is stored, with what must be known of it without reading it.
#[derive(Debug, Clone)]
struct Kept {
    text: String,
    shape: u32,
    version: u64,
    wake: Option<Wake>,
}

#[derive(Debug)]
struct Input {
    text: String,
    received_at: Timestamp,
    taken_at: Option<Timestamp>,
    done: bool,
}

#[derive(Debug)]
struct Count {
    reached: u32,
    forget_at: Timestamp,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next commits go wrong like this, one after the other.
    pub fn fail_next_commits(&self, faults: impl IntoIterator<Item = CommitFault>) {
        let mut coming = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        coming.extend(faults);
    }

    /// The next so many inputs are not kept.
    pub fn keep_no_inputs(&self, next: usize) {
        self.unkept.store(next, Ordering::SeqCst);
    }

    fn fault(&self) -> Option<CommitFault> {
        let mut coming = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        coming.pop_front()
    }

    /// Every record that this release can read, by id.
    pub fn records(&self) -> Vec<AccessRequest> {
        let state = self.lock();
        let read = |kept: &Kept| AccessRequest::from_stored(&kept.text).ok();
        state.records.values().filter_map(read).collect()
    }

    /// The text of every record, by id.
    pub fn stored(&self) -> Vec<(RequestId, String)> {
        let state = self.lock();
        let text = |(id, kept): (&RequestId, &Kept)| (*id, kept.text.clone());
        state.records.iter().map(text).collect()
    }

    /// Every chain with its events in order; the chain `system` among them.
    pub fn all_chains(&self) -> BTreeMap<String, Vec<Sealed>> {
        let state = self.lock();
        let chain = |(name, events): (&String, &BTreeMap<u64, Sealed>)| {
            (name.clone(), events.values().cloned().collect())
        };
        state.events.iter().map(chain).collect()
    }

    /// How many inputs of the inbox are not done.
    pub fn inputs_left(&self) -> usize {
        self.lock().inbox.values().filter(|it| !it.done).count()
    }

    /// Every slot, by key.
    pub fn slots(&self) -> Vec<Slot> {
        self.lock().slots.values().cloned().collect()
    }

    /// When this record is next due.
    pub fn wake(&self, id: RequestId) -> Option<Wake> {
        self.lock().records.get(&id)?.wake.clone()
    }

    /// Every delivery, by key.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.lock().deliveries.values().cloned().collect()
    }

    /// Puts this text in the place of a record, whatever it is: the record of a later release, or
    /// a damaged one. When it is due stays as it was.
    pub fn put_stored(&self, id: RequestId, text: &str) {
        #[derive(Deserialize)]
        struct Front {
            shape: u32,
            version: u64,
        }
        let front = serde_json::from_str::<Front>(text).ok();
        let mut state = self.lock();
        let before = state.records.get(&id);
        let kept = Kept {
            text: text.to_owned(),
            shape: front.as_ref().map_or(REQUEST_SHAPE, |front| front.shape),
            version: front.map_or_else(
                || before.map_or(0, |kept| kept.version),
                |front| front.version,
            ),
            wake: before.and_then(|kept| kept.wake.clone()),
        };
        state.records.insert(id, kept);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn of(change: &Change) -> Self {
        Self {
            text: change.record.to_stored(),
            shape: change.record.shape,
            version: change.record.version,
            wake: change.wake.clone(),
        }
    }

    fn is_newer(&self) -> bool {
        self.shape > REQUEST_SHAPE
    }

    /// The record, for a listing: what cannot be read is left out with a line in the log.
    fn listed(&self, id: RequestId) -> Option<AccessRequest> {
        let read = AccessRequest::from_stored(&self.text);
        let log = |cause| {
            tracing::warn!(request.id = %id, error = %cause, "a record was left out of a listing");
        };
        read.map_err(log).ok()
    }
}

impl State {
    fn record(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        let kept = self.records.get(&id);
        let read = kept.map(|kept| AccessRequest::from_stored(&kept.text));
        read.transpose().map_err(|cause| {
            PortError::nothing_done("memory", "load", ErrorKind::Misconfigured).because(cause)
        })
    }

    fn chain(&self, id: RequestId) -> Vec<Sealed> {
        let chain = self.events.get(&id.to_string()).into_iter();
        chain.flat_map(BTreeMap::values).cloned().collect()
    }

    /// Those that are due and not taken, the longest due first.
    fn deliveries_due(&self, notifiers: &[String], now: Timestamp, limit: usize) -> Vec<Delivery> {
        let ready = |delivery: &&Delivery| {
            notifiers.contains(&delivery.key.notifier)
                && delivery.deliver_at.is_some_and(|at| at <= now)
                && delivery.taken_until.is_none_or(|until| until <= now)
        };
        let mut due: Vec<Delivery> = self.deliveries.values().filter(ready).cloned().collect();
        due.sort_by(|one, two| (one.deliver_at, &one.key).cmp(&(two.deliver_at, &two.key)));
        due.truncate(limit);
        due
    }

    fn version(&self, id: RequestId) -> Option<u64> {
        self.records.get(&id).map(|kept| kept.version)
    }

    fn head(&self) -> ChainHead {
        self.system_head
            .unwrap_or_else(|| ChainHead::start(SYSTEM_CHAIN))
    }

    fn has_event(&self, event: &Sealed) -> bool {
        let chain = self.events.get(&event.chain);
        chain.is_some_and(|events| events.contains_key(&event.seq))
    }

    /// Whether everything is as the commit expects it. Nothing is written before this says yes.
    fn check(&self, commit: &Commit) -> Result<(), CommitError> {
        let mut versions = commit
            .changes
            .iter()
            .map(|change| (change.record.id, change.expected))
            .chain(commit.unchanged.iter().map(|(id, v)| (*id, Some(*v))));
        let slot = |change: &SlotChange| {
            self.slots.get(&change.slot.key).map(|slot| slot.owner) == change.expected
        };
        let row = |change: &RowChange| {
            let key = (change.row.table, change.row.key.clone());
            self.rows.get(&key) == change.expected.as_ref()
        };
        let unused = |used: &Idempotency| match self.idempotency.get(&used.key) {
            Some(before) => commit.at.is_some_and(|at| before.forget_at <= at),
            None => true,
        };
        let system = commit.system.as_ref();
        let mut events = commit
            .changes
            .iter()
            .flat_map(|change| &change.events)
            .chain(system.iter().flat_map(|append| &append.events));
        let as_expected = names_each_once(commit)
            && versions.all(|(id, version)| self.version(id) == version)
            && commit.slots.iter().all(slot)
            && system.is_none_or(|append| append.expected == self.head())
            && events.all(|event| !self.has_event(event))
            && commit.rows.iter().all(row)
            && commit.idempotency.iter().all(unused);
        if !as_expected {
            return Err(CommitError::Conflict);
        }
        for (place, counter) in commit.counters.iter().enumerate() {
            let same =
                |other: &&Counter| (&other.key, other.window) == (&counter.key, counter.window);
            let before = commit.counters.iter().take(place).filter(same).count();
            let reached = self.count(counter, commit.at) as usize + before;
            if reached >= counter.ceiling as usize {
                let key = counter.key.clone();
                return Err(CommitError::CounterFull { key });
            }
        }
        let waits = |key: &String| self.inbox.get(key).is_some_and(|kept| !kept.done);
        match commit.inbox_done.as_ref().is_none_or(waits) {
            true => Ok(()),
            false => Err(CommitError::InputDone),
        }
    }

    /// What a counter has reached; 0 where it may be forgotten.
    fn count(&self, counter: &Counter, at: Option<Timestamp>) -> u32 {
        let kept = self.counters.get(&(counter.key.clone(), counter.window));
        kept.filter(|kept| at.is_none_or(|at| at < kept.forget_at))
            .map_or(0, |kept| kept.reached)
    }

    fn append(&mut self, event: Sealed) {
        let chain = self.events.entry(event.chain.clone()).or_default();
        chain.entry(event.seq).or_insert(event);
    }

    fn apply(&mut self, commit: Commit) -> Vec<Delivery> {
        let at = commit.at;
        for change in commit.changes {
            self.newest_commit = self.newest_commit.max(Some(change.record.updated_at));
            self.records.insert(change.record.id, Kept::of(&change));
            change
                .events
                .into_iter()
                .for_each(|event| self.append(event));
        }
        for change in commit.slots {
            self.slots.insert(change.slot.key.clone(), change.slot);
        }
        if let Some(append) = commit.system {
            for event in append.events {
                let (seq, hash) = (event.seq, event.hash);
                self.system_head = Some(ChainHead { seq, hash });
                self.append(event);
            }
        }
        if let Some(key) = commit.inbox_done {
            self.inbox_done(&key);
        }
        if let Some(used) = commit.idempotency {
            self.idempotency
                .retain(|_, kept| at.is_none_or(|at| at < kept.forget_at));
            self.idempotency.insert(used.key.clone(), used);
        }
        for counter in commit.counters {
            self.counters
                .retain(|_, kept| at.is_none_or(|at| at < kept.forget_at));
            let count = Count {
                reached: self.count(&counter, at) + 1,
                forget_at: counter.forget_at,
            };
            self.counters.insert((counter.key, counter.window), count);
        }
        for RowChange { row, .. } in commit.rows {
            self.rows.insert((row.table, row.key), row.value);
        }
        let due_at = at.unwrap_or(Timestamp::MIN);
        let touches = commit.deliveries.into_iter();
        touches
            .filter_map(|touch| self.touch(touch, due_at))
            .collect()
    }

    /// The delivery, where it was taken.
    fn touch(&mut self, touch: Touch, at: Timestamp) -> Option<Delivery> {
        let Touch { key, take_until } = touch;
        let made = Delivery {
            key: key.clone(),
            version: 0,
            message: None,
            shown_seq: 0,
            attempts: 0,
            deliver_at: Some(at),
            taken_until: None,
        };
        let known = self.deliveries.entry(key);
        let known = known
            .and_modify(|known| {
                known.version += 1;
                known.deliver_at = Some(known.deliver_at.map_or(at, |before| before.min(at)));
            })
            .or_insert(made);
        if take_until.is_none() || known.taken_until.is_some_and(|until| at < until) {
            return None;
        }
        known.attempts = known.attempts.saturating_add(1);
        known.taken_until = take_until;
        Some(known.clone())
    }

    fn inbox_done(&mut self, key: &str) {
        if let Some(input) = self.inbox.get_mut(key) {
            input.done = true;
        }
    }
}

/// A second change of the same thing would not find it as the commit expects it.
fn names_each_once(commit: &Commit) -> bool {
    fn distinct<T: Ord>(mut names: impl Iterator<Item = T>) -> bool {
        let mut seen = BTreeSet::new();
        names.all(|name| seen.insert(name))
    }
    let events = commit.changes.iter().flat_map(|change| &change.events);
    distinct(commit.changes.iter().map(|change| change.record.id))
        && distinct(events.map(|event| (&event.chain, event.seq)))
        && distinct(commit.slots.iter().map(|change| &change.slot.key))
        && distinct(
            commit
                .rows
                .iter()
                .map(|change| (change.row.table, &change.row.key)),
        )
}

fn fits(request: &AccessRequest, query: &Query) -> bool {
    let named = |id: &PrincipalId| request.requester == *id || request.beneficiary == *id;
    let asked = |id: &EntitlementId| request.parts.iter().any(|part| part.entitlement == *id);
    let status = request.status();
    query.principal.as_ref().is_none_or(named)
        && query.entitlement.as_ref().is_none_or(asked)
        && (query.statuses.is_empty() || query.statuses.contains(&status))
        && query
            .from
            .is_none_or(|from| !status.is_over() || request.updated_at >= from)
        && query.until.is_none_or(|until| request.opened_at < until)
        && query
            .updated_since
            .is_none_or(|since| request.updated_at >= since)
        && query.after.is_none_or(|after| request.id < after)
}

#[async_trait]
impl RequestStore for MemoryStore {
    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        self.lock().record(id)
    }

    async fn story(
        &self,
        id: RequestId,
    ) -> Result<Option<(AccessRequest, Vec<Sealed>)>, PortError> {
        let state = self.lock();
        let request = state.record(id)?;
        Ok(request.map(|request| (request, state.chain(id))))
    }

    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError> {
        Ok(self.lock().slots.get(key).cloned())
    }

    async fn commit(&self, commit: Commit) -> Result<Vec<Delivery>, CommitError> {
        if commit.changes.len() > COMMIT_RECORDS_LIMIT {
            return Err(CommitError::TooLarge { what: "records" });
        }
        let lost = || PortError::maybe_done("memory", "commit", ErrorKind::Unavailable);
        let fault = self.fault();
        match fault {
            Some(CommitFault::Conflict) => return Err(CommitError::Conflict),
            Some(CommitFault::LostCall) => return Err(lost().into()),
            Some(CommitFault::LostReply) | None => {}
        }
        let mut state = self.lock();
        state.check(&commit)?;
        let taken = state.apply(commit);
        fault.map_or(Ok(taken), |_| Err(lost().into()))
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        let state = self.lock();
        let waiting = state.records.iter().filter(|(_, kept)| !kept.is_newer());
        let mut due: Vec<(Option<Timestamp>, Due)> = waiting
            .filter_map(|(id, kept)| Some((*id, kept.wake.clone()?)))
            .filter(|(_, wake)| wake.at <= now)
            .map(|(id, wake)| {
                let revoke_at = wake.revoke_at.filter(|revoke_at| *revoke_at <= now);
                let urgency = match revoke_at {
                    Some(_) => Urgency::Revoke,
                    None => Urgency::Other,
                };
                let due = Due {
                    id,
                    wake_at: wake.at,
                    provider: wake.provider,
                    urgency,
                };
                (revoke_at, due)
            })
            .collect();
        due.sort_by_key(|(revoke_at, due)| (due.urgency, *revoke_at, due.wake_at, due.id));
        let mut due: Vec<Due> = due.into_iter().map(|(_, due)| due).collect();
        due.truncate(limit);
        Ok(due)
    }

    async fn newest_commit(&self) -> Result<Option<Timestamp>, PortError> {
        Ok(self.lock().newest_commit)
    }

    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        Ok(self.lock().deliveries_due(notifiers, now, limit))
    }

    async fn deliveries_take(
        &self,
        notifier: &str,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        let mut state = self.lock();
        let mut due = state.deliveries_due(&[notifier.to_owned()], now, limit);
        for delivery in &mut due {
            delivery.version += 1;
            delivery.attempts = delivery.attempts.saturating_add(1);
            delivery.taken_until = Some(until);
            state
                .deliveries
                .insert(delivery.key.clone(), delivery.clone());
        }
        Ok(due)
    }

    async fn deliveries(&self, request: RequestId) -> Result<Vec<Delivery>, PortError> {
        let state = self.lock();
        let about = |delivery: &&Delivery| delivery.key.request == request;
        Ok(state.deliveries.values().filter(about).cloned().collect())
    }

    async fn delivery_update(&self, delivery: Delivery) -> Result<(), CommitError> {
        let mut state = self.lock();
        let stored = state.deliveries.get_mut(&delivery.key);
        match stored.filter(|stored| stored.version.checked_add(1) == Some(delivery.version)) {
            Some(stored) => {
                *stored = delivery;
                Ok(())
            }
            None => Err(CommitError::Conflict),
        }
    }

    async fn events(&self, id: RequestId) -> Result<Vec<Sealed>, PortError> {
        Ok(self.lock().chain(id))
    }

    async fn system_events(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, PortError> {
        let state = self.lock();
        let chain = state.events.get(SYSTEM_CHAIN);
        let events = chain.into_iter().flat_map(BTreeMap::values);
        let behind = events.filter(|event| event.seq > after);
        Ok(behind.take(limit).cloned().collect())
    }

    async fn system_head(&self) -> Result<ChainHead, PortError> {
        Ok(self.lock().head())
    }

    async fn query(&self, query: &Query) -> Result<Vec<AccessRequest>, PortError> {
        let state = self.lock();
        let newest_first = state.records.iter().rev();
        let read = newest_first.filter_map(|(id, kept)| kept.listed(*id));
        let limit = query.limit.clamp(1, QUERY_LIMIT);
        Ok(read
            .filter(|request| fits(request, query))
            .take(limit)
            .collect())
    }

    async fn by_suffix(&self, suffix: &str) -> Result<Vec<RequestId>, PortError> {
        if suffix.len() < 5 {
            return Ok(Vec::new());
        }
        let state = self.lock();
        let ids = state.records.keys().copied();
        Ok(ids
            .filter(|id| id.to_string().ends_with(suffix))
            .take(2)
            .collect())
    }

    async fn chains(
        &self,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestId>, PortError> {
        let state = self.lock();
        let ids = state.events.keys().filter_map(|chain| chain.parse().ok());
        let behind = ids.filter(|id| after.is_none_or(|after| *id > after));
        Ok(behind.take(limit).collect())
    }

    async fn idempotency(&self, key: &str) -> Result<Option<Idempotency>, PortError> {
        Ok(self.lock().idempotency.get(key).cloned())
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, PortError> {
        let value = self.lock().rows.get(&(table, key.to_owned())).cloned();
        let row = |value| Row {
            table,
            key: key.to_owned(),
            value,
        };
        Ok(value.map(row))
    }

    async fn rows(&self, table: &'static str) -> Result<Vec<Row>, PortError> {
        let state = self.lock();
        let of_table = state.rows.iter().filter(|((of, _), _)| *of == table);
        let row = |((_, key), value): (&(&'static str, String), &String)| Row {
            table,
            key: key.clone(),
            value: value.clone(),
        };
        Ok(of_table.map(row).collect())
    }

    async fn inbox_put(
        &self,
        key: &str,
        input: &str,
        received_at: Timestamp,
    ) -> Result<Inbox, PortError> {
        let fewer = |left: usize| left.checked_sub(1);
        let unkept = &self.unkept;
        if unkept
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer)
            .is_ok()
        {
            let kind = ErrorKind::Unavailable;
            return Err(PortError::maybe_done("memory", "keep an input", kind));
        }
        let mut state = self.lock();
        let old = |kept: &Input| received_at.since(kept.received_at) >= INBOX_KEPT;
        state.inbox.retain(|_, kept| !(kept.done && old(kept)));
        let before = state.inbox.get(key);
        if before.is_some_and(|before| !old(before)) {
            return Ok(Inbox::Seen);
        }
        let kept = Input {
            text: input.to_owned(),
            received_at,
            taken_at: Some(received_at),
            done: false,
        };
        state.inbox.insert(key.to_owned(), kept);
        Ok(Inbox::New)
    }

    async fn inbox_take(&self, now: Timestamp, limit: usize) -> Result<Vec<InboxItem>, PortError> {
        let mut state = self.lock();
        let free = |input: &Input| match input.taken_at {
            Some(taken_at) => now.since(taken_at) >= INBOX_TAKEN,
            None => true,
        };
        let waiting = state.inbox.iter_mut();
        let mut waiting: Vec<(&String, &mut Input)> = waiting
            .filter(|(_, input)| !input.done && free(input))
            .collect();
        waiting.sort_by(|one, two| (one.1.received_at, one.0).cmp(&(two.1.received_at, two.0)));
        let take = |(key, input): (&String, &mut Input)| {
            input.taken_at = Some(now);
            InboxItem {
                key: key.clone(),
                input: input.text.clone(),
                received_at: input.received_at,
            }
        };
        Ok(waiting.into_iter().take(limit).map(take).collect())
    }

    async fn inbox_done(&self, key: &str) -> Result<(), PortError> {
        self.lock().inbox_done(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use std::sync::Arc;

    #[tokio::test]
    async fn the_store_in_memory_keeps_the_contract() {
        store_contract(async || {
            let store = Arc::new(MemoryStore::new());
            Handles {
                one: store.clone(),
                other: store,
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_text_that_was_put_in_by_hand_is_read_as_it_is() {
        let store = MemoryStore::new();
        let request = sample::request(1);
        let change = sample::creation(request.clone());
        store.commit(sample::commit([change])).await.unwrap();
        assert_eq!(store.records().len(), 1);
        store.put_stored(request.id, r#"{"shape":99,"version":7}"#);
        assert!(store.load(request.id).await.is_err());
        assert!(store.records().is_empty());
        assert_eq!(store.stored().len(), 1);
        store.put_stored(request.id, "damaged");
        let error = store.load(request.id).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured);
        assert_eq!(store.all_chains().len(), 1);
    }
}
