//! The server itself: its health, its seal, and wrappings.
//! <https://developer.hashicorp.com/vault/api-docs/system/health>

use serde_json::{Value, json};

use super::{Answer, Good, Reply, Request};
use crate::clock::{iso, seconds_between};
use crate::setup::Health;
use crate::state::State;

/// What is answered without a token, sealed or not.
pub(super) fn open_to_all(state: &mut State, request: &Request) -> Option<Reply> {
    match request.path.as_str() {
        "sys/health" => Some(health(state, request)),
        "sys/seal-status" => Some(Reply::of(200, seal_status(state.health))),
        "sys/init" => {
            let is_initialised = state.health != Health::Uninitialised;
            Some(Reply::of(200, json!({ "initialized": is_initialised })))
        }
        _ => None,
    }
}

fn health(state: &State, request: &Request) -> Reply {
    let asked = |name: &str| request.parameter(name).and_then(|it| it.parse().ok());
    let standby_is_ok = request.parameter("standbyok") == Some("true");
    let status = match state.health {
        Health::Active => asked("activecode").unwrap_or(200),
        Health::Standby if standby_is_ok => 200,
        Health::Standby => asked("standbycode").unwrap_or(429),
        Health::RecoverySecondary => asked("drsecondarycode").unwrap_or(472),
        Health::PerformanceStandby if request.parameter("perfstandbyok") == Some("true") => 200,
        Health::PerformanceStandby => asked("performancestandbycode").unwrap_or(473),
        Health::Uninitialised => asked("uninitcode").unwrap_or(501),
        Health::Sealed => asked("sealedcode").unwrap_or(503),
    };
    let is_standby = matches!(state.health, Health::Standby | Health::PerformanceStandby);
    let mut body = json!({
        "initialized": state.health != Health::Uninitialised,
        "sealed": matches!(state.health, Health::Sealed | Health::Uninitialised),
        "standby": is_standby,
        "performance_standby": state.health == Health::PerformanceStandby,
        "replication_performance_mode": "disabled",
        "replication_dr_mode": "disabled",
        "server_time_utc": state.now() / 1_000_000,
        "version": "1.21.0",
    });
    // Which cluster it is stands behind its seal.
    let is_open = !matches!(state.health, Health::Sealed | Health::Uninitialised);
    let cluster = state.cluster.as_ref().filter(|_| is_open);
    if let (Some(id), Some(fields)) = (cluster, body.as_object_mut()) {
        fields.insert("cluster_name".to_owned(), "vault-sim".into());
        fields.insert("cluster_id".to_owned(), id.as_str().into());
    }
    Reply::of(status, body)
}

fn seal_status(health: Health) -> Value {
    json!({
        "type": "shamir",
        "initialized": health != Health::Uninitialised,
        "sealed": matches!(health, Health::Sealed | Health::Uninitialised),
        "t": 1,
        "n": 1,
        "progress": 0,
        "nonce": "",
        "version": "1.21.0",
        "storage_type": "inmem",
    })
}

fn not_valid() -> Reply {
    Reply::error(400, "wrapping token is not valid or does not exist")
}

/// Takes what is in a wrapping out of it, once.
pub(super) fn unwrap(state: &mut State, token: Option<&str>) -> Reply {
    let wrapped = token.and_then(|it| state.wrapped.remove(it));
    match wrapped {
        Some(wrapped) => Reply::of(200, wrapped.response),
        None => not_valid(),
    }
}

pub(super) fn answer(state: &mut State, request: &Request, path: &str) -> Answer {
    match path {
        "wrapping/lookup" => {
            let token = request.text("token").ok_or_else(not_valid)?;
            let wrapped = state.wrapped.get(token).ok_or_else(not_valid)?;
            Ok(Good::data(json!({
                "creation_path": wrapped.creation_path,
                "creation_time": iso(wrapped.created_micros),
                "creation_ttl": wrapped.ttl_secs,
            })))
        }
        "wrapping/wrap" => Ok(Good::data(request.body.clone())),
        "seal" => {
            state.health = Health::Sealed;
            Ok(Good::default())
        }
        "leases/count" => {
            let lasting = state.tokens.values().filter_map(|it| it.ends_micros);
            let now = state.now();
            let count = lasting.filter(|it| seconds_between(now, *it) > 0).count();
            Ok(Good::data(json!({ "lease_count": count })))
        }
        _ => Err(Reply::error(404, "unsupported path")),
    }
}
