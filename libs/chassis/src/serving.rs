//! Serving HTTP on a listener: one accept loop for the admin port, gRPC and the pages beside it.
//!
//! Owns: the connection tasks, their bound, `TCP_NODELAY`, HTTP/1.1 and HTTP/2 (told apart by the first bytes) with
//! one set of windows and timeouts. Never: routes. When the drain starts, connections finish what they began and
//! nothing new is accepted; when the tasks close, everything ends at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt as _;

use crate::identity::Peer;
use crate::net;
use crate::tasks::{Drain, Tasks};
use crate::tls::{Arrived, Wire};

/// Connections per listener; one per node and process, so this is far above any cluster of ours.
const MAX_CONNECTIONS: usize = 8192;

/// Calls under way per connection.
const MAX_STREAMS: u32 = 1024;

/// HTTP/2 windows, both ends: the default of 64 KiB was measured at 1 MB/s over a 64 ms line.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
/// The same for a whole connection.
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;

/// A peer that does not answer a ping within twice this is gone.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A client that does not send a whole HTTP/1.1 head within this is dropped.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// What one loop needs.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    /// What the connection tasks are called.
    pub(crate) name: &'static str,
    /// What is served.
    pub(crate) routes: Router,
    /// How connections over TCP are greeted.
    pub(crate) wire: Wire,
    /// What is served to a caller in clear text where the wire takes none.
    pub(crate) clear_text: Router,
    /// Whose the tasks are.
    pub(crate) tasks: Tasks,
    /// When to stop accepting; one that never starts for a port that serves to the end.
    pub(crate) drain: Drain,
}

impl Serving {
    /// A loop in clear text.
    pub(crate) fn clear(name: &'static str, routes: Router, tasks: Tasks, drain: Drain) -> Self {
        Self { name, routes, wire: Wire::clear(), clear_text: Router::new(), tasks, drain }
    }

    /// Serves a TCP listener; returns at once.
    pub(crate) fn tcp(self, listener: TcpListener) {
        let tasks = self.tasks.clone();
        tasks.spawn(self.name, async move {
            let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            let drain = self.drain.clone();
            loop {
                let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
                tokio::select! {
                    () = drain.wait() => return,
                    accepted = net::accept(&listener) => match accepted {
                        Ok((stream, from)) => {
                            let at = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(from) };
                            let one = self.clone();
                            self.tasks.spawn(self.name, async move {
                                one.greeted(stream, at).await;
                                drop(place);
                            });
                        }
                        Err(error) => {
                            tracing::error!(%error, listener = self.name, "listener failed");
                            return;
                        }
                    },
                }
            }
        });
    }

    /// Serves a unix listener; returns at once.
    pub(crate) fn unix(self, listener: UnixListener) {
        let tasks = self.tasks.clone();
        tasks.spawn(self.name, async move {
            let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            let drain = self.drain.clone();
            loop {
                let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
                tokio::select! {
                    () = drain.wait() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            let at = TcpConnectInfo { local_addr: None, remote_addr: None };
                            let one = self.clone();
                            self.tasks.spawn(self.name, async move {
                                one.connection(stream, (at, Peer::Unproved)).await;
                                drop(place);
                            });
                        }
                        Err(error) => {
                            tracing::warn!(%error, listener = self.name, "accept failed");
                            tokio::time::sleep(net::EXHAUSTED_PAUSE).await;
                        }
                    },
                }
            }
        });
    }

    async fn greeted(mut self, stream: TcpStream, at: TcpConnectInfo) {
        match self.wire.arrive(stream).await {
            Ok(Arrived::Peer(stream)) => {
                let peer = stream.peer().clone();
                self.connection(stream, (at, peer)).await;
            }
            Ok(Arrived::ClearText(stream)) => {
                self.routes = self.clear_text.clone();
                self.connection(stream, (at, Peer::Nameless)).await;
            }
            Err(error) => tracing::debug!(%error, listener = self.name, "connection not greeted"),
        }
    }

    async fn connection<I>(self, io: I, (at, peer): (TcpConnectInfo, Peer))
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (routes, drain) = (self.routes, self.drain);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(at.clone());
            request.extensions_mut().insert(peer.clone());
            let routes = routes.clone();
            async move { Ok::<_, Infallible>(routes.oneshot(request.map(Body::new)).await.unwrap_or_else(never)) }
        });
        let builder = protocol();
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = drain.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, listener = self.name, "connection ended");
        }
    }
}

fn never<T>(nothing: Infallible) -> T {
    match nothing {}
}

fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}
