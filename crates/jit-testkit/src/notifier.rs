//! The contract of [`Notifier`], checked on any adapter through one function. What people would see
//! is its fixture's business.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jit_core::audit::{AuditEvent, Fact, Sealed};
use jit_core::ports::{Announcement, Delivery, DeliveryKey, ErrorKind, Notifier, PortError, Told};
use jit_core::request::{AccessRequest, Approver, Cause, Status};

use crate::sample;

/// The longest that a call may take: half of what a delivery that was taken is left alone for, so
/// that nobody else tells it meanwhile.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// For how long at most an adapter may put off what there is to tell after it was throttled.
const CAREFUL_FOR: Duration = Duration::from_secs(120);
/// Requests that are announced at once.
const AT_ONCE: u16 = 20;

/// A way in which the calls of a notifier can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    /// The other side says no, and trying again does not help.
    Refusal,
    /// The other side says: too fast.
    Throttling,
    /// The other side cannot be reached.
    Outage,
    /// The other side does what it is told and its answer is lost.
    LostReply,
    /// The other side takes every call and answers none.
    Hang,
}

impl Breakage {
    /// Whether somebody may have been told all the same.
    fn may_have_told(self) -> bool {
        match self {
            Self::LostReply | Self::Hang => true,
            Self::Refusal | Self::Throttling | Self::Outage => false,
        }
    }
}

/// An adapter with everything around it that the suite must see and move.
///
/// # Contract
/// Nobody was told anything when the suite begins. `seen` does not go through the adapter.
#[async_trait]
pub trait NotifierFixture: Send + Sync {
    /// What it is tested against: `a real file`, `slack-sim`.
    fn counterpart(&self) -> &'static str;

    /// The adapter.
    fn notifier(&self) -> Arc<dyn Notifier>;

    /// A sample as this adapter tells it somewhere: with an entitlement that it has a place for.
    fn fit(&self, sample: AccessRequest) -> AccessRequest {
        sample
    }

    /// Everything that a reader of this target sees, a text for each message, oldest first.
    async fn seen(&self, target: &str) -> Vec<String>;

    /// The ways in which its calls can be made to fail.
    fn breakages(&self) -> &'static [Breakage];

    /// Makes calls fail in this way from now on.
    async fn break_calls(&mut self, how: Breakage);

    /// Calls work again.
    async fn mend(&mut self);

    /// Lets time pass for the adapter.
    async fn pass(&mut self, time: Duration);
}

/// Runs every clause of the contract of [`Notifier`].
///
/// # Panics
/// Where the adapter, or the fixture, breaks its contract: this is an assertion.
pub async fn notifier_contract(fixture: &mut dyn NotifierFixture) {
    let notifier = fixture.notifier();
    let name = notifier.name();
    assert!(
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase()),
        "its name stands in delivery rows: {name:?}"
    );
    assert_eq!(notifier.name(), name, "its name is constant");
    targets_are_stable(fixture);
    a_story_is_told_and_told_again(fixture).await;
    for how in fixture.breakages() {
        a_failure_is_an_error_and_nothing_is_lost(fixture, *how).await;
        // Whoever was throttled may go slowly for a while.
        fixture.pass(CAREFUL_FOR).await;
    }
    many_are_told_at_once(fixture).await;
}

fn targets_are_stable(fixture: &dyn NotifierFixture) {
    let notifier = fixture.notifier();
    let mut named = BTreeSet::new();
    for status in Status::ALL {
        let request = fixture.fit(sample::request_in(900, status));
        let targets = notifier.targets(&request);
        assert_eq!(
            notifier.targets(&request),
            targets,
            "{status}: the same record has the same targets"
        );
        let distinct: BTreeSet<String> = targets.iter().cloned().collect();
        assert_eq!(
            distinct.len(),
            targets.len(),
            "{status}: a target is named once: {targets:?}"
        );
        named.extend(distinct);
    }
    assert!(
        !named.is_empty(),
        "the fixture's requests are told somewhere"
    );
}

