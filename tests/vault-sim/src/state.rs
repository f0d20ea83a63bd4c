//! What there is: tokens, policies, roles, secrets, and what was called. Nothing here speaks HTTP.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock::{SimClock, after};
use crate::fault::Rule;
use crate::ledger::{End, Entry, What};
use crate::policy::{self, Capability, Rules, default_policy};
use crate::setup::{AppRole, Health, Setup, TokenRole};
use crate::token::{NewToken, Token};

/// A call that arrived. It holds no secret but the accessor of the token that it bore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// When, in microseconds since 1970.
    pub at_micros: i64,
    /// `GET`, `POST`.
    pub method: String,
    /// The path under `/v1/`.
    pub path: String,
    /// The accessor of its token, where that was good.
    pub accessor: Option<String>,
    /// `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// Whether `X-Vault-Request: true` was said.
    pub marked: bool,
    /// `X-Vault-Wrap-TTL`, in seconds.
    pub wrap_ttl_secs: Option<u64>,
    /// The number of its connection.
    pub connection: u64,
    /// What it was answered, where it was.
    pub status: Option<u16>,
    /// What it was sent with, but for secret ids.
    pub body: Value,
}

/// A secret id: of which role, and how often it can still be used.
#[derive(Debug)]
pub(crate) struct SecretId {
    pub(crate) role: String,
    pub(crate) uses_left: Option<u32>,
}

/// A response in a wrapping.
#[derive(Debug)]
pub(crate) struct Wrapped {
    pub(crate) response: Value,
    pub(crate) creation_path: String,
    pub(crate) created_micros: i64,
    pub(crate) ttl_secs: u64,
}

/// One version of a secret; none where it was deleted.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) data: Option<Map<String, Value>>,
    pub(crate) created_micros: i64,
    pub(crate) deleted_micros: Option<i64>,
}

/// The cluster that it is until a test says otherwise.
const CLUSTER: &str = "c0ffee00-0000-4000-8000-000000000001";

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) setup: Setup,
    pub(crate) clock: SimClock,
    pub(crate) health: Health,
    /// The id of the cluster; none where it does not say.
    pub(crate) cluster: Option<String>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) policies: BTreeMap<String, Rules>,
    pub(crate) token_roles: BTreeMap<String, TokenRole>,
    pub(crate) app_roles: Vec<AppRole>,
    pub(crate) secret_ids: BTreeMap<String, SecretId>,
    pub(crate) wrapped: BTreeMap<String, Wrapped>,
    pub(crate) kv_mounts: BTreeSet<String>,
    pub(crate) secrets: BTreeMap<String, Vec<Version>>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) calls: Vec<Call>,
    pub(crate) ledger: Vec<Entry>,
    random: u64,
}

impl State {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut state = Self {
            clock: SimClock::new(setup.time),
            health: Health::Active,
            cluster: Some(CLUSTER.to_owned()),
            tokens: BTreeMap::new(),
            policies: BTreeMap::from([("default".to_owned(), default_policy())]),
            token_roles: BTreeMap::new(),
            app_roles: Vec::new(),
            secret_ids: BTreeMap::new(),
            wrapped: BTreeMap::new(),
            kv_mounts: BTreeSet::from(["secret".to_owned()]),
            secrets: BTreeMap::new(),
            rules: Vec::new(),
            calls: Vec::new(),
            ledger: Vec::new(),
            random: setup.seed,
            setup,
        };
        let root = NewToken {
            ttl_secs: 0,
            display_name: "root".to_owned(),
            renewable: false,
            path: "auth/token/root".to_owned(),
            ..NewToken::with(&["root"])
        };
        let id = state.setup.root_token.clone();
        state.born(root, id);
        state
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Twenty-four letters and digits that follow from the seed.
    pub(crate) fn draw(&mut self) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
        let mut letter = || {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let at = usize::try_from((mixed ^ (mixed >> 31)) % 57).unwrap_or(0);
            char::from(LETTERS.get(at).copied().unwrap_or(b'A'))
        };
        (0..24).map(|_| letter()).collect()
    }

    /// An id as Vault writes them (RFC 4122).
    pub(crate) fn draw_uuid(&mut self) -> String {
        let hex: String = self.draw().bytes().map(|it| format!("{it:02x}")).collect();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
        [
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32),
        ]
        .join("-")
    }

    /// What is over ends at the moment at which it was.
    pub(crate) fn settle(&mut self) {
        let now = self.now();
        let over = |ends: i64| ends <= now;
        let mut ended: Vec<(i64, String)> = self
            .tokens
            .values()
            .filter_map(|it| Some((it.ends_micros.filter(|ends| over(*ends))?, it.id.clone())))
            .collect();
        ended.sort();
        for (at, id) in ended {
            self.dies(&id, End::Expired, at);
        }
        self.wrapped
            .retain(|_, it| after(it.created_micros, it.ttl_secs) > now);
    }

    pub(crate) fn make(&mut self, new: NewToken) -> Token {
        let id = format!("hvs.{}", self.draw());
        self.born(new, id)
    }

    fn born(&mut self, new: NewToken, id: String) -> Token {
        let now = self.now();
        let token = Token {
            accessor: self.draw(),
            policies: new.policies,
            meta: new.meta,
            display_name: new.display_name,
            num_uses: new.num_uses,
            parent: new.parent,
            path: new.path,
            role: new.role,
            renewable: new.renewable,
            batch: new.batch,
            created_micros: now,
            ttl_secs: new.ttl_secs,
            explicit_max_ttl_secs: new.explicit_max_ttl_secs,
            max_ttl_secs: new.max_ttl_secs,
            ends_micros: (new.ttl_secs > 0).then(|| after(now, new.ttl_secs)),
            id: id.clone(),
        };
        self.note(&token, What::Born, now);
        self.tokens.insert(id, token.clone());
        token
    }

    fn note(&mut self, token: &Token, what: What, at_micros: i64) {
        self.ledger.push(Entry {
            at_micros,
            accessor: token.accessor.clone(),
            display_name: token.display_name.clone(),
            what,
        });
    }

    /// A token dies, and all that were made by it.
    pub(crate) fn dies(&mut self, id: &str, how: End, at: i64) {
        let Some(token) = self.tokens.remove(id) else {
            return;
        };
        self.note(&token, What::Died(how), at);
        let children: Vec<String> = self
            .tokens
            .values()
            .filter(|it| it.parent.as_deref() == Some(id))
            .map(|it| it.id.clone())
            .collect();
        for child in children {
            self.dies(&child, End::WithItsParent, at);
        }
    }

    pub(crate) fn by_accessor(&self, accessor: &str) -> Option<&Token> {
        self.tokens.values().find(|it| it.accessor == accessor)
    }

    /// What a token may do at a path.
    pub(crate) fn may(&self, token: &Token, path: &str) -> BTreeSet<Capability> {
        use Capability::{Create, Delete, List, Read, Sudo, Update};
        if token.policies.iter().any(|it| it == "root") {
            return BTreeSet::from([Create, Read, Update, Delete, List, Sudo]);
        }
        let rules = token.policies.iter().filter_map(|it| self.policies.get(it));
        policy::allowed(rules, path)
    }

    /// A use of a token is over; the last one ends it.
    pub(crate) fn used(&mut self, id: &str) {
        let now = self.now();
        let is_over = match self.tokens.get_mut(id) {
            Some(token) if token.num_uses > 1 => {
                token.num_uses -= 1;
                false
            }
            Some(token) => token.num_uses == 1,
            None => false,
        };
        if is_over {
            self.dies(id, End::UsedUp, now);
        }
    }
}
