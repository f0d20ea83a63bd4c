//! What the tools do for whom.

use jit_core::audit::Actor;
use jit_core::principal::Door;
use jit_core::request::Status;
use jit_testkit::stage::{id, via};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

use jit_mcp::{Decisions, Settings};

use crate::world::{World, ask};

const ASK: &str = "request_tool_access";
const DECIDE: &str = "approve_tool_access_request";
const DESCRIBE: &str = "describe_access_request";
const LIST: &str = "list_active_access_requests";

#[tokio::test]
async fn c1_to_c4_an_agent_asks_a_human_shortens_and_the_agent_is_told_until_the_end() {
    let world = World::new().await;
    let asked = world.done("agent:bot", ASK, ask("ana")).await;
    assert_eq!(asked["status"], "pending");
    assert_eq!(asked["user_email"], "ana@example.com");
    assert_eq!(asked["requested_by"], "agent:bot");
    assert_eq!(asked["label"], "Admins in eu-west-1");
    let this = json!({"request_id": asked["request_id"]});
    let listed = world.done("bob", LIST, json!({})).await;
    assert_eq!(listed["requests"][0]["request_id"], asked["request_id"]);

    let say = json!({"request_id": asked["request_id"], "approval_action": "approve", "ttl": "10m",
                     "digest": asked["digest"]});
    let approved = world.done("bob", DECIDE, say).await;
    assert_eq!(approved["status"], "approved");
    world.stage.work().await;
    let active = world.done("agent:bot", DESCRIBE, this.clone()).await;
    assert_eq!(active["status"], "active");
    assert_eq!(active["how_to_use"], "Sign in again.");
    let message = active["message"].as_str().unwrap();
    assert!(
        message.contains(active["expires_at"].as_str().unwrap()),
        "{message}"
    );
    let listed = world.done("agent:bot", LIST, json!({})).await;
    assert_eq!(listed["requests"], json!([]));
    assert_eq!(listed["granted"][0]["status"], "active");

    world.stage.pass(599).await;
    assert_eq!(
        world.done("agent:bot", DESCRIBE, this.clone()).await["status"],
        "active"
    );
    world.stage.pass(2).await;
    let ended = world.done("agent:bot", DESCRIBE, this).await;
    assert_eq!(ended["status"], "ended");
    assert!(
        ended["message"]
            .as_str()
            .unwrap()
            .contains("its time was up")
    );
    assert_eq!(
        world.done("agent:bot", LIST, json!({})).await["granted"],
        json!([])
    );
}

#[tokio::test]
async fn c2_an_agent_approves_nothing_whosever_request_it_is() {
    let world = World::new().await;
    let own = world.asked("agent:bot", "ana").await;
    let others = world.asked("agent:other", "cleo").await;
    let say = |id: &str| json!({"request_id": id, "approval_action": "approve"});
    let (code, _) = world.refused("agent:bot", DECIDE, say(&own)).await;
    assert_eq!(code, "own_request");
    let (code, _) = world.refused("agent:bot", DECIDE, say(&others)).await;
    assert_eq!(code, "unknown_request", "it may not even see it");
    // With the token of its own human it is that human: who may not approve for themselves.
    let (code, _) = world.refused("ana", DECIDE, say(&own)).await;
    assert_eq!(code, "own_request");
    let (code, _) = world.refused("cleo", DECIDE, say(&own)).await;
    assert_eq!(code, "unknown_request");
    for id in [own, others] {
        let id = id.parse().unwrap();
        assert_eq!(world.stage.status(id).await, Status::Pending);
    }
}

#[tokio::test]
async fn c2_an_override_may_only_shorten() {
    let world = World::new().await;
    let request = world.asked("agent:bot", "ana").await;
    let say = |ttl: &str| json!({"request_id": request, "approval_action": "approve", "ttl": ttl});
    let (code, message) = world.refused("bob", DECIDE, say("31m")).await;
    assert_eq!(code, "ttl_above_asked");
    assert!(message.contains("only shorten"), "{message}");
    world.done("bob", DECIDE, say("30m")).await;
}

#[tokio::test]
async fn s12_an_approver_who_was_shown_something_else_decides_nothing() {
    let world = World::new().await;
    let request = world.asked("agent:bot", "ana").await;
    let say = json!({"request_id": request, "approval_action": "approve",
                     "digest": "0123456789abcdef"});
    let (code, _) = world.refused("bob", DECIDE, say).await;
    assert_eq!(code, "stale_digest");
    let say = json!({"request_id": request, "approval_action": "reject", "reason": "not today"});
    let denied = world.done("bob", DECIDE, say).await;
    assert_eq!(denied["status"], "denied");
    assert_eq!(denied["denied_reason"], "not today");
}

