//! An Okta organization on loopback for tests: users, groups, memberships, API tokens and OAuth for
//! service apps, over the HTTP that Okta's Core API speaks; and beside it what PagerDuty answers
//! about who is on call. It enforces what the vendors document and goes wrong on demand, and it
//! keeps a ledger of who really was in which group when. Nothing here knows the product, and
//! nothing here talks to Okta.
//!
//! ```
//! use okta_sim::{By, Setup, Sim};
//!
//! # fn main() -> std::io::Result<()> {
//! let sim = Sim::start(Setup::default())?;
//! let world = sim.world();
//! let ana = world.add_user("ana@example.com", "ana@example.com");
//! let admins = world.add_group("production-admins");
//! world.join(&admins, &ana);
//! assert!(world.is_member(&admins, &ana));
//! assert_eq!(world.ledger()[0].by, By::Control);
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod api;
mod clock;
mod control;
mod deed;
mod directory;
mod error;
mod hostile;
mod ledger;
mod limits;
mod pagerduty;
mod serve;
mod setup;
mod sim;
mod state;
mod world;

pub use api::Operation;
pub use deed::Deed;
pub use directory::{GroupType, UserStatus};
pub use hostile::{Away, Hostility, Reset, Rule};
pub use ledger::{By, Entry, Period, What};
pub use pagerduty::{OnCall, PagerEvent};
pub use setup::{ApiToken, Limits, Scope, ServiceApp, Setup, Time};
pub use sim::Sim;
pub use state::Call;
pub use world::World;
