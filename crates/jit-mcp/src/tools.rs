//! The four tools: what they are called, what they take, and which command each of them is.

use std::sync::Arc;
use std::time::Duration;

use jit_core::catalog::{Entitlement, EntitlementId};
use jit_core::engine::{Engine, EngineError, Extent, NewRequest, Verb};
use jit_core::ports::Query;
use jit_core::principal::Principal;
use jit_core::request::{AccessRequest, RequestId, Status};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode,
    Implementation, JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
    ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Decisions;
use crate::answer::{self, Failed};
use crate::arguments::{Action, Ask, Decide, Describe, List, WAIT_MAX, read};
use crate::view;
use crate::waits::Waits;

/// How often a look that waits looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many entitlements are written into the description of a tool, and named in an error.
const TOLD: usize = 50;
/// The longest that is written about the parameters of one of them, in bytes.
const SCHEMA_TOLD: usize = 2_000;
/// How much of the name of a method that is not there is told back, in characters.
const METHOD_TOLD: usize = 60;
/// How many requests a list has.
const LISTED: usize = 100;
/// Requests that are granted in one way or another.
const GRANTED: [Status; 4] = [
    Status::Approved,
    Status::Provisioning,
    Status::Active,
    Status::Revoking,
];

const INSTRUCTIONS: &str = "Nobody has standing access here. Ask for what a task needs with \
    request_tool_access, for the person you work for, for as short a time as will do; a human \
    decides. Then look with describe_access_request until it is active, denied or lapsed. Access ends \
    by itself. You cannot approve anything: that is for humans.";

/// The tools of one engine. Cheap to clone; every call is judged by the token that it carries.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    engine: Arc<Engine>,
    waits: Arc<Waits>,
    decisions: Decisions,
}

impl Tools {
    pub(crate) fn new(engine: Arc<Engine>, decisions: Decisions) -> Self {
        Self {
            engine,
            waits: Arc::default(),
            decisions,
        }
    }

    async fn ask(&self, via: &Principal, ask: Ask) -> Result<Value, Failed> {
        let entitlement = self.named(via, &ask.tool_name).await?;
        let reason = match ask.reason {
            Some(reason) => reason,
            None => format!("{} asks for {} over MCP", via.id, entitlement.name())
                .parse()
                .map_err(|_| Failed::Arguments("write a reason".to_owned()))?,
        };
        let new = NewRequest {
            beneficiary: Some(ask.user_email),
            parts: vec![(entitlement, ask.tool_params)],
            ttl: ask.ttl,
            reason,
            idempotency_key: None,
        };
        let opened = self.engine.open(via, new).await?;
        Ok(self.shown(&opened))
    }

    /// What a tool's name stands for: an entitlement's whole id, or what stands behind its provider
    /// where only one has it.
    async fn named(&self, via: &Principal, name: &str) -> Result<EntitlementId, Failed> {
        if let Ok(id) = name.parse::<EntitlementId>()
            && self.engine.entitlement(via, &id).await?.is_some()
        {
            return Ok(id);
        }
        let found = self.engine.search(via, name, usize::MAX).await?;
        let mut named = found.entries.iter().filter(|it| it.id.name() == name);
        match (named.next(), named.next()) {
            (Some(only), None) => Ok(only.id.clone()),
            (None, _) => {
                let known = self.engine.search(via, "", TOLD).await?.entries;
                let known: Vec<_> = known.iter().map(|it| it.id.name()).collect();
                let name: String = name.chars().take(60).collect();
                Err(Failed::Arguments(format!(
                    "there is no tool {name:?} that you may ask for; there are: {}",
                    known.join(", ")
                )))
            }
            (Some(one), Some(other)) => Err(Failed::Arguments(format!(
                "several are called so; write the whole id, such as {} or {}",
                one.id, other.id
            ))),
        }
    }

    async fn decide(&self, via: &Principal, say: Decide) -> Result<Value, Failed> {
        let id = say.request_id;
        let digest = match (say.digest, self.decisions) {
            (_, Decisions::Elsewhere) => {
                let why = "nothing is decided here; decide it in the chat, or with `jit approve`";
                return Err(Failed::Arguments(why.to_owned()));
            }
            // Whoever was shown a digest is held to that.
            (Some(digest), Decisions::Any | Decisions::OfWhatWasShown) => digest,
            (None, Decisions::OfWhatWasShown) => {
                let why = "give the digest of what you were shown; describe_access_request has it";
                return Err(Failed::Arguments(why.to_owned()));
            }
            // What a request asks for never changes, so that its id says what is decided.
            (None, Decisions::Any) => self.engine.show(via, id).await?.digest().to_string(),
        };
        let verb = match say.approval_action {
            Action::Approve => Verb::Approve {
                ttl: say.ttl,
                digest,
            },
            Action::Reject => Verb::Deny {
                reason: match say.reason {
                    Some(reason) => reason,
                    None => "rejected over MCP, without a reason"
                        .parse()
                        .map_err(|_| Failed::Arguments("write a reason".to_owned()))?,
                },
                digest,
            },
        };
        let decided = self.engine.handle(via, id, verb).await?;
        Ok(self.shown(&decided))
    }

