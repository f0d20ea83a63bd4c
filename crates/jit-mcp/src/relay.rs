//! The same tools over standard input and output, for clients that start a program: each call goes on
//! to the service over HTTP, with the agent's token. The relay holds no state and opens no store.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorCode, ListToolsResult,
    PaginatedRequestParams, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::tools;

/// The version of the protocol between the relay and the service, whatever the client speaks: a call
/// of it needs nothing but itself.
const VERSION: &str = "2025-06-18";
/// A call may wait 20 s for a change, and 30 s are given to any.
const DEADLINE: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes: a list of two hundred long requests.
const ANSWER_LIMIT: usize = 8 * 1_024 * 1_024;

/// Why the relay did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The token has characters that no token has.
    #[error("the token is none; `jit token new --for agent:NAME` makes one")]
    BadToken,
    /// No client could be made.
    #[error("no HTTP client could be made")]
    Client(#[source] reqwest::Error),
    /// Standard input or output broke.
    #[error("the client on standard input said nothing that makes sense")]
    Stream(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Relays until standard input ends.
///
/// `server` is where jitd's API is, such as `http://127.0.0.1:8080`.
///
/// # Errors
/// See [`RelayError`]. A server that cannot be reached is none: each call says so.
pub async fn relay(server: &str, token: &SecretString) -> Result<(), RelayError> {
    // Another part of the process may have chosen it already, which is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let relay = Relay::new(server, token)?;
    let broken = |error| RelayError::Stream(error);
    let running = relay.serve(rmcp::transport::stdio()).await;
    let running = running.map_err(|error| broken(Box::new(error)))?;
    running
        .waiting()
        .await
        .map_err(|error| broken(Box::new(error)))?;
    Ok(())
}

struct Relay {
    client: Client,
    url: String,
    bearer: HeaderValue,
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
    fn new(server: &str, token: &SecretString) -> Result<Self, RelayError> {
        let bearer = format!("Bearer {}", token.expose_secret());
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| RelayError::BadToken)?;
        bearer.set_sensitive(true);
        let client = Client::builder()
            .timeout(DEADLINE)
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        Ok(Self {
            client: client.map_err(RelayError::Client)?,
            url: format!("{}{}", server.trim_end_matches('/'), crate::PATH),
            bearer,
        })
    }

    /// One call of the service. What it refuses and what does not reach it is told in a sentence.
    async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, ErrorData> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let sent = self
            .client
            .post(&self.url)
            .header(AUTHORIZATION, self.bearer.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
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
        if status == StatusCode::UNAUTHORIZED {
            let why =
                "the token is not valid any more, or never was; ask an operator for a new one";
            return Err(failed(why.to_owned()));
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
        self.call("tools/list", json!({})).await
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let params = json!({"name": call.name, "arguments": call.arguments.unwrap_or_default()});
        let done: Result<CallToolResult, _> = self.call("tools/call", params).await;
        // A failure is told to the agent, which cannot see errors of the protocol.
        Ok(done
            .unwrap_or_else(|error| {
                let told = json!({"error": "failed", "message": error.message});
                CallToolResult::structured_error(told)
            })
            .into())
    }
}
