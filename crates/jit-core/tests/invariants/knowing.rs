//! B9, S9: what cannot be found out now is put off; it is neither guessed nor refused. What is
//! known counts from when it was asked.

use jit_core::Refusal;
use jit_core::engine::{EngineError, Extent, Verb};
use jit_core::ports::Query;
use jit_core::request::{Approver, Status};

use jit_testkit::stage::{Stage, id, minted, secs, standing, via};

/// From now on nobody can say whether they are in their groups.
fn unknown(stage: &Stage, name: &str) {
    let mut profiles = stage.people.profiles.lock().unwrap();
    let profile = profiles.get_mut(&id(name)).unwrap();
    profile.groups_unknown.append(&mut profile.groups);
}

fn known(stage: &Stage, name: &str) {
    let mut profiles = stage.people.profiles.lock().unwrap();
    let profile = profiles.get_mut(&id(name)).unwrap();
    profile.groups.append(&mut profile.groups_unknown);
}

/// Facts of no request: among them refused authority.
fn noted(stage: &Stage) -> usize {
    let chains = stage.store.all_chains();
    chains.get("system").map_or(0, Vec::len)
}

#[tokio::test]
async fn b9_a_decision_that_depends_on_an_unknown_group_is_put_off_and_loses_nothing() {
    let stage = Stage::with(standing(0, 0), 2);
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    // The decider, an earlier approver, the requester: none of them is refused or dropped.
    for name in ["dora", "bob", "ana"] {
        unknown(&stage, name);
        let refused = stage
            .refused("dora", request.id, Stage::approval(&request))
            .await;
        assert_eq!(refused, Refusal::CannotTell, "{name}");
        known(&stage, name);
    }
    let now = stage.load(request.id).await;
    assert_eq!(now.status(), Status::Pending);
    assert_eq!(now.approvals.len(), 1);
    assert_eq!(now.approvals[0].by, Approver::Person(id("bob")));
    assert_eq!(noted(&stage), 0, "nobody lacked a right");
    let approved = stage.approve("dora", &request).await;
    assert_eq!(approved.status(), Status::Approved);
}

#[tokio::test]
async fn b9_who_may_say_no_says_it_whatever_is_known_of_the_requester() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    unknown(&stage, "ana");
    let deny = || Verb::Deny {
        reason: "use the runbook".parse().unwrap(),
        digest: request.digest().prefix(),
    };
    unknown(&stage, "bob");
    let refused = stage.refused("bob", request.id, deny()).await;
    assert_eq!(refused, Refusal::CannotTell);
    let denied = stage.say("dora", request.id, deny()).await.unwrap();
    assert_eq!(denied.status(), Status::Denied);
}

#[tokio::test]
async fn b9_an_approved_grant_waits_until_its_people_can_be_looked_up() {
    for name in ["ana", "bob"] {
        let stage = Stage::new();
        let request = stage.open("ana", "30m").await;
        stage.approve("bob", &request).await;
        unknown(&stage, name);
        stage.pass(60).await;
        assert_eq!(stage.status(request.id).await, Status::Approved, "{name}");
        known(&stage, name);
        stage.pass(6).await;
        assert_eq!(stage.status(request.id).await, Status::Active, "{name}");
    }
}

/// What cannot be found out of one of them puts off nothing that is certain of another.
#[tokio::test]
async fn b9_what_is_certain_of_somebody_else_is_not_put_off() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    unknown(&stage, "ana");
    stage.people.leaves("bob");
    stage.pass(1).await;
    assert_eq!(stage.status(request.id).await, Status::Cancelled);

    let stage = Stage::new();
    let mut ask = stage.ask("30m");
    ask.beneficiary = Some(id("ana"));
    let request = stage.engine.open(&via("sven"), ask).await.unwrap();
    unknown(&stage, "sven");
    let lost = |name: &str| {
        let mut profiles = stage.people.profiles.lock().unwrap();
        profiles.get_mut(&id(name)).unwrap().groups.clear();
    };
    lost("ana");
    let decided = stage.approve("bob", &request).await;
    assert_eq!(decided.status(), Status::Invalidated);
}

#[tokio::test]
async fn b9_a_credential_is_not_cancelled_because_its_people_cannot_be_looked_up() {
    let stage = Stage::with(minted(), 1);
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    unknown(&stage, "bob");
    let refused = stage.engine.collect(&via("ana"), request.id).await;
    assert!(
        matches!(refused, Err(EngineError::Refused(Refusal::CannotTell))),
        "{refused:?}"
    );
    known(&stage, "bob");
    assert!(stage.engine.collect(&via("ana"), request.id).await.is_ok());
}

