//! S8: access that no grant explains is found, told and, where it may be ours, taken away; a grant
//! whose access is missing is told.

use jit_core::Refusal;
use jit_core::audit::{Fact, SystemFact};
use jit_core::engine::{Drifted, EngineError, Outcome, Progress};
use jit_core::policy::Exemption;
use jit_core::ports::RequestStore;
use jit_core::provider::{Parameters, Target};
use jit_core::request::{AccessRequest, Status};
use jit_testkit::hostile::Fault;
use jit_testkit::stage::{Stage, secs, via};

fn target(subject: &str, resource: &str) -> Target {
    Target::new("stage", subject.parse().unwrap(), resource)
}

/// A whole look, taking every step again that fails.
async fn look(stage: &Stage) -> Outcome {
    let provider = "stage".parse().unwrap();
    let look = stage.engine.reconciliation(&provider).await.unwrap();
    let mut look = look.expect("it is a provider of standing access");
    for _ in 0..1_000 {
        match stage.engine.reconcile(&mut look).await {
            Ok(Progress::Going) | Err(_) => {}
            Ok(Progress::Done(outcome)) => return outcome,
        }
    }
    panic!("it goes on for ever");
}

async fn drift(stage: &Stage) -> Drifted {
    stage.engine.drift(&via("sven")).await.unwrap()
}

async fn unexplained(stage: &Stage) -> Vec<String> {
    let drifted = drift(stage).await.unexplained.into_iter();
    drifted
        .map(|it| format!("{} {}", it.target.subject, it.target.resource))
        .collect()
}

/// The facts of no request that are about this.
async fn facts(stage: &Stage) -> Vec<(&'static str, usize)> {
    let events = stage.store.system_events(0, 1_000).await.unwrap();
    let facts = events
        .iter()
        .map(|sealed| sealed.system_event().unwrap().event);
    facts
        .filter_map(|fact| match fact {
            SystemFact::DriftFound { targets, .. } => Some(("found", targets.len())),
            SystemFact::DriftGone { targets, .. } => Some(("gone", targets.len())),
            _ => None,
        })
        .collect()
}

fn pages(stage: &Stage) -> Vec<String> {
    let pages = stage.pager.0.lock().unwrap();
    pages.iter().map(|alarm| alarm.summary.clone()).collect()
}

/// Asked, approved, there, and gone again.
async fn closed(stage: &Stage) -> AccessRequest {
    let request = stage.active("1m").await;
    stage.pass(120).await;
    assert_eq!(stage.status(request.id).await, Status::Closed);
    stage.load(request.id).await
}

async fn says(stage: &Stage, request: &AccessRequest) -> Vec<Fact> {
    let (_, events) = stage.store.story(request.id).await.unwrap().unwrap();
    events
        .iter()
        .map(|it| it.event().unwrap().event.what)
        .collect()
}

#[tokio::test]
async fn s8_what_other_hands_gave_is_found_told_once_and_left_alone() {
    let stage = Stage::new();
    assert_eq!(look(&stage).await, Outcome::default());
    for (subject, resource) in [("mallory", "admins"), ("mallory", "ops"), ("trent", "ops")] {
        let target = target(subject, resource);
        stage.provider.foreign_grant(&target, &Parameters::new());
    }
    assert_eq!(look(&stage).await.unexplained, 3);
    let found = unexplained(&stage).await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(facts(&stage).await, [("found", 1); 3]);
    let paged = pages(&stage);
    assert_eq!(paged.len(), 1, "{paged:?}");
    assert!(
        paged[0].contains("3 accesses were found at stage"),
        "{paged:?}"
    );
    // The same is not told again, and nothing of it is touched.
    stage.pass(60).await;
    assert_eq!(look(&stage).await.unexplained, 3);
    assert_eq!((pages(&stage).len(), facts(&stage).await.len()), (1, 3));
    let mallory = target("mallory", "admins");
    let now = stage.now();
    assert!(
        stage
            .provider
            .ledger()
            .present(&mallory, &Parameters::new(), now)
    );
    // What is gone is no longer listed; what comes again is told again.
    stage.provider.foreign_revoke(&mallory, &Parameters::new());
    assert_eq!(look(&stage).await.unexplained, 2);
    assert_eq!(facts(&stage).await.last(), Some(&("gone", 1)));
    assert_eq!(unexplained(&stage).await.len(), 2);
    stage.provider.foreign_grant(&mallory, &Parameters::new());
    assert_eq!(look(&stage).await.unexplained, 3);
    assert_eq!(pages(&stage).len(), 2);
}

