//! What becomes of an input: kept, acknowledged, worked on. It turns what a person did in Slack
//! into a command of the engine, and the engine's answer into words; it judges nothing itself.

mod answering;
mod asking;
mod reacting;
mod reading;
mod screens;

use std::collections::HashSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jit_core::Timestamp;
use jit_core::engine::{Engine, EngineError, Verb};
use jit_core::lifecycle::Refusal;
use jit_core::ports::{Inbox, InboxItem, PortError};
use jit_core::principal::{Door, Principal};
use jit_core::request::RequestId;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use self::asking::{obvious_errors, reason_of, seconds};
use self::reacting::Marking;
use crate::input::{About, Asked, Forget, Input, Read, Said, is_ours};
use crate::notifier::SlackNotifier;
use crate::people::UserId;
use crate::roster::NotKnown;
use crate::surface::{Reply, deny_form, sending_view, shorten_form};

/// An input that was not worked on by then is not applied any more (house rule: who clicks again
/// must not be answered twice).
const TOO_OLD: Duration = Duration::from_secs(120);
/// Commands carried out at once that give access. More of them would not be done sooner, and those
/// who wait for an acknowledgement would wait behind them. Those that take access away, or say no,
/// have as much room of their own.
const AT_ONCE: usize = 32;
/// Everything else that is worked on at once: forms, homes, answers, reactions.
const OTHERS_AT_ONCE: usize = 128;
/// Inputs taken over in one look from whoever left them.
const LEFT_OVER: usize = 50;

/// How an envelope is acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ack {
    /// It was taken.
    Bare,
    /// It was taken, and this is the answer.
    With(Value),
    /// It was not kept; Slack is to say that something went wrong.
    None,
}

/// By what the inbox knows an input, and when it came.
#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    key: &'a str,
    received_at: Timestamp,
}

/// Whether an input is marked as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marked {
    /// With what it asked for.
    Already,
    NotYet,
}

/// Works on what people do.
pub(crate) struct Desk {
    engine: Arc<Engine>,
    notifier: Arc<SlackNotifier>,
    room: Semaphore,
    room_to_end: Semaphore,
    room_for_others: Semaphore,
    /// The keys of the inputs that this process works on.
    under_way: Mutex<HashSet<String>>,
    hinted: Mutex<HashSet<(UserId, String)>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// An input, as long as it is worked on.
struct UnderWay<'a> {
    desk: &'a Desk,
    key: &'a str,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.desk.works_on().remove(self.key);
    }
}

/// Why an input came to nothing.
enum Trouble {
    Say(Reply, Option<RequestId>),
    Failed(PortError),
    /// Another process took it over and was first; it says what came of it.
    DoneElsewhere,
    /// We did, or something that we asked.
    Panicked,
}

impl From<NotKnown> for Trouble {
    fn from(why: NotKnown) -> Self {
        match why {
            NotKnown::Stranger(stranger) => Self::Say(Reply::Stranger(stranger), None),
            NotKnown::Failed(error) => Self::Failed(error),
        }
    }
}

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Refused(Refusal::InputDone) => Self::DoneElsewhere,
            EngineError::Refused(refusal) => Self::Say(Reply::Refused(refusal), None),
            EngineError::Failed(error) => Self::Failed(error),
        }
    }
}

fn usage(sentence: &'static str) -> Trouble {
    Trouble::Say(Reply::Usage(sentence), None)
}

impl Desk {
    pub(crate) fn new(engine: Arc<Engine>, notifier: Arc<SlackNotifier>) -> Self {
        Self {
            engine,
            notifier,
            room: Semaphore::new(AT_ONCE),
            room_to_end: Semaphore::new(AT_ONCE),
            room_for_others: Semaphore::new(OTHERS_AT_ONCE),
            under_way: Mutex::default(),
            hinted: Mutex::default(),
        }
    }

    pub(crate) fn commands(&self) -> &crate::commands::Commands {
        &self.notifier.settings.commands
    }

    /// Takes what Slack sent. When this returns, what must not be lost is in the store.
    pub(crate) async fn take(self: &Arc<Self>, read: Read) -> Ack {
        match read {
            Read::Keep { key, input } => self.keep(key, *input).await,
            Read::Options { user, team, query } => {
                match self.options(&user, team.as_ref(), &query).await {
                    Ok(options) => Ack::With(json!({"options": options})),
                    Err(_) => Ack::With(json!({"options": []})),
                }
            }
            Read::Forget(what) => {
                self.forget(&what);
                Ack::Bare
            }
            Read::Ignore => Ack::Bare,
            Read::Unreadable => {
                metrics::counter!("jit_slack_unreadable_total").increment(1);
                tracing::warn!("something that Slack sent cannot be read and was not applied");
                Ack::None
            }
        }
    }

