//! What a person does, as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State as Shared};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Unserved};
use crate::deliver::Outcome;
use crate::gesture::{self, Choice, Reaction, Rendering};
use crate::messages::Message;
use crate::modal::{Modal, Submitted};
use crate::state::{Inner, direct_id};

/// The arguments of every deed; each uses some.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Deed {
    channel: Option<String>,
    ts: String,
    thread_ts: Option<String>,
    command: String,
    text: String,
    callback_id: String,
    action: String,
    value: Option<String>,
    field: String,
    query: String,
    name: String,
}

impl Deed {
    fn choice(&self) -> Choice {
        match &self.value {
            Some(value) => Choice::One(value.clone(), None),
            None => Choice::Nothing,
        }
    }
}

/// Serves `/control/users/{user}/{deed}`.
pub(super) async fn act(
    Shared(inner): App,
    Path((user, verb)): Path<(String, String)>,
    deed: Result<Json<Deed>, JsonRejection>,
) -> Result<Json<Value>, Unserved> {
    let Json(deed) = deed.map_err(|it| Unserved::Malformed(it.body_text()))?;
    let user = user.as_str();
    if !inner.look(|state| state.workspace.users.contains_key(user)) {
        return Err(Unserved::NoSuch("user"));
    }
    let channel = deed.channel.clone().unwrap_or_else(|| direct_id(user));
    let outcome = match verb.as_str() {
        "slash" => {
            let what = (deed.command.as_str(), deed.text.as_str());
            gesture::slash(&inner, user, &channel, what).await?
        }
        "shortcut" => gesture::shortcut(&inner, user, &deed.callback_id, None).await?,
        "message_shortcut" => {
            let message = message(&inner, user, &channel, &deed.ts)?;
            gesture::shortcut(&inner, user, &deed.callback_id, Some(&message)).await?
        }
        "click" => {
            let message = message(&inner, user, &channel, &deed.ts)?;
            let what = (deed.action.as_str(), &deed.choice(), Rendering::Latest);
            gesture::click(&inner, user, &message, what).await?
        }
        "react" | "unreact" => {
            let message = message(&inner, user, &channel, &deed.ts)?;
            let way = if verb == "react" {
                Reaction::On
            } else {
                Reaction::Off
            };
            gesture::react(&inner, user, &message, (&deed.name, way)).await?
        }
        "delete" => {
            let message = message(&inner, user, &channel, &deed.ts)?;
            gesture::delete(&inner, user, &message)?
        }
        "say" => {
            let what = (deed.text.as_str(), deed.thread_ts.as_deref());
            gesture::say(&inner, user, &channel, what).await?
        }
        "open_home" => gesture::open_home(&inner, user).await?,
        "click_home" => gesture::home_click(&inner, user, &deed.action, &deed.choice()).await?,
        _ => return in_modal(&inner, user, &verb, &deed).await.map(Json),
    };
    Ok(Json(outcome_json(&outcome)))
}

async fn in_modal(
    inner: &Arc<Inner>,
    user: &str,
    verb: &str,
    deed: &Deed,
) -> Result<Value, Unserved> {
    let top = inner.look(|state| state.views.top(user).map(|it| it.id.clone()));
    let top = top.ok_or(Unserved::NoSuch("modal"))?;
    let modal = Modal::new(inner.clone(), user, &top);
    match verb {
        "modal_options" => {
            Ok(json!({"options": modal.try_options(&deed.field, &deed.query).await?}))
        }
        "modal_pick" => {
            let value = deed.value.as_deref().unwrap_or_default();
            Ok(outcome_json(&modal.try_pick(&deed.field, value).await?))
        }
        "modal_fill" => {
            modal.try_fill(&deed.field, &deed.text)?;
            Ok(json!({}))
        }
        "modal_unpick" => {
            modal.try_unpick(&deed.field, deed.value.as_deref().unwrap_or_default())?;
            Ok(json!({}))
        }
        "modal_click" => Ok(outcome_json(&modal.try_click(&deed.action).await?)),
        "modal_submit" => Ok(match modal.try_submit().await? {
            Submitted::Closed => json!({"submitted": "closed"}),
            Submitted::Errors(errors) => json!({"submitted": "errors", "errors": errors}),
            Submitted::Updated(_) => json!({"submitted": "updated"}),
            Submitted::Pushed(_) => json!({"submitted": "pushed"}),
            Submitted::SawError => json!({"submitted": "saw_error"}),
        }),
        "modal_close" => {
            modal.try_close().await?;
            Ok(json!({}))
        }
        _ => Err(Unserved::NoSuch("deed")),
    }
}

fn message(inner: &Inner, user: &str, channel: &str, ts: &str) -> Result<Message, Unserved> {
    let seen = inner.look(|state| state.messages.seen_by(user, channel));
    seen.into_iter()
        .find(|it| it.ts == ts)
        .ok_or(Unserved::NoSuch("message"))
}

fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Acked { payload, after } => {
            json!({"acked": true, "payload": payload, "after_ms": after.as_millis()})
        }
        Outcome::SawError => json!({"acked": false}),
    }
}
