//! What an organization holds: accounts, users, groups, permission sets.

use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::epoch_seconds;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) suspended: bool,
    pub(crate) joined_at: i64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct User {
    pub(crate) user_name: String,
    pub(crate) email: Option<String>,
    /// Issuer and id.
    pub(crate) external_ids: Vec<(String, String)>,
    pub(crate) disabled: bool,
    pub(crate) created_at: i64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct PermissionSet {
    pub(crate) name: String,
    pub(crate) session_s: u64,
    pub(crate) created_at: i64,
}

impl User {
    /// As the identity store shows it.
    pub(crate) fn shown(&self, store: &str, id: &str) -> Value {
        let mut user = json!({
            "IdentityStoreId": store, "UserId": id, "UserArn": user_arn(id), "Revision": "1",
            "UserName": self.user_name, "DisplayName": self.user_name,
            "Name": {"Formatted": self.user_name, "GivenName": self.user_name,
                     "FamilyName": "Example"},
            "UserStatus": if self.disabled { "DISABLED" } else { "ENABLED" },
            "CreatedAt": epoch_seconds(self.created_at), "CreatedBy": "console",
            "UpdatedAt": epoch_seconds(self.created_at), "UpdatedBy": "console",
        });
        if let Some(shown) = user.as_object_mut() {
            if let Some(email) = &self.email {
                let emails = json!([{"Value": email, "Type": "work", "Primary": true}]);
                shown.insert("Emails".to_owned(), emails);
            }
            if !self.external_ids.is_empty() {
                let ids: Vec<Value> = (self.external_ids.iter())
                    .map(|(issuer, id)| json!({"Issuer": issuer, "Id": id}))
                    .collect();
                shown.insert("ExternalIds".to_owned(), json!(ids));
            }
        }
        user
    }
}

pub(crate) fn user_arn(id: &str) -> String {
    format!("arn:aws:identitystore:::user/{id}")
}

/// A length of time as ISO 8601 has it: `PT4H`, `PT1H30M`.
pub(crate) fn iso_duration(seconds: u64) -> String {
    let parts = [
        (seconds / 3600, 'H'),
        (seconds % 3600 / 60, 'M'),
        (seconds % 60, 'S'),
    ];
    let text: String = (parts.iter().filter(|(count, _)| *count > 0))
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        return "PT0S".to_owned();
    }
    format!("PT{text}")
}

#[cfg(test)]
mod tests {
    use super::iso_duration;

    #[test]
    fn durations_are_written_as_aws_writes_them() {
        assert_eq!(iso_duration(4 * 3600), "PT4H");
        assert_eq!(iso_duration(5400), "PT1H30M");
        assert_eq!(iso_duration(61), "PT1M1S");
        assert_eq!(iso_duration(0), "PT0S");
    }
}
