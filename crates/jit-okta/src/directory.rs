//! The directory of people: whoever the configuration names, and whoever Okta knows. It stands in
//! front of the configured one and adds what Okta says. Who may do what is not judged here.

mod members;
mod person;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::ports::{Directory, Effect, PROFILE_REMEMBERED_FOR, PortError, Purpose};
use jit_core::principal::{GroupName, PrincipalId, Profile, Subject};

use crate::client::Okta;
use crate::memory::{Lately, Memory};
use crate::shapes::{User, is_group_id};
use crate::trouble::Trouble;

use person::{Found, Person};

/// The longest that a profile takes; the contract allows 3 s.
const PROFILE_LIMIT: Duration = Duration::from_millis(2_900);
/// The longest that the members of a group take; the contract allows 10 s.
const MEMBERS_LIMIT: Duration = Duration::from_millis(9_500);
/// How old an answer for whoever only looks may be before it is found out again.
const FRESH: Duration = Duration::from_secs(60);
/// For how long whoever only looks may see what was known while Okta is away.
const KEPT: Duration = Duration::from_secs(3_600);
/// People and groups remembered at once.
const PEOPLE_REMEMBERED: usize = 10_000;
const GROUPS_REMEMBERED: usize = 500;

/// What of Okta's matters.
#[derive(Debug, Clone)]
pub struct DirectorySettings {
    /// Which of our groups is which of Okta's, by its id (`00g…`). Only these are looked at.
    pub groups: BTreeMap<GroupName, String>,
    /// The attribute of the profile that holds the manager: a login, an e-mail address or an id.
    pub manager_attribute: Option<String>,
    /// The attribute that holds the Slack id (`U012AB3CD`), by which `slack:u012ab3cd` is found.
    pub slack_attribute: Option<String>,
    /// The attribute that is the same in all accounts of one person, such as `employeeNumber`.
    /// Without it each account is a person of its own.
    pub person_attribute: Option<String>,
    /// Whose Okta user is written down in the configuration: by what stands there, an id or a login,
    /// the canonical id of that person. Somebody who is configured with an account is not active
    /// unless it is here, or its login is an alias of theirs: they would be a second person under it.
    pub configured: BTreeMap<Subject, PrincipalId>,
}

impl Default for DirectorySettings {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            manager_attribute: Some("managerId".to_owned()),
            slack_attribute: None,
            person_attribute: None,
            configured: BTreeMap::new(),
        }
    }
}

impl DirectorySettings {
    fn check(&self) -> Result<(), Trouble> {
        if !self.groups.values().all(|id| is_group_id(id)) {
            return Err(Trouble::BadResource);
        }
        let attributes = [
            &self.manager_attribute,
            &self.slack_attribute,
            &self.person_attribute,
        ];
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.len() <= 60
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        match attributes.into_iter().flatten().all(|name| is_name(name)) {
            true => Ok(()),
            false => Err(Trouble::BadSettings(
                "an attribute's name is not like `employeeNumber`: its variable name in the profile \
                 editor, without `profile.`",
            )),
        }
    }
}

/// People by their names, their groups and their managers, from the configuration and from Okta.
#[derive(Debug, Clone)]
pub struct OktaDirectory {
    shared: Arc<Shared>,
}

/// What the work behind somebody's back needs as well.
struct Shared {
    okta: Arc<Okta>,
    inner: Arc<dyn Directory>,
    settings: DirectorySettings,
    profiles: Memory<PrincipalId, Option<Profile>>,
    members: Memory<GroupName, Option<BTreeSet<PrincipalId>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("okta", &self.okta)
            .field("groups", &self.settings.groups)
            .finish_non_exhaustive()
    }
}

/// What a group or a person is looked up for serves a grant, so that ends go first.
const PURPOSE: Purpose = Purpose::Give;

impl OktaDirectory {
    /// The people of `inner`, which the configuration names, and those of this organization.
    ///
    /// # Errors
    /// [`Misconfigured`](jit_core::ports::ErrorKind::Misconfigured) where the settings cannot be right.
    pub fn new(
        okta: Arc<Okta>,
        inner: Arc<dyn Directory>,
        settings: DirectorySettings,
    ) -> Result<Self, PortError> {
        let checked = settings.check();
        checked.map_err(|trouble| trouble.during("connect the directory"))?;
        let clock = Arc::clone(&okta.clock);
        Ok(Self {
            shared: Arc::new(Shared {
                profiles: Memory::new(PEOPLE_REMEMBERED, Arc::clone(&clock)),
                members: Memory::new(GROUPS_REMEMBERED, clock),
                okta,
                inner,
                settings,
            }),
        })
    }
}

fn too_slow(operation: &'static str) -> PortError {
    Trouble::NoAnswer(Effect::None).during(operation)
}

