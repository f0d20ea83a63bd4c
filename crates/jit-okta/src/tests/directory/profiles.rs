//! Whom a name leads to, and what is said of them.

use std::time::Duration;

use jit_core::ports::{Directory, ErrorKind};
use jit_core::principal::PrincipalKind;
use okta_sim::{Away, Hostility, Operation, Reset, Rule, UserStatus};

use super::super::setup;
use super::{Town, names, written};
use crate::{DirectorySettings, OktaDirectory};

/// Whoever is found by their Slack id is told things there by it.
#[tokio::test]
async fn a_persons_user_in_slack_is_one_of_their_subjects() {
    let town = Town::of(setup(), |settings, _| {
        settings.slack_attribute = Some("slackId".to_owned());
    });
    town.world()
        .set_profile(&town.scene.ana, "slackId", "U012AB3CD");
    let slack = "slack".parse().unwrap();
    let ana = town.found("ana@example.com").await;
    assert_eq!(ana.subjects[&slack].as_str(), "U012AB3CD");
    assert_eq!(town.found("slack:u012ab3cd").await.id, ana.id);
    let bob = town.found("bob@example.com").await;
    assert_eq!(bob.subjects.get(&slack), None);
}

#[tokio::test]
async fn whoever_okta_knows_is_called_by_their_login_in_lower_case() {
    let town = Town::new();
    town.world().rename(&town.scene.ana, "Ana@Example.COM");
    let ana = town.found("ana@example.com").await;
    assert_eq!(ana.id.as_str(), "ana@example.com");
    assert_eq!(ana.kind, PrincipalKind::Person);
    assert!(ana.active);
    assert_eq!(names(&ana.groups), ["sre"]);
    assert_eq!(ana.manager, None);
    let okta = "okta".parse().unwrap();
    assert_eq!(ana.subjects[&okta].as_str(), town.scene.ana);
    let bob = town.found("bob@example.com").await;
    assert!(bob.groups.is_empty());
    for nobody in [
        "nobody@example.com",
        "ana",
        "me",
        "agent:bot",
        "slack:u012",
        "telegram:1",
    ] {
        assert!(town.is_nobody(nobody).await, "{nobody}");
    }
}

#[tokio::test]
async fn only_who_is_active_is_active() {
    let town = Town::new();
    for status in [
        UserStatus::Staged,
        UserStatus::Provisioned,
        UserStatus::Recovery,
        UserStatus::PasswordExpired,
        UserStatus::LockedOut,
        UserStatus::Suspended,
        UserStatus::Deprovisioned,
    ] {
        town.world().set_status(&town.scene.ana, status);
        let ana = town.found("ana@example.com").await;
        assert!(!ana.active, "{status:?}");
        assert!(ana.groups.is_empty(), "{status:?}");
    }
    town.world().set_status(&town.scene.ana, UserStatus::Active);
    assert!(town.found("ana@example.com").await.active);
}

#[tokio::test]
async fn what_the_configuration_says_of_somebody_still_counts() {
    let town = Town::new();
    let mut ana = written("ana@example.com");
    ana.groups = ["owners".parse().unwrap()].into();
    ana.groups_unknown = ["slack:S1".parse().unwrap()].into();
    ana.subjects = [("aws".parse().unwrap(), "ana.l".parse().unwrap())].into();
    town.people.add(ana.clone(), &["a.lopez@example.com"]);
    for name in ["ana@example.com", "a.lopez@example.com"] {
        let found = town.found(name).await;
        assert_eq!(found.id, ana.id);
        assert_eq!(names(&found.groups), ["owners", "sre"]);
        assert_eq!(found.groups_unknown, ana.groups_unknown);
        let subjects: Vec<(&str, &str)> = (found.subjects.iter())
            .map(|(provider, subject)| (provider.as_str(), subject.as_str()))
            .collect();
        let okta = town.scene.ana.as_str();
        assert_eq!(subjects, [("aws", "ana.l"), ("okta", okta)]);
    }
    ana.active = false;
    town.people.add(ana, &[]);
    assert!(!town.found("ana@example.com").await.active);
}

#[tokio::test]
async fn a_configured_person_is_found_under_what_is_written_down_for_okta() {
    let town = Town::new();
    for subject in [town.scene.bob.as_str(), "Bob@Example.com"] {
        let mut robert = written("robert@example.com");
        robert.subjects = [("okta".parse().unwrap(), subject.parse().unwrap())].into();
        town.people.add(robert, &["bob@example.com"]);
        for name in ["robert@example.com", "bob@example.com"] {
            let found = town.found(name).await;
            assert_eq!(found.id.as_str(), "robert@example.com");
            assert!(found.active);
            let okta = "okta".parse().unwrap();
            assert_eq!(found.subjects[&okta].as_str(), town.scene.bob);
        }
    }
}

