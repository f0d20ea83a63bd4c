//! The adapter against a simulated Vault on loopback. Both keep the time of one clock that a test
//! moves.

mod contract;
mod faults;
mod login;
mod minting;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::ports::{
    Clock, GrantCall, InspectCall, Minted, PortError, Provisioner, Purpose, RevokeCall,
};
use jit_core::principal::{PrincipalKind, Profile};
use jit_core::provider::{Answer, Handle, Parameters, Presence, Target};
use jit_core::request::RequestId;
use jit_testkit::provisioner::Ask;
use jit_testkit::sample;
use jit_testkit::time::ManualClock;
use serde_json::json;
use vault_sim::{AppRole, Call, Capability, Setup, Sim, TokenRole, World};

use crate::{SecretId, Settings, Vault, VaultTokens};

const ROLE_ID: &str = "canary-role-id";
const LIFE: Duration = Duration::from_secs(900);

/// A Vault with this service's application, two policies, a token role and a secret, and the adapter
/// on it.
struct Scene {
    sim: Sim,
    clock: Arc<ManualClock>,
    vault: Arc<Vault>,
    tokens: VaultTokens,
}

impl Scene {
    fn new() -> Self {
        Self::of(setup(), |_, _| {})
    }

    fn of(setup: Setup, change: impl FnOnce(&mut Settings, &World)) -> Self {
        let sim = Sim::start(setup).unwrap();
        furnish(sim.world());
        let clock = Arc::new(ManualClock::at(sample::start()));
        let secret_id = sim.world().secret_id("jit", None);
        let mut settings = Settings::new(
            "vault".parse().unwrap(),
            sim.url().parse().unwrap(),
            ROLE_ID.into(),
            SecretId::Plain(secret_id.into()),
        );
        change(&mut settings, sim.world());
        let vault = Vault::connect(settings, clock.clone()).unwrap();
        Self {
            tokens: VaultTokens::new(Arc::clone(&vault)),
            sim,
            clock,
            vault,
        }
    }

    fn world(&self) -> &World {
        self.sim.world()
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.world().pass(time);
    }

    fn target(&self, resource: &str) -> Target {
        Target::new(
            format!("vault:{}", self.sim.url()),
            "ana@example.com".parse().unwrap(),
            resource,
        )
    }

    async fn mint(&self, resource: &str) -> Result<Minted, PortError> {
        self.mint_until(resource, self.clock.now() + LIFE).await
    }

    async fn mint_until(&self, resource: &str, end: Timestamp) -> Result<Minted, PortError> {
        let now = self.clock.now();
        mint(&self.tokens, &self.target(resource), now, end).await
    }

    async fn revoke(&self, handle: &Handle) -> Result<Answer, PortError> {
        let call = RevokeCall {
            request: request(),
            target: &self.target("reader"),
            parameters: &Parameters::new(),
            handle: Some(handle),
            send_before: self.clock.now() + Duration::from_secs(30),
        };
        self.tokens.revoke(call).await
    }

    async fn inspect(&self, handle: Option<&Handle>) -> Result<Presence, PortError> {
        let call = InspectCall {
            purpose: Purpose::TakeAway,
            request: request(),
            target: &self.target("reader"),
            parameters: &Parameters::new(),
            handle,
            expires_at: self.clock.now() + LIFE,
            send_before: Some(self.clock.now() + Duration::from_secs(30)),
        };
        self.tokens.inspect(call).await
    }

    /// A look at a token that is not there, for the sake of the call.
    async fn ask(&self) -> Result<Presence, PortError> {
        self.inspect(Some(&Handle("nobody".to_owned()))).await
    }

    /// The calls of this path that arrived.
    fn calls(&self, path: &str) -> Vec<Call> {
        let calls = self.world().calls().into_iter();
        calls.filter(|call| call.path == path).collect()
    }

    /// How many tokens are good that were made for people.
    fn given(&self) -> usize {
        let marked = self.world().marked("jit_request", &request().to_string());
        marked.len()
    }

    fn logins(&self) -> usize {
        self.calls("auth/approle/login").len()
    }
}

async fn mint(
    tokens: &VaultTokens,
    target: &Target,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Minted, PortError> {
    let call = GrantCall {
        request: request(),
        target,
        parameters: &Parameters::new(),
        template: None,
        expires_at,
        send_before: now + Duration::from_secs(30),
    };
    tokens.mint(call).await
}

fn setup() -> Setup {
    Setup::default().manual(sample::start().unix_micros())
}

/// What the README tells an operator to set up, and something to give.
fn furnish(world: &World) {
    use Capability::{Read, Sudo, Update};
    world.put_policy(
        "jit-access",
        &[
            ("auth/token/create-orphan", &[Update, Sudo]),
            ("auth/token/create/+", &[Update]),
            ("auth/token/lookup-accessor", &[Update]),
            ("auth/token/revoke-accessor", &[Update]),
            ("homelab/data/docker/+", &[Read]),
        ],
    );
    world.put_policy("reader", &[("homelab/data/docker/grafana", &[Read])]);
    world.put_policy("writer", &[("homelab/data/docker/grafana", &[Update])]);
    world.put_token_role(TokenRole::new("agents", &["reader", "writer"]));
    world.put_app_role(AppRole::new("jit", ROLE_ID, &["jit-access"]));
    let secret = json!({"jit_admin_token": "canary-of-grafana", "service_account_id": "5", "n": 7});
    world.put_secret("homelab/data/docker/grafana", secret);
}

fn ask(resource: &str) -> Ask {
    Ask {
        beneficiary: Profile {
            id: "ana@example.com".parse().unwrap(),
            kind: PrincipalKind::Person,
            active: true,
            groups: [].into(),
            groups_unknown: [].into(),
            manager: None,
            subjects: [].into(),
        },
        entitlement: Entitlement {
            id: "vault/grafana".parse().unwrap(),
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

fn request() -> RequestId {
    RequestId::new(sample::start(), [1; 10])
}

/// The name by which Vault knows a token.
fn accessor(handle: &Handle) -> &str {
    handle.0.split('@').next().unwrap()
}

/// All that anybody could print of an error.
fn printed(error: &PortError) -> String {
    format!(
        "{error} {error:?} {error:#?} {} {:?}",
        error.chain(),
        error.told
    )
}
