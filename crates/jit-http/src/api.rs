//! The routes of the API: each reads its input, hands it to the engine, and shows what came back.
//! Those about requests are in [`crate::requests`].

use std::convert::Infallible;

use axum::extract::State;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use jit_core::catalog::EntitlementId;
use jit_core::policy::Right;
use jit_core::principal::PrincipalId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::document::{Failures, openapi_json};
use crate::error::ApiError;
use crate::extract::{Caller, Params};
use crate::listing::{DriftList, EntitlementList, EntitlementView, VerdictView};
use crate::{ApiState, observe, requests};

/// One way into the API: a method and a path.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) handler: MethodRouter<ApiState, Infallible>,
}

impl Route {
    fn get<T: 'static>(path: &'static str, handler: impl Handler<T, ApiState>) -> Self {
        Self {
            path,
            handler: on(MethodFilter::GET, handler),
        }
    }

    fn post<T: 'static>(path: &'static str, handler: impl Handler<T, ApiState>) -> Self {
        Self {
            path,
            handler: on(MethodFilter::POST, handler),
        }
    }
}

/// Every route. The router is made from this list, and the document is tested against it.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/health", observe::health),
        Route::get("/openapi.json", openapi_json),
        Route::get("/v1/me", me),
        Route::get("/v1/entitlements", entitlements),
        Route::post("/v1/requests", requests::create),
        Route::get("/v1/requests", requests::list),
        Route::get("/v1/requests/{id}", requests::show),
        Route::get("/v1/requests/{id}/events", requests::events),
        Route::get("/v1/requests/{id}/background", requests::background),
        Route::post("/v1/requests/{id}/decide", requests::decide),
        Route::post("/v1/requests/{id}/retract", requests::retract),
        Route::post("/v1/requests/{id}/withdraw", requests::withdraw),
        Route::post("/v1/requests/{id}/end", requests::end),
        Route::post("/v1/requests/{id}/revoke", requests::revoke),
        Route::post("/v1/requests/{id}/collect", requests::collect),
        Route::post("/v1/pause", pause),
        Route::post("/v1/resume", resume),
        Route::get("/v1/paused", paused),
        Route::get("/v1/explain", explain),
        Route::get("/v1/drift", drift),
    ]
}

/// The most entitlements that one answer has.
const SEARCH_MAX: usize = 1_000;

/// What a handler answers.
pub(crate) type Answer<T> = Result<axum::Json<T>, ApiError>;

// -------------------------------------------------------------------------------------- oneself

/// Who the token says the caller is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// As whom they were authenticated; it may be one of several ids of the same person.
    #[schema(example = "ana@example.com")]
    principal: String,
    /// By which token.
    token: TokenView,
}

/// A token without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    /// Its public id.
    id: String,
    /// What it is for.
    label: String,
    /// When it was made.
    made_at: String,
    /// It is valid before this instant.
    expires_at: String,
}

/// Whose token this is, and until when it is valid.
#[utoipa::path(get, path = "/v1/me", tag = "oneself", responses(
    (status = 200, description = "The caller.", body = Me), Failures,
))]
async fn me(State(state): State<ApiState>, caller: Caller) -> Answer<Me> {
    check_account(&state, &caller).await?;
    let token = &caller.token;
    Ok(axum::Json(Me {
        principal: caller.via.id.to_string(),
        token: TokenView {
            id: token.id.clone(),
            label: token.label.clone(),
            made_at: token.made_at.to_string(),
            expires_at: token.expires_at.to_string(),
        },
    }))
}

/// The engine judges every caller; this asks it to, for the answers that need nothing else of it.
async fn check_account(state: &ApiState, caller: &Caller) -> Result<(), ApiError> {
    caller.told(state.engine.knows(&caller.via).await)
}

/// Which entitlements.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// Part of an id or of a title; all of them where unset.
    #[param(example = "prod")]
    search: Option<String>,
    /// At most so many, from 1 to 1000; 1000 where unset.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// What the caller may ask for or decide.
