//! The end of what was given, whichever process is there to bring it about; and a kill between the
//! making of a credential and the record of it.

use serde_json::json;
use services_sim::Fault;
use vault_sim::Rule;

use super::house::{Daemon, House, now};
use crate::process::until;

const COULD_NOT: &str = "the credential could not be made";
const SECOND: i64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn e12_what_influxdb_never_ends_is_deleted_at_the_end() {
    let house = House::with_file(4).await;
    let mut daemon = house.daemon();
    let asked_at = now();
    let (_, token) = daemon.given("influxdb");
    let given_at = now();
    until("it is deleted", async || !house.influxdb.works(&token)).await;
    let gone_at = now();
    assert!(gone_at >= asked_at + 4 * SECOND, "before its end");
    assert!(gone_at <= given_at + 34 * SECOND, "L1");
    daemon.process.hears("influxdb_cleanup_start");
    daemon.process.hears("influxdb_cleanup_success");
}

#[tokio::test(flavor = "multi_thread")]
async fn e12_a_daemon_that_was_killed_deletes_it_when_it_is_started_after_the_end() {
    let house = House::with_file(3).await;
    let mut daemon = house.daemon();
    let (_, token) = daemon.given("influxdb");
    let given_at = now();
    daemon.process.kill();
    until("its end is over", async || now() > given_at + 4 * SECOND).await;
    assert!(
        house.influxdb.works(&token),
        "nobody was there to delete it"
    );
    let _again = house.daemon();
    until("it is deleted", async || !house.influxdb.works(&token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bob_approves_is_given_and_what_he_revokes_is_gone() {
    let house = House::with_file(600).await;
    let daemon = house.daemon();
    let id = daemon.file("gitlab", 2);
    let pending = json!({"request_id": id, "status": "pending"});
    assert_eq!(daemon.poll(&id), pending);
    house.bob(&daemon, &["approve", &id]);
    let polled = daemon.poll(&id);
    let token = polled["credential"]["token"].as_str().unwrap();
    assert!(house.vault.world().is_alive(token));
    house.bob(&daemon, &["revoke", &id, "--reason", "enough"]);
    until("the token is dead", async || {
        !house.vault.world().is_alive(token)
    })
    .await;
    let id = daemon.file("gitlab", 2);
    house.bob(&daemon, &["deny", &id, "--reason", "not today"]);
    assert_eq!(
        daemon.poll(&id),
        json!({"request_id": id, "status": "denied"})
    );
}

/// Polls from a thread of its own: the answer never comes.
fn polls_in_vain(daemon: &Daemon, id: &str) -> std::thread::JoinHandle<()> {
    let (url, id) = (daemon.api.clone(), id.to_owned());
    std::thread::spawn(move || {
        let headers = [("X-JIT-API-Key", super::house::KEY)];
        let url = format!("{url}/status/{id}");
        // The connection breaks off, whatever it is that says so.
        let broken = std::panic::catch_unwind(|| {
            crate::process::fetch_as("GET", &url, &headers, "");
        });
        assert!(broken.is_err(), "it was answered");
    })
}

/// Nobody got a secret, and that is what the polls say until the record is over.
async fn is_given_to_nobody(daemon: &Daemon, id: &str) {
    until("the poll says so", async || {
        let polled = daemon.poll(id);
        assert_eq!(polled["status"], "approved", "{polled}");
        assert!(polled.get("credential").is_none(), "{polled}");
        polled["error"] == COULD_NOT
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_a_kill_between_vaults_making_and_our_record_leaves_it_to_vaults_clock() {
    let house = House::with_file(5).await;
    let mut daemon = house.daemon();
    let world = house.vault.world();
    world.rule(Rule::at("auth/token/create", vault_sim::Fault::Hold).times(1));
    let id = daemon.file("radarr", 1);
    let poll = polls_in_vain(&daemon, &id);
    world.held(1).await;
    let made = world.marked("jit_request", &id);
    assert_eq!(made.len(), 1, "Vault made it");
    daemon.process.kill();
    poll.join().unwrap();
    world.release();
    let daemon = house.daemon();
    is_given_to_nobody(&daemon, &id).await;
    until("Vault ended it", async || !world.is_alive(&made[0].id)).await;
    let all = world.ledger();
    let born = |it: &&vault_sim::Entry| it.what == vault_sim::What::Born;
    let marked = all.iter().filter(born).count();
    // Root, the logins of both daemons, and the one that was lost.
    assert!(marked <= 4, "it was made a second time: {all:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_a_kill_between_influxdbs_making_and_our_record_leaves_nothing() {
    let house = House::with_file(5).await;
    let mut daemon = house.daemon();
    house.influxdb.set_fault(Some(Fault::Hold));
    let id = daemon.file("influxdb", 1);
    let poll = polls_in_vain(&daemon, &id);
    until("InfluxDB made it", async || {
        house.influxdb.authorizations().len() == 1
    })
    .await;
    let made = house.influxdb.authorizations().remove(0);
    daemon.process.kill();
    poll.join().unwrap();
    house.influxdb.set_fault(None);
    let daemon = house.daemon();
    is_given_to_nobody(&daemon, &id).await;
    until("it is found and deleted", async || {
        !house.influxdb.works(&made.token)
    })
    .await;
    assert!(made.description.contains(&id), "{made:?}");
    assert_eq!(house.influxdb.authorizations().len(), 1);
}

/// The answer of a poll is lost on its way to a program that died: nobody else gets it, and it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_while_a_credential_is_made_lets_it_come_to_its_end() {
    let house = House::with_file(600).await;
    let mut daemon = house.daemon();
    let world = house.vault.world();
    world.rule(Rule::at("auth/token/create", vault_sim::Fault::Hold).times(1));
    let id = daemon.file("radarr", 1);
    let (api, asked) = (daemon.api.clone(), id.clone());
    let poll = std::thread::spawn(move || {
        let headers = [("X-JIT-API-Key", super::house::KEY)];
        crate::process::fetch_as("GET", &format!("{api}/status/{asked}"), &headers, "")
    });
    world.held(1).await;
    daemon.process.signal("TERM");
    daemon.process.hears("stopping");
    world.release();
    let (status, polled) = poll.join().unwrap();
    assert_eq!(status, 200, "{polled}");
    let polled: serde_json::Value = serde_json::from_str(&polled).unwrap();
    let token = polled["credential"]["token"].as_str().unwrap();
    assert!(world.is_alive(token));
    assert_eq!(daemon.process.ends(), Some(0));
}
