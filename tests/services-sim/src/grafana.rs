//! A Grafana with one service account.

use std::fmt;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Fault, Listening, Now, drawn, held, refusal};

/// A token as it really is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrafanaToken {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its secret.
    pub key: String,
    /// When Grafana ends it, in microseconds since the Unix epoch.
    pub expires_at: Option<i64>,
    /// Whether it was deleted.
    pub is_deleted: bool,
}

/// A Grafana on loopback.
#[derive(Debug)]
pub struct Grafana {
    listening: Listening,
    state: Shared,
}

#[derive(Clone)]
struct Shared {
    account: u64,
    admin: String,
    tokens: Arc<Mutex<Vec<GrafanaToken>>>,
    now: Now,
}

#[derive(Deserialize)]
struct Ask {
    name: String,
    #[serde(rename = "secondsToLive")]
    seconds_to_live: Option<i64>,
}

impl Grafana {
    /// Its one service account has this number; `admin` opens its door.
    pub async fn start(account: u64, admin: &str, now: Now) -> Self {
        let state = Shared {
            account,
            admin: admin.to_owned(),
            tokens: Arc::default(),
            now,
        };
        let routes = Router::new()
            .route(
                "/api/serviceaccounts/{account}/tokens",
                post(make).get(list),
            )
            .route("/api/serviceaccounts/{account}/tokens/{id}", delete(remove))
            .with_state(state.clone());
        let listening = Listening::start(routes).await;
        Self { listening, state }
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.listening.url
    }

    /// Breaks every call, or mends them.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.listening.set(fault);
    }

    /// Every token that was ever made.
    pub fn tokens(&self) -> Vec<GrafanaToken> {
        held(&self.state.tokens).clone()
    }

    /// Whether it lets this key in now.
    pub fn works(&self, key: &str) -> bool {
        let now = (self.state.now)();
        let alive = |it: &GrafanaToken| !it.is_deleted && !it.has_expired(now);
        self.tokens().iter().any(|it| it.key == key && alive(it))
    }
}

impl GrafanaToken {
    fn has_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn check(&self, headers: &HeaderMap, account: &str) -> Result<(), Response> {
        let given = headers.get("authorization").and_then(|it| it.to_str().ok());
        if given != Some(format!("Bearer {}", self.admin).as_str()) {
            return Err(refusal(StatusCode::UNAUTHORIZED, "Invalid API key"));
        }
        if account != self.account.to_string() {
            return Err(refusal(StatusCode::NOT_FOUND, "service account not found"));
        }
        Ok(())
    }
}

fn instant(micros: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap();
    at.format(&Rfc3339).unwrap()
}

async fn make(
    State(state): State<Shared>,
    Path(account): Path<String>,
    headers: HeaderMap,
    Json(ask): Json<Ask>,
) -> Response {
    if let Err(refused) = state.check(&headers, &account) {
        return refused;
    }
    if ask.seconds_to_live.is_some_and(|secs| secs < 0) {
        return refusal(StatusCode::BAD_REQUEST, "invalid SecondsToLive value");
    }
    let mut tokens = held(&state.tokens);
    if tokens
        .iter()
        .any(|it| it.name == ask.name && !it.is_deleted)
    {
        return refusal(StatusCode::CONFLICT, "token with given name already exists");
    }
    let id = tokens.len() as u64 + 1;
    let lives = ask.seconds_to_live.filter(|secs| *secs > 0);
    let made = GrafanaToken {
        id,
        key: drawn("glsa_", tokens.len()),
        name: ask.name,
        expires_at: lives.map(|secs| (state.now)() + secs * 1_000_000),
        is_deleted: false,
    };
    tokens.push(made.clone());
    Json(json!({"id": id, "name": made.name, "key": made.key})).into_response()
}

async fn list(
    State(state): State<Shared>,
    Path(account): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = state.check(&headers, &account) {
        return refused;
    }
    let now = (state.now)();
    let shown = |it: &GrafanaToken| -> Value {
        json!({
            "id": it.id,
            "name": it.name,
            "created": instant(now),
            "lastUsedAt": null,
            "expiration": it.expires_at.map(instant),
            "secondsUntilExpiration": it.expires_at.map_or(0, |at| (at - now).max(0) / 1_000_000),
            "hasExpired": it.has_expired(now),
            "isRevoked": false,
        })
    };
    let tokens = held(&state.tokens);
    let listed: Vec<Value> = tokens
        .iter()
        .filter(|it| !it.is_deleted)
        .map(shown)
        .collect();
    Json(listed).into_response()
}

async fn remove(
    State(state): State<Shared>,
    Path((account, id)): Path<(String, u64)>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = state.check(&headers, &account) {
        return refused;
    }
    let mut tokens = held(&state.tokens);
    match tokens.iter_mut().find(|it| it.id == id && !it.is_deleted) {
        Some(token) => {
            token.is_deleted = true;
            Json(json!({"message": "Service account token deleted"})).into_response()
        }
        None => refusal(StatusCode::NOT_FOUND, "service account token not found"),
    }
}
