//! Slack's user groups as groups of this service: `slack:S012AB3CD` in a rule means whoever is in
//! that user group at the decision. With Slack away nobody can say who that is, and nothing else
//! waits for it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use jit_core::policy::{Effect, Policy, Who};
use jit_core::ports::{Directory, ErrorKind, PortError};
use jit_core::principal::{GroupName, PrincipalId, Profile};

use crate::ADAPTER;
use crate::people::{UserGroupId, UserId};
use crate::roster::{Recent, Roster};

/// How many users of a group are looked up at once.
const AT_ONCE: usize = 8;
/// The longest that listing a group takes. [`Directory`] promises 10 s.
const LIST_WITHIN: Duration = Duration::from_millis(9_500);

/// A directory that also knows who is in which user group of a workspace.
pub(crate) struct WithUserGroups {
    inner: Arc<dyn Directory>,
    roster: Arc<Roster>,
    groups: Vec<(GroupName, UserGroupId)>,
    /// Those from which a rule takes something.
    denied: BTreeSet<GroupName>,
}

impl fmt::Debug for WithUserGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithUserGroups")
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

/// The groups from which a rule takes something.
pub(crate) fn denied(policy: &Policy) -> BTreeSet<GroupName> {
    let rules = policy.rules().iter();
    let taking = rules.filter(|rule| rule.effect == Effect::Deny);
    let named = taking.flat_map(|rule| &rule.principals);
    named
        .filter_map(|who| match who {
            Who::Group(group) => Some(group.clone()),
            Who::AnyPerson | Who::AnyAgent | Who::Manager | Who::Principal(_) => None,
        })
        .collect()
}

/// The user group that a group of the policy names, if it names one.
pub fn user_group(group: &GroupName) -> Option<UserGroupId> {
    group.as_str().strip_prefix("slack:")?.parse().ok()
}

impl WithUserGroups {
    pub(crate) fn new(
        inner: Arc<dyn Directory>,
        roster: Arc<Roster>,
        groups: BTreeSet<GroupName>,
        denied: BTreeSet<GroupName>,
    ) -> Self {
        let groups: Vec<_> = groups
            .into_iter()
            .filter_map(|name| user_group(&name).map(|group| (name, group)))
            .collect();
        roster.name_groups(groups.iter().map(|(_, group)| group.clone()));
        Self {
            inner,
            roster,
            groups,
            denied,
        }
    }

    /// The profile with the user groups that they are in, and those of which nobody could say.
    async fn with_groups(&self, mut profile: Profile, how: Recent) -> Profile {
        // A program is no user of Slack's.
        if self.groups.is_empty() || profile.is_program() {
            return profile;
        }
        let user = match self.roster.user_of(&profile.id).await {
            Ok(Some(user)) => user,
            // Who they are in Slack is not known here, so that no group of Slack's gives them
            // anything; they may be in one all the same, and then what it takes is taken.
            Ok(None) => {
                let denied = self.groups.iter().filter(|it| self.denied.contains(&it.0));
                profile.groups_unknown.extend(denied.map(|it| it.0.clone()));
                return profile;
            }
            Err(error) => {
                tracing::warn!(error = %error.chain(), "which Slack user somebody is cannot be read");
                let names = self.groups.iter().map(|(name, _)| name.clone());
                profile.groups_unknown.extend(names);
                return profile;
            }
        };
        let members = self.roster.members(how).await;
        for (name, group) in &self.groups {
            match members.as_ref().and_then(|it| it.has(group, &user)) {
                Some(true) => drop(profile.groups.insert(name.clone())),
                Some(false) => {}
                None => drop(profile.groups_unknown.insert(name.clone())),
            }
        }
        profile
    }

    /// Who the users in this group are here; users who are nobody here are left out.
    async fn in_group(
        &self,
        group: &UserGroupId,
        how: Recent,
    ) -> Result<BTreeSet<PrincipalId>, PortError> {
        let listed = tokio::time::timeout(LIST_WITHIN, self.list(group, how)).await;
        listed.unwrap_or_else(|elapsed| Err(unknown().because(elapsed)))
    }

    async fn list(
        &self,
        group: &UserGroupId,
        how: Recent,
    ) -> Result<BTreeSet<PrincipalId>, PortError> {
        let members = self.roster.members(how).await.ok_or_else(unknown)?;
        let users = members.of(group).ok_or_else(unknown)?;
        let found = stream::iter(users).map(|user| self.member(user, how));
        let found: Vec<Option<PrincipalId>> = found.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Who this user is here, where they are active.
    async fn member(&self, user: UserId, how: Recent) -> Result<Option<PrincipalId>, PortError> {
        let Some(id) = self.roster.known_as(user).await? else {
            return Ok(None);
        };
        let profile = match how {
            Recent::Now => self.inner.profile(&id).await?,
            Recent::Lately => self.inner.profile_lately(&id).await?,
        };
        Ok(profile.filter(|it| it.active).map(|it| it.id))
    }
}

fn unknown() -> PortError {
    PortError::nothing_done(ADAPTER, "list a user group", ErrorKind::Unavailable)
}

#[async_trait]
impl Directory for WithUserGroups {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        match self.inner.profile(id).await? {
            Some(profile) => Ok(Some(self.with_groups(profile, Recent::Now).await)),
            None => Ok(None),
        }
    }

    async fn profile_lately(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        match self.inner.profile_lately(id).await? {
            Some(profile) => Ok(Some(self.with_groups(profile, Recent::Lately).await)),
            None => Ok(None),
        }
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        match user_group(group) {
            Some(group) => self.in_group(&group, Recent::Now).await.map(Some),
            None => self.inner.members(group).await,
        }
    }

    async fn members_lately(
        &self,
        group: &GroupName,
    ) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        match user_group(group) {
            Some(group) => self.in_group(&group, Recent::Lately).await.map(Some),
            None => self.inner.members_lately(group).await,
        }
    }
}
