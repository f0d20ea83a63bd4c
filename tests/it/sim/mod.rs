//! The deterministic simulation: the real engine and the real worker loop, three replicas on one
//! store, virtual time, everything drawn from a seed. What is true is judged afterwards from the
//! provider's ledger, the store, the audit and the diary of what went wrong.

pub(crate) mod chaos;
mod diary;
mod judge;
mod people;
mod provider;
mod sabotage;
mod script;
mod setting;
pub(crate) mod tap;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jit_core::catalog::ProviderName;
use jit_core::digest::Digest;
use jit_core::engine::{Engine, EngineParts, TIME_KEPT_EVERY};
use jit_core::ports::{Alarm, Clock, Provisioner, Query, RequestStore};
use jit_core::request::{AccessRequest, RequestId};
use jit_core::{Timestamp, Ttl};
use jit_runtime::worker::{Worker, WorkerSettings};
use jit_testkit::hostile::{HostileProvider, Hostility, Nature};
use jit_testkit::store::MemoryStore;
use jit_testkit::time::SeededRandom;
use tokio::sync::broadcast;

use chaos::{Beeper, Chaos, ChaosTap, Herald, Odds, OffsetClock, TrueClock};
use diary::{Clocks, Diary, Mishap, Trouble};
use people::{ChaosDirectory, Loss, People};
use provider::ChaosProvisioner;
use sabotage::Saboteur;
use setting::{catalog, policy, ttl};
use tap::Tapped;

/// How unkind the world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Replicas die; the provider and the store are well, so that every bound of L1 holds.
    Calm,
    /// Everything fails.
    Hostile,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) lifecycles: u64,
    pub(crate) mood: Mood,
    pub(crate) weather: ClockWeather,
    pub(crate) saboteur: Option<Saboteur>,
    pub(crate) focus: Option<Focus>,
}

/// What a run is about, where it is about something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Focus {
    /// The fates of its lifecycles.
    pub(crate) fates: &'static [script::Fate],
    /// How many calls per mille arrive late, are sent at the last instant, and take the longest
    /// time that there is.
    pub(crate) late: u16,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) trace: Digest,
}

/// How the clocks of the replicas are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockWeather {
    /// Each as far off as it was at the beginning.
    Steady,
    /// Now and then one is set, within the limit of K1 and above it.
    Jumping,
    /// All run on one host. Its clock is set back while they are down, and put right under them.
    OneHost,
}

/// So long after its start whoever is behind has written down what time it is.
const KEPT_AGAIN: Duration = Duration::from_secs(3);

/// How far a clock is set at the most.
pub(crate) const JUMP_MAX: Duration = Duration::from_secs(14);

/// Everything that the replicas share.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Arc<SeededRandom>,
    pub(crate) truth: Arc<TrueClock>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) people: Arc<People>,
    pub(crate) weather: ClockWeather,
    pub(crate) standing: HostileProvider,
    pub(crate) minter: HostileProvider,
    /// Where credentials are made that the minter says it did not make.
    pub(crate) spare: HostileProvider,
    pub(crate) slow_replies: Arc<Mutex<BTreeSet<RequestId>>>,
    pub(crate) diary: Arc<Diary>,
    pub(crate) pages: Arc<Mutex<Vec<Alarm>>>,
    /// Every credential that reached its asker.
    pub(crate) secrets: Mutex<Vec<(RequestId, String)>>,
    /// The ceiling of the tiers; changing it makes pending requests void.
    pub(crate) ttl_max: Mutex<Ttl>,
    /// What the configuration no longer offers.
    pub(crate) removed: Mutex<BTreeSet<&'static str>>,
    /// From when on nothing fails any more.
    pub(crate) calm_from: Mutex<Option<Timestamp>>,
}

/// A process: its engine while it is up, and what may happen to it.
pub(crate) struct Replica {
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) engine: Mutex<Option<Arc<Engine>>>,
}

/// How often a replica looks for what is due.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// Runs a plan to its end.
pub(crate) fn run(plan: Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, simulate(plan))
}

