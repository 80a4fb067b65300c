//! Who this seed is: an id and a signing key that last as long as its data directory, and the addresses others use.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use darner_chassis::clock::{Clock, Random, System};
use darner_chassis::settings::Host;
use darner_chassis::sign::{Signer, Verifier};
use darner_proto::v1;

use crate::config::Keys;

/// Why a seed has no identity.
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
    /// A key file cannot be read or made.
    #[error("`{key}`: {words}")]
    Key {
        /// The configuration key that names the file.
        key: &'static str,
        /// What is wrong with it.
        words: String,
    },
}

/// Where others reach a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The gRPC listener.
    pub grpc: SocketAddr,
    /// The piece listener.
    pub piece: SocketAddr,
}

/// How the seed introduces itself.
pub fn identity(
    data: &Path,
    host: &Host,
    reached: Reached,
    signer: &Signer,
) -> Result<v1::NodeIdentity, NodeError> {
    let id = match &host.id {
        Some(id) => id.clone(),
        None => kept_id(&data.join("node-id"))?,
    };
    Ok(v1::NodeIdentity {
        id,
        role: v1::Role::Seed.into(),
        piece_address: advertised(host, reached.piece),
        grpc_address: advertised(host, reached.grpc),
        zone: host.zone.clone(),
        tenant: host.tenant.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        public_key: signer.public_key().to_vec().into(),
        host_name: host.name.clone().unwrap_or_else(machine_name),
        incarnation: System.now_ms(),
    })
}

/// What the seed signs with and whose signatures it honours; its own always.
pub fn keys(data: &Path, keys: &Keys) -> Result<(Signer, Verifier), NodeError> {
    let wrong = |key: &'static str| {
        move |error: &dyn std::fmt::Display| NodeError::Key { key, words: error.to_string() }
    };
    let signer = match &keys.grants {
        Some(path) => Signer::from_file(path).map_err(|error| wrong("keys.grants")(&error))?,
        None => kept_signer(data)?,
    };
    let verifier = match &keys.grants_public {
        Some(path) => Verifier::from_file(path).map_err(|error| wrong("keys.grantsPublic")(&error))?,
        None => Verifier::new(),
    };
    verifier.add(signer.kid(), signer.public_key());
    Ok((signer, verifier))
}

fn kept_signer(data: &Path) -> Result<Signer, NodeError> {
    let wrong = |words: String| NodeError::Key { key: "keys.grants", words };
    let path = data.join("grants-key");
    match path.try_exists() {
        Ok(true) => return Signer::from_file(&path).map_err(|error| wrong(error.to_string())),
        Ok(false) => {}
        Err(source) => return Err(NodeError::Data { path, source }),
    }
    let mut bytes = [0; 4];
    System.fill(&mut bytes);
    let signer =
        Signer::generate(format!("seed-{}", hex::encode(bytes))).map_err(|error| wrong(error.to_string()))?;
    let public = data.join("grants-public");
    std::fs::write(&public, signer.public_line())
        .map_err(|source| NodeError::Data { path: public, source })?;
    signer.save(&path).map_err(|source| NodeError::Data { path, source })?;
    Ok(signer)
}

/// `host:port` others dial for a listener.
fn advertised(host: &Host, listening: SocketAddr) -> String {
    let port = listening.port();
    match &host.advertise {
        Some(name) if name.contains(':') && !name.starts_with('[') => format!("[{name}]:{port}"),
        Some(name) => format!("{name}:{port}"),
        None if listening.ip().is_unspecified() => SocketAddr::new(own_address(), port).to_string(),
        None => listening.to_string(),
    }
}

/// The address this machine would use towards the outside; no packet is sent.
fn own_address() -> IpAddr {
    let asked = |from: &str, to: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
    };
    let found = asked("0.0.0.0:0", "192.0.2.1:9").or_else(|| asked("[::]:0", "[2001:db8::1]:9"));
    found.unwrap_or_else(|| Ipv4Addr::LOCALHOST.into())
}

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
    let id = format!("seed-{}", hex::encode(bytes));
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, format!("{id}\n")).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached() -> Reached {
        Reached { grpc: "0.0.0.0:65000".parse().unwrap(), piece: "127.0.0.1:65002".parse().unwrap() }
    }

    #[test]
    fn a_seed_stays_itself_over_restarts() {
        let data = tempfile::tempdir().unwrap();
        let open = || {
            let (signer, _) = keys(data.path(), &Keys::default()).unwrap();
            identity(data.path(), &Host::default(), reached(), &signer).unwrap()
        };
        let (first, second) = (open(), open());
        assert_eq!((first.id, first.public_key), (second.id, second.public_key));
        assert_eq!(first.role, v1::Role::Seed as i32);
        assert!(!first.grpc_address.starts_with("0.0.0.0"), "{}", first.grpc_address);
    }

    #[test]
    fn its_own_signature_and_those_of_the_others_are_honoured() {
        let data = tempfile::tempdir().unwrap();
        let other = Signer::generate("other").unwrap();
        let public = data.path().join("public");
        std::fs::write(&public, other.public_line()).unwrap();
        let with = Keys { grants: None, grants_public: Some(public) };
        let (own, verifier) = keys(data.path(), &with).unwrap();
        for signer in [&own, &other] {
            assert!(verifier.verify(signer.kid(), b"m", &signer.sign(b"m")));
        }
        let line = std::fs::read_to_string(data.path().join("grants-public")).unwrap();
        assert_eq!(line, own.public_line());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let missing = Keys { grants: Some("/nonexistent/key".into()), grants_public: None };
        let words = keys(Path::new("/tmp"), &missing).unwrap_err().to_string();
        assert!(words.contains("`keys.grants`") && words.contains("/nonexistent/key"), "{words}");
        let words = kept_id(Path::new("/dev/null/x")).unwrap_err().to_string();
        assert!(words.contains("`data`"), "{words}");
    }
}
