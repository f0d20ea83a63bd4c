//! What died, went away or was deleted at the worst moment: cards and buttons are right all the same.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::ports::{Announcement, Clock, Directory, Inbox, PortError, RequestStore};
use jit_core::principal::{PrincipalId, Profile};
use jit_core::request::Status;
use jit_testkit::store::CommitFault;
use telegram_sim::{Fault, Message, Times};

use super::{ANA, BOB, CHAT, House, until};
use crate::button::Pressed;
use crate::desk::{Ack, Desk, DeskParts};
use crate::input::{Read, update};

/// Knows nobody, and not even that.
struct Panics;

#[async_trait]
impl Directory for Panics {
    async fn profile(&self, _: &PrincipalId) -> Result<Option<Profile>, PortError> {
        panic!("a directory that panics");
    }
}

/// A card is posted, and the process dies before it notes that.
async fn crashed_after_posting(house: &House) -> Message {
    let request = house.stage.open("ana", "30m").await;
    let delivery = house.stage.store.deliveries();
    let delivery = delivery
        .into_iter()
        .find(|it| it.key.notifier == "telegram")
        .unwrap();
    let notifier = house.telegram.notifier();
    let announcement = Announcement {
        delivery: &delivery,
        request: &request,
        news: &[],
        background: None,
    };
    let _lost = notifier.announce(announcement).await.unwrap();
    let card = house.card();
    house.stage.work().await;
    card
}

#[tokio::test]
async fn a_crash_behind_a_card_makes_one_more_and_both_work() {
    for on_the_first in [true, false] {
        let house = House::new();
        let first = crashed_after_posting(&house).await;
        let [_, second] = house.messages().try_into().unwrap();
        assert_ne!(first.buttons, second.buttons);
        house.stage.work().await;
        assert_eq!(house.messages().len(), 2, "one more, and no others");
        let pressed = if on_the_first { &first } else { &second };
        let told = house.press(BOB, pressed.id, "Approve").await;
        assert_eq!(told.text, "Approved.");
        house.stage.work().await;
        let request = house.stage.store.records().remove(0);
        assert_eq!(request.status(), Status::Active);
        assert!(
            house.messages()[1].text.contains("Approved by bob"),
            "the newer is kept up"
        );
    }
}

#[tokio::test]
async fn a_reply_that_was_lost_makes_one_more_card_and_both_work() {
    for on_the_first in [true, false] {
        let house = House::new();
        house
            .world()
            .fail("sendMessage", Fault::LostReply, Times::Next(1));
        let request = house.asked().await;
        house.stage.pass(5).await;
        let [first, second] = house.messages().try_into().unwrap();
        let pressed = if on_the_first { first } else { second };
        let told = house.press(BOB, pressed.id, "Approve").await;
        assert_eq!(told.text, "Approved.");
        house.stage.work().await;
        assert_eq!(house.status(&request).await, Status::Active);
    }
}

#[tokio::test]
async fn a_change_whose_reply_was_lost_brings_other_buttons_and_both_work() {
    for on_the_first in [true, false] {
        let house = House::needing(2);
        let request = house.asked().await;
        house
            .world()
            .fail("editMessageText", Fault::LostReply, Times::Next(1));
        house.stage.approve("dora", &request).await;
        house.stage.work().await;
        let first = house.card();
        house.stage.pass(10).await;
        let second = house.card();
        assert_ne!(first.buttons, second.buttons);
        let pressed = if on_the_first { &first } else { &second };
        let data = &pressed.button("Approve").unwrap().data;
        let click = house.world().press_forged(BOB, CHAT, second.id, data);
        assert_eq!(house.answer(&click).await.text, "Approved.");
    }
}

#[tokio::test]
async fn a_request_keeps_one_row_however_often_its_card_is_drawn() {
    let house = House::new();
    let request = house.asked().await;
    let first = house.card().button("Approve").unwrap().data.clone();
    let buttons = &house.telegram.buttons;
    let mut last = vec![];
    for _ in 0..50 {
        buttons.forget(request.id);
        last.push(buttons.make(&request, None).await.unwrap());
    }
    let rows = house.stage.store.rows("telegram_button").await.unwrap();
    assert_eq!(rows.len(), 1);
    let kept: Vec<serde_json::Value> = serde_json::from_str(&rows[0].value).unwrap();
    assert_eq!(kept.len(), 16);
    let pressed = |data: &str| Pressed::read(data).unwrap();
    let now = house.stage.clock.now();
    for (data, good) in [
        (&first, false),
        (&last[42].deny, true),
        (&last[41].deny, false),
    ] {
        let taken = buttons.take(&pressed(data), 1, "somebody", now).await;
        assert_eq!(taken.unwrap().is_ok(), good);
    }
}

