//! Access tokens for service apps: the client credentials grant with `private_key_jwt`.
//! <https://developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp/main/>

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Access, Reply, Request};
use crate::clock::{micros, seconds};
use crate::error::Refusal;
use crate::setup::{Scope, ServiceApp};
use crate::state::State;

/// The only way for a service app to say who it is.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How far ahead an assertion may expire, in seconds.
const LONGEST_ASSERTION: i64 = 3600;

pub(super) fn token(state: &mut State, request: &Request) -> Result<Reply, Refusal> {
    let form = form(request)?;
    match field(&form, "grant_type")? {
        "client_credentials" => {}
        _ => {
            let why = "The grant type in the request isn't supported.";
            return Err(refused(400, "unsupported_grant_type", why));
        }
    }
    let said = |name: &str| form.get(name).filter(|it| !it.is_empty());
    let (Some(kind), Some(assertion)) = (said("client_assertion_type"), said("client_assertion"))
    else {
        return Err(stranger("No client credentials found"));
    };
    if kind != ASSERTION_TYPE {
        let why = "The `client_assertion_type` is invalid.";
        return Err(refused(400, "invalid_request", why));
    }
    let assertion = Assertion::read(assertion)?;
    let app = assertion.verify(state)?;
    let asked = said("scope");
    let asked = asked.ok_or_else(|| refused(400, "invalid_scope", "No scopes were requested."))?;
    let granted = scopes(&app, asked)?;
    if let Some(jti) = assertion.claims.jti {
        state.assertions.insert((app.client_id.clone(), jti));
    }
    let life = state.setup.access_token_life;
    let until = state.moment.saturating_add(micros(life));
    let names: Vec<&str> = granted.iter().map(|it| it.name()).collect();
    let secret = written(state, &app.client_id, &names, until);
    let access = Access {
        token: app.client_id,
        scopes: granted,
    };
    state.accesses.insert(secret.clone(), (access, until));
    Ok(Reply::ok(json!({
        "token_type": "Bearer", "expires_in": life.as_secs(), "access_token": secret,
        "scope": names.join(" "),
    })))
}

/// The fields of the form, each of which may be there once.
fn form(request: &Request) -> Result<BTreeMap<String, String>, Refusal> {
    let kind = request.content_type.split(';').next().unwrap_or_default();
    if !kind
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        let why = "The content type must be application/x-www-form-urlencoded.";
        return Err(refused(400, "invalid_request", why));
    }
    let mut form = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(request.body.as_bytes()) {
        if form.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(refused(400, "invalid_request", "A parameter is repeated."));
        }
    }
    Ok(form)
}

fn field<'a>(form: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str, Refusal> {
    let value = form
        .get(name)
        .map(String::as_str)
        .filter(|it| !it.is_empty());
    value.ok_or_else(|| {
        let why = format!("The token request is missing the '{name}' parameter.");
        refused(400, "invalid_request", &why)
    })
}

/// What was asked for, if the app was granted all of it.
fn scopes(app: &ServiceApp, asked: &str) -> Result<BTreeSet<Scope>, Refusal> {
    let scopes: Option<BTreeSet<Scope>> = asked.split_whitespace().map(Scope::parse).collect();
    let scopes = scopes.ok_or_else(|| {
        let why = "One or more scopes are not configured for the authorization server resource.";
        refused(400, "invalid_scope", why)
    })?;
    if !scopes.is_subset(&app.granted) {
        let why = "The requested scopes are not granted to the client.";
        return Err(refused(400, "invalid_scope", why));
    }
    Ok(scopes)
}

/// A token that looks like one; nobody but this organization is meant to read it.
fn written(state: &mut State, client: &str, names: &[&str], until: i64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "RS256", "kid": "simulated", "typ": "JWT"}));
    let claims = part(json!({
        "ver": 1, "jti": format!("AT.{}", state.draw_id("")), "iss": state.base,
        "aud": state.base, "sub": client, "cid": client, "scp": names,
        "iat": seconds(state.moment), "exp": seconds(until),
    }));
    let (one, two) = (state.draw_id(""), state.draw_id(""));
    format!("{head}.{claims}.{one}{two}")
}

