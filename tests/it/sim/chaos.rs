//! What goes wrong around a replica: every call of a port may fail before or after its effect,
//! take its time, or be the last thing that the replica does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, Sealed};
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Clock, Commit, CommitError, Delivery, Directory, Due, ErrorKind, GrantCall, Idempotency, Inbox,
    InboxItem, InspectCall, Minted, Page, PortError, Provisioner, Query, RequestStore, RevokeCall,
    Row, Standing,
};
use jit_core::principal::{PrincipalId, Profile};
use jit_core::provider::{Answer, Description, Parameters, Presence, SlotKey, Target};
use jit_core::request::{AccessRequest, RequestId, Slot};
use jit_testkit::store::MemoryStore;
use jit_testkit::time::SeededRandom;
use tokio::sync::watch;

/// How often things happened, by name.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    pub(crate) fn add(&self, name: impl Into<String>) {
        *self.0.lock().unwrap().entry(name.into()).or_default() += 1;
    }

    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap().clone()
    }
}

/// How often the ports of a replica misbehave, per mille of their calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Odds {
    /// Scales the odds of every crash point; 0 is never, 100 is [`CRASH_POINTS`] as they stand.
    pub(crate) crash_percent: u64,
    pub(crate) store_error: u64,
    pub(crate) directory_error: u64,
}

/// Where a replica may die, and how often per ten thousand calls: the rarer the call, the more
/// often, so that every point is hit.
pub(crate) const CRASH_POINTS: [(&str, u64); 28] = [
    ("before store.load", 26),
    ("after store.load", 28),
    ("before store.slot", 320),
    ("after store.slot", 380),
    ("before store.commit", 55),
    ("after store.commit", 50),
    ("before store.due", 5),
    ("after store.due", 4),
    ("before store.deliveries_due", 4),
    ("after store.deliveries_due", 4),
    ("before store.delivery_update", 65),
    ("after store.delivery_update", 110),
    ("before store.events", 230),
    ("after store.events", 160),
    ("before provider.resolve", 450),
    ("after provider.resolve", 230),
    ("before provider.grant", 2000),
    ("after provider.grant", 2000),
    ("before provider.mint", 4000),
    ("after provider.mint", 5000),
    ("before provider.revoke", 900),
    ("after provider.revoke", 1100),
    ("before provider.inspect", 150),
    ("after provider.inspect", 170),
    ("before directory.profile", 60),
    ("after directory.profile", 60),
    ("before notifier.announce", 120),
    ("after notifier.announce", 190),
];

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

/// A replica's clock: the true time, some way off.
pub(crate) struct OffsetClock {
    pub(crate) truth: Arc<TrueClock>,
    pub(crate) ahead: Duration,
    pub(crate) behind: Duration,
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        self.truth.now() + self.ahead - self.behind
    }
}

/// The fate of one replica. Its ports ask before and after each call.
pub(crate) struct Chaos {
    pub(crate) odds: Mutex<Odds>,
    pub(crate) random: Arc<SeededRandom>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) deaths: watch::Sender<u64>,
}

impl Chaos {
    fn hits(&self, odds: u64) -> bool {
        odds > 0 && self.random.below(1_000) < odds
    }

    /// The replica may die here: the call never returns, and whoever runs the replica drops it.
    pub(crate) async fn crash_point(&self, point: &str) {
        let percent = self.odds.lock().unwrap().crash_percent;
        if percent == 0 {
            return;
        }
        let (_, odds) = CRASH_POINTS
            .iter()
            .find(|(name, _)| *name == point)
            .unwrap();
        if self.random.below(10_000) < odds * percent / 100 {
            self.counts.add(format!("crash {point}"));
            self.deaths.send_modify(|deaths| *deaths += 1);
            std::future::pending::<()>().await;
        }
    }

