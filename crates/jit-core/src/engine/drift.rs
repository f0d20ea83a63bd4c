//! Looking for access that no grant explains, and for grants whose access is missing (S8). One step
//! is one question to a provider, so that whoever takes the steps sets the pace; what is found is
//! judged by [`crate::lifecycle`], kept in small rows, audited and paged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Along, Engine, EngineError};
use crate::audit::{Actor, SystemFact};
use crate::catalog::{Entitlement, EntitlementId, ProviderName};
use crate::lifecycle::{Command, DRIFT_OURS_FOR, Refusal, decide};
use crate::policy::{Authority, Policy, Right};
use crate::ports::{
    Alarm, Commit, CommitError, ErrorKind, InspectCall, Page, PortError, Purpose, Query, Row,
    RowChange, Standing,
};
use crate::principal::Principal;
use crate::provider::{Kind, Presence, SlotKey, Target};
use crate::request::{AccessRequest, Part, Phase, Slot, Status};
use crate::time::Timestamp;

/// The small rows that hold what was found, by slot.
const DRIFT: &str = "drift";
/// How much is written at once.
const CHUNK: usize = 20;
/// For how long what is granted is not read again.
const LIVE_FOR: Duration = Duration::from_secs(10);
/// More pages than any listing has.
const PAGES_LIMIT: usize = 10_000;
/// How often a step is judged again after another change came first.
const TRIES: usize = 3;

/// Access that stands at a provider and that no grant explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The configured provider.
    pub provider: ProviderName,
    /// Whose, and what.
    pub target: Target,
    /// When it was first seen.
    pub found_at: Timestamp,
    /// When somebody was paged for it.
    pub told_at: Option<Timestamp>,
    /// When it was found gone, or explained.
    pub gone_at: Option<Timestamp>,
}

/// What somebody who operates the service may see of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drifted {
    /// Access without a grant, the longest known first.
    pub unexplained: Vec<Drift>,
    /// Grants whose access is missing, by other hands.
    pub missing: Vec<AccessRequest>,
}

/// One look at everything that a provider has.
#[derive(Debug)]
pub struct Reconciliation {
    provider: ProviderName,
    /// What is still to be looked up, and then listed.
    entitlements: VecDeque<Entitlement>,
    resources: VecDeque<String>,
    /// Everything that was or will be listed, with what can be asked for that leads to it.
    known: BTreeMap<String, BTreeSet<EntitlementId>>,
    listing: Option<Listing>,
    /// What stands and no grant was seen for, and grants that were not seen to stand, of what was
    /// listed last: each is still to be looked at.
    suspects: VecDeque<Sight>,
    absent: VecDeque<AccessRequest>,
    /// Those of which every page was seen, with when that began.
    listed: BTreeMap<String, Timestamp>,
    /// What was known when the look began, and what it found.
    known_strange: BTreeSet<Sight>,
    unexplained: BTreeSet<Sight>,
    /// What could not be judged.
    unsure: BTreeSet<Sight>,
    left_out: usize,
    /// What was granted, and when that was read.
    live: Option<(Vec<AccessRequest>, Timestamp)>,
}

#[derive(Debug)]
struct Listing {
    resource: String,
    page: Option<String>,
    is_whole: bool,
    turned: usize,
    began_at: Timestamp,
    /// What was listed, with the slots that were told for it.
    seen: BTreeMap<Target, BTreeSet<Option<SlotKey>>>,
}

/// Access that stands: whose, and in which slot. One target has a slot for each choice of parameters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sight {
    target: Target,
    slot: SlotKey,
}

impl Sight {
    /// Of what was asked for without parameters.
    fn plain(target: &Target) -> Self {
        Self {
            slot: target.slot_key(&Default::default()),
            target: target.clone(),
        }
    }

    fn of(part: &Part) -> Self {
        Self {
            target: part.target.clone(),
            slot: part.slot_key(),
        }
    }

