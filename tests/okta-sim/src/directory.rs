//! What an organization holds, people and groups, in the shapes that the API gives them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::iso;

/// The statuses of a user's life.
/// <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/User/>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UserStatus {
    /// Created and not yet activated.
    Staged,
    /// Activated, and has not signed in yet.
    Provisioned,
    /// In use.
    Active,
    /// Is resetting a password.
    Recovery,
    /// Has to choose a new password.
    PasswordExpired,
    /// Failed to sign in too often.
    LockedOut,
    /// Suspended by an administrator: keeps groups and applications, cannot sign in.
    Suspended,
    /// Deactivated.
    Deprovisioned,
}

impl UserStatus {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Staged => "STAGED",
            Self::Provisioned => "PROVISIONED",
            Self::Active => "ACTIVE",
            Self::Recovery => "RECOVERY",
            Self::PasswordExpired => "PASSWORD_EXPIRED",
            Self::LockedOut => "LOCKED_OUT",
            Self::Suspended => "SUSPENDED",
            Self::Deprovisioned => "DEPROVISIONED",
        }
    }

    /// Whether a user of this status was activated at some time.
    fn is_activated(self) -> bool {
        match self {
            Self::Staged => false,
            Self::Provisioned
            | Self::Active
            | Self::Recovery
            | Self::PasswordExpired
            | Self::LockedOut
            | Self::Suspended
            | Self::Deprovisioned => true,
        }
    }
}

/// Who owns a group's members.
/// <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/Group/>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GroupType {
    /// Okta's own; the API may change its members.
    OktaGroup,
    /// Imported from an application, which alone may change them.
    AppGroup,
    /// Okta's, such as Everyone; nobody may change them.
    BuiltIn,
}

impl GroupType {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::OktaGroup => "OKTA_GROUP",
            Self::AppGroup => "APP_GROUP",
            Self::BuiltIn => "BUILT_IN",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct User {
    pub(crate) status: UserStatus,
    /// `login`, `email` and whatever else.
    pub(crate) profile: Map<String, Value>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) status_changed_at: i64,
}

impl User {
    pub(crate) fn new(login: &str, email: &str, now: i64) -> Self {
        let name = login.split('@').next().unwrap_or(login);
        let mut profile = Map::new();
        for (attribute, value) in [
            ("firstName", json!(name)),
            ("lastName", json!("Example")),
            ("mobilePhone", Value::Null),
            ("secondEmail", Value::Null),
            ("login", json!(login)),
            ("email", json!(email)),
        ] {
            profile.insert(attribute.to_owned(), value);
        }
        Self {
            status: UserStatus::Active,
            profile,
            created_at: now,
            updated_at: now,
            status_changed_at: now,
        }
    }

    /// A profile attribute that is a text.
    pub(crate) fn text(&self, attribute: &str) -> &str {
        let value = self.profile.get(attribute);
        value.and_then(Value::as_str).unwrap_or_default()
    }

    /// As it is shown by itself: with links to what can be done with it.
    pub(crate) fn shown_alone(&self, base: &str, id: &str) -> Value {
        let mut shown = self.shown(base, id);
        let link = |what: &str| {
            let href = format!("{base}/api/v1/users/{id}/lifecycle/{what}");
            json!({"href": href, "method": "POST"})
        };
        let deeds: &[&str] = match self.status {
            UserStatus::Staged | UserStatus::Deprovisioned => &["activate"],
            UserStatus::Suspended => &["unsuspend", "deactivate"],
            UserStatus::LockedOut => &["unlock", "deactivate"],
            UserStatus::Active => &["suspend", "deactivate"],
            UserStatus::Provisioned | UserStatus::Recovery | UserStatus::PasswordExpired => {
                &["deactivate"]
            }
        };
        if let Some(links) = shown.get_mut("_links").and_then(Value::as_object_mut) {
            for deed in deeds {
                links.insert((*deed).to_owned(), link(deed));
            }
        }
        shown
    }

    /// As it is shown in a list.
    pub(crate) fn shown(&self, base: &str, id: &str) -> Value {
        let activated = self.status.is_activated().then(|| iso(self.created_at));
        json!({
            "id": id,
            "status": self.status.word(),
            "created": iso(self.created_at),
            "activated": activated,
            "statusChanged": iso(self.status_changed_at),
            "lastLogin": null,
            "lastUpdated": iso(self.updated_at),
            "passwordChanged": null,
            "type": {"id": "otyfnjfba4ye7pgjB0g4"},
            "profile": self.profile,
            "credentials": {"provider": {"type": "OKTA", "name": "OKTA"}},
            "_links": {"self": {"href": format!("{base}/api/v1/users/{id}")}},
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) kind: GroupType,
    pub(crate) created_at: i64,
    pub(crate) members_changed_at: i64,
}

impl Group {
    pub(crate) fn shown(&self, base: &str, id: &str) -> Value {
        let class = match self.kind {
            GroupType::OktaGroup | GroupType::BuiltIn => "okta:user_group",
            GroupType::AppGroup => "okta:windows_security_principal",
        };
        let logo = |size: &str| {
            let href = format!("{base}/img/logos/groups/odyssey/okta-{size}.png");
            json!({"name": size, "href": href, "type": "image/png"})
        };
        let mut shown = json!({
            "id": id,
            "created": iso(self.created_at),
            "lastUpdated": iso(self.created_at),
            "lastMembershipUpdated": iso(self.members_changed_at),
            "objectClass": [class],
            "type": self.kind.word(),
            "profile": {"name": self.name, "description": null},
            "_links": {
                "logo": [logo("medium"), logo("large")],
                "users": {"href": format!("{base}/api/v1/groups/{id}/users")},
                "apps": {"href": format!("{base}/api/v1/groups/{id}/apps")},
            },
        });
        let links = shown.get_mut("_links").and_then(Value::as_object_mut);
        if let (Some(links), GroupType::AppGroup) = (links, self.kind) {
            let source = format!("{base}/api/v1/apps/0oa{}", id.trim_start_matches("00g"));
            links.insert("source".to_owned(), json!({"href": source}));
        }
        shown
    }
}

/// What something was at which time; `None` is before and after its life.
#[derive(Debug, Clone)]
pub(crate) struct Versions<T>(Vec<(i64, Option<T>)>);

impl<T> Versions<T> {
    pub(crate) fn new(at: i64, first: T) -> Self {
        Self(vec![(at, Some(first))])
    }

    pub(crate) fn now(&self) -> Option<&T> {
        self.0.last().and_then(|(_, it)| it.as_ref())
    }

    /// As it was at an instant.
    pub(crate) fn at(&self, then: i64) -> Option<&T> {
        let known = self.0.iter().rev().find(|(at, _)| *at <= then)?;
        known.1.as_ref()
    }

    pub(crate) fn set(&mut self, at: i64, new: Option<T>) {
        self.0.push((at, new));
    }

    /// Changes the newest one in place, where how it was before is of no interest.
    pub(crate) fn amend(&mut self, change: impl FnOnce(&mut T)) {
        if let Some((_, Some(newest))) = self.0.last_mut() {
            change(newest);
        }
    }
}
