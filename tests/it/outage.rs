//! L4: a store that is away delays no revoke of a grant that a running replica knows of; and what
//! was done without it is written down when it is back, before all else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::Fact;
use jit_core::engine::{ClockTrust, Engine, EngineError, EngineParts, verify_audit};
use jit_core::lifecycle::Refusal;
use jit_core::policy::Policy;
use jit_core::ports::{Clock, PortError, Provisioner, RequestStore};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_runtime::watch::Watch;
use jit_runtime::worker::{Worker, WorkerSettings};
use jit_testkit::hostile::{Apply, HostileProvider, Nature, Operation};
use jit_testkit::stage::{Stage, catalog, rules, secs, standing, tier, via};
use jit_testkit::time::SeededRandom;

use crate::sim::chaos::{Away, TrueClock};
use crate::sim::tap::{StoreCall, Tap, Tapped};

/// One replica's way to the store.
#[derive(Clone, Default)]
struct Way {
    away: Arc<Mutex<Option<Away>>>,
    asked: Arc<AtomicU32>,
}

impl Way {
    fn set(&self, away: Option<Away>) {
        *self.away.lock().unwrap() = away;
    }

    /// How many calls there were.
    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Tap for Way {
    async fn before(&self, call: StoreCall) -> Result<(), PortError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let away = *self.away.lock().unwrap();
        match away {
            None => Ok(()),
            Some(away) => away.meets(call.operation).await,
        }
    }
}

/// One store and one provider, and replicas that reach the store each by a way of its own.
struct Place {
    stage: Stage,
    clock: Arc<TrueClock>,
    provider: HostileProvider,
}

struct Replica {
    engine: Arc<Engine>,
    way: Way,
}

impl Place {
    fn new() -> Self {
        Self::with(standing(0, 0))
    }

    fn with(nature: Nature) -> Self {
        let clock = Arc::new(TrueClock::new());
        let random = Arc::new(SeededRandom::new(5));
        let provider = HostileProvider::new(nature, clock.clone() as Arc<dyn Clock>, random);
        Self {
            stage: Stage::new(),
            clock,
            provider: provider.named("admins", "admins"),
        }
    }

    fn replica(&self, seed: u64) -> Replica {
        let way = Way::default();
        let handle: Arc<dyn Provisioner> = Arc::new(self.provider.as_seen_by(self.clock.clone()));
        let store = Tapped {
            inner: self.stage.store.clone(),
            tap: way.clone(),
        };
        let parts = EngineParts {
            store: Arc::new(store),
            directory: self.stage.people.clone(),
            provisioners: BTreeMap::from([("stage".parse().unwrap(), handle)]),
            notifiers: vec![],
            pager: self.stage.pager.clone(),
            clock: self.clock.clone(),
            random: Arc::new(SeededRandom::new(seed)),
            policy: Policy::new(vec![tier("tier", 1)], rules()).unwrap(),
            catalog: catalog("tier").iter().cloned().collect(),
        };
        let engine = Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap());
        Replica { engine, way }
    }

    fn is_there(&self, request: &AccessRequest) -> bool {
        let part = request.parts.first();
        let ledger = self.provider.ledger();
        ledger.present(&part.target, &part.parameters, self.clock.now())
    }

    fn deletes(&self) -> Vec<Timestamp> {
        let calls = self.provider.ledger().calls();
        let deletes = calls
            .into_iter()
            .filter(|it| it.operation == Operation::Revoke);
        deletes.map(|it| it.signed_at).collect()
    }

    async fn facts(&self, id: RequestId) -> Vec<Fact> {
        let events = self.stage.store.events(id).await.unwrap();
        let facts = events.iter().map(|it| it.event().unwrap().event.what);
        facts.collect()
    }

    async fn record(&self, id: RequestId) -> AccessRequest {
        self.stage.store.load(id).await.unwrap().unwrap()
    }
}

impl Replica {
    /// Asks for the one slot that there is, and approves it.
    async fn grant(&self, stage: &Stage, duration: &str) -> AccessRequest {
        let request = self
            .engine
            .open(&via("ana"), stage.ask(duration))
            .await
            .unwrap();
        let approval = Stage::approval(&request);
        let handled = self.engine.handle(&via("bob"), request.id, approval).await;
        handled.unwrap();
        self.engine.tend(request.id).await.unwrap();
        request
    }

