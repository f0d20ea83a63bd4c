//! What the policy comes to: who may do what and why, who could decide, what is wrong with it, what a
//! change of it changes, and cases that must hold. It reads the configuration, and asks the directory
//! that it names; it needs no store and decides nothing.

mod cases;
mod moment;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use jit_core::catalog::EntitlementId;
use jit_core::engine::{Own, Reach, Recent, eligible};
use jit_core::policy::{Case, Right, Span, Verdict, When};
use jit_core::ports::{Clock, Directory, Random};
use jit_core::principal::{PrincipalId, Profile};
use jit_core::{Timestamp, Ttl};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde_json::json;

pub use moment::Moment;

use super::{Desk, Form, OperateError, Outcome};
use crate::build;
use crate::clock::{OsRandom, SystemClock};
use crate::config::Config;
use crate::reach::{self, Difference, Everybody, Gravity, Report, Turn, Whole};

/// About the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Tell whether somebody has a right over an entitlement, and what every rule says of it
    Explain {
        /// An id or an alias
        who: PrincipalId,
        /// request, on_behalf_of, approve, revoke, audit or operate
        #[arg(value_parser = right)]
        right: Right,
        /// As in the catalogue, such as groupfile/admins
        entitlement: EntitlementId,
        /// For whom, when, and after how long
        #[command(flatten)]
        circumstances: Circumstances,
    },
    /// Tell who could approve a request, at which step of the ladder, and why somebody could not
    Approvers {
        /// As in the catalogue, such as groupfile/admins
        entitlement: EntitlementId,
        /// For whom, when, and after how long
        #[command(flatten)]
        circumstances: Circumstances,
        /// Tell why this person is, or is not, among them
        #[arg(long, value_name = "WHO")]
        why_not: Option<PrincipalId>,
    },
    /// Look for lock-outs, privilege loops, empty groups and entitlements without rules
    Lint,
    /// Tell who gains and who loses what between two configurations
    Diff {
        /// The configuration as it is
        old: PathBuf,
        /// The configuration as it is to be
        new: PathBuf,
    },
    /// Check that the policy says what these cases say; exits with 1 where it does not
    Test {
        /// Files of cases, in TOML
        #[arg(required = true)]
        cases: Vec<PathBuf>,
    },
}

/// For whom, when, and after how long.
#[derive(Debug, Default, Clone, Args)]
pub struct Circumstances {
    /// Whom the request is for
    #[arg(long = "for", value_name = "WHO")]
    pub beneficiary: Option<PrincipalId>,
    /// When: an instant, as in 2026-11-29T03:00:00Z, or the next such time, as in
    /// "sun 03:00 Europe/Berlin"; now where unset
    #[arg(long, value_name = "WHEN")]
    pub at: Option<Moment>,
    /// How long the request has waited, as in 10m; not at all where unset
    #[arg(long, value_name = "TTL")]
    pub waited: Option<Ttl>,
}

fn right(word: &str) -> Result<Right, String> {
    let word: StrDeserializer<'_, WordError> = word.into_deserializer();
    Right::deserialize(word).map_err(|error| error.to_string())
}

/// A clock that stands still at the instant that is asked about.
#[derive(Debug)]
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A configuration with the directory that it names, at one instant.
struct Scene {
    config: Config,
    directory: Arc<dyn Directory>,
    at: Timestamp,
    waited: Duration,
}

impl Scene {
    fn new(config: Config, at: Timestamp, waited: Duration) -> Result<Self, OperateError> {
        let clock: Arc<dyn Clock> = Arc::new(Still(at));
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        // Whoever is on call is asked for then, and everything else now.
        let now: Arc<dyn Clock> = Arc::new(SystemClock);
        let okta = build::okta(&config, &now, &random)?;
        let directory = build::directory(&config, &clock, okta.as_ref())?;
        Ok(Self {
            config,
            directory,
            at,
            waited,
        })
    }

    fn checks(&self, entitlement: &EntitlementId) -> Result<(), OperateError> {
        let entitlement = match self.config.catalog.get(entitlement) {
            Some(_) => return Ok(()),
            None => entitlement.clone(),
        };
        Err(OperateError::UnknownEntitlement { entitlement })
    }

    async fn profile(&self, who: &PrincipalId) -> Result<Profile, OperateError> {
        let found = self.directory.profile(who).await?;
        found.ok_or_else(|| OperateError::UnknownPrincipal { who: who.clone() })
    }

    async fn beneficiary(
        &self,
        circumstances: &Circumstances,
    ) -> Result<Option<Profile>, OperateError> {
        match &circumstances.beneficiary {
            Some(who) => self.profile(who).await.map(Some),
            None => Ok(None),
        }
    }

