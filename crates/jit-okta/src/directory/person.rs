//! From names to accounts, and from accounts to people: one person may have several accounts, and
//! somebody whom the configuration names is never a second person in Okta.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::catalog::ProviderName;
use jit_core::ports::PortError;
use jit_core::principal::{GroupName, PrincipalId, PrincipalKind, Profile, Subject};

use super::{PURPOSE, Shared};
use crate::shapes::{NAME_LIMIT, Status, User};
use crate::trouble::Trouble;

/// More accounts than one person has. A value that more accounts share, such as `0000`, is nobody's
/// number, and would make one person of all of them.
const ACCOUNTS_LIMIT: usize = 8;
/// How many values are searched for at once, so that no search is too long.
const SEARCHED_AT_ONCE: usize = 20;

/// Where a name leads.
#[derive(Debug)]
pub(super) enum Found {
    /// To none, or to several.
    Nobody,
    /// To a program of the configuration.
    Agent(Profile),
    /// To somebody of the configuration who has no account in Okta that is theirs.
    Away(Profile),
    /// To an account.
    Account(Box<User>),
}

/// A person.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) id: PrincipalId,
    /// The oldest first; never none.
    pub(super) accounts: Vec<User>,
    /// What the configuration says of them, with the place of the account that it speaks of.
    configured: Vec<(usize, Profile)>,
    /// Whether it can be told which accounts are theirs.
    is_told_apart: bool,
}

impl Person {
    /// The account that access is given to, and that says who the manager is: the one that the
    /// configuration names, else the oldest, as long as it is active.
    pub(super) fn main(&self) -> &User {
        let named = self.configured.iter().map(|(at, _)| *at);
        let order = named.chain(0..self.accounts.len());
        let mut accounts = order.filter_map(|at| self.accounts.get(at));
        let first = self.accounts.first().expect("a person has an account");
        accounts
            .find(|account| account.status == Status::Active)
            .unwrap_or(first)
    }

    /// Whoever has an active account and none that an administrator suspended, and is told apart from
    /// everybody else.
    pub(super) fn is_active(&self) -> bool {
        if !self.is_told_apart {
            return false;
        }
        let has = |status| self.accounts.iter().any(|account| account.status == status);
        has(Status::Active)
            && !has(Status::Suspended)
            && self.configured.iter().all(|(_, profile)| profile.active)
    }

    pub(super) fn profile(
        self,
        provider: &ProviderName,
        slack_attribute: Option<&str>,
        mut groups: BTreeSet<GroupName>,
        manager: Option<PrincipalId>,
    ) -> Profile {
        let accounts = self.accounts.iter();
        let slack = slack_attribute.and_then(|attribute| {
            let mut ids = accounts.filter_map(|account| account.text(attribute));
            ids.next().map(str::to_owned)
        });
        let active = self.is_active();
        let subject: Option<Subject> = self.main().id.parse().ok();
        let mut groups_unknown = BTreeSet::new();
        let mut subjects = BTreeMap::new();
        let mut configured_manager = None;
        for (_, profile) in self.configured {
            groups.extend(profile.groups);
            groups_unknown.extend(profile.groups_unknown);
            configured_manager = configured_manager.or(profile.manager);
            for (provider, subject) in profile.subjects {
                subjects.entry(provider).or_insert(subject);
            }
        }
        if let Some(subject) = subject {
            subjects.insert(provider.clone(), subject);
        }
        if let Some(user) = slack.and_then(|user| user.parse().ok()) {
            subjects.entry(slack_workspace()).or_insert(user);
        }
        Profile {
            kind: PrincipalKind::Person,
            active,
            groups,
            groups_unknown,
            // Nobody is their own manager.
            manager: configured_manager
                .or(manager)
                .filter(|manager| *manager != self.id),
            subjects,
            id: self.id,
        }
    }
}

fn failed(trouble: Trouble) -> PortError {
    trouble.during("look up a person")
}

impl Shared {
    /// The account that this name leads to: by way of the configuration first.
    pub(super) async fn account_behind(&self, name: &str) -> Result<Found, PortError> {
        let configured = match name.parse::<PrincipalId>() {
            Ok(id) => self.inner.profile(&id).await?,
            Err(_) => None,
        };
        match configured {
            Some(profile) if profile.is_program() => Ok(Found::Agent(profile)),
            Some(profile) => self.account_of(profile).await,
            None => match name.strip_prefix("slack:") {
                Some(slack) => self.account_by_slack(slack).await,
                // Nobody is in Okta under what they are in Telegram.
                None if name.starts_with("telegram:") => Ok(Found::Nobody),
                None => match self.account(name).await? {
                    Some(user) => self.with_owner(user).await,
                    None => Ok(Found::Nobody),
                },
            },
        }
    }

