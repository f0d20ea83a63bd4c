//! Stores with so many records.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Change, RequestStore};
use jit_core::provider::Description;
use jit_core::request::Status;
use jit_sqlite::{Options, SqliteStore};
use jit_testkit::sample;
use tokio::task::JoinSet;

use crate::Failed;
use crate::local::slot_of_its_own;

/// How many records a commit may bring.
const AT_ONCE: usize = 8;

/// A store of this many records that are over.
pub(crate) async fn filled(file: &Path, records: u64) -> Result<Arc<SqliteStore>, Failed> {
    let store = Arc::new(SqliteStore::open(file, patient())?);
    let over = (0..records).map(|number| {
        let mut request = sample::request_in(0, Status::Closed);
        request.id = sample::numbered(number);
        request.chain = jit_core::audit::ChainHead::start(&request.id.to_string());
        sample::creation(request)
    });
    write(&store, over).await?;
    Ok(store)
}

/// A million records are a long queue.
pub(crate) fn patient() -> Options {
    Options {
        call_limit: Duration::from_secs(60),
        ..Options::default()
    }
}

/// Grants that are Active and end then; their access does not stand, which nobody looks at before.
pub(crate) async fn active(
    store: &Arc<SqliteStore>,
    ends: impl Iterator<Item = (u64, Timestamp)>,
) -> Result<(), Failed> {
    let changes = ends.map(|(number, end)| {
        let mut part = sample::part("groupfile/admins");
        part.parameters = slot_of_its_own(number);
        part.provider = Description::immediate();
        sample::active_until(sample::numbered(number), part, end)
    });
    write(store, changes).await
}

/// Writes these, many at once.
pub(crate) async fn write(
    store: &Arc<SqliteStore>,
    changes: impl Iterator<Item = Change>,
) -> Result<(), Failed> {
    let mut changes = changes.peekable();
    let mut tasks = JoinSet::new();
    while changes.peek().is_some() {
        let commit = sample::commit(changes.by_ref().take(AT_ONCE));
        let store = store.clone();
        tasks.spawn(async move { store.commit(commit).await });
        if tasks.len() >= 64 {
            tasks.join_next().await.transpose()?.transpose()?;
        }
    }
    while let Some(written) = tasks.join_next().await {
        written??;
    }
    Ok(())
}
