//! How soon `jitd` is ready, how much of the memory it takes, and what becomes of ten thousand grants
//! whose end nobody was there for: `cargo run --release -p jitd --example capacity`. `jitd` is a
//! process of its own with a workspace, a group file and its store on disk; build it first, or name
//! another one, as in `-- target/image/jitd`. What is missed is printed, and is no failure.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures by the machine's clock"
)]

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jit_core::Timestamp;
use jit_core::audit::{Fact, Sealed};
use jit_core::ports::{Change, Clock, RequestStore};
use jit_core::provider::Target;
use jit_runtime::clock::SystemClock;
use jit_sqlite::{Options, SqliteStore};
use jit_testkit::sample;
use slack_sim::{Channel, SlackSim, User, Workspace};

type Failure = Box<dyn Error + Send + Sync>;

const STORED: u64 = 100_000;
const OVERDUE: u64 = 10_000;
const STARTS: usize = 5;
const HOUR: Duration = Duration::from_secs(3_600);
/// Until nothing more is done for having been started.
const SETTLED: Duration = Duration::from_secs(20);
/// How often health is asked for meanwhile.
const ASKED_EVERY: Duration = Duration::from_millis(5);
/// The longest that ten thousand may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(600);
const STEP: Duration = Duration::from_millis(1);

// --------------------------------------------------------------------------------- an installation

/// A folder with a configuration, a group file and a store.
struct House {
    folder: tempfile::TempDir,
    /// Where whoever watches asks.
    observe: String,
}

/// Kills the daemon at the end, whatever the end is.
struct Daemon {
    child: Child,
    began: Instant,
    /// How long it took until it was ready.
    ready: Duration,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// What is resident, in MiB.
    fn resident(&self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let kib = line.unwrap_or_default().trim_end_matches("kB").trim();
        Ok(kib.parse::<f64>()? / 1_024.0)
    }
}

