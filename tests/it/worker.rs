//! The worker loop: one record's failure delays no other, revokes go first, nothing that hangs holds
//! up what ends access or wakes people, and a pass pays what is due. The simulation drives the same loop through thousands of lifecycles.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ProviderName};
use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::Policy;
use jit_core::ports::{
    Announcement, Clock, Directory, InspectCall, Notifier, PortError, Provisioner, Random,
    RequestStore, RevokeCall, Told,
};
use jit_core::principal::{PrincipalId, Profile};
use jit_core::provider::{Answer, Parameters, Presence, Resolved};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_runtime::worker::{Swept, Worker, WorkerSettings};
use jit_testkit::front::{Front, Meddle};
use jit_testkit::hostile::{HostileHandle, HostileProvider, memory_standing};
use jit_testkit::stage::{People, Stage, catalog, rules, secs, tier, via};
use jit_testkit::time::SeededRandom;

use crate::sim::chaos::TrueClock;

pub(crate) fn worker(engine: &Arc<Engine>, tasks_per_provider: usize) -> Worker {
    let tick = WorkerSettings::default().tick;
    ticking(engine, tasks_per_provider, tick)
}

pub(crate) fn ticking(engine: &Arc<Engine>, tasks_per_provider: usize, tick: Duration) -> Worker {
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(11));
    let settings = WorkerSettings {
        tick,
        tasks_per_provider,
        ..WorkerSettings::default()
    };
    Worker::new(engine.clone(), random, settings)
}

/// An approved request with a slot of its own.
async fn approved(stage: &Stage, number: u64) -> AccessRequest {
    let mut ask = stage.ask("10m");
    let mut parameters = Parameters::new();
    parameters.insert("number".to_owned(), number.into());
    ask.parts[0].1 = parameters;
    let request = stage.engine.open(&via("ana"), ask).await.unwrap();
    stage.approve("bob", &request).await
}

#[tokio::test]
async fn a_pass_pays_everything_that_is_due() {
    let stage = Stage::new();
    let mut requests = vec![];
    for number in 0..30 {
        requests.push(approved(&stage, number).await);
    }
    let mut sweeper = worker(&stage.engine, 4);
    let swept = sweeper.sweep().await.unwrap();
    assert!(swept.tended >= 30 && swept.failed == 0, "{swept:?}");
    for request in &requests {
        assert_eq!(stage.status(request.id).await, Status::Active);
    }
    stage.clock.advance(secs(601));
    sweeper.sweep().await.unwrap();
    for request in &requests {
        assert!(!stage.is_there(request));
    }
    stage.clock.advance(secs(60));
    sweeper.sweep().await.unwrap();
    for request in &requests {
        assert_eq!(stage.status(request.id).await, Status::Closed);
    }
    assert_eq!(sweeper.sweep().await.unwrap(), Swept::default());
}

#[tokio::test]
async fn l3_one_poison_record_delays_no_other() {
    let stage = Stage::new();
    let poison = approved(&stage, 0).await;
    let healthy = approved(&stage, 1).await;
    let mut sweeper = worker(&stage.engine, 4);
    sweeper.sweep().await.unwrap();
    // The record was damaged on disk: it is due, and cannot be tended.
    let stored = stage.store.stored();
    let (_, text) = stored.iter().find(|(id, _)| *id == poison.id).unwrap();
    stage.store.put_stored(
        poison.id,
        &text.replace("\"phase\":\"active\"", "\"phase\":\"?\""),
    );
    assert!(stage.store.load(poison.id).await.is_err());
    stage.clock.advance(secs(601));
    let swept = sweeper.sweep().await.unwrap();
    assert!(swept.failed > 0, "{swept:?}");
    assert!(!stage.is_there(&healthy));
    // It is put off, and tried again later.
    let again = sweeper.sweep().await.unwrap();
    assert_eq!(again.failed, 0, "{again:?}");
    stage.clock.advance(Duration::from_secs(90));
    assert!(sweeper.sweep().await.unwrap().failed > 0);
    // Mended, it is revoked like any other.
    stage.store.put_stored(poison.id, text);
    stage.clock.advance(Duration::from_secs(90));
    sweeper.sweep().await.unwrap();
    assert!(!stage.is_there(&poison));
}

