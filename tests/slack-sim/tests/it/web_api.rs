//! The Web API: who may call what, and what each method refuses.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use slack_sim::{SlackSim, Workspace};

use crate::app::App;

async fn slack() -> (SlackSim, App) {
    let slack = SlackSim::start(Workspace::example()).await;
    let app = App::of(&slack);
    (slack, app)
}

fn post(channel: &str) -> Value {
    json!({"channel": channel, "text": "words"})
}

#[tokio::test]
async fn tokens_and_scopes_are_checked() {
    let (slack, app) = slack().await;
    let with = async |token: &str, method: &str| {
        let body = app.with_token(token, method, json!({})).await.body;
        serde_json::from_str::<Value>(&body).unwrap()["error"].clone()
    };
    assert_eq!(with("", "auth.test").await, "not_authed");
    assert_eq!(with("xoxb-other", "auth.test").await, "invalid_auth");
    assert_eq!(
        with(&app.bot, "apps.connections.open").await,
        "not_allowed_token_type"
    );
    assert_eq!(
        with(&app.link, "chat.postMessage").await,
        "not_allowed_token_type"
    );
    assert_eq!(with(&app.bot, "chat.sing").await, "unknown_method");
    slack.revoke_scope("chat:write");
    let refused = app.call("chat.postMessage", post("C0SEC")).await;
    assert_eq!(
        (&refused["error"], &refused["needed"]),
        (&json!("missing_scope"), &json!("chat:write"))
    );
    assert!(refused["provided"].as_str().unwrap().contains("im:write"));
}

#[tokio::test]
async fn messages_go_only_where_the_bot_may_write() {
    let (_slack, app) = slack().await;
    assert_eq!(
        app.error("chat.postMessage", post("C0NONE")).await,
        "channel_not_found"
    );
    assert_eq!(
        app.error("chat.postMessage", post("C0RANDOM")).await,
        "not_in_channel"
    );
    assert_eq!(
        app.error("chat.postMessage", post("C0OLD")).await,
        "is_archived"
    );
    assert_eq!(app.error("chat.postMessage", post("C0SEC")).await, "none");
    assert_eq!(
        app.error("chat.postMessage", post("#security")).await,
        "none"
    );
    assert_eq!(
        app.error("chat.postMessage", json!({"channel": "C0SEC"}))
            .await,
        "no_text"
    );
    let long = |n: usize| json!({"channel": "C0SEC", "text": "x".repeat(n)});
    assert_eq!(app.error("chat.postMessage", long(40_000)).await, "none");
    assert_eq!(
        app.error("chat.postMessage", long(40_001)).await,
        "msg_too_long"
    );
    assert_eq!(
        app.error("chat.postMessage", post("U0OTHERBOT")).await,
        "cannot_dm_bot"
    );
    assert_eq!(
        app.error("chat.postMessage", post("U0GONE")).await,
        "channel_not_found"
    );
    let dm = app.call("chat.postMessage", post("U0ANA")).await;
    assert_eq!(dm["channel"], "D0ANA");
}

#[tokio::test]
async fn bad_blocks_are_explained() {
    let (_slack, app) = slack().await;
    let header = "x".repeat(151);
    let blocks = json!([{"type": "header", "text": {"type": "plain_text", "text": header}}]);
    let refused = app
        .call(
            "chat.postMessage",
            json!({"channel": "C0SEC", "text": "t", "blocks": blocks}),
        )
        .await;
    assert_eq!(refused["error"], "invalid_blocks");
    assert_eq!(
        refused["response_metadata"]["messages"],
        json!(["[ERROR] must be less than 151 characters [json-pointer:/blocks/0/text/text]"])
    );
    let form = json!({"channel": "C0SEC", "text": "t", "blocks": "{"});
    assert_eq!(
        app.error("chat.postMessage", form).await,
        "invalid_blocks_format"
    );
}

