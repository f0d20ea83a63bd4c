//! AWS goes away, loses things, refuses credentials and clocks; what is said of it, that a call goes
//! out once and in time, and that no secret is in any of it.

use std::time::Duration;

use aws_sim::{AccessKey, Away, Hostility};
use jit_core::ports::ErrorKind::{Conflict, Forbidden, RateLimited, Unavailable};
use jit_core::ports::{Effect, ErrorKind, PortError, Provisioner, Purpose};
use jit_core::provider::Presence;
use jit_testkit::sample;
use serde_json::json;

use super::{
    Given, HOUR, READ, Scene, as_subject, ask, grant, mint, of_role, plain, resolve, revoke,
};

fn is(error: &PortError, kind: ErrorKind, effect: Effect) {
    let chain = error.chain();
    assert_eq!((error.kind, error.effect), (kind, effect), "{chain}");
}

#[tokio::test]
async fn a_failed_call_says_whether_anything_was_done() {
    let throttled = RateLimited {
        retry_after_ms: None,
    };
    for (hostility, kind, effect, done) in [
        (Hostility::Throttle, throttled, Effect::None, false),
        (Hostility::Conflict, Conflict, Effect::None, false),
        (
            Hostility::InternalError,
            Unavailable,
            Effect::Unknown,
            false,
        ),
        (
            Hostility::InternalErrorAfter,
            Unavailable,
            Effect::Unknown,
            true,
        ),
        (Hostility::Unavailable, Unavailable, Effect::Unknown, false),
        (Hostility::LoseCall, Unavailable, Effect::Unknown, false),
        (Hostility::LoseReply, Unavailable, Effect::Unknown, true),
    ] {
        let scene = Scene::new();
        let ask = plain();
        let target = scene.target(&ask).await;
        let given = Given {
            request: sample::id(1),
            ask: &ask,
            target: &target,
            expires_at: scene.now() + HOUR,
        };
        let world = scene.world();
        world.hostile("PutRolePolicy", hostility.clone());
        scene.asked();
        is(&scene.grant(&given).await.unwrap_err(), kind, effect);
        let puts = scene.asked().into_iter();
        assert_eq!(puts.filter(|it| it == "PutRolePolicy").count(), 1);
        assert_eq!(world.policies("role/developers").len(), usize::from(done));
        world.calm();
        scene.pass(Duration::from_secs(2));
        scene.grant(&given).await.unwrap();
        world.hostile("DeleteRolePolicy", hostility.clone());
        is(&scene.revoke(&given).await.unwrap_err(), kind, effect);
        assert_eq!(world.policies("role/developers").len(), usize::from(!done));
        world.calm();

        let ask = of_role(ask_of_a_session(), "deploy");
        let target = resolve(scene.sessions.as_ref(), &ask).await.unwrap().target;
        let given = Given {
            ask: &ask,
            target: &target,
            ..given
        };
        world.hostile("AssumeRole", hostility);
        let error = mint(&scene.sessions, &given, scene.soon())
            .await
            .unwrap_err();
        is(&error, kind, effect);
        assert_eq!(world.sessions().len(), usize::from(done));
    }
}

fn ask_of_a_session() -> jit_testkit::provisioner::Ask {
    ask("ana@example.com", None, json!({}))
}

#[tokio::test]
async fn a_look_that_fails_is_no_absence() {
    let scene = Scene::new();
    let ask = plain();
    let target = scene.target(&ask).await;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    for hostility in [
        Hostility::Throttle,
        Hostility::InternalError,
        Hostility::Garbage,
    ] {
        scene.world().hostile("GetRolePolicy", hostility);
        let seen = scene.policies.inspect(given.look(Purpose::TakeAway)).await;
        assert!(seen.unwrap_err().kind.is_retryable());
        scene.world().calm();
        scene.pass(Duration::from_secs(2));
    }
    scene.world().away(Away::Refused);
    let seen = scene.policies.inspect(given.look(Purpose::TakeAway)).await;
    assert_eq!(seen.unwrap_err().kind, Unavailable);
    scene.world().calm();
    // A role that is gone took its policies with it.
    scene.world().delete_principal("role/developers");
    assert_eq!(
        scene.inspect(&given, Purpose::TakeAway).await,
        Presence::Absent
    );
    scene.revoke(&given).await.unwrap();
    let error = scene.grant(&given).await.unwrap_err();
    is(&error, ErrorKind::NotFound, Effect::None);
}

/// Whose credentials these are is asked once, before anything is sent. Who takes away does not wait
/// for that.
#[tokio::test]
async fn where_the_account_cannot_be_told_nothing_is_given_and_what_is_there_is_taken() {
    let scene = Scene::new();
    let ask = plain();
    let target = scene.target(&ask).await;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    scene.grant(&given).await.unwrap();
    let fresh = super::policies(super::settings(&scene.sim), &scene.clock, super::key());
    for hostility in [
        Hostility::LoseReply,
        Hostility::InternalError,
        Hostility::Garbage,
    ] {
        scene.world().hostile("GetCallerIdentity", hostility);
        let error = grant(&fresh, &given, scene.soon()).await.unwrap_err();
        is(&error, Unavailable, Effect::None);
        let seen = fresh.inspect(given.look(Purpose::TakeAway)).await;
        assert_eq!(seen.unwrap_err().kind, Unavailable);
        scene.world().calm();
    }
    scene
        .world()
        .hostile("GetCallerIdentity", Hostility::LoseReply);
    revoke(&fresh, &given, scene.soon()).await.unwrap();
    assert!(scene.world().policies("role/developers").is_empty());
}

