//! What a process knows of live grants without asking its store: what ends when, how many there are,
//! and whether the store answers. What is done by it is in `stand_in`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Engine;
use super::stand_in::Away;
use crate::catalog::ProviderName;
use crate::ports::{PortError, Query};
use crate::provider::{Handle, Kind, Parameters, Target};
use crate::request::{AccessRequest, Phase, RequestId, Status};
use crate::time::Timestamp;

/// How many records are read at once.
const PAGE: usize = 1_000;

/// What is known. It is refreshed by every commit and load of this process, and as a whole by
/// [`Engine::refresh_mirror`].
#[derive(Debug, Default)]
pub(super) struct Mirror(Mutex<Known>);

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) live: BTreeMap<RequestId, Mirrored>,
    /// Those of them that can be taken away, by their ends.
    ends: BTreeSet<(Timestamp, RequestId)>,
    /// Records that were seen to be over since everything was read, by version: what was read
    /// before they ended may be heard of after it.
    over: BTreeMap<RequestId, u64>,
    /// Counts the times that everything was read.
    reading: u64,
    /// What was done without the store, until the store knows.
    pub(super) away: BTreeMap<RequestId, Away>,
    /// Since when no read was answered, and no write.
    pub(super) reads: Option<Timestamp>,
    pub(super) writes: Option<Timestamp>,
}

/// A live grant: all that taking it away needs.
#[derive(Debug)]
pub(super) struct Mirrored {
    version: u64,
    /// In which reading of everything it was seen.
    seen_in: u64,
    pub(super) provider: ProviderName,
    pub(super) access: Access,
    pub(super) expires_at: Timestamp,
    pub(super) kind: Kind,
    revocable: bool,
    pub(super) status: Status,
    is_stuck: bool,
    /// The epoch of the ending that takes it away, the first of which is 1.
    pub(super) ends_under: Option<NonZeroU32>,
}

/// A hundred thousand of them are held; with 8 bytes more a node of the map takes the allocator's next size,
/// which is 10 MiB more for all.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Mirrored>() <= 208);

/// What stands where.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) target: Target,
    pub(super) parameters: Parameters,
    pub(super) handle: Option<Handle>,
    pub(super) given_until: Timestamp,
    pub(super) send_before: Option<Timestamp>,
    /// Until when a call of ours may still take effect.
    pub(super) lands_by: Timestamp,
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
                    lands_by: match &grant.phase {
                        Phase::Settling { watch, .. } => watch.until,
                        _ => {
                            let sent = grant.slot_send_before.unwrap_or(grant.approved_at);
                            sent + place.provider.settles_for()
                        }
                    },
                },
                expires_at: grant.expires_at,
                kind: place.provider.kind,
                revocable: place.provider.revocable,
                status: request.status(),
                is_stuck: grant.stuck.is_some(),
                ends_under: grant.ends_under().and_then(NonZeroU32::new),
            }),
        }
    }
}

impl Mirror {
    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
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
                known.over.insert(id, version);
            }
        }
    }

    fn begin_reading(&self) {
        let mut known = self.lock();
        known.reading += 1;
        known.over.clear();
    }

    /// What was not seen in this reading is not live any more.
    fn end_reading(&self) {
        let mut known = self.lock();
        let reading = known.reading;
        let unseen = known.live.iter().filter(|(_, it)| it.seen_in != reading);
        let unseen: Vec<RequestId> = unseen.map(|(id, _)| *id).collect();
        unseen.into_iter().for_each(|id| known.remove(id));
    }

    /// The store is asked something. Who drops the question without having heard an answer has
    /// learned nothing.
    pub(super) fn asks(&self, what: Asked, now: Timestamp) -> Asking<'_> {
        let mut known = self.lock();
        let asked = known.asked(what);
        let is_first = asked.is_none();
        asked.get_or_insert(now);
        let state = match is_first {
            true => Question::First,
            false => Question::Another,
        };
        Asking {
            mirror: self,
            what,
            state,
        }
    }

    /// The next end after this instant.
    fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let known = self.lock();
        let after = (now, RequestId::LAST);
        let mut ends = known.ends.range((Bound::Excluded(after), Bound::Unbounded));
        // What is verified absent has ended.
        let settles = |id: &RequestId| {
            let live = known.live.get(id);
            live.is_some_and(|it| it.status == Status::Settling)
        };
        ends.find(|(_, id)| !settles(id)).map(|(at, _)| *at)
    }
}

/// A question to the store.
pub(super) struct Asking<'m> {
    mirror: &'m Mirror,
    what: Asked,
    state: Question,
}

/// How far a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// All before it were answered.
    First,
    /// Others wait as well.
    Another,
    /// It is over.
    Over,
}

impl Asking<'_> {
    /// The store answered, whatever it said.
    pub(super) fn answered(mut self) {
        self.state = Question::Over;
        *self.mirror.lock().asked(self.what) = None;
    }

    /// It did not, or could not do what it was asked.
    pub(super) fn failed(mut self) {
        self.state = Question::Over;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.state == Question::First {
            *self.mirror.lock().asked(self.what) = None;
        }
    }
}

impl Known {
    /// What had its end by this instant and can be taken away, the longest over first.
    pub(super) fn past(&self, now: Timestamp) -> impl Iterator<Item = (RequestId, &Mirrored)> {
        let past = self.ends.iter().take_while(move |(at, _)| *at <= now);
        past.filter_map(|(_, id)| Some((*id, self.live.get(id)?)))
    }

    fn insert(&mut self, id: RequestId, live: Mirrored) {
        self.remove(id);
        if live.revocable {
            self.ends.insert((live.expires_at, id));
        }
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
}
