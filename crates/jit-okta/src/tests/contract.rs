//! The contract of the port, against a simulated Okta. The fixture needs an address, a clock and a
//! ground truth, so that it can be pointed at another counterpart.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::ports::{Clock, Provisioner};
use jit_core::provider::{Parameters, Target};
use jit_core::request::RequestId;
use jit_testkit::provisioner::{
    Ask, Breakage, Counterpart, ProvisionerFixture, provisioner_contract,
};
use okta_sim::{ApiToken, Away, Hostility, Reset, Rule, Setup};

use super::{Scene, ask, ask_as, setup};
use crate::OktaGroups;

struct SimulatedOkta(Scene);

impl SimulatedOkta {
    fn new() -> Self {
        let setup = Setup {
            members_page_max: 7,
            user_groups_page_max: Some(2),
            ..setup()
        };
        let scene = Scene::of(setup, |_| {});
        // Whoever is in one group only has a list of one page.
        let world = scene.world();
        for number in 0..5 {
            let group = world.add_group(&format!("everybody-{number}"));
            world.join(&group, &scene.ana);
        }
        Self(scene)
    }
}

#[async_trait]
impl ProvisionerFixture for SimulatedOkta {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "okta-sim",
            cannot_show: vec![],
        }
    }

    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.0.groups.clone())
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    async fn pass(&mut self, time: Duration) {
        self.0.pass(time);
    }

    fn known(&self) -> Ask {
        ask("ana@example.com", &self.0.admins)
    }

    fn unknown(&self) -> Ask {
        ask("nobody@example.com", &self.0.admins)
    }

    fn alias(&self) -> Option<(Arc<dyn Provisioner>, Ask)> {
        let other = OktaGroups::new(Arc::clone(&self.0.okta));
        Some((Arc::new(other), ask_as(&self.0.ana, &self.0.admins)))
    }

    async fn crowd(&mut self) {
        let world = self.0.world();
        for number in 0..30 {
            let user = world.add_user(&format!("person-{number}@example.com"), "");
            world.join(&self.0.admins, &user);
        }
    }

    async fn is_effective(&mut self, _: RequestId, target: &Target, _: &Parameters) -> bool {
        let (group, user) = (&target.resource, target.subject.as_str());
        self.0.world().is_member(group, user)
    }

    async fn break_calls(&mut self, how: Breakage) {
        let world = self.0.world();
        match how {
            Breakage::Refusal => world.set_token(ApiToken::default().allowing(&[])),
            Breakage::Throttling => {
                let reset = Reset::In(Duration::from_secs(20));
                world.rule(Rule::every(Hostility::Throttle(reset)));
            }
            Breakage::Outage => world.away(Away::Unavailable),
            Breakage::LostReply => world.rule(Rule::every(Hostility::LoseReply)),
        }
    }

    async fn mend(&mut self) {
        let world = self.0.world();
        world.calm();
        world.set_token(ApiToken::default());
        // What it was told while it was asked too fast is over by then.
        self.0.pass(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn okta_passes_the_contract() {
    let mut fixture = SimulatedOkta::new();
    provisioner_contract(&mut fixture).await;
}
