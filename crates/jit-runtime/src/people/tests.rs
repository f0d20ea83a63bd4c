//! What the configured people promise, and the contract of a directory.

use std::sync::Arc;
use std::time::Duration;

use jit_core::principal::PrincipalKind;
use jit_testkit::directory::{
    Breakage, Change, Counterpart, DirectoryFixture, Sight, Someone, directory_contract,
};

use super::*;

fn known(id: &str, aliases: &[&str], kind: PrincipalKind) -> KnownPrincipal {
    KnownPrincipal {
        profile: Profile {
            id: id.parse().unwrap(),
            kind,
            active: true,
            groups: BTreeSet::new(),
            groups_unknown: Default::default(),
            manager: None,
            subjects: BTreeMap::new(),
        },
        aliases: aliases.iter().map(|alias| alias.parse().unwrap()).collect(),
    }
}

async fn id_behind(people: &ConfiguredPeople, name: &str) -> Option<String> {
    let profile = people.profile(&name.parse().unwrap()).await.unwrap()?;
    Some(profile.id.to_string())
}

#[tokio::test]
async fn every_alias_leads_to_one_canonical_id() {
    let people: ConfiguredPeople = [known(
        "ana@example.com",
        &["ana", "a.lopez@example.com", "ana@example.com"],
        PrincipalKind::Person,
    )]
    .into_iter()
    .collect();
    for name in ["ana@example.com", "ANA", "a.lopez@example.com"] {
        assert_eq!(
            id_behind(&people, name).await.as_deref(),
            Some("ana@example.com")
        );
    }
    assert_eq!(id_behind(&people, "bob@example.com").await, None);
}

#[tokio::test]
async fn a_name_that_leads_to_two_people_leads_to_nobody() {
    let person = |id, aliases| known(id, aliases, PrincipalKind::Person);
    let people: ConfiguredPeople = [
        person("ana@example.com", &["ops"]),
        person("bob@example.com", &["ops", "ana@example.com"]),
    ]
    .into_iter()
    .collect();
    assert_eq!(id_behind(&people, "ops").await, None);
    assert_eq!(id_behind(&people, "ana@example.com").await, None);
    assert!(id_behind(&people, "bob@example.com").await.is_some());
}

#[tokio::test]
async fn an_agent_names_the_person_that_it_asks_for() {
    let acts_for: PrincipalId = "ana@example.com".parse().unwrap();
    let kind = PrincipalKind::Agent {
        acts_for: acts_for.clone(),
        caps: Default::default(),
    };
    let people: ConfiguredPeople = [known("agent:bot", &[], kind.clone())]
        .into_iter()
        .collect();
    let bot = people.profile(&"agent:bot".parse().unwrap()).await.unwrap();
    assert_eq!(bot.unwrap().kind, kind);
}

const GROUP: &str = "operations";

/// A configuration, read again after each change.
pub(crate) struct Written {
    /// Ana, Bob, a program, and somebody who is inactive.
    pub(crate) known: Vec<KnownPrincipal>,
}

impl Written {
    pub(crate) fn new() -> Self {
        let person = |id, aliases| known(id, aliases, PrincipalKind::Person);
        let mut ana = person("ana@example.com", &["ana", "a.lopez@example.com", "ops"]);
        ana.profile.groups.insert(GROUP.parse().unwrap());
        let bob = person("bob@example.com", &["bob", "ops"]);
        let acts_for = ana.profile.id.clone();
        let robot = known(
            "agent:robot",
            &[],
            PrincipalKind::Agent {
                acts_for,
                caps: Default::default(),
            },
        );
        // A group of which nobody is written is one that the configuration does not know.
        let mut cleo = person("cleo@example.com", &[]);
        cleo.profile.active = false;
        cleo.profile.groups.insert(GROUP.parse().unwrap());
        Self {
            known: vec![ana, bob, robot, cleo],
        }
    }

    pub(crate) fn people(&self) -> ConfiguredPeople {
        self.known.iter().cloned().collect()
    }

    /// Every name but the one that they share.
    pub(crate) fn names(&self, who: Someone) -> Vec<String> {
        let known = &self.known[who as usize];
        let own = known.aliases.iter().filter(|name| name.as_str() != "ops");
        let all = std::iter::once(&known.profile.id).chain(own);
        all.map(ToString::to_string).collect()
    }

    pub(crate) fn change(&mut self, change: Change) {
        let (group, known) = (GROUP.parse().unwrap(), &mut self.known);
        match change {
            Change::Rename(who, to) => {
                let aliases = &mut known[who as usize].aliases;
                aliases.remove(&"bob".parse().unwrap());
                aliases.insert(to);
            }
            Change::Deactivate(who) => known[who as usize].profile.active = false,
            Change::Activate(who) => known[who as usize].profile.active = true,
            Change::Join(who) => drop(known[who as usize].profile.groups.insert(group)),
            Change::Leave(who) => drop(known[who as usize].profile.groups.remove(&group)),
        }
    }
}

#[async_trait]
impl DirectoryFixture for Written {
    fn counterpart(&self) -> Counterpart {
        let no_calls = "what was read at the start is there";
        let failing = |how| (Sight::Breakage(how), no_calls);
        Counterpart {
            name: "a configuration",
            cannot_show: Breakage::ALL.map(failing).into(),
        }
    }
    fn directory(&self) -> Arc<dyn Directory> {
        Arc::new(self.people())
    }
    fn names(&self, who: Someone) -> Vec<String> {
        Self::names(self, who)
    }
    fn group(&self) -> GroupName {
        GROUP.parse().unwrap()
    }
    fn nobody(&self) -> PrincipalId {
        "nobody@example.com".parse().unwrap()
    }
    fn several(&self) -> Option<PrincipalId> {
        Some("ops".parse().unwrap())
    }
    async fn change(&mut self, change: Change) {
        Self::change(self, change);
    }
    async fn break_calls(&mut self, _: Breakage) {}
    async fn mend(&mut self) {}
    async fn pass(&mut self, _: Duration) {}
}

#[tokio::test]
async fn a_group_of_which_nobody_is_written_is_another_directorys_to_know() {
    let people = Written::new().people();
    let members = people.members(&"elsewhere".parse().unwrap()).await;
    assert_eq!(members.unwrap(), None);
}

#[tokio::test]
async fn the_configured_people_keep_the_contract_of_a_directory() {
    directory_contract(&mut Written::new()).await;
}
