//! The suite is worth what it catches: every clause, broken once, by an adapter that is sound but
//! for that.

use std::sync::atomic::Ordering::Relaxed;

use jit_core::ports::{Credential, Page, Standing};
use jit_core::provider::NativeExpiry;
use jit_core::request::RequestId;
use tokio::task::LocalSet;

use super::*;
use crate::friendly::{Friendly, MINUTE, minted, standing};
use crate::hostile::{Apply, HostileHandle, Nature};

/// A promise that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    DescribeChanges,
    DescribeIsUnsafe,
    ResolveIsUnstable,
    ResolveTakesAnything,
    AliasesDiffer,
    SendsAtItsLimit,
    StopsBeforeItsLimit,
    GrantIsNotIdempotent,
    RevokeIsNotIdempotent,
    RevokeDoesNothing,
    AcceptedIsCalledApplied,
    LostRepliesAreCalledNothing,
    FailuresAreCalledAbsent,
    PendingIsCalledAbsent,
    InspectIsStale,
    ResourceIsAnother,
    ListingForgetsPages,
    ListingRepeatsItself,
    ListingTellsAnotherSlot,
    ListingIsEmpty,
    OtherKindIsRetryable,
    NeverReturns,
    MintForgetsItsMarker,
    HandleIsTheSecret,
    GoneByIsTooEarly,
    GoneByIsCalledAbsent,
    LivesTooLong,
    TakesAnyRealm,
    LaterGrantsAreForgotten,
    WhatIsOverIsBelieved,
    RevokeTakesFromOthers,
}

struct Saboteur {
    inner: HostileHandle,
    broken: Broken,
    calls: std::sync::atomic::AtomicU32,
    /// Whether it gave something that it has not taken back.
    gave: std::sync::atomic::AtomicBool,
}

impl Saboteur {
    fn is(&self, broken: Broken) -> bool {
        self.broken == broken
    }

    /// The target as the provider behind this one is told of it; the realm of both is `sim`.
    fn taken(&self, target: &Target) -> Result<Target, PortError> {
        let realm = match target.realm.as_str() {
            _ if self.is(Broken::TakesAnyRealm) => "sim".to_owned(),
            "sim" => "sim".to_owned(),
            _ => {
                let kind = ErrorKind::Misconfigured;
                return Err(PortError::nothing_done("saboteur", "serve", kind));
            }
        };
        Ok(Target {
            realm,
            ..target.clone()
        })
    }

    fn limit(&self, send_before: Timestamp) -> Timestamp {
        match self.broken {
            Broken::SendsAtItsLimit => send_before + TICK,
            Broken::StopsBeforeItsLimit => send_before - TICK,
            _ => send_before,
        }
    }

    fn judge<T>(&self, result: Result<T, PortError>) -> Result<T, PortError> {
        result.map_err(|error| {
            if self.is(Broken::LostRepliesAreCalledNothing) {
                return PortError::nothing_done("saboteur", "lie", error.kind);
            }
            if self.is(Broken::OtherKindIsRetryable) && error.kind == ErrorKind::Misconfigured {
                return PortError::nothing_done("saboteur", "lie", ErrorKind::Conflict);
            }
            error
        })
    }

    async fn presence(&self, call: &GrantCall<'_>) -> Presence {
        let call = InspectCall {
            purpose: jit_core::ports::Purpose::TakeAway,
            request: call.request,
            target: call.target,
            parameters: call.parameters,
            handle: None,
            expires_at: call.expires_at,
            send_before: None,
        };
        self.inner.inspect(call).await.unwrap_or(Presence::Absent)
    }
}

fn conflict() -> PortError {
    PortError::nothing_done("saboteur", "do it again", ErrorKind::Conflict)
}

