//! What whoever decides may want to know beside the request itself: what became of earlier ones, who
//! has the access now, what stands there that nobody granted. It is looked up, shown, and never part
//! of a decision.

use std::collections::BTreeSet;

use super::{Engine, EngineError, Recent};
use crate::lifecycle::Refusal;
use crate::policy::{Authority, Case, Right, When};
use crate::ports::{PortError, Query};
use crate::principal::{Principal, PrincipalId, Subject};
use crate::request::{AccessRequest, RequestId, Status};
use crate::time::Timestamp;

/// How many earlier uses are told.
pub const USES: usize = 5;
/// How many are looked through for them, a page at a time: some were granted and never came to be,
/// others were asked for somebody else.
const LOOKED_THROUGH: usize = 200;
const PAGE: usize = 40;
/// How many who have it now are told by name, and how many strangers.
pub const HOLDERS: usize = 10;
/// Grants under which access was, or is.
const GIVEN: [Status; 4] = [
    Status::Active,
    Status::Revoking,
    Status::Settling,
    Status::Closed,
];
/// Grants under which access may be there now.
const THERE: [Status; 3] = [Status::Provisioning, Status::Active, Status::Revoking];

/// Access that somebody had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// By which request.
    pub request: RequestId,
    /// Who had it.
    pub who: PrincipalId,
    /// Since when.
    pub from: Timestamp,
    /// Until when; it only ever moved earlier.
    pub until: Timestamp,
}

/// What whoever decides may want to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Background {
    /// The latest uses of the same by the same person.
    pub by_person: Vec<Use>,
    /// The latest uses of the same by anybody.
    pub of_entitlement: Vec<Use>,
    /// Who has it now, the newest first.
    pub holders: Vec<Use>,
    /// How many more have it; counted up to 1 000.
    pub more_holders: usize,
    /// Who has it without a grant, as far as the latest look at the provider showed.
    pub strangers: Vec<Subject>,
    /// How many more of those there are.
    pub more_strangers: usize,
    /// What whoever has it can do, as the catalogue says; empty where it does not.
    pub allows: String,
}

impl Engine {
    /// What is known about what a request asks for.
    pub(super) async fn look_around(
        &self,
        request: &AccessRequest,
    ) -> Result<Background, PortError> {
        let part = request.parts.first();
        let all = Query {
            entitlement: Some(part.entitlement.clone()),
            statuses: GIVEN.to_vec(),
            limit: PAGE,
            ..Query::default()
        };
        let theirs = Query {
            principal: Some(request.beneficiary.clone()),
            ..all.clone()
        };
        let there = Query {
            statuses: THERE.to_vec(),
            limit: 1_000,
            ..all.clone()
        };
        let store = &self.parts.store;
        let by_person = self.uses(theirs, Some(&request.beneficiary)).await?;
        let of_entitlement = self.uses(all, None).await?;
        let mut holders: Vec<Use> = store.query(&there).await?.iter().filter_map(held).collect();
        let more_holders = holders.len().saturating_sub(HOLDERS);
        holders.truncate(HOLDERS);
        let there = |target: &crate::provider::Target| {
            target.realm == part.target.realm && target.resource == part.target.resource
        };
        let found = self.unexplained().await?.into_iter();
        let found = found.filter(|drift| there(&drift.target));
        // Whoever has it twice, by other parameters, is one.
        let mut known = BTreeSet::new();
        let mut strangers: Vec<Subject> = found
            .map(|drift| drift.target.subject)
            .filter(|subject| known.insert(subject.clone()))
            .collect();
        let more_strangers = strangers.len().saturating_sub(HOLDERS);
        strangers.truncate(HOLDERS);
        let entry = self.parts.catalog.get(&part.entitlement);
        Ok(Background {
            by_person,
            of_entitlement,
            holders,
            more_holders,
            strangers,
            more_strangers,
            allows: entry.map(|entry| entry.allows.clone()).unwrap_or_default(),
        })
    }

    /// The latest uses among what this finds, those by one person where one is given.
    async fn uses(
        &self,
        mut query: Query,
        by: Option<&PrincipalId>,
    ) -> Result<Vec<Use>, PortError> {
        let (mut uses, mut looked_through) = (vec![], 0);
        loop {
            let page = self.parts.store.query(&query).await?;
            let theirs = |it: &&AccessRequest| by.is_none_or(|by| it.beneficiary == *by);
            let found = page.iter().filter(theirs).filter_map(held);
            uses.extend(found.take(USES - uses.len()));
            looked_through += page.len();
            let is_last = page.len() < query.limit || looked_through >= LOOKED_THROUGH;
            if is_last || uses.len() == USES {
                return Ok(uses);
            }
            query.after = page.last().map(|request| request.id);
        }
    }

    /// The same for whoever may decide or audit the request: it tells of other people.
    pub async fn background(
        &self,
        via: &Principal,
        id: RequestId,
    ) -> Result<Background, EngineError> {
        let by = self.caller(via).await?;
        let request = self.load(id).await?.ok_or(Refusal::UnknownRequest)?;
        self.check_reads(&by.profile, &request, Recent::Now).await?;
        let beneficiary = self.parts.directory.profile(&request.beneficiary).await?;
        let entitlement = &request.parts.first().entitlement;
        let case = Case::new(entitlement, When::Ever).of(beneficiary.as_ref());
        let over = |right| self.parts.policy.answer(right, &by.profile, &case);
        match over(Right::Approve).or(over(Right::Audit)) {
            Authority::Yes => Ok(self.look_around(&request).await?),
            Authority::Unsure => Err(Refusal::CannotTell.into()),
            Authority::No => Err(Refusal::NotAllowed {
                right: Right::Approve,
                entitlement: entitlement.clone(),
            }
            .into()),
        }
    }
}

/// The access of a grant, if it ever was there.
fn held(request: &AccessRequest) -> Option<Use> {
    let grant = request.grant()?;
    Some(Use {
        request: request.id,
        who: request.beneficiary.clone(),
        from: grant.active_at?,
        until: grant.expires_at,
    })
}
