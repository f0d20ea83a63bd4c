//! Whole lives of grants: the engine, in memory, on temporary policies at a simulated AWS where changes
//! take their time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sim::{Hostility, Setup};
use jit_core::Refusal;
use jit_core::audit::Fact;
use jit_core::catalog::Entitlement;
use jit_core::engine::{EngineError, Progress, Verb};
use jit_core::ports::{GrantCall, PortError, Provisioner, RequestStore};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Parameters, Resolved};
use jit_core::request::{AccessRequest, Status};
use jit_testkit::front::{Front, Meddle};
use jit_testkit::stage::{Stage, via};
use serde_json::Value;

use super::{LOGS, READ, READ_IN, Scene, in_bucket, key, policies, settings, setup};
use crate::TemporaryPolicy;

/// The stage's catalogue has no templates; this is where they come from. `stage/ops` takes parameters.
struct Templated {
    behind: Arc<TemporaryPolicy>,
    admins: &'static str,
}

impl Templated {
    fn entitlement(&self, entitlement: &Entitlement) -> Entitlement {
        Entitlement {
            template: Some(self.template(&entitlement.resource).to_owned()),
            ..entitlement.clone()
        }
    }

    fn template(&self, resource: &str) -> &'static str {
        match resource.starts_with("ops") {
            true => READ_IN,
            false => self.admins,
        }
    }
}

#[async_trait]
impl Meddle for Templated {
    fn behind(&self) -> &dyn Provisioner {
        self.behind.as_ref()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let entitlement = self.entitlement(entitlement);
        let behind = &self.behind;
        behind.resolve(beneficiary, &entitlement, parameters).await
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let template = Some(self.template(&call.target.resource));
        self.behind.grant(GrantCall { template, ..call }).await
    }

    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        self.behind.resource(&self.entitlement(entitlement)).await
    }
}

struct Life {
    stage: Stage,
    scene: Scene,
}

impl Life {
    /// Reads are two seconds behind, and effects three.
    fn new() -> Self {
        Self::of(READ)
    }

