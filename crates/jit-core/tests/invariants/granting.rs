//! S1, S4, S11, S15 and the minted kind: how access comes to be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jit_core::Refusal;
use jit_core::Timestamp;
use jit_core::catalog::Entitlement;
use jit_core::engine::{EngineError, Verb};
use jit_core::ports::{ErrorKind, GrantCall, Minted, PortError, Provisioner, RequestStore};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, NativeExpiry, Parameters, Resolved, Target};
use jit_core::request::{CancelReason, Phase, Status};
use jit_testkit::front::{Front, Meddle};
use jit_testkit::hostile::{Fault, HostileHandle};
use jit_testkit::store::{CommitFault, MemoryStore};
use jit_testkit::time::ManualClock;

use jit_testkit::stage::{Stage, minted, secs, standing, via};

/// Looks into the store at each grant call.
struct Witness {
    inner: HostileHandle,
    store: Arc<MemoryStore>,
    seen: Arc<Mutex<Vec<Status>>>,
}

#[async_trait]
impl Meddle for Witness {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let record = self.store.load(call.request).await?.unwrap();
        let grant = record.grant().unwrap();
        assert_eq!(grant.send_before, Some(call.send_before));
        assert_eq!(grant.expires_at, call.expires_at);
        assert_eq!(record.parts.first().target, *call.target);
        assert!(call.send_before <= call.expires_at);
        self.seen.lock().unwrap().push(record.status());
        self.inner.grant(call).await
    }
}

#[tokio::test]
async fn s1_the_intent_is_committed_before_the_call_is_sent() {
    let stage = Stage::new();
    let seen = Arc::new(Mutex::new(vec![]));
    let inner = stage.provider.as_seen_by(stage.clock.clone());
    let witness = Front(Witness {
        inner,
        store: stage.store.clone(),
        seen: seen.clone(),
    });
    let stage = stage.around(Arc::new(witness));
    let request = stage.active("30m").await;
    assert_eq!(*seen.lock().unwrap(), [Status::Provisioning]);
    assert!(stage.is_there(&request));
}

/// Keeps until when a grant call may be sent.
struct Fence {
    inner: HostileHandle,
    send_before: Arc<Mutex<Option<Timestamp>>>,
}

#[async_trait]
impl Meddle for Fence {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        *self.send_before.lock().unwrap() = Some(call.send_before);
        self.inner.grant(call).await
    }
}

#[tokio::test]
async fn s3_a_process_whose_clock_is_behind_fences_its_calls_by_that_clock() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    // Three seconds behind whoever committed the approval: it may grant.
    let slow = Arc::new(ManualClock::at(stage.now() - secs(3)));
    let send_before = Arc::new(Mutex::new(None));
    let fence = Front(Fence {
        inner: stage.provider.as_seen_by(slow.clone()),
        send_before: send_before.clone(),
    });
    let stage = Stage {
        clock: slow,
        ..stage
    };
    let stage = stage.around(Arc::new(fence));
    stage.work().await;
    let kept = stage.load(request.id).await;
    assert_eq!(kept.status(), Status::Active);
    let kept = kept.grant().unwrap().send_before.unwrap();
    let told = send_before.lock().unwrap().unwrap();
    assert_eq!(
        told,
        kept - secs(3),
        "the adapter looks at its own clock alone"
    );
}

#[tokio::test]
async fn s4_access_that_others_gave_is_refused_and_never_taken_away() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    // It appears between the ask and the lease.
    stage
        .provider
        .foreign_grant(&Stage::target(&request), &Parameters::new());
    stage.approve("bob", &request).await;
    stage.work().await;
    let record = stage.load(request.id).await;
    let why = CancelReason::AlreadyStands;
    assert_eq!(record.grant().unwrap().phase, Phase::Cancelled { why });
    let again = stage.engine.open(&via("ana"), stage.ask("30m")).await;
    assert!(matches!(
        again,
        Err(EngineError::Refused(Refusal::AlreadyStands))
    ));
    stage.pass(60).await;
    assert!(stage.is_there(&request));
    assert!(stage.provider.ledger().calls().is_empty());
}

