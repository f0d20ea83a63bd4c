//! What goes wrong on the way, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Clock, Effect, ErrorKind, GrantCall, PortError, Provisioner};
use jit_core::provider::{Handle, Parameters, Presence};
use jit_testkit::time::ManualClock;
use tokio::time::Instant;
use vault_sim::{Fault, Health, Rule};

use super::{LIFE, ROLE_ID, Scene, mint, request};
use crate::{SecretId, Settings, Vault, VaultTokens};

fn said(error: &PortError) -> (ErrorKind, Effect) {
    (error.kind, error.effect)
}

const NOTHING: (ErrorKind, Effect) = (ErrorKind::Unavailable, Effect::None);
const PERHAPS: (ErrorKind, Effect) = (ErrorKind::Unavailable, Effect::Unknown);

#[tokio::test]
async fn a_sealed_vault_does_nothing_and_whoever_asked_is_told() {
    let scene = Scene::new();
    scene.world().set_health(Health::Sealed);
    let error = scene.mint("reader").await.unwrap_err();
    assert_eq!(said(&error), NOTHING, "the login");
    scene.world().calm();
    let minted = scene.mint("reader").await.unwrap();
    scene.world().set_health(Health::Sealed);
    let error = scene.mint("reader").await.unwrap_err();
    assert_eq!(said(&error), NOTHING);
    assert_eq!(error.told, Some("Vault is sealed"));
    let handle = minted.handle.unwrap();
    assert_eq!(said(&scene.revoke(&handle).await.unwrap_err()), NOTHING);
    assert_eq!(
        scene.inspect(Some(&handle)).await.unwrap_err().kind,
        ErrorKind::Unavailable
    );
    scene.world().calm();
    assert_eq!(
        scene.inspect(Some(&handle)).await.unwrap(),
        Presence::Present
    );
}

#[tokio::test]
async fn each_failure_of_a_mint_says_whether_a_token_may_be_there() {
    let throttled = ErrorKind::RateLimited {
        retry_after_ms: Some(7_000),
    };
    let unsaid = ErrorKind::RateLimited {
        retry_after_ms: None,
    };
    let elsewhere = Fault::Redirect("http://127.0.0.1:9/".to_owned());
    let table = [
        (Fault::Denied, (ErrorKind::Forbidden, Effect::None), 0),
        (Fault::TooMany(Some(7)), (throttled, Effect::None), 0),
        (Fault::TooMany(None), (unsaid, Effect::None), 0),
        (
            Fault::Status(400),
            (ErrorKind::Misconfigured, Effect::None),
            0,
        ),
        (Fault::Status(500), PERHAPS, 0),
        (Fault::StatusAfter(500), PERHAPS, 1),
        (Fault::StatusAfter(502), PERHAPS, 1),
        (Fault::StatusAfter(503), PERHAPS, 1),
        (Fault::LoseCall, PERHAPS, 0),
        (Fault::LoseReply, PERHAPS, 1),
        (Fault::Garbage, PERHAPS, 1),
        (Fault::Instead("{}".to_owned()), PERHAPS, 1),
        (Fault::Instead("x".repeat(3_000_000)), PERHAPS, 1),
        (elsewhere, (ErrorKind::Misconfigured, Effect::Unknown), 0),
    ];
    for (fault, wanted, made) in table {
        let scene = Scene::new();
        let rule = Rule::at("auth/token/create", fault.clone());
        scene.world().rule(rule);
        let error = scene.mint("reader").await.unwrap_err();
        assert_eq!(said(&error), wanted, "{fault:?}");
        assert_eq!(
            scene.calls("auth/token/create-orphan").len(),
            1,
            "{fault:?} is sent once"
        );
        assert_eq!(scene.given(), made, "{fault:?}");
    }
}

#[tokio::test]
async fn a_vault_that_is_not_there_did_nothing() {
    let scene = Scene::new();
    scene.ask().await.unwrap();
    let target = scene.target("reader");
    let (tokens, now) = (scene.tokens.clone(), scene.clock.now());
    let vault = Arc::clone(&scene.vault);
    drop(scene);
    let error = mint(&tokens, &target, now, now + LIFE).await.unwrap_err();
    assert_eq!(said(&error), NOTHING);
    assert_eq!(vault.health().await, crate::Health::Unreachable);
}

