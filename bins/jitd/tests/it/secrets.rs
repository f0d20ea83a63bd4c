//! S15 in every test that starts a process: the secrets that it was given, and those that it was called
//! with, are looked for in what it said, in what it counts, and in the files that it writes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

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

/// What this test called a process with.
static CALLED_WITH: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A process was called with this.
pub(crate) fn called_with(secret: &str) {
    let secret = secret.strip_prefix("Bearer ").unwrap_or(secret);
    let mut known = CALLED_WITH.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(worth_finding(secret));
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
    known: BTreeSet<String>,
    folder: PathBuf,
}

impl Secrets {
    /// What is in the variables of this command, in the files that they name, and beside its
    /// configuration.
    pub(crate) fn of(command: &Command) -> Self {
        let mut secrets = Self::default();
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
        secrets.folder = beside.map_or(here.to_owned(), |beside| here.join(beside));
        for (name, value) in variables {
            secrets.learns(name, value);
        }
        secrets
    }

    fn learns(&mut self, name: &str, value: &str) {
        let is_secret = |name: &str| SECRET.iter().any(|end| name.ends_with(end));
        if is_secret(name) {
            self.known.extend(worth_finding(value));
        }
        if name.strip_suffix("_FILE").is_some_and(is_secret) {
            let read = std::fs::read_to_string(self.folder.join(value)).unwrap_or_default();
            // Of several lines each is one, as it is where they are told in JSON.
            self.known.extend(read.lines().filter_map(worth_finding));
            // A file of keys has whose it is before each.
            let keys = read.lines().filter_map(|line| line.rsplit_once('='));
            self.known
                .extend(keys.filter_map(|(_, key)| worth_finding(key)));
        }
    }

    /// Those that were written beside the configuration meanwhile.
    fn learns_from_files(&mut self, folder: &Path) {
        for file in files(folder).into_iter().filter(|file| !is_written(file)) {
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
                self.known.extend(worth_finding(&text));
            }
        }
    }

    /// Looks through this, which the process said or showed, and through the files that it writes;
    /// where a secret is found.
    pub(crate) fn found(&mut self, said: &[String]) -> Option<String> {
        let folder = self.folder.clone();
        self.learns_from_files(&folder);
        let called_with = CALLED_WITH.lock().unwrap_or_else(PoisonError::into_inner);
        self.known.extend(called_with.iter().cloned());
        drop(called_with);
        let in_what_was_said = said.iter().find_map(|line| self.found_in(line.as_bytes()));
        in_what_was_said.or_else(|| {
            let mut files = files(&folder).into_iter().filter(|file| is_written(file));
            files.find_map(|file| {
                let found = self.found_in(&read_elsewhere(&file))?;
                Some(format!("{}: {found}", file.display()))
            })
        })
    }

    fn found_in(&self, bytes: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(bytes);
        let secret = self.known.iter().find(|secret| text.contains(*secret))?;
        let start: String = text.chars().take(300).collect();
        Some(format!("{secret} is in {start}"))
    }
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
    let mut secrets = Secrets::of(&command);
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
