//! gRPC between the processes of the house: channels and servers with one set of defaults, and the trace context.
//!
//! Owns: `TCP_NODELAY` on both ends, windows, keep-alive, the connect timeout, `traceparent` on every call and the
//! server's span under the caller's, HTTP/1.1 pages on the same port, words for a caller in clear text where TLS is
//! spoken. Never: a message type. A channel outlives its
//! peer: it connects at its first call and again after a loss.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Uri};
use tracing::Instrument as _;

use crate::serving::{CONNECTION_WINDOW, KEEP_ALIVE, STREAM_WINDOW, Serving};
use crate::tasks::{Drain, Tasks};
use crate::tls::{Expected, Wire};

/// A peer that does not accept a connection within this is treated as gone.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Why a channel or a server could not be made.
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
        source: io::Error,
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

/// The house's defaults for a connection to `http://HOST:PORT`.
pub(crate) fn endpoint(target: &str) -> Result<Endpoint, GrpcError> {
    let refused = || GrpcError::Address(target.to_owned());
    let uri: Uri = target.parse().map_err(|_invalid| refused())?;
    if uri.host().is_none_or(str::is_empty) || uri.port_u16().is_none() {
        return Err(refused());
    }
    Ok(Endpoint::from(uri)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_WITHIN)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

/// A channel in clear text to `HOST:PORT` (or `http://HOST:PORT`), connected at its first call and again after a loss.
/// Needs a tokio runtime.
pub fn channel(address: &str) -> Result<TracedChannel, GrpcError> {
    Ok(TracedChannel { inner: endpoint_of(address)?.connect_lazy() })
}

impl Wire {
    /// A channel to whoever is expected at `HOST:PORT`, connected at its first call and again after a loss. Needs a tokio
    /// runtime.
    pub fn channel(&self, address: &str, expected: Expected) -> Result<TracedChannel, GrpcError> {
        if !self.is_mutual() {
            return channel(address);
        }
        channel_over(address, self.connector(expected, CONNECT_WITHIN))
    }
}

/// A channel whose connections another one makes.
pub(crate) fn channel_over<C>(address: &str, connector: C) -> Result<TracedChannel, GrpcError>
where
    C: tower::Service<Uri, Error = io::Error> + Send + 'static,
    C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin,
    C::Future: Send,
{
    Ok(TracedChannel { inner: endpoint_of(address)?.connect_with_connector_lazy(connector) })
}

fn endpoint_of(address: &str) -> Result<Endpoint, GrpcError> {
    let target = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    endpoint(&target).map_err(|_refused| GrpcError::Address(address.to_owned()))
}

/// A channel to a unix socket. Needs a tokio runtime.
pub fn unix_channel(path: &Path) -> Result<TracedChannel, GrpcError> {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_uri: Uri| {
        let path = path.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    // The authority is never dialled; it only fills the `:authority` header.
    let inner = endpoint("http://localhost:1")?.connect_with_connector_lazy(connector);
    Ok(TracedChannel { inner })
}

/// What a status says, down to what caused it: a channel says only "transport error" itself.
pub fn words(status: &tonic::Status) -> String {
    let mut words = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(inner) = source {
        let more = inner.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        source = inner.source();
    }
    words
}

/// How a port of ours is served.
#[derive(Clone, Debug, Default)]
pub struct Port {
    /// How the parts speak to one another. Who calls is then told by `identity::Peer::of_call`.
    pub wire: Wire,
    /// Answers everything that is no gRPC call, also over HTTP/1.1 and in clear text (a page for a browser).
    pub pages: Option<Router>,
}

impl Port {
    /// Serves gRPC until the drain, then lets the calls under way end. The serving tasks belong to `tasks`; this returns
    /// at once. A streaming handler that lives as long as its peer watches the drain itself.
    pub fn serve(self, listener: TcpListener, routes: Routes, tasks: &Tasks, drain: &Drain) {
        let Self { wire, pages } = self;
        let clear_text = by_content(refusal(), pages.clone().unwrap_or_else(refusal));
        let serving = Serving { wire, clear_text, ..serving(routes, pages, tasks, drain) };
        serving.tcp(listener);
    }
}

/// Serves gRPC in clear text; `fallback` is [`Port::pages`].
pub fn serve(listener: TcpListener, routes: Routes, fallback: Option<Router>, tasks: &Tasks, drain: &Drain) {
    Port { wire: Wire::clear(), pages: fallback }.serve(listener, routes, tasks, drain);
}

/// What a caller in clear text is told where only TLS is spoken, in the words of gRPC and of HTTP.
fn refusal() -> Router {
    const WORDS: &str =
        "this port speaks TLS with certificates at both ends only: set `tls` in the caller's configuration";
    Router::new().fallback(async |request: Request| {
        if is_call(&request) {
            return tonic::Status::unauthenticated(WORDS).into_http::<axum::body::Body>();
        }
        (http::StatusCode::FORBIDDEN, format!("{WORDS}\n")).into_response()
    })
}

/// Serves gRPC on a unix socket that only the owner and the group can open; a stale socket file is replaced, one that
/// somebody answers on is not.
pub fn serve_unix(path: &Path, routes: Routes, tasks: &Tasks, drain: &Drain) -> Result<(), GrpcError> {
    let listener =
        listen_unix(path).map_err(|source| GrpcError::Socket { path: path.display().to_string(), source })?;
    serving(routes, None, tasks, drain).unix(listener);
    Ok(())
}

fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    crate::files::remove(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn serving(routes: Routes, fallback: Option<Router>, tasks: &Tasks, drain: &Drain) -> Serving {
    let traced = routes.into_axum_router().layer(middleware::from_fn(traced));
    let routes = match fallback {
        Some(pages) => by_content(traced, pages),
        None => traced,
    };
    Serving::clear("grpc", routes, tasks.clone(), drain.clone())
}

/// gRPC calls to one router, everything else to the other: the content type tells them apart, so that an unknown
/// method is still answered the gRPC way.
fn by_content(calls: Router, pages: Router) -> Router {
    Router::new().fallback(move |request: Request| {
        let router = if is_call(&request) { calls.clone() } else { pages.clone() };
        async move {
            let answer: Result<Response, std::convert::Infallible> =
                tower::ServiceExt::oneshot(router, request).await;
            answer
        }
    })
}

fn is_call(request: &Request) -> bool {
    let kind = request.headers().get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// Runs a call in a span whose parent is the caller's.
async fn traced(request: Request, next: Next) -> Response {
    let (service, method) = request.uri().path().trim_start_matches('/').split_once('/').unwrap_or_default();
    let span = tracing::info_span!(
        "grpc",
        otel.name = tracing::field::Empty,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        http.response.status_code = tracing::field::Empty,
    );
    if !method.is_empty() {
        span.record("otel.name", request.uri().path().trim_start_matches('/'));
    }
    crate::telemetry::set_parent(&span, request.headers());
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    response
}

#[cfg(test)]
mod tests;