    async fn keep(self: &Arc<Self>, key: String, input: Input) -> Ack {
        if let Some(errors) = obvious_errors(&input) {
            return Ack::With(json!({"response_action": "errors", "errors": errors}));
        }
        let ack = match &input.said {
            // What becomes of it is shown in the same window.
            Said::Ask { .. } => Ack::With(json!({
                "response_action": "update",
                "view": sending_view(),
            })),
            _ => Ack::Bare,
        };
        let now = self.engine.now();
        let Ok(text) = serde_json::to_string(&input) else {
            return Ack::None;
        };
        match self.engine.store().inbox_put(&key, &text, now).await {
            Ok(Inbox::New) => {
                let desk = Arc::clone(self);
                tokio::spawn(async move { desk.work_on(&key, now, input).await });
                ack
            }
            // Slack sent it again; whoever took it first works on it.
            Ok(Inbox::Seen) => ack,
            Err(error) => {
                tracing::error!(error = %error.chain(), "an input could not be kept");
                Ack::None
            }
        }
    }

    /// Works on what other processes took and did not finish, side by side: one that waits for
    /// Slack must not keep the others until it is too late for them.
    pub(crate) async fn take_over(self: &Arc<Self>) -> Result<usize, PortError> {
        let now = self.engine.now();
        let left = self.engine.take_inputs(is_ours, LEFT_OVER).await?;
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
                // Another release wrote it, or it is not ours.
                continue;
            };
            let desk = Arc::clone(self);
            tokio::spawn(async move {
                if now.since(received_at) > TOO_OLD {
                    desk.turn_away(&key, &input).await;
                } else {
                    desk.work_on(&key, received_at, input).await;
                }
            });
        }
        Ok(found)
    }

    /// Says that it came too late, when there is room for it.
    async fn turn_away(&self, key: &str, input: &Input) {
        self.works_on().insert(key.to_owned());
        let _under_way = UnderWay { desk: self, key };
        let _room = self.room_for_others.acquire().await.ok();
        self.answer(input, &Reply::TooOld, None).await;
        self.done(key).await;
    }

    fn works_on(&self) -> MutexGuard<'_, HashSet<String>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn work_on(&self, key: &str, received_at: Timestamp, input: Input) {
        self.works_on().insert(key.to_owned());
        // However it ends.
        let _under_way = UnderWay { desk: self, key };
        let origin = Origin { key, received_at };
        // An input that makes us panic is answered and done with like any other: left in the inbox
        // it would be taken over again, with whoever takes over.
        let work = self.work(&input, origin);
        let worked = AssertUnwindSafe(work).catch_unwind().await;
        match worked.unwrap_or(Err(Trouble::Panicked)) {
            Ok(Marked::Already) | Err(Trouble::DoneElsewhere) => return,
            Ok(Marked::NotYet) => {}
            Err(Trouble::Panicked) => {
                tracing::error!("working on an input panicked; others are served");
                self.answer(&input, &Reply::Failed, about_of(&input.said))
                    .await;
            }
            Err(Trouble::Say(reply, about)) => {
                let about = about.or_else(|| about_of(&input.said));
                self.answer(&input, &reply, about).await;
            }
            Err(Trouble::Failed(error)) => {
                tracing::warn!(error = %error.chain(), "an input could not be applied");
                self.answer(&input, &Reply::Failed, about_of(&input.said))
                    .await;
            }
        }
        self.done(origin.key).await;
    }

    async fn done(&self, key: &str) {
        if let Err(error) = self.engine.store().inbox_done(key).await {
            // It is taken again later, and finds that it was applied.
            tracing::warn!(error = %error.chain(), "an input could not be marked as done");
        }
    }

    fn forget(&self, what: &Forget) {
        match what {
            Forget::User(user) => self.notifier.roster.forget(user),
            Forget::Groups => self.notifier.roster.forget_groups(),
            Forget::Everything => {
                tracing::error!("Slack says that this app was removed or its token was withdrawn");
            }
        }
    }

    async fn via(&self, input: &Input) -> Result<Principal, Trouble> {
        let person = self
            .notifier
            .roster
            .person(&input.user, input.team.as_ref());
        Ok(Principal {
            id: person.await?,
            door: Door::Slack,
        })
    }

    async fn work(&self, input: &Input, origin: Origin<'_>) -> Result<Marked, Trouble> {
        let _room = match waits_by_itself(&input.said) {
            true => None,
            false => self.turn(&self.room_for_others, origin).await?,
        };
        match &input.said {
            Said::Home => {
                self.show_home(input).await?;
                Ok(Marked::NotYet)
            }
            // Most reactions mean nothing to us, and nobody is asked who they are for those.
            Said::Reaction {
                channel,
                message,
                author,
                name,
            } => {
                let on = Marking {
                    channel,
                    message,
                    author: author.as_ref(),
                    name,
                };
                self.reacted(input, on, origin).await
            }
            said => {
                let via = self.via(input).await?;
                let worked = self.work_as(&via, input, said, origin).await;
                if let (Ok(_), Some(about)) = (&worked, about_of(said)) {
                    self.refresh_window(input, &via, about).await;
                }
                // What came of it is said whether the home can be drawn anew or not.
                if input.at_home
                    && let Err(Trouble::Failed(error)) = self.show_home(input).await
                {
                    tracing::warn!(error = %error.chain(), "a home could not be drawn anew");
                }
                worked
            }
        }
    }

    async fn work_as(
        &self,
        via: &Principal,
        input: &Input,
        said: &Said,
        origin: Origin<'_>,
    ) -> Result<Marked, Trouble> {
        let say = async |about: &About, verb| self.carry_out(via, about.id, verb, origin).await;
        match said {
            Said::OpenForm { asked } => self.open_form(input, via, asked).await,
            Said::Chosen { view, hash, asked } => self.redraw_form(via, view, hash, asked).await,
            Said::Again { id } => {
                let request = self.engine.read(via, *id).await?.request;
                let asked = Asked {
                    entitlement: Some(request.parts.first().entitlement.to_string()),
                    reason: Some(request.reason.to_string()),
                    beneficiary: (request.beneficiary != request.requester)
                        .then(|| request.beneficiary.to_string()),
                    secs: None,
                };
                self.open_form(input, via, &asked).await
            }
            Said::Ask { view, asked } => return self.ask(input, via, view, asked, origin).await,
            Said::Approve { about } => {
                let verb = Verb::Approve {
                    ttl: None,
                    digest: about.digest.clone(),
                };
                return say(about, verb).await;
            }
            Said::Shorten { about, secs } => {
                let verb = Verb::Approve {
                    ttl: Some(seconds(secs)?),
                    digest: about.digest.clone(),
                };
                return say(about, verb).await;
            }
            Said::Deny { about, reason } => {
                let verb = Verb::Deny {
                    reason: reason_of(reason)?,
                    digest: about.digest.clone(),
                };
                return say(about, verb).await;
            }
            Said::OpenShorten { about } => {
                let request = self.engine.read(via, about.id).await?.request;
                let form = shorten_form(&request);
                self.open_view(input, &form).await.map(drop)
            }
            Said::OpenDeny { about } => {
                let request = self.engine.read(via, about.id).await?.request;
                let form = deny_form(&request);
                self.open_view(input, &form).await.map(drop)
            }
            Said::Withdraw { about } => return say(about, Verb::Withdraw).await,
            Said::Done { about } => return say(about, Verb::End).await,
            Said::Revoke { about } => return say(about, Verb::Revoke { reason: None }).await,
            Said::Review { about } => {
                let request = self.engine.read(via, about.id).await?.request;
                self.review(input, via, &request).await
            }
            Said::Typed { typed } => return self.typed(input, via, typed, origin).await,
            // Worked on without knowing who it is.
            Said::Reaction { .. } | Said::Home => Ok(()),
        }?;
        Ok(Marked::NotYet)
    }

    async fn carry_out(
        &self,
        via: &Principal,
        id: RequestId,
        verb: Verb,
        origin: Origin<'_>,
    ) -> Result<Marked, Trouble> {
        let room = match &verb {
            Verb::Approve { .. } => &self.room,
            Verb::Deny { .. }
            | Verb::Retract
            | Verb::Withdraw
            | Verb::End
            | Verb::Revoke { .. } => &self.room_to_end,
        };
        let _room = self.turn(room, origin).await?;
        let said = self.engine.handle_by(via, id, verb, Some(origin.key));
        said.await?;
        Ok(Marked::Already)
    }

    /// Waits for the turn of a command. One that waited too long is not carried out any more: its
    /// person may have given it again.
    async fn turn<'a>(
        &self,
        room: &'a Semaphore,
        origin: Origin<'_>,
    ) -> Result<Option<SemaphorePermit<'a>>, Trouble> {
        let room = room.acquire().await.ok();
        if self.engine.now().since(origin.received_at) > TOO_OLD {
            return Err(Trouble::Say(Reply::TooOld, None));
        }
        Ok(room)
    }
}

