//! How the organization's own limits are kept, and kept from holding ends back.

use std::time::Duration;

use jit_core::ports::{Effect, ErrorKind};
use jit_core::quota::Rate;
use okta_sim::{Hostility, Operation, Reset, Rule, Setup};

use super::{AMPLE, Scene, setup};
use crate::Limits;

fn wait_ms(kind: ErrorKind) -> u64 {
    match kind {
        ErrorKind::RateLimited { retry_after_ms } => retry_after_ms.unwrap(),
        other => unreachable!("not told to wait but {other:?}"),
    }
}

#[tokio::test]
async fn a_reset_is_obeyed_within_bounds() {
    for (reset, bounds) in [
        (Reset::In(Duration::from_secs(20)), 19_000..=20_000),
        (Reset::In(Duration::from_secs(3_600)), 60_000..=60_000),
        (Reset::Ago(Duration::from_secs(3_600)), 1_000..=1_000),
        (Reset::Missing, 1_000..=1_000),
        (Reset::Garbage, 1_000..=1_000),
    ] {
        let scene = Scene::new();
        scene.inspect().await.unwrap();
        let throttle = Hostility::Throttle(reset);
        scene.world().hostile(Operation::AddUserToGroup, throttle);
        let error = scene.grant().await.unwrap_err();
        assert_eq!(error.effect, Effect::None, "{reset:?}");
        let wait = wait_ms(error.kind);
        assert!(bounds.contains(&wait), "{reset:?}: {wait} ms");

        // Until then nobody is asked, and then somebody is.
        scene.world().take_calls();
        let error = scene.grant().await.unwrap_err();
        assert!(wait_ms(error.kind) <= wait);
        assert!(scene.world().take_calls().is_empty());
        scene.world().calm();
        scene.pass(Duration::from_millis(wait));
        scene.grant().await.unwrap();
    }
}

/// For ten minutes Okta refuses everything and says that this lasts an hour: it is asked once a
/// minute, and as soon as it answers again the access ends.
#[tokio::test]
async fn l2_a_long_refusal_delays_an_end_by_a_minute_at_most() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    let hour = Reset::In(Duration::from_secs(3_600));
    scene.world().rule(Rule::every(Hostility::Throttle(hour)));
    scene.world().take_calls();
    let step = Duration::from_secs(5);
    for _ in 0..120 {
        let error = scene.revoke().await.unwrap_err();
        assert!(wait_ms(error.kind) <= 60_000);
        scene.pass(step);
    }
    let asked = scene.world().take_calls().len();
    assert!(
        (10..=11).contains(&asked),
        "asked {asked} times in ten minutes"
    );
    scene.world().calm();
    let mut waited = Duration::ZERO;
    while scene.revoke().await.is_err() {
        scene.pass(step);
        waited += step;
    }
    assert!(waited <= Duration::from_secs(60), "{waited:?}");
    assert!(!scene.is_member());
}

#[tokio::test]
async fn l3_what_giving_was_told_holds_no_revoke_back() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    let minute = Reset::In(Duration::from_secs(60));
    scene
        .world()
        .hostile(Operation::AddUserToGroup, Hostility::Throttle(minute));
    scene.grant().await.unwrap_err();
    scene.revoke().await.unwrap();
    assert!(!scene.is_member());
}

#[tokio::test]
async fn l3_giving_leaves_the_last_quarter_of_oktas_own_limit_to_ends() {
    let mut setup = Setup { ..setup() };
    setup.limits.other = 40;
    let scene = Scene::of(setup, |_| {});
    // Grants are made until one has to wait.
    let mut granted = 0;
    let error = loop {
        match scene.grant().await {
            Ok(_) => granted += 1,
            Err(error) => break error,
        }
        assert!(granted < 40, "giving used everything up");
    };
    assert_eq!(error.effect, Effect::None);
    assert!(wait_ms(error.kind) <= 60_000);
    let used = scene.world().calls().len();
    assert!(used <= 33, "{used} calls of 40 were made");
    // What is left is enough for an end.
    scene.revoke().await.unwrap();
    assert!(!scene.is_member());
    scene.pass(Duration::from_secs(60));
    scene.grant().await.unwrap();
}

#[tokio::test]
async fn too_many_calls_at_once_are_over_in_a_second() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene
        .world()
        .hostile_times(Operation::RemoveUserFromGroup, Hostility::Concurrent, 1);
    let error = scene.revoke().await.unwrap_err();
    assert_eq!(wait_ms(error.kind), 1_000);
    scene.pass(Duration::from_secs(1));
    scene.revoke().await.unwrap();
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_there_are_places() {
    let limits = Limits {
        at_once: 4,
        patience: Duration::from_secs(5),
        ..AMPLE
    };
    let setup = Setup {
        // More at once are refused.
        concurrent_max: 4,
        latency: Duration::from_millis(5),
        ..setup()
    };
    let scene = Scene::of(setup, |settings| settings.limits = limits);
    scene.inspect().await.unwrap();
    let looks = (0..40).map(|_| scene.inspect());
    let seen = futures_util::future::join_all(looks).await;
    assert!(seen.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_told_with_nothing_done() {
    let limits = Limits {
        calls: Rate {
            per_second: 1,
            burst: 4,
        },
        ..AMPLE
    };
    let scene = Scene::of(setup(), |settings| settings.limits = limits);
    let mut last = scene.revoke().await;
    for _ in 0..4 {
        last = scene.revoke().await;
    }
    let error = last.unwrap_err();
    assert_eq!(error.effect, Effect::None);
    assert!(wait_ms(error.kind) > 0);
}
