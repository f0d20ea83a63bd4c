//! Who may decide with a button, and what becomes of every other click.

use jit_core::audit::Fact;
use jit_core::lifecycle::Refusal;
use jit_core::ports::{Commit, RequestStore, Row, RowChange};
use jit_core::principal::PrincipalKind;
use jit_core::request::Status;
use jit_testkit::stage::id;
use serde_json::json;

use super::{ANA, BOB, CHAT, DORA, House, ROBOT, STRANGER};

#[tokio::test]
async fn whoever_may_decide_approves_and_the_card_says_so() {
    let house = House::new();
    let request = house.asked().await;
    let card = house.card();
    for words in [
        "ana@example.com",
        "stage/admins",
        "30 min",
        "checkout",
        "tier",
        "Pending",
    ] {
        assert!(
            card.text.contains(words),
            "{words:?} is not in {}",
            card.text
        );
    }
    assert!(card.text.contains(&request.id.to_string()), "{}", card.text);
    let told = house.bob("Approve").await;
    assert_eq!((told.text.as_str(), told.alert), ("Approved.", false));
    house.stage.work().await;
    assert_eq!(house.status(&request).await, Status::Active);
    let card = house.card();
    assert!(
        card.text.contains("Approved by bob@example.com"),
        "{}",
        card.text
    );
    assert!(
        card.text.contains("active until 2026-01-01 00:30 UTC"),
        "{}",
        card.text
    );
    assert!(card.buttons.is_empty(), "{card:#?}");
    let told = house.world().calls().len();
    house.stage.pass(60).await;
    assert_eq!(house.world().calls().len(), told, "nothing is said twice");
    house.stage.pass(1_900).await;
    assert!(
        house.card().text.contains("Ended: its time is up"),
        "{}",
        house.card().text
    );
}

#[tokio::test]
async fn a_button_denies_with_a_reason_that_nobody_wrote() {
    let house = House::new();
    let request = house.asked().await;
    assert_eq!(house.bob("Deny").await.text, "Denied.");
    house.stage.work().await;
    assert_eq!(house.status(&request).await, Status::Denied);
    let text = house.card().text;
    assert!(
        text.contains("Denied by bob@example.com: denied in Telegram"),
        "{text}"
    );
}

#[tokio::test]
async fn a_quorum_counts_each_person_and_each_card_has_buttons_of_its_own() {
    let house = House::needing(2);
    let request = house.asked().await;
    let first = house.card();
    let told = house.bob("Approve").await;
    assert!(told.text.contains("counts"), "{told:?}");
    house.stage.work().await;
    assert_eq!(house.status(&request).await, Status::Pending);
    let second = house.card();
    assert!(second.text.contains("1 of 2 approvals"), "{}", second.text);
    assert_ne!(first.buttons, second.buttons);
    let told = house.bob("Approve").await;
    assert!(told.alert && told.text.contains("already"), "{told:?}");
    let told = house.press(DORA, second.id, "Approve").await;
    assert_eq!(told.text, "Approved.", "a refusal gives the button back");
    house.stage.work().await;
    assert_eq!(house.status(&request).await, Status::Active);
}

#[tokio::test]
async fn s9_nobody_decides_their_own_request_and_the_button_stays_good() {
    let house = House::new();
    let request = house.asked().await;
    let told = house.press(ANA, house.card().id, "Approve").await;
    assert!(
        told.alert && told.text.contains("somebody else must"),
        "{told:?}"
    );
    assert_eq!(house.status(&request).await, Status::Pending);
    assert_eq!(house.bob("Approve").await.text, "Approved.");
}

#[tokio::test]
async fn s10_whoever_leads_to_nobody_decides_nothing_and_is_told_so_alone() {
    let house = House::new();
    let request = house.asked().await;
    let card = house.card();
    for person in [STRANGER, ROBOT] {
        let told = house.press(person, card.id, "Approve").await;
        assert!(
            told.alert && told.text.contains("You are nobody here"),
            "{told:?}"
        );
    }
    house.stage.leaves("bob");
    let told = house.bob("Approve").await;
    assert!(told.alert && told.text.contains("nobody"), "{told:?}");
    assert_eq!(house.status(&request).await, Status::Pending);
    assert_eq!(house.messages().len(), 1, "nobody else hears of it");
}

#[tokio::test]
async fn s10_a_program_does_not_click() {
    let house = House::new();
    let request = house.asked().await;
    let program = PrincipalKind::Service;
    house
        .stage
        .people
        .profiles
        .lock()
        .unwrap()
        .get_mut(&id("bob"))
        .unwrap()
        .kind = program;
    let told = house.bob("Approve").await;
    assert!(told.text.contains("nobody"), "{told:?}");
    assert_eq!(house.status(&request).await, Status::Pending);
}

#[tokio::test]
async fn s10_who_cannot_be_looked_up_decides_nothing_until_they_can() {
    let house = House::new();
    let request = house.asked().await;
    *house.stage.people.is_down.lock().unwrap() = true;
    let told = house.bob("Approve").await;
    assert!(
        told.alert && told.text.contains("Something failed"),
        "{told:?}"
    );
    assert_eq!(house.status(&request).await, Status::Pending);
    *house.stage.people.is_down.lock().unwrap() = false;
    assert_eq!(house.bob("Approve").await.text, "Approved.");
}

