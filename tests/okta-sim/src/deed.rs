//! What other hands do to the organization: at once, at a time, or between two calls.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::directory::UserStatus;

/// Something that an administrator does in the console.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Deed {
    /// Makes a user a member.
    Join {
        /// The group's id.
        group: String,
        /// The user's id.
        user: String,
    },
    /// Ends a membership.
    Leave {
        /// The group's id.
        group: String,
        /// The user's id.
        user: String,
    },
    /// Gives a user another login.
    Rename {
        /// The user's id.
        user: String,
        /// The new login.
        login: String,
    },
    /// Gives a profile attribute a value; `null` takes the attribute away.
    SetProfile {
        /// The user's id.
        user: String,
        /// The attribute, such as `managerId`.
        attribute: String,
        /// The value: a text, a number, a list.
        value: Value,
    },
    /// Moves a user to another status. Memberships stay, deactivated or not.
    /// <https://support.okta.com/help/s/article/Deactivated-Users-not-Removed-From-Okta-Groups-Automatically>
    SetStatus {
        /// The user's id.
        user: String,
        /// The new status.
        status: UserStatus,
    },
    /// Deletes a user for good, and every membership.
    DeleteUser {
        /// The user's id.
        user: String,
    },
    /// Deletes a group, and every membership.
    DeleteGroup {
        /// The group's id.
        group: String,
    },
    /// Revokes an API token, or every access token of a service app.
    RevokeToken {
        /// The token's id, or the app's client id.
        token: String,
    },
}
