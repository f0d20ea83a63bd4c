//! The simulated Vault as tests hold it: what is in it, what was true when, what goes wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::fault::Rule;
use crate::ledger::{End, Entry, What};
use crate::policy::Capability;
use crate::setup::{AppRole, Health, Setup, TokenRole};
use crate::state::{Call, SecretId, State, Version, Wrapped};
use crate::token::{NewToken, Token};

/// The simulated Vault. Its clones are the same one. No method waits for anything but a lock; every
/// method first makes true what is due.
#[derive(Debug, Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    /// Counts how often it became calm, for calls that hang until it does.
    calmed: watch::Sender<u64>,
    /// Counts how often held answers were let go.
    released: watch::Sender<u64>,
    /// Counts the answers that are or were held.
    held: watch::Sender<u64>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(setup))),
            calmed: watch::Sender::new(0),
            released: watch::Sender::new(0),
            held: watch::Sender::new(0),
        }
    }

    /// Looks at the state, or changes it, as of now.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        // A test that panicked while it held the lock has failed already.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle();
        look(&mut state)
    }

    pub(crate) fn calmed(&self) -> watch::Receiver<u64> {
        self.calmed.subscribe()
    }

    pub(crate) fn released(&self) -> watch::Receiver<u64> {
        self.released.subscribe()
    }

    pub(crate) fn hold(&self) {
        self.held.send_modify(|count| *count += 1);
    }

    // --- what there is

    /// Writes a policy: paths, each with what may be done there.
    pub fn put_policy(&self, name: &str, rules: &[(&str, &[Capability])]) {
        let rules = rules.iter();
        let rules = rules.map(|(path, may)| ((*path).to_owned(), may.iter().copied().collect()));
        let rules = rules.collect();
        self.with(|state| state.policies.insert(name.to_owned(), rules));
    }

    /// Writes a token role.
    pub fn put_token_role(&self, role: TokenRole) {
        self.with(|state| state.token_roles.insert(role.name.clone(), role));
    }

    /// Writes an application that may log in.
    pub fn put_app_role(&self, role: AppRole) {
        self.with(|state| {
            state.app_roles.retain(|it| it.name != role.name);
            state.app_roles.push(role);
        });
    }

    /// A new secret id of an application, good so often, or for ever.
    pub fn secret_id(&self, role: &str, uses: Option<u32>) -> String {
        self.with(|state| {
            let id = state.draw_uuid();
            let role = role.to_owned();
            let uses_left = uses;
            state
                .secret_ids
                .insert(id.clone(), SecretId { role, uses_left });
            id
        })
    }

    /// A new secret id in a wrapping: the wrapping token.
    pub fn wrapped_secret_id(&self, role: &str, ttl_secs: u64) -> String {
        let secret_id = self.secret_id(role, None);
        self.with(|state| {
            let token = format!("hvs.{}", state.draw());
            let response = json!({"data": {"secret_id": secret_id, "secret_id_ttl": 0}});
            let wrapped = Wrapped {
                response,
                creation_path: format!("auth/approle/role/{role}/secret-id"),
                created_micros: state.now(),
                ttl_secs,
            };
            state.wrapped.insert(token.clone(), wrapped);
            token
        })
    }

    /// Forgets every secret id of an application.
    pub fn forget_secret_ids(&self, role: &str) {
        self.with(|state| state.secret_ids.retain(|_, it| it.role != role));
    }

    /// Makes a mount of KV version 2.
    pub fn mount_kv(&self, mount: &str) {
        self.with(|state| state.kv_mounts.insert(mount.to_owned()));
    }

    /// Writes a version of a secret, at `mount/data/path`.
    pub fn put_secret(&self, path: &str, data: Value) {
        let data = match data {
            Value::Object(data) => data,
            _ => Map::new(),
        };
        self.with(|state| {
            if let Some((mount, _)) = path.split_once("/data/") {
                state.kv_mounts.insert(mount.to_owned());
            }
            let version = Version {
                data: Some(data),
                created_micros: state.now(),
                deleted_micros: None,
            };
            let versions = state.secrets.entry(path.to_owned()).or_default();
            versions.push(version);
        });
    }

    /// Deletes the latest version of a secret.
    pub fn delete_secret(&self, path: &str) {
        self.with(|state| crate::api::delete_latest(state, path));
    }

    /// Makes a token by hand.
    pub fn add_token(&self, new: NewToken) -> Token {
        self.with(|state| state.make(new))
    }

    /// Revokes a token and its children by hand.
    pub fn revoke(&self, accessor: &str) {
        self.with(|state| {
            let id = state.by_accessor(accessor).map(|it| it.id.clone());
            let now = state.now();
            if let Some(id) = id {
                state.dies(&id, End::Revoked, now);
            }
        });
    }

    // --- what is true

    /// The tokens that are good now, but for the first one.
    pub fn tokens(&self) -> Vec<Token> {
        self.with(|state| {
            let root = state.setup.root_token.clone();
            let all = state.tokens.values().filter(|it| it.id != root);
            all.cloned().collect()
        })
    }

    /// The token of this accessor, while it is good.
    pub fn token(&self, accessor: &str) -> Option<Token> {
        self.with(|state| state.by_accessor(accessor).cloned())
    }

    /// Whether this secret is a token that is good now.
    pub fn is_alive(&self, id: &str) -> bool {
        self.with(|state| state.tokens.contains_key(id))
    }

    /// The tokens with this in their metadata that are good now.
    pub fn marked(&self, key: &str, value: &str) -> Vec<Token> {
        let is_marked = |it: &Token| it.meta.get(key).is_some_and(|known| known == value);
        self.tokens().into_iter().filter(is_marked).collect()
    }

    /// What is in a wrapping: the token in it, where it is one, without unwrapping it.
    pub fn inside(&self, wrapping: &str) -> Option<String> {
        self.with(|state| {
            let inside = &state.wrapped.get(wrapping)?.response;
            let token = inside.pointer("/auth/client_token")?;
            token.as_str().map(str::to_owned)
        })
    }

    /// What became of every token, in the order in which it did.
    pub fn ledger(&self) -> Vec<Entry> {
        self.with(|state| state.ledger.clone())
    }

    /// When a token died and how, where it did.
    pub fn death(&self, accessor: &str) -> Option<(i64, End)> {
        let ledger = self.ledger();
        let mut of_it = ledger.iter().filter(|it| it.accessor == accessor);
        of_it.find_map(|it| match it.what {
            What::Died(how) => Some((it.at_micros, how)),
            What::Born => None,
        })
    }

    /// The calls that arrived.
    pub fn calls(&self) -> Vec<Call> {
        self.with(|state| state.calls.clone())
    }

    // --- what goes wrong

    /// Sets what the server itself is like; sealed and not initialised, it does nothing.
    pub fn set_health(&self, health: Health) {
        self.with(|state| state.health = health);
    }

    /// Sets which cluster it says that it is; none where it does not say.
    pub fn set_cluster(&self, id: Option<&str>) {
        self.with(|state| state.cluster = id.map(str::to_owned));
    }

    /// Lets something go wrong from now on.
    pub fn rule(&self, rule: Rule) {
        self.with(|state| state.rules.push(rule));
    }

    /// Nothing goes wrong any more, and it is unsealed.
    pub fn calm(&self) {
        self.with(|state| {
            state.rules.clear();
            state.health = Health::Active;
        });
        self.calmed.send_modify(|count| *count += 1);
    }

    /// Waits until so many answers were held since the beginning.
    pub async fn held(&self, count: u64) {
        let mut held = self.held.subscribe();
        // The sender lives as long as this does.
        let _ = held.wait_for(|it| *it >= count).await;
    }

    /// Lets held answers go.
    pub fn release(&self) {
        self.released.send_modify(|count| *count += 1);
    }

    // --- time

    /// The time, in microseconds since 1970.
    pub fn now(&self) -> i64 {
        self.with(|state| state.now())
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.with(|state| state.clock.pass(time));
        self.with(|_| ());
    }

    /// Begins anew.
    pub(crate) fn reset(&self, setup: Setup) {
        self.with(|state| *state = State::new(setup));
    }
}
