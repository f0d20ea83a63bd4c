//! What really is so at the hostile provider: what stands, what is being applied, what travels.
//! Nothing here draws, sleeps or reads a clock: calls arrive with their whole plan, and `settle`
//! brings the world to an instant that the caller names.

use std::collections::BTreeMap;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::ErrorKind;
use jit_core::provider::{Handle, Kind, NativeExpiry, Parameters, Presence, SlotKey, Target};
use jit_core::request::RequestId;

use super::Nature;
use super::ledger::{Call, Fate, Hand, Interval, Operation};

/// What is decided about a call before it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// How long it travels.
    pub(super) travels: Duration,
    /// How long it takes to apply once it is accepted.
    pub(super) applies: Duration,
    /// Whether nothing comes of it although it is accepted.
    pub(super) fails: bool,
    /// How much of a declared native life the provider really allows, per mille.
    pub(super) life: u32,
}

/// A call as its caller signed it.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) operation: Operation,
    pub(super) request: RequestId,
    pub(super) target: Target,
    pub(super) parameters: Parameters,
    pub(super) handle: Option<Handle>,
    pub(super) expires_at: Timestamp,
    pub(super) send_before: Timestamp,
}

/// What a look at the provider names.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) request: RequestId,
    pub(super) slot: &'a SlotKey,
    pub(super) handle: Option<&'a Handle>,
    pub(super) expires_at: Timestamp,
    pub(super) send_before: Option<Timestamp>,
}

/// One standing access, there or not, with all its past.
#[derive(Debug)]
struct Access {
    target: Target,
    parameters: Parameters,
    intervals: Vec<Interval>,
    /// The call that is being applied.
    pending: Option<usize>,
    /// When the provider itself ends what stands.
    ends_at: Option<Timestamp>,
}

impl Access {
    fn open(&mut self) -> Option<&mut Interval> {
        self.intervals
            .last_mut()
            .filter(|interval| interval.until.is_none())
    }

    fn stands(&self) -> bool {
        self.intervals
            .last()
            .is_some_and(|interval| interval.until.is_none())
    }
}

/// One minted credential.
#[derive(Debug)]
pub(super) struct MintedRow {
    pub(super) secret: String,
    pub(super) ends_at: Option<Timestamp>,
    pub(super) interval: Interval,
}

/// A call with what the ledger does not show of it.
#[derive(Debug)]
struct Received {
    call: Call,
    plan: Plan,
    expires_at: Timestamp,
    /// The credential that it made.
    made: Option<usize>,
}

#[derive(Debug)]
enum Event {
    /// A call is accepted, or refused.
    Arrives(usize),
    /// An accepted call is done.
    Applied(usize),
    /// The provider's clock ends what stands in this slot, if that is still its end.
    SlotEnds(SlotKey),
    /// The provider's clock ends this credential.
    CredentialEnds(usize),
    /// Other hands turn this slot over.
    Foreign(SlotKey),
}

/// The ground truth.
#[derive(Debug)]
pub(super) struct World {
    nature: Nature,
    queue: BTreeMap<(Timestamp, u64), Event>,
    queued: u64,
    accesses: BTreeMap<SlotKey, Access>,
    credentials: Vec<MintedRow>,
    marked: BTreeMap<RequestId, Vec<usize>>,
    calls: Vec<Received>,
    pub(super) conflicts: u64,
    pub(super) foreign_changes: u64,
}

impl World {
    pub(super) fn new(nature: Nature) -> Self {
        Self {
            nature,
            queue: BTreeMap::new(),
            queued: 0,
            accesses: BTreeMap::new(),
            credentials: Vec::new(),
            marked: BTreeMap::new(),
            calls: Vec::new(),
            conflicts: 0,
            foreign_changes: 0,
        }
    }

    // ------------------------------------------------------------------------ what happens

    /// Brings the world to this instant: everything that was to happen by then has happened.
    pub(super) fn settle(&mut self, now: Timestamp) {
        while let Some(next) = self.queue.first_entry() {
            if next.key().0 > now {
                break;
            }
            let ((at, _), event) = next.remove_entry();
            self.happen(event, at);
        }
    }

