//! What Slack may do to us: calls that fail, connections that go, messages that are gone, inputs
//! that come twice, late or mangled. Nothing is lost, nothing happens twice, no end is late.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jit_core::engine::Verb;
use jit_core::ports::RequestStore;
use jit_core::principal::{Door, Principal};
use jit_core::request::{AccessRequest, Status};
use jit_testkit::stage::id;
use jit_testkit::store::MemoryStore;
use serde_json::json;
use slack_sim::{Disconnect, Fault, Signature, SlackSim, Switch, Times, Workspace};

use crate::world::{By, World, settings};

/// Lets a minute pass by the clock, a second at a time, while the workers work.
async fn a_minute(world: &World) {
    for _ in 0..60 {
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(8)).await;
    }
}

async fn cards(world: &World) -> Vec<slack_sim::Message> {
    let seen = world.slack.user("U0BOB").messages("C0SEC").await;
    let cards = seen
        .into_iter()
        .filter(|it| it.thread_ts.is_none() && !it.ephemeral);
    cards.collect()
}

/// As somebody at a terminal.
async fn approve(world: &World, request: &AccessRequest) {
    let bob = Principal {
        id: id("bob"),
        door: Door::Http,
    };
    let verb = Verb::Approve {
        ttl: None,
        digest: request.digest().prefix(),
    };
    world.engine.handle(&bob, request.id, verb).await.unwrap();
}

#[tokio::test]
async fn a_post_that_fails_is_made_up_for_and_makes_at_most_one_card_more() {
    for fault in [
        Fault::RateLimited { retry_after_s: 2 },
        Fault::ServerError,
        Fault::InvalidJson,
        Fault::NotJson,
        Fault::Api("internal_error"),
    ] {
        let world = World::new().await;
        let faults = world.slack.faults();
        faults.fail("chat.postMessage", fault.clone(), Times::Once);
        world.ask("U0ANA", "memory/admins").await;
        a_minute(&world).await;
        let shown = cards(&world).await;
        let most = if fault == Fault::InvalidJson { 2 } else { 1 };
        assert!((1..=most).contains(&shown.len()), "{fault:?}: {shown:#?}");
        // Both work.
        let bob = world.slack.user("U0BOB");
        assert!(bob.click(&shown[0], "jit_approve").await.acked());
        world.request(Status::Active).await;
    }
}

/// Whoever is killed between the two tells nobody, and whoever takes over must not do it again.
#[tokio::test]
async fn what_an_input_asked_for_and_that_it_is_done_are_one_step() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    assert!(ana.slash("/jit", "").in_channel("C0SEC").await.acked());
    let form = ana.modal().await;
    form.pick("target", "memory/admins").await;
    let chosen = |view: &serde_json::Value| view.to_string().contains("\"policy\"");
    let form = ana.modal_where(chosen).await;
    form.fill("reason", "the checkout is down");
    world.worked_through().await;
    // What became of it cannot be told for ten seconds.
    let faults = world.slack.faults();
    faults.fail("views.update", Fault::Silence, Times::Always);
    form.submit().await;
    let card = world.card("U0BOB", "Approve").await;
    assert_eq!(world.store.inputs_left(), 0, "asked, and the input is done");

    let bob = world.slack.user("U0BOB");
    assert!(bob.click(&card, "jit_approve").await.acked());
    world.request(Status::Active).await;
    assert_eq!(
        world.store.inputs_left(),
        0,
        "approved, and the input is done"
    );
}

#[tokio::test]
async fn a_card_catches_up_after_updates_that_failed() {
    // A page that some proxy puts in the place of Slack's answer is a failure as well.
    for fault in [Fault::ServerError, Fault::NotJson] {
        let world = World::new().await;
        world.ask("U0ANA", "memory/admins").await;
        let card = world.card("U0BOB", "Pending").await;
        let faults = world.slack.faults();
        faults.fail("chat.update", fault, Times::N(3));
        world.slack.user("U0BOB").click(&card, "jit_approve").await;
        world.request(Status::Active).await;
        a_minute(&world).await;
        world.card("U0BOB", "active until").await;
        assert_eq!(cards(&world).await.len(), 1);
    }
}

