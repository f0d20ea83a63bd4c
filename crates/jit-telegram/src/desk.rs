//! What becomes of a click: kept, acknowledged, worked on. It turns the click into a command of the
//! engine, and the engine's answer into words; it judges nothing itself.

use std::collections::HashSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jit_core::Timestamp;
use jit_core::engine::{Engine, EngineError, Verb};
use jit_core::lifecycle::Refusal;
use jit_core::ports::{Directory, Inbox, InboxItem, PortError, RequestStore};
use jit_core::principal::{Door, Principal};
use jit_core::request::{AccessRequest, Reason, RequestId, Stage};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::INPUTS;
use crate::bot::{Bot, Said};
use crate::button::{Action, Button, Buttons, NoButton, Pressed};
use crate::input::{Input, Read, update};
use crate::people::{ChatId, UserId, alias};

/// A click that was not worked on by then is not applied any more: who clicks again must not be
/// answered twice.
pub(crate) const TOO_OLD: Duration = Duration::from_secs(120);
/// Clicks worked on at once.
const AT_ONCE: usize = 32;
/// Clicks taken over in one look from whoever left them.
const LEFT_OVER: usize = 50;
/// The longest answer to a click, in characters.
/// Source: <https://core.telegram.org/bots/api#answercallbackquery>
const ANSWER_LIMIT: usize = 200;
/// Why a request is denied by a button, on which nobody can write anything.
const DENIED: &str = "denied in Telegram";

const APPROVED: &str = "Approved.";
const COUNTED: &str = "Your approval counts; the card says how many more are needed.";
const SAID_NO: &str = "Denied.";
const INVALID: &str = "No longer valid; nothing was approved.";
const WRONG_CHAT: &str = "Nothing is decided in this chat.";
const STRANGER: &str = "You are nobody here: an operator must add your Telegram id to the configuration. Nothing was \
     changed.";
const NO_BUTTON: &str = "This button is not one of this request. Nothing was changed.";
const USED: &str = "This button was used already. Nothing was changed.";
const EXPIRED: &str = "This button is too old: nobody answered in time. Nothing was changed.";
const LATE: &str = "That came too late and was not applied; please click again.";
const FAILED: &str = "Something failed and your click was not applied; please try again.";
const AGAIN: &str =
    "Something failed; your click is tried again for two minutes. The card says what came of it.";

/// Whether what was sent is safe with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// It is; it need not be sent again.
    Taken,
    /// It could not be kept and must be sent again.
    NotKept,
}

/// What a desk is made of.
pub(crate) struct DeskParts {
    pub(crate) chat: ChatId,
    pub(crate) engine: Arc<Engine>,
    pub(crate) bot: Arc<Bot>,
    pub(crate) buttons: Arc<Buttons>,
    pub(crate) directory: Arc<dyn Directory>,
}

/// Works on what people click.
pub(crate) struct Desk {
    parts: DeskParts,
    room: Semaphore,
    /// The keys of the clicks that this process works on.
    under_way: Mutex<HashSet<String>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// A click, as long as it is worked on.
struct UnderWay<'a> {
    desk: &'a Desk,
    key: &'a str,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.desk.works_on().remove(self.key);
    }
}

