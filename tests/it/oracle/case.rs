//! What a case is made of, in the plainest words there are: names, sets of names, minutes. Nothing
//! of the domain's own data is used here; the engine is given a translation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A login: `ana`, `ana.admin`, `agent:bot`. The engine knows `ana` as `ana@example.com`.
pub(crate) type Name = &'static str;

// ---------------------------------------------------------------------------------- the people

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Human,
    Agent { acts_for: Name },
    Service,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    Active,
    Inactive,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) kind: Kind,
    pub(crate) account: Account,
    pub(crate) groups: BTreeSet<Name>,
    /// By any of their logins.
    pub(crate) manager: Option<Name>,
}

/// Whether the directory answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Up,
    Down,
}

/// Everybody, as they are at one instant.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    /// By the name that counts.
    pub(crate) people: BTreeMap<Name, Person>,
    /// Further logins, and whose they are.
    pub(crate) logins: BTreeMap<Name, Name>,
    /// The one group, if any, that cannot be asked now.
    pub(crate) unknown: Option<Name>,
    pub(crate) line: Line,
}

/// What happens to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    SwitchedOff(Name),
    SwitchedOn(Name),
    Deleted(Name),
    Leaves(Name, Name),
    Joins(Name, Name),
    /// The first turns out to be the second: from now on it is a login of theirs.
    IsTheSameAs(Name, Name),
    GetsManager(Name, Option<Name>),
    GroupUnknown(Name),
    GroupKnown,
    DirectoryDown,
    DirectoryUp,
}

impl Directory {
    /// Makes it so. Both sides are told the same.
    pub(crate) fn apply(&mut self, happening: Happening) {
        let mut with = |who: Name, change: &dyn Fn(&mut Person)| {
            self.people.get_mut(who).into_iter().for_each(change);
        };
        match happening {
            Happening::SwitchedOff(who) => with(who, &|it| it.account = Account::Inactive),
            Happening::SwitchedOn(who) => with(who, &|it| it.account = Account::Active),
            Happening::Leaves(who, group) => with(who, &|it| {
                it.groups.remove(group);
            }),
            Happening::Joins(who, group) => with(who, &|it| {
                it.groups.insert(group);
            }),
            Happening::GetsManager(who, manager) => with(who, &|it| it.manager = manager),
            Happening::Deleted(who) => {
                self.people.remove(who);
                self.logins.retain(|_, owner| *owner != who);
            }
            Happening::IsTheSameAs(one, other) => {
                let both = self.people.contains_key(one) && self.people.contains_key(other);
                if both && one != other {
                    self.people.remove(one);
                    let moved = self.logins.values_mut().filter(|owner| **owner == one);
                    moved.for_each(|owner| *owner = other);
                    self.logins.insert(one, other);
                }
            }
            Happening::GroupUnknown(group) => self.unknown = Some(group),
            Happening::GroupKnown => self.unknown = None,
            Happening::DirectoryDown => self.line = Line::Down,
            Happening::DirectoryUp => self.line = Line::Up,
        }
    }
}

// ---------------------------------------------------------------------------------- the policy

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    Request,
    OnBehalfOf,
    Approve,
    Revoke,
    Audit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    EveryPerson,
    EveryAgent,
    Group(Name),
    Manager,
    One(Name),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// Minutes after midnight, UTC; the last is not within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hours {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) effect: Effect,
    pub(crate) rights: BTreeSet<Right>,
    /// One entitlement, or everything where unset.
    pub(crate) over: Option<Name>,
    pub(crate) who: Who,
    pub(crate) hours: Option<Hours>,
    /// How many minutes the request must have waited.
    pub(crate) after: Option<u64>,
}

/// Whether a tier needs nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    People,
    Automatic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tier {
    pub(crate) way: Way,
    pub(crate) approvals: u8,
    /// The longest that can be asked for, in minutes; an hour is asked for.
    pub(crate) longest: u64,
    /// For how many minutes a request waits.
    pub(crate) window: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) tier: Name,
    pub(crate) title: Name,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) tiers: BTreeMap<Name, Tier>,
    pub(crate) catalogue: BTreeMap<Name, Entry>,
    pub(crate) rules: Vec<Rule>,
}

// ------------------------------------------------------------------------------------ the story

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) by: Name,
    pub(crate) named: Option<Name>,
    pub(crate) what: Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Approve,
    Deny,
    /// An approval of something else than what is asked.
    ApproveStale,
    Retract,
    Withdraw,
    End,
    Revoke,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Say(Name, Verb),
    People(Happening),
    Policy(Policy),
    WaitMinutes(u64),
    /// Half a minute later a worker pays what the request owes.
    Work,
    /// A worker looks after what was given.
    Look,
    /// While the first is about to be stored the second happens.
    Race {
        first: Box<Step>,
        meanwhile: Box<Step>,
        pace: Pace,
    },
}

