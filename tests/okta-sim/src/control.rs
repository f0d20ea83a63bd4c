//! The control API under `/sim/`: what tests in other processes and languages use. It does what the
//! methods of [`World`] do, and takes and gives JSON.
//!
//! - `GET /sim/state`: what there is; `/sim/ledger`, `/sim/calls`, `/sim/events`.
//! - `POST /sim/users` with `{"login", "email"}`, `/sim/groups` with `{"name", "type"}`,
//!   `/sim/fill` with `{"name", "members"}`: each answers `{"id"}`.
//! - `POST /sim/deeds` with a [`Deed`], such as `{"do": "join", "group", "user"}`; with `after_ms`
//!   around it, `{"after_ms", "deed"}`, at `/sim/later`.
//! - `POST /sim/tokens` with `{"id", "secret", "scopes"}`, `/sim/apps` with
//!   `{"client_id", "keys", "scopes"}`; without scopes, all.
//! - `POST /sim/hostility` with `{"do", "operation", "times", "skip", "having", …}`: see [`Wrong`];
//!   `/sim/away` with `{"how"}`, `/sim/calm` with `{}` ends all of it.
//! - `POST /sim/pass` with `{"ms"}`, `/sim/settings`, `/sim/reset` with `{"seed"}`.
//! - `POST /sim/responders`, `/sim/schedules`, `/sim/policies`, `/sim/on-calls` for PagerDuty.

use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Operation;
use crate::deed::Deed;
use crate::directory::GroupType;
use crate::hostile::{Away, Hostility, Reset, Rule};
use crate::pagerduty::OnCall;
use crate::setup::{ApiToken, Scope, ServiceApp, Setup};
use crate::state::State;
use crate::world::World;

pub(crate) fn router() -> Router<World> {
    Router::new()
        .route("/sim/state", get(state))
        .route("/sim/ledger", get(ledger))
        .route("/sim/calls", get(calls))
        .route("/sim/events", get(events))
        .route("/sim/users", post(users))
        .route("/sim/groups", post(groups))
        .route("/sim/fill", post(fill))
        .route("/sim/deeds", post(deeds))
        .route("/sim/later", post(later))
        .route("/sim/tokens", post(tokens))
        .route("/sim/apps", post(apps))
        .route("/sim/hostility", post(hostility))
        .route("/sim/away", post(away))
        .route("/sim/calm", post(calm))
        .route("/sim/pass", post(pass))
        .route("/sim/settings", post(settings))
        .route("/sim/reset", post(reset))
        .route("/sim/responders", post(responders))
        .route("/sim/schedules", post(schedules))
        .route("/sim/policies", post(policies))
        .route("/sim/on-calls", post(on_calls))
}

/// A request that means nothing.
#[derive(Debug)]
struct Malformed(String);

impl IntoResponse for Malformed {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({"error": self.0}))).into_response()
    }
}

type Answer = Result<Json<Value>, Malformed>;

fn nothing() -> Json<Value> {
    Json(json!({}))
}

async fn state(Shared(world): Shared<World>) -> Json<Value> {
    Json(world.with(|state| shown(state)))
}

fn shown(state: &State) -> Value {
    let users: Vec<Value> = (state.users.iter())
        .filter_map(|(id, versions)| Some(versions.now()?.shown(&state.base, id)))
        .collect();
    let groups: Vec<Value> = (state.groups.iter())
        .filter_map(|(id, versions)| Some(versions.now()?.shown(&state.base, id)))
        .collect();
    let tokens: Vec<Value> = (state.tokens.values())
        .map(|it| json!({"id": it.id, "secret": it.secret}))
        .collect();
    let apps: Vec<&String> = state.apps.keys().collect();
    json!({
        "organization": state.organization(), "url": state.base, "now_micros": state.moment,
        "users": users, "groups": groups, "members": state.members, "tokens": tokens,
        "apps": apps, "in_flight": state.in_flight,
        "pagerduty": {
            "tokens": state.setup.pagerduty_tokens, "routing_keys": state.setup.routing_keys,
            "responders": state.pagerduty.responders, "schedules": state.pagerduty.schedules,
            "policies": state.pagerduty.policies, "on_calls": state.pagerduty.on_calls,
            "open": state.pagerduty.open,
        },
    })
}

