//! The one thread that writes. Jobs that arrive while a transaction runs are applied together in
//! the next. One that finds something else than it expected has mostly written nothing by then;
//! where one has, or failed, the transaction is begun again with each job under a savepoint of its
//! own, so that it is taken back alone. A job is answered after the transaction that holds it is on
//! the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jit_core::ports::Effect;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::checkpoints::Checkpoints;
use crate::error::{Cause, Fault};
use crate::queue::{Haste, Queue};
use crate::schema;

/// The most jobs that share one transaction. More of them would wait less often for the disk, and
/// who comes meanwhile would wait for all of them.
const BATCH_LIMIT: usize = 16;

/// Where calls hand in what they want written.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Arc<Queue<Box<dyn Job>>>,
}

impl Writer {
    /// Starts the thread; it ends when this is dropped and everything handed in is done.
    pub(crate) fn start(connection: Connection, log: Checkpoints) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::shared_by(1));
        let of_thread = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("jit-sqlite-writer".to_owned())
            .spawn(move || serve(&connection, &of_thread, log))?;
        Ok(Self { queue })
    }

    /// Hands this in; it is done whether anybody waits for it or not. Where it is run more than once,
    /// what it wrote before was taken back.
    pub(crate) fn hand_in<T, W>(&self, haste: Haste, work: W) -> Ticket<T>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let claimed = Arc::new(AtomicBool::new(false));
        let task = Task {
            claimed: Arc::clone(&claimed),
            work,
            outcome: None,
            reply,
        };
        self.queue.push(haste, Box::new(task));
        Ticket { claimed, answer }
    }
}

/// The right to the answer of what was handed in.
pub(crate) struct Ticket<T> {
    claimed: Arc<AtomicBool>,
    answer: oneshot::Receiver<Result<T, Fault>>,
}

impl<T> Ticket<T> {
    /// Waits for the answer. What was not begun by the limit is never begun.
    pub(crate) async fn wait(self, limit: Duration) -> Result<T, Fault> {
        let failed = |effect, cause| Err(Fault::Failed { effect, cause });
        match tokio::time::timeout(limit, self.answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => failed(Effect::Unknown, Cause::Stopped),
            Err(_) if self.claimed.swap(true, Ordering::AcqRel) => {
                failed(Effect::Unknown, Cause::Late)
            }
            Err(_) => failed(Effect::None, Cause::Late),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

// --------------------------------------------------------------------------------------- the jobs

/// How a job left the tables.
enum Left {
    /// What it wrote is to stay.
    Written,
    /// Something was not as it expected; what it wrote is to be taken back.
    Refused,
    /// The store failed; what it wrote is to be taken back.
    Failed(Cause),
}

/// Something to write, with whoever waits for it.
trait Job: Send + std::fmt::Debug {
    /// Whether it is still wanted; from here on its caller can no longer take it back.
    fn claim(&self) -> bool;
    /// Writes, and keeps its outcome.
    fn run(&mut self, connection: &Connection) -> Left;
    /// Tells its outcome to its caller.
    fn answer(self: Box<Self>);
    /// Tells its caller that it failed, whatever its outcome was.
    fn fail(self: Box<Self>, effect: Effect, cause: Cause);
}

struct Task<T, W> {
    claimed: Arc<AtomicBool>,
    work: W,
    outcome: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, Fault>>,
}

impl<T, W> std::fmt::Debug for Task<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

impl<T, W> Job for Task<T, W>
where
    T: Send,
    W: Fn(&Connection) -> Result<T, Fault> + Send,
{
    fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    fn run(&mut self, connection: &Connection) -> Left {
        let outcome = (self.work)(connection);
        let left = match &outcome {
            Ok(_) => Left::Written,
            Err(Fault::Failed { cause, .. }) => Left::Failed(cause.clone()),
            Err(Fault::Conflict | Fault::InputDone | Fault::CounterFull { .. }) => Left::Refused,
        };
        self.outcome = Some(outcome);
        left
    }

    // A caller that waits no longer hears nothing; what it asked for is done all the same.
    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            let _gone = self.reply.send(outcome);
        }
    }

    fn fail(self: Box<Self>, effect: Effect, cause: Cause) {
        let _gone = self.reply.send(Err(Fault::Failed { effect, cause }));
    }
}

// ------------------------------------------------------------------------------------- the thread

fn serve(connection: &Connection, queue: &Queue<Box<dyn Job>>, mut log: Checkpoints) {
    while let Some(jobs) = queue.next(BATCH_LIMIT) {
        let before = connection.total_changes();
        // A panic ends one batch, whose callers see their answer go away, and not the thread.
        let run = catch_unwind(AssertUnwindSafe(|| settle(connection, jobs)));
        if run.is_err() {
            tracing::error!("a write panicked and was taken back");
        }
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(error = %error, "a transaction could not be taken back");
        }
        if connection.total_changes() != before {
            log.count();
        }
    }
}

