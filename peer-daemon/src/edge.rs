//! The git-facing listener: clear text and TLS on one port, HTTP/1.1, bounded against clients that say nothing.
//!
//! Owns: connections from accept to close. Never: what a request means (a [`Door`] answers it). TLS is told from the
//! first byte; its ALPN offers `http/1.1` only, because breaking an answer off must break one connection and not, as
//! with HTTP/2, everybody's. When the bound of connections is reached, the one that has been silent for longest since
//! it was accepted makes room: half-open connections hurt nobody but themselves.
//! A client that has spoken is waited for, but not for ever: see `watched`.
//! After a cancel: dropping the task of a connection closes its socket; the [`Caller`]'s token tells the rest.

mod certificate;
mod framing;
mod silent;
mod watched;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use darner_chassis::net;
use darner_chassis::tasks::{Drain, Tasks};
use darner_origin::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::reply;
pub use certificate::{Certificate, CertificateError};
use silent::Silent;
use watched::Watched;

/// Time for the first byte and for the TLS handshake.
const GREETING_WITHIN: Duration = Duration::from_secs(10);
/// Time for a request head, also between two requests: longer than git-lfs thinks between a Batch and its transfers.
const HEAD_WITHIN: Duration = Duration::from_secs(90);
/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// The answer to a request.
pub type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// What answers requests.
pub trait Door: Send + Sync + 'static {
    /// Answers one request. A body that ends with an error breaks the connection off.
    fn answer(&self, caller: Arc<Caller>, request: Request<Incoming>) -> Answering;
}

/// Who speaks on a connection.
#[derive(Debug)]
pub struct Caller {
    /// Its address. Behind a Service it may be a node's.
    pub peer: SocketAddr,
    /// The address it reached us by.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Cancelled when the connection is gone.
    pub gone: CancellationToken,
}

impl Caller {
    /// `http` or `https`, as the client sees us.
    pub const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// What a listener may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Serve clear text to others than this machine.
    pub plaintext: bool,
}

/// The listener.
pub struct Edge {
    tls: TlsAcceptor,
    door: Arc<dyn Door>,
    limits: Limits,
    silent: Arc<Silent>,
    tasks: Tasks,
    drain: Drain,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Edge {
    /// A listener that shows `certificate` and lets `door` answer.
    pub fn new(
        certificate: &Certificate,
        door: Arc<dyn Door>,
        limits: Limits,
        tasks: &Tasks,
        drain: &Drain,
    ) -> Self {
        let silent = Arc::new(Silent::new(limits.connections));
        Self { tls: certificate.acceptor(), door, limits, silent, tasks: tasks.clone(), drain: drain.clone() }
    }

    /// Accepts until its task is ended.
    pub async fn serve(self, listener: TcpListener) {
        let edge = Arc::new(self);
        while let Ok((stream, peer)) = net::accept(&listener).await {
            let Ok(local) = stream.local_addr() else { continue };
            let Some(place) = edge.silent.enter() else {
                tracing::warn!(bound = edge.limits.connections, "too many connections, one is closed");
                continue;
            };
            let edge = Arc::clone(&edge);
            let tasks = edge.tasks.clone();
            tasks.spawn("git connection", async move {
                let closing = place.closing();
                closing.run_until_cancelled(edge.connection(stream, (peer, local), place)).await;
            });
        }
    }

    async fn connection(
        &self,
        stream: TcpStream,
        (peer, local): (SocketAddr, SocketAddr),
        place: silent::Place,
    ) {
        let Some(first) = greeting(&stream).await else { return };
        let tls = first == TLS_HANDSHAKE;
        let caller = Arc::new(Caller { peer, local, tls, gone: CancellationToken::new() });
        let _gone = caller.gone.clone().drop_guard();
        if !tls {
            return self.requests(stream, caller, place).await;
        }
        match tokio::time::timeout(GREETING_WITHIN, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream, caller, place).await,
            Ok(Err(error)) => tracing::debug!(%error, "tls handshake failed"),
            Err(_elapsed) => tracing::debug!("tls handshake took too long"),
        }
    }

    async fn requests<S>(&self, stream: S, caller: Arc<Caller>, place: silent::Place)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let refused = Arc::new(AtomicBool::new(false));
        let place = Arc::new(place);
        let stream = TokioIo::new(Watched::new(stream, Arc::clone(&refused), Arc::clone(&place)));
        let is_open = caller.tls || self.limits.plaintext || caller.local.ip().to_canonical().is_loopback();
        let service = service_fn(|request: Request<Incoming>| {
            place.spoke();
            let answering = if refused.load(Ordering::Relaxed) {
                reply::closing(
                    StatusCode::BAD_REQUEST,
                    "a request with both Content-Length and Transfer-Encoding is refused",
                )
            } else if is_open {
                return self.answering(Arc::clone(&caller), request);
            } else {
                reply::closing(
                    StatusCode::FORBIDDEN,
                    "clear text is served to this machine only: use https://, or set `git.allowPlaintext`",
                )
            };
            Box::pin(std::future::ready(Ok(answering)))
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(512 * 1024);
        let connection = builder.serve_connection(stream, service).with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    }

    fn answering(
        &self,
        caller: Arc<Caller>,
        request: Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Body>, std::convert::Infallible>> + Send>> {
        let under_way = self.drain.guard();
        let answering = self.door.answer(caller, request);
        Box::pin(async move {
            let response = answering.await;
            Ok(response.map(|body| reply::guarded(body, under_way)))
        })
    }
}

/// The first byte, left in the socket.
async fn greeting(stream: &TcpStream) -> Option<u8> {
    let mut first = [0u8; 1];
    match tokio::time::timeout(GREETING_WITHIN, stream.peek(&mut first)).await {
        Ok(Ok(1)) => first.first().copied(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
