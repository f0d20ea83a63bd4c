//! Who could decide, found from the rules and the directory: to refuse at once what nobody may
//! decide, and to tell people. Nobody's decision is judged by it.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};

use crate::policy::{Deciders, Who};
use crate::ports::{Directory, PortError};
use crate::principal::{PrincipalId, Profile};

/// Whoever could decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Eligible {
    /// Active people, by canonical id, who neither made the request nor get the access.
    pub people: BTreeSet<PrincipalId>,
    /// Whether these are all.
    pub reach: Reach,
}

/// How far what was found goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// These are all.
    #[default]
    Whole,
    /// Something could not be found out: there may be more, or fewer.
    Unsure,
    /// A rule lets every person decide; those who are named are only some.
    Everybody,
}

/// How recent it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recent {
    /// Found out now.
    Now,
    /// As it was known lately, for whoever only looks.
    Lately,
}

impl Recent {
    /// What is known of this principal.
    pub(super) async fn profile(
        self,
        directory: &dyn Directory,
        id: &PrincipalId,
    ) -> Result<Option<Profile>, PortError> {
        match self {
            Self::Now => directory.profile(id).await,
            Self::Lately => directory.profile_lately(id).await,
        }
    }
}

/// Whose request it is: the one who asks and the one who gets the access.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Who asks.
    pub requester: &'a PrincipalId,
    /// Who gets the access.
    pub beneficiary: &'a Profile,
}

/// Whoever could decide of those whom the rules name, as the directory knows them. What cannot be
/// looked up is left out and said so.
pub async fn eligible(
    deciders: &Deciders<'_>,
    directory: &dyn Directory,
    own: Own<'_>,
    how: Recent,
) -> Eligible {
    if deciders.denied.contains(&Who::AnyPerson) {
        return Eligible::default();
    }
    let find = Finder {
        directory,
        manager: own.beneficiary.manager.as_ref(),
        how,
    };
    let (allowed, denied) = join(
        find.all(deciders.allowed.iter().copied()),
        find.all(deciders.denied.iter().copied()),
    )
    .await;
    let mut people = allowed.people;
    people.retain(|id| {
        let is_own = id == own.requester || *id == own.beneficiary.id;
        !is_own && !denied.people.contains(id)
    });
    let reach = match (allowed.reach, denied.reach) {
        (Reach::Everybody, _) => Reach::Everybody,
        (Reach::Unsure, _) | (_, Reach::Unsure) => Reach::Unsure,
        (Reach::Whole, Reach::Whole | Reach::Everybody) => Reach::Whole,
    };
    Eligible { people, reach }
}

struct Finder<'a> {
    directory: &'a dyn Directory,
    manager: Option<&'a PrincipalId>,
    how: Recent,
}

impl Finder<'_> {
    async fn all<'w>(&self, named: impl Iterator<Item = &'w Who>) -> Eligible {
        let mut all = Eligible::default();
        for found in join_all(named.map(|who| self.one(who))).await {
            match found {
                Ok(found) => {
                    all.people.extend(found.people);
                    all.reach = all.reach.max(found.reach);
                }
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "who may decide is not known whole");
                    all.reach = all.reach.max(Reach::Unsure);
                }
            }
        }
        all
    }

    async fn one(&self, who: &Who) -> Result<Eligible, PortError> {
        let (directory, mut found) = (self.directory, Eligible::default());
        match (who, self.how) {
            (Who::AnyPerson, _) => found.reach = Reach::Everybody,
            (Who::AnyAgent, _) => {}
            (Who::Group(group), how) => {
                let members = match how {
                    Recent::Now => directory.members(group).await?,
                    Recent::Lately => directory.members_lately(group).await?,
                };
                match members {
                    Some(people) => found.people = people,
                    None => found.reach = Reach::Unsure,
                }
            }
            (Who::Manager, _) => {
                if let Some(manager) = self.manager {
                    found.people.extend(self.person(manager).await?);
                }
            }
            (Who::Principal(id), _) => found.people.extend(self.person(id).await?),
        }
        Ok(found)
    }

    /// Their canonical id, where they are an active person.
    async fn person(&self, id: &PrincipalId) -> Result<Option<PrincipalId>, PortError> {
        let profile = self.how.profile(self.directory, id).await?;
        let profile = profile.filter(|profile| profile.active && !profile.is_program());
        Ok(profile.map(|profile| profile.id))
    }
}