#[tokio::test]
async fn s14_a_click_in_another_chat_changes_nothing() {
    let house = House::new();
    let request = house.asked().await;
    let card = house.card();
    let data = &card.button("Approve").unwrap().data;
    house.world().add_group(-2, "Elsewhere", &[BOB]);
    for chat in [-2, BOB] {
        let click = house.world().press_forged(BOB, chat, card.id, data);
        let told = house.answer(&click).await;
        assert!(told.alert && told.text.contains("this chat"), "{told:?}");
    }
    assert_eq!(house.status(&request).await, Status::Pending);
    assert_eq!(house.bob("Approve").await.text, "Approved.");
}

#[tokio::test]
async fn s14_a_button_works_once() {
    let house = House::needing(2);
    let request = house.asked().await;
    let card = house.card();
    let data = card.button("Approve").unwrap().data.clone();
    assert!(house.bob("Approve").await.text.contains("counts"));
    // Dora could approve, and does not with what Bob used.
    for person in [BOB, DORA] {
        let click = house.world().press_forged(person, CHAT, card.id, &data);
        let told = house.answer(&click).await;
        assert!(told.alert && told.text.contains("used already"), "{told:?}");
    }
    assert_eq!(house.stage.load(request.id).await.approvals.len(), 1);
}

#[tokio::test]
async fn s14_the_same_update_is_worked_on_once() {
    let house = House::needing(2);
    let request = house.asked().await;
    let click = house
        .world()
        .press(BOB, CHAT, house.card().id, "Approve")
        .unwrap();
    let update = house.world().waiting().remove(0);
    house.answer(&click).await;
    for _ in 0..3 {
        house.world().send_again(update.clone());
        house.deliver().await;
    }
    assert_eq!(house.stage.store.inputs_left(), 0);
    let events = house.stage.engine.store().events(request.id).await.unwrap();
    let approvals = events.iter().filter_map(|it| it.event().ok());
    let approvals = approvals.filter(|it| matches!(it.event.what, Fact::Approved { .. }));
    assert_eq!(approvals.count(), 1);
}

#[tokio::test]
async fn s12_a_button_under_the_message_of_another_request_is_good_for_neither() {
    let house = House::new();
    let first = house.asked().await;
    let mut ask = house.stage.ask("20m");
    ask.parts[0].0 = "stage/ops".parse().unwrap();
    let via = jit_testkit::stage::via("cleo");
    let second = house.stage.engine.open(&via, ask).await.unwrap();
    house.stage.work().await;
    let [one, other] = house.messages().try_into().unwrap();
    let data = &one.button("Approve").unwrap().data;
    let click = house.world().press_forged(BOB, CHAT, other.id, data);
    let told = house.answer(&click).await;
    assert!(
        told.alert && told.text.contains("not one of this request"),
        "{told:?}"
    );
    for request in [&first, &second] {
        assert_eq!(house.status(request).await, Status::Pending);
    }
    assert_eq!(house.press(BOB, one.id, "Approve").await.text, "Approved.");
    assert_eq!(house.status(&second).await, Status::Pending);
}

#[tokio::test]
async fn s14_what_no_button_of_ours_carries_changes_nothing() {
    let house = House::new();
    let request = house.asked().await;
    let card = house.card();
    let long = "f".repeat(65);
    let guessed = "0".repeat(32);
    let told_id = format!("approve:{}", request.id);
    for data in [
        long.as_str(),
        guessed.as_str(),
        "approve",
        "x",
        told_id.as_str(),
        "🔥",
    ] {
        let click = house.world().press_forged(BOB, CHAT, card.id, data);
        let told = house.answer(&click).await;
        assert!(
            told.alert && told.text.contains("Nothing was changed"),
            "{told:?}"
        );
    }
    assert_eq!(house.status(&request).await, Status::Pending);
}

#[tokio::test]
async fn s14_what_lapsed_is_not_decided_by_an_old_button() {
    let house = House::new();
    let request = house.asked().await;
    let card = house.card();
    let data = card.button("Approve").unwrap().data.clone();
    house.stage.pass(601).await;
    assert_eq!(house.status(&request).await, Status::Lapsed);
    let shown: Vec<_> = house.messages();
    assert!(
        shown[0].text.contains("Nobody answered in time"),
        "{shown:#?}"
    );
    assert!(shown[0].buttons.is_empty());
    let click = house.world().press_forged(BOB, CHAT, card.id, &data);
    let told = house.answer(&click).await;
    assert!(told.alert && told.text.contains("too old"), "{told:?}");
    assert_eq!(house.status(&request).await, Status::Lapsed);
}

#[tokio::test]
async fn s11_who_approves_what_is_no_longer_valid_is_told_that_nothing_was_approved() {
    let house = House::new();
    let request = house.asked().await;
    house.stage.leaves("ana");
    let told = house.bob("Approve").await;
    assert_eq!(
        (told.text.as_str(), told.alert),
        ("No longer valid; nothing was approved.", true)
    );
    assert_eq!(house.status(&request).await, Status::Invalidated);
    assert_eq!(house.stage.store.inputs_left(), 0);
}