impl Shared {
    /// The profile by what is true now.
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let find = self.find_profile(id);
        let found = self.profiles.now(id, PROFILE_REMEMBERED_FOR, find);
        let found = tokio::time::timeout(PROFILE_LIMIT, found).await;
        found.unwrap_or_else(|_| Err(too_slow("look up a person")))
    }

    async fn find_profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let user = match self.account_behind(id.as_str()).await? {
            Found::Nobody => return Ok(None),
            Found::Agent(profile) => return Ok(Some(profile)),
            Found::Away(profile) => return Ok(Some(without_an_account(profile))),
            Found::Account(user) => *user,
        };
        let (own, person, manager) = futures_util::future::try_join3(
            self.groups_in(std::slice::from_ref(&user)),
            self.person(user.clone()),
            self.manager_of(&user),
        )
        .await?;
        let Some(person) = person else {
            return Ok(None);
        };
        let others: Vec<User> = (person.accounts.iter())
            .filter(|account| account.id != user.id)
            .cloned()
            .collect();
        let main_is_this = person.main().id == user.id;
        let (others, manager) = futures_util::future::try_join(self.groups_in(&others), async {
            match main_is_this {
                true => Ok(manager),
                false => self.manager_of(person.main()).await,
            }
        })
        .await?;
        let ids: BTreeSet<String> = own.into_iter().chain(others).collect();
        let groups = (self.settings.groups.iter()).filter(|(_, id)| ids.contains(*id));
        let groups = groups.map(|(name, _)| name.clone()).collect();
        Ok(Some(person.profile(
            &self.okta.provider,
            self.settings.slack_attribute.as_deref(),
            groups,
            manager,
        )))
    }

    /// The ids of the groups that these accounts are in, as far as they are active.
    async fn groups_in(&self, accounts: &[User]) -> Result<Vec<String>, PortError> {
        // Where no group matters none is asked for.
        if self.settings.groups.is_empty() {
            return Ok(vec![]);
        }
        let active = accounts
            .iter()
            .filter(|account| account.status.check().is_ok());
        let lists = active.map(|account| self.okta.groups_of(PURPOSE, &account.id));
        let lists = futures_util::future::try_join_all(lists).await;
        let lists = lists.map_err(|trouble| trouble.during("list a person's groups"))?;
        // Whoever was deleted since they were found is in no group.
        Ok(lists.into_iter().flatten().flatten().collect())
    }

    /// The canonical id of an account's manager; none where nobody is named, or where the name leads
    /// to nobody, or back.
    async fn manager_of(&self, account: &User) -> Result<Option<PrincipalId>, PortError> {
        let attribute = self.settings.manager_attribute.as_deref();
        let Some(name) = attribute.and_then(|attribute| account.text(attribute)) else {
            return Ok(None);
        };
        let found = match self.account_behind(name).await? {
            Found::Nobody if name.contains('@') => self.account_by("email", name).await?,
            found => found,
        };
        // Only who the manager is, is asked: theirs is not, so that no loop goes anywhere.
        match found {
            Found::Nobody | Found::Agent(_) => Ok(None),
            Found::Away(profile) => Ok(Some(profile.id)),
            Found::Account(user) => Ok(self.person(*user).await?.map(|person| person.id)),
        }
    }

    /// The profile as it was known lately, with what the configuration says now.
    async fn profile_lately(
        self: &Arc<Self>,
        id: &PrincipalId,
    ) -> Result<Option<Profile>, PortError> {
        let known = match self.profiles.lately(id, FRESH, KEPT) {
            Lately::Fresh(known) => known,
            Lately::Old(known) => {
                if !self.profiles.is_asked_for(id) {
                    let (shared, id) = (Arc::clone(self), id.clone());
                    tokio::spawn(async move {
                        if let Err(error) = shared.profile(&id).await {
                            tracing::warn!(
                                error = %error.chain(),
                                "a person could not be looked up again in Okta"
                            );
                        }
                    });
                }
                known
            }
            Lately::Unknown => return self.profile(id).await,
        };
        let configured = self.inner.profile_lately(id).await?;
        Ok(known.map(|mut known| {
            if let Some(configured) = configured {
                known.active &= configured.active;
                known.groups.extend(configured.groups);
            }
            known
        }))
    }

    async fn members_now(
        &self,
        group: &GroupName,
    ) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        let find = self.find_members(group);
        let found = self.members.now(group, PROFILE_REMEMBERED_FOR, find);
        let found = tokio::time::timeout(MEMBERS_LIMIT, found).await;
        found.unwrap_or_else(|_| Err(too_slow("list the members of a group")))
    }

    async fn members_lately(
        self: &Arc<Self>,
        group: &GroupName,
    ) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        match self.members.lately(group, FRESH, KEPT) {
            Lately::Fresh(known) => Ok(known),
            Lately::Old(known) => {
                if !self.members.is_asked_for(group) {
                    let (shared, group) = (Arc::clone(self), group.clone());
                    tokio::spawn(async move {
                        if let Err(error) = shared.members_now(&group).await {
                            tracing::warn!(
                                %group,
                                error = %error.chain(),
                                "the members of a group could not be listed again in Okta"
                            );
                        }
                    });
                }
                Ok(known)
            }
            Lately::Unknown => self.members_now(group).await,
        }
    }
}

/// Somebody whom the configuration names and whom Okta does not have.
fn without_an_account(mut profile: Profile) -> Profile {
    profile.active = false;
    profile
}

#[async_trait]
impl Directory for OktaDirectory {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.shared.profile(id).await
    }

    async fn profile_lately(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.shared.profile_lately(id).await
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        self.shared.members_now(group).await
    }

    async fn members_lately(
        &self,
        group: &GroupName,
    ) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        self.shared.members_lately(group).await
    }
}
