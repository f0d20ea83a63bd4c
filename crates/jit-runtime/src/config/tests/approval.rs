//! What the file and the variables say of the approval service, and of what makes credentials.

use jit_core::catalog::Entitlement;
use jit_core::policy::Tier;

use super::*;

const PRESET: &str = include_str!("../../../../../docs/examples/approval-service.toml");

const APP_ROLE: [(&str, &str); 2] = [("VAULT_ROLE_ID", "role"), ("VAULT_SECRET_ID", "secret")];
const KEY: (&str, &str) = ("JIT_API_KEY", "a-key-that-is-long-enough");

/// The variables alone, for what the preset says.
const ALONE: [(&str, &str); 6] = [
    ("VAULT_ADDR", "https://vault.example.com:8200"),
    ("GRAFANA_URL", "https://grafana.example.com"),
    ("HA_URL", "https://homeassistant.example.com"),
    ("INFLUXDB_URL", "https://influxdb.example.com"),
    ("LISTEN_ADDR", "127.0.0.1:8080"),
    KEY,
];

/// [`GOOD`] with a program that asks, and a Vault and a Grafana.
const SERVICE: &str = "[approval_service]
requesters = [\"prometheus\"]
resources = { grafana = \"grafana/read\", radarr = \"vault/radarr\" }
[[service]]
id = \"prometheus\"
[[rule]]
name = \"services ask\"
rights = [\"request\"]
entitlements = [\"*\"]
principals = [\"prometheus\"]
[[provider]]
name = \"vault\"
kind = \"vault\"
address = \"https://vault.example.com:8200\"
[[provider]]
name = \"grafana\"
kind = \"grafana\"
address = \"https://grafana.example.com\"
secret = \"homelab/data/docker/grafana\"
[[entitlement]]
id = \"vault/radarr\"
title = \"Radarr\"
tier = \"standard\"
resource = \"jit-radarr@jit\"
[[entitlement]]
id = \"grafana/read\"
title = \"Grafana\"
tier = \"standard\"
resource = \"service_account\"
fallback = \"vault/radarr\"
";

const BOT: [(&str, &str); 2] = [
    ("TELEGRAM_BOT_TOKEN", "123456:a-token-of-a-bot"),
    ("TELEGRAM_WEBHOOK_SECRET", "a-secret-of-a-webhook"),
];

fn preset() -> Config {
    let variables = [&APP_ROLE[..], &BOT, &[KEY]].concat();
    Folder::with(PRESET).read(&variables).unwrap()
}

fn with_key(text: &str) -> Result<Config, BadConfig> {
    Folder::with(text).read(&[&APP_ROLE[..], &[KEY]].concat())
}

/// The variables alone, some of them set otherwise; an empty folder around them.
fn alone(more: &[(&str, &str)]) -> Result<Config, BadConfig> {
    let mut pairs: BTreeMap<&str, &str> = ALONE.into_iter().chain(APP_ROLE).collect();
    pairs.extend(more.iter().copied());
    let pairs = pairs.into_iter();
    let environment = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Config::read(Path::new(USUAL_FILE), &environment)
}

/// The one problem of [`SERVICE`] with one text in place of another; it is told where it is.
#[track_caller]
fn refused_in_service(old: &str, new: &str, expected: &[&str]) {
    assert_eq!(SERVICE.matches(old).count(), 1, "{old:?} is not there once");
    let text = format!("{GOOD}{}", SERVICE.replace(old, new));
    let told = told(with_key(&text));
    assert_eq!(told.len(), 1, "{told:#?}");
    for part in expected {
        assert!(told[0].contains(part), "{part:?} is not in {:?}", told[0]);
    }
    let line: usize = told[0].split(':').next().unwrap().parse().unwrap();
    assert!(line > GOOD.lines().count(), "{told:?}");
}

#[test]
fn the_preset_is_a_configuration_that_works() {
    let config = preset();
    let approval = config.approval.unwrap();
    assert_eq!(approval.resources.len(), 12);
    assert_eq!(approval.keys.len(), 1);
    assert_eq!(approval.short_keys, 0);
    assert_eq!(config.log.format, LogFormat::Events);
    assert_eq!(config.origin, Origin::File);
    let homeassistant = &approval.resources["homeassistant"];
    assert_eq!(homeassistant.as_str(), "homeassistant/access_token");
}

#[test]
fn e4_the_variables_alone_are_the_preset() {
    let preset = preset();
    let chat = ("TELEGRAM_CHAT_ID", "123456789");
    let variables = alone(&[BOT[0], BOT[1], chat]).unwrap();
    let tiers = |config: &Config| -> Vec<Tier> { config.policy.tiers().cloned().collect() };
    assert_eq!(tiers(&variables), tiers(&preset));
    let catalog = |config: &Config| -> BTreeMap<EntitlementId, Entitlement> {
        let all = config.catalog.iter();
        all.map(|it| (it.id.clone(), it.clone())).collect()
    };
    assert_eq!(catalog(&variables), catalog(&preset));
    let approval = |config: &Config| config.approval.clone().unwrap();
    let (ours, theirs) = (approval(&variables), approval(&preset));
    assert_eq!(ours.resources, theirs.resources);
    assert_eq!(ours.requesters, theirs.requesters);
    let chat = |config: &Config| config.telegram.as_ref().unwrap().chat;
    assert_eq!(chat(&variables), chat(&preset));
    assert_eq!(variables.http.listen, preset.http.listen);
    let kinds = |config: &Config| -> Vec<String> {
        let all = config.providers.iter();
        let mut all: Vec<String> = all.map(|it| format!("{it:?}")).collect();
        all.sort();
        all
    };
    assert_eq!(kinds(&variables), kinds(&preset));
}

#[test]
fn e9_a_service_whose_address_is_empty_is_off() {
    let config = alone(&[("GRAFANA_URL", ""), ("HA_URL", " ")]).unwrap();
    let resources = config.approval.unwrap().resources;
    assert_eq!(resources["grafana"].as_str(), "vault/grafana");
    assert_eq!(resources["homeassistant"].as_str(), "vault/homeassistant");
    assert_eq!(resources["influxdb"].as_str(), "influxdb/buckets");
    assert_eq!(config.providers.len(), 2);
}

#[test]
fn e11_the_timeout_is_the_decision_window_of_every_tier() {
    let config = alone(&[("REQUEST_TIMEOUT", "90")]).unwrap();
    for tier in config.policy.tiers() {
        assert_eq!(tier.decision_window.as_secs(), 90, "{}", tier.name.as_str());
    }
}

#[test]
fn what_a_variable_cannot_mean_is_told_by_its_name() {
    for (name, value) in [
        ("REQUEST_TIMEOUT", "0"),
        ("REQUEST_TIMEOUT", "86401"),
        ("REQUEST_TIMEOUT", "soon"),
        ("LISTEN_ADDR", ":"),
        ("VAULT_ADDR", ""),
        ("VAULT_ADDR", "https://vault.example.com/v1?x=1"),
        ("TELEGRAM_CHAT_ID", "ops"),
        ("TELEGRAM_APPROVER_IDS", "1,two"),
        ("ALLOWED_REQUESTERS", "prometheus,\ngrafana"),
        ("JIT_STATE_DIR", "/da\u{7f}ta"),
        ("ALLOWED_REQUESTERS", "group:ops"),
        ("INFLUXDB_URL", "influxdb"),
    ] {
        let told = told(alone(&[(name, value)]));
        assert_eq!(told.len(), 1, "{name}={value}: {told:#?}");
        assert!(told[0].starts_with(&format!("{name}: ")), "{told:?}");
    }
}

#[test]
fn what_a_variable_of_the_chat_cannot_mean_is_told_by_its_name() {
    for (name, value) in [
        ("TELEGRAM_CHAT_ID", "0"),
        ("TELEGRAM_APPROVER_IDS", "1,18446744073709551615"),
        ("TELEGRAM_API_URL", "http://api.telegram.org"),
    ] {
        let chat = ("TELEGRAM_CHAT_ID", "123456789");
        let told = told(alone(&[BOT[0], BOT[1], chat, (name, value)]));
        assert_eq!(told.len(), 1, "{name}={value}: {told:#?}");
        assert!(told[0].starts_with(&format!("{name}: ")), "{told:?}");
    }
}

#[test]
fn a_service_that_lacks_a_variable_is_told_which() {
    let read = |variables: &[(&str, &str)]| {
        let pairs = variables.iter();
        let environment = pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::read(Path::new(USUAL_FILE), &environment)
    };
    let vault = ("VAULT_ADDR", "https://vault.example.com:8200");
    for (variables, missing) in [
        (&[vault][..], "JIT_API_KEY: "),
        (&[KEY], "VAULT_ADDR: "),
        (&[vault, KEY, APP_ROLE[0]], "VAULT_SECRET_ID: "),
        (&[vault, KEY, APP_ROLE[1]], "VAULT_ROLE_ID: "),
    ] {
        let told = told(read(variables));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].starts_with(missing), "{told:?}");
    }
    assert!(matches!(read(&[]), Err(BadConfig::Unreadable { .. })));
}

#[test]
fn mistakes_in_the_table_are_told_with_their_line() {
    assert!(with_key(&format!("{GOOD}{SERVICE}")).is_ok());
    refused_in_service(
        "requesters = [\"prometheus\"]\n",
        "",
        &["requesters = [\"prometheus\"]"],
    );
    refused_in_service(
        "requesters = [\"prometheus\"]",
        "requesters = [\"prometeus\"]",
        &["prometeus"],
    );
    refused_in_service(
        "grafana = \"grafana/read\"",
        "grafana = \"grafana/raed\"",
        &["grafana/raed", "grafana/read"],
    );
    refused_in_service(
        "radarr = \"vault/radarr\"",
        "\"Radarr!\" = \"vault/radarr\"",
        &["\"Radarr!\" is not the name of a resource"],
    );
    refused_in_service(
        "fallback = \"vault/radarr\"",
        "fallback = \"vault/sonarr\"",
        &["vault/sonarr"],
    );
}

#[test]
fn a_table_without_a_key_and_a_key_without_a_table_are_refused() {
    let text = format!("{GOOD}{SERVICE}");
    let problems = told(Folder::with(&text).read(&APP_ROLE));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("nobody could file anything"));
    let problems = told(Folder::with(GOOD).read(&[KEY]));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with("JIT_API_KEY: "), "{problems:?}");
}

#[test]
fn what_is_not_encrypted_is_meant_or_refused() {
    refused_in_service(
        "\"https://grafana.example.com\"",
        "\"http://grafana.example.com\"",
        &["not encrypted", "plain_http = true"],
    );
    let meant = SERVICE.replace(
        "\"https://grafana.example.com\"",
        "\"http://grafana.example.com\"\nplain_http = true",
    );
    assert!(with_key(&format!("{GOOD}{meant}")).is_ok());
}

#[test]
fn there_is_one_vault_and_it_comes_before_what_it_opens() {
    let (before, vault) = SERVICE
        .split_once("[[provider]]\nname = \"vault\"")
        .unwrap();
    let (vault, after) = vault.split_once("[[provider]]").unwrap();
    let vault = format!("[[provider]]\nname = \"vault\"{vault}");
    let late = format!("{GOOD}{before}[[provider]]{after}{vault}");
    let problems = told(with_key(&late));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("nobody keeps what opens the door of grafana"));
    let second = vault.replace("name = \"vault\"", "name = \"other\"");
    let problems = told(with_key(&format!("{GOOD}{SERVICE}{second}")));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("there is a Vault already"));
}

