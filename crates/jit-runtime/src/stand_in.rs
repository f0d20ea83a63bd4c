//! The loops that end access while the store is away (L4, ADR 27): beside the worker's, and behind none of
//! them. What is done for one grant is the engine's.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, join3};
use futures_util::stream::FuturesUnordered;
use jit_core::catalog::ProviderName;
use jit_core::engine::{Engine, STORE_AWAY_AFTER};
use jit_core::request::RequestId;

use crate::worker::WorkerSettings;

/// How long a look for what is due waits for what is written down of what was done without the
/// store.
const REPORT_WITHIN: Duration = Duration::from_secs(1);
/// How often every live grant is read again, so that what others wrote is known as well.
const MIRROR_EVERY: Duration = Duration::from_secs(60);

/// Keeps what is known of live grants up to date; and while the store is away takes away by that
/// what has to be gone, at each provider in a loop of its own.
pub(crate) async fn stand_in_for_ever(engine: Arc<Engine>, settings: WorkerSettings) {
    let at_each = join_all(
        engine
            .providers()
            .map(|it| stand_in_at(&engine, it, settings)),
    );
    join3(at_each, mirror_for_ever(&engine), probe_for_ever(&engine)).await;
}

/// At one provider, so many at once; what takes long holds up nothing that ends meanwhile.
async fn stand_in_at(engine: &Engine, provider: &ProviderName, settings: WorkerSettings) {
    let mut ids: HashSet<RequestId> = HashSet::new();
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(id) = under_way.next(), if !under_way.is_empty() => { ids.remove(&id); }
            () = tokio::time::sleep(settings.tick) => {}
        }
        for id in engine.to_take_away(provider) {
            if under_way.len() >= settings.tasks_per_provider {
                break;
            }
            if ids.insert(id) {
                under_way.push(async move {
                    let taken = engine.take_away(provider, id);
                    if tokio::time::timeout(settings.record_deadline, taken)
                        .await
                        .is_err()
                    {
                        tracing::error!(request.id = %id, "taking away took too long");
                    }
                    id
                });
            }
        }
    }
}

async fn mirror_for_ever(engine: &Engine) {
    loop {
        let began = tokio::time::Instant::now();
        if let Err(error) = engine.refresh_mirror().await {
            tracing::error!(error = %error.chain(), "live grants cannot be read");
        }
        tokio::time::sleep_until(began + MIRROR_EVERY).await;
    }
}

/// A store that failed to write is asked again, so that it is known when it is back also where
/// there is nothing to write.
async fn probe_for_ever(engine: &Engine) {
    loop {
        tokio::time::sleep(STORE_AWAY_AFTER).await;
        if engine.store_away_since().is_some()
            && let Err(error) = engine.probe_store().await
        {
            tracing::warn!(error = %error, "the store is away");
        }
    }
}

/// Writes down what was done without the store, as far as that goes in a second; the next call goes on
/// with it.
pub(crate) async fn report(engine: &Engine) {
    match tokio::time::timeout(REPORT_WITHIN, engine.report_to_store()).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => {
            tracing::error!(error = %error, "what was done without the store is not stored yet");
        }
    }
}
