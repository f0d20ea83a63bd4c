//! Stores with so many records.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::provider::Description;
use jit_sqlite::{Options, SqliteStore};
use jit_testkit::sample;

use crate::Failed;
use crate::local::slot_of_its_own;

/// A store of this many records that are over.
pub(crate) async fn filled(file: &Path, records: u64) -> Result<Arc<SqliteStore>, Failed> {
    let store = Arc::new(SqliteStore::open(file, patient())?);
    let over = (0..records).map(|number| sample::over(sample::numbered(number)));
    sample::write(store.as_ref(), over).await?;
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
    Ok(sample::write(store.as_ref(), changes).await?)
}
