//! What a configuration promises, file by file.

mod agents;
mod approval;
mod aws;
mod clocks;
mod okta;
mod rotas;
mod telegram;

use super::*;
use jit_core::Timestamp;
use jit_core::catalog::EntitlementId;
use jit_core::policy::{Case, Right, When};
use jit_core::principal::{AgentCaps, PrincipalKind};
use secrecy::ExposeSecret;
use tempfile::TempDir;

/// A small configuration in which everything is right.
const GOOD: &str = r#"[store]
sqlite = "jit.db"
[[provider]]
name = "groupfile"
kind = "groupfile"
file = "groups"
[[entitlement]]
id = "groupfile/admins"
title = "Administrators"
tier = "standard"
[[tier]]
name = "standard"
ttl_default = "1h"
ttl_max = "8h"
approvals = 1
[[rule]]
name = "ask"
rights = ["request"]
entitlements = ["groupfile/*"]
principals = ["group:sre"]
[[person]]
id = "ana@example.com"
aliases = ["ana"]
groups = ["sre"]
subjects = { groupfile = "ana" }
[[agent]]
id = "agent:bot"
acts_for = "ana@example.com"
"#;

/// What `[slack]` needs beside the file.
const SLACK_TOKENS: [(&str, &str); 2] = [
    ("JIT_SLACK_BOT_TOKEN", "xoxb-1"),
    ("JIT_SLACK_APP_TOKEN", "xapp-1"),
];

/// A folder with a configuration in it.
struct Folder(TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("jit.toml", text);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, variables: &[(&str, &str)]) -> Result<Config, BadConfig> {
        let pairs = variables.iter();
        let environment = pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::read(&self.path("jit.toml"), &environment)
    }
}

fn read(text: &str) -> Result<Config, BadConfig> {
    Folder::with(text).read(&[])
}

/// Every problem as `line: what; instead`, or as the name of the variable.
fn told(result: Result<Config, BadConfig>) -> Vec<String> {
    let problems = match result.expect_err("this configuration is wrong") {
        BadConfig::Wrong { problems, .. } => problems,
        unreadable @ BadConfig::Unreadable { .. } => panic!("{unreadable}"),
    };
    let tell = |problem: Problem| {
        assert!(!problem.instead.is_empty(), "{problem}");
        match &problem.place {
            Place::Line { line, .. } => format!("{line}: {problem}"),
            Place::Variable { name } => format!("{name}: {problem}"),
            Place::File { file, line } => {
                let name = file.file_name().unwrap().display();
                format!("{name}:{line:?}: {problem}")
            }
        }
    };
    problems.into_iter().map(tell).collect()
}

/// The one problem of a file; it must hold each of these texts.
#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let told = told(read(text));
    assert_eq!(told.len(), 1, "{told:#?}");
    for part in expected {
        assert!(told[0].contains(part), "{part:?} is not in {:?}", told[0]);
    }
}

/// [`GOOD`] with one piece of text in place of another, and the line where it now is.
#[track_caller]
fn with(old: &str, new: &str) -> (String, String) {
    assert_eq!(GOOD.matches(old).count(), 1, "{old:?} is not there once");
    let text = GOOD.replace(old, new);
    let before = text.find(new).unwrap();
    let line = text[..before].matches('\n').count() + 1;
    (text, format!("{line}: "))
}

#[track_caller]
fn refused_with(old: &str, new: &str, expected: &[&str]) {
    let (text, line) = with(old, new);
    let mut all = vec![line.as_str()];
    all.extend(expected);
    refused(&text, &all);
}

#[test]
fn a_good_file_gives_the_domain_its_values() {
    let folder = Folder::with(GOOD);
    let config = folder.read(&[]).unwrap();
    let Store::Sqlite { file } = &config.store else {
        panic!("a file is the default");
    };
    assert_eq!(*file, folder.path("jit.db"));
    let kind = ProviderKind::GroupFile {
        file: folder.path("groups"),
    };
    assert_eq!(config.providers[0].kind, kind);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.http.observe.to_string(), "127.0.0.1:9090");
    assert!(!config.http.trusted_proxy);
    let id = "groupfile/admins".parse().unwrap();
    let admins = config.catalog.get(&id).unwrap();
    assert_eq!(admins.resource, "admins");
    let tier = config.policy.tier(&admins.tier).unwrap();
    assert_eq!(tier.ttl_max.to_string(), "8h");
    assert_eq!(tier.residual_max_secs, 0);
    let ana = &config.people.find(&"ana".parse().unwrap()).unwrap().profile;
    assert!(
        config
            .policy
            .allows(Right::Request, ana, &Case::new(&id, When::Ever))
    );
    let bot = config.people.find(&"agent:bot".parse().unwrap()).unwrap();
    assert_eq!(
        bot.profile.kind,
        PrincipalKind::Agent {
            acts_for: ana.id.clone(),
            caps: Default::default(),
        }
    );
}

