//! Which cards the chat sees, and when somebody is reminded.

use jit_core::request::Status;
use jit_testkit::stage::{secs, via};

use super::{BOB, CHAT, House};

/// Lets time pass where calls fail meanwhile.
async fn pass(house: &House, seconds: u64) {
    for _ in 0..seconds {
        house.stage.clock.advance(secs(1));
        for due in house.stage.engine.due(100).await.unwrap() {
            let _failed = house.stage.engine.tend(due.id).await;
        }
        house.stage.engine.announce_due(100).await.unwrap();
    }
}

#[tokio::test]
async fn what_nobody_has_to_decide_is_told_only_when_something_goes_wrong() {
    let house = House::needing(0);
    let request = house.asked().await;
    assert_eq!(house.status(&request).await, Status::Active);
    house.stage.pass(5).await;
    assert!(house.messages().is_empty(), "{:#?}", house.messages());
    house.stage.pass(2_000).await;
    assert_eq!(house.status(&request).await, Status::Closed);
    assert!(house.messages().is_empty(), "{:#?}", house.messages());
}

#[tokio::test]
async fn what_was_to_go_and_does_not_is_told_until_it_is_gone() {
    let house = House::needing(0);
    let request = house.asked().await;
    let now = house.stage.now();
    house.stage.provider.outage_until(now + secs(4_000));
    pass(&house, 1_800 + 90).await;
    let text = house.card().text;
    assert!(text.contains("STUCK"), "{text}");
    assert!(house.card().buttons.is_empty());
    pass(&house, 4_200 - 1_890).await;
    assert_eq!(house.status(&request).await, Status::Closed);
    assert!(house.card().text.contains("Ended"), "{}", house.card().text);
}

#[tokio::test]
async fn an_unanswered_request_is_brought_up_again_once() {
    let house = House::new();
    house.asked().await;
    let card = house.card();
    house.stage.pass(299).await;
    assert_eq!(house.messages().len(), 1);
    house.stage.pass(2).await;
    let [same, reminder] = house.messages().try_into().unwrap();
    assert_eq!((same.id, &same.text), (card.id, &card.text));
    assert_eq!(reminder.reply_to, Some(card.id));
    assert!(reminder.text.contains("still waits"), "{}", reminder.text);
    house.stage.pass(200).await;
    assert_eq!(house.messages().len(), 2);
    assert_eq!(house.press(BOB, card.id, "Approve").await.text, "Approved.");
    house.stage.work().await;
    house.stage.pass(400).await;
    assert_eq!(house.messages().len(), 2);
}

#[tokio::test]
async fn a_request_for_somebody_else_names_both() {
    let house = House::new();
    let mut ask = house.stage.ask("30m");
    ask.beneficiary = Some(jit_testkit::stage::id("ana"));
    house.stage.engine.open(&via("sven"), ask).await.unwrap();
    house.stage.work().await;
    let text = house.card().text;
    assert!(
        text.contains("Who: sven@example.com for ana@example.com"),
        "{text}"
    );
}

#[tokio::test]
async fn a_card_that_was_deleted_is_there_again_when_somebody_is_reminded_of_it() {
    let house = House::new();
    house.asked().await;
    house.world().delete(CHAT, house.card().id);
    house.stage.pass(301).await;
    let [card, reminder] = house.messages().try_into().unwrap();
    assert_eq!(reminder.reply_to, Some(card.id));
    assert_eq!(house.press(BOB, card.id, "Approve").await.text, "Approved.");
}
