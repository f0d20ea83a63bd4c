//! What a simulated organization is made of before anything happens in it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

/// How a simulation begins. Every field has a default that is Okta's own, or harmless.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Every id follows from it.
    pub seed: u64,
    /// Whose time it is.
    pub time: Time,
    /// The API tokens that may call.
    pub tokens: Vec<ApiToken>,
    /// The service apps that may ask for access tokens.
    pub apps: Vec<ServiceApp>,
    /// How long an access token is good for.
    pub access_token_life: Duration,
    /// How many calls a minute are answered.
    pub limits: Limits,
    /// How many calls may be unanswered at once.
    pub concurrent_max: usize,
    /// The most users on a page of a group's members.
    pub members_page_max: usize,
    /// The most users on a page of a list of users.
    pub users_page_max: usize,
    /// The most groups on a page of a list of groups.
    pub groups_page_max: usize,
    /// The most groups on a page of a user's groups; all of them on one, if there is no number.
    pub user_groups_page_max: Option<usize>,
    /// How far searches and filters lag behind what is true.
    pub search_lag: Duration,
    /// How long every answer takes, by the machine's clock: for benches.
    pub latency: Duration,
    /// The tokens of PagerDuty's REST API.
    pub pagerduty_tokens: Vec<String>,
    /// The integration keys of PagerDuty's Events API, 32 characters each.
    pub routing_keys: Vec<String>,
    /// How many calls a minute PagerDuty's REST API answers.
    pub pagerduty_per_minute: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            time: Time::Wall,
            tokens: vec![ApiToken::default()],
            apps: Vec::new(),
            access_token_life: Duration::from_secs(3600),
            limits: Limits::default(),
            concurrent_max: 75,
            members_page_max: 1000,
            users_page_max: 200,
            groups_page_max: 10_000,
            user_groups_page_max: None,
            search_lag: Duration::ZERO,
            latency: Duration::ZERO,
            pagerduty_tokens: vec!["a-simulated-pagerduty-token".to_owned()],
            routing_keys: vec!["0123456789abcdef0123456789abcdef".to_owned()],
            pagerduty_per_minute: 960,
        }
    }
}

impl Setup {
    /// Time stands still at this instant (microseconds since 1970) until it is moved.
    #[must_use]
    pub fn manual(mut self, now_micros: i64) -> Self {
        self.time = Time::Manual { now_micros };
        self
    }
}

/// Whose time the simulator keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The machine's, plus what it was moved on by.
    Wall,
    /// Its own: it moves only when it is told to.
    Manual {
        /// Microseconds since 1970.
        now_micros: i64,
    },
}

/// How many calls a minute each family of endpoints answers; what a workforce organization has.
/// <https://developer.okta.com/docs/reference/rl-global-mgmt/>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `/api/v1/groups`.
    pub groups: u32,
    /// `/api/v1/groups/{id}`.
    pub group: u32,
    /// `/api/v1/users`.
    pub users: u32,
    /// `/api/v1/users/{id or login}`.
    pub user: u32,
    /// `/oauth2/v1/token`; the admin console alone says how many, so this is assumed.
    pub token: u32,
    /// Everything else under `/api/v1`: members, and the groups of a user.
    pub other: u32,
}

impl Limits {
    /// The same limit for every family.
    pub fn all(calls: u32) -> Self {
        Self {
            groups: calls,
            group: calls,
            users: calls,
            user: calls,
            token: calls,
            other: calls,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            groups: 500,
            group: 1000,
            users: 600,
            user: 2000,
            token: 2000,
            other: 1200,
        }
    }
}

/// What a token lets its bearer do.
/// <https://developer.okta.com/docs/api/oauth2/>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// `okta.users.read`
    UsersRead,
    /// `okta.groups.read`
    GroupsRead,
    /// `okta.groups.manage`, which includes reading.
    GroupsManage,
}

impl Scope {
    pub(crate) const ALL: [Self; 3] = [Self::UsersRead, Self::GroupsRead, Self::GroupsManage];

    /// As OAuth spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UsersRead => "okta.users.read",
            Self::GroupsRead => "okta.groups.read",
            Self::GroupsManage => "okta.groups.manage",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Whether having it is enough for what needs the other.
    pub(crate) fn includes(self, needed: Self) -> bool {
        self == needed || (self == Self::GroupsManage && needed == Self::GroupsRead)
    }
}

/// A token for `Authorization: SSWS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// What calls and the ledger call it.
    pub id: String,
    /// The token itself.
    pub secret: String,
    /// What it may do, as the administrator who made it may.
    pub scopes: BTreeSet<Scope>,
}

impl ApiToken {
    /// A token that may do everything.
    pub fn new(id: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            scopes: BTreeSet::from(Scope::ALL),
        }
    }

    /// The same token, allowed this only.
    #[must_use]
    pub fn allowing(mut self, scopes: &[Scope]) -> Self {
        self.scopes = scopes.iter().copied().collect();
        self
    }
}

impl Default for ApiToken {
    fn default() -> Self {
        Self::new("00Tsimulated0000001", "00a-simulated-api-token-of-okta")
    }
}

/// A service app: a client that proves itself with a key and asks for access tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceApp {
    /// Such as `0oa1simulated0000001`.
    pub client_id: String,
    /// Its public keys, as JSON Web Keys: RSA, or EC on P-256.
    pub keys: Vec<Value>,
    /// What an administrator has granted it.
    pub granted: BTreeSet<Scope>,
}

impl ServiceApp {
    /// An app with one public key and every scope granted.
    pub fn new(client_id: &str, key: Value) -> Self {
        Self {
            client_id: client_id.to_owned(),
            keys: vec![key],
            granted: BTreeSet::from(Scope::ALL),
        }
    }

    /// The same app, granted this only.
    #[must_use]
    pub fn granted(mut self, scopes: &[Scope]) -> Self {
        self.granted = scopes.iter().copied().collect();
        self
    }
}
