//! A whole installation in a temporary folder for tests: a configuration file, a store, a group
//! file, tokens, daemons on free ports, and callers over HTTP. Everything is real except the time
//! that people take.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::engine::{ClockTrust, Engine};
use jit_core::ports::{Alarm, Pager, PortError};
use jit_runtime::build::Adapters;
use jit_runtime::clock::{OsRandom, SystemClock};
use jit_runtime::config::{Config, Environment};
use jit_runtime::daemon::{Daemon, LockOut};
use jit_runtime::operate::{Desk, Form, OperateError, Operation, Outcome, TokenVerb};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const ADMINS: &str = "groupfile/admins";
/// Far beyond what anything here takes, so that no test depends on a fast machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[store]
sqlite = "jit.db"

[http]
listen = "127.0.0.1:0"
observe = "127.0.0.1:0"

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

[[rule]]
name = "operations operate"
rights = ["audit", "operate"]
entitlements = ["*"]
principals = ["group:operations"]

[[person]]
id = "ana@example.com"
aliases = ["ana"]
subjects = { groupfile = "ana" }

[[person]]
id = "bob@example.com"
aliases = ["bob"]
groups = ["operations"]
subjects = { groupfile = "bob" }

[audit]
csv = "audit_log.csv"

[worker]
tick_ms = 50
"#;

pub(crate) const GROUPS: &str = "# by hand\nadmins: root-oncall\nreaders: dora\n";

