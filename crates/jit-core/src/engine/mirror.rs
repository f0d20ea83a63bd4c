//! What a process knows of live grants without asking its store: so that their ends wait for no
//! store (L4), and so that they are counted without being read again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::{Along, Engine, EngineError, TRIES};
use crate::catalog::ProviderName;
use crate::change::Counter;
use crate::lifecycle::{BACKOFF_MAX, Command, Refusal, SEND_WITHIN, SentAway, decide};
use crate::ports::{
    Commit, CommitError, ErrorKind, InspectCall, PortError, Provisioner, Purpose, Query, RevokeCall,
};
use crate::provider::{Answer, Handle, Kind, Parameters, Presence, Target};
use crate::request::{AccessRequest, Phase, RequestId, Status};
use crate::time::Timestamp;

/// After so long without an answer from the store the ends of grants no longer wait for it.
pub const STORE_AWAY_AFTER: Duration = Duration::from_secs(5);
/// How many records are read at once.
const PAGE: usize = 1_000;
/// How soon what is being applied is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// What is known. It is refreshed by every commit and load of this process, and as a whole by
/// [`Engine::refresh_mirror`].
#[derive(Debug, Default)]
pub(super) struct Mirror(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    live: BTreeMap<RequestId, Mirrored>,
    /// The same by their ends.
    ends: BTreeSet<(Timestamp, RequestId)>,
    /// Records that were seen to be over since everything began to be read, by version: a page of
    /// it may have been read before they ended.
    over: BTreeMap<RequestId, u64>,
    /// Counts the times that everything was read.
    reading: u64,
    is_reading: bool,
    /// What was done without the store, until the store knows.
    away: BTreeMap<RequestId, Away>,
    /// Since when no read was answered, and no write.
    reads: Option<Timestamp>,
    writes: Option<Timestamp>,
}

/// A live grant: all that taking it away needs.
#[derive(Debug)]
struct Mirrored {
    version: u64,
    /// In which reading of everything it was seen.
    seen_in: u64,
    provider: ProviderName,
    access: Access,
    expires_at: Timestamp,
    revocable: bool,
    status: Status,
    is_stuck: bool,
}

/// What stands where.
#[derive(Debug, Clone)]
struct Access {
    target: Target,
    parameters: Parameters,
    handle: Option<Handle>,
    given_until: Timestamp,
    send_before: Option<Timestamp>,
}

/// What was done for one grant without the store.
#[derive(Debug, Clone)]
struct Away {
    sent: Option<SentAway>,
    /// A delete was accepted, and no look has shown the access since.
    accepted: bool,
    gone: bool,
    failures: u32,
    next_at: Timestamp,
}

/// How many grants may have access.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// All of them, by their provider.
    pub by_provider: BTreeMap<ProviderName, usize>,
    /// Past their end, and not verified gone.
    pub overdue: usize,
    /// Whose ending is late.
    pub stuck: usize,
}

/// Which calls of the store.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Read,
    Write,
}

/// What a record says of itself, taken before it is written.
#[derive(Debug)]
pub(super) struct Noted {
    id: RequestId,
    version: u64,
    took_over: Option<RequestId>,
    /// None of a record that is not live.
    live: Option<Mirrored>,
}

impl Noted {
    pub(super) fn of(request: &AccessRequest) -> Self {
        let grant = request.grant().filter(|grant| grant.is_live());
        let place = request.place();
        Self {
            id: request.id,
            version: request.version,
            took_over: grant.and_then(|grant| grant.took_over),
            live: grant.map(|grant| Mirrored {
                version: request.version,
                seen_in: 0,
                provider: place.entitlement.provider(),
                access: Access {
                    target: place.target.clone(),
                    parameters: place.parameters.clone(),
                    handle: grant.handle.clone(),
                    given_until: grant.told_until.unwrap_or(grant.expires_at),
                    send_before: grant.slot_send_before,
                },
                expires_at: grant.expires_at,
                revocable: place.provider.revocable,
                status: request.status(),
                is_stuck: grant.stuck.is_some(),
            }),
        }
    }
}

impl Mirrored {
    /// What was verified absent is left to whoever watches it.
    fn ends(&self, now: Timestamp) -> bool {
        self.revocable && self.status != Status::Settling && self.expires_at <= now
    }
}

impl Mirror {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record that was read.
    pub(super) fn saw(&self, request: &AccessRequest) {
        let is_new = {
            let mut known = self.lock();
            let reading = known.reading;
            match known.live.get_mut(&request.id) {
                Some(before) => {
                    before.seen_in = reading;
                    before.version < request.version
                }
                None => true,
            }
        };
        if is_new {
            self.note(Noted::of(request));
        }
    }