    async fn describe(&self, via: &Principal, look: Describe) -> Result<Value, Failed> {
        let id = look.request_id;
        let seen = self.engine.show(via, id).await?;
        let wait = look.wait.map_or(Duration::ZERO, |wait| wait.duration());
        if wait.is_zero() {
            return Ok(self.shown(&seen));
        }
        // Without a turn to wait it is answered at once, as if the time were over.
        let Some(_turn) = self.waits.turn(&via.id) else {
            return Ok(self.shown(&seen));
        };
        self.wait_for_change(id, seen.version, wait.min(WAIT_MAX))
            .await?;
        // Read anew, because the right to see it may have gone meanwhile.
        Ok(self.shown(&self.engine.show(via, id).await?))
    }

    async fn wait_for_change(
        &self,
        id: RequestId,
        version: u64,
        wait: Duration,
    ) -> Result<(), Failed> {
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline {
            tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_EVERY)).await;
            let record = self.engine.store().load(id).await?;
            if record.is_none_or(|record| record.version > version) {
                break;
            }
        }
        Ok(())
    }

    async fn list(&self, via: &Principal) -> Result<Value, Failed> {
        let of = |statuses: &[Status]| Query {
            statuses: statuses.to_vec(),
            limit: LISTED,
            ..Query::default()
        };
        let pending = self.engine.list(via, of(&[Status::Pending])).await?;
        let granted = self.engine.list(via, of(&GRANTED)).await?;
        let shown = |requests: &[AccessRequest]| -> Vec<Value> {
            requests.iter().map(|it| self.shown(it)).collect()
        };
        let perhaps_more = pending.extent == Extent::PerhapsMore
            || pending.requests.len() == LISTED
            || granted.requests.len() == LISTED;
        Ok(json!({
            "requests": shown(&pending.requests),
            "granted": shown(&granted.requests),
            "perhaps_more": perhaps_more,
        }))
    }

    fn shown(&self, request: &AccessRequest) -> Value {
        view::request(request, self.engine.catalog())
    }

    async fn call(&self, via: &Principal, call: CallToolRequestParams) -> Result<Value, Failed> {
        match call.name.as_ref() {
            ASK => self.ask(via, arguments(call)?).await,
            DECIDE => self.decide(via, arguments(call)?).await,
            DESCRIBE => self.describe(via, arguments(call)?).await,
            LIST => {
                let List {} = arguments(call)?;
                self.list(via).await
            }
            other => Err(Failed::Arguments(format!(
                "there is no tool {:?} here; there are {ASK}, {DECIDE}, {DESCRIBE} and {LIST}",
                other.chars().take(60).collect::<String>()
            ))),
        }
    }
}

fn arguments<T: serde::de::DeserializeOwned>(call: CallToolRequestParams) -> Result<T, Failed> {
    read(call.arguments).map_err(Failed::Arguments)
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        info()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let via = caller(&context)?;
        let entries = match self.engine.search(&via, "", TOLD).await {
            Ok(found) => found.entries,
            // Whoever is nobody here learns so when they call one.
            Err(EngineError::Refused(_)) => vec![],
            Err(EngineError::Failed(error)) => {
                let reference = reference(&context);
                tracing::error!(reference, error = %error.chain(), "tools could not be listed");
                let told = format!("something failed, reference {reference}");
                return Err(ErrorData::internal_error(told, None));
            }
        };
        Ok(ListToolsResult::with_all_items(tools(&entries)))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let via = caller(&context)?;
        let name = call.name.clone();
        let done = self.call(&via, call).await;
        let outcome = match &done {
            Ok(_) => "done",
            Err(Failed::Arguments(_)) => "unreadable",
            Err(Failed::Engine(EngineError::Refused(refusal))) => refusal.code(),
            Err(Failed::Engine(EngineError::Failed(_))) => "failed",
        };
        let known = TOOLS.iter().find(|it| **it == name);
        let tool = known.copied().unwrap_or("unknown");
        tracing::info!(event = "tool_call", tool, outcome, "a tool was called");
        count(tool, &done);
        Ok(answer::of(done, reference(&context)).into())
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(unknown_method(&request))
    }
}

/// What a client is told that calls a method of its own. The library would answer with the name alone,
/// however long it is and also where it is empty.
pub(crate) fn unknown_method(request: &CustomRequest) -> ErrorData {
    let name: String = request.method.chars().take(METHOD_TOLD).collect();
    let told = format!("there is no method {name:?} here; the tools are in tools/list");
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, told, None)
}

/// Counts what came to nothing, as every door does. What was done is a commit, and is counted there.
fn count(tool: &str, done: &Result<Value, Failed>) {
    let outcome = match done {
        Err(Failed::Engine(EngineError::Refused(_))) => "refused",
        Err(Failed::Engine(EngineError::Failed(_))) => "failed",
        Ok(_) | Err(Failed::Arguments(_)) => return,
    };
    match tool {
        ASK => metrics::counter!("jit_requests_total", "outcome" => outcome).increment(1),
        DECIDE => metrics::counter!("jit_decisions_total", "outcome" => outcome).increment(1),
        _ => {}
    }
}