/// Whether it is a command and nothing else, which waits for its turn where it is carried out.
fn waits_by_itself(said: &Said) -> bool {
    match said {
        Said::Ask { .. }
        | Said::Approve { .. }
        | Said::Shorten { .. }
        | Said::Deny { .. }
        | Said::Withdraw { .. }
        | Said::Done { .. }
        | Said::Revoke { .. } => true,
        Said::Home
        | Said::Reaction { .. }
        | Said::OpenForm { .. }
        | Said::OpenShorten { .. }
        | Said::OpenDeny { .. }
        | Said::Chosen { .. }
        | Said::Again { .. }
        | Said::Review { .. }
        | Said::Typed { .. } => false,
    }
}

fn about_of(said: &Said) -> Option<RequestId> {
    match said {
        Said::Approve { about }
        | Said::Shorten { about, .. }
        | Said::OpenShorten { about }
        | Said::Deny { about, .. }
        | Said::OpenDeny { about }
        | Said::Review { about }
        | Said::Withdraw { about }
        | Said::Done { about }
        | Said::Revoke { about } => Some(about.id),
        Said::Again { id } => Some(*id),
        Said::OpenForm { .. }
        | Said::Chosen { .. }
        | Said::Ask { .. }
        | Said::Typed { .. }
        | Said::Home
        | Said::Reaction { .. } => None,
    }
}
