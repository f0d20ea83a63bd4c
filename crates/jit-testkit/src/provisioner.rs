//! The contract of [`Provisioner`], checked on any adapter through one function, so that no adapter
//! can run less of it. What an adapter is compared with is its fixture's business.

mod minted;
mod standing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Effect, ErrorKind, GrantCall, InspectCall, Minted, PortError, Provisioner, RevokeCall,
};
use jit_core::principal::Profile;
use jit_core::provider::{
    Answer, Description, Handle, Kind, Parameters, Presence, Resolved, Target,
};
use jit_core::request::RequestId;

/// The longest that any call may take.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// The shortest step of a [`Timestamp`].
const TICK: Duration = Duration::from_micros(1);
/// How long the suite asks access for.
const LIFE: Duration = Duration::from_secs(3_600);
/// More pages than any listing of a fixture has.
const PAGES_LIMIT: usize = 1_000;

/// Runs every clause of the contract of [`Provisioner`] that fits its kind, and prints what the
/// counterpart cannot show.
///
/// # Panics
/// Where the adapter, or the fixture, breaks its contract: this is an assertion.
pub async fn provisioner_contract(fixture: &mut dyn ProvisionerFixture) {
    let counterpart = fixture.counterpart();
    for (sight, why) in &counterpart.cannot_show {
        eprintln!("{} cannot show {sight}: {why}", counterpart.name);
    }
    let description = the_description_is_sound_and_constant(fixture.provisioner().as_ref());
    let target = resolving_is_stable_and_refuses_the_unknown(fixture, &counterpart).await;
    let mut suite = Suite {
        description,
        ask: fixture.known(),
        adapter: fixture.provisioner(),
        target,
        counterpart,
        requests: 0,
        fixture,
    };
    if suite.counterpart.shows(Sight::ForeignRealm) {
        suite.a_target_of_another_realm_is_refused().await;
    }
    match description.kind {
        Kind::Standing => suite.standing_access().await,
        Kind::Minted => suite.minted_credentials().await,
    }
    let settled = suite.adapter.describe();
    assert_eq!(
        settled, description,
        "`describe` is constant while it is used"
    );
}

/// A person, and what they ask for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who.
    pub beneficiary: Profile,
    /// What.
    pub entitlement: Entitlement,
    /// With which parameters.
    pub parameters: Parameters,
}

/// A way in which a call can fail.
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
}

/// Something that a counterpart shows, or cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Two names for one thing.
    Alias,
    /// A listing of more than one page.
    Paging,
    /// A call that fails in this way.
    Breakage(Breakage),
    /// That it refuses a target of another realm.
    ForeignRealm,
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alias => "two names for one thing",
            Self::Paging => "a listing of several pages",
            Self::ForeignRealm => "a refused target of another realm",
            Self::Breakage(Breakage::Refusal) => "a refused call",
            Self::Breakage(Breakage::Throttling) => "a throttled call",
            Self::Breakage(Breakage::Outage) => "an outage",
            Self::Breakage(Breakage::LostReply) => "a lost reply",
        })
    }
}

/// What the adapter is tested against, and what that cannot show.
#[derive(Debug, Clone)]
pub struct Counterpart {
    /// What it is: `a real file`, `aws-sim`.
    pub name: &'static str,
    /// Each thing that it cannot show, and why.
    pub cannot_show: Vec<(Sight, &'static str)>,
}

impl Counterpart {
    fn shows(&self, sight: Sight) -> bool {
        self.cannot_show.iter().all(|(hidden, _)| *hidden != sight)
    }
}

/// An adapter with everything around it that the suite must see and move.
///
/// # Contract
/// Nothing of what `known` asks for is there when the suite begins. The adapter's time stands still
/// but for `pass`. `is_effective` and `works` do not go through the adapter.
#[async_trait]
pub trait ProvisionerFixture: Send {
    /// What the adapter is tested against.
    fn counterpart(&self) -> Counterpart;

    /// The adapter.
    fn provisioner(&self) -> Arc<dyn Provisioner>;

    /// The time by the adapter's clock.
    fn now(&self) -> Timestamp;

    /// Lets time pass, for the adapter and for its counterpart.
    async fn pass(&mut self, time: Duration);

    /// What can be granted.
    fn known(&self) -> Ask;

    /// What can never be granted.
    fn unknown(&self) -> Ask;

    /// Another way to exactly what `known` asks for, through the same adapter or another one.
    fn alias(&self) -> Option<(Arc<dyn Provisioner>, Ask)> {
        None
    }