#[async_trait]
impl Provisioner for Saboteur {
    fn describe(&self) -> Description {
        let count = self.calls.fetch_add(1, Relaxed);
        let mut description = self.inner.describe();
        if self.is(Broken::DescribeChanges) {
            description.residual += Duration::from_secs(count.into());
        }
        if self.is(Broken::DescribeIsUnsafe) {
            description.listable = false;
        }
        description
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let resolved = self
            .inner
            .resolve(beneficiary, entitlement, parameters)
            .await;
        let count = self.calls.fetch_add(1, Relaxed);
        let target = |resource: String| {
            Resolved::from(Target {
                realm: "sim".to_owned(),
                subject: "ana@example.com".parse().unwrap(),
                resource,
            })
        };
        match self.broken {
            Broken::ResolveIsUnstable => Ok(target(format!("group-{count}"))),
            Broken::ResolveTakesAnything => Ok(target("group-1".to_owned())),
            Broken::AliasesDiffer => resolved.map(|_| target(entitlement.resource.clone())),
            _ => resolved,
        }
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        let target = &self.taken(call.target)?;
        let mut call = GrantCall { target, ..call };
        if self.is(Broken::NeverReturns) {
            std::future::pending::<()>().await;
        }
        let is_there = self.presence(&call).await == Presence::Present;
        if self.is(Broken::GrantIsNotIdempotent) && is_there {
            return Err(conflict());
        }
        let gave = self.gave.load(Relaxed);
        if self.is(Broken::LaterGrantsAreForgotten) && is_there
            || self.is(Broken::WhatIsOverIsBelieved) && gave && !is_there
        {
            return Ok(Answer::Applied);
        }
        call.send_before = self.limit(call.send_before);
        if self.is(Broken::LivesTooLong) {
            call.expires_at = call.expires_at + MINUTE;
        }
        let answer = self.judge(self.inner.grant(call).await)?;
        self.gave.store(true, Relaxed);
        let lies = self.is(Broken::AcceptedIsCalledApplied);
        Ok(if lies { Answer::Applied } else { answer })
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        let target = &self.taken(call.target)?;
        let mut call = GrantCall { target, ..call };
        if self.is(Broken::NeverReturns) {
            std::future::pending::<()>().await;
        }
        call.send_before = self.limit(call.send_before);
        if self.is(Broken::MintForgetsItsMarker) {
            call.request = RequestId::new(Timestamp::MIN, [0; 10]);
        }
        if self.is(Broken::LivesTooLong) {
            call.expires_at = call.expires_at + MINUTE;
        }
        let mut minted = self.judge(self.inner.mint(call).await)?;
        if self.is(Broken::HandleIsTheSecret) {
            let secret = minted.secret.expose().to_owned();
            minted.handle = Some(Handle(secret.clone()));
            minted.secret = Credential::new(secret);
        }
        Ok(minted)
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let target = &self.taken(call.target)?;
        let mut call = RevokeCall { target, ..call };
        let look = GrantCall {
            request: call.request,
            target: call.target,
            parameters: call.parameters,
            template: None,
            expires_at: Timestamp::MAX,
            send_before: Timestamp::MAX,
        };
        let is_there = self.presence(&look).await == Presence::Present;
        if self.is(Broken::RevokeIsNotIdempotent) && !is_there {
            return Err(conflict());
        }
        call.send_before = self.limit(call.send_before);
        if self.is(Broken::RevokeDoesNothing) {
            return Ok(Answer::Applied);
        }
        if self.is(Broken::RevokeTakesFromOthers) {
            let target = &Target {
                subject: "bob".parse().unwrap(),
                ..target.clone()
            };
            let of_another = RevokeCall {
                target,
                ..call.clone()
            };
            self.inner.revoke(of_another).await?;
        }
        let answer = self.judge(self.inner.revoke(call).await)?;
        self.gave.store(false, Relaxed);
        Ok(answer)
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let target = &self.taken(call.target)?;
        let call = InspectCall { target, ..call };
        let seen = self.inner.inspect(call).await;
        match (self.broken, seen) {
            (Broken::FailuresAreCalledAbsent, Err(_))
            | (Broken::PendingIsCalledAbsent, Ok(Presence::InFlight))
            | (Broken::GoneByIsCalledAbsent, Ok(Presence::GoneBy(_))) => Ok(Presence::Absent),
            (Broken::InspectIsStale, Ok(_)) => Ok(Presence::Absent),
            (Broken::GoneByIsTooEarly, Ok(Presence::GoneBy(at))) => {
                Ok(Presence::GoneBy(at - MINUTE))
            }
            (_, seen) => seen,
        }
    }

    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        match self.broken {
            Broken::ResourceIsAnother => Ok(Some("another".to_owned())),
            _ => self.inner.resource(entitlement).await,
        }
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        let mut listed = self.inner.standing(resource, page).await?;
        match self.broken {
            Broken::ListingForgetsPages => listed.next = None,
            Broken::ListingIsEmpty => listed.items.clear(),
            Broken::ListingRepeatsItself => {
                let again = listed.items.clone();
                listed.items.extend(again);
            }
            Broken::ListingTellsAnotherSlot => {
                for item in &mut listed.items {
                    item.slot = "0".repeat(64).parse().ok();
                }
            }
            _ => {}
        }
        Ok(listed)
    }
}

