//! What a daemon cannot run on is refused in a sentence, with exit code 1 and nothing changed.

use jit_runtime::daemon::block_on;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jit_runtime::config::TEMPLATE;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::process::{jitd, ran, read, text};

/// Nobody, as every Linux calls them.
const NOBODY: u32 = 65_534;

/// A folder with the configuration that `jitd init` writes, on free ports.
fn house() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jit.toml");
    std::fs::write(&file, TEMPLATE).unwrap();
    (folder, file)
}

fn run(config: &Path) -> Command {
    let mut command = jitd(&["run", "--config", &config.display().to_string()]);
    command
        .env("JIT_LISTEN", "127.0.0.1:0")
        .env("JIT_OBSERVE", "127.0.0.1:0");
    command
}

/// What it says, where it refuses.
fn refused(command: Command) -> String {
    let ran = ran(command);
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("jitd: ")),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_policy_that_locks_everybody_out_is_refused_unless_it_is_forced() {
    let (_folder, config) = house();
    let sound = TEMPLATE.replace("automatic = { ceiling = 3, per = \"1d\" }", "");
    let locked = sound.replace(
        "rights = [\"approve\", \"revoke\"]",
        "rights = [\"revoke\"]",
    );
    assert_ne!(locked, sound);
    std::fs::write(&config, locked).unwrap();
    let said = refused(run(&config));
    assert!(said.contains("locks everybody out"), "{said}");
    assert!(
        said.contains("jit policy lint") && said.contains("--allow-lock-out"),
        "{said}"
    );
    // A second try is refused as well, and a daemon that is forced starts.
    refused(run(&config));
    let mut forced = run(&config);
    forced.arg("--allow-lock-out");
    crate::process::Process::start(forced).hears("serving");
    // From then on it is the policy that is in force: whatever restarts the daemon is not refused.
    crate::process::Process::start(run(&config)).hears("serving");
}

#[test]
fn a_store_that_is_no_database_is_refused_and_left_alone() {
    let (folder, config) = house();
    let store = folder.path().join("jit.db");
    let text = "this is not a database, and somebody may want it back\n".repeat(50);
    std::fs::write(&store, &text).unwrap();
    let said = refused(run(&config));
    assert!(
        said.contains("jit.db is damaged or no SQLite database"),
        "{said}"
    );
    assert_eq!(
        said.lines().count(),
        1,
        "one sentence and no advice: {said}"
    );
    assert_eq!(read(&store), text);
}

#[test]
fn a_store_of_another_program_is_refused_and_left_alone() {
    let (folder, config) = house();
    let store = folder.path().join("jit.db");
    let other = Connection::open(&store).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    let before = std::fs::read(&store).unwrap();
    let said = refused(run(&config));
    assert!(said.contains("is a database of another program"), "{said}");
    assert_eq!(std::fs::read(&store).unwrap(), before);
}

#[test]
fn a_store_of_a_later_release_is_refused() {
    let (folder, config) = house();
    let store = folder.path().join("jit.db");
    assert!(store_is_made(&config));
    let file = Connection::open(&store).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let said = refused(run(&config));
    assert!(said.contains("has schema 99 of a later release"), "{said}");
}

/// Makes the store of this configuration, as a daemon that was stopped leaves it.
fn store_is_made(config: &Path) -> bool {
    let environment = jit_runtime::config::Environment::default();
    let config = jit_runtime::config::Config::read(config, &environment).unwrap();
    block_on(jit_runtime::build::open_store(&config.store))
        .unwrap()
        .is_ok()
}

#[test]
fn a_store_that_somebody_locks_for_long_is_refused() {
    let (folder, config) = house();
    assert!(store_is_made(&config));
    let holder = Connection::open(folder.path().join("jit.db")).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let said = refused(run(&config));
    assert!(
        said.contains("locked") || said.contains("start could not be written"),
        "{said}"
    );
}

