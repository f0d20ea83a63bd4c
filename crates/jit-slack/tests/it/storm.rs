//! Very many envelopes while connections come and go and Slack repeats itself; and connections that
//! never hold. Time is simulated. `JIT_SLACK_ENVELOPES` says how many envelopes.

#![allow(clippy::print_stdout, reason = "a long run says how it went")]

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use jit_slack::Reached;
use jit_testkit::time::SeededRandom;
use serde_json::{Value, json};
use slack_sim::{Disconnect, Fault, SlackSim, Switch, Times};

use crate::world::World;

/// Without the variable.
const ENVELOPES: usize = 3_000;
/// Sent at once, with something going wrong among them; in a long run more.
const BURST: usize = 100;
/// The most bursts of a run.
const BURSTS: usize = 150;
/// The most requests that are opened in a run; each keeps its card.
const REQUESTS: usize = 200;
/// Slack sends an event up to four times; here after pauses that are shorter than its own.
const AGAIN_SECS: [u64; 4] = [0, 0, 2, 5];
/// How often a ticket for a connection may be asked for, also in the worst minute.
const OPENS_A_MINUTE: usize = 10;

#[allow(
    clippy::disallowed_methods,
    reason = "how long a test runs is no configuration of the product"
)]
fn envelopes() -> usize {
    let said = std::env::var("JIT_SLACK_ENVELOPES");
    said.map_or(ENVELOPES, |said| said.parse().unwrap())
}

/// A number below this.
fn below(dice: &SeededRandom, limit: u64) -> u64 {
    dice.next() % limit
}

/// What one envelope is to bring about, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A form is asked for; `views.open` is called with this command's trigger.
    Form,
    /// The same, and the person types it again with the same trigger.
    FormTwice,
    /// A request is opened.
    Request,
    /// A home is drawn; Slack repeats what is not acknowledged.
    Home,
}

fn kind(number: usize, all: usize) -> Kind {
    let spread = (all / REQUESTS).max(BURST / 2);
    match number {
        _ if number.is_multiple_of(spread) => Kind::Request,
        _ if number % 10 == 1 => Kind::FormTwice,
        _ if number % 10 == 2 => Kind::Home,
        _ => Kind::Form,
    }
}

fn trigger(number: usize) -> String {
    format!("storm.{number}")
}

fn typed(number: usize) -> Value {
    json!({
        "command": "/jit", "text": "", "user_id": "U0ANA", "team_id": "T0EXAMPLE1",
        "channel_id": "C0SEC", "trigger_id": trigger(number),
    })
}

fn reason(number: usize) -> String {
    format!("the checkout is down in storm {number}")
}

fn submitted(number: usize) -> Value {
    json!({
        "type": "view_submission", "user": {"id": "U0ANA"}, "team": {"id": "T0EXAMPLE1"},
        "view": {
            "id": format!("V{number}"), "hash": "1.abc", "callback_id": "jit_request",
            "private_metadata": "{}",
            "state": {"values": {
                "a": {"target": {"selected_option": {"value": "memory/admins"}}},
                "b": {"reason": {"value": reason(number)}},
            }},
        },
    })
}

fn home(number: usize) -> Value {
    json!({
        "type": "event_callback", "team_id": "T0EXAMPLE1", "event_id": format!("Ev{number}"),
        "event": {"type": "app_home_opened", "user": "U0CLEO", "tab": "home"},
    })
}

/// What became of one.
#[derive(Debug, Clone, Copy)]
struct Sent {
    acked: bool,
    deliveries: usize,
    /// Those that were not acknowledged; each is an error that somebody saw.
    failed: usize,
}

impl Sent {
    fn of(deliveries: &[bool]) -> Self {
        Self {
            acked: deliveries.contains(&true),
            deliveries: deliveries.len(),
            failed: deliveries.iter().filter(|acked| !**acked).count(),
        }
    }
}

