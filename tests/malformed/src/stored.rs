//! Records of a store that something else wrote: damaged, of a later release, or saying what no
//! lifecycle says.
//!
//! One is read as it is written, or refused with a sentence; whoever reads, lists and tends beside it
//! is served as if it were not there.

use std::cell::RefCell;
use std::error::Error;
use std::time::Duration;

use jit_core::engine::EngineError;
use jit_core::ports::{Query, RequestStore};
use jit_core::request::{AccessRequest, RequestId};
use jit_sqlite::{Options, SqliteStore};
use jit_testkit::sample;
use jit_testkit::stage::{Stage, via};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{After, assert_sentence, folder, in_world, runtime};

thread_local! {
    static ENGINE: RefCell<Option<Service>> = const { RefCell::new(None) };
    static SQLITE: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// A record of each kind as it is stored, the first one with an id that an engine knows.
pub fn samples() -> Vec<String> {
    let mut texts = vec![Service::new().damaged.1];
    let all = jit_core::request::Status::ALL.into_iter().enumerate();
    texts.extend(all.map(|(at, status)| {
        let number = u16::try_from(at).unwrap();
        sample::request_in(number, status).to_stored()
    }));
    texts
}

/// Reads this as a record.
pub fn text(text: &str) {
    match AccessRequest::from_stored(text) {
        Ok(record) => {
            let again = AccessRequest::from_stored(&record.to_stored()).unwrap();
            assert_eq!(again, record);
            // Whatever it says can be shown and judged.
            let _ = (record.status(), record.digest(), record.residual_max());
        }
        Err(error) => {
            assert_sentence(&error.to_string());
            if let Some(source) = error.source() {
                assert_sentence(&source.to_string());
            }
        }
    }
}

/// Puts this in the place of a record behind an engine: whoever reads, lists and tends goes on.
pub fn behind_engine(text: &str) {
    in_world(&ENGINE, Service::new, |service| service.with(text));
}

/// Puts this in the place of a record in a file of SQLite.
pub fn in_sqlite(text: &str) {
    in_world(&SQLITE, File::new, |file| {
        file.with(text);
        After::Keep
    });
}

struct Service {
    runtime: Runtime,
    stage: Stage,
    /// What was given, opened between the others.
    damaged: (RequestId, String),
    others: [RequestId; 2],
}

impl Service {
    fn new() -> Self {
        let runtime = runtime();
        let (stage, others) = runtime.block_on(async {
            let stage = Stage::new();
            let before = stage.open("cleo", "10m").await.id;
            stage.clock.advance(Duration::from_secs(1));
            stage.active("30m").await;
            stage.clock.advance(Duration::from_secs(1));
            let behind = stage.open("bob", "10m").await.id;
            (stage, [before, behind])
        });
        let stored = stage.store.stored();
        let [(before, _), damaged, (behind, _)] = stored.try_into().unwrap();
        assert_eq!([before, behind], others, "ids follow the clock");
        Self {
            runtime,
            stage,
            damaged,
            others,
        }
    }

    fn with(&self, text: &str) -> After {
        let (damaged, others) = (&self.damaged, &self.others);
        let (store, engine) = (&self.stage.store, &self.stage.engine);
        store.put_stored(damaged.0, text);
        self.runtime.block_on(async {
            let auditor = via("sven");
            let query = Query {
                limit: 100,
                ..Query::default()
            };
            let listed = engine.list(&auditor, query).await.unwrap().requests;
            for id in others {
                assert!(listed.iter().any(|it| it.id == *id), "{id} is not listed");
                engine.read(&auditor, *id).await.unwrap();
            }
            for answer in [
                engine.read(&auditor, damaged.0).await.map(drop),
                engine.background(&via("bob"), damaged.0).await.map(drop),
                engine.tend(damaged.0).await,
            ] {
                if let Err(error) = answer {
                    assert_told(&error);
                }
            }
            engine.due(100).await.unwrap();
            for id in others {
                engine.tend(*id).await.unwrap();
            }
        });
        store.put_stored(damaged.0, &damaged.1);
        // A record that could be read may have been tended.
        match AccessRequest::from_stored(text) {
            Ok(_) => After::Drop,
            Err(_) => After::Keep,
        }
    }
}

fn assert_told(error: &EngineError) {
    match error {
        EngineError::Refused(refusal) => assert_sentence(&refusal.to_string()),
        EngineError::Failed(failed) => assert_sentence(&failed.chain().to_string()),
    }
}

struct File {
    runtime: Runtime,
    store: SqliteStore,
    file: Connection,
    damaged: RequestId,
    /// Some of them before it, some behind it.
    others: Vec<RequestId>,
    whole: String,
    _folder: TempDir,
}

impl File {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().unwrap();
        let folder = folder();
        let path = folder.path().join("jit.db");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        let mut ids: Vec<RequestId> = (0..4).map(sample::id).collect();
        let changes = (0..4).map(|number| sample::creation(sample::request(number)));
        runtime
            .block_on(store.commit(sample::commit(changes)))
            .unwrap();
        let damaged = ids.remove(2);
        let whole = runtime.block_on(store.load(damaged)).unwrap().unwrap();
        Self {
            runtime,
            store,
            file: Connection::open(&path).unwrap(),
            damaged,
            others: ids,
            whole: whole.to_stored(),
            _folder: folder,
        }
    }

    fn put(&self, text: &str) {
        let mut put = self
            .file
            .prepare_cached("UPDATE request SET body = ?1 WHERE id = ?2");
        let values = params![text, self.damaged.to_string()];
        assert_eq!(put.as_mut().unwrap().execute(values).unwrap(), 1);
    }

    fn with(&self, text: &str) {
        self.put(text);
        self.runtime.block_on(async {
            let query = Query {
                limit: 100,
                ..Query::default()
            };
            let listed = self.store.query(&query).await.unwrap();
            for id in &self.others {
                assert!(listed.iter().any(|it| it.id == *id), "{id} is not listed");
            }
            match self.store.load(self.damaged).await {
                Ok(found) => {
                    assert!(AccessRequest::from_stored(text).is_ok(), "{text}");
                    assert_eq!(found.unwrap().id, self.damaged, "{text}");
                }
                Err(error) => assert_sentence(&error.chain().to_string()),
            }
        });
        self.put(&self.whole);
    }
}
