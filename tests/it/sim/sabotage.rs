//! The shortcuts that break the lifecycle, each as a port that lies to the real engine. The checker
//! must catch every one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, Fact, Sealed};
use jit_core::catalog::Entitlement;
use jit_core::lifecycle::wake;
use jit_core::ports::{
    Change, Clock, Commit, CommitError, Delivery, Directory, Due, GrantCall, Idempotency, Inbox,
    InboxItem, InspectCall, Minted, Page, PortError, Provisioner, Query, RequestStore, RevokeCall,
    Row, SlotChange, Standing,
};
use jit_core::principal::{PrincipalId, Profile};
use jit_core::provider::{Answer, Description, Kind, Parameters, Presence, SlotKey, Target};
use jit_core::request::{AccessRequest, Cause, End, Grant, Phase, RequestId, Slot, Stage, Status};
use jit_testkit::sample;

use super::chaos::OffsetClock;
use super::{REALM, SKEW};

/// A shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saboteur {
    /// Grants while it looks, before anything is recorded.
    GrantFirst,
    /// A grant call that timed out counts as failed.
    TimeoutMeansFailed,
    /// A delete that was answered counts as revoked.
    DeleteMeansRevoked,
    /// Nothing settles.
    NoSettling,
    /// Settles for V + A, less a second.
    SettlesTooShort,
    /// Forgets that a call may be accepted late: a connection that was opened long before.
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
}

// ------------------------------------------------------------------------------- provisioners

/// The clock by which a call is checked.
pub(crate) fn clock(saboteur: Option<Saboteur>, honest: &Arc<OffsetClock>) -> Arc<dyn Clock> {
    match saboteur {
        // A minute passes between the check and the call.
        Some(Saboteur::CheckThenPause) => Arc::new(OffsetClock {
            truth: honest.truth.clone(),
            ahead: honest.ahead,
            behind: honest.behind + Duration::from_secs(60),
        }),
        _ => honest.clone(),
    }
}

pub(crate) fn provisioner(
    saboteur: Option<Saboteur>,
    inner: Arc<dyn Provisioner>,
) -> Arc<dyn Provisioner> {
    match saboteur {
        Some(saboteur) => Arc::new(Liar {
            saboteur,
            inner,
            deleted: Mutex::default(),
        }),
        None => inner,
    }
}

