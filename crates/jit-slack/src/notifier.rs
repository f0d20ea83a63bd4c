//! Telling people what happened: the card and its thread in the channel, and the person's own
//! messages. A card is drawn from the record, so it is right after any number of failures.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::{AuditEvent, Fact};
use jit_core::catalog::Catalog;
use jit_core::policy::Who;
use jit_core::ports::{Announcement, Clock, ErrorKind, Notifier, PortError, Told};
use jit_core::principal::PrincipalId;
use jit_core::request::{AccessRequest, Phase, Stage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::ADAPTER;
use crate::deciders::{Deciders, Mentions};
use crate::pace::Pace;
use crate::people::{ChannelId, Names, UserId};
use crate::roster::Roster;
use crate::screens::Screens;
use crate::settings::Settings;
use crate::surface::{Message, Moment, Scene, card, dm, dm_moment, reminder, thread};
use crate::web::{Web, WebError};

/// The longest that telling one thing may take, however many calls that needs: whoever takes the
/// delivery over when it is left must not find it still being told.
const BUDGET: Duration = Duration::from_secs(12);

/// The pause before what was left out is tried again.
const UNFINISHED_PAUSE: Duration = Duration::from_secs(30);

/// The conversation that calls go to, and until when they may take.
#[derive(Debug, Clone, Copy)]
struct To<'a> {
    channel: &'a str,
    until: Instant,
}

/// How a message came to show what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drawn {
    /// It was there, and was changed.
    Changed,
    /// It is new.
    Posted,
}

/// Where the messages about one request are, as the delivery row keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    /// The conversation.
    pub(crate) channel: String,
    /// The message that is changed as the record changes.
    pub(crate) ts: String,
    /// How often somebody was reminded or warned.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) reminded: u32,
    /// The message that warned of the end.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) warning: String,
    /// The message that told that the access is missing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) missing: String,
    /// The end was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) over_at: Option<Timestamp>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Place {
    /// What the row keeps, read back; nothing where no message was sent yet.
    pub(crate) fn read(message: Option<&String>) -> Option<Self> {
        serde_json::from_str(message?).ok()
    }

    fn written(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// Tells a workspace.
pub(crate) struct SlackNotifier {
    pub(crate) web: Arc<Web>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) catalog: Arc<Catalog>,
    deciders: Deciders,
    pub(crate) clock: Arc<dyn Clock>,
    pace: Pace,
    /// What people look at besides messages.
    pub(crate) screens: Screens,
    /// The conversation with each user.
    conversations: Mutex<HashMap<UserId, ChannelId>>,
    /// The user as whom this service writes, where Slack says one.
    writes_as: OnceCell<Option<UserId>>,
}

impl fmt::Debug for SlackNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackNotifier")
            .field("web", &self.web)
            .finish_non_exhaustive()
    }
}

/// The target of what is told in no channel.
const NOWHERE: &str = "nowhere";

/// The name of this notifier in delivery rows.
pub(crate) const NOTIFIER: &str = "slack";

#[async_trait]
impl Notifier for SlackNotifier {
    fn name(&self) -> &'static str {
        NOTIFIER
    }

    fn targets(&self, request: &AccessRequest) -> Vec<String> {
        let route = self.settings.route(&request.parts.first().entitlement);
        // What has no card is told nowhere, but whoever looks at it sees that it changed.
        let channel = route.map_or(NOWHERE.to_owned(), |route| route.channel.to_string());
        let mut people = vec![];
        // Nothing is to be told in private of what is only asked, or under way.
        if moment_of(request).is_some() {
            people.push(&request.beneficiary);
            if request.requester != request.beneficiary {
                people.push(&request.requester);
            }
        }
        let people = people.into_iter().map(|id| format!("dm:{id}"));
        std::iter::once(channel).chain(people).collect()
    }

    fn shows_background(&self) -> bool {
        true
    }

    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError> {
        let names = self.roster.names();
        let scene = Scene {
            background: announcement.background,
            ..self.scene(announcement.request, &names)
        };
        let place = Place::read(announcement.delivery.message.as_ref());
        let now = self.clock.now();
        self.screens
            .changed(announcement.request, announcement.news, now);
        if announcement.delivery.key.target == NOWHERE {
            return Ok(Told::default());
        }
        let (until, target) = (Instant::now() + BUDGET, &announcement.delivery.key.target);
        match target.strip_prefix("dm:") {
            Some(person) => self.tell_person(&scene, person, place, until).await,
            None => {
                let to = To {
                    channel: target,
                    until,
                };
                let telling = self.tell_channel(&scene, to, place, announcement.news);
                self.in_turn(to, scene.request, telling).await
            }
        }
    }
}

