//! One request through a server that nobody here wrote: a card is posted, a click is polled for, the
//! card is changed. `tests/telegram/run` starts it with the address of `telegram-test-api`, plays the
//! person, and looks at what the server keeps. It ends well when the access is there.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example that fails says so and ends"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::Policy;
use jit_core::ports::Provisioner;
use jit_core::request::Status;
use jit_telegram::{Telegram, TelegramParts, Transport, alias};
use jit_testkit::stage::{Stage, catalog, id, rules, standing, tier};
use jit_testkit::time::SeededRandom;
use secrecy::SecretString;

/// The one chat, and the person behind it.
const BOB: i64 = 222;
const TOKEN: &str = "110201543:of-an-emulator";
/// Far beyond what it takes.
const TRIES: u32 = 600;

fn adapter(api: &str, stage: &Stage) -> Telegram {
    let known = alias(BOB.try_into().unwrap()).unwrap();
    let mut aliases = stage.people.aliases.lock().unwrap();
    aliases.insert(known, id("bob"));
    let parts = TelegramParts {
        chat: BOB.try_into().unwrap(),
        api: api.parse().unwrap(),
        bot_token: SecretString::from(TOKEN),
        transport: Transport::Poll,
        directory: stage.people.clone(),
        store: stage.store.clone(),
        clock: stage.clock.clone(),
        random: Arc::new(SeededRandom::new(11)),
        catalog: catalog("tier"),
    };
    Telegram::new(parts).unwrap()
}

fn engine(stage: &Stage, telegram: &Telegram) -> Arc<Engine> {
    let provider: Arc<dyn Provisioner> = Arc::new(stage.provider.as_seen_by(stage.clock.clone()));
    let parts = EngineParts {
        store: stage.store.clone(),
        directory: stage.people.clone(),
        provisioners: BTreeMap::from([("stage".parse().unwrap(), provider)]),
        notifiers: vec![telegram.notifier()],
        pager: stage.pager.clone(),
        clock: stage.clock.clone(),
        random: Arc::new(SeededRandom::new(3)),
        policy: Policy::new(vec![tier("tier", 1)], rules()).unwrap(),
        catalog: catalog("tier"),
    };
    Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let api = std::env::args().nth(1).unwrap();
    let mut stage = Stage::with(standing(0, 0), 1);
    let telegram = adapter(&api, &stage);
    stage.engine = engine(&stage, &telegram);
    let door = telegram.door(stage.engine.clone());
    let serving = tokio::spawn(door.run(std::future::pending()));
    let request = stage.open("ana", "30m").await;
    stage.work().await;
    println!("asked");
    let mut left = TRIES;
    while stage.status(request.id).await == Status::Pending {
        left = left.checked_sub(1).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.work().await;
    serving.abort();
    println!("{}", stage.status(request.id).await);
}
