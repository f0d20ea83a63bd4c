//! From people and entitlements to the organization's own ids.

use jit_core::ports::{Effect, ErrorKind};
use jit_core::provider::Target;
use okta_sim::{ApiToken, GroupType, Hostility, Operation, UserStatus};
use serde_json::json;

use super::{Scene, ask, ask_as, grant, inspect, printed, resolve, revoke};
use crate::{Auth, Settings};

#[tokio::test]
async fn a_login_in_any_case_and_an_id_lead_to_one_target() {
    let scene = Scene::new();
    scene.world().rename(&scene.ana, "Ana@Example.com");
    let target = scene.target();
    for ask in [
        ask("ana@example.com", &scene.admins),
        ask_as("ANA@EXAMPLE.COM", &scene.admins),
        ask_as(&scene.ana, &scene.admins),
    ] {
        let resolved = resolve(&scene.groups, &ask).await.unwrap();
        assert_eq!(resolved.target, target);
        assert_eq!(resolved.name, None);
    }
}

#[tokio::test]
async fn who_is_not_active_is_refused_with_a_sentence() {
    let scene = Scene::new();
    for (status, word) in [
        (UserStatus::Suspended, "suspended"),
        (UserStatus::Deprovisioned, "deactivated"),
        (UserStatus::Staged, "not active"),
        (UserStatus::LockedOut, "not active"),
        (UserStatus::PasswordExpired, "not active"),
    ] {
        scene.world().set_status(&scene.ana, status);
        let error = scene.resolve("ana@example.com").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured);
        assert!(error.told.unwrap().contains(word), "{:?}", error.told);
    }
    let error = scene.resolve("nobody@example.com").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.told.unwrap().contains("not in the Okta"));
    assert!(!printed(&error).contains("nobody"), "{}", printed(&error));
}

/// Okta finds `ana@other.example.com` by `ana` for as long as there is no other one.
#[tokio::test]
async fn the_short_form_of_a_login_is_nobodys_name() {
    let scene = Scene::new();
    let ask = ask_as("ana", &scene.admins);
    let error = resolve(&scene.groups, &ask).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    scene.world().add_user("ana@other.example.com", "");
    let error = resolve(&scene.groups, &ask).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_name_that_means_somebody_else_in_an_address_is_not_asked_for() {
    let scene = Scene::new();
    for name in ["me", "Me", "..", "a/b", "00u1/groups", "a%2Fb"] {
        let ask = ask_as(name, &scene.admins);
        let error = resolve(&scene.groups, &ask).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{name}");
    }
    assert!(scene.calls(Operation::GetUser).is_empty());
}

#[tokio::test]
async fn a_group_that_nobody_may_fill_is_refused_with_a_sentence() {
    let scene = Scene::new();
    for kind in [GroupType::AppGroup, GroupType::BuiltIn] {
        let group = scene.world().add_group_of("domain-admins", kind);
        let error = resolve(&scene.groups, &ask("ana@example.com", &group)).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured);
        assert!(error.told.unwrap().contains("cannot be given here"));
    }
    for resource in ["production-admins", "", "00u1234567", "00g/../../x", "00g"] {
        let error = resolve(&scene.groups, &ask("ana@example.com", resource)).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Misconfigured);
    }
    let gone = resolve(&scene.groups, &ask("ana@example.com", "00gnosuchgroup")).await;
    let error = gone.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.told.unwrap().contains("group"));
}

#[tokio::test]
async fn parameters_are_refused() {
    let scene = Scene::new();
    let mut ask = ask("ana@example.com", &scene.admins);
    ask.parameters.insert("region".to_owned(), json!("eu"));
    let error = resolve(&scene.groups, &ask).await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Misconfigured, Effect::None)
    );
}

#[tokio::test]
async fn a_record_of_another_organization_is_refused_and_touches_nothing() {
    let scene = Scene::new();
    let other = Scene::of(
        okta_sim::Setup {
            seed: 2,
            ..super::setup()
        },
        |_| {},
    );
    assert_ne!(
        scene.world().organization_id(),
        other.world().organization_id()
    );
    let foreign = Target {
        realm: other.target().realm,
        ..scene.target()
    };
    let soon = scene.soon();
    for error in [
        grant(&scene.groups, &foreign, soon).await.unwrap_err(),
        revoke(&scene.groups, &foreign, soon).await.unwrap_err(),
        inspect(&scene.groups, &foreign).await.unwrap_err(),
    ] {
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Misconfigured, Effect::None)
        );
    }
    assert_eq!(scene.world().calls().len(), 1, "it asked who it talks to");
    assert_eq!(scene.calls(Operation::Organization).len(), 1);
}

#[tokio::test]
async fn which_organization_it_is_is_asked_once_and_a_failure_is_not_remembered() {
    let scene = Scene::new();
    scene
        .world()
        .hostile_times(Operation::Organization, Hostility::Garbage, 1);
    let error = scene.inspect().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    scene.inspect().await.unwrap();
    scene.inspect().await.unwrap();
    let asked = scene.calls(Operation::Organization);
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|call| call.token.is_none()));
}

#[tokio::test]
async fn an_address_without_tls_or_with_more_than_a_host_is_refused() {
    let scene = Scene::new();
    for url in [
        "",
        "example.okta.com",
        "http://example.okta.com",
        "https://example.okta.com/admin",
        "https://example.okta.com/?a",
        "https://ana:secret@example.okta.com",
        "ftp://127.0.0.1",
        "http://127.0.0.1.evil.example.com",
    ] {
        let auth = Auth::Ssws(ApiToken::default().secret.into());
        let settings = Settings::new("okta".parse().unwrap(), url, auth);
        assert!(settings.origin().is_err(), "{url}");
    }
    for url in ["https://example.okta.com", "https://login.example.com/"] {
        let auth = Auth::Ssws(ApiToken::default().secret.into());
        let settings = Settings::new("okta".parse().unwrap(), url, auth);
        assert!(settings.origin().is_ok(), "{url}");
    }
    drop(scene);
}
