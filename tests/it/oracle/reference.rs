//! Who may do what to a request, once more: written from the text of the invariants S5, S9 and S11
//! and of `docs/POLICY.md`, in the plainest way there is, to be checked by eye. It shares nothing with
//! the domain's policy and lifecycle, and nothing of it is quick.
//!
//! How the text is read where it can be read in several ways:
//! - A refusal is right if its reason is true. Which of several true reasons is given is not said.
//! - What is refused changes nothing: only a decision that could be made finds out that the request
//!   is void.
//! - The policy that makes a request void by its change is the entry of the catalogue and the tier.
//!   Rules are judged anew each time instead.
//! - The names in rules, and those written into a request, are canonical ids. An approval of a name
//!   that is not the canonical one any more does not count; who was renamed ends nothing.
//! - Hours and waiting are judged at the instant of the act, by the rules of today. Whether nobody is
//!   left to decide is judged over the whole window; rules that keep out at times end in time.
//! - Where it depends on a group that cannot be asked, and on nothing else, it is put off.

use std::collections::BTreeSet;

use super::case::{
    Account, Answer, Directory, Effect, Entry, Kind, Lost, Name, Person, Picture, Policy, Right,
    Rule, State, Tier, Who, Why,
};
use super::sabotage::Slip;

mod asking;
mod deciding;
mod story;

/// An approved request has so long to be granted.
const GRANTED_WITHIN_SECS: u64 = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Yes,
    No,
    CannotTell,
}
use Certainty::{CannotTell, No, Yes};

#[derive(Debug, Clone)]
struct Request {
    requester: Name,
    beneficiary: Name,
    what: Name,
    opened_at: u64,
    terms: (Entry, Tier),
    approvals: Vec<(Name, u64)>,
    dropped: Vec<Name>,
    approved_at: u64,
    state: State,
}

/// What is so, and the one request.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    policy: Policy,
    directory: Directory,
    now: u64,
    request: Option<Request>,
    /// A mistake that is made on purpose.
    slip: Option<Slip>,
}

/// Whether what was asked for may still be given.
enum Fit {
    Fits,
    CannotTell,
    Lost(BTreeSet<Lost>),
}

fn refused(why: impl IntoIterator<Item = Why>) -> Answer {
    Answer::Refused(why.into_iter().collect())
}

impl Reference {
    pub(crate) fn new(policy: Policy, directory: Directory, now: u64, slip: Option<Slip>) -> Self {
        Self {
            policy,
            directory,
            now,
            request: None,
            slip,
        }
    }

    pub(crate) fn picture(&self) -> Picture {
        let Some(request) = &self.request else {
            return Picture {
                state: State::NotOpened,
                approvals: BTreeSet::new(),
                dropped: vec![],
            };
        };
        let approvals = request.approvals.iter();
        let dropped = request.dropped.iter();
        Picture {
            state: request.state.clone(),
            approvals: approvals.map(|it| it.0.to_owned()).collect(),
            dropped: dropped.map(|name| (*name).to_owned()).collect(),
        }
    }

    // ------------------------------------------------------------------------------- who is who

    /// Everybody has one name that counts, whatever they came in with.
    fn canonical(&self, login: Name) -> Option<Name> {
        let name = *self.directory.logins.get(login).unwrap_or(&login);
        self.directory.people.contains_key(name).then_some(name)
    }

    fn person(&self, login: Name) -> Option<&Person> {
        self.directory.people.get(self.canonical(login)?)
    }

    fn manager_of(&self, login: Name) -> Option<Name> {
        self.canonical(self.person(login)?.manager?)
    }

    // -------------------------------------------------------------------------------- the rules