/// What the suite objects to in an adapter that is wrapped like this.
async fn objection(
    nature: Nature,
    hides: Vec<(Sight, &'static str)>,
    wrap: impl Fn(HostileHandle) -> Arc<dyn Provisioner> + Send + 'static,
) -> Option<String> {
    let mut fixture = Friendly::new(nature);
    fixture.wrap = Box::new(wrap);
    fixture.hides = hides;
    let run = async move { provisioner_contract(&mut fixture).await };
    let local = LocalSet::new();
    let run = local.spawn_local(run);
    let result = local.run_until(run).await;
    let panic = result.err()?.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

fn blind() -> Nature {
    let mut nature = minted();
    nature.description.listable = false;
    nature
}

/// Checks that each breach is caught, and by the clause that it breaks.
async fn catches(nature: Nature, table: &[(Broken, &str)]) {
    let hides = Friendly::new(nature.clone()).hides;
    let sound = objection(nature.clone(), hides, |sound| Arc::new(sound)).await;
    assert_eq!(sound, None, "a sound adapter passes");
    for (broken, clause) in table.iter().copied() {
        let wrap = move |inner| -> Arc<dyn Provisioner> {
            Arc::new(Saboteur {
                inner,
                broken,
                calls: 0.into(),
                gave: false.into(),
            })
        };
        let objection = objection(nature.clone(), vec![], wrap)
            .await
            .unwrap_or_default();
        assert!(
            objection.contains(clause),
            "{broken:?} is to fail as {clause:?} and not as {objection:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_broken_promise_of_standing_access_is_caught() {
    let table = &[
        (
            Broken::DescribeChanges,
            "`describe` gives the same each time",
        ),
        (
            Broken::DescribeIsUnsafe,
            "what it declares can be used safely",
        ),
        (
            Broken::ResolveIsUnstable,
            "the same facts give the same target",
        ),
        (
            Broken::ResolveTakesAnything,
            "what can never be granted is refused",
        ),
        (Broken::AliasesDiffer, "two names for one thing"),
        (Broken::SendsAtItsLimit, LATE),
        (Broken::StopsBeforeItsLimit, "a grant just before its limit"),
        (Broken::GrantIsNotIdempotent, "grant works"),
        (Broken::RevokeIsNotIdempotent, "revoke works"),
        (
            Broken::RevokeDoesNothing,
            "sees every effect that was applied",
        ),
        (
            Broken::LostRepliesAreCalledNothing,
            "LostReply was reported as",
        ),
        (Broken::FailuresAreCalledAbsent, "a broken look is an error"),
        (Broken::InspectIsStale, "sees every effect that was applied"),
        (
            Broken::ResourceIsAnother,
            "leads to the resource of its targets",
        ),
        (Broken::ListingForgetsPages, "crowds several pages"),
        (Broken::ListingRepeatsItself, "what stands is listed once"),
        (
            Broken::ListingTellsAnotherSlot,
            "a slot that is told is the one of the grant",
        ),
        (Broken::ListingIsEmpty, "what stands is listed once"),
        (Broken::OtherKindIsRetryable, "trying again does not help"),
        (Broken::NeverReturns, "ends within 15 s"),
        (
            Broken::TakesAnyRealm,
            "a target of another realm is refused",
        ),
        (
            Broken::RevokeTakesFromOthers,
            "a revoke touches nobody else",
        ),
    ];
    catches(standing(Apply::AtOnce), table).await;
    let table = &[
        (
            Broken::AcceptedIsCalledApplied,
            "sees every effect that was applied",
        ),
        (
            Broken::PendingIsCalledAbsent,
            "a call that is being applied is seen",
        ),
    ];
    catches(standing(Apply::Later), table).await;
    let mut expiring = standing(Apply::AtOnce);
    expiring.description.native_expiry = NativeExpiry::Exact;
    let table = &[
        (Broken::LivesTooLong, "ends standing access by itself"),
        (Broken::LaterGrantsAreForgotten, "moves its end"),
        (Broken::WhatIsOverIsBelieved, "is given again"),
    ];
    catches(expiring, table).await;
}

#[tokio::test(start_paused = true)]
async fn every_broken_promise_of_minted_credentials_is_caught() {
    let table = &[
        (
            Broken::DescribeChanges,
            "`describe` gives the same each time",
        ),
        (
            Broken::ResolveIsUnstable,
            "the same facts give the same target",
        ),
        (Broken::SendsAtItsLimit, LATE),
        (Broken::StopsBeforeItsLimit, "a mint just before its limit"),
        (
            Broken::RevokeIsNotIdempotent,
            "revoking works, and works again",
        ),
        (Broken::RevokeDoesNothing, "inspect sees every effect"),
        (
            Broken::LostRepliesAreCalledNothing,
            "LostReply was reported as",
        ),
        (Broken::InspectIsStale, "found by its handle"),
        (Broken::OtherKindIsRetryable, "trying again does not help"),
        (Broken::NeverReturns, "ends within 15 s"),
        (Broken::MintForgetsItsMarker, "found by its handle"),
        (Broken::HandleIsTheSecret, "a secret is never in Debug"),
        (Broken::LivesTooLong, "no later than declared"),
        (
            Broken::TakesAnyRealm,
            "a target of another realm is refused",
        ),
    ];
    catches(minted(), table).await;
    let table = &[
        (Broken::GoneByIsTooEarly, "is known to end"),
        (Broken::GoneByIsCalledAbsent, "is known to end"),
        (Broken::LivesTooLong, "what is said to be gone is gone"),
    ];
    catches(blind(), table).await;
}
