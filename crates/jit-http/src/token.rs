//! Bearer tokens: making, listing and revoking them with a store open, and telling whose token a
//! call carries. A token says who somebody is and gives no authority; that is the engine's.
//!
//! The text is `jit_<public id>_<secret>`. The store keeps the SHA-256 of the secret, never the
//! secret. Rotation needs nothing of its own: one principal may have several tokens.

use std::fmt;

use jit_core::audit::{Actor, SystemFact};
use jit_core::digest::Digest;
use jit_core::engine::append_system;
use jit_core::ports::{CommitError, PortError, Random, RequestStore, Row, RowChange};
use jit_core::principal::PrincipalId;
use jit_core::{Timestamp, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// How long a token is valid where nobody says otherwise: 90 days, in seconds.
pub const LIFETIME_DEFAULT_SECS: u64 = 90 * 86_400;
/// The longest label, in characters.
pub const LABEL_LIMIT: usize = 100;
/// The table of the store's small rows that holds tokens, by public id.
const TABLE: &str = "token";
/// The id that is looked up for a text that is no token.
const NOBODY: &str = "0000000000000000";
const PUBLIC_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// A token that is to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose it is to be.
    pub principal: PrincipalId,
    /// What it is for, for whoever reads the list; perhaps nothing.
    pub label: String,
    /// How long it is valid; [`LIFETIME_DEFAULT_SECS`] where unset.
    pub lifetime: Option<Ttl>,
}

/// What is known of a token: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its public id: 16 hexadecimal digits, also in its text.
    pub id: String,
    /// Whose it is.
    pub principal: PrincipalId,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// It is valid before this instant.
    pub expires_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// A token that was made. Its text is shown once and kept nowhere.
#[derive(Debug)]
pub struct MadeToken {
    /// The text to put behind `Authorization: Bearer`.
    pub text: SecretString,
    /// What is known of it.
    pub token: Token,
}

/// Why a token was not made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is none with this public id.
    #[error("there is no token {id:?}; `jit token list` shows the ids")]
    Unknown {
        /// The id, cut at 40 characters.
        id: String,
    },
    /// It was revoked before.
    #[error("token {id} was revoked at {at}")]
    AlreadyRevoked {
        /// Which.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// The label cannot be shown in a list.
    #[error("a label is at most {LABEL_LIMIT} characters without control characters")]
    BadLabel,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] CommitError),
}

impl From<PortError> for TokenError {
    fn from(error: PortError) -> Self {
        Self::Store(error.into())
    }
}

/// Makes a token, and writes that into the system chain in the same commit.
pub async fn new_token(
    store: &dyn RequestStore,
    random: &dyn Random,
    now: Timestamp,
    ask: NewToken,
) -> Result<MadeToken, TokenError> {
    if ask.label.chars().count() > LABEL_LIMIT || ask.label.chars().any(char::is_control) {
        return Err(TokenError::BadLabel);
    }
    let id = hex(&drawn::<PUBLIC_BYTES>(random));
    let secret = SecretString::from(hex(&drawn::<SECRET_BYTES>(random)));
    let lifetime = ask.lifetime.map_or(
        std::time::Duration::from_secs(LIFETIME_DEFAULT_SECS),
        Ttl::duration,
    );
    let kept = Kept {
        principal: ask.principal,
        secret_sha256: Digest::of(secret.expose_secret().as_bytes()),
        label: ask.label,
        made_at: now,
        expires_at: now + lifetime,
        revoked_at: None,
    };
    let made = SystemFact::TokenMade {
        token: id.clone(),
        principal: kept.principal.clone(),
        expires_at: kept.expires_at,
    };
    let change = RowChange {
        row: kept.row(&id),
        expected: None,
    };
    append_system(store, now, &Actor::Operator, made, vec![change]).await?;
    let text = SecretString::from(format!("jit_{id}_{}", secret.expose_secret()));
    Ok(MadeToken {
        text,
        token: kept.into_token(id),
    })
}

/// Every token that was ever made, by public id.
pub async fn list(store: &dyn RequestStore) -> Result<Vec<Token>, PortError> {
    let rows = store.rows(TABLE).await?;
    rows.into_iter()
        .map(|row| Ok(Kept::read(&row)?.into_token(row.key)))
        .collect()
}

