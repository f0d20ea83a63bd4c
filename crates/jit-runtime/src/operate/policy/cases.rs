//! Cases: what the policy must say, written beside it and checked at every change of it. A case names
//! people as the directory does, or brings its own, so that it can be checked where no directory can
//! be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jit_core::Ttl;
use jit_core::catalog::EntitlementId;
use jit_core::engine::Reach;
use jit_core::policy::{Authority, Right};
use jit_core::ports::{Directory, PortError};
use jit_core::principal::{GroupName, PrincipalId, Profile};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::scene::is_slacks;
use super::{Circumstances, Moment};
use crate::config::Config;
use crate::operate::{Desk, Form, OperateError, Outcome};
use crate::reach::nobody;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// People that are only here, or are otherwise than the directory says.
    #[serde(default)]
    person: Vec<Stand>,
    #[serde(default)]
    case: Vec<Written>,
}

/// A person of a file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stand {
    id: PrincipalId,
    #[serde(default)]
    groups: BTreeSet<GroupName>,
    #[serde(default)]
    manager: Option<PrincipalId>,
    #[serde(default = "yes")]
    active: bool,
}

fn yes() -> bool {
    true
}

/// A case as it is written. Either somebody's right is expected, or who may approve.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    entitlement: EntitlementId,
    #[serde(default)]
    who: Option<PrincipalId>,
    #[serde(default)]
    right: Option<Right>,
    #[serde(default)]
    expect: Option<Expected>,
    #[serde(default)]
    approvers: Option<BTreeSet<PrincipalId>>,
    #[serde(default, rename = "for")]
    beneficiary: Option<PrincipalId>,
    #[serde(default, deserialize_with = "moment")]
    at: Option<Moment>,
    #[serde(default)]
    waited: Option<Ttl>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expected {
    Yes,
    No,
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Moment>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// What a case expects.
enum Expectation<'c> {
    Right(&'c PrincipalId, Right, Expected),
    Approvers(&'c BTreeSet<PrincipalId>),
}

impl Written {
    fn expectation(&self) -> Result<Expectation<'_>, &'static str> {
        match (&self.who, self.right, self.expect, &self.approvers) {
            (Some(who), Some(right), Some(expect), None) => {
                Ok(Expectation::Right(who, right, expect))
            }
            (None, None, None, Some(approvers)) => Ok(Expectation::Approvers(approvers)),
            _ => Err(
                "write either who, right and expect = \"yes\" or \"no\", or approvers = [\"…\"] alone",
            ),
        }
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            beneficiary: self.beneficiary.clone(),
            at: self.at.clone(),
            waited: self.waited,
        }
    }
}

/// A directory in front of which stand the people of a file.
struct Stands {
    inner: Arc<dyn Directory>,
    people: BTreeMap<PrincipalId, Profile>,
}

#[async_trait]
impl Directory for Stands {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        match self.people.get(id) {
            Some(profile) => Ok(Some(profile.clone())),
            None => self.inner.profile(id).await,
        }
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        let here = self
            .people
            .values()
            .filter(|it| it.active && it.groups.contains(group));
        let here: BTreeSet<PrincipalId> = here.map(|profile| profile.id.clone()).collect();
        let inner = match self.inner.members(group).await {
            // Slack has more people than the file.
            Ok(None) if is_slacks(group) => return Ok(None),
            // Where no directory can be asked, the people of the file are all.
            Err(error) if here.is_empty() => return Err(error),
            Err(_) | Ok(None) => return Ok((!here.is_empty()).then_some(here)),
            Ok(Some(inner)) => inner,
        };
        let others = inner.into_iter().filter(|id| !self.people.contains_key(id));
        Ok(Some(others.chain(here).collect()))
    }
}

/// What became of a case.
struct Tried {
    name: String,
    /// Why it does not hold.
    wrong: Option<String>,
}

