//! The commands of people and agents: open, decide, end, collect, read, pause.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{try_join, try_join3};
use futures_util::{FutureExt, TryFutureExt};

use super::{
    Along, Engine, EngineError, FLAGS, LOOK_UPS, Own, PAUSED, Reach, Recent, TRIES, eligible,
};
use crate::audit::{AuditEvent, SystemFact};
use crate::catalog::{Entitlement, EntitlementId};
use crate::digest::sha256_json;
use crate::lifecycle::{
    Automatic, By, Command, Failure, OPENED, OpenFacts, Opening, Readiness, Refusal, Transition,
    decide, open, opened_limit, revokes_by_manager,
};
use crate::policy::{Authority, Right, Span, Tier, Who};
use crate::ports::{
    CommitError, Counter, Credential, ErrorKind, Idempotency, PortError, Row, RowChange,
};
use crate::principal::{BadName, Principal, PrincipalId, Profile};
use crate::provider::{Handle, Kind, Parameters};
use crate::request::{AccessRequest, Fallback, IdempotencyKey, Reason, RequestId};
use crate::time::{Timestamp, Ttl};

/// How many refusals of one principal are written to the audit in a minute.
const REFUSALS_NOTED: u32 = 8;
/// How long an `Idempotency-Key` is remembered.
const KEY_KEPT: Duration = Duration::from_secs(86_400);

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// For whom; the caller, or an agent's person, where unset.
    pub beneficiary: Option<PrincipalId>,
    /// What, with which parameters.
    pub parts: Vec<(EntitlementId, Parameters)>,
    /// For how long; the tier's default where unset.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: Reason,
    /// The same key with the same ask gives the same request, for a day.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl NewRequest {
    fn fingerprint(&self) -> crate::digest::Digest {
        sha256_json(&(&self.beneficiary, &self.parts, self.ttl, &self.reason))
    }
}

/// What people do to a request that exists.
#[derive(Debug, Clone)]
pub enum Verb {
    /// Say yes, perhaps for less time, to what has this digest.
    Approve {
        /// The shorter time.
        ttl: Option<Ttl>,
        /// At least the first 16 digits of the digest of what was shown.
        digest: String,
    },
    /// Say no to what has this digest.
    Deny {
        /// Why.
        reason: Reason,
        /// At least the first 16 digits of the digest of what was shown.
        digest: String,
    },
    /// Take one's own approval back.
    Retract,
    /// Take a pending request back.
    Withdraw,
    /// Return the access early.
    End,
    /// Take the access away from somebody.
    Revoke {
        /// Why.
        reason: Option<Reason>,
    },
}

impl Verb {
    /// The right that somebody lacks who may not even see what they say this to.
    fn right(&self) -> Right {
        match self {
            Self::Approve { .. } | Self::Deny { .. } | Self::Retract => Right::Approve,
            Self::Withdraw | Self::End => Right::Request,
            Self::Revoke { .. } => Right::Revoke,
        }
    }
}

/// A credential on its way to its asker, once.
#[derive(Debug)]
pub struct Collected {
    /// The secret.
    pub secret: Credential,
    /// Its name at the provider.
    pub handle: Option<Handle>,
    /// What else its asker may want to know, by name. Nothing of it is secret.
    pub notes: BTreeMap<&'static str, String>,
    /// When its provider ends it, where that says so.
    pub ends_at: Option<Timestamp>,
    /// The request it belongs to.
    pub request: AccessRequest,
}

/// What somebody may read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The request.
    pub request: AccessRequest,
    /// Its audit, in order.
    pub events: Vec<AuditEvent>,
}

impl Engine {
    // --------------------------------------------------------------------------------- opening

    /// Opens a request.
    pub async fn open(
        &self,
        via: &Principal,
        ask: NewRequest,
    ) -> Result<AccessRequest, EngineError> {
        self.open_by(via, ask, None).await
    }

