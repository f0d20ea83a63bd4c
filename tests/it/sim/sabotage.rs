//! Broken variants of the whole: test-only ports that take one of the shortcuts of the design's
//! section 5, or keep one promise less. Each must be caught by the judge.

mod forger;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::Entitlement;
use jit_core::engine::ClockTrust;
use jit_core::ports::{
    Clock, Directory, ErrorKind, GrantCall, InspectCall, Minted, Page, PortError, Provisioner,
    RequestStore, RevokeCall, Standing,
};
use jit_core::principal::{PrincipalId, Profile};
use jit_core::provider::{Answer, Description, Parameters, Presence, Resolved, Target};
use jit_core::request::RequestId;

use super::chaos::{Chaos, OffsetClock};
use super::setting::REALM;
use super::tap::Tapped;
use forger::Forger;

/// A shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saboteur {
    /// Sends the grant call before its intent is saved.
    GrantFirst,
    /// A grant call that timed out counts as failed.
    TimeoutMeansFailed,
    /// A delete that was answered counts as revoked.
    DeleteMeansRevoked,
    /// Nothing settles.
    NoSettling,
    /// Settles for V + A, less a second.
    SettlesTooShort,
    /// Sends on a connection that was opened long before, by the clock of that time: nothing tells
    /// when the call was made.
    PooledConnection,
    /// Checks the time, pauses, signs and sends.
    CheckThenPause,
    /// The slot changes hands when the newcomer is approved.
    HandOverAtApproval,
    /// Two names for one thing have a slot each.
    TwoRecordsForOneSlot,
    /// A live row is removed at its end.
    TtlOnLiveRow,
    /// Whoever approved keeps the only clock, in memory.
    TimerInMemory,
    /// Stops after three tries.
    GivesUp,
    /// Settles from the absence on, whatever was sent last.
    SettlesFromAbsence,
    /// Every look begins the settling anew.
    SettlesAnew,
    /// A newcomer forgets what the slot's earlier owners sent.
    ForgetsEarlierCalls,
    /// Knows people as they were when it first met them.
    StaleAuthority,
    /// Sends at `now == send_before` too.
    SendsAtItsLimit,
    /// Asks the directory before it takes anything away.
    AsksBeforeRevoking,
    /// Makes one call at a time.
    OneAtATime,
    /// After a delete that failed it waits five minutes.
    PutsOffForLong,
    /// Writes no outcome of a call down.
    ForgetsOutcomes,
    /// Believes its clock, whatever others committed.
    TrustsItsClock,
    /// Takes its own clock for what providers say.
    AgreesWithItself,
    /// Does not read that it is paused.
    NeverPaused,
    /// Takes every name for a person.
    NamesArePeople,
    /// Looks for nothing that stands without a grant.
    LooksAtNothing,
    /// Pages once for what stands without a grant, and never for what is found later.
    PagesOnce,
    /// While its store is away it takes nothing away.
    WaitsForTheStore,
    /// Does not write down what it did while its store was away.
    ForgetsTheOutage,
}

impl Saboteur {
    /// Whether it is about what is done while the store is away.
    pub(crate) fn is_about_outages(self) -> bool {
        matches!(self, Self::WaitsForTheStore | Self::ForgetsTheOutage)
    }
}

// ------------------------------------------------------------------------------------- clocks

/// A clock that shows an earlier instant.
struct Behind {
    inner: Arc<OffsetClock>,
    by: Duration,
}

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        self.inner.now() - self.by
    }
}

/// What the clock showed when the connection was opened.
struct Stopped(Timestamp);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// The clock by which a call is checked.
pub(crate) fn clock(saboteur: Option<Saboteur>, honest: &Arc<OffsetClock>) -> Arc<dyn Clock> {
    let behind = |by| {
        Arc::new(Behind {
            inner: honest.clone(),
            by,
        })
    };
    match saboteur {
        // A minute passes between the check and the call.
        Some(Saboteur::CheckThenPause) => behind(Duration::from_secs(60)),
        // `now <= send_before`, on a clock of microseconds.
        Some(Saboteur::SendsAtItsLimit) => behind(Duration::from_micros(1)),
        Some(Saboteur::PooledConnection) => Arc::new(Stopped(honest.now())),
        _ => honest.clone(),
    }
}

/// Whether the engine learns from what others committed.
pub(crate) fn trust(saboteur: Option<Saboteur>) -> ClockTrust {
    match saboteur {
        Some(Saboteur::TrustsItsClock) => ClockTrust::Trusted,
        _ => ClockTrust::Compared,
    }
}

// ------------------------------------------------------------------------------- provisioners

pub(crate) fn provisioner(
    saboteur: Option<Saboteur>,
    inner: Arc<dyn Provisioner>,
    directory: &Arc<dyn Directory>,
    chaos: &Arc<Chaos>,
) -> Arc<dyn Provisioner> {
    match saboteur {
        Some(saboteur) => Arc::new(Liar {
            saboteur,
            inner,
            directory: directory.clone(),
            chaos: chaos.clone(),
            deleted: Mutex::default(),
            line: tokio::sync::Mutex::default(),
        }),
        None => inner,
    }
}