    /// What no rule allows is refused, and a rule that denies wins. Who is not active has no right,
    /// and a program has none but to ask.
    fn may(
        &self,
        who: Name,
        right: Right,
        on: Name,
        of: Name,
        counts: &dyn Fn(&Rule) -> bool,
    ) -> Certainty {
        let Some(person) = self.directory.people.get(who) else {
            return No;
        };
        let program = person.kind != Kind::Human && self.slip != Some(Slip::ProgramsDecide);
        if person.account == Account::Inactive || (program && right != Right::Request) {
            return No;
        }
        // Both ways, where there is a group of which it is not known whether they are in it.
        let mut within = person.groups.clone();
        let mut without = person.groups.clone();
        if let Some(unknown) = self.directory.unknown {
            within.insert(unknown);
            without.remove(unknown);
        }
        let judged = |groups: &BTreeSet<Name>| {
            let speaks = |rule: &&Rule| {
                rule.rights.contains(&right)
                    && rule.over.is_none_or(|over| over == on)
                    && self.names(rule.who, who, person.kind, groups, of)
                    && counts(rule)
            };
            let speaking: Vec<&Rule> = self.policy.rules.iter().filter(speaks).collect();
            let allows = speaking.iter().any(|rule| rule.effect == Effect::Allow);
            let denies = speaking.iter().any(|rule| rule.effect == Effect::Deny);
            allows && (!denies || self.slip == Some(Slip::AllowWins))
        };
        match (judged(&within), judged(&without)) {
            (true, true) => Yes,
            (false, false) => No,
            (true, false) | (false, true) => CannotTell,
        }
    }

    fn names(&self, rule: Who, who: Name, kind: Kind, groups: &BTreeSet<Name>, of: Name) -> bool {
        match rule {
            Who::EveryPerson => kind == Kind::Human,
            Who::EveryAgent => matches!(kind, Kind::Agent { .. }),
            Who::Group(group) => groups.contains(group),
            Who::Manager => kind == Kind::Human && self.manager_of(of) == Some(who),
            Who::One(one) => one == who,
        }
    }

    /// At this instant, for what was asked at that one.
    fn may_at(
        &self,
        who: Name,
        right: Right,
        on: Name,
        of: Name,
        at: u64,
        asked: u64,
    ) -> Certainty {
        self.may(who, right, on, of, &|rule| {
            let minute = at / 60 % (24 * 60);
            let in_hours = rule
                .hours
                .is_none_or(|hours| hours.from <= minute && minute < hours.until);
            in_hours && rule.after.is_none_or(|after| at - asked >= after * 60)
        })
    }

    /// At some time or other: who is kept out at times is not kept out for ever.
    fn may_ever(&self, who: Name, right: Right, on: Name, of: Name) -> Certainty {
        self.may(who, right, on, of, &|rule| {
            rule.effect == Effect::Allow || rule.hours.is_none()
        })
    }

    /// Why somebody is refused who has not got a right at this instant.
    fn lacks(&self, who: Name, right: Right, on: Name, of: Name) -> Why {
        match self.may_ever(who, right, on, of) {
            Yes => Why::NotNow,
            No | CannotTell => Why::NotAllowed,
        }
    }

    // ------------------------------------------------------------------------------ explanations

    /// Whether they have the right now, for this person, and the rules that say something to it.
    pub(crate) fn explain(
        &self,
        who: Name,
        right: Right,
        on: Name,
        of: Name,
        waited: u64,
    ) -> Option<(bool, BTreeSet<String>)> {
        let person = self.directory.people.get(who)?;
        if self.directory.unknown.is_some() {
            return None;
        }
        let allowed = self.may_at(who, right, on, of, self.now + waited, self.now) == Yes;
        let speaks = |rule: &&Rule| {
            let minute = (self.now + waited) / 60 % (24 * 60);
            rule.rights.contains(&right)
                && rule.over.is_none_or(|over| over == on)
                && self.names(rule.who, who, person.kind, &person.groups, of)
                && rule
                    .hours
                    .is_none_or(|hours| hours.from <= minute && minute < hours.until)
                && rule.after.is_none_or(|after| waited >= after * 60)
        };
        let held_back = person.account == Account::Inactive
            || (person.kind != Kind::Human && right != Right::Request);
        let speaking = self.policy.rules.iter().filter(speaks);
        let names = speaking.map(|rule| rule.name.clone());
        let names = if held_back {
            BTreeSet::new()
        } else {
            names.collect()
        };
        Some((allowed, names))
    }
}
