//! The store in DynamoDB, held against a server that nobody here wrote.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod check;
mod contract;
mod cost;
mod expiry;
mod faulty;
mod forms;
mod limits;
mod listing;
mod live;
mod opening;
mod processes;
mod races;
mod replies;
mod world;
