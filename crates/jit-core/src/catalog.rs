//! What can be asked for. Who may have it is the policy's; how it is given is an adapter's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::TierName;
use crate::principal::{BadName, checked_name, is_plain};

/// The name of a configured provider: `groupfile`, `aws`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderName(String);
checked_name!(ProviderName);

impl ProviderName {
    fn check(text: &str) -> Result<String, BadName> {
        if is_plain(text, 60, "_-") {
            return Ok(text.to_owned());
        }
        Err(BadName::new(
            "a provider",
            text,
            "write 1 to 60 letters, digits, _ or -",
        ))
    }
}

/// What can be granted: a provider's name, a slash, and a name within it, as in
/// `groupfile/admins` or `aws/prod-billing/ReadOnly`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntitlementId(String);
checked_name!(EntitlementId);

impl EntitlementId {
    fn check(text: &str) -> Result<String, BadName> {
        let rule = "write provider/name, at most 200 letters, digits or any of _-./:@+";
        let bad = || BadName::new("an entitlement", text, rule);
        let (provider, name) = text.split_once('/').ok_or_else(bad)?;
        ProviderName::check(provider).map_err(|_| bad())?;
        if !is_plain(name, 200 - provider.len(), "_-./:@+") {
            return Err(bad());
        }
        Ok(text.to_owned())
    }

    /// The provider that gives it.
    pub fn provider(&self) -> ProviderName {
        let provider = self
            .0
            .split_once('/')
            .map_or(self.0.as_str(), |(provider, _)| provider);
        ProviderName(provider.to_owned())
    }
}

/// A pattern over entitlement ids in which `*` stands for any run of characters, also none:
/// `aws/prod-*/ReadOnly*`, `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);
checked_name!(Pattern);

impl Pattern {
    fn check(text: &str) -> Result<String, BadName> {
        if is_plain(text, 200, "_-./:@+*") {
            return Ok(text.to_owned());
        }
        let rule = "write at most 200 letters, digits, * or any of _-./:@+";
        Err(BadName::new("an entitlement pattern", text, rule))
    }

    /// Whether the whole id fits the pattern.
    pub fn matches(&self, id: &EntitlementId) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = id.as_str().strip_prefix(first) else {
            return false;
        };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else {
            return rest.is_empty();
        };
        for part in parts {
            // The earliest match of each middle part leaves the most for those after it.
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

/// Whether an entitlement takes parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterRule {
    /// A request that carries any is refused.
    Refused,
    /// Any JSON object up to 4 KiB; the provider judges it when the target is resolved.
    Free,
}

/// One thing that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entitlement {
    /// Its id in requests, rules and the audit.
    pub id: EntitlementId,
    /// What the provider calls it: a group, a role, a path. Opaque to the domain.
    pub resource: String,
    /// One line for people.
    pub title: String,
    /// What the person does with it once they have it.
    pub how_to_use: String,
    /// Its risk class.
    pub tier: TierName,
    /// Whether it takes parameters.
    pub parameters: ParameterRule,
}

/// Everything that can be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    entries: BTreeMap<EntitlementId, Entitlement>,
}

impl Catalog {
    /// The entry with this id.
    pub fn get(&self, id: &EntitlementId) -> Option<&Entitlement> {
        self.entries.get(id)
    }

    /// Every entry, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = &Entitlement> {
        self.entries.values()
    }
}

impl FromIterator<Entitlement> for Catalog {
    fn from_iter<I: IntoIterator<Item = Entitlement>>(entries: I) -> Self {
        Self {
            entries: entries
                .into_iter()
                .map(|entry| (entry.id.clone(), entry))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_ids() {
        let id = |text: &str| text.parse::<EntitlementId>().unwrap();
        let fits =
            |pattern: &str, text: &str| pattern.parse::<Pattern>().unwrap().matches(&id(text));
        assert!(fits("*", "aws/prod-a/ReadOnly"));
        assert!(fits("aws/prod-*/ReadOnly*", "aws/prod-a/ReadOnlyAccess"));
        assert!(fits("aws/prod-a", "aws/prod-a"));
        assert!(fits("*a*a", "aws/a/a"));
        assert!(!fits("aws/prod-*/ReadOnly", "aws/prod-a/ReadOnlyAccess"));
        assert!(!fits("aws/prod-a", "aws/prod-ab"));
        assert!(!fits("ws/*", "aws/prod-a"));
        assert!(!fits("aws/ab*ba", "aws/aba"));
    }
}