    /// Works for so long, as a process that has just started.
    async fn works(&self, time: Duration) {
        let random = Arc::new(SeededRandom::new(9));
        let worker = Worker::new(self.engine.clone(), random, WorkerSettings::default());
        let running = worker.run(std::future::pending());
        assert!(tokio::time::timeout(time, running).await.is_err());
    }
}

fn store_away(facts: &[Fact]) -> Vec<u32> {
    let told = facts.iter().filter_map(|fact| match fact {
        Fact::StoreAway { deletes, .. } => Some(*deletes),
        _ => None,
    });
    told.collect()
}

/// The store is away from before the end until 40 s after it.
async fn the_end_comes_while_the_store_is(away: Away) {
    let place = Place::new();
    let replica = place.replica(1);
    let request = replica.grant(&place.stage, "60s").await;
    let expires_at = place.record(request.id).await.grant().unwrap().expires_at;
    let story = async {
        tokio::time::sleep(secs(58)).await;
        replica.way.set(Some(away));
        tokio::time::sleep(secs(40)).await;
        assert!(
            !place.is_there(&request),
            "{away:?}: the revoke waited for the store"
        );
        let status = place.record(request.id).await.status();
        assert_eq!(status, Status::Active, "{away:?}: nothing could be written");
        replica.way.set(None);
        tokio::time::sleep(secs(122)).await;
    };
    tokio::join!(replica.works(secs(220)), story);
    let deletes = place.deletes();
    // 5 s after the first call that was not answered: before the end where reads are not.
    let by = expires_at + secs(5) + Duration::from_millis(500);
    let first = *deletes.first().unwrap();
    assert!(
        first >= expires_at && first <= by,
        "{away:?}: {first} for {expires_at}"
    );
    let record = place.record(request.id).await;
    assert_eq!(record.status(), Status::Closed);
    // What was done without it comes first, and says how much it was.
    let facts = place.facts(request.id).await;
    assert_eq!(store_away(&facts), [1], "{away:?}: {facts:?}");
    let told = facts
        .iter()
        .position(|it| matches!(it, Fact::StoreAway { .. }));
    let ending = facts
        .iter()
        .position(|it| matches!(it, Fact::Ending { .. }));
    assert!(told < ending, "{away:?}: {facts:?}");
    let audit = verify_audit(place.stage.store.as_ref()).await.unwrap();
    assert!(audit.problems.is_empty(), "{:?}", audit.problems);
}

#[tokio::test(start_paused = true)]
async fn l4_a_store_that_fails_delays_no_revoke() {
    the_end_comes_while_the_store_is(Away::Fails).await;
}

#[tokio::test(start_paused = true)]
async fn l4_a_store_that_hangs_delays_no_revoke() {
    the_end_comes_while_the_store_is(Away::Hangs).await;
}

#[tokio::test(start_paused = true)]
async fn l4_a_disk_that_is_full_delays_no_revoke() {
    the_end_comes_while_the_store_is(Away::WritesNothing).await;
}

#[tokio::test(start_paused = true)]
async fn l4_a_store_that_is_back_within_five_seconds_is_waited_for() {
    let place = Place::new();
    let replica = place.replica(1);
    let request = replica.grant(&place.stage, "60s").await;
    let story = async {
        tokio::time::sleep(secs(59)).await;
        replica.way.set(Some(Away::Fails));
        tokio::time::sleep(Duration::from_millis(4_700)).await;
        assert!(place.deletes().is_empty(), "it did not wait");
        replica.way.set(None);
        tokio::time::sleep(secs(3)).await;
        assert!(!place.is_there(&request));
    };
    tokio::join!(replica.works(secs(70)), story);
    assert_eq!(store_away(&place.facts(request.id).await), [0_u32; 0]);
}

#[tokio::test(start_paused = true)]
async fn l4_a_replica_knows_what_another_one_granted() {
    let place = Place::new();
    let (granting, other) = (place.replica(1), place.replica(2));
    let story = async {
        tokio::time::sleep(secs(5)).await;
        // The other one is told nothing, and reads it with everything else.
        let request = granting.grant(&place.stage, "120s").await;
        tokio::time::sleep(secs(62)).await;
        other.way.set(Some(Away::Hangs));
        tokio::time::sleep(secs(70)).await;
        assert!(!place.is_there(&request));
    };
    // Whoever granted it is gone by then.
    tokio::join!(other.works(secs(150)), story);
}

