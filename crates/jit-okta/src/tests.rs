//! The adapter against a simulated Okta on loopback. Both keep the time of one clock that a test
//! moves.

mod contract;
mod directory;
mod encrypted;
mod faults;
mod fencing;
mod limits;
mod live;
mod resolving;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::ports::{Clock, GrantCall, InspectCall, PortError, Provisioner, Purpose, RevokeCall};
use jit_core::principal::{PrincipalKind, Profile};
use jit_core::provider::{Answer, Parameters, Presence, Resolved, Target};
use jit_core::quota::Rate;
use jit_core::request::RequestId;
use jit_testkit::provisioner::Ask;
use jit_testkit::sample;
use jit_testkit::time::{ManualClock, SeededRandom};
use okta_sim::{ApiToken, Call, Operation, Setup, Sim, World};

use crate::{Auth, Limits, Okta, OktaGroups, Settings};

/// An organization that takes as much as a test has, and a call that never waits.
const AMPLE: Limits = Limits {
    calls: Rate {
        per_second: 1_000_000,
        burst: 4_000_000,
    },
    at_once: 1_000,
    patience: Duration::ZERO,
};

/// An organization with two people and a group, and the adapter on it.
struct Scene {
    sim: Sim,
    clock: Arc<ManualClock>,
    okta: Arc<Okta>,
    groups: OktaGroups,
    ana: String,
    bob: String,
    admins: String,
}

impl Scene {
    fn new() -> Self {
        Self::of(setup(), |_| {})
    }

    fn of(setup: Setup, change: impl FnOnce(&mut Settings)) -> Self {
        let sim = Sim::start(setup).unwrap();
        let clock = Arc::new(ManualClock::at(sample::start()));
        let world = sim.world();
        let ana = world.add_user("ana@example.com", "ana@example.com");
        let bob = world.add_user("bob@example.com", "bob@example.com");
        let admins = world.add_group("production-admins");
        let mut settings = settings(&sim);
        change(&mut settings);
        let okta = connected(settings, &clock);
        Self {
            groups: OktaGroups::new(Arc::clone(&okta)),
            sim,
            clock,
            okta,
            ana,
            bob,
            admins,
        }
    }

    fn world(&self) -> &World {
        self.sim.world()
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.world().pass(time);
    }

    fn soon(&self) -> Timestamp {
        self.clock.now() + Duration::from_secs(30)
    }

    fn target(&self) -> Target {
        let realm = format!("okta:{}", self.world().organization_id());
        Target::new(realm, self.ana.parse().unwrap(), self.admins.clone())
    }

    fn is_member(&self) -> bool {
        self.world().is_member(&self.admins, &self.ana)
    }

    async fn grant(&self) -> Result<Answer, PortError> {
        grant(&self.groups, &self.target(), self.soon()).await
    }

    async fn revoke(&self) -> Result<Answer, PortError> {
        revoke(&self.groups, &self.target(), self.soon()).await
    }

    async fn inspect(&self) -> Result<Presence, PortError> {
        inspect(&self.groups, &self.target()).await
    }

    async fn resolve(&self, person: &str) -> Result<Resolved, PortError> {
        resolve(&self.groups, &ask(person, &self.admins)).await
    }

    /// The calls of this kind that arrived.
    fn calls(&self, operation: Operation) -> Vec<Call> {
        let calls = self.world().calls().into_iter();
        calls
            .filter(|call| call.operation == Some(operation))
            .collect()
    }
}

fn setup() -> Setup {
    Setup::default().manual(sample::start().unix_micros())
}

fn settings(sim: &Sim) -> Settings {
    let token = ApiToken::default().secret;
    let auth = Auth::Ssws(token.into());
    Settings {
        limits: AMPLE,
        ..Settings::new("okta".parse().unwrap(), sim.url(), auth)
    }
}

fn connected(settings: Settings, clock: &Arc<ManualClock>) -> Arc<Okta> {
    let random = Arc::new(SeededRandom::new(7));
    Okta::connect(settings, clock.clone(), random).unwrap()
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
            id: "okta/production-admins".parse().unwrap(),
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
    let subjects = [("okta".parse().unwrap(), subject.parse().unwrap())];
    ask.beneficiary.subjects = subjects.into();
    ask
}

fn request() -> RequestId {
    RequestId::new(sample::start(), [1; 10])
}

async fn resolve(groups: &OktaGroups, ask: &Ask) -> Result<Resolved, PortError> {
    groups
        .resolve(&ask.beneficiary, &ask.entitlement, &ask.parameters)
        .await
}

async fn grant(
    groups: &OktaGroups,
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
    groups.grant(call).await
}

async fn revoke(
    groups: &OktaGroups,
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
    groups.revoke(call).await
}

async fn inspect(groups: &OktaGroups, target: &Target) -> Result<Presence, PortError> {
    let call = InspectCall {
        purpose: Purpose::TakeAway,
        request: request(),
        target,
        parameters: &Parameters::new(),
        handle: None,
        expires_at: Timestamp::MAX,
        send_before: None,
    };
    groups.inspect(call).await
}

/// All that anybody could print of an error.
fn printed(error: &PortError) -> String {
    format!(
        "{error} {error:?} {error:#?} {} {:?}",
        error.chain(),
        error.told
    )
}
