//! What a policy comes to, for everybody at once: who can ask for what, who can decide it, and what is
//! wrong with that. It reads the policy and the directory, judges nobody's request, and changes
//! nothing. The rules are evaluated by [`jit_core::policy`] alone; what is here only counts.

mod diff;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use jit_core::catalog::{Catalog, EntitlementId, Pattern};
use jit_core::policy::{Effect, ON_CALL, Policy, Right, Tier, Who};
use jit_core::ports::{Directory, ErrorKind};
use jit_core::principal::{GroupName, PrincipalId, PrincipalKind, Profile};
use serde::{Deserialize, Serialize};

pub use diff::{Change, Difference, TermsChange, Turn, Whole, diff};

use crate::build::groups_of;
use crate::people::ConfiguredPeople;

/// How many people are looked up at once.
const AT_ONCE: usize = 8;

/// Everybody whom the configuration or one of the groups that rules name knows.
#[derive(Debug, Clone, Default)]
pub struct Everybody {
    /// Each with the groups that matter.
    people: BTreeMap<PrincipalId, Profile>,
    /// Whom rules name by id, and who has no right by it; each with why.
    in_vain: BTreeMap<PrincipalId, String>,
    /// Groups in which nobody is.
    empty: BTreeSet<GroupName>,
    /// Groups of which nobody here can say who is in them.
    unknown: BTreeSet<GroupName>,
    /// Why the directory did not answer, each reason once.
    unanswered: BTreeMap<String, ErrorKind>,
    /// Where an entitlement is membership in a group that rules name.
    leads_to: BTreeMap<EntitlementId, GroupName>,
}

impl Everybody {
    /// Asks the directory who those are whom the policy names, and who is in its groups, now.
    pub async fn of(
        policy: &Policy,
        configured: &ConfiguredPeople,
        directory: &dyn Directory,
        leads_to: BTreeMap<EntitlementId, GroupName>,
    ) -> Self {
        let mut everybody = Self {
            leads_to,
            ..Self::default()
        };
        everybody.look_up(policy, configured, directory).await;
        // Who is on call is another every week, and is told by the name of the rota.
        let groups = groups_of(policy).filter(|group| !group.as_str().starts_with(ON_CALL));
        let groups: BTreeSet<GroupName> = groups.collect();
        let asked = groups.into_iter().map(|group| async move {
            let members = directory.members(&group).await;
            (group, members)
        });
        for (group, members) in join_all(asked).await {
            match members {
                Ok(Some(members)) => everybody.join(group, members),
                Ok(None) => drop(everybody.unknown.insert(group)),
                Err(error) => {
                    tracing::warn!(%group, error = %error.chain(), "who is in a group is not known");
                    everybody.unanswered.insert(error.chain(), error.kind);
                    everybody.unknown.insert(group);
                }
            }
        }
        everybody
    }

    /// Whoever is configured, and whoever else rules name, as the directory has them.
    async fn look_up(
        &mut self,
        policy: &Policy,
        configured: &ConfiguredPeople,
        directory: &dyn Directory,
    ) {
        let named: BTreeSet<PrincipalId> = named_in(policy).collect();
        let known = configured.iter().map(|it| it.profile.id.clone());
        let all: BTreeSet<PrincipalId> = known.chain(named.iter().cloned()).collect();
        let asked = stream::iter(all).map(|id| async move {
            let found = directory.profile(&id).await;
            (id, found)
        });
        let mut answers = asked.buffer_unordered(AT_ONCE);
        while let Some((id, answer)) = answers.next().await {
            let profile = match answer {
                Ok(profile) => profile,
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "somebody could not be looked up");
                    self.unanswered.insert(error.chain(), error.kind);
                    match configured.find(&id) {
                        Some(known) => Some(known.profile.clone()),
                        // They are known to the directory alone.
                        None => continue,
                    }
                }
            };
            let why = match &profile {
                None => Some("whom nobody knows".to_owned()),
                Some(it) if it.id != id => Some(format!("who is known as {}", it.id)),
                Some(it) => (!it.active).then(|| "who is not active".to_owned()),
            };
            if let Some(profile) = profile {
                self.people.insert(profile.id.clone(), profile);
            }
            if let Some(why) = why.filter(|_| named.contains(&id)) {
                self.in_vain.insert(id, why);
            }
        }
    }

    fn join(&mut self, group: GroupName, members: BTreeSet<PrincipalId>) {
        if members.is_empty() {
            self.empty.insert(group);
            return;
        }
        for id in members {
            let profile = self
                .people
                .entry(id)
                .or_insert_with_key(|id| nobody(id.clone()));
            profile.groups.insert(group.clone());
        }
    }

    /// Groups of which nobody here can say who is in them.
    pub fn unknown(&self) -> &BTreeSet<GroupName> {
        &self.unknown
    }

    /// Why the directory did not answer, as the log has it.
    pub(crate) fn unanswered(&self) -> &BTreeMap<String, ErrorKind> {
        &self.unanswered
    }
}