#[tokio::test(start_paused = true)]
async fn l4_deletes_that_fail_are_tried_again_and_told_as_one() {
    let place = Place::new();
    let replica = place.replica(1);
    let request = replica.grant(&place.stage, "60s").await;
    let story = async {
        tokio::time::sleep(secs(58)).await;
        replica.way.set(Some(Away::Fails));
        place.provider.outage_until(place.clock.now() + secs(30));
        tokio::time::sleep(secs(28)).await;
        assert!(place.is_there(&request));
        tokio::time::sleep(secs(34)).await;
        assert!(!place.is_there(&request), "it gave up");
        replica.way.set(None);
        tokio::time::sleep(secs(122)).await;
    };
    tokio::join!(replica.works(secs(250)), story);
    let told = store_away(&place.facts(request.id).await);
    assert!(told.len() == 1 && told[0] > 2, "{told:?}");
    assert_eq!(place.record(request.id).await.status(), Status::Closed);
}

/// A replica that was cut off cuts a grant that it could not see, and whoever has it is told.
#[tokio::test(start_paused = true)]
async fn l4_an_unseen_successor_that_was_cut_is_found_and_told() {
    let place = Place::new();
    let (lonely, healthy) = (place.replica(1), place.replica(2));
    let first = lonely.grant(&place.stage, "60s").await;
    let story = async {
        tokio::time::sleep(secs(20)).await;
        lonely.way.set(Some(Away::Fails));
        let second = healthy.grant(&place.stage, "10m").await;
        assert_eq!(place.record(first.id).await.status(), Status::Closed);
        assert_eq!(place.record(second.id).await.status(), Status::Active);
        tokio::time::sleep(secs(50)).await;
        assert!(
            !place.is_there(&second),
            "nothing was cut: the test shows nothing"
        );
        lonely.way.set(None);
        tokio::time::sleep(secs(10)).await;
        second
    };
    let (_, _, second) = tokio::join!(lonely.works(secs(85)), healthy.works(secs(85)), story);
    assert_eq!(store_away(&place.facts(first.id).await), [1]);
    let facts = place.facts(second.id).await;
    assert!(facts.contains(&Fact::Missing), "{facts:?}");
    let status = place.record(second.id).await.status();
    assert!(
        matches!(status, Status::Settling | Status::Closed),
        "{status}"
    );
}

