//! Cases from a seed. The five matters come in every order in turn, so that so many cases meet all
//! of them equally often; what each of them is, and what happens between, is drawn.

mod story;

use std::collections::BTreeMap;

use jit_testkit::time::SeededRandom;

use super::case::{
    Account, Ask, Case, Directory, Effect, Entry, Hours, Kind, Line, Matter, Name, Person, Policy,
    Right, Rule, Tier, Way, Who,
};

pub(crate) const ADMINS: Name = "wiki/admins";
pub(crate) const READERS: Name = "wiki/readers";
const HUMANS: [Name; 7] = ["ana", "bob", "cleo", "dora", "eve", "finn", "gwen"];
const LOGINS: [(Name, Name); 7] = [
    ("ana.admin", "ana"),
    ("bob.admin", "bob"),
    ("cleo.admin", "cleo"),
    ("dora.admin", "dora"),
    ("eve.admin", "eve"),
    ("finn.admin", "finn"),
    ("gwen.admin", "gwen"),
];
pub(crate) const AGENT: Name = "agent:bot";
pub(crate) const SERVICE: Name = "service:monitor";
const ON_CALL: Name = "oncall:wiki";
const MATTERS: [Matter; 5] = [
    Matter::Decision,
    Matter::PolicyChange,
    Matter::OffBoarding,
    Matter::EligibilityLost,
    Matter::Withdrawal,
];
/// How many orders five things have.
pub(crate) const ORDERS: u64 = 120;

/// The order with this number.
pub(crate) fn order(number: u64) -> [Matter; 5] {
    let mut left = MATTERS.to_vec();
    let mut number = number % ORDERS;
    [24, 6, 2, 1, 1].map(|block| {
        let place = usize::try_from(number / block).unwrap();
        number %= block;
        left.remove(place)
    })
}

struct Dice(SeededRandom);

impl Dice {
    fn percent(&self, chance: u64) -> Option<()> {
        (self.0.below(100) < chance).then_some(())
    }

    fn hits(&self, chance: u64) -> bool {
        self.percent(chance).is_some()
    }

    fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[usize::try_from(self.0.below(from.len() as u64)).unwrap()]
    }

    /// One of these, each as likely as its weight says.
    fn weigh<T: Copy>(&self, from: &[(u64, T)]) -> T {
        let mut left = self.0.below(from.iter().map(|it| it.0).sum());
        for (weight, it) in from {
            match left.checked_sub(*weight) {
                None => return *it,
                Some(rest) => left = rest,
            }
        }
        unreachable!("less than the sum was drawn")
    }
}

/// The case of this seed.
pub(crate) fn case(seed: u64) -> Case {
    let dice = Dice(SeededRandom::new(
        seed.wrapping_mul(0x9e37_79b9).wrapping_add(11),
    ));
    let directory = dice.directory();
    let ask = dice.ask(&directory);
    let policy = dice.policy(ask);
    let order = order(seed);
    let starts_at = (8 * 60 + dice.0.below(10) * 60 + dice.pick(&[0, 0, 35, 50])) * 60;
    let mut case = Case {
        seed,
        order,
        starts_at,
        directory,
        policy,
        ask,
        steps: vec![],
    };
    case.steps = dice.steps(&case);
    case
}

impl Dice {
    // ---------------------------------------------------------------------------------- people

    fn directory(&self) -> Directory {
        let chances: [(Name, [u64; 7]); 7] = [
            ("askers", [97, 40, 95, 20, 10, 10, 5]),
            ("approvers", [12, 75, 20, 75, 75, 60, 15]),
            ("leads", [3, 15, 3, 20, 20, 60, 10]),
            (ON_CALL, [5, 20, 10, 20, 30, 20, 20]),
            ("security", [2, 3, 2, 5, 3, 3, 95]),
            ("auditors", [1, 1, 1, 1, 1, 1, 40]),
            ("suspended", [2, 6, 2, 6, 6, 6, 2]),
        ];
        let mut people = BTreeMap::new();
        for (number, name) in HUMANS.into_iter().enumerate() {
            let groups = chances.iter().filter(|(_, odds)| self.hits(odds[number]));
            let others: Vec<Name> = HUMANS.into_iter().filter(|it| *it != name).collect();
            let person = Person {
                kind: Kind::Human,
                account: self.account(3),
                groups: groups.map(|it| it.0).collect(),
                manager: self.percent(60).map(|()| self.login(self.pick(&others))),
            };
            people.insert(name, person);
        }
        let acts_for = self.weigh(&[(85, "ana"), (10, "bob"), (5, "bob.admin")]);
        let mut program = |name, kind, groups: &[Name]| {
            let person = Person {
                kind,
                account: self.account(3),
                groups: groups.iter().copied().filter(|_| self.hits(50)).collect(),
                manager: None,
            };
            people.insert(name, person);
        };
        program(AGENT, Kind::Agent { acts_for }, &["askers", "approvers"]);
        program(SERVICE, Kind::Service, &["askers", "approvers", "security"]);
        Directory {
            people,
            logins: LOGINS.into_iter().collect(),
            unknown: None,
            line: Line::Up,
        }
    }

