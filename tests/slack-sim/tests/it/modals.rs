//! Interaction: triggers, modals, clicks and response URLs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use slack_sim::{Outcome, REQUIRED, SlackSim, Submitted, USES, Workspace};
use tokio::time::sleep;

use crate::app::App;

/// An app whose last interactive payload can be read, and which answers by a rule.
struct Stage {
    slack: SlackSim,
    app: App,
    last: Arc<Mutex<Value>>,
}

impl Stage {
    async fn new(rule: impl Fn(&Value) -> Option<Value> + Send + 'static) -> Self {
        let slack = SlackSim::start(Workspace::example()).await;
        let app = App::of(&slack);
        let last = Arc::new(Mutex::new(Value::Null));
        let kept = last.clone();
        app.serve(move |payload| {
            *kept.lock().unwrap() = payload.clone();
            rule(payload)
        })
        .await;
        Self { slack, app, last }
    }

    async fn silent() -> Self {
        Self::new(|_| None).await
    }

    fn last(&self) -> Value {
        self.last.lock().unwrap().clone()
    }

    /// A fresh trigger of ana's.
    async fn trigger(&self) -> Value {
        assert!(
            self.slack
                .user("U0ANA")
                .shortcut("jit_request")
                .await
                .acked()
        );
        self.last()["trigger_id"].clone()
    }

    async fn open(&self, view: Value) -> Value {
        let trigger = self.trigger().await;
        self.app
            .call("views.open", json!({"trigger_id": trigger, "view": view}))
            .await
    }
}

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": text})
}

fn option(value: &str) -> Value {
    json!({"text": plain(value), "value": value})
}

fn modal(blocks: Value) -> Value {
    json!({
        "type": "modal", "callback_id": "jit_request", "title": plain("Request"),
        "submit": plain("Go"), "private_metadata": "{\"v\":1}", "blocks": blocks,
    })
}

fn reason() -> Value {
    json!({
        "type": "input", "block_id": "reason", "label": plain("Why?"),
        "element": {"type": "plain_text_input", "action_id": "reason", "min_length": 5, "max_length": 10},
    })
}

fn target() -> Value {
    json!({
        "type": "input", "block_id": "target", "label": plain("What?"), "dispatch_action": true,
        "element": {"type": "external_select", "action_id": "target", "min_query_length": 0},
    })
}

#[tokio::test]
async fn a_trigger_opens_one_modal_and_soon() {
    let stage = Stage::silent().await;
    let trigger = stage.trigger().await;
    let args = json!({"trigger_id": trigger, "view": modal(json!([reason()]))});
    assert_eq!(stage.app.error("views.open", args.clone()).await, "none");
    assert_eq!(
        stage.app.error("views.open", args).await,
        "exchanged_trigger_id"
    );
    stage.slack.time_scale(0.05);
    let trigger = stage.trigger().await;
    sleep(Duration::from_millis(200)).await;
    let args = json!({"trigger_id": trigger, "view": modal(json!([reason()]))});
    assert_eq!(
        stage.app.error("views.open", args).await,
        "expired_trigger_id"
    );
    let args = json!({"trigger_id": "1.2.3", "view": modal(json!([reason()]))});
    assert_eq!(
        stage.app.error("views.open", args).await,
        "invalid_trigger_id"
    );
}

#[tokio::test]
async fn a_bad_view_spends_no_trigger_and_is_explained() {
    let stage = Stage::silent().await;
    let trigger = stage.trigger().await;
    let mut view = modal(json!([reason()]));
    view["title"] = plain(&"x".repeat(25));
    let refused = stage
        .app
        .call("views.open", json!({"trigger_id": trigger, "view": view}))
        .await;
    assert_eq!(refused["error"], "invalid_arguments");
    assert_eq!(
        refused["response_metadata"]["messages"][0],
        "[ERROR] must be less than 25 characters [json-pointer:/view/title/text]"
    );
    let good = json!({"trigger_id": trigger, "view": modal(json!([reason()]))});
    assert_eq!(stage.app.error("views.open", good).await, "none");
}

