//! The client's end: dial, greet, check who answered.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::{DnsName, ServerName};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Uri;

use super::live::Live;
use super::stream::{READ_AHEAD, Stream};
use super::{Expected, Wire, pem, refused};
use crate::grpc::{self, GrpcError, TracedChannel};
use crate::identity::{Peer, Role};

/// An idle connection whose peer is gone is noticed after about this.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Dials whatever a client of HTTP asks for, as its wire says.
#[derive(Clone, Debug)]
pub struct Connector {
    wire: Wire,
    expected: Expected,
    within: Duration,
}

impl Connector {
    pub(super) fn new(wire: &Wire, expected: Expected, within: Duration) -> Self {
        Self { wire: wire.clone(), expected, within }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let address = uri.authority().map(ToString::to_string).unwrap_or_default();
            let stream = connector.wire.connect(&address, &connector.expected, connector.within).await?;
            Ok(TokioIo::new(stream))
        })
    }
}

pub(super) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    Ok(rustix::net::sockopt::set_tcp_keepidle(stream, KEEP_ALIVE)?)
}

/// The handshake of the client's end.
pub(super) async fn greet(stream: TcpStream, current: &Live) -> io::Result<Stream> {
    let connector = TlsConnector::from(Arc::clone(&current.client));
    let greeted = connector.connect(nobody()?, BufReader::with_capacity(READ_AHEAD, stream)).await;
    let stream = greeted.map_err(|error| in_words(&error))?;
    let peer = match stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
        Some(leaf) => Peer::Proved(Arc::new(current.identity_of(leaf)?)),
        None => Peer::Nameless,
    };
    Ok(Stream::made(stream, peer))
}

/// Names are not what servers are verified by, and the library wants one.
fn nobody() -> io::Result<ServerName<'static>> {
    let name = DnsName::try_from("darner.invalid").map_err(io::Error::other)?;
    Ok(ServerName::DnsName(name))
}

fn in_words(error: &io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let words = match inner {
        Some(rustls::Error::InvalidMessage(_)) => {
            "it does not speak TLS: is `tls` configured there?".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("its certificate is not one to trust: {}", pem::certificate_words(why))
        }
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), words)
}

/// A channel to the manager for a process that has no certificate to show: only the manager shows one.
pub(super) fn enrolling(wire: &Wire, manager: &str) -> Result<TracedChannel, GrpcError> {
    let wire = wire.clone();
    let connector = tower::service_fn(move |uri: Uri| {
        let wire = wire.clone();
        async move {
            let address = uri.authority().map(ToString::to_string).unwrap_or_default();
            nameless(&wire, &address).await.map(TokioIo::new)
        }
    });
    grpc::channel_over(manager, connector)
}

async fn nameless(wire: &Wire, address: &str) -> io::Result<Stream> {
    let source = wire.source().ok_or(io::ErrorKind::NotConnected)?;
    let config = source.nameless().map_err(io::Error::other)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    let greeted = TlsConnector::from(Arc::new(config)).connect(nobody()?, BufReader::new(stream)).await;
    let stream = greeted.map_err(|error| in_words(&error))?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let identity = leaf.map(pem::identity).transpose().map_err(io::Error::other)?;
    let peer = identity.map_or(Peer::Nameless, |identity| Peer::Proved(Arc::new(identity)));
    peer.check_role(&[Role::Manager]).map_err(|mismatch| refused(address, &mismatch))?;
    Ok(Stream::made(stream, peer))
}