#[tokio::test]
async fn b9_access_is_returned_and_read_and_taken_away_while_groups_are_unknown() {
    let stage = Stage::new();
    let request = stage.active("30m").await;
    for name in ["ana", "bob"] {
        unknown(&stage, name);
    }
    let all = Query {
        limit: 10,
        ..Query::default()
    };
    let listed = stage.engine.list(&via("ana"), all.clone()).await.unwrap();
    assert_eq!(listed.requests.len(), 1);
    // Who may be one that sees more hears that it may not be all.
    let listed = stage.engine.list(&via("bob"), all.clone()).await.unwrap();
    assert_eq!(
        (listed.requests.len(), listed.extent),
        (0, Extent::PerhapsMore)
    );
    let own = Query {
        principal: Some(id("bob")),
        ..all.clone()
    };
    let listed = stage.engine.list(&via("bob"), own).await.unwrap();
    assert_eq!(listed.extent, Extent::Whole);
    let waiting = stage.engine.awaiting(&via("bob"), 10).await.unwrap();
    assert_eq!(waiting.map(|it| it.extent), Some(Extent::PerhapsMore));
    known(&stage, "bob");
    let listed = stage.engine.list(&via("bob"), all).await.unwrap();
    assert_eq!((listed.requests.len(), listed.extent), (1, Extent::Whole));
    let waiting = stage.engine.awaiting(&via("bob"), 10).await.unwrap();
    assert_eq!(waiting.map(|it| it.extent), Some(Extent::Whole));
    unknown(&stage, "bob");
    assert!(stage.engine.read(&via("ana"), request.id).await.is_ok());
    // He may be one who may see it.
    let read = stage.engine.read(&via("bob"), request.id).await;
    assert!(
        matches!(read, Err(EngineError::Refused(Refusal::CannotTell))),
        "{read:?}"
    );
    let ended = stage.say("ana", request.id, Verb::End).await.unwrap();
    assert_eq!(ended.status(), Status::Revoking);

    // Whose right does not come from a group that is unknown.
    known(&stage, "ana");
    stage.work().await;
    let another = stage.open("ana", "30m").await;
    let revoke = || Verb::Revoke { reason: None };
    unknown(&stage, "sven");
    let refused = stage.refused("sven", another.id, revoke()).await;
    assert_eq!(refused, Refusal::CannotTell);
    known(&stage, "sven");
    assert!(stage.say("sven", another.id, revoke()).await.is_ok());
    assert_eq!(noted(&stage), 0, "nobody lacked a right");
}

#[tokio::test]
async fn b9_an_ask_that_depends_on_an_unknown_group_is_put_off() {
    let stage = Stage::new();
    unknown(&stage, "ana");
    let asked = stage.engine.open(&via("ana"), stage.ask("30m")).await;
    assert!(
        matches!(asked, Err(EngineError::Refused(Refusal::CannotTell))),
        "{asked:?}"
    );
    assert_eq!(noted(&stage), 0, "nobody lacked a right");
    known(&stage, "ana");
    assert!(
        stage
            .engine
            .open(&via("ana"), stage.ask("30m"))
            .await
            .is_ok()
    );
}

/// An answer that was put together for seconds is as old as its first question, and may have been
/// three seconds old then.
#[tokio::test]
async fn s9_facts_older_than_five_seconds_are_refused_and_count_from_when_they_were_asked_for() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    let slow = |by| *stage.people.slow.lock().unwrap() = Some((stage.clock.clone(), by));
    // The caller is looked up, and then the requester.
    slow(secs(1) + secs(1) / 4);
    let said = stage
        .say("bob", request.id, Stage::approval(&request))
        .await;
    assert!(matches!(said, Err(EngineError::Failed(_))), "{said:?}");
    assert_eq!(stage.status(request.id).await, Status::Pending);
    slow(secs(1));
    let approved = stage.approve("bob", &request).await;
    assert_eq!(approved.status(), Status::Approved);
    // For the lease requester and approver are asked about at once, one after the other by this clock.
    slow(secs(1) + secs(1) / 4);
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Approved);
    slow(secs(1));
    stage.pass(6).await;
    assert_eq!(stage.status(request.id).await, Status::Active);
}
