//! Proving the audit: checkpoints of the chains of requests inside the system chain, and the
//! verifier that reads all of it back.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::Engine;
use crate::audit::{
    Actor, Broken, ChainHead, SYSTEM_CHAIN, Sealed, SystemFact, verify_chain, verify_link,
    verify_request,
};
use crate::digest::Digest;
use crate::ports::{CommitError, PortError, Query, RECORDS_KEPT, RequestStore, Row, RowChange};
use crate::request::{AccessRequest, RequestId};
use crate::time::Timestamp;

/// The small row that remembers how far the checkpoints have come.
const CHECKPOINTS: &str = "checkpoint";
const LAST: &str = "last";
/// How often the chains are checkpointed, whichever replica does it.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// A checkpoint looks back so far behind the one before, for commits under way and for clocks.
const OVERLAP: Duration = Duration::from_secs(60);
/// At most so many chains in one event.
const HEADS: usize = 500;
/// The verifier reads so many records, or names of chains, at once, and so many chains.
const PAGE: usize = 500;
const AT_ONCE: usize = 32;

impl Engine {
    /// Writes the heads of all chains that moved since the last checkpoint into the system chain,
    /// if that is [`CHECKPOINT_EVERY`] ago. Returns how many there were. Where several replicas
    /// try, one of them wins.
    pub async fn checkpoint(&self) -> Result<usize, CommitError> {
        let store = &self.parts.store;
        let before = store.row(CHECKPOINTS, LAST).await?;
        let since: Option<Timestamp> = before.as_ref().and_then(|row| row.value.parse().ok());
        let until = self.now();
        if since.is_some_and(|since| until < since + CHECKPOINT_EVERY) {
            return Ok(0);
        }
        let heads = self.heads_since(since.map(|since| since - OVERLAP)).await?;
        let row = Row {
            table: CHECKPOINTS,
            key: LAST.to_owned(),
            value: until.to_string(),
        };
        // Whoever moves the row writes the checkpoint.
        let mut rows = vec![RowChange {
            row,
            expected: before.map(|row| row.value),
        }];
        for heads in heads.chunks(HEADS) {
            let heads = heads.to_vec();
            let fact = SystemFact::Checkpoint { heads };
            match self
                .record_system(&Actor::System, fact, std::mem::take(&mut rows))
                .await
            {
                Ok(()) => {}
                Err(CommitError::Conflict) => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        Ok(heads.len())
    }

    async fn heads_since(
        &self,
        updated_since: Option<Timestamp>,
    ) -> Result<Vec<(RequestId, ChainHead)>, PortError> {
        let mut query = Query {
            updated_since,
            limit: HEADS,
            ..Query::default()
        };
        let mut heads = vec![];
        loop {
            let page = self.parts.store.query(&query).await?;
            heads.extend(page.iter().map(|request| (request.id, request.chain)));
            match page.last() {
                Some(last) if page.len() == query.limit => query.after = Some(last.id),
                Some(_) | None => return Ok(heads),
            }
        }
    }
}

/// When the chains were last checkpointed; none where they never were.
pub async fn last_checkpoint(store: &dyn RequestStore) -> Result<Option<Timestamp>, PortError> {
    let row = store.row(CHECKPOINTS, LAST).await?;
    Ok(row.and_then(|row| row.value.parse().ok()))
}

/// Something that the verifier found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A chain is broken.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// There are events without a record.
    #[error("request {0}: there are events without a record")]
    NoRecord(RequestId),
    /// Its record or an event of it is there and cannot be read: damaged, or of a later release.
    #[error("request {request}: {why}")]
    Unreadable {
        /// Which request.
        request: RequestId,
        /// What the store says of it.
        why: String,
    },
    /// A checkpoint names an event that is gone or different.
    #[error("request {request}: event {seq} was there at a checkpoint and is missing or different")]
    Cut {
        /// Which request.
        request: RequestId,
        /// Which event.
        seq: u64,
    },
    /// The copy from before is no measure.
    #[error("the earlier copy is not whole: {0}")]
    Earlier(Broken),
    /// An event of the copy from before is gone or different.
    #[error("chain {chain}: event {seq} is in the earlier copy, and is missing or different here")]
    Differs {
        /// Which chain.
        chain: String,
        /// Which event.
        seq: u64,
    },
}

/// What the verifier found.
#[derive(Debug, Clone, Default)]
pub struct AuditReport {
    /// How many events were read, of all chains.
    pub events: u64,
    /// How many chains of requests.
    pub requests: u64,
    /// What is wrong; empty where all is well.
    pub problems: Vec<Problem>,
}

/// Reads every chain back and checks it: each is whole, follows from hash to hash, ends where its
/// record says and agrees with it; and nothing that a checkpoint saw is gone.
pub async fn verify_audit(store: &dyn RequestStore) -> Result<AuditReport, PortError> {
    let mut report = AuditReport::default();
    let system = verify_system(store, &mut report).await?;
    let seen = seen_at_checkpoints(&system);
    let mut verified = BTreeSet::new();
    let mut query = Query {
        limit: PAGE,
        ..Query::default()
    };
    loop {
        let page = store.query(&query).await?;
        let Some(last) = page.last().map(|request| request.id) else {
            break;
        };
        verified.extend(page.iter().map(|request| request.id));
        let checks = page.into_iter().map(|record| {
            let seen = seen.get(&record.id);
            verify_record(store, record, seen)
        });
        report.count(checks).await?;
        query.after = Some(last);
    }
    // What has a chain and no record.
    let mut after = None;
    loop {
        let ids = store.chains(after, PAGE).await?;
        let Some(last) = ids.last().copied() else {
            break;
        };
        let others: Vec<RequestId> = ids
            .into_iter()
            .filter(|id| !verified.contains(id))
            .collect();
        verified.extend(&others);
        let checks = others
            .into_iter()
            .map(|id| verify_one(store, id, seen.get(&id)));
        report.count(checks).await?;
        after = Some(last);
    }
    // Of what is left neither a record nor an event is there.
    for (request, head) in seen {
        if !verified.contains(&request) {
            let seq = head.seq;
            report.problems.push(Problem::Cut { request, seq });
        }
    }
    Ok(report)
}

/// The events of an export, in the order of each chain, verified as they are read: without the store,
/// and without keeping more of them than their hashes.
#[derive(Debug, Clone, Default)]
pub struct ExportedAudit {
    /// The hashes of each chain as far as it is whole.
    chains: BTreeMap<String, Vec<Digest>>,
    broken: BTreeMap<String, Broken>,
    /// What the checkpoints in it saw of the chains of requests.
    seen: BTreeMap<RequestId, ChainHead>,
    /// When the last of these was written.
    checkpoint_at: Option<Timestamp>,
    events: u64,
}

impl ExportedAudit {
    /// Takes the next event.
    pub fn add(&mut self, sealed: &Sealed) {
        self.events += 1;
        let chain = sealed.chain.as_str();
        if self.broken.contains_key(chain) {
            return;
        }
        let hashes = self.chains.entry(chain.to_owned()).or_default();
        let head = match hashes.last() {
            Some(hash) => ChainHead {
                seq: hashes.len() as u64,
                hash: *hash,
            },
            None => ChainHead::start(chain),
        };
        match verify_link(chain, head, sealed) {
            Ok(head) => hashes.push(head.hash),
            Err(broken) => {
                self.broken.insert(chain.to_owned(), broken);
            }
        }
        if chain == SYSTEM_CHAIN
            && let Ok(event) = sealed.system_event()
            && let SystemFact::Checkpoint { heads } = event.event
        {
            self.seen.extend(heads);
            self.checkpoint_at = Some(event.at);
        }
    }

