//! What happens between the connection and the first byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Clock, Effect, ErrorKind, Provisioner};
use jit_core::provider::{NativeExpiry, Target};
use jit_testkit::sample;
use jit_testkit::time::SeededRandom;
use okta_sim::{Hostility, Operation};

use super::{AMPLE, Scene, grant, revoke};
use crate::{Auth, Okta, OktaGroups, Settings};

/// Half a minute passes when it is read for this time.
struct Jumping {
    readings: AtomicUsize,
    jumps_at: usize,
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let reading = self.readings.fetch_add(1, Ordering::SeqCst) + 1;
        match reading < self.jumps_at {
            true => sample::start(),
            false => sample::start() + Duration::from_secs(30),
        }
    }
}

/// A server that never answers, and what it heard first on its first connection.
struct Bare {
    address: SocketAddr,
    heard: thread::JoinHandle<Vec<u8>>,
}

/// What whoever ends the wait for a connection says.
const NOBODY_CAME: &[u8] = b"nobody came";

impl Bare {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 4_096];
            // One read: either the end, as nothing was sent, or what was sent.
            let read = stream.read(&mut bytes).unwrap();
            bytes.truncate(read);
            bytes
        });
        Self { address, heard }
    }

    /// What was heard, once whoever was to call has called or not.
    async fn heard(self) -> Vec<u8> {
        // Only the first connection is listened to; nobody listens any more where there was one.
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(NOBODY_CAME);
        }
        // The connection of the call is closed by whoever runs beside this.
        let heard = tokio::task::spawn_blocking(|| self.heard.join().unwrap());
        heard.await.unwrap()
    }
}

/// However often the time is read before a call leaves, and whenever it runs out in between, not a
/// byte of a late call leaves; and the last look at the clock comes after the connection was made.
#[tokio::test]
async fn s3_a_connection_that_takes_longer_than_the_call_may_leaves_no_byte() {
    for operation in ["grant", "revoke"] {
        let mut was_connected_and_late = 0;
        let mut left = 0;
        for jumps_at in 1..=10 {
            let bare = Bare::listen();
            let clock = Arc::new(Jumping {
                readings: AtomicUsize::new(0),
                jumps_at: usize::MAX,
            });
            let settings = Settings {
                limits: AMPLE,
                ..Settings::new(
                    "okta".parse().unwrap(),
                    format!("http://{}", bare.address),
                    Auth::Ssws("canary".to_owned().into()),
                )
            };
            // Making the client reads the clock too; the jump counts from there.
            let random = Arc::new(SeededRandom::new(1));
            let probe = Okta::connect(settings.clone(), clock.clone(), random.clone()).unwrap();
            let before = clock.readings.load(Ordering::SeqCst);
            drop(probe);
            let clock = Arc::new(Jumping {
                readings: AtomicUsize::new(0),
                jumps_at: before + jumps_at,
            });
            let okta = Okta::connect(settings, clock, random).unwrap();
            okta.organization.set("00osimulated".to_owned()).unwrap();
            let groups = OktaGroups::new(okta);
            let target = Target::new("okta:00osimulated", "00u1".parse().unwrap(), "00g1");
            let send_before = sample::start() + Duration::from_secs(30);
            let failed = match operation {
                "grant" => grant(&groups, &target, send_before).await,
                _ => revoke(&groups, &target, send_before).await,
            };
            let error = failed.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
            match (error.effect, bare.heard().await.as_slice()) {
                (Effect::None, []) => was_connected_and_late += 1,
                (Effect::None, NOBODY_CAME) => {}
                (Effect::None, bytes) => unreachable!("{} bytes of a late call", bytes.len()),
                (Effect::Unknown, bytes) => {
                    let method = if operation == "grant" {
                        "PUT "
                    } else {
                        "DELETE "
                    };
                    assert!(bytes.starts_with(method.as_bytes()), "it was sent");
                    left += 1;
                }
            }
        }
        assert!(left > 0, "{operation}: in time it is sent");
        assert!(was_connected_and_late > 0, "{operation}: late it is not");
    }
}

#[tokio::test]
async fn s3_each_change_has_a_connection_of_its_own() {
    let scene = Scene::new();
    scene.inspect().await.unwrap();
    for _ in 0..3 {
        scene.grant().await.unwrap();
        scene.inspect().await.unwrap();
        scene.revoke().await.unwrap();
        scene.pass(Duration::from_secs(3_600));
    }
    let calls = scene.world().calls();
    let changes = calls.iter().filter(|call| {
        let operation = call.operation.unwrap();
        operation == Operation::AddUserToGroup || operation == Operation::RemoveUserFromGroup
    });
    for change in changes.clone() {
        assert_eq!(change.connected_at_micros, change.at_micros, "a new one");
    }
    let connections: Vec<u64> = changes.map(|call| call.connection).collect();
    assert_eq!(connections.len(), 6);
    for connection in &connections {
        let shared = calls.iter().filter(|call| call.connection == *connection);
        assert_eq!(shared.count(), 1, "nothing else was sent over it");
    }
    let reads = calls
        .iter()
        .filter(|call| call.operation == Some(Operation::ListUserGroups));
    let reads: std::collections::BTreeSet<u64> = reads.map(|call| call.connection).collect();
    assert_eq!(reads.len(), 1, "what reads shares one");
}

#[tokio::test]
async fn s3_a_call_is_transmitted_once_whatever_becomes_of_it() {
    let scene = Scene::new();
    scene.inspect().await.unwrap();
    for hostility in [
        Hostility::InternalError,
        Hostility::InternalErrorAfter,
        Hostility::Unavailable,
        Hostility::Throttle(okta_sim::Reset::Missing),
        Hostility::LoseCall,
        Hostility::LoseReply,
        Hostility::Garbage,
        Hostility::Redirect("http://127.0.0.1:9/elsewhere".to_owned()),
    ] {
        for operation in [Operation::AddUserToGroup, Operation::RemoveUserFromGroup] {
            scene.world().hostile(operation, hostility.clone());
            scene.world().take_calls();
            let failed = match operation {
                Operation::AddUserToGroup => scene.grant().await,
                _ => scene.revoke().await,
            };
            failed.unwrap_err();
            assert_eq!(scene.calls(operation).len(), 1, "{hostility:?}");
            scene.world().calm();
            scene.pass(Duration::from_secs(2));
        }
    }
}

#[tokio::test]
async fn what_it_declares_can_be_used() {
    let scene = Scene::new();
    let described = scene.groups.describe();
    assert_eq!(described.check(), Ok(()));
    assert_eq!(described.native_expiry, NativeExpiry::None);
    assert_eq!(described.settles_for(), Duration::from_secs(900));
}

#[tokio::test]
async fn s3_a_refused_connection_is_nothing_done() {
    let scene = Scene::new();
    scene.inspect().await.unwrap();
    let target = scene.target();
    let (groups, soon) = (scene.groups.clone(), scene.soon());
    drop(scene);
    for failed in [
        grant(&groups, &target, soon).await,
        revoke(&groups, &target, soon).await,
    ] {
        let error = failed.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Unavailable, Effect::None),
            "{}",
            error.chain()
        );
    }
}
