//! What the file promises beside the contract: whole backups, every stored shape, an audit that
//! cannot be edited through SQL, and calls that do not get lost.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::future::Future;
use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::engine::verify_audit;
use jit_core::ports::{
    Change, Commit, DeliveryKey, Query, RECORDS_KEPT, RequestStore, SlotChange, Touch,
};
use jit_core::request::{AccessRequest, Slot, Status};
use jit_sqlite::{Options, SqliteStore};
use jit_testkit::sample;
use rusqlite::Connection;

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Options::default()).unwrap()
}

fn creation(number: u16) -> Commit {
    sample::commit([sample::creation(sample::request(number))])
}

#[tokio::test]
async fn every_released_shape_is_kept_to_the_letter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let store = open(&path);
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../jit-core/tests/goldens");
    let mut count = 0;
    for golden in std::fs::read_dir(goldens).unwrap() {
        let text = std::fs::read_to_string(golden.unwrap().path()).unwrap();
        let request = AccessRequest::from_stored(&text).unwrap();
        let mut change = sample::update(request.clone());
        change.expected = None;
        store.commit(sample::commit([change])).await.unwrap();
        assert_eq!(
            store.load(request.id).await.unwrap().as_ref(),
            Some(&request)
        );
        let raw = Connection::open(&path).unwrap();
        let sql = "SELECT body FROM request WHERE id = ?1";
        let body = raw.query_row(sql, [request.id.to_string()], |row| row.get::<_, String>(0));
        assert_eq!(body.unwrap(), text.trim_end());
        count += 1;
    }
    assert!(count >= 12, "a golden for every status");
}

/// A record that was over at this time, stored for the first time.
fn over_at(number: u16, status: Status, at: Timestamp) -> Change {
    let mut record = sample::request_in(number, status);
    record.opened_at = at;
    record.updated_at = at;
    sample::creation(record)
}

#[tokio::test]
async fn a_record_goes_after_its_time_and_nothing_that_is_owed_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let store = open(&path);
    let (over, later) = (sample::at(1_000), sample::at(1_000) + RECORDS_KEPT);
    let instant = Duration::from_micros(1);
    let closed = over_at(1, Status::Closed, over);
    let slot = Slot {
        key: closed.record.parts.first().slot_key(),
        owner: closed.record.id,
    };
    let told = Touch {
        key: DeliveryKey {
            request: closed.record.id,
            notifier: "chat".to_owned(),
            target: "somewhere".to_owned(),
        },
        take_until: None,
    };
    let commit = Commit {
        slots: vec![SlotChange {
            slot: slot.clone(),
            expected: None,
        }],
        deliveries: vec![told],
        ..sample::commit([closed.clone()])
    };
    store.commit(commit).await.unwrap();
    // As old, and something is owed of each: an end, the repetition of one, a decision.
    for (number, status) in [
        (2, Status::Active),
        (3, Status::Closed),
        (4, Status::Pending),
    ] {
        let mut owed = over_at(number, status, over);
        owed.wake = Some(sample::wake(over));
        store.commit(sample::commit([owed])).await.unwrap();
    }
    let is_there = async |number| store.load(sample::id(number)).await.unwrap().is_some();
    let too_early = over_at(5, Status::Denied, later - instant);
    store.commit(sample::commit([too_early])).await.unwrap();
    // It is no end, so that nothing makes room for it.
    let open_later = over_at(6, Status::Pending, later);
    store.commit(sample::commit([open_later])).await.unwrap();
    assert!(is_there(1).await);

    // A clock that jumped would say the same: between then and now nothing was written.
    let jumped = over_at(7, Status::Denied, later);
    store.commit(sample::commit([jumped])).await.unwrap();
    let quarter = RECORDS_KEPT / 4;
    for (number, at) in [
        (8, over + quarter - instant),
        (9, over + quarter * 3 + instant),
        (10, later),
    ] {
        let end = over_at(number, Status::Denied, at);
        store.commit(sample::commit([end])).await.unwrap();
        assert!(is_there(1).await, "{number}");
    }
    let meanwhile = over_at(11, Status::Denied, over + quarter);
    store.commit(sample::commit([meanwhile])).await.unwrap();
    assert!(is_there(1).await);

    let end = over_at(12, Status::Denied, later);
    store.commit(sample::commit([end])).await.unwrap();
    assert!(!is_there(1).await);
    for number in 2..=12 {
        assert!(is_there(number).await, "{number}");
    }
    assert_eq!(store.events(closed.record.id).await.unwrap(), closed.events);
    assert_eq!(store.slot(&slot.key).await.unwrap(), Some(slot));
    let raw = Connection::open(&path).unwrap();
    for table in ["part", "delivery"] {
        let sql = format!("SELECT count(*) FROM {table} WHERE request = ?1");
        let left = raw.query_row(&sql, [closed.record.id.to_string()], |row| row.get(0));
        assert_eq!(left, Ok(0), "{table}");
    }
    let report = verify_audit(&store).await.unwrap();
    let about_it = format!("{:?}", report.problems);
    assert!(
        !about_it.contains(&closed.record.id.to_string()),
        "{about_it}"
    );
    assert_eq!(report.requests, 12, "its chain is read like any other");
    assert_eq!(store.integrity().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_long_history_goes_in_steps_the_longest_over_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("jit.db"));
    for number in 1..=9_u16 {
        let over = over_at(number, Status::Denied, sample::at(u64::from(number)));
        store.commit(sample::commit([over])).await.unwrap();
    }
    let meanwhile = over_at(20, Status::Denied, sample::at(100) + RECORDS_KEPT / 2);
    store.commit(sample::commit([meanwhile])).await.unwrap();
    for (number, left) in [(10_u16, 5), (11, 1), (12, 0)] {
        let now = sample::at(100) + RECORDS_KEPT;
        let end = over_at(number, Status::Denied, now);
        store.commit(sample::commit([end])).await.unwrap();
        let all = Query {
            until: Some(sample::at(100)),
            limit: 100,
            ..Query::default()
        };
        let old = store.query(&all).await.unwrap();
        let old: Vec<_> = old.iter().map(|it| it.id).collect();
        let expected: Vec<_> = (10 - left..10).rev().map(sample::id).collect();
        assert_eq!(old, expected);
    }
}

