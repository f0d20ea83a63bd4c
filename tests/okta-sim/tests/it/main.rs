//! The simulator against a small raw client: what Okta enforces, it enforces; what is to go wrong,
//! goes wrong.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod client;
mod limits;
mod lists;
mod memberships;
mod people;
