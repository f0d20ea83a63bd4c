//! The routes about requests: open one, find it, decide it, end it, collect its credential.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use jit_core::catalog::EntitlementId;
use jit_core::engine::{Collected, Engine, EngineError, Extent, NewRequest, Verb};
use jit_core::ports::{ErrorKind, PortError, Query};
use jit_core::principal::{Principal, PrincipalId};
use jit_core::provider::Parameters;
use jit_core::request::{AccessRequest, Reason, RequestId, Status};
use jit_core::{Timestamp, Ttl};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};

use crate::ApiState;
use crate::api::Answer;
use crate::document::Failures;
use crate::error::ApiError;
use crate::extract::{Caller, Json, MaybeJson, Params, capped, idempotency_key};
use crate::listing::{BackgroundView, EventList, EventView, RequestList};
use crate::view::{RequestView, Secret, StatusView};

/// How many requests a listing has where nobody says otherwise, and at most.
const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1_000;
/// The shortest part of a digest that a decision may carry, in digits.
const DIGEST_DIGITS_MIN: usize = 16;

// -------------------------------------------------------------------------------------- opening

/// What is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateBody {
    /// One entitlement.
    #[schema(min_items = 1, max_items = 1)]
    entitlements: Vec<PartBody>,
    /// For how long, as in `30m`; the tier's default where unset.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+[smhd]$", example = "30m")]
    ttl: Option<Ttl>,
    /// Why: 1 to 1000 characters.
    #[schema(value_type = String, min_length = 1, max_length = 1000, example = "the disk is full")]
    reason: Reason,
    /// For whom; the caller, or an agent's person, where unset.
    #[serde(rename = "for")]
    #[schema(value_type = Option<String>, pattern = "^[0-9A-Za-z@.:_+-]{1,200}$", example = "ana@example.com")]
    beneficiary: Option<PrincipalId>,
}

/// One thing that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartBody {
    /// What.
    #[schema(value_type = String, pattern = "^[0-9A-Za-z_-]{1,60}/[0-9A-Za-z_./:@+-]{1,199}$", example = "groupfile/admins")]
    entitlement: EntitlementId,
    /// With which parameters, where it takes any.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: Parameters,
}

/// Ask for access. With an `Idempotency-Key`, the same ask again gives the same request for a day.
#[utoipa::path(post, path = "/v1/requests", tag = "requests", request_body = CreateBody,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,200}$",
        description = "1 to 200 letters, digits and signs without spaces.")),
    responses((status = 201, description = "The request.", body = RequestView), Failures))]
pub(crate) async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json<CreateBody>,
) -> Result<impl IntoResponse, ApiError> {
    let parts = body.entitlements.into_iter();
    let ask = NewRequest {
        beneficiary: body.beneficiary,
        parts: parts
            .map(|part| (part.entitlement, part.parameters))
            .collect(),
        ttl: body.ttl,
        reason: body.reason,
        idempotency_key: idempotency_key(&headers)?,
    };
    let opened = state.engine.open(&caller.via, ask).await;
    if let Some(outcome) = not_done(&opened) {
        metrics::counter!("jit_requests_total", "outcome" => outcome).increment(1);
    }
    let request = caller.told(opened)?;
    Ok((StatusCode::CREATED, shown(&state, &request)))
}

/// How the metrics call what came to nothing. What was done is a commit, and is counted there:
/// most commits come in by no door.
pub(crate) fn not_done<T>(answer: &Result<T, EngineError>) -> Option<&'static str> {
    match answer {
        Ok(_) => None,
        Err(EngineError::Refused(_)) => Some("refused"),
        Err(EngineError::Failed(_)) => Some("failed"),
    }
}

// -------------------------------------------------------------------------------------- reading

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Requester or beneficiary.
    #[param(value_type = Option<String>, pattern = "^[0-9A-Za-z@.:_+-]{1,200}$", example = "ana@example.com")]
    principal: Option<PrincipalId>,
    /// What was asked for.
    #[param(value_type = Option<String>, pattern = "^[0-9A-Za-z_-]{1,60}/[0-9A-Za-z_./:@+-]{1,199}$", example = "groupfile/admins")]
    entitlement: Option<EntitlementId>,
    /// Any of these, with commas between them.
    #[param(example = "pending,active")]
    status: Option<String>,
    /// Whose story was not over before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime, example = "2026-01-06T00:00:00Z")]
    from: Option<Timestamp>,
    /// That were opened before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime, example = "2026-01-07T00:00:00Z")]
    until: Option<Timestamp>,
    /// At most so many, from 1 to 1000; 100 where unset.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Begin behind this request: the `next` of the page before.
    #[param(value_type = Option<String>, pattern = "^req-[0-9A-Za-z]{26}$")]
    after: Option<RequestId>,
}

