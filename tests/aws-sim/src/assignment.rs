//! Assignments, the operations that make and end them, and the ledger of what was true when.

use serde::Serialize;

/// Who an assignment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PrincipalType {
    /// A user of the identity store.
    User,
    /// A group of the identity store.
    Group,
}

impl PrincipalType {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Group => "GROUP",
        }
    }
}

/// A principal may use a permission set in an account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Assignment {
    /// Twelve digits.
    pub account: String,
    /// The permission set's ARN.
    pub permission_set: String,
    /// The user's or group's id.
    pub principal: String,
    /// Which of the two it is.
    pub principal_type: PrincipalType,
}

/// What an entry of the ledger says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// From now on the principal has access.
    Given,
    /// From now on the principal has none.
    Taken,
}

/// Who made it happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A call of the API.
    Ours,
    /// Somebody else, such as a person at the console.
    Hand,
}

/// One line of the ledger, written at the moment it became true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, in microseconds since 1970.
    pub at_micros: i64,
    /// Whose access, to what.
    #[serde(flatten)]
    pub assignment: Assignment,
    /// Given or taken.
    pub what: What,
    /// By whom.
    pub by: By,
    /// The request id of the operation that did it, if one did.
    pub request_id: Option<String>,
}

/// Whether an operation makes or ends an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Delete,
}

/// A creation or deletion that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) request_id: String,
    pub(crate) assignment: Assignment,
    pub(crate) created_at: i64,
    /// When it takes effect; never, while it is frozen.
    pub(crate) due: Option<i64>,
    /// How much later than its effect its status says so.
    pub(crate) status_lag: i64,
    /// It will fail for this reason, whatever the world is like by then.
    pub(crate) doomed: Option<String>,
    /// How it went and when, once it did.
    pub(crate) outcome: Option<(i64, Result<(), String>)>,
}

/// What the API says of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    InProgress,
    Succeeded,
    Failed(String),
}

impl Status {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed(_) => "FAILED",
        }
    }
}

impl Operation {
    pub(crate) fn status(&self, now: i64) -> Status {
        match &self.outcome {
            Some((at, outcome)) if at.saturating_add(self.status_lag) <= now => match outcome {
                Ok(()) => Status::Succeeded,
                Err(why) => Status::Failed(why.clone()),
            },
            _ => Status::InProgress,
        }
    }
}