/// After a year in which nobody asked for anything.
#[tokio::test]
async fn what_is_older_than_a_quiet_time_goes_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("jit.db"));
    let quarter = RECORDS_KEPT / 4;
    for (number, quarters, is_kept) in [(1, 0, true), (2, 5, true), (3, 7, false)] {
        let end = over_at(
            number,
            Status::Denied,
            sample::at(1_000) + quarter * quarters,
        );
        store.commit(sample::commit([end])).await.unwrap();
        let first = store.load(sample::id(1)).await.unwrap();
        assert_eq!(first.is_some(), is_kept, "after {quarters} quarters");
    }
}

#[tokio::test]
async fn s16_a_record_that_cannot_be_read_hides_no_other_and_not_its_own_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let store = open(&path);
    for number in 1..=4 {
        store.commit(creation(number)).await.unwrap();
    }
    let sound = verify_audit(&store).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    let edit = |sql: &str, number| {
        let changed = raw.execute(sql, [sample::id(number).to_string()]).unwrap();
        assert_eq!(changed, 1);
    };
    raw.execute_batch("DROP TRIGGER event_stays").unwrap();
    edit("UPDATE request SET body = '{' WHERE id = ?1", 1);
    edit("UPDATE event SET body = 'x' WHERE chain = ?1", 1);
    edit("UPDATE event SET body = 'x' WHERE chain = ?1", 3);
    edit("UPDATE event SET hash = 'x' WHERE chain = ?1", 4);
    let report = verify_audit(&store).await.unwrap();
    // Of a chain that cannot be read nothing is counted.
    assert_eq!((report.events, report.requests), (sound.events - 1, 4));
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), sound.problems.len() + 4, "{problems:#?}");
    let names = |words: &str, number| {
        let id = sample::id(number).to_string();
        let is_it = |it: &&String| it.contains(&id) && it.contains(words);
        problems.iter().filter(is_it).count()
    };
    assert_eq!(names("", 2), 0);
    let event = "event 1 cannot be read";
    let hash = "event hash";
    for (words, number) in [("could not load", 1), (event, 1), (event, 3), (hash, 4)] {
        assert_eq!(names(words, number), 1, "{words}: {problems:#?}");
    }
}