/// The requests that the caller may read, from the newest to the oldest.
#[utoipa::path(get, path = "/v1/requests", tag = "requests", params(ListQuery), responses(
    (status = 200, description = "One page.", body = RequestList), Failures,
))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Answer<RequestList> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT);
    if !(1..=LIST_MAX).contains(&limit) {
        let rule = format!("limit is a number from 1 to {LIST_MAX}");
        return Err(ApiError::bad_value(rule));
    }
    let query = Query {
        principal: query.principal,
        entitlement: query.entitlement,
        statuses: query.status.as_deref().map_or(Ok(vec![]), statuses)?,
        from: query.from,
        until: query.until,
        after: query.after,
        limit,
        ..Query::default()
    };
    let listed = caller.told(state.engine.list(&caller.via, query).await)?;
    let found = listed.requests;
    let full = found.len() == limit;
    let last = found.last().filter(|_| full);
    let catalog = state.engine.catalog();
    Ok(axum::Json(RequestList {
        next: last.map(|request| request.id.to_string()),
        perhaps_more: listed.extent == Extent::PerhapsMore,
        requests: found
            .iter()
            .map(|it| RequestView::of(it, catalog))
            .collect(),
    }))
}

/// The domain's statuses behind the words of the API; `ended` stands for two of them.
fn statuses(words: &str) -> Result<Vec<Status>, ApiError> {
    let mut wanted = vec![];
    for word in words.split(',') {
        let word = word.trim();
        let meant = |status: &Status| StatusView::of(*status).as_str() == word;
        let before = wanted.len();
        wanted.extend(Status::ALL.into_iter().filter(meant));
        if wanted.len() == before {
            let word: String = word.chars().take(40).collect();
            return Err(ApiError::bad_value(format!(
                "{word:?} is not a status; write any of pending, denied, withdrawn, lapsed, \
                 invalidated, approved, provisioning, active, revoking, ended, cancelled, with \
                 commas between them"
            )));
        }
    }
    Ok(wanted)
}

/// How to show a request.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ShowQuery {
    /// Wait so long for a change, at most `60s`.
    #[param(value_type = Option<String>, pattern = "^[0-9]+[smhd]$", example = "30s")]
    wait: Option<Ttl>,
    /// The version that the caller knows; the present one where unset.
    #[param(format = "uint64")]
    seen: Option<u64>,
}

/// One request. `{id}` is its id, or any five or more characters that only its id ends in.
#[utoipa::path(get, path = "/v1/requests/{id}", tag = "requests", params(
    ("id" = String, Path, pattern = "^[0-9A-Za-z-]{5,30}$", description = "An id, or a unique end of one."),
    ShowQuery,
), responses((status = 200, description = "The request.", body = RequestView), Failures))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<ShowQuery>,
) -> Answer<RequestView> {
    let deadline = tokio::time::Instant::now() + capped(query.wait);
    let id = caller.request(&state.engine, &id).await?;
    let reading = caller.told(state.engine.read(&caller.via, id).await)?;
    let version = reading.request.version;
    let seen = query.seen.unwrap_or(version);
    if version > seen || query.wait.is_none() {
        return Ok(shown(&state, &reading.request));
    }
    wait_for_change(&state, id, seen, deadline).await?;
    // Read anew, because the right to see it may have gone meanwhile.
    let reading = caller.told(state.engine.read(&caller.via, id).await)?;
    Ok(shown(&state, &reading.request))
}

/// Returns when the record is newer than `seen`, or at the deadline.
async fn wait_for_change(
    state: &ApiState,
    id: RequestId,
    seen: u64,
    deadline: tokio::time::Instant,
) -> Result<(), ApiError> {
    let Ok(_turn) = state.waiting.try_acquire() else {
        return Ok(());
    };
    while tokio::time::Instant::now() < deadline {
        let next = tokio::time::Instant::now() + state.poll_every;
        tokio::time::sleep_until(next.min(deadline)).await;
        let record = state.engine.store().load(id).await;
        let record = record.map_err(|error| ApiError::failed(&error))?;
        if record.is_none_or(|record| record.version > seen) {
            break;
        }
    }
    Ok(())
}

