//! Telling people what happened: the card and its thread in the channel, and the person's own
//! messages. A card is drawn from the record, so it is right after any number of failures.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::AuditEvent;
use jit_core::catalog::Catalog;
use jit_core::ports::{Announcement, Clock, ErrorKind, Notifier, PortError, Told};
use jit_core::principal::PrincipalId;
use jit_core::request::{AccessRequest, Phase, Stage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ADAPTER;
use crate::people::{ChannelId, Names, UserId};
use crate::roster::Roster;
use crate::settings::Settings;
use crate::surface::{Message, Moment, Scene, card, dm, dm_moment, reminder, thread};
use crate::web::{Web, WebError};

/// The pause after a message that a channel takes without being asked to wait.
const CHANNEL_PAUSE: Duration = Duration::from_secs(1);

/// The pause before what was left out is tried again.
const UNFINISHED_PAUSE: Duration = Duration::from_secs(30);

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
    pub(crate) clock: Arc<dyn Clock>,
    /// Until when a conversation wants no further message.
    closed: Mutex<HashMap<String, Timestamp>>,
    /// The conversation with each user.
    conversations: Mutex<HashMap<UserId, ChannelId>>,
}

impl fmt::Debug for SlackNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackNotifier")
            .field("web", &self.web)
            .finish_non_exhaustive()
    }
}

/// The name of this notifier in delivery rows.
pub(crate) const NOTIFIER: &str = "slack";

