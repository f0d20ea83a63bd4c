//! The scenarios: small worlds, each for one part of the lifecycle.

use jit_core::provider::Kind;

use crate::promise::Sight;
use crate::provider::{Nature, Pending};
use crate::record::Grid;
use crate::setting::Person;
use crate::world::Click;

/// Whether a delete without a reply may still arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// It arrives at once or never.
    ComeAtOnce,
    /// As a grant call.
    MayBeLate,
}

/// Whether a look at the provider may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// It does not.
    Succeed,
    /// It may.
    MayFail,
}

/// How the outcome of a call is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saves {
    /// Read, decided and committed in one step; a conflict would do the same again.
    InOneStep,
    /// Read and decided, then committed, with everything else in between.
    InTwoSteps,
}

/// A small world and its bounds.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What the provider is like.
    pub nature: Nature,
    /// V of the second request in ticks: what was declared when it was opened.
    pub second_accepted_within: u8,
    /// How many approvals are needed.
    pub approvals: u8,
    /// For how many ticks the first request asks.
    pub first: u8,
    /// And the second, where there is one.
    pub second: Option<u8>,
    /// How often the asker may end a grant early.
    pub ends: u8,
    /// What people click, each taken by some process at some time or never.
    pub clicks: Vec<Click>,
    /// Who may leave their group.
    pub may_leave: Vec<Person>,
    /// Whether others gave the same access while the request waited.
    pub foreign: bool,
    /// The processes, each with how many ticks its clock is behind.
    pub behind: Vec<u8>,
    /// How many ticks the storm lasts.
    pub storm: u8,
    /// The last tick of the calm.
    pub end: u8,
    /// How many calls may be under way at once.
    pub calls_at_once: usize,
    /// Whether deletes may be late.
    pub deletes: Deletes,
    /// Whether looks may fail.
    pub looks: Looks,
    /// How outcomes are saved.
    pub saves: Saves,
    /// What must be come across.
    pub sees: Vec<Sight>,
}

impl Scenario {
    /// How exact instants are kept.
    pub fn grid(&self) -> Grid {
        match self.behind.iter().all(|behind| *behind == 0) {
            true => Grid::Ticks,
            false => Grid::Exact,
        }
    }

    /// The scenario of this name, in its bounds for every day or in its full ones.
    pub fn named(name: &str, extent: Extent) -> Option<Self> {
        all(extent).into_iter().find(|it| it.name == name)
    }
}

/// How far a scenario is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// In seconds.
    Bounded,
    /// In minutes.
    Full,
}

impl Extent {
    fn of<T>(self, bounded: T, full: T) -> T {
        match self {
            Self::Bounded => bounded,
            Self::Full => full,
        }
    }
}

/// Every scenario.
pub fn all(extent: Extent) -> Vec<Scenario> {
    vec![
        standing(extent),
        invisible(extent),
        hand_over(extent),
        late_answer(extent),
        windows(extent),
        minted(extent),
        expiring(extent),
        quorum(extent),
        clocks(extent),
        foreign(extent),
    ]
}

/// A provider of standing access with V and A of a tick each.
const SLOW: Nature = Nature {
    kind: Kind::Standing,
    accepted_within: 1,
    applied_within: 1,
    pending: Pending::Visible,
    life: None,
    clocks_behind: 0,
};

fn standing(extent: Extent) -> Scenario {
    Scenario {
        name: "standing",
        about: "one grant of standing access; what is being applied is seen",
        nature: SLOW,
        second_accepted_within: 1,
        approvals: 0,
        first: 2,
        second: None,
        ends: 1,
        clicks: vec![],
        may_leave: vec![],
        foreign: false,
        behind: vec![0, 0],
        storm: extent.of(3, 5),
        end: 24,
        calls_at_once: 2,
        deletes: Deletes::ComeAtOnce,
        looks: Looks::Succeed,
        saves: extent.of(Saves::InOneStep, Saves::InTwoSteps),
        sees: vec![Sight::Active, Sight::LateCall, Sight::Clean],
    }
}

fn invisible(extent: Extent) -> Scenario {
    Scenario {
        name: "invisible",
        about: "one grant of standing access; what is being applied is not seen",
        nature: Nature {
            pending: Pending::Invisible,
            ..SLOW
        },
        ..standing(extent)
    }
}

