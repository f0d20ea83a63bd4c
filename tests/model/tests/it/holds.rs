//! Unbroken, every scenario keeps every promise, and is as large as it was when it was made.

use jit_model::run::explore;
use jit_model::scenario::{Extent, Scenario, all};

/// The fewest states that each scenario must have: a model that lost half of its behaviour would
/// still hold.
const FEWEST: [(&str, usize); 10] = [
    ("standing", 150_000),
    ("invisible", 200_000),
    ("hand-over", 250_000),
    ("late-answer", 180_000),
    ("windows", 150_000),
    ("minted", 70_000),
    ("expiring", 12_000),
    ("quorum", 25_000),
    ("clocks", 40_000),
    ("foreign", 100),
];

fn holds(name: &str) {
    let scenario = Scenario::named(name, Extent::Bounded).unwrap();
    let report = explore(scenario, None, None, 2);
    println!("{report}");
    for (promise, way) in &report.broken {
        println!("\n{promise}\n{way}");
    }
    assert!(report.holds(), "{report}");
    let fewest = FEWEST.iter().find(|it| it.0 == name).unwrap().1;
    assert!(report.unique >= fewest, "suspiciously few: {report}");
}

#[test]
fn every_scenario_is_explored_here() {
    let named: Vec<_> = all(Extent::Bounded).iter().map(|it| it.name).collect();
    assert_eq!(named, FEWEST.map(|it| it.0));
    let full: Vec<_> = all(Extent::Full).iter().map(|it| it.name).collect();
    assert_eq!(named, full);
}

#[test]
fn the_promises_hold_in_standing() {
    holds("standing");
}

#[test]
fn the_promises_hold_in_invisible() {
    holds("invisible");
}

#[test]
fn the_promises_hold_in_hand_over() {
    holds("hand-over");
}

#[test]
fn the_promises_hold_in_late_answer() {
    holds("late-answer");
}

#[test]
fn the_promises_hold_in_windows() {
    holds("windows");
}

#[test]
fn the_promises_hold_in_minted() {
    holds("minted");
}

#[test]
fn the_promises_hold_in_expiring() {
    holds("expiring");
}

#[test]
fn the_promises_hold_in_quorum() {
    holds("quorum");
}

#[test]
fn the_promises_hold_in_clocks() {
    holds("clocks");
}

#[test]
fn the_promises_hold_in_foreign() {
    holds("foreign");
}