    async fn latency(&self) {
        let millis = self.random.below(40);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

/// One event as it was really committed.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) at: Timestamp,
    pub(crate) sealed: Sealed,
}

/// The store that all replicas share, with the journal beside it.
pub(crate) struct SharedStore {
    pub(crate) memory: MemoryStore,
    pub(crate) truth: Arc<TrueClock>,
    pub(crate) journal: Mutex<Vec<Committed>>,
}

/// The store as one replica sees it.
pub(crate) struct ChaosStore {
    pub(crate) shared: Arc<SharedStore>,
    pub(crate) chaos: Arc<Chaos>,
}

impl ChaosStore {
    async fn before(&self, operation: &'static str) -> Result<(), PortError> {
        self.chaos
            .crash_point(&format!("before store.{operation}"))
            .await;
        self.chaos.latency().await;
        let odds = self.chaos.odds.lock().unwrap().store_error;
        if self.chaos.hits(odds) {
            self.chaos.counts.add("store error before");
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("chaos store", operation, kind));
        }
        Ok(())
    }

    async fn after(&self, operation: &'static str) {
        self.chaos
            .crash_point(&format!("after store.{operation}"))
            .await;
    }
}

macro_rules! read_through {
    ($self:ident, $name:literal, $call:expr) => {{
        $self.before($name).await?;
        let answer = $call.await;
        $self.after($name).await;
        answer
    }};
}