#[tokio::test]
async fn l3_a_page_full_of_grants_hides_no_revoke() {
    let stage = Stage::new();
    let active = approved(&stage, 0).await;
    worker(&stage.engine, 4).sweep().await.unwrap();
    assert!(stage.is_there(&active));
    stage.clock.advance(secs(590));
    for number in 1..60 {
        approved(&stage, number).await;
    }
    stage.clock.advance(secs(10));
    // The grants have been due for longer; the revoke is listed before them all the same.
    let due = stage.engine.due(1).await.unwrap();
    assert_eq!(due[0].id, active.id);
}

// ------------------------------------------------------------------------- a provider that hangs

/// A provider that never answers once it is told to hang, as behind a broken network.
struct Hanging {
    inner: HostileHandle,
    hangs: Arc<AtomicBool>,
}

impl Hanging {
    async fn answer<T>(&self, answer: impl Future<Output = T>) -> T {
        if self.hangs.load(Ordering::Relaxed) {
            // Longer than any call may take by its contract.
            tokio::time::sleep(Duration::from_secs(15)).await;
            std::future::pending::<()>().await;
        }
        answer.await
    }
}

#[async_trait]
impl Meddle for Hanging {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.answer(self.inner.revoke(call)).await
    }
    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.answer(self.inner.inspect(call)).await
    }
}

/// What stands around a worker of these tests, on the true time.
pub(crate) struct Around {
    pub(crate) store: Arc<dyn RequestStore>,
    clock: Arc<TrueClock>,
    directory: Arc<dyn Directory>,
    provisioners: BTreeMap<ProviderName, Arc<dyn Provisioner>>,
    notifiers: Vec<Arc<dyn Notifier>>,
    catalog: Vec<Entitlement>,
}

impl Around {
    /// With nothing out of the ordinary but this provider.
    pub(crate) fn provider(
        stage: &Stage,
        clock: Arc<TrueClock>,
        provider: Arc<dyn Provisioner>,
    ) -> Self {
        Self {
            store: stage.store.clone(),
            clock,
            directory: stage.people.clone(),
            provisioners: BTreeMap::from([("stage".parse().unwrap(), provider)]),
            notifiers: vec![],
            catalog: catalog("tier").iter().cloned().collect(),
        }
    }

    pub(crate) fn engine(self, stage: &Stage, seed: u64) -> Arc<Engine> {
        let parts = EngineParts {
            store: self.store,
            directory: self.directory,
            provisioners: self.provisioners,
            notifiers: self.notifiers,
            pager: stage.pager.clone(),
            clock: self.clock,
            random: Arc::new(SeededRandom::new(seed)),
            policy: Policy::new(vec![tier("tier", 1)], rules()).unwrap(),
            catalog: self.catalog.into_iter().collect(),
        };
        Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap())
    }
}

/// Asks for `stage/admins` in a slot of its own, and approves it.
pub(crate) async fn asked(
    stage: &Stage,
    engine: &Engine,
    duration: &str,
    number: u64,
) -> AccessRequest {
    let mut ask = stage.ask(duration);
    ask.parts[0].1.insert("number".to_owned(), number.into());
    let request = engine.open(&via("ana"), ask).await.unwrap();
    let approval = Stage::approval(&request);
    engine
        .handle(&via("bob"), request.id, approval)
        .await
        .unwrap()
}

pub(crate) fn memory(clock: &Arc<TrueClock>) -> HostileProvider {
    let clock: Arc<dyn Clock> = clock.clone();
    memory_standing(clock, Arc::new(SeededRandom::new(5))).named("admins", "admins")
}

