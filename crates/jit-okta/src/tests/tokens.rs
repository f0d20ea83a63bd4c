//! API tokens and service apps: how they are got, renewed, refused, and kept to themselves.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jit_core::ports::{Clock, Effect, ErrorKind};
use jit_core::provider::{Answer, Presence, Target};
use jit_testkit::time::SeededRandom;
use okta_sim::{ApiToken, Away, Deed, Hostility, Operation, Reset, Rule, Scope, ServiceApp, Setup};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::{Scene, printed, setup};
use crate::{Auth, Okta, OktaGroups, Settings};

/// A key that opens nothing but a simulator.
const RSA: &str = include_str!("rsa.pem");
const CLIENT: &str = "0oa1simulated0000001";

/// A key as we have it, and as the app has it.
fn rsa() -> (String, Value) {
    let der = PrivatePkcs8KeyDer::from_pem_slice(RSA.as_bytes()).unwrap();
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let public: PublicKeyComponents<Vec<u8>> = key.public().into();
    let (n, e) = (
        URL_SAFE_NO_PAD.encode(public.n),
        URL_SAFE_NO_PAD.encode(public.e),
    );
    let jwk = json!({"kty": "RSA", "kid": "key-1", "alg": "RS256", "use": "sig", "n": n, "e": e});
    (RSA.to_owned(), jwk)
}

fn p256() -> (String, Value) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
            .unwrap();
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "key-1", "alg": "ES256", "use": "sig",
        "x": number(x), "y": number(y),
    });
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(document.as_ref())
    );
    (pem, jwk)
}

fn auth(pem: String) -> Auth {
    let scopes = ["okta.users.read", "okta.groups.read", "okta.groups.manage"];
    Auth::PrivateKeyJwt {
        client_id: CLIENT.to_owned(),
        key_id: "key-1".to_owned(),
        private_key: pem.into(),
        scopes: scopes.map(str::to_owned).to_vec(),
    }
}

fn scene((pem, jwk): (String, Value), change: impl FnOnce(&mut Setup)) -> Scene {
    let mut setup = Setup {
        apps: vec![ServiceApp::new(CLIENT, jwk)],
        tokens: vec![],
        ..setup()
    };
    change(&mut setup);
    Scene::of(setup, |settings| settings.auth = auth(pem))
}

#[tokio::test]
async fn a_service_app_gives_and_takes_with_either_kind_of_key() {
    for key in [rsa(), p256()] {
        let scene = scene(key, |_| {});
        scene.resolve("ana@example.com").await.unwrap();
        assert_eq!(scene.grant().await.unwrap(), Answer::Applied);
        assert!(scene.is_member());
        assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
        assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
        assert_eq!(scene.calls(Operation::Token).len(), 1);
        let by = scene.world().ledger();
        assert!(
            by.iter()
                .all(|entry| entry.by == okta_sim::By::Api(CLIENT.to_owned()))
        );
    }
}

/// `tests/okta/assertions.mjs` asks for it, with a provider for the same app.
#[tokio::test]
async fn a_provider_that_nobody_here_wrote_takes_our_assertions() {
    let Some(provider) = super::live::said("JIT_OKTA_OIDC") else {
        eprintln!("SKIPPED: JIT_OKTA_OIDC is not set; tests/okta/run sets it");
        return;
    };
    let settings = Settings::new("okta".parse().unwrap(), provider, auth(rsa().0));
    for _ in 0..2 {
        let clock = Arc::new(super::live::Wall);
        let random = Arc::new(SeededRandom::new(clock.now().unix_micros().unsigned_abs()));
        let okta = Okta::connect(settings.clone(), clock.clone(), random).unwrap();
        okta.tokens
            .bearer(&okta.wire, clock.as_ref())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_never_twice_at_once() {
    let scene = scene(p256(), |_| {});
    scene.inspect().await.unwrap();
    for minutes in [30, 24] {
        scene.pass(Duration::from_secs(minutes * 60));
        scene.inspect().await.unwrap();
        assert_eq!(scene.calls(Operation::Token).len(), 1);
    }
    // 55 of its 60 minutes are over.
    scene.pass(Duration::from_secs(60));
    let looks = (0..20).map(|_| scene.inspect());
    let seen = futures_util::future::join_all(looks).await;
    assert!(seen.iter().all(Result::is_ok));
    assert_eq!(scene.calls(Operation::Token).len(), 2);
}

/// A token endpoint that wants to be left alone is, by everybody.
#[tokio::test]
async fn nobody_asks_for_a_token_while_okta_wants_no_more_calls_for_one() {
    let scene = scene(p256(), |_| {});
    let busy = Hostility::Throttle(Reset::In(Duration::from_secs(30)));
    scene.world().hostile(Operation::Token, busy);
    for _ in 0..5 {
        let error = scene.inspect().await.unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::RateLimited { .. }),
            "{error:?}"
        );
    }
    assert_eq!(scene.calls(Operation::Token).len(), 1);
    scene.world().calm();
    scene.pass(Duration::from_secs(31));
    scene.inspect().await.unwrap();
    assert_eq!(scene.calls(Operation::Token).len(), 2);
}