#[tokio::test]
async fn s8_what_is_granted_is_explained_however_far_it_is() {
    let stage = Stage::new();
    let request = stage.active("1m").await;
    assert_eq!(look(&stage).await, Outcome::default());
    // While it is being taken away it stands, and is nobody else's.
    stage.provider.outage_until(stage.now() + secs(90));
    stage.pass(70).await;
    assert_eq!(stage.status(request.id).await, Status::Revoking);
    stage.provider.outage_until(stage.now());
    assert_eq!(look(&stage).await, Outcome::default());
    assert!(unexplained(&stage).await.is_empty());
}

#[tokio::test]
async fn s8_what_comes_back_within_a_day_of_our_call_is_taken_away_and_paged() {
    let stage = Stage::new();
    let request = closed(&stage).await;
    stage
        .provider
        .foreign_grant(&Stage::target(&request), &Parameters::new());
    let fresh = stage.engine.fresh().await.unwrap();
    assert_eq!(
        fresh.iter().map(|it| it.id).collect::<Vec<_>>(),
        [request.id]
    );
    assert!(stage.engine.look_at_fresh(&fresh[0]).await.unwrap());
    let provider = "stage".parse().unwrap();
    stage.engine.tell_drift(&provider).await.unwrap();
    stage.engine.tell_drift(&provider).await.unwrap();
    assert_eq!(pages(&stage).len(), 1);
    assert_eq!(stage.status(request.id).await, Status::Revoking);
    assert!(says(&stage, &request).await.contains(&Fact::Reappeared));
    stage.pass(120).await;
    assert_eq!(stage.status(request.id).await, Status::Closed);
    assert!(!stage.is_there(&request));
    // The next look finds it gone, and an honest slot is left alone.
    assert_eq!(look(&stage).await, Outcome::default());
    assert!(unexplained(&stage).await.is_empty());
    let fresh = stage.engine.fresh().await.unwrap();
    assert!(!stage.engine.look_at_fresh(&fresh[0]).await.unwrap());
}

#[tokio::test]
async fn s8_what_comes_back_after_a_day_is_told_and_left_alone() {
    for (hours, taken) in [(23, true), (25, false)] {
        let stage = Stage::new();
        let request = closed(&stage).await;
        stage.clock.advance(secs(hours * 3_600));
        stage
            .provider
            .foreign_grant(&Stage::target(&request), &Parameters::new());
        assert_eq!(look(&stage).await.unexplained, 1);
        assert_eq!(pages(&stage).len(), 1);
        let expected = if taken {
            Status::Revoking
        } else {
            Status::Closed
        };
        assert_eq!(stage.status(request.id).await, expected, "after {hours} h");
        let fresh = stage.engine.fresh().await.unwrap();
        assert_eq!(fresh.is_empty(), !taken || expected == Status::Revoking);
    }
}

#[tokio::test]
async fn s8_a_grant_that_others_took_is_told_once_and_goes_on_until_its_end() {
    let stage = Stage::new();
    let request = stage.active("30m").await;
    stage.pass(1).await;
    stage
        .provider
        .foreign_revoke(&Stage::target(&request), &Parameters::new());
    look(&stage).await;
    look(&stage).await;
    let missing = says(&stage, &request)
        .await
        .into_iter()
        .filter(|it| *it == Fact::Missing);
    assert_eq!(missing.count(), 1);
    assert_eq!(stage.status(request.id).await, Status::Active);
    assert!(
        !stage.is_there(&request),
        "it is never given again by itself"
    );
    let listed = drift(&stage).await.missing;
    assert_eq!(
        listed.iter().map(|it| it.id).collect::<Vec<_>>(),
        [request.id]
    );
    stage.pass(1_900).await;
    assert_eq!(stage.status(request.id).await, Status::Closed);
    assert!(drift(&stage).await.missing.is_empty());
}

