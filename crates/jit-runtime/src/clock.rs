//! The time and the chance of a real process. The only place that reads the system's clocks.

use std::sync::{Mutex, PoisonError};
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

/// What the wall clock showed when it was last believed, and the monotonic clock then.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    monotonic: Instant,
}

impl Reading {
    /// The present instant, and the reading that it follows from. A wall clock that was set back is
    /// not believed, and the last reading stands: what is cut from each sum of the two adds up to
    /// nothing.
    fn next(last: Option<Self>, wall: Timestamp, monotonic: Instant) -> (Timestamp, Self) {
        let this = Self { wall, monotonic };
        let Some(last) = last else {
            return (wall, this);
        };
        let elapsed: Duration = monotonic.saturating_duration_since(last.monotonic);
        let now = last.wall + elapsed;
        match wall >= now {
            true => (wall, this),
            false => (now, last),
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
        let (now, reading) = Reading::next(*last, wall, Instant::now());
        *last = Some(reading);
        now
    }

    /// Goes on while the machine is suspended, as the wall clock does: CLOCK_BOOTTIME of
    /// clock_gettime(2).
    #[cfg(target_os = "linux")]
    fn steady(&self) -> Duration {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(since_boot).unwrap_or_default()
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the Clock port's adapter; nothing else reads a clock"
    )]
    fn steady(&self) -> Duration {
        static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
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
            let monotonic = origin + Duration::from_millis(*monotonic);
            let (now, reading) = Reading::next(last, wall, monotonic);
            last = Some(reading);
            (now.unix_micros() - START) / 1_000
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
    fn the_steady_time_goes_on() {
        let first = SystemClock.steady();
        assert!(first > Duration::ZERO);
        let until = SystemClock.now() + Duration::from_millis(5);
        while SystemClock.now() < until {}
        let passed = SystemClock.steady() - first;
        assert!(passed >= Duration::from_millis(4), "{passed:?}");
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant can be had in no other way; only differences to it count"
    )]
    fn a_clock_that_is_read_often_while_the_wall_clock_is_behind_loses_nothing() {
        let (origin, wall) = (Instant::now(), Timestamp::from_unix_micros(START));
        let (mut now, mut last) = Reading::next(None, wall, origin);
        for read in 1..=100_000 {
            // A microsecond and a half, of which an instant holds one.
            let monotonic = origin + Duration::from_nanos(1_500) * read;
            (now, last) = Reading::next(Some(last), wall - Duration::from_secs(60), monotonic);
        }
        assert_eq!(now, wall + Duration::from_millis(150));
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
