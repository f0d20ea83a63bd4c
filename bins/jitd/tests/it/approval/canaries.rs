//! S15: every secret of a whole session is looked for in everything that the daemon wrote or said,
//! while whoever it calls answers with secrets in the wrong places. None is anywhere but in the one
//! answer that gives it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use services_sim::Fault;
use vault_sim::{Health, Rule};

use super::house::{
    Daemon, GRAFANA_ADMIN, House, INFLUXDB_ADMIN, KEPT, KEY, REFRESH_TOKEN, ROLE_ID, ROOT, ask,
};
use crate::process::{fetch, fetch_as, read, until};

const WRONG_KEY: &str = "wrong-key-canary-08";
const IN_GARBAGE: &str = "hvs.in-garbage-canary-09";
const IN_FIELD: &str = "in-a-field-canary-10";

/// What must not be found, and what was found where.
struct Hunt {
    secrets: BTreeSet<String>,
    answers: Vec<String>,
}

impl Hunt {
    fn begun(house: &House) -> Self {
        let known = [
            KEY,
            ROOT,
            ROLE_ID,
            &house.secret_id,
            GRAFANA_ADMIN,
            INFLUXDB_ADMIN,
            REFRESH_TOKEN,
            KEPT,
            WRONG_KEY,
            IN_GARBAGE,
            IN_FIELD,
        ];
        Self {
            secrets: known.map(str::to_owned).into(),
            answers: vec![],
        }
    }

    /// The tokens that were made so far, by whomever.
    fn learns(&mut self, house: &House) {
        let vault = house.vault.world().tokens().into_iter().map(|it| it.id);
        let grafana = house.grafana.tokens().into_iter().map(|it| it.key);
        let influxdb = house.influxdb.authorizations();
        let influxdb = influxdb.into_iter().map(|it| it.token);
        let all = vault.chain(grafana).chain(influxdb);
        self.secrets.extend(all);
        let issued = 0..house.home_assistant.issued();
        let issued = issued.filter_map(|number| house.home_assistant.token(number));
        self.secrets.extend(issued);
    }

    /// Polls, and keeps the answer without the one secret that belongs there; whether there was one.
    fn polls(&mut self, house: &House, daemon: &Daemon, id: &str) -> bool {
        let polled = daemon.poll(id);
        self.learns(house);
        let rest = polled.to_string();
        let Some(token) = polled["credential"]["token"].as_str() else {
            self.answers.push(rest);
            return false;
        };
        assert!(self.secrets.contains(token), "whose is it? {polled}");
        assert_eq!(rest.matches(token).count(), 1);
        self.answers.push(rest.replace(token, ""));
        true
    }

    fn says(&mut self, (_, answer): (u16, impl ToString)) {
        self.answers.push(answer.to_string());
    }

    /// Whether any of them is in this.
    fn clean(&self, place: &str, bytes: &[u8]) {
        for secret in &self.secrets {
            let found = bytes
                .windows(secret.len())
                .position(|it| it == secret.as_bytes());
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(200)..(at + 60).min(bytes.len())];
                panic!(
                    "{secret} is in {place}: {}",
                    String::from_utf8_lossy(around)
                );
            }
        }
    }

    /// Looks through every file of a folder but these.
    fn clean_files(&self, folder: &Path, but: &[&str]) -> usize {
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|it| it.unwrap().path());
        let name = |file: &Path| file.file_name().unwrap().display().to_string();
        let files = files.filter(|file| !but.contains(&name(file).as_str()));
        files
            .map(|file| self.clean(&name(&file), &std::fs::read(&file).unwrap()))
            .count()
    }
}

/// What everybody who asks is told of how it is.
fn watched(hunt: &mut Hunt, daemon: &Daemon) {
    for path in ["health", "ready", "metrics"] {
        hunt.says(fetch("GET", &format!("{}/{path}", daemon.observe), ""));
    }
    hunt.says(fetch("GET", &format!("{}/health", daemon.api), ""));
}

/// Calls that cannot be answered as they are wanted.
fn mistaken(hunt: &mut Hunt, daemon: &Daemon, id: &str) {
    hunt.says(daemon.file_as(WRONG_KEY, &ask("radarr", 1)));
    hunt.says(daemon.poll_as(WRONG_KEY, id));
    let url = format!("{}/request", daemon.api);
    let key = [("X-JIT-API-Key", KEY)];
    for body in ["{", "[]", "{\"requester\": 1}", ""] {
        hunt.says(fetch_as("POST", &url, &key, body));
    }
    hunt.says(fetch_as(
        "GET",
        &format!("{}/status/{KEY}", daemon.api),
        &key,
        "",
    ));
    hunt.says(fetch_as(
        "GET",
        &format!("{}/{WRONG_KEY}", daemon.api),
        &key,
        "",
    ));
    hunt.says(daemon.file_as(KEY, &ask("the-moon", 1)));
}

