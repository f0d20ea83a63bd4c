//! Whom the rules name for a decision, and from when on: for finding people and telling them. Whether
//! one of them may decide is judged where they do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Effect, Policy, Right, Rule, Who, covers};
use crate::catalog::EntitlementId;
use crate::time::{Timestamp, Ttl};

/// The time in which a decision can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Since when the request waits.
    pub opened_at: Timestamp,
    /// The first instant that matters.
    pub from: Timestamp,
    /// The last one.
    pub until: Timestamp,
}

/// Whom the rules about one decision name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deciders<'p> {
    /// Who may, unless they are kept out.
    pub allowed: BTreeSet<&'p Who>,
    /// Who may not.
    pub denied: BTreeSet<&'p Who>,
}

/// A later step of a ladder: who else may decide once a request has waited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How long.
    pub after: Ttl,
    /// Who.
    pub to: BTreeSet<Who>,
}

impl Policy {
    /// Whom rules name who could decide this at some instant of this time; and who is kept out during
    /// all of it.
    pub fn deciders(&self, on: &EntitlementId, span: Span) -> Deciders<'_> {
        let mut deciders = Deciders::default();
        for rule in self.about_deciding(on) {
            match rule.effect {
                Effect::Allow if counts_within(rule, span) => {
                    deciders.allowed.extend(&rule.principals);
                }
                Effect::Deny if counts_throughout(rule, span) => {
                    deciders.denied.extend(&rule.principals);
                }
                Effect::Allow | Effect::Deny => {}
            }
        }
        deciders
    }

    /// The later steps of the ladder for this, from the first to the last.
    pub fn ladder(&self, on: &EntitlementId) -> Vec<Step> {
        let mut steps: BTreeMap<Ttl, BTreeSet<Who>> = BTreeMap::new();
        let allowing = self.about_deciding(on);
        for rule in allowing.filter(|rule| rule.effect == Effect::Allow) {
            if let Some(after) = rule.after {
                let to = steps.entry(after).or_default();
                to.extend(rule.principals.iter().cloned());
            }
        }
        let step = |(after, to)| Step { after, to };
        steps.into_iter().map(step).collect()
    }

    /// When whom those steps name may decide, and are told, of a request that is opened now and waits
    /// until then. A step that falls outside the hours of its rule comes when they begin.
    pub fn rungs(
        &self,
        on: &EntitlementId,
        opened_at: Timestamp,
        until: Timestamp,
    ) -> BTreeMap<Timestamp, BTreeSet<Who>> {
        let mut rungs: BTreeMap<Timestamp, BTreeSet<Who>> = BTreeMap::new();
        let allowing = self.about_deciding(on);
        for rule in allowing.filter(|rule| rule.effect == Effect::Allow) {
            let Some(after) = rule.after else {
                continue;
            };
            let step = opened_at + after.duration();
            let at = match &rule.hours {
                Some(hours) => hours.first_within(step, until),
                None => Some(step),
            };
            if let Some(at) = at.filter(|at| *at < until) {
                let to = rungs.entry(at).or_default();
                to.extend(rule.principals.iter().cloned());
            }
        }
        rungs
    }

    fn about_deciding(&self, on: &EntitlementId) -> impl Iterator<Item = &Rule> {
        let rules = self.rules.iter();
        rules.filter(move |rule| rule.rights.contains(&Right::Approve) && covers(rule, on))
    }
}

fn counts_within(rule: &Rule, span: Span) -> bool {
    let step = rule
        .after
        .map_or(span.opened_at, |after| span.opened_at + after.duration());
    let from = span.from.max(step);
    from <= span.until
        && rule
            .hours
            .as_ref()
            .is_none_or(|it| it.touch(from, span.until))
}

/// Hours come to an end, but not within one instant.
fn counts_throughout(rule: &Rule, span: Span) -> bool {
    let at_once = span.from == span.until;
    let within = |hours: &super::Hours| at_once && hours.contain(span.from);
    rule.hours.as_ref().is_none_or(within)
}