#[test]
fn a_store_that_cannot_be_written_is_refused() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let (folder, config) = house();
    assert!(store_is_made(&config));
    let store = folder.path().join("jit.db");
    set_permissions(&store, Permissions::from_mode(0o444)).unwrap();
    set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    set_permissions(elsewhere.path(), Permissions::from_mode(0o755)).unwrap();
    let mut command = run(&config);
    if is_root() {
        // Nothing is read-only to root.
        command = as_nobody(&command, elsewhere.path());
    }
    let said = refused(command);
    set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(
        said.contains("cannot be written; give the file and its folder"),
        "{said}"
    );
}

/// The same by somebody without rights: a copy, because the folder of the binary may be closed to
/// them.
fn as_nobody(command: &Command, folder: &Path) -> Command {
    let binary = folder.join("jitd");
    std::fs::copy(command.get_program(), &binary).unwrap();
    let mut copy = Command::new(binary);
    copy.env_clear().args(command.get_args());
    let set = command.get_envs();
    copy.envs(set.filter_map(|(name, value)| Some((name, value?))));
    copy.current_dir("/").uid(NOBODY).gid(NOBODY);
    copy
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // Whoever made the folder of this test runs it.
    let folder = tempfile::tempdir().unwrap();
    std::fs::metadata(folder.path()).unwrap().uid() == 0
}

#[test]
fn a_store_in_a_folder_that_is_not_there_is_refused() {
    let (_folder, config) = house();
    let mut command = run(&config);
    command.env("JIT_STORE", "/nowhere/at/all/jit.db");
    let said = refused(command);
    assert!(said.contains("its folder must exist"), "{said}");
}

#[test]
fn a_configuration_with_mistakes_is_refused_with_their_lines() {
    let (_folder, config) = house();
    let wrong = TEMPLATE.replace("ttl_max = \"4h\"", "ttl_max = \"4H\"");
    std::fs::write(&config, wrong.replace("[log]", "[logs]")).unwrap();
    let said = refused(run(&config));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "every mistake has a line: {said}");
    assert!(
        said.contains("write \"4h\"") && said.contains("unknown key \"logs\""),
        "{said}"
    );
}

#[test]
fn an_address_that_others_reach_is_refused_without_a_proxy() {
    let (_folder, config) = house();
    let mut command = run(&config);
    command.env("JIT_LISTEN", "0.0.0.0:8080");
    let said = refused(command);
    assert!(
        said.contains("tokens would cross the network without TLS"),
        "{said}"
    );
}

#[test]
fn two_names_for_one_slot_are_refused() {
    let (_folder, config) = house();
    let twice = "\n[[entitlement]]\nid = \"groupfile/root\"\nresource = \"admins\"\n\
                 title = \"The same again\"\ntier = \"low\"\n";
    std::fs::write(&config, format!("{TEMPLATE}{twice}")).unwrap();
    let said = refused(run(&config));
    assert!(said.contains("one would end the other's access"), "{said}");
    let twice = "\n[[provider]]\nname = \"wiki\"\nkind = \"groupfile\"\nfile = \"groups\"\n";
    std::fs::write(&config, format!("{TEMPLATE}{twice}")).unwrap();
    let said = refused(run(&config));
    assert!(said.contains("would be granted under two names"), "{said}");
}

#[test]
fn init_writes_a_configuration_that_works_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let init = || {
        let mut command = jitd(&["init"]);
        command.current_dir(folder.path());
        ran(command)
    };
    let first = init();
    assert!(first.status.success(), "{}", text(&first.stderr));
    let file = folder.path().join("jit.toml");
    assert_eq!(read(&file), TEMPLATE);
    std::fs::write(&file, "mine").unwrap();
    let second = init();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("overwrites nothing"));
    assert_eq!(read(&file), "mine");
    let missing = refused(run(&folder.path().join("other.toml")));
    assert!(missing.contains("jitd init"), "{missing}");
}
