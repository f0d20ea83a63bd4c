//! People who come and go, who have other names, and the directory that knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::ports::{Clock, Directory, ErrorKind, PortError};
use jit_core::principal::{GroupName, PrincipalId, PrincipalKind, Profile};

use super::chaos::{Chaos, Drawn, TrueClock};

/// A call of a directory ends by its own deadline, which its contract names.
const DEADLINE: Duration = Duration::from_secs(3);

/// How somebody loses what they may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The account is switched off.
    Account,
    /// The groups are taken away.
    Groups,
    /// Nobody of that name is known any more.
    Person,
    /// A rule of the policy denies them everything.
    Rule,
}

/// A time in which somebody lacked something.
#[derive(Debug, Clone)]
pub(crate) struct Absence {
    pub(crate) who: PrincipalId,
    pub(crate) loss: Loss,
    pub(crate) from: Timestamp,
    pub(crate) until: Option<Timestamp>,
}

/// How the directory is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    /// It says so at once.
    Down,
    /// It never answers before the deadline.
    Hanging,
}

/// Everybody.
pub(crate) struct People {
    truth: Arc<TrueClock>,
    profiles: BTreeMap<PrincipalId, Profile>,
    /// Other names of the same people.
    pub(crate) aliases: BTreeMap<PrincipalId, PrincipalId>,
    absences: Mutex<Vec<Absence>>,
    /// Until when nobody can be looked up, and how.
    pub(crate) away: Mutex<Option<(Away, Timestamp)>>,
}

pub(crate) fn id(name: &str) -> PrincipalId {
    format!("{name}@example.com").parse().unwrap()
}

fn profile(name: &str, kind: PrincipalKind, groups: &[&str]) -> Profile {
    Profile {
        id: id(name),
        kind,
        active: true,
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        groups_unknown: Default::default(),
        manager: None,
        subjects: BTreeMap::new(),
    }
}

impl People {
    pub(crate) fn new(truth: Arc<TrueClock>) -> Self {
        let person = |name, groups| profile(name, PrincipalKind::Person, groups);
        let robot = PrincipalKind::Agent {
            acts_for: id("ana"),
            caps: Default::default(),
        };
        let profiles = [
            person("ana", &["asker"]),
            person("cleo", &["asker"]),
            person("finn", &["asker"]),
            // Asks and approves, but not both of one request.
            person("gwen", &["asker", "approver"]),
            // Asks for others.
            person("hugo", &["lead"]),
            profile("robot", robot, &[]),
            person("bob", &["approver"]),
            person("dora", &["approver"]),
            person("eve", &["approver"]),
            person("sven", &["security"]),
            person("olga", &["operator", "auditor"]),
        ];
        let aliases = ["ana", "gwen", "bob", "dora", "eve"]
            .map(|name| (id(&format!("{name}.private")), id(name)));
        Self {
            truth,
            profiles: profiles.map(|it| (it.id.clone(), it)).into(),
            aliases: aliases.into(),
            absences: Mutex::default(),
            away: Mutex::default(),
        }
    }

    /// Somebody loses something now.
    pub(crate) fn lose(&self, who: &PrincipalId, loss: Loss) {
        self.absences.lock().unwrap().push(Absence {
            who: who.clone(),
            loss,
            from: self.truth.now(),
            until: None,
        });
    }

    /// And gets it back.
    pub(crate) fn regain(&self, who: &PrincipalId, loss: Loss) {
        let now = self.truth.now();
        let mut absences = self.absences.lock().unwrap();
        let open = absences
            .iter_mut()
            .find(|it| it.who == *who && it.loss == loss && it.until.is_none());
        if let Some(open) = open {
            open.until = Some(now);
        }
    }

    /// Those who lack this now.
    pub(crate) fn lacking(&self, loss: Loss) -> BTreeSet<PrincipalId> {
        let absences = self.absences.lock().unwrap();
        let open = absences.iter().filter(|it| it.until.is_none());
        let lacking = open.filter(|it| it.loss == loss);
        lacking.map(|it| it.who.clone()).collect()
    }

    /// What, if anything, this principal lacked during the whole of this time.
    pub(crate) fn lacked(
        &self,
        who: &PrincipalId,
        from: Timestamp,
        until: Timestamp,
    ) -> Option<Loss> {
        let absences = self.absences.lock().unwrap();
        let mut of_them = absences.iter().filter(|it| it.who == *who);
        let found = of_them.find(|it| it.from <= from && it.until.is_none_or(|back| back >= until));
        found.map(|it| it.loss)
    }

    /// The one name of whoever has this name.
    pub(crate) fn canonical(&self, id: &PrincipalId) -> PrincipalId {
        self.aliases.get(id).unwrap_or(id).clone()
    }

    fn profile(&self, id: &PrincipalId) -> Option<Profile> {
        let id = self.canonical(id);
        if self.lacking(Loss::Person).contains(&id) {
            return None;
        }
        let mut profile = self.profiles.get(&id)?.clone();
        profile.active = !self.lacking(Loss::Account).contains(&id);
        if self.lacking(Loss::Groups).contains(&id) {
            profile.groups = BTreeSet::<GroupName>::new();
        }
        Some(profile)
    }
}

/// The directory as one replica sees it.
pub(crate) struct ChaosDirectory {
    pub(crate) people: Arc<People>,
    pub(crate) chaos: Arc<Chaos>,
}

impl ChaosDirectory {
    fn away(&self) -> Option<Away> {
        let away = *self.people.away.lock().unwrap();
        if let Some((how, until)) = away
            && self.chaos.truth.now() < until
        {
            return Some(how);
        }
        if self.chaos.draw(|odds| odds.directory_hang) == Drawn::Hit {
            return Some(Away::Hanging);
        }
        match self.chaos.draw(|odds| odds.directory_error) {
            Drawn::Hit => Some(Away::Down),
            Drawn::Miss => None,
        }
    }
}

#[async_trait]
impl Directory for ChaosDirectory {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.chaos.crash_point("before directory.profile").await;
        self.chaos.latency().await;
        if let Some(how) = self.away() {
            match how {
                Away::Down => self.chaos.diary.counts.add("directory error"),
                Away::Hanging => {
                    self.chaos.diary.counts.add("directory hang");
                    tokio::time::sleep(DEADLINE).await;
                }
            }
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("chaos directory", "look up", kind));
        }
        let found = self.people.profile(id);
        self.chaos.crash_point("after directory.profile").await;
        Ok(found)
    }
}
