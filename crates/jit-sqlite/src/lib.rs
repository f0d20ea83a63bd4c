//! `RequestStore` in one SQLite file: the embedded default. Daemon, sweeper and operator verbs open
//! the same file at once, on one host and a local disk; write-ahead logging does not work over a
//! network file system.
//!
//! One thread writes, with group commit; others read beside it. Whatever is answered as written is on
//! the disk (`synchronous=FULL`).

#![warn(missing_docs)]

mod backup;
mod chains;
mod checkpoints;
mod commit;
mod error;
mod queue;
mod read;
mod reader;
mod rows;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, Sealed};
use jit_core::ports::{
    Change, Commit, CommitError, Delivery, Due, Effect, Idempotency, Inbox, InboxItem, PortError,
    Query, RequestStore, Row,
};
use jit_core::provider::SlotKey;
use jit_core::request::{AccessRequest, RequestId, Slot, Status};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use checkpoints::Checkpoints;
use commit::Prepared;
use error::{Cause, Fault, commit_error, port_error};
use queue::Haste;
use read::LeftOut;
use reader::Reader;
use writer::Writer;

pub use error::OpenError;

/// The most calls that wait at once, inputs, other writes and reads each; further ones wait for a place.
const CALLS_LIMIT: usize = 1_024;

/// How long a store waits.
#[derive(Debug, Clone)]
pub struct Options {
    /// For the lock of another process.
    pub busy_timeout: Duration,
    /// For the answer to a call, its place in the queue and its transaction together. Longer than
    /// `busy_timeout`, so that a lock that is held is told from a disk that hangs.
    pub call_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            call_limit: Duration::from_secs(8),
        }
    }
}

/// How far a file is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The one that it has; 0 where it is empty.
    pub found: i64,
    /// The newest that this release knows.
    pub known: i64,
}

/// A store in one file. Cheap to clone; the clones share connections and the writer.
///
/// Calls need a Tokio runtime with its timers on. They are done by threads of the store, which a
/// runtime whose time is paused does not see: its clock runs on while they work. A call whose future
/// is dropped is done all the same, or not begun.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    writes: Places,
    reads: Places,
}

/// Calls that are let in, those of each haste apart: no revoke waits for a place behind others. Reads
/// of one row that a revoke needs as well go with it, whoever asks: a crowd of them takes no longer
/// than one listing.
#[derive(Debug, Clone)]
struct Places {
    revokes: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    usual: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let places = || Arc::new(Semaphore::new(CALLS_LIMIT));
        Self {
            revokes: places(),
            urgent: places(),
            usual: places(),
        }
    }
}

impl Places {
    /// Waits for a place, at most so long.
    async fn one(&self, haste: Haste, limit: Duration) -> Result<OwnedSemaphorePermit, Cause> {
        let among = match haste {
            Haste::Revoke => &self.revokes,
            Haste::Urgent => &self.urgent,
            Haste::Usual => &self.usual,
        };
        // Most find one at once, and need no clock for that.
        if let Ok(place) = Arc::clone(among).try_acquire_owned() {
            return Ok(place);
        }
        match tokio::time::timeout(limit, Arc::clone(among).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Cause::Crowded),
        }
    }
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    options: Options,
    schema: Schema,
    writer: Writer,
    reader: Reader,
    left_out: Arc<LeftOut>,
}

