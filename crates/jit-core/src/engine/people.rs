//! The commands of people and agents: open, decide, end, collect, read, pause.

use std::collections::BTreeSet;
use std::time::Duration;

use super::tend::leased_epoch;
use super::{Engine, EngineError, FLAGS, LOOK_UPS, PAUSED, TRIES};
use crate::audit::{AuditEvent, SystemFact};
use crate::catalog::{Entitlement, EntitlementId};
use crate::digest::sha256_json;
use crate::lifecycle::{
    Automatic, By, Command, MintedAs, OpenFacts, Opening, Refusal, Secret, Transition, decide, open,
};
use crate::policy::{Right, Verdict};
use crate::ports::{
    CommitError, Counter, Credential, ErrorKind, GrantCall, Idempotency, PortError, Query, Row,
    RowChange,
};
use crate::principal::{Principal, PrincipalId, Profile};
use crate::provider::{Handle, Kind, Parameters};
use crate::request::{AccessRequest, Reason, RequestId, Status};
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
    pub idempotency_key: Option<String>,
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
        reason: Option<Reason>,
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
            if let Some(key) = &key
                && let Some(used) = self.parts.store.idempotency(key).await?
            {
                return self.repeated(used, fingerprint).await;
            }
            let transition = self.judge_opening(&opening, automatic).await;
            let transition = self.note_refusal(&opening.by, None, transition).await?;
            let Some(request) = transition.request().cloned() else {
                break;
            };
            let idempotency = key.clone().map(|key| Idempotency {
                key,
                fingerprint,
                request: request.id,
                forget_at: request.opened_at + KEY_KEPT,
            });
            match self.commit(transition, idempotency).await {
                Ok(()) => return Ok(request),
                Err(CommitError::CounterFull { .. }) => automatic = Automatic::UsedUp,
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PortError::nothing_done("engine", "open a request", ErrorKind::Conflict).into())
    }

    async fn repeated(
        &self,
        used: Idempotency,
        fingerprint: crate::digest::Digest,
    ) -> Result<AccessRequest, EngineError> {
        if used.fingerprint != fingerprint {
            return Err(Refusal::IdempotencyMismatch.into());
        }
        let request = self.load(used.request).await?;
        Ok(request.ok_or(Refusal::UnknownRequest)?)
    }

    async fn judge_opening(
        &self,
        opening: &Opening,
        automatic: Automatic,
    ) -> Result<Transition, EngineError> {
        let requester_id = opening.by.profile.id.clone();
        let beneficiary_id = opening.beneficiary().clone();
        let ids = || [requester_id.clone(), beneficiary_id.clone()];
        for _ in 0..LOOK_UPS {
            let people = self.look_up(ids()).await?;
            let beneficiary = people.known.get(&beneficiary_id);
            let readiness = self.readiness().await?;
            // Refused here, no provider is asked anything.
            let (entitlement, ..) = opening.check(self.rules(), beneficiary, readiness)?;
            let facts = self.open_facts(entitlement, opening, beneficiary).await?;
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
                readiness: self.readiness().await?,
                automatic,
                ..facts
            };
            if self.is_fresh(people.looked_up_at) {
                return Ok(open(self.rules(), &opening, &facts, self.now())?);
            }
        }
        Err(PortError::nothing_done("directory", "look up", ErrorKind::Unavailable).into())
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
            provider: provisioner.describe(),
            presence: None,
            running_until: None,
            readiness: crate::lifecycle::Readiness::Ready,
            automatic: Automatic::Try,
        };
        let Some(beneficiary) = beneficiary else {
            return Ok(facts);
        };
        match provisioner
            .resolve(beneficiary, entitlement, parameters)
            .await
        {
            Ok(target) => facts.target = Some(target),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(facts),
            Err(error) => return Err(error.into()),
        }
        let Some(target) = &facts.target else {
            return Ok(facts);
        };
        if facts.provider.kind == Kind::Standing {
            let owned = self.owned(&target.slot_key(parameters)).await?;
            facts.running_until = Self::running_until(owned.as_ref());
            if !Self::has_live_owner(owned.as_ref()) {
                let look = crate::ports::InspectCall {
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

    // -------------------------------------------------------------------------------- deciding

    /// Does to a request what somebody asks, if they may.
    pub async fn handle(
        &self,
        via: &Principal,
        id: RequestId,
        verb: Verb,
    ) -> Result<AccessRequest, EngineError> {
        let mut stale = 0;
        let mut conflicts = 0;
        while stale < LOOK_UPS && conflicts < TRIES {
            let by = self.caller(via).await?;
            let known_at = self.parts.clock.now();
            let request = self.load(id).await?.ok_or(Refusal::UnknownRequest)?;
            // Whoever may not see it learns nothing from the refusal either.
            if !self.may_read(&by.profile, &request) {
                self.note_missing(&by, Some(id), verb.right()).await;
                return Err(Refusal::UnknownRequest.into());
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
                return Ok(request);
            };
            match self.commit(transition, None).await {
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
            Verb::Revoke { reason } => (
                Command::Revoke {
                    by,
                    reason: reason.clone(),
                },
                known_at,
            ),
        })
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
    async fn note_missing(&self, by: &By, request: Option<RequestId>, right: Right) {
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

    // ------------------------------------------------------------------------------ collecting

    /// Makes the credential of an approved minted grant and gives it to its asker, once.
    pub async fn collect(&self, via: &Principal, id: RequestId) -> Result<Collected, EngineError> {
        let by = self.caller(via).await?;
        let (leased, epoch) = self.lease_mint(&by, id).await?;
        let Some(grant) = leased.grant() else {
            return Err(Refusal::NotCollectable {
                status: leased.status(),
            }
            .into());
        };
        let part = leased.parts.first();
        let call = GrantCall {
            request: leased.id,
            target: &part.target,
            parameters: &part.parameters,
            expires_at: grant.expires_at,
            send_before: grant.send_before.unwrap_or(grant.approved_at),
        };
        let minted = match self.provisioner_of(&leased)?.mint(call).await {
            Ok(minted) => minted,
            Err(error) => {
                let answer = Err(self.failure(&error));
                let failed = Command::MintAnswered {
                    epoch,
                    answer,
                    secret: Secret::Dropped,
                };
                self.save(id, &failed).await?;
                return Err(error.into());
            }
        };
        let answer = Ok(MintedAs {
            handle: minted.handle.clone(),
            ends_at: minted.ends_at,
        });
        let given = Command::MintAnswered {
            epoch,
            answer: answer.clone(),
            secret: Secret::InHand,
        };
        let current = self.load(id).await?.ok_or(Refusal::UnknownRequest)?;
        match self.apply(&current, &given).await {
            Ok(Some(after)) if after.status() == Status::Active => Ok(Collected {
                secret: minted.secret,
                handle: minted.handle,
                request: after,
            }),
            Ok(Some(after)) => Err(Self::not_given(&after, minted.ends_at).into()),
            // Another change came first, or nobody knows whether it was saved: the secret is
            // dropped, and its name is kept for the revoke.
            unsaved @ (Ok(None) | Err(_)) => {
                drop(minted.secret);
                let dropped = Command::MintAnswered {
                    epoch,
                    answer,
                    secret: Secret::Dropped,
                };
                self.save(id, &dropped).await?;
                unsaved?;
                Err(Refusal::AlreadyCollected.into())
            }
        }
    }

    fn not_given(request: &AccessRequest, ends_at: Option<Timestamp>) -> Refusal {
        let ceiling = request
            .grant()
            .map(|grant| grant.expires_at + request.residual_max());
        match (ends_at, ceiling) {
            (Some(ends_at), Some(ceiling)) if ends_at > ceiling => {
                Refusal::CredentialOutlives { ends_at, ceiling }
            }
            _ => Refusal::NotCollectable {
                status: request.status(),
            },
        }
    }

    async fn lease_mint(
        &self,
        by: &By,
        id: RequestId,
    ) -> Result<(AccessRequest, u32), EngineError> {
        for _ in 0..TRIES {
            let request = self.load(id).await?.ok_or(Refusal::UnknownRequest)?;
            if !self.may_read(&by.profile, &request) {
                self.note_missing(by, Some(id), Right::Request).await;
                return Err(Refusal::UnknownRequest.into());
            }
            let (facts, looked_up_at) = self.lease_facts(&request).await?;
            let collect = Command::Collect {
                by: by.clone(),
                facts: Box::new(facts),
            };
            let transition = decide(self.rules(), &request, &collect, self.now())?;
            if !self.is_fresh(looked_up_at) {
                continue;
            }
            let Some(after) = transition.request().cloned() else {
                return Err(Refusal::NotCollectable {
                    status: request.status(),
                }
                .into());
            };
            match self.commit(transition, None).await {
                Ok(()) => {
                    let epoch = leased_epoch(&request, &after);
                    let refused = || Refusal::NotCollectable {
                        status: after.status(),
                    };
                    return Ok((after.clone(), epoch.ok_or_else(refused)?));
                }
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PortError::nothing_done("engine", "collect", ErrorKind::Unavailable).into())
    }

    // --------------------------------------------------------------------------------- reading

    /// Whether this principal may read this request: their own; one that they may decide or
    /// revoke; every one with the right to audit; a stuck one with the right to operate.
    pub fn may_read(&self, profile: &Profile, request: &AccessRequest) -> bool {
        if !profile.active {
            return false;
        }
        if profile.id == request.requester {
            return true;
        }
        // An agent sees only what it filed itself.
        if profile.is_agent() {
            return false;
        }
        let policy = &self.parts.policy;
        let over = |right| {
            let mut parts = request.parts.iter();
            parts.any(|part| policy.allows(right, profile, &part.entitlement))
        };
        let stuck = request.grant().is_some_and(|grant| grant.stuck.is_some());
        profile.id == request.beneficiary
            || over(Right::Approve)
            || over(Right::Revoke)
            || over(Right::Audit)
            || (stuck && policy.evaluate_anywhere(Right::Operate, profile).allowed)
    }

    /// One request with its audit. One that may not be read is answered like one that is not
    /// there.
    pub async fn read(&self, via: &Principal, id: RequestId) -> Result<Reading, EngineError> {
        let by = self.caller(via).await?;
        let request = self.load(id).await?.ok_or(Refusal::UnknownRequest)?;
        if !self.may_read(&by.profile, &request) {
            return Err(Refusal::UnknownRequest.into());
        }
        let events = self.parts.store.events(id).await?;
        let events = events
            .iter()
            .filter_map(|sealed| sealed.event().ok())
            .collect();
        Ok(Reading { request, events })
    }

    /// Requests that the caller may read, from the newest to the oldest.
    pub async fn list(
        &self,
        via: &Principal,
        mut query: Query,
    ) -> Result<Vec<AccessRequest>, EngineError> {
        let by = self.caller(via).await?;
        if let Some(principal) = &query.principal {
            let profile = self.parts.directory.profile(principal).await?;
            query.principal = Some(profile.map_or(principal.clone(), |profile| profile.id));
        }
        let wanted = query.limit.clamp(1, 1_000);
        query.limit = 1_000;
        let mut readable = vec![];
        loop {
            let page = self.parts.store.query(&query).await?;
            let full = page.len() == query.limit;
            query.after = page.last().map(|request| request.id).or(query.after);
            readable.extend(page.into_iter().filter(|it| self.may_read(&by.profile, it)));
            if readable.len() >= wanted || !full {
                readable.truncate(wanted);
                return Ok(readable);
            }
        }
    }

    /// The entitlements that the caller may request.
    pub async fn requestable(&self, via: &Principal) -> Result<Vec<Entitlement>, EngineError> {
        let by = self.caller(via).await?;
        let policy = &self.parts.policy;
        let mine = |entry: &&Entitlement| {
            let rights = [Right::Request, Right::OnBehalfOf, Right::Approve];
            rights
                .into_iter()
                .any(|right| policy.allows(right, &by.profile, &entry.id))
        };
        Ok(self.parts.catalog.iter().filter(mine).cloned().collect())
    }

    /// The one id that ends in these characters, of those that the caller may read.
    pub async fn find(&self, via: &Principal, suffix: &str) -> Result<RequestId, EngineError> {
        let by = self.caller(via).await?;
        let suffix = suffix.to_ascii_lowercase();
        let found = self.parts.store.by_suffix(&suffix).await?;
        let mut readable = BTreeSet::new();
        for id in found {
            let request = self.load(id).await?;
            if request.is_some_and(|request| self.may_read(&by.profile, &request)) {
                readable.insert(id);
            }
        }
        match readable.into_iter().collect::<Vec<_>>().as_slice() {
            [id] => Ok(*id),
            _ => Err(Refusal::UnknownRequest.into()),
        }
    }

    /// May this principal use this right over this entitlement, and why? One may ask about
    /// oneself; about others, with the right to audit.
    pub async fn explain(
        &self,
        via: &Principal,
        about: &PrincipalId,
        right: Right,
        entitlement: &EntitlementId,
    ) -> Result<Verdict, EngineError> {
        let by = self.caller(via).await?;
        let unknown = || Refusal::UnknownPrincipal { id: about.clone() };
        let profile = self.parts.directory.profile(about).await?;
        let auditor = self
            .parts
            .policy
            .allows(Right::Audit, &by.profile, entitlement);
        if profile
            .as_ref()
            .is_none_or(|profile| profile.id != by.profile.id)
            && !auditor
        {
            return Err(Refusal::NotAllowedAnywhere {
                right: Right::Audit,
            }
            .into());
        }
        Ok(self
            .parts
            .policy
            .evaluate(right, &profile.ok_or_else(unknown)?, entitlement))
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
        let verdict = self.parts.policy.evaluate_anywhere(right, &by.profile);
        let judged = match verdict.allowed {
            true => Ok(()),
            false => Err(Refusal::NotAllowedAnywhere { right }.into()),
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
