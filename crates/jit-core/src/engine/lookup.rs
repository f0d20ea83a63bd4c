//! Looking up the facts that a command is judged on: people, the slot, the provider.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join_all, try_join, try_join3};

use super::{Engine, EngineError, FACTS_FRESH_FOR};
use crate::lifecycle::{By, Facts, LeaseFacts, Owned, Refusal};
use crate::ports::{ErrorKind, InspectCall, PortError, Purpose};
use crate::principal::{Principal, PrincipalId, Profile};
use crate::provider::{Kind, Presence, Resolved, SlotKey};
use crate::request::{AccessRequest, Approver, Phase, Status};
use crate::time::Timestamp;

/// People, and when the first of them was asked about: the answers are at least as old, however
/// long they took.
pub(super) struct People {
    pub(super) known: BTreeMap<PrincipalId, Profile>,
    pub(super) looked_up_at: Timestamp,
}

impl Engine {
    /// Looks these principals up at once. Whoever is not known is left out; a failure fails all.
    pub(super) async fn look_up(
        &self,
        ids: impl IntoIterator<Item = PrincipalId>,
    ) -> Result<People, PortError> {
        let ids: BTreeSet<PrincipalId> = ids.into_iter().collect();
        let mut people = People {
            known: BTreeMap::new(),
            looked_up_at: self.parts.clock.now(),
        };
        let answers = join_all(ids.into_iter().map(|id| async move {
            let answer = self.parts.directory.profile(&id).await;
            (id, answer)
        }));
        for (id, answer) in answers.await {
            if let Some(profile) = answer? {
                people.known.insert(id, profile);
            }
        }
        Ok(people)
    }

    /// Everybody whose standing matters to this request: requester, beneficiary, approvers.
    pub(super) async fn look_up_for(&self, request: &AccessRequest) -> Result<People, PortError> {
        let approvers = request
            .approvals
            .iter()
            .filter_map(|approval| match &approval.by {
                Approver::Person(id) => Some(id.clone()),
                Approver::Automatic => None,
            });
        let own = [request.requester.clone(), request.beneficiary.clone()];
        self.look_up(own.into_iter().chain(approvers)).await
    }

    /// Who the caller is. Somebody the directory does not know, or who is not active, is refused.
    pub(super) async fn caller(&self, via: &Principal) -> Result<By, EngineError> {
        Self::known(via, self.parts.directory.profile(&via.id).await?)
    }

    /// The same for a caller who only looks. Nobody is refused for what was so a while ago.
    pub(super) async fn reader(&self, via: &Principal) -> Result<By, EngineError> {
        let lately = self.parts.directory.profile_lately(&via.id).await?;
        match Self::known(via, lately) {
            Err(EngineError::Refused(_)) => self.caller(via).await,
            known => known,
        }
    }

    fn known(via: &Principal, profile: Option<Profile>) -> Result<By, EngineError> {
        let unknown = || Refusal::UnknownPrincipal { id: via.id.clone() };
        let profile = profile.ok_or_else(unknown)?;
        if !profile.active {
            return Err(Refusal::InactivePrincipal { id: profile.id }.into());
        }
        Ok(By {
            profile,
            via: via.clone(),
        })
    }

    /// Whether facts of this age may still be committed on.
    pub(super) fn is_fresh(&self, looked_up_at: Timestamp) -> bool {
        self.parts.clock.now().since(looked_up_at) <= FACTS_FRESH_FOR
    }

    /// For how long facts of that age may still be committed on.
    pub(super) fn freshness_left(&self, looked_up_at: Timestamp) -> Duration {
        let age = self.parts.clock.now().since(looked_up_at);
        FACTS_FRESH_FOR.saturating_sub(age)
    }

    /// The slot and its owner's record.
    pub(super) async fn owned(&self, key: &SlotKey) -> Result<Option<Owned>, PortError> {
        let Some(slot) = self.parts.store.slot(key).await? else {
            return Ok(None);
        };
        let owner = self.load(slot.owner).await?;
        Ok(Some(Owned { slot, owner }))
    }

