//! The flags of `darner up`; a fixed contract.
//!
//! Owns: their spelling and their words in `--help`. Never: defaults that depend on a values file (see `plan`).

use std::path::PathBuf;

/// Start a whole local cluster on loopback and keep it until SIGTERM or Ctrl-C.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct UpArgs {
    /// How many peer daemons [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub peers: Option<u16>,
    /// How many seed peers [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=16))]
    pub seeds: Option<u16>,
    /// How many schedulers [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=8))]
    pub schedulers: Option<u16>,
    /// Git-facing port of the first daemon; 0 takes any [default: 65001 when it is free, else any]
    #[arg(long, value_name = "P")]
    pub port: Option<u16>,
    /// Where the cluster keeps what it holds; without it a temporary directory is used and removed at the end
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A values file as the chart takes it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// An upstream that may be read: `[http://|https://]HOST[:PORT]`, https when not said
    #[arg(long, value_name = "UPSTREAM", num_args = 1..)]
    pub allow_upstream: Vec<String>,
    /// Dial ADDR for HOST:PORT, as curl does
    #[arg(long, value_name = "HOST:PORT:ADDR", num_args = 1..)]
    pub resolve: Vec<String>,
    /// Further certificate authorities for upstreams (PEM)
    #[arg(long, value_name = "PEM")]
    pub upstream_ca: Option<PathBuf>,
    /// Let the seed peers be a Git LFS server of their own (comes later)
    #[arg(long)]
    pub lfs_server: bool,
    /// Zone of the daemon with this index (the first is 0)
    #[arg(long, value_name = "I=ZONE", num_args = 1..)]
    pub zone_of: Vec<String>,
    /// Redis for the manager (comes later)
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// Database of the manager: `sqlite://PATH` (others come later)
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Where traces go (OTLP over gRPC)
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// One JSON line on stdout instead of words
    #[arg(long)]
    pub json: bool,
}
