//! Access tokens for service apps.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use okta_sim::{By, Scope, ServiceApp, Setup};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use crate::client::{Reply, START, Stage};

const NOW: i64 = START / 1_000_000;
const APP: &str = "0oasimulated0000001";
const ALL: &str = "okta.users.read okta.groups.manage";

/// An RSA key of these tests alone.
const RSA: &[u8] = include_bytes!("rsa.pk8");

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Key {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(RSA).unwrap())
    }

    fn ec() -> Self {
        let random = SystemRandom::new();
        let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(how, key.as_ref(), &random).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
        }
    }

    fn public(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig",
                       "n": encoded(&public.n), "e": encoded(&public.e)})
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "kid": kid, "crv": "P-256", "alg": "ES256",
                       "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                    .unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&random, text).unwrap().as_ref().to_vec(),
        }
    }

    fn assertion(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| encoded(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(head), part(claims));
        format!("{signed}.{}", encoded(&self.sign(signed.as_bytes())))
    }
}

/// A stage with a service app, and its key.
struct Service {
    stage: Stage,
    key: Key,
}

impl Service {
    fn new(key: Key) -> Self {
        let stage = Stage::with(Setup {
            apps: vec![ServiceApp::new(APP, key.public("first"))],
            ..Setup::default().manual(START)
        });
        Self { stage, key }
    }

    fn claims(&self) -> Value {
        json!({"iss": APP, "sub": APP, "aud": format!("{}/oauth2/v1/token", self.stage.sim.url()),
               "iat": NOW, "exp": NOW + 300})
    }

    fn head(&self) -> Value {
        json!({"alg": self.key.algorithm(), "kid": "first", "typ": "JWT"})
    }

    fn ask(&self, assertion: &str, scope: &str) -> Reply {
        self.ask_with(&[
            ("grant_type", "client_credentials"),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", assertion),
            ("scope", scope),
        ])
    }

    fn ask_with(&self, fields: &[(&str, &str)]) -> Reply {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let head = "POST /oauth2/v1/token HTTP/1.1\r\n\
                    content-type: application/x-www-form-urlencoded\r\n";
        self.stage.wire().send(head, &form.finish()).unwrap()
    }

    /// What a claim more or less leads to.
    fn ask_claiming(&self, change: impl FnOnce(&mut Value)) -> Reply {
        let mut claims = self.claims();
        change(&mut claims);
        self.ask(&self.key.assertion(&self.head(), &claims), ALL)
    }

    /// Calls with a token of this scope from now on.
    fn authorize(&mut self, scope: &str) -> Reply {
        let reply = self.ask(&self.key.assertion(&self.head(), &self.claims()), scope);
        assert_eq!(reply.status, 200, "{}", reply.text);
        self.stage.authorization =
            format!("Bearer {}", reply.body["access_token"].as_str().unwrap());
        reply
    }
}

fn refused(reply: &Reply, status: u16, error: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.body["error"], error, "{}", reply.text);
    assert!(reply.body["error_description"].is_string());
}

#[test]
fn both_kinds_of_keys_get_a_token_that_works() {
    for key in [Key::rsa(), Key::ec()] {
        let mut service = Service::new(key);
        let reply = service.authorize(ALL);
        assert_eq!(reply.body["token_type"], "Bearer");
        assert_eq!(reply.body["expires_in"], 3600);
        assert_eq!(reply.body["scope"], ALL);
        assert_eq!(reply.header("x-rate-limit-limit"), "2000");
        assert_eq!(service.stage.join().status, 204);
        let ledger = service.stage.sim.world().ledger();
        assert_eq!(ledger[0].by, By::Api(APP.to_owned()));
        let calls = service.stage.sim.world().calls();
        assert_eq!(calls[1].token.as_deref(), Some(APP));
    }
}

