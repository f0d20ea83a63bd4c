//! One person with several accounts (S9): whoever may not decide on their own request may not do so
//! under another login.

use std::time::Duration;

use jit_core::ports::ErrorKind;
use okta_sim::{Hostility, Operation, Rule, Setup, UserStatus};

use super::super::setup;
use super::{Town, names, written};

/// Bob's account is another one of Ana's, younger than her first one.
fn town() -> Town {
    town_of(setup())
}

fn town_of(setup: Setup) -> Town {
    let town = Town::of(setup, |settings, _| {
        settings.person_attribute = Some("employeeNumber".to_owned());
    });
    let world = town.world();
    town.scene.pass(Duration::from_secs(60));
    let admin = world.add_user("ana-admin@example.com", "");
    for account in [&town.scene.ana, &admin] {
        world.set_profile(account, "employeeNumber", "E100");
    }
    world.set_profile(&town.scene.bob, "employeeNumber", "E200");
    town
}

fn admin(town: &Town) -> String {
    // A login that is taken gives the id of who has it.
    town.world().add_user("ana-admin@example.com", "")
}

#[tokio::test]
async fn s9_all_accounts_of_one_person_are_one_person() {
    let town = town();
    let owners = town.world().add_group("Owners");
    town.world().join(&owners, &admin(&town));
    let first = town.found("ana@example.com").await;
    let second = town.found("ana-admin@example.com").await;
    assert_eq!(first, second);
    assert_eq!(first.id.as_str(), "ana@example.com");
    assert!(first.active);
    assert_eq!(names(&first.groups), ["sre"]);
    let okta = "okta".parse().unwrap();
    assert_eq!(first.subjects[&okta].as_str(), town.scene.ana);
    assert_eq!(
        town.found("bob@example.com").await.id.as_str(),
        "bob@example.com"
    );
}

/// An account that says nothing of whose it is could be anybody's second one.
#[tokio::test]
async fn s9_an_account_that_cannot_be_told_apart_is_not_active() {
    let town = town();
    let world = town.world();
    let stray = world.add_user("ana-root@example.com", "");
    world.join(&town.sre, &stray);
    assert!(!town.found("ana-root@example.com").await.active);
    let members = town.members("sre").await.unwrap().unwrap();
    assert!(
        !members.contains(&"ana-root@example.com".to_owned()),
        "{members:?}"
    );
    assert!(town.found("ana@example.com").await.active);
}

#[tokio::test]
async fn groups_are_those_of_all_active_accounts() {
    let town = town();
    town.world().leave(&town.sre, &town.scene.ana);
    town.world().join(&town.sre, &admin(&town));
    for name in ["ana@example.com", "ana-admin@example.com"] {
        assert_eq!(names(&town.found(name).await.groups), ["sre"]);
    }
    town.world()
        .set_status(&admin(&town), UserStatus::PasswordExpired);
    for name in ["ana@example.com", "ana-admin@example.com"] {
        let found = town.found(name).await;
        assert!(found.groups.is_empty(), "not of one that is not active");
        assert!(found.active, "the other one is");
    }
}

#[tokio::test]
async fn whoever_has_a_suspended_account_is_not_active() {
    let town = town();
    town.world()
        .set_status(&admin(&town), UserStatus::Suspended);
    for name in ["ana@example.com", "ana-admin@example.com"] {
        assert!(!town.found(name).await.active, "{name}");
    }
}

#[tokio::test]
async fn a_deactivated_account_gives_nobody_their_name() {
    let town = town();
    town.world()
        .set_status(&town.scene.ana, UserStatus::Deprovisioned);
    for name in ["ana@example.com", "ana-admin@example.com"] {
        let found = town.found(name).await;
        assert_eq!(found.id.as_str(), "ana-admin@example.com");
        assert!(found.active);
        let okta = "okta".parse().unwrap();
        assert_eq!(found.subjects[&okta].as_str(), admin(&town));
    }
    town.world()
        .set_status(&admin(&town), UserStatus::Deprovisioned);
    let found = town.found("ana@example.com").await;
    assert!(!found.active);
}