/// Applies these jobs in one transaction.
fn settle(connection: &Connection, mut jobs: Vec<Box<dyn Job>>) {
    if let Err(cause) = begin(connection) {
        return fail_all(jobs, Effect::None, &cause);
    }
    // Not before the lock is ours: what was given up meanwhile is never begun.
    jobs.retain(|job| job.claim());
    let applied = apply_all(connection, &mut jobs).and_then(|applied| match applied {
        Applied::Lost => {
            if !connection.is_autocommit() {
                run(connection, "ROLLBACK")?;
            }
            begin(connection)?;
            apply_each(connection, &mut jobs)
        }
        applied => Ok(applied),
    });
    let end = match applied {
        Ok(Applied::Written) => run(connection, "COMMIT"),
        Ok(Applied::Nothing | Applied::Lost) => run(connection, "ROLLBACK"),
        // Nothing of the transaction is left, or nothing that can be relied on.
        Err(cause) => return fail_all(jobs, Effect::None, &cause),
    };
    match end {
        Ok(()) => jobs.into_iter().for_each(|job| job.answer()),
        Err(cause) => {
            // The disk may hold the end of the transaction although it did not say so.
            let effect = match cause.is_busy() {
                true => Effect::None,
                false => Effect::Unknown,
            };
            fail_all(jobs, effect, &cause);
        }
    }
}

fn fail_all(jobs: Vec<Box<dyn Job>>, effect: Effect, cause: &Cause) {
    for job in jobs {
        job.fail(effect, cause.clone());
    }
}

fn begin(connection: &Connection) -> Result<(), Cause> {
    run(connection, "BEGIN IMMEDIATE")?;
    // The daemon of a later release may have migrated the file under us.
    match schema::version(connection)? {
        found if found > schema::KNOWN => Err(Cause::Newer { found }),
        _ => Ok(()),
    }
}

/// Runs a statement that gives nothing back.
fn run(connection: &Connection, sql: &str) -> Result<(), Cause> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// What jobs left in a transaction.
enum Applied {
    /// Something that is to stay.
    Written,
    Nothing,
    /// Something that is to be taken back, beside what is to stay.
    Lost,
}

