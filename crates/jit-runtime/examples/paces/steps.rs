//! What is measured.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jit_core::Timestamp;
use jit_core::audit::{AuditEvent, ChainHead, Fact, Sealed};
use jit_core::digest::Digest;
use jit_core::engine::{Engine, verify_audit};
use jit_core::ports::{Change, Clock, RequestStore};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_runtime::clock::SystemClock;
use jit_sqlite::SqliteStore;
use jit_testkit::sample;
use jit_testkit::stage::{Stage, via};
use tokio::task::JoinSet;

use crate::local::{Local, service, slot_of_its_own};
use crate::stores::{active, patient};
use crate::{Aim, Failed, Measured, row};

/// How many requests there are whose events are verified.
const REQUESTS: u64 = 100_000;
const MILLI: Duration = Duration::from_millis(1);

fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// A request with so many events.
fn told(number: u64, events: u64) -> Change {
    let mut request = sample::request(0);
    request.id = sample::numbered(number);
    request.chain = ChainHead::start(&request.id.to_string());
    let mut change = sample::creation(request);
    for _ in 1..events {
        let sealed = sample::seal(&mut change.record, sample::at(1), Fact::Reappeared);
        change.events.push(sealed);
    }
    change
}

/// Audit events appended, one and sixty-four to a commit.
pub(crate) async fn appended(folder: &Path) -> Result<(), Failed> {
    for (per_commit, commits, least) in [(1_u64, 20_000_u64, 5_000.0), (64, 2_000, 75_000.0)] {
        let file = folder.join(format!("events{per_commit}.db"));
        let store = Arc::new(SqliteStore::open(file, patient())?);
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..commits {
            let change = told(number, per_commit);
            let store = store.clone();
            tasks.spawn(async move { store.commit(sample::commit([change])).await });
            if tasks.len() >= 64 {
                tasks.join_next().await.transpose()?.transpose()?;
            }
        }
        while let Some(written) = tasks.join_next().await {
            written??;
        }
        let rate = per_second(per_commit * commits, began.elapsed());
        row(
            &format!("audit events appended a second, {per_commit} to a commit"),
            rate,
            Aim::AtLeast(least),
        );
    }
    Ok(())
}

/// One ask, its approval and its access.
async fn lived(engine: &Engine, stage: &Stage, number: u64) -> Result<Duration, Failed> {
    let began = Instant::now();
    let mut ask = stage.ask("1h");
    for (_, parameters) in &mut ask.parts {
        *parameters = slot_of_its_own(number);
    }
    let request = engine.open(&via("ana"), ask).await?;
    engine
        .handle(&via("bob"), request.id, Stage::approval(&request))
        .await?;
    loop {
        engine.tend(request.id).await?;
        let now = engine.store().load(request.id).await?;
        if now.is_some_and(|it| it.status() == Status::Active) {
            return Ok(began.elapsed());
        }
    }
}

/// From the ask to the access, by so many who ask again and again.
pub(crate) async fn lifecycles(folder: &Path, commits: f64) -> Result<(), Failed> {
    for (askers, each) in [(1_u64, 300_u64), (8, 100), (64, 14)] {
        let file = folder.join(format!("askers{askers}.db"));
        let store = Arc::new(SqliteStore::open(file, patient())?);
        let provider = Arc::new(Local::default());
        let (engine, worker) = service(store, &provider)?;
        let running = tokio::spawn(worker.run(std::future::pending()));
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for asker in 0..askers {
            let engine = engine.clone();
            tasks.spawn(async move {
                let stage = Stage::new();
                let mut took = vec![];
                for number in 0..each {
                    took.push(lived(&engine, &stage, asker * each + number).await?);
                }
                Ok::<_, Failed>(took)
            });
        }
        let mut took = vec![];
        while let Some(done) = tasks.join_next().await {
            took.extend(done??);
        }
        let rate = per_second(askers * each, began.elapsed());
        running.abort();
        let took = Measured::of(took);
        row(
            &format!("ask to access, {askers} asking: p50, ms"),
            took.at(50),
            Aim::None,
        );
        row(
            &format!("ask to access, {askers} asking: p99, ms"),
            took.at(99),
            Aim::None,
        );
        row(
            &format!("lifecycles a second, {askers} asking"),
            rate,
            Aim::None,
        );
    }
    // The ask, the approval, the take, the lease, and what came of it.
    row(
        "one asker at best: commits a second of the machine / 5",
        commits / 5.0,
        Aim::None,
    );
    Ok(())
}