fn hand_over(extent: Extent) -> Scenario {
    Scenario {
        name: "hand-over",
        about: "two grants of standing access on one slot; the second is asked for at any time",
        second: Some(5),
        ends: extent.of(0, 1),
        storm: 3,
        saves: Saves::InOneStep,
        looks: Looks::MayFail,
        deletes: Deletes::MayBeLate,
        sees: vec![
            Sight::Active,
            Sight::HandOver,
            Sight::Hit,
            Sight::Noticed,
            Sight::LateCall,
            Sight::Clean,
        ],
        ..standing(extent)
    }
}

fn late_answer(extent: Extent) -> Scenario {
    Scenario {
        name: "late-answer",
        about: "two grants on one slot of a provider whose calls are in effect at once; a process \
                hears so, and pauses until its grant is closed",
        nature: Nature {
            accepted_within: 0,
            applied_within: 0,
            ..SLOW
        },
        second_accepted_within: 0,
        second: Some(3),
        storm: extent.of(2, 3),
        calls_at_once: 1,
        deletes: Deletes::MayBeLate,
        sees: vec![
            Sight::Active,
            Sight::HandOver,
            Sight::Hit,
            Sight::Noticed,
            Sight::Clean,
        ],
        ..standing(extent)
    }
}

fn windows(extent: Extent) -> Scenario {
    Scenario {
        name: "windows",
        about: "a slot handed on from a provider whose calls travel for long to one where they travel less",
        nature: Nature {
            accepted_within: 3,
            applied_within: 0,
            ..SLOW
        },
        second_accepted_within: 1,
        first: 4,
        second: Some(6),
        ends: 2,
        behind: extent.of(vec![0], vec![0, 0]),
        storm: 2,
        calls_at_once: 1,
        saves: Saves::InOneStep,
        deletes: Deletes::MayBeLate,
        looks: Looks::MayFail,
        sees: vec![
            Sight::HandOver,
            Sight::LateCall,
            Sight::Hit,
            Sight::Noticed,
            Sight::Clean,
        ],
        ..standing(extent)
    }
}

fn minted(extent: Extent) -> Scenario {
    Scenario {
        name: "minted",
        about: "a credential that its asker collects, twice at once; found by its marker and revoked",
        nature: Nature {
            kind: Kind::Minted,
            applied_within: 0,
            ..SLOW
        },
        clicks: vec![Click::Collect; 2],
        storm: extent.of(2, 4),
        saves: Saves::InTwoSteps,
        deletes: extent.of(Deletes::ComeAtOnce, Deletes::MayBeLate),
        looks: extent.of(Looks::Succeed, Looks::MayFail),
        sees: vec![Sight::Active, Sight::Secret, Sight::LateCall, Sight::Clean],
        ..standing(extent)
    }
}

fn expiring(extent: Extent) -> Scenario {
    Scenario {
        name: "expiring",
        about: "a credential that cannot be found or revoked and ends by itself",
        nature: Nature {
            kind: Kind::Minted,
            applied_within: 0,
            life: Some(2),
            ..SLOW
        },
        sees: vec![Sight::Active, Sight::Secret, Sight::Clean],
        ..minted(extent)
    }
}

fn quorum(extent: Extent) -> Scenario {
    Scenario {
        name: "quorum",
        about: "two approvals of three people, one of them clicking twice under two names, one losing \
                her right, one saying no",
        nature: Nature {
            accepted_within: 0,
            applied_within: 0,
            ..SLOW
        },
        approvals: 2,
        ends: 0,
        clicks: vec![
            Click::Approve(Person::Ann, None),
            Click::Approve(Person::AnnAgain, None),
            Click::Approve(Person::Bob, Some(1)),
            Click::Deny(Person::Cid),
        ],
        may_leave: vec![Person::Ann],
        storm: extent.of(2, 4),
        calls_at_once: 1,
        saves: Saves::InOneStep,
        sees: vec![Sight::Approved, Sight::Active, Sight::Clean],
        ..standing(extent)
    }
}

fn clocks(extent: Extent) -> Scenario {
    Scenario {
        name: "clocks",
        about: "one grant of standing access; one process is a tick behind the other",
        nature: Nature {
            applied_within: extent.of(0, 1),
            clocks_behind: 1,
            ..SLOW
        },
        ends: 1,
        behind: vec![0, 1],
        storm: extent.of(2, 3),
        calls_at_once: 1,
        saves: Saves::InOneStep,
        sees: vec![Sight::Active, Sight::LateCall, Sight::Lead, Sight::Clean],
        ..standing(extent)
    }
}

fn foreign(extent: Extent) -> Scenario {
    Scenario {
        name: "foreign",
        about: "others gave the same access while the request waited",
        foreign: true,
        sees: vec![Sight::Clean],
        ..standing(extent)
    }
}
