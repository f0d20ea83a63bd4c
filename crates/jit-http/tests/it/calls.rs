//! Calling the router in-process, and what comes back.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use jit_core::request::RequestId;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::World;

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The code of the error, after checking that it has the one shape.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        let error = body["error"].as_object().unwrap();
        let fields: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(fields, ["code", "message", "reference"]);
        assert_eq!(
            error["reference"],
            self.headers["x-request-id"].to_str().unwrap()
        );
        error["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    /// The status and the code, for tables.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }
}

/// Sends a call as it is.
pub(crate) async fn send(world: &World, request: Request<Body>) -> Reply {
    let response = world.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    Reply {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

pub(crate) async fn get(world: &World, token: &str, path: &str) -> Reply {
    let request = Request::get(path).header("authorization", format!("Bearer {token}"));
    send(world, request.body(Body::empty()).unwrap()).await
}

pub(crate) async fn post(world: &World, token: &str, path: &str, body: Value) -> Reply {
    post_text(world, token, path, &body.to_string()).await
}

pub(crate) async fn post_text(world: &World, token: &str, path: &str, body: &str) -> Reply {
    let request = Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    send(world, request.body(Body::from(body.to_owned())).unwrap()).await
}

/// A call with an `Idempotency-Key`.
pub(crate) async fn create_with_key(world: &World, token: &str, key: &str, body: &Value) -> Reply {
    let request = Request::post("/v1/requests")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    send(world, request.body(Body::from(body.to_string())).unwrap()).await
}

/// The body that asks for this.
pub(crate) fn ask(entitlement: &str) -> Value {
    json!({"entitlements": [{"entitlement": entitlement}], "ttl": "30m", "reason": "disk full"})
}

/// Opens a request and returns what is shown of it.
pub(crate) async fn open(world: &World, token: &str, entitlement: &str) -> Value {
    let reply = post(world, token, "/v1/requests", ask(entitlement)).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    reply.json()
}

pub(crate) fn id(request: &Value) -> String {
    request["id"].as_str().unwrap().to_owned()
}

pub(crate) fn request_id(request: &Value) -> RequestId {
    id(request).parse().unwrap()
}

/// The path of a verb on a request.
pub(crate) fn verb(request: &Value, verb: &str) -> String {
    format!("/v1/requests/{}/{verb}", id(request))
}

/// Approves what is shown.
pub(crate) async fn approve(world: &World, token: &str, request: &Value) -> Reply {
    let body = json!({"decision": "approve", "digest": request["digest"]});
    post(world, token, &verb(request, "decide"), body).await
}

/// The request as this caller sees it now.
pub(crate) async fn look(world: &World, token: &str, request: &Value) -> Value {
    let reply = get(world, token, &format!("/v1/requests/{}", id(request))).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.json()
}
