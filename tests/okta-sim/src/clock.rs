//! The simulator's time: the machine's plus an offset, or one that a test moves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::setup::Time;

/// `2026-11-26T05:17:52.000Z`, as Okta writes times in its answers.
const ISO: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// `2026-11-26T05:17:52Z`, as PagerDuty writes times in its answers.
const ISO_SECONDS: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

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
    reason = "a simulated Okta keeps its own time"
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

/// Whole seconds since 1970.
pub(crate) fn seconds(at: i64) -> i64 {
    at.div_euclid(1_000_000)
}

fn format(at: i64, how: &[BorrowedFormatItem<'static>]) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1000)
        .ok()
        .and_then(|it| it.format(how).ok())
        .unwrap_or_default()
}

/// A time as the API writes it.
pub(crate) fn iso(at: i64) -> String {
    format(at, ISO)
}

/// A time as PagerDuty writes it.
pub(crate) fn iso_seconds(at: i64) -> String {
    format(at, ISO_SECONDS)
}

/// A time as HTTP's `Date` writes it.
pub(crate) fn http_date(at: i64) -> String {
    format(at, HTTP)
}

/// Reads a time as RFC 3339 has it.
pub(crate) fn parse_iso(text: &str) -> Option<i64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::{http_date, iso, iso_seconds, parse_iso};

    #[test]
    fn dates_are_written_as_okta_and_http_have_them() {
        let at = parse_iso("2026-11-26T05:17:52.123Z").unwrap();
        assert_eq!(at, 1_795_670_272_123_000);
        assert_eq!(iso(at), "2026-11-26T05:17:52.123Z");
        assert_eq!(iso_seconds(at), "2026-11-26T05:17:52Z");
        assert_eq!(http_date(at), "Thu, 26 Nov 2026 05:17:52 GMT");
        assert_eq!(parse_iso("2026-11-26T06:17:52.123+01:00"), Some(at));
        assert_eq!(parse_iso("2026-11-26"), None);
    }
}
