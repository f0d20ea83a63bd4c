//! The hostile provider as one process sees it: the adapter. How each call goes was drawn before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Clock, Credential, Effect, ErrorKind, GrantCall, InspectCall, Minted, Page, PortError,
    Provisioner, RevokeCall, Standing,
};
use jit_core::principal::{Profile, Subject};
use jit_core::provider::{Answer, Description, Kind, Parameters, Presence, Resolved, Target};

use super::ledger::{Fate, Operation};
use super::world::{Look, Order};
use super::{
    Access, Asked, Brink, Fault, Gated, HostileProvider, Listing, PAGE_SIZE, State, Trip, failure,
    pause,
};

/// The longest that a process stands still before it sends.
const LONGEST_PAUSE: Duration = Duration::from_secs(40);
/// The smallest step of tokio's clock.
const TICK: Duration = Duration::from_millis(1);

/// A process's connection to the provider.
#[derive(Clone)]
pub struct HostileHandle {
    pub(super) provider: HostileProvider,
    pub(super) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for HostileHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HostileHandle")
            .field(&self.provider)
            .finish()
    }
}

impl HostileHandle {
    /// Signs, checks, transmits once and waits for the answer; the call's number in the ledger.
    async fn write(&self, name: &'static str, order: Order) -> Result<usize, PortError> {
        let provider = &self.provider;
        let slot = order.target.slot_key(&order.parameters);
        let trip = provider.plan(Asked {
            access: Access::Write,
            operation: Some(order.operation),
            slot: Some(&slot),
        });
        let mut fuse = Fuse::new(provider, "dropped_before_sending");
        pause(trip.before).await;
        if let Some(brink) = trip.brink {
            provider.settled().count("brink");
            self.stand_still(brink, order.send_before).await;
        }
        fuse.blows_as = "dropped_after_sending";
        let sent = self.transmit(name, order, &trip);
        pause(trip.out).await;
        let fate = sent.map(|call| (call, provider.settled().world.call(call).fate));
        pause(trip.back).await;
        fuse.disarm();
        let unknown = || failure(name, Effect::Unknown, ErrorKind::Unavailable);
        match (trip.fault, fate?) {
            (Some(Fault::Late | Fault::LostReply), _) => Err(unknown()),
            (_, (_, Fate::Refused(kind))) => Err(failure(name, Effect::None, kind)),
            (_, (_, Fate::Travelling)) => Err(unknown()),
            (_, (call, Fate::Applying | Fate::Changed | Fate::Unchanged | Fate::Failed)) => {
                Ok(call)
            }
        }
    }

    /// The process is held up until its clock shows the last instant at which it may still send,
    /// or the next. Nothing holds it up for longer than [`LONGEST_PAUSE`].
    async fn stand_still(&self, brink: Brink, send_before: Timestamp) {
        let spare = match brink {
            Brink::Before => TICK,
            Brink::At => Duration::ZERO,
        };
        let left = send_before.since(self.clock.now()).min(LONGEST_PAUSE);
        pause(left.saturating_sub(spare)).await;
    }

    /// Signs, checks and sends in one step: what was sent happens whether or not anybody waits.
    fn transmit(&self, name: &'static str, order: Order, trip: &Trip) -> Result<usize, PortError> {
        let provider = &self.provider;
        if self.clock.now() >= order.send_before {
            provider.settled().count("past_its_time");
            return Err(failure(name, Effect::None, ErrorKind::Unavailable));
        }
        let now = provider.shared.clock.now();
        let slot = order.target.slot_key(&order.parameters);
        let gated = Gated {
            operation: name,
            access: Access::Write,
            slot: Some(&slot),
        };
        if let Err(error) = provider.gate(trip, gated) {
            let mut state = provider.settled();
            state.world.turn_away(order, trip.plan, error.kind, now);
            return Err(error);
        }
        let mut state = provider.settled();
        if let Some(after) = trip.foreign_after {
            state.world.foreign_later(slot, now + after);
        }
        if let Some(fault) = trip.fault {
            // What it did not turn away is counted here, where it is sure to happen.
            state.count(fault.as_str());
        }
        Ok(state.world.send(order, trip.plan, now))
    }

    fn answer(&self, call: usize) -> Answer {
        match self.provider.lock().world.call(call).fate {
            Fate::Changed | Fate::Unchanged => Answer::Applied,
            Fate::Travelling | Fate::Refused(_) | Fate::Applying | Fate::Failed => Answer::Accepted,
        }
    }

    /// A record of another realm is of another system.
    fn owns(&self, target: &Target, operation: &'static str) -> Result<(), PortError> {
        if target.realm == self.provider.shared.nature.realm {
            return Ok(());
        }
        Err(failure(operation, Effect::None, ErrorKind::Misconfigured))
    }

