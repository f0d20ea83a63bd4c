//! What comes of a request that nobody decides, and of access that others take away.

use std::time::Duration;

use jit_core::engine::Progress;
use jit_core::policy::{Right, Rule};
use jit_core::request::{Approver, Status};
use jit_testkit::stage::{id, ttl};

use crate::world::{World, rule, settings};

/// Cleo is on call, and may decide what waited for five minutes.
async fn world() -> World {
    let later = Rule {
        after: Some(ttl("5m")),
        ..rule("oncall:primary", &[Right::Approve])
    };
    let world = World::ruled(settings(), vec![later]).await;
    let mut profiles = world.people.profiles.lock().unwrap();
    let cleo = profiles.get_mut(&id("cleo")).unwrap();
    cleo.groups.insert("oncall:primary".parse().unwrap());
    drop(profiles);
    world
}

#[tokio::test]
async fn f7_d8_whoever_is_on_call_is_asked_in_the_same_thread_and_decides() {
    let world = world().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    assert!(card.words().contains("oncall:primary"), "{}", card.words());
    assert!(card.words().contains("may decide from"), "{}", card.words());
    let cleo = world.slack.user("U0CLEO");
    assert!(cleo.click(&card, "jit_approve").await.acked());
    world
        .told(&cleo, "C0SEC", "once a request has waited longer")
        .await;
    assert!(world.request(Status::Pending).await.approvals.is_empty());

    world.clock.advance(Duration::from_secs(300));
    let line = world
        .slack
        .wait_for(&cleo, "C0SEC", |message| {
            message.words().contains("Nobody decided so far")
        })
        .await;
    assert_eq!(
        line.thread_ts.as_ref(),
        Some(&card.ts),
        "in the thread of its card"
    );
    assert!(line.text.contains("<@U0CLEO>"), "{}", line.text);
    assert!(!line.text.contains("<@U0BOB>"), "{}", line.text);
    let card = world.card("U0CLEO", "may decide since").await;
    assert!(cleo.click(&card, "jit_approve").await.acked());
    let active = world.request(Status::Active).await;
    assert_eq!(active.approvals[0].by, Approver::Person(id("cleo")));
    assert!(world.is_there(&active));
    let decided = world.card("U0CLEO", "active until").await;
    assert!(
        !decided.words().contains("may decide"),
        "{}",
        decided.words()
    );
}

#[tokio::test]
async fn f7_b11_a_ladder_that_nobody_answers_ends_in_lapse_on_its_card() {
    let world = world().await;
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    world.clock.advance(Duration::from_secs(3_600));
    let card = world.card("U0BOB", "Nobody answered in time").await;
    assert!(!card.shows("jit_approve"));
    let lapsed = world.request(Status::Lapsed).await;
    assert!(!world.is_there(&lapsed));
}

#[tokio::test]
async fn s8_whose_access_others_took_is_told_once_and_may_return_it() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    world.slack.user("U0BOB").click(&card, "jit_approve").await;
    let active = world.request(Status::Active).await;
    world.dm("U0ANA", "is yours until").await;
    world.clock.advance(Duration::from_secs(1));
    let part = active.parts.first();
    world
        .provider
        .foreign_revoke(&part.target, &part.parameters);
    for _ in 0..2 {
        let provider = "memory".parse().unwrap();
        let look = world.engine.reconciliation(&provider).await.unwrap();
        let mut look = look.unwrap();
        while world.engine.reconcile(&mut look).await.unwrap() == Progress::Going {}
    }
    let told = world.dm("U0ANA", "is missing at the provider").await;
    let thread = world
        .slack
        .wait_for(&world.slack.user("U0BOB"), "C0SEC", |message| {
            message
                .words()
                .contains("missing at the provider, by other hands")
        })
        .await;
    assert_eq!(thread.thread_ts.as_ref(), Some(&card.ts));
    world.request(Status::Active).await;
    let ana = world.slack.user("U0ANA");
    assert!(ana.click(&told, "jit_done").await.acked());
    world.dm_at("U0ANA", &told.ts, "Ended").await;
    let messages = ana.messages("dm").await;
    let missing = messages
        .iter()
        .filter(|it| it.words().contains("is missing at"));
    assert_eq!(missing.count(), 0, "it is changed into what is true");
}
