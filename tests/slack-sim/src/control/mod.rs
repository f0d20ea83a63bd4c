//! The control API under `/control/` and the page at `/`: what tests in other languages and people
//! in a browser use. It does what the verbs of [`crate::Person`] do. Only a browser that asked
//! loopback by name, and only JSON, gets through, so no other page can use it.
//!
//! - `GET /control/workspace`: people, groups, addresses and tokens.
//! - `GET /control/users/{id}[?since=version]`: all that this person sees; waits for news.
//! - `POST /control/users/{id}/{deed}` with `slash` (`channel`, `command`, `text`), `shortcut`
//!   (`callback_id`), `message_shortcut`, `say` (`channel`, `text`, `thread_ts`), `click`
//!   (`channel`, `ts`, `action`, `value`), `react` and `unreact` (`channel`, `ts`, `name`),
//!   `open_home`, `click_home`, and on the top modal `modal_options` (`field`, `query`),
//!   `modal_pick` and `modal_unpick` (`field`, `value`), `modal_fill` (`field`, `text`),
//!   `modal_click`, `modal_submit`, `modal_close`.
//! - `POST /control/hostile` with `{"do": …}`: what goes wrong, see `hostile.rs`.
//! - `GET /control/facts`, `GET /control/calls[?method=]`: what was seen of the app.

mod deeds;
mod hostile;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::gesture::CannotDo;
use crate::messages::Message;
use crate::state::{Inner, State, direct_id};
use crate::workspace::{Age, Kind, Standing, Visibility};

/// The longest a reader waits for something new.
const LONG_POLL: Duration = Duration::from_secs(20);

/// The page may load its own files and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

type App = Shared<Arc<Inner>>;

pub(crate) fn router() -> Router<Arc<Inner>> {
    Router::new()
        .route(
            "/",
            get(|| async { file("text/html", include_str!("page/index.html")) }),
        )
        .route(
            "/app.js",
            get(|| async { file("text/javascript", include_str!("page/app.js")) }),
        )
        .route(
            "/blocks.js",
            get(|| async { file("text/javascript", include_str!("page/blocks.js")) }),
        )
        .route(
            "/mrkdwn.js",
            get(|| async { file("text/javascript", include_str!("page/mrkdwn.js")) }),
        )
        .route(
            "/style.css",
            get(|| async { file("text/css", include_str!("page/style.css")) }),
        )
        .route("/control/workspace", get(workspace))
        .route("/control/facts", get(facts))
        .route("/control/calls", get(calls))
        .route("/control/hostile", post(hostile::set))
        .route("/control/users/{user}", get(screen))
        .route("/control/users/{user}/{deed}", post(deeds::act))
        .layer(from_fn(only_here))
}

fn file(kind: &str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (headers, text).into_response()
}

/// Turns away pages of elsewhere that made a browser ask loopback.
async fn only_here(request: Request, next: Next) -> Response {
    let named = |headers: &HeaderMap| {
        let host = headers
            .get(header::HOST)
            .and_then(|it| it.to_str().ok())
            .unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        matches!(name, "127.0.0.1" | "localhost" | "[::1]")
    };
    if !named(request.headers()) {
        return (StatusCode::FORBIDDEN, "ask for 127.0.0.1").into_response();
    }
    next.run(request).await
}

/// Why a request of the control API was not done.
#[derive(Debug)]
pub(crate) enum Unserved {
    NoSuch(&'static str),
    Malformed(String),
    Refused(CannotDo),
}

impl From<CannotDo> for Unserved {
    fn from(why: CannotDo) -> Self {
        Self::Refused(why)
    }
}

impl IntoResponse for Unserved {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Self::NoSuch(what) => (StatusCode::NOT_FOUND, format!("there is no such {what}")),
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, why),
            Self::Refused(why) => (StatusCode::CONFLICT, why.0),
        };
        (status, Json(json!({"error": why}))).into_response()
    }
}

