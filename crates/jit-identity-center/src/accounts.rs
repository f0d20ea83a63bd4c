//! The organization's accounts and the names that people type for them. Which permission sets go
//! with them is not known here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_organizations::types::AccountState;
use jit_aws::Errand;
use jit_core::Timestamp;

use crate::assignment::is_account_id;
use crate::lookup::{lock, state_of};
use crate::trouble::Trouble;
use crate::{IdentityCenter, Pages};

/// The most accounts that AWS puts on a page ("ListAccounts", AWS Organizations API Reference).
const PAGE_SIZE: i32 = 20;
/// How long the names of accounts are believed: an account that was renamed answers to its old name
/// no longer than this.
const NAMES_REMEMBERED_FOR: Duration = Duration::from_secs(180);
/// How many names are told where several fit.
const NAMES_TOLD: usize = 5;

/// An active account that may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Its name as an entitlement has it; no other account has the same.
    pub(crate) slug: String,
}

/// The active accounts but the management account, as they were listed together.
#[derive(Debug)]
pub(crate) struct Listing {
    at: Timestamp,
    pub(crate) accounts: Vec<Account>,
    /// Where in `accounts` a slug is.
    by_slug: BTreeMap<String, usize>,
}

/// The accounts as they were listed last.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    last: Mutex<Option<Arc<Listing>>>,
    /// Held while they are listed, so that many who ask at once list them once.
    listing: tokio::sync::Mutex<()>,
}

impl Listing {
    fn of(at: Timestamp, accounts: Vec<(String, String)>) -> Self {
        let slugs = slugs(&accounts);
        let accounts = accounts.into_iter().zip(slugs);
        let accounts: Vec<Account> = accounts
            .map(|((id, name), slug)| Account { id, name, slug })
            .collect();
        let by_slug = accounts.iter().enumerate();
        let by_slug = by_slug.map(|(at, account)| (account.slug.clone(), at));
        Self {
            at,
            by_slug: by_slug.collect(),
            accounts,
        }
    }

    fn named(&self, slug: &str) -> Option<&Account> {
        self.accounts.get(*self.by_slug.get(slug)?)
    }

    /// Why nothing answers to this name.
    fn missing(&self, name: &str) -> Trouble {
        let alike = self.accounts.iter();
        let alike = alike.filter(|account| plain_slug(&account.name) == name);
        let slugs: Vec<&str> = alike
            .map(|account| account.slug.as_str())
            .take(NAMES_TOLD)
            .collect();
        let name = name.to_owned();
        match slugs.as_slice() {
            [] => Trouble::NoSuchName(name),
            slugs => Trouble::NotItsName {
                name,
                instead: slugs.join(" or "),
            },
        }
    }
}

