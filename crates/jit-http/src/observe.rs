//! What a watcher of the service asks: is it there, can it work, how is it doing.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::{ApiState, approval};

/// How long the store may take to answer before the service counts as not ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// That the service is there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`; whoever is not there says nothing. Where there is an approval service its health stands
    /// here, which may be `degraded`.
    pub(crate) status: &'static str,
}

/// That the service can work.
#[derive(Debug, Serialize)]
struct Ready {
    /// Always `ready`.
    status: &'static str,
    /// How everything else is, by name.
    #[serde(flatten)]
    watched: BTreeMap<&'static str, String>,
}

pub(crate) fn router(metrics: PrometheusHandle) -> Router<ApiState> {
    let render = move || {
        let text = metrics.render();
        async move {
            let kind = [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )];
            (kind, text)
        }
    };
    Router::new()
        .route("/health", get(alive))
        .route("/ready", get(ready))
        .route("/metrics", get(render))
}

/// Whether the process answers, and nothing else: whoever asks restarts it where it does not.
async fn alive() -> axum::Json<Health> {
    axum::Json(Health { status: "ok" })
}

/// Whether the process answers.
#[utoipa::path(get, path = "/health", tag = "service", security(()), responses(
    (status = 200, description = "The process answers.", body = Health),
))]
pub(crate) async fn health(State(state): State<ApiState>) -> Response {
    if let Some(service) = &state.approval {
        return approval::health(&state, service).await;
    }
    alive().await.into_response()
}

/// Whether the store answers; and how everything else is.
async fn ready(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let asked = tokio::time::timeout(READY_WITHIN, state.engine.store().system_head()).await;
    match asked {
        Ok(Ok(_)) => {
            let watched = state.watched.iter().map(|it| (it.name, (it.look)()));
            let ready = Ready {
                status: "ready",
                watched: watched.collect(),
            };
            Ok(axum::Json(ready).into_response())
        }
        Ok(Err(error)) => Err(ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..ApiError::failed(&error)
        }),
        Err(_) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            "the store does not answer in time",
        )),
    }
}
