//! Tests of the whole: one binary, a module per subject.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a fixture that breaks is a test that fails"
)]

mod architecture;
mod backlog;
mod nudged;
mod oracle;
mod outage;
mod policies;
mod sim;
mod worker;