#[test]
fn the_template_is_a_configuration_that_works() {
    let folder = Folder::with(TEMPLATE);
    let config = folder.read(&[]).unwrap();
    let profile = |name: &str| &config.people.find(&name.parse().unwrap()).unwrap().profile;
    let admins: EntitlementId = "groupfile/admins".parse().unwrap();
    let admins = Case::new(&admins, When::Ever);
    assert!(
        config
            .policy
            .allows(Right::Request, profile("ana"), &admins)
    );
    assert!(
        !config
            .policy
            .allows(Right::Approve, profile("ana"), &admins)
    );
    assert!(
        config
            .policy
            .allows(Right::Approve, profile("bob"), &admins)
    );
    let everything =
        config
            .policy
            .evaluate_anywhere(Right::Operate, profile("bob"), Timestamp::MIN);
    assert!(everything.allowed);
    let readers = config.catalog.get(&"groupfile/readers".parse().unwrap());
    let low = config.policy.tier(&readers.unwrap().tier).unwrap();
    assert_eq!(low.automatic.unwrap().ceiling, 3);
    assert_eq!(config.audit.csv, Some(folder.path("audit_log.csv")));
}

#[test]
fn the_template_names_every_variable() {
    for (name, _) in VARIABLES {
        assert!(TEMPLATE.contains(name), "{name}");
    }
}

#[test]
fn what_the_template_has_commented_out_works_too() {
    let commented = [
        "trusted_proxy",
        "active",
        "tick_ms",
        "tasks_per",
        "webhook",
        "slack =",
        "telegram =",
        "chat_id =",
        "transport",
        "email_match",
        "reactions_in",
        "remind",
        "warn",
        "entitlements",
        "channel",
        "jit =",
        "request_admin",
        "prod_access",
        "name =",
        "rights =",
        "principals =",
        "hours =",
        "after =",
        "people =",
        "turns_from =",
        "subjects =",
        "reason =",
        "pagerduty =",
        "api =",
        "events =",
        "id =",
        "name =",
        "kind =",
        "account =",
        "role =",
        "session_names =",
        "region =",
        "calls_per_second =",
        "endpoint =",
        "open_max =",
        "per_hour =",
        "ttl_max =",
    ];
    let text: Vec<&str> = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') => rest,
            Some(rest) if commented.iter().any(|key| rest.starts_with(key)) => rest,
            _ => line,
        })
        .collect();
    let folder = Folder::with(&text.join("\n"));
    let pagerduty = [
        ("JIT_PAGERDUTY_TOKEN", "key"),
        (
            "JIT_PAGERDUTY_ROUTING_KEY",
            "0123456789abcdef0123456789abcdef",
        ),
    ];
    let telegram = [("JIT_TELEGRAM_BOT_TOKEN", "1:a")];
    let config = folder.read(&[&SLACK_TOKENS[..], &pagerduty, &telegram].concat());
    let config = config.unwrap();
    assert!(config.pager.webhook.is_some());
    let groups: Vec<&str> = config
        .rotas
        .iter()
        .map(|rota| rota.group.as_str())
        .collect();
    assert_eq!(groups, ["oncall:primary", "oncall:database"]);
    assert_eq!(config.policy.exemptions().len(), 1);
    let night = config
        .policy
        .rules()
        .iter()
        .find(|rule| rule.hours.is_some());
    assert!(night.unwrap().after.is_some());
    let telegram = config.telegram.unwrap();
    assert_eq!(telegram.chat, (-1_001_234_567_890).try_into().unwrap());
    assert_eq!(telegram.api, jit_telegram::Address::of_telegram());
    let slack = config.slack.unwrap();
    assert_eq!(slack.settings.routes.len(), 1);
    assert!(slack.settings.routes[0].warning.is_some());
    assert_eq!(slack.settings.reactions.len(), 1);
    let defaults = jit_slack::Commands::default();
    assert_eq!(slack.settings.commands.jit, defaults.jit);
    assert_eq!(slack.settings.commands.prod_access, defaults.prod_access);
    assert!(slack.settings.commands.prod_entitlement.is_some());
    let ana = "ana@example.com".parse().unwrap();
    assert!(slack.names.user(&ana).is_some());
    assert!(config.http.trusted_proxy);
    assert_eq!(config.worker.tick, Duration::from_millis(250));
    let in_iam = |it: &&Provider| matches!(it.kind, ProviderKind::Iam { .. });
    assert!(config.providers.iter().find(in_iam).is_some());
    // They show the defaults.
    let bot = config.people.find(&"agent:deploy-bot".parse().unwrap());
    let caps = AgentCaps::default();
    let kind = &bot.unwrap().profile.kind;
    assert!(matches!(kind, PrincipalKind::Agent { caps: written, .. } if *written == caps));
    let template = read(TEMPLATE).unwrap();
    assert_eq!(config.worker, template.worker);
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("sqlite", "sqlit")
        .replace("ttl_max = \"8h\"", "ttl_max = \"30M\"")
        .replace("group:sre", "group:sreo")
        .replace("tier = \"standard\"", "tier = \"standart\"");
    let told = told(read(&text));
    let lines: Vec<&str> = told
        .iter()
        .map(|one| one.split(':').next().unwrap())
        .collect();
    assert_eq!(lines, ["2", "10", "14", "20"], "{told:#?}");
}

