//! What can be asked for, as somebody looks for it: what is written down, and what providers said
//! that they have. A listing shows and decides nothing: what is not in it can be asked for by its
//! name, and what is in it may be gone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Engine, EngineError};
use crate::catalog::{Catalog, Entitlement, EntitlementId, ProviderName};
use crate::lifecycle::{Rules, may_ask_about};
use crate::policy::{Policy, Who};
use crate::ports::PortError;
use crate::principal::{Principal, Profile};
use crate::time::Timestamp;

/// How many more than were asked for are counted.
const COUNTED: usize = 1_000;

/// Of how many people it is remembered what they may see, while they type.
const SIGHTS: usize = 32;

/// What was found of what somebody may ask for or decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Those whose names begin with the text before those that have it inside; by id within.
    pub entries: Vec<Entitlement>,
    /// How many more there are; counted up to 1 000.
    pub more: usize,
    /// When the oldest of the listings that these are from was made; none where all are written
    /// down.
    pub as_of: Option<Timestamp>,
}

/// What one provider said that it has.
#[derive(Debug)]
pub(super) struct Listing {
    at: Timestamp,
    /// With what the provider calls it, which is only looked through and never shown.
    offers: Vec<(EntitlementId, String)>,
}

/// Everything that can be found, in the order of the ids.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Known>,
    listings: BTreeMap<ProviderName, Arc<Listing>>,
    /// Who looked lately, with all that rights depend on, and which entries they may see: a right
    /// is a matter of the policy, which stays, the person, and the entry, so it is found out once
    /// for all keystrokes. A new listing is a new index.
    sights: Mutex<VecDeque<(Profile, Arc<Sight>)>>,
}

/// Whether each entry may be seen, in their order.
type Sight = Vec<bool>;

#[derive(Debug)]
struct Known {
    id: EntitlementId,
    /// Id and title in lower case.
    text: String,
    is_listed: bool,
}

impl Index {
    pub(super) fn of(catalog: &Catalog, listings: BTreeMap<ProviderName, Arc<Listing>>) -> Self {
        let known = |id: &EntitlementId, title: &str, is_listed| {
            let entry = catalog.get(id)?;
            let text = format!("{id}\n{}\n{title}", entry.title).to_lowercase();
            let id = id.clone();
            let known = Known {
                id,
                text,
                is_listed,
            };
            Some((known.id.clone(), known))
        };
        let listed = listings.values().flat_map(|listing| &listing.offers);
        let listed = listed.filter_map(|(id, title)| known(id, title, true));
        let written = catalog.iter();
        let written = written.filter_map(|entry| known(&entry.id, "", false));
        // What is written down as well stands as it is written.
        let entries: BTreeMap<EntitlementId, Known> = listed.chain(written).collect();
        Self {
            entries: entries.into_values().collect(),
            listings,
            sights: Mutex::default(),
        }
    }

    /// Which entries somebody may ask for or decide.
    fn sight(&self, rules: Rules<'_>, profile: &Profile) -> Arc<Sight> {
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sights.iter().position(|(whose, _)| whose == profile);
        if let Some((whose, sight)) = known.and_then(|at| sights.remove(at)) {
            sights.push_back((whose, Arc::clone(&sight)));
            return sight;
        }
        drop(sights);
        let about_them = about(rules.policy, profile);
        let rules = Rules {
            policy: &about_them,
            ..rules
        };
        let entries = self.entries.iter();
        let sight = entries.map(|known| may_ask_about(rules, profile, &known.id));
        let sight = Arc::new(sight.collect::<Sight>());
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        if sights.len() >= SIGHTS {
            sights.pop_front();
        }
        sights.push_back((profile.clone(), Arc::clone(&sight)));
        sight
    }
}

/// The rules that name somebody, or might: all that a right of theirs depends on.
fn about(policy: &Policy, profile: &Profile) -> Policy {
    let concerns = |who: &Who| match who {
        Who::AnyPerson | Who::AnyAgent => true,
        // Whose manager somebody is depends on whom something is for.
        Who::Manager => false,
        Who::Principal(id) => *id == profile.id,
        Who::Group(group) => {
            profile.groups.contains(group) || profile.groups_unknown.contains(group)
        }
    };
    let rules = policy.rules().iter();
    let rules = rules.filter(|rule| rule.principals.iter().any(concerns));
    let about = Policy::new(Vec::new(), rules.cloned().collect());
    // Only tiers can contradict each other, and there are none.
    about.unwrap_or_else(|_| policy.clone())
}

