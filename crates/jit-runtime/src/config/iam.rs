//! Providers in one AWS account: temporary policies on what people have, and sessions of roles; and
//! what their entitlements must say.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use jit_core::Ttl;
use jit_core::catalog::{EntitlementId, ProviderName};
use jit_core::principal::PrincipalId;
use jit_iam::{SessionNames, Settings, Template};
use serde::Deserialize;

use super::aws::{Endpoint, RegionName};
use super::check::Check;
use super::document::Table;
use super::parameters::{ParametersTable, Takes, is_bounded, names, required};
use super::problems::{At, Spot};
use super::written::{KindWord, Written};
use super::{IamAccess, Provider, ProviderKind};

/// Twelve digits.
#[derive(Debug, Clone)]
pub(super) struct AccountId(String);

impl FromStr for AccountId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self(text.to_owned()));
        }
        Err("an account is its id of 12 digits, in quotes")
    }
}

/// The name of a role: 1 to 64 letters, digits and any of `_+=,.@-`.
/// Source: "CreateRole" in the IAM API Reference.
#[derive(Debug, Clone)]
pub(super) struct RoleName(String);

impl FromStr for RoleName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err("a role is its name, without a path: 1 to 64 letters, digits or any of _+=,.@-")
    }
}

/// Whether people are known by the names of their sessions, in the file's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SessionNamesWord {
    Bound,
    Trusted,
}

/// An account, in the words of a `[[provider]]`.
pub(super) struct AccountTable {
    access: IamAccess,
    account: Option<At<AccountId>>,
    role: Option<At<RoleName>>,
    session_names: Option<At<SessionNamesWord>>,
    longest_session: Option<At<Ttl>>,
    region: Option<At<RegionName>>,
    endpoint: Option<At<Endpoint>>,
    calls_per_second: Option<At<u64>>,
}

impl IamAccess {
    /// How a `[[provider]]` of this kind gives access, where it is in IAM.
    pub(super) fn of(kind: KindWord) -> Option<Self> {
        match kind {
            KindWord::IamPolicy => Some(Self::Policy),
            KindWord::IamSession => Some(Self::Session),
            KindWord::Groupfile
            | KindWord::IdentityCenter
            | KindWord::Okta
            | KindWord::Vault
            | KindWord::Grafana
            | KindWord::Influxdb
            | KindWord::HomeAssistant => None,
        }
    }
}

impl AccountTable {
    pub(super) fn read(access: IamAccess, table: &mut Table<'_, '_>) -> Self {
        table.require("account", r#"account = "111122223333""#);
        let (mut role, mut session_names, mut longest_session) = (None, None, None);
        match access {
            IamAccess::Policy => {
                role = table.parsed("role");
                session_names = table.choice("session_names");
            }
            IamAccess::Session => longest_session = table.parsed("longest_session"),
        }
        Self {
            access,
            account: table.parsed("account"),
            role,
            session_names,
            longest_session,
            region: table.parsed("region"),
            endpoint: table.parsed("endpoint"),
            calls_per_second: table.whole("calls_per_second", 1..=1_000),
        }
    }
}

impl Check<'_, '_> {
    /// One provider in IAM. Two that put policies into one account would be two names for one thing.
    pub(super) fn account(
        &mut self,
        name: &ProviderName,
        table: &AccountTable,
        before: &[At<Provider>],
    ) -> Option<At<Provider>> {
        let At { value, at } = table.account.as_ref()?;
        let (id, at) = (&value.0, *at);
        let same = |it: &&At<Provider>| match &it.value.kind {
            ProviderKind::Iam {
                settings, access, ..
            } => settings.account_id == *id && *access == table.access,
            _ => false,
        };
        if let Some(first) = before.iter().find(same) {
            let first = self.problems.where_is(first.at);
            let what = format!("account {id} is given access in by another provider, {first}");
            let instead = "keep one of the two providers and use it in every entitlement";
            self.problems.add(at, what, instead);
        }
        let mut settings = Settings::new(name.clone(), id);
        settings.role = table.role.as_ref().map(|role| role.value.0.clone());
        if let Some(SessionNamesWord::Trusted) = table.session_names.as_ref().map(|it| it.value) {
            settings.session_names = SessionNames::Trusted;
        }
        if let Some(longest) = &table.longest_session {
            let least = Ttl::from_secs(900).ok()?;
            let most = Ttl::from_secs(12 * 3_600).ok()?;
            if !(least..=most).contains(&longest.value) {
                let what = format!("a session of {} cannot be had", longest.value);
                self.problems
                    .add(longest.at, what, "write 15m to 12h, as the roles allow");
            }
            settings.longest_session = longest.value.duration();
        }
        if let Some(region) = &table.region {
            settings.region = region.value.text().to_owned();
        }
        settings.endpoint_url = table.endpoint.as_ref().map(|it| it.value.text().to_owned());
        let usual = jit_iam::limits();
        let calls = table.calls_per_second.as_ref();
        let calls = calls.and_then(|calls| u32::try_from(calls.value).ok());
        let kind = ProviderKind::Iam {
            access: table.access,
            settings: Box::new(settings),
            limits: jit_iam::Limits {
                calls_per_second: calls.unwrap_or(usual.calls_per_second),
                ..usual
            },
        };
        let name = name.clone();
        let value = Provider { name, kind };
        Some(At { value, at })
    }

    /// That no two people are one owner of policies in an account, and that a role which several people
    /// have is nobody's own: a policy on it for one of them would be for all. IAM tells names apart
    /// without regard to case.
    pub(super) fn owners(&mut self, written: &Written) {
        for provider in &written.providers {
            let (Some(account), Some(name)) = (&provider.account, &provider.name) else {
                continue;
            };
            if account.access == IamAccess::Policy {
                let role = account.role.as_ref().map(|role| role.value.0.as_str());
                self.owners_at(&name.value, role, written);
            }
        }
    }

