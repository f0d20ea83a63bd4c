//! The methods about messages and clicks. The limits are those of
//! <https://core.telegram.org/bots/api>; the words of a refusal are what the Bot API is known to say.

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::refusal::Refusal;
use crate::state::{Answer, Button, ChatKind, Message, State};

/// The longest text of a message, in characters.
const TEXT_LIMIT: usize = 4_096;
/// The longest answer to a click, in characters.
const ANSWER_LIMIT: usize = 200;
/// The most bytes that a button carries.
const DATA_LIMIT: usize = 64;
/// The most buttons under a message.
const BUTTONS_LIMIT: usize = 100;

/// What a method answers; none where there is no such method.
pub(crate) fn call(
    state: &mut State,
    method: &str,
    arguments: &Arguments,
) -> Option<Result<Value, Refusal>> {
    Some(match method {
        "getMe" => Ok(State::bot()),
        "sendMessage" => send(state, arguments),
        "editMessageText" => edit(state, arguments, What::TextAndButtons),
        "editMessageReplyMarkup" => edit(state, arguments, What::Buttons),
        "answerCallbackQuery" => answer(state, arguments),
        _ => return None,
    })
}

/// The chat, where the bot may write there.
fn open_chat(state: &State, id: i64) -> Result<i64, Refusal> {
    let chat = state.chats.get(&id);
    let chat = chat.ok_or_else(|| Refusal::bad("chat not found"))?;
    match (chat.migrated_to, chat.kicked, chat.kind) {
        (Some(to), _, _) => Err(Refusal::migrated(to)),
        (None, true, ChatKind::Group) => Err(Refusal::new(
            403,
            "Forbidden: bot was kicked from the group chat",
        )),
        (None, true, ChatKind::Private) => {
            Err(Refusal::new(403, "Forbidden: bot was blocked by the user"))
        }
        (None, false, _) => Ok(id),
    }
}

fn text(arguments: &Arguments) -> Result<String, Refusal> {
    // What is white at both ends does not count.
    let text = arguments.text("text").trim();
    if text.is_empty() {
        return Err(Refusal::bad("message text is empty"));
    }
    if text.chars().count() > TEXT_LIMIT {
        return Err(Refusal::bad("message is too long"));
    }
    Ok(text.to_owned())
}

/// What of the text is drawn how. Every entity must lie in the text, counted in UTF-16 code units.
fn entities(arguments: &Arguments, text: &str) -> Result<Value, Refusal> {
    let Some(sent) = arguments.value("entities") else {
        return Ok(json!([]));
    };
    let units = i64::try_from(text.encode_utf16().count()).unwrap_or(i64::MAX);
    let wrong = || Refusal::bad("can't parse MessageEntity");
    for entity in sent.as_array().ok_or_else(wrong)? {
        let number = |name: &str| entity.get(name).and_then(Value::as_i64).ok_or_else(wrong);
        let (offset, length) = (number("offset")?, number("length")?);
        if entity.get("type").and_then(Value::as_str).is_none()
            || offset < 0
            || length < 1
            || offset.saturating_add(length) > units
        {
            return Err(wrong());
        }
    }
    Ok(sent)
}

fn buttons(arguments: &Arguments) -> Result<Vec<Vec<Button>>, Refusal> {
    let Some(markup) = arguments.value("reply_markup") else {
        return Ok(vec![]);
    };
    let wrong = || Refusal::bad("object expected as reply markup");
    let rows = markup.get("inline_keyboard").and_then(Value::as_array);
    let mut read = vec![];
    for row in rows.ok_or_else(wrong)? {
        let row = row.as_array().ok_or_else(wrong)?;
        let row: Result<Vec<Button>, Refusal> = row.iter().map(button).collect();
        read.push(row?);
    }
    if read.iter().map(Vec::len).sum::<usize>() > BUTTONS_LIMIT {
        return Err(Refusal::bad("reply markup is too long"));
    }
    read.retain(|row| !row.is_empty());
    Ok(read)
}