#[tokio::test]
async fn a_submission_carries_the_state_and_empty_fields_never_leave_the_window() {
    let stage = Stage::silent().await;
    stage.open(modal(json!([reason()]))).await;
    let modal = stage.slack.user("U0ANA").modal().await;
    let Submitted::Errors(errors) = modal.submit().await else {
        panic!("sent")
    };
    assert_eq!(errors["reason"], REQUIRED);
    modal.fill("reason", "hey");
    assert!(matches!(modal.submit().await, Submitted::Errors(it) if it["reason"].contains("5")));
    assert!(modal.try_fill("reason", "eleven char").is_err());
    modal.fill("reason", "ten  chars");
    assert!(matches!(modal.submit().await, Submitted::Closed));
    let sent = stage.last();
    assert_eq!(sent["type"], "view_submission");
    assert_eq!(sent["view"]["private_metadata"], "{\"v\":1}");
    assert_eq!(
        sent["view"]["state"]["values"]["reason"]["reason"],
        json!({"type": "plain_text_input", "value": "ten  chars"})
    );
    assert!(!modal.is_open());
}

#[tokio::test]
async fn errors_name_inputs_of_the_view() {
    let stage =
        Stage::new(
            |payload| match payload["view"]["state"]["values"]["reason"]["reason"]["value"].as_str()
            {
                Some("known") => {
                    Some(json!({"response_action": "errors", "errors": {"reason": "no"}}))
                }
                Some(_) => {
                    Some(json!({"response_action": "errors", "errors": {"elsewhere": "no"}}))
                }
                None => None,
            },
        )
        .await;
    stage.open(modal(json!([reason()]))).await;
    let modal = stage.slack.user("U0ANA").modal().await;
    modal.fill("reason", "known");
    assert!(matches!(modal.submit().await, Submitted::Errors(it) if it["reason"] == "no"));
    modal.fill("reason", "other");
    assert!(matches!(modal.submit().await, Submitted::SawError));
    assert!(modal.is_open());
    assert!(stage.slack.seen_errors()[0].contains("elsewhere is no input block"));
}

#[tokio::test]
async fn a_submission_may_update_push_and_clear() {
    let stage = Stage::new(|payload| {
        let step = payload["view"]["private_metadata"].as_str()?;
        let mut next = modal(json!([{"type": "divider"}]));
        let (action, metadata) = match step {
            "{\"v\":1}" => ("update", "two"),
            "two" => ("push", "three"),
            "three" => ("push", "four"),
            "four" => ("push", "five"),
            _ => ("clear", ""),
        };
        next["private_metadata"] = json!(metadata);
        Some(json!({"response_action": action, "view": next}))
    })
    .await;
    stage.open(modal(json!([{"type": "divider"}]))).await;
    let first = stage.slack.user("U0ANA").modal().await;
    let Submitted::Updated(first) = first.submit().await else {
        panic!("not updated")
    };
    assert_eq!(first.view()["private_metadata"], "two");
    let Submitted::Pushed(second) = first.submit().await else {
        panic!("not pushed")
    };
    assert_eq!(second.view()["previous_view_id"], first.id());
    assert!(
        first.try_submit().await.is_err(),
        "only the top modal is submitted"
    );
    let Submitted::Pushed(third) = second.submit().await else {
        panic!("not pushed")
    };
    assert_eq!(third.view()["root_view_id"], first.id());
    assert!(
        matches!(third.submit().await, Submitted::SawError),
        "a fourth is too deep"
    );
    third.close().await;
    second.close().await;
    assert!(stage.slack.user("U0ANA").modal_now().unwrap().id() == first.id());
}

#[tokio::test]
async fn a_stack_is_three_deep() {
    let stage = Stage::silent().await;
    let button = json!([{"type": "actions", "elements": [{"type": "button", "action_id": "more", "text": plain("More")}]}]);
    stage.open(modal(button.clone())).await;
    let ana = stage.slack.user("U0ANA");
    for expected in ["none", "none", "push_limit_reached"] {
        assert!(ana.modal().await.click("more").await.acked());
        let trigger = stage.last()["trigger_id"].clone();
        let args = json!({"trigger_id": trigger, "view": modal(button.clone())});
        assert_eq!(stage.app.error("views.push", args).await, expected);
    }
}

