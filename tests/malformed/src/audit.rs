//! The audit in other hands: an export whose text was changed, and a store whose events were.
//!
//! Whatever is edited, removed, cut off, moved or put in is found, and what is as it was verifies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jit_core::audit::{ChainHead, SYSTEM_CHAIN, Sealed};
use jit_core::engine::{Verb, verify_audit};
use jit_core::ports::{Change, Commit, RequestStore, SystemAppend};
use jit_core::request::{AccessRequest, RequestId};
use jit_core::{Timestamp, digest::Digest};
use jit_runtime::clock::{OsRandom, SystemClock};
use jit_runtime::config::Environment;
use jit_runtime::operate::{AuditVerb, Desk, Form, Format, Operation, Outcome, VerifyArgs};
use jit_sqlite::{Options, SqliteStore};
use jit_testkit::stage::{Stage, via};
use jit_testkit::store::MemoryStore;
use rusqlite::{Connection, params};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{After, assert_sentence, folder, in_world};

/// A configuration of a store and nothing of interest beside it.
const CONFIGURATION: &str = r#"[store]
sqlite = "jit.db"
[[provider]]
name = "groupfile"
kind = "groupfile"
file = "groups"
[[entitlement]]
id = "groupfile/admins"
title = "Administrators"
tier = "standard"
[[tier]]
name = "standard"
ttl_default = "1h"
ttl_max = "8h"
approvals = 1
[[rule]]
name = "ask"
rights = ["request"]
entitlements = ["*"]
principals = ["*"]
"#;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What `audit export --format jsonl` writes of a story.
pub fn exported() -> &'static str {
    &EXPORT
}

/// How many events the store of [`store`] has.
pub fn events() -> usize {
    EXPORT.lines().count()
}

static EXPORT: LazyLock<String> = LazyLock::new(|| World::new().export());

/// The chains of the export as it was written.
static KNOWN: LazyLock<BTreeMap<String, Vec<Sealed>>> =
    LazyLock::new(|| read(&EXPORT).expect("what was just written is read"));

/// Gives this to `audit verify --export` in the place of the export, beside a copy of the true one; says
/// whether it is sound.
pub fn export(text: &str) -> bool {
    let mut sound = false;
    in_world(&FILES, Files::new, |files| {
        std::fs::write(files.folder.path().join("now.jsonl"), text).unwrap();
        sound = files.are_verified();
        After::Keep
    });
    let is_as_it_was = read(text).is_some_and(|chains| chains == *KNOWN);
    assert_eq!(sound, is_as_it_was, "what was done to it was not found");
    sound
}

thread_local! {
    static FILES: RefCell<Option<Files>> = const { RefCell::new(None) };
}

/// A folder with the true export, and with what is taken for a later one.
struct Files {
    runtime: Runtime,
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = folder();
        std::fs::write(folder.path().join("then.jsonl"), exported()).unwrap();
        let runtime = crate::runtime();
        Self { runtime, folder }
    }

    fn are_verified(&self) -> bool {
        let (mut out, mut remarks) = (vec![], vec![]);
        let mut desk = desk(&self.folder, &mut out, &mut remarks);
        let verify = AuditVerb::Verify(VerifyArgs {
            export: Some(self.folder.path().join("now.jsonl")),
            against: Some(self.folder.path().join("then.jsonl")),
        });
        let outcome = self.runtime.block_on(desk.run(Operation::Audit(verify)));
        match outcome {
            Ok(outcome) => {
                String::from_utf8(out)
                    .unwrap()
                    .lines()
                    .for_each(assert_sentence);
                outcome == Outcome::Well
            }
            Err(error) => {
                assert_sentence(&error.to_string());
                false
            }
        }
    }
}

fn desk<'a>(folder: &TempDir, out: &'a mut Vec<u8>, remarks: &'a mut Vec<u8>) -> Desk<'a> {
    Desk {
        config: folder.path().join("jit.toml"),
        environment: Environment::default(),
        form: Form::Text,
        out,
        remarks,
        clock: &SystemClock,
        random: &OsRandom,
    }
}

