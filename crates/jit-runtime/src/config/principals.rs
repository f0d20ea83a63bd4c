//! Who people are, and which rules can ever count. A rule that names nobody, or gives what it
//! cannot give, is a mistake and not a rule: refused, because somebody relies on it.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::catalog::{EntitlementId, Pattern, ProviderName};
use jit_core::policy::{Effect, Exemption, Right, Rule, Who};
use jit_core::principal::{GroupName, PrincipalId, PrincipalKind, Profile, Subject};

use super::check::{Check, readable};
use super::okta::DirectoryTable;
use super::problems::{At, Spot};
use super::rotas::RotaTable;
use super::written::{AgentTable, PersonTable, RuleTable, ServiceTable, Written};
use crate::people::KnownPrincipal;

/// Every name of every principal, and the groups that somebody is in.
#[derive(Default)]
pub(super) struct Names<'w> {
    /// Canonical ids of people.
    people: BTreeSet<&'w PrincipalId>,
    /// Canonical ids of agents and services.
    programs: BTreeSet<&'w PrincipalId>,
    /// Those of services alone.
    services: BTreeSet<&'w PrincipalId>,
    /// Whose other name it is.
    aliases: BTreeMap<&'w PrincipalId, &'w PrincipalId>,
    /// Groups that somebody is in.
    groups: BTreeSet<&'w GroupName>,
    /// The groups of whoever is on call, if all could be read.
    rotas: Option<BTreeSet<&'w GroupName>>,
    /// There is a workspace, whose user groups can be named.
    in_slack: bool,
    /// There is a directory, which knows people who are not written down here.
    in_directory: bool,
    /// The groups that it fills.
    elsewhere: BTreeSet<GroupName>,
    /// Some name could not be read, so a name that leads nowhere may lead to that one.
    unreadable: bool,
    /// Where each name was written first, and to whom it leads.
    claimed: BTreeMap<&'w PrincipalId, (&'w PrincipalId, Spot)>,
}

/// Which subject of which provider leads to whom.
type Subjects = BTreeMap<(ProviderName, Subject), PrincipalId>;

