//! The simulator's time: the machine's plus an offset, or one that a test moves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::setup::Time;

/// `20261126T051752Z`, as signatures have it.
const BASIC: &[BorrowedFormatItem<'static>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// `Thu, 26 Nov 2026 05:17:52 GMT`, as HTTP has it.
const HTTP: &[BorrowedFormatItem<'static>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

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

    pub(crate) fn set(&mut self, to: i64) {
        match self {
            Self::Wall { ahead_micros } => *ahead_micros = to.saturating_sub(wall()),
            Self::Manual { now_micros } => *now_micros = to,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a simulated AWS keeps its own time"
)]
fn wall() -> i64 {
    micros(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// A length of time in microseconds, as long as the longest there is.
pub(crate) fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

/// A time on the wire: seconds, with a fraction.
#[expect(
    clippy::cast_precision_loss,
    reason = "seconds with three decimals are what AWS sends"
)]
pub(crate) fn epoch_seconds(at: i64) -> f64 {
    (at / 1000) as f64 / 1000.0
}

fn format(at: i64, how: &[BorrowedFormatItem<'static>]) -> String {
    OffsetDateTime::from_unix_timestamp(at.div_euclid(1_000_000))
        .ok()
        .and_then(|it| it.format(how).ok())
        .unwrap_or_default()
}

/// A time as signatures write it.
pub(crate) fn basic(at: i64) -> String {
    format(at, BASIC)
}

/// A time as HTTP's `Date` writes it.
pub(crate) fn http_date(at: i64) -> String {
    format(at, HTTP)
}

/// Reads a time that a signature has.
pub(crate) fn parse_basic(text: &str) -> Option<i64> {
    let at = time::PrimitiveDateTime::parse(text, BASIC).ok()?;
    at.assume_utc().unix_timestamp().checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::{basic, http_date, parse_basic};

    #[test]
    fn dates_are_written_as_the_protocols_have_them() {
        let at = parse_basic("20261126T051752Z").unwrap();
        assert_eq!(at, 1_795_670_272_000_000);
        assert_eq!(basic(at), "20261126T051752Z");
        assert_eq!(http_date(at), "Thu, 26 Nov 2026 05:17:52 GMT");
        assert_eq!(parse_basic("2026-11-26"), None);
    }
}
