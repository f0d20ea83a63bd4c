//! The ledger of truth: who became or ceased to be a member of what, when, and by whose hand.

use serde::Serialize;

/// What an entry of the ledger says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// From now on the user is a member.
    Joined,
    /// From now on the user is none.
    Left,
}

/// Who made it happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A call of the API, with the token of this id: an API token's or a service app's.
    Api(String),
    /// Somebody else, such as a person in the admin console.
    Control,
}

/// One line of the ledger, written at the moment it became true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, in microseconds since 1970.
    pub at_micros: i64,
    /// The group's id.
    pub group: String,
    /// The user's id.
    pub user: String,
    /// Joined or left.
    pub what: What,
    /// By whom.
    pub by: By,
    /// The request id of the call that did it, if one did.
    pub request_id: Option<String>,
}

/// A time during which a user really was a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Since when, in microseconds since 1970.
    pub from_micros: i64,
    /// Until when, if it is over.
    pub until_micros: Option<i64>,
}
