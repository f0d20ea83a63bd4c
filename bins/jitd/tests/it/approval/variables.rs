//! Variables that cannot be meant: exit code 1, and a sentence that names the one.

use super::house::House;
use crate::process::{jitd, ran, text};

/// What it says, where it refuses to start with this.
async fn refused(name: &'static str, value: Option<&str>) -> String {
    let mut house = House::new().await;
    match value {
        Some(value) => house.set(name, value),
        None => house.unset(name),
    }
    let ran = ran(house.command(jitd(&["run"])));
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{name}={value:?}: {said}");
    assert!(said.starts_with("jitd: "), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(said.contains(name), "{name} is not named: {said}");
    assert!(
        !house.folder.path().join("data").exists(),
        "nothing is made by a start that is refused"
    );
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_by_its_name() {
    for (name, value) in [
        ("REQUEST_TIMEOUT", "0"),
        ("REQUEST_TIMEOUT", "86401"),
        ("REQUEST_TIMEOUT", "-1"),
        ("REQUEST_TIMEOUT", "5m"),
        ("TELEGRAM_CHAT_ID", "@approvals"),
        ("LISTEN_ADDR", "everywhere"),
        ("LISTEN_ADDR", ":http"),
        ("VAULT_ADDR", "vault.example.com"),
        ("VAULT_ADDR", ""),
        ("GRAFANA_URL", "ftp://grafana.example.com"),
        ("ALLOWED_REQUESTERS", "prometheus,agent:bot"),
        ("ALLOWED_REQUESTERS", ","),
        ("ALLOWED_REQUESTERS", "a b"),
        (
            "JIT_API_KEY",
            "one-key-of-several,another-of-them,the-third-of-them",
        ),
        ("JIT_API_KEY", "one-key-of-several,"),
        ("JIT_API_KEY", ""),
        ("VAULT_ROLE_ID", ""),
    ] {
        let said = refused(name, Some(value)).await;
        assert_eq!(said.lines().count(), 1, "{name}={value}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    for name in ["VAULT_ROLE_ID", "VAULT_SECRET_ID"] {
        let said = refused(name, None).await;
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains("the environment:"), "{said}");
    }
}

/// Half of it may be meant, or be there for something else: both are told.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_vault_or_a_key_there_is_no_approval_service() {
    for (name, also) in [
        ("VAULT_ADDR", "jit.toml"),
        ("JIT_API_KEY", "JIT_API_KEYS_FILE"),
    ] {
        let mut house = House::new().await;
        house.unset(name);
        let ran = ran(house.command(jitd(&["run"])));
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains(also), "{said}");
        assert!(said.contains(name), "{name} is not named: {said}");
    }
}
