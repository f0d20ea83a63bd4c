//! Lies on purpose, each of which must make the two sides disagree: ports and policies that are not
//! what they say, around the engine as it is, and mistakes in the reference.

use super::case::{Account, Directory, Effect, Kind, Name, Person, Policy};

/// Something is wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saboteur {
    World(Lie),
    Reference(Slip),
}

/// What is told to the engine and is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// The directory tells the groups of the beginning.
    StaleGroups,
    /// The directory calls everybody active.
    LeaversAreActive,
    /// The directory takes every login for somebody of their own.
    ForgetsLogins,
    /// The directory tells the managers of the beginning.
    StaleManagers,
    /// The directory takes agents and services for people.
    ProgramsArePeople,
    /// The directory says that nobody is in a group that cannot be asked.
    UnknownIsEmpty,
    /// The process goes on under the policy with which it began.
    PolicyNeverRefreshed,
    /// The policy has no rules that deny.
    NothingIsDenied,
    /// The steps of the ladder count at once.
    LadderAtOnce,
    /// Rules count at all hours.
    AllHours,
    /// One approval is enough everywhere.
    OneIsEnough,
    /// The store takes facts for fresh, however old they are.
    StaleFactsAreFresh,
}

/// What the reference forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slip {
    /// Whoever it is for may decide it.
    ForgetsBeneficiary,
    /// Whoever approves twice counts twice.
    CountsClicks,
    /// Earlier approvals are not looked at again.
    NeverChecksAgain,
    /// Nothing is looked at before the grant.
    NoLookBeforeGrant,
    /// A decision of something else than what is asked counts.
    AnyDigest,
    /// A rule that allows wins over one that denies.
    AllowWins,
    /// Agents and services decide like people.
    ProgramsDecide,
}

impl Saboteur {
    pub(crate) fn lie(self) -> Option<Lie> {
        match self {
            Self::World(lie) => Some(lie),
            Self::Reference(_) => None,
        }
    }

    pub(crate) fn slip(self) -> Option<Slip> {
        match self {
            Self::World(_) => None,
            Self::Reference(slip) => Some(slip),
        }
    }
}

impl Lie {
    /// What the directory tells of somebody.
    pub(crate) fn of_person(self, name: Name, person: &mut Person, at_first: &Directory) {
        let before = at_first.people.get(name);
        match self {
            Self::StaleGroups => {
                if let Some(before) = before {
                    person.groups = before.groups.clone();
                }
            }
            Self::StaleManagers => {
                if let Some(before) = before {
                    person.manager = before.manager;
                }
            }
            Self::LeaversAreActive => person.account = Account::Active,
            Self::ProgramsArePeople => person.kind = Kind::Human,
            Self::ForgetsLogins
            | Self::UnknownIsEmpty
            | Self::PolicyNeverRefreshed
            | Self::NothingIsDenied
            | Self::LadderAtOnce
            | Self::AllHours
            | Self::OneIsEnough
            | Self::StaleFactsAreFresh => {}
        }
    }

    /// The policy that the engine is given.
    pub(crate) fn of_policy(self, policy: &mut Policy) {
        let rules = &mut policy.rules;
        match self {
            Self::NothingIsDenied => rules.retain(|rule| rule.effect == Effect::Allow),
            Self::LadderAtOnce => rules.iter_mut().for_each(|rule| rule.after = None),
            Self::AllHours => rules.iter_mut().for_each(|rule| rule.hours = None),
            Self::OneIsEnough => {
                let tiers = policy.tiers.values_mut();
                tiers.for_each(|tier| tier.approvals = tier.approvals.min(1));
            }
            Self::StaleGroups
            | Self::LeaversAreActive
            | Self::ForgetsLogins
            | Self::StaleManagers
            | Self::ProgramsArePeople
            | Self::UnknownIsEmpty
            | Self::PolicyNeverRefreshed
            | Self::StaleFactsAreFresh => {}
        }
    }
}
