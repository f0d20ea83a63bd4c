//! The control API and the page.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use slack_sim::{SlackSim, Workspace};

use crate::app::{Answer, App};

struct Desk {
    slack: SlackSim,
    app: App,
}

impl Desk {
    async fn new() -> Self {
        let slack = SlackSim::start(Workspace::example()).await;
        let app = App::of(&slack);
        Self { slack, app }
    }

    async fn get(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.slack.page_url());
        self.app
            .send(Request::get(url).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = Request::post(format!("{}control/{path}", self.slack.page_url()))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer = self.app.send(request).await;
        (
            answer.status,
            serde_json::from_str(&answer.body).unwrap_or_default(),
        )
    }

    async fn screen(&self, user: &str) -> Value {
        serde_json::from_str(&self.get(&format!("control/users/{user}")).await.body).unwrap()
    }
}

#[tokio::test]
async fn the_page_loads_only_its_own_files() {
    let desk = Desk::new().await;
    let page = desk.get("").await;
    assert!(page.body.starts_with("<!DOCTYPE html>"));
    for file in ["app.js", "blocks.js", "mrkdwn.js", "style.css"] {
        let text = desk.get(file).await;
        assert_eq!(text.status, 200);
        for foreign in ["innerHTML", "https://cdn", "document.write", "eval("] {
            assert!(!text.body.contains(foreign), "{file} uses {foreign}");
        }
    }
}

#[tokio::test]
async fn only_a_browser_that_asked_for_loopback_gets_through() {
    let desk = Desk::new().await;
    let url = format!("{}control/workspace", desk.slack.page_url());
    for (host, status) in [
        ("evil.example", 403),
        ("localhost:4803", 200),
        ("127.0.0.1", 200),
    ] {
        let request = Request::get(&url)
            .header("host", host)
            .body(Body::empty())
            .unwrap();
        assert_eq!(desk.app.send(request).await.status, status, "{host}");
    }
    let form = Request::post(format!("{}control/hostile", desk.slack.page_url()))
        .header("content-type", "text/plain")
        .body(Body::from(r#"{"do":"cut_sockets"}"#))
        .unwrap();
    assert_eq!(
        desk.app.send(form).await.status,
        400,
        "a form of another page is no JSON"
    );
}

#[tokio::test]
async fn a_person_types_fills_and_submits_through_it() {
    let desk = Desk::new().await;
    let app = desk.app.clone();
    let (triggers, mut heard) = tokio::sync::mpsc::unbounded_channel();
    app.serve(move |payload| {
        let _ = triggers.send(payload.clone());
        None
    })
    .await;
    let (status, outcome) = desk
        .post(
            "users/U0ANA/slash",
            json!({"channel": "C0SEC", "command": "/jit", "text": ""}),
        )
        .await;
    assert_eq!((status, &outcome["acked"]), (200, &json!(true)));
    let trigger = heard.recv().await.unwrap()["trigger_id"].clone();
    let text = |it: &str| json!({"type": "plain_text", "text": it});
    let view = json!({"type": "modal", "title": text("Ask"), "submit": text("Go"), "blocks": [{
        "type": "input", "block_id": "reason", "label": text("Why?"),
        "element": {"type": "plain_text_input", "action_id": "reason"}}]});
    app.call("views.open", json!({"trigger_id": trigger, "view": view}))
        .await;
    assert_eq!(
        desk.screen("U0ANA").await["modals"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let (_, empty) = desk.post("users/U0ANA/modal_submit", json!({})).await;
    assert_eq!(empty["submitted"], "errors");
    desk.post(
        "users/U0ANA/modal_fill",
        json!({"field": "reason", "text": "why not"}),
    )
    .await;
    let (_, sent) = desk.post("users/U0ANA/modal_submit", json!({})).await;
    assert_eq!(sent["submitted"], "closed");
    let submission = heard.recv().await.unwrap();
    assert_eq!(
        submission["view"]["state"]["values"]["reason"]["reason"]["value"],
        "why not"
    );
    assert_eq!(
        desk.post("users/U0ANA/modal_submit", json!({})).await.0,
        404
    );
    assert_eq!(
        desk.post("users/U0ANA/click", json!({"ts": "1.1", "action": "x"}))
            .await
            .0,
        404
    );
    let other = desk
        .post(
            "users/U0ANA/slash",
            json!({"channel": "C0NONE", "command": "/jit"}),
        )
        .await;
    assert_eq!(other.0, 409);
    assert_eq!(
        desk.post("users/U0ANA/slash", json!({"colour": "red"}))
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn a_screen_is_waited_for_and_holds_what_this_person_sees() {
    let desk = Desk::new().await;
    let before = desk.screen("U0ANA").await;
    let ids = |screen: &Value| -> Vec<String> {
        let all = screen["channels"].as_array().unwrap();
        all.iter()
            .map(|it| it["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&before), ["C0OLD", "C0RANDOM", "C0SEC", "D0ANA"]);
    assert_eq!(ids(&desk.screen("U0GUEST").await), ["C0RANDOM", "D0GUEST"]);
    let path = format!("control/users/U0ANA?since={}", before["version"]);
    let (after, _) = tokio::join!(
        desk.get(&path),
        desk.app.call(
            "chat.postMessage",
            json!({"channel": "C0SEC", "text": "news"})
        ),
    );
    assert_eq!(after.status, 200);
    let screen = desk.screen("U0ANA").await;
    assert_eq!(screen["channels"][2]["messages"][0]["text"], "news");
}

#[tokio::test]
async fn what_goes_wrong_is_set_through_it() {
    let desk = Desk::new().await;
    let fail = json!({"do": "fail", "method": "auth.test", "fault": "server_error", "times": 1});
    assert_eq!(desk.post("hostile", fail).await.0, 200);
    let test = || desk.app.with_token(&desk.app.bot, "auth.test", json!({}));
    assert_eq!((test().await.status, test().await.status), (503, 200));
    let mut link = desk.app.connect().await;
    let warn = json!({"do": "disconnect", "reason": "warning"});
    assert_eq!(desk.post("hostile", warn).await.0, 200);
    assert_eq!(link.next().await.unwrap()["reason"], "warning");
    assert_eq!(
        desk.post("hostile", json!({"do": "cut_sockets"})).await.0,
        200
    );
    assert!(link.next().await.is_none());
    assert_eq!(desk.post("hostile", json!({"do": "dance"})).await.0, 400);
    let facts: Value = serde_json::from_str(&desk.get("control/facts").await.body).unwrap();
    assert_eq!(facts["opens"], 1);
    let calls: Value =
        serde_json::from_str(&desk.get("control/calls?method=auth.test").await.body).unwrap();
    assert_eq!(calls.as_array().unwrap().len(), 2);
}
