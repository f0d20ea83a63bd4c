//! How the services start, stop and watch themselves.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::audit::SystemFact;
use jit_core::engine::{ClockTrust, NewRequest, Verb};
use jit_core::ports::{Announcement, Clock, Notifier, PortError, Told};
use jit_core::principal::{Door, Principal};
use jit_core::request::AccessRequest;
use jit_core::{Engine, Timestamp};
use jit_runtime::build::{Adapters, open_store};
use jit_runtime::clock::SystemClock;
use jit_runtime::daemon::{Daemon, LockOut, StartError};
use jit_runtime::watch::Watch;

use crate::house::{ADMINS, House, Kept};

async fn configured(house: &House) -> usize {
    let store = open_store(&house.config().store).await.unwrap();
    let events = store.system_events(0, 1_000).await.unwrap();
    let facts = events.iter().map(|it| it.system_event().unwrap().event);
    facts
        .filter(|fact| matches!(fact, SystemFact::Configured { .. }))
        .count()
}

#[tokio::test]
async fn a_start_is_audited_where_the_configuration_changed_since_the_last() {
    let house = House::new();
    house.daemon().await.stop().await;
    assert_eq!(configured(&house).await, 1);
    house.daemon().await.stop().await;
    assert_eq!(
        configured(&house).await,
        1,
        "the same again says nothing new"
    );
    house.rewrite("jit.toml", &[("ttl_max = \"8h\"", "ttl_max = \"4h\"")]);
    house.daemon().await.stop().await;
    assert_eq!(configured(&house).await, 2);
}

#[tokio::test]
async fn the_last_configuration_is_noted_as_it_was_released() {
    let house = House::new();
    house.daemon().await.stop().await;
    let config = house.config();
    let store = open_store(&config.store).await.unwrap();
    let row = store.row("configured", "digest").await.unwrap();
    assert_eq!(row.unwrap().value, config.digest.to_string());
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_with_its_key() {
    let house = House::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let observe = format!("observe = \"{address}\"");
    house.rewrite("jit.toml", &[("observe = \"127.0.0.1:0\"", &observe)]);
    let refused = Daemon::start(house.config(), ClockTrust::Compared, LockOut::Refused)
        .await
        .unwrap_err();
    assert!(matches!(refused, StartError::Listen { key: "observe", .. }));
    assert!(refused.to_string().contains(&address), "{refused}");
}

/// Withdraws the request while it tells of it, the first time; and keeps what it told.
#[derive(Default)]
struct Meddler {
    engine: OnceLock<Weak<Engine>>,
    told: Mutex<Vec<(u64, Option<String>)>>,
}

#[async_trait]
impl Notifier for Meddler {
    fn name(&self) -> &'static str {
        "meddler"
    }
    fn targets(&self, _: &AccessRequest) -> Vec<String> {
        vec!["here".to_owned()]
    }
    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError> {
        let before = announcement.delivery.message.clone();
        let news = announcement
            .news
            .iter()
            .map(|event| (event.seq, before.clone()));
        let first = {
            let mut told = self.told.lock().unwrap();
            let first = told.is_empty();
            told.extend(news);
            first
        };
        if first {
            let engine = self.engine.get().unwrap().upgrade().unwrap();
            let (ana, id) = (ana(), announcement.request.id);
            engine.handle(&ana, id, Verb::Withdraw).await.unwrap();
        }
        Ok(Told {
            message: Some("card 1".to_owned()),
            again_at: None,
        })
    }
}

fn ask() -> NewRequest {
    NewRequest {
        beneficiary: None,
        parts: vec![(ADMINS.parse().unwrap(), serde_json::Map::new())],
        ttl: None,
        reason: "the disk is full".parse().unwrap(),
        idempotency_key: None,
    }
}

fn ana() -> Principal {
    let (id, door) = ("ana@example.com".parse().unwrap(), Door::Embedded);
    Principal { id, door }
}

#[tokio::test]
async fn what_is_told_while_the_record_changes_is_told_once_and_its_message_is_kept() {
    let house = House::new();
    let config = house.config();
    let meddler = Arc::new(Meddler::default());
    let mut adapters = Adapters::open(&config).await.unwrap();
    adapters.notifiers = vec![meddler.clone()];
    let engine = Arc::new(adapters.engine(&config, ClockTrust::Compared).unwrap());
    meddler.engine.set(Arc::downgrade(&engine)).unwrap();
    engine.open(&ana(), ask()).await.unwrap();
    while engine.announce_due(10).await.unwrap() > 0 {}
    let told = meddler.told.lock().unwrap().clone();
    assert_eq!(told, [(1, None), (2, Some("card 1".to_owned()))]);
}

