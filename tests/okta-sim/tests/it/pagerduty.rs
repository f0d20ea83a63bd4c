//! PagerDuty beside Okta: who is on call, and events.

use okta_sim::{Hostility, OnCall, Operation, Reset, Rule, Setup};
use serde_json::{Value, json};

use crate::client::{Reply, START, Stage};

const HOUR: i64 = 3_600_000_000;

/// A stage with a schedule and two levels: Ana now, Bob behind her and after her.
struct Rota {
    stage: Stage,
    ana: String,
    bob: String,
    schedule: String,
    policy: String,
}

impl Rota {
    fn new() -> Self {
        let mut stage = Stage::new();
        stage.authorization = "Token token=a-simulated-pagerduty-token".to_owned();
        let world = stage.sim.world();
        let ana = world.add_responder("Ana Example", "ana@example.com");
        let bob = world.add_responder("Bob Example", "bob@example.com");
        let schedule = world.add_schedule("Database");
        let policy = world.add_escalation_policy("Database first");
        let on_call = |user: &String, schedule: Option<&String>, level, from, until| OnCall {
            user: user.clone(),
            schedule: schedule.cloned(),
            escalation_policy: policy.clone(),
            level,
            from_micros: from,
            until_micros: until,
        };
        let (now, later) = (Some(START - HOUR), Some(START + HOUR));
        world.put_on_call(on_call(&bob, None, 2, None, None));
        world.put_on_call(on_call(&ana, Some(&schedule), 1, now, later));
        let end = Some(START + 2 * HOUR);
        world.put_on_call(on_call(&bob, Some(&schedule), 1, later, end));
        Self {
            ana,
            bob,
            schedule,
            policy,
            stage,
        }
    }

    fn on_calls(&self, query: &str) -> Reply {
        self.stage.get(&format!("/pagerduty/oncalls?{query}"))
    }

    /// Who is found, with which level.
    fn found(&self, query: &str) -> Vec<(String, i64)> {
        let reply = self.on_calls(query);
        assert_eq!(reply.status, 200, "{query}: {}", reply.text);
        (reply.body["oncalls"].as_array().unwrap().iter())
            .map(|it| {
                let user = it["user"]["id"].as_str().unwrap().to_owned();
                (user, it["escalation_level"].as_i64().unwrap())
            })
            .collect()
    }
}

#[test]
fn who_is_on_call_now_is_listed_with_levels() {
    let rota = Rota::new();
    let both = [(rota.ana.clone(), 1), (rota.bob.clone(), 2)];
    assert_eq!(rota.found(""), both);
    let schedule = format!("schedule_ids[]={}", rota.schedule);
    assert_eq!(rota.found(&schedule), both[..1]);
    assert_eq!(rota.found("schedule_ids%5B%5D=null"), both[1..]);
    let policy = format!("escalation_policy_ids[]={}", rota.policy);
    assert_eq!(rota.found(&policy), both);
    assert_eq!(rota.found("escalation_policy_ids[]=PNONE"), []);
    let two = format!("user_ids[]={}&user_ids[]=PNONE", rota.bob);
    assert_eq!(rota.found(&two), both[1..]);
}

#[test]
fn an_entry_has_the_shape_of_pagerduty() {
    let rota = Rota::new();
    let url = rota.stage.sim.url();
    let (ana, schedule, policy) = (&rota.ana, &rota.schedule, &rota.policy);
    let reply = rota.on_calls(&format!("schedule_ids[]={schedule}"));
    let reference = |kind: &str, plural: &str, id: &str, name: &str| {
        json!({"id": id, "type": format!("{kind}_reference"), "summary": name,
               "self": format!("{url}/pagerduty/{plural}/{id}"),
               "html_url": format!("{url}/{plural}/{id}")})
    };
    assert_eq!(
        reply.body,
        json!({
            "oncalls": [{
                "user": reference("user", "users", ana, "Ana Example"),
                "schedule": reference("schedule", "schedules", schedule, "Database"),
                "escalation_policy":
                    reference("escalation_policy", "escalation_policies", policy, "Database first"),
                "escalation_level": 1,
                "start": "2026-11-26T04:17:52Z", "end": "2026-11-26T06:17:52Z",
            }],
            "limit": 25, "offset": 0, "more": false, "total": null,
        })
    );
    let full = rota.on_calls(&format!("schedule_ids[]={schedule}&include[]=users"));
    assert_eq!(full.body["oncalls"][0]["user"]["email"], "ana@example.com");
    let one = rota.stage.get(&format!("/pagerduty/users/{ana}"));
    assert_eq!(one.body["user"], full.body["oncalls"][0]["user"]);
    let permanent = rota.on_calls("schedule_ids[]=null");
    assert_eq!(permanent.body["oncalls"][0]["start"], Value::Null);
    assert_eq!(permanent.body["oncalls"][0]["schedule"], Value::Null);
}