    /// Opens a request that an input of the inbox asks for. Where this succeeds the input is done,
    /// at the same instant: nobody who takes it over later asks again.
    pub async fn open_by(
        &self,
        via: &Principal,
        ask: NewRequest,
        input: Option<&str>,
    ) -> Result<AccessRequest, EngineError> {
        self.check_store()?;
        let by = self.caller(via).await?;
        let key = ask
            .idempotency_key
            .as_ref()
            .map(|key| format!("{}/{key}", by.profile.id));
        let fingerprint = ask.fingerprint();
        let opening = Opening {
            by,
            beneficiary: ask.beneficiary,
            parts: ask.parts,
            ttl: ask.ttl,
            reason: ask.reason,
        };
        let mut automatic = Automatic::Try;
        for _ in 0..TRIES {
            let repeated = self.repeated(key.as_deref(), fingerprint);
            let readiness = self.readiness().map_err(EngineError::from);
            let (repeated, readiness) = try_join(repeated, readiness).await?;
            // Whoever asked before hears what they heard then, whatever would be said now.
            if let Some(request) = repeated {
                return Ok(self.unchanged(request, input).await);
            }
            // The turn is read before anything is counted, so that nobody asks in between unseen.
            let turn = self.turn_of(&opening.by.profile).await?;
            let open_now = self.open_now(&opening.by.profile).await?;
            let judged = self.judge_opening(&opening, automatic, readiness, open_now);
            let transition = self.note_refusal(&opening.by, None, judged.await).await?;
            let Some(request) = transition.request().cloned() else {
                break;
            };
            let idempotency = key.clone().map(|key| Idempotency {
                key,
                fingerprint,
                request: request.id,
                forget_at: request.opened_at + KEY_KEPT,
            });
            let along = Along {
                idempotency,
                input: input.map(str::to_owned),
                rows: turn.into_iter().collect(),
            };
            match self.commit(transition, along).await {
                Ok(()) => return Ok(request),
                Err(CommitError::CounterFull { key }) if key.starts_with(OPENED) => {
                    let ceiling = opened_limit(&opening.by.profile);
                    return Err(Refusal::TooManyRequests { ceiling }.into());
                }
                Err(CommitError::CounterFull { .. }) => automatic = Automatic::UsedUp,
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PortError::nothing_done("engine", "open a request", ErrorKind::Conflict).into())
    }

    /// The request that was made with this key.
    async fn repeated(
        &self,
        key: Option<&str>,
        fingerprint: crate::digest::Digest,
    ) -> Result<Option<AccessRequest>, EngineError> {
        let Some(key) = key else {
            return Ok(None);
        };
        let used = self.parts.store.idempotency(key).await?;
        let Some(used) = used.filter(|used| used.forget_at > self.now()) else {
            return Ok(None);
        };
        if used.fingerprint != fingerprint {
            return Err(Refusal::IdempotencyMismatch.into());
        }
        let request = self.load(used.request).await?;
        Ok(Some(request.ok_or(Refusal::UnknownRequest)?))
    }

    /// An input that changes nothing is done as well.
    async fn unchanged(&self, request: AccessRequest, input: Option<&str>) -> AccessRequest {
        if let Some(input) = input
            && let Err(error) = self.parts.store.inbox_done(input).await
        {
            // It is taken again later, and changes nothing again.
            tracing::warn!(error = %error.chain(), "an input could not be marked as done");
        }
        request
    }

    async fn judge_opening(
        &self,
        opening: &Opening,
        automatic: Automatic,
        mut readiness: Readiness,
        open_now: usize,
    ) -> Result<Transition, EngineError> {
        let requester_id = opening.by.profile.id.clone();
        let beneficiary_id = opening.beneficiary().clone();
        let ids = || [requester_id.clone(), beneficiary_id.clone()];
        for _ in 0..LOOK_UPS {
            let people = self.look_up(ids()).await?;
            let beneficiary = people.known.get(&beneficiary_id);
            // Refused here, no provider is asked anything.
            let (entitlement, tier, _) =
                opening.check(self.rules(), beneficiary, readiness, open_now, self.now())?;
            let asked = self.open_facts(&entitlement, opening, beneficiary);
            let still = self.readiness().map_err(EngineError::from);
            // What waits for no decision needs nobody who makes it.
            let waits = tier.automatic.is_none() || automatic == Automatic::UsedUp;
            let found = async {
                match waits {
                    true => {
                        self.deciders(&entitlement.id, tier, opening, beneficiary)
                            .await
                    }
                    false => None,
                }
            };
            let (facts, deciders);
            (facts, readiness, deciders) = try_join3(asked, still, found.map(Ok)).await?;
            // People come last, so that they are the freshest.
            let people = self.look_up(ids()).await?;
            let unknown = || Refusal::UnknownPrincipal {
                id: requester_id.clone(),
            };
            let profile = people.known.get(&requester_id).ok_or_else(unknown)?.clone();
            let via = opening.by.via.clone();
            let opening = Opening {
                by: By { profile, via },
                ..opening.clone()
            };
            let facts = OpenFacts {
                beneficiary: people.known.get(&beneficiary_id).cloned(),
                deciders,
                readiness,
                automatic,
                open_now,
                ..facts
            };
            if self.is_fresh(people.looked_up_at) {
                let opened = open(self.rules(), &opening, &facts, self.now())?;
                return Ok(Transition {
                    good_for: Some(self.freshness_left(people.looked_up_at)),
                    ..opened
                });
            }
        }
        Err(PortError::nothing_done("directory", "look up", ErrorKind::Unavailable).into())
    }

    /// How many people may decide this, found out now; none where that cannot be told, or everybody
    /// may.
    async fn deciders(
        &self,
        on: &EntitlementId,
        tier: &Tier,
        opening: &Opening,
        beneficiary: Option<&Profile>,
    ) -> Option<usize> {
        let own = Own {
            requester: &opening.by.profile.id,
            beneficiary: beneficiary?,
        };
        let opened_at = self.now();
        // At the end of the window it has lapsed: the last decision comes before that.
        let window = tier.decision_window.duration();
        let span = Span {
            opened_at,
            from: opened_at,
            until: opened_at + window.saturating_sub(Duration::from_micros(1)),
        };
        let deciders = self.parts.policy.deciders(on, span);
        // Nobody is asked about the others whom the rules name.
        let anybody = |named: &BTreeSet<&Who>| named.contains(&Who::AnyPerson);
        let is_open = anybody(&deciders.allowed) && !anybody(&deciders.denied);
        if is_open {
            return None;
        }
        let directory = self.parts.directory.as_ref();
        let found = eligible(&deciders, directory, own, Recent::Now).await;
        match found.reach {
            Reach::Whole => Some(found.people.len()),
            Reach::Everybody | Reach::Unsure => None,
        }
    }

    /// What the provider and the slot say about an ask.
    async fn open_facts(
        &self,
        entitlement: &Entitlement,
        opening: &Opening,
        beneficiary: Option<&Profile>,
    ) -> Result<OpenFacts, EngineError> {
        let provisioner = self.provisioner(&entitlement.id.provider())?;
        let (_, parameters) = opening.part()?;
        let now = self.now();
        let mut facts = OpenFacts {
            id: self.new_id(now),
            beneficiary: None,
            target: None,
            called: None,
            why_not: None,
            provider: provisioner.describe(),
            fallback: None,
            presence: None,
            running_until: None,
            deciders: None,
            readiness: Readiness::Ready,
            automatic: Automatic::Try,
            open_now: 0,
        };
        let Some(beneficiary) = beneficiary else {
            return Ok(facts);
        };
        match provisioner
            .resolve(beneficiary, entitlement, parameters)
            .await
        {
            Ok(resolved) => {
                let provider = entitlement.id.provider();
                let called = resolved.name.as_ref();
                // A name that is none stands for no entitlement, so it is nobody's either.
                let called = called.map(|name| format!("{provider}/{name}").parse());
                facts.called = called.transpose().map_err(|error: BadName| {
                    let kind = ErrorKind::Misconfigured;
                    PortError::nothing_done("engine", "name what is asked for", kind).because(error)
                })?;
                facts.provider = resolved.described(facts.provider);
                facts.target = Some(resolved.target);
            }
            Err(error) => {
                facts.why_not = why_not(error)?;
                return Ok(facts);
            }
        }
        if let Some(instead) = &entitlement.fallback {
            match self.fallback(instead, beneficiary, parameters).await {
                Ok(fallback) => facts.fallback = Some(fallback),
                Err(error) => {
                    (facts.target, facts.why_not) = (None, why_not(error)?);
                    return Ok(facts);
                }
            }
        }
        let Some(target) = &facts.target else {
            return Ok(facts);
        };
        if facts.provider.kind == Kind::Standing {
            let owned = self.owned(&target.slot_key(parameters)).await?;
            facts.running_until = Self::running_until(owned.as_ref());
            if !Self::has_live_owner(owned.as_ref()) {
                let look = crate::ports::InspectCall {
                    purpose: crate::ports::Purpose::Give,
                    request: facts.id,
                    target,
                    parameters,
                    handle: None,
                    expires_at: now,
                    send_before: None,
                };
                facts.presence = Some(provisioner.inspect(look).await?);
            }
        }
        Ok(facts)
    }

    /// Where else a credential may come from, as it is now.
    async fn fallback(
        &self,
        instead: &EntitlementId,
        beneficiary: &Profile,
        parameters: &Parameters,
    ) -> Result<Fallback, PortError> {
        let missing = || PortError::nothing_done("engine", "fall back", ErrorKind::Misconfigured);
        let catalog = &self.parts.catalog;
        let entitlement = catalog.get(instead).ok_or_else(missing)?;
        let provisioner = self.provisioner(&instead.provider())?;
        let resolved = provisioner.resolve(beneficiary, &entitlement, parameters);
        let resolved = resolved.await?;
        Ok(Fallback {
            entitlement: instead.clone(),
            provider: resolved.described(provisioner.describe()),
            target: resolved.target,
        })
    }

    // -------------------------------------------------------------------------------- deciding

    /// Does to a request what somebody asks, if they may.
    pub async fn handle(
        &self,
        via: &Principal,
        id: RequestId,
        verb: Verb,
    ) -> Result<AccessRequest, EngineError> {
        self.handle_by(via, id, verb, None).await
    }

    /// Does to a request what an input of the inbox asks. Where this succeeds the input is done, at
    /// the same instant: nobody who takes it over later does it again.
    pub async fn handle_by(
        &self,
        via: &Principal,
        id: RequestId,
        verb: Verb,
        input: Option<&str>,
    ) -> Result<AccessRequest, EngineError> {
        if matches!(verb, Verb::Approve { .. }) {
            self.check_store()?;
        }
        let mut stale = 0;
        let mut conflicts = 0;
        while stale < LOOK_UPS && conflicts < TRIES {
            let known_at = self.parts.clock.now();
            let by = self.caller(via).await?;
            let request = self.load(id).await?.ok_or(Refusal::UnknownRequest)?;
            // Whoever may not see it learns nothing from the refusal either.
            let reads = self.check_reads(&by.profile, &request, Recent::Now);
            if let Err(error) = reads.await {
                if matches!(error, EngineError::Refused(Refusal::UnknownRequest)) {
                    self.note_missing(&by, Some(id), verb.right()).await;
                }
                return Err(error);
            }
            let (command, looked_up_at) = self.command(&by, known_at, &request, &verb).await?;
            let judged = decide(self.rules(), &request, &command, self.now());
            let judged = judged.map_err(EngineError::from);
            let transition = self.note_refusal(&by, Some(id), judged).await?;
            if !self.is_fresh(looked_up_at) {
                stale += 1;
                continue;
            }
            let Some(after) = transition.request().cloned() else {
                return Ok(self.unchanged(request, input).await);
            };
            let transition = Transition {
                good_for: Some(self.freshness_left(looked_up_at)),
                ..transition
            };
            let along = Along {
                input: input.map(str::to_owned),
                ..Along::default()
            };
            match self.commit(transition, along).await {
                Ok(()) => return Ok(after),
                Err(CommitError::Conflict) => conflicts += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Err(PortError::nothing_done("engine", "decide", ErrorKind::Unavailable).into())
    }

    async fn command(
        &self,
        by: &By,
        known_at: Timestamp,
        request: &AccessRequest,
        verb: &Verb,
    ) -> Result<(Command, Timestamp), EngineError> {
        let by = by.clone();
        Ok(match verb {
            Verb::Approve { ttl, digest } => {
                let (facts, looked_up_at) = self.facts_for(request).await?;
                let (ttl, digest) = (*ttl, digest.clone());
                (
                    Command::Approve {
                        by,
                        ttl,
                        digest,
                        facts,
                    },
                    looked_up_at.min(known_at),
                )
            }
            Verb::Deny { reason, digest } => {
                let (facts, looked_up_at) = self.facts_for(request).await?;
                let (reason, digest) = (reason.clone(), digest.clone());
                (
                    Command::Deny {
                        by,
                        reason,
                        digest,
                        facts,
                    },
                    looked_up_at.min(known_at),
                )
            }
            Verb::Retract => (Command::Retract { by }, known_at),
            Verb::Withdraw => (Command::Withdraw { by }, known_at),
            Verb::End => (Command::End { by }, known_at),
            Verb::Revoke { reason } => {
                let reason = reason.clone();
                let (by, beneficiary, known_at) = self.revoker(by, known_at, request).await?;
                (
                    Command::Revoke {
                        by,
                        reason,
                        beneficiary,
                    },
                    known_at,
                )
            }
        })
    }

    /// Whoever revokes, and from whom where that matters to their right.
    async fn revoker(
        &self,
        by: By,
        known_at: Timestamp,
        request: &AccessRequest,
    ) -> Result<(By, Result<Option<Profile>, Failure>, Timestamp), EngineError> {
        if !revokes_by_manager(self.rules(), request, &by.profile, self.now()) {
            return Ok((by, Ok(None), known_at));
        }
        match self.parts.directory.profile(&request.beneficiary).await {
            Ok(beneficiary) => Ok((by, Ok(beneficiary), known_at)),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "from whom access is taken cannot be found out");
                let failure = self.failure(&error);
                // Nothing may have taken long to find out, and what is known of them too old by now.
                let known_at = self.parts.clock.now();
                Ok((self.caller(&by.via).await?, Err(failure), known_at))
            }
        }
    }

    /// A refusal for want of a right goes to the audit.
    async fn note_refusal<T>(
        &self,
        by: &By,
        request: Option<RequestId>,
        judged: Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if let Err(EngineError::Refused(refusal)) = &judged
            && let Some(right) = refusal.missing_right()
        {
            self.note_missing(by, request, right).await;
        }
        judged
    }

    /// Writes down that somebody tried what they have no right to, a few times a minute each, so
    /// that nobody fills the chain by trying.
    pub(super) async fn note_missing(&self, by: &By, request: Option<RequestId>, right: Right) {
        let now = self.now();
        let counter = Counter {
            key: format!("refused/{}", by.profile.id),
            window: now.unix_micros().unsigned_abs() / 60_000_000,
            ceiling: REFUSALS_NOTED,
            forget_at: now + Duration::from_secs(120),
        };
        let fact = SystemFact::AuthorityRefused { right, request };
        match self.record_counted(&by.actor(), fact, counter).await {
            Ok(()) | Err(CommitError::CounterFull { .. }) => {}
            Err(error) => {
                tracing::error!(error = %error, "a refused authority could not be audited");
            }
        }
    }

    // ------------------------------------------------------------------------------- operating

    /// Stops new access. Revokes are never stopped.
    pub async fn pause(&self, via: &Principal) -> Result<(), EngineError> {
        self.set_flag(via, "true", SystemFact::Paused).await
    }

    /// Lets new access go on.
    pub async fn resume(&self, via: &Principal) -> Result<(), EngineError> {
        self.set_flag(via, "false", SystemFact::Resumed).await
    }

    async fn set_flag(
        &self,
        via: &Principal,
        value: &str,
        fact: SystemFact,
    ) -> Result<(), EngineError> {
        let by = self.caller(via).await?;
        let right = Right::Operate;
        let policy = &self.parts.policy;
        let verdict = policy.evaluate_anywhere(right, &by.profile, self.now());
        let judged = match verdict.answer() {
            Authority::Yes => Ok(()),
            Authority::Unsure => Err(Refusal::CannotTell.into()),
            Authority::No => Err(Refusal::NotAllowedAnywhere { right }.into()),
        };
        self.note_refusal(&by, None, judged).await?;
        let before = self.parts.store.row(FLAGS, PAUSED).await?;
        let row = Row {
            table: FLAGS,
            key: PAUSED.to_owned(),
            value: value.to_owned(),
        };
        let change = RowChange {
            row,
            expected: before.map(|row| row.value),
        };
        Ok(self.record_system(&by.actor(), fact, vec![change]).await?)
    }
}

/// What whoever asked is told of why it cannot be granted; an error where that is not known.
fn why_not(error: PortError) -> Result<Option<&'static str>, PortError> {
    if error.told.is_some() && !error.kind.is_retryable() {
        tracing::info!(error = %error.chain(), "what was asked for cannot be granted");
        return Ok(error.told);
    }
    match error.kind {
        ErrorKind::NotFound => Ok(None),
        ErrorKind::Conflict
        | ErrorKind::Forbidden
        | ErrorKind::RateLimited { .. }
        | ErrorKind::Unavailable
        | ErrorKind::Misconfigured => Err(error),
    }
}
