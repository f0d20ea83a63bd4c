//! Tiers and rules: how long, how many approvals, and who has which right over what. Every answer
//! can be returned with the trace of reasons that led to it; the answer and the explanation are
//! one evaluation.

mod deciders;
mod hours;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use deciders::{Deciders, Span, Step};
pub use hours::{Hours, Zone};
pub use rule::{
    Authority, Case, Effect, Finding, ON_CALL, Reason, Right, Rule, Verdict, When, Who,
};
use rule::{Wanted, find, held_back, weigh};

use crate::catalog::{Entitlement, EntitlementId, Pattern};
use crate::digest::{Digest, sha256_json};
use crate::principal::{BadName, Profile, Subject, checked_name, is_plain};
use crate::time::{Timestamp, Ttl};

/// The name of a tier: `standard`, `critical`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TierName(String);
checked_name!(TierName);

impl TierName {
    fn check(text: &str) -> Result<String, BadName> {
        if is_plain(text, 60, "_-") {
            return Ok(text.to_owned());
        }
        Err(BadName::new(
            "a tier",
            text,
            "write 1 to 60 letters, digits, _ or -",
        ))
    }
}

/// The most approvals that a tier may ask for.
pub const APPROVALS_LIMIT: u8 = 8;

/// The most later steps that ladders may have, all rules taken together.
pub const STEPS_LIMIT: u8 = 8;

/// A risk class: how long, how many people, how fast, and how much may linger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Its name.
    pub name: TierName,
    /// The duration of a request that names none.
    pub ttl_default: Ttl,
    /// The longest duration that can be asked for or granted.
    pub ttl_max: Ttl,
    /// How many distinct people must approve, from 0 to [`APPROVALS_LIMIT`]. Zero needs
    /// `automatic`.
    pub approvals: u8,
    /// How long a request waits for its decision before it lapses.
    pub decision_window: Ttl,
    /// Requests that are approved without a person, up to a quota. Past the quota a person must
    /// decide; where `approvals` is zero, the request is refused.
    pub automatic: Option<Quota>,
    /// The longest time that issued sessions or credentials may outlive the grant, in whole
    /// seconds.
    pub residual_max_secs: u64,
}

impl Tier {
    /// The longest time that access may linger after the end of a grant.
    pub fn residual_max(&self) -> Duration {
        Duration::from_secs(self.residual_max_secs)
    }
}

/// At most `ceiling` automatic approvals for one requester in each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// How many; at least one.
    pub ceiling: u32,
    /// The length of the interval; intervals are counted from the Unix epoch.
    pub per: Ttl,
}

/// A policy that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// A tier asks for more people than is supported.
    #[error("tier {tier} asks for {approvals} approvals; at most 8 are supported")]
    TooManyApprovals {
        /// The tier.
        tier: TierName,
        /// What it asks for.
        approvals: u8,
    },
    /// Nobody would ever approve.
    #[error(
        "tier {tier} needs no approval but has no automatic quota; give it one, as in automatic = {{ ceiling = 10, per = \"1h\" }}, or ask for an approval"
    )]
    NobodyDecides {
        /// The tier.
        tier: TierName,
    },
    /// A quota that lets nothing through.
    #[error("tier {tier} has an automatic quota of zero; leave it out instead")]
    EmptyQuota {
        /// The tier.
        tier: TierName,
    },
    /// More steps than anybody waits for.
    #[error(
        "the rules have {steps} different times after which they count; at most 8 are supported"
    )]
    TooManySteps {
        /// How many.
        steps: usize,
    },
    /// Only the right to approve can begin later.
    #[error(
        "rule {rule:?} has a time after which it counts, which only a rule that allows to approve may have"
    )]
    StepOfOther {
        /// Which.
        rule: String,
    },
    /// The default is longer than the ceiling.
    #[error("tier {tier} has a default of {default}, which is above its ceiling of {ceiling}")]
    DefaultAboveCeiling {
        /// The tier.
        tier: TierName,
        /// Its default.
        default: Ttl,
        /// Its ceiling.
        ceiling: Ttl,
    },
}

