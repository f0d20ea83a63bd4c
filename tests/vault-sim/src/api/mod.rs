//! What a call is answered: who may call, which part of Vault it is for, and wrapping. What each part
//! does is in its own file.

mod approle;
mod kv;
mod system;
mod tokens;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::clock::iso;
use crate::ledger::End;
use crate::policy::Capability;
use crate::setup::{DeadTokens, Health};
use crate::state::{State, Wrapped};
use crate::token::Token;

pub(crate) use kv::delete_latest;

/// What is done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Read,
    List,
    Write,
    Delete,
}

/// A call as it came.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
    pub(crate) token: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) marked: bool,
    pub(crate) wrap_ttl: Option<u64>,
}

impl Request {
    fn field(&self, name: &str) -> &Value {
        self.body.get(name).unwrap_or(&Value::Null)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.field(name).as_str().filter(|it| !it.is_empty())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|it| it.split_once('='));
        pairs.into_iter().find(|it| it.0 == name).map(|it| it.1)
    }

    /// What it was sent with, but for what opens doors.
    pub(crate) fn harmless_body(&self) -> Value {
        let Value::Object(body) = &self.body else {
            return Value::Null;
        };
        let is_secret = |name: &str| matches!(name, "secret_id" | "token" | "data");
        let kept = body.iter().filter(|(name, _)| !is_secret(name));
        Value::Object(kept.map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

/// What it is answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
    pub(crate) retry_after: Option<u64>,
}

impl Reply {
    fn of(status: u16, body: Value) -> Self {
        Self {
            status,
            body: Some(body),
            retry_after: None,
        }
    }

    pub(crate) fn error(status: u16, sentence: &str) -> Self {
        Self::of(status, json!({"errors": [sentence]}))
    }

    /// An error that came through Vault's list of errors.
    fn listed(status: u16, sentences: &[&str]) -> Self {
        let count = match sentences.len() {
            1 => "1 error occurred:".to_owned(),
            more => format!("{more} errors occurred:"),
        };
        let lines: String = sentences.iter().map(|it| format!("\n\t* {it}")).collect();
        Self::error(status, &format!("{count}{lines}\n\n"))
    }

    pub(crate) fn denied() -> Self {
        Self::listed(403, &["permission denied"])
    }

    pub(crate) fn invalid_token() -> Self {
        Self::listed(403, &["permission denied", "invalid token"])
    }

    fn missing() -> Self {
        Self::of(404, json!({"errors": []}))
    }

    fn nothing() -> Self {
        Self {
            status: 204,
            body: None,
            retry_after: None,
        }
    }
}

/// A good answer, before it has its envelope.
#[derive(Debug, Default)]
struct Good {
    data: Option<Value>,
    auth: Option<Value>,
    warnings: Vec<String>,
}

impl Good {
    fn data(data: Value) -> Self {
        Self {
            data: Some(data),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.data.is_none() && self.auth.is_none() && self.warnings.is_empty()
    }
}

type Answer = Result<Good, Reply>;

/// Seconds as Vault takes them: a number, or a text such as `90`, `90s`, `15m`, `1h`.
pub(crate) fn seconds(value: &Value) -> Option<u64> {
    let text = match value {
        Value::Number(number) => return number.as_u64(),
        Value::String(text) => text.as_str(),
        _ => return None,
    };
    if let Ok(plain) = text.parse() {
        return Some(plain);
    }
    let mut total: u64 = 0;
    let mut number: u64 = 0;
    for letter in text.chars() {
        let unit = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            digit => {
                number = number.checked_mul(10)? + u64::from(digit.to_digit(10)?);
                continue;
            }
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        number = 0;
    }
    (number == 0).then_some(total)
}

/// Answers a call, and does what it says.
pub(crate) fn answer(state: &mut State, request: &Request) -> Reply {
    if let Some(reply) = system::open_to_all(state, request) {
        return reply;
    }
    if matches!(state.health, Health::Sealed | Health::Uninitialised) {
        return Reply::error(503, "Vault is sealed");
    }
    if let Some(answer) = approle::login(state, request) {
        return enveloped(state, request, answer);
    }
    if request.path == "sys/wrapping/unwrap" && request.text("token").is_none() {
        return system::unwrap(state, request.token.as_deref());
    }
    let token = match caller(state, request) {
        Ok(token) => token,
        Err(reply) => return reply,
    };
    let reply = match permitted(state, request, &token) {
        // What was wrapped comes out as it went in, without an envelope of its own.
        true if request.path == "sys/wrapping/unwrap" => {
            system::unwrap(state, request.text("token"))
        }
        true => {
            let answer = dispatched(state, request, &token);
            enveloped(state, request, answer)
        }
        false => Reply::denied(),
    };
    state.used(&token.id);
    reply
}

/// The token of a call.
fn caller(state: &State, request: &Request) -> Result<Token, Reply> {
    let Some(token) = &request.token else {
        return Err(Reply::denied());
    };
    let known = state.tokens.get(token).cloned();
    known.ok_or_else(|| match state.setup.dead_tokens {
        DeadTokens::Named => Reply::invalid_token(),
        DeadTokens::Denied => Reply::denied(),
    })
}

/// Paths that want `sudo` beside what is done there.
const FOR_ROOT: [&str; 3] = [
    "auth/token/accessors",
    "auth/token/revoke-orphan",
    "sys/seal",
];

fn permitted(state: &State, request: &Request, token: &Token) -> bool {
    let may = state.may(token, &request.path);
    let exists = state.secrets.contains_key(&request.path);
    let needed = match request.verb {
        Verb::Read => Capability::Read,
        Verb::List => Capability::List,
        Verb::Delete => Capability::Delete,
        Verb::Write if request.path.contains("/data/") && !exists => Capability::Create,
        Verb::Write => Capability::Update,
    };
    let for_root = FOR_ROOT.iter().any(|it| request.path.starts_with(it));
    may.contains(&needed) && (!for_root || may.contains(&Capability::Sudo))
}

fn dispatched(state: &mut State, request: &Request, token: &Token) -> Answer {
    if let Some(path) = request.path.strip_prefix("auth/token/") {
        return tokens::answer(state, request, token, path);
    }
    if let Some(path) = request.path.strip_prefix("sys/") {
        return system::answer(state, request, path);
    }
    if let Some(path) = request.path.strip_prefix("auth/") {
        return approle::managed(state, request, path);
    }
    kv::answer(state, request)
}

/// Puts an answer into its envelope, and into a wrapping where one is wanted.
fn enveloped(state: &mut State, request: &Request, answer: Answer) -> Reply {
    let good = match answer {
        Ok(good) if good.is_empty() => return Reply::nothing(),
        Ok(good) => good,
        Err(reply) => return reply,
    };
    let mut body = envelope(state);
    let warnings = match good.warnings.is_empty() {
        true => Value::Null,
        false => json!(good.warnings),
    };
    let accessor = good.auth.as_ref().and_then(|it| it.get("accessor"));
    let accessor = accessor.and_then(Value::as_str).map(str::to_owned);
    body.insert("data".to_owned(), good.data.unwrap_or_default());
    body.insert("auth".to_owned(), good.auth.unwrap_or_default());
    body.insert("warnings".to_owned(), warnings);
    match request.wrap_ttl.filter(|it| *it > 0) {
        Some(ttl) => wrapped(state, request, Value::Object(body), accessor, ttl),
        None => Reply::of(200, Value::Object(body)),
    }
}

fn envelope(state: &mut State) -> Map<String, Value> {
    let whole = json!({
        "request_id": state.draw_uuid(),
        "lease_id": "",
        "renewable": false,
        "lease_duration": 0,
        "data": null,
        "wrap_info": null,
        "warnings": null,
        "auth": null,
    });
    match whole {
        Value::Object(whole) => whole,
        _ => Map::new(),
    }
}

fn wrapped(
    state: &mut State,
    request: &Request,
    response: Value,
    accessor: Option<String>,
    ttl_secs: u64,
) -> Reply {
    let token = format!("hvs.{}", state.draw());
    let created_micros = state.now();
    let mut body = envelope(state);
    let mut info = json!({
        "token": token,
        "accessor": state.draw(),
        "ttl": ttl_secs,
        "creation_time": iso(created_micros),
        "creation_path": request.path,
    });
    if let (Some(accessor), Value::Object(info)) = (accessor, &mut info) {
        info.insert("wrapped_accessor".to_owned(), accessor.into());
    }
    body.insert("wrap_info".to_owned(), info);
    let wrapped = Wrapped {
        response,
        creation_path: request.path.clone(),
        created_micros,
        ttl_secs,
    };
    state.wrapped.insert(token, wrapped);
    Reply::of(200, Value::Object(body))
}

/// A token in an answer to whoever made or renewed it.
fn auth_of(token: &Token, lease_secs: u64) -> Value {
    json!({
        "client_token": token.id,
        "accessor": token.accessor,
        "policies": token.policies,
        "token_policies": token.policies,
        "metadata": metadata(&token.meta),
        "lease_duration": lease_secs,
        "renewable": token.renewable,
        "entity_id": "",
        "token_type": if token.batch { "batch" } else { "service" },
        "orphan": token.parent.is_none(),
        "mfa_requirement": null,
        "num_uses": token.num_uses,
    })
}

fn metadata(meta: &BTreeMap<String, String>) -> Value {
    match meta.is_empty() {
        true => Value::Null,
        false => json!(meta),
    }
}

/// Revokes a token because a call says so.
fn revoked(state: &mut State, id: &str) {
    let now = state.now();
    state.dies(id, End::Revoked, now);
}
