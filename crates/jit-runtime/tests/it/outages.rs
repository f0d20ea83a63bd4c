//! What is told, and what still ends, while the group file or the store cannot be used.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use async_trait::async_trait;
use jit_core::ports::{GrantCall, PortError, Provisioner};
use jit_core::provider::Answer;
use jit_core::request::{AccessRequest, Phase, Status};
use jit_runtime::build::Adapters;
use jit_runtime::daemon::Sweeper;
use jit_testkit::front::{Front, Meddle};

use crate::house::{Caller, GROUPS, House, Kept, Running, until};

#[tokio::test]
async fn a_group_file_that_vanished_before_the_request_is_told_and_nothing_is_opened() {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, _) = house.callers(&daemon).await;
    std::fs::remove_file(house.file("groups")).unwrap();
    let (status, told) = ana.ask("1h").await;
    assert!(status >= 500, "{told}");
    let (_, list) = ana.get("/v1/requests").await;
    assert_eq!(list["requests"].as_array().unwrap().len(), 0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_group_file_that_vanishes_between_request_and_grant_ends_the_request_in_time() {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, bob) = house.callers(&daemon).await;
    let id = ana.asked("4s").await;
    std::fs::remove_file(house.file("groups")).unwrap();
    // The decision does not ask the provider; the grant does, and is given up in time.
    bob.approve(&id).await;
    let ended = ana.wait_for(&id, "cancelled").await;
    assert!(
        ended["why"] == "not_provisioned" || ended["why"] == "policy_changed",
        "{ended}"
    );
    assert!(!house.file("groups").exists(), "no file is made up");
    daemon.stop().await;
}

#[tokio::test]
async fn a_group_file_that_vanishes_before_the_revoke_is_stuck_paged_and_ends_once_repaired() {
    let house = House::new();
    let config = house.config();
    let pager = Arc::new(Kept::default());
    let mut adapters = Adapters::open(&config).await.unwrap();
    adapters.pager = pager.clone();
    let daemon = Running::of(config, adapters).await;
    let (ana, bob) = house.callers(&daemon).await;
    let id = ana.asked("2s").await;
    bob.approve(&id).await;
    ana.wait_for(&id, "active").await;
    let (file, away) = (house.file("groups"), house.file("groups.away"));
    std::fs::rename(&file, &away).unwrap();
    until("somebody is paged", async || {
        let alarms = pager.alarms();
        let about = alarms.iter().find(|alarm| alarm.request.is_some())?;
        about.summary.contains("STUCK").then_some(())
    })
    .await;
    let stuck = ana.show(&id).await;
    assert_eq!(stuck["status"], "revoking", "nothing ends without a look");
    assert!(stuck["stuck"].is_string(), "{stuck}");
    std::fs::rename(&away, &file).unwrap();
    let ended = ana.wait_for(&id, "ended").await;
    assert_eq!(ended["end"], "expired");
    assert!(ended["stuck"].is_null());
    assert_eq!(house.groups(), GROUPS);
    assert_eq!(pager.alarms().len(), 1, "paged once: {:?}", pager.alarms());
    daemon.stop().await;
}

/// The group file in a folder of its own, and a daemon that hands its alarms to a pager that keeps
/// them.
struct Outage {
    house: House,
    daemon: Running,
    pager: Arc<Kept>,
}

impl Outage {
    async fn new() -> Self {
        let house = House::new();
        std::fs::create_dir(house.file("etc")).unwrap();
        std::fs::rename(house.file("groups"), house.file("etc/groups")).unwrap();
        house.rewrite(
            "jit.toml",
            &[("file = \"groups\"", "file = \"etc/groups\"")],
        );
        let config = house.config();
        let pager = Arc::new(Kept::default());
        let mut adapters = Adapters::open(&config).await.unwrap();
        adapters.pager = pager.clone();
        let daemon = Running::of(config, adapters).await;
        Self {
            house,
            daemon,
            pager,
        }
    }

    fn groups(&self) -> String {
        std::fs::read_to_string(self.house.file("etc/groups")).unwrap()
    }

    fn set_groups(&self, text: &str) {
        std::fs::write(self.house.file("etc/groups"), text).unwrap();
    }

    /// Nobody can write beside the group file: not others, by the folder's mode, and not root, by
    /// something in the way of the new file.
    fn forbid_writing(&self) {
        let in_the_way = self.house.file("etc/groups.new/in the way");
        std::fs::create_dir_all(in_the_way).unwrap();
        self.set_mode("etc/groups", 0o444);
        self.set_mode("etc", 0o555);
    }

    fn allow_writing(&self) {
        self.set_mode("etc", 0o755);
        self.set_mode("etc/groups", 0o644);
        std::fs::remove_dir_all(self.house.file("etc/groups.new")).unwrap();
    }

