//! The contract of notifiers, kept by the one for Telegram against the simulated Bot API.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::ports::Notifier;
use jit_testkit::notifier::{Breakage, NotifierFixture, notifier_contract};
use telegram_sim::{Fault, Times};

use super::{House, adapter};
use crate::Transport;

struct Chat {
    house: House,
    notifier: Arc<dyn Notifier>,
}

#[async_trait]
impl NotifierFixture for Chat {
    fn counterpart(&self) -> &'static str {
        "telegram-sim"
    }

    fn notifier(&self) -> Arc<dyn Notifier> {
        self.notifier.clone()
    }

    async fn seen(&self, target: &str) -> Vec<String> {
        let messages = self.house.world().messages(target.parse().unwrap());
        messages.into_iter().map(|it| it.text).collect()
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
            Breakage::Refusal => Fault::Refused {
                code: 403,
                description: "Forbidden: bot was kicked from the group chat".to_owned(),
            },
            Breakage::Outage => Fault::ServerError,
            Breakage::Hang => Fault::Hang,
            Breakage::Throttling => Fault::TooMany {
                retry_after: Some(3),
            },
            Breakage::LostReply => Fault::LostReply,
        };
        self.house.world().fail("*", fault, Times::Always);
    }

    async fn mend(&mut self) {
        self.house.world().calm();
    }

    async fn pass(&mut self, time: Duration) {
        self.house.stage.clock.advance(time);
    }
}

#[tokio::test]
async fn the_notifier_keeps_the_contract() {
    let house = House::new();
    // What hangs is waited for in real time.
    let deadline = Duration::from_millis(500);
    let telegram = adapter(&house.sim, &house.stage, Transport::Poll, deadline);
    let notifier = telegram.notifier();
    notifier_contract(&mut Chat { house, notifier }).await;
}