/// What the server says of itself.
pub(crate) fn info() -> ServerConfig {
    ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
        .with_server_info(Implementation::new("jit", env!("CARGO_PKG_VERSION")))
        .with_instructions(INSTRUCTIONS)
}

/// By which the log knows the call, as the HTTP layer in front says.
fn reference(context: &RequestContext<RoleServer>) -> &str {
    let parts = context.extensions.get::<http::request::Parts>();
    let given = parts.and_then(|parts| parts.headers.get("x-request-id"));
    given.and_then(|it| it.to_str().ok()).unwrap_or("unknown")
}

/// Who calls, as the HTTP layer in front authenticated them.
fn caller(context: &RequestContext<RoleServer>) -> Result<Principal, ErrorData> {
    let parts = context.extensions.get::<http::request::Parts>();
    let via = parts.and_then(|parts| parts.extensions.get::<Principal>());
    via.cloned()
        .ok_or_else(|| ErrorData::invalid_request("the call carries no token", None))
}

// ------------------------------------------------------------------------------------------ the tools

const ASK: &str = "request_tool_access";
const DECIDE: &str = "approve_tool_access_request";
const DESCRIBE: &str = "describe_access_request";
const LIST: &str = "list_active_access_requests";
const TOOLS: [&str; 4] = [ASK, DECIDE, DESCRIBE, LIST];

/// The tools, for somebody who may ask for these.
fn tools(entries: &[Entitlement]) -> Vec<Tool> {
    let request_id = json!({"type": "string", "description": "req-… of the request."});
    let ttl =
        |what: &str| json!({"type": "string", "pattern": "^[0-9]+[smhd]$", "description": what});
    vec![
        tool(
            ASK,
            &format!(
                "Ask for temporary access to a tool, for a person, with exact parameters. A human \
                 decides; the access ends by itself.{}",
                offered(entries)
            ),
            json!({
                "type": "object",
                "properties": {
                    "tool_name": {"type": "string", "description": "Which tool."},
                    "user_email": {
                        "type": "string",
                        "description": "For whom: the person you work for."
                    },
                    "tool_params": {
                        "type": "object",
                        "description": "The tool's own parameters; {} where it takes none."
                    },
                    "ttl": ttl("For how long, as in 30m or 1h; usually 1h."),
                    "reason": {
                        "type": "string",
                        "description": "Why, for whoever decides: at most 1000 characters."
                    }
                },
                "required": ["tool_name", "user_email", "tool_params"],
                "additionalProperties": false
            }),
            ToolAnnotations::default()
                .destructive(false)
                .idempotent(false),
        ),
        tool(
            DECIDE,
            "Decide on a request. For humans with the right to; agents are refused, and so is whoever \
             asked.",
            json!({
                "type": "object",
                "properties": {
                    "request_id": request_id,
                    "approval_action": {"type": "string", "enum": ["approve", "reject"]},
                    "ttl": ttl("Approve for less than was asked; it cannot be more."),
                    "reason": {"type": "string", "description": "Why it is rejected."},
                    "digest": {
                        "type": "string",
                        "description": "The digest that was shown, or its first 16 digits or more; a \
                                        request with another one is not decided."
                    }
                },
                "required": ["request_id", "approval_action"],
                "additionalProperties": false
            }),
            ToolAnnotations::default()
                .destructive(true)
                .idempotent(true),
        ),
        tool(
            DESCRIBE,
            "How far a request is: pending, approved, active until when, denied, lapsed, ended.",
            json!({
                "type": "object",
                "properties": {
                    "request_id": request_id,
                    "wait": ttl("Wait so long for a change, at most 20s.")
                },
                "required": ["request_id"],
                "additionalProperties": false
            }),
            ToolAnnotations::default().read_only(true),
        ),
        tool(
            LIST,
            "The requests that wait for a decision and that you may see; beside them those that are \
             granted.",
            json!({"type": "object", "properties": {}, "additionalProperties": false}),
            ToolAnnotations::default().read_only(true),
        ),
    ]
}

fn tool(name: &'static str, description: &str, schema: Value, hints: ToolAnnotations) -> Tool {
    let schema: JsonObject = match schema {
        Value::Object(schema) => schema,
        _ => JsonObject::default(),
    };
    Tool::new(name, description.to_owned(), Arc::new(schema)).with_annotations(hints)
}

/// What can be asked for, with which parameters, so that an agent asks right the first time.
fn offered(entries: &[Entitlement]) -> String {
    let mut text = String::new();
    for entry in entries {
        text.push_str(&format!("\n- {}: {}", entry.id.name(), entry.title));
        if let Some(schema) = entry.parameters.schema() {
            let schema = schema.as_json().to_string();
            match schema.len() <= SCHEMA_TOLD {
                true => text.push_str(&format!("; tool_params: {schema}")),
                false => text.push_str("; tool_params: an object, of a schema too long for here"),
            }
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("\nTools that you may ask for:{text}"),
    }
}
