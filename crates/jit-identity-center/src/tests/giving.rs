//! Giving and taking away: what is answered, and what is true at AWS.

use std::time::Duration;

use aws_sim::{AccessKey, Hostility, Notices, Seat, Setup};
use jit_core::Timestamp;
use jit_core::ports::{Clock, Effect, ErrorKind, GrantCall, Provisioner};
use jit_core::provider::{Answer, Parameters, Presence};

use super::{
    AMPLE, PATIENT, PRODUCTION, Scene, at_once, connected, grant, key, request, revoke, settings,
};
use crate::{Limits, Pace};

#[tokio::test]
async fn an_operation_is_watched_until_it_is_applied() {
    let scene = Scene::slow();
    let patient = scene.another(|settings| {
        settings.pace = Pace {
            within: Duration::from_secs(10),
            ..settings.pace
        };
    });
    let pass = async {
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            scene.pass(Duration::from_secs(1));
        }
    };
    let target = scene.target();
    let (granted, ()) = tokio::join!(grant(&patient, &target, scene.soon()), pass);
    assert_eq!(granted.unwrap(), Answer::Applied);
    assert!(scene.is_assigned());
}

#[tokio::test]
async fn an_operation_that_is_not_done_yet_is_accepted_and_in_flight() {
    let scene = Scene::slow();
    assert_eq!(scene.grant().await.unwrap(), Answer::Accepted);
    assert_eq!(scene.inspect().await.unwrap(), Presence::InFlight);
    scene.pass(Duration::from_secs(10));
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);

    assert_eq!(scene.revoke().await.unwrap(), Answer::Accepted);
    assert_eq!(scene.inspect().await.unwrap(), Presence::InFlight);
    scene.pass(Duration::from_secs(10));
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
}

#[tokio::test]
async fn questions_that_fail_do_not_make_an_accepted_operation_fail() {
    for hostility in [
        Hostility::Throttle,
        Hostility::InternalError,
        Hostility::LoseReply,
        Hostility::Garbage,
        Hostility::Hang,
    ] {
        let scene = Scene::kept();
        let asked = "DescribeAccountAssignmentCreationStatus";
        scene.world().hostile(asked, hostility);
        assert_eq!(scene.grant().await.unwrap(), Answer::Accepted);
        assert!(scene.is_assigned());
    }
}

#[tokio::test]
async fn a_change_while_another_is_in_progress_is_a_conflict() {
    let scene = Scene::kept();
    let frozen = Hostility::Freeze;
    scene.world().hostile("CreateAccountAssignment", frozen);
    assert_eq!(scene.grant().await.unwrap(), Answer::Accepted);
    for again in [scene.grant().await, scene.revoke().await] {
        let error = again.unwrap_err();
        let chain = error.chain();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Conflict, Effect::None)
        );
        assert!(chain.contains("ConflictException"), "{chain}");
        assert!(chain.contains("request "), "{chain}");
    }
    scene.world().calm();
    scene.revoke().await.unwrap();
    assert!(!scene.is_assigned());
}

#[tokio::test]
async fn a_failed_operation_keeps_the_reason_and_says_what_may_be_done() {
    let cases = [
        (
            "Received a 404 status error: Not found",
            ErrorKind::NotFound,
        ),
        (
            "Received a 403 status error: Forbidden",
            ErrorKind::Forbidden,
        ),
        ("ConflictException: something else", ErrorKind::Conflict),
        (
            "ThrottlingException: Rate exceeded",
            ErrorKind::RateLimited {
                retry_after_ms: None,
            },
        ),
        ("the role could not be made", ErrorKind::Unavailable),
    ];
    for (reason, kind) in cases {
        let scene = Scene::new();
        let fails = || Hostility::Fail(reason.to_owned());
        scene.world().hostile("CreateAccountAssignment", fails());
        let error = scene.grant().await.unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, Effect::None), "{reason}");
        assert!(error.chain().contains(reason), "{}", error.chain());
        assert!(!scene.is_assigned());

        scene.world().calm();
        scene.grant().await.unwrap();
        scene.world().hostile("DeleteAccountAssignment", fails());
        let error = scene.revoke().await.unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, Effect::None), "{reason}");
        assert!(scene.is_assigned());
    }
}

#[tokio::test]
async fn a_failed_operation_of_which_nothing_can_be_read_back_may_have_happened() {
    let scene = Scene::new();
    let fails = Hostility::Fail("the role could not be made".to_owned());
    scene.world().hostile("CreateAccountAssignment", fails);
    scene
        .world()
        .hostile("ListAccountAssignments", Hostility::InternalError);
    let error = scene.grant().await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Unavailable, Effect::Unknown)
    );
}

