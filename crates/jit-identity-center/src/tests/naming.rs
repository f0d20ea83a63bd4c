//! Accounts by the names that `offers` gives them.

use std::time::Duration;

use aws_sim::AccessKey;
use jit_core::ports::{Effect, ErrorKind, Provisioner};
use jit_testkit::provisioner::Ask;

use super::{EIGHT_HOURS, PRODUCTION, Scene, ask, resolve};
use crate::GRANT_ACTIONS;

const ANA: &str = "ana@example.com";
const SECOND: &str = "333333333333";

/// The account that a resource leads to, or the kind of the refusal and its words.
async fn account(scene: &Scene, resource: &str) -> Result<String, (ErrorKind, String)> {
    match scene.resolve(ANA, resource).await {
        Ok(resolved) => {
            let (account, set) = resolved.target.resource.split_once('/').unwrap();
            assert_eq!(set, scene.set, "the target has the ARN");
            Ok(account.to_owned())
        }
        Err(error) => {
            assert_eq!(error.effect, Effect::None);
            Err((error.kind, error.chain()))
        }
    }
}

async fn refused(scene: &Scene, resource: &str, kind: ErrorKind, words: &str) {
    let (refused_as, chain) = account(scene, resource).await.unwrap_err();
    assert_eq!(refused_as, kind, "{resource}: {chain}");
    assert!(chain.contains(words), "{chain:?} does not say {words:?}");
}

fn listed(scene: &Scene) -> usize {
    let calls = scene.world().take_calls().into_iter();
    let lists = calls.filter(|call| call.action.ends_with(":ListAccounts"));
    lists.count()
}

#[tokio::test]
async fn an_account_s_name_and_its_id_are_one_target() {
    let scene = Scene::new();
    let set = scene.set.clone();
    let by_id = scene.resolve(ANA, &format!("{PRODUCTION}/ReadOnly")).await;
    let by_id = by_id.unwrap();
    assert_eq!(by_id.target, scene.target());
    let of = |it: &jit_core::provider::Resolved| (it.target.clone(), it.residual);
    for resource in [
        "production/ReadOnly".to_owned(),
        format!("production/{set}"),
    ] {
        let by_name = scene.resolve(ANA, &resource).await.unwrap();
        assert_eq!(of(&by_name), of(&by_id), "{resource}");
    }
}