/// Vault answers with what is not wanted, in which there are secrets.
fn hostile_vault(hunt: &mut Hunt, house: &House, daemon: &Daemon) {
    let world = house.vault.world();
    let auth = json!({"auth": {"client_token": IN_GARBAGE, "policies": IN_FIELD}});
    let wrapped = json!({"data": {"data": {"jit_admin_token": {"deep": IN_FIELD},
                                           "admin_token": [IN_FIELD]}}});
    let errors = json!({"errors": [IN_GARBAGE], "data": IN_FIELD});
    for (path, text) in [
        ("auth/token/create", IN_GARBAGE.to_owned()),
        ("auth/token/create", auth.to_string()),
        ("auth/token/create", errors.to_string()),
        ("homelab/", wrapped.to_string()),
        ("homelab/", format!("<p>{IN_GARBAGE}")),
        ("auth/approle/login", auth.to_string()),
    ] {
        world.rule(Rule::at(path, vault_sim::Fault::Instead(text)));
        for resource in ["radarr", "grafana", "influxdb"] {
            let (_, filed) = daemon.file_as(KEY, &ask(resource, 1));
            hunt.answers.push(filed.to_string());
            if let Some(id) = filed["request_id"].as_str() {
                hunt.polls(house, daemon, id);
            }
            world.calm();
            hunt.learns(house);
        }
    }
    for fault in [
        vault_sim::Fault::LoseReply,
        vault_sim::Fault::StatusAfter(500),
        vault_sim::Fault::Denied,
        vault_sim::Fault::Redirect(format!("http://127.0.0.1:1/{IN_GARBAGE}")),
    ] {
        let id = daemon.file("radarr", 1);
        world.rule(Rule::at("auth/token/create", fault));
        assert!(!hunt.polls(house, daemon, &id));
        world.calm();
    }
    world.set_health(Health::Sealed);
    watched(hunt, daemon);
    world.calm();
}

fn hostile_services(hunt: &mut Hunt, house: &House, daemon: &Daemon) {
    for fault in [
        Fault::Garbage,
        Fault::LoseReply,
        Fault::Forbidden,
        Fault::Failed,
    ] {
        for resource in ["grafana", "influxdb"] {
            let id = daemon.file(resource, 1);
            house.grafana.set_fault(Some(fault));
            house.influxdb.set_fault(Some(fault));
            assert!(!hunt.polls(house, daemon, &id));
            house.grafana.set_fault(None);
            house.influxdb.set_fault(None);
        }
        let id = daemon.file("homeassistant", 2);
        house.bob(daemon, &["approve", &id]);
        house.home_assistant.set_fault(Some(fault));
        assert!(!hunt.polls(house, daemon, &id));
        house.home_assistant.set_fault(None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_no_secret_is_anywhere_but_in_the_answer_that_gives_it() {
    let mut house = House::with_file(20).await;
    house.set("JIT_LOG", "debug");
    let mut hunt = Hunt::begun(&house);
    let mut daemon = house.daemon();
    let mut given = vec![];
    for resource in ["grafana", "influxdb", "radarr"] {
        given.push(daemon.file(resource, 1));
        assert!(hunt.polls(&house, &daemon, given.last().unwrap()));
    }
    let id = daemon.file("homeassistant", 2);
    house.bob(&daemon, &["approve", &id]);
    assert!(hunt.polls(&house, &daemon, &id));
    for id in &given {
        assert!(!hunt.polls(&house, &daemon, id));
    }
    mistaken(&mut hunt, &daemon, &id);
    hostile_vault(&mut hunt, &house, &daemon);
    hostile_services(&mut hunt, &house, &daemon);
    watched(&mut hunt, &daemon);
    // What was given comes to its end; what was lost is found and deleted.
    until("everything in InfluxDB is gone", async || {
        hunt.learns(&house);
        house
            .influxdb
            .authorizations()
            .iter()
            .all(|it| it.is_deleted)
    })
    .await;
    let bob = read(&house.folder.path().join("bob"));
    hunt.secrets.insert(bob.trim().to_owned());
    watched(&mut hunt, &daemon);
    hunt.answers.push(house.audit());
    hunt.clean_files(house.folder.path(), &["bob"]);
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.ends(), Some(0));

    assert!(hunt.secrets.len() > 25, "{:?}", hunt.secrets.len());
    let files = hunt.clean_files(house.folder.path(), &["bob"]);
    assert!(
        files >= 3,
        "the store, the log of the audit, the configuration"
    );
    let said = daemon.process.heard.join("\n");
    assert!(said.lines().count() > 100);
    hunt.clean("the log", said.as_bytes());
    for answer in &hunt.answers {
        hunt.clean("an answer", answer.as_bytes());
    }
    let is_told: Vec<Value> = daemon.lines();
    assert!(!is_told.is_empty());
}