    /// Takes a call that was signed and transmitted at `at`; it happens whatever becomes of its
    /// caller.
    pub(super) fn send(&mut self, order: Order, plan: Plan, at: Timestamp) -> usize {
        let call = self.record(order, plan, at, Fate::Travelling);
        self.schedule(at + plan.travels, Event::Arrives(call));
        self.settle(at);
        call
    }

    /// Notes a call that was turned away at once.
    pub(super) fn turn_away(&mut self, order: Order, plan: Plan, kind: ErrorKind, at: Timestamp) {
        self.record(order, plan, at, Fate::Refused(kind));
    }

    fn record(&mut self, order: Order, plan: Plan, at: Timestamp, fate: Fate) -> usize {
        self.calls.push(Received {
            call: Call {
                operation: order.operation,
                request: order.request,
                target: order.target,
                parameters: order.parameters,
                handle: order.handle,
                signed_at: at,
                send_before: order.send_before,
                accepted_at: None,
                effective_at: None,
                fate,
            },
            plan,
            expires_at: order.expires_at,
            made: None,
        });
        self.calls.len() - 1
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    fn happen(&mut self, event: Event, at: Timestamp) {
        match event {
            Event::Arrives(call) => self.arrives(call, at),
            Event::Applied(call) => self.applied(call, at),
            Event::SlotEnds(slot) => {
                let Some(access) = self.accesses.get_mut(&slot) else {
                    return;
                };
                if access.ends_at == Some(at) {
                    end(access.open(), at, Hand::ProviderClock);
                }
            }
            Event::CredentialEnds(number) => {
                let row = self.credentials.get_mut(number);
                end(row.map(|row| &mut row.interval), at, Hand::ProviderClock);
            }
            Event::Foreign(slot) => {
                let stands = self.accesses.get(&slot).is_some_and(Access::stands);
                let wanted = if stands {
                    Presence::Absent
                } else {
                    Presence::Present
                };
                self.turn_over(&slot, wanted, at);
            }
        }
    }

    fn arrives(&mut self, number: usize, at: Timestamp) {
        let call = self.call(number).clone();
        let plan = self.received(number).plan;
        if self.nature.description.kind == Kind::Minted {
            self.call_mut(number).accepted_at = Some(at);
            match call.operation {
                Operation::Grant | Operation::Mint => self.mint(number, at),
                Operation::Revoke => self.unmint(number, at),
            }
            return;
        }
        let access = self.access(&call.target, &call.parameters);
        if access.pending.is_some() {
            self.conflicts += 1;
            self.call_mut(number).fate = Fate::Refused(ErrorKind::Conflict);
            return;
        }
        if plan.applies.is_zero() {
            self.call_mut(number).accepted_at = Some(at);
            self.applied(number, at);
            return;
        }
        access.pending = Some(number);
        let call = self.call_mut(number);
        call.accepted_at = Some(at);
        call.fate = Fate::Applying;
        self.schedule(at + plan.applies, Event::Applied(number));
    }

    fn applied(&mut self, number: usize, at: Timestamp) {
        let call = self.call(number).clone();
        let Received {
            plan, expires_at, ..
        } = *self.received(number);
        let ends_at = self.native_end(at, expires_at, plan.life);
        let slot = call.target.slot_key(&call.parameters);
        let access = self.access(&call.target, &call.parameters);
        access.pending = None;
        let changed = if plan.fails {
            None
        } else if call.operation == Operation::Revoke {
            Some(end(access.open(), at, Hand::Ours(call.request)))
        } else if ends_at.is_some_and(|end| end <= at) {
            Some(false)
        } else {
            access.ends_at = ends_at;
            let begins = !access.stands();
            if begins {
                access.intervals.push(Interval {
                    by: Hand::Ours(call.request),
                    handle: None,
                    from: at,
                    until: None,
                    ended_by: None,
                });
            }
            if let Some(ends_at) = ends_at {
                self.schedule(ends_at, Event::SlotEnds(slot));
            }
            Some(begins)
        };
        let call = self.call_mut(number);
        call.effective_at = changed.map(|_| at);
        call.fate = match changed {
            None => Fate::Failed,
            Some(true) => Fate::Changed,
            Some(false) => Fate::Unchanged,
        };
    }

    fn mint(&mut self, number: usize, at: Timestamp) {
        let Received {
            plan, expires_at, ..
        } = *self.received(number);
        let ends_at = self.native_end(at, expires_at, plan.life);
        let description = self.nature.description;
        let place = self.credentials.len();
        let named = description.revocable || description.listable;
        let interval = Interval {
            by: Hand::Ours(self.call(number).request),
            handle: named.then(|| Handle(format!("handle-{place}"))),
            from: at,
            until: None,
            ended_by: None,
        };
        let marker = self.call(number).request;
        self.marked.entry(marker).or_default().push(place);
        self.credentials.push(MintedRow {
            secret: format!("secret-{place}-of-{marker}"),
            ends_at,
            interval,
        });
        if let Some(ends_at) = ends_at {
            self.schedule(ends_at.max(at), Event::CredentialEnds(place));
        }
        self.received_mut(number).made = Some(place);
        let call = self.call_mut(number);
        call.effective_at = Some(at);
        call.fate = Fate::Changed;
    }

    fn unmint(&mut self, number: usize, at: Timestamp) {
        let call = self.call(number).clone();
        let mut changed = false;
        for place in self.named(call.request, call.handle.as_ref()) {
            if let Some(row) = self.credentials.get_mut(place) {
                changed |= end(Some(&mut row.interval), at, Hand::Ours(call.request));
            }
        }
        let call = self.call_mut(number);
        call.effective_at = Some(at);
        call.fate = if changed {
            Fate::Changed
        } else {
            Fate::Unchanged
        };
    }

    /// Other hands give or take what stands in a slot.
    pub(super) fn foreign(
        &mut self,
        target: &Target,
        parameters: &Parameters,
        wanted: Presence,
        at: Timestamp,
    ) {
        self.settle(at);
        self.access(target, parameters);
        self.turn_over(&target.slot_key(parameters), wanted, at);
    }

    /// Other hands end a credential.
    pub(super) fn foreign_end(&mut self, handle: &Handle, at: Timestamp) {
        self.settle(at);
        let row = self
            .credentials
            .iter_mut()
            .find(|row| row.interval.handle.as_ref() == Some(handle));
        if end(row.map(|row| &mut row.interval), at, Hand::Foreign) {
            self.foreign_changes += 1;
        }
    }

    /// Other hands will turn this slot over at that instant.
    pub(super) fn foreign_later(&mut self, slot: SlotKey, at: Timestamp) {
        self.schedule(at, Event::Foreign(slot));
    }

    fn turn_over(&mut self, slot: &SlotKey, wanted: Presence, at: Timestamp) {
        let Some(access) = self.accesses.get_mut(slot) else {
            return;
        };
        let wanted_there = wanted == Presence::Present;
        if access.stands() == wanted_there {
            return;
        }
        self.foreign_changes += 1;
        if wanted_there {
            access.ends_at = None;
            access.intervals.push(Interval {
                by: Hand::Foreign,
                handle: None,
                from: at,
                until: None,
                ended_by: None,
            });
        } else {
            end(access.open(), at, Hand::Foreign);
        }
    }

    fn native_end(&self, at: Timestamp, expires_at: Timestamp, life: u32) -> Option<Timestamp> {
        match self.nature.description.native_expiry {
            NativeExpiry::None => None,
            NativeExpiry::Exact => Some(expires_at),
            NativeExpiry::AtMost(most) => Some(at + most / 2 + most * life / 2_000),
            NativeExpiry::AtLeast(least) => Some(at + least + least * life / 1_000),
        }
    }

    // ------------------------------------------------------------------------- what is seen

    /// What a look shows, and whether something is being applied that it cannot show.
    pub(super) fn look(&self, look: &Look<'_>) -> (Presence, bool) {
        let description = &self.nature.description;
        let shown = |there| match there {
            true => Presence::Present,
            false => Presence::Absent,
        };
        match description.kind {
            Kind::Standing => {
                let Some(access) = self.accesses.get(look.slot) else {
                    return (Presence::Absent, false);
                };
                let pending = access.pending.is_some();
                if pending && description.pending_visible {
                    return (Presence::InFlight, false);
                }
                (shown(access.stands()), pending)
            }
            Kind::Minted if look.handle.is_some() || description.listable => {
                let works = self
                    .named(look.request, look.handle)
                    .into_iter()
                    .any(|place| self.is_valid(place));
                (shown(works), false)
            }
            Kind::Minted => {
                let gone_by = look
                    .send_before
                    .and_then(|sent| description.gone_by(sent, look.expires_at));
                (gone_by.map_or(Presence::Absent, Presence::GoneBy), false)
            }
        }
    }

    /// Who has a resource, in which slots, in order.
    pub(super) fn holders(&self, resource: &str) -> Vec<(Target, SlotKey)> {
        let standing = self
            .accesses
            .iter()
            .filter(|(_, access)| access.stands() && access.target.resource == resource);
        let mut holders: Vec<(Target, SlotKey)> = standing
            .map(|(slot, access)| (access.target.clone(), slot.clone()))
            .collect();
        holders.sort();
        holders
    }

    /// The credential that a mint made.
    pub(super) fn made_by(&self, call: usize) -> Option<&MintedRow> {
        self.credentials.get(self.received(call).made?)
    }

    pub(super) fn works(&self, secret: &str) -> bool {
        self.credentials
            .iter()
            .any(|row| row.secret == secret && row.interval.until.is_none())
    }

    pub(super) fn slots(&self) -> Vec<(SlotKey, Target, Parameters)> {
        self.accesses
            .iter()
            .map(|(slot, access)| {
                (
                    slot.clone(),
                    access.target.clone(),
                    access.parameters.clone(),
                )
            })
            .collect()
    }

    pub(super) fn intervals(&self, slot: &SlotKey) -> Vec<Interval> {
        self.accesses
            .get(slot)
            .map(|access| access.intervals.clone())
            .unwrap_or_default()
    }

    pub(super) fn minted(&self, request: RequestId) -> Vec<Interval> {
        self.named(request, None)
            .into_iter()
            .filter_map(|place| self.credentials.get(place))
            .map(|row| row.interval.clone())
            .collect()
    }

    /// The calls behind the first `count`.
    pub(super) fn calls_since(&self, count: usize) -> Vec<Call> {
        let behind = self.calls.iter().skip(count);
        behind.map(|received| received.call.clone()).collect()
    }

    pub(super) fn call(&self, number: usize) -> &Call {
        &self.received(number).call
    }

    fn call_mut(&mut self, number: usize) -> &mut Call {
        &mut self.received_mut(number).call
    }

    fn received(&self, number: usize) -> &Received {
        self.calls
            .get(number)
            .expect("a call's number is its place in the ledger")
    }

    fn received_mut(&mut self, number: usize) -> &mut Received {
        self.calls
            .get_mut(number)
            .expect("a call's number is its place in the ledger")
    }

    fn access(&mut self, target: &Target, parameters: &Parameters) -> &mut Access {
        self.accesses
            .entry(target.slot_key(parameters))
            .or_insert_with(|| Access {
                target: target.clone(),
                parameters: parameters.clone(),
                intervals: Vec::new(),
                pending: None,
                ends_at: None,
            })
    }

    /// The credentials that a call means: the one with the handle, or all with the marker.
    fn named(&self, marker: RequestId, handle: Option<&Handle>) -> Vec<usize> {
        let marked = self.marked.get(&marker).cloned().unwrap_or_default();
        let is_named = |place: &usize| {
            let row = self.credentials.get(*place);
            handle.is_none() || row.is_some_and(|row| row.interval.handle.as_ref() == handle)
        };
        marked.into_iter().filter(is_named).collect()
    }

    fn is_valid(&self, place: usize) -> bool {
        self.credentials
            .get(place)
            .is_some_and(|row| row.interval.until.is_none())
    }
}

/// Ends what is still open; whether anything was.
fn end(interval: Option<&mut Interval>, at: Timestamp, by: Hand) -> bool {
    match interval {
        Some(interval) if interval.until.is_none() => {
            interval.until = Some(at);
            interval.ended_by = Some(by);
            true
        }
        Some(_) | None => false,
    }
}