    /// Gives so many others what `known` asks for that a listing has several pages.
    async fn crowd(&mut self) {}

    /// Whether the access is effective now; for a minted credential, whether any that is marked
    /// with this request would be accepted.
    async fn is_effective(
        &mut self,
        request: RequestId,
        target: &Target,
        parameters: &Parameters,
    ) -> bool;

    /// Whether the counterpart accepts this secret now. Only asked of minted credentials.
    async fn works(&mut self, secret: &str) -> bool {
        let _ = secret;
        false
    }

    /// Makes calls fail in this way from now on.
    async fn break_calls(&mut self, how: Breakage);

    /// Calls work again.
    async fn mend(&mut self);
}

fn the_description_is_sound_and_constant(adapter: &dyn Provisioner) -> Description {
    let description = adapter.describe();
    assert_eq!(
        description.check(),
        Ok(()),
        "what it declares can be used safely"
    );
    assert_eq!(
        adapter.describe(),
        description,
        "`describe` gives the same each time"
    );
    description
}

async fn resolving_is_stable_and_refuses_the_unknown(
    fixture: &dyn ProvisionerFixture,
    counterpart: &Counterpart,
) -> Target {
    let adapter = fixture.provisioner();
    let known = fixture.known();
    let target = resolve(adapter.as_ref(), &known)
        .await
        .expect("what is known resolves");
    let again = resolve(adapter.as_ref(), &known)
        .await
        .expect("it resolves a second time");
    assert_eq!(again, target, "the same facts give the same target");

    let refused = resolve(adapter.as_ref(), &fixture.unknown()).await;
    let error = refused.expect_err("what can never be granted is refused");
    assert!(
        matches!(error.kind, ErrorKind::NotFound | ErrorKind::Misconfigured),
        "it is refused as NotFound or Misconfigured, not {error:?}"
    );
    assert_eq!(error.effect, Effect::None, "resolving changes nothing");

    if counterpart.shows(Sight::Alias) {
        let (adapter, ask) = fixture
            .alias()
            .expect("a fixture has an alias or says why not");
        let other = resolve(adapter.as_ref(), &ask)
            .await
            .expect("the alias resolves");
        assert_eq!(other, target, "two names for one thing give equal targets");
    }
    target.target
}

async fn resolve(adapter: &dyn Provisioner, ask: &Ask) -> Result<Resolved, PortError> {
    in_time(adapter.resolve(&ask.beneficiary, &ask.entitlement, &ask.parameters)).await
}

async fn in_time<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(CALL_LIMIT, call)
        .await
        .expect("every call ends within 15 s")
}

/// The clause on calls past their time, which both kinds share.
const LATE: &str = "a call at `now == send_before` or later is not transmitted";

struct Suite<'a> {
    fixture: &'a mut dyn ProvisionerFixture,
    counterpart: Counterpart,
    adapter: Arc<dyn Provisioner>,
    description: Description,
    ask: Ask,
    target: Target,
    requests: u8,
}

