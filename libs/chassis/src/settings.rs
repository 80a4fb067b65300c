//! The configuration blocks every process of the house shares.
//!
//! Owns: their keys, their defaults and what absence means. Never: reads a file or the environment (`config` does),
//! nor acts on a value. A service flattens [`Shared`] into its own configuration:
//!
//! ```text
//! #[derive(Default, Serialize, Deserialize)]
//! #[serde(rename_all = "camelCase", default)]
//! struct Config { #[serde(flatten)] shared: Shared, grpc: Grpc }
//! impl AsRef<Shared> for Config { .. }
//! ```
//!
//! Rules for every block: `rename_all = "camelCase", default`; no `skip_serializing_if`, no `alias` and no
//! `deny_unknown_fields` (a key is known when the value, written out again, still has it).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What every process understands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shared {
    /// Raises the default log level from `info` to `debug` for Darner's own code.
    pub verbose: bool,
    /// What is logged, how and where.
    pub log: Log,
    /// The admin port.
    pub admin: Admin,
    /// Where traces go.
    pub telemetry: Otlp,
    /// Accepted from the seed documents' vocabulary and noted; profiles live on the admin port.
    pub pprof_port: Option<u16>,
    /// Who this node is.
    pub host: Host,
    /// How the parts of the house know one another.
    pub tls: Tls,
    /// Directory of everything the process keeps. Empty: the service's own default.
    pub data: PathBuf,
    /// File that receives the actual addresses as JSON once the process is ready. Absent: none is written.
    pub ready_file: Option<PathBuf>,
    /// End when standard input does: whoever started the process holds that pipe open for as long as it lives.
    pub exit_with_parent: bool,
}

/// What is logged, how and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Log {
    /// Filter in the syntax of `RUST_LOG`, for example `info,darner_transfer=debug`. Absent: `info`, or `debug` for
    /// Darner's own code with `verbose`.
    pub level: Option<String>,
    /// Shape of a line.
    pub format: LogFormat,
    /// File that receives the lines beside standard error; rotated at 32 MiB, three old ones are kept.
    pub file: Option<PathBuf>,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// The admin port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Admin {
    /// Address to listen on.
    pub listen: String,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8000".to_owned() }
    }
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Otlp {
    /// OTLP gRPC endpoint, for example `http://jaeger:4317`. Absent: no traces.
    pub otlp: Option<String>,
    /// Share of traces recorded when the caller has not decided already, 0 to 1.
    pub sample: f64,
}

impl Default for Otlp {
    fn default() -> Self {
        Self { otlp: None, sample: 0.05 }
    }
}

/// Who this node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Host {
    /// Stable identity. Absent: one is made and kept in the data directory by the service.
    pub id: Option<String>,
    /// Name shown to people. Absent: the machine's host name.
    pub name: Option<String>,
    /// Zone for parent choice. Empty: unknown.
    pub zone: String,
    /// Nodes of different tenants never exchange objects. Empty is a tenant too.
    pub tenant: String,
    /// Host or address others reach this node by. Absent: derived from the listening address.
    pub advertise: Option<String>,
}

/// How the parts of the house know one another: certificates at both ends of every connection between them. Neither the
/// git-facing port nor the admin port nor the manager's pages are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// PEM file of the authorities whose certificates count. Absent: the parts speak clear text and believe one another.
    pub ca_cert: Option<PathBuf>,
    /// PEM file of this part's certificate chain; read again when it changes. Absent: one is had with `joinToken`.
    pub cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    pub key: Option<PathBuf>,
    /// File of the token that lets this part have its certificate from the manager. Unused where a pair is named.
    pub join_token: Option<PathBuf>,
}
