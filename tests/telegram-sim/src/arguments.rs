//! The arguments of a method, however they were sent: as JSON, as a form, or in the address. What
//! comes as text is read like the same thing in JSON, which is how Telegram reads it too.

use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// Every argument by its name.
#[derive(Debug, Default)]
pub(crate) struct Arguments(Map<String, Value>);

impl Arguments {
    /// Those of the address, and over them those of the body.
    pub(crate) fn read(query: &str, content_type: &str, body: &[u8]) -> Result<Self, Refusal> {
        let mut all = Map::new();
        all.extend(fields(query.as_bytes()));
        if content_type.starts_with("application/json") && !body.is_empty() {
            match serde_json::from_slice(body) {
                Ok(Value::Object(sent)) => all.extend(sent),
                Ok(_) | Err(_) => return Err(Refusal::bad("can't parse request JSON object")),
            }
        } else if content_type.starts_with("application/x-www-form-urlencoded") {
            all.extend(fields(body));
        }
        Ok(Self(all))
    }

    pub(crate) fn all(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// A text; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.as_str(), "true" | "True" | "1"),
            _ => false,
        }
    }

    /// An object or a list, which may come as its JSON text.
    pub(crate) fn value(&self, name: &str) -> Option<Value> {
        match self.0.get(name)? {
            Value::Null => None,
            Value::String(text) => serde_json::from_str(text).ok(),
            other => Some(other.clone()),
        }
    }

    /// The chat that is meant.
    pub(crate) fn chat(&self) -> Result<i64, Refusal> {
        match self.0.get("chat_id") {
            None => Err(Refusal::bad("chat_id is empty")),
            Some(_) => self
                .number("chat_id")
                .ok_or_else(|| Refusal::bad("chat not found")),
        }
    }
}

fn fields(text: &[u8]) -> impl Iterator<Item = (String, Value)> {
    let fields = form_urlencoded::parse(text);
    fields.map(|(name, value)| (name.into_owned(), value.into_owned().into()))
}
