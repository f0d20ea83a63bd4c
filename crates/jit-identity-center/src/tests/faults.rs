//! AWS goes away, loses things, refuses credentials and clocks; what is said of it, and that it is
//! over when it is over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, future::ProvideCredentials as Provided,
};
use aws_sim::{AccessKey, Away, Hostility};
use jit_core::ports::{Clock, Effect, ErrorKind, PortError};
use jit_core::provider::{Answer, Presence};

use super::{AMPLE, Scene, connected, grant, inspect, revoke, settings};

fn is(error: &PortError, kind: ErrorKind, effect: Effect) {
    let chain = error.chain();
    assert_eq!((error.kind, error.effect), (kind, effect), "{chain}");
}

// ------------------------------------------------------------------------------- what is lost

#[tokio::test]
async fn a_lost_reply_may_have_had_its_effect() {
    let losses = [
        Hostility::LoseReply,
        Hostility::Garbage,
        Hostility::InternalErrorAfter,
    ];
    for loss in losses {
        let scene = Scene::new();
        scene
            .world()
            .hostile("CreateAccountAssignment", loss.clone());
        let error = scene.grant().await.unwrap_err();
        is(&error, ErrorKind::Unavailable, Effect::Unknown);
        assert!(scene.is_assigned());
        assert_eq!(scene.inspect().await.unwrap(), Presence::Present);

        scene.world().calm();
        scene.world().hostile("DeleteAccountAssignment", loss);
        let error = scene.revoke().await.unwrap_err();
        is(&error, ErrorKind::Unavailable, Effect::Unknown);
        assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    }
}

#[tokio::test]
async fn a_call_that_takes_effect_late_is_found_when_it_does() {
    let scene = Scene::new();
    let late = Hostility::LateEffect(Duration::from_secs(290));
    scene
        .world()
        .hostile_times("CreateAccountAssignment", late, 1);
    let error = scene.grant().await.unwrap_err();
    is(&error, ErrorKind::Unavailable, Effect::Unknown);
    assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    scene.pass(Duration::from_secs(291));
    assert_eq!(scene.inspect().await.unwrap(), Presence::Present);
    assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
    assert!(!scene.is_assigned());
}

#[tokio::test]
async fn a_call_that_hangs_ends_by_its_own_deadline_and_may_have_happened() {
    let scene = Scene::new();
    scene
        .world()
        .hostile("CreateAccountAssignment", Hostility::Hang);
    // The limit of a request is real time; nothing else here waits for it.
    let started = tokio::time::Instant::now();
    let error = scene.grant().await.unwrap_err();
    is(&error, ErrorKind::Unavailable, Effect::Unknown);
    assert!(started.elapsed() < Duration::from_secs(15));
}

// ------------------------------------------------------------------------------- what is away

#[tokio::test]
async fn a_region_that_is_away_comes_back() {
    for away in [Away::Refused, Away::Unavailable] {
        let scene = Scene::new();
        scene.grant().await.unwrap();
        scene.world().away(away);
        for _ in 0..3 {
            let error = scene.revoke().await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable, "{}", error.chain());
            let error = scene.inspect().await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable, "{}", error.chain());
            scene.pass(Duration::from_secs(60));
        }
        scene.world().calm();
        assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
        assert_eq!(scene.inspect().await.unwrap(), Presence::Absent);
    }
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_done() {
    let scene = Scene::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let adapter = scene.another(|it| it.endpoint_url = Some(format!("http://{address}")));
    let error = grant(&adapter, &scene.target(), scene.soon())
        .await
        .unwrap_err();
    is(&error, ErrorKind::Unavailable, Effect::None);
    assert!(
        error.chain().contains("cannot be reached"),
        "{}",
        error.chain()
    );
}

#[tokio::test]
async fn l2_ten_minutes_of_throttling_are_obeyed_and_outlived() {
    let scene = Scene::new();
    scene.grant().await.unwrap();
    scene.world().hostile("*", Hostility::Throttle);
    scene.world().take_calls();
    for _ in 0..6_000 {
        let error = scene.revoke().await.unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::RateLimited { .. }),
            "{error:?}"
        );
        assert_eq!(error.effect, Effect::None);
        scene.pass(Duration::from_millis(100));
    }
    let calls = scene.world().take_calls().len();
    assert!(
        calls <= 601,
        "{calls} calls in ten minutes, one a second is allowed"
    );
    assert!(
        calls >= 500,
        "{calls} calls in ten minutes: it goes on asking"
    );
    scene.world().calm();
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
    assert!(!scene.is_assigned());
}

