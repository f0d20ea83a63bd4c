//! Taking access away while the store is away, by what the process knows of it (L4, ADR 27). Nothing is
//! committed meanwhile; what was done is logged at once, and written down when the store answers.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::mirror::{Access, Asked, Known};
use super::{Along, Engine, EngineError, TRIES};
use crate::catalog::ProviderName;
use crate::change::Counter;
use crate::lifecycle::{
    BACKOFF_MAX, Command, Failure, Refusal, SEND_WITHIN, SeenAway, SentAway, WAIT_AGAIN, decide,
};
use crate::ports::{
    Commit, CommitError, ErrorKind, InspectCall, PortError, Provisioner, Purpose, RevokeCall,
};
use crate::provider::{Answer, Effect, Kind, Presence};
use crate::request::{Phase, RequestId, Status};
use crate::time::Timestamp;

/// After so long without an answer from the store the ends of grants no longer wait for it.
pub const STORE_AWAY_AFTER: Duration = Duration::from_secs(5);
/// How soon what is being applied is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// How soon a record that could not be read is read again.
const UNREAD_AGAIN: Duration = Duration::from_secs(1);
/// How many reports are written at once.
const REPORTS: usize = 16;

/// What was done for one grant without the store.
#[derive(Debug, Clone)]
pub(super) struct Away {
    sent: Option<SentAway>,
    progress: Progress,
    failures: u32,
    next_at: Timestamp,
}

/// How far the access is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// A delete is to be sent.
    Owed,
    /// A delete was accepted; what came of it is to be looked at.
    Accepted,
    /// It was absent; a call of ours may still take effect.
    Watched { looks: u32 },
    /// It was absent when nothing could take effect any more.
    Gone,
}

impl Away {
    /// Of a record that was verified absent only a late effect is looked for.
    fn of(status: Status, now: Timestamp) -> Self {
        let progress = match status {
            Status::Settling => Progress::Watched { looks: 0 },
            _ => Progress::Owed,
        };
        Self {
            sent: None,
            progress,
            failures: 0,
            next_at: now,
        }
    }
}

/// What is to be done for one grant.
struct Task {
    access: Access,
    /// The epoch of the ending that takes it away.
    epoch: Option<u32>,
    progress: Progress,
}

impl Known {
    /// A grant that has the slot now, and not what had it before.
    fn is_taken_over(&self, id: RequestId, now: Timestamp) -> bool {
        let Some(own) = self.live.get(&id).filter(|it| it.kind == Kind::Standing) else {
            return false;
        };
        self.live.iter().any(|(other, it)| {
            let same = it.access.target == own.access.target
                && it.access.parameters == own.access.parameters;
            *other != id && same && it.kind == Kind::Standing && it.expires_at > now
        })
    }

    /// Nothing can be done for this grant now.
    fn put_off(&mut self, id: RequestId, now: Timestamp) {
        if let Some(live) = self.live.get(&id) {
            let status = live.status;
            let away = self.away.entry(id).or_insert_with(|| Away::of(status, now));
            away.next_at = now + UNREAD_AGAIN;
        }
    }

    /// What is to be done for this grant now; a delete is written down before it is sent.
    fn task(&mut self, id: RequestId, now: Timestamp) -> Option<Task> {
        let live = self.live.get(&id).filter(|it| it.expires_at <= now)?;
        let (access, status) = (live.access.clone(), live.status);
        let epoch = live.ends_under.map(NonZeroU32::get);
        if self.is_taken_over(id, now) {
            self.put_off(id, now);
            return None;
        }
        let away = self.away.entry(id).or_insert_with(|| Away::of(status, now));
        let progress = away.progress;
        if progress == Progress::Owed {
            let before = away.sent.as_ref();
            away.sent = Some(SentAway {
                from: before.map_or(now, |it| it.from),
                until: now,
                deletes: before.map_or(1, |it| it.deletes.saturating_add(1)),
                answer: Err(UNHEARD),
                read_back: None,
            });
        }
        Some(Task {
            access,
            epoch,
            progress,
        })
    }
}

/// What is known of a delete whose answer was not heard.
const UNHEARD: Failure = Failure {
    kind: ErrorKind::Unavailable,
    effect: Effect::Unknown,
    jitter: Duration::ZERO,
};

impl Engine {
    /// Since when the store has not answered, where that is for longer than [`STORE_AWAY_AFTER`].
    /// A store that reads and does not write, as on a full disk, is away as well.
    pub fn store_away_since(&self) -> Option<Timestamp> {
        let now = self.now();
        let known = self.mirror.lock();
        let since = match (known.reads, known.writes) {
            (Some(reads), Some(writes)) => Some(reads.min(writes)),
            (reads, writes) => reads.or(writes),
        };
        since.filter(|since| now.since(*since) >= STORE_AWAY_AFTER)
    }

