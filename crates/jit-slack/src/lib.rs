//! Slack: asking, deciding and ending access without leaving the workspace. It is a door, which
//! turns clicks into commands, and a notifier, which turns records into cards. It decides nothing.
//!
//! An input is in the store before Slack hears that it was taken, and worked on after that. What a
//! card shows is drawn from the record; what a button carries is the request's id and the digest of
//! what was shown. Who somebody is comes from the directory, never from the message.

#![warn(missing_docs)]
#![allow(
    clippy::indexing_slicing,
    reason = "only JSON that was made here is indexed to write into it, which cannot panic"
)]

mod check;
mod commands;
mod deciders;
mod desk;
mod groups;
mod input;
mod manifest;
mod notifier;
mod pace;
mod people;
mod roster;
mod screens;
mod settings;
mod socket;
mod surface;
mod text;
mod web;
mod webhook;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jit_core::Engine;
use jit_core::catalog::Catalog;
use jit_core::policy::Policy;
use jit_core::ports::{Clock, Directory, Notifier, Random, RequestStore};
use jit_core::principal::GroupName;
use secrecy::SecretString;
use slack_morphism::SlackApiTokenType;
use slack_morphism::hyper_tokio::SlackHyperClient;

pub use check::{CheckParts, Finding, check};
pub use commands::Commands;
pub use groups::user_group;
pub use manifest::{PublicUrl, Reach, manifest};
pub use people::{BadSlackId, ChannelId, Names, TeamId, UserGroupId, UserId};
pub use roster::alias;
pub use settings::{EmailMatch, Route, Settings};
pub use socket::{Connection, Reached};
pub use web::{BadWeb, SLACK_API};

use deciders::Deciders;
use desk::Desk;
use notifier::SlackNotifier;
use roster::Roster;
use socket::Socket;
use web::Web;
use webhook::Webhook;

/// The name of this adapter in errors.
const ADAPTER: &str = "slack";
/// How often inputs are looked for that another process took and did not finish.
const TAKE_OVER_EVERY: Duration = Duration::from_secs(10);

/// How Slack reaches this service.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Through connections that this service opens, with an app-level token.
    Socket {
        /// `xapp-…`.
        app_token: SecretString,
    },
    /// Through calls to a public address, each signed with one of these secrets.
    Http {
        /// One, or two while it is being changed.
        signing_secrets: Vec<SecretString>,
    },
}

/// What an adapter is made of.
pub struct SlackParts {
    /// What the operator says.
    pub settings: Settings,
    /// Where the Web API is: [`SLACK_API`], or a loopback address in a test.
    pub api: String,
    /// `xoxb-…`.
    pub bot_token: SecretString,
    /// How Slack reaches this service.
    pub transport: Transport,
    /// Who people are; it knows Slack's users as `slack:U012AB3CD`.
    pub directory: Arc<dyn Directory>,
    /// Keeps inputs, and whom a user was found to be.
    pub store: Arc<dyn RequestStore>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Rolls the dice.
    pub random: Arc<dyn Random>,
    /// What can be asked for.
    pub catalog: Catalog,
    /// Who may decide what, to mention them in reminders.
    pub policy: Policy,
    /// Which user each principal is, as far as the configuration says so.
    pub names: Names,
}

impl fmt::Debug for SlackParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackParts")
            .field("settings", &self.settings)
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

/// One workspace.
pub struct Slack {
    client: Arc<SlackHyperClient>,
    notifier: Arc<SlackNotifier>,
    roster: Arc<Roster>,
    directory: Arc<dyn Directory>,
    /// The groups from which a rule takes something.
    denied: BTreeSet<GroupName>,
    transport: Transport,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slack")
            .field("notifier", &self.notifier)
            .finish_non_exhaustive()
    }
}

