//! Three daemons and a sweeper on one store that are killed for as long as it takes, at random and at
//! each place where something is about to be done or just was, while people ask, decide, collect and
//! give back at whatever door is open. What came of it is judged at the end and from the outside: by
//! what the doors answered and by the providers' own ledgers. `JIT_KILLS` says how many kills, and
//! `JIT_KILL_SEED` begins with the dice of an earlier run.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a long run says how it went, and how long it is is no configuration of the product"
)]

mod away;
mod clock;
mod crew;
mod hostile;
mod judge;
mod load;
mod panics;
mod pause;
mod rare;
mod readonly;
mod small;

use std::path::PathBuf;
use std::process::Command;

use jit_core::ports::Clock;
use jit_runtime::clock::SystemClock;

use crate::house::House;
use crate::process::{program, ran, text};

/// Access may stand so long past its end; microseconds.
pub(crate) const LATE_MAX: i64 = 30_000_000;

/// How many kills there are: these few, or as `JIT_KILLS` says.
fn kills(few: usize) -> usize {
    let said = std::env::var("JIT_KILLS");
    said.map_or(few, |said| said.parse().unwrap())
}

/// Where the dice begin; it is printed, and a run with it has the same kills and stories, as far as
/// processes of an operating system ever do the same twice.
fn seed() -> u64 {
    let said = std::env::var("JIT_KILL_SEED");
    let now = now().unsigned_abs() / 1_000;
    let seed = said.map_or(now, |said| said.parse().unwrap());
    println!("JIT_KILL_SEED={seed}");
    seed
}

/// The time of this machine, in microseconds.
fn now() -> i64 {
    SystemClock.now().unix_micros()
}

/// One installation: a configuration, and the variables that its processes get.
#[derive(Debug, Clone)]
struct Site {
    config: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Site {
    /// The one that stands in this house.
    fn of(house: &House) -> Self {
        Self {
            config: house.path("jit.toml"),
            variables: vec![],
        }
    }

    /// A command with this configuration.
    fn command(&self, mut command: Command) -> Command {
        command
            .env("JIT_CONFIG", &self.config)
            .env("JIT_LOG_FORMAT", "json")
            .envs(self.variables.iter().cloned());
        command
    }

    /// The file of a new token of this person.
    fn token(&self, person: &str) -> PathBuf {
        let file = self.config.with_file_name(person);
        let shown = file.display().to_string();
        let new = ["token", "new", "--principal", person, "--out", &shown];
        let made = ran(self.command(program("jit", &new)));
        assert!(made.status.success(), "{}", text(&made.stderr));
        file
    }

    /// The audit is whole.
    fn is_verified(&self) {
        let verified = ran(self.command(program("jit", &["audit", "verify"])));
        assert!(
            verified.status.success(),
            "{}{}",
            text(&verified.stdout),
            text(&verified.stderr)
        );
    }
}
