//! The simulator against a small raw client: what Slack enforces, it enforces.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod app;
mod control;
mod hostile;
mod http_mode;
mod modals;
mod socket;
mod web_api;
