//! What goes wrong around a replica: every call of a port may fail before or after its effect,
//! take its time, or be the last thing that the replica does. Its clock may be wrong, and jump.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::Sealed;
use jit_core::ports::{
    Alarm, Announcement, Clock, Commit, CommitError, Delivery, ErrorKind, Notifier, Pager,
    PortError, RequestStore, Told,
};
use jit_core::request::AccessRequest;
use jit_testkit::time::SeededRandom;
use tokio::sync::broadcast;

use super::diary::{Committed, Diary, Mishap, Trouble};
use super::sabotage::Saboteur;
use super::tap::{StoreCall, Tap};

/// How often the ports of a replica misbehave, per mille of their calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Odds {
    /// Scales the odds of every crash point; 0 is never, 100 is [`CRASH_POINTS`] as they stand.
    pub(crate) crash_percent: u64,
    pub(crate) store_error: u64,
    pub(crate) directory_error: u64,
    /// Directory calls that are not answered before their deadline.
    pub(crate) directory_hang: u64,
    pub(crate) pager_error: u64,
}

/// Where a replica may die, and how often per ten thousand calls: the rarer the call, the more
/// often, so that every point is hit.
///
/// The inbox is left out: only a chat puts anything into it, and none is connected here.
pub(crate) const CRASH_POINTS: [(&str, u64); 48] = [
    ("before store.load", 12),
    ("after store.load", 16),
    ("before store.slot", 114),
    ("after store.slot", 130),
    ("before store.commit", 21),
    ("after store.commit", 19),
    ("before store.due", 3),
    ("after store.due", 3),
    ("before store.newest_commit", 3),
    ("after store.newest_commit", 3),
    ("before store.deliveries_take", 3),
    ("after store.deliveries_take", 3),
    ("before store.delivery_update", 66),
    ("after store.delivery_update", 76),
    ("before store.story", 320),
    ("after store.story", 380),
    ("before store.idempotency", 206),
    ("after store.idempotency", 260),
    ("before store.row", 50),
    ("after store.row", 40),
    ("before store.rows", 732),
    ("after store.rows", 704),
    ("before store.query", 40),
    ("after store.query", 45),
    ("before store.by_suffix", 1740),
    ("after store.by_suffix", 1575),
    ("before store.chains", 584),
    ("after store.chains", 782),
    ("before store.system_head", 500),
    ("after store.system_head", 400),
    ("before store.system_events", 465),
    ("after store.system_events", 482),
    ("before provider.resolve", 137),
    ("after provider.resolve", 122),
    ("before provider.grant", 710),
    ("after provider.grant", 794),
    ("before provider.mint", 4000),
    ("after provider.mint", 3500),
    ("before provider.revoke", 258),
    ("after provider.revoke", 264),
    ("before provider.inspect", 55),
    ("after provider.inspect", 48),
    ("before directory.profile", 30),
    ("after directory.profile", 31),
    ("before notifier.announce", 93),
    ("after notifier.announce", 75),
    ("before pager.page", 1246),
    ("after pager.page", 2837),
];

// ------------------------------------------------------------------------------------- clocks

/// The true time: tokio's, paused or not.
pub(crate) struct TrueClock {
    began: tokio::time::Instant,
}

impl TrueClock {
    pub(crate) fn new() -> Self {
        Self {
            began: tokio::time::Instant::now(),
        }
    }
}

impl Clock for TrueClock {
    fn now(&self) -> Timestamp {
        jit_testkit::sample::start() + self.began.elapsed()
    }
}

/// The clock of a replica, some way off. As the daemon's it never runs backwards within a process:
/// a wall clock that is set back counts from the next start on.
pub(crate) struct OffsetClock {
    truth: Arc<TrueClock>,
    /// How far the wall clock of the machine is ahead, in milliseconds.
    wall_ms: AtomicI64,
    /// How far what the process shows is ahead, in milliseconds.
    shown_ms: AtomicI64,
}

impl OffsetClock {
    pub(crate) fn new(truth: Arc<TrueClock>, ahead_ms: i64) -> Self {
        Self {
            truth,
            wall_ms: AtomicI64::new(ahead_ms),
            shown_ms: AtomicI64::new(ahead_ms),
        }
    }

