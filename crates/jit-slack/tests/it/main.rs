//! The adapter in a simulated workspace: stories as people live them, and everything that Slack may
//! do to it meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that breaks is a test that fails"
)]

mod check;
mod door;
mod faulted;
mod faults;
mod identity;
mod ladder;
mod mangle;
mod mangled;
mod outage;
mod paced;
mod stories;
mod storm;
mod suite;
mod world;