#[tokio::test]
async fn s4_a_longer_request_takes_over_without_a_gap() {
    let stage = Stage::new();
    let first = stage.active("10m").await;
    stage.clock.advance(secs(300));
    let second = stage.open("ana", "30m").await;
    stage.approve("bob", &second).await;
    stage.work().await;
    assert_eq!(stage.status(first.id).await, Status::Closed);
    assert_eq!(stage.status(second.id).await, Status::Active);
    let ended = stage.refused("ana", first.id, Verb::End).await;
    assert_eq!(ended, Refusal::Superseded { by: second.id });
    // Nothing was granted a second time, and nothing was taken away in between.
    stage.pass(400).await;
    assert!(stage.is_there(&second));
    assert_eq!(stage.provider.ledger().calls().len(), 1);
    stage.pass(1_500).await;
    assert_eq!(stage.status(second.id).await, Status::Closed);
    assert!(!stage.is_there(&second));
}

#[tokio::test]
async fn s4_a_newcomer_waits_while_the_slot_is_being_cleared() {
    let stage = Stage::new();
    let first = stage.active("10m").await;
    let second = stage.open("ana", "30m").await;
    stage.provider.outage_until(stage.now() + secs(20));
    stage.say("ana", first.id, Verb::End).await.unwrap();
    stage.approve("bob", &second).await;
    stage.pass(10).await;
    assert_eq!(stage.status(first.id).await, Status::Revoking);
    assert_eq!(stage.status(second.id).await, Status::Approved);
    stage.pass(120).await;
    assert_eq!(stage.status(first.id).await, Status::Closed);
    assert_eq!(stage.status(second.id).await, Status::Active);
}

#[tokio::test]
async fn s4_a_grant_taken_over_that_then_goes_missing_fails_and_is_told() {
    let stage = Stage::new();
    let first = stage.active("10m").await;
    let second = stage.open("ana", "30m").await;
    stage.approve("bob", &second).await;
    stage.work().await;
    assert_eq!(stage.status(first.id).await, Status::Closed);
    stage
        .provider
        .foreign_revoke(&Stage::target(&first), &Parameters::new());
    stage.pass(61).await;
    assert!(stage.status(second.id).await.is_over() || stage.status(second.id).await.is_live());
    stage.pass(60).await;
    let record = stage.load(second.id).await;
    let cause = jit_core::request::Cause::Failed;
    let end = jit_core::request::End::Gone { cause };
    assert_eq!(record.grant().unwrap().phase, Phase::Closed { end });
}

#[tokio::test]
async fn a_reply_that_says_nothing_was_done_is_tried_again_before_provision_by() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    stage.provider.fail_next_write(Fault::ErrorBefore);
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Provisioning);
    stage.pass(5).await;
    let record = stage.load(request.id).await;
    assert_eq!(record.status(), Status::Active);
    assert_eq!(record.grant().unwrap().epoch, 2);
}

