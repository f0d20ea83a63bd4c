//! Socket Mode: tickets, hello, acknowledgements and redelivery.

use std::time::Duration;

use serde_json::json;
use slack_sim::{Disconnect, Outcome, SlackSim, Workspace};
use tokio::time::sleep;

use crate::app::{App, Link};

async fn slack() -> (SlackSim, App) {
    let slack = SlackSim::start(Workspace::example()).await;
    slack.time_scale(0.1);
    let app = App::of(&slack);
    (slack, app)
}

#[tokio::test]
async fn a_ticket_is_good_for_one_connection_which_says_hello_first() {
    let (slack, app) = slack().await;
    let url = app.ticket().await;
    let mut link = Link::to(&url).await.unwrap();
    let hello = link.next().await.unwrap();
    assert_eq!(hello["type"], "hello");
    assert_eq!(hello["num_connections"], 1);
    assert!(Link::to(&url).await.is_err());
    assert_eq!((slack.connections(), slack.opens().len()), (1, 1));
}

#[tokio::test]
async fn the_eleventh_connection_is_one_too_many() {
    let (slack, app) = slack().await;
    let mut links = vec![];
    for _ in 0..10 {
        links.push(app.connect().await);
    }
    let mut eleventh = Link::to(&app.ticket().await).await.unwrap();
    let goodbye = eleventh.next().await.unwrap();
    assert_eq!(
        (&goodbye["type"], &goodbye["reason"]),
        (&json!("disconnect"), &json!("too_many_websockets"))
    );
    assert!(eleventh.next().await.is_none());
    assert_eq!(slack.connections(), 10);
}

#[tokio::test]
async fn a_command_has_slacks_shape_and_its_acknowledgement_may_say_something() {
    let (slack, app) = slack().await;
    let mut link = app.connect().await;
    let ana = slack.user("U0ANA");
    let typed = tokio::spawn(ana.slash("/jit", "help").in_channel("C0SEC").into_future());
    let envelope = link.next().await.unwrap();
    assert_eq!(envelope["type"], "slash_commands");
    assert_eq!(envelope["accepts_response_payload"], true);
    let payload = &envelope["payload"];
    for (key, value) in [
        ("command", "/jit"),
        ("text", "help"),
        ("user_id", "U0ANA"),
        ("user_name", "ana"),
        ("channel_id", "C0SEC"),
        ("channel_name", "security"),
        ("team_id", "T0EXAMPLE1"),
    ] {
        assert_eq!(payload[key], value, "{key}");
    }
    link.ack(&envelope, Some(json!({"text": "got help"}))).await;
    let Outcome::Acked { payload, .. } = typed.await.unwrap() else {
        panic!("not acked")
    };
    assert_eq!(payload, Some(json!({"text": "got help"})));
    let seen = slack
        .wait_for(&ana, "C0SEC", |it| it.text == "got help")
        .await;
    assert!(seen.ephemeral);
    assert!(
        slack.user("U0BOB").messages("C0SEC").await.is_empty(),
        "only ana sees it"
    );
    assert!(slack.seen_errors().is_empty());
}

#[tokio::test]
async fn each_envelope_goes_to_one_connection_and_all_get_some() {
    let (slack, app) = slack().await;
    let mut counts = vec![];
    for _ in 0..2 {
        let (count, watch) = tokio::sync::watch::channel(0);
        counts.push(watch);
        let mut link = app.connect().await;
        tokio::spawn(async move {
            while let Some(envelope) = link.next().await {
                count.send_modify(|it| *it += 1);
                link.ack(&envelope, None).await;
            }
        });
    }
    for _ in 0..40 {
        assert!(slack.user("U0ANA").slash("/jit", "").await.acked());
    }
    let counts: Vec<i32> = counts.iter().map(|it| *it.borrow()).collect();
    assert_eq!(counts.iter().sum::<i32>(), 40);
    assert!(counts.iter().all(|it| *it > 0), "{counts:?}");
}

#[tokio::test]
async fn no_acknowledgement_in_time_is_an_error_on_the_screen() {
    let (slack, app) = slack().await;
    let mut link = app.connect().await;
    let ana = slack.user("U0ANA");
    assert_eq!(ana.slash("/jit", "").await, Outcome::SawError);
    assert_eq!(slack.seen_errors().len(), 1);
    let late = link.next().await.unwrap();
    link.ack(&late, None).await;
    assert!(slack.wait_until(|it| it.violations().len() == 1).await);
    assert!(slack.violations()[0].ends_with("was acknowledged too late"));
    // A command never comes again.
    let next = tokio::time::timeout(Duration::from_millis(400), link.next()).await;
    assert!(next.is_err());
}

#[tokio::test]
async fn an_acknowledgement_on_another_connection_does_not_count() {
    let (slack, app) = slack().await;
    let mut first = app.connect().await;
    let ana = slack.user("U0ANA");
    let typed = tokio::spawn(ana.slash("/jit", "").into_future());
    let envelope = first.next().await.unwrap();
    let mut second = app.connect().await;
    second.ack(&envelope, None).await;
    assert_eq!(typed.await.unwrap(), Outcome::SawError);
    assert!(slack.seen_errors()[0].ends_with("on another connection"));
}

