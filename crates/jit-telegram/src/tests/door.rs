//! The two ways in. What is not Telegram's changes nothing; what is, is kept before it is acknowledged.

use std::time::Duration;

use jit_core::ports::{Commit, ErrorKind, RequestStore, Row, RowChange};
use jit_core::request::Status;
use reqwest::{Client, StatusCode};
use secrecy::SecretString;
use serde_json::Value;
use telegram_sim::{Fault, TOKEN, Times};

use super::{BOB, CHAT, House, SECRET, STRANGER, until};
use crate::bot::Bot;
use crate::poll::{Poll, Polling, Reached};
use crate::{Transport, WebhookSecret};

/// The secret before, while it is being changed.
const OLD_SECRET: &str = "the-one-before_0123";
const HEADER: &str = "X-Telegram-Bot-Api-Secret-Token";

/// A service that is called; with where.
async fn called() -> (House, String) {
    let secrets = [SECRET, OLD_SECRET].map(|secret| secret.parse::<WebhookSecret>().unwrap());
    let house = House::around(1, Transport::Webhook(secrets.into()));
    assert!(house.door.polling().is_none());
    let routes = house.door.router().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/telegram/webhook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (house, url)
}

fn client(url: &str) -> Client {
    let wire = jit_wire::Wire::new(&url.parse().unwrap()).unwrap();
    wire.pooled().clone()
}

async fn post(url: &str, secrets: &[&str], body: impl Into<reqwest::Body>) -> StatusCode {
    let mut call = client(url).post(url).body(body);
    for secret in secrets {
        call = call.header(HEADER, *secret);
    }
    call.send().await.unwrap().status()
}