async fn simulate(plan: Plan) -> Outcome {
    let world = Arc::new(World::draw(plan));
    let replicas: Vec<Arc<Replica>> = (0..3)
        .map(|number| Arc::new(world.replica(number)))
        .collect();
    let mut processes = vec![];
    for replica in &replicas {
        let (world, replica) = (world.clone(), replica.clone());
        processes.push(tokio::task::spawn_local(live(world, replica)));
    }
    let mut scripts = vec![];
    for number in 0..plan.lifecycles {
        let (world, replicas) = (world.clone(), replicas.clone());
        scripts.push(tokio::task::spawn_local(script::lifecycle(
            world, replicas, number,
        )));
    }
    let upheaval = script::upheaval(world.clone(), replicas.clone());
    let upheaval = tokio::task::spawn_local(upheaval);
    let clocks = script::clocks(world.clone(), replicas.clone());
    let clocks = tokio::task::spawn_local(clocks);
    let dates = script::dates(world.clone(), replicas.clone());
    let dates = tokio::task::spawn_local(dates);
    let outages = script::outages(world.clone(), replicas.clone());
    let outages = tokio::task::spawn_local(outages);
    let onlooker = script::onlooker(world.clone(), replicas.clone());
    let onlooker = tokio::task::spawn_local(onlooker);
    for script in scripts {
        script.await.unwrap();
    }
    upheaval.abort();
    clocks.abort();
    dates.abort();
    outages.abort();
    onlooker.abort();
    world.make_peace(&replicas);
    let ended = world.until_over().await;
    for process in processes {
        process.abort();
    }
    if world.weather == ClockWeather::OneHost {
        world.diary.clocks.lock().unwrap().behind = world.lost();
    }
    judge::judge(&world, ended).await
}

/// Keeps a replica running: builds it anew, without memory, each time it died.
async fn live(world: Arc<World>, replica: Arc<Replica>) {
    let chaos = &replica.chaos;
    loop {
        chaos.clock.restart();
        let engine = Arc::new(world.engine(&replica));
        *replica.engine.lock().unwrap() = Some(engine.clone());
        let settings = WorkerSettings {
            tick: TICK,
            ..WorkerSettings::default()
        };
        let looks = world.looks(engine.clone());
        let worker = Worker::new(engine, chaos.random.clone(), settings);
        let mut deaths = chaos.deaths.subscribe();
        tokio::select! {
            biased;
            _ = deaths.recv() => {}
            () = worker.run(std::future::pending()) => {}
            () = looks => {}
        }
        *replica.engine.lock().unwrap() = None;
        let down_for = Duration::from_millis(world.random.below(4_000));
        let from = world.truth.now();
        world.diary.mishap(Mishap {
            replica: chaos.replica,
            trouble: Trouble::Death,
            request: None,
            from,
            until: from + down_for,
        });
        tokio::time::sleep(down_for).await;
    }
}

impl Replica {
    /// Runs something on this replica's engine; none where it is down or dies on the way.
    pub(crate) async fn call<T, F>(&self, act: impl FnOnce(Arc<Engine>) -> F) -> Option<T>
    where
        F: Future<Output = T>,
    {
        let engine = self.engine.lock().unwrap().clone()?;
        let mut deaths = self.chaos.deaths.subscribe();
        tokio::select! {
            biased;
            _ = deaths.recv() => None,
            answer = act(engine) => Some(answer),
        }
    }
}

// ---------------------------------------------------------------------------------- the world

impl World {
    fn draw(plan: Plan) -> Self {
        let random = Arc::new(SeededRandom::new(plan.seed));
        let truth = Arc::new(TrueClock::new());
        let weather = match (plan.mood, plan.weather) {
            (Mood::Hostile, ClockWeather::Jumping) => ClockWeather::Jumping,
            (Mood::Calm, ClockWeather::OneHost) => ClockWeather::OneHost,
            _ => ClockWeather::Steady,
        };
        let drawn = || Duration::from_millis(random.below(2_000));
        let mut clocks = match weather {
            ClockWeather::Steady => Clocks {
                ahead: drawn(),
                behind: drawn(),
            },
            ClockWeather::Jumping => Clocks {
                ahead: JUMP_MAX,
                behind: JUMP_MAX,
            },
            // What is lost is known in the end.
            ClockWeather::OneHost => Clocks::default(),
        };
        let room = clocks.ahead + clocks.behind;
        let standing = setting::standing(&random, room);
        let minted = setting::minted(&random, room, "mint");
        let spare = setting::minted(&random, room, "spare");
        // A provider without a window of its own has no room for wrong clocks either.
        let roomy = !standing.description.accepted_within.is_zero();
        let weather = if roomy { weather } else { ClockWeather::Steady };
        if !roomy {
            clocks = Clocks::default();
        }
        let provider = |nature: Nature, names: &[&str]| {
            let provider = HostileProvider::new(nature, truth.clone(), random.clone());
            names
                .iter()
                .fold(provider, |provider, name| provider.named(name, name))
        };
        let diary = Diary::default();
        *diary.clocks.lock().unwrap() = clocks;
        let world = Self {
            plan,
            weather,
            standing: provider(standing, &["ops", "admins", "gone"]),
            minter: provider(minted, &["token"]),
            spare: provider(spare, &["token"]),
            store: Arc::new(MemoryStore::new()),
            people: Arc::new(People::new(truth.clone())),
            slow_replies: Arc::default(),
            diary: Arc::new(diary),
            pages: Arc::default(),
            secrets: Mutex::default(),
            ttl_max: Mutex::new(ttl("1h")),
            removed: Mutex::default(),
            calm_from: Mutex::default(),
            random,
            truth,
        };
        let hostility = world.hostility();
        world.standing.set_hostility(hostility);
        world.minter.set_hostility(hostility);
        world.spare.set_hostility(hostility);
        world
    }

