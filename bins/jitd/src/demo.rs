//! The demonstration: a whole installation in a temporary folder, with nothing outside of it but
//! free ports of this machine. Served for somebody to try, or played by itself (`play`).

mod play;
mod sight;
mod workspace;

use std::fmt;
use std::fs::Permissions;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use jit_core::Ttl;
use jit_core::engine::{ClockTrust, Engine};
use jit_core::ports::Query;
use jit_core::request::{AccessRequest, Status};
use jit_runtime::build::Adapters;
use jit_runtime::clock::{OsRandom, SystemClock};
use jit_runtime::config::{Config, Environment};
use jit_runtime::daemon::{Daemon, LockOut};
use jit_runtime::operate::{Desk, Form, Operation, Outcome, TokenVerb};
use tempfile::TempDir;

pub use play::{Script, play, play_on};
pub use sight::{Sight, Sightings};
use workspace::Chat;

/// What is asked for.
pub const ENTITLEMENT: &str = "groupfile/admins";
const CONFIG: &str = include_str!("demo/jit.toml");
const GROUPS: &str = include_str!("demo/groups");
/// How long access lasts where nothing is said.
const SERVED_TTL_SECS: u64 = 120;
/// How often the demonstration looks what its visitor did.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Somebody in the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// Asks.
    Ana,
    /// Decides.
    Bob,
    /// Reads everything.
    Carol,
}

impl Person {
    const ALL: [Self; 3] = [Self::Ana, Self::Bob, Self::Carol];

    /// The alias in the configuration, and the name in the group file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ana => "ana",
            Self::Bob => "bob",
            Self::Carol => "carol",
        }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ana => "Ana",
            Self::Bob => "Bob",
            Self::Carol => "Carol",
        })
    }
}

/// The folder of a demonstration with everything in it: configuration, store, group file, tokens;
/// and the simulated workspace beside it. Dropping it removes the folder and ends the workspace.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    config: Config,
    chat: Chat,
}

impl Stage {
    /// Makes the folder and fills it, and opens the workspace.
    pub async fn set() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("jit-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        let folder = folder.context("no temporary folder can be made; set TMPDIR to one")?;
        let chat = Chat::open().await?;
        let file = folder.path().join("jit.toml");
        std::fs::write(&file, CONFIG.replace("SLACK_API", &chat.api()))?;
        chat.write_tokens(&folder.path().join(".env"))?;
        std::fs::write(folder.path().join("groups"), GROUPS)?;
        // The variables of the visitor's own installation have no place here.
        let config = Config::read(&file, &Environment::default())?;
        let stage = Self {
            folder,
            config,
            chat,
        };
        for person in Person::ALL {
            stage.hand_token_to(person).await?;
        }
        Ok(stage)
    }

    async fn hand_token_to(&self, person: Person) -> anyhow::Result<()> {
        let verb = TokenVerb::New {
            principal: person.name().parse()?,
            ttl: Some("1d".parse()?),
            label: "demo".to_owned(),
            out: Some(self.token_of(person)),
        };
        self.operate(Operation::Token(verb)).await?;
        Ok(())
    }

    /// Carries out an operator's verb on the installation; the answer is as `--json` prints it.
    pub async fn operate(
        &self,
        operation: Operation,
    ) -> anyhow::Result<(Outcome, serde_json::Value)> {
        let (mut out, mut remarks) = (Vec::new(), Vec::new());
        let mut desk = Desk {
            config: self.config.file.clone(),
            environment: Environment::default(),
            form: Form::Json,
            out: &mut out,
            remarks: &mut remarks,
            clock: &SystemClock,
            random: &OsRandom,
        };
        let outcome = desk.run(operation).await?;
        let answer = serde_json::from_slice(&out).context("the answer is not JSON")?;
        Ok((outcome, answer))
    }

    /// The configuration of the demonstration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The group file.
    pub fn groups(&self) -> PathBuf {
        self.folder.path().join("groups")
    }

    /// The file with somebody's token.
    pub fn token_of(&self, person: Person) -> PathBuf {
        let name = format!("{}.token", person.name());
        self.folder.path().join(name)
    }

    /// The page on which somebody uses the workspace.
    pub fn workspace(&self) -> String {
        self.chat.page()
    }

    /// The adapters that the configuration names; a test puts its own in the place of one.
    pub async fn adapters(&self) -> anyhow::Result<Adapters> {
        Ok(Adapters::open(&self.config).await?)
    }

    /// A daemon on this installation, ready to run.
    pub async fn daemon(&self, adapters: Adapters) -> anyhow::Result<Daemon> {
        let config = self.config.clone();
        Ok(Daemon::start_with(config, adapters, ClockTrust::Compared, LockOut::Allowed).await?)
    }

    /// Removes the folder, and says where it cannot be.
    fn strike(self) -> anyhow::Result<()> {
        let path = self.folder.path().to_owned();
        let removed = self.folder.close();
        removed.with_context(|| format!("{} cannot be removed", path.display()))
    }

