//! What does not depend on who is asked: deadlines, lines, and files of secrets.

use std::fs;

use super::*;
use crate::clock::{OsRandom, SystemClock};
use crate::config::Environment;

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_fails_alone() {
    let hangs = within("okta".to_owned(), std::future::pending());
    let works = within("store".to_owned(), async {
        vec![Finding::ok("store", "fine")]
    });
    let (hangs, works) = tokio::join!(hangs, works);
    assert_eq!(works, [Finding::ok("store", "fine")]);
    let [hangs] = hangs.as_slice() else {
        panic!("{hangs:?}");
    };
    assert_eq!(hangs.verdict, Verdict::Fail);
    assert_eq!(hangs.found, "it did not answer within 10 s");
    assert!(hangs.fix.is_some());
}

fn told(found: &[Finding], form: Form) -> String {
    let (mut out, mut remarks) = (Vec::new(), Vec::new());
    let mut desk = Desk {
        config: "jit.toml".into(),
        environment: Environment::default(),
        form,
        out: &mut out,
        remarks: &mut remarks,
        clock: &SystemClock,
        random: &OsRandom,
    };
    desk.tell_findings(found).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn each_finding_is_one_line_whatever_somebody_answered() {
    let found = [
        Finding::ok("store", "fine"),
        Finding::warn("pager", "nobody", "write one"),
        Finding::fail("production", "it said\nok    all \u{1b}[0m", "see why"),
    ];
    assert_eq!(
        told(&found, Form::Text),
        "ok    store       fine\n\
         warn  pager       nobody; write one\n\
         fail  production  it said ok    all  [0m; see why\n\
         1 failed; 1 to look at\n"
    );
    let json: serde_json::Value = serde_json::from_str(&told(&found, Form::Json)).unwrap();
    assert_eq!(json["well"], false);
    assert_eq!(json["checks"][1]["verdict"], "warn");
    assert_eq!(json["checks"][0]["fix"], serde_json::Value::Null);
    assert!(told(&[], Form::Text).contains("all is well"));
}

#[test]
fn a_sentence_falls_apart_into_what_is_and_what_to_do() {
    let found = Finding::of_sentence("store", "jit.db is locked; stop the other one; or wait");
    assert_eq!(found.found, "jit.db is locked");
    assert_eq!(found.fix.as_deref(), Some("stop the other one; or wait"));
}

/// A house with a `.env` of this mode.
async fn secrets_in(mode: u32) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jit.toml");
    fs::write(&file, crate::config::TEMPLATE).unwrap();
    let environment = Environment::default();
    let config = Config::read(&file, &environment).unwrap();
    let dotenv = folder.path().join(".env");
    fs::write(&dotenv, "JIT_PAGER_TOKEN='hidden-canary'\n").unwrap();
    fs::set_permissions(&dotenv, fs::Permissions::from_mode(mode)).unwrap();
    secrets::files(&config, &environment).await
}

#[tokio::test]
async fn a_file_of_secrets_is_for_its_owner_and_its_group_alone() {
    for closed in [0o400, 0o600, 0o440, 0o640] {
        let found = secrets_in(closed).await;
        assert!(
            found.iter().all(|it| it.verdict == Verdict::Ok),
            "{closed:o}: {found:?}"
        );
    }
    for open in [0o604, 0o644, 0o602, 0o660] {
        let found = secrets_in(open).await;
        let [told] = found.as_slice() else {
            panic!("{open:o}: {found:?}");
        };
        assert_eq!(told.verdict, Verdict::Warn);
        let mode = format!("(mode {open:o})");
        assert!(told.found.ends_with(&mode), "{told:?}");
        assert!(told.fix.as_deref().unwrap().starts_with("chmod 600 "));
        assert!(!format!("{told:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_file_that_a_variable_names_is_looked_at_and_one_that_cannot_be_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jit.toml");
    fs::write(&file, crate::config::TEMPLATE).unwrap();
    let config = Config::read(&file, &Environment::default()).unwrap();
    let named = |path: &str| {
        let named = ("JIT_PAGER_TOKEN_FILE".to_owned(), path.to_owned());
        Environment::from_iter([named])
    };
    let token = folder.path().join("token");
    fs::write(&token, "hidden-canary").unwrap();
    let mode = |mode| fs::set_permissions(&token, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    let found = secrets::files(&config, &named("token")).await;
    assert_eq!(
        found,
        [Finding::ok(
            "secrets",
            "1 file of them, closed to the others of this host"
        )]
    );
    mode(0o644);
    let found = secrets::files(&config, &named("token")).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].found.contains("token is open to others"),
        "{found:?}"
    );
    let found = secrets::files(&config, &named("token/no")).await;
    assert_eq!(found[0].verdict, Verdict::Fail, "{found:?}");
    assert!(found[0].found.contains("cannot be looked at"), "{found:?}");
}

#[tokio::test]
async fn a_file_that_the_dotenv_names_is_looked_at() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("jit.toml", crate::config::TEMPLATE, 0o644);
    let file = folder.path().join("jit.toml");
    let environment = Environment::default();
    let config = Config::read(&file, &environment).unwrap();
    write(".env", "JIT_PAGER_TOKEN_FILE='token'\n", 0o600);
    write("token", "hidden-canary", 0o604);
    let found = secrets::files(&config, &environment).await;
    let [told] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(told.verdict, Verdict::Warn);
    assert!(told.found.contains("token is open to others"), "{told:?}");
}

#[tokio::test]
async fn a_webhook_that_nobody_answers_at_is_told_without_its_address() {
    let url = "http://127.0.0.1:9/hidden-canary".parse().unwrap();
    let webhook = crate::config::Webhook { url, token: None };
    let pager = crate::config::Pager {
        webhook: Some(webhook),
        pagerduty: None,
    };
    let found = chats::pager(&pager).await;
    let [lost] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(lost.verdict, Verdict::Fail);
    assert!(lost.found.contains("cannot be reached"), "{lost:?}");
    assert!(!format!("{lost:?}").contains("canary"));
    let none = chats::pager(&crate::config::Pager::default()).await;
    assert!(none.iter().all(|it| it.verdict == Verdict::Warn));
    assert!(none[0].fix.as_deref().unwrap().contains("[pager]"));
}
