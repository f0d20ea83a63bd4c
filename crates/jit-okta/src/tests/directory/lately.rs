//! What is shown to whoever only looks.

use std::time::Duration;

use jit_core::ports::Directory;
use jit_core::principal::{GroupName, PrincipalId};
use okta_sim::{Away, UserStatus};

use super::{Town, written};

fn ana() -> PrincipalId {
    "ana@example.com".parse().unwrap()
}

fn sre() -> GroupName {
    "sre".parse().unwrap()
}

/// Waits until what happens behind somebody's back has happened.
async fn until(mut happened: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !happened().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("it happens");
}

#[tokio::test]
async fn what_was_known_lately_is_shown_without_asking() {
    let town = Town::new();
    let lately = async || {
        town.directory
            .profile_lately(&ana())
            .await
            .unwrap()
            .unwrap()
    };
    assert!(lately().await.active, "nothing was known, so it was asked");
    town.world().take_calls();
    town.world()
        .set_status(&town.scene.ana, UserStatus::Suspended);
    town.scene.pass(Duration::from_secs(60));
    assert!(lately().await.active);
    assert!(town.world().calls().is_empty());
    // Past a minute it is shown all the same, and found out again.
    town.scene.pass(Duration::from_secs(1));
    assert!(lately().await.active);
    until(async || !lately().await.active).await;
    let asked = town.scene.calls(okta_sim::Operation::GetUser).len();
    assert_eq!(asked, 1, "however many looked");
}

#[tokio::test]
async fn what_was_known_is_shown_for_an_hour_while_okta_is_away() {
    let town = Town::new();
    let members = town.directory.members_lately(&sre()).await.unwrap();
    let profile = town.directory.profile_lately(&ana()).await.unwrap();
    town.world().away(Away::Unavailable);
    town.scene.pass(Duration::from_secs(3_600));
    assert_eq!(
        town.directory.members_lately(&sre()).await.unwrap(),
        members
    );
    assert_eq!(
        town.directory.profile_lately(&ana()).await.unwrap(),
        profile
    );
    // What a decision needs is not guessed from it.
    assert!(town.directory.profile(&ana()).await.is_err());
    assert!(town.directory.members(&sre()).await.is_err());
    town.scene.pass(Duration::from_micros(1));
    assert!(town.directory.members_lately(&sre()).await.is_err());
    assert!(town.directory.profile_lately(&ana()).await.is_err());
}

#[tokio::test]
async fn members_that_are_old_are_listed_again_behind_the_back() {
    let town = Town::new();
    town.directory.members_lately(&sre()).await.unwrap();
    town.world().join(&town.sre, &town.scene.bob);
    town.scene.pass(Duration::from_secs(61));
    let lately = async || {
        let members = town.directory.members_lately(&sre()).await.unwrap();
        members.unwrap().len()
    };
    assert_eq!(lately().await, 1);
    until(async || lately().await == 2).await;
}

#[tokio::test]
async fn what_the_configuration_says_is_never_old() {
    let town = Town::new();
    town.directory.profile_lately(&ana()).await.unwrap();
    let mut profile = written("ana@example.com");
    profile.groups = ["owners".parse().unwrap()].into();
    profile.active = false;
    town.people.add(profile, &[]);
    let lately = town
        .directory
        .profile_lately(&ana())
        .await
        .unwrap()
        .unwrap();
    assert!(!lately.active);
    assert_eq!(super::names(&lately.groups), ["owners", "sre"]);
}
