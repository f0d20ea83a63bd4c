//! What Telegram sends, read tolerantly: only the fields that are used, whatever else is there. It is
//! parsed once and becomes an [`Input`], which is what the inbox keeps.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::INPUTS;
use crate::button::Pressed;
use crate::people::{ChatId, UserId};

/// The longest id of a click, in bytes; Telegram's are about twenty digits.
const CLICK_LIMIT: usize = 128;
/// The most that a button carries, in bytes.
/// Source: <https://core.telegram.org/bots/api#inlinekeyboardbutton>
const DATA_LIMIT: usize = 64;

/// A button that somebody pressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// The click, by which it is answered.
    pub(crate) click: String,
    /// Who; none where it is a bot.
    pub(crate) from: Option<UserId>,
    /// Where, as far as Telegram says so.
    pub(crate) chat: Option<ChatId>,
    /// Under which message.
    pub(crate) message: Option<i64>,
    /// The button; none where it carried nothing of ours.
    pub(crate) button: Option<Pressed>,
}

impl Input {
    /// By what the inbox knows it, however often it is sent.
    pub(crate) fn key(&self) -> String {
        format!("{INPUTS}{}", self.click)
    }
}

/// What is to be done with what Telegram sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Read {
    /// Keep it, acknowledge it, then work on it.
    Keep(Input),
    /// Nothing that is of use here.
    Ignore,
    /// It cannot be read.
    Unreadable,
}

/// Reads one update.
pub(crate) fn update(update: &Value) -> Read {
    if number(update, "/update_id").is_none() {
        return Read::Unreadable;
    }
    match update.get("callback_query") {
        None => Read::Ignore,
        Some(query) => click(query).map_or(Read::Unreadable, Read::Keep),
    }
}

/// The number of an update, by which it is confirmed.
pub(crate) fn number_of(update: &Value) -> Option<i64> {
    number(update, "/update_id")
}

fn click(query: &Value) -> Option<Input> {
    let click = query.get("id").and_then(Value::as_str)?;
    // A number, of which Telegram promises nothing: it may be negative.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !(1..=CLICK_LIMIT).contains(&click.len()) || !click.bytes().all(plain) {
        return None;
    }
    let from: UserId = number(query, "/from/id")?.try_into().ok()?;
    let is_bot = query.pointer("/from/is_bot").and_then(Value::as_bool)?;
    let data = query.get("data").and_then(Value::as_str);
    let data = data.filter(|data| (1..=DATA_LIMIT).contains(&data.len()));
    Some(Input {
        click: click.to_owned(),
        from: (!is_bot).then_some(from),
        chat: number(query, "/message/chat/id").and_then(|id| id.try_into().ok()),
        message: number(query, "/message/message_id"),
        button: data.and_then(Pressed::read),
    })
}

fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

#[cfg(test)]
mod tests {
    use jit_testkit::sample::id;

    use super::*;

    #[test]
    fn every_input_ever_released_still_loads() {
        let carries = "req-01kdvdnaz8fajsn9atmndaa001.0123456789abcdef0123456789abcdef";
        let whole = Input {
            click: "4382bfdwdsb323b2d9".to_owned(),
            from: Some(123_456_789.try_into().unwrap()),
            chat: Some((-1_001_234_567_890).try_into().unwrap()),
            message: Some(7),
            button: Pressed::read(carries),
        };
        assert_eq!(whole.button.as_ref().unwrap().request, id(1));
        assert_eq!(whole.key(), "telegram/4382bfdwdsb323b2d9");
        let bare = Input {
            click: "1".to_owned(),
            from: None,
            chat: None,
            message: None,
            button: None,
        };
        let released = [
            (
                whole,
                r#"{"click":"4382bfdwdsb323b2d9","from":123456789,"chat":-1001234567890,"message":7,"button":{"request":"req-01kdvdnaz8fajsn9atmndaa001","carries":"1f09c93ce76d3c29356de2a20ac3ba8564833e9ae622312837c6d73854e32ba6"}}"#,
            ),
            (
                bare,
                r#"{"click":"1","from":null,"chat":null,"message":null,"button":null}"#,
            ),
        ];
        for (input, text) in released {
            assert_eq!(serde_json::from_str::<Input>(text).unwrap(), input);
            assert_eq!(serde_json::to_string(&input).unwrap(), text);
        }
    }
}
