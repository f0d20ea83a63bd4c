//! What happens between the signature and the wire.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jit_core::ports::{Clock, Effect, ErrorKind, Provisioner};
use jit_core::provider::NativeExpiry;
use jit_testkit::sample;
use jit_testkit::time::ManualClock;

use super::{AMPLE, Scene, Watcher, connected, grant, key, revoke, settings};

/// A clock that is late from the moment at which a request is signed, and an AWS that is a bare
/// socket: not one connection is made to it.
#[tokio::test]
async fn s3_a_call_that_stalls_between_signing_and_sending_leaves_no_byte() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let clock = Arc::new(ManualClock::at(sample::start()));
    let signed = Arc::new(AtomicUsize::new(0));
    let stall = {
        let (clock, signed) = (Arc::clone(&clock), Arc::clone(&signed));
        Watcher::of(move |_| {
            signed.fetch_add(1, Ordering::SeqCst);
            clock.advance(Duration::from_secs(30));
        })
    };
    let mut settings = settings(&scene.sim);
    settings.endpoint_url = Some(format!("http://{}", listener.local_addr().unwrap()));
    let adapter = connected(settings, AMPLE, &clock, key(), Some(stall));
    for operation in ["grant", "revoke"] {
        // It is signed in time: exactly at the stall's end it is too late.
        let send_before = clock.now() + Duration::from_secs(30);
        let late = match operation {
            "grant" => grant(&adapter, &scene.target(), send_before).await,
            _ => revoke(&adapter, &scene.target(), send_before).await,
        };
        let error = late.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Unavailable, Effect::None),
            "{}",
            error.chain()
        );
    }
    assert_eq!(signed.load(Ordering::SeqCst), 2, "both were signed");
    let connected = listener.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(connected, Err(std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn s3_a_call_is_transmitted_once_whatever_becomes_of_it() {
    let scene = Scene::new();
    for hostility in [
        aws_sim::Hostility::InternalError,
        aws_sim::Hostility::Unavailable,
        aws_sim::Hostility::Throttle,
        aws_sim::Hostility::LoseCall,
        aws_sim::Hostility::Garbage,
    ] {
        scene.world().hostile("CreateAccountAssignment", hostility);
        scene.world().take_calls();
        scene.grant().await.unwrap_err();
        let created = scene.asked().into_iter();
        let created = created.filter(|it| it == "CreateAccountAssignment");
        assert_eq!(created.count(), 1);
        scene.world().calm();
        scene.pass(Duration::from_secs(2));
    }
}

#[tokio::test]
async fn what_it_declares_can_be_used() {
    let scene = Scene::new();
    let described = scene.adapter.describe();
    assert_eq!(described.check(), Ok(()));
    assert_eq!(described.native_expiry, NativeExpiry::None);
    assert_eq!(described.settles_for(), Duration::from_secs(310));
}
