//! The loop that tends: asks the store what is due and pays it, with bounded concurrency per
//! provider, revokes first, and a pause of its own for each record that fails, so that one poison
//! record delays none. The daemon, the sweeper and the simulation run this very loop.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use jit_core::catalog::ProviderName;
use jit_core::engine::{
    CHECKPOINT_EVERY, Engine, EngineError, LEFT_ALONE, MoreToSay, TIME_KEPT_EVERY, Taken,
};
use jit_core::ports::{Delivery, Due, PortError, Random, Urgency};
use jit_core::request::RequestId;
use jit_core::time::Timestamp;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::nudge::{Looks, Nudge};
use crate::observe::{SWEEP_LAST_SUCCESS, UNSERVED_DUE};
use crate::stand_in::{report, stand_in_for_ever};

/// How hard a worker works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// How often the store is asked what is due, where nothing wakes the worker before.
    pub tick: Duration,
    /// Records tended at once for one provider; at least four. Revokes may use all of them,
    /// everything else a quarter.
    pub tasks_per_provider: usize,
    /// A record that takes longer than this is given up for now.
    pub record_deadline: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(250),
            tasks_per_provider: 16,
            record_deadline: Duration::from_secs(60),
        }
    }
}

/// How many due records are asked for at once, beside those under way or put off.
const BATCH: usize = 200;
/// The most that is ever listed at once.
const LONGEST_LOOK: usize = 50_000;
/// How long after its start a worker writes down for the first time what time it is.
const FIRST_KEPT_AFTER: Duration = Duration::from_secs(1);
/// How long a pass tells people of what it did.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(30);
/// How long it is looked for what is known beside a request, before people are told without it.
const LOOK_AROUND: Duration = Duration::from_secs(2);
/// The time that is left for marking a message that was sent.
const TO_MARK: Duration = Duration::from_secs(5);
/// How long records under way, and messages, may take at the stop. A message has longer than any
/// notifier of ours takes for one, so that none is sent and not marked.
const TEND_AT_STOP: Duration = Duration::from_secs(10);
const TELL_AT_STOP: Duration = Duration::from_secs(13);
/// How many messages of one notifier are sent at once.
const ANNOUNCEMENTS: usize = 50;

/// The least time between two looks that are made because something ends.
const LEAST_BETWEEN_ENDS: Duration = Duration::from_millis(2);

/// Tends records until it is told to stop.
pub struct Worker {
    engine: Arc<Engine>,
    random: Arc<dyn Random>,
    settings: WorkerSettings,
    nudge: Nudge,
    running: JoinSet<bool>,
    busy: HashMap<tokio::task::Id, Due>,
    put_off: HashMap<RequestId, PutOff>,
    /// What the last look found due and had no room for, most urgent first: it follows as soon as
    /// something at its provider is done.
    waiting: BTreeMap<ProviderName, VecDeque<Due>>,
    /// Providers that this process does not serve, of which something was due.
    unserved: BTreeSet<ProviderName>,
    /// How many records of theirs the last look listed.
    left_alone: usize,
    /// What was done since this was looked at.
    done: Swept,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("busy", &self.busy.len())
            .finish_non_exhaustive()
    }
}

/// A record that failed, or is left to others, and when it is tried again.
#[derive(Clone, Copy)]
struct PutOff {
    urgency: Urgency,
    failures: u32,
    until: Timestamp,
}

impl Worker {
    /// A worker on this engine.
    pub fn new(engine: Arc<Engine>, random: Arc<dyn Random>, settings: WorkerSettings) -> Self {
        let settings = WorkerSettings {
            tasks_per_provider: settings.tasks_per_provider.max(4),
            ..settings
        };
        Self {
            engine,
            random,
            settings,
            nudge: Nudge::default(),
            running: JoinSet::new(),
            busy: HashMap::new(),
            put_off: HashMap::new(),
            waiting: BTreeMap::new(),
            unserved: BTreeSet::new(),
            left_alone: 0,
            done: Swept::default(),
        }
    }

    /// Looks at once when this is told, instead of at the next tick.
    pub fn woken_by(mut self, nudge: &Nudge) -> Self {
        self.nudge = nudge.clone();
        self
    }

