//! Stories of people: each is one promise of the product, lived through the workspace.

use std::time::Duration;

use jit_core::request::Status;

use crate::world::{By, World, settings};

/// Ana asks, Bob approves, the access is there until the clock takes it away, and everybody sees it.
async fn ask_approve_expire(by: By) {
    let world = World::with(by, settings()).await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    assert!(
        card.words().contains("the checkout is down"),
        "{}",
        card.words()
    );
    let bob = world.slack.user("U0BOB");
    assert!(bob.click(&card, "jit_approve").await.acked());
    let active = world.card("U0BOB", "active until").await;
    assert!(!active.shows("jit_approve"));
    assert!(active.shows("jit_revoke"));
    let request = world.request(Status::Active).await;
    assert!(world.is_there(&request));
    let ana = world.slack.user("U0ANA");
    let given = world
        .slack
        .wait_for(&ana, "dm", |message| {
            message.words().contains("is yours until")
        })
        .await;
    assert!(given.shows("jit_done"));
    // Ten minutes, or a fifth of the whole, before the end she is warned.
    world
        .clock
        .set(request.grant().unwrap().expires_at - Duration::from_secs(359));
    world
        .slack
        .wait_for(&ana, "dm", |message| message.words().contains("ends"))
        .await;
    world.clock.set(request.grant().unwrap().expires_at);
    world
        .slack
        .wait_for(&ana, "dm", |message| {
            message.words().contains("Ended: its time is up")
        })
        .await;
    let over = world.card("U0BOB", "Ended: its time is up").await;
    assert!(!over.shows("jit_revoke"));
    assert!(!world.is_there(&request));
    assert_eq!(world.slack.seen_errors(), Vec::<String>::new());
    assert_eq!(world.slack.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn b1_b2_b5_b8_what_is_asked_in_slack_is_decided_there_and_ends_by_the_clock() {
    ask_approve_expire(By::Socket).await;
}

#[tokio::test]
async fn a2_the_same_over_http() {
    ask_approve_expire(By::Http).await;
}
