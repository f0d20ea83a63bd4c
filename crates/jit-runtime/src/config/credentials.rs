//! Providers that make credentials: a Vault, and services that make tokens themselves, whose own
//! credentials are read there. What opens the Vault's door is in the environment.

use std::str::FromStr;

use jit_core::Ttl;
use jit_core::catalog::ProviderName;
use jit_vault::{SecretId, Settings};
use jit_wire::Address;

use super::check::Check;
use super::document::Table;
use super::problems::{At, Spot};
use super::written::KindWord;
use super::{Minting, Provider, ProviderKind, VaultServer};

/// The AppRole's role id.
pub(super) const VAULT_ROLE_ID: &str = "JIT_VAULT_ROLE_ID";
/// Its secret id.
pub(super) const VAULT_SECRET_ID: &str = "JIT_VAULT_SECRET_ID";
/// A wrapping token with the secret id in it.
pub(super) const VAULT_WRAPPED_SECRET_ID: &str = "JIT_VAULT_WRAPPED_SECRET_ID";

/// The longest path or namespace, in characters.
const PATH_LIMIT: usize = 256;

/// Where a service answers, also without TLS where the file says that this is meant.
#[derive(Debug, Clone)]
pub(super) struct AnyAddress(pub(super) Address);

impl FromStr for AnyAddress {
    type Err = jit_wire::BadAddress;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().or_else(|_| Address::plain(text)).map(Self)
    }
}

/// A Vault, or a service, in the words of a `[[provider]]`.
pub(super) struct MintingTable {
    kind: Makes,
    address: Option<At<AnyAddress>>,
    plain_http: bool,
    secret: Option<At<String>>,
    namespace: Option<At<String>>,
    approle: Option<At<String>>,
    num_uses: Option<At<u64>>,
    wrap_ttl: Option<At<Ttl>>,
}

/// What a `[[provider]]` of this kind makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Makes {
    TokensOfVault,
    TokensOf(Minting),
}

impl Makes {
    /// Nothing, unless it makes credentials.
    pub(super) fn of(kind: KindWord) -> Option<Self> {
        match kind {
            KindWord::Vault => Some(Self::TokensOfVault),
            KindWord::Grafana => Some(Self::TokensOf(Minting::Grafana)),
            KindWord::Influxdb => Some(Self::TokensOf(Minting::InfluxDb)),
            KindWord::HomeAssistant => Some(Self::TokensOf(Minting::HomeAssistant)),
            KindWord::Groupfile
            | KindWord::IdentityCenter
            | KindWord::IamPolicy
            | KindWord::IamSession
            | KindWord::Okta => None,
        }
    }
}

impl MintingTable {
    /// Where a Vault is written, if this is one.
    pub(super) fn vault(&self, name: Spot) -> Option<Spot> {
        let at = self.address.as_ref().map_or(name, |address| address.at);
        (self.kind == Makes::TokensOfVault).then_some(at)
    }

