//! What becomes of an input: kept, acknowledged, worked on. It turns what a person did in Slack
//! into a command of the engine, and the engine's answer into words; it judges nothing itself.

use std::collections::HashSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jit_core::Ttl;
use jit_core::engine::{Engine, EngineError, NewRequest, Verb};
use jit_core::ports::{Inbox, InboxItem, PortError, Query};
use jit_core::principal::{Door, Principal, PrincipalId};
use jit_core::request::{AccessRequest, Reason, RequestId, Status};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::commands::Typed;
use crate::input::{About, Asked, Forget, Input, Read, Said};
use crate::notifier::{NOTIFIER, Place, SlackNotifier, body};
use crate::people::{ChannelId, TeamId, UserId};
use crate::roster::NotKnown;
use crate::surface::{
    Choice, Form, Home, Message, Reply, card, deny_form, home, home_for_strangers, listing, option,
    outcome_view, reply, request_form, sending_view, shorten_form,
};
use crate::web::WebError;

/// An input that was not worked on by then is not applied any more (house rule: who clicks again
/// must not be answered twice).
const TOO_OLD: Duration = Duration::from_secs(120);
/// Inputs worked on at once.
const AT_ONCE: usize = 256;
/// Inputs taken over at once from whoever left them.
const LEFT_OVER: usize = 50;
/// Options that Slack takes.
const OPTIONS: usize = 100;
/// Hints that are remembered, so that each is given once.
const HINTS: usize = 10_000;

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

