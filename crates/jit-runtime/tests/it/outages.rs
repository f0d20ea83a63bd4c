//! What is told, and what still ends, while the group file or the store cannot be used.

use std::sync::Arc;

use async_trait::async_trait;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    GrantCall, InspectCall, Minted, Page, PortError, Provisioner, RevokeCall, Standing,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Target};
use jit_runtime::build::Adapters;
use jit_runtime::daemon::Sweeper;

use crate::house::{GROUPS, House, Kept, Running, until};

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
    let (status, _) = bob.decide(&id, "approve").await;
    if status == 200 {
        let ended = until("the request ends", async || {
            let request = ana.show(&id).await;
            let over = request["status"] == "cancelled" || request["status"] == "ended";
            over.then_some(request)
        })
        .await;
        assert!(
            ended["why"] == "not_provisioned" || ended["why"] == "policy_changed",
            "{ended}"
        );
    }
    assert!(!house.file("groups").exists(), "no file is made up");
    daemon.stop().await;
}

#[tokio::test]
async fn a_group_file_that_vanishes_before_the_revoke_is_stuck_paged_and_ends_once_repaired() {
    let house = House::new();
    let config = house.config();
    let pager = Arc::new(Kept::default());
    let mut adapters = Adapters::open(&config).unwrap();
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
    let mut sweeper = Sweeper::start(house.config()).unwrap();
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
    let ready =
        jit_runtime::daemon::Daemon::start(house.config(), jit_core::engine::ClockTrust::Compared);
    let ready = ready.await.unwrap();
    assert_eq!(house.groups(), GROUPS);
    drop(ready);
}

/// Panics at every grant; everything else is the real group file's.
struct Panics(Arc<dyn Provisioner>);

#[async_trait]
impl Provisioner for Panics {
    fn describe(&self) -> Description {
        self.0.describe()
    }
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Target, PortError> {
        self.0.resolve(beneficiary, entitlement, parameters).await
    }
    async fn grant(&self, _: GrantCall<'_>) -> Result<Answer, PortError> {
        panic!("a grant that panics")
    }
    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        self.0.mint(call).await
    }
    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.0.revoke(call).await
    }
    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.0.inspect(call).await
    }
    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        self.0.standing(resource, page).await
    }
}

#[tokio::test]
async fn a_provider_that_panics_does_not_take_the_daemon_along() {
    let house = House::new();
    let config = house.config();
    let mut adapters = Adapters::open(&config).unwrap();
    for provisioner in adapters.provisioners.values_mut() {
        *provisioner = Arc::new(Panics(Arc::clone(provisioner)));
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