    /// Of what was written down: the row has the name of the slot.
    fn kept(row: &Row, drift: &Drift) -> Self {
        let slot = row.key.parse();
        Self {
            slot: slot.unwrap_or_else(|_| drift.target.slot_key(&Default::default())),
            target: drift.target.clone(),
        }
    }
}

impl Listing {
    /// Whether this may be what was listed: of a thing that names no slot, any slot of its target may
    /// be the one.
    fn may_show(&self, sight: &Sight) -> bool {
        let told = self.seen.get(&sight.target);
        told.is_some_and(|told| told.contains(&None) || told.contains(&Some(sight.slot.clone())))
    }
}

/// How far a look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to ask.
    Going,
    /// Everything was asked, and what was found is written down.
    Done(Outcome),
}

/// What a look came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Access that no grant explains.
    pub unexplained: usize,
    /// What could not be listed.
    pub left_out: usize,
}

impl Reconciliation {
    /// Which provider is looked at.
    pub fn provider(&self) -> &ProviderName {
        &self.provider
    }

    /// Whether all was asked, and only what was found is to be written down.
    pub fn is_asked(&self) -> bool {
        let nothing_left = self.entitlements.is_empty() && self.resources.is_empty();
        let nothing_begun = self.suspects.is_empty() && self.absent.is_empty();
        self.listing.is_none() && nothing_left && nothing_begun
    }

    /// Leaves out what cannot be looked at now, and goes on with the next.
    pub fn skip(&mut self) {
        self.left_out += 1;
        if let Some(sight) = self.suspects.pop_front() {
            self.unsure.insert(sight);
        } else if self.absent.pop_front().is_none() && self.listing.take().is_none() {
            self.entitlements.pop_front();
        }
    }

    /// Another resource that is ours to look at, because of this entitlement.
    fn add(&mut self, resource: String, entitlement: Option<EntitlementId>) {
        if !self.known.contains_key(&resource) {
            self.resources.push_back(resource.clone());
        }
        let entitlements = self.known.entry(resource).or_default();
        entitlements.extend(entitlement);
    }

    /// Whether this is meant to stand without a grant.
    fn is_exempt(&self, policy: &Policy, target: &Target) -> bool {
        let mut leading_there = self.known.get(&target.resource).into_iter().flatten();
        leading_there.any(|entitlement| policy.exempts(&target.subject, entitlement))
    }
}

impl Engine {
    // ------------------------------------------------------------------------------ everything

    /// Begins a look at everything that a provider has: what can be asked for there, and whatever was
    /// granted and may still be there. None for a provider of credentials, which has nothing to list.
    pub async fn reconciliation(
        &self,
        provider: &ProviderName,
    ) -> Result<Option<Reconciliation>, PortError> {
        let described = self.provisioner(provider)?.describe();
        if described.kind != Kind::Standing {
            return Ok(None);
        }
        let mut look = Reconciliation {
            provider: provider.clone(),
            entitlements: self.offered_by(provider).into(),
            resources: VecDeque::new(),
            known: BTreeMap::new(),
            listing: None,
            suspects: VecDeque::new(),
            absent: VecDeque::new(),
            listed: BTreeMap::new(),
            known_strange: BTreeSet::new(),
            unexplained: BTreeSet::new(),
            unsure: BTreeSet::new(),
            left_out: 0,
            live: None,
        };
        // Entitlements come and go with the configuration; what was given stays.
        let granted = self.live().await?.into_iter().chain(self.fresh().await?);
        for request in granted {
            let part = request.parts.first();
            if part.entitlement.provider() == *provider {
                let resource = part.target.resource.clone();
                look.add(resource, Some(part.entitlement.clone()));
            }
        }
        for (row, drift) in self.drift_rows().await? {
            if drift.provider == *provider && drift.gone_at.is_none() {
                look.known_strange.insert(Sight::kept(&row, &drift));
                look.add(drift.target.resource, None);
            }
        }
        Ok(Some(look))
    }

