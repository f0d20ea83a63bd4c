//! What a simulated Vault is made of before anything happens in it.

/// How a simulation begins. Every field has a default that is Vault's own, or harmless.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Every token and accessor follows from it.
    pub seed: u64,
    /// Whose time it is.
    pub time: Time,
    /// The token that may do everything.
    pub root_token: String,
    /// The longest that a token lives where nothing shorter is said: 32 days.
    /// <https://developer.hashicorp.com/vault/docs/concepts/tokens#token-time-to-live-periodic-tokens-and-explicit-max-ttls>
    pub max_ttl_secs: u64,
    /// What an accessor that nobody knows is answered with: 400 in present versions; 403 and 404 were
    /// seen elsewhere.
    pub unknown_accessor_status: u16,
    /// Whether revoking an accessor that nobody knows succeeds, as it does since Vault 1.10.
    /// <https://github.com/hashicorp/vault/pull/13661>
    pub revoking_the_unknown: Unknown,
    /// Whether a refusal says that it is the token that is not valid, as present versions do.
    /// <https://github.com/hashicorp/vault/pull/25953>
    pub dead_tokens: DeadTokens,
}

/// What becomes of a revoke of an accessor that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// It succeeds, with a warning.
    Succeeds,
    /// It is an error.
    Fails,
}

/// How a call with a token that is not valid is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadTokens {
    /// `permission denied` and `invalid token`.
    Named,
    /// `permission denied` alone.
    Denied,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            time: Time::Wall,
            root_token: "hvs.simulated-root".to_owned(),
            max_ttl_secs: 32 * 86_400,
            unknown_accessor_status: 400,
            revoking_the_unknown: Unknown::Succeeds,
            dead_tokens: DeadTokens::Named,
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

/// An application that may log in.
/// <https://developer.hashicorp.com/vault/api-docs/auth/approle>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRole {
    /// Where its auth method is mounted.
    pub mount: String,
    /// Its name there.
    pub name: String,
    /// What it says who it is by.
    pub role_id: String,
    /// What its tokens may do, beside `default`.
    pub policies: Vec<String>,
    /// How long its tokens live, in seconds.
    pub token_ttl_secs: u64,
    /// How long they can be renewed for, in seconds; 0 is the system's limit.
    pub token_max_ttl_secs: u64,
    /// How often they can be used; 0 is any number.
    pub token_num_uses: u32,
}

impl AppRole {
    /// An application at the usual mount whose tokens live an hour, and four with renewals.
    pub fn new(name: &str, role_id: &str, policies: &[&str]) -> Self {
        Self {
            mount: "approle".to_owned(),
            name: name.to_owned(),
            role_id: role_id.to_owned(),
            policies: policies.iter().map(|it| (*it).to_owned()).collect(),
            token_ttl_secs: 3_600,
            token_max_ttl_secs: 4 * 3_600,
            token_num_uses: 0,
        }
    }
}

/// A token role: what tokens may be made through it.
/// <https://developer.hashicorp.com/vault/api-docs/auth/token#create-update-token-role>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRole {
    /// Its name.
    pub name: String,
    /// The policies that may be asked for, and that are given where none is.
    pub allowed_policies: Vec<String>,
    /// Whether its tokens have no parent.
    pub orphan: bool,
    /// Whether its tokens may be renewed.
    pub renewable: bool,
    /// The longest that its tokens live, in seconds; 0 is no limit of its own.
    pub explicit_max_ttl_secs: u64,
    /// `service` or `batch`, whatever is asked for; otherwise what is asked for.
    pub token_type: Option<String>,
}

impl TokenRole {
    /// A role for orphans with these policies.
    pub fn new(name: &str, policies: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            allowed_policies: policies.iter().map(|it| (*it).to_owned()).collect(),
            orphan: true,
            renewable: true,
            explicit_max_ttl_secs: 0,
            token_type: None,
        }
    }
}

/// What the server itself is like.
/// <https://developer.hashicorp.com/vault/api-docs/system/health>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// 200.
    Active,
    /// 429: another one is active, and gets what is asked here.
    Standby,
    /// 472: a replica for disasters.
    RecoverySecondary,
    /// 473: a replica that only reads, as far as health goes.
    PerformanceStandby,
    /// 501.
    Uninitialised,
    /// 503.
    Sealed,
}