#[tokio::test]
async fn where_it_is_so_configured_nothing_is_decided_here_or_nothing_that_was_not_shown() {
    let decided = async |decisions, digest: bool| {
        let settings = Settings {
            decisions,
            ..Settings::default()
        };
        let world = World::with(settings).await;
        let asked = world.done("agent:bot", ASK, ask("ana")).await;
        let mut say = json!({"request_id": asked["request_id"], "approval_action": "approve"});
        if digest {
            say["digest"] = asked["digest"].clone();
        }
        let (answer, is_error) = world.tool("bob", DECIDE, say).await;
        is_error.then(|| answer["message"].as_str().unwrap().to_owned())
    };
    assert_eq!(decided(Decisions::Any, false).await, None);
    assert_eq!(decided(Decisions::OfWhatWasShown, true).await, None);
    let told = decided(Decisions::OfWhatWasShown, false).await.unwrap();
    assert!(told.contains("describe_access_request"), "{told}");
    let told = decided(Decisions::Elsewhere, true).await.unwrap();
    assert!(told.contains("jit approve"), "{told}");
}

#[tokio::test]
async fn a_caller_that_waits_everywhere_at_once_holds_nobody_up() {
    let world = World::new().await;
    let request = world.asked("agent:bot", "ana").await;
    let look = || json!({"request_id": request, "wait": "20s"});
    let many =
        futures_util::future::join_all((0..20).map(|_| world.done("agent:bot", DESCRIBE, look())));
    let answered = async {
        // Most of them have no turn to wait, and everybody else is answered.
        let say = json!({"request_id": request, "approval_action": "approve"});
        world.done("bob", DECIDE, say).await
    };
    let (many, _) = tokio::join!(many, answered);
    let pending = many.iter().filter(|it| it["status"] == "pending").count();
    assert!(pending >= 12, "they were answered at once: {pending}");
}

#[tokio::test]
async fn what_fails_is_told_with_the_reference_that_the_log_has() {
    let world = World::new().await;
    world.stage.provider.outage_until(jit_core::Timestamp::MAX);
    let params = json!({"name": ASK, "arguments": ask("ana")});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let reference = [("x-request-id", "call-77")];
    let (_, answer) = world
        .send(Some("agent:bot"), &reference, call.to_string())
        .await;
    let told = &answer["result"]["structuredContent"];
    assert_eq!(told["error"], "failed");
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("reference call-77") && message.contains("try again"),
        "{message}"
    );
}

#[tokio::test]
async fn f10_an_agent_asks_for_its_own_human_and_sees_its_own_requests_alone() {
    let world = World::new().await;
    let (code, message) = world.refused("agent:bot", ASK, ask("cleo")).await;
    assert_eq!(code, "agent_for_another");
    assert!(message.contains("ana@example.com"), "{message}");
    let anas = world.asked("ana", "ana").await;
    let cleos = world.asked("agent:other", "cleo").await;
    for id in [anas, cleos] {
        let look = json!({"request_id": id});
        let (code, _) = world.refused("agent:bot", DESCRIBE, look).await;
        assert_eq!(code, "unknown_request");
    }
    assert_eq!(
        world.done("agent:bot", LIST, json!({})).await["requests"],
        json!([])
    );
    // Their human sees what is for them.
    let own = world.asked("agent:bot", "ana").await;
    let seen = world
        .done("ana", DESCRIBE, json!({"request_id": own}))
        .await;
    assert_eq!(seen["requested_by"], "agent:bot");
}

#[tokio::test]
async fn c5_parameters_that_do_not_fit_are_refused_in_a_sentence_and_nobody_is_asked() {
    let world = World::new().await;
    for parameters in [
        json!({}),
        json!({"region": "*"}),
        json!({"region": "eu-west-1\"}"}),
        json!({"region": "${aws:username}"}),
        json!({"region": "eu-west-1", "role": "admin"}),
    ] {
        let mut wrong = ask("ana");
        wrong["tool_params"] = parameters.clone();
        let (code, message) = world.refused("agent:bot", ASK, wrong).await;
        assert_eq!(code, "parameters_do_not_fit", "{parameters}");
        assert!(message.contains("no such region"), "{message}");
    }
    let mut extra = ask("ana");
    extra["tool_name"] = json!("ops");
    let (code, _) = world.refused("agent:bot", ASK, extra).await;
    assert_eq!(code, "parameters_not_taken");
    assert!(world.stage.store.records().is_empty());
}

