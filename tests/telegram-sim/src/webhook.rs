//! Calling a webhook: one update after the other, each again until it was taken with 2xx.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::state::Webhook;
use crate::world::World;

/// The pause before an update is sent again. Telegram's is longer.
const AGAIN: Duration = Duration::from_millis(100);
/// How long the other side may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Delivers for ever.
pub(crate) async fn deliver(world: World) {
    loop {
        let stirred = world.stirred();
        let next = world.with(|state| {
            let update = state.updates.front()?.clone();
            Some((state.webhook.clone()?, update))
        });
        let Some((webhook, update)) = next else {
            stirred.await;
            continue;
        };
        let sent = tokio::time::timeout(PATIENCE, post(&webhook, &update)).await;
        let trouble = match sent {
            Ok(Ok(status)) if (200..300).contains(&status) => None,
            Ok(Ok(status)) => Some(format!("Wrong response from the webhook: {status}")),
            Ok(Err(_)) => Some("Connection failed".to_owned()),
            Err(_) => Some("Read timeout expired".to_owned()),
        };
        let failed = trouble.is_some();
        world.with(|state| {
            if !failed && state.updates.front() == Some(&update) {
                state.updates.pop_front();
            }
            if let Some(webhook) = &mut state.webhook {
                webhook.last_error = trouble.or(webhook.last_error.take());
            }
        });
        if failed {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Sends one update; the status of the answer.
async fn post(webhook: &Webhook, update: &Value) -> std::io::Result<u16> {
    let broken = || std::io::Error::other("not HTTP");
    let rest = webhook.url.strip_prefix("http://").ok_or_else(broken)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let body = update.to_string();
    let secret = webhook.secret.as_ref().map_or(String::new(), |secret| {
        format!("X-Telegram-Bot-Api-Secret-Token: {secret}\r\n")
    });
    let head = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{secret}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    status.ok_or_else(broken)
}
