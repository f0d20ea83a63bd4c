//! A Slack workspace on loopback for tests and demonstrations: Web API, Socket Mode, response
//! URLs and signed webhooks. It enforces what Slack enforces and goes wrong on demand. Nothing
//! here knows the product, and nothing here talks to Slack.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use slack_sim::{SlackSim, Workspace};
//!
//! let slack = SlackSim::start(Workspace::example()).await;
//! let ana = slack.user("U0ANA");
//! // No app is connected: Slack says so itself.
//! assert!(!ana.slash("/jit", "help").in_channel("C0SEC").await.acked());
//! assert_eq!(slack.seen_errors(), ["U0ANA typed /jit: no connection to the app"]);
//! # });
//! ```

#![warn(missing_docs)]
#![allow(
    clippy::indexing_slicing,
    reason = "only JSON is indexed: reading what is not there gives null, and only objects are written"
)]

mod api;
pub mod blocks;
mod control;
mod deliver;
mod faults;
mod gesture;
mod messages;
mod modal;
mod person;
mod respond;
mod sim;
mod socket;
mod state;
mod views;
mod webhook;
mod workspace;

pub use deliver::Outcome;
pub use faults::{Fault, Faults, Switch, Times};
pub use gesture::CannotDo;
pub use messages::Message;
pub use modal::{Modal, REQUIRED, Submitted};
pub use person::{Click, PATIENCE, Person, Place, Slash};
pub use respond::USES;
pub use sim::SlackSim;
pub use socket::{Disconnect, MOST_SOCKETS};
pub use state::{Call, Mode};
pub use webhook::{Post, Reply, Signature, sign};
pub use workspace::{Channel, Kind, Standing, User, Visibility, Workspace};