#[tokio::test]
async fn a_card_that_somebody_deleted_is_posted_again() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let faults = world.slack.faults();
    faults.fail("chat.update", Fault::Api("message_not_found"), Times::Once);
    world.slack.user("U0BOB").click(&card, "jit_approve").await;
    world.card("U0BOB", "active until").await;
    assert_eq!(cards(&world).await.len(), 2);
}

#[tokio::test]
async fn a_card_that_a_person_deletes_is_posted_anew_when_there_is_news() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    world.slack.user("U0BOB").delete(&card).await;
    assert_eq!(cards(&world).await.len(), 0);
    let request = world.request(Status::Pending).await;
    approve(&world, &request).await;
    let anew = world.card("U0BOB", "active until").await;
    assert_ne!(anew.ts, card.ts);
    assert_eq!(cards(&world).await.len(), 1);
}

#[tokio::test]
async fn a_card_that_a_person_deletes_is_posted_once_whatever_slack_takes_after_it() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/vault").await;
    let card = world.card("U0BOB", "Pending").await;
    world.slack.user("U0BOB").delete(&card).await;
    // The card is taken, and nothing else is.
    let faults = world.slack.faults();
    faults.fail("chat.postMessage", Fault::SlowMs(1), Times::Once);
    faults.fail("chat.postMessage", Fault::ServerError, Times::N(6));
    let request = world.request(Status::Pending).await;
    approve(&world, &request).await;
    world.card("U0BOB", "1 of 2").await;
    for _ in 0..4 {
        a_minute(&world).await;
    }
    faults.clear();
    a_minute(&world).await;
    assert_eq!(cards(&world).await.len(), 1);
}

#[tokio::test]
async fn a_channel_that_takes_no_card_holds_up_neither_the_decision_nor_the_end() {
    for channel in ["C0OLD", "C0RANDOM", "C0NOWHERE"] {
        let mut settings = settings();
        settings.routes[0].channel = channel.parse().unwrap();
        let world = World::with(By::Socket, settings).await;
        world.ask("U0ANA", "memory/admins").await;
        let request = world.request(Status::Pending).await;
        approve(&world, &request).await;
        let active = world.request(Status::Active).await;
        let ana = world.slack.user("U0ANA");
        world
            .slack
            .wait_for(&ana, "dm", |message| {
                message.words().contains("is yours until")
            })
            .await;
        world.clock.set(active.grant().unwrap().expires_at);
        world
            .slack
            .wait_for(&ana, "dm", |message| message.words().contains("Ended"))
            .await;
        assert!(!world.is_there(&active));
    }
}

#[tokio::test]
async fn b9_slack_away_for_an_hour_ends_everything_on_time_and_cards_catch_up() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    world.slack.user("U0BOB").click(&card, "jit_approve").await;
    let active = world.request(Status::Active).await;
    world.card("U0BOB", "active until").await;
    world
        .slack
        .faults()
        .fail("*", Fault::ServerError, Times::Always);
    world.slack.refuse_sockets(Switch::On);
    world.slack.cut_sockets();
    world.clock.set(active.grant().unwrap().expires_at);
    for _ in 0..100 {
        if !world.is_there(&active) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!world.is_there(&active), "it waited for Slack");
    world.clock.advance(Duration::from_secs(3_600));
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.slack.faults().clear();
    world.slack.refuse_sockets(Switch::Off);
    a_minute(&world).await;
    a_minute(&world).await;
    world.card("U0BOB", "Ended: its time is up").await;
    assert_eq!(cards(&world).await.len(), 1);
}