/// Sends one, again where Slack would.
async fn send(slack: &SlackSim, number: usize, kind: Kind) -> Sent {
    let ana = slack.user("U0ANA");
    match kind {
        Kind::Form => {
            let sent = slack.raw(Some(&ana), "slash_commands", typed(number));
            Sent::of(&[sent.await.acked()])
        }
        Kind::FormTwice => {
            let one = slack.raw(Some(&ana), "slash_commands", typed(number));
            let other = slack.raw(Some(&ana), "slash_commands", typed(number));
            let (one, other) = tokio::join!(one, other);
            Sent::of(&[one.acked(), other.acked()])
        }
        Kind::Request => {
            let sent = slack.raw(Some(&ana), "interactive", submitted(number));
            Sent::of(&[sent.await.acked()])
        }
        Kind::Home => {
            let mut deliveries = vec![];
            for pause_secs in AGAIN_SECS {
                tokio::time::sleep(Duration::from_secs(pause_secs)).await;
                deliveries.push(slack.raw(None, "events_api", home(number)).await.acked());
                if deliveries.contains(&true) {
                    break;
                }
            }
            Sent::of(&deliveries)
        }
    }
}

/// What happened to the connections in a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Slack cut all of them without a word: for a moment there are none.
    AllCut,
    /// Slack cut one without a word; at any time there is another.
    OneCut,
    /// Slack said goodbye on some before it closed them, or nothing happened.
    Polite,
}

impl Trouble {
    /// Of so many deliveries the most that may be under way on connections that Slack cuts or
    /// closes, and so are not the app's fault. One of three connections has a third of them.
    fn excuses(self, deliveries: usize) -> usize {
        match self {
            Self::AllCut => deliveries,
            Self::OneCut => deliveries / 2,
            // What is sent in the instant before a connection is closed after its goodbye.
            Self::Polite => 3,
        }
    }
}

/// Something goes wrong among the envelopes of a burst.
async fn trouble(slack: &SlackSim, dice: &SeededRandom) -> Trouble {
    tokio::time::sleep(Duration::from_millis(below(dice, 40))).await;
    let drawn = below(dice, 6);
    match drawn {
        0 => slack.disconnect_one(Disconnect::RefreshRequested),
        1 => slack.disconnect_one(Disconnect::Warning),
        2 => slack.cut_one(),
        3 => slack.disconnect(Disconnect::RefreshRequested),
        4 => slack.tear_sockets(),
        _ => {}
    }
    slack.deliver_twice(u32::try_from(below(dice, 40)).unwrap());
    match drawn {
        2 => Trouble::OneCut,
        4 => Trouble::AllCut,
        _ => Trouble::Polite,
    }
}

#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    requests: Vec<usize>,
    homes: usize,
    homes_acknowledged: usize,
    homes_drawn: usize,
    /// How often a form was opened for each command that was acknowledged or not.
    forms: HashMap<String, usize>,
    /// Envelopes that were not acknowledged though Slack did not cut their connection.
    lost: Vec<String>,
}

impl Tally {
    fn count(&mut self, slack: &SlackSim) {
        for call in slack.take_calls() {
            match call.method.as_str() {
                "views.open" => {
                    let trigger = call.body["trigger_id"].as_str().unwrap().to_owned();
                    *self.forms.entry(trigger).or_default() += 1;
                }
                "views.publish" => self.homes_drawn += 1,
                _ => {}
            }
        }
    }
}

async fn burst(
    world: &World,
    numbers: std::ops::Range<usize>,
    all: usize,
    dice: &SeededRandom,
) -> Tally {
    let mut tally = Tally::default();
    let sending = numbers.clone().map(|number| {
        let wait = Duration::from_millis(below(dice, 60));
        async move {
            tokio::time::sleep(wait).await;
            let kind = kind(number, all);
            (number, kind, send(&world.slack, number, kind).await)
        }
    });
    let before = world.slack.seen_errors().len();
    let (sent, trouble) = tokio::join!(join_all(sending), trouble(&world.slack, dice));
    let errors = world.slack.seen_errors().split_off(before);
    let failed: usize = sent.iter().map(|(_, _, sent)| sent.failed).sum();
    assert_eq!(
        failed,
        errors.len(),
        "each has an error of its own: {errors:?}"
    );
    let deliveries: usize = sent.iter().map(|(_, _, sent)| sent.deliveries).sum();
    let excused = |why: &String| {
        why.ends_with("its connection was cut")
            || trouble == Trouble::AllCut && why.ends_with("no connection to the app")
    };
    let (cut, lost): (Vec<_>, Vec<_>) = errors.into_iter().partition(excused);
    let most = trouble.excuses(deliveries);
    assert!(cut.len() <= most, "{} of {most} in {trouble:?}", cut.len());
    tally.lost = lost;
    for (number, kind, Sent { acked, .. }) in sent {
        tally.acknowledged += usize::from(acked);
        match (kind, acked) {
            (Kind::Home, acked) => {
                tally.homes += 1;
                tally.homes_acknowledged += usize::from(acked);
            }
            (Kind::Request, true) => tally.requests.push(number),
            (Kind::Form | Kind::FormTwice, true) => {
                tally.forms.insert(trigger(number), 0);
            }
            (Kind::Request | Kind::Form | Kind::FormTwice, false) => {}
        }
    }
    tally
}

