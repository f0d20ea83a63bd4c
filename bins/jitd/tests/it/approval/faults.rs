//! What goes wrong at the services that make credentials, and at Vault: what is said, what is given
//! instead, and what is found again and deleted.

use serde_json::json;
use services_sim::Fault;
use vault_sim::{Capability, Health, Rule, TokenRole};

use super::events;
use super::house::{Daemon, House, KEY, ask, secret_path};
use crate::process::{read, until};

const STATIC: &str = r#"{"backend":"static","type":"vault_token"}"#;
const COULD_NOT: &str = "the credential could not be made";

/// Grafana's resource, given as Vault's token: what was said and written of it.
fn fell_back(house: &House, daemon: &mut Daemon) {
    let id = daemon.file("grafana", 1);
    let polled = daemon.poll(&id);
    let credential = &polled["credential"];
    assert_eq!(credential["metadata"].to_string(), STATIC, "{polled}");
    let token = credential["token"].as_str().unwrap();
    assert_eq!(house.reads(token, &secret_path("grafana")).0, 200);
    assert!(house.grafana.tokens().is_empty());
    assert_eq!(
        daemon.poll(&id),
        json!({"request_id": id, "status": "approved"})
    );
    let line = daemon.process.hears("dynamic_backend_failed_fallback");
    assert!(line.contains(&id), "{line}");
    assert!(events(&daemon.lines()).contains(&"token_issued"));
    let audit = house.audit();
    let told = audit.lines().filter(|it| it.contains(&id));
    let told: Vec<&str> = told.filter(|it| it.contains("fell_back")).collect();
    assert_eq!(told.len(), 1, "{audit}");
    assert!(told[0].contains("vault/grafana"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn e8_where_grafana_refuses_a_token_of_vault_is_given() {
    let house = House::new().await;
    house.grafana.set_fault(Some(Fault::Forbidden));
    fell_back(&house, &mut house.daemon());
}

#[tokio::test(flavor = "multi_thread")]
async fn e8_where_nobody_listens_a_token_of_vault_is_given() {
    let mut house = House::new().await;
    house.set("GRAFANA_URL", "http://127.0.0.1:1");
    fell_back(&house, &mut house.daemon());
}

#[tokio::test(flavor = "multi_thread")]
async fn e9_an_address_that_is_empty_makes_grafana_static() {
    let mut house = House::new().await;
    house.set("GRAFANA_URL", "");
    let mut daemon = house.daemon();
    let id = daemon.file("grafana", 1);
    let polled = daemon.poll(&id);
    assert_eq!(
        polled["credential"]["metadata"].to_string(),
        STATIC,
        "{polled}"
    );
    daemon.process.hears("credential_claimed");
    assert!(!events(&daemon.lines()).contains(&"dynamic_backend_failed_fallback"));
}

/// What may have been made is never made a second time elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn e8_where_the_reply_is_lost_nothing_else_is_given_and_the_token_is_deleted() {
    let house = House::new().await;
    house.grafana.set_fault(Some(Fault::LoseReply));
    let daemon = house.daemon();
    let id = daemon.file("grafana", 1);
    let failed = json!({"request_id": id, "status": "approved", "error": COULD_NOT});
    assert_eq!(daemon.poll(&id), failed);
    assert!(daemon.poll(&id).get("credential").is_none());
    let made = house.grafana.tokens();
    assert_eq!(made.len(), 1);
    assert!(house.grafana.works(&made[0].key));
    assert!(house.vault.world().marked("jit_request", &id).is_empty());
    house.grafana.set_fault(None);
    until("the token is found and deleted", async || {
        !house.grafana.works(&made[0].key)
    })
    .await;
    assert_eq!(house.grafana.tokens().len(), 1);
    assert_eq!(daemon.poll(&id), failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_vault_is_sealed_nothing_is_given_and_the_next_poll_after_it_is() {
    let house = House::new().await;
    let daemon = house.daemon();
    house.vault.world().set_health(Health::Sealed);
    let sealed = json!({"status": "degraded", "vault": "sealed", "requests_in_store": 0});
    assert_eq!(daemon.health(), sealed);
    let id = daemon.file("radarr", 1);
    for _ in 0..2 {
        let polled = daemon.poll(&id);
        assert_eq!(
            polled,
            json!({"request_id": id, "status": "approved", "error": COULD_NOT})
        );
    }
    house.vault.world().calm();
    let polled = daemon.poll(&id);
    let token = polled["credential"]["token"].as_str();
    assert!(house.vault.world().is_alive(token.unwrap()), "{polled}");
    until("health is ok", async || daemon.health()["status"] == "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_vault_denies_it_the_poll_says_error_and_may_try_again() {
    let house = House::new().await;
    let daemon = house.daemon();
    let world = house.vault.world();
    let id = daemon.file("radarr", 1);
    let denied = Rule::at("auth/token/create", vault_sim::Fault::Denied);
    world.rule(denied);
    assert_eq!(daemon.poll(&id)["error"], COULD_NOT);
    world.calm();
    assert!(daemon.poll(&id)["credential"]["token"].is_string());
}

/// A policy that is not there is a warning to Vault, and a token that opens nothing to whoever has it.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_policy_is_missing_no_token_is_given_out() {
    let house = House::with_file(600).await;
    let file = house.folder.path().join("jit.toml");
    let config = read(&file).replace("jit-radarr@jit", "jit-nowhere@wide");
    std::fs::write(&file, config).unwrap();
    let world = house.vault.world();
    world.put_token_role(TokenRole::new("wide", &["jit-nowhere"]));
    let paths = [
        "auth/token/create/wide",
        "auth/token/revoke-accessor",
        "auth/token/lookup-accessor",
    ];
    let rules = paths.map(|path| (path, &[Capability::Update][..]));
    world.put_policy("jit-access", &rules);
    let daemon = house.daemon();
    let id = daemon.file("radarr", 1);
    let polled = daemon.poll(&id);
    assert_eq!(polled["error"], COULD_NOT, "{polled}");
    assert!(polled.get("credential").is_none(), "{polled}");
    let created = |it: &vault_sim::Call| it.path == "auth/token/create/wide";
    assert!(
        world
            .calls()
            .iter()
            .any(|it| created(it) && it.status == Some(200)),
        "Vault made it all the same"
    );
    until("nothing of it is left", async || {
        world.marked("jit_request", &id).is_empty()
    })
    .await;
}

/// A dynamic backend's own credentials are in Vault: without Vault nobody can say what would be given.
#[tokio::test(flavor = "multi_thread")]
async fn while_vault_is_away_what_needs_it_is_refused_as_a_failure() {
    let house = House::new().await;
    let daemon = house.daemon();
    house.vault.world().set_health(Health::Sealed);
    let (status, said) = daemon.file_as(KEY, &ask("grafana", 1));
    assert_eq!(status, 503, "{said}");
    house.vault.world().calm();
    daemon.given("grafana");
}
