//! The worker loop: one record's failure delays no other, revokes go first, and a pass pays what is
//! due. The simulation drives the same loop through thousands of lifecycles.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::catalog::Entitlement;
use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::Policy;
use jit_core::ports::{
    Clock, GrantCall, InspectCall, PortError, Provisioner, Random, RequestStore, RevokeCall,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Target};
use jit_core::request::{AccessRequest, Status};
use jit_runtime::worker::{Swept, Worker, WorkerSettings};
use jit_testkit::hostile::{HostileHandle, memory_standing};
use jit_testkit::stage::{Stage, catalog, rules, secs, tier, via};
use jit_testkit::time::SeededRandom;

use crate::sim::chaos::TrueClock;

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

// ------------------------------------------------------------------------- a provider that hangs

/// A provider that never answers once it is told to hang, as behind a broken network.
struct Hanging {
    inner: HostileHandle,
    hangs: Arc<AtomicBool>,
}

impl Hanging {
    async fn answer<T>(&self, answer: impl Future<Output = T>) -> T {
        if self.hangs.load(Ordering::Relaxed) {
            // Longer than any call may take by its contract.
            tokio::time::sleep(Duration::from_secs(15)).await;
            std::future::pending::<()>().await;
        }
        answer.await
    }
}

#[async_trait]
impl Provisioner for Hanging {
    fn describe(&self) -> Description {
        self.inner.describe()
    }
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Target, PortError> {
        self.inner
            .resolve(beneficiary, entitlement, parameters)
            .await
    }
    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.inner.grant(call).await
    }
    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.answer(self.inner.revoke(call)).await
    }
    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.answer(self.inner.inspect(call)).await
    }
}

#[tokio::test(start_paused = true)]
async fn l3_a_provider_that_hangs_hides_nobody_elses_revoke() {
    let stage = Stage::new();
    let clock = Arc::new(TrueClock::new());
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(3));
    let provider =
        |name| memory_standing(clock.clone(), Arc::new(SeededRandom::new(5))).named(name, name);
    let (healthy, dead) = (provider("ops"), provider("admins"));
    let hangs = Arc::new(AtomicBool::new(false));
    let hanging = Hanging {
        inner: dead.as_seen_by(clock.clone()),
        hangs: hangs.clone(),
    };
    let mut entries: Vec<Entitlement> = catalog("tier").iter().cloned().collect();
    entries[0].id = "dead/admins".parse().unwrap();
    let parts = EngineParts {
        store: stage.store.clone(),
        directory: stage.people.clone(),
        provisioners: BTreeMap::from([
            (
                "stage".parse().unwrap(),
                Arc::new(healthy.as_seen_by(clock.clone())) as Arc<dyn Provisioner>,
            ),
            ("dead".parse().unwrap(), Arc::new(hanging) as _),
        ]),
        notifiers: vec![],
        pager: stage.pager.clone(),
        clock: clock.clone(),
        random: random.clone(),
        policy: Policy::new(vec![tier("tier", 1)], rules()).unwrap(),
        catalog: entries.into_iter().collect(),
    };
    let engine = Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap());
    let mut requests = vec![];
    for number in 0..400_u64 {
        let mut ask = stage.ask("10m");
        if number == 399 {
            // Due last of all.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let entitlement = if number == 399 {
            "stage/ops"
        } else {
            "dead/admins"
        };
        ask.parts[0].0 = entitlement.parse().unwrap();
        ask.parts[0].1.insert("number".to_owned(), number.into());
        let request = engine.open(&via("ana"), ask).await.unwrap();
        let approval = Stage::approval(&request);
        engine
            .handle(&via("bob"), request.id, approval)
            .await
            .unwrap();
        engine.tend(request.id).await.unwrap();
        requests.push(request);
    }
    hangs.store(true, Ordering::Relaxed);
    let late = requests.pop().unwrap();
    let record = stage.load(late.id).await;
    let ends = record.grant().unwrap().expires_at;
    let running = worker(&engine, 16).run(std::future::pending());
    let watched = async {
        tokio::time::sleep(ends.since(clock.now()) + Duration::from_secs(5)).await;
    };
    tokio::select! {
        () = running => {}
        () = watched => {}
    }
    let part = late.parts.first();
    let is_there = healthy
        .ledger()
        .present(&part.target, &part.parameters, clock.now());
    assert!(!is_there, "the revoke waited behind another provider's");
}
