//! An InfluxDB 2 with one organization.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Fault, Listening, drawn, held};

/// An authorization as it really is.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorization {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub description: String,
    /// Its secret.
    pub token: String,
    /// What it permits.
    pub permissions: Vec<Value>,
    /// Whether it was deleted.
    pub is_deleted: bool,
}

/// An InfluxDB on loopback. It ends nothing by itself.
#[derive(Debug)]
pub struct InfluxDb {
    listening: Listening,
    state: Shared,
}

#[derive(Debug, Clone)]
struct Shared {
    organization: String,
    admin: String,
    all: Arc<Mutex<Vec<Authorization>>>,
}

#[derive(Deserialize)]
struct Ask {
    #[serde(rename = "orgID")]
    organization: String,
    #[serde(default)]
    description: String,
    permissions: Vec<Value>,
}

#[derive(Deserialize)]
struct Which {
    #[serde(rename = "orgID")]
    organization: Option<String>,
}

impl InfluxDb {
    /// Its one organization has this id; `admin` opens its door.
    pub async fn start(organization: &str, admin: &str) -> Self {
        let state = Shared {
            organization: organization.to_owned(),
            admin: admin.to_owned(),
            all: Arc::default(),
        };
        let routes = Router::new()
            .route("/api/v2/authorizations", post(make).get(list))
            .route("/api/v2/authorizations/{id}", delete(remove))
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

    /// Every authorization that was ever made.
    pub fn authorizations(&self) -> Vec<Authorization> {
        held(&self.state.all).clone()
    }

    /// Whether it lets this token in now.
    pub fn works(&self, token: &str) -> bool {
        let all = self.authorizations();
        all.iter().any(|it| it.token == token && !it.is_deleted)
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({"code": code, "message": message}))).into_response()
}

impl Shared {
    fn check(&self, headers: &HeaderMap) -> Result<(), Response> {
        let given = headers.get("authorization").and_then(|it| it.to_str().ok());
        match given == Some(format!("Token {}", self.admin).as_str()) {
            true => Ok(()),
            false => Err(refusal(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "unauthorized access",
            )),
        }
    }

    fn shown(&self, it: &Authorization) -> Value {
        json!({
            "id": it.id,
            "token": it.token,
            "status": "active",
            "description": it.description,
            "orgID": self.organization,
            "permissions": it.permissions,
        })
    }
}

/// Whether a permission says what it permits on what.
fn is_permission(permission: &Value) -> bool {
    let action = permission["action"].as_str();
    let kind = permission["resource"]["type"].as_str();
    matches!(action, Some("read" | "write")) && kind.is_some()
}

async fn make(State(state): State<Shared>, headers: HeaderMap, Json(ask): Json<Ask>) -> Response {
    if let Err(refused) = state.check(&headers) {
        return refused;
    }
    if ask.organization != state.organization {
        return refusal(StatusCode::NOT_FOUND, "not found", "organization not found");
    }
    if ask.permissions.is_empty() || !ask.permissions.iter().all(is_permission) {
        let message = "authorization must include permissions";
        return refusal(StatusCode::BAD_REQUEST, "invalid", message);
    }
    let mut all = held(&state.all);
    let made = Authorization {
        id: format!("{:016x}", 0x0a00_u64 + all.len() as u64),
        description: ask.description,
        token: drawn("influx-", all.len()),
        permissions: ask.permissions,
        is_deleted: false,
    };
    let shown = state.shown(&made);
    all.push(made);
    (StatusCode::CREATED, Json(shown)).into_response()
}

async fn list(
    State(state): State<Shared>,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Response {
    if let Err(refused) = state.check(&headers) {
        return refused;
    }
    let ours = which.organization.is_none_or(|it| it == state.organization);
    let all = held(&state.all);
    let there = all.iter().filter(|it| ours && !it.is_deleted);
    let shown: Vec<Value> = there.map(|it| state.shown(it)).collect();
    Json(json!({"links": {"self": "/api/v2/authorizations"}, "authorizations": shown}))
        .into_response()
}

async fn remove(
    State(state): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = state.check(&headers) {
        return refused;
    }
    let mut all = held(&state.all);
    match all.iter_mut().find(|it| it.id == id && !it.is_deleted) {
        Some(found) => {
            found.is_deleted = true;
            StatusCode::NO_CONTENT.into_response()
        }
        None => refusal(
            StatusCode::NOT_FOUND,
            "not found",
            "authorization not found",
        ),
    }
}