    /// A record that was written or read.
    pub(super) fn note(&self, noted: Noted) {
        let Noted { id, version, .. } = noted;
        let mut known = self.lock();
        let newest = known.live.get(&id).map(|it| it.version);
        let newest = newest.max(known.over.get(&id).copied());
        if newest.is_some_and(|newest| newest >= version) {
            return;
        }
        match noted.live {
            Some(live) => {
                let seen_in = known.reading;
                known.insert(id, Mirrored { seen_in, ..live });
                // Its slot is no longer that one's.
                if let Some(before) = noted.took_over {
                    known.remove(before);
                }
            }
            None => {
                known.remove(id);
                if known.is_reading {
                    known.over.insert(id, version);
                }
            }
        }
    }

    fn begin_reading(&self) {
        let mut known = self.lock();
        known.reading += 1;
        known.is_reading = true;
        known.over.clear();
    }

    /// What was not seen in this reading is not live any more.
    fn end_reading(&self) {
        let mut known = self.lock();
        let reading = known.reading;
        let unseen = known.live.iter().filter(|(_, it)| it.seen_in != reading);
        let unseen: Vec<RequestId> = unseen.map(|(id, _)| *id).collect();
        unseen.into_iter().for_each(|id| known.remove(id));
        known.is_reading = false;
        known.over.clear();
    }

    /// The store is asked something.
    pub(super) fn asks(&self, what: Asked, now: Timestamp) {
        let mut known = self.lock();
        known.asked(what).get_or_insert(now);
    }

    /// The store answered, whatever it said.
    pub(super) fn answered(&self, what: Asked) {
        *self.lock().asked(what) = None;
    }

    /// What must be taken away now at this provider.
    fn due(&self, provider: &ProviderName, now: Timestamp) -> Vec<RequestId> {
        let known = self.lock();
        let waits = |id: &RequestId| {
            let away = known.away.get(id);
            away.is_some_and(|it| it.gone || now < it.next_at)
        };
        let ends = |id: &RequestId| {
            let live = known.live.get(id);
            live.is_some_and(|it| it.provider == *provider && it.ends(now))
        };
        let past = known.ends.iter().take_while(|(at, _)| *at <= now);
        let due = past.map(|(_, id)| *id);
        due.filter(|id| ends(id) && !waits(id)).collect()
    }

    /// The next end after this instant.
    fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let known = self.lock();
        let after = (now, RequestId::LAST);
        let mut ends = known.ends.range((Bound::Excluded(after), Bound::Unbounded));
        ends.next().map(|(at, _)| *at)
    }

    /// What to take away, where that is still to be done; and whether only a look is left.
    fn still_due(&self, id: RequestId, now: Timestamp) -> Option<(Access, bool)> {
        let known = self.lock();
        let access = known
            .live
            .get(&id)
            .filter(|it| it.ends(now))?
            .access
            .clone();
        Some((access, known.away.get(&id).is_some_and(|it| it.accepted)))
    }

    fn reports(&self) -> Vec<(RequestId, SentAway)> {
        let known = self.lock();
        let sent = known.away.iter();
        sent.filter_map(|(id, away)| Some((*id, away.sent.clone()?)))
            .collect()
    }

    /// The store knows of these deletes.
    fn reported(&self, id: RequestId, sent: &SentAway) {
        let mut known = self.lock();
        if known
            .away
            .get(&id)
            .is_some_and(|it| it.sent.as_ref() == Some(sent))
        {
            known.away.remove(&id);
        }
    }
}

impl Known {
    fn insert(&mut self, id: RequestId, live: Mirrored) {
        self.remove(id);
        self.ends.insert((live.expires_at, id));
        self.live.insert(id, live);
    }

    fn remove(&mut self, id: RequestId) {
        if let Some(before) = self.live.remove(&id) {
            self.ends.remove(&(before.expires_at, id));
        }
    }

    fn asked(&mut self, what: Asked) -> &mut Option<Timestamp> {
        match what {
            Asked::Read => &mut self.reads,
            Asked::Write => &mut self.writes,
        }
    }
}

impl Engine {
    /// Reads every live record, a page at a time.
    pub async fn refresh_mirror(&self) -> Result<(), PortError> {
        let statuses = Status::ALL.into_iter().filter(|status| status.is_live());
        let mut query = Query {
            statuses: statuses.collect(),
            limit: PAGE,
            ..Query::default()
        };
        self.mirror.begin_reading();
        loop {
            let page = self.parts.store.query(&query).await?;
            page.iter().for_each(|request| self.mirror.saw(request));
            query.after = page.last().map(|request| request.id).or(query.after);
            if page.len() < PAGE {
                self.mirror.end_reading();
                return Ok(());
            }
        }
    }

    /// The live grants that this process knows of. Overdue are those that had to be gone by this
    /// instant.
    pub fn count_live(&self, by: Timestamp) -> Live {
        let known = self.mirror.lock();
        let mut live = Live::default();
        for it in known.live.values() {
            match live.by_provider.get_mut(&it.provider) {
                Some(count) => *count += 1,
                None => drop(live.by_provider.insert(it.provider.clone(), 1)),
            }
            let is_overdue = it.expires_at < by && it.status != Status::Settling;
            live.overdue += usize::from(is_overdue);
            live.stuck += usize::from(it.is_stuck);
        }
        live
    }

