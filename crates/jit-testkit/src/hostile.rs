//! A provider that does everything a real one may do to its caller, and a ledger of what really was
//! so. It has no tasks of its own: what is to happen waits in a queue and happens when anybody
//! looks at a later instant, so that thousands of virtual hours cost only their calls.

mod faults;
mod handle;
mod ledger;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Clock, Effect, ErrorKind, PortError, Random};
use jit_core::provider::{
    Description, Handle, Kind, NativeExpiry, Parameters, Presence, SlotKey, Target,
};

use faults::Dice;
pub use faults::{Fault, Hostility, Poison};
pub use handle::HostileHandle;
pub use ledger::{Call, Fate, Hand, Interval, Ledger, Operation};
use world::{Plan, World};

/// The longest that a call of an adapter takes here, and how long it waits for a reply.
pub const SLOWEST_CALL: Duration = Duration::from_secs(10);
/// How many holders a page of a listing has.
pub const PAGE_SIZE: usize = 3;
/// How soon after a call other hands come.
const FOREIGN_WITHIN: Duration = Duration::from_secs(120);

const ADAPTER: &str = "hostile";

/// What the provider is, and says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nature {
    /// The realm of its targets.
    pub realm: String,
    /// What `describe` says; all of it is kept.
    pub description: Description,
    /// Whether an accepted call is in effect at once. A minted credential always is.
    pub apply: Apply,
    /// The part of V that the provider declares for the sake of wrong clocks and does not use.
    pub skew_allowance: Duration,
}

/// When an accepted call takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apply {
    /// When it is accepted.
    AtOnce,
    /// At any time within A.
    Later,
}

/// The hostile provider: one world, shared by all clones and all handles.
///
/// Its clock is the true time. Where calls take time they wait by tokio's clock, so the true time
/// must be tokio's, paused or not.
#[derive(Clone)]
pub struct HostileProvider {
    shared: Arc<Shared>,
}

struct Shared {
    nature: Nature,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    state: Mutex<State>,
}

/// What a listing tells of what stands.
#[derive(Debug, Clone, Copy)]
enum Listing {
    OfTargets,
    OfSlots,
}

struct State {
    world: World,
    hostility: Hostility,
    names: BTreeMap<String, String>,
    listing: Listing,
    next_reads: VecDeque<Fault>,
    next_writes: VecDeque<Fault>,
    forbidden_until: Timestamp,
    outage_until: Timestamp,
    poisoned: BTreeMap<SlotKey, (Poison, Timestamp)>,
    counts: BTreeMap<&'static str, u64>,
}

impl std::fmt::Debug for HostileProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostileProvider")
            .field("nature", &self.shared.nature)
            .finish_non_exhaustive()
    }
}

