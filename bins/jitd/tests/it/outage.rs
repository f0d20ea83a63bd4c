//! `jitd run` on a store that does not take what is written: locked by another process, or on a disk
//! that is full. New access is refused with a sentence; what was given ends on time, and the audit
//! says how (L4).

use std::path::{Path, PathBuf};
use std::process::Command as Program;

use jit_cli::{Command, Form, IdArgs, RequestArgs, Session};
use jit_runtime::config::Store;
use jitd::demo::{ENTITLEMENT, Person, Stage};
use rusqlite::Connection;

use crate::process::{Process, jitd, program, ran, read, text, until};
use crate::served::{active, jit, serves};

/// Whoever asks hears this, the first one as well.
const NO_ANSWER: &str = "the store of this service does not answer";

/// The file of the store.
fn store(stage: &Stage) -> PathBuf {
    match &stage.config().store {
        Store::Sqlite { file } => file.clone(),
        Store::DynamoDb(_) => panic!("the demo keeps everything in a file"),
    }
}

/// Ana asks for more; what she is told where that fails.
async fn asks(stage: &Stage, server: &str) -> Result<(), String> {
    let ask = Command::Request(RequestArgs {
        entitlement: ENTITLEMENT.to_owned(),
        reason: "x".repeat(1_000),
        ttl: Some("1h".to_owned()),
        beneficiary: None,
        parameters: vec![],
        wait: false,
    });
    let token = Session::token_from(&stage.token_of(Person::Ana)).unwrap();
    let session = Session::new(server, &token).unwrap();
    let asked = jit_cli::run(&ask, &session, Form::Json, &mut Vec::new()).await;
    asked.map(drop).map_err(|error| error.to_string())
}

/// The store is known to be away, and whoever asks hears so.
async fn is_refused(stage: &Stage, server: &str) {
    until("it is said why nothing is granted", async || {
        let told = asks(stage, server).await;
        told.is_err_and(|it| it.contains(NO_ANSWER))
    })
    .await;
}

/// Once the store is back: the record ends, and its audit is whole and tells.
async fn is_written_down(stage: &Stage, server: &str, id: &str) {
    until("the record says so", async || {
        let show = Command::Show(IdArgs { id: id.to_owned() });
        jit(stage, Person::Ana, server, show).await["status"] == "ended"
    })
    .await;
    let store = Connection::open(store(stage)).unwrap();
    let told = "SELECT count(*) FROM event WHERE chain = ?1 AND body LIKE '%\"store_away\"%'";
    let told: u32 = store.query_row(told, [id], |row| row.get(0)).unwrap();
    assert_eq!(told, 1);
    let file = stage.config().file.display().to_string();
    let verified = ran(program("jit", &["audit", "verify", "--config", &file]));
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_a_store_that_is_locked_delays_no_end() {
    let stage = Stage::set().await.unwrap();
    let before = read(&stage.groups());
    let file = stage.config().file.display().to_string();
    let (_daemon, server) = serves(jitd(&["run", "--config", &file]));
    let id = active(&stage, &server, "5s").await;
    let mut other = Connection::open(store(&stage)).unwrap();
    let lock = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
    let lock = lock.unwrap();
    until("it ends while nothing can be written", async || {
        read(&stage.groups()) == before
    })
    .await;
    is_refused(&stage, &server).await;
    drop(lock);
    is_written_down(&stage, &server, &id).await;
    until("things can be asked for again", async || {
        asks(&stage, &server).await.is_ok()
    })
    .await;
}

/// No file of this process may grow past this size; `None` takes the limit away.
fn limit(process: &Process, bytes: Option<u64>) {
    let bytes = bytes.map_or_else(|| "unlimited".to_owned(), |it| it.to_string());
    let mut set = Program::new("prlimit");
    set.args([
        format!("--pid={}", process.id()),
        format!("--fsize={bytes}:"),
    ]);
    assert!(set.status().unwrap().success());
}

fn size(file: &Path) -> u64 {
    file.metadata().map_or(0, |it| it.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_a_disk_that_is_full_delays_no_end() {
    let stage = Stage::set().await.unwrap();
    let before = read(&stage.groups());
    let file = stage.config().file.display().to_string();
    // Told that it may not write, the process lives on and the write fails.
    let mut command = Program::new("sh");
    let daemon = jitd(&[]).get_program().to_owned();
    command
        .env_clear()
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    command.arg(daemon).args(["run", "--config", &file]);
    let (daemon, server) = serves(command);
    let id = active(&stage, &server, "8s").await;
    let store = store(&stage);
    let log = store.with_extension("db-wal");
    limit(&daemon, Some(size(&store).max(size(&log)) + 100_000));
    let mut told = String::new();
    for _ in 0..500 {
        if let Err(why) = asks(&stage, &server).await {
            told = why;
            break;
        }
    }
    assert!(told.contains(NO_ANSWER), "{told:?}");
    // What is written for an end is less than for a request, and might fit.
    limit(&daemon, Some(16_384));
    assert!(read(&stage.groups()) != before, "it was not filled in time");
    until("it ends on a disk that is full", async || {
        read(&stage.groups()) == before
    })
    .await;
    is_refused(&stage, &server).await;
    limit(&daemon, None);
    is_written_down(&stage, &server, &id).await;
    until("things can be asked for again", async || {
        asks(&stage, &server).await.is_ok()
    })
    .await;
}
