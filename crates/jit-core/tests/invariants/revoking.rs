//! S2, S3, S7, L1, L2 and L5: how access goes away.

use std::sync::Arc;

use async_trait::async_trait;
use jit_core::audit::Fact;
use jit_core::engine::Verb;
use jit_core::lifecycle::{Command, Rules, SeenAway, SentAway, decide};
use jit_core::ports::{Provisioner, RequestStore};
use jit_core::provider::{Answer, Description, Presence};
use jit_core::request::{AccessRequest, Cause, End, Grant, Phase, Status};
use jit_core::{Refusal, Timestamp};
use jit_testkit::front::{Front, Meddle};
use jit_testkit::hostile::{Apply, Fault};

use jit_testkit::stage::{Stage, secs, standing, via};

#[tokio::test]
async fn s2_an_answered_delete_ends_nothing_until_the_provider_was_read_back() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    stage.say("ana", request.id, Verb::End).await.unwrap();
    // The delete arrives, its read-back does not.
    stage.provider.fail_next_read(Fault::ErrorBefore);
    stage.work().await;
    assert!(!stage.is_there(&request));
    assert_eq!(stage.status(request.id).await, Status::Revoking);
    stage.pass(2).await;
    assert_ne!(stage.status(request.id).await, Status::Revoking);
}

#[tokio::test]
async fn s3_a_record_settles_for_v_and_a_after_the_last_call_that_may_have_been_sent() {
    let mut nature = standing(40, 20);
    nature.description.pending_visible = false;
    let stage = Stage::with(nature, 1);
    let request = stage.active("10m").await;
    let send_before = request.grant().unwrap().send_before.unwrap();
    stage.say("ana", request.id, Verb::End).await.unwrap();
    stage.work().await;
    let record = stage.load(request.id).await;
    let Phase::Settling { watch, .. } = &record.grant().unwrap().phase else {
        panic!("{:?}", record.status());
    };
    assert_eq!(
        watch.until,
        send_before + secs(60),
        "V + A after the later of the two"
    );
    stage.clock.set(watch.until - secs(1));
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Settling);
    stage.clock.set(watch.until);
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Closed);
}

/// Ends a grant at a provider that takes no call late, so long before or after its grant call could
/// last be sent; the status, and what the audit says of the end.
async fn ended_at(after_last_call: i64) -> (Status, Vec<Fact>) {
    let stage = Stage::with(standing(0, 0), 1);
    let request = stage.active("10m").await;
    let last_call = request.grant().unwrap().send_before.unwrap();
    let off = secs(after_last_call.unsigned_abs());
    stage.clock.set(match after_last_call < 0 {
        true => last_call - off,
        false => last_call + off,
    });
    stage.say("ana", request.id, Verb::End).await.unwrap();
    stage.work().await;
    let events = stage.store.events(request.id).await.unwrap();
    let facts = events.iter().map(|it| it.event().unwrap().event.what);
    let ending = facts.skip_while(|it| !matches!(it, Fact::Ending { .. }));
    (stage.status(request.id).await, ending.collect())
}

#[tokio::test]
async fn s3_what_nothing_can_bring_back_is_over_with_its_read_back_and_only_then() {
    let (status, facts) = ended_at(0).await;
    assert_eq!(status, Status::Closed);
    assert!(
        matches!(
            facts.as_slice(),
            [
                Fact::Ending { .. },
                Fact::RevokeIntended { .. },
                Fact::RevokeAnswered {
                    read_back: Some(Presence::Absent),
                    ..
                },
                Fact::Settling { .. },
                Fact::Closed { .. }
            ]
        ),
        "{facts:?}"
    );
    // Its grant call might still be sent.
    let (status, facts) = ended_at(-1).await;
    assert_eq!(status, Status::Settling, "{facts:?}");
}

