//! Looking at once: what a process commits is tended and announced without waiting for the tick, and
//! whatever fails keeps its pause. Time stands still but for what somebody waits for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::engine::{ClockTrust, Engine, EngineParts, Verb};
use jit_core::policy::Policy;
use jit_core::ports::{
    Announcement, Clock, Delivery, ErrorKind, Notifier, PortError, Provisioner, Random,
    RequestStore, Told,
};
use jit_core::request::{AccessRequest, Status};
use jit_runtime::nudge::Nudge;
use jit_runtime::observe::MeteredStore;
use jit_runtime::worker::{Worker, WorkerSettings};
use jit_testkit::hostile::{HostileProvider, memory_standing};
use jit_testkit::stage::{Stage, catalog, rules, secs, tier, via};
use jit_testkit::time::SeededRandom;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::sim::chaos::TrueClock;
use crate::sim::tap::{StoreCall, Tap, Tapped};

const SLOW: Duration = Duration::from_secs(10);

/// A chat that keeps what it was told and when, unless it is down.
#[derive(Default)]
struct Chat {
    told: Mutex<Vec<(Instant, Status)>>,
    down: AtomicBool,
    /// The next message takes ten seconds.
    slow: AtomicBool,
    /// How long every message takes.
    takes: Mutex<Duration>,
    tries: AtomicU32,
    /// Whether each message had what is known beside its record.
    knew: Mutex<Vec<bool>>,
}

#[async_trait]
impl Notifier for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }
    fn targets(&self, _: &AccessRequest) -> Vec<String> {
        vec!["#access".to_owned()]
    }
    fn shows_background(&self) -> bool {
        true
    }
    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError> {
        self.tries.fetch_add(1, Ordering::Relaxed);
        if self.down.load(Ordering::Relaxed) {
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("chat", "tell", kind));
        }
        if self.slow.swap(false, Ordering::Relaxed) {
            tokio::time::sleep(SLOW).await;
        }
        let takes = *self.takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        let knew = announcement.background.is_some();
        self.knew.lock().unwrap().push(knew);
        let status = announcement.request.status();
        self.told.lock().unwrap().push((Instant::now(), status));
        Ok(Told::default())
    }
}

/// Counts how often the store is asked what is due; refuses every mark of a delivery, and leaves every
/// query without an answer, on demand.
#[derive(Default)]
struct Looks {
    due: AtomicU32,
    deliveries: AtomicU32,
    commits: AtomicU32,
    is_full: AtomicBool,
    /// No query is ever answered.
    queries_hang: AtomicBool,
}

#[async_trait]
impl Tap for Arc<Looks> {
    async fn before(&self, call: StoreCall) -> Result<(), PortError> {
        let count = match call.operation {
            "due" => Some(&self.due),
            "deliveries_take" => Some(&self.deliveries),
            "commit" => Some(&self.commits),
            _ => None,
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if call.operation == "query" && self.queries_hang.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let is_delivery = matches!(call.operation, "deliveries_take" | "delivery_update");
        if is_delivery && self.is_full.load(Ordering::Relaxed) {
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("store", "mark a delivery", kind));
        }
        Ok(())
    }
}

struct Process {
    stage: Stage,
    engine: Arc<Engine>,
    provider: HostileProvider,
    chat: Arc<Chat>,
    looks: Arc<Looks>,
    stop: Option<oneshot::Sender<()>>,
    working: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.working.abort();
    }
}