/// One request from its opening to its end, and how far each target is.
struct Story {
    request: AccessRequest,
    events: Vec<Sealed>,
    deliveries: Vec<Delivery>,
}

impl Story {
    fn new(fixture: &dyn NotifierFixture, number: u16) -> Self {
        let mut request = fixture.fit(sample::request(number));
        let events = vec![sample::requested(&mut request)];
        let mut story = Self {
            request,
            events,
            deliveries: vec![],
        };
        story.name_targets(fixture);
        story
    }

    fn name_targets(&mut self, fixture: &dyn NotifierFixture) {
        let notifier = fixture.notifier();
        for target in notifier.targets(&self.request) {
            if self.deliveries.iter().any(|it| it.key.target == target) {
                continue;
            }
            self.deliveries.push(Delivery {
                key: DeliveryKey {
                    request: self.request.id,
                    notifier: notifier.name().to_owned(),
                    target,
                },
                version: 1,
                message: None,
                shown_seq: 0,
                attempts: 0,
                deliver_at: None,
                taken_until: None,
            });
        }
    }

    /// The record is in this status now, and these facts say how.
    fn moves(&mut self, fixture: &dyn NotifierFixture, status: Status, facts: Vec<Fact>) {
        let number = self.request.id;
        let before = self.request.clone();
        let after = fixture.fit(sample::request_in(0, status));
        self.request = AccessRequest {
            id: number,
            version: before.version + 1,
            chain: before.chain,
            ..after
        };
        for fact in facts {
            let at = self.request.updated_at;
            let sealed = sample::seal(&mut self.request, at, fact);
            self.events.push(sealed);
        }
        self.name_targets(fixture);
    }

    /// Announces to one target as the engine does, within the limit.
    async fn announce(
        &self,
        notifier: &dyn Notifier,
        delivery: &Delivery,
    ) -> Result<Told, PortError> {
        let fresh = self.events.iter().filter(|it| it.seq > delivery.shown_seq);
        let news: Vec<AuditEvent> = fresh
            .map(|it| it.event().expect("a sample's events can be read"))
            .collect();
        let announcing = notifier.announce(Announcement {
            delivery,
            request: &self.request,
            news: &news,
            background: None,
        });
        let said = tokio::time::timeout(CALL_LIMIT, announcing).await;
        said.expect("a call ends within 15 s")
    }

    /// Announces everywhere and keeps where the messages are.
    async fn tell(&mut self, notifier: &dyn Notifier) {
        for place in 0..self.deliveries.len() {
            let Some(delivery) = self.deliveries.get(place) else {
                continue;
            };
            let told = self.announce(notifier, delivery).await;
            let told = told.expect("nothing is broken, so it is told");
            if let Some(delivery) = self.deliveries.get_mut(place) {
                delivery.message = told.message;
                delivery.shown_seq = self.request.chain.seq;
            }
        }
    }

    async fn seen(&self, fixture: &dyn NotifierFixture) -> Vec<Vec<String>> {
        let mut all = vec![];
        for delivery in &self.deliveries {
            all.push(fixture.seen(&delivery.key.target).await);
        }
        all
    }
}

fn approved() -> Vec<Fact> {
    let bob = "bob@example.com".parse().expect("bob is a principal");
    vec![Fact::Approved {
        by: Approver::Person(bob),
        ttl: None,
        count: 1,
        needed: 1,
    }]
}

fn count(seen: &[Vec<String>]) -> usize {
    seen.iter().map(Vec::len).sum()
}

