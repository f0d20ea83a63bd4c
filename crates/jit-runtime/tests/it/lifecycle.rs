//! The main job over HTTP, on SQLite and a real group file.

use jit_runtime::operate::{AuditVerb, Operation, Outcome, VerifyArgs};
use serde_json::Value;

use crate::house::{ADMINS, GROUPS, House, until};

#[tokio::test]
async fn access_is_asked_for_approved_given_and_taken_away_by_the_clock() {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, bob) = house.callers(&daemon).await;
    let id = ana.asked("3s").await;
    assert_eq!(
        house.groups(),
        GROUPS,
        "nothing is given before somebody agrees"
    );
    bob.approve(&id).await;
    let active = ana.wait_for(&id, "active").await;
    assert_eq!(active["approvals"][0]["by"], "bob@example.com");
    assert!(house.groups().contains("admins: root-oncall ana\n"));
    let ended = ana.wait_for(&id, "ended").await;
    assert_eq!(ended["end"], "expired", "{ended}");
    assert_eq!(house.groups(), GROUPS, "what others wrote is as it was");

    let rows = until("the last event is in the CSV file", async || {
        let text = std::fs::read_to_string(house.file("audit_log.csv")).unwrap_or_default();
        text.contains(",closed,").then_some(text)
    })
    .await;
    let events = daemon.engine.store().events(id.parse().unwrap());
    assert_eq!(rows.lines().count(), 1 + events.await.unwrap().len());

    let metrics = daemon.metrics().await;
    for line in [
        "jit_requests_total{outcome=\"pending\"} 1",
        "jit_decisions_total{outcome=\"approved\"} 1",
        "jit_revoke_lateness_seconds_count 1",
        "jit_provider_calls_total{provider=\"groupfile\",op=\"grant\",kind=\"ok\"} 1",
        "jit_live_grants{provider=\"groupfile\"}",
        "jit_overdue_grants 0",
        "jit_stuck 0",
        "jit_deliveries_pending",
        "jit_inbox_age_seconds 0",
        "jit_sweep_last_success_timestamp_seconds",
        "jit_clock_offset_seconds",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let exposure = metrics
        .lines()
        .find_map(|line| line.strip_prefix("jit_exposure_seconds_total "));
    let exposure: u64 = exposure.unwrap().parse().unwrap();
    assert!(
        (2..60).contains(&exposure),
        "{exposure} s for a grant of 3 s"
    );
    daemon.stop().await;
    let (outcome, report) = house
        .operate(Operation::Audit(AuditVerb::Verify(VerifyArgs::default())))
        .await;
    assert_eq!(
        (outcome, &report["requests"]),
        (Outcome::Well, &Value::from(1))
    );
}

#[tokio::test]
async fn two_daemons_and_a_sweeper_on_one_store_give_and_take_once() {
    let house = House::new();
    let (one, two) = (house.daemon().await, house.daemon().await);
    let mut sweeper =
        jit_runtime::daemon::Sweeper::start(house.config(), jit_core::engine::ClockTrust::Compared)
            .await
            .unwrap();
    let (ana, bob) = house.callers(&one).await;
    let id = ana.asked("2s").await;
    bob.at(&two).approve(&id).await;
    until("the access is gone again", async || {
        sweeper.once().await.unwrap();
        let request = ana.at(&two).show(&id).await;
        (request["status"] == "ended" && request["detail"].is_null()).then_some(())
    })
    .await;
    assert_eq!(house.groups(), GROUPS);
    let store = one.engine.store();
    let events = store.events(id.parse().unwrap()).await.unwrap();
    let said = |word: &str| {
        let fact = format!("\"fact\":\"{word}\"");
        events.iter().filter(|it| it.body.contains(&fact)).count()
    };
    for once in [
        "requested",
        "granted",
        "grant_intended",
        "activated",
        "settling",
        "closed",
    ] {
        assert_eq!(said(once), 1, "{once}");
    }
    one.stop().await;
    two.stop().await;
    let (outcome, _) = house
        .operate(Operation::Audit(AuditVerb::Verify(VerifyArgs::default())))
        .await;
    assert_eq!(outcome, Outcome::Well);
}

#[tokio::test]
async fn a_pause_stops_new_access_and_not_the_end_of_what_was_given() {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, bob) = house.callers(&daemon).await;
    let id = ana.asked("4s").await;
    bob.approve(&id).await;
    ana.wait_for(&id, "active").await;
    let (status, refused) = ana.post("/v1/pause", &Value::Null).await;
    assert_eq!(status, 403, "{refused}");
    let (status, _) = bob.post("/v1/pause", &Value::Null).await;
    assert_eq!(status, 200);
    let (status, refused) = bob.ask("1h").await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (503, &Value::from("paused")),
        "{refused}"
    );
    ana.wait_for(&id, "ended").await;
    assert_eq!(house.groups(), GROUPS);
    bob.post("/v1/resume", &Value::Null).await;
    ana.asked("1h").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_member_who_stands_already_is_refused_and_stays() {
    let house = House::new();
    let standing = "admins: root-oncall ana\n";
    house.set_groups(standing);
    let daemon = house.daemon().await;
    let (ana, _) = house.callers(&daemon).await;
    let (status, refused) = ana.ask("1h").await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &Value::from("already_stands"))
    );
    assert_eq!(house.groups(), standing);
    daemon.stop().await;
}

/// Somebody adds the member by hand between the approval and the grant.
#[tokio::test]
async fn a_member_who_came_by_other_hands_is_never_adopted() {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, bob) = house.callers(&daemon).await;
    let id = ana.asked("1h").await;
    let standing = "admins: root-oncall ana\n";
    house.set_groups(standing);
    // Refused at the approval or cancelled at the lease, whichever looks first.
    let (status, _) = bob.decide(&id, "approve").await;
    if status == 200 {
        let cancelled = ana.wait_for(&id, "cancelled").await;
        assert_eq!(cancelled["why"], "already_stands");
    }
    assert_eq!(house.groups(), standing);
    daemon.stop().await;
}

/// Two configuration files give one group file two names; the store knows that it is one slot.
#[tokio::test]
async fn two_configurations_that_name_one_slot_share_it() {
    let house = House::new();
    house.rewrite(
        "other.toml",
        &[
            ("name = \"groupfile\"", "name = \"wiki\""),
            ("groupfile/admins", "wiki/admins"),
            ("groupfile = ", "wiki = "),
        ],
    );
    let one = house.daemon().await;
    let (ana, bob) = house.callers(&one).await;
    let id = ana.asked("1h").await;
    bob.approve(&id).await;
    ana.wait_for(&id, "active").await;
    // Its worker would only stumble over a provider that it does not have.
    let config = house.config_at("other.toml");
    let adapters = jit_runtime::build::Adapters::open(&config).await.unwrap();
    let two = crate::house::Running::of(config, adapters).await;
    let body = serde_json::json!({
        "entitlements": [{ "entitlement": "wiki/admins" }], "ttl": "30m", "reason": "again",
    });
    let (status, refused) = ana.at(&two).post("/v1/requests", &body).await;
    let code = &refused["error"]["code"];
    assert_eq!(
        (status, code),
        (409, &Value::from("already_held_until")),
        "{refused}"
    );
    let (status, unknown) = ana.at(&two).ask("1h").await;
    assert!(
        status >= 400 && unknown.to_string().contains(ADMINS),
        "{unknown}"
    );
    two.stop().await;
    one.stop().await;
}
