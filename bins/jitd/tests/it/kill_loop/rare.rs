//! Daemons that die where only something that goes wrong for long leads: when an end is stuck and
//! somebody is to be woken, and when a store that was away is told what was done without it. Another
//! one goes on.

use futures_util::future::join_all;
use jit_testkit::time::SeededRandom;
use rusqlite::{Connection, TransactionBehavior};

use super::Site;
use super::pause::{daemon, opens, people};
use super::small::Ledger;
use crate::house::{House, entitlement};
use crate::process::{Process, read, until};

/// It kills itself.
async fn dies(process: &mut Process, place: &str) {
    until("it dies", async || process.ended().is_some()).await;
    let ended = process.ended().unwrap();
    assert!(!ended.success(), "{place}: {ended:?}");
}

/// A line in the group file that is no group keeps an end from being made, until it is mended.
async fn is_stuck_and_paged(place: &str) {
    let house = House::new(1).await;
    let site = Site::of(&house);
    let before = read(&house.path("groups"));
    let (load, doors) = people(&site);
    let (mut dying, door) = daemon(&site, Some(place));
    opens(&doors, door);
    let dice = SeededRandom::new(0);
    let id = load.asks(&entitlement(0), 6, &dice).await.unwrap();
    let approved = load.approves(&id).await;
    dying.overheard();
    assert!(approved, "{place}: {:#?}", dying.heard);
    until("Ana has it", async || read(&house.path("groups")) != before).await;
    let given = read(&house.path("groups"));
    let bad = |groups: &str| std::fs::write(house.path("groups"), groups).unwrap();
    bad(&format!("{given}no group\n"));
    dies(&mut dying, place).await;
    let (mut other, door) = daemon(&site, None);
    opens(&doors, door);
    // Somebody is woken at least once: again where nobody knows whether it was heard.
    let is_paged = |line: &String| line.contains("STUCK: ") && line.contains(&id);
    until("somebody is woken", async || {
        other.overheard();
        other.heard.iter().any(is_paged)
    })
    .await;
    bad(&given);
    until("it is gone", async || read(&house.path("groups")) == before).await;
    load.winds_up().await;
    let seen = load.sees().await;
    let facts = &seen[0].facts;
    for once in ["stuck", "unstuck", "closed"] {
        let told = facts.iter().filter(|it| *it == once).count();
        assert_eq!(told, 1, "{place}: {once} in {facts:?}");
    }
    site.is_verified();
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_whoever_dies_beside_an_alarm_keeps_nobody_from_being_woken() {
    let places = [
        "before commit.stuck",
        "after commit.stuck",
        "before pager.page",
        "after pager.page",
    ];
    join_all(places.map(is_stuck_and_paged)).await;
}

async fn is_told_of_what_was_done_without_it(place: &str) {
    let house = House::new(1).await;
    let site = Site::of(&house);
    let ledger = Ledger::new(&house);
    let (load, doors) = people(&site);
    let (mut dying, door) = daemon(&site, Some(place));
    opens(&doors, door);
    let dice = SeededRandom::new(0);
    let id = load.asks(&entitlement(0), 4, &dice).await.unwrap();
    assert!(load.approves(&id).await);
    until("Ana has it", async || ledger.open() == 1).await;
    let mut other = Connection::open(house.path("jit.db")).unwrap();
    let lock = other.transaction_with_behavior(TransactionBehavior::Immediate);
    let lock = lock.unwrap();
    until("it is gone", async || ledger.open() == 0).await;
    drop(lock);
    dies(&mut dying, place).await;
    let (_other, door) = daemon(&site, None);
    opens(&doors, door);
    load.winds_up().await;
    let seen = load.sees().await;
    assert_eq!(seen[0].problems(), [""; 0], "{place}");
    if place.starts_with("after") {
        let facts = &seen[0].facts;
        assert!(
            facts.iter().any(|it| it == "store_away"),
            "{place}: {facts:?}"
        );
    }
    assert_eq!(ledger.ends().len(), 1, "{place}");
    site.is_verified();
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_whoever_dies_while_it_tells_what_it_did_without_the_store_leaves_nothing() {
    let places = ["before commit.store_away", "after commit.store_away"];
    join_all(places.map(is_told_of_what_was_done_without_it)).await;
}
