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
    /// The last that was taken was urgent: now it is the turn of the usual, if there are any.
    was_urgent: bool,
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

    /// Whose turn it is of those that are no revokes. Where both wait they take turns: nothing waits
    /// for more than what is taken before it at once.
    fn turn(&mut self) -> Haste {
        let is_urgent = match (self.urgent.is_empty(), self.jobs.is_empty()) {
            (false, false) => !self.was_urgent,
            (is_empty, _) => !is_empty,
        };
        self.was_urgent = is_urgent;
        match is_urgent {
            true => Haste::Urgent,
            false => Haste::Usual,
        }
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

    /// Waits for jobs, and takes so many; none once it is closed and everything is done. Revokes come
    /// first, and leave a quarter of the places to those of one other haste that wait.
    pub(crate) fn next(&self, limit: usize) -> Option<Vec<J>> {
        let mut waiting = self.lock();
        while waiting.is_empty() && !waiting.closed {
            waiting.idle += 1;
            let woken = self.arrived.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
            waiting.idle -= 1;
        }
        // The other threads have their part of what waits.
        let part = |length: usize| length.div_ceil(self.threads);
        let turn = waiting.turn();
        let others = part(waiting.line(turn).len()).min(limit);
        let revokes = part(waiting.revokes.len()).min(limit - others.min(limit / 4));
        let mut jobs: Vec<J> = waiting.revokes.drain(..revokes).collect();
        let others = others.min(limit - revokes);
        jobs.extend(waiting.line(turn).drain(..others));
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
    fn l3_revokes_go_first_and_leave_a_quarter_to_the_others() {
        let queue = Queue::shared_by(1);
        for number in 0..4 {
            queue.push(Haste::Usual, ("usual", number));
        }
        for number in 0..9 {
            queue.push(Haste::Revoke, ("revoke", number));
        }
        let taken = || queue.next(4).unwrap();
        let three = |first| [0, 1, 2].map(|it| ("revoke", first + it));
        assert_eq!(taken(), [&three(0)[..], &[("usual", 0)]].concat());
        assert_eq!(taken(), [&three(3)[..], &[("usual", 1)]].concat());
        queue.push(Haste::Urgent, ("urgent", 0));
        assert_eq!(taken(), [&three(6)[..], &[("urgent", 0)]].concat());
        for number in 9..15 {
            queue.push(Haste::Revoke, ("revoke", number));
        }
        assert_eq!(taken(), [&three(9)[..], &[("usual", 2)]].concat());
        assert_eq!(taken(), [&three(12)[..], &[("usual", 3)]].concat());
        for number in 15..20 {
            queue.push(Haste::Revoke, ("revoke", number));
        }
        assert_eq!(taken(), [15, 16, 17, 18].map(|it| ("revoke", it)));
        assert_eq!(taken(), [("revoke", 19)]);
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