// ----------------------------------------------------------------------- credentials and clock

/// Credentials that a test changes, and a count of how often they were loaded.
#[derive(Debug, Clone)]
struct Changing {
    now: Arc<Mutex<Option<Credentials>>>,
    loads: Arc<AtomicUsize>,
}

impl Changing {
    fn new(first: Credentials) -> Self {
        Self {
            now: Arc::new(Mutex::new(Some(first))),
            loads: Arc::default(),
        }
    }

    fn set(&self, to: Option<Credentials>) {
        *self.now.lock().unwrap() = to;
    }
}

impl ProvideCredentials for Changing {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let now = self.now.lock().unwrap().clone();
        Provided::ready(now.ok_or_else(|| CredentialsError::provider_error("no role today")))
    }
}

fn temporary(scene: &Scene, name: &str, life: Duration) -> Credentials {
    let expires_at = scene.clock.now() + life;
    scene.world().set_key(AccessKey {
        session_token: Some(format!("token of {name}")),
        expires_at_micros: Some(expires_at.unix_micros()),
        ..AccessKey::new(name, "a secret")
    });
    let token = Some(format!("token of {name}"));
    Credentials::new(name, "a secret", token, None, "test")
}

#[tokio::test]
async fn credentials_that_expire_in_the_middle_of_a_backlog_are_loaded_again() {
    let scene = Scene::new();
    let minute = Duration::from_secs(60);
    let credentials = Changing::new(temporary(&scene, "ASIAFIRST00000000001", minute));
    let provider = SharedCredentialsProvider::new(credentials.clone());
    let adapter = connected(settings(&scene.sim), AMPLE, &scene.clock, provider, None);
    let soon = || scene.soon();
    grant(&adapter, &scene.target(), soon()).await.unwrap();
    assert_eq!(credentials.loads.load(Ordering::SeqCst), 1, "they are kept");

    // The SDK does not know that they expired; AWS says so, and nothing was done.
    scene.pass(minute * 2);
    let error = revoke(&adapter, &scene.target(), soon()).await.unwrap_err();
    is(&error, ErrorKind::Unavailable, Effect::None);
    let chain = error.chain();
    assert!(chain.contains("credentials expired"), "{chain}");
    assert!(
        !chain.contains("a secret") && !chain.contains("token of"),
        "{chain}"
    );
    assert!(scene.is_assigned());

    // No others are to be had yet, then some are.
    credentials.set(None);
    let error = revoke(&adapter, &scene.target(), soon()).await.unwrap_err();
    is(&error, ErrorKind::Unavailable, Effect::None);
    assert!(
        error.chain().contains("want of AWS credentials"),
        "{}",
        error.chain()
    );
    let error = inspect(&adapter, &scene.target()).await.unwrap_err();
    is(&error, ErrorKind::Unavailable, Effect::None);

    credentials.set(Some(temporary(&scene, "ASIASECOND0000000002", minute)));
    let revoked = revoke(&adapter, &scene.target(), soon()).await;
    assert_eq!(revoked.unwrap(), Answer::Applied);
    assert!(!scene.is_assigned());
}