async fn ledger(Shared(world): Shared<World>) -> Json<Value> {
    Json(json!(world.ledger()))
}

async fn calls(Shared(world): Shared<World>) -> Json<Value> {
    Json(json!(world.calls()))
}

async fn events(Shared(world): Shared<World>) -> Json<Value> {
    Json(json!(world.events()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    login: String,
    email: String,
}

async fn users(Shared(world): Shared<World>, Json(new): Json<Person>) -> Json<Value> {
    Json(json!({"id": world.add_user(&new.login, &new.email)}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
    r#type: Option<GroupType>,
}

async fn groups(Shared(world): Shared<World>, Json(new): Json<NewGroup>) -> Json<Value> {
    let kind = new.r#type.unwrap_or(GroupType::OktaGroup);
    Json(json!({"id": world.add_group_of(&new.name, kind)}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fill {
    name: String,
    members: u32,
}

async fn fill(Shared(world): Shared<World>, Json(new): Json<Fill>) -> Json<Value> {
    Json(json!({"id": world.fill(&new.name, new.members)}))
}

async fn deeds(Shared(world): Shared<World>, Json(deed): Json<Deed>) -> Json<Value> {
    world.perform(deed);
    nothing()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Later {
    after_ms: u64,
    deed: Deed,
}

async fn later(Shared(world): Shared<World>, Json(it): Json<Later>) -> Json<Value> {
    world.later(Duration::from_millis(it.after_ms), it.deed);
    nothing()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    id: String,
    secret: String,
    scopes: Option<Vec<String>>,
}

/// The scopes of these names; without names, all there are.
fn scopes(names: Option<Vec<String>>) -> Result<Vec<Scope>, Malformed> {
    let Some(names) = names else {
        return Ok(Scope::ALL.to_vec());
    };
    let scope = |name: String| {
        let found = Scope::parse(&name);
        found.ok_or_else(|| Malformed(format!("there is no scope {name}")))
    };
    names.into_iter().map(scope).collect()
}

async fn tokens(Shared(world): Shared<World>, Json(new): Json<NewToken>) -> Answer {
    let token = ApiToken::new(&new.id, &new.secret);
    world.set_token(token.allowing(&scopes(new.scopes)?));
    Ok(nothing())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewApp {
    client_id: String,
    keys: Vec<Value>,
    scopes: Option<Vec<String>>,
}

async fn apps(Shared(world): Shared<World>, Json(new): Json<NewApp>) -> Answer {
    world.set_app(ServiceApp {
        client_id: new.client_id,
        keys: new.keys,
        granted: scopes(new.scopes)?.into_iter().collect(),
    });
    Ok(nothing())
}

/// What goes wrong, by the names of [`Hostility`].
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Wrong {
    /// Says the reset in so many milliseconds, which may be negative; nothing, without.
    Throttle {
        reset_in_ms: Option<i64>,
    },
    /// Says a reset that is no number.
    ThrottleGarbage,
    Concurrent,
    InternalError,
    InternalErrorAfter,
    Unavailable,
    Hang,
    HangAfter,
    Garbage,
    LoseCall,
    LoseReply,
    LateEffect {
        after_ms: u64,
    },
    Redirect {
        url: String,
    },
    Stale {
        lag_ms: u64,
    },
    RepeatPage,
    EndlessPages,
    EmptyPage,
    NextElsewhere {
        url: String,
    },
    Before {
        deed: Deed,
    },
    Then {
        deed: Deed,
    },
}

impl From<Wrong> for Hostility {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Throttle { reset_in_ms } => Self::Throttle(match reset_in_ms {
                None => Reset::Missing,
                Some(ms) if ms < 0 => Reset::Ago(Duration::from_millis(ms.unsigned_abs())),
                Some(ms) => Reset::In(Duration::from_millis(ms.unsigned_abs())),
            }),
            Wrong::ThrottleGarbage => Self::Throttle(Reset::Garbage),
            Wrong::Concurrent => Self::Concurrent,
            Wrong::InternalError => Self::InternalError,
            Wrong::InternalErrorAfter => Self::InternalErrorAfter,
            Wrong::Unavailable => Self::Unavailable,
            Wrong::Hang => Self::Hang,
            Wrong::HangAfter => Self::HangAfter,
            Wrong::Garbage => Self::Garbage,
            Wrong::LoseCall => Self::LoseCall,
            Wrong::LoseReply => Self::LoseReply,
            Wrong::LateEffect { after_ms } => Self::LateEffect(Duration::from_millis(after_ms)),
            Wrong::Redirect { url } => Self::Redirect(url),
            Wrong::Stale { lag_ms } => Self::Stale(Duration::from_millis(lag_ms)),
            Wrong::RepeatPage => Self::RepeatPage,
            Wrong::EndlessPages => Self::EndlessPages,
            Wrong::EmptyPage => Self::EmptyPage,
            Wrong::NextElsewhere { url } => Self::NextElsewhere(url),
            Wrong::Before { deed } => Self::Before(deed),
            Wrong::Then { deed } => Self::Then(deed),
        }
    }
}

#[derive(Deserialize)]
struct NewRule {
    #[serde(flatten)]
    wrong: Wrong,
    operation: Option<Operation>,
    times: Option<u32>,
    #[serde(default)]
    skip: u32,
    having: Option<String>,
}

async fn hostility(Shared(world): Shared<World>, Json(new): Json<NewRule>) -> Json<Value> {
    world.rule(Rule {
        operation: new.operation,
        hostility: new.wrong.into(),
        skip: new.skip,
        times: new.times,
        having: new.having,
    });
    nothing()
}

#[derive(Deserialize)]
#[serde(tag = "how", rename_all = "snake_case", deny_unknown_fields)]
enum How {
    Refused,
    Unavailable,
}

async fn away(Shared(world): Shared<World>, Json(how): Json<How>) -> Json<Value> {
    world.away(match how {
        How::Refused => Away::Refused,
        How::Unavailable => Away::Unavailable,
    });
    nothing()
}

async fn calm(Shared(world): Shared<World>) -> Json<Value> {
    world.calm();
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

/// What a setup may have otherwise while it runs; what is not said stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    access_token_life_ms: Option<u64>,
    concurrent_max: Option<usize>,
    members_page_max: Option<usize>,
    users_page_max: Option<usize>,
    user_groups_page_max: Option<usize>,
    search_lag_ms: Option<u64>,
    latency_ms: Option<u64>,
    /// The same for every family.
    calls_per_minute: Option<u32>,
}

async fn settings(Shared(world): Shared<World>, Json(new): Json<Settings>) -> Json<Value> {
    let time = |ms: Option<u64>, known: Duration| ms.map_or(known, Duration::from_millis);
    world.configure(|setup| {
        setup.access_token_life = time(new.access_token_life_ms, setup.access_token_life);
        setup.search_lag = time(new.search_lag_ms, setup.search_lag);
        setup.latency = time(new.latency_ms, setup.latency);
        setup.concurrent_max = new.concurrent_max.unwrap_or(setup.concurrent_max);
        setup.members_page_max = new.members_page_max.unwrap_or(setup.members_page_max);
        setup.users_page_max = new.users_page_max.unwrap_or(setup.users_page_max);
        setup.user_groups_page_max = new.user_groups_page_max.or(setup.user_groups_page_max);
        if let Some(calls) = new.calls_per_minute {
            setup.limits = crate::setup::Limits::all(calls);
            setup.pagerduty_per_minute = calls;
        }
    });
    nothing()
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewResponder {
    name: String,
    email: String,
}

async fn responders(Shared(world): Shared<World>, Json(new): Json<NewResponder>) -> Json<Value> {
    Json(json!({"id": world.add_responder(&new.name, &new.email)}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

async fn schedules(Shared(world): Shared<World>, Json(new): Json<Named>) -> Json<Value> {
    Json(json!({"id": world.add_schedule(&new.name)}))
}

async fn policies(Shared(world): Shared<World>, Json(new): Json<Named>) -> Json<Value> {
    Json(json!({"id": world.add_escalation_policy(&new.name)}))
}

async fn on_calls(Shared(world): Shared<World>, Json(new): Json<OnCall>) -> Json<Value> {
    world.put_on_call(new);
    nothing()
}