/// The chains of an export, each in the order in which it stands there, as the tests read it; nothing
/// where a line is none of an export.
fn read(text: &str) -> Option<BTreeMap<String, Vec<Sealed>>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Front {
        chain: String,
        seq: u64,
        at: Timestamp,
        hash: Digest,
    }
    let mut chains: BTreeMap<String, Vec<Sealed>> = BTreeMap::new();
    for line in text.lines() {
        let (front, event) = line.split_once(",\"event\":")?;
        let front: Front = serde_json::from_str(&format!("{front}}}")).ok()?;
        let body = event.strip_suffix('}')?.to_owned();
        let is_chain = front.chain == SYSTEM_CHAIN || front.chain.parse::<RequestId>().is_ok();
        is_chain.then_some(())?;
        chains.entry(front.chain.clone()).or_default().push(Sealed {
            chain: front.chain,
            seq: front.seq,
            at: front.at,
            body,
            hash: front.hash,
        });
    }
    Some(chains)
}

/// Does this to the events of a store, one stroke after the other, and verifies it. Of the six bytes
/// of a stroke the first says what is done, the second to which event, the others how.
pub fn store(strokes: &[[u8; 6]]) {
    in_world(&WORLD, World::new, |world| {
        let mut rows = world.rows.clone();
        strokes.iter().for_each(|stroke| strike(&mut rows, stroke));
        world.verify(rows);
        After::Keep
    });
}

/// An event as SQLite has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    chain: String,
    seq: i64,
    at: i64,
    body: String,
    hash: String,
}

fn strike(rows: &mut Vec<Row>, stroke: &[u8; 6]) {
    let [what, which, a, b, c, d] = *stroke;
    let count = rows.len();
    if count == 0 {
        return;
    }
    let (one, other) = (usize::from(which) % count, usize::from(a) % count);
    let number = i64::from(i32::from_le_bytes([a, b, c, d]));
    match what % 11 {
        // One letter of the text, and where the hash is made to fit.
        0 | 1 => {
            let row = &mut rows[one];
            let at = usize::from(u16::from_le_bytes([a, b])) % row.body.len().max(1);
            let letter = char::from(c & 0x7f);
            if row.body.is_char_boundary(at) && row.body.is_char_boundary(at + 1) {
                row.body
                    .replace_range(at..=at, letter.encode_utf8(&mut [0; 4]));
            }
            if what % 11 == 1 {
                row.hash = Digest::of(row.body.as_bytes()).to_string();
            }
        }
        2 => rows[one].seq = number,
        3 => rows[one].seq += i64::from(b % 5) - 2,
        4 => rows[one].at = rows[one].at.wrapping_add(number),
        5 => rows[one].hash = rows[other].hash.clone(),
        6 => rows[one].chain = rows[other].chain.clone(),
        7 => drop(rows.remove(one)),
        // From here to the end of the chain.
        8 => {
            let (chain, seq) = (rows[one].chain.clone(), rows[one].seq);
            rows.retain(|row| row.chain != chain || row.seq < seq);
        }
        // The texts of two change places, with all that is theirs but the number.
        9 => {
            let (first, second) = (rows[one].clone(), rows[other].clone());
            rows[one] = Row {
                seq: first.seq,
                chain: first.chain.clone(),
                ..second.clone()
            };
            rows[other] = Row {
                seq: second.seq,
                chain: second.chain,
                ..first
            };
        }
        // A copy of one behind all others.
        _ => {
            let mut copy = rows[one].clone();
            let last = rows
                .iter()
                .filter(|row| row.chain == copy.chain)
                .map(|row| row.seq)
                .max();
            copy.seq = last.unwrap_or_default().wrapping_add(1);
            rows.push(copy);
        }
    }
}

