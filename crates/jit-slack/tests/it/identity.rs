//! S10: who clicks is who they are in Slack's own words at that moment, and else nobody.

use std::sync::Arc;
use std::time::Duration;

use jit_core::ports::{Commit, RequestStore, Row, RowChange};
use jit_core::request::Status;
use jit_slack::Names;
use jit_testkit::stage::id;
use jit_testkit::store::MemoryStore;
use serde_json::{Value, json};
use slack_sim::{Message, SlackSim, Switch, Workspace};

use crate::world::{By, World, settings};

const TEAM: &str = "T0EXAMPLE1";

/// A click on the approving button of a card, as Slack sends it.
pub(crate) fn approves(card: &Message, user: &str, team: &Value) -> Value {
    let mut elements = card.elements().into_iter();
    let button = elements.find(|it| it["action_id"] == "jit_approve");
    json!({
        "type": "block_actions", "user": {"id": user, "team_id": TEAM}, "team": team,
        "container": {"type": "message", "message_ts": card.ts, "channel_id": card.channel},
        "channel": {"id": card.channel}, "trigger_id": "1.2.3",
        "actions": [{"type": "button", "action_id": "jit_approve", "block_id": "decide",
            "action_ts": format!("1790000001.{user}"), "value": button.unwrap()["value"]}],
    })
}

/// Waits until somebody was told this and nobody else saw it.
async fn told_alone(world: &World, user: &str, says: &str) {
    let told = |slack: &slack_sim::SlackSim| {
        let mut calls = slack.calls("chat.postEphemeral").into_iter();
        calls.any(|call| call.body["user"] == user && call.body.to_string().contains(says))
    };
    world
        .until(&format!("{user} was told {says:?}"), told)
        .await;
}

async fn nothing_was_decided(world: &World) {
    world.worked_through().await;
    let request = world.request(Status::Pending).await;
    assert!(request.approvals.is_empty(), "{request:?}");
}

#[tokio::test]
async fn s10_who_is_nobody_here_decides_nothing_and_is_told_alone_what_to_do() {
    for (user, says) in [
        (
            "U0OTHERBOT",
            "Only people can use this; programs have an API",
        ),
        ("U0GONE", "Ask an operator to restore it"),
        ("U0GUEST", "Ask a member to help you"),
        ("U0FAR", "a member of another workspace"),
    ] {
        let world = World::new().await;
        world.ask("U0ANA", "memory/admins").await;
        let card = world.card("U0BOB", "Pending").await;
        // The directory takes them for somebody who may approve.
        let alias = format!("slack:{user}").parse().unwrap();
        world
            .people
            .aliases
            .lock()
            .unwrap()
            .insert(alias, id("bob"));
        let click = approves(&card, user, &json!({"id": TEAM}));
        let sent = world.slack.raw(None, "interactive", click).await;
        assert!(sent.acked(), "{user}");
        told_alone(&world, user, says).await;
        nothing_was_decided(&world).await;
    }
}

#[tokio::test]
async fn s10_a_click_from_another_workspace_is_nobodys_whatever_it_says_of_its_user() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let mut click = approves(&card, "U0BOB", &json!({"id": "T0ELSEWHR"}));
    click["user"]["team_id"] = "T0ELSEWHR".into();
    assert!(world.slack.raw(None, "interactive", click).await.acked());
    told_alone(&world, "U0BOB", "a member of another workspace").await;
    nothing_was_decided(&world).await;
}

#[tokio::test]
async fn s10_who_was_one_person_does_not_decide_as_another() {
    let world = World::new().await;
    let cleo = world.slack.user("U0CLEO");
    cleo.slash("/jit", "list").in_channel("C0SEC").await;
    world.told(&cleo, "C0SEC", "asked for nothing").await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0CLEO", "Pending").await;
    let alias = "slack:U0CLEO".parse().unwrap();
    world
        .people
        .aliases
        .lock()
        .unwrap()
        .insert(alias, id("bob"));
    assert!(cleo.click(&card, "jit_approve").await.acked());
    world.told(&cleo, "C0SEC", "more than one person").await;
    nothing_was_decided(&world).await;
}

