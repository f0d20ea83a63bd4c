//! The objects of Okta's API, as far as they are read, and the ids that are written into addresses.
//! <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/User/>

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::trouble::Trouble;

/// The status of a user's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Status {
    /// In use.
    Active,
    /// Cannot sign in, by an administrator's will; keeps groups and applications.
    Suspended,
    /// Deactivated.
    Deprovisioned,
    /// Not activated yet, locked, with a password to be changed, or whatever Okta adds.
    #[serde(other)]
    Other,
}

impl Status {
    /// Only who is active is given anything.
    pub(crate) fn check(self) -> Result<(), Trouble> {
        match self {
            Self::Active => Ok(()),
            Self::Suspended => Err(Trouble::Suspended),
            Self::Deprovisioned => Err(Trouble::Deprovisioned),
            Self::Other => Err(Trouble::NotActive),
        }
    }
}

/// A user.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) status: Status,
    /// As Okta writes it: `2026-11-26T05:17:52.000Z`, so that texts compare as times do.
    #[serde(default)]
    pub(crate) created: Option<String>,
    #[serde(default)]
    pub(crate) profile: Map<String, Value>,
}

impl User {
    pub(crate) fn login(&self) -> &str {
        self.text("login").unwrap_or_default()
    }

    /// What older accounts have less of. One whose beginning is not known is the youngest.
    pub(crate) fn age(&self) -> (bool, Option<&str>, &str) {
        let created = self.created.as_deref();
        (created.is_none(), created, &self.id)
    }

    /// An attribute of the profile that is a text and not empty.
    pub(crate) fn text(&self, attribute: &str) -> Option<&str> {
        let text = self.profile.get(attribute)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// Whether it was this very user that was asked for. Okta also answers to the part of a login
    /// before its `@`, as long as that is unambiguous, and today's only `ana` may be joined by
    /// another one.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.id == name || self.login().eq_ignore_ascii_case(name)
    }
}

/// A group.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: GroupKind,
}

/// Who changes a group's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum GroupKind {
    /// Okta's API may.
    OktaGroup,
    /// An application or a directory alone, or Okta itself.
    #[serde(other)]
    Other,
}

/// What an organization says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Organization {
    pub(crate) id: String,
}

/// Whether this is written as Okta writes the ids of groups.
pub(crate) fn is_group_id(text: &str) -> bool {
    text.starts_with("00g") && is_id(text)
}

/// Whether this is written as Okta writes the ids of organizations.
pub(crate) fn is_organization_id(text: &str) -> bool {
    text.starts_with("00o") && is_id(text)
}

/// No login and no address is longer ("Create a user": a login has 5 to 100 letters).
pub(crate) const NAME_LIMIT: usize = 300;

fn is_id(text: &str) -> bool {
    (4..=40).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

/// An id or a login that can stand in an address and means whom it names: `me` is whoever made the
/// token, and a login with a slash is found by its id alone ("Retrieve a user").
pub(crate) fn check_name(name: &str) -> Result<&str, Trouble> {
    let is_special = matches!(name, "" | "." | "..") || name.eq_ignore_ascii_case("me");
    let is_bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '%');
    match is_special || name.len() > NAME_LIMIT || name.contains(is_bad) {
        true => Err(Trouble::BadSubject),
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_somebody_else_in_an_address_is_no_name() {
        for name in ["ana@example.com", "00u1abcDEF", "a+b@example.com", "o'neil"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "", ".", "..", "me", "ME", "a/b", "a\\b", "a%2fb", "a b", "a\n",
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name(&"a".repeat(NAME_LIMIT)).is_ok());
        assert!(check_name(&"a".repeat(NAME_LIMIT + 1)).is_err());
        assert!(is_group_id("00g1emaKYZTWRYYRRTSK"));
        for id in ["", "00g", "00u1emaKYZTWRYYRRTSK", "00g../users", "Admins"] {
            assert!(!is_group_id(id), "{id:?}");
        }
    }

    #[test]
    fn what_okta_adds_is_not_active_and_not_ours() {
        let user: User =
            serde_json::from_str(r#"{"id":"00u1","status":"HIBERNATING","new":1}"#).unwrap();
        assert_eq!(user.status, Status::Other);
        assert!(user.status.check().is_err());
        let group: Group = serde_json::from_str(r#"{"id":"00g1","type":"BUILT_IN"}"#).unwrap();
        assert_eq!(group.kind, GroupKind::Other);
        assert!(serde_json::from_str::<User>(r#"{"id":"00u1"}"#).is_err());
    }
}
