//! Who may ask for what, and for whom; and what nobody is left to decide.

use std::collections::BTreeSet;

use super::Certainty::{CannotTell, No, Yes};
use super::{Reference, Request, refused};
use crate::oracle::case::{
    Account, Answer, Ask, Effect, Kind, Line, Name, Right, Rule, State, Tier, Way, Who, Why,
};

impl Reference {
    pub(crate) fn open(&mut self, ask: Ask) -> Answer {
        if self.directory.line == Line::Down {
            return Answer::PutOff;
        }
        let Some(by) = self.canonical(ask.by) else {
            return refused([Why::UnknownPerson]);
        };
        let requester = &self.directory.people[by];
        if requester.account == Account::Inactive {
            return refused([Why::Inactive]);
        }
        // An agent asks for its person, everybody else for themselves, unless somebody is named.
        let of = ask.named.unwrap_or(match requester.kind {
            Kind::Agent { acts_for } => acts_for,
            Kind::Human | Kind::Service => by,
        });
        let on = ask.what;
        let mut why = BTreeSet::new();

        let any = [Right::Request, Right::OnBehalfOf, Right::Approve]
            .map(|right| self.may_ever(by, right, on, of));
        if !any.contains(&Yes) {
            let known = !any.contains(&CannotTell);
            why.insert(if known {
                Why::NothingToAskFor
            } else {
                Why::CannotTell
            });
        }
        if !self.policy.catalogue.contains_key(on) {
            why.insert(Why::NothingToAskFor);
        }
        why.extend(self.may_not_ask(by, of, on, self.now));
        if let Some(entry) = self.policy.catalogue.get(on) {
            let tier = self.policy.tiers[entry.tier];
            if tier.way == Way::People && self.nobody_decides(by, of, on, tier) {
                why.insert(Why::NobodyToDecide);
            }
        }
        if !why.is_empty() {
            return Answer::Refused(why);
        }

        let entry = self.policy.catalogue[on];
        let tier = self.policy.tiers[entry.tier];
        let state = match tier.way {
            Way::Automatic => State::Approved,
            Way::People => State::Pending,
        };
        self.request = Some(Request {
            requester: by,
            beneficiary: self.canonical(of).expect("an unknown one was refused"),
            what: on,
            opened_at: self.now,
            terms: (entry, tier),
            approvals: vec![],
            dropped: vec![],
            approved_at: self.now,
            state,
        });
        Answer::Done
    }

    /// Who asks needs the right to ask, or to ask for others; and nobody gets through another what
    /// they could not ask for themselves.
    pub(super) fn may_not_ask(&self, by: Name, of: Name, on: Name, asked: u64) -> BTreeSet<Why> {
        let mut why = BTreeSet::new();
        let requester = &self.directory.people[by];
        let beneficiary = self.canonical(of);
        let for_oneself = beneficiary == Some(by);
        let right = match requester.kind {
            Kind::Agent { acts_for } => {
                // It asks for its person and for nobody else.
                if beneficiary.is_none() || beneficiary != self.canonical(acts_for) {
                    why.insert(Why::ForAnother);
                    return why;
                }
                Right::Request
            }
            Kind::Human | Kind::Service if for_oneself => Right::Request,
            Kind::Human | Kind::Service => Right::OnBehalfOf,
        };
        match self.may_at(by, right, on, of, asked, asked) {
            Yes => {}
            No => {
                why.insert(self.lacks(by, right, on, of));
            }
            CannotTell => {
                why.insert(Why::CannotTell);
            }
        }
        let Some(person) = self.person(of) else {
            why.insert(Why::UnknownPerson);
            return why;
        };
        if person.kind != Kind::Human && !(person.kind == Kind::Service && for_oneself) {
            why.insert(Why::ForAProgram);
        }
        if person.account == Account::Inactive {
            why.insert(Why::Inactive);
            return why;
        }
        let name = self.canonical(of).expect("it was just found");
        match self.may_at(name, Right::Request, on, of, asked, asked) {
            Yes => {}
            No => {
                why.insert(Why::BeneficiaryNotAllowed);
            }
            CannotTell => {
                why.insert(Why::CannotTell);
            }
        }
        why
    }

    /// Whether fewer people than are needed could decide at any minute of the window.
    pub(super) fn nobody_decides(&self, by: Name, of: Name, on: Name, tier: Tier) -> bool {
        let about = |rule: &&Rule| {
            rule.rights.contains(&Right::Approve) && rule.over.is_none_or(|over| over == on)
        };
        let about: Vec<&Rule> = self.policy.rules.iter().filter(about).collect();
        let minutes = || (0..tier.window).map(|minute| self.now + minute * 60);
        let counts = |rule: &Rule, at: u64| {
            let minute = at / 60 % (24 * 60);
            let in_hours = rule
                .hours
                .is_none_or(|hours| hours.from <= minute && minute < hours.until);
            match rule.effect {
                Effect::Allow => {
                    in_hours && rule.after.is_none_or(|after| at - self.now >= after * 60)
                }
                Effect::Deny => rule.hours.is_none(),
            }
        };
        // Nobody counts everybody, and nobody counts a group that cannot be asked.
        let everybody = about.iter().any(|rule| {
            rule.effect == Effect::Allow
                && rule.who == Who::EveryPerson
                && minutes().any(|at| counts(rule, at))
        });
        let nobody = about.iter().any(|rule| {
            rule.effect == Effect::Deny && rule.who == Who::EveryPerson && rule.hours.is_none()
        });
        let unknown = self.directory.unknown.map(Who::Group);
        let depends = about.iter().any(|rule| Some(rule.who) == unknown);
        if (everybody || depends) && !nobody {
            return false;
        }
        let deciders = self.directory.people.keys().filter(|who| {
            let own = **who == by || Some(**who) == self.canonical(of);
            let could = |at| self.may(who, Right::Approve, on, of, &|rule| counts(rule, at)) == Yes;
            !own && minutes().any(could)
        });
        deciders.count() < usize::from(tier.approvals)
    }
}
