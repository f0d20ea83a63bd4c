//! An approval service as a process, with a Vault and services that make tokens on this machine: set
//! up by its variables alone, or by a file beside them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use jit_core::ports::Clock;
use jit_runtime::clock::SystemClock;
use serde_json::{Value, json};
use services_sim::{Grafana, HomeAssistant, InfluxDb, Now};
use tempfile::TempDir;
use vault_sim::{AppRole, Capability, Setup, Sim, TokenRole};

use crate::process::{Process, fetch_as, jitd, program, ran, text};

pub(crate) const KEY: &str = "key-of-prometheus-canary-01";
pub(crate) const ROOT: &str = "hvs.root-canary-02";
pub(crate) const ROLE_ID: &str = "role-id-canary-03";
pub(crate) const GRAFANA_ADMIN: &str = "glsa_admin-canary-04";
pub(crate) const INFLUXDB_ADMIN: &str = "influx-admin-canary-05";
pub(crate) const REFRESH_TOKEN: &str = "refresh-canary-06";
/// What each secret in Vault that is only read by others begins with.
pub(crate) const KEPT: &str = "kept-canary-07-";
const PRESET: &str = include_str!("../../../../../docs/examples/approval-service.toml");
const ORGANIZATION: &str = "0123456789abcdef";

/// What stands in Vault, each read by a policy of its own.
const STATIC: [&str; 9] = [
    "deluge",
    "gitlab",
    "nzbget",
    "ombi",
    "paperless",
    "plex",
    "radarr",
    "sonarr",
    "gmail",
];

pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) vault: Sim,
    pub(crate) grafana: Grafana,
    pub(crate) influxdb: InfluxDb,
    pub(crate) home_assistant: HomeAssistant,
    pub(crate) secret_id: String,
    variables: BTreeMap<&'static str, String>,
}

/// The time of this machine, in microseconds.
pub(crate) fn now() -> i64 {
    SystemClock.now().unix_micros()
}

fn wall() -> Now {
    Arc::new(now)
}

pub(crate) fn secret_path(resource: &str) -> String {
    format!("homelab/data/docker/{resource}")
}

/// Puts into a Vault what the service needs there, as its documentation says.
fn furnish(vault: &Sim) -> String {
    use Capability::{Read, Update};
    let world = vault.world();
    let docker = ["grafana", "homeassistant", "influxdb"].map(secret_path);
    world.put_policy(
        "jit-access",
        &[
            ("auth/token/create/jit", &[Update]),
            ("auth/token/lookup-accessor", &[Update]),
            ("auth/token/revoke-accessor", &[Update]),
            ("auth/token/renew-self", &[Update]),
            (&docker[0], &[Read]),
            (&docker[1], &[Read]),
            (&docker[2], &[Read]),
        ],
    );
    let all = STATIC
        .iter()
        .chain(&["grafana", "homeassistant", "influxdb"]);
    let mut allowed = vec![];
    for name in all {
        let policy = format!("jit-{name}");
        world.put_policy(&policy, &[(&secret_path(name), &[Read])]);
        allowed.push(policy);
    }
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    world.put_token_role(TokenRole {
        renewable: false,
        token_type: Some("service".to_owned()),
        ..TokenRole::new("jit", &allowed)
    });
    world.put_app_role(AppRole::new("jit-access", ROLE_ID, &["jit-access"]));
    for name in STATIC {
        let kept = format!("{KEPT}{name}");
        world.put_secret(&secret_path(name), json!({"api_key": kept}));
    }
    world.put_secret(
        &docker[0],
        json!({"jit_admin_token": GRAFANA_ADMIN, "service_account_id": "5"}),
    );
    world.put_secret(
        &docker[1],
        json!({"refresh_token": REFRESH_TOKEN, "client_id": "https://jit.example.com"}),
    );
    world.put_secret(
        &docker[2],
        json!({"admin_token": INFLUXDB_ADMIN, "org_id": ORGANIZATION}),
    );
    world.secret_id("jit-access", None)
}