#[tokio::test]
async fn a_creation_that_fails_over_an_assignment_that_stands_is_applied() {
    let scene = Scene::new();
    scene.world().assign(PRODUCTION, &scene.set, &scene.ana);
    let fails = Hostility::Fail("the assignment exists".to_owned());
    scene.world().hostile("CreateAccountAssignment", fails);
    assert_eq!(scene.grant().await.unwrap(), Answer::Applied);
}

#[tokio::test]
async fn a_deletion_that_finds_nothing_is_applied_only_if_nothing_is_listed() {
    // AWS does not say whether it notices at once or later.
    for notices in [Notices::AtOnce, Notices::Later] {
        let scene = Scene::of(
            Setup {
                notices,
                ..at_once()
            },
            PATIENT,
        );
        assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
    }
    let scene = Scene::new();

    // AWS says that it finds nothing, and yet it is listed: that is no end.
    scene.grant().await.unwrap();
    let fails = Hostility::Fail("Received a 404 status error: not found".to_owned());
    scene.world().hostile("DeleteAccountAssignment", fails);
    let error = scene.revoke().await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::NotFound, Effect::None)
    );
    scene.world().calm();
    assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
    assert!(!scene.is_assigned());
}

#[tokio::test]
async fn a_grant_of_what_is_not_there_fails_for_certain() {
    for notices in [Notices::AtOnce, Notices::Later] {
        let scene = Scene::of(
            Setup {
                notices,
                ..at_once()
            },
            PATIENT,
        );
        let ours = scene.target();
        let mut no_account = ours.clone();
        no_account.resource = ours.resource.replace(PRODUCTION, "999999999999");
        let mut no_set = ours.clone();
        no_set.resource = format!("{PRODUCTION}/{}", super::resolving::other_set(&scene.set));
        let mut nobody = ours;
        nobody.subject = "aabbccdd-1122-3344-5566-77889900aabb".parse().unwrap();
        for target in [no_account, no_set, nobody] {
            let error = grant(&scene.adapter, &target, scene.soon())
                .await
                .unwrap_err();
            assert_eq!(
                (error.kind, error.effect),
                (ErrorKind::NotFound, Effect::None),
                "{}",
                error.chain()
            );
        }
        assert!(scene.world().ledger().is_empty());
    }
}

#[tokio::test]
async fn a_target_or_parameters_that_are_not_ours_send_nothing() {
    let scene = Scene::new();
    let mut foreign = scene.target();
    foreign.realm = "arn:aws:sso:::instance/ssoins-ffffffffffffffff".to_owned();
    let mut garbled = scene.target();
    garbled.resource = "production/ReadOnly".to_owned();
    for target in [foreign, garbled] {
        for refused in [
            grant(&scene.adapter, &target, scene.soon()).await,
            revoke(&scene.adapter, &target, scene.soon()).await,
        ] {
            let error = refused.unwrap_err();
            assert_eq!(
                (error.kind, error.effect),
                (ErrorKind::Misconfigured, Effect::None)
            );
        }
    }
    let mut parameters = Parameters::new();
    parameters.insert("database".to_owned(), "x".into());
    let call = GrantCall {
        request: request(),
        target: &scene.target(),
        parameters: &parameters,
        template: None,
        expires_at: Timestamp::MAX,
        send_before: scene.soon(),
    };
    let error = scene.adapter.grant(call).await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Misconfigured, Effect::None)
    );
    assert!(scene.world().calls().is_empty());
}

#[tokio::test]
async fn a_grant_on_the_management_account_is_refused_with_the_reason() {
    let scene = Scene::of(
        Setup {
            seat: Seat::Delegated,
            ..at_once()
        },
        PATIENT,
    );
    let mut target = scene.target();
    target.resource = target.resource.replace(PRODUCTION, "111111111111");
    let error = grant(&scene.adapter, &target, scene.soon())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Forbidden, Effect::None)
    );
    let chain = error.chain();
    assert!(
        chain.contains("cannot be made from a delegated administrator account"),
        "{chain}"
    );
    assert!(chain.contains("AccessDeniedException"), "{chain}");
}

#[tokio::test]
async fn what_a_role_lacks_is_named_and_nothing_is_done() {
    let scene = Scene::new();
    let world = scene.world();
    world.set_key(AccessKey::default().allowing(&["sso:ListAccountAssignments"]));
    let error = scene.revoke().await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Forbidden, Effect::None)
    );
    let chain = error.chain();
    assert!(chain.contains("sso:DeleteAccountAssignment"), "{chain}");
    assert!(!chain.contains("secret"), "{chain}");
}

