//! Ten thousand drawn cases of each kind of bad input. A case that fails is made small and printed;
//! the targets under `fuzz/` look for more of them, for as long as anybody wants.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a strategy that breaks is a test that fails"
)]

mod calls;
mod files;
mod kept;
mod mangle;
mod targets;
mod texts;

extern crate self as libfuzzer_sys;

use proptest::test_runner::{Config, RngSeed};

/// What the gate draws of each kind.
const CASES: u32 = 10_000;
/// Of whole services and stores with something damaged inside.
const FEWER: u32 = 2_000;
/// The gate draws the same cases each time, so that it says no twice to the same tree.
const SEED: u32 = 1;

/// `JIT_MALFORMED_CASES` says how many instead, `JIT_MALFORMED_SEED` which.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the tests says how many"
)]
fn cases(cases: u32) -> Config {
    let asked = |name: &str| std::env::var(name).ok().map(|it| it.parse().unwrap());
    Config {
        cases: asked("JIT_MALFORMED_CASES").unwrap_or(cases),
        rng_seed: RngSeed::Fixed(asked("JIT_MALFORMED_SEED").unwrap_or(SEED).into()),
        // Seeds of failures are not kept beside the sources: a fix starts with a row of its own.
        failure_persistence: None,
        ..Config::default()
    }
}
