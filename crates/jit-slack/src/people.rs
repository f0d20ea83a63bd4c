//! Who is who between Slack and this service (S10).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jit_core::principal::PrincipalId;
use serde::{Deserialize, Serialize};

/// A name that is not one of Slack's ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {what} looks like {example}")]
pub struct BadSlackId {
    text: String,
    what: &'static str,
    example: &'static str,
}

macro_rules! slack_id {
    ($(#[$doc:meta])* $name:ident, $letters:literal, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadSlackId;
            fn from_str(text: &str) -> Result<Self, BadSlackId> {
                let known = text.chars().next().is_some_and(|c| $letters.contains(c));
                let plain = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
                if known && plain && (2..=32).contains(&text.len()) {
                    return Ok(Self(text.to_owned()));
                }
                let text = text.chars().take(60).collect();
                Err(BadSlackId { text, what: $what, example: $example })
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadSlackId;
            fn try_from(text: String) -> Result<Self, BadSlackId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

slack_id!(
    /// A user: `U…` or `W…`.
    UserId, "UW", "a Slack user id", "U012AB3CD"
);
slack_id!(
    /// A workspace: `T…`.
    TeamId, "T", "a Slack workspace id", "T012AB3CD"
);
slack_id!(
    /// A channel, or a conversation with one person: `C…`, `D…` or `G…`.
    ChannelId, "CDG", "a Slack channel id", "C012AB3CD"
);
slack_id!(
    /// A user group: `S…`.
    UserGroupId, "S", "a Slack user group id", "S012AB3CD"
);

/// Which Slack user a principal is, as far as it is known here.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<PrincipalId, UserId>);

impl Names {
    /// The user that this principal is.
    pub fn user(&self, id: &PrincipalId) -> Option<&UserId> {
        self.0.get(id)
    }

    /// Everybody, with the user that they are.
    pub fn iter(&self) -> impl Iterator<Item = (&PrincipalId, &UserId)> {
        self.0.iter()
    }

    /// Remembers one.
    pub fn insert(&mut self, id: PrincipalId, user: UserId) {
        self.0.insert(id, user);
    }
}

impl FromIterator<(PrincipalId, UserId)> for Names {
    fn from_iter<I: IntoIterator<Item = (PrincipalId, UserId)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_slacks_or_refused() {
        assert!("U012AB3CD".parse::<UserId>().is_ok());
        assert!("W9".parse::<UserId>().is_ok());
        for bad in ["", "U", "u012", "T012", "U01>", "U01 2", "<@U01>", "U|a"] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?}");
        }
        assert!("C1".parse::<ChannelId>().is_ok());
        assert!("#general".parse::<ChannelId>().is_err());
    }
}