impl House {
    fn new(slack: &SlackSim) -> Result<Self, Failure> {
        let jitd = jitd()?;
        let folder = tempfile::tempdir_in(jitd.parent().unwrap_or(Path::new(".")))?;
        let free = || Ok::<_, Failure>(TcpListener::bind("127.0.0.1:0")?.local_addr()?);
        let (api, observe) = (free()?, free()?);
        let slack = slack.api_url();
        let config = format!(
            r#"[store]
sqlite = "jit.db"
[http]
listen = "{api}"
observe = "{observe}"
[[provider]]
name = "groupfile"
kind = "groupfile"
file = "groups"
[[entitlement]]
id = "groupfile/admins"
title = "Administer the wiki"
tier = "standard"
[[tier]]
name = "standard"
ttl_default = "1h"
ttl_max = "8h"
approvals = 1
[[rule]]
name = "everybody may ask"
rights = ["request"]
entitlements = ["*"]
principals = ["*"]
[[rule]]
name = "bob decides"
rights = ["approve"]
entitlements = ["*"]
principals = ["bob@example.com"]
[[person]]
id = "ana@example.com"
slack = "U0ANA"
[[person]]
id = "bob@example.com"
slack = "U0BOB"
[slack]
transport = "socket"
api = "{slack}"
[[slack.route]]
entitlements = "*"
channel = "C0ACCESS"
[log]
format = "events"
"#
        );
        fs::write(folder.path().join("jit.toml"), config)?;
        fs::write(folder.path().join("groups"), "admins: root-oncall\n")?;
        let observe = format!("http://{observe}");
        Ok(Self { folder, observe })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> Result<Arc<SqliteStore>, Failure> {
        let patient = Options {
            call_limit: Duration::from_secs(60),
            ..Options::default()
        };
        Ok(Arc::new(SqliteStore::open(self.path("jit.db"), patient)?))
    }

    /// Starts the daemon, and waits until it is ready.
    async fn started(&self, slack: &SlackSim) -> Result<Daemon, Failure> {
        let log = fs::File::create(self.path("log"))?;
        let mut command = Command::new(jitd()?);
        command
            .arg("run")
            .current_dir(self.folder.path())
            .env_clear()
            .env("JIT_SLACK_BOT_TOKEN", slack.bot_token())
            .env("JIT_SLACK_APP_TOKEN", slack.app_token())
            .env("JIT_SLACK_SIGNING_SECRET", slack.signing_secret())
            .stdout(log)
            .stderr(Stdio::inherit());
        let client = reqwest::Client::new();
        let began = Instant::now();
        let mut daemon = Daemon {
            child: command.spawn()?,
            began,
            ready: Duration::ZERO,
        };
        while began.elapsed() < SETTLED {
            let asked = client.get(format!("{}/ready", self.observe)).send().await;
            if asked.is_ok_and(|it| it.status().is_success()) {
                daemon.ready = began.elapsed();
                return Ok(daemon);
            }
            tokio::time::sleep(STEP).await;
        }
        Err(format!("never ready: {}", fs::read_to_string(self.path("log"))?).into())
    }

    /// Grants of as many subjects, who are all in the group.
    fn grants(
        &self,
        count: u64,
        end: impl Fn(u64) -> Timestamp,
    ) -> Result<impl Iterator<Item = Change>, Failure> {
        let names: String = (0..count).map(|at| format!(" s{at}")).collect();
        let groups = self.path("groups");
        fs::write(&groups, format!("admins: root-oncall{names}\n"))?;
        let resource = format!("{}#admins", groups.canonicalize()?.display());
        let mut part = sample::part("groupfile/admins");
        let targets = (0..count)
            .map(|at| {
                Ok(Target::new(
                    "groupfile",
                    format!("s{at}").parse()?,
                    &resource,
                ))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let ends: Vec<Timestamp> = (0..count).map(end).collect();
        let each = (0..).zip(targets).zip(ends);
        Ok(each.map(move |((at, target), end)| {
            part.target = target;
            sample::active_until(sample::numbered(at), part.clone(), end)
        }))
    }
}

/// The `jitd` that is named, or the one that cargo builds as this program.
fn jitd() -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::args_os().nth(1) {
        return Ok(fs::canonicalize(named)?);
    }
    let examples = std::env::current_exe()?;
    let built = examples.parent().and_then(Path::parent);
    Ok(built.unwrap_or(Path::new(".")).join("jitd"))
}

// ---------------------------------------------------------------------------------------- measuring

/// Durations, in the order of their length.
struct Measured(Vec<Duration>);

impl Measured {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// In milliseconds; the last one at 100.
    fn at(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let it = self.0.get(last * percent / 100).copied();
        it.unwrap_or_default().as_secs_f64() * 1e3
    }
}

fn row(what: &str, figure: f64, aim: Option<f64>) {
    let verdict = match aim {
        None => String::new(),
        Some(most) if figure <= most => format!("<= {most} | met"),
        Some(most) => format!("<= {most} | MISSED"),
    };
    println!("| {what} | {figure:.1} | {verdict} |");
}

/// Answers to so many questions, one after the other.
async fn answered(url: &str, count: usize) -> Result<Measured, Failure> {
    let client = reqwest::Client::new();
    let mut took = vec![];
    for _ in 0..count {
        let began = Instant::now();
        client.get(url).send().await?.error_for_status()?;
        took.push(began.elapsed());
    }
    Ok(Measured::of(took))
}

/// A server that says a word and does nothing else.
async fn floor() -> Result<(), Failure> {
    let app = axum::Router::new().route("/health", axum::routing::get(async || "ok"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/health", listener.local_addr()?);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let took = answered(&url, 2_000).await?;
    serving.abort();
    row(
        "machine: a bare axum server answers: p50, ms",
        took.at(50),
        None,
    );
    row(
        "machine: a bare axum server answers: p99, ms",
        took.at(99),
        None,
    );
    Ok(())
}

async fn idle(slack: &SlackSim) -> Result<(), Failure> {
    let house = House::new(slack)?;
    let daemon = house.started(slack).await?;
    tokio::time::sleep(SETTLED).await;
    row("resident, idle, MiB", daemon.resident()?, Some(18.0));
    let took = answered(&format!("{}/health", house.observe), 2_000).await?;
    row("/health of jitd, idle: p50, ms", took.at(50), None);
    row("/health of jitd, idle: p99, ms", took.at(99), None);
    Ok(())
}

/// The median time from the start of the process to its being ready.
async fn ready(house: &House, slack: &SlackSim) -> Result<f64, Failure> {
    let mut took = vec![];
    for _ in 0..STARTS {
        took.push(house.started(slack).await?.ready);
    }
    Ok(Measured::of(took).at(50))
}

async fn many_stored(slack: &SlackSim) -> Result<(), Failure> {
    let house = House::new(slack)?;
    let store = house.store()?;
    let over = (0..STORED).map(|at| sample::over(sample::numbered(at)));
    sample::write(store.as_ref(), over).await?;
    drop(store);
    let took = ready(&house, slack).await?;
    row("exec to ready, 100,000 stored: p50, ms", took, Some(40.0));
    Ok(())
}

async fn many_live(slack: &SlackSim) -> Result<(), Failure> {
    let house = House::new(slack)?;
    let store = house.store()?;
    let end = SystemClock.now() + HOUR;
    sample::write(store.as_ref(), house.grants(STORED, |_| end)?).await?;
    drop(store);
    let took = ready(&house, slack).await?;
    row("exec to ready, 100,000 live grants: p50, ms", took, None);
    let daemon = house.started(slack).await?;
    tokio::time::sleep(SETTLED).await;
    let first = daemon.resident()?;
    row("resident, 100,000 live grants, MiB", first, Some(96.0));
    // Past the second time that all of them are read.
    tokio::time::sleep(Duration::from_secs(130)).await;
    row(
        "the same two minutes later, MiB",
        daemon.resident()?,
        Some(96.0),
    );
    Ok(())
}

async fn overdue(slack: &SlackSim) -> Result<(), Failure> {
    let house = House::new(slack)?;
    let store = house.store()?;
    let now = SystemClock.now();
    // Not in the order in which they were written: the ends of neighbours are far apart.
    let place = |at: u64| at * 7_919 % OVERDUE;
    let end = |at: u64| now - HOUR + Duration::from_millis(place(at) * 10);
    sample::write(store.as_ref(), house.grants(OVERDUE, end)?).await?;
    let began = SystemClock.now();
    let daemon = house.started(slack).await?;
    let ready = SystemClock.now();
    let mut health = vec![];
    let client = reqwest::Client::new();
    let mut looked = Instant::now();
    let groups = house.path("groups");
    while daemon.began.elapsed() < PATIENCE {
        let asked = Instant::now();
        let answer = client.get(format!("{}/health", house.observe)).send();
        answer.await?.error_for_status()?;
        health.push(asked.elapsed());
        tokio::time::sleep(ASKED_EVERY).await;
        if looked.elapsed() > Duration::from_secs(1) {
            looked = Instant::now();
            if fs::read_to_string(&groups)?.trim() == "admins: root-oncall" {
                break;
            }
        }
    }
    let took = daemon.began.elapsed();
    // What came of the last ones is written.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(daemon);
    let mut accepted = vec![];
    for at in 0..OVERDUE {
        let events = store.events(sample::numbered(at)).await?;
        accepted.push((taken_away(&events)?, place(at)));
    }
    accepted.sort_unstable();
    let first = accepted.first().map_or(ready, |(at, _)| *at);
    let since = |from: Timestamp| first.since(from).as_secs_f64() * 1e3;
    row(
        "10,000 overdue: exec to the first that is gone, ms",
        since(began),
        None,
    );
    row(
        "10,000 overdue: ready to the first that is gone, ms",
        since(ready),
        Some(100.0),
    );
    let astray = (0_u64..)
        .zip(&accepted)
        .map(|(at, (_, due))| at.abs_diff(*due));
    let astray = astray.max().unwrap_or_default();
    row(
        "10,000 overdue: furthest from its place in the row, places",
        astray as f64,
        None,
    );
    row("10,000 overdue: all are gone, s", took.as_secs_f64(), None);
    let health = Measured::of(health);
    row("/health meanwhile: p50, ms", health.at(50), None);
    row("/health meanwhile: p99, ms", health.at(99), Some(100.0));
    row("/health meanwhile: the slowest, ms", health.at(100), None);
    Ok(())
}

/// When it was written down that the provider had taken it away.
fn taken_away(events: &[Sealed]) -> Result<Timestamp, Failure> {
    for sealed in events {
        let event = sealed.event()?;
        if matches!(event.event.what, Fact::RevokeAnswered { .. }) {
            return Ok(event.at);
        }
    }
    Err("it was not taken away".into())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // It calls nobody over TLS, but its client wants to know how it would.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let workspace = Workspace::new("T0BENCH")
        .user(User::member("U0ANA", "Ana", "ana@example.com"))
        .user(User::member("U0BOB", "Bob", "bob@example.com"))
        .channel(Channel::public("C0ACCESS", "access-requests").with_bot());
    let slack = SlackSim::start(workspace).await;
    println!("| what | | aim | |\n|---|---|---|---|");
    floor().await?;
    idle(&slack).await?;
    many_stored(&slack).await?;
    many_live(&slack).await?;
    overdue(&slack).await
}
