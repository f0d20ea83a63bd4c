//! What rules come to.

use super::*;
use crate::principal::PrincipalKind;

/// A Thursday.
fn noon() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn person(id: &str, groups: &[&str]) -> Profile {
    Profile {
        id: id.parse().unwrap(),
        kind: PrincipalKind::Person,
        active: true,
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        groups_unknown: Default::default(),
        manager: None,
        subjects: BTreeMap::new(),
    }
}

fn rule(name: &str, effect: Effect, right: Right, on: &str, who: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        effect,
        rights: [right].into(),
        entitlements: vec![on.parse().unwrap()],
        principals: vec![who.parse().unwrap()],
        hours: None,
        after: None,
    }
}

#[test]
fn nothing_is_allowed_by_default_and_deny_wins() {
    let on: EntitlementId = "aws/prod".parse().unwrap();
    let on = Case::new(&on, When::at(noon()));
    let ana = person("ana@example.com", &["sre"]);
    let empty = Policy::new(vec![], vec![]).unwrap();
    assert_eq!(
        empty.evaluate(Right::Request, &ana, &on).trace,
        [Reason::NothingAllows]
    );

    let allow = rule("sre", Effect::Allow, Right::Request, "aws/*", "group:sre");
    let policy = Policy::new(vec![], vec![allow.clone()]).unwrap();
    assert!(policy.allows(Right::Request, &ana, &on));
    assert!(!policy.allows(Right::Approve, &ana, &on));

    let deny = rule(
        "not-ana",
        Effect::Deny,
        Right::Request,
        "*",
        "ana@example.com",
    );
    let policy = Policy::new(vec![], vec![allow, deny]).unwrap();
    let verdict = policy.evaluate(Right::Request, &ana, &on);
    assert!(!verdict.allowed);
    let last = Reason::Rule {
        rule: "not-ana".to_owned(),
        finding: Finding::Denies,
    };
    assert_eq!(verdict.trace.last(), Some(&last));
}

#[test]
fn a_group_that_cannot_be_found_out_allows_nothing_and_denies_until_it_is_known() {
    let on: EntitlementId = "aws/prod".parse().unwrap();
    let on = Case::new(&on, When::at(noon()));
    let mut ana = person("ana@example.com", &[]);
    ana.groups_unknown.insert("slack:S1".parse().unwrap());
    let allow = |who| rule("allow", Effect::Allow, Right::Request, "aws/*", who);
    let deny = |who| rule("deny", Effect::Deny, Right::Request, "aws/*", who);
    let (group, other) = ("group:slack:S1", "group:slack:S2");
    for (rules, answer) in [
        (vec![allow("*")], Authority::Yes),
        (vec![allow(group), allow("*")], Authority::Yes),
        (vec![allow("*"), deny(other)], Authority::Yes),
        (vec![allow(group)], Authority::Unsure),
        (vec![allow("*"), deny(group)], Authority::Unsure),
        (vec![allow(group), deny(group)], Authority::Unsure),
        (vec![], Authority::No),
        (vec![allow(other)], Authority::No),
        (vec![deny(group)], Authority::No),
        (vec![allow(group), deny("*")], Authority::No),
        (vec![allow("*"), deny(group), deny("*")], Authority::No),
    ] {
        let policy = Policy::new(vec![], rules).unwrap();
        let verdict = policy.evaluate(Right::Request, &ana, &on);
        assert_eq!(verdict.answer(), answer, "{verdict:?}");
        assert_eq!(verdict.allowed, answer == Authority::Yes, "{verdict:?}");
    }
}

#[test]
fn an_inactive_account_and_an_agent_are_held_back_before_any_rule() {
    let on: EntitlementId = "aws/prod".parse().unwrap();
    let on = Case::new(&on, When::at(noon()));
    let everything = [
        Right::Request,
        Right::Approve,
        Right::Revoke,
        Right::Operate,
    ];
    let mut rule = rule("all", Effect::Allow, Right::Audit, "*", "*");
    rule.rights.extend(everything);
    rule.principals.push(Who::AnyAgent);
    let policy = Policy::new(vec![], vec![rule]).unwrap();

    let mut gone = person("bob@example.com", &[]);
    gone.active = false;
    assert_eq!(
        policy.evaluate(Right::Audit, &gone, &on).trace,
        [Reason::Inactive]
    );

    let mut agent = person("agent:bot", &[]);
    agent.kind = PrincipalKind::Agent {
        acts_for: "ana@example.com".parse().unwrap(),
        caps: Default::default(),
    };
    assert!(policy.allows(Right::Request, &agent, &on));
    for right in [Right::Approve, Right::Revoke, Right::Operate, Right::Audit] {
        let verdict = policy.evaluate(right, &agent, &on);
        assert_eq!(verdict.trace, [Reason::ProgramsOnlyRequest], "{right}");
    }
}

#[test]
fn a_star_means_people_and_a_right_over_everything_needs_a_bare_star() {
    let ana = person("ana@example.com", &[]);
    let narrow = rule("narrow", Effect::Allow, Right::Operate, "aws/*", "*");
    let policy = Policy::new(vec![], vec![narrow]).unwrap();
    assert!(
        !policy
            .evaluate_anywhere(Right::Operate, &ana, noon())
            .allowed
    );
    let wide = rule("wide", Effect::Allow, Right::Operate, "*", "*");
    let policy = Policy::new(vec![], vec![wide]).unwrap();
    assert!(
        policy
            .evaluate_anywhere(Right::Operate, &ana, noon())
            .allowed
    );
}
