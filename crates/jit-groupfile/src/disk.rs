//! The group file on the disk: its lock, and reading and replacing it as a whole. What is written
//! in it is not judged here.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jit_core::ports::Purpose;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::Trouble;
use crate::text::Malformed;

/// The largest file that is read or written, in bytes. Apache reads lines of up to 16 MiB
/// (`VARBUF_MAX_LEN` in its `mod_authz_groupfile.c`), so no line of such a file is too long for it.
pub(crate) const FILE_BYTES_LIMIT: u64 = 1024 * 1024;
/// How long a lock that others hold is waited for, and how often it is tried meanwhile.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_TRY_EVERY: Duration = Duration::from_millis(20);
/// How long one piece of work on the disk may take.
const DISK_LIMIT: Duration = Duration::from_secs(5);

/// The right to read and write the file, while this lives. It lives on the thread of the work alone,
/// so that a caller who goes away before the work is done does not take it along.
pub(crate) struct Lock {
    /// Where the file really is: a link may have taken its place since it was resolved.
    file: PathBuf,
    _held: File,
}

/// Those of this process that wait for the lock of one file, in the order in which they came. What
/// the system offers must be asked again and again, and prefers nobody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// Whoever gives access waits here first, so that whoever takes it away waits for one of them.
    to_give: Arc<Mutex<()>>,
    at_all: Arc<Mutex<()>>,
}

/// The turns at each file: one that hangs holds up no other.
#[derive(Debug, Default)]
pub(crate) struct Turns(std::sync::Mutex<HashMap<PathBuf, Turn>>);

/// The right to use the lock, and to wait for it.
type Held = (OwnedMutexGuard<()>, Option<OwnedMutexGuard<()>>);

impl Turns {
    fn of(&self, path: &Path) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(path.to_owned()).or_default().clone()
    }

    async fn wait(&self, path: &Path, purpose: Purpose) -> Held {
        let Turn { to_give, at_all } = self.of(path);
        let gives = match purpose {
            Purpose::Give => Some(to_give.lock_owned().await),
            Purpose::TakeAway => None,
        };
        (at_all.lock_owned().await, gives)
    }
}

impl Lock {
    /// The whole text of the file.
    pub(crate) fn read(&self) -> Result<String, Trouble> {
        read(&self.file)
    }

    /// Puts this text in the file's place; readers see the old one or the new one.
    pub(crate) fn replace(&self, text: &str) -> Result<(), Trouble> {
        check_size(text.as_bytes())?;
        let old = fs::metadata(&self.file)?;
        let path = beside(&self.file, ".new");
        match fs::remove_file(&path) {
            // A crash may have left one; nobody else has it, because we hold the lock.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut new = options.open(&path)?;
        new.write_all(text.as_bytes())?;
        let made = new.metadata()?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(&new, Some(old.uid()), Some(old.gid()))?;
        }
        new.set_permissions(old.permissions())?;
        new.sync_all()?;
        Ok(fs::rename(&path, &self.file)?)
    }

    /// Makes the last replacement survive a power failure.
    pub(crate) fn flush(&self) -> Result<(), Trouble> {
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        let flushed = File::open(folder).and_then(|folder| folder.sync_all());
        flushed.map_err(Trouble::NotFlushed)
    }
}

/// Does this under the lock of the file at this path, or nothing where the lock stays taken for 2 s.
/// It is done to its end, under the lock, though its caller goes away.
pub(crate) async fn under_lock<T, W>(
    path: PathBuf,
    turns: &Turns,
    purpose: Purpose,
    work: W,
) -> Result<Option<T>, Trouble>
where
    T: Send + 'static,
    W: FnOnce(&Lock) -> Result<T, Trouble> + Send + 'static,
{
    let until = Instant::now() + LOCK_PATIENCE;
    let Ok(turn) = timeout_at(until, turns.wait(&path, purpose)).await else {
        return Ok(None);
    };
    let mut job = (path, turn, work);
    loop {
        let tried = on_disk(move || {
            let (path, turn, work) = job;
            Ok(match try_lock(&path)? {
                Some(lock) => Tried::Done(work(&lock)?),
                None => Tried::Taken((path, turn, work)),
            })
        });
        job = match tried.await? {
            Tried::Done(done) => return Ok(Some(done)),
            Tried::Taken(_) if Instant::now() >= until => return Ok(None),
            Tried::Taken(job) => job,
        };
        tokio::time::sleep(LOCK_TRY_EVERY).await;
    }
}