#[tokio::test]
async fn s8_a_look_that_fails_goes_on_where_it_was_and_a_skip_forgets_nothing() {
    let stage = Stage::new();
    let mallory = target("mallory", "admins");
    stage.provider.foreign_grant(&mallory, &Parameters::new());
    assert_eq!(look(&stage).await.unexplained, 1);
    for _ in 0..3 {
        stage.provider.fail_next_read(Fault::Outage);
        assert_eq!(
            look(&stage).await,
            Outcome {
                unexplained: 1,
                left_out: 0
            }
        );
    }
    // What could not be listed is not taken for gone.
    stage.provider.outage_until(stage.now() + secs(3_600));
    let provider = "stage".parse().unwrap();
    let mut look = stage
        .engine
        .reconciliation(&provider)
        .await
        .unwrap()
        .unwrap();
    let outcome = loop {
        match stage.engine.reconcile(&mut look).await {
            Ok(Progress::Going) => {}
            Ok(Progress::Done(outcome)) => break outcome,
            Err(_) => look.skip(),
        }
    };
    // Two entitlements, and what was found before.
    assert_eq!(outcome.left_out, 3);
    assert_eq!(unexplained(&stage).await, ["mallory admins"]);
}

#[tokio::test]
async fn s8_what_is_meant_to_stand_is_no_drift_and_no_right() {
    let stage = Stage::new();
    for subject in ["root-oncall", "mallory"] {
        for resource in ["admins", "ops"] {
            let strange = target(subject, resource);
            stage.provider.foreign_grant(&strange, &Parameters::new());
        }
    }
    assert_eq!(look(&stage).await.unexplained, 4);
    let stage = stage.exempting(Exemption {
        subjects: ["root-oncall".parse().unwrap()].into(),
        entitlements: vec!["stage/admins".parse().unwrap()],
        reason: "for emergencies".to_owned(),
    });
    stage.pass(60).await;
    assert_eq!(look(&stage).await.unexplained, 3);
    let left = unexplained(&stage).await;
    assert!(!left.contains(&"root-oncall admins".to_owned()), "{left:?}");
    assert_eq!(facts(&stage).await.last(), Some(&("gone", 1)));
    assert_eq!(pages(&stage).len(), 1);
}

/// One slot that cannot be read back hides nobody else in the same listing, and is not gone.
#[tokio::test]
async fn s8_what_cannot_be_judged_hides_nothing_else() {
    let stage = Stage::new();
    let request = closed(&stage).await;
    let ours = Stage::target(&request);
    let mallory = target("mallory", &ours.resource);
    for target in [&ours, &mallory] {
        stage.provider.foreign_grant(target, &Parameters::new());
    }
    let provider = "stage".parse().unwrap();
    let look = stage.engine.reconciliation(&provider).await.unwrap();
    let mut look = look.unwrap();
    let mut outcome = None;
    while outcome.is_none() {
        // Reading back fails whenever it is tried; listing does not.
        let judging = format!("{look:?}").contains("suspects: [Sight");
        if judging {
            stage.provider.fail_next_read(Fault::Outage);
        }
        match stage.engine.reconcile(&mut look).await {
            Ok(Progress::Going) => {}
            Ok(Progress::Done(done)) => outcome = Some(done),
            Err(_) if judging => look.skip(),
            Err(_) => {}
        }
    }
    let expected = Outcome {
        unexplained: 1,
        left_out: 1,
    };
    assert_eq!(outcome, Some(expected));
    assert_eq!(
        unexplained(&stage).await,
        [format!("mallory {}", ours.resource)]
    );
    assert_eq!(stage.status(request.id).await, Status::Closed);
}

/// Ana's access in one region, asked for and approved.
async fn in_region(stage: &Stage, region: &str, duration: &str) -> AccessRequest {
    let mut ask = stage.ask(duration);
    ask.parts = vec![("stage/admins".parse().unwrap(), of_region(region))];
    let request = stage.engine.open(&via("ana"), ask).await.unwrap();
    stage.approve("bob", &request).await;
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Active);
    stage.load(request.id).await
}

fn of_region(region: &str) -> Parameters {
    Parameters::from_iter([("region".to_owned(), region.into())])
}

#[tokio::test]
async fn s8_of_what_one_person_has_by_different_parameters_each_is_found_missing() {
    let stage = Stage::new();
    stage.provider.list_slots();
    let mut requests = vec![];
    for region in ["north", "south", "west"] {
        requests.push(in_region(&stage, region, "30m").await);
    }
    stage.pass(1).await;
    assert_eq!(look(&stage).await, Outcome::default());
    let target = Stage::target(&requests[0]);
    for region in ["north", "south"] {
        stage.provider.foreign_revoke(&target, &of_region(region));
    }
    assert_eq!(look(&stage).await, Outcome::default());
    for (request, is_missing) in requests.iter().zip([true, true, false]) {
        let says = says(&stage, request).await;
        assert_eq!(says.contains(&Fact::Missing), is_missing, "{says:?}");
        assert_eq!(stage.status(request.id).await, Status::Active);
    }
}

