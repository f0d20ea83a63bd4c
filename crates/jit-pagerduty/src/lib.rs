//! Asks PagerDuty who is on call, and hands alarms to it. The README beside it says how it is set up
//! and what of PagerDuty it rests on.
//!
//! A provider's own words (escalation policy, level, routing key) stay inside this crate. Nothing
//! here decides what somebody on call may do.

#![warn(missing_docs)]

mod address;
mod events;
mod rota;
mod trouble;
mod wire;

pub use address::{Address, BadAddress};
pub use events::{BadRoutingKey, EventsSettings, PagerDutyEvents, RoutingKey};
pub use rota::{BadId, Duty, Id, Levels, PagerDuty, Settings};

#[cfg(test)]
mod tests;
