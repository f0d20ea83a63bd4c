//! The contract of `RequestStore`, kept by a file that two handles share as two processes do.

use std::cell::Cell;
use std::sync::Arc;

use jit_sqlite::{Options, SqliteStore};
use jit_testkit::store::{Handles, agrees_with_memory, store_contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    store_contract(async || {
        number.set(number.get() + 1);
        let path = folder.path().join(format!("{}.db", number.get()));
        let open = || Arc::new(SqliteStore::open(&path, Options::default()).unwrap());
        Handles {
            one: open(),
            other: open(),
        }
    })
    .await;
}

#[test]
fn the_file_and_the_memory_agree_after_any_sequence_of_commands() {
    let folder = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    agrees_with_memory(24, async || {
        number.set(number.get() + 1);
        let path = folder.path().join(format!("{}.db", number.get()));
        SqliteStore::open(&path, Options::default()).unwrap()
    });
}

#[test]
fn sqlite_is_newer_than_the_wal_reset_bug() {
    // 3.7.0 to 3.51.2 could corrupt the log when a writer raced a checkpoint.
    assert!(rusqlite::version_number() >= 3_051_003);
}
