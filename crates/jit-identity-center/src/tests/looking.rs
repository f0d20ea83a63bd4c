//! Reading back: what changes while it is read, and what is no longer there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use aws_sim::{Hostility, World};
use jit_core::ports::{ErrorKind, Provisioner};
use jit_core::provider::{Answer, Presence};

use super::{BRISK, PATIENT, PRODUCTION, Scene, Watcher, at_once, inspect};

/// A scene in which an operation that is in progress ends just before the request with this number
/// of a look. Another process began it, so that the one that looks knows nothing of it.
struct Race {
    scene: Scene,
    other: Arc<crate::IdentityCenter>,
    countdown: Arc<AtomicUsize>,
}

/// No request of a look has so high a number.
const NEVER: usize = 1_000;

impl Race {
    fn new() -> Self {
        let countdown = Arc::new(AtomicUsize::new(NEVER));
        let world = Arc::new(OnceLock::<World>::new());
        let watcher = {
            let (countdown, world) = (Arc::clone(&countdown), Arc::clone(&world));
            Watcher::of(move |_| {
                if countdown.fetch_sub(1, Ordering::SeqCst) == 1 {
                    world.get().unwrap().calm();
                }
            })
        };
        let scene = Scene::watched(at_once(), BRISK, Some(watcher));
        world.set(scene.world().clone()).unwrap();
        let other = scene.another(|_| {});
        Self {
            scene,
            other,
            countdown,
        }
    }

    async fn look_while_it_ends_before(&self, request: usize) -> Presence {
        self.countdown.store(request, Ordering::SeqCst);
        let seen = self.scene.inspect().await.unwrap();
        self.countdown.store(NEVER, Ordering::SeqCst);
        self.scene.world().calm();
        seen
    }
}

#[tokio::test]
async fn s2_a_creation_that_ends_during_a_look_is_never_absent() {
    let race = Race::new();
    for request in 1..=6 {
        let world = race.scene.world();
        world.hostile("CreateAccountAssignment", Hostility::Freeze);
        let (target, soon) = (race.scene.target(), race.scene.soon());
        let given = super::grant(&race.other, &target, soon).await;
        assert_eq!(given.unwrap(), Answer::Accepted);
        let seen = race.look_while_it_ends_before(request).await;
        assert!(
            matches!(seen, Presence::Present | Presence::InFlight),
            "it ended before request {request} and was {seen:?}"
        );
        assert!(race.scene.is_assigned());
        world.unassign(PRODUCTION, &race.scene.set, &race.scene.ana);
    }
}

#[tokio::test]
async fn a_deletion_that_ends_during_a_look_is_never_present() {
    let race = Race::new();
    for request in 1..=6 {
        let world = race.scene.world();
        world.assign(PRODUCTION, &race.scene.set, &race.scene.ana);
        world.hostile("DeleteAccountAssignment", Hostility::Freeze);
        let (target, soon) = (race.scene.target(), race.scene.soon());
        let taken = super::revoke(&race.other, &target, soon).await;
        assert_eq!(taken.unwrap(), Answer::Accepted);
        let seen = race.look_while_it_ends_before(request).await;
        assert!(
            matches!(seen, Presence::Absent | Presence::InFlight),
            "it ended before request {request} and was {seen:?}"
        );
        assert!(!race.scene.is_assigned());
    }
}

#[tokio::test]
async fn operations_on_other_targets_are_not_in_flight_here() {
    let scene = Scene::slow();
    let world = scene.world();
    let eve = world.add_user("eve", "");
    let mut other = scene.target();
    other.subject = eve.parse().unwrap();
    let soon = scene.soon();
    super::grant(&scene.adapter, &other, soon).await.unwrap();
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    let seen = inspect(&scene.adapter, &other).await;
    assert_eq!(seen.unwrap(), Presence::InFlight);
}

#[tokio::test]
async fn what_an_operation_is_on_is_asked_once() {
    let scene = Scene::slow();
    let world = scene.world();
    for number in 0..9 {
        let user = world.add_user(&format!("person-{number}"), "");
        let mut other = scene.target();
        other.subject = user.parse().unwrap();
        let given = super::grant(&scene.adapter, &other, scene.soon()).await;
        assert_eq!(given.unwrap(), Answer::Accepted);
    }
    let described = || {
        let asked = scene.asked().into_iter();
        let described = asked.filter(|it| it.starts_with("DescribeAccountAssignment"));
        let count = described.count();
        world.take_calls();
        count
    };
    described();
    // Whoever began them knows; another process asks about each of them, once.
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    assert_eq!(described(), 0);
    let other = scene.another(|_| {});
    for asks in [9, 0] {
        let seen = inspect(&other, &scene.target()).await;
        assert_eq!(seen.unwrap(), Presence::Absent);
        assert_eq!(described(), asks);
    }
}

