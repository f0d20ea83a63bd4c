//! What goes wrong with Telegram, and what a caller may make of it. No error holds the token, an
//! address of a call, or a body.

use jit_core::ports::{Effect, ErrorKind, PortError};
use jit_wire::{BadWire, NoAnswer};
use reqwest::StatusCode;

use crate::ADAPTER;

/// The longest description of Telegram's that is logged, in characters.
const DESCRIPTION_LIMIT: usize = 200;

/// Why something was not done, or may not have been.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("no HTTPS client can be made")]
    Client(#[source] BadWire),
    #[error("the token of the bot is none: it is digits, a colon, letters, digits, - and _")]
    BadToken,
    #[error("Telegram cannot be reached")]
    Connect(#[source] reqwest::Error),
    #[error("Telegram did not answer in time")]
    Timeout,
    #[error("the call to Telegram broke")]
    Broken(#[source] reqwest::Error),
    #[error("Telegram answered {0}")]
    Status(StatusCode),
    #[error("Telegram wants fewer calls")]
    TooFast { retry_after_ms: Option<u64> },
    #[error("the answer of Telegram is longer than anything that it was asked for")]
    TooLong,
    #[error("the answer of Telegram makes no sense: {0}")]
    Garbage(&'static str),
    #[error("the group became a supergroup; write chat_id = {to} in [telegram]")]
    Migrated { to: i64 },
    #[error("Telegram says {code}: {description}")]
    Refused { code: u16, description: String },
}

impl From<NoAnswer> for Trouble {
    fn from(error: NoAnswer) -> Self {
        // Without its address, which holds the token.
        let error = match error {
            NoAnswer::Broken(error) => error,
            NoAnswer::TooLong => return Self::TooLong,
        };
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::Connect(error)
        } else {
            Self::Broken(error)
        }
    }
}

impl Trouble {
    /// What Telegram said no with.
    pub(crate) fn refused(code: u16, description: &str) -> Self {
        let plain = |letter: &char| !letter.is_control();
        let description = description.chars().filter(plain).take(DESCRIPTION_LIMIT);
        Self::Refused {
            code,
            description: description.collect(),
        }
    }

    fn says(&self, words: &str) -> bool {
        match self {
            Self::Refused {
                code: 400,
                description,
            } => description.to_lowercase().contains(words),
            Self::Refused { .. }
            | Self::Client(_)
            | Self::BadToken
            | Self::Connect(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::Status(_)
            | Self::TooFast { .. }
            | Self::TooLong
            | Self::Garbage(_)
            | Self::Migrated { .. } => false,
        }
    }

    /// The message shows what it was to show already.
    pub(crate) fn is_unmodified(&self) -> bool {
        self.says("message is not modified")
    }

    /// There is no such message any more, or none that can be changed.
    pub(crate) fn is_message_gone(&self) -> bool {
        self.says("message to edit not found")
            || self.says("message can't be edited")
            || self.says("message_id_invalid")
    }

    /// What a caller may do about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Client(_) | Self::BadToken | Self::Migrated { .. } => ErrorKind::Misconfigured,
            Self::Connect(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::TooLong
            | Self::Garbage(_) => ErrorKind::Unavailable,
            Self::TooFast { retry_after_ms } => ErrorKind::RateLimited {
                retry_after_ms: *retry_after_ms,
            },
            Self::Status(status) if status.is_server_error() => ErrorKind::Unavailable,
            Self::Status(_) => ErrorKind::Misconfigured,
            Self::Refused { code, .. } => match code {
                // A token that is none is not found.
                401 | 403 | 404 => ErrorKind::Forbidden,
                // Somebody else asks for updates, or Telegram is told to call instead.
                409 => ErrorKind::Conflict,
                500.. => ErrorKind::Unavailable,
                _ => ErrorKind::Misconfigured,
            },
        }
    }

    /// Whether it may have been done all the same. What is refused was not.
    fn effect(&self) -> Effect {
        match self {
            Self::Client(_)
            | Self::BadToken
            | Self::Connect(_)
            | Self::TooFast { .. }
            | Self::Migrated { .. } => Effect::None,
            Self::Refused { code, .. } if *code < 500 => Effect::None,
            Self::Refused { .. }
            | Self::Status(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::TooLong
            | Self::Garbage(_) => Effect::Unknown,
        }
    }

    /// The one way in which it becomes an error of a port.
    pub(crate) fn during(self, operation: &'static str) -> PortError {
        let made = match self.effect() {
            Effect::None => PortError::nothing_done(ADAPTER, operation, self.kind()),
            Effect::Unknown => PortError::maybe_done(ADAPTER, operation, self.kind()),
        };
        made.because(self)
    }
}