    /// Takes the next step: at most one question is asked. Where it fails nothing is lost, and the
    /// same step can be taken again.
    pub async fn reconcile(&self, look: &mut Reconciliation) -> Result<Progress, PortError> {
        if let Some(sight) = look.suspects.front() {
            let strange = self.strange(&look.provider, sight).await?;
            look.suspects.pop_front();
            look.unexplained.extend(strange);
            return Ok(Progress::Going);
        }
        if let Some(request) = look.absent.front() {
            self.look_for_missing(request).await?;
            look.absent.pop_front();
            return Ok(Progress::Going);
        }
        if let Some(entitlement) = look.entitlements.front() {
            let provisioner = self.provisioner(&look.provider)?;
            let resource = provisioner.resource(entitlement).await?;
            let entitlement = look.entitlements.pop_front().map(|it| it.id);
            if let Some(resource) = resource {
                look.add(resource, entitlement);
            }
            return Ok(Progress::Going);
        }
        let Some(mut listing) = look.listing.take().or_else(|| self.next_listing(look)) else {
            return self.note_drift(look).await.map(Progress::Done);
        };
        let turned = self.turn(&look.provider, &mut listing).await;
        let is_whole = turned.is_ok() && listing.is_whole;
        let compared = match is_whole {
            true => self.compare(look, &listing).await,
            false => turned,
        };
        if is_whole && compared.is_ok() {
            look.listed.insert(listing.resource, listing.began_at);
        } else {
            look.listing = Some(listing);
        }
        compared.map(|()| Progress::Going)
    }

    fn next_listing(&self, look: &mut Reconciliation) -> Option<Listing> {
        Some(Listing {
            resource: look.resources.pop_front()?,
            page: None,
            is_whole: false,
            turned: 0,
            began_at: self.now(),
            seen: BTreeMap::new(),
        })
    }

    /// Reads the next page of a listing, if there is one.
    async fn turn(&self, provider: &ProviderName, listing: &mut Listing) -> Result<(), PortError> {
        if listing.is_whole {
            return Ok(());
        }
        if listing.turned == PAGES_LIMIT {
            let kind = ErrorKind::Misconfigured;
            let error = PortError::nothing_done("engine", "list all of a provider", kind);
            return Err(error.because("a listing goes on for ever"));
        }
        let provisioner = self.provisioner(provider)?;
        let page = listing.page.as_deref();
        let page = match provisioner.standing(&listing.resource, page).await {
            // Whatever is gone has nobody in it.
            Err(error) if error.kind == ErrorKind::NotFound => Page {
                items: vec![],
                next: None,
            },
            page => page?,
        };
        for Standing { target, slot } in page.items {
            listing.seen.entry(target).or_default().insert(slot);
        }
        listing.page = page.next;
        listing.is_whole = listing.page.is_none();
        listing.turned += 1;
        Ok(())
    }

