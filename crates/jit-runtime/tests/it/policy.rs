//! F5: what a policy comes to, as an operator asks for it.

use jit_core::policy::Right;
use jit_runtime::clock::OsRandom;
use jit_runtime::config::Environment;
use jit_runtime::operate::{
    Circumstances, Desk, Form, Moment, OperateError, Operation, Outcome, PolicyVerb,
};
use jit_testkit::time::ManualClock;
use serde_json::Value;

use crate::house::{ADMINS, House};

/// Ana asks, Bob decides in office hours, whoever is on call after ten minutes, Eva never.
const MORE: &str = r#"
[[person]]
id = "eva@example.com"
aliases = ["eva"]
groups = ["operations"]

[[person]]
id = "carol@example.com"

[[rota]]
name = "primary"
[[rota.shift]]
hours = "sat,sun 00:00-24:00 Europe/Berlin"
people = ["carol@example.com"]

[[rule]]
name = "on call"
rights = ["approve"]
entitlements = ["groupfile/*"]
principals = ["oncall:primary"]
after = "10m"

[[rule]]
name = "not eva"
effect = "deny"
rights = ["approve"]
entitlements = ["groupfile/admins"]
principals = ["eva@example.com"]

[audit]"#;

/// The house with hours and a ladder.
fn house() -> House {
    let house = House::new();
    let hours =
        "principals = [\"group:operations\"]\nhours = \"mon-fri 09:00-18:00 Europe/Berlin\"";
    let rule = "rights = [\"approve\", \"revoke\"]\nentitlements = [\"*\"]\nprincipals = [\"group:operations\"]";
    let with_hours = rule.replace("principals = [\"group:operations\"]", hours);
    house.rewrite("jit.toml", &[(rule, &with_hours), ("[audit]", MORE)]);
    house
}

fn approvers(at: &str, waited: Option<&str>, why_not: Option<&str>) -> Operation {
    Operation::Policy(PolicyVerb::Approvers {
        entitlement: ADMINS.parse().unwrap(),
        circumstances: Circumstances {
            beneficiary: Some("ana".parse().unwrap()),
            at: Some(at.parse().unwrap()),
            waited: waited.map(|it| it.parse().unwrap()),
        },
        why_not: why_not.map(|who| who.parse().unwrap()),
    })
}

async fn who(house: &House, at: &str, waited: Option<&str>) -> Vec<String> {
    let (_, answer) = house.operate(approvers(at, waited, None)).await;
    let people = answer["approvers"].as_array().unwrap().iter();
    people.map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn f5_who_may_approve_for_ana_on_sunday_at_three_and_why_not_bob() {
    let house = house();
    let (outcome, text) = house
        .operate_in(
            Form::Text,
            approvers("sun 03:00 Europe/Berlin", Some("10m"), Some("bob")),
        )
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Well);
    assert!(text.contains("for ana@example.com at 20"), "{text}");
    assert!(text.contains("\n  carol@example.com\n"), "{text}");
    assert!(
        text.contains("bob@example.com may not approve it"),
        "{text}"
    );
    assert!(
        text.contains("rule \"operations decide\" counts at other hours"),
        "{text}"
    );
    assert!(
        text.contains("rule \"on call\" names other principals"),
        "{text}"
    );

    // A Thursday at noon; a Sunday, at once and after a while.
    assert_eq!(
        who(&house, "2026-11-26T12:00:00Z", None).await,
        ["bob@example.com"]
    );
    let (_, text) = house
        .operate_in(
            Form::Text,
            approvers("2026-11-29T03:00:00Z", None, Some("carol@example.com")),
        )
        .await
        .unwrap();
    assert!(
        text.contains("  nobody\nafter 10m also oncall:primary\n"),
        "{text}"
    );
    assert!(
        text.contains("rule \"on call\" counts once the request has waited longer"),
        "{text}"
    );
    assert_eq!(
        who(&house, "2026-11-29T03:00:00Z", Some("10m")).await,
        ["carol@example.com"]
    );
    // Nobody decides what is for themselves, and whoever is kept out is told by which rule.
    let (_, answer) = house
        .operate(approvers("2026-11-26T12:00:00Z", None, Some("ana")))
        .await;
    assert_eq!(
        (&answer["why_not"]["own"], &answer["why_not"]["allowed"]),
        (&true.into(), &false.into())
    );
    let (_, text) = house
        .operate_in(
            Form::Text,
            approvers("2026-11-26T12:00:00Z", None, Some("eva")),
        )
        .await
        .unwrap();
    assert!(
        text.contains("rule \"not eva\" denies it, and deny wins"),
        "{text}"
    );
    assert!(!house.file("jit.db").exists(), "no store was needed");
}

