//! What time it is, and whether our clock is right (K1): what the clocks of other systems said beside
//! it, and what other processes committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join, try_join};

use super::{CLOCK_OFF, Engine, FLAGS};
use crate::ports::{Clock, Commit, CommitError, PortError, RequestStore, Row, RowChange};
use crate::time::Timestamp;

/// Somebody writes down what time it is this often: whoever starts with a clock that is behind learns
/// from it what passed while nothing else was written.
pub const TIME_KEPT_EVERY: Duration = Duration::from_secs(10);
/// The same for whoever knows its clock to be behind: what passes until the next one starts, and was
/// not written down, is lost.
const KEPT_BEHIND_EVERY: Duration = Duration::from_secs(1);
/// The small row that holds it.
const TIME: &str = "time";
/// For how long it counts what another system said, where it is that our clock is off.
const DATE_MEMORY: Duration = Duration::from_secs(600);
/// And where it is that our clock is right: a host that stood still since then does not know.
const DATE_AGREES_FOR: Duration = Duration::from_secs(150);
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
struct Dates(Mutex<BTreeMap<String, Heard>>);

#[derive(Debug, Clone, Copy)]
struct Heard {
    offset: ClockOffset,
    /// How far it may be off, with what is not known.
    at_most: Duration,
    at: Timestamp,
    witness: Witness,
}

/// Whose clock another system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// Its own.
    Elsewhere,
    /// Ours: it runs on this host, and is wrong where we are.
    ThisHost,
}

impl Dates {
    fn hear(&self, of: &str, heard: Heard) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(of.to_owned(), heard);
    }

    /// The middle one of what was said lately; none where nothing was. Of two in the middle the one
    /// that says less: one system with a wrong clock stops nothing as long as another agrees with
    /// ours.
    fn median(&self, now: Timestamp) -> Option<ClockOffset> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = heard.values().filter(|it| now.since(it.at) < DATE_MEMORY);
        let mut offsets: Vec<ClockOffset> = lately.map(|it| it.offset).collect();
        offsets.sort_by_key(|it| it.micros());
        let count = offsets.len();
        let middle = count.saturating_sub(1) / 2..=count / 2;
        let middle = offsets.get(middle).unwrap_or_default();
        middle.iter().copied().min_by_key(|it| it.by())
    }

    /// Whether every system that knows better than this host said just now that our clock is right.
    /// One that says otherwise is enough: an end must not come late.
    fn agree(&self, now: Timestamp) -> bool {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let just_now = heard
            .values()
            .filter(|it| now.since(it.at) < DATE_AGREES_FOR);
        let mut elsewhere = just_now
            .filter(|it| it.witness == Witness::Elsewhere)
            .peekable();
        elsewhere.peek().is_some() && elsewhere.all(|it| it.at_most <= CLOCK_OFF)
    }
}

/// Whether this process believes its clock against what others committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockTrust {
    /// A commit from the future means that our clock is behind.
    Compared,
    /// The operator says that the clock is right and earlier commits were wrong.
    Trusted,
}

/// How far the time is ahead of our clock, by the newest commit that was seen.
#[derive(Debug, Clone, Copy, Default)]
struct Lead {
    left: Duration,
    /// What the clock showed when that was so.
    clock: Timestamp,
    /// What it would have shown when the steady time began, had it been set by then as it is now. Of
    /// two readings that were not taken at once the later one counts, so that what is between them
    /// adds up to nothing.
    began: Timestamp,
}

impl Lead {
    /// What is left of it at this reading of the clock. `agrees` says whether other systems' clocks
    /// agree with ours.
    ///
    /// A clock that is set forward makes up for that much. Otherwise it stands: whoever is behind
    /// and alone would end everything late if it shrank. Only where the commit was wrong, as others
    /// agree, or where it is no more than clocks may differ, it shrinks by a quarter of the time that
    /// passes: slower than the clock runs, so that the time never goes back, and in every process
    /// alike, so that they do not hand it on to each other for ever.
    fn go_on(&mut self, clock: Timestamp, steady: Duration, agrees: impl FnOnce() -> bool) {
        let began = self.began.max(clock - steady);
        let set = began.since(self.began);
        let ran = clock.since(self.clock).saturating_sub(set);
        self.left = self.left.saturating_sub(set);
        if !self.left.is_zero() && (self.left <= CLOCK_OFF || agrees()) {
            self.left = self.left.saturating_sub(ran / 4);
        }
        self.clock = self.clock.max(clock);
        self.began = began;
    }
}