// What the suite does to the adapter.
impl Suite<'_> {
    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.fixture.now(), [self.requests; 10])
    }

    fn soon(&self) -> Timestamp {
        self.fixture.now() + Duration::from_secs(30)
    }

    fn grant_call(&self, request: RequestId, send_before: Timestamp) -> GrantCall<'_> {
        GrantCall {
            request,
            target: &self.target,
            parameters: &self.ask.parameters,
            template: self.ask.entitlement.template.as_deref(),
            expires_at: self.fixture.now() + LIFE,
            send_before,
        }
    }

    async fn grant(&self, request: RequestId, send_before: Timestamp) -> Result<Answer, PortError> {
        in_time(self.adapter.grant(self.grant_call(request, send_before))).await
    }

    async fn mint(&self, request: RequestId, send_before: Timestamp) -> Result<Minted, PortError> {
        in_time(self.adapter.mint(self.grant_call(request, send_before))).await
    }

    async fn revoke(
        &self,
        request: RequestId,
        handle: Option<&Handle>,
        send_before: Timestamp,
    ) -> Result<Answer, PortError> {
        let call = RevokeCall {
            request,
            target: &self.target,
            parameters: &self.ask.parameters,
            handle,
            send_before,
        };
        in_time(self.adapter.revoke(call)).await
    }

    async fn inspect(
        &self,
        request: RequestId,
        handle: Option<&Handle>,
    ) -> Result<Presence, PortError> {
        let call = InspectCall {
            purpose: jit_core::ports::Purpose::TakeAway,
            request,
            target: &self.target,
            parameters: &self.ask.parameters,
            handle,
            expires_at: self.fixture.now() + LIFE,
            send_before: Some(self.soon()),
        };
        in_time(self.adapter.inspect(call)).await
    }

    async fn is_effective(&mut self, request: RequestId) -> bool {
        self.fixture
            .is_effective(request, &self.target, &self.ask.parameters)
            .await
    }

    /// Waits until no call that was made so far can still change anything.
    async fn settle(&mut self) {
        let longest = self.description.accepted_within + self.description.applied_within;
        self.fixture.pass(longest).await;
    }

    /// Waits until an answered call is applied, and checks what can be seen of it on the way.
    async fn applied(&mut self, request: RequestId, answer: Answer, wanted: Presence) {
        if answer == Answer::Accepted {
            if self.description.pending_visible {
                let seen = self.inspect(request, None).await.expect("inspect works");
                assert!(
                    seen == wanted || seen == Presence::InFlight,
                    "a call that is being applied is seen, but inspect said {seen:?}"
                );
            }
            self.fixture.pass(self.description.applied_within).await;
        }
        self.agrees(request, wanted).await;
    }

    async fn agrees(&mut self, request: RequestId, wanted: Presence) {
        let seen = self.inspect(request, None).await.expect("inspect works");
        assert_eq!(seen, wanted, "inspect sees every effect that was applied");
        let there = self.is_effective(request).await;
        assert_eq!(
            there,
            wanted == Presence::Present,
            "what inspect says is so at the counterpart"
        );
    }

    async fn given(&mut self) -> RequestId {
        let request = self.request();
        let answer = self.grant(request, self.soon()).await.expect("grant works");
        self.applied(request, answer, Presence::Present).await;
        request
    }

    async fn taken(&mut self, request: RequestId) {
        let answer = self
            .revoke(request, None, self.soon())
            .await
            .expect("revoke works");
        self.applied(request, answer, Presence::Absent).await;
    }

    /// What is true of both kinds: a record of another system is no order.
    async fn a_target_of_another_realm_is_refused(&mut self) {
        let request = self.request();
        let ours = self.target.clone();
        self.target.realm = format!("not {}", ours.realm);
        let mut refused = vec![match self.description.kind {
            Kind::Standing => ("grant", self.grant(request, self.soon()).await.map(drop)),
            Kind::Minted => ("mint", self.mint(request, self.soon()).await.map(drop)),
        }];
        refused.push(("inspect", self.inspect(request, None).await.map(drop)));
        if self.description.revocable {
            let revoked = self.revoke(request, None, self.soon()).await;
            refused.push(("revoke", revoked.map(drop)));
        }
        for (operation, answer) in refused {
            let error = answer.err().map(|error| (error.kind, error.effect));
            assert_eq!(
                error,
                Some((ErrorKind::Misconfigured, Effect::None)),
                "a target of another realm is refused by {operation}"
            );
        }
        self.settle().await;
        let touched = self.is_effective(request).await;
        self.target = ours;
        assert!(
            !touched && !self.is_effective(request).await,
            "a target of another realm touches nothing"
        );
    }

    /// The ways to fail that the counterpart shows.
    fn breakages(&self) -> Vec<Breakage> {
        use Breakage::{LostReply, Outage, Refusal, Throttling};
        [Refusal, Throttling, Outage, LostReply]
            .into_iter()
            .filter(|how| self.counterpart.shows(Sight::Breakage(*how)))
            .collect()
    }
}

fn nothing_done(error: &PortError) {
    assert_eq!(error.effect, Effect::None, "{LATE}: {error:?}");
}

fn not_possible(error: &PortError) {
    assert_eq!(error.effect, Effect::None, "nothing was done: {error:?}");
    assert!(
        !error.kind.is_retryable(),
        "trying again does not help: {error:?}"
    );
}

fn says_how(error: &PortError, how: Breakage) {
    let fits = match how {
        Breakage::Refusal => !error.kind.is_retryable(),
        Breakage::Throttling => matches!(error.kind, ErrorKind::RateLimited { .. }),
        Breakage::Outage => error.kind == ErrorKind::Unavailable,
        Breakage::LostReply => error.kind.is_retryable() && error.effect == Effect::Unknown,
    };
    assert!(fits, "{how:?} was reported as {error:?}");
}

#[cfg(test)]
mod tests;
