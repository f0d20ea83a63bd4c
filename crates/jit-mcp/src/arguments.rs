//! What a call says: each tool's arguments, read strictly, with a sentence for whatever cannot be
//! read. Nothing is judged here.

use std::time::Duration;

use jit_core::Ttl;
use jit_core::principal::PrincipalId;
use jit_core::provider::Parameters;
use jit_core::request::{Reason, RequestId};
use rmcp::model::JsonObject;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The longest that a look waits for a change.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);
/// The longest explanation of arguments that cannot be read, in characters.
const EXPLANATION_LIMIT: usize = 300;

/// Arguments of `request_tool_access`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    pub(crate) tool_name: String,
    pub(crate) user_email: PrincipalId,
    pub(crate) tool_params: Parameters,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) reason: Option<Reason>,
}

/// Arguments of `approve_tool_access_request`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decide {
    pub(crate) request_id: RequestId,
    pub(crate) approval_action: Action,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) reason: Option<Reason>,
    /// The digest of what was shown, where the caller has it.
    pub(crate) digest: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Approve,
    Reject,
}

/// Arguments of `describe_access_request`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Describe {
    pub(crate) request_id: RequestId,
    /// Wait so long for a change.
    pub(crate) wait: Option<Ttl>,
}

/// Arguments of `list_active_access_requests`: none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {}

/// The arguments of a call, or what is wrong with them.
pub(crate) fn read<T: DeserializeOwned>(given: Option<JsonObject>) -> Result<T, String> {
    let given = Value::Object(given.unwrap_or_default());
    serde_json::from_value(given).map_err(|error| {
        let said = error.to_string();
        let said: String = said.chars().take(EXPLANATION_LIMIT).collect();
        format!("the arguments cannot be read: {said}")
    })
}
