//! One of everything that a store keeps, and all that can be read of it, as text: for tests that hold
//! the rows of a store against those of an earlier release.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use jit_core::audit::{Actor, ChainHead, SYSTEM_CHAIN, SystemFact};
use jit_core::digest::Digest;
use jit_core::ports::{
    Commit, Counter, Delivery, DeliveryKey, Idempotency, Query, RequestStore, Row, RowChange,
    SlotChange, SystemAppend, Touch, Wake,
};
use jit_core::request::{Slot, Status};

use crate::sample;

fn delivery_key() -> DeliveryKey {
    DeliveryKey {
        request: sample::id(1),
        notifier: "slack".to_owned(),
        target: "C1".to_owned(),
    }
}

fn revoke_at(secs: u64) -> Wake {
    Wake {
        revoke_at: Some(sample::at(secs)),
        ..sample::wake(sample::at(secs))
    }
}

/// Writes one of everything into a store that holds nothing.
///
/// # Panics
/// Where the store does not take it.
pub async fn one_of_everything(store: &dyn RequestStore) {
    store
        .inbox_put("waits", "/jit", sample::at(1))
        .await
        .unwrap();
    store
        .inbox_put("done", "/jit", sample::at(2))
        .await
        .unwrap();
    let mut change = sample::creation(sample::request_in(1, Status::Active));
    change.wake = Some(revoke_at(50));
    let record = change.record.clone();
    let mut head = ChainHead::start(SYSTEM_CHAIN);
    let expected = head;
    let paused = head.seal_system(sample::at(3), &Actor::System, SystemFact::Paused);
    let commit = Commit {
        slots: vec![SlotChange {
            slot: Slot {
                key: record.parts.first().slot_key(),
                owner: record.id,
            },
            expected: None,
        }],
        system: Some(SystemAppend {
            expected,
            events: vec![paused],
        }),
        inbox_done: Some("done".to_owned()),
        idempotency: Some(Idempotency {
            key: "ana@example.com/once".to_owned(),
            fingerprint: Digest::of(b"asked"),
            request: record.id,
            forget_at: sample::at(86_400),
        }),
        counters: vec![Counter {
            key: "opened/ana@example.com".to_owned(),
            window: 7,
            ceiling: 9,
            forget_at: sample::at(7_200),
        }],
        rows: vec![RowChange {
            row: Row {
                table: "flag",
                key: "pause".to_owned(),
                value: "{}".to_owned(),
            },
            expected: None,
        }],
        deliveries: vec![Touch {
            key: delivery_key(),
            take_until: Some(sample::at(91)),
        }],
        ..sample::commit([change])
    };
    let taken = store.commit(commit).await.unwrap();
    let told = Delivery {
        version: taken[0].version + 1,
        message: Some("1.2".to_owned()),
        shown_seq: 1,
        attempts: 0,
        deliver_at: Some(sample::at(40)),
        taken_until: None,
        ..taken[0].clone()
    };
    store.delivery_update(told).await.unwrap();
    let mut other = sample::creation(sample::request_in(2, Status::Pending));
    other.wake = Some(sample::wake(sample::at(902)));
    let closed = sample::creation(sample::request_in(3, Status::Closed));
    store.commit(sample::commit([other, closed])).await.unwrap();
}

/// Every read of a store that [`one_of_everything`] filled, as text.
///
/// # Panics
/// Where a read fails.
pub async fn all_that_is_read(store: &dyn RequestStore) -> Vec<String> {
    let mut seen = Vec::new();
    for number in 1..=3 {
        seen.push(format!(
            "{:?}",
            store.story(sample::id(number)).await.unwrap()
        ));
    }
    let slot = sample::part("groupfile/admins").slot_key();
    seen.push(format!("{:?}", store.slot(&slot).await.unwrap().unwrap()));
    seen.push(format!(
        "{:?}",
        store.due(sample::at(9_000), 9).await.unwrap()
    ));
    seen.push(format!(
        "{:?}",
        store.newest_commit().await.unwrap().unwrap()
    ));
    seen.push(format!("{:?}", store.system_head().await.unwrap()));
    seen.push(format!("{:?}", store.system_events(0, 9).await.unwrap()));
    seen.push(format!("{:?}", store.rows("flag").await.unwrap()));
    seen.push(format!("{:?}", store.chains(None, 9).await.unwrap()));
    let once = store.idempotency("ana@example.com/once").await.unwrap();
    seen.push(format!("{:?}", once.unwrap()));
    seen.push(format!(
        "{:?}",
        store.deliveries(sample::id(1)).await.unwrap()
    ));
    let all = Query {
        limit: 9,
        ..Query::default()
    };
    let open = Query {
        statuses: vec![Status::Active, Status::Pending],
        updated_since: Some(sample::start()),
        ..all.clone()
    };
    for query in [all, open] {
        seen.push(format!("{:?}", store.query(&query).await.unwrap()));
    }
    let suffix = sample::id(3).to_string();
    seen.push(format!(
        "{:?}",
        store.by_suffix(&suffix[suffix.len() - 6..]).await.unwrap()
    ));
    let slack = ["slack".to_owned()];
    let due = store.deliveries_due(&slack, sample::at(900), 9).await;
    seen.push(format!("{:?}", due.unwrap()));
    seen.push(format!(
        "{:?}",
        store.inbox_take(sample::at(90), 9).await.unwrap()
    ));
    seen
}
