//! Sending and changing messages.

use serde_json::json;

use crate::client::{ANA, CHAT, call, posted, raw, refused, sim, well};

#[test]
fn the_bot_is_known_by_its_token_alone() {
    let sim = sim();
    assert_eq!(well(&sim, "getMe", json!({}))["is_bot"], true);
    for (path, status) in [("/bot1:x/getMe", 401), ("/getMe", 404), ("/x/getMe", 404)] {
        let (got, body) = raw(&format!("{}{path}", sim.url()), "", "").unwrap();
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains("\"ok\":false"), "{body}");
    }
    assert_eq!(refused(&sim, 404, "getMee", json!({})), "Not Found");
}

#[test]
fn a_message_is_posted_and_changed_and_not_changed_into_itself() {
    let sim = sim();
    let id = posted(&sim, "x");
    let edit = json!({"chat_id": CHAT, "message_id": id, "text": "!"});
    well(&sim, "editMessageText", edit.clone());
    let message = sim.world().messages(CHAT).remove(0);
    assert_eq!((message.text.as_str(), message.edits), ("!", 1));
    assert!(
        message.buttons.is_empty(),
        "an edit without buttons removes them"
    );
    let said = refused(&sim, 400, "editMessageText", edit);
    assert!(said.contains("message is not modified"), "{said}");
    sim.world().delete(CHAT, id);
    let edit = json!({"chat_id": CHAT, "message_id": id, "text": "?"});
    let said = refused(&sim, 400, "editMessageText", edit);
    assert_eq!(said, "Bad Request: message to edit not found");
}

#[test]
fn buttons_alone_can_be_changed() {
    let sim = sim();
    let id = posted(&sim, "x");
    well(
        &sim,
        "editMessageReplyMarkup",
        json!({"chat_id": CHAT, "message_id": id}),
    );
    let message = sim.world().messages(CHAT).remove(0);
    assert_eq!((message.text.as_str(), message.buttons.len()), ("?", 0));
}

#[test]
fn a_text_has_1_to_4096_characters() {
    let sim = sim();
    for (text, status) in [
        (String::new(), 400),
        (" \n ".to_owned(), 400),
        ("ö".repeat(4_096), 200),
        ("ö".repeat(4_097), 400),
    ] {
        let (got, said) = call(&sim, "sendMessage", json!({"chat_id": CHAT, "text": text}));
        assert_eq!(got, status, "{} characters: {said}", text.chars().count());
    }
}

#[test]
fn a_button_carries_1_to_64_bytes() {
    let sim = sim();
    for (data, status) in [
        (String::new(), 400),
        ("x".repeat(64), 200),
        ("ö".repeat(32), 200),
        ("x".repeat(65), 400),
        ("ö".repeat(33), 400),
    ] {
        let keyboard = json!({"inline_keyboard": [[{"text": "a", "callback_data": data}]]});
        let message = json!({"chat_id": CHAT, "text": "a", "reply_markup": keyboard});
        let (got, said) = call(&sim, "sendMessage", message);
        assert_eq!(got, status, "{data:?}: {said}");
        if status == 400 {
            assert_eq!(said["description"], "Bad Request: BUTTON_DATA_INVALID");
        }
    }
}

#[test]
fn entities_lie_in_the_text() {
    let sim = sim();
    for (offset, length, status) in [
        (0, 3, 200),
        (2, 1, 200),
        (0, 4, 400),
        (-1, 1, 400),
        (0, 0, 400),
    ] {
        // One character of two code units, and one of one.
        let entity = json!({"type": "code", "offset": offset, "length": length});
        let message = json!({"chat_id": CHAT, "text": "🔥a", "entities": [entity]});
        assert_eq!(
            call(&sim, "sendMessage", message).0,
            status,
            "{offset} {length}"
        );
    }
}

#[test]
fn a_bot_writes_where_it_is() {
    let sim = sim();
    let send = |chat: serde_json::Value| json!({"chat_id": chat, "text": "a"});
    well(&sim, "sendMessage", send(json!(ANA)));
    well(&sim, "sendMessage", send(json!(CHAT.to_string())));
    for nowhere in [json!(8), json!("@nobody"), json!(null)] {
        let said = refused(&sim, 400, "sendMessage", send(nowhere));
        assert_eq!(said, "Bad Request: chat not found");
    }
    sim.world().migrate(CHAT, -1_000);
    let (status, said) = call(&sim, "sendMessage", send(json!(CHAT)));
    assert_eq!(status, 400);
    assert_eq!(said["parameters"]["migrate_to_chat_id"], -1_000);
    sim.world().kick_bot(-1_000);
    let said = refused(&sim, 403, "sendMessage", send(json!(-1_000)));
    assert!(said.contains("kicked"), "{said}");
}

#[test]
fn a_reply_is_to_something_unless_it_need_not_be() {
    let sim = sim();
    let id = posted(&sim, "x");
    let reply = |to: i64, anyway: bool| {
        let reply = json!({"message_id": to, "allow_sending_without_reply": anyway});
        json!({"chat_id": CHAT, "text": "a", "reply_parameters": reply})
    };
    well(&sim, "sendMessage", reply(id, false));
    let said = refused(&sim, 400, "sendMessage", reply(99, false));
    assert!(said.contains("message to be replied not found"), "{said}");
    well(&sim, "sendMessage", reply(99, true));
    let replies: Vec<_> = sim
        .world()
        .messages(CHAT)
        .iter()
        .map(|it| it.reply_to)
        .collect();
    assert_eq!(replies, [None, Some(id), None]);
}

#[test]
fn arguments_come_as_json_as_a_form_and_in_the_address() {
    let sim = sim();
    let url = format!("{}/bot{}/sendMessage", sim.url(), telegram_sim::TOKEN);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let (status, _) = raw(&url, form, "chat_id=-100&text=form").unwrap();
    assert_eq!(status, 200);
    let (status, _) = raw(&format!("{url}?chat_id=-100&text=address"), "", "").unwrap();
    assert_eq!(status, 200);
    let (status, _) = raw(&url, "Content-Type: application/json\r\n", "{").unwrap();
    assert_eq!(status, 400);
    let said: Vec<_> = sim
        .world()
        .messages(CHAT)
        .into_iter()
        .map(|it| it.text)
        .collect();
    assert_eq!(said, ["form", "address"]);
}
