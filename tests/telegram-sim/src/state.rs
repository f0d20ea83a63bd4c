//! Everything that there is: people, chats, messages, updates that wait, clicks that were answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;
use serde_json::{Value, json};

use crate::faults::Faults;

/// The id of the one bot.
pub(crate) const BOT: i64 = 110_201_543;
/// When the first message is; each message and update is a second later. No clock is read.
const BEGIN: i64 = 1_790_000_000;

/// A button under a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Button {
    /// What stands on it.
    pub text: String,
    /// What it carries.
    pub data: String,
}

/// A message of the bot, as its readers see it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Its id in its chat.
    pub id: i64,
    /// When it was posted, in seconds; made up.
    pub date: i64,
    /// Its text.
    pub text: String,
    /// What of the text is drawn how, as it was sent.
    pub entities: Value,
    /// Its buttons, row by row.
    pub buttons: Vec<Vec<Button>>,
    /// The message that it answers.
    pub reply_to: Option<i64>,
    /// Whether links in it would be unfolded.
    pub preview: bool,
    /// How often it was changed.
    pub edits: u32,
}

impl Message {
    /// The button with this text.
    pub fn button(&self, text: &str) -> Option<&Button> {
        let mut all = self.buttons.iter().flatten();
        all.find(|button| button.text == text)
    }
}

/// What somebody who pressed a button was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The text; perhaps empty.
    pub text: String,
    /// As a window that they must close, and not as a line that passes.
    pub alert: bool,
}

/// A call of the bot, as it came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// The method.
    pub method: String,
    /// Its arguments.
    pub arguments: Value,
    /// The status that it was answered with; none where it was not.
    pub status: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChatKind {
    Private,
    Group,
}

#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) kind: ChatKind,
    pub(crate) title: String,
    pub(crate) members: BTreeSet<i64>,
    pub(crate) messages: BTreeMap<i64, Message>,
    /// The bot was thrown out.
    pub(crate) kicked: bool,
    /// Its id since it became a supergroup.
    pub(crate) migrated_to: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) is_bot: bool,
}

/// A click that waits for an answer, or had one.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pub(crate) answer: Option<Answer>,
    pub(crate) expired: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    pub(crate) secret: Option<String>,
    pub(crate) last_error: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) people: BTreeMap<i64, Person>,
    pub(crate) chats: BTreeMap<i64, Chat>,
    pub(crate) last_message: i64,
    pub(crate) last_update: i64,
    pub(crate) last_query: i64,
    /// Updates that nobody took yet, in order.
    pub(crate) updates: VecDeque<Value>,
    /// The kinds of update that the bot wants; all where unset.
    pub(crate) wanted: Option<Vec<String>>,
    pub(crate) queries: BTreeMap<String, Query>,
    pub(crate) webhook: Option<Webhook>,
    /// Counts the polls; one that is not the newest is ended.
    pub(crate) polls: u64,
    pub(crate) faults: Faults,
    pub(crate) calls: Vec<Call>,
}

impl State {
    /// The made-up time of what happens now.
    pub(crate) fn date(&self) -> i64 {
        BEGIN + self.last_message + self.last_update
    }

    pub(crate) fn person(&self, id: i64) -> Value {
        let known = self.people.get(&id);
        json!({
            "id": id,
            "is_bot": known.is_some_and(|person| person.is_bot),
            "first_name": known.map_or("Somebody", |person| &person.name),
        })
    }

    pub(crate) fn bot() -> Value {
        json!({
            "id": BOT,
            "is_bot": true,
            "first_name": "JIT",
            "username": "jit_example_bot",
            "can_join_groups": true,
            "can_read_all_group_messages": false,
            "supports_inline_queries": false,
        })
    }

    pub(crate) fn chat(&self, id: i64) -> Value {
        match self.chats.get(&id) {
            Some(chat) if chat.kind == ChatKind::Private => {
                json!({"id": id, "type": "private", "first_name": chat.title})
            }
            Some(chat) => json!({"id": id, "type": "supergroup", "title": chat.title}),
            None => json!({"id": id, "type": "group"}),
        }
    }

    /// A message as methods and updates show it.
    pub(crate) fn shown(&self, chat: i64, message: &Message) -> Value {
        let row = |row: &Vec<Button>| -> Value {
            let buttons = row
                .iter()
                .map(|it| json!({"text": it.text, "callback_data": it.data}));
            buttons.collect()
        };
        let mut shown = json!({
            "message_id": message.id,
            "from": Self::bot(),
            "chat": self.chat(chat),
            "date": message.date,
            "text": message.text,
        });
        if let Some(fields) = shown.as_object_mut() {
            if !message.buttons.is_empty() {
                let rows: Value = message.buttons.iter().map(row).collect();
                fields.insert("reply_markup".to_owned(), json!({"inline_keyboard": rows}));
            }
            if message.edits > 0 {
                let edited = message.date + i64::from(message.edits);
                fields.insert("edit_date".to_owned(), edited.into());
            }
        }
        shown
    }

    /// Something happened that the bot may want to hear of.
    pub(crate) fn happened(&mut self, kind: &str, what: Value) -> i64 {
        self.last_update += 1;
        let number = self.last_update;
        let wants = |wanted: &Vec<String>| wanted.iter().any(|it| it == kind);
        if self.wanted.as_ref().is_none_or(wants) {
            let mut update = json!({"update_id": number});
            if let Some(fields) = update.as_object_mut() {
                fields.insert(kind.to_owned(), what);
            }
            self.updates.push_back(update);
        }
        number
    }
}