/// What came of a click, for whoever made it.
#[derive(Debug)]
enum Outcome {
    /// It was applied, and the input is done with that.
    Applied(&'static str),
    /// The request was found to be no longer valid, and the input is done with that.
    Invalidated,
    /// It was not.
    Refused(String),
    /// It was not, and its button could not be given back: the input stays, and whoever takes it over
    /// comes to the same end under the same key, and mends that.
    Open(String),
    /// Another process took it over and was first; it says what came of it.
    DoneElsewhere,
}

impl Outcome {
    fn no(sentence: &str) -> Self {
        Self::Refused(sentence.to_owned())
    }
}

impl Desk {
    pub(crate) fn new(parts: DeskParts) -> Self {
        Self {
            parts,
            room: Semaphore::new(AT_ONCE),
            under_way: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.engine.now()
    }

    pub(crate) fn store(&self) -> &dyn RequestStore {
        self.parts.engine.store().as_ref()
    }

    pub(crate) fn works_on(&self) -> MutexGuard<'_, HashSet<String>> {
        let under_way = self.under_way.lock();
        under_way.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an update, which may have been made as long ago as that; now, where it is not known to be
    /// older. When this returns, what must not be lost is in the store.
    pub(crate) async fn take(self: &Arc<Self>, sent: &Value, made_at: Option<Timestamp>) -> Ack {
        let input = match update(sent) {
            Read::Keep(input) => input,
            Read::Ignore => return Ack::Taken,
            Read::Unreadable => {
                metrics::counter!("jit_telegram_unreadable_total").increment(1);
                tracing::warn!("something that Telegram sent cannot be read and was not applied");
                // Sent again it would not be more readable.
                return Ack::Taken;
            }
        };
        let (key, now) = (input.key(), made_at.unwrap_or_else(|| self.now()));
        let text = serde_json::to_string(&input);
        let text = text.expect("an input has string keys and whole numbers, so it serialises");
        match self.store().inbox_put(&key, &text, now).await {
            Ok(Inbox::New) => {
                let desk = Arc::clone(self);
                tokio::spawn(async move { desk.work_on(&key, now, &input).await });
                Ack::Taken
            }
            // Telegram sent it again; whoever took it first works on it.
            Ok(Inbox::Seen) => Ack::Taken,
            Err(error) => {
                tracing::error!(error = %error.chain(), "a click could not be kept");
                Ack::NotKept
            }
        }
    }

    /// Works on what other processes took and did not finish.
    pub(crate) async fn take_over(self: &Arc<Self>) -> Result<usize, PortError> {
        let is_ours = |key: &str| key.starts_with(INPUTS);
        let left = self.parts.engine.take_inputs(is_ours, LEFT_OVER).await?;
        let found = left.len();
        for InboxItem {
            key,
            input,
            received_at,
        } in left
        {
            // It takes long, and it is not left.
            if self.works_on().contains(&key) {
                continue;
            }
            let Ok(input) = serde_json::from_str::<Input>(&input) else {
                // Another release wrote it.
                continue;
            };
            let desk = Arc::clone(self);
            tokio::spawn(async move { desk.work_on(&key, received_at, &input).await });
        }
        Ok(found)
    }

    async fn work_on(&self, key: &str, received_at: Timestamp, input: &Input) {
        self.works_on().insert(key.to_owned());
        // However it ends.
        let _under_way = UnderWay { desk: self, key };
        let _room = self.room.acquire().await.ok();
        // A click that makes us panic is answered, and left in the inbox until it is too old.
        let worked = AssertUnwindSafe(self.work(key, received_at, input));
        let outcome = worked.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("working on a click panicked; others are served");
            Outcome::Open(AGAIN.to_owned())
        });
        match outcome {
            Outcome::Applied(sentence) => self.answer(input, sentence, false).await,
            Outcome::Invalidated => self.answer(input, INVALID, true).await,
            Outcome::Refused(sentence) => {
                self.answer(input, &sentence, true).await;
                self.done(key).await;
            }
            Outcome::Open(sentence) => self.answer(input, &sentence, true).await,
            Outcome::DoneElsewhere => {}
        }
    }

    async fn done(&self, key: &str) {
        if let Err(error) = self.store().inbox_done(key).await {
            // It is taken again later, and finds that nothing is to be done.
            tracing::warn!(error = %error.chain(), "a click could not be marked as done");
        }
    }

    /// Whoever clicked is told, if they still wait: after some seconds Telegram takes no answer.
    async fn answer(&self, input: &Input, sentence: &str, alert: bool) {
        let text: String = match sentence.chars().count() > ANSWER_LIMIT {
            false => sentence.to_owned(),
            true => {
                let kept = sentence.chars().take(ANSWER_LIMIT - 1);
                kept.chain(['…']).collect()
            }
        };
        let said = Said {
            click: &input.click,
            text: &text,
            alert,
        };
        if let Err(trouble) = self.parts.bot.answer(&said).await {
            let error = trouble.during("answer a click");
            tracing::info!(error = %error.chain(), "whoever clicked was not answered");
        }
    }

