//! What becomes of an alarm.

use std::time::Duration;

use jit_core::ports::{Effect, ErrorKind, Pager};
use okta_sim::{Away, Hostility, Operation, Reset};
use serde_json::json;

use super::*;

#[tokio::test]
async fn an_alarm_opens_an_alert_that_says_what_it_is_about() {
    let account = Account::new();
    account.pager().page(&alarm()).await.unwrap();
    let events = account.world().events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].action, "trigger");
    let request = alarm().request.unwrap().to_string();
    assert_eq!(
        events[0].payload,
        json!({
            "summary": "a grant is stuck", "source": "jit-access", "severity": "critical",
            "timestamp": "2026-01-01T00:00:00Z", "class": "privileged access",
            "custom_details": {"request": request},
        })
    );
    assert!(events[0].dedup_key.contains(&request));
    assert_eq!(account.world().open_alerts(), [events[0].dedup_key.clone()]);
}

#[tokio::test]
async fn one_alarm_is_one_alert_and_another_is_another() {
    let account = Account::new();
    let pager = account.pager();
    let other_request = Alarm {
        request: Some(RequestId::new(now(), [4; 10])),
        ..alarm()
    };
    let other_summary = Alarm {
        summary: "another grant is stuck".to_owned(),
        ..alarm()
    };
    let of_no_request = Alarm {
        request: None,
        ..alarm()
    };
    let alarms = [alarm(), other_request, other_summary, of_no_request];
    for alarm in &alarms {
        for later in [0, 60] {
            // It is handed over until somebody takes it.
            let again = Alarm {
                at: alarm.at + Duration::from_secs(later),
                ..alarm.clone()
            };
            pager.page(&again).await.unwrap();
        }
    }
    assert_eq!(account.world().events().len(), 2 * alarms.len());
    assert_eq!(account.world().open_alerts().len(), alarms.len());
}

#[tokio::test]
async fn a_summary_is_cut_between_letters_where_it_is_too_long() {
    let account = Account::new();
    for summary in [
        "x".repeat(1_024),
        "ä".repeat(1_025),
        "\u{1F6A8}".repeat(5_000),
    ] {
        let long = Alarm {
            summary: summary.clone(),
            ..alarm()
        };
        account.pager().page(&long).await.unwrap();
        let events = account.world().events();
        let event = events.last().unwrap();
        let shown = event.payload["summary"].as_str().unwrap();
        assert_eq!(shown.chars().count(), 1_024);
        assert!(summary.starts_with(shown));
        assert!(event.dedup_key.chars().count() <= 255);
    }
    // Two that begin alike are two all the same.
    assert_eq!(account.world().open_alerts().len(), 3);
}

#[tokio::test]
async fn only_a_202_is_an_alarm_that_was_handed_over() {
    let limited = |retry_after_ms| ErrorKind::RateLimited { retry_after_ms };
    for (status, headers, kind, effect) in [
        ("200 OK", "", ErrorKind::Misconfigured, Effect::Unknown),
        (
            "302 Found",
            "location: /x\r\n",
            ErrorKind::Misconfigured,
            Effect::Unknown,
        ),
        (
            "400 Bad Request",
            "",
            ErrorKind::Misconfigured,
            Effect::None,
        ),
        ("403 Forbidden", "", ErrorKind::Forbidden, Effect::None),
        (
            "413 Payload Too Large",
            "",
            ErrorKind::Misconfigured,
            Effect::None,
        ),
        ("429 Too Many Requests", "", limited(None), Effect::None),
        (
            "429 Too Many Requests",
            "retry-after: 30\r\n",
            limited(Some(30_000)),
            Effect::None,
        ),
        (
            "500 Internal Server Error",
            "",
            ErrorKind::Unavailable,
            Effect::Unknown,
        ),
        (
            "502 Bad Gateway",
            "",
            ErrorKind::Unavailable,
            Effect::Unknown,
        ),
    ] {
        let odd = Odd::saying(vec![answer(status, headers, "{}")]);
        let error = pager(&odd.url).page(&alarm()).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, effect), "{status}");
    }
}

#[tokio::test]
async fn what_goes_wrong_is_an_error_until_it_goes_well() {
    let account = Account::new();
    let world = account.world().clone();
    let pager = account.pager();
    let unavailable = ErrorKind::Unavailable;
    let limited = ErrorKind::RateLimited {
        retry_after_ms: None,
    };
    for (hostility, kind, effect) in [
        (Hostility::Throttle(Reset::Missing), limited, Effect::None),
        (Hostility::InternalError, unavailable, Effect::Unknown),
        (Hostility::InternalErrorAfter, unavailable, Effect::Unknown),
        (Hostility::Unavailable, unavailable, Effect::Unknown),
        (Hostility::LoseCall, unavailable, Effect::Unknown),
        (Hostility::LoseReply, unavailable, Effect::Unknown),
        (
            Hostility::Garbage,
            ErrorKind::Misconfigured,
            Effect::Unknown,
        ),
    ] {
        world.hostile(Operation::EnqueueEvent, hostility.clone());
        let error = pager.page(&alarm()).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, effect), "{hostility:?}");
        world.calm();
    }
    world.away(Away::Refused);
    pager.page(&alarm()).await.unwrap_err();
    world.calm();
    pager.page(&alarm()).await.unwrap();
    // Those that were taken although nobody said so are the same alert.
    assert_eq!(world.events().len(), 4);
    assert_eq!(world.open_alerts().len(), 1);
}

#[tokio::test]
async fn a_key_of_another_service_is_refused_for_good() {
    let account = Account::new();
    account
        .world()
        .configure(|setup| setup.routing_keys.clear());
    let error = account.pager().page(&alarm()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(!error.kind.is_retryable());
    let long = format!("{ROUTING_KEY}0");
    for key in [
        "",
        "canary",
        long.as_str(),
        "canary0123456789abcdef01234567 9",
    ] {
        let refused = crate::RoutingKey::try_from(SecretString::from(key)).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("canary"));
    }
}

#[tokio::test]
async fn an_alarm_that_is_never_answered_is_given_up_at_the_deadline() {
    let account = Account::new();
    account
        .world()
        .hostile(Operation::EnqueueEvent, Hostility::Hang);
    let settings = events_settings(&format!("{}/pagerduty", account.sim.url()));
    let deadline = Duration::from_millis(50);
    let pager = PagerDutyEvents::with_deadline(settings, deadline).unwrap();
    // The outer limit is for the test itself, should the deadline ever be lost.
    let alarm = alarm();
    let outer = tokio::time::timeout(Duration::from_secs(20), pager.page(&alarm));
    let error = outer.await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.effect, Effect::Unknown);
    assert!(whole_story(&error).contains("in time"));
    assert!(crate::events::DEADLINE < Duration::from_secs(15));
}