impl Slack {
    /// Puts the adapter together; nothing is called yet.
    ///
    /// # Errors
    /// Where the address may not be called, or this machine has no certificate authorities.
    pub fn new(parts: SlackParts) -> Result<Self, BadWeb> {
        // The Web API is given its provider; the sockets take the one of the process. Another part
        // may have installed the same one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = web::client(&parts.api)?;
        let web = Arc::new(Web::new(client.clone(), &parts.bot_token, &parts.api));
        let roster = Arc::new(Roster::new(
            Arc::clone(&web),
            Arc::clone(&parts.directory),
            parts.store,
            Arc::clone(&parts.clock),
            parts.settings.email_match,
            parts.names,
        ));
        let denied = groups::denied(&parts.policy);
        let directory = Arc::clone(&parts.directory);
        let deciders = Deciders::new(parts.policy, directory, Arc::clone(&parts.clock));
        let notifier = Arc::new(SlackNotifier::new(
            web,
            Arc::clone(&roster),
            Arc::new(parts.settings),
            Arc::new(parts.catalog),
            deciders,
            Arc::clone(&parts.clock),
        ));
        Ok(Self {
            client: Arc::new(client),
            notifier,
            roster,
            directory: parts.directory,
            denied,
            transport: parts.transport,
            clock: parts.clock,
            random: parts.random,
        })
    }

    /// What tells the workspace.
    pub fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::clone(&self.notifier) as Arc<dyn Notifier>
    }

    /// The directory, which knows these user groups as well.
    pub fn directory(&self, groups: BTreeSet<GroupName>) -> Arc<dyn Directory> {
        let (inner, roster) = (Arc::clone(&self.directory), Arc::clone(&self.roster));
        let denied = self.denied.clone();
        Arc::new(groups::WithUserGroups::new(inner, roster, groups, denied))
    }

    /// The door, in front of this engine.
    pub fn door(&self, engine: Arc<Engine>) -> SlackDoor {
        let desk = Arc::new(Desk::new(engine, Arc::clone(&self.notifier)));
        SlackDoor {
            desk,
            client: Arc::clone(&self.client),
            transport: self.transport.clone(),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            connection: Connection::default(),
        }
    }
}

/// Where people come in.
#[derive(Clone)]
pub struct SlackDoor {
    desk: Arc<Desk>,
    client: Arc<SlackHyperClient>,
    transport: Transport,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    connection: Connection,
}

impl fmt::Debug for SlackDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackDoor").finish_non_exhaustive()
    }
}

impl SlackDoor {
    /// Whether Slack is connected to, where this service connects.
    pub fn connection(&self) -> Option<Connection> {
        match &self.transport {
            Transport::Socket { .. } => Some(self.connection.clone()),
            Transport::Http { .. } => None,
        }
    }

    /// The routes that Slack calls, where it calls.
    pub fn router(&self) -> Option<Router> {
        match &self.transport {
            Transport::Socket { .. } => None,
            Transport::Http { signing_secrets } => {
                let (desk, clock) = (Arc::clone(&self.desk), Arc::clone(&self.clock));
                Some(Webhook::new(desk, clock, signing_secrets.clone()).router())
            }
        }
    }

    /// Serves until `stop` is ready, then lets acknowledgements under way leave.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let take_over = async {
            loop {
                if let Err(error) = self.desk.take_over().await {
                    tracing::warn!(error = %error.chain(), "the inbox cannot be read");
                }
                tokio::time::sleep(TAKE_OVER_EVERY).await;
            }
        };
        let redraw = self.desk.redraw_for_ever();
        let look = self.desk.look_for_ever();
        match &self.transport {
            Transport::Socket { app_token } => {
                let socket = Socket {
                    client: Arc::clone(&self.client),
                    token: web::token(app_token, SlackApiTokenType::App),
                    desk: Arc::clone(&self.desk),
                    clock: Arc::clone(&self.clock),
                    random: Arc::clone(&self.random),
                    connection: self.connection.clone(),
                };
                tokio::select! {
                    () = socket.run(stop) => {}
                    () = take_over => {}
                    () = redraw => {}
                    () = look => {}
                }
            }
            Transport::Http { .. } => {
                tokio::select! {
                    () = stop => {}
                    () = take_over => {}
                    () = redraw => {}
                    () = look => {}
                }
            }
        }
    }
}
