//! Several processes on one file: one decision each, whoever is faster; and what was answered as
//! written is there after the process was killed. The children are this very binary, started again
//! with one test selected.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jit_core::audit::{Fact, verify_request};
use jit_core::ports::{CommitError, RequestStore};
use jit_core::request::{RequestId, Status};
use jit_sqlite::{Options, SqliteStore};
use jit_testkit::sample;

const DECISIONS: u16 = 200;
/// Names the file to a child; a run of the whole suite has no such variable.
const FILE: &str = "JIT_SQLITE_TEST_FILE";
/// What a child is to make of every request.
const ROLE: &str = "JIT_SQLITE_TEST_ROLE";

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Options::default()).unwrap()
}

fn child(test: &str, path: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(FILE, path)
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn of_two_processes_exactly_one_decides_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let store = open(&path);
    for number in 0..DECISIONS {
        let pending = sample::creation(sample::request(number));
        store.commit(sample::commit([pending])).await.unwrap();
    }
    let mut children: Vec<(&str, Child)> = ["denied", "withdrawn"]
        .into_iter()
        .map(|role| (role, child("a_child_decides", &path, role)))
        .collect();
    // Both wait for this line, so that neither is done before the other began.
    let mut outputs = Vec::new();
    for (role, child) in &mut children {
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("ready")), "{role} starts");
        outputs.push((*role, lines));
    }
    for (_, child) in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let mut won: BTreeMap<RequestId, Vec<&str>> = BTreeMap::new();
    let mut lost = 0;
    for (role, lines) in outputs {
        for line in lines {
            if let Some((_, id)) = line.split_once("won ") {
                won.entry(id.parse().unwrap()).or_default().push(role);
            }
            lost += usize::from(line.contains("lost "));
        }
    }
    for (role, mut child) in children {
        assert!(child.wait().unwrap().success(), "{role} ends well");
    }
    let decisions = usize::from(DECISIONS);
    assert_eq!(
        (won.len(), lost),
        (decisions, decisions),
        "each was raced for by both"
    );
    for (id, winners) in won {
        assert_eq!(winners.len(), 1, "{id} was decided by {winners:?}");
        let record = store.load(id).await.unwrap().unwrap();
        assert_eq!(record.status().as_str(), winners[0], "{id}");
        assert_eq!(record.version, 2);
        let events = store.events(id).await.unwrap();
        assert_eq!(events.len(), 2, "one decision, one event");
        verify_request(&record, &events).unwrap();
    }
    assert_eq!(store.integrity().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "a child talks to the test that started it"
)]
async fn a_child_decides() {
    let (Some(path), Some(role)) = (std::env::var_os(FILE), std::env::var_os(ROLE)) else {
        return;
    };
    let status: Status = role.to_str().unwrap().parse().unwrap();
    let store = open(Path::new(&path));
    let mut pending = Vec::new();
    for number in 0..DECISIONS {
        pending.push(store.load(sample::id(number)).await.unwrap().unwrap());
    }
    // Every decision is made on the pending record, and both processes make every one.
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    for (number, before) in (0..).zip(pending) {
        let mut after = sample::next(&before, sample::at(10_000));
        after.stage = sample::request_in(number, status).stage;
        let event = sample::seal(&mut after, sample::at(10_000), Fact::Withdrawn);
        let mut change = sample::update(after);
        change.events.push(event);
        match store.commit(sample::commit([change])).await {
            Ok(_) => println!("won {}", before.id),
            Err(CommitError::Conflict) => println!("lost {}", before.id),
            Err(error) => panic!("{error}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn what_was_answered_as_written_survives_the_killing_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    let mut child = child("a_child_writes_until_it_is_killed", &path, "any");
    let output = BufReader::new(child.stdout.take().unwrap());
    let id = |line: String| Some(line.split_once("wrote ")?.1.trim().to_owned());
    let mut written = output.lines().map(Result::unwrap).filter_map(id);
    let mut ids: Vec<RequestId> = Vec::new();
    for id in written.by_ref().take(50) {
        ids.push(id.parse().unwrap());
    }
    // SIGKILL; the child is in the middle of some later commit.
    child.kill().unwrap();
    ids.extend(written.map(|id| id.parse::<RequestId>().unwrap()));
    child.wait().unwrap();

    assert!(ids.len() >= 50);
    let store = open(&path);
    for id in ids {
        let record = store
            .load(id)
            .await
            .unwrap()
            .expect("it was answered as written");
        let events = store.events(id).await.unwrap();
        verify_request(&record, &events).unwrap();
    }
    assert_eq!(store.integrity().await.unwrap(), Vec::<String>::new());
    let next = sample::creation(sample::request(60_000));
    store.commit(sample::commit([next])).await.unwrap();
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "a child talks to the test that started it"
)]
async fn a_child_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(FILE) else {
        return;
    };
    let store = open(Path::new(&path));
    for number in 0..50_000 {
        let change = sample::creation(sample::request(number));
        let id = change.record.id;
        store.commit(sample::commit([change])).await.unwrap();
        println!("wrote {id}");
    }
}
