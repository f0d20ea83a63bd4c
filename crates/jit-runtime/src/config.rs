//! The configuration: one TOML file, what the environment adds to it, and the checked value that
//! comes of both. Nothing is opened, bound or connected here, and no default hides elsewhere.
//!
//! Every problem of a file is told at once, with its line and what to write instead. An unknown key
//! is a problem: a key that this release does not know would otherwise be a protection that
//! somebody believes in and nobody gives.
//!
//! Paths are relative to the folder of the file. The variables of the environment are listed in
//! [`VARIABLES`]; a variable of the process wins over the same one in `.env` beside the file, and
//! both win over the file. A secret comes from a variable, or from the file that the variable with
//! `_FILE` behind its name names, and from nowhere else.

mod approval;
mod aws;
mod check;
mod credentials;
mod document;
mod environment;
mod iam;
mod mcp;
mod okta;
mod parameters;
mod principals;
mod problems;
mod rotas;
mod slack;
mod telegram;
mod variables;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jit_core::catalog::{Catalog, EntitlementId, ProviderName};
use jit_core::digest::Digest;
use jit_core::policy::Policy;
use jit_core::principal::{GroupName, PrincipalId};
use jit_wire::Address;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use self::environment::{Environment, VARIABLES};
pub use self::problems::{Place, Problem};
use self::variables::Written;
use crate::pager::WebhookUrl;
use crate::people::ConfiguredPeople;
use crate::rota::WeeklyRota;

/// What `jitd init` writes: a commented configuration that works as it stands.
pub const TEMPLATE: &str = include_str!("../../../docs/examples/jit.toml");

/// The file that is read where nobody names one.
const USUAL_FILE: &str = "jit.toml";
/// The store of a file that names none.
const USUAL_STORE: &str = "jit.db";
/// The largest configuration file, in bytes.
const FILE_LIMIT: u64 = 1024 * 1024;

/// A configuration without a known mistake. Every path is absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Where requests are kept.
    pub store: Store,
    /// Where we listen.
    pub http: Http,
    /// How the worker works.
    pub worker: Worker,
    /// Who gives access, in the order of the file.
    pub providers: Vec<Provider>,
    /// What can be asked for.
    pub catalog: Catalog,
    /// Under which terms, and by whom.
    pub policy: Policy,
    /// Who people are, as far as the file says so.
    pub people: ConfiguredPeople,
    /// Where else it is known who people are.
    pub directory: Option<Directory>,
    /// Who is on call.
    pub rotas: Vec<Rota>,
    /// How PagerDuty is asked, where a rota is one of its.
    pub pagerduty: Option<PagerDuty>,
    /// Who is woken up.
    pub pager: Pager,
    /// The workspace, where there is one.
    pub slack: Option<Slack>,
    /// What programs may ask for by name, where they may.
    pub approval: Option<ApprovalService>,
    /// The chat in Telegram, where there is one.
    pub telegram: Option<Telegram>,
    /// Whom the tools for agents answer, where they are served.
    pub agents: Option<jit_mcp::Settings>,
    /// Where the audit is written to beside the store.
    pub audit: Audit,
    /// How the log looks.
    pub log: Log,
    /// Over policy, catalogue and people: what the audit's `configured` carries.
    pub digest: Digest,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File,
    /// The variables of the approval service alone.
    Variables {
        /// What they mean, as a file would say it.
        text: String,
        /// What whoever starts it is told.
        notices: Vec<String>,
    },
}

/// `[store]`: where requests are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In one SQLite file on a local disk.
    Sqlite {
        /// The file.
        file: PathBuf,
    },
    /// In a DynamoDB table that any number of hosts share.
    DynamoDb(jit_dynamodb::Settings),
}

/// `[http]`: where we listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    /// The API.
    pub listen: SocketAddr,
    /// Metrics and health.
    pub observe: SocketAddr,
    /// A proxy that ends TLS is the only one who reaches `listen`. Without one `listen` is a
    /// loopback address.
    pub trusted_proxy: bool,
}

/// `[worker]`: how the worker works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// How often it looks for what is due.
    pub tick: Duration,
    /// The most calls in flight at one provider, at least 4, so that three quarters of them can be
    /// kept for revokes.
    pub tasks_per_provider: usize,
}

/// `[[provider]]`: who gives access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name in entitlement ids.
    pub name: ProviderName,
    /// What it is.
    pub kind: ProviderKind,
}

