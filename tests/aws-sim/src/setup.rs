//! What a simulated organization is made of before anything happens in it.

use std::collections::BTreeSet;
use std::time::Duration;

/// How a simulation begins. Every field has a default that is AWS's own, or harmless.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Every id and every drawn time follows from it.
    pub seed: u64,
    /// Whose time it is.
    pub time: Time,
    /// The region that `sso` and `identitystore` requests are signed for.
    pub region: String,
    /// The management account's id, twelve digits.
    pub management_account: String,
    /// From where the instance is used.
    pub seat: Seat,
    /// Who may call.
    pub keys: Vec<AccessKey>,
    /// How much of a signature is checked.
    pub signatures: Signatures,
    /// The soonest that an accepted creation or deletion becomes true.
    pub apply_min: Duration,
    /// The latest; between the two it is drawn.
    pub apply_max: Duration,
    /// How many creations and deletions may be in progress at once.
    pub outstanding_max: usize,
    /// How many `sso-admin` calls a second are answered, if they are limited at all.
    pub calls_per_second: Option<u32>,
    /// The most entries on a page; `ListAccounts` has at most 20 whatever this says.
    pub page_max: usize,
    /// What becomes of a deleted user's assignments.
    pub orphans: Orphans,
    /// When it is noticed that a principal, an account or an assignment does not exist.
    pub notices: Notices,
    /// For how long a read of an inline policy still shows what was there before a change.
    pub iam_reads_lag: Duration,
    /// For how long a changed inline policy has no effect yet.
    pub iam_effects_lag: Duration,
    /// How many characters of a session policy fit when it is packed; fewer than the 2,048 that may
    /// be sent.
    pub packed_policy_max: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            time: Time::Wall,
            region: "eu-central-1".to_owned(),
            management_account: "111111111111".to_owned(),
            seat: Seat::Management,
            keys: vec![AccessKey::default()],
            signatures: Signatures::Full,
            apply_min: Duration::from_secs(1),
            apply_max: Duration::from_secs(10),
            outstanding_max: 10,
            calls_per_second: None,
            page_max: 100,
            orphans: Orphans::Left,
            notices: Notices::Later,
            iam_reads_lag: Duration::ZERO,
            iam_effects_lag: Duration::ZERO,
            packed_policy_max: 2_048,
        }
    }
}

impl Setup {
    /// Creations and deletions take exactly this long; zero makes them true at once.
    #[must_use]
    pub fn applying_in(mut self, time: Duration) -> Self {
        self.apply_min = time;
        self.apply_max = time;
        self
    }

    /// Time stands still at this instant (microseconds since 1970) until it is moved. Clients
    /// sign with their own clocks, so dates are not compared.
    #[must_use]
    pub fn manual(mut self, now_micros: i64) -> Self {
        self.time = Time::Manual { now_micros };
        self.signatures = Signatures::Undated;
        self
    }
}

/// Whose time the simulator keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The machine's, plus what it was advanced by.
    Wall,
    /// Its own: it moves only when it is told to.
    Manual {
        /// Microseconds since 1970.
        now_micros: i64,
    },
}

/// From where the instance is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// From the management account, which may assign everywhere.
    Management,
    /// From a delegated administrator, who may not touch the management account.
    Delegated,
}

/// How much of a signature is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// All of it, and its date against the simulator's clock.
    Full,
    /// All of it but its date, for a simulator whose clock is not the client's.
    Undated,
    /// Only that there is one.
    Unchecked,
}

/// What becomes of the assignments of a user who is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// They go with the user.
    Cleared,
    /// They stay listed and can be deleted.
    Left,
    /// They stay listed, and deleting them fails because the assignee is not found.
    Stuck,
}

/// When a creation or deletion notices that what it is about does not exist. AWS does not say, so
/// whoever calls must be able to live with both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notices {
    /// When it is applied: it fails with a reason.
    Later,
    /// When it is asked for, with `ResourceNotFoundException`; and again when it is applied.
    AtOnce,
}

/// A key that may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The access key id.
    pub id: String,
    /// The secret.
    pub secret: String,
    /// The session token that must come with it, for temporary credentials.
    pub session_token: Option<String>,
    /// When the session token expires, in microseconds since 1970.
    pub expires_at_micros: Option<i64>,
    /// The actions it may call, such as `sso:CreateAccountAssignment`; all, if there is no list.
    pub allowed: Option<BTreeSet<String>>,
}

impl AccessKey {
    /// A long-lived key that may do everything.
    pub fn new(id: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            session_token: None,
            expires_at_micros: None,
            allowed: None,
        }
    }

    /// The same key, allowed these actions only.
    #[must_use]
    pub fn allowing(mut self, actions: &[&str]) -> Self {
        self.allowed = Some(actions.iter().map(|it| (*it).to_owned()).collect());
        self
    }
}

impl Default for AccessKey {
    fn default() -> Self {
        Self::new(
            "AKIASIMULATED0000001",
            "a-secret-of-the-simulated-organization",
        )
    }
}
