//! Opening, deciding, ending, collecting.

use std::time::Duration;

use serde_json::{Value, json};

use crate::calls::{
    approve, ask, create_with_key, id, look, open, post, post_text, request_id, verb,
};
use crate::world::{ADMINS, CORE, QUICK, SECRET, World};

const ANA: &str = "ana@example.com";
const BOB: &str = "bob@example.com";

#[tokio::test]
async fn what_ana_asks_and_bob_approves_is_there_until_the_clock_takes_it_away() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let opened = open(&world, &ana, ADMINS).await;
    assert_eq!(opened["status"], "pending");
    assert_eq!(opened["requester"], ANA);
    assert_eq!(opened["approvals_needed"], 1);
    assert!(opened.get("how_to_use").is_none());

    let approved = approve(&world, &bob, &opened).await.json();
    assert_eq!(approved["status"], "approved");
    assert_eq!(approved["approvals"][0]["by"], BOB);
    assert_eq!(approved["expires_at"], "2026-01-01T00:30:00Z");

    world.tend().await;
    let active = look(&world, &ana, &opened).await;
    assert_eq!(active["status"], "active");
    assert_eq!(
        active["how_to_use"],
        "log in as usual; groupfile/admins is yours"
    );
    assert!(world.groups.has("admins", ANA));

    world.clock.advance(Duration::from_secs(1_800));
    world.tend().await;
    assert!(!world.groups.has("admins", ANA));
    let ended = look(&world, &ana, &opened).await;
    assert_eq!(
        (&ended["status"], &ended["end"]),
        (&json!("ended"), &json!("expired"))
    );
    assert!(ended.get("how_to_use").is_none());
}

#[tokio::test]
async fn an_approver_may_shorten_and_never_lengthen() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let opened = open(&world, &ana, ADMINS).await;
    let decide = |ttl| json!({"decision": "approve", "ttl": ttl, "digest": opened["digest"]});
    let path = verb(&opened, "decide");
    let longer = post(&world, &bob, &path, decide("31m")).await;
    assert_eq!(longer.refusal(), (422, "ttl_above_asked".to_owned()));
    let shorter = post(&world, &bob, &path, decide("10m")).await.json();
    assert_eq!(shorter["expires_at"], "2026-01-01T00:10:00Z");
    assert_eq!(shorter["approvals"][0]["ttl"], "10m");
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_with_a_sentence_and_nothing_is_stored() {
    let world = World::new();
    let ana = world.token(ANA).await;
    let with = |field: &str, value: Value| {
        let mut body = ask(ADMINS);
        body[field] = value;
        body.to_string()
    };
    let table = [
        (
            ask("groupfile/nothing").to_string(),
            422,
            "unknown_entitlement",
        ),
        (ask("no-slash").to_string(), 422, "bad_value"),
        (with("ttl", json!("0s")), 422, "bad_value"),
        (with("ttl", json!("-5m")), 422, "bad_value"),
        (with("ttl", json!("30M")), 422, "bad_value"),
        (with("ttl", json!("61m")), 422, "ttl_above_ceiling"),
        (
            with("ttl", json!("99999999999999999999d")),
            422,
            "bad_value",
        ),
        (
            with("ttl", json!("18446744073709551615d")),
            422,
            "bad_value",
        ),
        (with("ttl", json!(30)), 422, "bad_value"),
        (with("reason", json!("")), 422, "bad_value"),
        (with("reason", json!("   ")), 422, "bad_value"),
        (with("reason", json!("a".repeat(1_001))), 422, "bad_value"),
        (with("reason", json!("a\u{1b}[31mb")), 422, "bad_value"),
        (with("reason", json!("a\nb")), 422, "bad_value"),
        (with("reason", json!(null)), 422, "bad_value"),
        (with("for", json!("nobody@example.com")), 403, "not_allowed"),
        (with("for", json!("dora@example.com")), 403, "not_allowed"),
        (with("for", json!("an a")), 422, "bad_value"),
        (with("urgent", json!(true)), 422, "bad_value"),
        (with("entitlements", json!([])), 422, "too_many_parts"),
        (
            with(
                "entitlements",
                json!([{"entitlement": ADMINS}, {"entitlement": CORE}]),
            ),
            422,
            "too_many_parts",
        ),
        (
            with(
                "entitlements",
                json!([{"entitlement": ADMINS, "parameters": {"a": 1}}]),
            ),
            422,
            "parameters_not_taken",
        ),
        (
            with(
                "entitlements",
                json!([{"entitlement": SECRET, "parameters": {"a": "x".repeat(5_000)}}]),
            ),
            422,
            "parameters_too_large",
        ),
        (
            with(
                "entitlements",
                json!([{"entitlement": ADMINS, "parameters": []}]),
            ),
            422,
            "bad_value",
        ),
        (
            with("entitlements", json!("groupfile/admins")),
            422,
            "bad_value",
        ),
        ("{".to_owned(), 400, "invalid_json"),
        (String::new(), 400, "invalid_json"),
        ("[]".to_owned(), 422, "bad_value"),
        ("{}".to_owned(), 422, "bad_value"),
        (format!("{} x", ask(ADMINS)), 400, "invalid_json"),
    ];
    for (body, status, code) in table {
        let reply = post_text(&world, &ana, "/v1/requests", &body).await;
        assert_eq!(
            reply.refusal(),
            (status, code.to_owned()),
            "{body}: {}",
            reply.text
        );
        assert!(reply.message().chars().count() <= 420, "{}", reply.text);
    }
    assert!(world.store.records().is_empty());
    let unknown = post_text(&world, &ana, "/v1/requests", &with("urgent", json!(true))).await;
    assert!(
        unknown.message().contains("unknown field `urgent`"),
        "{}",
        unknown.text
    );
}

