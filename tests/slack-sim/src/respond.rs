//! Response URLs: five answers within half an hour into the conversation of a gesture.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{Draft, PAGE, draft, rate_limited};
use crate::faults::Fault;
use crate::messages::{Audience, ByApp, Stored};
use crate::state::{Inner, Responder, State};

/// How often a response URL may be used.
pub const USES: u32 = 5;

/// What faults call an answer to a gesture.
const METHOD: &str = "response_url";

/// How long a response URL works.
const LIFE: Duration = Duration::from_secs(30 * 60);

/// Serves `/response/{id}`.
pub(crate) async fn respond(
    Shared(inner): Shared<Arc<Inner>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let answer: Value = match serde_json::from_slice(&body) {
        Ok(it) => it,
        Err(_) => return (StatusCode::BAD_REQUEST, "invalid_payload").into_response(),
    };
    let fault = inner.with(|state| state.faults.take(METHOD));
    match fault {
        Some(Fault::RateLimited { retry_after_s }) => return rate_limited(retry_after_s),
        Some(Fault::ServerError) => {
            return (StatusCode::SERVICE_UNAVAILABLE, PAGE).into_response();
        }
        Some(Fault::NotJson) => return PAGE.into_response(),
        Some(Fault::Api(error)) => return (StatusCode::BAD_REQUEST, error).into_response(),
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::SlowMs(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(Fault::Hang | Fault::InvalidJson) | None => {}
    }
    let applied = inner.with(|state| used(state, &id).and_then(|of| apply(state, &of, &answer)));
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::InvalidJson) => return "{\"ok\":true,\"chan".into_response(),
        _ => {}
    }
    match applied {
        Ok(()) => "ok".into_response(),
        Err(why) => {
            inner.violation(format!("response_url: {why}"));
            let gone = matches!(why.as_str(), "used_url" | "expired_url");
            let status = if gone {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::BAD_REQUEST
            };
            (status, why).into_response()
        }
    }
}

fn used(state: &mut State, id: &str) -> Result<Responder, String> {
    let life = state.scaled(LIFE);
    let Some(responder) = state.responders.get_mut(id) else {
        return Err("expired_url".to_owned());
    };
    if Instant::now() - responder.at > life {
        return Err("expired_url".to_owned());
    }
    if responder.uses >= USES {
        return Err("used_url".to_owned());
    }
    responder.uses += 1;
    Ok(responder.clone())
}

/// Does what an answer to a gesture asks for.
pub(crate) fn apply(state: &mut State, of: &Responder, answer: &Value) -> Result<(), String> {
    let source = of.source.as_deref();
    if answer["delete_original"] == true {
        if let Some(ts) = source {
            state.messages.remove(&of.channel, ts);
        }
        return Ok(());
    }
    let content = draft(
        state,
        answer["text"].as_str(),
        answer.get("blocks").cloned(),
    )
    .map_err(|it| it.error)?;
    if answer["replace_original"] == true
        && let Some(message) = source.and_then(|ts| state.messages.find_mut(&of.channel, ts))
    {
        replace(message, content);
        return Ok(());
    }
    let audience = if answer["response_type"] == "in_channel" {
        Audience::Everybody
    } else {
        Audience::Only(of.user.clone())
    };
    let message = Stored {
        ts: state.messages.stamp(),
        author: state.workspace.bot_user.clone(),
        by_app: ByApp::Yes,
        text: content.text.unwrap_or_default(),
        blocks: content.blocks.unwrap_or_default(),
        thread_ts: answer["thread_ts"].as_str().map(str::to_owned),
        metadata: None,
        edited: None,
        audience,
        reactions: BTreeMap::new(),
    };
    state.messages.post(&of.channel, message);
    Ok(())
}

fn replace(message: &mut Stored, content: Draft) {
    message.text = content.text.unwrap_or_default();
    message.blocks = content.blocks.unwrap_or_default();
    message.edited = Some(message.author.clone());
}

/// The address under which a gesture may be answered.
pub(crate) fn url(
    inner: &Inner,
    state: &mut State,
    of: (&str, &str),
    source: Option<&str>,
) -> Value {
    let id = state.responder(of.0, of.1, source);
    json!(inner.url(&format!("/response/{id}")))
}
