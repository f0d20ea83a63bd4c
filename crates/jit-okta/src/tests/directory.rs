//! The directory against a simulated Okta, in front of people whom a test writes down.

mod accounts;
mod contract;
mod lately;
mod managers;
mod members;
mod profiles;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::ports::{Directory, PortError};
use jit_core::principal::{GroupName, PrincipalId, PrincipalKind, Profile};
use okta_sim::{Setup, World};

use super::Scene;
use crate::{DirectorySettings, OktaDirectory};

/// People who are written down, by every name that they have.
#[derive(Debug, Default)]
pub(super) struct People(Mutex<BTreeMap<PrincipalId, Profile>>);

impl People {
    fn add(&self, profile: Profile, aliases: &[&str]) {
        let mut people = self.0.lock().unwrap();
        for alias in aliases {
            people.insert(alias.parse().unwrap(), profile.clone());
        }
        people.insert(profile.id.clone(), profile);
    }
}

#[async_trait]
impl Directory for People {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        Ok(self.0.lock().unwrap().get(id).cloned())
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        let people = self.0.lock().unwrap();
        let in_it = people.values().filter(|it| it.groups.contains(group));
        let ids: BTreeSet<PrincipalId> = in_it.map(|it| it.id.clone()).collect();
        Ok((!ids.is_empty()).then_some(ids))
    }
}

/// A person as somebody writes them down.
pub(super) fn written(id: &str) -> Profile {
    Profile {
        id: id.parse().unwrap(),
        kind: PrincipalKind::Person,
        active: true,
        groups: [].into(),
        groups_unknown: [].into(),
        manager: None,
        subjects: [].into(),
    }
}

/// An organization with Ana in the group `sre`, and a directory that knows it under that name.
pub(super) struct Town {
    pub(super) scene: Scene,
    pub(super) people: Arc<People>,
    pub(super) directory: OktaDirectory,
    pub(super) sre: String,
}

impl Town {
    pub(super) fn new() -> Self {
        Self::of(super::setup(), |_, _| {})
    }

    pub(super) fn of(setup: Setup, change: impl FnOnce(&mut DirectorySettings, &Scene)) -> Self {
        let scene = Scene::of(setup, |_| {});
        let sre = scene.world().add_group("Site Reliability");
        scene.world().join(&sre, &scene.ana);
        let mut settings = DirectorySettings {
            groups: [("sre".parse().unwrap(), sre.clone())].into(),
            ..DirectorySettings::default()
        };
        change(&mut settings, &scene);
        let people = Arc::new(People::default());
        let directory =
            OktaDirectory::new(Arc::clone(&scene.okta), people.clone(), settings).unwrap();
        Self {
            scene,
            people,
            directory,
            sre,
        }
    }

    pub(super) fn world(&self) -> &World {
        self.scene.world()
    }

    /// Lets so much time pass that nothing is remembered of before.
    pub(super) fn forget(&self) {
        self.scene.pass(Duration::from_secs(4));
    }

    pub(super) async fn look(&self, name: &str) -> Result<Option<Profile>, PortError> {
        self.forget();
        self.directory.profile(&name.parse().unwrap()).await
    }

    pub(super) async fn found(&self, name: &str) -> Profile {
        self.look(name).await.unwrap().expect("somebody is found")
    }

    pub(super) async fn is_nobody(&self, name: &str) -> bool {
        self.look(name).await.unwrap().is_none()
    }

    pub(super) async fn members(&self, group: &str) -> Result<Option<Vec<String>>, PortError> {
        self.forget();
        let members = self.directory.members(&group.parse().unwrap()).await?;
        Ok(members.map(|all| all.iter().map(ToString::to_string).collect()))
    }
}

pub(super) fn names(groups: &BTreeSet<GroupName>) -> Vec<&str> {
    groups.iter().map(GroupName::as_str).collect()
}
