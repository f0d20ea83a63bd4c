//! The demonstration succeeds if the access really came and went, and at nothing less.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::ports::{GrantCall, InspectCall, PortError, Provisioner, RevokeCall};
use jit_core::provider::{Answer, Presence};
use jit_testkit::front::{Front, Meddle};
use jitd::demo::{Script, Stage, play_on};

use serde_json::{Value, json};

use crate::process::{Process, fetch, jitd, ran, read, text, until};

#[test]
fn the_played_demonstration_ends_with_the_line_that_proves_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = jitd(&["demo", "--play", "--ttl", "3s"]);
    command.env("TMPDIR", folder.path());
    let played = ran(command);
    let (out, errors) = (text(&played.stdout), text(&played.stderr));
    assert!(played.status.success(), "{out}\n{errors}");
    let last = out.lines().last().unwrap();
    let rest = last.strip_prefix("demo: access granted, revoked ").unwrap();
    let (late, rest) = rest
        .split_once(" ms after expiry, audit verified (")
        .unwrap();
    let events = rest.strip_suffix(" events)").unwrap();
    assert!(late.parse::<u64>().unwrap() < 30_000, "{last}");
    assert!(events.parse::<u64>().unwrap() >= 11, "{last}");
    assert_eq!(
        out.matches("    admins: root-oncall\n").count(),
        2,
        "before and after: {out}"
    );
    assert_eq!(
        out.matches("    admins: root-oncall ana\n").count(),
        1,
        "{out}"
    );
    assert!(out.contains("Bob clicks Approve on the card"), "{out}");
    assert!(
        !out.contains("jit_") && !out.contains("xoxb"),
        "no token is printed"
    );
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "the folder is removed");
}

#[test]
fn the_served_demonstration_says_what_to_type_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = jitd(&["demo"]);
    command.env("TMPDIR", folder.path());
    let mut served = Process::start(command);
    let file = served.hears("  cat ").trim().replace("cat ", "");
    let typed = served.hears(" request groupfile/admins ");
    assert!(
        typed
            .trim_start()
            .starts_with("cargo run -q -p jit -- --server http://127.0.0.1:")
    );
    assert!(typed.ends_with(" --ttl 2m --wait"));
    served.hears("What Bob types");
    served.hears("simulated Slack workspace");
    served.hears("  http://127.0.0.1:");
    assert!(read(Path::new(&file)).contains("admins: root-oncall\n"));
    let house = Path::new(&file).parent().unwrap();
    for person in ["ana", "bob", "carol"] {
        use std::os::unix::fs::PermissionsExt;
        let token = std::fs::metadata(house.join(format!("{person}.token")));
        assert_eq!(token.unwrap().permissions().mode() & 0o777, 0o600);
    }
    served.signal("INT");
    assert_eq!(served.ends(), Some(0), "{:#?}", served.heard);
    assert!(!house.exists());
}