#[tokio::test]
async fn s3_a_read_back_that_began_before_the_last_call_could_be_sent_closes_nothing() {
    let stage = Stage::with(standing(0, 0), 1);
    let request = stage.active("10m").await;
    let last_call = request.grant().unwrap().send_before.unwrap();
    stage.say("ana", request.id, Verb::End).await.unwrap();
    // Its delete arrives, what came of it is not heard.
    stage.provider.fail_next_read(Fault::ErrorBefore);
    stage.work().await;
    let record = stage.load(request.id).await;
    assert_eq!(record.status(), Status::Revoking);
    let rules = Rules {
        policy: stage.engine.policy(),
        catalog: stage.engine.catalog(),
    };
    let answered = |seen_at| Command::RevokeAnswered {
        epoch: record.grant().unwrap().epoch,
        attempt: 1,
        answer: Some(Ok(Answer::Applied)),
        read_back: Ok(Presence::Absent),
        seen_at,
    };
    // Both are answered at the same instant, when no call can be sent any more.
    for (seen_at, status) in [
        (last_call - secs(1), Status::Settling),
        (last_call, Status::Closed),
    ] {
        let now = last_call + secs(1);
        let said = decide(rules, &record, &answered(seen_at), now).unwrap();
        assert_eq!(said.changes[0].record.status(), status, "{seen_at}");
    }
}

/// The provider of the stage, as another release declares it: calls are refused at once when late.
struct Hasty(Arc<dyn Provisioner>);

#[async_trait]
impl Meddle for Hasty {
    fn behind(&self) -> &dyn Provisioner {
        &*self.0
    }
    fn describe(&self) -> Description {
        Description {
            accepted_within: secs(0),
            ..self.0.describe()
        }
    }
}

#[tokio::test]
async fn s3_a_newcomer_settles_by_the_windows_of_whom_it_took_over_too() {
    let stage = Stage::with(standing(100, 0), 1);
    let first = stage.active("10m").await;
    let sent = first.grant().unwrap().slot_send_before.unwrap();
    let handle = Arc::new(stage.provider.as_seen_by(stage.clock.clone()));
    let stage = stage.around(Arc::new(Front(Hasty(handle))));
    let second = stage.active("20m").await;
    assert_eq!(stage.status(first.id).await, Status::Closed);
    stage.say("ana", second.id, Verb::End).await.unwrap();
    stage.work().await;
    let record = stage.load(second.id).await;
    let Phase::Settling { watch, .. } = &record.grant().unwrap().phase else {
        panic!("{:?}", record.status());
    };
    assert_eq!(watch.until, sent + secs(100));
}

/// Section 4.2 of the lifecycle: an old delete may land until its own windows are over.
#[tokio::test]
async fn s4_a_second_attempt_of_a_newcomer_waits_for_the_deletes_of_whom_it_took_over_too() {
    let stage = Stage::with(standing(100, 0), 1);
    let first = stage.active("10m").await;
    stage.say("ana", first.id, Verb::End).await.unwrap();
    stage.work().await;
    let left = stage.load(first.id).await;
    let left = left.grant().unwrap().slot_left_revoking_at.unwrap();
    let handle = Arc::new(stage.provider.as_seen_by(stage.clock.clone()));
    let stage = stage.around(Arc::new(Front(Hasty(handle))));
    let second = stage.open("ana", "20m").await;
    stage.approve("bob", &second).await;
    stage.provider.fail_next_write(Fault::ErrorBefore);
    stage.work().await;
    assert_eq!(stage.status(second.id).await, Status::Provisioning);
    stage.pass(3).await;
    let record = stage.load(second.id).await;
    assert_eq!(record.status(), Status::Active);
    let grant = record.grant().unwrap();
    assert!(grant.epoch > 1, "there was no second attempt");
    assert!(
        grant.rechecks.contains(&(left + secs(130))),
        "{:?}",
        grant.rechecks
    );
}

#[tokio::test]
async fn s3_a_late_effect_that_is_seen_while_settling_is_revoked() {
    let stage = Stage::with(standing(40, 0), 1);
    let request = stage.open("ana", "10m").await;
    stage.approve("bob", &request).await;
    stage.provider.fail_next_write(Fault::Late);
    stage.work().await;
    stage.say("ana", request.id, Verb::End).await.unwrap();
    stage.pass(200).await;
    let events = stage.store.events(request.id).await.unwrap();
    let facts: Vec<Fact> = events
        .iter()
        .map(|it| it.event().unwrap().event.what)
        .collect();
    assert!(!stage.is_there(&request), "{facts:#?}");
    assert_eq!(stage.status(request.id).await, Status::Closed);
}

#[tokio::test]
async fn s7_revoking_needs_neither_the_directory_nor_the_policy_nor_the_people() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    *stage.people.is_down.lock().unwrap() = true;
    stage.people.profiles.lock().unwrap().clear();
    // Another process, with a policy of its own, finds it due.
    let other = stage.other(stage.clock.clone(), 3);
    stage.clock.advance(secs(601));
    other.tend(request.id).await.unwrap();
    assert!(!stage.is_there(&request));
}

