//! The two ways in which a bot hears what happened: it asks, or it is called. Never both.

use std::time::Duration;

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::refusal::Refusal;
use crate::state::{State, Webhook};
use crate::world::World;

/// The most updates in one answer, and how many where the bot does not say.
const MOST: usize = 100;
/// The longest that a bot may wait for updates, in seconds; the Bot API cuts what is longer.
const LONGEST_WAIT: i64 = 50;

/// `getUpdates`: what comes from this number on, waited for where there is nothing. What comes
/// before it is confirmed, and never shown again.
pub(crate) async fn get(world: &World, arguments: &Arguments) -> Result<Value, Refusal> {
    let poll = world.with(|state| {
        refuse_beside_webhook(state)?;
        if let Some(offset) = arguments.number("offset") {
            confirm(state, offset);
        }
        note_wanted(state, arguments);
        state.polls += 1;
        Ok(state.polls)
    })?;
    // Another poll under way ends now.
    world.stir();
    let limit = arguments
        .number("limit")
        .and_then(|it| usize::try_from(it).ok());
    let limit = limit.unwrap_or(MOST).clamp(1, MOST);
    let wait = arguments
        .number("timeout")
        .unwrap_or(0)
        .clamp(0, LONGEST_WAIT);
    let waited = tokio::time::sleep(Duration::from_secs(wait.unsigned_abs()));
    tokio::pin!(waited);
    loop {
        let stirred = world.stirred();
        let found = world.with(|state| {
            refuse_beside_webhook(state)?;
            if state.polls != poll {
                return Err(Refusal::new(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot \
                     instance is running",
                ));
            }
            Ok(state
                .updates
                .iter()
                .take(limit)
                .cloned()
                .collect::<Vec<_>>())
        })?;
        if !found.is_empty() || wait == 0 {
            return Ok(found.into());
        }
        tokio::select! {
            () = stirred => {}
            () = &mut waited => return Ok(json!([])),
        }
    }
}

fn refuse_beside_webhook(state: &State) -> Result<(), Refusal> {
    match &state.webhook {
        None => Ok(()),
        Some(_) => Err(Refusal::new(
            409,
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to \
             delete the webhook first",
        )),
    }
}

/// Forgets the updates before this number; a negative one keeps so many of the newest.
fn confirm(state: &mut State, offset: i64) {
    match usize::try_from(offset.unsigned_abs()) {
        Ok(newest) if offset < 0 => {
            let old = state.updates.len().saturating_sub(newest);
            state.updates.drain(..old);
        }
        Ok(_) | Err(_) => {
            let number = |update: &Value| update.get("update_id").and_then(Value::as_i64);
            state
                .updates
                .retain(|it| number(it).is_some_and(|it| it >= offset));
        }
    }
}

fn note_wanted(state: &mut State, arguments: &Arguments) {
    let Some(Value::Array(wanted)) = arguments.value("allowed_updates") else {
        return;
    };
    let wanted = wanted
        .iter()
        .filter_map(|it| it.as_str().map(str::to_owned));
    let wanted: Vec<String> = wanted.collect();
    state.wanted = (!wanted.is_empty()).then_some(wanted);
}

/// `setWebhook`. Telegram wants HTTPS on one of four ports; a test wants its own machine.
pub(crate) fn set(state: &mut State, arguments: &Arguments) -> Result<Value, Refusal> {
    let url = arguments.text("url");
    let loopback = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
    let bad = |what: &str| Refusal::bad(&format!("bad webhook: {what}"));
    if !url.is_empty() && !loopback.iter().any(|it| url.starts_with(it)) {
        return Err(bad("this simulator calls http:// on loopback alone"));
    }
    let secret = arguments.text("secret_token");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if secret.len() > 256 || !secret.bytes().all(plain) {
        return Err(Refusal::bad("secret token contains unallowed characters"));
    }
    if arguments.flag("drop_pending_updates") {
        state.updates.clear();
    }
    note_wanted(state, arguments);
    state.webhook = (!url.is_empty()).then(|| Webhook {
        url: url.to_owned(),
        secret: (!secret.is_empty()).then(|| secret.to_owned()),
        last_error: None,
    });
    Ok(json!(true))
}

/// `deleteWebhook`.
pub(crate) fn delete(state: &mut State, arguments: &Arguments) -> Result<Value, Refusal> {
    if arguments.flag("drop_pending_updates") {
        state.updates.clear();
    }
    state.webhook = None;
    Ok(json!(true))
}

/// `getWebhookInfo`.
pub(crate) fn info(state: &State) -> Value {
    let webhook = state.webhook.as_ref();
    let mut info = json!({
        "url": webhook.map_or("", |it| &it.url),
        "has_custom_certificate": false,
        "pending_update_count": state.updates.len(),
    });
    let error = webhook.and_then(|it| it.last_error.clone());
    if let (Some(error), Some(fields)) = (error, info.as_object_mut()) {
        fields.insert("last_error_message".to_owned(), error.into());
    }
    info
}