async fn a_story_is_told_and_told_again(fixture: &dyn NotifierFixture) {
    let notifier = fixture.notifier();
    let mut story = Story::new(fixture, 1);
    let ended = vec![Fact::Ending {
        cause: Cause::Expired,
        reason: None,
    }];
    story.tell(notifier.as_ref()).await;
    let mut shown = vec![story.seen(fixture).await];
    for (status, facts) in [(Status::Active, approved()), (Status::Closed, ended)] {
        story.moves(fixture, status, facts);
        let before = story.seen(fixture).await;
        story.tell(notifier.as_ref()).await;
        let after = story.seen(fixture).await;
        assert_ne!(before, after, "somebody sees that it is {status}");
        // Nothing happened since, and nobody is told anything.
        story.tell(notifier.as_ref()).await;
        assert_eq!(
            story.seen(fixture).await,
            after,
            "{status}: what was told is not told again"
        );
        // The process died before it could note that it told; it is told at most once more.
        for delivery in &mut story.deliveries {
            delivery.shown_seq = 1;
        }
        story.tell(notifier.as_ref()).await;
        let again = story.seen(fixture).await;
        assert!(
            count(&again) <= 2 * count(&after),
            "{status}: at most one message more for each: {again:#?} after {after:#?}"
        );
        shown.push(again);
    }
    let kept = story
        .deliveries
        .iter()
        .any(|delivery| delivery.message.is_some());
    assert!(kept, "where a message is comes back with the next");
    for pair in shown.windows(2) {
        let [earlier, later] = pair else { continue };
        assert!(
            count(later) >= count(earlier),
            "what was said once is not taken back"
        );
    }
}

async fn a_failure_is_an_error_and_nothing_is_lost(
    fixture: &mut dyn NotifierFixture,
    how: Breakage,
) {
    let notifier = fixture.notifier();
    let number = 100 + how as u16;
    let mut story = Story::new(fixture, number);
    story.moves(fixture, Status::Active, approved());
    let before = count(&story.seen(fixture).await);
    fixture.break_calls(how).await;
    let mut pause = Duration::ZERO;
    for delivery in &story.deliveries {
        let said = story.announce(notifier.as_ref(), delivery).await;
        let Err(error) = said else {
            let quiet = said.is_ok_and(|told| told.message.is_none());
            assert!(quiet, "{how:?} is an error where there is something to say");
            continue;
        };
        assert_eq!(
            error.kind.is_retryable(),
            how != Breakage::Refusal,
            "{how:?}: whether it is worth another try: {}",
            error.chain()
        );
        if let ErrorKind::RateLimited { retry_after_ms } = error.kind {
            pause = pause.max(Duration::from_millis(retry_after_ms.unwrap_or(1_000)));
        } else {
            assert!(how != Breakage::Throttling, "throttled, and not {error}");
        }
    }
    fixture.mend().await;
    let broken = count(&story.seen(fixture).await);
    let most = match how.may_have_told() {
        true => before + story.deliveries.len(),
        false => before,
    };
    assert!(broken <= most, "{how:?}: {broken} messages, not {most}");
    fixture.pass(pause).await;
    story.tell(notifier.as_ref()).await;
    let told = count(&story.seen(fixture).await);
    assert!(told > before, "{how:?}: it is told after all");
    assert!(
        told <= broken + story.deliveries.len() * story.events.len(),
        "{how:?}: and once: {told} messages after {broken}"
    );
}

async fn many_are_told_at_once(fixture: &dyn NotifierFixture) {
    let notifier = fixture.notifier();
    let mut stories: Vec<Story> = (0..AT_ONCE)
        .map(|number| Story::new(fixture, 200 + number))
        .collect();
    for story in &mut stories {
        story.moves(fixture, Status::Active, approved());
    }
    let targets: BTreeSet<String> = stories
        .iter()
        .flat_map(|story| story.deliveries.iter())
        .map(|delivery| delivery.key.target.clone())
        .collect();
    let mut before = 0;
    for target in &targets {
        before += fixture.seen(target).await.len();
    }
    let telling = stories
        .iter_mut()
        .map(|story| story.tell(notifier.as_ref()));
    join_all(telling).await;
    let mut after = 0;
    for target in &targets {
        after += fixture.seen(target).await.len();
    }
    assert!(
        after >= before + usize::from(AT_ONCE),
        "each is told: {after} messages after {before}"
    );
}