#[tokio::test]
async fn s11_a_beneficiary_who_became_inactive_loses_active_access() {
    let stage = Stage::new();
    let request = stage.active("1h").await;
    stage.leaves("ana");
    stage.pass(301).await;
    assert!(!stage.is_there(&request));
    stage.pass(60).await;
    let record = stage.load(request.id).await;
    let end = End::Gone {
        cause: Cause::Revoked,
    };
    assert_eq!(record.grant().unwrap().phase, Phase::Closed { end });
}

#[tokio::test]
async fn l1_access_ends_at_its_end_and_not_before() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    stage
        .clock
        .set(request.grant().unwrap().expires_at - secs(1));
    stage.work().await;
    assert!(stage.is_there(&request));
    stage.clock.advance(secs(1));
    stage.work().await;
    assert!(!stage.is_there(&request));
}

#[tokio::test]
async fn l2_a_revoke_is_tried_for_ever_and_at_most_a_minute_apart() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    stage.clock.set(request.grant().unwrap().expires_at);
    stage.provider.outage_until(stage.now() + secs(7_200));
    let mut tries = vec![];
    for _ in 0..7_100 {
        let before = stage.load(request.id).await.version;
        stage.pass(1).await;
        if stage.load(request.id).await.version > before {
            tries.push(stage.now());
        }
    }
    let longest = tries
        .windows(2)
        .map(|pair| pair[1].since(pair[0]))
        .max()
        .unwrap();
    assert!(longest <= secs(61), "{longest:?}");
    assert!(tries.len() > 100, "{}", tries.len());
    stage.pass(200).await;
    assert!(!stage.is_there(&request));
    // A long series of like failures is few events.
    let events = stage.store.events(request.id).await.unwrap();
    assert!(events.len() < 40, "{}", events.len());
}

#[tokio::test]
async fn l1_what_is_being_applied_is_looked_at_every_three_seconds_however_long_it_takes() {
    let mut nature = standing(0, 60);
    nature.apply = Apply::Later;
    let stage = Stage::with(nature, 1);
    let request = stage.open("ana", "10m").await;
    stage.approve("bob", &request).await;
    stage.pass(120).await;
    assert_eq!(stage.status(request.id).await, Status::Active);
    let record = stage.load(request.id).await;
    stage.clock.set(record.grant().unwrap().expires_at);
    stage.work().await;
    let mut looks = 0;
    while stage.status(request.id).await == Status::Revoking {
        let grant = stage.load(request.id).await.grant().unwrap().clone();
        assert!(grant.next_at <= stage.now() + secs(3), "{grant:?}");
        assert_eq!(grant.failures, 0, "to be applied is no failure");
        stage.pass(1).await;
        looks += 1;
        assert!(looks <= 65, "it is found gone soon after it is");
    }
    assert!(looks > 3, "it takes a while to be applied");
    assert!(!stage.is_there(&request));
}

#[tokio::test]
async fn l5_an_ending_without_progress_is_stuck_paged_and_still_tried() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    stage.clock.set(request.grant().unwrap().expires_at);
    stage.provider.outage_until(stage.now() + secs(300));
    stage.pass(59).await;
    assert!(
        stage
            .load(request.id)
            .await
            .grant()
            .unwrap()
            .stuck
            .is_none()
    );
    stage.pass(2).await;
    assert!(
        stage
            .load(request.id)
            .await
            .grant()
            .unwrap()
            .stuck
            .is_some()
    );
    let pages = stage.pager.0.lock().unwrap().clone();
    assert_eq!(pages.len(), 1);
    assert_eq!(pages[0].request, Some(request.id));
    stage.pass(400).await;
    assert!(!stage.is_there(&request));
    assert!(
        stage
            .load(request.id)
            .await
            .grant()
            .unwrap()
            .stuck
            .is_none()
    );
    assert_eq!(stage.pager.0.lock().unwrap().len(), 1);
}

/// What a look showed, so long after the end of this grant, and of which ending.
fn seen(record: &AccessRequest, after: i64, epoch: Option<u32>) -> SeenAway {
    let grant = record.grant().unwrap();
    SeenAway {
        presence: Presence::Absent,
        seen_at: Timestamp::from_unix_micros(grant.expires_at.unix_micros() + after * 1_000_000),
        epoch,
    }
}

