//! Compares our clock with those of the providers (K1): once a minute each of them is asked for
//! nothing, without credentials, and its answer says what time it is there. What follows from a clock
//! that is off is the engine's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jit_core::ports::Clock;
use jit_core::{Engine, Timestamp};
use jit_wire::Wire;
use reqwest::Url;
use reqwest::header::{AGE, CACHE_CONTROL};

use crate::config::{Config, ProviderKind};

/// How often clocks are compared.
const EVERY: Duration = Duration::from_secs(60);
/// How long a system may take to say what time it is.
const LIMIT: Duration = Duration::from_secs(5);

/// The systems whose clocks are compared with ours.
pub struct Dates {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    sources: BTreeMap<Url, Wire>,
}

impl std::fmt::Debug for Dates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dates")
            .field("sources", &self.sources.len())
            .finish_non_exhaustive()
    }
}

impl Dates {
    /// The providers of this configuration that answer over HTTP.
    pub fn new(config: &Config, engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Self {
        let sources = config.providers.iter().filter_map(|it| origin(&it.kind));
        Self::of(sources, engine, clock)
    }

    /// These systems.
    pub fn of(
        origins: impl IntoIterator<Item = Url>,
        engine: Arc<Engine>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut sources = BTreeMap::new();
        for origin in origins {
            match Wire::new(&origin) {
                Ok(wire) => drop(sources.insert(origin, wire)),
                Err(error) => tracing::warn!(%error, "a provider cannot be asked for the time"),
            }
        }
        Self {
            engine,
            clock,
            sources,
        }
    }

    /// Compares until it is dropped.
    pub async fn run(self) {
        loop {
            self.compare().await;
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Asks each of them once. One that does not answer, or does not say the time, says nothing.
    pub async fn compare(&self) {
        join_all(self.sources.iter().map(|(origin, wire)| async {
            let asked_at = self.clock.now();
            let Ok(Some(said)) = ask(origin, wire).await else {
                return;
            };
            let of = origin.as_str();
            self.engine.hear_date(of, said, asked_at, self.clock.now());
        }))
        .await;
    }
}

/// Asks a system for nothing, without credentials; what time it is there, where it says so.
///
/// # Errors
/// Where it does not answer.
pub(crate) async fn ask(origin: &Url, wire: &Wire) -> Result<Option<Timestamp>, reqwest::Error> {
    let asked = wire.pooled().head(origin.clone()).timeout(LIMIT);
    let answer = asked.header(CACHE_CONTROL, "no-cache").send().await?;
    // Kept by somebody between us: that is the time when it was kept.
    let is_kept = answer.headers().contains_key(AGE);
    let said = jit_wire::date(answer.headers());
    Ok(said.filter(|_| !is_kept))
}

/// Where a provider answers; none of one that is on this machine.
pub(crate) fn origin(kind: &ProviderKind) -> Option<Url> {
    let aws = |region: &str, endpoint: &Option<String>| {
        let domain = match region.starts_with("cn-") {
            true => "amazonaws.com.cn",
            false => "amazonaws.com",
        };
        let usual = || format!("https://sts.{region}.{domain}");
        endpoint.clone().unwrap_or_else(usual)
    };
    let origin = match kind {
        ProviderKind::GroupFile { .. } => return None,
        ProviderKind::IdentityCenter { settings, .. } => {
            aws(&settings.region, &settings.endpoint_url)
        }
        ProviderKind::Iam { settings, .. } => aws(&settings.region, &settings.endpoint_url),
        ProviderKind::Okta(organization) => organization.0.org_url.clone(),
        ProviderKind::Vault(server) => server.0.address.url().to_string(),
        ProviderKind::Tokens { address, .. } => address.url().to_string(),
    };
    let mut origin: Url = origin.parse().ok()?;
    origin.set_path("/");
    Some(origin)
}