    fn judge(
        &self,
        right: Right,
        by: &Profile,
        on: &EntitlementId,
        beneficiary: Option<&Profile>,
    ) -> Verdict {
        let policy = &self.config.policy;
        let (at, waited) = (self.at, self.waited);
        match right {
            Right::Audit | Right::Operate => policy.evaluate_anywhere(right, by, at),
            Right::Request | Right::OnBehalfOf | Right::Approve | Right::Revoke => {
                let case = Case::new(on, When::At { at, waited }).of(beneficiary);
                policy.evaluate(right, by, &case)
            }
        }
    }

    /// Whoever could approve now, by the rules and the directory; and whether these are all.
    async fn approvers(
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
}

impl Desk<'_> {
    pub(super) async fn policy(&mut self, verb: PolicyVerb) -> Result<Outcome, OperateError> {
        match verb {
            PolicyVerb::Explain {
                who,
                right,
                entitlement,
                circumstances,
            } => {
                let scene = self.scene(&circumstances)?;
                self.explain(&scene, &who, right, &entitlement, &circumstances)
                    .await
            }
            PolicyVerb::Approvers {
                entitlement,
                circumstances,
                why_not,
            } => {
                let scene = self.scene(&circumstances)?;
                self.approvers(&scene, &entitlement, &circumstances, why_not.as_ref())
                    .await
            }
            PolicyVerb::Lint => self.lint().await,
            PolicyVerb::Diff { old, new } => self.diff(old, new).await,
            PolicyVerb::Test { cases } => self.test(&cases).await,
        }
    }

    fn scene(&self, circumstances: &Circumstances) -> Result<Scene, OperateError> {
        self.scene_of(self.read_config()?, circumstances)
    }

    fn scene_of(
        &self,
        config: Config,
        circumstances: &Circumstances,
    ) -> Result<Scene, OperateError> {
        let now = self.clock.now();
        let at = match &circumstances.at {
            Some(moment) => moment.instant(now)?,
            None => now,
        };
        let waited = circumstances.waited.map_or(Duration::ZERO, Ttl::duration);
        Scene::new(config, at, waited)
    }

    async fn explain(
        &mut self,
        scene: &Scene,
        who: &PrincipalId,
        right: Right,
        entitlement: &EntitlementId,
        circumstances: &Circumstances,
    ) -> Result<Outcome, OperateError> {
        scene.checks(entitlement)?;
        let by = scene.profile(who).await?;
        let beneficiary = scene.beneficiary(circumstances).await?;
        let Verdict { allowed, trace } = scene.judge(right, &by, entitlement, beneficiary.as_ref());
        let id = &by.id;
        if self.form == Form::Json {
            self.json(&json!({
                "principal": id, "right": right, "entitlement": entitlement, "at": scene.at,
                "allowed": allowed, "trace": trace,
            }))?;
            return Ok(Outcome::Well);
        }
        let may = if allowed { "may" } else { "may not" };
        writeln!(self.out, "{id} {may} {right} {entitlement}")?;
        for reason in trace {
            writeln!(self.out, "  {reason}")?;
        }
        Ok(Outcome::Well)
    }

    async fn approvers(
        &mut self,
        scene: &Scene,
        entitlement: &EntitlementId,
        circumstances: &Circumstances,
        why_not: Option<&PrincipalId>,
    ) -> Result<Outcome, OperateError> {
        scene.checks(entitlement)?;
        let beneficiary = scene.beneficiary(circumstances).await?;
        let (people, reach) = scene.approvers(entitlement, beneficiary.as_ref()).await;
        let steps = scene.config.policy.ladder(entitlement);
        let steps = steps
            .iter()
            .filter(|step| step.after.duration() > scene.waited);
        let steps: Vec<_> = steps.collect();
        let explained = match why_not {
            Some(who) => {
                let by = scene.profile(who).await?;
                let verdict = scene.judge(Right::Approve, &by, entitlement, beneficiary.as_ref());
                let own = beneficiary.as_ref().is_some_and(|it| it.id == by.id);
                Some((by.id, own, verdict))
            }
            None => None,
        };
        if self.form == Form::Json {
            let why_not = explained.map(|(id, own, verdict)| {
                json!({
                    "principal": id, "own": own,
                    "allowed": verdict.allowed && !own, "trace": verdict.trace,
                })
            });
            self.json(&json!({
                "entitlement": entitlement, "at": scene.at, "approvers": people,
                "everybody": reach == Reach::Everybody, "complete": reach != Reach::Unsure,
                "later": steps, "why_not": why_not,
            }))?;
            return Ok(Outcome::Well);
        }
        let whom = match &beneficiary {
            Some(profile) => format!(" for {}", profile.id),
            None => String::new(),
        };
        writeln!(
            self.out,
            "who may approve {entitlement}{whom} at {}:",
            scene.at
        )?;
        for id in &people {
            writeln!(self.out, "  {id}")?;
        }
        match (reach, people.is_empty()) {
            (Reach::Everybody, _) => writeln!(self.out, "  every person")?,
            (Reach::Unsure, _) => {
                writeln!(
                    self.out,
                    "  and perhaps others: a group could not be looked up here"
                )?;
            }
            (Reach::Whole, true) => writeln!(self.out, "  nobody")?,
            (Reach::Whole, false) => {}
        }
        for step in steps {
            let to: Vec<String> = step.to.iter().map(ToString::to_string).collect();
            writeln!(self.out, "after {} also {}", step.after, to.join(", "))?;
        }
        if let Some((id, own, verdict)) = explained {
            let may = if verdict.allowed && !own {
                "may"
            } else {
                "may not"
            };
            writeln!(self.out, "{id} {may} approve it")?;
            if own {
                writeln!(self.out, "  nobody decides what is for themselves")?;
            }
            for reason in verdict.trace {
                writeln!(self.out, "  {reason}")?;
            }
        }
        Ok(Outcome::Well)
    }

