//! Errors as the vendors' APIs answer them. Okta's codes are listed at
//! <https://developer.okta.com/docs/reference/error-codes/>.

use serde_json::{Value, json};

use crate::pagerduty::PagerError;

/// Why a call was not done, in the words of whoever was asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    Okta(OktaError),
    OAuth {
        status: u16,
        error: &'static str,
        description: String,
    },
    PagerDuty(PagerError),
}

impl From<OktaError> for Refusal {
    fn from(error: OktaError) -> Self {
        Self::Okta(error)
    }
}

impl From<PagerError> for Refusal {
    fn from(error: PagerError) -> Self {
        Self::PagerDuty(error)
    }
}

impl Refusal {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Okta(error) => error.status,
            Self::OAuth { status, .. } => *status,
            Self::PagerDuty(error) => error.status,
        }
    }

    /// What a call's outcome is called.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Okta(error) => error.code.to_owned(),
            Self::OAuth { error, .. } => (*error).to_owned(),
            Self::PagerDuty(error) => error.message.clone(),
        }
    }

    /// What `WWW-Authenticate` says, if it says anything.
    pub(crate) fn challenge(&self) -> Option<String> {
        match self {
            Self::Okta(error) => error.challenge.clone(),
            Self::OAuth { .. } | Self::PagerDuty(_) => None,
        }
    }

    /// The body of the answer to the request of this id.
    pub(crate) fn body(&self, request_id: &str) -> Value {
        match self {
            Self::Okta(error) => error.body(&format!("oae{request_id}")),
            Self::OAuth {
                error, description, ..
            } => json!({"error": error, "error_description": description}),
            Self::PagerDuty(error) => error.body(),
        }
    }
}

/// What may be wrong with a vendor rather than with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Throttled,
    Internal,
    Unavailable,
}

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

    pub(crate) fn token() -> Self {
        Self::new(401, "E0000011", "Invalid token provided")
    }

    pub(crate) fn of(fault: Fault) -> Self {
        match fault {
            Fault::Throttled => {
                let summary = "API call exceeded rate limit due to too many requests.";
                Self::new(429, "E0000047", summary)
            }
            Fault::Internal => Self::new(500, "E0000009", "Internal Server Error"),
            Fault::Unavailable => Self::new(503, "E0000010", "Service is in read only mode"),
        }
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
