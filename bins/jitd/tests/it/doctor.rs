//! `jit doctor` on the presets, each beside the servers of its kind; and with what opens their doors
//! wrong. No secret is ever printed.

use std::process::Command;

use serde_json::Value;

use crate::agents::House as Agents;
use crate::approval::house::{GRAFANA_ADMIN, House as Approval, KEY, REFRESH_TOKEN, ROLE_ID};
use crate::aws::House as Aws;
use crate::okta::House as Okta;
use crate::process::{program, ran, read, text};
use crate::telegram::{By, House as Telegram};

/// What it found.
struct Found(Vec<Value>);

impl Found {
    /// The first line of this area that holds these words.
    fn line(&self, area: &str, words: &str) -> &Value {
        let found =
            |it: &&Value| it["area"] == area && it["found"].as_str().unwrap().contains(words);
        let line = self.0.iter().find(found);
        line.unwrap_or_else(|| panic!("{area}, {words}: {:#?}", self.0))
    }

    fn is_ok(&self, area: &str, words: &str) {
        assert_eq!(self.line(area, words)["verdict"], "ok");
    }

    /// It failed, and says what to do.
    fn is_wrong(&self, area: &str, words: &str, fix: &str) {
        let line = self.line(area, words);
        assert_eq!(line["verdict"], "fail", "{line}");
        assert!(line["fix"].as_str().unwrap().contains(fix), "{line}");
    }

    fn holds_none_of(&self, secrets: &[&str]) {
        let printed = format!("{:?}", self.0);
        for secret in secrets {
            assert!(!printed.contains(secret), "{secret}: {printed}");
        }
    }
}

