//! The adapter against the simulated Bot API: an engine in memory with a clock that a test moves, and
//! people on both sides.

mod cards;
mod clicks;
mod contract;
mod crash;
mod door;
mod drawing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::Policy;
use jit_core::ports::Provisioner;
use jit_core::request::{AccessRequest, Status};
use jit_testkit::stage::{Stage, catalog, id, rules, standing, tier};
use jit_testkit::time::SeededRandom;
use secrecy::SecretString;
use telegram_sim::{Answer, Message, Sim, TOKEN, World};

use crate::desk::Ack;
use crate::{Telegram, TelegramDoor, TelegramParts, Transport};

const CHAT: i64 = -1_001_234_567_890;
const ANA: i64 = 1;
const BOB: i64 = 2;
const DORA: i64 = 3;
/// Is in the chat, and nobody to the directory.
const STRANGER: i64 = 4;
const ROBOT: i64 = 9;
const SECRET: &str = "a-secret-of-the-webhook";

/// A whole service around a simulated chat.
struct House {
    sim: Sim,
    stage: Stage,
    telegram: Telegram,
    door: TelegramDoor,
}

impl House {
    /// With one approval needed.
    fn new() -> Self {
        Self::needing(1)
    }

    fn needing(approvals: u8) -> Self {
        Self::around(approvals, Transport::Poll)
    }

    fn around(approvals: u8, transport: Transport) -> Self {
        let sim = Sim::start().unwrap();
        let world = sim.world();
        for (person, name) in [
            (ANA, "Ana"),
            (BOB, "Bob"),
            (DORA, "Dora"),
            (STRANGER, "Sid"),
        ] {
            world.add_person(person, name);
        }
        world.add_bot(ROBOT, "Another bot");
        world.add_group(CHAT, "Access", &[ANA, BOB, DORA, STRANGER, ROBOT]);
        let mut stage = Stage::with(standing(0, 0), approvals);
        for (person, name) in [(ANA, "ana"), (BOB, "bob"), (DORA, "dora"), (ROBOT, "eve")] {
            let alias = format!("telegram:{person}").parse().unwrap();
            stage.people.aliases.lock().unwrap().insert(alias, id(name));
        }
        let telegram = adapter(&sim, &stage, transport, Duration::from_secs(10));
        stage.engine = engine(&stage, &telegram, approvals);
        let door = telegram.door(stage.engine.clone());
        Self {
            sim,
            stage,
            telegram,
            door,
        }
    }

    fn world(&self) -> &World {
        self.sim.world()
    }

    fn messages(&self) -> Vec<Message> {
        self.world().messages(CHAT)
    }

    /// The one message of the chat.
    fn card(&self) -> Message {
        let mut all = self.messages();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    /// Asked by Ana, and on a card.
    async fn asked(&self) -> AccessRequest {
        let request = self.stage.open("ana", "30m").await;
        self.stage.work().await;
        request
    }

    async fn status(&self, request: &AccessRequest) -> Status {
        self.stage.status(request.id).await
    }

    /// Everything that waits is handed to the door.
    async fn deliver(&self) {
        for update in self.world().take_waiting() {
            assert_eq!(self.door.desk.take(&update, None).await, Ack::Taken);
        }
    }

    /// What somebody is told who presses this button under this message.
    async fn press(&self, person: i64, message: i64, text: &str) -> Answer {
        let click = self.world().press(person, CHAT, message, text).unwrap();
        self.answer(&click).await
    }

    /// What whoever made this click is told, once it is delivered.
    async fn answer(&self, click: &str) -> Answer {
        self.deliver().await;
        let answered = async || self.world().answer(click);
        until("an answer", answered).await
    }

    /// Bob presses this on the only card.
    async fn bob(&self, text: &str) -> Answer {
        self.press(BOB, self.card().id, text).await
    }
}

fn adapter(sim: &Sim, stage: &Stage, transport: Transport, deadline: Duration) -> Telegram {
    let parts = TelegramParts {
        chat: CHAT.try_into().unwrap(),
        api: sim.url().parse().unwrap(),
        bot_token: SecretString::from(TOKEN),
        transport,
        directory: stage.people.clone(),
        store: stage.store.clone(),
        clock: stage.clock.clone(),
        random: Arc::new(SeededRandom::new(11)),
        catalog: catalog("tier"),
    };
    Telegram::with_deadline(parts, deadline).unwrap()
}

fn engine(stage: &Stage, telegram: &Telegram, approvals: u8) -> Arc<Engine> {
    let provider: Arc<dyn Provisioner> = Arc::new(stage.provider.as_seen_by(stage.clock.clone()));
    let parts = EngineParts {
        store: stage.store.clone(),
        directory: stage.people.clone(),
        provisioners: BTreeMap::from([("stage".parse().unwrap(), provider)]),
        notifiers: vec![telegram.notifier()],
        pager: stage.pager.clone(),
        clock: stage.clock.clone(),
        random: Arc::new(SeededRandom::new(3)),
        policy: Policy::new(vec![tier("tier", approvals)], rules()).unwrap(),
        catalog: catalog("tier"),
    };
    Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap())
}

/// Waits for the other side, which has a thread of its own.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..2_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain for {what}");
}
