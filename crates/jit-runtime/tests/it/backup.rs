//! `jit backup`: a copy that was read back, for its owner alone, and nothing else changed.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jit_runtime::operate::{
    AuditVerb, BackupArgs, Form, OperateError, Operation, Outcome, VerifyArgs,
};
use rusqlite::Connection;
use serde_json::json;

use crate::house::House;

fn to(file: PathBuf) -> Operation {
    Operation::Backup(BackupArgs { file })
}

#[tokio::test]
async fn a_backup_is_written_beside_a_running_daemon_and_read_back() {
    let house = House::new();
    let daemon = house.daemon().await;
    let (ana, _) = house.callers(&daemon).await;
    ana.asked("1h").await;
    let file = house.file("copy.db");
    let (outcome, said) = house.operate(to(file.clone())).await;
    assert_eq!(outcome, Outcome::Well, "{said}");
    assert_eq!(
        (&said["sound"], &said["requests"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(said["problems"], json!([]));
    let written = std::fs::metadata(&file).unwrap();
    assert_eq!(said["bytes"], json!(written.len()));
    assert_eq!(written.permissions().mode() & 0o777, 0o600);
    for beside in ["copy.db-wal", "copy.db-shm", "copy.db-journal"] {
        assert!(!house.file(beside).exists(), "{beside}");
    }
    let text = house.operate_in(Form::Text, to(house.file("second.db")));
    let (_, text) = text.await.unwrap();
    assert!(text.contains("1 request and ") && text.contains("its audit verified"));
    assert!(text.contains("hashes of tokens, and only its owner can read it"));
    daemon.stop().await;
    // The copy is a store as good as the one that it is of.
    let copied = format!("sqlite = \"{}\"", file.display());
    house.rewrite("jit.toml", &[("sqlite = \"jit.db\"", &copied)]);
    let (outcome, report) = house
        .operate(Operation::Audit(AuditVerb::Verify(VerifyArgs::default())))
        .await;
    assert_eq!(
        (outcome, &report["events"]),
        (Outcome::Well, &said["events"])
    );
}

#[tokio::test]
async fn a_backup_replaces_nothing_and_needs_a_store_and_a_folder() {
    let house = House::new();
    let refused = async |file: &str| {
        let file = house.file(file);
        let refused = house.operate_in(Form::Text, to(file)).await;
        refused.unwrap_err().to_string()
    };
    let none = refused("copy.db").await;
    assert!(none.contains("there is no store at "), "{none}");
    assert!(!house.file("jit.db").exists() && !house.file("copy.db").exists());
    house.token("ana").await;
    std::fs::write(house.file("copy.db"), "the accounts of last year").unwrap();
    for file in ["copy.db", "jit.db", "no/copy.db", "copy.db/copy.db"] {
        let told = refused(file).await;
        assert!(
            told.contains("must not exist, and its folder must"),
            "{told}"
        );
    }
    let kept = std::fs::read_to_string(house.file("copy.db")).unwrap();
    assert_eq!(kept, "the accounts of last year");
}

#[tokio::test]
async fn a_backup_of_an_edited_audit_says_so_and_is_there() {
    let house = House::new();
    house.token("ana").await;
    let raw = Connection::open(house.file("jit.db")).unwrap();
    let edit = "DROP TRIGGER event_stays; UPDATE event SET body = replace(body, 'ana', 'bob')";
    raw.execute_batch(edit).unwrap();
    let said = house
        .operate_in(Form::Text, to(house.file("copy.db")))
        .await;
    let (outcome, text) = said.unwrap();
    assert_eq!(outcome, Outcome::Wrong);
    assert!(
        text.starts_with("chain system: event 1 was changed"),
        "{text}"
    );
    assert!(text.contains("1 problem in it; the store that it was copied from has the same"));
    assert!(house.file("copy.db").exists());
}

#[tokio::test]
async fn a_backup_brings_no_older_schema_up_to_date() {
    let house = House::new();
    house.token("ana").await;
    let raw = Connection::open(house.file("jit.db")).unwrap();
    raw.pragma_update(None, "user_version", 2).unwrap();
    let (outcome, said) = house.operate(to(house.file("copy.db"))).await;
    assert_eq!((outcome, &said["schema"]), (Outcome::Well, &json!(2)));
    assert_eq!(said["events"], json!(null));
    let found: i64 = raw
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, 2);
}

#[tokio::test]
async fn a_table_is_backed_up_by_aws_and_the_command_is_told() {
    let house = House::new();
    house.rewrite(
        "jit.toml",
        &[("sqlite = \"jit.db\"", "dynamodb = \"access\"")],
    );
    let told = house
        .operate_in(Form::Text, to(house.file("copy.db")))
        .await;
    let told = told.unwrap_err();
    assert!(matches!(told, OperateError::BackupOfTable { .. }));
    let told = told.to_string();
    assert!(told.contains("restore-table-to-point-in-time --source-table-name access "));
    assert!(!house.file("copy.db").exists());
}