/// Works on what people do.
pub(crate) struct Desk {
    engine: Arc<Engine>,
    notifier: Arc<SlackNotifier>,
    room: Arc<Semaphore>,
    hinted: Mutex<HashSet<(UserId, String)>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// Why an input came to nothing.
enum Trouble {
    Say(Reply, Option<RequestId>),
    Failed(PortError),
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
            room: Arc::new(Semaphore::new(AT_ONCE)),
            hinted: Mutex::default(),
        }
    }

    pub(crate) fn commands(&self) -> &crate::commands::Commands {
        &self.notifier.settings.commands
    }

    // ------------------------------------------------------------------------------ acknowledging

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
                tokio::spawn(async move { desk.work_on(&key, input).await });
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

    /// Works on what other processes took and did not finish.
    pub(crate) async fn take_over(self: &Arc<Self>) -> Result<usize, PortError> {
        let now = self.engine.now();
        let left = self.engine.store().inbox_take(now, LEFT_OVER).await?;
        let found = left.len();
        for InboxItem {
            key,
            input,
            received_at,
        } in left
        {
            let Ok(input) = serde_json::from_str::<Input>(&input) else {
                // Another release wrote it, or it is not ours.
                continue;
            };
            if now.since(received_at) > TOO_OLD {
                self.answer(&input, &Reply::TooOld, None).await;
                self.done(&key).await;
            } else {
                self.work_on(&key, input).await;
            }
        }
        Ok(found)
    }

    async fn work_on(&self, key: &str, input: Input) {
        let Ok(_room) = self.room.acquire().await else {
            return;
        };
        // An input that makes us panic is answered and done with like any other: left in the inbox
        // it would be taken over again, with whoever takes over.
        let worked = AssertUnwindSafe(self.work(&input)).catch_unwind().await;
        match worked.unwrap_or(Err(Trouble::Panicked)) {
            Ok(()) => {}
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
        self.done(key).await;
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

    // ------------------------------------------------------------------------------------ working

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

    async fn work(&self, input: &Input) -> Result<(), Trouble> {
        if input.said == Said::Home {
            return self.show_home(input).await;
        }
        let via = self.via(input).await?;
        match &input.said {
            Said::OpenForm { asked } => self.open_form(input, &via, asked).await,
            Said::Chosen { view, hash, asked } => self.redraw_form(&via, view, hash, asked).await,
            Said::Again { id } => {
                let request = self.engine.read(&via, *id).await?.request;
                let asked = Asked {
                    entitlement: Some(request.parts.first().entitlement.to_string()),
                    reason: Some(request.reason.to_string()),
                    beneficiary: (request.beneficiary != request.requester)
                        .then(|| request.beneficiary.to_string()),
                    secs: None,
                };
                self.open_form(input, &via, &asked).await
            }
            Said::Ask { view, asked } => self.ask(input, &via, view, asked).await,
            Said::Approve { about } => {
                let verb = Verb::Approve {
                    ttl: None,
                    digest: about.digest.clone(),
                };
                self.say(&via, about, verb).await
            }
            Said::Shorten { about, secs } => {
                let verb = Verb::Approve {
                    ttl: Some(seconds(secs)?),
                    digest: about.digest.clone(),
                };
                self.say(&via, about, verb).await
            }
            Said::Deny { about, reason } => {
                let verb = Verb::Deny {
                    reason: Some(reason_of(reason)?),
                    digest: about.digest.clone(),
                };
                self.say(&via, about, verb).await
            }
            Said::OpenShorten { about } => {
                let request = self.engine.read(&via, about.id).await?.request;
                self.open_view(input, &shorten_form(&request)).await
            }
            Said::OpenDeny { about } => {
                let request = self.engine.read(&via, about.id).await?.request;
                self.open_view(input, &deny_form(&request)).await
            }
            Said::Withdraw { about } => self.say(&via, about, Verb::Withdraw).await,
            Said::Done { about } => self.say(&via, about, Verb::End).await,
            Said::Revoke { about } => self.say(&via, about, Verb::Revoke { reason: None }).await,
            Said::Review { about } => {
                let request = self.engine.read(&via, about.id).await?.request;
                self.show(input, &request).await
            }
            Said::Typed { typed } => self.typed(input, &via, typed).await,
            Said::Reaction {
                channel,
                message,
                name,
            } => self.reacted(input, &via, channel, message, name).await,
            Said::Home => Ok(()),
        }
    }

    async fn say(&self, via: &Principal, about: &About, verb: Verb) -> Result<(), Trouble> {
        self.engine.handle(via, about.id, verb).await?;
        self.announce().await;
        Ok(())
    }

    /// What was just committed is told at once rather than at the next look.
    async fn announce(&self) {
        if let Err(error) = self.engine.announce_due(LEFT_OVER).await {
            tracing::warn!(error = %error.chain(), "nothing can be announced now");
        }
    }

    fn choice(&self, entitlement: Option<&str>) -> Option<Choice<'_>> {
        let id = entitlement?.parse().ok()?;
        let entitlement = self.engine.catalog().get(&id)?;
        let route = self.notifier.settings.route(&id);
        Some(Choice {
            entitlement,
            tier: self.engine.policy().tier(&entitlement.tier)?,
            warning: route.and_then(|route| route.warning.as_deref()),
        })
    }

    /// The choice, where the person may ask about it at all.
    async fn permitted(
        &self,
        via: &Principal,
        entitlement: Option<&str>,
    ) -> Result<Option<Choice<'_>>, Trouble> {
        let Some(choice) = self.choice(entitlement) else {
            return Ok(None);
        };
        let requestable = self.engine.requestable(via).await?;
        let known = requestable
            .iter()
            .any(|entry| entry.id == choice.entitlement.id);
        Ok(known.then_some(choice))
    }

    async fn form(&self, via: &Principal, asked: &Asked) -> Result<Value, Trouble> {
        let beneficiary = match asked.beneficiary.as_deref() {
            None => None,
            Some(text) => Some(text.parse::<PrincipalId>().map_err(|error| {
                let sentence = format!("{error}. Name a person as in ana@example.com.");
                Trouble::Say(Reply::Wrong(sentence), None)
            })?),
        };
        let choice = self.permitted(via, asked.entitlement.as_deref()).await?;
        Ok(request_form(&Form {
            choice,
            beneficiary: beneficiary.as_ref().filter(|id| **id != via.id),
            reason: asked.reason.as_deref(),
        }))
    }

    async fn open_form(
        &self,
        input: &Input,
        via: &Principal,
        asked: &Asked,
    ) -> Result<(), Trouble> {
        let form = self.form(via, asked).await?;
        self.open_view(input, &form).await
    }

    async fn open_view(&self, input: &Input, view: &Value) -> Result<(), Trouble> {
        let late = || Trouble::Say(Reply::TooOld, None);
        let trigger = input.trigger.as_deref().ok_or_else(late)?;
        let body = json!({"trigger_id": trigger, "view": view});
        match self.notifier.web.post("views.open", &body).await {
            Ok(_) => Ok(()),
            Err(error) => match error.code() {
                Some("expired_trigger_id" | "exchanged_trigger_id" | "trigger_expired") => {
                    Err(late())
                }
                _ => Err(Trouble::Failed(error.into_port("open a form"))),
            },
        }
    }

    async fn redraw_form(
        &self,
        via: &Principal,
        view: &str,
        hash: &str,
        asked: &Asked,
    ) -> Result<(), Trouble> {
        let form = self.form(via, asked).await?;
        let body = json!({"view_id": view, "hash": hash, "view": form});
        match self.notifier.web.post("views.update", &body).await {
            Ok(_) => Ok(()),
            // The person chose again meanwhile, or closed the window.
            Err(error) if matches!(error.code(), Some("hash_conflict" | "not_found")) => Ok(()),
            Err(error) => Err(Trouble::Failed(error.into_port("change a form"))),
        }
    }

    /// Asks, and shows in the window what became of it.
    async fn ask(
        &self,
        input: &Input,
        via: &Principal,
        view: &str,
        asked: &Asked,
    ) -> Result<(), Trouble> {
        let opened = self.open_request(via, view, asked).await;
        let message = match &opened {
            Ok(request) => outcome_view(request, self.card_channel(request)),
            Err(Trouble::Say(said, about)) => crate::surface::refusal_view(&reply(said, *about)),
            Err(Trouble::Failed(error)) => {
                tracing::warn!(error = %error.chain(), "a request could not be opened");
                crate::surface::refusal_view(&reply(&Reply::Failed, None))
            }
            Err(Trouble::Panicked) => crate::surface::refusal_view(&reply(&Reply::Failed, None)),
        };
        let body = json!({"view_id": view, "view": message});
        let shown = self.notifier.web.post("views.update", &body).await;
        self.announce().await;
        match (opened, shown) {
            (_, Ok(_)) | (Ok(_), Err(_)) => Ok(()),
            // The window was closed; a refusal must reach them all the same.
            (Err(trouble), Err(_)) => {
                let said = match trouble {
                    Trouble::Say(said, _) => said,
                    Trouble::Failed(_) | Trouble::Panicked => Reply::Failed,
                };
                self.answer(input, &said, None).await;
                Ok(())
            }
        }
    }

    fn card_channel(&self, request: &AccessRequest) -> Option<&ChannelId> {
        let route = self
            .notifier
            .settings
            .route(&request.parts.first().entitlement);
        route.map(|route| &route.channel)
    }

    async fn open_request(
        &self,
        via: &Principal,
        view: &str,
        asked: &Asked,
    ) -> Result<AccessRequest, Trouble> {
        let entitlement = asked.entitlement.as_deref().unwrap_or_default();
        let wrong = |error: jit_core::principal::BadName| {
            Trouble::Say(Reply::Wrong(format!("{error}.")), None)
        };
        let beneficiary = asked.beneficiary.as_deref().map(str::parse).transpose();
        let new = NewRequest {
            beneficiary: beneficiary.map_err(wrong)?,
            parts: vec![(entitlement.parse().map_err(wrong)?, Default::default())],
            ttl: asked.secs.as_deref().map(seconds).transpose()?,
            reason: reason_of(asked.reason.as_deref().unwrap_or_default())?,
            // A form is sent once; Slack may send it twice.
            idempotency_key: format!("slack/{view}").parse().ok(),
        };
        Ok(self.engine.open(via, new).await?)
    }

    async fn typed(&self, input: &Input, via: &Principal, typed: &Typed) -> Result<(), Trouble> {
        match typed {
            Typed::Help => {
                self.tell(input, &crate::surface::help(self.commands()))
                    .await
            }
            Typed::Unknown => {
                self.tell(input, &crate::surface::not_understood(self.commands()))
                    .await
            }
            Typed::List => {
                let mine = self.mine(via, &[], 20).await?;
                let names = self.notifier.roster.names();
                let scenes: Vec<_> = mine
                    .iter()
                    .map(|request| self.notifier.scene(request, &names))
                    .collect();
                self.tell(input, &listing(&scenes)).await
            }
            Typed::Status { id } => {
                let id = self.engine.find(via, id).await?;
                let request = self.engine.read(via, id).await?.request;
                self.show(input, &request).await
            }
            Typed::Done { id } => {
                let id = match id {
                    Some(id) => self.engine.find(via, id).await?,
                    None => self.only_live(via).await?,
                };
                self.engine.handle(via, id, Verb::End).await?;
                self.announce().await;
                let said = Reply::Done("The access is ending.");
                self.answer(input, &said, Some(id)).await;
                Ok(())
            }
        }
    }

    async fn only_live(&self, via: &Principal) -> Result<RequestId, Trouble> {
        let live = [Status::Provisioning, Status::Active];
        match self.mine(via, &live, 2).await?.as_slice() {
            [request] => Ok(request.id),
            [] => Err(usage("You have no access to return.")),
            _ => Err(usage(
                "You have more than one access; add the end of its id, as `/jit list` shows it.",
            )),
        }
    }

    async fn mine(
        &self,
        via: &Principal,
        statuses: &[Status],
        limit: usize,
    ) -> Result<Vec<AccessRequest>, Trouble> {
        let query = Query {
            principal: Some(via.id.clone()),
            statuses: statuses.to_vec(),
            limit,
            ..Query::default()
        };
        Ok(self.engine.list(via, query).await?)
    }

    async fn show_home(&self, input: &Input) -> Result<(), Trouble> {
        let view = match self.via(input).await {
            Ok(via) => self.home_of(&via).await?,
            Err(Trouble::Say(Reply::Stranger(stranger), _)) => home_for_strangers(stranger),
            Err(trouble) => return Err(trouble),
        };
        let body = json!({"user_id": input.user.as_str(), "view": view});
        let shown = self.notifier.web.post("views.publish", &body).await;
        shown
            .map(drop)
            .map_err(|error| Trouble::Failed(error.into_port("show the home")))
    }

    async fn home_of(&self, via: &Principal) -> Result<Value, Trouble> {
        let mine = self.mine(via, &[], 100).await?;
        let pending = Query {
            statuses: vec![Status::Pending],
            limit: 100,
            ..Query::default()
        };
        let others = self.engine.list(via, pending).await?;
        let names = self.notifier.roster.names();
        let draw = |from: &'_ [AccessRequest], keep: fn(&AccessRequest) -> bool| {
            let kept = from.iter().filter(|request| keep(request)).cloned();
            kept.collect::<Vec<AccessRequest>>()
        };
        let live =
            |it: &AccessRequest| matches!(it.status(), Status::Active | Status::Provisioning);
        let active = draw(&mine, live);
        let waiting = draw(&mine, |request| request.status() == Status::Pending);
        let recent = draw(&mine, |request| request.status().is_over());
        let is_mine = |it: &AccessRequest| it.requester == via.id || it.beneficiary == via.id;
        let scene = |request| self.notifier.scene(request, &names);
        let active: Vec<_> = active.iter().map(scene).collect();
        let waiting: Vec<_> = waiting.iter().map(scene).collect();
        let recent: Vec<_> = recent.iter().map(scene).collect();
        let to_decide = others.iter().filter(|request| !is_mine(request));
        let to_decide: Vec<_> = to_decide.map(scene).collect();
        Ok(home(&Home {
            active: &active,
            to_decide: &to_decide,
            waiting: &waiting,
            recent: &recent,
        }))
    }

    /// A reaction approves where the tier allows it, on a card of ours, by somebody who may.
    async fn reacted(
        &self,
        input: &Input,
        via: &Principal,
        channel: &ChannelId,
        message: &str,
        name: &str,
    ) -> Result<(), Trouble> {
        let plain = name.split("::").next().unwrap_or(name);
        if !matches!(plain, "white_check_mark" | "heavy_check_mark") {
            return Ok(());
        }
        let Some(request) = self.card_at(channel, message).await? else {
            return Ok(());
        };
        let tier = &request.terms.tier;
        let judged = if self.notifier.settings.reactions.contains(tier) {
            let verb = Verb::Approve {
                ttl: None,
                digest: request.digest().prefix(),
            };
            let said = self.engine.handle(via, request.id, verb).await;
            said.map(drop).map_err(Trouble::from)
        } else {
            Err(usage(
                "A reaction decides nothing in this tier; use the buttons of the card.",
            ))
        };
        match judged {
            Ok(()) => {
                self.announce().await;
                Ok(())
            }
            // One hint each: whoever likes to react is not told again and again.
            Err(Trouble::Say(..)) if !self.first_hint(&input.user, message) => Ok(()),
            Err(Trouble::Say(said, _)) => Err(Trouble::Say(said, Some(request.id))),
            Err(trouble) => Err(trouble),
        }
    }

    /// The pending request whose card this message is.
    async fn card_at(
        &self,
        channel: &ChannelId,
        message: &str,
    ) -> Result<Option<AccessRequest>, PortError> {
        let pending = Query {
            statuses: vec![Status::Pending],
            limit: 1_000,
            ..Query::default()
        };
        for request in self.engine.store().query(&pending).await? {
            let deliveries = self.engine.store().deliveries(request.id).await?;
            let here = deliveries.iter().any(|delivery| {
                delivery.key.notifier == NOTIFIER
                    && delivery.key.target == channel.as_str()
                    && Place::read(delivery.message.as_ref()).is_some_and(|it| it.ts == message)
            });
            if here {
                return Ok(Some(request));
            }
        }
        Ok(None)
    }

    fn first_hint(&self, user: &UserId, message: &str) -> bool {
        let mut hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        if hinted.len() >= HINTS {
            hinted.clear();
        }
        hinted.insert((user.clone(), message.to_owned()))
    }

    async fn options(
        &self,
        user: &UserId,
        team: Option<&TeamId>,
        query: &str,
    ) -> Result<Vec<Value>, Trouble> {
        let id = self.notifier.roster.person(user, team).await?;
        let via = Principal {
            id,
            door: Door::Slack,
        };
        let wanted = query.trim().to_lowercase();
        let requestable = self.engine.requestable(&via).await?;
        let mut found: Vec<_> = requestable
            .iter()
            .filter_map(|entry| {
                let id = entry.id.as_str().to_lowercase();
                let title = entry.title.to_lowercase();
                // Names that begin with it come before those that have it inside.
                let place = id.find(&wanted).or_else(|| title.find(&wanted))?;
                Some((place > 0, entry))
            })
            .collect();
        found.sort_by_key(|(inside, entry)| (*inside, entry.id.clone()));
        let more = found.len().saturating_sub(OPTIONS);
        let shown = if more > 0 { OPTIONS - 1 } else { OPTIONS };
        let mut options: Vec<Value> = found
            .iter()
            .take(shown)
            .map(|(_, entry)| option(entry))
            .collect();
        if more > 0 {
            options.push(json!({
                "text": crate::text::plain(&format!("… and {} more; type to search", more + 1), 75),
                "value": "-",
            }));
        }
        Ok(options)
    }

    // ---------------------------------------------------------------------------------- answering

    /// The card with its buttons, for one pair of eyes.
    async fn show(&self, input: &Input, request: &AccessRequest) -> Result<(), Trouble> {
        let names = self.notifier.roster.names();
        let message = card(&self.notifier.scene(request, &names));
        self.tell(input, &message).await
    }

    async fn answer(&self, input: &Input, said: &Reply, about: Option<RequestId>) {
        let _ = self.tell(input, &reply(said, about)).await;
    }

    /// Tells one person alone: where they are, else in their own conversation.
    async fn tell(&self, input: &Input, message: &Message) -> Result<(), Trouble> {
        match self.tell_here(input, message).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::debug!(error = %error, "an answer goes to the conversation"),
        }
        let told = async {
            let conversation = self.notifier.conversation(&input.user).await?;
            let body = body(conversation.as_str(), message);
            let posted = self.notifier.web.post("chat.postMessage", &body).await;
            posted.map_err(|error| error.into_port("answer a person"))
        };
        if let Err(error) = told.await {
            tracing::warn!(error = %error.chain(), "a person could not be answered");
        }
        Ok(())
    }

    async fn tell_here(&self, input: &Input, message: &Message) -> Result<(), WebError> {
        let web = &self.notifier.web;
        if let Some(url) = &input.response_url {
            let body = json!({
                "response_type": "ephemeral",
                "replace_original": false,
                "text": message.text,
                "blocks": message.blocks,
            });
            return web.respond(url, &body).await;
        }
        let Some(channel) = &input.channel else {
            return Err(WebError::Broken("no place to answer"));
        };
        let mut body = body(channel.as_str(), message);
        body["user"] = input.user.as_str().into();
        web.post("chat.postEphemeral", &body).await.map(drop)
    }
}

