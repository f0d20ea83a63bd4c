//! Telling people and systems, after the fact and never in the way: deliveries that are due are
//! taken, announced and marked. Paging is one of the notifiers, so that it is as durable as they.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_util::StreamExt;
use futures_util::future::{Either, join_all, pending, select};

use super::{Background, Engine, TRIES, read_event};
use crate::audit::{Fact, Sealed};
use crate::change::Change;
use crate::policy::Who;
use crate::ports::{
    Alarm, Announcement, CommitError, Delivery, DeliveryKey, ErrorKind, Notifier, Pager, PortError,
    Told, Touch,
};
use crate::request::{AccessRequest, Stage, Stuck};
use crate::time::Timestamp;

/// The notifier name of pages.
pub const PAGER: &str = "pager";

/// The longest pause after a failure that trying again may mend.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The shortest wait that is believed: whoever always says "at once" is not asked all the time.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

/// A delivery that was taken is due again after this long, unless it was marked.
const TAKEN_FOR: Duration = Duration::from_secs(30);

/// So many deliveries at once wait for whoever sends them. Commits take no more than that: the rest
/// is due, for whichever process has room.
const HANDED_OVER: usize = 256;

/// A delivery that is ours to send until its `taken_until`.
#[derive(Debug)]
pub struct Taken {
    /// Which, as it is stored.
    pub delivery: Delivery,
    /// The record and its newest events, where it was taken by the commit that wrote them.
    written: Option<(AccessRequest, Vec<Sealed>)>,
}

/// What this process takes by its commits, for one notifier: whoever sends it need not ask for it.
#[derive(Debug)]
pub struct HandedOver(UnboundedReceiver<Taken>);

impl HandedOver {
    /// The next that was taken; none once it was closed and everything was given.
    pub async fn next(&mut self) -> Option<Taken> {
        self.0.next().await
    }

    /// Nothing more is taken for it.
    pub fn close(&mut self) {
        self.0.close();
    }
}

/// The ways to those who send.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<BTreeMap<&'static str, UnboundedSender<Taken>>>);

impl Outbox {
    fn ways(&self) -> MutexGuard<'_, BTreeMap<&'static str, UnboundedSender<Taken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody sends for this notifier, and has room.
    fn has_room(&self, notifier: &str) -> bool {
        let ways = self.ways();
        let way = ways.get(notifier);
        way.is_some_and(|way| !way.is_closed() && way.len() < HANDED_OVER)
    }
}

/// Whether there were news of what was just told while it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoreToSay {
    /// It is due again.
    Yes,
    /// It was told whole.
    No,
}

/// Pages for every grant that became stuck, and for every request that was put to whoever is on
/// call.
pub(super) struct Paging {
    pager: Arc<dyn Pager>,
}

impl Paging {
    pub(super) fn new(pager: Arc<dyn Pager>) -> Self {
        Self { pager }
    }
}

#[async_trait]
impl Notifier for Paging {
    fn name(&self) -> &'static str {
        PAGER
    }

    fn targets(&self, request: &AccessRequest) -> Vec<String> {
        let stuck = request.grant().is_some_and(|grant| grant.stuck.is_some());
        let reached = request.ladder.iter().filter(|it| it.reached_at.is_some());
        let mut put_to = reached.flat_map(|rung| &rung.to);
        if stuck || put_to.any(Who::is_on_call) {
            vec!["oncall".to_owned()]
        } else {
            vec![]
        }
    }

    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError> {
        let request = announcement.request;
        for event in announcement.news {
            let Some(summary) = summary(request, &event.event.what) else {
                continue;
            };
            let alarm = Alarm {
                request: Some(request.id),
                summary,
                at: event.at,
            };
            self.pager.page(&alarm).await?;
        }
        Ok(Told::default())
    }
}

/// What a page says of this fact, where it is one to page for.
fn summary(request: &AccessRequest, fact: &Fact) -> Option<String> {
    let (id, entitlement) = (request.id, &request.parts.first().entitlement);
    match fact {
        Fact::Stuck { why } => {
            let what = match why {
                Stuck::NotAccepted => "no revoke was accepted",
                Stuck::NotVerified => "the access is not verified absent",
                Stuck::Refused => "the provider refuses to revoke",
            };
            Some(format!(
                "STUCK: {what} for {entitlement}; trying on. See {id}"
            ))
        }
        Fact::Escalated { to, .. } => {
            let on_call = to.iter().find(|who| who.is_on_call())?;
            Some(format!(
                "A request for {entitlement} waits for {on_call}: nobody decided so far. See {id}"
            ))
        }
        _ => None,
    }
}

/// How long whoever tells wants to be left alone, where they say so.
fn put_off(error: &PortError) -> Option<Duration> {
    match error.kind {
        ErrorKind::RateLimited {
            retry_after_ms: Some(wait),
        } => Some(Duration::from_millis(wait).clamp(SHORTEST_WAIT, LONGEST_PAUSE * 10)),
        ErrorKind::RateLimited {
            retry_after_ms: None,
        }
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Forbidden
        | ErrorKind::Unavailable
        | ErrorKind::Misconfigured => None,
    }
}