impl Check<'_, '_> {
    /// Collects every name, and refuses one that leads to two principals.
    pub(super) fn names<'w>(&mut self, written: &'w Written) -> Names<'w> {
        let all_people = readable(written.people.iter().map(|it| &it.id));
        let all_agents = readable(written.agents.iter().map(|it| &it.id));
        let all_services = readable(written.services.iter().map(|it| &it.id));
        let all = all_people.and(all_agents).and(all_services);
        let mut names = Names {
            rotas: written.rotas.iter().map(RotaTable::group).collect(),
            in_slack: written.slack.is_some(),
            in_directory: written.directory.is_some(),
            elsewhere: written
                .directory
                .iter()
                .flat_map(DirectoryTable::groups)
                .collect(),
            unreadable: all.is_none(),
            ..Names::default()
        };
        for person in &written.people {
            let Some(id) = &person.id else { continue };
            self.claim(&mut names, id, id);
            self.reads_as(id, "a person");
            names.people.insert(&id.value);
            for alias in person.aliases.iter().filter(|it| it.value != id.value) {
                self.claim(&mut names, id, alias);
                self.reads_as(alias, "a person");
                names.aliases.insert(&alias.value, &id.value);
            }
            for alias in person.slack_alias.iter().chain(&person.telegram_alias) {
                self.claim(&mut names, id, alias);
                names.aliases.insert(&alias.value, &id.value);
            }
            names
                .groups
                .extend(person.groups.iter().map(|group| &group.value));
        }
        for id in written.agents.iter().filter_map(|agent| agent.id.as_ref()) {
            self.claim(&mut names, id, id);
            self.reads_as(id, "an agent");
            names.programs.insert(&id.value);
        }
        for service in &written.services {
            let Some(id) = &service.id else { continue };
            self.claim(&mut names, id, id);
            self.reads_as(id, "a service");
            names.programs.insert(&id.value);
            names.services.insert(&id.value);
            let groups = service.groups.iter().map(|group| &group.value);
            names.groups.extend(groups);
        }
        names
    }

    fn claim<'w>(
        &mut self,
        names: &mut Names<'w>,
        owner: &'w At<PrincipalId>,
        name: &'w At<PrincipalId>,
    ) {
        let Some((first, at)) = names.claimed.get(&name.value) else {
            names.claimed.insert(&name.value, (&owner.value, name.at));
            return;
        };
        let what = format!(
            "{} leads to {first} already, {}",
            name.value,
            self.problems.where_is(*at)
        );
        let instead = "let every id and alias lead to one principal";
        self.problems.add(name.at, what, instead);
    }

    /// An id that a rule could not name, or that reads as somebody else's kind.
    fn reads_as(&mut self, id: &At<PrincipalId>, kind: &str) {
        let text = id.value.as_str();
        if text.starts_with("group:") || (kind != "an agent" && text.starts_with("agent:")) {
            let what = format!("{text} does not read as the name of {kind}");
            let instead = "agent: begins the ids of agents, group: those of groups in rules; write \
                           it without";
            self.problems.add(id.at, what, instead);
        }
    }

    /// Everybody, people before programs.
    pub(super) fn people(&mut self, written: &Written, names: &Names<'_>) -> Vec<KnownPrincipal> {
        let providers = readable(written.providers.iter().map(|it| &it.name));
        let mut taken = Subjects::new();
        let mut people = Vec::new();
        for table in &written.people {
            if let Some(manager) = &table.manager {
                self.person_named(manager, names);
            }
            people.extend(self.person(table, providers.as_deref(), &mut taken));
        }
        for table in &written.agents {
            people.extend(self.agent(table, names));
        }
        people.extend(written.services.iter().filter_map(service));
        people
    }

    fn person(
        &mut self,
        table: &PersonTable,
        providers: Option<&[&ProviderName]>,
        taken: &mut Subjects,
    ) -> Option<KnownPrincipal> {
        let id = table.id.as_ref()?;
        let mut subjects = BTreeMap::new();
        for (name, subject) in &table.subjects {
            let Some(providers) = providers else { continue };
            let Some(provider) = providers.iter().find(|it| it.as_str() == name.value) else {
                self.unknown("provider", &name.value, name.at, providers);
                continue;
            };
            let slot = ((*provider).clone(), subject.value.clone());
            if let Some(first) = taken.insert(slot, id.value.clone()) {
                let what = format!("{} is {first} at {provider} already", subject.value);
                let instead = "give each person a subject of their own: access of one would end \
                               with that of the other";
                self.problems.add(subject.at, what, instead);
            }
            subjects.insert((*provider).clone(), subject.value.clone());
        }
        Some(KnownPrincipal {
            profile: Profile {
                id: id.value.clone(),
                kind: PrincipalKind::Person,
                active: table.active,
                groups: table.groups.iter().map(|it| it.value.clone()).collect(),
                groups_unknown: Default::default(),
                manager: table.manager.as_ref().map(|manager| manager.value.clone()),
                subjects,
            },
            aliases: table
                .aliases
                .iter()
                .chain(&table.slack_alias)
                .chain(&table.telegram_alias)
                .map(|it| it.value.clone())
                .collect(),
        })
    }

    fn agent(&mut self, table: &AgentTable, names: &Names<'_>) -> Option<KnownPrincipal> {
        let acts_for = table.acts_for.as_ref()?;
        if !names.people.contains(&acts_for.value) {
            self.no_such_principal(acts_for, names);
        }
        Some(KnownPrincipal {
            profile: Profile {
                id: table.id.as_ref()?.value.clone(),
                kind: PrincipalKind::Agent {
                    acts_for: acts_for.value.clone(),
                    caps: table.caps,
                },
                active: table.active,
                groups: BTreeSet::new(),
                groups_unknown: Default::default(),
                manager: None,
                subjects: BTreeMap::new(),
            },
            aliases: BTreeSet::new(),
        })
    }

    /// What is wrong with a name that is not the canonical id of a person.
    fn no_such_principal(&mut self, name: &At<PrincipalId>, names: &Names<'_>) {
        if let Some(id) = names.aliases.get(&name.value) {
            let what = format!("{} is an alias", name.value);
            self.problems.add(
                name.at,
                what,
                format!("write the id that it leads to, {id}"),
            );
            return;
        }
        if names.programs.contains(&name.value) {
            let what = format!("{} is a program", name.value);
            self.problems.add(name.at, what, "write the id of a person");
            return;
        }
        // Whom the file does not name the directory may know.
        if names.unreadable || names.in_directory {
            return;
        }
        let known: Vec<&PrincipalId> = names.people.iter().copied().collect();
        self.unknown("person", name.value.as_str(), name.at, &known);
    }

    /// The rules, in the order of the file.
    pub(super) fn rules(&mut self, written: &Written, names: &Names<'_>) -> Vec<Rule> {
        let rule_names = written.rules.iter().filter_map(|it| it.name.as_ref());
        self.once("rule", rule_names);
        let ids = readable(written.entitlements.iter().map(|it| &it.id));
        let families = written.patterns();
        let mut rules = Vec::new();
        for table in &written.rules {
            for pattern in &table.entitlements {
                self.pattern(pattern, ids.as_deref(), &families);
            }
            for who in &table.principals {
                self.who(who, names);
            }
            self.can_count(table, names);
            self.comes_to_it(table, written);
            rules.extend(table.name.as_ref().map(|name| Rule {
                name: name.value.clone(),
                effect: table.effect,
                rights: table.rights.iter().map(|right| right.value).collect(),
                entitlements: values(&table.entitlements),
                principals: values(&table.principals),
                hours: table.hours.as_ref().map(|hours| hours.value.clone()),
                after: table.after.as_ref().map(|after| after.value),
            }));
        }
        rules
    }

    /// What is meant to stand without a grant.
    pub(super) fn exemptions(&mut self, written: &Written) -> Vec<Exemption> {
        let ids = readable(written.entitlements.iter().map(|it| &it.id));
        let families = written.patterns();
        let mut exemptions = vec![];
        for table in &written.exemptions {
            for pattern in &table.entitlements {
                self.pattern(pattern, ids.as_deref(), &families);
            }
            exemptions.extend(table.reason.as_ref().map(|reason| Exemption {
                subjects: table.subjects.iter().map(|it| it.value.clone()).collect(),
                entitlements: values(&table.entitlements),
                reason: reason.value.clone(),
            }));
        }
        exemptions
    }

    fn pattern(
        &mut self,
        pattern: &At<Pattern>,
        ids: Option<&[&EntitlementId]>,
        families: &[&Pattern],
    ) {
        let Some(ids) = ids else { return };
        let everything = pattern.value.as_str() == "*";
        let is_listed = ids.iter().any(|id| pattern.value.matches(id));
        let mut families = families.iter();
        if everything || is_listed || families.any(|family| pattern.value.overlaps(family)) {
            return;
        }
        let what = format!("{} fits no entitlement", pattern.value);
        let some: Vec<String> = ids.iter().take(10).map(ToString::to_string).collect();
        let instead = match some.is_empty() {
            true => "add an [[entitlement]] that it fits".to_owned(),
            false => format!(
                "write a pattern over those that there are: {}",
                some.join(", ")
            ),
        };
        self.problems.add(pattern.at, what, instead);
    }

    fn who(&mut self, who: &At<Who>, names: &Names<'_>) {
        match &who.value {
            Who::AnyPerson | Who::AnyAgent | Who::Manager => {}
            Who::Group(group) if who.value.is_on_call() => {
                let known = names.rotas.as_ref().is_none_or(|it| it.contains(group));
                if !known {
                    let what = format!("there is no rota for {group}");
                    let instead = "write a [[rota]] of this name, without oncall: before it";
                    self.problems.add(who.at, what, instead);
                }
            }
            Who::Group(group) => {
                let in_slack = names.in_slack && jit_slack::user_group(group).is_some();
                let known = names.groups.contains(group) || names.elsewhere.contains(group);
                if !known && !in_slack {
                    let what = format!("nobody is in the group {group}");
                    let instead = match names.in_directory {
                        true => format!(
                            "write which group of Okta it is under groups in [directory], or groups = \
                             [\"{group}\"] for the people in it"
                        ),
                        false => format!(
                            "write groups = [\"{group}\"] for the people in it, or remove it here"
                        ),
                    };
                    self.problems.add(who.at, what, instead);
                }
            }
            Who::Principal(id) => {
                let (value, at) = (id.clone(), who.at);
                if !names.programs.contains(id) {
                    self.person_named(&At { value, at }, names);
                }
            }
        }
    }

    /// Refuses whoever does not ask for themselves by a key: a key that several have would be a
    /// person's.
    pub(super) fn is_service(&mut self, name: &At<PrincipalId>, names: &Names<'_>) {
        if !names.services.contains(&name.value) && !names.unreadable {
            let what = format!("{} is no service", name.value);
            let instead =
                "write [[service]] with this id; people and agents ask with tokens of their own";
            self.problems.add(name.at, what, instead);
        }
    }

    /// Refuses a name that is not the id of a person.
    pub(super) fn person_named(&mut self, name: &At<PrincipalId>, names: &Names<'_>) {
        if !names.people.contains(&name.value) {
            self.no_such_principal(name, names);
        }
    }

    /// Refuses what a rule can never give or take.
    fn can_count(&mut self, table: &RuleTable, names: &Names<'_>) {
        let of_nobody = table.rights.iter().find(|right| match right.value {
            Right::Request | Right::Audit | Right::Operate => true,
            Right::OnBehalfOf | Right::Approve | Right::Revoke => false,
        });
        let mut principals = table.principals.iter();
        let manager = principals.find(|who| who.value == Who::Manager);
        if let (Some(right), Some(manager)) = (of_nobody, manager) {
            let what = format!("nobody is a manager where the right is to {}", right.value);
            let instead = "manager is the manager of whoever a request is for, and counts for \
                           on_behalf_of, approve and revoke; remove it here, or write a rule of its \
                           own with those rights";
            self.problems.add(manager.at, what, instead);
        }
        if table.effect == Effect::Deny {
            return;
        }
        let more_than_asking = table
            .rights
            .iter()
            .find(|right| right.value != Right::Request);
        let agent = table.principals.iter().find(|who| match &who.value {
            Who::AnyAgent => true,
            Who::Principal(id) => names.programs.contains(id),
            Who::AnyPerson | Who::Manager | Who::Group(_) => false,
        });
        if let (Some(right), Some(agent)) = (more_than_asking, agent) {
            let what = format!("{} may never {}", agent.value, right.value);
            let instead = "programs file requests and nothing else; give them a rule of their own \
                           with rights = [\"request\"]";
            self.problems.add(agent.at, what, instead);
        }
        let over_everything = table
            .rights
            .iter()
            .find(|right| matches!(right.value, Right::Audit | Right::Operate));
        let bare_star = table.entitlements.iter().any(|it| it.value.as_str() == "*");
        if let Some(right) = over_everything.filter(|_| !bare_star) {
            let what = format!("{} is a right over everything or over nothing", right.value);
            let instead = "write entitlements = [\"*\"], in a rule of its own if need be";
            self.problems.add(right.at, what, instead);
        }
    }
}