    async fn lint(&mut self) -> Result<Outcome, OperateError> {
        let scene = Scene::new(self.read_config()?, self.clock.now(), Duration::ZERO)?;
        let everybody = scene.everybody().await;
        let report = reach::lint(&scene.config.policy, &scene.config.catalog, &everybody);
        self.remark_unknown(&everybody)?;
        let sound = report.findings.is_empty();
        if self.form == Form::Json {
            self.json(&json!({ "sound": sound, "report": report }))?;
        } else if sound {
            writeln!(self.out, "nothing is wrong with what the policy comes to")?;
        } else {
            write!(self.out, "{}", Lines(&report))?;
        }
        Ok(if sound { Outcome::Well } else { Outcome::Wrong })
    }

    /// What the answer leaves out.
    fn remark_unknown(&mut self, everybody: &Everybody) -> Result<(), OperateError> {
        for group in everybody.unknown() {
            writeln!(
                self.remarks,
                "who is in {group} cannot be found out here; it is taken for somebody"
            )?;
        }
        Ok(())
    }

    async fn diff(&mut self, old: PathBuf, new: PathBuf) -> Result<Outcome, OperateError> {
        let now = self.clock.now();
        let read = |path: &PathBuf| Config::read_before_tokens(path, &self.environment);
        let (old, new) = (read(&old)?, read(&new)?);
        let (old, new) = (
            Scene::new(old, now, Duration::ZERO)?,
            Scene::new(new, now, Duration::ZERO)?,
        );
        let (before, after) = (old.everybody().await, new.everybody().await);
        let difference = reach::diff(old.whole(&before), new.whole(&after));
        if self.form == Form::Json {
            self.json(&json!(difference))?;
        } else if difference == Difference::default() {
            writeln!(self.out, "nobody gains or loses anything")?;
        } else {
            write!(self.out, "{}", Lines(&difference))?;
        }
        Ok(Outcome::Well)
    }
}

impl Scene {
    async fn everybody(&self) -> Everybody {
        let (policy, people) = (&self.config.policy, &self.config.people);
        let leads_to = self.config.leads_to();
        Everybody::of(policy, people, self.directory.as_ref(), leads_to).await
    }

    fn whole<'a>(&'a self, everybody: &'a Everybody) -> Whole<'a> {
        Whole {
            policy: &self.config.policy,
            catalog: &self.config.catalog,
            everybody,
        }
    }
}

/// Something as lines for a person.
struct Lines<'a, T>(&'a T);

impl fmt::Display for Lines<'_, Report> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0.findings {
            let gravity = match finding.gravity {
                Gravity::LockOut => "lock-out",
                Gravity::Loop => "loop",
                Gravity::Doubt => "doubt",
            };
            writeln!(f, "{gravity}: {}; {}", finding.what, finding.instead)?;
        }
        if self.0.everybody_is_locked_out {
            writeln!(
                f,
                "everybody is locked out: nothing that can be asked for can be had"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Lines<'_, Difference> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.0.rights {
            let sign = match change.turn {
                Turn::Gained => '+',
                Turn::Lost => '-',
            };
            let who: Vec<String> = change.who.iter().map(ToString::to_string).collect();
            let (right, on) = (change.right, &change.on);
            writeln!(f, "{sign} {right} {on}: {}", who.join(", "))?;
        }
        for change in &self.0.terms {
            writeln!(f, "~ {}: {}", change.on, change.changes.join(", "))?;
        }
        Ok(())
    }
}