#[tokio::test]
async fn s9_an_account_that_is_somebody_else_under_its_login_makes_nobody_active() {
    let town = Town::new();
    let mut robert = written("robert@example.com");
    let subject = town.scene.bob.parse().unwrap();
    robert.subjects = [("okta".parse().unwrap(), subject)].into();
    town.people.add(robert.clone(), &[]);
    assert!(!town.found("robert@example.com").await.active);
    let bob = town.found("bob@example.com").await;
    assert_eq!(bob.id.as_str(), "bob@example.com");
    // Two who are configured with one account are not both active either.
    town.people.add(robert.clone(), &["bob@example.com"]);
    let mut other = written("other@example.com");
    other.subjects = robert.subjects;
    town.people.add(other, &[]);
    assert!(town.found("robert@example.com").await.active);
    assert!(!town.found("other@example.com").await.active);
}

/// Were they two, they could approve what they ask for.
#[tokio::test]
async fn s9_who_is_configured_with_an_account_is_the_same_person_under_its_login() {
    let mut bob = String::new();
    let town = Town::of(setup(), |settings, scene| {
        bob.clone_from(&scene.bob);
        let robert = "robert@example.com".parse().unwrap();
        settings.configured = [(scene.bob.parse().unwrap(), robert)].into();
    });
    let mut robert = written("robert@example.com");
    robert.subjects = [("okta".parse().unwrap(), bob.parse().unwrap())].into();
    robert.groups = ["owners".parse().unwrap()].into();
    town.people.add(robert, &[]);
    let by_login = town.found("bob@example.com").await;
    assert_eq!(by_login, town.found("robert@example.com").await);
    assert_eq!(by_login.id.as_str(), "robert@example.com");
    assert_eq!(names(&by_login.groups), ["owners"]);
}

#[tokio::test]
async fn a_configured_person_whom_okta_does_not_have_is_not_active() {
    let town = Town::new();
    let mut zoe = written("zoe@example.com");
    zoe.groups = ["owners".parse().unwrap()].into();
    town.people.add(zoe, &[]);
    let found = town.found("zoe@example.com").await;
    assert!(!found.active);
    assert_eq!(names(&found.groups), ["owners"]);
}

#[tokio::test]
async fn an_agent_comes_as_it_is_written_down_and_nobody_is_asked() {
    let town = Town::new();
    let mut bot = written("agent:bot");
    bot.kind = PrincipalKind::Agent {
        acts_for: "ana@example.com".parse().unwrap(),
        caps: Default::default(),
    };
    town.people.add(bot.clone(), &[]);
    town.world().away(Away::Unavailable);
    assert_eq!(town.found("agent:bot").await, bot);
    assert!(town.world().calls().is_empty());
}