/// How the service hears that an account was deactivated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Slack says so at once.
    InAnEvent,
    /// It is asked about again, after what was known of it is five minutes old.
    WhenAsked,
}

#[tokio::test]
async fn s10_who_was_deactivated_decides_nothing_any_more() {
    for heard in [Heard::InAnEvent, Heard::WhenAsked] {
        let world = World::new().await;
        let bob = world.slack.user("U0BOB");
        bob.slash("/jit", "list").in_channel("C0SEC").await;
        world.told(&bob, "C0SEC", "asked for nothing").await;
        world.ask("U0ANA", "memory/admins").await;
        let card = world.card("U0ANA", "Pending").await;
        match heard {
            Heard::InAnEvent => assert!(world.slack.deactivate("U0BOB").await.acked()),
            Heard::WhenAsked => {
                world.slack.refuse_sockets(Switch::On);
                world.slack.cut_sockets();
                world
                    .until("no connection", |slack| slack.connections() == 0)
                    .await;
                world.slack.deactivate("U0BOB").await;
                world.slack.refuse_sockets(Switch::Off);
                world.clock.advance(Duration::from_secs(300));
                world
                    .until("a connection", |slack| slack.connections() > 0)
                    .await;
            }
        }
        let click = approves(&card, "U0BOB", &json!({"id": TEAM}));
        assert!(world.slack.raw(None, "interactive", click).await.acked());
        told_alone(&world, "U0BOB", "Ask an operator to restore it").await;
        nothing_was_decided(&world).await;
    }
}

#[tokio::test]
async fn who_a_slack_user_was_found_to_be_is_written_as_it_was_released() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/jit", "list").in_channel("C0SEC").await;
    world.told(&ana, "C0SEC", "asked for nothing").await;
    for (table, key, value) in [
        ("slack_user", "U0ANA", "ana@example.com"),
        ("slack_person", "ana@example.com", "U0ANA"),
    ] {
        let row = world.store.row(table, key).await.unwrap();
        assert_eq!(row.unwrap().value, value, "{table}");
    }
}

/// A service that met nobody yet and has what an earlier release wrote down.
async fn after_an_upgrade(rows: &[(&'static str, &str, &str)]) -> World {
    let workspace = Workspace::example().group("S0OFFICERS", &["U0ANA"]);
    let slack = SlackSim::start(workspace).await;
    let store = Arc::new(MemoryStore::new());
    let rows = rows.iter().map(|(table, key, value)| RowChange {
        row: Row {
            table,
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        },
        expected: None,
    });
    let commit = Commit {
        rows: rows.collect(),
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    World::knowing(Names::default(), slack, store, By::Socket, settings()).await
}

#[tokio::test]
async fn s10_whom_a_user_was_found_to_be_by_an_earlier_release_they_stay() {
    let world = after_an_upgrade(&[("slack_user", "U0ANA", "bob@example.com")]).await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/jit", "list").in_channel("C0SEC").await;
    world.told(&ana, "C0SEC", "more than one person").await;
}

#[tokio::test]
async fn who_was_met_by_an_earlier_release_is_in_their_user_groups() {
    let officers = "slack:S0OFFICERS".parse().unwrap();
    for (rows, is_met) in [
        (vec![("slack_person", "ana@example.com", "U0ANA")], true),
        (vec![], false),
    ] {
        let world = after_an_upgrade(&rows).await;
        let alias = "slack:U0ANA".parse().unwrap();
        world.people.aliases.lock().unwrap().remove(&alias);
        let known = world.directory.profile(&id("ana")).await.unwrap().unwrap();
        assert_eq!(known.groups.contains(&officers), is_met, "{known:?}");
    }
}
