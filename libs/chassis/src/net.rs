//! Sockets: binding with words a person can act on, and the options every socket of the house carries.
//!
//! Owns: `SO_REUSEADDR`, dual stack, `TCP_NODELAY`, the pause when file descriptors run out. Never: TLS, protocols.
//! After a crash the address is free again at once, because of `SO_REUSEADDR`.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections the kernel may hold for us before we accept them.
const BACKLOG: u32 = 4096;

/// How long to wait before accepting again after the process ran out of descriptors (the value hyper used).
pub(crate) const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It is no address.
    #[error(
        "`{key}`: `{address}` is not an address to listen on; write HOST:PORT, for example 0.0.0.0:{port}",
        port = 8000
    )]
    Address {
        /// What was configured.
        address: String,
        /// The configuration key that holds it.
        key: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The kernel refused it.
    #[error("`{key}`: cannot listen on {address}: {source}; {advice}")]
    Refused {
        /// What was configured.
        address: String,
        /// The configuration key that holds it.
        key: String,
        /// What to do about it.
        advice: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Listens on `HOST:PORT` (`:PORT` is every address, IPv4 and IPv6; port 0 is any free one). `key` is the
/// configuration key that names the address, for the error. Needs a tokio runtime.
pub fn bind(address: &str, key: &str) -> Result<TcpListener, BindError> {
    let refused = |source: io::Error| BindError::Refused {
        address: address.to_owned(),
        key: key.to_owned(),
        advice: advice(&source),
        source,
    };
    let mut last = None;
    for candidate in candidates(address).map_err(|source| BindError::Address {
        address: address.to_owned(),
        key: key.to_owned(),
        source,
    })? {
        match listen(candidate) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(refused(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))))
}

fn candidates(address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Some(port) = address.strip_prefix(':').and_then(|port| port.parse().ok()) {
        // A host without IPv6 refuses the first one.
        let any4 = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port);
        return Ok(vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), any4]);
    }
    if let Ok(parsed) = address.parse() {
        return Ok(vec![parsed]);
    }
    Ok(address.to_socket_addrs()?.collect())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there: stop it, or set another port (0 takes any free one)"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: set a higher port",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: use 0.0.0.0, [::] or one of its own"
        }
        _ => "set an address this machine has and a free port",
    }
}

/// Accepts one connection, with `TCP_NODELAY` set. A connection that died in the queue is skipped; running out of
/// descriptors is waited out, so an error means the listener itself is gone.
pub async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // Fails only on a connection that is gone already; the next read will tell.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "connection gone before it was served");
                    continue;
                }
                return Ok((stream, from));
            }
            Err(error) if is_connection_error(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Connects to `HOST:PORT` within `within`, with `TCP_NODELAY` set.
pub async fn connect(address: &str, within: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(within, TcpStream::connect(address))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A loopback port that was free a moment ago, for processes that must be told their port beforehand.
pub fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_zero_gives_a_real_one_that_is_free_again_at_once() {
        let listener = bind("127.0.0.1:0", "admin.listen").unwrap();
        let address = listener.local_addr().unwrap();
        assert_ne!(address.port(), 0);
        let client = connect(&address.to_string(), Duration::from_secs(5)).await.unwrap();
        let (served, _) = accept(&listener).await.unwrap();
        drop((listener, served, client));
        bind(&address.to_string(), "admin.listen").unwrap();
    }

    #[tokio::test]
    async fn an_occupied_address_is_named_with_its_key_and_the_way_out() {
        let taken = bind("127.0.0.1:0", "grpc.listen").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let words = bind(&address, "grpc.listen").unwrap_err().to_string();
        for part in ["`grpc.listen`", &address, "another process", "another port"] {
            assert!(words.contains(part), "{part} not in: {words}");
        }
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused_in_words() {
        let words = bind("192.0.2.1:0", "piece.listen").unwrap_err().to_string();
        assert!(words.contains("`piece.listen`") && words.contains("no such address"), "{words}");
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_in_words() {
        for wrong in ["nonsense", "1.2.3.4", ":notaport", ":70000", ""] {
            let words = bind(wrong, "http.listen").unwrap_err().to_string();
            assert!(words.contains("`http.listen`") && words.contains("HOST:PORT"), "{wrong}: {words}");
        }
    }

    #[tokio::test]
    async fn a_bare_port_listens_on_ipv4_too() {
        let listener = bind(":0", "grpc.listen").unwrap();
        let port = listener.local_addr().unwrap().port();
        connect(&format!("127.0.0.1:{port}"), Duration::from_secs(5)).await.unwrap();
    }

    #[tokio::test]
    async fn both_ends_carry_nodelay() {
        let listener = bind("localhost:0", "grpc.listen").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let client = connect(&address, Duration::from_secs(5)).await.unwrap();
        let (served, from) = accept(&listener).await.unwrap();
        assert!(client.nodelay().unwrap() && served.nodelay().unwrap());
        assert_eq!(from, client.local_addr().unwrap());
    }

    #[tokio::test]
    async fn connecting_to_nobody_is_an_error() {
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let error = connect(&address, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