/// What somebody in the workspace sees.
fn screen(page: &str, who: &str) -> Value {
    let (status, body) = fetch("GET", &format!("{page}control/users/{who}"), "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Does something in the workspace, as its page does.
fn act(page: &str, who: &str, deed: &str, what: &Value) {
    let url = format!("{page}control/users/{who}/{deed}");
    let (status, body) = fetch("POST", &url, &what.to_string());
    assert_eq!(status, 200, "{deed} {what}: {body}");
}

#[tokio::test]
async fn the_served_demonstration_opens_a_workspace_where_an_ask_reaches_the_group_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = jitd(&["demo"]);
    command.env("TMPDIR", folder.path());
    let mut served = Process::start(command);
    let file = served.hears("  cat ").trim().replace("cat ", "");
    served.hears("simulated Slack workspace");
    let page = served.hears("  http://127.0.0.1:").trim().to_owned();
    let (status, shown) = fetch("GET", &page, "");
    assert_eq!(status, 200);
    assert!(shown.contains("<title>Simulated Slack</title>"), "{shown}");
    until("the service is connected", async || {
        screen(&page, "U0ANA")["connections"] != 0
    })
    .await;
    let typed = json!({"channel": "C0ACCESS", "command": "/jit", "text": ""});
    act(&page, "U0ANA", "slash", &typed);
    let modals = |needle: &str| {
        screen(&page, "U0ANA")["modals"]
            .to_string()
            .contains(needle)
    };
    until("the form is open", async || modals("Request access")).await;
    let picked = json!({"field": "target", "value": "groupfile/admins"});
    act(&page, "U0ANA", "modal_pick", &picked);
    until("the form shows the terms", async || modals("policy")).await;
    let reason = json!({"field": "reason", "text": "the front page is broken"});
    act(&page, "U0ANA", "modal_fill", &reason);
    act(&page, "U0ANA", "modal_submit", &json!({}));
    let mut card = Value::Null;
    until("Bob sees the card", async || {
        let seen = screen(&page, "U0BOB");
        let messages = seen["channels"][0]["messages"].as_array().unwrap();
        let found = messages
            .iter()
            .find(|it| it["blocks"].to_string().contains("jit_approve"));
        card = found.cloned().unwrap_or_default();
        found.is_some()
    })
    .await;
    let approve = json!({"channel": "C0ACCESS", "ts": card["ts"], "action": "jit_approve"});
    act(&page, "U0BOB", "click", &approve);
    until("the access is there", async || {
        read(Path::new(&file)).contains("admins: root-oncall ana\n")
    })
    .await;
    served.hears("groupfile/admins is there until");
    let all = served.heard.join("\n");
    assert!(!all.contains("xoxb-") && !all.contains("xapp-"), "{all}");
    served.signal("INT");
    assert_eq!(served.ends(), Some(0), "{:#?}", served.heard);
    assert!(!Path::new(&file).exists());
}

/// How a provider lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// It says that it granted, shows it, and did nothing.
    Granted,
    /// It says that it revoked, shows it, and did nothing.
    Revoked,
}

struct Liar {
    real: Arc<dyn Provisioner>,
    lie: Lie,
    revoked: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Meddle for Liar {
    fn behind(&self) -> &dyn Provisioner {
        &*self.real
    }
    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        match self.lie {
            Lie::Granted => Ok(Answer::Applied),
            Lie::Revoked => self.real.grant(call).await,
        }
    }
    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.revoked
            .store(true, std::sync::atomic::Ordering::SeqCst);
        match self.lie {
            Lie::Granted => self.real.revoke(call).await,
            Lie::Revoked => Ok(Answer::Applied),
        }
    }
    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        match self.revoked.load(std::sync::atomic::Ordering::SeqCst) {
            true => Ok(Presence::Absent),
            false => self.real.inspect(call).await,
        }
    }
}

/// What the demonstration says where the provider lies; the record believes it both times.
async fn played_with(lie: Lie) -> String {
    let stage = Stage::set().await.unwrap();
    let mut adapters = stage.adapters().await.unwrap();
    for provisioner in adapters.provisioners.values_mut() {
        *provisioner = Arc::new(Front(Liar {
            real: Arc::clone(provisioner),
            lie,
            revoked: false.into(),
        }));
    }
    let script = Script {
        ttl: "2s".parse().unwrap(),
        gone_within: Duration::from_secs(2),
    };
    let house = stage.groups().parent().unwrap().to_owned();
    let mut out = Vec::new();
    let failed = play_on(stage, adapters, script, &mut out)
        .await
        .unwrap_err();
    assert!(!text(&out).contains("demo: access granted"));
    assert!(!house.exists(), "the folder is removed");
    failed.to_string()
}

#[tokio::test]
async fn a_demonstration_whose_access_never_appears_fails() {
    let failed = played_with(Lie::Granted).await;
    assert_eq!(failed, "the access never appeared in the group file");
}

#[tokio::test]
async fn a_demonstration_whose_access_stays_fails() {
    let failed = played_with(Lie::Revoked).await;
    assert_eq!(
        failed,
        "the access is still in the group file 2.0 s after its end"
    );
}

#[test]
fn a_demonstration_that_cannot_be_played_exits_with_1() {
    let mut command = jitd(&["demo", "--play", "--ttl", "2h"]);
    let folder = tempfile::tempdir().unwrap();
    command.env("TMPDIR", folder.path());
    let played = ran(command);
    assert_eq!(played.status.code(), Some(1));
    let said = text(&played.stderr);
    assert!(said.contains("ceiling of 1h"), "{said}");
}
