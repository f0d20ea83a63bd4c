//! How late ends are, and how much of AWS's quota they use: the real worker, engine and adapter, over
//! HTTP against a simulated AWS. Prints one table. Nothing here is a test.
//!
//! All times are divided by one factor (`--speed`, 10 by default), so that half an hour takes three
//! minutes: the quota is `speed` times as many calls a second, an operation takes a `speed`th of its
//! time, and the clock of engine and adapter runs `speed` times as fast. What a call costs on this
//! machine is not divided, so it counts `speed` times. `--speed 1` is real time.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "a measurement reads the clock and prints what it saw"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sim::{Setup, Signatures, Sim, What};
use jit_core::Timestamp;
use jit_core::catalog::{Catalog, Family, ProviderName};
use jit_core::engine::{ClockTrust, Engine, EngineParts, NewRequest};
use jit_core::policy::{Effect, Policy, Quota, Right, Rule, Tier};
use jit_core::ports::{Clock, Provisioner, RequestStore};
use jit_core::principal::{PrincipalKind, Profile};
use jit_core::request::{RequestId, Status};
use jit_identity_center::{Budget, IdentityCenter, Limits, Pace, Settings};
use jit_runtime::worker::{Worker, WorkerSettings};
use jit_testkit::sample;
use jit_testkit::stage::{self, Beeper, People, via};
use jit_testkit::store::MemoryStore;
use jit_testkit::time::SeededRandom;

type Fallible<T> = Result<T, Box<dyn Error>>;

const ACCOUNTS: usize = 100;
const SETS: usize = 20;
/// How long every grant of the bench lasts.
const LIFE: Duration = Duration::from_secs(1_800);
/// What AWS documents.
const CALLS_PER_SECOND: u32 = 20;
const OUTSTANDING: u32 = 10;

/// A clock that stands where it is put until it is let go; then it runs so many times as fast as
/// the machine's.
struct BenchClock(Mutex<(Timestamp, Option<(Instant, u32)>)>);

impl BenchClock {
    fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (now, None);
    }

    fn run(&self, speed: u32) -> Instant {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        state.1 = Some((began, speed));
        began
    }
}

impl Clock for BenchClock {
    fn now(&self) -> Timestamp {
        let (at, running) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.map_or(at, |(began, speed)| at + began.elapsed() * speed)
    }
}

/// A whole service on one simulated organization.
struct Scene {
    sim: Sim,
    speed: u32,
    clock: Arc<BenchClock>,
    store: Arc<MemoryStore>,
    people: Arc<People>,
}

impl Scene {
    fn new(speed: u32, people: usize) -> Fallible<Self> {
        let at_once = Setup {
            signatures: Signatures::Undated,
            outstanding_max: 1_000,
            ..Setup::default().applying_in(Duration::ZERO)
        };
        let sim = Sim::start(at_once)?;
        sim.world().fill(ACCOUNTS as u32, SETS as u32);
        let known = Arc::new(People::default());
        for number in 0..people {
            let id = stage::id(&format!("person-{number}"));
            let subject = sim.world().add_user(id.as_str(), id.as_str());
            let profile = Profile {
                id: id.clone(),
                kind: PrincipalKind::Person,
                active: true,
                groups: Default::default(),
                groups_unknown: Default::default(),
                manager: None,
                subjects: [("aws".parse()?, subject.parse()?)].into(),
            };
            let mut profiles = known.profiles.lock().map_err(|_| "poisoned")?;
            profiles.insert(id, profile);
        }
        Ok(Self {
            sim,
            speed,
            clock: Arc::new(BenchClock(Mutex::new((sample::start(), None)))),
            store: Arc::new(MemoryStore::new()),
            people: known,
        })
    }

