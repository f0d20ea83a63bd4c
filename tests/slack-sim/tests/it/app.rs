//! The smallest Slack app: raw HTTP and raw WebSockets.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use futures_util::{SinkExt, StreamExt};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use slack_sim::SlackSim;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

#[derive(Clone)]
pub(crate) struct App {
    client: Client<HttpConnector, Body>,
    pub(crate) api: String,
    pub(crate) bot: String,
    pub(crate) link: String,
}

/// What a call was answered: status, `Retry-After`, body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

impl App {
    pub(crate) fn of(slack: &SlackSim) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            api: slack.api_url(),
            bot: slack.bot_token().to_owned(),
            link: slack.app_token().to_owned(),
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response: Response<_> = self.client.request(request).await.unwrap();
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.map(|it| it.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = to_bytes(Body::new(response.into_body()), 1 << 20)
            .await
            .unwrap();
        Answer {
            status,
            retry_after,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn with_token(&self, token: &str, method: &str, args: Value) -> Answer {
        let request = Request::post(format!("{}/{method}", self.api))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json; charset=utf-8")
            .body(Body::from(args.to_string()))
            .unwrap();
        self.send(request).await
    }

    /// A POST with JSON.
    pub(crate) async fn call(&self, method: &str, args: Value) -> Value {
        let answer = self.with_token(&self.bot, method, args).await;
        serde_json::from_str(&answer.body).unwrap()
    }

    /// A GET with a query.
    pub(crate) async fn get(&self, method: &str, query: &str) -> Value {
        let request = Request::get(format!("{}/{method}?{query}", self.api))
            .header("authorization", format!("Bearer {}", self.bot))
            .body(Body::empty())
            .unwrap();
        serde_json::from_str(&self.send(request).await.body).unwrap()
    }

    /// The error of a POST with JSON.
    pub(crate) async fn error(&self, method: &str, args: Value) -> String {
        self.call(method, args).await["error"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    }

    pub(crate) async fn respond(&self, url: &Value, answer: Value) -> Answer {
        let request = Request::post(url.as_str().unwrap())
            .header("content-type", "application/json")
            .body(Body::from(answer.to_string()))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn ticket(&self) -> String {
        let answer = self
            .with_token(&self.link, "apps.connections.open", json!({}))
            .await;
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        answer["url"].as_str().unwrap().to_owned()
    }

    /// A connection that has said hello.
    pub(crate) async fn connect(&self) -> Link {
        let mut link = Link::to(&self.ticket().await).await.unwrap();
        assert_eq!(link.next().await.unwrap()["type"], "hello");
        link
    }

    /// Answers every envelope by this rule, over one connection, until the simulator stops.
    pub(crate) async fn serve(&self, rule: impl Fn(&Value) -> Option<Value> + Send + 'static) {
        let mut link = self.connect().await;
        tokio::spawn(async move {
            while let Some(envelope) = link.next().await {
                let payload = rule(&envelope["payload"]);
                link.ack(&envelope, payload).await;
            }
        });
    }
}

pub(crate) struct Link(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Link {
    pub(crate) async fn to(url: &str) -> Result<Self, Box<Error>> {
        Ok(Self(connect_async(url).await.map_err(Box::new)?.0))
    }

    /// The next JSON frame; nothing once the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await;
            match frame.expect("a frame or an end") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).ok(),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Closes it: what the other side said last.
    pub(crate) async fn close(mut self) -> Option<Message> {
        self.0.close(None).await.unwrap();
        let mut last = None;
        while let Some(frame) = self.0.next().await {
            last = Some(frame.expect("the other side closes in the same way"));
        }
        last
    }

    pub(crate) async fn ack(&mut self, envelope: &Value, payload: Option<Value>) {
        let mut frame = json!({"envelope_id": envelope["envelope_id"]});
        if let Some(payload) = payload {
            frame["payload"] = payload;
        }
        let _ = self.0.send(Message::text(frame.to_string())).await;
    }
}
