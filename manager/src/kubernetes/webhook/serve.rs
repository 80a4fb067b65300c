//! HTTPS connections of the webhook's port.
//!
//! Owns: their number and how long a handshake may take. Every connection is a task of one set, which ends with the drain.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use darner_chassis::net;
use darner_chassis::tasks::Drain;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::listen;

/// Connections at once; an API server keeps a few.
const CONNECTIONS: usize = 64;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// Serve until the drain, then let the requests under way end.
pub async fn serve(
    listener: TcpListener,
    server: ServerConfig,
    router: Router,
    drain: Drain,
) -> std::io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let (stream, _from) = tokio::select! {
            accepted = net::accept(&listener) => accepted?,
            () = drain.wait() => break,
        };
        let (acceptor, router, drain) = (acceptor.clone(), router.clone(), drain.clone());
        connections.spawn(async move {
            match tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => listen::connection(stream, router, drain).await,
                Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                Err(_elapsed) => tracing::debug!("a handshake took too long"),
            }
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}