    /// An engine with an adapter of its own. The budget counts by the machine's clock, and its
    /// numbers are those of a region that is `speed` times as fast.
    async fn engine(&self, limits: Limits, pace: Pace) -> Fallible<Arc<Engine>> {
        let world = self.sim.world();
        let provider: ProviderName = "aws".parse()?;
        let settings = Settings {
            endpoint_url: Some(self.sim.url()),
            pace,
            ..Settings::new(
                provider.clone(),
                world.region(),
                world.instance_arn(),
                world.identity_store_id(),
            )
        };
        let machine = Arc::new(BenchClock(Mutex::new((sample::start(), None))));
        machine.run(1);
        let budget = Arc::new(Budget::new(limits, machine));
        let clock: Arc<dyn Clock> = self.clock.clone();
        let aws = Box::pin(IdentityCenter::connect(settings, budget, clock)).await?;
        let tier = Tier {
            ttl_default: "30m".parse()?,
            automatic: Some(Quota {
                ceiling: 100,
                per: "1h".parse()?,
            }),
            residual_max_secs: 12 * 3_600,
            ..stage::tier("bench", 0)
        };
        let everybody = Rule {
            name: "everybody".to_owned(),
            effect: Effect::Allow,
            rights: [Right::Request].into(),
            entitlements: vec!["*".parse()?],
            principals: vec!["*".parse()?],
            hours: None,
            after: None,
        };
        let family = Family {
            pattern: "aws/*".parse()?,
            title: "AWS".to_owned(),
            how_to_use: String::new(),
            tier: "bench".parse()?,
        };
        let parts = EngineParts {
            store: self.store.clone(),
            directory: self.people.clone(),
            provisioners: [(provider, Arc::new(aws) as Arc<dyn Provisioner>)].into(),
            notifiers: Vec::new(),
            pager: Arc::new(Beeper::default()),
            clock: self.clock.clone(),
            random: Arc::new(SeededRandom::new(limits.outstanding.into())),
            policy: Policy::new(vec![tier], vec![everybody])?,
            catalog: Catalog::default().with_families([family]),
        };
        Ok(Arc::new(Engine::new(parts, ClockTrust::Compared)?))
    }

    /// Asks for something of its own for this person, which is approved at once.
    async fn ask(&self, engine: &Engine, number: usize) -> Fallible<RequestId> {
        let (account, set) = (number % ACCOUNTS, number / ACCOUNTS % SETS);
        let entitlement = format!("aws/account-{account:05}/Set{set:05}");
        let ask = NewRequest {
            beneficiary: None,
            parts: vec![(entitlement.parse()?, Default::default())],
            ttl: None,
            reason: "the bench".parse()?,
            idempotency_key: None,
        };
        let who = via(&format!("person-{number}"));
        let opened = engine.open(&who, ask).await;
        Ok(opened.map_err(|error| format!("{error:?}"))?.id)
    }

    /// Gives so many people something that ends every so often, as fast as the machine can; returns
    /// when the first of it ends.
    async fn give(&self, count: usize, every: Duration) -> Fallible<Timestamp> {
        let ample = Limits {
            calls_per_second: 1_000_000,
            outstanding: 1_000,
            ..Limits::default()
        };
        let quick = Pace {
            first: Duration::from_millis(1),
            most: Duration::from_millis(5),
            within: Duration::from_secs(5),
        };
        let engine = self.engine(ample, quick).await?;
        for number in 0..count {
            self.clock.set(sample::start() + every * number as u32);
            let id = self.ask(&engine, number).await?;
            engine
                .tend(id)
                .await
                .map_err(|error| format!("{error:?}"))?;
            let request = self.store.load(id).await?.ok_or("it was stored")?;
            if request.status() != Status::Active {
                return Err(format!("{id} is {:?}", request.status()).into());
            }
        }
        Ok(sample::start() + LIFE)
    }

    /// From here on AWS is as it is documented, and operations take 1 to 10 s.
    fn be_slow(&self) {
        let speed = self.speed;
        self.sim.world().configure(|setup| {
            setup.calls_per_second = Some(CALLS_PER_SECOND * speed);
            setup.outstanding_max = OUTSTANDING as usize;
            setup.apply_min = Duration::from_secs(1) / speed;
            setup.apply_max = Duration::from_secs(10) / speed;
        });
        self.sim.world().take_calls();
    }

    async fn hurried(&self) -> Fallible<Arc<Engine>> {
        let (limits, pace) = (Limits::default(), Pace::default());
        let limits = Limits {
            calls_per_second: limits.calls_per_second * self.speed,
            patience: limits.patience / self.speed,
            ..limits
        };
        let pace = Pace {
            first: pace.first / self.speed,
            most: pace.most / self.speed,
            within: pace.within / self.speed,
        };
        self.engine(limits, pace).await
    }

