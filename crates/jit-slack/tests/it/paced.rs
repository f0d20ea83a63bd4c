//! Channels that take a message a second: everything arrives there, in order and once, and Slack is
//! not asked again and again meanwhile.

use std::time::Duration;

use jit_core::engine::{NewRequest, Verb};
use jit_core::ports::{Announcement, Clock};
use jit_core::principal::{Door, Principal};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_testkit::stage::id;
use slack_sim::{Fault, Message, Switch, Times};

use crate::world::World;

fn via(name: &str) -> Principal {
    Principal {
        id: id(name),
        door: Door::Slack,
    }
}

async fn asks(world: &World, account: usize) -> AccessRequest {
    let new = NewRequest {
        beneficiary: None,
        parts: vec![(
            format!("memory/account-{account:03}").parse().unwrap(),
            Default::default(),
        )],
        ttl: None,
        reason: "the checkout is down".parse().unwrap(),
        idempotency_key: None,
    };
    world.engine.open(&via("ana"), new).await.unwrap()
}

async fn cards(world: &World) -> Vec<Message> {
    let seen = world.slack.user("U0BOB").messages("C0SEC").await;
    let cards = seen.into_iter().filter(|it| it.thread_ts.is_none());
    cards.collect()
}

fn about(card: &Message) -> RequestId {
    let id = card.metadata.as_ref().unwrap()["event_payload"]["id"].clone();
    id.as_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn twenty_cards_in_a_moment_arrive_in_order_and_once_where_one_a_second_is_taken() {
    let mut world = World::new().await;
    world.clock_runs(Duration::from_millis(1));
    world.slack.pace_channels(Switch::On);
    let first = asks(&world, 0).await;
    world.card("U0BOB", "Pending").await;
    let mut asked = vec![first.id];
    for account in 1..20 {
        asked.push(asks(&world, account).await.id);
    }
    // Who asked at the same instant has no order but that of the ids.
    asked.sort();
    for _ in 0..600 {
        if cards(&world).await.len() >= asked.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let shown: Vec<RequestId> = cards(&world).await.iter().map(about).collect();
    assert_eq!(shown, asked);
    // All that were on their way when Slack said so first were refused, and then hardly any.
    let refused = world.slack.calls("chat.postMessage").len() - asked.len();
    assert!(refused <= 19 + 3, "{refused} were refused");
    // What happens to them is told there as well.
    let approve = Verb::Approve {
        ttl: None,
        digest: first.digest().prefix(),
    };
    world
        .engine
        .handle(&via("bob"), first.id, approve)
        .await
        .unwrap();
    let card = world.card("U0BOB", "active until").await;
    assert_eq!(about(&card), first.id);
    assert_eq!(cards(&world).await.len(), asked.len());
}

#[tokio::test]
async fn what_slack_puts_off_is_due_exactly_then_and_no_failure() {
    let world = World::new().await;
    let faults = world.slack.faults();
    faults.fail(
        "chat.postMessage",
        Fault::RateLimited { retry_after_s: 7 },
        Times::Once,
    );
    let request = asks(&world, 0).await;
    let again_at = world.clock.now() + Duration::from_secs(7);
    let waits = async |request: &AccessRequest| {
        for _ in 0..500 {
            let rows = world.store.deliveries();
            let mut rows = rows.into_iter().filter(|it| it.key.request == request.id);
            let row = rows.next().unwrap();
            if row.deliver_at > Some(world.clock.now()) && row.taken_until.is_none() {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not wait");
    };
    let waiting = waits(&request).await;
    assert_eq!(waiting.deliver_at, Some(again_at));
    assert_eq!(waiting.attempts, 0, "nothing failed");
    // The next one is not even tried before, and comes after.
    let next = asks(&world, 1).await;
    let after = Some(again_at + Duration::from_secs(1));
    assert_eq!(waits(&next).await.deliver_at, after);
    assert_eq!(world.slack.calls("chat.postMessage").len(), 1);
    world.clock.set(again_at);
    let card = world.card("U0BOB", "Pending").await;
    assert_eq!(about(&card), request.id);
    // It waits for its reminder, so Slack's answer has been heard.
    waits(&request).await;
    world.clock.advance(Duration::from_secs(1));
    let bob = world.slack.user("U0BOB");
    let card = world.slack.wait_for(&bob, "C0SEC", |message| {
        message.words().contains(&next.id.to_string())
    });
    assert_eq!(about(&card.await), next.id);
    assert_eq!(world.slack.calls("chat.postMessage").len(), 3);
}

#[tokio::test]
async fn a_channel_that_wants_a_pause_gets_no_changes_of_cards_either() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    let faults = world.slack.faults();
    faults.fail(
        "chat.update",
        Fault::RateLimited { retry_after_s: 7 },
        Times::Once,
    );
    let request = world.request(Status::Pending).await;
    let approve = Verb::Approve {
        ttl: None,
        digest: request.digest().prefix(),
    };
    let bob = via("bob");
    let handled = world.engine.handle(&bob, request.id, approve);
    handled.await.unwrap();
    world.request(Status::Active).await;
    // The person hears of it at once: theirs is another conversation.
    world.dm("U0ANA", "is yours until").await;
    let update = world.slack.calls("chat.update");
    assert_eq!(update.len(), 1, "{update:?}");
    let pending = world.card("U0BOB", "Pending").await;
    world.clock.advance(Duration::from_secs(7));
    let active = world.card("U0BOB", "active until").await;
    assert_eq!(active.ts, pending.ts);
}

#[tokio::test(start_paused = true)]
async fn a_card_that_a_person_deletes_is_posted_once_where_one_message_a_second_is_taken() {
    let mut world = World::new().await;
    world.clock_runs(Duration::from_millis(1));
    world.slack.pace_channels(Switch::On);
    let request = asks(&world, 0).await;
    let card = world.card("U0BOB", "Pending").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.slack.user("U0BOB").delete(&card).await;
    let approve = Verb::Approve {
        ttl: None,
        digest: request.digest().prefix(),
    };
    let handled = world.engine.handle(&via("bob"), request.id, approve).await;
    handled.unwrap();
    world.card("U0BOB", "active until").await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(cards(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn telling_one_thing_takes_no_longer_than_it_is_left_alone_for() {
    let mut world = World::new().await;
    world.clock_runs(Duration::from_millis(1));
    let request = asks(&world, 0).await;
    world.card("U0BOB", "Pending").await;
    let approve = Verb::Approve {
        ttl: None,
        digest: request.digest().prefix(),
    };
    let handled = world.engine.handle(&via("bob"), request.id, approve).await;
    handled.unwrap();
    world.dm("U0ANA", "is yours until").await;
    // Each call is answered just before it is given up, and the end needs three of them.
    let request = world.request(Status::Active).await;
    let ends = world
        .engine
        .handle(&via("ana"), request.id, Verb::End)
        .await;
    ends.unwrap();
    let request = world.request(Status::Settling).await;
    let rows = world.store.deliveries().into_iter();
    let mut delivery = rows.filter(|it| it.key.target.starts_with("dm:"));
    let mut delivery = delivery.next().unwrap();
    delivery.message = delivery.message.map(|place| {
        let mut place: serde_json::Value = serde_json::from_str(&place).unwrap();
        place["warning"] = place["ts"].clone();
        place.as_object_mut().unwrap().remove("over_at");
        place.to_string()
    });
    for method in ["chat.update", "chat.postMessage"] {
        world
            .slack
            .faults()
            .fail(method, Fault::SlowMs(9_000), Times::Always);
    }
    let begun = tokio::time::Instant::now();
    let notifier = world.adapter.notifier();
    let told = notifier.announce(Announcement {
        delivery: &delivery,
        request: &request,
        news: &[],
        background: None,
    });
    assert!(told.await.is_err(), "it is told later");
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}
