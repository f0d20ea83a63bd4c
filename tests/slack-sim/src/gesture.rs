//! The payloads of what people do, in Slack's shapes, and what follows from the answers. Shared by
//! the verbs of tests and by the control API; a refusal here means Slack's own window would not
//! have let the person do it.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::api::draft;
use crate::blocks::all_options;
use crate::deliver::{Outcome, Parcel, event, gesture};
use crate::messages::{Audience, Message, Stored, elements, goes_by};
use crate::respond;
use crate::state::{Inner, State};
use crate::views::holds;
use crate::workspace::{Standing, Visibility};

/// Something Slack's window does not let a person do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotDo(pub String);

impl fmt::Display for CannotDo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotDo {}

pub(crate) fn cannot<T>(why: impl Into<String>) -> Result<T, CannotDo> {
    Err(CannotDo(why.into()))
}

/// What every interactive payload begins with.
fn interactive(state: &State, kind: &str, user: &str) -> Value {
    json!({
        "type": kind, "token": "deprecated-verification-token", "user": state.user_ref(user),
        "team": state.team_ref(), "api_app_id": state.workspace.app, "enterprise": null,
        "is_enterprise_install": false,
    })
}

fn active(state: &State, user: &str) -> Result<(), CannotDo> {
    match state.workspace.users.get(user) {
        None => cannot(format!("there is no user {user}")),
        Some(it) if it.standing == Standing::Deactivated => {
            cannot(format!("{user} is deactivated and cannot sign in"))
        }
        Some(_) => Ok(()),
    }
}

fn present(state: &State, user: &str, channel: &str) -> Result<(), CannotDo> {
    match state.workspace.channels.get(channel) {
        Some(it) if it.visibility == Visibility::Public || it.members.contains(user) => Ok(()),
        _ => cannot(format!("{user} sees no conversation {channel}")),
    }
}

pub(crate) async fn slash(
    inner: &Arc<Inner>,
    user: &str,
    channel: &str,
    (command, text): (&str, &str),
) -> Result<Outcome, CannotDo> {
    let (payload, responder) = inner.with(|state| {
        active(state, user)?;
        present(state, user, channel)?;
        let url = respond::url(inner, state, (user, channel), None);
        let trigger = state.trigger(user, None);
        let name = state.user_ref(user)["name"].clone();
        let payload = json!({
            "token": "deprecated-verification-token", "team_id": state.workspace.team,
            "team_domain": state.workspace.domain, "channel_id": channel,
            "channel_name": state.channel_name(channel), "user_id": user, "user_name": name,
            "command": command, "text": text, "api_app_id": state.workspace.app,
            "is_enterprise_install": "false", "response_url": url, "trigger_id": trigger,
        });
        let id = url
            .as_str()
            .and_then(|it| it.rsplit('/').next())
            .unwrap_or_default();
        let responder = state.responders.get(id).cloned();
        Ok((payload, responder))
    })?;
    let what = format!("{user} typed {command}");
    let outcome = gesture(inner, &what, Parcel::new("slash_commands", payload)).await;
    let said = outcome
        .payload()
        .filter(|it| it.as_object().is_some_and(|it| !it.is_empty()));
    if let (Some(answer), Some(of)) = (said, responder)
        && let Err(why) = inner.with(|state| respond::apply(state, &of, answer))
    {
        inner.violation(format!("the answer to {command}: {why}"));
        inner.saw_error(format!("{what}: {why}"));
        return Ok(Outcome::SawError);
    }
    Ok(outcome)
}

pub(crate) async fn shortcut(
    inner: &Arc<Inner>,
    user: &str,
    callback: &str,
    on: Option<&Message>,
) -> Result<Outcome, CannotDo> {
    let payload = inner.with(|state| {
        active(state, user)?;
        let kind = if on.is_some() {
            "message_action"
        } else {
            "shortcut"
        };
        let mut payload = interactive(state, kind, user);
        payload["callback_id"] = json!(callback);
        payload["trigger_id"] = json!(state.trigger(user, None));
        payload["action_ts"] = json!(state.messages.stamp());
        if let Some(message) = on {
            payload["channel"] =
                json!({"id": message.channel, "name": state.channel_name(&message.channel)});
            payload["message_ts"] = json!(message.ts);
            payload["message"] = message_json(state, &message.channel, &message.ts);
            let of = (user, message.channel.as_str());
            payload["response_url"] = respond::url(inner, state, of, Some(&message.ts));
        }
        Ok(payload)
    })?;
    let what = format!("{user} used {callback}");
    Ok(gesture(inner, &what, Parcel::new("interactive", payload)).await)
}

