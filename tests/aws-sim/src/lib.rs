//! An AWS organization on loopback for tests: IAM Identity Center (`sso-admin`), its identity
//! store and AWS Organizations, and IAM and STS in its account, over the wire protocols that the
//! official clients speak. It
//! enforces what AWS documents and goes wrong on demand, and it keeps a ledger of who really had
//! access when. Nothing here knows the product, and nothing here talks to AWS.
//!
//! ```
//! use std::time::Duration;
//! use aws_sim::{Setup, Sim};
//!
//! # fn main() -> std::io::Result<()> {
//! let sim = Sim::start(Setup::default())?;
//! let world = sim.world();
//! world.add_account("222222222222", "production");
//! let ana = world.add_user("ana", "ana@example.com");
//! let read_only = world.add_permission_set("ReadOnly", Duration::from_secs(4 * 3600));
//! world.assign("222222222222", &read_only, &ana);
//! assert!(world.is_assigned("222222222222", &read_only, &ana));
//! assert_eq!(world.ledger().len(), 1);
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod api;
mod assignment;
mod clock;
mod control;
mod document;
mod error;
mod hostile;
mod identity;
mod people;
mod principals;
mod serve;
mod setup;
mod sigv4;
mod sim;
mod state;
mod world;

pub use assignment::{Assignment, By, Entry, PrincipalType, What};
pub use hostile::{Away, Hostility, Rule};
pub use identity::{Role, Session};
pub use principals::Deed;
pub use setup::{AccessKey, Notices, Orphans, Seat, Setup, Signatures, Time};
pub use sim::Sim;
pub use state::Call;
pub use world::World;
