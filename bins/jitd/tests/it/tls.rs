//! A daemon connects to Slack over TLS, and to nobody whom its certificate authorities do not know.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::house::{ANA, CHANNEL, House};
use crate::process::until;

/// An authority of its own, written down for a daemon to trust, and a server whose certificate is of
/// that authority; it takes the TLS off and hands everything on to this address.
async fn tls_before(address: SocketAddr, authority: &Path) -> SocketAddr {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(authority, issuer.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((outside, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever does not trust the certificate goes away.
                if let Ok(mut outside) = acceptor.accept(outside).await {
                    let mut inside = TcpStream::connect(address).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_over_tls_is_opened_to_whom_a_trusted_authority_vouches_for_alone() {
    let house = House::new(1).await;
    let simulator = house.slack.api_url();
    let simulator = simulator
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    let folder = tempfile::tempdir().unwrap();
    let (ours, another) = (
        folder.path().join("ours.pem"),
        folder.path().join("other.pem"),
    );
    let address = simulator.unwrap().parse().unwrap();
    let at = tls_before(address, &ours).await;
    tls_before(address, &another).await;
    house
        .slack
        .sockets_at(&format!("wss://localhost:{}", at.port()));

    let (mut stranger, _) = house.served_trusting(&another);
    stranger.hears("a connection to Slack could not be opened");
    assert_eq!(house.slack.connections(), 0);
    stranger.kill();

    let (_process, _) = house.served_trusting(&ours);
    until("the workspace has a connection", async || {
        house.slack.connections() > 0
    })
    .await;
    let ana = house.slack.user(ANA);
    let typed = ana.slash("/jit", "list").in_channel(CHANNEL);
    assert!(typed.await.acked(), "{:?}", house.slack.seen_errors());
}
