//! The ledger of truth: which token came to life or died, when, and how.

use serde::Serialize;

/// How a token died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its time was over.
    Expired,
    /// It was revoked, by itself, by its accessor or by hand.
    Revoked,
    /// Its parent died.
    WithItsParent,
    /// Its uses were used up.
    UsedUp,
}

/// What an entry of the ledger says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// From now on it is good.
    Born,
    /// From now on it is not.
    Died(End),
}

/// One line of the ledger, written at the moment it became true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, in microseconds since 1970.
    pub at_micros: i64,
    /// Whose accessor.
    pub accessor: String,
    /// Its name for people.
    pub display_name: String,
    /// What happened.
    pub what: What,
}
