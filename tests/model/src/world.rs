//! A state: the time, what the store holds, what each process is in the middle of, what is at the
//! provider, what people may still do, and which promises were broken on the way here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::provider::Kind;
use jit_core::request::{Cause, End, Phase, Status};

use crate::provider::{Nature, Provider, Said, Seen};
use crate::record::Record;
use crate::setting::Person;
use crate::verdict::{Ask, Owner, Pending};

/// A state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// True time.
    pub tick: u8,
    /// What is stored.
    pub store: Store,
    /// The processes.
    pub workers: Vec<Worker>,
    /// The provider.
    pub provider: Provider,
    /// The tick by which every delete of a grant that left Revoking has landed, where a slot changes
    /// hands.
    pub deletes_land_by: u8,
    /// People.
    pub people: People,
    /// How many secrets were handed out.
    pub handed_out: u8,
    /// Broken promises.
    pub flaws: Flaws,
}

impl World {
    /// Whether the access of an Active grant is not there.
    pub fn is_hit(&self, nature: &Nature) -> bool {
        let active = |it: &Record| it.status() == Status::Active;
        nature.kind == Kind::Standing
            && self.store.all().any(active)
            && self.provider.look(nature) == Seen::Absent
    }
}

/// What is stored. Records carry no version: whoever holds one that another commit replaces is told
/// so at that commit, which is what a compare-and-set would tell them later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Store {
    /// The records, by request.
    pub records: [Option<Record>; 2],
    /// The owner of each slot that ever had one.
    pub slots: BTreeMap<&'static str, usize>,
}

impl Store {
    /// A record.
    pub fn record(&self, request: usize) -> Option<&Record> {
        self.records.get(request).and_then(Option::as_ref)
    }

    /// Every record.
    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().flatten()
    }

    /// The slot's owner and its record.
    pub fn owner(&self, realm: &'static str) -> Option<Owner> {
        let request = *self.slots.get(realm)?;
        let record = self.record(request)?.clone();
        Some(Owner { request, record })
    }

    /// How many records are live.
    pub fn live(&self) -> usize {
        self.all().filter(|it| it.status().is_live()).count()
    }

    /// Whether a grant ends because its access was found missing.
    pub fn found_missing(&self) -> bool {
        let missing = |record: &Record| {
            let grant = record.grant();
            grant.is_some_and(|grant| match &grant.phase {
                Phase::Revoking { ending } => {
                    ending.cause == Cause::Failed && grant.active_at.is_some()
                }
                _ => false,
            })
        };
        self.all().any(missing)
    }

    /// Whether a grant was taken over by another.
    pub fn handed_over(&self) -> bool {
        let superseded = |record: &Record| {
            let phase = record.grant().map(|grant| &grant.phase);
            matches!(
                phase,
                Some(Phase::Closed {
                    end: End::Superseded { .. }
                })
            )
        };
        self.all().any(superseded)
    }
}

/// What people may still do, and did.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct People {
    /// Whether the second request may be opened.
    pub may_open: bool,
    /// How often a grant may still be ended early.
    pub ends: u8,
    /// Clicks that no process has taken.
    pub clicks: Vec<Click>,
    /// Who may leave their group.
    pub may_leave: Vec<Person>,
    /// Who left it, and at which tick.
    pub left: Vec<(Person, u8)>,
}

/// A click, as it was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Click {
    /// Yes, perhaps for so many ticks alone.
    Approve(Person, Option<u8>),
    /// No.
    Deny(Person),
    /// The asker wants their credential.
    Collect,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Worker {
    /// What it is in the middle of.
    pub step: Step,
    /// By how many ticks its clock is behind.
    pub behind: u8,
    /// How far the newest commit was ahead of its clock, and by that clock when.
    pub lead: Option<(Duration, Timestamp)>,
    /// Which grants it saw become Active; only a shortcut goes by it.
    pub remembers: [bool; 2],
}

