//! What an organization can give: permission sets in accounts, under names that people can type.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_organizations::types::AccountState;
use jit_core::ports::{Offer, Purpose};

use crate::lookup::state_of;
use crate::sets::Set;
use crate::trouble::Trouble;
use crate::{Errand, IdentityCenter, OFFER_PATIENCE, OfferScope, Pages};

/// The most accounts that AWS puts on a page ("ListAccounts", AWS Organizations API Reference).
const PAGE_SIZE: i32 = 20;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    id: String,
    name: String,
}

impl IdentityCenter {
    /// Every permission set in every active account but the management account.
    pub(crate) async fn offered(&self) -> Result<Vec<Offer>, Trouble> {
        let errand = Errand {
            purpose: Purpose::Give,
            patience: OFFER_PATIENCE,
        };
        let management = self.management_account(errand).await?;
        let mut accounts = self.active_accounts(errand).await?;
        accounts.retain(|account| Some(&account.id) != management.as_ref());
        let sets = self.all_sets(errand).await?;
        match self.settings.offers {
            OfferScope::Every => Ok(offers(&accounts, &sets, |_, _| true)),
            OfferScope::Provisioned => {
                let mut pairs = BTreeSet::new();
                for set in &sets {
                    let provisioned = self.provisioned_accounts(errand, &set.arn).await?;
                    pairs.extend(provisioned.into_iter().map(|id| (id, set.arn.clone())));
                }
                let is_provisioned = |account: &Account, set: &Set| {
                    pairs.contains(&(account.id.clone(), set.arn.clone()))
                };
                Ok(offers(&accounts, &sets, is_provisioned))
            }
        }
    }

    async fn active_accounts(&self, errand: Errand) -> Result<Vec<Account>, Trouble> {
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
                if state_of(&account) != Some(AccountState::Active) {
                    continue;
                }
                let name = account.name.unwrap_or_default();
                accounts.extend(account.id.map(|id| Account { id, name }));
            }
            if !pages.turn(page.next_token)? {
                return Ok(accounts);
            }
        }
    }
}

/// The offers of these accounts and sets, in the order of their names.
fn offers(
    accounts: &[Account],
    sets: &[Set],
    is_offered: impl Fn(&Account, &Set) -> bool,
) -> Vec<Offer> {
    let slugs = account_slugs(accounts);
    let sets: Vec<(&Set, String)> = sets.iter().zip(set_names(sets)).collect();
    let mut offers = Vec::new();
    for (account, slug) in accounts.iter().zip(slugs) {
        for (set, name) in &sets {
            if is_offered(account, set) {
                offers.push(Offer {
                    name: format!("{slug}/{name}"),
                    resource: format!("{}/{}", account.id, set.arn),
                    title: format!("{} in {} ({})", set.name, account.name, account.id),
                });
            }
        }
    }
    offers.sort_by(|one, other| one.name.cmp(&other.name));
    offers
}

/// The name of each account as an entitlement has it. Where two would be alike both get their ids,
/// so that neither stands for the other; so does a name that looks as if it had an id already.
fn account_slugs(accounts: &[Account]) -> Vec<String> {
    let plain = accounts.iter().map(|account| {
        let name = account.name.to_lowercase();
        written(&name, |c| matches!(c, '_' | '.' | '-'))
    });
    let tails = accounts.iter().map(|account| account.id.as_str());
    told_apart(plain.collect(), tails, |slug| {
        let tail = slug.rsplit_once('-').map(|(_, tail)| tail);
        tail.is_some_and(|tail| tail.len() == 12 && tail.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// The name of each permission set as an entitlement has it: `=` and `,` cannot stand there.
fn set_names(sets: &[Set]) -> Vec<String> {
    let plain = sets
        .iter()
        .map(|set| written(&set.name, |c| matches!(c, '_' | '.' | '-' | '@' | '+')));
    let tails = sets
        .iter()
        .map(|set| set.arn.rsplit_once('/').map_or("", |(_, tail)| tail));
    told_apart(plain.collect(), tails, |name| name.contains("-ps-"))
}

fn written(name: &str, may_stand: impl Fn(char) -> bool) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || may_stand(c);
    name.chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect()
}

/// Puts its tail behind every name that is empty, that another has too, or that could be taken for
/// one with a tail.
fn told_apart<'a>(
    names: Vec<String>,
    tails: impl Iterator<Item = &'a str>,
    has_a_tail: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &names {
        *counts.entry(name).or_default() += 1;
    }
    let is_plain = |name: &String| {
        counts.get(name.as_str()) == Some(&1) && !name.is_empty() && !has_a_tail(name)
    };
    names
        .iter()
        .zip(tails)
        .map(|(name, tail)| {
            if is_plain(name) {
                name.clone()
            } else {
                format!("{name}-{tail}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: &str, name: &str) -> Account {
        Account {
            id: id.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn accounts_of_one_name_are_told_apart_and_none_is_taken_for_another() {
        let slugs = account_slugs(&[
            account("111111111111", "Prod EU"),
            account("222222222222", "prod-eu"),
            account("333333333333", "Dev & Test"),
            account("444444444444", "prod-eu-111111111111"),
            account("555555555555", ""),
            account("666666666666", "Größe_1.0"),
        ]);
        assert_eq!(
            slugs,
            [
                "prod-eu-111111111111",
                "prod-eu-222222222222",
                "dev---test",
                "prod-eu-111111111111-444444444444",
                "-555555555555",
                "gr--e_1.0",
            ]
        );
    }

    #[test]
    fn every_name_is_one_that_an_entitlement_may_have() {
        let set = |name: &str, tail: &str| Set::sample(name, tail);
        let sets = [
            set("ReadOnly", "ps-1"),
            set("a=b,c", "ps-2"),
            set("a-b-c", "ps-3"),
            set("x@y+z.w", "ps-4"),
        ];
        let accounts = [account("111111111111", "Prod (EU)")];
        let names: Vec<String> = offers(&accounts, &sets, |_, _| true)
            .into_iter()
            .map(|offer| offer.name)
            .collect();
        assert_eq!(
            names,
            [
                "prod--eu-/ReadOnly",
                "prod--eu-/a-b-c-ps-2",
                "prod--eu-/a-b-c-ps-3",
                "prod--eu-/x@y+z.w",
            ]
        );
        for name in names {
            let id = format!("aws/{name}");
            assert!(id.parse::<jit_core::catalog::EntitlementId>().is_ok());
        }
    }

    #[test]
    fn a_big_organization_is_put_together_at_once() {
        let accounts: Vec<Account> = (0..1_000)
            .map(|number| account(&format!("{number:012}"), &format!("account {}", number / 2)))
            .collect();
        let sets: Vec<Set> = (0..100)
            .map(|number| Set::sample(&format!("Set{number}"), &format!("ps-{number}")))
            .collect();
        let offers = offers(&accounts, &sets, |_, _| true);
        let names: BTreeSet<&String> = offers.iter().map(|offer| &offer.name).collect();
        assert_eq!(offers.len(), 100_000);
        assert_eq!(names.len(), offers.len(), "names are unique");
    }
}
