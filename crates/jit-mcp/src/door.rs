//! What comes in before the protocol's own reading of it: whatever is no message of it is answered in
//! its own words, and not in those of a web server.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::{MESSAGE_LIMIT, McpService, PATH};

/// Codes of JSON-RPC 2.0, section 5.1.
const PARSE_ERROR: i32 = -32_700;
const INVALID_REQUEST: i32 = -32_600;
const INVALID_PARAMS: i32 = -32_602;

/// The service where it is mounted.
pub(crate) fn routes(service: McpService) -> Router {
    Router::new()
        .route_service(PATH, service)
        .layer(from_fn(read))
}

async fn read(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, MESSAGE_LIMIT).await else {
        let why = format!("a message has at most {MESSAGE_LIMIT} bytes");
        return refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            Value::Null,
            INVALID_REQUEST,
            &why,
        );
    };
    match judge(&bytes) {
        Ok(()) => {
            next.run(Request::from_parts(parts, Body::from(bytes)))
                .await
        }
        Err((id, code, why)) => refused(StatusCode::BAD_REQUEST, id, code, why),
    }
}

/// What is wrong with a message that no reader of the protocol would have an answer for.
fn judge(bytes: &[u8]) -> Result<(), (Value, i32, &'static str)> {
    let message: Value = serde_json::from_slice(bytes)
        .map_err(|_| (Value::Null, PARSE_ERROR, "the message is not JSON"))?;
    let id = message.get("id").cloned().unwrap_or_default();
    let is_message = message.get("jsonrpc") == Some(&Value::from("2.0"))
        && (message.get("method").is_some_and(Value::is_string)
            || message.get("result").is_some()
            || message.get("error").is_some());
    let is_id = matches!(message.get("id"), None | Some(Value::String(_)))
        || message
            .get("id")
            .is_some_and(|id| id.is_i64() || id.is_u64());
    if !is_id {
        let why = "an id is a text or a whole number";
        return Err((Value::Null, INVALID_REQUEST, why));
    }
    if !is_message {
        let why = "the message is not one object of JSON-RPC 2.0";
        return Err((id, INVALID_REQUEST, why));
    }
    if message.get("method") == Some(&Value::from("tools/call")) {
        let params = message.get("params");
        let named = params.and_then(|params| params.get("name"));
        if !named.is_some_and(Value::is_string) {
            return Err((id, INVALID_PARAMS, "tools/call needs params.name, a text"));
        }
        let arguments = params.and_then(|params| params.get("arguments"));
        if arguments.is_some_and(|it| !it.is_object()) {
            return Err((id, INVALID_PARAMS, "params.arguments is an object"));
        }
    }
    Ok(())
}

fn refused(status: StatusCode, id: Value, code: i32, why: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": why}});
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, json, body.to_string()).into_response()
}
