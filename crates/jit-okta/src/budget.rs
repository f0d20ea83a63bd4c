//! How much of an organization is used at once: the quota of calls, the calls that are under way,
//! and the reserve that Okta's own counters are kept at. What is asked is none of its business.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Clock, Purpose};
use jit_core::quota::{Quota, Rate};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::answer::{Counters, Left};

/// The longest that a waiting call may be told to wait, whatever the settings say: every call of the
/// port ends within 15 s.
const PATIENCE_LIMIT: Duration = Duration::from_secs(5);
/// When a call that found no place may come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// How much an organization takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls over time, all of them together. Okta counts by kind of call and minute, 500 to 2,000 of
    /// each in a workforce organization, and an API token or a service app has half of that unless
    /// somebody gives it more ("Rate limits", "Configurable token and OAuth 2.0 app rate limits").
    /// What Okta's own counters show goes before this number.
    pub calls: Rate,
    /// Calls that are under way at once, at least four. Okta refuses more than 35 or 75 in the whole
    /// organization ("Concurrency limits").
    pub at_once: u32,
    /// How long a call waits for its turn before it is refused as too fast; at most 5 s.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: Rate {
                per_second: 15,
                burst: 240,
            },
            at_once: 15,
            patience: PATIENCE_LIMIT,
        }
    }
}

/// What Okta counts together, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// One user by id or login.
    User,
    /// Users by what they have in common.
    Search,
    /// The groups of one user: how an end is read back.
    UserGroups,
    /// One group.
    Group,
    /// The members of one group.
    Members,
    /// Giving and taking one membership.
    Membership,
    /// What the organization says of itself.
    Organization,
}

impl Counted {
    /// Whether ending access uses it up. What gives leaves a reserve of these, whatever it asks for.
    fn ends_access(self) -> bool {
        match self {
            Self::Membership | Self::UserGroups => true,
            Self::User | Self::Search | Self::Group | Self::Members | Self::Organization => false,
        }
    }
}