#[test]
fn a_token_is_good_until_it_expires() {
    let mut service = Service::new(Key::ec());
    service.authorize(ALL);
    service.stage.pass(3599);
    assert_eq!(service.stage.join().status, 204);
    service.stage.pass(1);
    let reply = service.stage.leave();
    assert_eq!((reply.status, reply.error()), (401, "E0000011"));
    let challenge = reply.header("www-authenticate");
    assert!(challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""));
    assert!(service.stage.is_member());
}

#[test]
fn how_long_a_token_is_good_can_be_said() {
    let mut service = Service::new(Key::ec());
    let world = service.stage.sim.world().clone();
    world.configure(|setup| setup.access_token_life = Duration::from_secs(5));
    assert_eq!(service.authorize(ALL).body["expires_in"], 5);
    service.stage.pass(5);
    assert_eq!(service.stage.join().status, 401);
}

#[test]
fn every_token_of_an_app_can_be_revoked() {
    let mut service = Service::new(Key::ec());
    service.authorize(ALL);
    service.stage.sim.world().revoke_token(APP);
    assert_eq!(service.stage.join().status, 401);
    service.authorize(ALL);
    assert_eq!(service.stage.join().status, 204);
}

#[test]
fn a_token_reaches_as_far_as_its_scope() {
    let mut service = Service::new(Key::ec());
    service.authorize("okta.groups.read");
    assert_eq!(service.stage.get("/api/v1/groups").status, 200);
    let reply = service.stage.join();
    assert_eq!((reply.status, reply.error()), (403, "E0000006"));
    let challenge = reply.header("www-authenticate");
    assert!(challenge.contains("error=\"insufficient_scope\""));
    assert!(challenge.contains("scope=\"okta.groups.manage\""));
    assert_eq!(service.stage.get("/api/v1/users").status, 403);
    let groups = format!("/api/v1/users/{}/groups", service.stage.ana);
    assert_eq!(service.stage.get(&groups).status, 403);
    service.authorize("okta.groups.manage");
    assert_eq!(service.stage.get("/api/v1/groups").status, 200);
    assert_eq!(service.stage.join().status, 204);
}

#[test]
fn only_what_was_granted_can_be_asked_for() {
    let service = Service::new(Key::ec());
    let app = ServiceApp::new(APP, service.key.public("first"));
    let world = service.stage.sim.world();
    world.set_app(app.granted(&[Scope::GroupsRead]));
    let ask = |scope: &str| {
        let assertion = service.key.assertion(&service.head(), &service.claims());
        service.ask(&assertion, scope)
    };
    refused(&ask(ALL), 400, "invalid_scope");
    refused(&ask("okta.everything"), 400, "invalid_scope");
    assert_eq!(ask("okta.groups.read").status, 200);
}

#[test]
fn an_assertion_is_for_this_endpoint_by_the_app_itself() {
    let service = Service::new(Key::ec());
    let url = service.stage.sim.url();
    for (name, value) in [
        ("aud", json!("https://other.example.com/oauth2/v1/token")),
        ("aud", json!(url)),
        ("aud", Value::Null),
        ("iss", json!("0oasomebodyelse00001")),
        ("sub", json!("0oasomebodyelse00001")),
        ("iss", Value::Null),
    ] {
        let reply = service.ask_claiming(|claims| claims[name] = value);
        refused(&reply, 401, "invalid_client");
    }
    let stranger = |claims: &mut Value| {
        claims["iss"] = json!("0oasomebodyelse00001");
        claims["sub"] = json!("0oasomebodyelse00001");
    };
    refused(&service.ask_claiming(stranger), 401, "invalid_client");
    assert_eq!(service.ask_claiming(|_| {}).status, 200);
    let many = json!(["x", format!("{url}/oauth2/v1/token")]);
    let reply = service.ask_claiming(|claims| claims["aud"] = many);
    assert_eq!(reply.status, 200);
}

#[test]
fn an_assertion_expires_within_an_hour_and_has_not_yet() {
    let service = Service::new(Key::ec());
    for (exp, status) in [
        (json!(NOW), 401),
        (json!(NOW + 1), 200),
        (json!(NOW + 3600), 200),
        (json!(NOW + 3601), 401),
        (Value::Null, 401),
    ] {
        let reply = service.ask_claiming(|claims| claims["exp"] = exp.clone());
        assert_eq!(reply.status, status, "{exp}");
    }
}

