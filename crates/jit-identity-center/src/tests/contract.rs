//! The contract of the port, against a simulated AWS. The fixture needs an endpoint, a clock and a
//! ground truth, so that it can be pointed at another counterpart.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sim::{AccessKey, Away, Hostility, Setup};
use jit_core::Timestamp;
use jit_core::ports::{Clock, Provisioner};
use jit_core::provider::{Parameters, Target};
use jit_core::request::RequestId;
use jit_testkit::provisioner::{
    Ask, Breakage, Counterpart, ProvisionerFixture, provisioner_contract,
};

use super::{BRISK, PATIENT, PRODUCTION, Scene, ask, ask_as, at_once, setup};
use crate::Pace;

struct SimulatedAws(Scene);

/// An entry of the catalogue with a name of its own; a member of a family has one name only.
fn written_down(mut ask: Ask) -> Ask {
    ask.entitlement.id = "aws/written-down".parse().unwrap();
    ask
}

impl SimulatedAws {
    fn new(setup: Setup, pace: Pace) -> Self {
        let setup = Setup {
            page_max: 7,
            ..setup
        };
        Self(Scene::of(setup, pace))
    }
}

#[async_trait]
impl ProvisionerFixture for SimulatedAws {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "aws-sim",
            cannot_show: vec![],
        }
    }

    fn provisioner(&self) -> Arc<dyn Provisioner> {
        self.0.adapter.clone()
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    async fn pass(&mut self, time: Duration) {
        self.0.pass(time);
    }

    fn known(&self) -> Ask {
        written_down(ask("ana@example.com", "production/ReadOnly"))
    }

    fn unknown(&self) -> Ask {
        ask("ana@example.com", "production/NoSuchSet")
    }

    fn alias(&self) -> Option<(Arc<dyn Provisioner>, Ask)> {
        let other = self.0.another(|_| {});
        let by_ids = ask_as("ana", &format!("{PRODUCTION}/{}", self.0.set));
        Some((other, written_down(by_ids)))
    }

    async fn crowd(&mut self) {
        let world = self.0.world();
        for number in 0..30 {
            let user = world.add_user(&format!("person-{number}"), "");
            world.assign(PRODUCTION, &self.0.set, &user);
        }
        let group = world.add_group("everybody");
        world.assign(PRODUCTION, &self.0.set, &group);
    }

    async fn is_effective(&mut self, _: RequestId, target: &Target, _: &Parameters) -> bool {
        let (account, set) = target.resource.split_once('/').unwrap();
        (self.0.world()).is_assigned(account, set, target.subject.as_str())
    }

    async fn break_calls(&mut self, how: Breakage) {
        let world = self.0.world();
        match how {
            Breakage::Refusal => world.set_key(AccessKey::default().allowing(&[])),
            Breakage::Throttling => world.hostile("*", Hostility::Throttle),
            Breakage::Outage => world.away(Away::Refused),
            Breakage::LostReply => world.hostile("*", Hostility::LoseReply),
        }
    }

    async fn mend(&mut self) {
        let world = self.0.world();
        world.calm();
        world.set_key(AccessKey::default());
    }
}

#[tokio::test]
async fn identity_center_passes_the_contract_where_operations_end_at_once() {
    let mut fixture = SimulatedAws::new(at_once(), PATIENT);
    provisioner_contract(&mut fixture).await;
}

#[tokio::test]
async fn identity_center_passes_the_contract_where_operations_take_time() {
    let mut fixture = SimulatedAws::new(setup(), BRISK);
    provisioner_contract(&mut fixture).await;
}
