//! What goes wrong in the organization and on the way there, one by one.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use jit_core::ports::{Effect, ErrorKind, Provisioner};
use jit_core::provider::{Answer, Presence};
use okta_sim::{Away, Deed, Hostility, Operation, Rule, Setup, UserStatus};

use super::{Scene, connected, inspect, settings, setup};
use crate::{OktaGroups, Settings};

/// So many pages that a list has some.
fn small_pages() -> Scene {
    let setup = Setup {
        user_groups_page_max: Some(1),
        members_page_max: 2,
        ..setup()
    };
    let scene = Scene::of(setup, |_| {});
    for number in 0..4 {
        let world = scene.world();
        let group = world.add_group(&format!("group-{number}"));
        world.join(&group, &scene.ana);
    }
    scene
}

#[tokio::test]
async fn who_and_what_is_gone_is_absent() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene.world().delete_group(&scene.admins);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    for error in [
        scene.grant().await.unwrap_err(),
        scene.revoke().await.unwrap_err(),
    ] {
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::NotFound, Effect::None)
        );
    }
    let listed = scene.groups.standing(&scene.admins, None).await.unwrap();
    assert!(listed.items.is_empty());

    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene.world().delete_user(&scene.ana);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    let error = scene.revoke().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

/// Okta keeps the memberships of whoever is deactivated.
#[tokio::test]
async fn the_access_of_a_deactivated_person_is_seen_and_taken_away() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    let world = scene.world();
    world.set_status(&scene.ana, UserStatus::Deprovisioned);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
    assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
    assert!(!scene.is_member());
}

#[tokio::test]
async fn nobody_is_believed_to_be_gone_in_another_organization() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    let ours = scene.target();
    // The address leads to an organization that knows nobody of ours.
    let other = Setup {
        seed: 99,
        ..setup()
    };
    scene.world().reset(other);
    assert_ne!(scene.target().realm, ours.realm);
    let error = inspect(&scene.groups, &ours).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.chain().contains("another organization"));
    let listed = scene.groups.standing(&scene.admins, None).await;
    assert_eq!(listed.unwrap_err().kind, ErrorKind::Misconfigured);
}

#[tokio::test]
async fn what_other_hands_did_is_seen() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene.world().leave(&scene.admins, &scene.ana);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
    scene.world().join(&scene.admins, &scene.ana);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
    assert_eq!(scene.grant().await.unwrap(), Answer::Applied);
    scene.world().join(&scene.admins, &scene.bob);
    let listed = scene.groups.standing(&scene.admins, None).await.unwrap();
    let mut subjects: Vec<String> = (listed.items.iter())
        .map(|standing| standing.target.subject.to_string())
        .collect();
    subjects.sort();
    let mut both = vec![scene.ana.clone(), scene.bob.clone()];
    both.sort();
    assert_eq!(subjects, both);
}

#[tokio::test]
async fn an_answer_is_called_applied_only_once_it_is_seen() {
    let scene = Scene::new();
    let stale = Hostility::Stale(Duration::from_secs(50));
    scene.world().hostile(Operation::ListUserGroups, stale);
    assert_eq!(scene.grant().await.unwrap(), Answer::Accepted);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
    assert_eq!(scene.revoke().await.unwrap(), Answer::Accepted);
    // Looking may fail as well; what was answered was answered.
    scene.world().calm();
    scene
        .world()
        .hostile(Operation::ListUserGroups, Hostility::InternalError);
    assert_eq!(scene.grant().await.unwrap(), Answer::Accepted);
}

#[tokio::test]
async fn a_late_effect_is_unknown_until_it_is_seen() {
    let scene = Scene::new();
    let late = Hostility::LateEffect(Duration::from_secs(800));
    scene.world().hostile(Operation::AddUserToGroup, late);
    let error = scene.grant().await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Unavailable, Effect::Unknown)
    );
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    scene.pass(Duration::from_secs(801));
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
}

#[tokio::test]
async fn lost_calls_and_replies_may_have_been_done() {
    let scene = Scene::new();
    scene.inspect().await.unwrap();
    for hostility in [
        Hostility::LoseReply,
        Hostility::LoseCall,
        Hostility::InternalError,
        Hostility::InternalErrorAfter,
        Hostility::Unavailable,
        Hostility::Garbage,
    ] {
        let world = scene.world();
        world.hostile(Operation::AddUserToGroup, hostility.clone());
        let error = scene.grant().await.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Unavailable, Effect::Unknown),
            "{hostility:?}"
        );
        world.calm();
        world.hostile(Operation::RemoveUserFromGroup, hostility.clone());
        let error = scene.revoke().await.unwrap_err();
        assert_eq!(error.effect, Effect::Unknown, "{hostility:?}");
        world.calm();
    }
    scene.world().away(Away::Refused);
    assert_eq!(
        scene.grant().await.unwrap_err().effect,
        Effect::Unknown,
        "the connection was made"
    );
    let error = scene.inspect().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

/// Time passes by itself here, whenever everybody waits, so that no test waits for a deadline.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_left_before_the_deadline_of_the_port() {
    let scene = Scene::new();
    // Before anything hangs; a paused clock would jump over an answer of the machine's own.
    tokio::time::resume();
    scene.inspect().await.unwrap();
    scene.world().rule(Rule::every(Hostility::Hang));
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let seen = scene.inspect().await.unwrap_err();
    assert_eq!(seen.kind, ErrorKind::Unavailable);
    assert!(began.elapsed() <= Duration::from_secs(15));
    let began = tokio::time::Instant::now();
    let error = scene.revoke().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(began.elapsed() <= Duration::from_secs(15));
}

