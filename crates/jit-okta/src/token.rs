//! What opens the organization's door: an API token, or access tokens of a service app that are
//! renewed before they end. What is asked behind the door is none of its business.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jit_core::Timestamp;
use jit_core::ports::{Clock, Random};
use jit_wire::Wire;
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::trouble::{NotDone, Trouble};
use crate::wire;

/// How long an assertion is good for; Okta takes an hour at most ("Implement OAuth for Okta with a
/// service app").
///
/// Half of it, and nothing is said of when it was made: a clock that is wrong by half an hour, either
/// way, keeps nobody from taking access away.
const ASSERTED_FOR: Duration = Duration::from_secs(1_800);
/// How long before its end an access token is renewed, of the hour that it has, at most; a shorter
/// one is renewed in the last quarter of its life.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);
/// An access token that ends within this is not sent any more.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
/// After a renewal that failed, the old token is used for so long before it is tried again.
const RENEWED_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The longest that getting a token takes.
const TOKEN_LIMIT: Duration = Duration::from_secs(5);
/// No access token is believed to live longer than a day.
const LIFE_LIMIT_SECS: u64 = 86_400;

/// How this service proves to Okta who it is.
#[derive(Debug, Clone)]
pub enum Auth {
    /// An API token of the admin console.
    Ssws(SecretString),
    /// A service app with a key (`private_key_jwt`).
    PrivateKeyJwt {
        /// The app's client id.
        client_id: String,
        /// The `kid` of the public key that the app has.
        key_id: String,
        /// The private key: PEM of PKCS#8, RSA with 2048 bits or more, or P-256.
        private_key: SecretString,
        /// Which scopes the tokens have.
        scopes: Vec<String>,
    },
}

/// A token as it is sent.
pub(crate) struct Bearer {
    header: HeaderValue,
    renew_at: Timestamp,
    ends_at: Timestamp,
}

/// The header that a token is sent in. It is marked as a secret, so that nobody prints it.
fn header(kind: &str, secret: &str) -> Result<HeaderValue, Trouble> {
    let text = Zeroizing::new(format!("{kind} {secret}"));
    let header = HeaderValue::from_str(&text);
    let mut header = header.map_err(|_| {
        Trouble::BadSettings("the token holds what no header can hold: a line end, for one")
    })?;
    header.set_sensitive(true);
    Ok(header)
}

impl Bearer {
    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer")
            .field("ends_at", &self.ends_at)
            .finish_non_exhaustive()
    }
}

/// Where tokens come from.
#[derive(Debug)]
pub(crate) enum Tokens {
    Lasting(Arc<Bearer>),
    Renewed(Box<Service>),
}

impl Tokens {
    pub(crate) fn new(
        auth: Auth,
        token_url: Url,
        random: Arc<dyn Random>,
    ) -> Result<Self, Trouble> {
        match auth {
            Auth::Ssws(token) => {
                let token = token.expose_secret().trim();
                if token.is_empty() {
                    return Err(Trouble::BadSettings("the API token is empty"));
                }
                Ok(Self::Lasting(Arc::new(Bearer {
                    header: header("SSWS", token)?,
                    renew_at: Timestamp::MAX,
                    ends_at: Timestamp::MAX,
                })))
            }
            Auth::PrivateKeyJwt {
                client_id,
                key_id,
                private_key,
                scopes,
            } => {
                if client_id.is_empty() || key_id.is_empty() || scopes.is_empty() {
                    let say =
                        "the client id, the key id or the scopes of the service app are empty";
                    return Err(Trouble::BadSettings(say));
                }
                Ok(Self::Renewed(Box::new(Service {
                    key: SigningKey::read(&private_key)?,
                    client_id,
                    key_id,
                    scope: scopes.join(" "),
                    token_url,
                    random,
                    known: Mutex::default(),
                    left_alone_until: Mutex::new(Timestamp::MIN),
                    renewing: tokio::sync::Mutex::default(),
                })))
            }
        }
    }

    /// A token that is good now.
    pub(crate) async fn bearer(
        &self,
        wire: &Wire,
        clock: &dyn Clock,
    ) -> Result<Arc<Bearer>, Trouble> {
        match self {
            Self::Lasting(bearer) => Ok(Arc::clone(bearer)),
            Self::Renewed(service) => service.bearer(wire, clock).await,
        }
    }

    /// Okta did not accept this token. Whether the next call has another one.
    pub(crate) fn refused(&self, bearer: &Arc<Bearer>) -> bool {
        match self {
            Self::Lasting(_) => false,
            Self::Renewed(service) => service.forget(bearer),
        }
    }
}

