//! The steps of a case: the five matters in their order, what happens between, and what happens at
//! once.

use super::{Dice, HUMANS};
use crate::oracle::case::{Case, Happening, Kind, Matter, Name, Pace, Step, Verb};

impl Dice {
    pub(super) fn steps(&self, case: &Case) -> Vec<Step> {
        let of = self.owner(case);
        let deciders = self.likely_deciders(case);
        let mut steps = vec![];
        for matter in case.order {
            self.between(&mut steps, &deciders);
            match matter {
                Matter::Decision => self.decision(&mut steps, &deciders),
                Matter::PolicyChange => {
                    steps.push(Step::Policy(self.changed(&case.policy, case.ask)));
                }
                Matter::OffBoarding => steps.push(self.off_boarding(case, of, &deciders)),
                Matter::EligibilityLost => steps.push(self.eligibility(case, of)),
                Matter::Withdrawal => steps.push(self.withdrawal(of)),
            }
        }
        self.between(&mut steps, &deciders);
        let steps = self.raced(steps);
        let mended = [Happening::DirectoryUp, Happening::GroupKnown].map(Step::People);
        let end = [Step::Work, Step::Look];
        steps.into_iter().chain(mended).chain(end).collect()
    }

    /// Who asks and who it is for, most likely.
    pub(super) fn owner(&self, case: &Case) -> [Name; 2] {
        let name = |login| *case.directory.logins.get(login).unwrap_or(&login);
        let by = name(case.ask.by);
        let of = match (
            case.ask.named,
            case.directory.people.get(by).map(|it| it.kind),
        ) {
            (Some(named), _) => name(named),
            (None, Some(Kind::Agent { acts_for })) => name(acts_for),
            (None, _) => by,
        };
        [by, of]
    }

    pub(super) fn likely_deciders(&self, case: &Case) -> Vec<Name> {
        let own = self.owner(case);
        let people = case.directory.people.iter();
        let likely = people.filter(|(name, person)| {
            person.kind == Kind::Human && person.groups.contains("approvers") && !own.contains(name)
        });
        let mut likely: Vec<Name> = likely.map(|(name, _)| *name).collect();
        if likely.is_empty() {
            likely.push("bob");
        }
        likely
    }

    /// Somebody who may well decide, by one of their logins.
    pub(super) fn decider(&self, deciders: &[Name]) -> Name {
        match self.hits(85) {
            true => self.login(self.pick(deciders)),
            false => self.anybody(),
        }
    }

    pub(super) fn decision(&self, steps: &mut Vec<Step>, deciders: &[Name]) {
        let verb = self.weigh(&[
            (82, Verb::Approve),
            (13, Verb::Deny),
            (5, Verb::ApproveStale),
        ]);
        steps.push(Step::Say(self.decider(deciders), verb));
        if self.hits(40) {
            steps.push(Step::Say(self.decider(deciders), Verb::Approve));
        }
        if self.hits(35) {
            steps.push(Step::Work);
        }
    }

    pub(super) fn off_boarding(&self, case: &Case, of: [Name; 2], deciders: &[Name]) -> Step {
        let who = self.weigh(&[(65, self.pick(deciders)), (35, self.pick(&HUMANS))]);
        let groups: Vec<Name> = case.directory.people[who].groups.iter().copied().collect();
        let group = if groups.is_empty() {
            "approvers"
        } else {
            self.pick(&groups)
        };
        let owner = self.pick(&of);
        Step::People(self.weigh(&[
            (25, Happening::SwitchedOff(who)),
            (15, Happening::Deleted(who)),
            (25, Happening::Leaves(who, group)),
            (10, Happening::Joins(who, "suspended")),
            (12, Happening::IsTheSameAs(who, owner)),
            (6, Happening::IsTheSameAs(who, self.pick(&HUMANS))),
            (7, Happening::GetsManager(owner, Some(self.pick(&HUMANS)))),
        ]))
    }

