//! Exploring a scenario and saying what was found.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model as _};

use crate::model::Model;
use crate::scenario::Scenario;
use crate::shortcut::Shortcut;

/// What came of an exploration.
#[derive(Debug)]
pub struct Report {
    /// The scenario.
    pub scenario: &'static str,
    /// The shortcut, if it was broken by one.
    pub shortcut: Option<Shortcut>,
    /// How many transitions led to a state.
    pub states: usize,
    /// How many states there are.
    pub unique: usize,
    /// The longest way to one.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// What was checked.
    pub properties: usize,
    /// Promises that do not hold, each with the shortest way that was found to where it breaks.
    pub broken: Vec<(&'static str, String)>,
    /// What had to be come across and was not.
    pub unseen: Vec<&'static str>,
}

impl Report {
    /// Whether every promise holds and everything was come across.
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.unseen.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<20}", self.scenario)?;
        if let Some(shortcut) = self.shortcut {
            write!(f, " {shortcut:?}")?;
        }
        write!(
            f,
            " {:>9} states, {:>9} unique, depth {:>3}, {:>6.1} s, {} properties: ",
            self.states,
            self.unique,
            self.depth,
            self.took.as_secs_f32(),
            self.properties
        )?;
        match (self.broken.is_empty(), self.unseen.is_empty()) {
            (true, true) => f.write_str("holds"),
            (true, false) => write!(f, "never {}", self.unseen.join(", never ")),
            (false, _) => {
                let names: Vec<_> = self.broken.iter().map(|it| it.0).collect();
                write!(f, "BROKEN: {}", names.join(", "))
            }
        }
    }
}

/// Explores all of a scenario, or, where a promise is named, until that one is broken.
#[allow(
    clippy::disallowed_methods,
    reason = "how long it takes is told to whoever runs it, and decides nothing"
)]
pub fn explore(
    scenario: Scenario,
    shortcut: Option<Shortcut>,
    until: Option<&'static str>,
    threads: usize,
) -> Report {
    let name = scenario.name;
    let model = Model::new(scenario, shortcut);
    let properties = model.properties();
    let expected: Vec<_> = properties
        .iter()
        .map(|it| (it.name, it.expectation.clone()))
        .collect();
    let stop = match until {
        Some(promise) => HasDiscoveries::AllOf(BTreeSet::from([promise])),
        None => HasDiscoveries::AnyFailures,
    };
    let begun = Instant::now();
    let checker = model.checker().finish_when(stop).threads(threads);
    let checker = checker.spawn_bfs().join();
    let found = checker.discoveries();
    let mut broken = vec![];
    let mut unseen = vec![];
    for (name, expectation) in expected {
        match (expectation, found.get(name)) {
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                broken.push((name, trace(path.clone().into_vec())));
            }
            (Expectation::Sometimes, None) => unseen.push(name),
            (Expectation::Always | Expectation::Eventually, None)
            | (Expectation::Sometimes, Some(_)) => {}
        }
    }
    Report {
        scenario: name,
        shortcut,
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
        properties: properties.len(),
        broken,
        unseen,
    }
}

/// A way through the graph, a line a step.
fn trace(path: Vec<(crate::world::World, Option<crate::model::Action>)>) -> String {
    let line = |(world, action): (crate::world::World, Option<crate::model::Action>)| {
        let records: Vec<_> = world.store.all().map(|it| format!("[{it:?}]")).collect();
        let provider = &world.provider;
        let action = action.map_or_else(|| "the end".to_owned(), |it| format!("{it:?}"));
        format!(
            "tick {:>2} {} stands={} under way={} -> {action}",
            world.tick,
            records.join(" "),
            provider.stands || provider.foreign,
            provider.calls.len(),
        )
    };
    let lines: Vec<_> = path.into_iter().map(line).collect();
    lines.join("\n")
}
