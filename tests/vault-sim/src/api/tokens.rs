//! Tokens: making them, looking at them, renewing and revoking them.
//! <https://developer.hashicorp.com/vault/api-docs/auth/token>

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Good, Reply, Request, Verb, auth_of, metadata, revoked, seconds};
use crate::clock::{after, iso, seconds_between};
use crate::policy::Capability;
use crate::setup::{TokenRole, Unknown};
use crate::state::State;
use crate::token::{NewToken, Token};

pub(super) fn answer(state: &mut State, request: &Request, own: &Token, path: &str) -> Answer {
    match (path, request.verb) {
        ("create", Verb::Write) => create(state, request, own, None),
        ("create-orphan", Verb::Write) => create(state, request, own, None),
        ("lookup-self", Verb::Read | Verb::Write) => Ok(looked_up(state, own, &own.id)),
        ("lookup", Verb::Write) => {
            let token = given(state, request)?;
            Ok(looked_up(state, &token, &token.id))
        }
        ("lookup-accessor", Verb::Write) => {
            let token = by_accessor(state, request)?;
            Ok(looked_up(state, &token, ""))
        }
        ("renew-self", Verb::Write) => renew(state, request, own),
        ("renew", Verb::Write) => {
            let token = given(state, request)?;
            renew(state, request, &token)
        }
        ("renew-accessor", Verb::Write) => {
            let token = by_accessor(state, request)?;
            let mut renewed = renew(state, request, &token)?;
            if let Some(Value::Object(auth)) = &mut renewed.auth {
                auth.insert("client_token".to_owned(), "".into());
            }
            Ok(renewed)
        }
        ("revoke-self", Verb::Write) => revoke(state, own),
        ("revoke", Verb::Write) => match given(state, request) {
            Ok(token) => revoke(state, &token),
            Err(_) => Ok(Good::default()),
        },
        ("revoke-accessor", Verb::Write) => revoke_accessor(state, request),
        ("accessors" | "accessors/", Verb::List) => {
            let all = state.tokens.values().map(|it| it.accessor.clone());
            let keys: Vec<String> = all.collect();
            Ok(Good::data(json!({ "keys": keys })))
        }
        (other, Verb::Write) => match other.strip_prefix("create/") {
            Some(role) => through_role(state, request, own, role),
            None => Err(Reply::error(404, "unsupported path")),
        },
        _ => Err(Reply::error(405, "unsupported operation")),
    }
}

fn given(state: &State, request: &Request) -> Result<Token, Reply> {
    let id = request.text("token");
    let id = id.ok_or_else(|| Reply::error(400, "missing token ID"))?;
    let known = state.tokens.get(id).cloned();
    known.ok_or_else(|| Reply::error(403, "bad token"))
}

fn by_accessor(state: &State, request: &Request) -> Result<Token, Reply> {
    let accessor = request.text("accessor");
    let missing = || Reply::listed(400, &["missing accessor"]);
    let known = state.by_accessor(accessor.ok_or_else(missing)?).cloned();
    let status = state.setup.unknown_accessor_status;
    known.ok_or_else(|| Reply::listed(status, &["invalid accessor"]))
}

fn revoke(state: &mut State, token: &Token) -> Answer {
    if token.batch {
        return Err(Reply::error(400, "batch tokens cannot be revoked"));
    }
    revoked(state, &token.id);
    Ok(Good::default())
}

fn revoke_accessor(state: &mut State, request: &Request) -> Answer {
    match (
        by_accessor(state, request),
        state.setup.revoking_the_unknown,
    ) {
        (Ok(token), _) => revoke(state, &token),
        (Err(reply), Unknown::Succeeds) if request.text("accessor").is_none() => Err(reply),
        (Err(_), Unknown::Succeeds) => Ok(Good {
            warnings: vec!["No token found with this accessor".to_owned()],
            ..Good::default()
        }),
        (Err(reply), Unknown::Fails) => Err(reply),
    }
}

