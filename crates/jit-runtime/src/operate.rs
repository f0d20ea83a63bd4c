//! The verbs of somebody with the configuration or the store at hand: check, explain, prove,
//! export, and hand out tokens. None of them decides a request or moves a grant; that goes through
//! the API, where it is asked who does it.

mod audit;
mod backup;
mod doctor;
mod dynamodb;
mod policy;
mod slack;
mod token;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use jit_core::catalog::EntitlementId;
use jit_core::policy::Hours;
use jit_core::ports::{Clock, CommitError, PortError, Random, RequestStore};
use jit_core::principal::PrincipalId;
use jit_http::token::TokenError;
use serde_json::json;

pub use audit::{AuditVerb, Format, VerifyArgs};
pub use backup::BackupArgs;
pub use dynamodb::DynamoDbVerb;
pub use policy::{Circumstances, Moment, PolicyVerb};
pub use slack::SlackVerb;
pub use token::TokenVerb;

use crate::build::{StoreError, open_store};
use crate::config::{BadConfig, Config, Environment, Origin, Store};
use backup::of_this_release;

/// What an operator does with the configuration or the store at hand.
#[derive(Debug, Subcommand)]
pub enum Operation {
    /// Check the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Explain who may do what, and why
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Prove or export the audit; reads the store itself
    #[command(subcommand)]
    Audit(AuditVerb),
    /// Make, list and revoke bearer tokens; opens the store itself
    #[command(subcommand)]
    Token(TokenVerb),
    /// Copy the store into a file, while jitd runs, and check the copy
    #[command(
        long_about = "Copy the store into a file, while jitd runs, and check the copy: that the file \
        is sound and that its audit verifies. The store is only read. Of a store in DynamoDB AWS \
        keeps backups itself"
    )]
    Backup(BackupArgs),
    /// Check everything that jitd needs, a line for each thing with what to do; changes nothing
    #[command(
        long_about = "Check everything that jitd needs: the configuration, the store, the clock, each \
        provider with its credentials, the chats, and that somebody decides on each thing. A line for \
        each begins with ok, warn or fail and ends with what to do. All are looked at side by side, \
        and what does not answer within 10 s fails. Nothing is changed: nothing is written into the \
        store, nothing is granted, nobody is paged or written to. Exits with 1 where something failed"
    )]
    Doctor,
}

/// About the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Tell every mistake of the configuration with its line, or that there is none
    Check,
    /// Print the configuration that is used: the file, or what the variables of the approval service mean
    Show,
}

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines for a person.
    Text,
    /// One JSON value.
    Json,
}

/// What an operation works with.
pub struct Desk<'d> {
    /// The configuration file.
    pub config: PathBuf,
    /// What the environment adds to it.
    pub environment: Environment,
    /// How answers are written.
    pub form: Form,
    /// Where answers go.
    pub out: &'d mut (dyn Write + Send),
    /// Where remarks go that are no part of the answer.
    pub remarks: &'d mut (dyn Write + Send),
    /// Tells the time.
    pub clock: &'d dyn Clock,
    /// Draws tokens.
    pub random: &'d dyn Random,
}

impl std::fmt::Debug for Desk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("config", &self.config)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// How an operation ended that could be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Well,
    /// It found something wrong and said what.
    Wrong,
    /// Nobody reads the answer any more, as where it goes into `head`.
    Unread,
}

impl Outcome {
    /// The exit code: 0 or 1, or that of a process that SIGPIPE ended, which is not 0: nobody was
    /// told how it came out.
    pub fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Wrong => 1,
            Self::Unread => 141,
        }
    }
}

