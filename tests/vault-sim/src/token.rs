//! One token: what it is and how long it lives.

use std::collections::BTreeMap;

/// A token as it is. Its id is the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub id: String,
    /// By which it can be looked up and revoked, but not used.
    pub accessor: String,
    /// What it may do.
    pub policies: Vec<String>,
    /// What whoever made it wrote down with it.
    pub meta: BTreeMap<String, String>,
    /// Its name for people.
    pub display_name: String,
    /// How often it can still be used; 0 is any number.
    pub num_uses: u32,
    /// The token that it dies with.
    pub parent: Option<String>,
    /// By which path it was made.
    pub path: String,
    /// The role that it was made through.
    pub role: Option<String>,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// Whether it is a batch token, which nothing can revoke.
    pub batch: bool,
    /// When it was made, in microseconds since 1970.
    pub created_micros: i64,
    /// How long it was made for, in seconds; 0 is for ever.
    pub ttl_secs: u64,
    /// How long it can live with renewals, in seconds; 0 is no limit of its own.
    pub explicit_max_ttl_secs: u64,
    /// How long renewals go on at most, in seconds.
    pub max_ttl_secs: u64,
    /// When it ends, in microseconds since 1970, where it does.
    pub ends_micros: Option<i64>,
}

/// A token that is to be made, by hand or by a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it may do.
    pub policies: Vec<String>,
    /// What is written down with it.
    pub meta: BTreeMap<String, String>,
    /// Its name for people.
    pub display_name: String,
    /// How often it can be used; 0 is any number.
    pub num_uses: u32,
    /// The token that it dies with.
    pub parent: Option<String>,
    /// By which path it is made.
    pub path: String,
    /// The role that it is made through.
    pub role: Option<String>,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// Whether it is a batch token.
    pub batch: bool,
    /// How long it lives, in seconds; 0 is for ever.
    pub ttl_secs: u64,
    /// How long it can live with renewals, in seconds; 0 is no limit of its own.
    pub explicit_max_ttl_secs: u64,
    /// How long renewals go on at most, in seconds.
    pub max_ttl_secs: u64,
}

impl NewToken {
    /// An orphan with these policies that lives an hour.
    pub fn with(policies: &[&str]) -> Self {
        Self {
            policies: policies.iter().map(|it| (*it).to_owned()).collect(),
            meta: BTreeMap::new(),
            display_name: "token".to_owned(),
            num_uses: 0,
            parent: None,
            path: "auth/token/create".to_owned(),
            role: None,
            renewable: true,
            batch: false,
            ttl_secs: 3_600,
            explicit_max_ttl_secs: 0,
            max_ttl_secs: 32 * 86_400,
        }
    }
}