#[test]
fn a_time_has_those_whose_turn_overlaps_with_it() {
    let rota = Rota::new();
    let schedule = format!("schedule_ids[]={}", rota.schedule);
    let between = |since: &str, until: &str| {
        let found = rota.found(&format!("{schedule}&since={since}&until={until}"));
        found.into_iter().map(|it| it.0).collect::<Vec<_>>()
    };
    let (ana, bob) = (rota.ana.clone(), rota.bob.clone());
    let now = "2026-11-26T05:17:52Z";
    assert_eq!(between(now, "2026-11-26T06:17:51Z"), [ana.as_str()]);
    assert_eq!(
        between(now, "2026-11-26T06:17:52Z"),
        [ana.as_str(), bob.as_str()]
    );
    // A turn ends before its end.
    assert_eq!(
        between("2026-11-26T06:17:52Z", "2026-11-26T06:17:52Z"),
        [bob.as_str()]
    );
    assert!(between("2026-11-26T07:17:52Z", "2026-11-26T08:00:00Z").is_empty());
    // An offset is read, and the plus sign of one has to be written as such.
    assert_eq!(
        between("2026-11-26T07:17:52%2B01:00", "2026-11-26T06:30:00Z"),
        [bob.as_str()]
    );
    for query in [
        "since=2026-11-26T06:17:52Z&until=2026-11-26T06:17:51Z",
        "since=yesterday",
        "limit=many",
    ] {
        let reply = rota.on_calls(query);
        assert_eq!(reply.status, 400, "{query}");
        assert_eq!(reply.body["error"]["code"], 2001);
        assert_eq!(reply.body["error"]["errors"].as_array().unwrap().len(), 1);
    }
    rota.stage.pass(3600);
    assert_eq!(rota.found(&schedule), [(bob, 1)]);
}

#[test]
fn shifts_are_known_ninety_days_ahead() {
    let rota = Rota::new();
    let world = rota.stage.sim.world();
    world.clear_on_calls();
    for days in [89, 91] {
        world.put_on_call(OnCall {
            user: rota.ana.clone(),
            schedule: None,
            escalation_policy: rota.policy.clone(),
            level: days,
            from_micros: Some(START + i64::from(days) * 24 * HOUR),
            until_micros: None,
        });
    }
    let found = rota.found("until=2027-06-01T00:00:00Z");
    assert_eq!(found, [(rota.ana.clone(), 89)]);
}

#[test]
fn pages_follow_by_offset_while_there_is_more() {
    let rota = Rota::new();
    let page = |query: &str| {
        let reply = rota.on_calls(query);
        let count = reply.body["oncalls"].as_array().unwrap().len();
        (
            count,
            reply.body["more"].clone(),
            reply.body["total"].clone(),
        )
    };
    assert_eq!(page("limit=1"), (1, json!(true), Value::Null));
    assert_eq!(page("limit=1&offset=1"), (1, json!(false), Value::Null));
    assert_eq!(page("limit=2&total=true"), (2, json!(false), json!(2)));
    assert_eq!(page("limit=1&offset=2"), (0, json!(false), Value::Null));
    assert_eq!(rota.on_calls("limit=101").body["limit"], 100);
    assert_eq!(rota.on_calls("limit=100&offset=9900").status, 200);
    assert_eq!(rota.on_calls("limit=100&offset=9901").status, 400);
}

#[test]
fn who_is_gone_is_on_call_no_more() {
    let rota = Rota::new();
    rota.stage.sim.world().delete_responder(&rota.ana);
    assert_eq!(rota.found(""), [(rota.bob.clone(), 2)]);
    let reply = rota.stage.get(&format!("/pagerduty/users/{}", rota.ana));
    assert_eq!(reply.status, 404);
    assert_eq!(
        reply.body["error"],
        json!({"code": 2100, "message": "Not Found"})
    );
}

#[test]
fn a_token_is_needed_and_counted() {
    let mut rota = Rota::new();
    let world = rota.stage.sim.world().clone();
    world.configure(|setup| setup.pagerduty_per_minute = 2);
    let reply = rota.on_calls("");
    let headers = |reply: &Reply| {
        ["limit", "remaining", "reset"].map(|it| reply.number(&format!("ratelimit-{it}")))
    };
    assert_eq!(headers(&reply), [2, 1, 60]);
    rota.stage.pass(10);
    assert_eq!(headers(&rota.on_calls("")), [2, 0, 50]);
    let reply = rota.on_calls("");
    assert_eq!(reply.status, 429);
    assert_eq!(reply.body["error"]["code"], 2020);
    assert_eq!(headers(&reply), [2, 0, 50]);
    rota.stage.pass(50);
    assert_eq!(rota.on_calls("").status, 200);
    for authorization in [
        "",
        "Token token=nonsense",
        "Bearer a-simulated-pagerduty-token",
    ] {
        rota.stage.authorization = authorization.to_owned();
        world.configure(|setup| setup.pagerduty_per_minute = 960);
        let reply = rota.on_calls("");
        assert_eq!(reply.status, 401, "{authorization}");
        assert!(reply.body["error"]["message"].is_string());
    }
}

