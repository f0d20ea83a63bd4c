//! The contract of the port, against a simulated Vault: once with tokens as they are, made as orphans,
//! and once through a role.

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
use vault_sim::{Fault, Health, Rule, Unknown};

use super::{Scene, ask, setup};

struct SimulatedVault {
    scene: Scene,
    resource: &'static str,
    alias: &'static str,
}

#[async_trait]
impl ProvisionerFixture for SimulatedVault {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "vault-sim",
            cannot_show: vec![],
        }
    }

    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.scene.tokens.clone())
    }

    fn now(&self) -> Timestamp {
        self.scene.clock.now()
    }

    async fn pass(&mut self, time: Duration) {
        self.scene.pass(time);
    }

    fn known(&self) -> Ask {
        ask(self.resource)
    }

    fn unknown(&self) -> Ask {
        ask("root")
    }

    fn alias(&self) -> Option<(Arc<dyn Provisioner>, Ask)> {
        Some((self.provisioner(), ask(self.alias)))
    }

    async fn is_effective(&mut self, request: RequestId, _: &Target, _: &Parameters) -> bool {
        let marked = self
            .scene
            .world()
            .marked("jit_request", &request.to_string());
        !marked.is_empty()
    }

    async fn works(&mut self, secret: &str) -> bool {
        self.scene.world().is_alive(secret)
    }

    async fn break_calls(&mut self, how: Breakage) {
        let world = self.scene.world();
        match how {
            Breakage::Refusal => world.rule(Rule::every(Fault::Denied)),
            Breakage::Throttling => world.rule(Rule::every(Fault::TooMany(Some(20)))),
            Breakage::Outage => world.set_health(Health::Sealed),
            Breakage::LostReply => world.rule(Rule::at("auth/token/create", Fault::LoseReply)),
        }
    }

    async fn mend(&mut self) {
        self.scene.world().calm();
    }
}

#[tokio::test]
async fn vault_passes_the_contract() {
    let mut fixture = SimulatedVault {
        scene: Scene::new(),
        resource: "reader,writer",
        alias: "writer,reader",
    };
    provisioner_contract(&mut fixture).await;
}

#[tokio::test]
async fn an_older_vault_passes_the_contract_through_a_role() {
    let setup = vault_sim::Setup {
        unknown_accessor_status: 403,
        revoking_the_unknown: Unknown::Fails,
        dead_tokens: vault_sim::DeadTokens::Denied,
        ..setup()
    };
    let mut fixture = SimulatedVault {
        scene: Scene::of(setup, |_, _| {}),
        resource: "reader,writer@agents",
        alias: "writer,reader@agents",
    };
    provisioner_contract(&mut fixture).await;
}