/// Access that stands although nobody was granted it, and is meant to, as that of an account for
/// emergencies: it is no drift (S8). It gives nobody a right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    /// Whose, by what the provider calls them.
    pub subjects: BTreeSet<Subject>,
    /// What.
    pub entitlements: Vec<Pattern>,
    /// Why.
    pub reason: String,
}

/// Tiers and rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    tiers: BTreeMap<TierName, Tier>,
    rules: Vec<Rule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exemptions: Vec<Exemption>,
}

impl Policy {
    /// Checks the tiers and puts them and the rules together.
    pub fn new(tiers: Vec<Tier>, rules: Vec<Rule>) -> Result<Self, BadPolicy> {
        for tier in &tiers {
            let name = tier.name.clone();
            if tier.approvals > APPROVALS_LIMIT {
                return Err(BadPolicy::TooManyApprovals {
                    tier: name,
                    approvals: tier.approvals,
                });
            }
            if tier.approvals == 0 && tier.automatic.is_none() {
                return Err(BadPolicy::NobodyDecides { tier: name });
            }
            if tier.automatic.is_some_and(|quota| quota.ceiling == 0) {
                return Err(BadPolicy::EmptyQuota { tier: name });
            }
            if tier.ttl_default > tier.ttl_max {
                let (default, ceiling) = (tier.ttl_default, tier.ttl_max);
                return Err(BadPolicy::DefaultAboveCeiling {
                    tier: name,
                    default,
                    ceiling,
                });
            }
        }
        for rule in rules.iter().filter(|rule| rule.after.is_some()) {
            let deciding = rule.rights.iter().all(|right| *right == Right::Approve);
            if rule.effect == Effect::Deny || !deciding {
                let rule = rule.name.clone();
                return Err(BadPolicy::StepOfOther { rule });
            }
        }
        let steps: BTreeSet<Ttl> = rules.iter().filter_map(|rule| rule.after).collect();
        if steps.len() > usize::from(STEPS_LIMIT) {
            let steps = steps.len();
            return Err(BadPolicy::TooManySteps { steps });
        }
        let tiers = tiers
            .into_iter()
            .map(|tier| (tier.name.clone(), tier))
            .collect();
        let exemptions = vec![];
        Ok(Self {
            tiers,
            rules,
            exemptions,
        })
    }

    /// The same with access that stands without a grant.
    #[must_use]
    pub fn with_exemptions(self, exemptions: Vec<Exemption>) -> Self {
        Self { exemptions, ..self }
    }

    /// Access that stands without a grant, and is meant to.
    pub fn exemptions(&self) -> &[Exemption] {
        &self.exemptions
    }

    /// Whether this subject's access to this is meant to stand without a grant.
    pub fn exempts(&self, subject: &Subject, on: &EntitlementId) -> bool {
        let covers = |it: &&Exemption| it.entitlements.iter().any(|pattern| pattern.matches(on));
        let mut exemptions = self.exemptions.iter().filter(covers);
        exemptions.any(|it| it.subjects.contains(subject))
    }

    /// The tier with this name.
    pub fn tier(&self, name: &TierName) -> Option<&Tier> {
        self.tiers.get(name)
    }

    /// Every tier, by name.
    pub fn tiers(&self) -> impl Iterator<Item = &Tier> {
        self.tiers.values()
    }

    /// Every rule, in the order written.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// May this principal use this right in this case? Default no; deny wins.
    ///
    /// What is about the whole service rather than an entitlement, such as [`Right::Operate`], is
    /// judged by [`Policy::evaluate_anywhere`].
    pub fn evaluate(&self, right: Right, by: &Profile, case: &Case<'_>) -> Verdict {
        self.judge(&case.wanted(right, by), |rule| covers(rule, case.on))
    }

    /// May this principal use this right over everything, at this instant? Only rules whose patterns
    /// contain `*` alone give it; a deny on any pattern takes it.
    pub fn evaluate_anywhere(&self, right: Right, by: &Profile, at: Timestamp) -> Verdict {
        let wanted = Wanted {
            right,
            by,
            when: When::at(at),
            manager: None,
        };
        self.judge(&wanted, |rule| match rule.effect {
            Effect::Allow => rule.entitlements.iter().any(|entry| entry.as_str() == "*"),
            Effect::Deny => true,
        })
    }

