//! The services against simulated ones on loopback, which keep the time of the test's clock.

mod contract;
mod faults;
mod live;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::ports::{Clock, ErrorKind, GrantCall, Minted, PortError, Provisioner};
use jit_core::principal::{PrincipalKind, Profile};
use jit_core::provider::{Parameters, Target};
use jit_core::request::RequestId;
use jit_testkit::sample;
use jit_testkit::time::ManualClock;
use secrecy::SecretString;
use services_sim::Now;

use crate::{Settings, Upstream};

/// Who keeps the credentials, in memory.
#[derive(Default)]
struct Kept {
    fields: Mutex<BTreeMap<&'static str, String>>,
    is_away: AtomicBool,
}

impl Kept {
    fn with(fields: &[(&'static str, &str)]) -> Arc<Self> {
        let pairs = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Arc::new(Self {
            fields: Mutex::new(pairs.collect()),
            is_away: AtomicBool::new(false),
        })
    }

    fn set(&self, name: &'static str, value: &str) {
        self.fields.lock().unwrap().insert(name, value.to_owned());
    }

    fn goes_away(&self) {
        self.is_away.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Upstream for Kept {
    async fn fields(&self, path: &str) -> Result<BTreeMap<String, SecretString>, PortError> {
        let failed = |kind| Err(PortError::nothing_done("kept", "read", kind));
        if self.is_away.load(Ordering::SeqCst) {
            return failed(ErrorKind::Unavailable);
        }
        if path != "homelab/data/docker/service" {
            return failed(ErrorKind::NotFound);
        }
        let fields = self.fields.lock().unwrap().clone();
        let secret = |(name, value): (&str, String)| (name.to_owned(), value.into());
        Ok(fields.into_iter().map(secret).collect())
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(sample::start()))
}

/// The same clock for a simulator.
fn now_of(clock: &Arc<ManualClock>) -> Now {
    let clock = Arc::clone(clock);
    Arc::new(move || clock.now().unix_micros())
}

fn settings(url: &str, kept: &Arc<Kept>, clock: &Arc<ManualClock>) -> Settings {
    Settings {
        provider: "service".parse().unwrap(),
        address: url.parse().unwrap(),
        path: "homelab/data/docker/service".to_owned(),
        upstream: kept.clone(),
        clock: clock.clone(),
    }
}

fn profile() -> Profile {
    Profile {
        id: "prometheus".parse().unwrap(),
        kind: PrincipalKind::Service,
        active: true,
        groups: [].into(),
        groups_unknown: [].into(),
        manager: None,
        subjects: [].into(),
    }
}

fn entitlement(resource: &str) -> Entitlement {
    Entitlement {
        id: "service/read".parse().unwrap(),
        resource: resource.to_owned(),
        title: String::new(),
        how_to_use: String::new(),
        tier: "tier1".parse().unwrap(),
        parameters: ParameterRule::Refused,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    }
}

async fn target(tokens: &dyn Provisioner, resource: &str) -> Result<Target, PortError> {
    let (profile, entitlement, none) = (profile(), entitlement(resource), Parameters::new());
    let resolved = tokens.resolve(&profile, &entitlement, &none).await;
    resolved.map(|resolved| resolved.target)
}

fn request(number: u8) -> RequestId {
    RequestId::new(sample::start(), [number; 10])
}

/// Asks for a quarter of an hour from now on.
async fn mint(
    tokens: &dyn Provisioner,
    target: &Target,
    now: Timestamp,
    number: u8,
) -> Result<Minted, PortError> {
    let parameters = Parameters::new();
    let call = GrantCall {
        request: request(number),
        target,
        parameters: &parameters,
        template: None,
        expires_at: now + Duration::from_secs(900),
        send_before: now + Duration::from_secs(30),
    };
    tokens.mint(call).await
}