    fn account(&self, inactive: u64) -> Account {
        match self.hits(inactive) {
            true => Account::Inactive,
            false => Account::Active,
        }
    }

    /// One of their logins.
    fn login(&self, name: Name) -> Name {
        let other = LOGINS.iter().find(|it| it.1 == name);
        match other {
            Some((login, _)) if self.hits(20) => login,
            Some(_) | None => name,
        }
    }

    fn anybody(&self) -> Name {
        let some = self.weigh(&[
            (80, self.pick(&HUMANS)),
            (8, AGENT),
            (8, SERVICE),
            (2, "nobody"),
        ]);
        self.login(some)
    }

    fn ask(&self, directory: &Directory) -> Ask {
        let by = self.weigh(&[
            (50, "ana"),
            (9, "bob"),
            (10, "cleo"),
            (13, "finn"),
            (14, AGENT),
            (7, SERVICE),
            (3, self.pick(&HUMANS)),
        ]);
        let Kind::Agent { acts_for } = directory.people[by].kind else {
            // Leads, and managers, ask for others.
            let of = self.weigh(&[(80, "ana"), (15, "cleo"), (5, self.anybody())]);
            let manages = directory.people.get(of).and_then(|it| it.manager);
            let chance = match by {
                "finn" => 90,
                _ if manages == Some(by) => 60,
                _ => 5,
            };
            let what = self.what();
            let named = self.percent(chance).map(|()| self.login(of));
            let by = self.login(by);
            return Ask { by, named, what };
        };
        let named = self.weigh(&[(60, None), (33, Some(acts_for)), (7, Some(self.anybody()))]);
        let what = self.what();
        Ask { by, named, what }
    }

    fn what(&self) -> Name {
        self.weigh(&[(80, ADMINS), (18, READERS), (2, "wiki/gone")])
    }

    // ---------------------------------------------------------------------------------- policy

    fn policy(&self, ask: Ask) -> Policy {
        let high = Tier {
            way: Way::People,
            approvals: self.weigh(&[(50, 1), (36, 2), (14, 3)]),
            longest: self.pick(&[60, 120]),
            window: self.pick(&[20, 30]),
        };
        let low = Tier {
            way: Way::Automatic,
            approvals: self.pick(&[0, 1]),
            ..high
        };
        let entry = |tier| Entry {
            tier,
            title: "as it was",
        };
        let readers = self.weigh(&[(60, "low"), (40, "high")]);
        let mut rules = vec![];
        let mut add = |effect, rights: &[Right], who| {
            let over = self
                .percent(50)
                .map(|()| self.weigh(&[(94, ask.what), (6, READERS)]));
            let after = (rights == [Right::Approve] && effect == Effect::Allow)
                .then(|| self.percent(35))
                .flatten()
                .map(|()| self.pick(&[5, 10, 15, 20, 30, 40]));
            let rule = Rule {
                name: format!("r{}", rules.len()),
                effect,
                rights: rights.iter().copied().collect(),
                over,
                who,
                hours: self
                    .percent(if rights == [Right::Request] { 2 } else { 9 })
                    .map(|()| self.hours()),
                after,
            };
            rules.push(rule);
        };
        use Right::{Approve, Audit, OnBehalfOf, Request, Revoke};
        let may = Effect::Allow;
        let asks = self.weigh(&[(75, Who::Group("askers")), (25, Who::EveryPerson)]);
        add(may, &[Request], asks);
        if self.hits(93) {
            let agents = self.pick(&[Who::EveryAgent, Who::One(AGENT)]);
            add(may, &[Request], agents);
        }
        if self.hits(92) {
            add(
                may,
                &[Request],
                self.pick(&[Who::One(SERVICE), Who::Group("askers")]),
            );
        }
        if self.hits(85) {
            let who = self.pick(&[Who::Group("leads"), Who::Group("leads"), Who::Manager]);
            add(may, &[OnBehalfOf], who);
        }
        if self.hits(95) {
            let both: &[Right] = &[Approve, Revoke];
            let rights = self.weigh(&[(80, &[Approve][..]), (20, both)]);
            add(may, rights, Who::Group("approvers"));
        }
        if self.hits(35) {
            add(may, &[Approve], Who::Group("leads"));
        }
        if self.hits(35) {
            add(may, &[Approve], Who::Group(ON_CALL));
        }
        if self.hits(30) {
            add(may, &[Approve], Who::Manager);
        }
        if self.hits(25) {
            let who = self.weigh(&[
                (60, Who::One(self.pick(&HUMANS))),
                (20, Who::EveryPerson),
                (20, Who::EveryAgent),
            ]);
            add(may, &[Approve], who);
        }
        if self.hits(80) {
            add(
                may,
                &[Revoke],
                self.pick(&[Who::Group("security"), Who::Manager]),
            );
        }
        if self.hits(30) {
            add(may, &[Audit], Who::Group("auditors"));
        }
        if self.hits(30) {
            add(
                Effect::Deny,
                &[Request, Approve, Revoke],
                Who::Group("suspended"),
            );
        }
        if self.hits(15) {
            let (rights, who) = self.denial();
            add(Effect::Deny, &[rights], who);
        }
        Policy {
            tiers: [("high", high), ("low", low)].into(),
            catalogue: [(ADMINS, entry("high")), (READERS, entry(readers))].into(),
            rules,
        }
    }