#[tokio::test]
async fn a_failure_is_an_error_and_never_an_empty_answer() {
    let town = Town::new();
    town.world()
        .set_profile(&town.scene.ana, "managerId", "bob@example.com");
    let operations = [
        (Operation::GetUser, "ana@example.com"),
        (Operation::ListUserGroups, ""),
        (Operation::GetUser, "bob@example.com"),
    ];
    for hostility in [
        Hostility::InternalError,
        Hostility::Unavailable,
        Hostility::Garbage,
        Hostility::LoseCall,
        Hostility::Redirect("http://127.0.0.1:9/".to_owned()),
        Hostility::NextElsewhere("http://127.0.0.1:9/".to_owned()),
        Hostility::Throttle(Reset::Missing),
    ] {
        for (operation, having) in operations {
            let rule = Rule::new(operation, hostility.clone()).having(having);
            let is_list = operation == Operation::ListUserGroups;
            if matches!(hostility, Hostility::NextElsewhere(_)) && !is_list {
                continue;
            }
            town.world().rule(rule);
            let failed = town.look("ana@example.com").await;
            assert!(
                failed.is_err(),
                "{hostility:?} of {operation:?}: {failed:?}"
            );
            town.world().calm();
            assert!(town.look("ana@example.com").await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_an_error() {
    let town = Town::new();
    let token = okta_sim::ApiToken::default();
    town.world().set_token(token.allowing(&[]));
    let error = town.look("ana@example.com").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    assert!(town.look("nobody@example.com").await.is_err());
}

#[tokio::test]
async fn a_profile_is_true_at_most_three_seconds_before_it_is_asked_for() {
    let town = Town::new();
    town.found("ana@example.com").await;
    town.world()
        .set_status(&town.scene.ana, UserStatus::Suspended);
    let ana = "ana@example.com".parse().unwrap();
    town.scene.pass(Duration::from_secs(3));
    let remembered = town.directory.profile(&ana).await.unwrap();
    assert!(remembered.unwrap().active);
    town.scene.pass(Duration::from_micros(1));
    let now = town.directory.profile(&ana).await.unwrap();
    assert!(!now.unwrap().active);
}

#[tokio::test]
async fn whoever_asks_at_the_same_time_waits_for_one_answer() {
    let town = Town::new();
    town.forget();
    let ana = "ana@example.com".parse().unwrap();
    let all = (0..20).map(|_| town.directory.profile(&ana));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|it| it.as_ref().unwrap().is_some()));
    assert_eq!(town.scene.calls(Operation::GetUser).len(), 1);
    assert_eq!(town.scene.calls(Operation::ListUserGroups).len(), 1);
}

/// Time passes by itself here, whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn a_profile_and_the_members_of_a_group_end_in_time() {
    let town = Town::new();
    town.world().rule(Rule::every(Hostility::Hang));
    let began = tokio::time::Instant::now();
    let error = town.look("ana@example.com").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(began.elapsed() <= Duration::from_secs(3));
    let began = tokio::time::Instant::now();
    let error = town.members("sre").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(began.elapsed() <= Duration::from_secs(10));
}

#[tokio::test]
async fn a_slack_id_leads_to_the_only_account_that_bears_it() {
    let with_slack = |settings: &mut DirectorySettings| {
        settings.slack_attribute = Some("slackId".to_owned());
    };
    let town = Town::of(setup(), |settings, _| with_slack(settings));
    let world = town.world();
    world.set_profile(&town.scene.ana, "slackId", "U012AB3CD");
    let ana = town.found("slack:u012ab3cd").await;
    assert_eq!(ana.id.as_str(), "ana@example.com");
    assert_eq!(names(&ana.groups), ["sre"]);
    for nobody in ["slack:u012ab3c", "slack:", "slack:u"] {
        assert!(town.is_nobody(nobody).await, "{nobody}");
    }
    world.set_profile(&town.scene.bob, "slackId", "U012AB3CD");
    assert!(town.is_nobody("slack:u012ab3cd").await, "of two");
    world.set_profile(&town.scene.bob, "slackId", "U0OTHER");
    world.hostile(Operation::ListUsers, Hostility::InternalError);
    assert!(town.look("slack:u012ab3cd").await.is_err());

    // Without the attribute no name of Slack's leads anywhere.
    let town = Town::new();
    town.world()
        .set_profile(&town.scene.ana, "slackId", "U012AB3CD");
    assert!(town.is_nobody("slack:u012ab3cd").await);
    assert!(town.world().calls().is_empty());
}

/// A search shows what was true a while ago.
#[tokio::test]
async fn a_slack_id_that_was_taken_away_leads_to_nobody_at_once() {
    let setup = okta_sim::Setup {
        search_lag: Duration::from_secs(600),
        ..setup()
    };
    let town = Town::of(setup, |settings, _| {
        settings.slack_attribute = Some("slackId".to_owned());
    });
    town.world()
        .set_profile(&town.scene.ana, "slackId", "U012AB3CD");
    assert!(town.is_nobody("slack:u012ab3cd").await, "not found yet");
    town.scene.pass(Duration::from_secs(601));
    assert!(!town.is_nobody("slack:u012ab3cd").await);
    town.world()
        .set_profile(&town.scene.ana, "slackId", "U0NEW");
    assert!(town.is_nobody("slack:u012ab3cd").await);
}

#[tokio::test]
async fn a_slack_id_of_a_configured_person_leads_to_them() {
    let town = Town::of(setup(), |settings, _| {
        settings.slack_attribute = Some("slackId".to_owned());
    });
    town.people
        .add(written("lopez@example.com"), &["ana@example.com"]);
    town.world()
        .set_profile(&town.scene.ana, "slackId", "U012AB3CD");
    // They are configured without an account of that name, so this one is not theirs.
    let found = town.found("slack:u012ab3cd").await;
    assert_eq!(found.id.as_str(), "lopez@example.com");
    assert!(!found.active);
    assert!(found.groups.is_empty());
    let mut lopez = written("lopez@example.com");
    let subject = "ana@example.com".parse().unwrap();
    lopez.subjects = [("okta".parse().unwrap(), subject)].into();
    town.people.add(lopez, &["ana@example.com"]);
    let found = town.found("slack:u012ab3cd").await;
    assert_eq!(found.id.as_str(), "lopez@example.com");
    assert!(found.active);
    assert_eq!(names(&found.groups), ["sre"]);
}

#[tokio::test]
async fn a_group_that_is_gone_from_okta_is_nobodys() {
    let town = Town::new();
    town.world().delete_group(&town.sre);
    assert!(town.found("ana@example.com").await.groups.is_empty());
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused() {
    let town = Town::new();
    let refused = |settings: DirectorySettings| {
        let okta = std::sync::Arc::clone(&town.scene.okta);
        let error = OktaDirectory::new(okta, town.people.clone(), settings);
        error.unwrap_err().kind == ErrorKind::Misconfigured
    };
    let attribute = |name: &str| Some(name.to_owned());
    for name in ["", "profile.login", "a b", "1st", "x eq \"y\" or id", "é"] {
        for settings in [
            DirectorySettings {
                manager_attribute: attribute(name),
                ..DirectorySettings::default()
            },
            DirectorySettings {
                slack_attribute: attribute(name),
                ..DirectorySettings::default()
            },
            DirectorySettings {
                person_attribute: attribute(name),
                ..DirectorySettings::default()
            },
        ] {
            assert!(refused(settings), "{name:?}");
        }
    }
    assert!(refused(DirectorySettings {
        groups: [("sre".parse().unwrap(), "Site Reliability".to_owned())].into(),
        ..DirectorySettings::default()
    }));
}
