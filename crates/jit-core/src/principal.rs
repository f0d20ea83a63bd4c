//! Who asks and who decides: people and agents, as the directory knows them. No authority is
//! judged here; that is the policy's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::catalog::ProviderName;
use crate::time::Ttl;

/// A short text that is not allowed as a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {rule}")]
pub struct BadName {
    /// What was to be named.
    pub what: &'static str,
    /// The text, cut at 60 characters.
    pub text: String,
    /// What would have been allowed.
    pub rule: &'static str,
}

impl BadName {
    pub(crate) fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self {
            what,
            text: text.chars().take(60).collect(),
            rule,
        }
    }
}

/// Implements the traits that every checked name has: parsing through its own `check`, `Display`,
/// and serde as a plain string.
macro_rules! checked_name {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = $crate::principal::BadName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::check(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                crate::text::read(from)
            }
        }
    };
}
pub(crate) use checked_name;

pub(crate) fn is_plain(text: &str, longest: usize, extra: &str) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

/// The name of one person or agent: `ana@example.com`, `agent:deploy-bot`.
///
/// At most 200 ASCII characters, compared without regard to case and stored in lower case.
/// One person may be known under several; the directory maps them to one canonical id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalId(String);
checked_name!(PrincipalId);

impl PrincipalId {
    fn check(text: &str) -> Result<String, BadName> {
        if is_plain(text, 200, "@.:_+-") {
            return Ok(text.to_ascii_lowercase());
        }
        let rule = "write 1 to 200 letters, digits or any of @.:_+-";
        Err(BadName::new("a principal", text, rule))
    }
}

impl PrincipalId {
    /// The same name as a subject, for a provider that knows people by it.
    pub fn to_subject(&self) -> Subject {
        Subject(self.0.clone())
    }
}

/// The name of a group of people in the directory: `sre`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(String);
checked_name!(GroupName);

impl GroupName {
    fn check(text: &str) -> Result<String, BadName> {
        if is_plain(text, 200, "@.:_+-/") {
            return Ok(text.to_owned());
        }
        let rule = "write 1 to 200 letters, digits or any of @.:_+-/";
        Err(BadName::new("a group", text, rule))
    }
}

/// A principal's id inside one provider, such as a login or a user id. Opaque to the domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(String);
checked_name!(Subject);

impl Subject {
    fn check(text: &str) -> Result<String, BadName> {
        if !text.is_empty() && text.len() <= 300 && !text.chars().any(char::is_control) {
            return Ok(text.to_owned());
        }
        Err(BadName::new(
            "a subject",
            text,
            "write 1 to 300 bytes without control characters",
        ))
    }
}

/// The way a command came in; written to the audit beside the principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The REST API, and with it the command line.
    Http,
    /// Slack, as the user whom Slack authenticated.
    Slack,
    /// Telegram, as the user whom Telegram authenticated.
    Telegram,
    /// The Model Context Protocol: a program that was given tools.
    Mcp,
    /// Code that embeds this crate.
    Embedded,
}

/// An authenticated caller: who, and through which door. Being one grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The id that was authenticated; it may be one of several of the same person.
    pub id: PrincipalId,
    /// Where they came in.
    pub door: Door,
}

/// A person, a program that asks in the name of one, or a program that asks for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PrincipalKind {
    /// A human being.
    Person,
    /// A program. It files requests for the one human it is bound to and decides nothing.
    Agent {
        /// The canonical id of that human.
        acts_for: PrincipalId,
        /// What it may use up by asking.
        #[serde(default)]
        caps: AgentCaps,
    },
    /// A program that works for nobody in particular, such as a monitoring system. It files requests
    /// for itself and decides nothing.
    Service,
}

/// What an agent may use up by asking: it asks as fast as it runs, and those who decide do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCaps {
    /// How many of its requests may wait or be granted at once.
    pub open: u32,
    /// How many it may open in an hour.
    pub per_hour: u32,
    /// The longest that it may ask for, whatever the tier allows.
    pub ttl_max: Ttl,
}

impl Default for AgentCaps {
    /// 5 at once, 30 in an hour, an hour each.
    fn default() -> Self {
        Self {
            open: 5,
            per_hour: 30,
            ttl_max: Ttl::HOUR,
        }
    }
}

/// What the directory says of a principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The canonical id: the same whichever alias was looked up.
    pub id: PrincipalId,
    /// Person, agent or service.
    pub kind: PrincipalKind,
    /// Whether the account may be used at all.
    pub active: bool,
    /// The groups that this principal is in.
    pub groups: BTreeSet<GroupName>,
    /// Groups of which it could not be found out whether this principal is in them. They give no
    /// right and take every right that being in them would take; what that refuses is not refused
    /// but put off.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups_unknown: BTreeSet<GroupName>,
    /// The canonical id of the person's manager, where the directory knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<PrincipalId>,
    /// The principal's ids inside the providers, where they differ from the canonical id.
    pub subjects: BTreeMap<ProviderName, Subject>,
}

impl Profile {
    /// Whether this is a program.
    pub fn is_program(&self) -> bool {
        !matches!(self.kind, PrincipalKind::Person)
    }
}
