//! The simulator's time: the machine's plus an offset, or one that a test moves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::setup::Time;

#[derive(Debug)]
pub(crate) enum SimClock {
    Wall { ahead_micros: i64 },
    Manual { now_micros: i64 },
}

impl SimClock {
    pub(crate) fn new(time: Time) -> Self {
        match time {
            Time::Wall => Self::Wall { ahead_micros: 0 },
            Time::Manual { now_micros } => Self::Manual { now_micros },
        }
    }

    pub(crate) fn now(&self) -> i64 {
        match self {
            Self::Wall { ahead_micros } => wall().saturating_add(*ahead_micros),
            Self::Manual { now_micros } => *now_micros,
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let by = micros(time);
        match self {
            Self::Wall { ahead_micros } => *ahead_micros = ahead_micros.saturating_add(by),
            Self::Manual { now_micros } => *now_micros = now_micros.saturating_add(by),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a simulated Vault keeps its own time"
)]
fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    micros(since.unwrap_or_default())
}

/// A length of time in microseconds, as long as the longest there is.
pub(crate) fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

/// So many seconds after an instant.
pub(crate) fn after(at: i64, seconds: u64) -> i64 {
    at.saturating_add(micros(Duration::from_secs(seconds)))
}

/// Whole seconds from one instant to a later one; 0 where it is not later.
pub(crate) fn seconds_between(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from) / 1_000_000).unwrap_or(0)
}

/// A time as the API writes it.
pub(crate) fn iso(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1000)
        .ok()
        .and_then(|it| it.format(&Rfc3339).ok())
        .unwrap_or_default()
}
