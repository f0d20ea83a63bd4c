//! Reading: who may see which request, and why somebody may do what.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};

use super::people::Reading;
use super::{Engine, EngineError, Recent, read_event};
use crate::catalog::EntitlementId;
use crate::lifecycle::{By, Refusal, authority};
use crate::policy::{Authority, Case, Right, Verdict, When};
use crate::ports::{PortError, Query};
use crate::principal::{Principal, PrincipalId, PrincipalKind, Profile};
use crate::request::{AccessRequest, Approver, RequestId, Status};

/// The rights by which somebody may read what is not their own.
const READING: [Right; 3] = [Right::Approve, Right::Revoke, Right::Audit];
/// For a list so many people are looked up at once; and after so many failures nobody else is, so that
/// whoever looks does not wait for each of them.
const AT_ONCE: usize = 8;

/// What of some requests somebody may read, from the newest to the oldest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The requests that they may read, whatever cannot be found out now.
    pub requests: Vec<AccessRequest>,
    /// Whether these are all.
    pub extent: Extent,
}

/// Whether a list has all that belongs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// It has.
    Whole,
    /// Whether they are in a group, or somebody's manager, cannot be found out now: they may have a
    /// right to more.
    PerhapsMore,
}

impl Engine {
    /// Refuses whoever may not read it, and notes nothing: they are told that it is not there. Where
    /// that cannot be found out they are told so, as they may have the right.
    pub(super) async fn check_reads(
        &self,
        profile: &Profile,
        request: &AccessRequest,
        how: Recent,
    ) -> Result<(), EngineError> {
        let mut answer = self.reads(profile, request, None);
        let as_manager = |of| self.reads(profile, request, Some(&managed_by(profile, of)));
        // Whoever may read it anyway waits for nobody else to be looked up.
        if answer != Authority::Yes && answer != as_manager(&request.beneficiary) {
            let directory = self.parts.directory.as_ref();
            let beneficiary = how.profile(directory, &request.beneficiary).await?;
            answer = self.reads(profile, request, beneficiary.as_ref());
        }
        match answer {
            Authority::Yes => Ok(()),
            Authority::Unsure => Err(Refusal::CannotTell.into()),
            Authority::No => Err(Refusal::UnknownRequest.into()),
        }
    }

    /// The same for a caller who only looks, as everybody was known lately: nobody is refused for
    /// what may have changed since.
    async fn check_looks(&self, by: &By, request: &AccessRequest) -> Result<(), EngineError> {
        let lately = self.check_reads(&by.profile, request, Recent::Lately);
        match lately.await {
            Err(EngineError::Refused(Refusal::UnknownRequest)) => {
                let now = self.caller(&by.via).await?;
                self.check_reads(&now.profile, request, Recent::Now).await
            }
            checked => checked,
        }
    }

