//! The small rows, keys and counts of the engine are found and read again by the next release. What is
//! written here is what was released: it is never edited.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fmt::Debug;

use jit_core::engine::{Drift, EngineError, NewRequest, Progress, known_time, last_checkpoint};
use jit_core::ports::{Commit, Counter, RequestStore, Row, RowChange};
use jit_core::principal::{AgentCaps, PrincipalKind, Profile};
use jit_core::provider::{Parameters, Target};
use jit_core::request::AccessRequest;
use jit_core::{Refusal, Timestamp, Ttl};
use jit_testkit::sample::{at, start};
use jit_testkit::stage::{Stage, id, secs, standing, via};
use jit_testkit::store::CommitFault;
use serde_json::json;

/// The small rows that the engine keeps, as they were released: a table, a key and a value each.
const ROWS: &str = include_str!("golden-rows/v1.txt");
const TABLES: [&str; 4] = ["checkpoint", "drift", "flag", "turn"];

async fn rows(stage: &Stage) -> String {
    let mut all = String::new();
    for table in TABLES {
        for Row { key, value, .. } in stage.store.rows(table).await.unwrap() {
            all += &format!("{table} {key} {value}\n");
        }
    }
    all
}

/// `agent:bot`, which acts for `ana` and may ask twice an hour.
fn with_bot(stage: &Stage) {
    let bot = Profile {
        id: id("agent:bot"),
        kind: PrincipalKind::Agent {
            acts_for: id("ana"),
            caps: AgentCaps {
                open: 9,
                per_hour: 2,
                ttl_max: Ttl::HOUR,
            },
        },
        active: true,
        groups: Default::default(),
        groups_unknown: Default::default(),
        manager: None,
        subjects: Default::default(),
    };
    let mut profiles = stage.people.profiles.lock().unwrap();
    profiles.insert(bot.id.clone(), bot);
}

async fn bot_asks(stage: &Stage, region: &str) -> Result<AccessRequest, EngineError> {
    let parameters = json!({ "region": region }).as_object().unwrap().clone();
    let ask = NewRequest {
        parts: vec![("stage/admins".parse().unwrap(), parameters)],
        ..stage.ask("30m")
    };
    stage.engine.open(&via("agent:bot"), ask).await
}

fn refusal<T: Debug>(answer: Result<T, EngineError>) -> Refusal {
    match answer {
        Err(EngineError::Refused(refusal)) => refusal,
        other => panic!("it was not refused: {other:?}"),
    }
}

fn stranger(subject: &str) -> Target {
    Target::new("stage", subject.parse().unwrap(), "ops")
}

/// Looks for what no grant explains, a minute later.
async fn look(stage: &Stage) {
    stage.clock.advance(secs(60));
    let provider = "stage".parse().unwrap();
    let look = stage.engine.reconciliation(&provider).await.unwrap();
    let mut look = look.unwrap();
    while !matches!(
        stage.engine.reconcile(&mut look).await,
        Ok(Progress::Done(_))
    ) {}
}

#[tokio::test]
async fn every_row_of_the_engine_is_written_as_it_was_released() {
    let stage = Stage::new();
    with_bot(&stage);
    for region in ["eu-west-1", "eu-west-2"] {
        bot_asks(&stage, region).await.unwrap();
    }
    for subject in ["mallory", "trent"] {
        let target = stranger(subject);
        stage.provider.foreign_grant(&target, &Parameters::new());
    }
    look(&stage).await;
    let mallory = stranger("mallory");
    stage.provider.foreign_revoke(&mallory, &Parameters::new());
    look(&stage).await;
    // Of the last one it is not noted that somebody was told.
    let walter = stranger("walter");
    stage.provider.foreign_grant(&walter, &Parameters::new());
    let faults = [CommitFault::LostReply, CommitFault::Conflict];
    stage.store.fail_next_commits(faults);
    look(&stage).await;
    stage.engine.checkpoint().await.unwrap();
    stage.engine.pause(&via("sven")).await.unwrap();
    stage.clock.advance(secs(60));
    stage.engine.keep_time().await.unwrap();
    assert_eq!(rows(&stage).await, ROWS);
    stage.engine.resume(&via("sven")).await.unwrap();
    let resumed = ROWS.replace("flag paused true", "flag paused false");
    assert_eq!(rows(&stage).await, resumed);
}