#[tokio::test]
async fn a_form_that_cannot_be_opened_is_said() {
    let world = World::new().await;
    let faults = world.slack.faults();
    faults.fail("views.open", Fault::ServerError, Times::Once);
    let ana = world.slack.user("U0ANA");
    assert!(ana.slash("/jit", "").in_channel("C0SEC").await.acked());
    world
        .told(&ana, "C0SEC", "failed and was not applied")
        .await;
}

#[tokio::test]
async fn a_home_that_cannot_be_drawn_anew_makes_nothing_of_what_was_done_in_it_undone() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let request = world.request(Status::Pending).await;
    approve(&world, &request).await;
    world.request(Status::Active).await;
    let ana = world.slack.user("U0ANA");
    ana.open_home().await;
    while ana.home().await.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let faults = world.slack.faults();
    faults.fail("views.publish", Fault::ServerError, Times::Always);
    ana.click_home("jit_done").await;
    world
        .until("a second try", |slack| {
            slack.calls("views.publish").len() > 1
        })
        .await;
    world.card("U0BOB", "returned early").await;
    let said = ana.dm().await;
    let failed = |it: &slack_sim::Message| it.words().contains("was not applied");
    assert!(!said.iter().any(failed), "{said:#?}");
}

#[tokio::test]
async fn what_comes_twice_happens_once() {
    let world = World::new().await;
    world.slack.deliver_twice(100);
    world.ask("U0ANA", "memory/vault").await;
    let card = world.card("U0BOB", "Pending").await;
    world.slack.user("U0BOB").click(&card, "jit_approve").await;
    world.card("U0BOB", "1 of 2").await;
    a_minute(&world).await;
    let requests = world.requests().await;
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].approvals.len(), 1);
    assert_eq!(cards(&world).await.len(), 1);
    let opened = world.slack.calls("views.open");
    assert_eq!(opened.len(), 1, "{opened:#?}");
}

#[tokio::test]
async fn no_acknowledgement_is_lost_when_connections_are_renewed() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    for round in 0..10 {
        let (acked, ()) = tokio::join!(
            async { ana.slash("/jit", "help").in_channel("C0SEC").await },
            async {
                world.slack.disconnect_one(Disconnect::RefreshRequested);
            }
        );
        assert!(
            acked.acked(),
            "round {round}: {:?}",
            world.slack.seen_errors()
        );
        if world.slack.connections() == 0 {
            world
                .until("a connection", |slack| slack.connections() > 0)
                .await;
        }
    }
    assert_eq!(world.slack.seen_errors(), Vec::<String>::new());
}

#[tokio::test]
async fn what_was_acknowledged_and_left_is_applied_once_or_given_back() {
    let slack = SlackSim::start(Workspace::example()).await;
    let store = Arc::new(MemoryStore::new());
    let world = World::around(slack, store.clone(), By::Socket, settings()).await;
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    let request = world.request(Status::Pending).await;
    // Another process took these and died: the stored form of an input is what it was.
    let click = |verb: &str| {
        json!({
            "user": "U0BOB", "team": "T0EXAMPLE1", "channel": "C0SEC",
            "said": {"said": verb, "about": {
                "id": request.id.to_string(), "digest": request.digest().prefix(),
            }},
        })
        .to_string()
    };
    let now = jit_core::ports::Clock::now(&*world.clock);
    let ago = |secs| now - Duration::from_secs(secs);
    store
        .inbox_put("click/old", &click("withdraw"), ago(121))
        .await
        .unwrap();
    store
        .inbox_put("click/left", &click("approve"), ago(31))
        .await
        .unwrap();
    store
        .inbox_put("click/held", &click("revoke"), ago(29))
        .await
        .unwrap();
    let World { slack, .. } = &world;
    let again = world.another_door();
    world.request(Status::Active).await;
    let bob = slack.user("U0BOB");
    slack
        .wait_for(&bob, "C0SEC", |message| {
            message.ephemeral && message.words().contains("Please click again")
        })
        .await;
    again.abort();
}

