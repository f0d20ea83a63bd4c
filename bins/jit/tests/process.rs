//! The command line's binary: what it prints and how it exits. The verbs themselves are tested
//! where they are.

#![cfg(test)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use jit_core::engine::ClockTrust;
use jit_runtime::config::{Config, Environment, TEMPLATE};
use jit_runtime::daemon::{Daemon, LockOut};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

fn jit(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit"));
    command.env_clear().stdin(Stdio::null());
    command.current_dir(folder).args(arguments);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What it prints, where all is well.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = jit(folder, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// What it says to standard error, where it exits with this code.
fn refused(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let output = jit(folder, arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// The installation that `jitd init` begins.
fn house() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("jit.toml"), TEMPLATE).unwrap();
    std::fs::write(
        folder.path().join("groups"),
        "readers:\nadmins: root-oncall\n",
    )
    .unwrap();
    folder
}

#[test]
fn every_verb_has_a_line_of_help_and_every_answer_a_form_as_json() {
    let folder = house();
    let help = said(folder.path(), &["--help"]);
    for verb in [
        "request", "list", "show", "approve", "deny", "end", "revoke", "withdraw", "history",
        "pause", "resume", "config", "policy", "audit", "token", "backup", "doctor",
    ] {
        let line = help
            .lines()
            .find(|line| line.trim_start().starts_with(verb));
        assert!(line.is_some_and(|line| line.len() > 20), "{verb}: {help}");
        assert!(
            said(folder.path(), &[verb, "--help"]).contains("--json"),
            "{verb}"
        );
    }
    assert!(help.contains("Exit codes: 0 done; 1 "));
}

#[test]
fn what_went_wrong_is_json_too_where_json_is_asked_for() {
    let folder = house();
    for (arguments, code) in [
        (
            &["--server", "http://127.0.0.1:1", "list", "--json"][..],
            "no_token",
        ),
        (
            &["--config", "nowhere.toml", "config", "check", "--json"],
            "failed",
        ),
    ] {
        let output = jit(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["error"]["code"], code, "{error}");
        assert!(error["error"]["message"].as_str().unwrap().len() > 20);
    }
}

#[test]
fn wrong_arguments_exit_with_2() {
    let folder = house();
    for arguments in [
        &["frobnicate"][..],
        &["policy", "explain", "ana", "dance", "groupfile/admins"],
        &["audit", "export"],
        &["audit", "export", "--format", "csv", "--from", "yesterday"],
        &["token", "new"],
        &["token", "new", "--principal", "ana", "--ttl", "30M"],
    ] {
        refused(folder.path(), 2, arguments);
    }
}

#[test]
fn the_verbs_of_an_operator_need_the_configuration_alone() {
    let folder = house();
    let sound = said(folder.path(), &["config", "check"]);
    assert!(sound.starts_with("jit.toml is sound: "), "{sound}");
    let trace = said(
        folder.path(),
        &["policy", "explain", "ana", "approve", "groupfile/admins"],
    );
    assert!(
        trace.starts_with("ana@example.com may not approve groupfile/admins\n"),
        "{trace}"
    );
    let answer = said(
        folder.path(),
        &[
            "policy",
            "explain",
            "bob",
            "approve",
            "groupfile/admins",
            "--json",
        ],
    );
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["allowed"], true);
    let wrong = TEMPLATE.replace("tier = \"low\"", "tier = \"lowest\"");
    std::fs::write(folder.path().join("jit.toml"), wrong).unwrap();
    let output = jit(folder.path(), &["config", "check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("there is no tier lowest"));
}

#[test]
fn doctor_says_a_line_for_each_thing_and_exits_with_1_where_something_failed() {
    let folder = house();
    let well = said(folder.path(), &["doctor"]);
    assert!(
        well.starts_with("ok    config     jit.toml is sound: "),
        "{well}"
    );
    assert!(well.contains("\nwarn  store  "), "{well}");
    assert!(
        well.contains("\nok    groupfile  2 entitlements looked at"),
        "{well}"
    );
    assert!(!folder.path().join("jit.db").exists());
    let json = said(folder.path(), &["doctor", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["well"], true);
    assert_eq!(json["checks"][0]["verdict"], "ok");
    std::fs::remove_file(folder.path().join("groups")).unwrap();
    let output = jit(folder.path(), &["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(told.contains("\nfail  groupfile  "), "{told}");
    assert!(text(&output.stderr).is_empty());
    let help = said(folder.path(), &["doctor", "--help"]);
    assert!(help.contains("Nothing is changed"), "{help}");
}

/// The system lets root write everywhere, so this runs as `nobody` where the tests run as root.
#[test]
fn doctor_says_which_files_another_user_cannot_write() {
    let folder = house();
    let here = folder.path();
    said(here, &["token", "new", "--principal", "ana"]);
    let binary = here.join("jit");
    let built = Path::new(env!("CARGO_BIN_EXE_jit"));
    // The folder of the binary may be closed to nobody.
    if std::fs::hard_link(built, &binary).is_err() {
        std::fs::copy(built, &binary).unwrap();
    }
    let mode = |file: &Path, mode| {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for file in ["jit.toml", "jit.db", "groups"] {
        mode(&here.join(file), 0o444);
    }
    mode(here, 0o555);
    let are_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let doctor = || {
        let mut command = Command::new(&binary);
        command.env_clear().stdin(Stdio::null());
        command.current_dir(here).arg("doctor");
        if are_root {
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().unwrap();
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{told}");
        told
    };
    let told = doctor();
    mode(here, 0o777);
    for (area, words, fix) in [
        ("store", "jit.db cannot be ", "the user that runs this"),
        (
            "store",
            "no file can be made in ",
            "the user that runs jitd",
        ),
        (
            "groupfile",
            "no file can be made in ",
            "the user that runs jitd",
        ),
    ] {
        let is_it = |line: &&str| line.contains(area) && line.contains(words);
        let line = told.lines().find(is_it);
        let line = line.unwrap_or_else(|| panic!("{words}: {told}"));
        assert!(line.starts_with("fail  ") && line.contains(fix), "{line}");
    }
    let lock = here.join("groups.lock");
    std::fs::write(&lock, "").unwrap();
    mode(&lock, 0o000);
    let told = doctor();
    assert!(
        told.contains("groups.lock cannot be opened; give it to"),
        "{told}"
    );
    if are_root {
        mode(&lock, 0o444);
        let told = doctor();
        let owner = "groups belongs to another user, and its owner is kept; give it to";
        assert!(told.contains(owner), "{told}");
    }
    // It can be read without the files that are beside it, and is not writable for all that.
    let store = Connection::open(here.join("jit.db")).unwrap();
    let whole = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy = store.query_row(whole, [], |row| row.get::<_, i64>(0));
    assert_eq!(busy, Ok(0));
    drop(store);
    let told = doctor();
    let line = told
        .lines()
        .find(|line| line.contains("jit.db cannot be written"));
    assert!(
        line.is_some_and(|line| line.starts_with("fail  store")),
        "{told}"
    );
}

#[test]
fn a_token_goes_to_standard_output_alone_and_the_rest_beside_it() {
    let folder = house();
    let output = jit(folder.path(), &["token", "new", "--principal", "ana"]);
    let token = text(&output.stdout);
    assert!(
        token.starts_with("jit_") && token.lines().count() == 1,
        "a script can take it"
    );
    let remark = text(&output.stderr);
    assert!(
        remark.contains("of ana@example.com, valid until "),
        "{remark}"
    );
    assert!(!remark.contains(token.trim()));
    let unknown = refused(folder.path(), 1, &["token", "new", "--principal", "eve"]);
    assert!(unknown.contains("nobody is named eve"), "{unknown}");
    let id = token.split('_').nth(1).unwrap();
    assert!(said(folder.path(), &["token", "revoke", id]).contains("is revoked"));
    assert!(said(folder.path(), &["token", "list"]).contains("revoked at"));
}

#[test]
fn an_audit_that_was_edited_exits_with_1_and_says_where() {
    let folder = house();
    said(folder.path(), &["token", "new", "--principal", "ana"]);
    assert!(said(folder.path(), &["audit", "verify"]).starts_with("audit verified: 1 event "));
    let file = Connection::open(folder.path().join("jit.db")).unwrap();
    let edit = "DROP TRIGGER event_stays; UPDATE event SET body = replace(body, 'ana', 'bob')";
    file.execute_batch(edit).unwrap();
    let output = jit(folder.path(), &["audit", "verify"]);
    assert_eq!(output.status.code(), Some(1));
    let problems = text(&output.stdout);
    assert!(problems.starts_with("chain system: event 1 was changed after it was written\n"));
    assert!(
        problems.ends_with(
            "audit NOT verified: 1 problem in 1 event of 0 requests and of the system\n"
        )
    );
    let json = jit(folder.path(), &["audit", "verify", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["verified"], false);
    let export = said(folder.path(), &["audit", "export", "--format", "csv"]);
    assert_eq!(export.lines().count(), 2, "an edited event is still shown");
}

#[test]
fn a_store_that_cannot_be_used_is_told_in_a_sentence() {
    let folder = house();
    let verify = ["audit", "verify"];
    let none = refused(folder.path(), 1, &verify);
    assert!(none.contains("there is no store at "), "{none}");
    let store = folder.path().join("jit.db");
    std::fs::write(
        &store,
        "not a database at all, but longer than a header is\n".repeat(9),
    )
    .unwrap();
    let damaged = refused(folder.path(), 1, &verify);
    assert!(
        damaged.contains("damaged or no SQLite database"),
        "{damaged}"
    );
    std::fs::remove_file(&store).unwrap();
    said(folder.path(), &["token", "new", "--principal", "ana"]);
    let file = Connection::open(&store).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    let newer = refused(folder.path(), 1, &verify);
    assert!(newer.contains("schema 99 of a later release"), "{newer}");
}

/// What it says to standard error and its exit code, where nobody reads its answer.
fn unread(folder: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit"));
    command.env_clear().stdin(Stdio::null());
    command.current_dir(folder).args(arguments);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped());
    let output = output.spawn().unwrap().wait_with_output().unwrap();
    (text(&output.stderr), output.status.code())
}

#[test]
fn an_answer_that_nobody_reads_ends_quietly() {
    let folder = house();
    said(folder.path(), &["token", "new", "--principal", "ana"]);
    for arguments in [
        &["audit", "export", "--format", "csv"][..],
        &["audit", "verify"],
        &["token", "list"],
        &["config", "check"],
    ] {
        let ended = unread(folder.path(), arguments);
        assert_eq!(ended, (String::new(), Some(141)), "{arguments:?}");
    }
}

#[test]
fn the_relay_of_agents_sends_a_token_where_the_other_verbs_do_and_nowhere_else() {
    let folder = house();
    let new = [
        "token",
        "new",
        "--principal",
        "agent:deploy-bot",
        "--out",
        "bot.token",
    ];
    said(folder.path(), &new);
    for (server, why) in [
        ("http://192.0.2.2:8080", "https:// only"),
        ("http://vm:8080", "https:// only"),
        (
            "http://ana:secret@127.0.0.1:8080",
            "leave the name and the password out",
        ),
        ("ftp://127.0.0.1", "begins with https://"),
        ("", "write an address"),
    ] {
        let by = ["--server", server, "--token-file", "bot.token", "mcp"];
        let told = refused(folder.path(), 1, &by);
        assert!(told.contains(why), "{server}: {told}");
    }
    // Without a client on the other side it ends, and says nothing.
    let by = [
        "--server",
        "http://127.0.0.1:1",
        "--token-file",
        "bot.token",
        "mcp",
    ];
    assert_eq!(said(folder.path(), &by), "");
}

#[tokio::test]
async fn the_verbs_of_people_ask_the_server() {
    let folder = house();
    let wrong = refused(folder.path(), 1, &["list"]);
    assert!(wrong.contains("there is no token"), "{wrong}");
    let new = ["token", "new", "--principal", "ana", "--out", "ana.token"];
    said(folder.path(), &new);
    let dead = [
        "--server",
        "http://127.0.0.1:1",
        "--token-file",
        "ana.token",
        "list",
    ];
    assert!(refused(folder.path(), 1, &dead).contains("is jitd running?"));
    let variables =
        ["JIT_LISTEN", "JIT_OBSERVE"].map(|it| (it.to_owned(), "127.0.0.1:0".to_owned()));
    let environment: Environment = variables.into_iter().collect();
    let config = Config::read(&folder.path().join("jit.toml"), &environment).unwrap();
    let daemon = Daemon::start(config, ClockTrust::Compared, LockOut::Refused)
        .await
        .unwrap();
    let server = format!("http://{}", daemon.api_address().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(daemon.run(async {
        let _ = stopped.await;
    }));
    let asked = tokio::task::spawn_blocking(move || {
        let by = ["--server", &server, "--token-file", "ana.token", "--json"];
        let what = [
            "request",
            "groupfile/admins",
            "--reason",
            "the disk is full",
        ];
        let asked = said(folder.path(), &[by.as_slice(), what.as_slice()].concat());
        let asked: Value = serde_json::from_str(&asked).unwrap();
        let id = asked["id"].as_str().unwrap();
        let list = [by.as_slice(), &["list"]].concat();
        assert_eq!(unread(folder.path(), &list), (String::new(), Some(141)));
        let own = refused(
            folder.path(),
            1,
            &[by.as_slice(), &["approve", id]].concat(),
        );
        assert!(
            own.contains("you may not decide a request that you made"),
            "{own}"
        );
        asked["status"].clone()
    });
    assert_eq!(asked.await.unwrap(), "pending");
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}