#[tokio::test]
async fn s12_what_changed_since_it_was_shown_is_not_approved() {
    let house = House::new();
    let request = house.asked().await;
    // The card showed something else than the record says now.
    let table = "telegram_button";
    let row = house.stage.store.rows(table).await.unwrap().remove(0);
    let shown = request.digest().prefix();
    let other = row.value.replace(&shown, "0123456789abcdef");
    assert_ne!(other, row.value);
    let write = |from: &Row, to: &str| Commit {
        rows: vec![RowChange {
            row: Row {
                value: to.to_owned(),
                ..from.clone()
            },
            expected: Some(from.value.clone()),
        }],
        ..Commit::default()
    };
    let store = &house.stage.store;
    store.commit(write(&row, &other)).await.unwrap();
    for button in ["Approve", "Deny"] {
        let told = house.bob(button).await;
        assert!(told.alert, "{told:?}");
        assert_eq!(told.text, Refusal::StaleDigest.to_string());
    }
    assert_eq!(house.status(&request).await, Status::Pending);
    let now = store.rows(table).await.unwrap().remove(0);
    assert_eq!(now.value, other, "both were given back");
    store.commit(write(&now, &row.value)).await.unwrap();
    assert_eq!(house.bob("Approve").await.text, "Approved.");
}

#[tokio::test]
async fn s14_what_was_decided_at_a_terminal_is_not_decided_again() {
    let house = House::new();
    let request = house.asked().await;
    // Bob looks at the card of a moment ago.
    let card = house.card();
    let data = card.button("Deny").unwrap().data.clone();
    house.stage.approve("dora", &request).await;
    let click = house.world().press_forged(BOB, CHAT, card.id, &data);
    let told = house.answer(&click).await;
    assert!(
        told.alert && told.text.contains("dora@example.com"),
        "{told:?}"
    );
    house.stage.work().await;
    assert_eq!(house.status(&request).await, Status::Active);
}

#[tokio::test]
async fn many_who_press_at_once_are_each_answered() {
    let house = House::needing(2);
    house.asked().await;
    let card = house.card();
    let clicks: Vec<String> = (0..30)
        .map(|place| {
            let button = ["Approve", "Deny"][place % 2];
            house.world().press(ANA, CHAT, card.id, button).unwrap()
        })
        .collect();
    for click in clicks {
        let told = house.answer(&click).await;
        let words = ["somebody else must", "used already"];
        assert!(words.iter().any(|it| told.text.contains(it)), "{told:?}");
    }
    assert!(house.bob("Approve").await.text.contains("counts"));
}

#[tokio::test]
async fn a_click_whose_id_is_negative_is_answered_like_any_other() {
    let house = House::new();
    house.asked().await;
    let card = house.card();
    for begins in ["4", "-4"] {
        let click = house.world().press(ANA, CHAT, card.id, "Approve").unwrap();
        assert!(click.starts_with(begins), "{click}");
        let told = house.answer(&click).await;
        assert!(told.text.contains("somebody else must"), "{told:?}");
    }
}

#[tokio::test]
async fn updates_that_cannot_be_read_change_nothing_and_are_not_wanted_again() {
    let house = House::new();
    let request = house.asked().await;
    let data = house.card().button("Approve").unwrap().data.clone();
    let from = json!({"id": BOB, "is_bot": false});
    let message = json!({"message_id": house.card().id, "chat": {"id": CHAT}});
    for query in [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({"from": from, "message": message, "data": data}),
        json!({"id": "", "from": from, "message": message, "data": data}),
        json!({"id": "a/b", "from": from, "message": message, "data": data}),
        json!({"id": "1".repeat(129), "from": from, "message": message, "data": data}),
        json!({"id": "1", "message": message, "data": data}),
        json!({"id": "1", "from": {"id": "2", "is_bot": false}, "message": message, "data": data}),
        json!({"id": "1", "from": {"id": -2, "is_bot": false}, "message": message, "data": data}),
        json!({"id": "1", "from": {"id": BOB}, "message": message, "data": data}),
    ] {
        house.world().send_update("callback_query", query);
        house.deliver().await;
    }
    // Readable, but under no message, or in no chat: worked on, and refused.
    for query in [
        json!({"id": "21", "from": from, "inline_message_id": "x", "data": data}),
        json!({"id": "22", "from": from, "message": {"chat": {"id": CHAT}}, "data": data}),
        json!({"id": "23", "from": from, "message": message}),
        json!({"id": "24", "from": from, "message": message, "data": {"$ne": ""}}),
    ] {
        house.world().send_update("callback_query", query);
        house.deliver().await;
    }
    for update in [json!(null), json!([]), json!({}), json!({"update_id": "1"})] {
        house.door.desk.take(&update, None).await;
    }
    super::until("all of it", async || {
        (house.stage.store.inputs_left() == 0).then_some(())
    })
    .await;
    assert_eq!(house.status(&request).await, Status::Pending);
    assert_eq!(house.bob("Approve").await.text, "Approved.");
}
