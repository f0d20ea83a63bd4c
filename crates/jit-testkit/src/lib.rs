//! What tests need: one contract suite per port, adapters in memory that pass it, a clock that is
//! set by hand, and the hostile provider with its ground-truth ledger. A dev-dependency only;
//! nothing here runs in production.

#![warn(missing_docs)]

pub mod directory;
#[cfg(test)]
mod friendly;
pub mod front;
pub mod hostile;
pub mod notifier;
pub mod provisioner;
pub mod rota;
pub mod sample;
pub mod server;
pub mod stage;
pub mod store;
pub mod time;
