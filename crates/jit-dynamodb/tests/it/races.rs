//! Somebody else is faster between the look and the write. What the caller decided on makes that a
//! conflict; what only the store looked at is looked at anew.

use std::sync::Arc;

use jit_core::audit::{Actor, ChainHead, SYSTEM_CHAIN, SystemFact};
use jit_core::digest::Digest;
use jit_core::ports::{
    Commit, CommitError, Counter, Delivery, DeliveryKey, Idempotency, RequestStore, Row, RowChange,
    SlotChange, SystemAppend, Touch,
};
use jit_core::request::{AccessRequest, Slot};
use jit_dynamodb::DynamoStore;
use jit_testkit::sample;
use tokio::sync::Notify;

use crate::faulty::Faulty;
use crate::faulty::Trouble::Wait;
use crate::world::World;

/// A change of a record without an event, so that nothing but its version tells of it.
fn quiet(record: &AccessRequest, secs: u64) -> Commit {
    sample::commit([sample::update(sample::next(record, sample::at(secs)))])
}

fn slot(record: &AccessRequest, owner: u16, expected: Option<u16>) -> Commit {
    Commit {
        slots: vec![SlotChange {
            slot: Slot {
                key: record.parts.first().slot_key(),
                owner: sample::id(owner),
            },
            expected: expected.map(sample::id),
        }],
        ..Commit::default()
    }
}

fn row(value: &str, expected: Option<&str>) -> Commit {
    Commit {
        rows: vec![RowChange {
            row: Row {
                table: "flag",
                key: "pause".to_owned(),
                value: value.to_owned(),
            },
            expected: expected.map(str::to_owned),
        }],
        ..Commit::default()
    }
}

fn system(fact: SystemFact) -> Commit {
    let mut head = ChainHead::start(SYSTEM_CHAIN);
    let expected = head;
    let events = vec![head.seal_system(sample::start(), &Actor::System, fact)];
    Commit {
        system: Some(SystemAppend { expected, events }),
        ..Commit::default()
    }
}

fn once(asked: &str) -> Commit {
    Commit {
        idempotency: Some(Idempotency {
            key: "key".to_owned(),
            fingerprint: Digest::of(asked.as_bytes()),
            request: sample::id(1),
            forget_at: sample::at(90),
        }),
        ..Commit::default()
    }
}

fn counted(ceiling: u32) -> Commit {
    Commit {
        counters: vec![Counter {
            key: "opened".to_owned(),
            window: 1,
            ceiling,
            forget_at: sample::at(90),
        }],
        at: Some(sample::at(1)),
        ..Commit::default()
    }
}

fn touched(secs: u64, until: Option<u64>) -> Commit {
    Commit {
        deliveries: vec![Touch {
            key: DeliveryKey {
                request: sample::id(1),
                notifier: "slack".to_owned(),
                target: "C1".to_owned(),
            },
            take_until: until.map(sample::at),
        }],
        at: Some(sample::at(secs)),
        ..Commit::default()
    }
}

struct Race {
    /// Is slower.
    one: DynamoStore,
    network: Faulty,
    other: DynamoStore,
}

type Answer = Result<Vec<Delivery>, CommitError>;

impl Race {
    /// The first looks, the second is written, and then the first is sent.
    async fn run(&self, first: Commit, second: Commit) -> Answer {
        let gate = Arc::new(Notify::new());
        self.network.calls();
        self.network
            .next("TransactWriteItems", [Wait(gate.clone())]);
        let faster = async {
            while !self
                .network
                .calls()
                .contains(&"TransactWriteItems".to_owned())
            {
                tokio::task::yield_now().await;
            }
            self.other.commit(second).await.unwrap();
            gate.notify_one();
        };
        let (answer, ()) = tokio::join!(self.one.commit(first), faster);
        answer
    }
}

#[tokio::test]
async fn what_a_commit_was_decided_on_and_changed_before_it_was_written_is_a_conflict() {
    let world = World::new();
    let (one, network, other, _) = world.faulty().await;
    let race = Race {
        one,
        network,
        other,
    };
    let change = sample::creation(sample::request(1));
    let record = change.record.clone();
    race.one.commit(sample::commit([change])).await.unwrap();
    let create = |secs| {
        let mut request = sample::request(9);
        request.updated_at = sample::at(secs);
        // Without its event: nothing but its absence tells of it.
        let mut change = sample::creation(request);
        change.events.clear();
        sample::commit([change])
    };
    let unchanged = Commit {
        unchanged: vec![(record.id, 2)],
        ..row("0", None)
    };
    let next = sample::next(&record, sample::at(5));
    let races = [
        ("a record", quiet(&record, 5), quiet(&record, 6)),
        ("a new record", create(5), create(6)),
        ("an unchanged record", unchanged, quiet(&next, 7)),
        ("a new slot", slot(&record, 1, None), slot(&record, 2, None)),
        (
            "a slot",
            slot(&record, 1, Some(2)),
            slot(&record, 3, Some(2)),
        ),
        ("a new row", row("1", None), row("2", None)),
        ("a row", row("3", Some("2")), row("4", Some("2"))),
        (
            "the system chain",
            system(SystemFact::Paused),
            system(SystemFact::Resumed),
        ),
        ("a key", once("this"), once("that")),
    ];
    for (what, first, second) in races {
        let answer = race.run(first, second).await;
        assert!(
            matches!(answer, Err(CommitError::Conflict)),
            "{what}: {answer:?}"
        );
    }
    let row = race.other.row("flag", "pause").await.unwrap().unwrap();
    assert_eq!(row.value, "4");
    let owner = race
        .other
        .slot(&record.parts.first().slot_key())
        .await
        .unwrap();
    assert_eq!(owner.unwrap().owner, sample::id(3));
    let stored = race.other.load(record.id).await.unwrap().unwrap();
    assert_eq!((stored.version, stored.updated_at), (3, sample::at(7)));
    assert!(!race.other.check().await.unwrap().is_worth_an_alarm());
}

