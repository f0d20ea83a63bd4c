//! Whole lives of grants: the engine, in memory, on temporary policies at a simulated AWS where changes
//! take their time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sim::{Hostility, Setup};
use jit_core::catalog::Entitlement;
use jit_core::engine::Verb;
use jit_core::ports::{GrantCall, PortError, Provisioner};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Parameters, Resolved};
use jit_core::request::{AccessRequest, Status};
use jit_testkit::front::{Front, Meddle};
use jit_testkit::stage::Stage;

use super::{LOGS, READ, Scene, key, policies, settings, setup};
use crate::TemporaryPolicy;

/// The stage's catalogue has no templates; this is where one comes from.
struct Templated(Arc<TemporaryPolicy>);

#[async_trait]
impl Meddle for Templated {
    fn behind(&self) -> &dyn Provisioner {
        self.0.as_ref()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let entitlement = Entitlement {
            template: Some(READ.to_owned()),
            ..entitlement.clone()
        };
        self.0.resolve(beneficiary, &entitlement, parameters).await
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let template = Some(READ);
        self.0.grant(GrantCall { template, ..call }).await
    }
}

struct Life {
    stage: Stage,
    scene: Scene,
}

impl Life {
    /// Reads are two seconds behind, and effects three.
    fn new() -> Self {
        let stage = Stage::new();
        let scene = Scene::of(Setup {
            iam_reads_lag: Duration::from_secs(2),
            iam_effects_lag: Duration::from_secs(3),
            ..setup()
        });
        let adapter = policies(settings(&scene.sim), &stage.clock, key());
        let stage = stage.around(Arc::new(Front(Templated(adapter))));
        Self { stage, scene }
    }

    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.scene.world().advance(Duration::from_secs(1));
            self.stage.pass(1).await;
        }
    }

    /// Asked by Ana, and approved.
    async fn approved(&self, duration: &str) -> AccessRequest {
        let request = self.stage.open("ana", duration).await;
        self.stage.approve("bob", &request).await;
        self.stage.work().await;
        request
    }

    async fn status(&self, request: &AccessRequest) -> Status {
        self.stage.status(request.id).await
    }

    fn may_read(&self, request: &AccessRequest) -> bool {
        let target = &request.parts.first().target;
        self.scene.may_read(target, LOGS, self.stage.now())
    }

    fn stands(&self) -> usize {
        self.scene.world().policies("role/developers").len()
    }
}

#[tokio::test]
async fn a_grant_is_there_is_over_at_its_end_and_is_closed_when_nothing_can_come_any_more() {
    let life = Life::new();
    let request = life.approved("10m").await;
    life.pass(5).await;
    assert_eq!(life.status(&request).await, Status::Active);
    assert!(life.may_read(&request));
    life.pass(600 - 6).await;
    assert!(life.may_read(&request));
    life.pass(1).await;
    assert!(!life.may_read(&request), "AWS ended it by itself");
    life.pass(5).await;
    assert_eq!(life.status(&request).await, Status::Settling);
    assert_eq!(life.stands(), 0);
    life.pass(365).await;
    assert_eq!(life.status(&request).await, Status::Settling);
    life.pass(10).await;
    assert_eq!(life.status(&request).await, Status::Closed);
}

#[tokio::test]
async fn a_longer_grant_takes_over_without_a_gap_and_stays() {
    let life = Life::new();
    let first = life.approved("10m").await;
    life.pass(60).await;
    let second = life.approved("30m").await;
    for _ in 0..120 {
        life.pass(1).await;
        assert!(life.may_read(&second));
    }
    assert_eq!(life.status(&first).await, Status::Closed);
    assert_eq!(life.status(&second).await, Status::Active);
    assert_eq!(life.stands(), 1);
    life.pass(600).await;
    assert!(
        life.may_read(&second),
        "it goes on after the first one's end"
    );
    life.pass(30 * 60).await;
    assert_eq!(life.status(&second).await, Status::Closed);
    assert_eq!(life.stands(), 0);
    assert!(life.stage.pager.0.lock().unwrap().is_empty());
}

/// A lost call leaves the earlier owner's policy there, which is not the access that was granted.
#[tokio::test]
async fn a_hand_over_whose_call_is_lost_is_made_again() {
    let life = Life::new();
    let first = life.approved("10m").await;
    life.pass(60).await;
    let lost = Hostility::LoseCall;
    life.scene.world().hostile_times("PutRolePolicy", lost, 1);
    let second = life.approved("30m").await;
    life.pass(20).await;
    assert_eq!(life.status(&second).await, Status::Provisioning);
    life.pass(40).await;
    assert_eq!(life.status(&second).await, Status::Active);
    assert_eq!(life.status(&first).await, Status::Closed);
    life.pass(600).await;
    assert!(life.may_read(&second));
}

/// The earlier one was told of a later end than the next one has.
#[tokio::test]
async fn a_shorter_grant_after_one_that_was_ended_early_stays_until_its_end() {
    let life = Life::new();
    let first = life.approved("1h").await;
    life.pass(60).await;
    life.stage.say("ana", first.id, Verb::End).await.unwrap();
    life.pass(10).await;
    assert_eq!(life.status(&first).await, Status::Settling);
    assert!(!life.may_read(&first));
    let second = life.approved("20m").await;
    // Past every look that is owed after a hand-over.
    life.pass(500).await;
    assert_eq!(life.status(&second).await, Status::Active);
    assert!(life.may_read(&second));
    life.pass(1_200).await;
    assert_eq!(life.status(&second).await, Status::Closed);
    assert!(!life.may_read(&first));
}

#[tokio::test]
async fn a_put_that_arrives_after_the_end_is_found_and_taken_away() {
    let life = Life::new();
    let late = Hostility::LateEffect(Duration::from_secs(200));
    life.scene.world().hostile_times("PutRolePolicy", late, 1);
    let request = life.approved("1h").await;
    life.pass(5).await;
    life.stage.say("ana", request.id, Verb::End).await.unwrap();
    life.pass(150).await;
    assert_eq!(life.status(&request).await, Status::Settling);
    assert_eq!(life.stands(), 0);
    life.pass(45).await;
    assert_eq!(life.stands(), 1, "it arrived");
    life.pass(61).await;
    assert_eq!(life.stands(), 0);
    assert!(!life.may_read(&request));
    life.pass(400).await;
    assert_eq!(life.status(&request).await, Status::Closed);
}