fn button(written: &Value) -> Result<Button, Refusal> {
    let field = |name: &str| written.get(name).and_then(Value::as_str).map(str::to_owned);
    let text = field("text").filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Refusal::bad("can't parse InlineKeyboardButton"))?;
    let data = field("callback_data");
    let data = data.ok_or_else(|| {
        Refusal::bad("can't parse inline keyboard button: Text buttons are unallowed")
    })?;
    match data.len() {
        1..=DATA_LIMIT => Ok(Button { text, data }),
        _ => Err(Refusal::bad("BUTTON_DATA_INVALID")),
    }
}

fn shows_previews(arguments: &Arguments) -> bool {
    let options = arguments.value("link_preview_options");
    let off = options.and_then(|it| it.get("is_disabled").and_then(Value::as_bool));
    off != Some(true)
}

fn send(state: &mut State, arguments: &Arguments) -> Result<Value, Refusal> {
    let chat = open_chat(state, arguments.chat()?)?;
    let text = text(arguments)?;
    let entities = entities(arguments, &text)?;
    let buttons = buttons(arguments)?;
    let reply = arguments.value("reply_parameters");
    let reply_to = reply.as_ref().and_then(|it| it.get("message_id")?.as_i64());
    let without = reply.and_then(|it| it.get("allow_sending_without_reply")?.as_bool());
    let there = |id: i64| {
        state
            .chats
            .get(&chat)
            .is_some_and(|it| it.messages.contains_key(&id))
    };
    let reply_to = match reply_to {
        Some(id) if there(id) => Some(id),
        Some(_) if without != Some(true) => {
            return Err(Refusal::bad("message to be replied not found"));
        }
        Some(_) | None => None,
    };
    let date = state.date();
    state.last_message += 1;
    let message = Message {
        id: state.last_message,
        date,
        text,
        entities,
        buttons,
        reply_to,
        preview: shows_previews(arguments),
        edits: 0,
    };
    let shown = state.shown(chat, &message);
    if let Some(chat) = state.chats.get_mut(&chat) {
        chat.messages.insert(message.id, message);
    }
    Ok(shown)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    TextAndButtons,
    Buttons,
}

fn edit(state: &mut State, arguments: &Arguments, what: What) -> Result<Value, Refusal> {
    let chat = open_chat(state, arguments.chat()?)?;
    let id = arguments.number("message_id");
    let gone = || Refusal::bad("message to edit not found");
    let before = id.and_then(|id| state.chats.get(&chat)?.messages.get(&id));
    let before = before.ok_or_else(gone)?.clone();
    let mut after = before.clone();
    // Without buttons in the call the message has none any more.
    after.buttons = buttons(arguments)?;
    if what == What::TextAndButtons {
        after.text = text(arguments)?;
        after.entities = entities(arguments, &after.text)?;
        after.preview = shows_previews(arguments);
    }
    if after == before {
        return Err(Refusal::bad(
            "message is not modified: specified new message content and reply markup are exactly \
             the same as a current content and reply markup of the message",
        ));
    }
    after.edits += 1;
    let shown = state.shown(chat, &after);
    if let Some(chat) = state.chats.get_mut(&chat) {
        chat.messages.insert(after.id, after);
    }
    Ok(shown)
}

fn answer(state: &mut State, arguments: &Arguments) -> Result<Value, Refusal> {
    let too_old =
        || Refusal::bad("query is too old and response timeout expired or query ID is invalid");
    let text = arguments.text("text");
    if text.chars().count() > ANSWER_LIMIT {
        return Err(Refusal::bad("MESSAGE_TOO_LONG"));
    }
    let query = state.queries.get_mut(arguments.text("callback_query_id"));
    let query = query.filter(|it| !it.expired && it.answer.is_none());
    query.ok_or_else(too_old)?.answer = Some(Answer {
        text: text.to_owned(),
        alert: arguments.flag("show_alert"),
    });
    Ok(json!(true))
}