impl IdentityCenter {
    /// The id of an account that is written by its id or by the name that `offers` gives it.
    ///
    /// Twelve digits are an id, whatever accounts are called. A name is in lower case, exactly as it
    /// is offered: rules and families of the catalogue are held against what is written, so a second
    /// spelling of a name would be a way around them.
    pub(crate) async fn find_account(&self, errand: Errand, text: &str) -> Result<String, Trouble> {
        if is_account_id(text) {
            return Ok(text.to_owned());
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Trouble::NoSuchName(text.to_owned()));
        }
        let last = lock(&self.accounts.last).clone();
        let is_fresh = |it: &&Arc<Listing>| self.clock.now() < it.at + NAMES_REMEMBERED_FOR;
        let known = last.as_ref().filter(is_fresh).and_then(|it| it.named(text));
        if let Some(account) = known {
            return Ok(account.id.clone());
        }
        let listing = self.listed_since(errand, last.as_ref()).await?;
        let account = listing.named(text).ok_or_else(|| listing.missing(text))?;
        Ok(account.id.clone())
    }

    /// The name that an account is offered under, where it is known or may be asked for.
    pub(crate) async fn offered_name(
        &self,
        errand: Errand,
        id: &str,
    ) -> Result<Option<String>, Trouble> {
        let of = |listing: &Listing| {
            let account = listing.accounts.iter().find(|account| account.id == id);
            account.map(|account| account.slug.clone())
        };
        let last = lock(&self.accounts.last).clone();
        let is_fresh = |it: &&Arc<Listing>| self.clock.now() < it.at + NAMES_REMEMBERED_FOR;
        if let Some(slug) = last.as_ref().filter(is_fresh).and_then(|it| of(it)) {
            return Ok(Some(slug));
        }
        match self.listed_since(errand, last.as_ref()).await {
            Ok(listing) => Ok(of(&listing)),
            Err(Trouble::AccountsUnlisted) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// A listing that is newer than this one, which may be somebody else's.
    async fn listed_since(
        &self,
        errand: Errand,
        last: Option<&Arc<Listing>>,
    ) -> Result<Arc<Listing>, Trouble> {
        let _listing = self.accounts.listing.lock().await;
        let newer = lock(&self.accounts.last).clone();
        let newer = newer.filter(|newer| last.is_none_or(|last| !Arc::ptr_eq(last, newer)));
        if let Some(newer) = newer {
            return Ok(newer);
        }
        let listed = self.list_accounts(errand).await;
        listed.map_err(|trouble| match trouble.is_denied() {
            true => Trouble::AccountsUnlisted,
            false => trouble,
        })
    }

    /// Lists the active accounts but the management account, and remembers them.
    pub(crate) async fn list_accounts(&self, errand: Errand) -> Result<Arc<Listing>, Trouble> {
        let at = self.clock.now();
        let management = match self.management_account(errand).await {
            Ok(management) => management,
            // Then it is refused when it is granted, and has a name like any other.
            Err(trouble) if trouble.is_denied() => None,
            Err(trouble) => return Err(trouble),
        };
        let mut accounts = Vec::new();
        let mut pages = Pages::default();
        loop {
            let clients = self.clients();
            let call = clients
                .organizations
                .list_accounts()
                .max_results(PAGE_SIZE)
                .set_next_token(pages.token());
            let page = self.ask(errand, "ListAccounts", call.send()).await?;
            for account in page.accounts.unwrap_or_default() {
                let is_active = state_of(&account) == Some(AccountState::Active);
                let name = account.name.unwrap_or_default();
                let id = account.id.filter(|id| Some(id) != management.as_ref());
                accounts.extend(id.filter(|_| is_active).map(|id| (id, name)));
            }
            if !pages.turn(page.next_token)? {
                break;
            }
        }
        let listing = Arc::new(Listing::of(at, accounts));
        *lock(&self.accounts.last) = Some(Arc::clone(&listing));
        Ok(listing)
    }
}

/// The name of an account as an entitlement has it, if no other account has the same.
fn plain_slug(name: &str) -> String {
    let may_stand = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let name = name.to_lowercase();
    name.chars()
        .map(|c| if may_stand(c) { c } else { '-' })
        .collect()
}

/// The name of each account, by id and name, as an entitlement has it. Where two would be alike both
/// get their ids, so that neither stands for the other; so does a name that is empty, that could be
/// taken for an id, or that looks as if it had an id already.
fn slugs(accounts: &[(String, String)]) -> Vec<String> {
    let plain: Vec<String> = accounts.iter().map(|(_, name)| plain_slug(name)).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for slug in &plain {
        *counts.entry(slug).or_default() += 1;
    }
    let has_an_id = |slug: &str| {
        let tail = slug.rsplit_once('-').map_or(slug, |(_, tail)| tail);
        is_account_id(tail)
    };
    let stands_alone =
        |slug: &str| counts.get(slug) == Some(&1) && !slug.is_empty() && !has_an_id(slug);
    let slugs = plain.iter().zip(accounts);
    slugs
        .map(|(slug, (id, _))| match stands_alone(slug) {
            true => slug.clone(),
            false => format!("{slug}-{id}"),
        })
        .collect()
}

#[cfg(test)]
impl Listing {
    pub(crate) fn sample(accounts: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::of(Timestamp::MIN, accounts.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_one_name_are_told_apart_and_none_is_taken_for_another() {
        let accounts = [
            ("111111111111", "Prod EU"),
            ("222222222222", "prod-eu"),
            ("333333333333", "Dev & Test"),
            ("444444444444", "prod-eu-111111111111"),
            ("555555555555", ""),
            ("666666666666", "Größe_1.0"),
            ("777777777777", "111111111111"),
        ];
        let accounts = accounts.map(|(id, name)| (id.to_owned(), name.to_owned()));
        let listing = Listing::sample(accounts);
        let slugs: Vec<&str> = listing.accounts.iter().map(|it| it.slug.as_str()).collect();
        assert_eq!(
            slugs,
            [
                "prod-eu-111111111111",
                "prod-eu-222222222222",
                "dev---test",
                "prod-eu-111111111111-444444444444",
                "-555555555555",
                "gr--e_1.0",
                "111111111111-777777777777",
            ]
        );
        for account in &listing.accounts {
            assert_eq!(listing.named(&account.slug), Some(account));
            assert!(!is_account_id(&account.slug), "{}", account.slug);
        }
    }
}
