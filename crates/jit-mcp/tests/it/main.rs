//! The four tools over HTTP, as any client calls them, on a real engine in memory. Who calls is put
//! where the layer in front of the service puts it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that breaks is a test that fails"
)]

mod edge;
mod tools;
mod world;