#[tokio::test]
async fn a_full_role_is_worth_another_try_and_somebody_is_told() {
    let scene = Scene::new();
    let ask = as_subject(plain(), "user/ana");
    let target = scene.target(&ask).await;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    scene
        .world()
        .put_policy("user/ana", "own", &"a".repeat(2_000));
    let error = scene.grant(&given).await.unwrap_err();
    is(&error, Conflict, Effect::None);
    assert!(error.told.is_some(), "{}", error.chain());
    scene.world().delete_policy("user/ana", "own");
    scene.grant(&given).await.unwrap();
}

/// What only AWS can judge comes out after the approval, and then somebody waits for an answer.
#[tokio::test]
async fn what_aws_refuses_for_good_after_the_approval_is_told() {
    let scene = Scene::new();
    // A service of that name there cannot be.
    let odd = READ.replace("s3:", "s_3:");
    let malformed = ask("ana@example.com", Some(&odd), json!({}));
    let (mut gone, mut reserved) = (scene.target(&plain()).await, scene.target(&plain()).await);
    gone.subject = "role/nobody/AROAX:ana".parse().unwrap();
    reserved.subject = "role/protected/AROAX:ana".parse().unwrap();
    let target = scene.target(&malformed).await;
    let fine = plain();
    for (ask, target, code, words) in [
        (&malformed, &target, "MalformedPolicyDocument", "template"),
        (&fine, &gone, "NoSuchEntity", "not there any more"),
        (&fine, &reserved, "UnmodifiableEntity", "nobody change"),
    ] {
        let given = Given {
            request: sample::id(1),
            ask,
            target,
            expires_at: scene.now() + HOUR,
        };
        let error = scene.grant(&given).await.unwrap_err();
        assert!(!error.kind.is_retryable() && error.effect == Effect::None);
        assert!(
            error.chain().to_string().contains(code),
            "{}",
            error.chain()
        );
        let told = error.told.unwrap_or_default();
        assert!(told.contains(words), "{code}: {told:?}");
    }
    let session = of_role(malformed.clone(), "deploy");
    let target = resolve(scene.sessions.as_ref(), &session)
        .await
        .unwrap()
        .target;
    let given = Given {
        request: sample::id(1),
        ask: &session,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    let error = mint(&scene.sessions, &given, scene.soon())
        .await
        .unwrap_err();
    assert!(
        error.told.unwrap_or_default().contains("template"),
        "{}",
        error.chain()
    );
    scene
        .world()
        .set_key(AccessKey::default().allowing(&["sts:GetCallerIdentity"]));
    let error = mint(&scene.sessions, &given, scene.soon())
        .await
        .unwrap_err();
    assert!(
        error.told.unwrap_or_default().contains("permissions"),
        "{}",
        error.chain()
    );
}

#[tokio::test]
async fn a_wrong_clock_is_named_and_what_expired_is_loaded_again() {
    let scene = Scene::new();
    let ask = plain();
    let target = scene.target(&ask).await;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    scene.clock.advance(Duration::from_secs(301));
    let error = scene.grant(&given).await.unwrap_err();
    is(&error, Forbidden, Effect::None);
    assert!(error.chain().to_string().contains("clock of this machine"));
    scene.world().advance(Duration::from_secs(301));
    scene.world().set_key(AccessKey {
        expires_at_micros: Some(0),
        ..AccessKey::default()
    });
    let error = scene.grant(&given).await.unwrap_err();
    is(&error, Unavailable, Effect::None);
    scene.world().set_key(AccessKey::default());
    scene.grant(&given).await.unwrap();
}

#[tokio::test]
async fn s3_nothing_leaves_when_its_time_is_over() {
    let scene = Scene::new();
    let ask = plain();
    let target = scene.target(&ask).await;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    let session = of_role(ask_of_a_session(), "deploy");
    let role = resolve(scene.sessions.as_ref(), &session)
        .await
        .unwrap()
        .target;
    let minted = Given {
        ask: &session,
        target: &role,
        ..given.clone()
    };
    scene.asked();
    let now = scene.now();
    let late = [
        grant(&scene.policies, &given, now).await.unwrap_err(),
        revoke(&scene.policies, &given, now).await.unwrap_err(),
        mint(&scene.sessions, &minted, now).await.unwrap_err(),
    ];
    for error in late {
        is(&error, Unavailable, Effect::None);
    }
    assert_eq!(scene.asked(), [""; 0]);
}

#[tokio::test]
async fn s15_no_secret_is_in_what_is_said_of_a_failure() {
    let scene = Scene::new();
    let ask = of_role(ask_of_a_session(), "deploy");
    let target = resolve(scene.sessions.as_ref(), &ask).await.unwrap().target;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    for hostility in [
        Hostility::LoseReply,
        Hostility::InternalErrorAfter,
        Hostility::Garbage,
    ] {
        scene.world().hostile_times("AssumeRole", hostility, 1);
        let error = mint(&scene.sessions, &given, scene.soon())
            .await
            .unwrap_err();
        is(&error, Unavailable, Effect::Unknown);
        let said = format!("{error:?} {} {}", error, error.chain());
        for session in scene.world().sessions() {
            assert!(!said.contains(&session.secret) && !said.contains(&session.token));
        }
        assert!(!said.contains(&AccessKey::default().secret));
    }
    assert_eq!(scene.world().sessions().len(), 3);
}
