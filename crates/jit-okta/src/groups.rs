//! The provisioner: access by membership in a group. How Okta is asked is the client's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Effect, GrantCall, InspectCall, Minted, Page, PortError, Provisioner, Purpose, RevokeCall,
    Standing,
};
use jit_core::principal::{Profile, Subject};
use jit_core::provider::{
    Answer, Description, Kind, NativeExpiry, Parameters, Presence, Resolved, Target,
};
use tokio::time::Instant;

use crate::client::{Change, Okta};
use crate::pages::follows;
use crate::shapes::{GroupKind, is_group_id};
use crate::trouble::Trouble;

/// V: how long after its connection was made a call may still be accepted. Okta's calls carry no
/// time and Okta documents none; the README says what this is made of.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(840);
/// A: the longest that an accepted change takes to be seen everywhere. Okta documents none.
const APPLIED_WITHIN: Duration = Duration::from_secs(60);
/// Every call of the port ends by this; the contract allows 15 s.
const CALL_LIMIT: Duration = Duration::from_secs(14);
/// How long a change that was answered is looked for.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// How long a call that changes something waits to hear which organization this is, which is asked
/// once in the life of a process.
const REALM_LIMIT: Duration = Duration::from_secs(4);

/// The memberships of one organization's groups.
#[derive(Debug, Clone)]
pub struct OktaGroups {
    okta: Arc<Okta>,
}

impl OktaGroups {
    /// The groups of this organization.
    pub fn new(okta: Arc<Okta>) -> Self {
        Self { okta }
    }
}

/// Cuts off what takes too long. Only for what changes nothing.
async fn in_time<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let done = tokio::time::timeout(CALL_LIMIT, work).await;
    done.unwrap_or(Err(Trouble::NoAnswer(Effect::None)))
}

fn check_parameters(parameters: &Parameters) -> Result<(), Trouble> {
    let is_plain = parameters.is_empty();
    is_plain.then_some(()).ok_or(Trouble::Parameters)
}

fn check_group(group: &str) -> Result<(), Trouble> {
    is_group_id(group).then_some(()).ok_or(Trouble::BadResource)
}

impl OktaGroups {
    async fn realm(&self, purpose: Purpose) -> Result<String, Trouble> {
        Ok(format!("okta:{}", self.okta.organization(purpose).await?))
    }

    /// What a record names. One of another realm is of another system, whatever its resource.
    async fn check_target(&self, target: &Target, purpose: Purpose) -> Result<(), Trouble> {
        let is_ours = target.realm == self.realm(purpose).await?;
        is_ours.then_some(()).ok_or(Trouble::ForeignRealm)?;
        check_group(&target.resource)
    }

