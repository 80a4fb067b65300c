//! 2,000 small objects by a real git-lfs: cold and warm through a daemon against straight from the origin.

use std::time::Instant;

use darner_e2e::client::Client;

use super::{REPOSITORY, Setting, Stage};
use crate::table::Row;

const COUNT: usize = 2000;
const SIZE: u64 = 2048;

pub(super) fn run(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..setting.rounds.min(3) {
        let stage = Stage::new(&vec![SIZE; COUNT])?;
        let cluster = stage.cluster(setting, 1)?;
        let forge = format!("http://{}/", stage.forge());
        let gateway = format!("http://{}/http/{}/", cluster.proxy(0)?, stage.forge());
        let direct = clone(&forge, None)?;
        let first = clone(&forge, Some(&gateway))?;
        let second = clone(&forge, Some(&gateway))?;
        cold.push(first / direct);
        warm.push(second / direct);
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

fn clone(forge: &str, gateway: Option<&str>) -> anyhow::Result<f64> {
    let client = Client::new()?;
    let runtime = tokio::runtime::Handle::current();
    if let Some(gateway) = gateway {
        runtime.block_on(client.config(&format!("url.{gateway}.insteadOf"), forge))?;
    }
    let began = Instant::now();
    runtime.block_on(client.clone(&format!("{forge}{REPOSITORY}.git"), "clone"))?.well()?;
    Ok(began.elapsed().as_secs_f64())
}
