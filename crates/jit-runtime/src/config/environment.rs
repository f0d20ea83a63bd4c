//! What the environment says: the process's own variables, a `.env` file beside the configuration,
//! and files that hold one secret each. It comes in as a value, so nothing here writes to the
//! process's environment and tests need none.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::SecretString;

use super::approval::{API_KEY, API_KEYS_FILE};
use super::credentials::{VAULT_ROLE_ID, VAULT_SECRET_ID, VAULT_WRAPPED_SECRET_ID};
use super::okta::{OKTA_PRIVATE_KEY, OKTA_TOKEN};
use super::problems::{At, Place, Problems, Spot, nearest};
use super::slack::{APP_TOKEN, BOT_TOKEN, OLD_SIGNING_SECRET, SIGNING_SECRET};
use super::telegram::{OLD_TELEGRAM_SECRET, TELEGRAM_SECRET, TELEGRAM_TOKEN};
use super::variables::{OF_SERVICE, OLD_NAMES, STATE_DIR, VAULT_ADDR};

/// Every variable that this program reads, and what it stands for.
///
/// The scalars win over the same key of the file. The variables that may hold a secret are also
/// read from a file, which the same name with `_FILE` behind it names.
pub const VARIABLES: [(&str, &str); 25] = [
    ("JIT_LISTEN", "[http] listen"),
    ("JIT_OBSERVE", "[http] observe"),
    ("JIT_TRUSTED_PROXY", "[http] trusted_proxy"),
    ("JIT_STORE", "[store] sqlite"),
    ("JIT_AUDIT_CSV", "[audit] csv"),
    ("JIT_LOG_FORMAT", "[log] format"),
    (PAGER_WEBHOOK, "[pager] webhook; or JIT_PAGER_WEBHOOK_FILE"),
    (
        PAGER_TOKEN,
        "the bearer token for the webhook; or JIT_PAGER_TOKEN_FILE",
    ),
    (
        PAGERDUTY_TOKEN,
        "a read-only API key of PagerDuty; or JIT_PAGERDUTY_TOKEN_FILE",
    ),
    (
        PAGERDUTY_ROUTING_KEY,
        "the integration key of a service at PagerDuty; or JIT_PAGERDUTY_ROUTING_KEY_FILE",
    ),
    (
        BOT_TOKEN,
        "the workspace's bot token, xoxb-…; or JIT_SLACK_BOT_TOKEN_FILE",
    ),
    (
        APP_TOKEN,
        "the app-level token of Socket Mode, xapp-…; or JIT_SLACK_APP_TOKEN_FILE",
    ),
    (
        SIGNING_SECRET,
        "what Slack signs with over HTTP; or JIT_SLACK_SIGNING_SECRET_FILE",
    ),
    (
        OLD_SIGNING_SECRET,
        "the one before, while it is being changed; or JIT_SLACK_SIGNING_SECRET_OLD_FILE",
    ),
    (
        TELEGRAM_TOKEN,
        "the token of the bot in Telegram; or JIT_TELEGRAM_BOT_TOKEN_FILE",
    ),
    (
        TELEGRAM_SECRET,
        "what Telegram sends along to the webhook; or JIT_TELEGRAM_WEBHOOK_SECRET_FILE",
    ),
    (
        OLD_TELEGRAM_SECRET,
        "the one before, while it is being changed; or JIT_TELEGRAM_WEBHOOK_SECRET_OLD_FILE",
    ),
    (OKTA_TOKEN, "an API token of Okta; or JIT_OKTA_TOKEN_FILE"),
    (
        OKTA_PRIVATE_KEY,
        "the private key of a service app in Okta, as PEM; or JIT_OKTA_PRIVATE_KEY_FILE",
    ),
    (
        VAULT_ROLE_ID,
        "the AppRole's role id, also as VAULT_ROLE_ID; or JIT_VAULT_ROLE_ID_FILE",
    ),
    (
        VAULT_SECRET_ID,
        "its secret id, also as VAULT_SECRET_ID; or JIT_VAULT_SECRET_ID_FILE",
    ),
    (
        VAULT_WRAPPED_SECRET_ID,
        "a wrapping token with its secret id; or JIT_VAULT_WRAPPED_SECRET_ID_FILE",
    ),
    (
        API_KEY,
        "the key of the programs in [approval_service]; or JIT_API_KEY_FILE",
    ),
    (API_KEYS_FILE, "a file of lines requester=key, in its place"),
    (
        STATE_DIR,
        "where the approval service keeps its store, where there is no file",
    ),
];

/// Those that may hold a secret.
const SECRETS: [&str; 17] = [
    PAGER_WEBHOOK,
    PAGER_TOKEN,
    PAGERDUTY_TOKEN,
    PAGERDUTY_ROUTING_KEY,
    BOT_TOKEN,
    APP_TOKEN,
    SIGNING_SECRET,
    OLD_SIGNING_SECRET,
    TELEGRAM_TOKEN,
    TELEGRAM_SECRET,
    OLD_TELEGRAM_SECRET,
    OKTA_TOKEN,
    OKTA_PRIVATE_KEY,
    VAULT_ROLE_ID,
    VAULT_SECRET_ID,
    VAULT_WRAPPED_SECRET_ID,
    API_KEY,
];