    /// Holds what stands against what is granted.
    async fn compare(&self, look: &mut Reconciliation, listing: &Listing) -> Result<(), PortError> {
        // However old this is: what it lacks is looked up one by one, and what it has too much of
        // is judged by the record as it is then.
        if look
            .live
            .as_ref()
            .is_none_or(|(_, at)| self.now() >= *at + LIVE_FOR)
        {
            look.live = Some((self.live().await?, self.now()));
        }
        let live = look.live.iter().flat_map(|(live, _)| live);
        let granted: BTreeMap<Sight, &AccessRequest> = live
            .map(|request| (Sight::of(request.parts.first()), request))
            .collect();
        let absent = granted.iter().filter(|(sight, request)| {
            let since = request.grant().and_then(|grant| grant.active_at);
            let was_there = since.is_some_and(|at| at < listing.began_at);
            let is_listed = sight.target.resource == listing.resource;
            is_listed && was_there && !listing.may_show(sight)
        });
        let absent = absent.map(|(_, request)| (*request).clone()).collect();
        let policy = &self.parts.policy;
        let held: BTreeSet<&Target> = granted.keys().map(|sight| &sight.target).collect();
        let (mut suspects, mut nameless) = (BTreeSet::new(), BTreeSet::new());
        for (target, told) in &listing.seen {
            if look.is_exempt(policy, target) {
                continue;
            }
            let sights = told.iter().flatten().map(|slot| Sight {
                target: target.clone(),
                slot: slot.clone(),
            });
            suspects.extend(sights);
            if told.contains(&None) {
                // What was found before in a slot of this target may be what stands. A grant
                // explains a thing that names no slot, whatever its parameters.
                let explained = held.contains(target).then(|| Sight::plain(target));
                let before = look.known_strange.iter().filter(|it| it.target == *target);
                suspects.extend(before.filter(|it| Some(*it) != explained.as_ref()).cloned());
                if explained.is_none() {
                    nameless.insert(target.clone());
                }
            }
        }
        suspects.extend(self.slots_of(nameless, &suspects).await?);
        suspects.retain(|sight| !granted.contains_key(sight));
        look.absent = absent;
        look.suspects = suspects.into_iter().collect();
        Ok(())
    }

    /// The slots in which these may stand: those that were granted lately, and where there is none
    /// the one without parameters. Slots that are known already leave no room for that one.
    async fn slots_of(
        &self,
        nameless: BTreeSet<Target>,
        known: &BTreeSet<Sight>,
    ) -> Result<BTreeSet<Sight>, PortError> {
        if nameless.is_empty() {
            return Ok(BTreeSet::new());
        }
        let live = self.live().await?.into_iter().chain(self.fresh().await?);
        let parts: Vec<Part> = live.flat_map(|it| Vec::from(it.parts)).collect();
        let granted = parts.iter().filter(|part| nameless.contains(&part.target));
        let mut slots: BTreeSet<Sight> = granted.map(Sight::of).collect();
        for target in nameless {
            if !slots.iter().chain(known).any(|it| it.target == target) {
                slots.insert(Sight::plain(&target));
            }
        }
        Ok(slots)
    }

    /// Access that stands and that no grant explains, as it is written down then; it is taken away
    /// again where the last grant of its slot may be the cause.
    async fn strange(
        &self,
        provider: &ProviderName,
        sight: &Sight,
    ) -> Result<Option<Sight>, PortError> {
        for _ in 0..TRIES {
            let owned = self.owned(&sight.slot).await?;
            // The slot is taken before a grant call is sent: without one, none of ours ever was. What
            // such a thing says its slot is, is anybody's word, and could be that of another target.
            let Some((slot, owner)) = owned.and_then(|it| Some((it.slot, it.owner?))) else {
                let plain = Sight::plain(&sight.target);
                self.keep(provider, &plain).await?;
                return Ok(Some(plain));
            };
            // What was granted to one person explains nothing that another has by a copy of it.
            if owner.parts.first().target != sight.target {
                let copy = Sight::plain(&sight.target);
                self.keep(provider, &copy).await?;
                return Ok(Some(copy));
            }
            if owner.status().is_live() {
                return Ok(None);
            }
            // It may have been taken away since it was listed.
            let seen_at = self.now();
            if self.look_at(provider, &sight.target, &owner).await? != Presence::Present {
                return Ok(None);
            }
            if self.found_standing(sight, &owner, slot, seen_at).await? {
                return Ok(Some(sight.clone()));
            }
        }
        Ok(None)
    }

