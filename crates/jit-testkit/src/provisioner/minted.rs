//! The clauses of minted credentials.

use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Effect, InspectCall, Minted, Purpose};
use jit_core::provider::{Answer, NativeExpiry, Presence};
use jit_core::request::RequestId;

use super::{
    Breakage, CALL_LIMIT, LATE, LIFE, Sight, Suite, TICK, not_possible, nothing_done, says_how,
};

impl Suite<'_> {
    pub(super) async fn minted_credentials(&mut self) {
        let request = self.request();
        let refused = self.grant(request, self.soon()).await;
        not_possible(&refused.expect_err("a credential is not granted"));
        assert!(!self.is_effective(request).await, "nothing was made");

        self.a_credential_works_and_its_secret_is_hidden().await;
        self.nothing_is_minted_past_its_time().await;
        for how in self.breakages() {
            self.a_failed_mint_says_what_was_done(how).await;
        }
        self.a_lost_mint_is_gone_when_that_is_said().await;
        self.a_dropped_mint_is_found_by_its_marker().await;
        if self.description.revocable {
            self.a_credential_is_revoked_by_its_handle().await;
            self.nothing_is_revoked_past_its_time().await;
        } else {
            self.what_cannot_be_revoked_says_so().await;
        }
        self.the_provider_ends_a_credential().await;
    }

    async fn made(&mut self) -> (RequestId, Minted) {
        let request = self.request();
        let minted = self.mint(request, self.soon()).await.expect("mint works");
        assert!(
            self.fixture.works(minted.secret.expose()).await,
            "a credential works when it is handed over"
        );
        (request, minted)
    }

    async fn a_credential_works_and_its_secret_is_hidden(&mut self) {
        let (request, minted) = self.made().await;
        let secret = minted.secret.expose();
        let printed = format!("{minted:?} {:?}", minted.secret);
        assert!(
            !printed.contains(secret),
            "a secret is never in Debug output"
        );
        if let Some(handle) = &minted.handle {
            assert!(!handle.0.contains(secret), "a handle is never a secret");
            let seen = self.inspect(request, Some(handle)).await;
            assert_eq!(
                seen.expect("inspect works"),
                Presence::Present,
                "found by its handle"
            );
        }
        self.seen_by_marker(request).await;
        let other = self.request();
        let seen = self.inspect(other, None).await.expect("inspect works");
        let expected = if self.description.listable {
            seen == Presence::Absent
        } else {
            matches!(seen, Presence::GoneBy(_))
        };
        assert!(
            expected,
            "another request's marker finds nothing, but inspect said {seen:?}"
        );
    }

    async fn seen_by_marker(&self, request: RequestId) {
        let seen = self.inspect(request, None).await.expect("inspect works");
        if self.description.listable {
            assert_eq!(seen, Presence::Present, "found by its marker");
        } else {
            self.known_to_end(seen, self.soon(), self.fixture.now() + LIFE);
        }
    }

    /// Checks what `inspect` says of a credential that cannot be found; when it is gone.
    fn known_to_end(
        &self,
        seen: Presence,
        send_before: Timestamp,
        expires_at: Timestamp,
    ) -> Timestamp {
        let declared = self.description.gone_by(send_before, expires_at);
        // An adapter may know of a later end than it declares of all: a life that is counted from
        // when the provider takes a call ends later by as long as that takes. Never of an earlier one.
        let windows = self.description.accepted_within + self.description.applied_within;
        let at = match seen {
            Presence::GoneBy(at) => Some(at),
            Presence::Present | Presence::Absent | Presence::InFlight => None,
        };
        let both = at.zip(declared).ok_or(seen);
        let (at, declared) = both.expect("what cannot be found is known to end");
        let is_known = declared <= at && at <= declared + windows + CALL_LIMIT;
        assert!(
            is_known,
            "what cannot be found is known to end by {declared} or a little later, not by {at}"
        );
        at
    }

    /// What came back of a mint was lost: at the instant that `inspect` says, counted from the times of
    /// that very call, nothing of it works any more.
    async fn a_lost_mint_is_gone_when_that_is_said(&mut self) {
        let lost = Breakage::LostReply;
        if self.description.listable || !self.counterpart.shows(Sight::Breakage(lost)) {
            return;
        }
        let request = self.request();
        let (send_before, expires_at) = (self.soon(), self.fixture.now() + LIFE);
        self.fixture.break_calls(lost).await;
        let failed = self.mint(request, send_before).await;
        self.fixture.mend().await;
        failed.expect_err("a mint whose reply is lost fails");
        assert!(self.is_effective(request).await, "it was made");
        let call = InspectCall {
            purpose: Purpose::TakeAway,
            request,
            target: &self.target,
            parameters: &self.ask.parameters,
            handle: None,
            expires_at,
            send_before: Some(send_before),
        };
        let seen = self.adapter.inspect(call).await.expect("inspect works");
        let gone_by = self.known_to_end(seen, send_before, expires_at);
        self.fixture.pass(gone_by.since(self.fixture.now())).await;
        assert!(
            !self.is_effective(request).await,
            "what is said to be gone is gone"
        );
    }

    async fn nothing_is_minted_past_its_time(&mut self) {
        let request = self.request();
        let now = self.fixture.now();
        for send_before in [now, now - Duration::from_secs(1)] {
            let refused = self.mint(request, send_before).await;
            nothing_done(&refused.expect_err(LATE));
        }
        self.settle().await;
        assert!(
            !self.is_effective(request).await,
            "nothing was made past its time"
        );
        let limit = self.fixture.now() + TICK;
        let minted = self.mint(request, limit).await;
        minted.expect("a mint just before its limit is sent");
        assert!(
            self.is_effective(request).await,
            "it is marked with its request"
        );
    }

    async fn a_failed_mint_says_what_was_done(&mut self, how: Breakage) {
        let request = self.request();
        self.fixture.break_calls(how).await;
        let failed = self.mint(request, self.soon()).await;
        self.fixture.mend().await;
        let error = failed.expect_err("a broken mint fails");
        says_how(&error, how);
        // A short native life may be over before the last moment at which the call could land.
        let at_once = self.is_effective(request).await;
        self.settle().await;
        let there = at_once || self.is_effective(request).await;
        assert!(
            !there || error.effect == Effect::Unknown,
            "{how:?}: an error says that nothing was done only where that is certain"
        );
        assert_eq!(
            there,
            how == Breakage::LostReply,
            "the fixture breaks calls as asked"
        );
        if there {
            if self.is_effective(request).await {
                self.seen_by_marker(request).await;
            }
            self.revoked_by_marker(request).await;
        }
    }

    async fn a_dropped_mint_is_found_by_its_marker(&mut self) {
        let request = self.request();
        let call = self.mint(request, self.soon());
        drop(tokio::time::timeout(Duration::ZERO, call).await);
        self.settle().await;
        if self.is_effective(request).await {
            self.seen_by_marker(request).await;
        }
        self.revoked_by_marker(request).await;
    }

    async fn revoked_by_marker(&mut self, request: RequestId) {
        if !(self.description.revocable && self.description.listable) {
            return;
        }
        let answer = self
            .revoke(request, None, self.soon())
            .await
            .expect("revoke by marker works, also where nothing is left");
        self.applied(request, answer, Presence::Absent).await;
    }

    async fn a_credential_is_revoked_by_its_handle(&mut self) {
        let (request, minted) = self.made().await;
        let (_, other) = self.made().await;
        let handle = minted.handle.as_ref();
        for _ in 0..2 {
            let answer = self
                .revoke(request, handle, self.soon())
                .await
                .expect("revoking works, and works again");
            if answer == Answer::Accepted {
                self.fixture.pass(self.description.applied_within).await;
            }
            assert!(
                !self.fixture.works(minted.secret.expose()).await,
                "a revoked credential does not work"
            );
            let seen = self.inspect(request, handle).await.expect("inspect works");
            assert_eq!(seen, Presence::Absent, "a revoked credential is gone");
        }
        assert!(
            self.fixture.works(other.secret.expose()).await,
            "no other credential is touched"
        );
    }

    async fn nothing_is_revoked_past_its_time(&mut self) {
        let (request, minted) = self.made().await;
        let handle = minted.handle.as_ref();
        let now = self.fixture.now();
        for send_before in [now, now - Duration::from_secs(1)] {
            let refused = self.revoke(request, handle, send_before).await;
            nothing_done(&refused.expect_err(LATE));
        }
        assert!(
            self.fixture.works(minted.secret.expose()).await,
            "nothing was revoked past its time"
        );
        let limit = self.fixture.now() + TICK;
        self.revoke(request, handle, limit)
            .await
            .expect("a revoke just before its limit is sent");
        self.settle().await;
        assert!(
            !self.fixture.works(minted.secret.expose()).await,
            "it was revoked"
        );
    }

    async fn what_cannot_be_revoked_says_so(&mut self) {
        let (request, minted) = self.made().await;
        let refused = self
            .revoke(request, minted.handle.as_ref(), self.soon())
            .await;
        not_possible(&refused.expect_err("what is not revocable is not revoked"));
        assert!(
            self.fixture.works(minted.secret.expose()).await,
            "it was not touched"
        );
    }

    async fn the_provider_ends_a_credential(&mut self) {
        let life = match self.description.native_expiry {
            NativeExpiry::Exact => LIFE,
            NativeExpiry::AtMost(life) => life + self.description.applied_within,
            NativeExpiry::None | NativeExpiry::AtLeast(_) => return,
        };
        let (request, minted) = self.made().await;
        let latest = self.fixture.now() + life;
        assert!(
            minted.ends_at.is_none_or(|end| end <= latest),
            "it ends no later than declared"
        );
        self.fixture.pass(life).await;
        assert!(
            !self.fixture.works(minted.secret.expose()).await,
            "the provider ends a credential by itself"
        );
        if self.description.listable {
            let seen = self.inspect(request, None).await.expect("inspect works");
            assert_eq!(seen, Presence::Absent, "an expired credential is gone");
        }
    }
}
