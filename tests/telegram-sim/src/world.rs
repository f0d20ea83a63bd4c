//! Everybody and everything that is said, and what people do there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::faults::{Fault, Times};
use crate::state::{Answer, Call, Chat, ChatKind, Message, Person, Query, State, Webhook};

/// The chats of one bot. Cheap to clone; every clone is the same world.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    stir: Arc<Notify>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// Why somebody could not press a button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPressed {
    /// They are not in that chat.
    NotThere,
    /// The message is not there.
    NoMessage,
    /// The message has no such button.
    NoButton,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            stir: Arc::default(),
        }
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut state)
    }

    /// Ready when something happens from now on.
    pub(crate) fn stirred(&self) -> impl Future<Output = ()> + use<> {
        let mut notified: std::pin::Pin<Box<OwnedNotified>> =
            Box::pin(Arc::clone(&self.stir).notified_owned());
        // From now on, and not from the first look.
        notified.as_mut().enable();
        notified
    }

    /// Wakes whoever waits.
    pub(crate) fn stir(&self) {
        self.stir.notify_waiters();
    }

    // ------------------------------------------------------------------------ people and chats

    /// Somebody, with a private chat in which they started the bot.
    pub fn add_person(&self, id: i64, name: &str) {
        self.add(id, name, false);
    }

    /// A bot of somebody else.
    pub fn add_bot(&self, id: i64, name: &str) {
        self.add(id, name, true);
    }

    fn add(&self, id: i64, name: &str, is_bot: bool) {
        self.with(|state| {
            let name = name.to_owned();
            state.people.insert(
                id,
                Person {
                    name: name.clone(),
                    is_bot,
                },
            );
            state
                .chats
                .insert(id, chat(ChatKind::Private, name, [id].into()));
        });
    }

    /// A group with the bot and these members in it.
    pub fn add_group(&self, id: i64, title: &str, members: &[i64]) {
        let members = members.iter().copied().collect();
        let made = chat(ChatKind::Group, title.to_owned(), members);
        self.with(|state| state.chats.insert(id, made));
    }

    /// The bot is thrown out of a group, or blocked by a person.
    pub fn kick_bot(&self, chat: i64) {
        self.change(chat, |chat| chat.kicked = true);
    }

    /// The group becomes a supergroup with another id, with everybody in it and nothing said.
    pub fn migrate(&self, from: i64, to: i64) {
        let members = self.with(|state| {
            let old = state.chats.get_mut(&from)?;
            old.migrated_to = Some(to);
            Some((old.title.clone(), old.members.clone()))
        });
        if let Some((title, members)) = members {
            let made = chat(ChatKind::Group, title, members);
            self.with(|state| state.chats.insert(to, made));
        }
    }

    fn change(&self, id: i64, change: impl FnOnce(&mut Chat)) {
        self.with(|state| state.chats.get_mut(&id).map(change));
    }

    // ------------------------------------------------------------------------------- messages

    /// The bot's messages in a chat as they are now, the oldest first.
    pub fn messages(&self, chat: i64) -> Vec<Message> {
        self.with(|state| {
            let chat = state.chats.get(&chat);
            chat.map_or(vec![], |chat| chat.messages.values().cloned().collect())
        })
    }

    /// Somebody deletes a message.
    pub fn delete(&self, chat: i64, message: i64) {
        self.change(chat, |chat| {
            chat.messages.remove(&message);
        });
    }

    // --------------------------------------------------------------------------------- clicks

    /// Somebody presses the button with this text. The id of the click, by which the bot answers.
    ///
    /// # Errors
    /// Where they do not see such a button.
    pub fn press(
        &self,
        person: i64,
        chat: i64,
        message: i64,
        text: &str,
    ) -> Result<String, NotPressed> {
        let data = self.with(|state| {
            let there = state.chats.get(&chat).ok_or(NotPressed::NotThere)?;
            if !there.members.contains(&person) {
                return Err(NotPressed::NotThere);
            }
            let message = there.messages.get(&message).ok_or(NotPressed::NoMessage)?;
            let button = message.button(text).ok_or(NotPressed::NoButton)?;
            Ok(button.data.clone())
        })?;
        Ok(self.press_forged(person, chat, message, &data))
    }

    /// The same with whatever data a client that was tampered with, or that did not hear of the last
    /// change, may send.
    pub fn press_forged(&self, person: i64, chat: i64, message: i64, data: &str) -> String {
        let id = self.with(|state| {
            let shown = state
                .chats
                .get(&chat)
                .and_then(|it| it.messages.get(&message));
            // What was deleted is still named, without anything in it.
            let shown = match shown {
                Some(message) => state.shown(chat, message),
                None => json!({"chat": state.chat(chat), "message_id": message, "date": 0}),
            };
            state.last_query += 1;
            // It may be negative: every second one is.
            let sign = if state.last_query % 2 == 0 { "-" } else { "" };
            let id = format!("{sign}43825713950{:08}", state.last_query);
            state.queries.insert(id.clone(), Query::default());
            let query = json!({
                "id": id,
                "from": state.person(person),
                "message": shown,
                "chat_instance": format!("{}", chat.unsigned_abs()),
                "data": data,
            });
            state.happened("callback_query", query);
            id
        });
        self.stir();
        id
    }

    /// Any update at all, of this kind.
    pub fn send_update(&self, kind: &str, what: Value) {
        self.with(|state| state.happened(kind, what));
        self.stir();
    }

    /// Somebody writes something that the bot sees.
    pub fn say(&self, person: i64, chat: i64, text: &str) {
        let message = self.with(|state| {
            state.last_message += 1;
            json!({
                "message_id": state.last_message,
                "from": state.person(person),
                "chat": state.chat(chat),
                "date": state.date(),
                "text": text,
            })
        });
        self.send_update("message", message);
    }

    /// This update is sent once more, as after an answer that was lost.
    pub fn send_again(&self, update: Value) {
        self.with(|state| state.updates.push_back(update));
        self.stir();
    }

    /// Updates that nobody took yet, in order.
    pub fn waiting(&self) -> Vec<Value> {
        self.with(|state| state.updates.iter().cloned().collect())
    }

    /// The same, and nobody else gets them any more.
    pub fn take_waiting(&self) -> Vec<Value> {
        self.with(|state| state.updates.drain(..).collect())
    }

    /// What whoever made this click was told, if they were.
    pub fn answer(&self, click: &str) -> Option<Answer> {
        self.with(|state| state.queries.get(click)?.answer.clone())
    }

    /// No click so far can be answered any more.
    pub fn expire_clicks(&self) {
        self.with(|state| state.queries.values_mut().for_each(|it| it.expired = true));
    }

    // -------------------------------------------------------------------------------- trouble

    /// Calls of a method go wrong from now on; `*` is every method.
    pub fn fail(&self, method: &str, fault: Fault, times: Times) {
        self.with(|state| state.faults.add(method, fault, times));
    }

    /// Nothing goes wrong any more.
    pub fn calm(&self) {
        self.with(|state| state.faults.clear());
    }

    /// Every call of the bot so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.with(|state| state.calls.clone())
    }

    /// The bot is called there from now on, with this secret if any, as after `setWebhook`.
    pub fn set_webhook(&self, url: &str, secret: Option<&str>) {
        self.with(|state| {
            state.webhook = Some(Webhook {
                url: url.to_owned(),
                secret: secret.map(str::to_owned),
                last_error: None,
            });
        });
        self.stir();
    }

    /// Whether the bot is called, and where.
    pub fn webhook(&self) -> Option<String> {
        self.with(|state| Some(state.webhook.as_ref()?.url.clone()))
    }
}

fn chat(kind: ChatKind, title: String, members: BTreeSet<i64>) -> Chat {
    Chat {
        kind,
        title,
        members,
        messages: BTreeMap::new(),
        kicked: false,
        migrated_to: None,
    }
}
