//! Whether a pass over what is due costs what is due, and not what exists: the same twenty due
//! records among a thousand and among two hundred thousand. Fails where the larger table takes more
//! than half as long again.
//!
//! ```sh
//! tests/aws/install
//! cargo run --release -p jit-dynamodb --example due
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement that breaks says where, and prints what it found"
)]

use std::collections::HashMap;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::{StreamExt, stream};
use jit_core::ports::{RequestStore, Wake};
use jit_core::request::{RequestId, Status};
use jit_dynamodb::{DynamoStore, create_table};
use jit_testkit::sample;
use jit_testkit::server::dynoxide_in;
use tokio::time::Instant;

const SIZES: [u32; 2] = [1_000, 200_000];
const DUE: usize = 20;
const PASSES: usize = 101;
/// DynamoDB takes so many rows at once.
const BATCH: usize = 25;

type Item = HashMap<String, AttributeValue>;

/// Ids whose last characters are equal lie in one shard.
fn id(number: u32, shard: u8) -> RequestId {
    let [a, b, c, d] = number.to_be_bytes();
    RequestId::new(sample::start(), [0, 0, 0, 0, 0, a, b, c, d, shard])
}

/// The rows of a record that is due long after the pass.
async fn template(store: &DynamoStore, client: &Client, table: &str, shard: u8) -> Vec<Item> {
    let id = id(u32::MAX, shard);
    let mut record = sample::request_in(1, Status::Active);
    record.id = id;
    record.chain = jit_core::audit::ChainHead::start(&id.to_string());
    let mut change = sample::creation(record);
    change.wake = Some(Wake {
        revoke_at: Some(sample::at(900_000)),
        ..sample::wake(sample::at(900_000))
    });
    store.commit(sample::commit([change])).await.unwrap();
    let rows = client.scan().table_name(table).send().await.unwrap();
    let rows = rows.items.unwrap().into_iter();
    let text = id.to_string();
    let of_it = |row: &Item| {
        let key = format!(
            "{} {}",
            row["pk"].as_s().unwrap(),
            row["sk"].as_s().unwrap()
        );
        // What a pass might read, and the records themselves; the rest only takes time to write.
        key.contains(&text)
            && !key.contains("event#")
            && ["req#", "due#", "updated#"]
                .iter()
                .any(|it| key.starts_with(it))
    };
    rows.filter(of_it).collect()
}

fn renamed(row: &Item, from: &str, to: &str) -> Item {
    let rename = |value: &AttributeValue| match value {
        AttributeValue::S(text) => AttributeValue::S(text.replace(from, to)),
        other => other.clone(),
    };
    let row = row.iter();
    row.map(|(name, value)| (name.clone(), rename(value)))
        .collect()
}

async fn write(client: &Client, table: &str, rows: Vec<Item>) {
    let puts = rows.into_iter().map(|row| {
        let put = PutRequest::builder().set_item(Some(row)).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    });
    let batch = client.batch_write_item();
    let answer = batch
        .request_items(table, puts.collect())
        .send()
        .await
        .unwrap();
    assert!(answer.unprocessed_items.unwrap_or_default().is_empty());
}

async fn fill(store: &DynamoStore, client: &Client, table: &str, size: u32) {
    let (even, odd) = (
        template(store, client, table, 0).await,
        template(store, client, table, 1).await,
    );
    let rows = (0..size).flat_map(|number| {
        let (shard, rows) = match number % 2 {
            0 => (0, &even),
            _ => (1, &odd),
        };
        let from = id(u32::MAX, shard).to_string();
        let to = id(number, shard).to_string();
        rows.iter().map(move |row| renamed(row, &from, &to))
    });
    let batches = stream::iter(rows).chunks(BATCH);
    let writes = batches.map(|rows| write(client, table, rows));
    writes.buffer_unordered(8).collect::<Vec<()>>().await;
    for number in 0..DUE {
        let mut record = sample::request_in(u16::try_from(number).unwrap(), Status::Active);
        record.updated_at = sample::at(60);
        let mut change = sample::creation(record);
        change.wake = Some(Wake {
            revoke_at: Some(sample::at(100)),
            ..sample::wake(sample::at(100))
        });
        store.commit(sample::commit([change])).await.unwrap();
    }
}

/// The time of a pass in the middle, and its units.
async fn measure(store: &DynamoStore) -> (Duration, f64) {
    let before = store.usage().read_units;
    let mut times = Vec::new();
    for _ in 0..PASSES {
        let began = Instant::now();
        let due = store.due(sample::at(200), 100).await.unwrap();
        times.push(began.elapsed());
        assert_eq!(due.len(), DUE);
    }
    times.sort();
    let units = (store.usage().read_units - before) / PASSES as f64;
    (times[PASSES / 2], units)
}

#[tokio::main]
async fn main() {
    println!("| records | due | filled in s | a pass, ms | read units |");
    println!("|---:|---:|---:|---:|---:|");
    let mut found = Vec::new();
    for size in SIZES {
        // In memory where there is such a folder: filling waits for the disk at every batch.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let server = dynoxide_in(&folder.path().join("rows.db"));
        let credentials = Credentials::new("test", "test", None, None, "test");
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(server.url())
            .http_client(aws_smithy_http_client::Builder::new().build_http());
        let client = Client::from_conf(config.build());
        create_table(&client, "jit").await.unwrap();
        let store = DynamoStore::open(client.clone(), "jit").await.unwrap();
        let began = Instant::now();
        fill(&store, &client, "jit", size).await;
        let filled = began.elapsed().as_secs();
        let (time, units) = measure(&store).await;
        let ms = time.as_secs_f64() * 1_000.0;
        println!("| {size} | {DUE} | {filled} | {ms:.2} | {units:.1} |");
        found.push((ms, units));
    }
    let (time, units) = (found[1].0 / found[0].0, found[1].1 / found[0].1);
    println!("\n200 times the records: {time:.2} times the time, {units:.2} times the units");
    assert!(time <= 1.5 && units <= 1.5, "a pass costs what exists");
}