async fn decided(house: &House, request: &jit_core::request::AccessRequest) {
    until("the decision", async || {
        (house.status(request).await != Status::Pending).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_click_comes_in_through_the_webhook() {
    let (house, url) = called().await;
    let request = house.asked().await;
    house.world().set_webhook(&url, Some(SECRET));
    let click = house
        .world()
        .press(BOB, CHAT, house.card().id, "Approve")
        .unwrap();
    decided(&house, &request).await;
    let told = until("an answer", async || house.world().answer(&click)).await;
    assert_eq!(told.text, "Approved.");
}

#[tokio::test]
async fn s14_without_the_secret_nothing_is_read_and_nobody_is_called() {
    let (house, url) = called().await;
    let request = house.asked().await;
    house
        .world()
        .press(BOB, CHAT, house.card().id, "Approve")
        .unwrap();
    let update = house.world().take_waiting().remove(0).to_string();
    let calls = house.world().calls().len();
    let longer = format!("{SECRET}x");
    let shorter = &SECRET[1..];
    let upper = SECRET.to_uppercase();
    for secrets in [
        vec![],
        vec![""],
        vec!["wrong"],
        vec![longer.as_str()],
        vec![shorter],
        vec![upper.as_str()],
        vec![SECRET, "wrong"],
        vec!["wrong", SECRET],
        vec![SECRET, OLD_SECRET],
    ] {
        let status = post(&url, &secrets, update.clone()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{secrets:?}");
    }
    // It is not even looked at how long it is.
    let long = "x".repeat(300 * 1024);
    assert_eq!(post(&url, &["wrong"], long).await, StatusCode::UNAUTHORIZED);
    assert_eq!(house.stage.store.inputs_left(), 0);
    assert_eq!(house.status(&request).await, Status::Pending);
    assert_eq!(house.world().calls().len(), calls);
    assert_eq!(post(&url, &[OLD_SECRET], update).await, StatusCode::OK);
    decided(&house, &request).await;
}

#[tokio::test]
async fn a_body_that_is_too_long_or_no_update_changes_nothing() {
    let (house, url) = called().await;
    let request = house.asked().await;
    let calls = house.world().calls().len();
    let long = "x".repeat(300 * 1024);
    let status = post(&url, &[SECRET], long).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    // Sent again it would not be more readable: it is taken, so that what comes behind it is sent.
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [
        "",
        "{",
        "null",
        "[]",
        "{\"update_id\":1}",
        "\u{fffd}",
        deep.as_str(),
    ] {
        let body = body.to_owned();
        assert_eq!(post(&url, &[SECRET], body).await, StatusCode::OK);
    }
    let got = client(&url)
        .get(&url)
        .header(HEADER, SECRET)
        .send()
        .await
        .unwrap();
    assert_eq!(got.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(house.stage.store.inputs_left(), 0);
    assert_eq!(house.status(&request).await, Status::Pending);
    assert_eq!(house.world().calls().len(), calls);
}

#[test]
fn a_secret_is_one_that_telegram_takes_and_nobody_guesses() {
    let long = "a".repeat(256);
    for good in [SECRET, "ABCDEFGHIJ-_0123", long.as_str()] {
        assert!(good.parse::<WebhookSecret>().is_ok(), "{good}");
    }
    let longer = "a".repeat(257);
    for bad in [
        "",
        "short",
        "a secret with spaces",
        "abcdefghijklmnoö",
        longer.as_str(),
    ] {
        assert!(bad.parse::<WebhookSecret>().is_err(), "{bad}");
    }
}

/// Somebody asked Telegram so many seconds ago.
async fn asked_ago(house: &House, secs: u64) {
    let (table, key) = ("telegram_poll", "asked_at".to_owned());
    let store = &house.stage.store;
    let before = store.row(table, &key).await.unwrap();
    let value = (house.stage.now() - Duration::from_secs(secs)).to_string();
    let row = RowChange {
        row: Row { table, key, value },
        expected: before.map(|row| row.value),
    };
    let commit = Commit {
        rows: vec![row],
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
}

/// Polls once; whether it must wait.
async fn polled(house: &House, poll: &mut Poll<'_>) -> Option<Duration> {
    // Telegram answers at once where there is something.
    assert!(!house.world().waiting().is_empty());
    poll.once().await
}

#[tokio::test]
async fn what_is_polled_is_confirmed_when_it_is_kept() {
    let house = House::new();
    let request = house.asked().await;
    asked_ago(&house, 5).await;
    let polling = Polling::default();
    assert_eq!(polling.reached(), Reached::NotConnected);
    let click = house
        .world()
        .press(BOB, CHAT, house.card().id, "Approve")
        .unwrap();
    let mut poll = Poll::new(&house.door.bot, &house.door.desk, &polling);
    assert_eq!(polled(&house, &mut poll).await, None);
    assert_eq!(polling.reached(), Reached::Connected);
    let told = until("an answer", async || house.world().answer(&click)).await;
    assert_eq!(told.text, "Approved.");
    decided(&house, &request).await;
    // It is confirmed by the next question, so another process that polls now sees it once more.
    assert_eq!(house.world().waiting().len(), 1);
    let mut other = Poll::new(&house.door.bot, &house.door.desk, &polling);
    assert_eq!(polled(&house, &mut other).await, None);
    assert_eq!(house.stage.store.inputs_left(), 0);
    house.world().say(BOB, CHAT, "/start");
    house.world().press_forged(BOB, CHAT, 1, "x");
    assert_eq!(polled(&house, &mut poll).await, None);
    assert_eq!(
        house.world().waiting().len(),
        1,
        "the first was confirmed, text is not wanted"
    );
}

#[tokio::test]
async fn no_click_is_asked_past() {
    let house = House::new();
    let request = house.asked().await;
    let card = house.card().id;
    asked_ago(&house, 5).await;
    let polling = Polling::default();
    let mut poll = Poll::new(&house.door.bot, &house.door.desk, &polling);
    for (person, button) in [(STRANGER, "Deny"), (BOB, "Approve")] {
        house.world().press(person, CHAT, card, button).unwrap();
        assert_eq!(poll.once().await, None);
    }
    decided(&house, &request).await;
}

#[tokio::test]
async fn a_door_that_polls_runs_until_it_is_stopped() {
    let house = House::new();
    let request = house.asked().await;
    asked_ago(&house, 5).await;
    assert!(house.door.router().is_none());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(house.door.clone().run(async {
        let _ = stopped.await;
    }));
    house
        .world()
        .press(BOB, CHAT, house.card().id, "Deny")
        .unwrap();
    decided(&house, &request).await;
    assert_eq!(house.door.polling().unwrap().reached(), Reached::Connected);
    stop.send(()).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_click_that_waited_while_nobody_asked_is_not_applied() {
    // Nobody ever asked; somebody asked long ago; somebody asked so lately that it may be applied.
    for (ago, words) in [
        (None, "too late"),
        (Some(121), "too late"),
        (Some(100), "Approved."),
    ] {
        let house = House::new();
        let request = house.asked().await;
        if let Some(secs) = ago {
            asked_ago(&house, secs).await;
        }
        let card = house.card().id;
        let click = house.world().press(BOB, CHAT, card, "Approve").unwrap();
        let polling = Polling::default();
        let mut poll = Poll::new(&house.door.bot, &house.door.desk, &polling);
        assert_eq!(polled(&house, &mut poll).await, None);
        let told = until("an answer", async || house.world().answer(&click)).await;
        assert!(told.text.contains(words), "{ago:?}: {told:?}");
        if words == "too late" {
            assert_eq!(house.status(&request).await, Status::Pending);
            // What comes from now on is as new as it looks.
            let click = house.world().press(BOB, CHAT, card, "Approve").unwrap();
            assert_eq!(polled(&house, &mut poll).await, None);
            let told = until("an answer", async || house.world().answer(&click)).await;
            assert_eq!(told.text, "Approved.");
        }
    }
}

#[tokio::test]
async fn a_click_that_waited_while_telegram_was_away_is_not_applied() {
    let house = House::new();
    house.asked().await;
    asked_ago(&house, 5).await;
    let polling = Polling::default();
    let mut poll = Poll::new(&house.door.bot, &house.door.desk, &polling);
    house
        .world()
        .fail("getUpdates", Fault::ServerError, Times::Next(1));
    assert!(poll.once().await.is_some());
    let card = house.card().id;
    let click = house.world().press(BOB, CHAT, card, "Approve").unwrap();
    house.stage.clock.advance(Duration::from_secs(121));
    assert_eq!(polled(&house, &mut poll).await, None);
    let told = until("an answer", async || house.world().answer(&click)).await;
    assert!(told.alert && told.text.contains("too late"), "{told:?}");
}

#[tokio::test]
async fn who_finds_nothing_asks_again_after_a_moment_and_notes_it_now_and_then() {
    let house = House::new();
    let polling = Polling::default();
    let mut poll = Poll::new(&house.door.bot, &house.door.desk, &polling);
    let noted = async || {
        let row = house.stage.store.row("telegram_poll", "asked_at").await;
        row.unwrap().unwrap().value
    };
    let pause = poll.once().await.unwrap();
    assert!(pause <= Duration::from_millis(200) && !pause.is_zero());
    let first = noted().await;
    assert_eq!(first, house.stage.now().to_string());
    let asked = house.world().calls().remove(0).arguments;
    assert_eq!(asked["timeout"], 0, "nobody knows how old what waits is");
    for (secs, is_new) in [(29, false), (2, true)] {
        house.stage.clock.advance(Duration::from_secs(secs));
        house.world().press_forged(BOB, CHAT, 1, "x");
        assert_eq!(poll.once().await, None);
        assert_eq!(noted().await != first, is_new, "{secs}");
    }
    let asked = house.world().calls();
    let polls = asked.iter().filter(|it| it.method == "getUpdates");
    let waits: Vec<_> = polls.map(|it| it.arguments["timeout"].clone()).collect();
    assert_eq!(waits, [0, 5, 5]);
    // Of two processes each reads what the other wrote.
    asked_ago(&house, 0).await;
    house.stage.clock.advance(Duration::from_secs(31));
    for _ in 0..2 {
        house.world().press_forged(BOB, CHAT, 1, "x");
        assert_eq!(poll.once().await, None);
        house.stage.clock.advance(Duration::from_secs(1));
    }
    assert!(noted().await > first);
}

#[tokio::test]
async fn whoever_cannot_poll_says_why_and_waits_longer_each_time() {
    let house = House::new();
    let polling = Polling::default();
    let mut poll = Poll::new(&house.door.bot, &house.door.desk, &polling);
    house.world().set_webhook("http://127.0.0.1:9/", None);
    assert_eq!(poll.once().await, Some(Duration::from_secs(10)));
    assert_eq!(polling.reached(), Reached::Conflict);
    assert_eq!(polling.reached().to_string(), "conflict");
    let refused = Fault::Refused {
        code: 401,
        description: "Unauthorized".to_owned(),
    };
    house.world().fail("getUpdates", refused, Times::Next(1));
    poll.once().await;
    assert_eq!(polling.reached(), Reached::Refused);
    house
        .world()
        .fail("getUpdates", Fault::ServerError, Times::Always);
    let mut poll = Poll::new(&house.door.bot, &house.door.desk, &polling);
    let mut pauses = vec![];
    for _ in 0..8 {
        pauses.push(poll.once().await.unwrap().as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(polling.reached(), Reached::NotConnected);
    house.world().calm();
    let slow = Fault::TooMany {
        retry_after: Some(33),
    };
    house.world().fail("getUpdates", slow, Times::Next(1));
    assert_eq!(poll.once().await, Some(Duration::from_secs(33)));
}

#[tokio::test]
async fn s15_the_token_is_in_no_error_and_no_debug_text() {
    let house = House::new();
    let chat = CHAT.try_into().unwrap();
    let token = SecretString::from(TOKEN);
    let message = crate::bot::Message {
        text: "x".to_owned(),
        entities: vec![],
        buttons: vec![],
    };
    let nowhere = "http://127.0.0.1:9".parse().unwrap();
    let there = house.sim.url().parse().unwrap();
    let faults = [
        Fault::TooMany { retry_after: None },
        Fault::ServerError,
        Fault::Garbage,
        Fault::LostReply,
        Fault::Hang,
        Fault::Redirect {
            to: house.sim.url(),
        },
    ];
    let mut said = vec![format!("{:?} {:?}", house.telegram, house.door)];
    for (api, fault) in std::iter::once((&nowhere, None))
        .chain(faults.into_iter().map(|fault| (&there, Some(fault))))
    {
        let bot = Bot::new(api, &token, Duration::from_millis(200)).unwrap();
        if let Some(fault) = fault {
            house.world().fail("sendMessage", fault, Times::Next(1));
        }
        let error = bot.send(chat, &message).await.unwrap_err();
        said.push(format!("{bot:?} {error:?}"));
        let error = error.during("post a message");
        assert!(!matches!(error.kind, ErrorKind::NotFound), "{error}");
        said.push(format!("{error:?} {}", error.chain()));
    }
    for said in said {
        assert!(
            !said.contains("AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"),
            "{said}"
        );
        assert!(!said.contains("110201543"), "{said}");
    }
    for bad in ["", "1:a/../b", "1:a?b", "1:ä", "1: "] {
        let bad = SecretString::from(bad);
        assert!(Bot::new(&there, &bad, Duration::from_secs(1)).is_err());
    }
}

#[tokio::test]
async fn what_is_refused_was_not_done_and_what_breaks_may_have_been() {
    let house = House::new();
    let chat = CHAT.try_into().unwrap();
    let bot = &house.door.bot;
    let message = |text: &str| crate::bot::Message {
        text: text.to_owned(),
        entities: vec![],
        buttons: vec![],
    };
    let elsewhere = (-77).try_into().unwrap();
    let trouble = bot.send(elsewhere, &message("x")).await.unwrap_err();
    assert_eq!(trouble.kind(), ErrorKind::Misconfigured);
    assert!(trouble.to_string().contains("chat not found"), "{trouble}");
    let long = "x".repeat(4_097);
    assert!(bot.send(chat, &message(&long)).await.is_err());
    house.world().migrate(CHAT, -100_000);
    let trouble = bot.send(chat, &message("x")).await.unwrap_err();
    assert!(
        trouble.to_string().contains("chat_id = -100000"),
        "{trouble}"
    );
    house.world().add_group(CHAT, "Access", &[BOB]);
    house.world().kick_bot(CHAT);
    let trouble = bot.send(chat, &message("x")).await.unwrap_err();
    assert_eq!(trouble.kind(), ErrorKind::Forbidden);
    let wrong = SecretString::from("1:wrong");
    let wrong = Bot::new(
        &house.sim.url().parse().unwrap(),
        &wrong,
        Duration::from_secs(5),
    );
    let trouble = wrong.unwrap().updates(None, 0).await.unwrap_err();
    assert_eq!(trouble.kind(), ErrorKind::Forbidden);
    let value: Value = serde_json::json!({"update_id": 1});
    assert_eq!(crate::input::number_of(&value), Some(1));
}

#[tokio::test]
async fn what_could_not_be_kept_is_wanted_again() {
    let (house, url) = called().await;
    let request = house.asked().await;
    house.stage.store.keep_no_inputs(2);
    house
        .world()
        .press(BOB, CHAT, house.card().id, "Approve")
        .unwrap();
    let update = house.world().waiting().remove(0).to_string();
    let status = post(&url, &[SECRET], update).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(house.status(&request).await, Status::Pending);
    // The same for whoever polls: the next question confirms nothing.
    asked_ago(&house, 5).await;
    let polling = Polling::default();
    let mut poll = Poll::new(&house.door.bot, &house.door.desk, &polling);
    assert_eq!(
        polled(&house, &mut poll).await,
        Some(Duration::from_secs(1))
    );
    assert_eq!(house.status(&request).await, Status::Pending);
    assert_eq!(polled(&house, &mut poll).await, None, "it is there still");
    decided(&house, &request).await;
}