async fn workspace(Shared(inner): App) -> Json<Value> {
    Json(inner.look(|state| {
        let it = &state.workspace;
        let users: Vec<Value> = it
            .users
            .values()
            .filter(|user| user.kind != Kind::Bot)
            .map(|user| {
                let active = user.standing == Standing::Active;
                json!({"id": user.id, "name": user.name, "tz": user.tz, "active": active,
                       "kind": format!("{:?}", user.kind).to_lowercase()})
            })
            .collect();
        let groups: BTreeMap<&String, Value> = it
            .groups
            .iter()
            .map(|(id, group)| (id, json!({"handle": group.handle, "users": group.users})))
            .collect();
        json!({
            "team": it.team, "domain": it.domain, "bot_user": it.bot_user,
            "api_url": inner.url("/api"), "bot_token": state.bot_token(),
            "app_token": state.app_token(), "signing_secret": state.signing_secret(),
            "users": users, "groups": groups,
        })
    }))
}

async fn facts(Shared(inner): App) -> Json<Value> {
    Json(inner.look(|state| {
        json!({
            "connections": state.sockets.live.len(), "opens": state.sockets.opens.len(),
            "seen_errors": state.seen_errors, "violations": state.violations,
        })
    }))
}

async fn calls(Shared(inner): App, Query(query): Query<BTreeMap<String, String>>) -> Json<Value> {
    let method = query.get("method").cloned();
    Json(inner.look(|state| {
        let of = state
            .calls
            .iter()
            .filter(|it| method.as_ref().is_none_or(|m| *m == it.method));
        of.map(|it| json!({"method": it.method, "body": it.body, "answer": it.answer}))
            .collect()
    }))
}

/// Everything one person sees; with `?since=` it waits for something new.
async fn screen(
    Shared(inner): App,
    Path(user): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, Unserved> {
    let since: Option<u64> = query.get("since").and_then(|it| it.parse().ok());
    let mut changes = inner.changes();
    if let Some(since) = since {
        let news = changes.wait_for(|now| *now != since);
        let _ = tokio::time::timeout(LONG_POLL, news).await;
    }
    let version = *changes.borrow();
    let shown = inner.look(|state| seen(state, &user, version));
    shown.map(Json).ok_or(Unserved::NoSuch("user"))
}

fn seen(state: &State, id: &str, version: u64) -> Option<Value> {
    let user = state.workspace.users.get(id)?;
    let it = &state.workspace;
    let direct = direct_id(id);
    let mut channels = vec![];
    for channel in it.channels.values() {
        let mine = channel.members.contains(id);
        let open = channel.visibility == Visibility::Public && user.kind == Kind::Member;
        if channel.visibility == Visibility::Direct && channel.id != direct || !(mine || open) {
            continue;
        }
        let messages = state.messages.seen_by(id, &channel.id);
        channels.push(json!({
            "id": channel.id, "name": channel.name, "member": mine,
            "bot": channel.members.contains(&it.bot_user),
            "direct": channel.visibility == Visibility::Direct,
            "private": channel.visibility == Visibility::Private,
            "archived": channel.age == Age::Archived,
            "messages": messages.iter().map(message_json).collect::<Vec<_>>(),
        }));
    }
    let view = |view: &crate::views::View| view.json(&it.team, &it.app, &it.bot_id);
    Some(json!({
        "version": version, "user": id, "tz": user.tz,
        "active": user.standing == Standing::Active,
        "channels": channels, "home": state.views.home(id).map(view),
        "modals": state.views.stack(id).into_iter().map(view).collect::<Vec<_>>(),
        "connections": state.sockets.live.len(), "seen_errors": state.seen_errors,
        "violations": state.violations.len(),
    }))
}

fn message_json(it: &Message) -> Value {
    json!({
        "ts": it.ts, "thread_ts": it.thread_ts, "author": it.author, "text": it.text,
        "blocks": it.blocks, "ephemeral": it.ephemeral, "edited": it.edited,
        "reactions": it.reactions,
    })
}
