//! How long the approval service takes from the asking to the credential, beside the bare making of a
//! token at the same Vault, and what a thousand agents that poll once a second get:
//! `cargo run --release -p jitd --example approval`. `jitd` is a process of its own with its store on
//! disk, called over HTTP; build it first. `JIT_BENCH_SECONDS` says for how long the agents poll.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures by the machine's clock"
)]

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use vault_sim::{AppRole, Capability, Fault, Rule, Setup, Sim, TokenRole};

type Failure = Box<dyn Error + Send + Sync>;

/// Agents that poll; each has asked for something that nobody decides.
const AGENTS: usize = 1_000;
/// Programs that ask and collect, in turn, so that none asks too often.
const PROGRAMS: usize = 100;
/// How often one asks and collects, for each kind of Vault.
const ROUNDS: usize = 1_000;
/// What a Vault behind a network takes for a token.
const NETWORK: Duration = Duration::from_millis(20);
const SECONDS: u64 = 60;
const KEY: &str = "key-of-every-agent-in-the-bench";
const ROOT: &str = "hvs.simulated-root";

// ------------------------------------------------------------------------------- what is measured

/// Kills the daemon at the end, whatever the end is.
struct Daemon {
    child: Child,
    api: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn furnish(vault: &Sim) -> String {
    use Capability::{Read, Update};
    let world = vault.world();
    world.put_policy(
        "jit-access",
        &[
            ("auth/token/create/jit", &[Update]),
            ("auth/token/lookup-accessor", &[Update]),
            ("auth/token/revoke-accessor", &[Update]),
        ],
    );
    world.put_policy("jit-radarr", &[("homelab/data/docker/radarr", &[Read])]);
    world.put_token_role(TokenRole {
        renewable: false,
        token_type: Some("service".to_owned()),
        ..TokenRole::new("jit", &["jit-radarr"])
    });
    world.put_app_role(AppRole::new("jit-access", "the-role-id", &["jit-access"]));
    world.secret_id("jit-access", None)
}

fn names() -> Vec<String> {
    let agents = (0..AGENTS).map(|at| format!("agent-{at}"));
    let programs = (0..PROGRAMS).map(|at| format!("program-{at}"));
    agents.chain(programs).collect()
}

fn configuration(vault: &str) -> Result<String, Failure> {
    let names = names();
    let mut text = format!(
        r#"[store]
sqlite = "jit.db"
[http]
listen = "127.0.0.1:0"
observe = "127.0.0.1:0"
[log]
format = "events"
[approval_service]
requesters = {names:?}
resources = {{ gitlab = "vault/gitlab", radarr = "vault/radarr" }}
[[person]]
id = "bob@example.com"
[[rule]]
name = "bob decides"
rights = ["approve"]
entitlements = ["*"]
principals = ["bob@example.com"]
[[provider]]
name = "vault"
kind = "vault"
address = "{vault}"
[[tier]]
name = "tier1"
approvals = 0
ttl_default = "15m"
ttl_max = "15m"
automatic = {{ ceiling = 1000, per = "1h" }}
[[tier]]
name = "tier2"
approvals = 1
ttl_default = "30m"
ttl_max = "30m"
decision_window = "1h"
[[entitlement]]
id = "vault/radarr"
tier = "tier1"
title = "Radarr"
resource = "jit-radarr@jit"
[[entitlement]]
id = "vault/gitlab"
tier = "tier2"
title = "GitLab"
resource = "jit-gitlab@jit"
"#
    );
    for (at, some) in names.chunks(50).enumerate() {
        write!(
            text,
            "[[rule]]\nname = \"services {at}\"\nrights = [\"request\"]\nentitlements = [\"*\"]\n\
             principals = {some:?}\n"
        )?;
    }
    for name in names {
        writeln!(text, "[[service]]\nid = \"{name}\"")?;
    }
    Ok(text)
}

async fn started(folder: &Path, secret_id: &str) -> Result<Daemon, Failure> {
    let examples = std::env::current_exe()?;
    let built = examples.parent().and_then(Path::parent);
    let jitd = built.unwrap_or(Path::new(".")).join("jitd");
    let log = folder.join("log");
    let child = Command::new(jitd)
        .arg("run")
        .current_dir(folder)
        .env_clear()
        .env("VAULT_ROLE_ID", "the-role-id")
        .env("VAULT_SECRET_ID", secret_id)
        .env("JIT_API_KEY", KEY)
        .stdout(std::fs::File::create(&log)?)
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut daemon = Daemon {
        child,
        api: String::new(),
    };
    for _ in 0..600 {
        let said = std::fs::read_to_string(&log)?;
        let serving = said.lines().find(|line| line.contains("\"serving\""));
        if let Some(line) = serving.and_then(|line| serde_json::from_str::<Value>(line).ok()) {
            let api = line.get("api").and_then(Value::as_str);
            daemon.api = api.unwrap_or_default().to_owned();
            return Ok(daemon);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("jitd never served".into())
}

/// What is resident of a process, in MiB.
fn resident(daemon: &Daemon) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id()))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .unwrap_or_default()
        .trim_end_matches("kB")
        .trim()
        .parse()?;
    Ok(kib / 1_024.0)
}

