//! `chat.*` and `reactions.get`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Answer, Args, Refused};
use crate::blocks::message_problems;
use crate::messages::{Audience, ByApp, Stored};
use crate::state::State;
use crate::views::named;
use crate::workspace::{Age, Kind, Standing, Visibility};

/// The longest text of a message, in characters.
const LONGEST_TEXT: usize = 40_000;

/// The checked content of a message that is about to be written.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) text: Option<String>,
    pub(crate) blocks: Option<Vec<Value>>,
}

/// Checks text and blocks.
pub(crate) fn draft(
    state: &mut State,
    text: Option<&str>,
    blocks: Option<Value>,
) -> Result<Draft, Refused> {
    let blocks = match blocks {
        None => None,
        Some(it) if !it.is_array() => return Err(Refused::new("invalid_blocks_format")),
        Some(it) => {
            let problems = message_problems(&it);
            if !problems.is_empty() {
                return Err(Refused::because("invalid_blocks", problems));
            }
            match named(it, || state.fresh("b")) {
                Value::Array(blocks) => Some(blocks),
                _ => None,
            }
        }
    };
    if text.is_some_and(|it| it.chars().count() > LONGEST_TEXT) {
        return Err(Refused::new("msg_too_long"));
    }
    let nothing = text.is_none_or(str::is_empty) && blocks.as_ref().is_none_or(Vec::is_empty);
    if nothing {
        return Err(Refused::new("no_text"));
    }
    Ok(Draft {
        text: text.map(str::to_owned),
        blocks,
    })
}

/// The conversation a message is for: an id, a name, or a person.
fn place(state: &mut State, args: &Args) -> Result<String, Refused> {
    let Some(wanted) = args.text("channel") else {
        return Err(Refused::new("channel_not_found"));
    };
    let named = state.workspace.channels.values().find(|it| {
        it.visibility == Visibility::Public && it.name == wanted.trim_start_matches('#')
    });
    let id = if state.workspace.channels.contains_key(wanted) {
        wanted.to_owned()
    } else if let Some(it) = named {
        it.id.clone()
    } else {
        match state.workspace.users.get(wanted) {
            Some(user) if user.kind == Kind::Bot => return Err(Refused::new("cannot_dm_bot")),
            Some(user) if user.standing == Standing::Active => state.direct(wanted),
            _ => return Err(Refused::new("channel_not_found")),
        }
    };
    writable(state, &id)?;
    Ok(id)
}

/// Whether the bot may write there.
fn writable(state: &State, id: &str) -> Result<(), Refused> {
    let bot = &state.workspace.bot_user;
    let Some(channel) = state.workspace.channels.get(id) else {
        return Err(Refused::new("channel_not_found"));
    };
    let member = channel.members.contains(bot);
    if channel.visibility == Visibility::Private && !member {
        return Err(Refused::new("channel_not_found"));
    }
    if channel.age == Age::Archived {
        return Err(Refused::new("is_archived"));
    }
    if !member {
        return Err(Refused::new("not_in_channel"));
    }
    if channel.visibility == Visibility::Direct && channel.name == *bot {
        return Err(Refused::new("cannot_dm_bot"));
    }
    Ok(())
}

fn pace(state: &mut State, channel: &str) -> Result<(), Refused> {
    if !state.pace.take() {
        return Ok(());
    }
    let now = Instant::now();
    let gap = state.scaled(Duration::from_secs(1));
    if state
        .posted_at
        .get(channel)
        .is_some_and(|it| now - *it < gap)
    {
        return Err(Refused::new("ratelimited"));
    }
    state.posted_at.insert(channel.to_owned(), now);
    Ok(())
}

fn written(state: &mut State, args: &Args, audience: Audience) -> Result<Stored, Refused> {
    let draft = draft(state, args.text("text"), args.embedded("blocks"))?;
    Ok(Stored {
        ts: state.messages.stamp(),
        author: state.workspace.bot_user.clone(),
        by_app: ByApp::Yes,
        text: draft.text.unwrap_or_default(),
        blocks: draft.blocks.unwrap_or_default(),
        thread_ts: args.text("thread_ts").map(str::to_owned),
        metadata: args.embedded("metadata"),
        edited: None,
        audience,
        reactions: BTreeMap::new(),
    })
}