    fn set_mode(&self, name: &str, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.house.file(name), mode).unwrap();
    }

    /// Waits until the provider was called like this, and it came to nothing.
    async fn came_to_nothing(&self, operation: &str) {
        let call = format!("provider=\"groupfile\",op=\"{operation}\",kind=");
        until(&format!("a {operation} that fails"), async || {
            let metrics = self.daemon.metrics().await;
            let mut calls = metrics.lines().filter(|line| line.contains(&call));
            calls
                .any(|line| line.contains("_calls_total") && !line.contains("kind=\"ok\""))
                .then_some(())
        })
        .await;
    }

    /// Waits until somebody is paged that this request is stuck.
    async fn paged(&self, id: &str) {
        let alarm = until("somebody is paged", async || {
            let alarms = self.pager.alarms();
            let mut about = alarms.into_iter();
            about.find(|alarm| alarm.request.is_some_and(|it| it.to_string() == id))
        })
        .await;
        assert!(
            alarm.summary.contains("STUCK: the provider refuses"),
            "{}",
            alarm.summary
        );
        let record = self.record(id).await;
        let ending = record.grant().unwrap();
        assert!(alarm.at >= ending.expires_at, "not before its end");
        let tried = times_tried(&record);
        assert!(tried >= 3, "not before the third refusal: {tried}");
    }

    async fn record(&self, id: &str) -> AccessRequest {
        let record = self.daemon.engine.store().load(id.parse().unwrap());
        record.await.unwrap().unwrap()
    }

    /// The end of a request, its pages and the file are as they ought to be.
    async fn ends_well(self, ana: &Caller, id: &str) {
        let ended = ana.wait_for(id, "ended").await;
        assert_eq!(ended["end"], "expired", "{ended}");
        assert!(ended["stuck"].is_null(), "{ended}");
        assert_eq!(self.groups(), GROUPS);
        assert_eq!(self.pager.alarms().len(), 1, "{:?}", self.pager.alarms());
        self.daemon.stop().await;
    }
}

/// How often a delete was tried.
fn times_tried(record: &AccessRequest) -> u32 {
    match &record.grant().unwrap().phase {
        Phase::Revoking { ending } => ending.attempts,
        phase => panic!("it is not being revoked: {phase:?}"),
    }
}

#[tokio::test]
async fn a_malformed_group_file_opens_nothing_and_delays_what_was_approved_until_it_is_mended() {
    let outage = Outage::new().await;
    let (ana, bob) = outage.house.callers(&outage.daemon).await;
    let id = ana.asked("1h").await;
    let malformed = format!("{GROUPS}ops bob\n");
    outage.set_groups(&malformed);
    let (status, told) = ana.ask("1h").await;
    assert_eq!(status, 500, "{told}");
    let said = told["error"]["message"].as_str().unwrap();
    assert!(said.starts_with("something failed, reference "), "{said}");
    let (_, list) = ana.get("/v1/requests").await;
    assert_eq!(list["requests"].as_array().unwrap().len(), 1);
    bob.approve(&id).await;
    outage.came_to_nothing("resolve").await;
    assert_eq!(ana.show(&id).await["status"], "approved");
    assert_eq!(outage.groups(), malformed, "what is not understood stays");
    outage.set_groups(GROUPS);
    ana.wait_for(&id, "active").await;
    assert!(outage.groups().contains("admins: root-oncall ana\n"));
    assert!(outage.pager.alarms().is_empty());
    outage.daemon.stop().await;
}

#[tokio::test]
async fn a_malformed_group_file_at_the_end_of_a_grant_is_stuck_paged_and_ends_once_mended() {
    let outage = Outage::new().await;
    let (ana, bob) = outage.house.callers(&outage.daemon).await;
    let id = ana.asked("2s").await;
    bob.approve(&id).await;
    ana.wait_for(&id, "active").await;
    let given = outage.groups();
    let malformed = format!("{given}ops bob\n");
    outage.set_groups(&malformed);
    outage.paged(&id).await;
    assert_eq!(ana.show(&id).await["status"], "revoking");
    assert_eq!(outage.groups(), malformed, "what is not understood stays");
    outage.set_groups(&given);
    outage.ends_well(&ana, &id).await;
}

#[tokio::test]
async fn a_group_file_that_cannot_be_written_fails_the_grant_and_the_next_one_works() {
    let outage = Outage::new().await;
    let (ana, bob) = outage.house.callers(&outage.daemon).await;
    let id = ana.asked("1h").await;
    outage.forbid_writing();
    bob.approve(&id).await;
    let ended = ana.wait_for(&id, "ended").await;
    assert_eq!(ended["end"], "failed", "{ended}");
    assert_eq!(outage.groups(), GROUPS);
    outage.allow_writing();
    let again = ana.asked("1h").await;
    bob.approve(&again).await;
    ana.wait_for(&again, "active").await;
    outage.daemon.stop().await;
}

#[tokio::test]
async fn a_group_file_that_cannot_be_written_at_the_end_is_stuck_paged_and_ends_once_mended() {
    let outage = Outage::new().await;
    let (ana, bob) = outage.house.callers(&outage.daemon).await;
    let id = ana.asked("2s").await;
    bob.approve(&id).await;
    ana.wait_for(&id, "active").await;
    outage.forbid_writing();
    outage.paged(&id).await;
    assert!(outage.groups().contains("ana"), "nothing is half written");
    outage.allow_writing();
    outage.ends_well(&ana, &id).await;
}

