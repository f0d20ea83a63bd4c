//! Long polls, in virtual time.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::calls::{Reply, approve, get, id, open};
use crate::world::{ADMINS, World};

async fn waiting(world: &World, token: &str, request: &Value, query: &str) -> (Reply, Duration) {
    let started = Instant::now();
    let path = format!("/v1/requests/{}?{query}", id(request));
    let reply = get(world, token, &path).await;
    (reply, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_the_request_changes() {
    let world = World::new();
    let (ana, bob) = (
        world.token("ana@example.com").await,
        world.token("bob@example.com").await,
    );
    let opened = open(&world, &ana, ADMINS).await;
    let decided = async {
        tokio::time::sleep(Duration::from_millis(3_100)).await;
        approve(&world, &bob, &opened).await
    };
    let ((reply, took), _) =
        tokio::join!(waiting(&world, &ana, &opened, "wait=30s&seen=1"), decided);
    assert_eq!(reply.json()["status"], "approved");
    assert_eq!(took, Duration::from_millis(3_500));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_without_a_change_ends_at_its_deadline() {
    let world = World::new();
    let ana = world.token("ana@example.com").await;
    let opened = open(&world, &ana, ADMINS).await;
    for (query, secs) in [
        ("wait=7s", 7),
        ("wait=45s&seen=1", 45),
        ("wait=400d", 60),
        ("seen=1", 0),
    ] {
        let (reply, took) = waiting(&world, &ana, &opened, query).await;
        assert_eq!(reply.json()["status"], "pending", "{query}");
        assert_eq!(took, Duration::from_secs(secs), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_before_the_poll_is_answered_at_once() {
    let world = World::new();
    let ana = world.token("ana@example.com").await;
    let opened = open(&world, &ana, ADMINS).await;
    let (reply, took) = waiting(&world, &ana, &opened, "wait=30s&seen=0").await;
    assert_eq!((reply.status.as_u16(), took), (200, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_right_to_see_is_judged_again_after_the_wait() {
    let world = World::new();
    let (ana, bob) = (
        world.token("ana@example.com").await,
        world.token("bob@example.com").await,
    );
    let opened = open(&world, &ana, ADMINS).await;
    let leaves = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world
            .people
            .change("bob@example.com", |bob| bob.groups.clear());
    };
    let ((reply, _), ()) = tokio::join!(waiting(&world, &bob, &opened, "wait=5s"), leaves);
    assert_eq!(reply.refusal(), (404, "unknown_request".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_be_read_is_refused() {
    let world = World::new();
    let ana = world.token("ana@example.com").await;
    let opened = open(&world, &ana, ADMINS).await;
    for query in [
        "wait=30",
        "wait=0s",
        "wait=30M",
        "seen=-1",
        "seen=1e9",
        "until=now",
    ] {
        let (reply, took) = waiting(&world, &ana, &opened, query).await;
        assert_eq!(reply.refusal(), (422, "bad_value".to_owned()), "{query}");
        assert_eq!(took, Duration::ZERO);
    }
}
