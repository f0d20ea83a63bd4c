//! The time and the chance of a real process. The only place that reads the system's clocks.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jit_core::Timestamp;
use jit_core::ports::{Clock, Random};
use time::OffsetDateTime;

/// The wall clock, except that it never runs backwards within this process.
///
/// `now` is the larger of the wall clock and the last reading plus the monotonic time since. A wall
/// clock that is set back is ignored until it has caught up; one that is set forward is believed.
/// Every `SystemClock` of a process is the same clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// The last reading of this process.
static LAST: Mutex<Option<Reading>> = Mutex::new(None);

/// What was answered, and what the monotonic clock showed then.
#[derive(Debug, Clone, Copy)]
struct Reading {
    now: Timestamp,
    monotonic: Instant,
}

impl Reading {
    /// The reading that follows this one.
    fn next(last: Option<Self>, wall: Timestamp, monotonic: Instant) -> Self {
        let Some(last) = last else {
            return Self {
                now: wall,
                monotonic,
            };
        };
        let elapsed: Duration = monotonic.saturating_duration_since(last.monotonic);
        Self {
            now: wall.max(last.now + elapsed),
            monotonic: monotonic.max(last.monotonic),
        }
    }
}

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the Clock port's adapter; nothing else reads a clock"
    )]
    fn now(&self) -> Timestamp {
        // A Reading is replaced whole, so a thread that panicked here left a sound one.
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = OffsetDateTime::now_utc().into();
        let reading = Reading::next(*last, wall, Instant::now());
        *last = Some(reading);
        reading.now
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the Clock port's adapter; nothing else reads a clock"
    )]
    fn steady(&self) -> Duration {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        FIRST.get_or_init(Instant::now).elapsed()
    }
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system has a generator of random bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_800_000_000_000_000;

    /// Readings at (milliseconds on the wall, milliseconds on the monotonic clock).
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant can be had in no other way; only differences to it count"
    )]
    fn readings(steps: &[(i64, u64)]) -> Vec<i64> {
        let origin = Instant::now();
        let mut last = None;
        let read = |(wall, monotonic): &(i64, u64)| {
            let wall = Timestamp::from_unix_micros(START + wall * 1_000);
            let reading = Reading::next(last, wall, origin + Duration::from_millis(*monotonic));
            last = Some(reading);
            (reading.now.unix_micros() - START) / 1_000
        };
        steps.iter().map(read).collect()
    }

    #[test]
    fn a_wall_clock_set_back_never_moves_now_back() {
        let set_back = [(0, 0), (1_000, 1_000), (-59_000, 1_500), (-58_000, 2_500)];
        assert_eq!(readings(&set_back), [0, 1_000, 1_500, 2_500]);
    }

    #[test]
    fn a_wall_clock_that_has_caught_up_is_believed_again() {
        let caught_up = [(0, 0), (-5_000, 1_000), (9_000, 2_000), (10_000, 3_000)];
        assert_eq!(readings(&caught_up), [0, 1_000, 9_000, 10_000]);
    }

    #[test]
    fn time_slept_through_counts_by_the_wall_clock() {
        // The monotonic clock stands still while a machine is suspended.
        assert_eq!(readings(&[(0, 0), (3_600_000, 10)]), [0, 3_600_000]);
    }

    #[test]
    fn a_wall_clock_that_stands_still_does_not_stop_time() {
        assert_eq!(readings(&[(0, 0), (0, 700), (0, 1_400)]), [0, 700, 1_400]);
    }

    #[test]
    fn now_never_runs_backwards_over_threads() {
        let read = || (0..2_000).map(|_| SystemClock.now()).collect::<Vec<_>>();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(read)).collect();
            for thread in threads {
                assert!(thread.join().unwrap().is_sorted());
            }
        });
    }

    #[test]
    fn random_bytes_differ() {
        let mut drawn = [[0_u8; 32]; 2];
        for buffer in &mut drawn {
            OsRandom.fill(buffer);
        }
        assert_ne!(drawn[0], drawn[1]);
        assert_ne!(drawn[0], [0; 32]);
    }
}