/// K1: an assertion is good whatever this machine's clock is wrong by, within reason.
#[tokio::test]
async fn a_clock_that_is_wrong_by_twenty_minutes_keeps_no_token_away() {
    for minutes in [-20_i64, 20] {
        let scene = scene(p256(), |_| {});
        let wrong = scene.world().now() + minutes * 60 * 1_000_000;
        scene
            .clock
            .set(jit_core::Timestamp::from_unix_micros(wrong));
        scene.inspect().await.unwrap();
    }
}

#[tokio::test]
async fn a_renewal_that_fails_does_no_harm_while_the_old_token_is_good() {
    let scene = scene(p256(), |_| {});
    scene.inspect().await.unwrap();
    scene
        .world()
        .hostile(Operation::Token, Hostility::InternalError);
    scene.pass(Duration::from_secs(56 * 60));
    scene.inspect().await.unwrap();
    scene.inspect().await.unwrap();
    assert_eq!(scene.calls(Operation::Token).len(), 2, "not again at once");
    // Past its end there is none, and nothing is sent without one.
    scene.pass(Duration::from_secs(5 * 60));
    let error = scene.revoke().await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Unavailable, Effect::None)
    );
    scene.world().calm();
    scene.revoke().await.unwrap();
}

#[tokio::test]
async fn many_who_want_the_first_token_wait_for_one() {
    let scene = scene(p256(), |_| {});
    let looks = (0..20).map(|_| scene.inspect());
    let seen = futures_util::future::join_all(looks).await;
    assert!(seen.iter().all(Result::is_ok));
    assert_eq!(scene.calls(Operation::Token).len(), 1);
}

#[tokio::test]
async fn whoever_reads_with_a_revoked_token_asks_once_more_with_another_one() {
    let scene = scene(p256(), |_| {});
    scene.inspect().await.unwrap();
    scene.world().revoke_token(CLIENT);
    scene.inspect().await.unwrap();
    assert_eq!(scene.calls(Operation::Token).len(), 2);
    // Were every token refused, it would end there.
    let (_, jwk) = p256();
    scene.world().revoke_token(CLIENT);
    scene.world().set_app(ServiceApp::new(CLIENT, jwk));
    let error = scene.inspect().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden, "{}", error.chain());
    assert_eq!(scene.calls(Operation::Token).len(), 3);
}

#[tokio::test]
async fn whoever_reads_asks_once_more_and_not_for_ever() {
    let scene = scene(p256(), |_| {});
    scene.inspect().await.unwrap();
    scene.world().take_calls();
    // Every token is revoked just before it arrives.
    let revoke = Deed::RevokeToken {
        token: CLIENT.to_owned(),
    };
    let before = Hostility::Before(revoke);
    scene.world().hostile(Operation::ListUserGroups, before);
    let error = scene.inspect().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    assert_eq!(scene.calls(Operation::ListUserGroups).len(), 2);
}

#[tokio::test]
async fn nobody_waits_for_a_renewal_while_the_old_token_is_good() {
    let scene = scene(p256(), |_| {});
    scene.inspect().await.unwrap();
    scene.pass(Duration::from_secs(56 * 60));
    scene.world().hostile(Operation::Token, Hostility::Hang);
    let other = async {
        // The other one renews already.
        while scene.calls(Operation::Token).len() < 2 {
            tokio::task::yield_now().await;
        }
        scene.inspect().await
    };
    tokio::select! {
        biased;
        _ = scene.inspect() => unreachable!("it waits for the renewal"),
        seen = other => assert_eq!(seen.unwrap(), Presence::Absent),
    }
    assert_eq!(scene.calls(Operation::Token).len(), 2);
}

/// It is sent once, and the next one has another token.
#[tokio::test]
async fn a_change_with_a_revoked_token_is_not_sent_again() {
    let scene = scene(p256(), |_| {});
    scene.inspect().await.unwrap();
    scene.world().revoke_token(CLIENT);
    let error = scene.grant().await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Unavailable, Effect::None)
    );
    assert_eq!(scene.calls(Operation::AddUserToGroup).len(), 1);
    scene.grant().await.unwrap();
    assert_eq!(scene.calls(Operation::AddUserToGroup).len(), 2);
}

#[tokio::test]
async fn a_revoked_api_token_is_refused_and_not_tried_again() {
    let scene = Scene::new();
    scene.inspect().await.unwrap();
    scene.world().revoke_token(&ApiToken::default().id);
    scene.world().take_calls();
    let error = scene.inspect().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    assert_eq!(scene.world().take_calls().len(), 1);
    let error = scene.revoke().await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Forbidden, Effect::None)
    );
}