impl SlackNotifier {
    pub(crate) fn new(
        web: Arc<Web>,
        roster: Arc<Roster>,
        settings: Arc<Settings>,
        catalog: Arc<Catalog>,
        deciders: Deciders,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            web,
            roster,
            settings,
            catalog,
            deciders,
            clock,
            pace: Pace::default(),
            screens: Screens::default(),
            conversations: Mutex::default(),
            writes_as: OnceCell::new(),
        }
    }

    /// What the surfaces of this request are drawn from.
    pub(crate) fn scene<'a>(&'a self, request: &'a AccessRequest, names: &'a Names) -> Scene<'a> {
        let id = &request.parts.first().entitlement;
        let entry = self.catalog.get(id).map(Cow::into_owned);
        let known = entry.map(|entry| (Cow::Owned(entry.title), Cow::Owned(entry.how_to_use)));
        let (title, how_to_use) = known.unwrap_or((Cow::Borrowed(id.as_str()), Cow::Borrowed("")));
        let route = self.settings.route(id);
        Scene {
            request,
            title,
            how_to_use,
            warning: route.and_then(|route| route.warning.as_deref()),
            background: None,
            names,
        }
    }

    async fn tell_channel(
        &self,
        scene: &Scene<'_>,
        to: To<'_>,
        place: Option<Place>,
        news: &[AuditEvent],
    ) -> Result<Told, PortError> {
        let (mut place, drawn) = self.draw(to, place, &card(scene), scene.request).await?;
        // A card that is new shows everything that came before it. Where it is must not be lost
        // over a line of its thread either: whoever came again would post yet another.
        if drawn == Drawn::Changed {
            let whom = self.escalated(scene, news, to.until).await;
            if let Some(lines) = thread(scene, news, &whom) {
                self.say(to, Some(&place.ts), &lines).await?;
            }
        }
        if scene.request.stage != Stage::Pending {
            return Ok(Told {
                message: place.written(),
                again_at: None,
            });
        }
        let now = self.clock.now();
        if now >= self.remind_at(scene.request, place.reminded) {
            let lines = reminder(scene, &self.mentioned(scene, to.until).await);
            match self.say(to, Some(&place.ts), &lines).await {
                Ok(_) => place.reminded = place.reminded.saturating_add(1),
                Err(error) => return Ok(self.unfinished(&place, &error)),
            }
        }
        let again_at = self.remind_at(scene.request, place.reminded);
        Ok(Told {
            message: place.written(),
            // Nobody is reminded of what has lapsed.
            again_at: (again_at < scene.request.decide_by).then_some(again_at),
        })
    }

    /// Whom a step of the ladder that was just reached is for.
    async fn escalated(&self, scene: &Scene<'_>, news: &[AuditEvent], until: Instant) -> Mentions {
        let reached = news.iter().filter_map(|event| match &event.event.what {
            Fact::Escalated { to, .. } => Some(to),
            _ => None,
        });
        let to: BTreeSet<Who> = reached.flatten().cloned().collect();
        if to.is_empty() || scene.request.stage != Stage::Pending {
            return Mentions::default();
        }
        let found = self.deciders.among(&to, scene.request, scene.names);
        let found = tokio::time::timeout_at(until, found).await;
        found.unwrap_or_default()
    }

    /// Whom a reminder mentions: whom the operator says, else whoever may decide.
    async fn mentioned(&self, scene: &Scene<'_>, until: Instant) -> Mentions {
        let route = self
            .settings
            .route(&scene.request.parts.first().entitlement);
        match route.and_then(|route| route.remind.as_ref()) {
            Some(group) => Mentions {
                groups: [group.clone()].into(),
                ..Mentions::default()
            },
            None => {
                let deciders = self.deciders.of(scene.request, scene.names);
                let found = tokio::time::timeout_at(until, deciders).await;
                found.unwrap_or_default()
            }
        }
    }

    /// The message stands and what was to follow does not: where it is must not be lost over that.
    fn unfinished(&self, place: &Place, error: &PortError) -> Told {
        let pause = match error.kind {
            ErrorKind::RateLimited {
                retry_after_ms: Some(wait),
            } => Duration::from_millis(wait),
            _ => {
                tracing::warn!(error = %error.chain(), "a reminder could not be sent and will be");
                UNFINISHED_PAUSE
            }
        };
        Told {
            message: place.written(),
            again_at: Some(self.clock.now() + pause),
        }
    }

    /// When the reminder with this number is due: after one pause, then two more, then four more.
    fn remind_at(&self, request: &AccessRequest, reminded: u32) -> Timestamp {
        let pauses = 2_u32.saturating_pow(reminded.saturating_add(1)) - 1;
        let pause = self.settings.remind_after.duration();
        request.opened_at + pause.saturating_mul(pauses)
    }

    async fn tell_person(
        &self,
        scene: &Scene<'_>,
        person: &str,
        place: Option<Place>,
        until: Instant,
    ) -> Result<Told, PortError> {
        let unchanged = |place: Option<&Place>, again_at| Told {
            message: place.and_then(Place::written),
            again_at,
        };
        let reader: Option<PrincipalId> = person.parse().ok();
        let user = match &reader {
            Some(reader) => self.roster.reached_as(reader).await?,
            None => None,
        };
        let (Some(user), Some(reader)) = (user, reader) else {
            // They are not in this workspace, and hear of it elsewhere.
            return Ok(unchanged(place.as_ref(), None));
        };
        let Some(moment) = moment_of(scene.request) else {
            return Ok(unchanged(place.as_ref(), None));
        };
        if place.as_ref().is_some_and(|place| place.over_at.is_some()) {
            return Ok(unchanged(place.as_ref(), None));
        }
        // Whoever was told nothing of it hears of the grant that took it over.
        if moment == Moment::TakenOver && place.is_none() {
            return Ok(unchanged(None, None));
        }
        let channel = match &place {
            Some(told) => told.channel.clone(),
            None => self.conversation_until(&user, until).await?.to_string(),
        };
        let to = To {
            channel: &channel,
            until,
        };
        let telling = self.tell_moment(scene, moment, &reader, to, place);
        self.in_turn(to, scene.request, telling).await
    }

    async fn tell_moment(
        &self,
        scene: &Scene<'_>,
        moment: Moment,
        reader: &PrincipalId,
        to: To<'_>,
        place: Option<Place>,
    ) -> Result<Told, PortError> {
        let message = dm(scene, moment, reader);
        let mut told = match moment {
            Moment::Given | Moment::Expiring | Moment::Missing => {
                let (mut told, _) = self.draw(to, place, &message, scene.request).await?;
                let grant = scene.request.grant();
                let is_missing = grant.is_some_and(|grant| grant.missing_since.is_some());
                if is_missing && told.missing.is_empty() {
                    let missing = dm(scene, Moment::Missing, reader);
                    match self.say(to, None, &missing).await {
                        Ok(ts) => told.missing = ts,
                        Err(error) => return Ok(self.unfinished(&told, &error)),
                    }
                }
                let warning = dm(scene, Moment::Expiring, reader);
                return self.warn(scene.request, to, told, &warning).await;
            }
            Moment::TakenOver | Moment::Over => place.unwrap_or_else(|| Place {
                channel: to.channel.to_owned(),
                ..Place::default()
            }),
        };
        // The buttons of what was said before do nothing any more.
        for earlier in [&told.ts, &told.warning, &told.missing] {
            self.redraw(to, earlier, &message).await?;
        }
        if moment == Moment::Over {
            self.say(to, None, &message).await?;
            told.over_at = Some(self.clock.now());
        }
        Ok(Told {
            message: told.written(),
            again_at: None,
        })
    }

    /// Warns of the end when it is time to, once.
    async fn warn(
        &self,
        request: &AccessRequest,
        to: To<'_>,
        mut told: Place,
        warning: &Message,
    ) -> Result<Told, PortError> {
        let is_active = matches!(
            request.grant().map(|grant| &grant.phase),
            Some(Phase::Active)
        );
        let warn_at = self.warn_at(request);
        let mut again_at = (is_active && told.reminded == 0).then_some(warn_at);
        if again_at.is_some_and(|at| at <= self.clock.now()) {
            match self.say(to, None, warning).await {
                Ok(ts) => (told.reminded, told.warning) = (1, ts),
                Err(error) => return Ok(self.unfinished(&told, &error)),
            }
            again_at = None;
        }
        Ok(Told {
            message: told.written(),
            again_at,
        })
    }

    /// The configured time before the end, but no more than a fifth of the whole.
    fn warn_at(&self, request: &AccessRequest) -> Timestamp {
        let Some(grant) = request.grant() else {
            return Timestamp::MAX;
        };
        let whole = grant.expires_at.since(grant.approved_at);
        let before = self.settings.warn_before.duration().min(whole / 5);
        let lasts = whole.saturating_sub(before);
        grant.approved_at + lasts
    }

    /// Changes the message, or posts it where there is none or somebody deleted it.
    async fn draw(
        &self,
        to: To<'_>,
        place: Option<Place>,
        message: &Message,
        request: &AccessRequest,
    ) -> Result<(Place, Drawn), PortError> {
        let place = place.unwrap_or_default();
        if self.redraw(to, &place.ts, message).await? {
            return Ok((place, Drawn::Changed));
        }
        let mut body = body(to.channel, message);
        let id = request.id.to_string();
        body["metadata"] = json!({"event_type": "jit_request", "event_payload": {"id": id}});
        let said = self.post(to, &body).await?;
        let posted_in = said.get("channel").and_then(Value::as_str);
        let posted = Place {
            channel: posted_in.unwrap_or(to.channel).to_owned(),
            ts: stamp(&said)?,
            // Whoever was reminded or warned is not again because the message had to be posted anew.
            ..place
        };
        Ok((posted, Drawn::Posted))
    }

    /// Changes a message; false where there is none, or somebody deleted it.
    async fn redraw(&self, to: To<'_>, ts: &str, message: &Message) -> Result<bool, PortError> {
        if ts.is_empty() {
            return Ok(false);
        }
        let mut body = body(to.channel, message);
        body["ts"] = ts.into();
        match self.call("chat.update", to, &body).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_message_gone() => Ok(false),
            Err(error) => Err(error.into_port("change a message")),
        }
    }

    /// Posts a message beside the one that is kept up to date; its time stamp.
    async fn say(
        &self,
        to: To<'_>,
        thread: Option<&str>,
        message: &Message,
    ) -> Result<String, PortError> {
        let mut body = body(to.channel, message);
        if let Some(thread) = thread {
            body["thread_ts"] = thread.into();
        }
        stamp(&self.post(to, &body).await?)
    }

    async fn post(&self, to: To<'_>, body: &Value) -> Result<Value, PortError> {
        let said = self.call("chat.postMessage", to, body).await;
        let said = said.map_err(|error| error.into_port("post a message"))?;
        self.pace.sent(to.channel, self.clock.now());
        Ok(said)
    }

    /// Calls a method about a conversation. One in which Slack wants a pause gets no call until
    /// that is over, whatever it is about.
    async fn call(&self, method: &str, to: To<'_>, body: &Value) -> Result<Value, WebError> {
        let open = self.pace.is_open(to.channel, self.clock.now());
        open.map_err(|wait| WebError::RateLimited(Some(wait)))?;
        let calling = tokio::time::timeout_at(to.until, self.web.post(method, body));
        let said = calling.await.unwrap_or(Err(WebError::TimedOut));
        if let Err(WebError::RateLimited(pause)) = &said {
            tracing::info!(
                channel = to.channel,
                ?pause,
                "Slack wants a pause in a conversation"
            );
            self.pace.close(to.channel, *pause, self.clock.now());
        }
        said
    }

    /// Says this when it is the turn of this request in this conversation; until then it is put
    /// off. Where Slack wants a pause meanwhile, the request keeps its place among those that wait.
    async fn in_turn(
        &self,
        to: To<'_>,
        request: &AccessRequest,
        saying: impl Future<Output = Result<Told, PortError>>,
    ) -> Result<Told, PortError> {
        let turn = || {
            let turn = self.pace.turn(to.channel, request.id, self.clock.now());
            let crowded = |wait| WebError::RateLimited(Some(wait)).into_port("post a message");
            turn.map_err(crowded)
        };
        turn()?;
        let told = saying.await;
        if let Err(error) = &told
            && matches!(error.kind, ErrorKind::RateLimited { .. })
        {
            turn()?;
        }
        told
    }

    /// The user as whom this service writes, where that can be found out; asked once.
    pub(crate) async fn writes_as(&self) -> Option<&UserId> {
        let asking = || async {
            let said = self.web.post("auth.test", &json!({})).await?;
            let user = said.get("user_id").and_then(Value::as_str);
            Ok::<_, WebError>(user.and_then(|user| user.parse().ok()))
        };
        let known = self.writes_as.get_or_try_init(asking).await;
        known.ok().and_then(Option::as_ref)
    }

    async fn conversation_until(
        &self,
        user: &UserId,
        until: Instant,
    ) -> Result<ChannelId, PortError> {
        let opening = tokio::time::timeout_at(until, self.conversation(user)).await;
        opening.unwrap_or_else(|_| Err(WebError::TimedOut.into_port("open a conversation")))
    }

    /// The conversation of this service with one user.
    pub(crate) async fn conversation(&self, user: &UserId) -> Result<ChannelId, PortError> {
        let known = |conversations: &Mutex<HashMap<UserId, ChannelId>>| {
            let conversations = conversations.lock();
            let conversations = conversations.unwrap_or_else(PoisonError::into_inner);
            conversations.get(user).cloned()
        };
        if let Some(channel) = known(&self.conversations) {
            return Ok(channel);
        }
        let body = json!({"users": user.as_str()});
        let said = self.web.post("conversations.open", &body).await;
        let said = said.map_err(|error| error.into_port("open a conversation"))?;
        let channel = said.pointer("/channel/id").and_then(Value::as_str);
        let channel: Option<ChannelId> = channel.and_then(|channel| channel.parse().ok());
        let channel = channel.ok_or_else(|| {
            PortError::nothing_done(ADAPTER, "open a conversation", ErrorKind::Unavailable)
        })?;
        let mut conversations = self
            .conversations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        conversations.insert(user.clone(), channel.clone());
        Ok(channel)
    }
}

