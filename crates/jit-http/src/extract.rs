//! Reading a call: who makes it, its query, its body, the request it is about. Whatever cannot be
//! read is answered in the one shape of errors, with a sentence that says what to write instead.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use jit_core::Ttl;
use jit_core::engine::{Engine, EngineError};
use jit_core::lifecycle::Refusal;
use jit_core::principal::{Door, Principal};
use jit_core::request::{IdempotencyKey, RequestId};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::ApiState;
use crate::error::ApiError;
use crate::token::{NotAuthenticated, Token, authenticate};

/// The longest body, in bytes.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;
/// The longest that a call may wait for a change.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The longest explanation of a body or query that cannot be read, in characters.
const EXPLANATION_LIMIT: usize = 400;

/// Who makes the call.
#[derive(Debug)]
pub(crate) struct Caller {
    /// As whom they were authenticated.
    pub(crate) via: Principal,
    /// By which token.
    pub(crate) token: Token,
}

impl Caller {
    /// What the engine said, for this caller.
    pub(crate) fn told<T>(&self, answer: Result<T, EngineError>) -> Result<T, ApiError> {
        answer.map_err(|error| ApiError::from_engine(error, &self.via.id))
    }

    /// The request that a path names: by its whole id, or by a suffix of five or more characters
    /// that only one request has of those that the caller may read. Whatever else it is, it is
    /// answered like a request that is not there.
    pub(crate) async fn request(
        &self,
        engine: &Engine,
        named: &str,
    ) -> Result<RequestId, ApiError> {
        if let Ok(id) = named.parse() {
            return Ok(id);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(5..=30).contains(&named.len()) || !named.bytes().all(plain) {
            return Err(ApiError::refused(&Refusal::UnknownRequest, &self.via.id));
        }
        self.told(engine.find(&self.via, named).await)
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let text = bearer(&parts.headers).ok_or(NotAuthenticated::Invalid)?;
        let store = state.engine.store().as_ref();
        let token = authenticate(store, state.engine.now(), &text).await?;
        let via = Principal {
            id: token.principal.clone(),
            door: Door::Http,
        };
        Ok(Self { via, token })
    }
}

/// The bearer token of a call; none where there is not exactly one.
fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (given.next(), given.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| SecretString::from(token.trim()))
}

/// How long a long poll asked to wait, at most [`WAIT_MAX`]; nothing where it cannot be read.
pub(crate) fn wait_of(uri: &Uri) -> Duration {
    #[derive(Deserialize)]
    struct Wait {
        wait: Option<Ttl>,
    }
    let wait = Query::<Wait>::try_from_uri(uri).ok();
    capped(wait.and_then(|Query(query)| query.wait))
}

/// A wait within its ceiling.
pub(crate) fn capped(wait: Option<Ttl>) -> Duration {
    wait.map_or(Duration::ZERO, Ttl::duration).min(WAIT_MAX)
}

/// The query of a call.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<ApiState> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, ApiError> {
        let read = Query::<T>::try_from_uri(&parts.uri);
        let Query(query) = read.map_err(|rejection| {
            let text = rejection.body_text();
            let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
            ApiError::bad_value(cut(&format!("the query cannot be read: {why}")))
        })?;
        Ok(Self(query))
    }
}

/// The JSON body of a call.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let bytes = whole_body(request).await?;
        parsed(&headers, &bytes).map(Self)
    }
}

/// The JSON body of a call that may have none.
#[derive(Debug)]
pub(crate) struct MaybeJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<ApiState> for MaybeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &ApiState) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let bytes = whole_body(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        parsed(&headers, &bytes).map(Self)
    }
}

fn parsed<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, ApiError> {
    if !is_json(headers) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "send the body as JSON, with Content-Type: application/json",
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| unreadable(&error))
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE);
    let kind = given.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/json")
}

async fn whole_body(request: Request) -> Result<axum::body::Bytes, ApiError> {
    let too_large = || {
        let message = format!("the body is too large; at most {BODY_LIMIT} bytes are taken");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    // Said before anything is read, so that a client that waits for "100 Continue" sends nothing.
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(too_large());
    }
    to_bytes(request.into_body(), BODY_LIMIT)
        .await
        .map_err(|_| too_large())
}

fn unreadable(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    match error.classify() {
        Category::Data => {
            let why = text
                .rsplit_once(" at line ")
                .map_or(text.as_str(), |it| it.0);
            ApiError::bad_value(cut(why))
        }
        Category::Io | Category::Syntax | Category::Eof => ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            cut(&format!("the body is not valid JSON: {text}")),
        ),
    }
}

/// An explanation as it may be shown: it quotes what somebody sent, which may be long or move a cursor.
fn cut(text: &str) -> String {
    let shown = |letter: char| match letter.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => letter,
    };
    text.chars().take(EXPLANATION_LIMIT).map(shown).collect()
}

/// The `Idempotency-Key` of a call, if it has one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let name = HeaderName::from_static("idempotency-key");
    let mut given = headers.get_all(name).iter();
    let Some(key) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(ApiError::bad_value(
            "Idempotency-Key is given once".to_owned(),
        ));
    }
    let text = key.to_str().unwrap_or("");
    match text.parse::<IdempotencyKey>() {
        Ok(key) => Ok(Some(key)),
        Err(error) => Err(ApiError::bad_value(error.to_string())),
    }
}