#[async_trait]
impl Notifier for SlackNotifier {
    fn name(&self) -> &'static str {
        NOTIFIER
    }

    fn targets(&self, request: &AccessRequest) -> Vec<String> {
        let route = self.settings.route(&request.parts.first().entitlement);
        let channel = route.map(|route| route.channel.to_string());
        let mut people = vec![];
        // Nothing is to be told in private of what is only asked, or under way.
        if moment_of(request).is_some() {
            people.push(&request.beneficiary);
            if request.requester != request.beneficiary {
                people.push(&request.requester);
            }
        }
        let people = people.into_iter().map(|id| format!("dm:{id}"));
        channel.into_iter().chain(people).collect()
    }

    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError> {
        let names = self.roster.names();
        let scene = self.scene(announcement.request, &names);
        let place = Place::read(announcement.delivery.message.as_ref());
        match announcement.delivery.key.target.strip_prefix("dm:") {
            Some(person) => self.tell_person(&scene, person, place).await,
            None => {
                let channel = &announcement.delivery.key.target;
                self.tell_channel(&scene, channel, place, announcement.news)
                    .await
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
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            web,
            roster,
            settings,
            catalog,
            clock,
            closed: Mutex::default(),
            conversations: Mutex::default(),
        }
    }

    /// What the surfaces of this request are drawn from.
    pub(crate) fn scene<'a>(&'a self, request: &'a AccessRequest, names: &'a Names) -> Scene<'a> {
        let id = &request.parts.first().entitlement;
        let entry = self.catalog.get(id);
        let route = self.settings.route(id);
        Scene {
            request,
            title: entry.map_or(id.as_str(), |entry| entry.title.as_str()),
            how_to_use: entry.map_or("", |entry| entry.how_to_use.as_str()),
            warning: route.and_then(|route| route.warning.as_deref()),
            names,
        }
    }

    async fn tell_channel(
        &self,
        scene: &Scene<'_>,
        channel: &str,
        place: Option<Place>,
        news: &[AuditEvent],
    ) -> Result<Told, PortError> {
        let known = place.is_some();
        let mut place = self
            .draw(channel, place, &card(scene), scene.request)
            .await?;
        // A card that is new shows everything that came before it.
        if known && let Some(lines) = thread(scene, news) {
            self.say(channel, Some(&place.ts), &lines).await?;
        }
        if scene.request.stage != Stage::Pending {
            return Ok(Told {
                message: place.written(),
                again_at: None,
            });
        }
        let now = self.clock.now();
        if now >= self.remind_at(scene.request, place.reminded) {
            let route = self
                .settings
                .route(&scene.request.parts.first().entitlement);
            let whom = route.and_then(|route| route.remind.as_ref());
            let lines = reminder(scene, whom);
            match self.say(channel, Some(&place.ts), &lines).await {
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

    /// The message stands and what was to follow does not: where it is must not be lost over that.
    fn unfinished(&self, place: &Place, error: &PortError) -> Told {
        tracing::warn!(error = %error.chain(), "a reminder could not be sent and will be again");
        Told {
            message: place.written(),
            again_at: Some(self.clock.now() + UNFINISHED_PAUSE),
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
    ) -> Result<Told, PortError> {
        let unchanged = |place: Option<&Place>, again_at| Told {
            message: place.and_then(Place::written),
            again_at,
        };
        let person: Option<PrincipalId> = person.parse().ok();
        let user = match &person {
            Some(person) => self.roster.user_of(person).await?,
            None => None,
        };
        let Some(user) = user else {
            // They are not in this workspace, and hear of it elsewhere.
            return Ok(unchanged(place.as_ref(), None));
        };
        let request = scene.request;
        let warn_at = self.warn_at(request);
        let Some(moment) = moment_of(request) else {
            return Ok(unchanged(place.as_ref(), None));
        };
        let conversation = self.conversation(&user).await?;
        let channel = conversation.as_str();
        match (moment, place) {
            (Moment::Over, Some(place)) if place.over_at.is_some() => {
                Ok(unchanged(Some(&place), None))
            }
            (Moment::Over, place) => {
                let over = dm(scene, Moment::Over);
                let mut told = place.unwrap_or_else(|| Place {
                    channel: channel.to_owned(),
                    ..Place::default()
                });
                // The buttons of what was said before do nothing any more.
                for earlier in [&told.ts, &told.warning] {
                    self.redraw(&told.channel, earlier, &over).await?;
                }
                self.say(channel, None, &over).await?;
                told.over_at = Some(self.clock.now());
                Ok(unchanged(Some(&told), None))
            }
            (Moment::Given | Moment::Expiring, place) => {
                let given = dm(scene, Moment::Given);
                let mut told = self.draw(channel, place, &given, request).await?;
                let now = self.clock.now();
                let is_active = matches!(
                    request.grant().map(|grant| &grant.phase),
                    Some(Phase::Active)
                );
                if !is_active {
                    return Ok(unchanged(Some(&told), None));
                }
                if told.reminded == 0 && now >= warn_at {
                    let warning = dm(scene, Moment::Expiring);
                    match self.say(channel, None, &warning).await {
                        Ok(ts) => (told.reminded, told.warning) = (1, ts),
                        Err(error) => return Ok(self.unfinished(&told, &error)),
                    }
                }
                let again_at = (told.reminded == 0).then_some(warn_at);
                Ok(unchanged(Some(&told), again_at))
            }
        }
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
        channel: &str,
        place: Option<Place>,
        message: &Message,
        request: &AccessRequest,
    ) -> Result<Place, PortError> {
        if let Some(place) = place
            && self.redraw(&place.channel, &place.ts, message).await?
        {
            return Ok(place);
        }
        let mut body = body(channel, message);
        let id = request.id.to_string();
        body["metadata"] = json!({"event_type": "jit_request", "event_payload": {"id": id}});
        let said = self.post(channel, &body).await?;
        let posted_in = said.get("channel").and_then(Value::as_str);
        Ok(Place {
            channel: posted_in.unwrap_or(channel).to_owned(),
            ts: stamp(&said)?,
            ..Place::default()
        })
    }

    /// Changes a message; false where there is none, or somebody deleted it.
    async fn redraw(&self, channel: &str, ts: &str, message: &Message) -> Result<bool, PortError> {
        if ts.is_empty() {
            return Ok(false);
        }
        let mut body = body(channel, message);
        body["ts"] = ts.into();
        match self.web.post("chat.update", &body).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_message_gone() => Ok(false),
            Err(error) => Err(self.failed(channel, error, "change a message")),
        }
    }

    /// Posts a message beside the one that is kept up to date; its time stamp.
    async fn say(
        &self,
        channel: &str,
        thread: Option<&str>,
        message: &Message,
    ) -> Result<String, PortError> {
        let mut body = body(channel, message);
        if let Some(thread) = thread {
            body["thread_ts"] = thread.into();
        }
        stamp(&self.post(channel, &body).await?)
    }

    async fn post(&self, channel: &str, body: &Value) -> Result<Value, PortError> {
        self.wait_for_room(channel)?;
        match self.web.post("chat.postMessage", body).await {
            Ok(said) => Ok(said),
            Err(error) => Err(self.failed(channel, error, "post a message")),
        }
    }

    /// A conversation that asked for a pause gets none of our calls until it is over.
    fn wait_for_room(&self, channel: &str) -> Result<(), PortError> {
        let now = self.clock.now();
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.retain(|_, until| now < *until);
        let Some(until) = closed.get(channel) else {
            return Ok(());
        };
        let wait = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX);
        let kind = ErrorKind::RateLimited {
            retry_after_ms: Some(wait),
        };
        Err(PortError::nothing_done(ADAPTER, "post a message", kind))
    }

    fn failed(&self, channel: &str, error: WebError, operation: &'static str) -> PortError {
        if let WebError::RateLimited(pause) = &error {
            let until = self.clock.now() + pause.unwrap_or(CHANNEL_PAUSE);
            let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            closed.insert(channel.to_owned(), until);
        }
        error.into_port(operation)
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
