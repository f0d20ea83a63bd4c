//! What a tool answers. What went wrong is an answer too, in a sentence that an agent can act on, and
//! no error of the protocol: those are for the client, and an agent never sees them.

use jit_core::engine::EngineError;
use jit_core::ports::PortError;
use rmcp::model::CallToolResult;
use serde_json::{Value, json};

/// Why a call did nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Its arguments make no sense.
    Arguments(String),
    /// The engine said no, or the world failed.
    Engine(EngineError),
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<PortError> for Failed {
    fn from(error: PortError) -> Self {
        Self::Engine(error.into())
    }
}

/// The answer of a tool: a JSON object, as structured content and as text. The reference is by which
/// the log knows the call.
pub(crate) fn of(done: Result<Value, Failed>, reference: &str) -> CallToolResult {
    match done {
        Ok(value) => CallToolResult::structured(value),
        Err(failed) => {
            let (code, message) = told(failed, reference);
            CallToolResult::structured_error(json!({"error": code, "message": message}))
        }
    }
}

fn told(failed: Failed, reference: &str) -> (&'static str, String) {
    match failed {
        Failed::Arguments(message) => ("invalid_arguments", message),
        Failed::Engine(EngineError::Refused(refusal)) => (refusal.code(), refusal.to_string()),
        Failed::Engine(EngineError::Failed(error)) => {
            tracing::error!(reference, error = %error.chain(), "a tool call failed");
            let again = match error.kind.is_retryable() {
                true => "try again in a few seconds",
                false => "an operator has to look at it; do not try again",
            };
            (
                "failed",
                format!("something failed, reference {reference}; {again}"),
            )
        }
    }
}
