//! What the simulation is run for.

use std::collections::BTreeMap;

use super::{Mood, Plan, run};

const PER_SEED: u64 = 20;

fn plan(seed: u64) -> Plan {
    let mood = if seed.is_multiple_of(3) {
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
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let seeds: u64 = std::env::var("SEEDS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(10);
    let first: u64 = std::env::var("FIRST")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(0);
    let mut bad = 0;
    for seed in first..first + seeds {
        let outcome = run(plan(seed));
        if !outcome.violations.is_empty() {
            bad += 1;
            println!(
                "seed {seed} {:?}: {:#?}",
                plan(seed).mood,
                outcome.violations
            );
        }
        for (name, count) in outcome.counts {
            *counts.entry(name).or_default() += count;
        }
    }
    println!("{counts:#?}\nbad {bad}");
}