    /// Whether no event was taken.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// When the newest checkpoint in it was written. What was cut off after that is not missed, but by
    /// a copy from before.
    pub fn checkpoint_at(&self) -> Option<Timestamp> {
        self.checkpoint_at
    }

    /// What is wrong with it: chains that are not whole, events that its own checkpoints saw and it
    /// does not have, and those of an earlier copy that are missing or different.
    pub fn report(self, earlier: Option<&Self>) -> AuditReport {
        let has = |chain: &str, seq: u64, hash: Digest| {
            let place = seq.checked_sub(1).and_then(|it| usize::try_from(it).ok());
            let hashes = self.chains.get(chain);
            // Of a chain that is broken this is known.
            self.broken.contains_key(chain)
                || place.is_some_and(|place| hashes.and_then(|it| it.get(place)) == Some(&hash))
        };
        let cut = self.seen.iter().filter_map(|(request, head)| {
            let (request, seq) = (*request, head.seq);
            let is_there = has(&request.to_string(), seq, head.hash);
            (!is_there).then_some(Problem::Cut { request, seq })
        });
        // What is not whole itself would hide what is missing here.
        let no_measure = earlier.into_iter().flat_map(|it| it.broken.values());
        let no_measure = no_measure.cloned().map(Problem::Earlier);
        let before = earlier.into_iter().flat_map(|it| &it.chains);
        let differs = before.filter_map(|(chain, hashes)| {
            let (seq, hash) = (hashes.len() as u64, *hashes.last()?);
            let chain = chain.clone();
            (!has(&chain, seq, hash)).then_some(Problem::Differs { chain, seq })
        });
        let found: Vec<Problem> = cut.chain(differs).chain(no_measure).collect();
        let is_request = |chain: &&String| chain.as_str() != SYSTEM_CHAIN;
        let requests = self.chains.keys().filter(is_request).count() as u64;
        let broken = self.broken.into_values().map(Problem::from);
        AuditReport {
            events: self.events,
            requests,
            problems: broken.chain(found).collect(),
        }
    }
}

async fn verify_system(
    store: &dyn RequestStore,
    report: &mut AuditReport,
) -> Result<Vec<Sealed>, PortError> {
    let head = store.system_head().await?;
    let mut all: Vec<Sealed> = vec![];
    loop {
        let after = all.last().map_or(0, |sealed| sealed.seq);
        let page = store.system_events(after, 1_000).await?;
        // An event with a number that none has does not lead on.
        let leads_on = page.last().is_some_and(|last| last.seq > after);
        all.extend(page);
        if !leads_on {
            break;
        }
    }
    report.events += all.len() as u64;
    let head_now = store.system_head().await?;
    match verify_chain(SYSTEM_CHAIN, &all) {
        Err(broken) => report.problems.push(broken.into()),
        Ok(found) if found.seq < head.seq => {
            let (recorded, found) = (head.seq, found.seq);
            let chain = SYSTEM_CHAIN.to_owned();
            report.problems.push(
                Broken::Truncated {
                    chain,
                    recorded,
                    found,
                }
                .into(),
            );
        }
        Ok(found) => {
            // The events were read after the head, so there may be more; what it names is there.
            // Behind what it names by now there is none.
            let named = all.iter().find(|sealed| sealed.seq == head.seq);
            let differs = named.is_some_and(|sealed| sealed.hash != head.hash);
            if differs || found.seq > head_now.seq {
                let chain = SYSTEM_CHAIN.to_owned();
                let how = "its head";
                report
                    .problems
                    .push(Broken::Disagrees { chain, how }.into());
            }
        }
    }
    Ok(all)
}

/// How many events a chain has, and what is wrong with it.
type Checked = (u64, Vec<Problem>);

impl AuditReport {
    /// Adds what these find, some of them at once.
    async fn count<C>(&mut self, checks: impl Iterator<Item = C>) -> Result<(), PortError>
    where
        C: Future<Output = Result<Checked, PortError>>,
    {
        let mut checks = std::pin::pin!(stream::iter(checks).buffered(AT_ONCE));
        while let Some((events, problems)) = checks.next().await.transpose()? {
            self.requests += 1;
            self.events += events;
            self.problems.extend(problems);
        }
        Ok(())
    }
}

/// This record against its chain, and the chain against what a checkpoint saw. Where a commit came
/// between the two reads, both are read again.
async fn verify_record(
    store: &dyn RequestStore,
    record: AccessRequest,
    seen: Option<&ChainHead>,
) -> Result<Checked, PortError> {
    match store.events(record.id).await {
        Ok(events) if verify_request(&record, &events).is_ok() => {
            let cut = cut(record.id, &events, seen);
            Ok((events.len() as u64, cut.into_iter().collect()))
        }
        _ => verify_one(store, record.id, seen).await,
    }
}

/// One chain against its record. A commit may come between the two reads, so a mismatch is looked
/// at again.
async fn verify_one(
    store: &dyn RequestStore,
    id: RequestId,
    seen: Option<&ChainHead>,
) -> Result<Checked, PortError> {
    let mut checked = (0, vec![]);
    for _ in 0..3 {
        let mut problems = vec![];
        let record = readable(id, store.load(id).await, &mut problems)?;
        let events = readable(id, store.events(id).await, &mut problems)?;
        match (record, &events) {
            (Some(None), Some(events)) => match may_be_forgotten(store, id, events).await? {
                Ok(true) => {}
                Ok(false) => problems.push(Problem::NoRecord(id)),
                Err(broken) => problems.push(broken.into()),
            },
            (Some(Some(record)), Some(events)) => {
                problems.extend(verify_request(&record, events).err().map(Problem::from));
            }
            // What cannot be read of a record says nothing of its chain.
            (None, Some(events)) => {
                let chain = verify_chain(&id.to_string(), events);
                problems.extend(chain.err().map(Problem::from));
            }
            (_, None) => {}
        }
        let is_sound = problems.is_empty();
        let count = events.as_ref().map_or(0, Vec::len);
        problems.extend(events.and_then(|events| cut(id, &events, seen)));
        checked = (count as u64, problems);
        if is_sound {
            break;
        }
    }
    Ok(checked)
}

/// What was read; what can never be read of one request is a problem of it, and hides no other.
fn readable<T>(
    request: RequestId,
    read: Result<T, PortError>,
    problems: &mut Vec<Problem>,
) -> Result<Option<T>, PortError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind.is_retryable() => Err(error),
        Err(error) => {
            let why = error.chain();
            problems.push(Problem::Unreadable { request, why });
            Ok(None)
        }
    }
}