#[utoipa::path(get, path = "/v1/entitlements", tag = "oneself", params(SearchQuery), responses(
    (status = 200, description = "The entitlements.", body = EntitlementList), Failures,
))]
async fn entitlements(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<SearchQuery>,
) -> Answer<EntitlementList> {
    let limit = query.limit.unwrap_or(SEARCH_MAX);
    if !(1..=SEARCH_MAX).contains(&limit) {
        let rule = format!("limit is a number from 1 to {SEARCH_MAX}");
        return Err(ApiError::bad_value(rule));
    }
    let text = query.search.as_deref().unwrap_or_default();
    let found = caller.told(state.engine.search(&caller.via, text, limit).await)?;
    let policy = state.engine.policy();
    let entries = found.entries.iter();
    Ok(axum::Json(EntitlementList {
        entitlements: entries
            .map(|entry| EntitlementView::of(entry, policy))
            .collect(),
        more: found.more,
        as_of: found.as_of.map(|at| at.to_string()),
    }))
}

/// What to explain.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainQuery {
    /// Whom it is about; the caller where unset.
    #[param(value_type = Option<String>, pattern = "^[0-9A-Za-z@.:_+-]{1,200}$", example = "ana@example.com")]
    principal: Option<PrincipalId>,
    /// Which right: request, on_behalf_of, approve, revoke, audit or operate.
    #[param(
        value_type = String,
        pattern = "^(request|on_behalf_of|approve|revoke|audit|operate)$",
        example = "request",
    )]
    right: Right,
    /// Over which entitlement.
    #[param(value_type = String, pattern = "^[0-9A-Za-z_-]{1,60}/[0-9A-Za-z_./:@+-]{1,199}$", example = "groupfile/admins")]
    entitlement: EntitlementId,
}

/// Whether somebody may use a right over an entitlement, and why. About others with the right to
/// audit.
#[utoipa::path(get, path = "/v1/explain", tag = "oneself", params(ExplainQuery), responses(
    (status = 200, description = "The verdict with its reasons.", body = VerdictView), Failures,
))]
async fn explain(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<ExplainQuery>,
) -> Answer<VerdictView> {
    let about = query.principal.as_ref().unwrap_or(&caller.via.id);
    let engine = &state.engine;
    let verdict = engine.explain(&caller.via, about, query.right, &query.entitlement);
    let verdict = caller.told(verdict.await)?;
    Ok(axum::Json(VerdictView::of(&verdict)))
}

// ------------------------------------------------------------------------------------ operating

/// Whether new access is paused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Paused {
    /// Whether it is.
    paused: bool,
}

/// Stop new access. Access that was given still ends on time.
#[utoipa::path(post, path = "/v1/pause", tag = "service", responses(
    (status = 200, description = "It is paused.", body = Paused), Failures,
))]
async fn pause(State(state): State<ApiState>, caller: Caller) -> Answer<Paused> {
    caller.told(state.engine.pause(&caller.via).await)?;
    Ok(axum::Json(Paused { paused: true }))
}

/// Let new access go on.
#[utoipa::path(post, path = "/v1/resume", tag = "service", responses(
    (status = 200, description = "It is not paused.", body = Paused), Failures,
))]
async fn resume(State(state): State<ApiState>, caller: Caller) -> Answer<Paused> {
    caller.told(state.engine.resume(&caller.via).await)?;
    Ok(axum::Json(Paused { paused: false }))
}

/// Whether new access is paused.
#[utoipa::path(get, path = "/v1/paused", tag = "service", responses(
    (status = 200, description = "Whether it is.", body = Paused), Failures,
))]
async fn paused(State(state): State<ApiState>, caller: Caller) -> Answer<Paused> {
    check_account(&state, &caller).await?;
    let paused = state.engine.is_paused().await;
    let paused = paused.map_err(|error| ApiError::failed(&error))?;
    Ok(axum::Json(Paused { paused }))
}

/// What stands at providers and no grant explains, and grants whose access is missing. For whoever
/// may operate the service.
#[utoipa::path(get, path = "/v1/drift", tag = "service", responses(
    (status = 200, description = "What was found by the latest looks.", body = DriftList), Failures,
))]
async fn drift(State(state): State<ApiState>, caller: Caller) -> Answer<DriftList> {
    let drifted = caller.told(state.engine.drift(&caller.via).await)?;
    Ok(axum::Json(DriftList::of(&drifted)))
}
