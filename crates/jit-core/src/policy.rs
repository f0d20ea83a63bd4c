//! Tiers and rules: how long, how many approvals, and who has which right over what. Every answer
//! can be returned with the trace of reasons that led to it; the answer and the explanation are
//! one evaluation.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalog::{Entitlement, EntitlementId, Pattern};
use crate::digest::{Digest, sha256_json};
use crate::principal::{BadName, GroupName, PrincipalId, Profile, checked_name, is_plain};
use crate::time::Ttl;

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

/// What a rule lets somebody do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Ask for an entitlement for oneself, and hold it.
    Request,
    /// Ask for it in the name of somebody else.
    OnBehalfOf,
    /// Decide requests for it.
    Approve,
    /// End anybody's request or grant of it.
    Revoke,
    /// Read every request and its audit.
    Audit,
    /// See what is stuck, pause and resume.
    Operate,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::OnBehalfOf => "on_behalf_of",
            Self::Approve => "approve",
            Self::Revoke => "revoke",
            Self::Audit => "audit",
            Self::Operate => "operate",
        })
    }
}

/// Whom a rule names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// `*`: every person, no agent.
    AnyPerson,
    /// `agent:*`: every agent.
    AnyAgent,
    /// `group:NAME`: everybody in that group.
    Group(GroupName),
    /// One principal.
    Principal(PrincipalId),
}

impl Who {
    fn names(&self, profile: &Profile) -> bool {
        match self {
            Self::AnyPerson => !profile.is_agent(),
            Self::AnyAgent => profile.is_agent(),
            Self::Group(group) => profile.groups.contains(group),
            Self::Principal(id) => *id == profile.id,
        }
    }

    /// Whether it could not be found out if this names them.
    fn might_name(&self, profile: &Profile) -> bool {
        match self {
            Self::Group(group) => profile.groups_unknown.contains(group),
            Self::AnyPerson | Self::AnyAgent | Self::Principal(_) => false,
        }
    }
}

impl FromStr for Who {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "*" => Ok(Self::AnyPerson),
            "agent:*" => Ok(Self::AnyAgent),
            _ => match text.strip_prefix("group:") {
                Some(group) => group.parse().map(Self::Group),
                None => text.parse().map(Self::Principal),
            },
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyPerson => f.write_str("*"),
            Self::AnyAgent => f.write_str("agent:*"),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::Principal(id) => id.fmt(f),
        }
    }
}

impl Serialize for Who {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a rule gives or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Gives its rights, unless another rule denies.
    Allow,
    /// Takes its rights, whatever other rules say.
    Deny,
}

/// Gives or takes rights over entitlements to principals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What the trace calls it.
    pub name: String,
    /// Whether it gives or takes.
    pub effect: Effect,
    /// The rights.
    pub rights: BTreeSet<Right>,
    /// The entitlements, by pattern.
    pub entitlements: Vec<Pattern>,
    /// The principals.
    pub principals: Vec<Who>,
}

/// Why a rule did or did not count in one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It gives the right.
    Allows,
    /// It takes the right.
    Denies,
    /// It would give the right, if they are in a group of which that cannot be found out now.
    MightAllow,
    /// It would take the right, if they are in a group of which that cannot be found out now.
    MightDeny,
    /// It speaks of other rights.
    OtherRight,
    /// It speaks of other entitlements.
    OtherEntitlement,
    /// It names other principals.
    OtherPrincipal,
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "about")]
pub enum Reason {
    /// The account is not active, so no rule is looked at.
    Inactive,
    /// Agents have no right but to request.
    AgentsOnlyRequest,
    /// What one rule had to say.
    Rule {
        /// The rule's name.
        rule: String,
        /// What it found.
        finding: Finding,
    },
    /// No rule gives the right.
    NothingAllows,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inactive => f.write_str("the account is not active"),
            Self::AgentsOnlyRequest => f.write_str("agents may file requests and nothing else"),
            Self::NothingAllows => f.write_str("no rule allows it"),
            Self::Rule { rule, finding } => {
                let finding = match finding {
                    Finding::Allows => "allows it",
                    Finding::Denies => "denies it, and deny wins",
                    Finding::MightAllow => "might allow it; who is in its group is not known now",
                    Finding::MightDeny => "might deny it; who is in its group is not known now",
                    Finding::OtherRight => "is about other rights",
                    Finding::OtherEntitlement => "is about other entitlements",
                    Finding::OtherPrincipal => "names other principals",
                };
                write!(f, "rule {rule:?} {finding}")
            }
        }
    }
}

