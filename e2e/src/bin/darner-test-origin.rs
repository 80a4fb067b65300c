//! The test origin as a process: prints its addresses as one line of JSON and serves until it is ended.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use darner_e2e::origin::{Config, Origin};

/// A git + LFS forge on loopback that counts what it is asked and misbehaves on demand.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where repositories and objects go (a new temporary directory when absent).
    #[arg(long)]
    data: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// Also listen with TLS on port 443 of this address.
    #[arg(long)]
    https_ip: Option<IpAddr>,
    /// Do not find out which process asks (saves a walk through /proc per connection).
    #[arg(long)]
    no_askers: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let data = arguments.data.unwrap_or_else(|| temporary.path().to_owned());
    let config = Config {
        ip: arguments.ip,
        https_ip: arguments.https_ip,
        find_askers: !arguments.no_askers,
        ..Config::new(&data)
    };
    let origin = Origin::start(config).await?;
    println!("{}", serde_json::to_string(origin.at())?);
    tokio::select! {
        () = origin.run() => anyhow::bail!("a listener ended"),
        ended = tokio::signal::ctrl_c() => Ok(ended?),
    }
}