fn message_json(state: &State, channel: &str, ts: &str) -> Value {
    let it = &state.workspace;
    match state.messages.find(channel, ts) {
        Some(message) => message.json(&it.app, &it.bot_id, &it.team),
        None => Value::Null,
    }
}

/// What a person chooses in an element.
#[derive(Debug, Clone)]
pub(crate) enum Choice {
    Nothing,
    /// One value; its option, if the app was asked for options.
    One(String, Option<Value>),
}

/// One entry of `actions`: the element as it was used.
pub(crate) fn action(
    state: &mut State,
    block: &Value,
    element: &Value,
    choice: &Choice,
) -> Result<Value, CannotDo> {
    let mut it = Map::new();
    for key in ["type", "action_id"] {
        it.insert(key.to_owned(), element[key].clone());
    }
    it.insert("block_id".to_owned(), block["block_id"].clone());
    it.insert("action_ts".to_owned(), json!(state.messages.stamp()));
    let kept: &[&str] = if element["type"] == "button" {
        &["text", "value", "style"]
    } else {
        &["placeholder"]
    };
    for key in kept.iter().filter(|key| element.get(**key).is_some()) {
        it.insert((*key).to_owned(), element[*key].clone());
    }
    if let Some((field, value)) = chosen(element, choice)? {
        it.insert(field.to_owned(), value);
    }
    Ok(Value::Object(it))
}

/// The field an element's choice goes to, and its value there.
pub(crate) fn chosen(
    element: &Value,
    choice: &Choice,
) -> Result<Option<(&'static str, Value)>, CannotDo> {
    let kind = element["type"].as_str().unwrap_or_default();
    if kind == "button" {
        return Ok(None);
    }
    let field = match holds(kind) {
        Some((field, _, _)) => field,
        None if kind == "overflow" => "selected_option",
        None => return cannot(format!("{kind} takes no choice")),
    };
    let Choice::One(wanted, fetched) = choice else {
        return cannot(format!("{kind} needs a choice"));
    };
    let value = match field {
        "selected_option" | "selected_options" => match fetched {
            Some(option) => option.clone(),
            None => offered(element, wanted)?,
        },
        _ => json!(wanted),
    };
    let many = field.ends_with('s');
    Ok(Some((field, if many { json!([value]) } else { value })))
}

/// The option of this value (or label) among those of a menu.
pub(crate) fn offered(holder: &Value, wanted: &str) -> Result<Value, CannotDo> {
    let all = all_options(holder);
    let found = all.iter().find(|it| it["value"] == wanted);
    let found = found.or_else(|| all.iter().find(|it| it["text"]["text"] == wanted));
    match found {
        Some(option) => Ok((*option).clone()),
        None => {
            let values: Vec<&str> = all.iter().filter_map(|it| it["value"].as_str()).collect();
            cannot(format!("{wanted} is not offered, only {values:?}"))
        }
    }
}

/// Which rendering of a message is clicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rendering {
    Latest,
    /// The one in hand, though the message may have changed or gone.
    Stale,
}

pub(crate) async fn click(
    inner: &Arc<Inner>,
    user: &str,
    message: &Message,
    (name, choice, rendering): (&str, &Choice, Rendering),
) -> Result<Outcome, CannotDo> {
    let channel = message.channel.as_str();
    let payload = inner.with(|state| {
        active(state, user)?;
        present(state, user, channel)?;
        let seen = state.messages.seen_by(user, channel);
        let latest = seen.iter().find(|it| it.ts == message.ts);
        let shown = match (rendering, latest) {
            (Rendering::Stale, _) => message,
            (Rendering::Latest, Some(it)) => it,
            (Rendering::Latest, None) => {
                return cannot(format!("{user} does not see the message {}", message.ts));
            }
        };
        let Some((block, element)) = elements(&shown.blocks)
            .into_iter()
            .find(|(_, it)| goes_by(it, name))
        else {
            return cannot(format!("the message shows no {name}: {}", shown.words()));
        };
        let done = action(state, block, element, choice)?;
        let mut payload = interactive(state, "block_actions", user);
        let mut container = json!({
            "type": "message", "message_ts": message.ts, "channel_id": channel,
            "is_ephemeral": message.ephemeral,
        });
        if let Some(thread) = &message.thread_ts {
            container["thread_ts"] = json!(thread);
        }
        payload["container"] = container;
        payload["channel"] = json!({"id": channel, "name": state.channel_name(channel)});
        payload["trigger_id"] = json!(state.trigger(user, None));
        payload["response_url"] = respond::url(inner, state, (user, channel), Some(&message.ts));
        if !message.ephemeral {
            let mut whole = message_json(state, channel, &message.ts);
            if rendering == Rendering::Stale && whole.is_object() {
                whole["blocks"] = json!(message.blocks);
            }
            payload["message"] = whole;
        }
        payload["state"] = json!({"values": {}});
        payload["actions"] = json!([done]);
        Ok(payload)
    })?;
    let what = format!("{user} clicked {name}");
    Ok(gesture(inner, &what, Parcel::new("interactive", payload)).await)
}

