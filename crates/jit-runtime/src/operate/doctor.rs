//! `doctor`: whether everything that a daemon needs is there and works, a line for each thing with what
//! to do about it. It asks and changes nothing: nothing is written into the store, no schema brought up
//! to date, nothing is granted, and nobody is paged or written to.
//!
//! A new adapter is looked at through the port that it has already. What no port can be asked for is at
//! the end of `providers`.

mod chats;
mod clock;
mod disk;
mod policy;
mod providers;
mod secrets;
mod store;

use std::io;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use jit_core::ports::{ErrorKind, PortError};
use serde::Serialize;
use serde_json::json;

use self::providers::Clients;
use super::{Desk, Form, OperateError, Outcome, counted};
use crate::config::{BadConfig, Config, Problem};

/// How long one check may take. All of them run side by side.
const DEADLINE: Duration = Duration::from_secs(10);

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// Something will not work.
    Fail,
}

/// One line of the answer. It holds no secret, and names nobody but those whom rules name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    verdict: Verdict,
    /// What was looked at: `store`, or a provider by its name.
    area: String,
    /// What was found.
    found: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(area: &str, found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Ok,
            area: area.to_owned(),
            found: found.into(),
            fix: None,
        }
    }

    fn warn(area: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            area: area.to_owned(),
            found: found.into(),
            fix: Some(fix.into()),
        }
    }

    fn fail(area: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(area, found, fix)
        }
    }

    /// Of a sentence that says what is wrong and, behind its first semicolon, what to do.
    fn of_sentence(area: &str, sentence: &str) -> Self {
        match sentence.split_once("; ") {
            Some((found, fix)) => Self::fail(area, found, fix),
            None => Self::fail(area, sentence, "mend that, and run this again"),
        }
    }

    /// Of a call that failed.
    fn of_error(area: &str, error: &PortError) -> Self {
        Self::fail(area, error.chain(), remedy(error.kind))
    }
}

/// What to do about a failed call, by what it says of itself.
fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "make it there, or mend what the configuration calls it",
        ErrorKind::Forbidden => {
            "give its credentials the rights that docs/SECURITY.md lists, or set others"
        }
        ErrorKind::Misconfigured => "mend what that says, in the configuration or there",
        ErrorKind::RateLimited { .. } => "let it rest, and see who else uses up its quota",
        ErrorKind::Unavailable => {
            "see that this host reaches it (address, network, proxy, certificates) and that it works"
        }
        ErrorKind::Conflict => "see who else holds it, and run this again",
    }
}

/// Cuts off a check that hangs.
async fn within(area: String, check: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    let checked = tokio::time::timeout(DEADLINE, check).await;
    checked.unwrap_or_else(|_| {
        let found = format!("it did not answer within {} s", DEADLINE.as_secs());
        vec![Finding::fail(&area, found, remedy(ErrorKind::Unavailable))]
    })
}

/// Looks at a disk, on a thread of its own: one that hangs holds up nothing else.
async fn on_disk<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
    let looked = tokio::task::spawn_blocking(look).await;
    looked.expect("whoever looks at a disk comes back")
}

/// Which of the secrets are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tokens {
    All,
    /// Those of a chat or of PagerDuty are missing, and were told: nothing is called with what stands
    /// in for them.
    SomeMissing,
}

