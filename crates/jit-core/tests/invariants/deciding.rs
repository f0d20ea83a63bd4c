//! S5, S6, S9, S11, S12: who decides what, once, on facts that are true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use jit_core::Refusal;
use jit_core::catalog::Entitlement;
use jit_core::engine::{EngineError, NewRequest, Verb};
use jit_core::lifecycle::{DECISIONS_LIMIT, OPENED_LIMIT};
use jit_core::policy::Right;
use jit_core::ports::{PortError, Provisioner, Query, RequestStore};
use jit_core::principal::{PrincipalId, PrincipalKind, Profile};
use jit_core::provider::{Parameters, Resolved};
use jit_core::request::{AccessRequest, Approver, Stage as Far, Status};
use jit_testkit::front::{Front, Meddle};
use jit_testkit::hostile::HostileHandle;
use jit_testkit::store::CommitFault;

use jit_testkit::stage::{Stage, id, minted, secs, standing, ttl, via};

#[tokio::test]
async fn s5_a_request_is_decided_once() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    let approval = Stage::approval(&request);
    stage.approve("bob", &request).await;
    let again = stage.refused("dora", request.id, approval).await;
    assert!(
        matches!(again, Refusal::AlreadyDecided { by: Some(Approver::Person(by)), .. } if by == id("bob"))
    );
    let digest = request.digest().prefix();
    let denied = stage
        .refused(
            "eve",
            request.id,
            Verb::Deny {
                reason: "use the runbook".parse().unwrap(),
                digest,
            },
        )
        .await;
    assert!(matches!(denied, Refusal::AlreadyDecided { .. }));
}

#[tokio::test]
async fn s5_an_input_is_applied_once_whoever_took_it_over() {
    let stage = Stage::new();
    let put = stage.store.inbox_put("done", "jit done", stage.now()).await;
    put.unwrap();
    let first = stage.active("30m").await;
    let end = async |request| {
        let ana = via("ana");
        let ended = stage
            .engine
            .handle_by(&ana, request, Verb::End, Some("done"));
        ended.await
    };
    end(first.id).await.unwrap();
    stage.pass(3_600).await;
    stage.work().await;
    let second = stage.active("30m").await;
    // Whoever is slower finds other access by the same words.
    let late = end(second.id).await;
    assert!(
        matches!(late, Err(EngineError::Refused(Refusal::InputDone))),
        "{late:?}"
    );
    assert!(stage.is_there(&second), "nothing of it was applied");
    assert_eq!(stage.status(second.id).await, Status::Active);
}

#[tokio::test]
async fn s5_a_quorum_counts_people_and_not_clicks() {
    let stage = Stage::with(standing(0, 0), 2);
    let request = stage.open("ana", "30m").await;
    let once = stage.approve("bob", &request).await;
    assert_eq!(once.status(), Status::Pending);
    let again = stage
        .refused("bob", request.id, Stage::approval(&request))
        .await;
    assert_eq!(again, Refusal::AlreadyApproved { missing: 1 });
    // The same person under another login is the same person.
    stage
        .people
        .aliases
        .lock()
        .unwrap()
        .insert(id("robert"), id("bob"));
    let alias = stage
        .refused("robert", request.id, Stage::approval(&request))
        .await;
    assert_eq!(alias, Refusal::AlreadyApproved { missing: 1 });
    assert_eq!(
        stage.approve("dora", &request).await.status(),
        Status::Approved
    );
}

#[tokio::test]
async fn s5_an_approver_who_lost_authority_before_the_quorum_is_dropped_and_said() {
    let stage = Stage::with(standing(0, 0), 2);
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    stage.leaves("bob");
    let still = stage.approve("dora", &request).await;
    assert_eq!(still.status(), Status::Pending);
    assert_eq!(still.approvals.len(), 1);
    assert_eq!(still.approvals[0].by, Approver::Person(id("dora")));
    assert_eq!(
        stage.approve("eve", &request).await.status(),
        Status::Approved
    );
}