#[async_trait]
impl RequestStore for ChaosStore {
    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        read_through!(self, "load", self.shared.memory.load(id))
    }

    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError> {
        read_through!(self, "slot", self.shared.memory.slot(key))
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.before("commit").await?;
        let sealed: Vec<Sealed> = commit
            .changes
            .iter()
            .flat_map(|change| change.events.clone())
            .collect();
        let done = self.shared.memory.commit(commit).await;
        match &done {
            Ok(()) => {
                let at = self.shared.truth.now();
                let entries = sealed.into_iter().map(|sealed| Committed { at, sealed });
                self.shared.journal.lock().unwrap().extend(entries);
            }
            Err(CommitError::Conflict) => self.chaos.counts.add("store conflict"),
            Err(_) => {}
        }
        self.after("commit").await;
        let odds = self.chaos.odds.lock().unwrap().store_error;
        if self.chaos.hits(odds) {
            self.chaos.counts.add("store reply lost");
            let kind = ErrorKind::Unavailable;
            return Err(PortError::maybe_done("chaos store", "commit", kind).into());
        }
        done
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        read_through!(self, "due", self.shared.memory.due(now, limit))
    }

    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        let memory = &self.shared.memory;
        read_through!(
            self,
            "deliveries_due",
            memory.deliveries_due(notifiers, now, limit)
        )
    }

    async fn delivery_update(&self, delivery: Delivery) -> Result<(), CommitError> {
        read_through!(
            self,
            "delivery_update",
            self.shared.memory.delivery_update(delivery)
        )
    }

    async fn events(&self, id: RequestId) -> Result<Vec<Sealed>, PortError> {
        read_through!(self, "events", self.shared.memory.events(id))
    }

    async fn system_events(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, PortError> {
        self.shared.memory.system_events(after, limit).await
    }

    async fn system_head(&self) -> Result<ChainHead, PortError> {
        self.shared.memory.system_head().await
    }

    async fn query(&self, query: &Query) -> Result<Vec<AccessRequest>, PortError> {
        self.shared.memory.query(query).await
    }

    async fn by_suffix(&self, suffix: &str) -> Result<Vec<RequestId>, PortError> {
        self.shared.memory.by_suffix(suffix).await
    }

    async fn chains(
        &self,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestId>, PortError> {
        self.shared.memory.chains(after, limit).await
    }

    async fn idempotency(&self, key: &str) -> Result<Option<Idempotency>, PortError> {
        self.shared.memory.idempotency(key).await
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, PortError> {
        self.shared.memory.row(table, key).await
    }

    async fn rows(&self, table: &'static str) -> Result<Vec<Row>, PortError> {
        self.shared.memory.rows(table).await
    }

    async fn inbox_put(
        &self,
        key: &str,
        input: &str,
        received_at: Timestamp,
    ) -> Result<Inbox, PortError> {
        self.shared.memory.inbox_put(key, input, received_at).await
    }

    async fn inbox_take(&self, now: Timestamp, limit: usize) -> Result<Vec<InboxItem>, PortError> {
        self.shared.memory.inbox_take(now, limit).await
    }

    async fn inbox_done(&self, key: &str) -> Result<(), PortError> {
        self.shared.memory.inbox_done(key).await
    }
}

/// A provider as one replica sees it: hostile by itself, and the replica may die at its calls.
pub(crate) struct ChaosProvisioner {
    pub(crate) inner: Arc<dyn Provisioner>,
    pub(crate) chaos: Arc<Chaos>,
    /// Requests the reply to whose grant call reaches its worker very late.
    pub(crate) slow_replies: Arc<Mutex<BTreeSet<RequestId>>>,
    pub(crate) clock: Arc<OffsetClock>,
    /// How often, per mille, the process is held up between the intent and the call until the call
    /// may only just be sent.
    pub(crate) late_sends: u64,
}

impl ChaosProvisioner {
    async fn hold_up(&self, send_before: Timestamp) {
        if self.chaos.hits(self.late_sends) {
            self.chaos.counts.add("late send");
            let left = send_before.since(self.clock.now());
            let late = Duration::from_millis(200);
            let spare = Duration::from_millis(self.chaos.random.below(1_500));
            tokio::time::sleep((left + late).saturating_sub(spare)).await;
        }
    }
}

macro_rules! call_through {
    ($self:ident, $name:literal, $call:expr) => {{
        $self
            .chaos
            .crash_point(concat!("before provider.", $name))
            .await;
        let answer = $call.await;
        $self
            .chaos
            .crash_point(concat!("after provider.", $name))
            .await;
        answer
    }};
}

#[async_trait]
impl Provisioner for ChaosProvisioner {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Target, PortError> {
        call_through!(
            self,
            "resolve",
            self.inner.resolve(beneficiary, entitlement, parameters)
        )
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.hold_up(call.send_before).await;
        let request = call.request;
        let answer = call_through!(self, "grant", self.inner.grant(call));
        if self.slow_replies.lock().unwrap().remove(&request) {
            self.chaos.counts.add("slow reply");
            tokio::time::sleep(Duration::from_secs(55)).await;
        }
        answer
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        call_through!(self, "mint", self.inner.mint(call))
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        call_through!(self, "revoke", self.inner.revoke(call))
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        call_through!(self, "inspect", self.inner.inspect(call))
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        self.inner.standing(resource, page).await
    }
}

/// People who come and go, with the instants at which they did.
pub(crate) struct People {
    pub(crate) truth: Arc<TrueClock>,
    pub(crate) profiles: Mutex<BTreeMap<PrincipalId, Profile>>,
    /// From when to when each account was not active.
    pub(crate) away: Mutex<Vec<(PrincipalId, Timestamp, Option<Timestamp>)>>,
    /// Until when nobody can be looked up.
    pub(crate) down_until: Mutex<Timestamp>,
}

impl People {
    pub(crate) fn set_active(&self, id: &PrincipalId, active: bool) {
        let now = self.truth.now();
        let mut profiles = self.profiles.lock().unwrap();
        let profile = profiles.get_mut(id).unwrap();
        if profile.active == active {
            return;
        }
        profile.active = active;
        let mut away = self.away.lock().unwrap();
        if active {
            let open = away
                .iter_mut()
                .find(|(who, _, until)| who == id && until.is_none());
            open.unwrap().2 = Some(now);
        } else {
            away.push((id.clone(), now, None));
        }
    }

    /// Whether the account was inactive during the whole of this time.
    pub(crate) fn was_away(&self, id: &PrincipalId, from: Timestamp, until: Timestamp) -> bool {
        self.away.lock().unwrap().iter().any(|(who, left, back)| {
            who == id && *left <= from && back.is_none_or(|back| back >= until)
        })
    }
}

/// The directory as one replica sees it.
pub(crate) struct ChaosDirectory {
    pub(crate) people: Arc<People>,
    pub(crate) chaos: Arc<Chaos>,
}

#[async_trait]
impl Directory for ChaosDirectory {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.chaos.crash_point("before directory.profile").await;
        self.chaos.latency().await;
        let odds = self.chaos.odds.lock().unwrap().directory_error;
        let down = self.people.truth.now() < *self.people.down_until.lock().unwrap();
        if down || self.chaos.hits(odds) {
            self.chaos.counts.add("directory error");
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("chaos directory", "look up", kind));
        }
        let found = self.people.profiles.lock().unwrap().get(id).cloned();
        self.chaos.crash_point("after directory.profile").await;
        Ok(found)
    }
}
