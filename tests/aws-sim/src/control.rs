//! The control API under `/control/`: what tests in other processes and languages use. It does
//! what the methods of [`World`] do, and takes and gives JSON.
//!
//! - `GET /control/state`: what there is, and the keys to call with; `/control/ledger`,
//!   `/control/calls`.
//! - `POST /control/accounts`, `/users`, `/groups`, `/sets`, `/assignments` with `{"do": …}`: see
//!   the enums below, one variant a deed.
//! - `POST /control/iam` with `{"do": …}`: roles, users and inline policies of the account;
//!   `/control/allowed` with `{"principal" | "access_key", "session_name", "action", "resource",
//!   "context", "at_micros"}` says whether that is so, now where no time is given.
//! - `POST /control/hostility` with `{"do", "operation", "times", "skip", "having", "after_ms",
//!   "reason"}`; `{"do": "calm"}` ends all of it.
//! - `POST /control/advance` with `{"ms"}`, `/control/settings`, `/control/keys`,
//!   `/control/reset` with `{"seed"}`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::is_operation;
use crate::hostile::{Away, Hostility, Rule};
use crate::identity::{Role, who};
use crate::people::iso_duration;
use crate::principals::Deed;
use crate::setup::{AccessKey, Notices, Orphans, Seat, Setup, Signatures};
use crate::state::State;
use crate::world::World;

