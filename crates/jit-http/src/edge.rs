//! The outermost layer of every call: its id, its deadline, the headers of every answer, the one
//! shape of errors, and its one line in the log. No token, body, reason or address is logged.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jit_core::Timestamp;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::ApiState;
use crate::error::{ApiError, ErrorBody, ErrorDetail};
use crate::extract::wait_of;
use crate::token::hex;

/// How long a call may take, beside the time that it asked to wait.
const DEADLINE: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The form of `Date`, by RFC 9110 section 5.6.7.
const IMF_FIXDATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// An answer whose errors have a shape of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsItIs;

/// Runs one call.
pub(crate) async fn edge(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = tokio::time::Instant::now();
    let reference = reference(&state, request.headers());
    // Whoever answers behind this can name the call, too.
    if let Ok(reference) = HeaderValue::from_str(&reference) {
        request.headers_mut().insert(REQUEST_ID, reference);
    }
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let limit = DEADLINE + wait_of(request.uri());
    let answered = tokio::time::timeout(limit, next.run(request)).await;
    let response = answered.unwrap_or_else(|_| too_slow().into_response());
    let mut response = shaped(response, &reference);
    dress(response.headers_mut(), &reference, state.engine.now());
    tracing::info!(
        event = "http_request",
        reference,
        method = %method,
        route = route.as_ref().map_or("none", MatchedPath::as_str),
        status = response.status().as_u16(),
        millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "a call was answered",
    );
    response
}

/// The caller's id of this call where it is a plain one, so that logs can be joined; else our own.
fn reference(state: &ApiState, headers: &HeaderMap) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let given = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    let given = given.filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(plain));
    given.map_or_else(
        || {
            let mut bytes = [0; 8];
            state.random.fill(&mut bytes);
            hex(&bytes)
        },
        str::to_owned,
    )
}

fn too_slow() -> ApiError {
    let message = "this took too long and was given up; it may have been done, so look before you \
                   try again";
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", message)
}

/// Gives an error its body. One of the framework's own gets the same shape.
fn shaped(mut response: Response, reference: &str) -> Response {
    let status = response.status();
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None if response.extensions().get::<AsItIs>().is_some() => return response,
        None if status.is_client_error() || status.is_server_error() => of_framework(status),
        None => return response,
    };
    if let Some(cause) = &error.cause {
        tracing::error!(reference, cause, "a call failed");
    }
    let failed = || format!("something failed, reference {reference}");
    let body = ErrorBody {
        error: ErrorDetail {
            code: error.code.to_owned(),
            message: error.message.unwrap_or_else(failed),
            reference: reference.to_owned(),
        },
    };
    let body = serde_json::to_vec(&body).expect("three strings serialise");
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

fn of_framework(status: StatusCode) -> ApiError {
    match status {
        StatusCode::NOT_FOUND => ApiError::new(
            status,
            "unknown_path",
            "there is nothing at this path; /openapi.json lists what there is",
        ),
        StatusCode::METHOD_NOT_ALLOWED => ApiError::new(
            status,
            "unknown_method",
            "this path does not take this method; /openapi.json lists those that it takes",
        ),
        _ => ApiError::new(status, "bad_call", "the call cannot be read"),
    }
}

fn dress(headers: &mut HeaderMap, reference: &str, now: Timestamp) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CACHE_CONTROL, "no-store");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    );
    if let Ok(reference) = HeaderValue::from_str(reference) {
        headers.insert(REQUEST_ID, reference);
    }
    // The clock by which access ends, so that a client can count down without trusting its own.
    let date = OffsetDateTime::from(now).format(IMF_FIXDATE);
    if let Some(date) = date.ok().and_then(|it| HeaderValue::from_str(&it).ok()) {
        headers.insert(header::DATE, date);
    }
}
