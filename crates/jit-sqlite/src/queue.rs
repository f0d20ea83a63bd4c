//! Where calls hand in what a thread is to do for them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How long a job can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Access is taken away by it.
    Revoke,
    /// Somebody outside waits for it, and counts the seconds.
    Urgent,
    /// It takes its time.
    Usual,
}

/// Jobs in the order in which they came, those of each haste apart. It needs no ceiling of its own:
/// the store lets in only so many calls.
pub(crate) struct Queue<J> {
    /// How many threads share the jobs.
    threads: usize,
    waiting: Mutex<Waiting<J>>,
    arrived: Condvar,
}

struct Waiting<J> {
    revokes: VecDeque<J>,
    urgent: VecDeque<J>,
    jobs: VecDeque<J>,
    /// Threads that have nothing to do. One that is at work is not woken: it asks by itself.
    idle: usize,
    closed: bool,
}

impl<J> Waiting<J> {
    fn line(&mut self, haste: Haste) -> &mut VecDeque<J> {
        match haste {
            Haste::Revoke => &mut self.revokes,
            Haste::Urgent => &mut self.urgent,
            Haste::Usual => &mut self.jobs,
        }
    }

    fn is_empty(&self) -> bool {
        self.revokes.is_empty() && self.urgent.is_empty() && self.jobs.is_empty()
    }
}

impl<J> Queue<J> {
    pub(crate) fn shared_by(threads: usize) -> Self {
        Self {
            threads,
            waiting: Mutex::new(Waiting {
                revokes: VecDeque::new(),
                urgent: VecDeque::new(),
                jobs: VecDeque::new(),
                idle: 0,
                closed: false,
            }),
            arrived: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<J>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that was handed in was taken.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn push(&self, haste: Haste, job: J) {
        let mut waiting = self.lock();
        waiting.line(haste).push_back(job);
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

    /// Waits for jobs, and takes so many; none once it is closed and everything is done. The hastier
    /// ones come first, and leave a quarter of the places to the others.
    pub(crate) fn next(&self, limit: usize) -> Option<Vec<J>> {
        let mut waiting = self.lock();
        while waiting.is_empty() && !waiting.closed {
            waiting.idle += 1;
            let woken = self.arrived.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
            waiting.idle -= 1;
        }
        // The other threads have their part of what waits.
        let part = |line: &VecDeque<J>| line.len().div_ceil(self.threads);
        let (urgent, usual) = (part(&waiting.urgent), part(&waiting.jobs));
        let mut jobs = Vec::new();
        for (haste, behind) in [
            (Haste::Revoke, urgent + usual),
            (Haste::Urgent, usual),
            (Haste::Usual, 0),
        ] {
            let places = limit - jobs.len();
            let places = places - behind.min(places / 4);
            let line = waiting.line(haste);
            let count = part(line).min(places);
            jobs.extend(line.drain(..count));
        }
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

    fn queue_of(kinds: &[(Haste, &'static str, u32)]) -> Queue<(&'static str, u32)> {
        let queue = Queue::shared_by(1);
        for (haste, name, count) in kinds {
            (0..*count).for_each(|number| queue.push(*haste, (*name, number)));
        }
        queue
    }

    #[test]
    fn urgent_jobs_go_first_and_leave_a_quarter_to_the_others() {
        let queue = queue_of(&[(Haste::Usual, "usual", 3), (Haste::Urgent, "urgent", 7)]);
        let urgent = |first| [0_u32, 1, 2].map(|it| ("urgent", first + it));
        let taken = || queue.next(4).unwrap();
        assert_eq!(taken(), [&urgent(0)[..], &[("usual", 0)]].concat());
        assert_eq!(taken(), [&urgent(3)[..], &[("usual", 1)]].concat());
        assert_eq!(taken(), [("urgent", 6), ("usual", 2)], "whatever is left");
        queue.push(Haste::Urgent, ("urgent", 7));
        assert_eq!(taken(), [("urgent", 7)], "nobody else waits");
    }

    #[test]
    fn l3_revokes_go_first_and_leave_a_quarter_to_the_others() {
        let queue = queue_of(&[
            (Haste::Usual, "usual", 4),
            (Haste::Urgent, "urgent", 1),
            (Haste::Revoke, "revoke", 13),
        ]);
        let three = |first| [0_u32, 1, 2].map(|it| ("revoke", first + it));
        let taken = || queue.next(4).unwrap();
        assert_eq!(taken(), [&three(0)[..], &[("urgent", 0)]].concat());
        for number in 0..3 {
            let first = 3 + 3 * number;
            assert_eq!(taken(), [&three(first)[..], &[("usual", number)]].concat());
        }
        assert_eq!(taken(), [("revoke", 12), ("usual", 3)]);
        let queue = queue_of(&[(Haste::Revoke, "revoke", 5)]);
        assert_eq!(queue.next(4).unwrap().len(), 4, "nobody else waits");
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
