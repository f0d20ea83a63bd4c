//! Paying what a record owes. Any worker may call [`Engine::tend`] at any time; whoever commits
//! first does the work, and a worker that dies leaves a record that says what is owed.

use std::time::Duration;

use super::{Along, Engine, EngineError, LOOK_UPS, TRIES};
use crate::lifecycle::{
    Command, Duty, Failure, GrantAnswer, LeaseFacts, Transition, decide, owed, sends_after_lease,
};
use crate::ports::{CommitError, ErrorKind, GrantCall, PortError, RevokeCall};
use crate::provider::{Answer, Presence};
use crate::request::{AccessRequest, Phase, RequestId, Sent};
use crate::time::Timestamp;

/// How many duties of one record are paid in one go.
const STEPS: u32 = 8;
/// What is due at a provider is worked on by whoever serves it. Past this nobody does.
pub const LEFT_ALONE: Duration = Duration::from_secs(30);

impl Engine {
    /// Pays everything that this record owes now. Of a record at a provider that this process does
    /// not serve it pays only what the clock alone decides, so that an end which nobody works on is
    /// flagged as stuck and paged all the same.
    pub async fn tend(&self, id: RequestId) -> Result<(), EngineError> {
        let mut next = self.load(id).await?;
        for _ in 0..STEPS {
            let Some(request) = next else {
                return Ok(());
            };
            let Some(duty) = owed(&request, self.now()) else {
                return Ok(());
            };
            if !self.may_pay(&request, duty) {
                return Ok(());
            }
            next = self.pay(request, duty).await?;
        }
        Ok(())
    }

    fn may_pay(&self, request: &AccessRequest, duty: Duty) -> bool {
        let provider = request.place().entitlement.provider();
        if self.serves(&provider) {
            return true;
        }
        match duty {
            Duty::Lapse | Duty::Escalate | Duty::Cancel(_) | Duty::Close | Duty::Stick(_) => true,
            // The end is for whoever serves the provider, as long as anybody does.
            Duty::Finish(_) => request
                .grant()
                .is_some_and(|grant| self.now() >= grant.expires_at + LEFT_ALONE),
            Duty::Lease | Duty::Verify | Duty::Check | Duty::Revoke | Duty::Look => false,
        }
    }

    /// Pays one duty, and returns the record as it was saved last. None where another worker has it,
    /// or it was put off.
    async fn pay(
        &self,
        request: AccessRequest,
        duty: Duty,
    ) -> Result<Option<AccessRequest>, EngineError> {
        let provider = request.place().entitlement.provider();
        let command = match duty {
            Duty::Finish(_) if !self.serves(&provider) => Command::DueElsewhere,
            Duty::Lapse
            | Duty::Escalate
            | Duty::Cancel(_)
            | Duty::Finish(_)
            | Duty::Close
            | Duty::Stick(_) => Command::Due,
            Duty::Lease | Duty::Verify | Duty::Check | Duty::Revoke | Duty::Look => Command::Take,
        };
        // Before the take is committed, so that a pause since then counts.
        let read_at = self.parts.clock.now();
        let Some(taken) = self.apply(&request, &command).await? else {
            return Ok(None);
        };
        match duty {
            Duty::Lapse | Duty::Escalate | Duty::Cancel(_) | Duty::Close | Duty::Stick(_) => {
                Ok(Some(taken))
            }
            Duty::Finish(_) if !self.serves(&provider) => Ok(Some(taken)),
            Duty::Finish(_) | Duty::Revoke => self.revoke(taken, read_at).await,
            Duty::Lease => self.provision(taken).await,
            Duty::Verify => self.verify(taken).await,
            Duty::Check => self.check(taken).await,
            Duty::Look => self.look(taken).await,
        }
    }

    /// Decides and commits on exactly this record. None where another change came first, or
    /// nothing was to be changed.
    pub(super) async fn apply(
        &self,
        request: &AccessRequest,
        command: &Command,
    ) -> Result<Option<AccessRequest>, EngineError> {
        let transition = decide(self.rules(), request, command, self.now())?;
        self.commit_one(transition).await
    }

