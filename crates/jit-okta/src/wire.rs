//! What is sent to Okta, and how its answers are read. How bytes go there and back is `jit-wire`'s;
//! what is asked is decided elsewhere.

use jit_wire::{Gate, NoAnswer, Passage, Wire, whole};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderValue};
use reqwest::{Method, Response, Url};

use crate::answer::Answer;
use crate::token::Bearer;
use crate::trouble::{NotDone, Trouble};

/// The longest body that is read: a page of 200 users has about half a megabyte.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// Reads.
pub(crate) async fn get(
    wire: &Wire,
    action: &'static str,
    url: Url,
    bearer: Option<&Bearer>,
) -> Result<Answer, Trouble> {
    let mut request = wire.pooled().get(url).header(ACCEPT, "application/json");
    if let Some(bearer) = bearer {
        request = request.header(AUTHORIZATION, bearer.header());
    }
    answered(action, request.send().await, Passage::Through).await
}

/// Posts a form; only for what changes no access.
pub(crate) async fn post_form(
    wire: &Wire,
    action: &'static str,
    url: Url,
    form: &[(&str, &str)],
) -> Result<Answer, Trouble> {
    let request = wire.pooled().post(url).header(ACCEPT, "application/json");
    let sent = request.form(form).send().await;
    answered(action, sent, Passage::Through).await
}

/// Sends a call without a body once, if its gate lets it through.
pub(crate) async fn send_once(
    wire: &Wire,
    action: &'static str,
    method: Method,
    url: Url,
    bearer: &Bearer,
    gate: &Gate,
) -> Result<Answer, Trouble> {
    let request = wire
        .once(gate)
        .map_err(Trouble::Wire)?
        .request(method, url)
        .header(ACCEPT, "application/json")
        .header(AUTHORIZATION, bearer.header())
        // Some servers refuse a PUT that does not say that it has no body.
        .header(CONTENT_LENGTH, HeaderValue::from_static("0"));
    answered(action, request.send().await, gate.passage()).await
}

async fn answered(
    action: &'static str,
    sent: Result<Response, reqwest::Error>,
    passage: Passage,
) -> Result<Answer, Trouble> {
    match whole(sent, BODY_LIMIT).await {
        Ok(answer) => Ok(Answer {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
        }),
        Err(NoAnswer::TooLong) => Err(Trouble::TooLong),
        Err(NoAnswer::Broken(error)) => Err(NotDone::unanswered(action, error, passage)),
    }
}