impl SqliteStore {
    /// Opens the file; makes it, for its owner alone, where it does not exist; brings an older
    /// schema up to date. Blocks for as long as `busy_timeout`: call it at start-up.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let (path, connection) = schema::open(path.as_ref(), options.busy_timeout)?;
        let schema = Schema {
            found: schema::KNOWN,
            known: schema::KNOWN,
        };
        Self::of(path, connection, options, schema)
    }

    /// Opens a file that is there, as it is: no file is made, no schema brought up to date, and this
    /// store writes nothing. For a backup, and for whoever only looks.
    pub fn open_as_it_is(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let (path, connection, schema) = schema::open_as_it_is(path.as_ref(), &options)?;
        Self::of(path, connection, options, schema)
    }

    fn of(
        path: PathBuf,
        connection: Connection,
        options: Options,
        schema: Schema,
    ) -> Result<Self, OpenError> {
        let no_thread = |error| OpenError::of_system(path.clone(), error);
        let log = Checkpoints::start(&connection, &path, options.busy_timeout);
        let log = log.map_err(no_thread)?;
        let writer = Writer::start(connection, log).map_err(no_thread)?;
        let reader = Reader::start(path.clone(), options.busy_timeout).map_err(no_thread)?;
        let shared = Shared {
            path,
            options,
            schema,
            writer,
            reader,
            left_out: Arc::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            writes: Places::default(),
            reads: Places::default(),
        })
    }

    /// The schema that the file had when it was opened.
    pub fn schema(&self) -> Schema {
        self.shared.schema
    }

    /// Tries whether the file can be written, by taking the lock of a writer and giving it back.
    pub async fn can_be_written(&self) -> Result<(), OpenError> {
        let shared = Arc::clone(&self.shared);
        let path = shared.path.clone();
        let try_it = move || schema::try_to_write(&shared.path, shared.options.busy_timeout);
        let tried = tokio::task::spawn_blocking(try_it).await;
        tried.unwrap_or_else(|stopped| {
            let source = stopped.into();
            Err(OpenError::Unreachable { path, source })
        })
    }

    /// Writes a copy of the whole store, as it is at one instant, to a file that must not exist.
    /// The copy appears complete, or not at all. Writers are not held up.
    pub async fn backup_to(&self, path: impl AsRef<Path>) -> Result<(), PortError> {
        let path = path.as_ref().to_owned();
        let shared = Arc::clone(&self.shared);
        let copy = move || backup::write(&shared.connect()?, &path);
        let copied = tokio::task::spawn_blocking(copy).await;
        copied
            .unwrap_or(Err(Cause::Stopped))
            .map_err(|cause| port_error("back up", Effect::None, cause))
    }

    /// What SQLite finds wrong with the file, a line each; nothing where it is sound. Reads the
    /// whole file.
    pub async fn integrity(&self) -> Result<Vec<String>, PortError> {
        let shared = Arc::clone(&self.shared);
        let check = move || read::quick_check(&shared.connect()?);
        let checked = tokio::task::spawn_blocking(check).await;
        checked
            .unwrap_or(Err(Cause::Stopped))
            .map_err(|cause| port_error("check the file", Effect::None, cause))
    }

    async fn write<T, W>(&self, haste: Haste, work: W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let limit = self.shared.options.call_limit;
        let place = self.writes.one(haste, limit).await?;
        let ticket = self.shared.writer.hand_in(haste, move |connection| {
            // It is kept until the answer is there.
            let _kept = &place;
            work(connection)
        });
        ticket.wait(limit).await
    }

    async fn read<T, R>(
        &self,
        haste: Haste,
        operation: &'static str,
        work: R,
    ) -> Result<T, PortError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection, &LeftOut) -> Result<T, Cause> + Send + 'static,
    {
        let failed = |cause| port_error(operation, Effect::None, cause);
        let limit = self.shared.options.call_limit;
        let place = self.reads.one(haste, limit).await.map_err(failed)?;
        let left_out = Arc::clone(&self.shared.left_out);
        let answer = self.shared.reader.hand_in(haste, move |connection| {
            let answer = work(connection, &left_out);
            drop(place);
            answer
        });
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => answer.map_err(failed),
            Ok(Err(_)) => Err(failed(Cause::Stopped)),
            Err(_) => Err(failed(Cause::Late)),
        }
    }
}

impl Shared {
    /// A connection of its own, for what takes long.
    fn connect(&self) -> Result<Connection, Cause> {
        Ok(schema::connect_reader(
            &self.path,
            self.options.busy_timeout,
        )?)
    }
}

/// What ends access goes first.
fn haste_of(commit: &Commit) -> Haste {
    let ends = |change: &Change| {
        let status = change.record.status();
        matches!(status, Status::Revoking | Status::Settling | Status::Closed)
    };
    match commit.changes.iter().any(ends) {
        true => Haste::Revoke,
        false => Haste::Usual,
    }
}