/// Whom rules name by id.
fn named_in(policy: &Policy) -> impl Iterator<Item = PrincipalId> {
    let who = policy.rules().iter().flat_map(|rule| &rule.principals);
    who.filter_map(|who| match who {
        Who::Principal(id) => Some(id.clone()),
        Who::AnyPerson | Who::AnyAgent | Who::Manager | Who::Group(_) => None,
    })
}

/// Somebody who is in no group.
pub(crate) fn nobody(id: PrincipalId) -> Profile {
    Profile {
        id,
        kind: PrincipalKind::Person,
        active: true,
        groups: BTreeSet::new(),
        groups_unknown: BTreeSet::new(),
        manager: None,
        subjects: BTreeMap::new(),
    }
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gravity {
    /// What the rules promise can never happen.
    LockOut,
    /// Whoever gets one thing can let themselves, or friends, into another.
    Loop,
    /// It is probably not meant.
    Doubt,
}

/// Something that is wrong with what a policy comes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub gravity: Gravity,
    /// What.
    pub what: String,
    /// What to do.
    pub instead: String,
}

/// Everything that was found, the worst first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What.
    pub findings: Vec<Finding>,
    /// Nothing that can be asked for can be had by anybody.
    pub everybody_is_locked_out: bool,
}

/// Looks for lock-outs, privilege loops, empty groups and entitlements that no rule is about.
pub fn lint(policy: &Policy, catalog: &Catalog, everybody: &Everybody) -> Report {
    let sets = Sets::of(policy, everybody);
    let subjects = subjects(policy, catalog);
    let mut report = Report::default();
    let mut can_be_had = 0_usize;
    for subject in &subjects {
        let (reach, found) = sets.look_at(subject);
        can_be_had += usize::from(reach == CanBeHad::BySomebody);
        report.findings.extend(found);
    }
    report.everybody_is_locked_out = !subjects.is_empty() && can_be_had == 0;
    report.findings.extend(loops(policy, everybody));
    for (id, why) in &everybody.in_vain {
        report.findings.push(Finding {
            gravity: Gravity::Doubt,
            what: format!("rules name {id}, {why}"),
            instead: "name somebody else, or remove it from the rules".to_owned(),
        });
    }
    for group in &everybody.empty {
        report.findings.push(Finding {
            gravity: Gravity::Doubt,
            what: format!("nobody is in the group {group}, which rules name"),
            instead: "put somebody into it, or remove it from the rules".to_owned(),
        });
    }
    for (right, what) in [
        (
            Right::Operate,
            "nobody may pause the service, or see what is stuck or drifted",
        ),
        (Right::Audit, "nobody may read the audit"),
    ] {
        if !sets.is_anybodys(right) {
            report.findings.push(Finding {
                gravity: Gravity::Doubt,
                what: what.to_owned(),
                instead: format!(
                    "write a rule with rights = [\"{right}\"] and entitlements = [\"*\"]"
                ),
            });
        }
    }
    report.findings.sort();
    report.findings.dedup();
    report
}

