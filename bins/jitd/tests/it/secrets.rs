//! S15 in every test that starts a process: the secrets that it was given, those that it was called
//! with and those that it handed out are looked for in what it said and answered, in what it counts, in
//! the files that it writes, and in what a workspace was told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use serde_json::Value;
use slack_sim::SlackSim;

/// What ends the name of a variable that holds a secret, or whose file holds one.
const SECRET: [&str; 8] = [
    "TOKEN",
    "SECRET",
    "_OLD",
    "_KEY",
    "_KEYS",
    "SECRET_ID",
    "ROLE_ID",
    "WEBHOOK",
];
/// What ends the name of a file that is written for others to read.
const WRITTEN: [&str; 6] = [".db", ".db-wal", ".db-shm", ".csv", ".jsonl", ".log"];
/// A shorter one may be found anywhere.
const SHORTEST: usize = 10;

/// What this test knows that must not get out.
static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The requests whose credential was handed out.
static HANDED_OUT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on it is looked for.
fn learns(secret: &str) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(worth_finding(secret));
}

/// A process was called with this.
pub(crate) fn called_with(secret: &str) {
    learns(secret.strip_prefix("Bearer ").unwrap_or(secret));
}

/// Looks through an answer. In the one that hands out the credential of a request it may be once.
pub(crate) fn answered(answer: &str, body: &str) {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let credential = &body["credential"];
    let credential = credential["token"].as_str().or(credential.as_str());
    let mut rest = answer.to_owned();
    if let Some(secret) = credential {
        learns(secret);
        let id = body["request_id"].as_str();
        let id = id.or(body["request"]["id"].as_str()).unwrap();
        let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
        if handed_out.insert(id.to_owned()) {
            let written = Value::from(secret).to_string();
            rest = rest.replacen(&written, "", 1);
        }
    }
    assert_eq!(
        found_in(&known(), &rest),
        None,
        "S15: a secret is in an answer"
    );
}

/// Looks through everything that this workspace was told, and what these people see in it.
pub(crate) fn workspace_was_told(slack: &SlackSim, people: &[&str], channels: &[&str]) {
    let calls = slack.calls("*").into_iter();
    let told = calls.map(|it| format!("{} {}", it.method, it.body));
    // What is an answer to a click is no call.
    let seen = people.iter().flat_map(|person| {
        let person = slack.user(person);
        let seen = channels.iter().map(|it| person.messages(it).now_or_never());
        let seen: Vec<_> = seen.chain([person.dm().now_or_never()]).collect();
        seen.into_iter().flatten().flatten()
    });
    let seen = seen.map(|it| format!("{it:?}"));
    let known = known();
    let found = told.chain(seen).find_map(|it| found_in(&known, &it));
    assert_eq!(found, None, "S15: a secret is in the workspace");
}

/// The store may know a bearer token's first half, which says which token it is.
fn worth_finding(secret: &str) -> Option<String> {
    let secret = secret.trim().trim_matches('\'');
    let bearer = secret
        .strip_prefix("jit_")
        .and_then(|it| it.split_once('_'));
    let secret = bearer.map_or(secret, |(_, half)| half);
    (secret.len() >= SHORTEST).then(|| secret.to_owned())
}

/// The secrets of one process, and where it writes.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    /// What is in the variables of this command, in the files that they name, and beside its
    /// configuration.
    pub(crate) fn of(command: &Command) -> Self {
        let variables = command.get_envs();
        let variables: Vec<(&str, &str)> = variables
            .filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)))
            .collect();
        let config = variables.iter().find(|(name, _)| *name == "JIT_CONFIG");
        let mut config = config.map(|(_, value)| PathBuf::from(value));
        let mut arguments = command.get_args();
        if arguments.any(|it| it == "--config") {
            config = arguments.next().map(PathBuf::from);
        }
        let here = command.get_current_dir().unwrap_or(Path::new("."));
        let beside = config.as_deref().and_then(Path::parent);
        let folder = beside.map_or(here.to_owned(), |beside| here.join(beside));
        let secrets = Self { folder };
        for (name, value) in variables {
            secrets.learns(name, value);
        }
        secrets
    }

    fn learns(&self, name: &str, value: &str) {
        let is_secret = |name: &str| SECRET.iter().any(|end| name.ends_with(end));
        if is_secret(name) {
            learns(value);
        }
        if name.strip_suffix("_FILE").is_some_and(is_secret) {
            let read = std::fs::read_to_string(self.folder.join(value)).unwrap_or_default();
            // Of several lines each is one, as it is where they are told in JSON.
            for line in read.lines() {
                learns(line);
                // A file of keys has whose it is before each.
                if let Some((_, key)) = line.rsplit_once('=') {
                    learns(key);
                }
            }
        }
    }

    /// Those that were written beside the configuration meanwhile.
    fn learns_from_files(&self) {
        let files = files(&self.folder).into_iter();
        for file in files.filter(|file| !is_written(file)) {
            let name = file.file_name().unwrap_or_default().display().to_string();
            let Ok(text) = std::fs::read_to_string(&file) else {
                continue;
            };
            if name == ".env" {
                for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
                    self.learns(name, value);
                }
            }
            if text.starts_with("jit_") {
                learns(&text);
            }
        }
    }

    /// Looks through this, which the process said or showed, and through the files that it writes;
    /// where a secret is found.
    pub(crate) fn found(&self, said: &[String]) -> Option<String> {
        self.learns_from_files();
        let known = known();
        let in_what_was_said = said.iter().find_map(|line| found_in(&known, line));
        in_what_was_said.or_else(|| {
            let files = files(&self.folder).into_iter();
            let mut files = files.filter(|file| is_written(file));
            files.find_map(|file| {
                let found = found_in(&known, &String::from_utf8_lossy(&read_elsewhere(&file)))?;
                Some(format!("{}: {found}", file.display()))
            })
        })
    }
}