impl Check<'_, '_> {
    /// Refuses a step of a ladder that is none, or that never comes because everything has lapsed
    /// before.
    fn comes_to_it(&mut self, table: &RuleTable, written: &Written) {
        let Some(after) = &table.after else { return };
        let mut others = table.rights.iter().filter(|it| it.value != Right::Approve);
        if table.effect == Effect::Deny || others.next().is_some() {
            let what = "only the right to approve can begin later";
            let instead = "remove after, or write a rule of its own with rights = [\"approve\"]";
            self.problems.add(after.at, what, instead);
        }
        let fits = |pattern: &Pattern, on: &Pattern| pattern.overlaps(on);
        let entitlements = written.entitlements.iter().filter(|entry| {
            let id = entry.id.as_ref();
            id.is_some_and(|id| {
                table
                    .entitlements
                    .iter()
                    .any(|it| it.value.matches(&id.value))
            })
        });
        let families = written.families.iter().filter(|family| {
            let on = family.entitlements.as_ref();
            on.is_some_and(|on| {
                table
                    .entitlements
                    .iter()
                    .any(|it| fits(&it.value, &on.value))
            })
        });
        let named = entitlements.filter_map(|it| it.tier.as_ref());
        let named = named.chain(families.filter_map(|it| it.tier.as_ref()));
        let windows = named.filter_map(|name| {
            let mut tiers = written.tiers.iter().filter_map(|it| it.tier.as_ref());
            let tier = tiers.find(|tier| tier.value.name == name.value)?;
            Some(tier.value.decision_window)
        });
        if let Some(longest) = windows.max().filter(|longest| *longest <= after.value) {
            let what = format!("what this rule is about lapses after {longest}");
            let instead = "write a shorter time, or a longer decision_window in the tier";
            self.problems.add(after.at, what, instead);
        }
    }
}

/// A program that asks for itself.
fn service(table: &ServiceTable) -> Option<KnownPrincipal> {
    Some(KnownPrincipal {
        profile: Profile {
            id: table.id.as_ref()?.value.clone(),
            kind: PrincipalKind::Service,
            active: table.active,
            groups: table.groups.iter().map(|it| it.value.clone()).collect(),
            groups_unknown: BTreeSet::new(),
            manager: None,
            subjects: BTreeMap::new(),
        },
        aliases: BTreeSet::new(),
    })
}

fn values<T: Clone>(written: &[At<T>]) -> Vec<T> {
    written.iter().map(|one| one.value.clone()).collect()
}