#[tokio::test]
async fn a_message_is_changed_by_its_author_only_and_keeps_blocks_that_are_not_named() {
    let (slack, app) = slack().await;
    let divider = json!([{"type": "divider"}]);
    let ts = app
        .call(
            "chat.postMessage",
            json!({"channel": "C0SEC", "text": "a", "blocks": divider}),
        )
        .await["ts"]
        .clone();
    let update = |ts: &Value, more: Value| {
        let mut it = json!({"channel": "C0SEC", "ts": ts});
        it.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        it
    };
    assert_eq!(
        app.error("chat.update", update(&ts, json!({"text": "b"})))
            .await,
        "none"
    );
    let ana = slack.user("U0ANA");
    let seen = slack.wait_for(&ana, "C0SEC", |it| it.text == "b").await;
    assert!(seen.edited);
    assert_eq!(seen.blocks.len(), 1);
    let emptied = update(&ts, json!({"text": "c", "blocks": []}));
    assert_eq!(app.error("chat.update", emptied).await, "none");
    assert!(ana.messages("C0SEC").await[0].blocks.is_empty());
    assert_eq!(
        app.error("chat.update", update(&json!("1.1"), json!({"text": "b"})))
            .await,
        "message_not_found"
    );
    ana.say("C0SEC", "mine").await;
    let mine = slack.wait_for(&ana, "C0SEC", |it| it.text == "mine").await;
    let theirs = update(&json!(mine.ts), json!({"text": "b"}));
    assert_eq!(
        app.error("chat.update", theirs.clone()).await,
        "cant_update_message"
    );
    assert_eq!(
        app.error("chat.delete", theirs).await,
        "cant_delete_message"
    );
    assert_eq!(
        app.error("chat.delete", update(&ts, json!({}))).await,
        "none"
    );
    assert_eq!(ana.messages("C0SEC").await.len(), 1);
}

#[tokio::test]
async fn an_ephemeral_message_is_one_persons_and_no_history() {
    let (slack, app) = slack().await;
    let to = |user: &str| json!({"channel": "C0SEC", "user": user, "text": "psst"});
    let ts = app.call("chat.postEphemeral", to("U0ANA")).await["message_ts"].clone();
    assert!(slack.user("U0ANA").messages("C0SEC").await[0].ephemeral);
    assert!(slack.user("U0BOB").messages("C0SEC").await.is_empty());
    let update = json!({"channel": "C0SEC", "ts": ts, "text": "b"});
    assert_eq!(app.error("chat.update", update).await, "message_not_found");
    assert_eq!(
        app.error("chat.postEphemeral", to("U0GUEST")).await,
        "user_not_in_channel"
    );
    assert_eq!(
        app.error("chat.postEphemeral", to("U0NOBODY")).await,
        "user_not_found"
    );
}

#[tokio::test]
async fn a_conversation_is_opened_by_a_string_only() {
    let (_slack, app) = slack().await;
    let open = async |users: Value| {
        app.call("conversations.open", json!({"users": users}))
            .await
    };
    assert_eq!(open(json!("U0ANA")).await["channel"]["id"], "D0ANA");
    assert_eq!(
        open(json!(["U0ANA"])).await["error"],
        "users_list_not_supplied"
    );
    assert_eq!(open(json!("U0NOBODY")).await["error"], "user_not_found");
    assert_eq!(open(json!("U0OTHERBOT")).await["error"], "cannot_dm_bot");
    assert_eq!(open(json!("U0GONE")).await["error"], "user_disabled");
}

#[tokio::test]
async fn people_are_shown_as_they_are() {
    let (slack, app) = slack().await;
    let info = async |id: &str| app.get("users.info", &format!("user={id}")).await["user"].clone();
    let ana = info("U0ANA").await;
    assert_eq!(
        (&ana["tz"], &ana["tz_offset"]),
        (&json!("Europe/Vienna"), &json!(3600))
    );
    assert_eq!(ana["profile"]["email"], "ana@example.com");
    assert_eq!(info("U0GUEST").await["is_restricted"], true);
    assert_eq!(info("U0GONE").await["deleted"], true);
    assert_eq!(info("U0FAR").await["team_id"], "T0ELSEWHR");
    assert_eq!(info("U0FAR").await["is_stranger"], true);
    assert_eq!(info("U0OTHERBOT").await["is_bot"], true);
    let by = async |email: &str| {
        app.get("users.lookupByEmail", &format!("email={email}"))
            .await
    };
    assert_eq!(by("ana%40example.com").await["user"]["id"], "U0ANA");
    assert_eq!(by("dan%40example.com").await["error"], "users_not_found");
    slack.revoke_scope("users:read.email");
    assert!(info("U0ANA").await["profile"].get("email").is_none());
    assert_eq!(by("ana%40example.com").await["needed"], "users:read.email");
}