// ------------------------------------------------------------------------------------ a small client

/// One connection that is kept.
struct Connection {
    stream: TcpStream,
    host: String,
}

impl Connection {
    async fn to(host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let host = host.to_owned();
        Ok(Self { stream, host })
    }

    /// One call, answered with a length.
    async fn call(&self, line: &str, header: &str, body: &str) -> Result<Value, Failure> {
        let host = &self.host;
        let text = format!(
            "{line} HTTP/1.1\r\nhost: {host}\r\n{header}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut left = text.as_bytes();
        while !left.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(left) {
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        let answer = self.answer().await?;
        Ok(serde_json::from_str(&answer)?)
    }

    async fn answer(&self) -> Result<String, Failure> {
        let mut got: Vec<u8> = vec![];
        loop {
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut got) {
                Ok(0) => return Err("the connection ended".into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            let text = String::from_utf8_lossy(&got);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|it| it.strip_prefix("content-length:"));
            let length: usize = length.unwrap_or("0").trim().parse()?;
            if body.len() >= length {
                return Ok(body.to_owned());
            }
        }
    }

    async fn file(&self, requester: &str, resource: &str, tier: u8) -> Result<String, Failure> {
        let ask = json!({"requester": requester, "resource": resource, "tier": tier,
                         "reason": "measured"});
        let key = format!("x-jit-api-key: {KEY}");
        let filed = self.call("POST /request", &key, &ask.to_string()).await?;
        let id = filed.get("request_id").and_then(Value::as_str);
        Ok(id.ok_or_else(|| filed.to_string())?.to_owned())
    }

    async fn poll(&self, id: &str) -> Result<Value, Failure> {
        let key = format!("x-jit-api-key: {KEY}");
        self.call(&format!("GET /status/{id}"), &key, "").await
    }
}

// ------------------------------------------------------------------------------------------ measuring

/// Durations, in milliseconds, in the order of their length.
struct Measured(Vec<f64>);

impl Measured {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort();
        Self(all.iter().map(|it| it.as_secs_f64() * 1e3).collect())
    }

    fn at(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    }

    fn row(&self, what: &str, aim: &str) {
        println!(
            "| {what} | {:.2} | {:.2} | {aim} |",
            self.at(50),
            self.at(99)
        );
    }
}

fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// A token by itself, on a connection of its own, as a change at Vault is sent.
async fn bare(vault: &str) -> Result<Duration, Failure> {
    let start = Instant::now();
    let connection = Connection::to(vault).await?;
    let token = format!("x-vault-token: {ROOT}");
    let body = json!({"policies": ["jit-radarr"], "ttl": "900s", "renewable": false});
    connection
        .call("POST /v1/auth/token/create/jit", &token, &body.to_string())
        .await?;
    Ok(start.elapsed())
}

/// From the asking until the credential is in hand.
async fn collected(connection: &Connection, requester: &str) -> Result<Duration, Failure> {
    let start = Instant::now();
    let id = connection.file(requester, "radarr", 1).await?;
    loop {
        let polled = connection.poll(&id).await?;
        if polled.get("credential").is_some() {
            return Ok(start.elapsed());
        }
        if polled.get("error").is_some() {
            return Err(polled.to_string().into());
        }
    }
}

async fn asked(vault: &Sim, api: &str, latency: Option<Duration>) -> Result<(), Failure> {
    let host = vault.url().trim_start_matches("http://").to_owned();
    if let Some(latency) = latency {
        vault
            .world()
            .rule(Rule::at("auth/token/create", Fault::Slow(latency)));
    }
    let connection = Connection::to(api).await?;
    let (mut alone, mut whole) = (vec![], vec![]);
    for round in 0..ROUNDS + PROGRAMS {
        let program = format!("program-{}", round % PROGRAMS);
        let (bare, collected) = (bare(&host).await?, collected(&connection, &program).await?);
        // The first of each program warms up.
        if round >= PROGRAMS {
            alone.push(bare);
            whole.push(collected);
        }
    }
    vault.world().calm();
    let (alone, whole) = (Measured::of(alone), Measured::of(whole));
    let millis = latency.map_or(0, |it| it.as_millis());
    alone.row(&format!("a token by itself, Vault + {millis} ms"), "");
    let times = whole.at(99) / alone.at(99);
    let aim = format!("p99 <= 1.5x: {times:.2}x {}", met(times <= 1.5));
    whole.row(&format!("asked to credential, Vault + {millis} ms"), &aim);
    Ok(())
}

/// One agent: asks once, and then polls once a second, whatever the last poll took.
async fn agent(api: String, at: usize, until: Instant) -> Result<Vec<Duration>, Failure> {
    let connection = Connection::to(&api).await?;
    let id = connection.file(&format!("agent-{at}"), "gitlab", 2).await?;
    let mut due = Instant::now() + Duration::from_millis(at as u64);
    let mut all = vec![];
    while due < until {
        tokio::time::sleep_until(due.into()).await;
        let polled = connection.poll(&id).await?;
        all.push(due.elapsed());
        if polled.get("status").and_then(Value::as_str) != Some("pending") {
            return Err(polled.to_string().into());
        }
        due += Duration::from_secs(1);
    }
    Ok(all)
}

async fn polled(daemon: &Daemon) -> Result<(), Failure> {
    let secs = std::env::var("JIT_BENCH_SECONDS").ok();
    let secs = secs.map_or(Ok(SECONDS), |secs| secs.parse())?;
    let until = Instant::now() + Duration::from_secs(secs + 5);
    let mut agents = JoinSet::new();
    for at in 0..AGENTS {
        agents.spawn(agent(daemon.api.clone(), at, until));
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = resident(daemon)?;
    let mut all = vec![];
    while let Some(agent) = agents.join_next().await {
        // The first polls fall among the asking of others.
        all.extend(agent??.into_iter().skip(5));
    }
    let after = resident(daemon)?;
    let count = all.len();
    let all = Measured::of(all);
    let aim = format!("p99 <= 20: {}", met(all.at(99) <= 20.0));
    all.row(&format!("{AGENTS} agents, {count} polls in {secs} s"), &aim);
    let grown = after - before;
    println!(
        "| resident after 10 s, and at the end, MiB | {before:.1} | {after:.1} | flat: {} |",
        met(grown <= 2.0)
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let vault = Sim::start(Setup::default())?;
    let secret_id = furnish(&vault);
    let folder = tempfile::tempdir_in(std::env::current_exe()?.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(folder.path().join("jit.toml"), configuration(&vault.url())?)?;
    let daemon = started(folder.path(), &secret_id).await?;
    println!("{ROUNDS} rounds for each Vault; the store is on disk\n");
    println!("| what, ms | p50 | p99 | aim |\n|---|---|---|---|");
    asked(&vault, &daemon.api, None).await?;
    asked(&vault, &daemon.api, Some(NETWORK)).await?;
    polled(&daemon).await
}