/// What a token is. Who its parent is stays hidden.
fn looked_up(state: &State, token: &Token, id: &str) -> Good {
    let ttl = token.ends_micros.map(|it| seconds_between(state.now(), it));
    let mut data = json!({
        "id": id,
        "accessor": token.accessor,
        "policies": token.policies,
        "path": token.path,
        "meta": metadata(&token.meta),
        "display_name": token.display_name,
        "num_uses": token.num_uses,
        "orphan": token.parent.is_none(),
        "creation_time": token.created_micros / 1_000_000,
        "creation_ttl": token.ttl_secs,
        "expire_time": token.ends_micros.map(iso),
        "issue_time": iso(token.created_micros),
        "ttl": ttl.unwrap_or(0),
        "explicit_max_ttl": token.explicit_max_ttl_secs,
        "entity_id": "",
        "renewable": token.renewable,
        "type": if token.batch { "batch" } else { "service" },
    });
    if let (Some(role), Value::Object(data)) = (&token.role, &mut data) {
        data.insert("role".to_owned(), role.clone().into());
    }
    Good::data(data)
}

fn renew(state: &mut State, request: &Request, token: &Token) -> Answer {
    let Some(ends) = token.ends_micros.filter(|_| token.renewable) else {
        return Err(Reply::error(400, "lease is not renewable"));
    };
    let now = state.now();
    let wanted = seconds(request.field("increment")).filter(|it| *it > 0);
    let wanted = wanted.unwrap_or(token.ttl_secs);
    let mut latest = after(token.created_micros, token.max_ttl_secs);
    if token.explicit_max_ttl_secs > 0 {
        latest = latest.min(after(token.created_micros, token.explicit_max_ttl_secs));
    }
    let until = after(now, wanted).min(latest);
    let mut warnings = Vec::new();
    if until < after(now, wanted) {
        warnings.push("TTL value is capped accordingly".to_owned());
    }
    if let Some(known) = state.tokens.get_mut(&token.id) {
        known.ends_micros = Some(if until > now { until } else { ends });
    }
    Ok(Good {
        auth: Some(auth_of(token, seconds_between(now, until))),
        warnings,
        data: None,
    })
}

fn through_role(state: &mut State, request: &Request, own: &Token, name: &str) -> Answer {
    let role = state.token_roles.get(name).cloned();
    let unknown = || Reply::error(400, &format!("unknown role {name}"));
    create(state, request, own, Some(&role.ok_or_else(unknown)?))
}

fn create(state: &mut State, request: &Request, own: &Token, role: Option<&TokenRole>) -> Answer {
    if own.num_uses > 0 {
        let sentence = "restricted use token cannot generate child tokens";
        return Err(Reply::error(400, sentence));
    }
    let is_sudo = state.may(own, &request.path).contains(&Capability::Sudo);
    let asked = names(request.field("policies"))?;
    let wants_default = request.field("no_default_policy").as_bool() != Some(true);
    let policies = policies(own, role, asked, is_sudo)?;
    let policies = with_default(policies, own, role, wants_default, is_sudo);
    let orphan = is_orphan(request, role, is_sudo)?;
    let kind = role.and_then(|it| it.token_type.as_deref());
    let kind = kind
        .or(request.text("type"))
        .unwrap_or("service")
        .to_owned();
    let mut warnings = Vec::new();
    for policy in policies.iter().filter(|it| *it != "root") {
        if !state.policies.contains_key(policy) {
            warnings.push(format!("Policy \"{policy}\" does not exist"));
        }
    }
    if kind == "batch" && seconds(request.field("explicit_max_ttl")).unwrap_or(0) > 0 {
        let sentence = "batch tokens cannot have \"explicit_max_ttl\" set";
        return Err(Reply::error(400, sentence));
    }
    let explicit = lesser(
        seconds(request.field("explicit_max_ttl")).unwrap_or(0),
        role.map_or(0, |it| it.explicit_max_ttl_secs),
    );
    let system = state.setup.max_ttl_secs;
    let limit = lesser(explicit, system);
    let ttl = match seconds(request.field("ttl")).unwrap_or(0) {
        0 => limit,
        more if more > limit => {
            warnings.push("TTL value is capped accordingly".to_owned());
            limit
        }
        ttl => ttl,
    };
    let renewable = request.field("renewable").as_bool() != Some(false);
    let name = request.text("display_name");
    let uses = request.field("num_uses").as_u64().unwrap_or(0);
    let token = state.make(NewToken {
        policies,
        meta: meta(request.field("meta"))?,
        display_name: name.map_or("token".to_owned(), display_name),
        num_uses: u32::try_from(uses).unwrap_or(u32::MAX),
        parent: (!orphan).then(|| own.id.clone()),
        path: request.path.clone(),
        role: role.map(|it| it.name.clone()),
        renewable: renewable && role.is_none_or(|it| it.renewable) && kind != "batch",
        batch: kind == "batch",
        ttl_secs: ttl,
        explicit_max_ttl_secs: explicit,
        max_ttl_secs: system,
    });
    Ok(Good {
        auth: Some(auth_of(&token, token.ttl_secs)),
        warnings,
        data: None,
    })
}

