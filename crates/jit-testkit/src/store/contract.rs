//! The contract of `RequestStore`, clause by clause, behind one entry. Each clause is a promise; it
//! gets a store of its own, writes through one handle and reads through the other.

mod commits;
mod listings;
mod rows;

use std::fmt;
use std::sync::Arc;

use jit_core::audit::{Actor, ChainHead, Sealed, SystemFact};
use jit_core::ports::{
    Commit, CommitError, Counter, Delivery, DeliveryKey, Due, Idempotency, PortError, Query,
    RequestStore, Row, RowChange, SlotChange, SystemAppend, Touch,
};
use jit_core::request::{AccessRequest, RequestId, Slot};
use jit_core::{Timestamp, digest::Digest};

use crate::sample;

/// Two handles on one fresh store: the same one twice, or two that share what is stored as two
/// processes would.
#[derive(Clone)]
pub struct Handles {
    /// The handle that the suite mostly writes through.
    pub one: Arc<dyn RequestStore>,
    /// The handle that the suite mostly reads through.
    pub other: Arc<dyn RequestStore>,
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

/// Checks every clause of the contract of `RequestStore`, each on a fresh store of this maker.
///
/// # Panics
/// At the first clause that is broken, with a sentence that says which.
pub async fn store_contract<F>(make: F)
where
    F: AsyncFn() -> Handles,
{
    commits::all(&make).await;
    rows::all(&make).await;
    listings::all(&make).await;
}

// ------------------------------------------------------------------------- words of the clauses

/// What a store answered where it has to answer.
fn answered<T>(what: &str, answer: Result<T, PortError>) -> T {
    match answer {
        Ok(value) => value,
        Err(error) => broken(what, &format!("failed: {error}: {:?}", error.source)),
    }
}

fn written<T>(what: &str, answer: Result<T, CommitError>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(error) => broken(what, &format!("was not written: {error}: {error:?}")),
    }
}

fn refused<T>(what: &str, answer: Result<T, CommitError>) {
    match answer {
        Err(CommitError::Conflict) => {}
        Err(error) => broken(what, &format!("is a Conflict, not: {error}")),
        Ok(_) => broken(what, "is a Conflict, and was written"),
    }
}

fn full<T>(what: &str, answer: Result<T, CommitError>) {
    match answer {
        Err(CommitError::CounterFull { .. }) => {}
        Err(error) => broken(what, &format!("is CounterFull, not: {error}")),
        Ok(_) => broken(what, "is CounterFull, and was written"),
    }
}

#[expect(clippy::panic, reason = "a suite reports a broken clause by panicking")]
fn broken(what: &str, how: &str) -> ! {
    panic!("the contract of RequestStore is broken: {what} {how}")
}

// ------------------------------------------------------------------------ what the clauses write

/// Stores the request with this number.
async fn stored(store: &dyn RequestStore, number: u16) -> AccessRequest {
    keep(store, sample::request(number)).await
}

/// Stores this record for the first time.
async fn keep(store: &dyn RequestStore, request: AccessRequest) -> AccessRequest {
    let change = sample::creation(request);
    let record = change.record.clone();
    written(
        "a record that does not exist",
        store.commit(sample::commit([change])).await,
    );
    record
}

fn slot_change(request: &AccessRequest, expected: Option<RequestId>) -> SlotChange {
    let key = request.parts.first().slot_key();
    let owner = request.id;
    SlotChange {
        slot: Slot { key, owner },
        expected,
    }
}

fn system_append(expected: ChainHead, facts: usize) -> SystemAppend {
    let mut head = expected;
    let mut seal = |_| head.seal_system(sample::start(), &Actor::System, SystemFact::Paused);
    let events = (0..facts).map(&mut seal).collect();
    SystemAppend { expected, events }
}

fn counter(key: &str, ceiling: u32) -> Counter {
    Counter {
        key: key.to_owned(),
        window: 7,
        ceiling,
        forget_at: sample::at(86_400),
    }
}

fn used_key(key: &str, request: RequestId) -> Idempotency {
    Idempotency {
        key: key.to_owned(),
        fingerprint: Digest::of(key.as_bytes()),
        request,
        forget_at: sample::at(86_400),
    }
}

fn row(key: &str, value: &str, expected: Option<&str>) -> RowChange {
    RowChange {
        row: Row {
            table: "flag",
            key: key.to_owned(),
            value: value.to_owned(),
        },
        expected: expected.map(str::to_owned),
    }
}

fn delivery_key(request: RequestId, notifier: &str) -> DeliveryKey {
    DeliveryKey {
        request,
        notifier: notifier.to_owned(),
        target: "C1".to_owned(),
    }
}

fn everything() -> Query {
    Query {
        limit: 1_000,
        ..Query::default()
    }
}

// ------------------------------------------------------------------------- what the clauses read

/// Everything that can be read without changing anything.
#[derive(Debug, PartialEq)]
struct Seen {
    records: Vec<AccessRequest>,
    events: Vec<Vec<Sealed>>,
    chains: Vec<RequestId>,
    system: (ChainHead, Vec<Sealed>),
    slots: Vec<Option<Slot>>,
    due: Vec<Due>,
    deliveries: Vec<Delivery>,
    rows: Vec<Row>,
    idempotency: Vec<Option<Idempotency>>,
}

async fn seen(store: &dyn RequestStore) -> Seen {
    let records = answered("a query", store.query(&everything()).await);
    let chains = answered("the list of chains", store.chains(None, 1_000).await);
    let (mut events, mut slots, mut idempotency) = (Vec::new(), Vec::new(), Vec::new());
    for id in &chains {
        events.push(answered("a chain", store.events(*id).await));
    }
    for record in &records {
        let key = record.parts.first().slot_key();
        slots.push(answered("a slot", store.slot(&key).await));
    }
    for key in ["used", "fresh"] {
        idempotency.push(answered("a used key", store.idempotency(key).await));
    }
    let notifiers = ["slack".to_owned(), "telegram".to_owned()];
    let deliveries = store.deliveries_due(&notifiers, Timestamp::MAX, 1_000);
    Seen {
        records,
        events,
        chains,
        system: (
            answered("the system head", store.system_head().await),
            answered("the system chain", store.system_events(0, 1_000).await),
        ),
        slots,
        due: answered("due", store.due(Timestamp::MAX, 1_000).await),
        deliveries: answered("the due deliveries", deliveries.await),
        rows: answered("the rows of a table", store.rows("flag").await),
        idempotency,
    }
}

/// News that are left to whoever looks.
fn touch_of(key: DeliveryKey) -> Touch {
    Touch {
        key,
        take_until: None,
    }
}

/// A commit that touches one thing of every kind.
async fn commit_of_everything(store: &dyn RequestStore, before: &AccessRequest) -> Commit {
    let mut record = sample::next(before, sample::at(100));
    let event = sample::seal(
        &mut record,
        sample::at(100),
        jit_core::audit::Fact::Withdrawn,
    );
    let mut change = sample::update(record);
    change.events.push(event);
    change.wake = Some(sample::wake(sample::at(200)));
    let head = answered("the system head", store.system_head().await);
    Commit {
        unchanged: vec![(sample::id(2), 1)],
        slots: vec![slot_change(before, None)],
        system: Some(system_append(head, 1)),
        inbox_done: Some("input".to_owned()),
        idempotency: Some(used_key("fresh", before.id)),
        counters: vec![counter("opened", 2)],
        rows: vec![row("fresh", "1", None)],
        deliveries: vec![touch_of(delivery_key(before.id, "slack"))],
        ..sample::commit([change])
    }
}
