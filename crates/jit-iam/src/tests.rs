//! The adapters against a simulated AWS on loopback. Both keep the time of one clock that a test
//! moves, AWS checks every signature by it, and what is true is asked of its evaluator.

mod contract;
mod faults;
mod giving;
mod lifecycle;
mod looking;
mod minting;
mod moto;
mod resolving;
mod timing;

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sim::{AccessKey, Deed, Role, Setup, Signatures, Sim, World};
use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::ports::{
    Clock, ErrorKind, GrantCall, InspectCall, Minted, PortError, Provisioner, Purpose, RevokeCall,
};
use jit_core::principal::{PrincipalKind, Profile};
use jit_core::provider::{Answer, Parameters, Presence, Resolved, Target};
use jit_core::request::RequestId;
use jit_testkit::provisioner::Ask;
use jit_testkit::sample;
use jit_testkit::time::ManualClock;
use serde_json::{Value, json};

use crate::{AssumedRole, Budget, Limits, Settings, TemporaryPolicy};

const ACCOUNT: &str = "111111111111";
const HOUR: Duration = Duration::from_secs(3_600);
const LOGS: &str = "arn:aws:s3:::logs/x";

/// An account that takes as much as a test has, and a call that never waits.
const AMPLE: Limits = Limits {
    calls_per_second: 1_000_000,
    outstanding: 1_000,
    patience: Duration::ZERO,
};

/// What may be read in a bucket, and what in one of a parameter's name.
const READ: &str = r#"{"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::logs/*"}}"#;
const READ_IN: &str = r#"{"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::{bucket}/*",
    "Condition": {"StringEquals": {"aws:RequestedRegion": "{regions}"}}}]}"#;

/// An account with a role that all have, a role and a user of one person, and a role to assume; and
/// both adapters on it.
struct Scene {
    sim: Sim,
    clock: Arc<ManualClock>,
    policies: Arc<TemporaryPolicy>,
    sessions: Arc<AssumedRole>,
    /// The unique id of the role that all have.
    developers: String,
}

impl Scene {
    fn new() -> Self {
        Self::of(setup())
    }

    fn of(setup: Setup) -> Self {
        let sim = Sim::start(setup).unwrap();
        let clock = Arc::new(ManualClock::at(sample::start()));
        let world = sim.world();
        let developers = world.add_role(&Role::new("developers").naming("${aws:username}"));
        world.add_role(&Role::new("ana-own"));
        world.add_role(&Role::new("protected").at("/aws-reserved/"));
        world.add_iam_user("ana");
        world.add_role(&Role::new("deploy").at("/ci/").lasting(12 * HOUR));
        let all = json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "*", "Resource": ["arn:aws:s3:::logs/*", "arn:aws:s3:::web/*"],
        }});
        world.put_policy("role/deploy", "base", &all.to_string());
        let policies = policies(settings(&sim), &clock, key());
        let sessions = sessions(settings(&sim), &clock, key());
        Self {
            sim,
            clock,
            policies,
            sessions,
            developers,
        }
    }

    fn world(&self) -> &World {
        self.sim.world()
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.world().advance(time);
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn soon(&self) -> Timestamp {
        self.now() + Duration::from_secs(30)
    }

    /// Whether an S3 object may be read at that time, in Frankfurt.
    fn may_read(&self, target: &Target, object: &str, at: Timestamp) -> bool {
        let (principal, session) = holder(target);
        let deed = Deed {
            context: &[("aws:RequestedRegion", "eu-central-1")],
            ..Deed::new("s3:GetObject", object)
        };
        let at = at.unix_micros();
        (self.world()).is_allowed(&principal, session.as_deref(), deed, at)
    }

    async fn resolve(&self, ask: &Ask) -> Result<Resolved, PortError> {
        resolve(self.policies.as_ref(), ask).await
    }

    async fn target(&self, ask: &Ask) -> Target {
        self.resolve(ask).await.unwrap().target
    }

    async fn grant(&self, given: &Given<'_>) -> Result<Answer, PortError> {
        grant(&self.policies, given, self.soon()).await
    }

    async fn revoke(&self, given: &Given<'_>) -> Result<Answer, PortError> {
        revoke(&self.policies, given, self.soon()).await
    }

    async fn inspect(&self, given: &Given<'_>, purpose: Purpose) -> Presence {
        let call = InspectCall {
            send_before: Some(self.soon()),
            ..given.look(purpose)
        };
        self.policies.inspect(call).await.unwrap()
    }

    /// The operations that were asked for, in order, without their service.
    fn asked(&self) -> Vec<String> {
        let calls = self.world().take_calls().into_iter();
        let names = calls.map(|call| call.action.rsplit(':').next().unwrap().to_owned());
        names.collect()
    }
}

/// Who has a target, as the simulated account calls them.
fn holder(target: &Target) -> (String, Option<String>) {
    let mut parts = target.subject.as_str().splitn(3, '/');
    let (sort, name) = (parts.next().unwrap(), parts.next().unwrap());
    let session = parts
        .next()
        .map(|it| it.split_once(':').unwrap().1.to_owned());
    (format!("{sort}/{name}"), session)
}

