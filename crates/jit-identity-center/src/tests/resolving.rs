//! Who and what: every input that leads nowhere is refused, by name.

use std::time::Duration;

use aws_sim::AccessKey;
use jit_core::ports::{Effect, ErrorKind, PortError};

use super::{EIGHT_HOURS, PRODUCTION, Scene, ask, ask_as, resolve};
use crate::UserLookup;

/// The ARN of a permission set that nobody made.
pub(super) fn other_set(arn: &str) -> String {
    let (instance, _) = arn.rsplit_once('/').unwrap();
    format!("{instance}/ps-0000000000000000")
}

fn refused<T: std::fmt::Debug>(answer: Result<T, PortError>, kind: ErrorKind, why: &str) {
    let error = answer.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (kind, Effect::None),
        "{error:?}"
    );
    let chain = error.chain();
    assert!(chain.contains(why), "{chain:?} does not say {why:?}");
    assert!(!chain.contains("example.com"), "an address is in {chain:?}");
}

#[tokio::test]
async fn a_person_and_a_permission_set_become_the_ids_that_a_revoke_needs() {
    let scene = Scene::new();
    let by_name = format!("{PRODUCTION}/ReadOnly");
    let resolved = scene.resolve("ana@example.com", &by_name).await.unwrap();
    assert_eq!(resolved.target, scene.target());
    assert_eq!(resolved.residual, Some(EIGHT_HOURS));

    let by_arn = scene.target().resource;
    for subject in ["ana", scene.ana.as_str()] {
        let again = resolve(&scene.adapter, &ask_as(subject, &by_arn)).await;
        assert_eq!(again.unwrap(), resolved, "{subject}");
    }
    let by_user_name = scene.another(|settings| settings.users = UserLookup::UserName);
    let again = resolve(&by_user_name, &ask("ana", &by_arn)).await.unwrap();
    assert_eq!(again, resolved);
}

#[tokio::test]
async fn the_residual_is_the_session_of_the_permission_set() {
    let scene = Scene::new();
    let sessions = [3_600, 5_400, 12 * 3_600].map(Duration::from_secs);
    for (number, session) in sessions.into_iter().enumerate() {
        let name = format!("Set{number}");
        scene.world().add_permission_set(&name, session);
        let resource = format!("{PRODUCTION}/{name}");
        let resolved = scene.resolve("ana@example.com", &resource).await.unwrap();
        assert_eq!(resolved.residual, Some(session));
    }
}

#[tokio::test]
async fn what_cannot_be_a_resource_is_refused_before_anything_is_asked() {
    let scene = Scene::new();
    for resource in [
        "",
        "ReadOnly",
        "/ReadOnly",
        "222222222222/",
        "pro duction/ReadOnly",
        "größe/ReadOnly",
    ] {
        let refusal = scene.resolve("ana@example.com", resource).await;
        refused(
            refusal,
            ErrorKind::Misconfigured,
            "account of twelve digits",
        );
    }
    let mut with_parameters = ask("ana@example.com", &scene.target().resource);
    with_parameters.parameters.insert("a".to_owned(), 1.into());
    let refusal = resolve(&scene.adapter, &with_parameters).await;
    refused(refusal, ErrorKind::Misconfigured, "takes no parameters");
    assert!(scene.world().calls().is_empty());
}

#[tokio::test]
async fn an_unknown_account_permission_set_or_user_is_not_found() {
    let scene = Scene::new();
    let ana = "ana@example.com";
    let refusal = scene.resolve(ana, "333333333333/ReadOnly").await;
    refused(refusal, ErrorKind::NotFound, "no account 333333333333");
    let refusal = scene.resolve(ana, &format!("{PRODUCTION}/Admin")).await;
    refused(refusal, ErrorKind::NotFound, "no permission set \"Admin\"");
    // Names are exact.
    let refusal = scene.resolve(ana, &format!("{PRODUCTION}/readonly")).await;
    refused(refusal, ErrorKind::NotFound, "no permission set");
    let never = format!("{PRODUCTION}/{}", other_set(&scene.set));
    let refusal = scene.resolve(ana, &never).await;
    refused(refusal, ErrorKind::NotFound, "no permission set");
    let resource = scene.target().resource;
    let refusal = scene.resolve("eve@example.com", &resource).await;
    refused(refusal, ErrorKind::NotFound, "no such user");
    let nobody = "aabbccdd-1122-3344-5566-77889900aabb";
    let refusal = resolve(&scene.adapter, &ask_as(nobody, &resource)).await;
    refused(refusal, ErrorKind::NotFound, "no such user");
}