/// Revokes the token with this public id. From then on it is answered like one that never was.
pub async fn revoke(
    store: &dyn RequestStore,
    now: Timestamp,
    id: &str,
) -> Result<Token, TokenError> {
    let unknown = || TokenError::Unknown {
        id: id.chars().take(40).collect(),
    };
    let row = store.row(TABLE, id).await?.ok_or_else(unknown)?;
    let kept = Kept::read(&row)?;
    if let Some(at) = kept.revoked_at {
        return Err(TokenError::AlreadyRevoked {
            id: id.to_owned(),
            at,
        });
    }
    let revoked = Kept {
        revoked_at: Some(now),
        ..kept
    };
    let fact = SystemFact::TokenRevoked {
        token: id.to_owned(),
        principal: revoked.principal.clone(),
    };
    let change = RowChange {
        row: revoked.row(id),
        expected: Some(row.value),
    };
    append_system(store, now, &Actor::Operator, fact, vec![change]).await?;
    Ok(revoked.into_token(id.to_owned()))
}

/// Why a token says nothing about its bearer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAuthenticated {
    /// There is no such token, its secret is wrong, or it was revoked: all answered alike.
    #[error("the bearer token is missing or not valid; ask an operator for one")]
    Invalid,
    /// Its secret is right and its time is over.
    #[error("the bearer token has expired; ask an operator for a new one")]
    Expired,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] PortError),
}

/// Whose token this is. Every text takes the same path: one row is read and one digest compared.
pub(crate) async fn authenticate(
    store: &dyn RequestStore,
    now: Timestamp,
    text: &SecretString,
) -> Result<Token, NotAuthenticated> {
    let (id, secret) = split(text.expose_secret()).unwrap_or((NOBODY, ""));
    let presented = Digest::of(secret.as_bytes());
    let row = store.row(TABLE, id).await?;
    let kept = row.as_ref().map(Kept::read).transpose()?;
    // The digest of a text that no secret is, so that an unknown id matches nothing.
    let expected = kept
        .as_ref()
        .map_or_else(|| Digest::of(b"no token"), |kept| kept.secret_sha256);
    let matches = bool::from(presented.as_bytes().ct_eq(expected.as_bytes()));
    let kept = kept.filter(|_| matches).ok_or(NotAuthenticated::Invalid)?;
    if kept.revoked_at.is_some() {
        return Err(NotAuthenticated::Invalid);
    }
    if now >= kept.expires_at {
        return Err(NotAuthenticated::Expired);
    }
    Ok(kept.into_token(id.to_owned()))
}

fn split(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix("jit_")?.split_once('_')?;
    let whole = is_hex(id, PUBLIC_BYTES) && is_hex(secret, SECRET_BYTES);
    whole.then_some((id, secret))
}

fn is_hex(text: &str, bytes: usize) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == bytes * 2 && text.bytes().all(digit)
}

fn drawn<const BYTES: usize>(random: &dyn Random) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    random.fill(&mut bytes);
    bytes
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token as its row keeps it. A field is only ever added, with a default.
#[derive(Serialize, Deserialize)]
struct Kept {
    principal: PrincipalId,
    secret_sha256: Digest,
    made_at: Timestamp,
    expires_at: Timestamp,
    #[serde(default)]
    label: String,
    #[serde(default)]
    revoked_at: Option<Timestamp>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

impl Kept {
    fn read(row: &Row) -> Result<Self, PortError> {
        let kind = jit_core::ports::ErrorKind::Misconfigured;
        serde_json::from_str(&row.value)
            .map_err(|error| PortError::nothing_done("token", "read a row", kind).because(error))
    }

    fn row(&self, id: &str) -> Row {
        Row {
            table: TABLE,
            key: id.to_owned(),
            value: serde_json::to_string(self)
                .expect("a token row has string keys and no numbers, so it serialises"),
        }
    }

