//! The metrics: their fixed names, what they mean, and the wrappers that count: every call to a
//! provider here, every commit in `store`. Operators build alerts on these names, so a name is
//! never changed or reused.

mod store;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jit_core::catalog::{Entitlement, ProviderName};
use jit_core::ports::{
    GrantCall, InspectCall, Minted, Offer, Page, PortError, Provisioner, RevokeCall, Standing,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Resolved};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::Instant;

pub use store::MeteredStore;

/// Requests opened, by what became of opening them.
pub const REQUESTS: &str = "jit_requests_total";
/// Decisions, by their outcome.
pub const DECISIONS: &str = "jit_decisions_total";
/// Grants that may have access, by provider.
pub const LIVE_GRANTS: &str = "jit_live_grants";
/// Grants past their end whose access is not verified gone.
pub const OVERDUE_GRANTS: &str = "jit_overdue_grants";
/// Grants whose ending is late and was paged.
pub const STUCK: &str = "jit_stuck";
/// Records that are due at a provider that this process does not serve, and that it leaves alone.
pub const UNSERVED_DUE: &str = "jit_unserved_due";
/// How long after the end of a grant its access was verified gone.
pub const REVOKE_LATENESS_SECONDS: &str = "jit_revoke_lateness_seconds";
/// How long access stood, summed over all grants.
pub const EXPOSURE_SECONDS: &str = "jit_exposure_seconds_total";
/// Calls to providers, by provider, operation and how they ended.
pub const PROVIDER_CALLS: &str = "jit_provider_calls_total";
/// How long calls to providers take.
pub const PROVIDER_CALL_SECONDS: &str = "jit_provider_call_seconds";
/// When the last sweep ended well.
pub const SWEEP_LAST_SUCCESS: &str = "jit_sweep_last_success_timestamp_seconds";
/// How far our clock is ahead of what others show.
pub const CLOCK_OFFSET_SECONDS: &str = "jit_clock_offset_seconds";
/// How long the oldest input has waited.
pub const INBOX_AGE_SECONDS: &str = "jit_inbox_age_seconds";
/// Messages that are behind their record.
pub const DELIVERIES_PENDING: &str = "jit_deliveries_pending";
/// Access that stands without a live record.
pub const DRIFT: &str = "jit_drift";
/// When the last look at everything that a provider has ended, with nothing left out.
pub const RECONCILE_LAST_SUCCESS: &str = "jit_reconcile_last_success_timestamp_seconds";
/// Alarms raised; one that is raised again counts again.
pub const PAGES: &str = "jit_pages_total";

/// How old the oldest list of what a provider has is.
pub const LISTINGS_AGE_SECONDS: &str = "jit_listings_age_seconds";
/// For how long the store has not answered; zero while it does.
pub const STORE_AWAY_SECONDS: &str = "jit_store_away_seconds";
/// What the last check of a store's lists found; always zero, or somebody else writes the table.
pub const STORE_DIFFERENCE: &str = "jit_store_difference";

/// What a metric measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It has a distribution.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its fixed name.
    pub name: &'static str,
    /// What it measures.
    pub form: Form,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// One line for `/metrics` and dashboards.
    pub help: &'static str,
}

/// Every metric that this program may show.
pub const METRICS: [Metric; 20] = [
    metric(
        REQUESTS,
        Form::Counter,
        &["outcome"],
        "Requests, by what became of opening them",
    ),
    metric(
        DECISIONS,
        Form::Counter,
        &["outcome"],
        "Decisions, by their outcome",
    ),
    metric(
        LIVE_GRANTS,
        Form::Gauge,
        &["provider"],
        "Grants that may have access now",
    ),
    metric(
        OVERDUE_GRANTS,
        Form::Gauge,
        &[],
        "Grants past their end whose access is not verified gone",
    ),
    metric(
        STUCK,
        Form::Gauge,
        &[],
        "Grants whose ending is late and was paged",
    ),
    metric(
        UNSERVED_DUE,
        Form::Gauge,
        &["provider"],
        "Records that are due at a provider that this process does not serve, and leaves alone",
    ),
    metric(
        REVOKE_LATENESS_SECONDS,
        Form::Histogram,
        &[],
        "Time from the end of a grant to its access verified gone",
    ),
    metric(
        EXPOSURE_SECONDS,
        Form::Counter,
        &[],
        "Time that access stood, summed over all grants",
    ),
    metric(
        PROVIDER_CALLS,
        Form::Counter,
        &["provider", "op", "kind"],
        "Calls to providers, by operation and how they ended",
    ),
    metric(
        PROVIDER_CALL_SECONDS,
        Form::Histogram,
        &["provider", "op"],
        "Time that calls to providers take",
    ),
    metric(
        SWEEP_LAST_SUCCESS,
        Form::Gauge,
        &[],
        "When the last sweep ended well, as a Unix time",
    ),
    metric(
        CLOCK_OFFSET_SECONDS,
        Form::Gauge,
        &[],
        "How far our clock is ahead of what others show",
    ),
    metric(
        INBOX_AGE_SECONDS,
        Form::Gauge,
        &[],
        "How long the oldest input has waited",
    ),
    metric(
        DELIVERIES_PENDING,
        Form::Gauge,
        &[],
        "Messages that are behind their record",
    ),
    metric(
        DRIFT,
        Form::Gauge,
        &[],
        "Access that stands without a live record",
    ),
    metric(
        RECONCILE_LAST_SUCCESS,
        Form::Gauge,
        &["provider"],
        "When the last look at everything that a provider has ended, with nothing left out",
    ),
    metric(PAGES, Form::Counter, &[], "Alarms raised"),
    metric(
        STORE_AWAY_SECONDS,
        Form::Gauge,
        &[],
        "For how long the store has not answered, or not written; 0 while it does",
    ),
    metric(
        LISTINGS_AGE_SECONDS,
        Form::Gauge,
        &[],
        "How long ago the provider was asked what it has whose list is the oldest",
    ),
    metric(
        STORE_DIFFERENCE,
        Form::Gauge,
        &["kind"],
        "Rows that the last check of the whole store found missing or stray and mended, or left alone",
    ),
];