#[tokio::test]
async fn s2_after_a_lost_reply_nobody_has_the_token_and_it_is_known_when_it_is_gone() {
    let scene = Scene::new();
    scene
        .world()
        .rule(Rule::at("auth/token/create", Fault::LoseReply));
    let end = scene.clock.now() + LIFE;
    assert_eq!(said(&scene.mint("reader").await.unwrap_err()), PERHAPS);
    let lost = scene.world().marked("jit_request", &request().to_string());
    let Presence::GoneBy(at) = scene.inspect(None).await.unwrap() else {
        panic!("it cannot be seen without a handle");
    };
    assert_eq!(at, end + Duration::from_secs(95));
    scene.pass(at.since(scene.clock.now()));
    assert_eq!(scene.given(), 0);
    let (died_at, _) = scene
        .world()
        .death(&lost.first().unwrap().accessor)
        .unwrap();
    assert!(died_at <= at.unix_micros());
}

#[tokio::test]
async fn s2_a_call_that_vault_takes_at_the_last_moment_is_gone_by_then_too() {
    let scene = Scene::new();
    scene.ask().await.unwrap();
    let end = scene.clock.now() + LIFE;
    // Vault works on it for as long as it may, and its answer is lost.
    let late = Fault::DelayAndLoseReply(Duration::from_secs(90));
    scene.world().rule(Rule::at("auth/token/create", late));
    let said_to_be = scene.mint_until("reader", end).await;
    assert_eq!(said(&said_to_be.unwrap_err()), PERHAPS);
    let made = scene.world().marked("jit_request", &request().to_string());
    let ends = made.first().unwrap().ends_micros.unwrap();
    assert!(ends > end.unix_micros(), "it outlives its end");
    // Our own clock stands still meanwhile: what is said of it is counted from the call.
    let Presence::GoneBy(at) = scene.inspect(None).await.unwrap() else {
        panic!("it cannot be seen without a handle");
    };
    assert!(ends <= at.unix_micros(), "it is gone by then");
}

#[tokio::test]
async fn a_mint_that_is_answered_too_late_is_taken_back() {
    for (wait, is_given) in [(5, true), (6, false)] {
        let scene = Scene::new();
        scene.ask().await.unwrap();
        scene
            .world()
            .rule(Rule::at("auth/token/create", Fault::Hold));
        let (tokens, target) = (scene.tokens.clone(), scene.target("reader"));
        let now = scene.clock.now();
        let call = tokio::spawn(async move { mint(&tokens, &target, now, now + LIFE).await });
        scene.world().held(1).await;
        scene.pass(Duration::from_secs(wait));
        scene.world().release();
        let minted = call.await.unwrap();
        assert_eq!(minted.is_ok(), is_given, "after {wait} s");
        assert_eq!(scene.given(), usize::from(is_given));
        if let Err(error) = minted {
            assert_eq!(said(&error), PERHAPS);
        }
    }
}

/// A clock on which a tenth of a second passes between two looks.
struct Running(ManualClock);

const TICK: Duration = Duration::from_millis(100);

impl Clock for Running {
    fn now(&self) -> Timestamp {
        self.0.advance(TICK)
    }
}

#[tokio::test]
async fn s3_the_time_is_looked_at_after_the_connection_and_before_the_first_byte() {
    let scene = Scene::new();
    let clock = Arc::new(Running(ManualClock::at(scene.clock.now())));
    let settings = Settings::new(
        "vault".parse().unwrap(),
        scene.sim.url().parse().unwrap(),
        ROLE_ID.into(),
        SecretId::Plain(scene.world().secret_id("jit", None).into()),
    );
    let vault = Vault::connect(settings, clock.clone()).unwrap();
    let tokens = VaultTokens::new(vault);
    let (mut sent, mut refused) = (0, 0);
    for ticks in 1..20 {
        let now = clock.0.now();
        let send_before = now + TICK * ticks;
        let target = scene.target("reader");
        let call = GrantCall {
            request: request(),
            target: &target,
            parameters: &Parameters::new(),
            template: None,
            expires_at: now + LIFE,
            send_before,
        };
        match tokens.mint(call).await {
            // The last look is at how long it took, so the one before it was the gate's.
            Ok(_) => {
                sent += 1;
                assert!(clock.0.now() - TICK < send_before);
            }
            Err(error) => {
                refused += 1;
                assert_eq!(said(&error), NOTHING);
            }
        }
        assert_eq!(scene.calls("auth/token/create-orphan").len(), sent);
    }
    assert!(sent > 0 && refused > 2, "{sent} sent, {refused} refused");
}

