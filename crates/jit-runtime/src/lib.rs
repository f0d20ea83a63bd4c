//! The composition root: from a configuration to adapters to an engine at work.

pub mod throttle;
pub mod worker;
