//! The slow look at a whole table: a record that its lists lack would be a grant that nobody takes
//! away.

use std::sync::Arc;
use std::time::Duration;

use jit_core::Engine;
use jit_core::ports::{Commit, CommitError, Counter};
use jit_dynamodb::DynamoStore;

use crate::observe::STORE_DIFFERENCE;

/// Once in such an interval one of the processes on a table checks it. That reads everything.
const INTERVAL: Duration = Duration::from_secs(24 * 3_600);
/// How often it is looked whether somebody did. A start is no heavier for it.
const EVERY: Duration = Duration::from_secs(3_600);
/// What counts the checks of an interval.
const CHECKS: &str = "checks of the lists";

/// Checks this table until it is dropped; nothing to do where there is none.
pub(crate) async fn check(table: Option<DynamoStore>, engine: Arc<Engine>) {
    let Some(table) = table else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(EVERY).await;
        match is_ours(&engine).await {
            Ok(()) => checked(&table).await,
            Err(CommitError::CounterFull { .. }) => {}
            Err(error) => tracing::warn!(error = %error, "the lists of the store are not checked"),
        }
    }
}

/// Whether nobody has checked in this interval; then we do.
async fn is_ours(engine: &Engine) -> Result<(), CommitError> {
    let now = engine.now();
    let window = now.unix_micros().unsigned_abs() / 1_000_000 / INTERVAL.as_secs();
    let counter = Counter {
        key: CHECKS.to_owned(),
        window,
        ceiling: 1,
        forget_at: now + 2 * INTERVAL,
    };
    let commit = Commit {
        counters: vec![counter],
        at: Some(now),
        ..Commit::default()
    };
    engine.store().commit(commit).await.map(drop)
}

async fn checked(table: &DynamoStore) {
    let found = match table.check().await {
        Ok(found) => found,
        Err(error) => {
            let error = error.chain();
            return tracing::warn!(error, "the lists of the store cannot be checked");
        }
    };
    for (kind, count) in [
        ("missing", found.missing),
        ("stray", found.stray),
        ("left_alone", found.left_alone),
    ] {
        metrics::gauge!(STORE_DIFFERENCE, "kind" => kind).set(as_gauge(count));
    }
    let wrong = found.is_worth_an_alarm();
    tracing::info!(?found, wrong, "the lists of the store are checked");
}

#[expect(clippy::cast_precision_loss, reason = "far below what a double holds")]
fn as_gauge(count: u64) -> f64 {
    count as f64
}
