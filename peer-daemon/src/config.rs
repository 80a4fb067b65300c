//! The configuration of a peer daemon: what an operator may say, in the words of the file.
//!
//! Every key has a default that works alone on one machine. Unknown keys are refused by the loader, by name. The
//! words of the seed documents (`verbose`, `pprofPort`, `proxy.*`) are accepted as they are.

pub mod seed_words;

use std::path::PathBuf;

use darner_chassis::settings::Shared;
use darner_transfer::node::config::{OriginKeys, Storage};
use serde::{Deserialize, Serialize};

pub use seed_words::Proxy;

/// All keys of a peer daemon.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// What every process understands.
    #[serde(flatten)]
    pub shared: Shared,
    /// The port git and git-lfs speak to.
    pub git: Git,
    /// The daemon's own gRPC service (and the seed service while it acts as one).
    pub grpc: Grpc,
    /// The piece link to other nodes.
    pub piece: Piece,
    /// `HOST:PORT` of every scheduler. None: the daemon works with its seeds alone.
    pub schedulers: Vec<String>,
    /// `HOST:PORT` of the gRPC service of seeds, used while no scheduler names any.
    pub seed_peers: Vec<String>,
    /// `HOST:PORT` of the manager's gRPC service. Absent: no pushed configuration, no reports.
    pub manager: Option<String>,
    /// What may be dialled: `[http://|https://]HOST[:PORT]`, https when not said.
    pub upstreams: Vec<String>,
    /// Whether the cluster may add to `upstreams` (resources LfsUpstream, told by the manager). Absent: what this file
    /// lists is all.
    pub upstreams_from_cluster: bool,
    /// `HOST:PORT:ADDRESS`, as curl's `--resolve`.
    pub resolve: Vec<String>,
    /// PEM file of further roots to trust for upstreams.
    pub upstream_ca: Option<PathBuf>,
    /// How upstreams are reached.
    pub origin: OriginKeys,
    /// What may be kept on disk.
    pub storage: Storage,
    /// Files of keys.
    pub keys: Keys,
    /// What a daemon does while no seed can be reached.
    pub fallback: Fallback,
    /// Upstream prefixes (`https://HOST/ORG/REPO`) whose objects need no proof, where the object was read through
    /// that very prefix.
    pub public: Vec<String>,
    /// The Dragonfly vocabulary of the seed documents. Absent: not used.
    pub proxy: Option<Proxy>,
}

/// `git.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Git {
    /// Address and port; clear text and TLS on the same one.
    pub listen: String,
    /// The certificate of the port. Absent: one is made at start, signed by itself.
    pub tls: Tls,
    /// Serve clear text to others than this machine. Credentials then cross the network readable.
    pub allow_plaintext: bool,
    /// Connections at once; more are answered by closing the one that has said nothing for longest.
    pub connections: usize,
    /// Send every client to the origin itself (the kill switch): nothing is served from here.
    pub bypass: bool,
}

/// `git.tls.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tls {
    /// PEM file of the certificate chain.
    pub cert: Option<PathBuf>,
    /// PEM file of the private key.
    pub key: Option<PathBuf>,
}

/// `grpc.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Grpc {
    /// Address and port.
    pub listen: String,
    /// Unix socket for the command line. Absent: `<data>/daemon.sock`.
    pub socket: Option<PathBuf>,
}

/// `piece.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Piece {
    /// Address and port.
    pub listen: String,
}

/// `keys.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Keys {
    /// Keys that seal tickets; daemons behind one address share them. Absent: made in the data directory.
    pub tickets: Option<PathBuf>,
    /// Public keys of the seeds, to check grants and attestations. Absent: no seed's word counts, and the daemon reads
    /// for itself.
    pub grants_public: Option<PathBuf>,
}

/// What a daemon does while no seed can be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fallback {
    /// One daemon per object reads the origin, the others take from it.
    #[default]
    Origin,
    /// The download fails with 429 until a seed is back.
    Fail,
}

impl Default for Git {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:65001".to_owned(),
            tls: Tls::default(),
            allow_plaintext: false,
            connections: 4096,
            bypass: false,
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self { listen: "127.0.0.1:65000".to_owned(), socket: None }
    }
}

impl Default for Piece {
    fn default() -> Self {
        Self { listen: "127.0.0.1:65002".to_owned() }
    }
}

impl AsRef<Shared> for Config {
    fn as_ref(&self) -> &Shared {
        &self.shared
    }
}

impl Config {
    /// Whether the port may be spoken to in clear text from another machine.
    pub fn plaintext(&self) -> bool {
        self.git.allow_plaintext || self.proxy.is_some()
    }

    /// Whether CONNECT also reaches the built-in forges.
    pub const fn connects_to_forges(&self) -> bool {
        self.proxy.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_the_proxy_is_not_shown() {
        let mut config = Config::default();
        for (proxy, shown) in [
            ("http://me:canary@h:3128", "http://<redacted>@h:3128"),
            ("me:can@ary@h:3128", "<redacted>@h:3128"),
            ("h:3128", "h:3128"),
        ] {
            config.origin.proxy = Some(proxy.to_owned());
            assert_eq!(serde_json::to_value(&config).unwrap()["origin"]["proxy"], shown);
        }
    }
}
