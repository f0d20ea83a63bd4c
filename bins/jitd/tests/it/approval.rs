//! The approval service as a process, with nothing but its variables: the session that programs know,
//! field by field. What goes wrong, ends, is killed or is refused is below.

mod canaries;
mod chat;
mod ends;
mod faults;
pub(crate) mod house;
mod variables;

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use house::{Daemon, House, KEPT, KEY, ask, secret_path};

use crate::process::until;

/// The names of the events that are told of requests and of the service.
fn events(lines: &[Value]) -> Vec<&str> {
    let names = lines.iter().map(|it| it["event"].as_str().unwrap());
    names.filter(|it| *it != "log").collect()
}

/// Health is looked at every two seconds.
async fn counted(daemon: &Daemon, requests: u64) {
    until("they are counted", async || {
        daemon.health()["requests_in_store"] == requests
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_e2_e3_the_session_that_programs_know() {
    let house = House::new().await;
    let daemon = house.daemon();
    let fresh = json!({"status": "ok", "vault": "ok", "requests_in_store": 0});
    assert_eq!(daemon.health(), fresh);

    // A dynamic backend.
    let id = daemon.file("grafana", 1);
    let first = daemon.poll(&id);
    let credential = &first["credential"];
    let token = credential["token"].as_str().unwrap();
    let metadata =
        json!({"backend": "grafana", "type": "service_account_token", "service_account_id": "5"});
    let lease_ttl = credential["lease_ttl"].as_str().unwrap();
    assert!(
        lease_ttl == "15m0s" || lease_ttl.starts_with("14m5"),
        "{lease_ttl}"
    );
    assert_eq!(
        first,
        json!({"request_id": id, "status": "approved",
               "credential": {"token": token, "lease_ttl": lease_ttl, "metadata": metadata}})
    );
    assert!(token.starts_with("glsa_"));
    assert!(house.grafana.works(token));
    assert_eq!(house.grafana.tokens().len(), 1);
    for _ in 0..2 {
        let later = daemon.poll(&id);
        assert_eq!(later, json!({"request_id": id, "status": "approved"}));
    }
    assert_eq!(house.grafana.tokens().len(), 1);

    // The static one.
    let id = daemon.file("radarr", 1);
    let first = daemon.poll(&id);
    let token = first["credential"]["token"].as_str().unwrap();
    assert!(token.starts_with("hvs."));
    let metadata = json!({"backend": "static", "type": "vault_token"});
    assert_eq!(first["credential"]["metadata"], metadata);
    let (status, secret) = house.reads(token, &secret_path("radarr"));
    assert_eq!(status, 200, "{secret}");
    assert_eq!(
        secret["data"]["data"]["api_key"],
        format!("{KEPT}radarr").as_str()
    );
    for other in ["sonarr", "grafana"] {
        assert_eq!(house.reads(token, &secret_path(other)).0, 403, "{other}");
    }
    assert_eq!(house.reads(token, "auth/token/lookup-self").0, 403);
    assert_eq!(
        daemon.poll(&id),
        json!({"request_id": id, "status": "approved"})
    );
    counted(&daemon, 2).await;

    // InfluxDB's is its own, and only reads.
    let (_, token) = daemon.given("influxdb");
    assert!(house.influxdb.works(&token));
    let made = house.influxdb.authorizations();
    assert_eq!(made.len(), 1);
    assert!(made[0].permissions.iter().all(|it| it["action"] == "read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_what_is_wrong_with_a_call_is_told_and_changes_nothing() {
    let house = House::new().await;
    let daemon = house.daemon();
    let id = daemon.file("radarr", 1);
    for wrong in ["", "another-key-than-that-one"] {
        assert_eq!(daemon.file_as(wrong, &ask("radarr", 1)).0, 401);
        assert_eq!(daemon.poll_as(wrong, &id).0, 401);
    }
    let of = |requester: &str, resource: &str, tier: u64| {
        let body = json!({"requester": requester, "resource": resource, "tier": tier,
                          "reason": "Check"});
        let (status, said) = daemon.file_as(KEY, &body);
        (status, said["error"]["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("stranger", "radarr", 1), (403, "not_allowed".to_owned()));
    assert_eq!(
        of("prometheus", "the-moon", 1),
        (400, "unknown_resource".to_owned())
    );
    assert_eq!(
        of("prometheus", "radarr", 2),
        (400, "wrong_tier".to_owned())
    );
    // Nobody could decide: no chat was named.
    let (status, said) = daemon.file_as(KEY, &ask("gitlab", 2));
    assert_eq!(status, 422, "{said}");
    assert_eq!(said["error"]["code"], "nobody_eligible");
    assert_eq!(
        daemon
            .poll_as(KEY, "req-00000000-0000-0000-0000-000000000000")
            .0,
        404
    );
    counted(&daemon, 1).await;
    assert!(house.vault.world().marked("jit_request", &id).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn e10_each_fact_is_a_line_of_json_and_the_state_has_a_folder_of_its_own() {
    let house = House::new().await;
    let mut daemon = house.daemon();
    let (grafana, token) = daemon.given("grafana");
    let (radarr, _) = daemon.given("radarr");
    // What is not told when it stops is told by the next one.
    until("all of both is told", async || {
        daemon.process.overheard();
        let heard = daemon.process.heard.iter();
        let ends = heard.filter(|line| line.contains("\"credential_claimed\""));
        ends.count() == 2
    })
    .await;
    daemon.health();
    daemon.process.hears("health_check");
    daemon.process.signal("TERM");
    assert_eq!(
        daemon.process.ends(),
        Some(0),
        "{:#?}",
        daemon.process.heard
    );
    let lines = daemon.lines();
    for line in &lines {
        let ts = line["ts"].as_str().unwrap();
        assert!(ts.ends_with('Z') && line["level"].is_string(), "{line}");
        assert!(!line.to_string().contains(&token), "{line}");
        assert!(!line.to_string().contains("Check sensor"), "{line}");
    }
    let told = events(&lines);
    for name in [
        "backend_registered",
        "request_received",
        "approved",
        "backend_credential_minted",
        "token_issued",
        "credential_claimed",
        "health_check",
        "http_request",
    ] {
        assert!(told.contains(&name), "{name} is not in {told:?}");
    }
    let of = |id: &str, event: &str| -> Vec<&Value> {
        let all = lines.iter();
        all.filter(|it| it["request_id"] == *id && it["event"] == *event)
            .collect()
    };
    let minted = of(&grafana, "backend_credential_minted");
    let [minted] = minted.as_slice() else {
        panic!("{minted:?}")
    };
    assert_eq!(minted["backend"], "grafana");
    assert_eq!(minted["resource"], "grafana");
    assert_eq!(minted["tier"], 1);
    assert_eq!(minted["ttl"], "15m0s");
    let issued = of(&radarr, "token_issued");
    assert_eq!(issued.len(), 1);
    assert_eq!(issued[0]["backend"], "static");
    assert!(of(&radarr, "backend_credential_minted").is_empty());

    let data = house.folder.path().join("data");
    let mode = std::fs::metadata(&data).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(data.join("jit.db").exists());
    let beside: Vec<_> = std::fs::read_dir(house.folder.path()).unwrap().collect();
    assert_eq!(
        beside.len(),
        1,
        "nothing is written but the state: {beside:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_says_what_the_variables_mean() {
    let house = House::new().await;
    let mut daemon = house.daemon();
    let said: Vec<String> = daemon
        .lines()
        .iter()
        .filter_map(|it| it["notice"].as_str().map(str::to_owned))
        .collect();
    for part in [
        "trusted_proxy",
        "TELEGRAM_CHAT_ID is not set",
        "a token of Vault is given instead",
    ] {
        assert!(said.iter().any(|it| it.contains(part)), "{part}: {said:#?}");
    }
    // What it means can be read, and gone on from.
    let shown = house.jit(&["config", "show"]);
    assert!(shown.contains("[approval_service]"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_before_a_restart_is_collected_after_it() {
    let house = House::new().await;
    let mut daemon = house.daemon();
    let id = daemon.file("grafana", 1);
    daemon.process.kill();
    assert!(house.grafana.tokens().is_empty());
    let mut daemon = house.daemon();
    let token = daemon.poll(&id)["credential"]["token"].clone();
    assert!(house.grafana.works(token.as_str().unwrap()));
    // And given once, whatever is started again.
    daemon.process.kill();
    let daemon = house.daemon();
    assert_eq!(
        daemon.poll(&id),
        json!({"request_id": id, "status": "approved"})
    );
    assert_eq!(house.grafana.tokens().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_key_that_filed_may_poll() {
    let mut house = House::new().await;
    let keys = house.folder.path().join("keys");
    std::fs::write(
        &keys,
        "# one each\nprometheus=key-of-prometheus-0001\nalerts=key-of-alerts-00000001\n",
    )
    .unwrap();
    house.unset("JIT_API_KEY");
    house.set("JIT_API_KEYS_FILE", "keys");
    house.set("ALLOWED_REQUESTERS", "prometheus, alerts");
    let daemon = house.daemon();
    let (own, other) = ("key-of-prometheus-0001", "key-of-alerts-00000001");
    assert_eq!(daemon.file_as(other, &ask("radarr", 1)).0, 403);
    let (status, filed) = daemon.file_as(own, &ask("radarr", 1));
    assert_eq!(status, 200, "{filed}");
    let id = filed["request_id"].as_str().unwrap();
    assert_eq!(daemon.poll_as(other, id).0, 404);
    assert_eq!(daemon.poll_as(KEY, id).0, 401);
    assert!(house.vault.world().marked("jit_request", id).is_empty());
    let (status, polled) = daemon.poll_as(own, id);
    assert_eq!(status, 200);
    assert!(polled["credential"]["token"].is_string(), "{polled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_are_good_while_one_is_being_changed() {
    let mut house = House::new().await;
    house.set("JIT_API_KEY", "the-old-key-of-all,the-new-key-of-all");
    let daemon = house.daemon();
    let (status, filed) = daemon.file_as("the-old-key-of-all", &ask("radarr", 1));
    assert_eq!(status, 200, "{filed}");
    let id = filed["request_id"].as_str().unwrap();
    assert_eq!(daemon.poll_as("the-new-key-of-all", id).0, 200);
    let both = "the-old-key-of-all,the-new-key-of-all";
    assert_eq!(daemon.poll_as(both, id).0, 401);
}
