//! Any `RequestStore` and the store in memory answer any sequence of commands alike, and hold the
//! same afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use jit_core::Timestamp;
use jit_core::audit::{Actor, ChainHead, Fact, SystemFact};
use jit_core::digest::Digest;
use jit_core::ports::{
    Commit, CommitError, Counter, Delivery, DeliveryKey, Idempotency, Query, RequestStore, Row,
    RowChange, SlotChange, SystemAppend, Touch, Wake,
};
use jit_core::request::{REQUEST_SHAPE, Slot, Status};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::MemoryStore;
use crate::sample;

/// A record of a commit: which, as what, over which version, with an event of which number.
#[derive(Debug, Clone)]
struct Record {
    number: u16,
    status: Status,
    expected: Option<u64>,
    event: Option<u64>,
    wake: Option<(u64, bool)>,
    newer: bool,
}

#[derive(Debug, Clone)]
struct Write {
    at: Option<u64>,
    record: Option<Record>,
    unchanged: Option<(u16, u64)>,
    slot: Option<(u16, Option<u16>)>,
    system: Option<u64>,
    row: Option<(u8, Option<u8>)>,
    key: Option<(u8, u64)>,
    counter: Option<(u8, u32, u64)>,
    delivery: Option<(u16, Option<u64>)>,
    done: Option<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Write),
    Deliver(u16, u64, Option<u64>),
    TakeDeliveries(u64, usize),
    Put(u8, u64),
    Take(u64, usize),
    Done(u8),
}

fn record() -> impl Strategy<Value = Record> {
    (
        1..4_u16,
        proptest::sample::select(Status::ALL.to_vec()),
        proptest::option::weighted(0.6, 1..4_u64),
        proptest::option::of(1..6_u64),
        proptest::option::of((0..50_u64, any::<bool>())),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(number, status, expected, event, wake, newer)| Record {
            number,
            status,
            expected,
            event,
            wake,
            newer,
        })
}