#[tokio::test(start_paused = true)]
async fn of_many_envelopes_no_acknowledgement_is_lost_and_none_counts_twice() {
    let all = envelopes();
    let dice = SeededRandom::new(11);
    let mut world = World::new().await;
    world.clock_runs(Duration::from_millis(4));
    let mut tally = Tally::default();
    let size = BURST.max(all.div_ceil(BURSTS));
    for first in (0..all).step_by(size) {
        let numbers = first..(first + size).min(all);
        let seen = burst(&world, numbers, all, &dice).await;
        tally.acknowledged += seen.acknowledged;
        tally.homes += seen.homes;
        tally.homes_acknowledged += seen.homes_acknowledged;
        tally.requests.extend(seen.requests);
        tally.forms.extend(seen.forms);
        tally.lost.extend(seen.lost);
        world.slack.deliver_twice(0);
        // Renewals that are long past count no more, and inputs that are done are forgotten.
        let connected = |slack: &SlackSim| slack.connections() > 1;
        let mut tries = 0;
        while !connected(&world.slack) {
            tries += 1;
            assert!(tries < 100, "there are no connections any more");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // What waits longer than two minutes is not applied any more.
        world.worked_through().await;
        world.clock.advance(Duration::from_secs(300));
        tokio::time::sleep(Duration::from_millis(500)).await;
        tally.count(&world.slack);
    }
    let errors = world.slack.seen_errors();
    println!(
        "{all} envelopes: {} acknowledged, {} on connections that were cut, {} lost",
        tally.acknowledged,
        errors.len() - tally.lost.len(),
        tally.lost.len(),
    );
    assert_eq!(tally.lost, Vec::<String>::new());
    assert!(tally.acknowledged > all * 3 / 4, "too few to mean anything");
    assert_eq!(world.slack.violations(), Vec::<String>::new());
    let not_once = |(_, times): &(&String, &usize)| **times != 1;
    let wrong: Vec<_> = tally.forms.iter().filter(not_once).collect();
    assert_eq!(wrong, vec![], "each command is worked on once");
    let homes = tally.homes_acknowledged..=tally.homes;
    assert!(
        homes.contains(&tally.homes_drawn),
        "each event is worked on once: {} drawn of {homes:?}",
        tally.homes_drawn
    );
    let mut opened: HashMap<String, usize> = HashMap::new();
    for request in world.requests().await {
        *opened.entry(request.reason.to_string()).or_default() += 1;
    }
    for number in &tally.requests {
        assert!(opened.contains_key(&reason(*number)), "{number} is lost");
    }
    assert!(opened.values().all(|times| *times == 1), "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn when_all_connections_are_renewed_at_once_one_is_open_at_any_time() {
    for why in [Disconnect::RefreshRequested, Disconnect::Warning] {
        let mut world = World::new().await;
        world.clock_runs(Duration::from_millis(4));
        tokio::time::sleep(Duration::from_secs(4)).await;
        let ana = world.slack.user("U0ANA");
        assert_eq!(world.slack.connections(), 3);
        let before = world.slack.opens().len();
        world.slack.disconnect(why);
        let mut failed = 0;
        for number in 0..200 {
            let sent = world.slack.raw(Some(&ana), "slash_commands", typed(number));
            failed += usize::from(!sent.await.acked());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Only what is under way on a connection at the moment that Slack closes it is lost: one
        // for each of the three, as they are sent one after the other.
        let errors = world.slack.seen_errors();
        assert_eq!(errors.len(), failed, "{why:?}: {errors:?}");
        assert!(failed <= 3, "{why:?}: {errors:?}");
        let is_cut = |error: &String| error.ends_with("its connection was cut");
        assert!(errors.iter().all(is_cut), "{why:?}: {errors:?}");
        assert_eq!(world.slack.connections(), 3, "{why:?}");
        assert_eq!(world.slack.opens().len() - before, 3, "{why:?}");
    }
}

/// How a connection fails, always.
#[derive(Debug, Clone, Copy)]
enum Failing {
    Dropped,
    Silent,
    Refused,
    NoTicket,
    /// Slack says that trying again is no use.
    BadToken,
    SwitchedOff,
}

#[tokio::test(start_paused = true)]
async fn connections_that_never_hold_are_opened_ten_times_a_minute_at_most() {
    for failing in [
        Failing::Dropped,
        Failing::Silent,
        Failing::Refused,
        Failing::NoTicket,
        Failing::BadToken,
        Failing::SwitchedOff,
    ] {
        let mut world = World::new().await;
        world.clock_runs(Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(90)).await;
        let slack = &world.slack;
        match failing {
            Failing::Dropped => slack.accept_then_drop(Switch::On),
            Failing::Silent => slack.silence_sockets(Switch::On),
            Failing::Refused => slack.refuse_sockets(Switch::On),
            Failing::NoTicket => {
                let faults = slack.faults();
                faults.fail("apps.connections.open", Fault::ServerError, Times::Always);
            }
            Failing::BadToken => {
                let fault = Fault::Api("invalid_auth");
                slack
                    .faults()
                    .fail("apps.connections.open", fault, Times::Always);
            }
            Failing::SwitchedOff => slack.disconnect(Disconnect::LinkDisabled),
        }
        let before = slack.opens().len();
        slack.cut_sockets();
        tokio::time::sleep(Duration::from_secs(300)).await;
        let told = match failing {
            Failing::BadToken | Failing::SwitchedOff => Reached::Refused,
            Failing::Dropped | Failing::Silent | Failing::Refused | Failing::NoTicket => {
                Reached::NotConnected
            }
        };
        assert_eq!(world.reached(), told, "{failing:?}");
        let opens = slack.opens();
        let opens = opens.get(before..).unwrap_or_default();
        let opens: Vec<u64> = opens.iter().map(|at| (*at - opens[0]).as_secs()).collect();
        let most = opens.iter().map(|from| {
            opens
                .iter()
                .filter(|at| (*from..from + 60).contains(at))
                .count()
        });
        let most = most.max().unwrap_or_default();
        println!(
            "{failing:?}: {} in five minutes, {most} in one",
            opens.len()
        );
        assert!(
            most <= OPENS_A_MINUTE,
            "{failing:?}: {most} in a minute, at {opens:?}"
        );
        // And it comes back by itself.
        slack.accept_then_drop(Switch::Off);
        slack.silence_sockets(Switch::Off);
        slack.refuse_sockets(Switch::Off);
        slack.enable_link();
        slack.faults().clear();
        let mut waited = 0;
        while world.reached() != Reached::Connected {
            waited += 1;
            assert!(waited < 90, "{failing:?}: it does not come back");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// As when a router on the way forgets a connection: no byte comes, and nobody says so.
#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_for_75_seconds_is_given_up_and_opened_again() {
    let mut world = World::new().await;
    world.clock_runs(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(world.reached(), Reached::Connected);
    let before = world.slack.opens().len();
    world.slack.freeze_sockets();
    tokio::time::sleep(Duration::from_secs(74)).await;
    assert_eq!(
        world.slack.opens().len(),
        before,
        "it was given up too soon"
    );
    // It is looked at every fifteen seconds.
    tokio::time::sleep(Duration::from_secs(2 + 15)).await;
    assert!(world.slack.opens().len() > before, "it was not given up");
    let mut waited = 0;
    while world.slack.connections() < 3 {
        waited += 1;
        assert!(waited < 90, "it does not come back");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.reached(), Reached::Connected);
    let ana = world.slack.user("U0ANA");
    let sent = world.slack.raw(Some(&ana), "slash_commands", typed(0));
    assert!(sent.await.acked(), "{:?}", world.slack.seen_errors());
}
