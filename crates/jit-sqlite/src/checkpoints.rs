//! What the log holds is moved into the file beside the writer, so that no commit waits for it.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::Connection;

use crate::schema;

/// After so many transactions that wrote what they left in the log is moved.
const EVERY: u32 = 100;
/// A commit that finds so many pages in the log moves what is left of them itself: nobody beside it kept
/// up, or something was always written meanwhile.
const LOG_LIMIT: i64 = 10_000;

/// Whoever moves what the log holds. The thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// How many of them there were since it was told.
    since: u32,
    tell: SyncSender<()>,
}

impl Checkpoints {
    /// Starts the thread, for the file that this connection writes. Its own connection is opened when
    /// there is something to do.
    pub(crate) fn start(writer: &Connection, path: &Path, busy: Duration) -> std::io::Result<Self> {
        let limit = "wal_autocheckpoint";
        let set = writer.pragma_update_and_check(None, limit, LOG_LIMIT, |_| Ok(()));
        set.map_err(std::io::Error::other)?;
        // Told twice while it is at work, it looks once more.
        let (tell, told) = sync_channel(1);
        let path = path.to_owned();
        std::thread::Builder::new()
            .name("jit-sqlite-log".to_owned())
            .spawn(move || serve(&path, busy, &told))?;
        Ok(Self { since: 0, tell })
    }

    /// There was one more transaction that wrote.
    pub(crate) fn count(&mut self) {
        self.since += 1;
        if self.since >= EVERY {
            self.since = 0;
            // It has been told already, or is gone, which the limit is for.
            let _told = self.tell.try_send(());
        }
    }
}

fn serve(path: &Path, busy: Duration, told: &Receiver<()>) {
    let mut kept = None;
    let mut is_known = false;
    while told.recv().is_ok() {
        let connection = match kept.take() {
            Some(connection) => Ok(connection),
            None => schema::connect(path, busy),
        };
        let moved = connection.and_then(|connection| {
            // Neither writers nor readers are held up; what somebody still reads is left.
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            Ok(connection)
        });
        match moved {
            Ok(connection) => {
                is_known = false;
                kept = Some(connection);
            }
            // Once until it goes well again: whoever writes fails too, or moves it.
            Err(error) if !is_known => {
                is_known = true;
                tracing::warn!(error = %error, "the log of the store could not be moved");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const BUSY: Duration = Duration::from_secs(5);

    /// A file and a connection that writes it, which moves nothing by itself.
    fn bench() -> (tempfile::TempDir, PathBuf, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let writer = Connection::open(&path).unwrap();
        let wal = writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()));
        wal.unwrap();
        writer
            .execute_batch("CREATE TABLE note (text BLOB)")
            .unwrap();
        (folder, path, writer)
    }

    fn size(path: &Path) -> u64 {
        path.metadata().unwrap().len()
    }

    fn note(writer: &Connection, pages: u32) {
        let text = vec![b'x'; 4_000];
        for _ in 0..pages {
            writer
                .execute("INSERT INTO note VALUES (?1)", [&text])
                .unwrap();
        }
    }

    #[test]
    fn what_transactions_left_in_the_log_is_moved_beside_them() {
        let (_folder, path, writer) = bench();
        let mut checkpoints = Checkpoints::start(&writer, &path, BUSY).unwrap();
        let before = size(&path);
        for _ in 1..EVERY {
            note(&writer, 1);
            checkpoints.count();
        }
        assert_eq!(size(&path), before, "it was not told yet");
        note(&writer, 1);
        checkpoints.count();
        let mut looks = 0;
        while size(&path) < u64::from(EVERY) * 4_000 {
            looks += 1;
            assert!(looks < 3_000, "nothing was moved");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_commit_moves_what_nobody_else_did_at_the_limit() {
        let (_folder, path, writer) = bench();
        let _checkpoints = Checkpoints::start(&writer, &path, BUSY).unwrap();
        let before = size(&path);
        writer.pragma_update(None, "synchronous", "OFF").unwrap();
        let log = path.with_extension("db-wal");
        let limit = u64::try_from(LOG_LIMIT).unwrap() * 4_096;
        while size(&log) < limit - 100 * 4_096 {
            note(&writer, 10);
        }
        assert_eq!(size(&path), before, "below the limit nothing is moved");
        note(&writer, 100);
        assert!(size(&path) > before, "above it, it is");
    }
}
