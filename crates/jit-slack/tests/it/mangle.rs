//! Genuine payloads of Slack, one of every shape that is read here, and a grammar that mangles
//! them: what is dropped, of another type, swapped, too long, too deep, or of other hands.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// Who does it, and about what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doer<'a> {
    /// `U…`.
    pub(crate) user: &'a str,
    /// `T…`.
    pub(crate) team: &'a str,
    /// `req-…:0123456789abcdef`, as a button of ours carries it.
    pub(crate) about: &'a str,
    /// What is asked for.
    pub(crate) entitlement: &'a str,
}

/// An envelope's type and its payload.
pub(crate) type Payload = (&'static str, Value);

/// One of everything that this person can send.
pub(crate) fn corpus(doer: &Doer<'_>) -> Vec<Payload> {
    let mut all = vec![];
    for (command, text) in [
        ("/jit", ""),
        ("/jit", "request memory/admins"),
        ("/jit", "list"),
        ("/jit", "status 000001"),
        ("/jit", "done"),
        ("/jit", "help"),
        ("/request-admin", "<mailto:bob@example.com|bob@example.com>"),
        ("/prod-access", "\"the checkout is down\""),
    ] {
        all.push(("slash_commands", slash(doer, command, text)));
    }
    for action in [
        "jit_approve",
        "jit_approve_edit",
        "jit_deny",
        "jit_withdraw",
        "jit_done",
        "jit_revoke",
        "jit_review",
    ] {
        all.push(("interactive", click(doer, action, doer.about)));
    }
    let id = doer.about.split(':').next().unwrap_or_default();
    all.push(("interactive", click(doer, "jit_again", id)));
    all.push(("interactive", click(doer, "jit_request", "home")));
    all.push(("interactive", chosen(doer)));
    for (callback, kept) in [
        ("jit_request", json!({})),
        ("jit_request", json!({"for": "bob@example.com"})),
        ("jit_deny", json!({"about": doer.about})),
        ("jit_shorten", json!({"about": doer.about})),
    ] {
        all.push(("interactive", submission(doer, callback, &kept)));
    }
    all.push(("interactive", suggestion(doer)));
    all.push(("interactive", shortcut(doer)));
    let events = [
        json!({"type": "reaction_added", "user": doer.user, "reaction": "white_check_mark",
               "item_user": "U0JITBOT", "event_ts": "1790000000.000200",
               "item": {"type": "message", "channel": "C0SEC", "ts": "1790000000.000100"}}),
        json!({"type": "app_home_opened", "user": doer.user, "channel": "D0ANA", "tab": "home",
               "event_ts": "1790000000.000200"}),
        json!({"type": "user_change", "cache_ts": 1_790_000_000, "event_ts": "1790000000.000200",
               "user": {"id": doer.user, "team_id": doer.team, "deleted": true, "profile": {}}}),
        json!({"type": "subteam_members_changed", "subteam_id": "S0OFFICERS",
               "team_id": doer.team, "added_users": [doer.user], "added_users_count": 1,
               "removed_users": [], "removed_users_count": 0}),
        json!({"type": "tokens_revoked", "tokens": {"oauth": [], "bot": ["U0JITBOT"]}}),
    ];
    for (number, event) in events.into_iter().enumerate() {
        all.push(("events_api", callback(doer, number, event)));
    }
    // Where the app is installed for a whole organisation.
    let mut orgs: Vec<Payload> = all.clone();
    for (_, payload) in &mut orgs {
        for (key, null) in [("team", Value::Null), ("team_id", Value::Null)] {
            if let Some(team) = payload.get_mut(key) {
                *team = null;
            }
        }
    }
    all.extend(orgs);
    all
}

fn slash(doer: &Doer<'_>, command: &str, text: &str) -> Value {
    json!({
        "token": "deprecated-verification-token", "team_id": doer.team, "team_domain": "example",
        "channel_id": "C0SEC", "channel_name": "security", "user_id": doer.user,
        "user_name": "somebody", "command": command, "text": text, "api_app_id": "A0JITAPP1",
        "is_enterprise_install": "false",
        "response_url": "http://127.0.0.1:4803/response/1", "trigger_id": "13345224609.738474920.8088930838d88f008e0",
    })
}

fn interactive(doer: &Doer<'_>, kind: &str) -> Value {
    json!({
        "type": kind, "token": "deprecated-verification-token",
        "user": {"id": doer.user, "username": "somebody", "name": "somebody", "team_id": doer.team},
        "team": {"id": doer.team, "domain": "example"}, "api_app_id": "A0JITAPP1",
        "enterprise": null, "is_enterprise_install": false,
        "trigger_id": "12466734323.1395872398.9f8e7d6c5b4a",
    })
}

/// A button of a message.
pub(crate) fn click(doer: &Doer<'_>, action: &str, value: &str) -> Value {
    let mut payload = interactive(doer, "block_actions");
    payload["container"] = json!({"type": "message", "message_ts": "1790000000.000100",
        "channel_id": "C0SEC", "is_ephemeral": false});
    payload["channel"] = json!({"id": "C0SEC", "name": "security"});
    payload["message"] = json!({"type": "message", "user": "U0JITBOT", "ts": "1790000000.000100",
        "text": "a card", "blocks": [{"type": "divider", "block_id": "x"}]});
    payload["state"] = json!({"values": {}});
    payload["response_url"] = "http://127.0.0.1:4803/response/2".into();
    payload["actions"] = json!([{"type": "button", "action_id": action, "block_id": "decide",
        "action_ts": "1790000001.000300", "value": value, "style": "primary",
        "text": {"type": "plain_text", "text": "Approve", "emoji": false}}]);
    payload
}

fn view(doer: &Doer<'_>, callback: &str, kept: &Value) -> Value {
    let option =
        |value: &str| json!({"text": {"type": "plain_text", "text": value}, "value": value});
    json!({
        "id": "V0123456789", "team_id": doer.team, "type": "modal", "callback_id": callback,
        "hash": "1790000000.abcdefgh", "private_metadata": kept.to_string(), "blocks": [],
        "state": {"values": {
            "target": {"target": {"type": "external_select", "selected_option": option(doer.entitlement)}},
            "duration-14400": {"duration": {"type": "static_select", "selected_option": option("900")}},
            "reason": {"reason": {"type": "plain_text_input", "value": "the checkout is down"}},
        }},
        "title": {"type": "plain_text", "text": "Request access"}, "root_view_id": "V0123456789",
        "previous_view_id": null, "clear_on_close": false, "notify_on_close": false,
        "app_id": "A0JITAPP1", "bot_id": "B0JITBOT1", "external_id": "",
    })
}

fn chosen(doer: &Doer<'_>) -> Value {
    let mut payload = interactive(doer, "block_actions");
    payload["container"] = json!({"type": "view", "view_id": "V0123456789"});
    payload["view"] = view(doer, "jit_request", &json!({}));
    payload["actions"] = json!([{"type": "external_select", "action_id": "target",
        "block_id": "target", "action_ts": "1790000001.000300",
        "selected_option": {"text": {"type": "plain_text", "text": "x"}, "value": doer.entitlement}}]);
    payload
}

fn submission(doer: &Doer<'_>, callback: &str, kept: &Value) -> Value {
    let mut payload = interactive(doer, "view_submission");
    payload["view"] = view(doer, callback, kept);
    payload["response_urls"] = json!([]);
    payload
}

fn suggestion(doer: &Doer<'_>) -> Value {
    let mut payload = interactive(doer, "block_suggestion");
    payload["container"] = json!({"type": "view", "view_id": "V0123456789"});
    payload["view"] = view(doer, "jit_request", &json!({}));
    payload["action_id"] = "target".into();
    payload["block_id"] = "target".into();
    payload["value"] = "adm".into();
    payload
}

fn shortcut(doer: &Doer<'_>) -> Value {
    let mut payload = interactive(doer, "shortcut");
    payload["callback_id"] = "jit_request".into();
    payload["action_ts"] = "1790000001.000300".into();
    payload
}

fn callback(doer: &Doer<'_>, number: usize, event: Value) -> Value {
    json!({
        "token": "deprecated-verification-token", "team_id": doer.team, "api_app_id": "A0JITAPP1",
        "event": event, "type": "event_callback", "event_id": format!("Ev0{number}"),
        "event_time": 1_790_000_000, "is_ext_shared_channel": false,
    })
}

/// One thing that went wrong with a payload.
#[derive(Debug, Clone)]
pub(crate) enum Mangle {
    /// It is not there.
    Drop,
    /// It is something else.
    Retype(Value),
    /// It is in another's place.
    Swap(Index),
    /// It is this many times as long.
    Lengthen(usize),
    /// It is this deep inside of lists.
    Nest(usize),
    /// Something stands before it.
    Begin(&'static str),
    /// It names somebody or something of elsewhere.
    Foreign(&'static str),
}

/// Bytes to which a text is lengthened at most; every limit is far below.
const LONGEST: usize = 100_000;

const BEGINNINGS: [&str; 12] = [
    "\0",
    "\u{1b}[31m",
    "\r\n",
    "\u{7f}",
    "\u{85}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "<!channel>",
    "`",
    "%00",
    "\u{1f469}\u{200d}\u{1f680}",
];

const FOREIGN: [&str; 18] = [
    "U0FAR",
    "U0GUEST",
    "U0GONE",
    "U0JITBOT",
    "UNOBODY",
    "W1",
    "u0bob",
    "U0 BOB",
    "USLACKBOT",
    "T0ELSEWHR",
    "E0ORG",
    "C0NOWHERE",
    "D0ANA",
    "S0OFFICERS",
    "-1",
    "18446744073709551616",
    "https://example.com/collect",
    "req-00000000000000000000000000:0123456789abcdef",
];

fn mangle() -> impl Strategy<Value = Mangle> {
    let other = prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(0)),
        Just(json!(-1.5e300)),
        Just(json!(u64::MAX)),
        Just(json!("")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null, {"id": null}])),
        Just(json!({"id": {"id": "U0BOB!"}, "value": []})),
    ];
    prop_oneof![
        3 => Just(Mangle::Drop),
        3 => other.prop_map(Mangle::Retype),
        2 => any::<Index>().prop_map(Mangle::Swap),
        1 => (2_usize..3_000).prop_map(Mangle::Lengthen),
        1 => (1_usize..120).prop_map(Mangle::Nest),
        2 => proptest::sample::select(&BEGINNINGS[..]).prop_map(Mangle::Begin),
        3 => proptest::sample::select(&FOREIGN[..]).prop_map(Mangle::Foreign),
    ]
}

