//! What the file says of Okta: the organization as a provider, and as the directory of people. Its
//! secrets are in the environment.

use std::collections::BTreeMap;
use std::str::FromStr;

use jit_core::catalog::ProviderName;
use jit_core::principal::{GroupName, PrincipalId, Subject};
use jit_core::quota::Rate;
use jit_okta::{Auth, DirectorySettings, Limits, Settings};
use secrecy::SecretString;

use super::check::Check;
use super::document::Table;
use super::problems::{At, Spot};
use super::written::Written;
use super::{Directory, OktaOrganization};

/// An API token of the organization.
pub(super) const OKTA_TOKEN: &str = "JIT_OKTA_TOKEN";
/// The private key of a service app there.
pub(super) const OKTA_PRIVATE_KEY: &str = "JIT_OKTA_PRIVATE_KEY";

/// What a token of a service app is asked to be good for.
const SCOPES: [&str; 2] = ["okta.groups.manage", "okta.users.read"];

/// The address of an organization.
#[derive(Debug, Clone)]
pub(super) struct OrgUrl(String);

impl FromStr for OrgUrl {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let local = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
        let port = local.iter().find_map(|it| text.strip_prefix(it));
        let is_local = port.is_some_and(|it| it.trim_end_matches('/').parse::<u16>().is_ok());
        let host = text.strip_prefix("https://").unwrap_or_default();
        let host = host.strip_suffix('/').unwrap_or(host);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        let is_host = !host.is_empty() && !host.starts_with(':') && host.bytes().all(plain);
        if is_host || is_local {
            return Ok(Self(text.trim_end_matches('/').to_owned()));
        }
        Err("an organization is https:// and its host, as in https://example.okta.com")
    }
}

/// The id of a group there.
#[derive(Debug, Clone)]
pub(super) struct GroupId(String);

impl FromStr for GroupId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if text.starts_with("00g") && plain && (4..=40).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err("a group is 00g…, as its page in the admin console has it in its address")
    }
}

/// The name of an attribute of users.
#[derive(Debug, Clone)]
pub(super) struct Attribute(String);

impl FromStr for Attribute {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if begins && plain && text.len() <= 60 {
            return Ok(Self(text.to_owned()));
        }
        Err("an attribute is written as its variable name in the profile editor, as in managerId")
    }
}

/// An organization, in the words of a `[[provider]]`.
#[derive(Default)]
pub(super) struct OrganizationTable {
    org_url: Option<At<OrgUrl>>,
    client_id: Option<At<String>>,
    key_id: Option<At<String>>,
    residual: Option<At<super::written::Residual>>,
    calls_per_second: Option<At<u64>>,
    at_once: Option<At<u64>>,
}

/// `[directory]`.
pub(super) struct DirectoryTable {
    okta: Option<At<ProviderName>>,
    groups: Vec<(At<String>, At<GroupId>)>,
    manager: Option<At<Attribute>>,
    slack: Option<At<Attribute>>,
    person: Option<At<Attribute>>,
}

impl OrganizationTable {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("org_url", r#"org_url = "https://example.okta.com""#);
        Self {
            org_url: table.parsed("org_url"),
            client_id: table.line("client_id", 100),
            key_id: table.line("key_id", 100),
            residual: table.parsed("residual"),
            calls_per_second: table.whole("calls_per_second", 1..=1_000),
            at_once: table.whole("at_once", 4..=75),
        }
    }

    /// Where the organization is said.
    pub(super) fn at(&self) -> Option<Spot> {
        self.org_url.as_ref().map(|it| it.at)
    }
}

impl DirectoryTable {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("okta", r#"okta = "okta""#);
        Self {
            okta: table.parsed("okta"),
            groups: table.parsed_pairs("groups"),
            manager: table.parsed("manager"),
            slack: table.parsed("slack"),
            person: table.parsed("person"),
        }
    }

    /// The groups that it fills.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupName> {
        let names = self.groups.iter();
        names.filter_map(|(name, _)| name.value.parse().ok())
    }
}

impl Check<'_, '_> {
    /// The organization of this provider, with what opens its door.
    pub(super) fn organization(
        &mut self,
        name: &ProviderName,
        table: &OrganizationTable,
    ) -> Option<OktaOrganization> {
        let (environment, folder) = (self.environment, self.folder);
        let token = environment.secret(OKTA_TOKEN, folder, self.problems);
        let key = environment.secret_text(OKTA_PRIVATE_KEY, folder, self.problems);
        let org_url = table.org_url.as_ref()?;
        let auth = self.auth(table, org_url.at, token, key)?;
        let mut settings = Settings::new(name.clone(), &org_url.value.0, auth);
        if let Some(residual) = &table.residual {
            settings.residual = residual.value.duration();
        }
        let number = |written: &Option<At<u64>>| {
            let written = written.as_ref().map(|written| written.value);
            written.and_then(|it| u32::try_from(it).ok())
        };
        let usual = Limits::default();
        let per_second = number(&table.calls_per_second);
        settings.limits = Limits {
            calls: per_second.map_or(usual.calls, |per_second| Rate {
                per_second,
                burst: per_second.saturating_mul(16),
            }),
            at_once: number(&table.at_once).unwrap_or(usual.at_once),
            ..usual
        };
        Some(OktaOrganization(Box::new(settings)))
    }

