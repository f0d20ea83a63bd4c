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
    let RotaKind::Weekly(rota) = &config.rotas[0].kind;
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