    /// Tends and announces until `stop` is ready, then lets what is under way come to its end for
    /// at most ten seconds. Dropping the future stops everything at once, like a crash.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let (stopping, told) = watch::channel(());
        let (engine, nudge) = (self.engine.clone(), self.nudge.clone());
        let announcing = announce_for_ever(engine, nudge, self.settings.tick, told);
        tokio::pin!(announcing);
        let checkpoints = checkpoint_for_ever(self.engine.clone());
        let keeping_time = keep_time_for_ever(self.engine.clone());
        let standing_in = stand_in_for_ever(self.engine.clone(), self.settings);
        tokio::select! {
            biased;
            () = stop => {}
            // Beside the rest, and not behind it: what waits for the store holds up none of this.
            () = standing_in => {}
            () = self.tend_for_ever() => {}
            () = &mut announcing => {}
            () = checkpoints => {}
            () = keeping_time => {}
        }
        // Nothing more is taken; what was taken is sent, and marked, while records are tended.
        drop(stopping);
        let tending = async {
            let rest = async { while self.running.join_next().await.is_some() {} };
            if tokio::time::timeout(TEND_AT_STOP, rest).await.is_err() {
                tracing::warn!("some records were tended at the end; others will go on");
            }
        };
        let telling = async {
            if tokio::time::timeout(TELL_AT_STOP, announcing)
                .await
                .is_err()
            {
                tracing::warn!("something was being told at the end; it may be told again");
            }
        };
        join(tending, telling).await;
        report(&self.engine).await;
        checkpoint(&self.engine).await;
    }

    async fn tend_for_ever(&mut self) {
        let mut looks = self.nudge.looks_for_duties(self.settings.tick);
        loop {
            match self.start_due().await {
                Ok(_) => self.beat(),
                Err(error) => {
                    tracing::error!(error = %error.chain(), "the store cannot be asked");
                    // When it can, what was done without it is told before anything else is begun.
                    self.waiting.clear();
                }
            }
            // What time makes due is not left to the tick.
            let end = self.engine.until_next_end().unwrap_or(self.settings.tick);
            let end = end.max(LEAST_BETWEEN_ENDS);
            let next = tokio::time::timeout(end, looks.next());
            tokio::pin!(next);
            loop {
                tokio::select! {
                    biased;
                    _ = &mut next => break,
                    Some(done) = self.running.join_next_with_id() => self.finish(done),
                }
            }
        }
    }

    /// The pulse that a dead-man alert listens to: everything that is due is seen to, and no end
    /// failed.
    fn beat(&self) {
        let failed = |it: &PutOff| it.urgency == Urgency::Revoke && it.failures > 0;
        if !self.put_off.values().any(failed) {
            metrics::gauge!(SWEEP_LAST_SUCCESS).set(seconds(self.engine.now()));
        }
    }

    /// Tends everything that is due now and whatever becomes due by it, then returns how many
    /// records were tended and how many of them failed.
    pub async fn sweep(&mut self) -> Result<Swept, PortError> {
        self.done = Swept::default();
        // Each pass pays all that was due at its beginning; a record owes a few things in a row.
        for _ in 0..8 {
            let started = self.start_due().await?;
            if started == 0 && self.running.is_empty() {
                break;
            }
            let mut looked = Instant::now();
            while let Some(done) = self.running.join_next_with_id().await {
                let under_way = self.running.len();
                self.finish(done);
                // What waited and follows is known already; what became due meanwhile is not.
                let follows = self.running.len() > under_way;
                if !follows || looked.elapsed() >= self.settings.tick {
                    self.start_due().await?;
                    looked = Instant::now();
                }
            }
        }
        // A notifier that hangs must not make a pass endless.
        let announcing = async {
            while self.engine.announce_due(ANNOUNCEMENTS).await? == ANNOUNCEMENTS {}
            Ok::<(), PortError>(())
        };
        match tokio::time::timeout(ANNOUNCE_WITHIN, announcing).await {
            Ok(done) => done?,
            Err(_) => tracing::warn!("not everything could be told in this pass"),
        }
        checkpoint(&self.engine).await;
        keep_time(&self.engine).await;
        self.beat();
        Ok(self.done)
    }

    /// Starts what is due and not held back; returns how many were started. It looks as far as there
    /// is anything, so that a backlog at one provider hides nobody else's revokes.
    async fn start_due(&mut self) -> Result<usize, PortError> {
        let mut limit = BATCH + self.busy.len() + self.put_off.len() + self.left_alone;
        let mut started = 0;
        loop {
            let engine = self.engine.clone();
            let look = async {
                let due = engine.due(limit).await?;
                // What was done while the store was away comes before all else, and holds up nothing.
                report(&engine).await;
                Ok::<_, PortError>(due)
            };
            let due = self.meanwhile(look).await?;
            let is_full = due.len() == limit;
            started += self.start_some(due);
            if !is_full || limit >= LONGEST_LOOK {
                return Ok(started);
            }
            limit = (limit * 4).min(LONGEST_LOOK);
        }
    }

    /// Waits for this look; what is done before it ends makes room for what waits.
    async fn meanwhile<T>(&mut self, look: impl Future<Output = T>) -> T {
        tokio::pin!(look);
        loop {
            tokio::select! {
                biased;
                seen = &mut look => return seen,
                Some(done) = self.running.join_next_with_id() => self.finish(done),
            }
        }
    }

    /// Starts those of these that may be; returns how many. The others wait for room.
    fn start_some(&mut self, due: Vec<Due>) -> usize {
        let now = self.engine.now();
        let due = self.served(due);
        let listed: HashSet<RequestId> = due.iter().map(|due| due.id).collect();
        // A record that is no longer due was mended by somebody.
        self.put_off
            .retain(|id, put_off| listed.contains(id) || now < put_off.until);
        let busy = self.under_way();
        let mut load = self.load_by_provider();
        let mut started = 0;
        self.waiting.clear();
        for due in due {
            if self.is_held(&due, now, &busy) {
                continue;
            }
            if self.has_room(&due, &mut load) {
                self.start(due);
                started += 1;
            } else {
                let queue = self.waiting.entry(due.provider.clone()).or_default();
                queue.push_back(due);
            }
        }
        started
    }

    fn under_way(&self) -> HashSet<(RequestId, Urgency)> {
        let under_way = self.busy.values();
        under_way.map(|due| (due.id, due.urgency)).collect()
    }

    /// Whether this record is under way, or put off. A revoke waits for nothing else that its record
    /// owes: whoever looks at the access slowly, or failed to, finds that the revoke came first.
    fn is_held(&self, due: &Due, now: Timestamp, busy: &HashSet<(RequestId, Urgency)>) -> bool {
        let holds = |held: Urgency| held == Urgency::Revoke || due.urgency == Urgency::Other;
        let put_off = self.put_off.get(&due.id);
        let waits = put_off.is_some_and(|it| now < it.until && holds(it.urgency));
        let is_busy = |held| busy.contains(&(due.id, held)) && holds(held);
        waits || is_busy(Urgency::Revoke) || is_busy(Urgency::Other)
    }

    /// Starts what waited for something at this provider to be done.
    fn start_waiting(&mut self, provider: &ProviderName) {
        let (now, busy) = (self.engine.now(), self.under_way());
        let mut load = self.load_by_provider();
        let mut queue = self.waiting.remove(provider).unwrap_or_default();
        // Revokes come before everything else, so nobody behind the first one has room either.
        while let Some(due) = queue.pop_front() {
            if self.is_held(&due, now, &busy) {
                continue;
            }
            if !self.has_room(&due, &mut load) {
                queue.push_front(due);
                break;
            }
            self.start(due);
        }
        if !queue.is_empty() {
            self.waiting.insert(provider.clone(), queue);
        }
    }

    /// Leaves out what is due at providers that this process does not serve: another one has it. Says
    /// so once for each of them. What is due there for long is tended all the same: then nobody has
    /// it, and it must be flagged.
    fn served(&mut self, due: Vec<Due>) -> Vec<Due> {
        let now = self.engine.now();
        let (mut served, others): (Vec<_>, Vec<_>) = due
            .into_iter()
            .partition(|due| self.engine.serves(&due.provider));
        self.left_alone = others.len();
        let mut counts: BTreeMap<ProviderName, usize> = BTreeMap::new();
        for due in others {
            *counts.entry(due.provider.clone()).or_default() += 1;
            if now.since(due.wake_at) >= LEFT_ALONE {
                served.push(due);
            }
        }
        for provider in counts.keys() {
            if self.unserved.insert(provider.clone()) {
                tracing::warn!(
                    %provider,
                    "the store has records of a provider that this configuration does not name; \
                     they are left to a process that serves it; here they are only flagged when they are \
                     late",
                );
            }
        }
        for provider in &self.unserved {
            let count = counts.get(provider).copied().unwrap_or_default();
            let name = provider.to_string();
            metrics::gauge!(UNSERVED_DUE, "provider" => name).set(count as f64);
        }
        served
    }

    /// Tasks under way by provider: all of them, and those that are not revokes.
    fn load_by_provider(&self) -> BTreeMap<ProviderName, (usize, usize)> {
        let mut load: BTreeMap<ProviderName, (usize, usize)> = BTreeMap::new();
        for due in self.busy.values() {
            let (all, others) = load.entry(due.provider.clone()).or_default();
            *all += 1;
            *others += usize::from(due.urgency == Urgency::Other);
        }
        load
    }

    /// Counts a record in, unless its provider has enough to do.
    fn has_room(&self, due: &Due, load: &mut BTreeMap<ProviderName, (usize, usize)>) -> bool {
        let (all, others) = load.entry(due.provider.clone()).or_default();
        let tasks = self.settings.tasks_per_provider;
        let room = match due.urgency {
            Urgency::Revoke => *all < tasks,
            Urgency::Other => *all < tasks && *others < tasks / 4,
        };
        if room {
            *all += 1;
            *others += usize::from(due.urgency == Urgency::Other);
        }
        room
    }

    fn start(&mut self, due: Due) {
        let (engine, id, deadline) = (self.engine.clone(), due.id, self.settings.record_deadline);
        let task = self.running.spawn(async move {
            match tokio::time::timeout(deadline, engine.tend(id)).await {
                Ok(Ok(())) => return true,
                Ok(Err(EngineError::Refused(refusal))) => {
                    tracing::error!(request.id = %id, refusal = %refusal, "a duty was refused");
                }
                Ok(Err(EngineError::Failed(error))) => tracing::error!(
                    request.id = %id, error = %error.chain(),
                    "a record could not be tended and will be tried again",
                ),
                Err(_) => tracing::error!(request.id = %id, "tending a record took too long"),
            }
            false
        });
        self.busy.insert(task.id(), due);
    }

    /// Takes a task that ended off the list. Where it failed, its record is tried again, and what
    /// waits for room is left to the next look: it may fail in the same way.
    fn finish(&mut self, done: Result<(tokio::task::Id, bool), JoinError>) {
        let (task, tended) = match done {
            Ok(done) => done,
            Err(error) => {
                // What it said stays out of the log: it may quote what the process holds.
                let request = self.busy.get(&error.id()).map(|due| due.id.to_string());
                tracing::error!(request.id = request, "tending a record panicked");
                (error.id(), false)
            }
        };
        self.done.tended += 1;
        self.done.failed += usize::from(!tended);
        let Some(due) = self.busy.remove(&task) else {
            return;
        };
        if tended {
            self.start_waiting(&due.provider);
        }
        let Due { id, urgency, .. } = due;
        if tended && !self.engine.serves(&due.provider) {
            // It stays due, and there is nothing more to do for it here.
            let until = self.engine.now() + LEFT_ALONE;
            let put_off = PutOff {
                urgency,
                failures: 0,
                until,
            };
            self.put_off.insert(id, put_off);
            return;
        }
        if tended {
            self.put_off.remove(&id);
            return;
        }
        let failures = self.put_off.get(&id).map_or(0, |put_off| put_off.failures);
        let pause = Duration::from_secs(1 << failures.min(6)).min(Duration::from_secs(60));
        let until = self.engine.now() + pause + self.jitter();
        self.put_off.insert(
            id,
            PutOff {
                urgency,
                failures: failures.saturating_add(1),
                until,
            },
        );
    }

    fn jitter(&self) -> Duration {
        let mut byte = [0];
        self.random.fill(&mut byte);
        Duration::from_millis(u64::from(byte[0]))
    }
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Records that were tended.
    pub tended: usize,
    /// Those among them that failed; they are tried again by the next pass.
    pub failed: usize,
}

