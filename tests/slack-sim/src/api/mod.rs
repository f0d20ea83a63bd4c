//! The Web API: how a call is read, checked, made to go wrong, answered and recorded. What each
//! method does is in the modules below.

mod chat;
mod people;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::faults::Fault;
use crate::state::{Call, Inner, State};

pub(crate) use chat::{Draft, draft};
pub(crate) use views::{checked_view, named_view};

/// Why a call was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: String,
    more: Map<String, Value>,
}

pub(crate) type Answer = Result<Value, Refused>;

impl Refused {
    pub(crate) fn new(error: &str) -> Self {
        Self {
            error: error.to_owned(),
            more: Map::new(),
        }
    }

    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.more.insert(key.to_owned(), value);
        self
    }

    /// A refusal that lists what is wrong, as Slack does for blocks and views.
    pub(crate) fn because(error: &str, problems: Vec<String>) -> Self {
        let bare: Vec<&str> = problems
            .iter()
            .map(|it| it.trim_start_matches("[ERROR] "))
            .collect();
        Self::new(error)
            .with("errors", json!(bare))
            .with("response_metadata", json!({"messages": problems}))
    }

    fn json(self) -> Value {
        let mut it = self.more;
        it.insert("ok".to_owned(), json!(false));
        it.insert("error".to_owned(), json!(self.error));
        Value::Object(it)
    }
}

/// The arguments of a call.
#[derive(Debug)]
pub(crate) struct Args(Map<String, Value>);

impl Args {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|it| !it.is_null())
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|it| it == &json!(true) || it == "true" || it == "1")
    }

    pub(crate) fn number(&self, key: &str) -> Option<usize> {
        let it = self.get(key)?;
        let number = it.as_u64().or_else(|| it.as_str()?.parse().ok())?;
        usize::try_from(number).ok()
    }

    /// JSON that may come as such or, as forms do it, written into a string.
    pub(crate) fn embedded(&self, key: &str) -> Option<Value> {
        match self.get(key)? {
            Value::String(text) => Some(serde_json::from_str(text).unwrap_or(Value::Null)),
            other => Some(other.clone()),
        }
    }
}

/// Methods that read their arguments from query or form only; a JSON body is as good as none.
const NO_JSON: [&str; 9] = [
    "conversations.info",
    "conversations.list",
    "conversations.members",
    "users.info",
    "users.list",
    "users.lookupByEmail",
    "usergroups.list",
    "usergroups.users.list",
    "chat.getPermalink",
];

fn read(method: &str, query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Read {
    let mut args = Map::new();
    let mut ignored_json = false;
    let pairs = |text: &[u8]| -> Vec<(String, String)> {
        serde_urlencoded::from_bytes(text).unwrap_or_default()
    };
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|it| it.to_str().ok())
        .unwrap_or("");
    let mut flat = pairs(query.unwrap_or_default().as_bytes());
    if kind.starts_with("application/json") {
        ignored_json = NO_JSON.contains(&method) && body.len() > 2;
        if !ignored_json && let Ok(Value::Object(object)) = serde_json::from_slice(body) {
            args = object;
        }
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        flat.extend(pairs(body));
    }
    args.extend(
        flat.into_iter()
            .map(|(key, value)| (key, Value::String(value))),
    );
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|it| it.to_str().ok());
    let bearer = bearer
        .and_then(|it| it.strip_prefix("Bearer "))
        .map(str::to_owned);
    let token = match args.remove("token") {
        Some(Value::String(it)) => Some(it),
        _ => bearer,
    };
    Read {
        args: Args(args),
        token: token.unwrap_or_default(),
        ignored_json,
    }
}

struct Read {
    args: Args,
    token: String,
    ignored_json: bool,
}

