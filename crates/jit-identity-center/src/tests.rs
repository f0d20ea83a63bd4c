//! The adapter against a simulated AWS on loopback. Both keep the time of one clock that a test
//! moves, and AWS checks every signature by it.

mod contract;
mod faults;
mod giving;
mod listing;
mod live;
mod looking;
mod moto;
mod naming;
mod resolving;
mod timing;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ssoadmin::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ssoadmin::config::{ConfigBag, Intercept, RuntimeComponents, SharedInterceptor};
use aws_sdk_ssoadmin::error::BoxError;
use aws_sim::{AccessKey, Setup, Signatures, Sim, World};
use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::ports::{Clock, GrantCall, InspectCall, PortError, Provisioner, Purpose, RevokeCall};
use jit_core::principal::{PrincipalKind, Profile, Subject};
use jit_core::provider::{Answer, Parameters, Presence, Resolved, Target};
use jit_core::request::RequestId;
use jit_testkit::provisioner::Ask;
use jit_testkit::sample;
use jit_testkit::time::ManualClock;

use crate::{Budget, IdentityCenter, Limits, Pace, Settings};

const PRODUCTION: &str = "222222222222";
const EIGHT_HOURS: Duration = Duration::from_secs(8 * 3_600);

/// For operations that end at once: they are watched to their end, however busy the machine is.
const PATIENT: Pace = Pace {
    first: Duration::from_millis(2),
    most: Duration::from_millis(10),
    within: Duration::from_secs(8),
};

/// For operations that do not end while they are watched: no test waits for them.
const BRISK: Pace = Pace {
    within: Duration::from_millis(30),
    ..PATIENT
};

/// A region that takes as much as a test has, and a call that never waits.
const AMPLE: Limits = Limits {
    calls_per_second: 1_000_000,
    outstanding: 1_000,
    patience: Duration::ZERO,
};

/// An organization with one account, one permission set and one user, and the adapter on it.
struct Scene {
    sim: Sim,
    pace: Pace,
    clock: Arc<ManualClock>,
    adapter: Arc<IdentityCenter>,
    set: String,
    ana: String,
}

impl Scene {
    /// Operations take effect at once.
    fn new() -> Self {
        Self::of(at_once(), PATIENT)
    }

    /// Operations take effect at once, unless they are kept from it.
    fn kept() -> Self {
        Self::of(at_once(), BRISK)
    }

    /// Operations take ten seconds of the clock that stands still.
    fn slow() -> Self {
        Self::of(setup().applying_in(Duration::from_secs(10)), BRISK)
    }

    fn of(setup: Setup, pace: Pace) -> Self {
        Self::watched(setup, pace, None)
    }

    fn watched(setup: Setup, pace: Pace, watcher: Option<SharedInterceptor>) -> Self {
        let sim = Sim::start(setup).unwrap();
        let clock = Arc::new(ManualClock::at(sample::start()));
        let world = sim.world();
        world.add_account("111111111111", "management");
        world.add_account(PRODUCTION, "Production");
        let set = world.add_permission_set("ReadOnly", EIGHT_HOURS);
        let ana = world.add_user("ana", "ana@example.com");
        let settings = Settings {
            pace,
            ..settings(&sim)
        };
        let adapter = connected(settings, AMPLE, &clock, key(), watcher);
        Self {
            sim,
            pace,
            clock,
            adapter,
            set,
            ana,
        }
    }

    /// Another adapter on the same organization.
    fn another(&self, change: impl FnOnce(&mut Settings)) -> Arc<IdentityCenter> {
        let mut settings = settings(&self.sim);
        settings.pace = self.pace;
        change(&mut settings);
        connected(settings, AMPLE, &self.clock, key(), None)
    }

    fn world(&self) -> &World {
        self.sim.world()
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.world().advance(time);
    }

    fn target(&self) -> Target {
        let subject: Subject = self.ana.parse().unwrap();
        let resource = format!("{PRODUCTION}/{}", self.set);
        Target::new(self.world().instance_arn(), subject, resource)
    }

    fn is_assigned(&self) -> bool {
        self.world().is_assigned(PRODUCTION, &self.set, &self.ana)
    }

    fn soon(&self) -> Timestamp {
        self.clock.now() + Duration::from_secs(30)
    }

    async fn grant(&self) -> Result<Answer, PortError> {
        grant(&self.adapter, &self.target(), self.soon()).await
    }

    async fn revoke(&self) -> Result<Answer, PortError> {
        revoke(&self.adapter, &self.target(), self.soon()).await
    }

    async fn inspect(&self) -> Result<Presence, PortError> {
        inspect(&self.adapter, &self.target()).await
    }

    async fn resolve(&self, person: &str, resource: &str) -> Result<Resolved, PortError> {
        resolve(&self.adapter, &ask(person, resource)).await
    }

