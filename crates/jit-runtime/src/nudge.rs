//! Looking at once. What is committed by this process is looked at by its loops without waiting for
//! their next tick. The tick stays: it finds what other processes commit and what time makes due,
//! and whatever a nudge could miss.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jit_core::ports::{Commit, Delivery, DeliveryKey};
use tokio::sync::watch;

/// The least time between two looks of one loop, so that a stream of commits is not a stream of
/// questions to the store: what was committed meanwhile is found by one look.
const LEAST_BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// What a commit brings the loops of its process: each looks only for its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Something is due at once.
    duties: bool,
    /// These are to be told.
    deliveries: BTreeSet<DeliveryKey>,
}

impl News {
    /// What this commit brings. What is due later is found by the tick.
    pub fn of(commit: &Commit) -> Self {
        let wakes = commit.changes.iter().filter_map(|it| it.wake.as_ref());
        let decided_at = commit.at;
        let mut due_at = wakes.map(|wake| wake.revoke_at.map_or(wake.at, |at| at.min(wake.at)));
        let deliveries = commit.deliveries.iter().map(|touch| touch.key.clone());
        Self {
            duties: due_at.any(|due_at| decided_at.is_none_or(|at| due_at <= at)),
            deliveries: deliveries.collect(),
        }
    }

    /// What the commit took is handed over by it, and is no news.
    pub fn without(mut self, taken: &[Delivery]) -> Self {
        for delivery in taken {
            self.deliveries.remove(&delivery.key);
        }
        self
    }
}

/// Tells the loops of a process what was committed. Clones tell and wake the same loops.
#[derive(Debug, Clone, Default)]
pub struct Nudge(Arc<Bells>);

#[derive(Debug)]
struct Bells {
    duties: watch::Sender<()>,
    notifiers: Mutex<BTreeMap<String, watch::Sender<()>>>,
}

impl Default for Bells {
    fn default() -> Self {
        Self {
            duties: watch::Sender::new(()),
            notifiers: Mutex::default(),
        }
    }
}

impl Nudge {
    /// Something was committed.
    pub fn tell(&self, news: &News) {
        if news.duties {
            self.0.duties.send_replace(());
        }
        let bells = self.0.notifiers.lock();
        let bells = bells.unwrap_or_else(PoisonError::into_inner);
        let notifiers: BTreeSet<&str> = news
            .deliveries
            .iter()
            .map(|key| key.notifier.as_str())
            .collect();
        for notifier in notifiers {
            if let Some(bell) = bells.get(notifier) {
                bell.send_replace(());
            }
        }
    }

    /// The loop that tends is woken; what is told from here on is not missed.
    pub(crate) fn looks_for_duties(&self, tick: Duration) -> Looks {
        Looks::at(self.0.duties.clone(), tick)
    }

    /// The loop that announces through this notifier is woken.
    pub(crate) fn looks_for(&self, notifier: &str, tick: Duration) -> Looks {
        let bells = self.0.notifiers.lock();
        let mut bells = bells.unwrap_or_else(PoisonError::into_inner);
        let bell = bells
            .entry(notifier.to_owned())
            .or_insert_with(|| watch::Sender::new(()));
        Looks::at(bell.clone(), tick)
    }
}

/// The pace at which one loop looks.
#[derive(Debug)]
pub(crate) struct Looks {
    told: watch::Receiver<()>,
    _bell: watch::Sender<()>,
    tick: Duration,
}

impl Looks {
    fn at(bell: watch::Sender<()>, tick: Duration) -> Self {
        Self {
            told: bell.subscribe(),
            // Kept, so that the end of all others is not taken for news.
            _bell: bell,
            tick,
        }
    }

    /// Waits for the next look: until something was committed since the last one began, at most
    /// for the tick. May be dropped and called again; nothing that was told is lost.
    pub(crate) async fn next(&mut self) {
        let rest = tokio::time::sleep(LEAST_BETWEEN_LOOKS);
        let news = async {
            // The sender is kept here, so this is news and not the end.
            let _ = self.told.changed().await;
            // It is seen only when the look begins.
            self.told.mark_changed();
            rest.await;
        };
        // Whichever comes first, it is time.
        let _ = tokio::time::timeout(self.tick, news).await;
        self.told.mark_unchanged();
    }

    /// Waits for the tick whatever is committed: after a failure that a look at once would repeat.
    pub(crate) async fn tick(&mut self) {
        tokio::time::sleep(self.tick).await;
        self.told.mark_unchanged();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const TICK: Duration = Duration::from_secs(10);

    fn duties() -> News {
        News {
            duties: true,
            ..News::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_is_woken_by_its_own_news_alone() {
        let nudge = Nudge::default();
        let mut tends = nudge.looks_for_duties(TICK);
        let (mut chat, mut pager) = (
            nudge.looks_for("chat", TICK),
            nudge.looks_for("pager", TICK),
        );
        let of = |notifier: &str| DeliveryKey {
            request: jit_testkit::sample::id(1),
            notifier: notifier.to_owned(),
            target: "C1".to_owned(),
        };
        nudge.tell(&News {
            deliveries: [of("chat"), of("nobody")].into(),
            ..News::default()
        });
        let began = Instant::now();
        chat.next().await;
        assert!(began.elapsed() < Duration::from_millis(5));
        tokio::join!(tends.next(), pager.next());
        assert!(began.elapsed() >= TICK, "there was nothing for them");
    }

    #[test]
    fn what_is_due_later_wakes_nobody() {
        use jit_testkit::sample::{at, creation, wake};
        let commit = |wake| Commit {
            changes: vec![jit_core::change::Change {
                wake,
                ..creation(jit_testkit::sample::request(1))
            }],
            at: Some(at(10)),
            ..Commit::default()
        };
        let due = |wake| News::of(&commit(wake)).duties;
        assert!(due(Some(wake(at(10)))));
        assert!(!due(Some(wake(at(11)))) && !due(None));
        let mut late = wake(at(60));
        late.revoke_at = Some(at(10));
        assert!(due(Some(late)), "a revoke is due sooner");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_between_two_looks_leads_to_one_look_at_once() {
        let nudge = Nudge::default();
        let mut looks = nudge.looks_for_duties(TICK);
        nudge.tell(&duties());
        nudge.clone().tell(&duties());
        let began = Instant::now();
        looks.next().await;
        assert!(began.elapsed() < Duration::from_millis(5));
        looks.next().await;
        assert!(began.elapsed() >= TICK, "there was nothing more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_while_a_loop_waits_wakes_it() {
        let nudge = Nudge::default();
        let mut looks = nudge.looks_for_duties(TICK);
        let began = Instant::now();
        let later = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            nudge.tell(&duties());
        };
        tokio::join!(looks.next(), later);
        assert!(began.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_dropped_loses_nothing() {
        let nudge = Nudge::default();
        let mut looks = nudge.looks_for_duties(TICK);
        nudge.tell(&duties());
        let dropped = tokio::time::timeout(Duration::ZERO, looks.next()).await;
        assert!(dropped.is_err());
        let began = Instant::now();
        looks.next().await;
        assert!(began.elapsed() < Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_commits_is_no_stream_of_looks() {
        let nudge = Nudge::default();
        let mut looks = nudge.looks_for_duties(TICK);
        let mut count = 0;
        let looking = async {
            loop {
                // As one that commits at every look.
                nudge.tell(&duties());
                looks.next().await;
                count += 1;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(100), looking).await;
        assert!((40..=101).contains(&count), "{count}");
    }
}