#[tokio::test]
async fn s5_one_denial_denies_and_a_retracted_approval_does_not_count() {
    let stage = Stage::with(standing(0, 0), 2);
    let request = stage.open("ana", "30m").await;
    let nothing = stage.refused("bob", request.id, Verb::Retract).await;
    assert_eq!(nothing, Refusal::NothingToRetract);
    stage.approve("bob", &request).await;
    let retracted = stage.say("bob", request.id, Verb::Retract).await.unwrap();
    assert!(retracted.approvals.is_empty());
    assert_eq!(
        stage.approve("dora", &request).await.status(),
        Status::Pending
    );
    let digest = request.digest().prefix();
    let reason = "use the runbook".parse().unwrap();
    let denied = stage
        .say("eve", request.id, Verb::Deny { reason, digest })
        .await
        .unwrap();
    assert!(
        matches!(&denied.stage, Far::Denied { reason, .. } if reason.as_str() == "use the runbook")
    );
}

#[tokio::test]
async fn s5_after_the_window_nothing_is_taken_back() {
    let stage = Stage::with(standing(0, 0), 2);
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    stage.clock.advance(secs(600));
    let late = stage.refused("bob", request.id, Verb::Retract).await;
    assert!(matches!(late, Refusal::Lapsed { .. }), "{late:?}");
}

#[tokio::test]
async fn s5_an_unanswered_request_lapses_and_cannot_be_decided_after() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    stage.clock.advance(secs(600));
    let late = stage
        .refused("bob", request.id, Stage::approval(&request))
        .await;
    assert_eq!(
        late,
        Refusal::Lapsed {
            at: request.decide_by
        }
    );
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Lapsed);
    let later = stage
        .refused("bob", request.id, Stage::approval(&request))
        .await;
    assert_eq!(
        later,
        Refusal::Lapsed {
            at: request.decide_by
        }
    );
}

#[tokio::test]
async fn s5_an_automatic_approval_is_no_persons_and_stops_at_its_quota() {
    let stage = Stage::with(standing(0, 0), 0);
    let cleo = |name: &str| {
        let mut ask = stage.ask("5m");
        ask.parts[0].1.insert("n".to_owned(), name.into());
        ask
    };
    for name in ["one", "two"] {
        let request = stage.engine.open(&via("cleo"), cleo(name)).await.unwrap();
        assert_eq!(request.status(), Status::Approved);
        assert_eq!(request.approvals[0].by, Approver::Automatic);
    }
    let third = stage.engine.open(&via("cleo"), cleo("three")).await;
    assert!(matches!(
        third,
        Err(EngineError::Refused(Refusal::QuotaUsed { ceiling: 2, .. }))
    ));
    assert_eq!(stage.store.records().len(), 2);
}

#[tokio::test]
async fn s6_the_end_is_the_shortest_time_that_anybody_who_counts_chose() {
    let stage = Stage::with(standing(0, 0), 2);
    let request = stage.open("ana", "1h").await;
    let digest = request.digest().prefix();
    let shorter = Verb::Approve {
        ttl: Some(ttl("10m")),
        digest: digest.clone(),
    };
    stage.say("bob", request.id, shorter).await.unwrap();
    let longer = Verb::Approve {
        ttl: Some(ttl("2h")),
        digest,
    };
    let refused = stage.refused("dora", request.id, longer).await;
    assert_eq!(
        refused,
        Refusal::TtlAboveAsked {
            chosen: ttl("2h"),
            asked: ttl("1h")
        }
    );
    let approved = stage.approve("dora", &request).await;
    assert_eq!(
        approved.grant().unwrap().expires_at,
        stage.now() + secs(600)
    );
}

