//! PagerDuty beside Okta: who is on call by its REST API, and what was sent to its Events API.
//! <https://developer.pagerduty.com/api-reference/>

mod events;
mod oncalls;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{Access, Operation, Reply, Request};
use crate::error::Fault;
use crate::state::State;

pub use events::PagerEvent;

/// That somebody is on call, for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnCall {
    /// The responder's id.
    pub user: String,
    /// The schedule's id; none, if the policy names the responder directly.
    pub schedule: Option<String>,
    /// The escalation policy's id.
    pub escalation_policy: String,
    /// The level of the policy, from 1.
    pub level: u32,
    /// Since when, in microseconds since 1970; for ever, if there is none.
    pub from_micros: Option<i64>,
    /// Until when; for ever, if there is none.
    pub until_micros: Option<i64>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Responder {
    pub(crate) name: String,
    pub(crate) email: String,
}

/// What a PagerDuty account holds.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) responders: BTreeMap<String, Responder>,
    pub(crate) schedules: BTreeMap<String, String>,
    pub(crate) policies: BTreeMap<String, String>,
    pub(crate) on_calls: Vec<OnCall>,
    pub(crate) events: Vec<PagerEvent>,
    /// What is open, by the key that its events are told by.
    pub(crate) open: BTreeSet<String>,
}

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PagerError {
    pub(crate) status: u16,
    pub(crate) message: String,
    shape: Shape,
    errors: Vec<String>,
}

/// Which of the two APIs says it.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Rest { code: u32 },
    Events { status: &'static str },
}

impl PagerError {
    fn rest(status: u16, code: u32, message: &str) -> Self {
        Self {
            status,
            message: message.to_owned(),
            shape: Shape::Rest { code },
            errors: Vec::new(),
        }
    }

    fn events(status: u16, word: &'static str, message: &str) -> Self {
        Self {
            status,
            message: message.to_owned(),
            shape: Shape::Events { status: word },
            errors: Vec::new(),
        }
    }

    fn not_found() -> Self {
        Self::rest(404, 2100, "Not Found")
    }

    fn invalid(why: &str) -> Self {
        Self::rest(400, 2001, "Invalid Input Provided").because(why)
    }

    fn because(mut self, why: &str) -> Self {
        self.errors.push(why.to_owned());
        self
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = match &self.shape {
            Shape::Rest { code } => json!({"code": code, "message": self.message}),
            Shape::Events { status } => json!({"status": status, "message": self.message}),
        };
        if let Some(members) = body.as_object_mut().filter(|_| !self.errors.is_empty()) {
            members.insert("errors".to_owned(), json!(self.errors));
        }
        match self.shape {
            Shape::Rest { .. } => json!({"error": body}),
            Shape::Events { .. } => body,
        }
    }
}

/// What a fault is like at this path.
pub(crate) fn fault(path: &str, fault: Fault) -> PagerError {
    let is_events = path.starts_with("/v2/");
    match fault {
        Fault::Throttled if is_events => {
            let why = "Requests for this service are arriving too quickly. Please retry later.";
            PagerError::events(429, "throttle exceeded", why)
        }
        Fault::Throttled => PagerError::rest(429, 2020, "Rate Limit Exceeded"),
        Fault::Internal => PagerError::rest(500, 2000, "Internal Error"),
        Fault::Unavailable => PagerError::rest(503, 2000, "Service Unavailable"),
    }
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    OnCalls,
    User(String),
    Event,
}

impl Wanted {
    pub(crate) fn of(method: &str, path: &str) -> Result<Self, PagerError> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["oncalls"]) => Ok(Self::OnCalls),
            ("GET", ["users", id]) => Ok(Self::User((*id).to_owned())),
            ("POST", ["v2", "enqueue"]) => Ok(Self::Event),
            _ => Err(PagerError::not_found()),
        }
    }

    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::OnCalls => Operation::ListOnCalls,
            Self::User(_) => Operation::GetPagerDutyUser,
            Self::Event => Operation::EnqueueEvent,
        }
    }

    /// Whether whoever calls has a token; an event has its routing key instead.
    pub(crate) fn admit(
        &self,
        state: &State,
        request: &Request,
    ) -> Result<Option<Access>, PagerError> {
        match self {
            Self::Event => Ok(None),
            Self::OnCalls | Self::User(_) => {
                let token = request.authorization.strip_prefix("Token token=");
                let known = |it: &str| state.setup.pagerduty_tokens.iter().any(|one| one == it);
                if !token.is_some_and(known) {
                    return Err(PagerError::rest(401, 2006, "Unauthorized"));
                }
                Ok(Some(Access {
                    token: "pagerduty".to_owned(),
                    scopes: BTreeSet::new(),
                }))
            }
        }
    }
}

/// Does what was asked for, as of the state's moment.
pub(crate) fn run(
    state: &mut State,
    request: &Request,
    wanted: &Wanted,
) -> Result<Reply, PagerError> {
    match wanted {
        Wanted::OnCalls => Ok(Reply::ok(oncalls::list(state, request)?)),
        Wanted::User(id) => {
            let found = state.pagerduty.responders.get(id);
            let user = found.map(|it| oncalls::shown(&state.base, id, it));
            let user = user.ok_or_else(PagerError::not_found)?;
            Ok(Reply::ok(json!({"user": user})))
        }
        Wanted::Event => Ok(Reply {
            status: 202,
            ..Reply::ok(events::enqueue(state, request)?)
        }),
    }
}