/// Whether anybody can ever have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CanBeHad {
    BySomebody,
    ByNobody,
}

/// Something that rules are about: an entitlement, or one that stands for all of a family.
#[derive(Debug)]
struct Subject<'c> {
    /// What people know it by.
    shown: String,
    /// What rules are held against.
    id: EntitlementId,
    tier: Option<&'c Tier>,
}

/// Every entitlement; and for each family one id for every pattern of a rule that is narrower than
/// it, in which each star stands for nothing in particular.
fn subjects<'c>(policy: &'c Policy, catalog: &'c Catalog) -> Vec<Subject<'c>> {
    let mut subjects: Vec<Subject<'_>> = catalog
        .iter()
        .map(|entitlement| Subject {
            shown: entitlement.id.to_string(),
            id: entitlement.id.clone(),
            tier: policy.tier(&entitlement.tier),
        })
        .collect();
    for family in catalog.families() {
        let patterns = policy.rules().iter().flat_map(|rule| &rule.entitlements);
        let narrower = patterns.filter(|pattern| family.pattern.covers(pattern));
        let all: BTreeSet<&Pattern> = narrower.chain([&family.pattern]).collect();
        for pattern in all {
            let stands_for = pattern.as_str().replace('*', "any");
            // One that an earlier family takes is looked at there.
            let Ok(id) = stands_for.parse::<EntitlementId>() else {
                continue;
            };
            let taken = catalog.get(&id).map(|found| found.tier.clone());
            if taken.as_ref() == Some(&family.tier) {
                subjects.push(Subject {
                    shown: pattern.to_string(),
                    id,
                    tier: policy.tier(&family.tier),
                });
            }
        }
    }
    subjects
}

/// A set of people, by their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Places(Vec<u64>);

impl Places {
    fn insert(&mut self, place: usize) {
        let word = place / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (place % 64);
        }
    }

    fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    fn take(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine &= !theirs;
        }
    }

    fn has(&self, place: usize) -> bool {
        let word = self.0.get(place / 64).copied().unwrap_or_default();
        word & (1 << (place % 64)) != 0
    }

    fn shared(&self, other: &Self) -> usize {
        let both = self.0.iter().zip(&other.0);
        both.map(|(mine, theirs)| count(mine & theirs)).sum()
    }

    fn len(&self) -> usize {
        self.0.iter().map(|bits| count(*bits)).sum()
    }
}

fn count(bits: u64) -> usize {
    usize::try_from(bits.count_ones()).unwrap_or_default()
}

/// Whom something names: people, and those of whom it cannot be said here who they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Named {
    who: Places,
    /// Every person, managers, whoever is on call, agents, groups that nobody here can see into.
    others: BTreeSet<Who>,
}

impl Named {
    fn add(&mut self, other: &Self) {
        self.who.add(&other.who);
        self.others.extend(other.others.iter().cloned());
    }

    fn take(&mut self, other: &Self) {
        self.who.take(&other.who);
        self.others.retain(|who| !other.others.contains(who));
        if other.others.contains(&Who::AnyPerson) {
            self.others.retain(|who| *who == Who::AnyAgent);
        }
    }

    fn is_nobody(&self) -> bool {
        self.who.len() == 0 && self.others.is_empty()
    }

    /// Whether more people may be named than can be counted here.
    fn is_open(&self) -> bool {
        self.others.iter().any(|who| *who != Who::AnyAgent)
    }
}

/// Whom each rule of a policy names.
struct Sets<'p> {
    policy: &'p Policy,
    /// In the order of the rules.
    rules: Vec<Named>,
    /// In the order of their places.
    people: Vec<&'p PrincipalId>,
}