/// What is owed, as far as it makes a difference to the steps that pay it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Errand {
    /// It is paid by saving it.
    Save,
    /// A delete and its read-back.
    Revoke,
    /// A grant call.
    Lease,
    /// A look.
    Look(Why),
}

/// Why somebody looks at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// Whether a grant call took effect.
    Verify,
    /// Whether access that was taken over is there.
    TakenOver,
    /// Whether it is still there.
    Check,
    /// Whether there is a late effect.
    Settle,
}

/// Where a process is. Before each step it may pause for any time, or die.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each field is what the step needs later")]
pub enum Step {
    /// Nowhere.
    Idle,
    /// Read a record, decided to take it, and is about to commit that.
    Taking {
        request: usize,
        errand: Errand,
        read_at: Timestamp,
        pending: Arc<Pending>,
    },
    /// Is about to look up what a lease is judged on.
    LookingUp { request: usize },
    /// Has the lease decided and is about to commit it.
    Leasing {
        request: usize,
        epoch: Option<u32>,
        looked_up: u8,
        pending: Arc<Pending>,
    },
    /// Is about to check the time, sign and send a grant or mint call.
    Sending {
        request: usize,
        epoch: u32,
        send_before: Timestamp,
        checked: bool,
    },
    /// Is about to check the time, sign and send a delete.
    Deleting {
        request: usize,
        epoch: u32,
        attempt: u32,
        send_before: Timestamp,
    },
    /// Is about to read back what a delete did.
    ReadingBack {
        request: usize,
        epoch: u32,
        attempt: u32,
        said: Option<Said>,
    },
    /// Is about to look at the provider.
    Looking {
        request: usize,
        epoch: u32,
        why: Why,
    },
    /// Is about to read the record again and decide on an outcome.
    Recording { request: usize, outcome: Ask },
    /// Has decided on an outcome and is about to commit it.
    Saving {
        request: usize,
        outcome: Ask,
        pending: Arc<Pending>,
    },
    /// Is about to look up what a click is judged on.
    Clicked { click: Click },
    /// Has judged a click and is about to commit that.
    Judging {
        click: Click,
        looked_up: u8,
        pending: Arc<Pending>,
    },
}

impl Step {
    /// What is held that a commit elsewhere may make worthless.
    pub fn pending(&self) -> Option<&Arc<Pending>> {
        match self {
            Self::Taking { pending, .. }
            | Self::Leasing { pending, .. }
            | Self::Saving { pending, .. }
            | Self::Judging { pending, .. } => Some(pending),
            Self::Idle
            | Self::LookingUp { .. }
            | Self::Sending { .. }
            | Self::Deleting { .. }
            | Self::ReadingBack { .. }
            | Self::Looking { .. }
            | Self::Recording { .. }
            | Self::Clicked { .. } => None,
        }
    }
}

/// What a look showed, or that it failed.
pub type Look = Option<Seen>;

/// A broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// S1: a grant call went out whose intent is not stored.
    NoIntent = 1,
    /// S2: a grant ended while its access stood.
    QuietEnd = 2,
    /// S3: a grant call took effect while no live grant owned the slot.
    Resurrection = 4,
    /// S4: access was taken away that others had given.
    TookForeign = 8,
    /// S5: a decision was made twice, or by people who may not.
    Decision = 16,
    /// S6: an end moved later, or was later than asked for.
    LaterEnd = 32,
    /// S11: a grant was leased on approvals without authority.
    StaleAuthority = 64,
    /// S15: a second credential, a second secret, or one that its record does not speak of.
    Secret = 128,
}

/// Broken promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flaws(u16);

impl Flaws {
    /// Adds one.
    pub fn add(&mut self, flaw: Flaw) {
        self.0 |= flaw as u16;
    }

    /// Whether it is among them.
    pub fn has(self, flaw: Flaw) -> bool {
        self.0 & flaw as u16 != 0
    }
}