pub(crate) fn is_there(
    provider: &HostileProvider,
    request: &AccessRequest,
    clock: &TrueClock,
) -> bool {
    let part = request.parts.first();
    let ledger = provider.ledger();
    ledger.present(&part.target, &part.parameters, clock.now())
}

/// Lets these run side by side for so long.
pub(crate) async fn for_a_while(running: impl Future<Output = ()>, time: Duration) {
    assert!(tokio::time::timeout(time, running).await.is_err());
}

// ------------------------------------------------------------------------ a directory that hangs

struct HangingDirectory {
    inner: Arc<People>,
    hangs: AtomicBool,
}

#[async_trait]
impl Directory for HangingDirectory {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.inner.profile(id).await
    }
}

/// A service whose directory can be made to hang.
fn behind_a_directory(
    stage: &Stage,
) -> (
    Arc<TrueClock>,
    HostileProvider,
    Arc<HangingDirectory>,
    Arc<Engine>,
) {
    let clock = Arc::new(TrueClock::new());
    let provider = memory(&clock);
    let directory = Arc::new(HangingDirectory {
        inner: stage.people.clone(),
        hangs: AtomicBool::new(false),
    });
    let handle = Arc::new(provider.as_seen_by(clock.clone()));
    let around = Around {
        directory: directory.clone(),
        ..Around::provider(stage, clock.clone(), handle)
    };
    (clock, provider, directory, around.engine(stage, 3))
}

#[tokio::test(start_paused = true)]
async fn l3_a_directory_that_hangs_delays_no_revoke() {
    let stage = Stage::new();
    let (clock, provider, directory, engine) = behind_a_directory(&stage);
    // Everybody is looked up again 5 min after their access began; one grant ends soon after.
    for number in 0..100 {
        let request = asked(&stage, &engine, "10m", number).await;
        engine.tend(request.id).await.unwrap();
    }
    let ending = asked(&stage, &engine, "310s", 100).await;
    engine.tend(ending.id).await.unwrap();
    assert!(is_there(&provider, &ending, &clock));
    directory.hangs.store(true, Ordering::Relaxed);
    let running = worker(&engine, 16).run(std::future::pending());
    for_a_while(running, secs(315)).await;
    assert!(
        !is_there(&provider, &ending, &clock),
        "the revoke waited behind those who are looked up"
    );
}

#[tokio::test(start_paused = true)]
async fn l1_whoever_is_looked_up_when_the_time_is_up_is_revoked_all_the_same() {
    let stage = Stage::new();
    let (clock, provider, directory, engine) = behind_a_directory(&stage);
    // The beneficiary is looked up after 300 s, two seconds before the end, and no answer comes.
    let ending = asked(&stage, &engine, "302s", 0).await;
    engine.tend(ending.id).await.unwrap();
    directory.hangs.store(true, Ordering::Relaxed);
    let mut worker = std::pin::pin!(worker(&engine, 16).run(std::future::pending()));
    for_a_while(worker.as_mut(), Duration::from_millis(301_900)).await;
    assert!(is_there(&provider, &ending, &clock));
    for_a_while(worker, secs(5)).await;
    assert!(
        !is_there(&provider, &ending, &clock),
        "the revoke waited for the look at its own record"
    );
}

// ------------------------------------------------------------------------ two that lease at once

/// A provider that takes its time to resolve; counts how often it is asked.
struct SlowToResolve {
    inner: HostileHandle,
    time: Duration,
    resolved: Arc<AtomicU32>,
}

#[async_trait]
impl Meddle for SlowToResolve {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        self.resolved.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.time).await;
        self.inner
            .resolve(beneficiary, entitlement, parameters)
            .await
    }
}

