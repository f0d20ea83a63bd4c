//! What a rota makes of what PagerDuty says.

use std::time::Duration;

use jit_core::ports::{Effect, ErrorKind, Rota};
use okta_sim::{Away, Hostility, Operation, Reset};
use serde_json::{Value, json};

use super::*;

async fn names(rota: &PagerDuty) -> Vec<String> {
    let on_call = rota.on_call(now()).await.unwrap();
    on_call.iter().map(ToString::to_string).collect()
}

async fn failure(rota: &PagerDuty) -> PortError {
    let error = rota.on_call(now()).await.unwrap_err();
    assert_eq!(error.effect, Effect::None, "looking changes nothing");
    error
}

/// An entry of schedule `PSCHED`, as a test changes it.
fn entry(change: impl FnOnce(&mut Value)) -> Value {
    let mut entry = json!({
        "user": {"id": "PANA", "type": "user", "email": "ana@example.com"},
        "schedule": {"id": "PSCHED", "type": "schedule_reference"},
        "escalation_policy": {"id": "PPOLICY", "type": "escalation_policy_reference"},
        "escalation_level": 1, "start": null, "end": null,
    });
    change(&mut entry);
    entry
}

fn page(entries: &[Value], more: bool) -> String {
    json!({"oncalls": entries, "limit": 100, "offset": 0, "more": more, "total": null}).to_string()
}

fn schedule() -> Duty {
    Duty::Schedule(id("PSCHED"))
}

