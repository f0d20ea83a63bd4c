//! The imperative shell: load, look up, decide, commit, act, record. Everything that it does is
//! judged by [`crate::lifecycle`]; everything that it touches is a port.

mod announce;
mod background;
mod caps;
mod clock;
mod collect;
mod drift;
mod eligible;
mod inputs;
mod lookup;
mod mirror;
mod offers;
mod people;
mod proof;
mod reading;
mod stand_in;
mod tend;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_util::future::join;

pub use announce::{HandedOver, MoreToSay, PAGER, Taken};
pub use background::{Background, HOLDERS, USES, Use};
pub use clock::{ClockOffset, ClockTrust, TIME_KEPT_EVERY, Witness, known_time};
pub use drift::{Drift, Drifted, Outcome, Progress, Reconciliation};
pub use eligible::{Eligible, Own, Reach, Recent, eligible};
pub use mirror::Live;
use mirror::{Asked, Noted};
pub use offers::Found;
pub use people::{Collected, NewRequest, Reading, Verb};
pub use proof::{
    AuditReport, CHECKPOINT_EVERY, ExportedAudit, Problem, last_checkpoint, verify_audit,
};
pub use reading::{Extent, Listed};
pub use stand_in::STORE_AWAY_AFTER;
pub use tend::LEFT_ALONE;

use crate::audit::{Actor, AuditEvent, ChainHead, Sealed, SystemFact};
use crate::catalog::{Catalog, EntitlementId, ProviderName};
use crate::lifecycle::{CLOCKS_DIFFER, Readiness, Refusal, Rules, Transition};
use crate::policy::Policy;
use crate::ports::{
    Clock, Commit, CommitError, Counter, Directory, Due, ErrorKind, Idempotency, Notifier,
    PROFILE_REMEMBERED_FOR, Pager, PortError, Provisioner, Random, RequestStore, RowChange,
    SystemAppend, Touch,
};
use crate::provider::{BadDescription, Kind};
use crate::request::{AccessRequest, RequestId};
use crate::time::Timestamp;

/// Facts about people may be this old when a decision on them is committed.
pub const FACTS_OLDEST: Duration = Duration::from_secs(5);
/// How long after a directory was first asked its answers may be committed on. They may have been a
/// little old when it was asked.
const FACTS_FRESH_FOR: Duration = FACTS_OLDEST.saturating_sub(PROFILE_REMEMBERED_FOR);
/// How often facts that grew too old are looked up again.
const LOOK_UPS: u32 = 3;
/// How often a command is judged again after another change came first.
const TRIES: u32 = 5;
/// How often a fact of no request is sealed again behind another writer's.
const APPENDS: u32 = 50;
/// Offsets of our clock above this stop everything that gives access.
pub const CLOCK_OFF: Duration = CLOCKS_DIFFER;
/// The small row that holds the pause flag.
const FLAGS: &str = "flag";
const PAUSED: &str = "paused";

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The domain said no. The sentence is for whoever asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The world failed. The sentence is for the log.
    #[error(transparent)]
    Failed(#[from] PortError),
}

impl From<CommitError> for EngineError {
    fn from(error: CommitError) -> Self {
        let failed = |kind| PortError::nothing_done("store", "commit", kind);
        Self::Failed(match error {
            CommitError::Port(error) => error,
            CommitError::Conflict => failed(ErrorKind::Conflict),
            CommitError::CounterFull { .. } => failed(ErrorKind::Conflict),
            CommitError::InputDone => return Refusal::InputDone.into(),
            CommitError::TooLarge { .. } => failed(ErrorKind::Misconfigured),
        })
    }
}

/// What is committed along with a transition.
#[derive(Debug, Default)]
struct Along {
    idempotency: Option<Idempotency>,
    /// The input of the inbox that asked for it, which is done with it.
    input: Option<String>,
    /// Small rows.
    rows: Vec<RowChange>,
}

