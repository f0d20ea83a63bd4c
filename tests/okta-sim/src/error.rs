//! Errors as Okta's API answers them.
//! <https://developer.okta.com/docs/reference/error-codes/>

use serde_json::{Value, json};

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OktaError {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    summary: String,
    causes: Vec<String>,
    /// What `WWW-Authenticate` says, for a bearer token that does not do.
    pub(crate) challenge: Option<String>,
}

impl OktaError {
    fn new(status: u16, code: &'static str, summary: impl Into<String>) -> Self {
        Self {
            status,
            code,
            summary: summary.into(),
            causes: Vec::new(),
            challenge: None,
        }
    }

    /// A parameter that is not what it must be.
    pub(crate) fn invalid(what: &str, why: &str) -> Self {
        let mut error = Self::new(400, "E0000001", format!("Api validation failed: {what}"));
        error.causes.push(format!("{what}: {why}"));
        error
    }

    pub(crate) fn search() -> Self {
        Self::new(400, "E0000031", "Invalid search criteria.")
    }

    pub(crate) fn filter(filter: &str) -> Self {
        let summary = format!("Invalid filter '{filter}': Unrecognized filter expression.");
        Self::new(400, "E0000053", summary)
    }

    pub(crate) fn session() -> Self {
        Self::new(403, "E0000005", "Invalid session")
    }

    pub(crate) fn denied() -> Self {
        let summary = "You do not have permission to perform the requested action";
        Self::new(403, "E0000006", summary)
    }

    /// A user or a group that does not exist, by the name that Okta has for its kind.
    pub(crate) fn not_found(id: &str, kind: &str) -> Self {
        let summary = format!("Not found: Resource not found: {id} ({kind})");
        Self::new(404, "E0000007", summary)
    }

    pub(crate) fn no_path() -> Self {
        Self::new(404, "E0000008", "The requested path was not found")
    }

    pub(crate) fn no_method() -> Self {
        let summary = "The endpoint does not support the provided HTTP method";
        Self::new(405, "E0000022", summary)
    }

    pub(crate) fn internal() -> Self {
        Self::new(500, "E0000009", "Internal Server Error")
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(503, "E0000010", "Service is in read only mode")
    }

    pub(crate) fn token() -> Self {
        Self::new(401, "E0000011", "Invalid token provided")
    }

    pub(crate) fn throttled() -> Self {
        let summary = "API call exceeded rate limit due to too many requests.";
        Self::new(429, "E0000047", summary)
    }

    pub(crate) fn challenged(mut self, challenge: String) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// The body of the answer; the id is for Okta's support.
    pub(crate) fn body(&self, id: &str) -> Value {
        let causes: Vec<Value> = (self.causes.iter())
            .map(|it| json!({"errorSummary": it}))
            .collect();
        json!({
            "errorCode": self.code, "errorSummary": self.summary, "errorLink": self.code,
            "errorId": id, "errorCauses": causes,
        })
    }
}