impl Process {
    /// A worker that looks this seldom by itself.
    fn ticking(tick: Duration) -> Self {
        let stage = Stage::new();
        let clock: Arc<dyn Clock> = Arc::new(TrueClock::new());
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(11));
        let provider = memory_standing(clock.clone(), Arc::new(SeededRandom::new(5)))
            .named("admins", "admins");
        let handle: Arc<dyn Provisioner> = Arc::new(provider.as_seen_by(clock.clone()));
        let (chat, looks, nudge) = (
            Arc::new(Chat::default()),
            Arc::new(Looks::default()),
            Nudge::default(),
        );
        let store: Arc<dyn RequestStore> = Arc::new(Tapped {
            inner: stage.store.clone(),
            tap: looks.clone(),
        });
        let parts = EngineParts {
            store: Arc::new(MeteredStore::new(store, nudge.clone())),
            directory: stage.people.clone(),
            provisioners: BTreeMap::from([("stage".parse().unwrap(), handle)]),
            notifiers: vec![chat.clone()],
            pager: stage.pager.clone(),
            clock,
            random: random.clone(),
            policy: Policy::new(vec![tier("tier", 1)], rules()).unwrap(),
            catalog: catalog("tier"),
        };
        let engine = Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap());
        let settings = WorkerSettings {
            tick,
            ..WorkerSettings::default()
        };
        let worker = Worker::new(engine.clone(), random, settings).woken_by(&nudge);
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await;
        };
        Self {
            stage,
            engine,
            provider,
            chat,
            looks,
            stop: Some(stop),
            working: tokio::spawn(worker.run(stopped)),
        }
    }

    /// Stops as at a SIGTERM.
    async fn stopped(mut self) -> Self {
        drop(self.stop.take());
        (&mut self.working).await.unwrap();
        self
    }

    /// Asks for a slot of its own.
    async fn asked(&self, duration: &str, number: u64) -> AccessRequest {
        let mut ask = self.stage.ask(duration);
        ask.parts[0].1.insert("number".to_owned(), number.into());
        self.engine.open(&via("ana"), ask).await.unwrap()
    }

    async fn approved(&self, duration: &str, number: u64) -> AccessRequest {
        let request = self.asked(duration, number).await;
        let approval = Stage::approval(&request);
        let bob = via("bob");
        let decided = self.engine.handle(&bob, request.id, approval);
        decided.await.unwrap()
    }

    /// How often the chat and the worker looked, in an hour.
    async fn looks_in_an_hour(&self) -> (u32, u32) {
        let count = |count: &AtomicU32| count.load(Ordering::Relaxed);
        let before = (count(&self.looks.deliveries), count(&self.looks.due));
        tokio::time::sleep(secs(3_600)).await;
        (
            count(&self.looks.deliveries) - before.0,
            count(&self.looks.due) - before.1,
        )
    }
}

/// Far less than the tick, and more than anything here takes.
const AT_ONCE: Duration = Duration::from_millis(20);

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_tended_and_announced_at_once() {
    let process = Process::ticking(secs(3_600));
    tokio::time::sleep(AT_ONCE).await;
    let began = Instant::now();
    let request = process.approved("50m", 0).await;
    tokio::time::sleep(AT_ONCE).await;
    assert_eq!(process.stage.status(request.id).await, Status::Active);
    let told = process.chat.told.lock().unwrap().clone();
    let (at, status) = *told.last().unwrap();
    assert_eq!(status, Status::Active);
    assert!(at.duration_since(began) < AT_ONCE, "{told:?}");
    // And what follows it: Ana is done.
    let (ana, done) = (via("ana"), Verb::End);
    process.engine.handle(&ana, request.id, done).await.unwrap();
    tokio::time::sleep(AT_ONCE).await;
    let (_, status) = *process.chat.told.lock().unwrap().last().unwrap();
    assert_eq!(status, process.stage.status(request.id).await);
    assert_ne!(status, Status::Active);
}

#[tokio::test(start_paused = true)]
async fn what_a_process_commits_it_tells_without_asking_the_store() {
    let process = Process::ticking(secs(3_600));
    tokio::time::sleep(AT_ONCE).await;
    let looks = || process.looks.deliveries.load(Ordering::Relaxed);
    let before = looks();
    for number in 0..20 {
        process.asked("50m", number).await;
        tokio::time::sleep(AT_ONCE).await;
    }
    assert_eq!(process.chat.told.lock().unwrap().len(), 20);
    assert_eq!(looks(), before);
    let due = { process.stage.store.deliveries() }.into_iter();
    let due: Vec<_> = due.filter(|it| it.deliver_at.is_some()).collect();
    assert_eq!(due, [], "and marks what it told");
}

