//! Named places at which a process of a test kills itself, as a power failure would there: just
//! before something is done that others can see, or just after. Nothing of this is in a program that
//! is not built with the feature `failpoints`, and nothing happens unless the environment says
//! `JIT_FAILPOINT=before provider.revoke#2`: the second time that a revoke is about to be sent. With
//! `stop` in front of it the process only stops there, as if it was suspended, until SIGCONT; with
//! `panic`, only whatever is being done panics, with words that quote what it has in hand and every
//! variable of the process.

mod store;

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::catalog::Entitlement;
use jit_core::ports::{
    Alarm, Announcement, GrantCall, InspectCall, Minted, Notifier, Offer, Page, Pager, PortError,
    Provisioner, Purpose, RevokeCall, Standing, Told,
};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Parameters, Presence, Resolved};
use jit_core::request::AccessRequest;

pub use store::Fatal as FatalStore;

/// Where the environment says at which place this process ends.
pub const VARIABLE: &str = "JIT_FAILPOINT";

/// Every place that there is.
pub const POINTS: [&str; 24] = [
    "commit.opened",
    "commit.approval",
    "commit.decision",
    "commit.intent",
    "commit.grant_outcome",
    "commit.revoking",
    "commit.revoke_outcome",
    "commit.closed",
    "commit.stuck",
    "commit.store_away",
    "commit.inbox_done",
    "commit.other",
    "commit.system",
    "provider.grant",
    "provider.mint",
    "provider.revoke",
    "provider.read_back",
    "notifier.announce",
    "pager.page",
    "store.delivery_take",
    "store.delivery_update",
    "store.inbox_put",
    "store.inbox_take",
    "store.inbox_done",
];

/// Within this time a signal has stopped every thread.
const STOPPING: Duration = Duration::from_millis(300);

/// On which side of the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Abort,
    Stop,
    Panic,
}

/// The place at which this process ends or stops.
#[derive(Debug)]
struct Armed {
    deed: Deed,
    side: Side,
    point: &'static str,
    /// How often it is reached before it kills.
    left: AtomicU32,
}

/// A place that there is not.
#[derive(Debug, thiserror::Error)]
#[error(
    "{VARIABLE} says {0:?}; write perhaps stop or panic, before or after, a place, and perhaps # and a number"
)]
struct Unknown(String);

impl Armed {
    fn read(text: &str) -> Result<Self, Unknown> {
        let unknown = || Unknown(text.to_owned());
        let said = |deed: Deed, word: &str| Some((deed, text.strip_prefix(word)?));
        let said = said(Deed::Stop, "stop ").or_else(|| said(Deed::Panic, "panic "));
        let (deed, rest) = said.unwrap_or((Deed::Abort, text));
        let (side, rest) = rest.split_once(' ').ok_or_else(unknown)?;
        let side = match side {
            "before" => Side::Before,
            "after" => Side::After,
            _ => return Err(unknown()),
        };
        let (point, times) = rest.split_once('#').unwrap_or((rest, "1"));
        let point = POINTS.into_iter().find(|it| *it == point);
        let times = times.parse().ok().filter(|times| *times > 0);
        Ok(Self {
            deed,
            side,
            point: point.ok_or_else(unknown)?,
            left: AtomicU32::new(times.ok_or_else(unknown)?),
        })
    }

    /// Whether this is the moment.
    fn is_met(&self, side: Side, point: &str) -> bool {
        side == self.side && point == self.point && self.left.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

/// What the environment says; a place that there is not ends the process at once, since a test that
/// misspells one would show nothing.
#[allow(
    clippy::disallowed_methods,
    reason = "it is no setting of the product: programs that are shipped cannot read it"
)]
fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let read = || {
        let said = std::env::var(VARIABLE).ok()?;
        let armed = Armed::read(&said).unwrap_or_else(|error| {
            eprintln!("{error}");
            std::process::abort()
        });
        eprintln!("this process ends or stops {said}");
        Some(armed)
    };
    ARMED.get_or_init(read).as_ref()
}

/// This process ends or stops here, or what it does with this in hand panics, if it is to.
#[allow(clippy::panic, reason = "a test wants to see what becomes of it")]
fn pass(side: Side, point: &'static str, in_hand: &str) {
    let met = armed().filter(|it| it.is_met(side, point));
    match met.map(|it| it.deed) {
        Some(Deed::Abort) => std::process::abort(),
        Some(Deed::Stop) => {
            let me = std::process::id().to_string();
            let sent = Command::new("kill").args(["-s", "STOP", &me]).status();
            // A test that believes that it is stopped would show nothing.
            if !sent.is_ok_and(|it| it.success()) {
                std::process::abort();
            }
            // The signal stops this thread when another one has seen it, which is not at once.
            std::thread::sleep(STOPPING);
        }
        Some(Deed::Panic) => {
            let variables: Vec<_> = std::env::vars().collect();
            panic!("{point}: {in_hand}, {variables:?}")
        }
        None => {}
    }
}

