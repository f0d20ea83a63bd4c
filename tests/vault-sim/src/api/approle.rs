//! AppRole: logging in, and the ids that it takes.
//! <https://developer.hashicorp.com/vault/api-docs/auth/approle>

use serde_json::{Value, json};

use super::{Answer, Good, Reply, Request, Verb, auth_of};
use crate::setup::AppRole;
use crate::state::{SecretId, State};
use crate::token::NewToken;

/// A login, if it is one.
pub(super) fn login(state: &mut State, request: &Request) -> Option<Answer> {
    let mount = request
        .path
        .strip_prefix("auth/")?
        .strip_suffix("/login")
        .filter(|_| request.verb == Verb::Write)?;
    let is_mounted = state.app_roles.iter().any(|it| it.mount == mount);
    if !is_mounted {
        return Some(Err(Reply::denied()));
    }
    Some(logged_in(state, request, mount))
}

fn logged_in(state: &mut State, request: &Request, mount: &str) -> Answer {
    let wrong = || Reply::error(400, "invalid role or secret ID");
    let Some(role_id) = request.text("role_id") else {
        return Err(Reply::error(400, "missing role_id"));
    };
    let role = (state.app_roles.iter())
        .find(|it| it.mount == mount && it.role_id == role_id)
        .cloned()
        .ok_or_else(wrong)?;
    let Some(secret_id) = request.text("secret_id") else {
        return Err(Reply::error(400, "missing secret_id"));
    };
    let secret = (state.secret_ids.get_mut(secret_id))
        .filter(|it| it.role == role.name)
        .ok_or_else(wrong)?;
    if let Some(left) = &mut secret.uses_left {
        *left = left.saturating_sub(1);
        if *left == 0 {
            state.secret_ids.remove(secret_id);
        }
    }
    let token = state.make(token_of(&role, state.setup.max_ttl_secs));
    let mut auth = auth_of(&token, token.ttl_secs);
    if let Value::Object(auth) = &mut auth {
        auth.insert("metadata".to_owned(), json!({"role_name": role.name}));
    }
    Ok(Good {
        auth: Some(auth),
        ..Good::default()
    })
}

fn token_of(role: &AppRole, system_max: u64) -> NewToken {
    let mut policies = role.policies.clone();
    policies.push("default".to_owned());
    policies.sort();
    policies.dedup();
    let max = match role.token_max_ttl_secs {
        0 => system_max,
        own => own.min(system_max),
    };
    NewToken {
        policies,
        meta: [("role_name".to_owned(), role.name.clone())].into(),
        display_name: role.mount.clone(),
        num_uses: role.token_num_uses,
        path: format!("auth/{}/login", role.mount),
        ttl_secs: role.token_ttl_secs.min(max),
        max_ttl_secs: max,
        ..NewToken::with(&[])
    }
}

/// What an administrator does: `{mount}/role/{name}/role-id` and `…/secret-id`.
pub(super) fn managed(state: &mut State, request: &Request, path: &str) -> Answer {
    let parts: Vec<&str> = path.split('/').collect();
    let [mount, "role", name, what] = parts.as_slice() else {
        return Err(Reply::missing());
    };
    let role = (state.app_roles.iter())
        .find(|it| it.mount == *mount && it.name == *name)
        .cloned()
        .ok_or_else(Reply::missing)?;
    match (*what, request.verb) {
        ("role-id", Verb::Read) => Ok(Good::data(json!({"role_id": role.role_id}))),
        ("secret-id", Verb::Write) => {
            let uses = request.field("num_uses").as_u64().unwrap_or(0);
            let uses = u32::try_from(uses).ok().filter(|it| *it > 0);
            let id = state.draw_uuid();
            let accessor = state.draw_uuid();
            let role = role.name;
            let uses_left = uses;
            state
                .secret_ids
                .insert(id.clone(), SecretId { role, uses_left });
            Ok(Good::data(json!({
                "secret_id": id,
                "secret_id_accessor": accessor,
                "secret_id_num_uses": uses.unwrap_or(0),
                "secret_id_ttl": 0,
            })))
        }
        _ => Err(Reply::error(405, "unsupported operation")),
    }
}