/// What came of telling.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Told,
    Failed,
}

impl Engine {
    /// Announces what is due, at most `limit` deliveries of each notifier; returns the most that
    /// was found for one. No notifier waits for another: a chat that hangs delays no page.
    pub async fn announce_due(&self, limit: usize) -> Result<usize, PortError> {
        let notifiers = self.parts.notifiers.iter();
        let announced =
            join_all(notifiers.map(|notifier| self.announce_through(notifier.name(), limit)));
        let mut most = 0;
        for found in announced.await {
            most = most.max(found?);
        }
        Ok(most)
    }

    /// The notifiers, the pager among them, by the names that [`Engine::take_announcements`] takes.
    pub fn notifiers(&self) -> impl Iterator<Item = &'static str> {
        self.parts.notifiers.iter().map(|notifier| notifier.name())
    }

    /// From now on commits take what they bring this notifier, and hand it over here.
    pub fn hand_over(&self, notifier: &'static str) -> HandedOver {
        let (way, end) = unbounded();
        self.outbox.ways().insert(notifier, way);
        HandedOver(end)
    }

    /// The deliveries that a change of this record brings. Pages are not handed over: whichever
    /// process looks next sends them.
    pub(super) fn touches(&self, request: &AccessRequest) -> Vec<Touch> {
        let take_until = self.now() + TAKEN_FOR;
        let touches = self.parts.notifiers.iter().flat_map(|notifier| {
            let name = notifier.name();
            let targets = notifier.targets(request).into_iter();
            let takes = name != PAGER && self.outbox.has_room(name);
            targets.map(move |target| Touch {
                key: DeliveryKey {
                    request: request.id,
                    notifier: name.to_owned(),
                    target,
                },
                take_until: takes.then_some(take_until),
            })
        });
        touches.collect()
    }

    /// Hands over what a commit of these changes took.
    pub(super) fn pass_on(&self, taken: Vec<Delivery>, changes: &[Change]) {
        let ways = self.outbox.ways();
        for delivery in taken {
            let change = changes.iter();
            let mut change = change.filter(|change| change.record.id == delivery.key.request);
            let written = change.next();
            let written = written.map(|change| (change.record.clone(), change.events.clone()));
            let Some(way) = ways.get(delivery.key.notifier.as_str()) else {
                continue;
            };
            // Where nobody is there any more it is due again when its time is up.
            let _gone = way.unbounded_send(Taken { delivery, written });
        }
    }

    /// Announces what is due for this notifier, at most `limit`; returns how many it found.
    async fn announce_through(&self, name: &str, limit: usize) -> Result<usize, PortError> {
        let taken = self.take_announcements(name, limit).await?;
        let found = taken.len();
        let announcing = taken
            .into_iter()
            .map(|taken| self.announce(taken, pending(), pending()));
        join_all(announcing).await;
        Ok(found)
    }

    /// Takes what is due for this notifier, at most `limit`: until what each says
    /// (`taken_until`) nobody else sends it.
    pub async fn take_announcements(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<Taken>, PortError> {
        let now = self.now();
        let store = &self.parts.store;
        let taken = store.deliveries_take(name, now, now + TAKEN_FOR, limit);
        let taken = taken.await?.into_iter().map(|delivery| Taken {
            delivery,
            written: None,
        });
        Ok(taken.collect())
    }

    /// Sends what was taken, until the time is up; a failure is put off. What is known beside the record
    /// is looked up for as long as `look` lasts, which is part of that time, and else left out. Says
    /// whether more is to be sent there at once, which happened meanwhile.
    pub async fn announce(
        &self,
        taken: Taken,
        look: impl Future<Output = ()>,
        time: impl Future<Output = ()>,
    ) -> MoreToSay {
        let key = taken.delivery.key.clone();
        let announced = self.send(taken, look, time).await;
        announced.unwrap_or_else(|error| {
            if put_off(&error).is_some() {
                // Where there is a crowd, waiting is what is wanted of us.
                tracing::debug!(
                    request.id = %key.request, notifier = key.notifier,
                    "an announcement waits for its turn",
                );
            } else {
                tracing::warn!(
                    request.id = %key.request, notifier = key.notifier, error = %error.chain(),
                    "an announcement failed and will be tried again",
                );
            }
            MoreToSay::No
        })
    }

    async fn send(
        &self,
        taken: Taken,
        look: impl Future<Output = ()>,
        time: impl Future<Output = ()>,
    ) -> Result<MoreToSay, PortError> {
        let Taken {
            delivery: taken,
            written,
        } = taken;
        let wanted = taken.key.notifier.as_str();
        let mut notifiers = self.parts.notifiers.iter();
        let Some(notifier) = notifiers.find(|notifier| notifier.name() == wanted) else {
            return Ok(MoreToSay::No);
        };
        // What was not shown before that commit is only in the store.
        let written = written.filter(|(_, events)| {
            let first = events.first();
            first.is_some_and(|first| first.seq <= taken.shown_seq + 1)
        });
        let story = match written {
            Some(written) => Some(written),
            None => self.story(taken.key.request).await?,
        };
        let Some((request, events)) = story else {
            return Ok(MoreToSay::No);
        };
        let fresh = events.iter().filter(|sealed| sealed.seq > taken.shown_seq);
        let news = fresh.map(read_event).collect::<Result<Vec<_>, _>>()?;
        let shown_seq = events.last().map_or(taken.shown_seq, |sealed| sealed.seq);
        let wanted = request.stage == Stage::Pending && notifier.shows_background();
        // Looking around takes of the same time: whoever takes the delivery over when that is up must
        // not find it still being told.
        let saying = async {
            let background = match wanted {
                true => match select(pin!(self.background_of(&request)), pin!(look)).await {
                    Either::Left((background, _)) => background,
                    Either::Right(_) => None,
                },
                false => None,
            };
            let announcement = Announcement {
                delivery: &taken,
                request: &request,
                news: &news,
                background: background.as_ref(),
            };
            notifier.announce(announcement).await
        };
        let said = match select(pin!(saying), pin!(time)).await {
            Either::Left((said, _)) => said,
            Either::Right(_) => {
                let kind = ErrorKind::Unavailable;
                Err(PortError::maybe_done("engine", "announce in time", kind))
            }
        };
        let held = taken.taken_until;
        let version = taken.version + 1;
        match said {
            Ok(Told { message, again_at }) => {
                let told = Delivery {
                    version,
                    message,
                    shown_seq,
                    attempts: 0,
                    deliver_at: again_at,
                    taken_until: None,
                    ..taken
                };
                self.mark(told, Outcome::Told, held).await
            }
            Err(error) => {
                let (pause, attempts) = match put_off(&error) {
                    // Earlier it would be refused again, and later it would be late for nothing.
                    // Nothing was tried that failed.
                    Some(wait) => (wait, taken.attempts.saturating_sub(1)),
                    None => (self.backoff(&taken, &error), taken.attempts),
                };
                let failed = Delivery {
                    version,
                    attempts,
                    deliver_at: Some(self.now() + pause),
                    taken_until: None,
                    ..taken
                };
                self.mark(failed, Outcome::Failed, held).await?;
                Err(error)
            }
        }
    }

    /// What can be found out beside the record. Nothing is untold for want of it.
    async fn background_of(&self, request: &AccessRequest) -> Option<Background> {
        let found = self.look_around(request).await;
        found
            .inspect_err(|error| {
                tracing::warn!(
                    request.id = %request.id, error = %error.chain(),
                    "what is known about what is asked for could not be found out",
                );
            })
            .ok()
    }

    fn backoff(&self, taken: &Delivery, error: &PortError) -> Duration {
        // What trying again does not mend is tried all the same, in case somebody does.
        let longest = match error.kind.is_retryable() {
            true => LONGEST_PAUSE,
            false => LONGEST_PAUSE * 10,
        };
        let pause = Duration::from_secs(1 << taken.attempts.min(10)) + self.jitter();
        pause.min(longest)
    }

    /// Marks how far the message is. Where the record changed meanwhile the row is due for that and
    /// stays so, but it keeps what was told and where: else that would be told twice.
    async fn mark(
        &self,
        told: Delivery,
        outcome: Outcome,
        held: Option<Timestamp>,
    ) -> Result<MoreToSay, PortError> {
        let mut mark = told.clone();
        let mut more = MoreToSay::No;
        for _ in 0..TRIES {
            if self.update(mark).await? {
                return Ok(more);
            }
            more = MoreToSay::Yes;
            let rows = self.parts.store.deliveries(told.key.request).await?;
            let Some(row) = rows.into_iter().find(|row| row.key == told.key) else {
                return Ok(MoreToSay::No);
            };
            let message = match outcome {
                Outcome::Told => told.message.clone(),
                // Who took it after us may have told it.
                Outcome::Failed => row.message,
            };
            mark = Delivery {
                version: row.version + 1,
                message,
                deliver_at: row.deliver_at,
                shown_seq: row.shown_seq.max(told.shown_seq),
                // Who took it after us has it still.
                taken_until: row.taken_until.filter(|_| row.taken_until != held),
                ..told.clone()
            };
        }
        Ok(more)
    }

    /// Whether the row was still as it was decided on.
    async fn update(&self, delivery: Delivery) -> Result<bool, PortError> {
        match self.parts.store.delivery_update(delivery).await {
            Ok(()) => Ok(true),
            Err(CommitError::Port(error)) => Err(error),
            Err(
                CommitError::Conflict
                | CommitError::CounterFull { .. }
                | CommitError::InputDone
                | CommitError::TooLarge { .. },
            ) => Ok(false),
        }
    }
}