pub(super) const PAGER_WEBHOOK: &str = "JIT_PAGER_WEBHOOK";
pub(super) const PAGER_TOKEN: &str = "JIT_PAGER_TOKEN";
pub(super) const PAGERDUTY_TOKEN: &str = "JIT_PAGERDUTY_TOKEN";
pub(super) const PAGERDUTY_ROUTING_KEY: &str = "JIT_PAGERDUTY_ROUTING_KEY";

/// What stands in for a token that there is not yet; each of them may look like this.
const STAND_IN: &str = "there-is-none-yet";
/// The largest file that is read for one secret, in bytes.
const SECRET_LIMIT: u64 = 16 * 1024;
/// The largest `.env` file, in bytes.
const DOTENV_LIMIT: u64 = 256 * 1024;

/// How far the variables are those of an approval service without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// They are.
    Whole,
    /// They would be if this one were set.
    Lacks(&'static str),
    /// They are not.
    None,
}

/// Variables whose names begin with `JIT_`, and those that the approval service always had. `Debug`
/// shows their names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os();
        let known = variables.filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((ours(&name)?, value))
        });
        let mut environment = Self::default();
        for (name, value) in known {
            environment.add(name, value);
        }
        environment
    }

    /// A name of our own wins over the one that stands for it elsewhere.
    fn add(&mut self, (name, is_own): (String, bool), value: OsString) {
        match is_own {
            true => drop(self.0.insert(name, value)),
            false => drop(self.0.entry(name).or_insert(value)),
        }
    }

    /// Whether these are the variables of the approval service.
    pub(super) fn service(&self) -> Service {
        let beside = self.has_secret(API_KEY)
            || self.has_secret(VAULT_ROLE_ID)
            || self.0.contains_key(API_KEYS_FILE);
        match (self.0.contains_key(VAULT_ADDR), beside) {
            (true, true) => Service::Whole,
            (true, false) => Service::Lacks(API_KEY),
            (false, true) => Service::Lacks(VAULT_ADDR),
            (false, false) => Service::None,
        }
    }

    /// Whether a secret is set, well or not, itself or as the name of a file.
    pub(super) fn has_secret(&self, name: &str) -> bool {
        self.0.contains_key(name) || self.0.contains_key(&format!("{name}_FILE"))
    }

    /// The files that hold a secret each, as the process or the `.env` of this folder names them. What
    /// is wrong with that file is for whoever reads the configuration.
    pub(crate) fn secret_files(&self, folder: &Path) -> Vec<PathBuf> {
        let mut whole = self.clone();
        whole.add_dotenv(&folder.join(".env"), &mut Problems::of(""));
        let named = SECRETS.iter().map(|name| format!("{name}_FILE"));
        let named = named.chain([API_KEYS_FILE.to_owned()]);
        let files = named.filter_map(|name| Some(folder.join(whole.0.get(&name)?)));
        files.collect()
    }

    /// A variable as it is.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0
            .get(name)
            .map(|value| value.to_string_lossy().into_owned())
    }

    /// Adds what a `.env` file says; a variable that is set already stays.
    pub(super) fn add_dotenv(&mut self, file: &Path, problems: &mut Problems<'_>) {
        let read = match read_limited(file, DOTENV_LIMIT) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            read => read,
        };
        let place = |line| Place::File {
            file: file.to_owned(),
            line,
        };
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                let what = format!("it cannot be read: {error}");
                return problems.add_at(place(None), what, "mend it or remove it");
            }
        };
        for item in dotenvy::from_read_iter(text.as_bytes()) {
            match item {
                Ok((name, value)) => {
                    if let Some((name, _)) = ours(&name) {
                        self.0.entry(name).or_insert_with(|| value.into());
                    }
                }
                Err(error) => {
                    // The error quotes the line, which may hold a secret: only its number is told.
                    let line = match &error {
                        dotenvy::Error::LineParse(bad, _) => text
                            .lines()
                            .position(|line| line.trim() == bad.trim())
                            .map(|index| index + 1),
                        _ => None,
                    };
                    let instead = "write each line as NAME='value', in single quotes so that $ \
                                   and # stand for themselves";
                    problems.add_at(place(line), "this is not a line of a .env file", instead);
                }
            }
        }
    }

    /// Puts something in the place of the tokens of those whom we call where there are none yet: a
    /// manifest is wanted before the app is made.
    pub(super) fn stand_in_for_tokens(&mut self) {
        let tokens = [
            BOT_TOKEN,
            APP_TOKEN,
            SIGNING_SECRET,
            PAGERDUTY_TOKEN,
            TELEGRAM_TOKEN,
            TELEGRAM_SECRET,
        ];
        for name in tokens {
            if !self.0.contains_key(&format!("{name}_FILE")) {
                self.0
                    .entry(name.to_owned())
                    .or_insert_with(|| STAND_IN.into());
            }
        }
    }

    /// Refuses names that are almost one of ours.
    pub(super) fn refuse_misspelt(&self, problems: &mut Problems<'_>) {
        let files = SECRETS.map(|name| format!("{name}_FILE"));
        let known: Vec<&str> = VARIABLES
            .iter()
            .map(|(name, _)| *name)
            .chain(files.iter().map(String::as_str))
            .collect();
        let is_known = |name: &str| OF_SERVICE.contains(&name) || known.contains(&name);
        for name in self.0.keys().filter(|name| !is_known(name)) {
            let Some(meant) = nearest(name, &known) else {
                continue;
            };
            let place = Place::Variable { name: name.clone() };
            let what = "no variable has this name";
            problems.add_at(place, what, format!("write {meant}, or unset it"));
        }
    }

    /// A variable that its type reads strictly.
    pub(super) fn parsed<T>(&self, name: &'static str, problems: &mut Problems<'_>) -> Option<At<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let at = Spot::Variable(name);
        let value = self.0.get(name)?;
        let text = value.to_string_lossy();
        match text.parse() {
            Ok(value) => Some(At { value, at }),
            Err(error) => {
                let stands_for = VARIABLES
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map_or("", |(_, stands_for)| *stands_for);
                let instead = format!("write it as {stands_for} would be written, or unset it");
                problems.add(at, format!("it is refused: {error}"), instead);
                None
            }
        }
    }

    /// A secret: the variable itself, or the file that the variable with `_FILE` behind it names.
    /// The name of a file is relative to `folder`.
    pub(super) fn secret(
        &self,
        name: &'static str,
        folder: &Path,
        problems: &mut Problems<'_>,
    ) -> Option<SecretString> {
        // It travels in a header, where nothing else is possible.
        self.secret_of(name, folder, problems, |text| {
            match text.bytes().all(|byte| byte.is_ascii_graphic()) {
                true => Ok(()),
                false => Err("it holds a space, a line break or a letter beyond ASCII"),
            }
        })
    }

    /// The same for a secret of several lines, such as a key.
    pub(super) fn secret_text(
        &self,
        name: &'static str,
        folder: &Path,
        problems: &mut Problems<'_>,
    ) -> Option<SecretString> {
        self.secret_of(name, folder, problems, |_| Ok(()))
    }

    fn secret_of(
        &self,
        name: &'static str,
        folder: &Path,
        problems: &mut Problems<'_>,
        check: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Option<SecretString> {
        let at = Spot::Variable(name);
        let from_file = self.0.get(&format!("{name}_FILE"));
        let read = match (self.0.get(name), from_file) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                let what = format!("{name} and {name}_FILE are both set");
                problems.add(at, what, "keep one of them");
                return None;
            }
            (Some(value), None) => value
                .to_str()
                .map(str::to_owned)
                .ok_or_else(|| "it is not UTF-8".to_owned()),
            (None, Some(file)) => {
                let file = folder.join(file);
                read_limited(&file, SECRET_LIMIT)
                    .map_err(|error| format!("{} cannot be read: {error}", file.display()))
            }
        };
        let checked = read.and_then(|text| {
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                return Err("it is empty".to_owned());
            }
            check(text).map_err(str::to_owned)?;
            Ok(SecretString::from(text))
        });
        checked
            .map_err(|what| problems.add(at, what, "put the secret there alone, or unset it"))
            .ok()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            if let Some(name) = ours(&name) {
                environment.add(name, value.into());
            }
        }
        environment
    }
}