/// Announces through each notifier in a loop of its own: a chat that hangs holds up no page, also
/// none that becomes due while it hangs. Ends once it is told to stop and what was taken is told.
async fn announce_for_ever(
    engine: Arc<Engine>,
    nudge: Nudge,
    tick: Duration,
    stop: watch::Receiver<()>,
) {
    let loops = engine.notifiers().map(|notifier| {
        let looks = nudge.looks_for(notifier, tick);
        announce_through(&engine, notifier, looks, stop.clone())
    });
    join_all(loops).await;
}

/// Announces through one notifier, so many messages at once; none of them waits for another.
async fn announce_through(
    engine: &Engine,
    notifier: &'static str,
    mut looks: Looks,
    mut stop: watch::Receiver<()>,
) {
    let mut handed_over = engine.hand_over(notifier);
    let mut under_way = FuturesUnordered::new();
    let send = |taken: Taken| send(engine, taken);
    // Told by the end of whoever tells.
    while stop.has_changed().is_ok() {
        while under_way.len() >= ANNOUNCEMENTS {
            under_way.next().await;
        }
        // What is ours already goes before what anybody may take.
        while under_way.len() < ANNOUNCEMENTS
            && let Some(Some(taken)) = handed_over.next().now_or_never()
        {
            under_way.push(send(taken));
        }
        let room = ANNOUNCEMENTS - under_way.len();
        if room == 0 {
            continue;
        }
        let mut again = false;
        let take = engine.take_announcements(notifier, room);
        tokio::pin!(take);
        let taken = loop {
            let is_full = under_way.len() >= ANNOUNCEMENTS;
            tokio::select! {
                biased;
                taken = &mut take => break taken,
                Some(taken) = handed_over.next(), if !is_full => under_way.push(send(taken)),
                Some(more) = under_way.next(), if !under_way.is_empty() => {
                    again |= more == MoreToSay::Yes;
                }
            }
        };
        let failed = taken.is_err();
        let taken = taken.unwrap_or_else(|error| {
            tracing::error!(notifier, error = %error.chain(), "nothing can be announced");
            Vec::new()
        });
        // There may be more than there was room for.
        again |= taken.len() == room;
        under_way.extend(taken.into_iter().map(send));
        let next = async {
            match failed {
                // At once it would fail again.
                true => looks.tick().await,
                false => looks.next().await,
            }
        };
        tokio::pin!(next);
        while failed || !again {
            let is_full = under_way.len() >= ANNOUNCEMENTS;
            tokio::select! {
                biased;
                _ = stop.changed() => break,
                () = &mut next, if !is_full => break,
                Some(taken) = handed_over.next(), if !is_full => under_way.push(send(taken)),
                Some(more) = under_way.next(), if !under_way.is_empty() => {
                    // What did not fit may be due.
                    again |= is_full || more == MoreToSay::Yes;
                }
            }
        }
    }
    handed_over.close();
    while let Some(taken) = handed_over.next().await {
        under_way.push(send(taken));
    }
    while under_way.next().await.is_some() {}
}