fn write() -> impl Strategy<Value = Write> {
    use proptest::option::{of, weighted};
    (
        of(0..50_u64),
        weighted(0.8, record()),
        weighted(0.2, (1..4_u16, 1..4_u64)),
        weighted(0.2, (1..4_u16, of(1..4_u16))),
        weighted(0.2, 0..3_u64),
        weighted(0.2, (0..3_u8, of(0..3_u8))),
        weighted(0.2, (0..3_u8, 0..60_u64)),
        weighted(0.3, (0..2_u8, 0..4_u32, 0..60_u64)),
        weighted(0.4, (1..4_u16, of(1..90_u64))),
        weighted(0.2, 0..3_u8),
    )
        .prop_map(
            |(at, record, unchanged, slot, system, row, key, counter, delivery, done)| Write {
                at,
                record,
                unchanged,
                slot,
                system,
                row,
                key,
                counter,
                delivery,
                done,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => write().prop_map(Step::Commit),
        2 => (1..4_u16, 0..4_u64, proptest::option::of(0..50_u64))
            .prop_map(|(number, version, at)| Step::Deliver(number, version, at)),
        1 => (0..50_u64, 0..3_usize).prop_map(|(at, limit)| Step::TakeDeliveries(at, limit)),
        2 => (0..3_u8, 0..9_000_u64).prop_map(|(key, at)| Step::Put(key, at)),
        2 => (0..9_000_u64, 0..3_usize).prop_map(|(at, limit)| Step::Take(at, limit)),
        1 => (0..3_u8).prop_map(Step::Done),
    ]
}

fn delivery_key(number: u16) -> DeliveryKey {
    DeliveryKey {
        request: sample::id(number),
        notifier: if number == 1 { "slack" } else { "telegram" }.to_owned(),
        target: "C1".to_owned(),
    }
}

fn commit(write: &Write, head: ChainHead) -> Commit {
    let changes = write.record.iter().map(|given| {
        let mut record = sample::request_in(given.number, given.status);
        record.version = given.expected.map_or(1, |version| version + 1);
        record.shape = REQUEST_SHAPE + u32::from(given.newer);
        // Behind any event that a step writes: a chain ends where its record says.
        record.chain.seq = 9;
        let names = ["groupfile/admins", "groupfile/ops"];
        record.parts = sample::parts(&names[..1 + usize::from(given.number) % 2]);
        let mut change = sample::update(record);
        change.expected = given.expected;
        if let Some(seq) = given.event {
            let mut sealing = change.record.clone();
            sealing.chain.seq = seq - 1;
            let event = sample::seal(&mut sealing, sample::start(), Fact::Lapsed);
            change.events.push(event);
        }
        change.wake = given.wake.map(|(at, revoke)| Wake {
            revoke_at: revoke.then(|| sample::at(at)),
            ..sample::wake(sample::at(at))
        });
        change
    });
    let slot = |(owner, expected): (u16, Option<u16>)| SlotChange {
        slot: Slot {
            key: sample::part("groupfile/admins").slot_key(),
            owner: sample::id(owner),
        },
        expected: expected.map(sample::id),
    };
    let system = |behind: u64| {
        let seq = head.seq.saturating_sub(behind);
        let expected = ChainHead { seq, ..head };
        let mut sealing = expected;
        let event = sealing.seal_system(sample::start(), &Actor::System, SystemFact::Paused);
        SystemAppend {
            expected,
            events: vec![event],
        }
    };
    let row = |(value, expected): (u8, Option<u8>)| RowChange {
        row: Row {
            table: "flag",
            key: "pause".to_owned(),
            value: value.to_string(),
        },
        expected: expected.map(|value| value.to_string()),
    };
    Commit {
        changes: changes.collect(),
        unchanged: write
            .unchanged
            .iter()
            .map(|(number, version)| (sample::id(*number), *version))
            .collect(),
        slots: write.slot.into_iter().map(slot).collect(),
        good_for: None,
        system: write.system.map(system),
        inbox_done: write.done.map(|key| key.to_string()),
        idempotency: write.key.map(|(key, forget)| Idempotency {
            key: key.to_string(),
            fingerprint: Digest::of(&[key]),
            request: sample::id(u16::from(key)),
            forget_at: sample::at(forget),
        }),
        counters: write
            .counter
            .iter()
            .map(|(key, ceiling, forget)| Counter {
                key: key.to_string(),
                window: 3,
                ceiling: *ceiling,
                forget_at: sample::at(*forget),
            })
            .collect(),
        rows: write.row.into_iter().map(row).collect(),
        deliveries: write
            .delivery
            .map(|(number, until)| Touch {
                key: delivery_key(number),
                take_until: until.map(sample::at),
            })
            .into_iter()
            .collect(),
        at: write.at.map(sample::at),
    }
}

fn outcome<T: std::fmt::Debug>(outcome: Result<T, CommitError>) -> String {
    outcome.map_or_else(|error| error.to_string(), |given| format!("{given:?}"))
}

async fn run(store: &dyn RequestStore, step: &Step) -> String {
    match step {
        Step::Commit(write) => {
            let head = store.system_head().await.unwrap();
            outcome(store.commit(commit(write, head)).await)
        }
        Step::Deliver(number, version, at) => {
            let delivery = Delivery {
                key: delivery_key(*number),
                version: *version,
                message: Some("m".to_owned()),
                shown_seq: *version,
                attempts: 1,
                deliver_at: at.map(sample::at),
                taken_until: at.map(|at| sample::at(at / 2)),
            };
            outcome(store.delivery_update(delivery).await)
        }
        Step::TakeDeliveries(at, limit) => {
            let (now, until) = (sample::at(*at), sample::at(at + 5));
            let mut taken = vec![];
            for notifier in ["slack", "telegram"] {
                let found = store.deliveries_take(notifier, now, until, *limit).await;
                taken.extend(found.unwrap());
            }
            format!("{taken:?}")
        }
        Step::Put(key, at) => {
            let key = key.to_string();
            let put = store.inbox_put(&key, "text", sample::at(*at)).await;
            format!("{:?}", put.unwrap())
        }
        Step::Take(at, limit) => {
            let taken = store.inbox_take(sample::at(*at), *limit).await;
            format!("{:?}", taken.unwrap())
        }
        Step::Done(key) => {
            store.inbox_done(&key.to_string()).await.unwrap();
            String::new()
        }
    }
}

/// Every read, as text.
async fn everything(store: &dyn RequestStore) -> Vec<String> {
    let mut seen = Vec::new();
    for number in 1..4 {
        let id = sample::id(number);
        let loaded = store.load(id).await.map_err(|error| error.kind);
        seen.push(format!("{loaded:?}"));
        seen.push(format!("{:?}", store.events(id).await.unwrap()));
        let story = store.story(id).await.map_err(|error| error.kind);
        seen.push(format!("{story:?}"));
    }
    let slot = sample::part("groupfile/admins").slot_key();
    seen.push(format!("{:?}", store.slot(&slot).await.unwrap()));
    seen.push(format!("{:?}", store.system_head().await.unwrap()));
    seen.push(format!("{:?}", store.system_events(0, 9).await.unwrap()));
    seen.push(format!("{:?}", store.row("flag", "pause").await.unwrap()));
    seen.push(format!("{:?}", store.rows("flag").await.unwrap()));
    seen.push(format!("{:?}", store.chains(None, 9).await.unwrap()));
    for key in ["0", "1", "2"] {
        // What may be forgotten by now may be there all the same.
        let used = store.idempotency(key).await.unwrap();
        let used = used.filter(|used| used.forget_at >= sample::at(50));
        seen.push(format!("{used:?}"));
    }
    let notifiers = ["telegram".to_owned(), "slack".to_owned()];
    for (at, limit) in [(10, 9), (30, 1), (60, 9)] {
        let at = sample::at(at);
        seen.push(format!("{:?}", store.due(at, limit).await.unwrap()));
        let due = store.deliveries_due(&notifiers, at, limit).await;
        seen.push(format!("{:?}", due.unwrap()));
    }
    let all = Query {
        limit: 9,
        ..Query::default()
    };
    let queries = [
        all.clone(),
        Query {
            statuses: vec![Status::Active, Status::Pending, Status::Denied],
            ..all.clone()
        },
        Query {
            entitlement: Some("groupfile/ops".parse().unwrap()),
            after: Some(sample::id(3)),
            ..all.clone()
        },
        Query {
            principal: Some("ana@example.com".parse().unwrap()),
            entitlement: Some("groupfile/admins".parse().unwrap()),
            statuses: vec![Status::Active, Status::Closed, Status::Denied],
            limit: 2,
            ..all.clone()
        },
        Query {
            principal: Some("ana@example.com".parse().unwrap()),
            statuses: vec![Status::Pending, Status::Active, Status::Settling],
            ..all.clone()
        },
        Query {
            principal: Some("ana@example.com".parse().unwrap()),
            from: Some(sample::at(62)),
            until: Some(sample::at(3)),
            updated_since: Some(sample::at(2)),
            limit: 1,
            ..all
        },
    ];
    for query in queries {
        seen.push(format!("{:?}", store.query(&query).await.unwrap()));
    }
    seen.push(format!("{:?}", store.due(Timestamp::MIN, 9).await.unwrap()));
    seen
}

/// Inputs come one after the other, and so do commits that use a key or count: what is older may be
/// forgotten by then, or not.
fn in_order(mut steps: Vec<Step>) -> Vec<Step> {
    let (mut put, mut decided) = (0, 0);
    for step in &mut steps {
        match step {
            Step::Put(_, at) => {
                put = put.max(*at);
                *at = put;
            }
            Step::Commit(write) if write.key.is_some() || write.counter.is_some() => {
                decided = decided.max(write.at.unwrap_or_default());
                write.at = Some(decided);
            }
            _ => {}
        }
    }
    steps
}

/// Holds the stores of this maker, a fresh one each time, against the store in memory: so many
/// drawn sequences of commands.
///
/// # Panics
/// Where they differ, with the shortest sequence that was found.
pub fn agrees_with_memory<S, F>(cases: u32, make: F)
where
    S: RequestStore,
    F: AsyncFn() -> S,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let sequences = proptest::collection::vec(step(), 1..40);
    let agree = TestRunner::new(config).run(&sequences, |steps| {
        runtime.block_on(async {
            let (store, memory) = (make().await, MemoryStore::new());
            for step in &in_order(steps) {
                let answers = (run(&store, step).await, run(&memory, step).await);
                prop_assert_eq!(answers.0, answers.1, "{:?}", step);
            }
            let held = (everything(&store).await, everything(&memory).await);
            for (place, (ours, memory)) in held.0.iter().zip(&held.1).enumerate() {
                prop_assert_eq!(ours, memory, "read number {}", place);
            }
            Ok(())
        })
    });
    assert!(agree.is_ok(), "{agree:?}");
}
