//! Where calls hand in what a thread is to do for them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How long a job can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Somebody outside waits for it, and counts the seconds.
    Urgent,
    /// It takes its time.
    Usual,
}

/// Jobs in the order in which they came, the urgent ones apart. It needs no ceiling of its own: the
/// store lets in only so many calls.
pub(crate) struct Queue<J> {
    /// How many threads share the jobs.
    threads: usize,
    waiting: Mutex<Waiting<J>>,
    arrived: Condvar,
}

struct Waiting<J> {
    urgent: VecDeque<J>,
    jobs: VecDeque<J>,
    /// The last that was taken was urgent: now it is the turn of the others, if there are any.
    was_urgent: bool,
    /// Threads that have nothing to do. One that is at work is not woken: it asks by itself.
    idle: usize,
    closed: bool,
}

impl<J> Queue<J> {
    pub(crate) fn shared_by(threads: usize) -> Self {
        Self {
            threads,
            waiting: Mutex::new(Waiting {
                urgent: VecDeque::new(),
                jobs: VecDeque::new(),
                was_urgent: false,
                idle: 0,
                closed: false,
            }),
            arrived: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<J>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, haste: Haste, job: J) {
        let mut waiting = self.lock();
        match haste {
            Haste::Urgent => waiting.urgent.push_back(job),
            Haste::Usual => waiting.jobs.push_back(job),
        }
        let somebody_sleeps = waiting.idle > 0;
        drop(waiting);
        if somebody_sleeps {
            self.arrived.notify_one();
        }
    }

    /// Nothing more comes; what was handed in is done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Waits for jobs of one haste, and takes so many; none once it is closed and everything is done.
    /// Where both wait they take turns: nothing waits for more than what is taken before it at once.
    pub(crate) fn next(&self, limit: usize) -> Option<Vec<J>> {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() && waiting.urgent.is_empty() && !waiting.closed {
            waiting.idle += 1;
            let woken = self.arrived.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
            waiting.idle -= 1;
        }
        let is_urgent = match (waiting.urgent.is_empty(), waiting.jobs.is_empty()) {
            (false, false) => !waiting.was_urgent,
            (is_empty, _) => !is_empty,
        };
        waiting.was_urgent = is_urgent;
        let line = match is_urgent {
            true => &mut waiting.urgent,
            false => &mut waiting.jobs,
        };
        // The other threads have their part of what waits.
        let count = line.len().div_ceil(self.threads).min(limit);
        let jobs: Vec<J> = line.drain(..count).collect();
        (!jobs.is_empty()).then_some(jobs)
    }
}

impl<J> fmt::Debug for Queue<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_jobs_go_first_and_take_turns_with_the_others() {
        let queue = Queue::shared_by(1);
        for number in 0..3 {
            queue.push(Haste::Usual, ("usual", number));
        }
        for number in 0..5 {
            queue.push(Haste::Urgent, ("urgent", number));
        }
        let taken = || queue.next(2).unwrap();
        assert_eq!(taken(), [("urgent", 0), ("urgent", 1)]);
        assert_eq!(taken(), [("usual", 0), ("usual", 1)]);
        assert_eq!(taken(), [("urgent", 2), ("urgent", 3)]);
        assert_eq!(taken(), [("usual", 2)]);
        assert_eq!(taken(), [("urgent", 4)]);
        queue.push(Haste::Urgent, ("urgent", 5));
        assert_eq!(taken(), [("urgent", 5)], "nobody else waits");
    }

    #[test]
    fn threads_share_what_waits() {
        let queue = Queue::shared_by(2);
        for number in 0..5 {
            queue.push(Haste::Usual, number);
        }
        assert_eq!(queue.next(9).unwrap(), [0, 1, 2]);
        assert_eq!(queue.next(9).unwrap(), [3]);
        assert_eq!(queue.next(9).unwrap(), [4]);
    }

    #[test]
    fn what_was_handed_in_before_the_end_is_still_given() {
        let queue = Queue::shared_by(1);
        queue.push(Haste::Usual, 1);
        queue.close();
        assert_eq!(queue.next(9), Some(vec![1]));
        assert_eq!(queue.next(9), None);
    }

    #[test]
    fn a_thread_that_sleeps_is_woken() {
        let queue = Queue::shared_by(1);
        std::thread::scope(|threads| {
            let waits = threads.spawn(|| queue.next(1));
            while queue.lock().idle == 0 {
                std::thread::yield_now();
            }
            queue.push(Haste::Usual, 7);
            assert_eq!(waits.join().unwrap(), Some(vec![7]));
        });
    }
}
