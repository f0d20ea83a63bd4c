//! Hours: on which days, between which times, on whose clock a rule counts. Read from one line, as a
//! person writes it, and judged by the rules of the zone, so that nine in the morning stays nine in
//! the morning when clocks change.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tz::TimeZoneRef;

use crate::principal::BadName;
use crate::time::Timestamp;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u16 = 24 * 60;
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const RULE: &str = "write days, hours and a zone, as in \"mon-fri 09:00-18:00 Europe/Berlin\" or \
                    \"sat,sun 00:00-24:00 UTC\"";

/// On which days, between which times, on whose clock: `mon-fri 09:00-18:00 Europe/Berlin`.
///
/// Hours that end before they begin go on until the next morning and belong to the day on which they
/// begin. The zones are those of the IANA database, by its names.
///
/// ```
/// use jit_core::policy::Hours;
/// let hours: Hours = "mon-fri 09:00-18:00 Europe/Berlin".parse().unwrap();
/// // A Friday in July, at five and at six in the afternoon there.
/// assert!(hours.contain("2026-07-31T15:00:00Z".parse().unwrap()));
/// assert!(!hours.contain("2026-07-31T16:00:00Z".parse().unwrap()));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Hours {
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes after midnight.
    from: u16,
    /// Minutes after midnight; at most a day.
    until: u16,
    zone: Zone,
}

/// A time zone by its name in the IANA database.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: &'static str,
    rules: TimeZoneRef<'static>,
}

impl Zone {
    /// The day there, counted from the first of January 1970, and the minute of the day.
    fn local(&self, at: Timestamp) -> (i64, i64) {
        let seconds = at.unix_micros().div_euclid(1_000_000);
        let offset = self.rules.find_local_time_type(seconds);
        // The rules of every zone go on for ever; without one it is the time of Greenwich.
        let offset = offset.map_or(0, |found| i64::from(found.ut_offset()));
        let local = seconds + offset;
        (local.div_euclid(86_400), local.rem_euclid(86_400) / 60)
    }
}

impl FromStr for Zone {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let known = tzdb_data::TZ_NAMES.iter();
        let name = known.copied().find(|name| name.eq_ignore_ascii_case(text));
        let zone = name.and_then(|name| {
            let rules = *tzdb_data::find_tz(name.as_bytes())?;
            Some(Self { name, rules })
        });
        let rule = "write a zone of the IANA database, as in Europe/Berlin or UTC";
        zone.ok_or_else(|| BadName::new("a time zone", text, rule))
    }
}

impl Hours {
    /// Whether this instant is within them.
    pub fn contain(&self, at: Timestamp) -> bool {
        self.began_on(at).is_some()
    }

    /// The day there on which the hours began that this instant is within, counted from the first of
    /// January 1970.
    pub fn began_on(&self, at: Timestamp) -> Option<i64> {
        let (today, minute) = self.zone.local(at);
        let (from, until) = (i64::from(self.from), i64::from(self.until));
        // That first day was a Thursday.
        let on = |day: &i64| self.days & (1 << (day + 3).rem_euclid(7)) != 0;
        let began = match from < until {
            true if (from..until).contains(&minute) => Some(today),
            true => None,
            false if minute >= from && on(&today) => Some(today),
            false if minute < until => Some(today - 1),
            false => None,
        };
        began.filter(on)
    }

    /// Whether any instant of this time is within them.
    pub fn touch(&self, from: Timestamp, until: Timestamp) -> bool {
        // In a week every day comes round.
        until.since(from) >= WEEK || self.first_within(from, until).is_some()
    }

    /// The first instant of this time that is within them.
    pub fn first_within(&self, from: Timestamp, until: Timestamp) -> Option<Timestamp> {
        if self.contain(from) {
            return Some(from);
        }
        let minute = Duration::from_secs(60);
        let into = from.unix_micros().rem_euclid(60_000_000).unsigned_abs();
        let mut at = from + (minute - Duration::from_micros(into));
        // What does not come within a week, and an hour that the clocks skip, never does.
        while at <= until && at.since(from) <= 2 * WEEK {
            if self.contain(at) {
                return Some(at);
            }
            at = at + minute;
        }
        None
    }
}

fn day(text: &str) -> Option<usize> {
    DAYS.iter().position(|day| text.eq_ignore_ascii_case(day))
}

/// `mon-fri`, `sat,sun`, `mon-wed,fri`, as bits.
fn days(text: &str) -> Option<u8> {
    let mut bits = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let mut at = first;
        loop {
            bits |= 1 << at;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Some(bits)
}

/// `09:00`, in minutes.
fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let at = hour * 60 + minute;
    (minute < 60 && at <= DAY_MINUTES).then_some(at)
}