    pub(super) fn eligibility(&self, case: &Case, of: [Name; 2]) -> Step {
        let who = self.weigh(&[(60, self.pick(&of)), (40, self.pick(&HUMANS))]);
        let groups = case.directory.people.get(who).map(|it| it.groups.clone());
        let groups: Vec<Name> = groups.unwrap_or_default().into_iter().collect();
        let group = if groups.is_empty() {
            "askers"
        } else {
            self.pick(&groups)
        };
        Step::People(self.weigh(&[
            (25, Happening::SwitchedOff(who)),
            (12, Happening::Deleted(who)),
            (35, Happening::Leaves(who, group)),
            (10, Happening::Joins(who, "suspended")),
            (8, Happening::GetsManager(who, None)),
            (5, Happening::IsTheSameAs(who, self.pick(&HUMANS))),
            (5, Happening::IsTheSameAs(of[0], of[1])),
        ]))
    }

    pub(super) fn withdrawal(&self, of: [Name; 2]) -> Step {
        let verb = self.weigh(&[(40, Verb::Withdraw), (30, Verb::End), (30, Verb::Revoke)]);
        let who = match verb {
            Verb::Revoke => self.weigh(&[(55, "gwen"), (15, "bob"), (30, self.anybody())]),
            _ => self.weigh(&[(55, self.login(self.pick(&of))), (45, self.anybody())]),
        };
        Step::Say(who, verb)
    }

    /// What happens between any two matters, most often nothing.
    pub(super) fn between(&self, steps: &mut Vec<Step>, deciders: &[Name]) {
        if self.hits(22) {
            steps.push(Step::Say(self.decider(deciders), Verb::Approve));
        }
        if self.hits(18) {
            steps.push(Step::WaitMinutes(self.pick(&[1, 4, 5, 5, 10, 15])));
        }
        if self.hits(10) {
            let verb = self.pick(&[
                Verb::Retract,
                Verb::Deny,
                Verb::End,
                Verb::Withdraw,
                Verb::Revoke,
            ]);
            let who = match verb {
                Verb::Retract => self
                    .approver(steps)
                    .unwrap_or_else(|| self.login(self.pick(deciders))),
                _ => self.anybody(),
            };
            steps.push(Step::Say(who, verb));
        }
        if self.hits(13) {
            steps.push(Step::People(self.weigh(&[
                (
                    25,
                    Happening::GroupUnknown(self.pick(&[
                        "askers",
                        "approvers",
                        "leads",
                        "suspended",
                    ])),
                ),
                (15, Happening::GroupKnown),
                (8, Happening::DirectoryDown),
                (12, Happening::DirectoryUp),
                (20, Happening::SwitchedOn(self.pick(&HUMANS))),
                (
                    20,
                    Happening::Joins(
                        self.pick(&HUMANS),
                        self.pick(&["askers", "approvers", "leads"]),
                    ),
                ),
            ])));
        }
        if self.hits(20) {
            steps.push(self.a_worker());
        }
    }

    /// Somebody who said yes before.
    fn approver(&self, steps: &[Step]) -> Option<Name> {
        let approvers = steps.iter().filter_map(|step| match step {
            Step::Say(who, Verb::Approve) => Some(*who),
            _ => None,
        });
        let approvers: Vec<Name> = approvers.collect();
        (!approvers.is_empty()).then(|| self.pick(&approvers))
    }

    fn a_worker(&self) -> Step {
        match self.hits(75) {
            true => Step::Work,
            false => Step::Look,
        }
    }

    /// Some of what follows something happens while that is about to be stored.
    pub(super) fn raced(&self, steps: Vec<Step>) -> Vec<Step> {
        let mut raced = vec![];
        let mut steps = steps.into_iter().peekable();
        while let Some(step) = steps.next() {
            let stores = matches!(step, Step::Say(..) | Step::Work);
            let happens =
                |next: &Step| matches!(next, Step::Say(..) | Step::People(_) | Step::Policy(_));
            match steps.next_if(|next| stores && happens(next) && self.hits(30)) {
                Some(next) => raced.push(Step::Race {
                    first: Box::new(step),
                    meanwhile: Box::new(next),
                    pace: self.pick(&[Pace::AtOnce, Pace::Slow]),
                }),
                None => raced.push(step),
            }
        }
        raced
    }
}