#[tokio::test]
async fn an_external_select_asks_the_app_and_takes_only_what_is_offered() {
    let stage = Stage::new(|payload| {
        (payload["type"] == "block_suggestion").then(|| {
            let query = payload["value"].as_str().unwrap();
            let all = ["groupfile/admins", "groupfile/deploy"];
            let options: Vec<Value> = all
                .iter()
                .filter(|it| it.contains(query))
                .map(|it| option(it))
                .collect();
            json!({"options": options})
        })
    })
    .await;
    stage.open(modal(json!([target(), reason()]))).await;
    let modal = stage.slack.user("U0ANA").modal().await;
    modal.fill("reason", "kept?");
    assert_eq!(modal.options("target", "dep").await.len(), 1);
    let asked = stage.last();
    assert_eq!(
        asked["view"]["state"]["values"]["reason"]["reason"]["value"],
        "kept?"
    );
    assert_eq!(
        (&asked["action_id"], &asked["value"]),
        (&json!("target"), &json!("dep"))
    );
    assert!(modal.try_pick("target", "root").await.is_err());
    assert!(modal.pick("target", "groupfile/admins").await.acked());
    let clicked = stage.last();
    assert_eq!(
        clicked["type"], "block_actions",
        "dispatch_action tells the app"
    );
    assert_eq!(
        clicked["actions"][0]["selected_option"]["value"],
        "groupfile/admins"
    );
    assert!(clicked["actions"][0]["action_ts"].is_string());
    let view = &clicked["view"];
    assert_eq!(
        clicked["container"],
        json!({"type": "view", "view_id": view["id"]})
    );
    assert_eq!(
        view["state"]["values"]["target"]["target"]["selected_option"]["value"],
        "groupfile/admins"
    );
}

#[tokio::test]
async fn a_hundred_and_one_options_are_no_result() {
    let stage = Stage::new(|payload| {
        let many = if payload["value"] == "100" { 100 } else { 101 };
        (payload["type"] == "block_suggestion").then(
            || json!({"options": (0..many).map(|it| option(&it.to_string())).collect::<Vec<_>>()}),
        )
    })
    .await;
    stage.open(modal(json!([target()]))).await;
    let modal = stage.slack.user("U0ANA").modal().await;
    assert_eq!(modal.options("target", "100").await.len(), 100);
    assert!(modal.options("target", "101").await.is_empty());
    assert_eq!(stage.slack.seen_errors().len(), 1);
}

#[tokio::test]
async fn an_update_keeps_what_is_filled_in_where_block_and_action_stay() {
    let stage = Stage::silent().await;
    let opened = stage.open(modal(json!([reason()]))).await;
    let (id, hash) = (opened["view"]["id"].clone(), opened["view"]["hash"].clone());
    let shown = stage.slack.user("U0ANA").modal().await;
    shown.fill("reason", "typed");
    let update =
        |hash: &Value, blocks: Value| json!({"view_id": id, "hash": hash, "view": modal(blocks)});
    let more = json!([{"type": "divider"}, reason()]);
    let updated = stage
        .app
        .call("views.update", update(&hash, more.clone()))
        .await;
    assert_eq!(
        updated["view"]["state"]["values"]["reason"]["reason"]["value"],
        "typed"
    );
    assert_eq!(shown.view()["blocks"].as_array().unwrap().len(), 2);
    assert_eq!(
        stage.app.error("views.update", update(&hash, more)).await,
        "hash_conflict"
    );
    let mut renamed = reason();
    renamed["element"]["action_id"] = json!("other");
    let updated = stage
        .app
        .call(
            "views.update",
            update(&updated["view"]["hash"], json!([renamed])),
        )
        .await;
    assert_eq!(
        updated["view"]["state"]["values"]["reason"]["other"]["value"],
        Value::Null
    );
    shown.close().await;
    assert_eq!(
        stage
            .app
            .error("views.update", update(&Value::Null, json!([])))
            .await,
        "not_found"
    );
}

#[tokio::test]
async fn a_home_is_published_per_person_and_its_buttons_work() {
    let stage = Stage::silent().await;
    let ana = stage.slack.user("U0ANA");
    assert!(ana.open_home().await.acked());
    assert_eq!(stage.last()["event"]["type"], "app_home_opened");
    let home = json!({"type": "home", "blocks": [{"type": "actions", "elements": [
        {"type": "button", "action_id": "ask", "text": plain("Ask"), "value": "home"}]}]});
    let published = stage
        .app
        .call("views.publish", json!({"user_id": "U0ANA", "view": home}))
        .await;
    assert_eq!(published["ok"], true);
    assert!(ana.home().await.is_some() && stage.slack.user("U0BOB").home().await.is_none());
    assert!(ana.click_home("ask").await.acked());
    assert_eq!(stage.last()["view"]["type"], "home");
    assert_eq!(stage.last()["actions"][0]["value"], "home");
    let again = json!({"user_id": "U0ANA", "view": home, "hash": "0.old"});
    assert_eq!(
        stage.app.error("views.publish", again).await,
        "hash_conflict"
    );
}

