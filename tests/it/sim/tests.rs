//! What the simulation is run for.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sabotage::Saboteur;
use super::{Mood, Plan, run};

const PER_SEED: u64 = 20;

fn plan(seed: u64) -> Plan {
    let mood = if seed.is_multiple_of(4) {
        Mood::Calm
    } else {
        Mood::Hostile
    };
    Plan {
        seed,
        lifecycles: PER_SEED,
        mood,
        saboteur: None,
    }
}

#[test]
fn probe() {
    let counts: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let seeds: u64 = std::env::var("SEEDS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(10);
    let first: u64 = std::env::var("FIRST")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(0);
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let outcome = run(plan(seed));
                    if !outcome.violations.is_empty() {
                        println!(
                            "seed {seed} {:?}: {:#?}",
                            plan(seed).mood,
                            outcome.violations
                        );
                    }
                    let mut counts = counts.lock().unwrap();
                    for (name, count) in outcome.counts {
                        *counts.entry(name).or_default() += count;
                    }
                }
            });
        }
    });
    println!("{:#?}", counts.lock().unwrap());
}

#[test]
fn sabo() {
    for saboteur in [
        Saboteur::GrantFirst,
        Saboteur::TimeoutMeansFailed,
        Saboteur::DeleteMeansRevoked,
        Saboteur::NoSettling,
        Saboteur::SettlesTooShort,
        Saboteur::PooledConnection,
        Saboteur::CheckThenPause,
        Saboteur::HandOverAtApproval,
        Saboteur::TwoRecordsForOneSlot,
        Saboteur::TtlOnLiveRow,
        Saboteur::TimerInMemory,
        Saboteur::GivesUp,
        Saboteur::SettlesFromAbsence,
        Saboteur::SettlesAnew,
        Saboteur::ForgetsEarlierCalls,
        Saboteur::StaleAuthority,
    ] {
        let began = std::time::SystemTime::now();
        let caught = (0..40).find_map(|seed| {
            let outcome = run(Plan {
                saboteur: Some(saboteur),
                ..plan(seed)
            });
            (!outcome.violations.is_empty()).then_some((seed, outcome.violations))
        });
        match caught {
            Some((seed, violations)) => {
                let kinds: std::collections::BTreeSet<String> = violations
                    .iter()
                    .map(|it| it.chars().take(3).collect())
                    .collect();
                println!(
                    "{saboteur:?}: seed {seed}, {kinds:?} {:?} {:?}",
                    violations.first(),
                    began.elapsed()
                );
            }
            None => println!("{saboteur:?}: NOT CAUGHT {:?}", began.elapsed()),
        }
    }
}