/// What may still be asked of one organization. Calls that take access away own three quarters of
/// everything (L3).
pub(crate) struct Budget {
    clock: Arc<dyn Clock>,
    quota: Quota,
    places: Arc<Semaphore>,
    giving: Arc<Semaphore>,
    patience: Duration,
    /// Until when less than a quarter of what Okta allows is left.
    low_until: Mutex<HashMap<Counted, Timestamp>>,
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("quota", &self.quota)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

/// A place among the calls that are under way; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Turn {
    _among_the_giving: Option<OwnedSemaphorePermit>,
    _among_all: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let places = usize::try_from(limits.at_once.max(4)).unwrap_or(4);
        Self {
            quota: Quota::new(limits.calls, clock.now()),
            places: Arc::new(Semaphore::new(places)),
            giving: Arc::new(Semaphore::new(places / 4)),
            patience: limits.patience.min(PATIENCE_LIMIT),
            low_until: Mutex::default(),
            clock,
        }
    }

    fn low_until(&self) -> MutexGuard<'_, HashMap<Counted, Timestamp>> {
        self.low_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a call may be made, no longer than its patience; else says when to come back.
    pub(crate) async fn turn(&self, purpose: Purpose, what: Counted) -> Result<Turn, Duration> {
        let began = Instant::now();
        let placed = tokio::time::timeout(self.patience, self.place(purpose)).await;
        let turn = placed.ok().flatten().ok_or(COME_BACK)?;
        let mut waited = began.elapsed();
        loop {
            let Err(wait) = self.draw(purpose, what) else {
                return Ok(turn);
            };
            waited += wait;
            if waited > self.patience {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn place(&self, purpose: Purpose) -> Option<Turn> {
        let among_the_giving = match purpose {
            Purpose::Give => Some(Arc::clone(&self.giving).acquire_owned().await.ok()?),
            Purpose::TakeAway => None,
        };
        Some(Turn {
            _among_the_giving: among_the_giving,
            _among_all: Arc::clone(&self.places).acquire_owned().await.ok()?,
        })
    }

    fn draw(&self, purpose: Purpose, what: Counted) -> Result<(), Duration> {
        let now = self.clock.now();
        match purpose {
            Purpose::Give => self.reserve_is_kept(what, now)?,
            Purpose::TakeAway => {}
        }
        self.quota.draw(purpose, now)
    }

    /// What gives waits while little is left of what it asks for, or of what ends are made with.
    fn reserve_is_kept(&self, what: Counted, now: Timestamp) -> Result<(), Duration> {
        let low = self.low_until();
        let matters = low
            .iter()
            .filter(|(counted, _)| **counted == what || counted.ends_access());
        let until = matters.map(|(_, until)| *until).max();
        match until.filter(|until| now < *until) {
            Some(until) => Err(until.since(now)),
            None => Ok(()),
        }
    }

    /// Learns from an answer how much Okta itself has left.
    pub(crate) fn learn(&self, what: Counted, counters: &Counters) {
        let mut low = self.low_until();
        match counters.left() {
            Some(Left::Little(wait)) => drop(low.insert(what, self.clock.now() + wait)),
            Some(Left::Enough) => drop(low.remove(&what)),
            None => {}
        }
    }

    /// Learns from a call of this purpose that Okta wants to be left alone for this long.
    pub(crate) fn pause(&self, purpose: Purpose, wait: Duration) {
        self.quota.pause(purpose, wait, self.clock.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_testkit::time::ManualClock;

    fn budget(limits: Limits) -> (Arc<ManualClock>, Budget) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_micros(1)));
        (Arc::clone(&clock), Budget::new(limits, clock))
    }

    fn impatient() -> Limits {
        Limits {
            patience: Duration::ZERO,
            ..Limits::default()
        }
    }

    fn counters(limit: u64, remaining: u64) -> Counters {
        Counters {
            limit: Some(limit),
            remaining: Some(remaining),
            reset_in: Duration::from_secs(30),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn l3_three_quarters_of_the_places_are_for_ends() {
        let (_, budget) = budget(impatient());
        let mut turns = Vec::new();
        while let Ok(turn) = budget.turn(Purpose::Give, Counted::User).await {
            turns.push(turn);
        }
        assert_eq!(turns.len(), 3);
        while let Ok(turn) = budget.turn(Purpose::TakeAway, Counted::User).await {
            turns.push(turn);
        }
        assert_eq!(turns.len(), 15);
        turns.clear();
        let again = budget.turn(Purpose::Give, Counted::User).await;
        assert!(again.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn l3_what_gives_waits_while_less_than_a_quarter_is_left_for_ends() {
        let (clock, budget) = budget(impatient());
        budget.learn(Counted::Membership, &counters(100, 25));
        assert!(budget.turn(Purpose::Give, Counted::User).await.is_ok());
        budget.learn(Counted::Membership, &counters(100, 24));
        let refused = budget.turn(Purpose::Give, Counted::User).await;
        assert_eq!(refused.unwrap_err(), Duration::from_secs(30));
        let end = budget.turn(Purpose::TakeAway, Counted::Membership).await;
        assert!(end.is_ok());
        clock.advance(Duration::from_secs(30));
        assert!(budget.turn(Purpose::Give, Counted::User).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_low_and_ends_nothing_holds_back_only_itself() {
        let (_, budget) = budget(impatient());
        budget.learn(Counted::Members, &counters(100, 0));
        assert!(budget.turn(Purpose::Give, Counted::User).await.is_ok());
        assert!(budget.turn(Purpose::Give, Counted::Members).await.is_err());
        budget.learn(Counted::Members, &counters(100, 99));
        assert!(budget.turn(Purpose::Give, Counted::Members).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_its_turn_and_not_for_ever() {
        let (_, budget) = budget(Limits {
            calls: Rate {
                per_second: 1,
                burst: 4,
            },
            patience: Duration::from_secs(600),
            ..Limits::default()
        });
        for _ in 0..4 {
            budget
                .turn(Purpose::TakeAway, Counted::User)
                .await
                .expect("four at once");
        }
        let before = Instant::now();
        let refused = budget.turn(Purpose::TakeAway, Counted::User).await;
        assert!(refused.is_err(), "time stands still: its turn never comes");
        assert!(before.elapsed() <= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn l3_a_pause_that_giving_was_told_of_holds_no_revoke_back() {
        let (_, budget) = budget(impatient());
        budget.pause(Purpose::Give, Duration::from_secs(60));
        assert!(budget.turn(Purpose::Give, Counted::User).await.is_err());
        assert!(budget.turn(Purpose::TakeAway, Counted::User).await.is_ok());
    }
}