#[tokio::test]
async fn a_lost_reply_is_verified_and_not_sent_again() {
    let stage = Stage::new();
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    stage.provider.fail_next_write(Fault::LostReply);
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Provisioning);
    stage.pass(29).await;
    assert_eq!(stage.status(request.id).await, Status::Provisioning);
    stage.pass(2).await;
    assert_eq!(stage.status(request.id).await, Status::Active);
    assert_eq!(stage.provider.ledger().calls().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_provisioned_in_time_is_given_up() {
    let stage = Stage::new();
    let request = stage.open("ana", "2m").await;
    stage.approve("bob", &request).await;
    stage.provider.outage_until(stage.now() + secs(200));
    stage.pass(89).await;
    assert_eq!(stage.status(request.id).await, Status::Approved);
    stage.pass(1).await;
    let record = stage.load(request.id).await;
    let why = CancelReason::NotProvisioned;
    assert_eq!(record.grant().unwrap().phase, Phase::Cancelled { why });
}

#[tokio::test]
async fn s15_a_credential_is_given_once_and_kept_nowhere() {
    let stage = Stage::with(minted(), 1);
    let request = stage.open("ana", "30m").await;
    let early = stage.engine.collect(&via("ana"), request.id).await;
    assert!(matches!(
        early,
        Err(EngineError::Refused(Refusal::NotCollectable { .. }))
    ));
    stage.approve("bob", &request).await;
    stage.pass(5).await;
    assert_eq!(
        stage.status(request.id).await,
        Status::Approved,
        "a worker never mints"
    );
    let other = stage.engine.collect(&via("bob"), request.id).await;
    assert!(matches!(
        other,
        Err(EngineError::Refused(Refusal::NotTheAsker))
    ));
    let collected = stage.engine.collect(&via("ana"), request.id).await.unwrap();
    let secret = collected.secret.expose().to_owned();
    assert!(stage.provider.ledger().works(&secret));
    assert!(!format!("{collected:?}").contains(&secret));
    let again = stage.engine.collect(&via("ana"), request.id).await;
    assert!(matches!(
        again,
        Err(EngineError::Refused(Refusal::AlreadyCollected))
    ));
    let stored: String = stage
        .store
        .stored()
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let audit = format!("{:?}", stage.store.all_chains());
    assert!(!stored.contains(&secret) && !audit.contains(&secret));
    stage.pass(1_802).await;
    assert!(!stage.provider.ledger().works(&secret));
}

#[tokio::test]
async fn a_lost_mint_reply_is_never_minted_again_and_what_it_made_is_revoked() {
    let stage = Stage::with(minted(), 1);
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    stage.provider.fail_next_write(Fault::LostReply);
    let lost = stage.engine.collect(&via("ana"), request.id).await;
    assert!(matches!(lost, Err(EngineError::Failed(_))));
    let again = stage.engine.collect(&via("ana"), request.id).await;
    assert!(matches!(
        again,
        Err(EngineError::Refused(Refusal::AlreadyCollected))
    ));
    assert_eq!(stage.provider.ledger().minted(request.id).len(), 1);
    stage.pass(40).await;
    let intervals = stage.provider.ledger().minted(request.id);
    assert!(
        intervals[0].until.is_some(),
        "nobody holds it, so it is taken back"
    );
}

#[tokio::test]
async fn a_credential_whose_saving_is_in_doubt_is_given_to_nobody_and_taken_back() {
    use CommitFault::{LostCall, LostReply};
    // The save of the outcome fails; then also the save of what is to be taken back.
    for faults in [
        &[LostCall][..],
        &[LostReply],
        &[LostCall, LostCall],
        &[LostCall, LostReply],
    ] {
        let stage = Stage::with(minted(), 1);
        let request = stage.open("ana", "30m").await;
        stage.approve("bob", &request).await;
        let after_mint = Front(AfterMint {
            inner: stage.provider.as_seen_by(stage.clock.clone()),
            store: stage.store.clone(),
            faults: faults.to_vec(),
        });
        let stage = stage.around(Arc::new(after_mint));
        let collected = stage.engine.collect(&via("ana"), request.id).await;
        assert!(
            matches!(collected, Err(EngineError::Failed(_))),
            "{faults:?}: {collected:?}"
        );
        let again = stage.engine.collect(&via("ana"), request.id).await;
        assert!(
            matches!(again, Err(EngineError::Refused(Refusal::AlreadyCollected))),
            "{faults:?}: {again:?}"
        );
        stage.pass(40).await;
        let minted = stage.provider.ledger().minted(request.id);
        assert_eq!(minted.len(), 1, "{faults:?}: it is minted once");
        assert!(
            minted[0].until.is_some(),
            "{faults:?}: nobody holds it, so it is taken back long before its end"
        );
        stage.pass(40).await;
        assert_eq!(
            stage.status(request.id).await,
            Status::Closed,
            "{faults:?}: the record says that it is over"
        );
    }
}

/// Once a credential was made, the next commits go wrong.
struct AfterMint {
    inner: HostileHandle,
    store: Arc<MemoryStore>,
    faults: Vec<CommitFault>,
}

#[async_trait]
impl Meddle for AfterMint {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        let minted = self.inner.mint(call).await;
        self.store.fail_next_commits(self.faults.clone());
        minted
    }
}

#[tokio::test]
async fn a_mint_that_did_nothing_may_be_collected_again_until_collect_by() {
    let stage = Stage::with(minted(), 1);
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    for nothing_done in [Fault::ErrorBefore, Fault::Forbidden, Fault::Throttled] {
        stage.provider.fail_next_write(nothing_done);
        assert!(stage.engine.collect(&via("ana"), request.id).await.is_err());
    }
    assert!(stage.engine.collect(&via("ana"), request.id).await.is_ok());

    let unused = stage.open("cleo", "30m").await;
    stage.approve("bob", &unused).await;
    stage.clock.advance(secs(600));
    let late = stage.engine.collect(&via("cleo"), unused.id).await;
    assert!(late.is_err());
    stage.work().await;
    let why = CancelReason::NotCollected;
    let record = stage.load(unused.id).await;
    assert_eq!(record.grant().unwrap().phase, Phase::Cancelled { why });
}