#[test]
fn what_goes_wrong_is_said_in_pagerdutys_words() {
    let rota = Rota::new();
    let world = rota.stage.sim.world();
    let reset = Reset::In(std::time::Duration::from_secs(3600));
    world.rule(Rule::new(Operation::ListOnCalls, Hostility::Throttle(reset)).times(1));
    let reply = rota.on_calls("");
    assert_eq!((reply.status, reply.number("ratelimit-reset")), (429, 3600));
    world.rule(Rule::every(Hostility::InternalError).times(1));
    let reply = rota.on_calls("");
    assert_eq!(reply.status, 500);
    assert!(reply.body["error"]["message"].is_string());
    assert_eq!(rota.stage.get("/pagerduty/services").status, 404);
}

fn event() -> Value {
    json!({
        "routing_key": "0123456789abcdef0123456789abcdef", "event_action": "trigger",
        "dedup_key": "access/1",
        "payload": {"summary": "Access is stuck", "source": "jit", "severity": "critical",
                    "timestamp": "2026-11-26T05:17:52.000Z",
                    "custom_details": {"request": "1"}},
    })
}

fn enqueue(stage: &Stage, event: &str) -> Reply {
    let head = "POST /pagerduty/v2/enqueue HTTP/1.1\r\ncontent-type: application/json\r\n";
    stage.wire().send(head, event).unwrap()
}

#[test]
fn an_event_opens_an_alert_and_another_ends_it() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let reply = enqueue(&stage, &event().to_string());
    assert_eq!(reply.status, 202);
    assert_eq!(
        reply.body,
        json!({"status": "success", "message": "Event processed", "dedup_key": "access/1"})
    );
    assert_eq!(world.open_alerts(), ["access/1"]);
    let follow = |action: &str| {
        json!({"routing_key": "0123456789abcdef0123456789abcdef", "event_action": action,
               "dedup_key": "access/1"})
    };
    assert_eq!(
        enqueue(&stage, &follow("acknowledge").to_string()).status,
        202
    );
    assert_eq!(world.open_alerts().len(), 1);
    assert_eq!(enqueue(&stage, &follow("resolve").to_string()).status, 202);
    assert!(world.open_alerts().is_empty());
    let events = world.events();
    let actions: Vec<&str> = events.iter().map(|it| it.action.as_str()).collect();
    assert_eq!(actions, ["trigger", "acknowledge", "resolve"]);
    assert_eq!(events[0].payload["summary"], "Access is stuck");
    assert_eq!(events[0].at_micros, START);
}

#[test]
fn an_event_without_a_key_is_given_one() {
    let stage = Stage::new();
    let mut event = event();
    event.as_object_mut().unwrap().remove("dedup_key");
    let reply = enqueue(&stage, &event.to_string());
    let key = reply.body["dedup_key"].as_str().unwrap();
    assert!(!key.is_empty());
    assert_eq!(stage.sim.world().open_alerts(), [key]);
}

#[test]
fn an_event_that_is_none_is_refused_with_its_reasons() {
    let stage = Stage::new();
    let long = |length: usize| json!("x".repeat(length));
    for (pointer, value, is_good) in [
        ("/routing_key", json!("short"), false),
        ("/routing_key", long(33), false),
        ("/routing_key", long(32), false),
        ("/event_action", json!("close"), false),
        ("/dedup_key", json!(""), false),
        ("/dedup_key", long(255), true),
        ("/dedup_key", long(256), false),
        ("/dedup_key", json!(1), false),
        ("/payload", Value::Null, false),
        ("/payload/summary", json!(""), false),
        ("/payload/summary", long(1024), true),
        ("/payload/summary", long(1025), false),
        ("/payload/source", Value::Null, false),
        ("/payload/severity", json!("bad"), false),
        ("/payload/severity", json!("info"), true),
        ("/payload/timestamp", json!("yesterday"), false),
        ("/payload/custom_details", json!("text"), false),
    ] {
        let mut event = event();
        *event.pointer_mut(pointer).unwrap() = value.clone();
        let reply = enqueue(&stage, &event.to_string());
        assert_eq!(
            reply.status,
            if is_good { 202 } else { 400 },
            "{pointer} {value}"
        );
        if !is_good {
            assert_eq!(reply.body["status"], "invalid event");
            assert_eq!(
                reply.body["errors"].as_array().unwrap().len(),
                1,
                "{pointer}"
            );
        }
    }
    let mut resolve = event();
    resolve["event_action"] = json!("resolve");
    resolve["dedup_key"] = Value::Null;
    assert_eq!(enqueue(&stage, &resolve.to_string()).status, 400);
    assert_eq!(enqueue(&stage, "no json").status, 400);
    let mut big = event();
    big["payload"]["custom_details"] = json!({"text": "x".repeat(512 * 1024)});
    assert_eq!(enqueue(&stage, &big.to_string()).status, 413);
}

#[test]
fn too_many_events_are_refused_in_the_words_of_events() {
    let stage = Stage::with(Setup::default().manual(START));
    let world = stage.sim.world();
    let throttle = Hostility::Throttle(Reset::Missing);
    world.rule(Rule::new(Operation::EnqueueEvent, throttle).times(1));
    let reply = enqueue(&stage, &event().to_string());
    assert_eq!(
        (reply.status, reply.body["status"].as_str()),
        (429, Some("throttle exceeded"))
    );
    assert!(world.events().is_empty());
}