/// The record once it is told what was done without the store.
fn told(stage: &Stage, record: &AccessRequest, read_back: SeenAway) -> (Grant, Vec<Fact>) {
    let sent = SentAway {
        from: record.grant().unwrap().expires_at,
        until: stage.now(),
        deletes: 1,
        answer: Ok(Answer::Accepted),
        read_back: Some(read_back),
    };
    let rules = Rules {
        policy: stage.engine.policy(),
        catalog: stage.engine.catalog(),
    };
    let told = Command::StoreAway { sent, owned: None };
    let said = decide(rules, record, &told, stage.now()).unwrap();
    let change = &said.changes[0];
    let facts = change.events.iter();
    let facts = facts.map(|it| it.event().unwrap().event.what).collect();
    (change.record.grant().unwrap().clone(), facts)
}

#[tokio::test]
async fn l5_an_absence_that_was_seen_in_time_without_the_store_counts_from_the_end_on() {
    let stage = Stage::with(standing(40, 20), 1);
    let active = stage.active("10m").await;
    let grant = active.grant().unwrap();
    let (end, next) = (grant.expires_at, Some(grant.epoch + 1));
    stage.clock.set(end + secs(300));
    // L5: a minute, and twice as long as the provider may take, or once where nothing of it was under way.
    for in_time in [0, 79] {
        let (grant, facts) = told(&stage, &active, seen(&active, in_time, next));
        let Phase::Settling { watch, .. } = &grant.phase else {
            panic!("{facts:?}");
        };
        // S3 counts from when it is known, and somebody looks now.
        assert_eq!(watch.until, stage.now() + secs(40));
        assert_eq!(grant.next_at, stage.now());
        let expired = Fact::Ending {
            cause: Cause::Expired,
            reason: None,
        };
        assert_eq!(facts[1], expired);
    }
    // It came late, was there, or belongs to another ending: it ends as always.
    let mut there = seen(&active, 2, next);
    there.presence = Presence::Present;
    let other = next.map(|epoch| epoch + 1);
    for worthless in [
        seen(&active, 80, next),
        there,
        seen(&active, 2, other),
        seen(&active, 2, None),
    ] {
        let (grant, facts) = told(&stage, &active, worthless);
        assert_eq!(
            (grant.phase, facts.len()),
            (Phase::Active, 1),
            "{worthless:?}"
        );
    }
    // A grant whose time is not up ends by nothing that others sent.
    stage.clock.set(end - secs(1));
    let (grant, facts) = told(&stage, &active, seen(&active, -2, next));
    assert_eq!((grant.phase, facts.len()), (Phase::Active, 1), "{facts:?}");
}

#[tokio::test]
async fn l5_an_absence_from_before_it_came_back_is_worth_nothing() {
    let stage = Stage::with(standing(40, 20), 1);
    let request = stage.active("10m").await;
    let first = request.grant().unwrap().epoch + 1;
    stage.clock.set(request.grant().unwrap().expires_at);
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Settling);
    stage.pass(10).await;
    let part = request.parts.first();
    stage.provider.foreign_grant(&part.target, &part.parameters);
    for _ in 0..5 {
        stage.provider.fail_next_write(Fault::ErrorBefore);
    }
    stage.pass(6).await;
    let record = stage.load(request.id).await;
    assert_eq!(record.status(), Status::Revoking);
    let now = record.grant().unwrap().epoch;
    assert!(now > first);
    // By a clock that is ahead it was seen after it had come back.
    let (grant, facts) = told(&stage, &record, seen(&record, 60, Some(first)));
    assert!(matches!(grant.phase, Phase::Revoking { .. }), "{facts:?}");
    let (grant, facts) = told(&stage, &record, seen(&record, 60, Some(now)));
    assert!(matches!(grant.phase, Phase::Settling { .. }), "{facts:?}");
}

#[tokio::test]
async fn l5_a_provider_that_refuses_three_times_is_stuck_at_once() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    stage.clock.set(request.grant().unwrap().expires_at);
    stage.provider.forbidden_until(stage.now() + secs(300));
    stage.pass(12).await;
    assert!(
        stage
            .load(request.id)
            .await
            .grant()
            .unwrap()
            .stuck
            .is_some()
    );
    stage.pass(420).await;
    assert_eq!(stage.status(request.id).await, Status::Closed);
}