/// How long storing takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    AtOnce,
    /// Ten seconds: what was looked up is too old by then.
    Slow,
}

/// The seconds of [`Pace::Slow`].
pub(crate) const SLOW_SECS: u64 = 10;
/// The seconds before [`Step::Work`].
pub(crate) const WORK_SECS: u64 = 30;
/// The seconds before [`Step::Look`].
pub(crate) const LOOK_SECS: u64 = 301;

/// The five things whose every order is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Matter {
    Decision,
    PolicyChange,
    OffBoarding,
    EligibilityLost,
    Withdrawal,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) order: [Matter; 5],
    /// Seconds after midnight, UTC; a whole minute.
    pub(crate) starts_at: u64,
    pub(crate) directory: Directory,
    pub(crate) policy: Policy,
    pub(crate) ask: Ask,
    pub(crate) steps: Vec<Step>,
}

// --------------------------------------------------------------------------------- the outcomes

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    UnknownPerson,
    Inactive,
    NothingToAskFor,
    NotAllowed,
    NotNow,
    ForAnother,
    ForAProgram,
    BeneficiaryNotAllowed,
    NobodyToDecide,
    NotSeen,
    Own,
    NotYours,
    AlreadyDecided,
    Lapsed,
    StaleDigest,
    AlreadyApproved,
    NothingToRetract,
    NotPending,
    AlreadyEnding,
    AlreadyOver,
    CannotTell,
    /// A refusal that no case should meet.
    Other,
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// The reference gives every reason that is true; the engine gives one of them.
    Refused(BTreeSet<Why>),
    /// The world did not answer; nothing was changed.
    PutOff,
}

/// Why a request is void, or a grant cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lost {
    PolicyChanged,
    NoLongerEligible,
    Revoked,
    Ended,
    TooLate,
    Other,
}

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    NotOpened,
    Pending,
    Denied,
    Withdrawn,
    Lapsed,
    /// The reference gives every reason that is true.
    Invalidated(BTreeSet<Lost>),
    Approved,
    Cancelled(BTreeSet<Lost>),
    Active,
    /// Being taken away, or gone.
    Ending(Lost),
    Other(String),
}

/// A state with whose approvals count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) state: State,
    pub(crate) approvals: BTreeSet<String>,
    /// Whose approvals were dropped, in order.
    pub(crate) dropped: Vec<String>,
}

impl State {
    /// Its word, for counting.
    pub(crate) fn word(&self) -> String {
        let word = format!("{self:?}");
        word.replace(['{', '}', '"'], "")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Say(who, verb) => write!(f, "{who} says {verb:?}"),
            Self::People(happening) => write!(f, "{happening:?}"),
            Self::Policy(policy) => write!(f, "another policy:\n{policy}"),
            Self::WaitMinutes(minutes) => write!(f, "{minutes} minutes pass"),
            Self::Work => f.write_str("a worker works"),
            Self::Look => f.write_str("a worker looks"),
            Self::Race {
                first,
                meanwhile,
                pace,
            } => write!(f, "{first}; before that is stored ({pace:?}): {meanwhile}"),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, tier) in &self.tiers {
            writeln!(f, "    tier {name}: {tier:?}")?;
        }
        for (name, entry) in &self.catalogue {
            writeln!(f, "    {name}: {entry:?}")?;
        }
        for rule in &self.rules {
            let Rule {
                name,
                effect,
                rights,
                over,
                who,
                hours,
                after,
            } = rule;
            let over = over.unwrap_or("everything");
            write!(
                f,
                "    rule {name}: {effect:?} {rights:?} over {over} to {who:?}"
            )?;
            if let Some(Hours { from, until }) = hours {
                write!(
                    f,
                    ", {:02}:{:02}-{:02}:{:02}",
                    from / 60,
                    from % 60,
                    until / 60,
                    until % 60
                )?;
            }
            if let Some(after) = after {
                write!(f, ", after {after} minutes")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minute = self.starts_at / 60;
        writeln!(f, "at {:02}:{:02} UTC", minute / 60, minute % 60)?;
        for (name, person) in &self.directory.people {
            writeln!(f, "    {name}: {person:?}")?;
        }
        writeln!(f, "    logins: {:?}", self.directory.logins)?;
        write!(f, "{}", self.policy)?;
        let Ask { by, named, what } = self.ask;
        writeln!(f, "{by} asks for {what}, for {named:?}")?;
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        Ok(())
    }
}