    async fn resolved(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, Trouble> {
        check_parameters(parameters)?;
        let (okta, purpose) = (&self.okta, Purpose::Give);
        let id = entitlement.resource.as_str();
        check_group(id)?;
        let name = beneficiary.subjects.get(&okta.provider);
        let name = name.map_or(beneficiary.id.as_str(), Subject::as_str);
        let user = async {
            let user = okta.user(purpose, name).await?;
            user.status.check()?;
            Ok(user)
        };
        let group = async {
            let group = okta.group(purpose, id).await?;
            match group.kind {
                GroupKind::OktaGroup => Ok(group),
                GroupKind::Other => Err(Trouble::NotOurs(group.id)),
            }
        };
        let all = futures_util::future::try_join3(self.realm(purpose), user, group);
        let (realm, user, group) = all.await?;
        let subject = user.id.parse().map_err(|_| Trouble::BadSubject)?;
        Ok(Target::new(realm, subject, group.id).into())
    }

    async fn change(
        &self,
        change: Change,
        target: &Target,
        send_before: Timestamp,
    ) -> Result<Answer, Trouble> {
        let (purpose, wanted) = match change {
            Change::Join => (Purpose::Give, Presence::Present),
            Change::Leave => (Purpose::TakeAway, Presence::Absent),
        };
        let until = Instant::now() + CALL_LIMIT;
        let known = tokio::time::timeout(REALM_LIMIT, self.check_target(target, purpose)).await;
        known.unwrap_or(Err(Trouble::NoAnswer(Effect::None)))?;
        let pair = (target.resource.as_str(), target.subject.as_str());
        let changed = (self.okta).change(change, pair, send_before, until - LOOK_LIMIT);
        changed.await?;
        // Okta does not say that what it answered is seen already. Where it is, that is the end of
        // it; else the change is under way.
        let look = tokio::time::timeout(LOOK_LIMIT, self.presence(target, purpose)).await;
        Ok(match look {
            Ok(Ok(seen)) if seen == wanted => Answer::Applied,
            Ok(_) | Err(_) => Answer::Accepted,
        })
    }

    /// Whether the user is in the group. Whoever is not in Okta any more is in none, and nobody is
    /// in a group that is gone.
    async fn presence(&self, target: &Target, purpose: Purpose) -> Result<Presence, Trouble> {
        let (group, user) = (target.resource.as_str(), target.subject.as_str());
        match self.okta.groups_of(purpose, user).await? {
            Some(groups) if groups.contains(group) => return Ok(Presence::Present),
            // A list may be of the groups that we may see: this one must be one of them, or gone.
            Some(_) => match self.okta.group(purpose, group).await {
                Err(Trouble::NoSuchGroup(_)) => self.is_still_the_same(purpose).await?,
                seen => drop(seen?),
            },
            None => self.is_still_the_same(purpose).await?,
        }
        Ok(Presence::Absent)
    }

    /// That somebody is not there is believed of this organization only: another one behind the same
    /// address knows nobody of ours.
    async fn is_still_the_same(&self, purpose: Purpose) -> Result<(), Trouble> {
        let known = self.okta.organization(purpose).await?;
        let now = self.okta.organization_now(purpose).await?;
        let is_same = known == now;
        is_same.then_some(()).ok_or(Trouble::OtherOrganization)
    }

    async fn listed(&self, group: &str, page: Option<&str>) -> Result<Page<Standing>, Trouble> {
        check_group(group)?;
        // A listing looks for what nobody knows of; ends go first.
        let purpose = Purpose::Give;
        let realm = self.realm(purpose).await?;
        let list = self.okta.members_url(group);
        let url = match page {
            Some(page) => follows(&list, page).map_err(|_| Trouble::BadPage)?,
            None => list.clone(),
        };
        let (users, next) = match self.okta.members_page(purpose, &url).await {
            Err(trouble) if trouble.is_not_found() => {
                self.is_still_the_same(purpose).await?;
                (vec![], None)
            }
            page => page?,
        };
        let next = next.map(|next| follows(&list, &next)).transpose()?;
        if next
            .as_ref()
            .is_some_and(|next| *next == url || *next == list)
        {
            return Err(Trouble::EndlessList);
        }
        // An id that cannot be a subject cannot be ours.
        let subjects = users.into_iter().filter_map(|user| user.id.parse().ok());
        let items =
            subjects.map(|subject: Subject| Target::new(realm.clone(), subject, group).into());
        Ok(Page {
            items: items.collect(),
            next: next.map(String::from),
        })
    }
}

#[async_trait]
impl Provisioner for OktaGroups {
    /// Standing access without an expiry of its own. V is 840 s, and A, which cannot be seen, 60 s.
    fn describe(&self) -> Description {
        Description {
            kind: Kind::Standing,
            native_expiry: NativeExpiry::None,
            revocable: true,
            pending_visible: false,
            listable: true,
            accepted_within: ACCEPTED_WITHIN,
            applied_within: APPLIED_WITHIN,
            residual: self.okta.residual,
        }
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let resolved = in_time(self.resolved(beneficiary, entitlement, parameters)).await;
        resolved.map_err(|trouble| trouble.during("resolve"))
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let granted = async {
            check_parameters(call.parameters)?;
            (self.change(Change::Join, call.target, call.send_before)).await
        };
        granted.await.map_err(|trouble| trouble.during("grant"))
    }

    async fn mint(&self, _call: GrantCall<'_>) -> Result<Minted, PortError> {
        Err(Trouble::NothingToMint.during("mint"))
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let revoked = self.change(Change::Leave, call.target, call.send_before);
        revoked.await.map_err(|trouble| trouble.during("revoke"))
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let seen = in_time(async {
            self.check_target(call.target, call.purpose).await?;
            self.presence(call.target, call.purpose).await
        });
        seen.await.map_err(|trouble| trouble.during("inspect"))
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        let listed = in_time(self.listed(resource, page)).await;
        listed.map_err(|trouble| trouble.during("list"))
    }
}
