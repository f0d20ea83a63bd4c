//! What a change of a policy changes: who gains and who loses what, and which terms are others. Whether
//! that is well is not judged here.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::catalog::{Catalog, EntitlementId, Pattern};
use jit_core::policy::{Effect, Policy, Right, Tier, Who};
use jit_core::principal::Subject;
use serde::{Deserialize, Serialize};

use super::{Everybody, Named, Sets, subjects};

/// The rights of people over single things, in the order in which they are told.
const RIGHTS: [Right; 4] = [
    Right::Request,
    Right::OnBehalfOf,
    Right::Approve,
    Right::Revoke,
];

/// Whether something is gained or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// It is there in the new one alone.
    Gained,
    /// It was there in the old one alone.
    Lost,
}

/// Who gains or loses a right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// Over what.
    pub on: String,
    /// Which.
    pub right: Right,
    /// Gained or lost.
    pub turn: Turn,
    /// Who, as rules name them.
    pub who: BTreeSet<Who>,
}

/// How the terms of something change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TermsChange {
    /// Of what.
    pub on: String,
    /// Each in words.
    pub changes: Vec<String>,
}

/// What two policies do not agree on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Of rights.
    pub rights: Vec<Change>,
    /// Of terms.
    pub terms: Vec<TermsChange>,
    /// Of what may stand without a grant: whose, and what.
    pub exemptions: Vec<(Turn, Subject, Pattern)>,
}

/// A policy with all that it is about.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// Tiers and rules.
    pub policy: &'a Policy,
    /// What can be asked for.
    pub catalog: &'a Catalog,
    /// Who there is.
    pub everybody: &'a Everybody,
}

impl<'a> Whole<'a> {
    /// The tier of something that can be asked for.
    fn tier(self, on: &EntitlementId) -> Option<&'a Tier> {
        let entitlement = self.catalog.get(on)?;
        self.policy.tier(&entitlement.tier)
    }
}

/// Who gains and who loses what, and how the terms change. Rights are compared as what rules give at
/// any time; when they give it is compared among the terms.
pub fn diff(old: Whole<'_>, new: Whole<'_>) -> Difference {
    let before = Sets::of(old.policy, old.everybody);
    let after = Sets::of(new.policy, new.everybody);
    let all = [old, new].map(|whole| subjects(whole.policy, whole.catalog));
    let ids: BTreeMap<&EntitlementId, &str> = all
        .iter()
        .flatten()
        .map(|subject| (&subject.id, subject.shown.as_str()))
        .collect();
    let mut difference = Difference::default();
    for (id, shown) in ids {
        for right in RIGHTS {
            let reach = |whole: Whole<'_>, sets: &Sets<'_>| {
                let reach = whole.tier(id).map(|tier| sets.reach(right, id, tier));
                sets.spelt(&reach.unwrap_or_default())
            };
            let (had, has) = (reach(old, &before), reach(new, &after));
            for (turn, who) in [(Turn::Gained, &has - &had), (Turn::Lost, &had - &has)] {
                if !who.is_empty() {
                    let on = shown.to_owned();
                    difference.rights.push(Change {
                        on,
                        right,
                        turn,
                        who,
                    });
                }
            }
        }
        if let (Some(had), Some(has)) = (old.tier(id), new.tier(id)) {
            let mut changes = terms_changed(had, has);
            changes.extend(times_changed(old.policy, new.policy, id));
            if !changes.is_empty() {
                let on = shown.to_owned();
                difference.terms.push(TermsChange { on, changes });
            }
        }
    }
    let (had, has) = (exempted(old.policy), exempted(new.policy));
    for (turn, what) in [(Turn::Gained, &has - &had), (Turn::Lost, &had - &has)] {
        let told = what.into_iter().map(|(subject, on)| (turn, subject, on));
        difference.exemptions.extend(told);
    }
    difference
}

impl Sets<'_> {
    /// Whom this is, as rules name them.
    fn spelt(&self, named: &Named) -> BTreeSet<Who> {
        // Everybody is one name, and not all of them.
        if named.others.contains(&Who::AnyPerson) {
            return named.others.clone();
        }
        let here = self.people.iter().enumerate();
        let people = here.filter(|(place, _)| named.who.has(*place));
        let people = people.map(|(_, id)| Who::Principal((*id).clone()));
        people.chain(named.others.iter().cloned()).collect()
    }
}