impl House {
    /// With every service at its place, and nothing but the variables that say so.
    pub(crate) async fn new() -> Self {
        let setup = Setup {
            root_token: ROOT.to_owned(),
            ..Setup::default()
        };
        let vault = Sim::start(setup).unwrap();
        let secret_id = furnish(&vault);
        let grafana = Grafana::start(5, GRAFANA_ADMIN, wall()).await;
        let influxdb = InfluxDb::start(ORGANIZATION, INFLUXDB_ADMIN).await;
        let client = "https://jit.example.com";
        let home_assistant = HomeAssistant::start(REFRESH_TOKEN, client, wall()).await;
        let variables = BTreeMap::from([
            ("VAULT_ADDR", vault.url()),
            ("VAULT_ROLE_ID", ROLE_ID.to_owned()),
            ("VAULT_SECRET_ID", secret_id.clone()),
            ("JIT_API_KEY", KEY.to_owned()),
            ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
            ("JIT_OBSERVE", "127.0.0.1:0".to_owned()),
            ("GRAFANA_URL", grafana.url().to_owned()),
            ("INFLUXDB_URL", influxdb.url().to_owned()),
            ("HA_URL", home_assistant.url().to_owned()),
        ]);
        Self {
            folder: tempfile::tempdir().unwrap(),
            vault,
            grafana,
            influxdb,
            home_assistant,
            secret_id,
            variables,
        }
    }

    /// The same with a file, in which everything is given for so many seconds, and in which Bob
    /// decides what is of tier 2.
    pub(crate) async fn with_file(secs: u64) -> Self {
        let mut house = Self::new().await;
        for name in ["LISTEN_ADDR", "GRAFANA_URL", "INFLUXDB_URL", "HA_URL"] {
            house.unset(name);
        }
        let config = include_str!("jit.toml")
            .replace("LIFE", &format!("{secs}s"))
            .replace("VAULT", &house.vault.url())
            .replace("ASSISTANT", house.home_assistant.url())
            .replace("GRAFANA", house.grafana.url())
            .replace("INFLUXDB", house.influxdb.url());
        std::fs::write(house.folder.path().join("jit.toml"), config).unwrap();
        house
    }

    /// The preset, which has a chat, with the addresses of this machine.
    pub(crate) async fn with_preset(chat: &telegram_sim::Sim) -> Self {
        let mut house = Self::new().await;
        for name in ["LISTEN_ADDR", "GRAFANA_URL", "INFLUXDB_URL", "HA_URL"] {
            house.unset(name);
        }
        let mut config = PRESET
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0")
            .replace(
                "[telegram]\n",
                &format!("[telegram]\napi = \"{}\"\n", chat.url()),
            );
        for (preset, here) in [
            ("vault.example.com:8200", house.vault.url().as_str()),
            ("grafana.example.com", house.grafana.url()),
            ("homeassistant.example.com", house.home_assistant.url()),
            ("influxdb.example.com", house.influxdb.url()),
        ] {
            let preset = format!("address = \"https://{preset}\"");
            assert!(config.contains(&preset), "{preset}");
            let here = format!("address = \"{here}\"\nplain_http = true");
            config = config.replace(&preset, &here);
        }
        std::fs::write(house.folder.path().join("approval-service.toml"), config).unwrap();
        std::fs::create_dir(house.folder.path().join("data")).unwrap();
        house.set("JIT_CONFIG", "approval-service.toml");
        house.set("TELEGRAM_BOT_TOKEN", telegram_sim::TOKEN);
        house.set("TELEGRAM_WEBHOOK_SECRET", "a_secret-of-this-test");
        house
    }

    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.insert(name, value.into());
    }

    pub(crate) fn unset(&mut self, name: &'static str) {
        self.variables.remove(name);
    }

    /// A command with these variables and no other, in the folder of this house.
    pub(crate) fn command(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path());
        command.envs(&self.variables);
        command
    }

    pub(crate) fn daemon(&self) -> Daemon {
        Daemon::started(self.command(jitd(&["run"])))
    }

    /// What `jit` says, where it succeeds.
    pub(crate) fn jit(&self, arguments: &[&str]) -> String {
        let said = ran(self.command(program("jit", arguments)));
        assert!(
            said.status.success(),
            "{arguments:?}: {}",
            text(&said.stderr)
        );
        text(&said.stdout)
    }

    /// What a verb of `jit` says to Bob, who has a token.
    pub(crate) fn bob(&self, daemon: &Daemon, arguments: &[&str]) -> Value {
        let token = self.folder.path().join("bob");
        let file = token.display().to_string();
        if !token.exists() {
            let new = ["token", "new", "--principal", "bob@example.com", "--out"];
            self.jit(&[&new[..], &[&file]].concat());
        }
        let at = ["--json", "--server", &daemon.api, "--token-file", &file];
        serde_json::from_str(&self.jit(&[&at[..], arguments].concat())).unwrap()
    }

    /// The whole audit, a row per event.
    pub(crate) fn audit(&self) -> String {
        self.jit(&["audit", "export", "--format", "csv"])
    }

    /// What Vault says to this token about a path.
    pub(crate) fn reads(&self, token: &str, path: &str) -> (u16, Value) {
        let url = format!("{}/v1/{path}", self.vault.url());
        let (status, body) = fetch_as("GET", &url, &[("X-Vault-Token", token)], "");
        (status, serde_json::from_str(&body).unwrap())
    }
}

