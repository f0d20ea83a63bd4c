//! Looking at once. What is committed by this process is looked at by its loops without waiting for
//! their next tick. The tick stays: it finds what other processes commit and what time makes due,
//! and whatever a nudge could miss.

use std::time::Duration;

use tokio::sync::watch;

/// The least time between two looks of one loop, so that a stream of commits is not a stream of
/// questions to the store: what was committed meanwhile is found by one look.
const LEAST_BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Tells all loops of a process that something was committed. Clones tell and wake the same loops.
#[derive(Debug, Clone)]
pub struct Nudge(watch::Sender<()>);

impl Default for Nudge {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Nudge {
    /// Something was committed.
    pub fn tell(&self) {
        self.0.send_replace(());
    }

    /// A loop that is woken; what is told from here on is not missed.
    pub(crate) fn looks(&self, tick: Duration) -> Looks {
        Looks {
            told: self.0.subscribe(),
            // Kept, so that the end of all others is not taken for news.
            _nudge: self.clone(),
            tick,
        }
    }
}

/// The pace at which one loop looks.
#[derive(Debug)]
pub(crate) struct Looks {
    told: watch::Receiver<()>,
    _nudge: Nudge,
    tick: Duration,
}

impl Looks {
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

    #[tokio::test(start_paused = true)]
    async fn what_is_told_between_two_looks_leads_to_one_look_at_once() {
        let nudge = Nudge::default();
        let mut looks = nudge.looks(TICK);
        nudge.tell();
        nudge.clone().tell();
        let began = Instant::now();
        looks.next().await;
        assert!(began.elapsed() < Duration::from_millis(5));
        looks.next().await;
        assert!(began.elapsed() >= TICK, "there was nothing more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_while_a_loop_waits_wakes_it() {
        let nudge = Nudge::default();
        let mut looks = nudge.looks(TICK);
        let began = Instant::now();
        let later = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            nudge.tell();
        };
        tokio::join!(looks.next(), later);
        assert!(began.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_dropped_loses_nothing() {
        let nudge = Nudge::default();
        let mut looks = nudge.looks(TICK);
        nudge.tell();
        let dropped = tokio::time::timeout(Duration::ZERO, looks.next()).await;
        assert!(dropped.is_err());
        let began = Instant::now();
        looks.next().await;
        assert!(began.elapsed() < Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_commits_is_no_stream_of_looks() {
        let nudge = Nudge::default();
        let mut looks = nudge.looks(TICK);
        let mut count = 0;
        let looking = async {
            loop {
                // As one that commits at every look.
                nudge.tell();
                looks.next().await;
                count += 1;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(100), looking).await;
        assert!((40..=101).contains(&count), "{count}");
    }
}