#[tokio::test]
async fn s6_asking_for_what_is_held_longer_already_is_refused() {
    let stage = Stage::new();
    let held = stage.active("30m").await;
    let until = held.grant().unwrap().expires_at;
    let shorter = stage.engine.open(&via("ana"), stage.ask("10m")).await;
    assert!(
        matches!(shorter, Err(EngineError::Refused(Refusal::AlreadyHeldUntil { until: it })) if it == until)
    );
    assert!(
        stage
            .engine
            .open(&via("ana"), stage.ask("31m"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn s9_nobody_decides_their_own_request_under_any_name() {
    let stage = Stage::new();
    let request = stage
        .engine
        .open(&via("bob"), stage.ask("30m"))
        .await
        .unwrap();
    stage
        .people
        .aliases
        .lock()
        .unwrap()
        .insert(id("robert"), id("bob"));
    for name in ["bob", "robert"] {
        let refusal = stage
            .refused(name, request.id, Stage::approval(&request))
            .await;
        assert_eq!(refusal, Refusal::OwnRequest, "{name}");
    }
    // It is written down that they tried.
    let refused = stage.store.all_chains()["system"].len();
    assert_eq!(refused, 2);
}

#[tokio::test]
async fn s9_neither_of_the_two_decides_what_one_asks_for_the_other() {
    let stage = Stage::new();
    let mut ask = stage.ask("30m");
    ask.beneficiary = Some(id("bob"));
    let request = stage.engine.open(&via("sven"), ask.clone()).await.unwrap();
    let own = stage
        .refused("bob", request.id, Stage::approval(&request))
        .await;
    assert_eq!(own, Refusal::OwnRequest);
    // Without the right nobody asks for another.
    let refused = stage.engine.open(&via("ana"), ask).await;
    assert!(matches!(
        refused,
        Err(EngineError::Refused(Refusal::NotAllowed { .. }))
    ));
}

/// A provider that resolves so slowly that something happens meanwhile.
struct SlowToResolve<F> {
    inner: HostileHandle,
    meanwhile: F,
}

#[async_trait]
impl<F: Fn() + Send + Sync> Meddle for SlowToResolve<F> {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        (self.meanwhile)();
        self.inner
            .resolve(beneficiary, entitlement, parameters)
            .await
    }
}

#[tokio::test]
async fn s9_people_are_looked_up_behind_a_slow_provider_when_a_request_is_opened() {
    let stage = Stage::new();
    let clock = stage.clock.clone();
    let slow = SlowToResolve {
        inner: stage.provider.as_seen_by(clock.clone()),
        meanwhile: move || {
            clock.advance(secs(14));
        },
    };
    let stage = stage.around(Arc::new(Front(slow)));
    let opened = stage.engine.open(&via("ana"), stage.ask("30m")).await;
    assert!(opened.is_ok(), "a slow provider is no reason: {opened:?}");
}

#[tokio::test]
async fn s4_a_lease_that_loses_the_race_for_something_else_goes_on_at_once() {
    let stage = Stage::new();
    let races = Arc::new(AtomicU32::new(0));
    let (store, raced) = (stage.store.clone(), races.clone());
    let slow = SlowToResolve {
        inner: stage.provider.as_seen_by(stage.clock.clone()),
        // The slot's row changes between the look at it and the lease; the record does not.
        meanwhile: move || {
            if raced.fetch_add(1, Ordering::Relaxed) == 1 {
                store.fail_next_commits([CommitFault::Conflict]);
            }
        },
    };
    let stage = stage.around(Arc::new(Front(slow)));
    let request = stage.active("30m").await;
    assert!(
        stage.is_there(&request),
        "in the same look, not in the next"
    );
    let looked = races.load(Ordering::Relaxed);
    assert_eq!(looked, 3, "at opening, and for each of two leases");
}

#[tokio::test]
async fn s11_whoever_leaves_while_the_provider_resolves_opens_nothing() {
    let stage = Stage::new();
    let people = stage.people.clone();
    let slow = SlowToResolve {
        inner: stage.provider.as_seen_by(stage.clock.clone()),
        meanwhile: move || people.leaves("ana"),
    };
    let stage = stage.around(Arc::new(Front(slow)));
    let opened = stage.engine.open(&via("ana"), stage.ask("30m")).await;
    assert!(
        matches!(opened, Err(EngineError::Refused(_))),
        "the facts are those of the commit: {opened:?}"
    );
    assert!(stage.store.records().is_empty());
}

#[tokio::test]
async fn s10_an_agent_asks_for_its_person_and_decides_nothing() {
    let stage = Stage::new();
    let bot = Profile {
        id: id("agent:bot"),
        kind: PrincipalKind::Agent {
            acts_for: id("bob"),
            caps: Default::default(),
        },
        active: true,
        groups: ["approvers".parse().unwrap()].into(),
        groups_unknown: Default::default(),
        manager: None,
        subjects: Default::default(),
    };
    stage
        .people
        .profiles
        .lock()
        .unwrap()
        .insert(id("agent:bot"), bot);
    let request = stage
        .engine
        .open(&via("agent:bot"), stage.ask("30m"))
        .await
        .unwrap();
    assert_eq!(request.beneficiary, id("bob"));
    let own = stage
        .refused("bob", request.id, Stage::approval(&request))
        .await;
    assert_eq!(own, Refusal::OwnRequest);

    let other = NewRequest {
        beneficiary: Some(id("ana")),
        ..stage.ask("30m")
    };
    let refused = stage.engine.open(&via("agent:bot"), other).await;
    assert!(matches!(
        refused,
        Err(EngineError::Refused(Refusal::AgentForAnother { .. }))
    ));

    // Another's request it may neither decide nor see.
    let anas = stage.open("ana", "30m").await;
    let refused = stage
        .refused("agent:bot", anas.id, Stage::approval(&anas))
        .await;
    assert_eq!(refused, Refusal::UnknownRequest);
}

#[tokio::test]
async fn s11_a_requester_who_is_gone_before_the_decision_voids_the_request() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    stage.leaves("ana");
    assert_eq!(
        stage.approve("bob", &request).await.status(),
        Status::Invalidated
    );
}

#[tokio::test]
async fn s11_a_policy_that_changed_voids_what_is_pending_and_cancels_what_is_approved() {
    let stage = Stage::new();
    let pending = stage.open("ana", "30m").await;
    let approved = stage.open("cleo", "30m").await;
    stage.approve("bob", &approved).await;
    let stricter = stage.other(stage.clock.clone(), 2);
    let voided = stricter
        .handle(&via("bob"), pending.id, Stage::approval(&pending))
        .await;
    assert_eq!(voided.unwrap().status(), Status::Invalidated);
    stricter.tend(approved.id).await.unwrap();
    assert_eq!(stage.status(approved.id).await, Status::Cancelled);
    assert!(stage.provider.ledger().calls().is_empty());
}

#[tokio::test]
async fn s11_an_approver_who_left_before_the_grant_call_cancels_it() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    stage.leaves("bob");
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Cancelled);
    assert!(stage.provider.ledger().calls().is_empty());
}

