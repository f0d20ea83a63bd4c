//! Reading: who may see which request, and why somebody may do what.

use std::collections::{BTreeMap, BTreeSet};

use super::people::Reading;
use super::{Engine, EngineError, read_event};
use crate::catalog::EntitlementId;
use crate::lifecycle::{Refusal, authority};
use crate::policy::{Authority, Right, Verdict};
use crate::ports::{PortError, Query};
use crate::principal::{Principal, PrincipalId, Profile};
use crate::request::{AccessRequest, Approver, RequestId, Status};

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
    /// Whether they are in a group cannot be found out now: they may have a right to more.
    PerhapsMore,
}

impl Engine {
    /// Whether this principal may read this request: their own; one that they may decide or
    /// revoke; every one with the right to audit; a stuck one with the right to operate.
    pub fn may_read(&self, profile: &Profile, request: &AccessRequest) -> bool {
        self.reads(profile, request) == Authority::Yes
    }

    /// Refuses whoever may not read it, and notes nothing: they are told that it is not there. Where
    /// that cannot be found out they are told so, as they may have the right.
    pub(super) fn check_reads(
        &self,
        profile: &Profile,
        request: &AccessRequest,
    ) -> Result<(), Refusal> {
        match self.reads(profile, request) {
            Authority::Yes => Ok(()),
            Authority::Unsure => Err(Refusal::CannotTell),
            Authority::No => Err(Refusal::UnknownRequest),
        }
    }

    fn reads(&self, profile: &Profile, request: &AccessRequest) -> Authority {
        if !profile.active {
            return Authority::No;
        }
        if profile.id == request.requester {
            return Authority::Yes;
        }
        // An agent sees only what it filed itself.
        if profile.is_agent() {
            return Authority::No;
        }
        if profile.id == request.beneficiary {
            return Authority::Yes;
        }
        let policy = &self.parts.policy;
        let over = |right| {
            let parts = request.parts.iter();
            parts
                .map(|part| policy.answer(right, profile, &part.entitlement))
                .fold(Authority::No, Authority::or)
        };
        let stuck = request.grant().is_some_and(|grant| grant.stuck.is_some());
        let operates = match stuck {
            true => policy.evaluate_anywhere(Right::Operate, profile).answer(),
            false => Authority::No,
        };
        let mut answer = operates;
        for right in [Right::Approve, Right::Revoke, Right::Audit] {
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
        self.check_reads(&by.profile, &request)?;
        let events = events
            .iter()
            .map(read_event)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Reading { request, events })
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
        let readable = |request: &AccessRequest| self.may_read(&by.profile, request);
        let requests = self.pages(query, readable).await?;
        Ok(Listed { requests, extent })
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
        let people = BTreeMap::from([(id.clone(), by.profile)]);
        let (now, me) = (self.now(), Approver::Person(id.clone()));
        let waits = |request: &AccessRequest| {
            now < request.decide_by
                && !request.approvals.iter().any(|approval| approval.by == me)
                && authority(self.rules(), &people, &id, request) == Authority::Yes
        };
        let pending = Query {
            statuses: vec![Status::Pending],
            limit,
            ..Query::default()
        };
        let requests = self.pages(pending, waits).await?;
        Ok(Some(Listed { requests, extent }))
    }

    /// Those of what a query finds that are wanted, up to its limit.
    async fn pages(
        &self,
        mut query: Query,
        is_wanted: impl Fn(&AccessRequest) -> bool,
    ) -> Result<Vec<AccessRequest>, PortError> {
        let limit = query.limit.clamp(1, 1_000);
        query.limit = 1_000;
        let mut wanted = vec![];
        loop {
            let page = self.parts.store.query(&query).await?;
            let full = page.len() == query.limit;
            query.after = page.last().map(|request| request.id).or(query.after);
            wanted.extend(page.into_iter().filter(&is_wanted));
            if wanted.len() >= limit || !full {
                wanted.truncate(limit);
                return Ok(wanted);
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
            match self.check_reads(&by.profile, &request) {
                Ok(()) => drop(readable.insert(id)),
                Err(Refusal::CannotTell) => why = Refusal::CannotTell,
                Err(_) => {}
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
        let auditor = policy.answer(Right::Audit, &by.profile, entitlement);
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
        Ok(self
            .parts
            .policy
            .evaluate(right, &profile.ok_or_else(unknown)?, entitlement))
    }
}
