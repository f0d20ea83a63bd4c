//! A Vault on loopback for tests: AppRole, tokens, policies, KV version 2, response wrapping and
//! health, over the HTTP that Vault speaks. It enforces what the vendor documents and goes wrong on
//! demand, and it keeps a ledger of which tokens really were alive when. Nothing here knows the
//! product, and nothing here talks to a Vault.
//!
//! ```
//! use vault_sim::{Capability, NewToken, Setup, Sim};
//!
//! # fn main() -> std::io::Result<()> {
//! let sim = Sim::start(Setup::default())?;
//! let world = sim.world();
//! world.put_policy("reader", &[("secret/data/*", &[Capability::Read])]);
//! let token = world.add_token(NewToken::with(&["reader"]));
//! assert!(world.is_alive(&token.id));
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod api;
mod clock;
mod control;
mod fault;
mod ledger;
mod policy;
mod serve;
mod setup;
mod sim;
mod state;
mod token;
mod world;

pub use fault::{Fault, Rule};
pub use ledger::{End, Entry, What};
pub use policy::Capability;
pub use setup::{AppRole, DeadTokens, Health, Setup, Time, TokenRole, Unknown};
pub use sim::Sim;
pub use state::Call;
pub use token::{NewToken, Token};
pub use world::World;
