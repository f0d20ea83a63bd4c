//! When something is asked about, as a person writes it. What is so then is not for here.

use std::str::FromStr;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::policy::Hours;

use crate::operate::OperateError;

/// An instant, or the next time that a clock somewhere shows something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// This very instant.
    At(Timestamp),
    /// The next minute within these hours.
    Next(Hours),
}

/// The days of the week; three letters of one are enough.
const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

impl FromStr for Moment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let rule = "write an instant, as in 2026-11-29T03:00:00Z, or a day, a time and a zone, as in \
                    \"sun 03:00 Europe/Berlin\"";
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let [day, time, zone] = words.as_slice() else {
            return Err(rule.to_owned());
        };
        let short = DAYS.iter().find_map(|name| {
            let short = name.get(..3)?;
            let is_meant = [*name, short].iter().any(|it| it.eq_ignore_ascii_case(day));
            is_meant.then_some(short)
        });
        let short = short.ok_or_else(|| format!("{day:?} is no day of the week; {rule}"))?;
        let below = |text: &str, limit| text.parse::<u16>().ok().filter(|it| *it < limit);
        let parts = time.split_once(':');
        let parts = parts.and_then(|(hour, minute)| below(hour, 24).zip(below(minute, 60)));
        let (hour, minute) =
            parts.ok_or_else(|| format!("{time:?} is no time from 00:00 to 23:59; {rule}"))?;
        let end = hour * 60 + minute + 1;
        let hours = format!(
            "{short} {hour:02}:{minute:02}-{:02}:{:02} {zone}",
            end / 60,
            end % 60
        );
        let hours: Hours = hours.parse().map_err(|error| format!("{error}; {rule}"))?;
        Ok(Self::Next(hours))
    }
}

impl Moment {
    /// The instant, as seen from now.
    pub(super) fn instant(&self, now: Timestamp) -> Result<Timestamp, OperateError> {
        let hours = match self {
            Self::At(at) => return Ok(*at),
            Self::Next(hours) => hours,
        };
        let minute = Duration::from_secs(60);
        let into = now.unix_micros().rem_euclid(60_000_000).unsigned_abs();
        let mut at = now - Duration::from_micros(into);
        // A week and the day on which clocks change.
        for _ in 0..(8 * 24 * 60) {
            at = at + minute;
            if hours.contain(at) {
                return Ok(at);
            }
        }
        let hours = hours.clone();
        Err(OperateError::NoSuchTime { hours })
    }
}