    /// Whether any rule gives this principal this right over anything at all, at any time, denied or
    /// not. A rule that names managers may give it to every person.
    pub fn might(&self, right: Right, by: &Profile) -> bool {
        let by_name = self.judge(&ever(right, by), |rule| rule.effect == Effect::Allow);
        by_name.allowed || (by.active && !by.is_program() && self.names_managers(right))
    }

    /// Whether a rule gives this right to the manager of whoever it is for.
    pub fn names_managers(&self, right: Right) -> bool {
        self.rules.iter().any(|rule| {
            rule.effect == Effect::Allow
                && rule.rights.contains(&right)
                && rule.principals.contains(&Who::Manager)
        })
    }

    /// Whether a group of which it cannot be found out now whether they are in it might change over
    /// what this principal has this right.
    pub fn is_unsure(&self, right: Right, by: &Profile) -> bool {
        if held_back(right, by).is_some() {
            return false;
        }
        let (mut given, mut might_be_given, mut might_be_denied) = (false, false, false);
        for rule in &self.rules {
            match find(rule, &ever(right, by), &|_| true) {
                Finding::Allows => given = true,
                Finding::MightAllow => might_be_given = true,
                Finding::MightDeny => might_be_denied = true,
                Finding::Denies
                | Finding::OtherRight
                | Finding::OtherEntitlement
                | Finding::OtherPrincipal
                | Finding::OtherHours
                | Finding::NotYet => {}
            }
        }
        might_be_given || (given && might_be_denied)
    }

    /// [`Policy::evaluate`] without the reasons.
    pub fn allows(&self, right: Right, by: &Profile, case: &Case<'_>) -> bool {
        self.answer(right, by, case) == Authority::Yes
    }

    /// [`Policy::evaluate`] in one word.
    pub fn answer(&self, right: Right, by: &Profile, case: &Case<'_>) -> Authority {
        if held_back(right, by).is_some() {
            return Authority::No;
        }
        let wanted = case.wanted(right, by);
        let covers = |rule: &Rule| covers(rule, case.on);
        let rules = self.rules.iter();
        weigh(rules.map(|rule| find(rule, &wanted, &covers)))
    }

    fn judge(&self, wanted: &Wanted<'_>, covers: impl Fn(&Rule) -> bool) -> Verdict {
        if let Some(reason) = held_back(wanted.right, wanted.by) {
            return Verdict {
                allowed: false,
                trace: vec![reason],
            };
        }
        let rules = self.rules.iter();
        let findings: Vec<(&Rule, Finding)> = rules
            .map(|rule| (rule, find(rule, wanted, &covers)))
            .collect();
        let allowed = weigh(findings.iter().map(|(_, finding)| *finding)) == Authority::Yes;
        let nothing = findings.iter().all(|(_, finding)| match finding {
            Finding::OtherRight
            | Finding::OtherEntitlement
            | Finding::OtherPrincipal
            | Finding::OtherHours
            | Finding::NotYet => true,
            Finding::Allows | Finding::Denies | Finding::MightAllow | Finding::MightDeny => false,
        });
        let mut trace: Vec<Reason> = findings
            .into_iter()
            .map(|(rule, finding)| Reason::Rule {
                rule: rule.name.clone(),
                finding,
            })
            .collect();
        if nothing {
            trace.push(Reason::NothingAllows);
        }
        Verdict { allowed, trace }
    }

    /// The digest of the terms under which this entitlement is granted: its catalogue entry and
    /// its tier. A request is invalid once they differ from those it was opened under.
    pub fn terms_digest(&self, entitlement: &Entitlement) -> Digest {
        sha256_json(&(entitlement, self.tiers.get(&entitlement.tier)))
    }
}

fn covers(rule: &Rule, on: &EntitlementId) -> bool {
    rule.entitlements.iter().any(|entry| entry.matches(on))
}

/// A right at any time, for nobody in particular.
fn ever(right: Right, by: &Profile) -> Wanted<'_> {
    Wanted {
        right,
        by,
        when: When::Ever,
        manager: None,
    }
}

#[cfg(test)]
mod tests;