#[tokio::test]
async fn s12_a_decision_on_something_else_than_was_shown_is_refused() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    let other = stage.open("cleo", "30m").await;
    let prefix = request.digest().prefix();
    for stale in [
        other.digest().prefix(),
        prefix[..15].to_owned(),
        String::new(),
    ] {
        let verb = Verb::Approve {
            ttl: None,
            digest: stale,
        };
        assert_eq!(
            stage.refused("bob", request.id, verb).await,
            Refusal::StaleDigest
        );
    }
    // An approval does not change what the next approver was shown.
    let stage = Stage::with(minted(), 2);
    let request = stage.open("ana", "30m").await;
    let shown = request.digest();
    assert_eq!(stage.approve("bob", &request).await.digest(), shown);
}

#[tokio::test]
async fn a_request_that_one_may_not_see_is_answered_like_none() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    let foreign = stage.engine.read(&via("cleo"), request.id).await;
    assert!(matches!(
        foreign,
        Err(EngineError::Refused(Refusal::UnknownRequest))
    ));
    let verb = Stage::approval(&request);
    assert_eq!(
        stage.refused("cleo", request.id, verb).await,
        Refusal::UnknownRequest
    );
    for reader in ["ana", "bob", "sven"] {
        assert!(
            stage.engine.read(&via(reader), request.id).await.is_ok(),
            "{reader}"
        );
    }
}

#[tokio::test]
async fn a_pause_stops_new_access_and_nothing_else() {
    let stage = Stage::new();
    let active = stage.active("30m").await;
    let pending = stage.open("cleo", "30m").await;
    let refused = stage.engine.pause(&via("ana")).await;
    assert!(matches!(
        refused,
        Err(EngineError::Refused(Refusal::NotAllowedAnywhere { .. }))
    ));
    stage.engine.pause(&via("sven")).await.unwrap();
    let opened = stage.engine.open(&via("cleo"), stage.ask("5m")).await;
    assert!(matches!(opened, Err(EngineError::Refused(Refusal::Paused))));
    let approved = stage
        .refused("bob", pending.id, Stage::approval(&pending))
        .await;
    assert_eq!(approved, Refusal::Paused);
    stage.say("ana", active.id, Verb::End).await.unwrap();
    stage.pass(40).await;
    assert_eq!(stage.status(active.id).await, Status::Closed);
    stage.engine.resume(&via("sven")).await.unwrap();
    assert_eq!(
        stage.approve("bob", &pending).await.status(),
        Status::Approved
    );
}

