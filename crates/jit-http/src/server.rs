//! Serving a router on a listener: a ceiling on connections, a deadline for the head of a call, and
//! a bounded end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once; one more waits until one of them ends.
const CONNECTIONS_LIMIT: usize = 1_024;
/// How long the head of a call may take to arrive, and a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait after a connection could not be accepted, as when files run out.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// How long calls under way may go on after the service was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `shutdown` is ready, then lets calls under way come to their end for at most ten
/// seconds.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_WITHIN);
    let free = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
    let open = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        let (stream, turn) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &free) => accepted?,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service);
        let connection = open.watch(connection.into_owned());
        tokio::spawn(async move {
            // A connection that broke was the caller's to close; its calls are in the log.
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a connection broke");
            }
            drop(turn);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, open.shutdown()).await.is_err() {
        tracing::warn!("some calls were still under way at the end");
    }
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let turn = free
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, turn)),
            Err(error) => {
                tracing::error!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
