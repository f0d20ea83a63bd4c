//! Who may decide, take back, end and revoke.

use std::collections::BTreeSet;

use super::Certainty::{self, CannotTell, No, Yes};
use super::{Fit, Reference, Request, refused};
use crate::oracle::case::{Account, Answer, Kind, Line, Lost, Name, Right, State, Verb, Why};
use crate::oracle::sabotage::Slip;

impl Reference {
    /// Whether the request and its people are still what they were when it was opened.
    pub(super) fn fits(&self, request: &Request) -> Fit {
        let mut lost = BTreeSet::new();
        let entry = self.policy.catalogue.get(request.what);
        let tier = entry.and_then(|entry| self.policy.tiers.get(entry.tier));
        if (entry, tier) != (Some(&request.terms.0), Some(&request.terms.1)) {
            lost.insert(Lost::PolicyChanged);
        }
        let here = |name| {
            self.person(name)
                .is_some_and(|person| person.account == Account::Active)
        };
        let mut cannot_tell = false;
        if here(request.requester) && here(request.beneficiary) {
            let by = self.canonical(request.requester).expect("it is here");
            let asked = request.opened_at;
            let mut why = self.may_not_ask(by, request.beneficiary, request.what, asked);
            // It is put off for that reason alone.
            cannot_tell = why.remove(&Why::CannotTell);
            if !why.is_empty() {
                lost.insert(Lost::NoLongerEligible);
            }
        } else {
            lost.insert(Lost::NoLongerEligible);
        }
        match lost.is_empty() {
            false => Fit::Lost(lost),
            true if cannot_tell => Fit::CannotTell,
            true => Fit::Fits,
        }
    }

    /// Not who asked, not who it is for, and neither under another login.
    pub(super) fn is_own(&self, who: Name, request: &Request) -> bool {
        let mut own = vec![request.requester, request.beneficiary];
        if self.slip == Some(Slip::ForgetsBeneficiary) {
            own.pop();
        }
        own.iter()
            .any(|own| *own == who || self.canonical(own) == Some(who))
    }

    /// Whether an approval that was given counts now.
    pub(super) fn still_counts(&self, author: Name, at: u64, request: &Request) -> Certainty {
        if self.canonical(author) != Some(author) || self.is_own(author, request) {
            return No;
        }
        let Request {
            what,
            opened_at,
            beneficiary,
            ..
        } = *request;
        self.may_at(author, Right::Approve, what, beneficiary, at, opened_at)
    }

    /// Whether somebody may know of the request at all: it is theirs, or they may have to do with it
    /// at some time. A program sees only what it filed.
    pub(super) fn sees(&self, who: Name, request: &Request) -> Certainty {
        if who == request.requester {
            return Yes;
        }
        if self.directory.people[who].kind != Kind::Human {
            return No;
        }
        if who == request.beneficiary {
            return Yes;
        }
        let any = [Right::Approve, Right::Revoke, Right::Audit]
            .map(|right| self.may_ever(who, right, request.what, request.beneficiary));
        match any {
            any if any.contains(&Yes) => Yes,
            any if any.contains(&CannotTell) => CannotTell,
            _ => No,
        }
    }

    pub(super) fn say(&mut self, login: Name, verb: Verb) -> Answer {
        let Some(mut request) = self.request.clone() else {
            return Answer::Done;
        };
        if self.directory.line == Line::Down {
            return Answer::PutOff;
        }
        let Some(who) = self.canonical(login) else {
            return refused([Why::UnknownPerson]);
        };
        if self.directory.people[who].account == Account::Inactive {
            return refused([Why::Inactive]);
        }
        let mut why = BTreeSet::new();
        match self.sees(who, &request) {
            Yes => {}
            No => {
                why.insert(Why::NotSeen);
            }
            CannotTell => {
                why.insert(Why::CannotTell);
            }
        }
        let answer = match verb {
            Verb::Approve | Verb::ApproveStale | Verb::Deny => {
                self.decide(who, verb, &mut request, why)
            }
            Verb::Retract => self.retract(who, &mut request, why),
            Verb::Withdraw | Verb::End => self.end(who, verb, &mut request, why),
            Verb::Revoke => self.revoke(who, &mut request, why),
        };
        if answer == Answer::Done {
            self.request = Some(request);
        }
        answer
    }

    pub(super) fn is_late(&self, request: &Request) -> bool {
        self.now >= request.opened_at + request.terms.1.window * 60
    }