/// The smaller of two limits of which 0 is none.
fn lesser(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, only) | (only, 0) => only,
        (one, other) => one.min(other),
    }
}

fn names(value: &Value) -> Result<Vec<String>, Reply> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(one) => Ok(vec![one.to_lowercase()]),
        Value::Array(all) => {
            let all = all.iter().map(|it| it.as_str().map(str::to_lowercase));
            let all: Option<Vec<String>> = all.collect();
            all.ok_or_else(|| Reply::error(400, "error decoding request"))
        }
        _ => Err(Reply::error(400, "error decoding request")),
    }
}

fn meta(value: &Value) -> Result<BTreeMap<String, String>, Reply> {
    let Value::Object(all) = value else {
        return Ok(BTreeMap::new());
    };
    let pairs = all
        .iter()
        .map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
    let pairs: Option<BTreeMap<_, _>> = pairs.collect();
    pairs.ok_or_else(|| Reply::error(400, "error decoding request"))
}

/// Only letters, digits and hyphens stay in a name.
fn display_name(name: &str) -> String {
    let plain = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter,
        false => '-',
    };
    let whole: String = format!("token-{name}").chars().map(plain).collect();
    whole.trim_end_matches('-').to_owned()
}

/// Which policies may be given: through a role what it allows, without one what the caller has, and
/// with `sudo` any but root.
fn policies(
    own: &Token,
    role: Option<&TokenRole>,
    asked: Vec<String>,
    is_sudo: bool,
) -> Result<Vec<String>, Reply> {
    let is_root = own.policies.iter().any(|it| it == "root");
    let given = match (role, asked.is_empty()) {
        (Some(role), true) if !role.allowed_policies.is_empty() => role.allowed_policies.clone(),
        (_, true) => own.policies.clone(),
        (_, false) => asked,
    };
    let (limit, sentence) = match role.filter(|it| !it.allowed_policies.is_empty()) {
        Some(role) => (
            Some(&role.allowed_policies),
            "token policies must be subset of the role's allowed policies",
        ),
        None if is_sudo => (None, ""),
        None => (
            Some(&own.policies),
            "child policies must be subset of parent",
        ),
    };
    let is_over = |limit: &Vec<String>| given.iter().any(|it| !limit.contains(it));
    if limit.is_some_and(is_over) {
        return Err(Reply::error(400, sentence));
    }
    if given.iter().any(|it| it == "root") && !is_root {
        let sentence = "root tokens may not be created without parent token being root";
        return Err(Reply::error(400, sentence));
    }
    Ok(given)
}

fn with_default(
    mut policies: Vec<String>,
    own: &Token,
    role: Option<&TokenRole>,
    wants_default: bool,
    is_sudo: bool,
) -> Vec<String> {
    let is_root = policies.iter().any(|it| it == "root");
    let has_it = own.policies.iter().any(|it| it == "default");
    if !wants_default {
        policies.retain(|it| it != "default");
    } else if !is_root && (role.is_some() || is_sudo || has_it) {
        policies.push("default".to_owned());
    }
    policies.sort();
    policies.dedup();
    policies
}

fn is_orphan(request: &Request, role: Option<&TokenRole>, is_sudo: bool) -> Result<bool, Reply> {
    match (role, request.field("no_parent").as_bool() == Some(true)) {
        (Some(role), _) => Ok(role.orphan),
        (None, true) if !is_sudo => {
            let sentence = "root or sudo privileges required to create orphan token";
            Err(Reply::error(400, sentence))
        }
        (None, no_parent) => Ok(no_parent || request.path == "auth/token/create-orphan"),
    }
}