#[test]
fn f5_a_time_that_no_clock_shows_is_refused() {
    for text in [
        "sun 03:00 Europe/Berlin",
        "Sunday 3:00 UTC",
        "mon 00:00 UTC",
        "TUE 23:59 utc",
    ] {
        assert!(text.parse::<Moment>().is_ok(), "{text}");
    }
    for (text, told) in [
        (
            "sun 2000:00 UTC",
            "\"2000:00\" is no time from 00:00 to 23:59",
        ),
        ("sun 24:00 UTC", "\"24:00\" is no time"),
        ("sun 12:60 UTC", "\"12:60\" is no time"),
        ("sun noon UTC", "\"noon\" is no time"),
        ("monkey 03:00 UTC", "\"monkey\" is no day of the week"),
        ("mon-fri 03:00 UTC", "\"mon-fri\" is no day of the week"),
        ("su 03:00 UTC", "\"su\" is no day of the week"),
        ("sun 03:00 Atlantis", "\"Atlantis\" is not a time zone"),
    ] {
        let refused = text.parse::<Moment>().unwrap_err();
        assert!(
            refused.contains(told) && refused.contains("write an instant"),
            "{text}: {refused}"
        );
    }
}

#[tokio::test]
async fn f5_a_time_that_clocks_leave_out_is_not_answered_for_now() {
    let house = house();
    // On the Sunday after this Monday two in the morning is three in Berlin.
    let clock = ManualClock::at("2026-03-23T12:00:00Z".parse().unwrap());
    let answer = async |at: &str| {
        let (mut out, mut remarks) = (Vec::new(), Vec::new());
        let mut desk = Desk {
            config: house.file("jit.toml"),
            environment: Environment::default(),
            form: Form::Text,
            out: &mut out,
            remarks: &mut remarks,
            clock: &clock,
            random: &OsRandom,
        };
        desk.run(approvers(at, None, None)).await?;
        Ok::<_, OperateError>(String::from_utf8(out).unwrap())
    };
    let told = answer("sun 03:30 Europe/Berlin").await.unwrap();
    assert!(told.contains("at 2026-03-29T01:30:00Z"), "{told}");
    let refused = answer("sun 02:30 Europe/Berlin").await.unwrap_err();
    let told = refused.to_string();
    assert!(
        told.starts_with("sun 02:30-02:31 Europe/Berlin does not come within eight days"),
        "{told}"
    );
}

fn lint() -> Operation {
    Operation::Policy(PolicyVerb::Lint)
}

async fn findings(house: &House) -> Vec<String> {
    let (_, answer) = house.operate(lint()).await;
    let findings = answer["report"]["findings"].as_array().unwrap().iter();
    findings
        .map(|it| {
            format!(
                "{}: {}",
                it["gravity"].as_str().unwrap(),
                it["what"].as_str().unwrap()
            )
        })
        .collect()
}

#[tokio::test]
async fn f5_a_sound_policy_has_nothing_to_say() {
    let house = House::new();
    // Two may decide, so that each of them can ask as well.
    let eva = "[[person]]\nid = \"eva@example.com\"\ngroups = [\"operations\"]\n\n[audit]";
    house.rewrite("jit.toml", &[("[audit]", eva)]);
    let (outcome, text) = house.operate_in(Form::Text, lint()).await.unwrap();
    assert_eq!(
        (outcome, text.as_str()),
        (
            Outcome::Well,
            "nothing is wrong with what the policy comes to\n"
        )
    );
}