    async fn work(&self, key: &str, received_at: Timestamp, input: &Input) -> Outcome {
        if input.chat != Some(self.parts.chat) {
            return Outcome::no(WRONG_CHAT);
        }
        if self.now().since(received_at) > TOO_OLD {
            let late = LATE.to_owned();
            return match &input.button {
                Some(pressed) => self.given_back(pressed, key, late.clone(), late).await,
                None => Outcome::Refused(late),
            };
        }
        let via = match self.person(input.from).await {
            Ok(Some(via)) => via,
            Ok(None) => return Outcome::no(STRANGER),
            Err(error) => return Outcome::Refused(failed(&error, None)),
        };
        let (Some(pressed), Some(message)) = (&input.button, input.message) else {
            return Outcome::no(NO_BUTTON);
        };
        let now = self.now();
        let taken = self.parts.buttons.take(pressed, message, key, now).await;
        match taken {
            Ok(Ok(button)) => self.carry_out(&via, &button, pressed, key).await,
            Ok(Err(NoButton::Unknown)) => Outcome::no(NO_BUTTON),
            Ok(Err(NoButton::Used)) => Outcome::no(USED),
            Ok(Err(NoButton::Expired)) => Outcome::no(EXPIRED),
            Err(error) => {
                let sentence = failed(&error, None);
                let again = AGAIN.to_owned();
                self.given_back(pressed, key, sentence, again).await
            }
        }
    }

    /// Nothing came of a click: its button is good again. `unmended` is what is said where it is not.
    async fn given_back(
        &self,
        pressed: &Pressed,
        key: &str,
        sentence: String,
        unmended: String,
    ) -> Outcome {
        match self.parts.buttons.give_back(pressed, key).await {
            Ok(()) => Outcome::Refused(sentence),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "a button that did nothing stays used for now");
                Outcome::Open(unmended)
            }
        }
    }

    /// Who clicked, where their id leads to one active person.
    async fn person(&self, from: Option<UserId>) -> Result<Option<Principal>, PortError> {
        let Some(name) = from.and_then(alias) else {
            return Ok(None);
        };
        let profile = self.parts.directory.profile(&name).await?;
        let profile = profile.filter(|profile| profile.active && !profile.is_program());
        Ok(profile.map(|profile| Principal {
            id: profile.id,
            door: Door::Telegram,
        }))
    }

    async fn carry_out(
        &self,
        via: &Principal,
        button: &Button,
        pressed: &Pressed,
        key: &str,
    ) -> Outcome {
        let (id, digest) = (pressed.request, button.digest.clone());
        let verb = match button.action {
            Action::Approve => Verb::Approve { ttl: None, digest },
            Action::Deny => {
                let reason: Reason = DENIED.parse().expect("a few words are a reason");
                Verb::Deny { reason, digest }
            }
        };
        let handled = self.parts.engine.handle_by(via, id, verb, Some(key)).await;
        match handled {
            Ok(request) => applied(button.action, &request),
            Err(EngineError::Refused(Refusal::InputDone)) => Outcome::DoneElsewhere,
            Err(EngineError::Refused(refusal)) => {
                let sentence = refusal.to_string();
                self.given_back(pressed, key, sentence.clone(), sentence)
                    .await
            }
            Err(EngineError::Failed(error)) => {
                let sentence = failed(&error, Some(id));
                let again = AGAIN.to_owned();
                self.given_back(pressed, key, sentence, again).await
            }
        }
    }
}

fn applied(action: Action, request: &AccessRequest) -> Outcome {
    match (action, &request.stage) {
        (Action::Deny, Stage::Denied { .. }) => Outcome::Applied(SAID_NO),
        (Action::Approve, Stage::Pending) => Outcome::Applied(COUNTED),
        (Action::Approve, Stage::Granted(_)) => Outcome::Applied(APPROVED),
        (
            Action::Deny | Action::Approve,
            Stage::Pending
            | Stage::Granted(_)
            | Stage::Denied { .. }
            | Stage::Withdrawn { .. }
            | Stage::Lapsed
            | Stage::Invalidated { .. },
        ) => Outcome::Invalidated,
    }
}

/// What people are told of a failure; the rest is for the log.
fn failed(error: &PortError, about: Option<RequestId>) -> String {
    tracing::warn!(error = %error.chain(), "a click could not be applied");
    match about {
        Some(id) => format!("something failed, reference {id}"),
        None => FAILED.to_owned(),
    }
}