/// Those of this moment: to look through a file takes a while, and nobody waits for it.
fn known() -> BTreeSet<String> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.clone()
}

/// Which of those that are known is in this.
fn found_in(known: &BTreeSet<String>, text: &str) -> Option<String> {
    let secret = known.iter().find(|secret| text.contains(*secret))?;
    let start: String = text.chars().take(300).collect();
    Some(format!("{secret} is in {start}"))
}

/// Whether these words are in a file of this folder that is looked through.
pub(crate) fn are_looked_through(folder: &Path, words: &str) -> bool {
    let mut files = files(folder).into_iter().filter(|file| is_written(file));
    files.any(|file| String::from_utf8_lossy(&read_elsewhere(&file)).contains(words))
}

/// What is in this file, read by another process. Where a test has the store open, closing its file
/// once more would end the locks that SQLite holds on it for the whole process.
/// Source: "How To Corrupt An SQLite Database File", section 2.2.
fn read_elsewhere(file: &Path) -> Vec<u8> {
    let read = Command::new("/bin/cat").arg(file).output().unwrap();
    read.stdout
}

fn is_written(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().display().to_string();
    WRITTEN.iter().any(|end| name.ends_with(end))
}

/// Those in a folder and in the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let read = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = read.map(|it| it.path());
    let (folders, mut found): (Vec<_>, Vec<_>) = paths.partition(|it| it.is_dir());
    found.extend(folders.iter().flat_map(|it| files(it)));
    found
}

#[test]
fn s15_a_secret_is_found_wherever_it_is_said_or_written() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("key", "the key in a file\n");
    write(
        ".env",
        "JIT_SLACK_BOT_TOKEN='the token beside it'\nPATH=/usr/bin:/bin\n",
    );
    write("ana", "jit_0123_the-half-of-ana\n");
    let config = folder.path().join("jit.toml");
    let mut command = Command::new("jitd");
    command
        .arg("--config")
        .arg(&config)
        .env("JIT_PAGER_TOKEN", "the token of the pager")
        .env("JIT_LISTEN", "127.0.0.1:12345")
        .env("JIT_API_KEY_FILE", folder.path().join("key"));
    let secrets = Secrets::of(&command);
    called_with("Bearer the-token-of-a-call");
    for secret in [
        "the key in a file",
        "the token beside it",
        "the-half-of-ana",
        "the token of the pager",
        "the-token-of-a-call",
    ] {
        let line = format!("{{\"error\": \"401 for {secret}.\"}}");
        let found = secrets.found(&["well".to_owned(), line.clone()]);
        assert!(found.is_some_and(|it| it.contains(secret)), "{secret}");
        for name in ["jit.db", "jit.db-wal", "audit_log.csv"] {
            write(name, &line);
            let found = secrets.found(&[]).unwrap_or_default();
            assert!(found.contains(name) && found.contains(secret), "{secret}");
            write(name, "");
        }
    }
    let innocent = "listens at 127.0.0.1:12345, and the key is in a file".to_owned();
    assert_eq!(secrets.found(&[innocent]), None);
}

#[test]
fn s15_a_credential_is_in_the_answer_that_hands_it_out_and_in_no_other() {
    let fails = |answer: &str| {
        let looked = std::panic::catch_unwind(|| answered(answer, answer));
        looked.is_err()
    };
    let given = r#"{"credential": {"token": "glsa_the-token"}, "request_id": "req-1"}"#;
    assert!(!fails(given));
    assert!(fails(given), "it is handed out once");
    let notes = r#""request": {"id": "req-2"}, "notes": {"it": "hvs.another"}"#;
    let twice = format!(r#"{{"credential": "hvs.another", {notes}}}"#);
    assert!(fails(&twice));
    called_with("Bearer the-token-of-a-call");
    assert!(fails("401: the-token-of-a-call is not known"));
    assert!(!fails("401: it is not known"));
}