/// Runs these, one after another, until one of them leaves something to be taken back.
fn apply_all(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<Applied, Cause> {
    let mut applied = Applied::Nothing;
    for job in jobs {
        let before = connection.total_changes();
        match job.run(connection) {
            Left::Written => applied = Applied::Written,
            Left::Refused if connection.total_changes() == before => {}
            Left::Refused | Left::Failed(_) => return Ok(Applied::Lost),
        }
    }
    Ok(applied)
}

/// Runs each of these under its savepoint. An error means that the whole transaction is lost.
fn apply_each(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<Applied, Cause> {
    let mut applied = Applied::Nothing;
    let undo = || run(connection, "ROLLBACK TO job").and_then(|()| run(connection, "RELEASE job"));
    for job in jobs {
        run(connection, "SAVEPOINT job")?;
        match job.run(connection) {
            Left::Written => {
                run(connection, "RELEASE job")?;
                applied = Applied::Written;
            }
            Left::Refused => undo()?,
            // After a full disk SQLite may have taken back everything by itself; then there is no
            // savepoint any more, and what went wrong is the reason for all.
            Left::Failed(cause) => undo().map_err(|_| cause)?,
        }
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::{Sender, channel};

    const LONG: Duration = Duration::from_secs(60);

    struct Bench {
        writer: Writer,
        /// Reads beside the writer.
        beside: Connection,
        _folder: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("writer.db");
        let open = || {
            let connection = Connection::open(&path).unwrap();
            connection
                .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
                .unwrap();
            connection
        };
        let connection = open();
        let table = "CREATE TABLE IF NOT EXISTS note (text TEXT PRIMARY KEY)";
        connection.execute_batch(table).unwrap();
        let log = Checkpoints::start(&connection, &path, LONG).unwrap();
        Bench {
            writer: Writer::start(connection, log).unwrap(),
            beside: open(),
            _folder: folder,
        }
    }

    fn end<T>(ticket: Ticket<T>, limit: Duration) -> Result<T, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().unwrap();
        runtime.block_on(ticket.wait(limit))
    }

    fn submit<T, W>(writer: &Writer, work: W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        end(writer.hand_in(Haste::Usual, work), LONG)
    }

    fn note(connection: &Connection, text: &str) -> Result<(), Fault> {
        connection.execute("INSERT INTO note VALUES (?1)", [text])?;
        Ok(())
    }

    fn notes(connection: &Connection) -> Vec<String> {
        let mut statement = connection
            .prepare("SELECT text FROM note ORDER BY text")
            .unwrap();
        let notes = statement.query_map([], |row| row.get(0)).unwrap();
        notes.collect::<Result<_, _>>().unwrap()
    }

    /// A job that runs by now, and ends when it is told to.
    fn hold(writer: &Writer) -> (Ticket<()>, Sender<()>) {
        let (runs, running) = channel();
        let (go, told) = channel::<()>();
        let ticket = writer.hand_in(Haste::Usual, move |connection| {
            note(connection, "held")?;
            runs.send(()).unwrap();
            told.recv().unwrap();
            Ok(())
        });
        running.recv().unwrap();
        (ticket, go)
    }

    #[test]
    fn jobs_that_wait_share_a_transaction_and_one_that_conflicts_is_taken_back_alone() {
        let Bench {
            writer,
            beside,
            _folder,
        } = bench();
        let (held, go) = hold(&writer);
        let first = writer.hand_in(Haste::Usual, |connection| note(connection, "first"));
        let second = writer.hand_in(Haste::Usual, |connection| {
            note(connection, "second")?;
            Err::<(), _>(Fault::Conflict)
        });
        let third = writer.hand_in(Haste::Usual, move |connection| {
            note(connection, "third")?;
            // Not yet on the disk: others must not see it, and its own transaction does.
            Ok((notes(connection), notes(&beside)))
        });
        go.send(()).unwrap();
        end(held, LONG).unwrap();
        end(first, LONG).unwrap();
        assert!(matches!(end(second, LONG), Err(Fault::Conflict)));
        let (within, beside) = end(third, LONG).unwrap();
        assert_eq!(within, ["first", "held", "third"]);
        assert_eq!(beside, ["held"], "the three are one transaction");
    }

    /// How often a job ran that shared its transaction with this one, which conflicts.
    fn runs_beside(conflicts: fn(&Connection) -> Result<(), Fault>) -> usize {
        let Bench {
            writer,
            beside,
            _folder,
        } = bench();
        let runs = Arc::new(AtomicUsize::new(0));
        let (held, go) = hold(&writer);
        let counted = Arc::clone(&runs);
        let other = writer.hand_in(Haste::Usual, move |connection| {
            counted.fetch_add(1, Ordering::Relaxed);
            note(connection, "other")
        });
        let refused = writer.hand_in(Haste::Usual, conflicts);
        go.send(()).unwrap();
        end(held, LONG).unwrap();
        end(other, LONG).unwrap();
        assert!(matches!(end(refused, LONG), Err(Fault::Conflict)));
        assert_eq!(notes(&beside), ["held", "other"]);
        runs.load(Ordering::Relaxed)
    }

    #[test]
    fn others_run_again_only_where_something_is_to_be_taken_back() {
        assert_eq!(runs_beside(|_| Err(Fault::Conflict)), 1);
        let wrote = |connection: &Connection| {
            note(connection, "refused")?;
            Err(Fault::Conflict)
        };
        assert_eq!(runs_beside(wrote), 2);
    }

    #[test]
    fn what_a_hundred_transactions_wrote_is_moved_out_of_the_log() {
        let Bench {
            writer, _folder, ..
        } = bench();
        for number in 0..100 {
            let text = format!("{number:04000}");
            submit(&writer, move |connection| note(connection, &text)).unwrap();
        }
        let file = _folder.path().join("writer.db");
        let mut looks = 0;
        while file.metadata().unwrap().len() < 400_000 {
            looks += 1;
            assert!(looks < 1_000, "nothing was moved");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_is_answered_is_committed() {
        let Bench {
            writer,
            beside,
            _folder,
        } = bench();
        for number in 0..20 {
            let text = format!("{number:02}");
            submit(&writer, move |connection| note(connection, &text)).unwrap();
            assert_eq!(notes(&beside).len(), number + 1);
        }
    }

    #[test]
    fn behind_a_disk_that_hangs_a_call_is_late_and_is_never_begun() {
        let Bench {
            writer,
            beside,
            _folder,
        } = bench();
        let (held, go) = hold(&writer);
        let late = writer.hand_in(Haste::Usual, |connection| note(connection, "late"));
        let late = end(late, Duration::ZERO).unwrap_err();
        assert!(
            matches!(
                late,
                Fault::Failed {
                    effect: Effect::None,
                    cause: Cause::Late
                }
            ),
            "{late:?}"
        );
        let begun = end(held, Duration::ZERO).unwrap_err();
        assert!(
            matches!(
                begun,
                Fault::Failed {
                    effect: Effect::Unknown,
                    cause: Cause::Late
                }
            ),
            "{begun:?}"
        );
        go.send(()).unwrap();
        submit(&writer, |connection| note(connection, "next")).unwrap();
        assert_eq!(notes(&beside), ["held", "next"]);
    }

    #[test]
    fn what_was_given_up_while_another_process_had_the_lock_is_never_done() {
        let Bench {
            writer,
            beside: mut other,
            _folder,
        } = bench();
        let behavior = rusqlite::TransactionBehavior::Immediate;
        let lock = other.transaction_with_behavior(behavior).unwrap();
        let late = writer.hand_in(Haste::Usual, |connection| note(connection, "late"));
        // The thread has it, and waits for the lock.
        while !writer.queue.is_idle() {
            std::thread::yield_now();
        }
        let late = end(late, Duration::ZERO).unwrap_err();
        let undone = matches!(
            late,
            Fault::Failed {
                effect: Effect::None,
                cause: Cause::Late
            }
        );
        assert!(undone, "{late:?}");
        drop(lock);
        submit(&writer, |connection| note(connection, "next")).unwrap();
        assert_eq!(notes(&other), ["next"]);
    }

    #[test]
    fn a_panic_ends_its_batch_and_not_the_thread() {
        let Bench {
            writer,
            beside,
            _folder,
        } = bench();
        let panics = |connection: &Connection| -> Result<(), Fault> {
            note(connection, "half")?;
            panic!("a job that panics")
        };
        let stopped = submit(&writer, panics).unwrap_err();
        assert!(
            matches!(
                stopped,
                Fault::Failed {
                    effect: Effect::Unknown,
                    cause: Cause::Stopped
                }
            ),
            "{stopped:?}"
        );
        submit(&writer, |connection| note(connection, "whole")).unwrap();
        assert_eq!(notes(&beside), ["whole"]);
    }

    #[test]
    fn a_full_disk_writes_nothing_and_the_store_goes_on_when_there_is_room() {
        let Bench {
            writer,
            beside,
            _folder,
        } = bench();
        let room = |pages: u32| {
            let set = format!("PRAGMA max_page_count = {pages}");
            let limit = move |connection: &Connection| {
                connection.query_row(&set, [], |row| row.get::<_, u32>(0))?;
                Ok(())
            };
            submit(&writer, limit).unwrap();
        };
        room(4);
        let large = |connection: &Connection| {
            note(connection, "small")?;
            note(connection, &"large ".repeat(50_000))
        };
        let error = jit_core::ports::PortError::from(match submit(&writer, large).unwrap_err() {
            Fault::Failed { effect, cause } => crate::error::Failed {
                operation: "commit",
                effect,
                cause,
            },
            other => panic!("{other:?}"),
        });
        assert_eq!(error.kind, jit_core::ports::ErrorKind::Unavailable);
        assert_eq!(error.effect, Effect::None);
        assert_eq!(error.to_string(), "sqlite could not commit: unavailable");
        assert_eq!(notes(&beside), Vec::<String>::new());
        room(1_000_000);
        submit(&writer, large).unwrap();
        assert_eq!(notes(&beside).len(), 2);
    }
}
