//! A stored record as part of a state: the domain's own record, less what only history tells apart,
//! compared by its stored form.

use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jit_core::Timestamp;
use jit_core::audit::ChainHead;
use jit_core::lifecycle::wake;
use jit_core::request::{AccessRequest, Grant, Phase, Stage};

use crate::setting::{TICK, at};

/// The version that every record of a state has. Whether a commit is in time is not told by the
/// number but by whether another commit came between; see [`crate::world::Store`].
pub const VERSION: u64 = 1;

/// Beyond these numbers nothing in the lifecycle tells one from the next.
const FAILURES: u32 = 6;
const ATTEMPTS: u32 = 3;

/// A record, shared.
#[derive(Clone)]
pub struct Record(Arc<Inner>);

struct Inner {
    print: u64,
    due_at: Option<Timestamp>,
    request: AccessRequest,
}

/// How exact the instants of a record are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    /// All clocks show whole ticks and agree: what is due between two ticks is due at the later one,
    /// what is overdue is overdue, and nobody asks when the newest commit was.
    Ticks,
    /// Clocks differ: every instant is kept as it is.
    Exact,
}

impl Record {
    /// Takes off what only history tells apart: the chain of events, the count of commits, counts
    /// past which nothing changes.
    pub fn new(mut request: AccessRequest, grid: Grid, now: Timestamp) -> Self {
        request.version = VERSION;
        request.chain = ChainHead::start("model");
        if grid == Grid::Ticks {
            request.updated_at = request.opened_at;
        }
        if let Stage::Granted(grant) = &mut request.stage {
            canonical(grant, grid, now);
        }
        let mut hasher = DefaultHasher::new();
        request.to_stored().hash(&mut hasher);
        let print = hasher.finish();
        let due_at = wake(&request).map(|wake| wake.at);
        Self(Arc::new(Inner {
            print,
            due_at,
            request,
        }))
    }

    /// The same some time later: what was due then is overdue now.
    pub fn aged(&self, grid: Grid, now: Timestamp) -> Self {
        match self.0.request.grant() {
            Some(grant)
                if grid == Grid::Ticks && grant.next_at != at(0) && grant.next_at <= now =>
            {
                Self::new(self.0.request.clone(), grid, now)
            }
            Some(_) | None => self.clone(),
        }
    }

    /// From when on the store lists it as due.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.0.due_at
    }

    /// A number that stands for the content.
    pub fn print(&self) -> u64 {
        self.0.print
    }
}

fn canonical(grant: &mut Grant, grid: Grid, now: Timestamp) {
    grant.active_at = grant.active_at.map(|_| at(0));
    grant.failures = grant.failures.min(FAILURES);
    match &mut grant.phase {
        Phase::Revoking { ending } | Phase::Settling { ending, .. } => {
            ending.attempts = ending.attempts.min(ATTEMPTS);
            ending.accepted_at = ending.accepted_at.map(|_| at(0));
        }
        Phase::Approved
        | Phase::Provisioning { .. }
        | Phase::Active
        | Phase::Closed { .. }
        | Phase::Cancelled { .. } => {}
    }
    if let Phase::Settling { watch, .. } = &mut grant.phase {
        watch.looks = 0;
    }
    if grid == Grid::Ticks {
        let next_at = up_to_tick(grant.next_at);
        grant.next_at = if next_at <= now { at(0) } else { next_at };
    }
}

/// The first tick that is not before this instant.
fn up_to_tick(instant: Timestamp) -> Timestamp {
    let since = instant.since(at(0));
    let whole = since.as_micros().div_ceil(TICK.as_micros());
    at(u8::try_from(whole).unwrap_or(u8::MAX))
}

impl std::ops::Deref for Record {
    type Target = AccessRequest;
    fn deref(&self) -> &AccessRequest {
        &self.0.request
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.0.print == other.0.print
    }
}

impl Eq for Record {}

impl PartialOrd for Record {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Record {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.print.cmp(&other.0.print)
    }
}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.print.hash(state);
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status())?;
        let Some(grant) = self.grant() else {
            return Ok(());
        };
        let tick =
            |at: Timestamp| at.since(crate::setting::at(0)).as_secs_f32() / TICK.as_secs_f32();
        write!(f, " epoch {} ends {}", grant.epoch, tick(grant.expires_at))?;
        write!(f, " next {}", tick(grant.next_at))?;
        if let Some(sent) = grant.slot_send_before {
            write!(f, " send before {}", tick(sent))?;
        }
        if !grant.rechecks.is_empty() {
            let rechecks: Vec<_> = grant.rechecks.iter().map(|at| tick(*at)).collect();
            write!(f, " looks at {rechecks:?}")?;
        }
        if let Phase::Settling { watch, .. } = &grant.phase {
            write!(f, " until {}", tick(watch.until))?;
        }
        Ok(())
    }
}