impl<'p> Sets<'p> {
    fn of(policy: &'p Policy, everybody: &'p Everybody) -> Self {
        let active = everybody.people.values().filter(|profile| profile.active);
        let people: Vec<&Profile> = active.filter(|profile| !profile.is_program()).collect();
        let mut all = Places::default();
        let mut by_group: BTreeMap<&GroupName, Places> = BTreeMap::new();
        let mut by_id: BTreeMap<&PrincipalId, usize> = BTreeMap::new();
        for (place, profile) in people.iter().enumerate() {
            all.insert(place);
            by_id.insert(&profile.id, place);
            for group in &profile.groups {
                by_group.entry(group).or_default().insert(place);
            }
        }
        let named = |who: &Who| {
            let mut named = Named::default();
            let is_other = match who {
                Who::AnyPerson => {
                    named.who = all.clone();
                    true
                }
                Who::AnyAgent | Who::Manager => true,
                Who::Group(group) => {
                    named.who = by_group.get(group).cloned().unwrap_or_default();
                    everybody.unknown.contains(group) || who.is_on_call()
                }
                Who::Principal(id) => {
                    let place = by_id.get(id);
                    place.iter().for_each(|place| named.who.insert(**place));
                    // Whoever is not here could not be looked up, or is an agent.
                    place.is_none() && !everybody.in_vain.contains_key(id)
                }
            };
            if is_other {
                named.others.insert(who.clone());
            }
            named
        };
        let mut whom: BTreeMap<&Who, Named> = BTreeMap::new();
        for who in policy.rules().iter().flat_map(|rule| &rule.principals) {
            whom.entry(who).or_insert_with(|| named(who));
        }
        let rules = policy.rules().iter().map(|rule| {
            let mut all = Named::default();
            for named in rule.principals.iter().filter_map(|who| whom.get(who)) {
                all.add(named);
            }
            all
        });
        Self {
            policy,
            rules: rules.collect(),
            people: people.into_iter().map(|profile| &profile.id).collect(),
        }
    }

    /// Whoever has this right over this, which is in this tier, at some time.
    fn reach(&self, right: Right, on: &EntitlementId, tier: &Tier) -> Named {
        let (mut allowed, mut denied) = (Named::default(), Named::default());
        for (rule, named) in self.policy.rules().iter().zip(&self.rules) {
            let covers = rule.entitlements.iter().any(|it| it.matches(on));
            // A request lapses at the end of its window, and nothing begins there.
            let comes = rule.after.is_none_or(|it| it < tier.decision_window);
            if !rule.rights.contains(&right) || !covers || !comes {
                continue;
            }
            match rule.effect {
                Effect::Allow => allowed.add(named),
                // Whoever is kept out at times has it at others.
                Effect::Deny if rule.hours.is_none() => denied.add(named),
                Effect::Deny => {}
            }
        }
        allowed.take(&denied);
        if right != Right::Request {
            // Agents file requests and nothing else.
            allowed.others.remove(&Who::AnyAgent);
        }
        allowed
    }

    /// Whether a right over everything is anybody's.
    fn is_anybodys(&self, right: Right) -> bool {
        let rules = self.policy.rules().iter().zip(&self.rules);
        let mut giving = rules.filter(|(rule, _)| {
            let everything = rule.entitlements.iter().any(|it| it.as_str() == "*");
            rule.effect == Effect::Allow && rule.rights.contains(&right) && everything
        });
        giving.any(|(_, named)| !named.is_nobody())
    }