#[tokio::test]
async fn s14_what_is_not_signed_by_slack_just_now_changes_nothing() {
    let world = World::with(By::Http, settings()).await;
    let payload = |text: &str| {
        json!({
            "command": "/prod-access", "text": text, "user_id": "U0ANA",
            "team_id": "T0EXAMPLE1", "channel_id": "C0SEC", "trigger_id": "1.2.3",
        })
    };
    let post = world
        .slack
        .post_of("slash_commands", payload("the checkout is down"));
    for bad in [Signature::Forged, Signature::Old, Signature::Missing] {
        let reply = world.slack.post(&post, bad).await.unwrap();
        assert_eq!(reply.status, 401, "{bad:?}");
    }
    assert!(world.slack.calls("*").is_empty(), "nobody was called");
    let reply = world.slack.post(&post, Signature::Valid).await.unwrap();
    assert_eq!(reply.status, 200);
    // The very bytes that Slack sent for Ana, a second time.
    let ana = world.slack.user("U0ANA");
    assert!(ana.slash("/jit", "help").in_channel("C0SEC").await.acked());
    let again = world.slack.replay_last().await.unwrap();
    assert_eq!(again.status, 401, "replayed");
    let verified = world.slack.verify_url("a challenge").await.unwrap();
    assert_eq!(
        (verified.status, verified.body.contains("a challenge")),
        (200, true)
    );
    assert_eq!(world.slack.ssl_check().await.unwrap().status, 200);
    let long = world
        .slack
        .post_of("slash_commands", payload(&"x".repeat(300_000)));
    let reply = world.slack.post(&long, Signature::Valid).await.unwrap();
    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_acknowledged_and_others_are_served() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    for (kind, payload) in [
        (
            "interactive",
            json!({"type": "block_actions", "user": {"id": "U0ANA"}}),
        ),
        (
            "interactive",
            json!({"type": "view_submission", "user": {"id": "<@U1>"}}),
        ),
        ("interactive", json!([1, 2, 3])),
        ("slash_commands", json!({"user_id": "U0ANA"})),
        ("slash_commands", json!(null)),
    ] {
        let outcome = world.slack.raw(Some(&ana), kind, payload.clone()).await;
        assert!(!outcome.acked(), "{kind} {payload}");
    }
    // What we have never heard of is none of our business.
    let unknown = json!({"type": "something_new", "user": {"id": "U0ANA"}, "team": null});
    assert!(
        world
            .slack
            .raw(Some(&ana), "interactive", unknown)
            .await
            .acked()
    );
    assert!(world.slack.raw(None, "brand_new", json!({})).await.acked());
    assert!(ana.slash("/jit", "help").in_channel("C0SEC").await.acked());
}

#[tokio::test]
async fn what_is_under_way_at_the_end_is_acknowledged() {
    let mut world = World::new().await;
    let ana = world.slack.user("U0ANA");
    let typed: Vec<_> = (0..20)
        .map(|_| {
            let ana = ana.clone();
            tokio::spawn(async move { ana.slash("/jit", "help").in_channel("C0SEC").await })
        })
        .collect();
    world
        .until("an answer", |slack| !slack.calls("*").is_empty())
        .await;
    world.stop().await;
    let mut acked = 0;
    for typed in typed {
        acked += usize::from(typed.await.unwrap().acked());
    }
    assert!(acked > 0, "nothing was under way");
    // What came after the end found no connection; what was sent before was acknowledged.
    let errors = world.slack.seen_errors();
    let lost = errors.iter().filter(|it| !it.contains("no connection"));
    assert_eq!(
        lost.collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "{acked} acknowledged"
    );
}

