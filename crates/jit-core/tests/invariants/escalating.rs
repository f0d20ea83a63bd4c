//! C6, D8, F7: who may decide, from when on, at which hours; and what nobody may decide.

use jit_core::Refusal;
use jit_core::audit::{AuditEvent, Fact};
use jit_core::engine::EngineError;
use jit_core::policy::{Effect, Right, Rule, Who};
use jit_core::ports::RequestStore;
use jit_core::principal::Profile;
use jit_core::request::{CancelReason, Phase, RequestId, Status};
use jit_testkit::stage::{Stage, id, rule, secs, standing, ttl, via};

/// `bob` may decide at once, whoever is on call after two minutes, and the leads after five.
fn ladder() -> Vec<Rule> {
    let approve = |who: &str, after: Option<&str>| Rule {
        after: after.map(ttl),
        ..rule(who, &[Right::Approve])
    };
    vec![
        rule("group:askers", &[Right::Request]),
        approve("bob@example.com", None),
        approve("oncall:primary", Some("2m")),
        approve("group:leads", Some("5m")),
    ]
}

fn change(stage: &Stage, name: &str, change: impl FnOnce(&mut Profile)) {
    let mut profiles = stage.people.profiles.lock().unwrap();
    change(profiles.get_mut(&id(name)).unwrap());
}

fn joins(stage: &Stage, name: &str, group: &str) {
    change(stage, name, |it| {
        it.groups.insert(group.parse().unwrap());
    });
}

/// Under the ladder, with `dora` on call and `eve` a lead.
fn stage() -> Stage {
    let stage = Stage::new().under(1, ladder());
    joins(&stage, "dora", "oncall:primary");
    joins(&stage, "eve", "leads");
    stage
}

async fn events(stage: &Stage, request: RequestId) -> Vec<AuditEvent> {
    let (_, events) = stage.store.story(request).await.unwrap().unwrap();
    events
        .iter()
        .map(|sealed| sealed.event().unwrap())
        .collect()
}

/// Who was told that they may decide as well, and after how many seconds.
async fn steps(stage: &Stage, request: RequestId) -> Vec<(u64, u8, Vec<String>)> {
    let events = events(stage, request).await;
    let began = events[0].at;
    let steps = events
        .into_iter()
        .filter_map(|event| match event.event.what {
            Fact::Escalated { step, to } => {
                let to = to.iter().map(Who::to_string).collect();
                Some((event.at.since(began).as_secs(), step, to))
            }
            _ => None,
        });
    steps.collect()
}

