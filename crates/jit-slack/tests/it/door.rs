//! What comes in at the door: of whole organisations, of cards that are out of date, under other
//! names, and at several doors at once.

use std::sync::Arc;

use futures_util::future::join_all;
use jit_core::request::{Approver, Status};
use jit_slack::Commands;
use jit_testkit::stage::id;
use jit_testkit::store::MemoryStore;
use serde_json::{Value, json};
use slack_sim::{SlackSim, Workspace};

use crate::identity::approves;
use crate::world::{By, World, settings};

#[tokio::test]
async fn where_the_app_is_installed_for_an_organisation_the_workspace_is_the_users() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let click = approves(&card, "U0BOB", &Value::Null);
    assert!(world.slack.raw(None, "interactive", click).await.acked());
    let active = world.request(Status::Active).await;
    assert_eq!(active.approvals[0].by, Approver::Person(id("bob")));
}

#[tokio::test]
async fn s12_who_clicks_on_something_else_than_is_there_is_told_to_look_again() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let request = world.request(Status::Pending).await;
    let click = approves(&card, "U0BOB", &json!({"id": "T0EXAMPLE1"}));
    let (was, other) = (request.digest().prefix(), "0123456789abcdef");
    let click = click.to_string().replace(was.as_str(), other);
    assert!(click.contains(other), "the button carries the digest");
    let click = serde_json::from_str(&click).unwrap();
    assert!(world.slack.raw(None, "interactive", click).await.acked());
    let bob = world.slack.user("U0BOB");
    world
        .told(&bob, "C0SEC", "is not what you were shown")
        .await;
    world.worked_through().await;
    assert!(world.request(Status::Pending).await.approvals.is_empty());
}

#[tokio::test]
async fn a_command_that_was_renamed_works_under_its_new_name_and_says_it() {
    let mut renamed = settings();
    renamed.commands = Commands {
        jit: "/access".to_owned(),
        ..renamed.commands
    };
    let world = World::with(By::Socket, renamed).await;
    let ana = world.slack.user("U0ANA");
    assert!(
        ana.slash("/access", "help")
            .in_channel("C0SEC")
            .await
            .acked()
    );
    world.told(&ana, "C0SEC", "/access list").await;
    assert!(ana.slash("/access", "").in_channel("C0SEC").await.acked());
    ana.modal().await;
}

/// Two processes on one store, each with connections of its own.
#[tokio::test]
async fn what_comes_in_at_two_doors_happens_once() {
    let slack = Arc::new(SlackSim::start(Workspace::example()).await);
    let store = Arc::new(MemoryStore::new());
    let start = || World::around(slack.clone(), store.clone(), By::Socket, settings());
    let (one, _other) = (start().await, start().await);
    one.until("connections of both", |slack| slack.connections() == 6)
        .await;
    one.ask("U0ANA", "memory/vault").await;
    let card = one.card("U0BOB", "Pending").await;
    let click = approves(&card, "U0BOB", &json!({"id": "T0EXAMPLE1"}));
    // Each is sent to any of the six.
    let sent = (0..32).map(|_| slack.raw(None, "interactive", click.clone()));
    let sent = join_all(sent).await;
    assert!(sent.iter().all(slack_sim::Outcome::acked));
    one.card("U0BOB", "1 of 2").await;
    one.worked_through().await;
    let request = one.request(Status::Pending).await;
    assert_eq!(request.approvals.len(), 1);
    let seen = slack.user("U0BOB").messages("C0SEC").await;
    let told: Vec<_> = seen.iter().filter(|it| it.ephemeral).collect();
    assert!(
        told.is_empty(),
        "it was taken for a second click: {told:#?}"
    );
}
