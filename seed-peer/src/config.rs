//! The configuration of a seed peer: what an operator may say, in the words of the file.
//!
//! Every key has a default that works alone on one machine. Unknown keys are refused by the loader, by name.

use std::path::PathBuf;

use darner_chassis::settings::Shared;
use darner_transfer::node::config::{OriginKeys, Storage};
use serde::{Deserialize, Serialize};

/// All keys of a seed peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// What every process understands.
    #[serde(flatten)]
    pub shared: Shared,
    /// The seed's gRPC service.
    pub grpc: Grpc,
    /// The piece link to other nodes.
    pub piece: Piece,
    /// `HOST:PORT` of every scheduler. None: the seed serves whoever knows its address.
    pub schedulers: Vec<String>,
    /// `HOST:PORT` of the manager's gRPC service. Absent: no pushed configuration, no reports.
    pub manager: Option<String>,
    /// What may be dialled: `[http://|https://]HOST[:PORT]`, https when not said; `A -> B` also lets redirects of A reach
    /// an internal B.
    pub upstreams: Vec<String>,
    /// Whether the cluster may add to `upstreams` (resources LfsUpstream, told by the manager). Absent: what this file
    /// lists is all.
    pub upstreams_from_cluster: bool,
    /// Whether the built-in forges may be read besides (the vocabulary of the seed documents).
    pub forges: bool,
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
}

/// `grpc.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Grpc {
    /// Address and port.
    pub listen: String,
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
    /// What this seed signs grants and attestations with (`KID BASE64`). Absent: made in the data directory, its public
    /// line beside it in `grants-public`.
    pub grants: Option<PathBuf>,
    /// Public keys of all seeds, to honour each other's grants. Absent: this seed honours its own.
    pub grants_public: Option<PathBuf>,
}

impl Default for Grpc {
    fn default() -> Self {
        Self { listen: "0.0.0.0:65000".to_owned() }
    }
}

impl Default for Piece {
    fn default() -> Self {
        Self { listen: "0.0.0.0:65002".to_owned() }
    }
}

impl AsRef<Shared> for Config {
    fn as_ref(&self) -> &Shared {
        &self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_chassis::config::load;

    fn read(yaml: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        load::<Config>(Some(file.path()), &[]).map(|loaded| loaded.value).map_err(|error| error.to_string())
    }

    #[test]
    fn what_an_operator_writes_is_understood() {
        let config = read(
            "upstreams: [github.com, 'http://lfs.corp:8080']\nresolve: ['lfs.corp:8080:10.0.0.5']\nupstreamCa: /ca.pem\n\
             storage: {budget: 10GiB, reserve: 0}\nkeys: {grants: /k, grantsPublic: /p}\norigin: {proxy: 'p:3128'}\n\
             host: {zone: a, tenant: t}\n",
        )
        .unwrap();
        assert_eq!(config.upstreams.len(), 2);
        assert_eq!(config.storage.budget.unwrap().0, 10 << 30);
        assert_eq!((config.shared.host.zone.as_str(), config.origin.proxy.as_deref()), ("a", Some("p:3128")));
    }

    #[test]
    fn unknown_keys_are_refused_by_name_and_all_at_once() {
        let words = read("upstream: [x]\nkeys: {grant: /k}\nstorage: {budget: lots}\n").unwrap_err();
        for key in ["`upstream`", "`keys.grant`", "`storage.budget`"] {
            assert!(words.contains(key), "{key} in {words}");
        }
    }
}
