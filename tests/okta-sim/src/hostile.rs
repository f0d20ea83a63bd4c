//! What goes wrong on demand: rules that calls are held against, and an organization that is away.

use std::time::Duration;

use crate::api::Operation;
use crate::deed::Deed;

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Hostility {
    /// Not done; 429, and this in `X-Rate-Limit-Reset`.
    Throttle(Reset),
    /// Not done; 429 with the headers of the limit on concurrent calls.
    Concurrent,
    /// Not done; 500.
    InternalError,
    /// Done, and yet 500.
    InternalErrorAfter,
    /// Not done; 503.
    Unavailable,
    /// Not done, and no answer: the connection stays open until it is calm.
    Hang,
    /// Done, and no answer: the connection stays open until it is calm.
    HangAfter,
    /// Done, and the answer cannot be read.
    Garbage,
    /// Not done; the connection closes without an answer.
    LoseCall,
    /// Done; the connection closes without an answer.
    LoseReply,
    /// The connection closes without an answer, and later, by the simulator's clock, it is done.
    LateEffect(Duration),
    /// Not done; 302 to this address.
    Redirect(String),
    /// The answer shows the organization of so long ago.
    Stale(Duration),
    /// The page's `next` leads to the same page again.
    RepeatPage,
    /// The page has a `next` although it is the last one; beyond it are empty pages.
    EndlessPages,
    /// The page is empty and has a `next` that leads to what should have been on it.
    EmptyPage,
    /// The page has a `next` at this address, which may be another host.
    NextElsewhere(String),
    /// Somebody does this just before the call is looked at.
    Before(Deed),
    /// Somebody does this just after the call was answered: between two pages, for one.
    Then(Deed),
}

/// What a 429 says of when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// At the end of this time.
    In(Duration),
    /// At a time that is over by this much.
    Ago(Duration),
    /// The header is not there.
    Missing,
    /// The header is no number.
    Garbage,
}

/// When a call arrives, when it is answered, while a page is put together, or afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Before,
    Door,
    Stale,
    Page,
    Then,
}

impl Hostility {
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Throttle(_)
            | Self::Concurrent
            | Self::InternalError
            | Self::InternalErrorAfter
            | Self::Unavailable
            | Self::Hang
            | Self::HangAfter
            | Self::Garbage
            | Self::LoseCall
            | Self::LoseReply
            | Self::LateEffect(_)
            | Self::Redirect(_) => Stage::Door,
            Self::Stale(_) => Stage::Stale,
            Self::RepeatPage | Self::EndlessPages | Self::EmptyPage | Self::NextElsewhere(_) => {
                Stage::Page
            }
            Self::Before(_) => Stage::Before,
            Self::Then(_) => Stage::Then,
        }
    }
}

/// Which calls something goes wrong with.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The operation; every one, if there is none.
    pub operation: Option<Operation>,
    /// What goes wrong.
    pub hostility: Hostility,
    /// How many calls it lets pass first.
    pub skip: u32,
    /// How many calls it then spoils; without a number, all until it is calm.
    pub times: Option<u32>,
    /// Only calls whose path, query or body has this text, such as a user's id.
    pub having: Option<String>,
}

impl Rule {
    /// Every such call, from now on.
    pub fn new(operation: Operation, hostility: Hostility) -> Self {
        Self {
            operation: Some(operation),
            ..Self::every(hostility)
        }
    }

    /// Every call of whatever operation, from now on.
    pub fn every(hostility: Hostility) -> Self {
        Self {
            operation: None,
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

    /// Only calls whose path, query or body has this text.
    #[must_use]
    pub fn having(mut self, text: &str) -> Self {
        self.having = Some(text.to_owned());
        self
    }

    /// Whether it spoils this call at this stage; it counts.
    fn spoils(&mut self, stage: Stage, operation: Operation, text: &str) -> bool {
        let meant = self.hostility.stage() == stage
            && self.operation.is_none_or(|it| it == operation)
            && self.having.as_ref().is_none_or(|it| text.contains(it));
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

/// How an organization is away.
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
    pub(crate) fn take(
        &mut self,
        stage: Stage,
        operation: Operation,
        text: &str,
    ) -> Option<Hostility> {
        (self.0.iter_mut())
            .find_map(|rule| (rule.spoils(stage, operation, text)).then(|| rule.hostility.clone()))
    }

    /// Everything that somebody does at this stage of this call, oldest rule first.
    pub(crate) fn deeds(&mut self, stage: Stage, operation: Operation, text: &str) -> Vec<Deed> {
        let meant = self.0.iter_mut().filter_map(|rule| {
            (rule.spoils(stage, operation, text)).then(|| rule.hostility.clone())
        });
        meant
            .filter_map(|it| match it {
                Hostility::Before(deed) | Hostility::Then(deed) => Some(deed),
                _ => None,
            })
            .collect()
    }
}
