//! The stories that people live through, word for word.

use std::fmt::Write;
use std::time::Duration;

use jit_cli::{Exit, Form};

use crate::town::Town;
use crate::world::{ADMINS, QUICK, SECRET};

/// Types each line as its person and writes down what was said, the ids shortened to one letter.
struct Transcript {
    text: String,
}

impl Transcript {
    async fn line(&mut self, town: &Town, who: &str, words: &[&str]) {
        let told = town.says(who, words).await;
        writeln!(self.text, "{who}$ jit {}", words.join(" ")).unwrap();
        self.text.push_str(&told.text);
        match told.result {
            Ok(exit) => writeln!(self.text, "[{}]\n", exit.code()).unwrap(),
            Err(error) => writeln!(self.text, "{error}\n[1]\n").unwrap(),
        }
    }
}

#[tokio::test]
async fn ana_asks_bob_approves_it_is_there_and_she_returns_it() {
    let town = Town::new().await;
    let mut said = Transcript {
        text: String::new(),
    };
    said.line(&town, "ana", &["list", "--entitlements"]).await;
    let ask = [
        "request",
        ADMINS,
        "--reason",
        "the disk is full",
        "--ttl",
        "30m",
    ];
    said.line(&town, "ana", &ask).await;
    let id = town.world.store.records()[0].id.to_string();
    let id = &id[id.len() - 8..];
    said.line(&town, "ana", &["approve", id]).await;
    said.line(&town, "bob", &["list", "--status", "pending"])
        .await;
    said.line(&town, "bob", &["approve", id, "--for", "10m"])
        .await;
    town.world.tend().await;
    said.line(&town, "ana", &["show", id]).await;
    said.line(&town, "eve", &["show", id]).await;
    town.world.clock.advance(Duration::from_secs(60));
    said.line(&town, "ana", &["end", id]).await;
    town.world.tend().await;
    assert!(!town.world.groups.has("admins", "ana@example.com"));
    said.line(&town, "ana", &["end", id]).await;
    said.line(&town, "olga", &["history", id]).await;
    said.line(&town, "ana", &["status"]).await;
    insta::assert_snapshot!("story", said.text);
}

#[tokio::test]
async fn whoever_waits_is_told_when_it_is_there_how_to_use_it_and_until_when() {
    let town = Town::new().await;
    let words = [
        "request",
        ADMINS,
        "--reason",
        "disk full",
        "--ttl",
        "30m",
        "--wait",
    ];
    let decided = async {
        town.somebody_asks().await;
        let id = town.world.store.records()[0].id.to_string();
        town.says("bob", &["approve", &id]).await.done();
        town.world.tend().await;
    };
    let (told, ()) = tokio::join!(town.says("ana", &words), decided);
    assert_eq!(told.result.unwrap().code(), 0);
    let lines: Vec<&str> = told.text.lines().collect();
    assert_eq!(
        lines[1],
        "waiting for 1 approval until 2026-01-01 00:15:00 UTC"
    );
    let last = &lines[lines.len() - 2..];
    assert_eq!(
        last,
        [
            "active until 2026-01-01 00:30:00 UTC (30:00 left)",
            "log in as usual; groupfile/admins is yours"
        ]
    );
    assert!(
        !told.text.contains('\u{1b}'),
        "a pipe gets whole lines only"
    );
}

#[tokio::test]
async fn on_a_terminal_a_line_counts_down_by_the_clock_of_the_server() {
    let town = Town::new().await;
    town.world.clock.advance(Duration::from_secs(300));
    let words = ["request", ADMINS, "--reason", "disk full", "--wait"];
    let decided = async {
        town.somebody_asks().await;
        let id = town.world.store.records()[0].id.to_string();
        town.says("bob", &["deny", &id, "--reason", "not today"])
            .await
            .done();
    };
    let waiting = town.says_at("ana", Form::Terminal, &words);
    let (told, ()) = tokio::join!(waiting, decided);
    assert_eq!(told.result.unwrap(), Exit::NotDone);
    assert_eq!(Exit::NotDone.code(), 2);
    let drawn = "\r\u{1b}[2Kwaiting for 1 approval, lapses in 15:00";
    assert!(told.text.contains(drawn), "{:?}", told.text);
    let last = "\r\u{1b}[2Kdenied by bob@example.com: not today\n";
    assert!(told.text.ends_with(last), "{:?}", told.text);
}

#[tokio::test]
async fn whoever_waits_for_a_credential_is_told_to_collect_it() {
    let town = Town::new().await;
    let words = [
        "request",
        SECRET,
        "--reason",
        "disk full",
        "--wait",
        "--param",
        "path=\"/a\"",
    ];
    let decided = async {
        town.somebody_asks().await;
        let id = town.world.store.records()[0].id.to_string();
        town.says("bob", &["approve", &id]).await.done()
    };
    let (told, approved) = tokio::join!(town.says("ana", &words), decided);
    assert!(
        approved.contains("approving vault/billing {\"path\":\"/a\"} for ana@example.com for 30m")
    );
    let text = told.done();
    let record = town.world.store.records()[0].id.to_string();
    let short = &record[record.len() - 8..];
    let line = format!(
        "approved; collect the credential by 2026-01-01 00:10:00 UTC: jit collect {short}\n"
    );
    assert!(text.ends_with(&line), "{text}");
    let secret = town.says("ana", &["collect", short]).await.done();
    assert_eq!(
        secret,
        format!("s3cret-of-{record}\n"),
        "a pipe gets the credential alone"
    );
    let again = town.says("ana", &["collect", short]).await;
    assert!(again.refused().contains("it is given once"));
}

#[tokio::test]
async fn what_is_approved_automatically_needs_no_wait_for_people() {
    let town = Town::new().await;
    let words = [
        "request",
        QUICK,
        "--reason",
        "disk full",
        "--wait",
        "--json",
    ];
    let given = async {
        town.somebody_asks().await;
        town.world.tend().await;
    };
    let (told, ()) = tokio::join!(town.says("ana", &words), given);
    let json: serde_json::Value = serde_json::from_str(&told.done()).unwrap();
    assert_eq!(json["status"], "active");
    assert_eq!(json["approvals"][0]["automatic"], true);
}
