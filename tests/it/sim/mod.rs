//! The deterministic simulation: the real engine and the real worker loop, three replicas on one
//! store, virtual time, everything drawn from a seed. What is true is judged afterwards from the
//! provider's ledger, the store and the audit alone.

mod chaos;
mod checker;
mod sabotage;
mod script;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::catalog::{Catalog, Entitlement, ParameterRule, ProviderName};
use jit_core::digest::Digest;
use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::{Effect, Policy, Quota, Right, Rule, Tier, Who};
use jit_core::ports::{
    Alarm, Announcement, Clock, Notifier, Pager, PortError, Provisioner, Query, RequestStore,
};
use jit_core::principal::{PrincipalId, PrincipalKind, Profile};
use jit_core::provider::{Description, Kind, NativeExpiry};
use jit_core::request::AccessRequest;
use jit_core::{Timestamp, Ttl};
use jit_runtime::worker::{Worker, WorkerSettings};
use jit_testkit::hostile::{Apply, HostileProvider, Hostility, Nature};
use jit_testkit::store::MemoryStore;
use jit_testkit::time::SeededRandom;
use tokio::sync::watch;

use chaos::{
    Chaos, ChaosDirectory, ChaosProvisioner, ChaosStore, Counts, Odds, OffsetClock, People,
    SharedStore, TrueClock,
};
use sabotage::Saboteur;

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
    pub(crate) saboteur: Option<Saboteur>,
    pub(crate) focus: Option<Focus>,
}

/// What a run is about, where it is about something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Focus {
    /// The fates of its lifecycles.
    pub(crate) fates: &'static [script::Fate],
    /// How many calls per mille arrive late, and are sent late.
    pub(crate) late: u16,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) trace: Digest,
}

/// Everything that the replicas share.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Arc<SeededRandom>,
    pub(crate) truth: Arc<TrueClock>,
    pub(crate) store: Arc<SharedStore>,
    pub(crate) people: Arc<People>,
    pub(crate) standing: HostileProvider,
    pub(crate) minter: HostileProvider,
    pub(crate) slow_replies: Arc<Mutex<BTreeSet<jit_core::request::RequestId>>>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) pages: Arc<Mutex<Vec<Alarm>>>,
    /// Every credential that reached its asker.
    pub(crate) secrets: Mutex<Vec<(jit_core::request::RequestId, String)>>,
    /// The ceiling of the tiers; changing it makes pending requests void.
    pub(crate) ttl_max: Mutex<Ttl>,
    /// From when on nothing fails any more.
    pub(crate) calm_from: Mutex<Option<Timestamp>>,
}

/// A process: its engine while it is up, and what may happen to it.
pub(crate) struct Replica {
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) clock: Arc<OffsetClock>,
    pub(crate) engine: Mutex<Option<Arc<Engine>>>,
}

/// The realm of the standing provider.
pub(crate) const REALM: &str = "sim";

const TICK: Duration = Duration::from_secs(1);

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
    let upheaval = tokio::task::spawn_local(script::upheaval(world.clone()));
    for script in scripts {
        script.await.unwrap();
    }
    upheaval.abort();
    world.make_peace(&replicas);
    let ended = world.until_over().await;
    for process in processes {
        process.abort();
    }
    checker::judge(&world, ended).await
}

/// Keeps a replica running: builds it anew, without memory, each time it died.
async fn live(world: Arc<World>, replica: Arc<Replica>) {
    let mut deaths = replica.chaos.deaths.subscribe();
    loop {
        let engine = Arc::new(world.engine(&replica));
        *replica.engine.lock().unwrap() = Some(engine.clone());
        let settings = WorkerSettings {
            tick: TICK,
            ..WorkerSettings::default()
        };
        let worker = Worker::new(engine, replica.chaos.random.clone(), settings);
        deaths.mark_unchanged();
        tokio::select! {
            biased;
            _ = deaths.changed() => {}
            () = worker.run(std::future::pending()) => {}
        }
        *replica.engine.lock().unwrap() = None;
        let down_for = world.random.below(4_000);
        tokio::time::sleep(Duration::from_millis(down_for)).await;
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
        deaths.mark_unchanged();
        tokio::select! {
            biased;
            _ = deaths.changed() => None,
            answer = act(engine) => Some(answer),
        }
    }
}

