//! `slack manifest` and `slack check`: what the app in the workspace must be, and whether it is.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use jit_slack::{CheckParts, Commands, EmailMatch, Finding, Names, PublicUrl, Reach};
use serde_json::json;

use super::{OperateError, Outcome, counted};
use crate::build::groups_of;
use crate::config::{Config, Environment};

/// About the app in Slack.
#[derive(Debug, Subcommand)]
pub enum SlackVerb {
    /// Print the manifest from which Slack makes the app; needs no token
    Manifest {
        /// Let Slack call this public address, `https://…`, instead of Socket Mode
        #[arg(long, value_name = "URL")]
        http: Option<PublicUrl>,
        /// The configuration file, for the names of the commands
        #[arg(long, env = "JIT_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Ask Slack whether tokens, scopes, channels, people and user groups are as configured;
    /// changes nothing
    Check {
        /// The configuration file
        #[arg(
            long,
            env = "JIT_CONFIG",
            value_name = "FILE",
            default_value = "jit.toml"
        )]
        config: PathBuf,
        /// Answer with one JSON value
        #[arg(long)]
        json: bool,
    },
}

impl SlackVerb {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the configuration cannot be used, or the answer cannot be written.
    pub async fn run(
        self,
        environment: &Environment,
        out: &mut (dyn Write + Send),
    ) -> Result<Outcome, OperateError> {
        let ran = match self {
            Self::Manifest { http, config } => manifest(http, config, environment, out),
            Self::Check { config, json } => {
                let config = Config::read(&config, environment)?;
                let found = check(&config).await?;
                tell(&found, json, out).map_err(OperateError::from)
            }
        };
        match ran {
            Err(OperateError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(Outcome::Unread)
            }
            ran => ran,
        }
    }
}

fn manifest(
    http: Option<PublicUrl>,
    config: Option<PathBuf>,
    environment: &Environment,
    out: &mut (dyn Write + Send),
) -> Result<Outcome, OperateError> {
    let reach = http.map_or(Reach::Socket, Reach::Http);
    let (commands, email_match) = match config {
        None => (Commands::default(), EmailMatch::Off),
        Some(file) => {
            let config = Config::read_before_tokens(&file, environment)?;
            let workspace = config.slack.ok_or(OperateError::NoSlack)?;
            (workspace.settings.commands, workspace.settings.email_match)
        }
    };
    let manifest = jit_slack::manifest(&commands, email_match, &reach);
    writeln!(out, "{manifest:#}")?;
    Ok(Outcome::Well)
}

pub(super) async fn check(config: &Config) -> Result<Vec<Finding>, OperateError> {
    let workspace = config.slack.as_ref().ok_or(OperateError::NoSlack)?;
    // Whoever is no longer active may be deactivated in Slack as well.
    let is_active = |id| config.people.find(id).is_some_and(|it| it.profile.active);
    let people = workspace.names.iter().filter(|(id, _)| is_active(id));
    let names: Names = people
        .map(|(id, user)| (id.clone(), user.clone()))
        .collect();
    let groups: BTreeSet<_> = groups_of(&config.policy)
        .filter_map(|group| jit_slack::user_group(&group))
        .collect();
    let parts = CheckParts {
        settings: &workspace.settings,
        api: &workspace.api,
        bot_token: &workspace.bot_token,
        transport: &workspace.transport,
        names: &names,
        groups,
    };
    Ok(jit_slack::check(&parts).await?)
}

fn tell(found: &[Finding], json: bool, out: &mut (dyn Write + Send)) -> io::Result<Outcome> {
    let wrong = found.iter().filter(|finding| !finding.ok).count();
    if json {
        writeln!(out, "{}", json!({"sound": wrong == 0, "findings": found}))?;
    } else {
        for Finding { what, fix, .. } in found {
            match fix {
                None => writeln!(out, "ok     {what}")?,
                Some(fix) => writeln!(out, "WRONG  {what}; {fix}")?,
            }
        }
        match wrong {
            0 => writeln!(out, "Slack is as the configuration says")?,
            wrong => writeln!(out, "{} to mend", counted(wrong, "thing"))?,
        }
    }
    Ok(if wrong == 0 {
        Outcome::Well
    } else {
        Outcome::Wrong
    })
}
