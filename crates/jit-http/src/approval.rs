//! The approval service: the small API that programs already speak, `POST /request` and
//! `GET /status/{id}`, on the same engine as everything else. Its fields and words are fixed by the
//! programs that use it; it decides nothing. The page `docs/APPROVAL_SERVICE.md` describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jit_core::Timestamp;
use jit_core::catalog::EntitlementId;
use jit_core::digest::Digest;
use jit_core::engine::{Collected, EngineError, NewRequest};
use jit_core::lifecycle::Refusal;
use jit_core::policy::TierName;
use jit_core::ports::Query;
use jit_core::principal::{Door, Principal, PrincipalId};
use jit_core::provider::{Kind, Parameters};
use jit_core::request::{
    AccessRequest, CancelReason, Cause, End, Grant, Phase, Reason, RequestId, Sent, Stage, Status,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::Instant;

use crate::ApiState;
use crate::error::ApiError;
use crate::extract::Json;
use crate::requests::{collected, not_done};
use crate::view::Secret;

const API_KEY: HeaderName = HeaderName::from_static("x-jit-api-key");
/// The most requests that health counts.
const COUNTED: usize = 1_000;
/// Words of a Vault that does its work.
const SERVES: [&str; 4] = ["ok", "standby", "performance_standby", "none"];
/// How often health is looked at anew.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long health waits for the store.
const HEALTH_WITHIN: Duration = Duration::from_secs(2);

/// Whose key it is that a call carries.
#[derive(Clone)]
pub struct ApiKey {
    digest: Digest,
    /// The one requester whose key it is; every allowed one where unset.
    requester: Option<PrincipalId>,
}

impl ApiKey {
    /// A key that every allowed requester has.
    pub fn shared(key: &SecretString) -> Self {
        Self {
            digest: Digest::of(key.expose_secret().as_bytes()),
            requester: None,
        }
    }

    /// A key of one requester: only they file with it, and only what they filed is told.
    pub fn of(requester: PrincipalId, key: &SecretString) -> Self {
        Self {
            requester: Some(requester),
            ..Self::shared(key)
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("requester", &self.requester)
            .finish_non_exhaustive()
    }
}

type Looking = Pin<Box<dyn Future<Output = &'static str> + Send>>;

/// What the approval service is made of.
#[derive(Clone)]
pub struct ApprovalService {
    /// The keys that are accepted; several while they are being changed.
    pub keys: Vec<ApiKey>,
    /// Who may file.
    pub requesters: BTreeSet<PrincipalId>,
    /// What each resource that is named in a call stands for, by its name in lower case.
    pub resources: BTreeMap<String, EntitlementId>,
    /// Why nobody can decide anything here, where that is so: it is told whoever asks for what a person
    /// has to decide.
    pub nobody_decides: Option<String>,
    /// How Vault is: `ok`, or what is wrong with it.
    pub vault: Arc<dyn Fn() -> Looking + Send + Sync>,
}

impl fmt::Debug for ApprovalService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApprovalService")
            .field("keys", &self.keys)
            .field("requesters", &self.requesters)
            .field("resources", &self.resources)
            .finish_non_exhaustive()
    }
}

impl ApprovalService {
    /// Whether this is something that programs ask for by name.
    fn serves(&self, request: &AccessRequest) -> bool {
        let asked = &request.parts.first().entitlement;
        self.resources.values().any(|it| it == asked)
    }
}

#[derive(Clone)]
struct ServiceState {
    api: ApiState,
    service: Arc<ApprovalService>,
}

/// The routes of the approval service, but for its health.
pub(crate) fn router(api: ApiState, service: Arc<ApprovalService>) -> Router {
    Router::new()
        .route("/request", post(file))
        .route("/status/{id}", get(status))
        .with_state(ServiceState { api, service })
}

// -------------------------------------------------------------------------------- who calls

/// Whose call it is, as far as its key says so.
struct Keyed(Option<PrincipalId>);

impl FromRequestParts<ServiceState> for Keyed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ServiceState) -> Result<Self, ApiError> {
        let given = presented(&parts.headers).ok_or_else(wrong_key)?;
        let (mut found, mut whose) = (Choice::from(0), None);
        // Every key is compared, whichever it is.
        for key in &state.service.keys {
            let same = key.digest.as_bytes().ct_eq(given.as_bytes());
            found |= same;
            if bool::from(same) {
                whose.clone_from(&key.requester);
            }
        }
        if bool::from(found) {
            return Ok(Self(whose));
        }
        Err(wrong_key())
    }
}

