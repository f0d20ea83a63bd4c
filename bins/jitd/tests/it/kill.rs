//! Daemons that are stopped and killed while people use the workspace: what was acknowledged happens
//! once or is given back, nothing happens twice, and access ends. `JIT_KILL_ROUNDS` says how often.

#![allow(clippy::print_stdout, reason = "a long run says how it went")]

use std::time::Duration;

use futures_util::future::join_all;
use jit_core::request::Status;
use jit_testkit::time::SeededRandom;
use slack_sim::{Fault, Switch, Times};

use crate::house::{BOB, CHANNEL, House, rounds};
use crate::process::until;

/// An input is left to whoever took it for thirty seconds, and applied for two minutes.
const LEFT_SECS: i64 = 31;
const TOO_OLD_SECS: i64 = 121;

fn millis(dice: &SeededRandom, below: u64) -> Duration {
    Duration::from_millis(dice.next() % below)
}

async fn given_back(house: &House) -> usize {
    let seen = house.slack.user(BOB).messages(CHANNEL).await;
    let told = seen
        .iter()
        .filter(|it| it.ephemeral && it.words().contains("Please click again"));
    told.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_a_sigterm_is_acknowledged_and_happens_once() {
    let all = 12;
    let house = House::new(all).await;
    let mut process = house.daemon().await;
    let mut cards = vec![];
    for number in 0..all {
        assert!(house.ask(number, 60).await);
        cards.push(house.card(number).await);
    }
    let (acked, ()) = tokio::join!(
        join_all(cards.iter().map(|card| house.approve(card))),
        async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            process.signal("TERM");
        }
    );
    assert_eq!(process.ends(), Some(0), "{:#?}", process.heard);
    let errors = house.slack.seen_errors();
    let lost = errors.iter().filter(|it| !it.contains("no connection"));
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(acked.contains(&true), "the signal came before everything");
    house.age_inputs(LEFT_SECS);
    let _again = house.daemon().await;
    for (number, acked) in acked.into_iter().enumerate() {
        if !acked {
            continue;
        }
        until("what was acknowledged happens", async || {
            let request = house.request(number).await.unwrap();
            request.status() == Status::Active
        })
        .await;
        let request = house.request(number).await.unwrap();
        assert_eq!(request.approvals.len(), 1);
    }
    assert_eq!(given_back(&house).await, 0);
}

