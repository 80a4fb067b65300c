//! Benches of a whole cluster: real processes, a real origin, ratios against something named, taken in interleaved
//! rounds of one run. Nothing is asserted; what is measured is printed and, with `--out`, written down.
//!
//! `e2e/bench/run` builds what is needed and calls this.

mod bench;
mod client;
mod cluster;
mod nginx;
mod pages;
mod pipeline;
mod table;

use std::path::PathBuf;

use clap::Parser;

/// Measure Darner against nginx, direct downloads and a reference pipeline.
#[derive(Debug, Parser)]
struct Arguments {
    /// Benches to run; all without a name.
    names: Vec<String>,
    /// Interleaved rounds of each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Directory of the built `darner` and its sisters.
    #[arg(long)]
    bin: PathBuf,
    /// Write the table here, too.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let wanted = |name: &str| arguments.names.is_empty() || arguments.names.iter().any(|given| given == name);
    let mut table = table::Table::default();
    for (name, run) in bench::ALL {
        if wanted(name) {
            eprintln!("bench {name}: {} rounds", arguments.rounds);
            let setting = bench::Setting { bin: arguments.bin.clone(), rounds: arguments.rounds };
            match tokio::task::spawn_blocking(move || run(&setting)).await? {
                Ok(rows) => rows.into_iter().for_each(|row| table.push(name, row)),
                Err(error) => table.failed(name, &format!("{error:#}")),
            }
        }
    }
    println!("{table}");
    if let Some(out) = arguments.out {
        std::fs::write(out, table.to_string())?;
    }
    Ok(())
}
