//! The contract of notifiers, kept by the one for Slack against the simulated workspace.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::ports::Notifier;
use jit_core::request::AccessRequest;
use jit_testkit::notifier::{Breakage, NotifierFixture, notifier_contract};
use slack_sim::{Fault, Times};

use crate::world::World;

struct Workspace {
    world: World,
    notifier: Arc<dyn Notifier>,
}

#[async_trait]
impl NotifierFixture for Workspace {
    fn counterpart(&self) -> &'static str {
        "slack-sim"
    }

    fn notifier(&self) -> Arc<dyn Notifier> {
        self.notifier.clone()
    }

    fn fit(&self, mut sample: AccessRequest) -> AccessRequest {
        let mut parts: Vec<_> = sample.parts.iter().cloned().collect();
        for part in &mut parts {
            part.entitlement = "memory/admins".parse().unwrap();
        }
        sample.parts = parts.try_into().unwrap();
        sample
    }

    async fn seen(&self, target: &str) -> Vec<String> {
        let ana = self.world.slack.user("U0ANA");
        let messages = match target.starts_with("dm:") {
            true => ana.dm().await,
            false => ana.messages(target).await,
        };
        messages.iter().map(slack_sim::Message::words).collect()
    }

    fn breakages(&self) -> &'static [Breakage] {
        &[
            Breakage::Refusal,
            Breakage::Outage,
            Breakage::Throttling,
            Breakage::LostReply,
            Breakage::Hang,
        ]
    }

    async fn break_calls(&mut self, how: Breakage) {
        let fault = match how {
            Breakage::Refusal => Fault::Api("is_archived"),
            Breakage::Outage => Fault::ServerError,
            Breakage::Hang => Fault::Hang,
            Breakage::Throttling => Fault::RateLimited { retry_after_s: 3 },
            Breakage::LostReply => Fault::InvalidJson,
        };
        self.world.slack.faults().fail("*", fault, Times::Always);
    }

    async fn mend(&mut self) {
        self.world.slack.faults().clear();
    }

    async fn pass(&mut self, time: Duration) {
        self.world.clock.advance(time);
    }
}

#[tokio::test(start_paused = true)]
async fn the_notifier_keeps_the_contract() {
    let mut world = World::new().await;
    world.clock_runs(Duration::from_millis(1));
    let notifier = world.adapter.notifier();
    notifier_contract(&mut Workspace { world, notifier }).await;
}
