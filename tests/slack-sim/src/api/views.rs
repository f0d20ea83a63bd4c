//! `views.*`: triggers, hashes and the stack.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Answer, Args, Refused};
use crate::blocks::{too_large, view_problems};
use crate::state::{State, Used};
use crate::views::{DEEPEST, View, named};

/// How long a trigger opens a modal.
const TRIGGER: Duration = Duration::from_secs(3);

/// Refuses a view that Slack would refuse.
pub(crate) fn checked_view(view: &Value, kind: &str) -> Result<(), Refused> {
    if view["type"] != kind {
        let what = format!("[ERROR] must be of type {kind} [json-pointer:/view/type]");
        return Err(Refused::because("invalid_arguments", vec![what]));
    }
    let problems = view_problems(view);
    if !problems.is_empty() {
        return Err(Refused::because("invalid_arguments", problems));
    }
    match too_large(view) {
        Some(size) => {
            let what = format!("[ERROR] the view has {size} bytes [json-pointer:/view]");
            Err(Refused::because("view_too_large", vec![what]))
        }
        None => Ok(()),
    }
}

/// The view with an id on every block and element.
pub(crate) fn named_view(state: &mut State, mut view: Value) -> Value {
    let blocks = view["blocks"].take();
    view["blocks"] = named(blocks, || state.fresh("b"));
    view
}

fn sent(args: &Args, kind: &str) -> Result<Value, Refused> {
    let Some(view) = args.embedded("view") else {
        return Err(Refused::new("invalid_arguments"));
    };
    checked_view(&view, kind)?;
    Ok(view)
}

fn external_free(state: &State, view: &Value, but: Option<&str>) -> Result<(), Refused> {
    let external = view["external_id"].as_str().filter(|it| !it.is_empty());
    let taken = external.and_then(|it| state.views.by_external(it));
    if taken.is_some_and(|it| Some(it.id.as_str()) != but) {
        return Err(Refused::new("duplicate_external_id"));
    }
    Ok(())
}

/// Spends a trigger: whose gesture it was and in which view.
fn spend(state: &mut State, args: &Args) -> Result<(String, Option<String>), Refused> {
    let life = state.scaled(TRIGGER);
    let id = args.text("trigger_id").unwrap_or_default();
    let Some(trigger) = state.triggers.get_mut(id) else {
        return Err(Refused::new("invalid_trigger_id"));
    };
    if trigger.used == Used::Yes {
        return Err(Refused::new("exchanged_trigger_id"));
    }
    if Instant::now() - trigger.at > life {
        return Err(Refused::new("expired_trigger_id"));
    }
    trigger.used = Used::Yes;
    Ok((trigger.user.clone(), trigger.view.clone()))
}

fn shown(state: &State, view: Option<&View>) -> Answer {
    let workspace = &state.workspace;
    match view {
        Some(it) => {
            Ok(json!({"view": it.json(&workspace.team, &workspace.app, &workspace.bot_id)}))
        }
        None => Err(Refused::new("not_found")),
    }
}

pub(super) fn open(state: &mut State, args: &Args) -> Answer {
    let view = sent(args, "modal")?;
    external_free(state, &view, None)?;
    let (user, _) = spend(state, args)?;
    state.views.clear(&user);
    put(state, &user, view)
}

pub(super) fn push(state: &mut State, args: &Args) -> Answer {
    let view = sent(args, "modal")?;
    external_free(state, &view, None)?;
    let (user, from) = spend(state, args)?;
    let in_modal = from.is_some_and(|it| state.views.get(&it).is_some());
    if !in_modal {
        return Err(Refused::new("not_found"));
    }
    if state.views.depth(&user) >= DEEPEST {
        return Err(Refused::new("push_limit_reached"));
    }
    put(state, &user, view)
}

fn put(state: &mut State, user: &str, view: Value) -> Answer {
    let view = named_view(state, view);
    let (id, hash) = (state.fresh("V"), state.fresh("h."));
    state.views.push(user, &id, &hash, view);
    shown(state, state.views.get(&id))
}

pub(super) fn update(state: &mut State, args: &Args) -> Answer {
    let by_id = args.text("view_id").and_then(|it| state.views.get(it));
    let external = args.text("external_id").filter(|it| !it.is_empty());
    let found = by_id.or_else(|| state.views.by_external(external?));
    let Some(found) = found.cloned() else {
        return Err(Refused::new("not_found"));
    };
    let view = sent(args, found.body["type"].as_str().unwrap_or("modal"))?;
    external_free(state, &view, Some(&found.id))?;
    same_hash(args, &found)?;
    let view = named_view(state, view);
    let hash = state.fresh("h.");
    state.views.update(&found.id, &hash, view);
    shown(state, state.views.get(&found.id))
}

fn same_hash(args: &Args, found: &View) -> Result<(), Refused> {
    match args.text("hash") {
        Some(hash) if hash != found.hash => Err(Refused::new("hash_conflict")),
        _ => Ok(()),
    }
}

pub(super) fn publish(state: &mut State, args: &Args) -> Answer {
    let user = args.text("user_id").unwrap_or_default().to_owned();
    if !state.workspace.users.contains_key(&user) {
        return Err(Refused::new("user_not_found"));
    }
    let view = sent(args, "home")?;
    let old = state.views.home(&user).cloned();
    external_free(state, &view, old.as_ref().map(|it| it.id.as_str()))?;
    if let Some(old) = &old {
        same_hash(args, old)?;
    }
    let view = named_view(state, view);
    let (id, hash) = (state.fresh("V"), state.fresh("h."));
    state.views.publish(&user, &id, &hash, view);
    shown(state, state.views.home(&user))
}