pub(crate) fn ask(resource: &str, tier: u64) -> Value {
    json!({"requester": "prometheus", "resource": resource, "tier": tier,
           "reason": "Check sensor readings"})
}

/// A daemon that serves.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) api: String,
    pub(crate) observe: String,
}

impl Daemon {
    fn started(command: Command) -> Self {
        let mut process = Process::start(command);
        let line: Value = serde_json::from_str(&process.hears(r#""serving""#)).unwrap();
        let address = |name: &str| format!("http://{}", line[name].as_str().unwrap());
        let (api, observe) = (address("api"), address("observe"));
        Self {
            process,
            api,
            observe,
        }
    }

    pub(crate) fn file_as(&self, key: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/request", self.api);
        let headers = [("X-JIT-API-Key", key)];
        let (status, body) = fetch_as("POST", &url, &headers, &body.to_string());
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Files, and is told what the contract says; the request's id.
    pub(crate) fn file(&self, resource: &str, tier: u64) -> String {
        let (status, filed) = self.file_as(KEY, &ask(resource, tier));
        assert_eq!(status, 200, "{filed}");
        let id = filed["request_id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("req-"), "{id}");
        assert_eq!(filed, json!({"request_id": id, "status": "pending"}));
        id
    }

    pub(crate) fn poll_as(&self, key: &str, id: &str) -> (u16, Value) {
        let url = format!("{}/status/{id}", self.api);
        let (status, body) = fetch_as("GET", &url, &[("X-JIT-API-Key", key)], "");
        (status, serde_json::from_str(&body).unwrap())
    }

    pub(crate) fn poll(&self, id: &str) -> Value {
        let (status, polled) = self.poll_as(KEY, id);
        assert_eq!((status, &polled["request_id"]), (200, &json!(id)));
        polled
    }

    /// The token of what is given at the first poll.
    pub(crate) fn given(&self, resource: &str) -> (String, String) {
        let id = self.file(resource, 1);
        let polled = self.poll(&id);
        let token = polled["credential"]["token"].as_str();
        (id, token.unwrap_or_else(|| panic!("{polled}")).to_owned())
    }

    pub(crate) fn health(&self) -> Value {
        let (status, body) = fetch_as("GET", &format!("{}/health", self.api), &[], "");
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// The lines that it said, as they were read; each of standard output is an object.
    pub(crate) fn lines(&mut self) -> Vec<Value> {
        self.process.listens();
        let lines = self.process.heard.iter();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    }
}