#[tokio::test]
async fn a_backup_is_whole_stands_alone_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("jit.db"));
    for number in 1..=20 {
        store.commit(creation(number)).await.unwrap();
    }
    let target = folder.path().join("backup.db");
    store.backup_to(&target).await.unwrap();
    store.commit(creation(21)).await.unwrap();

    let error = store.backup_to(&target).await.unwrap_err();
    assert!(!error.kind.is_retryable());
    let files = std::fs::read_dir(folder.path()).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut beside: Vec<String> = names.filter(|name| name.starts_with("backup")).collect();
    beside.sort();
    assert_eq!(beside, ["backup.db"], "one file, no remains");

    let copy = open(&target);
    assert_eq!(copy.integrity().await.unwrap(), Vec::<String>::new());
    assert_eq!(copy.chains(None, 100).await.unwrap().len(), 20);
    assert_eq!(
        copy.load(sample::id(21)).await.unwrap(),
        None,
        "as it was then"
    );
    copy.commit(creation(22)).await.unwrap();
    let nowhere = store.backup_to(folder.path().join("no/backup.db")).await;
    assert!(nowhere.is_err());
}

#[tokio::test]
async fn whoever_only_looks_changes_nothing_and_brings_nothing_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let missing = SqliteStore::open_as_it_is(&path, Options::default()).unwrap_err();
    assert!(missing.to_string().contains("cannot be opened"));
    assert!(!path.exists());

    let store = open(&path);
    store.commit(creation(1)).await.unwrap();
    let known = store.schema().known;
    let target = folder.path().join("backup.db");
    store.backup_to(&target).await.unwrap();
    let before = std::fs::read(&target).unwrap();
    let copy = SqliteStore::open_as_it_is(&target, Options::default()).unwrap();
    assert!(copy.load(sample::id(1)).await.unwrap().is_some());
    assert!(copy.commit(creation(2)).await.is_err(), "it only looks");
    copy.can_be_written().await.unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), before);

    let raw = Connection::open(&target).unwrap();
    raw.pragma_update(None, "user_version", known - 1).unwrap();
    let earlier = SqliteStore::open_as_it_is(&target, Options::default()).unwrap();
    assert_eq!(
        (earlier.schema().found, earlier.schema().known),
        (known - 1, known)
    );
    earlier
        .backup_to(folder.path().join("earlier.db"))
        .await
        .unwrap();
    let found: i64 = raw
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(
        found,
        known - 1,
        "it is brought up to date when jitd opens it"
    );
}

#[tokio::test]
async fn a_backup_writes_through_no_link_and_leaves_what_lies_beside_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("jit.db"));
    let (target, other) = (folder.path().join("b.db"), folder.path().join("other"));
    std::os::unix::fs::symlink(&other, &target).unwrap();
    assert!(store.backup_to(&target).await.is_err());
    assert!(!other.exists());
    std::fs::remove_file(&target).unwrap();
    // What an earlier release left behind, open to everybody.
    let left = folder.path().join("b.db.partial");
    std::fs::write(&left, "").unwrap();
    store.backup_to(&target).await.unwrap();
    let mode = std::fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read(&left).unwrap(), b"");
}

#[tokio::test]
async fn an_event_can_be_neither_changed_nor_removed_by_a_statement() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let store = open(&path);
    store.commit(creation(1)).await.unwrap();
    let before = store.events(sample::id(1)).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    for sql in ["UPDATE event SET body = 'x'", "DELETE FROM event"] {
        let error = raw.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains("never"), "{error}");
    }
    assert_eq!(store.events(sample::id(1)).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_caller_went_away_is_done_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let store = open(&path);
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    {
        let mut commit = std::pin::pin!(store.commit(creation(1)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            commit.as_mut().poll(&mut context).is_pending(),
            "it waits for the lock"
        );
    }
    assert_eq!(store.load(sample::id(1)).await.unwrap(), None);
    raw.execute_batch("ROLLBACK").unwrap();
    while store.load(sample::id(1)).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    store.commit(creation(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_calls_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("jit.db"));
    let mut calls = tokio::task::JoinSet::new();
    for number in 1..=600 {
        let store = store.clone();
        calls.spawn(async move {
            store.commit(creation(number)).await.unwrap();
            store.load(sample::id(number)).await.unwrap().unwrap().id
        });
    }
    let mut served = calls.join_all().await;
    served.sort();
    served.dedup();
    assert_eq!(served.len(), 600);
    assert_eq!(store.chains(None, 1_000).await.unwrap().len(), 600);
}

#[test]
fn a_new_file_is_made_once_by_all_that_open_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = folder.path().join(format!("{round}.db"));
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    open(&path);
                });
            }
        });
    }
}