#[test]
fn a_message_names_file_line_column_and_what_to_write() {
    let folder = Folder::with(&GOOD.replace("ttl_max", "ttl_maxx"));
    let message = folder.read(&[]).unwrap_err().to_string();
    let file = folder.path("jit.toml");
    let expected = format!(
        "{file}:11:1: [[tier]] lacks ttl_max; write for example ttl_max = \"8h\"\n\
         {file}:14:1: unknown key \"ttl_maxx\" in [[tier]]; write ttl_max, if that is meant; the \
         known keys are name, ttl_default, ttl_max, approvals, decision_window, residual_max, \
         automatic",
        file = file.display()
    );
    assert_eq!(message, expected);
}

#[test]
fn a_message_that_quotes_the_file_moves_no_cursor() {
    let bad = "\"\\u001b[31m\\n\"";
    for text in [
        format!("{GOOD}[log]\n{bad} = 1\n"),
        GOOD.replace("kind = \"groupfile\"", &format!("kind = {bad}")),
    ] {
        let told = told(Folder::with(&text).read(&[]));
        assert!(told.iter().any(|one| one.contains("[31m")), "{told:?}");
        for one in told {
            assert!(!one.contains(char::is_control), "{one:?}");
        }
    }
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    for (table, key) in [
        ("[store]", "mongodb = \"x\""),
        ("[http]", "tls = true"),
        ("[worker]", "tasks = 3"),
        ("[pager]", "pagerduty = \"x\""),
        ("[audit]", "jsonl = \"x\""),
        ("[log]", "level = \"debug\""),
        ("[matrix]", "room = \"x\""),
    ] {
        let text = GOOD.replace("[store]\nsqlite = \"jit.db\"\n", "");
        let text = format!("{text}{table}\n{key}\n");
        let told = told(Folder::with(&text).read(&SLACK_TOKENS));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains("unknown key"), "{told:#?}");
        assert!(told[0].contains("the known keys are"), "{told:#?}");
    }
    for (table, owner) in [
        ("kind = \"groupfile\"", "[[provider]]"),
        ("title = \"Administrators\"", "[[entitlement]]"),
        ("approvals = 1", "[[tier]]"),
        ("rights = [\"request\"]", "[[rule]]"),
        ("aliases = [\"ana\"]", "[[person]]"),
        ("acts_for = \"ana@example.com\"", "[[agent]]"),
    ] {
        let (text, _) = with(table, &format!("{table}\nwhatever = 1"));
        refused(&text, &["unknown key \"whatever\"", owner]);
    }
}

#[test]
fn mechanisms_that_are_not_built_have_no_key() {
    for key in [
        "step_up = true",
        "break_glass = true",
        "backstop = true",
        "end_sessions = true",
        "not_before = true",
        "shadow = true",
    ] {
        let name = key.split(' ').next().unwrap();
        let expected = ["unknown key", name, "[[tier]]"];
        refused_with("approvals = 1", &format!("{key}\napprovals = 1"), &expected);
        let expected = ["unknown key", name, "[[rule]]"];
        refused_with(
            "name = \"ask\"",
            &format!("{key}\nname = \"ask\""),
            &expected,
        );
        let expected = ["unknown key", name, "the file"];
        refused(&format!("{key}\n{GOOD}"), &expected);
    }
    for right in ["bypass", "break_glass"] {
        let rights = format!("rights = [\"{right}\"]");
        let expected = [right, "is not known", "on_behalf_of"];
        refused_with("rights = [\"request\"]", &rights, &expected);
    }
    refused_with(
        "principals = [\"group:sre\"]",
        "effect = \"shadow\"\nprincipals = [\"group:sre\"]",
        &["\"shadow\"", "`allow`"],
    );
}

