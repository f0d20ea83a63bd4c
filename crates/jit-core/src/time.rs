//! Instants and durations as the domain uses them. Nothing here reads a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An absolute instant in UTC with microsecond precision.
///
/// Stored and shown as RFC 3339 (`2026-01-31T09:30:00.000001Z`). Arithmetic saturates at the years
/// 1970 and 9999 instead of overflowing, so no input can make it panic.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const LAST_MICROS: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The earliest instant that can be written: the Unix epoch.
    pub const MIN: Self = Self(0);
    /// The latest instant that can be written: the last microsecond of the year 9999.
    pub const MAX: Self = Self(LAST_MICROS);

    /// Microseconds since the Unix epoch, clamped to the range of this type.
    pub fn from_unix_micros(micros: i64) -> Self {
        Self(micros.clamp(0, LAST_MICROS))
    }

    /// Microseconds since the Unix epoch.
    pub fn unix_micros(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this instant is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        let micros = at.unix_timestamp_nanos() / 1_000;
        Self::from_unix_micros(i64::try_from(micros).unwrap_or(LAST_MICROS))
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(at: Timestamp) -> Self {
        Self::from_unix_timestamp_nanos(i128::from(at.0) * 1_000)
            .expect("a Timestamp is clamped to the years 1970 to 9999, which time can represent")
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, after: Duration) -> Self {
        let micros = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        Self::from_unix_micros(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, before: Duration) -> Self {
        let micros = i64::try_from(before.as_micros()).unwrap_or(i64::MAX);
        Self::from_unix_micros(self.0.saturating_sub(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = [0; 40];
        let mut free = room.as_mut_slice();
        let at = OffsetDateTime::from(*self);
        at.format_into(&mut free, &Rfc3339)
            .map_err(|_| fmt::Error)?;
        let free = free.len();
        let text = room.get(..room.len() - free).unwrap_or_default();
        f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an RFC 3339 instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an instant; write one as 2026-01-31T09:30:00Z")]
pub struct BadTimestamp(String);

impl FromStr for Timestamp {
    type Err = BadTimestamp;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339)
            .map(Self::from)
            .map_err(|_| BadTimestamp(text.chars().take(40).collect()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::read(deserializer)
    }
}

/// A duration that a person writes: a whole number and one of `s`, `m`, `h`, `d`.
///
/// From one second to 400 days. The forms are lower case only, because `30M` means thirty months
/// elsewhere and thirty minutes to whoever types it in a hurry.
///
/// ```
/// use jit_core::Ttl;
/// assert_eq!("90m".parse::<Ttl>().unwrap().as_secs(), 5_400);
/// assert_eq!("2h".parse::<Ttl>().unwrap().to_string(), "2h");
/// assert!("30M".parse::<Ttl>().is_err());
/// assert!("0s".parse::<Ttl>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u32);

/// The longest duration that a [`Ttl`] can hold: 400 days, in seconds.
pub const TTL_LIMIT_SECS: u32 = 400 * 86_400;

impl Ttl {
    /// An hour.
    pub const HOUR: Self = Self(3_600);

    /// A whole number of seconds, from 1 to 34 560 000 (400 days).
    pub fn from_secs(secs: u64) -> Result<Self, BadTtl> {
        match u32::try_from(secs) {
            Ok(0) => Err(BadTtl::Zero),
            Ok(secs) if secs <= TTL_LIMIT_SECS => Ok(Self(secs)),
            _ => Err(BadTtl::TooLong),
        }
    }

    /// Seconds.
    pub fn as_secs(self) -> u32 {
        self.0
    }

    /// The same as a standard duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTtl {
    /// Not a whole number followed by one of the units.
    #[error("a duration is a whole number and one of s, m, h, d in lower case, such as 30m or 4h")]
    Form,
    /// Nothing lasts zero seconds.
    #[error("a duration must be longer than zero")]
    Zero,
    /// Longer than [`TTL_LIMIT_SECS`].
    #[error("a duration may be at most 400d")]
    TooLong,
}

impl FromStr for Ttl {
    type Err = BadTtl;
    fn from_str(text: &str) -> Result<Self, BadTtl> {
        let unit = match text.as_bytes().last() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3_600,
            Some(b'd') => 86_400,
            _ => return Err(BadTtl::Form),
        };
        let digits = text.get(..text.len() - 1).ok_or(BadTtl::Form)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadTtl::Form);
        }
        let number: u64 = digits.parse().map_err(|_| BadTtl::TooLong)?;
        Self::from_secs(number.checked_mul(unit).ok_or(BadTtl::TooLong)?)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(86_400, 'd'), (3_600, 'h'), (60, 'm')] {
            if self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}s", self.0)
    }
}

impl Serialize for Ttl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::read(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_strictly() {
        for bad in [
            "", "0s", "0d", "-5m", "30M", "30", "m", "1.5h", "30 m", "+3m", "1y", "401d",
        ] {
            assert!(bad.parse::<Ttl>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!("99999999999999999999d".parse::<Ttl>(), Err(BadTtl::TooLong));
        assert_eq!("18446744073709551615d".parse::<Ttl>(), Err(BadTtl::TooLong));
        assert_eq!("400d".parse::<Ttl>().unwrap().as_secs(), TTL_LIMIT_SECS);
    }

    #[test]
    fn instants_saturate() {
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Duration::MAX, Timestamp::MIN);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn durations_survive_a_round_trip(secs in 1..=TTL_LIMIT_SECS) {
            let ttl = Ttl::from_secs(u64::from(secs)).unwrap();
            prop_assert_eq!(ttl.to_string().parse::<Ttl>().unwrap(), ttl);
        }

        #[test]
        fn no_text_makes_a_duration_panic(text in ".{0,40}") {
            let _ = text.parse::<Ttl>();
            let _ = text.parse::<Timestamp>();
        }

        #[test]
        fn instants_survive_a_round_trip(micros in 0..=LAST_MICROS) {
            let at = Timestamp::from_unix_micros(micros);
            prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        }
    }
}