#[tokio::test(start_paused = true)]
async fn more_than_can_be_sent_at_once_is_told_whole_and_once() {
    let process = Process::ticking(secs(1));
    tokio::time::sleep(AT_ONCE).await;
    *process.chat.takes.lock().unwrap() = SLOW;
    for number in 0..400 {
        process.asked("50m", number).await;
    }
    let taken = { process.stage.store.deliveries() }.into_iter();
    let taken = taken.filter(|it| it.taken_until.is_some()).count();
    // What is sent, what waits to be sent, and no more: the rest is for whoever has room.
    assert!((256..=310).contains(&taken), "{taken} taken");
    tokio::time::sleep(SLOW * 20).await;
    let told = process.chat.told.lock().unwrap().len();
    assert_eq!(told, 400, "each once");
}

#[tokio::test(start_paused = true)]
async fn what_waited_until_another_may_have_it_is_not_sent() {
    let process = Process::ticking(secs(1));
    tokio::time::sleep(AT_ONCE).await;
    // Fifty are on their way for longer than the others are ours.
    *process.chat.takes.lock().unwrap() = secs(3_600);
    for number in 0..60 {
        process.asked("50m", number).await;
    }
    tokio::time::sleep(secs(24)).await;
    *process.chat.takes.lock().unwrap() = Duration::ZERO;
    let tries = || process.chat.tries.load(Ordering::Relaxed);
    assert_eq!(tries(), 50);
    // The fifty are given up with their time, and the ten are taken anew before they are sent.
    tokio::time::sleep(secs(2)).await;
    assert_eq!(
        tries(),
        50,
        "there is room for the ten, and they are not ours"
    );
    tokio::time::sleep(secs(300)).await;
    let told = process.chat.told.lock().unwrap().len();
    assert_eq!(told, 60, "each once");
    assert_eq!(tries(), 110, "and none but these was tried again");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_comes_late_forgets_nothing_that_another_told_meanwhile() {
    let process = Process::ticking(secs(3_600)).stopped().await;
    let request = process.asked("50m", 0).await;
    let engine = &process.engine;
    let mut taken = engine.take_announcements("chat", 1).await.unwrap();
    let taken = taken.pop().unwrap();
    // Another took it over, and the card is there.
    let told = Delivery {
        version: taken.delivery.version + 1,
        message: Some("C1/17".to_owned()),
        deliver_at: None,
        taken_until: None,
        ..taken.delivery.clone()
    };
    process.stage.store.delivery_update(told).await.unwrap();
    process.chat.down.store(true, Ordering::Relaxed);
    engine
        .announce(taken, std::future::pending(), std::future::pending())
        .await;
    assert_eq!(process.chat.tries.load(Ordering::Relaxed), 1);
    let rows = { process.stage.store.deliveries() }.into_iter();
    let rows: Vec<_> = rows.filter(|it| it.key.request == request.id).collect();
    assert_eq!(rows[0].message.as_deref(), Some("C1/17"));
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_at_the_stop_is_sent_and_marked_and_the_rest_is_left() {
    let process = Process::ticking(secs(3_600));
    tokio::time::sleep(AT_ONCE).await;
    *process.chat.takes.lock().unwrap() = SLOW;
    for number in 0..10 {
        process.asked("50m", number).await;
    }
    tokio::time::sleep(AT_ONCE).await;
    let began = Instant::now();
    let process = process.stopped().await;
    assert!(began.elapsed() < secs(14));
    assert_eq!(process.chat.told.lock().unwrap().len(), 10);
    let due = { process.stage.store.deliveries() }.into_iter();
    let due: Vec<_> = due.filter(|it| it.deliver_at.is_some()).collect();
    assert_eq!(due, [], "nobody sends them again");
    // Nothing is taken any more by whoever has no loop to send it.
    process.asked("50m", 11).await;
    let left = { process.stage.store.deliveries() }.into_iter();
    let left: Vec<_> = left.filter(|it| it.deliver_at.is_some()).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].taken_until, None);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_takes_long_holds_up_no_other_and_its_news_follow_at_once() {
    let process = Process::ticking(secs(3_600));
    let told = || process.chat.told.lock().unwrap().clone();
    tokio::time::sleep(AT_ONCE).await;
    process.chat.slow.store(true, Ordering::Relaxed);
    let slow = process.asked("50m", 0).await;
    tokio::time::sleep(AT_ONCE).await;
    process.asked("50m", 1).await;
    tokio::time::sleep(AT_ONCE).await;
    assert_eq!(told().len(), 1, "the second, while the first is on its way");
    let ana = via("ana");
    let withdrawn = process.engine.handle(&ana, slow.id, Verb::Withdraw);
    withdrawn.await.unwrap();
    tokio::time::sleep(AT_ONCE).await;
    assert_eq!(told().len(), 1, "nothing overtakes what is on its way");
    tokio::time::sleep(SLOW).await;
    let said: Vec<Status> = told().into_iter().map(|(_, status)| status).collect();
    let last = Status::Withdrawn;
    assert_eq!(said, [Status::Pending, Status::Pending, last]);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_committed_only_the_tick_looks() {
    let process = Process::ticking(secs(1));
    process.asked("50m", 0).await;
    tokio::time::sleep(AT_ONCE).await;
    let (chat, worker) = process.looks_in_an_hour().await;
    // The request lapses in that hour, or is checkpointed; a few commits, a look each.
    assert!((3_590..3_700).contains(&worker), "{worker}");
    // The pager looks as the chat does.
    assert!((7_180..7_400).contains(&chat), "{chat}");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_and_a_chat_that_is_down_keep_their_pauses() {
    let process = Process::ticking(secs(1));
    let active = process.approved("5m", 0).await;
    tokio::time::sleep(AT_ONCE).await;
    assert_eq!(process.stage.status(active.id).await, Status::Active);
    process.chat.down.store(true, Ordering::Relaxed);
    // A grant that fails, a revoke that fails, and a record that cannot be read.
    let poison = process.asked("30m", 2).await;
    process.approved("30m", 1).await;
    process.provider.outage_until(Timestamp::MAX);
    process.stage.store.put_stored(poison.id, "{}");
    let tries = process.chat.tries.load(Ordering::Relaxed);
    let commits = process.looks.commits.load(Ordering::Relaxed);
    let (chat, worker) = process.looks_in_an_hour().await;
    let commits = process.looks.commits.load(Ordering::Relaxed) - commits;
    // A lease that fails is tried every second until it is given up after ten minutes; and what time
    // it is is written down at most every ten seconds.
    assert!(commits < 1_600 + 360, "{commits} commits in an hour");
    assert!(worker <= 3_600 + commits, "{worker} looks");
    assert!(chat <= 2 * (3_600 + commits), "{chat} looks");
    // A try a minute and delivery, and the quick ones before and after each news.
    let tries = process.chat.tries.load(Ordering::Relaxed) - tries;
    assert!((60..1_000).contains(&tries), "{tries} tries");
}

#[tokio::test(start_paused = true)]
async fn deliveries_that_cannot_be_marked_are_tried_once_a_tick() {
    let process = Process::ticking(secs(1));
    process.chat.down.store(true, Ordering::Relaxed);
    process.looks.is_full.store(true, Ordering::Relaxed);
    for number in 0..120 {
        process.asked("50m", number).await;
    }
    tokio::time::sleep(AT_ONCE).await;
    let (chat, _) = process.looks_in_an_hour().await;
    // One of the chat a tick, one of the pager.
    assert!((7_180..7_400).contains(&chat), "{chat} looks");
    // Once they can be, all are told.
    process.looks.is_full.store(false, Ordering::Relaxed);
    process.chat.down.store(false, Ordering::Relaxed);
    tokio::time::sleep(secs(2)).await;
    assert!(process.chat.told.lock().unwrap().len() >= 120);
}

#[tokio::test(start_paused = true)]
async fn people_are_told_though_what_is_known_beside_it_cannot_be_looked_up() {
    let process = Process::ticking(secs(3_600));
    let knew = || process.chat.knew.lock().unwrap().clone();
    process.asked("50m", 0).await;
    tokio::time::sleep(AT_ONCE).await;
    assert_eq!(knew(), [true]);
    process.looks.queries_hang.store(true, Ordering::Relaxed);
    process.asked("50m", 1).await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(knew(), [true], "it is still looked up");
    tokio::time::sleep(secs(2)).await;
    assert_eq!(knew(), [true, false]);
    assert_eq!(process.chat.tries.load(Ordering::Relaxed), 2, "once each");
}