/// The answer to "may they?", with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The answer.
    pub allowed: bool,
    /// Every rule that was looked at, in the order of the policy.
    pub trace: Vec<Reason>,
}

impl Verdict {
    /// The same in one word.
    pub fn answer(&self) -> Authority {
        let findings = self.trace.iter().filter_map(|reason| match reason {
            Reason::Rule { finding, .. } => Some(*finding),
            Reason::Inactive | Reason::AgentsOnlyRequest | Reason::NothingAllows => None,
        });
        weigh(findings)
    }
}

/// What findings come to: default no, deny wins, and who may be in a group that is denied is denied
/// until it is known.
fn weigh(findings: impl Iterator<Item = Finding>) -> Authority {
    let (mut given, mut might_be_given, mut might_be_denied) = (false, false, false);
    for finding in findings {
        match finding {
            Finding::Denies => return Authority::No,
            Finding::Allows => given = true,
            Finding::MightAllow => might_be_given = true,
            Finding::MightDeny => might_be_denied = true,
            Finding::OtherRight | Finding::OtherEntitlement | Finding::OtherPrincipal => {}
        }
    }
    match given {
        true if !might_be_denied => Authority::Yes,
        false if !might_be_given => Authority::No,
        true | false => Authority::Unsure,
    }
}

/// May they?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Whatever cannot be found out now.
    Yes,
    /// Whatever cannot be found out now.
    No,
    /// It depends on who is in a group, which cannot be found out now. Nothing is given on it, and
    /// nobody is refused or loses what they have because of it.
    Unsure,
}

impl Authority {
    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unsure, _) | (_, Self::Unsure) => Self::Unsure,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }

    /// Either.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Unsure, _) | (_, Self::Unsure) => Self::Unsure,
            (Self::No, Self::No) => Self::No,
        }
    }
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