#[tokio::test]
async fn f5_lock_outs_are_found_before_anybody_meets_them() {
    let house = House::new();
    house.rewrite("jit.toml", &[("approvals = 1", "approvals = 2")]);
    let (outcome, text) = house.operate_in(Form::Text, lint()).await.unwrap();
    assert_eq!(outcome, Outcome::Wrong);
    assert!(
        text.contains("lock-out: groupfile/admins needs 2 to approve it, and 1 may"),
        "{text}"
    );
    assert!(text.contains("everybody is locked out"), "{text}");
    // Whoever may ask is the one who may approve.
    let only_bob = ("principals = [\"*\"]", "principals = [\"bob@example.com\"]");
    house.rewrite("jit.toml", &[only_bob]);
    let found = findings(&house).await;
    assert!(
        found[0].starts_with("lock_out: groupfile/admins needs 1"),
        "{found:?}"
    );
    assert!(
        found[0].contains("may not decide what is theirs"),
        "{found:?}"
    );
    // Bob may ask as well, but not decide his own.
    house.rewrite("jit.toml", &[]);
    let found = findings(&house).await;
    assert!(
        found[0].starts_with("doubt: 1 of those who may ask for groupfile/admins"),
        "{found:?}"
    );
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn f5_empty_groups_and_entitlements_without_rules_are_doubted() {
    let house = House::new();
    house.rewrite(
        "jit.toml",
        &[
            ("entitlements = [\"*\"]\nprincipals = [\"*\"]", "entitlements = [\"groupfile/admins\"]\nprincipals = [\"*\"]"),
            ("[audit]", "[[entitlement]]\nid = \"groupfile/readers\"\ntitle = \"Read\"\ntier = \"standard\"\n\n[[person]]\nid = \"gone@example.com\"\nactive = false\ngroups = [\"nobodies\"]\n\n[[rule]]\nname = \"nobodies revoke\"\nrights = [\"revoke\"]\nentitlements = [\"*\"]\nprincipals = [\"group:nobodies\"]\n\n[audit]"),
            ("rights = [\"approve\", \"revoke\"]", "rights = [\"approve\"]"),
            ("rights = [\"audit\", \"operate\"]", "rights = [\"audit\"]"),
        ],
    );
    let found = findings(&house).await;
    for expected in [
        "doubt: no rule lets anybody ask for groupfile/readers",
        "doubt: nobody is in the group nobodies, which rules name",
        "doubt: nobody may revoke groupfile/admins before its end",
        "doubt: nobody may pause the service, or see what is stuck or drifted",
    ] {
        assert!(
            found.iter().any(|it| it == expected),
            "{expected} is not in {found:#?}"
        );
    }
    assert_eq!(
        found.len(),
        5,
        "and one is alone with what is theirs: {found:#?}"
    );
}

#[tokio::test]
async fn f5_a_change_of_the_policy_tells_who_gains_and_who_loses() {
    let house = House::new();
    let old = house.file("jit.toml");
    let new = house.rewrite(
        "new.toml",
        &[
            ("ttl_max = \"8h\"", "ttl_max = \"2h\""),
            ("groups = [\"operations\"]", "groups = [\"operations\", \"officers\"]"),
            ("[audit]", "[[person]]\nid = \"carol@example.com\"\ngroups = [\"officers\"]\n\n[[rule]]\nname = \"officers\"\nrights = [\"approve\"]\nentitlements = [\"*\"]\nprincipals = [\"group:officers\", \"manager\"]\n\n[audit]"),
        ],
    );
    let diff = |old: &std::path::Path, new: &std::path::Path| {
        Operation::Policy(PolicyVerb::Diff {
            old: old.to_owned(),
            new: new.to_owned(),
        })
    };
    let (outcome, text) = house
        .operate_in(Form::Text, diff(&old, &new))
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Well);
    assert_eq!(
        text,
        "+ approve groupfile/admins: manager, carol@example.com\n\
         ~ groupfile/admins: at most 8h -> 2h\n"
    );
    let (_, back) = house
        .operate_in(Form::Text, diff(&new, &old))
        .await
        .unwrap();
    assert!(
        back.starts_with("- approve groupfile/admins: manager, carol@example.com\n"),
        "{back}"
    );
    let (_, same) = house
        .operate_in(Form::Text, diff(&old, &old))
        .await
        .unwrap();
    assert_eq!(same, "nobody gains or loses anything\n");

    let exemption = "[[exemption]]\nsubjects = [\"root-oncall\"]\nentitlements = [\"groupfile/admins\"]\nreason = \"for emergencies\"\n\n[audit]";
    let with = house.rewrite("meant.toml", &[("[audit]", exemption)]);
    let (_, text) = house
        .operate_in(Form::Text, diff(&old, &with))
        .await
        .unwrap();
    assert_eq!(text, "+ exemption groupfile/admins: root-oncall\n");

    // The same people, at other times.
    let rule = "principals = [\"group:operations\"]";
    let by_day =
        "principals = [\"group:operations\"]\nhours = \"mon-fri 09:00-18:00 Europe/Berlin\"";
    let by_day = house.rewrite("day.toml", &[(rule, by_day)]);
    let (_, text) = house
        .operate_in(Form::Text, diff(&old, &by_day))
        .await
        .unwrap();
    assert_eq!(
        text,
        "~ groupfile/admins: group:operations may approve at any time -> mon-fri 09:00-18:00 \
         Europe/Berlin, group:operations may revoke at any time -> mon-fri 09:00-18:00 \
         Europe/Berlin\n"
    );
}