    /// The operations that were asked for, in order, without their service.
    fn asked(&self) -> Vec<String> {
        let calls = self.world().calls().into_iter();
        let names = calls.map(|call| call.action.rsplit(':').next().unwrap().to_owned());
        names.collect()
    }
}

fn setup() -> Setup {
    Setup {
        signatures: Signatures::Full,
        ..Setup::default().manual(sample::start().unix_micros())
    }
}

fn at_once() -> Setup {
    setup().applying_in(Duration::ZERO)
}

fn settings(sim: &Sim) -> Settings {
    let world = sim.world();
    Settings {
        endpoint_url: Some(sim.url()),
        pace: PATIENT,
        ..Settings::new(
            "aws".parse().unwrap(),
            world.region(),
            world.instance_arn(),
            world.identity_store_id(),
        )
    }
}

fn key() -> SharedCredentialsProvider {
    let key = AccessKey::default();
    let credentials = Credentials::new(key.id, key.secret, None, None, "test");
    SharedCredentialsProvider::new(credentials)
}

fn connected(
    settings: Settings,
    limits: Limits,
    clock: &Arc<ManualClock>,
    credentials: SharedCredentialsProvider,
    watcher: Option<SharedInterceptor>,
) -> Arc<IdentityCenter> {
    let clock: Arc<dyn Clock> = clock.clone();
    let budget = Arc::new(Budget::new(limits, Arc::clone(&clock)));
    let config = SdkConfig::builder()
        .credentials_provider(credentials)
        .build();
    let adapter = IdentityCenter::watched(settings, budget, clock, config, watcher);
    Arc::new(adapter.unwrap())
}

fn ask(person: &str, resource: &str) -> Ask {
    Ask {
        beneficiary: Profile {
            id: person.parse().unwrap(),
            kind: PrincipalKind::Person,
            active: true,
            groups: [].into(),
            groups_unknown: [].into(),
            manager: None,
            subjects: [].into(),
        },
        entitlement: Entitlement {
            id: "aws/production/ReadOnly".parse().unwrap(),
            resource: resource.to_owned(),
            title: String::new(),
            how_to_use: String::new(),
            tier: "low".parse().unwrap(),
            parameters: ParameterRule::Refused,
            display: None,
            template: None,
            allows: String::new(),
            fallback: None,
        },
        parameters: Parameters::new(),
    }
}

/// A person with a subject for the provider.
fn ask_as(subject: &str, resource: &str) -> Ask {
    let mut ask = ask("somebody@example.com", resource);
    let subjects = [("aws".parse().unwrap(), subject.parse().unwrap())];
    ask.beneficiary.subjects = subjects.into();
    ask
}

fn request() -> RequestId {
    RequestId::new(sample::start(), [1; 10])
}

async fn resolve(adapter: &IdentityCenter, ask: &Ask) -> Result<Resolved, PortError> {
    adapter
        .resolve(&ask.beneficiary, &ask.entitlement, &ask.parameters)
        .await
}

async fn grant(
    adapter: &IdentityCenter,
    target: &Target,
    send_before: Timestamp,
) -> Result<Answer, PortError> {
    let call = GrantCall {
        request: request(),
        target,
        parameters: &Parameters::new(),
        template: None,
        expires_at: Timestamp::MAX,
        send_before,
    };
    adapter.grant(call).await
}

async fn revoke(
    adapter: &IdentityCenter,
    target: &Target,
    send_before: Timestamp,
) -> Result<Answer, PortError> {
    let call = RevokeCall {
        request: request(),
        target,
        parameters: &Parameters::new(),
        handle: None,
        send_before,
    };
    adapter.revoke(call).await
}

async fn inspect(adapter: &IdentityCenter, target: &Target) -> Result<Presence, PortError> {
    let call = InspectCall {
        purpose: Purpose::TakeAway,
        request: request(),
        target,
        parameters: &Parameters::new(),
        handle: None,
        expires_at: Timestamp::MAX,
        send_before: None,
    };
    adapter.inspect(call).await
}

/// Does something to the world when a request is signed and about to be sent.
struct Watcher(Mutex<Act>);

type Act = Box<dyn FnMut(&str) + Send>;

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}

impl Watcher {
    fn of(act: impl FnMut(&str) + Send + 'static) -> SharedInterceptor {
        SharedInterceptor::new(Self(Mutex::new(Box::new(act))))
    }
}

impl Intercept for Watcher {
    fn name(&self) -> &'static str {
        "Watcher"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request().headers();
        assert!(headers.contains_key("authorization"), "it is signed by now");
        let target = headers.get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        (self.0.lock().unwrap())(operation);
        Ok(())
    }
}
