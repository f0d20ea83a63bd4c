//! The sweeper's binary: it ends access with no daemon there, and its exit code says how it went.

#![cfg(test)]

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jit_core::engine::{ClockTrust, NewRequest, Verb};
use jit_core::ports::Clock;
use jit_core::principal::{Door, Principal};
use jit_core::request::{AccessRequest, Status};
use jit_core::{Engine, Timestamp};
use jit_runtime::build::Adapters;
use jit_runtime::clock::SystemClock;
use jit_runtime::config::{Config, Environment, TEMPLATE};
use tempfile::TempDir;

const GROUPS: &str = "readers:\nadmins: root-oncall\n";
/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The installation that `jitd init` begins, and an engine that nobody works for.
struct House {
    folder: TempDir,
    engine: Engine,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jit.toml");
        std::fs::write(&file, TEMPLATE).unwrap();
        std::fs::write(folder.path().join("groups"), GROUPS).unwrap();
        let config = Config::read(&file, &Environment::default()).unwrap();
        let adapters = Adapters::open(&config).await.unwrap();
        let engine = adapters.engine(&config, ClockTrust::Compared).unwrap();
        Self { folder, engine }
    }

    fn groups(&self) -> PathBuf {
        self.folder.path().join("groups")
    }

    fn members(&self) -> String {
        std::fs::read_to_string(self.groups()).unwrap()
    }

    fn sweeper(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jit-sweeper"));
        command.env_clear().stdin(Stdio::null());
        command
            .arg("--config")
            .arg(self.folder.path().join("jit.toml"));
        command.args(arguments);
        command
    }

    fn swept(&self, arguments: &[&str]) -> Output {
        self.sweeper(arguments).output().unwrap()
    }

    /// Ana has access for this long; its record.
    async fn given(&self, ttl: &str) -> AccessRequest {
        let asked = self.engine.open(&person("ana"), ask(ttl)).await.unwrap();
        let digest = asked.digest().to_string();
        let approve = Verb::Approve { ttl: None, digest };
        let bob = person("bob");
        self.engine.handle(&bob, asked.id, approve).await.unwrap();
        // A service that runs beside us may have taken it first.
        self.engine.tend(asked.id).await.unwrap();
        let given = async {
            while !self.members().contains("ana") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let given = tokio::time::timeout(PATIENCE, given).await;
        given.expect("the access is given");
        self.record(&asked).await
    }

    async fn record(&self, request: &AccessRequest) -> AccessRequest {
        let store = self.engine.store();
        store.load(request.id).await.unwrap().unwrap()
    }

    async fn until_due(&self, request: &AccessRequest) {
        let due = async || {
            let due = self.engine.due(10).await.unwrap();
            due.iter().any(|due| due.id == request.id)
        };
        let is_due = async {
            while !due().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, is_due).await;
        waited.expect("what failed is due again");
    }

    async fn until_over(&self, request: &AccessRequest) {
        let expires_at = request.grant().unwrap().expires_at;
        while self.engine.now() <= expires_at {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn person(name: &str) -> Principal {
    let door = Door::Embedded;
    let id = name.parse().unwrap();
    Principal { id, door }
}

fn ask(ttl: &str) -> NewRequest {
    NewRequest {
        beneficiary: None,
        parts: vec![("groupfile/admins".parse().unwrap(), serde_json::Map::new())],
        ttl: Some(ttl.parse().unwrap()),
        reason: "the disk is full".parse().unwrap(),
        idempotency_key: None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn one_pass_ends_what_is_due_and_says_how_much_it_was() {
    let house = House::new().await;
    let given = house.given("2s").await;
    let early = house.swept(&["--once"]);
    assert!(early.status.success());
    assert_eq!(
        text(&early.stdout),
        "swept: 0 tended, 0 of them failed, 0 overdue\n"
    );
    house.until_over(&given).await;
    let swept = house.swept(&["--once", "--json"]);
    assert!(swept.status.success(), "{}", text(&swept.stderr));
    let line = text(&swept.stdout);
    assert!(
        line.ends_with(",\"failed\":0,\"overdue\":0,\"clock_off_by_seconds\":0}\n")
            && line.contains("tended"),
        "{line}"
    );
    assert_eq!(house.members(), GROUPS);
    assert_eq!(house.record(&given).await.status(), Status::Closed);
}

#[tokio::test]
async fn a_pass_that_leaves_access_overdue_exits_with_1() {
    let house = House::new().await;
    let given = house.given("1s").await;
    house.until_over(&given).await;
    let away = house.folder.path().join("away");
    std::fs::rename(house.groups(), &away).unwrap();
    let swept = house.swept(&["--once"]);
    assert_eq!(swept.status.code(), Some(1));
    assert!(
        text(&swept.stdout).ends_with(" 1 overdue\n"),
        "{}",
        text(&swept.stdout)
    );
    std::fs::rename(&away, house.groups()).unwrap();
    // A revoke that failed is due again after a pause; the first pass from then on ends it.
    house.until_due(&given).await;
    let swept = house.swept(&["--once"]);
    assert!(swept.status.success(), "{}", text(&swept.stdout));
    assert_eq!(house.members(), GROUPS);
}

/// A clock that is half an hour ahead.
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_secs(1_800)
    }
}

#[tokio::test]
async fn k1_what_another_process_wrote_counts_as_the_time_unless_this_clock_is_trusted() {
    let house = House::new().await;
    house.given("10m").await;
    let config = house.folder.path().join("jit.toml");
    let config = Config::read(&config, &Environment::default()).unwrap();
    let mut adapters = Adapters::open(&config).await.unwrap();
    adapters.clock = Arc::new(Ahead);
    let ahead = adapters.engine(&config, ClockTrust::Compared).unwrap();
    ahead.open(&person("ana"), ask("10m")).await.unwrap();
    let trusted = house.swept(&["--once", "--trust-clock"]);
    assert!(trusted.status.success(), "{}", text(&trusted.stderr));
    assert!(house.members().contains("ana"), "ten minutes are not over");
    let compared = house.swept(&["--once"]);
    assert_eq!(house.members(), GROUPS);
    assert_eq!(compared.status.code(), Some(1));
    let told = text(&compared.stdout);
    let off = " 0 of them failed, 0 overdue; the clock of this host is off by 1";
    assert!(told.contains(off), "{told}");
}

/// Killed when it is dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_service_goes_on_until_it_is_told_to_stop() {
    let house = House::new().await;
    let mut service = Service(house.sweeper(&[]).stderr(Stdio::null()).spawn().unwrap());
    house.given("2s").await;
    let gone = async {
        while house.members() != GROUPS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let id = service.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_sweeper_without_a_configuration_or_a_store_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit-sweeper"));
    let nowhere = command.env_clear().arg("--once").current_dir(folder.path());
    let nowhere = nowhere.output().unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).starts_with("jit-sweeper: jit.toml cannot be read"));
}
