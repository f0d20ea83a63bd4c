//! Asking providers what they have, so that people find it. Nothing depends on it but the search:
//! what was not listed can be asked for by its name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jit_core::Engine;
use jit_core::catalog::ProviderName;

/// How old a listing becomes.
const EVERY: Duration = Duration::from_secs(600);
/// When a provider is asked again that could not be asked.
const AGAIN: Duration = Duration::from_secs(60);

/// Asks every provider of which the catalogue has a family.
#[derive(Debug)]
pub struct Discovery {
    engine: Arc<Engine>,
    providers: BTreeSet<ProviderName>,
}

impl Discovery {
    /// For this engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        let families = engine.catalog().families().iter();
        let providers = families.filter_map(|family| {
            let (provider, _) = family.pattern.as_str().split_once('/')?;
            provider.parse().ok()
        });
        let providers = providers.filter(|provider| engine.serves(provider));
        let providers = providers.collect();
        Self { engine, providers }
    }

    /// Asks until it is dropped.
    pub async fn run(self) {
        loop {
            let mut pause = EVERY;
            for provider in &self.providers {
                match self.engine.discover(provider).await {
                    Ok(found) => {
                        tracing::info!(provider = %provider, found, "what can be asked for is listed")
                    }
                    Err(error) => {
                        pause = AGAIN;
                        let error = error.chain();
                        tracing::warn!(provider = %provider, error, "what can be asked for cannot be listed");
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }
}