#[tokio::test]
async fn an_event_comes_again_until_it_is_acknowledged() {
    let (slack, app) = slack().await;
    let mut link = app.connect().await;
    let home = tokio::spawn({
        let ana = slack.user("U0ANA");
        async move { ana.open_home().await }
    });
    let first = link.next().await.unwrap();
    assert_eq!(
        (&first["type"], &first["retry_attempt"]),
        (&json!("events_api"), &json!(0))
    );
    assert_eq!(first["payload"]["event"]["type"], "app_home_opened");
    assert_eq!(home.await.unwrap(), Outcome::SawError);
    let again = link.next().await.unwrap();
    assert_eq!(again["retry_attempt"], 1);
    assert_eq!(again["retry_reason"], "timeout");
    assert_eq!(again["payload"]["event_id"], first["payload"]["event_id"]);
    assert_ne!(again["envelope_id"], first["envelope_id"]);
    link.ack(&again, None).await;
    assert!(slack.seen_errors().is_empty(), "nobody waits for an event");
}

#[tokio::test]
async fn a_payload_is_refused_where_none_is_accepted() {
    let (slack, app) = slack().await;
    app.serve(|_| Some(json!({"text": "hello"}))).await;
    let outcome = slack.user("U0ANA").shortcut("jit_request").await;
    assert!(outcome.acked());
    assert_eq!(outcome.payload(), None);
    assert!(slack.violations()[0].ends_with("takes no payload"));
}

#[tokio::test]
async fn goodbyes_name_their_reason_and_end_the_connection() {
    for (why, reason) in [
        (Disconnect::Warning, "warning"),
        (Disconnect::RefreshRequested, "refresh_requested"),
        (Disconnect::LinkDisabled, "link_disabled"),
        (Disconnect::TooManyWebsockets, "too_many_websockets"),
    ] {
        let (slack, app) = slack().await;
        let mut link = app.connect().await;
        slack.disconnect(why);
        assert_eq!(link.next().await.unwrap()["reason"], reason);
        assert!(link.next().await.is_none());
        assert!(slack.wait_until(|it| it.connections() == 0).await);
        let open = app
            .with_token(&app.link, "apps.connections.open", json!({}))
            .await;
        assert_eq!(
            open.body.contains("link_disabled"),
            why == Disconnect::LinkDisabled
        );
    }
}

#[tokio::test]
async fn a_connection_under_warning_still_works() {
    let (slack, app) = slack().await;
    let mut link = app.connect().await;
    slack.disconnect(Disconnect::Warning);
    assert_eq!(link.next().await.unwrap()["type"], "disconnect");
    let typed = tokio::spawn(slack.user("U0ANA").slash("/jit", "").into_future());
    let envelope = link.next().await.unwrap();
    link.ack(&envelope, None).await;
    assert!(typed.await.unwrap().acked());
}

#[tokio::test]
async fn an_envelope_may_come_twice() {
    let (slack, app) = slack().await;
    let mut link = app.connect().await;
    slack.deliver_twice(1);
    let typed = tokio::spawn(slack.user("U0ANA").slash("/jit", "").into_future());
    let one = link.next().await.unwrap();
    let two = link.next().await.unwrap();
    assert_eq!(one, two);
    link.ack(&one, None).await;
    link.ack(&two, None).await;
    assert!(typed.await.unwrap().acked());
    sleep(Duration::from_millis(50)).await;
    assert!(slack.violations().is_empty());
}

#[tokio::test]
async fn a_raw_payload_goes_out_as_it_is() {
    let (slack, app) = slack().await;
    let mut link = app.connect().await;
    let sent =
        tokio::spawn(async move { slack.raw(None, "surprise", json!([1, {"a": null}])).await });
    let envelope = link.next().await.unwrap();
    assert_eq!(
        (&envelope["type"], &envelope["payload"]),
        (&json!("surprise"), &json!([1, {"a": null}]))
    );
    link.ack(&envelope, None).await;
    assert!(sent.await.unwrap().acked());
}

#[tokio::test]
async fn a_close_is_answered_with_a_close() {
    let (slack, app) = slack().await;
    let link = app.connect().await;
    let last = link.close().await;
    assert!(last.is_some_and(|it| it.is_close()));
    assert!(slack.wait_until(|it| it.connections() == 0).await);
}

#[tokio::test]
async fn an_event_waits_for_an_app_that_is_away() {
    let (slack, app) = slack().await;
    slack.time_scale(0.01);
    assert!(!slack.user("U0ANA").open_home().await.acked());
    let mut link = app.connect().await;
    let envelope = link.next().await.unwrap();
    assert!(envelope["retry_attempt"].as_u64().unwrap() >= 1);
    assert_eq!(envelope["retry_reason"], "connection_failed");
    link.ack(&envelope, None).await;
}

#[tokio::test]
async fn an_empty_object_is_no_payload() {
    let (slack, app) = slack().await;
    app.serve(|_| Some(json!({}))).await;
    let ana = slack.user("U0ANA");
    assert!(ana.shortcut("jit_request").await.acked());
    assert!(ana.open_home().await.acked());
    assert_eq!(slack.violations(), Vec::<String>::new());
}