enum Tried<T, J> {
    Done(T),
    Taken(J),
}

fn try_lock(path: &Path) -> Result<Option<Lock>, Trouble> {
    let file = path.canonicalize()?;
    let beside = beside(&file, ".lock");
    // Reading is enough to lock: whoever can read the lock file can hold up every revoke, so it is
    // made for this user alone.
    let mut make = OpenOptions::new();
    make.append(true).create(true).mode(0o600);
    let held = File::open(&beside).or_else(|_| make.open(&beside))?;
    match held.try_lock() {
        Ok(()) => Ok(Some(Lock { file, _held: held })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The whole text of the file.
pub(crate) fn read(file: &Path) -> Result<String, Trouble> {
    // Asked before it is opened: opening a pipe would wait for its writer.
    if !fs::metadata(file)?.is_file() {
        return Err(Trouble::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(file)?
        .take(FILE_BYTES_LIMIT + 1)
        .read_to_end(&mut bytes)?;
    check_size(&bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to());
        let line = 1 + valid.filter(|byte| **byte == b'\n').count();
        let what = "is not valid UTF-8";
        Trouble::Malformed(Malformed { line, what })
    })
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}

/// Runs work that blocks on a thread of its own. It is not stopped where its caller goes away.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    match tokio::time::timeout(DISK_LIMIT, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) | Err(_) => Err(Trouble::NoAnswer),
    }
}

fn check_size(bytes: &[u8]) -> Result<(), Trouble> {
    let fits = u64::try_from(bytes.len()).is_ok_and(|size| size <= FILE_BYTES_LIMIT);
    fits.then_some(()).ok_or(Trouble::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Waits<'a> = Pin<Box<dyn Future<Output = Held> + 'a>>;

    fn wait<'a>(turns: &'a Turns, path: &'a str, purpose: Purpose) -> Waits<'a> {
        Box::pin(turns.wait(Path::new(path), purpose))
    }

    fn now(waits: &mut Waits<'_>) -> Option<Held> {
        match waits.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(held) => Some(held),
            Poll::Pending => None,
        }
    }

    #[test]
    fn l3_a_file_that_hangs_holds_up_no_other() {
        let turns = Turns::default();
        let hangs = now(&mut wait(&turns, "/slow", Purpose::TakeAway));
        assert!(hangs.is_some());
        assert!(now(&mut wait(&turns, "/slow", Purpose::TakeAway)).is_none());
        assert!(now(&mut wait(&turns, "/fast", Purpose::TakeAway)).is_some());
    }

    #[test]
    fn l3_whoever_takes_access_away_waits_for_no_crowd_that_gives() {
        let turns = Turns::default();
        let held = now(&mut wait(&turns, "/file", Purpose::Give));
        let crowd = 0..3;
        let mut crowd: Vec<_> = crowd
            .map(|_| wait(&turns, "/file", Purpose::Give))
            .collect();
        let mut take = wait(&turns, "/file", Purpose::TakeAway);
        for waits in &mut crowd {
            assert!(now(waits).is_none());
        }
        assert!(now(&mut take).is_none());
        drop(held);
        let taken = now(&mut take);
        assert!(taken.is_some());
        for waits in &mut crowd {
            assert!(now(waits).is_none(), "it has its turn alone");
        }
    }
}
