//! Stores that lie: what a shortcut writes instead, or does not show.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::audit::Fact;
use jit_core::lifecycle::wake;
use jit_core::ports::{
    Change, Clock, Commit, CommitError, Delivery, Due, GrantCall, PortError, Provisioner,
    RequestStore, Row, SlotChange,
};
use jit_core::provider::Kind;
use jit_core::request::{AccessRequest, Cause, End, Grant, Phase, RequestId, Slot, Stage, Status};
use jit_testkit::sample;

use super::Saboteur;
use crate::sim::chaos::OffsetClock;
use crate::sim::tap::Tap;

pub(super) struct Forger {
    pub(super) saboteur: Saboteur,
    pub(super) clock: Arc<OffsetClock>,
    /// The provider of standing access, for whoever cannot wait.
    pub(super) standing: Arc<dyn Provisioner>,
    pub(super) mine: Mutex<BTreeSet<RequestId>>,
}

/// Whether a due record is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Seen,
    Hidden,
}

fn grant_of(record: &mut AccessRequest) -> Option<&mut Grant> {
    match &mut record.stage {
        Stage::Granted(grant) => Some(grant),
        _ => None,
    }
}

impl Forger {
    /// What the shortcut writes, or does, instead.
    async fn forge(&self, inner: &dyn RequestStore, commit: &mut Commit) -> Result<(), PortError> {
        match self.saboteur {
            Saboteur::HandOverAtApproval => return self.hand_over(inner, commit).await,
            Saboteur::GrantFirst => self.grant_first(commit).await,
            Saboteur::ForgetsOutcomes | Saboteur::ForgetsTheOutage => {
                self.forget_outcomes(inner, commit).await?;
            }
            _ => {}
        }
        for change in &mut commit.changes {
            self.forge_change(change);
        }
        Ok(())
    }

    /// Sends the very grant call whose intent is about to be saved.
    async fn grant_first(&self, commit: &Commit) {
        for change in &commit.changes {
            let part = change.record.parts.first();
            let intended =
                change
                    .events
                    .iter()
                    .find_map(|sealed| match sealed.event().unwrap().event.what {
                        Fact::GrantIntended { send_before, .. } => Some(send_before),
                        _ => None,
                    });
            let (Some(send_before), Kind::Standing) = (intended, part.provider.kind) else {
                continue;
            };
            let call = GrantCall {
                request: change.record.id,
                target: &part.target,
                parameters: &part.parameters,
                template: None,
                expires_at: change.record.grant().unwrap().expires_at,
                send_before,
            };
            // Whatever comes of it will be found by looking.
            drop(self.standing.grant(call).await);
        }
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
            (Saboteur::SettlesFromAbsence, _) => {
                grant.slot_send_before = None;
                grant.slot_settles_until = None;
            }
            (Saboteur::ForgetsEarlierCalls, Phase::Provisioning { .. }) => {
                grant.slot_send_before = grant.send_before;
                grant.slot_settles_until = None;
            }
            (Saboteur::SettlesAnew, Phase::Settling { watch, .. }) => {
                watch.until = updated_at + settles_for;
            }
            (Saboteur::PutsOffForLong, Phase::Revoking { ending }) if ending.attempts > 0 => {
                grant.next_at = grant.next_at.max(updated_at + Duration::from_secs(300));
            }
            _ => return,
        }
        change.wake = wake(&change.record);
    }

    /// The slot goes to whoever is approved, before anything is known of their grant.
    async fn hand_over(
        &self,
        inner: &dyn RequestStore,
        commit: &mut Commit,
    ) -> Result<(), PortError> {
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
        let Some(slot) = inner.slot(&part.slot_key()).await? else {
            return Ok(());
        };
        let Some(owner) = inner.load(slot.owner).await? else {
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

    async fn hides(&self, inner: &dyn RequestStore, id: RequestId) -> Result<Shown, PortError> {
        let Some(record) = inner.load(id).await? else {
            return Ok(Shown::Hidden);
        };
        let Some(grant) = record.grant() else {
            return Ok(Shown::Seen);
        };
        let now = self.clock.now();
        let hidden = match (self.saboteur, &grant.phase) {
            (Saboteur::TtlOnLiveRow, _) => grant.expires_at <= now,
            (Saboteur::GivesUp, Phase::Revoking { ending }) => ending.attempts >= 3,
            (Saboteur::TimerInMemory, Phase::Active) => !self.mine.lock().unwrap().contains(&id),
            _ => false,
        };
        Ok(if hidden { Shown::Hidden } else { Shown::Seen })
    }
}

impl Forger {
    /// What this one does not write down.
    fn forgets(&self, what: &Fact) -> bool {
        match what {
            Fact::GrantAnswered { .. } | Fact::RevokeAnswered { .. } => {
                self.saboteur == Saboteur::ForgetsOutcomes
            }
            Fact::StoreAway { .. } => self.saboteur == Saboteur::ForgetsTheOutage,
            _ => false,
        }
    }

    /// Leaves out of the audit what came of a call.
    async fn forget_outcomes(
        &self,
        inner: &dyn RequestStore,
        commit: &mut Commit,
    ) -> Result<(), PortError> {
        for change in &mut commit.changes {
            let facts = change.events.iter();
            let facts: Vec<Fact> = facts.map(|it| it.event().unwrap().event.what).collect();
            if !facts.iter().any(|what| self.forgets(what)) {
                continue;
            }
            let Some(before) = inner.load(change.record.id).await? else {
                continue;
            };
            change.record.chain = before.chain;
            let at = change.record.updated_at;
            let told = facts.into_iter().filter(|what| !self.forgets(what));
            change.events = told
                .map(|what| sample::seal(&mut change.record, at, what))
                .collect();
        }
        Ok(())
    }
}

#[async_trait]
impl Tap for Forger {
    async fn commit(
        &self,
        inner: &dyn RequestStore,
        mut commit: Commit,
    ) -> Result<Vec<Delivery>, CommitError> {
        self.forge(inner, &mut commit).await?;
        let mine: Vec<RequestId> = commit.changes.iter().map(|it| it.record.id).collect();
        let taken = inner.commit(commit).await?;
        self.mine.lock().unwrap().extend(mine);
        Ok(taken)
    }

    async fn shown(&self, inner: &dyn RequestStore, due: Vec<Due>) -> Result<Vec<Due>, PortError> {
        let hides = matches!(
            self.saboteur,
            Saboteur::TtlOnLiveRow | Saboteur::GivesUp | Saboteur::TimerInMemory
        );
        if !hides {
            return Ok(due);
        }
        let mut shown = vec![];
        for due in due {
            if self.hides(inner, due.id).await? == Shown::Seen {
                shown.push(due);
            }
        }
        Ok(shown)
    }

    fn row(&self, row: Option<Row>) -> Option<Row> {
        let flag = |row: &Row| row.table == "flag" && self.saboteur == Saboteur::NeverPaused;
        row.map(|row| match flag(&row) {
            true => Row {
                value: "false".to_owned(),
                ..row
            },
            false => row,
        })
    }
}