/// Runs a call until Vault has it and does not answer, and then lets time run.
async fn hung<T: Send + 'static>(
    scene: &Scene,
    call: impl Future<Output = T> + Send + 'static,
) -> (T, Duration) {
    let began = Instant::now();
    let call = tokio::spawn(call);
    scene.world().held(1).await;
    tokio::time::pause();
    let answer = call.await.unwrap();
    (answer, began.elapsed())
}

#[tokio::test]
async fn a_mint_that_hangs_ends_in_time_and_may_have_happened() {
    let scene = Scene::new();
    scene.ask().await.unwrap();
    scene
        .world()
        .rule(Rule::at("auth/token/create", Fault::Hang));
    let (tokens, target) = (scene.tokens.clone(), scene.target("reader"));
    let now = scene.clock.now();
    let call = async move { mint(&tokens, &target, now, now + LIFE).await };
    let (minted, took) = hung(&scene, call).await;
    assert_eq!(said(&minted.unwrap_err()), PERHAPS);
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn a_login_that_hangs_ends_in_time_and_nothing_was_done() {
    let scene = Scene::new();
    scene
        .world()
        .rule(Rule::at("auth/approle/login", Fault::Hang));
    let (tokens, target) = (scene.tokens.clone(), scene.target("reader"));
    let now = scene.clock.now();
    let call = async move { mint(&tokens, &target, now, now + LIFE).await };
    let (minted, took) = hung(&scene, call).await;
    assert_eq!(said(&minted.unwrap_err()), NOTHING);
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn a_health_that_hangs_is_unreachable_after_three_seconds() {
    let scene = Scene::new();
    scene.world().rule(Rule::at("sys/health", Fault::Hang));
    let vault = Arc::clone(&scene.vault);
    let (health, took) = hung(&scene, async move { vault.health().await }).await;
    assert_eq!(health, crate::Health::Unreachable);
    assert!(took <= Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_look_that_makes_no_sense_is_no_absence() {
    let scene = Scene::new();
    let minted = scene.mint("reader").await.unwrap();
    let handle = minted.handle.unwrap();
    for fault in [
        Fault::Status(404),
        Fault::Status(400),
        Fault::Status(500),
        Fault::Garbage,
        Fault::Denied,
        Fault::LoseReply,
        Fault::Instead(r#"{"data":{"accessor":"x","orphan":true,"policies":[],"creation_ttl":1,"type":"service"}}"#.to_owned()),
    ] {
        scene.world().rule(Rule::at("auth/token/lookup", fault.clone()));
        assert!(scene.inspect(Some(&handle)).await.is_err(), "{fault:?}");
        scene.world().calm();
    }
    for fault in [Fault::Status(404), Fault::Status(400), Fault::Denied] {
        scene
            .world()
            .rule(Rule::at("auth/token/revoke", fault.clone()));
        let error = scene.revoke(&handle).await.unwrap_err();
        assert_eq!(error.effect, Effect::None, "{fault:?}");
        scene.world().calm();
    }
    assert_eq!(
        scene.inspect(Some(&handle)).await.unwrap(),
        Presence::Present
    );
    for fault in [Fault::LoseCall, Fault::Garbage, Fault::LoseReply] {
        scene.world().rule(Rule::at("auth/token/revoke", fault));
        assert_eq!(said(&scene.revoke(&handle).await.unwrap_err()), PERHAPS);
        scene.world().calm();
    }
    assert_eq!(
        scene.inspect(Some(&Handle(handle.0))).await.unwrap(),
        Presence::Absent
    );
}
