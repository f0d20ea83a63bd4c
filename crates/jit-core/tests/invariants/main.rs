//! The invariants that are numbered in the crate's documentation, each with at least one test that
//! is named after it. The simulation in the workspace's `tests` asserts them over thousands of
//! drawn lifecycles.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that breaks is a test that fails"
)]

mod asking;
mod clocks;
mod deciding;
mod drifting;
mod escalating;
mod falling_back;
mod granting;
mod knowing;
mod managing;
mod offering;
mod proving;
mod revoking;