    /// When the running grant on this slot ends; none unless one is Active.
    pub(super) fn running_until(owned: Option<&Owned>) -> Option<Timestamp> {
        let grant = owned?.owner.as_ref()?.grant()?;
        (grant.phase == Phase::Active).then_some(grant.expires_at)
    }

    pub(super) fn has_live_owner(owned: Option<&Owned>) -> bool {
        let owner = owned.and_then(|owned| owned.owner.as_ref());
        owner.is_some_and(|owner| owner.status().is_live())
    }

    /// People, the running grant and readiness, for a decision.
    pub(super) async fn facts_for(
        &self,
        request: &AccessRequest,
    ) -> Result<(Facts, Timestamp), PortError> {
        let part = request.parts.first();
        let owned = async {
            match part.provider.kind {
                Kind::Standing => self.owned(&part.slot_key()).await,
                Kind::Minted => Ok(None),
            }
        };
        let (owned, readiness, people) =
            try_join3(owned, self.readiness(), self.look_up_for(request)).await?;
        let running_until = Self::running_until(owned.as_ref());
        let facts = Facts {
            people: people.known,
            running_until,
            readiness,
        };
        Ok((facts, people.looked_up_at))
    }

    /// What the request resolves to now; none where the provider no longer knows it.
    async fn resolve_again(&self, request: &AccessRequest) -> Result<Option<Resolved>, PortError> {
        let place = request.next_place();
        let Some(entitlement) = self.parts.catalog.get(place.entitlement) else {
            return Ok(None);
        };
        let directory = &self.parts.directory;
        let Some(beneficiary) = directory.profile(&request.beneficiary).await? else {
            return Ok(None);
        };
        let provisioner = self.provisioner(&place.entitlement.provider())?;
        let resolved = provisioner
            .resolve(&beneficiary, &entitlement, place.parameters)
            .await;
        match resolved {
            Ok(resolved) => Ok(Some(resolved)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) if error.told.is_some() && !error.kind.is_retryable() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Everything that a lease is judged on. People come last, so that they are the freshest.
    pub(super) async fn lease_facts(
        &self,
        request: &AccessRequest,
    ) -> Result<(LeaseFacts, Timestamp), PortError> {
        let part = request.parts.first();
        let resolved = self.resolve_again(request).await?;
        let (mut owned, mut presence) = (None, None);
        if part.provider.kind == Kind::Standing {
            owned = self.owned(&part.slot_key()).await?;
            let first = request
                .grant()
                .is_some_and(|grant| grant.phase == Phase::Approved);
            if first && !Self::has_live_owner(owned.as_ref()) {
                presence = Some(self.inspect(request).await?);
            }
        }
        let (readiness, people) = try_join(self.readiness(), self.look_up_for(request)).await?;
        let running_until = Self::running_until(owned.as_ref());
        let facts = Facts {
            people: people.known,
            running_until,
            readiness,
        };
        Ok((
            LeaseFacts {
                facts,
                resolved,
                owned,
                presence,
            },
            people.looked_up_at,
        ))
    }

    /// Reads the provider back for this request.
    pub(super) async fn inspect(&self, request: &AccessRequest) -> Result<Presence, PortError> {
        let place = request.place();
        let grant = request.grant();
        let ends = matches!(
            request.status(),
            Status::Revoking | Status::Settling | Status::Closed
        );
        let call = InspectCall {
            purpose: if ends {
                Purpose::TakeAway
            } else {
                Purpose::Give
            },
            request: request.id,
            target: place.target,
            parameters: place.parameters,
            handle: grant.and_then(|grant| grant.handle.as_ref()),
            expires_at: grant.map_or(request.decide_by, |grant| {
                grant.told_until.unwrap_or(grant.expires_at)
            }),
            send_before: grant.and_then(|grant| grant.slot_send_before),
        };
        self.provisioner_of(request)?.inspect(call).await
    }
}
