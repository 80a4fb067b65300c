//! 2,000 small objects by a real git-lfs: cold and warm through a daemon against straight from the origin.
//!
//! Nothing is deleted before the end: ext4 does not give an inode out again for minutes after its file was deleted, and
//! looks past each of them whenever a file is made, so that what one clone leaves would be paid for by the next.

use std::process::Command;
use std::time::Instant;

use darner_e2e::client::Client;

use super::{REPOSITORY, Setting, Stage};
use crate::cluster::{Cluster, cpu, cpu_of_ended};
use crate::table::Row;

const COUNT: usize = 2000;
const SIZE: u64 = 2048;

pub(super) fn run(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let (mut cold, mut warm, mut kept) = (Vec::new(), Vec::new(), Kept::default());
    for _ in 0..setting.rounds.min(3) {
        let stage = Stage::new(&vec![SIZE; COUNT])?;
        let cluster = stage.cluster(setting, 1)?;
        let forge = format!("http://{}/", stage.forge());
        let gateway = format!("http://{}/http/{}/", cluster.proxy(0)?, stage.forge());
        let mut timed = |what, gateway| watched(what, &cluster, || clone(&forge, gateway, &mut kept.clients));
        let before = timed("direct", None)?;
        let first = timed("cold", Some(&gateway))?;
        let second = timed("warm", Some(&gateway))?;
        // Before and after, as the machine may change its pace meanwhile.
        let direct = f64::midpoint(before, timed("direct", None)?);
        cold.push(first / direct);
        warm.push(second / direct);
        kept.stages.push(stage);
        kept.data.push(cluster.end()?);
    }
    let row = |what: &str, must, samples| Row {
        what: what.to_owned(),
        must,
        aim: "-",
        samples,
        unit: "x",
        note: "time of a whole `git clone`".to_owned(),
    };
    Ok(vec![
        row("clone of 2,000 small objects, cold / direct git-lfs", "1.2", cold),
        row("the same, warm / direct git-lfs", "1.0", warm),
    ])
}

/// What stays until the end of the bench.
#[derive(Default)]
struct Kept {
    clients: Vec<Client>,
    stages: Vec<Stage>,
    data: Vec<tempfile::TempDir>,
}

/// Says on stderr what a clone took, and which process how much CPU meanwhile; the origin lives in this one.
fn watched(
    what: &str,
    cluster: &Cluster,
    clone: impl FnOnce() -> anyhow::Result<f64>,
) -> anyhow::Result<f64> {
    let mut pids = cluster.pids();
    pids.push(("origin".to_owned(), std::process::id().into()));
    let read = || pids.iter().map(|(_, pid)| cpu(*pid)).collect::<anyhow::Result<Vec<_>>>();
    let (before, git) = (read()?, cpu_of_ended()?);
    let took = clone()?;
    let git = cpu_of_ended()?.saturating_sub(git).as_secs_f64();
    let spent =
        read()?.into_iter().zip(before).map(|(after, before)| after.saturating_sub(before).as_secs_f64());
    let spent: Vec<_> = pids.iter().zip(spent).map(|((name, _), cpu)| format!("{name} {cpu:.2} s")).collect();
    eprintln!("  {what}: {took:.2} s; CPU: git {git:.2} s, {}", spent.join(", "));
    Ok(took)
}

/// One clone, timed; it begins with nothing left to write of those before it.
fn clone(forge: &str, gateway: Option<&String>, kept: &mut Vec<Client>) -> anyhow::Result<f64> {
    let client = Client::new()?;
    let runtime = tokio::runtime::Handle::current();
    if let Some(gateway) = gateway {
        runtime.block_on(client.config(&format!("url.{gateway}.insteadOf"), forge))?;
    }
    anyhow::ensure!(Command::new("sync").status()?.success(), "sync failed");
    let began = Instant::now();
    runtime.block_on(client.clone(&format!("{forge}{REPOSITORY}.git"), "clone"))?.well()?;
    let took = began.elapsed().as_secs_f64();
    kept.push(client);
    Ok(took)
}