struct Liar {
    saboteur: Saboteur,
    inner: Arc<dyn Provisioner>,
    directory: Arc<dyn Directory>,
    chaos: Arc<Chaos>,
    deleted: Mutex<BTreeSet<RequestId>>,
    line: tokio::sync::Mutex<()>,
}

impl Liar {
    /// The target by its real name.
    fn real(&self, target: &Target) -> Target {
        let mut target = target.clone();
        if self.saboteur == Saboteur::TwoRecordsForOneSlot && target.realm.starts_with("st/") {
            target.realm = REALM.to_owned();
        }
        target
    }

    /// Waits for its turn, where only one call is made at a time.
    async fn turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        match self.saboteur {
            Saboteur::OneAtATime => Some(self.line.lock().await),
            _ => None,
        }
    }
}

#[async_trait]
impl Provisioner for Liar {
    fn describe(&self) -> Description {
        let mut said = self.inner.describe();
        match self.saboteur {
            Saboteur::NoSettling => {
                said.accepted_within = Duration::ZERO;
                said.applied_within = Duration::ZERO;
            }
            // The room for wrong clocks in V is used to the last millisecond (see `setting`).
            Saboteur::SettlesTooShort => {
                let less = Duration::from_secs(1);
                said.accepted_within = said.accepted_within.saturating_sub(less);
            }
            _ => {}
        }
        said
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let mut resolved = self
            .inner
            .resolve(beneficiary, entitlement, parameters)
            .await?;
        let realm = &mut resolved.target.realm;
        if self.saboteur == Saboteur::TwoRecordsForOneSlot && *realm == REALM {
            *realm = entitlement.id.to_string();
        }
        Ok(resolved)
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        if self.saboteur == Saboteur::GrantFirst {
            // It was sent already, before its intent was saved.
            return Ok(Answer::Accepted);
        }
        self.inner
            .grant(GrantCall {
                target: &self.real(call.target),
                ..call
            })
            .await
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        self.inner.mint(call).await
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let _turn = self.turn().await;
        let request = call.request;
        if self.saboteur == Saboteur::WaitsForTheStore && self.chaos.store_away().is_some() {
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("liar", "revoke", kind));
        }
        if self.saboteur == Saboteur::AsksBeforeRevoking {
            let who: PrincipalId = call.target.subject.as_str().parse().unwrap();
            self.directory.profile(&who).await?;
        }
        let answer = self
            .inner
            .revoke(RevokeCall {
                target: &self.real(call.target),
                ..call
            })
            .await?;
        self.deleted.lock().unwrap().insert(request);
        Ok(answer)
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let _turn = self.turn().await;
        let believed = self.saboteur == Saboteur::DeleteMeansRevoked;
        if believed && self.deleted.lock().unwrap().contains(&call.request) {
            return Ok(Presence::Absent);
        }
        self.inner
            .inspect(InspectCall {
                purpose: jit_core::ports::Purpose::TakeAway,
                target: &self.real(call.target),
                ..call
            })
            .await
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        self.inner.standing(resource, page).await
    }
}

// ---------------------------------------------------------------------------------- directory

pub(crate) fn directory(
    saboteur: Option<Saboteur>,
    inner: Arc<dyn Directory>,
) -> Arc<dyn Directory> {
    match saboteur {
        Some(Saboteur::StaleAuthority) => Arc::new(Elder {
            inner,
            met: Mutex::default(),
        }),
        Some(Saboteur::NamesArePeople) => Arc::new(Literal(inner)),
        _ => inner,
    }
}

/// Everybody is who they say they are.
struct Literal(Arc<dyn Directory>);

#[async_trait]
impl Directory for Literal {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let found = self.0.profile(id).await?;
        let id = id.clone();
        Ok(found.map(|profile| Profile { id, ..profile }))
    }
}

struct Elder {
    inner: Arc<dyn Directory>,
    met: Mutex<BTreeMap<PrincipalId, Profile>>,
}

#[async_trait]
impl Directory for Elder {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let met = self.met.lock().unwrap().get(id).cloned();
        if met.is_some() {
            return Ok(met);
        }
        let found = self.inner.profile(id).await?;
        if let Some(profile) = found.clone().filter(|profile| profile.active) {
            self.met.lock().unwrap().insert(id.clone(), profile);
        }
        Ok(found)
    }
}

// -------------------------------------------------------------------------------------- store

pub(crate) fn store(
    saboteur: Option<Saboteur>,
    inner: Arc<dyn RequestStore>,
    clock: &Arc<OffsetClock>,
    standing: &Arc<dyn Provisioner>,
) -> Arc<dyn RequestStore> {
    match saboteur {
        Some(saboteur) => Arc::new(Tapped {
            inner,
            tap: Forger {
                saboteur,
                clock: clock.clone(),
                standing: standing.clone(),
                mine: Mutex::default(),
            },
        }),
        None => inner,
    }
}