    /// How much time the only host lost at the most while its clock was set back: nobody can know of
    /// what passed since it was written down last, and while all were dead, that it passed.
    fn lost(&self) -> Duration {
        let set_back = self.diary.set_back.lock().unwrap();
        let mishaps = self.diary.mishaps.lock().unwrap();
        let is_down = |replica: u64, at: Timestamp| {
            mishaps.iter().any(|it| {
                let died = it.trouble == Trouble::Death && it.replica == replica;
                died && it.from <= at && at < it.until + KEPT_AGAIN
            })
        };
        let step = Duration::from_millis(100);
        let windows = set_back.iter().filter(|(_, by)| !by.is_zero());
        let lost = windows.map(|(from, _)| {
            let mut after = set_back.range(*from..).skip(1);
            let until = after.next().map_or(self.truth.now(), |(until, _)| *until);
            let mut steps = 0;
            let mut at = *from;
            while at < until {
                steps += u32::from((0..3).all(|replica| is_down(replica, at)));
                at = at + step;
            }
            TIME_KEPT_EVERY + step * (steps + 1)
        });
        lost.max().unwrap_or_default()
    }

    fn hostility(&self) -> Hostility {
        let latency_max = Duration::from_millis(self.random.below(800));
        let hostility = match self.plan.mood {
            Mood::Calm => Hostility {
                latency_max,
                ..Hostility::default()
            },
            Mood::Hostile => Hostility {
                throttled: 30,
                error_before: 30,
                error_before_unknown: 30,
                lost_reply: 60,
                late: 80,
                failed: 150,
                forbidden: 4,
                outage: 4,
                foreign: 0,
                slow: 20,
                brink: 100,
                brink_of_deletes: 30,
                longest: 0,
                latency_max,
                retry_after_max: Duration::from_secs(20),
                forbidden_max: Duration::from_secs(60),
                outage_max: Duration::from_secs(120),
            },
        };
        match self.plan.focus {
            Some(focus) => Hostility {
                late: focus.late,
                brink: focus.late,
                brink_of_deletes: 0,
                longest: focus.late,
                ..hostility
            },
            None => hostility,
        }
    }

    fn replica(&self, number: u64) -> Replica {
        let hostile = self.plan.mood == Mood::Hostile;
        let odds = Odds {
            crash_percent: if hostile { 100 } else { 60 },
            store_error: if hostile { 10 } else { 0 },
            directory_error: if hostile { 20 } else { 0 },
            directory_hang: if hostile { 10 } else { 0 },
            pager_error: if hostile { 500 } else { 0 },
        };
        let clocks = *self.diary.clocks.lock().unwrap();
        let millis = |off: Duration| i64::try_from(off.as_millis()).unwrap();
        // One is as far ahead as it gets and one as far behind; the third is right.
        let ahead_ms = match (self.weather, number) {
            (ClockWeather::Steady, 0) => millis(clocks.ahead),
            (ClockWeather::Steady, 1) => -millis(clocks.behind),
            (ClockWeather::Steady | ClockWeather::Jumping | ClockWeather::OneHost, _) => 0,
        };
        let clock = Arc::new(OffsetClock::new(self.truth.clone(), ahead_ms));
        let chaos = Chaos {
            replica: number,
            away: Mutex::default(),
            odds: Mutex::new(odds),
            random: self.random.clone(),
            truth: self.truth.clone(),
            clock,
            diary: self.diary.clone(),
            deaths: broadcast::channel(16).0,
        };
        Replica {
            chaos: Arc::new(chaos),
            engine: Mutex::default(),
        }
    }