#[test]
fn an_assertion_with_a_name_is_good_once() {
    let service = Service::new(Key::ec());
    let named = |claims: &mut Value| claims["jti"] = json!("one");
    assert_eq!(service.ask_claiming(named).status, 200);
    refused(&service.ask_claiming(named), 401, "invalid_client");
    let other = |claims: &mut Value| claims["jti"] = json!("two");
    assert_eq!(service.ask_claiming(other).status, 200);
    // Without a name it can be used again, as Okta says.
    let assertion = service.key.assertion(&service.head(), &service.claims());
    assert_eq!(service.ask(&assertion, ALL).status, 200);
    assert_eq!(service.ask(&assertion, ALL).status, 200);
}

#[test]
fn an_assertion_is_signed_with_the_key_it_names() {
    let service = Service::new(Key::ec());
    let claims = service.claims();
    let head = service.head();
    let other = Key::ec();
    refused(
        &service.ask(&other.assertion(&head, &claims), ALL),
        401,
        "invalid_client",
    );
    let unknown = json!({"alg": "ES256", "kid": "second"});
    refused(
        &service.ask(&service.key.assertion(&unknown, &claims), ALL),
        401,
        "invalid_client",
    );
    for alg in ["none", "HS256", "RS256"] {
        let head = json!({"alg": alg, "kid": "first"});
        let reply = service.ask(&service.key.assertion(&head, &claims), ALL);
        refused(&reply, 401, "invalid_client");
    }
    for nonsense in ["x", "x.y", "x.y.z", "e30.e30.", "..", "é.é.é"] {
        refused(&service.ask(nonsense, ALL), 401, "invalid_client");
    }

    // Where there are two keys, the name must be said.
    let nameless = json!({"alg": "ES256"});
    let assertion = service.key.assertion(&nameless, &claims);
    assert_eq!(service.ask(&assertion, ALL).status, 200);
    let mut app = ServiceApp::new(APP, service.key.public("first"));
    app.keys.push(other.public("second"));
    service.stage.sim.world().set_app(app);
    refused(&service.ask(&assertion, ALL), 401, "invalid_client");
    let second = json!({"alg": "ES256", "kid": "second"});
    assert_eq!(
        service.ask(&other.assertion(&second, &claims), ALL).status,
        200
    );
}

#[test]
fn a_request_has_every_field_once_in_a_form() {
    let service = Service::new(Key::ec());
    let assertion = service.key.assertion(&service.head(), &service.claims());
    let fields = [
        ("grant_type", "client_credentials"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", assertion.as_str()),
        ("scope", ALL),
    ];
    for (left_out, status, error) in [
        (0, 400, "invalid_request"),
        (1, 401, "invalid_client"),
        (2, 401, "invalid_client"),
        (3, 400, "invalid_scope"),
    ] {
        let mut some = fields.to_vec();
        some.remove(left_out);
        refused(&service.ask_with(&some), status, error);
        let mut blank = fields;
        blank[left_out].1 = "";
        refused(&service.ask_with(&blank), status, error);
    }
    let mut twice = fields.to_vec();
    twice.push(("scope", ALL));
    refused(&service.ask_with(&twice), 400, "invalid_request");
    let mut other = fields;
    other[0].1 = "password";
    refused(&service.ask_with(&other), 400, "unsupported_grant_type");
    let mut other = fields;
    other[1].1 = "urn:other";
    refused(&service.ask_with(&other), 400, "invalid_request");
    let head = "POST /oauth2/v1/token HTTP/1.1\r\ncontent-type: application/json\r\n";
    let reply = service.stage.wire().send(head, "{}").unwrap();
    refused(&reply, 400, "invalid_request");
    assert_eq!(service.ask_with(&fields).status, 200);
}
