//! `auth.test`, `conversations.*`, `users.*` and `usergroups.*`.

use serde_json::{Value, json};

use super::{Answer, Args, Refused, scoped};
use crate::state::State;
use crate::workspace::{Age, Channel, Kind, Standing, Visibility};

pub(super) fn auth_test(state: &mut State) -> Answer {
    let it = &state.workspace;
    Ok(json!({
        "url": format!("https://{}.slack.com/", it.domain), "team": it.domain, "user": "jit",
        "team_id": it.team, "user_id": it.bot_user, "bot_id": it.bot_id,
        "is_enterprise_install": false,
    }))
}

pub(super) fn open(state: &mut State, args: &Args) -> Answer {
    if let Some(id) = args.text("channel") {
        let Some(channel) = state.workspace.channels.get(id) else {
            return Err(Refused::new("channel_not_found"));
        };
        return Ok(json!({"channel": {"id": channel.id}}));
    }
    // Slack wants one comma separated string; a JSON array is no list to it.
    let Some(users) = args.text("users").filter(|it| !it.is_empty()) else {
        return Err(Refused::new("users_list_not_supplied"));
    };
    let users: Vec<&str> = users.split(',').map(str::trim).collect();
    for id in &users {
        let Some(user) = state.workspace.users.get(*id) else {
            return Err(Refused::new("user_not_found"));
        };
        if user.kind == Kind::Bot {
            return Err(Refused::new("cannot_dm_bot"));
        }
        if user.standing == Standing::Deactivated {
            return Err(Refused::new("user_disabled"));
        }
    }
    let [user] = users.as_slice() else {
        return Err(scoped(state, "mpim:write")
            .err()
            .unwrap_or_else(|| Refused::new("too_many_users")));
    };
    let id = state.direct(user);
    let mut channel = json!({"id": id});
    if args.flag("return_im") {
        channel["user"] = json!(user);
        channel["is_im"] = json!(true);
        channel["is_open"] = json!(true);
    }
    Ok(json!({"no_op": false, "already_open": false, "channel": channel}))
}

/// A channel the bot may see, with the scope for its kind.
fn visible<'a>(state: &'a State, args: &Args) -> Result<&'a Channel, Refused> {
    let found = state
        .workspace
        .channels
        .get(args.text("channel").unwrap_or_default());
    let Some(channel) = found else {
        return Err(Refused::new("channel_not_found"));
    };
    match channel.visibility {
        Visibility::Public => scoped(state, "channels:read")?,
        Visibility::Private if !channel.members.contains(&state.workspace.bot_user) => {
            return Err(Refused::new("channel_not_found"));
        }
        Visibility::Private => scoped(state, "groups:read")?,
        Visibility::Direct => {}
    }
    Ok(channel)
}

pub(super) fn channel_info(state: &mut State, args: &Args) -> Answer {
    let channel = visible(state, args)?;
    Ok(json!({"channel": channel.json(&state.workspace.team, &state.workspace.bot_user)}))
}

pub(super) fn members(state: &mut State, args: &Args) -> Answer {
    let channel = visible(state, args)?;
    let all = channel.members.iter().map(|it| json!(it)).collect();
    page(all, "members", args)
}

pub(super) fn channels(state: &mut State, args: &Args) -> Answer {
    let types = args.text("types").unwrap_or("public_channel");
    for (kind, scope) in [
        ("public_channel", "channels:read"),
        ("private_channel", "groups:read"),
    ] {
        if types.contains(kind) {
            scoped(state, scope)?;
        }
    }
    let bot = &state.workspace.bot_user;
    let wanted = |it: &&Channel| match it.visibility {
        Visibility::Public => types.contains("public_channel"),
        Visibility::Private => types.contains("private_channel") && it.members.contains(bot),
        Visibility::Direct => false,
    };
    let live = |it: &&Channel| !args.flag("exclude_archived") || it.age == Age::Live;
    let all = state
        .workspace
        .channels
        .values()
        .filter(wanted)
        .filter(live);
    let all = all.map(|it| it.json(&state.workspace.team, bot)).collect();
    page(all, "channels", args)
}

/// One page of a listing; the cursor of the next one is in `response_metadata`.
fn page(all: Vec<Value>, key: &str, args: &Args) -> Answer {
    let start = match args.text("cursor").filter(|it| !it.is_empty()) {
        None => 0,
        Some(cursor) => match cursor.strip_prefix("next:").and_then(|it| it.parse().ok()) {
            Some(start) => start,
            None => return Err(Refused::new("invalid_cursor")),
        },
    };
    let limit = args
        .number("limit")
        .filter(|it| *it > 0)
        .unwrap_or(100)
        .min(1000);
    let left = all.len() > start + limit;
    let items: Vec<Value> = all.into_iter().skip(start).take(limit).collect();
    let next = if left {
        format!("next:{}", start + limit)
    } else {
        String::new()
    };
    Ok(json!({key: items, "response_metadata": {"next_cursor": next}}))
}

pub(super) fn user_info(state: &mut State, args: &Args) -> Answer {
    match state.user_json(args.text("user").unwrap_or_default()) {
        Some(user) => Ok(json!({"user": user})),
        None => Err(Refused::new("user_not_found")),
    }
}

pub(super) fn users(state: &mut State, args: &Args) -> Answer {
    let ids: Vec<String> = state.workspace.users.keys().cloned().collect();
    let all = ids.iter().filter_map(|it| state.user_json(it)).collect();
    page(all, "members", args)
}

pub(super) fn by_email(state: &mut State, args: &Args) -> Answer {
    let email = args.text("email").unwrap_or_default();
    let found = state.workspace.users.values().find(|it| {
        !email.is_empty() && it.email.eq_ignore_ascii_case(email) && it.standing == Standing::Active
    });
    match found.and_then(|it| state.user_json(&it.id)) {
        Some(user) => Ok(json!({"user": user})),
        None => Err(Refused::new("users_not_found")),
    }
}

pub(super) fn groups(state: &mut State, args: &Args) -> Answer {
    let team = &state.workspace.team;
    let shown = |group: &crate::workspace::Group| {
        let mut it = group.json(team);
        if args.flag("include_users") {
            it["users"] = json!(group.users);
        }
        it
    };
    let all: Vec<Value> = state.workspace.groups.values().map(shown).collect();
    Ok(json!({"usergroups": all}))
}

pub(super) fn group_users(state: &mut State, args: &Args) -> Answer {
    match state
        .workspace
        .groups
        .get(args.text("usergroup").unwrap_or_default())
    {
        Some(group) => Ok(json!({"users": group.users})),
        None => Err(Refused::new("no_such_subteam")),
    }
}