#[tokio::test]
async fn what_was_done_without_an_answer_may_have_been_done() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    let remove = Operation::RemoveUserFromGroup;
    scene.world().hostile(remove, Hostility::HangAfter);
    let mut revoked = pin!(scene.revoke());
    while scene.calls(remove).is_empty() {
        tokio::select! {
            biased;
            _ = &mut revoked => unreachable!("nobody answers"),
            () = tokio::task::yield_now() => {}
        }
    }
    // It was sent; the rest of the time passes by itself.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let error = revoked.await.unwrap_err();
    assert!(began.elapsed() <= Duration::from_secs(15));
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Unavailable, Effect::Unknown)
    );
    assert!(!scene.is_member());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let scene = Scene::new();
    scene.inspect().await.unwrap();
    let elsewhere = Scene::new();
    let url = format!("{}/api/v1/elsewhere", elsewhere.sim.url());
    let world = scene.world();
    world.rule(Rule::every(Hostility::Redirect(url)));
    let error = scene.grant().await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Misconfigured, Effect::Unknown)
    );
    let error = scene.inspect().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(
        elsewhere.world().calls().is_empty(),
        "the token went nowhere"
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_read_to_its_end_is_an_error_and_never_an_absence() {
    let elsewhere = Scene::new();
    let foreign = format!("{}/api/v1/users/x/groups", elsewhere.sim.url());
    for hostility in [
        Hostility::RepeatPage,
        Hostility::EndlessPages,
        Hostility::NextElsewhere(foreign),
        Hostility::InternalError,
        Hostility::Garbage,
    ] {
        let scene = small_pages();
        scene.inspect().await.unwrap();
        let rule = Rule::new(Operation::ListUserGroups, hostility.clone()).skip(1);
        scene.world().rule(rule);
        let error = scene.inspect().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{hostility:?}");
    }
    assert!(elsewhere.world().calls().is_empty());
}

#[tokio::test]
async fn an_empty_page_in_between_is_a_page() {
    let scene = small_pages();
    scene.grant().await.unwrap();
    scene
        .world()
        .hostile_times(Operation::ListUserGroups, Hostility::EmptyPage, 1);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
}

#[tokio::test]
async fn pages_that_change_while_they_are_read_hide_nothing_that_stays() {
    let scene = small_pages();
    scene.grant().await.unwrap();
    // After each page she leaves one group, or joins another one.
    let world = scene.world();
    for number in 0..4 {
        let group = world.add_group(&format!("late-{number}"));
        if number % 2 == 1 {
            world.join(&group, &scene.ana);
        }
        let (group, user) = (group.clone(), scene.ana.clone());
        let deed = match number % 2 {
            0 => Deed::Join { group, user },
            _ => Deed::Leave { group, user },
        };
        let rule = Rule::new(Operation::ListUserGroups, Hostility::Then(deed));
        world.rule(rule.skip(number).times(1));
    }
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
    assert_eq!(
        scene
            .calls(Operation::ListUserGroups)
            .last()
            .unwrap()
            .status,
        Some(200)
    );
}

/// A group that this service may not see any more is in no list, and nobody has left it.
#[tokio::test]
async fn a_group_that_is_hidden_is_not_taken_for_an_absence() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    let hidden = Deed::Leave {
        group: scene.admins.clone(),
        user: scene.ana.clone(),
    };
    // Who is asked for the user's groups leaves it out.
    let world = scene.world();
    world.hostile_times(Operation::ListUserGroups, Hostility::Before(hidden), 1);
    world.rule(Rule::new(Operation::GetGroup, Hostility::Unavailable));
    scene.inspect().await.unwrap_err();
    world.calm();
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
}

#[tokio::test]
async fn a_page_of_another_listing_is_refused() {
    let scene = small_pages();
    for (page, kind) in [
        ("https://evil.example.com/", ErrorKind::Misconfigured),
        ("nonsense", ErrorKind::Misconfigured),
        ("http://[", ErrorKind::Misconfigured),
    ] {
        let listed = scene.groups.standing(&scene.admins, Some(page)).await;
        assert_eq!(listed.unwrap_err().kind, kind);
    }
    let everybody = scene.world().fill("everybody", 5);
    let listed = scene.groups.standing(&everybody, None).await.unwrap();
    let next = listed.next.unwrap();
    let other = scene.groups.standing(&scene.admins, Some(&next)).await;
    assert_eq!(other.unwrap_err().kind, ErrorKind::Misconfigured);
    let world = scene.world();
    world.hostile(
        Operation::ListGroupUsers,
        Hostility::NextElsewhere(format!(
            "{}/api/v1/groups/{everybody}/users?limit=200",
            scene.sim.url()
        )),
    );
    let again = scene.groups.standing(&everybody, None).await;
    assert_eq!(again.unwrap_err().kind, ErrorKind::Unavailable);
}

/// A server that sends a list and never comes to its end.
#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4_096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[").unwrap();
        let spaces = [b' '; 65_536];
        let mut sent = 0;
        while stream.write_all(&spaces).is_ok() {
            sent += spaces.len();
        }
        sent
    });
    let scene = Scene::new();
    let settings = Settings {
        org_url: url,
        ..settings(&scene.sim)
    };
    let okta = connected(settings, &scene.clock);
    let realm = scene.target().realm;
    let id = realm.strip_prefix("okta:").unwrap();
    okta.organization.set(id.to_owned()).unwrap();
    let groups = OktaGroups::new(okta);
    let error = inspect(&groups, &scene.target()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    // The connection is closed by whoever runs beside this.
    let sent = tokio::task::spawn_blocking(|| sent.join().unwrap());
    let sent = sent.await.unwrap();
    assert!(sent < 32 * 1_024 * 1_024, "{sent} bytes were taken");
}
