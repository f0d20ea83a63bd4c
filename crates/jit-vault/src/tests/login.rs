//! The token that this service itself has.

use std::time::Duration;

use jit_core::ports::{Effect, ErrorKind};
use jit_core::provider::Presence;
use vault_sim::{AppRole, DeadTokens, Fault, Rule, Setup};

use super::{ROLE_ID, Scene, setup};
use crate::SecretId;

const HALF: Duration = Duration::from_secs(1_800);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The accessor of the token that this service has now.
fn own(scene: &Scene) -> String {
    let tokens = scene.world().tokens();
    let own = tokens.iter().find(|it| it.path == "auth/approle/login");
    own.unwrap().accessor.clone()
}

#[tokio::test]
async fn nothing_is_sent_before_it_is_needed_and_one_login_serves_all() {
    let scene = Scene::new();
    assert!(scene.world().calls().is_empty());
    let (a, b, c, d) = tokio::join!(scene.ask(), scene.ask(), scene.ask(), scene.ask());
    for seen in [a, b, c, d] {
        assert_eq!(seen.unwrap(), Presence::Absent);
    }
    assert_eq!(scene.logins(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_at_half_its_life() {
    let scene = Scene::new();
    scene.ask().await.unwrap();
    scene.pass(HALF - secs(1));
    scene.ask().await.unwrap();
    assert!(scene.calls("auth/token/renew-self").is_empty());
    scene.pass(secs(1));
    scene.ask().await.unwrap();
    scene.ask().await.unwrap();
    assert_eq!(scene.calls("auth/token/renew-self").len(), 1);
    scene.pass(HALF);
    scene.ask().await.unwrap();
    assert_eq!(scene.calls("auth/token/renew-self").len(), 2);
    assert_eq!(scene.logins(), 1);
}

#[tokio::test]
async fn a_token_that_ends_soon_is_not_used_though_half_its_life_is_left() {
    let scene = Scene::of(setup(), |_, world| {
        world.put_app_role(AppRole {
            token_ttl_secs: 20,
            token_max_ttl_secs: 20,
            ..AppRole::new("jit", ROLE_ID, &["jit-access"])
        });
    });
    scene.ask().await.unwrap();
    scene.pass(secs(4));
    scene.ask().await.unwrap();
    assert_eq!(scene.logins(), 1);
    scene.pass(secs(2));
    scene.ask().await.unwrap();
    assert_eq!(scene.logins(), 2);
}

#[tokio::test]
async fn near_the_end_of_its_longest_life_another_login_it_is() {
    let scene = Scene::new();
    for _ in 0..16 {
        scene.ask().await.unwrap();
        scene.pass(HALF);
    }
    let tokens_used = scene.world().calls();
    let is_good = |it: &vault_sim::Call| it.accessor.is_some() || it.path.ends_with("/login");
    assert!(
        tokens_used.iter().all(is_good),
        "no token is used that is over"
    );
    assert!((2..5).contains(&scene.logins()), "{}", scene.logins());
}

#[tokio::test]
async fn a_token_that_is_over_is_never_used() {
    let scene = Scene::new();
    scene.ask().await.unwrap();
    scene.pass(secs(3_600));
    scene.ask().await.unwrap();
    assert_eq!(scene.logins(), 2);
    assert!(scene.calls("auth/token/renew-self").is_empty());
    let calls = scene.calls("auth/token/lookup-accessor");
    assert!(calls.iter().all(|it| it.accessor.is_some()));
}

#[tokio::test]
async fn a_renewal_that_fails_is_made_good_by_a_login_and_else_the_old_token_serves() {
    let scene = Scene::new();
    scene.ask().await.unwrap();
    scene
        .world()
        .rule(Rule::at("auth/token/renew-self", Fault::Status(500)));
    scene.pass(HALF);
    scene.ask().await.unwrap();
    assert_eq!(scene.logins(), 2);
    scene
        .world()
        .rule(Rule::at("auth/approle/login", Fault::Status(500)));
    scene.pass(HALF);
    scene.ask().await.unwrap();
    scene.ask().await.unwrap();
    assert_eq!(scene.logins(), 3, "it is not tried at every call");
    scene.pass(secs(30));
    scene.ask().await.unwrap();
    assert_eq!(scene.logins(), 4);
    scene.pass(HALF);
    let error = scene.ask().await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Unavailable,
        "no token that is over is used"
    );
}

#[tokio::test]
async fn a_token_that_vault_forgot_is_had_anew_once() {
    let scene = Scene::new();
    scene.ask().await.unwrap();
    scene.world().revoke(&own(&scene));
    assert_eq!(scene.ask().await.unwrap(), Presence::Absent);
    assert_eq!(scene.logins(), 2);

    // A change is not sent a second time; the next one has another token.
    scene.world().revoke(&own(&scene));
    let error = scene.mint("reader").await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Unavailable, Effect::None)
    );
    assert_eq!(scene.calls("auth/token/create-orphan").len(), 1);
    assert!(scene.mint("reader").await.is_ok());
    assert_eq!(scene.logins(), 3);
}