    /// What there is to say about one thing.
    fn look_at(&self, subject: &Subject<'_>) -> (CanBeHad, Vec<Finding>) {
        let shown = &subject.shown;
        let finding = |gravity, what: String, instead: &str| Finding {
            gravity,
            what,
            instead: instead.to_owned(),
        };
        let Some(tier) = subject.tier else {
            return (CanBeHad::ByNobody, vec![]);
        };
        let askers = self.reach(Right::Request, &subject.id, tier);
        if askers.is_nobody() {
            let what = format!("no rule lets anybody ask for {shown}");
            let instead = "write a rule with the right to request, or remove it";
            return (
                CanBeHad::ByNobody,
                vec![finding(Gravity::Doubt, what, instead)],
            );
        }
        let mut found = vec![];
        if self.reach(Right::Revoke, &subject.id, tier).is_nobody() {
            let what = format!("nobody may revoke {shown} before its end");
            let instead = "write a rule with the right to revoke";
            found.push(finding(Gravity::Doubt, what, instead));
        }
        let approvers = self.reach(Right::Approve, &subject.id, tier);
        let needed = usize::from(tier.approvals);
        if tier.automatic.is_some() || approvers.is_open() {
            return (CanBeHad::BySomebody, found);
        }
        let (count, own) = (approvers.who.len(), approvers.who.shared(&askers.who));
        let too_few = "let more people approve, or ask for fewer approvals in the tier";
        if count < needed {
            let what = format!("{shown} needs {needed} to approve it, and {count} may");
            found.push(finding(Gravity::LockOut, what, too_few));
            return (CanBeHad::ByNobody, found);
        }
        if count == needed && own == askers.who.len() && !askers.is_open() {
            let what = format!(
                "{shown} needs {needed} to approve it, and whoever may ask for it is one of the \
                 {count} who may, and may not decide what is theirs"
            );
            found.push(finding(Gravity::LockOut, what, too_few));
            return (CanBeHad::ByNobody, found);
        }
        if count == needed && own > 0 {
            let what = format!(
                "{own} of those who may ask for {shown} are needed to approve it, and so cannot \
                 get it"
            );
            found.push(finding(Gravity::Doubt, what, too_few));
        }
        (CanBeHad::BySomebody, found)
    }
}

/// Entitlements that are membership in a group whose members decide on it, at once or round several
/// corners: whoever is let in once lets in others.
fn loops(policy: &Policy, everybody: &Everybody) -> Vec<Finding> {
    let leads_to = &everybody.leads_to;
    let decides = |group: &GroupName, on: &EntitlementId| {
        policy.rules().iter().any(|rule| {
            let allows = rule.effect == Effect::Allow && rule.rights.contains(&Right::Approve);
            let names = |who: &Who| matches!(who, Who::Group(named) if named == group);
            allows
                && rule.principals.iter().any(names)
                && rule.entitlements.iter().any(|it| it.matches(on))
        })
    };
    // From what somebody gets to what they can decide then.
    let next: BTreeMap<&EntitlementId, Vec<&EntitlementId>> = leads_to
        .iter()
        .map(|(id, group)| {
            (
                id,
                leads_to.keys().filter(|on| decides(group, on)).collect(),
            )
        })
        .collect();
    let mut found = vec![];
    for start in leads_to.keys() {
        if let Some(path) = round(start, &next) {
            // Each loop is told once, from the first of its entitlements.
            if path.iter().any(|on| *on < start) {
                continue;
            }
            let way: Vec<String> = path.iter().map(ToString::to_string).collect();
            let what = match way.as_slice() {
                [] => format!("whoever gets {start} may decide who else gets it"),
                way => format!(
                    "whoever gets {start} may decide on {}, and so on who else gets {start}",
                    way.join(", and then on ")
                ),
            };
            found.push(Finding {
                gravity: Gravity::Loop,
                what,
                instead: "let a group decide that cannot be asked for".to_owned(),
            });
        }
    }
    found
}

/// The shortest way from something back to it, without its ends.
fn round<'e>(
    start: &'e EntitlementId,
    next: &BTreeMap<&'e EntitlementId, Vec<&'e EntitlementId>>,
) -> Option<Vec<&'e EntitlementId>> {
    let mut seen = BTreeSet::new();
    let mut waiting = std::collections::VecDeque::from([(start, vec![])]);
    while let Some((at, path)) = waiting.pop_front() {
        for on in next.get(at).into_iter().flatten() {
            if *on == start {
                return Some(path);
            }
            if seen.insert(*on) {
                let mut longer: Vec<&EntitlementId> = path.clone();
                longer.push(on);
                waiting.push_back((on, longer));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