/// Whom the rules name for a right at other times than before, where hours or steps are in it at all:
/// what is so at any time is told as gained or lost.
fn times_changed(old: &Policy, new: &Policy, id: &EntitlementId) -> Vec<String> {
    let mut told = vec![];
    for right in RIGHTS {
        let (had, has) = (times(old, right, id), times(new, right, id));
        let of = |times: &Times, rule: &(bool, Who)| times.get(rule).cloned().unwrap_or_default();
        let all: BTreeSet<_> = had.keys().chain(has.keys()).collect();
        let turns = all
            .into_iter()
            .map(|rule| (rule, of(&had, rule), of(&has, rule)));
        let turns: Vec<_> = turns.filter(|(_, had, has)| had != has).collect();
        let mut times = turns.iter().flat_map(|(_, had, has)| had.union(has));
        if !times.any(|time| *time != At::Ever) {
            continue;
        }
        for ((denied, who), had, has) in turns {
            let may = if *denied { "may not" } else { "may" };
            let (had, has) = (spelt(&had), spelt(&has));
            told.push(format!("{who} {may} {right} {had} -> {has}"));
        }
    }
    told
}

/// When a rule is about something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Ever,
    Times(String),
}

/// When rules give a right, or deny it, by whom they name.
type Times = BTreeMap<(bool, Who), BTreeSet<At>>;

fn times(policy: &Policy, right: Right, id: &EntitlementId) -> Times {
    let about = policy.rules().iter().filter(|rule| {
        rule.rights.contains(&right) && rule.entitlements.iter().any(|it| it.matches(id))
    });
    let mut times = Times::new();
    for rule in about {
        let after = rule.after.map(|after| format!("after {after}"));
        let hours = rule.hours.as_ref().map(ToString::to_string);
        let words: Vec<String> = after.into_iter().chain(hours).collect();
        let at = match words.is_empty() {
            true => At::Ever,
            false => At::Times(words.join(" ")),
        };
        for who in &rule.principals {
            let key = (rule.effect == Effect::Deny, who.clone());
            times.entry(key).or_default().insert(at.clone());
        }
    }
    times
}

fn spelt(times: &BTreeSet<At>) -> String {
    let words = times.iter().map(|at| match at {
        At::Ever => "at any time",
        At::Times(words) => words,
    });
    match words.collect::<Vec<_>>() {
        words if words.is_empty() => "never".to_owned(),
        words => words.join(" or "),
    }
}

fn terms_changed(had: &Tier, has: &Tier) -> Vec<String> {
    let mut changes = vec![];
    let mut tell = |what: &str, had: String, has: String| {
        if had != has {
            changes.push(format!("{what} {had} -> {has}"));
        }
    };
    tell("tier", had.name.to_string(), has.name.to_string());
    tell(
        "approvals",
        had.approvals.to_string(),
        has.approvals.to_string(),
    );
    tell("at most", had.ttl_max.to_string(), has.ttl_max.to_string());
    tell(
        "usually",
        had.ttl_default.to_string(),
        has.ttl_default.to_string(),
    );
    let automatic = |tier: &Tier| match tier.automatic {
        Some(quota) => format!("{} per {}", quota.ceiling, quota.per),
        None => "never".to_owned(),
    };
    tell("automatic", automatic(had), automatic(has));
    let window = |tier: &Tier| tier.decision_window.to_string();
    tell("lapses after", window(had), window(has));
    let residual = |tier: &Tier| format!("{}s", tier.residual_max_secs);
    tell("may live on for", residual(had), residual(has));
    changes
}

/// Whose access to what is meant to stand without a grant.
fn exempted(policy: &Policy) -> BTreeSet<(Subject, Pattern)> {
    let pairs = policy.exemptions().iter().flat_map(|it| {
        let on = &it.entitlements;
        (it.subjects.iter()).flat_map(move |subject| on.iter().map(move |on| (subject, on)))
    });
    pairs
        .map(|(subject, on)| (subject.clone(), on.clone()))
        .collect()
}