async fn card(stage: &Stage, elements: Value) -> Value {
    let blocks = json!([{"type": "actions", "block_id": "decide", "elements": elements}]);
    stage
        .app
        .call(
            "chat.postMessage",
            json!({"channel": "C0SEC", "text": "card", "blocks": blocks}),
        )
        .await["ts"]
        .clone()
}

fn approve() -> Value {
    json!({"type": "button", "action_id": "jit_approve", "text": plain("Approve"), "value": "r1", "style": "primary"})
}

#[tokio::test]
async fn a_click_has_slacks_shape_and_needs_a_button_that_is_shown() {
    let stage = Stage::silent().await;
    let more = json!({"type": "overflow", "action_id": "more", "options": [option("details")]});
    let ts = card(&stage, json!([approve(), more])).await;
    let bob = stage.slack.user("U0BOB");
    let message = stage
        .slack
        .wait_for(&bob, "C0SEC", |it| it.shows("jit_approve"))
        .await;
    assert!(bob.click(&message, "Approve").await.acked(), "by its label");
    let sent = stage.last();
    assert_eq!(sent["user"]["id"], "U0BOB");
    assert_eq!(sent["team"]["id"], "T0EXAMPLE1");
    assert_eq!(sent["channel"], json!({"id": "C0SEC", "name": "security"}));
    assert_eq!(
        sent["container"],
        json!({"type": "message", "message_ts": ts, "channel_id": "C0SEC", "is_ephemeral": false})
    );
    assert_eq!(sent["message"]["blocks"][0]["block_id"], "decide");
    let action = &sent["actions"][0];
    for (key, value) in [
        ("action_id", "jit_approve"),
        ("block_id", "decide"),
        ("value", "r1"),
        ("type", "button"),
        ("style", "primary"),
    ] {
        assert_eq!(action[key], value, "{key}");
    }
    assert!(
        bob.click(&message, "more")
            .choosing("details")
            .await
            .acked()
    );
    assert_eq!(
        stage.last()["actions"][0]["selected_option"]["value"],
        "details"
    );
    let done = json!({"channel": "C0SEC", "ts": ts, "text": "done", "blocks": []});
    assert_eq!(stage.app.error("chat.update", done).await, "none");
    let fresh = tokio::spawn(bob.click(&message, "jit_approve").into_future());
    assert!(fresh.await.unwrap_err().is_panic(), "the button is gone");
    assert!(bob.stale_click(&message, "jit_approve").await.acked());
    assert_eq!(stage.last()["actions"][0]["value"], "r1");
}

#[tokio::test]
async fn a_response_url_is_good_for_five_answers_in_half_an_hour() {
    let stage = Stage::silent().await;
    card(&stage, json!([approve()])).await;
    let bob = stage.slack.user("U0BOB");
    let message = bob.messages("C0SEC").await[0].clone();
    assert!(bob.click(&message, "jit_approve").await.acked());
    let url = stage.last()["response_url"].clone();
    assert_eq!(
        stage
            .app
            .respond(&url, json!({"text": "only you"}))
            .await
            .status,
        200
    );
    let seen = stage
        .slack
        .wait_for(&bob, "C0SEC", |it| it.text == "only you")
        .await;
    assert!(seen.ephemeral);
    let replace = json!({"replace_original": true, "text": "replaced"});
    assert_eq!(stage.app.respond(&url, replace).await.status, 200);
    assert_eq!(bob.messages("C0SEC").await[0].text, "replaced");
    assert_eq!(
        stage
            .app
            .respond(&url, json!({"delete_original": true}))
            .await
            .status,
        200
    );
    assert_eq!(bob.messages("C0SEC").await.len(), 1);
    let public = json!({"text": "all", "response_type": "in_channel"});
    assert_eq!(stage.app.respond(&url, public.clone()).await.status, 200);
    assert_eq!(stage.slack.user("U0ANA").messages("C0SEC").await.len(), 1);
    assert_eq!(stage.app.respond(&url, public.clone()).await.status, 200);
    let sixth = stage.app.respond(&url, public.clone()).await;
    assert_eq!(
        (USES, sixth.status, sixth.body.as_str()),
        (5, 404, "used_url")
    );
    stage.slack.time_scale(0.0001);
    assert!(bob.slash("/jit", "").await.acked());
    let url = stage.last()["response_url"].clone();
    sleep(Duration::from_millis(250)).await;
    assert_eq!(stage.app.respond(&url, public).await.body, "expired_url");
}