    /// The account of somebody whom the configuration names, if it leads back to them. Were they
    /// somebody else under its login, they could approve under one name what they ask for under the
    /// other.
    async fn account_of(&self, profile: Profile) -> Result<Found, PortError> {
        let Some(user) = self.account(self.name_in_okta(&profile)).await? else {
            return Ok(Found::Away(profile));
        };
        match self.owner(&user).await? {
            Some(owner) if owner.id == profile.id => Ok(Found::Account(Box::new(user))),
            Some(_) | None => {
                tracing::warn!(
                    user = user.id,
                    "the login of somebody's account in Okta is not theirs in the configuration, so \
                     that they are not active; make it an alias of theirs"
                );
                Ok(Found::Away(profile))
            }
        }
    }

    fn name_in_okta<'a>(&self, profile: &'a Profile) -> &'a str {
        let subject = profile.subjects.get(&self.okta.provider);
        subject.map_or(profile.id.as_str(), Subject::as_str)
    }

    /// The account of this id or login.
    async fn account(&self, name: &str) -> Result<Option<User>, PortError> {
        match self.okta.user(PURPOSE, name).await {
            Ok(user) => Ok(Some(user)),
            Err(Trouble::NoSuchUser | Trouble::OtherUser | Trouble::BadSubject) => Ok(None),
            // What Okta does not take for an id or a login is nobody's.
            Err(trouble) if trouble.is_malformed() => Ok(None),
            Err(trouble) => Err(failed(trouble)),
        }
    }

    async fn account_by_slack(&self, slack: &str) -> Result<Found, PortError> {
        let is_id =
            (2..=30).contains(&slack.len()) && slack.chars().all(|c| c.is_ascii_alphanumeric());
        match &self.settings.slack_attribute {
            // Slack writes its ids in capitals, and our names have none.
            Some(attribute) if is_id => {
                self.account_by(attribute, &slack.to_ascii_uppercase())
                    .await
            }
            Some(_) | None => Ok(Found::Nobody),
        }
    }

    /// The only account with this value. A search lags behind, so that the account is read as well.
    pub(super) async fn account_by(
        &self,
        attribute: &str,
        value: &str,
    ) -> Result<Found, PortError> {
        if value.len() > NAME_LIMIT {
            return Ok(Found::Nobody);
        }
        let bears = |user: &User| {
            let text = user.text(attribute);
            text.is_some_and(|text| text.eq_ignore_ascii_case(value))
        };
        let found = self.okta.search(PURPOSE, attribute, &[value]).await;
        let mut found = found.map_err(failed)?.into_iter().filter(bears);
        let (Some(only), None) = (found.next(), found.next()) else {
            return Ok(Found::Nobody);
        };
        match self.account(&only.id).await?.filter(bears) {
            Some(user) => self.with_owner(user).await,
            None => Ok(Found::Nobody),
        }
    }

    /// An account with whom the configuration says it belongs to. Where that person has another
    /// account in Okta, it is theirs that counts.
    async fn with_owner(&self, user: User) -> Result<Found, PortError> {
        match self.owner(&user).await? {
            Some(owner) if !self.is_account_of(&user, &owner) => self.account_of(owner).await,
            Some(_) | None => Ok(Found::Account(Box::new(user))),
        }
    }

    /// Whom of the configuration an account belongs to: by the account that is written down there,
    /// or by its login.
    async fn owner(&self, user: &User) -> Result<Option<Profile>, PortError> {
        let login = user.login().to_ascii_lowercase();
        let written = (self.settings.configured.iter()).find(|(subject, _)| {
            subject.as_str() == user.id || subject.as_str().eq_ignore_ascii_case(&login)
        });
        let id = match written {
            Some((_, id)) => Some(id.clone()),
            None => login.parse().ok(),
        };
        let Some(id) = id else {
            return Ok(None);
        };
        let profile = self.inner.profile(&id).await?;
        Ok(profile.filter(|profile| !profile.is_program()))
    }

    fn is_account_of(&self, user: &User, owner: &Profile) -> bool {
        user.is_called(self.name_in_okta(owner))
    }

    /// The person whose account this is; none where it can be called nothing here.
    pub(super) async fn person(&self, user: User) -> Result<Option<Person>, PortError> {
        let people = self.people(vec![user]).await?;
        Ok(people.into_iter().next())
    }

    /// The people whose accounts these are, each once, with all of their accounts.
    pub(super) async fn people(&self, users: Vec<User>) -> Result<Vec<Person>, PortError> {
        let mut each: Vec<Vec<User>> = Vec::with_capacity(users.len());
        match self.settings.person_attribute.as_deref() {
            None => each.extend(users.into_iter().map(|user| vec![user])),
            Some(attribute) => {
                let mut by_value: BTreeMap<String, Vec<User>> = BTreeMap::new();
                for user in users {
                    match value(&user, attribute).map_err(failed)? {
                        Some(value) => by_value.entry(value).or_default().push(user),
                        None => each.push(vec![user]),
                    }
                }
                self.add_others(attribute, &mut by_value).await?;
                each.extend(by_value.into_values());
            }
        }
        let mut people = Vec::with_capacity(each.len());
        for accounts in each {
            people.extend(self.with_all(accounts).await?);
        }
        Ok(people)
    }

    /// Adds every other account with one of these values.
    async fn add_others(
        &self,
        attribute: &str,
        by_value: &mut BTreeMap<String, Vec<User>>,
    ) -> Result<(), PortError> {
        for user in self.others(attribute, by_value).await? {
            // It may have changed since it was found.
            let value = value(&user, attribute).map_err(failed)?;
            if let Some(accounts) = value.and_then(|value| by_value.get_mut(&value)) {
                accounts.push(user);
            }
        }
        match by_value
            .values()
            .all(|accounts| accounts.len() <= ACCOUNTS_LIMIT)
        {
            true => Ok(()),
            false => Err(failed(Trouble::SharedByTooMany(attribute.to_owned()))),
        }
    }

    /// The other accounts with one of these values. A search lags behind, so that each is read.
    async fn others(
        &self,
        attribute: &str,
        by_value: &BTreeMap<String, Vec<User>>,
    ) -> Result<Vec<User>, PortError> {
        let values: Vec<&str> = by_value.keys().map(String::as_str).collect();
        let searches = values
            .chunks(SEARCHED_AT_ONCE)
            .map(|values| self.okta.search(PURPOSE, attribute, values));
        let found = futures_util::future::try_join_all(searches).await;
        let found = found.map_err(failed)?;
        let known: BTreeSet<&str> = (by_value.values().flatten())
            .map(|user| user.id.as_str())
            .collect();
        let others: BTreeSet<String> = (found.into_iter().flatten())
            .map(|user| user.id)
            .filter(|id| !known.contains(id.as_str()))
            .collect();
        if others.len() > ACCOUNTS_LIMIT * by_value.len().max(1) {
            return Err(failed(Trouble::SharedByTooMany(attribute.to_owned())));
        }
        let others = others.iter().map(|id| self.account(id));
        let others = futures_util::future::try_join_all(others).await?;
        Ok(others.into_iter().flatten().collect())
    }

    /// The person with exactly these accounts. They are called as the configuration calls whom the
    /// oldest of its accounts belongs to, else by the login of the oldest account that is in use.
    async fn with_all(&self, mut accounts: Vec<User>) -> Result<Option<Person>, PortError> {
        accounts.sort_by(|one, other| one.age().cmp(&other.age()));
        let mut configured = Vec::new();
        let mut strays = Vec::new();
        for (at, account) in accounts.iter().enumerate() {
            match self.owner(account).await? {
                Some(owner) if self.is_account_of(account, &owner) => configured.push((at, owner)),
                Some(_) => strays.push(at),
                None => {}
            }
        }
        let in_use = |account: &User| account.status != Status::Deprovisioned;
        let oldest = accounts.iter().position(in_use).unwrap_or_default();
        let id = match configured.first() {
            Some((_, owner)) => Some(owner.id.clone()),
            // By its login it is somebody of the configuration whose account is another one.
            None if strays.contains(&oldest) => None,
            None => accounts.get(oldest).and_then(|it| it.login().parse().ok()),
        };
        let Some(id) = id else {
            tracing::warn!(
                user = accounts.get(oldest).map(|user| user.id.as_str()),
                "an account in Okta is nobody's here: its login has other letters than a name may \
                 have, or is the name of somebody who is configured with another account"
            );
            return Ok(None);
        };
        let is_told_apart = self.is_told_apart(&accounts)?;
        if !is_told_apart {
            tracing::warn!(
                user = accounts.get(oldest).map(|user| user.id.as_str()),
                "an account in Okta has nothing in the attribute that says whose it is, and so is not \
                 active here: it could be somebody's second one"
            );
        }
        Ok(Some(Person {
            id,
            accounts,
            configured,
            is_told_apart,
        }))
    }

    /// Where an attribute says whose an account is, one without it could be anybody's second one.
    fn is_told_apart(&self, accounts: &[User]) -> Result<bool, PortError> {
        let Some(attribute) = self.settings.person_attribute.as_deref() else {
            return Ok(true);
        };
        for account in accounts {
            if value(account, attribute).map_err(failed)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Where a person's user in Slack stands among their subjects: no provider has this name.
fn slack_workspace() -> ProviderName {
    "slack".parse().expect("it is a name")
}

/// What is the same in all accounts of a person. Okta compares without regard to case.
fn value(user: &User, attribute: &str) -> Result<Option<String>, Trouble> {
    match user.profile.get(attribute) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(_)) => Ok(user.text(attribute).map(str::to_lowercase)),
        // Were it passed over, one person would be two.
        Some(_) => Err(Trouble::NoText(attribute.to_owned())),
    }
}
