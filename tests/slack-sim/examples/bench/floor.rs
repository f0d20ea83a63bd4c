//! The floor: an app that does the visible work and nothing else. No policy, no store, no audit, no
//! look at who somebody is; one connection, acknowledged from where it is read.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, header};
use futures_util::{SinkExt, StreamExt};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::Failure;
use crate::slack::{APPROVE, CHANNEL};

struct Floor {
    client: Client<HttpConnector, Body>,
    api: String,
}

impl Floor {
    async fn post(&self, method: &str, body: &Value) -> Result<Value, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/{method}", self.api))
            .header(header::AUTHORIZATION, "Bearer xoxb-bench")
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(Body::from(body.to_string()))?;
        let answer = self.client.request(request).await?;
        let bytes = axum::body::to_bytes(Body::new(answer.into_body()), 1 << 20).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    async fn show(&self, method: &str, card: &Value) {
        if let Err(error) = self.post(method, card).await {
            eprintln!("the floor could not call {method}: {error}");
        }
    }
}

/// Serves until it is killed.
pub(crate) async fn run(api: String) -> Result<(), Failure> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let floor = Arc::new(Floor { client, api });
    let opened = floor.post("apps.connections.open", &json!({})).await?;
    let url = opened["url"].as_str().unwrap_or_default();
    let authority = url.split('/').nth(2).unwrap_or_default();
    let socket = TcpStream::connect(authority).await?;
    socket.set_nodelay(true)?;
    let (stream, _) = client_async(url, socket).await?;
    let (mut sink, mut source) = stream.split();
    while let Some(frame) = source.next().await {
        let Frame::Text(text) = frame? else { continue };
        let envelope: Value = serde_json::from_str(&text)?;
        let Some(id) = envelope["envelope_id"].as_str() else {
            continue;
        };
        let (ack, method, card) = work(id, &envelope["payload"]);
        sink.send(Frame::text(ack.to_string())).await?;
        let floor = Arc::clone(&floor);
        tokio::spawn(async move { floor.show(method, &card).await });
    }
    Ok(())
}

fn work(id: &str, payload: &Value) -> (Value, &'static str, Value) {
    let user = payload["user"]["id"].as_str().unwrap_or_default();
    if payload["type"] == "view_submission" {
        let values = &payload["view"]["state"]["values"];
        let target = values["target"]["target"]["selected_option"]["value"].as_str();
        let reason = values["reason"]["reason"]["value"].as_str();
        let about = [user, target.unwrap_or_default(), reason.unwrap_or_default()].join("|");
        let view = json!({
            "type": "modal", "callback_id": "sent",
            "title": {"type": "plain_text", "text": "Request access"},
            "blocks": [{"type": "section", "text": {"type": "plain_text", "text": "Sending…"}}],
        });
        let ack =
            json!({"envelope_id": id, "payload": {"response_action": "update", "view": view}});
        return (ack, "chat.postMessage", card(&about, "Pending", true));
    }
    let about = payload["actions"][0]["value"].as_str().unwrap_or_default();
    let mut card = card(about, &format!("Approved by <@{user}>"), false);
    card["ts"] = payload["container"]["message_ts"].clone();
    (json!({"envelope_id": id}), "chat.update", card)
}

fn card(about: &str, state: &str, open: bool) -> Value {
    let mut parts = about.split('|');
    let (user, target) = (parts.next(), parts.next());
    let (user, target) = (user.unwrap_or_default(), target.unwrap_or_default());
    let field = |text: String| json!({"type": "mrkdwn", "text": text});
    let plain = |text: &str| json!({"type": "plain_text", "text": text});
    let mut blocks = vec![
        json!({"type": "header", "text": plain("Access request")}),
        json!({"type": "section", "fields": [
            field(format!("*Who*\n<@{user}>")), field(format!("*What*\n`{target}`")),
            field("*How long*\n1 h".to_owned()), field("*Tier*\nstandard".to_owned()),
        ]}),
        json!({"type": "section", "text": plain(parts.next().unwrap_or_default())}),
    ];
    if open {
        let button = |action: &str, label: &str| json!({"type": "button", "action_id": action, "text": plain(label), "value": about});
        let buttons = [button(APPROVE, "Approve 1 h"), button("jit_deny", "Deny")];
        blocks.push(json!({"type": "actions", "block_id": "decide", "elements": buttons}));
    }
    blocks.push(json!({"type": "context", "elements": [field(state.to_owned())]}));
    json!({"channel": CHANNEL, "text": format!("{user} asks for {target}"), "blocks": blocks})
}