async fn refused_to_open(stage: &Stage, who: &str) -> Refusal {
    match stage.engine.open(&via(who), stage.ask("30m")).await {
        Err(EngineError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn f7_each_step_of_the_ladder_has_its_clock_is_audited_and_lets_others_decide() {
    let stage = stage();
    let request = stage.open("ana", "30m").await;
    stage.pass(119).await;
    for who in ["dora", "eve"] {
        let early = stage
            .refused(who, request.id, Stage::approval(&request))
            .await;
        assert!(matches!(early, Refusal::NotNow { .. }), "{who}: {early:?}");
    }
    assert_eq!(steps(&stage, request.id).await, []);
    assert!(stage.pager.0.lock().unwrap().is_empty());

    stage.pass(1).await;
    let first = (120, 1, vec!["oncall:primary".to_owned()]);
    let reached = steps(&stage, request.id).await;
    assert_eq!(reached, std::slice::from_ref(&first));
    let early = stage
        .refused("eve", request.id, Stage::approval(&request))
        .await;
    assert!(matches!(early, Refusal::NotNow { .. }), "{early:?}");

    stage.pass(180).await;
    let second = (300, 2, vec!["group:leads".to_owned()]);
    assert_eq!(steps(&stage, request.id).await, [first, second]);
    // Whoever is on call is woken up; a group is told in its chat alone.
    let paged = stage.pager.0.lock().unwrap().clone();
    assert_eq!(paged.len(), 1, "{paged:?}");
    assert!(paged[0].summary.contains("oncall:primary"), "{paged:?}");
    assert_eq!(paged[0].request, Some(request.id));

    let approved = stage.approve("eve", &request).await;
    assert_eq!(approved.status(), Status::Approved);
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Active);
}

#[tokio::test]
async fn f7_a_ladder_ends_in_lapse_and_never_in_approval() {
    let stage = stage();
    let request = stage.open("ana", "30m").await;
    // Nobody worked for as long as the whole ladder takes.
    stage.clock.advance(secs(599));
    stage.work().await;
    assert_eq!(steps(&stage, request.id).await.len(), 2);
    assert_eq!(stage.status(request.id).await, Status::Pending);
    stage.pass(1).await;
    assert_eq!(stage.status(request.id).await, Status::Lapsed);
    let late = stage
        .refused("eve", request.id, Stage::approval(&request))
        .await;
    assert!(matches!(late, Refusal::Lapsed { .. }), "{late:?}");
    assert!(!stage.is_there(&request));
}

#[tokio::test]
async fn f7_what_was_decided_climbs_no_further() {
    let stage = stage();
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    stage.pass(400).await;
    assert_eq!(steps(&stage, request.id).await, []);
    let denied = stage.open("cleo", "30m").await;
    let digest = denied.digest().prefix();
    let reason = "use the runbook".parse().unwrap();
    let deny = jit_core::engine::Verb::Deny { reason, digest };
    stage.say("bob", denied.id, deny).await.unwrap();
    stage.pass(400).await;
    assert_eq!(steps(&stage, denied.id).await, []);
}

#[tokio::test]
async fn f7_a_step_that_would_come_after_the_lapse_is_none() {
    let mut rules = ladder();
    rules[3].after = Some(ttl("10m"));
    let stage = Stage::new().under(1, rules);
    joins(&stage, "eve", "leads");
    let request = stage.open("ana", "30m").await;
    assert_eq!(request.ladder.len(), 1);
}

#[tokio::test]
async fn d8_a_rule_counts_at_its_hours_and_a_decision_is_judged_by_when_it_was_made() {
    let at_night = |who: &str| Rule {
        // The stage begins on a Thursday at midnight in Greenwich.
        hours: Some("thu 00:00-00:05 UTC".parse().unwrap()),
        ..rule(who, &[Right::Approve])
    };
    let rules = vec![
        rule("group:askers", &[Right::Request]),
        at_night("bob@example.com"),
        rule("dora@example.com", &[Right::Approve]),
    ];
    let stage = Stage::with(standing(0, 0), 2).under(2, rules);
    let request = stage.open("ana", "30m").await;
    let other = stage.open("cleo", "30m").await;
    stage.clock.advance(secs(299));
    stage.approve("bob", &request).await;
    stage.clock.advance(secs(1));
    let late = stage
        .refused("bob", other.id, Stage::approval(&other))
        .await;
    assert!(
        matches!(
            late,
            Refusal::NotNow {
                right: Right::Approve,
                ..
            }
        ),
        "{late:?}"
    );
    // What bob said in time counts after it, at the quorum and at the grant.
    stage.approve("dora", &request).await;
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Active);
}

#[tokio::test]
async fn d8_whoever_may_ask_at_some_hours_is_told_so_at_others() {
    let rules = vec![
        Rule {
            hours: Some("fri 00:00-24:00 UTC".parse().unwrap()),
            ..rule("group:askers", &[Right::Request])
        },
        rule("bob@example.com", &[Right::Approve]),
    ];
    let stage = Stage::new().under(1, rules);
    let refusal = refused_to_open(&stage, "ana").await;
    assert!(
        matches!(
            refusal,
            Refusal::NotNow {
                right: Right::Request,
                ..
            }
        ),
        "{refusal:?}"
    );
    stage.clock.advance(secs(86_400));
    // What was asked for in time is given although the hours are over.
    stage.clock.advance(secs(86_400 - 60));
    let request = stage.open("ana", "30m").await;
    stage.clock.advance(secs(120));
    stage.approve("bob", &request).await;
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Active);
}

fn managed() -> Stage {
    let rules = vec![
        rule("group:askers", &[Right::Request]),
        rule("manager", &[Right::Approve]),
    ];
    Stage::new().under(1, rules)
}