/// What can be said of a form before anything is looked up, by its block.
fn obvious_errors(input: &Input) -> Option<Value> {
    let (block, error) = match &input.said {
        Said::Ask { asked, .. } => match asked.entitlement.as_deref() {
            None | Some("" | "-") => ("target", "Choose what you need".to_owned()),
            Some(_) => {
                let reason = asked.reason.as_deref().unwrap_or_default();
                ("reason", bad_reason(reason)?)
            }
        },
        Said::Deny { reason, .. } => ("reason", bad_reason(reason)?),
        _ => return None,
    };
    Some(json!({ block: error }))
}

fn bad_reason(text: &str) -> Option<String> {
    one_line(text)
        .parse::<Reason>()
        .err()
        .map(|error| error.rule.to_owned())
}

/// What was typed in several lines, in one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}

fn reason_of(text: &str) -> Result<Reason, Trouble> {
    let reason = one_line(text).parse::<Reason>();
    reason.map_err(|error| Trouble::Say(Reply::Wrong(format!("The reason: {}.", error.rule)), None))
}

fn seconds(text: &str) -> Result<Ttl, Trouble> {
    let secs = text.parse::<u64>().ok();
    let ttl = secs.and_then(|secs| Ttl::from_secs(secs).ok());
    ttl.ok_or_else(|| usage("That is not a duration that can be asked for."))
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
