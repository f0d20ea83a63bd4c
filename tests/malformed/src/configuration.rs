//! Configurations: files of any bytes, and the variables of the approval service.
//!
//! One is read, and what `config show` prints of it is read as the same; or it is refused, and each
//! problem names its file, line or variable, what is wrong and what to write instead. No problem
//! shows a secret.

use std::cell::RefCell;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use jit_runtime::clock::{OsRandom, SystemClock};
use jit_runtime::config::{BadConfig, Config, Environment, Origin, Place, Problem};
use jit_runtime::operate::{ConfigVerb, Desk, Form, Operation, Outcome};
use tempfile::{NamedTempFile, TempDir};
use tokio::runtime::Runtime;

use crate::{After, assert_sentence, folder, in_world, runtime};

/// What stands in every secret here.
const SECRET: &str = "s3cr3t";

/// The table of what programs may ask for.
const SERVICE: &[u8] = b"[approval_service]";

/// The examples that the documentation has.
pub const EXAMPLES: [&str; 5] = [
    include_str!("../../../docs/examples/jit.toml"),
    include_str!("../../../docs/examples/aws.toml"),
    include_str!("../../../docs/examples/okta.toml"),
    include_str!("../../../docs/examples/agents.toml"),
    include_str!("../../../docs/examples/approval-service.toml"),
];