    pub(super) fn decide(
        &self,
        who: Name,
        verb: Verb,
        request: &mut Request,
        mut why: BTreeSet<Why>,
    ) -> Answer {
        if self.is_own(who, request) {
            why.insert(Why::Own);
        }
        let Request {
            what,
            opened_at,
            beneficiary,
            ..
        } = *request;
        match self.may_at(who, Right::Approve, what, beneficiary, self.now, opened_at) {
            Yes => {}
            No => {
                why.insert(self.lacks(who, Right::Approve, what, beneficiary));
            }
            CannotTell => {
                why.insert(Why::CannotTell);
            }
        }
        match request.state {
            State::Pending if self.is_late(request) => why.insert(Why::Lapsed),
            State::Pending => false,
            State::Lapsed => why.insert(Why::Lapsed),
            _ => why.insert(Why::AlreadyDecided),
        };
        if verb == Verb::ApproveStale && self.slip != Some(Slip::AnyDigest) {
            why.insert(Why::StaleDigest);
        }
        if !why.is_empty() {
            return Answer::Refused(why);
        }
        match (self.fits(request), verb) {
            (Fit::Lost(lost), _) => {
                request.state = State::Invalidated(lost);
                return Answer::Done;
            }
            // Who may say no says it, whatever is known of who asked.
            (Fit::Fits | Fit::CannotTell, Verb::Deny) => {
                request.state = State::Denied;
                return Answer::Done;
            }
            (Fit::CannotTell, _) => return refused([Why::CannotTell]),
            (Fit::Fits, _) => {}
        }
        let mut authors = request.approvals.iter();
        let again =
            authors.any(|(author, _)| *author == who || self.canonical(author) == Some(who));
        if again && self.slip != Some(Slip::CountsClicks) {
            return refused([Why::AlreadyApproved]);
        }
        request.approvals.push((who, self.now));
        let needed = usize::from(request.terms.1.approvals);
        // With the last one that is needed every earlier one is looked at again.
        if request.approvals.len() >= needed && self.slip != Some(Slip::NeverChecksAgain) {
            let mut kept = vec![];
            for (author, at) in request.approvals.clone() {
                match self.still_counts(author, at, request) {
                    Yes => kept.push((author, at)),
                    No => request.dropped.push(author),
                    CannotTell => return refused([Why::CannotTell]),
                }
            }
            request.approvals = kept;
        }
        if request.approvals.len() >= needed {
            request.state = State::Approved;
            request.approved_at = self.now;
        }
        Answer::Done
    }

    // ------------------------------------------------------------------------------ taking back

    pub(super) fn retract(
        &self,
        who: Name,
        request: &mut Request,
        mut why: BTreeSet<Why>,
    ) -> Answer {
        if !request.approvals.iter().any(|(author, _)| *author == who) {
            why.insert(Why::NothingToRetract);
        }
        match request.state {
            State::Pending if self.is_late(request) => why.insert(Why::Lapsed),
            State::Pending => false,
            _ => why.insert(Why::AlreadyDecided),
        };
        if !why.is_empty() {
            return Answer::Refused(why);
        }
        request.approvals.retain(|(author, _)| *author != who);
        Answer::Done
    }

    /// The requester or the beneficiary takes it back, or returns it.
    pub(super) fn end(
        &self,
        who: Name,
        verb: Verb,
        request: &mut Request,
        mut why: BTreeSet<Why>,
    ) -> Answer {
        if who != request.requester && who != request.beneficiary {
            why.insert(Why::NotYours);
        }
        let granted = matches!(
            request.state,
            State::Approved | State::Active | State::Ending(_) | State::Cancelled(_)
        );
        if verb == Verb::Withdraw && granted {
            why.insert(Why::NotPending);
        }
        self.take_away(request, why, State::Withdrawn, Lost::Ended)
    }

    /// Somebody with the right ends it, however far it is.
    pub(super) fn revoke(
        &self,
        who: Name,
        request: &mut Request,
        mut why: BTreeSet<Why>,
    ) -> Answer {
        let (on, of) = (request.what, request.beneficiary);
        match self.may_at(who, Right::Revoke, on, of, self.now, self.now) {
            Yes => {}
            No => {
                why.insert(self.lacks(who, Right::Revoke, on, of));
            }
            CannotTell => {
                why.insert(Why::CannotTell);
            }
        }
        let void = State::Invalidated([Lost::Revoked].into());
        self.take_away(request, why, void, Lost::Revoked)
    }

    pub(super) fn take_away(
        &self,
        request: &mut Request,
        mut why: BTreeSet<Why>,
        where_pending: State,
        cause: Lost,
    ) -> Answer {
        let after = match request.state {
            State::Pending if self.is_late(request) => {
                why.insert(Why::Lapsed);
                State::Lapsed
            }
            State::Pending => where_pending,
            State::Approved => State::Cancelled([cause].into()),
            State::Active => State::Ending(cause),
            State::Ending(_) => {
                why.extend([Why::AlreadyEnding, Why::AlreadyOver]);
                request.state.clone()
            }
            _ => {
                why.insert(Why::AlreadyOver);
                request.state.clone()
            }
        };
        if !why.is_empty() {
            return Answer::Refused(why);
        }
        request.state = after;
        Answer::Done
    }
}
