//! What goes wrong on demand: rules that calls are held against.

use std::time::Duration;

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Not done; this status, with an error that says nothing.
    Status(u16),
    /// Done, and yet this status.
    StatusAfter(u16),
    /// Not done; 429, with these seconds in `Retry-After`, if any.
    TooMany(Option<u64>),
    /// Not done; 403 `permission denied`.
    Denied,
    /// Not done; 403 that says that the token is not valid, which it is.
    InvalidToken,
    /// Done, and a 200 that cannot be read.
    Garbage,
    /// Done, and this instead of the answer, with 200.
    Instead(String),
    /// Not done, and no answer: the connection stays open until it is calm.
    Hang,
    /// Done at once, and answered only when held answers are let go.
    Hold,
    /// Not done; the connection closes without an answer.
    LoseCall,
    /// Done; the connection closes without an answer.
    LoseReply,
    /// Answered after so long by the machine's clock.
    Slow(Duration),
    /// Not done; 302 to this address.
    Redirect(String),
    /// The simulator's clock moves on by so much before the call is done.
    Delay(Duration),
    /// The same, and the connection closes without an answer.
    DelayAndLoseReply(Duration),
}

/// When something goes wrong.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What.
    pub fault: Fault,
    /// Only with calls whose path under `/v1/` begins so.
    pub path: String,
    /// Only after so many such calls.
    pub skip: u32,
    /// Only so often; without, for ever.
    pub times: Option<u32>,
}

impl Rule {
    /// With every call.
    pub fn every(fault: Fault) -> Self {
        Self::at("", fault)
    }

    /// With every call whose path under `/v1/` begins so.
    pub fn at(path: &str, fault: Fault) -> Self {
        Self {
            fault,
            path: path.to_owned(),
            skip: 0,
            times: None,
        }
    }

    /// The same, so often only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// The same, after so many calls.
    #[must_use]
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }
}

/// The first rule that fits a call, counted.
pub(crate) fn met(rules: &mut [Rule], path: &str) -> Option<Fault> {
    for rule in rules {
        if !path.starts_with(&rule.path) || rule.times == Some(0) {
            continue;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        return Some(rule.fault.clone());
    }
    None
}