    fn worker(&self, engine: &Arc<Engine>) -> Worker {
        let usual = WorkerSettings::default();
        let settings = WorkerSettings {
            tick: usual.tick / self.speed,
            record_deadline: usual.record_deadline / self.speed,
            ..usual
        };
        Worker::new(Arc::clone(engine), Arc::new(SeededRandom::new(5)), settings)
    }
}

/// What was seen while ends were due.
struct Seen {
    /// How late each end was at the ledger, in the order in which they were due, seconds.
    late_s: Vec<f64>,
    /// Calls by operation.
    calls: BTreeMap<String, usize>,
    throttled: usize,
    /// From the first end due until fewer are left than may be outstanding, seconds.
    busy_s: f64,
    /// Calls to `sso` in that time.
    busy_calls: usize,
    /// Operations outstanding in that time, on average.
    outstanding: f64,
    granted: usize,
}

impl Seen {
    fn late(&self, share: f64) -> f64 {
        let mut late = self.late_s.clone();
        late.sort_by(f64::total_cmp);
        let at = (late.len() as f64 * share).ceil() as usize;
        late.get(at.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Lets the worker run until all of the first `count` people's access is gone.
async fn watch(scene: &Scene, count: usize, every: Duration, first: Timestamp) -> Fallible<Seen> {
    let (world, speed) = (scene.sim.world(), f64::from(scene.speed));
    scene.be_slow();
    let engine = scene.hurried().await?;
    scene.clock.set(first - Duration::from_secs(1));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = scene.worker(&engine);
    let given = world.ledger().len();
    let sim_began = world.now();
    scene.clock.run(scene.speed);
    let running = tokio::spawn(worker.run(async {
        let _ = stopped.await;
    }));
    // Seconds since the first end was due, of what the ledger says.
    let since = |at_micros: i64| (at_micros - sim_began) as f64 / 1e6 * speed - 1.0;
    let (mut samples, mut busy_until) = (Vec::new(), None);
    let ends =
        |entries: &[aws_sim::Entry]| entries.iter().filter(|it| it.what == What::Taken).count();
    loop {
        tokio::time::sleep(Duration::from_secs(1) / scene.speed).await;
        let done = ends(&world.ledger()[given..]);
        let now = since(world.now());
        if count - done > OUTSTANDING as usize {
            samples.push((now, world.in_progress()));
            busy_until = Some(now);
        }
        if done >= count || now > 7_200.0 {
            break;
        }
    }
    let calls = world.take_calls();
    let _ = stop.send(());
    running.await?;
    let ledger = world.ledger();
    let ledger = &ledger[given..];
    let mut late_s = vec![f64::INFINITY; count];
    let due: BTreeMap<String, usize> = (0..count)
        .map(|number| {
            let id = stage::id(&format!("person-{number}"));
            (world.add_user(id.as_str(), ""), number)
        })
        .collect();
    for entry in ledger.iter().filter(|entry| entry.what == What::Taken) {
        if let Some(&number) = due.get(&entry.assignment.principal) {
            late_s[number] = since(entry.at_micros) - every.as_secs_f64() * number as f64;
        }
    }
    let busy_s = busy_until.unwrap_or_default();
    let in_busy = |at: i64| (0.0..busy_s).contains(&since(at));
    let busy_calls = calls
        .iter()
        .filter(|it| it.action.starts_with("sso:") && in_busy(it.at_micros));
    let busy_calls = busy_calls.count();
    let samples: Vec<usize> = samples
        .iter()
        .filter(|(at, _)| *at > 5.0)
        .map(|(_, it)| *it)
        .collect();
    let mut by_action: BTreeMap<String, usize> = BTreeMap::new();
    for call in &calls {
        let name = call.action.rsplit(':').next().unwrap_or_default();
        *by_action.entry(name.to_owned()).or_default() += 1;
    }
    Ok(Seen {
        late_s,
        throttled: calls
            .iter()
            .filter(|it| it.outcome.contains("Throttl"))
            .count(),
        calls: by_action,
        busy_s,
        busy_calls,
        outstanding: samples.iter().sum::<usize>() as f64 / samples.len().max(1) as f64,
        granted: ledger.iter().filter(|it| it.what == What::Given).count(),
    })
}

fn row(what: &str, value: String, aim: &str) {
    println!("| {what:<58} | {value:>10} | {aim:<10} |");
}

async fn spread(speed: u32, count: usize) -> Fallible<()> {
    let every = Duration::from_secs(15);
    let scene = Scene::new(speed, count)?;
    let first = scene.give(count, every).await?;
    let seen = watch(&scene, count, every, first).await?;
    row(
        "single ends: late p50, s",
        format!("{:.1}", seen.late(0.5)),
        "<= 6",
    );
    row(
        "single ends: late p99, s",
        format!("{:.1}", seen.late(0.99)),
        "<= 15",
    );
    row(
        "single ends: throttled calls",
        seen.throttled.to_string(),
        "",
    );
    Ok(())
}

async fn burst(speed: u32, count: usize, waiting: usize) -> Fallible<()> {
    let every = Duration::from_secs(60) / count as u32;
    let scene = Scene::new(speed, count + waiting)?;
    let first = scene.give(count, every).await?;
    // Others wait for access while the ends are due.
    scene.clock.set(first - Duration::from_secs(5));
    let asking = scene
        .engine(
            Limits {
                calls_per_second: 1_000_000,
                ..Limits::default()
            },
            Pace::default(),
        )
        .await?;
    for number in count..count + waiting {
        scene.ask(&asking, number).await?;
    }
    let seen = watch(&scene, count, every, first).await?;
    let rate = seen.busy_calls as f64 / seen.busy_s;
    let calls: usize = seen.calls.values().sum();
    let starved = seen.late_s.iter().filter(|late| late.is_infinite()).count();
    // Most overdue first: how far an end is behind where it stood in the row.
    let mut order: Vec<usize> = (0..count).collect();
    let done_at = |number: &usize| seen.late_s[*number] + every.as_secs_f64() * *number as f64;
    order.sort_by(|one, other| done_at(one).total_cmp(&done_at(other)));
    let places = order
        .iter()
        .enumerate()
        .map(|(place, number)| place.abs_diff(*number));
    let overtaken = places.max().unwrap_or_default();
    let floor_s = count as f64 * 5.5 / f64::from(OUTSTANDING);
    row("burst: ends due within a minute", count.to_string(), "");
    row(
        "burst: until all but ten are gone, s",
        format!("{:.0}", seen.busy_s),
        "",
    );
    row(
        "burst: what ten outstanding allow at best, s",
        format!("{floor_s:.0}"),
        "",
    );
    row(
        "burst: operations outstanding, of 10",
        format!("{:.2}", seen.outstanding),
        ">= 9.5",
    );
    row(
        "burst: calls a second, of 20",
        format!("{rate:.1}"),
        "<= 20",
    );
    row(
        "burst: calls an end, all looks after it included",
        format!("{:.1}", calls as f64 / count as f64),
        "",
    );
    row("burst: late p50, s", format!("{:.0}", seen.late(0.5)), "");
    row("burst: late p99, s", format!("{:.0}", seen.late(0.99)), "");
    row("burst: latest, s", format!("{:.0}", seen.late(1.0)), "");
    row("burst: never ended", starved.to_string(), "0");
    row(
        "burst: furthest from its place in the row",
        overtaken.to_string(),
        "",
    );
    row("burst: throttled calls", seen.throttled.to_string(), "");
    row(
        "burst: granted meanwhile, of those who waited",
        format!("{} of {waiting}", seen.granted),
        "",
    );
    for (name, calls) in &seen.calls {
        println!(
            "    {name:<48} {:>8.2} an end",
            *calls as f64 / count as f64
        );
    }
    Ok(())
}

fn number(name: &str, usual: usize) -> Fallible<usize> {
    let mut arguments = std::env::args().skip_while(|it| it != name);
    match arguments.nth(1) {
        Some(text) => Ok(text.parse()?),
        None => Ok(usual),
    }
}

#[tokio::main]
async fn main() -> Fallible<()> {
    let speed = u32::try_from(number("--speed", 10)?)?;
    let ends = number("--ends", 2_000)?;
    println!(
        "| {:<58} | {:>10} | {:<10} |",
        "what, as if in real time", "measured", "aim"
    );
    println!("|{:-<60}|{:-<12}|{:-<12}|", "", "", "");
    spread(speed, number("--single", 60)?).await?;
    burst(speed, ends, ends / 20).await
}