/// One grant of one request.
#[derive(Debug, Clone)]
struct Given<'a> {
    request: RequestId,
    ask: &'a Ask,
    target: &'a Target,
    expires_at: Timestamp,
}

impl Given<'_> {
    fn look(&self, purpose: Purpose) -> InspectCall<'_> {
        InspectCall {
            purpose,
            request: self.request,
            target: self.target,
            parameters: &self.ask.parameters,
            handle: None,
            expires_at: self.expires_at,
            send_before: None,
        }
    }

    fn call(&self, send_before: Timestamp) -> GrantCall<'_> {
        GrantCall {
            request: self.request,
            target: self.target,
            parameters: &self.ask.parameters,
            template: self.ask.entitlement.template.as_deref(),
            expires_at: self.expires_at,
            send_before,
        }
    }
}

fn setup() -> Setup {
    Setup {
        signatures: Signatures::Full,
        ..Setup::default().manual(sample::start().unix_micros())
    }
}

fn settings(sim: &Sim) -> Settings {
    Settings {
        endpoint_url: Some(sim.url()),
        role: Some("developers".to_owned()),
        region: "eu-central-1".to_owned(),
        ..Settings::new("aws-iam".parse().unwrap(), ACCOUNT)
    }
}

fn key() -> SharedCredentialsProvider {
    let key = AccessKey::default();
    let credentials = Credentials::new(key.id, key.secret, None, None, "test");
    SharedCredentialsProvider::new(credentials)
}

fn config(credentials: SharedCredentialsProvider) -> SdkConfig {
    SdkConfig::builder()
        .credentials_provider(credentials)
        .build()
}

fn budget(clock: &Arc<ManualClock>) -> Arc<Budget> {
    Arc::new(Budget::new(AMPLE, clock.clone()))
}

fn policies(
    settings: Settings,
    clock: &Arc<ManualClock>,
    credentials: SharedCredentialsProvider,
) -> Arc<TemporaryPolicy> {
    let config = config(credentials);
    let made = TemporaryPolicy::with_sdk_config(settings, budget(clock), clock.clone(), config);
    Arc::new(made.unwrap())
}

fn sessions(
    settings: Settings,
    clock: &Arc<ManualClock>,
    credentials: SharedCredentialsProvider,
) -> Arc<AssumedRole> {
    let config = config(credentials);
    let made = AssumedRole::with_sdk_config(settings, budget(clock), clock.clone(), config);
    Arc::new(made.unwrap())
}

fn ask(person: &str, template: Option<&str>, parameters: Value) -> Ask {
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
            id: "aws-iam/read-logs".parse().unwrap(),
            resource: "read-logs".to_owned(),
            title: String::new(),
            how_to_use: String::new(),
            tier: "low".parse().unwrap(),
            parameters: ParameterRule::Free,
            display: None,
            template: template.map(str::to_owned),
            allows: String::new(),
            fallback: None,
        },
        parameters: parameters.as_object().unwrap().clone(),
    }
}

/// Ana in a session of the role that all have, with no parameters.
fn plain() -> Ask {
    ask("ana@example.com", Some(READ), json!({}))
}

/// Ana with a bucket and regions.
fn in_bucket(bucket: &str) -> Ask {
    let parameters = json!({"bucket": bucket, "regions": ["eu-central-1", "eu-west-1"]});
    ask("ana@example.com", Some(READ_IN), parameters)
}

/// The same for whoever this subject is.
fn as_subject(mut ask: Ask, subject: &str) -> Ask {
    let subjects = [("aws-iam".parse().unwrap(), subject.parse().unwrap())];
    ask.beneficiary.subjects = subjects.into();
    ask
}

/// The same of a role to assume.
fn of_role(mut ask: Ask, role: &str) -> Ask {
    ask.entitlement.resource = role.to_owned();
    ask
}

async fn resolve(adapter: &dyn Provisioner, ask: &Ask) -> Result<Resolved, PortError> {
    adapter
        .resolve(&ask.beneficiary, &ask.entitlement, &ask.parameters)
        .await
}

async fn grant(
    adapter: &TemporaryPolicy,
    given: &Given<'_>,
    send_before: Timestamp,
) -> Result<Answer, PortError> {
    adapter.grant(given.call(send_before)).await
}

async fn mint(
    adapter: &AssumedRole,
    given: &Given<'_>,
    send_before: Timestamp,
) -> Result<Minted, PortError> {
    adapter.mint(given.call(send_before)).await
}

async fn revoke(
    adapter: &TemporaryPolicy,
    given: &Given<'_>,
    send_before: Timestamp,
) -> Result<Answer, PortError> {
    let call = RevokeCall {
        request: given.request,
        target: given.target,
        parameters: &given.ask.parameters,
        handle: None,
        send_before,
    };
    adapter.revoke(call).await
}

/// Checks that something was refused with this, and what the log says of it.
fn refused<T: std::fmt::Debug>(answer: Result<T, PortError>, kind: ErrorKind, why: &str) {
    let error = answer.unwrap_err();
    let chain = error.chain().to_string();
    assert_eq!(error.kind, kind, "{chain}");
    assert!(chain.contains(why), "{chain} says nothing of {why:?}");
}

/// No parameters at all.
fn none() -> Parameters {
    Parameters::new()
}