/// Where the store still reads, a grant that was ended or handed over is left alone.
#[tokio::test(start_paused = true)]
async fn l4_a_successor_that_can_be_read_is_not_cut() {
    let place = Place::new();
    let (lonely, healthy) = (place.replica(1), place.replica(2));
    lonely.grant(&place.stage, "60s").await;
    let story = async {
        tokio::time::sleep(secs(20)).await;
        lonely.way.set(Some(Away::WritesNothing));
        let second = healthy.grant(&place.stage, "10m").await;
        tokio::time::sleep(secs(60)).await;
        assert!(place.is_there(&second));
    };
    tokio::join!(lonely.works(secs(85)), healthy.works(secs(85)), story);
    assert!(place.deletes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_paged_once_and_gives_nothing() {
    let place = Place::new();
    let replica = place.replica(1);
    let mut watch = Watch::new(replica.engine.clone(), []);
    let pages = || place.stage.pager.0.lock().unwrap().len();
    let story = async {
        tokio::time::sleep(secs(1)).await;
        replica.way.set(Some(Away::Fails));
        tokio::time::sleep(secs(12)).await;
        assert!(watch.look().await.is_err());
        assert_eq!(pages(), 0, "it was away for a moment");
        tokio::time::sleep(secs(10)).await;
        for _ in 0..3 {
            assert!(watch.look().await.is_err());
        }
        assert_eq!(pages(), 1);
        let asked = replica
            .engine
            .open(&via("ana"), place.stage.ask("60s"))
            .await;
        assert!(matches!(
            asked,
            Err(EngineError::Refused(Refusal::StoreAway))
        ));
        replica.way.set(None);
        // It is seen to write again, though there is nothing to write.
        tokio::time::sleep(secs(8)).await;
        watch.look().await.unwrap();
        assert_eq!(replica.engine.store_away_since(), None);
        assert_eq!(pages(), 1);
    };
    tokio::join!(replica.works(secs(40)), story);
}

/// A store that writes nothing, and then reads nothing either, fails at once: it is asked at a pace,
/// and what it cannot say is not guessed before it was silent for five seconds.
#[tokio::test(start_paused = true)]
async fn l4_a_store_that_fails_at_once_is_not_asked_without_end() {
    let place = Place::new();
    let replica = place.replica(1);
    let request = replica.grant(&place.stage, "60s").await;
    let story = async {
        tokio::time::sleep(secs(58)).await;
        replica.way.set(Some(Away::WritesNothing));
        // Away by the time that reads fail as well, and not gone yet.
        place.provider.outage_until(place.clock.now() + secs(9));
        tokio::time::sleep(Duration::from_millis(7_500)).await;
        replica.way.set(Some(Away::Fails));
        let before = replica.way.asked();
        tokio::time::sleep(secs(4)).await;
        let asked = replica.way.asked() - before;
        assert!(asked < 200, "{asked} calls in four seconds");
        tokio::time::sleep(secs(20)).await;
        assert!(!place.is_there(&request));
    };
    tokio::join!(replica.works(secs(95)), story);
}

/// A call of ours that takes effect after the access was seen to be gone is taken away as well.
#[tokio::test(start_paused = true)]
async fn l4_what_takes_effect_late_is_taken_away_too() {
    let place = Place::with(standing(60, 0));
    let replica = place.replica(1);
    let request = replica.grant(&place.stage, "60s").await;
    let story = async {
        tokio::time::sleep(secs(58)).await;
        replica.way.set(Some(Away::Fails));
        tokio::time::sleep(secs(12)).await;
        assert!(!place.is_there(&request));
        assert_eq!(place.deletes().len(), 1);
        // 70 s after the approval; a call may have been sent until 30 s after it, and is accepted for
        // 60 s more.
        let part = request.parts.first();
        place.provider.foreign_grant(&part.target, &part.parameters);
        assert!(place.is_there(&request));
        tokio::time::sleep(secs(20)).await;
        assert!(!place.is_there(&request), "nobody looked again");
    };
    tokio::join!(replica.works(secs(100)), story);
}

/// How long the store is away after the end, where somebody must be woken 80 s after it: a minute, and
/// twenty seconds in which the provider may carry out what it took.
const LONGER_THAN_A_STUCK_END: Duration = Duration::from_secs(200);

/// The end of a grant comes while the store is away for longer than that, at a provider that takes a
/// while and does not answer for so long after the end; what the audit says of it.
async fn an_end_without_the_store(unavailable: Duration) -> (Place, Vec<Fact>) {
    let mut nature = standing(0, 20);
    nature.apply = Apply::Later;
    let place = Place::with(nature);
    let replica = place.replica(1);
    let request = replica.grant(&place.stage, "60s").await;
    let story = async {
        tokio::time::sleep(secs(58)).await;
        replica.way.set(Some(Away::Fails));
        place
            .provider
            .outage_until(place.clock.now() + secs(2) + unavailable);
        tokio::time::sleep(secs(2) + LONGER_THAN_A_STUCK_END).await;
        replica.way.set(None);
        tokio::time::sleep(secs(160)).await;
    };
    tokio::join!(replica.works(secs(430)), story);
    assert_eq!(place.record(request.id).await.status(), Status::Closed);
    let facts = place.facts(request.id).await;
    assert_eq!(store_away(&facts).len(), 1, "{facts:?}");
    (place, facts)
}

fn is_stuck(facts: &[Fact]) -> bool {
    facts.iter().any(|it| matches!(it, Fact::Stuck { .. }))
}

/// What was accepted, and seen to be gone, while the store was away counts when it is back.
#[tokio::test(start_paused = true)]
async fn l5_an_end_that_came_in_time_without_the_store_is_not_stuck() {
    let (place, facts) = an_end_without_the_store(Duration::ZERO).await;
    assert!(!is_stuck(&facts), "{facts:?}");
    assert_eq!(place.deletes().len(), 1, "it was sent again");
}

/// An end that came too late is called so, whether it came before the store was back or after it.
#[tokio::test(start_paused = true)]
async fn l5_an_end_that_came_late_without_the_store_is_stuck() {
    for late in [90, 210] {
        let (_, facts) = an_end_without_the_store(secs(late)).await;
        assert!(is_stuck(&facts), "{late}: {facts:?}");
    }
}
