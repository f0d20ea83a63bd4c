//! How bytes go to PagerDuty and come back, within a deadline and a limit. What is asked is decided
//! elsewhere.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;

use crate::address::Address;
use crate::trouble::Trouble;

/// The longest body that is read: a page of a hundred users has about a hundred kilobytes.
const BODY_LIMIT: usize = 1024 * 1024;
/// The longest that PagerDuty is left alone because it says so; its own windows are a minute long.
const PAUSE_LIMIT_SECS: u64 = 60;

/// A client for one of PagerDuty's APIs.
pub(crate) fn client(address: &Address, deadline: Duration) -> Result<Client, Trouble> {
    // An error says that a provider is installed already, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .timeout(deadline)
        .redirect(redirect::Policy::none())
        .user_agent("jit-access");
    let client = match address.is_on_this_machine() {
        // What goes to loopback in the clear stays on this machine.
        true => client.no_proxy(),
        false => client,
    };
    let made = client.build();
    made.map_err(|error| Trouble::Client(error.without_url()))
}

/// Sends a call; any other status than this one is trouble.
pub(crate) async fn sent(call: RequestBuilder, good: StatusCode) -> Result<Response, Trouble> {
    let answer = call.send().await?;
    match answer.status() {
        status if status == good => Ok(answer),
        StatusCode::TOO_MANY_REQUESTS => Err(Trouble::TooFast {
            retry_after_ms: pause(answer.headers()),
        }),
        status => Err(Trouble::Status(status)),
    }
}

/// When to come back, where PagerDuty says so in whole seconds.
/// Source: <https://developer.pagerduty.com/docs/72d3b724589e3-rest-api-rate-limits>
fn pause(headers: &HeaderMap) -> Option<u64> {
    let said = |name| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let secs = said("retry-after").or_else(|| said("ratelimit-reset"))?;
    Some(secs.min(PAUSE_LIMIT_SECS) * 1_000)
}

/// Reads an answer in JSON.
pub(crate) async fn read<T: DeserializeOwned>(mut answer: Response) -> Result<T, Trouble> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(Trouble::TooLong(BODY_LIMIT));
        }
        body.extend_from_slice(&chunk);
    }
    // The error would quote what it could not read, which may be somebody's address.
    serde_json::from_slice(&body).map_err(|_| Trouble::Garbage("it has not the expected form"))
}
