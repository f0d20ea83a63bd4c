//! What a whole request costs, from its opening to its end: calls and units, as `docs/AWS.md` says.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::Policy;
use jit_core::ports::{Announcement, Clock, Inbox, Notifier, PortError, RequestStore, Told};
use jit_core::principal::{PrincipalKind, Profile};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_dynamodb::{DynamoStore, Usage};
use jit_testkit::hostile::HostileProvider;
use jit_testkit::sample;
use jit_testkit::stage::{Beeper, People, Stage, catalog, id, rules, secs, standing, tier, via};
use jit_testkit::time::{ManualClock, SeededRandom};

use crate::world::{Item, World};

/// Posts one card.
struct Card(&'static str);

#[async_trait]
impl Notifier for Card {
    fn name(&self) -> &'static str {
        self.0
    }
    fn targets(&self, _: &AccessRequest) -> Vec<String> {
        vec!["C0123456789".to_owned()]
    }
    async fn announce(&self, _: Announcement<'_>) -> Result<Told, PortError> {
        Ok(Told {
            message: Some("1767225600.000100".to_owned()),
            again_at: None,
        })
    }
}

struct Service {
    clock: Arc<ManualClock>,
    store: Arc<DynamoStore>,
    engine: Engine,
    /// Whose use is not counted.
    watcher: DynamoStore,
    table: String,
}

impl Service {
    /// Around a provider that still accepts calls so many seconds after they were signed.
    async fn new(world: &World, v: u64) -> Self {
        let table = world.table().await;
        let store = Arc::new(world.open(&table).await);
        let clock = Arc::new(ManualClock::at(sample::start()));
        let people = Arc::new(People::default());
        for (name, group) in [("ana", "askers"), ("bob", "approvers")] {
            let profile = Profile {
                id: id(name),
                kind: PrincipalKind::Person,
                active: true,
                groups: [group.parse().unwrap()].into(),
                groups_unknown: Default::default(),
                manager: None,
                subjects: BTreeMap::new(),
            };
            people.profiles.lock().unwrap().insert(id(name), profile);
        }
        let random = Arc::new(SeededRandom::new(7));
        let provider = HostileProvider::new(standing(v, v), clock.clone(), random.clone());
        let provider = provider.named("admins", "admins").named("ops", "ops");
        let provider = Arc::new(provider.as_seen_by(clock.clone()));
        let parts = EngineParts {
            store: store.clone(),
            directory: people,
            provisioners: BTreeMap::from([("stage".parse().unwrap(), provider as _)]),
            notifiers: vec![Arc::new(Card("slack")), Arc::new(Card("telegram"))],
            pager: Arc::new(Beeper::default()),
            clock: clock.clone(),
            random,
            policy: Policy::new(vec![tier("tier", 1)], rules()).unwrap(),
            catalog: catalog("tier"),
        };
        Self {
            engine: Engine::new(parts, ClockTrust::Compared).unwrap(),
            watcher: world.open(&table).await,
            table,
            clock,
            store,
        }
    }

    async fn announce(&self) {
        self.engine.announce_due(100).await.unwrap();
    }

    async fn input(&self, key: &str) {
        let now = self.clock.now();
        let put = self.store.inbox_put(key, &"x".repeat(700), now).await;
        assert_eq!(put.unwrap(), Inbox::New);
    }

    /// Tends the request whenever it is due, until its story is over; which statuses it had.
    async fn live(&self, request: RequestId) -> Vec<Status> {
        let mut had = Vec::new();
        for _ in 0..100 {
            let record = self.watcher.load(request).await.unwrap().unwrap();
            had.push(record.status());
            if record.status().is_over() {
                return had;
            }
            let end = self.clock.now() + secs(100_000);
            let due = self.watcher.due(end, 1).await.unwrap();
            let wake_at = due.first().unwrap().wake_at;
            let now = self.clock.now();
            self.clock.advance(wake_at.since(now));
            self.engine.tend(request).await.unwrap();
            self.announce().await;
        }
        panic!("it does not end: {had:?}");
    }

    /// Asked in a chat, approved there, given, used to its end, taken away and watched.
    async fn lifecycle(&self) -> (AccessRequest, Vec<Status>) {
        self.input("slack/ask").await;
        let ask = jit_core::engine::NewRequest {
            beneficiary: None,
            parts: vec![("stage/admins".parse().unwrap(), Default::default())],
            ttl: Some("30m".parse().unwrap()),
            reason: "the checkout is down since the deploy at noon"
                .parse()
                .unwrap(),
            idempotency_key: Some("7f3a".parse().unwrap()),
        };
        let request = self
            .engine
            .open_by(&via("ana"), ask, Some("slack/ask"))
            .await;
        let request = request.unwrap();
        self.announce().await;
        self.clock.advance(secs(60));
        self.input("slack/yes").await;
        let yes = Stage::approval(&request);
        let bob = via("bob");
        let yes = self
            .engine
            .handle_by(&bob, request.id, yes, Some("slack/yes"));
        yes.await.unwrap();
        self.announce().await;
        let had = self.live(request.id).await;
        (request, had)
    }
}