#[tokio::test]
async fn a_daemon_leaves_the_records_of_a_provider_that_it_lacks_to_one_that_has_it() {
    let house = House::new();
    let with = house.daemon().await;
    let (ana, bob) = house.callers(&with).await;
    let id = ana.asked("1s").await;
    bob.approve(&id).await;
    ana.wait_for(&id, "active").await;
    with.crash().await;
    // Another daemon on the same store, which names another provider.
    std::fs::write(house.file("others"), GROUPS).unwrap();
    house.rewrite(
        "lacking.toml",
        &[
            ("name = \"groupfile\"", "name = \"others\""),
            ("file = \"groups\"", "file = \"others\""),
            ("groupfile/admins", "others/admins"),
            ("subjects = { groupfile =", "subjects = { others ="),
            ("audit_log.csv", "others_log.csv"),
        ],
    );
    let config = house.config_at("lacking.toml");
    let adapters = Adapters::open(&config).await.unwrap();
    let lacking = Running::of(config, adapters).await;
    let metric = "jit_unserved_due{provider=\"groupfile\"} 1";
    until("it meets the record, and says so", async || {
        lacking.metrics().await.contains(metric).then_some(())
    })
    .await;
    let store = lacking.engine.store();
    let met = store.load(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(met.status(), Status::Active, "it was not even taken");
    // What it serves goes on beside it.
    let (carl, dora) = (ana.at(&lacking), bob.at(&lacking));
    let other = carl.asked_for("others/admins", "1s").await;
    dora.approve(&other).await;
    carl.wait_for(&other, "ended").await;
    let left = store.load(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(left, met, "it was left alone");
    assert!(house.groups().contains("ana"));
    // One that has the provider ends it, beside the one that lacks it.
    let with = house.daemon().await;
    let ended = ana.at(&with).wait_for(&id, "ended").await;
    assert_eq!(ended["end"], "expired", "{ended}");
    assert_eq!(house.groups(), GROUPS);
    until("nothing is left for others", async || {
        let done = "jit_unserved_due{provider=\"groupfile\"} 0";
        lacking.metrics().await.contains(done).then_some(())
    })
    .await;
    with.stop().await;
    lacking.stop().await;
}

#[tokio::test]
async fn a_daemon_that_died_is_outlived_by_a_sweeper_alone() {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, bob) = house.callers(&daemon).await;
    let id = ana.asked("3s").await;
    bob.approve(&id).await;
    ana.wait_for(&id, "active").await;
    daemon.crash().await;
    assert!(house.groups().contains("ana"));
    let mut sweeper = Sweeper::start(house.config(), jit_core::engine::ClockTrust::Compared)
        .await
        .unwrap();
    until("the sweeper takes the access away", async || {
        assert_eq!(sweeper.once().await.unwrap().failed, 0);
        (house.groups() == GROUPS).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_left_overdue_is_ended_before_a_daemon_takes_calls() {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, bob) = house.callers(&daemon).await;
    let id = ana.asked("1s").await;
    bob.approve(&id).await;
    ana.wait_for(&id, "active").await;
    let engine = daemon.engine.clone();
    daemon.crash().await;
    let request = engine
        .store()
        .load(id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let expires_at = request.grant().unwrap().expires_at;
    until("its time is over", async || {
        (engine.now() > expires_at).then_some(())
    })
    .await;
    assert!(house.groups().contains("ana"));
    // Made ready, and not run: nobody was let in yet.
    let ready = jit_runtime::daemon::Daemon::start(
        house.config(),
        jit_core::engine::ClockTrust::Compared,
        jit_runtime::daemon::LockOut::Allowed,
    );
    let ready = ready.await.unwrap();
    assert_eq!(house.groups(), GROUPS);
    drop(ready);
}

/// Panics at every grant; everything else is the real group file's.
struct Panics(Arc<dyn Provisioner>);

#[async_trait]
impl Meddle for Panics {
    fn behind(&self) -> &dyn Provisioner {
        &*self.0
    }
    async fn grant(&self, _: GrantCall<'_>) -> Result<Answer, PortError> {
        panic!("a grant that panics")
    }
}

#[tokio::test]
async fn a_provider_that_panics_does_not_take_the_daemon_along() {
    let house = House::new();
    let config = house.config();
    let mut adapters = Adapters::open(&config).await.unwrap();
    for provisioner in adapters.provisioners.values_mut() {
        *provisioner = Arc::new(Front(Panics(Arc::clone(provisioner))));
    }
    let daemon = Running::of(config, adapters).await;
    let (ana, bob) = house.callers(&daemon).await;
    let id = ana.asked("2s").await;
    bob.approve(&id).await;
    // A call that may have happened is followed by a read-back and an end like any other.
    let ended = ana.wait_for(&id, "ended").await;
    assert_eq!(ended["end"], "failed", "{ended}");
    assert_eq!(house.groups(), GROUPS);
    ana.asked("1h").await;
    daemon.stop().await;
}
