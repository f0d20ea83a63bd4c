//! The judge: reads the provider's ledger, the store, the audit and the diary of what went wrong
//! after a run, knows nothing of how the engine works, and says which promise was broken.

mod calls;
mod coverage;
mod decisions;
mod drift;
mod slots;
mod timing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::AuditEvent;
use jit_core::digest::Digest;
use jit_core::engine::verify_audit;
use jit_core::request::{AccessRequest, RequestId};

use jit_testkit::hostile::Call;

use super::diary::Attempt;
use super::{Ended, Mood, Outcome, World};

/// One request's audit, each event with the true time of its commit.
struct Story {
    record: AccessRequest,
    events: Vec<(Timestamp, AuditEvent)>,
}

struct Judge<'a> {
    world: &'a World,
    stories: BTreeMap<RequestId, Story>,
    /// What the workers tried, by request, in order.
    attempts: BTreeMap<RequestId, Vec<Attempt>>,
    standing_calls: Vec<Call>,
    minter_calls: Vec<Call>,
    spare_calls: Vec<Call>,
    violations: Vec<String>,
}

pub(crate) async fn judge(world: &World, ended: Ended) -> Outcome {
    let journal = world.diary.committed.lock().unwrap().clone();
    let records = world.records().await;
    let mut stories: BTreeMap<RequestId, Story> = records
        .into_iter()
        .map(|record| {
            let events = vec![];
            (record.id, Story { record, events })
        })
        .collect();
    for committed in &journal {
        // Events of the system chain are of no request.
        let Ok(id) = committed.sealed.chain.parse::<RequestId>() else {
            continue;
        };
        let event = committed.sealed.event().unwrap();
        if let Some(story) = stories.get_mut(&id) {
            story.events.push((committed.at, event));
        }
    }
    let mut attempts: BTreeMap<RequestId, Vec<Attempt>> = BTreeMap::new();
    for attempt in world.diary.attempts.lock().unwrap().iter() {
        attempts.entry(attempt.request).or_default().push(*attempt);
    }
    let mut judge = Judge {
        world,
        stories,
        attempts,
        standing_calls: world.standing.ledger().calls(),
        minter_calls: world.minter.ledger().calls(),
        spare_calls: world.spare.ledger().calls(),
        violations: vec![],
    };
    if ended == Ended::NotAll {
        judge.violation("L2", "something was never brought to its end");
    }
    judge.audit().await;
    judge.decided();
    judge.calls(&world.standing);
    judge.calls(&world.minter);
    judge.calls(&world.spare);
    judge.outcomes();
    judge.slots();
    judge.credentials();
    judge.drift(&journal);
    judge.timing();
    let mut counts = world.diary.counts.all();
    judge.count_edges(&mut counts);
    for provider in [&world.standing, &world.minter, &world.spare] {
        for (fault, count) in provider.fault_counts() {
            *counts.entry(format!("fault {fault}")).or_default() += count;
        }
    }
    let bodies: String = journal
        .iter()
        .map(|it| format!("{}{}", it.at, it.sealed.body))
        .collect();
    let calls = [
        &judge.standing_calls,
        &judge.minter_calls,
        &judge.spare_calls,
    ];
    let calls = format!("{calls:?}");
    let trace = Digest::of_parts(&[bodies.as_bytes(), calls.as_bytes()]);
    Outcome {
        violations: judge.violations,
        counts,
        trace,
    }
}

impl Judge<'_> {
    fn violation(&mut self, invariant: &str, what: impl std::fmt::Display) {
        self.violations.push(format!("{invariant}: {what}"));
    }

    /// How far two clocks of this run were ever apart.
    fn clock_room(&self) -> Duration {
        let clocks = *self.world.diary.clocks.lock().unwrap();
        clocks.ahead + clocks.behind
    }

    /// S16, S15: the audit is whole, and no secret is anywhere in it or in the store.
    async fn audit(&mut self) {
        let report = verify_audit(self.world.store.as_ref()).await.unwrap();
        for problem in report.problems {
            self.violation("S16", problem);
        }
        let secrets = self.world.secrets.lock().unwrap().clone();
        let mut collected = BTreeSet::new();
        for (id, _) in &secrets {
            if !collected.insert(*id) {
                self.violation("S15", format!("{id} was collected twice"));
            }
        }
        let stored: String = self
            .world
            .store
            .stored()
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        let chains = self.world.store.as_ref().all_chains();
        let chains: String = chains
            .into_values()
            .flatten()
            .map(|sealed| sealed.body)
            .collect();
        for (id, secret) in secrets {
            if stored.contains(&secret) || chains.contains(&secret) {
                self.violation("S15", format!("the secret of {id} was kept"));
            }
        }
    }

    /// What the provider could not do, or was asked to do late, is not ours: before this instant
    /// the bounds of a hostile run do not count.
    fn bounds_from(&self, at: Timestamp) -> Timestamp {
        match self.world.plan.mood {
            Mood::Calm => at,
            Mood::Hostile => {
                let calm_from = self
                    .world
                    .calm_from
                    .lock()
                    .unwrap()
                    .unwrap_or(Timestamp::MAX);
                // A hostile provider is out for two minutes at the most and fails one call in four.
                (at + Duration::from_secs(900)).min(at.max(calm_from) + Duration::from_secs(180))
            }
        }
    }
}
