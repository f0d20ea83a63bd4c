//! A daemon that is stopped just before it sends something, for longer than that may be sent, and goes
//! on then: it sends nothing late. The providers' ledgers say so.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jit_runtime::failpoint;
use jit_testkit::time::SeededRandom;
use serde_json::Value;
use tokio::time::sleep;

use super::crew::Doors;
use super::hostile::World;
use super::judge::Access;
use super::load::Load;
use super::small::Ledger;
use super::{Site, now};
use crate::house::{House, entitlement};
use crate::process::{Process, jitd, program, read, until};

/// So long after a record is read as one to be ended a delete of it may still be sent.
const DELETE_FENCE: Duration = Duration::from_secs(30);
/// How long a process that goes on is watched.
const WATCHED: Duration = Duration::from_secs(2);

/// A daemon, perhaps one to which this happens; and where it is.
pub(crate) fn daemon(site: &Site, happens: Option<&str>) -> (Process, String) {
    let mut command = site.command(jitd(&["run"]));
    if let Some(deed) = happens {
        command.env(failpoint::VARIABLE, deed);
    }
    serves(command)
}

/// This daemon, and where it is.
pub(crate) fn serves(command: Command) -> (Process, String) {
    let mut process = Process::start(command);
    let line: Value = serde_json::from_str(&process.hears("\"serving\"")).unwrap();
    let api = line["fields"]["api"].as_str().unwrap();
    (process, format!("http://{api}"))
}

/// People who know one door.
pub(crate) fn people(site: &Site) -> (Arc<Load>, Doors) {
    let doors = Doors::default();
    (Arc::new(Load::new(site, doors.clone())), doors)
}

pub(crate) fn opens(doors: &Doors, door: String) {
    doors.lock().unwrap().insert(0, door);
}

async fn is_stopped(process: &Process) {
    let file = format!("/proc/{}/stat", process.id());
    until("it is stopped", async || {
        let stat = read(file.as_ref());
        stat.rsplit_once(')').unwrap().1.trim().starts_with('T')
    })
    .await;
}

/// Ana asks for this for eight seconds and Bob approves at a daemon that stops before it gives; the
/// instant after which nothing may be given any more: three quarters of the time, and of a credential,
/// which ends by itself, all of it.
async fn stops_before_it_gives(
    site: &Site,
    load: &Arc<Load>,
    doors: &Doors,
    what: &str,
) -> (Process, i64) {
    let dice = SeededRandom::new(0);
    let is_collected = what.starts_with("vault/");
    let (place, within) = match is_collected {
        true => ("stop before provider.mint", 8_000_000),
        false => ("stop before provider.grant", 6_000_000),
    };
    let (process, door) = daemon(site, Some(place));
    opens(doors, door);
    let id = load.asks(what, 8, &dice).await.unwrap();
    let load = Arc::clone(load);
    // The answer is what it stops in, and whoever waits for it goes on waiting.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            if load.approves(&id).await && is_collected {
                load.collects(&id, &dice).await;
            }
        });
    });
    is_stopped(&process).await;
    (process, now() + within)
}

async fn goes_on_after(process: &Process, instant: i64) {
    let left = u64::try_from(instant - now()).unwrap_or_default();
    sleep(Duration::from_micros(left)).await;
    process.signal("CONT");
}

/// Nothing of it came to be, neither before nor after.
fn nothing_was_given(accesses: &[Access]) {
    assert!(accesses.is_empty(), "{accesses:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_stops_before_it_gives_puts_nobody_into_a_group_file_late() {
    let house = House::new(1).await;
    let site = Site::of(&house);
    let ledger = Ledger::new(&house);
    let (load, doors) = people(&site);
    let (stopped, fence) = stops_before_it_gives(&site, &load, &doors, &entitlement(0)).await;
    let (mut other, door) = daemon(&site, None);
    opens(&doors, door);
    goes_on_after(&stopped, fence).await;
    sleep(WATCHED).await;
    load.winds_up().await;
    nothing_was_given(&ledger.ends());
    other.signal("TERM");
    assert_eq!(other.ends(), Some(0));
    site.is_verified();
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_stop_before_they_give_give_nothing_late_in_aws_okta_or_vault() {
    let world = World::new();
    let site = &world.site;
    let (load, doors) = people(site);
    let (aws, _) = stops_before_it_gives(site, &load, &doors, "aws/prod-shop/ReadOnlyAccess").await;
    let (okta, _) = stops_before_it_gives(site, &load, &doors, "okta/admins").await;
    let (vault, fence) = stops_before_it_gives(site, &load, &doors, "vault/gitlab").await;
    let _sweeper = Process::start(site.command(program("jit-sweeper", &[])));
    let (_other, door) = daemon(site, None);
    opens(&doors, door);
    goes_on_after(&aws, fence).await;
    okta.signal("CONT");
    vault.signal("CONT");
    sleep(WATCHED).await;
    load.winds_up().await;
    nothing_was_given(&world.accesses());
    site.is_verified();
}

/// What Ana has for three seconds ends at a daemon that stops before it takes it away; another one
/// takes it away and gives it again. When the first one goes on, its delete must not be sent.
async fn stops_before_it_takes(site: &Site, what: &str, has_it: impl Fn() -> bool) {
    let dice = SeededRandom::new(0);
    let (load, doors) = people(site);
    let (stopped, door) = daemon(site, Some("stop before provider.revoke"));
    opens(&doors, door);
    let id = load.asks(what, 3, &dice).await.unwrap();
    assert!(load.approves(&id).await);
    until("she has it", async || has_it()).await;
    is_stopped(&stopped).await;
    let fence = now() + i64::try_from(DELETE_FENCE.as_micros()).unwrap();
    let (_other, door) = daemon(site, None);
    opens(&doors, door);
    until("it is taken away", async || !has_it()).await;
    let mut again = None;
    until("it can be asked for again", async || {
        again = load.asks(what, 120, &dice).await;
        again.is_some()
    })
    .await;
    let again = again.unwrap();
    assert!(load.approves(&again).await);
    until("she has it again", async || has_it()).await;
    goes_on_after(&stopped, fence).await;
    let watched = tokio::time::Instant::now() + 2 * WATCHED;
    while tokio::time::Instant::now() < watched {
        assert!(has_it(), "a delete was sent after its time");
        sleep(Duration::from_millis(20)).await;
    }
    load.gives_back(&again, &dice).await;
    until("it is given back", async || !has_it()).await;
    load.winds_up().await;
    site.is_verified();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_delete_waits_for_longer_than_it_may_another_grant_of_a_group_file_is_safe() {
    let house = House::new(1).await;
    let site = Site::of(&house);
    let has_it = || read(&house.path("groups")).contains(" ana");
    stops_before_it_takes(&site, &entitlement(0), has_it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_delete_waits_for_longer_than_it_may_another_grant_in_okta_is_safe() {
    let world = World::new();
    let has_it = || {
        let accesses = world.accesses();
        accesses.iter().any(|it| it.until.is_none())
    };
    stops_before_it_takes(&world.site, "okta/admins", has_it).await;
    assert_eq!(world.accesses().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_delete_waits_for_longer_than_it_may_another_grant_in_aws_is_safe() {
    let world = World::new();
    let has_it = || {
        let accesses = world.accesses();
        accesses.iter().any(|it| it.until.is_none())
    };
    stops_before_it_takes(&world.site, "aws/prod-shop/ReadOnlyAccess", has_it).await;
    assert_eq!(world.accesses().len(), 2);
}