/// What this program calls a variable that it reads, and whether that is its own name.
fn ours(name: &str) -> Option<(String, bool)> {
    if name.starts_with("JIT_") || OF_SERVICE.contains(&name) {
        return Some((name.to_owned(), true));
    }
    let (plain, file) = match name.strip_suffix("_FILE") {
        Some(plain) => (plain, "_FILE"),
        None => (name, ""),
    };
    let (_, own) = OLD_NAMES.iter().find(|(old, _)| *old == plain)?;
    Some((format!("{own}{file}"), false))
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Reads a text file that may not be longer than `limit` bytes.
pub(super) fn read_limited(file: &Path, limit: u64) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let mut limited = std::fs::File::open(file)?.take(limit + 1);
    limited.read_to_end(&mut bytes)?;
    if limited.limit() == 0 {
        let message = format!("it is longer than {limit} bytes");
        return Err(std::io::Error::other(message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let until = error.utf8_error().valid_up_to();
        let before = error.into_bytes().into_iter().take(until).collect();
        let before = String::from_utf8(before).unwrap_or_default();
        std::io::Error::new(std::io::ErrorKind::InvalidData, NotText { before })
    })
}

/// A file that is not UTF-8 from some byte on.
#[derive(Debug, thiserror::Error)]
#[error("it is not UTF-8 text")]
pub(super) struct NotText {
    /// What stands before that byte.
    pub(super) before: String,
}
