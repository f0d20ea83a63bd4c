//! Secrets that are read, health, and what is never printed.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jit_core::ports::{ErrorKind, Provisioner};
use secrecy::ExposeSecret;
use serde_json::json;
use vault_sim::{Fault, Health as Condition, Rule};

use super::{ROLE_ID, Scene, ask, printed, setup};
use crate::{Health, SecretId, Vault};

#[tokio::test]
async fn the_texts_of_a_secret_are_read() {
    let scene = Scene::new();
    let secret = scene.vault.read_kv("homelab/data/docker/grafana").await;
    let secret = secret.unwrap();
    let names: Vec<&str> = secret.keys().map(String::as_str).collect();
    assert_eq!(names, ["jit_admin_token", "service_account_id"]);
    assert_eq!(
        secret["jit_admin_token"].expose_secret(),
        "canary-of-grafana"
    );
    assert!(!format!("{secret:?}").contains("canary"));
    let path = "homelab/data/docker/odd";
    let odd = json!({"a": "1", "b": 2, "c": -2, "d": 1.5, "e": null, "f": [1, ["x"]], "g": {"h": "i"}, "j": true});
    scene.world().put_secret(path, odd);
    assert_eq!(scene.vault.read_kv(path).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_not_there_or_not_ours_is_said_so() {
    let scene = Scene::new();
    let kind = async |path: &str| scene.vault.read_kv(path).await.unwrap_err().kind;
    assert_eq!(kind("homelab/data/docker/none").await, ErrorKind::NotFound);
    assert_eq!(kind("homelab/data/other/x").await, ErrorKind::Forbidden);
    for path in ["", "/a", "homelab/../sys/seal", "a//b"] {
        assert_eq!(kind(path).await, ErrorKind::Misconfigured, "{path:?}");
    }
    scene.world().delete_secret("homelab/data/docker/grafana");
    assert_eq!(
        kind("homelab/data/docker/grafana").await,
        ErrorKind::NotFound
    );
    scene.world().rule(Rule::at("homelab", Fault::Garbage));
    assert_eq!(
        kind("homelab/data/docker/grafana").await,
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn health_is_what_the_server_says() {
    let scene = Scene::new();
    for (condition, health, name) in [
        (Condition::Active, Health::Ok, "ok"),
        (Condition::Standby, Health::Standby, "standby"),
        (
            Condition::PerformanceStandby,
            Health::PerformanceStandby,
            "performance_standby",
        ),
        (
            Condition::RecoverySecondary,
            Health::RecoverySecondary,
            "recovery_secondary",
        ),
        (
            Condition::Uninitialised,
            Health::Uninitialised,
            "uninitialised",
        ),
        (Condition::Sealed, Health::Sealed, "sealed"),
    ] {
        scene.world().set_health(condition);
        assert_eq!(scene.vault.health().await, health);
        assert_eq!(health.as_str(), name);
    }
    // A proxy's word is not Vault's.
    for fault in [
        Fault::Status(503),
        Fault::Status(429),
        Fault::Garbage,
        Fault::LoseReply,
    ] {
        scene.world().calm();
        scene.world().rule(Rule::at("sys/health", fault));
        assert_eq!(scene.vault.health().await, Health::Unreachable);
    }
    assert_eq!(scene.logins(), 0, "nobody's token is needed");
}

#[test]
fn settings_that_cannot_be_right_are_refused() {
    type Change = fn(&mut crate::Settings);
    let changes: [Change; 6] = [
        |it| it.approle_mount = "a//b".to_owned(),
        |it| it.namespace = Some("/team".to_owned()),
        |it| it.num_uses = Some(0),
        |it| it.wrap_ttl = Some(Duration::from_millis(999)),
        |it| it.role_id = " ".into(),
        |it| it.secret_id = SecretId::Wrapped("".into()),
    ];
    for change in changes {
        let mut settings = crate::Settings::new(
            "vault".parse().unwrap(),
            "https://vault.example.com:8200".parse().unwrap(),
            "role".into(),
            SecretId::Plain("secret".into()),
        );
        let clock = Arc::new(jit_testkit::time::ManualClock::at(
            jit_testkit::sample::start(),
        ));
        assert!(Vault::connect(settings.clone(), clock.clone()).is_ok());
        change(&mut settings);
        let error = Vault::connect(settings, clock).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured);
    }
}

/// Everything that is logged, whatever its level and whoever says it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn s15_no_token_secret_or_address_is_printed_whatever_goes_wrong() {
    let log = Log::default();
    let sink = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || sink.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut all = String::new();
    let mut canaries: Vec<String> =
        vec![ROLE_ID.to_owned(), "canary".to_owned(), "hvs.".to_owned()];
    for wrap_ttl in [None, Some(Duration::from_secs(60))] {
        let scene = Scene::of(setup(), |settings, world| {
            settings.wrap_ttl = wrap_ttl;
            let wrapping = world.wrapped_secret_id("jit", 300);
            canaries.push(wrapping.clone());
            settings.secret_id = SecretId::Wrapped(wrapping.into());
            write!(all, "{settings:?} {settings:#?}").unwrap();
        });
        let minted = scene.mint("reader").await.unwrap();
        let handle = minted.handle.clone().unwrap();
        canaries.push(minted.secret.expose().to_owned());
        write!(
            all,
            "{minted:?} {:?} {:?} {:?}",
            scene.vault, scene.tokens, scene.vault.wire
        )
        .unwrap();
        write!(all, "{:?}", scene.vault.login).unwrap();
        scene
            .vault
            .read_kv("homelab/data/docker/grafana")
            .await
            .unwrap();
        for fault in [
            Fault::StatusAfter(500),
            Fault::Garbage,
            Fault::LoseReply,
            Fault::Denied,
            Fault::TooMany(None),
            Fault::Instead(r#"{"auth":{"client_token":"hvs.canary","accessor":"a"}}"#.to_owned()),
            Fault::Redirect("http://127.0.0.1:9/hvs.canary".to_owned()),
        ] {
            scene.world().rule(Rule::every(fault));
            for error in [
                scene.mint("reader").await.map(drop).unwrap_err(),
                scene.revoke(&handle).await.map(drop).unwrap_err(),
                scene.inspect(Some(&handle)).await.map(drop).unwrap_err(),
                scene
                    .vault
                    .read_kv("homelab/data/docker/grafana")
                    .await
                    .map(drop)
                    .unwrap_err(),
            ] {
                all.push_str(&printed(&error));
            }
            scene.world().calm();
        }
        let odd = ask("Ana");
        let refused = scene
            .tokens
            .resolve(&odd.beneficiary, &odd.entitlement, &odd.parameters);
        all.push_str(&printed(&refused.await.unwrap_err()));
        // A renewal that fails is logged.
        scene.pass(Duration::from_secs(1_900));
        scene.world().rule(Rule::at("auth/", Fault::Status(500)));
        let _ = scene.ask().await;
    }
    let ours = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(
        ours.contains("could not be renewed"),
        "the log is looked at"
    );
    all.push_str(&ours);
    canaries.push("ana@example.com".to_owned());
    for canary in &canaries {
        let found = all.find(canary.as_str());
        let around = found.map(|at| &all[at.saturating_sub(80)..(at + 20).min(all.len())]);
        assert_eq!(around, None, "{canary} was printed");
    }
}
