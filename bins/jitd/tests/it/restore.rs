//! A store that is restored from a backup: what happened since is found out, and nothing is given
//! twice. Everything runs as processes, as it does for whoever restores one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jit_cli::{ApproveArgs, Command, IdArgs, RequestArgs};
use jitd::demo::{Person, Stage};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::process::{Process, fetch, program, ran, read, text, until};
use crate::served::{daemon, jit};

const READERS: &str = "\n[[entitlement]]\nid = \"groupfile/readers\"\ntitle = \"Read the wiki\"\n\
                       how_to_use = \"Sign in.\"\ntier = \"standard\"\n";

/// What `jit` prints, where all is well.
fn operated(stage: &Stage, arguments: &[&str]) -> Value {
    let config = stage.config().file.display().to_string();
    let arguments = [&["--config", &config, "--json"], arguments].concat();
    let output = ran(program("jit", &arguments));
    let (out, remarks) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{remarks}");
    serde_json::from_str(&out).unwrap()
}

/// Somebody asks, Bob approves, and it is there.
async fn granted(stage: &Stage, who: Person, server: &str, what: &str, ttl: &str) -> String {
    let ask = Command::Request(RequestArgs {
        entitlement: what.to_owned(),
        reason: "the disk is full".to_owned(),
        ttl: Some(ttl.to_owned()),
        beneficiary: None,
        parameters: vec![],
        wait: false,
    });
    let asked = jit(stage, who, server, ask).await;
    let id = asked["id"].as_str().unwrap().to_owned();
    let approve = ApproveArgs {
        id: id.clone(),
        ttl: None,
    };
    jit(stage, Person::Bob, server, Command::Approve(approve)).await;
    becomes(stage, who, server, &id, "active").await;
    id
}

async fn show(stage: &Stage, who: Person, server: &str, id: &str) -> Value {
    let show = Command::Show(IdArgs { id: id.to_owned() });
    jit(stage, who, server, show).await
}

async fn becomes(stage: &Stage, who: Person, server: &str, id: &str, status: &str) {
    until(&format!("{id} is {status}"), async || {
        show(stage, who, server, id).await["status"] == status
    })
    .await;
}

/// Where a daemon shows its metrics.
fn observe(process: &Process) -> String {
    let lines = process.heard.iter();
    let mut serving = lines.filter(|line| line.contains("\"serving\""));
    let line: Value = serde_json::from_str(serving.next().unwrap()).unwrap();
    format!("http://{}", line["fields"]["observe"].as_str().unwrap())
}

/// Who is in a group.
fn members(stage: &Stage, group: &str) -> Vec<String> {
    let groups = read(&stage.groups());
    let line = groups
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{group}:")));
    line.unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// The file of the store, or one beside it.
fn store(stage: &Stage, suffix: &str) -> PathBuf {
    let folder = stage.config().file.parent().unwrap();
    folder.join(format!("jit.db{suffix}"))
}

/// As `docs/OPERATIONS.md` says.
fn put_in_place(stage: &Stage, backup: &Path) {
    for suffix in ["-wal", "-shm"] {
        let _absent = fs::remove_file(store(stage, suffix));
    }
    fs::copy(backup, store(stage, "")).unwrap();
    // The daemons look at everything once in a quarter of an hour, and this store remembers that they
    // did: here that time is over.
    let raw = Connection::open(store(stage, "")).unwrap();
    let looks = "DELETE FROM counter WHERE key LIKE 'look at %'";
    assert!(raw.execute(looks, []).unwrap() > 0);
}

#[tokio::test]
async fn what_a_restored_old_store_does_not_know_is_found_and_what_it_knows_ends_on_time() {
    let stage = Stage::set().await.unwrap();
    let file = &stage.config().file;
    fs::write(file, read(file) + READERS).unwrap();
    let (mut process, server) = daemon(&stage);
    let admins = "groupfile/admins";
    let known = granted(&stage, Person::Ana, &server, admins, "30s").await;
    let given_back = granted(&stage, Person::Carol, &server, admins, "1h").await;

    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup.db");
    let said = operated(&stage, &["backup", backup.to_str().unwrap()]);
    assert_eq!(
        (&said["sound"], &said["requests"]),
        (&json!(true), &json!(2))
    );
    assert!(said["events"].as_u64().unwrap() > 8, "{said}");
    let written = fs::metadata(&backup).unwrap();
    assert_eq!(said["bytes"], json!(written.len()));
    assert_eq!(written.permissions().mode() & 0o777, 0o600);

    let end = Command::End(IdArgs {
        id: given_back.clone(),
    });
    jit(&stage, Person::Carol, &server, end).await;
    becomes(&stage, Person::Carol, &server, &given_back, "ended").await;
    let lost = granted(&stage, Person::Ana, &server, "groupfile/readers", "1h").await;
    process.signal("TERM");
    assert_eq!(process.ends(), Some(0), "{:#?}", process.heard);

    put_in_place(&stage, &backup);
    operated(&stage, &["audit", "verify"]);
    let (mut process, server) = daemon(&stage);
    assert_eq!(members(&stage, "readers"), ["root-oncall", "dora", "ana"]);

    // What was given after the backup is nobody's grant: it is told, and stays.
    let drift = async || jit(&stage, Person::Carol, &server, Command::Drift).await;
    let of_ana = |drift: &Value| {
        let all = drift["unexplained"].as_array().unwrap();
        let hers = all.iter().filter(|it| it["subject"] == "ana");
        let hers: Vec<Value> = hers.map(|it| it["resource"].clone()).collect();
        hers
    };
    until("what no grant explains is told", async || {
        let drift = drift().await;
        of_ana(&drift).len() == 1 && drift["missing"].as_array().unwrap().len() == 1
    })
    .await;
    let found = drift().await;
    let readers = of_ana(&found).pop().unwrap();
    assert!(readers.as_str().unwrap().ends_with("#readers"), "{found}");
    // What was given back is missing, by a store that knows nothing of that.
    assert_eq!(found["missing"][0]["request"], json!(given_back), "{found}");
    assert_eq!(members(&stage, "admins"), ["root-oncall", "ana"]);

    // What the store knows ends by its clock.
    let grant = show(&stage, Person::Ana, &server, &known).await;
    becomes(&stage, Person::Ana, &server, &known, "ended").await;
    assert_eq!(members(&stage, "admins"), ["root-oncall"]);
    let ended = show(&stage, Person::Ana, &server, &known).await;
    assert_eq!(ended["expires_at"], grant["expires_at"], "{ended}");
    assert_eq!(members(&stage, "readers"), ["root-oncall", "dora", "ana"]);

    // Nothing was given again, and the restored store goes on as its own history.
    let metrics = fetch("GET", &format!("{}/metrics", observe(&process)), "").1;
    assert!(metrics.contains("op=\"revoke\""), "{metrics}");
    assert!(!metrics.contains("op=\"grant\""), "{metrics}");
    process.signal("TERM");
    assert_eq!(process.ends(), Some(0), "{:#?}", process.heard);
    let paged = process
        .heard
        .iter()
        .filter(|line| line.contains("that no grant explains"));
    assert!(paged.count() > 0, "{:#?}", process.heard);
    operated(&stage, &["audit", "verify"]);
    let raw = Connection::open(store(&stage, "")).unwrap();
    let lost_rows = "SELECT count(*) FROM event WHERE chain = ?1";
    let lost_rows: i64 = raw.query_row(lost_rows, [&lost], |row| row.get(0)).unwrap();
    assert_eq!(lost_rows, 0);
}
