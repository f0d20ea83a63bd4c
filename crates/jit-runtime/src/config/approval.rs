//! `[approval_service]`: what programs may ask for by name, and the keys by which they come. The keys
//! are in the environment.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::catalog::EntitlementId;
use jit_core::digest::Digest;
use jit_core::principal::PrincipalId;
use jit_http::ApiKey;
use secrecy::{ExposeSecret, SecretString};

use super::ApprovalService;
use super::check::{Check, readable};
use super::document::Table;
use super::environment::read_limited;
use super::principals::Names;
use super::problems::{At, Spot};
use super::written::{ProviderTable, Written};

/// The key that every requester has; two with a comma between them while it is being changed.
pub(super) const API_KEY: &str = "JIT_API_KEY";
/// A file with a key for each requester.
pub(super) const API_KEYS_FILE: &str = "JIT_API_KEYS_FILE";

/// The largest file of keys, in bytes.
const KEYS_LIMIT: u64 = 64 * 1024;
/// How many keys may be good at once for everybody.
const SHARED_KEYS: usize = 2;
/// A shorter key is told at the start: it can be guessed.
pub(super) const KEY_LENGTH: usize = 16;
/// The longest name of a resource, in characters.
const NAME_LIMIT: usize = 60;

pub(super) struct ApprovalTable {
    at: Spot,
    requesters: Vec<At<PrincipalId>>,
    resources: Vec<(At<String>, At<EntitlementId>)>,
}

impl ApprovalTable {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("requesters", r#"requesters = ["prometheus"]"#);
        table.require("resources", r#"resources = { grafana = "grafana/read" }"#);
        Self {
            at: table.at(),
            requesters: table.parsed_list("requesters"),
            resources: table.parsed_pairs("resources"),
        }
    }
}

impl Check<'_, '_> {
    pub(super) fn approval(
        &mut self,
        written: &Written,
        names: &Names<'_>,
    ) -> Option<ApprovalService> {
        let keys = self.keys();
        let Some(table) = &written.approval else {
            if let Keys::Read(_, variable) = keys {
                let what = "there is a key for an approval service and no [approval_service]";
                let instead = "write the table, or unset the variable";
                self.problems.add(Spot::Variable(variable), what, instead);
            }
            return None;
        };
        for requester in &table.requesters {
            self.is_service(requester, names);
        }
        let resources = self.resources(table, written);
        let requesters: BTreeSet<PrincipalId> =
            table.requesters.iter().map(|it| it.value.clone()).collect();
        let keys = match keys {
            Keys::Read(keys, _) => keys,
            Keys::Wrong => return None,
            Keys::Unset => {
                let what = "nobody could file anything: there is no key";
                let instead = format!(
                    "set {API_KEY} to a key that every requester has, or {API_KEYS_FILE} to a file \
                     with a key for each of them"
                );
                self.problems.add(table.at, what, instead);
                return None;
            }
        };
        for key in keys.iter().filter_map(|key| key.requester.as_ref()) {
            if !requesters.contains(key) {
                let what = format!("{key} has a key and may not file");
                let instead = "write it into requesters in [approval_service], or remove its key";
                let at = Spot::Variable(API_KEYS_FILE);
                self.problems.add(at, what, instead);
            }
        }
        Some(ApprovalService {
            nobody_decides: None,
            short_keys: keys.iter().filter(|key| key.is_short).count(),
            keys: keys.into_iter().map(|key| key.key).collect(),
            requesters,
            resources,
        })
    }