    pub(super) fn read(kind: Makes, table: &mut Table<'_, '_>) -> Self {
        table.require("address", r#"address = "https://vault.example.com:8200""#);
        let of_vault = kind == Makes::TokensOfVault;
        if !of_vault {
            table.require("secret", r#"secret = "homelab/data/docker/grafana""#);
        }
        let address = table.parsed("address");
        let plain_http = table.flag("plain_http").is_some_and(|it| it.value);
        let mut read = Self {
            kind,
            address,
            plain_http,
            secret: None,
            namespace: None,
            approle: None,
            num_uses: None,
            wrap_ttl: None,
        };
        match of_vault {
            true => {
                read.namespace = table.line("namespace", PATH_LIMIT);
                read.approle = table.line("approle", PATH_LIMIT);
                read.num_uses = table.whole("num_uses", 1..=1_000_000);
                read.wrap_ttl = table.parsed("wrap_ttl");
            }
            false => read.secret = table.line("secret", PATH_LIMIT),
        }
        read
    }
}

impl Check<'_, '_> {
    /// One provider that makes credentials. All services share one Vault, and there is one at most:
    /// the one that is written at `vault`, before this one, whatever else is wrong with it.
    pub(super) fn minting(
        &mut self,
        name: &ProviderName,
        table: &MintingTable,
        vault: Option<Spot>,
    ) -> Option<At<Provider>> {
        let At { value, at } = table.address.as_ref()?;
        let (at, address) = (*at, value.0.clone());
        if address.is_plain() && !table.plain_http {
            let what = format!("{address} is not encrypted, and secrets would cross the network");
            let instead =
                "write https://; or, where that network is yours alone, plain_http = true";
            self.problems.add(at, what, instead);
        }
        let kind = match (table.kind, vault) {
            (Makes::TokensOfVault, Some(first)) => {
                let first = self.problems.where_is(first);
                let what = format!("there is a Vault already, {first}");
                self.problems.add(at, what, "keep one of the two");
                return None;
            }
            (Makes::TokensOfVault, None) => {
                ProviderKind::Vault(self.vault(name, table, address, at)?)
            }
            (Makes::TokensOf(kind), vault) => {
                if vault.is_none() {
                    let what = format!("nobody keeps what opens the door of {name}");
                    let instead = "write a [[provider]] of kind = \"vault\" before it";
                    self.problems.add(at, what, instead);
                }
                ProviderKind::Tokens {
                    kind,
                    address,
                    path: table.secret.as_ref()?.value.clone(),
                }
            }
        };
        let name = name.clone();
        let value = Provider { name, kind };
        Some(At { value, at })
    }

    fn vault(
        &mut self,
        name: &ProviderName,
        table: &MintingTable,
        address: Address,
        at: Spot,
    ) -> Option<VaultServer> {
        let names = [VAULT_ROLE_ID, VAULT_SECRET_ID, VAULT_WRAPPED_SECRET_ID];
        let set = names.map(|name| self.environment.has_secret(name));
        let mut secret = |name| self.environment.secret(name, self.folder, self.problems);
        let role = secret(VAULT_ROLE_ID);
        let plain = secret(VAULT_SECRET_ID);
        let wrapped = secret(VAULT_WRAPPED_SECRET_ID);
        let secret_id = match (plain, wrapped) {
            (Some(plain), None) => Some(SecretId::Plain(plain)),
            (None, Some(wrapped)) => Some(SecretId::Wrapped(wrapped)),
            (None, None) => None,
            (Some(_), Some(_)) => {
                let what = format!("{VAULT_SECRET_ID} and {VAULT_WRAPPED_SECRET_ID} are both set");
                let at = Spot::Variable(VAULT_WRAPPED_SECRET_ID);
                self.problems.add(at, what, "keep one of them");
                return None;
            }
        };
        let (Some(role), Some(secret_id)) = (role, secret_id) else {
            if let [true, true, _] | [true, _, true] = set {
                // What is wrong with one of them is told already.
                return None;
            }
            let what = "there is no AppRole to log in to Vault by";
            let instead = format!(
                "set {VAULT_ROLE_ID} and {VAULT_SECRET_ID}, or VAULT_ROLE_ID and VAULT_SECRET_ID; \
                 each may be a file by the same name with _FILE behind it"
            );
            self.problems.add(at, what, instead);
            return None;
        };
        let usual = Settings::new(name.clone(), address, role, secret_id);
        let uses = table.num_uses.as_ref().map(|it| it.value);
        Some(VaultServer(Box::new(Settings {
            namespace: table.namespace.as_ref().map(|it| it.value.clone()),
            approle_mount: table
                .approle
                .as_ref()
                .map_or(usual.approle_mount, |it| it.value.clone()),
            num_uses: uses.and_then(|uses| u32::try_from(uses).ok()),
            wrap_ttl: table.wrap_ttl.as_ref().map(|it| it.value.duration()),
            ..usual
        })))
    }
}