#[test]
fn durations_are_read_strictly() {
    for bad in ["30M", "0s", "-5m", "8", "1.5h", "401d", ""] {
        let new = format!("ttl_max = \"{bad}\"");
        refused_with("ttl_max = \"8h\"", &new, &["duration"]);
    }
    refused_with("ttl_max = \"8h\"", "ttl_max = \"30M\"", &["write \"30m\""]);
    refused_with("ttl_max = \"8h\"", "ttl_max = 8", &["double quotes"]);
}

#[test]
fn bad_names_and_values_are_refused_with_what_would_do() {
    let cases = [
        ("kind = \"groupfile\"", "kind = \"ldap\"", "groupfile"),
        (
            "id = \"groupfile/admins\"",
            "id = \"admins\"",
            "provider/name",
        ),
        ("approvals = 1", "approvals = 9", "from 0 to 8"),
        ("approvals = 1", "approvals = -1", "from 0 to 8"),
        ("approvals = 1", "approvals = \"1\"", "without quotes"),
        (
            "aliases = [\"ana\"]",
            "aliases = \"ana\"",
            "[\"one\", \"two\"]",
        ),
        (
            "aliases = [\"ana\"]",
            "aliases = [\"a b\"]",
            "letters, digits",
        ),
        ("rights = [\"request\"]", "rights = []", "is empty"),
        ("title = \"Administrators\"", "title = \"\"", "characters"),
        (
            "title = \"Administrators\"",
            "title = \"a\\nb\"",
            "one line",
        ),
        (
            "subjects = { groupfile = \"ana\" }",
            "subjects = \"ana\"",
            "{ name =",
        ),
    ];
    for (old, new, expected) in cases {
        refused_with(old, new, &[expected]);
    }
    let text = GOOD.replace("[store]", "[[store]]");
    refused(&text, &["1: ", "write [store]"]);
    let text = GOOD.replace("[[tier]]", "[tier]");
    let told = told(read(&text)).join("\n");
    assert!(told.contains("11: ") && told.contains("[[tier]]"), "{told}");
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    refused_with("approvals = 1", "approvals 1", &["not TOML"]);
    let told = told(read("a = \nb = [\nc = 3\n"));
    assert!(told.len() >= 2, "{told:#?}");
}

#[test]
fn references_that_lead_nowhere_are_refused() {
    refused_with(
        "tier = \"standard\"",
        "tier = \"critical\"",
        &["there is no tier critical", "standard", "[[tier]]"],
    );
    refused_with(
        "acts_for = \"ana@example.com\"",
        "acts_for = \"anna@example.com\"",
        &["no person anna@example.com", "write ana@example.com"],
    );
    refused_with(
        "acts_for = \"ana@example.com\"",
        "acts_for = \"ana\"",
        &["alias", "ana@example.com"],
    );
    refused_with(
        "principals = [\"group:sre\"]",
        "principals = [\"group:dba\"]",
        &["nobody is in the group dba"],
    );
    refused_with(
        "principals = [\"group:sre\"]",
        "principals = [\"zoe@example.com\"]",
        &["no person zoe@example.com"],
    );
    refused_with(
        "principals = [\"group:sre\"]",
        "principals = [\"ana\"]",
        &["alias", "write the id that it leads to, ana@example.com"],
    );
    refused_with(
        "entitlements = [\"groupfile/*\"]",
        "entitlements = [\"aws/*\"]",
        &["aws/* fits no entitlement", "groupfile/admins"],
    );
    refused_with(
        "subjects = { groupfile = \"ana\" }",
        "subjects = { okta = \"ana\" }",
        &["no provider okta"],
    );
    let text = GOOD
        .replace("groupfile/admins", "okta/admins")
        .replace("groupfile/*", "*");
    refused(&text, &["8: ", "there is no provider okta"]);
}

#[test]
fn a_thing_that_is_itself_wrong_is_not_reported_as_missing_too() {
    refused_with("ttl_max = \"8h\"", "ttl_max = \"8H\"", &["write \"8h\""]);
    refused_with("kind = \"groupfile\"", "kind = \"files\"", &["files"]);
}

#[test]
fn a_bare_star_needs_no_entitlement() {
    let (text, _) = with("entitlements = [\"groupfile/*\"]", "entitlements = [\"*\"]");
    assert!(read(&text).is_ok());
    assert!(read("").is_ok());
}

/// [`GOOD`] with more behind it; the problem must be on the line of `needle` in what was added.
#[track_caller]
fn refused_behind(added: &str, needle: &str, expected: &[&str]) {
    let text = format!("{GOOD}{added}");
    let at = GOOD.len() + added.find(needle).unwrap();
    let line = format!("{}: ", text[..at].matches('\n').count() + 1);
    let mut all = vec![line.as_str()];
    all.extend(expected);
    refused(&text, &all);
}

