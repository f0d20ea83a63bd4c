//! What tests need: one contract suite per port, adapters in memory that pass it, a clock that is
//! set by hand, and records to begin with. A dev-dependency only; nothing here runs in production.

#![warn(missing_docs)]

pub mod sample;
pub mod store;
pub mod time;