    fn wants(&self, kind: Kind, operation: &'static str) -> Result<(), PortError> {
        if self.describe().kind == kind {
            return Ok(());
        }
        Err(failure(operation, Effect::None, ErrorKind::Misconfigured))
    }
}

#[async_trait]
impl Provisioner for HostileHandle {
    fn describe(&self) -> Description {
        self.provider.shared.nature.description
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        _parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let find = |state: &mut State| state.names.get(&entitlement.resource).cloned();
        let unknown = || failure("resolve", Effect::None, ErrorKind::NotFound);
        let resource = self.provider.read("resolve", None, find).await?;
        let subject: Subject = beneficiary.id.as_str().parse().map_err(|cause| {
            failure("resolve", Effect::None, ErrorKind::Misconfigured).because(cause)
        })?;
        Ok(Target {
            realm: self.provider.shared.nature.realm.clone(),
            subject,
            resource: resource.ok_or_else(unknown)?,
        }
        .into())
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.owns(call.target, "grant")?;
        self.wants(Kind::Standing, "grant")?;
        let call = self.write("grant", order(Operation::Grant, &call)).await?;
        Ok(self.answer(call))
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        self.owns(call.target, "mint")?;
        self.wants(Kind::Minted, "mint")?;
        let call = self.write("mint", order(Operation::Mint, &call)).await?;
        let state = self.provider.lock();
        let made = state
            .world
            .made_by(call)
            .expect("a mint that was accepted made a credential at once");
        Ok(Minted {
            secret: Credential::new(made.secret.clone()),
            handle: made.interval.handle.clone(),
            ends_at: made.ends_at,
            notes: BTreeMap::new(),
        })
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.owns(call.target, "revoke")?;
        let description = self.describe();
        if !description.revocable {
            return Err(failure("revoke", Effect::None, ErrorKind::Misconfigured));
        }
        let is_minted = description.kind == Kind::Minted;
        if is_minted && call.handle.is_none() && !description.listable {
            // There is no way to name it: what was minted ends by the provider's own clock.
            return Err(failure("revoke", Effect::None, ErrorKind::NotFound));
        }
        let order = Order {
            operation: Operation::Revoke,
            request: call.request,
            target: call.target.clone(),
            parameters: call.parameters.clone(),
            handle: call.handle.cloned(),
            expires_at: Timestamp::MAX,
            send_before: call.send_before,
        };
        let call = self.write("revoke", order).await?;
        Ok(self.answer(call))
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.owns(call.target, "inspect")?;
        let slot = call.target.slot_key(call.parameters);
        let look = |state: &mut State| {
            let (seen, is_hidden) = state.world.look(&Look {
                request: call.request,
                slot: &slot,
                handle: call.handle,
                expires_at: call.expires_at,
                send_before: call.send_before,
            });
            if is_hidden {
                state.count("unseen_pending");
            }
            seen
        };
        self.provider.read("inspect", Some(&slot), look).await
    }

    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        let find = |state: &mut State| state.names.get(&entitlement.resource).cloned();
        self.provider.read("resource", None, find).await
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        let list = |state: &mut State| (state.world.holders(resource), state.listing);
        let (holders, listing) = self.provider.read("standing", None, list).await?;
        let mut items: Vec<Standing> = holders
            .into_iter()
            .map(|(target, slot)| match listing {
                Listing::OfTargets => target.into(),
                Listing::OfSlots => Standing {
                    target,
                    slot: Some(slot),
                },
            })
            .collect();
        items.dedup();
        items.retain(|it| page.is_none_or(|after| mark(it).as_str() > after));
        let is_last = items.len() <= PAGE_SIZE;
        items.truncate(PAGE_SIZE);
        let last = items.last().map(mark);
        Ok(Page {
            items,
            next: last.filter(|_| !is_last),
        })
    }
}

/// Where one stands in a listing of a resource.
fn mark(standing: &Standing) -> String {
    let Target { realm, subject, .. } = &standing.target;
    let slot = standing.slot.as_ref().map_or("", |slot| slot.as_str());
    format!("{realm}\n{subject}\n{slot}")
}

fn order(operation: Operation, call: &GrantCall<'_>) -> Order {
    Order {
        operation,
        request: call.request,
        target: call.target.clone(),
        parameters: call.parameters.clone(),
        handle: None,
        expires_at: call.expires_at,
        send_before: call.send_before,
    }
}

/// Counts a call whose caller went away.
struct Fuse<'a> {
    provider: &'a HostileProvider,
    blows_as: &'static str,
    is_armed: bool,
}

impl<'a> Fuse<'a> {
    fn new(provider: &'a HostileProvider, blows_as: &'static str) -> Self {
        Self {
            provider,
            blows_as,
            is_armed: true,
        }
    }

    fn disarm(&mut self) {
        self.is_armed = false;
    }
}

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.provider.lock().count(self.blows_as);
        }
    }
}
