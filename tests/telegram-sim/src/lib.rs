//! Telegram's Bot API on loopback for tests: one bot, people, and the private chats and groups in
//! which they read what it posts and press its buttons. It refuses what Telegram documents that it
//! refuses, and goes wrong on demand. Nothing here knows the product, and nothing here talks to
//! Telegram.
//!
//! ```
//! use telegram_sim::Sim;
//!
//! # fn main() -> std::io::Result<()> {
//! let sim = Sim::start()?;
//! let world = sim.world();
//! world.add_person(7, "Ana");
//! world.add_group(-100, "Access", &[7]);
//! assert!(world.messages(-100).is_empty());
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod api;
mod arguments;
mod control;
mod faults;
mod refusal;
mod serve;
mod sim;
mod state;
mod updates;
mod webhook;
mod world;

pub use faults::{Fault, Times};
pub use sim::Sim;
pub use state::{Answer, Button, Call, Message};
pub use world::{NotPressed, World};

/// The token of the one bot.
pub const TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
