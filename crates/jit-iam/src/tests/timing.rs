//! What happens between the signature and the wire.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_iam::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_iam::config::{ConfigBag, Intercept, RuntimeComponents, SharedInterceptor};
use aws_sdk_iam::error::BoxError;
use jit_core::ports::ErrorKind::Unavailable;
use jit_core::ports::{Clock, Effect};
use jit_testkit::sample;
use jit_testkit::time::ManualClock;
use serde_json::json;

use super::{Given, HOUR, Scene, ask, budget, config, grant, key, mint, of_role, plain, resolve};
use super::{revoke, settings};
use crate::{AssumedRole, TemporaryPolicy};

/// Lets time pass when a call that changes something is signed and about to be sent.
#[derive(Debug)]
struct Stall {
    clock: Arc<ManualClock>,
    signed: Arc<AtomicUsize>,
}

impl Intercept for Stall {
    fn name(&self) -> &'static str {
        "Stall"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let is_signed = request.headers().contains_key("authorization");
        assert!(is_signed, "it is signed by now");
        let body = request.body().bytes().unwrap_or_default();
        let body = String::from_utf8_lossy(body);
        if !body.contains("Action=Get") {
            self.signed.fetch_add(1, Ordering::SeqCst);
            self.clock.advance(Duration::from_secs(30));
        }
        Ok(())
    }
}

/// AWS for what reads is the simulated one, and for what changes something a bare socket would do: not
/// one call of that kind arrives.
#[tokio::test]
async fn s3_a_call_that_stalls_between_signing_and_sending_leaves_no_byte() {
    let scene = Scene::new();
    let clock = Arc::new(ManualClock::at(sample::start()));
    let signed = Arc::new(AtomicUsize::new(0));
    let watcher = || {
        Some(SharedInterceptor::new(Stall {
            clock: Arc::clone(&clock),
            signed: Arc::clone(&signed),
        }))
    };
    let (settings, of) = (settings(&scene.sim), budget(&clock));
    let policies = TemporaryPolicy::watched(
        settings.clone(),
        of.clone(),
        clock.clone(),
        config(key()),
        watcher(),
    );
    let policies = policies.unwrap();
    let policy = plain();
    let target = resolve(&policies, &policy).await.unwrap().target;
    let given = Given {
        request: sample::id(1),
        ask: &policy,
        target: &target,
        expires_at: clock.now() + HOUR,
    };
    let session = of_role(ask("ana@example.com", None, json!({})), "deploy");
    let role = resolve(scene.sessions.as_ref(), &session)
        .await
        .unwrap()
        .target;
    // Where a session is asked for nothing is read, so a socket that nobody answers will do.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut elsewhere = settings;
    elsewhere.endpoint_url = Some(format!("http://{}", listener.local_addr().unwrap()));
    let sessions =
        AssumedRole::watched(elsewhere, of, clock.clone(), config(key()), watcher()).unwrap();
    let minted = Given {
        ask: &session,
        target: &role,
        ..given.clone()
    };
    scene.asked();
    // Each is signed in time: exactly at the stall's end it is too late.
    let soon = || clock.now() + Duration::from_secs(30);
    let late = [
        grant(&policies, &given, soon()).await.unwrap_err(),
        revoke(&policies, &given, soon()).await.unwrap_err(),
        mint(&sessions, &minted, soon()).await.unwrap_err(),
    ];
    for error in late {
        let chain = error.chain();
        assert_eq!(
            (error.kind, error.effect),
            (Unavailable, Effect::None),
            "{chain}"
        );
    }
    assert_eq!(signed.load(Ordering::SeqCst), 3, "all were signed");
    assert_eq!(scene.asked(), [""; 0]);
    let connected = listener.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(connected, Err(std::io::ErrorKind::WouldBlock));
}
