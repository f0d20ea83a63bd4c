//! KV version 2: secrets with versions.
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>

use serde_json::{Map, Value, json};

use super::{Answer, Good, Reply, Request, Verb};
use crate::clock::iso;
use crate::state::{State, Version};

pub(super) fn answer(state: &mut State, request: &Request) -> Answer {
    let Some((mount, rest)) = request.path.split_once('/') else {
        return Err(unrouted(request));
    };
    if !state.kv_mounts.contains(mount) {
        return Err(unrouted(request));
    }
    match (rest.split_once('/'), request.verb) {
        (Some(("data", _)), Verb::Read) => read(state, request),
        (Some(("data", _)), Verb::Write) => write(state, request),
        (Some(("data", _)), Verb::Delete) => {
            delete_latest(state, &request.path);
            Ok(Good::default())
        }
        (Some(("metadata", path)), Verb::List) => list(state, mount, path),
        _ => Err(Reply::missing()),
    }
}

/// A path that no mount answers for.
fn unrouted(request: &Request) -> Reply {
    let path = &request.path;
    Reply::error(
        404,
        &format!("no handler for route \"{path}\". route entry not found."),
    )
}

fn metadata(number: usize, version: &Version) -> Value {
    json!({
        "created_time": iso(version.created_micros),
        "custom_metadata": null,
        "deletion_time": version.deleted_micros.map(iso).unwrap_or_default(),
        "destroyed": false,
        "version": number,
    })
}

/// A deleted version is answered with 404, and yet with its metadata.
fn read(state: &State, request: &Request) -> Answer {
    let versions = state.secrets.get(&request.path);
    let versions = versions.ok_or_else(Reply::missing)?;
    let asked = request.parameter("version").and_then(|it| it.parse().ok());
    let number = asked.filter(|it| *it > 0).unwrap_or(versions.len());
    let version = versions.get(number - 1).ok_or_else(Reply::missing)?;
    let metadata = metadata(number, version);
    match &version.data {
        Some(data) => Ok(Good::data(json!({"data": data, "metadata": metadata}))),
        None => Err(Reply::of(
            404,
            json!({
                "request_id": "",
                "lease_id": "",
                "renewable": false,
                "lease_duration": 0,
                "data": {"data": null, "metadata": metadata},
                "wrap_info": null,
                "warnings": null,
                "auth": null,
            }),
        )),
    }
}

fn write(state: &mut State, request: &Request) -> Answer {
    let Value::Object(data) = request.field("data") else {
        return Err(Reply::error(400, "no data provided"));
    };
    let now = state.now();
    let versions = state.secrets.entry(request.path.clone()).or_default();
    let cas = request.field("options").get("cas").and_then(Value::as_u64);
    if cas.is_some_and(|it| usize::try_from(it) != Ok(versions.len())) {
        let sentence = "check-and-set parameter did not match the current version";
        return Err(Reply::error(400, sentence));
    }
    versions.push(Version {
        data: Some(data.clone()),
        created_micros: now,
        deleted_micros: None,
    });
    let number = versions.len();
    let written = versions.last().map(|it| metadata(number, it));
    Ok(Good::data(written.unwrap_or_default()))
}

/// Deletes the latest version of what is at `mount/data/path`.
pub(crate) fn delete_latest(state: &mut State, path: &str) {
    let now = state.now();
    let latest = state.secrets.get_mut(path).and_then(|it| it.last_mut());
    if let Some(version) = latest {
        version.data = None;
        version.deleted_micros = Some(now);
    }
}

fn list(state: &State, mount: &str, folder: &str) -> Answer {
    let folder = folder.trim_end_matches('/');
    let beginning = match folder {
        "" => format!("{mount}/data/"),
        folder => format!("{mount}/data/{folder}/"),
    };
    let below = state
        .secrets
        .keys()
        .filter_map(|it| it.strip_prefix(&beginning));
    let mut keys: Map<String, Value> = Map::new();
    for path in below {
        let name = match path.split_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => path.to_owned(),
        };
        keys.insert(name, Value::Null);
    }
    match keys.is_empty() {
        true => Err(Reply::missing()),
        false => {
            let keys: Vec<&String> = keys.keys().collect();
            Ok(Good::data(json!({ "keys": keys })))
        }
    }
}
