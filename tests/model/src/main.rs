//! Explores the scenarios in their full bounds, one after the other, and says what was found. It fails
//! where a promise is broken or something was never come across.

#![allow(clippy::print_stdout, reason = "it prints its findings")]

use std::process::ExitCode;
use std::thread::available_parallelism;

use jit_model::run::{Report, explore};
use jit_model::scenario::{Extent, Scenario, all};
use jit_model::shortcut::{BROKEN, Broken};

const USAGE: &str = "\
jit-model [--scenario NAME] [--bounded]   explores every scenario, or this one
jit-model --shortcut NAME                 shows how a broken variant breaks its promise
jit-model --list                          lists scenarios and broken variants";

enum Ask {
    Explore(Option<String>, Extent),
    Break(String),
    List,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Ask> {
    let (mut scenario, mut extent) = (None, Extent::Full);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => return Some(Ask::List),
            "--shortcut" => return words.next().map(Ask::Break),
            "--scenario" => scenario = Some(words.next()?),
            "--bounded" => extent = Extent::Bounded,
            _ => return None,
        }
    }
    Some(Ask::Explore(scenario, extent))
}

fn main() -> ExitCode {
    let threads = available_parallelism().map_or(1, usize::from);
    match parse(std::env::args().skip(1)) {
        None => {
            println!("{USAGE}");
            ExitCode::FAILURE
        }
        Some(Ask::List) => {
            list();
            ExitCode::SUCCESS
        }
        Some(Ask::Explore(name, extent)) => {
            let named = |it: &Scenario| name.as_ref().is_none_or(|name| name == it.name);
            let chosen: Vec<_> = all(extent).into_iter().filter(named).collect();
            let explored = chosen.into_iter().map(|it| {
                let report = explore(it, None, None, threads);
                tell(&report);
                report.holds()
            });
            let held: Vec<bool> = explored.collect();
            passed(!held.is_empty() && held.iter().all(|it| *it))
        }
        Some(Ask::Break(name)) => {
            let named = |it: &&Broken| format!("{:?}", it.shortcut) == name;
            let Some(broken) = BROKEN.iter().find(named) else {
                println!("{USAGE}");
                return ExitCode::FAILURE;
            };
            let scenario = Scenario::named(broken.scenario, Extent::Bounded)
                .expect("a shortcut names a scenario");
            let report = explore(scenario, Some(broken.shortcut), Some(broken.promise), 1);
            tell(&report);
            passed(report.broken.iter().any(|it| it.0 == broken.promise))
        }
    }
}

fn passed(all_held: bool) -> ExitCode {
    if all_held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(report: &Report) {
    println!("{report}");
    for (promise, way) in &report.broken {
        println!("\n{promise}\n{way}");
    }
}

fn list() {
    for scenario in all(Extent::Full) {
        println!("{:<14} {}", scenario.name, scenario.about);
    }
    println!();
    for broken in BROKEN {
        let name = format!("{:?}", broken.shortcut);
        println!(
            "{name:<24} breaks \"{}\" in {}",
            broken.promise, broken.scenario
        );
    }
}
