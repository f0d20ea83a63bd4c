//! What a policy that stands at AWS says of itself.

use jit_core::Timestamp;
use jit_core::request::RequestId;
use serde_json::Value;

use super::{END, SESSION, SID, json, marker};

/// What a policy that stands at AWS says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    /// The marker of the request that every statement is of.
    marker: Option<String>,
    /// When the last statement of it ends; nothing where one never does.
    until: Option<Timestamp>,
    /// The `aws:userid` that every statement is for.
    user_id: Option<String>,
}

impl Stamp {
    /// Reads a document. One that is not ours says nothing.
    pub(crate) fn read(document: &str) -> Self {
        let Ok(Value::Object(document)) = json::read(document) else {
            return Self::default();
        };
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().collect(),
            Some(statement) => vec![statement],
            None => Vec::new(),
        };
        let condition = |statement: &Value, (operator, key): (&str, &str)| {
            let value = statement.get("Condition")?.get(operator)?.get(key)?;
            value.as_str().map(str::to_owned)
        };
        let markers = statements.iter().map(|it| {
            let behind = it.get("Sid")?.as_str()?.strip_prefix(SID)?;
            let (marker, number) = behind.split_at_checked(26)?;
            number.parse::<usize>().ok()?;
            Some(marker.to_owned())
        });
        let ends = statements.iter().map(|it| {
            let end = condition(it, END)?;
            end.parse::<Timestamp>().ok()
        });
        let ends: Option<Vec<Timestamp>> = ends.collect();
        Self {
            marker: same(markers),
            until: ends.and_then(|ends| ends.into_iter().max()),
            user_id: same(statements.iter().map(|it| condition(it, SESSION))),
        }
    }

    /// Whether it is this request's, and over by this time.
    pub(crate) fn is_of(&self, request: RequestId, expires_at: Timestamp) -> bool {
        self.marker.as_deref() == Some(marker(request).as_str())
            && self.until.is_some_and(|until| until <= expires_at)
    }

    /// Whether all of it is over.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// For which session of a role it is, where it is for one.
    pub(crate) fn user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }
}

/// What all of them say alike.
fn same(mut all: impl Iterator<Item = Option<String>>) -> Option<String> {
    let first = all.next()??;
    all.all(|it| it.as_ref() == Some(&first)).then_some(first)
}