#[tokio::test]
async fn c6_the_manager_of_whoever_it_is_for_decides_and_sees_it() {
    let stage = managed();
    change(&stage, "ana", |it| it.manager = Some(id("bob")));
    change(&stage, "cleo", |it| it.manager = Some(id("dora")));
    let (request, other) = (
        stage.open("ana", "30m").await,
        stage.open("cleo", "30m").await,
    );
    let hidden = stage
        .refused("dora", request.id, Stage::approval(&request))
        .await;
    assert_eq!(hidden, Refusal::UnknownRequest);
    let waiting = stage
        .engine
        .awaiting(&via("bob"), 10)
        .await
        .unwrap()
        .unwrap();
    let waiting: Vec<RequestId> = waiting.requests.iter().map(|it| it.id).collect();
    assert_eq!(waiting, [request.id]);
    assert!(stage.engine.read(&via("dora"), other.id).await.is_ok());
    stage.approve("bob", &request).await;
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Active);
}

#[tokio::test]
async fn s11_whoever_is_no_longer_the_manager_approved_in_vain() {
    let stage = managed();
    change(&stage, "ana", |it| it.manager = Some(id("bob")));
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    change(&stage, "ana", |it| it.manager = Some(id("dora")));
    stage.work().await;
    let why = CancelReason::PolicyChanged;
    let phase = stage
        .load(request.id)
        .await
        .grant()
        .map(|it| it.phase.clone());
    assert_eq!(phase, Some(Phase::Cancelled { why }));
    assert!(!stage.is_there(&request));
}

#[tokio::test]
async fn c6_what_nobody_else_may_decide_is_refused_at_once() {
    let stage = managed();
    let nobody = |found, needed| Refusal::NobodyEligible {
        entitlement: "stage/admins".parse().unwrap(),
        needed,
        found,
    };
    // No manager; oneself, as loops come to; one who left.
    assert_eq!(refused_to_open(&stage, "ana").await, nobody(0, 1));
    change(&stage, "ana", |it| it.manager = Some(id("ana")));
    assert_eq!(refused_to_open(&stage, "ana").await, nobody(0, 1));
    change(&stage, "ana", |it| it.manager = Some(id("bob")));
    stage.leaves("bob");
    assert_eq!(refused_to_open(&stage, "ana").await, nobody(0, 1));

    // Of three approvers one asks, one has left, and one is kept out.
    let mut denied = rule("eve@example.com", &[Right::Approve]);
    denied.effect = Effect::Deny;
    denied.name = "not eve".to_owned();
    let rules = vec![
        rule("group:approvers", &[Right::Request, Right::Approve]),
        denied,
    ];
    let stage = Stage::with(standing(0, 0), 2).under(2, rules);
    stage.leaves("bob");
    let refusal = refused_to_open(&stage, "dora").await;
    assert_eq!(refusal, nobody(0, 2));
    let sentence = refusal.to_string();
    assert!(sentence.contains("stage/admins needs 2"), "{sentence}");

    // Another name of the requester is no other person.
    let rules = vec![
        rule("group:askers", &[Right::Request]),
        Rule {
            principals: vec![Who::Principal(id("anna")), Who::Principal(id("bob"))],
            ..rule("anna@example.com", &[Right::Approve])
        },
    ];
    let stage = Stage::with(standing(0, 0), 2).under(2, rules);
    stage
        .people
        .aliases
        .lock()
        .unwrap()
        .insert(id("anna"), id("ana"));
    assert_eq!(refused_to_open(&stage, "ana").await, nobody(1, 2));
}

/// The window of the stage is ten minutes, and at its end a request has lapsed.
#[tokio::test]
async fn c6_whoever_could_decide_only_when_it_has_lapsed_is_nobody() {
    let after = |text| Rule {
        after: Some(ttl(text)),
        ..rule("group:approvers", &[Right::Approve])
    };
    let stage = |text| {
        Stage::new().under(
            1,
            vec![rule("group:askers", &[Right::Request]), after(text)],
        )
    };
    let refusal = refused_to_open(&stage("10m"), "ana").await;
    assert!(
        matches!(refusal, Refusal::NobodyEligible { found: 0, .. }),
        "{refusal:?}"
    );
    stage("9m").open("ana", "30m").await;
}

#[tokio::test]
async fn c6_a_rota_that_answers_nobody_leaves_nobody() {
    let rules = vec![
        rule("group:askers", &[Right::Request]),
        rule("oncall:primary", &[Right::Approve]),
    ];
    let stage = Stage::new().under(1, rules);
    let refusal = refused_to_open(&stage, "ana").await;
    assert!(
        matches!(refusal, Refusal::NobodyEligible { found: 0, .. }),
        "{refusal:?}"
    );
    joins(&stage, "dora", "oncall:primary");
    stage.open("ana", "30m").await;
}
