//! What goes wrong on demand: rules that calls are held against, and a region that is away.

use std::time::Duration;

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hostility {
    /// Not done; too many calls.
    Throttle,
    /// Not done; a conflicting operation is in progress, so it says.
    Conflict,
    /// Not done; 500.
    InternalError,
    /// Done, and yet 500.
    InternalErrorAfter,
    /// Not done; 503.
    Unavailable,
    /// Not done, and no answer: the connection stays open until it is calm.
    Hang,
    /// Done, and the answer cannot be read.
    Garbage,
    /// Not done; the connection closes without an answer.
    LoseCall,
    /// Done; the connection closes without an answer.
    LoseReply,
    /// The connection closes without an answer, and later, by the simulator's clock, it is done.
    LateEffect(Duration),
    /// A creation or deletion is accepted and then fails for this reason.
    Fail(String),
    /// An accepted creation or deletion takes effect after exactly this time.
    ApplyAfter(Duration),
    /// An accepted creation or deletion stays in progress until it is calm.
    Freeze,
    /// The status of a creation or deletion goes on saying that it is in progress for this long
    /// after the effect.
    StatusAfter(Duration),
    /// A list of assignments shows the world of so long ago.
    Stale(Duration),
    /// A list begins with a page that has nothing on it but a token.
    EmptyPage,
}

/// When a call is answered, or after it was accepted, or while a list is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Door,
    Fail,
    Apply,
    Freeze,
    Status,
    Stale,
    Page,
}

impl Hostility {
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Throttle
            | Self::Conflict
            | Self::InternalError
            | Self::InternalErrorAfter
            | Self::Unavailable
            | Self::Hang
            | Self::Garbage
            | Self::LoseCall
            | Self::LoseReply
            | Self::LateEffect(_) => Stage::Door,
            Self::Fail(_) => Stage::Fail,
            Self::ApplyAfter(_) => Stage::Apply,
            Self::Freeze => Stage::Freeze,
            Self::StatusAfter(_) => Stage::Status,
            Self::Stale(_) => Stage::Stale,
            Self::EmptyPage => Stage::Page,
        }
    }
}

/// Which calls something goes wrong with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The operation, such as `CreateAccountAssignment`; `*` for every one.
    pub operation: String,
    /// What goes wrong.
    pub hostility: Hostility,
    /// How many calls it lets pass first.
    pub skip: u32,
    /// How many calls it then spoils; without a number, all until it is calm.
    pub times: Option<u32>,
    /// Only calls whose body has this text, such as an account or a principal.
    pub having: Option<String>,
}

impl Rule {
    /// Every such call, from now on.
    pub fn new(operation: &str, hostility: Hostility) -> Self {
        Self {
            operation: operation.to_owned(),
            hostility,
            skip: 0,
            times: None,
            having: None,
        }
    }

    /// Only so many calls.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only after so many calls.
    #[must_use]
    pub fn skip(mut self, calls: u32) -> Self {
        self.skip = calls;
        self
    }

    /// Only calls whose body has this text.
    #[must_use]
    pub fn having(mut self, text: &str) -> Self {
        self.having = Some(text.to_owned());
        self
    }

    /// Whether it spoils this call at this stage; it counts.
    fn spoils(&mut self, stage: Stage, operation: &str, body: &str) -> bool {
        let meant = self.hostility.stage() == stage
            && (self.operation == "*" || self.operation == operation)
            && self.having.as_ref().is_none_or(|it| body.contains(it));
        if !meant || self.times == Some(0) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        true
    }
}

/// How a region is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// A connection is closed as soon as a call is on it. The control API goes on answering.
    Refused,
    /// Every call is answered 503.
    Unavailable,
}

/// The rules in force, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    pub(crate) fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What goes wrong with this call at this stage, by the oldest rule that is meant.
    pub(crate) fn take(&mut self, stage: Stage, operation: &str, body: &str) -> Option<Hostility> {
        (self.0.iter_mut()).find_map(|rule| {
            rule.spoils(stage, operation, body)
                .then(|| rule.hostility.clone())
        })
    }
}