/// What time it is at the least, by whatever was committed or written down of it.
pub async fn known_time(store: &dyn RequestStore) -> Result<Option<Timestamp>, PortError> {
    let known = try_join(store.newest_commit(), store.row(FLAGS, TIME));
    let (newest, kept) = known.await?;
    Ok(newest.max(kept.as_ref().and_then(instant)))
}

/// The instant that such a row says.
fn instant(row: &Row) -> Option<Timestamp> {
    row.value.parse().ok()
}

/// The time of an engine.
pub(super) struct Time {
    clock: Arc<dyn Clock>,
    pub(super) trust: ClockTrust,
    lead: Mutex<Lead>,
    dates: Dates,
    /// Whether what was kept of the time before the start was read.
    is_told: AtomicBool,
}

impl Time {
    pub(super) fn new(clock: Arc<dyn Clock>, trust: ClockTrust) -> Self {
        Self {
            clock,
            trust,
            lead: Mutex::default(),
            dates: Dates::default(),
            is_told: AtomicBool::new(false),
        }
    }

    /// The lead as it is now, with the reading of the clock to which it belongs.
    fn lead(&self) -> MutexGuard<'_, Lead> {
        // A Lead is sound after each of its assignments.
        let mut lead = self.lead.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, steady) = (self.clock.now(), self.clock.steady());
        lead.go_on(clock, steady, || self.dates.agree(clock));
        lead
    }

    /// How far the time is ahead of our clock.
    fn ahead(&self) -> Duration {
        self.lead().left
    }

    fn now(&self) -> Timestamp {
        let lead = self.lead();
        lead.clock + lead.left
    }

    /// Whether somebody who knows says that our clock is right.
    fn is_right(&self) -> bool {
        self.trust == ClockTrust::Trusted || self.dates.agree(self.clock.now())
    }

    /// Learns from the instant of a commit. One-sided: an old one says nothing, nor does any to whom
    /// the operator trusts the clock.
    fn observe(&self, at: Timestamp) {
        if self.trust == ClockTrust::Trusted {
            return;
        }
        let mut lead = self.lead();
        lead.left = lead.left.max(at.since(lead.clock));
    }
}

impl Engine {
    /// The instant by which everything is judged: our clock, and as far ahead of it as the newest
    /// commit was when it was seen (K1). That lead stands for as long as nobody knows better: only
    /// where the clocks of other systems agree with ours, or where it is at most [`CLOCK_OFF`], the
    /// time goes on at three quarters of the pace of our clock until that is made up for. A clock that
    /// is put forward makes up for that much.
    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// An instant that was judged by [`Engine::now`], as an adapter must judge it, which looks at the
    /// clock alone: a call is fenced by the time that it was leased by.
    pub(super) fn by_clock(&self, at: Timestamp) -> Timestamp {
        at - self.time.ahead()
    }

    /// Learns from the instant of a commit.
    pub(super) fn observe(&self, at: Timestamp) {
        self.time.observe(at);
    }

    /// What time it is at the least, by the newest commit; at the start also by what was kept of it
    /// since.
    pub(super) async fn newest_time(&self) -> Result<Option<Timestamp>, PortError> {
        if self.time.is_told.load(Ordering::Relaxed) {
            return self.parts.store.newest_commit().await;
        }
        let known = known_time(self.parts.store.as_ref()).await?;
        self.time.is_told.store(true, Ordering::Relaxed);
        Ok(known)
    }