async fn send(engine: &Engine, taken: Taken) -> MoreToSay {
    let time = time_for(engine, &taken.delivery);
    // It waited for so long that somebody else may have it.
    if time.is_zero() {
        return MoreToSay::Yes;
    }
    // Nobody waits for long for what is only good to know.
    let look = tokio::time::sleep(time.min(LOOK_AROUND));
    engine.announce(taken, look, tokio::time::sleep(time)).await
}

/// How long sending this may take: it is over before somebody else takes it.
fn time_for(engine: &Engine, taken: &Delivery) -> Duration {
    let until = taken.taken_until.unwrap_or_default();
    until.since(engine.now()).saturating_sub(TO_MARK)
}

async fn checkpoint(engine: &Engine) {
    if let Err(error) = engine.checkpoint().await {
        tracing::error!(error = %error, "the audit could not be checkpointed");
    }
}

async fn checkpoint_for_ever(engine: Arc<Engine>) {
    loop {
        checkpoint(&engine).await;
        tokio::time::sleep(CHECKPOINT_EVERY).await;
    }
}

/// Returns after which time it is to be done again.
async fn keep_time(engine: &Engine) -> Duration {
    engine.keep_time().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "what time it is could not be written down");
        TIME_KEPT_EVERY
    })
}

async fn keep_time_for_ever(engine: Arc<Engine>) {
    // By then others were asked whether our clock is right.
    tokio::time::sleep(FIRST_KEPT_AFTER).await;
    loop {
        tokio::time::sleep(keep_time(&engine).await).await;
    }
}

/// An instant as a Unix time in seconds, as metrics show it.
fn seconds(at: Timestamp) -> f64 {
    at.since(Timestamp::MIN).as_secs_f64()
}