impl FromStr for Hours {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::new("hours", text, RULE);
        let mut words = text.split_whitespace();
        let (Some(on), Some(between), Some(zone), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad());
        };
        let days = days(on).ok_or_else(bad)?;
        let (from, until) = between.split_once('-').ok_or_else(bad)?;
        let (from, until) = minutes(from).zip(minutes(until)).ok_or_else(bad)?;
        // Neither nothing nor a whole day: nobody could tell which was meant.
        if from == until || from == DAY_MINUTES {
            return Err(bad());
        }
        Ok(Self {
            days,
            from,
            until,
            zone: zone.parse()?,
        })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |day: usize| self.days & (1 << day) != 0;
        let mut runs: Vec<(&str, &str)> = vec![];
        let mut going_on = false;
        for (index, name) in DAYS.iter().enumerate() {
            match (has(index), runs.last_mut().filter(|_| going_on)) {
                (true, Some(run)) => run.1 = name,
                (true, None) => runs.push((name, name)),
                (false, _) => {}
            }
            going_on = has(index);
        }
        let runs: Vec<String> = runs
            .into_iter()
            .map(|(first, last)| match first == last {
                true => first.to_owned(),
                false => format!("{first}-{last}"),
            })
            .collect();
        let clock = |at: u16| format!("{:02}:{:02}", at / 60, at % 60);
        write!(
            f,
            "{} {}-{} {}",
            runs.join(","),
            clock(self.from),
            clock(self.until),
            self.zone.name
        )
    }
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Hours {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::read(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(text: &str) -> Hours {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_begin_with_their_first_minute_and_end_before_their_last() {
        let hours = hours("mon-fri 09:00-18:00 UTC");
        assert!(!hours.contain(at("2026-11-26T08:59:59.999999Z")));
        assert!(hours.contain(at("2026-11-26T09:00:00Z")));
        assert!(hours.contain(at("2026-11-26T17:59:59.999999Z")));
        assert!(!hours.contain(at("2026-11-26T18:00:00Z")));
        assert!(!hours.contain(at("2026-11-28T12:00:00Z")), "a Saturday");
    }

    #[test]
    fn nine_stays_nine_when_clocks_change() {
        let hours = hours("mon-sun 09:00-10:00 America/New_York");
        // The second Sunday in March, at which two in the morning is three.
        assert!(hours.contain(at("2026-03-07T14:30:00Z")));
        assert!(!hours.contain(at("2026-03-07T13:30:00Z")));
        assert!(hours.contain(at("2026-03-09T13:30:00Z")));
        assert!(!hours.contain(at("2026-03-09T14:30:00Z")));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let hours = hours("fri 22:00-06:00 UTC");
        assert!(!hours.contain(at("2026-11-27T05:00:00Z")), "Friday morning");
        assert!(hours.contain(at("2026-11-27T22:00:00Z")));
        assert!(hours.contain(at("2026-11-28T05:59:00Z")));
        assert!(!hours.contain(at("2026-11-28T06:00:00Z")));
        assert!(!hours.contain(at("2026-11-28T22:00:00Z")));
    }

    #[test]
    fn a_time_touches_hours_that_begin_within_it() {
        let hours = hours("mon-fri 09:00-18:00 UTC");
        let friday_evening = at("2026-11-27T18:00:00Z");
        assert!(!hours.touch(friday_evening, at("2026-11-30T08:59:59Z")));
        assert!(hours.touch(friday_evening, at("2026-11-30T09:00:00Z")));
        assert!(hours.touch(friday_evening, at("2027-11-30T08:00:00Z")));
        assert!(hours.touch(at("2026-11-27T17:59:59Z"), friday_evening));
        assert!(!hours.touch(friday_evening, friday_evening));
    }

    #[test]
    fn what_a_person_writes_is_read_and_written_alike_or_refused() {
        for text in [
            "mon-fri 09:00-18:00 Europe/Berlin",
            "sat-sun 00:00-24:00 UTC",
            "mon-wed,fri 22:30-06:00 America/New_York",
        ] {
            assert_eq!(hours(text).to_string(), text);
        }
        let over_sunday = hours("FRI-Mon 09:00-10:00 utc").to_string();
        assert_eq!(over_sunday, "mon,fri-sun 09:00-10:00 UTC");
        for bad in [
            "",
            "mon-fri 09:00-18:00",
            "mon-fri 9-18 UTC",
            "mon-fri 09:00-09:00 UTC",
            "mon-fri 24:00-06:00 UTC",
            "mon-fri 09:00-24:01 UTC",
            "mon-fri 09:60-18:00 UTC",
            "noday 09:00-18:00 UTC",
            "mon- 09:00-18:00 UTC",
            "mon-fri 09:00-18:00 Europe/Atlantis",
            "mon-fri 09:00-18:00 Europe/Berlin UTC",
            "mon-fri +9:00-18:00 UTC",
        ] {
            assert!(bad.parse::<Hours>().is_err(), "{bad:?}");
        }
    }
}