fn test(house: &House) -> Operation {
    let cases = vec![house.file("cases.toml")];
    Operation::Policy(PolicyVerb::Test { cases })
}

#[tokio::test]
async fn f5_cases_hold_or_say_why_not() {
    let house = house();
    let cases = r#"
[[person]]
id = "dora@example.com"
groups = ["operations"]

[[case]]
name = "everybody may ask"
who = "ana@example.com"
right = "request"
entitlement = "groupfile/admins"
expect = "yes"

[[case]]
name = "in office hours operations decide, and the new one too"
entitlement = "groupfile/admins"
for = "ana@example.com"
at = "2026-11-26T12:00:00Z"
approvers = ["bob@example.com", "dora@example.com"]

[[case]]
name = "nobody decides their own"
who = "bob@example.com"
right = "approve"
entitlement = "groupfile/admins"
for = "bob@example.com"
at = "thu 12:00 Europe/Berlin"
expect = "no"
"#;
    std::fs::write(house.file("cases.toml"), cases).unwrap();
    let (outcome, text) = house.operate_in(Form::Text, test(&house)).await.unwrap();
    assert_eq!(outcome, Outcome::Well, "{text}");
    assert!(text.ends_with("3 cases, 0 wrong\n"), "{text}");
    // Each turned round is wrong, with the reason.
    let turned = cases
        .replace("expect = \"yes\"", "expect = \"no\"")
        .replace(
            "\"dora@example.com\"]\n\n[[case]]\nname = \"nobody",
            "\"carol@example.com\"]\n\n[[case]]\nname = \"nobody",
        )
        .replace("expect = \"no\"\n", "expect = \"yes\"\n");
    std::fs::write(house.file("cases.toml"), turned).unwrap();
    let (outcome, answer) = house.operate(test(&house)).await;
    assert_eq!(outcome, Outcome::Wrong);
    let wrong = |at: usize| answer["cases"][at]["wrong"].clone();
    assert_eq!(wrong(0), Value::Null, "{answer}");
    assert!(
        wrong(1).as_str().unwrap().contains("also dora@example.com"),
        "{answer}"
    );
    assert!(
        wrong(1).as_str().unwrap().contains("not carol@example.com"),
        "{answer}"
    );
    assert!(
        wrong(2)
            .as_str()
            .unwrap()
            .contains("nobody decides what is for themselves"),
        "{answer}"
    );
    assert_eq!(answer["failed"], 2);
}