#[tokio::test(start_paused = true)]
async fn two_replicas_that_lease_slowly_do_not_undo_each_other() {
    let stage = Stage::new();
    let clock = Arc::new(TrueClock::new());
    let provider = memory(&clock);
    let resolved = Arc::new(AtomicU32::new(0));
    let replica = |seed| {
        let slow = SlowToResolve {
            inner: provider.as_seen_by(clock.clone()),
            // Within its contract, and longer than a record is taken for otherwise.
            time: secs(12),
            resolved: resolved.clone(),
        };
        Around::provider(&stage, clock.clone(), Arc::new(Front(slow))).engine(&stage, seed)
    };
    let (one, two) = (replica(1), replica(2));
    let request = asked(&stage, &one, "30m", 0).await;
    let opened = resolved.load(Ordering::Relaxed);
    let running = async {
        tokio::join!(
            worker(&one, 4).run(std::future::pending()),
            worker(&two, 4).run(std::future::pending()),
        );
    };
    for_a_while(running, secs(15)).await;
    assert_eq!(stage.status(request.id).await, Status::Active);
    assert!(is_there(&provider, &request, &clock));
    assert_eq!(
        resolved.load(Ordering::Relaxed) - opened,
        1,
        "the other one left it alone"
    );
    assert_eq!(stage.load(request.id).await.grant().unwrap().epoch, 1);
}

// ----------------------------------------------------------------------------- a chat that hangs

/// A chat that takes every announcement and never says that it has it.
#[derive(Default)]
struct HangingChat {
    tries: AtomicU32,
    under_way: Arc<AtomicU32>,
    most_at_once: AtomicU32,
}