#[test]
fn nothing_is_named_twice() {
    refused_behind(
        "[[provider]]\nname = \"groupfile\"\nkind = \"groupfile\"\nfile = \"other\"\n",
        "name",
        &["provider groupfile is there already, on line 4"],
    );
    refused_behind(
        "[[tier]]\nname = \"standard\"\nttl_default = \"1h\"\nttl_max = \"1h\"\napprovals = 1\n",
        "name",
        &["tier standard is there already, on line 12"],
    );
    refused_behind(
        "[[entitlement]]\nid = \"groupfile/admins\"\ntitle = \"x\"\ntier = \"standard\"\n",
        "id",
        &["entitlement groupfile/admins is there already, on line 8"],
    );
    refused_behind(
        "[[rule]]\nname = \"ask\"\nrights = [\"approve\"]\nentitlements = [\"*\"]\n\
         principals = [\"*\"]\n",
        "name",
        &["rule ask is there already, on line 17"],
    );
}

#[test]
fn a_name_leads_to_one_principal() {
    for (added, needle) in [
        ("[[person]]\nid = \"ANA@example.com\"\n", "id"),
        ("[[person]]\nid = \"ana\"\n", "id"),
        (
            "[[person]]\nid = \"bob@example.com\"\naliases = [\"ana\"]\n",
            "aliases",
        ),
        (
            "[[person]]\nid = \"bob@example.com\"\naliases = [\n\"ana@example.com\"]\n",
            "\"ana@",
        ),
        (
            "[[agent]]\nid = \"ana\"\nacts_for = \"ana@example.com\"\n",
            "id",
        ),
    ] {
        let expected = ["leads to ana@example.com already, on line"];
        refused_behind(added, needle, &expected);
    }
    let repeats_itself = GOOD.replace("[\"ana\"]", "[\"ana\", \"ana@example.com\"]");
    assert!(read(&repeats_itself).is_ok());
}

#[test]
fn two_people_may_not_be_one_subject() {
    refused_behind(
        "[[person]]\nid = \"bob@example.com\"\nsubjects = { groupfile = \"ana\" }\n",
        "subjects",
        &["ana is ana@example.com at groupfile already"],
    );
}

#[test]
fn an_id_reads_as_what_it_is() {
    let expected = ["does not read as the name of a person"];
    refused_behind("[[person]]\nid = \"group:x\"\n", "id", &expected);
    refused_behind("[[person]]\nid = \"agent:x\"\n", "id", &expected);
    let agent = "[[agent]]\nid = \"group:x\"\nacts_for = \"ana@example.com\"\n";
    refused_behind(agent, "id", &["name of an agent"]);
}

#[test]
fn two_entitlements_may_not_name_one_slot() {
    refused_behind(
        "[[entitlement]]\nid = \"groupfile/root\"\nresource = \"admins\"\ntitle = \"x\"\n\
         tier = \"standard\"\n",
        "id",
        &[
            "groupfile/admins on line 8 and groupfile/root on line",
            "\"admins\" of groupfile",
        ],
    );
}

