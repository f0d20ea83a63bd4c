//! A configuration with the directory that it names, at one instant: what questions about a policy are
//! asked of. How they are asked, and how an answer is written, is not for here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::EntitlementId;
use jit_core::engine::{Own, Reach, Recent, eligible};
use jit_core::policy::{Authority, Case, Right, Span, Verdict, When};
use jit_core::ports::{Clock, Directory, PortError, Random};
use jit_core::principal::{GroupName, PrincipalId, Profile};
use serde_json::{Map, Value, json};

use super::Circumstances;
use crate::build::{self, groups_of};
use crate::clock::{OsRandom, SystemClock};
use crate::config::Config;
use crate::operate::OperateError;
use crate::reach::{self, Everybody, Whole};

/// A configuration with the directory that it names, at one instant.
pub(in crate::operate) struct Scene {
    pub(super) config: Config,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) at: Timestamp,
    pub(super) waited: Duration,
}

impl Scene {
    pub(in crate::operate) fn new(
        config: Config,
        at: Timestamp,
        waited: Duration,
    ) -> Result<Self, OperateError> {
        let clock: Arc<dyn Clock> = Arc::new(Still(at));
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        // Whoever is on call is asked for then, and everything else now.
        let now: Arc<dyn Clock> = Arc::new(SystemClock);
        let okta = build::okta(&config, &now, &random)?;
        let mut directory = build::directory(&config, &clock, okta.as_ref())?;
        if config.slack.is_some() {
            directory = Arc::new(WithoutSlack {
                inner: directory,
                groups: groups_of(&config.policy).filter(is_slacks).collect(),
            });
        }
        Ok(Self {
            config,
            directory,
            at,
            waited,
        })
    }

    pub(super) fn checks(&self, entitlement: &EntitlementId) -> Result<(), OperateError> {
        let entitlement = match self.config.catalog.get(entitlement) {
            Some(_) => return Ok(()),
            None => entitlement.clone(),
        };
        Err(OperateError::UnknownEntitlement { entitlement })
    }

    pub(super) async fn profile(&self, who: &PrincipalId) -> Result<Profile, OperateError> {
        let found = self.directory.profile(who).await?;
        found.ok_or_else(|| OperateError::UnknownPrincipal { who: who.clone() })
    }

    pub(super) async fn beneficiary(
        &self,
        circumstances: &Circumstances,
    ) -> Result<Option<Profile>, OperateError> {
        match &circumstances.beneficiary {
            Some(who) => self.profile(who).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn judge(
        &self,
        right: Right,
        who: &PrincipalId,
        on: &EntitlementId,
        beneficiary: Option<&Profile>,
    ) -> Result<Judged, OperateError> {
        let by = self.profile(who).await?;
        let policy = &self.config.policy;
        let (at, waited) = (self.at, self.waited);
        let verdict = match right {
            Right::Audit | Right::Operate => policy.evaluate_anywhere(right, &by, at),
            Right::Request | Right::OnBehalfOf | Right::Approve | Right::Revoke => {
                let case = Case::new(on, When::At { at, waited }).of(beneficiary);
                policy.evaluate(right, &by, &case)
            }
        };
        let own = right == Right::Approve && beneficiary.is_some_and(|it| it.id == by.id);
        Ok(Judged { by, own, verdict })
    }

    /// Whoever could approve now, by the rules and the directory; and whether these are all.
    pub(super) async fn approvers(
        &self,
        on: &EntitlementId,
        beneficiary: Option<&Profile>,
    ) -> (Vec<PrincipalId>, Reach) {
        let span = Span {
            opened_at: self.at - self.waited,
            from: self.at,
            until: self.at,
        };
        let deciders = self.config.policy.deciders(on, span);
        // Nobody is anybody's own where it is for nobody in particular.
        let stranger = "nobody".parse().expect("it is a name");
        let nobody = reach::nobody(stranger);
        let beneficiary = beneficiary.unwrap_or(&nobody);
        let own = Own {
            requester: &beneficiary.id,
            beneficiary,
        };
        let found = eligible(&deciders, self.directory.as_ref(), own, Recent::Now).await;
        (found.people.into_iter().collect(), found.reach)
    }

    pub(in crate::operate) async fn everybody(&self) -> Everybody {
        let (policy, people) = (&self.config.policy, &self.config.people);
        let leads_to = self.config.leads_to();
        Everybody::of(policy, people, self.directory.as_ref(), leads_to).await
    }

    pub(super) fn whole<'a>(&'a self, everybody: &'a Everybody) -> Whole<'a> {
        Whole {
            policy: &self.config.policy,
            catalog: &self.config.catalog,
            everybody,
        }
    }
}

/// What somebody may do, and why.
pub(super) struct Judged {
    by: Profile,
    /// It is about what is for themselves.
    own: bool,
    verdict: Verdict,
}

impl Judged {
    pub(super) fn answer(&self) -> Authority {
        match self.own {
            true => Authority::No,
            false => self.verdict.answer(),
        }
    }

    /// The answer, for a person.
    pub(super) fn sentence(&self, what: &str) -> String {
        let id = &self.by.id;
        match self.answer() {
            Authority::Yes => format!("{id} may {what}"),
            Authority::No => format!("{id} may not {what}"),
            Authority::Unsure => format!("whether {id} may {what} cannot be told"),
        }
    }

    /// The reasons, a line each.
    pub(super) fn why(&self) -> Vec<String> {
        let own = "nobody decides what is for themselves";
        let mut lines: Vec<String> = self.own.then(|| own.to_owned()).into_iter().collect();
        if self.answer() == Authority::Unsure {
            let unknown = self.by.groups_unknown.iter();
            lines.extend(unknown.map(|it| format!("whether they are in {it} is not known here")));
        }
        lines.extend(self.verdict.trace.iter().map(ToString::to_string));
        lines
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let answer = match self.answer() {
            Authority::Yes => "yes",
            Authority::No => "no",
            Authority::Unsure => "unsure",
        };
        let fields = [
            ("principal", json!(self.by.id)),
            ("own", json!(self.own)),
            ("answer", json!(answer)),
            ("allowed", json!(self.answer() == Authority::Yes)),
            ("trace", json!(self.verdict.trace)),
            ("groups_unknown", json!(self.by.groups_unknown)),
        ];
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }
}

/// A directory that knows that there are user groups of Slack, which is not asked here: anybody may be
/// in them.
struct WithoutSlack {
    inner: Arc<dyn Directory>,
    groups: BTreeSet<GroupName>,
}

/// Whether it is a user group of Slack.
pub(super) fn is_slacks(group: &GroupName) -> bool {
    jit_slack::user_group(group).is_some()
}

#[async_trait]
impl Directory for WithoutSlack {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let mut found = self.inner.profile(id).await?;
        // A program is no user of Slack's.
        if let Some(profile) = found.as_mut().filter(|it| !it.is_program()) {
            let unknown = self.groups.difference(&profile.groups);
            profile.groups_unknown.extend(unknown.cloned());
        }
        Ok(found)
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        match self.groups.contains(group) {
            true => Ok(None),
            false => self.inner.members(group).await,
        }
    }
}

/// A clock that stands still at the instant that is asked about.
#[derive(Debug)]
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}
