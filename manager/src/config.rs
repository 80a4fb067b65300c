//! The manager's configuration.
//!
//! Owns: its keys, their defaults, and what can be told wrong before anything starts. Never: acts on a value.

use std::path::{Path, PathBuf};

use darner_chassis::settings::Shared;
use serde::{Deserialize, Serialize};

use crate::kubernetes::config::Kubernetes;

/// Every key of the manager's file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// What every process understands.
    #[serde(flatten)]
    pub shared: Shared,
    /// REST, the page and the events.
    pub http: Http,
    /// Where the nodes attach.
    pub grpc: Grpc,
    /// Path or `sqlite://PATH` of the database. Absent: `manager.db` in the data directory. Other databases come
    /// later.
    pub database: Option<String>,
    /// host:port of the schedulers, shown among the nodes.
    pub schedulers: Vec<String>,
    /// What runs inside Kubernetes only.
    pub kubernetes: Kubernetes,
    /// The cluster's certificate authority, when the manager is it.
    pub ca: Ca,
}

/// The cluster's certificate authority. With it the manager needs no certificate of its own: it issues it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ca {
    /// PEM file of the authority's certificate; it carries the URI `spiffe://TRUST-DOMAIN`. Absent: the manager issues
    /// nothing.
    pub cert: Option<PathBuf>,
    /// PEM file of its private key.
    pub key: Option<PathBuf>,
    /// File of the tokens that let parts join: lines `ROLE NAME TOKEN`, `*` for any name; read again for every request.
    pub tokens: Option<PathBuf>,
    /// Audience of the service-account tokens with which pods of the release join, each under its own name; needs
    /// `kubernetes.enabled`. Absent: the tokens of `ca.tokens` let join.
    pub audience: Option<String>,
    /// Seconds a certificate lives; parts renew theirs after two thirds of it. At least 60.
    pub lifetime_seconds: u64,
}

impl Default for Ca {
    fn default() -> Self {
        Self { cert: None, key: None, tokens: None, audience: None, lifetime_seconds: 86_400 }
    }
}

/// REST, the page and the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http {
    /// Address to listen on.
    pub listen: String,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8080".to_owned() }
    }
}

/// Where the nodes attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Grpc {
    /// Address to listen on.
    pub listen: String,
}

impl Default for Grpc {
    fn default() -> Self {
        Self { listen: "127.0.0.1:65003".to_owned() }
    }
}

impl AsRef<Shared> for Config {
    fn as_ref(&self) -> &Shared {
        &self.shared
    }
}

impl Config {
    /// The data directory: the configured one, or the usual place.
    pub fn data(&self) -> PathBuf {
        let configured = self.shared.data.as_path();
        if configured == Path::new("") {
            PathBuf::from("/var/lib/darner/manager")
        } else {
            configured.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_are_those_of_the_contract() {
        let config = Config::default();
        assert!(config.http.listen.ends_with(":8080") && config.grpc.listen.ends_with(":65003"));
    }

    #[test]
    fn keys_are_camel_case_and_flat() {
        let text =
            r#"{"http":{"listen":"127.0.0.1:0"},"data":"/d","schedulers":["s:8002"],"readyFile":"/r"}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!((config.http.listen.as_str(), config.data()), ("127.0.0.1:0", PathBuf::from("/d")));
        assert_eq!(config.shared.ready_file, Some(PathBuf::from("/r")));
    }
}