/// A friendly provider of standing access, in memory: one name, `admins`.
pub fn memory_standing(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> HostileProvider {
    let nature = Nature {
        realm: "memory".to_owned(),
        description: Description::immediate(),
        apply: Apply::AtOnce,
        skew_allowance: Duration::ZERO,
    };
    HostileProvider::new(nature, clock, random).named("admins", "admins")
}

/// A friendly provider of minted credentials, in memory, that ends each at its `expires_at`: one
/// name, `admins`.
pub fn memory_minter(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> HostileProvider {
    let nature = Nature {
        realm: "memory".to_owned(),
        description: Description {
            kind: Kind::Minted,
            native_expiry: NativeExpiry::Exact,
            ..Description::immediate()
        },
        apply: Apply::AtOnce,
        skew_allowance: Duration::ZERO,
    };
    HostileProvider::new(nature, clock, random).named("admins", "admins")
}

// What a test does to the provider.
impl HostileProvider {
    /// A friendly provider without names. `clock` is the true time.
    pub fn new(nature: Nature, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let state = State {
            world: World::new(nature.clone()),
            hostility: Hostility::default(),
            names: BTreeMap::new(),
            listing: Listing::OfTargets,
            next_reads: VecDeque::new(),
            next_writes: VecDeque::new(),
            forbidden_until: Timestamp::MIN,
            outage_until: Timestamp::MIN,
            poisoned: BTreeMap::new(),
            counts: BTreeMap::new(),
        };
        Self {
            shared: Arc::new(Shared {
                nature,
                clock,
                random,
                state: Mutex::new(state),
            }),
        }
    }

    /// What it is.
    pub fn nature(&self) -> &Nature {
        &self.shared.nature
    }

    /// From now on this name, which an entitlement gives as its resource, leads to this resource.
    #[must_use]
    pub fn named(self, name: &str, resource: &str) -> Self {
        self.settled()
            .names
            .insert(name.to_owned(), resource.to_owned());
        self
    }

    /// From now on a listing tells the slot of each thing, as providers do whose things are named by
    /// them.
    pub fn list_slots(&self) {
        self.settled().listing = Listing::OfSlots;
    }

    /// From now on it is as hostile as this.
    pub fn set_hostility(&self, hostility: Hostility) {
        self.settled().hostility = hostility;
    }

    /// The next grant, mint or revoke meets this fault, whatever the odds; given several times, the
    /// ones after it.
    pub fn fail_next_write(&self, fault: Fault) {
        self.settled().next_writes.push_back(fault);
    }

    /// The same for the next inspect, listing or resolving.
    pub fn fail_next_read(&self, fault: Fault) {
        self.settled().next_reads.push_back(fault);
    }

    /// Every connection is refused until this instant.
    pub fn outage_until(&self, until: Timestamp) {
        self.settled().outage_until = until;
    }

    /// Every call is refused until this instant.
    pub fn forbidden_until(&self, until: Timestamp) {
        self.settled().forbidden_until = until;
    }

    /// Calls about this one slot fail until this instant.
    pub fn poison(&self, slot: SlotKey, poison: Poison, until: Timestamp) {
        self.settled().poisoned.insert(slot, (poison, until));
    }

    /// Nothing is poisoned any more.
    pub fn cure(&self) {
        self.settled().poisoned.clear();
    }

    /// Other hands give this access now.
    pub fn foreign_grant(&self, target: &Target, parameters: &Parameters) {
        let now = self.shared.clock.now();
        let world = &mut self.settled().world;
        world.foreign(target, parameters, Presence::Present, now);
    }

    /// Other hands take this access away now.
    pub fn foreign_revoke(&self, target: &Target, parameters: &Parameters) {
        let now = self.shared.clock.now();
        let world = &mut self.settled().world;
        world.foreign(target, parameters, Presence::Absent, now);
    }

    /// Other hands end this credential now.
    pub fn foreign_end(&self, handle: &Handle) {
        let now = self.shared.clock.now();
        self.settled().world.foreign_end(handle, now);
    }

    /// The provider through the eyes of a process with this clock, which judges `send_before` and
    /// nothing else.
    pub fn as_seen_by(&self, clock: Arc<dyn Clock>) -> HostileHandle {
        HostileHandle {
            provider: self.clone(),
            clock,
        }
    }

    /// The ground truth.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(self.clone())
    }

    /// How often each fault really happened: the names of [`Fault`], and `conflict`, `foreign`,
    /// `slow`, `brink`, `past_its_time`, `unseen_pending`, `dropped_before_sending`,
    /// `dropped_after_sending`, and `poison_refuses`, `poison_hangs`, `poison_unreadable`.
    pub fn fault_counts(&self) -> BTreeMap<&'static str, u64> {
        let state = self.settled();
        let mut counts = state.counts.clone();
        for (name, count) in [
            ("conflict", state.world.conflicts),
            ("foreign", state.world.foreign_changes),
        ] {
            if count > 0 {
                counts.insert(name, count);
            }
        }
        counts
    }
}

/// What will happen to one call, drawn before it begins so that the draws do not depend on how
/// calls interleave.
struct Trip {
    fault: Option<Fault>,
    /// Before it is signed.
    before: Duration,
    /// From the signature to the provider, as far as the caller waits for it.
    out: Duration,
    /// From the provider to the caller.
    back: Duration,
    /// How the process stands still before it sends.
    brink: Option<Brink>,
    plan: Plan,
    /// The length of the refusal or outage that begins here, or the time to wait.
    lasts: Duration,
    foreign_after: Option<Duration>,
}

/// Which side of its last instant a call is checked on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Brink {
    /// The last at which it may be sent.
    Before,
    /// The first at which it may not.
    At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// A call that begins.
#[derive(Clone, Copy)]
struct Asked<'a> {
    access: Access,
    /// None for a look.
    operation: Option<Operation>,
    slot: Option<&'a SlotKey>,
}

/// A call that arrives.
#[derive(Clone, Copy)]
struct Gated<'a> {
    operation: &'static str,
    access: Access,
    slot: Option<&'a SlotKey>,
}

