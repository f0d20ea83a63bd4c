//! Once around against a real AWS, for whoever has one: nothing of it runs unless it is asked for.

use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Clock, Provisioner};
use jit_core::provider::Presence;

use super::{ask_as, grant, inspect, resolve, revoke};
use crate::{Budget, IdentityCenter, Limits, Settings};

const ASKED_FOR: &str = "JIT_LIVE_AWS";
const NEEDED: [&str; 6] = [
    "JIT_LIVE_AWS_REGION",
    "JIT_LIVE_AWS_INSTANCE",
    "JIT_LIVE_AWS_IDENTITY_STORE",
    "JIT_LIVE_AWS_ACCOUNT",
    "JIT_LIVE_AWS_PERMISSION_SET",
    "JIT_LIVE_AWS_USER",
];

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Timestamp::from_unix_micros(i64::try_from(since.as_micros()).unwrap())
    }
}

async fn becomes(aws: &IdentityCenter, target: &jit_core::provider::Target, wanted: Presence) {
    for _ in 0..60 {
        if inspect(aws, target).await.unwrap() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    panic!("it is not {wanted:?} after five minutes");
}

#[expect(
    clippy::disallowed_methods,
    reason = "nobody configures a test that calls a real AWS"
)]
fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}

#[tokio::test]
async fn a_real_account_is_given_and_taken_once_where_it_is_asked_for() {
    if said(ASKED_FOR).as_deref() != Some("1") {
        eprintln!("SKIPPED: no real AWS was called; set {ASKED_FOR}=1 and {NEEDED:?} to call one");
        return;
    }
    let unsaid = |name| panic!("{ASKED_FOR} is set, and {name} is not");
    let said = NEEDED.map(|name| said(name).unwrap_or_else(|| unsaid(name)));
    let [region, instance, store, account, set, user] = said;
    let clock: Arc<dyn Clock> = Arc::new(Wall);
    let budget = Arc::new(Budget::new(Limits::default(), Arc::clone(&clock)));
    let settings = Settings::new("aws".parse().unwrap(), region, instance, store);
    let connected = IdentityCenter::connect(settings, budget, Arc::clone(&clock));
    let aws = connected.await.unwrap();
    let resolved = resolve(&aws, &ask_as(&user, &format!("{account}/{set}"))).await;
    let target = resolved.unwrap().target;
    let before = inspect(&aws, &target).await.unwrap();
    assert_eq!(
        before,
        Presence::Absent,
        "what somebody else gave is not touched"
    );
    let soon = || clock.now() + Duration::from_secs(30);
    let granted = grant(&aws, &target, soon()).await;
    eprintln!("grant: {granted:?}");
    // Whatever became of it, it is taken away again.
    if granted.is_ok() {
        becomes(&aws, &target, Presence::Present).await;
        let listed = aws.standing(&target.resource, None).await.unwrap();
        eprintln!("{} have it", listed.items.len());
    }
    eprintln!("revoke: {:?}", revoke(&aws, &target, soon()).await.unwrap());
    becomes(&aws, &target, Presence::Absent).await;
    granted.unwrap();
}