    /// The wall clock is set to so far ahead of the truth.
    pub(crate) fn jump(&self, ahead_ms: i64) {
        self.wall_ms.store(ahead_ms, Ordering::Relaxed);
        self.shown_ms.fetch_max(ahead_ms, Ordering::Relaxed);
    }

    /// The process starts again.
    pub(crate) fn restart(&self) {
        let wall = self.wall_ms.load(Ordering::Relaxed);
        self.shown_ms.store(wall, Ordering::Relaxed);
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let ahead = self.shown_ms.load(Ordering::Relaxed);
        let off = Duration::from_millis(ahead.unsigned_abs());
        if ahead < 0 {
            self.truth.now() - off
        } else {
            self.truth.now() + off
        }
    }

    fn steady(&self) -> Duration {
        self.truth.began.elapsed()
    }
}

// ---------------------------------------------------------------------------- a replica's fate

/// Whether a draw came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawn {
    Hit,
    Miss,
}

/// How a store is away for a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    /// It fails every call.
    Fails,
    /// It answers nothing, until its caller gives up.
    Hangs,
    /// It reads, and does not write.
    WritesNothing,
}

/// As long as a store of ours lets a call wait.
pub(crate) const STORE_CALL_LIMIT: Duration = Duration::from_secs(8);

impl Away {
    /// What a call finds; nothing where it gets through.
    pub(crate) async fn meets(self, operation: &'static str) -> Result<(), PortError> {
        let fails = || PortError::nothing_done("chaos store", operation, ErrorKind::Unavailable);
        match (self, operation) {
            (Self::WritesNothing, "commit" | "delivery_update" | "deliveries_take")
            | (Self::Fails, _) => Err(fails()),
            (Self::WritesNothing, _) => Ok(()),
            (Self::Hangs, _) => {
                tokio::time::sleep(STORE_CALL_LIMIT).await;
                Err(fails())
            }
        }
    }
}

/// The fate of one replica. Its ports ask before and after each call.
pub(crate) struct Chaos {
    pub(crate) replica: u64,
    /// How its store is away, and until when.
    pub(crate) away: Mutex<Option<(Away, Timestamp)>>,
    pub(crate) odds: Mutex<Odds>,
    pub(crate) random: Arc<SeededRandom>,
    pub(crate) truth: Arc<TrueClock>,
    pub(crate) clock: Arc<OffsetClock>,
    pub(crate) diary: Arc<Diary>,
    /// Whoever listens hears each death. Not a `watch`, which wakes in an order drawn by tokio.
    pub(crate) deaths: broadcast::Sender<()>,
}

impl Chaos {
    pub(crate) fn draw(&self, odds: impl Fn(&Odds) -> u64) -> Drawn {
        let odds = odds(&self.odds.lock().unwrap());
        if odds > 0 && self.random.below(1_000) < odds {
            Drawn::Hit
        } else {
            Drawn::Miss
        }
    }

    /// How its store is away now.
    pub(crate) fn store_away(&self) -> Option<Away> {
        let away = *self.away.lock().unwrap();
        let away = away.filter(|(_, until)| self.truth.now() < *until);
        away.map(|(how, _)| how)
    }

    /// The process ends here.
    pub(crate) fn die(&self) {
        // Nobody listens to a replica that is down.
        drop(self.deaths.send(()));
    }

    /// The replica may die here: the call never returns, and whoever runs the replica drops it.
    pub(crate) async fn crash_point(&self, point: &str) {
        let percent = self.odds.lock().unwrap().crash_percent;
        if percent == 0 {
            return;
        }
        let Some((_, odds)) = CRASH_POINTS.iter().find(|(name, _)| *name == point) else {
            return;
        };
        if self.random.below(10_000) < odds * percent / 100 {
            self.diary.counts.add(format!("crash {point}"));
            self.die();
            std::future::pending::<()>().await;
        }
    }

