//! What Vault's answers look like, as far as they are read. Secrets are hidden as soon as they are.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The sentences of a refusal. They are looked at and never kept: some repeat what was sent.
/// Source: <https://developer.hashicorp.com/vault/api-docs#error-response>
#[derive(Deserialize)]
pub(crate) struct Refusal {
    errors: Vec<String>,
}

impl Refusal {
    fn says(&self, words: &str) -> bool {
        self.errors.iter().any(|it| it.contains(words))
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.says("sealed")
    }

    /// That it is our own token that is not good any more.
    /// Source: <https://developer.hashicorp.com/vault/docs/concepts/tokens#error-responses>
    pub(crate) fn is_of_a_dead_token(&self) -> bool {
        self.says("invalid token")
    }

    /// That there is no token by this accessor: `invalid accessor`, or, where it died a moment ago,
    /// `bad token` or `token not found`. Seen with 400 and 403.
    /// Source: `handleUpdateLookupAccessor`, `handleUpdateRevokeAccessor` and `handleLookup` in
    /// <https://github.com/hashicorp/vault/blob/main/vault/token_store.go>
    pub(crate) fn is_of_an_unknown_accessor(&self) -> bool {
        ["invalid accessor", "bad token", "token not found"]
            .iter()
            .any(|it| self.says(it))
    }

    /// That nothing answers at this path.
    pub(crate) fn is_of_an_unknown_path(&self) -> bool {
        self.says("no handler for route") || self.says("unsupported path")
    }
}

/// What every answer of Vault's that is not empty has around it.
#[derive(Deserialize)]
pub(crate) struct Envelope {
    #[serde(rename = "request_id")]
    _request_id: String,
}

/// An answer with a token in it: a login, a renewal, a new token.
#[derive(Deserialize)]
pub(crate) struct Authenticated {
    pub(crate) auth: Auth,
    pub(crate) warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(crate) struct Auth {
    pub(crate) client_token: SecretString,
    pub(crate) accessor: String,
    pub(crate) lease_duration: u64,
    pub(crate) renewable: bool,
    #[serde(default)]
    pub(crate) token_policies: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) token_type: Option<String>,
    #[serde(default)]
    pub(crate) orphan: Option<bool>,
}

/// Only the name of a new token, where the rest of the answer makes no sense.
#[derive(Deserialize)]
pub(crate) struct Named {
    pub(crate) auth: Option<Accessor>,
    pub(crate) wrap_info: Option<WrappedAccessor>,
}

#[derive(Deserialize)]
pub(crate) struct Accessor {
    pub(crate) accessor: String,
}

#[derive(Deserialize)]
pub(crate) struct WrappedAccessor {
    pub(crate) wrapped_accessor: String,
}

/// An answer in a wrapping.
/// Source: <https://developer.hashicorp.com/vault/docs/concepts/response-wrapping>
#[derive(Deserialize)]
pub(crate) struct InWrapping {
    pub(crate) wrap_info: WrapInfo,
    #[serde(default)]
    pub(crate) warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(crate) struct WrapInfo {
    pub(crate) token: SecretString,
    pub(crate) wrapped_accessor: String,
}

/// What a look at a token shows.
#[derive(Deserialize)]
pub(crate) struct LookedUp {
    pub(crate) data: Looked,
}

#[derive(Deserialize)]
pub(crate) struct Looked {
    pub(crate) accessor: String,
    pub(crate) orphan: bool,
    pub(crate) policies: Vec<String>,
    pub(crate) creation_ttl: u64,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// What was in the wrapping of a secret id.
#[derive(Deserialize)]
pub(crate) struct Unwrapped {
    pub(crate) data: SecretIdData,
}

#[derive(Deserialize)]
pub(crate) struct SecretIdData {
    pub(crate) secret_id: SecretString,
}

/// A secret of KV version 2.
/// Source: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version>
#[derive(Deserialize)]
pub(crate) struct Secret {
    pub(crate) data: SecretVersion,
}

#[derive(Deserialize)]
pub(crate) struct SecretVersion {
    /// Null where the version was deleted.
    pub(crate) data: Option<BTreeMap<String, Field>>,
}

/// A field of a secret, if it is a text.
pub(crate) struct Field(pub(crate) Option<SecretString>);

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyField)
    }
}

/// Reads a text straight into its hiding place, and skips the rest: no copy is made on the way.
struct AnyField;

impl<'de> Visitor<'de> for AnyField {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field of a secret")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field(Some(text.into())))
    }

    fn visit_string<E>(self, text: String) -> Result<Field, E> {
        Ok(Field(Some(text.into())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
        Ok(Field(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Field, E> {
        Ok(Field(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field(None))
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Field, A::Error> {
        while pairs.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field(None))
    }
}

/// The server's own word on its health.
#[derive(Deserialize)]
pub(crate) struct ServerHealth {
    pub(crate) initialized: bool,
    pub(crate) sealed: bool,
    /// Which cluster it is; it stays the same as long as that cluster's storage does.
    #[serde(default)]
    pub(crate) cluster_id: Option<String>,
}
