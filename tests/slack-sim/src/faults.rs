//! What goes wrong on demand: Web API faults by method, and switches for the sockets.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::state::Inner;

/// One way a Web API call goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 429 with `Retry-After`.
    RateLimited {
        /// Seconds the client is told to wait.
        retry_after_s: u64,
    },
    /// 503 with an HTML page.
    ServerError,
    /// The work is done and no answer ever comes.
    Hang,
    /// The work is not done and no answer ever comes.
    Silence,
    /// The answer comes late.
    SlowMs(u64),
    /// 200 with broken JSON; the work is done.
    InvalidJson,
    /// 200 with an HTML page; the work is not done.
    NotJson,
    /// `{"ok":false,"error":…}`.
    Api(&'static str),
}

/// How often a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next call.
    Once,
    /// The next calls.
    N(u32),
    /// Until cleared.
    Always,
}

/// Something that is off, on, or on for the next few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switch {
    /// As usual.
    #[default]
    Off,
    /// Every time.
    On,
    /// The next few times.
    Next(u32),
}

impl From<u32> for Switch {
    fn from(times: u32) -> Self {
        Self::Next(times)
    }
}

impl Switch {
    /// Whether it applies now; counts down.
    pub(crate) fn take(&mut self) -> bool {
        match self {
            Self::Off | Self::Next(0) => false,
            Self::On => true,
            Self::Next(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// The faults that wait for calls. The method `*` stands for every method, and `response_url` for
/// the answers to gestures.
#[derive(Debug, Default)]
pub(crate) struct FaultTable(Vec<(String, Fault, Times)>);

impl FaultTable {
    pub(crate) fn add(&mut self, method: &str, fault: Fault, times: Times) {
        self.0.push((method.to_owned(), fault, times));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn take(&mut self, method: &str) -> Option<Fault> {
        let at = self
            .0
            .iter()
            .position(|(of, _, _)| of == method || of == "*")?;
        let (_, fault, times) = self.0.get_mut(at)?;
        let fault = fault.clone();
        match times {
            Times::Always => {}
            Times::N(left) if *left > 1 => *left -= 1,
            Times::Once | Times::N(_) => {
                self.0.remove(at);
            }
        }
        Some(fault)
    }
}

/// Over which calls are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// How many calls of a method a workspace may make in a minute: by the tier that the page of each
/// method names, at <https://docs.slack.dev/apis/web-api/rate-limits>. Slack takes some more in a
/// short burst, and we do not count on it. None where Slack counts otherwise: messages have their
/// own pace, and `auth.test` takes hundreds.
fn per_minute(method: &str) -> Option<usize> {
    Some(match method {
        "usergroups.list" | "usergroups.users.list" | "users.list" | "conversations.list" => 20,
        "chat.update"
        | "chat.delete"
        | "conversations.open"
        | "conversations.info"
        | "users.lookupByEmail"
        | "reactions.get" => 50,
        "users.info"
        | "views.open"
        | "views.push"
        | "views.update"
        | "views.publish"
        | "chat.postEphemeral"
        | "conversations.members" => 100,
        _ => return None,
    })
}

/// Calls that were taken lately, by method.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) when: Switch,
    taken: HashMap<String, VecDeque<Instant>>,
}

impl Limits {
    /// Counts a call; where that is one too many, in how many seconds the next is taken.
    pub(crate) fn take(&mut self, method: &str, now: Instant) -> Result<(), u64> {
        let Some(most) = per_minute(method) else {
            return Ok(());
        };
        if !self.when.take() {
            return Ok(());
        }
        let taken = self.taken.entry(method.to_owned()).or_default();
        while taken.front().is_some_and(|at| now - *at >= WINDOW) {
            taken.pop_front();
        }
        match taken.front() {
            Some(first) if taken.len() >= most => {
                let left = WINDOW.saturating_sub(now - *first);
                Err(left.as_secs() + 1)
            }
            _ => {
                taken.push_back(now);
                Ok(())
            }
        }
    }
}

/// Sets and clears Web API faults.
#[derive(Debug, Clone)]
pub struct Faults {
    pub(crate) inner: Arc<Inner>,
}

impl Faults {
    /// The next calls of `method` (`*` for all, `response_url` for answers to gestures) go wrong.
    pub fn fail(&self, method: &str, fault: Fault, times: Times) -> &Self {
        self.inner
            .with(|state| state.faults.add(method, fault, times));
        self
    }

    /// How many of the faults that were set still wait for a call.
    pub fn left(&self) -> usize {
        self.inner.look(|state| state.faults.left())
    }

    /// Everything works again.
    pub fn clear(&self) {
        self.inner.with(|state| state.faults.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_method_takes_so_many_calls_in_a_minute_and_says_when_the_next_is_taken() {
        let mut limits = Limits::default();
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        for _ in 0..100 {
            assert_eq!(limits.take("usergroups.list", at(0)), Ok(()), "it is off");
        }
        limits.when = Switch::On;
        for number in 0..20 {
            assert_eq!(limits.take("usergroups.list", at(number)), Ok(()));
        }
        assert_eq!(limits.take("usergroups.list", at(30)), Err(31));
        assert_eq!(
            limits.take("users.info", at(30)),
            Ok(()),
            "each has its own"
        );
        assert_eq!(limits.take("usergroups.list", at(60)), Ok(()));
        assert_eq!(limits.take("usergroups.list", at(60)), Err(2));
    }
}
