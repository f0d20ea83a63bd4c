//! What bad input may do: be told in a clear sentence, and nothing else. Each function here takes
//! whatever somebody sent or wrote, gives it to the public entry that reads it, and panics where the
//! promise is broken. The gate calls them with ten thousand drawn cases each (`tests/it`), the
//! targets under `fuzz/` for as long as anybody wants.

#![warn(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a check that breaks is a test that fails"
)]

pub mod agents;
pub mod api;
pub mod audit;
pub mod configuration;
pub mod groups;
pub mod stored;
pub mod text;

use std::cell::RefCell;
use std::thread::LocalKey;

use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A sentence for a person: not empty, on one line, not endless, and no bytes that nobody can read.
fn assert_sentence(text: &str) {
    let length = text.chars().count();
    assert!((5..=2_000).contains(&length), "{length}: {text:?}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// A runtime on this thread whose time moves when everybody waits for it.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// A folder in memory where the system has one: what is checked here is no disk.
fn folder() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// What becomes of the world of a case.
enum After {
    /// It is as it was, and serves the next one.
    Keep,
    /// It has changed.
    Drop,
}

/// Runs a case in the world of this thread, which is made where there is none. Where the case panics
/// the world is gone with it.
fn in_world<W: 'static>(
    held: &'static LocalKey<RefCell<Option<W>>>,
    make: impl FnOnce() -> W,
    case: impl FnOnce(&W) -> After,
) {
    let world = held.take().unwrap_or_else(make);
    match case(&world) {
        After::Keep => held.set(Some(world)),
        After::Drop => {}
    }
}