#[tokio::test]
async fn whoever_left_does_nothing_and_changes_are_told() {
    let stage = Stage::silent().await;
    assert!(
        stage
            .slack
            .edit_group("S0OFFICERS", &["U0CLEO"])
            .await
            .acked()
    );
    let event = stage.last()["event"].clone();
    assert_eq!(event["type"], "subteam_members_changed");
    assert_eq!(
        (&event["added_users"], &event["removed_users"]),
        (&json!(["U0CLEO"]), &json!(["U0BOB"]))
    );
    assert!(stage.slack.deactivate("U0ANA").await.acked());
    assert_eq!(stage.last()["event"]["user"]["deleted"], true);
    let typed = tokio::spawn(stage.slack.user("U0ANA").slash("/jit", "").into_future());
    assert!(typed.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_direct_message_and_a_mention_reach_the_app() {
    let stage = Stage::silent().await;
    let ana = stage.slack.user("U0ANA");
    assert!(ana.say("dm", "hello").await.acked());
    let event = stage.last()["event"].clone();
    assert_eq!(
        (&event["type"], &event["channel_type"], &event["channel"]),
        (&json!("message"), &json!("im"), &json!("D0ANA"))
    );
    let mention = format!("<@{}> hi", stage.slack.bot_user());
    assert!(ana.say("C0SEC", &mention).await.acked());
    assert_eq!(stage.last()["event"]["type"], "app_mention");
    assert_eq!(
        ana.say("C0SEC", "to nobody").await,
        Outcome::Acked {
            payload: None,
            after: Duration::ZERO
        }
    );
}

#[tokio::test]
async fn several_choices_add_up_and_are_taken_back() {
    let stage = Stage::silent().await;
    let boxes = json!([{"type": "input", "block_id": "flags", "label": plain("Flags"), "dispatch_action": true,
        "element": {"type": "checkboxes", "action_id": "flags", "options": [option("a"), option("b")]}}]);
    stage.open(modal(boxes)).await;
    let shown = stage.slack.user("U0ANA").modal().await;
    shown.pick("flags", "a").await;
    shown.pick("flags", "b").await;
    assert_eq!(
        stage.last()["actions"][0]["selected_options"],
        json!([option("a"), option("b")])
    );
    shown.unpick("flags", "a");
    assert!(matches!(shown.submit().await, Submitted::Closed));
    let held = &stage.last()["view"]["state"]["values"]["flags"]["flags"];
    assert_eq!(held["selected_options"], json!([option("b")]));
}

#[tokio::test]
async fn a_closed_modal_is_told_where_the_app_asked_for_it() {
    let stage = Stage::silent().await;
    let mut view = modal(json!([reason()]));
    view["notify_on_close"] = json!(true);
    stage.open(view).await;
    stage.slack.user("U0ANA").modal().await.close().await;
    assert_eq!(stage.last()["type"], "view_closed");
    stage.open(modal(json!([reason()]))).await;
    stage.slack.user("U0ANA").modal().await.close().await;
    assert_eq!(stage.last()["type"], "shortcut", "nothing was told");
}

#[tokio::test]
async fn a_message_shortcut_holds_the_message() {
    let stage = Stage::silent().await;
    let ana = stage.slack.user("U0ANA");
    ana.say("C0SEC", "look at this").await;
    let message = ana.messages("C0SEC").await[0].clone();
    assert!(
        ana.message_shortcut(&message, "jit_request_from_message")
            .await
            .acked()
    );
    let sent = stage.last();
    assert_eq!(sent["type"], "message_action");
    assert_eq!(sent["message"]["text"], "look at this");
    assert_eq!(sent["callback_id"], "jit_request_from_message");
    assert!(sent["response_url"].is_string());
}
