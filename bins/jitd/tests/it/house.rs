//! An installation with a workspace that outlives its daemons: group file, store, configuration; and
//! people who do what they do in Slack whether or not a daemon is there.

use std::fmt::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jit_core::engine::verify_audit;
use jit_core::ports::{Delivery, Query, RequestStore};
use jit_core::request::AccessRequest;
use jit_runtime::build::open_store;
use jit_runtime::config::{Config, Environment};
use serde_json::{Value, json};
use slack_sim::{Channel, Message, SlackSim, User, Workspace};
use tempfile::TempDir;

use crate::process::{Process, jitd, read, until};
use crate::secrets::workspace_was_told;

pub(crate) const ANA: &str = "U0ANA";
pub(crate) const BOB: &str = "U0BOB";
pub(crate) const CHANNEL: &str = "C0ACCESS";
const TEAM: &str = "T0DEMO";
/// The configuration of the demonstration, without what is in it once for each group.
const CONFIG: &str = include_str!("../../src/demo/jit.toml");

/// How often a test that kills does so: this often, or as `JIT_KILL_ROUNDS` says.
#[allow(
    clippy::disallowed_methods,
    reason = "how long a test runs is no configuration of the product"
)]
pub(crate) fn rounds(few: usize) -> usize {
    let said = std::env::var("JIT_KILL_ROUNDS");
    said.map_or(few, |said| said.parse().unwrap())
}

pub(crate) struct House {
    folder: TempDir,
    pub(crate) slack: SlackSim,
    store: Arc<dyn RequestStore>,
    groups_before: String,
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            workspace_was_told(&self.slack, &[ANA, BOB], &[CHANNEL]);
        }
    }
}

/// Where a daemon is.
pub(crate) struct Served {
    pub(crate) api: String,
    pub(crate) observe: String,
}

/// The group that a request of this number is for.
pub(crate) fn entitlement(number: usize) -> String {
    format!("groupfile/g{number:04}")
}

