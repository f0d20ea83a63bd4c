//! Compares our clock with those of the services that are called (K1): once a minute each of them is
//! asked for nothing, without credentials, and its answer says what time it is there. What follows
//! from a clock that is off is the engine's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jit_core::engine::Witness;
use jit_core::ports::Clock;
use jit_core::{Engine, Timestamp};
use jit_wire::Wire;
use reqwest::Url;
use reqwest::header::{AGE, CACHE_CONTROL};

use crate::config::{Config, ProviderKind, Store};

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
    /// Whatever this configuration names that answers over HTTP.
    pub fn new(config: &Config, engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Self {
        let sources = sources(config).into_iter().map(|(_, origin)| origin);
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
                Err(error) => tracing::warn!(%error, "a service cannot be asked for the time"),
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
            let witness = match jit_wire::is_loopback(origin) {
                true => Witness::ThisHost,
                false => Witness::Elsewhere,
            };
            let (of, heard_at) = (origin.as_str(), self.clock.now());
            self.engine.hear_date(of, witness, said, asked_at, heard_at);
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

/// What tells the time of whatever this configuration names, by its name, and where it answers.
pub(crate) fn sources(config: &Config) -> Vec<(String, Url)> {
    let providers = config.providers.iter();
    let providers = providers.map(|it| (it.name.as_str(), origin(&it.kind)));
    let store = match &config.store {
        Store::Sqlite { .. } => None,
        Store::DynamoDb(table) => aws("dynamodb", table.region.as_deref(), &table.endpoint),
    };
    let (slack, telegram) = (config.slack.as_ref(), config.telegram.as_ref());
    let pagerduty = config.pagerduty.as_ref();
    let services = [
        ("the store", store),
        ("slack", slack.map(|it| it.api.clone())),
        ("telegram", telegram.map(|it| it.api.to_string())),
        ("pagerduty", pagerduty.map(|it| it.api.to_string())),
    ];
    let named = providers.chain(services);
    let at_its_root = |address: String| {
        let mut origin: Url = address.parse().ok()?;
        origin.set_path("/");
        Some(origin)
    };
    named
        .filter_map(|(name, address)| Some((name.to_owned(), at_its_root(address?)?)))
        .collect()
}

/// Where a service of AWS answers; none where the environment alone knows its region.
fn aws(service: &str, region: Option<&str>, endpoint: &Option<String>) -> Option<String> {
    let usual = || {
        let region = region?;
        let domain = match region.starts_with("cn-") {
            true => "amazonaws.com.cn",
            false => "amazonaws.com",
        };
        Some(format!("https://{service}.{region}.{domain}"))
    };
    endpoint.clone().or_else(usual)
}

/// Where a provider answers; none of one that is on this machine.
fn origin(kind: &ProviderKind) -> Option<String> {
    match kind {
        ProviderKind::GroupFile { .. } => None,
        ProviderKind::IdentityCenter { settings, .. } => {
            aws("sts", Some(&settings.region), &settings.endpoint_url)
        }
        ProviderKind::Iam { settings, .. } => {
            aws("sts", Some(&settings.region), &settings.endpoint_url)
        }
        ProviderKind::Okta(organization) => Some(organization.0.org_url.clone()),
        ProviderKind::Vault(server) => Some(server.0.address.url().to_string()),
        ProviderKind::Tokens { address, .. } => Some(address.url().to_string()),
    }
}