/// The digest of the one key that a call carries.
fn presented(headers: &HeaderMap) -> Option<Digest> {
    let mut given = headers.get_all(API_KEY).iter();
    let (Some(only), None) = (given.next(), given.next()) else {
        return None;
    };
    let bytes = only.as_bytes();
    (!bytes.is_empty()).then(|| Digest::of(bytes))
}

fn wrong_key() -> ApiError {
    let message = "send the API key as X-JIT-API-Key; it is missing or wrong";
    ApiError::new(StatusCode::UNAUTHORIZED, "not_authenticated", message)
}

impl ServiceState {
    /// The requester as a caller of the engine, if they may file and this key is theirs.
    fn caller(&self, keyed: &Keyed, requester: &PrincipalId) -> Option<Principal> {
        let theirs = keyed.0.as_ref().is_none_or(|own| own == requester);
        let allowed = theirs && self.service.requesters.contains(requester);
        allowed.then(|| Principal {
            id: requester.clone(),
            door: Door::Http,
        })
    }
}

// ---------------------------------------------------------------------------------- filing

/// What is asked for. Other fields are not looked at, as they never were.
#[derive(Debug, Deserialize)]
struct Ask {
    requester: PrincipalId,
    resource: String,
    tier: Option<u64>,
    reason: Reason,
}

/// The answer to whoever filed.
#[derive(Debug, Serialize)]
struct Filed {
    request_id: String,
    status: &'static str,
}

async fn file(
    State(state): State<ServiceState>,
    keyed: Keyed,
    Json(ask): Json<Ask>,
) -> Result<axum::Json<Filed>, ApiError> {
    let not_allowed = || {
        let message = "this requester may not ask here; ALLOWED_REQUESTERS, or requesters in \
                       [approval_service], lists those that may";
        ApiError::new(StatusCode::FORBIDDEN, "not_allowed", message)
    };
    let via = state
        .caller(&keyed, &ask.requester)
        .ok_or_else(not_allowed)?;
    let entitlement = state.entitlement(&ask)?;
    let asked = NewRequest {
        beneficiary: None,
        parts: vec![(entitlement, Parameters::new())],
        ttl: None,
        reason: ask.reason,
        idempotency_key: None,
    };
    let opened = state.api.engine.open(&via, asked).await;
    if let Some(outcome) = not_done(&opened) {
        metrics::counter!("jit_requests_total", "outcome" => outcome).increment(1);
    }
    let request = opened.map_err(|error| {
        let told = ApiError::from_engine(error, &via.id);
        let why = state.service.nobody_decides.clone();
        let why = why.filter(|_| told.code == "nobody_eligible");
        ApiError {
            message: why.or(told.message.clone()),
            ..told
        }
    })?;
    Ok(axum::Json(Filed {
        request_id: request.id.to_string(),
        // Whatever was decided meanwhile is told to whoever asks for it.
        status: "pending",
    }))
}

impl ServiceState {
    /// What a resource stands for. The tier of a call is what its author believes that the resource
    /// needs; where the catalogue says otherwise nobody is asked on a wrong belief.
    fn entitlement(&self, ask: &Ask) -> Result<EntitlementId, ApiError> {
        let unknown = || {
            let known: Vec<&str> = self.service.resources.keys().map(String::as_str).collect();
            let message = format!(
                "there is no resource of this name; there are {}",
                known.join(", ")
            );
            ApiError::new(StatusCode::BAD_REQUEST, "unknown_resource", message)
        };
        let name = ask.resource.trim().to_ascii_lowercase();
        let id = self.service.resources.get(&name).ok_or_else(unknown)?;
        let entry = self.api.engine.catalog().get(id).ok_or_else(unknown)?;
        let believed = ask.tier.map(|tier| format!("tier{tier}"));
        match believed {
            Some(believed) if believed != entry.tier.as_str() => {
                let message = format!(
                    "{name} is of tier {}, and the call says {}",
                    number(&entry.tier),
                    ask.tier.unwrap_or_default()
                );
                Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "wrong_tier",
                    message,
                ))
            }
            Some(_) | None => Ok(id.clone()),
        }
    }
}