    /// Writes down standing access of a slot whose last owner this is, and takes it away where that
    /// may be the cause. False where the slot changed hands meanwhile, and nothing is known.
    async fn found_standing(
        &self,
        sight: &Sight,
        owner: &AccessRequest,
        slot: Slot,
        seen_at: Timestamp,
    ) -> Result<bool, PortError> {
        let part = owner.parts.first();
        // Nobody has taken the slot: when it was seen, it stood alone.
        let now = self.owned(&sight.slot).await?;
        let same = now.and_then(|now| now.owner);
        if same.is_none_or(|now| (now.id, now.version) != (owner.id, owner.version)) {
            return Ok(false);
        }
        // First this: whoever dies in between has told it, and takes it away at the next look.
        self.keep(&part.entitlement.provider(), sight).await?;
        let found = Command::FoundStanding { slot, seen_at };
        let Ok(transition) = decide(self.rules(), owner, &found, self.now()) else {
            return Ok(true);
        };
        if transition.request().is_none() {
            return Ok(true);
        }
        match self.commit(transition, Along::default()).await {
            // Another process takes it away, or somebody was granted it since.
            Ok(()) | Err(CommitError::Conflict) => Ok(true),
            Err(error) => Err(failed(error)),
        }
    }

    /// Looks again at an Active grant that was not listed, and says so where its access is missing.
    async fn look_for_missing(&self, request: &AccessRequest) -> Result<(), PortError> {
        let Some(grant) = request.grant().filter(|it| it.phase == Phase::Active) else {
            return Ok(());
        };
        if grant.missing_since.is_some() {
            return Ok(());
        }
        let (seen_at, part) = (self.now(), request.parts.first());
        let provider = part.entitlement.provider();
        if self.look_at(&provider, &part.target, request).await? != Presence::Absent {
            return Ok(());
        }
        let epoch = grant.epoch;
        let missing = Command::FoundMissing { epoch, seen_at };
        match self.save(request.clone(), &missing).await {
            Ok(_) | Err(EngineError::Refused(_)) => Ok(()),
            Err(EngineError::Failed(error)) => Err(error),
        }
    }

    /// Reads the provider back, in the part of the quota that gives.
    async fn look_at(
        &self,
        provider: &ProviderName,
        target: &Target,
        request: &AccessRequest,
    ) -> Result<Presence, PortError> {
        let part = request.parts.first();
        let grant = request.grant();
        let look = InspectCall {
            purpose: Purpose::Give,
            request: request.id,
            target,
            parameters: &part.parameters,
            handle: None,
            expires_at: grant.map_or(request.decide_by, |grant| grant.expires_at),
            send_before: grant.and_then(|grant| grant.slot_send_before),
        };
        self.provisioner(provider)?.inspect(look).await
    }

    // ------------------------------------------------------------------------------ fresh slots

    /// Closed requests whose slots were granted lately: a call of theirs could still show.
    pub async fn fresh(&self) -> Result<Vec<AccessRequest>, PortError> {
        let since = self.now() - DRIFT_OURS_FOR;
        let closed = Query {
            statuses: vec![Status::Closed],
            updated_since: Some(since),
            limit: 1_000,
            ..Query::default()
        };
        let mut fresh = self.all_of(closed).await?;
        fresh.retain(|request| {
            let part = request.parts.first();
            let sent = request.grant().and_then(|grant| grant.slot_send_before);
            part.provider.kind == Kind::Standing && sent.is_some_and(|sent| sent > since)
        });
        Ok(fresh)
    }

    /// Looks at the slot of one of them. True where access stands there that no grant explains.
    pub async fn look_at_fresh(&self, request: &AccessRequest) -> Result<bool, PortError> {
        let (provider, part) = (
            request.parts.first().entitlement.provider(),
            request.parts.first(),
        );
        let policy = &self.parts.policy;
        if policy.exempts(&part.target.subject, &part.entitlement) {
            return Ok(false);
        }
        let owned = self.owned(&part.slot_key()).await?;
        let owner = owned.filter(|owned| owned.slot.owner == request.id);
        let Some((slot, owner)) = owner.and_then(|it| Some((it.slot, it.owner?))) else {
            return Ok(false);
        };
        let seen_at = self.now();
        if self.look_at(&provider, &part.target, &owner).await? != Presence::Present {
            return Ok(false);
        }
        let sight = Sight::of(part);
        self.found_standing(&sight, &owner, slot, seen_at).await
    }