/// Why an operation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// There is no store to read.
    #[error(
        "there is no store at {}; [store] sqlite or JIT_STORE names it, and jitd makes it when it \
         first runs", path.display()
    )]
    NoStore {
        /// Where it should be.
        path: PathBuf,
    },
    /// The store is of an earlier release, and only whoever serves changes that.
    #[error(
        "{} has schema {found} of an earlier release; jitd of this release brings it to {known} when \
         it first runs, and older ones write nothing from then on", path.display()
    )]
    Earlier {
        /// Where it is.
        path: PathBuf,
        /// Which schema it has.
        found: i64,
        /// Which one this release has.
        known: i64,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Open(#[from] StoreError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] PortError),
    /// The store did not take something.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A token was not made or revoked.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody has this name.
    #[error(
        "nobody is named {who}, neither in the configuration nor in the directory that it names; add \
         a [[person]] or an [[agent]]"
    )]
    UnknownPrincipal {
        /// The name.
        who: PrincipalId,
    },
    /// Nothing has this name.
    #[error("there is no entitlement {entitlement} in the configuration")]
    UnknownEntitlement {
        /// The name.
        entitlement: EntitlementId,
    },
    /// A time that clocks leave out.
    #[error(
        "{hours} does not come within eight days, as where clocks are put forward; write an instant, \
         as in 2026-11-29T03:00:00Z"
    )]
    NoSuchTime {
        /// The minute that was asked for.
        hours: Hours,
    },
    /// Cases or an export that cannot be read.
    #[error("{}: {what}", path.display())]
    Unreadable {
        /// Of which file.
        path: PathBuf,
        /// What is wrong, with its line.
        what: String,
    },
    /// There is no workspace to speak of.
    #[error("the configuration has no [slack]; add it as docs/examples/jit.toml shows")]
    NoSlack,
    /// There is no table to speak of.
    #[error("[store] names no table; write dynamodb = \"jit\" there")]
    NoTable,
    /// AWS does that.
    #[error(
        "the store is the table {table}, of which AWS keeps every state by point-in-time recovery, \
         turned on by jitd dynamodb create-table; to restore it into a new table: aws dynamodb \
         restore-table-to-point-in-time --source-table-name {table} --target-table-name \
         {table}-restored --use-latest-restorable-time"
    )]
    BackupOfTable {
        /// Which.
        table: String,
    },
    /// The Web API cannot be called.
    #[error(transparent)]
    Slack(#[from] jit_slack::BadWeb),
    /// A file cannot be written.
    #[error("{} cannot be written; it must not exist, and its folder must", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The answer cannot be written.
    #[error("the answer cannot be written")]
    Output(#[from] io::Error),
}

impl Desk<'_> {
    /// Carries an operation out.
    pub async fn run(&mut self, operation: Operation) -> Result<Outcome, OperateError> {
        match self.carry_out(operation).await {
            Err(OperateError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(Outcome::Unread)
            }
            ran => ran,
        }
    }

    async fn carry_out(&mut self, operation: Operation) -> Result<Outcome, OperateError> {
        match operation {
            Operation::Config(ConfigVerb::Check) => self.check(),
            Operation::Config(ConfigVerb::Show) => self.show(),
            Operation::Policy(verb) => self.policy(verb).await,
            Operation::Audit(verb) => self.audit(verb).await,
            Operation::Token(verb) => self.token(verb).await,
            Operation::Backup(args) => self.backup(args).await,
            Operation::Doctor => self.doctor().await,
        }
    }

    fn read_config(&self) -> Result<Config, BadConfig> {
        Config::read(&self.config, &self.environment)
    }

    /// The configuration for verbs that call nobody: the tokens of a chat may be elsewhere.
    fn config_before_tokens(&self) -> Result<Config, BadConfig> {
        Config::read_before_tokens(&self.config, &self.environment)
    }

    /// Opens the store of the configuration, which must be there, to read it.
    async fn store_to_read(&self) -> Result<Arc<dyn RequestStore>, OperateError> {
        let config = self.config_before_tokens()?;
        match &config.store {
            Store::Sqlite { file } => Ok(Arc::new(of_this_release(file)?)),
            Store::DynamoDb(_) => Ok(open_store(&config.store).await?),
        }
    }

    /// Opens the store of the configuration, which must be there, to write to it.
    async fn store_to_write(&self) -> Result<Arc<dyn RequestStore>, OperateError> {
        let config = self.config_before_tokens()?;
        if let Store::Sqlite { file } = &config.store {
            of_this_release(file)?;
        }
        Ok(open_store(&config.store).await?)
    }

    /// Opens the store of this configuration to write to it, and makes it where there is none.
    async fn store_to_make(&self, store: &Store) -> Result<Arc<dyn RequestStore>, OperateError> {
        if let Store::Sqlite { file } = store {
            match of_this_release(file) {
                Ok(_) | Err(OperateError::NoStore { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(open_store(store).await?)
    }

    fn json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        writeln!(self.out, "{value}")
    }

    fn show(&mut self) -> Result<Outcome, OperateError> {
        let text = match self.read_config()?.origin {
            Origin::File => std::fs::read_to_string(&self.config)?,
            Origin::Variables { text, .. } => text,
        };
        match self.form {
            Form::Json => self.json(&json!({ "text": text }))?,
            Form::Text => write!(self.out, "{text}")?,
        }
        Ok(Outcome::Well)
    }

    fn check(&mut self) -> Result<Outcome, OperateError> {
        match (self.read_config(), self.form) {
            (Ok(config), Form::Json) => {
                let digest = config.digest;
                self.json(&json!({ "sound": true, "digest": digest, "problems": [] }))?;
                Ok(Outcome::Well)
            }
            (Ok(config), Form::Text) => {
                writeln!(self.out, "{}", self.sound(&config))?;
                Ok(Outcome::Well)
            }
            (Err(BadConfig::Wrong { problems, .. }), Form::Json) => {
                self.json(&json!({ "sound": false, "problems": problems }))?;
                Ok(Outcome::Wrong)
            }
            (Err(wrong @ BadConfig::Wrong { .. }), Form::Text) => {
                writeln!(self.out, "{wrong}")?;
                Ok(Outcome::Wrong)
            }
            (Err(unreadable @ BadConfig::Unreadable { .. }), _) => Err(unreadable.into()),
        }
    }

    /// That a configuration can be used, and how much is in it.
    fn sound(&self, config: &Config) -> String {
        let families = match config.catalog.families().len() {
            0 => String::new(),
            1 => " and 1 family of them".to_owned(),
            count => format!(" and {count} families of them"),
        };
        format!(
            "{} is sound: {}, {}{families}, {}, {}, {}",
            match &config.origin {
                Origin::File => self.config.display().to_string(),
                Origin::Variables { .. } => "the environment".to_owned(),
            },
            counted(config.providers.len(), "provider"),
            counted(config.catalog.iter().count(), "entitlement"),
            counted(config.policy.tiers().count(), "tier"),
            counted(config.policy.rules().len(), "rule"),
            counted(config.people.iter().count(), "principal"),
        )
    }
}

/// `1 event`, `2 events`.
fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}