#[tokio::test]
async fn many_may_ask_at_once_for_what_a_file_of_this_host_gives() {
    let house = House::new();
    let config = house.config();
    let adapters = Adapters::open(&config).await.unwrap();
    let engine = Arc::new(adapters.engine(&config, ClockTrust::Compared).unwrap());
    let asks = (0..100).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.open(&ana(), ask()).await })
    });
    for asked in asks.collect::<Vec<_>>() {
        asked.await.unwrap().unwrap();
    }
}

/// A clock that is behind by an hour.
struct Behind;

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        SystemClock.now() - Duration::from_secs(3_600)
    }
}

#[tokio::test]
async fn a_clock_found_off_is_paged_once_for_each_time_that_it_is() {
    let house = House::new();
    let config = house.config();
    let pager = Arc::new(Kept::default());
    let mut adapters = Adapters::open(&config).await.unwrap();
    (adapters.pager, adapters.clock) = (pager.clone(), Arc::new(Behind));
    let engine = Arc::new(adapters.engine(&config, ClockTrust::Compared).unwrap());
    let mut watch = Watch::new(engine.clone(), []);
    watch.look().await.unwrap();
    assert!(pager.alarms().is_empty());
    // What was committed by a right clock is from the future of a wrong one.
    let ahead = committed_meanwhile(&house, &engine).await;
    assert!(ahead > Behind.now());
    for _ in 0..3 {
        watch.look().await.unwrap();
    }
    let alarms = pager.alarms();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(
        alarms[0].summary.contains("behind"),
        "{}",
        alarms[0].summary
    );
}

/// Lets another process commit something, and this engine see it.
async fn committed_meanwhile(house: &House, engine: &jit_core::Engine) -> Timestamp {
    let daemon = house.daemon().await;
    let (ana, _) = house.callers(&daemon).await;
    let id = ana.asked("1h").await;
    daemon.stop().await;
    engine.tend(id.parse().unwrap()).await.unwrap();
    let stored = engine.store().load(id.parse().unwrap()).await.unwrap();
    stored.unwrap().updated_at
}

/// A clock that is set by hand.
struct SetClock(Mutex<Timestamp>);

impl SetClock {
    fn set(&self, to: Timestamp) {
        *self.0.lock().unwrap() = to;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A log that keeps its lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn warnings(&self) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let warned = |line: &&str| line.contains("WARN") && line.contains("the clock of this host");
        text.lines().filter(warned).count()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn k1_a_clock_that_is_off_by_more_than_two_seconds_is_warned_of_once_for_each_time() {
    let house = House::new();
    let config = house.config();
    let start = SystemClock.now();
    let engine = async |clock: &Arc<SetClock>| {
        let mut adapters = Adapters::open(&config).await.unwrap();
        adapters.clock = clock.clone();
        Arc::new(adapters.engine(&config, ClockTrust::Compared).unwrap())
    };
    let [ours, theirs] = [(); 2].map(|()| Arc::new(SetClock(Mutex::new(start))));
    let (engine, other) = (engine(&ours).await, engine(&theirs).await);
    let metrics = jit_runtime::observe::install_recorder().unwrap();
    let log = Lines::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(subscriber.finish());
    let mut watch = Watch::new(engine.clone(), []);
    let second = Duration::from_secs(1);
    let tick = Duration::from_micros(1);
    // When we look, how far ahead of us the other one commits, what the log then has in all, and
    // what the gauge shows.
    let table = [
        (Duration::ZERO, Duration::ZERO, 0, "0"),
        (second, 2 * second, 0, "-2"),
        (2 * second, 2 * second + tick, 1, "-2.000001"),
        (3 * second, 3 * second, 1, "-3"),
        // Made up for by now; then it crosses the line again.
        (700 * second, Duration::ZERO, 1, "0"),
        (800 * second, 3 * second, 2, "-3"),
    ];
    for (after, ahead, warnings, shown) in table {
        ours.set(start + after);
        theirs.set(start + after + ahead);
        if !ahead.is_zero() {
            other.open(&ana(), ask()).await.unwrap();
        }
        engine.due(1).await.unwrap();
        for _ in 0..2 {
            watch.look().await.unwrap();
        }
        assert_eq!(log.warnings(), warnings, "{ahead:?} ahead");
        let gauge = format!("jit_clock_offset_seconds {shown}\n");
        let metrics = metrics.render();
        assert!(metrics.contains(&gauge), "{gauge} is not in {metrics}");
    }
}
