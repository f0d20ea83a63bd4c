//! Whom to mention where a decision is waited for: whoever may make it, as far as the rules name
//! them. It judges nobody's right to decide; that is the engine's, at the decision.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jit_core::engine::{Own, Recent, eligible};
use jit_core::policy::{Deciders as Named, Policy, Span, Who};
use jit_core::ports::{Clock, Directory};
use jit_core::request::{AccessRequest, Approver};

use crate::groups::user_group;
use crate::people::{Names, UserGroupId, UserId};
use crate::roster::listed_user;

/// People that a reminder mentions at most: more of them would all wait for another.
const MENTIONS: usize = 10;

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
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Deciders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deciders").finish_non_exhaustive()
    }
}

impl Deciders {
    pub(crate) fn new(
        policy: Policy,
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            policy,
            directory,
            clock,
        }
    }

    /// Whoever may decide this now and has not yet. A rule for everybody names nobody.
    pub(crate) async fn of(&self, request: &AccessRequest, names: &Names) -> Mentions {
        let named = self.named(request);
        self.mentions(named, request, names).await
    }

    /// Those of them whom a step of the ladder is for.
    pub(crate) async fn among(
        &self,
        to: &BTreeSet<Who>,
        request: &AccessRequest,
        names: &Names,
    ) -> Mentions {
        let mut named = self.named(request);
        named.allowed.retain(|who| to.contains(*who));
        self.mentions(named, request, names).await
    }

    fn named(&self, request: &AccessRequest) -> Named<'_> {
        let now = self.clock.now();
        let span = Span {
            opened_at: request.opened_at,
            from: now,
            until: now,
        };
        let on = &request.parts.first().entitlement;
        self.policy.deciders(on, span)
    }

    /// A user group is mentioned as one; whoever cannot be looked up is not mentioned, as that is no
    /// reason to fail.
    async fn mentions(
        &self,
        mut named: Named<'_>,
        request: &AccessRequest,
        names: &Names,
    ) -> Mentions {
        let mut mentions = Mentions::default();
        let denied = named.denied.clone();
        named.allowed.retain(|who| {
            let group = match who {
                Who::Group(group) => user_group(group),
                Who::AnyPerson | Who::AnyAgent | Who::Manager | Who::Principal(_) => None,
            };
            let is_group = group.is_some();
            if !denied.contains(*who) {
                mentions.groups.extend(group);
            }
            !is_group
        });
        let directory = self.directory.as_ref();
        let beneficiary = directory.profile_lately(&request.beneficiary).await;
        let Ok(Some(beneficiary)) = beneficiary else {
            return mentions;
        };
        let own = Own {
            requester: &request.requester,
            beneficiary: &beneficiary,
        };
        let found = eligible(&named, directory, own, Recent::Lately).await;
        let approved = |id: &_| {
            let me = Approver::Person(Clone::clone(id));
            request.approvals.iter().any(|approval| approval.by == me)
        };
        let people = found.people.iter().filter(|id| !approved(id));
        let mut asked = 0;
        for id in people {
            let user = match names.user(id) {
                Some(user) => Some(user.clone()),
                None if asked < MENTIONS => {
                    asked += 1;
                    listed_user(directory, id).await
                }
                None => None,
            };
            mentions.users.extend(user);
            if mentions.users.len() == MENTIONS {
                break;
            }
        }
        mentions
    }
}
