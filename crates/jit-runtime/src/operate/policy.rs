//! What the policy comes to: who may do what and why, who could decide, what is wrong with it, what a
//! change of it changes, and cases that must hold. It reads the configuration, and asks the directory
//! that it names; it needs no store and decides nothing.

mod cases;
mod moment;
mod scene;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jit_core::Ttl;
use jit_core::catalog::EntitlementId;
use jit_core::engine::Reach;
use jit_core::policy::Right;
use jit_core::principal::PrincipalId;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde_json::json;

pub use moment::Moment;

use self::scene::Judged;
pub(super) use self::scene::Scene;
use super::{Desk, Form, OperateError, Outcome};
use crate::config::Config;
use crate::reach::{self, Difference, Everybody, Gravity, Report, Turn};

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
        self.scene_of(self.config_to_judge()?, circumstances)
    }

    /// Who is on call is asked of PagerDuty, with its token; no chat is called.
    fn config_to_judge(&self) -> Result<Config, OperateError> {
        let config = self.config_before_tokens()?;
        Ok(match config.pagerduty {
            Some(_) => self.read_config()?,
            None => config,
        })
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
        let beneficiary = scene.beneficiary(circumstances).await?;
        let judged = scene.judge(right, who, entitlement, beneficiary.as_ref());
        let judged = judged.await?;
        if self.form == Form::Json {
            let mut answer = judged.json();
            answer.insert("right".to_owned(), json!(right));
            answer.insert("entitlement".to_owned(), json!(entitlement));
            answer.insert("at".to_owned(), json!(scene.at));
            self.json(&answer.into())?;
            return Ok(Outcome::Well);
        }
        writeln!(
            self.out,
            "{}",
            judged.sentence(&format!("{right} {entitlement}"))
        )?;
        for line in judged.why() {
            writeln!(self.out, "  {line}")?;
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
        let judged = match why_not {
            Some(who) => {
                let beneficiary = beneficiary.as_ref();
                let judged = scene.judge(Right::Approve, who, entitlement, beneficiary);
                Some(judged.await?)
            }
            None => None,
        };
        if self.form == Form::Json {
            let why_not = judged.as_ref().map(Judged::json);
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
                    "  perhaps others too, or not all of these: a group could not be looked up here"
                )?;
            }
            (Reach::Whole, true) => writeln!(self.out, "  nobody")?,
            (Reach::Whole, false) => {}
        }
        for step in steps {
            let to: Vec<String> = step.to.iter().map(ToString::to_string).collect();
            writeln!(self.out, "after {} also {}", step.after, to.join(", "))?;
        }
        if let Some(judged) = judged {
            writeln!(self.out, "{}", judged.sentence("approve it"))?;
            for line in judged.why() {
                writeln!(self.out, "  {line}")?;
            }
        }
        Ok(Outcome::Well)
    }

    async fn lint(&mut self) -> Result<Outcome, OperateError> {
        let scene = Scene::new(self.config_to_judge()?, self.clock.now(), Duration::ZERO)?;
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
        for (turn, subject, on) in &self.0.exemptions {
            let sign = match turn {
                Turn::Gained => '+',
                Turn::Lost => '-',
            };
            writeln!(f, "{sign} exemption {on}: {subject}")?;
        }
        Ok(())
    }
}
