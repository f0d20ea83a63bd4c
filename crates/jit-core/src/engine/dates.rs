//! Whether our clock is right: what the clocks of other systems said beside it, and what other
//! processes committed (K1).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{CLOCK_MEMORY, ClockTrust, Engine};
use crate::time::Timestamp;

/// The `Date` of an answer is in whole seconds (RFC 9110, section 5.6.7).
const WHOLE_SECOND: Duration = Duration::from_secs(1);

/// How far our clock is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockOffset {
    /// As far as can be told it is right.
    None,
    /// It is ahead by at least so much of what other systems say.
    Ahead(Duration),
    /// It is behind by at least so much, of what they say or of what other processes wrote.
    Behind(Duration),
}

impl ClockOffset {
    /// Where another system's clock showed this second at some instant between these two of ours. As
    /// much as that leaves open is not counted.
    pub fn heard(said: Timestamp, asked_at: Timestamp, heard_at: Timestamp) -> Self {
        let ahead = asked_at.since(said + WHOLE_SECOND);
        let behind = said.since(heard_at);
        match (ahead.is_zero(), behind.is_zero()) {
            (true, true) => Self::None,
            (false, _) => Self::Ahead(ahead),
            (true, false) => Self::Behind(behind),
        }
    }

    /// By how much.
    pub fn by(self) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Ahead(by) | Self::Behind(by) => by,
        }
    }

    /// In microseconds, negative where ours is behind.
    fn micros(self) -> i64 {
        let micros = i64::try_from(self.by().as_micros()).unwrap_or(i64::MAX);
        match self {
            Self::None | Self::Ahead(_) => micros,
            Self::Behind(_) => -micros,
        }
    }
}

/// What each other system said last.
#[derive(Debug, Default)]
pub(super) struct Dates(Mutex<BTreeMap<String, Heard>>);

#[derive(Debug, Clone, Copy)]
struct Heard {
    offset: ClockOffset,
    at: Timestamp,
}

impl Dates {
    /// The middle one of what was said lately. Of two in the middle the one that says less: one
    /// system with a wrong clock stops nothing as long as another agrees with ours.
    fn median(&self, now: Timestamp) -> ClockOffset {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = heard.values().filter(|it| now.since(it.at) < CLOCK_MEMORY);
        let mut offsets: Vec<ClockOffset> = lately.map(|it| it.offset).collect();
        offsets.sort_by_key(|it| it.micros());
        let middle = offsets.len() / 2;
        let upper = offsets.get(middle).copied().unwrap_or(ClockOffset::None);
        match offsets.len() % 2 {
            0 => {
                let lower = offsets.get(middle.saturating_sub(1)).copied();
                let lower = lower.unwrap_or(ClockOffset::None);
                [lower, upper]
                    .into_iter()
                    .min_by_key(|it| it.by())
                    .unwrap_or(upper)
            }
            _ => upper,
        }
    }
}

impl Engine {
    /// Another system's clock showed this second at some instant between these two of ours.
    pub fn hear_date(&self, of: &str, said: Timestamp, asked_at: Timestamp, heard_at: Timestamp) {
        let offset = ClockOffset::heard(said, asked_at, heard_at);
        let at = heard_at;
        let mut heard = self.dates.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(of.to_owned(), Heard { offset, at });
    }

    /// How far our clock is off: by what other systems say, or by what other processes wrote,
    /// whichever is more. An operator who trusts the clock is believed.
    pub fn clock_offset(&self) -> ClockOffset {
        if self.trust == ClockTrust::Trusted {
            return ClockOffset::None;
        }
        let said = self.dates.median(self.parts.clock.now());
        let written = self.clock_behind();
        match written >= said.by() && !written.is_zero() {
            true => ClockOffset::Behind(written),
            false => said,
        }
    }
}
