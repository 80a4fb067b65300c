//! Who a node is: an id that lasts as long as its data directory, and the addresses others use.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use darner_chassis::clock::{Clock, Random, System};
use darner_chassis::settings::{Host, Shared};
use darner_proto::v1;

use super::{Kind, StartError};

/// Where others reach a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The gRPC listener.
    pub grpc: SocketAddr,
    /// The piece listener.
    pub piece: SocketAddr,
}

/// The id of the node that lives in `data`: the configured one, the name in the certificate of the configured file, or
/// one made there at the first start.
pub fn kept_id(kind: Kind, data: &Path, shared: &Shared) -> Result<String, StartError> {
    if let Some(id) = &shared.host.id {
        return Ok(id.clone());
    }
    if let Some(name) = shared.tls.cert.as_deref().and_then(darner_chassis::tls::name_in) {
        return Ok(name);
    }
    let path = data.join("node-id");
    let failed = |source| StartError::data(&path, source);
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut bytes = [0; 8];
    System.fill(&mut bytes);
    let prefix = match kind {
        Kind::Daemon => "daemon",
        Kind::Seed => "seed",
    };
    let id = format!("{prefix}-{}", hex::encode(bytes));
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, format!("{id}\n")).map_err(failed)?;
    std::fs::rename(&fresh, &path).map_err(failed)?;
    Ok(id)
}

/// How the node `id` introduces itself.
pub fn identity(
    kind: Kind,
    id: String,
    host: &Host,
    reached: Reached,
    public_key: [u8; 32],
) -> v1::NodeIdentity {
    v1::NodeIdentity {
        id,
        role: kind.role().into(),
        piece_address: advertised(host, reached.piece),
        grpc_address: advertised(host, reached.grpc),
        zone: host.zone.clone(),
        tenant: host.tenant.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        public_key: public_key.to_vec().into(),
        host_name: host.name.clone().unwrap_or_else(machine_name),
        incarnation: System.now_ms(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stays_itself_over_restarts() {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = |data: &Path| kept_id(Kind::Daemon, data, &Shared::default()).unwrap();
        let first = id(data.path());
        assert_eq!(id(data.path()), first);
        assert_ne!(id(other.path()), first);
        assert!(first.starts_with("daemon-"), "{first}");
        let named = Host { id: Some("mine".to_owned()), ..Host::default() };
        let named = Shared { host: named, ..Shared::default() };
        assert_eq!(kept_id(Kind::Seed, data.path(), &named).unwrap(), "mine");
    }

    #[test]
    fn a_data_directory_that_cannot_be_used_is_named() {
        let error =
            kept_id(Kind::Seed, Path::new("/dev/null/x"), &Shared::default()).unwrap_err().to_string();
        assert!(error.contains("`data`") && error.contains("/dev/null/x"), "{error}");
    }

    #[test]
    fn a_node_introduces_itself_under_an_address_that_can_be_dialled() {
        let reached =
            Reached { grpc: "0.0.0.0:65000".parse().unwrap(), piece: "127.0.0.1:65002".parse().unwrap() };
        let told = identity(Kind::Seed, "seed-1".to_owned(), &Host::default(), reached, [7; 32]);
        assert_eq!((told.role(), told.id.as_str()), (v1::Role::Seed, "seed-1"));
        assert!(!told.grpc_address.starts_with("0.0.0.0"), "{}", told.grpc_address);
        assert_eq!(told.piece_address, "127.0.0.1:65002");
        assert!(!told.host_name.is_empty() && told.public_key[..] == [7; 32]);
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