/// What an engine is made of.
pub struct EngineParts {
    /// Remembers.
    pub store: Arc<dyn RequestStore>,
    /// Knows people.
    pub directory: Arc<dyn Directory>,
    /// Give and take access, by configured name.
    pub provisioners: BTreeMap<ProviderName, Arc<dyn Provisioner>>,
    /// Tell people and systems.
    pub notifiers: Vec<Arc<dyn Notifier>>,
    /// Wakes somebody up.
    pub pager: Arc<dyn Pager>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Rolls the dice.
    pub random: Arc<dyn Random>,
    /// Who may do what.
    pub policy: Policy,
    /// What can be asked for.
    pub catalog: Catalog,
}

impl fmt::Debug for EngineParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let providers: Vec<_> = self.provisioners.keys().collect();
        f.debug_struct("EngineParts")
            .field("provisioners", &providers)
            .finish_non_exhaustive()
    }
}

/// A configuration that an engine refuses.
#[derive(Debug, thiserror::Error)]
pub enum BadParts {
    /// A provider whose access could outlive every means of ending it.
    #[error("provider {provider}: {why}")]
    Provider {
        /// Which.
        provider: ProviderName,
        /// Why not.
        why: BadDescription,
    },
    /// A fallback that could never be given.
    #[error(
        "{entitlement} cannot fall back to {to}: both must be credentials of the catalogue, of one \
         tier, and what is fallen back to must not fall back itself"
    )]
    Fallback {
        /// What falls back.
        entitlement: EntitlementId,
        /// To what.
        to: EntitlementId,
    },
}