    // ------------------------------------------------------------------------- what was found

    /// Writes down what is no longer so of what was found, and pages for what is new.
    async fn note_drift(&self, look: &Reconciliation) -> Result<Outcome, PortError> {
        let provider = &look.provider;
        let known = self.drift_rows().await?;
        let gone = known.into_iter().filter(|(row, drift)| {
            let listed_at = look.listed.get(&drift.target.resource);
            let sight = Sight::kept(row, drift);
            drift.provider == *provider
                && drift.gone_at.is_none()
                && listed_at.is_some_and(|at| drift.found_at < *at)
                // What was found since was not looked for by its slot.
                && look.known_strange.contains(&sight)
                && !look.unexplained.contains(&sight)
                // What could not be judged may be kept by another slot than it was listed with.
                && !look.unsure.iter().any(|it| it.target == sight.target)
        });
        let gone: Vec<(Row, Drift)> = gone.collect();
        for chunk in gone.chunks(CHUNK) {
            let targets = chunk.iter().map(|(_, drift)| drift.target.clone());
            let fact = SystemFact::DriftGone {
                provider: provider.clone(),
                targets: targets.collect(),
            };
            let gone_at = Some(self.now());
            let rows = chunk.iter().map(|(row, drift)| {
                let drift = Drift {
                    gone_at,
                    ..drift.clone()
                };
                changed(row, &drift)
            });
            self.note(fact, rows.collect()).await?;
        }
        self.tell_drift(provider).await?;
        Ok(Outcome {
            unexplained: look.unexplained.len(),
            left_out: look.left_out,
        })
    }

