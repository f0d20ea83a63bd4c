//! What the Bot API says no with, in its words.

use serde_json::{Value, json};

/// An answer with `"ok": false`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) description: String,
    pub(crate) parameters: Option<Value>,
}

impl Refusal {
    pub(crate) fn new(code: u16, description: &str) -> Self {
        Self {
            code,
            description: description.to_owned(),
            parameters: None,
        }
    }

    pub(crate) fn bad(what: &str) -> Self {
        Self::new(400, &format!("Bad Request: {what}"))
    }

    pub(crate) fn too_many(retry_after: Option<u64>) -> Self {
        let words = retry_after.map_or(String::new(), |secs| format!(": retry after {secs}"));
        Self {
            parameters: retry_after.map(|secs| json!({"retry_after": secs})),
            ..Self::new(429, &format!("Too Many Requests{words}"))
        }
    }

    /// The group is a supergroup now, with another id.
    pub(crate) fn migrated(to: i64) -> Self {
        Self {
            parameters: Some(json!({"migrate_to_chat_id": to})),
            ..Self::bad("group chat was upgraded to a supergroup chat")
        }
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "ok": false,
            "error_code": self.code,
            "description": self.description,
        });
        if let (Some(parameters), Some(body)) = (&self.parameters, body.as_object_mut()) {
            body.insert("parameters".to_owned(), parameters.clone());
        }
        body
    }
}
