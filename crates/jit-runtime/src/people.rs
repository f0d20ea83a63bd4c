//! The directory that is the configuration itself: who people are, by which names, and for whom an
//! agent asks. It checks nothing that the configuration's reader has not checked.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jit_core::ports::{Directory, PortError};
use jit_core::principal::{GroupName, PrincipalId, Profile};
use serde::{Deserialize, Serialize};

/// A person or an agent with every name that leads to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPrincipal {
    /// What the directory answers.
    pub profile: Profile,
    /// Names beside the canonical id.
    pub aliases: BTreeSet<PrincipalId>,
}

/// Everybody that the configuration names.
///
/// A name that leads to two people leads to nobody: who asks must never be a guess.
#[derive(Debug, Clone, Default)]
pub struct ConfiguredPeople {
    known: Vec<KnownPrincipal>,
    /// Where a name leads in `known`; none where it leads to several.
    by_name: BTreeMap<PrincipalId, Option<usize>>,
}

impl ConfiguredPeople {
    /// Everybody, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &KnownPrincipal> {
        self.known.iter()
    }

    /// The one whom this name leads to.
    pub fn find(&self, name: &PrincipalId) -> Option<&KnownPrincipal> {
        let index = self.by_name.get(name).copied().flatten()?;
        self.known.get(index)
    }
}

impl FromIterator<KnownPrincipal> for ConfiguredPeople {
    fn from_iter<I: IntoIterator<Item = KnownPrincipal>>(people: I) -> Self {
        let known: Vec<KnownPrincipal> = people.into_iter().collect();
        let mut by_name = BTreeMap::new();
        for (index, one) in known.iter().enumerate() {
            // A set, because an alias that repeats the id is still one name of one person.
            let names: BTreeSet<&PrincipalId> =
                one.aliases.iter().chain([&one.profile.id]).collect();
            for name in names {
                by_name
                    .entry(name.clone())
                    .and_modify(|leads_to| *leads_to = None)
                    .or_insert(Some(index));
            }
        }
        Self { known, by_name }
    }
}

#[async_trait]
impl Directory for ConfiguredPeople {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        Ok(self.find(id).map(|known| known.profile.clone()))
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        let mut members = None;
        for profile in self.known.iter().map(|known| &known.profile) {
            if profile.groups.contains(group) {
                let members: &mut BTreeSet<PrincipalId> = members.get_or_insert_default();
                members.extend(profile.active.then(|| profile.id.clone()));
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_core::principal::PrincipalKind;

    fn known(id: &str, aliases: &[&str], kind: PrincipalKind) -> KnownPrincipal {
        KnownPrincipal {
            profile: Profile {
                id: id.parse().unwrap(),
                kind,
                active: true,
                groups: BTreeSet::new(),
                groups_unknown: Default::default(),
                manager: None,
                subjects: BTreeMap::new(),
            },
            aliases: aliases.iter().map(|alias| alias.parse().unwrap()).collect(),
        }
    }

    async fn id_behind(people: &ConfiguredPeople, name: &str) -> Option<String> {
        let profile = people.profile(&name.parse().unwrap()).await.unwrap()?;
        Some(profile.id.to_string())
    }

    #[tokio::test]
    async fn every_alias_leads_to_one_canonical_id() {
        let people: ConfiguredPeople = [known(
            "ana@example.com",
            &["ana", "a.lopez@example.com", "ana@example.com"],
            PrincipalKind::Person,
        )]
        .into_iter()
        .collect();
        for name in ["ana@example.com", "ANA", "a.lopez@example.com"] {
            assert_eq!(
                id_behind(&people, name).await.as_deref(),
                Some("ana@example.com")
            );
        }
        assert_eq!(id_behind(&people, "bob@example.com").await, None);
    }

    #[tokio::test]
    async fn a_name_that_leads_to_two_people_leads_to_nobody() {
        let person = |id, aliases| known(id, aliases, PrincipalKind::Person);
        let people: ConfiguredPeople = [
            person("ana@example.com", &["ops"]),
            person("bob@example.com", &["ops", "ana@example.com"]),
        ]
        .into_iter()
        .collect();
        assert_eq!(id_behind(&people, "ops").await, None);
        assert_eq!(id_behind(&people, "ana@example.com").await, None);
        assert!(id_behind(&people, "bob@example.com").await.is_some());
    }

    #[tokio::test]
    async fn an_agent_names_the_person_that_it_asks_for() {
        let acts_for: PrincipalId = "ana@example.com".parse().unwrap();
        let kind = PrincipalKind::Agent {
            acts_for: acts_for.clone(),
        };
        let people: ConfiguredPeople = [known("agent:bot", &[], kind.clone())]
            .into_iter()
            .collect();
        let bot = people.profile(&"agent:bot".parse().unwrap()).await.unwrap();
        assert_eq!(bot.unwrap().kind, kind);
    }
}
