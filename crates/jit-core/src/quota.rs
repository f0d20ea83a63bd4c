//! How fast a provider may be called: a token bucket over the given time, that whatever gives access
//! may use the top quarter of only, so that revokes own at least three quarters of it (L3).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ports::Purpose;
use crate::time::Timestamp;

/// A provider that asks for a longer pause than this is asked again after it.
const PAUSE_LIMIT: Duration = Duration::from_secs(60);

/// Calls per time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls per second in the long run; at least one.
    pub per_second: u32,
    /// Calls at once after a pause; at least four.
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            per_second: 50,
            burst: 100,
        }
    }
}

/// A quota that any number of callers draw on.
#[derive(Debug)]
pub struct Quota {
    rate: Rate,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// In thousandths of a call.
    level: u64,
    filled_at: Timestamp,
    closed_until: Timestamp,
    closed_to_giving_until: Timestamp,
}

impl Quota {
    /// A quota that nobody has drawn on.
    pub fn new(rate: Rate, now: Timestamp) -> Self {
        let rate = Rate {
            per_second: rate.per_second.max(1),
            burst: rate.burst.max(4),
        };
        let bucket = Bucket {
            level: u64::from(rate.burst) * 1_000,
            filled_at: now,
            closed_until: Timestamp::MIN,
            closed_to_giving_until: Timestamp::MIN,
        };
        Self {
            rate,
            bucket: Mutex::new(bucket),
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one call out, or says how long to wait before it is asked again.
    pub fn draw(&self, purpose: Purpose, now: Timestamp) -> Result<(), Duration> {
        let mut bucket = self.bucket();
        let closed_until = match purpose {
            Purpose::Give => bucket.closed_to_giving_until.max(bucket.closed_until),
            Purpose::TakeAway => bucket.closed_until,
        };
        if now < closed_until {
            return Err(closed_until.since(now));
        }
        let full = u64::from(self.rate.burst) * 1_000;
        let micros = u64::try_from(now.since(bucket.filled_at).as_micros()).unwrap_or(u64::MAX);
        let gained = micros.saturating_mul(u64::from(self.rate.per_second)) / 1_000;
        if gained > 0 {
            bucket.level = bucket.level.saturating_add(gained).min(full);
            bucket.filled_at = now;
        }
        let floor = match purpose {
            Purpose::Give => full / 4 * 3,
            Purpose::TakeAway => 0,
        };
        let needed = floor + 1_000;
        if bucket.level < needed {
            let missing = needed - bucket.level;
            let millis = missing.div_ceil(u64::from(self.rate.per_second));
            return Err(Duration::from_millis(millis.max(1)));
        }
        bucket.level -= 1_000;
        Ok(())
    }

    /// Learns from the answer to a call of this purpose that the provider wants to be left alone for
    /// this long. What a call that gives was told holds no revoke back: it asks for itself.
    pub fn pause(&self, purpose: Purpose, wait: Duration, now: Timestamp) {
        let mut bucket = self.bucket();
        let until = now + wait.min(PAUSE_LIMIT);
        let closed = match purpose {
            Purpose::Give => &mut bucket.closed_to_giving_until,
            Purpose::TakeAway => &mut bucket.closed_until,
        };
        *closed = (*closed).max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_micros(1_000_000_000_000 + millis * 1_000)
    }

    fn quota(per_second: u32, burst: u32) -> Quota {
        Quota::new(Rate { per_second, burst }, at(0))
    }

    #[test]
    fn l3_giving_uses_the_top_quarter_and_revoking_all_of_it() {
        let quota = quota(1, 100);
        let drawn = |purpose| {
            (0..100)
                .filter(|_| quota.draw(purpose, at(0)).is_ok())
                .count()
        };
        assert_eq!(drawn(Purpose::Give), 25);
        assert_eq!(drawn(Purpose::TakeAway), 75);
        assert!(quota.draw(Purpose::TakeAway, at(0)).is_err());
    }

    #[test]
    fn the_bucket_fills_at_its_rate_and_says_how_long_to_wait() {
        let quota = quota(10, 4);
        while quota.draw(Purpose::TakeAway, at(0)).is_ok() {}
        let wait = quota.draw(Purpose::TakeAway, at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(quota.draw(Purpose::TakeAway, at(99)).is_err());
        assert!(quota.draw(Purpose::TakeAway, at(100)).is_ok());
        assert!(quota.draw(Purpose::TakeAway, at(100)).is_err());
    }

    #[test]
    fn a_pause_is_obeyed_and_is_never_longer_than_a_minute() {
        let quota = quota(10, 4);
        quota.pause(Purpose::TakeAway, Duration::from_secs(600), at(0));
        for purpose in [Purpose::Give, Purpose::TakeAway] {
            assert!(quota.draw(purpose, at(59_999)).is_err());
            assert!(quota.draw(purpose, at(60_000)).is_ok());
        }
    }

    #[test]
    fn l3_a_pause_that_giving_was_told_of_holds_no_revoke_back() {
        let quota = quota(10, 4);
        quota.pause(Purpose::Give, Duration::from_secs(5), at(0));
        assert!(quota.draw(Purpose::Give, at(4_999)).is_err());
        assert!(quota.draw(Purpose::TakeAway, at(0)).is_ok());
        assert!(quota.draw(Purpose::Give, at(5_000)).is_ok());
    }
}