#[test]
fn what_is_meant_to_stand_without_a_grant_is_read_and_is_part_of_the_policy() {
    let exemption = "[[exemption]]
subjects = [\"root-oncall\"]
entitlements = [\"groupfile/admins\"]
reason = \"for emergencies\"
";
    let config = read(&format!("{GOOD}{exemption}")).unwrap();
    let (root, admins) = ("root-oncall".parse().unwrap(), "groupfile/admins".parse());
    assert!(config.policy.exempts(&root, &admins.unwrap()));
    let readers = "groupfile/readers".parse().unwrap();
    assert!(!config.policy.exempts(&root, &readers));
    assert_ne!(config.digest, read(GOOD).unwrap().digest);
    for (key, wrong, told) in [
        ("subjects = [\"root-oncall\"]\n", "", "lacks subjects"),
        ("reason = \"for emergencies\"\n", "", "lacks reason"),
        ("groupfile/admins", "groupfile/nothing", "groupfile/nothing"),
    ] {
        let text = format!("{GOOD}{}", exemption.replace(key, wrong));
        refused(&text, &[told]);
    }
}

#[test]
fn no_provider_is_called_as_the_workspace() {
    let text = GOOD
        .replace("groupfile/", "slack/")
        .replace("name = \"groupfile\"", "name = \"slack\"");
    let text = text.replace("subjects = { groupfile = \"ana\" }", "");
    refused(&text, &["4: ", "give it another name"]);
}

#[test]
fn two_providers_may_not_have_one_file() {
    let added = |file: &str| {
        format!("[[provider]]\nname = \"two\"\nkind = \"groupfile\"\nfile = \"{file}\"\n")
    };
    for other_name in [
        "groups",
        "./groups",
        "sub/../groups",
        "link",
        "folder/groups",
    ] {
        let folder = Folder::with(&format!("{GOOD}{}", added(other_name)));
        folder.write("groups", "admins:\n");
        std::fs::create_dir(folder.path("sub")).unwrap();
        std::os::unix::fs::symlink(folder.path("groups"), folder.path("link")).unwrap();
        std::os::unix::fs::symlink(folder.path(""), folder.path("folder")).unwrap();
        let told = told(folder.read(&[]));
        assert_eq!(told.len(), 1, "{other_name}: {told:#?}");
        assert!(told[0].contains("another provider, on line 6"), "{told:#?}");
    }
    // The file need not exist yet.
    refused_behind(
        &added("./groups"),
        "file =",
        &["another provider, on line 6"],
    );
    let folder = Folder::with(&format!("{GOOD}{}", added("folder/groups")));
    std::os::unix::fs::symlink(folder.path(""), folder.path("folder")).unwrap();
    assert!(told(folder.read(&[]))[0].contains("another provider"));
}

#[test]
fn our_own_files_are_distinct() {
    refused_behind(
        "[audit]\ncsv = \"jit.db\"\n",
        "csv",
        &["something else on line 2"],
    );
    refused_with(
        "sqlite = \"jit.db\"",
        "sqlite = \"groups\"",
        &["something else on line 6"],
    );
}

#[test]
fn a_tier_that_contradicts_itself_is_refused_where_it_stands() {
    let cases = [
        ("approvals = 1", "approvals = 0", "no automatic quota"),
        (
            "ttl_default = \"1h\"",
            "ttl_default = \"9h\"",
            "above its ceiling of 8h",
        ),
        (
            "approvals = 1",
            "approvals = 1\nautomatic = { ceiling = 0, per = \"1h\" }",
            "quota of zero",
        ),
    ];
    for (old, new, expected) in cases {
        let (text, _) = with(old, new);
        refused(&text, &["11: ", "tier standard", expected]);
    }
}

#[test]
fn a_rule_that_can_never_count_is_refused() {
    refused_with(
        "rights = [\"request\"]",
        "rights = [\"audit\"]",
        &["audit is a right over everything", "entitlements = [\"*\"]"],
    );
    let (text, _) = with("rights = [\"request\"]", "rights = [\"approve\"]");
    for agent in ["agent:*", "agent:bot"] {
        let text = text.replace("group:sre", agent);
        refused(
            &text,
            &["20: ", "may never approve", "programs file requests"],
        );
    }
    let deny = text.replace("name = \"ask\"", "name = \"ask\"\neffect = \"deny\"");
    assert!(read(&deny.replace("group:sre", "agent:*")).is_ok());
}

#[test]
fn a_manager_is_named_only_for_rights_over_what_is_somebodys() {
    let rule = |effect: &str, right: &str| {
        let rule = format!(
            "[[rule]]\nname = \"managers\"\neffect = \"{effect}\"\nrights = [\"{right}\"]\n\
             entitlements = [\"*\"]\nprincipals = [\"group:sre\", \"manager\"]\n"
        );
        (format!("{GOOD}{rule}"), rule)
    };
    for effect in ["allow", "deny"] {
        for right in ["request", "audit", "operate"] {
            let nobody = format!("nobody is a manager where the right is to {right}");
            refused_behind(
                &rule(effect, right).1,
                "principals",
                &[&nobody, "on_behalf_of, approve and revoke"],
            );
        }
        for right in ["on_behalf_of", "approve", "revoke"] {
            assert!(read(&rule(effect, right).0).is_ok(), "{effect} {right}");
        }
    }
}

#[test]
fn an_address_for_other_machines_needs_a_trusted_proxy() {
    let open = format!("{GOOD}[http]\nlisten = \"0.0.0.0:8080\"\n");
    refused(
        &open,
        &[
            "30: ",
            "without TLS",
            "127.0.0.1:8080",
            "trusted_proxy = true",
        ],
    );
    let config = read(&format!("{open}trusted_proxy = true\n")).unwrap();
    assert!(config.http.trusted_proxy);
    assert!(read(&format!("{GOOD}[http]\nlisten = \"[::1]:8080\"\n")).is_ok());
    refused_behind(
        "[http]\nlisten = \"localhost\"\n",
        "listen",
        &["127.0.0.1:8080"],
    );
    refused_behind(
        "[http]\nlisten = \"127.0.0.1:9090\"\n",
        "listen",
        &["listen and observe are both"],
    );
}

#[test]
fn the_environment_wins_over_the_file_and_is_checked_like_it() {
    let folder = Folder::with(GOOD);
    let config = folder
        .read(&[
            ("JIT_LISTEN", "127.0.0.1:0"),
            ("JIT_OBSERVE", "127.0.0.1:0"),
            ("JIT_STORE", "elsewhere.db"),
            ("JIT_AUDIT_CSV", "/tmp/audit_log.csv"),
            ("JIT_LOG_FORMAT", "text"),
        ])
        .unwrap();
    assert_eq!(config.http.listen.port(), 0);
    let file = folder.path("elsewhere.db");
    assert_eq!(config.store, Store::Sqlite { file });
    assert!(config.audit.csv.unwrap().ends_with("audit_log.csv"));
    assert_eq!(config.log.format, LogFormat::Text);

    let told = told(folder.read(&[
        ("JIT_LISTEN", "0.0.0.0:80"),
        ("JIT_TRUSTED_PROXY", "yes"),
        ("JIT_STOER", "x"),
    ]));
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].starts_with("JIT_LISTEN: ") && told[0].contains("without TLS"));
    assert!(told[1].starts_with("JIT_STOER: ") && told[1].contains("JIT_STORE"));
    assert!(told[2].starts_with("JIT_TRUSTED_PROXY: "));
}

