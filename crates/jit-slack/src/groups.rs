//! Slack's user groups as groups of this service: `slack:S012AB3CD` in a rule means whoever is in
//! that user group at the decision. With Slack away nobody can say who that is, and nothing else
//! waits for it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use jit_core::ports::{Directory, PortError};
use jit_core::principal::{GroupName, PrincipalId, Profile};

use crate::people::UserGroupId;
use crate::roster::{Recent, Roster};

/// A directory that also knows who is in which user group of a workspace.
pub(crate) struct WithUserGroups {
    inner: Arc<dyn Directory>,
    roster: Arc<Roster>,
    groups: Vec<(GroupName, UserGroupId)>,
}

impl fmt::Debug for WithUserGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithUserGroups")
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
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
        }
    }

    /// The profile with the user groups that they are in, and those of which nobody could say.
    async fn with_groups(&self, mut profile: Profile, how: Recent) -> Profile {
        // A program is no user of Slack's.
        if self.groups.is_empty() || profile.is_agent() {
            return profile;
        }
        let user = match self.roster.user_of(&profile.id).await {
            Ok(Some(user)) => user,
            // Whom Slack does not know is in none of its groups.
            Ok(None) => return profile,
            Err(error) => {
                tracing::warn!(error = %error.chain(), "which Slack user somebody is cannot be read");
                let names = self.groups.iter().map(|(name, _)| name.clone());
                profile.groups_unknown.extend(names);
                return profile;
            }
        };
        let asked = self.groups.iter().map(|(name, group)| {
            let user = &user;
            async move { (name, self.roster.is_member(group, user, how).await) }
        });
        for (name, is_member) in join_all(asked).await {
            match is_member {
                Some(true) => drop(profile.groups.insert(name.clone())),
                Some(false) => {}
                None => drop(profile.groups_unknown.insert(name.clone())),
            }
        }
        profile
    }
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
}