    fn into_token(self, id: String) -> Token {
        Token {
            id,
            principal: self.principal,
            label: self.label,
            made_at: self.made_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_core::engine::verify_audit;
    use jit_testkit::sample::{at, start};
    use jit_testkit::store::MemoryStore;
    use jit_testkit::time::SeededRandom;
    use proptest::prelude::*;
    use std::time::Duration;

    const ANA: &str = "ana@example.com";
    const DAYS_90: u64 = 90 * 86_400;

    async fn made(store: &MemoryStore, random: &SeededRandom) -> MadeToken {
        let ask = NewToken {
            principal: ANA.parse().unwrap(),
            label: "laptop".to_owned(),
            lifetime: None,
        };
        new_token(store, random, start(), ask).await.unwrap()
    }

    async fn who(store: &MemoryStore, now: Timestamp, text: &str) -> String {
        match authenticate(store, now, &SecretString::from(text)).await {
            Ok(token) => token.principal.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn a_token_is_valid_up_to_its_expiry_and_not_a_moment_longer() {
        let store = MemoryStore::new();
        let made = made(&store, &SeededRandom::new(1)).await;
        let text = made.text.expose_secret();
        assert_eq!(made.token.expires_at, at(DAYS_90));
        let last = at(DAYS_90) - Duration::from_micros(1);
        assert_eq!(who(&store, last, text).await, ANA);
        assert!(who(&store, at(DAYS_90), text).await.contains("expired"));
    }

    #[tokio::test]
    async fn only_the_right_secret_learns_that_a_token_has_expired() {
        let store = MemoryStore::new();
        let made = made(&store, &SeededRandom::new(1)).await;
        let wrong = format!("jit_{}_{}", made.token.id, "0".repeat(64));
        let answer = who(&store, at(DAYS_90), &wrong).await;
        assert_eq!(answer, NotAuthenticated::Invalid.to_string());
    }

    #[tokio::test]
    async fn a_revoked_token_is_answered_like_an_unknown_one() {
        let store = MemoryStore::new();
        let random = SeededRandom::new(1);
        let (one, two) = (made(&store, &random).await, made(&store, &random).await);
        revoke(&store, at(5), &one.token.id).await.unwrap();
        let invalid = NotAuthenticated::Invalid.to_string();
        assert_eq!(who(&store, at(6), one.text.expose_secret()).await, invalid);
        assert_eq!(
            who(&store, at(6), two.text.expose_secret()).await,
            ANA,
            "the second token of the same person still works"
        );
        let again = revoke(&store, at(7), &one.token.id).await.unwrap_err();
        assert!(matches!(again, TokenError::AlreadyRevoked { .. }));
        let unknown = revoke(&store, at(7), "nothing").await.unwrap_err();
        assert!(matches!(unknown, TokenError::Unknown { .. }));
    }

    #[tokio::test]
    async fn the_store_keeps_no_secret_and_the_audit_knows_every_token() {
        let store = MemoryStore::new();
        let made = made(&store, &SeededRandom::new(1)).await;
        let (_, secret) = split(made.text.expose_secret()).unwrap();
        revoke(&store, at(5), &made.token.id).await.unwrap();
        let row = store.row(TABLE, &made.token.id).await.unwrap().unwrap();
        assert!(!row.value.contains(secret));
        assert!(!format!("{made:?}").contains(secret));
        let facts = store.system_events(0, 10).await.unwrap();
        let bodies: Vec<&str> = facts.iter().map(|fact| fact.body.as_str()).collect();
        assert_eq!(bodies.len(), 2);
        assert!(bodies.iter().all(|body| !body.contains(secret)));
        assert!(bodies[0].contains("token_made") && bodies[1].contains("token_revoked"));
        assert_eq!(verify_audit(&store).await.unwrap().problems, vec![]);
        assert_eq!(list(&store).await.unwrap()[0].revoked_at, Some(at(5)));
    }

    #[tokio::test]
    async fn a_label_that_would_spoil_a_list_is_refused() {
        let store = MemoryStore::new();
        for label in ["a\u{1b}[2J".to_owned(), "x".repeat(101)] {
            let ask = NewToken {
                principal: ANA.parse().unwrap(),
                label,
                lifetime: None,
            };
            let made = new_token(&store, &SeededRandom::new(1), start(), ask).await;
            assert!(matches!(made, Err(TokenError::BadLabel)));
        }
        assert!(list(&store).await.unwrap().is_empty());
    }

    #[test]
    fn every_row_ever_released_still_loads() {
        let value = r#"{"principal":"ana@example.com","secret_sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","made_at":"2026-01-01T00:00:00Z","expires_at":"2026-04-01T00:00:00Z","label":"laptop","revoked_at":null}"#;
        let row = Row {
            table: TABLE,
            key: "0123456789abcdef".to_owned(),
            value: value.to_owned(),
        };
        let kept = Kept::read(&row).unwrap();
        assert_eq!(kept.principal.as_str(), ANA);
        let again: serde_json::Value =
            serde_json::from_str(&kept.row("0123456789abcdef").value).unwrap();
        assert_eq!(
            again,
            serde_json::from_str::<serde_json::Value>(value).unwrap()
        );
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in "(jit_)?[0-9a-f_]{0,90}|.{0,90}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let found = runtime.block_on(async {
                let store = MemoryStore::new();
                let made = made(&store, &SeededRandom::new(1)).await;
                let real = made.text.expose_secret() == text;
                authenticate(&store, at(1), &SecretString::from(text)).await.is_ok() && !real
            });
            prop_assert!(!found);
        }
    }
}