    /// Whoever wants access from a store that is away need not wait to hear so.
    pub(super) fn check_store(&self) -> Result<(), Refusal> {
        match self.store_away_since() {
            Some(_) => Err(Refusal::StoreAway),
            None => Ok(()),
        }
    }

    /// The providers that this process reaches.
    pub fn providers(&self) -> impl Iterator<Item = &ProviderName> {
        self.parts.provisioners.keys()
    }

    /// While the store is away: the grants at this provider for which something is to be done
    /// without it now, the longest over first.
    pub fn to_take_away(&self, provider: &ProviderName) -> Vec<RequestId> {
        if self.store_away_since().is_none() {
            return Vec::new();
        }
        let now = self.now();
        let known = self.mirror.lock();
        let waits = |id: &RequestId| {
            let away = known.away.get(id);
            away.is_some_and(|it| it.progress == Progress::Gone || now < it.next_at)
        };
        let past = known.past(now).filter(|(_, it)| it.provider == *provider);
        let due = past.filter(|(id, _)| !waits(id));
        due.map(|(id, _)| id).collect()
    }

    /// Takes away what had to be gone by now, or looks what came of it, once.
    pub async fn take_away(&self, provider: &ProviderName, id: RequestId) {
        let Some(provisioner) = self.parts.provisioners.get(provider) else {
            return;
        };
        // Where reads are answered it is seen whether somebody else ended it, or has the slot.
        let unanswered_since = self.mirror.lock().reads;
        let reads = unanswered_since.map_or(Duration::ZERO, |since| self.now().since(since));
        if reads < STORE_AWAY_AFTER
            && let Err(error) = self.load(id).await
        {
            tracing::warn!(request.id = %id, error = %error.chain(), "a record cannot be read");
            let now = self.now();
            self.mirror.lock().put_off(id, now);
            return;
        }
        let at = self.now();
        let task = self.mirror.lock().task(id, at);
        let Some(Task {
            access,
            epoch,
            progress,
        }) = task
        else {
            return;
        };
        let sent = match progress {
            Progress::Owed => {
                let answer = self.send_away(provisioner.as_ref(), id, &access).await;
                Some((at, answer))
            }
            Progress::Accepted | Progress::Watched { .. } | Progress::Gone => None,
        };
        let look = InspectCall {
            purpose: Purpose::TakeAway,
            request: id,
            target: &access.target,
            parameters: &access.parameters,
            handle: access.handle.as_ref(),
            expires_at: access.given_until,
            send_before: access.send_before,
        };
        let seen_at = self.now();
        let read_back = provisioner.inspect(look).await;
        let seen = |presence| SeenAway {
            presence,
            seen_at,
            epoch,
        };
        self.remember(id, sent, read_back.map(seen), access.lands_by);
    }

    async fn send_away(
        &self,
        provisioner: &dyn Provisioner,
        id: RequestId,
        access: &Access,
    ) -> Result<Answer, PortError> {
        tracing::warn!(request.id = %id, "the store is away; access is taken away without it");
        let call = RevokeCall {
            request: id,
            target: &access.target,
            parameters: &access.parameters,
            handle: access.handle.as_ref(),
            send_before: self.parts.clock.now() + SEND_WITHIN,
        };
        provisioner.revoke(call).await
    }

