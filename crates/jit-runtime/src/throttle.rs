//! A quota in front of a provider: a token bucket over the `Clock` port that obeys the provider's
//! Retry-After. Whatever gives access may use the top quarter of the bucket only, so that revokes
//! own at least three quarters of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Clock, ErrorKind, GrantCall, InspectCall, Minted, Page, PortError, Provisioner, Purpose,
    RevokeCall, Standing,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Target};
use jit_core::time::Timestamp;

/// How fast a provider may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls per second in the long run; at least one.
    pub per_second: u32,
    /// Calls at once after a pause; at least four.
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            per_second: 50,
            burst: 100,
        }
    }
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// In thousandths of a call.
    level: u64,
    filled_at: Timestamp,
    closed_until: Timestamp,
}

impl Bucket {
    fn new(rate: Rate, now: Timestamp) -> Self {
        let rate = Rate {
            per_second: rate.per_second.max(1),
            burst: rate.burst.max(4),
        };
        let level = u64::from(rate.burst) * 1_000;
        Self {
            rate,
            level,
            filled_at: now,
            closed_until: Timestamp::MIN,
        }
    }

    /// Takes one call out, or says how long to wait.
    fn draw(&mut self, purpose: Purpose, now: Timestamp) -> Result<(), Duration> {
        if now < self.closed_until {
            return Err(self.closed_until.since(now));
        }
        let full = u64::from(self.rate.burst) * 1_000;
        let micros = u64::try_from(now.since(self.filled_at).as_micros()).unwrap_or(u64::MAX);
        let gained = micros.saturating_mul(u64::from(self.rate.per_second)) / 1_000;
        if gained > 0 {
            self.level = self.level.saturating_add(gained).min(full);
            self.filled_at = now;
        }
        let floor = match purpose {
            Purpose::Give => full / 4 * 3,
            Purpose::TakeAway => 0,
        };
        let needed = floor + 1_000;
        if self.level < needed {
            let missing = needed - self.level;
            let millis = missing.div_ceil(u64::from(self.rate.per_second));
            return Err(Duration::from_millis(millis.max(1)));
        }
        self.level -= 1_000;
        Ok(())
    }
}

/// A provisioner that is never called faster than its quota.
pub struct Throttled {
    inner: Arc<dyn Provisioner>,
    clock: Arc<dyn Clock>,
    bucket: Mutex<Bucket>,
}

impl std::fmt::Debug for Throttled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttled")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl Throttled {
    /// Puts a quota in front of this provisioner.
    pub fn new(inner: Arc<dyn Provisioner>, clock: Arc<dyn Clock>, rate: Rate) -> Self {
        let bucket = Mutex::new(Bucket::new(rate, clock.now()));
        Self {
            inner,
            clock,
            bucket,
        }
    }

    fn draw(&self, purpose: Purpose, operation: &'static str) -> Result<(), PortError> {
        let now = self.clock.now();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.draw(purpose, now).map_err(|wait| {
            let retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            PortError::nothing_done(
                "quota",
                operation,
                ErrorKind::RateLimited { retry_after_ms },
            )
        })
    }

    /// Learns from the provider's own Retry-After.
    fn heed<T>(&self, answer: Result<T, PortError>) -> Result<T, PortError> {
        if let Err(error) = &answer
            && let ErrorKind::RateLimited {
                retry_after_ms: Some(millis),
            } = error.kind
        {
            // A provider that asks for more than a minute is asked again after a minute.
            let wait = Duration::from_millis(millis).min(Duration::from_secs(60));
            let closed_until = self.clock.now() + wait;
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.closed_until = bucket.closed_until.max(closed_until);
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
    ) -> Result<Target, PortError> {
        self.draw(Purpose::Give, "resolve")?;
        self.heed(
            self.inner
                .resolve(beneficiary, entitlement, parameters)
                .await,
        )
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.draw(Purpose::Give, "grant")?;
        self.heed(self.inner.grant(call).await)
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        self.draw(Purpose::Give, "mint")?;
        self.heed(self.inner.mint(call).await)
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.draw(Purpose::TakeAway, "revoke")?;
        self.heed(self.inner.revoke(call).await)
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.draw(call.purpose, "inspect")?;
        self.heed(self.inner.inspect(call).await)
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        self.draw(Purpose::Give, "list")?;
        self.heed(self.inner.standing(resource, page).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use jit_core::request::RequestId;

    use super::*;
    use jit_testkit::hostile::memory_standing;
    use jit_testkit::sample;
    use jit_testkit::time::{ManualClock, SeededRandom};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_micros(1_000_000_000_000 + millis * 1_000)
    }

    #[test]
    fn giving_uses_the_top_quarter_and_revoking_all_of_it() {
        let mut bucket = Bucket::new(
            Rate {
                per_second: 1,
                burst: 100,
            },
            at(0),
        );
        let given = (0..100)
            .filter(|_| bucket.draw(Purpose::Give, at(0)).is_ok())
            .count();
        assert_eq!(given, 25);
        let taken = (0..100)
            .filter(|_| bucket.draw(Purpose::TakeAway, at(0)).is_ok())
            .count();
        assert_eq!(taken, 75);
        assert!(bucket.draw(Purpose::TakeAway, at(0)).is_err());
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
        ) -> Result<Target, PortError> {
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

    #[test]
    fn the_bucket_fills_at_its_rate_and_says_how_long_to_wait() {
        let mut bucket = Bucket::new(
            Rate {
                per_second: 10,
                burst: 4,
            },
            at(0),
        );
        while bucket.draw(Purpose::TakeAway, at(0)).is_ok() {}
        let wait = bucket.draw(Purpose::TakeAway, at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(bucket.draw(Purpose::TakeAway, at(99)).is_err());
        assert!(bucket.draw(Purpose::TakeAway, at(100)).is_ok());
        assert!(bucket.draw(Purpose::TakeAway, at(100)).is_err());
    }
}