#[tokio::test]
async fn s8_what_stands_by_parameters_is_found_long_after_and_taken_away_within_a_day() {
    for (hours, taken) in [(23, true), (25, false)] {
        let stage = Stage::new();
        stage.provider.list_slots();
        let closed = in_region(&stage, "north", "1m").await;
        stage.pass(120).await;
        assert_eq!(stage.status(closed.id).await, Status::Closed);
        stage.clock.advance(secs(hours * 3_600));
        let live = in_region(&stage, "south", "30m").await;
        stage.pass(1).await;
        let target = Stage::target(&closed);
        for strange in [of_region("north"), of_region("nowhere")] {
            stage.provider.foreign_grant(&target, &strange);
        }
        assert_eq!(look(&stage).await.unexplained, 2);
        let expected = if taken {
            Status::Revoking
        } else {
            Status::Closed
        };
        assert_eq!(stage.status(closed.id).await, expected, "after {hours} h");
        assert_eq!(stage.status(live.id).await, Status::Active);
        assert_eq!(pages(&stage).len(), 1);
        // It stands, so it is not gone, and nothing of it is told twice.
        if !taken {
            assert_eq!(look(&stage).await.unexplained, 2);
            stage.provider.foreign_revoke(&target, &of_region("north"));
        }
        stage.pass(20).await;
        assert_eq!(look(&stage).await.unexplained, 1);
        let facts = facts(&stage).await;
        assert_eq!(facts, [("found", 1), ("found", 1), ("gone", 1)]);
        assert_eq!(pages(&stage).len(), 1);
        assert!(!says(&stage, &live).await.contains(&Fact::Missing));
    }
}

/// A listing that tells targets alone leaves open which of their slots stands.
#[tokio::test]
async fn s8_what_stands_by_parameters_is_not_gone_because_the_person_has_something_else() {
    let stage = Stage::new();
    let closed = in_region(&stage, "north", "1m").await;
    stage.pass(120).await;
    let target = Stage::target(&closed);
    stage.provider.foreign_grant(&target, &of_region("north"));
    let fresh = stage.engine.fresh().await.unwrap();
    assert!(stage.engine.look_at_fresh(&fresh[0]).await.unwrap());
    stage.pass(60).await;
    assert_eq!(stage.status(closed.id).await, Status::Closed);
    // It comes back before anybody saw that it was gone, and too late to be ours.
    stage.clock.advance(secs(25 * 3_600));
    stage.provider.foreign_grant(&target, &of_region("north"));
    in_region(&stage, "south", "30m").await;
    for _ in 0..2 {
        assert_eq!(look(&stage).await.unexplained, 1);
        assert_eq!(facts(&stage).await, [("found", 1)]);
    }
    stage.provider.foreign_revoke(&target, &of_region("north"));
    assert_eq!(look(&stage).await.unexplained, 0);
    assert_eq!(facts(&stage).await, [("found", 1), ("gone", 1)]);
}

#[tokio::test]
async fn s8_what_other_hands_gave_is_explained_by_a_grant_that_came_since() {
    let stage = Stage::new();
    let ana = target("ana@example.com", "admins");
    stage
        .provider
        .foreign_grant(&ana, &of_region("nobody knows"));
    assert_eq!(look(&stage).await.unexplained, 1);
    in_region(&stage, "south", "30m").await;
    stage.pass(1).await;
    stage
        .provider
        .foreign_revoke(&ana, &of_region("nobody knows"));
    assert_eq!(look(&stage).await.unexplained, 0);
    assert_eq!(facts(&stage).await, [("found", 1), ("gone", 1)]);
}

#[tokio::test]
async fn s8_each_page_is_another_alarm_and_the_same_one_when_it_is_tried_again() {
    let stage = Stage::new();
    for subject in ["mallory", "trent"] {
        let strange = target(subject, "ops");
        stage.provider.foreign_grant(&strange, &Parameters::new());
        look(&stage).await;
        stage.pass(60).await;
    }
    let paged = pages(&stage);
    assert_eq!(paged.len(), 2);
    assert_ne!(paged[0], paged[1], "PagerDuty would take them for one");
}

#[tokio::test]
async fn only_whoever_operates_the_service_sees_what_drifted() {
    let stage = Stage::new();
    let refused = stage.engine.drift(&via("ana")).await;
    assert!(
        matches!(
            refused,
            Err(EngineError::Refused(Refusal::NotAllowedAnywhere { .. }))
        ),
        "{refused:?}"
    );
}