/// Which of the genuine ones, and what goes wrong with it where.
pub(crate) fn accident() -> impl Strategy<Value = (Index, Vec<(Index, Mangle)>)> {
    let wrong = proptest::collection::vec((any::<Index>(), mangle()), 1..6);
    (any::<Index>(), wrong)
}

/// The payload after the accident.
pub(crate) fn mangled(mut payload: Value, wrong: &[(Index, Mangle)]) -> Value {
    for (place, mangle) in wrong {
        let mut places = vec![];
        walk(&payload, String::new(), &mut places);
        if places.is_empty() {
            break;
        }
        let here = place.get(&places).clone();
        apply(&mut payload, &here, mangle, &places);
    }
    payload
}

/// Every place below the top, as a pointer.
pub(crate) fn walk(value: &Value, at: String, places: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, it)| (key.clone(), it)).collect(),
        Value::Array(items) => {
            let numbered = items.iter().enumerate();
            numbered
                .map(|(number, it)| (number.to_string(), it))
                .collect()
        }
        _ => vec![],
    };
    for (key, it) in inner {
        let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        places.push(at.clone());
        walk(it, at, places);
    }
}

fn apply(payload: &mut Value, here: &str, mangle: &Mangle, places: &[String]) {
    if let Mangle::Drop = mangle {
        let Some((parent, key)) = here.rsplit_once('/') else {
            return;
        };
        match payload.pointer_mut(parent) {
            Some(Value::Object(fields)) => {
                fields.remove(&key.replace("~1", "/").replace("~0", "~"));
            }
            Some(Value::Array(items)) => items.clear(),
            _ => {}
        }
        return;
    }
    if let Mangle::Swap(with) = mangle {
        let there = with.get(places);
        let (one, other) = (
            payload.pointer(here).cloned(),
            payload.pointer(there).cloned(),
        );
        for (place, value) in [(here, other), (there.as_str(), one)] {
            if let (Some(slot), Some(value)) = (payload.pointer_mut(place), value) {
                *slot = value;
            }
        }
        return;
    }
    let Some(slot) = payload.pointer_mut(here) else {
        return;
    };
    let text = slot.as_str().map(str::to_owned);
    *slot = match (mangle, text) {
        (Mangle::Retype(other), _) => other.clone(),
        (Mangle::Foreign(id), _) => (*id).into(),
        (Mangle::Lengthen(times), Some(text)) => text
            .repeat(*times.min(&(LONGEST / text.len().max(1) + 1)))
            .into(),
        (Mangle::Lengthen(times), None) => "x".repeat(*times).into(),
        (Mangle::Begin(with), Some(text)) => format!("{with}{text}").into(),
        (Mangle::Begin(with), None) => (*with).into(),
        (Mangle::Nest(depth), _) => (0..*depth).fold(slot.take(), |inner, _| json!([inner])),
        (Mangle::Drop | Mangle::Swap(_), _) => return,
    };
}
