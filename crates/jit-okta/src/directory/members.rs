//! Who is in a group: whoever Okta lists and whoever the configuration names, as far as they are
//! active. Either all of them, or an error.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jit_core::ports::PortError;
use jit_core::principal::{GroupName, PrincipalId};

use super::person::Found;
use super::{PURPOSE, Shared};
use crate::pages::Pages;
use crate::shapes::{Status, User};
use crate::trouble::Trouble;

/// How many people of the configuration are looked up at once.
const LOOKED_UP_AT_ONCE: usize = 4;

impl Shared {
    pub(super) async fn find_members(
        &self,
        group: &GroupName,
    ) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        let both = futures_util::future::try_join(self.listed(group), self.named(group));
        Ok(match both.await? {
            (None, None) => None,
            (listed, named) => {
                let all = listed.into_iter().chain(named).flatten();
                Some(all.collect())
            }
        })
    }

    /// Whoever Okta lists in its group of this name.
    async fn listed(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        let Some(id) = self.settings.groups.get(group) else {
            return Ok(None);
        };
        let accounts = self.accounts_in(id).await;
        let accounts = accounts.map_err(|trouble| trouble.during("list the members of a group"))?;
        let people = self.people(accounts).await?;
        let active = people.into_iter().filter(super::Person::is_active);
        Ok(Some(active.map(|person| person.id).collect()))
    }

    /// The active accounts in a group of Okta's.
    async fn accounts_in(&self, id: &str) -> Result<Vec<User>, Trouble> {
        let list = self.okta.members_url(id);
        let mut pages = Pages::of(list.clone());
        let mut at = Some(list);
        let mut accounts = Vec::new();
        while let Some(url) = at {
            let page = self.okta.members_page(PURPOSE, &url).await;
            let (users, next) = match page {
                // Whoever was in a group that is gone is not known, and that is not nobody.
                Err(trouble) if trouble.is_not_found() => {
                    return Err(Trouble::NoSuchGroup(id.to_owned()));
                }
                page => page?,
            };
            let active = users
                .into_iter()
                .filter(|user| user.status == Status::Active);
            accounts.extend(active);
            at = pages.turn(next.as_deref())?;
        }
        Ok(accounts)
    }

    /// Whoever the configuration names, as far as Okta has them and they are active there.
    async fn named(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        let Some(named) = self.inner.members(group).await? else {
            return Ok(None);
        };
        let active = stream::iter(named)
            .map(|id| async move { self.active(&id).await })
            .buffer_unordered(LOOKED_UP_AT_ONCE)
            .try_filter_map(|id| std::future::ready(Ok(id)));
        active.try_collect().await.map(Some)
    }

    /// The canonical id of this person, if they are active.
    async fn active(&self, id: &PrincipalId) -> Result<Option<PrincipalId>, PortError> {
        match self.account_behind(id.as_str()).await? {
            Found::Nobody | Found::Away(_) => Ok(None),
            Found::Agent(profile) => Ok(profile.active.then_some(profile.id)),
            Found::Account(user) => {
                let person = self.person(*user).await?;
                let active = person.filter(super::Person::is_active);
                Ok(active.map(|person| person.id))
            }
        }
    }
}