/// The audit of a request, in order.
#[utoipa::path(get, path = "/v1/requests/{id}/events", tag = "requests", params(
    ("id" = String, Path, pattern = "^[0-9A-Za-z-]{5,30}$", description = "An id, or a unique end of one."),
), responses((status = 200, description = "The events.", body = EventList), Failures))]
pub(crate) async fn events(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<EventList> {
    let id = caller.request(&state.engine, &id).await?;
    let reading = caller.told(state.engine.read(&caller.via, id).await)?;
    Ok(axum::Json(EventList {
        events: reading.events.iter().map(EventView::of).collect(),
    }))
}

/// What whoever decides or audits a request may want to know beside it: earlier uses, who has the
/// access now.
#[utoipa::path(get, path = "/v1/requests/{id}/background", tag = "requests", params(
    ("id" = String, Path, pattern = "^[0-9A-Za-z-]{5,30}$", description = "An id, or a unique end of one."),
), responses((status = 200, description = "What is known.", body = BackgroundView), Failures))]
pub(crate) async fn background(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<BackgroundView> {
    let id = caller.request(&state.engine, &id).await?;
    let known = caller.told(state.engine.background(&caller.via, id).await)?;
    Ok(axum::Json(BackgroundView::of(&known)))
}

// ------------------------------------------------------------------------------------- deciding

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// A decision on what was shown.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecideBody {
    /// Yes or no.
    decision: Decision,
    /// At least the first 16 digits of the digest of what was shown.
    #[schema(pattern = "^[0-9A-Fa-f]{16,64}$", example = "0123456789abcdef")]
    digest: String,
    /// With an approval: a shorter time than asked for.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+[smhd]$", example = "10m")]
    ttl: Option<Ttl>,
    /// With a denial, which must say why: 1 to 1000 characters.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 1000)]
    reason: Option<Reason>,
}

impl DecideBody {
    fn into_verb(self) -> Result<Verb, ApiError> {
        let digest = self.digest.to_ascii_lowercase();
        let digits = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits || digest.len() < DIGEST_DIGITS_MIN || digest.len() > 64 {
            let rule = "digest is the first 16 to 64 hexadecimal digits of the request's digest";
            return Err(ApiError::bad_value(rule));
        }
        match (self.decision, self.ttl, self.reason) {
            (Decision::Approve, ttl, None) => Ok(Verb::Approve { ttl, digest }),
            (Decision::Deny, None, Some(reason)) => Ok(Verb::Deny { reason, digest }),
            (Decision::Deny, None, None) => Err(ApiError::bad_value(
                "a denial says why: give a reason of 1 to 1000 characters",
            )),
            (Decision::Approve, _, Some(_)) => Err(ApiError::bad_value(
                "an approval takes no reason; a shorter ttl is what it may carry",
            )),
            (Decision::Deny, Some(_), _) => Err(ApiError::bad_value(
                "a denial takes no ttl; a reason is what it may carry",
            )),
        }
    }
}

/// Approve or deny what has this digest.
#[utoipa::path(post, path = "/v1/requests/{id}/decide", tag = "requests", params(
    ("id" = String, Path, pattern = "^[0-9A-Za-z-]{5,30}$", description = "An id, or a unique end of one."),
), request_body = DecideBody, responses(
    (status = 200, description = "The request as it is now.", body = RequestView), Failures,
))]
pub(crate) async fn decide(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<DecideBody>,
) -> Answer<RequestView> {
    let verb = body.into_verb()?;
    let id = caller.request(&state.engine, &id).await?;
    let decided = state.engine.handle(&caller.via, id, verb).await;
    if let Some(outcome) = not_done(&decided) {
        metrics::counter!("jit_decisions_total", "outcome" => outcome).increment(1);
    }
    Ok(shown(&state, &caller.told(decided)?))
}

async fn handle(state: &ApiState, caller: &Caller, id: &str, verb: Verb) -> Answer<RequestView> {
    let id = caller.request(&state.engine, id).await?;
    let request = caller.told(state.engine.handle(&caller.via, id, verb).await)?;
    Ok(shown(state, &request))
}