/// The kinds of provider that this release has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// `groupfile`: members of the groups in an Apache-style group file.
    GroupFile {
        /// The file, with symbolic links resolved where it exists.
        file: PathBuf,
    },
    /// `identity_center`: account assignments of an AWS IAM Identity Center instance.
    IdentityCenter {
        /// Which instance.
        settings: Box<jit_identity_center::Settings>,
        /// How much of its region may be used at once.
        limits: jit_identity_center::Limits,
    },
    /// `iam_policy` or `iam_session`: access in one AWS account.
    Iam {
        /// How it is given.
        access: IamAccess,
        /// Which account.
        settings: Box<jit_iam::Settings>,
        /// How much of IAM may be used at once.
        limits: jit_iam::Limits,
    },
    /// `okta`: membership in groups of an Okta organization.
    Okta(OktaOrganization),
    /// `vault`: tokens of a HashiCorp Vault.
    Vault(VaultServer),
    /// `grafana`, `influxdb` or `home_assistant`: tokens that a service makes itself.
    Tokens {
        /// Which service.
        kind: Minting,
        /// Where it answers.
        address: Address,
        /// Where the Vault keeps what opens its door.
        path: String,
    },
}

/// A Vault, with what opens its door.
#[derive(Debug, Clone)]
pub struct VaultServer(pub Box<jit_vault::Settings>);

impl PartialEq for VaultServer {
    /// By where it is: secrets are not compared.
    fn eq(&self, other: &Self) -> bool {
        self.0.address == other.0.address && self.0.provider == other.0.provider
    }
}

impl Eq for VaultServer {}

/// How access in an AWS account is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IamAccess {
    /// A temporary inline policy on the role or user that somebody has.
    Policy,
    /// A session of a role.
    Session,
}

/// What makes tokens itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minting {
    /// A Grafana.
    Grafana,
    /// An InfluxDB 2.
    InfluxDb,
    /// A Home Assistant.
    HomeAssistant,
}

/// `[approval_service]`: what programs may ask for by name.
#[derive(Debug, Clone)]
pub struct ApprovalService {
    /// The keys by which they come.
    pub keys: Vec<jit_http::ApiKey>,
    /// Why nobody can decide anything that is asked for here, where that is so.
    pub nobody_decides: Option<String>,
    /// How many of those are so short that they can be guessed.
    pub short_keys: usize,
    /// Who may file.
    pub requesters: BTreeSet<PrincipalId>,
    /// What each name stands for.
    pub resources: BTreeMap<String, EntitlementId>,
}

/// An Okta organization, with what opens its door.
#[derive(Debug, Clone)]
pub struct OktaOrganization(pub Box<jit_okta::Settings>);

impl PartialEq for OktaOrganization {
    /// By where it is: secrets are not compared.
    fn eq(&self, other: &Self) -> bool {
        self.0.org_url == other.0.org_url && self.0.provider == other.0.provider
    }
}

impl Eq for OktaOrganization {}

/// `[directory]`: people from the one Okta organization among the providers.
#[derive(Debug, Clone)]
pub struct Directory {
    /// What of it matters.
    pub settings: jit_okta::DirectorySettings,
}

/// `[[rota]]`: who is on call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rota {
    /// The group that rules name whoever is on call by.
    pub group: GroupName,
    /// How that is known.
    pub kind: RotaKind,
}

/// The kinds of rota that this release has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotaKind {
    /// It is written down in the configuration.
    Weekly(WeeklyRota),
    /// PagerDuty is asked.
    PagerDuty {
        /// By what they are on call there.
        duty: jit_pagerduty::Duty,
        /// Which of its levels count.
        levels: jit_pagerduty::Levels,
    },
}

/// How PagerDuty is asked who is on call.
#[derive(Debug, Clone)]
pub struct PagerDuty {
    /// Where its REST API is.
    pub api: jit_pagerduty::Address,
    /// A key of that, which need not be able to write.
    pub token: SecretString,
}

/// `[pager]`: who is woken up, beside the log and the metric.
#[derive(Debug, Clone, Default)]
pub struct Pager {
    /// A webhook.
    pub webhook: Option<Webhook>,
    /// A service at PagerDuty.
    pub pagerduty: Option<jit_pagerduty::EventsSettings>,
}

