//! One list for many: whoever waits for what AWS has in progress shares the answer with all who
//! asked before it was asked for. How the list is read is not known here.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::lookup::lock;

/// The rounds of one list.
///
/// Without them every look would read both lists by itself, and a burst of ends would use up the
/// quota on reading the same page again and again.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Held by who reads the list; the others wait, in order.
    reading: tokio::sync::Mutex<()>,
    /// How many times reading began.
    begun: AtomicU64,
    last: Mutex<Option<Round>>,
    watchers: AtomicUsize,
}

#[derive(Debug, Clone)]
struct Round {
    number: u64,
    began: Instant,
    operations: Arc<Vec<String>>,
}

/// Reading a list begins.
pub(crate) struct Beginning<'a> {
    begun: &'a AtomicU64,
    at: Option<(u64, Instant)>,
}

impl Beginning<'_> {
    /// Nothing of it has been asked for before this, and all of it is asked for after.
    pub(crate) fn now(&mut self) -> Instant {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let now = Instant::now();
        self.at = Some((number, now));
        now
    }
}

/// Somebody who watches an operation, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher<'a>(&'a AtomicUsize);

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Rounds {
    /// Counts somebody in who watches an operation.
    pub(crate) fn watch(&self) -> Watcher<'_> {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        Watcher(&self.watchers)
    }

    /// How many watch.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::SeqCst)
    }

    /// A list that was begun after this was called.
    pub(crate) async fn next<E>(
        &self,
        read: impl AsyncFnOnce(&mut Beginning<'_>) -> Result<Vec<String>, E>,
    ) -> Result<Arc<Vec<String>>, E> {
        let before = self.begun.load(Ordering::SeqCst);
        self.read_unless(|round| round.number > before, read).await
    }

    /// A list that was begun after this moment and is no older than this.
    pub(crate) async fn lately<E>(
        &self,
        since: Instant,
        age: Duration,
        read: impl AsyncFnOnce(&mut Beginning<'_>) -> Result<Vec<String>, E>,
    ) -> Result<Arc<Vec<String>>, E> {
        let is_late = |round: &Round| round.began > since && round.began.elapsed() <= age;
        self.read_unless(is_late, read).await
    }

    async fn read_unless<E>(
        &self,
        is_enough: impl Fn(&Round) -> bool,
        read: impl AsyncFnOnce(&mut Beginning<'_>) -> Result<Vec<String>, E>,
    ) -> Result<Arc<Vec<String>>, E> {
        let _reading = self.reading.lock().await;
        let last = lock(&self.last).clone();
        if let Some(last) = last.filter(is_enough) {
            return Ok(last.operations);
        }
        let mut beginning = Beginning {
            begun: &self.begun,
            at: None,
        };
        let operations = Arc::new(read(&mut beginning).await?);
        if let Some((number, began)) = beginning.at {
            *lock(&self.last) = Some(Round {
                number,
                began,
                operations: Arc::clone(&operations),
            });
        }
        Ok(operations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(reads: &AtomicUsize, beginning: &mut Beginning<'_>) -> Result<Vec<String>, ()> {
        // Its turn.
        tokio::time::sleep(Duration::from_secs(1)).await;
        beginning.now();
        let number = reads.fetch_add(1, Ordering::SeqCst);
        // Its answer.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(vec![number.to_string()])
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_serves_those_who_asked_before_it_began_and_nobody_else() {
        let (rounds, reads) = (Rounds::default(), AtomicUsize::new(0));
        let after = async |millis| {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            let list = rounds.next(async |it| read(&reads, it).await).await;
            list.unwrap().first().cloned().unwrap()
        };
        // The list begins at 1 s; whoever asks at 1.5 s may miss what was accepted since.
        let seen = tokio::join!(after(0), after(500), after(999), after(1_500), after(1_600));
        let seen = [seen.0, seen.1, seen.2, seen.3, seen.4];
        assert_eq!(seen, ["0", "0", "0", "1", "1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_watches_is_content_with_a_list_that_is_young_and_began_later() {
        let (rounds, reads) = (Rounds::default(), AtomicUsize::new(0));
        let second = Duration::from_secs(1);
        let begin = Instant::now();
        let lately = async |since| {
            let list = rounds.lately(since, second, async |it| read(&reads, it).await);
            list.await.unwrap().first().cloned().unwrap()
        };
        assert_eq!(lately(begin).await, "0");
        assert_eq!(lately(begin).await, "0", "it is a second old");
        assert_eq!(lately(Instant::now()).await, "1", "it began before");
        tokio::time::sleep(second).await;
        assert_eq!(lately(begin).await, "2", "it is too old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_failed_serves_nobody() {
        let (rounds, reads) = (Rounds::default(), AtomicUsize::new(0));
        let fails = rounds.next(async |it| {
            read(&reads, it).await?;
            Err(())
        });
        let then = rounds.next(async |it| read(&reads, it).await);
        let (fails, then) = tokio::join!(fails, then);
        assert_eq!(fails, Err(()));
        assert_eq!(then.unwrap().first().unwrap(), "1");
    }
}