impl Engine {
    /// Asks a provider what it has, and lets people find it from now on; how many of it fit a
    /// family of the catalogue. Where it fails, what was known stays.
    pub async fn discover(&self, provider: &ProviderName) -> Result<usize, PortError> {
        let at = self.now();
        let offers = self.provisioner(provider)?.offers().await?;
        let all = offers.len();
        let fitting = offers.into_iter().filter_map(|offer| {
            let id = format!("{provider}/{}", offer.name);
            let id: EntitlementId = id.parse().ok()?;
            self.parts.catalog.get(&id).map(|_| ())?;
            Some((id, offer.title))
        });
        let offers: Vec<(EntitlementId, String)> = fitting.collect();
        let left_out = all - offers.len();
        if left_out > 0 {
            tracing::debug!(provider = %provider, left_out, "offers that fit no family");
        }
        let count = offers.len();
        let listing = Arc::new(Listing { at, offers });
        let mut listings = self.index().listings.clone();
        listings.insert(provider.clone(), listing);
        let index = Arc::new(Index::of(&self.parts.catalog, listings));
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        Ok(count)
    }

    /// How long ago the provider was asked whose listing is the oldest; none where none was asked.
    pub fn listings_age(&self) -> Option<Duration> {
        let index = self.index();
        let oldest = index.listings.values().map(|listing| listing.at).min();
        oldest.map(|at| self.now().since(at))
    }

    fn index(&self) -> Arc<Index> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&index)
    }

    /// Looks among what the caller may ask for or decide; everything where the text is empty. At
    /// most `limit` are given.
    pub async fn search(
        &self,
        via: &Principal,
        text: &str,
        limit: usize,
    ) -> Result<Found, EngineError> {
        let by = self.reader(via).await?;
        let (index, wanted) = (self.index(), text.trim().to_lowercase());
        let sight = index.sight(self.rules(), &by.profile);
        let seen = || {
            let entries = index.entries.iter().zip(sight.iter());
            entries.filter_map(|(known, seen)| seen.then_some(known))
        };
        let begins = |known: &&Known| known.text.starts_with(&wanted);
        let inside = |known: &&Known| !begins(known) && known.text.contains(&wanted);
        let mut found = Found::default();
        for known in seen().filter(begins).chain(seen().filter(inside)) {
            if found.entries.len() >= limit {
                found.more += 1;
                if found.more >= COUNTED {
                    break;
                }
                continue;
            }
            let entry = self.parts.catalog.get(&known.id);
            found
                .entries
                .extend(entry.map(std::borrow::Cow::into_owned));
            if known.is_listed {
                let listing = index.listings.get(&known.id.provider());
                let at = listing.map(|listing| listing.at);
                found.as_of = found.as_of.into_iter().chain(at).min();
            }
        }
        Ok(found)
    }

    /// Whether the caller is somebody here at all.
    pub async fn knows(&self, via: &Principal) -> Result<(), EngineError> {
        self.reader(via).await.map(drop)
    }

    /// The entry with this id, where the caller may ask for it or decide it.
    pub async fn entitlement(
        &self,
        via: &Principal,
        id: &EntitlementId,
    ) -> Result<Option<Entitlement>, EngineError> {
        let by = self.reader(via).await?;
        let entry = self.parts.catalog.get(id);
        let entry = entry.filter(|entry| may_ask_about(self.rules(), &by.profile, &entry.id));
        Ok(entry.map(std::borrow::Cow::into_owned))
    }

    /// Every entitlement of a provider that is known.
    pub(super) fn offered_by(&self, provider: &ProviderName) -> Vec<Entitlement> {
        let index = self.index();
        let known = index
            .entries
            .iter()
            .filter(|known| known.id.provider() == *provider);
        let entries = known.filter_map(|known| self.parts.catalog.get(&known.id));
        entries.map(std::borrow::Cow::into_owned).collect()
    }

    /// The one listed or written id for which this holds.
    pub fn known_id(&self, is_meant: impl Fn(&EntitlementId) -> bool) -> Option<EntitlementId> {
        let index = self.index();
        let mut known = index.entries.iter().map(|known| &known.id);
        known.find(|id| is_meant(id)).cloned()
    }
}