/// The answer of a write that is not a commit.
fn answered<T>(operation: &'static str, outcome: Result<T, Fault>) -> Result<T, PortError> {
    outcome.map_err(|fault| match fault {
        Fault::Failed { effect, cause } => port_error(operation, effect, cause),
        // Only commits and deliveries are decided on what is stored.
        Fault::Conflict | Fault::InputDone | Fault::CounterFull { .. } => {
            let kind = jit_core::ports::ErrorKind::Conflict;
            PortError::nothing_done("sqlite", operation, kind)
        }
    })
}

#[async_trait]
impl RequestStore for SqliteStore {
    async fn story(
        &self,
        id: RequestId,
    ) -> Result<Option<(AccessRequest, Vec<Sealed>)>, PortError> {
        let work = move |connection: &Connection, _: &LeftOut| read::story(connection, id);
        self.read(Haste::Usual, "load with its chain", work).await
    }

    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        let work = move |connection: &Connection, _: &LeftOut| read::load(connection, id);
        self.read(Haste::Revoke, "load", work).await
    }

    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError> {
        let key = key.clone();
        let work = move |connection: &Connection, _: &LeftOut| read::slot(connection, &key);
        self.read(Haste::Revoke, "read a slot", work).await
    }

    async fn commit(&self, commit: Commit) -> Result<Vec<Delivery>, CommitError> {
        // Tokio's clock, for how long it waited; what time it is comes from the engine.
        let (began, good_for) = (tokio::time::Instant::now(), commit.good_for);
        let haste = haste_of(&commit);
        let prepared = Prepared::new(commit)?;
        let written = self
            .write(haste, move |connection| {
                // The lock is ours here, however long that took.
                if good_for.is_some_and(|good_for| began.elapsed() > good_for) {
                    return Err(Fault::Conflict);
                }
                prepared.apply(connection)
            })
            .await;
        written.map_err(|fault| commit_error("commit", fault))
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        let work = move |connection: &Connection, left_out: &LeftOut| {
            read::due(connection, left_out, now, limit)
        };
        self.read(Haste::Revoke, "list what is due", work).await
    }

    async fn newest_commit(&self) -> Result<Option<Timestamp>, PortError> {
        let work = |connection: &Connection, _: &LeftOut| read::newest_commit(connection);
        self.read(Haste::Revoke, "read the newest commit", work)
            .await
    }

    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        let notifiers = notifiers.to_vec();
        let work = move |connection: &Connection, _: &LeftOut| {
            read::deliveries_due(connection, &notifiers, now, limit)
        };
        self.read(Haste::Usual, "list due deliveries", work).await
    }

    async fn deliveries_take(
        &self,
        notifier: &str,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        // Most looks find nothing, and need no lock of a writer for that.
        let notifiers = [notifier.to_owned()];
        if self.deliveries_due(&notifiers, now, 1).await?.is_empty() {
            return Ok(Vec::new());
        }
        let [notifier] = notifiers;
        let work = move |connection: &Connection| {
            rows::deliveries_take(connection, &notifier, now, until, limit)
        };
        answered("take deliveries", self.write(Haste::Usual, work).await)
    }

    async fn deliveries(&self, request: RequestId) -> Result<Vec<Delivery>, PortError> {
        let work =
            move |connection: &Connection, _: &LeftOut| read::deliveries(connection, request);
        self.read(Haste::Usual, "list deliveries", work).await
    }

    async fn delivery_update(&self, delivery: Delivery) -> Result<(), CommitError> {
        let work = move |connection: &Connection| rows::delivery_update(connection, &delivery);
        let written = self.write(Haste::Usual, work).await;
        written.map_err(|fault| commit_error("update a delivery", fault))
    }

    async fn events(&self, id: RequestId) -> Result<Vec<Sealed>, PortError> {
        let work = move |connection: &Connection, _: &LeftOut| chains::events(connection, id);
        self.read(Haste::Usual, "read a chain", work).await
    }

    async fn system_events(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, PortError> {
        let work = move |connection: &Connection, _: &LeftOut| {
            chains::system_events(connection, after, limit)
        };
        self.read(Haste::Usual, "read the system chain", work).await
    }

    async fn system_head(&self) -> Result<ChainHead, PortError> {
        let work = |connection: &Connection, _: &LeftOut| commit::system_head(connection);
        self.read(Haste::Usual, "read the system head", work).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<AccessRequest>, PortError> {
        let query = query.clone();
        let work = move |connection: &Connection, left_out: &LeftOut| {
            read::query(connection, left_out, &query)
        };
        self.read(Haste::Usual, "query", work).await
    }

    async fn by_suffix(&self, suffix: &str) -> Result<Vec<RequestId>, PortError> {
        let suffix = suffix.to_owned();
        let work = move |connection: &Connection, _: &LeftOut| read::by_suffix(connection, &suffix);
        self.read(Haste::Usual, "find an id", work).await
    }

    async fn chains(
        &self,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestId>, PortError> {
        let work =
            move |connection: &Connection, _: &LeftOut| chains::chains(connection, after, limit);
        self.read(Haste::Usual, "list chains", work).await
    }

    async fn idempotency(&self, key: &str) -> Result<Option<Idempotency>, PortError> {
        let key = key.to_owned();
        let work = move |connection: &Connection, _: &LeftOut| read::idempotency(connection, &key);
        self.read(Haste::Usual, "look up a key", work).await
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, PortError> {
        let key = key.to_owned();
        let work = move |connection: &Connection, _: &LeftOut| read::row(connection, table, &key);
        self.read(Haste::Usual, "read a row", work).await
    }

    async fn rows(&self, table: &'static str) -> Result<Vec<Row>, PortError> {
        let work = move |connection: &Connection, _: &LeftOut| read::rows(connection, table);
        self.read(Haste::Usual, "read rows", work).await
    }

    async fn inbox_put(
        &self,
        key: &str,
        input: &str,
        received_at: Timestamp,
    ) -> Result<Inbox, PortError> {
        let (key, input) = (key.to_owned(), input.to_owned());
        let work =
            move |connection: &Connection| rows::inbox_put(connection, &key, &input, received_at);
        // Whoever sent it waits for the acknowledgement.
        answered("keep an input", self.write(Haste::Urgent, work).await)
    }

    async fn inbox_take(&self, now: Timestamp, limit: usize) -> Result<Vec<InboxItem>, PortError> {
        let waits = move |connection: &Connection, _: &LeftOut| rows::inbox_waits(connection, now);
        if !self
            .read(Haste::Usual, "look into the inbox", waits)
            .await?
        {
            return Ok(Vec::new());
        }
        let work = move |connection: &Connection| rows::inbox_take(connection, now, limit);
        answered("take inputs", self.write(Haste::Usual, work).await)
    }

    async fn inbox_done(&self, key: &str) -> Result<(), PortError> {
        let key = key.to_owned();
        let work = move |connection: &Connection| rows::inbox_done(connection, &key);
        let done = self.write(Haste::Usual, work).await;
        answered("end an input", done.map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_testkit::sample;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A look that is not done before its sender is dropped.
    fn held(store: &SqliteStore, begun: Sender<()>) -> Sender<()> {
        let (go, told): (Sender<()>, Receiver<()>) = channel();
        let look = store.shared.reader.hand_in(Haste::Usual, move |_| {
            let _nobody_listens = begun.send(());
            let _dropped = told.recv();
            Ok(())
        });
        tokio::spawn(look);
        go
    }

    /// What a revoke asks for is answered before a crowd that came first: behind the few that share
    /// a transaction with it, and before the many that here do not end before it is answered.
    #[tokio::test]
    async fn l3_what_a_revoke_reads_waits_for_no_crowd() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            call_limit: Duration::from_secs(2),
            ..Options::default()
        };
        let store = SqliteStore::open(folder.path().join("jit.db"), options).unwrap();
        let (begun, begins) = channel();
        let busy = [(), ()].map(|()| {
            let go = held(&store, begun.clone());
            begins.recv().unwrap();
            go
        });
        let few: Vec<_> = (0..40).map(|_| held(&store, begun.clone())).collect();
        let many: Vec<_> = (0..60).map(|_| held(&store, begun.clone())).collect();
        drop(few);
        let slot = sample::part("groupfile/admins").slot_key();
        let revoke = async {
            tokio::join!(
                async { store.due(sample::at(1), 10).await.unwrap() },
                async { store.newest_commit().await.unwrap() },
                async { store.load(sample::id(1)).await.unwrap() },
                async { store.slot(&slot).await.unwrap() },
                async { drop(busy) },
            )
        };
        revoke.await;
        drop(many);
    }
}