pub(crate) fn router() -> Router<World> {
    Router::new()
        .route("/control/state", get(state))
        .route("/control/ledger", get(ledger))
        .route("/control/calls", get(calls))
        .route("/control/accounts", post(accounts))
        .route("/control/users", post(users))
        .route("/control/groups", post(groups))
        .route("/control/sets", post(sets))
        .route("/control/assignments", post(assignments))
        .route("/control/iam", post(iam))
        .route("/control/allowed", post(allowed))
        .route("/control/keys", post(keys))
        .route("/control/hostility", post(hostility))
        .route("/control/advance", post(advance))
        .route("/control/settings", post(settings))
        .route("/control/reset", post(reset))
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

async fn state(Shared(world): Shared<World>) -> Json<Value> {
    Json(world.with(shown))
}

fn shown(state: &mut State) -> Value {
    let keys: Vec<Value> = (state.keys.values())
        .map(|it| json!({"id": it.id, "secret": it.secret, "session_token": it.session_token}))
        .collect();
    let sets: Vec<Value> = (state.sets.iter())
        .map(
            |(arn, it)| json!({"arn": arn, "name": it.name, "session": iso_duration(it.session_s)}),
        )
        .collect();
    json!({
        "instance_arn": state.instance_arn(), "identity_store_id": state.identity_store(),
        "region": state.setup.region, "management_account": state.setup.management_account,
        "now_micros": state.moment, "keys": keys, "accounts": state.accounts,
        "users": state.users, "groups": state.groups, "sets": sets,
        "assignments": state.assignments, "in_progress": state.in_progress().len(),
    })
}

async fn ledger(Shared(world): Shared<World>) -> Json<Value> {
    Json(json!(world.ledger()))
}

async fn calls(Shared(world): Shared<World>) -> Json<Value> {
    Json(json!(world.calls()))
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum AccountDeed {
    Add { id: String, name: String },
    Suspend { id: String },
    Remove { id: String },
}

async fn accounts(Shared(world): Shared<World>, Json(deed): Json<AccountDeed>) -> Json<Value> {
    match deed {
        AccountDeed::Add { id, name } => world.add_account(&id, &name),
        AccountDeed::Suspend { id } => world.suspend_account(&id),
        AccountDeed::Remove { id } => world.remove_account(&id),
    }
    Json(json!({}))
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum UserDeed {
    Add {
        user_name: String,
        email: String,
    },
    SetEmail {
        user_id: String,
        email: String,
    },
    ExternalId {
        user_id: String,
        issuer: String,
        id: String,
    },
    Disable {
        user_id: String,
    },
    Enable {
        user_id: String,
    },
    Delete {
        user_id: String,
    },
}

async fn users(Shared(world): Shared<World>, Json(deed): Json<UserDeed>) -> Json<Value> {
    match deed {
        UserDeed::Add { user_name, email } => {
            return Json(json!({"user_id": world.add_user(&user_name, &email)}));
        }
        UserDeed::SetEmail { user_id, email } => world.set_email(&user_id, &email),
        UserDeed::ExternalId {
            user_id,
            issuer,
            id,
        } => {
            world.add_external_id(&user_id, &issuer, &id);
        }
        UserDeed::Disable { user_id } => world.set_disabled(&user_id, true),
        UserDeed::Enable { user_id } => world.set_disabled(&user_id, false),
        UserDeed::Delete { user_id } => world.delete_user(&user_id),
    }
    Json(json!({}))
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum GroupDeed {
    Add { name: String },
}

async fn groups(Shared(world): Shared<World>, Json(deed): Json<GroupDeed>) -> Json<Value> {
    let GroupDeed::Add { name } = deed;
    Json(json!({"group_id": world.add_group(&name)}))
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum SetDeed {
    Add { name: String, session_s: u64 },
    Delete { arn: String },
}

async fn sets(Shared(world): Shared<World>, Json(deed): Json<SetDeed>) -> Json<Value> {
    match deed {
        SetDeed::Add { name, session_s } => {
            let arn = world.add_permission_set(&name, Duration::from_secs(session_s));
            Json(json!({"arn": arn}))
        }
        SetDeed::Delete { arn } => {
            world.delete_permission_set(&arn);
            Json(json!({}))
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum AssignmentDeed {
    Assign {
        account: String,
        permission_set: String,
        principal: String,
    },
    Unassign {
        account: String,
        permission_set: String,
        principal: String,
    },
}

async fn assignments(
    Shared(world): Shared<World>,
    Json(deed): Json<AssignmentDeed>,
) -> Json<Value> {
    let changed = match deed {
        AssignmentDeed::Assign {
            account,
            permission_set,
            principal,
        } => world.assign(&account, &permission_set, &principal),
        AssignmentDeed::Unassign {
            account,
            permission_set,
            principal,
        } => world.unassign(&account, &permission_set, &principal),
    };
    Json(json!({"changed": changed}))
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum IamDeed {
    Role {
        name: String,
        path: Option<String>,
        trusted: Option<Vec<String>>,
        session_name: Option<String>,
        max_session_s: Option<u64>,
    },
    User {
        name: String,
    },
    Put {
        principal: String,
        name: String,
        document: String,
    },
    Delete {
        principal: String,
        name: String,
    },
}

async fn iam(Shared(world): Shared<World>, Json(deed): Json<IamDeed>) -> Answer {
    let id = match deed {
        IamDeed::Role {
            name,
            path,
            trusted,
            session_name,
            max_session_s,
        } => {
            let plain = Role::new(&name);
            world.add_role(&Role {
                path: path.unwrap_or(plain.path),
                trusted: trusted.unwrap_or(plain.trusted),
                session_name,
                max_session: max_session_s.map_or(plain.max_session, Duration::from_secs),
                name,
            })
        }
        IamDeed::User { name } => world.add_iam_user(&name),
        IamDeed::Put {
            principal,
            name,
            document,
        } => {
            world.put_policy(known(&principal)?, &name, &document);
            return Ok(Json(json!({})));
        }
        IamDeed::Delete { principal, name } => {
            world.delete_policy(known(&principal)?, &name);
            return Ok(Json(json!({})));
        }
    };
    Ok(Json(json!({"id": id})))
}

fn known(principal: &str) -> Result<&str, Malformed> {
    let wrong = || Malformed(format!("{principal} is not role/NAME or user/NAME"));
    who(principal).map(|_| principal).ok_or_else(wrong)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    principal: Option<String>,
    session_name: Option<String>,
    access_key: Option<String>,
    action: String,
    resource: String,
    #[serde(default)]
    context: BTreeMap<String, String>,
    at_micros: Option<i64>,
}

async fn allowed(Shared(world): Shared<World>, Json(asked): Json<Asked>) -> Answer {
    let context: Vec<(&str, &str)> = (asked.context.iter())
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let deed = Deed {
        context: &context,
        ..Deed::new(&asked.action, &asked.resource)
    };
    let at = asked.at_micros.unwrap_or_else(|| world.now());
    let is_so = match (&asked.principal, &asked.access_key) {
        (Some(principal), None) => {
            let session = asked.session_name.as_deref();
            world.is_allowed(known(principal)?, session, deed, at)
        }
        (None, Some(key)) => world.session_allows(key, deed, at),
        _ => return Err(Malformed("write a principal or an access_key".to_owned())),
    };
    Ok(Json(json!({"allowed": is_so})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    id: String,
    secret: String,
    session_token: Option<String>,
    expires_at_micros: Option<i64>,
    allowed: Option<Vec<String>>,
}

async fn keys(Shared(world): Shared<World>, Json(key): Json<Key>) -> Json<Value> {
    world.set_key(AccessKey {
        id: key.id,
        secret: key.secret,
        session_token: key.session_token,
        expires_at_micros: key.expires_at_micros,
        allowed: key.allowed.map(|it| it.into_iter().collect()),
    });
    Json(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrong {
    r#do: String,
    operation: Option<String>,
    times: Option<u32>,
    #[serde(default)]
    skip: u32,
    having: Option<String>,
    after_ms: Option<u64>,
    reason: Option<String>,
}

impl Wrong {
    fn hostility(&self) -> Result<Hostility, Malformed> {
        let after = || {
            let ms = self.after_ms.ok_or_else(|| lacks(&self.r#do, "after_ms"));
            ms.map(Duration::from_millis)
        };
        Ok(match self.r#do.as_str() {
            "throttle" => Hostility::Throttle,
            "conflict" => Hostility::Conflict,
            "internal_error" => Hostility::InternalError,
            "internal_error_after" => Hostility::InternalErrorAfter,
            "unavailable" => Hostility::Unavailable,
            "hang" => Hostility::Hang,
            "garbage" => Hostility::Garbage,
            "lose_call" => Hostility::LoseCall,
            "lose_reply" => Hostility::LoseReply,
            "late_effect" => Hostility::LateEffect(after()?),
            "fail" => {
                let reason = self.reason.clone();
                Hostility::Fail(reason.ok_or_else(|| lacks(&self.r#do, "reason"))?)
            }
            "apply_after" => Hostility::ApplyAfter(after()?),
            "freeze" => Hostility::Freeze,
            "status_after" => Hostility::StatusAfter(after()?),
            "stale" => Hostility::Stale(after()?),
            "empty_page" => Hostility::EmptyPage,
            other => return Err(Malformed(format!("nothing goes wrong like {other}"))),
        })
    }
}

fn lacks(what: &str, member: &str) -> Malformed {
    Malformed(format!("{what} needs {member}"))
}

async fn hostility(Shared(world): Shared<World>, Json(wrong): Json<Wrong>) -> Answer {
    match wrong.r#do.as_str() {
        "calm" => world.calm(),
        "away_refused" => world.away(Away::Refused),
        "away_unavailable" => world.away(Away::Unavailable),
        _ => {
            let hostility = wrong.hostility()?;
            let operation = wrong.operation.unwrap_or_else(|| "*".to_owned());
            if operation != "*" && !is_operation(&operation) {
                return Err(Malformed(format!("there is no operation {operation}")));
            }
            world.rule(Rule {
                operation,
                hostility,
                skip: wrong.skip,
                times: wrong.times,
                having: wrong.having,
            });
        }
    }
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    ms: u64,
}

async fn advance(Shared(world): Shared<World>, Json(by): Json<Advance>) -> Json<Value> {
    world.advance(Duration::from_millis(by.ms));
    Json(json!({"now_micros": world.now()}))
}

/// What a setup may have otherwise while it runs; what is not said stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    apply_min_ms: Option<u64>,
    apply_max_ms: Option<u64>,
    outstanding_max: Option<usize>,
    /// Zero is no limit.
    calls_per_second: Option<u32>,
    page_max: Option<usize>,
    seat: Option<String>,
    signatures: Option<String>,
    orphans: Option<String>,
    notices: Option<String>,
    iam_reads_lag_ms: Option<u64>,
    iam_effects_lag_ms: Option<u64>,
    packed_policy_max: Option<usize>,
}

async fn settings(Shared(world): Shared<World>, Json(new): Json<Settings>) -> Answer {
    let unknown = |what: &str, word: &str| Malformed(format!("{what} is not {word}"));
    let seat = match new.seat.as_deref() {
        None => None,
        Some("management") => Some(Seat::Management),
        Some("delegated") => Some(Seat::Delegated),
        Some(other) => return Err(unknown("seat", other)),
    };
    let signatures = match new.signatures.as_deref() {
        None => None,
        Some("full") => Some(Signatures::Full),
        Some("undated") => Some(Signatures::Undated),
        Some("unchecked") => Some(Signatures::Unchecked),
        Some(other) => return Err(unknown("signatures", other)),
    };
    let orphans = match new.orphans.as_deref() {
        None => None,
        Some("cleared") => Some(Orphans::Cleared),
        Some("left") => Some(Orphans::Left),
        Some("stuck") => Some(Orphans::Stuck),
        Some(other) => return Err(unknown("orphans", other)),
    };
    let notices = match new.notices.as_deref() {
        None => None,
        Some("later") => Some(Notices::Later),
        Some("at_once") => Some(Notices::AtOnce),
        Some(other) => return Err(unknown("notices", other)),
    };
    world.configure(|setup| {
        setup.apply_min = (new.apply_min_ms).map_or(setup.apply_min, Duration::from_millis);
        setup.apply_max = (new.apply_max_ms).map_or(setup.apply_max, Duration::from_millis);
        setup.outstanding_max = new.outstanding_max.unwrap_or(setup.outstanding_max);
        setup.page_max = new.page_max.unwrap_or(setup.page_max);
        setup.seat = seat.unwrap_or(setup.seat);
        setup.signatures = signatures.unwrap_or(setup.signatures);
        setup.orphans = orphans.unwrap_or(setup.orphans);
        setup.notices = notices.unwrap_or(setup.notices);
        let lag = |new: Option<u64>, old| new.map_or(old, Duration::from_millis);
        setup.iam_reads_lag = lag(new.iam_reads_lag_ms, setup.iam_reads_lag);
        setup.iam_effects_lag = lag(new.iam_effects_lag_ms, setup.iam_effects_lag);
        setup.packed_policy_max = new.packed_policy_max.unwrap_or(setup.packed_policy_max);
        if let Some(rate) = new.calls_per_second {
            setup.calls_per_second = (rate > 0).then_some(rate);
        }
    });
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    seed: u64,
}

async fn reset(Shared(world): Shared<World>, Json(new): Json<Reset>) -> Json<Value> {
    world.reset(Setup {
        seed: new.seed,
        ..Setup::default()
    });
    Json(json!({}))
}
