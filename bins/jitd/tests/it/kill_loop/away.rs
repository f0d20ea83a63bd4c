//! The store does not answer for as long as it takes: nothing new is given and whoever asks is told why;
//! what was given ends on time all the same, by what each process remembers (L4). `JIT_AWAY_SECONDS`
//! says for how long: some seconds in the gate, minutes in the lane `--kill`.

use std::sync::Arc;
use std::time::Duration;

use jit_testkit::time::SeededRandom;
use rusqlite::{Connection, TransactionBehavior};
use tokio::time::{Instant, sleep, sleep_until};

use super::crew::Doors;
use super::hostile::World;
use super::judge::{Access, Seen, is_awake, judge};
use super::load::Load;
use super::pause::{daemon, opens, people};
use super::small::Ledger;
use super::{LATE_MAX, Site};
use crate::house::{House, entitlement};
use crate::process::{Process, signal, until};

/// Within this time everything is given, and it ends later than that.
const GIVING: Duration = Duration::from_secs(10);
/// So long before that the store goes away.
const SPARE: Duration = Duration::from_secs(3);
/// Within this time a process knows that its store is away, and tells whoever asks at once.
const KNOWN: Duration = Duration::from_secs(30);
/// Within this time after its end nothing may stand any more.
const PATIENCE: Duration = Duration::from_secs(60);
const AWAY_FEW: u64 = 16;
/// So many groups Ana has; the next one she asks for meanwhile.
pub(super) const GROUPS: usize = 3;

/// How long the store is away.
fn away() -> Duration {
    let said = std::env::var("JIT_AWAY_SECONDS");
    Duration::from_secs(said.map_or(AWAY_FEW, |said| said.parse().unwrap()))
}

/// Two daemons, and whoever knows their doors.
pub(super) struct Served {
    pub(super) load: Arc<Load>,
    /// At which everybody is.
    pub(super) known: Doors,
    doors: [String; 2],
    _daemons: [Process; 2],
    /// By then everything was given, and from then on it ends.
    given_by: Instant,
}

impl Served {
    /// Ana has each of these, the last one until half of the time has passed for which the store will
    /// be away; everything ends meanwhile.
    async fn with(site: &Site, things: &[&str]) -> Self {
        let (load, doors) = people(site);
        let (one, first) = daemon(site, None);
        let (other, second) = daemon(site, None);
        opens(&doors, first.clone());
        let given_by = Instant::now() + GIVING;
        let part = away() / 2 / u32::try_from(things.len()).unwrap();
        for (thing, parts) in things.iter().zip(1..) {
            let secs = (GIVING + part * parts).as_secs();
            let id = load.asks_at(&first, thing, secs).await.unwrap();
            assert!(load.approves(&id).await);
        }
        Self {
            load,
            known: doors,
            doors: [first, second],
            _daemons: [one, other],
            given_by,
        }
    }

    /// Ana has groups of this house, which is served.
    pub(super) async fn with_groups(site: &Site, house: &House) -> (Self, Ledger) {
        let ledger = Ledger::new(house);
        let things: Vec<String> = (0..GROUPS).map(entitlement).collect();
        let things: Vec<&str> = things.iter().map(String::as_str).collect();
        let served = Self::with(site, &things).await;
        served.is_given(|| ledger.open() == things.len()).await;
        (served, ledger)
    }

    /// Everything was given, and the store may go away.
    async fn is_given(&self, has_all: impl Fn() -> bool) {
        until("Ana has it", async || has_all()).await;
        sleep_until(self.given_by - SPARE).await;
        assert!(has_all(), "it ended before the store was away");
    }

    /// Both daemons refuse, and say why, for as long as the store is away; meanwhile everything ends.
    /// Until they know, this may be all that they say.
    pub(super) async fn refuses(
        &self,
        thing: &str,
        at_first: Option<&str>,
        is_gone: impl Fn() -> bool,
    ) {
        let begun = Instant::now();
        let mut know_it = 0;
        while begun.elapsed() < away() || !is_gone() || know_it < self.doors.len() {
            know_it = 0;
            for door in &self.doors {
                let told = self.load.asks_at(door, thing, 60).await;
                let told = told.expect_err("nothing is taken that cannot be kept");
                let told = told.to_string();
                let is_known = told.contains("the store of this service does not answer");
                let may_be = |it: &str| begun.elapsed() < KNOWN && told.contains(it);
                assert!(is_known || at_first.is_some_and(may_be), "{door}: {told}");
                know_it += usize::from(is_known);
            }
            assert!(begun.elapsed() < away() + PATIENCE, "it never ended");
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// The store is back: everything is written down, and nothing stood for long past its end.
    pub(super) async fn goes_on(
        &self,
        site: &Site,
        store: &str,
        first: &str,
        all: usize,
        gone: &[Access],
    ) {
        self.load.winds_up().await;
        // Told at least once: an answer of the store may be lost. One process may have ended the
        // story before the other one told what it had done.
        let told = |it: &Seen| it.facts.iter().any(|fact| fact == "store_away");
        until("what was done without the store is told", async || {
            self.load.sees().await.iter().all(told)
        })
        .await;
        let seen = self.load.sees().await;
        assert_eq!(seen.len(), all, "{seen:#?}");
        let promises: Vec<_> = seen.iter().filter_map(|it| it.promise()).collect();
        let mut verdict = judge(&promises, gone, LATE_MAX);
        verdict.problems.extend(self.load.problems(&seen));
        println!(
            "{store} was away for {} s: {} ended meanwhile, the latest {} ms late, {} problems",
            away().as_secs(),
            verdict.accesses,
            verdict.late / 1_000,
            verdict.problems.len()
        );
        assert!(verdict.problems.is_empty(), "{:#?}", verdict.problems);
        assert_eq!(verdict.accesses, all);
        is_awake(&promises, gone);
        site.is_verified();
        let dice = SeededRandom::new(0);
        until("things can be asked for again", async || {
            self.load.asks(first, 5, &dice).await.is_some()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_a_file_that_another_process_locks_for_long_delays_no_end() {
    let house = House::new(4).await;
    let site = Site::of(&house);
    let (served, ledger) = Served::with_groups(&site, &house).await;
    let mut other = Connection::open(house.path("jit.db")).unwrap();
    let lock = other.transaction_with_behavior(TransactionBehavior::Immediate);
    let lock = lock.unwrap();
    let is_gone = || ledger.open() == 0;
    served.refuses(&entitlement(GROUPS), None, is_gone).await;
    drop(lock);
    let gone = ledger.ends();
    let (first, all) = (entitlement(0), GROUPS);
    served.goes_on(&site, "a file", &first, all, &gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_a_table_that_does_not_answer_for_long_delays_no_end() {
    let world = World::new();
    let things = ["okta/admins", "aws/prod-shop/ReadOnlyAccess"];
    let served = Served::with(&world.site, &things).await;
    let open = || {
        let accesses = world.accesses();
        accesses.iter().filter(|it| it.until.is_none()).count()
    };
    served.is_given(|| open() == things.len()).await;
    signal(world.dynamodb.id(), "STOP");
    // Whoever asks waits for as long as the table is asked.
    let at_first = Some("no answer");
    served
        .refuses("okta/officers", at_first, || open() == 0)
        .await;
    signal(world.dynamodb.id(), "CONT");
    let (site, gone) = (&world.site, world.accesses());
    let (first, all) = (things[0], things.len());
    served.goes_on(site, "a table", first, all, &gone).await;
}
