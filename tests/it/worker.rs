//! The worker loop: one record's failure delays no other, revokes go first, and a pass pays what is
//! due. The simulation drives the same loop through thousands of lifecycles.

use std::sync::Arc;
use std::time::Duration;

use jit_core::engine::Engine;
use jit_core::ports::{Random, RequestStore};
use jit_core::provider::Parameters;
use jit_core::request::{AccessRequest, Status};
use jit_runtime::worker::{Swept, Worker, WorkerSettings};
use jit_testkit::stage::{Stage, secs, via};
use jit_testkit::time::SeededRandom;

fn worker(engine: &Arc<Engine>, tasks_per_provider: usize) -> Worker {
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(11));
    let settings = WorkerSettings {
        tasks_per_provider,
        ..WorkerSettings::default()
    };
    Worker::new(engine.clone(), random, settings)
}

/// An approved request with a slot of its own.
async fn approved(stage: &Stage, number: u64) -> AccessRequest {
    let mut ask = stage.ask("10m");
    let mut parameters = Parameters::new();
    parameters.insert("number".to_owned(), number.into());
    ask.parts[0].1 = parameters;
    let request = stage.engine.open(&via("ana"), ask).await.unwrap();
    stage.approve("bob", &request).await
}

#[tokio::test]
async fn a_pass_pays_everything_that_is_due() {
    let stage = Stage::new();
    let mut requests = vec![];
    for number in 0..30 {
        requests.push(approved(&stage, number).await);
    }
    let mut sweeper = worker(&stage.engine, 4);
    let swept = sweeper.sweep().await.unwrap();
    assert!(swept.tended >= 30 && swept.failed == 0, "{swept:?}");
    for request in &requests {
        assert_eq!(stage.status(request.id).await, Status::Active);
    }
    stage.clock.advance(secs(601));
    sweeper.sweep().await.unwrap();
    for request in &requests {
        assert!(!stage.is_there(request));
    }
    stage.clock.advance(secs(60));
    sweeper.sweep().await.unwrap();
    for request in &requests {
        assert_eq!(stage.status(request.id).await, Status::Closed);
    }
    assert_eq!(sweeper.sweep().await.unwrap(), Swept::default());
}

#[tokio::test]
async fn l3_one_poison_record_delays_no_other() {
    let stage = Stage::new();
    let poison = approved(&stage, 0).await;
    let healthy = approved(&stage, 1).await;
    let mut sweeper = worker(&stage.engine, 4);
    sweeper.sweep().await.unwrap();
    // The record was damaged on disk: it is due, and cannot be tended.
    let stored = stage.store.stored();
    let (_, text) = stored.iter().find(|(id, _)| *id == poison.id).unwrap();
    stage.store.put_stored(
        poison.id,
        &text.replace("\"phase\":\"active\"", "\"phase\":\"?\""),
    );
    assert!(stage.store.load(poison.id).await.is_err());
    stage.clock.advance(secs(601));
    let swept = sweeper.sweep().await.unwrap();
    assert!(swept.failed > 0, "{swept:?}");
    assert!(!stage.is_there(&healthy));
    // It is put off, and tried again later.
    let again = sweeper.sweep().await.unwrap();
    assert_eq!(again.failed, 0, "{again:?}");
    stage.clock.advance(Duration::from_secs(90));
    assert!(sweeper.sweep().await.unwrap().failed > 0);
    // Mended, it is revoked like any other.
    stage.store.put_stored(poison.id, text);
    stage.clock.advance(Duration::from_secs(90));
    sweeper.sweep().await.unwrap();
    assert!(!stage.is_there(&poison));
}

#[tokio::test]
async fn l3_a_page_full_of_grants_hides_no_revoke() {
    let stage = Stage::new();
    let active = approved(&stage, 0).await;
    worker(&stage.engine, 4).sweep().await.unwrap();
    assert!(stage.is_there(&active));
    stage.clock.advance(secs(590));
    for number in 1..60 {
        approved(&stage, number).await;
    }
    stage.clock.advance(secs(10));
    // The grants have been due for longer; the revoke is listed before them all the same.
    let due = stage.engine.due(1).await.unwrap();
    assert_eq!(due[0].id, active.id);
}
