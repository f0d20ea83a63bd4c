//! What goes wrong on demand.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slack_sim::{Fault, SlackSim, Switch, Times, Workspace};

use crate::app::{App, Link};

async fn slack() -> (SlackSim, App) {
    let slack = SlackSim::start(Workspace::example()).await;
    let app = App::of(&slack);
    (slack, app)
}

#[tokio::test]
async fn calls_go_wrong_in_every_way_and_as_often_as_told() {
    let (slack, app) = slack().await;
    let faults = slack.faults();
    let test = || app.with_token(&app.bot, "auth.test", json!({}));
    faults.fail(
        "auth.test",
        Fault::RateLimited { retry_after_s: 7 },
        Times::Once,
    );
    let limited = test().await;
    assert_eq!(
        (limited.status, limited.retry_after.as_deref()),
        (429, Some("7"))
    );
    faults.fail("auth.test", Fault::ServerError, Times::N(2));
    assert_eq!(
        (
            test().await.status,
            test().await.status,
            test().await.status
        ),
        (503, 503, 200)
    );
    faults.fail("auth.test", Fault::InvalidJson, Times::Once);
    let broken = test().await;
    assert!(broken.status == 200 && serde_json::from_str::<Value>(&broken.body).is_err());
    faults.fail("*", Fault::NotJson, Times::Always);
    assert!(test().await.body.starts_with("<!DOCTYPE"));
    assert!(test().await.body.starts_with("<!DOCTYPE"));
    faults.clear();
    faults.fail("auth.test", Fault::Api("token_revoked"), Times::Once);
    assert!(test().await.body.contains("token_revoked"));
    faults.fail("auth.test", Fault::SlowMs(150), Times::Once);
    let start = Instant::now();
    assert_eq!(test().await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(150));
    faults.fail("auth.test", Fault::Hang, Times::Once);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), test())
            .await
            .is_err()
    );
    slack.latency_ms(100);
    let start = Instant::now();
    assert_eq!(test().await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(slack.calls("auth.test").len(), 11);
}

#[tokio::test]
async fn a_call_that_hangs_was_made() {
    let (slack, app) = slack().await;
    slack
        .faults()
        .fail("chat.postMessage", Fault::Hang, Times::Once);
    let post = app.call(
        "chat.postMessage",
        json!({"channel": "C0SEC", "text": "there"}),
    );
    assert!(
        tokio::time::timeout(Duration::from_millis(200), post)
            .await
            .is_err()
    );
    assert_eq!(slack.user("U0ANA").messages("C0SEC").await[0].text, "there");
}

#[tokio::test]
async fn a_channel_takes_a_message_a_second_when_that_is_switched_on() {
    let (slack, app) = slack().await;
    let post = |channel: &str| {
        let args = json!({"channel": channel, "text": "x"});
        let app = app.clone();
        async move { app.with_token(&app.bot, "chat.postMessage", args).await }
    };
    assert_eq!(
        (post("C0SEC").await.status, post("C0SEC").await.status),
        (200, 200)
    );
    slack.pace_channels(Switch::On);
    slack.time_scale(0.3);
    assert_eq!(post("C0SEC").await.status, 200);
    let second = post("C0SEC").await;
    assert_eq!(
        (second.status, second.retry_after.as_deref()),
        (429, Some("1"))
    );
    assert_eq!(
        post("U0ANA").await.status,
        200,
        "another channel has its own pace"
    );
    tokio::time::sleep(Duration::from_millis(320)).await;
    assert_eq!(post("C0SEC").await.status, 200);
}

#[tokio::test]
async fn sockets_are_refused_dropped_cut_and_torn() {
    let (slack, app) = slack().await;
    slack.refuse_sockets(1);
    assert!(Link::to(&app.ticket().await).await.is_err());
    slack.accept_then_drop(1);
    let mut dropped = Link::to(&app.ticket().await).await.unwrap();
    assert!(dropped.next().await.is_none(), "no hello");
    let mut link = app.connect().await;
    slack.cut_sockets();
    assert!(link.next().await.is_none());
    let mut link = app.connect().await;
    slack.tear_sockets();
    assert!(link.next().await.is_none());
    assert!(slack.wait_until(|it| it.connections() == 0).await);
}
