//! A Home Assistant with one user who has one refresh token.

use std::fmt;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::{Fault, Listening, Now, drawn, held, refusal};

/// How long an access token lives, in seconds.
const LIFE_SECS: i64 = 1_800;

/// A Home Assistant on loopback.
#[derive(Debug)]
pub struct HomeAssistant {
    listening: Listening,
    state: Shared,
}

#[derive(Clone)]
struct Shared {
    refresh_token: String,
    client_id: String,
    /// Each access token and when it ends, in microseconds since the Unix epoch.
    issued: Arc<Mutex<Vec<(String, i64)>>>,
    now: Now,
}

#[derive(Deserialize)]
struct Ask {
    grant_type: String,
    refresh_token: Option<String>,
    client_id: Option<String>,
}

impl HomeAssistant {
    /// With this refresh token of this client.
    pub async fn start(refresh_token: &str, client_id: &str, now: Now) -> Self {
        let state = Shared {
            refresh_token: refresh_token.to_owned(),
            client_id: client_id.to_owned(),
            issued: Arc::default(),
            now,
        };
        let routes = Router::new()
            .route("/auth/token", post(issue))
            .route("/api/", get(running))
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

    /// How many access tokens were ever made.
    pub fn issued(&self) -> usize {
        held(&self.state.issued).len()
    }

    /// The access token that was made as this one, from 0.
    pub fn token(&self, number: usize) -> Option<String> {
        let issued = held(&self.state.issued);
        issued.get(number).map(|(token, _)| token.clone())
    }

    /// Whether it lets this token in now.
    pub fn works(&self, token: &str) -> bool {
        self.state.works(token)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn works(&self, token: &str) -> bool {
        let now = (self.now)();
        let issued = held(&self.issued);
        issued
            .iter()
            .any(|(it, ends_at)| it == token && now < *ends_at)
    }
}

fn refused(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

async fn issue(State(state): State<Shared>, Form(ask): Form<Ask>) -> Response {
    if ask.grant_type != "refresh_token" {
        return refused("unsupported_grant_type");
    }
    let right = ask.refresh_token.as_deref() == Some(state.refresh_token.as_str());
    if !right {
        return refused("invalid_grant");
    }
    if ask.client_id.as_deref() != Some(state.client_id.as_str()) {
        return refused("invalid_request");
    }
    let mut issued = held(&state.issued);
    let token = drawn("ey.ha-", issued.len());
    issued.push((token.clone(), (state.now)() + LIFE_SECS * 1_000_000));
    Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": LIFE_SECS}))
        .into_response()
}

async fn running(State(state): State<Shared>, headers: HeaderMap) -> Response {
    let given = headers.get("authorization").and_then(|it| it.to_str().ok());
    let token = given.and_then(|it| it.strip_prefix("Bearer "));
    match token.is_some_and(|token| state.works(token)) {
        true => Json(json!({"message": "API running."})).into_response(),
        false => refusal(StatusCode::UNAUTHORIZED, "401: Unauthorized"),
    }
}