/// An installation. Its folder goes with it.
pub(crate) struct House {
    pub(crate) folder: TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("jit.toml"), CONFIG).unwrap();
        std::fs::write(folder.path().join("groups"), GROUPS).unwrap();
        Self { folder }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn groups(&self) -> String {
        std::fs::read_to_string(self.file("groups")).unwrap()
    }

    pub(crate) fn set_groups(&self, text: &str) {
        std::fs::write(self.file("groups"), text).unwrap();
    }

    /// Writes the configuration with this text in the place of that, under a name of its own.
    pub(crate) fn rewrite(&self, name: &str, replace: &[(&str, &str)]) -> PathBuf {
        let mut text = CONFIG.to_owned();
        for (from, to) in replace {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let file = self.file(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    pub(crate) fn config(&self) -> Config {
        self.config_at("jit.toml")
    }

    pub(crate) fn config_at(&self, name: &str) -> Config {
        Config::read(&self.file(name), &Environment::default()).unwrap()
    }

    /// Carries out an operator's verb; the answer as `--json` prints it.
    pub(crate) async fn operate(&self, operation: Operation) -> (Outcome, Value) {
        let (outcome, text) = self.operate_in(Form::Json, operation).await.unwrap();
        (outcome, serde_json::from_str(&text).unwrap())
    }

    pub(crate) async fn operate_in(
        &self,
        form: Form,
        operation: Operation,
    ) -> Result<(Outcome, String), OperateError> {
        let (mut out, mut remarks) = (Vec::new(), Vec::new());
        let mut desk = Desk {
            config: self.file("jit.toml"),
            environment: Environment::default(),
            form,
            out: &mut out,
            remarks: &mut remarks,
            clock: &SystemClock,
            random: &OsRandom,
        };
        let outcome = desk.run(operation).await?;
        Ok((outcome, String::from_utf8(out).unwrap()))
    }

    pub(crate) async fn token(&self, who: &str) -> String {
        let verb = TokenVerb::New {
            principal: who.parse().unwrap(),
            ttl: None,
            label: String::new(),
            out: None,
        };
        let (_, made) = self.operate(Operation::Token(verb)).await;
        made["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn daemon(&self) -> Running {
        let config = self.config();
        let adapters = Adapters::open(&config).await.unwrap();
        Running::of(config, adapters).await
    }

    /// Ana's and Bob's ways into this daemon.
    pub(crate) async fn callers(&self, running: &Running) -> (Caller, Caller) {
        let ana = running.caller(self.token("ana").await);
        (ana, running.caller(self.token("bob").await))
    }
}

/// A daemon that runs.
pub(crate) struct Running {
    pub(crate) api: String,
    pub(crate) observe: String,
    pub(crate) engine: Arc<Engine>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub(crate) async fn of(config: Config, adapters: Adapters) -> Self {
        let daemon = Daemon::start_with(config, adapters, ClockTrust::Compared, LockOut::Allowed);
        let daemon = daemon.await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let url = |address| format!("http://{address}");
        Self {
            api: url(daemon.api_address().unwrap()),
            observe: url(daemon.observe_address().unwrap()),
            engine: Arc::clone(daemon.engine()),
            stop,
            task: tokio::spawn(daemon.run(async {
                let _ = stopped.await;
            })),
        }
    }

    pub(crate) fn caller(&self, token: String) -> Caller {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Caller {
            client: reqwest::Client::new(),
            api: self.api.clone(),
            token,
        }
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// As SIGKILL does, but for the process.
    pub(crate) async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(crate) async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.observe);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }
}

/// Somebody with a token.
#[derive(Clone)]
pub(crate) struct Caller {
    client: reqwest::Client,
    api: String,
    token: String,
}

impl Caller {
    /// The same person at another daemon's door.
    pub(crate) fn at(&self, running: &Running) -> Self {
        Self {
            api: running.api.clone(),
            ..self.clone()
        }
    }

    async fn answered(&self, call: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = call.bearer_auth(&self.token).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.api);
        self.answered(self.client.get(url)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.api);
        self.answered(self.client.post(url).json(body)).await
    }

    pub(crate) async fn ask(&self, ttl: &str) -> (u16, Value) {
        self.ask_for(ADMINS, ttl).await
    }

    async fn ask_for(&self, entitlement: &str, ttl: &str) -> (u16, Value) {
        let body = json!({
            "entitlements": [{ "entitlement": entitlement }],
            "ttl": ttl,
            "reason": "the disk is full",
        });
        self.post("/v1/requests", &body).await
    }

    /// Asks, and expects that it may.
    pub(crate) async fn asked(&self, ttl: &str) -> String {
        self.asked_for(ADMINS, ttl).await
    }

    /// The same for something else.
    pub(crate) async fn asked_for(&self, entitlement: &str, ttl: &str) -> String {
        let (status, request) = self.ask_for(entitlement, ttl).await;
        assert_eq!(status, 201, "{request}");
        request["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn show(&self, id: &str) -> Value {
        let (status, request) = self.get(&format!("/v1/requests/{id}")).await;
        assert_eq!(status, 200, "{request}");
        request
    }

    pub(crate) async fn decide(&self, id: &str, decision: &str) -> (u16, Value) {
        let digest = self.show(id).await["digest"].clone();
        let mut body = json!({ "decision": decision, "digest": digest });
        if decision == "deny" {
            body["reason"] = "not today".into();
        }
        self.post(&format!("/v1/requests/{id}/decide"), &body).await
    }

    /// Approves, and expects that it may.
    pub(crate) async fn approve(&self, id: &str) -> Value {
        let (status, request) = self.decide(id, "approve").await;
        assert_eq!(status, 200, "{request}");
        request
    }

    /// Waits until the request has this status.
    pub(crate) async fn wait_for(&self, id: &str, status: &str) -> Value {
        until(&format!("{id} is {status}"), async || {
            let request = self.show(id).await;
            (request["status"] == status).then_some(request)
        })
        .await
    }
}

/// Waits until there is an answer.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looked = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looked).await;
    found.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A pager that keeps what it was handed.
#[derive(Debug, Default)]
pub(crate) struct Kept(pub(crate) Mutex<Vec<Alarm>>);

impl Kept {
    /// All but those of members whom somebody wrote into the group file by hand.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = self.0.lock().unwrap().clone();
        alarms.retain(|alarm| !alarm.summary.contains("that no grant explains"));
        alarms
    }
}

#[async_trait]
impl Pager for Kept {
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError> {
        self.0.lock().unwrap().push(alarm.clone());
        Ok(())
    }
}