const fn metric(
    name: &'static str,
    form: Form,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        form,
        labels,
        help,
    }
}

/// Tells the installed recorder what each metric means. Called once, after it is installed.
pub fn describe_metrics() {
    for metric in METRICS {
        match metric.form {
            Form::Counter => {
                metrics::describe_counter!(metric.name, metric.help);
                // An alert on its increase would miss the first one of a counter that is born by it.
                if metric.labels.is_empty() {
                    metrics::counter!(metric.name).increment(0);
                }
            }
            Form::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Form::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// The upper bounds of the buckets of every histogram, in seconds: from a call to a file to an
/// ending that has become an incident.
const BUCKETS: [f64; 12] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 300.0,
];

/// Installs the recorder of this process, once, and gives what renders it for `/metrics`.
pub fn install_recorder() -> Result<PrometheusHandle, BuildError> {
    static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for name in [REVOKE_LATENESS_SECONDS, PROVIDER_CALL_SECONDS] {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &BUCKETS)?;
    }
    let handle = builder.install_recorder()?;
    describe_metrics();
    Ok(installed.insert(handle).clone())
}

/// Counts and times every call to a provider; changes none.
///
/// `op` is `resolve`, `grant`, `mint`, `revoke`, `inspect` or `standing`; `kind` is `ok` or the
/// kind of the error. A call that is dropped before it ended counts as `dropped`.
pub struct MeteredProvisioner {
    provider: ProviderName,
    inner: Arc<dyn Provisioner>,
}

impl MeteredProvisioner {
    /// Counts the calls of this provider under this name.
    pub fn new(provider: ProviderName, inner: Arc<dyn Provisioner>) -> Self {
        Self { provider, inner }
    }

    async fn measured<T>(
        &self,
        op: &'static str,
        call: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        let mut measure = Measure {
            provider: &self.provider,
            op,
            began: Instant::now(),
            kind: "dropped",
        };
        let answer = call.await;
        measure.kind = match &answer {
            Ok(_) => "ok",
            Err(error) => error.kind.as_str(),
        };
        answer
    }
}

impl std::fmt::Debug for MeteredProvisioner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeteredProvisioner")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// One call; told when it is dropped, so that a call that was cut off is told too.
struct Measure<'a> {
    provider: &'a ProviderName,
    op: &'static str,
    began: Instant,
    kind: &'static str,
}

impl Drop for Measure<'_> {
    fn drop(&mut self) {
        let (provider, op, kind) = (self.provider.to_string(), self.op, self.kind);
        let seconds = self.began.elapsed().as_secs_f64();
        metrics::counter!(PROVIDER_CALLS, "provider" => provider.clone(), "op" => op, "kind" => kind)
            .increment(1);
        metrics::histogram!(PROVIDER_CALL_SECONDS, "provider" => provider, "op" => op)
            .record(seconds);
    }
}

#[async_trait]
impl Provisioner for MeteredProvisioner {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let call = self.inner.resolve(beneficiary, entitlement, parameters);
        self.measured("resolve", call).await
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.measured("grant", self.inner.grant(call)).await
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        self.measured("mint", self.inner.mint(call)).await
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.measured("revoke", self.inner.revoke(call)).await
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.measured("inspect", self.inner.inspect(call)).await
    }

    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        self.measured("resource", self.inner.resource(entitlement))
            .await
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        self.measured("standing", self.inner.standing(resource, page))
            .await
    }

    async fn offers(&self) -> Result<Vec<Offer>, PortError> {
        self.measured("offers", self.inner.offers()).await
    }
}

#[cfg(test)]
pub(crate) mod tests;
