//! The domain of just-in-time privileged access.

#![warn(missing_docs)]

pub mod audit;
pub mod catalog;
pub mod digest;
pub mod engine;
pub mod lifecycle;
pub mod policy;
pub mod ports;
pub mod principal;
pub mod provider;
pub mod request;
pub mod time;

pub use time::{Timestamp, Ttl};