    /// Writes down what time it is, where nothing was written for [`TIME_KEPT_EVERY`], or for a second
    /// by whoever knows that its clock is behind: whoever starts with a clock that is behind knows
    /// the time by it. Where several replicas try, one of them does. Whose clock is ahead, as others
    /// say, writes nothing; whose clock is right, as they or an operator say, believes nothing that
    /// is ahead of it, and replaces it. Returns after which time it is to be asked for again.
    pub async fn keep_time(&self) -> Result<Duration, CommitError> {
        let store = self.parts.store.as_ref();
        let (newest, kept) = join(store.newest_commit(), store.row(FLAGS, TIME)).await;
        let kept = kept?;
        let newest = newest.ok().flatten();
        newest.into_iter().for_each(|at| self.observe(at));
        let is_right = self.time.is_right();
        let said = kept.as_ref().and_then(instant);
        if !is_right {
            said.into_iter().for_each(|at| self.observe(at));
        }
        let every = match self.time.ahead() > CLOCK_OFF {
            true => KEPT_BEHIND_EVERY,
            false => TIME_KEPT_EVERY,
        };
        let now = self.now();
        let counts = |at: &Timestamp| !is_right || *at <= now;
        let known = newest.filter(counts).max(said.filter(counts));
        let again = known.map_or(Duration::ZERO, |known| (known + every).since(now));
        if !again.is_zero() {
            return Ok(again.min(every));
        }
        if matches!(self.clock_offset(), ClockOffset::Ahead(by) if by > CLOCK_OFF) {
            return Ok(every);
        }
        let row = Row {
            table: FLAGS,
            key: TIME.to_owned(),
            value: now.to_string(),
        };
        let expected = kept.map(|row| row.value);
        let written = store.commit(Commit {
            rows: vec![RowChange { row, expected }],
            at: Some(now),
            ..Commit::default()
        });
        match written.await {
            Ok(_) | Err(CommitError::Conflict) => Ok(every),
            Err(error) => Err(error),
        }
    }

    /// Another system's clock showed this second at some instant between these two of ours.
    pub fn hear_date(
        &self,
        of: &str,
        witness: Witness,
        said: Timestamp,
        asked_at: Timestamp,
        heard_at: Timestamp,
    ) {
        let offset = ClockOffset::heard(said, asked_at, heard_at);
        let heard = Heard {
            offset,
            at_most: offset.by() + heard_at.since(asked_at) + WHOLE_SECOND,
            at: heard_at,
            witness,
        };
        self.time.dates.hear(of, heard);
    }

    /// How far our clock is off: by what other systems say, or by what other processes wrote,
    /// whichever is more. An operator who trusts the clock is believed.
    pub fn clock_offset(&self) -> ClockOffset {
        if self.time.trust == ClockTrust::Trusted {
            return ClockOffset::None;
        }
        let said = self.time.dates.median(self.time.clock.now());
        let said = said.unwrap_or(ClockOffset::None);
        let written = self.time.ahead();
        match written >= said.by() && !written.is_zero() {
            true => ClockOffset::Behind(written),
            false => said,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a lead of so many seconds, after readings of (seconds on the clock, seconds
    /// on the one that nobody sets), where others agree with ours or do not.
    fn left(lead: u64, agrees: bool, readings: &[(u64, u64)]) -> Duration {
        let secs = Duration::from_secs;
        let start = Timestamp::from_unix_micros(1_800_000_000_000_000);
        let mut lead = Lead {
            left: secs(lead),
            clock: start,
            began: start - secs(7),
        };
        let mut shown = Timestamp::MIN;
        for (clock, steady) in readings {
            let clock = start + secs(*clock);
            lead.go_on(clock, secs(7 + steady), || agrees);
            let now = lead.clock + lead.left;
            assert!(now >= shown, "{now} after {shown}");
            shown = now;
        }
        lead.left
    }

    #[test]
    fn k1_a_lead_stands_unless_others_agree_or_it_is_small() {
        let secs = Duration::from_secs;
        let day = [(86_400, 86_400)];
        assert_eq!(left(6, false, &day), secs(6));
        assert_eq!(left(5, false, &[(8, 8)]), secs(3));
        assert_eq!(left(600, true, &[(400, 400)]), secs(500));
        let often: Vec<_> = (0..=400).map(|at| (at, at)).collect();
        assert_eq!(left(600, true, &often), secs(500));
        assert_eq!(left(600, true, &day), secs(0));
    }

    #[test]
    fn k1_a_clock_that_is_set_forward_makes_up_for_as_much() {
        let secs = Duration::from_secs;
        assert_eq!(left(600, false, &[(10, 10), (611, 11)]), secs(0));
        assert_eq!(left(600, false, &[(500, 100)]), secs(200));
        assert_eq!(left(600, true, &[(500, 100)]), secs(175));
        assert_eq!(left(600, false, &[(86_400, 1)]), secs(0));
    }

    #[test]
    fn k1_readings_out_of_order_or_apart_change_nothing() {
        let secs = Duration::from_secs;
        assert_eq!(left(600, true, &[(40, 40), (39, 39)]), secs(590));
        assert_eq!(left(600, true, &[(40, 40), (39, 39), (44, 44)]), secs(589));
        // Whoever reads both was held up between them, again and again.
        let apart: Vec<_> = (1..100).map(|at| (at, at + at % 2)).collect();
        assert_eq!(left(600, false, &apart), secs(600));
    }
}
