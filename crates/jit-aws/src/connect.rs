//! How AWS is reached: one SDK configuration that nobody's environment can soften, and the clients
//! made from it. What is asked through them is decided elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use jit_core::ports::Clock;

/// The longest that a connection takes to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// The longest that one request takes, the loading of credentials and the answer included.
const REQUEST_LIMIT: Duration = Duration::from_secs(8);

/// The `Clock` port as the SDK reads the time: signatures carry it, and credentials expire by it.
struct PortTime(Arc<dyn Clock>);

impl std::fmt::Debug for PortTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PortTime")
    }
}

impl TimeSource for PortTime {
    fn now(&self) -> SystemTime {
        let micros = u64::try_from(self.0.now().unix_micros()).unwrap_or_default();
        UNIX_EPOCH + Duration::from_micros(micros)
    }
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The region that its calls are signed for.
    pub region: String,
    /// Its address, for tests; AWS's own by default.
    pub endpoint_url: Option<String>,
}

/// Makes the clients of a service from a configuration.
type Make<C> = Box<dyn Fn(&SdkConfig) -> C + Send + Sync>;

/// A way to AWS, and the clients `C` of the services that are asked over it.
pub(crate) struct Connection<C> {
    pub(crate) http: SharedHttpClient,
    config: SdkConfig,
    make: Make<C>,
    clients: Mutex<Arc<C>>,
}

/// The default chain of credentials (environment, profile, web identity, ECS, IMDS), by our time
/// and through our TLS.
pub async fn load(place: &Place, clock: &Arc<dyn Clock>) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(place.region.clone()))
        .http_client(https())
        .time_source(PortTime(Arc::clone(clock)))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts())
        .disable_clock_skew_correction(true)
        .load()
        .await
}

/// rustls with ring, and nothing else; without a client of its own the SDK compiles and fails when
/// it first sends.
fn https() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https()
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_LIMIT)
        .operation_attempt_timeout(REQUEST_LIMIT)
        .operation_timeout(REQUEST_LIMIT)
        .build()
}

impl<C> Connection<C> {
    pub(crate) fn new(
        place: &Place,
        clock: &Arc<dyn Clock>,
        config: SdkConfig,
        make: Make<C>,
    ) -> Self {
        let http = https();
        let mut config = config
            .into_builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(place.region.clone()))
            .http_client(http.clone())
            .time_source(PortTime(Arc::clone(clock)))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts())
            // It would measure by our clock, which may stand still in a test and jump outside, and
            // an answer that stalls is cut off by the limit of the request anyway.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // The signature carries our time, as V is counted by it; a clock that is wrong is to
            // be refused by AWS and mended, not hidden.
            .disable_clock_skew_correction(true);
        if let Some(url) = &place.endpoint_url {
            config = config.endpoint_url(url);
        }
        let config = config.build();
        let clients = Mutex::new(Arc::new(make(&uncached(&config))));
        Self {
            http,
            config,
            make,
            clients,
        }
    }

    pub(crate) fn clients(&self) -> Arc<C> {
        Arc::clone(&self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets the credentials, so that the next call loads them again.
    pub(crate) fn forget_credentials(&self) {
        let renewed = Arc::new((self.make)(&uncached(&self.config)));
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
    }
}

/// The same with a fresh cache of credentials, one for all clients that are made from it.
fn uncached(config: &SdkConfig) -> SdkConfig {
    config
        .to_builder()
        .identity_cache(IdentityCache::lazy().build())
        .build()
}