fn shown(state: &State, message: &Stored) -> Value {
    let workspace = &state.workspace;
    message.json(&workspace.app, &workspace.bot_id, &workspace.team)
}

pub(super) fn post_message(state: &mut State, args: &Args) -> Answer {
    let channel = place(state, args)?;
    let message = written(state, args, Audience::Everybody)?;
    pace(state, &channel)?;
    let answer = json!({"channel": channel, "ts": message.ts, "message": shown(state, &message)});
    state.messages.post(&channel, message);
    Ok(answer)
}

pub(super) fn post_ephemeral(state: &mut State, args: &Args) -> Answer {
    let channel = place(state, args)?;
    let user = args.text("user").unwrap_or_default().to_owned();
    if !state.workspace.users.contains_key(&user) {
        return Err(Refused::new("user_not_found"));
    }
    let inside = state
        .workspace
        .channels
        .get(&channel)
        .is_some_and(|it| it.members.contains(&user));
    if !inside {
        return Err(Refused::new("user_not_in_channel"));
    }
    let message = written(state, args, Audience::Only(user))?;
    let answer = json!({"message_ts": message.ts});
    state.messages.post(&channel, message);
    Ok(answer)
}

/// The app's own message that a call names.
fn own<'a>(
    state: &'a mut State,
    args: &Args,
    foreign: &str,
) -> Result<(String, &'a mut Stored), Refused> {
    let channel = args.text("channel").unwrap_or_default().to_owned();
    writable(state, &channel)?;
    let ts = args.text("ts").unwrap_or_default();
    match state.messages.history(&channel, ts) {
        None => Err(Refused::new("message_not_found")),
        Some(it) if it.by_app == ByApp::No => Err(Refused::new(foreign)),
        Some(it) => Ok((channel, it)),
    }
}

pub(super) fn update(state: &mut State, args: &Args) -> Answer {
    own(state, args, "cant_update_message")?;
    let draft = draft(state, args.text("text"), args.embedded("blocks"))?;
    let bot = state.workspace.bot_user.clone();
    let (channel, message) = own(state, args, "cant_update_message")?;
    if let Some(text) = draft.text {
        message.text = text;
    }
    // Without `blocks` the message keeps those it has.
    if let Some(blocks) = draft.blocks {
        message.blocks = blocks;
    }
    if let Some(metadata) = args.embedded("metadata") {
        message.metadata = Some(metadata);
    }
    message.edited = Some(bot);
    let message = message.clone();
    Ok(json!({
        "channel": channel, "ts": message.ts, "text": message.text,
        "message": shown(state, &message),
    }))
}

pub(super) fn delete(state: &mut State, args: &Args) -> Answer {
    let (channel, message) = own(state, args, "cant_delete_message")?;
    let ts = message.ts.clone();
    state.messages.remove(&channel, &ts);
    Ok(json!({"channel": channel, "ts": ts}))
}

pub(super) fn permalink(state: &mut State, args: &Args) -> Answer {
    let channel = args.text("channel").unwrap_or_default();
    if !state.workspace.channels.contains_key(channel) {
        return Err(Refused::new("channel_not_found"));
    }
    let ts = args.text("message_ts").unwrap_or_default();
    if state.messages.history(channel, ts).is_none() {
        return Err(Refused::new("message_not_found"));
    }
    let domain = &state.workspace.domain;
    let link = format!(
        "https://{domain}.slack.com/archives/{channel}/p{}",
        ts.replace('.', "")
    );
    Ok(json!({"channel": channel, "permalink": link}))
}

pub(super) fn reactions(state: &mut State, args: &Args) -> Answer {
    let channel = args.text("channel").unwrap_or_default();
    if !state.workspace.channels.contains_key(channel) {
        return Err(Refused::new("channel_not_found"));
    }
    let ts = args.text("timestamp").unwrap_or_default();
    let Some(message) = state.messages.history(channel, ts).cloned() else {
        return Err(Refused::new("message_not_found"));
    };
    Ok(json!({"type": "message", "channel": channel, "message": shown(state, &message)}))
}
