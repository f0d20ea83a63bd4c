//! Servers that are not there, not the API, slow, or mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use jit_cli::{CliError, Exit, Form, Session, run};
use serde_json::json;
use tokio::io::{AsyncReadExt, copy_bidirectional};

use crate::town::{Town, typed};

/// A server that answers everything like this.
async fn answering<A: IntoResponse>(
    answer: impl Fn() -> A + Clone + Send + Sync + 'static,
) -> String {
    let router = Router::new().fallback(move || {
        let answer = answer().into_response();
        async move { answer }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(jit_http::serve(listener, router, std::future::pending()));
    server
}

async fn asked(server: &str, form: Form, words: &[&str]) -> (Result<Exit, CliError>, String) {
    let session = Session::new(server, &"jit_0_0".into()).unwrap();
    let mut out = vec![];
    let command = typed(words).unwrap().command;
    let result = run(&command, &session, form, &mut out).await;
    (result, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_from_one_that_refuses() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (result, _) = asked(&server, Form::Plain, &["status"]).await;
    let error = result.unwrap_err();
    assert!(matches!(error, CliError::Unreachable { .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.starts_with(&format!("{server} cannot be reached: is jitd running?")),
        "{said}"
    );

    let town = Town::new().await;
    let (result, _) = asked(&town.server, Form::Plain, &["status"]).await;
    let error = result.unwrap_err();
    assert!(matches!(&error, CliError::Refused { code, .. } if code == "not_authenticated"));

    *town.world.groups.failing.lock().unwrap() = Some(jit_core::ports::ErrorKind::Unavailable);
    let told = town
        .says("ana", &["request", "groupfile/admins", "--reason", "x"])
        .await;
    let error = told.result.unwrap_err();
    assert!(matches!(error, CliError::Failed { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("something failed, reference ")
    );
}

#[tokio::test]
async fn a_token_does_not_follow_a_redirect() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let elsewhere = answering(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        "{}"
    });
    let target = format!("{}/v1/me", elsewhere.await);
    let server = answering(move || {
        (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, target.clone())],
        )
    });
    let (result, _) = asked(&server.await, Form::Plain, &["status"]).await;
    assert!(
        matches!(result, Err(CliError::Strange { .. })),
        "{result:?}"
    );
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_that_is_not_the_apis_is_called_strange() {
    for (status, body) in [
        (200, "<html>welcome</html>"),
        (200, ""),
        (200, "[]"),
        (200, "{\"principal\":7}"),
        (404, "not found"),
        (500, "{\"error\":\"x\"}"),
        (204, ""),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let server = answering(move || (status, body)).await;
        let (result, text) = asked(&server, Form::Plain, &["status"]).await;
        assert!(
            matches!(result, Err(CliError::Strange { .. })),
            "{body}: {result:?}"
        );
        assert_eq!(text, "");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    let endless = || Body::from(vec![b' '; 17 << 20]);
    let server = answering(endless).await;
    let (result, _) = asked(&server, Form::Plain, &["status"]).await;
    assert!(matches!(result, Err(CliError::Strange { what, .. }) if what == "it does not end"));
}

/// Passes calls on to a server, and breaks the first connections once the server has answered.
async fn losing_replies(server: &str, losses: usize) -> String {
    let behind = server.trim_start_matches("http://").to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(&behind).await.unwrap();
            if connection >= losses {
                tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
                continue;
            }
            let (mut asked, mut answered) = (near.split(), far.split());
            tokio::select! {
                _ = tokio::io::copy(&mut asked.0, &mut answered.1) => {}
                answer = answered.0.read_u8() => { answer.unwrap(); }
            }
        }
    });
    proxy
}

#[tokio::test]
async fn a_request_whose_reply_is_lost_is_made_once() {
    let town = Town::new().await;
    let words = ["request", "groupfile/admins", "--reason", "x"];
    let command = typed(&words).unwrap().command;
    for (losses, made) in [(2, 1), (0, 2)] {
        let server = losing_replies(&town.server, losses).await;
        let session = Session::new(&server, &town.token("ana").into()).unwrap();
        let result = run(&command, &session, Form::Plain, &mut vec![]).await;
        assert_eq!(result.unwrap(), Exit::Done);
        // Made anew, the same words are another request.
        assert_eq!(town.world.store.records().len(), made);
    }
    // A server that never gets its reply through is told of, and still has but one more.
    let server = losing_replies(&town.server, 100).await;
    let session = Session::new(&server, &town.token("ana").into()).unwrap();
    let result = run(&command, &session, Form::Plain, &mut vec![]).await;
    assert!(matches!(result, Err(CliError::Broken { .. })), "{result:?}");
    assert_eq!(town.world.store.records().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn every_call_has_a_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let started = tokio::time::Instant::now();
    let (result, _) = asked(&server, Form::Plain, &["status"]).await;
    assert!(
        matches!(result, Err(CliError::TooSlow { secs: 10, .. })),
        "{result:?}"
    );
    assert_eq!(started.elapsed().as_secs(), 10);
    drop(listener);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_not_sent_away_because_the_server_was_for_a_moment() {
    let request = |status: &str, version: u64| {
        json!({
            "id": "req-01kdvd96m0b9jtb9db9db9db80", "version": version, "status": status,
            "requester": "ana", "beneficiary": "ana", "entitlements": [], "ttl": "5m",
            "reason": "x", "tier": "standard", "approvals_needed": 1, "approvals": [],
            "digest": "", "opened_at": "", "decide_by": "", "collectable": false,
            "residual_secs": 0,
        })
    };
    let said = |code: &str| json!({"error": {"code": code, "message": code, "reference": "1"}});
    let (failed, store_away) = (said("failed"), said("store_away"));
    let calls = Arc::new(AtomicUsize::new(0));
    let server = answering(move || match calls.fetch_add(1, Ordering::SeqCst) {
        0 => (StatusCode::CREATED, request("pending", 1).to_string()),
        1 => (StatusCode::SERVICE_UNAVAILABLE, failed.to_string()),
        2 => (StatusCode::SERVICE_UNAVAILABLE, store_away.to_string()),
        _ => (StatusCode::OK, request("active", 2).to_string()),
    });
    let words = ["request", "groupfile/admins", "--reason", "x", "--wait"];
    let (result, text) = asked(&server.await, Form::Plain, &words).await;
    assert_eq!(result.unwrap(), Exit::Done, "{text}");
}

#[tokio::test]
async fn s13_nothing_that_a_server_says_acts_on_the_terminal() {
    let mean = "a\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\r\u{8}\u{202e}b";
    let request = json!({
        "id": mean, "version": 1, "status": mean, "requester": mean, "beneficiary": mean,
        "entitlements": [{"entitlement": mean, "parameters": {mean: mean}}],
        "ttl": mean, "reason": mean, "tier": mean, "approvals_needed": 1,
        "approvals": [{"by": mean, "ttl": mean, "at": mean}], "digest": mean, "opened_at": mean,
        "decide_by": mean, "expires_at": mean, "collectable": false, "residual_secs": 1,
        "how_to_use": mean, "stuck": mean, "superseded_by": mean, "end": mean, "why": mean,
        "denied_by": mean, "denied_reason": mean, "withdrawn_by": mean,
    });
    let list = json!({"requests": [request], "next": mean});
    let events = json!({"events": [{
        "at": mean, "by": mean, "fact": mean, "status": mean, "details": {mean: mean},
    }]});
    let error = json!({"error": {"code": mean, "message": mean, "reference": mean}});
    for (status, body, words) in [
        (200, &request, &["show", "9db80"][..]),
        (200, &list, &["list"]),
        (200, &events, &["history", "9db80"]),
        (403, &error, &["show", "9db80"]),
    ] {
        let (status, body) = (StatusCode::from_u16(status).unwrap(), body.to_string());
        let server = answering(move || (status, body.clone())).await;
        for form in [Form::Plain, Form::Terminal, Form::Json] {
            let (result, text) = asked(&server, form, words).await;
            let said = result
                .err()
                .map_or(String::new(), |error| error.to_string());
            let shown = text + &said;
            assert!(!shown.is_empty());
            let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!shown.chars().any(acts), "{words:?} {form:?}: {shown:?}");
        }
    }
}