/// Runs it to its end, which must be this one.
fn doctor(command: impl FnOnce(Command) -> Command, code: i32) -> Found {
    let said = ran(command(program("jit", &["--json", "doctor"])));
    let (out, err) = (text(&said.stdout), text(&said.stderr));
    assert_eq!(said.status.code(), Some(code), "{out}{err}");
    assert!(!err.contains("canary"), "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    Found(answer["checks"].as_array().unwrap().clone())
}

/// The same with one variable more, whose value opens nothing and is never printed.
fn with(command: impl FnOnce(Command) -> Command, name: &str, value: &str) -> Found {
    assert!(value.contains("canary"));
    let set = |it| {
        let mut command = command(it);
        command.env(name, value);
        command
    };
    let found = doctor(set, 1);
    found.holds_none_of(&["canary"]);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preset_for_okta_is_well_and_a_wrong_token_is_not() {
    let house = Okta::new(&[]).await;
    let found = doctor(|it| house.command(it), 0);
    found.is_ok("okta", "entitlement");
    found.is_ok("clock", "this host agrees with okta");
    found.is_ok("slack", "bot");
    let found = with(|it| house.command(it), "JIT_OKTA_TOKEN", "wrong-canary-01");
    found.is_wrong("okta", "okta could not", "credentials");
    found.is_wrong("people", "okta could not", "credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preset_for_aws_is_well_and_a_wrong_key_is_not() {
    let house = Aws::new(None).await;
    let found = doctor(|it| house.command(it), 0);
    found.is_ok("store", "is there and ours");
    found.is_ok("aws", "offered");
    found.is_ok("clock", "this host agrees with aws");
    let secret = "AWS_SECRET_ACCESS_KEY";
    let found = with(|it| house.command(it), secret, "wrong-canary-01");
    found.is_wrong("aws", "identity-center could not", "credentials");
    let config = read(&house.config());
    let elsewhere = config.replace("dynamodb = \"jit\"", "dynamodb = \"elsewhere\"");
    std::fs::write(house.config(), elsewhere).unwrap();
    let found = doctor(|it| house.command(it), 1);
    found.is_wrong("store", "elsewhere", "create-table");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preset_for_agents_is_well_and_a_wrong_key_is_not() {
    let house = Agents::new().await;
    let found = doctor(|it| house.command(it), 0);
    found.is_ok("tools", "2 entitlements looked at");
    found.is_ok("aws", "1 entitlement");
    found.is_ok("clock", "this host agrees with aws");
    found.is_ok("slack", "bot");
    let secret = "AWS_SECRET_ACCESS_KEY";
    let found = with(|it| house.command(it), secret, "wrong-canary-01");
    found.is_wrong("aws", "iam could not", "credentials");
    let token = "JIT_SLACK_BOT_TOKEN";
    let found = with(|it| house.command(it), token, "xoxb-wrong-canary-01");
    found.is_wrong("slack", "", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preset_for_the_approval_service_is_well() {
    let chat = telegram_sim::Sim::start().unwrap();
    let house = Approval::with_preset(&chat).await;
    let found = doctor(|it| house.command(it), 0);
    found.is_ok("vault", "12 entitlements looked at as jitd does");
    for area in ["grafana", "influxdb", "homeassistant"] {
        found.is_ok(area, "1 entitlement looked at as jitd does");
    }
    found.is_ok("telegram", "token is good");
    found.holds_none_of(&[telegram_sim::TOKEN, ROLE_ID, &house.secret_id, KEY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_but_its_variables_the_approval_service_lacks_a_chat_and_no_folder_is_made() {
    let house = Approval::new().await;
    let found = doctor(|it| house.command(it), 1);
    found.is_ok("config", "the environment is sound");
    found.is_ok("vault", "looked at as jitd does");
    let mut failed = found.0.iter().filter(|it| it["verdict"] == "fail");
    assert!(failed.all(|it| it["area"] == "policy"), "{:#?}", found.0);
    let nobody = "vault/gitlab needs 1 to approve it, and 0 may";
    found.is_wrong("policy", nobody, "let more people approve");
    // Of what is wrong in the same way with each of 15 three are named.
    let is_alike = |it: &&Value| it["found"].as_str().unwrap().contains("nobody may revoke");
    assert_eq!(found.0.iter().filter(is_alike).count(), 3);
    let more = found.line("policy", "12 more are wrong in the same way");
    assert!(more["fix"].as_str().unwrap().contains("jit policy lint"));
    let store = found.line("store", "data/jit.db yet");
    assert_eq!(store["verdict"], "warn", "jitd makes the folder: {store}");
    assert!(!house.folder.path().join("data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_sealed_or_refuses_us_and_a_service_that_is_gone_are_told() {
    let mut house = Approval::with_file(60).await;
    let found = doctor(|it| house.command(it), 0);
    for area in ["vault", "grafana", "influxdb", "homeassistant"] {
        found.is_ok(area, "looked at as jitd does");
        found.is_ok("clock", &format!("agrees with {area}"));
    }
    found.holds_none_of(&[GRAFANA_ADMIN, REFRESH_TOKEN, ROLE_ID, &house.secret_id]);
    house
        .vault
        .world()
        .delete_secret("homelab/data/docker/grafana");
    let found = doctor(|it| house.command(it), 1);
    found.is_wrong(
        "grafana",
        "what opens it, at homelab/data/docker/grafana",
        "make it there",
    );
    found.is_ok("influxdb", "looked at as jitd does");
    let gone = read(&house.folder.path().join("jit.toml"))
        .replace(house.home_assistant.url(), "http://127.0.0.1:9");
    std::fs::write(house.folder.path().join("jit.toml"), gone).unwrap();
    let found = doctor(|it| house.command(it), 1);
    found.is_wrong("homeassistant", "it cannot be reached", "network");
    house.set("VAULT_SECRET_ID", "wrong-canary-08");
    let found = doctor(|it| house.command(it), 1);
    found.is_wrong("vault", "no token could be had to call Vault with", "");
    found.holds_none_of(&["canary"]);
    house.vault.world().set_health(vault_sim::Health::Sealed);
    let found = doctor(|it| house.command(it), 1);
    found.is_wrong("vault", "the Vault is sealed", "unseal it");
    found.is_wrong("influxdb", "the Vault is sealed", "unseal it");
    found.holds_none_of(&["canary"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_id_that_can_be_had_once_is_left_to_the_daemon() {
    let mut house = Approval::with_file(60).await;
    house.unset("VAULT_SECRET_ID");
    house.set("JIT_VAULT_WRAPPED_SECRET_ID", "hvs.wrapped-canary-09");
    let found = doctor(|it| house.command(it), 0);
    for area in ["vault", "grafana", "influxdb", "homeassistant"] {
        let line = found.line(area, "opened once: that is left to jitd");
        assert_eq!(line["verdict"], "warn", "{line}");
    }
    found.holds_none_of(&["canary"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_in_telegram_is_well_and_a_wrong_token_is_not() {
    let house = Telegram::new(By::Poll, "4h");
    let found = doctor(|it| house.command(it), 0);
    found.is_ok("telegram", "token is good");
    let token = "JIT_TELEGRAM_BOT_TOKEN";
    let found = with(|it| house.command(it), token, "12345678:wrong-canary-01");
    found.is_wrong("telegram", "telegram could not", "@BotFather");
}