#[tokio::test]
async fn lists_come_in_pages_and_groups_with_members() {
    let (_slack, app) = slack().await;
    let first = app.get("users.list", "limit=5").await;
    assert_eq!(first["members"].as_array().unwrap().len(), 5);
    let cursor = first["response_metadata"]["next_cursor"].as_str().unwrap();
    let second = app
        .get("users.list", &format!("limit=5&cursor={cursor}"))
        .await;
    assert_eq!(second["members"].as_array().unwrap().len(), 3);
    assert_eq!(second["response_metadata"]["next_cursor"], "");
    assert_eq!(
        app.get("users.list", "cursor=junk").await["error"],
        "invalid_cursor"
    );
    let groups = app.get("usergroups.list", "include_users=true").await;
    assert_eq!(groups["usergroups"][0]["users"], json!(["U0BOB"]));
    let users = app
        .get("usergroups.users.list", "usergroup=S0OFFICERS")
        .await;
    assert_eq!(users["users"], json!(["U0BOB"]));
    assert_eq!(
        app.get("usergroups.users.list", "usergroup=S0").await["error"],
        "no_such_subteam"
    );
    let info = app.get("conversations.info", "channel=C0RANDOM").await;
    assert_eq!(info["channel"]["is_member"], false);
    let members = app.get("conversations.members", "channel=C0SEC").await;
    assert!(
        members["members"]
            .as_array()
            .unwrap()
            .contains(&json!("U0JITBOT"))
    );
    let live = app.get("conversations.list", "exclude_archived=true").await;
    assert_eq!(live["channels"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn reading_methods_read_no_json_and_forms_work() {
    let (slack, app) = slack().await;
    assert_eq!(
        app.error("users.info", json!({"user": "U0ANA"})).await,
        "user_not_found"
    );
    assert_eq!(slack.violations(), ["users.info does not read a JSON body"]);
    let form = Request::post(format!("{}/chat.postMessage", app.api))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!(
            "token={}&channel=C0SEC&text=a+b&blocks=%5B%7B%22type%22%3A%22divider%22%7D%5D",
            app.bot
        )))
        .unwrap();
    assert!(app.send(form).await.body.contains("\"ok\":true"));
    let seen = slack.user("U0ANA").messages("C0SEC").await;
    assert_eq!((seen[0].text.as_str(), seen[0].blocks.len()), ("a b", 1));
}

#[tokio::test]
async fn permalinks_and_reactions_are_answered() {
    let (slack, app) = slack().await;
    let ts = app.call("chat.postMessage", post("C0SEC")).await["ts"].clone();
    let ts = ts.as_str().unwrap();
    let link = app
        .get(
            "chat.getPermalink",
            &format!("channel=C0SEC&message_ts={ts}"),
        )
        .await;
    assert!(
        link["permalink"]
            .as_str()
            .unwrap()
            .starts_with("https://example.slack.com/archives/C0SEC/p")
    );
    app.serve(|_| None).await;
    let ana = slack.user("U0ANA");
    let message = ana.messages("C0SEC").await[0].clone();
    assert!(
        ana.react(&message, "white_check_mark::skin-tone-3")
            .await
            .acked()
    );
    let got = app
        .get("reactions.get", &format!("channel=C0SEC&timestamp={ts}"))
        .await;
    assert_eq!(
        got["message"]["reactions"][0]["name"],
        "white_check_mark::skin-tone-3"
    );
    assert!(
        ana.unreact(&message, "white_check_mark::skin-tone-3")
            .await
            .acked()
    );
}
