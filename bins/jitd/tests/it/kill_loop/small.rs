//! On SQLite and a group file: three daemons and a sweeper share one file on one host, and people are
//! in Slack as well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jit_testkit::time::SeededRandom;
use tokio::time::sleep;

use super::crew::{Crew, LONG, places_without};
use super::judge::{Access, Periods, is_awake, judge};
use super::load::Load;
use super::{Site, kills, now, seed};
use crate::house::{House, entitlement};
use crate::process::{read, until};

/// Requests at the doors of the API, one after the other for each of these groups.
const LANES: usize = 5;
/// The API takes what it can read; a file is read this often, which is how exact its ledger is.
const READ_EVERY: Duration = Duration::from_millis(20);
/// What was acknowledged in Slack is left to whoever took it for thirty seconds.
const LEFT_SECS: i64 = 31;

/// Who was in the group file from when to when, by reading it over and over.
pub(crate) struct Ledger {
    periods: Arc<Mutex<Periods>>,
    is_over: Arc<AtomicBool>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Ledger {
    pub(crate) fn new(house: &House) -> Self {
        let file = house.path("groups");
        let (periods, is_over) = (
            Arc::<Mutex<Periods>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let (kept, stops) = (Arc::clone(&periods), Arc::clone(&is_over));
        let reader = std::thread::spawn(move || {
            let mut before = BTreeSet::new();
            while !stops.load(Ordering::SeqCst) {
                let groups = read(&file);
                let at = now();
                let has_ana = |line: &&str| line.split_whitespace().any(|it| it == "ana");
                let theirs = groups.lines().filter(has_ana);
                let theirs: BTreeSet<String> = theirs
                    .filter_map(|it| it.split_once(':'))
                    .map(|(group, _)| format!("groupfile/{group}"))
                    .collect();
                let mut periods = kept.lock().unwrap();
                theirs
                    .difference(&before)
                    .for_each(|it| periods.comes(it, at));
                before
                    .difference(&theirs)
                    .for_each(|it| periods.goes(it, at));
                drop(periods);
                before = theirs;
                std::thread::sleep(READ_EVERY);
            }
        });
        let reader = Some(reader);
        Self {
            periods,
            is_over,
            reader,
        }
    }

    /// How many of the groups she is in.
    pub(crate) fn open(&self) -> usize {
        let periods = self.periods.lock().unwrap().all();
        periods.iter().filter(|it| it.until.is_none()).count()
    }

    pub(crate) fn ends(mut self) -> Vec<Access> {
        self.is_over.store(true, Ordering::SeqCst);
        self.reader.take().unwrap().join().unwrap();
        self.periods.lock().unwrap().all()
    }
}

/// Ana asks in Slack for one group after the other, and Bob approves on the cards. What was
/// acknowledged, by its reason.
async fn in_slack(house: &House, load: &Load, groups: usize, seed: u64) -> BTreeSet<String> {
    let dice = SeededRandom::new(seed);
    let mut acknowledged = BTreeSet::new();
    for number in LANES..groups {
        let reason = format!("the front page is broken, {number}");
        load.takes_its_time().await;
        while !load.is_over() && !house.ask_because(number, 3, &reason).await {
            sleep(Duration::from_millis(50)).await;
        }
        if load.is_over() {
            break;
        }
        acknowledged.insert(reason);
        for _ in 0..10 {
            sleep(Duration::from_millis(100 + dice.below(200))).await;
            let cards = house.cards(number).await;
            let Some(card) = cards.iter().find(|it| it.shows("jit_approve")) else {
                continue;
            };
            // Twice, as impatient people do.
            let (one, two) = tokio::join!(house.approve(card), house.approve(card));
            if one || two {
                break;
            }
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_file_nothing_is_lost_doubled_or_left_however_often_processes_are_killed() {
    let (kills, seed) = (kills(12), seed());
    let groups = LANES + 3 + kills;
    let house = House::new(groups).await;
    let site = Site::of(&house);
    let ledger = Ledger::new(&house);
    let before = read(&house.path("groups"));
    // Nothing is collected here, and nothing wants two approvals.
    let places = places_without(&["provider.mint", "commit.approval"]);
    let mut crew = Crew::new(&site, seed, places);
    let load = Load::new(&site, Arc::clone(&crew.doors));
    let names: Vec<String> = (0..LANES).map(entitlement).collect();
    let lanes = (0_u64..).zip(&names);
    let lanes = lanes.map(|(lane, name)| load.lane(name, 2, false, seed + 1 + lane));
    let killing = async {
        crew.lives_and_dies(kills).await;
        load.ends();
    };
    let (acknowledged, _, ()) = tokio::join!(
        in_slack(&house, &load, groups, seed),
        futures_util::future::join_all(lanes),
        killing
    );
    crew.calms_down().await;
    house.age_inputs(LEFT_SECS);
    until("what was acknowledged in Slack is done", async || {
        house.inputs_left() == 0
    })
    .await;
    load.winds_up().await;
    let seen = load.sees().await;
    crew.stops();
    let accesses = ledger.ends();

    let promises: Vec<_> = seen.iter().filter_map(|it| it.promise()).collect();
    let verdict = judge(&promises, &accesses, 200_000);
    let mut problems = load.problems(&seen);
    problems.extend(verdict.problems);
    for reason in &acknowledged {
        let asked = seen.iter().filter(|it| it.reason() == reason).count();
        if asked != 1 {
            problems.push(format!(
                "{reason}: acknowledged in Slack, and {asked} requests"
            ));
        }
    }
    let (signals, met, places) = (crew.tally.by_signal, crew.tally.met.len(), crew.places);
    println!(
        "SQLite and a group file: {} kills ({signals} by a signal, {met} of {places} places met), \
         {} requests ({} in Slack), {} grants, the latest end {} ms late, {} problems",
        crew.tally.kills(),
        seen.len(),
        acknowledged.len(),
        verdict.accesses,
        verdict.late / 1_000,
        problems.len(),
    );
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(read(&house.path("groups")), before);
    site.is_verified();
    is_awake(&promises, &accesses);
    assert!(kills < LONG || met == places, "{:#?}", crew.tally);
}