const WITH_WEBHOOK: &str = "[pager]\nwebhook = \"https://alerts.example.com/jit\"\n";

fn token_of(config: &Config) -> Option<&str> {
    let token = config.pager.webhook.as_ref()?.token.as_ref()?;
    Some(token.expose_secret())
}

#[test]
fn secrets_come_from_the_environment_dotenv_or_a_file() {
    let folder = Folder::with(&format!("{GOOD}{WITH_WEBHOOK}"));
    assert_eq!(token_of(&folder.read(&[]).unwrap()), None);
    let config = folder.read(&[("JIT_PAGER_TOKEN", "from-process")]).unwrap();
    assert_eq!(token_of(&config), Some("from-process"));

    folder.write("token", "from-file\n");
    let config = folder.read(&[("JIT_PAGER_TOKEN_FILE", "token")]).unwrap();
    assert_eq!(token_of(&config), Some("from-file"));

    folder.write(".env", "# ours\nJIT_PAGER_TOKEN='from$dotenv#1'\nOTHER=x\n");
    let config = folder.read(&[]).unwrap();
    assert_eq!(token_of(&config), Some("from$dotenv#1"));
    let config = folder.read(&[("JIT_PAGER_TOKEN", "from-process")]).unwrap();
    assert_eq!(token_of(&config), Some("from-process"));
    let both = told(folder.read(&[("JIT_PAGER_TOKEN_FILE", "token")]));
    assert!(both[0].contains("both set"), "{both:#?}");
}

#[test]
fn the_webhook_itself_may_come_from_the_environment() {
    let folder = Folder::with(GOOD);
    let config = folder
        .read(&[
            ("JIT_PAGER_WEBHOOK", "https://alerts.example.com/canary"),
            ("JIT_PAGER_TOKEN", "canary"),
        ])
        .unwrap();
    assert_eq!(token_of(&config), Some("canary"));
    assert!(!format!("{config:?}").contains("canary"));
    let told = told(folder.read(&[("JIT_PAGER_TOKEN", "canary")]));
    assert!(told[0].contains("no webhook"), "{told:#?}");
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    for key in ["token", "bearer", "secret", "password", "webhook_token"] {
        let text = format!("{GOOD}{WITH_WEBHOOK}{key} = \"canary\"\n");
        let told = told(read(&text));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains("a secret is never written into the configuration"));
        assert!(told[0].contains("JIT_PAGER_TOKEN"));
        assert!(!told[0].contains("canary"));
    }
    let url = "[pager]\nwebhook = \"https://ana:canary@alerts.example.com/jit\"\n";
    let told = told(read(&format!("{GOOD}{url}")));
    assert!(told[0].contains("JIT_PAGER_TOKEN"), "{told:#?}");
    assert!(!told[0].contains("canary"));
}

#[test]
fn a_secret_that_cannot_be_read_is_told_and_never_shown() {
    let folder = Folder::with(&format!("{GOOD}{WITH_WEBHOOK}"));
    folder.write("empty", "\n");
    folder.write("lines", "canary\ncanary\n");
    for (name, value, expected) in [
        ("JIT_PAGER_TOKEN_FILE", "missing", "cannot be read"),
        ("JIT_PAGER_TOKEN_FILE", "empty", "empty"),
        ("JIT_PAGER_TOKEN_FILE", "lines", "line break"),
        ("JIT_PAGER_TOKEN", "", "empty"),
        ("JIT_PAGER_TOKEN", "canary canary", "space"),
        ("JIT_PAGER_WEBHOOK", "http://canary.example.com", "https://"),
    ] {
        let told = told(folder.read(&[(name, value)]));
        assert!(told[0].contains(expected), "{told:#?}");
        assert!(!told[0].contains("canary"), "{told:#?}");
    }
    folder.write(".env", "JIT_LISTEN=127.0.0.1:1\nJIT_PAGER_TOKEN='canary\n");
    let told = told(folder.read(&[]));
    assert!(told[0].starts_with(".env:Some(2): "), "{told:#?}");
    assert!(!told[0].contains("canary"), "{told:#?}");
}