#[tokio::test]
async fn nobody_decides_their_own_request_also_not_through_an_alias() {
    let world = World::new();
    let (ana, alias) = (
        world.token(ANA).await,
        world.token("ana.old@example.com").await,
    );
    let opened = open(&world, &ana, ADMINS).await;
    for token in [&ana, &alias] {
        let reply = approve(&world, token, &opened).await;
        assert_eq!(reply.refusal(), (403, "own_request".to_owned()));
    }
    assert_eq!(look(&world, &ana, &opened).await["status"], "pending");
}

#[tokio::test]
async fn a_request_is_decided_once() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let carl = world.token("carl@example.com").await;
    let opened = open(&world, &ana, ADMINS).await;
    let deny = json!({"decision": "deny", "reason": "no", "digest": opened["digest"]});
    let path = verb(&opened, "decide");
    let (one, two) = tokio::join!(
        approve(&world, &bob, &opened),
        post(&world, &carl, &path, deny)
    );
    let won = [&one, &two]
        .iter()
        .filter(|reply| reply.status == 200)
        .count();
    assert_eq!(won, 1, "{one:?} {two:?}");
    let again = approve(&world, &carl, &opened).await;
    assert_eq!(again.refusal(), (409, "already_decided".to_owned()));
}

#[tokio::test]
async fn a_decision_after_the_deadline_is_refused() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let opened = open(&world, &ana, ADMINS).await;
    world.clock.advance(Duration::from_secs(900));
    let reply = approve(&world, &bob, &opened).await;
    assert_eq!(reply.refusal(), (409, "lapsed".to_owned()));
}

#[tokio::test]
async fn a_decision_names_what_was_shown() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let opened = open(&world, &ana, ADMINS).await;
    let digest = opened["digest"].as_str().unwrap();
    let path = verb(&opened, "decide");
    for (bad, status, code) in [
        (json!("0000000000000000"), 409, "stale_digest"),
        (json!(&digest[..15]), 422, "bad_value"),
        (json!(""), 422, "bad_value"),
        (json!("not hexadecimal!"), 422, "bad_value"),
        (json!(format!("{digest}0")), 422, "bad_value"),
        (Value::Null, 422, "bad_value"),
    ] {
        let body = json!({"decision": "approve", "digest": bad});
        let reply = post(&world, &bob, &path, body).await;
        assert_eq!(reply.refusal(), (status, code.to_owned()), "{bad}");
    }
    let without = post(&world, &bob, &path, json!({"decision": "approve"})).await;
    assert_eq!(without.refusal(), (422, "bad_value".to_owned()));
    let prefix = json!({"decision": "approve", "digest": digest[..16].to_uppercase()});
    assert_eq!(post(&world, &bob, &path, prefix).await.status, 200);
}

#[tokio::test]
async fn a_decision_carries_only_what_it_can_use() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let opened = open(&world, &ana, ADMINS).await;
    let digest = &opened["digest"];
    for body in [
        json!({"decision": "approve", "reason": "fine", "digest": digest}),
        json!({"decision": "deny", "ttl": "5m", "digest": digest}),
        json!({"decision": "maybe", "digest": digest}),
        json!({"decision": "deny", "digest": digest}),
        json!({"decision": "deny", "reason": null, "digest": digest}),
        json!({"decision": "deny", "reason": " ", "digest": digest}),
        json!({"decision": "deny", "reason": "a\u{7}", "digest": digest}),
    ] {
        let reply = post(&world, &bob, &verb(&opened, "decide"), body).await;
        assert_eq!(reply.refusal(), (422, "bad_value".to_owned()));
    }
    let silent = json!({"decision": "deny", "digest": digest});
    let reply = post(&world, &bob, &verb(&opened, "decide"), silent).await;
    let said = reply.json()["error"]["message"].to_string();
    assert!(said.contains("a denial says why"), "{said}");
    let deny = json!({"decision": "deny", "reason": "not today", "digest": digest});
    let denied = post(&world, &bob, &verb(&opened, "decide"), deny)
        .await
        .json();
    assert_eq!(denied["status"], "denied");
    assert_eq!(denied["denied_by"], BOB);
    assert_eq!(denied["denied_reason"], "not today");
}