fn moment_of(request: &AccessRequest) -> Option<Moment> {
    dm_moment(&request.stage, request.parts.first().provider.kind)
}

/// By what Slack knows the message that it just took.
fn stamp(said: &Value) -> Result<String, PortError> {
    let missing = || PortError::maybe_done(ADAPTER, "post a message", ErrorKind::Unavailable);
    let ts = said.get("ts").and_then(Value::as_str);
    ts.map(str::to_owned).ok_or_else(missing)
}

/// The arguments that every message has.
pub(crate) fn body(channel: &str, message: &Message) -> Value {
    json!({
        "channel": channel,
        "text": message.text,
        "blocks": message.blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

#[cfg(test)]
mod tests {
    use jit_testkit::sample::at;

    use super::*;

    #[test]
    fn every_place_ever_released_still_loads() {
        let bare = Place {
            channel: "C0SEC".to_owned(),
            ts: "1790000000.000100".to_owned(),
            ..Place::default()
        };
        let whole = Place {
            reminded: 2,
            warning: "1790000000.000200".to_owned(),
            missing: "1790000000.000300".to_owned(),
            over_at: Some(at(1)),
            ..bare.clone()
        };
        let released = [
            (
                whole,
                r#"{"channel":"C0SEC","ts":"1790000000.000100","reminded":2,"warning":"1790000000.000200","missing":"1790000000.000300","over_at":"2026-01-01T00:00:01Z"}"#,
            ),
            (bare, r#"{"channel":"C0SEC","ts":"1790000000.000100"}"#),
        ];
        for (place, text) in released {
            let read = Place::read(Some(&text.to_owned()));
            assert_eq!(read.as_ref(), Some(&place));
            assert_eq!(place.written().as_deref(), Some(text));
        }
    }
}
