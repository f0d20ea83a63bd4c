//! Rules: whom they name, over what, when they count, and what one of them has to say. A list of
//! findings comes to one answer here; which rules there are is [`Policy`](super::Policy)'s.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hours::Hours;
use crate::catalog::{EntitlementId, Pattern};
use crate::principal::{BadName, GroupName, PrincipalId, PrincipalKind, Profile};
use crate::time::{Timestamp, Ttl};

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
    /// `*`: every person, no program.
    AnyPerson,
    /// `agent:*`: every agent.
    AnyAgent,
    /// `group:NAME`: everybody in that group.
    Group(GroupName),
    /// `manager`: the manager of whoever it is for.
    Manager,
    /// One principal.
    Principal(PrincipalId),
}

/// Groups whose names begin with this are whoever a rota says is on call: `oncall:primary`.
pub const ON_CALL: &str = "oncall:";

impl Who {
    fn names(&self, profile: &Profile, manager: Option<&PrincipalId>) -> bool {
        match self {
            Self::AnyPerson => !profile.is_program(),
            Self::AnyAgent => matches!(profile.kind, PrincipalKind::Agent { .. }),
            Self::Group(group) => profile.groups.contains(group),
            Self::Manager => !profile.is_program() && manager == Some(&profile.id),
            Self::Principal(id) => *id == profile.id,
        }
    }

    /// Whether this is whoever a rota says is on call.
    pub fn is_on_call(&self) -> bool {
        matches!(self, Self::Group(group) if group.as_str().starts_with(ON_CALL))
    }

    /// Whether it could not be found out if this names them.
    fn might_name(&self, profile: &Profile) -> bool {
        match self {
            Self::Group(group) => profile.groups_unknown.contains(group),
            Self::AnyPerson | Self::AnyAgent | Self::Manager | Self::Principal(_) => false,
        }
    }
}

impl FromStr for Who {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "*" => Ok(Self::AnyPerson),
            "agent:*" => Ok(Self::AnyAgent),
            "manager" => Ok(Self::Manager),
            _ if text.starts_with(ON_CALL) => text.parse().map(Self::Group),
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
            Self::Group(group) if self.is_on_call() => group.fmt(f),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::Manager => f.write_str("manager"),
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
        crate::text::read(deserializer)
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
    /// When it counts; always where unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// How long a request must have waited before it counts: a later step of the ladder. Only of
    /// rules about the right to approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Ttl>,
}

/// Over what a right is wanted, when, and whom the request is for.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Over what.
    pub on: &'a EntitlementId,
    /// When.
    pub when: When,
    /// The manager of whoever it is for, where they are known and have one.
    pub manager: Option<&'a PrincipalId>,
}

/// When a right is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At this instant, for a request that has waited so long.
    At {
        /// The instant.
        at: Timestamp,
        /// How long.
        waited: Duration,
    },
    /// At any time, however long anything has waited: what somebody may look at.
    Ever,
}

impl When {
    /// At this instant, for what has not waited.
    pub fn at(at: Timestamp) -> Self {
        let waited = Duration::ZERO;
        Self::At { at, waited }
    }
}

impl<'a> Case<'a> {
    /// A right over this, at this time, for nobody in particular.
    pub fn new(on: &'a EntitlementId, when: When) -> Self {
        Self {
            on,
            when,
            manager: None,
        }
    }

    /// The same for this person.
    #[must_use]
    pub fn of(self, beneficiary: Option<&'a Profile>) -> Self {
        Self {
            manager: beneficiary.and_then(|profile| profile.manager.as_ref()),
            ..self
        }
    }

    pub(super) fn wanted(&self, right: Right, by: &'a Profile) -> Wanted<'a> {
        Wanted {
            right,
            by,
            when: self.when,
            manager: self.manager,
        }
    }
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
    /// It would count at another hour.
    OtherHours,
    /// It would count once the request has waited longer.
    NotYet,
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "about")]
pub enum Reason {
    /// The account is not active, so no rule is looked at.
    Inactive,
    /// Programs have no right but to request.
    ProgramsOnlyRequest,
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
            Self::ProgramsOnlyRequest => f.write_str("programs may file requests and nothing else"),
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
                    Finding::OtherHours => "counts at other hours",
                    Finding::NotYet => "counts once the request has waited longer",
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
            Reason::Inactive | Reason::ProgramsOnlyRequest | Reason::NothingAllows => None,
        });
        weigh(findings)
    }
}

/// What findings come to: default no, deny wins, and who may be in a group that is denied is denied
/// until it is known.
pub(super) fn weigh(findings: impl Iterator<Item = Finding>) -> Authority {
    let (mut given, mut might_be_given, mut might_be_denied) = (false, false, false);
    for finding in findings {
        match finding {
            Finding::Denies => return Authority::No,
            Finding::Allows => given = true,
            Finding::MightAllow => might_be_given = true,
            Finding::MightDeny => might_be_denied = true,
            Finding::OtherRight
            | Finding::OtherEntitlement
            | Finding::OtherPrincipal
            | Finding::OtherHours
            | Finding::NotYet => {}
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

/// Why no rule is looked at.
pub(super) fn held_back(right: Right, profile: &Profile) -> Option<Reason> {
    if !profile.active {
        return Some(Reason::Inactive);
    }
    (profile.is_program() && right != Right::Request).then_some(Reason::ProgramsOnlyRequest)
}

/// Who wants which right, when, for whom; over what is for the rule to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) right: Right,
    pub(super) by: &'a Profile,
    pub(super) when: When,
    /// The manager of whoever it is for.
    pub(super) manager: Option<&'a PrincipalId>,
}

/// What one rule has to say, which covers it or not.
pub(super) fn find(rule: &Rule, wanted: &Wanted<'_>, covers: &impl Fn(&Rule) -> bool) -> Finding {
    let Wanted { right, by, .. } = *wanted;
    if !rule.rights.contains(&right) {
        return Finding::OtherRight;
    }
    if !covers(rule) {
        return Finding::OtherEntitlement;
    }
    let names = |who: &Who| who.names(by, wanted.manager);
    let might_name = |who: &Who| who.might_name(by);
    let (finding, unsure) = match rule.effect {
        Effect::Allow => (Finding::Allows, Finding::MightAllow),
        Effect::Deny => (Finding::Denies, Finding::MightDeny),
    };
    let finding = if rule.principals.iter().any(names) {
        finding
    } else if rule.principals.iter().any(might_name) {
        unsure
    } else {
        return Finding::OtherPrincipal;
    };
    match (wanted.when, rule.effect) {
        // Who is only kept out at times may look at all times.
        (When::Ever, Effect::Deny) if rule.hours.is_some() => Finding::OtherHours,
        (When::Ever, _) => finding,
        (When::At { at, .. }, _) if rule.hours.as_ref().is_some_and(|it| !it.contain(at)) => {
            Finding::OtherHours
        }
        (When::At { waited, .. }, _) if rule.after.is_some_and(|it| waited < it.duration()) => {
            Finding::NotYet
        }
        (When::At { .. }, _) => finding,
    }
}
