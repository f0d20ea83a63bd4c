//! What happens, one thing after the other or two at once: the last look before access is given, and
//! what comes first in a race.

use std::collections::BTreeSet;

use super::Certainty::{self, CannotTell, No, Yes};
use super::{Fit, GRANTED_WITHIN_SECS, Reference, Request};
use crate::oracle::case::{
    Account, Answer, Happening, LOOK_SECS, Line, Lost, Pace, SLOW_SECS, State, Step, WORK_SECS,
};
use crate::oracle::sabotage::Slip;

impl Reference {
    /// Everything is looked at once more before the access is given.
    pub(super) fn pay(&mut self) {
        let Some(mut request) = self.request.clone() else {
            return;
        };
        match request.state {
            State::Pending if self.is_late(&request) => request.state = State::Lapsed,
            State::Approved if self.now >= request.approved_at + GRANTED_WITHIN_SECS => {
                request.state = State::Cancelled([Lost::TooLate].into());
            }
            State::Approved if self.directory.line == Line::Up => {
                request.state = self.before_the_grant(&request);
            }
            _ => {}
        }
        self.request = Some(request);
    }

    pub(super) fn before_the_grant(&self, request: &Request) -> State {
        if self.slip == Some(Slip::NoLookBeforeGrant) {
            return State::Active;
        }
        let (mut lost, fits) = match self.fits(request) {
            Fit::Fits => (BTreeSet::new(), Yes),
            Fit::CannotTell => (BTreeSet::new(), CannotTell),
            Fit::Lost(lost) => (lost, No),
        };
        // What is given is another thing where whoever gets it is called otherwise.
        if self.canonical(request.beneficiary) != Some(request.beneficiary) {
            lost.insert(Lost::PolicyChanged);
        }
        let approvals = request.approvals.iter();
        let counts = approvals.map(|(author, at)| self.still_counts(author, *at, request));
        let counts: Vec<Certainty> = counts.collect();
        if counts.contains(&No) {
            lost.insert(Lost::PolicyChanged);
        }
        match lost.is_empty() {
            false => State::Cancelled(lost),
            true if fits == CannotTell || counts.contains(&CannotTell) => State::Approved,
            true => State::Active,
        }
    }

    /// A beneficiary who is not active any more loses what they have.
    pub(super) fn look(&mut self) {
        let Some(request) = &mut self.request else {
            return;
        };
        if request.state != State::Active || self.directory.line == Line::Down {
            return;
        }
        let beneficiary = request.beneficiary;
        let here = self
            .person(beneficiary)
            .is_some_and(|person| person.account == Account::Active);
        if let Some(request) = self.request.as_mut().filter(|_| !here) {
            request.state = State::Ending(Lost::Revoked);
        }
    }

    // --------------------------------------------------------------------------------- the story

    /// One step; two answers where two things happen at once.
    pub(crate) fn step(&mut self, step: &Step) -> Vec<Answer> {
        match step {
            Step::Say(who, verb) => return vec![self.say(who, *verb)],
            Step::People(happening) => self.happens(*happening),
            Step::Policy(policy) => self.policy = policy.clone(),
            Step::WaitMinutes(minutes) => self.now += minutes * 60,
            Step::Work => {
                self.now += WORK_SECS;
                self.pay();
            }
            Step::Look => {
                self.now += LOOK_SECS;
                self.look();
                self.pay();
            }
            Step::Race {
                first,
                meanwhile,
                pace,
            } => return self.race(first, meanwhile, *pace),
        }
        vec![Answer::Done]
    }

    pub(super) fn happens(&mut self, happening: Happening) {
        self.directory.apply(happening);
    }

    /// Whoever stores first was first. What was looked up counts for five seconds, so that it is
    /// looked up again where storing takes longer; a process has one policy all the time.
    pub(super) fn race(&mut self, first: &Step, meanwhile: &Step, pace: Pace) -> Vec<Answer> {
        if let Step::Work = first {
            self.now += WORK_SECS;
        }
        let act = |it: &mut Self| match first {
            Step::Say(who, verb) => it.say(who, *verb),
            _ => {
                it.pay();
                Answer::Done
            }
        };
        let mut dry = self.clone();
        let stores = match first {
            Step::Say(..) => act(&mut dry) == Answer::Done,
            _ => self.request.as_ref().is_some_and(|request| {
                request.state == State::Approved
                    && self.now < request.approved_at + GRANTED_WITHIN_SECS
                    && self.directory.line == Line::Up
            }),
        };
        if !stores {
            let one = act(self);
            return [vec![one], self.step(meanwhile)].concat();
        }
        let slow = match pace {
            Pace::AtOnce => 0,
            Pace::Slow => SLOW_SECS,
        };
        let comes_first = match meanwhile {
            Step::Say(..) => true,
            Step::People(_) => pace == Pace::Slow,
            _ => false,
        };
        if comes_first {
            let other = self.step(meanwhile);
            self.now += slow;
            let one = act(self);
            [vec![one], other].concat()
        } else {
            self.now += slow;
            let one = act(self);
            [vec![one], self.step(meanwhile)].concat()
        }
    }
}
