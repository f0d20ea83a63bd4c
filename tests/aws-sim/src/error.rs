//! Errors, and how the JSON 1.1 protocol carries them.

use serde_json::{Map, Value, json};

use crate::api::Service;

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AwsError {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    message: String,
    /// Whether the service's model has it. What the front of every service answers has another
    /// namespace, and spells `message` small.
    modelled: bool,
    more: Vec<(&'static str, Value)>,
}

impl AwsError {
    /// An error of the service's model.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code,
            message: message.into(),
            modelled: true,
            more: Vec::new(),
        }
    }

    /// An error of the front that all services share.
    pub(crate) fn front(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            modelled: false,
            ..Self::new(code, message)
        }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.more.push((name, value.into()));
        self
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", message)
    }

    /// Another change is in the way, by the name that the service has for it.
    pub(crate) fn conflict(service: Service) -> Self {
        match service {
            Service::Iam | Service::Sts => Self::new(
                "ConcurrentModification",
                "Another request is modifying this entity. Please try again later.",
            )
            .status(409),
            Service::SsoAdmin | Service::IdentityStore | Service::Organizations => {
                let why = "There is a conflicting operation in process.";
                Self::new("ConflictException", why)
            }
        }
    }

    /// Too many calls, by the name that the service has for it.
    pub(crate) fn throttled(service: Service) -> Self {
        match service {
            Service::Organizations => Self::new(
                "TooManyRequestsException",
                "AWS Organizations can't complete your request because another request is \
                 already in progress. Try again later.",
            ),
            Service::SsoAdmin => Self::new(
                "ThrottlingException",
                "There are too many requests processing. Please try again later.",
            ),
            Service::IdentityStore => {
                Self::new("ThrottlingException", "Rate exceeded").with("RetryAfterSeconds", 1)
            }
            Service::Iam | Service::Sts => Self::front("Throttling", "Rate exceeded"),
        }
    }

    /// The service broke.
    pub(crate) fn internal(service: Service) -> Self {
        let code = match service {
            Service::Organizations => "ServiceException",
            Service::SsoAdmin | Service::IdentityStore => "InternalServerException",
            Service::Iam => "ServiceFailure",
            Service::Sts => "InternalFailure",
        };
        Self::new(
            code,
            "An unexpected internal service exception was encountered",
        )
        .status(500)
    }

    /// The service is not there for now; the front says so.
    pub(crate) fn unavailable() -> Self {
        Self::front(
            "ServiceUnavailableException",
            "Service is unavailable, try again later",
        )
        .status(503)
    }

    /// The body of the answer.
    pub(crate) fn body(&self, service: Option<Service>) -> Value {
        let mut body = Map::new();
        let (space, message) = match service {
            Some(service) if self.modelled => (service.namespace(), "Message"),
            _ => ("com.amazon.coral.service", "message"),
        };
        body.insert("__type".to_owned(), json!(format!("{space}#{}", self.code)));
        body.insert(message.to_owned(), json!(self.message));
        for (name, value) in &self.more {
            body.insert((*name).to_owned(), value.clone());
        }
        Value::Object(body)
    }
}
