//! What is said to be there, to whom: at a hand-over, after late calls, for an end, and for drift.

use std::time::Duration;

use aws_sim::Hostility;
use jit_core::ports::{InspectCall, Provisioner, Purpose, Standing};
use jit_core::provider::Presence::{Absent, Present};
use jit_core::provider::{Parameters, Target};
use jit_testkit::provisioner::Ask;
use jit_testkit::sample;

use crate::LIST_ACTIONS;

use super::{Given, HOUR, LOGS, Scene, as_subject, in_bucket, none, plain};

struct Slot {
    scene: Scene,
    ask: Ask,
    target: Target,
}

impl Slot {
    async fn new() -> Self {
        let (scene, ask) = (Scene::new(), plain());
        let target = scene.target(&ask).await;
        Self { scene, ask, target }
    }

    fn request(&self, number: u16, life: Duration) -> Given<'_> {
        Given {
            request: sample::id(number),
            ask: &self.ask,
            target: &self.target,
            expires_at: self.scene.now() + life,
        }
    }

    /// A put that is lost and arrives later.
    async fn put_late(&self, given: &Given<'_>, after: Duration) {
        let late = Hostility::LateEffect(after);
        self.scene.world().hostile_times("PutRolePolicy", late, 1);
        self.scene.grant(given).await.unwrap_err();
    }

    async fn never_sent(&self, given: &Given<'_>) -> jit_core::provider::Presence {
        let look = InspectCall {
            expires_at: self.scene.now(),
            ..given.look(Purpose::Give)
        };
        self.scene.policies.inspect(look).await.unwrap()
    }
}

#[tokio::test]
async fn a_hand_over_whose_call_is_lost_is_not_taken_for_done() {
    let slot = Slot::new().await;
    let (first, second) = (slot.request(1, HOUR), slot.request(2, 2 * HOUR));
    slot.scene.grant(&first).await.unwrap();
    let lost = Hostility::LoseCall;
    slot.scene.world().hostile_times("PutRolePolicy", lost, 1);
    slot.scene.grant(&second).await.unwrap_err();
    assert_eq!(slot.scene.inspect(&second, Purpose::Give).await, Absent);
    // Who takes away would see the other one's.
    assert_eq!(
        slot.scene.inspect(&second, Purpose::TakeAway).await,
        Present
    );
    slot.scene.grant(&second).await.unwrap();
    assert_eq!(slot.scene.inspect(&second, Purpose::Give).await, Present);
}

#[tokio::test]
async fn a_late_call_of_an_earlier_owner_is_found_gone_wrong_and_gives_nobody_more() {
    let slot = Slot::new().await;
    let (first, second) = (slot.request(1, HOUR), slot.request(2, 2 * HOUR));
    slot.scene.grant(&first).await.unwrap();
    slot.put_late(&first, Duration::from_secs(100)).await;
    slot.scene.grant(&second).await.unwrap();
    slot.scene.pass(Duration::from_secs(100));
    assert_eq!(slot.scene.inspect(&second, Purpose::Give).await, Absent);
    assert_eq!(
        slot.scene.inspect(&second, Purpose::TakeAway).await,
        Present
    );
    assert!(!slot.scene.may_read(&slot.target, LOGS, first.expires_at));
}

#[tokio::test]
async fn a_late_put_after_a_delete_is_seen_by_whoever_watches_the_end() {
    let slot = Slot::new().await;
    let given = slot.request(1, HOUR);
    slot.put_late(&given, Duration::from_secs(300)).await;
    slot.scene.revoke(&given).await.unwrap();
    assert_eq!(slot.scene.inspect(&given, Purpose::TakeAway).await, Absent);
    slot.scene.pass(Duration::from_secs(300));
    assert_eq!(slot.scene.inspect(&given, Purpose::TakeAway).await, Present);
    slot.scene.revoke(&given).await.unwrap();
    assert_eq!(slot.scene.inspect(&given, Purpose::TakeAway).await, Absent);
}

/// The latest that anybody of a slot was told is what a record is judged by; the owner before may have
/// been told more, and have ended early.
#[tokio::test]
async fn a_grant_that_ends_before_what_the_last_owner_was_told_is_there() {
    let slot = Slot::new().await;
    let given = slot.request(2, HOUR);
    slot.scene.grant(&given).await.unwrap();
    let told = Given {
        expires_at: given.expires_at + HOUR,
        ..given.clone()
    };
    assert_eq!(slot.scene.inspect(&told, Purpose::Give).await, Present);
}