// How a call goes.
impl HostileProvider {
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .expect("nothing panics while it holds the world")
    }

    /// The world as it is now.
    fn settled(&self) -> MutexGuard<'_, State> {
        let now = self.shared.clock.now();
        let mut state = self.lock();
        state.world.settle(now);
        state
    }

    fn plan(&self, asked: Asked<'_>) -> Trip {
        let Asked { access, slot, .. } = asked;
        let mut state = self.settled();
        let nature = &self.shared.nature;
        let hostility = state.hostility;
        let dice = Dice {
            random: self.shared.random.as_ref(),
            longest: hostility.longest,
        };
        let hangs = slot.is_some_and(|slot| state.poison(slot, self.now()) == Some(Poison::Hangs));
        let next = match access {
            Access::Read => &mut state.next_reads,
            Access::Write => &mut state.next_writes,
        };
        let fault = next.pop_front().or_else(|| hostility.draw(&dice));
        let fault = fault.filter(|fault| access == Access::Write || fault.hits_reads());
        let fault = fault.filter(|fault| *fault != Fault::Failed || nature.applies_later());

        let accepted_within = nature
            .description
            .accepted_within
            .saturating_sub(nature.skew_allowance);
        let is_slow = dice.hits(hostility.slow);
        if is_slow {
            state.count("slow");
        }
        let waits_in_vain = matches!(fault, Some(Fault::LostReply | Fault::Late))
            && !hostility.latency_max.is_zero();
        let whole = match (is_slow, waits_in_vain || hangs) {
            (_, true) => SLOWEST_CALL,
            (true, false) => dice.up_to(SLOWEST_CALL),
            (false, false) => dice.up_to(hostility.latency_max),
        };
        let before = dice.up_to(whole);
        let out = dice.up_to(whole - before).min(accepted_within);
        let travels = if fault == Some(Fault::Late) {
            dice.up_to(accepted_within)
        } else {
            out
        };
        let mut applies = match nature.apply {
            Apply::AtOnce => Duration::ZERO,
            Apply::Later => dice.up_to(nature.description.applied_within),
        };
        let fails = fault == Some(Fault::Failed);
        if fails {
            // A failure comes after the call was accepted, or it would be a refusal.
            applies = applies.max(Duration::from_millis(1));
        }
        let lasts = match fault {
            Some(Fault::Throttled) => dice.up_to(hostility.retry_after_max),
            Some(Fault::Forbidden) => dice.up_to(hostility.forbidden_max),
            Some(Fault::Outage) => dice.up_to(hostility.outage_max),
            _ => Duration::ZERO,
        };
        let brink_odds = match asked.operation {
            Some(Operation::Grant | Operation::Mint) => hostility.brink,
            Some(Operation::Revoke) => hostility.brink_of_deletes,
            None => 0,
        };
        let brink = dice.hits(brink_odds).then(|| {
            if dice.hits(500) {
                Brink::Before
            } else {
                Brink::At
            }
        });
        let foreign_after = (access == Access::Write && dice.hits(hostility.foreign))
            .then(|| dice.up_to(FOREIGN_WITHIN));
        Trip {
            fault,
            before,
            out,
            back: whole - before - out,
            brink,
            plan: Plan {
                travels,
                applies,
                fails,
                life: dice.per_mille().into(),
            },
            lasts,
            foreign_after,
        }
    }

    /// Whether the provider, or the way to it, turns this call away before it does anything.
    fn gate(&self, trip: &Trip, call: Gated<'_>) -> Result<(), PortError> {
        let now = self.now();
        let operation = call.operation;
        let mut state = self.settled();
        let poison = call.slot.and_then(|slot| state.poison(slot, now));
        if let Some(poison) = poison
            && let Some((effect, kind)) = poison.spoils(call.access)
        {
            state.count(poison.name());
            return Err(failure(operation, effect, kind));
        }
        match trip.fault {
            Some(Fault::Outage) => state.outage_until = state.outage_until.max(now + trip.lasts),
            Some(Fault::Forbidden) => {
                state.forbidden_until = state.forbidden_until.max(now + trip.lasts);
            }
            _ => {}
        }
        let fault = if now < state.outage_until {
            Some(Fault::Outage)
        } else if now < state.forbidden_until {
            Some(Fault::Forbidden)
        } else {
            trip.fault
        };
        let retry_after_ms = u64::try_from(trip.lasts.as_millis()).ok();
        let (effect, kind) = match fault {
            Some(Fault::Outage | Fault::ErrorBefore) => (Effect::None, ErrorKind::Unavailable),
            Some(Fault::ErrorBeforeUnknown) => (Effect::Unknown, ErrorKind::Unavailable),
            Some(Fault::Forbidden) => (Effect::None, ErrorKind::Forbidden),
            Some(Fault::Throttled) => (Effect::None, ErrorKind::RateLimited { retry_after_ms }),
            Some(Fault::LostReply | Fault::Late | Fault::Failed) | None => return Ok(()),
        };
        if let Some(fault) = fault {
            state.count(fault.as_str());
        }
        Err(failure(operation, effect, kind))
    }

    async fn read<T>(
        &self,
        operation: &'static str,
        slot: Option<&SlotKey>,
        look: impl FnOnce(&mut State) -> T,
    ) -> Result<T, PortError> {
        let trip = self.plan(Asked {
            access: Access::Read,
            operation: None,
            slot,
        });
        pause(trip.before + trip.out).await;
        let access = Access::Read;
        let passed = self.gate(
            &trip,
            Gated {
                operation,
                access,
                slot,
            },
        );
        let seen = passed.map(|()| look(&mut self.settled()));
        pause(trip.back).await;
        if trip.fault == Some(Fault::LostReply) && seen.is_ok() {
            self.settled().count(Fault::LostReply.as_str());
            return Err(failure(operation, Effect::Unknown, ErrorKind::Unavailable));
        }
        seen
    }
}

impl State {
    fn poison(&self, slot: &SlotKey, now: Timestamp) -> Option<Poison> {
        let (poison, until) = self.poisoned.get(slot)?;
        (now < *until).then_some(*poison)
    }

    fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }
}

impl Nature {
    fn applies_later(&self) -> bool {
        self.apply == Apply::Later && self.description.kind == Kind::Standing
    }
}

fn failure(operation: &'static str, effect: Effect, kind: ErrorKind) -> PortError {
    match effect {
        Effect::None => PortError::nothing_done(ADAPTER, operation, kind),
        Effect::Unknown => PortError::maybe_done(ADAPTER, operation, kind),
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests;
