//! The Bot API as far as it is used here: how calls go out and answers come back, within a deadline
//! and a limit. <https://core.telegram.org/bots/api>

use std::fmt;
use std::time::Duration;

use jit_wire::{Wire, whole};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::address::Address;
use crate::people::ChatId;
use crate::trouble::Trouble;

/// The longest answer that is read: a hundred updates.
const BODY_LIMIT: usize = 2 * 1024 * 1024;
/// The longest token.
const TOKEN_LIMIT: usize = 128;
/// How long Telegram may wait for something to happen before it answers that nothing did, in
/// seconds; shorter than the deadline of a call.
pub(crate) const POLL_SECS: u64 = 5;
/// The most updates in one answer.
/// Source: <https://core.telegram.org/bots/api#getupdates>
pub(crate) const MOST_UPDATES: usize = 100;

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    /// The words.
    pub(crate) text: String,
    /// What of them is drawn how.
    pub(crate) entities: Vec<Value>,
    /// What stands on each button, and what it carries.
    pub(crate) buttons: Vec<(&'static str, String)>,
}

/// One bot.
pub(crate) struct Bot {
    wire: Wire,
    deadline: Duration,
    api: Address,
    token: SecretString,
}

impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bot")
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

/// What every method answers.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    result: Option<Value>,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

impl Bot {
    pub(crate) fn new(
        api: &Address,
        token: &SecretString,
        deadline: Duration,
    ) -> Result<Self, Trouble> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
        let text = token.expose_secret();
        if !(1..=TOKEN_LIMIT).contains(&text.len()) || !text.bytes().all(plain) {
            return Err(Trouble::BadToken);
        }
        Ok(Self {
            wire: Wire::new(api.url()).map_err(Trouble::Client)?,
            deadline,
            api: api.clone(),
            token: token.clone(),
        })
    }

    /// Calls a method, once.
    async fn call(&self, method: &str, arguments: &Value) -> Result<Value, Trouble> {
        let url = self.api.method(self.token.expose_secret(), method);
        let call = self.wire.pooled().post(url).timeout(self.deadline);
        let answer = whole(call.json(arguments).send().await, BODY_LIMIT).await?;
        let (status, body) = (answer.status, answer.body);
        // The error would quote what it could not read.
        let said: Answer = match serde_json::from_slice(&body) {
            Ok(said) => said,
            Err(_) if status == StatusCode::TOO_MANY_REQUESTS => {
                let retry_after_ms = None;
                return Err(Trouble::TooFast { retry_after_ms });
            }
            Err(_) if status.is_success() => {
                return Err(Trouble::Garbage("it has not the form of an answer"));
            }
            Err(_) => return Err(Trouble::Status(status)),
        };
        judged(said, status)
    }

    /// Asks who we are, which shows that the token is good.
    pub(crate) async fn who_we_are(&self) -> Result<(), Trouble> {
        self.call("getMe", &json!({})).await.map(drop)
    }

    /// Posts a message; its id.
    pub(crate) async fn send(&self, chat: ChatId, message: &Message) -> Result<i64, Trouble> {
        let arguments = arguments(chat, message);
        message_id(&self.call("sendMessage", &arguments).await?)
    }

    /// Posts a message beside another one, which it answers where that is still there.
    pub(crate) async fn reply(
        &self,
        chat: ChatId,
        to: i64,
        message: &Message,
    ) -> Result<i64, Trouble> {
        let mut arguments = arguments(chat, message);
        let reply = json!({"message_id": to, "allow_sending_without_reply": true});
        set(&mut arguments, "reply_parameters", reply);
        message_id(&self.call("sendMessage", &arguments).await?)
    }

    /// Changes a message, its buttons too.
    pub(crate) async fn edit(
        &self,
        chat: ChatId,
        id: i64,
        message: &Message,
    ) -> Result<(), Trouble> {
        let mut arguments = arguments(chat, message);
        set(&mut arguments, "message_id", id.into());
        match self.call("editMessageText", &arguments).await {
            Ok(_) => Ok(()),
            Err(trouble) if trouble.is_unmodified() => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Tells whoever pressed a button what came of it, and nobody else.
    pub(crate) async fn answer(&self, said: &Said<'_>) -> Result<(), Trouble> {
        let arguments = json!({
            "callback_query_id": said.click,
            "text": said.text,
            "show_alert": said.alert,
        });
        self.call("answerCallbackQuery", &arguments).await.map(drop)
    }

    /// Clicks from this update on, waited for so many seconds where there are none; those before it
    /// are forgotten.
    pub(crate) async fn updates(
        &self,
        offset: Option<i64>,
        wait: u64,
    ) -> Result<Vec<Value>, Trouble> {
        let mut arguments = json!({
            "timeout": wait, "limit": MOST_UPDATES, "allowed_updates": ["callback_query"],
        });
        if let Some(offset) = offset {
            set(&mut arguments, "offset", offset.into());
        }
        match self.call("getUpdates", &arguments).await? {
            Value::Array(updates) => Ok(updates),
            _ => Err(Trouble::Garbage("the updates are no list")),
        }
    }
}

/// An answer to a click.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    /// The click.
    pub(crate) click: &'a str,
    /// At most 200 characters.
    pub(crate) text: &'a str,
    /// As a window that must be closed.
    pub(crate) alert: bool,
}

/// The arguments that every message has. There is no parse mode: nothing in the text is markup.
fn arguments(chat: ChatId, message: &Message) -> Value {
    let buttons = message.buttons.iter();
    let row: Vec<Value> = buttons
        .map(|(text, data)| json!({"text": text, "callback_data": data}))
        .collect();
    let mut rows = vec![row];
    rows.retain(|row| !row.is_empty());
    json!({
        "chat_id": chat,
        "text": message.text,
        "entities": message.entities,
        "link_preview_options": {"is_disabled": true},
        "reply_markup": {"inline_keyboard": rows},
    })
}

fn set(arguments: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = arguments {
        fields.insert(name.to_owned(), value);
    }
}

fn message_id(message: &Value) -> Result<i64, Trouble> {
    let id = message.get("message_id").and_then(Value::as_i64);
    id.ok_or(Trouble::Garbage("a message without an id"))
}

fn judged(said: Answer, status: StatusCode) -> Result<Value, Trouble> {
    if said.ok && status.is_success() {
        return Ok(said.result.unwrap_or_default());
    }
    let code = said.error_code.unwrap_or(status.as_u16());
    let parameters = said.parameters.unwrap_or(Parameters {
        retry_after: None,
        migrate_to_chat_id: None,
    });
    match (code, parameters.migrate_to_chat_id) {
        (429, _) => Err(Trouble::TooFast {
            retry_after_ms: parameters
                .retry_after
                .map(|secs| secs.saturating_mul(1_000)),
        }),
        (_, Some(to)) => Err(Trouble::Migrated { to }),
        (_, None) => Err(Trouble::refused(
            code,
            &said.description.unwrap_or_default(),
        )),
    }
}