impl Desk<'_> {
    pub(super) async fn doctor(&mut self) -> Result<Outcome, OperateError> {
        let (config, mut found) = self.configured();
        if let Some((config, tokens)) = config {
            found.extend(self.examined(&config, tokens).await);
        }
        self.tell_findings(&found)?;
        Ok(match found.iter().any(|it| it.verdict == Verdict::Fail) {
            true => Outcome::Wrong,
            false => Outcome::Well,
        })
    }

    /// The configuration, where there is one to go on with.
    fn configured(&self) -> (Option<(Config, Tokens)>, Vec<Finding>) {
        let sound = |config: &Config| Finding::ok("config", self.sound(config));
        match self.read_config() {
            Ok(config) => {
                let found = vec![sound(&config)];
                (Some((config, Tokens::All)), found)
            }
            Err(bad) => match Config::read_before_tokens(&self.config, &self.environment) {
                Ok(config) => {
                    let mut found = vec![sound(&config)];
                    found.extend(problems(secrets::AREA, &bad));
                    (Some((config, Tokens::SomeMissing)), found)
                }
                Err(bad) => (None, problems("config", &bad)),
            },
        }
    }

    /// Everything that is looked at once there is a configuration, side by side.
    async fn examined(&self, config: &Config, tokens: Tokens) -> Vec<Finding> {
        let clock = self.clock;
        let clients = Clients::of(config);
        let mut checks: Vec<(String, BoxFuture<'_, Vec<Finding>>)> = vec![
            ("store".to_owned(), Box::pin(store::store(config, clock))),
            (
                clock::AREA.to_owned(),
                Box::pin(clock::beside_others(config, clock)),
            ),
            (
                "policy".to_owned(),
                Box::pin(policy::policy(config, tokens, clock)),
            ),
        ];
        match &clients {
            Ok(clients) => {
                for provider in &config.providers {
                    let look = providers::provider(config, clients, provider, clock.now());
                    checks.push((provider.name.to_string(), Box::pin(look)));
                }
            }
            // jitd does not start with it either.
            Err(error) => {
                let found = vec![Finding::of_error("providers", error)];
                checks.push(("providers".to_owned(), Box::pin(async { found })));
            }
        }
        checks.extend(chats::checks(config, tokens, clock.now()));
        let files = secrets::files(config, &self.environment);
        checks.push((secrets::AREA.to_owned(), Box::pin(files)));
        let checked = checks.into_iter().map(|(area, check)| within(area, check));
        join_all(checked).await.into_iter().flatten().collect()
    }

    fn tell_findings(&mut self, found: &[Finding]) -> io::Result<()> {
        let count = |verdict| found.iter().filter(|it| it.verdict == verdict).count();
        let (failed, warned) = (count(Verdict::Fail), count(Verdict::Warn));
        if self.form == Form::Json {
            return self.json(&json!({ "well": failed == 0, "checks": found }));
        }
        let width = found.iter().map(|it| it.area.chars().count()).max();
        let width = width.unwrap_or_default();
        for Finding {
            verdict,
            area,
            found,
            fix,
        } in found
        {
            let word = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "fail",
            };
            // A line is a line, whatever somebody else answered.
            let line = |text: &str| text.replace(char::is_control, " ");
            write!(self.out, "{word:<4}  {area:<width$}  {}", line(found))?;
            match fix {
                Some(fix) => writeln!(self.out, "; {}", line(fix))?,
                None => writeln!(self.out)?,
            }
        }
        match (failed, warned) {
            (0, 0) => writeln!(self.out, "all is well"),
            (0, warned) => writeln!(self.out, "nothing failed; {warned} to look at"),
            (failed, warned) => writeln!(self.out, "{failed} failed; {warned} to look at"),
        }
    }
}

/// Each problem of a configuration in a line of its own.
fn problems(area: &str, bad: &BadConfig) -> Vec<Finding> {
    let BadConfig::Wrong { problems, .. } = bad else {
        return vec![Finding::of_sentence(area, &bad.to_string())];
    };
    // Each line says where, what and what instead; only the last two are apart in the problem.
    let lines = bad.to_string();
    let told = problems.iter().zip(lines.lines());
    let told = told.map(|(Problem { what, instead, .. }, line)| {
        let place = line
            .split_once(what.as_str())
            .map_or("", |(place, _)| place);
        Finding::fail(area, format!("{place}{what}"), instead)
    });
    told.collect()
}

#[cfg(test)]
mod tests;
