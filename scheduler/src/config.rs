//! The scheduler's configuration.

use darner_chassis::settings::Shared;
use serde::{Deserialize, Serialize};

/// Everything a scheduler is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// What every process understands. `data` keeps the last epoch; empty: only the clock makes epochs grow.
    #[serde(flatten)]
    pub shared: Shared,
    /// Where nodes open their streams.
    pub grpc: Grpc,
    /// `host:port` of the manager: where a certificate is had with `tls.joinToken`. Not used otherwise: the manager
    /// learns of schedulers by its own configuration.
    pub manager: Option<String>,
}

/// Where nodes open their streams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Grpc {
    /// Address to listen on; a browser is shown a page of plain text on the same port.
    pub listen: String,
}

impl Default for Grpc {
    fn default() -> Self {
        Self { listen: "0.0.0.0:8002".to_owned() }
    }
}

impl AsRef<Shared> for Config {
    fn as_ref(&self) -> &Shared {
        &self.shared
    }
}