/// The account is called `Production`: its name is in lower case however AWS has it, and no other
/// spelling answers, because rules are held against what is written.
#[tokio::test]
async fn a_name_is_in_lower_case_and_no_other_spelling_answers() {
    let scene = Scene::new();
    assert_eq!(
        account(&scene, "production/ReadOnly").await.unwrap(),
        PRODUCTION
    );
    scene.world().take_calls();
    for other in ["Production/ReadOnly", "PRODUCTION/ReadOnly"] {
        refused(&scene, other, ErrorKind::NotFound, "lower case").await;
    }
    assert!(scene.world().calls().is_empty(), "nothing is asked for it");
    let (kind, _) = account(&scene, "production/readonly").await.unwrap_err();
    assert_eq!(kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn every_offer_is_found_by_its_name() {
    let scene = Scene::new();
    let world = scene.world();
    world.add_account(SECOND, "PRODUCTION");
    world.add_account("444444444444", "222222222222");
    world.add_account("555555555555", "Dev & Test");
    world.add_account("666666666666", "dev-222222222222");
    world.add_permission_set("Odd=Name,Really", EIGHT_HOURS);
    let offers = scene.adapter.offers().await.unwrap();
    assert_eq!(offers.len(), 5, "the odd name is left out");
    for offer in offers {
        let resolved = scene.resolve(ANA, &offer.name).await.unwrap();
        assert_eq!(resolved.target.resource, offer.resource, "{}", offer.name);
    }
}

#[tokio::test]
async fn twelve_digits_are_an_id_whatever_an_account_is_called() {
    let scene = Scene::new();
    scene.world().add_account(SECOND, PRODUCTION);
    let by_digits = account(&scene, &format!("{PRODUCTION}/ReadOnly")).await;
    assert_eq!(by_digits.unwrap(), PRODUCTION);
    let by_name = account(&scene, &format!("{PRODUCTION}-{SECOND}/ReadOnly")).await;
    assert_eq!(by_name.unwrap(), SECOND);
}

#[tokio::test]
async fn one_name_of_two_accounts_is_never_guessed() {
    let scene = Scene::new();
    let own = format!("production-{PRODUCTION}/ReadOnly");
    // While it is the only one, it has no other name.
    refused(&scene, &own, ErrorKind::NotFound, "no active account").await;
    scene.world().add_account(SECOND, "production");
    scene.pass(Duration::from_secs(180));
    let words = format!("write production-{PRODUCTION} or production-{SECOND}");
    refused(
        &scene,
        "production/ReadOnly",
        ErrorKind::Misconfigured,
        &words,
    )
    .await;
    assert_eq!(account(&scene, &own).await.unwrap(), PRODUCTION);
    let other = format!("production-{SECOND}/ReadOnly");
    assert_eq!(account(&scene, &other).await.unwrap(), SECOND);
}

#[tokio::test]
async fn names_are_remembered_for_a_while_and_asked_for_once_more_where_one_is_missing() {
    let scene = Scene::new();
    account(&scene, "production/ReadOnly").await.unwrap();
    assert_eq!(listed(&scene), 1);
    account(&scene, "production/ReadOnly").await.unwrap();
    assert_eq!(listed(&scene), 0);

    // A new account is there at once, and what is nowhere is looked for once.
    scene.world().add_account(SECOND, "Brand New");
    let found = account(&scene, "brand-new/ReadOnly").await;
    assert_eq!(found.unwrap(), SECOND);
    assert_eq!(listed(&scene), 1);
    refused(
        &scene,
        "nowhere/ReadOnly",
        ErrorKind::NotFound,
        "\"nowhere\"",
    )
    .await;
    assert_eq!(listed(&scene), 1);
}

#[tokio::test]
async fn many_who_ask_at_once_list_the_accounts_once() {
    let scene = Scene::new();
    let asks = [(); 8].map(|()| account(&scene, "production/ReadOnly"));
    let [a, b, c, d, e, f, g, h] = asks;
    let all = tokio::join!(a, b, c, d, e, f, g, h);
    assert_eq!(all.7.unwrap(), PRODUCTION);
    assert_eq!(listed(&scene), 1);
}

#[tokio::test]
async fn a_renamed_account_answers_to_its_old_name_for_three_minutes_at_most() {
    let scene = Scene::new();
    account(&scene, "production/ReadOnly").await.unwrap();
    scene.world().add_account(PRODUCTION, "Shop");
    scene.pass(Duration::from_secs(179));
    assert_eq!(
        account(&scene, "production/ReadOnly").await.unwrap(),
        PRODUCTION
    );
    scene.pass(Duration::from_secs(1));
    let old = "production/ReadOnly";
    refused(&scene, old, ErrorKind::NotFound, "no active account").await;
    assert_eq!(account(&scene, "shop/ReadOnly").await.unwrap(), PRODUCTION);
}

#[tokio::test]
async fn a_suspended_account_and_the_management_account_have_no_names() {
    let scene = Scene::new();
    scene.world().suspend_account(PRODUCTION);
    for name in ["production/ReadOnly", "management/ReadOnly"] {
        refused(&scene, name, ErrorKind::NotFound, "no active account").await;
    }
}

#[tokio::test]
async fn where_accounts_may_not_be_listed_it_is_said_what_to_do() {
    let scene = Scene::new();
    let all = GRANT_ACTIONS.iter().copied();
    let all: Vec<&str> = all
        .filter(|it| *it != "organizations:ListAccounts")
        .collect();
    scene.world().set_key(AccessKey::default().allowing(&all));
    let name = "production/ReadOnly";
    let words = "allow organizations:ListAccounts, or write the twelve digits of its id";
    refused(&scene, name, ErrorKind::Misconfigured, words).await;
    let by_id = account(&scene, &format!("{PRODUCTION}/ReadOnly")).await;
    assert_eq!(by_id.unwrap(), PRODUCTION);
}

#[tokio::test]
async fn a_listing_that_fails_is_never_a_missing_account() {
    let scene = Scene::new();
    let hostility = aws_sim::Hostility::InternalError;
    scene.world().hostile("ListAccounts", hostility);
    let error = scene.resolve(ANA, "production/ReadOnly").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

/// As the catalogue makes a member of a family: its resource is its name.
fn member(name: &str) -> Ask {
    let mut member = ask(ANA, name);
    member.entitlement.id = format!("aws/{name}").parse().unwrap();
    member
}

/// The engine refuses an ask under another name than the one that `resolve` says.
#[tokio::test]
async fn a_member_of_a_family_has_one_name_whatever_it_was_asked_for_by() {
    let scene = Scene::new();
    let (aws, by_id) = (&scene.adapter, format!("{PRODUCTION}/ReadOnly"));
    let by_arn = format!("production/{}", scene.set);
    for name in [by_id.as_str(), &by_arn, "production/ReadOnly"] {
        let resolved = resolve(aws, &member(name)).await.unwrap();
        assert_eq!(resolved.target, scene.target());
        assert_eq!(resolved.name.as_deref(), Some("production/ReadOnly"));
    }
    // So has what is written down: else it would be one thing under two tiers.
    let written = resolve(aws, &ask(ANA, &by_id)).await.unwrap();
    assert_eq!(written.name.as_deref(), Some("production/ReadOnly"));
    // By ids, where the operator wants what no renaming changes.
    let by_ids = scene.another(|settings| settings.accounts = crate::AccountNames::Ids);
    let resolved = resolve(&by_ids, &member("production/ReadOnly"))
        .await
        .unwrap();
    assert_eq!(resolved.name.as_deref(), Some(by_id.as_str()));
    let offers = by_ids.offers().await.unwrap();
    assert!(
        offers
            .iter()
            .all(|offer| offer.name.starts_with(char::is_numeric))
    );
    assert!(
        offers
            .iter()
            .any(|offer| offer.title.contains("Production")),
        "{offers:?}"
    );

    // An account that came after the last listing has a name all the same.
    scene.world().add_account(SECOND, "Brand New");
    let resolved = resolve(aws, &member(&format!("{SECOND}/ReadOnly"))).await;
    let name = resolved.unwrap().name;
    assert_eq!(name.as_deref(), Some("brand-new/ReadOnly"));

    // Where accounts have no names, their ids are the only ones.
    let all = GRANT_ACTIONS.iter().copied();
    let all: Vec<&str> = all
        .filter(|it| *it != "organizations:ListAccounts")
        .collect();
    scene.world().set_key(AccessKey::default().allowing(&all));
    let unlisted = scene.another(|_| {});
    let resolved = resolve(&unlisted, &member(&by_id)).await.unwrap();
    assert_eq!(resolved.name, Some(by_id));
}
