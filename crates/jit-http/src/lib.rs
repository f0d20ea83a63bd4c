//! The REST API: it turns HTTP into commands on the engine and decides nothing. Who calls is told
//! by a bearer token ([`token`]); what they may do is the engine's to say.
//!
//! [`api`] is the router for people and programs, [`observe`] the one for health checks and
//! metrics, on a listener of its own. [`serve`] runs either until it is told to stop.

#![warn(missing_docs)]

mod api;
mod approval;
mod document;
mod edge;
mod error;
mod extract;
mod listing;
mod mount;
mod observe;
mod requests;
mod server;
pub mod token;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use approval::{ApiKey, ApprovalService, go_duration};
pub use mount::behind_tokens;
pub use server::serve;

use axum::Router;
use axum::middleware::from_fn_with_state;
use jit_core::engine::Engine;
use jit_core::ports::Random;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

/// Long polls under way at once; one more is answered at once, as if its time were over.
const WAITING_LIMIT: usize = 512;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) poll_every: Duration,
    pub(crate) waiting: Arc<Semaphore>,
    pub(crate) watched: Vec<Watched>,
    pub(crate) approval: Option<Arc<ApprovalService>>,
    pub(crate) looked: Arc<approval::Looked>,
}

/// What else is said of a service that is ready. None of it makes the service unready: what it needs
/// to work is its store.
#[derive(Clone)]
struct Watched {
    name: &'static str,
    look: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl ApiState {
    /// The API of this engine. The random bytes are for the ids of calls.
    pub fn new(engine: Arc<Engine>, random: Arc<dyn Random>) -> Self {
        Self {
            engine,
            random,
            poll_every: Duration::from_millis(500),
            waiting: Arc::new(Semaphore::new(WAITING_LIMIT)),
            watched: vec![],
            approval: None,
            looked: Arc::default(),
        }
    }

    /// Serves the approval service beside the API.
    #[must_use]
    pub fn serving(mut self, service: ApprovalService) -> Self {
        self.approval = Some(Arc::new(service));
        self
    }

    /// Says of this, too, how it is.
    #[must_use]
    pub fn watching(
        mut self,
        name: &'static str,
        look: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        let look = Arc::new(look);
        self.watched.push(Watched { name, look });
        self
    }

    /// How often a long poll looks at the store; every half second where nobody says otherwise.
    #[must_use]
    pub fn polling_every(self, poll_every: Duration) -> Self {
        Self { poll_every, ..self }
    }
}

/// The router of the API: `/v1`, `/health` and `/openapi.json`; and the approval service, where
/// there is one.
pub fn api(state: ApiState) -> Router {
    let mut router = Router::new();
    for route in api::routes() {
        router = router.route(route.path, route.handler);
    }
    let mut router = router.with_state(state.clone());
    if let Some(service) = &state.approval {
        let service = Arc::clone(service);
        router = router.merge(approval::router(state.clone(), service));
    }
    router.layer(from_fn_with_state(state, edge::edge))
}

/// The router for whoever watches the service: `/health`, `/ready` and `/metrics`. Installing the
/// recorder behind the handle is the composition root's.
pub fn observe(state: ApiState, metrics: PrometheusHandle) -> Router {
    observe::router(metrics)
        .layer(from_fn_with_state(state.clone(), edge::edge))
        .with_state(state)
}
