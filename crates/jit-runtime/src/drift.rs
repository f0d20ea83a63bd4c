//! When it is looked whether providers have what the records say (S8): fresh slots every few minutes,
//! everything now and then, one question at a time and at the pace of the quota that giving has.
//! What is found is the engine's.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use jit_core::Engine;
use jit_core::catalog::ProviderName;
use jit_core::engine::{Outcome, Progress, Reconciliation};
use jit_core::ports::{Commit, CommitError, Counter, ErrorKind, PortError};
use jit_core::request::AccessRequest;
use tokio::time::Instant;

use crate::observe::{DRIFT, RECONCILE_LAST_SUCCESS};

/// How often everything is looked at, and how often the slots that were granted in the last day: by
/// one process, whichever comes first in each interval. Half of what is promised, so that what a
/// process did not finish is done in time by the next.
const EVERYTHING: Interval = Interval {
    name: "everything",
    every: Duration::from_secs(15 * 60),
};
const FRESH: Interval = Interval {
    name: "fresh slots",
    every: Duration::from_secs(150),
};
/// How often it is looked whether an interval has begun.
const TICK: Duration = Duration::from_secs(15);
/// A look rests three times as long as each question took: a quarter of what one caller could ask.
const REST: u32 = 3;
const REST_MAX: Duration = Duration::from_secs(1);
/// How often the same question is asked again that failed, and the pauses between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
struct Interval {
    name: &'static str,
    every: Duration,
}

/// Looks until it is dropped.
pub async fn look_for_ever(engine: Arc<Engine>, providers: Vec<ProviderName>) {
    // A provider that is slow, or wants to be left alone, holds up nothing else.
    let looks = providers.iter().map(|provider| async {
        let everything = async {
            loop {
                if is_ours(&engine, EVERYTHING, provider).await {
                    look_at_everything(&engine, provider).await;
                }
                tokio::time::sleep(TICK).await;
            }
        };
        let fresh = async {
            loop {
                if is_ours(&engine, FRESH, provider).await {
                    look_at_fresh(&engine, provider).await;
                    tell(&engine, provider).await;
                }
                tokio::time::sleep(TICK).await;
            }
        };
        join(everything, fresh).await
    });
    join_all(looks).await;
}

/// Whether nobody has begun in this interval; then we do.
async fn is_ours(engine: &Engine, interval: Interval, of: &ProviderName) -> bool {
    let now = engine.now();
    let counter = Counter {
        key: format!("look at {} {of}", interval.name),
        window: now.unix_micros().unsigned_abs() / 1_000_000 / interval.every.as_secs(),
        ceiling: 1,
        forget_at: now + 2 * interval.every,
    };
    let commit = Commit {
        counters: vec![counter],
        at: Some(now),
        ..Commit::default()
    };
    match engine.store().commit(commit).await {
        Ok(_) => true,
        Err(CommitError::CounterFull { .. }) => false,
        Err(error) => {
            tracing::warn!(%error, "whether it was looked for drift cannot be found out");
            false
        }
    }
}

/// The slots of a provider that were granted in the last day, and have no live grant.
async fn look_at_fresh(engine: &Engine, provider: &ProviderName) {
    let fresh = match engine.fresh().await {
        Ok(fresh) => fresh,
        Err(error) => {
            let error = error.chain();
            return tracing::warn!(error, "which slots are fresh cannot be read");
        }
    };
    let of_it = |it: &AccessRequest| it.parts.first().entitlement.provider() == *provider;
    for request in fresh.into_iter().filter(of_it) {
        let looked = patiently(|| engine.look_at_fresh(&request)).await;
        match looked {
            Ok(false) => {}
            Ok(true) => tracing::error!(
                request.id = %request.id, %provider,
                "access stands again whose grant is closed",
            ),
            Err(error) => tracing::warn!(
                request.id = %request.id, %provider, error = %error.chain(),
                "a slot cannot be looked at",
            ),
        }
    }
}

/// Somebody is told of what was found before, and could not be told.
async fn tell(engine: &Engine, provider: &ProviderName) {
    if let Err(error) = engine.tell_drift(provider).await {
        tracing::warn!(%provider, error = %error.chain(), "what drifted cannot be told");
    }
}

/// Everything that a provider has.
async fn look_at_everything(engine: &Engine, provider: &ProviderName) {
    let look = match engine.reconciliation(provider).await {
        Ok(Some(look)) => look,
        Ok(None) => return,
        Err(error) => {
            let error = error.chain();
            return tracing::warn!(%provider, error, "it cannot be looked for drift");
        }
    };
    match reconciled(engine, look).await {
        Ok(Outcome {
            unexplained,
            left_out,
        }) => {
            tracing::info!(%provider, unexplained, left_out, "all that a provider has was looked at");
            if left_out == 0 {
                let name = provider.to_string();
                let now = engine.now().since(jit_core::Timestamp::MIN).as_secs_f64();
                metrics::gauge!(RECONCILE_LAST_SUCCESS, "provider" => name).set(now);
            }
        }
        Err(error) => {
            tracing::warn!(%provider, error = %error.chain(), "what was found cannot be written down");
        }
    }
    count(engine).await;
}

/// Every step to the end. What cannot be listed is left out.
async fn reconciled(engine: &Engine, mut look: Reconciliation) -> Result<Outcome, PortError> {
    let (mut failures, mut pause) = (0, PAUSE);
    loop {
        let began = Instant::now();
        let error = match engine.reconcile(&mut look).await {
            Ok(Progress::Done(outcome)) => return Ok(outcome),
            Ok(Progress::Going) => {
                (failures, pause) = (0, PAUSE);
                tokio::time::sleep((began.elapsed() * REST).min(REST_MAX)).await;
                continue;
            }
            Err(error) => error,
        };
        // Whoever wants to be left alone is; that is no failure.
        if let Some(wait) = wanted_pause(&error) {
            tokio::time::sleep(wait).await;
            continue;
        }
        failures += 1;
        if failures < TRIES && error.kind.is_retryable() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            continue;
        }
        if look.is_asked() {
            return Err(error);
        }
        let provider = look.provider();
        tracing::warn!(%provider, error = %error.chain(), "part of a provider cannot be listed");
        look.skip();
        (failures, pause) = (0, PAUSE);
    }
}

/// One question, asked again where the provider is too busy for it.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, PortError>
where
    F: Future<Output = Result<T, PortError>>,
{
    for _ in 1..TRIES {
        match ask().await {
            Err(error) => match wanted_pause(&error) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            },
            answer => return answer,
        }
    }
    ask().await
}

fn wanted_pause(error: &PortError) -> Option<Duration> {
    match error.kind {
        ErrorKind::RateLimited { retry_after_ms } => {
            let wait = retry_after_ms.map_or(PAUSE, Duration::from_millis);
            Some(wait.clamp(Duration::from_millis(50), PAUSE_MAX))
        }
        _ => None,
    }
}

async fn count(engine: &Engine) {
    match engine.unexplained().await {
        Ok(drifts) => metrics::gauge!(DRIFT).set(as_gauge(drifts.len())),
        Err(error) => {
            tracing::warn!(error = %error.chain(), "what drifted cannot be counted");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below what a double holds")]
fn as_gauge(count: usize) -> f64 {
    count as f64
}
