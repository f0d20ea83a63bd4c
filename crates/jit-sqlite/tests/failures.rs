//! What a store makes of a file that it cannot use: a sentence that says what to do, and not one
//! byte changed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jit_core::ports::{CommitError, Effect, ErrorKind, PortError, RequestStore};
use jit_sqlite::{OpenError, Options, SqliteStore};
use jit_testkit::sample;
use rusqlite::Connection;

/// Waits for nobody's lock.
fn impatient() -> Options {
    Options {
        busy_timeout: Duration::from_millis(1),
        ..Options::default()
    }
}

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, impatient())
}

/// A file with three requests, all of it in the file itself and none in the log.
async fn filled(path: &Path) {
    let store = open(path).unwrap();
    for number in 1..=3 {
        let change = sample::creation(sample::request(number));
        store.commit(sample::commit([change])).await.unwrap();
    }
    drop(store);
    let raw = Connection::open(path).unwrap();
    raw.busy_timeout(Duration::from_secs(5)).unwrap();
    raw.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))
        .unwrap();
}

#[tokio::test]
async fn s9_a_commit_that_waited_longer_than_its_facts_are_good_for_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let other = Connection::open(&path).unwrap();
    let with = |number, good_for| jit_core::ports::Commit {
        good_for: Some(Duration::from_millis(good_for)),
        ..sample::commit([sample::creation(sample::request(number))])
    };
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (late, in_time) = (store.commit(with(1, 50)), store.commit(with(2, 60_000)));
    let held = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        other.execute_batch("COMMIT").unwrap();
    };
    let (late, in_time, ()) = tokio::join!(late, in_time, held);
    assert!(matches!(late, Err(CommitError::Conflict)), "{late:?}");
    in_time.unwrap();
    assert!(store.load(sample::id(1)).await.unwrap().is_none());
    assert!(store.load(sample::id(2)).await.unwrap().is_some());
}

fn sentence(error: &OpenError, path: &Path, says: &str) {
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains(says), "{text}");
}

fn kind(error: &CommitError) -> Option<(ErrorKind, Effect)> {
    match error {
        CommitError::Port(PortError { kind, effect, .. }) => Some((*kind, *effect)),
        _ => None,
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    // The name that SQLite uses too, without links on the way.
    let path = folder.path().canonicalize().unwrap().join("jit.db");
    (folder, path)
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_as_it_is() {
    let (_folder, path) = folder();
    let garbage = "not a database, and longer than the header of one\n".repeat(99);
    std::fs::write(&path, &garbage).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    sentence(&error, &path, "restore a backup");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), garbage);
}

