//! The file: opening it without harm, its schema, and the steps that lead from one version of it
//! to the next. `PRAGMA user_version` is how many steps were taken.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::error::OpenError;
use crate::{Options, Schema};

/// Marks the file as ours: `JITA`.
const APPLICATION_ID: i64 = 0x4a49_5441;

/// How long to wait before the switch to write-ahead logging is tried again; SQLite does not wait
/// for it by itself.
const PAUSE: Duration = Duration::from_millis(20);

/// Every step ever released, in order. A released step is never edited.
const STEPS: [&str; 4] = [
    "
CREATE TABLE request (
    id TEXT PRIMARY KEY,
    reversed TEXT NOT NULL UNIQUE,
    shape INTEGER NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    requester TEXT NOT NULL,
    beneficiary TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    over_at INTEGER,
    wake_at INTEGER,
    revoke_at INTEGER,
    provider TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX request_due ON request (wake_at, id) WHERE wake_at IS NOT NULL;
CREATE INDEX request_revoke ON request (revoke_at, wake_at, id) WHERE revoke_at IS NOT NULL;
CREATE INDEX request_status ON request (status, id);
CREATE INDEX request_requester ON request (requester, id);
CREATE INDEX request_beneficiary ON request (beneficiary, id);
CREATE INDEX request_updated ON request (updated_at);

CREATE TABLE part (
    request TEXT NOT NULL,
    entitlement TEXT NOT NULL,
    PRIMARY KEY (request, entitlement)
) STRICT, WITHOUT ROWID;
CREATE INDEX part_entitlement ON part (entitlement, request);

CREATE TABLE event (
    chain TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER event_stays BEFORE UPDATE ON event
    BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END;
CREATE TRIGGER event_remains BEFORE DELETE ON event
    BEGIN SELECT RAISE(ABORT, 'an event is never removed'); END;

CREATE TABLE head (
    chain TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE slot (
    key TEXT PRIMARY KEY,
    owner TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery (
    request TEXT NOT NULL,
    notifier TEXT NOT NULL,
    target TEXT NOT NULL,
    version INTEGER NOT NULL,
    message TEXT,
    shown_seq INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    deliver_at INTEGER,
    PRIMARY KEY (request, notifier, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery (notifier, deliver_at, request, target)
    WHERE deliver_at IS NOT NULL;

CREATE TABLE inbox (
    key TEXT PRIMARY KEY,
    input TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    taken_at INTEGER,
    done INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_waiting ON inbox (received_at, key) WHERE done = 0;
CREATE INDEX inbox_over ON inbox (received_at) WHERE done = 1;

CREATE TABLE idempotency (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    request TEXT NOT NULL,
    forget_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_over ON idempotency (forget_at);

CREATE TABLE counter (
    key TEXT NOT NULL,
    interval INTEGER NOT NULL,
    reached INTEGER NOT NULL,
    forget_at INTEGER NOT NULL,
    PRIMARY KEY (key, interval)
) STRICT, WITHOUT ROWID;
CREATE INDEX counter_over ON counter (forget_at);

CREATE TABLE small (
    class TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (class, key)
) STRICT, WITHOUT ROWID;
",
    // What is being sent is left to whoever sends it, though there are news.
    "
ALTER TABLE delivery ADD COLUMN taken_until INTEGER;
",
    // Whatever is listed of a person, of an entitlement or of both is listed by status: a history
    // is not read to find what is open, nor what is denied to find who had it.
    "
ALTER TABLE part ADD COLUMN status TEXT NOT NULL DEFAULT '';
ALTER TABLE part ADD COLUMN requester TEXT NOT NULL DEFAULT '';
ALTER TABLE part ADD COLUMN beneficiary TEXT NOT NULL DEFAULT '';
UPDATE part SET (status, requester, beneficiary) =
    (SELECT status, requester, beneficiary FROM request WHERE id = part.request)
    WHERE request IN (SELECT id FROM request);
DROP INDEX part_entitlement;
CREATE INDEX part_by_entitlement ON part (entitlement, status, request);
CREATE INDEX part_by_requester ON part (requester, entitlement, status, request);
CREATE INDEX part_by_beneficiary ON part (beneficiary, entitlement, status, request);
DROP INDEX request_requester;
DROP INDEX request_beneficiary;
CREATE INDEX request_by_requester ON request (requester, status, id);
CREATE INDEX request_by_beneficiary ON request (beneficiary, status, id);
",
    // What is over, and of which nothing is owed, is forgotten after a time, the longest over first.
    "
CREATE INDEX request_over ON request (over_at) WHERE over_at IS NOT NULL AND wake_at IS NULL;
",
];

/// The newest schema that this release knows.
pub(crate) const KNOWN: i64 = STEPS.len() as i64;

/// Opens a file as a store, makes it where it does not exist, and brings an older one up to date.
/// Returns its absolute path and a connection for writing.
pub(crate) fn open(path: &Path, busy: Duration) -> Result<(PathBuf, Connection), OpenError> {
    let path = create(path)?;
    let named = |error| OpenError::of(path.clone(), error);
    let connection = connect(&path, busy).map_err(named)?;
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(named)? {
        return Err(OpenError::ReadOnly { path });
    }
    // Reading comes first: whatever is not ours to change is refused before anything is written.
    // One transaction, so that it is not taken for another program's while a process beside us
    // makes it ours.
    let found = {
        let reading = TransactionBehavior::Deferred;
        let snapshot = Transaction::new_unchecked(&connection, reading).map_err(named)?;
        recognise(&path, &snapshot)?
    };
    warn_of_readers(&path)?;
    use_wal(&path, &connection, busy)?;
    if found < KNOWN {
        migrate(&path, &connection)?;
    }
    Ok((path, connection))
}

/// Opens a file that is there, and changes nothing in it. Returns its absolute path, a connection that
/// cannot write, and which schema it has.
pub(crate) fn open_as_it_is(
    path: &Path,
    options: &Options,
) -> Result<(PathBuf, Connection, Schema), OpenError> {
    let of_system = |error| OpenError::of_system(path.to_owned(), error);
    let path = std::fs::canonicalize(path).map_err(of_system)?;
    let named = |error| OpenError::of(path.clone(), error);
    let connection = connect_reader(&path, options.busy_timeout).map_err(named)?;
    let found = recognise(&path, &connection)?;
    let schema = Schema {
        found,
        known: KNOWN,
    };
    Ok((path, connection, schema))
}

/// Takes the lock of a writer and gives it back.
pub(crate) fn try_to_write(path: &Path, busy: Duration) -> Result<(), OpenError> {
    let named = |error| OpenError::of(path.to_owned(), error);
    let connection = connect(path, busy).map_err(named)?;
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(named)? {
        let path = path.to_owned();
        return Err(OpenError::ReadOnly { path });
    }
    connection
        .execute_batch("BEGIN IMMEDIATE; ROLLBACK")
        .map_err(named)
}

/// A connection to a file that exists, for writing.
pub(crate) fn connect(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A file may hold hostile SQL in its schema; none of ours needs these.
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    // A plan does not depend on what is bound: else each call would prepare its statement anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// A connection to a file that exists, for reading.
pub(crate) fn connect_reader(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let connection = connect(path, busy)?;
    connection.pragma_update(None, "query_only", "ON")?;
    Ok(connection)
}

/// The schema that the file has.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("PRAGMA user_version")?;
    statement.query_row([], |row| row.get(0))
}

/// Makes the file where it does not exist, for its owner alone. SQLite gives the files beside it
/// the same mode.
pub(crate) fn create(path: &Path) -> Result<PathBuf, OpenError> {
    let named = |error| OpenError::of_system(path.to_owned(), error);
    let mut made = OpenOptions::new();
    match made.write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(named(error)),
    }
    std::fs::canonicalize(path).map_err(named)
}

/// Only of a file that is a store: what is refused needs no advice.
fn warn_of_readers(path: &Path) -> Result<(), OpenError> {
    let named = |error| OpenError::of_system(path.to_owned(), error);
    let mode = std::fs::metadata(path).map_err(named)?.mode();
    if mode & 0o077 != 0 {
        let mode = format!("{:o}", mode & 0o777);
        tracing::warn!(mode, "the store can be read by other users of this host");
    }
    Ok(())
}

/// Reads whose file this is and which schema it has: 0 where it is empty.
fn recognise(path: &Path, connection: &Connection) -> Result<i64, OpenError> {
    let read = || {
        let one = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let found = one("PRAGMA user_version")?;
        let application = one("PRAGMA application_id")?;
        let objects = one("SELECT count(*) FROM sqlite_schema")?;
        Ok((found, application, objects))
    };
    let path = path.to_owned();
    let (found, application, objects) =
        read().map_err(|error| OpenError::of(path.clone(), error))?;
    let empty = (found, application, objects) == (0, 0, 0);
    if !empty && application != APPLICATION_ID {
        return Err(OpenError::Foreign { path });
    }
    if found > KNOWN {
        let known = KNOWN;
        return Err(OpenError::Newer { path, found, known });
    }
    Ok(found)
}

fn use_wal(path: &Path, connection: &Connection, busy: Duration) -> Result<(), OpenError> {
    let named = |error| OpenError::of(path.to_owned(), error);
    let switch = || {
        connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))
    };
    let mut tries = busy.as_millis() / PAUSE.as_millis();
    let mode = loop {
        match switch().map_err(named) {
            Err(OpenError::Locked { .. }) if tries > 0 => {
                tries -= 1;
                std::thread::sleep(PAUSE);
            }
            other => break other?,
        }
    };
    if mode != "wal" {
        let path = path.to_owned();
        return Err(OpenError::NoWal { path, mode });
    }
    Ok(())
}

/// Takes the steps that are missing, all of them in one transaction or none.
fn migrate(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let named = |error| OpenError::of(path.to_owned(), error);
    let writing = TransactionBehavior::Immediate;
    let transaction = Transaction::new_unchecked(connection, writing).map_err(named)?;
    // Another process may have been faster.
    let found = recognise(path, &transaction)?;
    let taken = usize::try_from(found).unwrap_or_default();
    let run = || {
        for step in STEPS.iter().skip(taken) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", KNOWN)
    };
    run().map_err(named)?;
    transaction.commit().map_err(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_the_disk_and_readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let busy = Duration::from_secs(5);
        let (path, writer) = open(&folder.path().join("jit.db"), busy).unwrap();
        let reader = connect_reader(&path, busy).unwrap();
        for connection in [&writer, &reader] {
            let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            assert_eq!(read("synchronous").unwrap(), 2, "FULL");
            assert_eq!(read("busy_timeout").unwrap(), 5_000);
            let mode = connection.pragma_query_value(None, "journal_mode", |row| row.get(0));
            assert_eq!(mode, Ok("wal".to_owned()));
        }
        let error = reader.execute("DELETE FROM slot", []).unwrap_err();
        let named = OpenError::of(path, error).to_string();
        assert!(named.contains("cannot be written"), "{named}");
    }

    /// A file as a release left it whose newest schema was this one.
    fn of_schema(path: &Path, version: usize) -> Connection {
        let earlier = Connection::open(path).unwrap();
        for step in STEPS.iter().take(version) {
            earlier.execute_batch(step).unwrap();
        }
        for (name, value) in [
            ("application_id", APPLICATION_ID),
            ("user_version", version as i64),
        ] {
            earlier.pragma_update(None, name, value).unwrap();
        }
        earlier
    }

    /// The rows of one of everything, to the letter, by the schema that they are of; each schema that
    /// changes one adds a file, and `tests/forms.rs` holds what is written to the newest.
    const RELEASED: [(usize, &str); 1] = [(4, include_str!("../tests/forms/4.sql"))];

    #[tokio::test]
    async fn every_form_that_was_ever_released_is_read_after_the_steps_to_the_newest() {
        use jit_testkit::store::{all_that_is_read, one_of_everything};

        let folder = tempfile::tempdir().unwrap();
        let store =
            |path: &Path| crate::SqliteStore::open(path, crate::Options::default()).unwrap();
        let fresh = store(&folder.path().join("new.db"));
        one_of_everything(&fresh).await;
        let is = all_that_is_read(&fresh).await;
        for (version, rows) in RELEASED {
            let path = folder.path().join(format!("{version}.db"));
            of_schema(&path, version).execute_batch(rows).unwrap();
            assert_eq!(all_that_is_read(&store(&path)).await, is, "{version}");
        }
    }

    #[tokio::test]
    async fn what_an_earlier_release_stored_is_listed_by_all_that_it_is_listed_by_now() {
        use jit_core::ports::{Query, RequestStore};
        use jit_core::request::Status;
        use jit_testkit::sample;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jit.db");
        let earlier = of_schema(&path, 2);
        for (number, status) in (1_u16..).zip(Status::ALL) {
            let request = sample::request_in(number, status);
            let id = request.id.to_string();
            let sql = "INSERT INTO request (id, reversed, shape, version, status, requester,
                    beneficiary, opened_at, updated_at, body)
                VALUES (?1, ?1, 1, 1, ?2, 'ana@example.com', 'ana@example.com', 1, 1, ?3)";
            let body = request.to_stored();
            earlier.execute(sql, [&id, status.as_str(), &body]).unwrap();
            let sql = "INSERT INTO part (request, entitlement) VALUES (?1, 'groupfile/admins')";
            earlier.execute(sql, [&id]).unwrap();
        }
        drop(earlier);
        let store = crate::SqliteStore::open(&path, crate::Options::default()).unwrap();
        let ana = Some("ana@example.com".parse().unwrap());
        let admins = Some("groupfile/admins".parse().unwrap());
        for (principal, entitlement) in [
            (ana.clone(), None),
            (None, admins.clone()),
            (ana.clone(), admins.clone()),
        ] {
            let all = Query {
                principal,
                entitlement,
                limit: 100,
                ..Query::default()
            };
            assert_eq!(store.query(&all).await.unwrap().len(), Status::ALL.len());
            for (number, status) in (1_u16..).zip(Status::ALL) {
                let one = Query {
                    statuses: vec![status],
                    ..all.clone()
                };
                let found = store.query(&one).await.unwrap();
                let found: Vec<_> = found.iter().map(|request| request.id).collect();
                assert_eq!(found, [sample::id(number)], "{status}");
            }
        }
        assert_eq!(store.integrity().await.unwrap(), Vec::<String>::new());
    }
}
