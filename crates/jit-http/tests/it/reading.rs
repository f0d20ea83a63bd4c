//! Who may read what, and how a request is found.

use std::time::Duration;

use serde_json::{Value, json};

use crate::calls::{approve, get, id, look, open, post, verb};
use crate::world::{ADMINS, CORE, World};

const ANA: &str = "ana@example.com";

fn ids(list: &Value) -> Vec<String> {
    list["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(id)
        .collect()
}

#[tokio::test]
async fn whoever_may_not_read_a_request_is_told_that_there_is_none() {
    let world = World::new();
    let ana = world.token(ANA).await;
    let opened = open(&world, &ana, ADMINS).await;
    let whole = id(&opened);
    let unknown = "req-01kdvd96m0b9jtb9db9db9db80";
    let eve = world.token("eve@example.com").await;
    let mut answers = vec![];
    for named in [
        whole.as_str(),
        &whole[24..],
        unknown,
        "nothing",
        "x",
        "%F0%9F%92%A9",
        "req-",
    ] {
        let path = format!("/v1/requests/{named}");
        let shown = get(&world, &eve, &path).await;
        answers.push((shown.refusal(), shown.message()));
        for more in ["events", "background"] {
            let reply = get(&world, &eve, &format!("{path}/{more}")).await;
            answers.push((reply.refusal(), reply.message()));
        }
        for verb in ["retract", "withdraw", "end", "revoke", "collect"] {
            let reply = post(&world, &eve, &format!("{path}/{verb}"), json!({})).await;
            answers.push((reply.refusal(), reply.message()));
        }
        let body = json!({"decision": "approve", "digest": opened["digest"]});
        let reply = post(&world, &eve, &format!("{path}/decide"), body).await;
        answers.push((reply.refusal(), reply.message()));
    }
    let (first, rest) = answers.split_first().unwrap();
    assert_eq!(first.0, (404, "unknown_request".to_owned()));
    assert!(rest.iter().all(|answer| answer == first), "{answers:?}");
}

#[tokio::test]
async fn requests_are_read_by_their_people_their_approvers_and_auditors() {
    let world = World::new();
    let dora = world.token("dora@example.com").await;
    let opened = open(&world, &dora, ADMINS).await;
    let path = format!("/v1/requests/{}", id(&opened));
    for (who, may) in [
        ("dora@example.com", true),
        ("bob@example.com", true),
        ("rita@example.com", true),
        ("olga@example.com", true),
        ("otto@example.com", false),
        ("eve@example.com", false),
        ("agent:bot", false),
    ] {
        let token = world.token(who).await;
        let status = if may { 200 } else { 404 };
        assert_eq!(get(&world, &token, &path).await.status, status, "{who}");
        let events = get(&world, &token, &format!("{path}/events")).await;
        assert_eq!(events.status, status, "{who}");
        let listed = get(&world, &token, "/v1/requests").await.json();
        assert_eq!(!ids(&listed).is_empty(), may, "{who}");
    }
}

#[tokio::test]
async fn an_account_that_is_gone_or_inactive_reads_nothing_whatever_its_token() {
    let world = World::new();
    let olga = world.token("olga@example.com").await;
    let eve = world.token("eve@example.com").await;
    world
        .people
        .change("olga@example.com", |olga| olga.active = false);
    world.people.forget("eve@example.com");
    for path in [
        "/v1/me",
        "/v1/entitlements",
        "/v1/requests",
        "/v1/paused",
        "/v1/requests/nothing",
        "/v1/explain?right=audit&entitlement=groupfile/admins",
    ] {
        let inactive = get(&world, &olga, path).await;
        assert_eq!(
            inactive.refusal(),
            (403, "inactive_principal".to_owned()),
            "{path}"
        );
        let unknown = get(&world, &eve, path).await;
        assert_eq!(
            unknown.refusal(),
            (403, "unknown_principal".to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_request_is_found_by_a_unique_end_of_its_id() {
    let world = World::new();
    let ana = world.token(ANA).await;
    let opened = open(&world, &ana, ADMINS).await;
    let whole = id(&opened);
    for length in [5, 8, 26, 30] {
        let end = &whole[whole.len() - length..];
        let reply = get(&world, &ana, &format!("/v1/requests/{end}")).await;
        assert_eq!(reply.json()["id"], whole.as_str(), "{end}");
        let upper = end.to_uppercase();
        let reply = get(&world, &ana, &format!("/v1/requests/{upper}")).await;
        assert_eq!(reply.json()["id"], whole.as_str(), "{upper}");
    }
    let short = &whole[whole.len() - 4..];
    assert_eq!(
        get(&world, &ana, &format!("/v1/requests/{short}"))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn who_had_access_last_tuesday_and_why_is_one_query() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token("bob@example.com").await);
    let olga = world.token("olga@example.com").await;
    let opened = open(&world, &ana, ADMINS).await;
    approve(&world, &bob, &opened).await;
    world.tend().await;
    for _ in 0..4 {
        world.clock.advance(Duration::from_secs(1_800));
        world.tend().await;
    }
    world.clock.advance(Duration::from_secs(7 * 86_400));
    let later = open(&world, &ana, ADMINS).await;
    let query = "principal=ana@example.com&entitlement=groupfile/admins&status=ended,active\
                 &from=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z";
    let list = get(&world, &olga, &format!("/v1/requests?{query}"))
        .await
        .json();
    assert_eq!(ids(&list), [id(&opened)]);
    assert_eq!(list["requests"][0]["reason"], "disk full");
    assert_eq!(list["requests"][0]["end"], "expired");
    let by_alias = get(&world, &olga, "/v1/requests?principal=ana.old@example.com").await;
    assert_eq!(ids(&by_alias.json()), [id(&later), id(&opened)]);
}

#[tokio::test]
async fn a_listing_comes_in_pages_from_the_newest_to_the_oldest() {
    let world = World::new();
    let dora = world.token("dora@example.com").await;
    let mut opened = vec![];
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(1));
        opened.push(id(&open(&world, &dora, ADMINS).await));
    }
    opened.reverse();
    let mut seen = vec![];
    let mut path = "/v1/requests?limit=2".to_owned();
    loop {
        let page = get(&world, &dora, &path).await.json();
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/requests?limit=2&after={next}");
    }
    assert_eq!(seen, opened);
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_refused_with_a_sentence() {
    let world = World::new();
    let ana = world.token(ANA).await;
    for (query, says) in [
        ("status=open", "is not a status"),
        ("status=", "is not a status"),
        ("from=tuesday", "is not an instant"),
        ("until=2026-13-01T00:00:00Z", "is not an instant"),
        ("limit=0", "from 1 to 1000"),
        ("limit=1001", "from 1 to 1000"),
        ("limit=-1", "invalid digit"),
        ("limit=99999999999999999999", "number too large"),
        ("after=req-1", "a request id is"),
        ("principal=a%20b", "is not a principal"),
        ("entitlement=admins", "is not an entitlement"),
        ("sort=age", "unknown field `sort`"),
        ("limit=1&limit=2", "duplicate field"),
    ] {
        let reply = get(&world, &ana, &format!("/v1/requests?{query}")).await;
        assert_eq!(reply.refusal(), (422, "bad_value".to_owned()), "{query}");
        assert!(
            reply.message().contains(says),
            "{query}: {}",
            reply.message()
        );
    }
}

#[tokio::test]
async fn the_audit_of_a_request_tells_who_did_what() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token("bob@example.com").await);
    let opened = open(&world, &ana, ADMINS).await;
    approve(&world, &bob, &opened).await;
    world.tend().await;
    let path = format!("/v1/requests/{}/events", id(&opened));
    let told = get(&world, &ana, &path).await.json();
    let events = told["events"].as_array().unwrap();
    let facts: Vec<(&str, &str)> = events
        .iter()
        .map(|event| {
            (
                event["by"].as_str().unwrap(),
                event["fact"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        facts,
        [
            (ANA, "requested"),
            ("bob@example.com", "approved"),
            ("bob@example.com", "granted"),
            ("service", "grant_intended"),
            ("service", "grant_answered"),
            ("service", "activated"),
        ]
    );
    assert_eq!(events[0]["details"]["reason"], "disk full");
    assert_eq!(events[5]["status"], "active");
}

#[tokio::test]
async fn what_can_be_asked_for_is_listed_with_its_terms() {
    let world = World::new();
    let dora = world.token("dora@example.com").await;
    let list = get(&world, &dora, "/v1/entitlements").await.json();
    let entry = &list["entitlements"][1];
    assert_eq!(entry["id"], CORE);
    assert_eq!(
        (&entry["approvals"], &entry["ttl_max"]),
        (&json!(2), &json!("1h"))
    );
    let eve = world.token("eve@example.com").await;
    let none = get(&world, &eve, "/v1/entitlements").await.json();
    assert_eq!(none, json!({"entitlements": []}));
    let me = get(&world, &dora, "/v1/me").await.json();
    assert_eq!(me["principal"], "dora@example.com");
    assert_eq!(me["token"]["expires_at"], "2026-04-01T00:00:00Z");
    assert!(!me.to_string().contains(&dora));
}

#[tokio::test]
async fn a_verdict_comes_with_its_reasons_and_about_others_only_to_auditors() {
    let world = World::new();
    let (eve, olga) = (
        world.token("eve@example.com").await,
        world.token("olga@example.com").await,
    );
    let own = "/v1/explain?right=request&entitlement=groupfile/admins";
    let verdict = get(&world, &eve, own).await.json();
    assert_eq!(verdict["allowed"], false);
    assert_eq!(
        verdict["trace"][0],
        "rule \"engineers ask\" names other principals"
    );
    let about = format!("{own}&principal=ana@example.com");
    let refused = get(&world, &eve, &about).await;
    assert_eq!(refused.refusal(), (403, "not_allowed".to_owned()));
    assert_eq!(get(&world, &olga, &about).await.json()["allowed"], true);
    let unknown = get(&world, &olga, &format!("{own}&principal=no@example.com")).await;
    assert_eq!(unknown.refusal(), (422, "unknown_principal".to_owned()));
    let bad = get(
        &world,
        &olga,
        "/v1/explain?right=own&entitlement=groupfile/admins",
    )
    .await;
    assert_eq!(bad.refusal(), (422, "bad_value".to_owned()));
}

#[tokio::test]
async fn a_revoke_by_a_third_person_is_told_with_its_reason() {
    let world = World::new();
    let (ana, rita) = (
        world.token(ANA).await,
        world.token("rita@example.com").await,
    );
    let opened = open(&world, &ana, ADMINS).await;
    let body = json!({"reason": "leaving"});
    post(&world, &rita, &verb(&opened, "revoke"), body).await;
    let seen = look(&world, &ana, &opened).await;
    assert_eq!(seen["version"], 2);
    let path = format!("/v1/requests/{}/events", id(&opened));
    let told = get(&world, &ana, &path).await.json();
    assert_eq!(told["events"][1]["by"], "rita@example.com");
    assert_eq!(told["events"][1]["details"]["reason"], "leaving");
}

#[tokio::test]
async fn what_is_known_is_told_to_whoever_decides_and_not_to_whoever_asks() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token("bob@example.com").await);
    let opened = open(&world, &ana, ADMINS).await;
    approve(&world, &bob, &opened).await;
    world.tend().await;
    let core = open(&world, &ana, CORE).await;
    let path = |of: &Value| format!("/v1/requests/{}/background", id(of));
    let known = get(&world, &bob, &path(&opened)).await.json();
    assert_eq!(known["holders"][0]["who"], ANA);
    assert_eq!(known["by_person"][0]["request"], id(&opened));
    let known = get(&world, &bob, &path(&core)).await.json();
    assert_eq!(
        known["holders"],
        json!([]),
        "it is of the same entitlement alone"
    );
    let dora = world.token("dora@example.com").await;
    let doras = open(&world, &dora, ADMINS).await;
    let refused = get(&world, &dora, &path(&doras)).await.refusal();
    assert_eq!(refused, (403, "not_allowed".to_owned()));
}
