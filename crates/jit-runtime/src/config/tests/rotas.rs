//! What the file says of hours, ladders and who is on call.

use std::collections::BTreeSet;

use jit_core::ports::Rota as _;

use super::*;

/// A rota and a rule for it.
const ROTA: &str = "[[rota]]
name = \"primary\"
[[rota.shift]]
hours = \"mon-fri 09:00-18:00 Europe/Berlin\"
people = [\"ana@example.com\"]
[[rule]]
name = \"on call\"
rights = [\"approve\"]
entitlements = [\"groupfile/*\"]
principals = [\"oncall:primary\", \"manager\"]
hours = \"mon-sun 00:00-24:00 UTC\"
after = \"10m\"
";

#[track_caller]
fn refused_in_rota(old: &str, new: &str, expected: &[&str]) {
    assert_eq!(ROTA.matches(old).count(), 1, "{old:?} is not there once");
    let text = ROTA.replace(old, new);
    let needle = new.lines().next().unwrap_or_default();
    refused_behind(&text, needle, expected);
}

#[test]
fn hours_steps_and_rotas_are_read() {
    let config = read(&format!("{GOOD}{ROTA}")).unwrap();
    let rule = config.policy.rules().last().unwrap();
    assert_eq!(rule.principals[0].to_string(), "oncall:primary");
    assert!(rule.principals[0].is_on_call());
    assert_eq!(rule.principals[1].to_string(), "manager");
    assert_eq!(
        rule.hours.as_ref().unwrap().to_string(),
        "mon-sun 00:00-24:00 UTC"
    );
    let id: EntitlementId = "groupfile/admins".parse().unwrap();
    let ladder = config.policy.ladder(&id);
    assert_eq!(ladder.len(), 1);
    assert_eq!(ladder[0].after.to_string(), "10m");
    assert_eq!(config.rotas[0].group.as_str(), "oncall:primary");
    let other = read(&format!("{GOOD}{}", ROTA.replace("09:00", "08:00"))).unwrap();
    assert_ne!(config.digest, other.digest, "a rota is part of the policy");
}

#[test]
fn what_is_wrong_with_a_rota_is_told() {
    refused_in_rota(
        "name = \"primary\"",
        "name = \"on call\"",
        &["name = \"on call\"", "letters, digits, _ or -"],
    );
    refused_in_rota(
        "hours = \"mon-fri 09:00-18:00 Europe/Berlin\"",
        "hours = \"weekdays\"",
        &["hours = \"weekdays\"", "mon-fri 09:00-18:00 Europe/Berlin"],
    );
    refused_in_rota(
        "people = [\"ana@example.com\"]",
        "people = [\"eva@example.com\"]",
        &["there is no person eva@example.com"],
    );
}

#[test]
fn turns_begin_on_a_monday_and_are_taken_by_several() {
    let with = |more: &str| ROTA.replace("[\"ana@example.com\"]", more);
    let text = with("[\"ana@example.com\"]\nturns_from = \"2026-11-24\"");
    refused_behind(
        &text,
        "turns_from",
        &["turns_from = \"2026-11-24\"", "date of a Monday"],
    );
    let text = with("[\"ana@example.com\"]\nturns_from = \"2026-11-23\"");
    refused_behind(&text, "turns_from", &["one person takes no turns"]);
    let text = with("[\"ana@example.com\", \"ana@example.com\"]");
    refused_behind(&text, "people", &["in this shift twice"]);
}

#[test]
fn a_rota_without_shifts_and_one_that_is_not_there_are_refused() {
    let text = ROTA.split("[[rota.shift]]").next().unwrap();
    refused_behind(text, "[[rota]]", &["nobody is ever on call"]);
    refused_in_rota(
        "principals = [\"oncall:primary\", \"manager\"]",
        "principals = [\"oncall:secondary\"]",
        &["there is no rota for oncall:secondary"],
    );
    let twice = format!("{ROTA}{}", ROTA.split("[[rule]]").next().unwrap());
    let problems = told(read(&format!("{GOOD}{twice}")));
    assert!(
        problems[0].contains("rota oncall:primary is there already"),
        "{problems:?}"
    );
}

#[test]
fn a_step_that_never_comes_or_is_none_is_refused() {
    refused_in_rota(
        "after = \"10m\"",
        "after = \"8h\"",
        &["lapses after 8h", "decision_window"],
    );
    let text = ROTA.replace(
        "rights = [\"approve\"]",
        "rights = [\"approve\", \"revoke\"]",
    );
    refused_behind(
        &text,
        "after",
        &["only the right to approve can begin later"],
    );
    let text = ROTA.replace(
        "name = \"on call\"",
        "name = \"on call\"\neffect = \"deny\"",
    );
    refused_behind(
        &text,
        "after",
        &["only the right to approve can begin later"],
    );
}

/// A rota of PagerDuty.
const OF_PAGERDUTY: &str = "[pagerduty]
api = \"https://api.eu.pagerduty.com\"
[[rota]]
name = \"primary\"
pagerduty = { schedule = \"PI7DH85\" }
[[rota]]
name = \"database\"
pagerduty = { escalation_policy = \"PT20YPA\", levels = 2 }
";

const TOKEN: [(&str, &str); 1] = [("JIT_PAGERDUTY_TOKEN", "canary-token")];

fn with_pagerduty(text: &str, variables: &[(&str, &str)]) -> Result<Config, BadConfig> {
    Folder::with(&format!("{GOOD}{text}")).read(variables)
}

#[test]
fn a_rota_of_pagerduty_is_a_schedule_or_an_escalation_policy() {
    let config = with_pagerduty(OF_PAGERDUTY, &TOKEN).unwrap();
    let kinds: Vec<&RotaKind> = config.rotas.iter().map(|rota| &rota.kind).collect();
    let kind = |duty, levels| RotaKind::PagerDuty { duty, levels };
    let schedule = jit_pagerduty::Duty::Schedule("PI7DH85".parse().unwrap());
    let policy = jit_pagerduty::Duty::EscalationPolicy("PT20YPA".parse().unwrap());
    assert_eq!(*kinds[0], kind(schedule, jit_pagerduty::Levels::First));
    assert_eq!(
        *kinds[1],
        kind(policy, jit_pagerduty::Levels::FirstAndSecond)
    );
    let pagerduty = config.pagerduty.as_ref().unwrap();
    assert_eq!(pagerduty.api.to_string(), "https://api.eu.pagerduty.com/");
    assert_eq!(pagerduty.token.expose_secret(), "canary-token");
    assert!(!format!("{config:?}").contains("canary"));
    let unsaid = OF_PAGERDUTY.replace("api = \"https://api.eu.pagerduty.com\"\n", "");
    let unsaid = with_pagerduty(&unsaid, &TOKEN).unwrap();
    let api = unsaid.pagerduty.unwrap().api;
    assert_eq!(api, jit_pagerduty::Address::of_api());
    let other = OF_PAGERDUTY.replace("levels = 2", "levels = 1");
    let other = with_pagerduty(&other, &TOKEN).unwrap();
    assert_ne!(
        config.digest, other.digest,
        "who is asked is part of the policy"
    );
}

#[test]
fn pagerduty_is_asked_with_a_key_that_is_there() {
    let missing = told(with_pagerduty(OF_PAGERDUTY, &[]));
    assert_eq!(missing.len(), 1, "{missing:#?}");
    let line = GOOD.lines().count() + 5;
    assert!(missing[0].starts_with(&format!("{line}: ")), "{missing:#?}");
    assert!(
        missing[0].contains("JIT_PAGERDUTY_TOKEN_FILE"),
        "{missing:#?}"
    );
    let folder = Folder::with(&format!("{GOOD}{OF_PAGERDUTY}"));
    folder.write("key", "canary-in-a-file\n");
    let config = folder.read(&[("JIT_PAGERDUTY_TOKEN_FILE", "key")]).unwrap();
    let token = config.pagerduty.unwrap().token;
    assert_eq!(token.expose_secret(), "canary-in-a-file");
    // Whoever calls nobody yet needs none.
    let environment = Environment::default();
    let early = Config::read_before_tokens(&folder.path("jit.toml"), &environment);
    assert!(early.unwrap().pager.pagerduty.is_none());
    // Where no rota asks, nobody is asked.
    assert!(read(GOOD).unwrap().pagerduty.is_none());
}

#[test]
fn what_is_wrong_with_a_rota_of_pagerduty_is_told_with_its_line() {
    let second = "pagerduty = { escalation_policy = \"PT20YPA\", levels = 2 }";
    let lines = GOOD.lines().count() + 8;
    for (new, expected) in [
        (
            "pagerduty = {}",
            "neither a schedule nor an escalation policy",
        ),
        ("pagerduty = { levels = 1 }", "neither a schedule"),
        (
            "pagerduty = { schedule = \"PA\", escalation_policy = \"PB\" }",
            "a schedule and an escalation policy",
        ),
        (
            "pagerduty = { schedule = \"P A\" }",
            "1 to 40 letters and digits",
        ),
        (
            "pagerduty = { schedule = \"PA\", levels = 3 }",
            "from 1 to 2",
        ),
        (
            "pagerduty = { schedule = \"PA\", level = 1 }",
            "unknown key \"level\"",
        ),
        (
            "pagerduty = { schedule = \"PA\", token = \"x\" }",
            "looks like a secret",
        ),
        ("pagerduty = \"PA\"", "pagerduty is a string"),
    ] {
        let found = told(with_pagerduty(&OF_PAGERDUTY.replace(second, new), &TOKEN));
        let at = format!("{lines}: ");
        let fits = found
            .iter()
            .any(|it| it.starts_with(&at) && it.contains(expected));
        assert!(fits, "{new}: {found:#?}");
    }
    let both = format!(
        "{OF_PAGERDUTY}[[rota.shift]]\nhours = \"mon-sun 00:00-24:00 UTC\"\npeople = \
         [\"ana@example.com\"]\n"
    );
    let found = told(with_pagerduty(&both, &TOKEN));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("{lines}: ")), "{found:#?}");
    assert!(found[0].contains("has shifts, and PagerDuty is asked as well"));
    for api in [
        "http://api.pagerduty.com",
        "api.pagerduty.com",
        "https://x@example.com",
    ] {
        let text = OF_PAGERDUTY.replace("https://api.eu.pagerduty.com", api);
        let found = told(with_pagerduty(&text, &TOKEN));
        assert!(found[0].contains("https:// and a host"), "{found:#?}");
    }
}

#[test]
fn alarms_go_to_pagerduty_where_there_is_a_key_for_them() {
    const KEY: &str = "canary0123456789abcdef0123456789";
    let variable = "JIT_PAGERDUTY_ROUTING_KEY";
    let events = |text: &str, variables: &[(&str, &str)]| {
        let config = with_pagerduty(text, variables).unwrap();
        assert!(!format!("{config:?}").contains("canary"));
        config.pager.pagerduty.map(|it| it.events.to_string())
    };
    assert_eq!(events("", &[]), None);
    let usual = events("", &[(variable, KEY)]);
    assert_eq!(usual.as_deref(), Some("https://events.pagerduty.com/"));
    let text = "[pagerduty]\nevents = \"https://events.eu.pagerduty.com\"\n";
    let other = events(text, &[(variable, KEY)]);
    assert_eq!(other.as_deref(), Some("https://events.eu.pagerduty.com/"));
    for wrong in ["canary-api-key-20-le", "canary0123456789abcdef012345678-"] {
        let found = told(with_pagerduty("", &[(variable, wrong)]));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(variable) && found[0].contains("32 letters"));
        assert!(!found[0].contains("canary"), "{found:#?}");
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

async fn on_call(rota: &WeeklyRota, when: &str) -> Vec<String> {
    let on_call: BTreeSet<_> = rota.on_call(at(when)).await.unwrap();
    on_call.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn several_people_share_a_rota_week_by_week_and_shifts_add_up() {
    let people = "\n[[person]]\nid = \"bob@example.com\"\n[[person]]\nid = \"eva@example.com\"\n";
    let shifts = "people = [\"ana@example.com\", \"bob@example.com\"]\nturns_from = \"2026-11-23\"
[[rota.shift]]
hours = \"sun 22:00-06:00 Europe/Berlin\"
people = [\"eva@example.com\", \"bob@example.com\"]
turns_from = \"2026-11-23\"
[[rota.shift]]
hours = \"tue 09:00-10:00 Europe/Berlin\"
people = [\"eva@example.com\", \"bob@example.com\"]";
    let text = ROTA.replace("people = [\"ana@example.com\"]", shifts);
    let config = read(&format!("{GOOD}{people}{text}")).unwrap();
    let RotaKind::Weekly(rota) = &config.rotas[0].kind else {
        panic!("shifts are a weekly rota");
    };
    let (ana, bob, eva) = ("ana@example.com", "bob@example.com", "eva@example.com");
    for (when, expected) in [
        // Before its time in the first week, in it, and after it.
        ("2026-11-23T07:59:59Z", &[][..]),
        ("2026-11-23T08:00:00Z", &[ana]),
        ("2026-11-27T16:59:59Z", &[ana]),
        ("2026-11-27T17:00:00Z", &[]),
        ("2026-11-30T08:00:00Z", &[bob]),
        ("2026-12-07T08:00:00Z", &[ana]),
        // Turns go back as well.
        ("2026-11-16T08:00:00Z", &[bob]),
        // A night belongs to the week in which it begins, also on the Monday after.
        ("2026-11-29T22:00:00Z", &[eva]),
        ("2026-11-30T04:59:00Z", &[eva]),
        ("2026-12-06T22:00:00Z", &[bob]),
        // Without turns all of them are on call.
        ("2026-11-24T08:30:00Z", &[ana, bob, eva]),
    ] {
        assert_eq!(on_call(rota, when).await, expected, "{when}");
    }
}