    /// Writes down what is not known yet, or was gone.
    async fn keep(&self, provider: &ProviderName, sight: &Sight) -> Result<(), PortError> {
        let (key, target) = (sight.slot.to_string(), &sight.target);
        for _ in 0..TRIES {
            let before = self.parts.store.row(DRIFT, &key).await?;
            if let Some(row) = &before {
                let known = read(row)?;
                let same = known.target == *target && known.provider == *provider;
                if same && known.gone_at.is_none() {
                    return Ok(());
                }
            }
            let drift = Drift {
                provider: provider.clone(),
                target: target.clone(),
                found_at: self.now(),
                told_at: None,
                gone_at: None,
            };
            let row = Row {
                table: DRIFT,
                key: key.clone(),
                value: written(&drift),
            };
            let expected = before.map(|row| row.value);
            let fact = SystemFact::DriftFound {
                provider: provider.clone(),
                targets: vec![target.clone()],
            };
            let rows = vec![RowChange { row, expected }];
            match self.record_system(&Actor::System, fact, rows).await {
                Ok(()) => return Ok(()),
                // Another process found the same.
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(CommitError::Conflict))
    }

    /// Pages once for all at a provider that nobody was told of yet, also where it is gone by now.
    pub async fn tell_drift(&self, provider: &ProviderName) -> Result<(), PortError> {
        let known = self.drift_rows().await?;
        let untold = known
            .into_iter()
            .filter(|(_, drift)| drift.provider == *provider && drift.told_at.is_none());
        let untold: Vec<(Row, Drift)> = untold.collect();
        let Some(last) = untold.iter().map(|(_, drift)| drift.found_at).max() else {
            return Ok(());
        };
        let found = match untold.len() {
            1 => "1 access was found".to_owned(),
            count => format!("{count} accesses were found"),
        };
        // The same alarm each time that it is tried, and another one for what is found later.
        let alarm = Alarm {
            request: None,
            summary: format!(
                "{found} at {provider} that no grant explains, the last at {last}; see jit drift"
            ),
            at: last,
        };
        self.parts.pager.page(&alarm).await?;
        let at = self.now();
        for chunk in untold.chunks(CHUNK) {
            let told_at = Some(at);
            let rows = chunk.iter().map(|(row, drift)| {
                let drift = Drift {
                    told_at,
                    ..drift.clone()
                };
                changed(row, &drift)
            });
            let commit = Commit {
                rows: rows.collect(),
                at: Some(at),
                ..Commit::default()
            };
            match self.parts.store.commit(commit).await {
                // Somebody else told it as well, or it is gone.
                Ok(_) | Err(CommitError::Conflict) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    async fn note(&self, fact: SystemFact, rows: Vec<RowChange>) -> Result<(), PortError> {
        match self.record_system(&Actor::System, fact, rows).await {
            // Another process found the same.
            Ok(()) | Err(CommitError::Conflict) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn drift_rows(&self) -> Result<Vec<(Row, Drift)>, PortError> {
        let rows = self.parts.store.rows(DRIFT).await?.into_iter();
        rows.map(|row| Ok((row.clone(), read(&row)?))).collect()
    }

    /// What stands that no grant explains, for whoever counts it.
    pub async fn unexplained(&self) -> Result<Vec<Drift>, PortError> {
        let rows = self.drift_rows().await?.into_iter().map(|(_, drift)| drift);
        let mut drifts: Vec<Drift> = rows.filter(|drift| drift.gone_at.is_none()).collect();
        drifts.sort_by_key(|drift| drift.found_at);
        Ok(drifts)
    }

    /// The same, and grants whose access is missing, for whoever may operate the service.
    pub async fn drift(&self, via: &Principal) -> Result<Drifted, EngineError> {
        let by = self.reader(via).await?;
        let right = Right::Operate;
        let policy = &self.parts.policy;
        let verdict = policy.evaluate_anywhere(right, &by.profile, self.now());
        match verdict.answer() {
            Authority::Yes => {}
            Authority::Unsure => return Err(Refusal::CannotTell.into()),
            Authority::No => return Err(Refusal::NotAllowedAnywhere { right }.into()),
        }
        let unexplained = self.unexplained().await?;
        let mut missing = self.live().await?;
        missing.retain(|request| {
            let grant = request.grant();
            grant.is_some_and(|it| it.missing_since.is_some() && it.phase == Phase::Active)
        });
        Ok(Drifted {
            unexplained,
            missing,
        })
    }

    /// Every request that may have access.
    async fn live(&self) -> Result<Vec<AccessRequest>, PortError> {
        let statuses = Status::ALL.into_iter().filter(|status| status.is_live());
        let live = Query {
            statuses: statuses.collect(),
            limit: 1_000,
            ..Query::default()
        };
        self.all_of(live).await
    }

    /// Every page of a query.
    async fn all_of(&self, mut query: Query) -> Result<Vec<AccessRequest>, PortError> {
        let mut all: Vec<AccessRequest> = vec![];
        loop {
            let page = self.parts.store.query(&query).await?;
            let full = page.len() == query.limit;
            query.after = page.last().map(|request| request.id).or(query.after);
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }
}

fn read(row: &Row) -> Result<Drift, PortError> {
    serde_json::from_str(&row.value).map_err(|error| {
        let kind = ErrorKind::Misconfigured;
        PortError::nothing_done("engine", "read what drifted", kind).because(error)
    })
}

fn written(drift: &Drift) -> String {
    serde_json::to_string(drift).expect("a drift has string keys and no numbers, so it serialises")
}

fn changed(row: &Row, drift: &Drift) -> RowChange {
    RowChange {
        row: Row {
            value: written(drift),
            ..row.clone()
        },
        expected: Some(row.value.clone()),
    }
}

fn failed(error: CommitError) -> PortError {
    match EngineError::from(error) {
        EngineError::Failed(error) => error,
        EngineError::Refused(_) => PortError::nothing_done("store", "commit", ErrorKind::Conflict),
    }
}