impl Desk<'_> {
    pub(super) async fn test(&mut self, files: &[PathBuf]) -> Result<Outcome, OperateError> {
        // What is wrong with the configuration is no fault of a case.
        let config = self.read_config()?;
        let mut tried = vec![];
        for path in files {
            let file = read(path)?;
            for case in &file.case {
                let wrong = self.try_case(&config, &file, case).await;
                let wrong = wrong.map_err(|error| {
                    let (path, what) = (path.clone(), format!("case {:?}: {error}", case.name));
                    OperateError::Unreadable { path, what }
                })?;
                let name = case.name.clone();
                tried.push(Tried { name, wrong });
            }
        }
        let failed = tried.iter().filter(|case| case.wrong.is_some()).count();
        if self.form == Form::Json {
            let cases = tried.iter().map(|case| {
                json!({ "name": case.name, "holds": case.wrong.is_none(), "wrong": case.wrong })
            });
            let cases: Vec<_> = cases.collect();
            self.json(&json!({ "cases": cases, "failed": failed }))?;
        } else {
            for case in &tried {
                match &case.wrong {
                    None => writeln!(self.out, "ok    {}", case.name)?,
                    Some(wrong) => writeln!(self.out, "WRONG {}\n{wrong}", case.name)?,
                }
            }
            let cases = super::super::counted(tried.len(), "case");
            writeln!(self.out, "{cases}, {failed} wrong")?;
        }
        Ok(if failed == 0 {
            Outcome::Well
        } else {
            Outcome::Wrong
        })
    }

    /// Why a case does not hold; none where it does.
    async fn try_case(
        &self,
        config: &Config,
        file: &File,
        case: &Written,
    ) -> Result<Option<String>, OperateError> {
        let circumstances = case.circumstances();
        let mut scene = self.scene_of(config.clone(), &circumstances)?;
        scene.directory = Arc::new(Stands {
            inner: Arc::clone(&scene.directory),
            people: file.person.iter().map(Stand::profile).collect(),
        });
        scene.checks(&case.entitlement)?;
        let beneficiary = scene.beneficiary(&circumstances).await?;
        // What is wrong with the case itself was told when it was read.
        let Ok(expectation) = case.expectation() else {
            return Ok(None);
        };
        Ok(match expectation {
            Expectation::Right(who, right, expected) => {
                let on = &case.entitlement;
                let judged = scene.judge(right, who, on, beneficiary.as_ref()).await?;
                let (holds, unsure) = match judged.answer() {
                    Authority::Yes => (expected == Expected::Yes, None),
                    Authority::No => (expected == Expected::No, None),
                    Authority::Unsure => (false, Some("it cannot be told".to_owned())),
                };
                (!holds).then(|| {
                    let lines = unsure.into_iter().chain(judged.why());
                    let lines: Vec<String> = lines.map(|line| format!("      {line}")).collect();
                    lines.join("\n")
                })
            }
            Expectation::Approvers(expected) => {
                let (people, reach) = scene
                    .approvers(&case.entitlement, beneficiary.as_ref())
                    .await;
                let people: BTreeSet<PrincipalId> = people.into_iter().collect();
                let open = match reach {
                    Reach::Whole => None,
                    Reach::Unsure => Some("      a group could not be looked up".to_owned()),
                    Reach::Everybody => Some("      every person may approve it".to_owned()),
                };
                let extra = people
                    .difference(expected)
                    .map(|id| format!("      also {id}"));
                let missing = expected
                    .difference(&people)
                    .map(|id| format!("      not {id}"));
                let lines: Vec<String> = extra.chain(missing).chain(open).collect();
                (!lines.is_empty()).then(|| lines.join("\n"))
            }
        })
    }
}

impl Stand {
    fn profile(&self) -> (PrincipalId, Profile) {
        let profile = Profile {
            active: self.active,
            groups: self.groups.clone(),
            manager: self.manager.clone(),
            ..nobody(self.id.clone())
        };
        (self.id.clone(), profile)
    }
}

fn read(path: &Path) -> Result<File, OperateError> {
    let wrong = |what: String| OperateError::Unreadable {
        path: path.to_owned(),
        what,
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if file.case.is_empty() {
        return Err(wrong("it has no [[case]]".to_owned()));
    }
    for case in &file.case {
        let checked = case.expectation();
        checked.map_err(|what| wrong(format!("case {:?}: {what}", case.name)))?;
    }
    Ok(file)
}