/// Serves `/api/{method}`.
pub(crate) async fn call(
    Shared(inner): Shared<Arc<Inner>>,
    Path(method): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if inner.stopped() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Read {
        args,
        token,
        ignored_json,
    } = read(&method, query.as_deref(), &headers, &body);
    let call = Call {
        method: method.clone(),
        body: Value::Object(args.0.clone()),
        at: Instant::now(),
        token: token.clone(),
        answer: Value::Null,
    };
    let (fault, latency, place, limited) = inner.with(|state| {
        if ignored_json {
            state
                .violations
                .push(format!("{method} does not read a JSON body"));
        }
        if method == "apps.connections.open" {
            state.sockets.opens.push(call.at);
        }
        let limited = state.limits.take(&method, call.at);
        state.calls.push(call);
        (
            state.faults.take(&method),
            state.latency,
            state.calls.len() - 1,
            limited,
        )
    });
    tokio::time::sleep(latency).await;
    if let Err(seconds) = limited {
        return rate_limited(seconds);
    }
    match fault {
        Some(Fault::RateLimited { retry_after_s }) => return rate_limited(retry_after_s),
        Some(Fault::ServerError) => {
            return (StatusCode::SERVICE_UNAVAILABLE, PAGE).into_response();
        }
        Some(Fault::NotJson) => return PAGE.into_response(),
        Some(Fault::Api(error)) => return answered(&inner, place, Refused::new(error).json()),
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::SlowMs(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(Fault::Hang | Fault::InvalidJson) | None => {}
    }
    let base = format!("ws://{}", inner.address);
    let result = inner.with(|state| {
        allowed(state, &method, &token).and_then(|()| dispatch(state, &method, &args, &base))
    });
    if fault == Some(Fault::Hang) {
        std::future::pending::<()>().await;
    }
    if fault == Some(Fault::InvalidJson) {
        return ([(header::CONTENT_TYPE, JSON)], "{\"ok\":true,\"chan").into_response();
    }
    match result {
        Ok(mut it) => {
            it["ok"] = json!(true);
            answered(&inner, place, it)
        }
        Err(refused) if refused.error == "ratelimited" => rate_limited(1),
        Err(refused) => answered(&inner, place, refused.json()),
    }
}

pub(crate) const PAGE: &str = "<!DOCTYPE html><title>Server Error</title>";
const JSON: &str = "application/json; charset=utf-8";

fn answered(inner: &Inner, place: usize, answer: Value) -> Response {
    let text = answer.to_string();
    inner.with(|state| {
        if let Some(call) = state.calls.get_mut(place) {
            call.answer = answer;
        }
    });
    ([(header::CONTENT_TYPE, JSON)], text).into_response()
}

pub(crate) fn rate_limited(seconds: u64) -> Response {
    let headers = [
        (header::RETRY_AFTER, seconds.to_string()),
        (header::CONTENT_TYPE, JSON.to_owned()),
    ];
    let body = r#"{"ok":false,"error":"ratelimited"}"#;
    (StatusCode::TOO_MANY_REQUESTS, headers, body).into_response()
}

/// Whether this token may call this method.
fn allowed(state: &State, method: &str, token: &str) -> Result<(), Refused> {
    if token.is_empty() {
        return Err(Refused::new("not_authed"));
    }
    let app = method == "apps.connections.open";
    if token != state.bot_token() && token != state.app_token() {
        return Err(Refused::new("invalid_auth"));
    }
    if app != (token == state.app_token()) && method != "auth.test" {
        return Err(Refused::new("not_allowed_token_type"));
    }
    let Some(needed) = scope_of(method) else {
        return Ok(());
    };
    scoped(state, needed)
}

/// Refuses what the installed scopes do not cover.
pub(crate) fn scoped(state: &State, needed: &str) -> Result<(), Refused> {
    let scopes = &state.workspace.scopes;
    if scopes.contains(needed) {
        return Ok(());
    }
    let provided: Vec<&str> = scopes.iter().map(String::as_str).collect();
    Err(Refused::new("missing_scope")
        .with("needed", json!(needed))
        .with("provided", json!(provided.join(","))))
}

fn scope_of(method: &str) -> Option<&'static str> {
    Some(match method {
        "chat.postMessage" | "chat.update" | "chat.postEphemeral" | "chat.delete" => "chat:write",
        "conversations.open" => "im:write",
        "users.info" | "users.list" => "users:read",
        "users.lookupByEmail" => "users:read.email",
        "usergroups.list" | "usergroups.users.list" => "usergroups:read",
        "reactions.get" => "reactions:read",
        _ => return None,
    })
}

fn dispatch(state: &mut State, method: &str, args: &Args, base: &str) -> Answer {
    match method {
        "apps.connections.open" => state.sockets.open(base),
        "auth.test" => people::auth_test(state),
        "chat.postMessage" => chat::post_message(state, args),
        "chat.postEphemeral" => chat::post_ephemeral(state, args),
        "chat.update" => chat::update(state, args),
        "chat.delete" => chat::delete(state, args),
        "chat.getPermalink" => chat::permalink(state, args),
        "reactions.get" => chat::reactions(state, args),
        "views.open" => views::open(state, args),
        "views.push" => views::push(state, args),
        "views.update" => views::update(state, args),
        "views.publish" => views::publish(state, args),
        "conversations.open" => people::open(state, args),
        "conversations.info" => people::channel_info(state, args),
        "conversations.members" => people::members(state, args),
        "conversations.list" => people::channels(state, args),
        "users.info" => people::user_info(state, args),
        "users.list" => people::users(state, args),
        "users.lookupByEmail" => people::by_email(state, args),
        "usergroups.list" => people::groups(state, args),
        "usergroups.users.list" => people::group_users(state, args),
        _ => Err(Refused::new("unknown_method").with("req_method", json!(method))),
    }
}