/// A row's size as DynamoDB counts it.
fn size(row: &Item) -> usize {
    let of = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::L(values) => {
            let texts = values.iter().map(|it| it.as_s().unwrap().len() + 1);
            3 + texts.sum::<usize>()
        }
        _ => 1,
    };
    row.iter().map(|(name, value)| name.len() + of(value)).sum()
}

#[tokio::test]
async fn the_counterpart_counts_the_units_of_a_transaction_as_dynamodb_does() {
    let world = World::new();
    let table = world.table().await;
    let store = world.open(&table).await;
    let before = world.scan(&table).await;
    let change = sample::creation(sample::request(1));
    store.commit(sample::commit([change])).await.unwrap();
    let rows = world.scan(&table).await;
    let written = rows.iter().filter(|row| !before.contains(row));
    // Two units for each KB that was begun.
    let units: usize = written.map(|row| 2 * size(row).div_ceil(1_024)).sum();
    assert!(units > 15);
    assert_eq!(store.usage().write_units, units as f64);
}

fn close(found: f64, told: f64) -> bool {
    (found - told).abs() <= told * 0.05
}

/// Dollars for a thousand of these, on demand in us-east-1: $0.625 per million write units, $0.125
/// per million read units.
fn dollars(usage: &Usage) -> f64 {
    1_000.0 * (usage.write_units * 0.625 + usage.read_units * 0.125) / 1e6
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "the numbers are wanted for docs/AWS.md"
)]
async fn a_lifecycle_costs_what_the_documentation_says() {
    let world = World::new();
    // How long its provider still accepts a call, the calls, and the units that were written and read.
    let told: [(u64, u64, f64, f64); 2] = [(0, 127, 300.0, 111.0), (310, 211, 494.0, 177.0)];
    for (v, calls, writes, reads) in told {
        let service = Service::new(&world, v).await;
        let (request, had) = service.lifecycle().await;
        assert_eq!(had.last(), Some(&Status::Closed), "{had:?}");
        let usage = service.store.usage();
        let all: u64 = usage.calls.values().sum();
        let rows = world.scan(&service.table).await;
        let kept: usize = rows.iter().map(size).sum();
        println!("  {kept} bytes in {} rows", rows.len());
        assert!((9_000..11_000).contains(&kept), "{kept} bytes are kept");
        let events = service.watcher.events(request.id).await.unwrap().len();
        println!(
            "V = {v} s: {all} calls {:?}, {events} events, had {had:?}",
            usage.calls
        );
        println!(
            "  {} write units, {} read units",
            usage.write_units, usage.read_units
        );
        println!("  ${:.3} per 1,000 requests", dollars(&usage));
        assert!(close(all as f64, calls as f64), "{all} calls");
        assert!(
            close(usage.write_units, writes),
            "{} written",
            usage.write_units
        );
        assert!(close(usage.read_units, reads), "{} read", usage.read_units);
    }
}

#[tokio::test]
async fn a_second_in_which_nothing_is_due_costs_what_the_documentation_says() {
    let world = World::new();
    let service = Service::new(&world, 0).await;
    let store = &service.store;
    // The first time it is asked what time it is, too.
    service.engine.due(100).await.unwrap();
    for notifiers in [1, 2] {
        let before = store.usage();
        let now = sample::at(9);
        service.engine.due(100).await.unwrap();
        for notifier in ["slack", "telegram"].into_iter().take(notifiers) {
            let taken = store
                .deliveries_take(notifier, now, sample::at(39), 9)
                .await;
            taken.unwrap();
        }
        store.inbox_take(now, 9).await.unwrap();
        let used = store.usage();
        let calls: u64 = used.calls.values().sum::<u64>() - before.calls.values().sum::<u64>();
        let units = used.read_units - before.read_units;
        assert_eq!(
            (calls, units),
            (7 + notifiers as u64, 7.0 + notifiers as f64)
        );
    }
}

#[tokio::test]
async fn writing_down_what_time_it_is_costs_what_the_documentation_says() {
    let world = World::new();
    let service = Service::new(&world, 0).await;
    service.engine.keep_time().await.unwrap();
    for (after, writes, reads) in [(10, 2.0, 4.0), (9, 0.0, 3.0)] {
        service.clock.advance(secs(after));
        let before = service.store.usage();
        service.engine.keep_time().await.unwrap();
        let used = service.store.usage();
        assert_eq!(used.write_units - before.write_units, writes, "{after}");
        assert_eq!(used.read_units - before.read_units, reads, "{after}");
    }
}
