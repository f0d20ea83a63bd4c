//! `jitd run` as a process: stopped well, and killed at the worst moment.

use std::io::{Read, Write};
use std::net::TcpStream;

use jit_cli::{ApproveArgs, Command, Form, IdArgs, RequestArgs, Session};
use jit_runtime::config::{Config, Environment};
use jit_runtime::daemon::Sweeper;
use jitd::demo::{ENTITLEMENT, Person, Stage};
use serde_json::Value;

use crate::process::{Process, jitd, read, text, until};

/// A daemon on a stage; its log is in JSON, whatever the stage says.
pub(crate) fn daemon(stage: &Stage) -> (Process, String) {
    let file = stage.config().file.display().to_string();
    serves(jitd(&["run", "--config", &file]))
}

/// This process, and where it serves.
pub(crate) fn serves(mut command: std::process::Command) -> (Process, String) {
    command.env("JIT_LOG_FORMAT", "json");
    let mut process = Process::start(command);
    let serving = process.hears("serving");
    let line: Value = serde_json::from_str(&serving).unwrap();
    let api = line["fields"]["api"].as_str().unwrap();
    (process, format!("http://{api}"))
}

pub(crate) async fn jit(stage: &Stage, person: Person, server: &str, command: Command) -> Value {
    let token = Session::token_from(&stage.token_of(person)).unwrap();
    let session = Session::new(server, &token).unwrap();
    let mut out = Vec::new();
    jit_cli::run(&command, &session, Form::Json, &mut out)
        .await
        .unwrap();
    serde_json::from_str(&text(&out)).unwrap()
}

pub(crate) async fn active(stage: &Stage, server: &str, ttl: &str) -> String {
    let ask = Command::Request(RequestArgs {
        entitlement: ENTITLEMENT.to_owned(),
        reason: "the disk is full".to_owned(),
        ttl: Some(ttl.to_owned()),
        beneficiary: None,
        parameters: vec![],
        wait: false,
    });
    let asked = jit(stage, Person::Ana, server, ask).await;
    let id = asked["id"].as_str().unwrap().to_owned();
    let approve = ApproveArgs {
        id: id.clone(),
        ttl: None,
    };
    jit(stage, Person::Bob, server, Command::Approve(approve)).await;
    until("the access is there", async || {
        let show = Command::Show(IdArgs { id: id.clone() });
        jit(stage, Person::Ana, server, show).await["status"] == "active"
    })
    .await;
    id
}

#[tokio::test]
async fn a_killed_daemon_is_outlived_by_a_sweeper_alone() {
    let stage = Stage::set().await.unwrap();
    let before = read(&stage.groups());
    let (mut process, server) = daemon(&stage);
    active(&stage, &server, "4s").await;
    process.kill();
    assert!(read(&stage.groups()).contains("ana"));
    let config = Config::read(&stage.config().file, &Environment::default()).unwrap();
    let mut sweeper = Sweeper::start(config, jit_core::engine::ClockTrust::Compared)
        .await
        .unwrap();
    until("the sweeper takes the access away", async || {
        sweeper.once().await.unwrap();
        read(&stage.groups()) == before
    })
    .await;
}

#[tokio::test]
async fn a_killed_daemon_that_is_started_again_goes_on() {
    let stage = Stage::set().await.unwrap();
    let before = read(&stage.groups());
    let (mut process, server) = daemon(&stage);
    active(&stage, &server, "4s").await;
    process.kill();
    let (_again, server) = daemon(&stage);
    until("the access is gone", async || {
        read(&stage.groups()) == before
    })
    .await;
    let list = Command::List(jit_cli::ListArgs {
        principal: None,
        entitlement: None,
        status: Some("ended".to_owned()),
        from: None,
        until: None,
        limit: None,
        after: None,
        entitlements: false,
        search: None,
    });
    until("the record says so", async || {
        let ended = jit(&stage, Person::Carol, &server, list.clone()).await;
        ended["requests"].as_array().unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_call_under_way_is_answered_before_a_daemon_stops() {
    let stage = Stage::set().await.unwrap();
    let (mut process, server) = daemon(&stage);
    let id = active(&stage, &server, "1h").await;
    let address = server.strip_prefix("http://").unwrap();
    let mut call = TcpStream::connect(address).unwrap();
    let token = read(&stage.token_of(Person::Ana));
    let asked = format!(
        "GET /v1/requests/{id}?wait=2s HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         authorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    call.write_all(asked.as_bytes()).unwrap();
    // A later call that was answered shows that this one has arrived.
    let show = Command::Show(IdArgs { id });
    jit(&stage, Person::Ana, &server, show).await;
    process.signal("TERM");
    let mut answer = String::new();
    call.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(process.ends(), Some(0), "{:#?}", process.heard);
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_daemon_stops_well_at_sigterm_and_logs_json_without_secrets() {
    let stage = Stage::set().await.unwrap();
    let (mut process, server) = daemon(&stage);
    active(&stage, &server, "1h").await;
    process.signal("TERM");
    assert_eq!(process.ends(), Some(0), "{:#?}", process.heard);
    let token = read(&stage.token_of(Person::Ana));
    for line in &process.heard {
        let read: Result<Value, _> = serde_json::from_str(line);
        assert!(read.is_ok(), "{line}");
        for secret in [token.trim(), "the disk is full", "ana@example.com"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
    assert!(
        read(&stage.groups()).contains("ana"),
        "a stop ends no access"
    );
}