/// Tiers and rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    tiers: BTreeMap<TierName, Tier>,
    rules: Vec<Rule>,
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
        let tiers = tiers
            .into_iter()
            .map(|tier| (tier.name.clone(), tier))
            .collect();
        Ok(Self { tiers, rules })
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

    /// May this principal use this right over this entitlement? Default no; deny wins.
    ///
    /// What is about the whole service rather than an entitlement, such as [`Right::Operate`], is
    /// judged by [`Policy::evaluate_anywhere`].
    pub fn evaluate(&self, right: Right, profile: &Profile, on: &EntitlementId) -> Verdict {
        self.judge(right, profile, |rule| {
            rule.entitlements.iter().any(|entry| entry.matches(on))
        })
    }

    /// May this principal use this right over everything? Only rules whose patterns contain `*`
    /// alone give it; a deny on any pattern takes it.
    pub fn evaluate_anywhere(&self, right: Right, profile: &Profile) -> Verdict {
        self.judge(right, profile, |rule| match rule.effect {
            Effect::Allow => rule.entitlements.iter().any(|entry| entry.as_str() == "*"),
            Effect::Deny => true,
        })
    }

    /// Whether any rule gives this principal this right over anything at all, denied or not.
    pub fn might(&self, right: Right, profile: &Profile) -> bool {
        self.judge(right, profile, |rule| rule.effect == Effect::Allow)
            .allowed
    }

    /// Whether a group of which it cannot be found out now whether they are in it might change over
    /// what this principal has this right.
    pub fn is_unsure(&self, right: Right, profile: &Profile) -> bool {
        if held_back(right, profile).is_some() {
            return false;
        }
        let (mut given, mut might_be_given, mut might_be_denied) = (false, false, false);
        for rule in &self.rules {
            match find(rule, right, profile, &|_| true) {
                Finding::Allows => given = true,
                Finding::MightAllow => might_be_given = true,
                Finding::MightDeny => might_be_denied = true,
                Finding::Denies
                | Finding::OtherRight
                | Finding::OtherEntitlement
                | Finding::OtherPrincipal => {}
            }
        }
        might_be_given || (given && might_be_denied)
    }

    /// [`Policy::evaluate`] without the reasons.
    pub fn allows(&self, right: Right, profile: &Profile, on: &EntitlementId) -> bool {
        self.answer(right, profile, on) == Authority::Yes
    }

    /// [`Policy::evaluate`] in one word.
    pub fn answer(&self, right: Right, profile: &Profile, on: &EntitlementId) -> Authority {
        if held_back(right, profile).is_some() {
            return Authority::No;
        }
        let covers = |rule: &Rule| rule.entitlements.iter().any(|entry| entry.matches(on));
        let rules = self.rules.iter();
        weigh(rules.map(|rule| find(rule, right, profile, &covers)))
    }

    fn judge(&self, right: Right, profile: &Profile, covers: impl Fn(&Rule) -> bool) -> Verdict {
        if let Some(reason) = held_back(right, profile) {
            return Verdict {
                allowed: false,
                trace: vec![reason],
            };
        }
        let rules = self.rules.iter();
        let findings: Vec<(&Rule, Finding)> = rules
            .map(|rule| (rule, find(rule, right, profile, &covers)))
            .collect();
        let allowed = weigh(findings.iter().map(|(_, finding)| *finding)) == Authority::Yes;
        let nothing = findings.iter().all(|(_, finding)| match finding {
            Finding::OtherRight | Finding::OtherEntitlement | Finding::OtherPrincipal => true,
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

/// Why no rule is looked at.
fn held_back(right: Right, profile: &Profile) -> Option<Reason> {
    if !profile.active {
        return Some(Reason::Inactive);
    }
    (profile.is_agent() && right != Right::Request).then_some(Reason::AgentsOnlyRequest)
}

/// What one rule has to say.
fn find(rule: &Rule, right: Right, profile: &Profile, covers: &impl Fn(&Rule) -> bool) -> Finding {
    if !rule.rights.contains(&right) {
        Finding::OtherRight
    } else if !covers(rule) {
        Finding::OtherEntitlement
    } else if rule.principals.iter().any(|who| who.names(profile)) {
        match rule.effect {
            Effect::Allow => Finding::Allows,
            Effect::Deny => Finding::Denies,
        }
    } else if rule.principals.iter().any(|who| who.might_name(profile)) {
        match rule.effect {
            Effect::Allow => Finding::MightAllow,
            Effect::Deny => Finding::MightDeny,
        }
    } else {
        Finding::OtherPrincipal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::PrincipalKind;

    fn person(id: &str, groups: &[&str]) -> Profile {
        Profile {
            id: id.parse().unwrap(),
            kind: PrincipalKind::Person,
            active: true,
            groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
            groups_unknown: Default::default(),
            manager: None,
            subjects: BTreeMap::new(),
        }
    }

    fn rule(name: &str, effect: Effect, right: Right, on: &str, who: &str) -> Rule {
        Rule {
            name: name.to_owned(),
            effect,
            rights: [right].into(),
            entitlements: vec![on.parse().unwrap()],
            principals: vec![who.parse().unwrap()],
        }
    }

    #[test]
    fn nothing_is_allowed_by_default_and_deny_wins() {
        let on = "aws/prod".parse().unwrap();
        let ana = person("ana@example.com", &["sre"]);
        let empty = Policy::new(vec![], vec![]).unwrap();
        assert_eq!(
            empty.evaluate(Right::Request, &ana, &on).trace,
            [Reason::NothingAllows]
        );

        let allow = rule("sre", Effect::Allow, Right::Request, "aws/*", "group:sre");
        let policy = Policy::new(vec![], vec![allow.clone()]).unwrap();
        assert!(policy.allows(Right::Request, &ana, &on));
        assert!(!policy.allows(Right::Approve, &ana, &on));

        let deny = rule(
            "not-ana",
            Effect::Deny,
            Right::Request,
            "*",
            "ana@example.com",
        );
        let policy = Policy::new(vec![], vec![allow, deny]).unwrap();
        let verdict = policy.evaluate(Right::Request, &ana, &on);
        assert!(!verdict.allowed);
        let last = Reason::Rule {
            rule: "not-ana".to_owned(),
            finding: Finding::Denies,
        };
        assert_eq!(verdict.trace.last(), Some(&last));
    }

    #[test]
    fn a_group_that_cannot_be_found_out_allows_nothing_and_denies_until_it_is_known() {
        let on = "aws/prod".parse().unwrap();
        let mut ana = person("ana@example.com", &[]);
        ana.groups_unknown.insert("slack:S1".parse().unwrap());
        let allow = |who| rule("allow", Effect::Allow, Right::Request, "aws/*", who);
        let deny = |who| rule("deny", Effect::Deny, Right::Request, "aws/*", who);
        let (group, other) = ("group:slack:S1", "group:slack:S2");
        for (rules, answer) in [
            (vec![allow("*")], Authority::Yes),
            (vec![allow(group), allow("*")], Authority::Yes),
            (vec![allow("*"), deny(other)], Authority::Yes),
            (vec![allow(group)], Authority::Unsure),
            (vec![allow("*"), deny(group)], Authority::Unsure),
            (vec![allow(group), deny(group)], Authority::Unsure),
            (vec![], Authority::No),
            (vec![allow(other)], Authority::No),
            (vec![deny(group)], Authority::No),
            (vec![allow(group), deny("*")], Authority::No),
            (vec![allow("*"), deny(group), deny("*")], Authority::No),
        ] {
            let policy = Policy::new(vec![], rules).unwrap();
            let verdict = policy.evaluate(Right::Request, &ana, &on);
            assert_eq!(verdict.answer(), answer, "{verdict:?}");
            assert_eq!(verdict.allowed, answer == Authority::Yes, "{verdict:?}");
        }
    }

    #[test]
    fn an_inactive_account_and_an_agent_are_held_back_before_any_rule() {
        let on = "aws/prod".parse().unwrap();
        let everything = [
            Right::Request,
            Right::Approve,
            Right::Revoke,
            Right::Operate,
        ];
        let mut rule = rule("all", Effect::Allow, Right::Audit, "*", "*");
        rule.rights.extend(everything);
        rule.principals.push(Who::AnyAgent);
        let policy = Policy::new(vec![], vec![rule]).unwrap();

        let mut gone = person("bob@example.com", &[]);
        gone.active = false;
        assert_eq!(
            policy.evaluate(Right::Audit, &gone, &on).trace,
            [Reason::Inactive]
        );

        let mut agent = person("agent:bot", &[]);
        agent.kind = PrincipalKind::Agent {
            acts_for: "ana@example.com".parse().unwrap(),
        };
        assert!(policy.allows(Right::Request, &agent, &on));
        for right in [Right::Approve, Right::Revoke, Right::Operate, Right::Audit] {
            let verdict = policy.evaluate(right, &agent, &on);
            assert_eq!(verdict.trace, [Reason::AgentsOnlyRequest], "{right}");
        }
    }

    #[test]
    fn a_star_means_people_and_a_right_over_everything_needs_a_bare_star() {
        let ana = person("ana@example.com", &[]);
        let narrow = rule("narrow", Effect::Allow, Right::Operate, "aws/*", "*");
        let policy = Policy::new(vec![], vec![narrow]).unwrap();
        assert!(!policy.evaluate_anywhere(Right::Operate, &ana).allowed);
        let wide = rule("wide", Effect::Allow, Right::Operate, "*", "*");
        let policy = Policy::new(vec![], vec![wide]).unwrap();
        assert!(policy.evaluate_anywhere(Right::Operate, &ana).allowed);
    }
}