#[tokio::test]
async fn s9_a_new_name_is_no_new_person() {
    let stage = Stage::with(standing(0, 0), 2);
    let request = stage
        .engine
        .open(&via("eve"), stage.ask("30m"))
        .await
        .unwrap();
    stage.approve("bob", &request).await;
    // Eve and Bob are called otherwise from now on.
    for (old, new) in [("eve", "eve.lopez"), ("bob", "robert")] {
        let mut profiles = stage.people.profiles.lock().unwrap();
        let mut profile = profiles.remove(&id(old)).unwrap();
        profile.id = id(new);
        profiles.insert(id(new), profile);
        stage
            .people
            .aliases
            .lock()
            .unwrap()
            .insert(id(old), id(new));
    }
    let own = stage
        .refused("eve.lopez", request.id, Stage::approval(&request))
        .await;
    assert_eq!(own, Refusal::OwnRequest);
    let twice = stage
        .refused("robert", request.id, Stage::approval(&request))
        .await;
    assert_eq!(twice, Refusal::AlreadyApproved { missing: 1 });
}

#[tokio::test]
async fn parameters_are_bounded_in_length_and_in_depth() {
    let stage = Stage::new();
    let nested = |depth: usize| {
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let mut ask = stage.ask("5m");
        let value = serde_json::from_str(&text).unwrap();
        ask.parts[0].1.insert("deep".to_owned(), value);
        ask
    };
    assert!(stage.engine.open(&via("ana"), nested(14)).await.is_ok());
    let deep = stage.engine.open(&via("ana"), nested(16)).await;
    assert!(matches!(
        deep,
        Err(EngineError::Refused(Refusal::ParametersTooDeep {
            ceiling: 16
        }))
    ));
    let long = |bytes: usize| {
        let mut ask = stage.ask("5m");
        ask.parts[0]
            .1
            .insert("k".to_owned(), "x".repeat(bytes).into());
        ask
    };
    // {"k":"…"} adds eight bytes.
    assert!(stage.engine.open(&via("cleo"), long(4_088)).await.is_ok());
    let refused = stage.engine.open(&via("cleo"), long(4_089)).await;
    assert!(matches!(
        refused,
        Err(EngineError::Refused(Refusal::ParametersTooLarge {
            bytes: 4_097,
            ..
        }))
    ));
}

#[tokio::test]
async fn parameters_are_read_back_as_they_were_written() {
    let stage = Stage::new();
    let with = |name: &str, value: serde_json::Value| {
        let mut ask = stage.ask("5m");
        ask.parts[0].1.insert(name.to_owned(), value);
        ask
    };
    let plain = with("$serde_json", "[".into());
    let opened = stage.engine.open(&via("ana"), plain).await.unwrap();
    let read = AccessRequest::from_stored(&opened.to_stored());
    assert_eq!(read.unwrap(), opened);
    for kind in ["RawValue", "Number"] {
        let name = format!("$serde_json::private::{kind}");
        let mut inner = serde_json::Map::new();
        inner.insert("a".to_owned(), 1.into());
        inner.insert(name.clone(), "[".into());
        let inside = vec![serde_json::Value::from(inner)];
        for ask in [with(&name, "[".into()), with("list", inside.into())] {
            let refused = stage.engine.open(&via("cleo"), ask).await;
            let why = refused.unwrap_err().to_string();
            assert!(
                why.contains("no name may begin with $serde_json::"),
                "{why}"
            );
        }
    }
}