/// The pages at which tables and indexes begin, counted from one.
fn roots(path: &Path) -> Vec<usize> {
    let raw = Connection::open(path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE rootpage > 0";
    let mut roots = raw.prepare(sql).unwrap();
    let roots = roots.query_map([], |row| row.get::<_, u32>(0)).unwrap();
    roots.map(|root| root.unwrap() as usize).collect()
}

#[tokio::test]
async fn a_damaged_file_is_told_by_its_reads_and_by_the_check() {
    let (_folder, path) = folder();
    filled(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let sound = open(&path).unwrap();
    assert_eq!(sound.integrity().await.unwrap(), Vec::<String>::new());
    drop(sound);
    // The first page of every table and index; the schema is sound.
    for root in roots(&path) {
        let begin = (root - 1) * 4_096;
        bytes.get_mut(begin..begin + 4_096).unwrap().fill(0x5a);
    }
    let (_elsewhere, path) = self::folder();
    std::fs::write(&path, &bytes).unwrap();
    let store = open(&path).unwrap();
    let error = store.load(sample::id(1)).await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Misconfigured, Effect::None)
    );
    let change = sample::creation(sample::request(9));
    let error = store.commit(sample::commit([change])).await.unwrap_err();
    assert_eq!(kind(&error), Some((ErrorKind::Misconfigured, Effect::None)));
    assert_ne!(store.integrity().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn the_check_of_the_file_finds_a_page_that_is_damaged() {
    let (_folder, path) = folder();
    let store = open(&path).unwrap();
    for number in 1..=100 {
        let change = sample::creation(sample::request(number));
        store.commit(sample::commit([change])).await.unwrap();
    }
    let (_elsewhere, copy) = folder();
    store.backup_to(&copy).await.unwrap();
    let mut bytes = std::fs::read(&copy).unwrap();
    let last = bytes.len() - 4_096;
    bytes.get_mut(last..).unwrap().fill(0x5a);
    std::fs::write(&copy, &bytes).unwrap();
    let findings = open(&copy).unwrap().integrity().await.unwrap();
    assert_ne!(findings, Vec::<String>::new());
}

#[tokio::test]
async fn the_database_of_another_program_is_left_as_it_is() {
    let (_folder, path) = folder();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1")
        .unwrap();
    drop(raw);
    let before = std::fs::read(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    sentence(&error, &path, "another program");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_a_later_release_is_left_as_it_is() {
    let (_folder, path) = folder();
    filled(&path).await;
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("PRAGMA user_version = 77; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(raw);
    let before = std::fs::read(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 77, .. }),
        "{error:?}"
    );
    sentence(&error, &path, "schema 77 of a later release");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_running_store_writes_nothing_after_a_later_release_migrated_its_file() {
    let (_folder, path) = folder();
    let store = open(&path).unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("PRAGMA user_version = 77").unwrap();
    let commit = || sample::commit([sample::creation(sample::request(1))]);
    let error = store.commit(commit()).await.unwrap_err();
    assert_eq!(kind(&error), Some((ErrorKind::Misconfigured, Effect::None)));
    assert_eq!(store.load(sample::id(1)).await.unwrap(), None);
    raw.execute_batch("PRAGMA user_version = 1").unwrap();
    store.commit(commit()).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_held_long_is_unavailable_and_nothing_is_written() {
    let (_folder, path) = folder();
    filled(&path).await;
    let store = open(&path).unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commit = || sample::commit([sample::creation(sample::request(9))]);
    let error = store.commit(commit()).await.unwrap_err();
    assert_eq!(kind(&error), Some((ErrorKind::Unavailable, Effect::None)));
    let put = store.inbox_put("key", "text", sample::start()).await;
    assert_eq!(put.unwrap_err().kind, ErrorKind::Unavailable);
    // Another store may still be opened, and read.
    let other = open(&path).unwrap();
    assert!(other.load(sample::id(1)).await.unwrap().is_some());
    raw.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.load(sample::id(9)).await.unwrap(), None);
    store.commit(commit()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_locked_as_a_whole_is_not_opened() {
    let (_folder, path) = folder();
    filled(&path).await;
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE",
    )
    .unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    sentence(&error, &path, "locked by another process");
}

#[test]
fn a_place_where_no_file_can_be_is_told() {
    let (folder, path) = folder();
    std::fs::write(&path, "").unwrap();
    let under_a_file = path.join("jit.db");
    let no_folder = path.with_file_name("nowhere").join("jit.db");
    for bad in [
        under_a_file,
        no_folder,
        folder.path().canonicalize().unwrap(),
    ] {
        let error = open(&bad).unwrap_err();
        assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
        sentence(&error, &bad, "cannot be opened");
    }
}

const CHILD_FILE: &str = "JIT_SQLITE_TEST_READ_ONLY";

/// The system lets root write everywhere, so the child runs as `nobody` where this runs as root.
#[tokio::test]
async fn a_file_or_folder_that_cannot_be_written_is_told() {
    let (folder, path) = folder();
    let shared = folder.path();
    std::fs::set_permissions(shared, std::fs::Permissions::from_mode(0o755)).unwrap();
    filled(&path).await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    let before = std::fs::read(&path).unwrap();
    // A copy, because the folder of the binary may be closed to nobody.
    let binary = shared.join("child");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o555)).unwrap();
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let new = path.with_file_name("new.db");
    for (file, mode) in [(&path, 0o555), (&new, 0o555), (&path, 0o777)] {
        std::fs::set_permissions(shared, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut child = Command::new(&binary);
        child
            .args([
                "--exact",
                "a_child_opens_what_it_may_not_write",
                "--nocapture",
            ])
            .env(CHILD_FILE, file)
            .current_dir("/")
            .stdout(Stdio::piped());
        if root {
            child.uid(65_534).gid(65_534);
        }
        let output = child.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("cannot be written"),
            "{} in a folder of mode {mode:o}: {text}",
            file.display()
        );
        assert!(output.status.success());
    }
    std::fs::set_permissions(shared, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "a child talks to the test that started it"
)]
fn a_child_opens_what_it_may_not_write() {
    if let Some(path) = std::env::var_os(CHILD_FILE) {
        let opened = open(Path::new(&path)).map(|_| "was opened".to_owned());
        println!("{}", opened.unwrap_or_else(|error| error.to_string()));
    }
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    let (folder, path) = folder();
    let store = open(&path).unwrap();
    let change = sample::creation(sample::request(1));
    store.commit(sample::commit([change])).await.unwrap();
    store
        .backup_to(folder.path().join("backup.db"))
        .await
        .unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["backup.db", "jit.db", "jit.db-shm", "jit.db-wal"]);
}
