//! HTTP mode: signed POSTs with the right content types, and wrong signatures.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use slack_sim::{Mode, Outcome, Signature, SlackSim, Workspace, sign};

type Heard = Arc<Mutex<Vec<(String, HeaderMap, String)>>>;

/// An app that takes every POST down and answers with the next prepared answer, else 200.
async fn stage(answers: Vec<(u16, &'static str)>) -> (SlackSim, Heard) {
    let heard = Heard::default();
    let answers = Arc::new(Mutex::new(answers));
    let take =
        async move |State(heard): State<Heard>, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = String::from_utf8(body.to_vec()).unwrap();
            heard
                .lock()
                .unwrap()
                .push((uri.path().to_owned(), headers, body));
            let mut answers = answers.lock().unwrap();
            let (status, body) = if answers.is_empty() {
                (200, "")
            } else {
                answers.remove(0)
            };
            (StatusCode::from_u16(status).unwrap(), body)
        };
    let router = Router::new().fallback(take).with_state(heard.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let slack = SlackSim::start(Workspace::example()).await;
    slack.time_scale(0.1);
    slack.mode(Mode::Http { base_url });
    (slack, heard)
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .map(|it| it.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

fn verified(slack: &SlackSim, headers: &HeaderMap, body: &str) -> bool {
    let at = header(headers, "x-slack-request-timestamp")
        .parse()
        .unwrap_or(0);
    sign(slack.signing_secret(), at, body) == header(headers, "x-slack-signature")
}

#[tokio::test]
async fn everything_goes_to_its_address_signed() {
    let (slack, heard) = stage(vec![(200, "plain words")]).await;
    let ana = slack.user("U0ANA");
    let outcome = ana.slash("/jit", "help me & you").in_channel("C0SEC").await;
    assert_eq!(outcome.payload(), Some(&json!({"text": "plain words"})));
    assert_eq!(ana.messages("C0SEC").await[0].text, "plain words");
    assert!(ana.shortcut("jit_request").await.acked());
    assert!(ana.open_home().await.acked());
    let heard = heard.lock().unwrap().clone();
    let kinds: Vec<(String, String)> = heard
        .iter()
        .map(|(path, it, _)| (path.clone(), header(it, "content-type")))
        .collect();
    let form = "application/x-www-form-urlencoded".to_owned();
    assert_eq!(
        kinds,
        [
            ("/slack/command".to_owned(), form.clone()),
            ("/slack/interactivity".to_owned(), form),
            ("/slack/events".to_owned(), "application/json".to_owned()),
        ]
    );
    for (_, headers, body) in &heard {
        assert!(verified(&slack, headers, body));
    }
    assert!(heard[0].2.contains("text=help+me+%26+you"));
    assert!(heard[1].2.starts_with("payload=%7B"));
    let event: Value = serde_json::from_str(&heard[2].2).unwrap();
    assert_eq!(event["type"], "event_callback");
}

#[tokio::test]
async fn an_event_that_failed_comes_again_with_its_number() {
    let (slack, heard) = stage(vec![(500, "")]).await;
    assert_eq!(slack.user("U0ANA").open_home().await, Outcome::SawError);
    assert!(slack.wait_until(|_| heard.lock().unwrap().len() == 2).await);
    let heard = heard.lock().unwrap().clone();
    assert_eq!(header(&heard[1].1, "x-slack-retry-num"), "1");
    assert_eq!(header(&heard[1].1, "x-slack-retry-reason"), "http_error");
    assert_eq!(heard[0].2, heard[1].2);
}

#[tokio::test]
async fn a_failed_command_is_an_error_on_the_screen() {
    let (slack, _) = stage(vec![(500, "")]).await;
    assert_eq!(
        slack.user("U0ANA").slash("/jit", "").await,
        Outcome::SawError
    );
    assert_eq!(
        slack.seen_errors(),
        ["U0ANA typed /jit: the app answered 500"]
    );
}

#[tokio::test]
async fn wrong_signatures_are_wrong_and_a_replay_is_the_same_bytes() {
    let (slack, heard) = stage(vec![]).await;
    let post = slack.post_of("slash_commands", json!({"command": "/jit"}));
    for how in [
        Signature::Valid,
        Signature::Forged,
        Signature::Old,
        Signature::Missing,
    ] {
        assert_eq!(slack.post(&post, how).await.unwrap().status, 200);
        let (_, headers, body) = heard.lock().unwrap().pop().unwrap();
        let good = matches!(how, Signature::Valid | Signature::Old);
        assert_eq!(verified(&slack, &headers, &body), good, "{how:?}");
    }
    assert!(slack.replay_last().await.is_err());
    assert!(slack.user("U0ANA").slash("/jit", "").await.acked());
    slack.replay_last().await.unwrap();
    let both = heard.lock().unwrap().clone();
    assert_eq!(
        header(&both[0].1, "x-slack-signature"),
        header(&both[1].1, "x-slack-signature")
    );
    assert_eq!(both[0].2, both[1].2);
    slack.verify_url("why").await.unwrap();
    assert!(heard.lock().unwrap()[2].2.contains("\"challenge\":\"why\""));
    slack.ssl_check().await.unwrap();
    assert!(heard.lock().unwrap()[3].2.contains("ssl_check=1"));
}
