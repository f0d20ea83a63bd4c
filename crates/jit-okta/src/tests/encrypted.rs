//! The same fence where the connection is encrypted: it is made when TLS is done, and not before.

use std::sync::Arc;
use std::time::Duration;

use jit_core::ports::{Clock, Effect, ErrorKind};
use jit_core::provider::{Answer, Target};
use jit_testkit::sample;
use jit_testkit::time::{ManualClock, SeededRandom};
use jit_wire::Wire;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{AMPLE, grant, revoke};
use crate::{Auth, Okta, OktaGroups, Settings};

/// What a server with this certificate heard on one connection.
struct Heard {
    protocol: Option<Vec<u8>>,
    text: String,
}

/// A server and a client that trusts it, at one address.
struct Line {
    clock: Arc<ManualClock>,
    groups: OktaGroups,
    target: Target,
    /// The server has a connection and waits to shake hands.
    connected: Arc<Notify>,
    /// It may.
    go_on: Arc<Notify>,
    heard: JoinHandle<Heard>,
}

impl Line {
    async fn new() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connected, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (has_one, may_go_on) = (Arc::clone(&connected), Arc::clone(&go_on));
        let heard = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            has_one.notify_one();
            may_go_on.notified().await;
            let acceptor = TlsAcceptor::from(Arc::new(server));
            let mut stream = acceptor.accept(stream).await.unwrap();
            let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            let mut text = String::new();
            let mut bytes = [0; 4_096];
            while !text.contains("\r\n\r\n") {
                match stream.read(&mut bytes).await {
                    Ok(0) | Err(_) => return Heard { protocol, text },
                    Ok(read) => text.push_str(&String::from_utf8_lossy(&bytes[..read])),
                }
            }
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            // Whatever else comes over this connection.
            while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                text.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            Heard { protocol, text }
        });

        let clock = Arc::new(ManualClock::at(sample::start()));
        let settings = Settings {
            limits: AMPLE,
            ..Settings::new(
                "okta".parse().unwrap(),
                format!("https://localhost:{port}"),
                Auth::Ssws("a-token".into()),
            )
        };
        let origin = settings.origin().unwrap();
        let random = Arc::new(SeededRandom::new(1));
        let mut okta = Okta::made(settings, clock.clone(), random).unwrap();
        okta.wire = Wire::over(client, &origin).unwrap();
        okta.organization.set("00osimulated".to_owned()).unwrap();
        Self {
            groups: OktaGroups::new(Arc::new(okta)),
            target: Target::new("okta:00osimulated", "00u1".parse().unwrap(), "00g1"),
            clock,
            connected,
            go_on,
            heard,
        }
    }
}

#[tokio::test]
async fn s3_a_handshake_that_takes_longer_than_the_call_may_leaves_no_byte_of_it() {
    for operation in ["grant", "revoke"] {
        let line = Line::new().await;
        let send_before = line.clock.now() + Duration::from_secs(30);
        let meanwhile = async {
            line.connected.notified().await;
            line.clock.advance(Duration::from_secs(30));
            line.go_on.notify_one();
        };
        let call = async {
            match operation {
                "grant" => grant(&line.groups, &line.target, send_before).await,
                _ => revoke(&line.groups, &line.target, send_before).await,
            }
        };
        let (failed, ()) = tokio::join!(call, meanwhile);
        let error = failed.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Unavailable, Effect::None),
            "{}",
            error.chain()
        );
        let heard = line.heard.await.unwrap();
        assert_eq!(heard.text, "", "{operation}");
    }
}

#[tokio::test]
async fn a_change_is_one_call_of_http_1_over_tls() {
    let line = Line::new().await;
    line.go_on.notify_one();
    let send_before = line.clock.now() + Duration::from_micros(1);
    let granted = grant(&line.groups, &line.target, send_before).await;
    // Nobody is left to ask whether it is seen already.
    assert_eq!(granted.unwrap(), Answer::Accepted);
    let heard = line.heard.await.unwrap();
    assert_eq!(heard.protocol.as_deref(), Some(b"http/1.1".as_slice()));
    let lines: Vec<&str> = heard.text.lines().collect();
    assert_eq!(lines[0], "PUT /api/v1/groups/00g1/users/00u1 HTTP/1.1");
    assert_eq!(heard.text.matches("HTTP/1.1").count(), 1, "{}", heard.text);
    assert!(lines.contains(&"authorization: SSWS a-token"));
    assert_eq!(heard.text.matches("content-length: 0").count(), 1);
}