    fn owners_at(&mut self, provider: &ProviderName, role: Option<&str>, written: &Written) {
        let owners = written.people.iter().filter_map(|person| {
            let id = person.id.as_ref()?;
            let subjects = person.subjects.iter();
            let mut own = subjects.filter(|(name, _)| name.value == provider.as_str());
            let (text, at) = match own.next() {
                Some((_, subject)) => (subject.value.to_string(), subject.at),
                None => (format!("role/{}:{}", role?, id.value), id.at),
            };
            Some((text.to_ascii_lowercase(), at, id))
        });
        let owners: Vec<_> = owners.collect();
        // With a session a role is shared; so is the one that everybody else has.
        let shared = owners.iter().filter_map(|(text, ..)| text.split_once(':'));
        let shared = shared.map(|(role, _)| role.to_owned());
        let default = role.map(|role| format!("role/{role}").to_ascii_lowercase());
        let shared: BTreeSet<String> = shared.chain(default).collect();
        let mut taken: BTreeMap<&str, &At<PrincipalId>> = BTreeMap::new();
        for (text, at, id) in &owners {
            if shared.contains(text) {
                let what = format!("{text} is shared, so that it is nobody's own");
                let instead =
                    format!("write {text}:SESSION, with what this person's sessions are called");
                self.problems.add(*at, what, instead);
            }
            if let Some(first) = taken.insert(text, id) {
                let what = format!(
                    "{} and {} are both {text} at {provider}",
                    first.value, id.value
                );
                let instead = "give each person a role, a user or a session of their own: access of \
                               one would be the other's";
                self.problems.add(*at, what, instead);
            }
        }
    }

    /// That an entitlement's template is one, and that it and the schema name the same parameters:
    /// what nothing is made of would be a promise to whoever decides that nobody keeps.
    pub(super) fn fits_its_provider(
        &mut self,
        id: Option<&At<EntitlementId>>,
        table: &ParametersTable,
        takes: &Takes,
        kind: Option<KindWord>,
    ) {
        let Some(kind) = kind else { return };
        let nowhere = Spot::Unwritten;
        let at = id.map_or(nowhere, |id| id.at);
        match (IamAccess::of(kind), &table.template) {
            (None, template) => {
                let written = template.as_ref().map(|it| it.at).or(table.schema_at());
                if let Some(at) = written {
                    let what = "its provider takes no parameters and fills in nothing";
                    let instead = "remove it, or give it by a provider of kind iam_policy or \
                                   iam_session";
                    self.problems.add(at, what, instead);
                }
            }
            (Some(IamAccess::Policy), None) => {
                let what = "there is no policy that it would give";
                let instead = "write template = '''…''', the JSON of a policy with {parameters}";
                self.problems.add(at, what, instead);
            }
            (Some(IamAccess::Session), None) => {
                if let Some(at) = table.schema_at() {
                    let what = "its parameters have no place in anything";
                    let instead =
                        "write template = '''…''', the JSON of a policy with {parameters}";
                    self.problems.add(at, what, instead);
                }
            }
            // What is wrong with the schema is told already.
            (Some(_), Some(_)) if table.schema_at().is_some() && takes.rule.is_none() => {}
            (Some(_), Some(template)) => self.template_fits(template, takes),
        }
    }

    fn template_fits(&mut self, template: &At<String>, takes: &Takes) {
        let read = match Template::read(&template.value) {
            Ok(read) => read,
            Err(bad) => {
                let instead = "write the JSON of an IAM policy of Allow statements";
                self.problems.add(template.at, bad.to_string(), instead);
                return;
            }
        };
        let places: BTreeSet<String> = read.placeholders().map(str::to_owned).collect();
        let schema = takes.rule.as_ref().and_then(|rule| rule.schema());
        let schema = schema.map(|schema| schema.as_json());
        let declared = schema.map(names).unwrap_or_default();
        let needed = schema.map(required).unwrap_or_default();
        let list = |names: Vec<&String>| {
            let names: Vec<_> = names.into_iter().map(String::as_str).collect();
            names.join(", ")
        };
        let unknown: Vec<_> = places.difference(&declared).collect();
        if !unknown.is_empty() {
            let what = format!(
                "the template names {}, which no schema declares",
                list(unknown)
            );
            let instead = "declare it in `parameters`, under properties and under required";
            self.problems.add(template.at, what, instead);
        }
        let unused: Vec<_> = declared.difference(&places).collect();
        if !unused.is_empty() {
            let what = format!(
                "the schema declares {}, of which the template makes nothing",
                list(unused)
            );
            let instead = "put it into the template in braces, or remove it from the schema";
            self.problems.add(template.at, what, instead);
        }
        let free = read.whole_places().filter(|name| {
            let written = schema.and_then(|schema| schema.get("properties")?.get(name));
            written.is_some_and(|written| !is_bounded(written))
        });
        let free: Vec<_> = free.collect();
        if !free.is_empty() {
            let what = format!(
                "{} is all of an Action or a Resource, and the schema lets it be anything",
                free.join(", ")
            );
            let instead = "give it an enum, a const or a pattern";
            self.problems.add(template.at, what, instead);
        }
        let optional: Vec<_> = places
            .intersection(&declared)
            .filter(|it| !needed.contains(*it))
            .collect();
        if !optional.is_empty() {
            let what = format!(
                "{} may be left out, and the template needs it",
                list(optional)
            );
            let instead = "add it to required in the schema";
            self.problems.add(template.at, what, instead);
        }
    }
}