fn view_json(state: &State, id: &str) -> Result<Value, CannotDo> {
    let it = &state.workspace;
    match state.views.get(id) {
        Some(view) => Ok(view.json(&it.team, &it.app, &it.bot_id)),
        None => cannot("the window is closed"),
    }
}

/// Something used in a modal or the App Home.
pub(crate) async fn view_action(
    inner: &Arc<Inner>,
    user: &str,
    view: &str,
    done: Value,
) -> Result<Outcome, CannotDo> {
    let payload = inner.with(|state| {
        active(state, user)?;
        let mut payload = interactive(state, "block_actions", user);
        payload["container"] = json!({"type": "view", "view_id": view});
        payload["trigger_id"] = json!(state.trigger(user, Some(view)));
        payload["view"] = view_json(state, view)?;
        payload["actions"] = json!([done]);
        Ok(payload)
    })?;
    let what = format!("{user} used {}", payload["actions"][0]["action_id"]);
    Ok(gesture(inner, &what, Parcel::new("interactive", payload)).await)
}

/// A button or menu of the App Home.
pub(crate) async fn home_click(
    inner: &Arc<Inner>,
    user: &str,
    name: &str,
    choice: &Choice,
) -> Result<Outcome, CannotDo> {
    let (view, done) = inner.with(|state| {
        let Some(home) = state.views.home(user).cloned() else {
            return cannot(format!("{user} has no App Home yet"));
        };
        let blocks = home.body["blocks"].as_array().cloned().unwrap_or_default();
        match elements(&blocks)
            .into_iter()
            .find(|(_, it)| goes_by(it, name))
        {
            Some((block, element)) => Ok((home.id, action(state, block, element, choice)?)),
            None => cannot(format!("the App Home shows no {name}")),
        }
    })?;
    view_action(inner, user, &view, done).await
}

/// Asks the app for options.
pub(crate) async fn suggest(
    inner: &Arc<Inner>,
    user: &str,
    view: &str,
    (block, action, query): (&str, &str, &str),
) -> Result<Outcome, CannotDo> {
    let payload = inner.look(|state| {
        active(state, user)?;
        let mut payload = interactive(state, "block_suggestion", user);
        payload["container"] = json!({"type": "view", "view_id": view});
        payload["view"] = view_json(state, view)?;
        payload["block_id"] = json!(block);
        payload["action_id"] = json!(action);
        payload["value"] = json!(query);
        Ok(payload)
    })?;
    let what = format!("{user} searched in {action}");
    Ok(gesture(inner, &what, Parcel::new("interactive", payload)).await)
}

/// A modal goes to the app, submitted or closed.
pub(crate) async fn view_event(
    inner: &Arc<Inner>,
    kind: &str,
    user: &str,
    view: &str,
) -> Result<Outcome, CannotDo> {
    let payload = inner.with(|state| {
        active(state, user)?;
        let mut payload = interactive(state, kind, user);
        payload["view"] = view_json(state, view)?;
        if kind == "view_submission" {
            payload["trigger_id"] = json!(state.trigger(user, Some(view)));
            payload["response_urls"] = json!([]);
        } else {
            payload["is_cleared"] = json!(false);
        }
        Ok(payload)
    })?;
    Ok(gesture(
        inner,
        &format!("{user} {kind}"),
        Parcel::new("interactive", payload),
    )
    .await)
}

pub(crate) async fn open_home(inner: &Arc<Inner>, user: &str) -> Result<Outcome, CannotDo> {
    let body = inner.with(|state| {
        active(state, user)?;
        let channel = state.direct(user);
        let mut body = json!({
            "type": "app_home_opened", "user": user, "channel": channel, "tab": "home",
            "event_ts": state.messages.stamp(),
        });
        if let Some(id) = state.views.home(user).map(|it| it.id.clone()) {
            body["view"] = view_json(state, &id)?;
        }
        Ok(body)
    })?;
    Ok(event(inner, body).await)
}

