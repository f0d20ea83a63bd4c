//! The apps that are measured, each a process of its own: how it is started, and what the system
//! says of it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{APPROVERS, ENTITLEMENTS};
use crate::slack::{CHANNEL, FastSlack};
use crate::{Failure, Settings};

/// Ticks of `/proc/PID/stat` in a second; Linux shows every program a hundred.
const TICKS: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Python,
    Node,
    Floor,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Ours, Self::Python, Self::Node, Self::Floor];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Python => "bolt for Python",
            Self::Node => "bolt for Node",
            Self::Floor => "floor",
        }
    }
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct App {
    child: Child,
    started_at: Instant,
}

impl App {
    /// Starts it in this folder, for this many people, and returns at once.
    pub(crate) fn start(
        kind: Kind,
        settings: &Settings,
        folder: &Path,
        slack: &FastSlack,
        people: u32,
    ) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let api = slack.api();
        let mut command = match kind {
            Kind::Ours => {
                let config = write_installation(folder, &api, people)?;
                let mut command = Command::new(&settings.jitd);
                command.args(["run", "--config"]).arg(config);
                command.env("JIT_SLACK_BOT_TOKEN", "xoxb-bench");
                command.env("JIT_SLACK_APP_TOKEN", "xapp-bench");
                command
            }
            Kind::Python => {
                let mut command = Command::new(&settings.python);
                command.arg(settings.scripts.join("bolt.py")).arg(&api);
                command
            }
            Kind::Node => {
                let mut command = Command::new(&settings.node);
                command.arg(settings.scripts.join("bolt.mjs"));
                command.arg(&settings.modules).arg(&api);
                command
            }
            Kind::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("floor").arg(&api);
                command
            }
        };
        let log = File::create(folder.join("log"))?;
        command.stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let started_at = Instant::now();
        let child = command.spawn()?;
        Ok(Self { child, started_at })
    }

    /// How long it took from its start to its first connection.
    pub(crate) async fn connected(&mut self, slack: &FastSlack) -> Result<Duration, Failure> {
        loop {
            if let Some(at) = slack.hello_at() {
                return Ok(at.duration_since(self.started_at));
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status} before it was connected").into());
            }
            if self.started_at.elapsed() > Duration::from_secs(30) {
                return Err("it was not connected within 30 s".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The time that processors spent on it.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold anything; user and system time are the 12th and 13th after.
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc has no stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u32 = ticks.filter_map(|it| it.parse::<u32>().ok()).sum();
        Ok(Duration::from_secs(1) * ticks / TICKS)
    }

    /// What it has in memory, in MiB.
    pub(crate) fn resident(&self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: f64 = kib.ok_or("/proc has no VmRSS")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A whole installation: configuration, group file, and nothing yet in the store.
fn write_installation(folder: &Path, api: &str, people: u32) -> Result<PathBuf, Failure> {
    let mut groups = String::new();
    let mut text = format!(
        r#"[store]
sqlite = "jit.db"

[http]
listen = "127.0.0.1:0"
observe = "127.0.0.1:0"

[[provider]]
name = "groupfile"
kind = "groupfile"
file = "groups"

[[tier]]
name = "standard"
ttl_default = "1h"
ttl_max = "8h"
approvals = 1
decision_window = "4h"

[[rule]]
name = "everybody may ask"
rights = ["request"]
entitlements = ["*"]
principals = ["*"]

[[rule]]
name = "operations decide"
rights = ["approve", "revoke"]
entitlements = ["*"]
principals = ["group:operations"]

[slack]
transport = "socket"
api = "{api}"

[[slack.route]]
entitlements = "*"
channel = "{CHANNEL}"
"#
    );
    for number in 0..ENTITLEMENTS {
        writeln!(groups, "g{number}:")?;
        writeln!(
            text,
            "\n[[entitlement]]\nid = \"groupfile/g{number}\"\ntitle = \"Group {number}\"\n\
             how_to_use = \"Sign in again.\"\ntier = \"standard\""
        )?;
    }
    for number in 0..people {
        writeln!(
            text,
            "\n[[person]]\nid = \"p{number}@example.com\"\nslack = \"{}\"\n\
             subjects = {{ groupfile = \"p{number}\" }}",
            crate::load::asker(number)
        )?;
    }
    for number in 0..APPROVERS {
        writeln!(
            text,
            "\n[[person]]\nid = \"a{number}@example.com\"\nslack = \"{}\"\n\
             groups = [\"operations\"]\nsubjects = {{ groupfile = \"a{number}\" }}",
            crate::load::approver(number)
        )?;
    }
    fs::write(folder.join("groups"), groups)?;
    let config = folder.join("jit.toml");
    fs::write(&config, text)?;
    Ok(config)
}
