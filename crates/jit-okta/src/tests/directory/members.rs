//! Who is in a group.

use std::sync::{Arc, Mutex};

use jit_core::ports::{ErrorKind, PROFILE_REMEMBERED_FOR};
use okta_sim::{Deed, Hostility, Operation, Rule, Setup, UserStatus};

use super::super::setup;
use super::{Town, written};

fn small_pages() -> Setup {
    Setup {
        members_page_max: 3,
        ..setup()
    }
}

#[tokio::test]
async fn everybody_who_is_active_is_a_member_by_their_canonical_id() {
    let town = Town::of(small_pages(), |_, _| {});
    let world = town.world();
    for number in 0..10 {
        let user = world.add_user(&format!("P{number}@Example.com"), "");
        world.join(&town.sre, &user);
        match number {
            7 => world.set_status(&user, UserStatus::Suspended),
            8 => world.set_status(&user, UserStatus::Deprovisioned),
            9 => world.set_status(&user, UserStatus::Staged),
            _ => {}
        }
    }
    let members = town.members("sre").await.unwrap().unwrap();
    let mut wanted = vec!["ana@example.com".to_owned()];
    wanted.extend((0..7).map(|number| format!("p{number}@example.com")));
    assert_eq!(members, wanted);
    assert_eq!(town.scene.calls(Operation::ListGroupUsers).len(), 4);
    for member in &members {
        let profile = town.found(member).await;
        assert!(profile.groups.contains(&"sre".parse().unwrap()), "{member}");
        assert_eq!(profile.id.as_str(), member);
    }
}