/// Whether a reaction is put on or taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    On,
    Off,
}

pub(crate) async fn react(
    inner: &Arc<Inner>,
    user: &str,
    message: &Message,
    (name, way): (&str, Reaction),
) -> Result<Outcome, CannotDo> {
    let (channel, ts) = (message.channel.as_str(), message.ts.as_str());
    let body = inner.with(|state| {
        active(state, user)?;
        present(state, user, channel)?;
        let stamp = state.messages.stamp();
        let Some(stored) = state.messages.history(channel, ts) else {
            return cannot("only messages of the history take reactions");
        };
        let by = stored.reactions.entry(name.to_owned()).or_default();
        let had = by.iter().position(|it| it == user);
        let kind = match (way, had) {
            (Reaction::On, None) => {
                by.push(user.to_owned());
                "reaction_added"
            }
            (Reaction::Off, Some(at)) => {
                by.remove(at);
                "reaction_removed"
            }
            (Reaction::On, Some(_)) => {
                return cannot(format!("{user} already reacted with {name}"));
            }
            (Reaction::Off, None) => return cannot(format!("{user} has not reacted with {name}")),
        };
        stored.reactions.retain(|_, by| !by.is_empty());
        let body = json!({
            "type": kind, "user": user, "reaction": name, "item_user": stored.author,
            "item": {"type": "message", "channel": channel, "ts": ts}, "event_ts": stamp,
        });
        let heard = state.workspace.scopes.contains("reactions:read") && bot_in(state, channel);
        Ok(heard.then_some(body))
    })?;
    match body {
        Some(body) => Ok(event(inner, body).await),
        None => Ok(Outcome::quiet()),
    }
}

/// A person deletes a message, whoever wrote it.
pub(crate) fn delete(
    inner: &Arc<Inner>,
    user: &str,
    message: &Message,
) -> Result<Outcome, CannotDo> {
    let (channel, ts) = (message.channel.as_str(), message.ts.as_str());
    inner.with(|state| {
        active(state, user)?;
        present(state, user, channel)?;
        if state.messages.history(channel, ts).is_none() {
            return cannot("only messages of the history can be deleted");
        }
        state.messages.remove(channel, ts);
        Ok(Outcome::quiet())
    })
}

fn bot_in(state: &State, channel: &str) -> bool {
    let channel = state.workspace.channels.get(channel);
    channel.is_some_and(|it| it.members.contains(&state.workspace.bot_user))
}

/// A person writes a message.
pub(crate) async fn say(
    inner: &Arc<Inner>,
    user: &str,
    channel: &str,
    (text, thread): (&str, Option<&str>),
) -> Result<Outcome, CannotDo> {
    let body = inner.with(|state| {
        active(state, user)?;
        present(state, user, channel)?;
        let ts = state.messages.stamp();
        let content = match draft(state, Some(text), None) {
            Ok(it) => it,
            Err(why) => return cannot(why.error),
        };
        let message = Stored {
            ts: ts.clone(),
            author: user.to_owned(),
            by_app: crate::messages::ByApp::No,
            text: content.text.unwrap_or_default(),
            blocks: vec![],
            thread_ts: thread.map(str::to_owned),
            metadata: None,
            edited: None,
            audience: Audience::Everybody,
            reactions: std::collections::BTreeMap::new(),
        };
        state.messages.post(channel, message);
        let direct = channel.starts_with('D');
        let mention = text.contains(&format!("<@{}>", state.workspace.bot_user));
        let kind = match (direct, mention && bot_in(state, channel)) {
            (true, _) => "message",
            (false, true) => "app_mention",
            (false, false) => return Ok(None),
        };
        let mut body = json!({
            "type": kind, "user": user, "text": text, "ts": ts, "channel": channel,
            "team": state.workspace.team, "event_ts": ts, "client_msg_id": state.fresh("m-"),
        });
        if direct {
            body["channel_type"] = json!("im");
        }
        if let Some(thread) = thread {
            body["thread_ts"] = json!(thread);
        }
        Ok(Some(body))
    })?;
    match body {
        Some(body) => Ok(event(inner, body).await),
        None => Ok(Outcome::quiet()),
    }
}