#[tokio::test]
async fn credentials_expire_by_our_clock_before_aws_has_to_say_so() {
    let scene = Scene::new();
    let hour = Duration::from_secs(3_600);
    let with_expiry = |name: &str| {
        let plain = temporary(&scene, name, hour);
        let at = scene.clock.now() + hour;
        let at = u64::try_from(at.unix_micros()).unwrap();
        let at = std::time::UNIX_EPOCH + Duration::from_micros(at);
        let token = plain.session_token().map(str::to_owned);
        Credentials::new(name, "a secret", token, Some(at), "test")
    };
    let credentials = Changing::new(with_expiry("ASIAFIRST00000000001"));
    let provider = SharedCredentialsProvider::new(credentials.clone());
    let adapter = connected(settings(&scene.sim), AMPLE, &scene.clock, provider, None);
    grant(&adapter, &scene.target(), scene.soon())
        .await
        .unwrap();
    scene.pass(hour);
    credentials.set(Some(with_expiry("ASIASECOND0000000002")));
    let revoked = revoke(&adapter, &scene.target(), scene.soon()).await;
    assert_eq!(revoked.unwrap(), Answer::Applied);
    assert_eq!(credentials.loads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_never_printed() {
    let scene = Scene::new();
    let wrong = Credentials::new("AKIAUNKNOWN000000001", "hush", None, None, "test");
    let provider = SharedCredentialsProvider::new(wrong);
    let adapter = connected(settings(&scene.sim), AMPLE, &scene.clock, provider, None);
    let error = grant(&adapter, &scene.target(), scene.soon())
        .await
        .unwrap_err();
    is(&error, ErrorKind::Forbidden, Effect::None);
    assert!(!error.chain().contains("hush"), "{}", error.chain());
    assert!(!format!("{adapter:?} {error:?}").contains("hush"));
}

#[tokio::test]
async fn k1_a_clock_that_is_ten_minutes_off_is_named() {
    for ahead in [true, false] {
        let scene = Scene::new();
        scene.grant().await.unwrap();
        let ten_minutes = Duration::from_secs(600);
        let now = scene.clock.now();
        let wrong = if ahead {
            now + ten_minutes
        } else {
            now - ten_minutes
        };
        scene.clock.set(wrong);
        // Also after AWS told what time it is: the SDK must not hide it.
        for _ in 0..2 {
            let error = scene.revoke().await.unwrap_err();
            is(&error, ErrorKind::Forbidden, Effect::None);
            let chain = error.chain();
            assert!(
                chain.contains("the clock of this machine is wrong"),
                "{chain}"
            );
            scene.inspect().await.unwrap_err();
        }
        scene.clock.set(now);
        assert_eq!(scene.revoke().await.unwrap(), Answer::Applied);
    }
}

/// Where the test below is run again, with credentials in its environment.
const ENDPOINT: &str = "JIT_TEST_ENDPOINT";

/// Through `connect`, as a deployment does: the environment of a process cannot be changed safely
/// while it runs, so this test runs itself once more in a process of its own.
#[tokio::test]
async fn credentials_come_from_the_environment_through_connect() {
    const ME: &str = "tests::faults::credentials_come_from_the_environment_through_connect";
    let scene = Scene::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "what is configured here is this test itself"
    )]
    let endpoint = std::env::var(ENDPOINT);
    if let Ok(endpoint) = endpoint {
        let clock: Arc<dyn Clock> = scene.clock.clone();
        let budget = Arc::new(crate::Budget::new(AMPLE, Arc::clone(&clock)));
        let settings = crate::Settings {
            endpoint_url: Some(endpoint),
            ..settings(&scene.sim)
        };
        let adapter = crate::IdentityCenter::connect(settings, budget, clock)
            .await
            .unwrap();
        let granted = grant(&adapter, &scene.target(), scene.soon()).await;
        assert_eq!(granted.unwrap(), Answer::Applied);
        return;
    }
    // Both simulators draw the same ids, so the child's own scene names what is in this one.
    let key = AccessKey::default();
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", ME]).env_clear();
    again.env(ENDPOINT, scene.sim.url());
    again.env("AWS_ACCESS_KEY_ID", key.id);
    again.env("AWS_SECRET_ACCESS_KEY", key.secret);
    again.env("AWS_EC2_METADATA_DISABLED", "true");
    let ran = tokio::task::spawn_blocking(move || again.output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stdout)
    );
    assert!(scene.is_assigned());
}

#[tokio::test]
async fn tls_is_spoken_by_ring() {
    // A client without a TLS provider compiles, and fails when it is first used: this one speaks,
    // and what it is answered is no TLS.
    let scene = Scene::new();
    let url = scene.sim.url().replace("http://", "https://");
    let adapter = scene.another(|settings| settings.endpoint_url = Some(url));
    let error = inspect(&adapter, &scene.target()).await.unwrap_err();
    let chain = error.chain();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{chain}");
    assert!(
        chain.contains("InvalidContentType") || chain.contains("corrupt"),
        "{chain}"
    );
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused_at_once() {
    let scene = Scene::new();
    let clock: Arc<dyn Clock> = scene.clock.clone();
    let cases: [fn(&mut crate::Settings); 4] = [
        |it| it.instance_arn = "ssoins-0123456789abcdef".to_owned(),
        |it| it.instance_arn = "arn:aws:sso:::instance/".to_owned(),
        |it| it.identity_store_id = String::new(),
        |it| it.region = String::new(),
    ];
    for break_it in cases {
        let mut settings = settings(&scene.sim);
        break_it(&mut settings);
        let budget = Arc::new(crate::Budget::new(AMPLE, Arc::clone(&clock)));
        let config = aws_config::SdkConfig::builder().build();
        let refused =
            crate::IdentityCenter::with_sdk_config(settings, budget, clock.clone(), config);
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Misconfigured);
    }
}