fn refused(status: u16, error: &'static str, description: &str) -> Refusal {
    Refusal::OAuth {
        status,
        error,
        description: description.to_owned(),
    }
}

fn stranger(description: &str) -> Refusal {
    refused(401, "invalid_client", description)
}

#[derive(Debug, Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Value>,
    exp: Option<i64>,
    iat: Option<i64>,
    jti: Option<String>,
}

/// What a client says of itself, signed.
struct Assertion {
    head: Head,
    claims: Claims,
    signed: String,
    signature: Vec<u8>,
}

impl Assertion {
    fn read(text: &str) -> Result<Self, Refusal> {
        let read = || {
            let (signed, signature) = text.rsplit_once('.')?;
            let (head, claims) = signed.split_once('.')?;
            let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
            Some(Self {
                head: serde_json::from_slice(&decoded(head)?).ok()?,
                claims: serde_json::from_slice(&decoded(claims)?).ok()?,
                signed: signed.to_owned(),
                signature: decoded(signature)?,
            })
        };
        read().ok_or_else(|| stranger("The client_assertion is not a valid JSON Web Token."))
    }

    /// The app that said it, if one did, for this organization, and not long ago.
    fn verify(&self, state: &State) -> Result<ServiceApp, Refusal> {
        let claims = &self.claims;
        let (Some(iss), Some(sub)) = (&claims.iss, &claims.sub) else {
            let why = "The client_assertion must have an issuer and a subject.";
            return Err(stranger(why));
        };
        if iss != sub {
            let why = "The issuer and the subject of client_assertion must be the same.";
            return Err(stranger(why));
        }
        let app =
            (state.apps.get(sub)).ok_or_else(|| stranger("Invalid value for 'client_id'."))?;
        let endpoint = format!("{}/oauth2/v1/token", state.base);
        let is_ours = match &claims.aud {
            Some(Value::String(aud)) => *aud == endpoint,
            Some(Value::Array(all)) => all.iter().any(|it| *it == endpoint),
            _ => false,
        };
        if !is_ours {
            let why = "The audience claim for client_assertion must be the endpoint invoked for \
                       the request.";
            return Err(stranger(why));
        }
        let key = self.key(app)?;
        if !is_signed(self, key) {
            return Err(stranger("The client_assertion signature is invalid."));
        }
        let now = seconds(state.moment);
        match claims.exp {
            None => return Err(stranger("The client_assertion must have an expiration.")),
            Some(exp) if exp <= now => {
                return Err(stranger("The client_assertion token is expired."));
            }
            Some(exp) if exp > now.saturating_add(LONGEST_ASSERTION) => {
                let why = "The client_assertion token has an expiration too far into the future.";
                return Err(stranger(why));
            }
            Some(_) => {}
        }
        if claims
            .iat
            .is_some_and(|iat| iat > now.saturating_add(LONGEST_ASSERTION))
        {
            return Err(stranger(
                "The client_assertion token was issued in the future.",
            ));
        }
        let used = |jti: &String| state.assertions.contains(&(sub.clone(), jti.clone()));
        if claims.jti.as_ref().is_some_and(used) {
            let why = "The client_assertion token has been used before.";
            return Err(stranger(why));
        }
        Ok(app.clone())
    }

    /// The key that is meant: the one of this name, or the only one if no name is given.
    fn key<'a>(&self, app: &'a ServiceApp) -> Result<&'a Value, Refusal> {
        let found = match (&self.head.kid, app.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|it| it["kid"] == **kid),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.ok_or_else(|| stranger("The client_assertion JWT kid is invalid."))
    }
}

/// Whether this key signed it, with the algorithm that the key is for.
fn is_signed(assertion: &Assertion, key: &Value) -> bool {
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok();
    let signed = assertion.signed.as_bytes();
    let verified = || match (assertion.head.alg.as_str(), key["kty"].as_str()?) {
        ("RS256", "RSA") => {
            let (n, e) = (number("n")?, number("e")?);
            let key = RsaPublicKeyComponents { n, e };
            key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, &assertion.signature)
                .ok()
        }
        ("ES256", "EC") if key["crv"] == "P-256" => {
            let point = [vec![4], number("x")?, number("y")?].concat();
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
            key.verify(signed, &assertion.signature).ok()
        }
        _ => None,
    };
    verified().is_some()
}
