//! The control API under `/sim/`: what tests in other processes and languages use. It does what the
//! methods of [`World`] do, and takes and gives JSON.
//!
//! - `GET /sim/state`: the root token, and what is alive by accessor; `/sim/ledger`, `/sim/calls`.
//! - `POST /sim/policies` with `{"name", "rules": {path: [capability]}}`; `/sim/token-roles` and
//!   `/sim/app-roles` with the fields of [`TokenRole`] and [`AppRole`]; `/sim/secret-ids` with
//!   `{"role", "uses"}`; `/sim/secrets` with `{"path", "data"}`.
//! - `POST /sim/faults` with `{"do", "path", "skip", "times", …}`: see [`Wrong`]; `/sim/health` with
//!   `{"health"}`, as `active`, `standby`, `sealed` …; `/sim/cluster` with `{"id"}`; `/sim/calm` and
//!   `/sim/release` with `{}`.
//! - `POST /sim/pass` with `{"ms"}`, `/sim/reset` with `{"seed"}`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::{Fault, Rule};
use crate::policy::Capability;
use crate::setup::{AppRole, Health, Setup, TokenRole};
use crate::world::World;

pub(crate) fn router() -> Router<World> {
    Router::new()
        .route("/sim/state", get(state))
        .route("/sim/ledger", get(ledger))
        .route("/sim/calls", get(calls))
        .route("/sim/policies", post(policies))
        .route("/sim/token-roles", post(token_roles))
        .route("/sim/app-roles", post(app_roles))
        .route("/sim/secret-ids", post(secret_ids))
        .route("/sim/secrets", post(secrets))
        .route("/sim/faults", post(faults))
        .route("/sim/health", post(health))
        .route("/sim/cluster", post(cluster))
        .route("/sim/calm", post(calm))
        .route("/sim/release", post(release))
        .route("/sim/pass", post(pass))
        .route("/sim/reset", post(reset))
}

fn nothing() -> Json<Value> {
    Json(json!({}))
}

async fn state(Shared(world): Shared<World>) -> Json<Value> {
    let alive: Vec<Value> = (world.tokens().iter())
        .map(|it| json!({"accessor": it.accessor, "policies": it.policies, "meta": it.meta}))
        .collect();
    let root = world.with(|state| state.setup.root_token.clone());
    Json(json!({"root_token": root, "now_micros": world.now(), "tokens": alive}))
}

async fn ledger(Shared(world): Shared<World>) -> Json<Value> {
    Json(json!(world.ledger()))
}

