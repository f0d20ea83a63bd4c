//! What the file says of AWS: the table of the store, and the instances of Identity Center.

use std::str::FromStr;

use jit_core::catalog::ProviderName;
use jit_dynamodb::Settings as TableSettings;
use jit_identity_center::{AccountNames, Limits, OfferScope, Settings, UserLookup};
use serde::Deserialize;

use super::check::Check;
use super::document::Table;
use super::problems::{At, Spot};

/// The name of a DynamoDB table: 3 to 255 letters, digits, `_`, `-` or `.`.
/// Source: "Naming rules" in the DynamoDB Developer Guide.
#[derive(Debug, Clone)]
pub(super) struct TableName(String);

impl FromStr for TableName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if (3..=255).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err("a table is named with 3 to 255 letters, digits, _, - or .")
    }
}

/// A region, such as `eu-central-1`.
#[derive(Debug, Clone)]
pub(super) struct RegionName(String);

impl RegionName {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegionName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (5..=30).contains(&text.len()) && text.bytes().all(plain) && text.contains('-') {
            return Ok(Self(text.to_owned()));
        }
        Err("a region is named as in eu-central-1")
    }
}

/// Where an AWS service answers: over TLS, or on this machine.
#[derive(Debug, Clone)]
pub(super) struct Endpoint(String);

impl Endpoint {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let is_local = local.iter().any(|local| {
            let rest = text.strip_prefix(local);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        });
        if text.starts_with("https://") || is_local {
            return Ok(Self(text.trim_end_matches('/').to_owned()));
        }
        Err("an endpoint begins with https://, or with http:// on a loopback address")
    }
}

/// The ARN of an Identity Center instance.
#[derive(Debug, Clone)]
pub(super) struct InstanceArn(String);

impl FromStr for InstanceArn {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.split_once(":::instance/");
        let fits = id.is_some_and(|(arn, id)| {
            arn.starts_with("arn:aws") && arn.ends_with(":sso") && id.starts_with("ssoins-")
        });
        if fits && text.len() <= 200 {
            return Ok(Self(text.to_owned()));
        }
        Err(
            "an instance is arn:aws:sso:::instance/ssoins-…, as `aws sso-admin list-instances` shows it",
        )
    }
}

/// The id of an identity store.
#[derive(Debug, Clone)]
pub(super) struct IdentityStoreId(String);

impl FromStr for IdentityStoreId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.strip_prefix("d-").unwrap_or(text);
        let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        if (10..=36).contains(&id.len()) && id.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err("an identity store is d-…, as `aws sso-admin list-instances` shows it")
    }
}

/// What a person's id is in the identity store, in the file's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum UsersWord {
    Email,
    UserName,
}

/// What can be found, in the file's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OffersWord {
    Every,
    Provisioned,
}

/// What accounts are called, in the file's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AccountsWord {
    Names,
    Ids,
}

/// Which table, in the words of `[store]`.
#[derive(Default)]
pub(super) struct StoreTable {
    pub(super) table: Option<At<TableName>>,
    region: Option<At<RegionName>>,
    endpoint: Option<At<Endpoint>>,
}

impl StoreTable {
    pub(super) fn read(store: &mut Table<'_, '_>) -> Self {
        Self {
            table: store.parsed("dynamodb"),
            region: store.parsed("region"),
            endpoint: store.parsed("endpoint"),
        }
    }
}

/// An instance, in the words of a `[[provider]]`.
#[derive(Default)]
pub(super) struct InstanceTable {
    region: Option<At<RegionName>>,
    instance: Option<At<InstanceArn>>,
    identity_store: Option<At<IdentityStoreId>>,
    users: Option<At<UsersWord>>,
    offers: Option<At<OffersWord>>,
    accounts: Option<At<AccountsWord>>,
    calls_per_second: Option<At<u64>>,
    outstanding: Option<At<u64>>,
    endpoint: Option<At<Endpoint>>,
}

impl InstanceTable {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("region", r#"region = "eu-central-1""#);
        table.require(
            "instance",
            r#"instance = "arn:aws:sso:::instance/ssoins-1234567890abcdef""#,
        );
        table.require("identity_store", r#"identity_store = "d-1234567890""#);
        Self {
            region: table.parsed("region"),
            instance: table.parsed("instance"),
            identity_store: table.parsed("identity_store"),
            users: table.choice("users"),
            offers: table.choice("offers"),
            accounts: table.choice("accounts"),
            calls_per_second: table.whole("calls_per_second", 1..=1_000),
            outstanding: table.whole("outstanding", 1..=100),
            endpoint: table.parsed("endpoint"),
        }
    }

    /// The settings, if every key could be read.
    pub(super) fn settings(&self, provider: &ProviderName) -> Option<(Settings, Limits)> {
        let (region, instance) = (self.region.as_ref()?, self.instance.as_ref()?);
        let identity_store = self.identity_store.as_ref()?;
        let mut settings = Settings::new(
            provider.clone(),
            &region.value.0,
            &instance.value.0,
            &identity_store.value.0,
        );
        let endpoint = self.endpoint.as_ref();
        settings.endpoint_url = endpoint.map(|endpoint| endpoint.value.0.clone());
        settings.users = match self.users.as_ref().map(|users| users.value) {
            Some(UsersWord::UserName) => UserLookup::UserName,
            Some(UsersWord::Email) | None => UserLookup::Email,
        };
        settings.offers = match self.offers.as_ref().map(|offers| offers.value) {
            Some(OffersWord::Provisioned) => OfferScope::Provisioned,
            Some(OffersWord::Every) | None => OfferScope::Every,
        };
        settings.accounts = match self.accounts.as_ref().map(|accounts| accounts.value) {
            Some(AccountsWord::Ids) => AccountNames::Ids,
            Some(AccountsWord::Names) | None => AccountNames::Names,
        };
        let usual = Limits::default();
        let number = |written: &Option<At<u64>>, usual| {
            let written = written.as_ref().map(|written| written.value);
            written
                .and_then(|it| u32::try_from(it).ok())
                .unwrap_or(usual)
        };
        let limits = Limits {
            calls_per_second: number(&self.calls_per_second, usual.calls_per_second),
            outstanding: number(&self.outstanding, usual.outstanding),
            ..usual
        };
        Some((settings, limits))
    }

    /// Where the instance is said, and which it is.
    pub(super) fn instance(&self) -> Option<(&str, Spot)> {
        let instance = self.instance.as_ref()?;
        Some((&instance.value.0, instance.at))
    }
}

impl Check<'_, '_> {
    /// The table of `[store]`, where one is named.
    pub(super) fn table(
        &mut self,
        written: &StoreTable,
        sqlite: Option<&At<String>>,
    ) -> Option<TableSettings> {
        let region = written.region.as_ref().map(|region| region.at);
        let without = region.or(written.endpoint.as_ref().map(|endpoint| endpoint.at));
        let Some(table) = &written.table else {
            if let Some(at) = without {
                let what = "[store] names a region or an endpoint and no table";
                self.problems
                    .add(at, what, "write dynamodb = \"jit\", or remove it");
            }
            return None;
        };
        if let Some(sqlite) = sqlite {
            let first = self.problems.where_is(sqlite.at);
            let what = format!("[store] names a table and a file as well, {first}");
            self.problems.add(table.at, what, "keep one of the two");
        }
        Some(TableSettings {
            table: table.value.0.clone(),
            region: written.region.as_ref().map(|region| region.value.0.clone()),
            endpoint: written.endpoint.as_ref().map(|it| it.value.0.clone()),
        })
    }
}