async fn said(bodies: &[&str]) -> Result<Vec<String>, PortError> {
    let odd = Odd::answering(bodies);
    let on_call = odd.rota(schedule()).on_call(now()).await?;
    assert_eq!(odd.heard().len(), bodies.len());
    Ok(on_call.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn a_call_says_who_asks_for_which_instant_and_what() {
    let body = page(&[entry(|_| {})], false);
    let odd = Odd::answering(&[&body]);
    let rota = odd.rota(schedule());
    let at = "2026-11-26T05:17:52.999999Z".parse().unwrap();
    let on_call = rota.on_call(at).await.unwrap();
    assert_eq!(on_call.len(), 1);
    let heard = odd.heard();
    let (line, headers) = heard[0].split_once("\r\n").unwrap();
    assert_eq!(
        line,
        "GET /oncalls?schedule_ids%5B%5D=PSCHED&include%5B%5D=users\
         &since=2026-11-26T05%3A17%3A52Z&until=2026-11-26T05%3A17%3A53Z&limit=100&offset=0 HTTP/1.1"
    );
    let authorization = format!("authorization: Token token={TOKEN}\r\n");
    assert!(headers.contains(&authorization), "{headers}");
    let accept = "accept: application/vnd.pagerduty+json;version=2\r\n";
    assert!(headers.contains(accept), "{headers}");
}

#[tokio::test]
async fn people_are_named_by_their_addresses_in_lower_case() {
    let account = Account::new();
    account.on_call(&account.ana, 1);
    assert_eq!(names(&account.rota()).await, ["ana@example.com"]);
}

#[tokio::test]
async fn the_second_level_counts_where_it_is_meant_to_and_the_third_never_does() {
    let account = Account::new();
    let cleo = account.world().add_responder("Cleo", "cleo@example.com");
    account.on_call(&account.ana, 1);
    account.on_call(&account.bob, 2);
    account.on_call(&cleo, 3);
    assert_eq!(names(&account.rota()).await, ["ana@example.com"]);
    let both = PagerDuty::rota(Settings {
        levels: Levels::FirstAndSecond,
        ..account.settings()
    });
    let both = names(&both.unwrap()).await;
    assert_eq!(both, ["ana@example.com", "bob@example.com"]);
}

#[tokio::test]
async fn everybody_on_every_page_is_named() {
    let account = Account::new();
    for number in 0..250 {
        let address = format!("person-{number:03}@example.com");
        let user = account.world().add_responder("Somebody", &address);
        account.on_call(&user, 1);
    }
    let found = names(&account.rota()).await;
    assert_eq!(found.len(), 250);
    assert_eq!(found[249], "person-249@example.com");
    assert_eq!(account.world().calls().len(), 3);
}

#[tokio::test]
async fn a_page_without_an_end_ends() {
    let account = Account::new();
    for _ in 0..1_001 {
        account.on_call(&account.ana, 2);
    }
    // Nobody is on call as far as could be read, which is not the whole of it.
    let error = failure(&account.rota()).await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(account.world().calls().len(), 10);
}

#[tokio::test]
async fn a_page_that_is_another_one_or_leads_nowhere_is_no_answer() {
    let one = page(&[entry(|_| {})], true);
    // The same page again, where the second was asked for.
    let error = said(&[&one, &one]).await.unwrap_err();
    assert!(whole_story(&error).contains("another page"));
    let error = said(&[&page(&[], true)]).await.unwrap_err();
    assert!(whole_story(&error).contains("empty and not the last"));
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn whoever_is_on_call_for_something_else_is_no_answer() {
    for change in [json!({"id": "POTHER"}), Value::Null] {
        let other = entry(|it| it["schedule"] = change);
        let error = said(&[&page(&[entry(|_| {}), other], false)]).await;
        let error = error.unwrap_err();
        assert!(whole_story(&error).contains("something else"));
    }
    let body = page(&[entry(|it| it["schedule"] = Value::Null)], false);
    let odd = Odd::answering(&[&body]);
    let rota = odd.rota(Duty::EscalationPolicy(id("PPOLICY")));
    assert_eq!(names(&rota).await, ["ana@example.com"]);
}

#[tokio::test]
async fn whoever_cannot_be_named_is_left_out_and_nobody_else() {
    let nameless = [
        Value::Null,
        json!({"id": "PX", "type": "user_reference", "summary": "Ana"}),
        json!({"id": "PX", "email": null}),
        json!({"id": "PX", "email": ""}),
        json!({"id": "PX", "email": "ana"}),
        json!({"id": "PX", "email": "@example.com"}),
        json!({"id": "PX", "email": "ana@"}),
        json!({"id": "PX", "email": "a@b@example.com"}),
        // Such a name would be that of a program, or of somebody in Slack.
        json!({"id": "PX", "email": "agent:deploy-bot@example.com"}),
        json!({"id": "PX", "email": "o'brien@example.com"}),
        json!({"id": "PX", "email": "ana\u{0430}@example.com"}),
    ];
    for user in nameless {
        let odd = entry(|it| it["user"] = user.clone());
        let both = page(&[odd.clone(), entry(|_| {})], false);
        let found = said(&[&both]).await.unwrap();
        assert_eq!(found, ["ana@example.com"], "{user}");
        // Somebody is on call: that it is nobody would be untrue.
        let error = said(&[&page(&[odd], false)]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{user}");
    }
    let second = entry(|it| {
        it["user"] = Value::Null;
        it["escalation_level"] = json!(2);
    });
    assert_eq!(said(&[&page(&[second], false)]).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_entry_counts_while_it_lasts_whatever_else_is_listed() {
    let at = |text: &str| json!(text);
    // The instant of the samples is 2026-01-01T00:00:00Z.
    for (start, end, is_on) in [
        (at("2026-01-01T00:00:00Z"), Value::Null, true),
        (at("2026-01-01T00:00:01Z"), Value::Null, false),
        (Value::Null, at("2026-01-01T00:00:00Z"), false),
        (Value::Null, at("2026-01-01T00:00:01Z"), true),
        (
            at("2025-12-31T19:00:00-05:00"),
            at("2026-01-01T01:00:01+01:00"),
            true,
        ),
        (
            at("2025-12-31T23:00:00Z"),
            at("2026-01-01T01:00:00+01:00"),
            false,
        ),
    ] {
        let entry = entry(|it| {
            it["start"] = start.clone();
            it["end"] = end.clone();
        });
        let found = said(&[&page(&[entry], false)]).await.unwrap();
        assert_eq!(found.len(), usize::from(is_on), "{start} to {end}");
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_no_answer() {
    let without = |name: &str| {
        let entry = entry(|it| drop(it.as_object_mut().unwrap().remove(name)));
        page(&[entry], false)
    };
    let bodies = [
        String::new(),
        "<html>".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        json!({"oncalls": []}).to_string(),
        json!({"oncalls": null, "more": false}).to_string(),
        without("escalation_level"),
        without("start"),
        without("end"),
        page(&[entry(|it| it["start"] = json!("yesterday"))], false),
        page(&[entry(|it| it["escalation_level"] = json!(-1))], false),
    ];
    for body in bodies {
        let error = said(&[&body]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{body}");
    }
}

#[tokio::test]
async fn a_body_without_an_end_is_not_read_to_its_end() {
    let long = format!("{}{}", " ".repeat(1024 * 1024), page(&[], false));
    let odd = Odd::answering(&[&long]);
    let error = failure(&odd.rota(schedule())).await;
    assert!(whole_story(&error).contains("longer than 1048576 bytes"));
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_answer_that_is_none_says_what_may_be_done() {
    let limited = |retry_after_ms| ErrorKind::RateLimited { retry_after_ms };
    for (status, headers, kind) in [
        (
            "302 Found",
            "location: /oncalls\r\n",
            ErrorKind::Misconfigured,
        ),
        ("204 No Content", "", ErrorKind::Misconfigured),
        ("400 Bad Request", "", ErrorKind::Misconfigured),
        ("401 Unauthorized", "", ErrorKind::Forbidden),
        ("403 Forbidden", "", ErrorKind::Forbidden),
        ("404 Not Found", "", ErrorKind::Misconfigured),
        ("408 Request Timeout", "", ErrorKind::Unavailable),
        ("500 Internal Server Error", "", ErrorKind::Unavailable),
        ("503 Service Unavailable", "", ErrorKind::Unavailable),
        ("429 Too Many Requests", "", limited(None)),
        (
            "429 Too Many Requests",
            "ratelimit-reset: 20\r\n",
            limited(Some(20_000)),
        ),
        (
            "429 Too Many Requests",
            "retry-after: 7\r\nratelimit-reset: 20\r\n",
            limited(Some(7_000)),
        ),
        (
            "429 Too Many Requests",
            "ratelimit-reset: soon\r\n",
            limited(None),
        ),
        (
            "429 Too Many Requests",
            "retry-after: 99999999999999999999\r\nratelimit-reset: 18446744073709551615\r\n",
            limited(Some(60_000)),
        ),
    ] {
        let odd = Odd::saying(vec![answer(status, headers, "{}")]);
        let error = failure(&odd.rota(schedule())).await;
        assert_eq!(error.kind, kind, "{status} {headers}");
    }
}

#[tokio::test]
async fn what_goes_wrong_at_the_simulated_one_is_an_error() {
    let account = Account::new();
    account.on_call(&account.ana, 1);
    let world = account.world().clone();
    let limited = ErrorKind::RateLimited {
        retry_after_ms: Some(30_000),
    };
    let reset = Reset::In(Duration::from_secs(30));
    for (hostility, kind) in [
        (Hostility::Throttle(reset), limited),
        (Hostility::InternalError, ErrorKind::Unavailable),
        (Hostility::Unavailable, ErrorKind::Unavailable),
        (Hostility::Garbage, ErrorKind::Unavailable),
        (Hostility::LoseCall, ErrorKind::Unavailable),
        (Hostility::LoseReply, ErrorKind::Unavailable),
        (
            Hostility::Redirect("https://example.com/".to_owned()),
            ErrorKind::Misconfigured,
        ),
    ] {
        world.hostile(Operation::ListOnCalls, hostility.clone());
        let error = failure(&account.rota()).await;
        assert_eq!(error.kind, kind, "{hostility:?}");
        world.calm();
    }
    world.away(Away::Unavailable);
    let error = failure(&account.rota()).await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    world.calm();
    assert_eq!(names(&account.rota()).await, ["ana@example.com"]);
}

#[tokio::test]
async fn a_call_that_is_never_answered_is_given_up_on_a_later_page_too() {
    let account = Account::new();
    for _ in 0..101 {
        account.on_call(&account.ana, 1);
    }
    let rule = okta_sim::Rule::new(Operation::ListOnCalls, Hostility::Hang);
    account.world().rule(rule.skip(1));
    let deadline = Duration::from_millis(300);
    let rota = PagerDuty::with_deadline(account.settings(), deadline).unwrap();
    // The outer limit is for the test itself, should the deadline ever be lost.
    let outer = tokio::time::timeout(Duration::from_secs(20), failure(&rota)).await;
    let error = outer.unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(whole_story(&error).contains("in time"));
    assert_eq!(account.world().calls().len(), 2);
    assert!(crate::rota::DEADLINE < Duration::from_secs(3));
}

#[tokio::test]
async fn a_key_that_is_none_is_told_before_anything_is_sent() {
    for token in ["", "two words", "line\nbreak", "häßlich"] {
        let settings = Settings {
            token: SecretString::from(token),
            ..settings(schedule())
        };
        let error = PagerDuty::rota(settings).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{token:?}");
    }
}

#[test]
fn an_address_is_https_or_on_this_machine_and_carries_nothing_else() {
    let parse = |text: &str| text.parse::<Address>();
    for good in [
        "https://api.pagerduty.com",
        "https://api.eu.pagerduty.com/",
        "https://proxy.example.com/pagerduty",
        "http://127.0.0.1:9/pagerduty",
        "http://localhost",
        "http://[::1]:9",
    ] {
        assert!(parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "api.pagerduty.com",
        "http://api.pagerduty.com",
        "http://127.0.0.1.example.com",
        "file:///etc/passwd",
        "https://ana:x@api.pagerduty.com",
        "https://api.pagerduty.com?x=1",
        "https://api.pagerduty.com#x",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let base = parse("https://proxy.example.com/pagerduty/").unwrap();
    let url = base.at("/oncalls").to_string();
    assert_eq!(url, "https://proxy.example.com/pagerduty/oncalls");
}

#[test]
fn an_id_is_plain_and_nothing_else_can_be_asked_for() {
    assert!("PI7DH85".parse::<Id>().is_ok());
    let long = "P".repeat(41);
    for bad in ["", "null&x=1", "P I", "../users", "PÄ", long.as_str()] {
        assert!(bad.parse::<Id>().is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<Id>("\"P-1\"").is_err());
}
