//! What the simulation writes down for the judge, in true time: what was committed by whom, which
//! calls a worker made, what went wrong with it, and which promise of calm was withdrawn when.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::Sealed;
use jit_core::request::RequestId;

/// How often things happened, by name.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    pub(crate) fn add(&self, name: impl Into<String>) {
        *self.0.lock().unwrap().entry(name.into()).or_default() += 1;
    }

    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap().clone()
    }
}

/// One event as it was really committed.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) at: Timestamp,
    /// What the clock of the replica showed.
    pub(crate) clock: Timestamp,
    pub(crate) sealed: Sealed,
}

/// What a worker asked of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Grant,
    Mint,
    Revoke,
    Inspect,
}

/// How a call ended for the worker that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was carried out, or taken.
    Yes,
    /// An error.
    No,
}

/// A call of a worker, also one that never reached the provider.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) replica: u64,
    pub(crate) request: RequestId,
    pub(crate) asked: Asked,
    pub(crate) began: Timestamp,
    /// None where the worker did not live to hear it.
    pub(crate) heard: Option<(Timestamp, Heard)>,
}

/// What went wrong with a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It died, and came back at the end.
    Death,
    /// It could not ask what is due.
    Blind,
    /// The store failed it over a record, or over something that cannot be told.
    Store,
    /// The store was away for it, for a while.
    Away,
}

/// One mishap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mishap {
    pub(crate) replica: u64,
    pub(crate) trouble: Trouble,
    /// About which record; none where that does not matter.
    pub(crate) request: Option<RequestId>,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// What revoking must not need and did not have for a while (S7).
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub(crate) what: &'static str,
    /// For whom; everybody where none.
    pub(crate) request: Option<RequestId>,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    pub(crate) counts: Counts,
    pub(crate) committed: Mutex<Vec<Committed>>,
    pub(crate) attempts: Mutex<Vec<Attempt>>,
    pub(crate) mishaps: Mutex<Vec<Mishap>>,
    pub(crate) wants: Mutex<Vec<Want>>,
    /// Records whose slot fails, and until when.
    pub(crate) poisoned: Mutex<BTreeMap<RequestId, Timestamp>>,
    /// How far the clocks were ever off, as far as that matters.
    pub(crate) clocks: Mutex<Clocks>,
    /// From when on the clock of the only host was how far behind.
    pub(crate) set_back: Mutex<BTreeMap<Timestamp, Duration>>,
}

/// The most that any clock was ahead, and behind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clocks {
    pub(crate) ahead: Duration,
    pub(crate) behind: Duration,
}

impl Diary {
    /// How far the clock of the only host was behind at that instant.
    pub(crate) fn set_back_at(&self, at: Timestamp) -> Duration {
        let set_back = self.set_back.lock().unwrap();
        let last = set_back.range(..=at).next_back();
        last.map_or(Duration::ZERO, |(_, by)| *by)
    }

    pub(crate) fn mishap(&self, mishap: Mishap) {
        self.mishaps.lock().unwrap().push(mishap);
    }

    pub(crate) fn want(&self, want: Want) {
        self.counts.add("without something");
        self.counts.add(format!("without {}", want.what));
        self.wants.lock().unwrap().push(want);
    }

    /// Notes that a call began; its number.
    pub(crate) fn began(&self, attempt: Attempt) -> usize {
        let mut attempts = self.attempts.lock().unwrap();
        attempts.push(attempt);
        attempts.len() - 1
    }

    pub(crate) fn heard(&self, number: usize, at: Timestamp, heard: Heard) {
        self.attempts.lock().unwrap()[number].heard = Some((at, heard));
    }
}