async fn calls(Shared(world): Shared<World>) -> Json<Value> {
    Json(json!(world.calls()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPolicy {
    name: String,
    rules: BTreeMap<String, Vec<Capability>>,
}

async fn policies(Shared(world): Shared<World>, Json(new): Json<NewPolicy>) -> Json<Value> {
    let rules = new.rules.iter();
    let rules: Vec<(&str, &[Capability])> = rules.map(|(k, v)| (k.as_str(), &v[..])).collect();
    world.put_policy(&new.name, &rules);
    nothing()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTokenRole {
    name: String,
    allowed_policies: Vec<String>,
    #[serde(default = "yes")]
    orphan: bool,
    #[serde(default = "yes")]
    renewable: bool,
    #[serde(default)]
    explicit_max_ttl_secs: u64,
    token_type: Option<String>,
}

fn yes() -> bool {
    true
}

async fn token_roles(Shared(world): Shared<World>, Json(new): Json<NewTokenRole>) -> Json<Value> {
    world.put_token_role(TokenRole {
        name: new.name,
        allowed_policies: new.allowed_policies,
        orphan: new.orphan,
        renewable: new.renewable,
        explicit_max_ttl_secs: new.explicit_max_ttl_secs,
        token_type: new.token_type,
    });
    nothing()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAppRole {
    name: String,
    role_id: String,
    policies: Vec<String>,
    mount: Option<String>,
    token_ttl_secs: Option<u64>,
    token_max_ttl_secs: Option<u64>,
    #[serde(default)]
    token_num_uses: u32,
}

async fn app_roles(Shared(world): Shared<World>, Json(new): Json<NewAppRole>) -> Json<Value> {
    let usual = AppRole::new(&new.name, &new.role_id, &[]);
    world.put_app_role(AppRole {
        policies: new.policies,
        mount: new.mount.unwrap_or(usual.mount.clone()),
        token_ttl_secs: new.token_ttl_secs.unwrap_or(usual.token_ttl_secs),
        token_max_ttl_secs: new.token_max_ttl_secs.unwrap_or(usual.token_max_ttl_secs),
        token_num_uses: new.token_num_uses,
        ..usual
    });
    nothing()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSecretId {
    role: String,
    uses: Option<u32>,
}

async fn secret_ids(Shared(world): Shared<World>, Json(new): Json<NewSecretId>) -> Json<Value> {
    Json(json!({"secret_id": world.secret_id(&new.role, new.uses)}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    path: String,
    data: Value,
}

async fn secrets(Shared(world): Shared<World>, Json(new): Json<NewSecret>) -> Json<Value> {
    world.put_secret(&new.path, new.data);
    nothing()
}

/// What goes wrong, by the names of [`Fault`].
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Wrong {
    Status { status: u16 },
    StatusAfter { status: u16 },
    TooMany { retry_after: Option<u64> },
    Denied,
    InvalidToken,
    Garbage,
    Instead { text: String },
    Hang,
    Hold,
    LoseCall,
    LoseReply,
    Slow { ms: u64 },
    Redirect { url: String },
    Delay { ms: u64 },
    DelayAndLoseReply { ms: u64 },
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Status { status } => Self::Status(status),
            Wrong::StatusAfter { status } => Self::StatusAfter(status),
            Wrong::TooMany { retry_after } => Self::TooMany(retry_after),
            Wrong::Denied => Self::Denied,
            Wrong::InvalidToken => Self::InvalidToken,
            Wrong::Garbage => Self::Garbage,
            Wrong::Instead { text } => Self::Instead(text),
            Wrong::Hang => Self::Hang,
            Wrong::Hold => Self::Hold,
            Wrong::LoseCall => Self::LoseCall,
            Wrong::LoseReply => Self::LoseReply,
            Wrong::Slow { ms } => Self::Slow(Duration::from_millis(ms)),
            Wrong::Redirect { url } => Self::Redirect(url),
            Wrong::Delay { ms } => Self::Delay(Duration::from_millis(ms)),
            Wrong::DelayAndLoseReply { ms } => Self::DelayAndLoseReply(Duration::from_millis(ms)),
        }
    }
}

#[derive(Deserialize)]
struct NewRule {
    #[serde(flatten)]
    wrong: Wrong,
    #[serde(default)]
    path: String,
    #[serde(default)]
    skip: u32,
    times: Option<u32>,
}

async fn faults(Shared(world): Shared<World>, Json(new): Json<NewRule>) -> Json<Value> {
    world.rule(Rule {
        fault: new.wrong.into(),
        path: new.path,
        skip: new.skip,
        times: new.times,
    });
    nothing()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHealth {
    health: Condition,
}

/// The names of [`Health`].
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Active,
    Standby,
    RecoverySecondary,
    PerformanceStandby,
    Uninitialised,
    Sealed,
}

async fn health(Shared(world): Shared<World>, Json(new): Json<NewHealth>) -> Json<Value> {
    world.set_health(match new.health {
        Condition::Active => Health::Active,
        Condition::Standby => Health::Standby,
        Condition::RecoverySecondary => Health::RecoverySecondary,
        Condition::PerformanceStandby => Health::PerformanceStandby,
        Condition::Uninitialised => Health::Uninitialised,
        Condition::Sealed => Health::Sealed,
    });
    nothing()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCluster {
    id: Option<String>,
}

async fn cluster(Shared(world): Shared<World>, Json(new): Json<NewCluster>) -> Json<Value> {
    world.set_cluster(new.id.as_deref());
    nothing()
}

async fn calm(Shared(world): Shared<World>) -> Json<Value> {
    world.calm();
    nothing()
}

async fn release(Shared(world): Shared<World>) -> Json<Value> {
    world.release();
    nothing()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pass {
    ms: u64,
}

async fn pass(Shared(world): Shared<World>, Json(time): Json<Pass>) -> Json<Value> {
    world.pass(Duration::from_millis(time.ms));
    Json(json!({"now_micros": world.now()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewWorld {
    seed: u64,
}

async fn reset(Shared(world): Shared<World>, Json(new): Json<NewWorld>) -> Json<Value> {
    world.reset(Setup {
        seed: new.seed,
        ..Setup::default()
    });
    nothing()
}