const TEN_PLACES: crate::Limits = crate::Limits {
    outstanding: 10,
    ..AMPLE
};

/// AWS counts an operation until it ends, whether anybody watches it or not.
#[tokio::test]
async fn an_operation_that_nobody_watches_keeps_its_place_until_it_is_not_listed() {
    let scene = Scene::slow();
    let mut settings = settings(&scene.sim);
    settings.pace = super::BRISK;
    let adapter = connected(settings, TEN_PLACES, &scene.clock, key(), None);
    for number in 0..3 {
        let user = scene.world().add_user(&format!("person-{number}"), "");
        let mut target = scene.target();
        target.subject = user.parse().unwrap();
        let given = grant(&adapter, &target, scene.soon()).await;
        if number < 2 {
            assert_eq!(given.unwrap(), Answer::Accepted);
            continue;
        }
        // Two are a quarter of ten.
        let kind = given.unwrap_err().kind;
        assert!(matches!(kind, ErrorKind::RateLimited { .. }), "{kind:?}");
        super::inspect(&adapter, &target).await.unwrap();
        grant(&adapter, &target, scene.soon()).await.unwrap_err();
        scene.pass(Duration::from_secs(10));
        super::inspect(&adapter, &target).await.unwrap();
        let given = grant(&adapter, &target, scene.soon()).await;
        assert_eq!(given.unwrap(), Answer::Accepted);
    }
}

#[tokio::test]
async fn l3_giving_leaves_operations_for_taking_away() {
    let scene = Scene::new();
    let world = scene.world();
    world.hostile("CreateAccountAssignment", Hostility::Freeze);
    let mut settings = settings(&scene.sim);
    settings.pace.within = Duration::from_secs(30);
    let adapter = connected(settings, TEN_PLACES, &scene.clock, key(), None);
    let mut targets = Vec::new();
    for number in 0..3 {
        let user = world.add_user(&format!("person-{number}"), "");
        let mut target = scene.target();
        target.subject = user.parse().unwrap();
        targets.push(target);
    }
    let soon = scene.soon();
    let watched: Vec<_> = targets
        .iter()
        .take(2)
        .cloned()
        .map(|target| {
            let adapter = adapter.clone();
            tokio::spawn(async move { grant(&adapter, &target, soon).await })
        })
        .collect();
    while world.in_progress() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let error = grant(&adapter, &targets[2], soon).await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::RateLimited { .. }),
        "{error:?}"
    );
    assert_eq!(error.effect, Effect::None);
    let revoked = revoke(&adapter, &targets[2], soon).await;
    assert_eq!(revoked.unwrap(), Answer::Applied);
    world.calm();
    for granted in watched {
        assert_eq!(granted.await.unwrap().unwrap(), Answer::Applied);
    }
}

#[tokio::test]
async fn two_instances_of_one_region_share_its_budget() {
    let scene = Scene::new();
    let limits = Limits {
        calls_per_second: 4,
        ..AMPLE
    };
    let clock: std::sync::Arc<dyn Clock> = scene.clock.clone();
    let budget = std::sync::Arc::new(crate::Budget::new(limits, clock.clone()));
    let of = || {
        let config = aws_config::SdkConfig::builder()
            .credentials_provider(key())
            .build();
        crate::IdentityCenter::with_sdk_config(
            settings(&scene.sim),
            budget.clone(),
            clock.clone(),
            config,
        )
        .unwrap()
    };
    let (one, other) = (of(), of());
    super::inspect(&one, &scene.target()).await.unwrap();
    // Three of four calls are gone: the listing of operations fits, the rest does not.
    let error = super::inspect(&other, &scene.target()).await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::RateLimited { .. }),
        "{error:?}"
    );
}

/// Why it failed is said by AWS alone, to whoever asks about the operation.
#[tokio::test]
async fn an_operation_that_fails_when_nobody_watches_any_more_is_asked_about() {
    let scene = Scene::slow();
    let why = aws_sim::Hostility::Fail("the role cannot be made".to_owned());
    scene.world().hostile("CreateAccountAssignment", why);
    assert_eq!(scene.grant().await.unwrap(), Answer::Accepted);
    scene.world().take_calls();
    scene.pass(Duration::from_secs(10));
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    let calls = scene.world().take_calls();
    let asked = calls
        .iter()
        .filter(|call| call.action == "sso:DescribeAccountAssignmentCreationStatus");
    assert_eq!(asked.count(), 1, "{calls:#?}");
}