impl EngineParts {
    /// Refuses a fallback that would give another kind of access, or under other terms.
    fn check_fallbacks(&self) -> Result<(), BadParts> {
        let minted = |id: &EntitlementId| {
            let provisioner = self.provisioners.get(&id.provider());
            // What another process serves is checked there.
            provisioner.is_none_or(|it| it.describe().kind == Kind::Minted)
        };
        for entitlement in self.catalog.iter() {
            let Some(to) = &entitlement.fallback else {
                continue;
            };
            let instead = self.catalog.get(to);
            let fits = instead.is_some_and(|it| {
                let last = it.fallback.is_none();
                last && it.tier == entitlement.tier && minted(to) && minted(&entitlement.id)
            });
            if !fits {
                return Err(BadParts::Fallback {
                    entitlement: entitlement.id.clone(),
                    to: to.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The domain at work. Cheap to share behind an `Arc`; any number may run on one store.
pub struct Engine {
    parts: EngineParts,
    time: clock::Time,
    /// What can be found, replaced as a whole.
    index: RwLock<Arc<offers::Index>>,
    outbox: announce::Outbox,
    /// Inputs that wait for their door.
    found: inputs::Found,
    /// The live grants, without the store.
    mirror: mirror::Mirror,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("trust", &self.time.trust)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Checks the parts and puts them together.
    pub fn new(mut parts: EngineParts, trust: ClockTrust) -> Result<Self, BadParts> {
        for (name, provisioner) in &parts.provisioners {
            let checked = provisioner.describe().check();
            checked.map_err(|why| BadParts::Provider {
                provider: name.clone(),
                why,
            })?;
        }
        parts.check_fallbacks()?;
        parts
            .notifiers
            .push(Arc::new(announce::Paging::new(parts.pager.clone())));
        let index = offers::Index::of(&parts.catalog, BTreeMap::new());
        let time = clock::Time::new(Arc::clone(&parts.clock), trust);
        Ok(Self {
            parts,
            time,
            index: RwLock::new(Arc::new(index)),
            outbox: announce::Outbox::default(),
            found: inputs::Found::default(),
            mirror: mirror::Mirror::default(),
        })
    }

    /// The policy at work.
    pub fn policy(&self) -> &Policy {
        &self.parts.policy
    }

    /// What can be asked for.
    pub fn catalog(&self) -> &Catalog {
        &self.parts.catalog
    }

    /// The store, for reading what is not a command: health, exports.
    pub fn store(&self) -> &Arc<dyn RequestStore> {
        &self.parts.store
    }

    /// Whether this process can reach that provider. What is due at another one is for a process
    /// that can, and must not be taken here.
    pub fn serves(&self, provider: &ProviderName) -> bool {
        self.parts.provisioners.contains_key(provider)
    }

    /// The pager, for alarms that are about no request.
    pub fn pager(&self) -> &Arc<dyn Pager> {
        &self.parts.pager
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            policy: &self.parts.policy,
            catalog: &self.parts.catalog,
        }
    }

    async fn readiness(&self) -> Result<Readiness, PortError> {
        let off_by = self.clock_offset().by();
        if off_by > CLOCK_OFF {
            return Ok(Readiness::ClockOff { off_by });
        }
        let paused = self.is_paused().await?;
        Ok(if paused {
            Readiness::Paused
        } else {
            Readiness::Ready
        })
    }

    /// Whether an operator paused new access.
    pub async fn is_paused(&self) -> Result<bool, PortError> {
        let row = self.parts.store.row(FLAGS, PAUSED).await?;
        Ok(row.is_some_and(|row| row.value == "true"))
    }

    // ---------------------------------------------------------------------------------- store

    /// Loads a record and learns from its newest commit what time it is.
    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        let request = self.parts.store.load(id).await?;
        if let Some(request) = &request {
            self.observe(request.updated_at);
            self.mirror.saw(request);
        }
        Ok(request)
    }

    /// A record with its chain.
    async fn story(
        &self,
        id: RequestId,
    ) -> Result<Option<(AccessRequest, Vec<Sealed>)>, PortError> {
        let story = self.parts.store.story(id).await?;
        if let Some((request, _)) = &story {
            self.observe(request.updated_at);
        }
        Ok(story)
    }

    /// Records that are due now, the longest due first and revokes before all else.
    pub async fn due(&self, limit: usize) -> Result<Vec<Due>, PortError> {
        let (store, now) = (&self.parts.store, self.now());
        let asking = self.mirror.asks(Asked::Read, now);
        let (newest, due) = join(self.newest_time(), store.due(now, limit)).await;
        let due = match due {
            Ok(due) => due,
            Err(error) => {
                asking.failed();
                return Err(error);
            }
        };
        asking.answered();
        let at = match newest {
            Ok(Some(at)) => at,
            Ok(None) => return Ok(due),
            // What is due is due by our clock as well. Whatever is loaded teaches the time too.
            Err(error) => {
                tracing::warn!(error = %error.chain(), "the newest commit cannot be read");
                return Ok(due);
            }
        };
        self.observe(at);
        // A clock that is far behind finds nothing due, and so would never learn that it is.
        match at > now {
            true => store.due(self.now(), limit).await,
            false => Ok(due),
        }
    }

    /// Commits a transition with whatever else must hold, and hands over what is to be told of it.
    async fn commit(&self, transition: Transition, along: Along) -> Result<(), CommitError> {
        let changes = transition.changes;
        let told = changes.iter().filter(|change| !change.events.is_empty());
        let deliveries: Vec<Touch> = told
            .flat_map(|change| self.touches(&change.record))
            .collect();
        let takes = deliveries.iter().any(|touch| touch.take_until.is_some());
        let noted: Vec<Noted> = changes.iter().map(|it| Noted::of(&it.record)).collect();
        let written = takes.then(|| changes.clone());
        let at = changes.iter().map(|change| change.record.updated_at).max();
        let asking = self.mirror.asks(Asked::Write, self.now());
        let taken = self.parts.store.commit(Commit {
            changes,
            unchanged: transition.unchanged,
            slots: transition.slot.into_iter().collect(),
            counters: transition.counters,
            inbox_done: along.input,
            idempotency: along.idempotency,
            rows: along.rows,
            deliveries,
            at,
            good_for: transition.good_for,
            ..Commit::default()
        });
        let taken = taken.await;
        match &taken {
            Err(CommitError::Port(_)) => asking.failed(),
            // That is found without asking.
            Err(CommitError::TooLarge { .. }) => drop(asking),
            Ok(_) | Err(_) => asking.answered(),
        }
        let taken = taken?;
        noted.into_iter().for_each(|noted| self.mirror.note(noted));
        at.into_iter().for_each(|at| self.observe(at));
        self.pass_on(taken, &written.unwrap_or_default());
        Ok(())
    }

    /// Appends a fact of no request to the system chain, with the small rows it speaks of.
    pub async fn record_system(
        &self,
        actor: &Actor,
        fact: SystemFact,
        rows: Vec<RowChange>,
    ) -> Result<(), CommitError> {
        append_system(self.parts.store.as_ref(), self.now(), actor, fact, rows).await
    }

    /// The same, unless this counter is at its ceiling.
    async fn record_counted(
        &self,
        actor: &Actor,
        fact: SystemFact,
        counter: Counter,
    ) -> Result<(), CommitError> {
        let counters = vec![counter];
        let commit = Commit {
            counters,
            at: Some(self.now()),
            ..Commit::default()
        };
        append_behind(self.parts.store.as_ref(), actor, &fact, commit).await
    }

    // ---------------------------------------------------------------------------- small helpers

    fn provisioner(&self, name: &ProviderName) -> Result<&Arc<dyn Provisioner>, PortError> {
        self.parts.provisioners.get(name).ok_or_else(|| {
            PortError::nothing_done("engine", "find the provider", ErrorKind::Misconfigured)
                .because(format!("no provider named {name} is configured"))
        })
    }

    fn provisioner_of(&self, request: &AccessRequest) -> Result<&Arc<dyn Provisioner>, PortError> {
        self.provisioner(&request.place().entitlement.provider())
    }

    /// Up to a quarter of a second, to spread out tries that would otherwise meet.
    fn jitter(&self) -> Duration {
        let mut bytes = [0; 2];
        self.parts.random.fill(&mut bytes);
        Duration::from_micros(u64::from(u16::from_le_bytes(bytes)) * 4)
    }

    fn new_id(&self, at: Timestamp) -> RequestId {
        let mut bytes = [0; 10];
        self.parts.random.fill(&mut bytes);
        RequestId::new(at, bytes)
    }
}

/// Appends a fact of no request to the system chain of a store, with the small rows it speaks of:
/// for the verbs of an operator who has the store open and no engine. Where another writer came
/// first it is sealed again behind the new head.
pub async fn append_system(
    store: &dyn RequestStore,
    at: Timestamp,
    actor: &Actor,
    fact: SystemFact,
    rows: Vec<RowChange>,
) -> Result<(), CommitError> {
    let commit = Commit {
        rows,
        at: Some(at),
        ..Commit::default()
    };
    append_behind(store, actor, &fact, commit).await
}

async fn append_behind(
    store: &dyn RequestStore,
    actor: &Actor,
    fact: &SystemFact,
    with: Commit,
) -> Result<(), CommitError> {
    let at = with.at.unwrap_or_default();
    for _ in 0..APPENDS {
        let expected: ChainHead = store.system_head().await?;
        let mut head = expected;
        let events = vec![head.seal_system(at, actor, fact.clone())];
        let commit = Commit {
            system: Some(SystemAppend { expected, events }),
            ..with.clone()
        };
        match store.commit(commit).await {
            Err(CommitError::Conflict) => {}
            done => return done.map(drop),
        }
    }
    Err(CommitError::Conflict)
}

/// An event as it was stored. One that cannot be read is a failure: leaving it out would be a
/// history with a hole that nobody sees.
fn read_event(sealed: &Sealed) -> Result<AuditEvent, PortError> {
    sealed.event().map_err(|error| {
        let kind = ErrorKind::Misconfigured;
        PortError::nothing_done("engine", "read an audit event", kind).because(error)
    })
}