    fn resources(
        &mut self,
        table: &ApprovalTable,
        written: &Written,
    ) -> BTreeMap<String, EntitlementId> {
        let ids = readable(written.entitlements.iter().map(|it| &it.id));
        let mut resources = BTreeMap::new();
        for (name, id) in &table.resources {
            let plain = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte)
            };
            let named = &name.value;
            if named.is_empty() || named.len() > NAME_LIMIT || !named.bytes().all(plain) {
                let what = format!("{named:?} is not the name of a resource");
                let instead = "write 1 to 60 small letters, digits or any of _-.";
                self.problems.add(name.at, what, instead);
            }
            if let Some(ids) = ids.as_deref() {
                let in_family = written.patterns().iter().any(|it| it.matches(&id.value));
                if !ids.contains(&&id.value) && !in_family {
                    self.unknown("entitlement", id.value.as_str(), id.at, ids);
                }
            }
            self.is_credential(id, written);
            resources.insert(named.clone(), id.value.clone());
        }
        resources
    }

    /// Refuses what nobody could collect.
    fn is_credential(&mut self, id: &At<EntitlementId>, written: &Written) {
        let provider = id.value.provider();
        let named = |it: &&ProviderTable| it.name.as_ref().is_some_and(|at| at.value == provider);
        let known = written.providers.iter().find(named);
        if known.is_some_and(|it| it.kind.is_some() && it.minting.is_none()) {
            let what = format!("{} is no credential, so no program could take it", id.value);
            let instead = "name an entitlement of a Vault, or of a service that makes tokens";
            self.problems.add(id.at, what, instead);
        }
    }

    /// The keys, and the variable that they come from.
    fn keys(&mut self) -> Keys {
        let shared = self.environment.secret(API_KEY, self.folder, self.problems);
        let file = self.environment.text(API_KEYS_FILE);
        match (shared, file) {
            (Some(_), Some(_)) => {
                let what = format!("{API_KEY} and {API_KEYS_FILE} are both set");
                let instead = "keep the file: who has the other key could poll for everybody";
                self.problems.add(Spot::Variable(API_KEY), what, instead);
                Keys::Wrong
            }
            (Some(shared), None) => {
                let keys: Vec<&str> = shared.expose_secret().split(',').collect();
                let fits = keys.len() <= SHARED_KEYS && keys.iter().all(|key| !key.is_empty());
                if !fits {
                    let what = "it holds an empty key, or more than two";
                    let instead = "write one key, or the old and the new one with a comma between";
                    self.problems.add(Spot::Variable(API_KEY), what, instead);
                    return Keys::Wrong;
                }
                let keys = keys.into_iter().map(|key| Key::of(None, key));
                Keys::Read(keys.collect(), API_KEY)
            }
            (None, Some(file)) => match self.keys_of(&file) {
                Some(keys) => Keys::Read(keys, API_KEYS_FILE),
                None => Keys::Wrong,
            },
            // What is wrong with it is told already.
            (None, None) if self.environment.has_secret(API_KEY) => Keys::Wrong,
            (None, None) => Keys::Unset,
        }
    }

    /// A file of lines `requester=key`.
    fn keys_of(&mut self, file: &str) -> Option<Vec<Key>> {
        let at = Spot::Variable(API_KEYS_FILE);
        let file = self.folder.join(file);
        let text = match read_limited(&file, KEYS_LIMIT) {
            Ok(text) => SecretString::from(text),
            Err(error) => {
                let what = format!("{} cannot be read: {error}", file.display());
                self.problems.add(at, what, "name a file that can be read");
                return None;
            }
        };
        let mut keys = vec![];
        for (number, line) in (1..).zip(text.expose_secret().lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = line.split_once('=').and_then(|(requester, key)| {
                let (requester, key) = (requester.trim().parse().ok()?, key.trim());
                let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
                plain.then(|| Key::of(Some(requester), key))
            });
            match read {
                Some(key) if keys.iter().any(|it: &Key| it.same_of_another(&key)) => {
                    let what =
                        format!("line {number} of {} has the key of another", file.display());
                    let instead = "give each requester a key of their own";
                    self.problems.add(at, what, instead);
                }
                Some(key) => keys.push(key),
                // The line may hold a secret: only its number is told.
                None => {
                    let what = format!("line {number} of {} cannot be read", file.display());
                    self.problems
                        .add(at, what, "write each line as requester=key");
                }
            }
        }
        if keys.is_empty() {
            let what = format!("{} holds no key", file.display());
            self.problems
                .add(at, what, "write lines such as prometheus=KEY");
        }
        Some(keys)
    }
}

/// What the environment says of keys.
enum Keys {
    Read(Vec<Key>, &'static str),
    /// What is wrong was told.
    Wrong,
    Unset,
}

/// A key, with what is checked of it.
struct Key {
    key: ApiKey,
    requester: Option<PrincipalId>,
    digest: Digest,
    is_short: bool,
}

impl Key {
    /// Whether two requesters have it.
    fn same_of_another(&self, other: &Self) -> bool {
        self.digest == other.digest && self.requester != other.requester
    }

    fn of(requester: Option<PrincipalId>, key: &str) -> Self {
        let secret = SecretString::from(key);
        Self {
            key: match &requester {
                Some(requester) => ApiKey::of(requester.clone(), &secret),
                None => ApiKey::shared(&secret),
            },
            requester,
            digest: Digest::of(key.as_bytes()),
            is_short: key.len() < KEY_LENGTH,
        }
    }
}