impl House {
    /// With so many groups to ask for.
    pub(crate) async fn new(groups: usize) -> Self {
        let workspace = Workspace::new(TEAM)
            .user(User::member(ANA, "Ana", "ana@example.com"))
            .user(User::member(BOB, "Bob", "bob@example.com"))
            .channel(
                Channel::public(CHANNEL, "access-requests")
                    .with_bot()
                    .members(&[ANA, BOB]),
            );
        let slack = SlackSim::start(workspace).await;
        let folder = tempfile::tempdir().unwrap();
        let mut config = CONFIG.replace("SLACK_API", &slack.api_url());
        let mut groups_before = String::from("admins: root-oncall\n");
        for number in 0..groups {
            let id = entitlement(number);
            writeln!(
                config,
                "\n[[entitlement]]\nid = \"{id}\"\ntitle = \"A group\"\n\
                 how_to_use = \"Sign in.\"\ntier = \"standard\""
            )
            .unwrap();
            writeln!(groups_before, "g{number:04}: root-oncall").unwrap();
        }
        std::fs::write(folder.path().join("jit.toml"), config).unwrap();
        std::fs::write(folder.path().join("groups"), &groups_before).unwrap();
        let mut private = std::fs::OpenOptions::new();
        let env = folder.path().join(".env");
        let mut env = private
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(env)
            .unwrap();
        let tokens = format!(
            "JIT_SLACK_BOT_TOKEN='{}'\nJIT_SLACK_APP_TOKEN='{}'\nJIT_SLACK_SIGNING_SECRET='{}'\n",
            slack.bot_token(),
            slack.app_token(),
            slack.signing_secret()
        );
        std::io::Write::write_all(&mut env, tokens.as_bytes()).unwrap();
        let read = Config::read(&folder.path().join("jit.toml"), &Environment::default()).unwrap();
        let store = open_store(&read.store).await.unwrap();
        Self {
            folder,
            slack,
            store,
            groups_before,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on daemons are called by Slack, at an address that is theirs.
    pub(crate) fn is_called(&self) {
        let file = self.path("jit.toml");
        let config = read(&file).replace("transport = \"socket\"", "transport = \"http\"");
        std::fs::write(file, config).unwrap();
    }

    /// Starts a daemon; with where its API and what watches it are.
    pub(crate) fn served(&self) -> (Process, Served) {
        let file = self.path("jit.toml").display().to_string();
        Self::started(jitd(&["run", "--config", &file]))
    }

    /// The same for a daemon that knows this certificate authority alone.
    pub(crate) fn served_trusting(&self, authority: &Path) -> (Process, Served) {
        let file = self.path("jit.toml").display().to_string();
        let mut command = jitd(&["run", "--config", &file]);
        command.env("SSL_CERT_FILE", authority);
        Self::started(command)
    }

    fn started(mut command: Command) -> (Process, Served) {
        command.env("JIT_LOG_FORMAT", "json");
        let mut process = Process::start(command);
        let line: Value = serde_json::from_str(&process.hears("serving")).unwrap();
        let address = |name: &str| format!("http://{}", line["fields"][name].as_str().unwrap());
        let (api, observe) = (address("api"), address("observe"));
        (process, Served { api, observe })
    }

    /// Starts a daemon, and waits until the workspace has a connection to it.
    pub(crate) async fn daemon(&self) -> Process {
        let file = self.path("jit.toml").display().to_string();
        let mut process = Process::start(jitd(&["run", "--config", &file]));
        process.hears("serving");
        until("the workspace has a connection", async || {
            self.slack.connections() > 0
        })
        .await;
        process
    }

    pub(crate) async fn requests(&self) -> Vec<AccessRequest> {
        let all = Query {
            limit: 1_000,
            ..Query::default()
        };
        self.store.query(&all).await.unwrap()
    }

    /// The requests of this number; there must never be two.
    pub(crate) async fn request(&self, number: usize) -> Option<AccessRequest> {
        let wanted = entitlement(number);
        let mut found = self.requests().await;
        found.retain(|it| it.parts.first().entitlement.to_string() == wanted);
        assert!(found.len() < 2, "asked for twice: {found:#?}");
        found.pop()
    }

    /// Ana sends the form for this number; whether it was acknowledged. Sent again it is the same
    /// form.
    pub(crate) async fn ask(&self, number: usize, secs: u64) -> bool {
        self.ask_because(number, secs, "the front page is broken")
            .await
    }

    /// The same for this reason.
    pub(crate) async fn ask_because(&self, number: usize, secs: u64, reason: &str) -> bool {
        let sent = json!({
            "type": "view_submission", "user": {"id": ANA}, "team": {"id": TEAM},
            "view": {
                "id": format!("V0KILL{number}"), "hash": "1.abc", "callback_id": "jit_request",
                "private_metadata": "{}",
                "state": {"values": {
                    "a": {"target": {"selected_option": {"value": entitlement(number)}}},
                    "b": {"duration": {"selected_option": {"value": secs.to_string()}}},
                    "c": {"reason": {"value": reason}},
                }},
            },
        });
        let ana = self.slack.user(ANA);
        self.slack
            .raw(Some(&ana), "interactive", sent)
            .await
            .acked()
    }

    /// The cards of this number, as Bob sees them.
    pub(crate) async fn cards(&self, number: usize) -> Vec<Message> {
        let wanted = entitlement(number);
        let mut seen = self.slack.user(BOB).messages(CHANNEL).await;
        seen.retain(|it| it.thread_ts.is_none() && !it.ephemeral && it.words().contains(&wanted));
        seen
    }

    /// Whether the daemons know where the card of every request is, so that none will post another.
    pub(crate) async fn knows_every_card(&self) -> bool {
        for request in self.requests().await {
            let deliveries = self.store.deliveries(request.id).await.unwrap();
            let known = |it: &Delivery| it.key.target == CHANNEL && it.message.is_some();
            if !deliveries.iter().any(known) {
                return false;
            }
        }
        true
    }

    /// A card of this number on which Bob can approve, waited for.
    pub(crate) async fn card(&self, number: usize) -> Message {
        let mut card = None;
        until("there is a card", async || {
            let cards = self.cards(number).await;
            card = cards.into_iter().find(|it| it.shows("jit_approve"));
            card.is_some()
        })
        .await;
        card.unwrap()
    }

    /// Bob approves on this card, whatever it shows by now; whether it was acknowledged.
    pub(crate) async fn approve(&self, card: &Message) -> bool {
        let bob = self.slack.user(BOB);
        bob.stale_click(card, "jit_approve").await.acked()
    }

    /// What was acknowledged and not done is so many seconds older; how many clicks are among it.
    pub(crate) fn age_inputs(&self, secs: i64) -> usize {
        let store = rusqlite::Connection::open(self.path("jit.db")).unwrap();
        let older = "UPDATE inbox SET received_at = received_at - ?1, taken_at = taken_at - ?1
            WHERE done = 0";
        store.execute(older, [secs * 1_000_000]).unwrap();
        let clicks = "SELECT count(*) FROM inbox WHERE done = 0 AND key LIKE 'click/%'";
        let clicks: i64 = store.query_row(clicks, [], |row| row.get(0)).unwrap();
        clicks.try_into().unwrap()
    }

    /// How much of what was acknowledged is not done.
    pub(crate) fn inputs_left(&self) -> i64 {
        let store = rusqlite::Connection::open(self.path("jit.db")).unwrap();
        let left = "SELECT count(*) FROM inbox WHERE done = 0";
        store.query_row(left, [], |row| row.get(0)).unwrap()
    }

    /// Waits until nothing is owed any more; then everything must be as before.
    pub(crate) async fn ends_as_it_began(&self) {
        until("everything is over", async || {
            let all = self.requests().await;
            all.iter().all(|it| it.status().is_over())
        })
        .await;
        assert_eq!(read(&self.path("groups")), self.groups_before);
        let report = verify_audit(&*self.store).await.unwrap();
        assert!(report.problems.is_empty(), "{report:#?}");
        assert!(report.events > 0);
    }
}
