//! The simulator against a small raw client: what AWS enforces, it enforces; what is to go wrong,
//! goes wrong.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod assignments;
mod client;
mod control;
mod hostile;
mod iam;
mod limits;
mod lists;
mod people;
mod sessions;
mod signatures;