#[tokio::test]
async fn f5_cases_that_cannot_be_meant_are_refused_with_their_place() {
    let house = house();
    for (text, expected) in [
        ("", "it has no [[case]]"),
        (
            "[[case]]\nname = \"x\"\nentitlement = \"groupfile/admins\"\n",
            "case \"x\": write either",
        ),
        (
            "[[case]]\nname = \"x\"\nentitlement = \"groupfile/admins\"\nwhom = 1\n",
            "unknown field `whom`",
        ),
        (
            "[[case]]\nname = \"x\"\nentitlement = \"groupfile/admins\"\nat = \"noon\"\napprovers = []\n",
            "write an instant",
        ),
        (
            "[[case]]\nname = \"x\"\nentitlement = \"groupfile/admins\"\nat = \"sun 2000:00 UTC\"\napprovers = []\n",
            "\"2000:00\" is no time",
        ),
        (
            "[[case]]\nname = \"x\"\nentitlement = \"groupfile/none\"\napprovers = []\n",
            "there is no entitlement groupfile/none",
        ),
        (
            "[[case]]\nname = \"x\"\nentitlement = \"groupfile/admins\"\nwho = \"zoe\"\nright = \"approve\"\nexpect = \"no\"\n",
            "nobody is named zoe",
        ),
    ] {
        std::fs::write(house.file("cases.toml"), text).unwrap();
        let refused = house
            .operate_in(Form::Text, test(&house))
            .await
            .unwrap_err();
        let told = refused.to_string();
        assert!(
            told.contains("cases.toml") && told.contains(expected),
            "{expected}: {told}"
        );
    }
}

#[tokio::test]
async fn f5_a_wrong_configuration_is_no_fault_of_a_case() {
    let house = house();
    let case = "[[case]]\nname = \"x\"\nentitlement = \"groupfile/admins\"\napprovers = []\n";
    // Whether the cases can be read or not.
    for cases in [case, ""] {
        std::fs::write(house.file("cases.toml"), cases).unwrap();
        house.rewrite(
            "jit.toml",
            &[("tier = \"standard\"", "tier = \"standart\"")],
        );
        let refused = house
            .operate_in(Form::Text, test(&house))
            .await
            .unwrap_err();
        let told = refused.to_string();
        assert!(
            matches!(refused, OperateError::Config(_)) && !told.contains("cases.toml"),
            "{told}"
        );
    }
}

/// A rule about a user group of Slack, which nobody here can look into.
fn slack_house(effect: &str) -> House {
    let house = House::new();
    let more = format!(
        "[slack]\n[[slack.route]]\nentitlements = \"*\"\nchannel = \"C1\"\n\n[[rule]]\n\
         name = \"contractors\"\neffect = \"{effect}\"\nrights = [\"approve\"]\n\
         entitlements = [\"groupfile/*\"]\nprincipals = [\"group:slack:S1\"]\n\n[audit]"
    );
    house.rewrite("jit.toml", &[("[audit]", &more)]);
    let tokens = "JIT_SLACK_BOT_TOKEN=xoxb-1\nJIT_SLACK_APP_TOKEN=xapp-1\n";
    std::fs::write(house.file(".env"), tokens).unwrap();
    house
}

fn explain(who: &str) -> Operation {
    Operation::Policy(PolicyVerb::Explain {
        who: who.parse().unwrap(),
        right: Right::Approve,
        entitlement: ADMINS.parse().unwrap(),
        circumstances: Circumstances::default(),
    })
}