/// A webhook that takes alarms.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where it is.
    pub url: WebhookUrl,
    /// What it wants as `Authorization: Bearer`.
    pub token: Option<SecretString>,
}

/// `[slack]`: the workspace.
#[derive(Debug, Clone)]
pub struct Slack {
    /// Channels, commands and what decides there.
    pub settings: jit_slack::Settings,
    /// Where the Web API is.
    pub api: String,
    /// `xoxb-…`.
    pub bot_token: SecretString,
    /// How Slack reaches us.
    pub transport: jit_slack::Transport,
    /// Which user each person is.
    pub names: jit_slack::Names,
}

/// `[telegram]`: the chat in Telegram.
#[derive(Debug, Clone)]
pub struct Telegram {
    /// Where requests are told and decided.
    pub chat: jit_telegram::ChatId,
    /// Where the Bot API is.
    pub api: jit_telegram::Address,
    /// What @BotFather gave out.
    pub bot_token: SecretString,
    /// How clicks get here.
    pub transport: jit_telegram::Transport,
}

/// `[audit]`: where the audit is written to beside the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// One row per event.
    pub csv: Option<PathBuf>,
}

/// `[log]`: how the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Log {
    /// Its form.
    pub format: LogFormat,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// Lines for a person at a terminal.
    Text,
    /// One JSON object per line on standard output, each fact under a name of its own.
    Events,
}

impl std::str::FromStr for LogFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            "events" => Ok(Self::Events),
            _ => Err("a log format is json, text or events"),
        }
    }
}

/// A configuration that cannot be used. `Display` tells every problem, each on its own line.
#[derive(Debug, thiserror::Error)]
pub enum BadConfig {
    /// The file cannot be read.
    #[error("{} cannot be read; name a configuration that exists, or make one with jitd init", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file, or what the environment adds to it, is wrong.
    #[error("{}", Listing { file, problems })]
    Wrong {
        /// The configuration file.
        file: PathBuf,
        /// Everything that is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
}

impl BadConfig {
    /// The same where nobody wrote the lines that its problems are on.
    fn of_no_file(self) -> Self {
        let Self::Wrong { file, mut problems } = self else {
            return self;
        };
        for problem in &mut problems {
            if matches!(problem.place, Place::Line { .. }) {
                let file = file.clone();
                problem.place = Place::File { file, line: None };
            }
        }
        Self::Wrong { file, problems }
    }
}

struct Listing<'a> {
    file: &'a Path,
    problems: &'a [Problem],
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match &problem.place {
                Place::Line { line, column } => {
                    write!(f, "{}:{line}:{column}: {problem}", self.file.display())?;
                }
                Place::Variable { name } => write!(f, "variable {name}: {problem}")?,
                Place::File { file, line: None } => write!(f, "{}: {problem}", file.display())?,
                Place::File {
                    file,
                    line: Some(line),
                } => write!(f, "{}:{line}: {problem}", file.display())?,
            }
        }
        Ok(())
    }
}

/// Whether the tokens of those whom we call must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tokens {
    Needed,
    NotYet,
}

impl Config {
    /// Reads the file, `.env` beside it and the environment, and checks everything.
    pub fn read(file: &Path, environment: &Environment) -> Result<Self, BadConfig> {
        Self::read_with(file, environment, Tokens::Needed)
    }

    /// The same for whoever calls nobody yet: the tokens of a workspace, of a bot and of PagerDuty may
    /// be missing.
    pub fn read_before_tokens(file: &Path, environment: &Environment) -> Result<Self, BadConfig> {
        Self::read_with(file, environment, Tokens::NotYet)
    }

    /// Entitlements that are membership in a group that rules may name.
    pub fn leads_to(&self) -> BTreeMap<EntitlementId, GroupName> {
        let groups = self.directory.iter().flat_map(|it| &it.settings.groups);
        let okta = self.providers.iter().find_map(|it| match it.kind {
            ProviderKind::Okta(_) => Some(&it.name),
            ProviderKind::GroupFile { .. }
            | ProviderKind::IdentityCenter { .. }
            | ProviderKind::Iam { .. }
            | ProviderKind::Vault(_)
            | ProviderKind::Tokens { .. } => None,
        });
        let named = groups.flat_map(|(group, id)| {
            let of_group = self.catalog.iter().filter(move |it| it.resource == *id);
            of_group.map(move |entitlement| (entitlement.id.clone(), group.clone()))
        });
        let of_okta = named.filter(|(id, _)| okta == Some(&id.provider()));
        of_okta.collect()
    }