#[tokio::test]
async fn what_only_the_store_looked_at_is_looked_at_anew() {
    let world = World::new();
    let (one, network, other, _) = world.faulty().await;
    let race = Race {
        one,
        network,
        other,
    };
    // Two counts are two.
    race.run(counted(9), counted(9)).await.unwrap();
    race.run(counted(9), counted(9)).await.unwrap();
    let full = race.run(counted(5), counted(5)).await;
    assert!(
        matches!(full, Err(CommitError::CounterFull { .. })),
        "{full:?}"
    );
    // News of a message that was told something else meanwhile; whoever took it has it.
    race.run(touched(5, None), touched(6, None)).await.unwrap();
    let taken = race.run(touched(7, Some(40)), touched(8, Some(50))).await;
    assert_eq!(taken.unwrap(), [], "the other took it");
    let stored = race.other.deliveries(sample::id(1)).await.unwrap();
    assert_eq!((stored[0].version, stored[0].attempts), (3, 1));
    assert_eq!(stored[0].taken_until, Some(sample::at(50)));
    let slack = ["slack".to_owned()];
    let due = race.other.deliveries_due(&slack, sample::at(60), 9).await;
    assert_eq!(due.unwrap().len(), 1);
    // An input that was done meanwhile.
    race.one
        .inbox_put("key", "text", sample::at(0))
        .await
        .unwrap();
    let done = || Commit {
        inbox_done: Some("key".to_owned()),
        ..Commit::default()
    };
    let answer = race.run(done(), done()).await;
    assert!(matches!(answer, Err(CommitError::InputDone)), "{answer:?}");
    assert!(!race.other.check().await.unwrap().is_worth_an_alarm());
}

#[tokio::test]
async fn a_message_that_was_marked_by_another_meanwhile_is_a_conflict() {
    let world = World::new();
    let (one, network, other, _) = world.faulty().await;
    one.commit(touched(5, None)).await.unwrap();
    let marked = |shown_seq| Delivery {
        version: 1,
        shown_seq,
        deliver_at: None,
        ..first_delivery()
    };
    let gate = Arc::new(Notify::new());
    network.calls();
    network.next("TransactWriteItems", [Wait(gate.clone())]);
    let faster = async {
        while !network.calls().contains(&"TransactWriteItems".to_owned()) {
            tokio::task::yield_now().await;
        }
        other.delivery_update(marked(7)).await.unwrap();
        gate.notify_one();
    };
    let (answer, ()) = tokio::join!(one.delivery_update(marked(3)), faster);
    assert!(matches!(answer, Err(CommitError::Conflict)), "{answer:?}");
    let stored = other.deliveries(sample::id(1)).await.unwrap();
    assert_eq!(stored[0].shown_seq, 7);
}

fn first_delivery() -> Delivery {
    Delivery {
        key: DeliveryKey {
            request: sample::id(1),
            notifier: "slack".to_owned(),
            target: "C1".to_owned(),
        },
        version: 0,
        message: None,
        shown_seq: 0,
        attempts: 0,
        deliver_at: None,
        taken_until: None,
    }
}

#[tokio::test]
async fn of_many_who_take_at_once_each_delivery_and_input_is_given_to_one() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    for number in 0..20 {
        let mut commit = sample::commit([sample::creation(sample::request(number))]);
        commit.deliveries = vec![Touch {
            key: DeliveryKey {
                request: sample::id(number),
                ..first_delivery().key
            },
            take_until: None,
        }];
        store.commit(commit).await.unwrap();
        let key = number.to_string();
        store.inbox_put(&key, "text", sample::at(0)).await.unwrap();
    }
    let mut takers = Vec::new();
    for _ in 0..4 {
        takers.push(world.open(&table).await);
    }
    let (now, until) = (sample::at(100), sample::at(130));
    let deliveries = takers
        .iter()
        .map(|it| it.deliveries_take("slack", now, until, 20));
    let deliveries = futures_util::future::join_all(deliveries).await;
    let given: usize = deliveries.into_iter().map(|it| it.unwrap().len()).sum();
    assert_eq!(given, 20);
    let inputs = takers.iter().map(|it| it.inbox_take(now, 20));
    let inputs = futures_util::future::join_all(inputs).await;
    let given: usize = inputs.into_iter().map(|it| it.unwrap().len()).sum();
    assert_eq!(given, 20);
}
