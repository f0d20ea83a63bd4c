//! How much of a region is used at once: the quota of calls and the operations that are being
//! applied, shared by every instance of one region. What is asked of AWS is none of its business.

use std::sync::Arc;
use std::time::Duration;

use jit_core::ports::{Clock, Purpose};
use jit_core::quota::{Quota, Rate};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much a region takes. The default is what IAM Identity Center takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls a second, over all operations together. For Identity Center AWS documents 20, which
    /// cannot be raised ("IAM Identity Center quotas", throttle limits).
    pub calls_per_second: u32,
    /// Operations that are being applied at once, where there are any that take time. For
    /// creations and deletions of assignments AWS documents 10, which cannot be raised (the same
    /// page).
    pub outstanding: u32,
    /// How long a call waits for its turn before it is refused as too fast.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_second: 20,
            outstanding: 10,
            patience: Duration::from_secs(5),
        }
    }
}

/// What may still be asked of one service in one region. Make one for both and a process, and hand
/// it to every adapter that asks there.
///
/// Calls that take access away own three quarters of everything (L3): giving draws on the top
/// quarter of the quota only, and on a quarter of the outstanding operations.
pub struct Budget {
    clock: Arc<dyn Clock>,
    quota: Quota,
    outstanding: Arc<Semaphore>,
    giving: Arc<Semaphore>,
    patience: Duration,
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("quota", &self.quota)
            .field("outstanding", &self.outstanding)
            .finish_non_exhaustive()
    }
}

/// A place among the operations that are being applied; dropping it gives it back.
#[derive(Debug)]
pub struct Held {
    _among_the_giving: Option<OwnedSemaphorePermit>,
    _among_all: OwnedSemaphorePermit,
}

impl Budget {
    /// A budget that nobody has drawn on.
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let rate = Rate {
            per_second: limits.calls_per_second,
            burst: limits.calls_per_second,
        };
        let places = usize::try_from(limits.outstanding.max(1)).unwrap_or(1);
        Self {
            quota: Quota::new(rate, clock.now()),
            outstanding: Arc::new(Semaphore::new(places)),
            giving: Arc::new(Semaphore::new((places / 4).max(1))),
            patience: limits.patience,
            clock,
        }
    }

    /// How long a call waits for its turn.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Takes one call out, waiting for it no longer than this; else says when to come back.
    pub async fn draw(&self, purpose: Purpose, patience: Duration) -> Result<(), Duration> {
        let mut waited = Duration::ZERO;
        loop {
            let Err(wait) = self.quota.draw(purpose, self.clock.now()) else {
                return Ok(());
            };
            waited += wait;
            if waited > patience {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes a place for an operation; else says when to come back. Who takes away waits twice as
    /// long: coming back later would cost it its place in the row.
    ///
    /// It is given back when the operation ends, or is not listed any more, or when nobody looked
    /// for too long; in the last case AWS itself refuses what is too much, and that is a throttled
    /// call like any.
    pub async fn place(&self, purpose: Purpose) -> Result<Held, Duration> {
        let giving = || Arc::clone(&self.giving).acquire_owned();
        let placed = async {
            let among_the_giving = match purpose {
                Purpose::Give => Some(giving().await.ok()?),
                Purpose::TakeAway => None,
            };
            let all = Arc::clone(&self.outstanding);
            Some(Held {
                _among_the_giving: among_the_giving,
                _among_all: all.acquire_owned().await.ok()?,
            })
        };
        let patience = match purpose {
            Purpose::Give => self.patience,
            Purpose::TakeAway => self.patience * 2,
        };
        let placed = tokio::time::timeout(patience, placed).await;
        placed.ok().flatten().ok_or(Duration::from_secs(1))
    }

    /// Learns from a call of this purpose that AWS wants to be left alone for this long.
    pub fn pause(&self, purpose: Purpose, wait: Duration) {
        self.quota.pause(purpose, wait, self.clock.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_core::Timestamp;
    use jit_testkit::time::ManualClock;

    fn budget(limits: Limits) -> (Arc<ManualClock>, Budget) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_micros(1)));
        (Arc::clone(&clock), Budget::new(limits, clock))
    }

    #[tokio::test(start_paused = true)]
    async fn l3_giving_may_use_a_quarter_of_the_operations() {
        let (_, budget) = budget(Limits::default());
        let mut held = Vec::new();
        while let Ok(place) = budget.place(Purpose::Give).await {
            held.push(place);
        }
        assert_eq!(held.len(), 2);
        while let Ok(place) = budget.place(Purpose::TakeAway).await {
            held.push(place);
        }
        assert_eq!(held.len(), 10);
        held.clear();
        assert!(budget.place(Purpose::Give).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_its_turn_and_not_for_ever() {
        let (clock, budget) = budget(Limits::default());
        while budget.draw(Purpose::TakeAway, Duration::ZERO).await.is_ok() {}
        let before = tokio::time::Instant::now();
        let refused = budget.draw(Purpose::TakeAway, budget.patience()).await;
        assert!(
            refused.is_err(),
            "time stands still, so its turn never comes"
        );
        assert!(before.elapsed() <= Duration::from_secs(5));

        clock.advance(Duration::from_millis(50));
        assert_eq!(budget.draw(Purpose::TakeAway, Duration::ZERO).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_closes_the_region_and_what_gives_was_told_holds_no_revoke_back() {
        let (clock, budget) = budget(Limits::default());
        budget.pause(Purpose::Give, Duration::from_secs(2));
        let refused = budget.draw(Purpose::Give, Duration::ZERO).await;
        assert_eq!(refused, Err(Duration::from_secs(2)));
        assert_eq!(budget.draw(Purpose::TakeAway, Duration::ZERO).await, Ok(()));
        budget.pause(Purpose::TakeAway, Duration::from_secs(2));
        let refused = budget.draw(Purpose::TakeAway, Duration::ZERO).await;
        assert_eq!(refused, Err(Duration::from_secs(2)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(budget.draw(Purpose::TakeAway, Duration::ZERO).await, Ok(()));
    }
}
