//! The slow look at a whole table: a record that its lists lack would be a grant that nobody takes
//! away.

use std::time::Duration;

use jit_dynamodb::DynamoStore;

use crate::observe::STORE_DIFFERENCE;

/// When the first check begins, so that a start is no heavier for it.
const FIRST: Duration = Duration::from_secs(600);
/// How long after one check the next one begins. It reads everything, and costs as much.
const EVERY: Duration = Duration::from_secs(6 * 3_600);
/// When it is tried again after it failed.
const AGAIN: Duration = Duration::from_secs(600);

/// Checks this table until it is dropped; nothing to do where there is none.
pub(crate) async fn check(table: Option<DynamoStore>) {
    let Some(table) = table else {
        return std::future::pending().await;
    };
    tokio::time::sleep(FIRST).await;
    loop {
        tokio::time::sleep(checked(&table).await).await;
    }
}

/// Checks it once; how long until the next time.
async fn checked(table: &DynamoStore) -> Duration {
    match table.check().await {
        Ok(found) => {
            let (missing, stray) = (found.missing, found.stray);
            let (records, gauge) = (found.records, STORE_DIFFERENCE);
            metrics::gauge!(gauge, "kind" => "missing").set(as_gauge(missing));
            metrics::gauge!(gauge, "kind" => "stray").set(as_gauge(stray));
            tracing::info!(
                records,
                missing,
                stray,
                "the lists of the store are checked"
            );
            EVERY
        }
        Err(error) => {
            let error = error.chain();
            tracing::warn!(error, "the lists of the store cannot be checked");
            AGAIN
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below what a double holds")]
fn as_gauge(count: u64) -> f64 {
    count as f64
}