    /// For how long from now on no grant that this process knows of ends; none where none does.
    pub fn until_next_end(&self) -> Option<Duration> {
        let now = self.now();
        self.mirror.next_end(now).map(|at| at.since(now))
    }

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

    /// While the store is away: takes away what had to be gone at this provider by now, so many at
    /// a time. Nothing is committed; what was done is logged at once, and written down by
    /// [`Engine::report_to_store`].
    pub async fn stand_in(&self, provider: &ProviderName, at_once: usize) {
        if self.store_away_since().is_none() {
            return;
        }
        let Some(provisioner) = self.parts.provisioners.get(provider) else {
            return;
        };
        let due = self.mirror.due(provider, self.now());
        stream::iter(due)
            .for_each_concurrent(at_once, |id| self.take_away(provisioner.as_ref(), id))
            .await;
    }

    async fn take_away(&self, provisioner: &dyn Provisioner, id: RequestId) {
        // Where reads are answered it is seen whether somebody else ended it.
        let reads_are_answered = self.mirror.lock().reads.is_none();
        if reads_are_answered && let Err(error) = self.load(id).await {
            tracing::warn!(request.id = %id, error = %error.chain(), "a record cannot be read");
        }
        let Some((access, only_looks)) = self.mirror.still_due(id, self.now()) else {
            return;
        };
        let Access {
            target, parameters, ..
        } = &access;
        let mut sent = None;
        if !only_looks {
            tracing::warn!(
                request.id = %id, "the store is away; access is taken away without it",
            );
            let at = self.now();
            let call = RevokeCall {
                request: id,
                target,
                parameters,
                handle: access.handle.as_ref(),
                send_before: self.parts.clock.now() + SEND_WITHIN,
            };
            sent = Some((at, provisioner.revoke(call).await));
        }
        let look = InspectCall {
            purpose: Purpose::TakeAway,
            request: id,
            target,
            parameters,
            handle: access.handle.as_ref(),
            expires_at: access.given_until,
            send_before: access.send_before,
        };
        let read_back = provisioner.inspect(look).await;
        tracing::warn!(
            request.id = %id,
            answer = ?sent.as_ref().map(|(_, it)| it.as_ref().map_err(PortError::chain)),
            read_back = ?read_back.as_ref().map_err(PortError::chain),
            "what came of it, without the store",
        );
        self.remember_without_store(id, sent, read_back);
    }

    /// Remembers what came of a delete and its read-back, for the next try and for the store.
    fn remember_without_store(
        &self,
        id: RequestId,
        sent: Option<(Timestamp, Result<Answer, PortError>)>,
        read_back: Result<Presence, PortError>,
    ) {
        let now = self.now();
        let (read_back, looked) = match read_back {
            Ok(presence) => (Some(presence), None),
            Err(error) => (None, Some(self.failure(&error))),
        };
        let sent = sent.map(|(at, answer)| (at, answer.map_err(|error| self.failure(&error))));
        let mut known = self.mirror.lock();
        let away = known.away.entry(id).or_insert(Away {
            sent: None,
            accepted: false,
            gone: false,
            failures: 0,
            next_at: now,
        });
        if let Some((at, answer)) = sent {
            away.accepted = answer.is_ok();
            let before = away.sent.as_ref();
            away.sent = Some(SentAway {
                from: before.map_or(at, |it| it.from),
                until: now,
                deletes: before.map_or(1, |it| it.deletes.saturating_add(1)),
                answer,
                read_back,
            });
        } else if let Some(sent) = &mut away.sent {
            sent.read_back = read_back.or(sent.read_back);
        }
        match read_back {
            Some(Presence::Absent | Presence::GoneBy(_)) => away.gone = true,
            // What was accepted came to nothing: the next try is a delete again.
            Some(Presence::Present) if sent.is_none() => {
                away.accepted = false;
                away.next_at = now;
            }
            Some(Presence::Present | Presence::InFlight) if away.accepted => {
                away.next_at = now + LOOK_AGAIN;
            }
            Some(Presence::Present | Presence::InFlight) | None => {
                let failure = sent.and_then(|(_, answer)| answer.err()).or(looked);
                let pause = failure.map_or(LOOK_AGAIN, |it| it.pause(away.failures));
                away.failures = away.failures.saturating_add(1);
                away.next_at = now + pause.min(BACKOFF_MAX);
            }
        }
    }

    /// Writes down what was done while the store was away. Nothing to do, and no call, where there
    /// is none.
    pub async fn report_to_store(&self) -> Result<(), EngineError> {
        for (id, sent) in self.mirror.reports() {
            self.report(id, &sent).await?;
            self.mirror.reported(id, &sent);
        }
        Ok(())
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
        self.mirror.asks(Asked::Write, now);
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
        self.parts.store.commit(commit).await?;
        self.mirror.answered(Asked::Write);
        Ok(())
    }
}
