//! The small worlds in bounds that take seconds: unbroken each holds, and every shortcut is caught.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a scenario that cannot be explored is a test that fails"
)]

mod holds;
mod shortcuts;
