//! Tier 2 of the approval service, with its variables alone: decided in a private chat of Telegram, and by
//! nobody else anywhere.

use serde_json::{Value, json};
use telegram_sim::{Sim, TOKEN};

use super::house::{Daemon, House, KEY, ask};
use crate::process::until;

const BOB: i64 = 222_333_444;
const SID: i64 = 555_666_777;
const GROUP: i64 = -1_001_234_567_890;
const SECRET: &str = "the-secret-of-the-webhook";
/// The one before, while it is being changed.
const OLD_SECRET: &str = "the-one-before-that-one";

/// A bot, and a service that knows it.
async fn with_chat(chat: i64, approvers: &str) -> (House, Sim) {
    let telegram = Sim::start().unwrap();
    telegram.world().add_person(BOB, "Bob");
    telegram.world().add_person(SID, "Sid");
    telegram.world().add_group(GROUP, "Ops", &[BOB, SID]);
    let mut house = House::new().await;
    house.set("TELEGRAM_BOT_TOKEN", TOKEN);
    house.set("TELEGRAM_WEBHOOK_SECRET", SECRET);
    house.set("TELEGRAM_WEBHOOK_SECRET_OLD", OLD_SECRET);
    house.set("TELEGRAM_CHAT_ID", chat.to_string());
    house.set("TELEGRAM_APPROVER_IDS", approvers);
    house.set("TELEGRAM_API_URL", telegram.url());
    (house, telegram)
}

fn called(daemon: &Daemon, telegram: &Sim, secret: &str) {
    let url = format!("{}/telegram/webhook", daemon.api);
    telegram.world().set_webhook(&url, Some(secret));
}

/// Presses this once there is a card that says so.
async fn pressed(telegram: &Sim, chat: i64, person: i64, words: &str, button: &str) {
    let mut click = None;
    until("there is a card", async || {
        let cards = telegram.world().messages(chat);
        let card = cards.iter().rev().find(|it| it.text.contains(words));
        click = card.and_then(|card| telegram.world().press(person, chat, card.id, button).ok());
        click.is_some()
    })
    .await;
    let click = click.unwrap();
    until("it is answered", async || {
        telegram.world().answer(&click).is_some()
    })
    .await;
}

async fn polled(daemon: &Daemon, id: &str, status: &str) -> Value {
    let mut answer = Value::Null;
    until(status, async || {
        answer = daemon.poll(id);
        answer["status"] == status
    })
    .await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_e5_a_person_decides_in_their_own_chat() {
    let (house, telegram) = with_chat(BOB, "").await;
    let mut daemon = house.daemon();
    called(&daemon, &telegram, SECRET);
    let id = daemon.file("homeassistant", 2);
    assert_eq!(
        daemon.poll(&id),
        json!({"request_id": id, "status": "pending"})
    );
    // What else could be given is on the card, and how long it may live on.
    pressed(&telegram, BOB, BOB, "vault/homeassistant", "Approve").await;
    let approved = polled(&daemon, &id, "approved").await;
    let token = approved["credential"]["token"].as_str().unwrap();
    assert_eq!(
        approved["credential"]["metadata"]["backend"],
        "homeassistant"
    );
    assert!(house.home_assistant.works(token));

    let id = daemon.file("gitlab", 2);
    pressed(&telegram, BOB, BOB, "vault/gitlab", "Deny").await;
    let denied = polled(&daemon, &id, "denied").await;
    assert_eq!(denied, json!({"request_id": id, "status": "denied"}));
    let lines = daemon.lines();
    let names = super::events(&lines);
    for name in [
        "request_received",
        "approval_sent",
        "approved",
        "denied",
        "credential_claimed",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_in_a_group_only_those_who_are_named_decide() {
    let (house, telegram) = with_chat(GROUP, &BOB.to_string()).await;
    let daemon = house.daemon();
    called(&daemon, &telegram, OLD_SECRET);
    let id = daemon.file("gitlab", 2);
    pressed(&telegram, GROUP, SID, "vault/gitlab", "Approve").await;
    assert_eq!(daemon.poll(&id)["status"], "pending");
    pressed(&telegram, GROUP, BOB, "vault/gitlab", "Approve").await;
    polled(&daemon, &id, "approved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_where_nobody_decides_what_a_person_must_decide_is_refused_with_the_reason() {
    for (chat, why) in [
        (None, "TELEGRAM_CHAT_ID"),
        (Some(GROUP), "TELEGRAM_APPROVER_IDS"),
    ] {
        let mut house = House::new().await;
        if let Some(chat) = chat {
            house.set("TELEGRAM_CHAT_ID", chat.to_string());
        }
        let daemon = house.daemon();
        let (status, told) = daemon.file_as(KEY, &ask("gitlab", 2));
        assert_eq!(
            (status, &told["error"]["code"]),
            (422, &json!("nobody_eligible"))
        );
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
        daemon.given("radarr");
    }
}
