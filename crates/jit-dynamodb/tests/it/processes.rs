//! Several processes on one table: one decision each, whoever is faster; and what was answered as
//! written is there after the process was killed. The children are this very binary, started again
//! with one test selected.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use aws_sdk_dynamodb::Client;
use jit_core::audit::{Fact, verify_request};
use jit_core::ports::{CommitError, RequestStore};
use jit_core::request::{RequestId, Status};
use jit_dynamodb::{Difference, DynamoStore};
use jit_testkit::sample;

use crate::world::{World, config_for};

const DECISIONS: u16 = 60;
/// Names the server and the table to a child; a run of the whole suite has no such variable.
const SERVER: &str = "JIT_DYNAMO_TEST_SERVER";
const TABLE: &str = "JIT_DYNAMO_TEST_TABLE";
/// What a child is to make of every request.
const ROLE: &str = "JIT_DYNAMO_TEST_ROLE";

fn child(test: &str, world: &World, table: &str, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(SERVER, world.url())
        .env(TABLE, table)
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The store of a child; none where this is no child.
async fn inherited() -> Option<(DynamoStore, String)> {
    let told = |name| std::env::var_os(name)?.into_string().ok();
    let (url, table) = (told(SERVER)?, told(TABLE)?);
    let client = Client::from_conf(config_for(&url).build());
    let store = DynamoStore::open(client, &table).await.unwrap();
    Some((store, told(ROLE)?))
}

fn healthy(difference: Difference) -> bool {
    !difference.is_worth_an_alarm() && difference.left_alone == 0
}

#[tokio::test]
async fn of_three_processes_exactly_one_decides_each_request() {
    let world = World::new();
    let table = world.table().await;
    let store = world.open(&table).await;
    for number in 0..DECISIONS {
        let pending = sample::creation(sample::request(number));
        store.commit(sample::commit([pending])).await.unwrap();
    }
    let mut children: Vec<(&str, Child)> = ["denied", "withdrawn", "lapsed"]
        .into_iter()
        .map(|role| {
            (
                role,
                child("processes::a_child_decides", &world, &table, role),
            )
        })
        .collect();
    // All wait for this line, so that none is done before the others began.
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
    assert_eq!((won.len(), lost), (decisions, 2 * decisions));
    for (id, winners) in won {
        assert_eq!(winners.len(), 1, "{id} was decided by {winners:?}");
        let record = store.load(id).await.unwrap().unwrap();
        assert_eq!(record.status().as_str(), winners[0], "{id}");
        let events = store.events(id).await.unwrap();
        assert_eq!((record.version, events.len()), (2, 2));
        verify_request(&record, &events).unwrap();
    }
    assert!(healthy(store.check().await.unwrap()));
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "a child talks to the test that started it"
)]
async fn a_child_decides() {
    let Some((store, role)) = inherited().await else {
        return;
    };
    let status: Status = role.parse().unwrap();
    let mut pending = Vec::new();
    for number in 0..DECISIONS {
        pending.push(store.load(sample::id(number)).await.unwrap().unwrap());
    }
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
    let world = World::new();
    let table = world.table().await;
    let mut child = child(
        "processes::a_child_writes_until_it_is_killed",
        &world,
        &table,
        "any",
    );
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
    let store = world.open(&table).await;
    for id in ids {
        let record = store.load(id).await.unwrap();
        let record = record.expect("it was answered as written");
        let events = store.events(id).await.unwrap();
        verify_request(&record, &events).unwrap();
    }
    assert!(healthy(store.check().await.unwrap()));
    let next = sample::creation(sample::request(60_000));
    store.commit(sample::commit([next])).await.unwrap();
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "a child talks to the test that started it"
)]
async fn a_child_writes_until_it_is_killed() {
    let Some((store, _)) = inherited().await else {
        return;
    };
    for number in 0..50_000 {
        let change = sample::creation(sample::request(number));
        let id = change.record.id;
        store.commit(sample::commit([change])).await.unwrap();
        println!("wrote {id}");
    }
}