    fn read_with(
        file: &Path,
        environment: &Environment,
        tokens: Tokens,
    ) -> Result<Self, BadConfig> {
        let unreadable = |source| BadConfig::Unreadable {
            file: file.to_owned(),
            source,
        };
        let absolute = std::path::absolute(file).map_err(unreadable)?;
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        let text = match environment::read_limited(&absolute, FILE_LIMIT) {
            Err(error) if error.kind() == ErrorKind::NotFound && file == Path::new(USUAL_FILE) => {
                return Self::of_variables(folder, environment, tokens)
                    .unwrap_or_else(|| Err(unreadable(error)));
            }
            Err(error) => return Err(not_text(file, &error).unwrap_or_else(|| unreadable(error))),
            Ok(text) => text,
        };
        Self::of_text(&absolute, &text, environment, tokens, file)
    }

    /// Where the usual file is not there: the approval service, if these are its variables.
    fn of_variables(
        folder: &Path,
        environment: &Environment,
        tokens: Tokens,
    ) -> Option<Result<Self, BadConfig>> {
        let mut problems = problems::Problems::of("");
        let mut environment = environment.clone();
        environment.add_dotenv(&folder.join(".env"), &mut problems);
        match environment.service() {
            environment::Service::Whole => {}
            environment::Service::Lacks(name) => return Some(Err(lacking(name))),
            environment::Service::None => return None,
        }
        let written = variables::written_out(&environment, &mut problems);
        let found = problems.into_found();
        let file = PathBuf::from("the environment");
        // A lost file is no other service: its store is not left behind.
        if folder.join(USUAL_STORE).exists() {
            return None;
        }
        let Some(Written {
            text,
            notices,
            nobody_decides,
        }) = written.filter(|_| found.is_empty())
        else {
            let problems = found;
            return Some(Err(BadConfig::Wrong { file, problems }));
        };
        let read = Self::of_text(&folder.join(USUAL_FILE), &text, &environment, tokens, &file);
        let origin = Origin::Variables { text, notices };
        let read = read.map(|mut config| {
            if let Some(approval) = &mut config.approval {
                approval.nobody_decides = nobody_decides;
            }
            Self { origin, ..config }
        });
        Some(read.map_err(BadConfig::of_no_file))
    }

    fn of_text(
        absolute: &Path,
        text: &str,
        environment: &Environment,
        tokens: Tokens,
        named: &Path,
    ) -> Result<Self, BadConfig> {
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        let mut problems = problems::Problems::of(text);
        let mut environment = environment.clone();
        environment.add_dotenv(&folder.join(".env"), &mut problems);
        environment.refuse_misspelt(&mut problems);
        if tokens == Tokens::NotYet {
            environment.stand_in_for_tokens();
        }
        let written = document::read_document(&mut problems, written::Written::read);
        let checked = written.and_then(|written| {
            check::Check {
                folder,
                environment: &environment,
                problems: &mut problems,
            }
            .config(absolute, &written)
        });
        let problems = problems.into_found();
        match checked {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(BadConfig::Wrong {
                file: named.to_owned(),
                problems,
            }),
        }
    }
}

/// Where a file is there and is no text: where it stops to be one.
fn not_text(file: &Path, error: &std::io::Error) -> Option<BadConfig> {
    let inner = error.get_ref()?;
    let environment::NotText { before } = inner.downcast_ref()?;
    let mut problems = problems::Problems::of(before);
    let at = problems::Spot::Byte(before.len());
    problems.add(at, "this is not UTF-8 text", "save the file as UTF-8");
    Some(BadConfig::Wrong {
        file: file.to_owned(),
        problems: problems.into_found(),
    })
}

/// Where the usual file is not there, and one variable is missing of those that would do without it.
fn lacking(name: &str) -> BadConfig {
    let instead = "set it, where an approval service by its variables alone is meant; else name a \
                   configuration that exists, or make one with jitd init";
    BadConfig::Wrong {
        file: PathBuf::from(USUAL_FILE),
        problems: vec![Problem {
            place: Place::Variable {
                name: name.to_owned(),
            },
            what: format!("it is not set, and there is no {USUAL_FILE}"),
            instead: instead.to_owned(),
        }],
    }
}

#[cfg(test)]
mod tests;
