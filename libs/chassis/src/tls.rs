//! How the parts of the house speak to one another: in clear text, or under TLS with a certificate at both ends.
//!
//! Owns: the handshakes, who is at the other end, and that neither is ever weaker than configured: a process that has an
//! authority (`tls.caCert`) takes and makes no connection without it. A server is verified by chain, role and, where the
//! caller knows it, name; never by host name, because pods come and go under addresses. Certificates follow their files
//! (`live`) or are renewed at the manager (`joining`); connections that stand go on. Never: decides what a peer may ask.
//! After a crash: a joined process finds its last certificate in its data directory.

mod connect;
mod joining;
mod live;
mod pem;
mod stream;
mod verify;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::clock::{Clock as _, System};
use crate::identity::{Identity, Mismatch, Peer, Role};
use crate::settings;
use crate::tasks::Tasks;

pub use connect::Connector;
pub use joining::{Ask, Enrol, Joining};
pub(crate) use pem::uris;
pub use pem::{TlsError, name_in, own_name};
pub use stream::Stream;

use live::Source;

/// Time for the first byte of a connection, and again for its handshake.
const GREETING_WITHIN: Duration = Duration::from_secs(10);
/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Between two warnings about refused connections: a scanner shall not fill the log.
const WARN_EVERY_MS: u64 = 10_000;

/// Who is expected at the other end of a connection we make.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expected {
    roles: &'static [Role],
    name: Option<String>,
}

impl Expected {
    /// Any of these kinds.
    pub const fn roles(roles: &'static [Role]) -> Self {
        Self { roles, name: None }
    }

    /// The one of this name, of any of these kinds.
    pub fn named(roles: &'static [Role], name: &str) -> Self {
        Self { roles, name: Some(name.to_owned()) }
    }

    /// Whether it is who answered.
    pub fn check(&self, peer: &Peer) -> Result<(), Mismatch> {
        match &self.name {
            Some(name) => peer.check_named(self.roles, name),
            None => peer.check_role(self.roles),
        }
    }
}

/// What came in on a listener.
#[derive(Debug)]
pub enum Arrived {
    /// A connection to serve, and who is at its other end.
    Peer(Stream),
    /// Clear text on a port that takes none: worth at most a word of refusal.
    ClearText(TcpStream),
}

/// How this process speaks to the others. Cheap to clone; all clones follow the same certificate.
#[derive(Clone, Debug, Default)]
pub struct Wire(Option<Arc<Mutual>>);

#[derive(Debug)]
struct Mutual {
    source: Source,
    warned_ms: AtomicU64,
}

impl Wire {
    /// Clear text.
    pub const fn clear() -> Self {
        Self(None)
    }

    /// As the configuration says, for a part of this role and name. `joining` says where a certificate is had when the
    /// configuration names a join token; its task belongs to `tasks`. Waits a little for the first certificate, not for
    /// ever: without one the process runs and nobody speaks to it.
    pub async fn open(
        tls: &settings::Tls,
        (role, name): (Role, &str),
        joining: Option<Joining>,
        tasks: &Tasks,
    ) -> Result<Self, TlsError> {
        let Some(authorities) = &tls.ca_cert else {
            return match (&tls.cert, &tls.key, &tls.join_token) {
                (None, None, None) => Ok(Self::clear()),
                _ => Err(TlsError::NoAuthority),
            };
        };
        let own = live::Own { role, name: name.to_owned(), nameless: false };
        match (&tls.cert, &tls.key, &tls.join_token) {
            (Some(cert), Some(key), _) => {
                let files = Some((cert.clone(), key.clone()));
                Ok(Self::mutual(Source::open(own, authorities.clone(), files)?))
            }
            (None, None, Some(token)) => {
                let joining = joining.ok_or(TlsError::NoManager)?;
                let wire = Self::mutual(Source::open(own, authorities.clone(), None)?);
                joining::start(&wire, joining, token.clone(), tasks).await?;
                Ok(wire)
            }
            (None, None, None) => Err(TlsError::NoPair),
            _ => Err(TlsError::Half),
        }
    }

