//! The way out through a CONNECT proxy, for networks that have no other.
//!
//! Owns: the key `origin.proxy` and the CONNECT exchange. Never: a credential in an error.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::target::{Scheme, Target};

/// An HTTP proxy that speaks CONNECT.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    authorization: Option<String>,
}

/// More than this before the empty line is no answer to a CONNECT.
const MAX_HEAD_BYTES: usize = 8 * 1024;

impl Proxy {
    /// Reads `[http://][user:password@]HOST:PORT`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let target = Target::parse(&text).ok().filter(|target| target.site.scheme == Scheme::Http)?;
        Some(Self { host: target.site.host, port: target.site.port, authorization: target.userinfo })
    }

    /// Asks for a tunnel to `authority` on a fresh connection to the proxy.
    pub(crate) async fn connect(&self, stream: &mut TcpStream, authority: &str) -> io::Result<()> {
        let authorization = self
            .authorization
            .iter()
            .fold(String::new(), |_, value| format!("Proxy-Authorization: {value}\r\n"));
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::with_capacity(256);
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte: what follows the empty line belongs to the tunnel.
            head.push(stream.read_u8().await?);
            if head.len() > MAX_HEAD_BYTES {
                return Err(io::Error::other("the proxy's answer has no end"));
            }
        }
        match head.get(9..12) {
            Some([b'2', _, _]) if head.starts_with(b"HTTP/1.") => Ok(()),
            Some(status) => {
                let status = String::from_utf8_lossy(status).escape_default().to_string();
                Err(io::Error::other(format!("the proxy answered {status}")))
            }
            None => Err(io::Error::other("the proxy does not speak HTTP")),
        }
    }
}