#[tokio::test]
async fn a_policy_that_somebody_made_longer_is_not_what_was_granted() {
    let slot = Slot::new().await;
    let given = slot.request(1, HOUR);
    slot.scene.grant(&given).await.unwrap();
    let world = slot.scene.world();
    let put = world.policies("role/developers");
    let (name, text) = put.first_key_value().unwrap();
    let longer = text.replace("2026-01-01T01:00:00Z", "2030-01-01T00:00:00Z");
    world.put_policy("role/developers", name, &longer);
    assert_eq!(slot.scene.inspect(&given, Purpose::Give).await, Absent);
    let endless = text.replace("DateLessThan", "DateGreaterThan");
    world.put_policy("role/developers", name, &endless);
    assert_eq!(slot.scene.inspect(&given, Purpose::Give).await, Absent);
    assert_eq!(slot.scene.inspect(&given, Purpose::TakeAway).await, Present);
}

#[tokio::test]
async fn what_stands_without_an_owner_is_never_adopted_and_what_is_over_is_nothing() {
    let slot = Slot::new().await;
    let (other, mine) = (slot.request(1, HOUR), slot.request(2, 2 * HOUR));
    assert_eq!(slot.never_sent(&mine).await, Absent);
    slot.scene.grant(&other).await.unwrap();
    assert_eq!(slot.never_sent(&mine).await, Present);
    slot.scene.pass(HOUR);
    assert_eq!(slot.never_sent(&mine).await, Absent);
    // An end leaves nothing behind all the same.
    assert_eq!(slot.scene.inspect(&mine, Purpose::TakeAway).await, Present);
    let put = slot.scene.world().policies("role/developers");
    let name = put.first_key_value().unwrap().0;
    slot.scene
        .world()
        .put_policy("role/developers", name, "by hand");
    assert_eq!(slot.never_sent(&mine).await, Present);
}

#[tokio::test]
async fn drift_finds_a_late_put_of_a_request_that_is_closed() {
    let slot = Slot::new().await;
    let given = slot.request(1, HOUR);
    slot.scene.grant(&given).await.unwrap();
    // It was ended early: the record's end moved to now.
    slot.scene.pass(Duration::from_secs(1));
    let closed = Given {
        expires_at: slot.scene.now(),
        ..given.clone()
    };
    assert_eq!(slot.scene.inspect(&closed, Purpose::Give).await, Present);
    slot.scene.revoke(&given).await.unwrap();
    assert_eq!(slot.scene.inspect(&closed, Purpose::Give).await, Absent);
}

#[tokio::test]
async fn a_listing_shows_whose_policy_is_which() {
    let scene = Scene::new();
    let asks = [
        plain(),
        as_subject(plain(), "role/developers:bob@example.com"),
        as_subject(plain(), "role/ana-own"),
        as_subject(plain(), "user/ana"),
    ];
    let mut targets = Vec::new();
    for ask in &asks {
        let target = scene.target(ask).await;
        let given = Given {
            request: sample::id(1),
            ask,
            target: &target,
            expires_at: scene.now() + HOUR,
        };
        scene.grant(&given).await.unwrap();
        targets.push(target);
    }
    // Of another template, with parameters, and by other hands.
    let other = in_bucket("logs");
    let elsewhere = scene.target(&other).await;
    let given = Given {
        request: sample::id(1),
        ask: &other,
        target: &elsewhere,
        expires_at: scene.now() + HOUR,
    };
    scene.grant(&given).await.unwrap();
    let world = scene.world();
    world.put_policy("role/developers", "jit-by-hand", "{}");
    world.put_policy("role/developers", "jit-0123456789abcdef-0123", "{}");
    world.put_policy("user/ana", "own", "{}");

    let resource = scene
        .policies
        .resource(&asks[0].entitlement)
        .await
        .unwrap()
        .unwrap();
    let page = scene.policies.standing(&resource, None).await.unwrap();
    assert_eq!(page.next, None);
    assert_eq!(
        scene.world().take_calls().pop().unwrap().action,
        LIST_ACTIONS[0]
    );
    let mut listed: Vec<Standing> = page.items;
    listed.sort_by_key(|it| it.target.clone());
    targets.sort();
    let named = |target: &Target, parameters: &Parameters| Standing {
        slot: Some(target.slot_key(parameters)),
        target: target.clone(),
    };
    let wanted: Vec<Standing> = targets.iter().map(|it| named(it, &none())).collect();
    assert_eq!(listed, wanted);
    // What has parameters is known by its slot, whatever somebody made of the policy itself.
    for text in [None, Some("{}")] {
        let page = scene.policies.standing(&elsewhere.resource, None);
        let page = page.await.unwrap();
        let slots: Vec<_> = page.items.iter().map(|it| it.slot.clone()).collect();
        assert_eq!(slots, [Some(elsewhere.slot_key(&other.parameters))]);
        if text.is_none() {
            assert_eq!(page.items, [named(&elsewhere, &other.parameters)]);
        }
        let world = scene.world();
        for (name, _) in world.policies("role/developers") {
            world.put_policy("role/developers", &name, text.unwrap_or("{}"));
        }
    }
    let unknown = plain();
    let mut unknown = unknown.entitlement;
    unknown.template = None;
    assert!(scene.policies.resource(&unknown).await.is_err());
}
