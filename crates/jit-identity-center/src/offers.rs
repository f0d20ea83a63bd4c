//! What an organization can give: permission sets in accounts, under names that people can type.

use std::collections::{BTreeMap, BTreeSet};

use jit_aws::Errand;
use jit_core::catalog::{EntitlementId, ProviderName};
use jit_core::ports::{Offer, Purpose};

use crate::accounts::Account;
use crate::sets::Set;
use crate::trouble::Trouble;
use crate::{AccountNames, IdentityCenter, OFFER_PATIENCE, OfferScope};

impl IdentityCenter {
    /// Every permission set in every active account but the management account.
    pub(crate) async fn offered(&self) -> Result<Vec<Offer>, Trouble> {
        let errand = Errand {
            purpose: Purpose::Give,
            patience: OFFER_PATIENCE,
        };
        // Which account it is must be known here: what is offered is never refused for being it.
        self.management_account(errand).await?;
        let listing = self.list_accounts(errand).await?;
        let sets = self.all_sets(errand).await?;
        let offers = |is_offered: &dyn Fn(&Account, &Set) -> bool| {
            offers(
                &self.settings.provider,
                &listing.accounts,
                &sets,
                self.settings.accounts,
                is_offered,
            )
        };
        match self.settings.offers {
            OfferScope::Every => Ok(offers(&|_, _| true)),
            OfferScope::Provisioned => {
                let mut pairs = BTreeSet::new();
                for set in &sets {
                    let provisioned = self.provisioned_accounts(errand, &set.arn).await?;
                    pairs.extend(provisioned.into_iter().map(|id| (id, set.arn.clone())));
                }
                let is_provisioned = |account: &Account, set: &Set| {
                    pairs.contains(&(account.id.clone(), set.arn.clone()))
                };
                Ok(offers(&is_provisioned))
            }
        }
    }
}

/// Whether a name of its own can stand for a set in an account.
pub(crate) fn can_be_named(provider: &ProviderName, account: &str, set: &Set) -> bool {
    let id = format!("{provider}/{account}/{}", set.name);
    let is_whole = !set.name.is_empty() && !set.name.contains('/');
    is_whole && id.parse::<EntitlementId>().is_ok()
}

/// The offers of these accounts and sets, in the order of their names. A set whose name cannot stand
/// in an entitlement (`=` and `,` cannot), or that another one has too, is left out: nobody could ask
/// for it by its name, and another name for it would be a way around the rules that name it.
fn offers(
    provider: &ProviderName,
    accounts: &[Account],
    sets: &[Set],
    called: AccountNames,
    is_offered: &dyn Fn(&Account, &Set) -> bool,
) -> Vec<Offer> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for set in sets {
        *counts.entry(&set.name).or_default() += 1;
    }
    let mut named: Vec<&Set> = sets.iter().collect();
    named.retain(|set| {
        counts.get(set.name.as_str()) == Some(&1) && can_be_named(provider, "a", set)
    });
    named.sort_by(|one, other| one.name.cmp(&other.name));
    let mut accounts: Vec<&Account> = accounts.iter().collect();
    // `/` stands behind each name, and before some of the letters that names have.
    accounts.sort_by(|one, other| {
        let (one, other) = (one.slug.bytes(), other.slug.bytes());
        one.chain([b'/']).cmp(other.chain([b'/']))
    });
    let mut offers = Vec::new();
    for account in accounts {
        for set in &named {
            let called = match called {
                AccountNames::Names => &account.slug,
                AccountNames::Ids => &account.id,
            };
            if is_offered(account, set) && can_be_named(provider, called, set) {
                offers.push(Offer {
                    name: format!("{called}/{}", set.name),
                    resource: format!("{}/{}", account.id, set.arn),
                    title: format!("{} in {} ({})", set.name, account.name, account.id),
                });
            }
        }
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Listing;

    fn names(accounts: &[(&str, &str)], sets: &[Set]) -> Vec<String> {
        let accounts = accounts.iter();
        let accounts = accounts.map(|(id, name)| ((*id).to_owned(), (*name).to_owned()));
        let listing = Listing::sample(accounts);
        let provider = "aws".parse().unwrap();
        let offers = offers(
            &provider,
            &listing.accounts,
            sets,
            AccountNames::Names,
            &|_, _| true,
        );
        offers.into_iter().map(|offer| offer.name).collect()
    }

    #[test]
    fn a_set_whose_name_cannot_stand_in_an_entitlement_is_left_out_alone() {
        let long = "x".repeat(190);
        let sets = [
            Set::sample("ReadOnly", "ps-1"),
            Set::sample("a=b,c", "ps-2"),
            Set::sample("", "ps-3"),
            Set::sample("x@y+z.w", "ps-4"),
            Set::sample("Twice", "ps-5"),
            Set::sample("Twice", "ps-6"),
            Set::sample("a b", "ps-7"),
            Set::sample("a/b", "ps-8"),
            Set::sample(&long, "ps-9"),
        ];
        let short = names(&[("111111111111", "P")], &sets);
        let expected = ["p/ReadOnly", "p/x@y+z.w"].map(str::to_owned);
        assert_eq!(short, [&expected[..], &[format!("p/{long}")]].concat());
        let names = names(&[("111111111111", "Prod (EU)")], &sets);
        assert_eq!(names, ["prod--eu-/ReadOnly", "prod--eu-/x@y+z.w"]);
        for name in names {
            let id = format!("aws/{name}");
            assert!(id.parse::<EntitlementId>().is_ok());
        }
    }

    #[test]
    fn a_big_organization_is_put_together_in_order() {
        let accounts: Vec<(String, String)> = (0..1_000)
            .map(|number| {
                (
                    format!("{number:012}"),
                    format!("account {}.", number / 2 * 7 % 500),
                )
            })
            .collect();
        let accounts: Vec<(&str, &str)> =
            accounts.iter().map(|(id, name)| (&**id, &**name)).collect();
        let sets: Vec<Set> = (0..100)
            .map(|number| Set::sample(&format!("Set{number}"), &format!("ps-{number}")))
            .collect();
        let names = names(&accounts, &sets);
        assert_eq!(names.len(), 100_000);
        let rises = names.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(rises, "names are in order, and unique");
    }
}
