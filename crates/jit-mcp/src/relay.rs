//! The same tools over standard input and output, for clients that start a program: each call goes on
//! to the service over HTTP. The relay holds no state, opens no store, and knows no token: the client
//! that it is given sends that along.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, StatusCode};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CustomRequest, CustomResult,
    ErrorCode, ListToolsResult, PaginatedRequestParams, ResultType, ServerConfig,
};
use rmcp::service::{RequestContext, ServerInitializeError};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::tools;

/// The version of the protocol between the relay and the service, whatever the client speaks: a call
/// of it needs nothing but itself.
const VERSION: &str = "2025-06-18";
/// A call may wait 20 s for a change, and 30 s are given to any.
const DEADLINE: Duration = Duration::from_secs(60);
/// The longest answer that is read, in bytes: a list of two hundred long requests.
const ANSWER_LIMIT: usize = 8 * 1_024 * 1_024;

/// Why the relay stopped.
#[derive(Debug, thiserror::Error)]
#[error("what is on standard input is no client of the Model Context Protocol")]
pub struct RelayError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Relays until standard input ends.
///
/// `client` sends the agent's token with each call, and `server` is where jitd's API is, such as
/// `http://127.0.0.1:8080`: what may be sent where is judged by whoever made the client.
///
/// # Errors
/// Where standard input holds no such client. A server that cannot be reached is no error: each call
/// says so.
pub async fn relay(client: Client, server: &str) -> Result<(), RelayError> {
    let url = format!("{}{}", server.trim_end_matches('/'), crate::PATH);
    let relay = Relay { client, url };
    let running = match relay.serve(rmcp::transport::stdio()).await {
        Ok(running) => running,
        // Whoever started it went away before the first word.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(RelayError(Box::new(error))),
    };
    let ended = running.waiting().await;
    ended.map_err(|error| RelayError(Box::new(error)))?;
    Ok(())
}

struct Relay {
    client: Client,
    url: String,
}

/// What the service answers, as JSON-RPC has it.
#[derive(Deserialize)]
struct Reply {
    result: Option<Value>,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    code: i32,
    message: String,
}

impl Relay {
    /// One call of the service. What it refuses and what does not reach it is told in a sentence.
    async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, ErrorData> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let sent = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .timeout(DEADLINE)
            .body(call.to_string())
            .send()
            .await;
        let mut answer = sent.map_err(|error| {
            let how = match error.is_timeout() {
                true => "did not answer in time; look before you try again",
                false => "cannot be reached; is jitd running, and the address right?",
            };
            failed(format!("{} {how}", self.url))
        })?;
        let status = answer.status();
        let why = match status {
            StatusCode::UNAUTHORIZED => Some(
                "the token is not valid any more, or never was; ask an operator for a new one"
                    .to_owned(),
            ),
            StatusCode::FORBIDDEN => Some(format!(
                "{} is not a name by which jitd answers; an operator adds it to hosts in [mcp]",
                self.url
            )),
            StatusCode::NOT_FOUND => Some(format!(
                "there are no tools at {}; an operator adds [mcp] to jitd's configuration",
                self.url
            )),
            _ => None,
        };
        if let Some(why) = why {
            return Err(failed(why));
        }
        let mut body: Vec<u8> = vec![];
        let broken = || failed(format!("the answer of {} broke off", self.url));
        while let Some(chunk) = answer.chunk().await.map_err(|_| broken())? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(failed(format!("the answer of {} is too long", self.url)));
            }
            body.extend_from_slice(&chunk);
        }
        let strange = || failed(format!("{} answered {status}, and no tool does", self.url));
        let reply: Reply = serde_json::from_slice(&body).map_err(|_| strange())?;
        match (reply.result, reply.error) {
            (Some(result), None) => serde_json::from_value(result).map_err(|_| strange()),
            (_, Some(error)) => Err(ErrorData::new(ErrorCode(error.code), error.message, None)),
            (None, None) => Err(strange()),
        }
    }
}

fn failed(why: String) -> ErrorData {
    ErrorData::internal_error(why, None)
}

impl ServerHandler for Relay {
    fn get_info(&self) -> ServerConfig {
        tools::info()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let listed: ListToolsResult = self.call("tools/list", json!({})).await?;
        // The service answered in an older version, which does not say that an answer is whole.
        Ok(ListToolsResult {
            result_type: Some(ResultType::COMPLETE),
            ..listed
        })
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let params = json!({"name": call.name, "arguments": call.arguments.unwrap_or_default()});
        let done: Result<CallToolResult, _> = self.call("tools/call", params).await;
        // A failure is told to the agent, which cannot see errors of the protocol.
        let mut done = done.unwrap_or_else(|error| {
            let told = json!({"error": "failed", "message": error.message});
            CallToolResult::structured_error(told)
        });
        done.result_type = Some(ResultType::COMPLETE);
        Ok(done.into())
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(tools::unknown_method(&request))
    }
}
