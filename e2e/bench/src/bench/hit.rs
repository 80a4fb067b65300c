//! A local hit against nginx serving the same bytes with sendfile.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Setting, Stage, name};
use crate::client::{Target, gib};
use crate::cluster::cpu;
use crate::nginx::Nginx;
use crate::table::Row;

const LARGE: u64 = 1 << 30;

/// 1 GiB through the git-facing port, over one and over four connections.
pub(super) fn large(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let stage = Stage::new(&[LARGE])?;
    let file = stage.file(0)?;
    let nginx = Nginx::start(file.parent().context("a directory")?, stage.scratch.path())?;
    let reference =
        Target { address: nginx.address, path: format!("/{}", name(&file)?), headers: Vec::new() };
    let cluster = stage.cluster(setting, 1)?;
    let ours = &stage.through(&cluster, 0, 0)?;
    for warm in [&reference, ours, ours] {
        warm.get()?;
    }
    let pids = cluster.pids().into_iter();
    let daemon: Vec<u64> = pids.filter(|(part, _)| part == "peer-daemon").map(|(_, pid)| pid).collect();
    let mut rows = Vec::new();
    for (connections, must, aim) in [(1, "0.9", "1.1"), (4, "1.5", "1.8")] {
        let mut samples = Vec::new();
        let mut rates = (0.0, 0.0);
        let before = (cpu_of(&daemon)?, cpu_of(&nginx.workers()?)?);
        for _ in 0..setting.rounds {
            rates = (together(ours, connections)?, together(&reference, connections)?);
            samples.push(rates.0 / rates.1);
        }
        let moved = gib(LARGE * connections) * samples.iter().map(|_| 1.0).sum::<f64>();
        let ours_s = cpu_of(&daemon)?.saturating_sub(before.0).as_secs_f64() / moved;
        let theirs_s = cpu_of(&nginx.workers()?)?.saturating_sub(before.1).as_secs_f64() / moved;
        rows.push(Row {
            what: format!("1 GiB hit, {connections} connection(s) / nginx sendfile"),
            must,
            aim,
            samples,
            unit: "x",
            note: format!(
                "last round {:.2} against {:.2} GiB/s; all rounds {ours_s:.3} against {theirs_s:.3} CPU-s per GiB",
                rates.0, rates.1
            ),
        });
    }
    Ok(rows)
}

/// What some processes have taken so far.
fn cpu_of(pids: &[u64]) -> anyhow::Result<Duration> {
    pids.iter().map(|pid| cpu(*pid)).sum()
}

/// GiB/s of some connections at once.
fn together(target: &Target, connections: u64) -> anyhow::Result<f64> {
    let began = Instant::now();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let gets: Vec<_> = (0..connections).map(|_| scope.spawn(|| target.get())).collect();
        for get in gets {
            get.join().map_err(|_panic| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })?;
    Ok(gib(LARGE * connections) / began.elapsed().as_secs_f64())
}

/// 1 KiB requests on kept connections, proof checked each time, by wrk.
pub(super) fn small(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let stage = Stage::new(&[1024])?;
    let file = stage.file(0)?;
    let nginx = Nginx::start(file.parent().context("a directory")?, stage.scratch.path())?;
    let reference =
        Target { address: nginx.address, path: format!("/{}", name(&file)?), headers: Vec::new() };
    let cluster = stage.cluster(setting, 1)?;
    let ours = &stage.through(&cluster, 0, 0)?;
    ours.get()?;
    let mut samples = Vec::new();
    let mut rates = (0.0, 0.0);
    for _ in 0..setting.rounds {
        rates = (wrk(ours)?, wrk(&reference)?);
        samples.push(rates.0 / rates.1);
    }
    let note = format!("last round {:.0} against {:.0} requests/s", rates.0, rates.1);
    let what = "1 KiB hits, 64 kept connections / nginx static".to_owned();
    Ok(vec![Row { what, must: "0.5", aim: "1.0", samples, unit: "x", note }])
}

/// Requests per second by wrk over a bounded time.
fn wrk(target: &Target) -> anyhow::Result<f64> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c64", "-d", &format!("{}s", Duration::from_secs(3).as_secs())]);
    for (name, value) in &target.headers {
        command.arg("-H").arg(format!("{name}: {value}"));
    }
    let output = command
        .arg(format!("http://{}{}", target.address, target.path))
        .output()
        .context("wrk is needed for this bench (Debian: wrk)")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(!text.contains("Non-2xx"), "wrk met refusals:\n{text}");
    let line = text.lines().find(|line| line.starts_with("Requests/sec:")).with_context(|| text.clone())?;
    Ok(line.split_whitespace().nth(1).context("a figure")?.parse()?)
}