    async fn commit_one(
        &self,
        transition: Transition,
    ) -> Result<Option<AccessRequest>, EngineError> {
        let Some(after) = transition.request().cloned() else {
            return Ok(None);
        };
        match self.commit(transition, Along::default()).await {
            Ok(()) => Ok(Some(after)),
            Err(CommitError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Saves what came of a call, on the record as it is by then. That is mostly the one that was
    /// taken for it, which is tried first: the commit tells whether anybody changed it.
    pub(super) async fn save(
        &self,
        taken: AccessRequest,
        outcome: &Command,
    ) -> Result<Option<AccessRequest>, EngineError> {
        let id = taken.id;
        let mut request = taken;
        for tries in 0..TRIES {
            let transition = decide(self.rules(), &request, outcome, self.now())?;
            match transition.request().cloned() {
                Some(after) => match self.commit(transition, Along::default()).await {
                    Ok(()) => return Ok(Some(after)),
                    Err(CommitError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                },
                // Of a record that may have changed since, that nothing follows proves nothing.
                None if tries == 0 => {}
                None => return Ok(Some(request)),
            }
            match self.load(id).await? {
                Some(now) => request = now,
                None => return Ok(None),
            }
        }
        Err(PortError::nothing_done("engine", "save an outcome", ErrorKind::Conflict).into())
    }

    /// What the lifecycle needs of an error.
    pub(super) fn failure(&self, error: &PortError) -> Failure {
        Failure {
            kind: error.kind,
            effect: error.effect,
            jitter: self.jitter(),
        }
    }

    /// Turns an error into what the lifecycle needs of it, and logs the rest.
    fn told<T>(&self, request: &AccessRequest, answer: Result<T, PortError>) -> Result<T, Failure> {
        answer.map_err(|error| {
            tracing::warn!(
                request.id = %request.id,
                entitlement = %request.parts.first().entitlement,
                error = %error.chain(),
                "a provider call failed",
            );
            self.failure(&error)
        })
    }

    // -------------------------------------------------------------------------------- granting

    /// Leases the record and sends the grant call, once.
    async fn provision(&self, taken: AccessRequest) -> Result<Option<AccessRequest>, EngineError> {
        let Some((leased, epoch)) = self.lease(taken).await? else {
            return Ok(None);
        };
        let Some(epoch) = epoch else {
            return Ok(Some(leased));
        };
        if !sends_after_lease(&leased) {
            let seen_at = self.now();
            match self.told(&leased, self.inspect(&leased).await) {
                Ok(Presence::Absent) => {}
                presence => {
                    let verified = Command::Verified {
                        epoch,
                        seen_at,
                        presence,
                    };
                    return self.save(leased, &verified).await;
                }
            }
        }
        self.send_grant(leased, epoch).await
    }

    /// Leases the record; where something else changed first, on what is there now. Without an epoch
    /// the lease led elsewhere, as where somebody lost their right.
    async fn lease(
        &self,
        mut request: AccessRequest,
    ) -> Result<Option<(AccessRequest, Option<u32>)>, EngineError> {
        for _ in 0..TRIES {
            let Some((facts, looked_up_at)) = self.fresh_lease_facts(&request).await? else {
                return Ok(None);
            };
            let lease = Command::Lease {
                facts: Box::new(facts),
            };
            let transition = Transition {
                good_for: Some(self.freshness_left(looked_up_at)),
                ..decide(self.rules(), &request, &lease, self.now())?
            };
            if transition.request().is_none() {
                return Ok(None);
            }
            if let Some(leased) = self.commit_one(transition).await? {
                let epoch = leased_epoch(&request, &leased);
                return Ok(Some((leased, epoch)));
            }
            // Another slot's owner may have changed while this record did not.
            let now = self.load(request.id).await?;
            let Some(now) = now.filter(|now| now.version == request.version) else {
                return Ok(None);
            };
            request = now;
        }
        Ok(None)
    }

    /// Facts for a lease that are fresh enough to commit on; none where they could not be had and
    /// the record was put off.
    async fn fresh_lease_facts(
        &self,
        request: &AccessRequest,
    ) -> Result<Option<(LeaseFacts, Timestamp)>, EngineError> {
        let mut failure = None;
        for _ in 0..LOOK_UPS {
            match self.lease_facts(request).await {
                Ok((facts, looked_up_at)) if self.is_fresh(looked_up_at) => {
                    return Ok(Some((facts, looked_up_at)));
                }
                Ok(_) => {}
                Err(error) => {
                    failure = self.told::<()>(request, Err(error)).err();
                    break;
                }
            }
        }
        let stale = || PortError::nothing_done("directory", "look up", ErrorKind::Unavailable);
        let failure = failure.unwrap_or_else(|| self.failure(&stale()));
        self.apply(request, &Command::LeaseFailed { failure })
            .await?;
        Ok(None)
    }

    async fn send_grant(
        &self,
        leased: AccessRequest,
        epoch: u32,
    ) -> Result<Option<AccessRequest>, EngineError> {
        let Some(grant) = leased.grant() else {
            return Ok(None);
        };
        let part = leased.parts.first();
        let entry = self.parts.catalog.get(&part.entitlement);
        let call = GrantCall {
            request: leased.id,
            target: &part.target,
            parameters: &part.parameters,
            template: entry.as_ref().and_then(|it| it.template.as_deref()),
            expires_at: grant.expires_at,
            send_before: self.by_clock(grant.send_before.unwrap_or(grant.approved_at)),
        };
        let answer = self.provisioner_of(&leased)?.grant(call).await;
        let answer = self.told(&leased, answer);
        self.save_grant_answer(leased, epoch, answer).await
    }

    /// The same as [`Engine::save`], with the owner of the slot where the record is closed by then.
    async fn save_grant_answer(
        &self,
        leased: AccessRequest,
        epoch: u32,
        answer: Result<Answer, Failure>,
    ) -> Result<Option<AccessRequest>, EngineError> {
        let id = leased.id;
        let mut request = leased;
        for _ in 0..TRIES {
            let closed = request
                .grant()
                .is_some_and(|grant| matches!(grant.phase, Phase::Closed { .. }));
            let owned = if closed {
                self.owned(&request.parts.first().slot_key()).await?
            } else {
                None
            };
            let outcome = Command::GrantAnswered(Box::new(GrantAnswer {
                epoch,
                answer,
                owned,
            }));
            let transition = decide(self.rules(), &request, &outcome, self.now())?;
            let after = transition.request().cloned();
            match self.commit(transition, Along::default()).await {
                Ok(()) => return Ok(after),
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            match self.load(id).await? {
                Some(now) => request = now,
                None => return Ok(None),
            }
        }
        Err(PortError::nothing_done("engine", "save an outcome", ErrorKind::Conflict).into())
    }

    async fn verify(&self, taken: AccessRequest) -> Result<Option<AccessRequest>, EngineError> {
        let Some(epoch) = taken.grant().map(|grant| grant.epoch) else {
            return Ok(None);
        };
        let seen_at = self.now();
        let presence = self.told(&taken, self.inspect(&taken).await);
        let verified = Command::Verified {
            epoch,
            seen_at,
            presence,
        };
        self.save(taken, &verified).await
    }

    async fn check(&self, taken: AccessRequest) -> Result<Option<AccessRequest>, EngineError> {
        let Some(grant) = taken.grant() else {
            return Ok(None);
        };
        let (epoch, seen_at) = (grant.epoch, self.now());
        let beneficiary = self.parts.directory.profile(&taken.beneficiary).await;
        let beneficiary = beneficiary.map_err(|error| self.failure(&error));
        let presence = if grant.rechecks.iter().any(|at| *at <= seen_at) {
            Some(self.told(&taken, self.inspect(&taken).await))
        } else {
            None
        };
        let checked = Command::Checked {
            epoch,
            beneficiary,
            presence,
            seen_at,
        };
        self.save(taken, &checked).await
    }

    // -------------------------------------------------------------------------------- revoking

    /// Deletes and reads back. A delete that was accepted is not repeated before a look shows
    /// that the access is still there.
    async fn revoke(
        &self,
        taken: AccessRequest,
        read_at: Timestamp,
    ) -> Result<Option<AccessRequest>, EngineError> {
        let Some(grant) = taken.grant() else {
            return Ok(None);
        };
        let Phase::Revoking { ending } = &grant.phase else {
            return Ok(None);
        };
        let (epoch, attempt) = (grant.epoch, ending.attempts);
        if ending.accepted_at.is_some() || !taken.place().provider.revocable {
            let seen_at = self.now();
            let read_back = self.told(&taken, self.inspect(&taken).await);
            let answered = Command::RevokeAnswered {
                epoch,
                attempt,
                answer: None,
                read_back,
                seen_at,
            };
            return self.save(taken, &answered).await;
        }
        let answer = self.send_delete(&taken, read_at).await;
        let answer = self.told(&taken, answer);
        let seen_at = self.now();
        let read_back = match answer {
            Err(failure) if matches!(failure.kind, ErrorKind::RateLimited { .. }) => Err(failure),
            Ok(_) | Err(_) => self.told(&taken, self.inspect(&taken).await),
        };
        let answered = Command::RevokeAnswered {
            epoch,
            attempt,
            answer: Some(answer),
            read_back,
            seen_at,
        };
        self.save(taken, &answered).await
    }

    /// Sends one delete. It is fenced like a grant: sent only within 30 s after the record was
    /// read, by the clock that the adapter judges by.
    async fn send_delete(
        &self,
        taken: &AccessRequest,
        read_at: Timestamp,
    ) -> Result<Answer, PortError> {
        let place = taken.place();
        let call = RevokeCall {
            request: taken.id,
            target: place.target,
            parameters: place.parameters,
            handle: taken.grant().and_then(|grant| grant.handle.as_ref()),
            send_before: read_at + crate::lifecycle::SEND_WITHIN,
        };
        self.provisioner_of(taken)?.revoke(call).await
    }

    async fn look(&self, taken: AccessRequest) -> Result<Option<AccessRequest>, EngineError> {
        let Some(epoch) = taken.grant().map(|grant| grant.epoch) else {
            return Ok(None);
        };
        let seen_at = self.now();
        let presence = self.told(&taken, self.inspect(&taken).await);
        let looked = Command::Looked {
            epoch,
            seen_at,
            presence,
        };
        self.save(taken, &looked).await
    }
}

/// The epoch under which this lease lets a grant call be sent; none where it led elsewhere.
pub(super) fn leased_epoch(before: &AccessRequest, after: &AccessRequest) -> Option<u32> {
    let grant = after.grant()?;
    let leased = matches!(
        grant.phase,
        Phase::Provisioning {
            sent: Sent::MaybeApplied
        }
    );
    let newer = before
        .grant()
        .is_none_or(|before| before.epoch < grant.epoch);
    (leased && newer).then_some(grant.epoch)
}