/// Runs a worker until so many deletes were sent and written down; when each was sent.
async fn until_gone(
    store: &Arc<SqliteStore>,
    provider: &Arc<Local>,
    count: usize,
) -> Result<Vec<(RequestId, Timestamp)>, Failed> {
    let (_, worker) = service(store.clone(), provider)?;
    let running = tokio::spawn(worker.run(std::future::pending()));
    let deletes = || {
        provider
            .deletes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    };
    while deletes().len() < count {
        tokio::time::sleep(MILLI).await;
    }
    running.abort();
    let sent = deletes().clone();
    Ok(sent)
}

fn late(sent: &[(RequestId, Timestamp)], due: impl Fn(RequestId) -> Timestamp) -> Measured {
    let late = sent.iter().map(|(id, at)| at.since(due(*id)));
    Measured::of(late.collect())
}

/// A thousand that are due at one instant: when the last of their intents and outcomes is written.
pub(crate) async fn at_one_instant(folder: &Path) -> Result<(), Failed> {
    let store = Arc::new(SqliteStore::open(folder.join("instant.db"), patient())?);
    let at = SystemClock.now() + Duration::from_secs(5);
    active(&store, (0..1_000).map(|number| (number, at))).await?;
    let provider = Arc::new(Local::default());
    let (engine, worker) = service(store.clone(), &provider)?;
    let running = tokio::spawn(worker.run(std::future::pending()));
    let mut written = Duration::ZERO;
    for number in 0..1_000 {
        let record = loop {
            let record = store
                .load(sample::numbered(number))
                .await?
                .ok_or("it was written")?;
            if matches!(record.status(), Status::Settling | Status::Closed) {
                break record;
            }
            tokio::time::sleep(MILLI).await;
        };
        written = written.max(record.updated_at.since(at));
    }
    drop(engine);
    running.abort();
    let sent = provider
        .deletes
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let sent = late(&sent, |_| at);
    row(
        "1,000 due at one instant: the last delete, ms",
        sent.at(100),
        Aim::None,
    );
    let written = written.as_secs_f64() * 1_000.0;
    row(
        "1,000 due at one instant: the last outcome committed, ms",
        written,
        Aim::AtMost(60.0),
    );
    Ok(())
}

/// Two hundred that are due at a provider that takes 50 ms for a delete.
pub(crate) async fn behind_a_slow_provider(folder: &Path) -> Result<(), Failed> {
    let store = Arc::new(SqliteStore::open(folder.join("slow.db"), patient())?);
    let at = SystemClock.now() + Duration::from_secs(2);
    active(&store, (0..200).map(|number| (number, at))).await?;
    let provider = Arc::new(Local {
        delay: Duration::from_millis(50),
        ..Local::default()
    });
    let sent = until_gone(&store, &provider, 200).await?;
    let last = late(&sent, |_| at).at(100);
    row(
        "200 due, 50 ms a delete, 16 at once: the last starts, ms",
        last,
        Aim::AtMost(700.0),
    );
    Ok(())
}

/// What a look for what is due costs: where nothing is, and ten.
pub(crate) async fn due(store: &Arc<SqliteStore>, records: u64) -> Result<(f64, f64), Failed> {
    let at = SystemClock.now();
    let mut medians = vec![];
    for (count, what) in [(0, "nothing"), (10, "ten")] {
        active(
            store,
            (0..count).map(|number| (records + 100_000 + number, at)),
        )
        .await?;
        let mut took = vec![];
        for _ in 0..2_000 {
            let began = Instant::now();
            let due = store.due(SystemClock.now(), 200).await?;
            took.push(began.elapsed());
            if due.len() as u64 != count {
                return Err(format!("{} are due, not {count}", due.len()).into());
            }
        }
        let took = Measured::of(took);
        let what = format!("due among {records}, {what}: p50, ms");
        row(&what, took.at(50), Aim::AtMost(0.1));
        medians.push(took.at(50));
    }
    // They are taken away, so that nothing else is due.
    until_gone(store, &Arc::new(Local::default()), 10).await?;
    match medians[..] {
        [nothing, ten] => Ok((nothing, ten)),
        _ => Err("two were measured".into()),
    }
}