/// Tells nobody, and may be the last thing that a replica does.
struct Herald {
    chaos: Arc<Chaos>,
}

#[async_trait]
impl Notifier for Herald {
    fn name(&self) -> &'static str {
        "herald"
    }

    fn targets(&self, _request: &AccessRequest) -> Vec<String> {
        vec!["everybody".to_owned()]
    }

    async fn announce(&self, _said: Announcement<'_>) -> Result<Option<String>, PortError> {
        self.chaos.crash_point("before notifier.announce").await;
        self.chaos.crash_point("after notifier.announce").await;
        Ok(Some("message".to_owned()))
    }
}

struct Beeper(Arc<Mutex<Vec<Alarm>>>);

#[async_trait]
impl Pager for Beeper {
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError> {
        self.0.lock().unwrap().push(alarm.clone());
        Ok(())
    }
}

// ---------------------------------------------------------------------------------- the world

pub(crate) fn id(name: &str) -> PrincipalId {
    format!("{name}@example.com").parse().unwrap()
}

fn ttl(text: &str) -> Ttl {
    text.parse().unwrap()
}

fn person(name: &str, groups: &[&str]) -> (PrincipalId, Profile) {
    let profile = Profile {
        id: id(name),
        kind: PrincipalKind::Person,
        active: true,
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        subjects: BTreeMap::new(),
    };
    (id(name), profile)
}

fn entitlement(id: &str, resource: &str, tier: &str) -> Entitlement {
    Entitlement {
        id: id.parse().unwrap(),
        resource: resource.to_owned(),
        title: String::new(),
        how_to_use: String::new(),
        tier: tier.parse().unwrap(),
        parameters: ParameterRule::Free,
    }
}

fn tier(name: &str, approvals: u8, ttl_max: Ttl) -> Tier {
    let quota = Quota {
        ceiling: 3,
        per: ttl("10m"),
    };
    Tier {
        name: name.parse().unwrap(),
        ttl_default: ttl("2m"),
        ttl_max,
        approvals,
        decision_window: ttl("5m"),
        automatic: (approvals == 0).then_some(quota),
        residual_max_secs: 3_600,
    }
}

fn rule(right: &[Right], who: &str) -> Rule {
    Rule {
        name: who.to_owned(),
        effect: Effect::Allow,
        rights: right.iter().copied().collect(),
        entitlements: vec!["*".parse().unwrap()],
        principals: vec![who.parse::<Who>().unwrap()],
    }
}

