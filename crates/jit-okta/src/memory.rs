//! What was found out a while ago. Whoever asks for the same thing at the same time waits for one
//! answer, failures are never remembered, and there is never more than so much of it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::Clock;

/// Answers by what they were asked for.
pub(crate) struct Memory<K, V> {
    clock: Arc<dyn Clock>,
    most: usize,
    entries: Mutex<HashMap<K, Arc<Entry<V>>>>,
}

struct Entry<V> {
    known: Mutex<Option<Known<V>>>,
    /// Held by whoever asks, so that everybody else waits for that answer.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Known<V> {
    answer: V,
    /// When it began to be asked for: it was true then or later.
    asked_at: Timestamp,
}

/// An answer for whoever only looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lately<V> {
    /// New enough.
    Fresh(V),
    /// To be found out again, behind the back of whoever looks.
    Old(V),
    Unknown,
}

impl<K, V> fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Clone> Entry<V> {
    fn new() -> Self {
        Self {
            known: Mutex::default(),
            asking: Arc::default(),
        }
    }

    fn since(&self, since: Timestamp) -> Option<V> {
        let known = locked(&self.known);
        let known = known.as_ref().filter(|known| known.asked_at >= since)?;
        Some(known.answer.clone())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Memory<K, V> {
    pub(crate) fn new(most: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            most,
            entries: Mutex::default(),
        }
    }

    fn entry(&self, key: &K) -> Arc<Entry<V>> {
        let mut entries = locked(&self.entries);
        if entries.len() >= self.most && !entries.contains_key(key) {
            // Whoever is asking right now keeps their entry; the rest can be found out again.
            entries.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        let entry = entries
            .entry(key.clone())
            .or_insert_with(|| Arc::new(Entry::new()));
        Arc::clone(entry)
    }

    /// An answer that was true at most so long before this call, whoever asked for it.
    pub(crate) async fn now<E>(
        &self,
        key: &K,
        at_most: Duration,
        find: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        // However long it takes, it counts from here.
        let since = self.clock.now() - at_most;
        let entry = self.entry(key);
        if let Some(answer) = entry.since(since) {
            return Ok(answer);
        }
        let _asking = entry.asking.lock().await;
        // Whoever asked meanwhile asked for everybody.
        if let Some(answer) = entry.since(since) {
            return Ok(answer);
        }
        let asked_at = self.clock.now();
        let answer = find.await?;
        *locked(&entry.known) = Some(Known {
            answer: answer.clone(),
            asked_at,
        });
        Ok(answer)
    }

    /// What is known, without waiting for anybody.
    pub(crate) fn lately(&self, key: &K, fresh: Duration, kept: Duration) -> Lately<V> {
        let entry = locked(&self.entries).get(key).cloned();
        let Some(entry) = entry else {
            return Lately::Unknown;
        };
        let now = self.clock.now();
        match (entry.since(now - fresh), entry.since(now - kept)) {
            (Some(answer), _) => Lately::Fresh(answer),
            (None, Some(answer)) => Lately::Old(answer),
            (None, None) => Lately::Unknown,
        }
    }

    /// Whether somebody is asking for this already.
    pub(crate) fn is_asked_for(&self, key: &K) -> bool {
        let entry = locked(&self.entries).get(key).cloned();
        entry.is_some_and(|entry| entry.asking.try_lock().is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_testkit::time::ManualClock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const SECOND: Duration = Duration::from_secs(1);

    fn memory(most: usize) -> (Arc<ManualClock>, Memory<u32, usize>) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_micros(1 << 40)));
        (Arc::clone(&clock), Memory::new(most, clock))
    }

    #[tokio::test]
    async fn whoever_asks_at_the_same_time_waits_for_one_answer() {
        let (_, memory) = memory(10);
        let asked = AtomicUsize::new(0);
        let ask = || async {
            tokio::task::yield_now().await;
            Ok::<_, ()>(asked.fetch_add(1, Ordering::SeqCst))
        };
        let all = (0..20).map(|_| memory.now(&1, SECOND, ask()));
        let answers = futures_util::future::join_all(all).await;
        assert!(answers.iter().all(|answer| *answer == Ok(0)));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_answer_is_as_old_as_the_question_and_a_failure_is_none() {
        let (clock, memory) = memory(10);
        let failed = memory.now(&1, SECOND, async { Err(()) }).await;
        assert_eq!(failed, Err(()));
        assert_eq!(memory.lately(&1, SECOND, SECOND), Lately::Unknown);
        let slow = async {
            clock.advance(SECOND);
            Ok::<_, ()>(7)
        };
        assert_eq!(memory.now(&1, SECOND, slow).await, Ok(7));
        // It began a second ago.
        let again = memory.now(&1, SECOND, async { Ok::<_, ()>(8) }).await;
        assert_eq!(again, Ok(7));
        clock.advance(Duration::from_micros(1));
        let again = memory.now(&1, SECOND, async { Ok::<_, ()>(8) }).await;
        assert_eq!(again, Ok(8));
        clock.advance(2 * SECOND);
        assert_eq!(memory.lately(&1, SECOND, 3 * SECOND), Lately::Old(8));
        assert_eq!(memory.lately(&1, SECOND, SECOND), Lately::Unknown);
        assert_eq!(memory.lately(&1, 3 * SECOND, SECOND), Lately::Fresh(8));
    }

    #[tokio::test]
    async fn it_is_never_larger_than_it_may_be() {
        let (_, memory) = memory(10);
        for key in 0..1_000 {
            let answer = memory.now(&key, SECOND, async { Ok::<_, ()>(1) }).await;
            assert_eq!(answer, Ok(1));
            assert!(locked(&memory.entries).len() <= 10);
        }
    }
}