/// A service app that trades assertions for access tokens.
pub(crate) struct Service {
    key: SigningKey,
    client_id: String,
    key_id: String,
    scope: String,
    token_url: Url,
    random: Arc<dyn Random>,
    known: Mutex<Option<Arc<Bearer>>>,
    /// Held by whoever renews, so that there are never two renewals at once.
    renewing: tokio::sync::Mutex<()>,
    /// Until when Okta wants no more calls for a token.
    left_alone_until: Mutex<Timestamp>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("client_id", &self.client_id)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Issued {
    access_token: SecretString,
    token_type: String,
    expires_in: u64,
}

impl Service {
    fn left_alone_until(&self) -> MutexGuard<'_, Timestamp> {
        let until = self.left_alone_until.lock();
        until.unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> Option<Arc<Bearer>> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, bearer: Bearer) -> Arc<Bearer> {
        let bearer = Arc::new(bearer);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&bearer));
        bearer
    }

    /// Only the very token that was refused is forgotten: another call may have renewed it.
    fn forget(&self, refused: &Arc<Bearer>) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, refused))
        {
            *known = None;
        }
        true
    }

    async fn bearer(&self, wire: &Wire, clock: &dyn Clock) -> Result<Arc<Bearer>, Trouble> {
        let fresh = |bearer: &Arc<Bearer>| clock.now() < bearer.renew_at;
        let usable = |bearer: &Arc<Bearer>| clock.now() + ENDS_WITHIN < bearer.ends_at;
        if let Some(known) = self.known().filter(fresh) {
            return Ok(known);
        }
        let renewing = match (self.renewing.try_lock(), self.known().filter(usable)) {
            (Ok(renewing), _) => renewing,
            // Somebody renews it already, and the old one does for this call.
            (Err(_), Some(known)) => return Ok(known),
            (Err(_), None) => self.renewing.lock().await,
        };
        if let Some(known) = self.known().filter(fresh) {
            return Ok(known);
        }
        let asked_at = clock.now();
        let issued = tokio::time::timeout(TOKEN_LIMIT, self.issue(wire, asked_at)).await;
        let issued = issued.unwrap_or(Err(Trouble::NoAnswer(jit_core::ports::Effect::None)));
        let bearer = match (issued, self.known().filter(usable)) {
            (Ok(bearer), _) => self.keep(bearer),
            (Err(trouble), Some(known)) => {
                let error = trouble.during("renew the access token");
                tracing::warn!(
                    error = %error.chain(),
                    "the access token for Okta could not be renewed; the old one is used meanwhile"
                );
                self.keep(Bearer {
                    header: known.header(),
                    renew_at: (clock.now() + RENEWED_AGAIN_AFTER).min(known.ends_at),
                    ends_at: known.ends_at,
                })
            }
            (Err(trouble), None) => return Err(Trouble::Token(Box::new(trouble))),
        };
        drop(renewing);
        Ok(bearer)
    }

    /// One assertion for one token.
    async fn issue(&self, wire: &Wire, now: Timestamp) -> Result<Bearer, Trouble> {
        const ACTION: &str = "issue an access token";
        let left_alone_until = *self.left_alone_until();
        if now < left_alone_until {
            return Err(Trouble::Busy(left_alone_until.since(now)));
        }
        let assertion = self.assertion(now)?;
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", self.scope.as_str()),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", assertion.as_str()),
        ];
        let answer = wire::post_form(wire, ACTION, self.token_url.clone(), &form).await?;
        if answer.status != StatusCode::OK {
            if answer.refusal().token_error.as_deref() == Some("invalid_dpop_proof") {
                return Err(Trouble::Bound);
            }
            let wait = answer.counters(now).reset_in;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                *self.left_alone_until() = now + wait;
            }
            return Err(NotDone::answered(ACTION, &answer, wait).into());
        }
        let issued: Issued = answer.json()?;
        if !issued.token_type.eq_ignore_ascii_case("bearer") {
            return Err(Trouble::Bound);
        }
        let life = Duration::from_secs(issued.expires_in.min(LIFE_LIMIT_SECS));
        Ok(Bearer {
            header: header("Bearer", issued.access_token.expose_secret())?,
            renew_at: now + life.saturating_sub(RENEWED_BEFORE.min(life / 4)),
            ends_at: now + life,
        })
    }

    /// A signed claim to be the service app, for this organization's token endpoint, and for one use.
    fn assertion(&self, now: Timestamp) -> Result<Zeroizing<String>, Trouble> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'static str,
            kid: &'a str,
            typ: &'static str,
        }
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            sub: &'a str,
            aud: &'a str,
            exp: i64,
            jti: String,
        }
        let mut nonce = [0; 16];
        self.random.fill(&mut nonce);
        let seconds = |at: Timestamp| at.unix_micros().div_euclid(1_000_000);
        let header = Header {
            alg: self.key.algorithm(),
            kid: &self.key_id,
            typ: "JWT",
        };
        let claims = Claims {
            iss: &self.client_id,
            sub: &self.client_id,
            aud: self.token_url.as_str(),
            exp: seconds(now + ASSERTED_FOR),
            jti: URL_SAFE_NO_PAD.encode(nonce),
        };
        let mut signed = Zeroizing::new(part(&header));
        signed.push('.');
        signed.push_str(&part(&claims));
        let signature = self.key.sign(signed.as_bytes())?;
        signed.push('.');
        signed.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(signed)
    }
}

fn part(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("texts and numbers are always written");
    URL_SAFE_NO_PAD.encode(json)
}

/// The key that signs assertions.
enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
}

impl SigningKey {
    fn read(pem: &SecretString) -> Result<Self, Trouble> {
        let bad = Trouble::BadSettings(
            "the private key is not PEM of PKCS#8 (BEGIN PRIVATE KEY) with RSA of 2048 to 4096 bits \
             or P-256; `openssl pkcs8 -topk8 -nocrypt` makes one of other forms",
        );
        let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(pem.expose_secret().as_bytes()) else {
            return Err(bad);
        };
        let der = Zeroizing::new(der.secret_pkcs8_der().to_vec());
        if let Ok(key) = RsaKeyPair::from_pkcs8(&der) {
            return Ok(Self::Rsa(Box::new(key)));
        }
        let random = SystemRandom::new();
        match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random) {
            Ok(key) => Ok(Self::P256(Box::new(key))),
            Err(_) => Err(bad),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    /// The nonces of signatures come from the operating system and from nowhere else: a predictable
    /// one gives the key away.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Trouble> {
        let random = SystemRandom::new();
        let failed = |_| Trouble::BadSettings("the private key cannot sign");
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Self::P256(key) => {
                let signature = key.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}