impl World {
    fn draw(plan: Plan) -> Self {
        let random = Arc::new(SeededRandom::new(plan.seed));
        let truth = Arc::new(TrueClock::new());
        let people = [
            person("ana", &["asker"]),
            person("cleo", &["asker"]),
            person("finn", &["asker"]),
            person("bob", &["approver"]),
            person("dora", &["approver"]),
            person("eve", &["approver"]),
            person("sven", &["security"]),
        ];
        let people = People {
            truth: truth.clone(),
            profiles: Mutex::new(people.into()),
            away: Mutex::default(),
            down_until: Mutex::default(),
        };
        let standing = standing(&random);
        let minted = minted(&random);
        let provider = |nature: Nature, names: &[&str]| {
            let provider = HostileProvider::new(nature, truth.clone(), random.clone());
            names
                .iter()
                .fold(provider, |provider, name| provider.named(name, name))
        };
        let world = Self {
            plan,
            standing: provider(standing, &["ops", "admins"]),
            minter: provider(minted, &["token"]),
            store: Arc::new(SharedStore {
                memory: MemoryStore::new(),
                truth: truth.clone(),
                journal: Mutex::default(),
            }),
            people: Arc::new(people),
            slow_replies: Arc::default(),
            counts: Arc::default(),
            pages: Arc::default(),
            secrets: Mutex::default(),
            ttl_max: Mutex::new(ttl("1h")),
            calm_from: Mutex::default(),
            random,
            truth,
        };
        let latency_max = Duration::from_millis(world.random.below(800));
        let hostility = match plan.mood {
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
                latency_max,
                retry_after_max: Duration::from_secs(20),
                forbidden_max: Duration::from_secs(60),
                outage_max: Duration::from_secs(120),
            },
        };
        let hostility = match plan.focus {
            Some(focus) => Hostility {
                late: focus.late,
                ..hostility
            },
            None => hostility,
        };
        world.standing.set_hostility(hostility);
        world.minter.set_hostility(hostility);
        world
    }

    fn replica(&self, number: u64) -> Replica {
        let hostile = self.plan.mood == Mood::Hostile;
        let odds = Odds {
            crash_percent: if hostile { 100 } else { 60 },
            store_error: if hostile { 10 } else { 0 },
            directory_error: if hostile { 20 } else { 0 },
        };
        // A provider without a window of its own has no room for wrong clocks either.
        let described = self.standing.as_seen_by(self.truth.clone()).describe();
        let roomy = !described.accepted_within.is_zero();
        let off = if roomy { self.random.below(2_000) } else { 0 };
        let (ahead, behind) = if number.is_multiple_of(2) {
            (off, 0)
        } else {
            (0, off)
        };
        let chaos = Chaos {
            odds: Mutex::new(odds),
            random: self.random.clone(),
            counts: self.counts.clone(),
            deaths: watch::channel(0).0,
        };
        let clock = OffsetClock {
            truth: self.truth.clone(),
            ahead: Duration::from_millis(ahead),
            behind: Duration::from_millis(behind),
        };
        Replica {
            chaos: Arc::new(chaos),
            clock: Arc::new(clock),
            engine: Mutex::default(),
        }
    }

    fn engine(&self, replica: &Replica) -> Engine {
        let chaos = &replica.chaos;
        let provisioner = |provider: &HostileProvider| -> Arc<dyn Provisioner> {
            let clock = sabotage::clock(self.plan.saboteur, &replica.clock);
            let inner: Arc<dyn Provisioner> = Arc::new(provider.as_seen_by(clock));
            let inner = sabotage::provisioner(self.plan.saboteur, inner);
            Arc::new(ChaosProvisioner {
                inner,
                chaos: chaos.clone(),
                slow_replies: self.slow_replies.clone(),
                clock: replica.clock.clone(),
                late_sends: match (self.plan.focus, self.plan.mood) {
                    (Some(focus), _) => focus.late.into(),
                    (None, Mood::Hostile) => 60,
                    (None, Mood::Calm) => 0,
                },
            })
        };
        let store = ChaosStore {
            shared: self.store.clone(),
            chaos: chaos.clone(),
        };
        let directory = ChaosDirectory {
            people: self.people.clone(),
            chaos: chaos.clone(),
        };
        let ttl_max = *self.ttl_max.lock().unwrap();
        let tiers = vec![
            tier("two", 2, ttl_max),
            tier("one", 1, ttl_max),
            tier("none", 0, ttl_max),
        ];
        let rules = vec![
            rule(&[Right::Request], "group:asker"),
            rule(&[Right::Approve], "group:approver"),
            rule(&[Right::Revoke], "group:security"),
        ];
        let catalog: Catalog = [
            entitlement("st/admins", "admins", "two"),
            entitlement("st/ops", "ops", "one"),
            entitlement("st/alias", "ops", "one"),
            entitlement("st/auto", "ops", "none"),
            entitlement("mt/token", "token", "one"),
        ]
        .into_iter()
        .collect();
        let name = |name: &str| name.parse::<ProviderName>().unwrap();
        let parts = EngineParts {
            store: sabotage::store(self.plan.saboteur, Arc::new(store)),
            directory: sabotage::directory(self.plan.saboteur, Arc::new(directory)),
            provisioners: BTreeMap::from([
                (name("st"), provisioner(&self.standing)),
                (name("mt"), provisioner(&self.minter)),
            ]),
            notifiers: vec![Arc::new(Herald {
                chaos: chaos.clone(),
            })],
            pager: Arc::new(Beeper(self.pages.clone())),
            clock: replica.clock.clone(),
            random: self.random.clone(),
            policy: Policy::new(tiers, rules).unwrap(),
            catalog,
        };
        Engine::new(parts, ClockTrust::Compared).unwrap()
    }

    /// From now on nothing fails, so that everything can come to its end.
    fn make_peace(&self, replicas: &[Arc<Replica>]) {
        *self.calm_from.lock().unwrap() = Some(self.truth.now());
        self.standing.set_hostility(Hostility::default());
        self.minter.set_hostility(Hostility::default());
        self.standing.outage_until(Timestamp::MIN);
        self.minter.outage_until(Timestamp::MIN);
        for replica in replicas {
            *replica.chaos.odds.lock().unwrap() = Odds::default();
        }
    }

    /// Waits until nothing is owed any more; false where that takes for ever.
    async fn until_over(&self) -> bool {
        let minutes = if self.plan.saboteur.is_some() {
            30
        } else {
            180
        };
        for _ in 0..minutes {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let open = self
                .store
                .memory
                .records()
                .iter()
                .any(|it| !it.status().is_over());
            if !open {
                // Whatever was still under way at the provider lands within this time.
                tokio::time::sleep(Duration::from_secs(600)).await;
                return self
                    .store
                    .memory
                    .records()
                    .iter()
                    .all(|it| it.status().is_over());
            }
        }
        false
    }

    pub(crate) async fn records(&self) -> Vec<AccessRequest> {
        let query = Query {
            limit: 100_000,
            ..Query::default()
        };
        self.store.memory.query(&query).await.unwrap()
    }
}