    /// What was known of these lately, and whether each of them could be looked up.
    async fn known_lately(
        &self,
        ids: BTreeSet<PrincipalId>,
    ) -> (BTreeMap<PrincipalId, Profile>, Extent) {
        let directory = &self.parts.directory;
        let asked = ids.into_iter().map(|id| async move {
            let profile = directory.profile_lately(&id).await;
            (id, profile)
        });
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        let (mut known, mut failures) = (BTreeMap::new(), 0);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(profile) => known.extend(profile.map(|profile| (id, profile))),
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "whose manager somebody is is not known");
                    failures += 1;
                }
            }
            if failures == AT_ONCE {
                break;
            }
        }
        let extent = match failures {
            0 => Extent::Whole,
            _ => Extent::PerhapsMore,
        };
        (known, extent)
    }

    /// Whether this principal may read this request: their own; one that they may decide or
    /// revoke, at whichever time; every one with the right to audit; a stuck one with the right to
    /// operate. Whose manager they are counts where the beneficiary is given.
    fn reads(
        &self,
        profile: &Profile,
        request: &AccessRequest,
        beneficiary: Option<&Profile>,
    ) -> Authority {
        if !profile.active {
            return Authority::No;
        }
        if profile.id == request.requester {
            return Authority::Yes;
        }
        // A program sees only what it filed itself.
        if profile.is_program() {
            return Authority::No;
        }
        if profile.id == request.beneficiary {
            return Authority::Yes;
        }
        let policy = &self.parts.policy;
        let over = |right| {
            let parts = request.parts.iter();
            let cases = parts.map(|it| Case::new(&it.entitlement, When::Ever).of(beneficiary));
            cases
                .map(|case| policy.answer(right, profile, &case))
                .fold(Authority::No, Authority::or)
        };
        let stuck = request.grant().is_some_and(|grant| grant.stuck.is_some());
        let operates = match stuck {
            true => {
                let verdict = policy.evaluate_anywhere(Right::Operate, profile, self.now());
                verdict.answer()
            }
            false => Authority::No,
        };
        let mut answer = operates;
        for right in READING {
            if answer == Authority::Yes {
                break;
            }
            answer = answer.or(over(right));
        }
        answer
    }

    /// One request with its audit. One that may not be read is answered like one that is not
    /// there.
    pub async fn read(&self, via: &Principal, id: RequestId) -> Result<Reading, EngineError> {
        let by = self.reader(via).await?;
        let story = self.story(id).await?;
        let (request, events) = story.ok_or(Refusal::UnknownRequest)?;
        self.check_looks(&by, &request).await?;
        let events = events
            .iter()
            .map(read_event)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Reading { request, events })
    }

    /// The same without its audit, for whoever asks often how far it is.
    pub async fn show(&self, via: &Principal, id: RequestId) -> Result<AccessRequest, EngineError> {
        let by = self.reader(via).await?;
        let request = self.load(id).await?.ok_or(Refusal::UnknownRequest)?;
        self.check_looks(&by, &request).await?;
        Ok(request)
    }

    /// Requests that the caller may read, from the newest to the oldest.
    pub async fn list(&self, via: &Principal, mut query: Query) -> Result<Listed, EngineError> {
        let by = self.reader(via).await?;
        if let Some(principal) = &query.principal {
            let profile = self.parts.directory.profile_lately(principal).await?;
            query.principal = Some(profile.map_or(principal.clone(), |profile| profile.id));
        }
        // Most people may read nothing but their own; they do not make the store read everything.
        let rights = [Right::Approve, Right::Revoke, Right::Audit, Right::Operate];
        let of_others = rights
            .into_iter()
            .any(|right| self.parts.policy.might(right, &by.profile));
        let extent = match &query.principal {
            // Everybody may read what is their own.
            Some(principal) if *principal == by.profile.id => Extent::Whole,
            Some(_) | None => self.extent(&rights, &by.profile),
        };
        if !of_others && query.principal.is_none() {
            query.principal = Some(by.profile.id.clone());
        }
        let readable = |request: &AccessRequest, people: &BTreeMap<_, _>| {
            let reads = |of| self.reads(&by.profile, request, of) == Authority::Yes;
            let beneficiary = people.get(&request.beneficiary);
            reads(None) || beneficiary.is_some_and(|it| reads(Some(it)))
        };
        Ok(self.pages(query, &by.profile, extent, readable).await?)
    }

    /// Whether what these rights let this principal read is known.
    fn extent(&self, rights: &[Right], profile: &Profile) -> Extent {
        let policy = &self.parts.policy;
        match rights.iter().any(|right| policy.is_unsure(*right, profile)) {
            true => Extent::PerhapsMore,
            false => Extent::Whole,
        }
    }

    /// Pending requests that wait for the caller, from the newest to the oldest: they may decide
    /// them, and have not approved them yet. None for whoever decides nothing at all.
    pub async fn awaiting(
        &self,
        via: &Principal,
        limit: usize,
    ) -> Result<Option<Listed>, EngineError> {
        let by = self.caller(via).await?;
        let extent = self.extent(&[Right::Approve], &by.profile);
        let decides = self.parts.policy.might(Right::Approve, &by.profile);
        if !decides && extent == Extent::Whole {
            return Ok(None);
        }
        let id = by.profile.id.clone();
        let (now, me) = (self.now(), Approver::Person(id.clone()));
        let waits = |request: &AccessRequest, people: &BTreeMap<_, _>| {
            now < request.decide_by
                && !request.approvals.iter().any(|approval| approval.by == me)
                && authority(self.rules(), people, &id, request, now) == Authority::Yes
        };
        let pending = Query {
            statuses: vec![Status::Pending],
            limit,
            ..Query::default()
        };
        let listed = self.pages(pending, &by.profile, extent, waits).await?;
        Ok(Some(listed))
    }

    /// Those of what a query finds that are wanted, up to its limit, by the profiles of whoever looks
    /// and of beneficiaries. These are looked up only where it matters whose manager that one is.
    async fn pages(
        &self,
        mut query: Query,
        by: &Profile,
        mut extent: Extent,
        is_wanted: impl Fn(&AccessRequest, &BTreeMap<PrincipalId, Profile>) -> bool,
    ) -> Result<Listed, PortError> {
        let alone = BTreeMap::from([(by.id.clone(), by.clone())]);
        let limit = query.limit.clamp(1, 1_000);
        query.limit = 1_000;
        let mut requests = vec![];
        loop {
            let page = self.parts.store.query(&query).await?;
            let full = page.len() == query.limit;
            query.after = page.last().map(|request| request.id).or(query.after);
            let beneficiaries = page.iter().map(|it| &it.beneficiary);
            let managed = beneficiaries.map(|id| (id.clone(), managed_by(by, id)));
            let mut as_manager: BTreeMap<_, _> = managed.collect();
            as_manager.extend(alone.clone());
            let matters = |it: &&AccessRequest| is_wanted(it, &alone) != is_wanted(it, &as_manager);
            let ids = page.iter().filter(matters).map(|it| it.beneficiary.clone());
            let (mut people, known) = self.known_lately(ids.collect()).await;
            people.extend(alone.clone());
            if known == Extent::PerhapsMore {
                extent = known;
            }
            requests.extend(page.into_iter().filter(|it| is_wanted(it, &people)));
            if requests.len() >= limit || !full {
                requests.truncate(limit);
                return Ok(Listed { requests, extent });
            }
        }
    }

    /// The one id that ends in these characters, of those that the caller may read.
    pub async fn find(&self, via: &Principal, suffix: &str) -> Result<RequestId, EngineError> {
        let by = self.reader(via).await?;
        let suffix = suffix.to_ascii_lowercase();
        let found = self.parts.store.by_suffix(&suffix).await?;
        let (mut readable, mut why) = (BTreeSet::new(), Refusal::UnknownRequest);
        for id in found {
            let Some(request) = self.load(id).await? else {
                continue;
            };
            match self.check_looks(&by, &request).await {
                Ok(()) => drop(readable.insert(id)),
                Err(EngineError::Refused(Refusal::CannotTell)) => why = Refusal::CannotTell,
                Err(EngineError::Refused(_)) => {}
                Err(failed @ EngineError::Failed(_)) => return Err(failed),
            }
        }
        match readable.into_iter().collect::<Vec<_>>().as_slice() {
            [id] => Ok(*id),
            _ => Err(why.into()),
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
        let by = self.reader(via).await?;
        let unknown = || Refusal::UnknownPrincipal { id: about.clone() };
        let profile = self.parts.directory.profile_lately(about).await?;
        let policy = &self.parts.policy;
        let case = Case::new(entitlement, When::at(self.now()));
        let auditor = policy.answer(Right::Audit, &by.profile, &case);
        let oneself = profile
            .as_ref()
            .is_some_and(|profile| profile.id == by.profile.id);
        match auditor {
            _ if oneself => {}
            Authority::Yes => {}
            Authority::Unsure => return Err(Refusal::CannotTell.into()),
            Authority::No => {
                let right = Right::Audit;
                return Err(Refusal::NotAllowedAnywhere { right }.into());
            }
        }
        Ok(policy.evaluate(right, &profile.ok_or_else(unknown)?, &case))
    }
}

/// Somebody of this id, as if this were their manager.
fn managed_by(manager: &Profile, id: &PrincipalId) -> Profile {
    Profile {
        id: id.clone(),
        kind: PrincipalKind::Person,
        active: true,
        groups: BTreeSet::new(),
        groups_unknown: BTreeSet::new(),
        manager: Some(manager.id.clone()),
        subjects: BTreeMap::new(),
    }
}