    fn of(admins: &'static str) -> Self {
        let stage = Stage::new();
        let scene = Scene::of(Setup {
            iam_reads_lag: Duration::from_secs(2),
            iam_effects_lag: Duration::from_secs(3),
            ..setup()
        });
        let behind = policies(settings(&scene.sim), &stage.clock, key());
        let stage = stage.around(Arc::new(Front(Templated { behind, admins })));
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

    /// The same of one bucket, and there.
    async fn in_bucket(&self, bucket: &str, duration: &str) -> AccessRequest {
        let parameters = in_bucket(bucket).parameters;
        let mut ask = self.stage.ask(duration);
        ask.parts = vec![("stage/ops".parse().unwrap(), parameters)];
        let request = self.stage.engine.open(&via("ana"), ask).await.unwrap();
        self.stage.approve("bob", &request).await;
        self.stage.work().await;
        self.pass(5).await;
        assert_eq!(self.status(&request).await, Status::Active);
        request
    }

    /// Everything is looked at; how much stands that no grant explains.
    async fn look(&self) -> usize {
        let provider = "stage".parse().unwrap();
        let look = self.stage.engine.reconciliation(&provider).await.unwrap();
        let mut look = look.unwrap();
        loop {
            match self.stage.engine.reconcile(&mut look).await.unwrap() {
                Progress::Going => {}
                Progress::Done(outcome) => return outcome.unexplained,
            }
        }
    }

    async fn says(&self, request: &AccessRequest) -> Vec<Fact> {
        let story = self.stage.store.story(request.id).await.unwrap().unwrap();
        let events = story.1.iter().map(|it| it.event().unwrap().event.what);
        events.collect()
    }

    /// The name and text of the policy of this bucket.
    fn policy(&self, bucket: &str) -> (String, String) {
        let mut kept = self.scene.world().policies("role/developers").into_iter();
        let of_it = format!("arn:aws:s3:::{bucket}/");
        kept.find(|(_, text)| text.contains(&of_it)).unwrap()
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

#[tokio::test]
async fn of_two_buckets_that_one_person_has_each_is_told_when_others_take_it() {
    let life = Life::new();
    let mut requests = Vec::new();
    for bucket in ["logs", "web"] {
        requests.push(life.in_bucket(bucket, "1h").await);
    }
    life.pass(5).await;
    assert_eq!(life.look().await, 0);
    for bucket in ["logs", "web"] {
        let (name, _) = life.policy(bucket);
        life.scene.world().delete_policy("role/developers", &name);
    }
    life.pass(5).await;
    assert_eq!(life.look().await, 0);
    for request in &requests {
        assert!(life.says(request).await.contains(&Fact::Missing));
        assert_eq!(life.status(request).await, Status::Active);
    }
    assert_eq!(life.stands(), 0, "nothing is given again by itself");
}

/// Somebody removed its date, so that nothing ends it, and it came back when nobody looked at its slot
/// any more.
#[tokio::test]
async fn a_policy_with_parameters_and_no_date_is_found_a_day_later_and_one_of_a_grant_is_not() {
    let life = Life::new();
    let closed = life.in_bucket("logs", "10m").await;
    let (name, text) = life.policy("logs");
    let mut endless: Value = serde_json::from_str(&text).unwrap();
    let condition = endless["Statement"][0]["Condition"].as_object_mut();
    condition.unwrap().remove("DateLessThan");
    life.pass(1_000).await;
    assert_eq!(life.status(&closed).await, Status::Closed);
    let day = Duration::from_secs(25 * 3_600);
    life.stage.clock.advance(day);
    life.scene.world().advance(day);
    assert!(life.stage.engine.fresh().await.unwrap().is_empty());
    life.in_bucket("web", "1h").await;
    let world = life.scene.world();
    world.put_policy("role/developers", &name, &endless.to_string());
    life.pass(5).await;
    assert!(life.may_read(&closed));
    for _ in 0..2 {
        assert_eq!(life.look().await, 1);
        let unexplained = life.stage.engine.unexplained().await.unwrap();
        assert_eq!(unexplained.len(), 1);
        assert_eq!(unexplained[0].target, closed.parts.first().target);
    }
    assert_eq!(life.stage.pager.0.lock().unwrap().len(), 1);
    assert_eq!(life.status(&closed).await, Status::Closed);
    assert_eq!(life.stands(), 2, "too old to be ours, and left alone");
}

#[tokio::test]
async fn a_copy_of_a_policy_is_not_explained_by_the_grant_that_it_was_copied_from() {
    let life = Life::new();
    let request = life.in_bucket("logs", "1h").await;
    let (name, text) = life.policy("logs");
    life.scene.world().put_policy("user/ana", &name, &text);
    let for_all = text.replace("aws:userid", "aws:RequestedRegion");
    life.scene
        .world()
        .put_policy("role/ana-own", &name, &for_all);
    life.pass(5).await;
    assert_eq!(life.look().await, 2);
    let found = life.stage.engine.unexplained().await.unwrap().into_iter();
    let mut found: Vec<String> = found.map(|it| it.target.subject.to_string()).collect();
    found.sort();
    assert_eq!(found, ["role/ana-own", "user/ana"]);
    assert!(!life.says(&request).await.contains(&Fact::Missing));
    assert_eq!(life.stands(), 1);
}

#[tokio::test]
async fn a_forged_name_hides_nothing_that_others_have() {
    let life = Life::new();
    // A name of the form of ours, for a slot that nobody was ever granted.
    let request = life.in_bucket("logs", "1h").await;
    let (name, text) = life.policy("logs");
    let (stem, slot) = name.rsplit_once('-').unwrap();
    let forged = format!("{stem}-{}", slot.replace(|_: char| true, "a"));
    let free = text.replace("aws:userid", "aws:RequestedRegion");
    life.scene
        .world()
        .put_policy("role/ana-own", &forged, &free);
    life.pass(5).await;
    assert_eq!(life.look().await, 1);
    // Another one's, under the same name, is told as well.
    life.scene.world().put_policy("user/ana", &forged, &free);
    life.pass(5).await;
    assert_eq!(life.look().await, 2);
    let found = life.stage.engine.unexplained().await.unwrap().into_iter();
    let mut found: Vec<String> = found.map(|it| it.target.subject.to_string()).collect();
    found.sort();
    assert_eq!(found, ["role/ana-own", "user/ana"]);
    assert!(!life.says(&request).await.contains(&Fact::Missing));
}

/// The stage's tier lets sessions live on for a minute.
#[tokio::test]
async fn what_opens_sessions_that_live_on_longer_than_the_tier_allows_is_refused() {
    const OPENING: &str = r#"{"Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}"#;
    let life = Life::of(OPENING);
    let ana = via("ana");
    let refusal = life.stage.engine.open(&ana, life.stage.ask("10m"));
    let refusal = refusal.await.unwrap_err();
    let hour = Duration::from_secs(3_600);
    assert!(
        matches!(
            refusal,
            EngineError::Refused(Refusal::ResidualAboveCeiling { residual, .. }) if residual == hour
        ),
        "{refusal:?}"
    );
}
