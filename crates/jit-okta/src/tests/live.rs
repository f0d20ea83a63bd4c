//! Once around in a real organization, for whoever has one: nothing of it runs unless it is asked for.

use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Clock, Directory, Provisioner};
use jit_core::provider::{Presence, Target};
use jit_testkit::time::SeededRandom;
use okta_sim::{ApiToken, Setup};

use super::directory::People;
use super::{Scene, ask, grant, inspect, resolve, revoke};
use crate::{Auth, DirectorySettings, Okta, OktaDirectory, OktaGroups, Settings};

const ASKED_FOR: &str = "JIT_LIVE_OKTA";
const NEEDED: [&str; 3] = [
    "JIT_LIVE_OKTA_ORG_URL",
    "JIT_LIVE_OKTA_USER",
    "JIT_LIVE_OKTA_GROUP",
];
/// One of the two, the second with the key of the app as PEM.
const TOKEN: &str = "JIT_LIVE_OKTA_TOKEN";
const APP: [&str; 3] = [
    "JIT_LIVE_OKTA_CLIENT_ID",
    "JIT_LIVE_OKTA_KEY_ID",
    "JIT_LIVE_OKTA_PRIVATE_KEY",
];

pub(super) struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Timestamp::from_unix_micros(i64::try_from(since.as_micros()).unwrap())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nobody configures a test that calls a real organization"
)]
pub(super) fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}

fn needed(name: &str) -> String {
    said(name).unwrap_or_else(|| panic!("{ASKED_FOR} is set, and {name} is not"))
}

fn auth() -> Auth {
    if let Some(token) = said(TOKEN) {
        return Auth::Ssws(token.into());
    }
    let [client_id, key_id, private_key] = APP.map(needed);
    Auth::PrivateKeyJwt {
        client_id,
        key_id,
        private_key: private_key.into(),
        scopes: ["okta.groups.manage", "okta.users.read"]
            .map(str::to_owned)
            .to_vec(),
    }
}

async fn becomes(groups: &OktaGroups, target: &Target, wanted: Presence) {
    for _ in 0..60 {
        if inspect(groups, target).await.unwrap() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    panic!("it is not {wanted:?} after five minutes");
}

#[tokio::test]
async fn a_real_membership_is_given_and_taken_once_where_it_is_asked_for() {
    if said(ASKED_FOR).as_deref() != Some("1") {
        eprintln!(
            "SKIPPED: no real Okta was called; set {ASKED_FOR}=1, {NEEDED:?}, and {TOKEN} or \
             {APP:?} to call one"
        );
        return;
    }
    let [org_url, user, group] = NEEDED.map(needed);
    once_around(&org_url, auth(), &user, &group).await;
}

#[tokio::test]
async fn once_around_is_the_same_in_a_simulated_one() {
    let Scene { sim, admins, .. } = Scene::of(Setup::default(), |_| {});
    let token = Auth::Ssws(ApiToken::default().secret.into());
    once_around(&sim.url(), token, "ana@example.com", &admins).await;
    assert_eq!(sim.world().members(&admins), [""; 0]);
}

/// Finds the user and the group, gives the membership, looks, takes it, and looks again.
async fn once_around(org_url: &str, auth: Auth, user: &str, group: &str) {
    let clock: Arc<dyn Clock> = Arc::new(Wall);
    let settings = Settings::new("okta".parse().unwrap(), org_url, auth);
    let random = Arc::new(SeededRandom::new(7));
    let okta = Okta::connect(settings, Arc::clone(&clock), random).unwrap();
    let named = DirectorySettings {
        groups: [("live".parse().unwrap(), group.to_owned())].into(),
        ..DirectorySettings::default()
    };
    let people = OktaDirectory::new(Arc::clone(&okta), Arc::new(People::default()), named);
    let people = people.unwrap();
    let profile = people.profile(&user.parse().unwrap()).await.unwrap();
    let profile = profile.expect("the user is found by their login");
    assert!(profile.active, "and is ACTIVE");
    let members = people.members(&"live".parse().unwrap()).await.unwrap();
    eprintln!("{} are in the group", members.unwrap_or_default().len());

    let groups = OktaGroups::new(okta);
    let resolved = resolve(&groups, &ask(user, group)).await;
    let target = resolved.unwrap().target;
    let before = inspect(&groups, &target).await.unwrap();
    assert_eq!(
        before,
        Presence::Absent,
        "what somebody else gave is not touched"
    );
    let soon = || clock.now() + Duration::from_secs(30);
    let granted = grant(&groups, &target, soon()).await;
    eprintln!("grant: {granted:?}");
    // Whatever became of it, it is taken away again.
    if granted.is_ok() {
        becomes(&groups, &target, Presence::Present).await;
        let listed = groups.standing(&target.resource, None).await.unwrap();
        eprintln!("{} have it", listed.items.len());
    }
    let revoked = revoke(&groups, &target, soon()).await;
    eprintln!("revoke: {:?}", revoked.unwrap());
    becomes(&groups, &target, Presence::Absent).await;
    granted.unwrap();
}
