//! More is due than a provider may be asked at once: what waits follows as soon as something is done,
//! whatever the store is doing, and is not pulled along by what fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::engine::Engine;
use jit_core::ports::{ErrorKind, PortError, Provisioner, RevokeCall};
use jit_core::provider::Answer;
use jit_core::request::AccessRequest;
use jit_testkit::front::{Front, Meddle};
use jit_testkit::hostile::{HostileHandle, HostileProvider};
use jit_testkit::stage::{Stage, secs};

use crate::sim::chaos::TrueClock;
use crate::sim::tap::{StoreCall, Tap, Tapped};
use crate::worker::{Around, asked, for_a_while, is_there, memory, ticking, worker};

/// How many end at one instant: more than one look lists.
const COUNT: u64 = 400;
/// How many may be taken away at once, and how long each takes.
const AT_ONCE: usize = 4;
const DELETE: Duration = Duration::from_millis(100);
/// A hundred times four deletes, and a second for the rest.
const ALL: Duration = Duration::from_secs(11);
/// So long that whatever waits for a tick is not done in [`ALL`].
const NEVER: Duration = Duration::from_secs(30);

/// A provider that takes its time for each delete; counts how many are under way.
struct Busy {
    inner: HostileHandle,
    deletes: Arc<Deletes>,
}

#[derive(Default)]
struct Deletes {
    under_way: AtomicU32,
    most: AtomicU32,
}

#[async_trait]
impl Meddle for Busy {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let under_way = self.deletes.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.deletes.most.fetch_max(under_way, Ordering::Relaxed);
        tokio::time::sleep(DELETE).await;
        let answer = self.inner.revoke(call).await;
        self.deletes.under_way.fetch_sub(1, Ordering::Relaxed);
        answer
    }
}

/// A way to the store on which looks for what is due take a second, or nothing is written.
#[derive(Clone, Default)]
struct Way {
    looks_are_slow: Arc<AtomicBool>,
    writes_nothing: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
}

#[async_trait]
impl Tap for Way {
    async fn before(&self, call: StoreCall) -> Result<(), PortError> {
        if call.operation == "due" && self.looks_are_slow.load(Ordering::Relaxed) {
            tokio::time::sleep(secs(1)).await;
        }
        if call.operation == "commit" && self.writes_nothing.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("full disk", "commit", kind));
        }
        Ok(())
    }
}

/// A service with access of many that ends at one instant.
struct Backlog {
    engine: Arc<Engine>,
    way: Way,
    deletes: Arc<Deletes>,
    clock: Arc<TrueClock>,
    provider: HostileProvider,
    requests: Vec<AccessRequest>,
}

impl Backlog {
    /// One second before that.
    async fn new() -> Self {
        let stage = Stage::new();
        let clock = Arc::new(TrueClock::new());
        let provider = memory(&clock);
        let deletes = Arc::new(Deletes::default());
        let busy = Busy {
            inner: provider.as_seen_by(clock.clone()),
            deletes: deletes.clone(),
        };
        let way = Way::default();
        let mut around = Around::provider(&stage, clock.clone(), Arc::new(Front(busy)));
        around.store = Arc::new(Tapped {
            inner: stage.store.clone(),
            tap: way.clone(),
        });
        let engine = around.engine(&stage, 3);
        let mut requests = vec![];
        for number in 0..COUNT {
            let request = asked(&stage, &engine, "10m", number).await;
            engine.tend(request.id).await.unwrap();
            requests.push(request);
        }
        tokio::time::sleep(secs(599)).await;
        let backlog = Self {
            engine,
            way,
            deletes,
            clock,
            provider,
            requests,
        };
        assert_eq!(backlog.left(), requests_of(COUNT));
        backlog
    }

    /// How much access is still there.
    fn left(&self) -> usize {
        let requests = self.requests.iter();
        let there = requests.filter(|it| is_there(&self.provider, it, &self.clock));
        there.count()
    }

    fn most_at_once(&self) -> usize {
        requests_of(u64::from(self.deletes.most.load(Ordering::Relaxed)))
    }
}

fn requests_of(count: u64) -> usize {
    usize::try_from(count).unwrap()
}

#[tokio::test(start_paused = true)]
async fn l1_a_backlog_goes_on_as_soon_as_something_is_done_and_not_at_the_next_tick() {
    let backlog = Backlog::new().await;
    let worker = ticking(&backlog.engine, AT_ONCE, NEVER);
    for_a_while(worker.run(std::future::pending()), secs(1) + ALL).await;
    assert_eq!(backlog.left(), 0, "deletes waited for a tick");
    assert_eq!(backlog.most_at_once(), AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn l1_a_backlog_goes_on_while_the_store_is_slow_to_say_what_is_due() {
    let backlog = Backlog::new().await;
    backlog.way.looks_are_slow.store(true, Ordering::Relaxed);
    // It looks again and again, and three times for as much as there is.
    let worker = worker(&backlog.engine, AT_ONCE);
    for_a_while(worker.run(std::future::pending()), secs(1 + 3) + ALL).await;
    assert_eq!(backlog.left(), 0, "deletes waited for a look");
    assert_eq!(backlog.most_at_once(), AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn l1_a_pass_goes_through_a_backlog_with_as_many_at_once_as_it_may() {
    let backlog = Backlog::new().await;
    tokio::time::sleep(secs(1)).await;
    let mut sweeper = worker(&backlog.engine, AT_ONCE);
    let swept = tokio::time::timeout(ALL, sweeper.sweep()).await;
    assert_eq!(swept.expect("it took longer").unwrap().failed, 0);
    assert_eq!(backlog.left(), 0);
    assert_eq!(backlog.most_at_once(), AT_ONCE);
}

/// On a full disk every one of them would fail, say so, and be put off for longer and longer.
#[tokio::test(start_paused = true)]
async fn l2_what_fails_does_not_pull_along_what_waits() {
    let backlog = Backlog::new().await;
    backlog.way.writes_nothing.store(true, Ordering::Relaxed);
    let worker = ticking(&backlog.engine, AT_ONCE, NEVER);
    for_a_while(worker.run(std::future::pending()), secs(1 + 3)).await;
    let refused = backlog.way.refused.load(Ordering::Relaxed);
    assert!((1..50).contains(&refused), "{refused} were tried in vain");
    assert_eq!(backlog.left(), requests_of(COUNT));
}
