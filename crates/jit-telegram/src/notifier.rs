//! Telling the chat what happened: one message for each request, changed as the record changes. It is
//! drawn from the record, so it is right after any number of failures.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::Catalog;
use jit_core::digest::Digest;
use jit_core::ports::{Announcement, Clock, Effect, ErrorKind, Notifier, PortError, Told};
use jit_core::request::{AccessRequest, Approver, Cause, End, Phase, Stage};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::ADAPTER;
use crate::bot::{Bot, Message};
use crate::button::Buttons;
use crate::card::{Shown, card, reminder};
use crate::people::ChatId;
use crate::trouble::Trouble;

/// The longest that telling one thing may take, however many calls that needs: whoever takes the
/// delivery over when it is left must not find it still being told.
const BUDGET: Duration = Duration::from_secs(12);
/// The pause where Telegram wants one and does not say how long, and where a reminder failed.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Where the message about one request is, as the delivery row keeps it. A field is only ever added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Place {
    /// The message.
    message: i64,
    /// The beginning of the digest of what it says, so that the same is not said again.
    says: String,
    /// Somebody was reminded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reminded: bool,
}

impl Place {
    fn read(message: Option<&String>) -> Option<Self> {
        serde_json::from_str(message?).ok()
    }

    fn written(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// Tells one chat.
pub(crate) struct TelegramNotifier {
    chat: ChatId,
    bot: Arc<Bot>,
    buttons: Arc<Buttons>,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    /// Telegram wants no call before.
    closed_until: Mutex<Option<Timestamp>>,
}

impl fmt::Debug for TelegramNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramNotifier")
            .field("chat", &self.chat)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Notifier for TelegramNotifier {
    fn name(&self) -> &'static str {
        ADAPTER
    }

    fn targets(&self, _request: &AccessRequest) -> Vec<String> {
        vec![self.chat.to_string()]
    }

    fn shows_background(&self) -> bool {
        true
    }

    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError> {
        let place = Place::read(announcement.delivery.message.as_ref());
        if place.is_none() && needs_nobody(announcement.request) {
            return Ok(Told::default());
        }
        // A chat of an earlier configuration keeps its cards.
        let chat = announcement.delivery.key.target.parse();
        let chat = chat.unwrap_or(self.chat);
        self.check_open()?;
        let told = self.tell(chat, place, &announcement);
        let told = tokio::time::timeout_at(Instant::now() + BUDGET, told).await;
        let told = told.unwrap_or_else(|_| Err(Trouble::Timeout.during("tell the chat")));
        if let Err(error) = &told {
            self.heed(error);
            // Perhaps its buttons are shown: the next card has its own, and both are good.
            if error.effect == Effect::Unknown {
                self.buttons.forget(announcement.request.id);
            }
        }
        told
    }
}

impl TelegramNotifier {
    pub(crate) fn new(
        chat: ChatId,
        bot: Arc<Bot>,
        buttons: Arc<Buttons>,
        catalog: Catalog,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            chat,
            bot,
            buttons,
            catalog,
            clock,
            closed_until: Mutex::default(),
        }
    }

    async fn tell(
        &self,
        chat: ChatId,
        place: Option<Place>,
        announcement: &Announcement<'_>,
    ) -> Result<Told, PortError> {
        let request = announcement.request;
        let (message, shown) = card(request, &self.catalog, announcement.background);
        let says = Digest::of(message.text.as_bytes()).prefix();
        let before = place.unwrap_or_default();
        let remind_at = remind_at(request).filter(|_| !before.reminded);
        let reminds = remind_at.is_some_and(|at| at <= self.clock.now());
        // What it says already is not said again: Telegram counts that as well, and buttons that
        // stand stay good. Nobody is reminded of a card that somebody deleted: whether it is there
        // shows when it is drawn.
        let stands = before.says == says && !reminds;
        let mut place = before.clone();
        if !stands {
            let drawn = self.draw(chat, before.message, request, message, shown);
            (place.message, place.says) = (drawn.await?, says);
        }
        let mut again_at = remind_at.filter(|_| !reminds);
        if reminds {
            let words = reminder(request);
            match self.bot.reply(chat, place.message, &words).await {
                Ok(_) => place.reminded = true,
                // Where the card is must not be lost over that.
                Err(trouble) => again_at = Some(self.later(trouble.during("remind the chat"))),
            }
        }
        Ok(Told {
            message: place.written(),
            again_at,
        })
    }

