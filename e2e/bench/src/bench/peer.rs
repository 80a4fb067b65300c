//! 256 MiB from two parents, verified and kept, against the reference pipeline writing the same bytes.

use std::fs::File;

use super::{Setting, Stage};
use crate::client::gib;
use crate::pages;
use crate::pipeline;
use crate::table::Row;

const SIZE: u64 = 256 << 20;

pub(super) fn run(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let mut samples = Vec::new();
    let mut rates = (0.0, 0.0);
    let stage = Stage::new(&vec![SIZE; setting.rounds])?;
    let cluster = stage.cluster(setting, 3)?;
    for index in 0..setting.rounds {
        // Two daemons (and the seed) hold it before the third one asks.
        for holder in [0, 1] {
            stage.through(&cluster, holder, index)?.get()?;
        }
        let target = stage.scratch.path().join("pipeline.out");
        File::create(&target)?.set_len(SIZE)?;
        pages::touch(stage.scratch.path(), 4 * SIZE)?;
        let reference = pipeline::run(&stage.file(index)?, &target)?;
        pages::touch(stage.scratch.path(), 4 * SIZE)?;
        let took = stage.through(&cluster, 2, index)?.get()?;
        rates = (took.rate(), gib(SIZE) / reference.as_secs_f64());
        samples.push(rates.0 / rates.1);
    }
    let note =
        format!("last round {:.2} against {:.2} GiB/s; ours also streams to a client", rates.0, rates.1);
    let what = "256 MiB from peers, verified / reference pipeline".to_owned();
    Ok(vec![Row { what, must: "0.6", aim: "0.95", samples, unit: "x", note }])
}