    fn engine(&self, replica: &Replica) -> Engine {
        let chaos = &replica.chaos;
        let saboteur = self.plan.saboteur;
        let directory = ChaosDirectory {
            people: self.people.clone(),
            chaos: chaos.clone(),
        };
        let directory = sabotage::directory(saboteur, Arc::new(directory));
        let provisioner = |provider: &HostileProvider| -> Arc<dyn Provisioner> {
            let clock = sabotage::clock(saboteur, &chaos.clock);
            Arc::new(ChaosProvisioner {
                inner: Arc::new(provider.as_seen_by(clock)),
                chaos: chaos.clone(),
                slow_replies: self.slow_replies.clone(),
            })
        };
        let name = |name: &str| name.parse::<ProviderName>().unwrap();
        let lying = |honest| sabotage::provisioner(saboteur, honest, &directory, chaos);
        let standing = provisioner(&self.standing);
        let provisioners = BTreeMap::from([
            (name("st"), lying(standing.clone())),
            (name("mt"), lying(provisioner(&self.minter))),
            (name("sp"), lying(provisioner(&self.spare))),
        ]);
        let store = Tapped {
            inner: self.store.clone(),
            tap: ChaosTap {
                chaos: chaos.clone(),
            },
        };
        let denied = self.people.lacking(Loss::Rule);
        let parts = EngineParts {
            store: sabotage::store(saboteur, Arc::new(store), &chaos.clock, &standing),
            directory,
            provisioners,
            notifiers: vec![Arc::new(Herald {
                chaos: chaos.clone(),
            })],
            pager: Arc::new(Beeper {
                chaos: chaos.clone(),
                pages: self.pages.clone(),
                saboteur,
            }),
            clock: chaos.clock.clone(),
            random: self.random.clone(),
            policy: policy(*self.ttl_max.lock().unwrap(), &denied),
            catalog: catalog(&self.removed.lock().unwrap()),
        };
        Engine::new(parts, sabotage::trust(saboteur)).unwrap()
    }

    /// Looks for access that nobody granted, for as long as the replica lives.
    async fn looks(&self, engine: Arc<Engine>) {
        if self.plan.saboteur == Some(Saboteur::LooksAtNothing) {
            return std::future::pending().await;
        }
        let providers = ["st", "mt"].map(|name| name.parse::<ProviderName>().unwrap());
        jit_runtime::drift::look_for_ever(engine, providers.into()).await;
    }

    /// Every replica takes the configuration as it is now.
    pub(crate) fn configure(&self, replicas: &[Arc<Replica>]) {
        for replica in replicas {
            replica.chaos.die();
        }
    }

    /// From now on nothing fails, so that everything can come to its end.
    fn make_peace(&self, replicas: &[Arc<Replica>]) {
        *self.calm_from.lock().unwrap() = Some(self.truth.now());
        *self.people.away.lock().unwrap() = None;
        for provider in [&self.standing, &self.minter, &self.spare] {
            provider.set_hostility(Hostility::default());
            provider.outage_until(Timestamp::MIN);
            provider.forbidden_until(Timestamp::MIN);
            provider.cure();
        }
        for replica in replicas {
            *replica.chaos.odds.lock().unwrap() = Odds::default();
            *replica.chaos.away.lock().unwrap() = None;
        }
    }

    /// Waits until nothing is owed any more.
    async fn until_over(&self) -> Ended {
        let minutes = if self.plan.saboteur.is_some() {
            10
        } else {
            180
        };
        let ended = || {
            let records = self.store.records();
            if records.iter().all(|it| it.status().is_over()) {
                Ended::All
            } else {
                Ended::NotAll
            }
        };
        for _ in 0..minutes {
            tokio::time::sleep(Duration::from_secs(60)).await;
            if ended() == Ended::All {
                // Whatever was still under way at the provider lands within this time.
                tokio::time::sleep(Duration::from_secs(600)).await;
                return ended();
            }
        }
        Ended::NotAll
    }

    pub(crate) async fn records(&self) -> Vec<AccessRequest> {
        let query = Query {
            limit: 100_000,
            ..Query::default()
        };
        self.store.query(&query).await.unwrap()
    }
}

/// Whether everything came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    All,
    NotAll,
}