#[tokio::test]
async fn c5_a_tool_that_does_not_exist_is_answered_with_those_that_do() {
    let world = World::new().await;
    let mut strange = ask("ana");
    strange["tool_name"] = json!("drop_database");
    let (code, message) = world.refused("agent:bot", ASK, strange).await;
    assert_eq!(code, "invalid_arguments");
    assert!(message.contains("admins, ops"), "{message}");
    // Whoever may ask for nothing learns nothing.
    let mut strange = ask("sven");
    strange["tool_name"] = json!("drop_database");
    let (_, message) = world.refused("nobody", ASK, strange).await;
    assert!(!message.contains("admins"), "{message}");
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_answered_in_a_sentence() {
    let world = World::new().await;
    let with = |key: &str, value| {
        let mut ask = ask("ana");
        ask[key] = value;
        ask
    };
    for (arguments, says) in [
        (json!({}), "missing field `tool_name`"),
        (
            with("ttl", json!("1 hour")),
            "whole number and one of s, m, h, d",
        ),
        (with("ttl", json!(30)), "expected a string"),
        (with("user_email", json!("ana lopez")), "not a principal"),
        (with("tool_params", json!("eu-west-1")), "expected a map"),
        (with("approve", json!(true)), "unknown field `approve`"),
        (with("reason", json!("")), "reason"),
    ] {
        let (code, message) = world.refused("agent:bot", ASK, arguments).await;
        assert_eq!(code, "invalid_arguments");
        assert!(message.contains(says), "{message}");
    }
    let say = json!({"request_id": "req-x", "approval_action": "approve"});
    let (_, message) = world.refused("bob", DECIDE, say).await;
    assert!(message.contains("req-"), "{message}");
    let request = world.asked("agent:bot", "ana").await;
    let say = json!({"request_id": request, "approval_action": "maybe"});
    let (_, message) = world.refused("bob", DECIDE, say).await;
    assert!(message.contains("`approve` or `reject`"), "{message}");
    let (_, message) = world.refused("bob", "delete_audit", json!({})).await;
    assert!(message.contains("there is no tool"), "{message}");
}

#[tokio::test]
async fn f10_five_hundred_requests_at_once_are_five() {
    let world = World::new().await;
    let mut opened = 0;
    let mut refused = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..500 {
        let (answer, is_error) = world.tool("agent:bot", ASK, ask("ana")).await;
        match is_error {
            false => opened += 1,
            true => {
                *refused
                    .entry(answer["error"].as_str().unwrap().to_owned())
                    .or_default() += 1
            }
        }
    }
    assert_eq!(opened, 5);
    assert_eq!(
        refused.into_iter().collect::<Vec<_>>(),
        [("too_many_open".to_owned(), 495)]
    );
}

#[tokio::test]
async fn c9_a_look_waits_for_a_change_and_answers_at_it() {
    let world = World::new().await;
    let request = world.asked("agent:bot", "ana").await;
    let look = json!({"request_id": request, "wait": "20s"});
    let waiting = world.done("agent:bot", DESCRIBE, look);
    let approving = async {
        let say = json!({"request_id": request, "approval_action": "approve"});
        world.done("bob", DECIDE, say).await
    };
    let (seen, _) = tokio::join!(waiting, approving);
    assert_eq!(seen["status"], "approved");
}

#[tokio::test]
async fn f10_the_audit_has_the_agent_the_human_and_the_door() {
    let world = World::new().await;
    let request = world.asked("agent:bot", "ana").await;
    let bot = via("agent:bot");
    let read = world.stage.engine.read(&bot, request.parse().unwrap());
    let reading = read.await.unwrap();
    assert_eq!(reading.request.beneficiary, id("ana"));
    match &reading.events[0].actor {
        Actor::Principal { id: who, via } => {
            assert_eq!(*who, id("agent:bot"));
            assert_eq!(via.door, Door::Mcp);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_comes_to_nothing_is_counted_so_that_an_agent_that_runs_wild_is_seen() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let world = World::new().await;
    {
        let _counting = metrics::set_default_local_recorder(&recorder);
        let own = world.asked("agent:bot", "ana").await;
        for _ in 0..3 {
            world.refused("agent:bot", ASK, ask("cleo")).await;
        }
        let say = json!({"request_id": own, "approval_action": "approve"});
        world.refused("agent:bot", DECIDE, say.clone()).await;
        world.done("bob", DECIDE, say).await;
        world.refused("bob", DECIDE, json!({})).await;
    }
    let text = handle.render();
    let mut lines: Vec<_> = text.lines().filter(|it| it.starts_with("jit_")).collect();
    lines.sort_unstable();
    let refused = [
        "jit_decisions_total{outcome=\"refused\"} 1",
        "jit_requests_total{outcome=\"refused\"} 3",
    ];
    assert_eq!(lines, refused);
}
