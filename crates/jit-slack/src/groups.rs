//! Slack's user groups as groups of this service: `slack:S012AB3CD` in a rule means whoever is in
//! that user group at the decision.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jit_core::ports::{Directory, PortError};
use jit_core::principal::{GroupName, PrincipalId, Profile};

use crate::people::UserGroupId;
use crate::roster::Roster;

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
        let groups = groups
            .into_iter()
            .filter_map(|name| user_group(&name).map(|group| (name, group)))
            .collect();
        Self {
            inner,
            roster,
            groups,
        }
    }
}

#[async_trait]
impl Directory for WithUserGroups {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let Some(mut profile) = self.inner.profile(id).await? else {
            return Ok(None);
        };
        let names = self.roster.names();
        // Whom Slack does not know is in none of its groups.
        let Some(user) = names.user(&profile.id) else {
            return Ok(Some(profile));
        };
        for (name, group) in &self.groups {
            if self.roster.is_member(group, user).await? {
                profile.groups.insert(name.clone());
            }
        }
        Ok(Some(profile))
    }
}