/// Each request is announced by the daemon itself, in a channel that takes a message a second.
#[tokio::test(flavor = "multi_thread")]
async fn every_card_is_posted_once_though_a_sigterm_comes_while_they_wait_for_their_turn() {
    let all = 20;
    let house = House::new(all).await;
    house.slack.pace_channels(Switch::On);
    // A card stands in the channel for a while before the daemon hears so.
    let faults = house.slack.faults();
    faults.fail("chat.postMessage", Fault::SlowMs(300), Times::Always);
    let mut process = house.daemon().await;
    let asked = join_all((0..all).map(|number| house.ask(number, 60))).await;
    assert!(asked.iter().all(|acked| *acked), "{:#?}", process.heard);
    until("all of it is asked for", async || {
        house.requests().await.len() == all
    })
    .await;
    let posted = async || {
        let seen = house.slack.user(BOB).messages(CHANNEL).await;
        seen.iter().filter(|it| it.metadata.is_some()).count()
    };
    let before = posted().await;
    until("a card is on its way", async || {
        posted().await > before.max(2)
    })
    .await;
    process.signal("TERM");
    assert_eq!(process.ends(), Some(0), "{:#?}", process.heard);
    assert!(posted().await < all, "the signal came after everything");
    let _again = house.daemon().await;
    until("every card is posted", async || {
        house.knows_every_card().await
    })
    .await;
    for number in 0..all {
        let cards = house.cards(number).await;
        assert_eq!(cards.len(), 1, "of {number}: {cards:#?}");
    }
    assert_eq!(posted().await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_happens_once_or_is_given_back() {
    let all = rounds(12);
    let house = House::new(all).await;
    let dice = SeededRandom::new(23);
    let (mut between, mut returned) = (0, 0);
    for number in 0..all {
        let mut process = house.daemon().await;
        assert!(house.ask(number, 3).await);
        let card = house.card(number).await;
        // In every other round the effect waits for Slack, and the kill surely comes before it.
        let slow = number % 2 == 0;
        if slow {
            let faults = house.slack.faults();
            faults.fail("users.info", Fault::SlowMs(400), Times::Once);
        }
        assert!(house.approve(&card).await);
        tokio::time::sleep(millis(&dice, if slow { 200 } else { 40 })).await;
        process.kill();
        house.slack.faults().clear();
        let too_old = number % 3 == 2;
        let left = house.age_inputs(if too_old { TOO_OLD_SECS } else { LEFT_SECS });
        between += left;
        let before = house.request(number).await.unwrap();
        let told = given_back(&house).await;
        let mut process = house.daemon().await;
        if too_old && left > 0 && before.status() == Status::Pending {
            returned += 1;
            until("it is given back", async || given_back(&house).await > told).await;
            let now = house.request(number).await.unwrap();
            assert_eq!(
                now.status(),
                Status::Pending,
                "given back and done all the same"
            );
            assert!(house.approve(&card).await);
        }
        until("it happens", async || {
            let request = house.request(number).await.unwrap();
            request.status() != Status::Pending && request.status() != Status::Approved
        })
        .await;
        process.signal("TERM");
        assert_eq!(process.ends(), Some(0), "{:#?}", process.heard);
    }
    println!("{all} kills, {between} clicks were acknowledged and not done, {returned} given back");
    assert!(between >= all / 2, "the kills never came between");
    let mut granted = 0;
    let _last = house.daemon().await;
    house.ends_as_it_began().await;
    for number in 0..all {
        let request = house.request(number).await.unwrap();
        assert_eq!(request.approvals.len(), 1, "{request:#?}");
        granted += usize::from(request.status() == Status::Closed);
        let cards = house.cards(number).await;
        assert!(cards.len() <= 2, "one kill, and {} cards", cards.len());
    }
    // Where the kill came after the grant was taken up and before it was sent, nobody else takes it
    // up for thirty seconds, and these three are over by then.
    assert!(granted >= all / 2, "{granted} of {all} were given");
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_that_are_cut_by_kills_at_any_moment_end_as_they_began() {
    let all = rounds(4);
    let house = House::new(all).await;
    let dice = SeededRandom::new(29);
    let mut asked = vec![false; all];
    let mut approved = vec![false; all];
    for number in 0..all {
        let mut process = house.daemon().await;
        // Asking, approving, granting, being active and ending take about three seconds.
        let life = millis(&dice, 3_500);
        let living = async {
            loop {
                act(&house, number, &mut asked, &mut approved).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let cut: Result<(), _> = tokio::time::timeout(life, living).await;
        assert!(cut.is_err());
        process.kill();
        house.age_inputs(LEFT_SECS);
    }
    let mut process = house.daemon().await;
    for number in 0..all {
        until("it comes to its end", async || {
            act(&house, number, &mut asked, &mut approved).await;
            let request = house.request(number).await;
            request.is_some_and(|it| it.status().is_over())
        })
        .await;
    }
    house.ends_as_it_began().await;
    for number in 0..all {
        let request = house.request(number).await.unwrap();
        assert_eq!(request.approvals.len(), 1, "{request:#?}");
        let cards = house.cards(number).await;
        assert!((1..=2).contains(&cards.len()), "{} cards", cards.len());
    }
    process.signal("TERM");
    assert_eq!(process.ends(), Some(0), "{:#?}", process.heard);
}

/// Does the next thing of a story, if it is time for it: asks until that is acknowledged, approves
/// until that is.
async fn act(house: &House, number: usize, asked: &mut [bool], approved: &mut [bool]) {
    if !asked[number] {
        asked[number] = house.ask(number, 2).await;
        return;
    }
    if approved[number] {
        return;
    }
    let cards = house.cards(number).await;
    if let Some(card) = cards.iter().find(|it| it.shows("jit_approve")) {
        approved[number] = house.approve(card).await;
    }
}
