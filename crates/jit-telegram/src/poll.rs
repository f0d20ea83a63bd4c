//! This service asks Telegram for clicks: no public address is needed. An update is asked past only
//! when it is in the store; what was not is sent again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Commit, CommitError, ErrorKind, PortError, Row, RowChange};
use tokio::time::Instant;

use crate::ADAPTER;
use crate::bot::{Bot, MOST_UPDATES, POLL_SECS};
use crate::desk::{Ack, Desk, TOO_OLD};
use crate::input::number_of;
use crate::trouble::Trouble;

/// The pause after a failure, which doubles with each in a row.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The pause where Telegram gives the clicks to somebody else.
const CONFLICT_PAUSE: Duration = Duration::from_secs(10);

/// The shortest time between two questions of which the first found nothing.
const FLOOR: Duration = Duration::from_millis(200);
/// Who asked within this time hears of a click as soon as it is made.
const FRESH: Duration = Duration::from_secs(30);
/// How often it is written down when somebody last asked.
const NOTED_EVERY: Duration = Duration::from_secs(30);
/// The small row that says so.
const TABLE: &str = "telegram_poll";
const KEY: &str = "asked_at";

/// How far Telegram is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It answers.
    Connected,
    /// It does not, or not yet.
    NotConnected,
    /// It knows no bot with this token.
    Refused,
    /// Another process asks for the clicks of this bot, or a webhook is set.
    Conflict,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::NotConnected => "not connected",
            Self::Refused => "refused",
            Self::Conflict => "conflict",
        })
    }
}

/// How far Telegram is reached, for whoever looks. Every clone shows the same.
#[derive(Debug, Clone)]
pub struct Polling(Arc<Mutex<Reached>>);

impl Default for Polling {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Reached::NotConnected)))
    }
}

impl Polling {
    /// How far it is reached now.
    pub fn reached(&self) -> Reached {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that is news.
    fn becomes(&self, now: Reached) -> bool {
        let mut reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *reached, now) != now
    }
}

/// Asks for clicks.
#[derive(Debug)]
pub(crate) struct Poll<'a> {
    bot: &'a Bot,
    desk: &'a Arc<Desk>,
    polling: &'a Polling,
    /// The next update that is not in the store yet.
    offset: Option<i64>,
    failures: u32,
    /// Every click before this instant was told; none where nobody ever asked. Telegram does not say
    /// when a click was made, so one is as old as this may make it.
    asked_at: Option<Timestamp>,
    /// What the store says of that, and whether it was looked for.
    noted: Option<String>,
    looked: bool,
}

impl<'a> Poll<'a> {
    pub(crate) fn new(bot: &'a Bot, desk: &'a Arc<Desk>, polling: &'a Polling) -> Self {
        Self {
            bot,
            desk,
            polling,
            offset: None,
            failures: 0,
            asked_at: None,
            noted: None,
            looked: false,
        }
    }