/// What is wrong with the Vault is told once, and not of each service behind it.
#[test]
fn a_vault_that_cannot_be_opened_is_one_problem() {
    let text = format!("{GOOD}{SERVICE}");
    let problems = told(Folder::with(&text).read(&[KEY, APP_ROLE[0]]));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("there is no AppRole"), "{problems:?}");
    let both = [
        KEY,
        APP_ROLE[0],
        APP_ROLE[1],
        ("JIT_VAULT_WRAPPED_SECRET_ID", "hvs.wrapping"),
    ];
    let problems = told(Folder::with(&text).read(&both));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("keep one of them"), "{problems:?}");
    let empty = [KEY, ("VAULT_ROLE_ID", ""), APP_ROLE[1]];
    let problems = told(Folder::with(&text).read(&empty));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("it is empty"), "{problems:?}");
}

#[test]
fn each_requester_may_have_a_key_of_its_own() {
    let text = format!("{GOOD}{SERVICE}");
    let read = |keys: &str| {
        let folder = Folder::with(&text);
        folder.write("keys", keys);
        folder.read(&[&APP_ROLE[..], &[("JIT_API_KEYS_FILE", "keys")]].concat())
    };
    let approval = read("# ours\nprometheus=one-key-of-two-00\nprometheus = two\n");
    let approval = approval.unwrap().approval.unwrap();
    assert_eq!((approval.keys.len(), approval.short_keys), (2, 1));
    for (keys, expected) in [
        ("", "holds no key"),
        ("prometheus", "line 1 of"),
        ("prometheus=", "line 1 of"),
        ("prometheus=a b", "line 1 of"),
        (
            "stranger=a-key-of-a-stranger",
            "stranger has a key and may not file",
        ),
    ] {
        let problems = told(read(keys));
        assert!(
            problems[0].starts_with("JIT_API_KEYS_FILE: ") && problems[0].contains(expected),
            "{keys:?}: {problems:?}"
        );
        assert!(!problems[0].contains("a-key-of"), "{problems:?}");
    }
}