/// A minter that does not say when its credentials end, and knows some things no more.
struct Silent {
    inner: HostileHandle,
    knows: bool,
}

#[async_trait]
impl Meddle for Silent {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        if !self.knows {
            return Err(PortError::nothing_done(
                "silent",
                "resolve",
                ErrorKind::NotFound,
            ));
        }
        let inner = &self.inner;
        inner.resolve(beneficiary, entitlement, parameters).await
    }
    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        let minted = self.inner.mint(call).await?;
        Ok(Minted {
            ends_at: None,
            ..minted
        })
    }
}

/// A minter that nothing takes back, whose credentials live for so long; residual ceiling 60 s.
fn stubborn(life: u64) -> Stage {
    let mut nature = minted();
    nature.description.native_expiry = NativeExpiry::AtMost(secs(life));
    nature.description.revocable = false;
    nature.description.listable = false;
    nature.description.applied_within = secs(0);
    nature.description.accepted_within = secs(0);
    Stage::with(nature, 1)
}

fn silent(stage: Stage, knows: bool) -> Stage {
    let inner = stage.provider.as_seen_by(stage.clock.clone());
    stage.around(Arc::new(Front(Silent { inner, knows })))
}

#[tokio::test]
async fn s15_what_may_outlive_its_end_by_more_than_the_tier_allows_is_not_opened() {
    // Ten minutes are asked for, and a minute more is allowed.
    stubborn(660).open("ana", "10m").await;
    let above = stubborn(661);
    let refused = above.engine.open(&via("ana"), above.ask("10m")).await;
    assert!(
        matches!(
            refused,
            Err(EngineError::Refused(Refusal::ResidualAboveCeiling { residual, ceiling, .. }))
                if residual == secs(61) && ceiling == secs(60)
        ),
        "{refused:?}"
    );
    // A provider that says so itself.
    for (residual, fits) in [(60, true), (61, false)] {
        let mut nature = standing(0, 0);
        nature.description.residual = secs(residual);
        let stage = Stage::with(nature, 1);
        let opened = stage.engine.open(&via("ana"), stage.ask("10m")).await;
        assert_eq!(opened.is_ok(), fits, "{residual}: {opened:?}");
    }
}

/// A provider that finds out for each access how long its sessions live on.
struct Measured {
    inner: HostileHandle,
    residual: Arc<AtomicU64>,
}

#[async_trait]
impl Meddle for Measured {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let inner = &self.inner;
        let resolved = inner.resolve(beneficiary, entitlement, parameters).await?;
        Ok(Resolved {
            residual: Some(secs(self.residual.load(Ordering::Relaxed))),
            ..resolved
        })
    }
}

fn measured(residual: &Arc<AtomicU64>) -> Stage {
    let stage = Stage::new();
    let inner = stage.provider.as_seen_by(stage.clock.clone());
    let residual = residual.clone();
    stage.around(Arc::new(Front(Measured { inner, residual })))
}

#[tokio::test]
async fn f2_the_residual_of_this_very_access_is_recorded_and_capped_by_the_tier() {
    for (residual, fits) in [(60, true), (61, false)] {
        let stage = measured(&Arc::new(AtomicU64::new(residual)));
        let opened = stage.engine.open(&via("ana"), stage.ask("10m")).await;
        assert_eq!(opened.is_ok(), fits, "{residual}: {opened:?}");
        if let Ok(request) = opened {
            assert_eq!(request.parts.first().provider.residual, secs(residual));
        }
    }
}

#[tokio::test]
async fn f2_sessions_that_would_live_on_longer_than_was_approved_are_not_granted() {
    for (later, status) in [(30, Status::Active), (31, Status::Cancelled)] {
        let residual = Arc::new(AtomicU64::new(30));
        let stage = measured(&residual);
        let request = stage.open("ana", "10m").await;
        stage.approve("bob", &request).await;
        residual.store(later, Ordering::Relaxed);
        stage.work().await;
        assert_eq!(stage.status(request.id).await, status, "{later}");
    }
}