#[tokio::test]
async fn what_other_hands_give_and_take_is_seen() {
    let scene = Scene::new();
    let world = scene.world();
    world.assign(PRODUCTION, &scene.set, &scene.ana);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
    assert_eq!(scene.grant().await.unwrap(), Answer::Applied);
    world.unassign(PRODUCTION, &scene.set, &scene.ana);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
}

#[tokio::test]
async fn a_group_that_has_the_access_is_not_the_user() {
    let scene = Scene::new();
    let group = scene.world().add_group("everybody");
    scene.world().assign(PRODUCTION, &scene.set, &group);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    let listed = scene.adapter.standing(&scene.target().resource, None).await;
    assert!(listed.unwrap().items.is_empty());
}

#[tokio::test]
async fn every_page_is_read_also_behind_an_empty_one() {
    let scene = Scene::of(
        aws_sim::Setup {
            page_max: 3,
            ..at_once()
        },
        PATIENT,
    );
    let world = scene.world();
    for number in 0..20 {
        let user = world.add_user(&format!("person-{number}"), "");
        world.assign(PRODUCTION, &scene.set, &user);
    }
    let empty = || world.hostile_times("*", Hostility::EmptyPage, 4);
    empty();
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    world.assign(PRODUCTION, &scene.set, &scene.ana);
    empty();
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
}

#[tokio::test]
async fn a_permission_set_that_is_deleted_while_granted_ends_as_absent() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene.world().delete_permission_set(&scene.set);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    let listed = scene.adapter.standing(&scene.target().resource, None).await;
    assert!(listed.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_account_that_left_the_organization_ends_as_absent() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene.world().remove_account(PRODUCTION);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
}

#[tokio::test]
async fn what_cannot_be_asked_is_never_taken_for_gone() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    let elsewhere = "arn:aws:sso:::instance/ssoins-0000000000000000";
    let other = scene.another(|settings| settings.instance_arn = elsewhere.to_owned());
    let mut target = scene.target();
    target.realm = elsewhere.to_owned();
    let error = inspect(&other, &target).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(
        error.chain().contains("instance is not there"),
        "{}",
        error.chain()
    );
    let error = super::revoke(&other, &target, scene.soon())
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);

    // The account is gone, but whether it is may not be asked.
    scene.world().remove_account(PRODUCTION);
    let denied: Vec<&str> = crate::REVOKE_ACTIONS
        .iter()
        .copied()
        .filter(|action| !action.starts_with("organizations:"))
        .collect();
    let key = aws_sim::AccessKey::default().allowing(&denied);
    scene.world().set_key(key);
    let error = scene.inspect().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_deleted_user_s_assignment_is_seen_and_taken_away_by_its_ids() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene.world().delete_user(&scene.ana);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
    assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
}

#[tokio::test]
async fn s7_a_revoke_asks_about_nothing_but_the_assignment() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene.world().take_calls();
    scene.revoke().await.unwrap();
    scene.inspect().await.unwrap();
    for asked in scene.asked() {
        assert!(asked.contains("AccountAssignment"), "{asked}");
    }
}

/// A look reads both lists and the assignments; so would each of many looks at once.
#[tokio::test]
async fn looks_at_once_share_the_lists_of_what_is_in_progress() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene.world().take_calls();
    let looks = [(); 8].map(|()| scene.inspect());
    let [a, b, c, d, e, f, g, h] = looks;
    let seen = tokio::join!(a, b, c, d, e, f, g, h);
    assert_eq!(seen.0.unwrap(), Presence::Present);
    assert_eq!(seen.7.unwrap(), Presence::Present);
    let asked = scene.asked();
    let count = |name: &str| asked.iter().filter(|it| it.contains(name)).count();
    assert_eq!(count("ListAccountAssignments"), 8);
    assert!(count("CreationStatus") <= 3, "{asked:?}");
    assert!(count("DeletionStatus") <= 3, "{asked:?}");
}