#[test]
fn a_key_that_everybody_has_is_one_or_two() {
    let text = format!("{GOOD}{SERVICE}");
    let keys = |keys: &str| {
        let variables = [&APP_ROLE[..], &[("JIT_API_KEY", keys)]].concat();
        Folder::with(&text).read(&variables)
    };
    let approval = keys("the-first-key-of-two,short")
        .unwrap()
        .approval
        .unwrap();
    assert_eq!((approval.keys.len(), approval.short_keys), (2, 1));
    for wrong in ["a,b,c", "a,", ",", "", "a b"] {
        let problems = told(keys(wrong));
        assert!(problems[0].starts_with("JIT_API_KEY: "), "{problems:?}");
    }
}

#[test]
fn only_services_come_with_keys_and_only_for_credentials() {
    refused_in_service(
        "requesters = [\"prometheus\"]",
        "requesters = [\"ana@example.com\"]",
        &["ana@example.com is no service", "[[service]]"],
    );
    refused_in_service(
        "radarr = \"vault/radarr\"",
        "radarr = \"groupfile/admins\"",
        &["groupfile/admins is no credential"],
    );
}

#[test]
fn a_key_that_two_requesters_have_is_refused() {
    let service = SERVICE.replace("[\"prometheus\"]", "[\"prometheus\", \"grafana\"]");
    let text = format!("{GOOD}{service}[[service]]\nid = \"grafana\"\n");
    let folder = Folder::with(&text);
    let keys = ("JIT_API_KEYS_FILE", "keys");
    folder.write(
        "keys",
        "# each their own\nprometheus=key-one\nprometheus=key-two\ngrafana=key-three\n",
    );
    assert!(folder.read(&[&APP_ROLE[..], &[keys]].concat()).is_ok());
    folder.write("keys", "prometheus=key-one\ngrafana=key-one\n");
    let problems = told(folder.read(&[&APP_ROLE[..], &[keys]].concat()));
    assert!(
        problems.len() == 1 && problems[0].contains("line 2"),
        "{problems:#?}"
    );
    assert!(!problems[0].contains("key-one"), "{problems:#?}");
}