    fn hours(&self) -> Hours {
        self.pick(&[
            Hours {
                from: 9 * 60,
                until: 18 * 60,
            },
            Hours {
                from: 0,
                until: 13 * 60,
            },
            Hours {
                from: 13 * 60,
                until: 24 * 60,
            },
            Hours {
                from: 10 * 60,
                until: 10 * 60 + 10,
            },
        ])
    }

    /// A group that gives a right and takes it, too, is not one that cannot be asked.
    fn denial(&self) -> (Right, Who) {
        let right = self.weigh(&[
            (40, Right::Approve),
            (35, Right::Request),
            (15, Right::Revoke),
            (10, Right::OnBehalfOf),
        ]);
        let who = self.weigh(&[
            (55, Who::One(self.pick(&HUMANS))),
            (15, Who::One("ana")),
            (10, Who::Manager),
            (12, Who::Group(self.pick(&[ON_CALL, "security"]))),
            (4, Who::EveryPerson),
            (4, Who::EveryAgent),
        ]);
        (right, who)
    }

    /// The policy after a change that matters, or does not.
    fn changed(&self, before: &Policy, ask: Ask) -> Policy {
        let mut after = before.clone();
        let other = if ask.what == ADMINS { READERS } else { ADMINS };
        let about = if self.hits(55) { other } else { ask.what };
        match self.0.below(12) {
            0 | 1 => {
                if let Some(entry) = after.catalogue.get_mut(about) {
                    entry.title = "called otherwise";
                }
            }
            2 => {
                after.catalogue.remove(about);
            }
            3 => {
                let tier = after
                    .catalogue
                    .get(about)
                    .map_or("high", |entry| entry.tier);
                let tier = after.tiers.get_mut(tier).expect("every tier is there");
                match self.0.below(3) {
                    0 => tier.approvals = tier.approvals % 3 + 1,
                    1 => tier.longest += 30,
                    _ => tier.window += 10,
                }
            }
            4 | 5 => {
                let place = self.0.below(after.rules.len() as u64);
                after.rules.remove(usize::try_from(place).unwrap());
            }
            6 | 7 => {
                let (right, who) = self.denial();
                after.rules.push(Rule {
                    name: "denied later".to_owned(),
                    effect: Effect::Deny,
                    rights: [right].into(),
                    over: self.percent(50).map(|()| about),
                    who,
                    hours: self.percent(10).map(|()| self.hours()),
                    after: None,
                });
            }
            8 => {
                for rule in &mut after.rules {
                    rule.after = rule
                        .after
                        .map(|after| self.pick(&[after, after / 5 + 5, after + 10]));
                }
            }
            9 => after.rules.retain(|rule| rule.effect == Effect::Allow),
            10 => after.rules.push(Rule {
                name: "allowed later".to_owned(),
                effect: Effect::Allow,
                rights: [Right::Approve].into(),
                over: None,
                who: Who::One(self.pick(&HUMANS)),
                hours: None,
                after: None,
            }),
            _ => after.rules.reverse(),
        }
        after
    }
}