#[tokio::test]
async fn s15_a_credential_that_outlives_the_ceiling_is_handed_to_nobody() {
    // An approver made it shorter than what the credential lives.
    for (shorter, given) in [("9m", false), ("10m", true)] {
        let stage = silent(stubborn(625), true);
        let request = stage.open("ana", "10m").await;
        let approve = Verb::Approve {
            ttl: Some(shorter.parse().unwrap()),
            digest: request.digest().prefix(),
        };
        stage.say("bob", request.id, approve).await.unwrap();
        let collected = stage.engine.collect(&via("ana"), request.id).await;
        assert_eq!(collected.is_ok(), given, "{shorter}: {collected:?}");
        if !given {
            assert!(
                matches!(
                    collected,
                    Err(EngineError::Refused(Refusal::CredentialOutlives { .. }))
                ),
                "{collected:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_the_provider_does_not_know_is_refused() {
    let stage = silent(Stage::with(minted(), 1), false);
    let refused = stage.engine.open(&via("ana"), stage.ask("10m")).await;
    assert!(
        matches!(
            refused,
            Err(EngineError::Refused(Refusal::NotGrantable { .. }))
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn s11_what_others_take_over_the_slot_with_is_judged_again_at_the_lease() {
    let stage = Stage::with(standing(0, 0), 1);
    let request = stage.open("ana", "30m").await;
    stage.approve("bob", &request).await;
    stage.leaves("ana");
    stage.work().await;
    let why = CancelReason::NoLongerEligible;
    let record = stage.load(request.id).await;
    assert_eq!(record.grant().unwrap().phase, Phase::Cancelled { why });
}

#[tokio::test]
async fn s4_a_late_effect_and_a_newcomer_cannot_both_have_the_slot() {
    use jit_core::lifecycle::{Command, GrantAnswer, Owned, Rules, decide};
    use jit_core::ports::{Commit, CommitError};

    let stage = Stage::new();
    let first = stage.active("10m").await;
    stage.say("ana", first.id, Verb::End).await.unwrap();
    stage.pass(60).await;
    let closed = stage.load(first.id).await;
    assert_eq!(closed.status(), Status::Closed);
    // A worker reads the closed record and its slot, to save a reply that came late …
    let slot = stage
        .store
        .slot(&closed.parts.first().slot_key())
        .await
        .unwrap()
        .unwrap();
    let owner = Some(closed.clone());
    let late = Command::GrantAnswered(Box::new(GrantAnswer {
        epoch: 1,
        answer: Ok(Answer::Applied),
        owned: Some(Owned { slot, owner }),
    }));
    // … and before it commits, somebody else gets the slot.
    let second = stage.active("20m").await;
    let rules = Rules {
        policy: stage.engine.policy(),
        catalog: stage.engine.catalog(),
    };
    let transition = decide(rules, &closed, &late, stage.now()).unwrap();
    let written = stage
        .store
        .commit(Commit {
            changes: transition.changes,
            slots: transition.slot.into_iter().collect(),
            ..Commit::default()
        })
        .await;
    assert!(matches!(written, Err(CommitError::Conflict)), "{written:?}");
    assert_eq!(stage.status(second.id).await, Status::Active);
    assert!(stage.is_there(&second));
}

#[tokio::test]
async fn s4_parameters_that_differ_have_slots_that_differ() {
    let stage = Stage::new();
    let request = stage.open("ana", "10m").await;
    let target = Stage::target(&request);
    let with = |text: &str| target.slot_key(&serde_json::from_str(text).unwrap());
    assert_ne!(with("{}"), with(r#"{"a":1}"#));
    assert_ne!(with(r#"{"a":1}"#), with(r#"{"a":2}"#));
    assert_eq!(with(r#"{"a":1,"b":2}"#), with(r#"{"b":2,"a":1}"#));
    // No resource can be named so that it looks like another with parameters.
    let digest = jit_core::digest::sha256_json(&serde_json::json!({"a": 1}));
    let other = Target {
        resource: format!("{}#{digest}", target.resource),
        ..target.clone()
    };
    assert_ne!(with(r#"{"a":1}"#), other.slot_key(&Parameters::new()));
}
