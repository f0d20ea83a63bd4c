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
mod control;
mod hostile;
mod limits;
mod lists;
mod memberships;
mod oauth;
mod pagerduty;
mod people;
mod tokens;