/// Take one's own approval back while the request is pending.
#[utoipa::path(post, path = "/v1/requests/{id}/retract", tag = "requests", params(
    ("id" = String, Path, pattern = "^[0-9A-Za-z-]{5,30}$", description = "An id, or a unique end of one."),
), responses(
    (status = 200, description = "The request as it is now.", body = RequestView), Failures,
))]
pub(crate) async fn retract(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<RequestView> {
    handle(&state, &caller, &id, Verb::Retract).await
}

/// Take a pending request back.
#[utoipa::path(post, path = "/v1/requests/{id}/withdraw", tag = "requests", params(
    ("id" = String, Path, pattern = "^[0-9A-Za-z-]{5,30}$", description = "An id, or a unique end of one."),
), responses(
    (status = 200, description = "The request as it is now.", body = RequestView), Failures,
))]
pub(crate) async fn withdraw(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<RequestView> {
    handle(&state, &caller, &id, Verb::Withdraw).await
}

/// Return access early.
#[utoipa::path(post, path = "/v1/requests/{id}/end", tag = "requests", params(
    ("id" = String, Path, pattern = "^[0-9A-Za-z-]{5,30}$", description = "An id, or a unique end of one."),
), responses(
    (status = 200, description = "The request as it is now.", body = RequestView), Failures,
))]
pub(crate) async fn end(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<RequestView> {
    handle(&state, &caller, &id, Verb::End).await
}

/// Why access is taken away.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeBody {
    /// In the caller's words.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 1000)]
    reason: Option<Reason>,
}

/// Take access away, or void a request.
#[utoipa::path(post, path = "/v1/requests/{id}/revoke", tag = "requests", params(
    ("id" = String, Path, pattern = "^[0-9A-Za-z-]{5,30}$", description = "An id, or a unique end of one."),
), request_body = Option<RevokeBody>, responses(
    (status = 200, description = "The request as it is now.", body = RequestView), Failures,
))]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeJson(body): MaybeJson<RevokeBody>,
) -> Answer<RequestView> {
    let reason = body.reason;
    handle(&state, &caller, &id, Verb::Revoke { reason }).await
}

/// A credential, given once.
#[derive(Serialize, ToSchema)]
pub(crate) struct CredentialView {
    /// The secret. It is kept nowhere.
    #[schema(value_type = String)]
    credential: Secret,
    /// Its name at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<String>,
    /// What else there is to know of it, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    notes: BTreeMap<&'static str, String>,
    /// The request as it is now.
    request: RequestView,
}

/// Make the credential of an approved request and give it to its requester, once.
#[utoipa::path(post, path = "/v1/requests/{id}/collect", tag = "requests", params(
    ("id" = String, Path, pattern = "^[0-9A-Za-z-]{5,30}$", description = "An id, or a unique end of one."),
), responses(
    (status = 200, description = "The credential.", body = CredentialView), Failures,
))]
pub(crate) async fn collect(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<CredentialView> {
    let id = caller.request(&state.engine, &id).await?;
    let collected = caller.told(collected(&state.engine, &caller.via, id).await)?;
    Ok(axum::Json(CredentialView {
        credential: Secret(collected.secret),
        handle: collected.handle.map(|handle| handle.0),
        notes: collected.notes,
        request: RequestView::of(&collected.request, state.engine.catalog()),
    }))
}

/// Collects in a task of its own, so that what became of it is saved also where whoever asked has hung
/// up meanwhile. A credential that nobody is there to take is ended at once.
pub(crate) async fn collected(
    engine: &Arc<Engine>,
    via: &Principal,
    id: RequestId,
) -> Result<Collected, EngineError> {
    let (tell, told) = oneshot::channel();
    let (engine, via) = (Arc::clone(engine), via.clone());
    tokio::spawn(async move {
        let collected = engine.collect(&via, id).await;
        let Err(Ok(unheard)) = tell.send(collected) else {
            return;
        };
        drop(unheard);
        tracing::warn!(request.id = %id, "whoever collected has hung up; the credential is ended");
        if let Err(error) = engine.handle(&via, id, Verb::End).await {
            tracing::error!(request.id = %id, %error, "it could not be ended; it ends at its time");
        }
    });
    let failed = || PortError::maybe_done("engine", "collect", ErrorKind::Unavailable);
    told.await.unwrap_or_else(|_| Err(failed().into()))
}

fn shown(state: &ApiState, request: &AccessRequest) -> axum::Json<RequestView> {
    axum::Json(RequestView::of(request, state.engine.catalog()))
}
