//! `jitd slack`: the manifest before there is a token, and the check against a workspace.

use std::path::PathBuf;
use std::process::{Command, Output};

use jit_runtime::config::TEMPLATE;
use serde_json::{Value, json};
use slack_sim::{Mode, Signature, SlackSim, Workspace};
use tempfile::TempDir;

use crate::house::{ANA, CHANNEL, House};
use crate::process::{fetch, jitd, ran, text, until};

/// A folder with a configuration that has a workspace: people, a rule for a user group, a route.
fn house(api: &str, channel: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jit.toml");
    let config = format!(
        r#"{TEMPLATE}
[[person]]
id = "zoe@example.com"
slack = "U0ANA"

[[person]]
id = "gone@example.com"
slack = "U0GONE"
active = false

[[rule]]
name = "officers approve"
effect = "allow"
rights = ["approve"]
entitlements = ["*"]
principals = ["group:slack:S0OFFICERS"]

[slack]
api = "{api}"

[[slack.route]]
entitlements = "*"
channel = "{channel}"

[slack.commands]
jit = "/access"
"#
    );
    std::fs::write(&file, config).unwrap();
    (folder, file)
}

fn slack(file: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = jitd(&["slack"]);
    command.args(arguments).arg("--config").arg(file);
    command
}

/// Runs it while the workspace is served.
async fn said(mut command: Command, slack: &SlackSim, bot_token: &str) -> Output {
    command
        .env("JIT_SLACK_BOT_TOKEN", bot_token)
        .env("JIT_SLACK_APP_TOKEN", slack.app_token());
    tokio::task::spawn_blocking(move || ran(command))
        .await
        .unwrap()
}

#[test]
fn the_manifest_is_printed_before_there_is_anything_else() {
    let made = ran(jitd(&["slack", "manifest"]));
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made["features"]["slash_commands"][0]["command"], "/jit");
    assert_eq!(made["settings"]["socket_mode_enabled"], true);
}

#[test]
fn the_manifest_has_the_commands_of_the_configuration_and_needs_no_token() {
    let (_folder, file) = house("https://slack.com/api", "C0SEC");
    let made = ran(slack(
        &file,
        &["manifest", "--http", "https://jit.example.com/"],
    ));
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let command = &made["features"]["slash_commands"][0];
    assert_eq!(command["command"], "/access");
    assert_eq!(command["url"], "https://jit.example.com/slack/command");
    let bad = ran(jitd(&[
        "slack",
        "manifest",
        "--http",
        "http://jit.example.com",
    ]));
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("https://jit.example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_workspace_is_said_to_be_sound() {
    let workspace = SlackSim::start(Workspace::example()).await;
    let (_folder, file) = house(&workspace.api_url(), "C0SEC");
    let ran = said(slack(&file, &["check"]), &workspace, workspace.bot_token()).await;
    let out = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{out}{}", text(&ran.stderr));
    assert!(out.lines().all(|it| !it.starts_with("WRONG")), "{out}");
    assert!(out.contains("user group S0OFFICERS"), "{out}");
    assert!(out.contains("zoe@example.com"), "{out}");
    assert!(!out.contains("gone@example.com"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_the_fix_and_exit_code_1() {
    let workspace = SlackSim::start(Workspace::example().without_scope("im:write")).await;
    let (_folder, file) = house(&workspace.api_url(), "C0RANDOM");
    let ran = said(slack(&file, &["check"]), &workspace, workspace.bot_token()).await;
    let out = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(1), "{out}{}", text(&ran.stderr));
    let wrong: Vec<&str> = out.lines().filter(|it| it.starts_with("WRONG")).collect();
    assert_eq!(wrong.len(), 2, "{out}");
    assert!(
        wrong[0].contains("im:write") && wrong[0].contains("install the app again"),
        "{out}"
    );
    assert!(
        wrong[1].contains("#random") && wrong[1].contains("/invite @jit"),
        "{out}"
    );
    assert!(out.ends_with("2 things to mend\n"), "{out}");
    let ran = said(
        slack(&file, &["check", "--json"]),
        &workspace,
        "xoxb-of-another-life",
    )
    .await;
    assert_eq!(ran.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(found["sound"], false);
    assert_eq!(
        found["findings"][0]["what"],
        "bot token: Slack says invalid_auth"
    );
    let told = format!("{}{}", text(&ran.stdout), text(&ran.stderr));
    for secret in ["xoxb-of-another-life", workspace.app_token()] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_a_daemon_that_slack_calls_acknowledges_what_slack_signed_and_nothing_else() {
    let house = House::new(1).await;
    house.is_called();
    let (_process, served) = house.served();
    let base_url = served.api;
    house.slack.mode(Mode::Http { base_url });
    let ana = house.slack.user(ANA);
    let typed = ana.slash("/jit", "list").in_channel(CHANNEL);
    assert!(typed.await.acked(), "{:?}", house.slack.seen_errors());
    let told = |it: &slack_sim::Message| it.ephemeral && it.words().contains("asked for nothing");
    house.slack.wait_for(&ana, CHANNEL, told).await;
    let payload = json!({
        "command": "/jit", "text": "list", "user_id": ANA, "team_id": house.slack.team(),
        "channel_id": CHANNEL, "trigger_id": "1.2.3",
    });
    let post = house.slack.post_of("slash_commands", payload);
    for bad in [Signature::Forged, Signature::Missing] {
        let reply = house.slack.post(&post, bad).await.unwrap();
        assert_eq!(reply.status, 401, "{bad:?}");
    }
    // There is no connection to say anything of.
    let (status, ready) = fetch("GET", &format!("{}/ready", served.observe), "");
    assert_eq!((status, ready.as_str()), (200, r#"{"status":"ready"}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_a_daemon_sees_whether_slack_is_connected_to() {
    let house = House::new(1).await;
    let (_process, served) = house.served();
    let ready = || {
        let url = format!("{}/ready", served.observe);
        let asked = tokio::task::spawn_blocking(move || fetch("GET", &url, ""));
        async move {
            let (status, said) = asked.await.unwrap();
            assert_eq!(status, 200, "what it needs to work is there: {said}");
            said
        }
    };
    until("it is connected", async || {
        ready().await == r#"{"status":"ready","slack":"connected"}"#
    })
    .await;
    house.slack.refuse_sockets(slack_sim::Switch::On);
    house.slack.cut_sockets();
    until("it is not connected", async || {
        ready().await == r#"{"status":"ready","slack":"not connected"}"#
    })
    .await;
}