    /// Remembers what came of a delete and its read-back, for the next step and for the store.
    fn remember(
        &self,
        id: RequestId,
        sent: Option<(Timestamp, Result<Answer, PortError>)>,
        looked: Result<SeenAway, PortError>,
        lands_by: Timestamp,
    ) {
        let now = self.now();
        tracing::warn!(
            request.id = %id,
            answer = ?sent.as_ref().map(|(_, it)| it.as_ref().map_err(PortError::chain)),
            read_back = ?looked.as_ref().map(|it| it.presence).map_err(PortError::chain),
            "what came of it, without the store",
        );
        let sent_at = sent.as_ref().map_or(now, |(at, _)| *at);
        let answer = sent.map(|(_, it)| it.map_err(|error| self.failure(&error)));
        let looked = looked.map_err(|error| self.failure(&error));
        let mut known = self.mirror.lock();
        // Where it was written down meanwhile, what came of it is written down once more.
        let away = known.away.entry(id).or_insert_with(|| Away {
            sent: answer.map(|answer| SentAway {
                from: sent_at,
                until: now,
                deletes: 0,
                answer,
                read_back: None,
            }),
            ..Away::of(Status::Revoking, now)
        });
        if let Some(sent) = &mut away.sent {
            sent.until = now;
            sent.answer = answer.unwrap_or(sent.answer);
            sent.read_back = looked.ok().or(sent.read_back);
        }
        let accepted = match answer {
            Some(answer) => answer.is_ok(),
            None => away.progress == Progress::Accepted,
        };
        (away.progress, away.next_at) = match looked.map(|it| it.presence) {
            Ok(Presence::GoneBy(_)) => (Progress::Gone, now),
            // An absence counts from when it was looked for.
            Ok(Presence::Absent) if looked.is_ok_and(|it| it.seen_at >= lands_by) => {
                (Progress::Gone, now)
            }
            Ok(Presence::Absent) => {
                let looks = match away.progress {
                    Progress::Watched { looks } => looks,
                    Progress::Owed | Progress::Accepted | Progress::Gone => 0,
                };
                let pause = (WAIT_AGAIN * (1 << looks.min(4))).min(BACKOFF_MAX);
                let looks = looks.saturating_add(1);
                (Progress::Watched { looks }, now + pause)
            }
            // What was accepted came to nothing, or took effect late: the next try is a delete.
            Ok(Presence::Present) if answer.is_none() => (Progress::Owed, now),
            Ok(Presence::Present | Presence::InFlight) if accepted => {
                (Progress::Accepted, now + LOOK_AGAIN)
            }
            Ok(Presence::Present | Presence::InFlight) | Err(_) => {
                let failure = answer.and_then(Result::err).or(looked.err());
                let pause = failure.map_or(LOOK_AGAIN, |it| it.pause(away.failures));
                away.failures = away.failures.saturating_add(1);
                let next = match (accepted, away.progress) {
                    (true, _) => Progress::Accepted,
                    (false, Progress::Watched { looks }) => Progress::Watched { looks },
                    (false, _) => Progress::Owed,
                };
                (next, now + pause.min(BACKOFF_MAX))
            }
        };
    }

    /// Writes down what was done while the store was away. Nothing to do, and no call, where there
    /// is none. One that cannot be written holds up no other; the first failure is the answer.
    pub async fn report_to_store(&self) -> Result<(), EngineError> {
        let reports: Vec<(RequestId, SentAway)> = {
            let known = self.mirror.lock();
            let sent = known.away.iter();
            sent.filter_map(|(id, away)| Some((*id, away.sent.clone()?)))
                .collect()
        };
        let told = stream::iter(reports).map(|(id, sent)| async move {
            self.report(id, &sent).await?;
            let mut known = self.mirror.lock();
            let is_same = known
                .away
                .get(&id)
                .is_some_and(|it| it.sent.as_ref() == Some(&sent));
            if is_same {
                known.away.remove(&id);
            }
            Ok(())
        });
        let told: Vec<Result<(), EngineError>> = told.buffer_unordered(REPORTS).collect().await;
        if self.store_away_since().is_none() {
            // What was only looked at leaves nothing to tell.
            self.mirror.lock().away.retain(|_, it| it.sent.is_some());
        }
        told.into_iter().collect()
    }

    async fn report(&self, id: RequestId, sent: &SentAway) -> Result<(), EngineError> {
        for _ in 0..TRIES {
            let Some(request) = self.load(id).await? else {
                return Ok(());
            };
            let part = request.parts.first();
            let grant = request.grant();
            let is_closed = grant.is_some_and(|it| matches!(it.phase, Phase::Closed { .. }));
            let owned = match is_closed && part.provider.kind == Kind::Standing {
                true => self.owned(&part.slot_key()).await?.map(Box::new),
                false => None,
            };
            let sent = sent.clone();
            let told = Command::StoreAway { sent, owned };
            let transition = decide(self.rules(), &request, &told, self.now())?;
            match self.commit(transition, Along::default()).await {
                Err(CommitError::Conflict) => {}
                done => return done.map_err(EngineError::from),
            }
        }
        Err(PortError::nothing_done("engine", "report to the store", ErrorKind::Conflict).into())
    }

    /// Asks a store that does not answer whether it writes again, by a row that says nothing else.
    pub async fn probe_store(&self) -> Result<(), CommitError> {
        let now = self.now();
        let day = Duration::from_secs(86_400);
        let probe = Counter {
            key: "probe".to_owned(),
            window: now.since(Timestamp::MIN).as_secs() / day.as_secs(),
            ceiling: u32::MAX,
            forget_at: now + day,
        };
        let counters = vec![probe];
        let commit = Commit {
            counters,
            ..Commit::default()
        };
        let asking = self.mirror.asks(Asked::Write, now);
        match self.parts.store.commit(commit).await {
            Ok(_) => asking.answered(),
            Err(error) => {
                asking.failed();
                return Err(error);
            }
        }
        Ok(())
    }
}