#[tokio::test]
async fn a_button_is_given_back_though_the_store_fails_for_a_moment() {
    let house = House::new();
    house.asked().await;
    let lost = CommitFault::LostCall;
    for faults in [vec![CommitFault::LostReply], vec![lost], vec![lost, lost]] {
        let click = taken_by_ana(&house).await;
        house.stage.store.fail_next_commits(faults);
        let (pressed, key) = (click.button.clone().unwrap(), click.key());
        let buttons = &house.telegram.buttons;
        buttons.give_back(&pressed, &key).await.unwrap();
        assert_eq!(used(&house).await, 0);
    }
    assert_eq!(house.bob("Approve").await.text, "Approved.");
}

/// A click of Ana's that took its button.
async fn taken_by_ana(house: &House) -> crate::input::Input {
    let card = house.card().id;
    house.world().press(ANA, CHAT, card, "Approve").unwrap();
    let Read::Keep(input) = update(&house.world().take_waiting()[0]) else {
        panic!("a click is an input");
    };
    let (pressed, now) = (input.button.clone().unwrap(), house.stage.clock.now());
    let taken = house
        .telegram
        .buttons
        .take(&pressed, card, &input.key(), now)
        .await;
    assert!(taken.unwrap().is_ok());
    assert_eq!(used(house).await, 1);
    input
}

/// Waits until this process works on nothing more.
async fn left(desk: &Desk) {
    let idle = async || desk.works_on().is_empty().then_some(());
    until("the end of the work", idle).await;
}

/// How many buttons are used.
async fn used(house: &House) -> usize {
    let rows = house.stage.store.rows("telegram_button").await.unwrap();
    rows.iter()
        .map(|row| row.value.matches("used_by").count())
        .sum()
}

#[tokio::test]
async fn a_button_that_could_not_be_given_back_is_mended_by_whoever_takes_over() {
    let house = House::new();
    let request = house.asked().await;
    house
        .world()
        .press(ANA, CHAT, house.card().id, "Approve")
        .unwrap();
    let sent = house.world().take_waiting().remove(0);
    let Read::Keep(input) = update(&sent) else {
        panic!("a click is an input");
    };
    // It took the button, and then the store was away for a while.
    let (pressed, now) = (input.button.clone().unwrap(), house.stage.clock.now());
    let (buttons, under) = (&house.telegram.buttons, input.message.unwrap());
    let taken = buttons.take(&pressed, under, &input.key(), now).await;
    assert!(taken.unwrap().is_ok());
    house
        .stage
        .store
        .fail_next_commits([CommitFault::LostCall; 4]);
    assert_eq!(house.door.desk.take(&sent, None).await, Ack::Taken);
    let told = until("an answer", async || house.world().answer(&input.click)).await;
    assert!(told.alert, "{told:?}");
    left(&house.door.desk).await;
    assert_eq!(
        (used(&house).await, house.stage.store.inputs_left()),
        (1, 1)
    );
    house.stage.clock.advance(Duration::from_secs(31));
    assert_eq!(house.door.desk.take_over().await.unwrap(), 1);
    until("the end of it", async || {
        (house.stage.store.inputs_left() == 0).then_some(())
    })
    .await;
    assert_eq!(used(&house).await, 0);
    assert_eq!(house.status(&request).await, Status::Pending);
    assert_eq!(house.bob("Approve").await.text, "Approved.");
}

