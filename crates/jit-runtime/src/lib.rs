//! The composition root: what a configuration says, turned into adapters and an engine. The only
//! library that names more than one adapter; it decides nothing about requests.

#![warn(missing_docs)]

pub mod build;
pub mod clock;
pub mod config;
pub mod csv;
pub mod daemon;
pub mod dates;
pub mod discovery;
pub mod drift;
pub mod events;
#[cfg(feature = "failpoints")]
pub mod failpoint;
mod lists;
pub mod log;
pub mod nudge;
pub mod observe;
pub mod operate;
pub mod pager;
pub mod people;
pub mod reach;
pub mod rota;
mod stand_in;
pub mod throttle;
pub mod watch;
pub mod worker;