    /// The wire of the authority itself: `renew` makes its certificate, now and again before each one ends. Whoever shows
    /// no certificate is let in too, as [`Peer::Nameless`]: it may want one.
    pub fn issuing(
        authorities: &std::path::Path,
        (role, name): (Role, &str),
        renew: impl Fn() -> Result<crate::authority::Pair, String> + Send + Sync + 'static,
        tasks: &Tasks,
    ) -> Result<Self, TlsError> {
        let own = live::Own { role, name: name.to_owned(), nameless: true };
        let wire = Self::mutual(Source::open(own, authorities.to_owned(), None)?);
        joining::start_issuing(&wire, renew, tasks)?;
        Ok(wire)
    }

    fn mutual(source: Source) -> Self {
        Self(Some(Arc::new(Mutual { source, warned_ms: AtomicU64::new(0) })))
    }

    /// Whether both ends show certificates.
    pub const fn is_mutual(&self) -> bool {
        self.0.is_some()
    }

    /// Who this process is by its certificate, while it has one.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        Some(Arc::clone(&self.0.as_ref()?.source.current()?.identity))
    }

    /// When the certificate ends, milliseconds since the Unix epoch.
    pub fn ends_ms(&self) -> Option<u64> {
        Some(self.0.as_ref()?.source.current()?.ends_ms)
    }

    /// In a few words, for people.
    pub fn words(&self) -> String {
        match (self.is_mutual(), self.identity()) {
            (false, _) => "off".to_owned(),
            (true, None) => "on, waiting for a certificate".to_owned(),
            (true, Some(identity)) => format!("on, as {identity}"),
        }
    }

    /// Greets a connection that came in: the handshake, and who it is.
    pub async fn arrive(&self, stream: TcpStream) -> io::Result<Arrived> {
        let Some(mutual) = &self.0 else { return Ok(Arrived::Peer(Stream::clear(stream))) };
        let from = stream.peer_addr()?;
        let mut first = [0_u8; 1];
        let there = timely(stream.peek(&mut first)).await?;
        if there == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first != [TLS_HANDSHAKE] {
            mutual.refused(from, &"it speaks clear text, and this port only TLS with certificates");
            return Ok(Arrived::ClearText(stream));
        }
        match mutual.handshake(stream).await {
            Ok(stream) => Ok(Arrived::Peer(stream)),
            Err(error) => {
                mutual.refused(from, &error);
                Err(error)
            }
        }
    }

    /// Connects to `HOST:PORT` within `within`, with `TCP_NODELAY` set; whoever is not the expected one is left at once.
    pub async fn connect(&self, address: &str, expected: &Expected, within: Duration) -> io::Result<Stream> {
        let connected = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            connect::keep_alive(&stream)?;
            let Some(mutual) = &self.0 else { return Ok(Stream::clear(stream)) };
            let current = mutual.source.current().ok_or_else(without_certificate)?;
            let stream = connect::greet(stream, &current).await?;
            expected.check(stream.peer()).map_err(|mismatch| refused(address, &mismatch))?;
            Ok(stream)
        };
        tokio::time::timeout(within, connected)
            .await
            .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Connects whoever asks with a URI, for clients of HTTP.
    pub fn connector(&self, expected: Expected, within: Duration) -> Connector {
        Connector::new(self, expected, within)
    }

    fn source(&self) -> Option<&Source> {
        self.0.as_ref().map(|mutual| &mutual.source)
    }
}

impl Mutual {
    async fn handshake(&self, stream: TcpStream) -> io::Result<Stream> {
        let current = self.source.current().ok_or_else(without_certificate)?;
        let acceptor = TlsAcceptor::from(Arc::clone(&current.server));
        let stream = timely(acceptor.accept(stream)).await?;
        let peer = match stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
            Some(leaf) => Peer::Proved(Arc::new(current.identity_of(leaf)?)),
            None => Peer::Nameless,
        };
        Ok(Stream::served(stream, peer))
    }

    /// One warning now and then; the rest is for whoever looks closer.
    fn refused(&self, from: SocketAddr, why: &dyn std::fmt::Display) {
        let now_ms = System.now_ms();
        let warned_ms = self.warned_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(warned_ms) >= WARN_EVERY_MS {
            self.warned_ms.store(now_ms, Ordering::Relaxed);
            tracing::warn!(%from, %why, "connection refused");
        } else {
            tracing::debug!(%from, %why, "connection refused");
        }
    }
}

async fn timely<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(GREETING_WITHIN, what)
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
}

fn without_certificate() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "this process has no certificate yet")
}

fn refused(address: &str, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{address} is not who is expected there: {why}"))
}

#[cfg(test)]
mod tests;
