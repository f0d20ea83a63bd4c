//! A quota in front of a provider that keeps none of its own, one draw a call; it obeys the
//! provider's Retry-After.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Clock, ErrorKind, GrantCall, InspectCall, Minted, Offer, Page, PortError, Provisioner, Purpose,
    RevokeCall, Standing,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Resolved};
use jit_core::quota::{Quota, Rate};

/// A provisioner that is never called faster than its quota.
pub struct Throttled {
    inner: Arc<dyn Provisioner>,
    clock: Arc<dyn Clock>,
    quota: Quota,
}

impl std::fmt::Debug for Throttled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttled")
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

impl Throttled {
    /// Puts a quota in front of this provisioner.
    pub fn new(inner: Arc<dyn Provisioner>, clock: Arc<dyn Clock>, rate: Rate) -> Self {
        let quota = Quota::new(rate, clock.now());
        Self {
            inner,
            clock,
            quota,
        }
    }

    fn draw(&self, purpose: Purpose, operation: &'static str) -> Result<(), PortError> {
        self.quota.draw(purpose, self.clock.now()).map_err(|wait| {
            let retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            PortError::nothing_done(
                "quota",
                operation,
                ErrorKind::RateLimited { retry_after_ms },
            )
        })
    }

    /// Learns from the provider's own Retry-After.
    fn heed<T>(&self, purpose: Purpose, answer: Result<T, PortError>) -> Result<T, PortError> {
        if let Err(error) = &answer
            && let ErrorKind::RateLimited {
                retry_after_ms: Some(millis),
            } = error.kind
        {
            self.quota
                .pause(purpose, Duration::from_millis(millis), self.clock.now());
        }
        answer
    }
}

#[async_trait]
impl Provisioner for Throttled {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        self.draw(Purpose::Give, "resolve")?;
        self.heed(
            Purpose::Give,
            self.inner
                .resolve(beneficiary, entitlement, parameters)
                .await,
        )
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.draw(Purpose::Give, "grant")?;
        self.heed(Purpose::Give, self.inner.grant(call).await)
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        self.draw(Purpose::Give, "mint")?;
        self.heed(Purpose::Give, self.inner.mint(call).await)
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.draw(Purpose::TakeAway, "revoke")?;
        self.heed(Purpose::TakeAway, self.inner.revoke(call).await)
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let purpose = call.purpose;
        self.draw(purpose, "inspect")?;
        self.heed(purpose, self.inner.inspect(call).await)
    }

    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        self.draw(Purpose::Give, "look up")?;
        self.heed(Purpose::Give, self.inner.resource(entitlement).await)
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        self.draw(Purpose::Give, "list")?;
        self.heed(Purpose::Give, self.inner.standing(resource, page).await)
    }

    async fn offers(&self) -> Result<Vec<Offer>, PortError> {
        self.draw(Purpose::Give, "list what it offers")?;
        self.heed(Purpose::Give, self.inner.offers().await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use jit_core::provider::Target;
    use jit_core::request::RequestId;
    use jit_core::time::Timestamp;

    use super::*;
    use jit_testkit::hostile::memory_standing;
    use jit_testkit::sample;
    use jit_testkit::time::{ManualClock, SeededRandom};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_micros(1_000_000_000_000 + millis * 1_000)
    }

    #[tokio::test]
    async fn looks_that_serve_grants_leave_revokes_their_share() {
        let clock = Arc::new(ManualClock::at(at(0)));
        let inner = memory_standing(clock.clone(), Arc::new(SeededRandom::new(1)));
        let rate = Rate {
            per_second: 1,
            burst: 8,
        };
        let inner = Arc::new(inner.as_seen_by(clock.clone()));
        let throttled = Throttled::new(inner, clock, rate);
        let mut part = sample::part("memory/admins");
        part.target.realm = "memory".to_owned();
        let look = |purpose| InspectCall {
            purpose,
            request: sample::id(1),
            target: &part.target,
            parameters: &part.parameters,
            handle: None,
            expires_at: at(0),
            send_before: None,
        };
        // Whoever opens many requests has as many looks made.
        assert!(throttled.inspect(look(Purpose::Give)).await.is_ok());
        assert!(throttled.inspect(look(Purpose::Give)).await.is_ok());
        assert!(throttled.inspect(look(Purpose::Give)).await.is_err());
        for _ in 0..6 {
            assert!(throttled.inspect(look(Purpose::TakeAway)).await.is_ok());
        }
        assert!(throttled.inspect(look(Purpose::TakeAway)).await.is_err());
    }

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            at(0)
        }
    }

    /// Counts the calls that reach it and answers none.
    #[derive(Default)]
    struct Unanswering(AtomicUsize);

    impl Unanswering {
        async fn call<T>(&self) -> T {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }
    }

    #[async_trait]
    impl Provisioner for Unanswering {
        fn describe(&self) -> Description {
            unreachable!("nobody asks")
        }
        async fn resolve(
            &self,
            _: &Profile,
            _: &Entitlement,
            _: &Parameters,
        ) -> Result<Resolved, PortError> {
            self.call().await
        }
        async fn revoke(&self, _: RevokeCall<'_>) -> Result<Answer, PortError> {
            self.call().await
        }
        async fn inspect(&self, _: InspectCall<'_>) -> Result<Presence, PortError> {
            self.call().await
        }
    }

    #[tokio::test]
    async fn calls_that_are_under_way_count() {
        let slow = Arc::new(Unanswering::default());
        let rate = Rate {
            per_second: 1,
            burst: 4,
        };
        let throttled = Throttled::new(slow.clone(), Arc::new(Stopped), rate);
        let target = Target {
            realm: "r".to_owned(),
            subject: "ana".parse().unwrap(),
            resource: "r".to_owned(),
        };
        let parameters = Parameters::new();
        let call = || {
            throttled.revoke(RevokeCall {
                request: RequestId::new(at(0), [0; 10]),
                target: &target,
                parameters: &parameters,
                handle: None,
                send_before: at(1),
            })
        };
        let mut under_way: Vec<_> = (0..10).map(|_| call()).collect();
        let mut held_back = 0;
        for call in &mut under_way {
            // One poll each: none of those that went out has come back.
            match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => {}
                Poll::Ready(answer) => {
                    let kind = answer.unwrap_err().kind;
                    assert!(matches!(kind, ErrorKind::RateLimited { .. }), "{kind:?}");
                    held_back += 1;
                }
            }
        }
        assert_eq!((slow.0.load(Ordering::Relaxed), held_back), (4, 6));
    }
}
