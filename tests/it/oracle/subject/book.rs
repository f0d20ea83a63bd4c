//! A case's people behind the port of the directory.

use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;
use jit_core::ports::{Directory as Port, ErrorKind, PortError};
use jit_core::principal::{GroupName, PrincipalId, PrincipalKind, Profile};
use jit_testkit::stage::id;

use crate::oracle::case::{Account, Directory, Kind, Line, Name};
use crate::oracle::sabotage::Lie;

/// A case's people behind the port.
pub(super) struct Book {
    pub(super) now: Mutex<Directory>,
    pub(super) at_first: Directory,
    pub(super) lie: Option<Lie>,
}

/// The name in a case of an id that the engine knows.
pub(super) fn short(id: &PrincipalId) -> String {
    id.as_str().trim_end_matches("@example.com").to_owned()
}

impl Book {
    fn profile_of(&self, directory: &Directory, login: &str) -> Option<Profile> {
        let (login, name) = Self::owner(directory, login)?;
        let mut person = directory.people.get(name)?.clone();
        if let Some(lie) = self.lie {
            lie.of_person(name, &mut person, &self.at_first);
        }
        let mut groups = person.groups;
        let mut groups_unknown = vec![];
        if let Some(group) = directory.unknown {
            groups.remove(group);
            if self.lie != Some(Lie::UnknownIsEmpty) {
                groups_unknown.push(group);
            }
        }
        let canonical = |login| Some(id(Self::owner(directory, login)?.1));
        let kind = match person.kind {
            Kind::Human => PrincipalKind::Person,
            Kind::Agent { acts_for } => PrincipalKind::Agent {
                acts_for: canonical(acts_for).unwrap_or_else(|| id(acts_for)),
                caps: Default::default(),
            },
            Kind::Service => PrincipalKind::Service,
        };
        let group = |name: Name| name.parse::<GroupName>().unwrap();
        Some(Profile {
            id: id(if self.lie == Some(Lie::ForgetsLogins) {
                login
            } else {
                name
            }),
            kind,
            active: person.account == Account::Active,
            groups: groups.into_iter().map(group).collect(),
            groups_unknown: groups_unknown.into_iter().map(group).collect(),
            manager: person.manager.and_then(canonical),
            subjects: Default::default(),
        })
    }

    /// A login as the case writes it, and whose it is.
    fn owner(directory: &Directory, login: &str) -> Option<(Name, Name)> {
        if let Some((login, owner)) = directory.logins.get_key_value(login) {
            return Some((login, owner));
        }
        let (name, _) = directory.people.get_key_value(login)?;
        Some((name, name))
    }

    fn read(&self) -> Result<Directory, PortError> {
        let directory = self.now.lock().unwrap().clone();
        match directory.line {
            Line::Up => Ok(directory),
            Line::Down => {
                let kind = ErrorKind::Unavailable;
                Err(PortError::nothing_done("people", "look up", kind))
            }
        }
    }
}

#[async_trait]
impl Port for Book {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        Ok(self.profile_of(&self.read()?, &short(id)))
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        let directory = self.read()?;
        if directory.unknown == Some(group.as_str()) {
            return Ok(None);
        }
        let names = directory.people.keys();
        let profiles = names.filter_map(|name| self.profile_of(&directory, name));
        let within =
            profiles.filter(|it| it.active && !it.is_program() && it.groups.contains(group));
        Ok(Some(within.map(|profile| profile.id).collect()))
    }
}
