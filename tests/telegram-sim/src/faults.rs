//! What goes wrong on demand, by method.

use serde::Deserialize;

/// One way in which a call goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Fault {
    /// 429 with `parameters.retry_after`, in seconds.
    TooMany {
        /// Seconds to wait; left out of the answer where unset.
        retry_after: Option<u64>,
    },
    /// Refused with this code and description, and nothing is done.
    Refused {
        /// Such as 403.
        code: u16,
        /// Such as `Forbidden: bot was kicked from the group chat`.
        description: String,
    },
    /// 502 with a page of HTML, and nothing is done.
    ServerError,
    /// 200 with something that is no JSON; it is done.
    Garbage,
    /// It is done, and the connection closes without an answer.
    LostReply,
    /// It is done, and no answer ever comes.
    Hang,
    /// It is done, and the answer comes so much later.
    Slow {
        /// In milliseconds.
        ms: u64,
    },
    /// A redirect to another address, and nothing is done.
    Redirect {
        /// To where.
        to: String,
    },
}

/// How often a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// The next calls.
    Next(u32),
    /// Until calm.
    Always,
}

/// The faults that wait for calls. The method `*` stands for every method.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(String, Fault, Times)>);

impl Faults {
    pub(crate) fn add(&mut self, method: &str, fault: Fault, times: Times) {
        self.0.push((method.to_owned(), fault, times));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What is to go wrong with this call.
    pub(crate) fn take(&mut self, method: &str) -> Option<Fault> {
        let meant = |(of, _, _): &(String, Fault, Times)| of == method || of == "*";
        let at = self.0.iter().position(meant)?;
        let (_, fault, times) = self.0.get_mut(at)?;
        let fault = fault.clone();
        match times {
            Times::Always => {}
            Times::Next(left) if *left > 1 => *left -= 1,
            Times::Next(_) => {
                self.0.remove(at);
            }
        }
        Some(fault)
    }
}