#[tokio::test]
async fn a_click_that_makes_us_panic_is_worked_on_again() {
    let house = House::new();
    let request = house.asked().await;
    let desk = Arc::new(Desk::new(DeskParts {
        chat: CHAT.try_into().unwrap(),
        engine: house.stage.engine.clone(),
        bot: Arc::clone(&house.door.bot),
        buttons: Arc::clone(&house.telegram.buttons),
        directory: Arc::new(Panics),
    }));
    let click = house
        .world()
        .press(BOB, CHAT, house.card().id, "Approve")
        .unwrap();
    let sent = house.world().take_waiting().remove(0);
    assert_eq!(desk.take(&sent, None).await, Ack::Taken);
    let told = until("an answer", async || house.world().answer(&click)).await;
    assert!(told.alert && told.text.contains("tried again"), "{told:?}");
    left(&desk).await;
    assert_eq!(house.stage.store.inputs_left(), 1);
    // Another process does not panic.
    house.stage.clock.advance(Duration::from_secs(31));
    assert_eq!(house.door.desk.take_over().await.unwrap(), 1);
    until("the decision", async || {
        (house.status(&request).await != Status::Pending).then_some(())
    })
    .await;
    assert_eq!(house.stage.store.inputs_left(), 0);
}

#[tokio::test]
async fn while_telegram_takes_nothing_a_card_waits_with_the_same_buttons() {
    let house = House::new();
    let busy = Fault::TooMany {
        retry_after: Some(5),
    };
    house.world().fail("sendMessage", busy, Times::Always);
    house.asked().await;
    house.stage.pass(30).await;
    house.world().calm();
    house.stage.pass(10).await;
    let calls = house.world().calls();
    let carried = calls
        .iter()
        .map(|call| call.arguments["reply_markup"].to_string());
    let carried: Vec<String> = carried.collect();
    assert!(carried.len() > 3, "it is tried again: {}", carried.len());
    assert!(carried.iter().all(|it| *it == carried[0]), "{carried:#?}");
    let rows = house.stage.store.rows("telegram_button").await.unwrap();
    assert_eq!(rows.len(), 1, "each try keeps the same two");
    let data = house.card().button("Approve").unwrap().data.clone();
    assert!(
        rows.iter()
            .all(|row| !row.value.contains(&data) && row.key != data),
        "the store keeps digests alone"
    );
    assert_eq!(house.bob("Approve").await.text, "Approved.");
}

#[tokio::test]
async fn a_card_that_somebody_deleted_is_posted_anew_and_works() {
    let house = House::needing(2);
    house.asked().await;
    let first = house.card();
    house.world().delete(CHAT, first.id);
    let request = house.stage.store.records().remove(0);
    house.stage.approve("dora", &request).await;
    house.stage.work().await;
    let card = house.card();
    assert!(
        card.id > first.id && card.text.contains("1 of 2"),
        "{card:#?}"
    );
    assert_eq!(house.bob("Approve").await.text, "Approved.");
    house.stage.work().await;
    assert_eq!(house.card().id, card.id);
}

#[tokio::test]
async fn a_message_that_says_it_already_is_said() {
    let house = House::new();
    let request = house.asked().await;
    house.stage.approve("bob", &request).await;
    house.stage.work().await;
    // The next change is drawn, and its answer lost: the same is drawn again.
    house
        .world()
        .fail("editMessageText", Fault::Garbage, Times::Next(1));
    house.stage.pass(1_810).await;
    let calls = house.world().calls();
    let refused = calls
        .iter()
        .any(|it| it.method == "editMessageText" && it.status == Some(400));
    assert!(refused, "Telegram said that it is not modified");
    assert!(house.card().text.contains("Ended"), "{}", house.card().text);
    let rows = house.stage.store.deliveries();
    assert!(rows.iter().all(|row| row.attempts == 0), "{rows:#?}");
}

#[tokio::test]
async fn a_pause_that_telegram_wants_is_kept() {
    let house = House::new();
    let pause = Fault::TooMany {
        retry_after: Some(40),
    };
    house.world().fail("sendMessage", pause, Times::Next(1));
    house.asked().await;
    let asked = || house.world().calls().len();
    assert_eq!(asked(), 1);
    // What is new meanwhile waits as well.
    let mut ask = house.stage.ask("20m");
    ask.parts[0].0 = "stage/ops".parse().unwrap();
    let cleo = jit_testkit::stage::via("cleo");
    house.stage.engine.open(&cleo, ask).await.unwrap();
    house.stage.pass(39).await;
    assert_eq!(asked(), 1, "nothing is sent before it is over");
    house.stage.pass(3).await;
    assert_eq!(house.messages().len(), 2);
    assert_eq!(asked(), 3);
}

