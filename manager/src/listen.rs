//! HTTP/1.1 connections to the API.
//!
//! Owns: their number, how long a client may take to send its head, and their orderly end. Never: reads a request.
//! Every connection is a task of one set, which ends with the service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use darner_chassis::net;
use darner_chassis::tasks::Drain;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections at once; more wait in the listener's queue.
const CONNECTIONS: usize = 512;
/// How long a client may take to send its head. Also ends idle connections.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Serve until the drain, then let the requests under way end.
pub async fn serve(listener: TcpListener, router: Router, drain: Drain) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            accepted = net::accept(&listener) => accepted?,
            () = drain.wait() => break,
        };
        let (stream, address) = accepted;
        let router = router.clone().layer(axum::Extension(ConnectInfo(address)));
        let connection = connection(stream, router, drain.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Answer the requests of one connection to its end.
pub(crate) async fn connection<S>(stream: S, router: Router, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
