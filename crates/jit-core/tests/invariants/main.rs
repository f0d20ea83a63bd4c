//! The invariants that are numbered in the crate's documentation, each with at least one test that
//! is named after it. The simulation in the workspace's `tests` asserts them over thousands of
//! drawn lifecycles.

mod deciding;
mod granting;
mod proving;
mod revoking;
