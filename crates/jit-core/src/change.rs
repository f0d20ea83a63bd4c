//! What a transition changes, as plain values: the lifecycle makes them, a store commits them.

use crate::audit::Sealed;
use crate::catalog::ProviderName;
use crate::request::{AccessRequest, RequestId, Slot};
use crate::time::Timestamp;

/// When a record is next due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// When.
    pub at: Timestamp,
    /// From when on it is due as a revoke, and listed before all that is not.
    pub revoke_at: Option<Timestamp>,
    /// At which provider.
    pub provider: ProviderName,
}

/// The new state of one record.
#[derive(Debug, Clone)]
pub struct Change {
    /// The record as it is to be, its version already counted up.
    pub record: AccessRequest,
    /// The version that must be stored now; `None` where the record must not exist.
    pub expected: Option<u64>,
    /// The events that this change adds to its chain.
    pub events: Vec<Sealed>,
    /// When it is next due.
    pub wake: Option<Wake>,
}

/// A change of a slot's owner.
#[derive(Debug, Clone)]
pub struct SlotChange {
    /// The slot with its new owner.
    pub slot: Slot,
    /// The owner that must be stored now; `None` where the slot must not exist.
    pub expected: Option<RequestId>,
}

/// A count that may not pass its ceiling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// What is counted.
    pub key: String,
    /// In which interval: its number since the Unix epoch.
    pub window: u64,
    /// The most that it may reach.
    pub ceiling: u32,
    /// When the interval is over and the row may be forgotten.
    pub forget_at: Timestamp,
}