    /// The command that somebody types, from the root of the repository.
    fn command(&self, person: Person, api: SocketAddr) -> String {
        let token = self.token_of(person);
        let token = quoted(&token);
        format!("cargo run -q -p jit -- --server http://{api} --token-file {token}")
    }
}

/// Serves a demonstration until `stop` is ready, tells what to type next, and removes the folder.
pub async fn serve(
    ttl: Option<Ttl>,
    out: &mut (dyn Write + Send),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let ttl = ttl.map_or_else(|| Ttl::from_secs(SERVED_TTL_SECS), Ok)?;
    let stage = Stage::set().await?;
    let daemon = stage.daemon(stage.adapters().await?).await?;
    let (api, observe) = (daemon.api_address()?, daemon.observe_address()?);
    let engine = Arc::clone(daemon.engine());
    welcome(&stage, api, observe, ttl, out)?;
    let served = tokio::select! {
        served = daemon.run(stop) => served.map_err(anyhow::Error::from),
        told = tell_on(&stage, &engine, api, out) => told,
    };
    let folder = stage.folder.path().display().to_string();
    stage.strike()?;
    writeln!(out, "\nStopped; {folder} is removed.")?;
    served
}

fn welcome(
    stage: &Stage,
    api: SocketAddr,
    observe: SocketAddr,
    ttl: Ttl,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let groups = stage.groups();
    let groups = quoted(&groups);
    writeln!(
        out,
        "JIT Access serves at http://{api} (metrics at http://{observe}/metrics). Ctrl-C stops it \
         and removes\neverything it made. Type what follows in another terminal, at the root of \
         the repository.\n\n\
         The access is a line of this group file, which has no ana among its admins yet:\n  \
         cat {groups}\n\n\
         As Ana, ask to administer the wiki, and wait (the first time, cargo builds jit before):\n  \
         {} request {ENTITLEMENT} --reason \"the front page is broken\" --ttl {ttl} --wait\n\n\
         What Bob types is printed here as soon as Ana has asked.\n\n\
         Or do the same in a simulated Slack workspace, with Ana and Bob as tabs: as Ana type /jit \
         and ask,\nas Bob click Approve:\n  {}",
        stage.command(Person::Ana, api),
        stage.workspace(),
    )?;
    Ok(out.flush()?)
}

/// Tells, for everything that the visitor does, what comes next.
async fn tell_on(
    stage: &Stage,
    engine: &Engine,
    api: SocketAddr,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let mut told: Vec<(jit_core::request::RequestId, Status)> = vec![];
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let query = Query {
            limit: 100,
            ..Query::default()
        };
        let mut requests = engine.store().query(&query).await?;
        requests.reverse();
        for request in &requests {
            let now = (request.id, request.status());
            if told.contains(&now) {
                continue;
            }
            told.push(now);
            if let Some(next) = next_step(stage, request, api) {
                writeln!(out, "\n{next}")?;
                out.flush()?;
            }
        }
    }
}

fn next_step(stage: &Stage, request: &AccessRequest, api: SocketAddr) -> Option<String> {
    let id = request.id;
    let groups = stage.groups();
    let groups = quoted(&groups);
    let bob = stage.command(Person::Bob, api);
    let entitlement = &request.parts.first().entitlement;
    Some(match request.status() {
        Status::Pending => format!(
            "{} asks for {entitlement}. As Bob, approve it:\n  {bob} approve {id}",
            request.requester
        ),
        Status::Active => {
            let until = request.grant().map(|grant| grant.expires_at)?;
            format!(
                "{entitlement} is there until {until}; look:\n  cat {groups}\nOr take it away \
                 early, as Bob:\n  {bob} revoke {id}"
            )
        }
        Status::Closed => format!(
            "{entitlement} is gone again; look:\n  cat {groups}\nThe whole story, as Carol, who \
             audits:\n  {} history {id}\nAnd the proof that nobody edited it:\n  cargo run -q -p \
             jit -- --config {} audit verify",
            stage.command(Person::Carol, api),
            quoted(&stage.config.file),
        ),
        Status::Denied
        | Status::Withdrawn
        | Status::Lapsed
        | Status::Invalidated
        | Status::Cancelled => {
            format!(
                "The request of {} is {}.",
                request.requester,
                request.status()
            )
        }
        Status::Approved | Status::Provisioning | Status::Revoking | Status::Settling => {
            return None;
        }
    })
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What an operator's verb answered, where all was well.
fn well(
    (outcome, answer): (Outcome, serde_json::Value),
    what: &str,
) -> anyhow::Result<serde_json::Value> {
    match outcome {
        Outcome::Well => Ok(answer),
        Outcome::Wrong | Outcome::Unread => bail!("{what}: {answer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(
            quoted(Path::new("/tmp/jit-demo-Ab1/groups")),
            "/tmp/jit-demo-Ab1/groups"
        );
        assert_eq!(
            quoted(Path::new("/tmp/my demo's/x")),
            r"'/tmp/my demo'\''s/x'"
        );
    }
}
