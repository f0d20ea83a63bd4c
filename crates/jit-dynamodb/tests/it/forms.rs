//! Each row as it is stored, to the letter, and that what an earlier release stored is still read;
//! and which rows DynamoDB may remove by itself.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jit_core::ports::{RequestStore, Wake};
use jit_core::request::{AccessRequest, Status};
use jit_testkit::sample;
use jit_testkit::store::{all_that_is_read, one_of_everything};
use serde_json::{Map, Value, json};

use crate::world::{Item, World, of};

fn revoke_at(secs: u64) -> Wake {
    Wake {
        revoke_at: Some(sample::at(secs)),
        ..sample::wake(sample::at(secs))
    }
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
    one_of_everything(&world.open(&table).await).await;
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
    one_of_everything(&fresh).await;
    let (was, is) = (
        all_that_is_read(&released).await,
        all_that_is_read(&fresh).await,
    );
    assert_eq!(was, is);
    assert!(!released.check().await.unwrap().is_worth_an_alarm());
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
    one_of_everything(&store).await;
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