/// What the examples need beside their file.
const SECRETS: [(&str, &str); 9] = [
    ("JIT_TELEGRAM_WEBHOOK_SECRET", "s3cr3t-of-the-webhook"),
    ("JIT_SLACK_BOT_TOKEN", "xoxb-s3cr3t"),
    ("JIT_SLACK_APP_TOKEN", "xapp-s3cr3t"),
    ("JIT_SLACK_SIGNING_SECRET", "s3cr3t-signing"),
    ("JIT_OKTA_TOKEN", "s3cr3t-okta"),
    ("JIT_VAULT_ROLE_ID", "s3cr3t-role"),
    ("JIT_VAULT_SECRET_ID", "s3cr3t-secret-id"),
    ("JIT_API_KEY", "s3cr3t-key-that-is-long-enough"),
    (
        "JIT_TELEGRAM_BOT_TOKEN",
        "123456789:s3cr3t_AAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ),
];

/// The variables of the approval service, with values that are right.
pub const VARIABLES: [(&str, &str); 20] = [
    ("VAULT_ADDR", "https://vault.example.com:8200"),
    ("VAULT_ROLE_ID", "s3cr3t-role"),
    ("VAULT_SECRET_ID", "s3cr3t-secret-id"),
    ("JIT_API_KEY", "s3cr3t-key-that-is-long-enough"),
    (
        "TELEGRAM_BOT_TOKEN",
        "123456789:s3cr3t_AAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ),
    ("TELEGRAM_WEBHOOK_SECRET", "s3cr3t-of-the-webhook"),
    ("TELEGRAM_CHAT_ID", "-1001234567890"),
    ("TELEGRAM_APPROVER_IDS", "123456789, 987654321"),
    ("LISTEN_ADDR", ":8080"),
    ("REQUEST_TIMEOUT", "300"),
    ("ALLOWED_REQUESTERS", "prometheus, grafana"),
    ("HA_URL", "http://homeassistant:8123"),
    ("GRAFANA_URL", "https://grafana.example.com"),
    ("INFLUXDB_URL", "https://influxdb.example.com"),
    ("PLEX_URL", "https://plex.example.com"),
    ("GRAFANA_VAULT_PATH", "homelab/data/docker/grafana"),
    ("VAULT_NAMESPACE", "team"),
    ("VAULT_TOKEN_ROLE", "jit"),
    ("TELEGRAM_API_URL", "https://api.telegram.org"),
    ("JIT_STATE_DIR", "/data"),
];

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Reads a file; says whether it is a configuration.
pub fn file(bytes: &[u8]) -> bool {
    let mut is_sound = false;
    in_world(&WORLD, World::new, |world| {
        is_sound = world.file(bytes);
        After::Keep
    });
    is_sound
}

/// Reads variables where there is no file; says whether they are an approval service.
pub fn variables(given: &[(String, String)]) -> bool {
    let mut is_sound = false;
    in_world(&WORLD, World::new, |world| {
        is_sound = world.variables(given);
        After::Keep
    });
    is_sound
}

struct World {
    runtime: Runtime,
    folder: TempDir,
    /// Where the process is: a file that is not there is looked for there.
    empty: Arc<TempDir>,
    /// Without and with the key of programs, which is refused where there are none.
    secrets: [Environment; 2],
}

impl World {
    fn new() -> Self {
        let secrets = SECRETS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let without = secrets
            .iter()
            .filter(|(name, _)| name != "JIT_API_KEY")
            .cloned();
        Self {
            runtime: runtime(),
            folder: folder(),
            empty: here(),
            secrets: [without.collect(), secrets.iter().cloned().collect()],
        }
    }

    fn file(&self, bytes: &[u8]) -> bool {
        let path = self.folder.path().join("case.toml");
        std::fs::write(&path, bytes).unwrap();
        let has_service = bytes
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(SERVICE));
        let environment = &self.secrets[usize::from(has_service)];
        match Config::read(&path, environment) {
            Ok(config) => {
                let shown = self.shown(&path, environment);
                assert_eq!(shown.as_bytes(), bytes);
                let again = Config::read(&path, environment).unwrap();
                assert_same(&config, &again);
                true
            }
            Err(BadConfig::Wrong { file, problems }) => {
                assert_eq!(file, path);
                assert!(!problems.is_empty());
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
                problems.iter().for_each(|it| assert_problem(it, lines));
                false
            }
            Err(unreadable @ BadConfig::Unreadable { .. }) => {
                assert_sentence(&unreadable.to_string());
                assert_sentence(&unreadable.source().unwrap().to_string());
                let fits = bytes.len() <= 1024 * 1024;
                assert!(!fits, "refused without a line: {unreadable}");
                false
            }
        }
    }

    fn variables(&self, given: &[(String, String)]) -> bool {
        let environment: Environment = given.iter().cloned().collect();
        let path = PathBuf::from("jit.toml");
        match Config::read(&path, &environment) {
            Ok(config) => {
                assert!(matches!(config.origin, Origin::Variables { .. }));
                let shown = self.shown(&path, &environment);
                // What is printed is a file that works beside the same secrets.
                let copy = NamedTempFile::new_in(self.empty.path()).unwrap();
                std::fs::write(copy.path(), &shown).unwrap();
                let again = Config::read(copy.path(), &environment);
                let again = again.unwrap_or_else(|error| panic!("{error}\n{shown}"));
                assert_same(&config, &again);
                true
            }
            Err(BadConfig::Wrong { problems, .. }) => {
                assert!(!problems.is_empty());
                for problem in &problems {
                    assert_problem(problem, 0);
                    let Place::File { .. } = problem.place else {
                        continue;
                    };
                    // What is missing stands nowhere, and is named by what to do; so is what counts
                    // as missing because it is refused.
                    let is_named = |name: &str| problem.instead.contains(name);
                    let missing = VARIABLES.iter().map(|(name, _)| *name);
                    let missing = missing.filter(|name| lacks(given, name));
                    let refused = problems.iter().filter_map(|it| match &it.place {
                        Place::Variable { name } => Some(name.as_str()),
                        _ => None,
                    });
                    assert!(
                        missing.chain(refused).any(is_named),
                        "{problem:?} of {given:?}"
                    );
                }
                false
            }
            Err(unreadable @ BadConfig::Unreadable { .. }) => {
                let names: Vec<_> = given.iter().map(|(name, _)| name.as_str()).collect();
                let is_service = names.contains(&"VAULT_ADDR") || names.contains(&"JIT_API_KEY");
                assert!(!is_service, "{unreadable}");
                assert_sentence(&unreadable.to_string());
                false
            }
        }
    }

    /// What `config show` prints.
    fn shown(&self, path: &Path, environment: &Environment) -> String {
        let (mut out, mut remarks) = (vec![], vec![]);
        let mut desk = Desk {
            config: path.to_owned(),
            environment: environment.clone(),
            form: Form::Text,
            out: &mut out,
            remarks: &mut remarks,
            clock: &SystemClock,
            random: &OsRandom,
        };
        let outcome = self
            .runtime
            .block_on(desk.run(Operation::Config(ConfigVerb::Show)));
        assert_eq!(outcome.unwrap(), Outcome::Well);
        String::from_utf8(out).unwrap()
    }
}

/// An empty folder in which the process is from now on. All threads have the same one; it is gone with
/// the last of them.
fn here() -> Arc<TempDir> {
    static HERE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut here = HERE.lock().unwrap();
    here.upgrade().unwrap_or_else(|| {
        let made = Arc::new(folder());
        std::env::set_current_dir(made.path()).unwrap();
        *here = Arc::downgrade(&made);
        made
    })
}

fn lacks(given: &[(String, String)], name: &str) -> bool {
    !given
        .iter()
        .any(|(it, value)| it == name && !value.trim().is_empty())
}

fn assert_same(one: &Config, other: &Config) {
    assert_eq!(one.digest, other.digest);
    assert_eq!(one.store, other.store);
    assert_eq!(one.http, other.http);
    assert_eq!(one.worker, other.worker);
    assert_eq!(one.providers, other.providers);
    assert_eq!(one.rotas, other.rotas);
    assert_eq!(one.audit, other.audit);
    assert_eq!(one.log, other.log);
    let service = |config: &Config| {
        let service = config.approval.as_ref();
        service.map(|it| (it.resources.clone(), it.requesters.clone(), it.keys.len()))
    };
    assert_eq!(service(one), service(other));
    let chat = |config: &Config| {
        config
            .telegram
            .as_ref()
            .map(|it| format!("{:?} {:?}", it.chat, it.api))
    };
    assert_eq!(chat(one), chat(other));
    let channel = |config: &Config| config.slack.as_ref().map(|it| format!("{:?}", it.settings));
    assert_eq!(channel(one), channel(other));
}

fn assert_problem(problem: &Problem, lines: usize) {
    assert_sentence(&problem.what);
    assert_sentence(&problem.instead);
    assert!(!problem.to_string().contains(SECRET), "{problem}");
    match &problem.place {
        Place::Line { line, column } => {
            assert!((1..=lines).contains(line) && *column >= 1, "{problem:?}");
        }
        Place::Variable { name } => assert!(!name.is_empty(), "{problem:?}"),
        Place::File { file, .. } => assert!(!file.as_os_str().is_empty(), "{problem:?}"),
    }
}