#[tokio::test]
async fn every_row_of_the_engine_that_was_released_is_read() {
    let stage = Stage::new();
    with_bot(&stage);
    let mut drifts = vec![];
    for line in ROWS.lines() {
        let [table, key, value] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        let table = TABLES.into_iter().find(|it| *it == table).unwrap();
        let (key, value) = (key.to_owned(), value.to_owned());
        if table == "drift" {
            let drift: Drift = serde_json::from_str(&value).unwrap();
            assert_eq!(serde_json::to_string(&drift).unwrap(), value);
            drifts.push(drift);
        }
        let row = Row { table, key, value };
        let rows = vec![RowChange {
            row,
            expected: None,
        }];
        let commit = Commit {
            rows,
            ..Commit::default()
        };
        stage.store.commit(commit).await.unwrap();
    }
    let store = stage.store.as_ref();
    assert_eq!(last_checkpoint(store).await.unwrap(), Some(at(180)));
    assert_eq!(known_time(store).await.unwrap(), Some(at(240)));
    assert!(stage.engine.is_paused().await.unwrap());
    let refused = refusal(bot_asks(&stage, "eu-west-3").await);
    assert_eq!(refused, Refusal::TooManyRequests { ceiling: 2 });

    let drift = |subject, found_at, told_at, gone_at| Drift {
        provider: "stage".parse().unwrap(),
        target: stranger(subject),
        found_at,
        told_at,
        gone_at,
    };
    let wanted = [
        drift("mallory", at(60), Some(at(60)), Some(at(120))),
        drift("trent", at(60), Some(at(60)), None),
        drift("walter", at(180), None, None),
    ];
    drifts.sort_by_key(|drift| (drift.found_at, drift.gone_at.is_none()));
    assert_eq!(drifts, wanted);
    assert_eq!(stage.engine.unexplained().await.unwrap(), wanted[1..]);
    // Only the one of whom nobody was told is told.
    let provider = "stage".parse().unwrap();
    stage.engine.tell_drift(&provider).await.unwrap();
    let pages = stage.pager.0.lock().unwrap().clone();
    let [page] = pages.as_slice() else {
        panic!("{pages:?}")
    };
    assert!(page.summary.starts_with("1 access was found"), "{page:?}");
}

/// An `Idempotency-Key` that comes again after an upgrade gets the request that it made before.
#[tokio::test]
async fn what_a_key_was_used_for_has_the_same_digest_for_ever() {
    let stage = Stage::new();
    let parameters = json!({"region": "eu-west-1"}).as_object().unwrap().clone();
    let ask = NewRequest {
        beneficiary: Some(id("ana")),
        parts: vec![("stage/admins".parse().unwrap(), parameters)],
        idempotency_key: Some("once".parse().unwrap()),
        ..stage.ask("30m")
    };
    let request = stage.engine.open(&via("ana"), ask).await.unwrap();
    let used = stage.store.idempotency("ana@example.com/once").await;
    let used = used.unwrap().unwrap();
    assert_eq!(used.request, request.id);
    let released = "2e6210d7cdc2d30746f2b248ec6f17b3e954e45245f92804509f7e55fb1c1057";
    assert_eq!(used.fingerprint.to_string(), released);
}

/// Who owns access before an upgrade owns it after it.
#[test]
fn a_slot_has_the_same_key_for_ever() {
    let target = Target::new("stage", "ana".parse().unwrap(), "admins");
    let released = [
        (
            json!({}),
            "26bcbc0b6023c3e57abd3dffbed24a40796153f3699706ee4da0a1b89132cd6b",
        ),
        (
            json!({"region": "eu-west-1", "days": 3}),
            "904622264f4054b4b8c6f3ec94e44e8c4efb1acab3da7ab6ab11607bdda323ff",
        ),
    ];
    for (parameters, key) in released {
        let parameters = parameters.as_object().unwrap();
        assert_eq!(target.slot_key(parameters).as_str(), key);
    }
}

/// Counts so often, as a release before this one did.
async fn counted(stage: &Stage, key: &str, window_secs: u64, times: usize) {
    for _ in 0..times {
        let counter = Counter {
            key: key.to_owned(),
            window: stage.now().since(Timestamp::MIN).as_secs() / window_secs,
            ceiling: u32::MAX,
            forget_at: start() + secs(7_200),
        };
        let commit = Commit {
            counters: vec![counter],
            ..Commit::default()
        };
        stage.store.commit(commit).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_counted_before_an_upgrade_counts_after_it() {
    let stage = Stage::with(standing(0, 0), 0);
    with_bot(&stage);
    counted(&stage, "opened/agent:bot", 3_600, 2).await;
    let refused = refusal(bot_asks(&stage, "eu-west-1").await);
    assert_eq!(refused, Refusal::TooManyRequests { ceiling: 2 });

    counted(&stage, "automatic/tier/ana@example.com", 3_600, 2).await;
    let refused = stage.engine.open(&via("ana"), stage.ask("30m")).await;
    let per = Ttl::HOUR;
    assert_eq!(refusal(refused), Refusal::QuotaUsed { ceiling: 2, per });

    counted(&stage, "refused/cleo@example.com", 60, 8).await;
    refusal(stage.engine.pause(&via("cleo")).await);
    let noted = stage.store.system_events(0, 10).await.unwrap();
    assert!(
        noted.is_empty(),
        "a ninth refusal in a minute is not audited"
    );
}
