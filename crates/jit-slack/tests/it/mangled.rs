//! Mangled payloads through the whole door: whoever has no right gets none by breaking what Slack
//! sends, whoever has one exercises it only with a payload that is whole, and nothing panics.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use jit_core::request::{AccessRequest, Status};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::mangle::{Doer, Payload, accident, click, corpus, mangled};
use crate::world::World;

/// Payloads that go through the door.
const SENT: usize = 10_000;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts the panics of the adapter from now on; other tests of this process make their own.
fn count_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let ours = |place: &panic::Location<'_>| place.file().contains("jit-slack/src");
        if info.location().is_some_and(ours) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
}

/// The same with marks of its own, so that it is not taken for one that came before.
fn renumbered(payload: &Value, number: usize) -> Value {
    let mut text = payload.to_string();
    for (mark, new) in [
        ("13345224609.", format!("1{number}.")),
        ("12466734323.", format!("2{number}.")),
        ("1790000001.000300", format!("1790000001.{number:06}")),
        ("V0123456789", format!("V0{number}")),
        ("\"Ev0", format!("\"Ev{number}x")),
    ] {
        text = text.replace(mark, &new);
    }
    serde_json::from_str(&text).unwrap()
}

async fn send(world: &World, payloads: Vec<Payload>) {
    world.slack.time_scale(0.1);
    for some in payloads.chunks(50) {
        let sent = some.iter().cloned();
        join_all(sent.map(|(kind, payload)| world.slack.raw(None, kind, payload))).await;
    }
    // Until nobody is called any more, everything that was taken is worked on.
    let mut calls = 0;
    while calls < world.slack.calls("*").len() {
        calls = world.slack.calls("*").len();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    world.slack.time_scale(1.0);
}

async fn pending(world: &World) -> (AccessRequest, String) {
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    let request = world.request(Status::Pending).await;
    let about = format!("{}:{}", request.id, request.digest().prefix());
    (request, about)
}

/// Everything still works, once.
async fn approved_once(world: &World) {
    let card = world.card("U0BOB", "Pending").await;
    let bob = world.slack.user("U0BOB");
    assert!(bob.click(&card, "jit_approve").await.acked());
    let active = world.request(Status::Active).await;
    assert_eq!(active.approvals.len(), 1);
}

#[tokio::test]
async fn whoever_has_no_right_gets_none_by_breaking_payloads() {
    count_panics();
    let world = World::new().await;
    let (request, about) = pending(&world).await;
    let genuine = corpus(&Doer {
        user: "U0CLEO",
        team: "T0EXAMPLE1",
        about: &about,
        entitlement: "memory/nowhere",
    });
    let mut runner = TestRunner::deterministic();
    let accidents = accident();
    let payloads = (0..SENT).map(|number| {
        let (which, wrong) = accidents.new_tree(&mut runner).unwrap().current();
        let (kind, payload) = which.get(&genuine);
        (*kind, mangled(renumbered(payload, number), &wrong))
    });
    let whole = genuine.iter().enumerate();
    let whole = whole.map(|(number, (kind, payload))| (*kind, renumbered(payload, SENT + number)));
    send(&world, payloads.chain(whole).collect()).await;
    assert_eq!(world.requests().await, vec![request]);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    approved_once(&world).await;
}

#[tokio::test]
async fn a_right_is_exercised_only_by_a_whole_payload() {
    let world = World::new().await;
    let (request, about) = pending(&world).await;
    let doer = Doer {
        user: "U0BOB",
        team: "T0EXAMPLE1",
        about: &about,
        entitlement: "memory/admins",
    };
    let others = [
        json!(null),
        json!(true),
        json!(1),
        json!(""),
        json!([]),
        json!({}),
        json!("U0FAR"),
        json!("T0ELSEWHR"),
        json!("\0"),
        json!(format!("{about}0")),
        json!(about.to_uppercase().replace("REQ-", "req-")),
        json!(about.replace(':', "：")),
        json!(format!("{}:0123456789abcdef", request.id)),
        json!("x".repeat(100_000)),
    ];
    let mut payloads = vec![];
    for (action, value) in [("jit_approve", &about), ("jit_deny", &about)] {
        for place in [
            "/type",
            "/user",
            "/user/id",
            "/actions",
            "/actions/0",
            "/actions/0/action_id",
            "/actions/0/value",
            "/actions/0/action_ts",
            "/container",
        ] {
            for other in &others {
                let number = payloads.len();
                let mut payload = renumbered(&click(&doer, action, value), number);
                *payload.pointer_mut(place).unwrap() = other.clone();
                // A mark of another kind is a mark all the same.
                let still = place.ends_with("action_ts")
                    && other
                        .as_str()
                        .is_some_and(|it| (1..256).contains(&it.len()) && it != "\0");
                if !still {
                    payloads.push(("interactive", payload));
                }
            }
        }
    }
    send(&world, payloads).await;
    assert_eq!(world.requests().await, vec![request]);
    approved_once(&world).await;
}