#[tokio::test]
async fn an_approver_who_lost_authority_before_quorum_does_not_count() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let carl = world.token("carl@example.com").await;
    let opened = open(&world, &ana, CORE).await;
    let first = approve(&world, &bob, &opened).await.json();
    assert_eq!(first["status"], "pending");
    world.people.change(BOB, |bob| bob.groups.clear());
    let second = approve(&world, &carl, &opened).await.json();
    assert_eq!(second["status"], "pending");
    assert_eq!(second["approvals"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_approval_can_be_taken_back_while_the_request_is_pending() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let opened = open(&world, &ana, CORE).await;
    approve(&world, &bob, &opened).await;
    let path = verb(&opened, "retract");
    let retracted = post(&world, &bob, &path, json!({})).await.json();
    assert_eq!(retracted["approvals"], json!([]));
    let again = post(&world, &bob, &path, json!({})).await;
    assert_eq!(again.refusal(), (409, "nothing_to_retract".to_owned()));
}

#[tokio::test]
async fn each_verb_ends_what_it_may_and_says_why_not() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let rita = world.token("rita@example.com").await;
    let withdrawn = open(&world, &ana, ADMINS).await;
    let path = verb(&withdrawn, "withdraw");
    let not_hers = post(&world, &bob, &path, json!({})).await;
    assert_eq!(not_hers.refusal(), (403, "not_yours".to_owned()));
    assert_eq!(
        post(&world, &ana, &path, json!({})).await.json()["status"],
        "withdrawn"
    );
    let over = post(&world, &ana, &path, json!({})).await;
    assert_eq!(over.refusal(), (409, "already_over".to_owned()));

    let running = open(&world, &ana, ADMINS).await;
    approve(&world, &bob, &running).await;
    world.tend().await;
    let early = post(&world, &ana, &verb(&running, "withdraw"), json!({})).await;
    assert_eq!(early.refusal(), (409, "not_pending".to_owned()));
    let not_allowed = post(&world, &bob, &verb(&running, "revoke"), json!({})).await;
    assert_eq!(not_allowed.refusal(), (403, "not_allowed".to_owned()));
    let ended = post(&world, &ana, &verb(&running, "end"), json!({}))
        .await
        .json();
    assert_eq!(
        (&ended["status"], &ended["end"]),
        (&json!("revoking"), &json!("ended"))
    );
    world.tend().await;
    assert!(!world.groups.has("admins", ANA));

    let revoked = open(&world, &ana, CORE).await;
    let body = json!({"reason": "incident 12"});
    let revoked = post(&world, &rita, &verb(&revoked, "revoke"), body)
        .await
        .json();
    assert_eq!(
        (&revoked["status"], &revoked["why"]),
        (&json!("invalidated"), &json!("revoked"))
    );
    let no_body = open(&world, &ana, CORE).await;
    let reply = post_text(&world, &rita, &verb(&no_body, "revoke"), "").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_credential_is_collected_once_and_by_its_requester() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let opened = open(&world, &ana, SECRET).await;
    let path = verb(&opened, "collect");
    assert_eq!(opened["collectable"], false);
    let early = post(&world, &ana, &path, json!({})).await;
    assert_eq!(early.refusal(), (409, "not_collectable".to_owned()));
    let approved = approve(&world, &bob, &opened).await.json();
    assert_eq!(approved["collectable"], true);
    assert_eq!(approved["collect_by"], "2026-01-01T00:10:00Z");
    let other = post(&world, &bob, &path, json!({})).await;
    assert_eq!(other.refusal(), (403, "not_the_asker".to_owned()));

    let (one, two) = tokio::join!(
        post(&world, &ana, &path, json!({})),
        post(&world, &ana, &path, json!({}))
    );
    let (given, refused) = if one.status == 200 {
        (one, two)
    } else {
        (two, one)
    };
    assert_eq!(given.status, 200, "{}", given.text);
    assert_eq!(given.headers["cache-control"], "no-store");
    let body = given.json();
    assert_eq!(body["credential"], format!("s3cret-of-{}", id(&opened)));
    assert_eq!(body["handle"], "accessor-1");
    assert_eq!(body["request"]["status"], "active");
    assert_eq!(body["request"]["collectable"], false);
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(!refused.text.contains("s3cret"));
    let again = post(&world, &ana, &path, json!({})).await;
    assert_eq!(again.status, 409);
    let stored: Vec<_> = world.store.stored();
    assert!(stored.iter().all(|(_, text)| !text.contains("s3cret")));
}