    pub(crate) async fn latency(&self) {
        let millis = self.random.below(40);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn store_failed(&self, call: StoreCall) {
        let trouble = match call.operation {
            "due" | "newest_commit" => Trouble::Blind,
            "deliveries" | "deliveries_take" | "delivery_update" | "story" => return,
            _ => Trouble::Store,
        };
        let now = self.truth.now();
        self.diary.mishap(Mishap {
            replica: self.replica,
            trouble,
            request: call.request,
            from: now,
            until: now,
        });
    }
}

/// The store as one replica sees it: slow, failing before or after its effect, or the last thing
/// that the replica ever asked.
pub(crate) struct ChaosTap {
    pub(crate) chaos: Arc<Chaos>,
}

#[async_trait]
impl Tap for ChaosTap {
    async fn before(&self, call: StoreCall) -> Result<(), PortError> {
        let chaos = &self.chaos;
        chaos
            .crash_point(&format!("before store.{}", call.operation))
            .await;
        chaos.latency().await;
        if let Some(away) = chaos.store_away() {
            away.meets(call.operation).await?;
        }
        if chaos.draw(|odds| odds.store_error) == Drawn::Hit {
            chaos.diary.counts.add("store error before");
            chaos.store_failed(call);
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("chaos store", call.operation, kind));
        }
        Ok(())
    }

    async fn after(&self, call: StoreCall) {
        self.chaos
            .crash_point(&format!("after store.{}", call.operation))
            .await;
    }

    async fn commit(
        &self,
        inner: &dyn RequestStore,
        commit: Commit,
    ) -> Result<Vec<Delivery>, CommitError> {
        let chaos = &self.chaos;
        let about = commit.changes.first().map(|change| change.record.id);
        let system = commit.system.iter().flat_map(|it| it.events.clone());
        let of_requests = commit.changes.iter().flat_map(|it| it.events.clone());
        let sealed: Vec<Sealed> = of_requests.chain(system).collect();
        let done = inner.commit(commit).await;
        match &done {
            Ok(_) => {
                let (at, clock) = (chaos.truth.now(), chaos.clock.now());
                let entries = sealed
                    .into_iter()
                    .map(|sealed| Committed { at, clock, sealed });
                chaos.diary.committed.lock().unwrap().extend(entries);
            }
            Err(CommitError::Conflict) => chaos.diary.counts.add("store conflict"),
            Err(_) => {}
        }
        if chaos.draw(|odds| odds.store_error) == Drawn::Hit {
            chaos.diary.counts.add("store reply lost");
            chaos.store_failed(StoreCall {
                operation: "commit",
                request: about,
            });
            let kind = ErrorKind::Unavailable;
            return Err(PortError::maybe_done("chaos store", "commit", kind).into());
        }
        done
    }
}

// ------------------------------------------------------------------------------------ telling

/// Tells nobody, and may be the last thing that a replica does.
pub(crate) struct Herald {
    pub(crate) chaos: Arc<Chaos>,
}

#[async_trait]
impl Notifier for Herald {
    fn name(&self) -> &'static str {
        "herald"
    }

    fn targets(&self, _request: &AccessRequest) -> Vec<String> {
        vec!["everybody".to_owned()]
    }

    async fn announce(&self, _said: Announcement<'_>) -> Result<Told, PortError> {
        self.chaos.crash_point("before notifier.announce").await;
        self.chaos.crash_point("after notifier.announce").await;
        Ok(Told {
            message: Some("message".to_owned()),
            again_at: None,
        })
    }
}

/// Keeps the alarms, unless the line is dead.
pub(crate) struct Beeper {
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) pages: Arc<Mutex<Vec<Alarm>>>,
    pub(crate) saboteur: Option<Saboteur>,
}

impl Beeper {
    fn keep(&self, alarm: &Alarm) {
        let mut pages = self.pages.lock().unwrap();
        let of_drift = |it: &Alarm| it.summary.contains("that no grant explains");
        let is_told = of_drift(alarm) && pages.iter().any(of_drift);
        if !(self.saboteur == Some(Saboteur::PagesOnce) && is_told) {
            pages.push(alarm.clone());
        }
    }
}

#[async_trait]
impl Pager for Beeper {
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError> {
        self.chaos.crash_point("before pager.page").await;
        if self.chaos.draw(|odds| odds.pager_error) == Drawn::Hit {
            self.chaos.diary.counts.add("pager error");
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("beeper", "page", kind));
        }
        self.keep(alarm);
        self.chaos.crash_point("after pager.page").await;
        Ok(())
    }
}