fn seconds(random: &SeededRandom, most: u64) -> Duration {
    Duration::from_secs(random.below(most + 1))
}

/// The room for wrong clocks in every V that is not zero.
pub(crate) const SKEW: Duration = Duration::from_secs(5);

fn standing(random: &SeededRandom) -> Nature {
    let (v, a, apply, visible) = match random.below(4) {
        0 => (Duration::ZERO, Duration::ZERO, Apply::AtOnce, true),
        1 => (
            SKEW + seconds(random, 10),
            Duration::ZERO,
            Apply::AtOnce,
            true,
        ),
        2 => (
            SKEW + seconds(random, 60),
            seconds(random, 30),
            Apply::Later,
            true,
        ),
        _ => (
            SKEW + seconds(random, 60),
            seconds(random, 30),
            Apply::Later,
            false,
        ),
    };
    Nature {
        realm: REALM.to_owned(),
        description: Description {
            kind: Kind::Standing,
            native_expiry: NativeExpiry::None,
            revocable: true,
            pending_visible: visible,
            listable: true,
            accepted_within: v,
            applied_within: a,
            residual: Duration::ZERO,
        },
        apply,
        skew_allowance: SKEW,
    }
}

fn minted(random: &SeededRandom) -> Nature {
    let life = Duration::from_secs(60 + random.below(600));
    let (native_expiry, revocable, listable) = match random.below(4) {
        0 => (NativeExpiry::Exact, true, true),
        1 => (NativeExpiry::None, true, true),
        2 => (NativeExpiry::AtMost(life), true, false),
        _ => (NativeExpiry::AtMost(life), false, false),
    };
    Nature {
        realm: "mint".to_owned(),
        description: Description {
            kind: Kind::Minted,
            native_expiry,
            revocable,
            pending_visible: false,
            listable,
            accepted_within: SKEW + seconds(random, 30),
            applied_within: Duration::ZERO,
            residual: if revocable {
                Duration::ZERO
            } else {
                Duration::from_secs(900)
            },
        },
        apply: Apply::AtOnce,
        skew_allowance: SKEW,
    }
}