struct World {
    runtime: Runtime,
    folder: TempDir,
    store: Arc<SqliteStore>,
    file: Connection,
    rows: Vec<Row>,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().unwrap();
        let told = crate::runtime().block_on(story());
        let folder = folder();
        std::fs::write(folder.path().join("jit.toml"), CONFIGURATION).unwrap();
        let path = folder.path().join("jit.db");
        let store = Arc::new(SqliteStore::open(&path, Options::default()).unwrap());
        runtime.block_on(kept_by(&told, store.as_ref()));
        let file = Connection::open(&path).unwrap();
        // These keep honest programs out.
        file.execute_batch("DROP TRIGGER event_stays; DROP TRIGGER event_remains;")
            .unwrap();
        let rows = rows_of(&file);
        Self {
            runtime,
            folder,
            store,
            file,
            rows,
        }
    }

    fn export(&self) -> String {
        let (mut out, mut remarks) = (vec![], vec![]);
        let mut desk = desk(&self.folder, &mut out, &mut remarks);
        let all = AuditVerb::Export {
            format: Format::Jsonl,
            from: None,
            until: None,
        };
        let outcome = self.runtime.block_on(desk.run(Operation::Audit(all)));
        assert_eq!(outcome.unwrap(), Outcome::Well);
        String::from_utf8(out).unwrap()
    }

    fn verify(&self, rows: Vec<Row>) {
        let mut write = self.file.prepare_cached(
            "INSERT OR REPLACE INTO event (chain, seq, at, body, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
        );
        let write = write.as_mut().unwrap();
        self.file
            .execute_batch("BEGIN IMMEDIATE; DELETE FROM event;")
            .unwrap();
        for row in &rows {
            let values = params![row.chain, row.seq, row.at, row.body, row.hash];
            write.execute(values).unwrap();
        }
        self.file.execute_batch("COMMIT").unwrap();
        let is_as_it_was = rows_of(&self.file) == self.rows;
        match self.runtime.block_on(verify_audit(self.store.as_ref())) {
            Ok(report) => {
                let problems = &report.problems;
                problems
                    .iter()
                    .for_each(|it| assert_sentence(&it.to_string()));
                assert_eq!(problems.is_empty(), is_as_it_was, "{problems:?}");
            }
            Err(error) => {
                assert_sentence(&error.chain().to_string());
                assert!(!is_as_it_was, "{error}");
            }
        }
    }
}

/// The events, sorted by chain and number.
fn rows_of(file: &Connection) -> Vec<Row> {
    let mut read = file
        .prepare_cached("SELECT chain, seq, at, body, hash FROM event ORDER BY chain, seq")
        .unwrap();
    let rows = read.query_map([], |row| {
        Ok(Row {
            chain: row.get(0)?,
            seq: row.get(1)?,
            at: row.get(2)?,
            body: row.get(3)?,
            hash: row.get(4)?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// One request that was given and one that was denied, an attempt without a right, and a checkpoint
/// that saw all of it.
async fn story() -> Arc<MemoryStore> {
    let stage = Stage::new();
    stage.active("30m").await;
    let denied = stage.open("cleo", "10m").await;
    let digest = denied.digest().prefix();
    let deny = |digest: String| Verb::Deny {
        reason: "not now, \"please\" \u{e9}".parse().unwrap(),
        digest,
    };
    let tried = stage.engine.pause(&via("ana")).await;
    assert!(tried.is_err());
    stage.say("bob", denied.id, deny(digest)).await.unwrap();
    assert_eq!(stage.engine.checkpoint().await.unwrap(), 2);
    stage.store.clone()
}

/// Puts a whole story into another store.
async fn kept_by(told: &MemoryStore, store: &SqliteStore) {
    let mut chains = told.all_chains();
    let system = chains.remove(SYSTEM_CHAIN).unwrap();
    let created = |record: AccessRequest| Change {
        events: chains[&record.id.to_string()].clone(),
        expected: None,
        wake: None,
        record,
    };
    let commit = Commit {
        changes: told.records().into_iter().map(created).collect(),
        system: Some(SystemAppend {
            expected: ChainHead::start(SYSTEM_CHAIN),
            events: system,
        }),
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    let report = verify_audit(store).await.unwrap();
    assert_eq!(report.problems, vec![]);
}