/// The number of a tier, as programs know it.
fn number(tier: &TierName) -> &str {
    tier.as_str().strip_prefix("tier").unwrap_or(tier.as_str())
}

// ---------------------------------------------------------------------------------- polling

/// How far a request is, for whoever filed it.
#[derive(Serialize)]
struct Polled {
    request_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<Credential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

#[derive(Serialize)]
struct Credential {
    token: Secret,
    lease_ttl: String,
    metadata: BTreeMap<&'static str, String>,
}

async fn status(
    State(state): State<ServiceState>,
    keyed: Keyed,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let nothing = || {
        let message = "there is no such request, or it is not yours";
        ApiError::new(StatusCode::NOT_FOUND, "unknown_request", message)
    };
    let id: RequestId = id.parse().map_err(|_| nothing())?;
    let engine = &state.api.engine;
    let stored = engine.store().load(id).await;
    let stored = stored.map_err(|error| ApiError::failed(&error))?;
    // What was asked for at another door, or of another kind, is not collected with a shared key.
    let ours = stored.filter(|request| state.service.serves(request));
    let requester = ours.map(|request| request.requester).ok_or_else(nothing)?;
    let via = state.caller(&keyed, &requester).ok_or_else(nothing)?;
    let told = |error| ApiError::from_engine(error, &via.id);
    let request = engine.show(&via, id).await.map_err(told)?;
    if !waits_for_its_asker(&request) {
        return Ok(axum::Json(Polled::of(&request, engine.now())).into_response());
    }
    match collected(engine, &via, id).await {
        Ok(collected) => Ok(axum::Json(Polled::with(collected, engine.now())).into_response()),
        // Another poll has it, or it was cancelled meanwhile, or it could not be made.
        Err(error) => {
            let failed = why_not(&error);
            if let EngineError::Failed(error) = &error {
                tracing::error!(
                    event = "error",
                    request_id = %id,
                    error = %error.chain(),
                    "a credential could not be made"
                );
            }
            let request = engine.show(&via, id).await.map_err(told)?;
            let polled = Polled::of(&request, engine.now());
            let error = polled
                .error
                .or(failed.filter(|_| polled.status == "approved"));
            Ok(axum::Json(Polled { error, ..polled }).into_response())
        }
    }
}

/// Whether its credential can be collected: never tried, or the provider said that it did nothing.
fn waits_for_its_asker(request: &AccessRequest) -> bool {
    let sent = Sent::Nothing;
    let waits = |grant: &Grant| {
        grant.phase == Phase::Approved || grant.phase == Phase::Provisioning { sent }
    };
    let minted = request.place().provider.kind == Kind::Minted;
    minted && request.grant().is_some_and(waits)
}

/// What is told of a credential that nobody has.
const NOT_MADE: &str = "the credential could not be made";

/// What is told of a credential that was not given just now; nothing where another poll has it.
fn why_not(error: &EngineError) -> Option<&'static str> {
    match error {
        EngineError::Failed(_) => Some(NOT_MADE),
        EngineError::Refused(Refusal::AlreadyCollected) => None,
        EngineError::Refused(Refusal::Paused) => Some("new access is paused; poll again later"),
        EngineError::Refused(_) => Some("the credential cannot be given now; poll again"),
    }
}

impl Polled {
    fn of(request: &AccessRequest, now: Timestamp) -> Self {
        let (status, error) = words(&request.stage, now);
        Self {
            request_id: request.id.to_string(),
            status,
            credential: None,
            error,
        }
    }

    fn with(collected: Collected, now: Timestamp) -> Self {
        let grant = collected.request.grant();
        let expires_at = grant.map_or(now, |grant| grant.expires_at);
        // What its own service ends sooner lasts no longer.
        let until = collected
            .ends_at
            .map_or(expires_at, |at| at.min(expires_at));
        let left = until.since(now);
        Self {
            credential: Some(Credential {
                token: Secret(collected.secret),
                lease_ttl: go_duration(left),
                metadata: collected.notes,
            }),
            ..Self::of(&collected.request, now)
        }
    }
}