#[tokio::test]
async fn f5_who_may_be_in_a_user_group_that_is_denied_is_not_told_that_they_may() {
    for (effect, who, finding) in [
        ("deny", "bob", "might_deny"),
        ("allow", "ana", "might_allow"),
    ] {
        let house = slack_house(effect);
        let (_, text) = house.operate_in(Form::Text, explain(who)).await.unwrap();
        let cannot = format!(
            "whether {who}@example.com may approve groupfile/admins cannot be told\n  whether they \
             are in slack:S1 is not known here\n"
        );
        assert!(text.starts_with(&cannot), "{text}");
        let might = format!("rule \"contractors\" might {effect} it");
        assert!(text.contains(&might), "{text}");
        let (_, answer) = house.operate(explain(who)).await;
        assert_eq!(
            (&answer["answer"], &answer["allowed"]),
            (&"unsure".into(), &false.into())
        );
        assert_eq!(answer["groups_unknown"], serde_json::json!(["slack:S1"]));
        assert_eq!(answer["trace"][3]["finding"], finding, "{answer}");
    }
    let house = slack_house("deny");
    let why_not = || {
        Operation::Policy(PolicyVerb::Approvers {
            entitlement: ADMINS.parse().unwrap(),
            circumstances: Circumstances::default(),
            why_not: Some("bob".parse().unwrap()),
        })
    };
    let (_, text) = house.operate_in(Form::Text, why_not()).await.unwrap();
    assert!(
        text.contains("  bob@example.com\n  perhaps others too, or not all of these"),
        "{text}"
    );
    assert!(
        text.contains("whether bob@example.com may approve it cannot be told"),
        "{text}"
    );
    let (_, answer) = house.operate(why_not()).await;
    assert_eq!(
        (&answer["complete"], &answer["why_not"]["answer"]),
        (&false.into(), &"unsure".into())
    );
}

#[tokio::test]
async fn f5_a_case_that_cannot_be_told_does_not_hold_whatever_it_expects() {
    let house = slack_house("deny");
    let people = [("dora", "operations"), ("eva", "operations\", \"slack:S1")];
    let people = people.map(|(who, groups)| {
        format!("[[person]]\nid = \"{who}@example.com\"\ngroups = [\"{groups}\"]\n")
    });
    let cases = [
        ("bob", "yes"),
        ("bob", "no"),
        ("dora", "yes"),
        ("eva", "no"),
    ];
    let cases = cases.map(|(who, expect)| {
        format!(
            "[[case]]\nname = \"{who} {expect}\"\nwho = \"{who}@example.com\"\n\
             right = \"approve\"\nentitlement = \"groupfile/admins\"\nexpect = \"{expect}\"\n"
        )
    });
    let all = "[[case]]\nname = \"bob and dora\"\nentitlement = \"groupfile/admins\"\n\
               approvers = [\"bob@example.com\", \"dora@example.com\"]\n";
    let file = [&people.concat(), &cases.concat(), all].concat();
    std::fs::write(house.file("cases.toml"), file).unwrap();
    let (outcome, answer) = house.operate(test(&house)).await;
    assert_eq!(outcome, Outcome::Wrong);
    for case in answer["cases"].as_array().unwrap() {
        let is_bobs = case["name"].as_str().unwrap().starts_with("bob");
        // Whoever the file brings is in the groups that it says, and in no others.
        assert_eq!(case["holds"], !is_bobs, "{answer}");
        let wrong = case["wrong"].as_str().unwrap_or_default();
        let says = ["it cannot be told", "a group could not be looked up"];
        assert_eq!(
            says.iter().any(|it| wrong.contains(it)),
            is_bobs,
            "{answer}"
        );
    }
}

#[tokio::test]
async fn f5_while_a_rota_does_not_answer_it_cannot_be_told_who_may() {
    let house = House::new();
    let decide = "rights = [\"approve\", \"revoke\"]\nentitlements = [\"*\"]\n\
                  principals = [\"group:operations\"]";
    let on_call = decide.replace("group:operations", "oncall:primary");
    let rota = "[pagerduty]\napi = \"http://127.0.0.1:1\"\n\n[[rota]]\nname = \"primary\"\n\
                pagerduty = { schedule = \"PI7DH85\" }\n\n[audit]";
    house.rewrite("jit.toml", &[(decide, &on_call), ("[audit]", rota)]);
    std::fs::write(house.file(".env"), "JIT_PAGERDUTY_TOKEN=a-token\n").unwrap();
    let (_, text) = house.operate_in(Form::Text, explain("bob")).await.unwrap();
    assert!(
        text.starts_with(
            "whether bob@example.com may approve groupfile/admins cannot be told\n  whether they \
             are in oncall:primary is not known here\n"
        ),
        "{text}"
    );
}
