//! Telegram: the card of a request in one chat, and its two buttons. It is a door, which turns clicks
//! into commands, and a notifier, which turns records into cards. It decides nothing.
//!
//! A click is in the store before Telegram hears that it was taken, and worked on after that. What a
//! card shows is drawn from the record; what a button carries is a random text of which the store
//! keeps the digest. Who somebody is comes from the directory, never from the message.

#![warn(missing_docs)]

mod address;
mod bot;
mod button;
mod card;
mod desk;
mod input;
mod notifier;
mod people;
mod poll;
mod trouble;
mod webhook;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jit_core::Engine;
use jit_core::catalog::Catalog;
use jit_core::ports::{Clock, Directory, Notifier, PortError, Random, RequestStore};
use secrecy::SecretString;

pub use address::{Address, BadAddress};
pub use people::{BadTelegramId, ChatId, UserId, alias};
pub use poll::{Polling, Reached};
pub use webhook::{BadSecret, WebhookSecret};

use bot::Bot;
use button::Buttons;
use desk::{Desk, DeskParts};
use notifier::TelegramNotifier;
use poll::Poll;
use webhook::Webhook;

/// The name of this adapter in errors, and of its notifier in delivery rows.
const ADAPTER: &str = "telegram";
/// What the keys of its inputs in the inbox begin with. Other doors leave those alone.
const INPUTS: &str = "telegram/";
/// How often inputs are looked for that another process took and did not finish.
const TAKE_OVER_EVERY: Duration = Duration::from_secs(10);
/// A call of the Bot API is answered within this time, or counts as failed.
const DEADLINE: Duration = Duration::from_secs(10);

/// How clicks get here.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Telegram calls a public address, with one of these secrets in a header: two while it is being
    /// changed. Where there is none, nothing is taken.
    Webhook(Vec<WebhookSecret>),
    /// This service asks for them. One process at a time can.
    Poll,
}

/// What an adapter is made of.
pub struct TelegramParts {
    /// The one chat in which requests are told and decided.
    pub chat: ChatId,
    /// Where the Bot API is.
    pub api: Address,
    /// What @BotFather gave out for the bot.
    pub bot_token: SecretString,
    /// How clicks get here.
    pub transport: Transport,
    /// Who people are; it knows Telegram's users as `telegram:123456789`.
    pub directory: Arc<dyn Directory>,
    /// Keeps inputs, and the digests of buttons.
    pub store: Arc<dyn RequestStore>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Rolls the dice.
    pub random: Arc<dyn Random>,
    /// What can be asked for, by the words that people know it by.
    pub catalog: Catalog,
}

impl fmt::Debug for TelegramParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramParts")
            .field("chat", &self.chat)
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

/// Asks Telegram whether this is the token of a bot. Nothing is posted.
///
/// # Errors
/// Where it is not, or Telegram does not answer.
pub async fn ask_who_we_are(api: &Address, bot_token: &SecretString) -> Result<(), PortError> {
    const OPERATION: &str = "say who we are";
    let bot = Bot::new(api, bot_token, DEADLINE).map_err(|trouble| trouble.during(OPERATION))?;
    let asked = bot.who_we_are().await;
    asked.map_err(|trouble| trouble.during(OPERATION))
}

/// One bot in one chat.
pub struct Telegram {
    chat: ChatId,
    bot: Arc<Bot>,
    buttons: Arc<Buttons>,
    notifier: Arc<TelegramNotifier>,
    transport: Transport,
    directory: Arc<dyn Directory>,
}

impl fmt::Debug for Telegram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telegram")
            .field("chat", &self.chat)
            .finish_non_exhaustive()
    }
}

impl Telegram {
    /// Puts the adapter together; nothing is called yet.
    ///
    /// # Errors
    /// [`Misconfigured`](jit_core::ports::ErrorKind::Misconfigured) where no HTTPS client can be made,
    /// for example for want of root certificates, or the token is none.
    pub fn new(parts: TelegramParts) -> Result<Self, PortError> {
        Self::with_deadline(parts, DEADLINE)
    }

    fn with_deadline(parts: TelegramParts, deadline: Duration) -> Result<Self, PortError> {
        let bot = Bot::new(&parts.api, &parts.bot_token, deadline);
        let bot = Arc::new(bot.map_err(|trouble| trouble.during("be connected"))?);
        let buttons = Arc::new(Buttons::new(parts.store, parts.random));
        let notifier = Arc::new(TelegramNotifier::new(
            parts.chat,
            Arc::clone(&bot),
            Arc::clone(&buttons),
            parts.catalog,
            parts.clock,
        ));
        Ok(Self {
            chat: parts.chat,
            bot,
            buttons,
            notifier,
            transport: parts.transport,
            directory: parts.directory,
        })
    }

    /// What tells the chat.
    pub fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::clone(&self.notifier) as Arc<dyn Notifier>
    }

    /// The door, in front of this engine.
    pub fn door(&self, engine: Arc<Engine>) -> TelegramDoor {
        let desk = Desk::new(DeskParts {
            chat: self.chat,
            engine,
            bot: Arc::clone(&self.bot),
            buttons: Arc::clone(&self.buttons),
            directory: Arc::clone(&self.directory),
        });
        TelegramDoor {
            desk: Arc::new(desk),
            bot: Arc::clone(&self.bot),
            transport: self.transport.clone(),
            polling: Polling::default(),
        }
    }
}

/// Where clicks come in.
#[derive(Clone)]
pub struct TelegramDoor {
    desk: Arc<Desk>,
    bot: Arc<Bot>,
    transport: Transport,
    polling: Polling,
}

impl fmt::Debug for TelegramDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramDoor").finish_non_exhaustive()
    }
}

impl TelegramDoor {
    /// How far Telegram is reached, where this service asks for clicks.
    pub fn polling(&self) -> Option<Polling> {
        match &self.transport {
            Transport::Poll => Some(self.polling.clone()),
            Transport::Webhook(_) => None,
        }
    }

    /// `POST /telegram/webhook`, where Telegram calls.
    pub fn router(&self) -> Option<Router> {
        match &self.transport {
            Transport::Poll => None,
            Transport::Webhook(secrets) => {
                let webhook = Webhook::new(Arc::clone(&self.desk), secrets.clone());
                Some(webhook.router())
            }
        }
    }

    /// Serves until `stop` is ready.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let take_over = async {
            loop {
                if let Err(error) = self.desk.take_over().await {
                    tracing::warn!(error = %error.chain(), "the inbox cannot be read");
                }
                tokio::time::sleep(TAKE_OVER_EVERY).await;
            }
        };
        let polled = async {
            match &self.transport {
                Transport::Webhook(_) => std::future::pending().await,
                Transport::Poll => {
                    let poll = Poll::new(&self.bot, &self.desk, &self.polling);
                    poll.run().await;
                }
            }
        };
        tokio::select! {
            () = stop => {}
            () = take_over => {}
            () = polled => {}
        }
    }
}

#[cfg(test)]
mod tests;