/// The word of this API for a stage, and what went wrong with its credential.
fn words(stage: &Stage, now: Timestamp) -> (&'static str, Option<&'static str>) {
    let grant = match stage {
        Stage::Pending => return ("pending", None),
        Stage::Denied { .. } | Stage::Withdrawn { .. } | Stage::Invalidated { .. } => {
            return ("denied", None);
        }
        Stage::Lapsed => return ("timeout", None),
        Stage::Granted(grant) => grant,
    };
    let failed = |cause: Cause| {
        let lost = cause == Cause::Failed && grant.active_at.is_none();
        lost.then_some(NOT_MADE)
    };
    match &grant.phase {
        Phase::Cancelled {
            why: CancelReason::NotCollected,
        } => ("timeout", None),
        Phase::Cancelled {
            why:
                CancelReason::PolicyChanged
                | CancelReason::NoLongerEligible
                | CancelReason::AlreadyStands
                | CancelReason::NotProvisioned
                | CancelReason::Ended
                | CancelReason::Revoked,
        } => ("denied", None),
        Phase::Revoking { ending } | Phase::Settling { ending, .. } => {
            ("approved", failed(ending.cause))
        }
        Phase::Closed {
            end: End::Gone { cause },
        } => ("approved", failed(*cause)),
        Phase::Closed {
            end: End::Superseded { .. },
        }
        | Phase::Approved
        | Phase::Active => ("approved", None),
        // Past the time in which a call may be on its way, nobody has what may have been made.
        Phase::Provisioning { .. } => {
            let is_over = grant.send_before.is_some_and(|until| now >= until);
            ("approved", is_over.then_some(NOT_MADE))
        }
    }
}

/// A duration as Go writes it, in whole seconds: `15m0s`, `1h0m0s`, `45s`.
pub fn go_duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (hours, minutes, seconds) = (secs / 3_600, secs / 60 % 60, secs % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        (_, _) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

// ----------------------------------------------------------------------------------- health

/// How the service is.
#[derive(Debug, Clone, Serialize)]
struct Health {
    status: &'static str,
    vault: &'static str,
    requests_in_store: usize,
}

/// The health of a service whose programs also ask about Vault: `ok` where both store and Vault
/// answer, `degraded` where one of them does not. How many requests are not over is counted up to a
/// thousand.
pub(crate) async fn health(api: &ApiState, service: &ApprovalService) -> Response {
    let health = api.looked.read(|| looked(api, service)).await;
    tracing::info!(
        event = "health_check",
        vault = health.vault,
        "health was asked for"
    );
    axum::Json(health).into_response()
}

async fn looked(api: &ApiState, service: &ApprovalService) -> Health {
    let open = Query {
        statuses: Status::ALL.into_iter().filter(|it| !it.is_over()).collect(),
        limit: COUNTED,
        ..Query::default()
    };
    let asked = tokio::time::timeout(HEALTH_WITHIN, api.engine.store().query(&open));
    let (asked, vault) = tokio::join!(asked, (service.vault)());
    let found = asked.ok().and_then(Result::ok).map(|found| found.len());
    let fine = found.is_some() && SERVES.contains(&vault);
    Health {
        status: if fine { "ok" } else { "degraded" },
        vault,
        requests_in_store: found.unwrap_or_default(),
    }
}

/// How it was at the last look. Whoever may ask without a key does not make the store and Vault work
/// more often than that.
#[derive(Debug, Default)]
pub(crate) struct Looked(tokio::sync::Mutex<Option<(Instant, Health)>>);

impl Looked {
    async fn read<L: Future<Output = Health>>(&self, look: impl FnOnce() -> L) -> Health {
        let mut last = self.0.lock().await;
        if let Some((_, health)) = last.as_ref().filter(|(at, _)| at.elapsed() < LOOK_EVERY) {
            return health.clone();
        }
        let health = look().await;
        *last = Some((Instant::now(), health.clone()));
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (secs, text) in [
            (0, "0s"),
            (45, "45s"),
            (60, "1m0s"),
            (300, "5m0s"),
            (899, "14m59s"),
            (900, "15m0s"),
            (3_600, "1h0m0s"),
            (5_025, "1h23m45s"),
        ] {
            assert_eq!(go_duration(Duration::from_secs(secs)), text);
        }
        assert_eq!(go_duration(Duration::from_millis(899_999)), "14m59s");
    }
}
