//! Who somebody's manager is.

use super::super::setup;
use super::{Town, written};

async fn manager_of(town: &Town, name: &str) -> Option<String> {
    let manager = town.found(name).await.manager;
    manager.map(|manager| manager.to_string())
}

#[tokio::test]
async fn a_manager_is_named_by_login_by_address_or_by_id() {
    let town = Town::new();
    let world = town.world();
    let boss = world.add_user("b.oss@example.com", "the.boss@example.com");
    for name in [
        "b.oss@example.com",
        "B.Oss@Example.com",
        "the.boss@example.com",
        boss.as_str(),
    ] {
        world.set_profile(&town.scene.ana, "managerId", name);
        let manager = manager_of(&town, "ana@example.com").await;
        assert_eq!(manager.as_deref(), Some("b.oss@example.com"), "{name}");
    }
    let endless = "a@".repeat(100_000);
    for name in [
        "",
        "nobody@example.com",
        "me",
        "a/b",
        "..",
        "\"",
        "\" or status eq \"ACTIVE\" or id eq \"@",
        "b.oss",
        &endless,
    ] {
        world.set_profile(&town.scene.ana, "managerId", name);
        let manager = manager_of(&town, "ana@example.com").await;
        assert_eq!(manager, None, "{name:?}");
    }
    world.set_profile(&town.scene.ana, "managerId", 17);
    assert_eq!(manager_of(&town, "ana@example.com").await, None);
}

#[tokio::test]
async fn an_address_that_two_accounts_have_is_nobodys() {
    let town = Town::new();
    let world = town.world();
    for login in ["one@example.com", "two@example.com"] {
        world.add_user(login, "team@example.com");
    }
    world.set_profile(&town.scene.ana, "managerId", "team@example.com");
    assert_eq!(manager_of(&town, "ana@example.com").await, None);
}

#[tokio::test]
async fn managers_in_a_circle_are_found_and_nobody_is_their_own() {
    let town = Town::new();
    let (ana, bob) = (&town.scene.ana, &town.scene.bob);
    let world = town.world();
    world.set_profile(ana, "managerId", bob.as_str());
    world.set_profile(bob, "managerId", ana.as_str());
    let manager = manager_of(&town, "ana@example.com").await;
    assert_eq!(manager.as_deref(), Some("bob@example.com"));
    let manager = manager_of(&town, "bob@example.com").await;
    assert_eq!(manager.as_deref(), Some("ana@example.com"));
    world.set_profile(ana, "managerId", "ana@example.com");
    assert_eq!(manager_of(&town, "ana@example.com").await, None);
}

#[tokio::test]
async fn the_configuration_names_the_manager_before_okta_does() {
    let town = Town::new();
    let world = town.world();
    world.set_profile(&town.scene.ana, "managerId", "bob@example.com");
    // The manager is somebody of the configuration, under an alias of theirs.
    town.people
        .add(written("robert@example.com"), &["bob@example.com"]);
    let manager = manager_of(&town, "ana@example.com").await;
    assert_eq!(manager.as_deref(), Some("robert@example.com"));
    let mut ana = written("ana@example.com");
    ana.manager = Some("zoe@example.com".parse().unwrap());
    town.people.add(ana, &[]);
    let manager = manager_of(&town, "ana@example.com").await;
    assert_eq!(manager.as_deref(), Some("zoe@example.com"));
}

#[tokio::test]
async fn another_attribute_may_name_the_manager_and_none_may() {
    let town = Town::of(setup(), |settings, _| {
        settings.manager_attribute = Some("lead".to_owned());
    });
    let world = town.world();
    world.set_profile(&town.scene.ana, "managerId", "nobody@example.com");
    world.set_profile(&town.scene.ana, "lead", "bob@example.com");
    let manager = manager_of(&town, "ana@example.com").await;
    assert_eq!(manager.as_deref(), Some("bob@example.com"));
    let town = Town::of(setup(), |settings, _| settings.manager_attribute = None);
    let world = town.world();
    world.set_profile(&town.scene.ana, "managerId", "bob@example.com");
    assert_eq!(manager_of(&town, "ana@example.com").await, None);
}
