//! Clicks, and answers to them.

use serde_json::json;
use telegram_sim::NotPressed;

use crate::client::{ANA, CHAT, posted, refused, sim, well};

#[test]
fn a_click_is_answered_once_and_in_200_characters() {
    let sim = sim();
    let id = posted(&sim, "data");
    let click = sim.world().press(ANA, CHAT, id, "Yes").unwrap();
    let update = sim.world().waiting().remove(0);
    let query = &update["callback_query"];
    assert_eq!(query["data"], "data");
    assert_eq!(query["from"]["id"], ANA);
    assert_eq!(query["message"]["message_id"], id);
    assert_eq!(query["message"]["chat"]["id"], CHAT);
    let answer =
        |text: String| json!({"callback_query_id": click, "text": text, "show_alert": true});
    let long = answer("ö".repeat(201));
    refused(&sim, 400, "answerCallbackQuery", long);
    assert_eq!(sim.world().answer(&click), None);
    well(&sim, "answerCallbackQuery", answer("ö".repeat(200)));
    assert!(sim.world().answer(&click).unwrap().alert);
    let said = refused(&sim, 400, "answerCallbackQuery", answer("again".to_owned()));
    assert!(said.contains("query is too old"), "{said}");
}

#[test]
fn a_click_that_is_too_old_is_not_answered() {
    let sim = sim();
    let id = posted(&sim, "data");
    let click = sim.world().press(ANA, CHAT, id, "Yes").unwrap();
    sim.world().expire_clicks();
    let said = refused(
        &sim,
        400,
        "answerCallbackQuery",
        json!({"callback_query_id": click}),
    );
    assert!(said.contains("query is too old"), "{said}");
}

#[test]
fn whoever_does_not_see_a_button_does_not_press_it() {
    let sim = sim();
    let world = sim.world();
    world.add_person(8, "Bob");
    let id = posted(&sim, "data");
    assert_eq!(world.press(8, CHAT, id, "Yes"), Err(NotPressed::NotThere));
    assert_eq!(world.press(ANA, CHAT, id, "No"), Err(NotPressed::NoButton));
    world.delete(CHAT, id);
    assert_eq!(
        world.press(ANA, CHAT, id, "Yes"),
        Err(NotPressed::NoMessage)
    );
}