#[tokio::test]
async fn what_an_app_was_not_granted_is_refused() {
    let (pem, jwk) = p256();
    let app = ServiceApp::new(CLIENT, jwk.clone()).granted(&[Scope::UsersRead]);
    let less = scene((pem.clone(), jwk.clone()), |setup| setup.apps = vec![app]);
    let error = less.inspect().await.unwrap_err();
    assert!(!error.kind.is_retryable(), "{}", error.chain());
    assert!(error.chain().contains("invalid_scope"), "{}", error.chain());
    // An app with another key is a stranger.
    let (other, _) = p256();
    let stranger = scene((other, jwk), |_| {});
    let error = stranger.inspect().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    assert!(
        error.chain().contains("invalid_client"),
        "{}",
        error.chain()
    );
}

#[test]
fn what_is_no_key_is_refused_with_a_hint() {
    let sim = okta_sim::Sim::start(setup()).unwrap();
    let clock = Arc::new(jit_testkit::time::ManualClock::at(
        jit_testkit::sample::start(),
    ));
    for pem in [
        "",
        "canary",
        "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n",
    ] {
        let settings = Settings {
            auth: auth(pem.to_owned()),
            ..super::settings(&sim)
        };
        let random = Arc::new(jit_testkit::time::SeededRandom::new(1));
        let error = Okta::connect(settings, clock.clone(), random).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured);
        assert!(error.chain().contains("PKCS#8"));
        assert!(!printed(&error).contains("canary"));
    }
}

/// What Okta answers for an app that has the switch for it on.
#[tokio::test]
async fn a_token_that_would_be_bound_to_a_key_is_told_as_such() {
    let refused = json!({"error": "invalid_dpop_proof"});
    let bound = json!({"access_token": "a", "token_type": "DPoP", "expires_in": 3600});
    for (status, body) in [("400 Bad Request", refused), ("200 OK", bound)] {
        let body = body.to_string();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 8_192];
            let _ = stream.read(&mut bytes).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let scene = Scene::new();
        let settings = Settings::new("okta".parse().unwrap(), url, auth(p256().0));
        let okta = super::connected(settings, &scene.clock);
        okta.organization.set("00osimulated".to_owned()).unwrap();
        let target = Target::new("okta:00osimulated", "00u1".parse().unwrap(), "00g1");
        let groups = OktaGroups::new(okta);
        let error = super::grant(&groups, &target, scene.soon()).await;
        let error = error.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Misconfigured, Effect::None)
        );
        assert!(error.chain().contains("DPoP"), "{}", error.chain());
        served.join().unwrap();
    }
}

/// Everything that is logged, whatever its level and whoever says it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn s15_no_token_key_login_or_address_is_printed_whatever_goes_wrong() {
    let log = Log::default();
    let sink = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || sink.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut all = String::new();
    let secret = "00a-canary-of-a-token";
    let (pem, jwk) = p256();
    let body = pem.lines().nth(1).unwrap().to_owned();
    let lasting = {
        let setup = Setup {
            tokens: vec![ApiToken::new("00Tcanary", secret)],
            ..setup()
        };
        Scene::of(setup, |settings| settings.auth = Auth::Ssws(secret.into()))
    };
    for scene in [lasting, scene((pem.clone(), jwk), |_| {})] {
        let settings = Settings::new("okta".parse().unwrap(), "https://a", auth(pem.clone()));
        write!(all, "{:?} {:?} {settings:?}", scene.okta, scene.groups).unwrap();
        write!(all, "{:?} {:?}", scene.okta.tokens, scene.okta.wire).unwrap();
        scene.inspect().await.unwrap();
        for hostility in [
            Hostility::InternalError,
            Hostility::Garbage,
            Hostility::LoseReply,
            Hostility::Throttle(Reset::Missing),
            Hostility::Redirect("http://127.0.0.1:9/".to_owned()),
        ] {
            scene.world().rule(Rule::every(hostility));
            for error in [
                scene.grant().await.unwrap_err(),
                scene.revoke().await.unwrap_err(),
                scene.inspect().await.unwrap_err(),
                scene.resolve("ana@example.com").await.unwrap_err(),
            ] {
                all.push_str(&printed(&error));
            }
            scene.world().calm();
            scene.pass(Duration::from_secs(61));
        }
        let error = scene.resolve("nobody@example.com").await.unwrap_err();
        all.push_str(&printed(&error));
        scene.world().away(Away::Refused);
        all.push_str(&printed(&scene.inspect().await.unwrap_err()));
        scene.world().calm();
        // A renewal that fails is logged.
        scene.pass(Duration::from_secs(51 * 60));
        scene
            .world()
            .hostile(Operation::Token, Hostility::InternalError);
        scene.inspect().await.unwrap();
    }
    let ours = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(
        ours.contains("could not be renewed"),
        "the log is looked at"
    );
    all.push_str(&ours);
    for canary in [secret, body.as_str(), "eyJhbGci", "ana@", "nobody"] {
        let found = all.find(canary);
        let around = found.map(|at| &all[at.saturating_sub(80)..(at + 20).min(all.len())]);
        assert_eq!(around, None, "{canary} was printed");
    }
}