    /// How this service proves who it is: a service app where one is written down, else a token.
    fn auth(
        &mut self,
        table: &OrganizationTable,
        at: Spot,
        token: Option<SecretString>,
        key: Option<SecretString>,
    ) -> Option<Auth> {
        let set = |name: &str, why: &str| {
            format!("set {name}, or {name}_FILE to the file that holds {why}")
        };
        match (&table.client_id, &table.key_id, key, token) {
            (Some(client_id), Some(key_id), Some(private_key), None) => Some(Auth::PrivateKeyJwt {
                client_id: client_id.value.clone(),
                key_id: key_id.value.clone(),
                private_key,
                scopes: SCOPES.map(str::to_owned).to_vec(),
            }),
            (None, None, None, Some(token)) => Some(Auth::Ssws(token)),
            (Some(client_id), Some(_), None, None) => {
                let what = "there is no private key for the service app";
                let instead = set(OKTA_PRIVATE_KEY, "it, as PEM of PKCS#8");
                self.problems.add(client_id.at, what, instead);
                None
            }
            (Some(one), None, ..) | (None, Some(one), ..) => {
                let what = "a service app has a client_id and a key_id";
                self.problems
                    .add(one.at, what, "write both, or neither and use a token");
                None
            }
            (Some(_), Some(_), _, Some(_)) => {
                let what = "there is a token as well as a service app";
                let instead = "keep one of the two: unset it, or remove client_id and key_id";
                self.problems.add(Spot::Variable(OKTA_TOKEN), what, instead);
                None
            }
            (None, None, Some(_), _) => {
                let what = "there is a private key and no service app";
                let instead = "write client_id and key_id in the [[provider]], or unset it";
                self.problems
                    .add(Spot::Variable(OKTA_PRIVATE_KEY), what, instead);
                None
            }
            (None, None, None, None) => {
                let what = "nothing opens the door of this organization";
                let instead = format!(
                    "{}; or write client_id and key_id of a service app",
                    set(OKTA_TOKEN, "an API token")
                );
                self.problems.add(at, what, instead);
                None
            }
        }
    }

    /// The directory of people.
    pub(super) fn directory(&mut self, written: &Written) -> Option<Directory> {
        let table = written.directory.as_ref()?;
        let okta = table.okta.as_ref()?;
        let organizations = written
            .providers
            .iter()
            .filter(|it| it.organization.is_some());
        let names = organizations.filter_map(|it| it.name.as_ref());
        let names: Vec<&ProviderName> = names.map(|name| &name.value).collect();
        if !names.contains(&&okta.value) {
            let what = format!("{} is no provider of the kind okta", okta.value);
            let instead = match names.first() {
                Some(name) => format!("write okta = \"{name}\""),
                None => "write a [[provider]] with kind = \"okta\"".to_owned(),
            };
            self.problems.add(okta.at, what, instead);
        }
        let mut groups = BTreeMap::new();
        for (name, id) in &table.groups {
            match name.value.parse::<GroupName>() {
                Ok(group) if group.as_str().contains(':') => {
                    let what = format!("{group} does not read as the name of a group of people");
                    let instead =
                        "oncall: and slack: begin names that others fill; write it without";
                    self.problems.add(name.at, what, instead);
                }
                Ok(group) => drop(groups.insert(group, id.value.0.clone())),
                Err(error) => self
                    .problems
                    .add(name.at, "it is refused", error.to_string()),
            }
        }
        let configured = written.people.iter().filter_map(|person| {
            let id = person.id.as_ref()?;
            let mut subjects = person.subjects.iter();
            let (_, subject) =
                subjects.find(|(provider, _)| provider.value == okta.value.as_str())?;
            Some((subject.value.clone(), id.value.clone()))
        });
        let configured: BTreeMap<Subject, PrincipalId> = configured.collect();
        let attribute =
            |written: &Option<At<Attribute>>| written.as_ref().map(|it| it.value.0.clone());
        let usual = DirectorySettings::default();
        Some(Directory {
            settings: DirectorySettings {
                groups,
                manager_attribute: attribute(&table.manager).or(usual.manager_attribute),
                slack_attribute: attribute(&table.slack),
                person_attribute: attribute(&table.person),
                configured,
            },
        })
    }
}