/// What a checkpoint saw of these events and is not there any more.
fn cut(request: RequestId, events: &[Sealed], seen: Option<&ChainHead>) -> Option<Problem> {
    let head = seen?;
    let is_head = |it: &Sealed| it.seq == head.seq && it.hash == head.hash;
    let seq = head.seq;
    (!events.iter().any(is_head)).then_some(Problem::Cut { request, seq })
}

/// Whether the story that a chain tells was over so long ago that its record may be gone.
async fn may_be_forgotten(
    store: &dyn RequestStore,
    id: RequestId,
    events: &[Sealed],
) -> Result<Result<bool, Broken>, PortError> {
    if let Err(broken) = verify_chain(&id.to_string(), events) {
        return Ok(Err(broken));
    }
    let last = events.last().and_then(|last| last.event().ok());
    let over = last.filter(|last| last.event.status.is_over());
    let newest = store.newest_commit().await?;
    let is_long_ago = |at: Timestamp| newest.is_some_and(|newest| at + RECORDS_KEPT <= newest);
    Ok(Ok(over.is_some_and(|over| is_long_ago(over.at))))
}

/// The newest head of each chain that a checkpoint names: it proves every earlier one.
fn seen_at_checkpoints(system: &[Sealed]) -> BTreeMap<RequestId, ChainHead> {
    let mut seen = BTreeMap::new();
    for event in system.iter().filter_map(|it| it.system_event().ok()) {
        if let SystemFact::Checkpoint { heads } = event.event {
            seen.extend(heads);
        }
    }
    seen
}