#[tokio::test]
async fn a_third_person_revokes_only_with_the_right() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    let verb = Verb::Revoke {
        reason: Some("incident over".parse().unwrap()),
    };
    let refused = stage.refused("bob", request.id, verb.clone()).await;
    assert!(matches!(refused, Refusal::NotAllowed { .. }));
    let revoking = stage.say("sven", request.id, verb.clone()).await.unwrap();
    assert_eq!(revoking.grant().unwrap().expires_at, stage.now());
    stage.work().await;
    assert!(!stage.is_there(&request));
    let again = stage.refused("sven", request.id, verb).await;
    assert!(matches!(
        again,
        Refusal::AlreadyEnding | Refusal::AlreadyOver { .. }
    ));
}

#[tokio::test]
async fn s16_a_delete_that_is_answered_after_another_worker_went_on_has_its_outcome() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    stage.say("ana", request.id, Verb::End).await.unwrap();
    stage.work().await;
    let record = stage.load(request.id).await;
    assert_eq!(record.status(), Status::Settling);
    let rules = Rules {
        policy: stage.engine.policy(),
        catalog: stage.engine.catalog(),
    };
    let late = Command::RevokeAnswered {
        epoch: record.grant().unwrap().epoch,
        attempt: 7,
        answer: Some(Ok(Answer::Applied)),
        read_back: Ok(Presence::Absent),
        seen_at: stage.now(),
    };
    let said = decide(rules, &record, &late, stage.now()).unwrap();
    let change = &said.changes[0];
    assert_eq!(change.record.stage, record.stage, "it changes nothing");
    let event = change.events[0].event().unwrap();
    let answered = matches!(event.event.what, Fact::RevokeAnswered { attempt: 7, .. });
    assert!(answered, "{event:?}");
}

/// A credential that cannot be seen or taken back, and ends at exactly the time it was made for.
fn sealed_minter() -> jit_testkit::hostile::Nature {
    let mut nature = jit_testkit::stage::minted();
    nature.description.native_expiry = jit_core::provider::NativeExpiry::Exact;
    nature.description.listable = false;
    nature.description.revocable = false;
    nature
}

#[tokio::test]
async fn s2_a_credential_that_only_its_own_clock_ends_is_not_closed_before_that() {
    let stage = Stage::with(sealed_minter(), 1);
    let request = stage.open("ana", "1h").await;
    stage.approve("bob", &request).await;
    let collected = stage.engine.collect(&via("ana"), request.id).await.unwrap();
    let secret = collected.secret.expose().to_owned();
    stage.pass(300).await;
    stage.say("ana", request.id, Verb::End).await.unwrap();
    stage.pass(60).await;
    assert!(stage.provider.ledger().works(&secret));
    assert_eq!(stage.status(request.id).await, Status::Settling);
    // Our clock may be five seconds ahead of the provider's.
    let ends = request.opened_at + secs(3_600);
    stage.clock.set(ends + secs(4));
    stage.work().await;
    assert!(!stage.provider.ledger().works(&secret));
    assert_eq!(stage.status(request.id).await, Status::Settling);
    stage.clock.set(ends + secs(5));
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Closed);
    assert!(
        stage.pager.0.lock().unwrap().is_empty(),
        "nobody is paged for that"
    );
}

#[tokio::test]
async fn l2_a_failed_delete_is_tried_again_also_where_the_provider_would_end_it_later() {
    let mut nature = sealed_minter();
    nature.description.revocable = true;
    let stage = Stage::with(nature, 1);
    let request = stage.open("ana", "1h").await;
    stage.approve("bob", &request).await;
    let collected = stage.engine.collect(&via("ana"), request.id).await.unwrap();
    let secret = collected.secret.expose().to_owned();
    stage.say("ana", request.id, Verb::End).await.unwrap();
    stage.provider.fail_next_write(Fault::ErrorBefore);
    stage.work().await;
    assert!(stage.provider.ledger().works(&secret));
    stage.pass(10).await;
    assert!(!stage.provider.ledger().works(&secret));
}

#[tokio::test]
async fn s16_an_accepted_delete_is_written_down_whichever_try_it_was() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    stage.say("ana", request.id, Verb::End).await.unwrap();
    stage.provider.fail_next_write(Fault::ErrorBefore);
    stage.provider.fail_next_write(Fault::ErrorBefore);
    stage.pass(20).await;
    let events = stage.store.events(request.id).await.unwrap();
    let accepted = events.iter().any(|sealed| {
        let answer = jit_core::audit::CallResult::Applied;
        matches!(sealed.event().unwrap().event.what,
            Fact::RevokeAnswered { attempt: 3, answer: it, .. } if it == answer)
    });
    assert!(accepted, "{events:#?}");
}
