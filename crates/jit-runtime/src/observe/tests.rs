//! What the metrics promise.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jit_core::ports::ErrorKind;
use jit_core::provider::{Kind, NativeExpiry, Resolved, Target};
use metrics::{Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Unit};

use super::*;

/// A recorder that sums what it is told, by `name{label=value,…}`.
#[derive(Debug, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

impl Tally {
    /// How often this counter went up.
    pub(crate) fn count(&self, key: &str) -> usize {
        self.values(key).len()
    }

    fn values(&self, key: &str) -> Vec<f64> {
        let told = self.0.lock().unwrap();
        told.get(key).cloned().unwrap_or_default()
    }
}

struct Line {
    key: String,
    told: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
}

impl Line {
    fn of(tally: &Tally, key: &Key) -> Arc<Self> {
        let labels: Vec<String> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        Arc::new(Self {
            key: format!("{}{{{}}}", key.name(), labels.join(",")),
            told: Arc::clone(&tally.0),
        })
    }

    fn tell(&self, value: f64) {
        let mut told = self.told.lock().unwrap();
        told.entry(self.key.clone()).or_default().push(value);
    }
}

impl CounterFn for Line {
    fn increment(&self, _: u64) {
        self.tell(1.0);
    }
    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Line {
    fn record(&self, value: f64) {
        self.tell(value);
    }
}

impl metrics::Recorder for Tally {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: metrics::SharedString) {
        self.describe(&key);
    }
    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: metrics::SharedString) {
        self.describe(&key);
    }
    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: metrics::SharedString) {
        self.describe(&key);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Line::of(self, key))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Line::of(self, key))
    }
}

impl Tally {
    fn describe(&self, key: &KeyName) {
        let key = format!("described {}", key.as_str());
        self.0.lock().unwrap().entry(key).or_default().push(0.0);
    }
}

/// A provider whose calls take two seconds and end as it was made.
#[derive(Debug)]
struct Slow(Option<ErrorKind>);

impl Slow {
    async fn end<T>(&self, value: T) -> Result<T, PortError> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        match self.0 {
            None => Ok(value),
            Some(kind) => Err(PortError::nothing_done("slow", "answer", kind)),
        }
    }
}

fn target() -> Target {
    Target {
        realm: "r".to_owned(),
        subject: "ana".parse().unwrap(),
        resource: "admins".to_owned(),
    }
}

#[async_trait]
impl Provisioner for Slow {
    fn describe(&self) -> Description {
        Description {
            kind: Kind::Standing,
            native_expiry: NativeExpiry::None,
            revocable: true,
            pending_visible: true,
            listable: true,
            accepted_within: Duration::ZERO,
            applied_within: Duration::ZERO,
            residual: Duration::from_secs(7),
        }
    }
    async fn resolve(
        &self,
        _: &Profile,
        _: &Entitlement,
        _: &Parameters,
    ) -> Result<Resolved, PortError> {
        self.end(target().into()).await
    }
    async fn grant(&self, _: GrantCall<'_>) -> Result<Answer, PortError> {
        self.end(Answer::Accepted).await
    }
    async fn mint(&self, _: GrantCall<'_>) -> Result<Minted, PortError> {
        let secret = jit_core::ports::Credential::new("x".to_owned());
        let (handle, ends_at) = (None, None);
        let minted = Minted {
            secret,
            handle,
            ends_at,
            notes: BTreeMap::new(),
        };
        self.end(minted).await
    }
    async fn revoke(&self, _: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.end(Answer::Applied).await
    }
    async fn inspect(&self, _: InspectCall<'_>) -> Result<Presence, PortError> {
        self.end(Presence::InFlight).await
    }
    async fn standing(&self, _: &str, _: Option<&str>) -> Result<Page<Standing>, PortError> {
        let (items, next) = (Vec::new(), Some("2".to_owned()));
        self.end(Page { items, next }).await
    }
}

fn metered(ends: Option<ErrorKind>) -> MeteredProvisioner {
    MeteredProvisioner::new("files".parse().unwrap(), Arc::new(Slow(ends)))
}