struct Liar {
    saboteur: Saboteur,
    inner: Arc<dyn Provisioner>,
    deleted: Mutex<BTreeSet<RequestId>>,
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
            Saboteur::SettlesTooShort => {
                let less = SKEW + Duration::from_secs(1);
                said.accepted_within = said.accepted_within.saturating_sub(less);
            }
            Saboteur::PooledConnection => said.accepted_within = Duration::ZERO,
            _ => {}
        }
        said
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Target, PortError> {
        let mut target = self
            .inner
            .resolve(beneficiary, entitlement, parameters)
            .await?;
        if self.saboteur == Saboteur::TwoRecordsForOneSlot && target.realm == REALM {
            target.realm = entitlement.id.to_string();
        }
        if self.saboteur == Saboteur::GrantFirst && self.describe().kind == Kind::Standing {
            let call = GrantCall {
                request: sample::id(9),
                target: &target,
                parameters,
                expires_at: Timestamp::MAX,
                send_before: Timestamp::MAX,
            };
            self.inner.grant(call).await?;
        }
        Ok(target)
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
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
        let request = call.request;
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
        let believed = self.saboteur == Saboteur::DeleteMeansRevoked;
        if believed && self.deleted.lock().unwrap().contains(&call.request) {
            return Ok(Presence::Absent);
        }
        self.inner
            .inspect(InspectCall {
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
        _ => inner,
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
) -> Arc<dyn RequestStore> {
    match saboteur {
        Some(saboteur) => Arc::new(Forger {
            saboteur,
            inner,
            mine: Mutex::default(),
        }),
        None => inner,
    }
}

struct Forger {
    saboteur: Saboteur,
    inner: Arc<dyn RequestStore>,
    mine: Mutex<BTreeSet<RequestId>>,
}

fn grant_of(record: &mut AccessRequest) -> Option<&mut Grant> {
    match &mut record.stage {
        Stage::Granted(grant) => Some(grant),
        _ => None,
    }
}

impl Forger {
    /// What the shortcut writes instead.
    async fn forge(&self, commit: &mut Commit) -> Result<(), PortError> {
        if self.saboteur == Saboteur::HandOverAtApproval {
            return self.hand_over(commit).await;
        }
        for change in &mut commit.changes {
            self.forge_change(change);
        }
        Ok(())
    }

    fn forge_change(&self, change: &mut Change) {
        let failed = change.events.iter().any(|sealed| {
            let what = sealed.event().unwrap().event.what;
            let unknown = |answer| matches!(answer, jit_core::audit::CallResult::Unknown { .. });
            matches!(what, Fact::GrantAnswered { answer, .. } if unknown(answer))
        });
        let settles_for = change.record.parts.first().provider.settles_for();
        let updated_at = change.record.updated_at;
        let Some(grant) = grant_of(&mut change.record) else {
            return;
        };
        match (self.saboteur, &mut grant.phase) {
            (Saboteur::TimeoutMeansFailed, phase) if failed => {
                *phase = Phase::Closed {
                    end: End::Gone {
                        cause: Cause::Failed,
                    },
                };
            }
            (Saboteur::SettlesFromAbsence, _) => grant.slot_send_before = None,
            (Saboteur::ForgetsEarlierCalls, Phase::Provisioning { .. }) => {
                grant.slot_send_before = grant.send_before;
            }
            (Saboteur::SettlesAnew, Phase::Settling { watch, .. }) => {
                watch.until = updated_at + settles_for;
            }
            _ => return,
        }
        change.wake = wake(&change.record);
    }

    /// The slot goes to whoever is approved, before anything is known of their grant.
    async fn hand_over(&self, commit: &mut Commit) -> Result<(), PortError> {
        let [change] = commit.changes.as_slice() else {
            return Ok(());
        };
        let newly = change
            .events
            .iter()
            .any(|sealed| matches!(sealed.event().unwrap().event.what, Fact::Granted { .. }));
        let part = change.record.parts.first();
        if !newly || part.provider.kind == Kind::Minted {
            return Ok(());
        }
        let Some(slot) = self.inner.slot(&part.slot_key()).await? else {
            return Ok(());
        };
        let Some(owner) = self.inner.load(slot.owner).await? else {
            return Ok(());
        };
        if owner.status() != Status::Active {
            return Ok(());
        }
        let by = change.record.id;
        let mut closed = owner.clone();
        closed.version += 1;
        closed.updated_at = change.record.updated_at;
        let end = End::Superseded { by };
        grant_of(&mut closed).unwrap().phase = Phase::Closed { end };
        let sealed = sample::seal(&mut closed, change.record.updated_at, Fact::Closed { end });
        commit.slots.push(SlotChange {
            slot: Slot {
                key: slot.key,
                owner: by,
            },
            expected: Some(slot.owner),
        });
        commit.changes.push(Change {
            record: closed,
            expected: Some(owner.version),
            events: vec![sealed],
            wake: None,
        });
        Ok(())
    }

    async fn is_hidden(&self, id: RequestId, now: Timestamp) -> Result<bool, PortError> {
        let Some(record) = self.inner.load(id).await? else {
            return Ok(true);
        };
        let Some(grant) = record.grant() else {
            return Ok(false);
        };
        Ok(match (self.saboteur, &grant.phase) {
            (Saboteur::TtlOnLiveRow, _) => grant.expires_at <= now,
            (Saboteur::GivesUp, Phase::Revoking { ending }) => ending.attempts >= 3,
            (Saboteur::TimerInMemory, Phase::Active) => !self.mine.lock().unwrap().contains(&id),
            _ => false,
        })
    }
}

#[async_trait]
impl RequestStore for Forger {
    async fn commit(&self, mut commit: Commit) -> Result<(), CommitError> {
        self.forge(&mut commit).await?;
        let mine: Vec<RequestId> = commit.changes.iter().map(|it| it.record.id).collect();
        self.inner.commit(commit).await?;
        self.mine.lock().unwrap().extend(mine);
        Ok(())
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        let mut shown = vec![];
        for due in self.inner.due(now, limit).await? {
            if !self.is_hidden(due.id, now).await? {
                shown.push(due);
            }
        }
        Ok(shown)
    }

    async fn load(&self, id: RequestId) -> Result<Option<AccessRequest>, PortError> {
        self.inner.load(id).await
    }
    async fn slot(&self, key: &SlotKey) -> Result<Option<Slot>, PortError> {
        self.inner.slot(key).await
    }
    async fn deliveries_due(
        &self,
        notifiers: &[String],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        self.inner.deliveries_due(notifiers, now, limit).await
    }
    async fn delivery_update(&self, delivery: Delivery) -> Result<(), CommitError> {
        self.inner.delivery_update(delivery).await
    }
    async fn events(&self, id: RequestId) -> Result<Vec<Sealed>, PortError> {
        self.inner.events(id).await
    }
    async fn system_events(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, PortError> {
        self.inner.system_events(after, limit).await
    }
    async fn system_head(&self) -> Result<ChainHead, PortError> {
        self.inner.system_head().await
    }
    async fn query(&self, query: &Query) -> Result<Vec<AccessRequest>, PortError> {
        self.inner.query(query).await
    }
    async fn by_suffix(&self, suffix: &str) -> Result<Vec<RequestId>, PortError> {
        self.inner.by_suffix(suffix).await
    }
    async fn chains(
        &self,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestId>, PortError> {
        self.inner.chains(after, limit).await
    }
    async fn idempotency(&self, key: &str) -> Result<Option<Idempotency>, PortError> {
        self.inner.idempotency(key).await
    }
    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, PortError> {
        self.inner.row(table, key).await
    }
    async fn rows(&self, table: &'static str) -> Result<Vec<Row>, PortError> {
        self.inner.rows(table).await
    }
    async fn inbox_put(
        &self,
        key: &str,
        input: &str,
        received_at: Timestamp,
    ) -> Result<Inbox, PortError> {
        self.inner.inbox_put(key, input, received_at).await
    }
    async fn inbox_take(&self, now: Timestamp, limit: usize) -> Result<Vec<InboxItem>, PortError> {
        self.inner.inbox_take(now, limit).await
    }
    async fn inbox_done(&self, key: &str) -> Result<(), PortError> {
        self.inner.inbox_done(key).await
    }
}