#[tokio::test]
async fn a_click_that_a_dead_process_took_is_worked_on_by_another() {
    let house = House::new();
    let request = house.asked().await;
    let click = house
        .world()
        .press(BOB, CHAT, house.card().id, "Approve")
        .unwrap();
    let Read::Keep(input) = update(&house.world().take_waiting()[0]) else {
        panic!("a click is an input");
    };
    let (key, now) = (input.key(), house.stage.clock.now());
    let text = serde_json::to_string(&input).unwrap();
    let kept = house.stage.store.inbox_put(&key, &text, now).await.unwrap();
    assert_eq!(kept, Inbox::New);
    // It took the button, too, before it died.
    let pressed = input.button.unwrap();
    let buttons = &house.telegram.buttons;
    let taken = buttons
        .take(&pressed, input.message.unwrap(), &key, now)
        .await;
    assert!(taken.unwrap().is_ok());
    house.stage.clock.advance(Duration::from_secs(31));
    assert_eq!(house.door.desk.take_over().await.unwrap(), 1);
    let told = until("an answer", async || house.world().answer(&click)).await;
    assert_eq!(told.text, "Approved.");
    house.stage.work().await;
    assert_eq!(house.status(&request).await, Status::Active);
}

#[tokio::test]
async fn a_click_that_is_found_too_late_is_not_applied_and_its_button_is_good_again() {
    let house = House::new();
    let request = house.asked().await;
    let click = house
        .world()
        .press(BOB, CHAT, house.card().id, "Approve")
        .unwrap();
    let Read::Keep(input) = update(&house.world().take_waiting()[0]) else {
        panic!("a click is an input");
    };
    let (key, now) = (input.key(), house.stage.clock.now());
    let text = serde_json::to_string(&input).unwrap();
    house.stage.store.inbox_put(&key, &text, now).await.unwrap();
    let (pressed, under) = (input.button.unwrap(), input.message.unwrap());
    let taken = house
        .telegram
        .buttons
        .take(&pressed, under, &key, now)
        .await;
    assert!(taken.unwrap().is_ok());
    house.stage.clock.advance(Duration::from_secs(121));
    house.door.desk.take_over().await.unwrap();
    let told = until("an answer", async || house.world().answer(&click)).await;
    assert!(told.alert && told.text.contains("too late"), "{told:?}");
    assert_eq!(house.status(&request).await, Status::Pending);
    assert_eq!(house.bob("Approve").await.text, "Approved.");
}

#[tokio::test]
async fn whoever_cannot_be_answered_any_more_has_decided_all_the_same() {
    let house = House::new();
    let request = house.asked().await;
    house
        .world()
        .press(BOB, CHAT, house.card().id, "Approve")
        .unwrap();
    house.world().expire_clicks();
    house.deliver().await;
    until("the decision", async || {
        (house.status(&request).await != Status::Pending).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_another_door_left_is_kept_for_that_door() {
    let house = House::new();
    let now = house.stage.clock.now();
    let store = &house.stage.store;
    store
        .inbox_put("click/of/another", "{}", now)
        .await
        .unwrap();
    store
        .inbox_put("telegram/1", "not ours", now)
        .await
        .unwrap();
    house.stage.clock.advance(Duration::from_secs(31));
    let (desk, engine) = (&house.door.desk, &house.stage.engine);
    assert_eq!(desk.take_over().await.unwrap(), 1, "that of ours");
    let others = |key: &str| key.starts_with("click/");
    let kept = engine.take_inputs(others, 10).await.unwrap();
    let keys: Vec<&str> = kept.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["click/of/another"], "its own door finds it at once");
    assert!(engine.take_inputs(others, 10).await.unwrap().is_empty());
    // The other way round, and too late: by then the store gives it to any process.
    house.stage.clock.advance(Duration::from_secs(31));
    assert_eq!(engine.take_inputs(others, 10).await.unwrap().len(), 1);
    house.stage.clock.advance(Duration::from_secs(21));
    assert_eq!(desk.take_over().await.unwrap(), 0);
    house.stage.clock.advance(Duration::from_secs(10));
    assert_eq!(desk.take_over().await.unwrap(), 1);
}
