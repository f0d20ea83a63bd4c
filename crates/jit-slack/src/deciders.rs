//! Whom to mention where a decision is waited for: whoever may make it, as far as the rules name
//! them. It judges nobody's right to decide; that is the engine's, at the decision.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use jit_core::policy::{Effect, Policy, Right, Rule, Who};
use jit_core::ports::Directory;
use jit_core::principal::{GroupName, PrincipalId};
use jit_core::request::{AccessRequest, Approver};

use crate::groups::user_group;
use crate::people::{Names, UserGroupId, UserId};

/// People that a reminder mentions at most: more of them would all wait for another.
const MENTIONS: usize = 10;
/// People who are looked up for that at most.
const LOOKED_UP: usize = 30;

/// Whom a message mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    /// Everybody in these user groups.
    pub(crate) groups: BTreeSet<UserGroupId>,
    /// These people.
    pub(crate) users: BTreeSet<UserId>,
}

/// Who may decide what, by the rules.
pub(crate) struct Deciders {
    policy: Policy,
    members: BTreeMap<GroupName, BTreeSet<PrincipalId>>,
    directory: Arc<dyn Directory>,
}

impl fmt::Debug for Deciders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deciders").finish_non_exhaustive()
    }
}

impl Deciders {
    pub(crate) fn new(
        policy: Policy,
        members: BTreeMap<GroupName, BTreeSet<PrincipalId>>,
        directory: Arc<dyn Directory>,
    ) -> Self {
        Self {
            policy,
            members,
            directory,
        }
    }

    /// Whoever may decide this and has not yet. A rule for everybody names nobody.
    pub(crate) async fn of(&self, request: &AccessRequest, names: &Names) -> Mentions {
        let named = self.named(request, Effect::Allow);
        let denied = self.named(request, Effect::Deny);
        let groups = named.iter().filter(|who| !denied.contains(*who));
        let groups = groups.filter_map(|who| match who {
            Who::Group(group) => user_group(group),
            Who::AnyPerson | Who::AnyAgent | Who::Principal(_) => None,
        });
        let people: BTreeSet<&PrincipalId> = named
            .iter()
            .flat_map(|who| match who {
                Who::Principal(id) => vec![id],
                Who::Group(group) => self.members.get(group).into_iter().flatten().collect(),
                Who::AnyPerson | Who::AnyAgent => vec![],
            })
            .filter(|id| names.user(id).is_some())
            .collect();
        let looked_up = people.into_iter().take(LOOKED_UP);
        let users = join_all(looked_up.map(|id| self.decides(id, request))).await;
        let users = users.into_iter().flatten();
        Mentions {
            groups: groups.collect(),
            users: users
                .filter_map(|id| names.user(&id).cloned())
                .take(MENTIONS)
                .collect(),
        }
    }

    /// Whom rules of this kind about the decision name.
    fn named(&self, request: &AccessRequest, effect: Effect) -> BTreeSet<&Who> {
        let on = &request.parts.first().entitlement;
        let fits = |rule: &&Rule| {
            rule.effect == effect
                && rule.rights.contains(&Right::Approve)
                && rule.entitlements.iter().any(|entry| entry.matches(on))
        };
        let rules = self.policy.rules().iter().filter(fits);
        rules.flat_map(|rule| &rule.principals).collect()
    }

    /// Their id, where they are there, may decide it, and have not yet. Whoever cannot be looked
    /// up is not mentioned: a reminder is no reason to fail.
    async fn decides(&self, id: &PrincipalId, request: &AccessRequest) -> Option<PrincipalId> {
        let profile = self.directory.profile(id).await.ok().flatten()?;
        let (own, me) = (
            [&request.requester, &request.beneficiary],
            Approver::Person(profile.id.clone()),
        );
        let has_approved = request.approvals.iter().any(|approval| approval.by == me);
        let mut parts = request.parts.iter();
        let may = parts.all(|part| {
            let entitlement = &part.entitlement;
            self.policy.allows(Right::Approve, &profile, entitlement)
        });
        (may && !has_approved && !own.contains(&&profile.id)).then_some(profile.id)
    }
}
