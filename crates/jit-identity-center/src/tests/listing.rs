//! What an organization offers, and that each role gets by with its policy.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sim::{AccessKey, Hostility};
use jit_core::ports::{ErrorKind, Provisioner};
use jit_core::provider::{Answer, Presence};

use super::{BRISK, EIGHT_HOURS, PRODUCTION, Scene, inspect, revoke, setup};
use crate::{DISCOVER_ACTIONS, GRANT_ACTIONS, OfferScope, REVOKE_ACTIONS};

#[tokio::test]
async fn offers_are_active_accounts_times_permission_sets() {
    let scene = Scene::new();
    let world = scene.world();
    world.add_account("333333333333", "Dev & Test");
    world.add_account("444444444444", "gone");
    world.suspend_account("444444444444");
    let admin = world.add_permission_set("Admin", EIGHT_HOURS);
    let offers = scene.adapter.offers().await.unwrap();
    let names: Vec<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "dev---test/Admin",
            "dev---test/ReadOnly",
            "production/Admin",
            "production/ReadOnly",
        ]
    );
    let production = &offers[2];
    assert_eq!(production.resource, format!("{PRODUCTION}/{admin}"));
    assert_eq!(
        production.title,
        format!("Admin in Production ({PRODUCTION})")
    );
    // What is offered can be asked for.
    for resource in [&production.resource, &production.name] {
        let resolved = scene.resolve("ana@example.com", resource).await;
        assert_eq!(resolved.unwrap().target.resource, production.resource);
    }
}

#[tokio::test]
async fn offers_may_be_limited_to_what_is_provisioned() {
    let scene = Scene::new();
    let world = scene.world();
    world.add_account("333333333333", "Dev");
    world.add_permission_set("Admin", EIGHT_HOURS);
    let eve = world.add_user("eve", "");
    world.assign("333333333333", &scene.set, &eve);
    let adapter = scene.another(|settings| settings.offers = OfferScope::Provisioned);
    let offers = adapter.offers().await.unwrap();
    let names: Vec<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
    assert_eq!(names, ["dev/ReadOnly"]);
}

#[tokio::test]
async fn a_big_organization_is_listed_page_by_page() {
    let scene = Scene::new();
    scene.world().fill(1_000, 100);
    let offers = scene.adapter.offers().await.unwrap();
    assert_eq!(offers.len(), 1_001 * 101);
    let names: BTreeSet<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
    assert_eq!(names.len(), offers.len());
}

#[tokio::test]
async fn a_listing_that_fails_in_the_middle_is_no_listing() {
    let scene = Scene::new();
    scene.world().fill(100, 3);
    scene
        .world()
        .rule(aws_sim::Rule::new("ListAccounts", Hostility::InternalError).skip(2));
    let error = scene.adapter.offers().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

/// The actions that were called, with their service.
fn called(scene: &Scene) -> BTreeSet<String> {
    let calls = scene.world().take_calls().into_iter();
    calls.map(|call| call.action).collect()
}

fn set_of(actions: &[&str]) -> BTreeSet<String> {
    actions.iter().map(|action| (*action).to_owned()).collect()
}

fn allow(scene: &Scene, actions: &[&str]) {
    scene
        .world()
        .set_key(AccessKey::default().allowing(actions));
}

#[tokio::test]
async fn each_role_needs_all_of_its_policy_and_nothing_else() {
    let scene = Scene::of(setup().applying_in(Duration::from_secs(1)), BRISK);
    let world = scene.world();
    let person = "ana@example.com";
    let (by_name, by_id) = ("production/ReadOnly", format!("{PRODUCTION}/ReadOnly"));

    // Whoever gives.
    allow(&scene, GRANT_ACTIONS);
    scene.resolve(person, by_name).await.unwrap();
    assert_eq!(scene.grant().await.unwrap(), Answer::Accepted);
    assert_eq!(scene.inspect().await.unwrap(), Presence::InFlight);
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
    let mut used = called(&scene);
    // It looks while an end is being applied; that delete is another role's, in another process.
    let taker = scene.another(|_| {});
    let target = scene.target();
    world.set_key(AccessKey::default());
    revoke(&taker, &target, scene.soon()).await.unwrap();
    world.take_calls();
    allow(&scene, GRANT_ACTIONS);
    assert_eq!(scene.inspect().await.unwrap(), Presence::InFlight);
    scene.pass(Duration::from_secs(1));
    used.extend(called(&scene));
    let without = without_organizations(GRANT_ACTIONS);
    allow(&scene, &without);
    scene.resolve(person, &by_id).await.unwrap_err();
    used.extend(called(&scene));
    assert_eq!(used, set_of(GRANT_ACTIONS), "grant");

    // Whoever takes away.
    world.set_key(AccessKey::default());
    scene.grant().await.unwrap();
    world.take_calls();
    allow(&scene, REVOKE_ACTIONS);
    let look = async || inspect(&taker, &target).await.unwrap();
    assert_eq!(look().await, Presence::InFlight);
    scene.pass(Duration::from_secs(1));
    let revoked = revoke(&taker, &target, scene.soon()).await;
    assert_eq!(revoked.unwrap(), Answer::Accepted);
    assert_eq!(look().await, Presence::InFlight);
    scene.pass(Duration::from_secs(1));
    assert_eq!(look().await, Presence::Absent);
    taker.standing(&target.resource, None).await.unwrap();
    world.remove_account(PRODUCTION);
    assert_eq!(look().await, Presence::Absent);
    world.delete_permission_set(&scene.set);
    assert_eq!(look().await, Presence::Absent);
    assert_eq!(called(&scene), set_of(REVOKE_ACTIONS), "revoke");

    // Whoever lists.
    world.add_permission_set("Admin", EIGHT_HOURS);
    allow(&scene, DISCOVER_ACTIONS);
    let adapter = scene.another(|settings| settings.offers = OfferScope::Provisioned);
    adapter.offers().await.unwrap();
    assert_eq!(called(&scene), set_of(DISCOVER_ACTIONS), "discover");
}

fn without_organizations(actions: &[&'static str]) -> Vec<&'static str> {
    let kept = actions.iter().copied();
    kept.filter(|action| *action != "organizations:DescribeAccount")
        .collect()
}
