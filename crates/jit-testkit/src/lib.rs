//! What tests of this project share: one contract suite per port, in-memory adapters that pass it,
//! and the hostile provider with its ground-truth ledger. Never linked into a binary.

#![warn(missing_docs)]

pub mod hostile;
pub mod provisioner;

#[cfg(test)]
mod friendly;