#[tokio::test]
async fn an_older_vault_that_only_says_no_is_asked_with_a_new_token_once_a_minute() {
    let setup = Setup {
        dead_tokens: DeadTokens::Denied,
        ..setup()
    };
    let scene = Scene::of(setup, |_, _| {});
    scene.ask().await.unwrap();
    scene.world().revoke(&own(&scene));
    let error = scene.ask().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    scene.pass(secs(60));
    scene.ask().await.unwrap();
    scene
        .world()
        .rule(Rule::at("auth/token/lookup", Fault::Denied));
    for _ in 0..3 {
        assert_eq!(scene.ask().await.unwrap_err().kind, ErrorKind::Forbidden);
    }
    assert_eq!(scene.logins(), 2);
}

#[tokio::test]
async fn a_wrong_secret_id_is_a_matter_of_the_configuration() {
    let scene = Scene::new();
    scene.world().forget_secret_ids("jit");
    let error = scene.mint("reader").await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Misconfigured, Effect::None)
    );
    assert!(scene.calls("auth/token/create-orphan").is_empty());
}

#[tokio::test]
async fn a_wrapped_secret_id_is_unwrapped_once_and_kept() {
    let scene = Scene::of(setup(), |settings, world| {
        let wrapping = world.wrapped_secret_id("jit", 300);
        settings.secret_id = SecretId::Wrapped(wrapping.into());
    });
    scene.ask().await.unwrap();
    scene.pass(secs(3_600));
    scene.ask().await.unwrap();
    assert_eq!(scene.logins(), 2);
    assert_eq!(scene.calls("sys/wrapping/unwrap").len(), 1);
}

#[tokio::test]
async fn a_wrapping_that_somebody_opened_is_said_so() {
    let scene = Scene::of(setup(), |settings, world| {
        let wrapping = world.wrapped_secret_id("jit", 300);
        settings.secret_id = SecretId::Wrapped(wrapping.into());
    });
    scene.pass(secs(300));
    let error = scene.ask().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    let chain = error.chain().to_string();
    assert!(chain.contains("somebody unwrapped it"), "{chain}");
}

#[tokio::test]
async fn what_came_out_of_a_wrapping_is_kept_though_the_call_was_given_up() {
    let scene = Scene::of(setup(), |settings, world| {
        let wrapping = world.wrapped_secret_id("jit", 300);
        settings.secret_id = SecretId::Wrapped(wrapping.into());
    });
    scene
        .world()
        .rule(Rule::at("sys/wrapping/unwrap", Fault::Hold));
    let vault = std::sync::Arc::clone(&scene.vault);
    let call = tokio::spawn(async move { vault.read_kv("homelab/data/docker/grafana").await });
    scene.world().held(1).await;
    call.abort();
    assert!(call.await.is_err(), "it was given up");
    scene.world().release();
    scene.ask().await.unwrap();
    assert_eq!(scene.calls("sys/wrapping/unwrap").len(), 1);
}

#[tokio::test]
async fn a_vault_that_takes_no_token_is_not_asked_for_ever() {
    let scene = Scene::new();
    scene
        .world()
        .rule(Rule::at("auth/token/lookup", Fault::InvalidToken));
    let error = scene.ask().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    assert_eq!(scene.calls("auth/token/lookup-accessor").len(), 2);
}

#[tokio::test]
async fn a_login_that_does_not_reach_vault_leaves_the_wrapping_as_it_is() {
    let scene = Scene::of(setup(), |settings, world| {
        let wrapping = world.wrapped_secret_id("jit", 300);
        settings.secret_id = SecretId::Wrapped(wrapping.into());
    });
    let unwrap = Rule::at("sys/wrapping/unwrap", Fault::LoseCall).times(1);
    scene.world().rule(unwrap);
    let error = scene.ask().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    scene.ask().await.unwrap();
}

#[tokio::test]
async fn another_mount_is_another_login() {
    let scene = Scene::of(setup(), |settings, world| {
        world.put_app_role(AppRole {
            mount: "ci/approle".to_owned(),
            ..AppRole::new("jit", ROLE_ID, &["jit-access"])
        });
        settings.approle_mount = "ci/approle".to_owned();
    });
    scene.ask().await.unwrap();
    assert_eq!(scene.calls("auth/ci/approle/login").len(), 1);
}