    /// Asks for ever.
    pub(crate) async fn run(mut self) {
        loop {
            if let Some(pause) = self.once().await {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Asks once, and keeps what came; how long to wait before the next time.
    pub(crate) async fn once(&mut self) -> Option<Duration> {
        if let Err(error) = self.look().await {
            tracing::warn!(error = %error.chain(), "nobody knows when Telegram was last asked");
            self.failures = self.failures.saturating_add(1);
            return Some(self.pause());
        }
        let (now, begun) = (self.desk.now(), Instant::now());
        let is_fresh = |at: &Timestamp| now.since(*at) <= FRESH;
        // Where nobody asked for a while, what waits is told at once, so that none of it is new.
        let (wait, made_at) = match self.asked_at {
            Some(at) if is_fresh(&at) => (POLL_SECS, None),
            Some(at) => (0, Some(at)),
            None => (0, Some(now - TOO_OLD - FRESH)),
        };
        let updates = match self.bot.updates(self.offset, wait).await {
            Ok(updates) => updates,
            Err(trouble) => return Some(self.failed(trouble)),
        };
        let count = updates.len();
        if self.polling.becomes(Reached::Connected) {
            tracing::info!("Telegram is asked for clicks");
        }
        for update in updates {
            // Without a number it could not be asked past, and would come again at once.
            let Some(number) = number_of(&update) else {
                return Some(self.failed(Trouble::Garbage("an update without a number")));
            };
            if self.desk.take(&update, made_at).await == Ack::NotKept {
                self.failures = self.failures.saturating_add(1);
                return Some(self.pause());
            }
            self.offset = Some(number.saturating_add(1));
        }
        self.failures = 0;
        // Behind a full answer more of the same may wait.
        if count < MOST_UPDATES {
            self.asked_at = Some(now);
            self.note(now).await;
        }
        let left = FLOOR.saturating_sub(begun.elapsed());
        (count == 0 && !left.is_zero()).then_some(left)
    }

    /// When somebody last asked, before this process did.
    async fn look(&mut self) -> Result<(), PortError> {
        if !self.looked {
            let row = self.desk.store().row(TABLE, KEY).await?;
            self.noted = row.map(|row| row.value);
            let noted: Option<Timestamp> = self.noted.as_ref().and_then(|it| it.parse().ok());
            // Of two processes the one that asked last is right.
            self.asked_at = self.asked_at.max(noted);
            self.looked = true;
        }
        Ok(())
    }

    /// Writes down when somebody asked, once in a while, for whoever asks after this process.
    async fn note(&mut self, now: Timestamp) {
        let noted: Option<Timestamp> = self.noted.as_ref().and_then(|it| it.parse().ok());
        if noted.is_some_and(|at| now.since(at) < NOTED_EVERY) {
            return;
        }
        let value = now.to_string();
        let row = Row {
            table: TABLE,
            key: KEY.to_owned(),
            value: value.clone(),
        };
        let expected = self.noted.clone();
        let commit = Commit {
            rows: vec![RowChange { row, expected }],
            ..Commit::default()
        };
        match self.desk.store().commit(commit).await {
            Ok(_) => self.noted = Some(value),
            Err(error) => {
                // Somebody else wrote it, or it was written: it is read again.
                self.looked = false;
                let error = match error {
                    CommitError::Port(error) => error,
                    other => PortError::nothing_done(ADAPTER, "note a poll", ErrorKind::Conflict)
                        .because(other),
                };
                tracing::debug!(error = %error.chain(), "it was not noted when Telegram was asked");
            }
        }
    }

    fn failed(&mut self, trouble: Trouble) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let kind = trouble.kind();
        let reached = match kind {
            ErrorKind::Conflict => Reached::Conflict,
            ErrorKind::Forbidden | ErrorKind::Misconfigured => Reached::Refused,
            ErrorKind::NotFound | ErrorKind::RateLimited { .. } | ErrorKind::Unavailable => {
                Reached::NotConnected
            }
        };
        let error = trouble.during("ask for clicks");
        match self.polling.becomes(reached) {
            true if kind == ErrorKind::Conflict => tracing::error!(
                error = %error.chain(),
                "Telegram gives the clicks of this bot to somebody else: let one process alone poll, \
                 or delete the webhook of the bot (deleteWebhook)"
            ),
            true => tracing::warn!(error = %error.chain(), "Telegram cannot be asked for clicks"),
            false => tracing::debug!(error = %error.chain(), "Telegram still cannot be asked"),
        }
        match kind {
            ErrorKind::RateLimited {
                retry_after_ms: Some(wait),
            } => Duration::from_millis(wait).min(LONGEST_PAUSE * 10),
            // Somebody else asks for the same: the two would end each other's calls.
            ErrorKind::Conflict => CONFLICT_PAUSE,
            ErrorKind::RateLimited {
                retry_after_ms: None,
            }
            | ErrorKind::NotFound
            | ErrorKind::Forbidden
            | ErrorKind::Unavailable
            | ErrorKind::Misconfigured => self.pause(),
        }
    }

    fn pause(&self) -> Duration {
        let doubled = PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(6));
        doubled.min(LONGEST_PAUSE)
    }
}