    /// Changes the card, or posts it where there is none or somebody deleted it; its id.
    async fn draw(
        &self,
        chat: ChatId,
        before: i64,
        request: &AccessRequest,
        message: Message,
        shown: Shown,
    ) -> Result<i64, PortError> {
        if before != 0 {
            let message = self.with_buttons(request, Some(before), message.clone(), shown);
            let message = message.await?;
            match self.bot.edit(chat, before, &message).await {
                Ok(()) => {
                    self.buttons.shown(request, Some(before), before).await;
                    return Ok(before);
                }
                Err(trouble) if trouble.is_message_gone() => {}
                Err(trouble) => return Err(trouble.during("change a message")),
            }
        }
        let message = self.with_buttons(request, None, message, shown).await?;
        let posted = self.bot.send(chat, &message).await;
        let posted = posted.map_err(|trouble| trouble.during("post a message"));
        if let Ok(id) = &posted {
            self.buttons.shown(request, None, *id).await;
            if request.stage == Stage::Pending {
                tracing::info!(
                    event = "approval_sent",
                    request_id = %request.id,
                    "a card was posted"
                );
            }
        }
        posted
    }

    /// The same with the buttons that this request has.
    async fn with_buttons(
        &self,
        request: &AccessRequest,
        under: Option<i64>,
        mut message: Message,
        shown: Shown,
    ) -> Result<Message, PortError> {
        if request.stage == Stage::Pending && shown == Shown::Whole {
            let pair = self.buttons.make(request, under).await?;
            message.buttons = vec![("Approve", pair.approve), ("Deny", pair.deny)];
        }
        Ok(message)
    }

    /// Nothing is sent while Telegram wants a pause: one that comes too early makes it longer.
    fn check_open(&self) -> Result<(), PortError> {
        let until = *self
            .closed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let wait = until.map(|until| until.since(self.clock.now()));
        match wait.filter(|wait| !wait.is_zero()) {
            None => Ok(()),
            Some(wait) => {
                let millis = u64::try_from(wait.as_micros().div_ceil(1_000));
                let retry_after_ms = millis.ok();
                Err(Trouble::TooFast { retry_after_ms }.during("tell the chat"))
            }
        }
    }

    /// Remembers the pause that Telegram wants.
    fn heed(&self, error: &PortError) {
        let ErrorKind::RateLimited { retry_after_ms } = error.kind else {
            return;
        };
        let pause = retry_after_ms.map_or(PAUSE, Duration::from_millis);
        let until = self.clock.now() + pause.min(LONGEST_PAUSE);
        tracing::info!(?pause, "Telegram wants a pause");
        let mut closed = self.closed_until.lock();
        let closed = closed.as_deref_mut();
        if let Ok(closed) = closed {
            *closed = (*closed).max(Some(until));
        }
    }

    /// When to try again what did not work.
    fn later(&self, error: PortError) -> Timestamp {
        self.heed(&error);
        let pause = match error.kind {
            ErrorKind::RateLimited {
                retry_after_ms: Some(wait),
            } => Duration::from_millis(wait),
            _ => PAUSE,
        };
        tracing::warn!(error = %error.chain(), "a reminder could not be sent and will be");
        self.clock.now() + pause.min(LONGEST_PAUSE)
    }
}

/// When somebody is reminded: once, when half of the time to decide is over.
fn remind_at(request: &AccessRequest) -> Option<Timestamp> {
    let window = request.decide_by.since(request.opened_at);
    (request.stage == Stage::Pending).then(|| request.opened_at + window / 2)
}

/// Whether nobody had to decide it and nothing went wrong with it, so that a chat full of cards which
/// nobody has to read is spared one more.
fn needs_nobody(request: &AccessRequest) -> bool {
    let Some(grant) = request.grant() else {
        return false;
    };
    let mut approvals = request.approvals.iter();
    let automatic = approvals.all(|approval| approval.by == Approver::Automatic);
    let well = match &grant.phase {
        Phase::Approved | Phase::Provisioning { .. } | Phase::Active => {
            grant.missing_since.is_none()
        }
        Phase::Revoking { ending } | Phase::Settling { ending, .. } => {
            grant.stuck.is_none() && ending.cause != Cause::Failed
        }
        Phase::Closed {
            end: End::Gone { cause },
        } => *cause != Cause::Failed,
        Phase::Closed {
            end: End::Superseded { .. },
        } => true,
        Phase::Cancelled { .. } => false,
    };
    automatic && well
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_ever_released_still_loads() {
        let place = |reminded| Place {
            message: 7,
            says: "9b2c29b3aab190d3".to_owned(),
            reminded,
        };
        let released = [
            (
                place(true),
                r#"{"message":7,"says":"9b2c29b3aab190d3","reminded":true}"#,
            ),
            (place(false), r#"{"message":7,"says":"9b2c29b3aab190d3"}"#),
        ];
        for (place, text) in released {
            let read = Place::read(Some(&text.to_owned()));
            assert_eq!(read.as_ref(), Some(&place));
            assert_eq!(place.written().as_deref(), Some(text));
        }
    }
}