#[tokio::test]
async fn a_configured_person_gives_all_of_their_accounts_their_name() {
    let town = town();
    let mut known = written("ana-admin@example.com");
    known.groups = ["owners".parse().unwrap()].into();
    town.people.add(known, &[]);
    let okta = "okta".parse().unwrap();
    for name in ["ana@example.com", "ana-admin@example.com"] {
        let found = town.found(name).await;
        assert_eq!(found.id.as_str(), "ana-admin@example.com");
        assert_eq!(names(&found.groups), ["owners", "sre"]);
        assert_eq!(found.subjects[&okta].as_str(), admin(&town));
    }
    let mut known = written("ana-admin@example.com");
    known.active = false;
    town.people.add(known, &[]);
    assert!(!town.found("ana@example.com").await.active);
}

#[tokio::test]
async fn letter_case_makes_no_other_person() {
    let town = town();
    town.world()
        .set_profile(&admin(&town), "employeeNumber", "e100");
    let found = town.found("ana-admin@example.com").await;
    assert_eq!(found.id.as_str(), "ana@example.com");
}

#[tokio::test]
async fn a_value_that_too_many_share_makes_nobody_the_same() {
    let town = town();
    for number in 0..9 {
        let user = town
            .world()
            .add_user(&format!("temp-{number}@example.com"), "");
        town.world().set_profile(&user, "employeeNumber", "0000");
    }
    let error = town.look("temp-1@example.com").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.chain().contains("employeeNumber"));
}

#[tokio::test]
async fn a_number_instead_of_a_text_is_refused() {
    let town = town();
    town.world()
        .set_profile(&town.scene.ana, "employeeNumber", 100);
    let error = town.look("ana@example.com").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    // Nobody is, who has none.
    town.world()
        .set_profile(&town.scene.ana, "employeeNumber", serde_json::Value::Null);
    let found = town.found("ana@example.com").await;
    assert_eq!(found.id.as_str(), "ana@example.com");
}

#[tokio::test]
async fn an_account_that_is_not_the_same_persons_any_more_gives_nothing() {
    let setup = Setup {
        search_lag: Duration::from_secs(600),
        ..setup()
    };
    let town = town_of(setup);
    town.scene.pass(Duration::from_secs(601));
    let found = town.found("ana-admin@example.com").await;
    assert_eq!(found.id.as_str(), "ana@example.com");
    // The search still finds it; the account itself says otherwise.
    town.world()
        .set_profile(&town.scene.ana, "employeeNumber", "E300");
    let found = town.found("ana-admin@example.com").await;
    assert_eq!(found.id.as_str(), "ana-admin@example.com");
    assert!(found.groups.is_empty());
}

#[tokio::test]
async fn whose_other_accounts_cannot_be_found_out_is_not_guessed() {
    let town = town();
    let rules = [
        Rule::new(Operation::ListUsers, Hostility::InternalError),
        Rule::new(Operation::ListUsers, Hostility::EndlessPages),
        Rule::new(Operation::GetUser, Hostility::InternalError).skip(1),
    ];
    for rule in rules {
        town.world().rule(rule.clone());
        let failed = town.look("ana-admin@example.com").await;
        assert!(failed.is_err(), "{rule:?}");
        town.world().calm();
    }
}

#[tokio::test]
async fn the_manager_is_whom_the_main_account_names() {
    let town = town();
    town.world()
        .set_profile(&admin(&town), "managerId", "nobody@example.com");
    town.world()
        .set_profile(&town.scene.ana, "managerId", "bob@example.com");
    for name in ["ana@example.com", "ana-admin@example.com"] {
        let manager = town.found(name).await.manager;
        assert_eq!(manager.unwrap().as_str(), "bob@example.com");
    }
    // One's own other account is no manager.
    town.world()
        .set_profile(&town.scene.ana, "managerId", "ana-admin@example.com");
    assert_eq!(town.found("ana@example.com").await.manager, None);
    // And a manager's other account is the manager.
    town.world()
        .set_profile(&town.scene.bob, "managerId", "ana-admin@example.com");
    let manager = town.found("bob@example.com").await.manager;
    assert_eq!(manager.unwrap().as_str(), "ana@example.com");
}