#[tokio::test]
async fn a_panic_while_an_input_is_worked_on_is_said_and_others_are_served() {
    for by in [By::Socket, By::Http] {
        let world = World::with(by, settings()).await;
        let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
        world.shaky.panics.store(1, Ordering::SeqCst);
        assert!(ana.slash("/jit", "list").in_channel("C0SEC").await.acked());
        let failed = |message: &slack_sim::Message| message.words().contains("was not applied");
        world.slack.wait_for(&ana, "C0SEC", failed).await;
        for _ in 0..5 {
            assert!(bob.slash("/jit", "list").in_channel("C0SEC").await.acked());
        }
        world
            .slack
            .wait_for(&bob, "C0SEC", |it| {
                it.words().contains("asked for nothing here yet")
            })
            .await;
    }
}

#[tokio::test]
async fn a_panic_before_the_acknowledgement_costs_one_acknowledgement() {
    for by in [By::Socket, By::Http] {
        let world = World::with(by, settings()).await;
        world.slack.time_scale(0.2);
        let ana = world.slack.user("U0ANA");
        // What is typed differs: the same bytes in the same second are a replay.
        let type_in = |typed: usize| {
            let suggest = json!({
                "type": "block_suggestion", "user": {"id": "U0ANA"}, "team": {"id": "T0EXAMPLE1"},
                "action_id": "target", "value": format!("adm{typed}"),
            });
            world.slack.raw(Some(&ana), "interactive", suggest)
        };
        world.shaky.panics.store(1, Ordering::SeqCst);
        assert!(!type_in(0).await.acked(), "{by:?}");
        if by == By::Http {
            let errors = world.slack.seen_errors();
            assert!(errors[0].contains("answered 500"), "{errors:?}");
        }
        for typed in 1..5 {
            assert!(type_in(typed).await.acked(), "{by:?}");
        }
    }
}

#[tokio::test]
async fn an_input_that_makes_us_panic_is_not_taken_over_for_ever() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    let request = world.request(Status::Pending).await;
    let now = jit_core::ports::Clock::now(&*world.clock);
    for (key, verb) in [("click/a", "withdraw"), ("click/b", "approve")] {
        let click = json!({
            "user": "U0BOB", "team": "T0EXAMPLE1", "channel": "C0SEC",
            "said": {"said": verb, "about": {
                "id": request.id.to_string(), "digest": request.digest().prefix(),
            }},
        });
        let left_at = now - Duration::from_secs(31);
        let text = click.to_string();
        let put = world.store.inbox_put(key, &text, left_at);
        put.await.unwrap();
    }
    // Whichever comes first.
    world.shaky.panics.store(1, Ordering::SeqCst);
    let again = world.another_door();
    let bob = world.slack.user("U0BOB");
    world
        .slack
        .wait_for(&bob, "C0SEC", |it| it.words().contains("was not applied"))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!again.is_finished(), "the door fell with it");
    world.clock.advance(Duration::from_secs(31));
    let left = world
        .store
        .inbox_take(now + Duration::from_secs(31), 10)
        .await;
    assert_eq!(left.unwrap(), vec![]);
    again.abort();
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_not_a_byte_further() {
    let world = World::with(By::Http, settings()).await;
    for (bytes, status) in [(256 * 1024, 200), (256 * 1024 + 1, 413)] {
        for path in ["/slack/command", "/slack/interactivity", "/slack/events"] {
            // Each is a ping or unknown, which changes nothing.
            let (begin, end) = match path {
                "/slack/events" => ("{\"event_id\":\"Ev1\",\"event\":{\"type\":\"", "\"}}"),
                _ => ("ssl_check=1&pad=", ""),
            };
            let pad = "x".repeat(bytes - begin.len() - end.len() - path.len());
            let body = format!("{begin}{pad}{}{end}", "y".repeat(path.len()));
            assert_eq!(body.len(), bytes);
            let mut post = world.slack.post_of("slash_commands", json!({}));
            post.path = path.to_owned();
            post.body = body;
            let expected = match (path, status) {
                // The type is longer than any.
                ("/slack/events", 200) => 500,
                _ => status,
            };
            let reply = world.slack.post(&post, Signature::Valid).await.unwrap();
            assert_eq!(reply.status, expected, "{path} with {bytes} bytes");
        }
    }
}