#[tokio::test]
async fn a_group_that_nobody_knows_is_none_and_an_empty_one_is_empty() {
    let mut empty = String::new();
    let town = Town::of(setup(), |settings, scene| {
        empty = scene.world().add_group("Empty");
        settings
            .groups
            .insert("empty".parse().unwrap(), empty.clone());
    });
    assert_eq!(town.members("unknown").await.unwrap(), None);
    assert!(town.world().calls().is_empty());
    assert_eq!(town.members("empty").await.unwrap(), Some(vec![]));
    // One that is gone had members, and nobody knows which.
    town.world().delete_group(&empty);
    let error = town.members("empty").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn whom_the_configuration_puts_into_a_group_is_a_member_if_okta_has_them() {
    let town = Town::new();
    let group = |name: &str| [name.parse().unwrap()].into();
    let mut bob = written("bob@example.com");
    bob.groups = group("sre");
    let mut zoe = written("zoe@example.com");
    zoe.groups = group("sre");
    let mut lee = written("lee@example.com");
    lee.groups = group("owners");
    town.people.add(bob, &[]);
    town.people.add(zoe, &[]);
    town.people.add(lee, &[]);
    town.world().add_user("lee@example.com", "");
    let both = ["ana@example.com", "bob@example.com"].map(str::to_owned);
    assert_eq!(town.members("sre").await.unwrap().unwrap(), both);
    let owners = town.members("owners").await.unwrap().unwrap();
    assert_eq!(owners, ["lee@example.com"]);
    town.world()
        .set_status(&town.scene.bob, UserStatus::Suspended);
    let members = town.members("sre").await.unwrap().unwrap();
    assert_eq!(members, ["ana@example.com"]);
}

#[tokio::test]
async fn an_alias_is_no_second_member_and_a_stray_account_is_none() {
    let town = Town::new();
    // The account is theirs under another name here.
    let mut lopez = written("lopez@example.com");
    let subject = "ana@example.com".parse().unwrap();
    lopez.subjects = [("okta".parse().unwrap(), subject)].into();
    town.people.add(lopez, &["ana@example.com"]);
    let members = town.members("sre").await.unwrap().unwrap();
    assert_eq!(members, ["lopez@example.com"]);
    // Whoever is configured with another account does not get the groups of this one.
    let mut robert = written("robert@example.com");
    let subject = town.scene.ana.parse().unwrap();
    robert.subjects = [("okta".parse().unwrap(), subject)].into();
    town.people.add(robert, &["bob@example.com"]);
    town.world().join(&town.sre, &town.scene.bob);
    let members = town.members("sre").await.unwrap().unwrap();
    assert!(!members.iter().any(|it| it.contains("bob")), "{members:?}");
}

#[tokio::test]
async fn members_that_cannot_all_be_listed_are_an_error() {
    let town = Town::of(small_pages(), |_, _| {});
    let crowd = town.world().fill("crowd", 10);
    for user in town.world().members(&crowd) {
        town.world().join(&town.sre, &user);
    }
    for hostility in [
        Hostility::InternalError,
        Hostility::Garbage,
        Hostility::RepeatPage,
        Hostility::EndlessPages,
        Hostility::NextElsewhere("http://127.0.0.1:9/".to_owned()),
    ] {
        let rule = Rule::new(Operation::ListGroupUsers, hostility.clone());
        town.world().rule(rule.skip(2));
        let failed = town.members("sre").await;
        assert!(failed.is_err(), "{hostility:?}");
        town.world().calm();
    }
    assert_eq!(town.members("sre").await.unwrap().unwrap().len(), 11);
}

#[tokio::test]
async fn pages_that_change_while_they_are_read_hide_nobody_who_stays() {
    let town = Town::of(small_pages(), |_, _| {});
    let crowd = town.world().fill("crowd", 12);
    let users = town.world().members(&crowd);
    for user in &users {
        town.world().join(&town.sre, user);
    }
    for (number, user) in users.iter().take(3).enumerate() {
        let leave = Deed::Leave {
            group: town.sre.clone(),
            user: user.clone(),
        };
        let rule = Rule::new(Operation::ListGroupUsers, Hostility::Then(leave));
        town.world().rule(rule.skip(number as u32).times(1));
    }
    let members = town.members("sre").await.unwrap().unwrap();
    assert_eq!(town.world().members(&town.sre).len(), users.len() - 3 + 1);
    town.scene.pass(PROFILE_REMEMBERED_FOR * 2);
    let stay = town.members("sre").await.unwrap().unwrap();
    assert_eq!(stay.len(), users.len() - 3 + 1);
    let all = stay.iter().all(|it| members.contains(it));
    assert!(all, "{stay:?} and {members:?}");
}

#[tokio::test]
async fn one_person_with_two_accounts_is_one_member() {
    let town = Town::of(small_pages(), |settings, _| {
        settings.person_attribute = Some("employeeNumber".to_owned());
    });
    let world = town.world();
    let admin = world.add_user("ana-admin@example.com", "");
    world.join(&town.sre, &admin);
    for account in [&town.scene.ana, &admin] {
        world.set_profile(account, "employeeNumber", "E100");
    }
    // Bob's other account is in no group.
    let other = world.add_user("bob-admin@example.com", "");
    for account in [&town.scene.bob, &other] {
        world.set_profile(account, "employeeNumber", "E200");
    }
    world.join(&town.sre, &town.scene.bob);
    for number in 0..30 {
        let user = world.add_user(&format!("p{number}@example.com"), "");
        world.set_profile(&user, "employeeNumber", format!("P{number}"));
        world.join(&town.sre, &user);
    }
    let members = town.members("sre").await.unwrap().unwrap();
    assert_eq!(members.len(), 32, "{members:?}");
    let both: Vec<&String> = members.iter().filter(|it| !it.starts_with('p')).collect();
    let ana = town.found("ana-admin@example.com").await.id;
    let bob = town.found("bob-admin@example.com").await.id;
    assert_eq!(both, [&ana.to_string(), &bob.to_string()]);
    world.set_status(&other, UserStatus::Suspended);
    let members = town.members("sre").await.unwrap().unwrap();
    assert!(!members.contains(&bob.to_string()));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_login_that_is_no_name_here_is_nobodys_and_the_log_names_the_account_only() {
    let log = Log::default();
    let sink = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || sink.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let town = Town::new();
    let odd = town.world().add_user("o'neil@example.com", "");
    town.world().join(&town.sre, &odd);
    let members = town.members("sre").await.unwrap().unwrap();
    assert_eq!(members, ["ana@example.com"]);
    let said = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(said.contains(&odd), "{said}");
    assert!(!said.contains("neil"), "{said}");
}
