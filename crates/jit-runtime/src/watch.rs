//! The gauges, refreshed in the background, and the page for a clock that is off. It reads and
//! tells; it changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jit_core::engine::{ClockOffset, Engine, PAGER};
use jit_core::ports::{Alarm, PortError};
use jit_core::time::Timestamp;

use crate::observe::{
    CLOCK_OFFSET_SECONDS, DELIVERIES_PENDING, INBOX_AGE_SECONDS, LISTINGS_AGE_SECONDS, LIVE_GRANTS,
    OVERDUE_GRANTS, STORE_AWAY_SECONDS, STUCK,
};

/// How often the gauges are refreshed and the clock is looked at.
pub const EVERY: Duration = Duration::from_secs(5);
/// A clock that is further off than this is warned of in the log.
const CLOCK_DOUBTFUL: Duration = Duration::from_secs(2);
/// A clock that is further off than this is paged; the engine grants nothing then.
const CLOCK_OFF: Duration = Duration::from_secs(5);
/// A store that is away for longer than this is paged.
const STORE_PAGED_AFTER: Duration = Duration::from_secs(15);
/// The most pending deliveries that are counted.
const PAGE: usize = 1_000;

/// Watches one engine.
pub struct Watch {
    engine: Arc<Engine>,
    /// Who has deliveries, by the names in their rows.
    notifiers: Vec<String>,
    /// The live grants of every provider that ever had one, or may.
    live: BTreeMap<String, usize>,
    clock: Episode,
    doubt: Doubt,
    store: Outage,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// How far an alarm has come that is raised once for each time that something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Episode {
    /// All is well.
    Well,
    /// Wrong, and nobody was told yet.
    Untold {
        since: Timestamp,
        offset: ClockOffset,
    },
    /// Wrong, and somebody was told.
    Told,
}

/// How far the alarm of a store that is away has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    /// It answers.
    None,
    /// It is away, and nobody was told yet.
    Untold { since: Timestamp },
    /// It is away, and somebody was told.
    Told,
}

/// Whether the clock is far enough off to be warned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    Warned,
}

impl Watch {
    /// A watch on this engine, whose notifiers have these names.
    pub fn new(engine: Arc<Engine>, notifiers: impl IntoIterator<Item = String>) -> Self {
        // It stays 0 where no chat takes inputs.
        metrics::gauge!(INBOX_AGE_SECONDS).set(0.0);
        let entitlements = engine.catalog().iter();
        let live = entitlements.map(|entry| (entry.id.provider().to_string(), 0));
        let live = live.collect();
        Self {
            live,
            engine,
            notifiers: notifiers.into_iter().chain([PAGER.to_owned()]).collect(),
            clock: Episode::Well,
            doubt: Doubt::None,
            store: Outage::None,
        }
    }

    /// Watches until it is dropped.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.look().await {
                tracing::error!(
                    error = %error.chain(), "the gauges cannot be refreshed"
                );
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Refreshes every gauge once, and pages where the clock was found off.
    pub async fn look(&mut self) -> Result<(), PortError> {
        self.look_at_clock().await;
        self.look_at_store().await;
        self.count_live();
        let store = self.engine.store();
        let pending = store
            .deliveries_due(&self.notifiers, Timestamp::MAX, PAGE)
            .await?;
        metrics::gauge!(DELIVERIES_PENDING).set(as_gauge(pending.len()));
        if let Some(age) = self.engine.listings_age() {
            metrics::gauge!(LISTINGS_AGE_SECONDS).set(age.as_secs_f64());
        }
        Ok(())
    }

    fn count_live(&mut self) {
        let live = self.engine.count_live(self.engine.now());
        // A provider whose last grant ended shows 0, not its last number.
        self.live.values_mut().for_each(|count| *count = 0);
        let counts = live.by_provider.into_iter();
        self.live
            .extend(counts.map(|(provider, count)| (provider.to_string(), count)));
        for (provider, count) in &self.live {
            metrics::gauge!(LIVE_GRANTS, "provider" => provider.clone()).set(as_gauge(*count));
        }
        metrics::gauge!(OVERDUE_GRANTS).set(as_gauge(live.overdue));
        metrics::gauge!(STUCK).set(as_gauge(live.stuck));
    }

    /// Pages once for each time that the store is away.
    async fn look_at_store(&mut self) {
        let since = self.engine.store_away_since();
        let away = since.map(|since| self.engine.now().since(since));
        metrics::gauge!(STORE_AWAY_SECONDS).set(away.unwrap_or_default().as_secs_f64());
        self.store = match (self.store, since) {
            (_, None) => Outage::None,
            (Outage::None, Some(since)) => Outage::Untold { since },
            (going_on, Some(_)) => going_on,
        };
        let Outage::Untold { since } = self.store else {
            return;
        };
        if self.engine.now().since(since) < STORE_PAGED_AFTER {
            return;
        }
        let summary = "The store does not answer, or does not write: nothing is granted until it \
                       does; this process tries to take away what it knows of on time without it, \
                       and writes that down when it is back: do not restart it";
        let alarm = Alarm {
            request: None,
            summary: summary.to_owned(),
            at: since,
        };
        match self.engine.pager().page(&alarm).await {
            Ok(()) => self.store = Outage::Told,
            Err(error) => tracing::warn!(
                error = %error.chain(),
                "a page was not taken and will be tried again",
            ),
        }
    }

    async fn look_at_clock(&mut self) {
        let offset = self.engine.clock_offset();
        let by = offset.by();
        // Taken from 0, so that no offset is 0 and not -0.
        let shown = match offset {
            ClockOffset::Behind(by) => 0.0 - by.as_secs_f64(),
            ClockOffset::None | ClockOffset::Ahead(_) => by.as_secs_f64(),
        };
        metrics::gauge!(CLOCK_OFFSET_SECONDS).set(shown);
        self.doubt = match (self.doubt, by > CLOCK_DOUBTFUL) {
            (_, false) => Doubt::None,
            (Doubt::Warned, true) => Doubt::Warned,
            (Doubt::None, true) => {
                tracing::warn!(
                    offset_ms = (shown * 1_000.0).round(),
                    "the clock of this host is off what other processes wrote or providers say; above \
                     5 s it grants nothing",
                );
                Doubt::Warned
            }
        };
        self.clock = match (self.clock, by > CLOCK_OFF) {
            (_, false) => Episode::Well,
            (Episode::Well, true) => Episode::Untold {
                since: self.engine.now(),
                offset,
            },
            (going_on, true) => going_on,
        };
        // Told as it was found: what is tried again must be the same alarm, or it would be many.
        let Episode::Untold { since, offset } = self.clock else {
            return;
        };
        let way = match offset {
            ClockOffset::Behind(_) => "behind what other processes wrote or providers say",
            ClockOffset::None | ClockOffset::Ahead(_) => "ahead of what providers say",
        };
        let summary = format!(
            "The clock of this host is {} s {way}: nothing is granted until it is mended and, where \
             it was ahead, this process is started again; access still ends by it. If this clock is \
             the right one, start with --trust-clock",
            offset.by().as_secs()
        );
        let alarm = Alarm {
            request: None,
            summary,
            at: since,
        };
        match self.engine.pager().page(&alarm).await {
            Ok(()) => self.clock = Episode::Told,
            Err(error) => tracing::warn!(
                error = %error.chain(),
                "a page was not taken and will be tried again",
            ),
        }
    }
}

fn as_gauge(count: usize) -> f64 {
    count as f64
}