/// Does this, with a place before it and one after it where it succeeded.
async fn around<T, E>(
    points: &[&'static str],
    act: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    for point in points {
        pass(Side::Before, point, "");
    }
    let done = act.await?;
    for point in points {
        pass(Side::After, point, "");
    }
    Ok(done)
}

/// A provider with a place at each call that changes something, and at each that reads back what was
/// taken away.
pub struct FatalProvisioner {
    inner: Arc<dyn Provisioner>,
    /// Something was taken away and not yet read back.
    taken: AtomicBool,
}

impl FatalProvisioner {
    /// Around this provider.
    pub fn new(inner: Arc<dyn Provisioner>) -> Self {
        let taken = AtomicBool::new(false);
        Self { inner, taken }
    }
}

impl std::fmt::Debug for FatalProvisioner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FatalProvisioner").finish_non_exhaustive()
    }
}

#[async_trait]
impl Provisioner for FatalProvisioner {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let call = self.inner.resolve(beneficiary, entitlement, parameters);
        call.await
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        around(&["provider.grant"], self.inner.grant(call)).await
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        let point = "provider.mint";
        pass(Side::Before, point, "");
        let minted = self.inner.mint(call).await?;
        pass(Side::After, point, minted.secret.expose());
        Ok(minted)
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        let answer = around(&["provider.revoke"], self.inner.revoke(call)).await;
        self.taken.store(true, Ordering::SeqCst);
        answer
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let reads_back =
            call.purpose == Purpose::TakeAway && self.taken.swap(false, Ordering::SeqCst);
        let points: &[_] = match reads_back {
            true => &["provider.read_back"],
            false => &[],
        };
        around(points, self.inner.inspect(call)).await
    }

    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        self.inner.resource(entitlement).await
    }

    async fn standing(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, PortError> {
        self.inner.standing(resource, page).await
    }

    async fn offers(&self) -> Result<Vec<Offer>, PortError> {
        self.inner.offers().await
    }
}

/// A notifier with a place at each message.
pub struct FatalNotifier(Arc<dyn Notifier>);

impl FatalNotifier {
    /// Around this notifier.
    pub fn new(inner: Arc<dyn Notifier>) -> Self {
        Self(inner)
    }
}

impl std::fmt::Debug for FatalNotifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FatalNotifier").finish_non_exhaustive()
    }
}

#[async_trait]
impl Notifier for FatalNotifier {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn targets(&self, request: &AccessRequest) -> Vec<String> {
        self.0.targets(request)
    }

    fn shows_background(&self) -> bool {
        self.0.shows_background()
    }

    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError> {
        around(&["notifier.announce"], self.0.announce(announcement)).await
    }
}

/// Whoever wakes somebody up, with a place at each alarm that is about a request.
pub struct FatalPager(Arc<dyn Pager>);

impl FatalPager {
    /// Around this one.
    pub fn new(inner: Arc<dyn Pager>) -> Self {
        Self(inner)
    }
}

impl std::fmt::Debug for FatalPager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FatalPager").finish_non_exhaustive()
    }
}

#[async_trait]
impl Pager for FatalPager {
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError> {
        let points: &[_] = match alarm.request {
            Some(_) => &["pager.page"],
            None => &[],
        };
        around(points, self.0.page(alarm)).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Armed, Deed, Side};

    #[test]
    fn a_place_is_met_the_time_that_is_named_and_on_that_side_alone() {
        let armed = Armed::read("before provider.revoke#2").unwrap();
        assert!(!armed.is_met(Side::After, "provider.revoke"));
        assert!(!armed.is_met(Side::Before, "provider.grant"));
        assert!(!armed.is_met(Side::Before, "provider.revoke"));
        assert!(armed.is_met(Side::Before, "provider.revoke"));
        assert!(!armed.is_met(Side::Before, "provider.revoke"));
        assert_eq!(armed.deed, Deed::Abort);
        for (text, deed) in [
            ("stop after provider.mint", Deed::Stop),
            ("panic after provider.mint", Deed::Panic),
        ] {
            assert_eq!(Armed::read(text).unwrap().deed, deed);
        }
    }

    #[test]
    fn a_place_that_there_is_not_is_refused() {
        for text in [
            "provider.revoke",
            "around provider.revoke",
            "after provider.revoek",
            "after provider.revoke#0",
        ] {
            assert!(Armed::read(text).is_err(), "{text}");
        }
    }
}