/// Counted down when whoever tells gives up.
struct Telling(Arc<AtomicU32>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Notifier for HangingChat {
    fn name(&self) -> &'static str {
        "chat"
    }
    fn targets(&self, _: &AccessRequest) -> Vec<String> {
        vec!["#access".to_owned()]
    }
    async fn announce(&self, _: Announcement<'_>) -> Result<Told, PortError> {
        self.tries.fetch_add(1, Ordering::Relaxed);
        let at_once = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::Relaxed);
        let _telling = Telling(self.under_way.clone());
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn l5_a_chat_that_hangs_holds_up_no_page() {
    let stage = Stage::new();
    let clock = Arc::new(TrueClock::new());
    let provider = memory(&clock);
    let chat = Arc::new(HangingChat::default());
    let handle = Arc::new(provider.as_seen_by(clock.clone()));
    let around = Around {
        notifiers: vec![chat.clone()],
        ..Around::provider(&stage, clock.clone(), handle)
    };
    let engine = around.engine(&stage, 3);
    let request = asked(&stage, &engine, "2m", 0).await;
    engine.tend(request.id).await.unwrap();
    // The provider refuses for good: the ending is stuck long after the chat began to hang.
    provider.forbidden_until(Timestamp::MAX);
    let running = worker(&engine, 4).run(std::future::pending());
    for_a_while(running, secs(190)).await;
    let count = |count: &AtomicU32| count.load(Ordering::Relaxed);
    assert_eq!(count(&chat.most_at_once), 1, "it is sent once at a time");
    let tries = count(&chat.tries);
    assert!(
        (6..=7).contains(&tries),
        "{tries} tries, half a minute each"
    );
    let pages = stage.pager.0.lock().unwrap().clone();
    assert_eq!(pages.len(), 1, "{pages:?}");
    assert_eq!(pages[0].request, Some(request.id));
}

#[tokio::test(start_paused = true)]
async fn l3_a_provider_that_hangs_hides_nobody_elses_revoke() {
    let stage = Stage::new();
    let clock = Arc::new(TrueClock::new());
    let provider =
        |name| memory_standing(clock.clone(), Arc::new(SeededRandom::new(5))).named(name, name);
    let (healthy, dead) = (provider("ops"), provider("admins"));
    let hangs = Arc::new(AtomicBool::new(false));
    let hanging = Hanging {
        inner: dead.as_seen_by(clock.clone()),
        hangs: hangs.clone(),
    };
    let mut entries: Vec<Entitlement> = catalog("tier").iter().cloned().collect();
    entries[0].id = "dead/admins".parse().unwrap();
    let mut around = Around {
        catalog: entries,
        ..Around::provider(
            &stage,
            clock.clone(),
            Arc::new(healthy.as_seen_by(clock.clone())),
        )
    };
    let hanging: Arc<dyn Provisioner> = Arc::new(Front(hanging));
    around.provisioners.insert("dead".parse().unwrap(), hanging);
    let engine = around.engine(&stage, 3);
    let mut requests = vec![];
    for number in 0..400_u64 {
        let mut ask = stage.ask("10m");
        if number == 399 {
            // Due last of all.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let entitlement = if number == 399 {
            "stage/ops"
        } else {
            "dead/admins"
        };
        ask.parts[0].0 = entitlement.parse().unwrap();
        ask.parts[0].1.insert("number".to_owned(), number.into());
        let request = engine.open(&via("ana"), ask).await.unwrap();
        let approval = Stage::approval(&request);
        engine
            .handle(&via("bob"), request.id, approval)
            .await
            .unwrap();
        engine.tend(request.id).await.unwrap();
        requests.push(request);
    }
    hangs.store(true, Ordering::Relaxed);
    let late = requests.pop().unwrap();
    let record = stage.load(late.id).await;
    let ends = record.grant().unwrap().expires_at;
    let running = worker(&engine, 16).run(std::future::pending());
    for_a_while(running, ends.since(clock.now()) + secs(5)).await;
    assert!(
        !is_there(&healthy, &late, &clock),
        "the revoke waited behind another provider's"
    );
}

#[tokio::test(start_paused = true)]
async fn l3_a_backlog_of_a_provider_that_is_not_served_hides_no_revoke_and_is_left_alone() {
    let stage = Stage::new();
    let clock = Arc::new(TrueClock::new());
    let (ours, theirs) = (memory(&clock), memory(&clock));
    let handle = |provider: &HostileProvider| -> Arc<dyn Provisioner> {
        Arc::new(provider.as_seen_by(clock.clone()))
    };
    let mut both = Around::provider(&stage, clock.clone(), handle(&ours));
    let theirs_named = ("theirs".parse().unwrap(), handle(&theirs));
    both.provisioners.extend([theirs_named]);
    let their_entry = Entitlement {
        id: "theirs/admins".parse().unwrap(),
        ..both.catalog[0].clone()
    };
    both.catalog.push(their_entry);
    let both = both.engine(&stage, 1);
    let mut requests = vec![];
    for number in 0..300_u64 {
        let mut ask = stage.ask("10m");
        ask.parts[0].0 = "theirs/admins".parse().unwrap();
        ask.parts[0].1.insert("number".to_owned(), number.into());
        let request = both.open(&via("ana"), ask).await.unwrap();
        let approval = Stage::approval(&request);
        both.handle(&via("bob"), request.id, approval)
            .await
            .unwrap();
        both.tend(request.id).await.unwrap();
        requests.push(request.id);
    }
    tokio::time::sleep(secs(1)).await;
    // Due behind all of theirs.
    let late = asked(&stage, &both, "10m", 0).await;
    both.tend(late.id).await.unwrap();
    let before = stage.store.stored();
    let lacking = Around::provider(&stage, clock.clone(), handle(&ours)).engine(&stage, 2);
    let running = worker(&lacking, 16).run(std::future::pending());
    for_a_while(running, secs(605)).await;
    assert!(
        !is_there(&ours, &late, &clock),
        "the revoke waited behind what is not served"
    );
    let untouched = |stored: Vec<(RequestId, String)>| -> Vec<_> {
        let mut stored = stored;
        stored.retain(|(id, _)| requests.contains(id));
        stored
    };
    assert_eq!(untouched(stage.store.stored()), untouched(before));
}

#[tokio::test(start_paused = true)]
async fn l5_an_end_at_a_provider_that_nobody_serves_any_more_is_stuck_and_paged() {
    let stage = Stage::new();
    let clock = Arc::new(TrueClock::new());
    let provider = memory(&clock);
    let handle: Arc<dyn Provisioner> = Arc::new(provider.as_seen_by(clock.clone()));
    let serving = Around::provider(&stage, clock.clone(), handle.clone()).engine(&stage, 1);
    let request = asked(&stage, &serving, "10m", 0).await;
    serving.tend(request.id).await.unwrap();
    let mut lacking = Around::provider(&stage, clock.clone(), handle);
    lacking.provisioners.clear();
    lacking.catalog.clear();
    let lacking = lacking.engine(&stage, 2);
    let running = worker(&lacking, 16).run(std::future::pending());
    for_a_while(running, secs(600 + 29)).await;
    assert_eq!(stage.status(request.id).await, Status::Active, "left alone");
    let running = worker(&lacking, 16).run(std::future::pending());
    for_a_while(running, secs(120)).await;
    let stuck = stage.load(request.id).await;
    assert!(
        stuck.grant().unwrap().stuck.is_some(),
        "{:?}",
        stuck.status()
    );
    let alarms = stage.pager.0.lock().unwrap().clone();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(is_there(&provider, &request, &clock), "nobody could end it");
    // Whoever serves it again ends it.
    let running = worker(&serving, 16).run(std::future::pending());
    for_a_while(running, secs(5)).await;
    assert!(!is_there(&provider, &request, &clock));
}

// ------------------------------------------------------------------------------ what time makes due

/// Nothing is left to the tick: the worker knows the ends, and is there when they come.
#[tokio::test(start_paused = true)]
async fn an_end_is_not_left_to_the_tick() {
    let stage = Stage::new();
    let clock = Arc::new(TrueClock::new());
    let provider = memory(&clock);
    let handle = Arc::new(provider.as_seen_by(clock.clone()));
    let engine = Around::provider(&stage, clock.clone(), handle).engine(&stage, 3);
    let settings = WorkerSettings {
        tick: secs(3_600),
        ..WorkerSettings::default()
    };
    let worker = Worker::new(engine.clone(), Arc::new(SeededRandom::new(11)), settings);
    let mut requests = vec![];
    for number in 0..20 {
        let request = asked(&stage, &engine, "60s", number).await;
        engine.tend(request.id).await.unwrap();
        tokio::time::sleep(Duration::from_millis(137)).await;
        requests.push(request);
    }
    for_a_while(worker.run(std::future::pending()), secs(70)).await;
    let calls = provider.ledger().calls();
    for request in &requests {
        let record = stage.store.load(request.id).await.unwrap().unwrap();
        let expires_at = record.grant().unwrap().approved_at + secs(60);
        let mut deletes = calls.iter().filter(|it| {
            it.operation == jit_testkit::hostile::Operation::Revoke && it.request == request.id
        });
        let sent = deletes.next().expect("it was sent").signed_at;
        assert!(sent >= expires_at, "{sent} is before {expires_at}");
        let late = sent.since(expires_at);
        assert!(late <= Duration::from_millis(2), "{late:?} late");
    }
}

/// Whoever starts after it with a clock that is behind knows what passed.
#[tokio::test(start_paused = true)]
async fn k1_a_worker_writes_down_what_time_it_is() {
    let stage = Stage::new();
    let kept = async || {
        let row = stage.store.row("flag", "time").await.unwrap();
        row.map(|row| row.value.parse::<Timestamp>().unwrap())
    };
    let running = worker(&stage.engine, 1).run(std::future::pending());
    let looking = async {
        for _ in 0..3 {
            tokio::time::sleep(secs(11)).await;
            assert_eq!(kept().await, Some(stage.now()));
            stage.clock.advance(secs(10));
        }
    };
    tokio::select! {
        () = running => unreachable!("it runs until it is dropped"),
        () = looking => {}
    }
}