/// How late a thousand ends are that come over ten seconds.
pub(crate) async fn lateness(store: &Arc<SqliteStore>, records: u64) -> Result<(), Failed> {
    let first = SystemClock.now() + Duration::from_secs(3);
    let end = |number: u64| first + MILLI * u32::try_from(number).unwrap_or_default() * 10;
    let base = records + 200_000;
    active(store, (0..1_000).map(|number| (base + number, end(number)))).await?;
    let provider = Arc::new(Local::default());
    let sent = until_gone(store, &provider, 1_000).await?;
    let ends: std::collections::BTreeMap<RequestId, Timestamp> = (0..1_000)
        .map(|number| (sample::numbered(base + number), end(number)))
        .collect();
    let early = sent
        .iter()
        .filter(|(id, at)| ends.get(id).is_some_and(|end| at < end));
    let early = early.count();
    let late = late(&sent, |id| ends.get(&id).copied().unwrap_or(first));
    let what = |part| format!("1,000 ends over 10 s among {records}: late {part}, ms");
    row(&what("p50"), late.at(50), Aim::AtMost(5.0));
    row(&what("p99"), late.at(99), Aim::AtMost(10.0));
    row(
        &format!("1,000 ends over 10 s among {records}: early"),
        early as f64,
        Aim::AtMost(0.0),
    );
    Ok(())
}

/// What the engine writes of a request from its asking to its end: its record, and its events.
async fn story() -> Result<(AccessRequest, Vec<AuditEvent>), Failed> {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    stage.pass(700).await;
    let record = stage.load(request.id).await;
    let events = stage.store.events(request.id).await?;
    let events: Result<Vec<_>, _> = events.iter().map(Sealed::event).collect();
    Ok((record, events?))
}

/// The same story of another request.
fn retold((record, events): &(AccessRequest, Vec<AuditEvent>), number: u64) -> Change {
    let mut request = record.clone();
    request.id = sample::numbered(number);
    let chain = request.id.to_string();
    request.chain = ChainHead::start(&chain);
    let asked = request.digest();
    let events = events.iter().map(|event| {
        let mut event = event.clone();
        event.chain.clone_from(&chain);
        event.prev = request.chain.hash;
        if let Fact::Requested { digest, .. } = &mut event.event.what {
            *digest = asked;
        }
        let body = serde_json::to_string(&event).expect("an event has string keys");
        let (seq, hash) = (event.seq, Digest::of(body.as_bytes()));
        request.chain = ChainHead { seq, hash };
        Sealed {
            chain: chain.clone(),
            seq,
            at: event.at,
            body,
            hash,
        }
    });
    let events = events.collect();
    Change {
        record: request,
        expected: None,
        events,
        wake: None,
    }
}

/// The whole audit, read and verified: of as many requests, from their asking to their end.
pub(crate) async fn verified(folder: &Path) -> Result<(), Failed> {
    let store = Arc::new(SqliteStore::open(folder.join("audit.db"), patient())?);
    let story = story().await?;
    let bytes: usize = retold(&story, 0)
        .events
        .iter()
        .map(|it| it.body.len())
        .sum();
    row(
        "bytes of an event that is verified",
        bytes as f64 / story.1.len() as f64,
        Aim::None,
    );
    let told = (0..REQUESTS).map(|number| retold(&story, number));
    sample::write(store.as_ref(), told).await?;
    // As in a daemon, the heads of all chains are in the system chain.
    let (engine, _) = service(store.clone(), &Arc::new(Local::default()))?;
    engine.checkpoint().await?;
    let began = Instant::now();
    let report = verify_audit(store.as_ref()).await?;
    let took = began.elapsed();
    if let Some(problem) = report.problems.first() {
        return Err(problem.to_string().into());
    }
    row(
        "audit events verified from the store, a second",
        per_second(report.events, took),
        Aim::AtLeast(800_000.0),
    );
    Ok(())
}
