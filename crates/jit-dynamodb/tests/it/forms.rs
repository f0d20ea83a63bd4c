//! Each row as it is stored, to the letter, and that what an earlier release stored is still read;
//! and which rows DynamoDB may remove by itself.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jit_core::audit::{Actor, ChainHead, SYSTEM_CHAIN, SystemFact};
use jit_core::digest::Digest;
use jit_core::ports::{
    Commit, Counter, Delivery, DeliveryKey, Idempotency, Query, RequestStore, Row, RowChange,
    SlotChange, SystemAppend, Touch, Wake,
};
use jit_core::request::{AccessRequest, Slot, Status};
use jit_dynamodb::DynamoStore;
use jit_testkit::sample;
use serde_json::{Map, Value, json};

use crate::world::{Item, World, of};

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

/// One of everything.
async fn fill(store: &DynamoStore) {
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

fn value(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::Bool(flag) => json!({"BOOL": flag}),
        AttributeValue::L(values) => {
            json!({"L": values.iter().map(self::value).collect::<Vec<_>>()})
        }
        other => panic!("no row has {other:?}"),
    }
}

fn attribute(value: &Value) -> AttributeValue {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "S" => AttributeValue::S(value.as_str().unwrap().to_owned()),
        "N" => AttributeValue::N(value.as_str().unwrap().to_owned()),
        "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
        "L" => AttributeValue::L(value.as_array().unwrap().iter().map(attribute).collect()),
        other => panic!("no row has {other}"),
    }
}

/// Rows by key, each with its attributes by name. Which transaction wrote one is by chance.
fn rows(items: &[Item]) -> BTreeMap<String, Value> {
    let row = |item: &Item| {
        let attributes = item.iter().map(|(name, found)| {
            let found = match name.as_str() {
                "written_by" => json!({"S": "a transaction"}),
                _ => value(found),
            };
            (name.clone(), found)
        });
        let name = format!("{} | {}", of(item, "pk"), of(item, "sk"));
        (name, Value::Object(attributes.collect::<Map<_, _>>()))
    };
    items.iter().map(row).collect()
}

const RELEASED: &str = include_str!("forms/1.json");

#[tokio::test]
async fn every_row_is_stored_as_the_released_form_has_it() {
    let world = World::new();
    let table = world.table().await;
    fill(&world.open(&table).await).await;
    let now = rows(&world.scan(&table).await);
    let released: BTreeMap<String, Value> = serde_json::from_str(RELEASED).unwrap();
    if now != released {
        let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/forms.json");
        std::fs::write(file, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
        panic!("a stored form changed; the rows as they are now are in {file}");
    }
}

#[tokio::test]
async fn every_form_that_was_ever_released_is_read() {
    let world = World::new();
    let table = world.table().await;
    let released: BTreeMap<String, Value> = serde_json::from_str(RELEASED).unwrap();
    for row in released.values() {
        let row = row.as_object().unwrap().iter();
        let row = row.map(|(name, value)| (name.clone(), attribute(value)));
        world.put(&table, row.collect()).await;
    }
    let (released, fresh) = (world.open(&table).await, world.store().await);
    fill(&fresh).await;
    assert_eq!(everything(&released).await, everything(&fresh).await);
    assert!(!released.check().await.unwrap().is_worth_an_alarm());
}

/// Every read, as text.
async fn everything(store: &DynamoStore) -> Vec<String> {
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

/// Nothing is owed of it, whatever else is.
fn may_go(row: &Item) -> bool {
    let is_over = || of(row, "status").parse::<Status>().unwrap().is_over();
    match of(row, "sk") {
        "record" => is_over() && !row.contains_key("wake_at"),
        "input" => row["is_done"] == AttributeValue::Bool(true),
        _ => ["once#", "count#"]
            .iter()
            .any(|it| of(row, "pk").starts_with(it)),
    }
}

#[tokio::test]
async fn s7_dynamodb_may_remove_only_what_nothing_is_owed_of() {
    let world = World::new();
    let table = world.table().await;
    let store = world.open(&table).await;
    fill(&store).await;
    // Through every status and back, with something owed and without.
    let mut record: AccessRequest = store.load(sample::id(1)).await.unwrap().unwrap();
    let (mut seen, mut removable) = (0, 0);
    for status in Status::ALL.into_iter().chain(Status::ALL.into_iter().rev()) {
        for owed in [true, false] {
            let mut next = sample::next(&record, sample::at(1_000 + record.version));
            next.stage = sample::request_in(1, status).stage;
            let mut change = sample::update(next);
            change.wake = owed.then(|| revoke_at(5_000));
            record = change.record.clone();
            store.commit(sample::commit([change])).await.unwrap();
            for row in world.scan(&table).await {
                let goes = row.contains_key("forget_at");
                assert!(!goes || may_go(&row), "{status}, owed: {owed}: {row:?}");
                if of(&row, "sk") == "record" && of(&row, "id") == record.id.to_string() {
                    seen += 1;
                    removable += usize::from(goes);
                    assert_eq!(goes, status.is_over() && !owed, "{status}");
                }
            }
        }
    }
    assert_eq!(seen, 4 * Status::ALL.len());
    assert!(removable > 0);
}