#[test]
fn the_environment_prints_names_only() {
    let pairs = [("JIT_PAGER_TOKEN".to_owned(), "canary".to_owned())];
    let environment: Environment = pairs.into_iter().collect();
    assert_eq!(format!("{environment:?}"), "{\"JIT_PAGER_TOKEN\"}");
}

#[test]
fn the_digest_changes_with_what_may_be_had_and_with_nothing_else() {
    let digest = |text: &str| read(text).unwrap().digest;
    let same = format!("# A comment.\n{GOOD}[http]\nlisten = \"127.0.0.1:1\"\n");
    assert_eq!(digest(&same), digest(GOOD));
    for (old, new) in [
        ("ttl_max = \"8h\"", "ttl_max = \"9h\""),
        ("approvals = 1", "approvals = 2"),
        ("title = \"Administrators\"", "title = \"Others\""),
        ("aliases = [\"ana\"]", "aliases = [\"an\"]"),
        ("groups = [\"sre\"]", "groups = [\"sre\", \"dba\"]"),
        ("rights = [\"request\"]", "rights = [\"approve\"]"),
    ] {
        assert_ne!(digest(&with(old, new).0), digest(GOOD), "{new}");
    }
}

#[test]
fn a_file_that_is_no_text_is_told_with_the_place_where_it_stops_to_be_one() {
    let folder = Folder::with("");
    std::fs::write(folder.path("jit.toml"), b"[store]\nsqlite = \"\xfft\"").unwrap();
    let told = folder.read(&[]).unwrap_err().to_string();
    assert!(
        told.ends_with("jit.toml:2:11: this is not UTF-8 text; save the file as UTF-8"),
        "{told}"
    );
}

#[test]
fn a_file_that_is_missing_or_too_large_is_unreadable() {
    let folder = Folder::with(&"#".repeat(1_100_000));
    let error = folder.read(&[]).unwrap_err();
    assert!(matches!(error, BadConfig::Unreadable { .. }), "{error}");
    let missing = Config::read(&folder.path("no.toml"), &Environment::default());
    let message = missing.unwrap_err().to_string();
    assert!(
        message.contains("no.toml") && message.contains("jitd init"),
        "{message}"
    );
}

#[test]
fn a_service_is_a_program_that_asks_for_itself() {
    let service = format!("{GOOD}[[service]]\nid = \"prometheus\"\ngroups = [\"sre\"]\n");
    let config = read(&service).unwrap();
    let known = config
        .people
        .iter()
        .find(|it| it.profile.id.as_str() == "prometheus");
    assert_eq!(known.unwrap().profile.kind, PrincipalKind::Service);
    refused(
        &service.replace("id = \"prometheus\"", "id = \"agent:prometheus\""),
        &["does not read as the name of a service"],
    );
    refused(
        &service.replace("id = \"prometheus\"", "id = \"ana\""),
        &["leads to ana@example.com already"],
    );
    let rule = service
        .replace("[\"request\"]", "[\"approve\"]")
        .replace("group:sre", "prometheus");
    refused(
        &rule,
        &[
            "may never approve",
            "programs file requests and nothing else",
        ],
    );
}

#[test]
fn what_is_given_instead_is_given_under_the_same_terms() {
    let more = "[[entitlement]]\nid = \"groupfile/ops\"\ntitle = \"Ops\"\ntier = \"standard\"\n";
    let falls = GOOD.replace(
        "title = \"Administrators\"",
        "title = \"Administrators\"\nfallback = \"groupfile/ops\"",
    );
    let config = read(&format!("{falls}{more}")).unwrap();
    let admins = config
        .catalog
        .get(&"groupfile/admins".parse().unwrap())
        .unwrap();
    assert_eq!(admins.fallback, Some("groupfile/ops".parse().unwrap()));
    refused(&falls, &["there is no entitlement groupfile/ops"]);
    let chain = more.replace("tier =", "fallback = \"groupfile/admins\"\ntier =");
    let told = told(read(&format!("{falls}{chain}")));
    assert!(
        told.iter().any(|it| it.contains("falls back itself")),
        "{told:#?}"
    );
    let tiers =
        "[[tier]]\nname = \"high\"\nttl_default = \"1h\"\nttl_max = \"1h\"\napprovals = 2\n";
    let higher = more.replace("tier = \"standard\"", "tier = \"high\"");
    refused(
        &format!("{falls}{higher}{tiers}"),
        &["is of tier high, and this of standard"],
    );
}