#[tokio::test]
async fn a_person_in_another_letter_case_is_the_same_person_or_nobody() {
    let scene = Scene::new();
    let resource = scene.target().resource;
    let resolved = scene.resolve("Ana@Example.com", &resource).await.unwrap();
    assert_eq!(resolved.target, scene.target());
    let resolved = resolve(&scene.adapter, &ask_as("ANA", &resource))
        .await
        .unwrap();
    assert_eq!(resolved.target, scene.target());

    // Two users whose names differ in letter case only: neither is guessed.
    scene.world().add_user("Ana", "Ana@example.com");
    let refusal = resolve(&scene.adapter, &ask_as("Ana", &resource)).await;
    refused(refusal, ErrorKind::Misconfigured, "more than one user");
    // The id of a principal has no letter case, so it is the address as it is written.
    let resolved = scene.resolve("Ana@example.com", &resource).await.unwrap();
    assert_eq!(resolved.target, scene.target());
    // An id leads to exactly one.
    let by_id = resolve(&scene.adapter, &ask_as(&scene.ana, &resource)).await;
    assert_eq!(by_id.unwrap().target, scene.target());
}

#[tokio::test]
async fn a_disabled_user_is_given_nothing() {
    let scene = Scene::new();
    scene.world().set_disabled(&scene.ana, true);
    let refusal = scene
        .resolve("ana@example.com", &scene.target().resource)
        .await;
    refused(refusal, ErrorKind::Misconfigured, "disabled");
}

#[tokio::test]
async fn a_permission_set_that_is_made_anew_under_its_name_is_found_again() {
    let scene = Scene::new();
    let by_name = format!("{PRODUCTION}/ReadOnly");
    scene.resolve("ana@example.com", &by_name).await.unwrap();
    scene.world().delete_permission_set(&scene.set);
    let refusal = scene.resolve("ana@example.com", &by_name).await;
    refused(refusal, ErrorKind::NotFound, "no permission set");

    let anew = scene.world().add_permission_set("ReadOnly", EIGHT_HOURS);
    let resolved = scene.resolve("ana@example.com", &by_name).await.unwrap();
    assert_eq!(resolved.target.resource, format!("{PRODUCTION}/{anew}"));
}

#[tokio::test]
async fn what_is_known_of_permission_sets_is_not_asked_again() {
    let scene = Scene::new();
    scene.world().fill(0, 20);
    let by_name = format!("{PRODUCTION}/Set00007");
    scene.resolve("ana@example.com", &by_name).await.unwrap();
    scene.world().take_calls();
    scene.resolve("ana@example.com", &by_name).await.unwrap();
    let described = scene.asked().into_iter();
    assert_eq!(
        described.filter(|it| it == "DescribePermissionSet").count(),
        1
    );
}

#[tokio::test]
async fn the_management_account_is_never_given() {
    let scene = Scene::new();
    let refusal = scene
        .resolve("ana@example.com", "111111111111/ReadOnly")
        .await;
    let why = "assignments on it cannot be made from a delegated administrator account";
    refused(refusal, ErrorKind::Misconfigured, why);
}

#[tokio::test]
async fn a_closed_account_is_refused() {
    let scene = Scene::new();
    scene.world().suspend_account(PRODUCTION);
    let refusal = scene
        .resolve("ana@example.com", &scene.target().resource)
        .await;
    refused(refusal, ErrorKind::Misconfigured, "not active");
}

#[tokio::test]
async fn where_organizations_may_not_be_asked_only_provisioned_accounts_are_believed() {
    let scene = Scene::new();
    let allowed: Vec<&str> = crate::GRANT_ACTIONS
        .iter()
        .copied()
        .filter(|action| !action.starts_with("organizations:"))
        .collect();
    scene
        .world()
        .set_key(AccessKey::default().allowing(&allowed));
    let resource = scene.target().resource;
    let refusal = scene.resolve("ana@example.com", &resource).await;
    refused(
        refusal,
        ErrorKind::Misconfigured,
        "organizations:DescribeAccount",
    );

    let eve = scene.world().add_user("eve", "eve@example.com");
    scene.world().assign(PRODUCTION, &scene.set, &eve);
    let resolved = scene.resolve("ana@example.com", &resource).await.unwrap();
    assert_eq!(resolved.target, scene.target());
}

#[tokio::test]
async fn a_wrong_store_instance_or_arn_is_never_taken_for_a_missing_person() {
    let scene = Scene::new();
    let resource = scene.target().resource;
    let elsewhere = scene.another(|it| it.identity_store_id = "d-0000000000".to_owned());
    for ask in [
        ask("ana@example.com", &resource),
        ask_as(&scene.ana, &resource),
    ] {
        let refusal = resolve(&elsewhere, &ask).await;
        refused(
            refusal,
            ErrorKind::Misconfigured,
            "identity store d-0000000000",
        );
    }
    let elsewhere = "arn:aws:sso:::instance/ssoins-0000000000000000";
    let elsewhere = scene.another(|it| it.instance_arn = elsewhere.to_owned());
    let by_name = format!("{PRODUCTION}/ReadOnly");
    let refusal = resolve(&elsewhere, &ask("ana@example.com", &by_name)).await;
    refused(refusal, ErrorKind::Misconfigured, "instance is not there");
    let refusal = resolve(&elsewhere, &ask("ana@example.com", &resource)).await;
    refused(
        refusal,
        ErrorKind::Misconfigured,
        "another Identity Center instance",
    );
}
