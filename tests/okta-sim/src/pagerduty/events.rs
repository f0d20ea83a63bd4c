//! Events: what opens an alert, and what ends it.
//! <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::PagerError;
use crate::api::Request;
use crate::clock::parse_iso;
use crate::state::State;

/// The longest there may be, in characters; and the most bytes of an event.
const LONGEST_KEY: usize = 255;
const LONGEST_SUMMARY: usize = 1024;
const MOST_BYTES: usize = 512 * 1024;

/// An event that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PagerEvent {
    /// When, in microseconds since 1970.
    pub at_micros: i64,
    /// `trigger`, `acknowledge` or `resolve`.
    pub action: String,
    /// The key that the alert's events are told by.
    pub dedup_key: String,
    /// What it says; `null` where it says nothing.
    pub payload: Value,
}

pub(super) fn enqueue(state: &mut State, request: &Request) -> Result<Value, PagerError> {
    if request.body.len() > MOST_BYTES {
        return Err(PagerError::events(
            413,
            "invalid event",
            "Event is too large",
        ));
    }
    let Ok(Value::Object(event)) = serde_json::from_str(&request.body) else {
        let why = "Event object format is unrecognized";
        return Err(PagerError::events(400, "invalid event", why).because("JSON parse error"));
    };
    let key = event
        .get("routing_key")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut errors = errors(&event, key);
    if errors.is_empty() && !state.setup.routing_keys.iter().any(|it| it == key) {
        errors.push("Invalid routing key".to_owned());
    }
    if !errors.is_empty() {
        let error = PagerError::events(400, "invalid event", "Event object is invalid");
        return Err(errors.iter().fold(error, |error, why| error.because(why)));
    }
    let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
    let action = text("event_action").unwrap_or_default();
    let dedup_key = text("dedup_key").unwrap_or_else(|| state.draw_answer_id());
    match action.as_str() {
        "trigger" => state.pagerduty.open.insert(dedup_key.clone()),
        "resolve" => state.pagerduty.open.remove(&dedup_key),
        // An alert that somebody acknowledged is open still; there may be none.
        _ => false,
    };
    let said = json!({
        "status": "success", "message": "Event processed", "dedup_key": dedup_key,
    });
    state.pagerduty.events.push(PagerEvent {
        at_micros: state.moment,
        action,
        dedup_key,
        payload: event.get("payload").cloned().unwrap_or(Value::Null),
    });
    Ok(said)
}

/// Everything that is wrong with an event.
fn errors(event: &Map<String, Value>, key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if key.chars().count() != 32 {
        errors.push("Length of 'routing_key' is incorrect (should be 32 characters)".to_owned());
    }
    let action = event.get("event_action").and_then(Value::as_str);
    if !matches!(action, Some("trigger" | "acknowledge" | "resolve")) {
        errors.push("'event_action' is not one of trigger, acknowledge, resolve".to_owned());
    }
    match event.get("dedup_key") {
        None | Some(Value::Null) if action == Some("trigger") => {}
        None | Some(Value::Null) => errors.push("'dedup_key' is missing or blank".to_owned()),
        Some(Value::String(text)) if text.is_empty() => {
            errors.push("'dedup_key' is missing or blank".to_owned());
        }
        Some(Value::String(text)) if text.chars().count() > LONGEST_KEY => {
            errors.push("'dedup_key' is too long (at most 255 characters)".to_owned());
        }
        Some(Value::String(_)) => {}
        Some(_) => errors.push("'dedup_key' is not a text".to_owned()),
    }
    match event.get("payload") {
        Some(Value::Object(payload)) => errors.extend(payload_errors(payload)),
        None | Some(Value::Null) if action != Some("trigger") => {}
        _ => errors.push("'payload' is missing or no object".to_owned()),
    }
    errors
}

fn payload_errors(payload: &Map<String, Value>) -> Vec<String> {
    let mut errors = Vec::new();
    let text = |name: &str| {
        payload
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    for name in ["summary", "source", "severity"] {
        if text(name).is_empty() {
            errors.push(format!("'payload.{name}' is missing or blank"));
        }
    }
    if text("summary").chars().count() > LONGEST_SUMMARY {
        errors.push("'payload.summary' is too long (at most 1024 characters)".to_owned());
    }
    let severity = text("severity");
    if !severity.is_empty() && !["critical", "error", "warning", "info"].contains(&severity) {
        errors.push("'payload.severity' is not one of critical, error, warning, info".to_owned());
    }
    let details = payload.get("custom_details");
    if details.is_some_and(|it| !it.is_object() && !it.is_null()) {
        errors.push("'payload.custom_details' is no object".to_owned());
    }
    match payload.get("timestamp") {
        None | Some(Value::Null) => {}
        Some(Value::String(at)) if parse_iso(at).is_some() => {}
        Some(_) => errors.push("'payload.timestamp' is no time".to_owned()),
    }
    errors
}
