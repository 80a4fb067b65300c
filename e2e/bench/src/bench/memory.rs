//! Resident memory: the smallest cluster idle, and a daemon while a large object passes.

use anyhow::Context as _;

use super::{Setting, Stage};
use crate::cluster::rss_mib;
use crate::table::Row;

const LARGE: u64 = 4 << 30;

pub(super) fn run(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let stage = Stage::new(&[LARGE])?;
    let cluster = stage.cluster(setting, 1)?;
    let mut idle = 0.0;
    let mut parts = Vec::new();
    for (name, pid) in cluster.pids() {
        let (now, _) = rss_mib(pid)?;
        idle += now;
        parts.push(format!("{name} {now:.1}"));
    }
    stage.through(&cluster, 0, 0)?.get()?;
    let peak = |part: &str| -> anyhow::Result<f64> {
        let (_, pid) = cluster.pids().into_iter().find(|(name, _)| name == part).context("a process")?;
        Ok(rss_mib(pid)?.1)
    };
    let row = |what: &str, must, aim, figure, note| Row {
        what: what.to_owned(),
        must,
        aim,
        samples: vec![figure],
        unit: " MiB",
        note,
    };
    Ok(vec![
        row("manager + scheduler + seed + daemon, idle", "120 MB", "80 MB", idle, parts.join(", ")),
        row("daemon at its highest while 4 GiB pass", "150 MB", "-", peak("peer-daemon")?, String::new()),
        row("seed at its highest while 4 GiB pass", "-", "-", peak("seed-peer")?, String::new()),
    ])
}