#[tokio::test]
async fn standing_access_has_nothing_to_collect() {
    let world = World::new();
    let (ana, bob) = (world.token(ANA).await, world.token(BOB).await);
    let opened = open(&world, &ana, ADMINS).await;
    approve(&world, &bob, &opened).await;
    let reply = post(&world, &ana, &verb(&opened, "collect"), json!({})).await;
    assert_eq!(reply.refusal(), (409, "nothing_to_collect".to_owned()));
}

#[tokio::test]
async fn the_same_key_and_body_give_the_same_request_and_another_body_is_refused() {
    let world = World::new();
    let ana = world.token(ANA).await;
    let body = ask(ADMINS);
    let (one, two) = tokio::join!(
        create_with_key(&world, &ana, "key-1", &body),
        create_with_key(&world, &ana, "key-1", &body)
    );
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (201, 201));
    assert_eq!(one.json()["id"], two.json()["id"]);
    assert_eq!(world.store.records().len(), 1);
    let other = create_with_key(&world, &ana, "key-1", &ask(CORE)).await;
    assert_eq!(other.refusal(), (409, "idempotency_mismatch".to_owned()));
    for bad in ["", "has space", &"k".repeat(201)] {
        let reply = create_with_key(&world, &ana, bad, &body).await;
        assert_eq!(reply.refusal(), (422, "bad_value".to_owned()), "{bad:?}");
    }
    let dora = world.token("dora@example.com").await;
    let hers = create_with_key(&world, &dora, "key-1", &body).await;
    assert_ne!(
        hers.json()["id"],
        one.json()["id"],
        "keys of two people never meet"
    );
}

#[tokio::test]
async fn an_automatic_approval_says_that_nobody_looked_and_its_quota_is_a_429() {
    let world = World::new();
    let ana = world.token(ANA).await;
    let opened = open(&world, &ana, QUICK).await;
    assert_eq!(opened["status"], "approved");
    assert_eq!(opened["approvals"][0]["automatic"], true);
    assert!(opened["approvals"][0].get("by").is_none());
    post(&world, &ana, &verb(&opened, "end"), json!({})).await;
    let again = post(&world, &ana, "/v1/requests", ask(QUICK)).await;
    assert_eq!(again.refusal(), (429, "quota_used".to_owned()));
}

#[tokio::test]
async fn paused_means_no_new_access_and_only_an_operator_pauses() {
    let world = World::new();
    let (ana, otto) = (
        world.token(ANA).await,
        world.token("otto@example.com").await,
    );
    let refused = post(&world, &ana, "/v1/pause", json!({})).await;
    assert_eq!(refused.refusal(), (403, "not_allowed".to_owned()));
    assert_eq!(
        post(&world, &otto, "/v1/pause", json!({})).await.json(),
        json!({"paused": true})
    );
    let asked = post(&world, &ana, "/v1/requests", ask(ADMINS)).await;
    assert_eq!(asked.refusal(), (503, "paused".to_owned()));
    post(&world, &otto, "/v1/resume", json!({})).await;
    assert_eq!(open(&world, &ana, ADMINS).await["status"], "pending");
}

#[tokio::test]
async fn an_agent_asks_for_its_person_and_decides_nothing() {
    let world = World::new();
    let bot = world.token("agent:bot").await;
    let opened = open(&world, &bot, ADMINS).await;
    assert_eq!(
        (&opened["requester"], &opened["beneficiary"]),
        (&json!("agent:bot"), &json!(ANA))
    );
    let mut for_another = ask(CORE);
    for_another["for"] = json!("dora@example.com");
    let reply = post(&world, &bot, "/v1/requests", for_another).await;
    assert_eq!(reply.refusal(), (403, "agent_for_another".to_owned()));
    let dora = world.token("dora@example.com").await;
    let hers = open(&world, &dora, ADMINS).await;
    let reply = approve(&world, &bot, &hers).await;
    assert_eq!(reply.refusal(), (404, "unknown_request".to_owned()));
    assert_eq!(world.store.records().len(), 2);
    assert!(request_id(&opened) != request_id(&hers));
}
