//! The threads that read. Looks that wait when a thread is free are answered from one transaction,
//! which begins after all of them were asked; so each sees whatever was committed before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::error::Cause;
use crate::queue::{Haste, Queue};
use crate::schema;

/// Reads at once; each thread has a connection of its own.
const THREADS: usize = 2;
/// The most looks that share one transaction.
const BATCH_LIMIT: usize = 16;

/// Where calls hand in what they want to know.
#[derive(Debug)]
pub(crate) struct Reader {
    queue: Arc<Queue<Look>>,
}

/// Reads and tells its caller; whether the connection is sound after it. Without a connection it
/// tells why there is none.
type Look = Box<dyn FnOnce(Result<&Connection, Cause>) -> bool + Send>;

impl Reader {
    /// Starts the threads; they end when this is dropped.
    pub(crate) fn start(path: PathBuf, busy_timeout: Duration) -> std::io::Result<Self> {
        let reader = Self {
            queue: Arc::new(Queue::shared_by(THREADS)),
        };
        for _ in 0..THREADS {
            let (queue, path) = (Arc::clone(&reader.queue), path.clone());
            std::thread::Builder::new()
                .name("jit-sqlite-reader".to_owned())
                .spawn(move || {
                    serve(&queue, || Ok(schema::connect_reader(&path, busy_timeout)?));
                })?;
        }
        Ok(reader)
    }

    /// Hands this in; the answer comes through what is given back, unless its thread panics.
    pub(crate) fn hand_in<T, R>(&self, haste: Haste, work: R) -> oneshot::Receiver<Result<T, Cause>>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Result<T, Cause> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let look: Look = Box::new(move |connection| {
            if reply.is_closed() {
                // Whoever asked waits no longer.
                return true;
            }
            let read = connection.and_then(work);
            let sound = read.is_ok();
            let _gone = reply.send(read);
            sound
        });
        self.queue.push(haste, look);
        answer
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn serve(queue: &Queue<Look>, connect: impl Fn() -> Result<Connection, Cause>) {
    let mut kept = None;
    while let Some(looks) = queue.next(BATCH_LIMIT) {
        let connection = match kept.take() {
            Some(connection) => Ok(connection),
            None => connect(),
        };
        // After an error the connection is dropped; the next looks open another.
        kept = match connection {
            Ok(connection) => look(&connection, looks).then_some(connection),
            Err(cause) => {
                tell(looks, &cause);
                None
            }
        };
    }
}

/// Whether the connection is sound after these.
fn look(connection: &Connection, looks: Vec<Look>) -> bool {
    let begun = Transaction::new_unchecked(connection, TransactionBehavior::Deferred);
    let transaction = match begun {
        Ok(transaction) => transaction,
        Err(error) => {
            tell(looks, &error.into());
            return false;
        }
    };
    let mut sound = true;
    for look in looks {
        // A panic is told to who asked, by the answer that goes away, and to nobody else.
        let looked = catch_unwind(AssertUnwindSafe(|| look(Ok(&transaction))));
        if looked.is_err() {
            tracing::error!("a read panicked; others are answered");
        }
        sound &= looked.unwrap_or(false);
    }
    transaction.finish().is_ok() && sound
}

fn tell(looks: Vec<Look>, cause: &Cause) {
    for look in looks {
        look(Err(cause.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn number(reader: &Reader, sql: &'static str) -> Result<i64, Cause> {
        let answer = reader.hand_in(Haste::Usual, move |connection| {
            let number = connection.query_row(sql, [], |row| row.get(0))?;
            Ok(number)
        });
        answer.await.unwrap_or(Err(Cause::Stopped))
    }

    #[tokio::test]
    async fn what_goes_wrong_with_one_look_goes_wrong_with_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jit.db");
        let (path, _writer) = schema::open(&path, Duration::from_secs(5)).unwrap();
        let reader = Reader::start(path, Duration::from_secs(5)).unwrap();
        for _ in 0..10 {
            let held = hold(&reader);
            // They wait together, so the innocent share their transaction with both.
            let count = || number(&reader, "SELECT count(*) FROM slot");
            let panics = async {
                let panics = reader.hand_in(Haste::Usual, |_| -> Result<(), Cause> {
                    panic!("a look that panics")
                });
                panics.await
            };
            let fails = number(&reader, "SELECT no_such_column FROM slot");
            let release = async { drop(held) };
            let (one, panics, two, fails, three, four, ()) =
                tokio::join!(count(), panics, count(), fails, count(), count(), release);
            assert!(panics.is_err(), "who asked is told");
            assert!(matches!(fails, Err(Cause::Sqlite(_))), "{fails:?}");
            for innocent in [one, two, three, four] {
                assert_eq!(innocent.unwrap(), 0);
            }
        }
    }

    /// Both threads have something to do until this is dropped.
    fn hold(reader: &Reader) -> Vec<std::sync::mpsc::Sender<()>> {
        let (runs, running) = std::sync::mpsc::channel();
        let held = (0..THREADS).map(|_| {
            let (release, released) = std::sync::mpsc::channel();
            let runs = runs.clone();
            let _waits = reader.hand_in(Haste::Usual, move |_| {
                runs.send(()).unwrap();
                let _ = released.recv();
                Ok(())
            });
            running.recv().unwrap();
            release
        });
        held.collect()
    }

    #[tokio::test]
    async fn without_a_connection_each_look_is_told_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jit.db");
        let reader = Reader::start(path.clone(), Duration::from_secs(5)).unwrap();
        let answer = number(&reader, "SELECT count(*) FROM slot").await;
        assert!(matches!(answer, Err(Cause::Sqlite(_))), "{answer:?}");
        schema::open(&path, Duration::from_secs(5)).unwrap();
        let answer = number(&reader, "SELECT count(*) FROM slot").await;
        assert_eq!(answer.unwrap(), 0, "it is there now");
    }
}
