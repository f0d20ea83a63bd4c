//! What can be asked for. Who may have it is the policy's; how it is given is an adapter's.

mod parameters;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use parameters::{DisplayTemplate, ParameterRule, ParameterSchema};

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

    /// What stands behind the provider's name and the slash.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
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
        self.fits(id.as_str())
    }

    /// Whether everything that fits the other pattern fits this one.
    pub fn covers(&self, other: &Self) -> bool {
        // A star of the other one is met by a star of ours alone, which takes all that it stands for.
        self.fits(&other.0)
    }

    fn fits(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
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

impl Pattern {
    /// Whether some text fits both patterns.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, other) = (self.0.as_bytes(), other.0.as_bytes());
        // Whether what is left of both can be the same, from the back: a row for each place in one.
        let mut behind = vec![false; other.len() + 1];
        for place in (0..=one.len()).rev() {
            let head = one.get(place);
            let mut row = vec![false; other.len() + 1];
            for at in (0..=other.len()).rev() {
                let next = other.get(at);
                let skips = |star: Option<&u8>, fits: Option<&bool>| {
                    star == Some(&b'*') && fits == Some(&true)
                };
                let fits = match (head, next) {
                    (None, None) => true,
                    _ if skips(head, behind.get(at)) || skips(next, row.get(at + 1)) => true,
                    // A star stands for what the other one goes on with.
                    (Some(b'*'), Some(_)) => row.get(at + 1) == Some(&true),
                    (Some(_), Some(b'*')) => behind.get(at) == Some(&true),
                    (Some(one), Some(other)) => one == other && behind.get(at + 1) == Some(&true),
                    (None, Some(_)) | (Some(_), None) => false,
                };
                if let Some(cell) = row.get_mut(at) {
                    *cell = fits;
                }
            }
            behind = row;
        }
        behind.first() == Some(&true)
    }
}

/// One thing that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// How a request for it is called by its parameters, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<DisplayTemplate>,
    /// What the provider fills the parameters into. Opaque to the domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// What whoever has it can do, for those who decide; empty where nobody wrote it down.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub allows: String,
    /// For a credential: what is given instead where its provider says that it cannot make it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<EntitlementId>,
}

/// Everything of a provider whose id fits a pattern: too many things to write down one by one, or
/// things that come and go. Whether there is such a thing is for the provider to say when it is
/// asked for; what it may cost to have it is said here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// Which ids. The provider's name and its slash stand in front of the first `*`.
    pub pattern: Pattern,
    /// One line for people; the name of the thing follows it in brackets.
    pub title: String,
    /// What the person does with it once they have it.
    pub how_to_use: String,
    /// Its risk class.
    pub tier: TierName,
}

impl Family {
    /// The member with this id. Its resource is its name, for the provider to understand.
    fn member(&self, id: &EntitlementId) -> Entitlement {
        let name = id.name();
        Entitlement {
            id: id.clone(),
            resource: name.to_owned(),
            title: format!("{} ({name})", self.title),
            how_to_use: self.how_to_use.clone(),
            tier: self.tier.clone(),
            parameters: ParameterRule::Refused,
            display: None,
            template: None,
            allows: String::new(),
            fallback: None,
        }
    }
}

/// Everything that can be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Catalog {
    entries: BTreeMap<EntitlementId, Entitlement>,
    families: Vec<Family>,
}

impl Catalog {
    /// The same with these families behind those that are there.
    #[must_use]
    pub fn with_families(mut self, families: impl IntoIterator<Item = Family>) -> Self {
        self.families.extend(families);
        self
    }

    /// The entry with this id: the one that is written down, or else the member of the first family
    /// that it fits.
    pub fn get(&self, id: &EntitlementId) -> Option<Cow<'_, Entitlement>> {
        if let Some(entry) = self.entries.get(id) {
            return Some(Cow::Borrowed(entry));
        }
        let family = self.families.iter().find(|it| it.pattern.matches(id))?;
        Some(Cow::Owned(family.member(id)))
    }

    /// Every entry that is written down, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = &Entitlement> {
        self.entries.values()
    }

    /// Every family, in the order in which they are tried.
    pub fn families(&self) -> &[Family] {
        &self.families
    }
}

impl FromIterator<Entitlement> for Catalog {
    fn from_iter<I: IntoIterator<Item = Entitlement>>(entries: I) -> Self {
        Self {
            entries: entries
                .into_iter()
                .map(|entry| (entry.id.clone(), entry))
                .collect(),
            families: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_comes_before_the_first_family_that_fits() {
        let entry = |id: &str, tier: &str| Entitlement {
            id: id.parse().unwrap(),
            resource: "r".to_owned(),
            title: "t".to_owned(),
            how_to_use: String::new(),
            tier: tier.parse().unwrap(),
            parameters: ParameterRule::Refused,
            display: None,
            template: None,
            allows: String::new(),
            fallback: None,
        };
        let family = |pattern: &str, tier: &str| Family {
            pattern: pattern.parse().unwrap(),
            title: "Access".to_owned(),
            how_to_use: "Sign in.".to_owned(),
            tier: tier.parse().unwrap(),
        };
        let catalog: Catalog = [entry("aws/prod-a/Admin", "own")].into_iter().collect();
        let catalog = catalog.with_families([
            family("aws/prod-*/ReadOnly*", "reading"),
            family("aws/prod-*", "prod"),
        ]);
        let get = |id: &str| catalog.get(&id.parse().unwrap()).map(Cow::into_owned);
        let tier = |id: &str| get(id).map(|entry| entry.tier.to_string());
        assert_eq!(tier("aws/prod-a/Admin").as_deref(), Some("own"));
        assert_eq!(
            tier("aws/prod-a/ReadOnlyAccess").as_deref(),
            Some("reading")
        );
        assert_eq!(tier("aws/prod-a/Write").as_deref(), Some("prod"));
        assert_eq!(tier("aws/dev-a/Write"), None);
        let member = get("aws/prod-b/ReadOnlyAccess").unwrap();
        assert_eq!(member.resource, "prod-b/ReadOnlyAccess");
        assert_eq!(member.title, "Access (prod-b/ReadOnlyAccess)");
    }

    #[test]
    fn a_pattern_covers_what_is_narrower() {
        let covers = |one: &str, other: &str| {
            let (one, other): (Pattern, Pattern) = (one.parse().unwrap(), other.parse().unwrap());
            one.covers(&other)
        };
        assert!(covers("aws/*", "aws/prod-*") && covers("*", "*") && covers("a*", "a*b*"));
        assert!(
            !covers("aws/prod-*", "aws/*") && !covers("a*b", "a*") && !covers("aws/a", "aws/*")
        );
    }

    #[test]
    fn patterns_overlap_where_one_text_fits_both() {
        let overlap = |one: &str, other: &str| {
            let (one, other): (Pattern, Pattern) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(one.overlaps(&other), other.overlaps(&one), "{one} {other}");
            one.overlaps(&other)
        };
        for (one, other) in [
            ("*", "aws/*"),
            ("aws/prod-*", "aws/*/ReadOnly*"),
            ("aws/prod-a", "aws/prod-a"),
            ("aws/*", "aws/prod-a"),
            ("a*b", "a*c*b"),
            ("*a", "a*"),
            ("**", "a"),
            ("a*", "*"),
        ] {
            assert!(overlap(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("aws/prod-*", "aws/dev-*"),
            ("groupfile/*", "aws/*"),
            ("a*b", "a*c"),
            ("aws/prod-a", "aws/prod-ab"),
            ("*a", "*b"),
            ("a", "a*b"),
        ] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }

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
