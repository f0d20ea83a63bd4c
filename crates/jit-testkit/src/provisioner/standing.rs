//! The clauses of standing access.

use std::time::Duration;

use jit_core::ports::{Effect, Standing};
use jit_core::provider::{Answer, NativeExpiry, Presence, Target};
use jit_core::request::RequestId;

use super::{
    Breakage, LATE, LIFE, PAGES_LIMIT, Sight, Suite, TICK, in_time, not_possible, nothing_done,
    says_how,
};

impl Suite<'_> {
    pub(super) async fn standing_access(&mut self) {
        self.the_other_kind_is_refused().await;
        self.granting_and_revoking_are_idempotent().await;
        self.nothing_is_transmitted_past_its_time().await;
        self.a_dropped_call_is_like_a_crash().await;
        for how in self.breakages() {
            self.a_failure_says_what_was_done(how).await;
        }
        self.the_provider_ends_standing_access().await;
        self.a_listing_shows_what_stands().await;
    }

    async fn the_other_kind_is_refused(&mut self) {
        let request = self.request();
        let refused = self.mint(request, self.soon()).await;
        let error = refused.expect_err("standing access is not minted");
        not_possible(&error);
        self.agrees(request, Presence::Absent).await;
    }

    async fn granting_and_revoking_are_idempotent(&mut self) {
        let never = self.request();
        self.taken(never).await;
        let first = self.given().await;
        let second = self.given().await;
        self.taken(second).await;
        self.taken(first).await;
    }

    async fn nothing_is_transmitted_past_its_time(&mut self) {
        let request = self.request();
        let now = self.fixture.now();
        for send_before in [now, now - Duration::from_secs(1)] {
            let refused = self.grant(request, send_before).await;
            nothing_done(&refused.expect_err(LATE));
        }
        self.settle().await;
        self.agrees(request, Presence::Absent).await;

        let limit = self.fixture.now() + TICK;
        let answer = self
            .grant(request, limit)
            .await
            .expect("a grant just before its limit is sent");
        self.applied(request, answer, Presence::Present).await;

        let now = self.fixture.now();
        for send_before in [now, now - Duration::from_secs(1)] {
            let refused = self.revoke(request, None, send_before).await;
            nothing_done(&refused.expect_err(LATE));
        }
        self.settle().await;
        self.agrees(request, Presence::Present).await;

        let limit = self.fixture.now() + TICK;
        let answer = self
            .revoke(request, None, limit)
            .await
            .expect("a revoke just before its limit is sent");
        self.applied(request, answer, Presence::Absent).await;
    }

    async fn a_dropped_call_is_like_a_crash(&mut self) {
        let request = self.request();
        let call = self.grant(request, self.soon());
        // The first poll runs to the first await, then the call is dropped.
        drop(tokio::time::timeout(Duration::ZERO, call).await);
        self.settle().await;
        let there = self.is_effective(request).await;
        let wanted = if there {
            Presence::Present
        } else {
            Presence::Absent
        };
        // A call that goes on behind the drop may be seen, in flight or done, but never missed.
        let seen = self.inspect(request, None).await.expect("inspect works");
        assert!(
            seen == wanted || self.is_effective(request).await || seen == Presence::InFlight,
            "a dropped call is judged by what was done, but inspect said {seen:?}"
        );
        let answer = self.revoked_at_last(request).await;
        self.applied(request, answer, Presence::Absent).await;
    }

    /// What is in flight may refuse a revoke for a while.
    async fn revoked_at_last(&mut self, request: RequestId) -> Answer {
        loop {
            match self.revoke(request, None, self.soon()).await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.kind.is_retryable(), "revoke works: {error:?}"),
            }
            self.fixture.pass(Duration::from_secs(1)).await;
        }
    }

    async fn a_failure_says_what_was_done(&mut self, how: Breakage) {
        let request = self.request();
        self.fixture.break_calls(how).await;
        let failed = self.grant(request, self.soon()).await;
        let seen = self.inspect(request, None).await;
        self.fixture.mend().await;
        let error = failed.expect_err("a broken grant fails");
        says_how(&error, how);
        assert!(seen.is_err(), "a broken look is an error, not {seen:?}");
        self.settle().await;
        let there = self.is_effective(request).await;
        assert!(
            !there || error.effect == Effect::Unknown,
            "{how:?}: an error says that nothing was done only where that is certain"
        );
        assert_eq!(
            there,
            how == Breakage::LostReply,
            "the fixture breaks calls as asked"
        );
        self.taken(request).await;

        let request = self.given().await;
        self.fixture.break_calls(how).await;
        let failed = self.revoke(request, None, self.soon()).await;
        self.fixture.mend().await;
        let error = failed.expect_err("a broken revoke fails");
        says_how(&error, how);
        self.settle().await;
        let there = self.is_effective(request).await;
        assert!(
            there || error.effect == Effect::Unknown,
            "{how:?}: an error says that nothing was done only where that is certain"
        );
        self.taken(request).await;
    }

    /// What the provider ends by its own clock ends when the last grant says, and not before.
    async fn the_provider_ends_standing_access(&mut self) {
        let mut rest = match self.description.native_expiry {
            NativeExpiry::Exact => LIFE,
            NativeExpiry::AtMost(life) => life + self.description.applied_within,
            NativeExpiry::None | NativeExpiry::AtLeast(_) => return,
        };
        let mut request = self.given().await;
        if self.description.native_expiry == NativeExpiry::Exact {
            self.fixture.pass(LIFE / 2).await;
            request = self.given().await;
            self.fixture.pass(LIFE / 2).await;
            assert!(
                self.is_effective(request).await,
                "granting what is there moves its end at the provider"
            );
            rest = LIFE / 2;
        }
        self.fixture.pass(rest).await;
        assert!(
            !self.is_effective(request).await,
            "the provider ends standing access by itself"
        );
        let request = self.request();
        let answer = self.grant(request, self.soon()).await.expect("grant works");
        if answer == Answer::Accepted {
            self.fixture.pass(self.description.applied_within).await;
        }
        assert!(
            self.is_effective(request).await,
            "what the provider has ended is given again"
        );
        self.taken(request).await;
    }

    async fn a_listing_shows_what_stands(&mut self) {
        let request = self.given().await;
        if self.counterpart.shows(Sight::Paging) {
            self.fixture.crowd().await;
        }
        let found = in_time(self.adapter.resource(&self.ask.entitlement)).await;
        assert_eq!(
            found.expect("looking up a resource works").as_deref(),
            Some(self.target.resource.as_str()),
            "an entitlement leads to the resource of its targets"
        );
        let (pages, listed) = self.listing().await;
        let is_ours = |it: &&Standing| it.target == self.target;
        let ours: Vec<&Standing> = listed.iter().filter(is_ours).collect();
        assert_eq!(ours.len(), 1, "what stands is listed once");
        let slot = self.target.slot_key(&self.ask.parameters);
        assert!(
            ours.iter().flat_map(|it| &it.slot).all(|it| *it == slot),
            "a slot that is told is the one of the grant"
        );
        for (at, standing) in listed.iter().enumerate() {
            assert!(
                !listed.iter().skip(at + 1).any(|other| other == standing),
                "{standing:?} is listed twice"
            );
        }
        assert!(
            pages > 1 || !self.counterpart.shows(Sight::Paging),
            "a fixture crowds several pages or says why not"
        );
        let others = without(&listed, &self.target);
        self.taken(request).await;
        let (_, listed) = self.listing().await;
        assert!(
            !listed.iter().any(|it| it.target == self.target),
            "what was revoked is not listed"
        );
        let stays = |it: &Target| listed.iter().any(|other| other.target == *it);
        assert!(others.iter().all(stays), "a revoke touches nobody else");
    }

    async fn listing(&self) -> (usize, Vec<Standing>) {
        let mut listed = Vec::new();
        let mut page = None;
        for pages in 1..=PAGES_LIMIT {
            let resource = &self.target.resource;
            let got = in_time(self.adapter.standing(resource, page.as_deref()))
                .await
                .expect("listing works");
            listed.extend(got.items);
            page = got.next;
            if page.is_none() {
                return (pages, listed);
            }
        }
        assert!(page.is_none(), "a listing ends");
        (PAGES_LIMIT, listed)
    }
}

fn without(listed: &[Standing], target: &Target) -> Vec<Target> {
    let others = listed.iter().map(|it| &it.target);
    others.filter(|it| *it != target).cloned().collect()
}
