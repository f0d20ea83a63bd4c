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
pub(crate) mod tests;
