//! Who this node is: an id and a signing key that last as long as its data directory, and the addresses others use.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use darner_chassis::clock::{Clock, Random, System};
use darner_chassis::settings::Host;
use darner_chassis::sign::Signer;
use darner_proto::v1;
use darner_transfer::trust::NODE_KEY_PREFIX;

/// Why a node has no identity.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory cannot be used.
    #[error("`data`: {}: {source}", path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The signing key cannot be read or made.
    #[error("the node's key: {0}")]
    Key(String),
}

/// A node's lasting part.
#[derive(Debug)]
pub struct Node {
    /// Unique, lasting.
    pub id: String,
    /// Signs what the node says while it acts as a seed.
    pub signer: Signer,
}

/// Where others reach a node.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    /// The gRPC listener.
    pub grpc: SocketAddr,
    /// The piece listener.
    pub piece: SocketAddr,
}

impl Node {
    /// The node that lives in `data`; made there at its first start.
    pub fn open(data: &Path, host: &Host) -> Result<Self, NodeError> {
        let id = match &host.id {
            Some(id) => id.clone(),
            None => kept_id(&data.join("node-id"))?,
        };
        let (path, kid) = (data.join("node-key"), format!("{NODE_KEY_PREFIX}{id}"));
        let signer = match Signer::from_file(&path) {
            Ok(signer) if signer.kid() == kid => signer,
            _ => {
                let signer = Signer::generate(kid).map_err(|error| NodeError::Key(error.to_string()))?;
                signer.save(&path).map_err(|source| NodeError::Data { path, source })?;
                signer
            }
        };
        Ok(Self { id, signer })
    }

    /// How the node introduces itself.
    pub fn identity(&self, host: &Host, reached: Reached) -> v1::NodeIdentity {
        let host_name = host.name.clone().unwrap_or_else(machine_name);
        v1::NodeIdentity {
            id: self.id.clone(),
            role: v1::Role::Daemon.into(),
            piece_address: advertised(host, reached.piece),
            grpc_address: advertised(host, reached.grpc),
            zone: host.zone.clone(),
            tenant: host.tenant.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            public_key: self.signer.public_key().to_vec().into(),
            host_name,
            incarnation: System.now_ms(),
        }
    }
}

/// `host:port` others dial for a listener.
fn advertised(host: &Host, listening: SocketAddr) -> String {
    let port = listening.port();
    match &host.advertise {
        Some(name) if name.contains(':') && !name.starts_with('[') => format!("[{name}]:{port}"),
        Some(name) => format!("{name}:{port}"),
        None if listening.ip().is_unspecified() => {
            SocketAddr::new(own_address(listening.ip()), port).to_string()
        }
        None => listening.to_string(),
    }
}

/// The address this machine would use towards the outside; no packet is sent.
fn own_address(any: IpAddr) -> IpAddr {
    let asked = |from: &str, to: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
    };
    let found = asked("0.0.0.0:0", "192.0.2.1:9").or_else(|| asked("[::]:0", "[2001:db8::1]:9"));
    let loopback = if any.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    found.unwrap_or(loopback)
}

/// The machine's own name.
fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn kept_id(path: &Path) -> Result<String, NodeError> {
    let failed = |source| NodeError::Data { path: path.to_owned(), source };
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut bytes = [0; 8];
    System.fill(&mut bytes);
    let id = format!("daemon-{}", hex::encode(bytes));
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, format!("{id}\n")).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stays_itself_over_restarts() {
        let data = tempfile::tempdir().unwrap();
        let open = || Node::open(data.path(), &Host::default()).unwrap();
        let (first, second) = (open(), open());
        assert_eq!(first.id, second.id);
        assert_eq!(first.signer.public_key(), second.signer.public_key());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Node::open(other.path(), &Host::default()).unwrap().id, first.id);
    }

    #[test]
    fn a_data_directory_that_cannot_be_used_is_named() {
        let error = Node::open(Path::new("/dev/null/x"), &Host::default()).unwrap_err().to_string();
        assert!(error.contains("`data`") && error.contains("/dev/null/x"), "{error}");
    }

    #[test]
    fn others_are_told_an_address_they_can_dial() {
        let any: SocketAddr = "0.0.0.0:65002".parse().unwrap();
        assert!(!advertised(&Host::default(), any).starts_with("0.0.0.0"));
        assert_eq!(advertised(&Host::default(), "127.0.0.1:5".parse().unwrap()), "127.0.0.1:5");
        let named = |name: &str| Host { advertise: Some(name.to_owned()), ..Host::default() };
        assert_eq!(advertised(&named("node-1.pool"), any), "node-1.pool:65002");
        assert_eq!(advertised(&named("2001:db8::1"), any), "[2001:db8::1]:65002");
    }
}
