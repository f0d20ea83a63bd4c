//! Grafana, InfluxDB 2 and Home Assistant on loopback, as far as tokens go: what their documentation
//! says of the few calls that make, list and end them, and whatever can go wrong with a call. Each
//! keeps what really was accepted when, so that tests judge by that. The README says what they cannot
//! show.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::result_large_err,
    reason = "a simulator that breaks is a test that fails"
)]

mod grafana;
mod home_assistant;
mod influxdb;

use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use grafana::{Grafana, GrafanaToken};
pub use home_assistant::HomeAssistant;
pub use influxdb::{Authorization, InfluxDb};

/// Tells the time, in microseconds since the Unix epoch.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What goes wrong with every call from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Whoever calls is not let in, and told by what they were known.
    Forbidden,
    /// They call too fast, and are told to wait for 20 s.
    TooFast,
    /// The service fails before it does anything.
    Failed,
    /// It does what it is told, and its answer breaks off.
    LoseReply,
    /// It does what it is told, and answers with something else that holds every secret of the call.
    Garbage,
    /// It says that it is elsewhere, as a proxy does where it wants TLS.
    Elsewhere,
    /// It takes the call and never answers.
    Hang,
    /// It does what it is told, and never answers.
    Hold,
}

/// One service that listens.
#[derive(Debug)]
pub(crate) struct Listening {
    url: String,
    fault: Arc<Mutex<Option<Fault>>>,
    served: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Listening {
    async fn start(routes: Router) -> Self {
        let fault = Arc::new(Mutex::new(None));
        let routes = routes.layer(from_fn_with_state(Arc::clone(&fault), faulty));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, fault, served }
    }

    fn set(&self, fault: Option<Fault>) {
        *held(&self.fault) = fault;
    }
}

pub(crate) fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap()
}

async fn faulty(
    State(fault): State<Arc<Mutex<Option<Fault>>>>,
    request: Request,
    next: Next,
) -> Response {
    let fault = *held(&fault);
    let by = request.headers().get("authorization");
    let by = by.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let by = by.to_owned();
    match fault {
        None => next.run(request).await,
        Some(Fault::Forbidden) => {
            refusal(StatusCode::FORBIDDEN, &format!("permission denied to {by}"))
        }
        Some(Fault::TooFast) => {
            let refused = refusal(StatusCode::TOO_MANY_REQUESTS, "too many requests");
            ([("retry-after", "20")], refused).into_response()
        }
        Some(Fault::Failed) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        Some(Fault::Elsewhere) => {
            let to = [("location", "https://elsewhere.example.com/")];
            (StatusCode::MOVED_PERMANENTLY, to).into_response()
        }
        Some(Fault::LoseReply) => {
            let mut answer = next.run(request).await;
            let broken = std::io::Error::other("the answer is lost");
            *answer.body_mut() = Body::from_stream(stream::iter([Err::<&str, _>(broken)]));
            answer.headers_mut().remove("content-length");
            answer
        }
        Some(Fault::Garbage) => {
            let answer = next.run(request).await.into_body();
            let answer = axum::body::to_bytes(answer, usize::MAX).await.unwrap();
            let answer = String::from_utf8_lossy(&answer);
            format!("<html>{by} was to be answered {answer}</html>").into_response()
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Hold) => {
            next.run(request).await;
            std::future::pending().await
        }
    }
}

/// A refusal with a sentence.
pub(crate) fn refusal(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "message": message }))).into_response()
}

/// The next secret that was never there before.
pub(crate) fn drawn(prefix: &str, number: usize) -> String {
    // Nobody guesses it within a test, which is all that it has to withstand.
    format!(
        "{prefix}{number:04}-s3cret-{:08x}",
        number.wrapping_mul(2_654_435_761)
    )
}