#[tokio::test]
async fn a_credential_cannot_be_asked_for_somebody_else() {
    let stage = Stage::with(minted(), 1);
    let mut ask = stage.ask("5m");
    ask.beneficiary = Some(id("ana"));
    let refused = stage.engine.open(&via("sven"), ask).await;
    assert!(matches!(
        refused,
        Err(EngineError::Refused(Refusal::CredentialForAnother))
    ));
}

#[tokio::test]
async fn whoever_tries_what_they_may_not_is_written_down_a_few_times_a_minute() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    for _ in 0..20 {
        let refusal = stage
            .refused("cleo", request.id, Stage::approval(&request))
            .await;
        assert_eq!(refusal, Refusal::UnknownRequest);
    }
    assert_eq!(stage.store.all_chains()["system"].len(), 8);
}

#[tokio::test]
async fn who_may_ask_for_nothing_learns_neither_what_there_is_nor_who_exists() {
    let stage = Stage::new();
    let refused = async |who: &str, ask: NewRequest| match stage.engine.open(&via(who), ask).await {
        Err(EngineError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    };
    let asking_for = |entitlement: &str| {
        let mut ask = stage.ask("999h");
        ask.parts[0].0 = entitlement.parse().unwrap();
        ask
    };
    let strip = |people: &mut BTreeMap<PrincipalId, Profile>| {
        people.get_mut(&id("cleo")).unwrap().groups.clear();
    };
    strip(&mut stage.people.profiles.lock().unwrap());
    for entitlement in ["stage/admins", "stage/nothing", "nowhere/at-all"] {
        let refusal = refused("cleo", asking_for(entitlement)).await;
        let entitlement = entitlement.parse().unwrap();
        assert_eq!(refusal, Refusal::UnknownEntitlement { entitlement });
    }
    // Ana may ask for herself; whether others exist, gone or not, she is not told.
    stage.leaves("dora");
    for other in ["bob", "dora", "nobody"] {
        let mut ask = stage.ask("30m");
        ask.beneficiary = Some(id(other));
        let refusal = refused("ana", ask).await;
        let (right, entitlement) = (Right::OnBehalfOf, "stage/admins".parse().unwrap());
        assert_eq!(refusal, Refusal::NotAllowed { right, entitlement });
    }
}

#[tokio::test]
async fn approving_and_taking_back_has_an_end_and_taking_back_none() {
    let stage = Stage::with(standing(0, 0), 2);
    let mut request = stage.open("ana", "30m").await;
    while request.chain.seq < DECISIONS_LIMIT {
        request = stage.approve("bob", &request).await;
        let taken_back = stage.say("bob", request.id, Verb::Retract).await;
        request = taken_back.unwrap();
    }
    let refused = stage.refused("bob", request.id, Stage::approval(&request));
    assert_eq!(refused.await, Refusal::TooManyDecisions);
    let deny = Verb::Deny {
        reason: "use the runbook".parse().unwrap(),
        digest: request.digest().prefix(),
    };
    let denied = stage.say("bob", request.id, deny).await.unwrap();
    assert_eq!(denied.status(), Status::Denied);
}

#[tokio::test]
async fn nobody_opens_more_than_a_thousand_requests_in_an_hour() {
    let stage = Stage::new();
    for _ in 0..OPENED_LIMIT {
        stage.open("ana", "30m").await;
    }
    let ask = stage.ask("30m");
    let refused = stage.engine.open(&via("ana"), ask.clone()).await;
    assert!(matches!(
        refused,
        Err(EngineError::Refused(Refusal::TooManyRequests {
            ceiling: OPENED_LIMIT
        }))
    ));
    stage.open("cleo", "30m").await;
    stage.clock.advance(secs(3_600));
    stage.open("ana", "30m").await;
}

#[tokio::test]
async fn who_may_read_only_their_own_has_only_their_own_read() {
    let stage = Stage::new();
    let own = stage.open("ana", "30m").await;
    stage.open("cleo", "30m").await;
    let list = async |who: &str| {
        let everything = Query {
            limit: 100,
            ..Query::default()
        };
        let listed = stage.engine.list(&via(who), everything).await.unwrap();
        listed
            .requests
            .into_iter()
            .map(|it| it.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(list("ana").await, [own.id]);
    assert_eq!(list("bob").await.len(), 2);
    assert_eq!(list("sven").await.len(), 2);
}