/// Makes each kind of call once; says whether all succeeded with what the provider answered.
async fn call_everything(provider: &MeteredProvisioner) -> bool {
    use jit_core::Timestamp;
    let at = Timestamp::from_unix_micros(1);
    let request = jit_core::request::RequestId::new(at, [1; 10]);
    let (target, none) = (target(), Parameters::new());
    let grant = GrantCall {
        request,
        target: &target,
        parameters: &none,
        template: None,
        expires_at: at,
        send_before: at,
    };
    let revoke = RevokeCall {
        request,
        target: &target,
        parameters: &none,
        handle: None,
        send_before: at,
    };
    let inspect = InspectCall {
        purpose: jit_core::ports::Purpose::TakeAway,
        request,
        target: &target,
        parameters: &none,
        handle: None,
        expires_at: at,
        send_before: None,
    };
    let profile = Profile {
        id: "ana".parse().unwrap(),
        kind: jit_core::principal::PrincipalKind::Person,
        active: true,
        groups: [].into(),
        groups_unknown: Default::default(),
        manager: None,
        subjects: [].into(),
    };
    let entitlement = Entitlement {
        id: "files/admins".parse().unwrap(),
        resource: "admins".to_owned(),
        title: "x".to_owned(),
        how_to_use: String::new(),
        tier: "low".parse().unwrap(),
        parameters: jit_core::catalog::ParameterRule::Refused,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    };
    let resolved = provider.resolve(&profile, &entitlement, &none).await;
    let granted = provider.grant(grant.clone()).await;
    let minted = provider.mint(grant).await;
    let revoked = provider.revoke(revoke).await;
    let inspected = provider.inspect(inspect).await;
    let standing = provider.standing("admins", None).await;
    resolved.is_ok_and(|resolved| resolved == target.into())
        && granted.is_ok_and(|answer| answer == Answer::Accepted)
        && minted.is_ok_and(|minted| minted.secret.expose() == "x")
        && revoked.is_ok_and(|answer| answer == Answer::Applied)
        && inspected.is_ok_and(|presence| presence == Presence::InFlight)
        && standing.is_ok_and(|page| page.next.as_deref() == Some("2"))
}

const OPS: [&str; 6] = ["resolve", "grant", "mint", "revoke", "inspect", "standing"];

#[tokio::test(start_paused = true)]
async fn every_call_is_counted_and_timed_and_passed_on() {
    let tally = Tally::default();
    let _guard = metrics::set_default_local_recorder(&tally);
    let provider = metered(None);
    assert!(call_everything(&provider).await);
    assert_eq!(provider.describe().residual, Duration::from_secs(7));
    for op in OPS {
        let key = format!("{PROVIDER_CALLS}{{provider=files,op={op},kind=ok}}");
        assert_eq!(tally.count(&key), 1, "{tally:?}");
        let key = format!("{PROVIDER_CALL_SECONDS}{{provider=files,op={op}}}");
        let seconds = tally.values(&key);
        assert!(
            seconds.len() == 1 && (2.0..2.1).contains(&seconds[0]),
            "{tally:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_counted_by_its_kind_and_passed_on() {
    let tally = Tally::default();
    let _guard = metrics::set_default_local_recorder(&tally);
    let limited = ErrorKind::RateLimited {
        retry_after_ms: Some(5),
    };
    let error = metered(Some(limited))
        .standing("x", None)
        .await
        .unwrap_err();
    assert_eq!(error.kind, limited);
    call_everything(&metered(Some(ErrorKind::Conflict))).await;
    for op in OPS {
        let key = format!("{PROVIDER_CALLS}{{provider=files,op={op},kind=conflict}}");
        assert_eq!(tally.count(&key), 1, "{tally:?}");
    }
    let key = format!("{PROVIDER_CALLS}{{provider=files,op=standing,kind=rate_limited}}");
    assert_eq!(tally.count(&key), 1, "{tally:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_cut_off_is_counted_too() {
    let tally = Tally::default();
    let _guard = metrics::set_default_local_recorder(&tally);
    let provider = metered(None);
    let cut = tokio::time::timeout(Duration::from_secs(1), provider.standing("x", None)).await;
    assert!(cut.is_err());
    let key = format!("{PROVIDER_CALLS}{{provider=files,op=standing,kind=dropped}}");
    assert_eq!(tally.count(&key), 1, "{tally:?}");
}

#[test]
fn the_names_are_those_that_operators_build_on() {
    let shown: Vec<String> = METRICS
        .iter()
        .map(|metric| match metric.labels {
            [] => metric.name.to_owned(),
            labels => format!("{}{{{}}}", metric.name, labels.join(",")),
        })
        .collect();
    let promised = "jit_requests_total{outcome} jit_decisions_total{outcome} \
        jit_live_grants{provider} jit_overdue_grants jit_stuck jit_unserved_due{provider} \
        jit_revoke_lateness_seconds jit_exposure_seconds_total jit_provider_calls_total{provider,op,kind} \
        jit_provider_call_seconds{provider,op} jit_sweep_last_success_timestamp_seconds \
        jit_clock_offset_seconds jit_inbox_age_seconds jit_deliveries_pending jit_drift \
        jit_reconcile_last_success_timestamp_seconds{provider} jit_pages_total jit_store_away_seconds jit_listings_age_seconds jit_store_difference{kind}";
    assert_eq!(shown.join(" "), promised);
}

#[test]
fn every_metric_is_described() {
    let tally = Tally::default();
    metrics::with_local_recorder(&tally, describe_metrics);
    for metric in METRICS {
        assert_eq!(tally.count(&format!("described {}", metric.name)), 1);
    }
}
