//! The simulator against a small raw client: what Vault enforces, it enforces; what is to go wrong,
//! goes wrong.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod approle;
mod client;
mod faults;
mod secrets;
mod tokens;
